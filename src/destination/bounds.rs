//! How long and how deep a template may be. Looked at before it is compiled.
//!
//! minijinja bounds the depth of brackets and blocks, and neither chains (`a.b.c`, `1+1+1`, `x|upper|upper`, `not not x`) nor `elif`s. Its
//! parser, compiler and destructor call themselves once for each link of a chain, so that eight kilobytes of template would overflow
//! the stack and end the process. Here the links are counted: by tokens, coarsely, and never too few of them.

use std::ops::Range;

use crate::fault::Fault;

/// A whole template. A message has some hundred bytes; a page of HTML is not what this program writes.
pub const TEMPLATE_BYTES_MAX: usize = 32 << 10;
/// What stands between one `{{` and its `}}`, or one `{%` and its `%}`.
pub const EXPRESSION_BYTES_MAX: usize = 4 << 10;
/// Operators, dots, filters, brackets and ternaries one behind or in another. The longest that was seen in use has 12. In a debug build
/// a link costs up to 3 KiB of stack (measured), and a thread has 2 MiB.
pub const LINKS_MAX: usize = 128;
/// Blocks in one another, each `elif` counted as one more. A link of these costs up to 6 KiB of stack in a debug build (measured).
pub const BLOCKS_MAX: usize = 64;

/// Refuses a template that is too long or too deep, with the place.
pub fn check(source: &str) -> Result<(), Fault> {
    if source.len() > TEMPLATE_BYTES_MAX {
        let message =
            format!("the template has {} bytes, and a template has {TEMPLATE_BYTES_MAX} at most", source.len());
        return Err(Fault::within(message, None));
    }
    let mut at = 0;
    let mut blocks = Vec::new();
    while let Some(found) = source[at..].find('{').map(|found| at + found) {
        let tag = &source[found..];
        if tag.starts_with("{#") {
            at = tag.find("#}").map_or(source.len(), |end| found + end + 2);
            continue;
        }
        let closing = match tag.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                at = found + 1;
                continue;
            }
        };
        if closing == "%}" && is_bare(tag, "raw") {
            at = end_of_raw(source, found + 2);
            continue;
        }
        let measured = measure(tag, closing);
        let within = Some(found..found + measured.bytes);
        if measured.bytes > EXPRESSION_BYTES_MAX {
            return Err(too_long(within));
        }
        if measured.links > LINKS_MAX {
            return Err(too_deep(within));
        }
        if closing == "%}" {
            count_block(keyword(tag), measured.assigns, &mut blocks);
        }
        if blocks.iter().sum::<usize>() > BLOCKS_MAX {
            let message = format!("blocks stand in one another more than {BLOCKS_MAX} deep here, each `elif` counted");
            let help = "for many texts use a map: {{ {\"sent\": \"Sent\", \"opened\": \"Opened\"}[type] }}";
            return Err(Fault { help: Some(help.to_owned()), ..Fault::within(message, within) });
        }
        at = found + measured.bytes;
    }
    Ok(())
}

fn too_long(within: Option<Range<usize>>) -> Fault {
    Fault::within(format!("this has more than {EXPRESSION_BYTES_MAX} bytes, the most between `{{` and `}}`"), within)
}

fn too_deep(within: Option<Range<usize>>) -> Fault {
    let message = format!("this has more than {LINKS_MAX} operators, dots, filters or brackets in one expression");
    Fault { help: Some("use `{% set %}` for its parts".to_owned()), ..Fault::within(message, within) }
}

/// Each open block, with its `elif`s.
fn count_block(keyword: &str, assigns: bool, blocks: &mut Vec<usize>) {
    match keyword {
        "set" if assigns => {}
        "if" | "for" | "with" | "filter" | "set" | "autoescape" => blocks.push(1),
        "elif" => match blocks.last_mut() {
            Some(links) => *links += 1,
            None => blocks.push(1),
        },
        closing if closing.starts_with("end") => drop(blocks.pop()),
        _ => {}
    }
}

/// What a tag says behind its sign, without the `-` or `+` for white space.
fn inner(tag: &str) -> &str {
    let inner = &tag[2..];
    inner.strip_prefix(['-', '+']).unwrap_or(inner).trim_start_matches(|c: char| c.is_ascii_whitespace())
}

/// The first word of a tag.
fn keyword(tag: &str) -> &str {
    let inner = inner(tag);
    &inner[..inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len())]
}

/// Whether a tag is one word and nothing else: only so do `raw` and `endraw` mean something.
fn is_bare(tag: &str, word: &str) -> bool {
    let rest = inner(tag).strip_prefix(word);
    let rest = rest.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_whitespace()));
    rest.is_some_and(|rest| rest.strip_prefix(['-', '+']).unwrap_or(rest).starts_with("%}"))
}

/// Where the text of a `{% raw %}` ends: at the first `{% endraw %}`, whose own tag comes next.
fn end_of_raw(source: &str, from: usize) -> usize {
    let mut tags = source[from..].match_indices("{%").map(|(at, _)| from + at);
    tags.find(|at| is_bare(&source[*at..], "endraw")).map_or(source.len(), |at| at + 2)
}

struct Measured {
    /// How long it is, with its signs; to the end of the template if it is never closed.
    bytes: usize,
    /// How deep what it says is at most.
    links: usize,
    /// A `=` stands in it, outside of brackets: a `set` that begins no block.
    assigns: bool,
}

/// What is counted between two commas of one bracket.
#[derive(Default)]
struct Level {
    /// The links of the part that is open.
    own: usize,
    /// The deepest bracket within it.
    inner: usize,
    /// The deepest of the parts before.
    before: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.before.max(self.own + self.inner)
    }
}

fn measure(tag: &str, closing: &str) -> Measured {
    let bytes = tag.as_bytes();
    let mut at = 2;
    let mut assigns = false;
    let mut levels = vec![Level::default()];
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    while at < bytes.len() {
        let last = levels.len() - 1;
        // In brackets `}}` closes two of them.
        if last == 0 && bytes[at..].starts_with(closing.as_bytes()) {
            at += 2;
            break;
        }
        match bytes[at] {
            quote @ (b'"' | b'\'') => at = end_of_text(bytes, at, quote),
            b'(' | b'[' | b'{' => {
                levels[last].own += 1;
                levels.push(Level::default());
            }
            b')' | b']' | b'}' if last > 0 => {
                let inner = levels.pop().map_or(0, |level| level.depth());
                let outer = &mut levels[last - 1];
                outer.inner = outer.inner.max(inner);
            }
            b',' => levels[last] = Level { before: levels[last].depth(), ..Level::default() },
            byte if is_word(&byte) => {
                let end = at + bytes[at..].iter().take_while(|byte| is_word(byte)).count();
                let is_link = [&b"not"[..], b"and", b"or", b"is", b"in", b"if", b"else"].contains(&&bytes[at..end]);
                levels[last].own += usize::from(is_link);
                at = end - 1;
            }
            sign if sign.is_ascii_punctuation() && sign != b':' => {
                let is_alone = bytes.get(at + 1) != Some(&b'=') && !b"=!<>".contains(&bytes[at - 1]);
                assigns |= last == 0 && sign == b'=' && is_alone;
                levels[last].own += 1;
            }
            _ => {}
        }
        at += 1;
    }
    let links = levels.iter().rev().fold(0, |inner, level| level.before.max(level.own + level.inner.max(inner)));
    Measured { bytes: at.min(bytes.len()), links, assigns }
}

/// The place of a text's closing quote.
fn end_of_text(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::super::template::{Escape, Template};
    use super::*;

    /// How each kind of chain begins, goes on and ends, and how often it may go on.
    const EXPRESSIONS: [(&str, &str, &str, &str, usize); 22] = [
        ("minus signs", "{{ ", "-", "1 }}", LINKS_MAX),
        ("minus signs with blanks", "{{ ", "- ", "1 }}", LINKS_MAX),
        ("nots", "{{ ", "not ", "a }}", LINKS_MAX),
        ("dots", "{{ a", ".a", " }}", LINKS_MAX),
        ("subscripts", "{{ a", "[0]", " }}", LINKS_MAX),
        ("slices", "{{ a", "[1:]", " }}", LINKS_MAX),
        ("sums", "{{ 1", "+1", " }}", LINKS_MAX),
        ("products", "{{ 1", "*1", " }}", LINKS_MAX),
        ("concatenations", "{{ 1", "~1", " }}", LINKS_MAX),
        ("filters", "{{ a", "|upper", " }}", LINKS_MAX),
        ("filters with arguments", "{{ a", "|default(1)", " }}", LINKS_MAX / 2),
        ("ands", "{{ 1", " and 1", " }}", LINKS_MAX),
        ("ors", "{{ 1", " or 1", " }}", LINKS_MAX),
        ("tests", "{{ a", " is defined", " }}", LINKS_MAX),
        ("comparisons", "{{ 1", "<1", " }}", LINKS_MAX),
        ("memberships", "{{ 'a'", " in 'a'", " }}", LINKS_MAX),
        ("ternaries", "{{ 1", " if 1 else 1", " }}", LINKS_MAX / 2),
        ("ternaries without an else", "{{ 1", " if 1", " }}", LINKS_MAX),
        ("conditions", "{% if 1", " and 1", " %}{% endif %}", LINKS_MAX - 1),
        ("assignments", "{% set a = 1", "+1", " %}", LINKS_MAX - 1),
        ("loops", "{% for a in b", "|list", " %}{% endfor %}", LINKS_MAX - 1),
        ("keys of a map", "{{ {'a'", "~'a'", ": 1} }}", LINKS_MAX - 1),
    ];

    fn compile(source: String) -> Result<(), Fault> {
        // Half of what a thread has.
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let compiled = thread.spawn(move || Template::compile(&source, Escape::None).map(drop));
        compiled.expect("a thread").join().expect("no stack overflows")
    }

    fn is_bounded(fault: &Fault) -> bool {
        ["operators, dots", "blocks stand in", "between `{{`"].iter().any(|part| fault.message.contains(part))
    }

    #[test]
    fn every_chain_compiles_at_the_limit_and_is_refused_beyond_it() {
        for (what, begin, link, end, most) in EXPRESSIONS {
            let chain = |count: usize| format!("{begin}{}{end}", link.repeat(count));
            // What is good YAML for people need not be renderable: only the stack counts here.
            let compiled = compile(chain(most));
            assert!(compiled.as_ref().err().is_none_or(|fault| !is_bounded(fault)), "{what}: {compiled:?}");
            let fault = compile(chain(most + 1)).expect_err(what);
            assert!(is_bounded(&fault) && fault.within.is_some(), "{what}: {fault:?}");
        }
    }

    #[test]
    fn thousands_of_links_are_refused_whatever_they_are() {
        for (what, begin, link, end, _) in EXPRESSIONS {
            for count in [300, 8_000, 16_000] {
                assert!(compile(format!("{begin}{}{end}", link.repeat(count))).is_err(), "{what} {count}");
            }
        }
        for link in [
            "(",
            "[",
            "{",
            "{{",
            "{%",
            "{#",
            "a(",
            "[[",
            "{a:",
            "{% if 1 %}",
            "{% for a in b %}",
            "{% set a %}",
            "{% filter upper %}",
            "{% with a=1 %}",
            "{% raw %}",
            "{% if 1 %}{% elif 1 %}",
            "()",
            "'",
            "\\",
            "{{ 1 }",
            "-%}",
        ] {
            for (begin, end) in [("", ""), ("{{ ", " }}"), ("{{ a", " }}"), ("{% if 1 %}", "{% endif %}")] {
                let whole = format!("{begin}{}", link.repeat(30_000 / link.len()));
                let _ = compile(format!("{whole}{end}"));
            }
        }
    }

    #[test]
    fn blocks_compile_as_deep_as_the_limit_and_no_deeper() {
        let nested = |begin: &str, end: &str, count: usize| format!("{}x{}", begin.repeat(count), end.repeat(count));
        for (begin, end) in [
            ("{% if 1 %}", "{% endif %}"),
            ("{% for a in [1] %}", "{% endfor %}"),
            ("{% set a %}", "{% endset %}"),
            ("{% filter upper %}", "{% endfilter %}"),
            ("{%- with a = 1 -%}", "{%- endwith -%}"),
        ] {
            assert_eq!(compile(nested(begin, end, BLOCKS_MAX)), Ok(()), "{begin}");
            assert!(is_bounded(&compile(nested(begin, end, BLOCKS_MAX + 1)).expect_err(begin)), "{begin}");
        }
        let set = "{% set a|default(b=1) %}";
        assert_eq!(check(&nested(set, "{% endset %}", BLOCKS_MAX)), Ok(()));
        assert!(check(&nested(set, "{% endset %}", BLOCKS_MAX + 1)).is_err());
        let chain = |count: usize| format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}a".repeat(count));
        assert_eq!(compile(chain(BLOCKS_MAX - 1)), Ok(()));
        assert!(is_bounded(&compile(chain(BLOCKS_MAX)).expect_err("too deep")));
    }

    #[test]
    fn blocks_side_by_side_are_not_deep() {
        assert_eq!(compile("{% if type == 'a' %}b{% else %}c{% endif %}{% set a = 1 %}".repeat(500)), Ok(()));
        assert_eq!(compile(format!("{{{{ [{}] }}}}", "a.b.c ~ 'x', ".repeat(200))), Ok(()));
        assert_eq!(compile("{{ campaign.name }} {# ------ #}".repeat(900)), Ok(()));
    }

    #[test]
    fn the_deepest_expression_in_the_deepest_block_compiles() {
        let deep = format!("{{{{ {}1 }}}}", "-".repeat(LINKS_MAX));
        let source = format!("{}{deep}{}", "{% if 1 %}".repeat(BLOCKS_MAX), "{% endif %}".repeat(BLOCKS_MAX));
        assert_eq!(compile(source), Ok(()));
    }

    #[test]
    fn nothing_hides_a_chain() {
        let chain = format!("{{{{ {}1 }}}}", "-".repeat(LINKS_MAX + 1));
        for before in [
            "{# {{ #}",
            "{% raw %}{# {% endraw %}",
            "{% raw %}{% endraw x %}{# {%- endraw -%}",
            "{%- raw -%}{{ '{%+ endraw +%}",
            "{{ '}} {#' }}",
            "{{ \"\\\" {#\" }}",
            "{{ {'a': {'b': 1}} }}{",
            "{ {# #}{",
            "{% if '%}' %}{% endif %}",
        ] {
            let fault = check(&format!("{before}{chain}")).expect_err(before);
            assert!(is_bounded(&fault), "{before}: {fault:?}");
        }
        for inert in ["{# ", "{% raw %}"] {
            assert_eq!(check(&format!("{inert}{chain}")), Ok(()), "{inert}");
        }
    }

    #[test]
    fn a_template_and_an_expression_have_a_most_in_bytes() {
        assert_eq!(compile("x".repeat(TEMPLATE_BYTES_MAX)), Ok(()));
        assert!(compile("x".repeat(TEMPLATE_BYTES_MAX + 1)).is_err());
        let text = |bytes: usize| format!("a{{{{ '{}' }}}}", "x".repeat(bytes - "{{ '' }}".len()));
        assert_eq!(compile(text(EXPRESSION_BYTES_MAX)), Ok(()));
        let fault = compile(text(EXPRESSION_BYTES_MAX + 1)).expect_err("too long");
        assert_eq!(fault.within, Some(1..EXPRESSION_BYTES_MAX + 2));
    }
}

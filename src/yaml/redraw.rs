//! A text drawn again with nothing but what may be seen: its keys and values as somebody says they may be shown, each on the line where it
//! was, and the signs between them. Comments are left out, and `…` stands for whatever is not known.
//!
//! Nothing is taken out of the text: what may be seen is put in. So a value whose end is not certain, or a sign that was not thought of,
//! is not shown, where a search for secrets would have to find each.

use super::raw::Style;

/// In the place of what is not shown.
pub const HIDDEN: &str = "…";

/// A key or a value of a text.
pub struct Part<'t> {
    /// Where it begins, in bytes, its anchor before it included.
    pub offset: usize,
    /// What YAML takes it for.
    pub text: &'t str,
    pub style: Style,
}

/// Where a part ends, and how it is written.
struct Extent {
    /// Behind its last sign.
    end: usize,
    /// What is shown before it and behind it: quotes, or the head of a block.
    around: [String; 2],
    /// What stands in the text for it: of a block the lines, as they are indented. Of what is written otherwise than it reads, as it reads.
    inner: String,
    writing: Writing,
}

/// How what is shown of a part is written.
#[derive(Clone, Copy)]
enum Writing {
    AsShown,
    /// As within a text of JSON, which is YAML too.
    Json,
}

/// Draws a text again. Its parts come in their order, each once; `show` gives what may be seen of one, in its place in the list, of the text
/// that stands for it.
pub fn redraw(text: &str, parts: &[Part<'_>], show: impl Fn(usize, &str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (number, part) in parts.iter().enumerate() {
        let next = parts.get(number + 1).map_or(text.len(), |next| next.offset);
        if part.offset < at || next > text.len() {
            // Two parts in one place are none that was thought of.
            continue;
        }
        between(&text[at..part.offset], &mut out);
        let start = behind_anchor(text, part.offset, &mut out);
        match extent(text, start, part).filter(|extent| extent.end <= next) {
            Some(Extent { end, around: [before, behind], inner, writing }) => {
                out.push_str(&before);
                let shown = match writing {
                    Writing::AsShown => show(number, &inner),
                    Writing::Json => within_json(&show(number, &inner)),
                };
                let lines = |of: &str| of.matches('\n').count();
                out.push_str(&shown);
                out.push_str(&behind);
                let missing = lines(&text[start..end]).saturating_sub(lines(&shown) + lines(&before));
                out.extend(std::iter::repeat_n('\n', missing));
                at = end;
            }
            None => {
                out.push_str(HIDDEN);
                let rest = &text[start..next];
                out.extend(rest.chars().filter(|c| *c == '\n'));
                // The signs before the next part, where that begins a line.
                at = rest.rfind('\n').map_or(next, |line| start + line + 1);
            }
        }
    }
    between(&text[at..], &mut out);
    out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// What stands between two parts: signs, anchors, aliases, empty values, and comments, which are left out.
fn between(text: &str, out: &mut String) {
    let mut rest = text;
    let mut is_behind_blank = out.ends_with(char::is_whitespace) || out.is_empty();
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '#' if is_behind_blank => rest.find('\n').unwrap_or(rest.len()),
            '\n' | ',' | '[' | ']' | '{' | '}' | ':' | '?' | '-' => {
                out.push(c);
                1
            }
            '\r' => 1,
            c if c.is_whitespace() => {
                out.push(' ');
                c.len_utf8()
            }
            _ => {
                let is_end = |c: char| c.is_whitespace() || ",[]{}:".contains(c);
                let word = &rest[..rest.find(is_end).unwrap_or(rest.len())];
                let name = word.strip_prefix(['&', '*']).unwrap_or_default();
                let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
                let is_known = is_name || matches!(word, "~" | "null" | "Null" | "NULL");
                out.push_str(if is_known { word } else { HIDDEN });
                word.len().max(c.len_utf8())
            }
        };
        is_behind_blank = c.is_whitespace();
        rest = &rest[length..];
    }
}

/// Where a part itself begins that may have an anchor before it, which is shown.
fn behind_anchor(text: &str, offset: usize, out: &mut String) -> usize {
    let rest = &text[offset..];
    if !rest.starts_with('&') {
        return offset;
    }
    let name = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let value = name + (rest[name..].len() - rest[name..].trim_start().len());
    between(&rest[..value], out);
    offset + value
}

/// How a part is written that begins there. `None` where what stands there is not what YAML takes it for.
fn extent(text: &str, start: usize, part: &Part<'_>) -> Option<Extent> {
    let rest = &text[start..];
    match rest.chars().next()? {
        quote @ ('"' | '\'') => quoted(rest, quote, part).map(|extent| Extent { end: start + extent.end, ..extent }),
        '|' | '>' => block(rest, part).map(|extent| Extent { end: start + extent.end, ..extent }),
        _ => {
            let length = plain(rest, part)?;
            let around = [String::new(), String::new()];
            Some(Extent { end: start + length, around, inner: rest[..length].to_owned(), writing: Writing::AsShown })
        }
    }
}

/// A text within quotes. Of one that is written otherwise than it reads it is looked at how it reads: a quote in it is one without a
/// backslash before it.
fn quoted(rest: &str, quote: char, part: &Part<'_>) -> Option<Extent> {
    let mut signs = rest.char_indices().skip(1).peekable();
    let end = loop {
        let (at, sign) = signs.next()?;
        match sign {
            '\\' if quote == '"' => drop(signs.next()?),
            '\'' if quote == '\'' && signs.next_if(|(_, next)| *next == '\'').is_some() => {}
            sign if sign == quote => break at,
            _ => {}
        }
    };
    let raw = &rest[1..end];
    let around = [quote.to_string(), quote.to_string()];
    if raw == part.text || words(raw).eq(words(part.text)) {
        return Some(Extent { end: end + 1, around, inner: raw.to_owned(), writing: Writing::AsShown });
    }
    let around = ["\"".to_owned(), "\"".to_owned()];
    Some(Extent { end: end + 1, around, inner: part.text.to_owned(), writing: Writing::Json })
}

/// A text as it stands within one of JSON. Of one that is hidden its line breaks need not be told.
fn within_json(text: &str) -> String {
    if text.lines().all(|line| line == HIDDEN) && !text.is_empty() {
        return HIDDEN.to_owned();
    }
    let json = serde_json::Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

/// A block of text: the lines behind its head that are indented like the first of them.
fn block(rest: &str, part: &Part<'_>) -> Option<Extent> {
    let (head, lines) = rest.split_once('\n')?;
    let sign: String = head.chars().take_while(|c| "|>+-".contains(*c)).collect();
    if !head[sign.len()..].trim_start().is_empty() && !head[sign.len()..].trim_start().starts_with('#') {
        // It says how far it is indented.
        return None;
    }
    let indentation = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let first = lines.lines().find(|line| !line.trim().is_empty())?;
    let depth = indentation(first);
    let mut length = 0;
    let mut filled = 0;
    for line in lines.split_inclusive('\n') {
        let is_empty = line.trim().is_empty();
        if !is_empty && indentation(line) < depth {
            break;
        }
        length += line.len();
        filled = if is_empty { filled } else { length };
    }
    let inner = lines[..filled].trim_end_matches('\n');
    if depth == 0 || !words(inner).eq(words(part.text)) {
        return None;
    }
    let end = head.len() + 1 + inner.len();
    Some(Extent {
        end,
        around: [format!("{sign}\n"), String::new()],
        inner: inner.to_owned(),
        writing: Writing::AsShown,
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// How long a text is that stands there without quotes. Where it goes on over a line's end, that reads as a blank.
fn plain(rest: &str, part: &Part<'_>) -> Option<usize> {
    if let Style::Bool(_) = part.style {
        let word = rest.get(..part.text.len())?;
        return word.eq_ignore_ascii_case(part.text).then_some(part.text.len());
    }
    if rest.starts_with(part.text) {
        return Some(part.text.len());
    }
    let mut at = 0;
    let mut wanted = part.text;
    while let Some(c) = wanted.chars().next() {
        let blanks = rest[at..].len() - rest[at..].trim_start().len();
        let is_break = rest[at..at + blanks].contains('\n');
        if is_break && c.is_whitespace() {
            at += blanks;
            wanted = wanted.trim_start();
        } else if rest[at..].starts_with(c) {
            at += c.len_utf8();
            wanted = &wanted[c.len_utf8()..];
        } else {
            return None;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::parse;
    use super::super::places::Places;
    use super::super::raw::{Node, NodeId, Value};
    use super::*;

    fn collect<'n>(node: &'n Node, found: &mut Vec<(NodeId, &'n str, Style)>) {
        match &node.value {
            Value::Scalar(scalar) if scalar.style == Style::Null => {}
            Value::Scalar(scalar) => found.push((node.id, &scalar.text, scalar.style)),
            Value::List(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Map(entries) => entries.iter().for_each(|(key, below)| {
                found.push((key.id, &key.text, Style::String));
                collect(below, found);
            }),
        }
    }

    /// A text drawn with `show` for each part.
    fn drawn(text: &str, show: fn(&str) -> String) -> String {
        let root = parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
        let mut found = Vec::new();
        collect(&root, &mut found);
        let places = Places::find(text, &root, found.iter().map(|(id, ..)| *id));
        let mut parts: Vec<_> = found
            .into_iter()
            .map(|(id, text, style)| Part { offset: places.get(id).expect("a place").offset, text, style })
            .collect();
        parts.sort_by_key(|part| part.offset);
        parts.dedup_by_key(|part| part.offset);
        redraw(text, &parts, |_, text| show(text))
    }

    /// Real configs, and the least usual ways to write one.
    fn texts() -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let recipes = std::fs::read_dir(root.join("docs/recipes")).expect("recipes");
        let files = recipes.map(|entry| entry.expect("an entry").path()).chain([root.join("config.example.yaml")]);
        let is_yaml = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "yaml");
        let mut texts: Vec<_> =
            files.filter(is_yaml).map(|path| std::fs::read_to_string(path).expect("read")).collect();
        assert!(texts.len() > 5, "{}", texts.len());
        texts.extend(
            [
                "? abc\n: def\n? [abc]\n",
                "- - abc\n  - def # ghi\n-\n  jkl\n",
                "{abc: def, 'ghi': \"jkl\", mno: [pqr, stu], ? vwx : yz}\n",
                "abc: |+\n  def\n\n  ghi\n\njkl: >2-\n    mno\n  pqr\n# stu\n",
                "abc: def\n  ghi\n\n  jkl\nmno: \"pqr\\\n  stu\"\n",
                "abc: &def [ghi, &jkl mno]\npqr: *def\nstu: *jkl\n*jkl : vwx\n",
                "abc: 'def''ghi' # jkl\nmno: a#b #c\n\"pqr\\u0041\": \"\\x41bc\"\n",
                "abc: ~\ndef: null\nghi:\njkl: true\nmno: False\npqr: 0x1F\n",
                "---\nabc: [def,\n  ghi\n  jkl, mno]\n",
                "abc: \u{85}def\nghi: äöü\r\njkl: \"\"\n",
            ]
            .map(str::to_owned),
        );
        texts.retain(|text| parse(text).is_ok());
        texts
    }

    #[test]
    fn where_nothing_may_be_seen_nothing_is_but_signs_and_the_names_of_anchors() {
        for text in texts() {
            let drawn = drawn(&text, |text| HIDDEN.to_owned() + &"\n".repeat(text.matches('\n').count()));
            for word in drawn.split(|c: char| c.is_whitespace() || ",[]{}:?-".contains(c)) {
                let is_sign = word.chars().all(|c| "…\"'|>+".contains(c));
                assert!(
                    is_sign || word.starts_with(['&', '*']) || matches!(word, "~" | "null"),
                    "`{word}` is seen:\n{drawn}\nof\n{text}"
                );
            }
            assert_eq!(drawn.lines().count(), text.lines().count(), "{drawn}\nof\n{text}");
        }
    }

    #[test]
    fn where_all_may_be_seen_a_text_says_what_it_said() {
        // A block that says how far it is indented is hidden: nobody writes one.
        for text in texts().into_iter().filter(|text| !text.contains(">2-")) {
            let drawn = drawn(&text, str::to_owned);
            let unlike = |text: &str| parse(text).unwrap_or_else(|error| panic!("{}:\n{drawn}", error.message));
            assert_eq!(format!("{:?}", unlike(&text)), format!("{:?}", unlike(&drawn)), "{drawn}\nof\n{text}");
        }
    }
}

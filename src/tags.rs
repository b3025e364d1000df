//! Where the tags of a template stand, what they are made of, and the text between them. Pure.
//!
//! It reads what the engine reads, whose own tokens have no places: so it is right for what compiles, and of anything else it says something.

use std::ops::Range;

/// `{{`, `{%` or `{#`.
pub const OPEN_BYTES: usize = 2;

/// A part of a template.
#[derive(Debug)]
pub enum Part {
    /// Its own text.
    Text(Range<usize>),
    /// `{# … #}`
    Comment(Range<usize>),
    Tag(Tag),
}

/// `{{ … }}` or `{% … %}`.
#[derive(Debug)]
pub struct Tag {
    /// It is `{% … %}`.
    pub is_block: bool,
    /// Where its inside begins.
    pub begin: usize,
    /// Behind its last sign; none, where it never ends.
    pub end: Option<usize>,
    pub tokens: Vec<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    /// A text, in its quotes, or a number.
    Literal,
    Sign,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub at: Range<usize>,
}

impl Tag {
    /// The word that a block begins with.
    pub fn word<'s>(&self, source: &'s str) -> Option<&'s str> {
        let word = self.tokens.iter().find(|token| token.kind == Kind::Word)?;
        Some(&source[word.at.clone()])
    }
}

/// The parts of a template, in order. A text may be in several.
pub fn parts(source: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(begin) = tag_from(source, at) {
        parts.push(Part::Text(at..begin));
        at = match &source[begin..begin + OPEN_BYTES] {
            "{#" => {
                let end = source[begin..].find("#}").map_or(source.len(), |end| begin + end + 2);
                parts.push(Part::Comment(begin..end));
                end
            }
            open => {
                let is_block = open == "{%";
                let (tokens, end) = tokens(source, begin + OPEN_BYTES, if is_block { "%}" } else { "}}" });
                let tag = Tag { is_block, begin: begin + OPEN_BYTES, end, tokens };
                let is_raw = is_block && tag.word(source) == Some("raw");
                parts.push(Part::Tag(tag));
                let end = end.unwrap_or(source.len());
                let text_end = if is_raw { end_of_raw(source, end) } else { end };
                parts.push(Part::Text(end..text_end));
                text_end
            }
        };
    }
    parts.push(Part::Text(at..source.len()));
    parts
}

/// Where a template's own text stands.
pub fn texts(source: &str) -> impl Iterator<Item = Range<usize>> {
    parts(source).into_iter().filter_map(|part| match part {
        Part::Text(at) => Some(at),
        Part::Comment(_) | Part::Tag(_) => None,
    })
}

/// Whether a template is nothing but blanks and comments.
pub fn is_blank(source: &str) -> bool {
    parts(source).into_iter().all(|part| match part {
        Part::Text(at) => source[at].trim().is_empty(),
        Part::Comment(_) => true,
        Part::Tag(_) => false,
    })
}

/// Where the next tag or comment begins.
fn tag_from(source: &str, from: usize) -> Option<usize> {
    let opens = |at: usize| matches!(source.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    source[from..].match_indices('{').map(|(found, _)| from + found).find(|at| opens(*at))
}

/// Where the text of a `raw` ends: whatever it has, no tag is one there but its own.
fn end_of_raw(source: &str, from: usize) -> usize {
    let ends = |at: &usize| source[at + 2..].trim_start_matches(['-', '+']).trim_start().starts_with("endraw");
    let mut blocks = source[from..].match_indices("{%").map(|(found, _)| from + found);
    blocks.find(ends).unwrap_or(source.len())
}

const TWO_SIGNS: [&str; 6] = ["==", "!=", "<=", ">=", "//", "**"];

/// The tokens of a tag, and where the tag ends. One that never ends has none.
fn tokens(source: &str, begin: usize, close: &str) -> (Vec<Token>, Option<usize>) {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = begin;
    let mut depth = 0_i32;
    if matches!(bytes.get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    while at < bytes.len() {
        let rest = &source[at..];
        if depth == 0 {
            let signed = rest.strip_prefix(['-', '+']).is_some_and(|rest| rest.starts_with(close));
            if rest.starts_with(close) || signed {
                return (tokens, Some(at + close.len() + usize::from(signed)));
            }
        }
        let first = rest.chars().next().unwrap_or_default();
        let length = |is_part: fn(char) -> bool| rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (kind, size) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '"' | '\'' => (Kind::Literal, text_length(rest, first)),
            '0'..='9' => (Kind::Literal, number_length(rest)),
            c if c.is_alphabetic() || c == '_' => (Kind::Word, length(|c| c.is_alphanumeric() || c == '_')),
            _ if TWO_SIGNS.iter().any(|sign| rest.starts_with(sign)) => (Kind::Sign, 2),
            c => {
                depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
                (Kind::Sign, c.len_utf8())
            }
        };
        tokens.push(Token { kind, at: at..at + size });
        at += size;
    }
    (Vec::new(), None)
}

fn text_length(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `1`, `1.5`, `1_000`, `0xff`, `1e-5`: a point belongs to it only before a digit.
fn number_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_exponent = at > 0 && matches!(bytes[at - 1], b'e' | b'E') && !rest.starts_with("0x");
        let is_part = byte.is_ascii_alphanumeric()
            || *byte == b'_'
            || (*byte == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit))
            || (matches!(byte, b'-' | b'+') && is_exponent);
        if !is_part {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_outside_of_tags_and_comments_and_within_raw() {
        for (source, expected) in [
            ("plain { text } %}", "plain { text } %}"),
            ("a{{ b }}c{% if d %}e{% endif %}f{# g #}h", "acefh"),
            (r#"a{{ "}}" }}b{% if c == '%}' %}d{% endif %}"#, "abd"),
            ("a{{ {'b': {'c': d}} }}e", "ae"),
            ("a{{- b -}}c{%+ if d +%}e{%- endif -%}", "ace"),
            ("a{% raw %}{{ b }}{% c %}{# d #}{%- endraw -%}e", "a{{ b }}{% c %}{# d #}e"),
            ("{%raw%}a{%endraw%}{{ b }}", "a"),
            ("a{{{ b: c }.b }}d", "ad"),
            ("a{{ b", "a"),
            ("a{# b", "a"),
            ("a{% raw %}b", "ab"),
            ("ä{{ 'ö' }}ü{", "äü{"),
        ] {
            let text: String = texts(source).map(|at| &source[at]).collect();
            assert_eq!(text, expected, "{source}");
        }
    }
}

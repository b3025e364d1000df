//! A look at the YAML as it is typed: what its reader cannot tell, because it stops at the first error, or because it throws comments away.
//!
//! It is no YAML reader. It walks over the lines once, knows quotes, brackets, blocks and comments, and notes what people get wrong. After
//! each slip it goes on as if that had been right, so that one slip does not make others. [`signs`]: a line, sign by sign.

mod signs;

use std::cell::Cell;

use super::load::Place;
use super::words;

/// Something that is probably a slip.
#[derive(Debug)]
pub(crate) struct Finding {
    pub slip: Slip,
    pub place: Place,
    /// The keys above, outermost first; the last is the one that it stands behind.
    pub keys: Vec<String>,
    /// Whether it stands behind a dash, and behind no key of its own.
    pub is_item: bool,
}

/// What people get wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Slip {
    /// `[` or `{` that is not closed, and what it would be closed with. The second: a comment begins behind it.
    Open(char, bool),
    /// A quote that is not closed.
    OpenQuote(char),
    /// A quote within quotes of its own kind.
    InnerQuote(char),
    /// `\d` within double quotes.
    Escape(char),
    /// A value that begins with a sign that means something to YAML.
    Sign(char),
    /// `type:bounced`
    NoBlank,
    /// A blank that is none to YAML, in the indentation or behind a colon.
    OddBlank(char),
    /// A tab in the indentation.
    Tab,
    /// A second `: ` in a plain text.
    Colon,
    /// A key, or a key and a value, without a colon between them.
    NoColon,
    /// A list's dash, or a quote, that is a typographic one.
    Odd(char),
    /// `[a}`
    Mixed(char, char),
    /// Something behind a closing bracket.
    Behind(char),
    /// Deeper than the line above, which has its value already, or between two levels.
    Indentation(usize, usize),
    /// A plain text that ends at ` #`.
    Cut { text: String, rest: String },
    /// `channel: #alerts`: to YAML a comment, and no value.
    Swallowed(String),
    /// `>5`: to YAML the head of a folded text.
    Block(String),
    /// A plain value within brackets that holds a bracket, or begins with one and goes on behind it.
    Bracketed,
    /// A second key in one entry of `{ … }`: a comma is missing before it, or its colon belongs to a text.
    NoComma,
    /// `-name: x`: a dash without a space.
    NoBlankDash,
    /// `// …`, `/* … */` and `; …`: a comment of another language.
    Comment,
    /// `[rules]`: a section of another language.
    Section,
    /// A line of a block of text that is not indented as far as the block.
    Unindented,
}

impl Slip {
    /// Whether YAML cannot be read behind it.
    pub(crate) fn is_certain(&self) -> bool {
        matches!(
            self,
            Slip::Open(..)
                | Slip::OpenQuote(_)
                | Slip::InnerQuote(_)
                | Slip::Escape(_)
                | Slip::Sign(_)
                | Slip::Tab
                | Slip::NoColon
                | Slip::Mixed(..)
                | Slip::Behind(_)
                | Slip::Colon
                | Slip::Bracketed
                | Slip::NoComma
        )
    }
}

/// What is open on a line: a quote or a bracket.
#[derive(Clone, Copy)]
struct Opened {
    sign: char,
    place: Place,
    indentation: usize,
    has_comment: bool,
    /// The entry of a map that goes on has its colon.
    is_keyed: bool,
}

impl Opened {
    fn new(sign: char, place: Place, indentation: usize) -> Self {
        Self { sign, place, indentation, has_comment: false, is_keyed: false }
    }
}

/// Looks at a whole text.
pub(crate) fn scan(text: &str) -> Vec<Finding> {
    let mut scan = Scan::default();
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        scan.line(number + 1, offset, line.trim_end_matches(['\n', '\r']));
        offset += line.len();
    }
    if let Some((finding, _)) = scan.swallowed.take() {
        scan.found.push(finding);
    }
    if let Some(opened) = scan.quote {
        scan.find(Slip::OpenQuote(opened.sign), opened.place);
    } else if let Some(opened) = scan.brackets.first().copied() {
        scan.find(Slip::Open(opened.sign, opened.has_comment), opened.place);
    }
    scan.found
}

#[derive(Default)]
struct Scan {
    found: Vec<Finding>,
    /// The keys above, each with its indentation.
    keys: Vec<(usize, String)>,
    quote: Option<Opened>,
    brackets: Vec<Opened>,
    /// The indentation of the key whose block of text goes on.
    block: Option<usize>,
    /// The indentation of that block's first line.
    block_level: Option<usize>,
    /// A key with `>5` behind it, until the next line shows whether text follows.
    folded: Option<(Place, String)>,
    /// A key or a dash with `#alerts` behind it, until the next line shows whether a value follows: the finding, and its level.
    swallowed: Option<(Finding, usize)>,
    /// The last line that was a key with a plain or quoted value: its indentation.
    complete: Option<usize>,
}

/// Deeper levels are not told apart.
const KEYS_MAX: usize = 64;
/// More slips in one file than anybody reads.
const FOUND_MAX: usize = 1000;

impl Scan {
    fn find(&mut self, slip: Slip, place: Place) {
        if self.found.len() < FOUND_MAX {
            let keys = self.keys.iter().map(|(_, key)| key.clone()).collect();
            self.found.push(Finding { slip, place, keys, is_item: false });
        }
    }

    fn line(&mut self, number: usize, offset: usize, line: &str) {
        let indentation = line.len() - line.trim_start_matches(' ').len();
        let rest = &line[indentation..];
        if rest.trim().is_empty() {
            return;
        }
        if !rest.starts_with('#')
            && let Some((finding, level)) = self.swallowed.take()
            && !(indentation > level || (indentation == level && rest.starts_with("- ") && !finding.is_item))
            && self.found.len() < FOUND_MAX
        {
            self.found.push(finding);
        }
        // How far the columns of this line have been counted, in bytes and in characters.
        let counted = Cell::new((0, 0));
        let at = |byte: usize| {
            let (from, column) = Some(counted.get()).filter(|(from, _)| *from <= byte).unwrap_or_default();
            let column = column + line[from..byte].chars().count();
            counted.set((byte, column));
            Place { line: number, column: column + 1, offset: offset + byte }
        };
        if let Some(block) = self.block {
            if indentation > block {
                self.folded = None;
                if !rest.starts_with('#') && self.block_level.is_some_and(|level| indentation < level) {
                    self.find(Slip::Unindented, at(indentation));
                }
                self.block_level = self.block_level.or(Some(indentation));
                return;
            }
            if self.block_level.is_none()
                && self.folded.is_none()
                && !rest.starts_with(['#', '-'])
                && entry(rest).is_none()
            {
                self.find(Slip::Unindented, at(indentation));
            }
            self.block = None;
            if let Some((place, head)) = self.folded.take() {
                self.find(Slip::Block(head), place);
            }
        }
        let is_free = self.quote.is_none() && self.brackets.is_empty();
        if is_free && ["//", "/*", "; ", "-- "].iter().any(|sign| rest.starts_with(sign)) {
            self.find(Slip::Comment, at(indentation));
            return;
        }
        if is_free && indentation == 0 && is_section(rest) {
            self.find(Slip::Section, at(indentation));
            return;
        }
        let entry = entry(rest);
        if let Some(quote) = self.quote.filter(|quote| entry.is_some() && indentation <= quote.indentation) {
            self.find(Slip::OpenQuote(quote.sign), quote.place);
            self.quote = None;
        }
        let first = self.brackets.first().copied();
        if let Some(opened) =
            first.filter(|opened| self.quote.is_none() && entry.is_some() && indentation <= opened.indentation)
        {
            self.find(Slip::Open(opened.sign, opened.has_comment), opened.place);
            self.brackets.clear();
        }
        if self.quote.is_none() && self.brackets.is_empty() && !rest.starts_with('#') {
            self.indentation(indentation, rest, entry, &at);
        }
        self.signs(line, indentation, &at);
    }

    /// The beginning of a line of its own: its indentation and its key.
    fn indentation(&mut self, indentation: usize, rest: &str, entry: Option<Entry<'_>>, at: &dyn Fn(usize) -> Place) {
        if rest.starts_with('\t') {
            self.find(Slip::Tab, at(indentation));
        } else if let Some(odd) = rest.chars().next().filter(|c| words::is_blank(*c)) {
            self.find(Slip::OddBlank(odd), at(indentation));
        } else if let Some(odd) = rest.chars().next().filter(|c| is_odd_dash(*c)) {
            self.find(Slip::Odd(odd), at(indentation));
        }
        let Some(entry) = entry else {
            // A text that goes on is deeper than its key; what is as deep as another key should be one.
            let is_word = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let is_first = self.keys.is_empty() && indentation == 0;
            if is_word && (is_first || self.keys.iter().any(|(level, _)| *level == indentation)) {
                self.find(Slip::NoColon, at(indentation));
                self.keys.retain(|(level, _)| *level < indentation);
                let key = rest.split([' ', '=', '[', '{']).next().unwrap_or_default();
                self.keys.push((indentation, key.to_owned()));
                self.complete = None;
            }
            return;
        };
        let own = indentation + entry.dashes;
        if rest
            .strip_prefix('-')
            .is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_alphabetic()) && entry.key.is_some())
        {
            self.find(Slip::NoBlankDash, at(indentation));
        }
        if let Some(complete) = self.complete.filter(|complete| indentation > *complete && entry.dashes == 0) {
            self.find(Slip::Indentation(indentation, complete), at(indentation));
        }
        let mut left = None;
        while let Some((level, _)) = self.keys.last().filter(|(level, _)| *level >= own) {
            left = Some(*level);
            self.keys.pop();
        }
        if let Some(level) =
            left.filter(|level| *level != own && self.complete.is_none_or(|complete| indentation <= complete))
        {
            self.find(Slip::Indentation(indentation, level), at(indentation));
        }
        self.complete = None;
        if let Some(key) = entry.key {
            if self.keys.len() < KEYS_MAX {
                self.keys.push((own, key.trim_matches(['"', '\'']).to_owned()));
            }
            let value = entry.value.trim();
            self.complete =
                (!value.is_empty() && !value.starts_with(['|', '>', '#', '&', '[', '{', '"', '\''])).then_some(own);
        }
        if let Some((key, behind)) = no_blank(&rest[entry.dashes..]) {
            if self.keys.len() < KEYS_MAX {
                self.keys.push((own, key.to_owned()));
            }
            let slip = match behind.chars().next() {
                Some(odd) if words::is_blank(odd) => Slip::OddBlank(odd),
                _ => Slip::NoBlank,
            };
            self.find(slip, at(own));
            self.keys.pop();
        }
    }
}

/// `[rules]`, alone on its line.
fn is_section(rest: &str) -> bool {
    let inner = rest.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.map(|inner| inner.trim_matches(['[', ']']));
    inner
        .is_some_and(|inner| !inner.is_empty() && inner.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)))
}

fn is_odd_dash(c: char) -> bool {
    words::odd_character(c) == Some("a typographic dash") || matches!(c, '•' | '·' | '◦')
}

/// The beginning of an entry of a map or a list.
#[derive(Clone, Copy)]
struct Entry<'l> {
    /// The bytes of the dashes, with their blanks.
    dashes: usize,
    key: Option<&'l str>,
    value: &'l str,
}

/// The entry that a line begins, if it begins one.
fn entry(rest: &str) -> Option<Entry<'_>> {
    let mut behind = rest;
    while let Some(next) = behind.strip_prefix("- ") {
        behind = next.trim_start_matches(' ');
    }
    let dashes = rest.len() - behind.len();
    let plain = |text: &str| !text.is_empty() && !text.starts_with(['[', '{', '#']) && !text.contains(['{', '[', ',']);
    let key = match behind.chars().next() {
        Some(quote @ ('"' | '\'')) => behind[1..].find(quote).map(|end| end + 2),
        _ => behind.find(": ").or_else(|| behind.strip_suffix(':').map(str::len)).filter(|end| plain(&behind[..*end])),
    };
    let key = key.filter(|end| behind[*end..].starts_with(':'));
    match key {
        Some(end) => Some(Entry { dashes, key: Some(&behind[..end]), value: &behind[end + 1..] }),
        None if dashes > 0 || rest == "-" => Some(Entry { dashes, key: None, value: behind }),
        None => no_blank(behind).map(|_| Entry { dashes, key: None, value: behind }),
    }
}

/// `type:bounced`: a key, and its value right behind the colon.
fn no_blank(text: &str) -> Option<(&str, &str)> {
    let quoted = text.chars().next().filter(|quote| matches!(quote, '"' | '\''));
    if let Some((key, behind)) = quoted.and_then(|quote| text[1..].split_once(quote)) {
        let value = behind.strip_prefix(':')?;
        return value.starts_with(|c: char| !c.is_whitespace()).then_some((key, value));
    }
    let (key, value) = text.split_once(':')?;
    let is_key = !key.is_empty()
        && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let begins = value.chars().next()?;
    let is_value = !begins.is_whitespace() || words::is_blank(begins);
    (is_key && is_value && !value.starts_with(['/', ':']) && !text.contains(": ") && !value.ends_with(':'))
        .then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Slip, usize, usize)]) {
        let found: Vec<_> =
            scan(text).into_iter().map(|found| (found.slip, found.place.line, found.place.column)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn what_is_not_closed_is_told_where_it_was_opened() {
        check("a:\n  to: [x, y\nb: c\n", &[(Slip::Open('[', false), 2, 7)]);
        check("a: { b: c\nd: e\n", &[(Slip::Open('{', false), 1, 4)]);
        check("a: { b: [c }\nd: e\n", &[(Slip::Mixed('[', '}'), 1, 12)]);
        check(
            "a: { b: c #d }\ne: f\n",
            &[(Slip::Cut { text: "c".into(), rest: "#d }".into() }, 1, 9), (Slip::Open('{', true), 1, 4)],
        );
        check("a: \"b\n", &[(Slip::OpenQuote('"'), 1, 4)]);
        check("a: 'b\nc: d\n", &[(Slip::OpenQuote('\''), 1, 4)]);
        check("a:\n  - [b,\n     c]\nd: \"e\n  f\"\n", &[]);
        check("- { a: b,\n    c: [d,\n        e] }\n", &[]);
    }

    #[test]
    fn a_quote_within_quotes_and_a_wrong_escape_are_found() {
        check("a: \"b \"c\" d\"\n", &[(Slip::InnerQuote('"'), 1, 7)]);
        check("a: 'it's'\n", &[(Slip::InnerQuote('\''), 1, 7)]);
        check("a: \"\\d+\"\n", &[(Slip::Escape('d'), 1, 5)]);
        check("a: 'it''s \"b\"'  # c\nb: \"\\n\\\"\"\n", &[]);
        check("a: it's \"b\"\n", &[]);
    }

    #[test]
    fn odd_blanks_signs_and_levels_are_found() {
        check("a:\n  type:bounced\n", &[(Slip::NoBlank, 2, 3)]);
        check("a: http://x\nb: 12:30\n- c:d\n", &[(Slip::NoBlank, 3, 3)]);
        check("a:\n\u{a0} b: c\n", &[(Slip::OddBlank('\u{a0}'), 2, 1)]);
        check("a:\u{a0}b\n", &[(Slip::OddBlank('\u{a0}'), 1, 1)]);
        check("a:\n\tb: c\n", &[(Slip::Tab, 2, 1)]);
        check("a: b\nc\nd: e\n", &[(Slip::NoColon, 2, 1)]);
        check("a:\n  b: c\n  d [e]\n", &[(Slip::NoColon, 3, 3)]);
        check("a: b\n  c\nd: e\n- f\n  g\n", &[]);
        check("a:\n  – b: c\n", &[(Slip::Odd('–'), 2, 3)]);
        check("a: [b}\n", &[(Slip::Mixed('[', '}'), 1, 6)]);
        check(
            "a: [b [c]]\nd: { e: f{2} }\ng: { h: [i]j }\n",
            &[(Slip::Bracketed, 1, 5), (Slip::Bracketed, 2, 9), (Slip::Bracketed, 3, 9)],
        );
        check(
            "a: { b: c d: e }\nf: { g: h\n  i: j }\nk: { l: m, n: { o: p }, q: r }\n",
            &[(Slip::NoComma, 1, 11), (Slip::NoComma, 3, 3)],
        );
        check(
            "a: - b\nc: { d: - e }\nf: { g: > 5 }\nh: { i: ?j }\n- k: l\n",
            &[(Slip::Sign('-'), 1, 4), (Slip::Sign('-'), 2, 9), (Slip::Sign('>'), 3, 9), (Slip::Sign('?'), 4, 9)],
        );
        check("// a\n[b]\nc: d\n-e: f\n", &[(Slip::Comment, 1, 1), (Slip::Section, 2, 1), (Slip::NoBlankDash, 4, 1)]);
        check("a = b\nc: d\n", &[(Slip::NoColon, 1, 1)]);
        check(
            "\"a\":b\nc: \"\\Users \\x4\"\n",
            &[(Slip::NoBlank, 1, 1), (Slip::Escape('U'), 2, 5), (Slip::Escape('x'), 2, 12)],
        );
        check(
            "a: |\n{{ b }} c\nd: |\n    e\n  f\n",
            &[(Slip::Unindented, 2, 1), (Slip::Behind('c'), 2, 9), (Slip::Unindented, 5, 3)],
        );
        check("a: {# b #} c\n", &[(Slip::Bracketed, 1, 4)]);
        check("a: [b]]\nc: [d];\n", &[(Slip::Behind(']'), 1, 7), (Slip::Behind(';'), 2, 7)]);
        check("a:\n  - b: c\n - d: e\n", &[(Slip::Indentation(1, 4), 3, 2)]);
        check("a: @b\n", &[(Slip::Sign('@'), 1, 4)]);
        check("a: != b\n", &[(Slip::Sign('!'), 1, 4)]);
        check("a: > 5\n", &[(Slip::Sign('>'), 1, 4)]);
        check("a: *{{ b }}\nc: *d\ne: &f g\n", &[(Slip::Sign('*'), 1, 4)]);
        check("a: b: c\n", &[(Slip::Colon, 1, 5)]);
        check("a: b\n  c: d\n", &[(Slip::Indentation(2, 0), 2, 3)]);
        check("a: >5\nb: c\n", &[(Slip::Block(">5".into()), 1, 4)]);
        check("a: |2\n    b: \"c\nd: >-\n  e: [\nf: g\n", &[]);
    }

    #[test]
    fn a_text_that_a_comment_cuts_is_told_with_what_is_left_of_it() {
        let cut = |text: &str, rest: &str| Slip::Cut { text: text.into(), rest: rest.into() };
        check("a: b #c\n", &[(cut("b", "#c"), 1, 4)]);
        check("a: b # {{ c }}\n", &[(cut("b", "# {{ c }}"), 1, 4)]);
        check("- b #c\n", &[(cut("b", "#c"), 1, 3)]);
        check("a: b # c\nd: e  #f\ng: 'h' #i\nj: k#l\n#m\nn: # o\n", &[]);
    }

    #[test]
    fn a_value_that_is_all_comment_is_told() {
        let swallowed = |rest: &str| Slip::Swallowed(rest.into());
        check("a: #b\nc: d\n", &[(swallowed("#b"), 1, 4)]);
        check("a:\n  - #b\n  - #c\n", &[(swallowed("#b"), 2, 5), (swallowed("#c"), 3, 5)]);
        check("- a: #b c\n  # d\n\n  e: f\n", &[(swallowed("#b c"), 1, 6)]);
        check("a: [#b]\n", &[(Slip::Sign('#'), 1, 5)]);
        check("a: #b\n  c: d\ne: #f\n- g\nh: # i\nj: #\n- #k\n  l: m\n- n: #o\n  - p\n#q\n", &[]);
    }
}

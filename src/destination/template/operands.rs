//! Rewrites a template so that its operators meet numbers: `{% if total > 100 %}` becomes `{% if total|GT(100) %}`. Pure.
//!
//! An event's number may be an object (see `destination/number.rs`), and minijinja's operators take none. So each operand of an
//! arithmetic operator goes through [`NATIVE`] or [`FACTOR`], and a comparison becomes a filter that compares exactly. An operand of
//! `~` goes through [`TEXT`], so that it prints as it does in `{{ … }}`, and what picks from a map or a list through [`KEY`].
//! What is not an operator's operand stays as it is, and prints the digits that were sent.
//!
//! Only templates that compile as they are are rewritten; what is not understood here is left alone.

use std::ops::Range;

use crate::tags::{self, Kind, Part, Tag, Token};

/// The filter that makes an operand minijinja's own number. No template can name it.
pub const NATIVE: &str = "_native";
/// The same for an operand of `*`: a number that came as a text must not be repeated.
pub const FACTOR: &str = "_factor";
/// The filter that makes an operand of `~` a text as the relay prints it.
pub const TEXT: &str = "_text";
/// The filter that makes what stands in `a[…]` a key.
pub const KEY: &str = "_key";
/// The filters that compare, by operator.
pub const COMPARISONS: [(&str, &str); 8] = [
    ("==", "_eq"),
    ("!=", "_ne"),
    ("<", "_lt"),
    ("<=", "_le"),
    (">", "_gt"),
    (">=", "_ge"),
    ("in", "_in"),
    ("not in", "_not_in"),
];

/// A rewritten template, and where its parts came from.
#[derive(Debug)]
pub struct Rewritten {
    pub source: String,
    /// Where the original names filters.
    pub filters: Vec<Range<usize>>,
    /// Where it names tests.
    pub tests: Vec<Range<usize>>,
    /// Where a run of the rewritten text begins, and where the same text begins in the original; in order.
    runs: Vec<(usize, Range<usize>)>,
}

impl Rewritten {
    /// The place in the original text for one in the rewritten.
    pub fn original(&self, range: Range<usize>) -> Range<usize> {
        let place = |at: usize| {
            let run = self.runs.iter().rev().find(|(begin, _)| *begin <= at);
            run.map_or(at, |(begin, original)| (original.start + (at - begin)).min(original.end))
        };
        let start = place(range.start);
        start..place(range.end).max(start)
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Same(Range<usize>),
    New(String),
    Gone(Range<usize>),
}

/// Rewrites a template that compiles.
pub fn rewrite(source: &str) -> Rewritten {
    let mut writer = Writer { source, pieces: Vec::new(), filters: Vec::new(), tests: Vec::new() };
    for part in tags::parts(source) {
        if let Part::Tag(tag) = part {
            writer.tag(&tag);
        }
    }
    writer.finish()
}

struct Writer<'s> {
    source: &'s str,
    pieces: Vec<Piece>,
    filters: Vec<Range<usize>>,
    tests: Vec<Range<usize>>,
}

impl Writer<'_> {
    /// Rewrites the expressions of a tag.
    fn tag(&mut self, tag: &Tag) {
        let tokens = &tag.tokens;
        let mut from = 0;
        if tag.is_block {
            let past = |text: &str| tokens.iter().position(|token| &self.source[token.at.clone()] == text);
            from = match tag.word(self.source) {
                Some("if" | "elif" | "do" | "with") => 1,
                Some("for") => past("in").map_or(tokens.len(), |at| at + 1),
                Some("set") => past("=").map_or(tokens.len(), |at| at + 1),
                _ => tokens.len(),
            };
        }
        let mut parser = Parser { source: self.source, tokens, next: from, filters: Vec::new(), tests: Vec::new() };
        let pieces = parser.level();
        let is_understood = parser.next == tokens.len();
        if is_understood {
            self.filters.append(&mut parser.filters);
            self.tests.append(&mut parser.tests);
        }
        // Anything left is not understood, and the tag stays as it is.
        if is_understood && pieces.iter().any(|piece| matches!(piece, Piece::New(_))) {
            let start = tokens.get(from).map_or(tag.begin, |token| token.at.start);
            self.pieces.push(Piece::Same(tag.begin..start));
            self.pieces.extend(pieces);
        }
    }

    fn finish(mut self) -> Rewritten {
        self.pieces.push(Piece::Same(self.source.len()..self.source.len()));
        let mut source = String::with_capacity(self.source.len());
        let mut runs = Vec::new();
        let mut before = 0;
        for piece in self.pieces {
            match piece {
                // With the white space that stands before it.
                Piece::Same(range) => {
                    runs.push((source.len(), before..range.end));
                    source.push_str(&self.source[before..range.end]);
                    before = range.end;
                }
                Piece::Gone(range) => before = range.end,
                Piece::New(text) => {
                    runs.push((source.len(), before..before));
                    source.push_str(&text);
                }
            }
        }
        Rewritten { source, filters: self.filters, tests: self.tests, runs }
    }
}

/// Words that stand between operands.
const JOINTS: [&str; 5] = ["and", "or", "not", "if", "else"];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "//", "%", "**"];

struct Parser<'t> {
    source: &'t str,
    tokens: &'t [Token],
    next: usize,
    filters: Vec<Range<usize>>,
    tests: Vec<Range<usize>>,
}

#[derive(Default)]
struct Operand {
    pieces: Vec<Piece>,
    /// It has no sign, and is no test.
    is_plain: bool,
    is_test: bool,
    /// It is written out, so it is minijinja's own already.
    is_literal: bool,
    /// It is written out, in quotes.
    is_text: bool,
}

enum Item {
    Operand(Operand),
    /// An operator, as it stands in [`ARITHMETIC`] or [`COMPARISONS`], or `~`.
    Operator(&'static str, Range<usize>),
    Joint(Range<usize>),
}

impl<'t> Parser<'t> {
    fn word(&self) -> Option<&'t str> {
        self.tokens.get(self.next).map(|token| &self.source[token.at.clone()])
    }

    fn kind(&self) -> Option<Kind> {
        self.tokens.get(self.next).map(|token| token.kind)
    }

    fn name(&self) -> Option<Range<usize>> {
        self.tokens.get(self.next).filter(|token| token.kind == Kind::Word).map(|token| token.at.clone())
    }

    fn take(&mut self) -> Range<usize> {
        self.next += 1;
        self.tokens[self.next - 1].at.clone()
    }

    /// Everything up to a closing bracket, or the end.
    fn level(&mut self) -> Vec<Piece> {
        let mut items = Vec::new();
        while let Some(word) = self.word() {
            let after_operand = matches!(items.last(), Some(Item::Operand(_)));
            if matches!(word, ")" | "]" | "}") && self.kind() == Some(Kind::Sign) {
                break;
            }
            let item = match self.operator(after_operand) {
                Some(operator) => operator,
                None if word == "-" && !after_operand => {
                    let sign = self.take();
                    Item::Operand(self.operand(Some(sign)))
                }
                None if self.begins_operand(word) && !after_operand => Item::Operand(self.operand(None)),
                None => Item::Joint(self.take()),
            };
            items.push(item);
        }
        write(items, self.source)
    }

    fn operator(&mut self, after_operand: bool) -> Option<Item> {
        let word = self.word().filter(|_| after_operand)?;
        if word == "not" {
            let begin = self.take();
            if self.word() == Some("in") {
                let end = self.take();
                return Some(Item::Operator("not in", begin.start..end.end));
            }
            return Some(Item::Joint(begin));
        }
        let known = COMPARISONS.iter().map(|(sign, _)| *sign).chain(ARITHMETIC).chain(["~"]);
        let sign = known.into_iter().find(|sign| *sign == word)?;
        Some(Item::Operator(sign, self.take()))
    }

    fn begins_operand(&self, word: &str) -> bool {
        match self.kind() {
            Some(Kind::Literal) => true,
            Some(Kind::Word) => !JOINTS.contains(&word) && !matches!(word, "in" | "is"),
            Some(Kind::Sign) => matches!(word, "(" | "[" | "{"),
            None => false,
        }
    }

    /// A name, a literal or something in brackets, with what hangs on it: `.name`, `[…]`, `(…)`, filters and tests.
    fn operand(&mut self, sign: Option<Range<usize>>) -> Operand {
        let mut operand = Operand { is_plain: sign.is_none(), ..Operand::default() };
        let mut has_sign = sign.is_some();
        if let Some(sign) = sign {
            operand.pieces.push(Piece::Same(sign));
            while self.word() == Some("-") {
                let sign = self.take();
                operand.pieces.push(Piece::Same(sign));
            }
            has_sign = self.kind() != Some(Kind::Literal);
            operand.pieces.extend(has_sign.then(|| Piece::New("(".to_owned())));
        }
        operand.is_literal = self.kind() == Some(Kind::Literal);
        operand.is_text = operand.is_literal && self.word().is_some_and(|word| word.starts_with(['"', '\'']));
        self.primary(&mut operand.pieces);
        // A sign binds closer than a filter.
        if has_sign {
            operand.pieces.push(Piece::New(format!("|{NATIVE})")));
        }
        loop {
            match self.word() {
                Some("|") if self.kind() == Some(Kind::Sign) => {
                    operand.is_literal = false;
                    self.same(&mut operand.pieces);
                    self.filters.extend(self.name());
                    self.same(&mut operand.pieces);
                    self.brackets(&mut operand.pieces, "(");
                }
                Some("is") if self.kind() == Some(Kind::Word) => {
                    (operand.is_test, operand.is_plain) = (true, false);
                    self.test(&mut operand.pieces);
                }
                _ => return operand,
            }
        }
    }

    fn primary(&mut self, pieces: &mut Vec<Piece>) {
        let Some(word) = self.word() else { return };
        if self.kind() == Some(Kind::Sign) && matches!(word, "(" | "[" | "{") {
            self.brackets(pieces, word);
        } else {
            self.same(pieces);
        }
        loop {
            match self.word() {
                Some(".") => {
                    self.same(pieces);
                    self.same(pieces);
                }
                Some("[") => self.subscript(pieces),
                Some("(") => self.brackets(pieces, "("),
                _ => return,
            }
        }
    }

    /// `[key]`, or the part of a list or a text: `[1:2]`.
    fn subscript(&mut self, pieces: &mut Vec<Piece>) {
        self.same(pieces);
        let begin = self.next;
        let key = self.level();
        let within = &self.tokens[begin..self.next];
        let is_written_out = matches!(within, [] | [Token { kind: Kind::Literal, .. }]);
        if is_written_out || within.iter().any(|token| &self.source[token.at.clone()] == ":") {
            pieces.extend(key);
        } else {
            pieces.push(Piece::New("(".to_owned()));
            pieces.extend(key);
            pieces.push(Piece::New(format!(")|{KEY}")));
        }
        self.same(pieces);
    }

    /// `is`, `is not`, the test's name and its argument.
    fn test(&mut self, pieces: &mut Vec<Piece>) {
        self.same(pieces);
        if self.word() == Some("not") {
            self.same(pieces);
        }
        self.tests.extend(self.name());
        self.same(pieces);
        match self.word() {
            Some("(") => self.brackets(pieces, "("),
            Some(word) if self.begins_operand(word) => self.primary(pieces),
            _ => {}
        }
    }

    fn same(&mut self, pieces: &mut Vec<Piece>) {
        if self.next < self.tokens.len() {
            let at = self.take();
            pieces.push(Piece::Same(at));
        }
    }

    fn brackets(&mut self, pieces: &mut Vec<Piece>, open: &str) {
        if self.word() == Some(open) && self.kind() == Some(Kind::Sign) {
            self.same(pieces);
            pieces.extend(self.level());
            self.same(pieces);
        }
    }
}

/// Puts the items of a level together.
fn write(items: Vec<Item>, source: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut run = Vec::new();
    for item in items {
        match item {
            Item::Joint(at) => {
                write_run(&std::mem::take(&mut run), source, &mut pieces);
                pieces.push(Piece::Same(at));
            }
            item => run.push(item),
        }
    }
    write_run(&run, source, &mut pieces);
    pieces
}

/// A longer operand between two comparisons is not written twice.
const REPEATED_BYTES_MAX: usize = 200;

/// Operands with operators between them.
fn write_run(run: &[Item], source: &str, pieces: &mut Vec<Piece>) {
    match comparisons(run, source) {
        Some(compared) => pieces.extend(compared),
        None => write_computed(run, pieces),
    }
}

/// `a < b` as a filter, and `a < b < c` as two.
fn comparisons(run: &[Item], source: &str) -> Option<Vec<Piece>> {
    let filter = |item: &Item| match item {
        Item::Operator(sign, at) => {
            COMPARISONS.iter().find(|(known, _)| known == sign).map(|(_, filter)| (*filter, at.clone()))
        }
        _ => None,
    };
    let signs: Vec<_> = run.iter().filter_map(filter).collect();
    let sides: Vec<&[Item]> = run.split(|item| filter(item).is_some()).collect();
    let is_whole =
        |side: &&[Item]| matches!((side.first(), side.last()), (Some(Item::Operand(_)), Some(Item::Operand(_))));
    let has_test = run.iter().any(|item| matches!(item, Item::Operand(operand) if operand.is_test));
    if signs.is_empty() || has_test || !sides.iter().all(is_whole) {
        return None;
    }
    let is_chain = signs.len() > 1;
    let mut pieces = Vec::new();
    pieces.extend(is_chain.then(|| Piece::New("(".to_owned())));
    for (i, (filter, at)) in signs.into_iter().enumerate() {
        let left = left_of_a_filter(sides[i]);
        if i == 0 {
            pieces.extend(left);
        } else {
            let again = repeated(&left, source);
            pieces.push(Piece::New(format!(" and {}", again.filter(|text| text.len() <= REPEATED_BYTES_MAX)?)));
        }
        pieces.push(Piece::Gone(at));
        pieces.push(Piece::New(format!("|{filter}(")));
        write_computed(sides[i + 1], &mut pieces);
        pieces.push(Piece::New(")".to_owned()));
    }
    pieces.extend(is_chain.then(|| Piece::New(")".to_owned())));
    Some(pieces)
}

/// What a filter is put behind: in brackets if it is more than a plain operand.
fn left_of_a_filter(side: &[Item]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if let [Item::Operand(operand)] = side
        && operand.is_plain
    {
        pieces.extend(operand.pieces.iter().cloned());
        return pieces;
    }
    pieces.push(Piece::New("(".to_owned()));
    write_computed(side, &mut pieces);
    pieces.push(Piece::New(")".to_owned()));
    pieces
}

/// The text of pieces, to be written once more.
fn repeated(pieces: &[Piece], source: &str) -> Option<String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Same(at) => {
                text.push_str(source.get(at.clone())?);
                text.push(' ');
            }
            Piece::New(new) => text.push_str(new),
            Piece::Gone(_) => {}
        }
    }
    Some(text)
}

/// Operands of arithmetic and of `~`.
fn write_computed(run: &[Item], pieces: &mut Vec<Piece>) {
    let operator = |at: Option<usize>| match at.and_then(|at| run.get(at)) {
        Some(Item::Operator(sign, _)) => Some(*sign),
        _ => None,
    };
    for (i, item) in run.iter().enumerate() {
        match item {
            Item::Operand(operand) => {
                pieces.extend(operand.pieces.iter().cloned());
                let around = [operator(i.checked_sub(1)), operator(Some(i + 1))];
                let filter = match around {
                    [None, None] => None,
                    _ if around.contains(&Some("*")) => Some(FACTOR),
                    [Some("~"), None | Some("~")] | [None, Some("~")] => Some(TEXT),
                    _ => Some(NATIVE),
                };
                let is_fit = |filter: &&str| !operand.is_literal || (operand.is_text && *filter == FACTOR);
                if let Some(filter) = filter.filter(|filter| operand.is_plain && is_fit(filter)) {
                    pieces.push(Piece::New(format!("|{filter}")));
                }
            }
            Item::Operator(_, at) | Item::Joint(at) => pieces.push(Piece::Same(at.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(rewrite(source).source, expected, "{source}");
    }

    #[test]
    fn a_comparison_of_two_operands_becomes_a_filter() {
        check("{% if a.b > 100 %}x{% endif %}", "{% if a.b|_gt( 100) %}x{% endif %}");
        check("{{ 'y' if a==b else c }}", "{{ 'y' if a|_eq(b) else c }}");
        check("{{ a in [1, 2] and not b }}", "{{ a|_in( [1, 2]) and not b }}");
        check("{{ a not in b }}", "{{ a|_not_in( b) }}");
        check("{{ f(a < b, c=d >= 1)|g(e != 2) }}", "{{ f(a|_lt( b), c=d|_ge( 1))|g(e|_ne( 2)) }}");
        check("{% for x in l if x > 1 %}{% endfor %}", "{% for x in l if x|_gt( 1) %}{% endfor %}");
        check("{% set n = a <= b %}", "{% set n = a|_le( b) %}");
        check("{{ a|round(2) > b[0].c }}", "{{ a|round(2)|_gt( b[0].c) }}");
        check("{{ x > -1 }}", "{{ x|_gt( -1) }}");
        check("{{ -1 < x }}", "{{ (-1)|_lt( x) }}");
        check("{{ a + 1 > b - c }}", "{{ (a|_native + 1)|_gt( b|_native - c|_native) }}");
        check("{% if not a < b <= c and d %}", "{% if not( a|_lt( b) and b |_le( c)) and d %}");
    }

    #[test]
    fn an_operand_of_arithmetic_is_made_a_number() {
        check("{{ a + b * 2 }}", "{{ a|_native + b|_factor * 2 }}");
        check("{{ (a or 0) * 2 > 3 }}", "{{ ((a or 0)|_factor * 2)|_gt( 3) }}");
        check("{{ -a|abs }}", "{{ -(a|_native)|abs }}");
        check("{{ -1 }}", "{{ -1 }}");
        check("{%- if a - 1 -%}x{%- endif -%}", "{%- if a|_native - 1 -%}x{%- endif -%}");
    }

    #[test]
    fn an_operand_of_a_concatenation_is_made_a_text_and_one_in_brackets_a_key() {
        check("{{ a ~ ' > ' ~ b | default('1 + 1') }}", "{{ a|_text ~ ' > ' ~ b | default('1 + 1')|_text }}");
        check("{{ a ~ b + 1 }}", "{{ a|_text ~ b|_native + 1 }}");
        check("{{ a[b].c['d'][e:1][0] }}", "{{ a[(b)|_key].c['d'][e:1][0] }}");
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for source in [
            "plain { text } %}",
            "{{ a }}",
            "{# a > b #}{{ a }}",
            "{% raw %}{{ a > b }}{% endraw %}{{ a }}",
            "{{ a is defined and b is not none or c }}",
            "{{ a[1:2] }}{{ {'a': [b, c]} }}",
            "{% set x %}a > b{% endset %}",
            "{% macro m(a=1) %}{% endmacro %}",
            "{{ 'unclosed",
            "{{ a",
        ] {
            check(source, source);
        }
    }

    #[test]
    fn a_place_in_the_rewritten_text_is_one_in_the_original() {
        let source = "{{ a > b }} and {{ c | nope }}";
        let rewritten = rewrite(source);
        let at = rewritten.source.find("nope").expect("there");
        assert_eq!(&source[rewritten.original(at..at + 4)], "nope");
    }
}

//! The operators: one file each, and one line in the list `operators!`.
//!
//! An operator gets one argument, as it stands in the YAML, and says of one value whether it satisfies it. Lists of arguments
//! (any of them), `not`, and several operators in one map are put together around it and are none of its business.

/// Declares the operators: for each a module, with the kinds that it has.
macro_rules! operators {
    ($($module:ident: $($kind:ident),+;)*) => {
        $(mod $module;)*

        /// All operators, in the order in which help lists them.
        pub const OPERATORS: [&OperatorKind; [$($(stringify!($kind)),+),*].len()] = [$($(&$module::$kind),+),*];
    };
}

operators! {
    equals: EQUALS;
    glob: GLOB;
    regex: REGEX;
    contains: CONTAINS;
    starts_with: STARTS_WITH;
    ends_with: ENDS_WITH;
    exists: EXISTS;
    compare: GT, GTE, LT, LTE;
    moments: AFTER, BEFORE;
}

use std::cmp::Ordering;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use self::equals::equals_any;
use crate::event::{Decimal, Value};
use crate::fault::Fault;

/// An operator as a config can name it.
pub struct OperatorKind {
    /// Its key in the YAML.
    pub name: &'static str,
    /// When it holds, of the text or the value of a field.
    pub about: &'static str,
    /// It in a match, as YAML on one line.
    pub example: &'static str,
    /// What its argument may be.
    pub takes: Takes,
    /// Which fields it can test.
    pub of: &'static [Holds],
    /// Whether `ignore_case` means something to it.
    pub has_case: bool,
    /// Builds it with its argument, or says what is wrong with the argument.
    pub build: fn(&Argument, &Setting<'_>) -> Built,
}

/// What stands around an operator and says what its argument means.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Capital and small letters are alike.
    pub ignore_case: bool,
    /// What its field holds.
    pub holds: Holds,
    /// Where a date or a time is meant that does not say.
    pub zone: &'a TimeZone,
}

/// What a field holds, as far as it is known before any event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Anything,
    /// A time span, which is compared with time spans and with nothing else.
    Span,
}

/// What an operator's argument may be, for those who describe it; what it is not, `build` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Any single value, or a list of them.
    Value,
    /// A text, or a list of them.
    Text,
    /// A number, or a list of them; of a field that holds a time span, spans.
    Number,
    /// A date, or a date and a time, or a list of them.
    Moment,
    Boolean,
}

/// Whether it is the name of an operator that takes a moment.
pub fn takes_moments(name: &str) -> bool {
    OPERATORS.iter().any(|operator| operator.name == name && operator.takes == Takes::Moment)
}

/// An operator, or what is wrong with its argument.
pub type Built = Result<Box<dyn Operator>, Fault>;

/// A single argument as it stands in the YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// `null` or nothing.
    Null,
    /// `true` or `false`, unquoted.
    Bool(bool),
    /// An unquoted number, as written.
    Number(String),
    Text(String),
}

impl Argument {
    /// The text of a text or a number.
    fn text(&self) -> Result<&str, Fault> {
        match self {
            Argument::Text(text) | Argument::Number(text) => Ok(text),
            Argument::Bool(_) => Err("this needs a text: quote it".into()),
            Argument::Null => Err("this needs a text".into()),
        }
    }
}

/// One way to test a field, with its argument.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Whether one value that is neither array nor null satisfies it.
    fn accepts(&self, value: &Value<'_>) -> bool;

    /// Whether a field satisfies it: some element does. What the field holds is empty when it is missing.
    fn holds(&self, values: &[(u32, Value<'_>)]) -> bool {
        values.iter().any(|(_, value)| any_element(value, &|element| self.accepts(element)))
    }

    /// What the index may look it up by. [`Key::None`] if it can hold for values that cannot be looked up.
    fn key(&self) -> Key<'_> {
        Key::None
    }

    /// What it compares with, if it compares.
    fn bound(&self) -> Option<Bound<'_>> {
        None
    }

    /// What it takes a value for, where that is not what stands there.
    fn read_as(&self, _value: &Value<'_>) -> Option<String> {
        None
    }

    /// How many bytes it takes beyond its text, roughly.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether only a missing field satisfies it.
    fn wants_missing(&self) -> bool {
        false
    }
}

/// What an operator that compares wants.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'o> {
    /// What a value is compared with.
    pub edge: &'o Edge,
    /// Which of a value's orders to it make it hold.
    pub is_wanted: fn(Ordering) -> bool,
}

/// What values are compared with. Only what is of one sort has an order.
#[derive(Clone, Debug)]
pub enum Edge {
    Number(Decimal),
    Span(Duration),
    Moment(Timestamp),
}

impl Edge {
    /// How this lies to another, if they are of one sort.
    pub fn partial_cmp(&self, other: &Edge) -> Option<Ordering> {
        match (self, other) {
            (Edge::Number(one), Edge::Number(other)) => Some(one.cmp(other)),
            (Edge::Span(one), Edge::Span(other)) => Some(one.cmp(other)),
            (Edge::Moment(one), Edge::Moment(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

/// What a value must be for an operator to hold, as far as an index can use it.
#[derive(Clone, Copy, Debug)]
pub enum Key<'o> {
    /// Nothing that could be looked up.
    None,
    /// Its text is one of these.
    Exact(&'o [String]),
    /// Its text, lower-cased, is one of these.
    Folded(&'o [String]),
    /// Its text begins with this.
    Prefix(&'o str),
    /// Its text ends with this.
    Suffix(&'o str),
    /// Its text matches this regular expression.
    Pattern(&'o str),
}

/// Whether a value, or some element of an array, satisfies `accepts`. Null satisfies nothing.
pub(super) fn any_element(value: &Value<'_>, accepts: &dyn Fn(&Value<'_>) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| any_element(item, accepts)),
        Value::Null => false,
        value => accepts(value),
    }
}

/// A pattern over text; what `glob`, `regex` and the partial texts come down to.
#[derive(Debug)]
struct Pattern {
    form: Form,
    key: PatternKey,
    /// What the compiled form takes at most.
    bytes: usize,
}

#[derive(Debug)]
enum Form {
    Prefix(String),
    Suffix(String),
    Part(String),
    Regex(Box<::regex::Regex>),
    /// A text in any case, by its escaped form: few of them are ever asked, since the index finds those that match.
    Literal(String, OnceLock<Box<::regex::Regex>>),
}

#[derive(Debug)]
enum PatternKey {
    Prefix(String),
    Suffix(String),
    Regex(String),
}

/// A compiled pattern may take this many bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// And all of a config together, where each counts as the least of [`PATTERN_SIZES`] that it fits in: 4096 small ones. Compiling one large
/// mebibyte takes 7 ms, and a small pattern 65 µs; a small one keeps 14 KiB (measured).
pub const PATTERNS_BYTES_MAX: usize = 64 << 20;
/// What a pattern counts at least.
pub const PATTERN_BYTES_MIN: usize = PATTERN_SIZES[0];
/// The sizes that are tried, since a compiled pattern does not tell its own. Most patterns fit in the first.
const PATTERN_SIZES: [usize; 3] = [16 << 10, 128 << 10, PATTERN_BYTES_MAX];
/// A text up to this long is compiled when it is first needed: in any case of letters it fits in [`PATTERN_BYTES_MAX`].
const LITERAL_BYTES_MAX: usize = 256;
/// What is said of a pattern beyond the largest. Finding that out takes as long as compiling the largest.
const TOO_LARGE: &str = "the pattern is too large";

/// How many bytes an operator counts for, built or not.
pub fn pattern_bytes(built: &Built) -> usize {
    match built {
        Ok(operator) => operator.bytes(),
        Err(fault) if fault.message == TOO_LARGE => PATTERN_BYTES_MAX,
        Err(_) => 0,
    }
}

impl Pattern {
    /// A text that must stand at the start.
    fn prefix(text: &str, ignore_case: bool) -> Built {
        if ignore_case {
            return Self::literal(format!("^{}", ::regex::escape(text)), text);
        }
        let key = PatternKey::Prefix(text.to_owned());
        Ok(Box::new(Self { form: Form::Prefix(text.to_owned()), key, bytes: 0 }))
    }

    /// A text that must stand at the end.
    fn suffix(text: &str, ignore_case: bool) -> Built {
        if ignore_case {
            return Self::literal(format!("{}$", ::regex::escape(text)), text);
        }
        let key = PatternKey::Suffix(text.to_owned());
        Ok(Box::new(Self { form: Form::Suffix(text.to_owned()), key, bytes: 0 }))
    }

    /// A text that must stand somewhere.
    fn part(text: &str, ignore_case: bool) -> Built {
        if ignore_case {
            return Self::literal(::regex::escape(text), text);
        }
        let key = PatternKey::Regex(::regex::escape(text));
        Ok(Box::new(Self { form: Form::Part(text.to_owned()), key, bytes: 0 }))
    }

    /// A text that matches in any case, as `source` has it escaped.
    fn literal(source: String, text: &str) -> Built {
        if text.len() > LITERAL_BYTES_MAX {
            return Self::regex(source, true);
        }
        let source = without_case(&source);
        let form = Form::Literal(source.clone(), OnceLock::new());
        Ok(Box::new(Self { form, key: PatternKey::Regex(source), bytes: 0 }))
    }

    /// A regular expression that must match somewhere.
    fn regex(source: String, ignore_case: bool) -> Built {
        let source = if ignore_case { without_case(&source) } else { source };
        let in_the_users = |at: usize| if ignore_case { at.saturating_sub(NO_CASE.len()) } else { at };
        let (regex, bytes) = compile(&source).map_err(|fault| Fault {
            within: fault.within.map(|range| in_the_users(range.start)..in_the_users(range.end)),
            ..fault
        })?;
        Ok(Box::new(Self { form: Form::Regex(Box::new(regex)), key: PatternKey::Regex(source), bytes }))
    }

    /// A regular expression that can match only a text that begins so.
    fn regex_with_prefix(source: &str, prefix: &str) -> Built {
        let (regex, bytes) = compile(source)?;
        let form = Form::Regex(Box::new(regex));
        Ok(Box::new(Self { form, key: PatternKey::Prefix(prefix.to_owned()), bytes }))
    }
}

const NO_CASE: &str = "(?i:";

fn without_case(source: &str) -> String {
    format!("{NO_CASE}{source})")
}

/// Compiles a pattern; with it comes how many bytes it counts for.
fn compile(source: &str) -> Result<(::regex::Regex, usize), Fault> {
    let build = |size: usize| ::regex::RegexBuilder::new(source).size_limit(size).build().map(|regex| (regex, size));
    let is_too_big = |built: &Result<_, ::regex::Error>| matches!(built, Err(::regex::Error::CompiledTooBig(_)));
    let mut sizes = PATTERN_SIZES.into_iter();
    let mut built = build(sizes.next().unwrap_or(PATTERN_BYTES_MAX));
    while is_too_big(&built)
        && let Some(size) = sizes.next()
    {
        built = build(size);
    }
    match built {
        Ok(built) => Ok(built),
        Err(::regex::Error::CompiledTooBig(_)) => Err(TOO_LARGE.into()),
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(Fault::within(format!("the pattern does not compile: {why}"), place_in(source, &text)))
        }
    }
}

/// Where an error is in a pattern of one line: regex draws it, four spaces in, with carets below.
fn place_in(source: &str, drawn: &str) -> Option<std::ops::Range<usize>> {
    let mut lines = drawn.lines();
    lines.find(|line| line.strip_prefix("    ") == Some(source))?;
    let carets = lines.next()?.strip_prefix("    ")?;
    let start = carets.find('^')?;
    let end = carets.trim_end().len();
    let offset = |character: usize| source.char_indices().nth(character).map_or(source.len(), |(at, _)| at);
    Some(offset(start)..offset(end))
}

impl Operator for Pattern {
    fn accepts(&self, value: &Value<'_>) -> bool {
        value.text().is_some_and(|text| match &self.form {
            Form::Prefix(part) => text.starts_with(part.as_str()),
            Form::Suffix(part) => text.ends_with(part.as_str()),
            Form::Part(part) => text.contains(part.as_str()),
            Form::Regex(regex) => regex.is_match(text),
            Form::Literal(source, regex) => regex
                .get_or_init(|| Box::new(::regex::Regex::new(source).expect("a short escaped text compiles")))
                .is_match(text),
        })
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn key(&self) -> Key<'_> {
        match &self.key {
            PatternKey::Prefix(text) => Key::Prefix(text),
            PatternKey::Suffix(text) => Key::Suffix(text),
            PatternKey::Regex(source) => Key::Pattern(source),
        }
    }
}

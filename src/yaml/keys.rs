//! The keys that a file can have, each written once.
//!
//! # Cast
//!
//! * [`Key`]: a name, and the [`Shape`] of what stands behind it: the type reads it, and says what it takes.
//! * [`Defaulted`]: a key with a value for when the file is silent.
//! * [`Info`]: a key without its type, as a section lists it and a reference tells it.
//! * [`Section`]: the keys of one map.
//!
//! The reader takes entries by these values ([`Entries`](super::entries::Entries)), and the schema and the reference are loops over the
//! same ones. So a limit, a default or a text cannot be one thing here and another there.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Node;
use super::reader::Reader;
use super::sight::Sight;
use crate::secret::Secret;
use crate::units::{shown_duration, shown_size};

/// A key, typed by what is read from behind it.
pub struct Key<T: 'static> {
    /// All that is told of it.
    pub info: Info,
    read: Read<T>,
}

/// A key that has a value also where the file is silent.
pub struct Defaulted<T: 'static> {
    /// All that is told of it.
    pub info: Info,
    pub default: T,
    read: Read<T>,
}

/// Wherever `${…}` stands, nothing can be said of what comes in its place: a pattern that finds it.
pub const INTERPOLATED: &str = r"\$\{";

/// Reads a value by what it must be, and tells what is wrong with it.
type Read<T> = fn(&Reader, &Of, &Node) -> Option<T>;

/// What stands behind a key: how it is read, and how it is described.
pub struct Shape<T: 'static> {
    of: Of,
    read: Read<T>,
}

/// A key as it is told: to editors, in the reference, in messages.
#[derive(Clone, Copy)]
pub struct Info {
    /// As it is written.
    pub name: &'static str,
    /// What stands behind it.
    pub of: Of,
    /// What it is for, and why it has its limits.
    pub about: Words,
    /// What holds when it is not there.
    pub absent: Absent,
    /// A value, as YAML on one line.
    pub example: &'static str,
    /// How much of a value may be seen, and of whatever stands below it where it has no keys of its own.
    pub sight: Sight,
    /// With nothing behind it, it is refused: who wrote it counts on it.
    pub is_never_empty: bool,
}

/// A text, or how it is put together where it repeats a constant.
#[derive(Clone, Copy)]
pub enum Words {
    Plain(&'static str),
    /// Made when it is asked for.
    Made(fn() -> String),
}

/// What holds when a key is not there.
#[derive(Clone, Copy)]
pub enum Absent {
    Nothing,
    /// It must be there.
    Refused,
    /// It must be there, or among the defaults of its kind.
    RefusedWithoutDefault,
    Boolean(bool),
    /// A number, or bytes.
    Number(u64),
    Duration(Duration),
    Text(&'static str),
    /// What one value cannot say.
    Told(Words),
}

/// What can stand behind a key.
#[derive(Clone, Copy)]
pub enum Of {
    Text,
    /// A text that is never shown and never empty.
    Secret,
    /// A text of a form: a regular expression, and what people call it.
    Form(&'static str, &'static str),
    /// One word of some.
    Word(&'static [&'static str]),
    Boolean,
    /// A whole number within limits.
    Whole(u64, u64),
    /// A duration within limits.
    Duration(Duration, Duration),
    /// A size in bytes within limits.
    Size(u64, u64),
    /// So many in a time.
    Rate,
    /// One text or a list of them.
    Texts,
    /// One secret or a list of them.
    Secrets,
    /// A map of names to secrets.
    SecretsByName,
    /// A map with these keys.
    Map(fn() -> Section),
    /// A secret, or a map with these keys.
    SecretOrMap(fn() -> Section),
    /// A map of names to maps with these keys.
    Named(fn() -> Section),
    /// The same, put together where a function cannot.
    Fixed(&'static Section),
    /// A list of maps with these keys.
    List(fn() -> Section),
    /// What only its owner can describe: what people call it, and its JSON Schema.
    Own(&'static str, fn() -> Value),
}

/// A map whose keys are known.
#[derive(Clone)]
pub struct Section {
    /// Its keys, in the order in which people should meet them.
    pub keys: Vec<Info>,
    /// What must hold besides, each a JSON Schema.
    pub besides: Vec<Value>,
    /// What must hold besides in a destination whose kind has no defaults, each a JSON Schema.
    pub alone: Vec<Value>,
}

/// A key that may be missing, with what stands behind it.
pub const fn key<T>(name: &'static str, shape: Shape<T>) -> Key<T> {
    let info = Info {
        name,
        of: shape.of,
        about: Words::Plain(""),
        absent: Absent::Nothing,
        example: "",
        sight: Sight::Names,
        is_never_empty: false,
    };
    Key { info, read: shape.read }
}

impl<T> Key<T> {
    /// What it is for, and why it has its limits.
    pub const fn about(self, about: &'static str) -> Self {
        Self { info: Info { about: Words::Plain(about), ..self.info }, read: self.read }
    }

    /// The same, where the text repeats a constant.
    pub const fn about_made(self, about: fn() -> String) -> Self {
        Self { info: Info { about: Words::Made(about), ..self.info }, read: self.read }
    }

    /// A value, as YAML on one line.
    pub const fn example(self, example: &'static str) -> Self {
        Self { info: Info { example, ..self.info }, read: self.read }
    }

    /// More of a value may be seen than the names of variables in it.
    pub const fn seen(self, sight: Sight) -> Self {
        Self { info: Info { sight, ..self.info }, read: self.read }
    }

    /// With nothing behind it, it is refused: who wrote it counts on it. What the defaults of a kind say is taken out in that way all the same.
    pub const fn never_empty(self) -> Self {
        Self { info: Info { is_never_empty: true, ..self.info }, read: self.read }
    }

    /// It must be there.
    pub const fn required(self) -> Self {
        self.absent(Absent::Refused)
    }

    /// It must be there, or among the defaults of its kind.
    pub const fn required_or_default(self) -> Self {
        self.absent(Absent::RefusedWithoutDefault)
    }

    /// What holds without it, where one value cannot say it.
    pub const fn otherwise(self, told: &'static str) -> Self {
        self.absent(Absent::Told(Words::Plain(told)))
    }

    /// The same, where the text repeats constants.
    pub const fn otherwise_made(self, told: fn() -> String) -> Self {
        self.absent(Absent::Told(Words::Made(told)))
    }

    const fn absent(self, absent: Absent) -> Self {
        Self { info: Info { absent, ..self.info }, read: self.read }
    }

    /// Reads what stands behind it.
    pub(super) fn read(&self, reader: &Reader, node: &Node) -> Option<T> {
        (self.read)(reader, &self.info.of, node)
    }
}

impl<T> Defaulted<T> {
    /// Reads what stands behind it.
    pub(crate) fn read(&self, reader: &Reader, node: &Node) -> Option<T> {
        (self.read)(reader, &self.info.of, node)
    }
}

impl Key<bool> {
    /// The value that it has where it is missing.
    pub const fn default(self, default: bool) -> Defaulted<bool> {
        Defaulted { info: Info { absent: Absent::Boolean(default), ..self.info }, default, read: self.read }
    }
}

impl Key<u64> {
    /// The value that it has where it is missing.
    pub const fn default(self, default: u64) -> Defaulted<u64> {
        Defaulted { info: Info { absent: Absent::Number(default), ..self.info }, default, read: self.read }
    }
}

impl Key<Duration> {
    /// The value that it has where it is missing.
    pub const fn default(self, default: Duration) -> Defaulted<Duration> {
        Defaulted { info: Info { absent: Absent::Duration(default), ..self.info }, default, read: self.read }
    }
}

impl Key<String> {
    /// The text that it has where it is missing: who reads it has it as [`Info::default_text`].
    pub const fn default(self, default: &'static str) -> Self {
        self.absent(Absent::Text(default))
    }
}

pub const fn text() -> Shape<String> {
    Shape { of: Of::Text, read: read_text }
}

/// A text of a form; `called` is what people call it. Whoever takes it says what is wrong with another.
pub const fn form(pattern: &'static str, called: &'static str) -> Shape<String> {
    Shape { of: Of::Form(pattern, called), read: read_text }
}

/// One word of some. Whoever takes it says what is wrong with another.
pub const fn word(words: &'static [&'static str]) -> Shape<String> {
    Shape { of: Of::Word(words), read: read_text }
}

/// A text that gives access.
pub const fn secret() -> Shape<Secret> {
    Shape { of: Of::Secret, read: |reader, _, node| reader.credential(node) }
}

pub const fn boolean() -> Shape<bool> {
    Shape { of: Of::Boolean, read: |reader, _, node| reader.boolean(node) }
}

/// A whole number within limits.
pub const fn whole(within: RangeInclusive<u64>) -> Shape<u64> {
    Shape { of: Of::Whole(*within.start(), *within.end()), read: read_number }
}

/// A size within limits.
pub const fn size(within: RangeInclusive<u64>) -> Shape<u64> {
    Shape { of: Of::Size(*within.start(), *within.end()), read: read_number }
}

/// A duration within limits.
pub const fn duration(within: RangeInclusive<Duration>) -> Shape<Duration> {
    Shape { of: Of::Duration(*within.start(), *within.end()), read: read_duration }
}

/// A rate, as the time between two.
pub const fn rate() -> Shape<Duration> {
    Shape { of: Of::Rate, read: |reader, _, node| reader.rate(node) }
}

/// What has no type here: whoever takes its node reads it.
pub const fn by_hand(of: Of) -> Shape<()> {
    Shape { of, read: |_, _, _| None }
}

fn read_text(reader: &Reader, _: &Of, node: &Node) -> Option<String> {
    reader.text(node).map(str::to_owned)
}

fn read_number(reader: &Reader, of: &Of, node: &Node) -> Option<u64> {
    match *of {
        Of::Whole(least, most) => reader.number(node, least..=most),
        Of::Size(least, most) => reader.size(node, least..=most),
        _ => unreachable!("a number is whole or a size"),
    }
}

fn read_duration(reader: &Reader, of: &Of, node: &Node) -> Option<Duration> {
    match *of {
        Of::Duration(least, most) => reader.duration(node, least, most),
        _ => unreachable!("a duration has its limits"),
    }
}

impl Words {
    pub fn text(self) -> String {
        match self {
            Words::Plain(text) => text.to_owned(),
            Words::Made(make) => make(),
        }
    }
}

impl Info {
    /// How much of a value may be seen. A number, a size, a duration or one word of some is no secret.
    pub fn sight(&self) -> Sight {
        match self.of {
            Of::Boolean | Of::Whole(..) | Of::Size(..) | Of::Duration(..) | Of::Rate | Of::Word(_) => Sight::All,
            _ => self.sight,
        }
    }

    /// The same with another example, where a key stands in several places.
    pub const fn with_example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// The value that a missing key stands for, as JSON.
    pub fn default_value(&self) -> Option<Value> {
        Some(match (self.absent, self.of) {
            (Absent::Boolean(value), _) => json!(value),
            (Absent::Number(bytes), Of::Size(..)) => json!(shown_size(bytes)),
            (Absent::Number(number), _) => json!(number),
            (Absent::Duration(duration), _) => json!(shown_duration(duration)),
            (Absent::Text(text), _) => json!(text),
            (Absent::Nothing | Absent::Refused | Absent::RefusedWithoutDefault | Absent::Told(_), _) => return None,
        })
    }

    /// The text that a missing key stands for; empty if it stands for no text.
    pub const fn default_text(&self) -> &'static str {
        match self.absent {
            Absent::Text(text) => text,
            _ => "",
        }
    }

    /// Whether it must be there, here or in the defaults.
    pub fn is_required(&self) -> bool {
        matches!(self.absent, Absent::Refused | Absent::RefusedWithoutDefault)
    }
}

impl Section {
    /// A section with these keys.
    pub fn of(keys: &[Info]) -> Self {
        Self { keys: keys.to_vec(), besides: Vec::new(), alone: Vec::new() }
    }

    /// The same with more keys.
    pub fn and(mut self, keys: &[Info]) -> Self {
        self.keys.extend_from_slice(keys);
        self
    }

    /// How much may be seen of a value that these keys lead to.
    pub fn sight(&self, path: &[&str]) -> Sight {
        let found = path.split_first().and_then(|(key, below)| {
            let info = self.keys.iter().find(|known| known.name == *key)?;
            Some((info, below))
        });
        let Some((info, below)) = found else { return Sight::Names };
        match (info.of, below) {
            (Of::Named(keys), [_, below @ ..]) => keys().sight(below),
            (of, below) => of.section().map_or_else(|| info.sight(), |section| section.sight(below)),
        }
    }

    /// Something else must hold.
    pub fn besides(mut self, schema: Value) -> Self {
        self.besides.push(schema);
        self
    }

    /// Something else must hold where the kind has no defaults.
    pub fn besides_alone(mut self, schema: Value) -> Self {
        self.alone.push(schema);
        self
    }

    /// Exactly one of some keys is there.
    pub fn one_of(self, names: &[&str]) -> Self {
        let choices: Vec<_> = names.iter().map(|name| json!({ "required": [name] })).collect();
        self.besides(json!({ "oneOf": choices }))
    }

    /// Two keys are not there together.
    pub fn never(self, one: &str, other: &str) -> Self {
        self.besides(not_both(one, other))
    }

    /// Whether two keys are not there together.
    pub fn excludes(&self, one: &str, other: &str) -> bool {
        self.besides.contains(&not_both(one, other)) || self.besides.contains(&not_both(other, one))
    }
}

fn not_both(one: &str, other: &str) -> Value {
    json!({ "not": { "required": [one, other] } })
}

impl Of {
    /// What people call it.
    pub fn called(&self) -> String {
        match self {
            Of::Text => "text".to_owned(),
            Of::Secret => "secret".to_owned(),
            Of::Form(_, called) | Of::Own(called, _) => (*called).to_owned(),
            Of::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Of::Boolean => "true or false".to_owned(),
            Of::Whole(..) => "whole number".to_owned(),
            Of::Duration(..) => "duration".to_owned(),
            Of::Size(..) => "size".to_owned(),
            Of::Rate => "rate".to_owned(),
            Of::Texts => "text or list of texts".to_owned(),
            Of::Secrets => "secret or list of secrets".to_owned(),
            Of::SecretsByName => "map of names to secrets".to_owned(),
            Of::Map(_) | Of::Fixed(_) => "map".to_owned(),
            Of::SecretOrMap(_) => "secret or map".to_owned(),
            Of::Named(_) => "map of names to maps".to_owned(),
            Of::List(_) => "list of maps".to_owned(),
        }
    }

    /// Its limits, as the reader tells them.
    pub fn range(&self) -> Option<[String; 2]> {
        match self {
            Of::Whole(least, most) => Some([least.to_string(), most.to_string()]),
            Of::Duration(least, most) => Some([*least, *most].map(shown_duration)),
            Of::Size(least, most) => Some([*least, *most].map(shown_size)),
            _ => None,
        }
    }

    /// The section that stands below it, if one does.
    pub fn section(&self) -> Option<Section> {
        match self {
            Of::Map(section) | Of::SecretOrMap(section) | Of::Named(section) | Of::List(section) => Some(section()),
            Of::Fixed(section) => Some((*section).clone()),
            _ => None,
        }
    }
}

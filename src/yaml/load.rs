//! Reading YAML into nodes. Nothing else in the program names serde_yaml.
//!
//! The tree from the first walk guides a second, which is how a number gets its text: asked for a string, serde_yaml hands out what
//! stands in the file. Places are found by [`places`](super::places).

use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::raw::{Key, Node, NodeId, Scalar, Style, Value};

/// A larger file is refused before it is parsed.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// A file may hold this many values, aliases written out.
pub const NODES_MAX: u32 = 500_000;
/// And texts of so many bytes in all, aliases written out.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
/// Lists and maps may lie in one another this deep. Nobody reads deeper, and libyaml's time grows with the square of it.
pub const NESTING_MAX: usize = 64;

/// Brackets that text stands behind may be open at once, over all lines; a text in several lines may hold some that open nothing.
const OPEN_MAX: usize = 256;

/// A place in the file, counting from 1; the column counts characters as serde_yaml does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// The offset in bytes.
    pub offset: usize,
}

/// The text is not YAML that can be read.
#[derive(Debug)]
pub struct SyntaxError {
    /// What is wrong, without the place.
    pub message: String,
    /// Where, when it is known.
    pub place: Option<Place>,
}

impl From<serde_yaml::Error> for SyntaxError {
    fn from(error: serde_yaml::Error) -> Self {
        let place = place(&error);
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        // serde_yaml begins with the path of keys that leads there, and its own limits have no names.
        let theirs = OWN_WORDS.iter().find(|(theirs, _)| message.ends_with(theirs)).map(|(_, ours)| (*ours).to_owned());
        let own = || [too_deep(), too_many(), too_long()].into_iter().find(|own| message.ends_with(own));
        Self { message: theirs.or_else(own).unwrap_or_else(|| message.to_owned()), place }
    }
}

/// serde_yaml's words, and what they mean to somebody who edits a config.
const OWN_WORDS: [(&str, &str); 7] = [
    ("found unexpected end of stream", "a quote is opened and never closed"),
    ("repetition limit exceeded", "its aliases repeat one another: written out, it would be a hundred times as long"),
    ("more than one document is not supported", "it holds more than one document (`---`)"),
    ("invalid type: map, expected a YAML tag starting with '!'", "a key here is a map, and a key is a text"),
    ("invalid type: sequence, expected a YAML tag starting with '!'", "a key here is a list, and a key is a text"),
    ("invalid type: enum, expected a plain value without a tag", "a value has a tag (`!`): for a text, quote it"),
    (UNTAGGED_KEY, "a key has a tag (`!`): for a text, quote it"),
];
const UNTAGGED_KEY: &str = "a key without a tag";

fn place(error: &serde_yaml::Error) -> Option<Place> {
    let location = error.location()?;
    Some(Place { line: location.line(), column: location.column(), offset: location.index() })
}

/// Reads a file's text.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    refuse_deep_nesting(text)?;
    let mut count = 0;
    let mut bytes = 0;
    if text.contains('\0') {
        let message = "it holds a NUL, so it is no text: save it as UTF-8".to_owned();
        return Err(SyntaxError { message, place: None });
    }
    let mut node = Build { count: &mut count, bytes: &mut bytes, depth: 0 }
        .deserialize(serde_yaml::Deserializer::from_str(text))?;
    let mut texts = Vec::new();
    let mut visit = |id, text: &str| texts.push((id, text.to_owned()));
    Walk { node: &node, visit: &mut visit }.deserialize(serde_yaml::Deserializer::from_str(text))?;
    let mut texts = texts.into_iter().peekable();
    node.for_each_scalar(&mut |id, scalar| {
        if let Some((_, text)) = texts.next_if(|(known, _)| *known == id)
            && scalar.style == Style::Number
        {
            scalar.text = text;
        }
    });
    Ok(node)
}

/// Finds what is nested too deep before libyaml sees it: a megabyte of `[` would keep it busy for minutes.
///
/// Coarse: it counts what each line opens, also in quotes, and lines that do nothing but open count on. What lines with text open and none
/// closes is counted apart: libyaml's time grows with each bracket that is open. [`Build`] counts exactly.
fn refuse_deep_nesting(text: &str) -> Result<(), SyntaxError> {
    let mut depth = 0_usize;
    let mut start = 0;
    // The line, and the offset, of each bracket that is open still.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if line.chars().any(|c| !c.is_whitespace() && !"[]{},-?".contains(c)) {
            depth = 0;
        }
        let mut quote = None;
        let mut before = ' ';
        for (at, c) in line.char_indices() {
            match (quote, c) {
                (Some(open_by), c) if c == open_by => quote = None,
                (None, '"' | '\'') if is_flow_place(before) => quote = Some(c),
                (None, '[' | '{') if is_flow_place(before) => open.push((i + 1, start + at)),
                (None, ']' | '}') => drop(open.pop()),
                _ => {}
            }
            if open.len() > OPEN_MAX {
                let message = format!("more than {OPEN_MAX} brackets are opened and not closed; this is the first");
                let place = open.first().map(|(line, offset)| {
                    let begin = text[..*offset].rfind('\n').map_or(0, |at| at + 1);
                    Place { line: *line, column: text[begin..*offset].chars().count() + 1, offset: *offset }
                });
                return Err(SyntaxError { message, place });
            }
            if !c.is_whitespace() {
                before = c;
            }
            match c {
                '[' | '{' => depth += 1,
                // `- - - x` opens a list with each.
                '-' | '?' if line[at + 1..].starts_with(' ') && line[..at].trim_matches(['-', '?', ' ']).is_empty() => {
                    depth += 1
                }
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            // The exact count comes later, so that quoted text may hold some more.
            if depth > 2 * NESTING_MAX {
                let place = Place { line: i + 1, column: line[..at].chars().count() + 1, offset: start + at };
                return Err(SyntaxError { message: too_deep(), place: Some(place) });
            }
        }
        start += line.len();
    }
    Ok(())
}

/// Whether a bracket or a quote behind this opens something, rather than being a part of a text.
fn is_flow_place(before: char) -> bool {
    matches!(before, ' ' | ':' | '-' | '[' | '{' | ',')
}

fn too_deep() -> String {
    format!("lists and maps lie in one another more than {NESTING_MAX} deep")
}

fn too_many() -> String {
    format!("the file holds more than {NODES_MAX} values")
}

fn too_long() -> String {
    format!("the file's texts, aliases written out, have more than {TEXT_BYTES_MAX} bytes")
}

/// What reads a text.
pub(crate) fn deserializer(text: &str) -> impl Deserializer<'_> {
    serde_yaml::Deserializer::from_str(text)
}

/// First walk: builds the tree.
struct Build<'c> {
    count: &'c mut u32,
    bytes: &'c mut usize,
    depth: usize,
}

impl Build<'_> {
    fn next_id<E: Error>(&mut self) -> Result<NodeId, E> {
        *self.count += 1;
        if *self.count > NODES_MAX {
            return Err(E::custom(too_many()));
        }
        Ok(NodeId(*self.count))
    }

    fn below<E: Error>(&mut self) -> Result<Build<'_>, E> {
        if self.depth >= NESTING_MAX {
            return Err(E::custom(too_deep()));
        }
        Ok(Build { count: self.count, bytes: self.bytes, depth: self.depth + 1 })
    }

    fn count_text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        *self.bytes += text.len();
        if *self.bytes > TEXT_BYTES_MAX { Err(E::custom(too_long())) } else { Ok(()) }
    }

    fn scalar<E: Error>(mut self, text: String, style: Style) -> Result<Node, E> {
        self.count_text(&text)?;
        let id = self.next_id()?;
        Ok(Node { id, value: Value::Scalar(Scalar { text, style, is_interpolated: false }) })
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value without a tag")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.scalar(String::new(), Style::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(value.to_string(), Style::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(value.to_string(), Style::Number)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.scalar(value.to_string(), Style::Number)
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        self.scalar(value.to_string(), Style::Number)
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.scalar(value.to_string(), Style::Number)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.scalar(value.to_string(), Style::Number)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        self.scalar(value.to_owned(), Style::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Node, A::Error> {
        let id = self.next_id()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.below()?)? {
            items.push(item);
        }
        Ok(Node { id, value: Value::List(items) })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Node, A::Error> {
        let id = self.next_id()?;
        let mut entries = Vec::new();
        while let Some(PlainKey(text)) = map.next_key()? {
            self.count_text(&text)?;
            let key = Key { id: self.next_id()?, text };
            entries.push((key, map.next_value_seed(self.below()?)?));
        }
        Ok(Node { id, value: Value::Map(entries) })
    }
}

/// A key's text. Read as a `String` alone, `{ !=: x }` would be the key `x`, its tag passed over.
struct PlainKey(String);

impl<'de> Deserialize<'de> for PlainKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("key", &[], KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = PlainKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(UNTAGGED_KEY)
    }

    /// Of a key the variant is its text, and nothing is in it; of one with a tag it is the tag, and the key is in it.
    fn visit_enum<A: EnumAccess<'de>>(self, key: A) -> Result<PlainKey, A::Error> {
        let (text, rest) = key.variant()?;
        let is_tagged = Cell::new(false);
        match rest.newtype_variant_seed(Tagged(&is_tagged)) {
            Err(error) if is_tagged.get() => Err(error),
            _ => Ok(PlainKey(text)),
        }
    }
}

/// Refuses what has a tag where it stands, and so the error has its place.
struct Tagged<'f>(&'f Cell<bool>);

impl<'de> DeserializeSeed<'de> for Tagged<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.set(true);
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Tagged<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(UNTAGGED_KEY)
    }
}

/// Second walk, guided by the tree of the first. Shows `visit` the text of each number.
struct Walk<'n, 'v, F> {
    node: &'n Node,
    visit: &'v mut F,
}

impl<'de, F: FnMut(NodeId, &str)> DeserializeSeed<'de> for Walk<'_, '_, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.style == Style::Number => deserializer.deserialize_str(self),
            Value::Scalar(_) => deserializer.deserialize_ignored_any(self),
            Value::List(_) => deserializer.deserialize_seq(self),
            Value::Map(_) => deserializer.deserialize_map(self),
        }
    }
}

impl<'de, F: FnMut(NodeId, &str)> Visitor<'de> for Walk<'_, '_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the first walk found")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        (self.visit)(self.node.id, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Value::List(items) = &self.node.value else { return Err(A::Error::custom("no list before")) };
        for item in items {
            seq.next_element_seed(Walk { node: item, visit: self.visit })?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        for (_, node) in self.node.entries() {
            map.next_key::<IgnoredAny>()?;
            map.next_value_seed(Walk { node, visit: self.visit })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_that_nothing_closes_are_refused_before_they_are_parsed() {
        let open = |count: usize| "a: [b,\n".repeat(count);
        let told = parse(&open(OPEN_MAX + 1)).expect_err("too many");
        assert!(told.message.contains("256 brackets are opened"), "{}", told.message);
        assert_eq!(told.place.map(|place| (place.line, place.column)), Some((1, 4)));
        let told = parse(&open(OPEN_MAX)).expect_err("not closed");
        assert!(!told.message.contains("256"), "{}", told.message);
        for closed in ["- [a, {b: c}]\n", "- 'a [ {'\n", "- \"[ ' {\"\n", "- a [ b { c\n", "- '{{ x }} [{% if a %}'\n"]
        {
            parse(&closed.repeat(OPEN_MAX + 1)).unwrap_or_else(|error| panic!("{closed}: {}", error.message));
        }
    }

    #[test]
    fn numbers_keep_their_text() {
        let root = parse("[1.0, 0x1F, 1e3, 9007199254740993, -7, 12345678901234567890123, \"5\", 012]").expect("good");
        let Value::List(items) = &root.value else { panic!("a list") };
        let texts: Vec<_> = items.iter().map(|item| item.scalar().expect("scalar").text.as_str()).collect();
        assert_eq!(texts, ["1.0", "0x1F", "1e3", "9007199254740993", "-7", "12345678901234567890123", "5", "012"]);
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_place() {
        let error = parse("a: [1\nb: 2\n").expect_err("not YAML");
        assert!(error.place.is_some(), "{error:?}");
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                      d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                      g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        let error = parse(laughs).expect_err("refused");
        assert!(error.message.contains("aliases repeat one another"), "{}", error.message);
    }

    #[test]
    fn values_may_lie_as_deep_as_the_limit_and_no_deeper() {
        let nested = |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("[\n", "]\n")] {
            assert!(parse(&nested(open, close, NESTING_MAX)).is_ok(), "{open}");
            for depth in [NESTING_MAX + 1, 200, 100_000] {
                let error = parse(&nested(open, close, depth)).expect_err("too deep");
                assert!(error.message.contains("more than 64 deep"), "{open}: {}", error.message);
            }
        }
    }

    #[test]
    fn a_file_holds_as_many_values_as_the_limit_and_no_more() {
        // The list is one of them.
        let listed = |values: u32| format!("[{}]", vec!["1"; values as usize - 1].join(","));
        assert!(parse(&listed(NODES_MAX)).is_ok());
        assert!(parse(&listed(NODES_MAX + 1)).expect_err("too many").message.contains("more than 500000 values"));
    }

    #[test]
    fn texts_have_as_many_bytes_as_the_limit_and_no_more() {
        // The anchored text and fifteen aliases of it; then one more.
        let text = "x".repeat(1_000_000);
        let listed = |aliases: usize| format!("[&a {text}{}]", ", *a".repeat(aliases));
        assert!(parse(&listed(15)).is_ok());
        assert!(parse(&listed(16)).expect_err("too long").message.contains("more than 16777216 bytes"));
    }

    #[test]
    fn a_megabyte_of_brackets_is_refused_before_it_is_parsed() {
        for text in ["[", "{a: ", "- ", "? ", "[{", "[\n", "- [\n", "{? "] {
            let text = text.repeat(FILE_BYTES_MAX / text.len());
            assert!(refuse_deep_nesting(&text).is_err(), "{}", &text[..10]);
        }
        // Which says nothing against brackets in texts.
        assert!(refuse_deep_nesting(&"a: \"[[[[\"\n".repeat(1000)).is_ok());
    }
}

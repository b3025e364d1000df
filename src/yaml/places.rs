//! Where the nodes of a parsed text stand in it.
//!
//! serde_yaml tells a place only with an error. So the text is walked over once more, guided by the tree of the first walk, and whatever is
//! looked for fails there, one behind the other: a text or a key fails when it has been read, and the walk goes on behind it. A list or a
//! map fails before it is read, and is read then. One walk finds all, however many they are.
//!
//! An alias that stands for a list or a map would be used up by the failure. So in a text that may have aliases the walk ends with the
//! first list or map, and another looks for the rest.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::load::{Place, deserializer};
use super::raw::{Node, NodeId, Style, Value};

/// Where aliases may be, so many bytes are walked over.
const WALKED_BYTES_MAX: usize = 8 << 20;
/// And a text of any length at least so often.
const WALKS_MIN: usize = 5;

/// The places of some nodes.
#[derive(Debug, Default)]
pub(crate) struct Places {
    found: HashMap<NodeId, Place>,
    /// How often the text was walked over.
    walks: usize,
    /// Some were not looked for any more.
    is_cut: bool,
}

impl Places {
    /// Finds where nodes of a parsed text stand. A node reached by an alias is found at its anchor.
    pub fn find(text: &str, root: &Node, wanted: impl IntoIterator<Item = NodeId>) -> Self {
        let mut wanted: HashSet<NodeId> = wanted.into_iter().collect();
        let mut places = Self::default();
        let lines = if wanted.is_empty() { Vec::new() } else { line_starts(text) };
        let may_alias = begins_with(text, b'&') && begins_with(text, b'*');
        let walks_max = (WALKED_BYTES_MAX / text.len().max(1)).max(WALKS_MIN);
        let mut is_stuck = false;
        while !wanted.is_empty() && !is_stuck && places.walks < walks_max {
            places.walks += 1;
            let before = wanted.len();
            let mut look = Look {
                text,
                lines: &lines,
                may_alias,
                last: None,
                root: root.id,
                wanted: &mut wanted,
                found: &mut places.found,
            };
            let walked = Walk { node: root, look: &mut look }.deserialize(deserializer(text));
            // A file that is one text, or nothing, fails as a whole.
            let last = look.last.or(root.scalar().map(|_| root.id));
            if let (Err(error), Some(last)) = (walked, last) {
                look.failed(last, &error);
            }
            is_stuck = wanted.len() == before;
        }
        // A file of comments alone may end without saying where.
        if root.scalar().is_some() && wanted.remove(&root.id) {
            places.found.insert(root.id, Place { line: 1, column: 1, offset: 0 });
        }
        places.is_cut = !is_stuck && !wanted.is_empty();
        places
    }

    /// Whether it was given up to look for a node, because too many were wanted.
    pub fn gave_up(&self, id: NodeId) -> bool {
        self.is_cut && !self.found.contains_key(&id)
    }

    /// Where a node stands.
    pub fn get(&self, id: NodeId) -> Option<Place> {
        self.found.get(&id).copied()
    }
}

/// Whether a value of the text may begin with a sign that is followed by a name.
fn begins_with(text: &str, sign: u8) -> bool {
    let bytes = text.as_bytes();
    let is_it = |at: usize| {
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        let is_start = before.is_ascii_whitespace() || b"[{,:-?".contains(&before) || !before.is_ascii();
        bytes[at] == sign && is_start && bytes.get(at + 1).is_some_and(|next| !next.is_ascii_whitespace())
    };
    (0..bytes.len()).any(is_it)
}

/// Where each line begins, in bytes, by what YAML 1.1 takes for the end of a line.
fn line_starts(text: &str) -> Vec<usize> {
    let mut starts = vec![0];
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\r' && chars.next_if(|(_, next)| *next == '\n').is_some() {
            starts.push(at + 2);
        } else if matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            starts.push(at + c.len_utf8());
        }
    }
    starts
}

/// What a walk looks for, and what it has found.
struct Look<'t> {
    text: &'t str,
    lines: &'t [usize],
    may_alias: bool,
    /// What the walk has ended with.
    last: Option<NodeId>,
    root: NodeId,
    wanted: &'t mut HashSet<NodeId>,
    found: &'t mut HashMap<NodeId, Place>,
}

impl Look<'_> {
    /// The place that an error ends with: `… at line 3 column 5`, or nothing at the very beginning.
    fn place_of(&self, error: &impl fmt::Display) -> Option<Place> {
        let told = error.to_string();
        let Some((line, column)) = told.rsplit_once(" at line ").and_then(|(_, place)| place.split_once(" column "))
        else {
            return told.ends_with(HERE).then_some(Place { line: 1, column: 1, offset: 0 });
        };
        let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
        // To libyaml the end of a file is a line of its own, also where no line ends before it.
        let start = self.lines.get(line.checked_sub(1)?).copied().unwrap_or(self.text.len());
        let in_line = self.text[start..].char_indices().nth(column.checked_sub(1)?);
        let offset = in_line.map_or(self.text.len(), |(at, _)| start + at);
        Some(Place { line, column, offset })
    }

    /// Takes note of what failed; tells whether it has a place.
    fn failed(&mut self, id: NodeId, error: &impl fmt::Display) -> bool {
        let place = self.place_of(error).filter(|_| self.wanted.remove(&id));
        place.is_some_and(|place| self.found.insert(id, place).is_none())
    }
}

const HERE: &str = "here";
const OTHERWISE: &str = "the text reads otherwise than before";

/// Reads a node that the first walk has read.
struct Walk<'n, 'l, 't> {
    node: &'n Node,
    look: &'l mut Look<'t>,
}

impl Walk<'_, '_, '_> {
    /// Reads it by `read`, which is called a second time for a list or a map that fails first.
    fn by<E: Error>(self, mut read: impl FnMut(Turn<'_, '_, '_>) -> Result<Option<()>, E>) -> Result<(), E> {
        let Self { node, look } = self;
        let is_scalar = node.scalar().is_some();
        if !is_scalar && !look.may_alias && look.wanted.contains(&node.id) {
            let failed = read(Turn::Peek).err().is_some_and(|error| look.failed(node.id, &error));
            if !failed {
                return Err(E::custom(OTHERWISE));
            }
        }
        match read(Turn::Read(Walk { node, look })) {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(E::custom(OTHERWISE)),
            Err(error) if is_scalar && look.failed(node.id, &error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What a list or a map hands its next part to.
enum Turn<'n, 'l, 't> {
    Peek,
    Read(Walk<'n, 'l, 't>),
}

impl<'de> DeserializeSeed<'de> for Turn<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            // No list and no map is a variant of an enum, and that is told before it is read.
            Turn::Peek => deserializer.deserialize_enum(HERE, &[], Nothing),
            Turn::Read(walk) => walk.deserialize(deserializer),
        }
    }
}

struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { node, look } = self;
        match &node.value {
            Value::Scalar(scalar) => {
                let leaf = Leaf { id: node.id, look };
                if scalar.style == Style::Null {
                    deserializer.deserialize_any(leaf)
                } else {
                    deserializer.deserialize_str(leaf)
                }
            }
            Value::List(_) => deserializer.deserialize_seq(Self { node, look }),
            Value::Map(_) => deserializer.deserialize_map(Self { node, look }),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the first walk found")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let Value::List(items) = &self.node.value else { return Err(A::Error::custom(OTHERWISE)) };
        self.begin()?;
        for item in items {
            Walk { node: item, look: self.look }.by(|turn| seq.next_element_seed(turn))?;
        }
        self.end()
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.begin()?;
        for (key, node) in self.node.entries() {
            let leaf = Leaf { id: key.id, look: self.look };
            match map.next_key_seed(leaf) {
                Ok(Some(())) => {}
                Ok(None) => return Err(A::Error::custom(OTHERWISE)),
                Err(error) if self.look.failed(key.id, &error) => {}
                Err(error) => return Err(error),
            }
            Walk { node, look: self.look }.by(|turn| map.next_value_seed(turn).map(Some))?;
        }
        self.end()
    }
}

impl Walk<'_, '_, '_> {
    /// Where aliases may be, the walk ends with the list or map that is looked for.
    fn begin<E: Error>(&mut self) -> Result<(), E> {
        let is_wanted =
            self.look.may_alias && self.node.id != self.look.root && self.look.wanted.contains(&self.node.id);
        if is_wanted { self.fail() } else { Ok(()) }
    }

    /// And in any case with the whole, which nothing stands behind.
    fn end<E: Error>(&mut self) -> Result<(), E> {
        let is_wanted = self.node.id == self.look.root && self.look.wanted.contains(&self.look.root);
        if is_wanted { self.fail() } else { Ok(()) }
    }

    fn fail<E: Error>(&mut self) -> Result<(), E> {
        self.look.last = Some(self.node.id);
        Err(E::custom(HERE))
    }
}

/// A text or a key.
struct Leaf<'l, 't> {
    id: NodeId,
    look: &'l mut Look<'t>,
}

impl<'de> DeserializeSeed<'de> for Leaf<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Leaf<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_str("")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        if self.look.wanted.contains(&self.id) { Err(E::custom(HERE)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::parse;
    use super::*;

    fn find_one(text: &str, root: &Node, id: NodeId) -> Option<Place> {
        Places::find(text, root, [id]).get(id)
    }

    fn ids(node: &Node, found: &mut Vec<NodeId>) {
        found.push(node.id);
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| ids(item, found)),
            Value::Map(entries) => entries.iter().for_each(|(key, node)| {
                found.push(key.id);
                ids(node, found);
            }),
            Value::Scalar(_) => {}
        }
    }

    /// Where the value under a path of keys and indices stands, as `line:column`.
    #[track_caller]
    fn check(text: &str, path: &[&str], expected: &str) {
        let root = parse(text).expect("good YAML");
        let mut node = &root;
        for step in path {
            node = match &node.value {
                Value::List(items) => &items[step.parse::<usize>().expect("an index")],
                _ => node.get(step).expect("a key"),
            };
        }
        let place = find_one(text, &root, node.id).expect("a place");
        assert_eq!(format!("{}:{}", place.line, place.column), expected, "{path:?} in {text}");
    }

    #[test]
    fn places_are_right_for_every_shape_of_value() {
        check("a: 1\nb: two\n", &["b"], "2:4");
        check("a:\n  - x\n  - y\n", &["a", "1"], "3:5");
        check("a: [x, y]\n", &["a", "1"], "1:8");
        check("a: {b: {c: 7}}\n", &["a", "b", "c"], "1:12");
        check("a:\n  b:\n    c: \"q\"\n", &["a", "b", "c"], "3:8");
        check("a:\n  b:\n    c: 1\n", &["a", "b"], "3:5");
        check("a: |\n  text\nb: 2\n", &["b"], "3:4");
        check("ä: ö\nb: 2\n", &["b"], "2:4");
        check("a.b: 1\nc-d: 2\n", &["c-d"], "2:6");
    }

    #[test]
    fn a_key_has_a_place_of_its_own() {
        let text = "a: 1\nbee: 2\nbee: 3\n";
        let root = parse(text).expect("good YAML");
        let places: Vec<_> =
            root.entries().iter().map(|(key, _)| find_one(text, &root, key.id).expect("placed").line).collect();
        assert_eq!(places, [1, 2, 3], "keys given twice are both there");
    }

    #[test]
    fn an_alias_is_found_at_its_anchor() {
        let text = "x-a: &a\n  k: v\nb: *a\n";
        let root = parse(text).expect("good YAML");
        let node = root.get("b").and_then(|b| b.get("k")).expect("through the alias");
        assert_eq!(find_one(text, &root, node.id).map(|place| place.line), Some(2));
    }

    /// All places of a text at once are those of each by itself; tells how many walks they took.
    #[track_caller]
    fn check_all(text: &str) -> usize {
        let root = parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
        let mut wanted = Vec::new();
        ids(&root, &mut wanted);
        let all = Places::find(text, &root, wanted.iter().copied());
        for id in wanted {
            assert!(all.get(id).is_some(), "{id:?} in {text}");
            assert_eq!(all.get(id), find_one(text, &root, id), "{id:?} in {text}");
        }
        all.walks
    }

    #[test]
    fn one_walk_finds_all_places_of_a_text() {
        for text in [
            "# nothing yet\n",
            "# nothing yet",
            "one text\n",
            "a: 1\nb:\n  - {c: [], d: {}}\n  -\n  - \"e\\n\"\n",
            "- - - x\n- []\n- [a: 1, ? b]\n",
            "a: |\n  one\n  two\nb: >-\n  three\nc: 'it''s'\n",
            "ä: [ö, {ü: }]\r\nß: ~\r\n",
            "{a: {b: [1, 2, {c: d}]}}\n",
            "\"a & b\": '*c'\nd: {}\n",
        ] {
            assert_eq!(check_all(text), 1, "{text}");
        }
        let many: String = (0..100).map(|i| format!("- {{n{i}: [{i}]}}\n")).collect();
        assert_eq!(check_all(&many), 1);
    }

    #[test]
    fn a_file_of_comments_alone_has_a_place() {
        for text in ["", "#", "# nothing\n# yet", "# nothing yet\n", "\n"] {
            let root = parse(text).unwrap_or_else(|error| panic!("{text:?}: {}", error.message));
            let place = Places::find(text, &root, [root.id]).get(root.id);
            assert!(place.is_some_and(|place| place.offset <= text.len()), "{text:?}: {place:?}");
        }
    }

    #[test]
    fn lists_and_maps_behind_aliases_are_found() {
        for text in [
            "- &a {k: v}\n- *a\n- *a\n",
            "- &a {}\n- *a\n- &b []\n- *b\n- *a\n",
            "x: &x [{k: [v]}]\ny: *x\nz: {w: *x}\n",
            "- &a [\"\\n\"]\n- *a\n- *a\n- &b [~]\n- *b\n",
            "- &a\n  k:\n- *a\n- b: *a\n",
        ] {
            check_all(text);
        }
        let chain: String = (1..6).map(|i| format!("x{i}: &x{i} {{a: *x{}, b: *x{}}}\n", i - 1, i - 1)).collect();
        check_all(&format!("x0: &x0 [1]\n{chain}"));
    }
}

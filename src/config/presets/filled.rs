//! A section with what is given in its places. Pure, but for the masks that go where a secret goes.

use std::collections::HashMap;

use crate::destination::path_template::PLACES;
use crate::yaml::raw::{Key, Node, Value};
use crate::yaml::reader::Reader;

/// What is given for each field, where something is.
pub(super) type Given<'n> = HashMap<&'n str, Filling>;

/// What goes into the places of a field.
pub(super) struct Filling {
    pub node: Node,
    /// A template that becomes a text, whatever its one value is.
    pub becomes_text: bool,
    /// How large it is, by [`Node::size`].
    size: (usize, usize),
}

/// What makes a text of a template that is but one value: alone, that would keep its type.
const AS_TEXT: &str = "{{ \"\" }}";

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// The place of a field, by its name.
    Place(&'t str),
}

/// Whether a sign may stand in the name of a field.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c == '_'
}

/// The keys whose texts have places that are filled with each request.
const FILLED_LATER: [[&str; 2]; 2] = [["sign", "over"], ["sign", "prefix"]];

/// Whether the places of what stands below these keys of a section are none of a preset.
pub(super) fn is_filled_later(keys: &[&str]) -> bool {
    FILLED_LATER.iter().any(|later| keys == later)
}

/// The parts of a text: `{name}` is a place of a field, unless it stands beside another brace or is one of the path of a file.
pub(super) fn pieces(text: &str, is_field: impl Fn(&str) -> bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    for (at, _) in text.match_indices('{') {
        let inner = text[at + 1..].find('}').map(|end| &text[at + 1..at + 1 + end]);
        let Some(name) = inner.filter(|name| !name.is_empty() && name.chars().all(is_of_name)) else { continue };
        let end = at + name.len() + 2;
        let is_beside = text[..at].ends_with('{') || text[end..].starts_with('}');
        if is_beside || at < begin || !is_field(name) || PLACES.iter().any(|(place, _)| *place == name) {
            continue;
        }
        if begin < at {
            pieces.push(Piece::Text(&text[begin..at]));
        }
        pieces.push(Piece::Place(name));
        begin = end;
    }
    if begin < text.len() || pieces.is_empty() {
        pieces.push(Piece::Text(&text[begin..]));
    }
    pieces
}

/// How large a node is when its places are filled, by [`Node::size`]: known before anything is filled, since a short preset may come to very much.
pub(super) fn size(node: &Node, given: &Given<'_>, is_field: &dyn Fn(&str) -> bool) -> (usize, usize) {
    let sum =
        |one: (usize, usize), other: (usize, usize)| (one.0.saturating_add(other.0), one.1.saturating_add(other.1));
    let of = |name: &str| given.get(name).map_or((0, 0), |filling| filling.size);
    match &node.value {
        Value::List(items) => items.iter().map(|item| size(item, given, is_field)).fold((1, 0), sum),
        Value::Map(entries) => {
            let one = |(key, node): &(Key, Node)| sum((1, key.text.len()), size(node, given, is_field));
            entries.iter().map(one).fold((1, 0), sum)
        }
        Value::Scalar(scalar) => match pieces(&scalar.text, is_field).as_slice() {
            [Piece::Place(name)] => of(name),
            pieces => pieces.iter().fold((1, 0), |all, piece| match piece {
                Piece::Text(text) => sum(all, (0, text.len())),
                Piece::Place(name) => sum(all, (0, of(name).1)),
            }),
        },
    }
}

/// What places are filled with, and which they are.
pub(super) struct Fill<'f> {
    pub reader: &'f Reader,
    pub given: &'f Given<'f>,
    pub is_field: &'f dyn Fn(&str) -> bool,
}

/// Fills the places below the keys of a section; `None` where nothing is left of it.
pub(super) fn fill<'n>(with: &Fill<'_>, node: &'n Node, keys: &mut Vec<&'n str>) -> Option<Node> {
    let Fill { reader, given, is_field } = with;
    let value = match &node.value {
        Value::List(items) => {
            let filled: Vec<_> = items.iter().filter_map(|item| fill(with, item, keys)).collect();
            if filled.is_empty() && !items.is_empty() {
                return None;
            }
            Value::List(filled)
        }
        Value::Map(entries) => {
            let mut one = |(key, node): &'n (Key, Node)| {
                keys.push(&key.text);
                let filled = fill(with, node, keys);
                keys.pop();
                Some((key.clone(), filled?))
            };
            let filled: Vec<_> = entries.iter().filter_map(&mut one).collect();
            if filled.is_empty() && !entries.is_empty() {
                return None;
            }
            Value::Map(filled)
        }
        Value::Scalar(_) if is_filled_later(keys) => return Some(node.clone()),
        Value::Scalar(scalar) => {
            let pieces = pieces(&scalar.text, is_field);
            match pieces.as_slice() {
                [Piece::Place(name)] => return given.get(name).map(Filling::alone),
                [Piece::Text(_)] => return Some(node.clone()),
                pieces => return put_together(reader, node, pieces, given),
            }
        }
    };
    Some(Node { id: node.id, value })
}

impl Filling {
    pub fn new(node: Node, becomes_text: bool) -> Self {
        Self { size: node.size(), node, becomes_text }
    }

    /// In a place that nothing stands beside.
    fn alone(&self) -> Node {
        let mut node = self.node.clone();
        if let (Value::Scalar(scalar), true) = (&mut node.value, self.becomes_text) {
            scalar.text.push_str(AS_TEXT);
        }
        node
    }
}

/// A text of several pieces, each as it is.
fn put_together(reader: &Reader, node: &Node, pieces: &[Piece<'_>], given: &Given<'_>) -> Option<Node> {
    let part = |(at, piece): (usize, &Piece<'_>)| match piece {
        Piece::Text(text) => Some((node.id, (*text).to_owned())),
        Piece::Place(name) => {
            let Filling { node, .. } = given.get(name)?;
            let text = node.scalar()?.text.as_str();
            // An address is copied with its slash, and a path begins with one.
            let is_address =
                text.contains("://") && matches!(pieces.get(at + 1), Some(Piece::Text(next)) if next.starts_with('/'));
            let text = if is_address { text.trim_end_matches('/') } else { text };
            Some((node.id, text.to_owned()))
        }
    };
    let parts: Vec<_> = pieces.iter().enumerate().map(part).collect::<Option<_>>()?;
    Some(reader.put_together(node.id, &parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_field_is_no_place_where_that_is_known() {
        let pieces = pieces("{a}{b}", |name| name == "b");
        assert_eq!(pieces, [Piece::Text("{a}"), Piece::Place("b")]);
    }

    #[test]
    fn a_place_is_a_name_in_single_braces() {
        use Piece::{Place, Text};
        for (text, expected) in [
            ("", vec![Text("")]),
            ("plain", vec![Text("plain")]),
            ("{url}", vec![Place("url")]),
            ("{api}/bot{api_key}/x", vec![Place("api"), Text("/bot"), Place("api_key"), Text("/x")]),
            ("{{ type }}", vec![Text("{{ type }}")]),
            ("{{type}}", vec![Text("{{type}}")]),
            ("{% if x %}{a}{% endif %}", vec![Text("{% if x %}"), Place("a"), Text("{% endif %}")]),
            ("{a}}", vec![Text("{a}}")]),
            ("{A}{1}{}{ a }{a", vec![Text("{A}{1}{}{ a }{a")]),
            ("x/{date}/{type}.ndjson", vec![Text("x/{date}/{type}.ndjson")]),
        ] {
            assert_eq!(pieces(text, |_| true), expected, "{text}");
        }
    }
}

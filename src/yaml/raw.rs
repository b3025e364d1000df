//! What YAML can say: a tree of nodes, before anything is proved of it.
//!
//! Every key and value has a number by which [`places`](super::places) finds its line and column again.

/// Finds a node's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One value of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub id: NodeId,
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    /// A map, in order, keys given twice included.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub id: NodeId,
    pub text: String,
}

/// A single value, with the text that stands in the file or that an interpolation put in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text: of a number exactly as written.
    pub text: String,
    /// How YAML takes it.
    pub style: Style,
    /// It came out of an environment variable or a file, so it must never be shown.
    pub is_interpolated: bool,
}

/// How YAML takes a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    Number,
    String,
    /// A `${…}` that has no value. It has been told of, and nobody else needs to.
    Unresolved,
}

impl Node {
    /// What it is, as people call it.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar(scalar) => match scalar.style {
                Style::Null => "nothing",
                Style::Bool(_) => "true or false",
                Style::Number => "a number",
                Style::String | Style::Unresolved => "a text",
            },
        }
    }

    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The entries of a map, nothing for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key in a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(known, _)| known.text == key).map(|(_, node)| node)
    }

    /// Whether it is empty: `null` or nothing.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.style == Style::Null)
    }

    /// How many values and keys it holds, itself included, and how many bytes their texts have.
    pub fn size(&self) -> (usize, usize) {
        let sum = |(values, bytes): (usize, usize), (more, longer)| (values + more, bytes + longer);
        match &self.value {
            Value::Scalar(scalar) => (1, scalar.text.len()),
            Value::List(items) => items.iter().map(Node::size).fold((1, 0), sum),
            Value::Map(entries) => {
                let of = |(key, node): &(Key, Node)| sum((1, key.text.len()), node.size());
                entries.iter().map(of).fold((1, 0), sum)
            }
        }
    }

    /// Changes every scalar below and including this one.
    pub fn for_each_scalar(&mut self, change: &mut impl FnMut(NodeId, &mut Scalar)) {
        match &mut self.value {
            Value::Scalar(scalar) => change(self.id, scalar),
            Value::List(items) => items.iter_mut().for_each(|item| item.for_each_scalar(change)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.for_each_scalar(change)),
        }
    }
}

//! The fields that a table has as its columns: those that Vero does not send, and those that are no single value.

use super::{digests, fields};
use crate::destination::Kind;
use crate::event::FieldPath;
use crate::yaml::raw::{Node, Value};
use crate::yaml::reader::Reader;

/// Tells of them. `sections` are the destination's and its kind's defaults. What is no path has been told by the kind.
pub(in crate::config) fn advise(reader: &Reader, kind: &Kind, sections: [&Node; 2]) {
    for node in kind.columns.iter().filter_map(|key| sections.into_iter().find_map(|section| section.get(key))) {
        let items = match &node.value {
            Value::Map(entries) => entries.iter().map(|(_, item)| item).collect(),
            _ => reader.list(node),
        };
        for item in items {
            let Some(text) = item.scalar().map(|scalar| scalar.text.as_str()) else { continue };
            if let Ok(path) = FieldPath::parse(text) {
                fields::advise_of_path(reader, item.id, &path);
                digests::advise_of_an_object(reader, item.id, text, "an object is written as {…}");
            }
        }
    }
}

//! Lists of fields that are taken, left out or hidden: those that Vero does not send, and those of which another list has left nothing.

use super::fields;
use crate::destination::Kind;
use crate::event::FieldPath;
use crate::event::shaping::lies_in;
use crate::yaml::raw::{Node, NodeId};
use crate::yaml::reader::Reader;

/// A list with its name, its place and its fields.
struct List<'n> {
    name: &'static str,
    at: NodeId,
    fields: Vec<(&'n Node, FieldPath)>,
}

/// Tells of them. `sections` are the destination's and its kind's defaults. What is no path has been told by the kind.
pub(in crate::config) fn advise(reader: &Reader, kind: &Kind, sections: [&Node; 2]) {
    let given = |name: &&'static str| {
        let node = sections.into_iter().find_map(|section| section.get(name))?;
        Some(List { name, at: node.id, fields: fields_of(reader, node) })
    };
    let lists: Vec<_> = kind.shapes.iter().filter_map(given).collect();
    for (at, list) in lists.iter().enumerate() {
        advise_of_one(reader, &list.fields);
        // The first takes what it can; the others are all changes, of which the earlier one counts.
        lists[..at]
            .iter()
            .filter(|earlier| earlier.name != kind.shapes[0])
            .for_each(|earlier| advise_of_two(reader, earlier, list));
    }
    let of = |name: &str| lists.iter().find(|list| list.name == name);
    if let [pick, drop, ..] = kind.shapes
        && let (Some(pick), Some(drop)) = (of(pick), of(drop))
        && !pick.fields.is_empty()
        && pick.fields.iter().all(|(_, path)| drop.takes(path))
    {
        let message = format!("`{}` leaves nothing: all of it is in `{}`", pick.name, drop.name);
        reader.warning(pick.at, message, "every event goes out as {}: take fields out of one of them".to_owned());
    }
}

impl List<'_> {
    fn takes(&self, path: &FieldPath) -> bool {
        self.fields.iter().any(|(_, known)| lies_in(path, known))
    }
}

/// The fields of a list that can be read.
pub(super) fn fields_of<'n>(reader: &Reader, node: &'n Node) -> Vec<(&'n Node, FieldPath)> {
    let field = |item: &'n Node| Some((item, FieldPath::parse(&item.scalar()?.text).ok()?));
    reader.list(node).into_iter().filter_map(field).collect()
}

/// Tells of fields that Vero does not send, and of those that stand in a list twice.
pub(super) fn advise_of_one(reader: &Reader, fields: &[(&Node, FieldPath)]) {
    for (at, (item, path)) in fields.iter().enumerate() {
        match fields[..at].iter().any(|(_, earlier)| earlier == path) {
            true => reader.warning(item.id, format!("`{path}` is named twice"), None),
            false => fields::advise_of_path(reader, item.id, path),
        }
    }
}

fn advise_of_two(reader: &Reader, earlier: &List<'_>, list: &List<'_>) {
    for (item, path) in list.fields.iter().filter(|(_, path)| earlier.takes(path)) {
        let message = format!("`{}` has `{path}` already, so `{}` finds nothing of it", earlier.name, list.name);
        reader.warning(item.id, message, "take it out of one of them".to_owned());
    }
}

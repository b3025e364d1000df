//! What a destination whose attempts go by those before asks of the rest of its section, and fields of events that its own section names.

use super::advice;
use super::policy::CONCURRENCY;
use crate::deliver::Policy;
use crate::destination::{Destination, Kind};
use crate::event::FieldPath;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// Refuses more than one attempt at once where each goes by the one before. `nodes` are the destination's and its kind's defaults.
pub(super) fn check_concurrency(reader: &Reader, nodes: [&Node; 2], destination: &dyn Destination, policy: &Policy) {
    let name = CONCURRENCY.info.name;
    let at = nodes.into_iter().find_map(|node| node.get(name)).filter(|_| destination.memory().is_some());
    if let Some(at) = at.filter(|_| policy.concurrency > 1) {
        let message = format!(
            "each of its messages goes by the one before, so there is one attempt at a time, and `{name}` is {}",
            policy.concurrency
        );
        reader.error_with(at.id, message, format!("write {name}: 1 for this destination"));
    }
}

/// Tells of fields that Vero does not send. What is no path has been told by the kind.
pub(super) fn advise_of_fields(reader: &Reader, kind: &Kind, sections: [&Node; 2]) {
    let given = kind.fields.iter().filter_map(|key| sections.into_iter().find_map(|section| section.get(key)));
    for items in given.map(|node| reader.list(node)) {
        for item in items {
            let text = item.scalar().map(|scalar| &scalar.text).filter(|text| !text.contains("{{"));
            if let Some(Ok(path)) = text.map(|text| FieldPath::parse(text)) {
                advice::fields::advise_of_path(reader, item.id, &path);
            }
        }
    }
}

//! What a destination whose attempts go by those before asks of the rest of its section, and fields of events that its own section names.

use super::advice;
use super::advice::digests::is_of_one_event;
use super::policy::CONCURRENCY;
use crate::deliver::Policy;
use crate::destination::{Destination, Kind};
use crate::event::{FieldPath, RelayField};
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

/// Tells of fields that Vero does not send, and of those by which nothing belongs together. What is no path has been told by the kind.
pub(super) fn advise_of_fields(reader: &Reader, kind: &Kind, sections: [&Node; 2]) {
    let given = kind.fields.iter().filter_map(|key| sections.into_iter().find_map(|section| section.get(key)));
    for items in given.map(|node| reader.list(node)) {
        let mut named: Vec<FieldPath> = Vec::new();
        for item in items {
            let text = item.scalar().map(|scalar| scalar.text.as_str()).filter(|text| !text.contains("{{"));
            let Some((text, Ok(path))) = text.map(|text| (text, FieldPath::parse(text))) else { continue };
            if named.contains(&path) {
                reader.warning(item.id, format!("`{text}` is named twice"), None);
                continue;
            }
            advice::fields::advise_of_path(reader, item.id, &path);
            advice::digests::advise_of_an_object(reader, item.id, text, advice::digests::ONE_GROUP);
            // What many messages to one person have in common may well belong together, and what is no field of an event has been told.
            let is_of_a_person = text.starts_with("user.");
            let is_told = matches!(path, FieldPath::Relay(RelayField::Id | RelayField::Age));
            if is_of_one_event(text) && !is_of_a_person && !is_told {
                let message = format!("nearly every event has a `{text}` of its own, so nothing belongs together");
                reader.warning(item.id, message, "name what several events share, like campaign.id".to_owned());
            }
            named.push(path);
        }
    }
}

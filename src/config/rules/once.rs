//! `once_per:` of a rule → [`Once`].

use std::time::Duration;

use crate::config::advice;
use crate::config::sources::DEDUPE;
use crate::event::configured::read_shared_path;
use crate::event::{FieldId, FieldPath, FieldSetBuilder, RelayField};
use crate::rules::Once;
use crate::yaml::keys::{Key, Of, Section, by_hand, duration, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// Fields that make a key. More would make a key of each event.
const FIELDS_MAX: usize = 8;
const FORM: &str = "{ fields: [campaign.id], every: 1h }";

pub(super) const ONCE_PER: Key<()> = key("once_per", by_hand(Of::Map(keys)))
    .about("The rule matches an event only if it has let none with the same values through for so long: see [Once per](#once-per). With `store.postgres` each relay goes by what it took in itself, and by what all had taken in when it started.")
    .example(FORM)
    .otherwise("each event")
    .never_empty();
const FIELDS: Key<()> = key("fields", by_hand(Of::Texts))
    .seen(Sight::All)
    .about_made(|| format!("The fields whose values make events the same: one, or at most {FIELDS_MAX} together. A field that is missing is a value of its own."))
    .example("[campaign.id]")
    .required();
// As long as `dedupe`, and for the same reasons: the keys lie in the same memory, and are read back alike.
const EVERY: Key<Duration> = key("every", duration(DEDUPE))
    .about("For how long it holds them back, from the arrival of the last that it let through.")
    .example("1h")
    .required();

/// The keys below it.
fn keys() -> Section {
    Section::of(&[FIELDS.info, EVERY.info])
}

/// Reads it; `None` where something is wrong with it, which has been told.
pub(super) fn read(reader: &Reader, node: &Node, set: &mut FieldSetBuilder) -> Option<Once> {
    let mut entries = reader.map(node, "`once_per`")?;
    let fields = entries.node(&FIELDS.info);
    let every = entries.read(&EVERY);
    entries.finish();
    let fields = read_fields(reader, fields?, set);
    Some(Once { fields: fields?, every: every? })
}

fn read_fields(reader: &Reader, node: &Node, set: &mut FieldSetBuilder) -> Option<Vec<(String, FieldId)>> {
    let items = reader.list(node);
    let mut fields: Vec<(String, FieldId)> = Vec::new();
    for item in &items {
        let path = read_shared_path(reader, item, "campaign.id", "events are not told apart")?;
        if let FieldPath::Relay(RelayField::ReceivedAt | RelayField::OccurredAt) = path {
            let help = "it can be relay.source, or a field of the event".to_owned();
            reader.error_with(
                item.id,
                format!("each event has a `{path}` of its own, so nothing would be held back"),
                help,
            );
            return None;
        }
        advice::fields::advise_of_path(reader, item.id, &path);
        advice::digests::advise_of_an_object(reader, item.id, &path.to_string(), "all objects are one value");
        let id = set.add(&path);
        if fields.iter().any(|(_, known)| *known == id) {
            reader.warning(item.id, format!("`{path}` is named twice"), None);
            continue;
        }
        fields.push((path.to_string(), id));
    }
    if fields.is_empty() || fields.len() > FIELDS_MAX {
        let message = match fields.len() {
            0 => "`once_per` names no field".to_owned(),
            _ => format!("events are told apart by at most {FIELDS_MAX} fields"),
        };
        reader.error_with(node.id, message, format!("write once_per: {FORM}"));
        return None;
    }
    Some(fields)
}

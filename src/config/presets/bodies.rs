//! What a preset's body goes with: the keys that say what a request holds belong together, and those of a preset were written for each other.

use super::written::Written;
use crate::yaml::keys::Section;
use crate::yaml::raw::{Key, Node, NodeId, Scalar, Style, Value};
use crate::yaml::reader::Reader;

/// The keys that say what a request holds.
const BODIES: [&str; 2] = ["json", "text"];
/// How many events a request carries.
const BATCH: &str = "batch";
/// What does not stand beside it.
const BESIDE_NO_BATCH: [&str; 3] = ["digest", "urgent", "quiet"];
/// What is done to a body, wherever it comes from.
const TO_BODY: [&str; 4] = [BATCH, "escape", "omit_missing", "hash_key"];

fn is_there(node: &Node, key: &str) -> bool {
    node.get(key).is_some_and(|node| !node.is_null())
}

/// Tells of keys of a destination that do not go with those that its preset adds.
pub(super) fn refuse(reader: &Reader, written: &Written<'_>, own: &Node, preset: &Node) {
    let keys = (written.kind.keys)();
    let name = written.name;
    for (key, node) in own.entries().iter().filter(|(_, node)| !node.is_null()) {
        let adds = |theirs: &str| is_there(preset, theirs) && own.get(theirs).is_none();
        let other =
            preset.entries().iter().find(|(theirs, _)| adds(&theirs.text) && keys.excludes(&key.text, &theirs.text));
        let body = BODIES.into_iter().find(|body| adds(body));
        if let Some((theirs, _)) = other {
            let message = format!("`{}` does not go with the `{}` of the preset `{name}`", key.text, theirs.text);
            let help = format!("take it out, or leave the preset's out: write `{}: ~` beside it", theirs.text);
            reader.error_with(key.id, message, help);
        } else if let (BATCH, Some(body), false) = (key.text.as_str(), body, is_there(preset, BATCH)) {
            let message = format!("the `{body}` of the preset `{name}` is for one event, and a batch has several");
            reader.error_with(node.id, message, format!("take `{BATCH}` out, or write `{body}` too"));
        }
    }
}

/// Adds to the `batch` of a destination what the preset says of it: how events stand in a request is the vendor's.
pub(super) fn add_to_batch(own: &mut Node, preset: &Node) {
    let Value::Map(entries) = &mut own.value else { return };
    if let (Some((_, own)), Some(theirs)) = (entries.iter_mut().find(|(key, _)| key.text == BATCH), preset.get(BATCH))
        && matches!(own.value, Value::Map(_))
    {
        super::add_missing(own, theirs.clone());
    }
}

/// Tells once of what does not stand beside the `batch` of a preset, and takes it out.
pub(super) fn refuse_beside_batch(reader: &Reader, written: &Written<'_>, entries: &mut Vec<(Key, Node)>) {
    if !is_there(written.section, BATCH) {
        return;
    }
    entries.retain(|(key, node)| {
        let is_refused = BESIDE_NO_BATCH.contains(&key.text.as_str()) && !node.is_null();
        if is_refused {
            let message = format!(
                "the preset `{}` sends several events in one request, as they are, and `{}` does not stand beside that",
                written.name, key.text
            );
            reader.error_with(key.id, message, "take it out".to_owned());
        }
        !is_refused
    });
}

/// Keeps from a section that is written out those `defaults` that would change what its body is.
pub(super) fn keep(written: &Written<'_>, section: &mut Node, defaults: &Node, at: NodeId) {
    let keys = (written.kind.keys)();
    if !BODIES.iter().any(|body| is_there(section, body)) {
        return;
    }
    let changes = |key: &str| TO_BODY.contains(&key) || excludes_any(&keys, key, section);
    let kept: Vec<_> = defaults.entries().iter().map(|(key, _)| key.text.clone()).collect();
    let kept: Vec<_> = kept.into_iter().filter(|key| section.get(key).is_none() && changes(key)).collect();
    if let Value::Map(entries) = &mut section.value {
        entries.extend(kept.into_iter().map(|text| (Key { id: at, text }, nothing(at))));
    }
}

fn excludes_any(keys: &Section, key: &str, section: &Node) -> bool {
    section.entries().iter().any(|(known, node)| !node.is_null() && keys.excludes(key, &known.text))
}

/// A key that stands there with nothing behind it is not filled from `defaults`.
fn nothing(at: NodeId) -> Node {
    Node { id: at, value: Value::Scalar(Scalar { text: String::new(), style: Style::Null, is_interpolated: false }) }
}

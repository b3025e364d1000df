//! A field as it stands in a config behind a key, without anything around it.

use super::path::{FieldPath, RelayField};
use super::vero;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::words;

/// Reads a field; `None` where it is none, which has been told. `example`: one that could stand there.
pub fn read_path(reader: &Reader, node: &Node, example: &str) -> Option<FieldPath> {
    let text = reader.text(node)?;
    if text.contains("{{") {
        let bare = text.trim().trim_start_matches('{').trim_end_matches('}').trim();
        let help = match FieldPath::parse(bare) {
            Ok(_) => format!("write {bare}"),
            Err(_) => format!("write a field like {example}"),
        };
        reader.error_with(node.id, "this is a field and no template", help);
        return None;
    }
    if let Some(several) = words::listed(text).filter(|several| several.iter().all(|path| vero::sends(path))) {
        let help = format!("write them as a list, [{}], or one of them", several.join(", "));
        reader.error_with(node.id, format!("this is one text, and it names {} fields", several.len()), help);
        return None;
    }
    FieldPath::parse(text)
        .map_err(|error| reader.error_with(node.id, error.to_string(), format!("write a field like {example}")))
        .ok()
}

/// Reads a field that several events can have in common. Refused is what each event has for itself, and what is known after matching only;
/// `are_not` begins what is said then, before "by `relay.id`": "events are not told apart".
pub fn read_shared_path(reader: &Reader, node: &Node, example: &str, are_not: &str) -> Option<FieldPath> {
    let path = read_path(reader, node, example)?;
    if let FieldPath::Relay(RelayField::Id | RelayField::Rule | RelayField::Age) = path {
        let help = "it can be relay.source, or a field of the event".to_owned();
        reader.error_with(node.id, format!("{are_not} by `{path}`"), help);
        return None;
    }
    Some(path)
}

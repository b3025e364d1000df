//! A word in the place of `any`, `all` or `none`.

use crate::event::vero;
use crate::yaml::raw::{Node, Value};
use crate::yaml::words;

/// Which of `any`, `all` and `none` is meant by a key with a list of maps, or a map of fields, behind it.
pub(super) fn combinator(text: &str, value: &Node) -> Option<&'static str> {
    const OURS: [&str; 3] = ["any", "all", "none"];
    if OURS.contains(&text) || vero::sends(text) {
        return None;
    }
    let is_field = |key: &str| vero::sends(key) || key.contains('.');
    let holds_matches = match &value.value {
        Value::List(items) => !items.is_empty() && items.iter().all(|item| matches!(item.value, Value::Map(_))),
        Value::Map(entries) => !entries.is_empty() && entries.iter().all(|(key, _)| is_field(&key.text)),
        Value::Scalar(_) => false,
    };
    (holds_matches && text != "not").then(|| words::meant(text, OURS)).flatten()
}

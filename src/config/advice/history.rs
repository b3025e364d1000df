//! A history that is shorter than what is to be remembered by it.

use std::time::Duration;

use crate::units;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// Tells of each `dedupe` and `once_per` that is longer than events are kept: what it goes by is read back from the history at a start.
pub(in crate::config) fn advise_of_a_short_one(
    reader: &Reader,
    kept: Duration,
    sources: Option<&Node>,
    rules: Option<&Node>,
) {
    let sources = sources.map(Node::entries).unwrap_or_default();
    let dedupe = sources.iter().filter_map(|(_, source)| source.get("dedupe"));
    let once = rules.map(|rules| reader.list(rules)).unwrap_or_default();
    let every = once.iter().filter_map(|rule| rule.get("once_per")?.get("every"));
    for node in dedupe.chain(every) {
        let within = node.scalar().and_then(|scalar| units::duration(&scalar.text).ok());
        if within.is_some_and(|within| within > kept) {
            let kept = units::shown_span(kept);
            let message =
                format!("`store.history.max_age` is {kept}: what came before that is not known after a restart");
            reader.warning(node.id, message, "make this shorter, or let the history be kept as long".to_owned());
        }
    }
}

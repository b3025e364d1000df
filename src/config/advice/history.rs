//! A history that is shorter than what is to be remembered by it, and values that are to go before it.

use super::shaping::{advise_of_one, fields_of};
use crate::event::vero;
use crate::store::Retention;
use crate::units;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// Tells of fields that Vero does not send, and where events go before their values would.
pub(in crate::config) fn advise_of_redaction(reader: &Reader, retention: &Retention, store: Option<&Node>) {
    let Some(history) = store.and_then(|store| store.get("history")) else { return };
    let (Some(redaction), Some(fields)) = (&retention.redaction, history.get("redact")) else { return };
    let paths = fields_of(reader, fields);
    advise_of_one(reader, &paths);
    for (item, path) in &paths {
        let path = path.to_string();
        let odd = vero::ALIASES.iter().find(|alias| alias.other == path);
        if let Some((usual, absent)) = odd.and_then(|alias| Some((alias.path, alias.unless?))) {
            let message = format!("`{path}` stands at the top only of events that have no `{absent}`");
            reader.warning(item.id, message, format!("write {usual}: it is meant in both places"));
        }
    }
    if redaction.after >= retention.history_age {
        let at = history.get("redact_after").unwrap_or(fields);
        let kept = units::shown_span(retention.history_age);
        let message = format!("`max_age` is {kept}, so events go before their values would");
        reader.warning(at.id, message, "make `redact_after` shorter, or take `redact` out".to_owned());
    }
}

/// Refuses each `dedupe` and `once_per` that is longer than the values of events stay that it may go by, and tells of each that is longer than events
/// are kept: what they go by is read back from the history at a start.
pub(in crate::config) fn check_what_goes_by_it(
    reader: &Reader,
    retention: &Retention,
    sources: Option<&Node>,
    rules: Option<&Node>,
) {
    let kept = retention.history_age;
    let redacted_after = retention.redaction.as_ref().map(|redaction| redaction.after);
    let sources = sources.map(Node::entries).unwrap_or_default();
    let dedupe = sources.iter().filter_map(|(_, source)| source.get("dedupe"));
    let once = rules.map(|rules| reader.list(rules)).unwrap_or_default();
    let every = once.iter().filter_map(|rule| rule.get("once_per")?.get("every"));
    for node in dedupe.chain(every) {
        let within = node.scalar().and_then(|scalar| units::duration(&scalar.text).ok());
        if let (Some(within), Some(after)) = (within, redacted_after)
            && within > after
        {
            let message = format!(
                "`store.history.redact_after` is {}: what came before that cannot be told apart after a restart",
                units::shown_span(after)
            );
            reader.error_with(node.id, message, "make this shorter, or `redact_after` as long".to_owned());
        }
        if within.is_some_and(|within| within > kept) {
            let kept = units::shown_span(kept);
            let message =
                format!("`store.history.max_age` is {kept}: what came before that is not known after a restart");
            reader.warning(node.id, message, "make this shorter, or let the history be kept as long".to_owned());
        }
    }
}

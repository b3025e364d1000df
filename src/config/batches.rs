//! What a destination whose requests carry several events asks of the rest of its section.

use std::time::Duration;

use super::policy::{BACKLOG, BACKLOG_AGE};
use super::sorting::{DIGEST, Nodes, QUIET, URGENT};
use crate::destination::Destination;
use crate::units::shown_duration;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// Refuses what does not stand beside `batch`, and leaves the rest.
pub(super) fn check<'n>(reader: &Reader, nodes: Nodes<'n>, destination: &dyn Destination) -> Nodes<'n> {
    if destination.batching().is_none() {
        return nodes;
    }
    let others = [
        (nodes.digest, DIGEST, "what goes out as one message is not several"),
        (nodes.urgent, URGENT, "what is urgent waits for nobody, and what goes with others does"),
        (nodes.quiet, QUIET, "what waits in quiet hours goes out as one message, and not as several"),
    ];
    for (node, key, why) in others {
        let Some(node) = node else { continue };
        let name = key.info.name;
        let help = format!("take one of them out; or give `{name}` to a destination of its own, with another name");
        reader.error_with(node.id, format!("`{name}` does not stand beside `batch`: {why}"), help);
    }
    Nodes { digest: None, urgent: None, quiet: None, ..nodes }
}

/// Tells of a `max_age` that is over before an event has waited for others.
pub(super) fn advise_of_age(
    reader: &Reader,
    sections: [&Node; 2],
    destination: &dyn Destination,
    max_age: Option<Duration>,
) {
    let Some(batching) = destination.batching().filter(|batching| max_age.is_some_and(|age| age <= batching.every))
    else {
        return;
    };
    let backlogs = sections.into_iter().filter_map(|section| section.get(BACKLOG.info.name));
    let Some(at) = backlogs.filter_map(|backlog| backlog.get(BACKLOG_AGE.info.name)).next() else { return };
    let every = shown_duration(batching.every);
    let message = format!("an event waits for others of its batch for `every` ({every}), and is too old by then");
    reader.warning(at.id, message, "write a longer max_age, or a shorter `every`".to_owned());
}

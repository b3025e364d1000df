//! What a destination whose requests carry several events asks of the rest of its section.

use super::sorting::{DIGEST, Nodes, QUIET, URGENT};
use crate::destination::Destination;
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

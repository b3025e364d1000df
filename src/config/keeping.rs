//! `store:` and `removed_grace:`: what is kept, and for how long.

use std::time::Duration;

use crate::store::Retention;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The store's limits are read within these: what is smaller holds nothing, what is larger no disk.
const SIZES: std::ops::RangeInclusive<u64> = 8 << 20..=1 << 50;
const AGES: (Duration, Duration) = (SECOND, Duration::from_secs(10 * 365 * 24 * 60 * 60));
/// How long the queue of a destination that the config does not name any more is kept: over a long weekend.
const REMOVED_GRACE: Duration = Duration::from_secs(72 * 60 * 60);

/// Reads `store: {history: {max_age, max_size}, dead_letters: {max_age, max_size}, max_size, free_space_min}`.
pub(super) fn read(reader: &Reader, node: Option<&Node>) -> Retention {
    let mut retention = Retention::default();
    let Some(mut entries) = node.and_then(|node| reader.map(node, "`store`")) else { return retention };
    let size = |node: &Node| reader.size(node, SIZES);
    let age = |node: &Node| reader.duration(node, AGES.0, AGES.1);
    if let Some(mut history) = entries.optional("history").and_then(|node| reader.map(node, "`history`")) {
        retention.history_age = history.optional("max_age").and_then(age).unwrap_or(retention.history_age);
        retention.history_bytes = history.optional("max_size").and_then(size);
        history.finish();
    }
    if let Some(mut dead) = entries.optional("dead_letters").and_then(|node| reader.map(node, "`dead_letters`")) {
        retention.dead_age = dead.optional("max_age").and_then(age).unwrap_or(retention.dead_age);
        let max_size = dead.optional("max_size");
        retention.dead_bytes = max_size.and_then(size).unwrap_or(retention.dead_bytes);
        if let (Some(node), Some(history)) = (max_size, retention.history_bytes)
            && retention.dead_bytes > history / 2
        {
            let help = "what is dead is carried along with the history, so it may have half of it at most".to_owned();
            reader.error_with(node.id, "`dead_letters.max_size` is more than half of `history.max_size`", help);
        }
        dead.finish();
    }
    retention.bytes_max = entries.optional("max_size").and_then(size);
    retention.free_bytes_min = entries.optional("free_space_min").and_then(|node| reader.size(node, 0..=1 << 50));
    if let (Some(most), Some(history)) = (retention.bytes_max, retention.history_bytes)
        && most < history
    {
        reader.error_with(
            entries.at(),
            "`store.max_size` is less than `history.max_size`, so the store would be full before it trims",
            "make `store.max_size` the larger one".to_owned(),
        );
    }
    entries.finish();
    retention
}

/// Reads `removed_grace: 72h`.
pub(super) fn removed_grace(reader: &Reader, node: Option<&Node>) -> Duration {
    node.and_then(|node| reader.duration(node, SECOND, 365 * DAY)).unwrap_or(REMOVED_GRACE)
}

//! Deliveries that go out together, as the destination gets them.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::deliver::sorting::Fold;
use crate::deliver::sorting::windows::GROUPS_MAX;
use crate::deliver::worker::delivery;
use crate::destination::{Delivery, Digest, Group};
use crate::event::EventId;
use crate::store::{NameId, Store, StoreError, StoredEvent};

/// Bodies of the examples of one digest: with more of them nobody reads the message.
const EXAMPLE_BYTES_MAX: usize = 256 << 10;

/// What a digest is made of.
pub struct Parts {
    /// How others know it.
    pub id: String,
    /// Of each group what is known of it.
    pub folds: Vec<Fold>,
    /// So many events are shown, at most.
    pub examples: usize,
    /// When it is made, unix milliseconds.
    pub at_ms: u64,
    /// Of how many events: also of those that cannot be read.
    pub count: u64,
    /// The page that shows them.
    pub page: Option<String>,
    /// Where all of it belongs; see [`Digest`].
    pub address: Option<u64>,
}

/// Puts a digest together: the largest group first and one without a name last, each with its share of the examples, which are in the order in which they came. Fails where
/// those cannot be read now.
pub async fn together(store: &dyn Store, to: NameId, parts: Parts) -> Result<Digest, StoreError> {
    let Parts { id, mut folds, examples, at_ms, count, page, address } = parts;
    folds.sort_by_key(|fold| (fold.values.is_empty(), Reverse(fold.count), fold.since_ms, fold.first_number()));
    let rest = folds.split_off(folds.len().min(GROUPS_MAX));
    let shown = folds.last_mut();
    if let (Some(last), false) = (shown, rest.is_empty()) {
        *last = rest.into_iter().fold(std::mem::take(last), Fold::with);
    }
    let each = (examples / folds.len().max(1)).max(1);
    let mut ids: Vec<EventId> = folds.iter().flat_map(|fold| fold.examples(each)).take(examples).collect();
    // By group they would be told out of order, with the latest of one before the first of the next.
    ids.sort_unstable_by_key(|id| id.sequence());
    let (mut read, _) = store.events_of(from_both_ends(ids)).await?;
    // What goes out is what came.
    read.retain(|event| !event.is_redacted);
    let mut bytes = 0;
    let fits = |event: &&Arc<StoredEvent>| {
        bytes += event.body.len();
        bytes <= EXAMPLE_BYTES_MAX
    };
    let fitting = read.iter().take_while(fits).count();
    // One stays, whether it fits or not.
    read.truncate(fitting.max(1));
    read.sort_unstable_by_key(|event| event.id.sequence());
    let names = store.names();
    let events: Vec<Delivery> = read.iter().map(|event| delivery(&names, event, Some(to))).collect();
    let groups = folds.into_iter().map(|fold| Group {
        values: fold.values,
        count: fold.count,
        since: fold.since_ms,
        until: fold.until_ms,
        parts: most_frequent_first(fold.parts),
        other_parts: fold.other_parts,
    });
    let groups: Vec<Group> = groups.collect();
    Ok(Digest {
        id,
        count,
        since_ms: groups.iter().map(|group| group.since).min().unwrap_or(at_ms),
        until_ms: groups.iter().map(|group| group.until).max().unwrap_or(at_ms),
        left_out: count.saturating_sub(events.len() as u64),
        groups,
        events,
        page,
        address,
    })
}

/// The first, the last, the second, the last but one, and so on: the store gives no more of them than fit onto a page, and those between are
/// left out first.
fn from_both_ends(ids: Vec<EventId>) -> Vec<EventId> {
    let (first, last) = ids.split_at(ids.len().div_ceil(2));
    let last = last.iter().rev().map(Some).chain(std::iter::repeat(None));
    first.iter().zip(last).flat_map(|(first, last)| std::iter::once(first).chain(last)).copied().collect()
}

fn most_frequent_first(mut parts: Vec<(String, u64)>) -> Vec<(String, u64)> {
    parts.sort_by_key(|(_, count)| Reverse(*count));
    parts
}

//! One page of the history, within bounds on what is looked at.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Outcome, Refusal, blocking, refused};
use super::filter::{Filter, shown};
use crate::event::EventId;
use crate::relay::Relay;
use crate::store::{Cursor, EventQuery, EventView, Order, SearchLimit, StoreError};
use crate::time::{Instant, rfc3339};

/// Events looked at for one page: a filter that finds little gives an emptier page and where to go on.
const LOOKED_AT_MAX: usize = 50_000;
/// Bytes of bodies looked at for one page.
const LOOKED_AT_BYTES_MAX: usize = 64 << 20;
/// A page is no longer looked for.
const LOOKED_FOR_MAX: Duration = Duration::from_millis(300);
/// Events that are read, and whose outcomes are looked for in one walk through the journal behind them.
const AT_ONCE: usize = 4096;
/// Bytes of the journal that such a walk reads at most, and beyond which a page ends: half a second from a disk of 500 MB/s.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;

/// What has been done for a page.
struct Work {
    begun: Instant,
    events: usize,
    bytes: usize,
    searched_bytes: u64,
    /// Deliveries whose end lies further on in the journal than was searched.
    unfound: u64,
    /// When the last event that was looked at arrived.
    back_to_ms: Option<u64>,
}

impl Work {
    fn is_enough(&self) -> bool {
        self.events >= LOOKED_AT_MAX
            || self.bytes >= LOOKED_AT_BYTES_MAX
            || self.searched_bytes >= SEARCHED_BYTES_MAX
            || self.begun.elapsed() >= LOOKED_FOR_MAX
    }
}

/// One page. A filter may hold for few events, so it asks for several pages of the history, up to a limit on what is looked at.
pub(super) async fn page(relay: &Arc<Relay>, filter: Filter, limit: usize, mut after: Option<Cursor>) -> Outcome {
    let filter = Arc::new(filter);
    let history =
        EventQuery { since_ms: filter.since_ms, until_ms: filter.until_ms, last: None, order: Order::NewestFirst };
    let mut work = Work { begun: Instant::now(), events: 0, bytes: 0, searched_bytes: 0, unfound: 0, back_to_ms: None };
    let mut found = Vec::new();
    let mut next;
    loop {
        // Where deliveries do not matter, each that is found is shown.
        let most = if filter.needs_states() { AT_ONCE } else { limit - found.len() };
        let size = if work.events == 0 && !filter.needs_states() { limit.min(AT_ONCE) } else { AT_ONCE };
        let read = relay.store.events(&history, after.as_ref(), size).await.map_err(refused)?;
        let events = Arc::new(read.items);
        let (matching, among) = (filter.clone(), events.clone());
        let meant = blocking(relay, move |relay| Ok(matching.among(relay, &among, most))).await?;
        let search = SearchLimit { bytes_left: SEARCHED_BYTES_MAX, unfound: 0 };
        let asked = meant.iter().map(|at| events[*at].clone()).collect();
        let (states, search) = relay.store.states(asked, search).await.map_err(refused)?;
        work.searched_bytes += SEARCHED_BYTES_MAX - search.bytes_left;
        work.unfound += if search.bytes_left == 0 { search.unfound } else { 0 };
        let mut seen = events.len();
        for (at, states) in meant.into_iter().zip(&states) {
            found.extend(filter.shown(relay, &events[at], states));
            if found.len() == limit {
                seen = at + 1;
                break;
            }
        }
        work.events += seen;
        work.bytes += events[..seen].iter().map(|event| event.body.len()).sum::<usize>();
        work.back_to_ms = events[..seen].last().map(|event| event.received_ms).or(work.back_to_ms);
        next = read.next;
        if seen < events.len() {
            // It ends amid what was read: the next page begins where one of so many would.
            next = relay.store.events(&history, after.as_ref(), seen).await.map_err(refused)?.next;
        }
        if next.is_none() || found.len() == limit || work.is_enough() {
            break;
        }
        after = next;
    }
    let stopped = match &next {
        None => "beginning",
        Some(_) if found.len() == limit => "limit",
        Some(_) => "work",
    };
    Ok(told(found, next, stopped, &work, &filter.warnings))
}

fn told(found: Vec<Value>, next: Option<Cursor>, stopped: &str, work: &Work, warnings: &[String]) -> Value {
    let mut warnings = warnings.to_vec();
    if work.unfound > 0 {
        let mib = SEARCHED_BYTES_MAX >> 20;
        warnings.push(format!(
            "{} ended more than {mib} MiB further on in the journal: they are shown as `unknown`; ask for one event by its id",
            crate::units::numbered(work.unfound, "delivery")
        ));
    }
    json!({
        "events": found,
        "next": next.map(|next| next.to_string()),
        "stopped": stopped,
        "looked_at": work.events,
        "back_to": work.back_to_ms.map(rfc3339),
        "warnings": warnings,
    })
}

/// Those of some events that are meant, newest first. What is not in the history is left out.
pub(super) async fn among(relay: &Arc<Relay>, filter: &Filter, mut ids: Vec<EventId>) -> Outcome {
    ids.sort_unstable();
    ids.dedup();
    let mut found = Vec::new();
    let looked_at = ids.len();
    for id in ids.into_iter().rev() {
        let EventView { event, deliveries } = match relay.store.event(id).await {
            Ok(view) => view,
            Err(StoreError::Missing) => continue,
            Err(error) => return Err(refused(error)),
        };
        let states = deliveries.into_iter().map(|delivery| (delivery.planned, delivery.state)).collect();
        if filter.is_meant(relay, &event, &states) {
            found.push(shown(relay, &event, &states));
        }
    }
    Ok(json!({
        "events": found,
        "next": Value::Null,
        "stopped": "beginning",
        "looked_at": looked_at,
        "back_to": Value::Null,
        "warnings": filter.warnings,
    }))
}

/// A page as it was asked for.
pub(super) async fn list(relay: &Arc<Relay>, query: &super::Query) -> Result<Value, Refusal> {
    page(relay, Filter::read(relay, query)?, query.limit()?, query.after()?).await
}

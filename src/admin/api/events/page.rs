//! One page of the history, within bounds on what is looked at.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::history::{SEARCHED_BYTES_MAX, Work};
use super::super::{Outcome, Refusal, blocking, refused};
use super::filter::{Filter, shown};
use crate::event::EventId;
use crate::relay::Relay;
use crate::store::{Cursor, EventQuery, EventView, Kept, Order, SearchLimit, StoreError};

/// Events that are read, and whose outcomes are looked for in one walk through the journal behind them.
const AT_ONCE: usize = 4096;
/// One page. A filter may hold for few events, so it asks for several pages of the history, up to a limit on what is looked at.
async fn page(
    relay: &Arc<Relay>,
    filter: Filter,
    limit: usize,
    mut after: Option<Cursor>,
    has_gone: &CancellationToken,
) -> Outcome {
    let filter = Arc::new(filter);
    let history =
        EventQuery { since_ms: filter.since_ms, until_ms: filter.until_ms, last: None, order: Order::NewestFirst };
    let mut work = Work::begin();
    let mut searched_bytes = 0;
    // Deliveries whose end lies further on in the journal than was searched.
    let mut unfound = 0;
    let mut found = Vec::new();
    let mut next;
    loop {
        if has_gone.is_cancelled() {
            return Err(Refusal::has_gone());
        }
        // Where deliveries do not matter, each that is found is shown.
        let most = if filter.needs_states() { AT_ONCE } else { limit - found.len() };
        let size = if !work.has_begun() && filter.needs_few_states() { limit.min(AT_ONCE) } else { AT_ONCE };
        let read = relay.store.events(&history, after.as_ref(), size).await.map_err(refused)?;
        let events = Arc::new(read.items);
        let (matching, among) = (filter.clone(), events.clone());
        let meant = blocking(relay, move |relay| Ok(matching.among(relay, &among, most))).await?;
        let search = SearchLimit { bytes_left: SEARCHED_BYTES_MAX, unfound: 0 };
        let asked = meant.iter().map(|at| events[*at].clone()).collect();
        let (states, search) = relay.store.states(asked, search).await.map_err(refused)?;
        searched_bytes += SEARCHED_BYTES_MAX - search.bytes_left;
        unfound += if search.bytes_left == 0 { search.unfound } else { 0 };
        let mut seen = events.len();
        for (at, states) in meant.into_iter().zip(&states) {
            found.extend(filter.shown(relay, &events[at], states));
            if found.len() == limit {
                seen = at + 1;
                break;
            }
        }
        events[..seen].iter().for_each(|event| work.add(event));
        next = read.next;
        if seen < events.len() {
            // It ends amid what was read: the next page begins where one of so many would.
            next = relay.store.events(&history, after.as_ref(), seen).await.map_err(refused)?.next;
        }
        if next.is_none() || found.len() == limit || searched_bytes >= SEARCHED_BYTES_MAX || work.is_enough() {
            break;
        }
        after = next;
    }
    let stopped = match &next {
        None => "beginning",
        Some(_) if found.len() == limit => "limit",
        Some(_) => "work",
    };
    let mut warnings = filter.warnings.clone();
    if unfound > 0 {
        let mib = SEARCHED_BYTES_MAX >> 20;
        warnings.push(format!(
            "{} ended more than {mib} MiB further on in the journal: they are shown as `unknown`; ask for one event by its id",
            crate::units::numbered(unfound, "delivery")
        ));
    }
    let next = next.map(|next| next.to_string());
    let mut told = json!({ "events": found, "next": next, "stopped": stopped, "warnings": warnings });
    work.tell(&mut told);
    Ok(told)
}

/// Those of some events that are meant, newest first. What is not in the history is left out.
pub(super) async fn among(
    relay: &Arc<Relay>,
    filter: &Filter,
    mut ids: Vec<EventId>,
    has_gone: &CancellationToken,
) -> Outcome {
    ids.sort_unstable();
    ids.dedup();
    let mut found = Vec::new();
    let looked_at = ids.len();
    for id in ids.into_iter().rev() {
        if has_gone.is_cancelled() {
            return Err(Refusal::has_gone());
        }
        let (event, deliveries) = match relay.store.event(id).await {
            Ok(EventView { event: Kept::Event(event), deliveries }) => (event, deliveries),
            Ok(EventView { event: Kept::Erased(_), .. }) | Err(StoreError::Missing) => continue,
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
pub(super) async fn list(
    relay: &Arc<Relay>,
    query: &super::Query,
    has_gone: &CancellationToken,
) -> Result<Value, Refusal> {
    page(relay, Filter::read(relay, query)?, query.limit()?, query.after()?, has_gone).await
}

//! What a replay would do, counted piece by piece: each piece is bounded, and says where the next begins. So a count over a long history
//! holds nothing up, and whoever asks sees how far it has come and may leave at any time.

use std::collections::{BTreeMap, BTreeSet};

use tokio_util::sync::CancellationToken;

use super::select::{Look, Looked, Selected, Step};
use super::{Asked, Only, ReplayError, ReplaySpec, Replayer};
use crate::event::EventId;
use crate::relay::piece::{AT_ONCE, Bounds, PIECE};
use crate::store::{Cursor, NameId, StoreError};
use crate::time::Instant;

/// What a replay would do with a piece of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events that are meant.
    pub events: u64,
    /// Deliveries that would be made.
    pub deliveries: u64,
    pub by_destination: Vec<CountedOf>,
    /// What in the match map probably does not do what was meant; and what was not searched for.
    pub warnings: Vec<String>,
    /// Events that are not sent again, since values of them were taken away. Whether they are meant cannot be told of all of them.
    pub redacted: u64,
    /// Events that were looked at, and when the last of them arrived, unix milliseconds.
    pub looked_at: u64,
    pub up_to_ms: Option<u64>,
    /// Where the next piece begins.
    pub next: Option<String>,
    /// About how many events are left.
    pub left: u64,
}

/// The same for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedOf {
    pub destination: String,
    pub deliveries: u64,
    /// Of the events that are meant and go there, those that it has.
    pub already_delivered: u64,
}

/// Where a count goes on.
enum At<'s> {
    /// In the history.
    History(Option<Cursor>),
    /// Among the events that are named, at one of them.
    Named(&'s [EventId], usize),
}

impl<'s> At<'s> {
    /// As the answer before said it.
    fn read(spec: &'s ReplaySpec, after: Option<&str>) -> Result<Self, StoreError> {
        let Some(named) = &spec.named else {
            return Ok(At::History(after.map(str::parse).transpose()?));
        };
        let Some(after) = after else { return Ok(At::Named(&named.ids, 0)) };
        let last: EventId = after.parse().map_err(|_| StoreError::no_cursor())?;
        Ok(At::Named(&named.ids, named.ids.partition_point(|id| *id <= last)))
    }
}

impl Replayer {
    /// Counts what a replay would do with one piece of what it is about, from `after` on, as the piece before said. Ends where whoever
    /// asks has gone.
    pub async fn count(
        &self,
        spec: &ReplaySpec,
        after: Option<&str>,
        has_gone: &CancellationToken,
    ) -> Result<Counted, ReplayError> {
        self.count_within(PIECE, spec, after, has_gone).await
    }

    pub(super) async fn count_within(
        &self,
        bounds: Bounds,
        spec: &ReplaySpec,
        after: Option<&str>,
        has_gone: &CancellationToken,
    ) -> Result<Counted, ReplayError> {
        let begun = Instant::now();
        let asked = self.prove(spec).await?;
        let mut at = At::read(spec, after)?;
        let mut counted = Counted { warnings: asked.warnings.clone(), ..Counted::default() };
        let mut looked = Looked::default();
        while looked.events < bounds.events && looked.bytes < bounds.bytes {
            if has_gone.is_cancelled() {
                return Err(ReplayError::HasGone);
            }
            let events_max = (bounds.events - looked.events).min(AT_ONCE);
            let look = Look::Always { searched_bytes_max: bounds.searched_bytes };
            let step = self.count_step(&asked, &mut at, events_max, look, &mut counted).await?;
            looked.add(&step.looked);
            self.add(&mut counted, step.selected);
            let is_enough = looked.searched_bytes >= bounds.searched_bytes || begun.elapsed() >= bounds.time;
            if counted.next.is_none() || is_enough {
                break;
            }
        }
        (counted.looked_at, counted.up_to_ms) = (looked.events as u64, looked.up_to_ms);
        counted.redacted = looked.redacted;
        counted.warnings.extend(unsearched(&looked, spec.only, bounds.searched_bytes));
        Ok(counted)
    }

    /// Looks at the next events, and says in what was counted where it goes on then.
    async fn count_step(
        &self,
        asked: &Asked,
        at: &mut At<'_>,
        events_max: usize,
        look: Look,
        counted: &mut Counted,
    ) -> Result<Step, ReplayError> {
        match at {
            At::Named(ids, nth) => {
                let mut step = Step::default();
                let rest = &ids[*nth..];
                if !rest.is_empty() {
                    *nth += self.add_named(asked, &rest[..rest.len().min(events_max)], look, &mut step).await?;
                }
                counted.left = (ids.len() - *nth) as u64;
                counted.next = nth.checked_sub(1).filter(|_| counted.left > 0).map(|last| ids[last].to_string());
                Ok(step)
            }
            At::History(after) => {
                let mut step = self.step_of_history(asked, after.as_ref(), events_max, look).await?;
                *after = step.next.take();
                counted.next = after.as_ref().map(ToString::to_string);
                counted.left = step.left;
                Ok(step)
            }
        }
    }

    fn add(&self, counted: &mut Counted, selected: BTreeMap<NameId, Selected>) {
        let mut events = BTreeSet::new();
        for (id, selected) in selected {
            let deliveries = selected.events.len() as u64;
            let already_delivered = selected.already_delivered;
            counted.deliveries += deliveries;
            events.extend(selected.events);
            let destination = self.store.names().name(id).to_string();
            match counted.by_destination.iter_mut().find(|known| known.destination == destination) {
                Some(known) => {
                    known.deliveries += deliveries;
                    known.already_delivered += already_delivered;
                }
                None => counted.by_destination.push(CountedOf { destination, deliveries, already_delivered }),
            }
        }
        counted.events += events.len() as u64;
    }
}

/// What the numbers do not say, since the journal was not searched to its end.
fn unsearched(looked: &Looked, only: Only, searched_bytes: u64) -> Vec<String> {
    let of = format!("more than {} MiB further on in the journal", searched_bytes >> 20);
    let low = format!("what was delivered {of} is not in `already_delivered`: more may be there already");
    let many = format!("what a replay delivered {of} counts as missing: fewer may be sent");
    let is_missing = only == Only::Missing;
    let is_low = looked.unfound > 0 || (looked.unheard_of > 0 && !is_missing);
    let is_many = looked.unheard_of > 0 && is_missing;
    is_low.then_some(low).into_iter().chain(is_many.then_some(many)).collect()
}

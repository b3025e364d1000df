//! What a replay would do, counted piece by piece: each piece is bounded, and says where the next begins. So a count over a long history
//! holds nothing up, and whoever asks sees how far it has come and may leave at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::select::{Look, Selected, Step};
use super::{Asked, ReplayError, ReplaySpec, Replayer, STEP};
use crate::event::EventId;
use crate::store::{Cursor, NameId, StoreError};
use crate::time::Instant;

/// Where a piece ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Events that are looked at.
    pub events: usize,
    /// Bytes of their bodies, and one page more.
    pub bytes: usize,
    /// How long it takes, and one step more.
    pub time: Duration,
    /// Bytes of the journal that are read in a step to find out how deliveries ended.
    pub searched_bytes: u64,
}

/// Those of a piece that somebody waits for: as long as one of a walk over the history.
const PIECE: Bounds =
    Bounds { events: 50_000, bytes: 64 << 20, time: Duration::from_millis(300), searched_bytes: 256 << 20 };

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
enum At {
    /// In the history.
    History(Option<Cursor>),
    /// Among the events that are named, at one of them.
    Named(usize),
}

impl At {
    /// As the answer before said it.
    fn read(spec: &ReplaySpec, after: Option<&str>) -> Result<Self, StoreError> {
        let Some(named) = &spec.named else {
            return Ok(At::History(after.map(str::parse).transpose()?));
        };
        let Some(after) = after else { return Ok(At::Named(0)) };
        let last: EventId = after.parse().map_err(|_| StoreError::no_cursor())?;
        Ok(At::Named(named.ids.partition_point(|id| *id <= last)))
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
        let (mut bytes, mut searched_bytes) = (0, 0);
        let mut is_cut = false;
        loop {
            if has_gone.is_cancelled() {
                return Err(ReplayError::HasGone);
            }
            let events_max = bounds.events - (counted.looked_at as usize).min(bounds.events - 1);
            let step = self.count_step(&asked, &mut at, events_max.min(STEP), bounds, &mut counted).await?;
            bytes += step.bytes;
            searched_bytes += step.searched_bytes;
            is_cut |= step.searched_bytes >= bounds.searched_bytes;
            counted.looked_at += step.looked_at;
            counted.up_to_ms = step.up_to_ms.or(counted.up_to_ms);
            self.add(&mut counted, step.selected);
            let is_enough = counted.looked_at as usize >= bounds.events
                || bytes >= bounds.bytes
                || searched_bytes >= bounds.searched_bytes
                || begun.elapsed() >= bounds.time;
            if counted.next.is_none() || is_enough {
                break;
            }
        }
        if is_cut {
            let mib = bounds.searched_bytes >> 20;
            counted.warnings.push(format!(
                "what was delivered more than {mib} MiB further on in the journal counts as not delivered: fewer may be sent"
            ));
        }
        Ok(counted)
    }

    /// Looks at the next events, and says in what was counted where it goes on then.
    async fn count_step(
        &self,
        asked: &Asked,
        at: &mut At,
        events_max: usize,
        bounds: Bounds,
        counted: &mut Counted,
    ) -> Result<Step, ReplayError> {
        let look = Look::Always { searched_bytes_max: bounds.searched_bytes };
        match (at, &asked.spec.named) {
            (At::Named(nth), Some(named)) => {
                let mut step = Step::default();
                let ids = &named.ids[*nth..];
                if !ids.is_empty() {
                    *nth += self.add_named(asked, &ids[..ids.len().min(events_max)], look, &mut step).await?;
                }
                counted.left = (named.ids.len() - *nth) as u64;
                counted.next = nth.checked_sub(1).filter(|_| counted.left > 0).map(|last| named.ids[last].to_string());
                Ok(step)
            }
            (At::Named(_), None) => Ok(Step::default()),
            (At::History(after), _) => {
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

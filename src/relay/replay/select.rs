//! One step of a replay: which events of some go where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::spec::{By, Only};
use super::{Asked, ReplayError, Replayer};
use crate::event::EventId;
use crate::store::{Cursor, DeliveryState, NameId, Page, SearchLimit, States, StoredEvent};

/// What is to be done in a step.
#[derive(Default)]
pub(super) struct Step {
    pub selected: BTreeMap<NameId, Selected>,
    /// Which events the step is about: the same, whatever the rules say of them when it is taken again.
    pub extent: Vec<u8>,
    /// Where the replay goes on then.
    pub next: Option<Cursor>,
    /// About how many events are left.
    pub left: u64,
    pub looked: Looked,
}

/// What was looked at: a count tells how far it has come, and goes no further than its bounds.
#[derive(Default)]
pub(super) struct Looked {
    /// Events, the bytes of their bodies, and when the last of them arrived.
    pub events: usize,
    pub bytes: usize,
    pub up_to_ms: Option<u64>,
    /// Bytes of the journal that were read to find out how their deliveries ended.
    pub searched_bytes: u64,
    /// Deliveries that are over, and how they ended lies further on in the journal than was searched.
    pub unfound: u64,
    /// Deliveries of which nothing was found as far as was searched: a replay may have sent them.
    pub unheard_of: u64,
    /// Events that are passed by, since values of them were taken away; what else is meant is not asked of them.
    pub redacted: u64,
}

impl Looked {
    pub fn add(&mut self, step: &Looked) {
        self.events += step.events;
        self.bytes += step.bytes;
        self.up_to_ms = step.up_to_ms.or(self.up_to_ms);
        self.searched_bytes += step.searched_bytes;
        self.unfound += step.unfound;
        self.unheard_of += step.unheard_of;
        self.redacted += step.redacted;
    }
}

/// What a step has for one destination.
#[derive(Default)]
pub(super) struct Selected {
    pub events: Vec<EventId>,
    /// Events that are meant and that the destination has.
    pub already_delivered: u64,
}

/// An event and where it is to go.
type Chosen = (Arc<StoredEvent>, BTreeSet<NameId>);

/// Whether it is asked how deliveries stand, where nobody needs to know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    WhereNeeded,
    /// And no further in the journal than that.
    Always {
        searched_bytes_max: u64,
    },
}

impl Look {
    fn limit(self) -> SearchLimit {
        match self {
            Look::WhereNeeded => SearchLimit::whole(),
            Look::Always { searched_bytes_max } => SearchLimit { bytes_left: searched_bytes_max, unfound: 0 },
        }
    }
}

impl Replayer {
    /// The next events of a replay and where they go.
    pub(super) async fn step(&self, asked: &Asked, after: Option<&Cursor>, look: Look) -> Result<Step, ReplayError> {
        if let Some(named) = &asked.spec.named {
            return self.step_of(asked, &named.ids, look).await;
        }
        self.step_of_history(asked, after, super::STEP, look).await
    }

    /// The next events of a range, at most so many.
    pub(super) async fn step_of_history(
        &self,
        asked: &Asked,
        after: Option<&Cursor>,
        events_max: usize,
        look: Look,
    ) -> Result<Step, ReplayError> {
        let Page { items, next, left } = self.store.events(&asked.spec.history(), after, events_max).await?;
        let extent = [after, next.as_ref()].map(|at| at.map(ToString::to_string).unwrap_or_default()).join(" ");
        let mut step = Step { extent: extent.into_bytes(), next, left, ..Step::default() };
        self.select(asked, items, look, &mut step).await?;
        Ok(step)
    }

    /// The one step of a replay of events that are named. Those that are gone are left out.
    async fn step_of(&self, asked: &Asked, ids: &[EventId], look: Look) -> Result<Step, ReplayError> {
        let mut step = Step { extent: b"named".to_vec(), ..Step::default() };
        let mut rest = ids;
        while !rest.is_empty() {
            rest = &rest[self.add_named(asked, rest, look, &mut step).await?..];
        }
        Ok(step)
    }

    /// Adds as many of some events that are named as fit into a page, and gives how many ids were looked at: at least one.
    pub(super) async fn add_named(
        &self,
        asked: &Asked,
        ids: &[EventId],
        look: Look,
        step: &mut Step,
    ) -> Result<usize, ReplayError> {
        let (events, looked_at) = self.store.events_of(ids.to_vec()).await?;
        self.select(asked, events, look, step).await?;
        Ok(looked_at.clamp(1, ids.len()))
    }

    /// Adds to a step which of some events go where.
    async fn select(
        &self,
        asked: &Asked,
        events: Vec<Arc<StoredEvent>>,
        look: Look,
        step: &mut Step,
    ) -> Result<(), ReplayError> {
        let bytes = events.iter().map(|event| event.body.len()).sum();
        let up_to_ms = events.last().map(|event| event.received_ms);
        let mut looked = Looked { events: events.len(), bytes, up_to_ms, ..Looked::default() };
        // What goes out must be what came.
        let (redacted, events): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| event.is_redacted);
        let is_meant = |event: &&Arc<StoredEvent>| !asked.spec.is_unrouted || event.deliveries.is_empty();
        looked.redacted = redacted.iter().filter(is_meant).count() as u64;
        let removed = self.removed().await?;
        let replayer = self.clone();
        let meant = asked.clone();
        let chosen = tokio::task::spawn_blocking(move || replayer.choose(&meant, events, &removed)).await;
        let chosen = chosen.map_err(|error| ReplayError::of_thread(&error))?;
        let is_sparing = asked.spec.only == Only::Missing;
        let mut states: Vec<States> = Vec::new();
        let mut is_cut = false;
        if is_sparing || look != Look::WhereNeeded {
            let events = chosen.iter().map(|(event, _)| event.clone()).collect();
            let limit = look.limit();
            let (known, left) = self.store.states(events, limit).await?;
            states = known;
            looked.searched_bytes = limit.bytes_left - left.bytes_left;
            is_cut = left.bytes_left == 0;
        }
        if self.stop.is_cancelled() {
            return Err(ReplayError::Stopped);
        }
        for (nth, (event, destinations)) in chosen.into_iter().enumerate() {
            let known: &[_] = states.get(nth).map_or(&[], |states| states);
            for id in destinations {
                let state = known.iter().find(|(delivery, _)| delivery.destination == id).map(|(_, state)| state);
                let selected = step.selected.entry(id).or_default();
                selected.already_delivered += u64::from(matches!(state, Some(DeliveryState::Delivered { .. })));
                looked.unfound += u64::from(is_cut && matches!(state, Some(DeliveryState::Settled)));
                looked.unheard_of += u64::from(is_cut && state.is_none());
                if !is_sparing || is_missing(state) {
                    selected.events.push(event.id);
                }
            }
        }
        step.looked.add(&looked);
        Ok(())
    }

    /// Where each of the events goes that are meant; nothing is sent again to where nothing is sent any more. Takes CPU.
    fn choose(&self, asked: &Asked, events: Vec<Arc<StoredEvent>>, removed: &BTreeSet<NameId>) -> Vec<Chosen> {
        let is_meant = |event: &Arc<StoredEvent>| {
            (!asked.spec.is_unrouted || event.deliveries.is_empty()) && asked.conditions.holds(&*self.store, event)
        };
        let events: Vec<_> = events.into_iter().filter(is_meant).collect();
        let of_then = |event: &Arc<StoredEvent>| event.deliveries.iter().map(|delivery| delivery.destination).collect();
        let routed: Vec<Vec<NameId>> = match asked.spec.by {
            _ if !asked.to.is_empty() => vec![asked.to.clone(); events.len()],
            By::Then => events.iter().map(of_then).collect(),
            By::Now => (self.route)(&events),
        };
        // Each of them once, however often it is named.
        let there = |ids: Vec<NameId>| ids.into_iter().filter(|id| !removed.contains(id)).collect();
        events.into_iter().zip(routed.into_iter().map(there)).collect()
    }
}

/// Whether a destination lacks an event: it was never to go there, or was given up there. What somebody has dropped or sent elsewhere is
/// decided, and of what ended nobody knows how it may be there.
fn is_missing(state: Option<&DeliveryState>) -> bool {
    matches!(state, None | Some(DeliveryState::Dead { .. }))
}

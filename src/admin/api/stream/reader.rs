//! One who reads: takes steps from the ring, makes frames of what its filter holds for, and hands them on as fast as they are taken.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::events::filter::{Filter, shown, shown_delivery};
use super::super::{Refusal, blocking};
use super::frame::frame;
use super::ring::{Behind, Entry, Step};
use super::{Reason, Resumes, Start, Streams, reset};
use crate::admin::addresses::without_addresses;
use crate::event::EventId;
use crate::relay::Relay;
use crate::secret::Secret;
use crate::store::{DeliveryState, EventView, Kept, NameId, Others, SearchLimit, States, StoreError, StoredEvent};
use crate::time::{Instant, rfc3339, wall_ms};

/// Something is said at least this often, so that both sides see a connection that is lost.
const SAID_EVERY: Duration = Duration::from_secs(15);
/// Events of one step that are sent: 80 a second, which nobody reads, and `skipped` says how many more there were. The frames of events are most
/// of what an open page costs.
pub(super) const EVENTS_MAX: usize = 20;
/// Bytes of their frames: an event that matches ten thousand rules names them all.
const EVENTS_BYTES_MAX: usize = 256 << 10;
/// Of events that are asked for by how their deliveries stand, so many are looked at in one step.
const STATES_MAX: usize = 200;
/// Events of one step of whose deliveries it is told.
const DELIVERIES_MAX: usize = 100;
/// Events of one step that are taken from the store, to see whether they are meant.
const LOOKS_MAX: usize = 50;
/// Events that are remembered, to tell of their deliveries or not to: as many as frames are kept.
const REMEMBERED_MAX: usize = super::ring::FRAMES_MAX;

/// One who reads.
pub(super) struct Reader {
    streams: Arc<Streams>,
    relay: Arc<Relay>,
    filter: Option<Arc<Filter>>,
    /// The admin listener's tokens when it began. Where there are others, whoever reads is to prove anew that he may.
    tokens: Vec<Secret>,
    /// The number of the last frame that it has seen.
    position: u64,
    /// With a filter, what was sent; without one, what was not.
    events: Remembered,
    /// Of events that came before this, unix milliseconds, it may have been told before a break; 0, where there was none.
    known_before_ms: u64,
    /// Those of them that the filter does not mean.
    unmeant: Remembered,
    out: mpsc::Sender<Bytes>,
}

/// The ids of some events, the newest.
#[derive(Debug, Default)]
struct Remembered {
    order: VecDeque<EventId>,
    ids: HashSet<EventId>,
}

impl Remembered {
    fn add(&mut self, id: EventId) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

/// What of a step is not told.
#[derive(Default)]
struct Skipped {
    events: Option<Others>,
    deliveries: u64,
}

impl Skipped {
    fn event(&mut self, received_ms: u64) {
        self.others(Others::one(received_ms));
    }

    fn others(&mut self, others: Others) {
        self.events = Some(self.events.map_or(others, |known| known.and(others)));
    }

    fn shown(&self) -> Option<Value> {
        if self.events.is_none() && self.deliveries == 0 {
            return None;
        }
        let Self { events, deliveries } = self;
        Some(json!({
            "events": events.map_or(0, |others| others.events),
            "deliveries": deliveries,
            "from": events.map(|others| rfc3339(others.from_ms)),
            "until": events.map(|others| rfc3339(others.until_ms)),
        }))
    }
}

/// What is told of an event whose deliveries have changed.
enum Change {
    Nothing,
    Deliveries,
    /// The event as a list shows it.
    Event(Value),
    /// Nothing, and it might have been the event.
    EventLeftOut,
    /// Nothing, and it might have been its deliveries.
    DeliveriesLeftOut,
}

/// An event of a step, with its frame's number.
#[derive(Clone, Copy)]
struct Arrived<'s> {
    number: u64,
    event: &'s Arc<StoredEvent>,
    frame: &'s OnceLock<Bytes>,
}

impl Reader {
    pub(super) fn new(
        streams: Arc<Streams>,
        relay: Arc<Relay>,
        filter: Option<Arc<Filter>>,
        start: &Start,
        out: mpsc::Sender<Bytes>,
    ) -> Self {
        let tokens = relay.generation().config.admin.tokens.clone();
        let known_before_ms = if start.resumes == Resumes::Known { wall_ms() } else { 0 };
        let position = start.position;
        let (events, unmeant) = Default::default();
        Self { streams, relay, filter, tokens, position, events, known_before_ms, unmeant, out }
    }

    /// Reads on until somebody hangs up or the relay stops.
    pub(super) async fn run(mut self, beginning: Bytes) {
        let mut newest = self.streams.newest.subscribe();
        let mut said = Instant::now();
        if !self.send(beginning).await {
            return;
        }
        loop {
            newest.borrow_and_update();
            if self.relay.generation().config.admin.tokens != self.tokens {
                return;
            }
            let Some(behind) = self.streams.behind(self.position) else { return };
            let piece = match behind {
                Behind::Step(step) => self.told(&step).await,
                Behind::TooFar { newest } => self.begin_anew(newest),
                Behind::Nothing => {
                    tokio::select! {
                        _ = newest.changed() => continue,
                        () = tokio::time::sleep_until(said + SAID_EVERY) => Bytes::from_static(b": \n\n"),
                        () = self.relay.until_stopping() => return,
                        () = self.out.closed() => return,
                    }
                }
            };
            if !piece.is_empty() {
                if !self.send(piece).await {
                    return;
                }
                said = Instant::now();
            }
        }
    }

    /// Hands a piece on, when the one before is taken. Returns whether somebody still reads.
    async fn send(&self, piece: Bytes) -> bool {
        let piece = self.shown(piece);
        tokio::select! {
            sent = self.out.send(piece) => sent.is_ok(),
            () = self.relay.until_stopping() => false,
        }
    }

    /// Frames as the config has them shown. They are made for all readers at once.
    fn shown(&self, piece: Bytes) -> Bytes {
        if self.relay.generation().config.admin.shows_addresses {
            return piece;
        }
        match without_addresses(&String::from_utf8_lossy(&piece)) {
            Cow::Borrowed(_) => piece.clone(),
            Cow::Owned(text) => Bytes::from(text),
        }
    }

    /// It has fallen behind what is kept.
    fn begin_anew(&mut self, newest: u64) -> Bytes {
        self.position = newest;
        reset(self.streams.id(newest), Reason::Behind)
    }

    /// What of a step is told.
    async fn told(&mut self, step: &Step) -> Bytes {
        let mut out = Vec::new();
        let mut skipped = Skipped::default();
        self.tell_events(step, &mut out, &mut skipped).await;
        let (mut told_of, mut looks) = (0, 0);
        for (number, entry) in step.behind(self.position) {
            let id = self.streams.id(number);
            match entry {
                Entry::Event { .. } => {}
                Entry::Others(others) => skipped.others(*others),
                Entry::DeliveriesBesides(deliveries) => skipped.deliveries += deliveries,
                Entry::Told { kind, data } => out.extend_from_slice(&frame(id, kind, data)),
                Entry::Minute(data) => {
                    if let Some(data) = data.upgrade() {
                        out.extend_from_slice(&frame(id, "minute", data));
                    }
                }
                Entry::Reset => out.extend_from_slice(&reset(id, Reason::Command)),
                Entry::Deliveries { event, now } => match self.change(*event, now, &mut looks).await {
                    Change::Nothing => {}
                    Change::Deliveries if told_of < DELIVERIES_MAX => {
                        told_of += 1;
                        let now: Vec<_> =
                            now.iter().map(|(to, state)| shown_delivery(&self.relay, *to, state)).collect();
                        let data = json!({ "id": event.to_string(), "deliveries": now });
                        out.extend_from_slice(&frame(id, "deliveries", &data));
                    }
                    Change::Deliveries | Change::DeliveriesLeftOut => skipped.deliveries += now.len() as u64,
                    Change::Event(data) => out.extend_from_slice(&frame(id, "event", &data)),
                    Change::EventLeftOut => skipped.event(event.received_ms()),
                },
            }
        }
        self.position = step.last();
        if let Some(skipped) = skipped.shown() {
            out.extend_from_slice(&frame(self.streams.id(self.position), "skipped", &skipped));
        }
        Bytes::from(out)
    }

    /// Whether what becomes of an event is told: with a filter, of what was sent; without one, of all but what was not.
    fn follows(&self, event: EventId) -> bool {
        self.events.ids.contains(&event) == self.filter.is_some()
    }

    /// Tells of the events that are meant, as many as somebody can read.
    async fn tell_events(&mut self, step: &Step, out: &mut Vec<u8>, skipped: &mut Skipped) {
        let arrived = step.behind(self.position).filter_map(|(number, entry)| match entry {
            Entry::Event { event, frame } => Some(Arrived { number, event, frame }),
            _ => None,
        });
        let arrived: Vec<_> = arrived.collect();
        let needs_states = self.filter.as_ref().is_some_and(|filter| filter.needs_states());
        let most = if needs_states { STATES_MAX } else { EVENTS_MAX };
        // Where it cannot be seen whether they are meant, none is told, and all are counted.
        let (mut meant, mut left_out) = match self.meant(&arrived).await {
            Ok(meant) => (meant, Vec::new()),
            Err(_) => (Vec::new(), arrived),
        };
        left_out.extend(meant.split_off(meant.len().min(most)));
        let states = match self.states(&meant, needs_states).await {
            Some(states) => states,
            None => {
                left_out.append(&mut meant);
                Vec::new()
            }
        };
        let (mut sent, mut keeps_more) = (0, false);
        let begin = out.len();
        for (at, arrived) in meant.iter().enumerate() {
            let states = states.get(at);
            if let (Some(filter), Some(states)) = (&self.filter, states)
                && !filter.stand(states)
            {
                continue;
            }
            if sent == EVENTS_MAX || out.len() - begin >= EVENTS_BYTES_MAX {
                left_out.push(*arrived);
                continue;
            }
            sent += 1;
            let made = arrived.frame.get_or_init(|| {
                let none = States::new();
                let event = shown(&self.relay, arrived.event, states.unwrap_or(&none));
                let made = frame(self.streams.id(arrived.number), "event", &event);
                keeps_more |= step.keeps(made.len());
                made
            });
            out.extend_from_slice(made);
            if self.filter.is_some() {
                self.events.add(arrived.event.id);
            }
        }
        if keeps_more {
            self.streams.trim();
        }
        for Arrived { event, .. } in left_out {
            skipped.event(event.received_ms);
            if self.filter.is_none() {
                self.events.add(event.id);
            }
        }
    }

    /// Those of some events that are meant, whatever becomes of them. To match takes CPU, so it is done aside.
    async fn meant<'s>(&self, arrived: &[Arrived<'s>]) -> Result<Vec<Arrived<'s>>, Refusal> {
        let Some(filter) = self.filter.clone().filter(|_| !arrived.is_empty()) else { return Ok(arrived.to_vec()) };
        let events: Vec<_> = arrived.iter().map(|one| one.event.clone()).collect();
        let meant = blocking(&self.relay, move |relay| Ok(filter.among(relay, &events, events.len()))).await?;
        Ok(meant.into_iter().map(|at| arrived[at]).collect())
    }

    /// How the deliveries of some events stand, as memory knows; nothing, where all of their frames are made already. `None`: it is asked
    /// for, and nobody can say it.
    async fn states(&self, arrived: &[Arrived<'_>], is_asked_for: bool) -> Option<Vec<States>> {
        if !is_asked_for && arrived.iter().all(|one| one.frame.get().is_some()) {
            return Some(Vec::new());
        }
        let events = arrived.iter().map(|one| one.event.clone()).collect();
        let in_memory = SearchLimit { bytes_left: 0, unfound: 0 };
        let unknown = || {
            let planned =
                |one: &Arrived<'_>| one.event.deliveries.iter().map(|to| (*to, DeliveryState::Settled)).collect();
            arrived.iter().map(planned).collect()
        };
        match self.relay.store.states(events, in_memory).await {
            Ok((states, _)) => Some(states),
            Err(_) => (!is_asked_for).then(unknown),
        }
    }

    /// What is told of an event whose deliveries stand so now. With a filter, of what was sent, of what has come to be meant by it, and of what may have
    /// been sent before a break.
    async fn change(&mut self, id: EventId, now: &[(NameId, DeliveryState)], looks: &mut usize) -> Change {
        if self.follows(id) {
            return Change::Deliveries;
        }
        let Some(filter) = self.filter.clone().filter(|_| !self.unmeant.ids.contains(&id)) else {
            return Change::Nothing;
        };
        let has_come = now.iter().any(|(to, state)| filter.asks_for(*to, state));
        let may_be_known = id.received_ms() < self.known_before_ms;
        let left_out = if has_come { Change::EventLeftOut } else { Change::DeliveriesLeftOut };
        if !has_come && !may_be_known {
            return Change::Nothing;
        }
        if *looks >= LOOKS_MAX {
            return left_out;
        }
        *looks += 1;
        let (event, deliveries) = match self.relay.store.event(id).await {
            Ok(EventView { event: Kept::Event(event), deliveries }) => (event, deliveries),
            Ok(EventView { event: Kept::Erased(_), .. }) | Err(StoreError::Missing) => return Change::Nothing,
            Err(_) => return left_out,
        };
        let states: States = deliveries.into_iter().map(|delivery| (delivery.planned, delivery.state)).collect();
        let (holds, is_planned) = (filter.holds(&self.relay, &event), filter.is_planned(&event));
        if has_come && !is_planned && holds && filter.stand(&states) {
            self.events.add(id);
            return Change::Event(shown(&self.relay, &event, &states));
        }
        // Of what was meant by a state, also if it has left it.
        if may_be_known && holds && (is_planned || !filter.needs_few_states()) {
            self.events.add(id);
            return Change::Deliveries;
        }
        // Whatever becomes of it: it is none of these, or it was meant from the beginning and came before.
        if !holds || is_planned {
            self.unmeant.add(id);
        }
        Change::Nothing
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.streams.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_events_are_remembered_the_newest() {
        let mut remembered = Remembered::default();
        let id = |at: usize| EventId::mint(0, 0, at as u64);
        (0..REMEMBERED_MAX).for_each(|at| remembered.add(id(at)));
        remembered.add(id(5));
        assert!(remembered.ids.contains(&id(0)));
        remembered.add(id(REMEMBERED_MAX));
        assert!(!remembered.ids.contains(&id(0)) && remembered.ids.contains(&id(1)));
        assert_eq!((remembered.ids.len(), remembered.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }

    #[test]
    fn what_is_left_out_is_counted_and_where_nothing_is_nothing_is_said() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.shown(), None);
        skipped.event(2000);
        skipped.others(Others { events: 3, from_ms: 1000, until_ms: 3000 });
        let told = skipped.shown().expect("something");
        assert_eq!((told["events"].as_u64(), told["deliveries"].as_u64()), (Some(4), Some(0)));
        assert_eq!(told["from"], "1970-01-01T00:00:01.000Z");
        assert_eq!(told["until"], "1970-01-01T00:00:03.000Z");
        let of_deliveries = Skipped { deliveries: 2, ..Skipped::default() };
        assert_eq!(of_deliveries.shown().map(|told| told["from"].clone()), Some(Value::Null));
    }
}

//! One who reads: takes steps from the ring, makes frames of what its filter holds for, and hands them on as fast as they are taken.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::events::filter::{Filter, shown, shown_delivery};
use super::super::{blocking, state_name};
use super::Streams;
use super::frame::frame;
use super::ring::{Behind, Entry, Step};
use crate::event::EventId;
use crate::relay::Relay;
use crate::secret::Secret;
use crate::store::{DeliveryState, EventView, NameId, Others, SearchLimit, States, StoredEvent};
use crate::time::{Instant, rfc3339};

/// Something is said at least this often, so that both sides see a connection that is lost.
const SAID_EVERY: Duration = Duration::from_secs(15);
/// Events of one step that are sent; nobody reads more, and `skipped` says how many there were.
pub(super) const EVENTS_MAX: usize = 50;
/// Bytes of their frames: an event that matches ten thousand rules names them all.
const EVENTS_BYTES_MAX: usize = 256 << 10;
/// Of events that are asked for by how their deliveries stand, so many are looked at in one step.
const STATES_MAX: usize = 200;
/// Events of one step of whose deliveries it is told.
const DELIVERIES_MAX: usize = 100;
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

/// An event of a step, with its frame's number.
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
        position: u64,
        out: mpsc::Sender<Bytes>,
    ) -> Self {
        let tokens = relay.generation().config.admin.tokens.clone();
        Self { streams, relay, filter, tokens, position, events: Remembered::default(), out }
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
                Behind::TooFar => self.begin_anew(),
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
        tokio::select! {
            sent = self.out.send(piece) => sent.is_ok(),
            () = self.relay.until_stopping() => false,
        }
    }

    /// It has fallen behind what is kept.
    fn begin_anew(&mut self) -> Bytes {
        self.position = self.streams.last();
        self.reset(self.position)
    }

    fn reset(&self, number: u64) -> Bytes {
        frame(self.streams.id(number), "reset", &json!({ "position": number }))
    }

    /// What of a step is told.
    async fn told(&mut self, step: &Step) -> Bytes {
        let mut out = Vec::new();
        let mut skipped = Skipped::default();
        let seen = self.position;
        let entries = || (step.first..).zip(&step.entries).filter(move |(number, _)| *number > seen);
        self.tell_events(entries(), &mut out, &mut skipped).await;
        let mut told_of = 0;
        for (number, entry) in entries() {
            let id = self.streams.id(number);
            match entry {
                Entry::Event { .. } => {}
                Entry::Others(others) => skipped.others(*others),
                Entry::DeliveriesBesides(deliveries) => skipped.deliveries += deliveries,
                Entry::Told { kind, data } => out.extend_from_slice(&frame(id, kind, data)),
                Entry::Reset => out.extend_from_slice(&self.reset(number)),
                Entry::Deliveries { event, now } if self.follows(*event) => {
                    told_of += 1;
                    if told_of > DELIVERIES_MAX {
                        skipped.deliveries += now.len() as u64;
                    } else {
                        let now: Vec<_> =
                            now.iter().map(|(to, state)| shown_delivery(&self.relay, *to, state)).collect();
                        let data = json!({ "id": event.to_string(), "deliveries": now });
                        out.extend_from_slice(&frame(id, "deliveries", &data));
                    }
                }
                Entry::Deliveries { event, now } => {
                    if let Some(data) = self.now_meant(*event, now, &mut told_of).await {
                        out.extend_from_slice(&frame(id, "event", &data));
                        self.events.add(*event);
                    }
                }
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
    async fn tell_events<'s>(
        &mut self,
        entries: impl Iterator<Item = (u64, &'s Entry)>,
        out: &mut Vec<u8>,
        skipped: &mut Skipped,
    ) {
        let arrived = entries.filter_map(|(number, entry)| match entry {
            Entry::Event { event, frame } => Some(Arrived { number, event, frame }),
            _ => None,
        });
        let mut meant = self.meant(arrived.collect()).await;
        let asks_for_states = self.filter.as_ref().is_some_and(|filter| filter.asks_for_states());
        let most = if asks_for_states { STATES_MAX } else { EVENTS_MAX };
        let rest = meant.split_off(meant.len().min(most));
        let states = self.states(&meant, asks_for_states).await;
        let mut sent = 0;
        let begin = out.len();
        let mut left_out = Vec::new();
        for (at, arrived) in meant.iter().enumerate() {
            let states = states.get(at);
            if let (Some(filter), Some(states)) = (&self.filter, states)
                && !filter.stand(states)
            {
                continue;
            }
            if sent == EVENTS_MAX || out.len() - begin >= EVENTS_BYTES_MAX {
                left_out.push(arrived.event);
                continue;
            }
            sent += 1;
            let made = arrived.frame.get_or_init(|| {
                let none = States::new();
                let event = shown(&self.relay, arrived.event, states.unwrap_or(&none));
                frame(self.streams.id(arrived.number), "event", &event)
            });
            out.extend_from_slice(made);
            if self.filter.is_some() {
                self.events.add(arrived.event.id);
            }
        }
        for event in left_out.into_iter().chain(rest.iter().map(|arrived| arrived.event)) {
            skipped.event(event.received_ms);
            if self.filter.is_none() {
                self.events.add(event.id);
            }
        }
    }

    /// Those of some events that are meant, whatever becomes of them. To match takes CPU, so it is done aside.
    async fn meant<'s>(&self, arrived: Vec<Arrived<'s>>) -> Vec<Arrived<'s>> {
        let Some(filter) = self.filter.clone().filter(|_| !arrived.is_empty()) else { return arrived };
        let events: Vec<_> = arrived.iter().map(|one| one.event.clone()).collect();
        let meant = blocking(&self.relay, move |relay| Ok(filter.among(relay, &events, events.len()))).await;
        let meant: HashSet<usize> = meant.unwrap_or_default().into_iter().collect();
        let numbered = arrived.into_iter().enumerate().filter(|(at, _)| meant.contains(at));
        numbered.map(|(_, one)| one).collect()
    }

    /// How the deliveries of some events stand, as memory knows; nothing, where all of their frames are made already.
    async fn states(&self, arrived: &[Arrived<'_>], is_asked_for: bool) -> Vec<States> {
        if !is_asked_for && arrived.iter().all(|one| one.frame.get().is_some()) {
            return Vec::new();
        }
        let events = arrived.iter().map(|one| one.event.clone()).collect();
        let in_memory = SearchLimit { bytes_left: 0, unfound: 0 };
        let unknown = || {
            let planned =
                |one: &Arrived<'_>| one.event.deliveries.iter().map(|to| (*to, DeliveryState::Settled)).collect();
            arrived.iter().map(planned).collect()
        };
        self.relay.store.states(events, in_memory).await.map_or_else(|_| unknown(), |(states, _)| states)
    }

    /// An event that is meant by how its deliveries stand now, as a list shows it.
    async fn now_meant(&self, event: EventId, now: &[(NameId, DeliveryState)], looked_at: &mut usize) -> Option<Value> {
        let filter = self.filter.as_ref()?;
        if *looked_at >= EVENTS_MAX || !now.iter().any(|(_, state)| filter.asks_for(state_name(state))) {
            return None;
        }
        *looked_at += 1;
        let EventView { event, deliveries } = self.relay.store.event(event).await.ok()?;
        let states: States = deliveries.into_iter().map(|delivery| (delivery.planned, delivery.state)).collect();
        filter.is_meant(&self.relay, &event, &states).then(|| shown(&self.relay, &event, &states))
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

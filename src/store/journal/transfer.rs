//! Writing what a journal has, for a store elsewhere, and taking in what one had.
//!
//! An event keeps its number, and numbers of a journal are dense. So what is taken in lies there as what outlived its segment does: written at the
//! end with where its deliveries stand, below the numbers that the journal gives itself. It is not of the history, and goes once nothing of it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use super::inbox::Message;
use super::index::Update;
use super::words::Letter;
use super::words::{Ends, ReadError, Relocating, died};
use super::{Journal, JournalStore, lock, reading};
use crate::event::EventId;
use crate::store::queues::{Act, Backing as _, Bitmap, BulkAct, DeliveryKey, OutcomeRecord, OutcomeState, Urgency};
use crate::store::transfer::{Body, Delivery, Line, Moved, Planned, Stands, State};
use crate::store::{
    DeliveryState, HeldBy, NameId, NameKind, Named, Names, PlannedDelivery, SearchLimit, StoreError, StoredEvent,
};

/// Events that are read at once,
const PAGE_EVENTS: usize = 512;
/// and bytes of their bodies, and one more.
const PAGE_BYTES: usize = 4 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Events that cannot be read any more, which were left out.
    pub unreadable: u64,
}

impl JournalStore {
    /// Writes how everything stands, and the events of which something is still to come, or all. Blocks.
    pub fn export(&self, all: bool, write: &mut dyn FnMut(&Line) -> io::Result<()>) -> Result<Written, StoreError> {
        self.journal.export(all, write)
    }

    /// Takes over how a source or destination stands. Blocks.
    pub fn take_stand(&self, kind: NameKind, stands: &Stands) -> Result<(), StoreError> {
        let named = Named { kind, name: stands.name.clone(), renamed_from: None };
        let id = self.journal.intern(&[named])?.ids[0];
        if stands.held_since_ms.is_some() {
            self.journal.control(id, Act::Hold, Urgency::Now);
        }
        if stands.paused_since_ms.is_some() {
            self.journal.control(id, Act::Pause(stands.reason.clone()), Urgency::Now);
        }
        Ok(())
    }

    /// Takes events in, each with its id and where its deliveries stand, and returns once they are durable. What is known of a delivery already
    /// stays as it is, so they may be given again. Blocks.
    pub fn take_moved(&self, events: &[Moved]) -> Result<(), StoreError> {
        self.journal.take_moved(events)
    }
}

impl Journal {
    fn export(&self, all: bool, write: &mut dyn FnMut(&Line) -> io::Result<()>) -> Result<Written, StoreError> {
        let names = reading(&self.names).shown();
        let mut written = Written::default();
        for (kind, line) in [
            (NameKind::Source, Line::Source as fn(Stands) -> Line),
            (NameKind::Destination, Line::Destination as fn(Stands) -> Line),
        ] {
            for (id, name) in names.of_kind(kind) {
                let state = lock(&self.destination(id).queue).state().clone();
                if state.paused.is_none() && state.held_since_ms.is_none() {
                    continue;
                }
                let stands = Stands {
                    name: name.to_string(),
                    paused_since_ms: state.paused.as_ref().map(|pause| pause.since_ms),
                    reason: state.paused.map(|pause| pause.reason).unwrap_or_default(),
                    held_since_ms: state.held_since_ms,
                };
                write(&line(stands)).map_err(unwritten)?;
            }
        }
        let numbers = if all { self.all_numbers() } else { self.open_numbers() };
        let mut numbers = numbers.iter_from(0).peekable();
        while numbers.peek().is_some() {
            let (mut events, mut erased, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
            while events.len() < PAGE_EVENTS
                && bytes < PAGE_BYTES
                && let Some(number) = numbers.next()
            {
                match self.event_by_number(number) {
                    Ok(event) => {
                        bytes += event.body.len();
                        events.push(event);
                    }
                    Err(ReadError::Erased(left)) => {
                        erased.insert(number);
                        events.push(Arc::new(left.without_body()));
                    }
                    // Of the history, there is a hole where a number was never used.
                    Err(ReadError::Missing) if all => {}
                    Err(ReadError::Missing | ReadError::Damaged(_) | ReadError::Redacted) => written.unreadable += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            let states = self.states(&events, &mut SearchLimit::whole())?;
            for (event, states) in events.iter().zip(states) {
                let moved = self.moved(event, erased.contains(&event.id.sequence()), states, &names);
                if all || moved.is_open() {
                    write(&Line::Event(Box::new(moved))).map_err(unwritten)?;
                }
            }
        }
        Ok(written)
    }

    /// The numbers of events of which something is still to come.
    fn open_numbers(&self) -> Bitmap {
        let mut numbers = Bitmap::default();
        for id in self.destination_ids() {
            let snapshot = self.snapshot(id);
            let held = snapshot.held.values();
            [&snapshot.unsettled, &snapshot.redeliveries, &snapshot.dead]
                .into_iter()
                .chain(held)
                .for_each(|some| numbers.insert_all(some));
            for (number, ..) in &snapshot.scheduled {
                numbers.insert(*number);
            }
        }
        numbers
    }

    fn all_numbers(&self) -> Bitmap {
        let mut numbers = self.open_numbers();
        let end = self.next_sequence.load(Ordering::Acquire);
        for number in self.segments.history_start()..end {
            numbers.insert(number);
        }
        numbers
    }

    fn moved(
        &self,
        event: &StoredEvent,
        is_erased: bool,
        states: Vec<(PlannedDelivery, DeliveryState)>,
        names: &Names,
    ) -> Moved {
        let name = |id: NameId| names.name(id).to_string();
        let number = event.id.sequence();
        let deliveries = states.into_iter().map(|(PlannedDelivery { destination, .. }, state)| Delivery {
            destination: name(destination),
            state: self.state_to_write(destination, number, state, names),
        });
        Moved {
            id: event.id,
            received_ms: event.received_ms,
            source: name(event.source),
            rules: event.rules.iter().map(|rule| name(*rule)).collect(),
            to: event
                .deliveries
                .iter()
                .map(|planned| Planned { destination: name(planned.destination), rule: name(planned.rule) })
                .collect(),
            is_erased,
            is_redacted: event.is_redacted,
            body: Body::of(&event.body),
            deliveries: deliveries.collect(),
        }
    }

    fn state_to_write(&self, destination: NameId, number: u64, state: DeliveryState, names: &Names) -> State {
        match state {
            DeliveryState::Held { by: HeldBy::Source } => State::Held,
            DeliveryState::Dead { attempts, at_ms, reason } => State::Dead { attempts, at_ms, reason },
            DeliveryState::Delivered { attempts, at_ms } => State::Delivered { attempts, at_ms },
            DeliveryState::Skipped { at_ms, reason } => State::Skipped { at_ms, reason },
            DeliveryState::Dropped { at_ms } => State::Dropped { at_ms },
            DeliveryState::Moved { at_ms, to } => State::Moved { at_ms, to: names.name(to).to_string() },
            DeliveryState::Settled => State::Settled,
            DeliveryState::Held { .. }
            | DeliveryState::Waiting
            | DeliveryState::InFlight
            | DeliveryState::Scheduled { .. } => {
                match lock(&self.destination(destination).queue).scheduled_state(number) {
                    Some((due_ms, entry)) => State::Retry {
                        attempts: entry.attempts,
                        first_ms: entry.first_attempt_ms,
                        due_ms,
                        reason: entry.reason.to_string(),
                    },
                    None => State::Waiting,
                }
            }
        }
    }

    fn take_moved(&self, events: &[Moved]) -> Result<(), StoreError> {
        let ids = self.ids_of(events)?;
        let id = |kind: NameKind, name: &str| ids.get(&(kind, name.to_owned())).copied().unwrap_or(NameId::NONE);
        let destination = |name: &str| id(NameKind::Destination, name);
        let mut taken = Vec::new();
        let (mut ends, mut again, mut letters) = (Ends::new(), BTreeMap::<NameId, Bitmap>::new(), Vec::new());
        let mut outcomes = Vec::new();
        for moved in events {
            let known = self.is_taken(moved)?;
            let body = moved
                .body
                .bytes()
                .ok_or_else(|| StoreError::Damaged(format!("the body of {} is no base64", moved.id)))?;
            let planned = moved.to.iter().map(|planned| PlannedDelivery {
                destination: destination(&planned.destination),
                rule: id(NameKind::Rule, &planned.rule),
            });
            let event = Arc::new(StoredEvent {
                id: moved.id,
                received_ms: moved.received_ms,
                source: id(NameKind::Source, &moved.source),
                rules: moved.rules.iter().map(|rule| id(NameKind::Rule, rule)).collect(),
                deliveries: planned.collect(),
                body,
                is_redacted: moved.is_redacted,
            });
            let known = if known { self.known_of(&event)? } else { BTreeMap::new() };
            let is_known = |delivery: &Delivery| known.contains_key(&destination(&delivery.destination));
            if !known.is_empty() && moved.deliveries.iter().all(is_known) {
                continue;
            }
            for Delivery { destination: name, state } in &moved.deliveries {
                let to = destination(name);
                // What is written is what the queues that there are say, and how what is not in them ended.
                self.destination(to);
                let key = DeliveryKey { sequence: moved.number(), destination: to };
                if let Some(state) = known.get(&to) {
                    // It is written again with the others, as it is.
                    ends.insert(key, state.clone());
                    continue;
                }
                match end_of(state, &destination) {
                    None if matches!(state, State::Held) => {
                        return Err(StoreError::Conflict(format!(
                            "{} is held by its source {}, and a journal cannot take that over: let it go where it is \
                             (vero-relay resume --source {}), and export again",
                            moved.id, moved.source, moved.source
                        )));
                    }
                    None => match state {
                        State::Waiting => drop(again.entry(to).or_default().insert(key.sequence)),
                        State::Retry { attempts, first_ms, due_ms, reason } => {
                            let state = OutcomeState::Scheduled {
                                first_attempt_ms: *first_ms,
                                due_ms: *due_ms,
                                reason: reason.clone(),
                            };
                            outcomes.push(OutcomeRecord { key, attempts: *attempts, at_ms: *first_ms, state });
                        }
                        _ => {}
                    },
                    Some(DeliveryState::Dead { attempts, at_ms, reason }) => {
                        let state = OutcomeState::Dead { reason: reason.clone() };
                        outcomes.push(OutcomeRecord { key, attempts, at_ms, state });
                        let letter = Letter { sequence: key.sequence, destination: to, attempts, at_ms, reason };
                        ends.insert(key, died(letter.clone()));
                        letters.push(Update::Dead(letter));
                    }
                    Some(end) => drop(ends.insert(key, end)),
                }
            }
            taken.push(event);
        }
        for outcome in &outcomes {
            let queue = &self.destination(outcome.key.destination).queue;
            lock(queue).apply(outcome.key.sequence, outcome.attempts, &outcome.state);
        }
        for (to, numbers) in &again {
            lock(&self.destination(*to).queue).select(BulkAct::Redeliver, numbers);
        }
        self.write_taken(taken, ends)?;
        self.index.update(letters);
        Ok(())
    }

    /// Writes events at the journal's end, with where their deliveries stand in the queues, or how they ended.
    fn write_taken(&self, events: Vec<Arc<StoredEvent>>, ends: Ends) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let (reply, written) = sync_channel(1);
        self.send(Message::Relocate(Relocating { events, ends, reply }));
        match written.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StoreError::Unavailable(format!("the journal cannot be written: {error}"))),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Whether an event is there already. An error where it cannot be.
    fn is_taken(&self, moved: &Moved) -> Result<bool, StoreError> {
        let conflict = |why: &str| {
            let id: EventId = moved.id;
            Err(StoreError::Conflict(format!(
                "event {id} cannot be taken in: {why}. Import into a data_dir that is empty"
            )))
        };
        match self.event_by_number(moved.number()) {
            Ok(event) if event.id == moved.id => Ok(true),
            Err(ReadError::Erased(left)) if left.id == moved.id => Ok(true),
            Ok(_) | Err(ReadError::Erased(_)) => conflict("another one has its number here"),
            Err(ReadError::Missing) if moved.number() < self.first_own() => Ok(false),
            Err(ReadError::Missing) => conflict("this journal gives such numbers itself"),
            Err(error) => Err(error.into()),
        }
    }

    /// The first number that the journal has given itself, or will.
    fn first_own(&self) -> u64 {
        if self.segments.newest() == 0 {
            self.next_sequence.load(Ordering::Acquire)
        } else {
            self.segments.history_start()
        }
    }

    /// What is known of its deliveries.
    fn known_of(&self, event: &Arc<StoredEvent>) -> Result<BTreeMap<NameId, DeliveryState>, StoreError> {
        self.index.flush();
        let states = self.states(std::slice::from_ref(event), &mut SearchLimit::whole())?;
        let known = states.into_iter().flatten().filter(|(_, state)| *state != DeliveryState::Settled);
        Ok(known.map(|(planned, state)| (planned.destination, state)).collect())
    }

    fn ids_of(&self, events: &[Moved]) -> Result<BTreeMap<(NameKind, String), NameId>, StoreError> {
        let mut names: BTreeSet<(NameKind, String)> = BTreeSet::new();
        for event in events {
            names.insert((NameKind::Source, event.source.clone()));
            names.extend(event.all_rules().map(|rule| (NameKind::Rule, rule.to_owned())));
            names.extend(event.destinations().map(|name| (NameKind::Destination, name.to_owned())));
        }
        let named = |(kind, name): &(NameKind, String)| Named { kind: *kind, name: name.clone(), renamed_from: None };
        let ids = self.intern(&names.iter().map(named).collect::<Vec<_>>())?.ids;
        Ok(names.into_iter().zip(ids).collect())
    }
}

/// How a delivery ended, if it did.
fn end_of(state: &State, destination: &dyn Fn(&str) -> NameId) -> Option<DeliveryState> {
    Some(match state {
        State::Waiting | State::Held | State::Retry { .. } => return None,
        State::Dead { attempts, at_ms, reason } => {
            DeliveryState::Dead { attempts: *attempts, at_ms: *at_ms, reason: reason.clone() }
        }
        State::Delivered { attempts, at_ms } => DeliveryState::Delivered { attempts: *attempts, at_ms: *at_ms },
        State::Skipped { at_ms, reason } => DeliveryState::Skipped { at_ms: *at_ms, reason: reason.clone() },
        State::Dropped { at_ms } => DeliveryState::Dropped { at_ms: *at_ms },
        State::Moved { at_ms, to } => DeliveryState::Moved { at_ms: *at_ms, to: destination(to) },
        State::Settled => DeliveryState::Settled,
    })
}

fn unwritten(error: io::Error) -> StoreError {
    StoreError::Unavailable(format!("the export cannot be written: {error}"))
}

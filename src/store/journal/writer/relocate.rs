//! Letting the oldest segment go: what is still needed of it is written again at the end, with where it stands, and synced.
//!
//! Both steps run on the writer's thread, so nothing that is written comes between looking at a queue and writing down what it says.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::{Failure, Writer};
use crate::store::journal::format::{EventHead, GROUP_BYTES_MAX, GROUP_HEADS_MAX, GroupBuilder, OUTCOMES_MAX};
use crate::store::journal::index::Update;
use crate::store::journal::lock;
use crate::store::journal::words::{Ends, Place, Relocating, Retiring};
use crate::store::queues::{Bitmap, BulkAct, DeliveryKey, OutcomeRecord, OutcomeState, SelectionRecord};
use crate::store::{DeliveryState, NameId, StoredEvent};

/// What a group that is put together says.
#[derive(Default)]
struct InGroup {
    /// The numbers of events and the bytes of their bodies.
    events: Vec<(u64, u64)>,
    heads: Vec<EventHead>,
    outcomes: Vec<OutcomeRecord>,
    selections: Vec<SelectionRecord>,
}

impl Writer {
    /// Writes events again. Fails only where nothing is known any more.
    pub(super) fn relocate(&mut self, relocating: Relocating) -> io::Result<()> {
        let Relocating { events, ends, reply } = relocating;
        let outcome = self.relocate_all(&events, ends);
        // Where there was no room for all of it, what was written is sound all the same.
        let (answer, synced) = match outcome {
            Ok(()) => (Ok(()), self.sync()),
            Err(Failure::Full(error)) => (Err(error), self.sync()),
            Err(Failure::Broken(error)) => (Ok(()), Err(error)),
        };
        if let Err(error) = synced {
            let _ = reply.send(Err(io::Error::other(error.to_string())));
            return Err(error);
        }
        // The trimmer waits for it, and ends only with the store.
        let _ = reply.send(answer);
        Ok(())
    }

    /// The events first and where they stand behind them, in as many groups as it takes. Where it ends between two of them, their old
    /// segment still says it all.
    fn relocate_all(&mut self, events: &[Arc<StoredEvent>], mut ends: Ends) -> Result<(), Failure> {
        self.builder.clear();
        let mut relocated = InGroup::default();
        for event in events {
            let head = EventHead {
                id: event.id,
                body_bytes: u32::try_from(event.body.len()).expect("a body that was read is smaller than 4 GiB"),
                body_crc: crc32c::crc32c(&event.body),
                source: event.source,
                rules: event.rules.clone(),
                deliveries: event.deliveries.clone(),
                is_erased: false,
                is_redacted: event.is_redacted,
            };
            if self.builder.bodies_bytes() + event.body.len() > GROUP_BYTES_MAX && !self.builder.is_empty() {
                self.place_relocated(&mut relocated)?;
            }
            self.add_relocated(&mut relocated, |builder| builder.relocated(&head, event.body.clone()))?;
            relocated.events.push((event.id.sequence(), event.body.len() as u64));
            relocated.heads.push(head);
        }
        let numbers: BTreeSet<u64> = events.iter().map(|event| event.id.sequence()).collect();
        // What has ended since it was looked for. What ends from here on is written behind this.
        ends.extend(lock(&self.journal.outcomes).of(&numbers));
        for id in self.journal.destination_ids() {
            let (outcomes, again) = self.states_of(id, &numbers, &ends);
            for some in outcomes.chunks(OUTCOMES_MAX) {
                self.add_relocated(&mut relocated, |builder| builder.outcomes(some))?;
                relocated.outcomes.extend_from_slice(some);
            }
            if again.is_empty() {
                continue;
            }
            let selection = SelectionRecord {
                destination: id,
                at_ms: self.journal.clock.now_ms(),
                act: BulkAct::Redeliver,
                command: None,
                reason: String::new(),
                sequences: again,
            };
            for part in selection.split() {
                self.add_relocated(&mut relocated, |builder| builder.selection(&part))?;
                relocated.selections.push(part);
            }
        }
        if self.builder.is_empty() { Ok(()) } else { self.place_relocated(&mut relocated) }
    }

    /// Adds a record to the group, or to the next one where this one is full.
    fn add_relocated(&mut self, relocated: &mut InGroup, add: impl Fn(&mut GroupBuilder)) -> Result<(), Failure> {
        if !self.builder.add_within(GROUP_HEADS_MAX, &add) {
            self.place_relocated(relocated)?;
            add(&mut self.builder);
        }
        Ok(())
    }

    /// Writes the group, and notes where its events lie now.
    fn place_relocated(&mut self, relocated: &mut InGroup) -> Result<(), Failure> {
        let needed = self.builder.length() as u64;
        if self.active.as_ref().is_none_or(|active| active.offset + needed > active.limit) {
            self.roll(needed)?;
        }
        let active = self.active.as_ref().expect("there is an active segment: roll was called where there was none");
        let place = Place { segment: active.segment, offset: active.offset };
        self.append_group(self.position.next_sequence).map_err(Failure::of_write)?;
        let InGroup { events, heads, outcomes, selections } = std::mem::take(relocated);
        self.journal.segments.update_last(|info| {
            info.note_names(&heads);
            info.note_outcomes(&outcomes);
            selections.iter().for_each(|selection| info.note_selection(selection));
        });
        let places = events.into_iter().map(|(sequence, bytes)| (sequence, place, bytes)).collect();
        self.updates.push(Update::Relocated(places));
        Ok(())
    }

    /// Where the deliveries of some events to one destination stand right now.
    fn states_of(&self, id: NameId, numbers: &BTreeSet<u64>, ends: &Ends) -> (Vec<OutcomeRecord>, Bitmap) {
        let destination = self.journal.destination(id);
        let queue = lock(&destination.queue);
        let mut outcomes = Vec::new();
        let mut again = Bitmap::default();
        for sequence in numbers {
            let key = DeliveryKey { sequence: *sequence, destination: id };
            if let Some((due_ms, entry)) = queue.scheduled_state(*sequence) {
                let first_attempt_ms = entry.first_attempt_ms;
                let reason = entry.reason.to_string();
                let state = OutcomeState::Scheduled { first_attempt_ms, due_ms, reason };
                outcomes.push(OutcomeRecord { key, attempts: entry.attempts, at_ms: first_attempt_ms, state });
            } else if queue.is_redelivery(*sequence) {
                again.insert(*sequence);
            } else if queue.is_dead(*sequence) {
                let known = match ends.get(&key) {
                    Some(DeliveryState::Dead { attempts, at_ms, reason }) => Some((*attempts, *at_ms, reason.clone())),
                    _ => self.journal.just_died(&key),
                };
                // Its record was lost with the index, or many were given up a moment ago: now is as near as anybody gets.
                let unknown = || (0, self.journal.clock.now_ms(), String::new());
                let (attempts, at_ms, reason) = known.unwrap_or_else(unknown);
                outcomes.push(OutcomeRecord { key, attempts, at_ms, state: OutcomeState::Dead { reason } });
            } else if !queue.is_pending(*sequence) {
                outcomes.extend(ends.get(&key).and_then(|end| outcome_of(key, end)));
            }
        }
        (outcomes, again)
    }

    /// Forgets the oldest segment, if nothing waits in it and everything that is kept of it was relocated.
    pub(super) fn retire(&mut self, retiring: Retiring) {
        let Retiring { segment, range, relocated, reply } = retiring;
        let _selecting = lock(&self.journal.selecting);
        let may_go = self.journal.destination_ids().into_iter().all(|id| {
            let destination = self.journal.destination(id);
            let queue = lock(&destination.queue);
            !queue.waits_in(&range) && queue.kept_in(&range).iter_from(0).all(|sequence| relocated.contains(sequence))
        });
        if may_go {
            self.journal.segments.forget(segment);
        }
        let _ = reply.send(may_go);
    }
}

/// The record that says how a delivery ended, if it did.
fn outcome_of(key: DeliveryKey, end: &DeliveryState) -> Option<OutcomeRecord> {
    let (attempts, at_ms, state) = match end {
        DeliveryState::Delivered { attempts, at_ms } => (*attempts, *at_ms, OutcomeState::Delivered),
        DeliveryState::Skipped { at_ms, .. } => (0, *at_ms, OutcomeState::Skipped),
        DeliveryState::Dropped { at_ms } => (0, *at_ms, OutcomeState::Dropped),
        DeliveryState::Moved { at_ms, to } => (0, *at_ms, OutcomeState::Moved(*to)),
        _ => return None,
    };
    Some(OutcomeRecord { key, attempts, at_ms, state })
}

//! The writer: one thread that owns the journal's end.
//!
//! It takes whatever has queued up while the last sync ran, writes it as one group, syncs once, and answers all. Outcomes ride
//! along; when there is nothing to ride with they are written after [`OUTCOMES_WRITTEN_WITHIN`] and synced within
//! [`OUTCOMES_SYNCED_WITHIN`].
//!
//! * No event is answered or handed to a queue before the sync that covers it has returned.
//! * A failed sync is never tried again: what is on the disk is not known any more. Everything waiting is refused, the store is
//!   [`Health::Poisoned`], and the process is expected to end.
//! * A full disk on a write cuts the segment back to its last whole group and refuses the events; each later event tries again, and
//!   without any the writer looks for room itself. Since
//!   segments are set aside whole, a disk fills up between two segments: the end of each is kept for outcomes, so deliveries go on.

mod batch;
mod carry;
mod inbox;
mod tail;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::batch::{Batch, Item, Reply};
pub use self::batch::{Message, Urgency};
pub use self::carry::{Carrying, Retiring};
pub use self::inbox::{Receiver, Sender, inbox};
use self::tail::{sequence, stretches, tail_bytes};
use super::disk::{DiskFile, is_full};
use super::format::{EventHead, GROUP_HEADS_MAX, GroupBuilder, GroupPlace, HEADER_MAX, Record, SegmentHeader};
use super::index::Update;
use super::recover::TailRecord;
use super::segments::{Place, SegmentInfo, file_name, stored, unfinished};
use super::{OnSync, Shared, reading};
use crate::event::EventId;
use crate::store::{AppendError, Health, NewEvent};
use crate::time::Instant;

/// Outcomes that find no event to ride with are written after this: late enough to gather, early enough to look at.
pub const OUTCOMES_WRITTEN_WITHIN: Duration = Duration::from_millis(100);
/// While the writer has something to do later, it looks this often at what nobody wakes it for.
const OUTCOMES_SEEN_WITHIN: Duration = Duration::from_millis(20);
/// What is left of the time, once they are seen.
const OUTCOMES_WAIT: Duration = OUTCOMES_WRITTEN_WITHIN.saturating_sub(OUTCOMES_SEEN_WITHIN);
/// And synced after this: what a crash of the machine may make happen twice.
pub const OUTCOMES_SYNCED_WITHIN: Duration = Duration::from_secs(1);
/// Under load the writer waits this long for more events before it writes: a sync, and waking a thread, cost as much CPU as handling
/// five events. With 64 requests in flight each waits some 2.5 ms whatever this is; measured at 300, 800 and 1500 µs, the relay took
/// 54, 47 and 45 µs for an event, and only the last took fewer events a second.
const GATHER_FOR: Duration = Duration::from_micros(800);
/// A group of at least this many events says that there is load. A single sender is never kept waiting.
const GATHER_FROM: usize = 4;
/// Room for a group that is kept from one to the next: what sixty-four events of Vero's take, many times over.
const BUFFER_BYTES_KEPT: usize = 1 << 20;
/// A group is closed at this many bytes: a sync of more would hold the first of its events up for nothing.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// And at this many records.
const GROUP_RECORDS_MAX: usize = 4096;
/// The end of each segment, where no event goes: room for some thirty thousand outcomes while the disk is full.
const OUTCOMES_RESERVE: u64 = 1 << 20;
/// While there is no room, it is looked for this often.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(500);
/// Events need this much above what must stay free: a segment worth beginning.
const SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// On a disk with less room than a segment, smaller ones are tried, down to this beyond what is to be written at once: what is
/// carried must find room where it will make some.
const SEGMENT_SPARE_MIN: u64 = 256 << 10;

/// The segment that is written to.
pub struct Active {
    file: Arc<dyn DiskFile>,
    segment: u64,
    offset: u64,
    durable_up_to: u64,
    limit: u64,
}

/// Where the journal goes on.
pub struct Position {
    pub next_sequence: u64,
    pub next_group: u64,
    pub next_segment: u64,
    pub journal: u64,
    /// The segment before the first that this writer makes, and where it ends.
    pub sealed: (u64, u64),
    /// Records of the old end, to go into the first new segment.
    pub tail: Vec<TailRecord>,
    /// The number of the first event among them, or of the next.
    pub tail_first: u64,
}

pub struct Writer {
    shared: Arc<Shared>,
    receiver: Receiver,
    on_sync: OnSync,
    segment_bytes: u64,
    position: Position,
    active: Option<Active>,
    batch: Batch,
    unsynced_since: Option<Instant>,
    /// There was no room. What is not urgent is tried again then, and so is a new segment.
    full_until: Option<Instant>,
    last_events: usize,
    builder: GroupBuilder,
    bytes: Vec<u8>,
    /// What the index is told once it is synced.
    updates: Vec<Update>,
}

/// Why something was not written.
enum Failure {
    /// No room. Nothing of it is on the disk.
    Full(io::Error),
    /// Nothing is known any more.
    Broken(io::Error),
}

impl Failure {
    fn of_write(error: io::Error) -> Self {
        if is_full(&error) { Failure::Full(error) } else { Failure::Broken(error) }
    }
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        receiver: Receiver,
        position: Position,
        segment_bytes: u64,
        on_sync: OnSync,
    ) -> Self {
        Self {
            shared,
            receiver,
            on_sync,
            segment_bytes,
            position,
            active: None,
            batch: Batch::default(),
            unsynced_since: None,
            full_until: None,
            last_events: 0,
            builder: GroupBuilder::default(),
            bytes: Vec::new(),
            updates: Vec::new(),
        }
    }

    /// Makes the first segment, with the old end's records in it. A full disk is no error: it is tried again with the first event.
    pub fn prepare(&mut self) -> io::Result<()> {
        match self.roll(0) {
            Ok(()) => Ok(()),
            Err(Failure::Full(error)) => {
                self.tell_full(&error.to_string());
                Ok(())
            }
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    /// Works until the store is closed or dropped, or a sync fails.
    pub fn run(mut self) {
        loop {
            let is_urgent = self.receiver.wait(self.deadline());
            if is_urgent && self.last_events >= GATHER_FROM {
                std::thread::sleep(GATHER_FOR);
            }
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.poison(&error),
            }
        }
    }

    /// Takes what has queued up and does what is due. Returns whether there will be more to do; after an error nothing is known of
    /// the disk any more, and there must be no other turn.
    pub fn turn(&mut self) -> io::Result<bool> {
        while !self.batch.is_full() {
            let Some(message) = self.receiver.take() else { break };
            self.batch.take(message);
        }
        if self.batch.is_abandoned {
            return Ok(false);
        }
        if let Some(why) = self.batch.failed.take() {
            return Err(io::Error::other(why));
        }
        self.work()?;
        if let Some(reply) = self.batch.closing.take() {
            // The other side may have stopped waiting.
            let _ = reply.send(());
            return Ok(false);
        }
        Ok(true)
    }

    fn deadline(&self) -> Option<Instant> {
        let write = self.batch.items_since.map(|since| since + OUTCOMES_WAIT);
        let sync = self.unsynced_since.map(|since| since + OUTCOMES_SYNCED_WITHIN);
        let due = [write.max(write.and(self.full_until)), sync, self.full_until];
        due.into_iter().flatten().min().map(|due| due.min(Instant::now() + OUTCOMES_SEEN_WITHIN))
    }

    fn work(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let is_over = |since: Option<Instant>, limit| since.is_some_and(|since| now >= since + limit);
        let is_urgent = self.batch.is_urgent();
        let may_try = self.full_until.is_none_or(|until| now >= until);
        if may_try && !is_urgent && (self.full_until.is_some() || self.shared.refusal().is_some()) {
            self.look_for_room()?;
        }
        let items_due = is_over(self.batch.items_since, OUTCOMES_WAIT) || self.batch.outcomes >= GROUP_RECORDS_MAX;
        if is_urgent || (may_try && items_due) {
            self.write_batch()?;
        }
        let sync_due = is_over(self.unsynced_since, OUTCOMES_SYNCED_WITHIN);
        if self.unsynced_since.is_some() && (is_urgent || sync_due) {
            self.sync()?;
        }
        if is_urgent {
            self.answer_who_waits()?;
        }
        Ok(())
    }

    /// Everything taken so far is synced, or waits for room.
    fn answer_who_waits(&mut self) -> io::Result<()> {
        // Also of what has no record of its own.
        self.tell_index();
        if self.batch.items.is_empty() {
            self.batch.is_urgent = false;
            for (done, count) in self.batch.waiting.drain(..) {
                // Who asked may have stopped waiting.
                let _ = done.send(Ok(count));
            }
        }
        for barrier in self.batch.barriers.drain(..) {
            let _ = barrier.send(());
        }
        if let Some(carrying) = self.batch.carrying.take() {
            self.carry(carrying)?;
        }
        if let Some(retiring) = self.batch.retiring.take() {
            self.retire(retiring);
        }
        Ok(())
    }

    /// Writes the batch; events are synced and answered. Fails only where nothing is known any more.
    fn write_batch(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.batch.events);
        (self.batch.event_bytes, self.batch.event_heads) = (0, 0);
        if let Some(why) = self.shared.refusal() {
            self.refuse_full(std::mem::take(&mut events), &why);
        }
        self.refuse_outdated(&mut events);
        self.last_events = events.len();
        let first_sequence = self.position.next_sequence;
        let heads = events.iter_mut().enumerate().map(|(i, (event, _))| self.head(event, first_sequence + i as u64));
        let heads: Vec<EventHead> = heads.collect();
        let written = self.write_group(&heads, &events);
        self.shared.writing.store(u32::MAX, Ordering::Release);
        match written {
            Ok(()) => {}
            Err(Failure::Broken(error)) => {
                refuse(events, &AppendError::Poisoned(error.to_string()));
                return Err(error);
            }
            Err(Failure::Full(error)) => {
                self.refuse_full(events, &error.to_string());
                return self.write_without_events();
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.sync() {
            refuse(events, &AppendError::Poisoned(error.to_string()));
            return Err(error);
        }
        self.position.next_sequence += events.len() as u64;
        self.tell_good();
        self.publish(heads, events);
        Ok(())
    }

    /// Tries whether a new segment can be made: behind a balancer that asks for readiness, no event would ever come and try.
    fn look_for_room(&mut self) -> io::Result<()> {
        if let Some(why) = self.shared.refusal() {
            self.tell_full(&why);
            return Ok(());
        }
        match self.roll_for_events(0) {
            Ok(()) => {
                self.tell_good();
                Ok(())
            }
            Err(Failure::Full(error)) => {
                self.tell_full(&error.to_string());
                Ok(())
            }
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    fn tell_full(&mut self, why: &str) {
        self.full_until = Some(Instant::now() + LOOK_FOR_ROOM_EVERY);
        self.shared.set_health(Health::Full(why.to_owned()));
    }

    fn tell_good(&mut self) {
        self.full_until = None;
        self.shared.set_health(Health::Good);
    }

    fn refuse_full(&mut self, events: Vec<(NewEvent, Reply)>, why: &str) {
        self.tell_full(why);
        refuse(events, &AppendError::Full(why.to_owned()));
    }

    /// What else is in the batch may still fit where no event goes.
    fn write_without_events(&mut self) -> io::Result<()> {
        match self.write_group(&[], &[]) {
            Ok(()) => Ok(()),
            Err(Failure::Broken(error)) => Err(error),
            Err(Failure::Full(error)) => {
                self.tell_full(&error.to_string());
                Ok(())
            }
        }
    }

    /// An event's head, which takes over all of it but its body.
    fn head(&self, event: &mut NewEvent, sequence: u64) -> EventHead {
        EventHead {
            id: EventId::mint(event.received_ms, self.position.journal as u16, sequence),
            body_bytes: u32::try_from(event.body.len()).expect("a body is limited to far less than 4 GiB"),
            body_crc: crc32c::crc32c(&event.body),
            source: event.source,
            generation: event.generation,
            rules: std::mem::take(&mut event.rules),
            deliveries: std::mem::take(&mut event.deliveries),
        }
    }

    /// Writes everything else in the batch, which is emptied as far as it is written, and the given events in one group.
    fn write_group(&mut self, heads: &[EventHead], events: &[(NewEvent, Reply)]) -> Result<(), Failure> {
        self.builder.clear();
        let mut added = 0;
        while let Some(item) = self.batch.items.get(added) {
            if self.builder.add_within(GROUP_HEADS_MAX, |builder| item.add_to(builder)) {
                added += 1;
                continue;
            }
            self.place_group(false)?;
            self.items_are_written(std::mem::take(&mut added));
        }
        for (head, (event, _)) in heads.iter().zip(events) {
            self.builder.event(head, event.body.clone());
        }
        if !self.builder.is_empty() {
            self.place_group(!heads.is_empty())?;
            self.shared.segments.update_last(|info| info.note_names(heads));
        }
        self.items_are_written(added);
        Ok(())
    }

    /// Names that only an older config had may be gone by now. Where they are not, they stay from here on, until the events are written
    /// and their segment says what they refer to.
    fn refuse_outdated(&self, events: &mut Vec<(NewEvent, Reply)>) {
        let Some(oldest) = events.iter().map(|(event, _)| event.generation).min() else { return };
        // No name goes while this is held.
        let names = reading(&self.shared.names);
        self.shared.writing.store(oldest, Ordering::Release);
        let in_force = self.shared.generation.load(Ordering::Acquire);
        let is_outdated = |event: &NewEvent| event.generation.saturating_add(1) < in_force;
        if !events.iter().any(|(event, _)| is_outdated(event)) {
            return;
        }
        let is_lost = |event: &NewEvent| is_outdated(event) && !event.names().all(|id| names.of(id).is_some());
        let (lost, rest): (Vec<_>, Vec<_>) = std::mem::take(events).into_iter().partition(|(event, _)| is_lost(event));
        *events = rest;
        refuse(lost, &AppendError::Outdated);
    }

    /// Writes the builder's group where there is room for it.
    fn place_group(&mut self, has_events: bool) -> Result<(), Failure> {
        let reserve = if has_events { self.reserve() } else { 0 };
        let needed = self.builder.length() as u64 + reserve;
        if self.active.as_ref().is_none_or(|active| active.offset + needed > active.limit) {
            if has_events { self.roll_for_events(needed)? } else { self.roll(needed)? }
        }
        self.append_group(self.position.next_sequence).map_err(Failure::of_write)
    }

    /// The first so many of the batch's items are in the journal.
    fn items_are_written(&mut self, count: usize) {
        for item in self.batch.items.drain(..count) {
            match item {
                Item::Outcomes(outcomes) => {
                    self.batch.outcomes -= outcomes.len();
                    self.shared.segments.update_last(|info| info.note_outcomes(&outcomes));
                    self.updates.extend(outcomes.into_iter().filter_map(Update::of_outcome));
                }
                Item::Selections(selections) => {
                    for selection in selections {
                        self.shared.segments.update_last(|info| info.note_selection(&selection));
                        self.updates.push(Update::Selection(selection));
                    }
                }
                Item::Command(command) => self.updates.push(Update::Command(command)),
                Item::Replay(replay) => self.updates.push(Update::Replay(replay)),
                Item::Control(control) => self.shared.written(&control),
                Item::Name(..) => {}
            }
        }
        if self.batch.items.is_empty() {
            self.batch.items_since = None;
        }
    }

    /// Writes the builder's group to the active segment.
    fn append_group(&mut self, first_sequence: u64) -> io::Result<()> {
        let active = self.active.as_mut().expect("there is an active segment: roll was called where there was none");
        let place = GroupPlace {
            segment: active.segment,
            offset: active.offset,
            group: self.position.next_group,
            durable_up_to: active.durable_up_to,
            first_sequence,
        };
        self.builder.finish(place, &mut self.bytes);
        if let Err(error) = active.file.write_at(&self.bytes, active.offset) {
            // Nothing of a group that was not written whole may stay, wherever the file goes on.
            if is_full(&error) {
                active.file.set_len(active.offset)?;
            }
            return Err(error);
        }
        let (offset, end) = (active.offset, active.offset + self.bytes.len() as u64);
        active.offset = end;
        self.position.next_group += 1;
        self.shared.next_group.store(self.position.next_group, Ordering::Release);
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.shared.segments.update_last(|info| {
            info.note(first_sequence, offset);
            info.end = end;
        });
        // One large group must not be held in memory for good.
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        let start = Instant::now();
        active.file.sync()?;
        (self.on_sync)(start.elapsed());
        active.durable_up_to = active.offset;
        self.unsynced_since = None;
        self.tell_index();
        Ok(())
    }

    /// Tells the index what has happened, once all of it is synced.
    fn tell_index(&mut self) {
        if !self.updates.is_empty() && self.unsynced_since.is_none() {
            self.shared.index.update(std::mem::take(&mut self.updates));
        }
    }

    /// Goes on in a new segment for events, which may not use up what must stay free for the rest.
    fn roll_for_events(&mut self, needed: u64) -> Result<(), Failure> {
        if let Some(why) = self.shared.no_room_for(SEGMENT_BYTES_MIN.min(self.segment_bytes) + needed) {
            return Err(Failure::Full(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        self.roll(needed)
    }

    /// Seals the active segment and goes on in a new one with room for `needed` bytes, which is complete and synced before it
    /// gets its name.
    fn roll(&mut self, needed: u64) -> Result<(), Failure> {
        if self.unsynced_since.is_some() {
            self.sync().map_err(Failure::Broken)?;
        }
        if let Some(active) = &self.active {
            self.position.sealed = (active.segment, active.offset);
        }
        // A name may be taken by what is no segment. The new header says which segment it follows, whatever their numbers.
        let is_taken =
            |segment| self.shared.disk.is_taken(&file_name(segment)) || self.shared.disk.is_taken(&unfinished(segment));
        while is_taken(self.position.next_segment) {
            self.position.next_segment += 1;
        }
        let segment = self.position.next_segment;
        let (temporary, name) = (unfinished(segment), file_name(segment));
        let made = self.make_segment(segment, &temporary, &name, needed);
        if made.is_err() {
            // Nothing of it counts without its name; leftovers are removed at the next start too.
            let _ = self.shared.disk.remove(&temporary);
        }
        let (active, info) = made?;
        if let Some(old) = self.active.replace(active) {
            // Only gives back what was set aside: the new header says where the old segment ends.
            let _ = old.file.set_len(old.offset);
        }
        self.shared.segments.seal_last(self.position.sealed.1);
        self.shared.segments.push(info);
        let has_tail = !std::mem::take(&mut self.position.tail).is_empty();
        self.position.next_segment += 1;
        self.unsynced_since = None;
        if has_tail && !self.shared.is_by_one_clock.load(Ordering::Acquire) {
            // It was stamped by another clock, and is read again at the next start if a checkpoint names its segment.
            return self.roll(needed);
        }
        self.shared.is_by_one_clock.store(true, Ordering::Release);
        Ok(())
    }

    fn make_segment(
        &mut self,
        segment: u64,
        temporary: &str,
        name: &str,
        needed: u64,
    ) -> Result<(Active, SegmentInfo), Failure> {
        let header = SegmentHeader {
            segment,
            first_sequence: self.position.tail_first,
            first_group: self.position.next_group,
            journal: self.position.journal,
            created_ms: self.shared.clock.arrival_ms(),
            sealed_segment: self.position.sealed.0,
            sealed_at: self.position.sealed.1,
            names: self.shared.all_names(),
            standings: self.shared.all_standings(),
        };
        let created_ms = header.created_ms;
        let header = header.encode();
        if header.len() > HEADER_MAX {
            let why = format!(
                "the names of all rules, destinations and sources need {} bytes, and {HEADER_MAX} are the most in a segment",
                header.len()
            );
            return Err(Failure::Full(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        let (start, tail_bytes) = (header.len() as u64, tail_bytes(&self.position.tail));
        // Whatever kept the file from being made (no room, no file descriptors), nothing has been written, and it may pass.
        let (file, limit) = self.create(temporary, start + tail_bytes + needed).map_err(Failure::Full)?;
        file.write_at(&header, 0).map_err(Failure::of_write)?;
        let first_sequence = self.position.tail_first;
        let mut info = SegmentInfo::empty(segment, first_sequence, start, created_ms);
        info.made_ms = self.shared.lived.ran_ms();
        let mut places = Vec::new();
        let mut next = first_sequence;
        let mut group = self.position.next_group;
        let (mut builder, mut bytes) = (GroupBuilder::default(), Vec::new());
        for stretch in stretches(&self.position.tail) {
            let first = stretch.iter().find_map(sequence).unwrap_or(next);
            for record in stretch {
                tail::add(&mut builder, record);
                match &record.record {
                    Record::Event(head) => {
                        next = head.id.sequence() + 1;
                        info.note_names([head]);
                    }
                    Record::Carried(head) => {
                        let place = Place { segment, offset: info.end };
                        places.push((head.id.sequence(), place, u64::from(head.body_bytes)));
                        info.note_names([head]);
                    }
                    Record::Outcomes(outcomes) => info.note_outcomes(outcomes),
                    Record::Selection(selection) => info.note_selection(selection),
                    _ => {}
                }
            }
            let place = GroupPlace { segment, offset: info.end, group, durable_up_to: start, first_sequence: first };
            builder.finish(place, &mut bytes);
            file.write_at(&bytes, info.end).map_err(Failure::of_write)?;
            info.note(first, info.end);
            info.end += bytes.len() as u64;
            group += 1;
        }
        file.sync().map_err(Failure::Broken)?;
        self.shared.disk.rename(temporary, name).map_err(Failure::of_write)?;
        self.shared.disk.sync_names().map_err(Failure::Broken)?;
        if !places.is_empty() {
            self.shared.index.update(vec![Update::Carried(places)]);
        }
        self.position.next_group = group;
        self.position.tail_first = self.position.next_sequence;
        let active = Active { file, segment, offset: info.end, durable_up_to: info.end, limit };
        Ok((active, info))
    }

    fn reserve(&self) -> u64 {
        OUTCOMES_RESERVE.min(self.segment_bytes / 16)
    }

    /// Makes the file, with as much set aside as there is room for.
    fn create(&self, name: &str, needed: u64) -> io::Result<(Arc<dyn DiskFile>, u64)> {
        let smallest = SEGMENT_SPARE_MIN.min(self.segment_bytes) + needed;
        // Near the limit smaller ones are made, so that as much as can be stays free for what is not events.
        let (_, limits) = self.shared.limits();
        let above = self.shared.disk.space().map(|space| space.free.saturating_sub(limits.free_bytes_min));
        let mut bytes = (self.segment_bytes + needed).min(above.unwrap_or(u64::MAX)).max(smallest);
        loop {
            match self.shared.disk.create(name, bytes) {
                Ok(file) => return Ok((file, bytes)),
                Err(error) if is_full(&error) && bytes > smallest => bytes = (bytes / 4).max(smallest),
                Err(error) => return Err(error),
            }
        }
    }

    /// Hands synced events to their queues and answers their senders.
    fn publish(&mut self, heads: Vec<EventHead>, events: Vec<(NewEvent, Reply)>) {
        self.position.tail_first = self.position.next_sequence;
        let mut replies = Vec::with_capacity(events.len());
        let mut published = Vec::with_capacity(events.len());
        for (head, (event, reply)) in heads.into_iter().zip(events) {
            replies.push((head.id, reply));
            published.push(Arc::new(stored(head, event.body)));
        }
        let woken = self.shared.publish(published);
        // Only now are they history: who selects one of it must find it in its queues.
        self.shared.next_sequence.store(self.position.next_sequence, Ordering::Release);
        for (id, reply) in replies {
            // The sender may have hung up: the event is taken all the same.
            let _ = reply.send(Ok(id));
        }
        woken.into_iter().for_each(|wakeup| wakeup.notify_one());
    }

    /// Refuses everything from now on.
    fn poison(mut self, error: &io::Error) {
        let why = error.to_string();
        self.shared.set_health(Health::Poisoned(why.clone()));
        // Who waits for something else in it sees its other end go.
        let batch = std::mem::take(&mut self.batch);
        let is_closing = batch.closing.is_some();
        refuse(batch.events, &AppendError::Poisoned(why.clone()));
        for (done, _) in batch.waiting {
            let _ = done.send(Err(AppendError::Poisoned(why.clone())));
        }
        drop((batch.barriers, batch.carrying, batch.retiring, batch.closing));
        if is_closing {
            return;
        }
        loop {
            self.receiver.wait(None);
            let Some(message) = self.receiver.take() else { continue };
            match message {
                Message::Append(event, reply) => refuse(vec![(event, reply)], &AppendError::Poisoned(why.clone())),
                Message::Command(_, done) | Message::Replay(_, done) | Message::Durable(done) => {
                    let _ = done.send(Err(AppendError::Poisoned(why.clone())));
                }
                Message::Close(_) | Message::Abandon => return,
                // Who waits for one of these sees its other end go.
                Message::Carry(_) | Message::Retire(_) | Message::Barrier(_) => {}
                Message::Outcomes(_) | Message::Name(..) | Message::Control(..) | Message::LookForRoom => {}
                Message::Selections(_) => {}
                Message::Fail(_) => {}
            }
        }
    }
}

fn refuse(events: Vec<(NewEvent, Reply)>, error: &AppendError) {
    for (_, reply) in events {
        let _ = reply.send(Err(error.clone()));
    }
}

//! The writer: one thread that owns the journal's end.
//!
//! [`batch`]: what it has taken. [`mod@group`]: writing and syncing that. [`roll`]: a new segment. [`tail`]: the old one's unsynced end.
//! [`relocate`]: letting the oldest go. [`room`]: a full disk. [`end`]: a failed sync.
//!
//! It takes whatever has queued up while the last sync ran, writes it as one group, syncs once, and answers all. Outcomes ride
//! along; when there is nothing to ride with they are written after [`OUTCOMES_WRITTEN_WITHIN`] and synced within
//! [`OUTCOMES_SYNCED_WITHIN`].
//!
//! * No event is answered or handed to a queue before the sync that covers it has returned.
//! * A failed sync is never tried again: what is on the disk is not known any more. Everything waiting is refused, the store is
//!   `Health::Poisoned`, and the process is expected to end.
//! * A full disk on a write cuts the segment back to its last whole group and refuses the events; each later event tries again, and
//!   without any the writer looks for room itself. Since
//!   segments are set aside whole, a disk fills up between two segments: the end of each is kept for outcomes, so deliveries go on.

mod batch;
mod end;
mod group;
mod relocate;
mod roll;
mod room;
mod tail;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::batch::Batch;
use self::end::refuse;
use self::room::Failure;
use super::disk::DiskFile;
use super::format::{EventHead, GroupBuilder};
use super::inbox::{Receiver, Reply};
use super::index::Update;
use super::segments::stored;
use super::state::{OldEnd, State};
use super::words::TailRecord;
use super::{Journal, reading};
use crate::event::EventId;
use crate::store::{AppendError, NewEvent};
use crate::time::Instant;

/// Outcomes that find no event to ride with are written after this: late enough to gather, early enough to look at.
pub const OUTCOMES_WRITTEN_WITHIN: Duration = Duration::from_millis(100);
/// While the writer has something to do later, it looks this often at what nobody wakes it for; and once more after it had something
/// to do: the outcomes of the events that it has just published are on their way, and each of them would wake it.
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
/// A group is closed at this many records.
const GROUP_RECORDS_MAX: usize = 4096;

/// What is called after each sync, with how long it took.
pub type OnSync = Box<dyn Fn(Duration) + Send + Sync>;

/// The segment that is written to.
pub struct Active {
    file: Arc<dyn DiskFile>,
    segment: u64,
    /// Its format.
    version: u32,
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

impl Position {
    /// Behind everything that was found.
    pub fn after(state: &State, journal: u64, old_end: OldEnd) -> Self {
        let OldEnd { mark, tail, tail_first } = old_end;
        Self {
            next_sequence: state.next_sequence,
            next_group: state.next_group,
            next_segment: state.newest_segment() + 1,
            journal,
            sealed: (state.newest_segment(), mark),
            tail,
            tail_first,
        }
    }
}

pub struct Writer {
    journal: Arc<Journal>,
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
    /// The last turn had something to do.
    looks_again: bool,
    builder: GroupBuilder,
    bytes: Vec<u8>,
    /// What the index is told once it is synced.
    updates: Vec<Update>,
}

impl Writer {
    pub fn new(
        journal: Arc<Journal>,
        receiver: Receiver,
        position: Position,
        segment_bytes: u64,
        on_sync: OnSync,
    ) -> Self {
        Self {
            journal,
            receiver,
            on_sync,
            segment_bytes,
            position,
            active: None,
            batch: Batch::default(),
            unsynced_since: None,
            full_until: None,
            last_events: 0,
            looks_again: false,
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
        self.looks_again = false;
        while !self.batch.is_full() {
            let Some(message) = self.receiver.take() else { break };
            self.batch.take(message);
            self.looks_again = true;
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

    /// When to look at what nobody wakes the writer for; never, while there will be nothing.
    pub fn deadline(&self) -> Option<Instant> {
        let look = Instant::now() + OUTCOMES_SEEN_WITHIN;
        let write = self.batch.items_since.map(|since| since + OUTCOMES_WAIT);
        let sync = self.unsynced_since.map(|since| since + OUTCOMES_SYNCED_WITHIN);
        let due = [write.max(write.and(self.full_until)), sync, self.full_until, self.looks_again.then_some(look)];
        due.into_iter().flatten().min().map(|due| due.min(look))
    }

    fn work(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let is_over = |since: Option<Instant>, limit| since.is_some_and(|since| now >= since + limit);
        let is_urgent = self.batch.is_urgent();
        let may_try = self.full_until.is_none_or(|until| now >= until);
        if may_try && !is_urgent && (self.full_until.is_some() || self.journal.refusal().is_some()) {
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
        if let Some(relocating) = self.batch.relocating.take() {
            self.relocate(relocating)?;
        }
        if let Some(retiring) = self.batch.retiring.take() {
            self.retire(retiring);
        }
        if let Some(reply) = self.batch.sealing.take() {
            self.seal(&reply)?;
        }
        Ok(())
    }

    /// Writes the batch; events are synced and answered. Fails only where nothing is known any more.
    fn write_batch(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.batch.events);
        (self.batch.event_bytes, self.batch.event_heads) = (0, 0);
        if let Some(why) = self.journal.refusal() {
            self.refuse_full(std::mem::take(&mut events), &why);
        }
        self.refuse_outdated(&mut events);
        self.last_events = events.len();
        let first_sequence = self.position.next_sequence;
        let heads = events.iter_mut().enumerate().map(|(i, (event, _))| self.head(event, first_sequence + i as u64));
        let heads: Vec<EventHead> = heads.collect();
        let written = self.write_group(&heads, &events);
        self.journal.writing.store(u32::MAX, Ordering::Release);
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

    /// An event's head, which takes over all of it but its body.
    fn head(&self, event: &mut NewEvent, sequence: u64) -> EventHead {
        EventHead {
            id: EventId::mint(event.received_ms, self.position.journal as u16, sequence),
            body_bytes: u32::try_from(event.body.len()).expect("a body is limited to far less than 4 GiB"),
            body_crc: crc32c::crc32c(&event.body),
            source: event.source,
            rules: std::mem::take(&mut event.rules),
            deliveries: std::mem::take(&mut event.deliveries),
            is_erased: false,
            is_redacted: false,
        }
    }

    /// Names that only an older config had may be gone by now. Where they are not, they stay from here on, until the events are written
    /// and their segment says what they refer to.
    fn refuse_outdated(&self, events: &mut Vec<(NewEvent, Reply)>) {
        let Some(oldest) = events.iter().map(|(event, _)| event.generation).min() else { return };
        // No name goes while this is held.
        let names = reading(&self.journal.names);
        self.journal.writing.store(oldest, Ordering::Release);
        let in_force = self.journal.generation.load(Ordering::Acquire);
        let is_outdated = |event: &NewEvent| event.generation.saturating_add(1) < in_force;
        if !events.iter().any(|(event, _)| is_outdated(event)) {
            return;
        }
        let is_lost = |event: &NewEvent| is_outdated(event) && !event.names().all(|id| names.of(id).is_some());
        let (lost, rest): (Vec<_>, Vec<_>) = std::mem::take(events).into_iter().partition(|(event, _)| is_lost(event));
        *events = rest;
        refuse(lost, &AppendError::Outdated);
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
        let woken = self.journal.publish(published);
        // Only now are they history: who selects one of it must find it in its queues.
        self.journal.next_sequence.store(self.position.next_sequence, Ordering::Release);
        for (id, reply) in replies {
            // The sender may have hung up: the event is taken all the same.
            let _ = reply.send(Ok(id));
        }
        woken.into_iter().for_each(|wakeup| wakeup.notify_one());
    }
}

//! What is kept no longer: the oldest range of the history, and dead letters whose time is over or that are too many.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::format::{GROUP_BYTES_MAX, event_head_bytes};
use super::inbox::Message;
use super::index::Database;
use super::segment_name::file_name;
use super::segments::{SegmentInfo, Window};
use super::words::{ReadError, Relocating, Retiring};
use super::{Journal, LAG_READ_BYTES, lock};
use crate::store::queues::{Bitmap, BulkAct};
use crate::store::{AppendError, NameId, SearchLimit, StoredEvent};

/// Bytes of the journal that are searched for how deliveries of a group of relocated events ended: four segments.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
/// Dead letters that expire in one go: who waits for the index waits for no more.
const EXPIRE_AT_ONCE: usize = 4096;
/// Relocated events that are looked at in one go, for the same reason.
const LOOKED_AT_ONCE: usize = 4096;

/// What of the oldest segment was written again.
struct Relocated {
    info: SegmentInfo,
    range: std::ops::Range<u64>,
    numbers: Bitmap,
}

/// Deliveries whose events are relocated at once: with the longest reasons, some megabytes of dead letters in memory.
const RELOCATED_AT_ONCE: usize = 4096;

type Answer = tokio::sync::oneshot::Receiver<Result<u64, AppendError>>;

/// Lets go of what is kept no longer: the oldest range of the history, and dead letters whose time is over or that are too many.
pub struct Trimmer {
    journal: Arc<Journal>,
    /// Segments that are forgotten and whose files are still there, each with where the history begins without it.
    retired: Vec<(SegmentInfo, u64)>,
    /// Why which segment cannot go yet, as it was told: once, though it is tried again every second.
    told: Option<(u64, String)>,
}

impl Trimmer {
    pub fn new(journal: Arc<Journal>) -> Self {
        Self { journal, retired: Vec::new(), told: None }
    }

    /// Lets go of what may go, as far as the last checkpoint allows.
    pub fn trim(&mut self) {
        self.expire();
        let newest = self.journal.segments.newest();
        while !self.journal.index.is_broken()
            && let Some(relocated) = self.relocate_oldest(newest)
        {
            // Who asks for a relocated event must find it from the moment on in which its old place is gone.
            if !self.journal.index.flush() || !self.retire(relocated) {
                return;
            }
            self.remove_retired();
            // With a segment may go what only its events referred to.
            self.journal.forget_names();
            // What was relocated counts among the dead letters now.
            self.expire();
        }
    }

    fn expire(&self) {
        while !self.journal.index.is_broken() && self.expire_some() {
            self.journal.index.flush();
        }
    }

    /// Whether something is beyond its time or its size.
    pub fn is_due(&self) -> bool {
        self.going(u64::MAX).is_some() || !self.expired_by_age(self.dead_before_ms()).is_empty()
    }

    /// The oldest segment below a number, if history has no claim on it any more.
    fn going(&self, below: u64) -> Option<(SegmentInfo, u64)> {
        let (retention, resolved) = self.journal.limits();
        let list = self.journal.segments.outline();
        let [oldest, next, ..] = list.as_slice() else { return None };
        if oldest.segment >= below {
            return None;
        }
        let bytes: u64 = list.iter().map(|info| info.end).sum();
        let age = Duration::from_millis(self.journal.lived.ran_ms().saturating_sub(next.made_ms));
        // Where most of it is relocated, writing that once more frees next to nothing: it waits until more is history.
        let is_worth_it = || self.relocated_bytes().saturating_mul(2) <= bytes;
        let is_over = age > retention.history_age || (bytes > resolved.history_bytes && is_worth_it());
        let range = oldest.first_sequence..next.first_sequence;
        let is_waited_for = || {
            let waits = |id| lock(&self.journal.destination(id).queue).waits_in(&range);
            self.journal.destination_ids().into_iter().any(waits)
        };
        let is_pinned = self.journal.pins.load(Ordering::Acquire) > 0;
        (is_over && !is_pinned && !is_waited_for()).then(|| (oldest.clone(), next.first_sequence))
    }

    fn relocated_bytes(&self) -> u64 {
        self.journal.index.read().relocated_bytes().unwrap_or_default()
    }

    /// Writes what is still needed of the oldest segment again, if it may go and its number is below `below`: what was relocated
    /// a moment ago is not relocated again at once. Says what is to be let go once the index knows where everything lies.
    fn relocate_oldest(&mut self, below: u64) -> Option<Relocated> {
        if self.journal.index.has_forgotten() {
            // The index does not know where everything lies that was relocated before.
            return None;
        }
        let (info, end) = self.going(below)?;
        let range = info.first_sequence..end;
        let numbers =
            self.make_way(&info).and_then(|()| self.relocate_replays()).and_then(|()| self.relocate(&info, &range));
        // Behind what was relocated: a digest has the members that wait where it is read.
        let numbers = numbers.and_then(|numbers| self.relocate_lanes(end).map(|()| numbers));
        match numbers {
            Ok(numbers) => Some(Relocated { info, range, numbers }),
            Err(error) => {
                let why = Some((info.segment, error.to_string()));
                if self.told != why {
                    tracing::warn!(segment = info.segment, %error, "the oldest range of the history cannot be removed yet");
                    self.told = why;
                }
                None
            }
        }
    }

    /// Lets a segment go. Returns whether it went.
    fn retire(&mut self, Relocated { info, range, numbers }: Relocated) -> bool {
        let (reply, answer) = sync_channel(1);
        let retiring = Retiring { segment: info.segment, range: range.clone(), relocated: numbers, reply };
        if self.journal.sender.send(Message::Retire(retiring)).is_err() || !answer.recv().unwrap_or(false) {
            return false;
        }
        tracing::debug!(segment = info.segment, "the oldest range of the history was removed");
        self.retired.push((info, range.end));
        true
    }

    /// Writes again how far every replay has come, which may stand in the oldest segment alone.
    fn relocate_replays(&self) -> std::io::Result<()> {
        // Under the lock, so that nothing newer comes before it.
        let replays = lock(&self.journal.replays);
        let mut answers = Vec::new();
        for replay in replays.iter() {
            let (done, answer) = tokio::sync::oneshot::channel();
            let _ = self.journal.sender.send(Message::Replay(replay.clone(), done));
            answers.push(answer);
        }
        drop(replays);
        if answers.is_empty() || self.is_durable(&mut answers) {
            return Ok(());
        }
        Err(std::io::Error::other("there is no room to write down how far replays have come"))
    }

    /// Writes again what lanes there are, as far as it may stand in what goes alone.
    fn relocate_lanes(&self, end: u64) -> std::io::Result<()> {
        if !self.journal.write_lanes_again(end) || self.is_durable(&mut [self.journal.durable()]) {
            return Ok(());
        }
        Err(std::io::Error::other("there is no room to write down which windows are open"))
    }

    /// Waits until what was sent to the writer is synced, and says whether that holds for these: without room they wait on.
    fn is_durable(&self, answers: &mut [Answer]) -> bool {
        self.journal.wait_for_sync() && answers.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Ok(_))))
    }

    /// Moves what is needed of a segment to the journal's end. Returns the numbers of the events.
    fn relocate(&self, info: &SegmentInfo, range: &std::ops::Range<u64>) -> std::io::Result<Bitmap> {
        let journal = &self.journal;
        let other = |error: rusqlite::Error| std::io::Error::other(error.to_string());
        let earlier = journal.index.read().relocated_in(info.segment).map_err(other)?;
        let ids = journal.destination_ids();
        let mut needed: BTreeSet<u64> = BTreeSet::new();
        for id in &ids {
            let destination = journal.destination(*id);
            let queue = lock(&destination.queue);
            needed.extend(queue.kept_in(range).iter_from(0));
            needed.extend(earlier.iter().filter(|sequence| queue.needs(**sequence)));
        }
        let mut window = Window::new(LAG_READ_BYTES);
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut batch_deliveries = 0;
        let mut relocated = Bitmap::default();
        for sequence in needed {
            relocated.insert(sequence);
            match journal.read_anywhere(sequence, &mut window) {
                Ok(event) => {
                    batch_bytes += event.body.len() + event_head_bytes(event.rules.len(), event.deliveries.len());
                    batch_deliveries += event.deliveries.len().max(1);
                    batch.push(Arc::new(event));
                }
                // It may be read another time, so its segment stays.
                Err(ReadError::Io(error)) => return Err(error),
                // Its bytes were told as damaged, or will be by whoever asks for them.
                Err(error) => {
                    tracing::warn!(sequence, %error, "an event that is still needed cannot be read and is lost")
                }
            }
            if batch_bytes >= GROUP_BYTES_MAX || batch_deliveries >= RELOCATED_AT_ONCE {
                self.relocate_batch(std::mem::take(&mut batch))?;
                (batch_bytes, batch_deliveries) = (0, 0);
            }
        }
        if !batch.is_empty() {
            self.relocate_batch(batch)?;
        }
        Ok(relocated)
    }

    fn relocate_batch(&self, events: Vec<Arc<StoredEvent>>) -> std::io::Result<()> {
        let mut limit = SearchLimit { bytes_left: SEARCHED_BYTES_MAX, unfound: 0 };
        let known = self.journal.known(&events, &mut limit);
        let ends = known.map_err(|error| std::io::Error::other(error.to_string()))?.ends;
        let (reply, done) = sync_channel(1);
        let ended = || std::io::Error::other("the writer has ended");
        self.journal.sender.send(Message::Relocate(Relocating { events, ends, reply })).map_err(|_| ended())?;
        done.recv().map_err(|_| ended())?
    }

    /// Removes the files of segments that are forgotten, once the index knows where everything relocated lies now.
    fn remove_retired(&mut self) {
        for (info, history_start) in std::mem::take(&mut self.retired) {
            let segment = info.segment;
            let file = file_name(info.segment);
            let mut database = self.journal.index.write();
            // Durable before the file goes: a segment that the index knows and that is not there is told as lost.
            let forgotten = database
                .sync_commits(true)
                .and_then(|()| database.transaction(|database| database.forget_segment(&info, &file, history_start)));
            let relaxed = database.sync_commits(false);
            drop(database);
            if let Err(error) = forgotten.and(relaxed) {
                tracing::debug!(segment, %error, "a segment that is not needed any more stays until the index can be written");
                self.retired.push((info, history_start));
                continue;
            }
            if let Err(error) = self.journal.disk.remove(&file) {
                tracing::warn!(segment, %error, "a segment that is not needed any more could not be removed");
            }
            // The copy of a damaged segment goes with it.
            let _ = self.journal.disk.remove(&format!("{file}.damaged"));
        }
        if let Err(error) = self.journal.disk.sync_names() {
            tracing::debug!(%error, "names of removed segments may come back after a crash");
        }
    }

    /// What was given up before the store had run for so long goes.
    fn dead_before_ms(&self) -> u64 {
        let (retention, _) = self.journal.limits();
        let age_ms = u64::try_from(retention.dead_age.as_millis()).unwrap_or(u64::MAX);
        self.journal.lived.ran_ms().saturating_sub(age_ms)
    }

    /// Dead letters whose time is over, some of them.
    fn expired_by_age(&self, before_ms: u64) -> Vec<(NameId, Bitmap)> {
        let database = self.journal.index.read();
        let singly = database.dead_before(before_ms, EXPIRE_AT_ONCE);
        let at_once = database.dead_lettered_before(before_ms);
        let mut expired: Vec<(NameId, Bitmap)> = at_once.unwrap_or_default();
        for (id, sequence) in singly.unwrap_or_default() {
            match expired.iter_mut().find(|(known, _)| *known == id) {
                Some((_, set)) => drop(set.insert(sequence)),
                None => expired.push((id, std::iter::once(sequence).collect())),
            }
        }
        expired
    }

    /// The oldest dead letters of those that are too many, some of them. What nobody needs any more goes first. `coming` are those
    /// that are about to be relocated too, with the bytes of their bodies.
    fn expired_by_size(&self, coming: &[(u64, u64)]) -> Vec<(NameId, Bitmap)> {
        let (_, resolved) = self.journal.limits();
        let coming_bytes: u64 = coming.iter().map(|(_, bytes)| bytes).sum();
        if self.relocated_bytes() + coming_bytes <= resolved.dead_bytes {
            return Vec::new();
        }
        let mut unneeded = Vec::new();
        let mut dead = Vec::new();
        let mut dead_bytes = 0;
        let mut from = Some(0);
        while let Some(start) = from {
            let Ok(some) = self.journal.index.read().relocated_from(start, LOOKED_AT_ONCE) else { return Vec::new() };
            from = some.last().filter(|_| some.len() == LOOKED_AT_ONCE).map(|(sequence, _)| sequence + 1);
            for (sequence, bytes) in some {
                // What waits for another attempt is no dead letter: it stays, and does not count.
                if !self.journal.needs(sequence) {
                    unneeded.push(sequence);
                } else if !self.journal.is_pending(sequence) {
                    dead.push((sequence, bytes));
                    dead_bytes += bytes;
                }
            }
        }
        for some in unneeded.chunks(LOOKED_AT_ONCE) {
            let forget =
                |database: &mut Database| some.iter().try_for_each(|sequence| database.forget_relocated(*sequence));
            if self.journal.index.write().transaction(forget).is_err() {
                return Vec::new();
            }
        }
        // Relocated ones are older than any that are still in the history.
        dead.extend_from_slice(coming);
        let mut excess = (dead_bytes + coming_bytes).saturating_sub(resolved.dead_bytes);
        let mut going = Bitmap::default();
        for (sequence, bytes) in dead.into_iter().take(EXPIRE_AT_ONCE) {
            if excess == 0 {
                break;
            }
            going.insert(sequence);
            excess = excess.saturating_sub(bytes);
        }
        if going.is_empty() {
            return Vec::new();
        }
        self.journal.destination_ids().into_iter().map(|id| (id, going.clone())).collect()
    }

    /// Drops dead letters whose time is over or that are too many. Returns whether there may be more.
    fn expire_some(&self) -> bool {
        // One moment for all of it: what is forgotten must be what was dropped.
        let before_ms = self.dead_before_ms();
        let mut expired = self.expired_by_age(before_ms);
        expired.extend(self.expired_by_size(&[]));
        !expired.is_empty() && self.drop_for_good(&expired, before_ms)
    }

    /// Drops those of a segment's dead letters, and older ones, that would be too many once the segment's are relocated: what is not
    /// kept need not be written again, and a full disk has no room for it.
    fn make_way(&self, info: &SegmentInfo) -> std::io::Result<()> {
        loop {
            let bodies = self.journal.segments.bodies_in(info)?;
            let is_dead = |sequence| self.journal.needs(sequence) && !self.journal.is_pending(sequence);
            let coming: Vec<_> = bodies.into_iter().filter(|(sequence, _)| is_dead(*sequence)).collect();
            let expired = self.expired_by_size(&coming);
            // Nothing is forgotten for its age here.
            if expired.is_empty() || !self.drop_for_good(&expired, 0) {
                return Ok(());
            }
        }
    }

    /// Drops dead letters. Returns whether the index has forgotten them.
    fn drop_for_good(&self, expired: &[(NameId, Bitmap)], before_ms: u64) -> bool {
        let mut dropped = 0;
        for (destination, sequences) in expired {
            let why = "dead letters were older, or took more room, than store.dead_letters allows";
            dropped += self.journal.select(None, *destination, BulkAct::Drop, why, sequences.clone());
        }
        if dropped > 0 {
            self.journal.dead_expired.fetch_add(dropped, Ordering::Relaxed);
            tracing::warn!(
                dead_letters = dropped,
                "dead letters were dropped: they were older, or took more room, than store.dead_letters allows"
            );
        }
        // The index is never ahead of the journal: after a power cut a dead letter would be there and its body would not.
        if !self.is_durable(&mut [self.journal.durable()]) {
            return false;
        }
        let mut database = self.journal.index.write();
        let forgotten = database.transaction(|database| {
            database.forget_dead_lettered_before(before_ms)?;
            for (destination, sequences) in expired {
                for sequence in sequences.iter_from(0) {
                    database.forget_dead(*destination, sequence)?;
                    if !self.journal.needs(sequence) {
                        database.forget_relocated(sequence)?;
                    }
                }
            }
            Ok(())
        });
        forgotten.is_ok()
    }
}

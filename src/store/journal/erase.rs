//! Erasing what is kept of a person: a walk over every segment, a segment a step.
//!
//! In each step, and in this order: who is meant is looked for in every event and every copy of one; the deliveries that wait for them end, and
//! that is synced; memory lets go of them; the segment is [written again](super::segments::Edits) without them; the index forgets what it says of
//! them. So nothing that waits ever has an erased event, and whenever the process ends, the same walk made again finds what is left and goes on
//! from there.
//!
//! The segment that is written to is sealed first. What the upkeep relocates meanwhile, ahead of the walk, lies behind its end then: so it goes on
//! there, for [`ROUNDS_MAX`] rounds.
//!
//! [`texts`]: reasons and the like that quote them. They are masked in memory first, or they would be written down again.
//!
//! Steps that erase run on the upkeep's thread: nothing is relocated amid one, and no copy of the store is made.

mod texts;

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use self::texts::change;
use super::disk::DiskFile;
use super::format::{EventHead, SegmentHeader, records};
use super::inbox::Message;
use super::segments::{Edits, FoundGroup, RewriteError, Rewritten, SegmentInfo, Window, events_in, next_group};
use super::words::ReadError;
use super::{Journal, JournalStore, lock};
use crate::event::EventId;
use crate::store::queues::{Backing, Bitmap, BulkAct};
use crate::store::{Answer, Depth, Erasing, ErasingStep, Meant, StoreError, Whom};

/// Each round covers what was written during the one before: by the third little is.
const ROUNDS_MAX: u32 = 3;
/// Who reads a segment has read what it asked for within this; the old file of one that was written again is left as it is after it.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(10);
/// What is read at once.
const READ_BYTES: usize = 1 << 20;

/// How far a walk has come.
pub struct Walk {
    whom: Whom,
    erases: bool,
    /// The numbers of events that are meant, and of all that were found erased, whomever they were about: nothing is needed of these either, and a
    /// run that was ended may have left something.
    gone: Bitmap,
    /// The next segment.
    from: u64,
    /// The segment that this round ends before; `None`: it has not begun.
    until: Option<u64>,
    rounds: u32,
}

impl Walk {
    pub fn new(whom: Whom, depth: Depth) -> Self {
        let (erases, known) = match depth {
            Depth::Look => (false, Vec::new()),
            Depth::Erase { known } => (true, known),
        };
        let gone = known.iter().map(|id| id.sequence()).collect();
        Self { whom, erases, gone, from: 0, until: None, rounds: 0 }
    }
}

/// What a segment has of whom is meant.
#[derive(Default)]
struct Found {
    about: Vec<EventId>,
    mentions: Vec<EventId>,
    /// Those that are meant, and damaged ones that say what is to be found nowhere.
    numbers: Bitmap,
    already: Bitmap,
    texts: u64,
    damaged: u64,
    unreadable: u64,
}

/// A walk, for who asked for it.
struct JournalErasing {
    journal: Arc<Journal>,
    walk: Arc<Mutex<Walk>>,
}

impl Erasing for JournalErasing {
    fn step(&mut self) -> Answer<'_, ErasingStep> {
        let (reply, done) = oneshot::channel();
        let (journal, walk) = (self.journal.clone(), self.walk.clone());
        let work = move || {
            let step = journal.erasing_step(&mut lock(&walk), &mut || {});
            // Who asked may have gone.
            let _ = reply.send(step);
        };
        let erases = lock(&self.walk).erases;
        if erases {
            self.journal.upkeep.work(Box::new(work));
        } else {
            drop(self.journal.blocking.begin(work));
        }
        Box::pin(async move {
            let step = done.await.unwrap_or(Err(StoreError::Closed))?;
            if !(step.is_done && erases) {
                return Ok(step);
            }
            let (journal, walk) = (self.journal.clone(), self.walk.clone());
            // The checkpoint first: what it wrote before would be left behind in free pages.
            let in_flight = step.in_flight;
            let cleaned = self.journal.blocking.begin(move || {
                journal.upkeep.checkpoint();
                journal.clean_index(&lock(&walk), in_flight)
            });
            let masked = cleaned.await.unwrap_or(Err(StoreError::Closed))?;
            Ok(ErasingStep { texts: step.texts + masked, ..step })
        })
    }
}

impl JournalStore {
    pub(super) fn erasing(&self, whom: Whom, depth: Depth) -> Box<dyn Erasing> {
        let walk = Arc::new(Mutex::new(Walk::new(whom, depth)));
        Box::new(JournalErasing { journal: self.journal.clone(), walk })
    }
}

impl Journal {
    /// One step of a walk. `let_write` is called when the writer has something to do that is waited for: it has a thread of its own, or is given its
    /// turn.
    pub fn erasing_step(&self, walk: &mut Walk, let_write: &mut dyn FnMut()) -> Result<ErasingStep, StoreError> {
        if walk.erases && self.pins.load(Ordering::Acquire) > 0 {
            let waits_for = Some("a copy of the store is being made".to_owned());
            return Ok(ErasingStep { waits_for, left: self.left(walk), ..ErasingStep::default() });
        }
        if walk.until.is_none() && walk.erases {
            self.refuse_amid_replay(&walk.whom)?;
            self.mask_memory(walk);
        }
        if walk.until.is_none() {
            walk.until = Some(if walk.erases { self.seal(let_write)? } else { self.segments.newest() + 1 });
            walk.rounds += 1;
        }
        let until = walk.until.unwrap_or_default();
        let next = self.segments.outline().into_iter().find(|info| (walk.from..until).contains(&info.segment));
        let Some(info) = next else { return self.end_of_round(walk, let_write) };
        if walk.erases {
            // What was cut off its end, at a start or when it was sealed, could come back with a power cut until then.
            let synced = self.segments.file(info.segment).and_then(|file| file.sync());
            synced.map_err(|error| {
                StoreError::Unavailable(format!("a segment of the journal cannot be synced: {error}"))
            })?;
        }
        let found = self.look_through(&info, walk).map_err(StoreError::from)?;
        let mut step = ErasingStep {
            already: found.already.len(),
            damaged: found.damaged,
            unreadable: found.unreadable,
            texts: found.texts,
            ..ErasingStep::default()
        };
        for id in self.destination_ids() {
            lock(&self.destination(id).queue).standing(&found.numbers, &mut step.standing);
        }
        if walk.erases {
            self.erase_in(&info, walk, &found, &mut step, let_write)?;
        }
        (step.about, step.mentions) = (found.about, found.mentions);
        walk.from = info.segment + 1;
        step.left = self.left(walk);
        Ok(step)
    }

    /// Bytes that a walk has still before it.
    fn left(&self, walk: &Walk) -> u64 {
        let outline = self.segments.outline();
        outline.iter().filter(|info| info.segment >= walk.from).map(|info| info.end).sum()
    }

    /// All segments of a round are behind it: what was in flight may have come back since, and there may be new segments.
    fn end_of_round(&self, walk: &mut Walk, let_write: &mut dyn FnMut()) -> Result<ErasingStep, StoreError> {
        let mut step = ErasingStep::default();
        if walk.erases {
            step.ended = self.end_deliveries(&walk.gone, let_write)?;
            step.texts = self.mask_memory(walk);
            let behind = self.segments.outline();
            let has_more = behind.iter().any(|info| info.segment >= walk.from && info.end > info.start);
            if has_more && walk.rounds < ROUNDS_MAX {
                walk.until = None;
                step.left = self.left(walk);
                return Ok(step);
            }
            let in_flight = |id| lock(&self.destination(id).queue).in_flight_of(&walk.gone);
            let copies = self.remove_damaged_copies(&walk.whom);
            let copies =
                copies.map_err(|error| StoreError::Unavailable(format!("a copy of a damaged segment: {error}")))?;
            step.removed = copies;
            step.in_flight = self.destination_ids().into_iter().map(in_flight).sum();
        }
        step.is_done = true;
        Ok(step)
    }

    /// Has the segment that is written to sealed. Returns the number of the next one.
    pub(super) fn seal(&self, let_write: &mut dyn FnMut()) -> Result<u64, StoreError> {
        let (reply, sealed) = sync_channel(1);
        self.sender.send(Message::Seal(reply)).map_err(|_| StoreError::Closed)?;
        let_write();
        let sealed = sealed.recv().map_err(|_| StoreError::Closed)?;
        sealed.map_err(|error| {
            StoreError::Unavailable(format!("there is no room for a new segment of the journal: {error}"))
        })
    }

    /// Looks for whom is meant in a segment, and in what of it nobody can read.
    fn look_through(&self, info: &SegmentInfo, walk: &Walk) -> Result<Found, ReadError> {
        let whom = &walk.whom;
        let mut found = Found::default();
        let mask = |of: Option<u64>, text: &str| change(whom, &walk.gone, of, text);
        let file = self.segments.file(info.segment)?;
        let mut window = Window::new(READ_BYTES);
        let end = info.end.min(file.length()?);
        let mut at = info.start.min(end);
        let header = SegmentHeader::decode(&self.read_range(&file, 0..at)?);
        found.texts += u64::from(header.is_ok_and(|header| header.with_texts(&mask).is_some()));
        let is_named =
            |range: Range<u64>| -> io::Result<bool> { Ok(!(whom.found)(&self.read_range(&file, range)?).is_empty()) };
        while let Some((offset, head)) = next_group(&file, info.segment, at, end, &mut window)? {
            if offset > at {
                let is_hers = is_named(at..offset)?;
                found.damaged += u64::from(is_hers);
                // What was blanked before says nothing.
                let is_blank = || io::Result::Ok(self.read_range(&file, at..offset)?.iter().all(|byte| *byte == 0));
                found.unreadable += u64::from(!is_hers && !is_blank()?);
            }
            let heads = window.heads(&file, offset, &head)?;
            let others = records(heads).filter(|record| record.with_texts(&mask).is_some());
            found.texts += others.count() as u64;
            let heads: Vec<_> = events_in(heads).collect();
            let group = FoundGroup { file: file.clone(), segment: info.segment, offset, head };
            for (event, body_offset, _) in heads {
                let (id, sequence) = (event.id, event.id.sequence());
                let body_at = offset + head.heads_end() as u64 + body_offset;
                let body = body_at..body_at + u64::from(event.body_bytes);
                match window.read_body(&group, event, body_offset) {
                    Ok(event) => match (whom.meant)(&event) {
                        Meant::No => {}
                        Meant::Mentions => found.mentions.push(id),
                        Meant::Yes => {
                            found.about.push(id);
                            found.numbers.insert(sequence);
                        }
                    },
                    Err(ReadError::Erased(_)) => drop(found.already.insert(sequence)),
                    Err(ReadError::Io(error)) => return Err(error.into()),
                    // Nobody can say what it was; what is to be found nowhere is in it all the same.
                    Err(_) if is_named(body)? => {
                        found.about.push(id);
                        found.numbers.insert(sequence);
                    }
                    Err(_) => found.unreadable += 1,
                }
            }
            at = offset + head.length();
        }
        let length = file.length()?;
        // Behind the newest segment's end is what is being written.
        let end = if info.segment == self.segments.newest() { end } else { length };
        found.damaged += u64::from(end > at && is_named(at..end)?);
        Ok(found)
    }

    /// The bytes of a range, as far as the file goes.
    fn read_range(&self, file: &Arc<dyn DiskFile>, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let read = file.read_at(&mut bytes, range.start)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Erases in one segment what was found there.
    fn erase_in(
        &self,
        info: &SegmentInfo,
        walk: &mut Walk,
        found: &Found,
        step: &mut ErasingStep,
        let_write: &mut dyn FnMut(),
    ) -> Result<(), StoreError> {
        walk.gone.insert_all(&found.numbers);
        walk.gone.insert_all(&found.already);
        let mut touched = found.numbers.clone();
        touched.insert_all(&found.already);
        step.ended = self.end_deliveries(&touched, let_write)?;
        if found.numbers.is_empty() && found.damaged == 0 && found.texts == 0 {
            return Ok(());
        }
        if let Some(why) = self.no_room_for(info.end) {
            let why = format!("erasing in a segment of the journal takes room for one more: {why}");
            return Err(StoreError::Unavailable(why));
        }
        self.make_durable(let_write)?;
        let erases = |event: &EventHead| found.numbers.contains(event.id.sequence());
        let texts = |of: Option<u64>, text: &str| change(&walk.whom, &walk.gone, of, text);
        let blanks = |bytes: &[u8]| !(walk.whom.found)(bytes).is_empty();
        let edits = Edits { erases: &erases, redacts: &|_, _| None, texts: &texts, blanks: &blanks };
        let rewritten = self.written_again(info, &edits)?;
        self.let_go_of(&found.numbers);
        if !found.numbers.is_empty() {
            self.watchers.erased(|id| found.numbers.contains(id.sequence()));
        }
        (step.erased, step.texts) = (rewritten.erased, rewritten.texts);
        if let Err(why) = rewritten.overwrite(READ_WITHIN) {
            step.left_behind.push(format!("segment {}: {why}", info.segment));
        }
        Ok(())
    }

    /// Writes a segment again. Where it is not known afterwards which of its files has the name, the writer is told to give up.
    pub(super) fn written_again(&self, info: &SegmentInfo, edits: &Edits<'_>) -> Result<Rewritten, StoreError> {
        self.segments.rewrite(info, edits).map_err(|error| match error {
            RewriteError::Unchanged(error) => {
                StoreError::Unavailable(format!("a segment of the journal could not be written again: {error}"))
            }
            RewriteError::Broken(error) => {
                let why = format!("the names in the journal's directory could not be synced: {error}");
                let _ = self.sender.send(Message::Fail(why.clone()));
                StoreError::Unavailable(why)
            }
        })
    }

    /// Ends all deliveries of some events that wait, and drops their dead letters. That is durable when this returns.
    pub fn end_deliveries(&self, sequences: &Bitmap, let_write: &mut dyn FnMut()) -> Result<u64, StoreError> {
        let mut count = 0;
        if sequences.is_empty() {
            return Ok(count);
        }
        for id in self.destination_ids() {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            let ended = queue.drop_waiting(sequences);
            let dead: Bitmap = sequences.iter_from(0).filter(|sequence| queue.is_dead(*sequence)).collect();
            count += ended.len() as u64;
            self.tell_dropped(&destination, &mut queue, id, ended);
            drop(queue);
            if !dead.is_empty() {
                count += self.select(None, id, BulkAct::Drop, "", dead);
            }
        }
        if count > 0 {
            self.watchers.commanded();
            self.make_durable(let_write)?;
        }
        Ok(count)
    }

    /// Has everything synced that was said so far, how deliveries have ended too: what they were about is not gone before that is durable. Without
    /// room it waits to be written, and that is an error.
    pub(super) fn make_durable(&self, let_write: &mut dyn FnMut()) -> Result<(), StoreError> {
        let mut durable = self.durable();
        let (reply, done) = sync_channel(1);
        self.sender.send(Message::Barrier(reply)).map_err(|_| StoreError::Closed)?;
        let_write();
        if done.recv().is_ok() && matches!(durable.try_recv(), Ok(Ok(_))) {
            return Ok(());
        }
        Err(StoreError::Unavailable("there is no room to write down that deliveries have ended".to_owned()))
    }

    /// What lies in memory of some events goes, and whatever reads a segment opens it anew.
    pub(super) fn let_go_of(&self, sequences: &Bitmap) {
        lock(&self.recent).forget(sequences);
        for id in self.destination_ids() {
            let destination = self.destination(id);
            lock(&destination.reader.0).clear();
            lock(&destination.sorting.reader.0).clear();
        }
    }
}

//! Opening a store: what is found on the disk, and the threads that go on from there.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom;

use super::Journal;
use super::disk::Disk;
use super::inbox::inbox;
use super::index::Index;
use super::recover::recover;
use super::upkeep::Upkeep;
use super::words::Damage;
use super::writer::Position;
use super::*;
use crate::store::{Health, Retention};
use crate::time::Clock;

/// What is called after each sync, with how long it took.
pub type OnSync = Box<dyn Fn(Duration) + Send + Sync>;

/// How a journal is opened.
pub struct Options {
    /// Bytes of a segment, set aside when it is made.
    pub segment_bytes: u64,
    /// The time that retries go by.
    pub clock: Clock,
    /// No retry is due later than this after opening, whatever a wrong clock wrote down.
    pub due_within: Duration,
    /// Called after each sync.
    pub on_sync: OnSync,
    /// Where the index lies.
    pub index: Location,
    /// What is kept.
    pub retention: Retention,
    /// Where what waits for the disk is done.
    pub blocking: Blocking,
}

impl Options {
    /// As usual, with the index somewhere.
    pub fn new(index: Location) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES_MAX,
            clock: Clock::start(),
            due_within: Duration::from_secs(24 * 60 * 60),
            on_sync: Box::new(|_| {}),
            index,
            retention: Retention::default(),
            blocking: Blocking::default(),
        }
    }
}

#[cfg(any(test, feature = "test-support"))]
impl Default for Options {
    fn default() -> Self {
        Self::new(Location::Memory)
    }
}

/// A segment is no larger: history goes by whole segments.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Nor smaller, where the history is short: each begins with a header and ends with room for outcomes.
const SEGMENT_BYTES_LEAST: u64 = 4 << 20;

/// The bytes of a segment for a history: sixteen of them at least, so that it goes in small steps.
pub fn segment_bytes(retention: &Retention, directory: &Path) -> u64 {
    let total = disk::space_of(directory).map(|space| space.total);
    let history_bytes = sizes::resolve(retention, total).history_bytes;
    (history_bytes / 16).clamp(SEGMENT_BYTES_LEAST, SEGMENT_BYTES_MAX).next_multiple_of(4096)
}

/// What opening found, for the log.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// Deliveries that wait, in all destinations together.
    pub backlog: u64,
    /// Stretches that were synced once and do not hold together now.
    pub damage: Vec<Damage>,
    /// Bytes of a group that was being written when the last process ended; nobody was told that it is there.
    pub torn_bytes: u64,
    /// Files that are named like segments and are not part of the journal. They are left alone.
    pub strays: Vec<String>,
    /// Queues of numbers that have no name, which have one now that says so.
    pub nameless: Vec<String>,
    /// Segments there are.
    pub segments: usize,
    /// Segments that had to be read: the others are known from the index.
    pub segments_read: usize,
}

impl JournalStore {
    /// Opens a journal, or starts one, and its threads. Blocks until the old end is safe in a new segment.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Opened), OpenError> {
        let index = Index::open(&options.index);
        let (store, opened, writer, index_failed) = Self::prepare(disk, options, index)?;
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let journal = store.journal.clone();
        let thread = thread.spawn(move || journal.watched("journal", || writer.run()))?;
        *lock(&store.thread) = Some(thread);
        if index_failed {
            store.journal.index.forget();
        }
        Index::start(&store.journal)?;
        // Where what was carried lies since the old end was moved.
        store.journal.index.flush();
        Upkeep::start(&store.journal)?;
        if store.journal.lived.moved_by_ms != 0 {
            // Before anything is stamped by the new clock, so that a crash leaves stamps of one clock alone.
            store.journal.upkeep.checkpoint();
        }
        Ok((store, opened))
    }

    /// Opens a journal without threads: who opens it gives the writer its turns, and the index is told nothing. For simulations.
    #[cfg(test)]
    pub(crate) fn open_by_hand(
        disk: Arc<dyn Disk>,
        options: Options,
        untold: &index::Untold,
    ) -> Result<(Self, Writer), OpenError> {
        let (store, _, writer, _) = Self::prepare(disk, options, Index::untold(untold))?;
        Ok((store, writer))
    }

    /// Everything but the threads. Also returns whether the index failed.
    fn prepare(disk: Arc<dyn Disk>, options: Options, index: Index) -> Result<(Self, Opened, Writer, bool), OpenError> {
        for leftover in disk.list()?.iter().filter(|name| segments::is_unfinished(name)) {
            disk.remove(leftover)?;
        }
        index.go_on(options.clock);
        let mut recovered = recover(&disk, &mut index.write())?;
        if recovered.index_failed && index.remake() {
            index.go_on(options.clock);
            recovered = recover(&disk, &mut index.write())?;
        }
        let lived = index.write().lived.unwrap_or_else(|| index::Lived::go_on(options.clock, None));
        recovered.queues.values_mut().for_each(|queue| queue.move_by(lived.moved_by_ms));
        let made = index.write().made().unwrap_or_default();
        for info in &mut recovered.segments {
            // One that the index has not heard of counts from now on.
            info.made_ms = made.get(&info.segment).copied().unwrap_or_else(|| lived.ran_ms());
        }
        keep_copies(&disk, &recovered.damage);
        let latest_due_ms = options.clock.now_ms() + options.due_within.as_millis() as u64;
        recovered.queues.values_mut().for_each(|queue| queue.clamp_due(latest_due_ms));
        let opened = Opened {
            backlog: recovered.queues.values().map(queue::Queue::backlog).sum(),
            damage: recovered.damage,
            torn_bytes: recovered.torn_bytes,
            strays: recovered.strays,
            nameless: recovered.nameless,
            segments: recovered.segments.len(),
            segments_read: recovered.segments_read,
        };
        let last = recovered.segments.last();
        let journal = recovered.journal.map_or_else(random, Ok)?;
        let position = Position {
            next_sequence: recovered.next_sequence,
            next_group: recovered.next_group,
            next_segment: last.map_or(1, |info| info.segment + 1),
            journal,
            sealed: (last.map_or(0, |info| info.segment), recovered.mark),
            tail: recovered.tail,
            tail_first: recovered.tail_first,
        };
        let old = last.map(|info| (info.segment, recovered.mark));
        let (sender, receiver) = inbox();
        let journal = Arc::new(Journal::new(state::Parts {
            disk,
            index,
            sender,
            journal,
            clock: options.clock,
            retention: options.retention,
            segments: recovered.segments,
            names: recovered.names,
            queues: recovered.queues,
            next_sequence: recovered.next_sequence,
            next_group: recovered.next_group,
            lived,
        }));
        if let Err(error) = journal.load_commands() {
            tracing::warn!(%error, "commands of before are not known: the same one again is done again");
        }
        journal.note_arrivals();
        let mut writer = Writer::new(journal.clone(), receiver, position, options.segment_bytes, options.on_sync);
        writer.prepare()?;
        if let Some((segment, mark)) = old
            && *journal.health.borrow() == Health::Good
        {
            // The new segment's header already says so; this gives the room back.
            let cut = journal.disk.open(&segments::file_name(segment));
            // Under another name it may be somebody else's, who writes behind the mark.
            let cut = cut.and_then(|file| if file.is_shared() { Ok(()) } else { file.set_len(mark) });
            if let Err(error) = cut {
                tracing::debug!(segment, %error, "an old segment's unused end could not be given back");
            }
        }
        let store = Self { journal, blocking: options.blocking, thread: Arc::default() };
        Ok((store, opened, writer, recovered.index_failed))
    }
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the system gave no random number")).map(|()| u64::from_le_bytes(bytes))
}

/// Keeps a copy of each damaged segment as it was found. A copy that cannot be made is told and holds nothing up.
fn keep_copies(disk: &Arc<dyn Disk>, damage: &[Damage]) {
    let existing = disk.list().unwrap_or_default();
    let mut seen = Vec::new();
    for Damage { file, .. } in damage {
        let copy = format!("{file}.damaged");
        if seen.contains(&file) || existing.contains(&copy) || !existing.contains(file) {
            continue;
        }
        seen.push(file);
        if let Err(error) = disk.copy(file, &copy) {
            tracing::warn!(file, %error, "no copy of the damaged segment could be kept");
        }
    }
}

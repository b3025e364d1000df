//! Opening a store: what is found on the disk, and the threads that go on from there.

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom;

use super::disk::Disk;
use super::inbox::inbox;
use super::index::Index;
use super::recover::{Opened, Recovered, recover};
use super::running::Outside;
use super::state::State;
use super::words::Damage;
use super::writer::Position;
use super::*;
use super::{Journal, upkeep};
use crate::store::{Health, Retention};
use crate::time::Clock;

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
    pub retention: Retention,
    /// Of a journal that is begun: the number of its first event.
    pub first_number: u64,
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
            first_number: 0,
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

impl JournalStore {
    /// Opens a journal, or starts one, and its threads. Blocks until the old end is safe in a new segment.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Opened), OpenError> {
        let index = Index::open(&options.index);
        let Prepared { store, opened, writer, index_failed } = prepare(disk, options, index)?;
        let journal = &store.journal;
        *lock(&store.thread) = Some(spawn(journal, "journal", move || writer.run())?);
        if index_failed {
            journal.index.forget();
        }
        if let Some(worker) = Index::worker(&journal.index) {
            journal.index.has_started(spawn(journal, "index", move || worker.run())?);
        }
        // Where what was relocated lies since the old end was moved.
        journal.index.flush();
        let (sender, worker) = upkeep::begin(journal);
        let thread = spawn(journal, "retention", move || worker.run())?;
        journal.upkeep.has_started(sender, thread);
        if journal.lived.moved_by_ms != 0 {
            // Before anything is stamped by the new clock, so that a crash leaves stamps of one clock alone.
            journal.upkeep.checkpoint();
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
        let Prepared { store, writer, .. } = prepare(disk, options, Index::untold(untold))?;
        Ok((store, writer))
    }
}

/// A store whose threads are not running yet.
struct Prepared {
    store: JournalStore,
    opened: Opened,
    writer: Writer,
    /// The index could not be written, so no checkpoint may be used at the next start.
    index_failed: bool,
}

fn prepare(disk: Arc<dyn Disk>, options: Options, index: Index) -> Result<Prepared, OpenError> {
    for leftover in disk.list()?.iter().filter(|name| segment_name::is_unfinished(name)) {
        disk.remove(leftover)?;
    }
    index.go_on(options.clock);
    let mut recovered = recover(&disk, &mut index.write())?;
    if recovered.index_failed && index.remake() {
        index.go_on(options.clock);
        recovered = recover(&disk, &mut index.write())?;
    }
    let Recovered { mut state, mut old_end, opened, index_failed } = recovered;
    if state.number.is_none() {
        state.next_sequence = options.first_number;
        old_end.tail_first = options.first_number;
    }
    keep_copies(&disk, &opened.damage);
    let lived = index.write().lived.unwrap_or_else(|| index::Lived::go_on(options.clock, None));
    go_by_our_clock(&mut state, &options, &index, lived);
    let number = state.number.map_or_else(random, Ok)?;
    let sealed = state.newest_segment();
    let mark = old_end.mark;
    let position = Position::after(&state, number, old_end);
    let (sender, receiver) = inbox();
    let segment_bytes = options.segment_bytes;
    let clock = options.clock;
    let outside = Outside { disk, index: Arc::new(index), sender, clock, blocking: options.blocking };
    let journal = Arc::new(Journal::new(outside, number, state, lived, options.retention));
    if let Err(error) = journal.load_commands() {
        tracing::warn!(%error, "commands of before are not known: the same one again is done again");
    }
    journal.end_replays();
    journal.note_arrivals();
    let mut writer = Writer::new(journal.clone(), receiver, position, segment_bytes, options.on_sync);
    writer.prepare()?;
    if sealed > 0 && *journal.health.borrow() == Health::Good {
        give_back(&journal, sealed, mark);
    }
    let store = JournalStore { journal, thread: Arc::default() };
    Ok(Prepared { store, opened, writer, index_failed })
}

/// What another clock has stamped is as old as it was then; what the index has not heard of counts from now on.
fn go_by_our_clock(state: &mut State, options: &Options, index: &Index, lived: index::Lived) {
    let made = index.write().made().unwrap_or_default();
    for info in &mut state.segments {
        info.made_ms = made.get(&info.segment).copied().unwrap_or_else(|| lived.ran_ms());
    }
    let latest_due_ms = options.clock.now_ms() + options.due_within.as_millis() as u64;
    for queue in state.queues.values_mut() {
        queue.move_by(lived.moved_by_ms);
        queue.clamp_due(latest_due_ms);
    }
}

/// Gives back the room of an old segment behind its mark: the new segment's header already says where the old one ends.
fn give_back(journal: &Journal, segment: u64, mark: u64) {
    let cut = journal.disk.open(&segment_name::file_name(segment));
    // Under another name it may be somebody else's, who writes behind the mark.
    let cut = cut.and_then(|file| if file.is_shared() { Ok(()) } else { file.set_len(mark) });
    if let Err(error) = cut {
        tracing::debug!(segment, %error, "an old segment's unused end could not be given back");
    }
}

/// Starts a thread of the store. If it panics, nothing is known any more, and the process must end.
fn spawn(
    journal: &Arc<Journal>,
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let journal = journal.clone();
    let watched = move || {
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            let why = format!("its {name} thread panicked, which is a bug: see the log");
            journal.set_health(Health::Poisoned(why));
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(watched)
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

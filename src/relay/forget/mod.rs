//! A person forgotten: what there is of somebody is looked for, erased, and searched for in every file.
//!
//! # Cast
//!
//! * [`Forgetter`]: has the one [`Run`] that goes on, and the last one. [`Progress`]: how far a run is, and what it found.
//! * `whom`, [`Person`]: who is meant. `work`: what is done, step by step. `unreached`: what the relay cannot reach.
//!
//! A run takes as long as all that is there takes to be read, so it is begun, asked how far it is, and stopped. There is one at a time. It lies in
//! memory alone, and so does whom it is about, which is in no answer, no log and no file: after a restart it is asked for again, and what was erased
//! is erased.

mod unreached;
mod whom;
mod work;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use self::unreached::Unreached;
pub use self::whom::{Address, Person, USER_IDS_MAX};
use self::work::Work;
use super::Relay;
use super::search::Searched;
use crate::event::EventId;
use crate::store::{Engine, Standing};
use crate::time::{Instant, wall_ms};

/// How long it is known how a run ended.
const KNOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The address is searched for in every file.
    Search,
    /// The events are counted.
    Look,
    /// They are erased, and then searched for.
    Erase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Looking,
    Erasing,
    Searching,
    Done,
}

/// What a destination has got of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Its name.
    pub destination: String,
    pub deliveries: u64,
    /// More of them have ended longer ago than was looked: it may have got these, or they were dropped.
    pub unfound: u64,
}

/// How far a run has come, and what it found.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub phase: Phase,
    /// Of the phase, from 0 to 1.
    pub share: f64,
    /// What it waits for, if it does.
    pub waits_for: Option<String>,
    /// Events that are meant.
    pub events: u64,
    /// Where their deliveries stood.
    pub standing: Standing,
    /// What each destination has got of them.
    pub got: Vec<Got>,
    /// Events that mention the address and are not meant.
    pub mentions: u64,
    /// Events that are meant by a user id alone, which was seen beside the address.
    pub by_user_id: u64,
    /// Events that are meant since they mention it.
    pub meant_mentions: u64,
    /// The first of either.
    pub mentioned_in: Vec<EventId>,
    /// Events and damaged ranges that nobody can read.
    pub unreadable: u64,
    /// Events with a user id that was seen beside the address, and another address.
    pub other_addresses: u64,
    /// Events of which nobody can tell any more whom they are about.
    pub redacted: u64,
    /// Copies of events that were erased.
    pub erased: u64,
    /// Deliveries that were ended.
    pub ended: u64,
    /// Texts in which something was masked.
    pub texts: u64,
    /// Damaged ranges of the journal that named somebody, and are zeros now.
    pub damaged: u64,
    /// Attempts at what was erased that are in flight.
    pub in_flight: u64,
    /// Files of the store's that were removed.
    pub removed: Vec<String>,
    /// What could not be erased, in sentences.
    pub left_behind: Vec<String>,
    /// Every event that was meant reads as erased.
    pub is_erased: bool,
    /// The address was searched for.
    pub is_searched: bool,
    pub searched: Searched,
    /// Why it ended before its end.
    pub failed: Option<String>,
    ended_at: Option<Instant>,
}

impl Progress {
    /// Nothing was found, in all files of the relay's own.
    pub fn is_clean(&self) -> bool {
        self.phase == Phase::Done && self.failed.is_none() && self.is_searched && self.searched.is_clean()
    }

    /// All that is meant was erased, all events could be read, and nothing of it was found afterwards: the address in no file, or, where only an id
    /// was named, none of the events.
    pub fn is_proved(&self) -> bool {
        let is_over = self.phase == Phase::Done && self.failed.is_none();
        let is_left = self.in_flight + self.mentions + self.unreadable > 0 || !self.left_behind.is_empty();
        is_over && self.is_erased && !is_left && (!self.is_searched || self.searched.is_clean())
    }
}

/// One run.
pub struct Run {
    pub id: u128,
    pub at_ms: u64,
    pub act: Act,
    pub unreached: Unreached,
    stop: CancellationToken,
    progress: Mutex<Progress>,
}

impl Run {
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_over(&self) -> bool {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).phase == Phase::Done
    }
}

/// Who has the runs: one that goes on, or the last one for an hour.
pub struct Forgetter {
    engine: Engine,
    data_dir: PathBuf,
    stopping: CancellationToken,
    run: Mutex<Option<Arc<Run>>>,
}

impl Forgetter {
    /// One that looks into a relay's store and directory, and ends with the relay.
    pub fn new(engine: Engine, data_dir: PathBuf, stopping: CancellationToken) -> Self {
        Self { engine, data_dir, stopping, run: Mutex::default() }
    }

    /// Begins a run under an id that nobody has. It is done by the work. Where another goes on, that is the error.
    pub fn begin(
        &self,
        relay: &Arc<Relay>,
        id: u128,
        act: Act,
        person: Person,
        unreached: Unreached,
    ) -> Result<(Arc<Run>, impl Future<Output = ()> + Send + use<>), Arc<Run>> {
        let mut last = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = last.as_ref().filter(|run| !run.is_over()) {
            return Err(run.clone());
        }
        let phase = if act == Act::Search { Phase::Searching } else { Phase::Looking };
        let progress = Mutex::new(Progress { phase, ..Progress::default() });
        let stop = self.stopping.child_token();
        let run = Arc::new(Run { id, at_ms: wall_ms(), act, unreached, stop, progress });
        *last = Some(run.clone());
        let (engine, data_dir) = (self.engine.clone(), self.data_dir.clone());
        let (relay, store, person) = (relay.clone(), engine.store(), Arc::new(person));
        let work = Work { run: run.clone(), relay, store, engine, data_dir, person };
        Ok((run, work.do_it()))
    }

    /// The run that goes on, or the last one, as long as it is known.
    pub fn last(&self) -> Option<Arc<Run>> {
        let mut last = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |run: &Arc<Run>| run.progress().ended_at.is_some_and(|ended| ended.elapsed() > KNOWN_FOR);
        if last.as_ref().is_some_and(is_old) {
            *last = None;
        }
        last.clone()
    }

    /// Ends the run that goes on, after what it is at; gives it.
    pub fn stop(&self) -> Option<Arc<Run>> {
        let run = self.last()?;
        run.stop.cancel();
        Some(run)
    }
}

//! What there is of a person: a search of every file below `data_dir`.
//!
//! A search takes as long as all that is there takes to be read, so it is a *run*: it is begun, asked how far it is, and stopped. There is one
//! at a time. It lies in memory alone, and so does the address that it is about, which is in no answer, no log and no file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::search::{FoundIn, Searched, Unread, search, search_text};
use crate::spelled::{Finder, Letters};
use crate::store::journal::JournalStore;
use crate::time::{Instant, wall_ms};

/// Bytes of an address: RFC 5321 allows 64 before the `@` and 255 behind it.
const ADDRESS_BYTES_MAX: usize = 320;
/// How long it is known how a run ended.
const KNOWN_FOR: Duration = Duration::from_secs(60 * 60);
/// The file of the index, as `data_dir` has it.
const INDEX_FILE: &str = "state.db";

/// The address of a person. It is shown nowhere.
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// Reads one; else says why it is none, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (before, behind) = text.rsplit_once('@').unwrap_or_default();
        if before.is_empty() || behind.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("`email` should be an address like ann@example.com, with no blank in or around it".to_owned());
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("`email` has more than the {ADDRESS_BYTES_MAX} bytes that an address has at most"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Finds it in any letters.
    fn finder(&self) -> Finder {
        let Self(typed) = self;
        // What is no ASCII is compared as it is.
        let mut texts = vec![typed.clone(), typed.to_lowercase(), typed.to_uppercase()];
        texts.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
        Finder::new(texts, Letters::Any)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Searching,
    Done,
}

/// How far a run has come, and what it found.
#[derive(Clone, Debug)]
pub struct Progress {
    pub phase: Phase,
    /// Of all there is to do, from 0 to 1.
    pub share: f64,
    pub searched: Searched,
    /// Why it ended before its end.
    pub failed: Option<String>,
    ended: Option<Instant>,
}

/// One run.
pub struct Run {
    pub id: u128,
    pub at_ms: u64,
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
        self.progress().phase == Phase::Done
    }
}

/// Who has the runs: one that goes on, or the last one for an hour.
pub struct Forgetter {
    journal: Arc<JournalStore>,
    data_dir: PathBuf,
    stopping: CancellationToken,
    run: Mutex<Option<Arc<Run>>>,
}

impl Forgetter {
    /// One that searches a relay's directory, and ends with the relay.
    pub fn new(journal: Arc<JournalStore>, data_dir: PathBuf, stopping: CancellationToken) -> Self {
        Self { journal, data_dir, stopping, run: Mutex::default() }
    }

    /// Begins a search under an id that nobody has. It is done by the work, which blocks on the disk. Where a run goes on, that is the error.
    pub fn begin_search(&self, id: u128, address: Address) -> Result<(Arc<Run>, impl FnOnce() + use<>), Arc<Run>> {
        let mut last = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = last.as_ref().filter(|run| !run.is_over()) {
            return Err(run.clone());
        }
        let progress =
            Progress { phase: Phase::Searching, share: 0.0, searched: Searched::default(), failed: None, ended: None };
        let stop = self.stopping.child_token();
        let run = Arc::new(Run { id, at_ms: wall_ms(), stop, progress: Mutex::new(progress) });
        *last = Some(run.clone());
        let work = Work { run: run.clone(), journal: self.journal.clone(), data_dir: self.data_dir.clone() };
        Ok((run, move || work.search(&address)))
    }

    /// The run that goes on, or the last one, as long as it is known.
    pub fn last(&self) -> Option<Arc<Run>> {
        let mut last = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |run: &Arc<Run>| run.progress().ended.is_some_and(|ended| ended.elapsed() > KNOWN_FOR);
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

/// What does a run.
struct Work {
    run: Arc<Run>,
    journal: Arc<JournalStore>,
    data_dir: PathBuf,
}

impl Work {
    fn search(self, address: &Address) {
        // It is over whatever happens: a bug must not leave a run that nobody ends.
        let done = Done(&self.run);
        let searched = self.searched(&address.finder());
        if self.run.stop.is_cancelled() {
            self.run.change(|progress| progress.failed = Some("it was stopped before its end".to_owned()));
        }
        self.run.change(|progress| progress.searched = searched);
        drop(done);
    }

    /// All files, and then the rows of the index, of which a file may hold one in pieces.
    fn searched(&self, finder: &Finder) -> Searched {
        let is_stopped = || self.run.stop.is_cancelled();
        let mut searched = search(&self.data_dir, finder, &mut |searched| {
            let share = searched.bytes as f64 / searched.bytes_in_all.max(1) as f64;
            self.run.change(|progress| progress.share = share.min(1.0));
            !is_stopped()
        });
        let mut tables: BTreeMap<String, [u64; 2]> = BTreeMap::new();
        let read = self.journal.values(&mut |table, value| {
            let [hits, parts] = search_text(value, finder);
            if hits + parts > 0 {
                let known = tables.entry(table.to_owned()).or_default();
                *known = [known[0] + hits, known[1] + parts];
            }
            !is_stopped()
        });
        for (table, [hits, parts]) in tables {
            let name = INDEX_FILE.to_owned();
            searched.add(FoundIn { name, table: Some(table), hits, parts, first_at: None, is_own: true });
        }
        if let Err(why) = read {
            searched.unread.push(Unread { name: INDEX_FILE.to_owned(), why, is_own: true });
        }
        searched
    }
}

/// Ends a run when it is dropped.
struct Done<'r>(&'r Run);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.change(|progress| {
            if std::thread::panicking() {
                progress.failed = Some("it panicked, which is a bug: see the log".to_owned());
            }
            (progress.phase, progress.share, progress.ended) = (Phase::Done, 1.0, Some(Instant::now()));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for good in ["ann@example.com", "\"a@b\"@example.com", "änn@exämple.com", "a@b"] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(ADDRESS_BYTES_MAX));
        for bad in ["zoe", "@x.example", "zoe@", " zoe@x.example", "zoe@x.example\n", "z o@x.example", &long] {
            let why = Address::parse(bad).err().unwrap_or_else(|| panic!("{bad} is none"));
            assert!(!why.contains(bad), "{why}");
        }
        assert!(Address::parse(&long[12..]).is_ok() && Address::parse("").is_err());
    }

    #[test]
    fn an_address_is_found_in_other_letters() {
        for (typed, text) in
            [("Ann@Example.com", "ANN@EXAMPLE.COM"), ("ÄNN@x.de", "änn@X.de"), ("änn@x.de", "ÄNN@X.DE")]
        {
            let finder = Address::parse(typed).expect("an address").finder();
            assert_eq!(finder.find(text.as_bytes()).len(), 1, "{typed} in {text}");
        }
    }
}

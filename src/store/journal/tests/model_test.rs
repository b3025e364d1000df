//! Random work, restarts and power cuts against a model in a map: after each start every delivery must be where the model has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::lanes::{place, wait};
use super::*;
use crate::seeds::{each, repeated_by, seeds};
use crate::store::queues::{BulkAct, DeliveryKey};

/// Dead letters may have half of it.
const HISTORY_BYTES: u64 = 12 << 10;
const DESTINATIONS: [&str; 3] = ["crm", "alerts", "dead"];

/// Numbers from a seed: xorshift64*.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Scheduled(u16),
    Dead(String),
    Settled,
}

type Key = (&'static str, u64);

/// What must be so. A power cut may undo what was done since `synced`, act by act for each delivery, but nothing before.
#[derive(Default)]
struct Model {
    bodies: Vec<String>,
    now: BTreeMap<Key, State>,
    /// What each delivery may be found as after a power cut: its last synced state, and all since.
    possible: BTreeMap<Key, Vec<State>>,
    paused: BTreeSet<&'static str>,
    /// Of every digest that was ever closed, whose it is and what was in it.
    digests: BTreeMap<DigestId, (&'static str, BTreeSet<u64>)>,
}

impl Model {
    fn set(&mut self, key: Key, state: State) {
        self.possible.entry(key).or_default().push(state.clone());
        self.now.insert(key, state);
    }

    fn all_is_synced(&mut self) {
        self.possible = self.now.iter().map(|(key, state)| (*key, vec![state.clone()])).collect();
    }
}

struct Run {
    seed: u64,
    dice: Dice,
    disk: ModelDisk,
    directory: tempfile::TempDir,
    store: Option<JournalStore>,
    model: Model,
    /// Copies of the index that were taken earlier.
    copies: Vec<PathBuf>,
    /// One of them has taken the index's place.
    is_old_copy: bool,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = ModelDisk::default();
        let directory = scratch();
        let dice = Dice::new(seed);
        let mut run = Self {
            seed,
            dice,
            disk,
            directory,
            store: None,
            is_old_copy: false,
            model: Model::default(),
            copies: Vec::new(),
            log: Vec::new(),
        };
        run.open();
        run
    }

    fn index(&self) -> PathBuf {
        self.directory.path().join("state.db")
    }

    fn store(&self) -> &JournalStore {
        self.store.as_ref().expect("it is open")
    }

    fn open(&mut self) {
        let retention = Retention { history_bytes: Some(HISTORY_BYTES), ..Retention::default() };
        let options =
            Options { segment_bytes: 4 << 10, index: Location::File(self.index()), retention, ..Options::default() };
        let (store, opened) = JournalStore::open(Arc::new(self.disk.clone()), options).expect("the journal opens");
        // An old copy of the index does not know what has gone from the history since, and calls that lost.
        let oldest = store.journal.segments.outline().first().map_or(0, |info| info.segment);
        let has_gone = |damage: &Damage| {
            self.is_old_copy && segment_name::segment_of(&damage.file).is_some_and(|segment| segment < oldest)
        };
        assert!(opened.damage.iter().all(has_gone), "{:?} {}", opened.damage, self.story());
        self.store = Some(store);
    }

    fn story(&self) -> String {
        format!("{}\n{}", repeated_by(self.seed), self.log.join("\n"))
    }

    fn id(&self, name: &str) -> NameId {
        self.store().name(NameKind::Destination, name)
    }

    fn step(&mut self) {
        match self.dice.below(27) {
            0..=8 => self.append(),
            9..=14 => {
                let name = DESTINATIONS[self.dice.below(3) as usize];
                let most = 1 + self.dice.below(5) as usize;
                self.claim_and_settle(name, most);
            }
            15 | 16 => self.select(),
            17 => self.pause_or_resume(),
            18 | 19 => {
                // Nothing waits for a first attempt then, which would hold the history.
                if self.dice.below(2) == 0 {
                    DESTINATIONS.iter().for_each(|name| self.claim_and_settle(name, usize::MAX));
                }
                self.log.push("trim".to_owned());
                self.store().trim();
                self.expire();
            }
            20 => self.restart(true),
            21 => self.restart(false),
            22 => self.copy_index(),
            23..=25 => self.gather(),
            _ => self.sync(),
        }
    }

    /// Whether the dead letters are so many that the oldest may have been dropped.
    fn may_expire(&self) -> bool {
        let dead =
            self.model.possible.iter().filter(|(_, states)| states.iter().any(|state| matches!(state, State::Dead(_))));
        let sequences: BTreeSet<u64> = dead.map(|((_, sequence), _)| *sequence).collect();
        let bytes: usize = sequences.iter().map(|sequence| self.model.bodies[*sequence as usize].len()).sum();
        bytes as u64 > HISTORY_BYTES / 2
    }

    /// Takes over which dead letters were dropped because they were too many.
    fn expire(&mut self) {
        if !self.may_expire() {
            return;
        }
        for name in DESTINATIONS {
            let dead = self.store().dead(self.id(name));
            let is_dropped = |(key, state): &(&Key, &State)| {
                key.0 == name && matches!(state, State::Dead(_)) && !dead.contains(key.1)
            };
            let dropped: Vec<Key> = self.model.now.iter().filter(is_dropped).map(|(key, _)| *key).collect();
            self.log.push(format!("too many of {name}, dropped: {dropped:?}"));
            dropped.into_iter().for_each(|key| self.model.set(key, State::Settled));
        }
    }

    fn append(&mut self) {
        let mut destinations = DESTINATIONS.to_vec();
        destinations.retain(|_| self.dice.below(3) > 0);
        let body = format!("{}{}", self.model.bodies.len(), "x".repeat(self.dice.below(600) as usize));
        let id = append(self.store(), &body, &destinations).expect("taken");
        assert_eq!(id.sequence(), self.model.bodies.len() as u64, "{}", self.story());
        self.log.push(format!("append {} to {destinations:?}", id.sequence()));
        // An acknowledged event makes everything before it durable.
        for name in destinations {
            self.model.set((name, id.sequence()), State::Waiting);
        }
        self.model.all_is_synced();
        self.model.bodies.push(body);
    }

    fn claim_and_settle(&mut self, name: &'static str, most: usize) {
        let claims = self.store().claim(self.id(name), most);
        for claim in claims {
            let sequence = claim.key.sequence;
            let sequences = claim.digest.map_or_else(|| vec![sequence], |digest| self.members(name, digest));
            assert_eq!(sequences.first(), Some(&sequence), "{}", self.story());
            let body =
                self.store().read(&claim).unwrap_or_else(|error| panic!("{sequence}: {error}\n{}", self.story()));
            assert_eq!(body.body, self.model.bodies[sequence as usize].as_bytes(), "{}", self.story());
            let attempts = claim.attempts + 1;
            let reason = format!("reason {}", self.log.len());
            let (settlement, state) = match self.dice.below(8) {
                0..=2 => (Settlement::Delivered { attempts }, Some(State::Settled)),
                3 | 4 => (Settlement::Dead { attempts, reason: reason.clone() }, Some(State::Dead(reason))),
                5 | 6 => {
                    let due_ms = if self.dice.below(2) == 0 { 5 } else { crate::time::wall_ms() + 3_600_000 };
                    (
                        Settlement::Scheduled { attempts, first_attempt_ms: 5, due_ms, reason },
                        Some(State::Scheduled(attempts)),
                    )
                }
                _ => (Settlement::Returned, None),
            };
            self.log.push(format!("settle {name} {sequences:?}: {settlement:?}"));
            self.store().settle(vec![(claim, settlement)]);
            if let Some(state) = state {
                sequences.into_iter().for_each(|sequence| self.model.set((name, sequence), state.clone()));
            }
        }
    }

    /// What is in a digest now.
    fn members(&self, name: &'static str, digest: DigestId) -> Vec<u64> {
        let destination = self.store().journal.destination(self.id(name));
        let queue = lock(&destination.queue);
        let members = queue.digest(digest).map(|digest| digest.members.iter_from(0).collect());
        members.unwrap_or_default()
    }

    /// Some of what waits is gathered in a window, which may be made a digest and offered, or left open; nothing is sorted after it.
    fn gather(&mut self) {
        let name = DESTINATIONS[self.dice.below(3) as usize];
        let id = self.id(name);
        let queue = self.store().queue(id);
        if let Some(digest) = queue.digests().into_iter().find(|_| self.dice.below(4) == 0) {
            self.log.push(format!("dissolve {digest:?} of {name}"));
            // They are plain deliveries again, without the attempts that were made at it.
            for sequence in self.members(name, digest.id) {
                self.model.set((name, sequence), State::Waiting);
            }
            queue.dissolve(digest.id);
        }
        queue.sort(true);
        let chosen: Vec<u64> =
            lock(&self.store().journal.destination(id).queue).unplaced(1 + self.dice.below(5) as usize);
        let key = GroupKey([self.dice.below(3) as u8; 16]);
        let head = WindowHead { key, address: 0, opened_ms: 5, ends_ms: 6, passed: self.dice.below(9) as u32 };
        let lanes: Vec<_> = chosen.iter().map(|sequence| (*sequence, Lane::Window(key))).collect();
        place(self.store(), id, vec![head], &lanes);
        self.log.push(format!("gather {chosen:?} of {name} in {key:?}"));
        if self.dice.below(4) > 0
            && let Some(digest) = wait(queue.end(vec![key])).expect("durable")
        {
            self.log.push(format!("closed as {digest:?}"));
            // That is synced, and all before it.
            self.model.all_is_synced();
            assert!(self.model.digests.insert(digest, (name, chosen.into_iter().collect())).is_none(), "an id twice");
            if self.dice.below(3) > 0 {
                queue.offer(digest);
            }
        }
        queue.sort(false);
    }

    /// All digests that there are, with their members.
    fn digests(&self) -> BTreeMap<DigestId, (&'static str, BTreeSet<u64>)> {
        let of_one = |name: &'static str| {
            let digests = self.store().queue(self.id(name)).digests().into_iter();
            digests.map(move |digest| (digest.id, (name, self.members(name, digest.id).into_iter().collect())))
        };
        DESTINATIONS.into_iter().flat_map(of_one).collect()
    }

    fn select(&mut self) {
        let name = DESTINATIONS[self.dice.below(3) as usize];
        let (act, reason) = match self.dice.below(4) {
            0 | 1 => (BulkAct::Redeliver, "again"),
            2 => (BulkAct::DeadLetter, "by hand"),
            _ => (BulkAct::Drop, "dropped"),
        };
        let destination = self.id(name);
        let history = self.store().history();
        let any = |key: &Key| *key == (name, key.1);
        let keys: Vec<Key> = self.model.now.keys().copied().filter(any).collect();
        let chosen: NumberSet = keys.iter().map(|key| key.1).filter(|_| self.dice.below(3) == 0).collect();
        let mut expected = 0;
        for sequence in chosen.iter_from(0) {
            let key = (name, sequence);
            let state = self.model.now[&key].clone();
            let is_pending = matches!(state, State::Waiting | State::Scheduled(_));
            let next = match act {
                // What is older than the history is there while somebody needs it.
                BulkAct::Redeliver if !is_pending && (history.contains(&sequence) || self.is_needed(sequence)) => {
                    Some(State::Waiting)
                }
                BulkAct::DeadLetter if is_pending => Some(State::Dead(reason.to_owned())),
                BulkAct::Drop if matches!(state, State::Dead(_)) => Some(State::Settled),
                _ => None,
            };
            if let Some(next) = next {
                expected += 1;
                self.model.set(key, next);
            }
        }
        self.log.push(format!("{act:?} {name} {:?}", chosen.iter_from(0).collect::<Vec<_>>()));
        let selection = Selection { destination, act, reason: reason.to_owned(), sequences: chosen };
        let (done, durable) = self.store().select(selection);
        durable.blocking_recv().expect("an answer").expect("done");
        assert_eq!(done, expected, "{}", self.story());
        if done > 0 {
            self.model.all_is_synced();
        }
    }

    fn is_needed(&self, sequence: u64) -> bool {
        let state = |name: &&'static str| self.model.now.get(&(*name, sequence));
        DESTINATIONS.iter().filter_map(state).any(|state| *state != State::Settled)
    }

    fn pause_or_resume(&mut self) {
        let name = DESTINATIONS[self.dice.below(3) as usize];
        if self.model.paused.remove(name) {
            assert!(self.store().resume(self.id(name)));
        } else {
            self.store().pause(self.id(name), "410");
            self.model.paused.insert(name);
        }
        self.log.push(format!("pause or resume {name}"));
        self.sync();
    }

    /// An acknowledged event for nobody makes everything before it durable.
    fn sync(&mut self) {
        let body = format!("for nobody {}", self.model.bodies.len());
        append(self.store(), &body, &[]).expect("taken");
        self.model.bodies.push(body);
        self.model.all_is_synced();
    }

    /// A copy of the index as the disk has it, while it is written to.
    fn copy_index(&mut self) {
        let to = self.directory.path().join(format!("copy {}", self.log.len()));
        copy_database(&self.index(), &to);
        self.log.push(format!("copy of the index {}", to.display()));
        self.copies.push(to);
    }

    fn restart(&mut self, is_clean: bool) {
        let digests = self.digests();
        if is_clean {
            self.store().close();
            self.model.all_is_synced();
        } else {
            let mut keeps: Vec<usize> = (0..5).map(|_| self.dice.below(1500) as usize).collect();
            keeps.push(0);
            let mut keeps = keeps.into_iter().cycle();
            let is_trimming = self.dice.below(2) == 0;
            let wait = Duration::from_micros(self.dice.below(3000));
            let store = self.store.take().expect("it is open");
            let after = std::thread::scope(|scope| {
                if is_trimming {
                    scope.spawn(|| store.trim());
                    // Anywhere in the middle of it.
                    std::thread::park_timeout(wait);
                }
                // The index first: it is never ahead of the journal.
                self.copy_index();
                self.disk.after_power_cut(|_| keeps.next().expect("it cycles"))
            });
            drop(store);
            self.disk = after;
            replace_database(&self.index(), self.copies.last().map(PathBuf::as_path));
            self.is_old_copy = true;
        }
        self.store = None;
        let what = self.dice.below(4);
        match what {
            0 => replace_database(&self.index(), None),
            1 if !self.copies.is_empty() => {
                let at = self.dice.below(self.copies.len() as u64) as usize;
                replace_database(&self.index(), Some(&self.copies[at]));
                self.is_old_copy = true;
                self.log.push(format!("index rolled back to {}", self.copies[at].display()));
            }
            _ => {}
        }
        self.log.push(format!("restart, clean: {is_clean}, index: {what}"));
        self.open();
        // One that was closed is there with the same members, unless it has lost some by what a power cut may have undone.
        let now = self.digests();
        assert!(!is_clean || now == digests, "{now:?} was {digests:?}\n{}", self.story());
        for (id, (name, members)) in now {
            let (of, closed) = self.model.digests.get(&id).expect("it was closed");
            assert!(*of == name && members.is_subset(closed), "{id:?} has {members:?}\n{}", self.story());
        }
        self.check();
    }

    fn check(&mut self) {
        let mut seen = BTreeMap::new();
        for name in DESTINATIONS {
            let id = self.id(name);
            let state = self.store().state(self.id(name));
            assert_eq!(state.paused.is_some(), self.model.paused.contains(name), "{name} {}", self.story());
            let dead = self.store().dead(id);
            for sequence in self.store().waiting(id).iter_from(0).chain(dead.iter_from(0)) {
                let key = DeliveryKey { sequence, destination: id };
                let state = match stands(self.store(), key) {
                    DeliveryState::Waiting => State::Waiting,
                    DeliveryState::Scheduled { attempts, .. } => State::Scheduled(attempts),
                    DeliveryState::Dead { reason, .. } => State::Dead(reason),
                    other => panic!("{name} {sequence} is {other:?}\n{}", self.story()),
                };
                assert!(seen.insert((name, sequence), state).is_none(), "{name} {sequence} twice\n{}", self.story());
                let event = self.store().event_by_number(sequence);
                let event = event.unwrap_or_else(|error| panic!("{name} {sequence}: {error}\n{}", self.story()));
                assert_eq!(event.body, self.model.bodies[sequence as usize].as_bytes(), "{}", self.story());
            }
            let counts = self.store().counts(id);
            assert_eq!(counts.backlog, self.store().waiting(id).len(), "{name}\n{}", self.story());
        }
        let may_expire = self.may_expire();
        for (key, possible) in &self.model.possible {
            let found = seen.remove(key).unwrap_or(State::Settled);
            let is_dropped = found == State::Settled && possible.iter().any(|state| matches!(state, State::Dead(_)));
            assert!(
                possible.contains(&found) || (is_dropped && may_expire),
                "{key:?} is {found:?}, may be {possible:?}\n{}",
                self.story()
            );
            self.model.now.insert(*key, found);
        }
        assert!(seen.is_empty(), "{seen:?} was never there\n{}", self.story());
        // The old end was written again and synced before anything was accepted.
        self.model.all_is_synced();
    }
}

fn copy_database(from: &Path, to: &Path) {
    let connection = rusqlite::Connection::open(from).expect("the index opens");
    connection.busy_timeout(Duration::from_secs(10)).expect("set");
    connection.execute("VACUUM INTO ?1", [to.display().to_string()]).expect("a copy");
}

fn replace_database(path: &Path, with: Option<&Path>) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    if let Some(with) = with {
        std::fs::copy(with, path).expect("a copy");
    }
}

#[test]
fn whatever_happens_every_delivery_is_where_the_model_has_it() {
    let seeds = seeds();
    let runs = seeds.end - seeds.start;
    let has_trimmed = each(seeds, |seed| {
        let mut run = Run::new(seed);
        let steps = 20 + run.dice.below(130);
        (0..steps).for_each(|_| run.step());
        run.restart(true);
        run.store().history().start > 0
    });
    let trimmed = has_trimmed.into_iter().filter(|has| *has).count() as u64;
    assert!(runs < 100 || trimmed > runs / 5, "history went in {trimmed} of {runs} runs only");
}

/// A directory in memory where there is one: the index is synced at each checkpoint, and no test here is about a real disk.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).expect("a directory")
}

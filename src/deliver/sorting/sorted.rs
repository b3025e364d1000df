//! What a sorter has ready for its worker, and shows of itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::windows::{GROUPS_MAX, Joins, Over};
use super::{Fold, Sorting, Windows};
use crate::destination::Digest;
use crate::store::{self, DigestId, GroupKey, WindowHead};

/// Between one destination's sorter, its worker, and whoever looks.
#[derive(Debug, Default)]
pub struct Sorted {
    inner: Mutex<Inner>,
    /// Until when it is quiet, 0 where it is not: the worker asks before each claim, and waits for no lock.
    quiet_until_ms: AtomicU64,
    /// Somebody wants windows to be over, or a digest to be looked at.
    told: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    windows: Windows,
    /// Digests that have been put together and are not settled.
    ready: HashMap<DigestId, Ready>,
    /// What is known of digests that are not settled.
    tried: HashMap<DigestId, Tried>,
    /// By which commands windows were wanted to be over, the newest last.
    commands: VecDeque<u128>,
}

/// So many commands of one destination are remembered, by this process alone: carried out again after a start, one ends what waits then.
const COMMANDS_MAX: usize = 64;

/// What this process knows of a digest: of one that was there at its start nothing, until it has been tried once more.
#[derive(Debug, Default)]
struct Tried {
    /// The windows that it was made of, without those of which another digest was taken since.
    keys: Vec<GroupKey>,
    last: Last,
    /// Attempts of this process at it that failed.
    fails: u32,
    /// It was not taken again when it was tried for the sake of its groups.
    is_suspect: bool,
}

/// What is over now.
#[derive(Debug)]
pub struct Looked {
    pub over: Vec<Over>,
    /// A group may wait for what becomes of a digest.
    pub waits: bool,
    /// These digests are to be tried now: by what becomes of them their groups go out with others or by themselves.
    pub doubted: Vec<DigestId>,
}

/// What is known of a group of which digests were not taken.
#[derive(Debug, Default)]
struct Apart {
    /// What becomes of one of these says soon whether it is for what is in it.
    waits: bool,
    /// How many of them tell of nothing else, and when the last of these was closed, unix milliseconds.
    alone: usize,
    closed_ms: u64,
}

impl Apart {
    /// Whether so many were not taken, and the last of them so lately, that it is not time for one more.
    fn has_enough(&self, now_ms: u64) -> bool {
        let beyond = self.alone.checked_sub(ALONE_MAX);
        beyond.is_some_and(|beyond| now_ms < self.closed_ms + closed_after(beyond).as_millis() as u64)
    }
}

/// With so many digests of one group that were not taken, it goes on collecting, and one more is closed only now and then: the room is for others,
/// and what comes later may be well.
pub const ALONE_MAX: usize = 4;
/// Where a digest that was not taken waits for another attempt, another one of its group is closed no sooner than this, at last: an hour of outage
/// is not a message for each window, and a digest that is never taken is not the only one that is ever tried.
pub const CLOSED_APART: Duration = Duration::from_secs(30 * 60);
/// The same for the first, and twice as long after each, up to that: it may be what is in them that is not taken, and not the other side that is
/// down.
pub const FIRST_CLOSED_AFTER: Duration = Duration::from_secs(2 * 60);

/// How long after the last of some digests that were not taken another is closed.
pub fn closed_after(count: usize) -> Duration {
    FIRST_CLOSED_AFTER.saturating_mul(1 << count.min(8)).min(CLOSED_APART)
}

/// What came of the last attempt at a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Unknown,
    /// It was not taken. It may be for what is in it.
    Failed { wants_time: bool },
    /// It was not taken, and is due so that it is seen whether that is for what is in it.
    Doubted,
    /// The other side wants nothing at all for a while, which says nothing of what is in it.
    Held,
}

/// A digest that has been put together.
#[derive(Debug)]
struct Ready {
    digest: Arc<Digest>,
    /// That of the section by which it was: by another it may say something else, or go elsewhere.
    fingerprint: String,
}

/// One open window, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownWindow {
    pub key: GroupKey,
    /// When it is over, unix milliseconds.
    pub ends_ms: u64,
    /// What its events have in common: the paths, and the values. None of the window that takes all others.
    pub values: Vec<(String, String)>,
    /// How many wait in it.
    pub count: u64,
    /// How many went out by themselves.
    pub passed: u32,
    /// When the first of those that wait arrived, unix milliseconds.
    pub since_ms: u64,
}

impl Sorted {
    /// Until when nothing but what is urgent goes out, by the wall clock in unix milliseconds; `None`: it is not quiet.
    pub fn quiet_until_ms(&self) -> Option<u64> {
        Some(self.quiet_until_ms.load(Ordering::Relaxed)).filter(|until_ms| *until_ms > 0)
    }

    pub(in crate::deliver) fn show_quiet(&self, until_ms: Option<u64>) {
        self.quiet_until_ms.store(until_ms.unwrap_or(0), Ordering::Relaxed);
    }

    /// A digest that has been put together by a section with this fingerprint.
    pub(in crate::deliver) fn digest(&self, id: DigestId, fingerprint: &str) -> Option<Arc<Digest>> {
        self.lock().ready.get(&id).filter(|ready| ready.fingerprint == fingerprint).map(|ready| ready.digest.clone())
    }

    pub(in crate::deliver) fn keep(&self, id: DigestId, digest: Arc<Digest>, fingerprint: &str) {
        self.lock().ready.insert(id, Ready { digest, fingerprint: fingerprint.to_owned() });
    }

    pub(in crate::deliver) fn forget_all_but(&self, is_kept: impl Fn(DigestId) -> bool) {
        let mut inner = self.lock();
        inner.ready.retain(|id, _| is_kept(*id));
        inner.tried.retain(|id, _| is_kept(*id));
    }

    /// A digest is made of these groups, by the section that there is.
    pub(in crate::deliver) fn made_of(&self, id: DigestId, keys: impl IntoIterator<Item = GroupKey>) {
        self.lock().tried.entry(id).or_default().keys = keys.into_iter().collect();
    }

    /// An attempt at a digest has failed: whether the other side has asked for a time before the next one, and whether for one before all that
    /// goes to it.
    pub(in crate::deliver) fn failed(&self, id: DigestId, wants_time: bool, holds_all: bool) {
        let mut inner = self.lock();
        let tried = inner.tried.entry(id).or_default();
        tried.fails += 1;
        let last = if wants_time && holds_all { Last::Held } else { Last::Failed { wants_time } };
        let was_doubted = std::mem::replace(&mut tried.last, last) == Last::Doubted;
        tried.is_suspect |= was_doubted && last != Last::Held;
    }

    /// A digest was taken: it is not for its groups that another was not.
    pub(in crate::deliver) fn delivered(&self, id: DigestId) {
        let mut inner = self.lock();
        let Some(Tried { keys: taken, .. }) = inner.tried.remove(&id) else { return };
        inner.tried.values_mut().for_each(|tried| tried.keys.retain(|key| !taken.contains(key)));
    }

    /// Whether a digest may be tried before its time.
    pub(in crate::deliver) fn may_hasten(&self, id: DigestId) -> bool {
        let last = self.lock().tried.get(&id).map(|tried| tried.last);
        !matches!(last, Some(Last::Failed { wants_time: true }))
    }

    /// Whether a digest was not taken for what is in it, as far as that is known: it says nothing of the other side.
    pub(in crate::deliver) fn is_suspect(&self, id: DigestId) -> bool {
        self.lock().tried.get(&id).is_some_and(|tried| tried.is_suspect)
    }

    /// Looks at the open windows, or changes them.
    pub(in crate::deliver) fn windows<T>(&self, with: impl FnOnce(&mut Windows) -> T) -> T {
        with(&mut self.lock().windows)
    }

    /// The window of a group, where one is open.
    pub fn window(&self, key: &GroupKey) -> Option<ShownWindow> {
        self.lock().windows.get(key).map(|(head, fold)| shown(head, fold))
    }

    /// The open windows in which something waits: how many, and the first to be over of them.
    pub fn waiting(&self, most: usize) -> (usize, Vec<ShownWindow>) {
        let inner = self.lock();
        let mut all: Vec<_> = inner.windows.iter().filter(|(_, fold)| fold.count > 0).collect();
        all.sort_by_key(|(head, fold)| (head.ends_ms, std::cmp::Reverse(fold.count), head.key));
        (all.len(), all.into_iter().take(most).map(|(head, fold)| shown(head, fold)).collect())
    }

    /// What waits in windows is to go out as soon as it can, though the other side may be down: they are over now. Returns how many deliveries
    /// that are, or nothing where a command with this id has done it before.
    pub fn end_now(&self, id: u128) -> Option<u64> {
        let mut inner = self.lock();
        if inner.commands.contains(&id) {
            return None;
        }
        if inner.commands.len() == COMMANDS_MAX {
            inner.commands.pop_front();
        }
        inner.commands.push_back(id);
        inner.windows.want_all();
        drop(inner);
        self.told.notify_one();
        Some(self.gathered())
    }

    /// What is over, by where it goes. A group of which a digest was not taken goes out by itself, so that what is in it makes no other wait, once
    /// that digest was not taken by another attempt either: `may_doubt` says whether one may be made for that. After [`ALONE_MAX`] such
    /// digests of it alone it goes out as [`closed_after`] has it, and when somebody wants it to. While the other side is down what goes out is a probe, for which one group is enough
    /// where nobody asks for more.
    pub(in crate::deliver) fn over(
        &self,
        now_ms: u64,
        is_down: bool,
        may_doubt: bool,
        digests: &[store::Digest],
    ) -> Looked {
        let inner = self.lock();
        let mut apart: HashMap<GroupKey, Apart> = HashMap::new();
        let mut doubted = Vec::new();
        let is_over = |key: &GroupKey| {
            inner.windows.get(key).is_some_and(|(head, fold)| head.ends_ms <= now_ms && fold.count > 0)
        };
        for digest in digests {
            let Some(Tried { keys, last, fails, is_suspect }) = inner.tried.get(&digest.id) else { continue };
            let wants_time = match *last {
                Last::Held => continue,
                Last::Failed { wants_time } => wants_time,
                // Before the start of this process it was not taken.
                Last::Unknown if digest.due_ms.is_some() => false,
                Last::Unknown => continue,
                Last::Doubted => false,
            };
            // Its own next attempt says whether it was for what is in it.
            if !may_doubt && !is_down && keys.len() > 1 && *fails < 2 {
                continue;
            }
            let is_due = digest.due_ms.is_none_or(|due_ms| due_ms <= now_ms);
            let is_doubtful = may_doubt && !is_down && !is_due && !wants_time && !is_suspect;
            if is_doubtful && keys.iter().any(is_over) {
                doubted.push(digest.id);
            }
            for key in keys {
                let of_key = apart.entry(*key).or_default();
                of_key.waits |= !is_down && is_due || is_doubtful;
                if keys.len() == 1 {
                    of_key.alone += 1;
                    of_key.closed_ms = of_key.closed_ms.max(digest.closed_ms);
                }
            }
        }
        let joins = |key: &GroupKey, is_wanted: bool| match apart.get(key) {
            None => Joins::Others,
            // That all fails says nothing of one.
            Some(_) if is_wanted => {
                if is_down {
                    Joins::Others
                } else {
                    Joins::None
                }
            }
            Some(of_key) if of_key.waits || of_key.has_enough(now_ms) => Joins::Later,
            Some(_) => Joins::None,
        };
        let most = if is_down { 1 } else { GROUPS_MAX };
        let mut over = inner.windows.over_by_address(now_ms, most, joins);
        if is_down {
            // Of a group of which one is tried already another says nothing more. Where nothing else waits, it may be what is in the one.
            let says_more = |(head, fold): (&WindowHead, &Fold)| {
                (fold.count > 0 && !apart.contains_key(&head.key)).then_some(head.address)
            };
            let better: HashSet<u64> = inner.windows.iter().filter_map(says_more).collect();
            over.retain(|over| over.is_wanted || !over.is_apart || !better.contains(&over.address));
        }
        Looked { over, waits: !apart.is_empty(), doubted }
    }

    /// A digest that was not taken is due now, to see whether it is for what is in it.
    pub(in crate::deliver) fn doubts(&self, id: DigestId) {
        self.lock().tried.entry(id).or_default().last = Last::Doubted;
    }

    /// Its worker has met a digest that cannot go out as it is.
    pub(in crate::deliver) fn look_again(&self) {
        self.told.notify_one();
    }

    /// Resolves when somebody wanted windows to be over, or a digest to be looked at.
    pub(in crate::deliver) async fn told(&self) {
        self.told.notified().await;
    }

    /// How many deliveries wait in windows.
    pub fn gathered(&self) -> u64 {
        self.lock().windows.iter().map(|(_, fold)| fold.count).sum()
    }

    /// What the next digest will tell of, as far as it is known, and when it goes out by the clock on the wall, where nothing else keeps it;
    /// `None`: nothing waits. What is over by then is one message, as far as it goes to one place: in quiet hours that is all.
    pub fn next(&self, sorting: &Sorting, wall_ms: u64) -> Option<(u64, Vec<Fold>)> {
        let inner = self.lock();
        let first_ms = inner.windows.iter().filter(|(_, fold)| fold.count > 0).map(|(head, _)| head.ends_ms).min()?;
        let at_ms = sorting.goes_out_ms(first_ms.max(wall_ms));
        let over = inner
            .windows
            .over_by_address(at_ms, GROUPS_MAX, |_, _| Joins::Others)
            .into_iter()
            .find(|over| over.told > 0)?;
        let folds = over.keys.iter().filter_map(|key| inner.windows.get(key)).map(|(_, fold)| fold.clone());
        Some((at_ms, folds.filter(|fold| fold.count > 0).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(head: &crate::store::WindowHead, fold: &Fold) -> ShownWindow {
    ShownWindow {
        key: head.key,
        ends_ms: head.ends_ms,
        values: fold.values.clone(),
        count: fold.count,
        passed: head.gone(),
        since_ms: fold.since_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::super::windows::Arrival;
    use super::super::{Gathering, Group, Quiet};
    use super::*;
    use crate::event::{EventId, FieldSetBuilder};

    const MINUTE_MS: u64 = 60_000;

    /// How many each group of the next digest counts, and when it goes out, in minutes. Events are of a group and an address, and came at a
    /// minute; quiet hours begin at one o'clock and end at two.
    #[track_caller]
    fn check(first: u32, events: &[(u8, u64, u64)], minute: u64, expected: Option<(u64, &[u64])>) {
        let every = Some(Duration::from_secs(15 * 60));
        let gathering = Gathering { every, by: Vec::new(), breakdown: None, first, examples: 5 };
        let quiet = Quiet { from: 60, to: 120, zone: jiff::tz::TimeZone::UTC, days: [true; 7] };
        let sorting = Sorting::new(FieldSetBuilder::default().build(), None, Some(gathering.clone()), Some(quiet));
        let sorted = Sorted::default();
        for (number, (name, address, minute)) in (0..).zip(events) {
            let group = Group { key: GroupKey([*name; 16]), values: Vec::new(), part: None };
            let now_ms = minute * MINUTE_MS;
            let event = EventId::mint(now_ms, 0, number);
            let arrival = Arrival { event, received_ms: now_ms, group: &group, address: *address };
            let is_quiet = sorting.goes_out_ms(now_ms) != now_ms;
            sorted.windows(|windows| windows.place(&gathering, arrival, now_ms, is_quiet));
        }
        let next = sorted.next(&sorting, minute * MINUTE_MS);
        let told =
            next.map(|(at_ms, folds)| (at_ms / MINUTE_MS, folds.iter().map(|fold| fold.count).collect::<Vec<_>>()));
        assert_eq!(told.as_ref().map(|(at, counts)| (*at, counts.as_slice())), expected, "{events:?}");
    }

    #[test]
    fn the_next_digest_is_what_ends_together() {
        check(0, &[], 1, None);
        check(1, &[(1, 0, 0)], 1, None);
        check(0, &[(1, 0, 0), (1, 0, 1), (2, 0, 5)], 6, Some((15, &[2])));
        check(0, &[(1, 0, 0), (2, 0, 5)], 30, Some((30, &[1, 1])));
        check(0, &[(1, 0, 0), (2, 9, 0), (3, 0, 0)], 30, Some((30, &[1, 1])));
        let mut many: Vec<_> = (0..20).map(|name| (name, 9, 0)).collect();
        many.extend([(100, 0, 1), (100, 0, 2), (101, 0, 1), (101, 0, 2)]);
        check(1, &many, 3, Some((16, &[2, 2])));
    }

    #[test]
    fn in_quiet_hours_the_next_digest_is_all_that_waits_for_their_end() {
        let late = [(1, 0, 50), (1, 0, 51), (2, 0, 52), (3, 0, 61), (4, 0, 90)];
        check(0, &late[..3], 53, Some((120, &[2, 1])));
        check(0, &late, 91, Some((120, &[1, 2, 1, 1])));
    }
}

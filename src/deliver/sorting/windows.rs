//! Which lane a delivery has, by what came before it; and what is known of those that wait in one window.
//!
//! The store keeps the heads of windows and who waits for what; here stands what follows from the config. A window that is over goes on
//! collecting until it is ended: its digest waits for quiet hours, a pause or the rate, and what comes meanwhile belongs to it. [`ahead`] says
//! what would become of an event.

mod ahead;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

pub use self::ahead::Ahead;
use super::{Gathering, Group, OTHERS};
use crate::event::EventId;
use crate::store::{GroupKey, Lane, WINDOWS_MAX, WindowHead};

/// So many events of all groups go out by themselves in the time of one window: a thousand groups with three each would be the flood again.
pub const FIRST_OF_ALL: usize = 20;
/// The values of the field that a group is broken down by, each counted; what has another is counted together.
pub const PARTS_MAX: usize = 20;
/// A window that ends so soon after one that is over goes out with it: where groups begin within a second, each would be a message otherwise.
pub const JOINS_WITHIN_MS: u64 = 1_000;
/// Groups that one message tells of. What is over besides goes into the next.
pub const GROUPS_MAX: usize = 20;

/// The open windows of one destination.
#[derive(Debug, Default)]
pub struct Windows {
    open: HashMap<GroupKey, Open>,
    by_end: BTreeSet<(u64, GroupKey)>,
    /// Heads that the store has not been told of.
    changed: BTreeSet<GroupKey>,
    /// When events went out by themselves, the latest of them.
    passed: VecDeque<u64>,
    /// What waited before is over by then, unix milliseconds, whichever window it comes to lie in: when the first of those was to end that it
    /// may have lain in.
    promised_ms: Option<u64>,
}

#[derive(Debug)]
struct Open {
    head: WindowHead,
    fold: Fold,
    /// Somebody wants to have out what waits in it, whatever else there is to say against it.
    is_wanted: bool,
}

impl Open {
    fn of(head: WindowHead) -> Self {
        Self { head, fold: Fold::default(), is_wanted: false }
    }
}

/// What is known of the deliveries that wait in one window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// The paths that make the group, and what its events have there.
    pub values: Vec<(String, String)>,
    pub count: u64,
    /// When the first and the last of them arrived, unix milliseconds.
    pub since_ms: u64,
    pub until_ms: u64,
    /// How many have which value in the field that the group is broken down by.
    pub parts: Vec<(String, u64)>,
    /// How many have a value beyond [`PARTS_MAX`].
    pub other_parts: u64,
    /// Read again in their order, its events may tell something else: they were looked at in another one, or are of several groups.
    pub reads_differently: bool,
    /// The greatest number of those that were looked at.
    latest: u64,
    /// The first and the last of them, by number.
    first: BTreeMap<u64, EventId>,
    last: BTreeMap<u64, EventId>,
}

/// Windows that are over and may go out as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    pub address: u64,
    pub keys: Vec<GroupKey>,
    /// In so many of them something waits.
    pub told: usize,
    /// It is one that goes out by itself.
    pub is_apart: bool,
    /// Somebody wants to have it out.
    pub is_wanted: bool,
}

/// Whether a window that is over goes out with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    Others,
    /// By itself: a message that told of its group among others was not taken, and it may be for what is in it.
    None,
    /// Not yet.
    Later,
}

/// An event that is to be given a lane.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub event: EventId,
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    pub group: &'a Group,
    /// Where it goes, where that depends on the event; else 0.
    pub address: u64,
}

impl Windows {
    /// Those that the store knows, none of which is longer than `every` from here on. What waits in them is to be told anew.
    pub fn known(heads: impl IntoIterator<Item = WindowHead>, every: Option<Duration>) -> Self {
        let mut windows = Self::default();
        for head in heads {
            windows.by_end.insert((head.ends_ms, head.key));
            windows.open.insert(head.key, Open::of(head));
        }
        windows.shorten(every);
        windows.promised_ms = windows.next_end_ms();
        // No later than they did: a window says how many, and not when.
        let heads = windows.open.values().map(|open| open.head);
        let passed =
            heads.flat_map(|head| std::iter::repeat_n(head.opened_ms, (head.gone() as usize).min(FIRST_OF_ALL)));
        let mut passed: Vec<u64> = passed.collect();
        passed.sort_unstable();
        windows.passed = passed.split_off(passed.len().saturating_sub(FIRST_OF_ALL)).into();
        windows
    }

    /// All that waited before lies in its window: what comes from here on was promised nothing.
    pub fn keep_no_promise(&mut self) {
        self.promised_ms = None;
    }

    /// Windows came over from another destination. One that is open here as well is over when the first of the two was to be, and as many
    /// have gone out by themselves as of the one that had more.
    pub fn take_in(&mut self, heads: impl IntoIterator<Item = WindowHead>) {
        for head in heads {
            let key = head.key;
            let Some(Open { head: known, .. }) = self.open.get_mut(&key) else {
                self.by_end.insert((head.ends_ms, key));
                self.open.insert(key, Open::of(head));
                continue;
            };
            let both = WindowHead {
                opened_ms: known.opened_ms.min(head.opened_ms),
                ends_ms: known.ends_ms.min(head.ends_ms),
                passed: known.gone().max(head.gone()) | (known.passed | head.passed) & WindowHead::NO_MORE,
                ..head
            };
            self.by_end.remove(&(known.ends_ms, key));
            self.by_end.insert((both.ends_ms, key));
            *known = both;
            if both != head {
                self.changed.insert(key);
            }
        }
    }

    /// The lane of a delivery that is not urgent.
    pub fn place(&mut self, gathering: &Gathering, arrival: Arrival<'_>, now_ms: u64, is_quiet: bool) -> Lane {
        let Some(key) = self.window_of(gathering, (arrival.group.key, arrival.address), is_quiet) else {
            return Lane::Ready;
        };
        if !self.open.contains_key(&key) {
            let ends_ms = self.end_of_one(gathering, now_ms, is_quiet);
            let head = WindowHead { key, address: arrival.address, opened_ms: now_ms, ends_ms, passed: 0 };
            self.by_end.insert((ends_ms, key));
            self.changed.insert(key);
            self.open.insert(key, Open::of(head));
        }
        let may_pass = !is_quiet && self.may_one_pass(gathering, now_ms);
        let Some(Open { head, fold, .. }) = self.open.get_mut(&key) else { return Lane::Ready };
        if may_pass && head.passed < gathering.first {
            head.passed += 1;
            self.changed.insert(key);
            self.passed.push_back(now_ms);
            return Lane::Ready;
        }
        if head.passed & WindowHead::NO_MORE == 0 {
            head.passed |= WindowHead::NO_MORE;
            self.changed.insert(key);
        }
        let is_others = key == OTHERS;
        let values = if is_others { &[][..] } else { &arrival.group.values };
        let part = arrival.group.part.as_deref().filter(|_| !is_others);
        fold.add(&arrival, values, part, gathering.examples);
        fold.reads_differently |= is_others;
        Lane::Window(key)
    }

    /// The window that an event of a group belongs to, open or not; `None`: nothing gathers it.
    fn window_of(&self, gathering: &Gathering, (key, address): (GroupKey, u64), is_quiet: bool) -> Option<GroupKey> {
        if self.open.contains_key(&key) {
            return Some(key);
        }
        // What quiet hours have left collects on until it goes out.
        if gathering.every.is_none() && !is_quiet {
            return None;
        }
        match self.open.len() + 1 {
            // One window takes all others, where they go to one place: the last one that there is room for.
            WINDOWS_MAX if address == 0 => Some(OTHERS),
            ..=WINDOWS_MAX => Some(key),
            _ => (address == 0 && self.open.contains_key(&OTHERS)).then_some(OTHERS),
        }
    }

    /// When a window is over that is opened now.
    fn end_of_one(&self, gathering: &Gathering, now_ms: u64, is_quiet: bool) -> u64 {
        let ends_ms = if is_quiet { now_ms } else { now_ms + every_ms(gathering) };
        self.promised_ms.map_or(ends_ms, |promised_ms| ends_ms.min(promised_ms))
    }

    /// Whether not too many have gone out by themselves already.
    fn may_one_pass(&mut self, gathering: &Gathering, now_ms: u64) -> bool {
        let every_ms = every_ms(gathering);
        while self.passed.front().is_some_and(|passed_ms| passed_ms + every_ms <= now_ms) {
            self.passed.pop_front();
        }
        self.passed.len() < FIRST_OF_ALL
    }

    /// Heads that have changed since the last time.
    pub fn take_changed(&mut self) -> Vec<WindowHead> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| Some(self.open.get(&key)?.head)).collect()
    }

    /// When the first window is over, unix milliseconds.
    pub fn next_end_ms(&self) -> Option<u64> {
        self.by_end.first().map(|(ends_ms, _)| *ends_ms)
    }

    /// The same of those that are not over yet.
    pub fn next_end_after_ms(&self, now_ms: u64) -> Option<u64> {
        let later = self.by_end.range((now_ms.saturating_add(1), GroupKey([0; 16]))..);
        later.map(|(ends_ms, _)| *ends_ms).next()
    }

    /// What is over and goes to one place, as [`Self::over_by_address`] has it: the place of the window that was over first.
    pub fn over(&self, now_ms: u64, most: usize) -> Vec<GroupKey> {
        let over = self.over_by_address(now_ms, most, |_, _| Joins::Others);
        over.into_iter().next().map(|over| over.keys).unwrap_or_default()
    }

    /// What is over, by where it goes, with what is over within [`JOINS_WITHIN_MS`]: for each address at most so many windows in which something
    /// waits, the one that was over first before the others, and every one in which nothing waits, of which nobody is told. What somebody
    /// wants to have out comes first, as many as there may be at once. `joins` is told of each whether that is so.
    pub fn over_by_address(&self, now_ms: u64, most: usize, joins: impl Fn(&GroupKey, bool) -> Joins) -> Vec<Over> {
        let mut all: Vec<Over> = Vec::new();
        let mut known: HashMap<(u64, bool), usize> = HashMap::new();
        let soon_ms = now_ms.saturating_add(JOINS_WITHIN_MS);
        for (ends_ms, key) in self.by_end.iter().take_while(|(ends_ms, _)| *ends_ms <= soon_ms) {
            let Some(Open { head, fold, is_wanted }) = self.open.get(key) else { continue };
            let is_told = fold.count > 0;
            let is_wanted = is_told && *is_wanted;
            let new = |is_apart| Over { address: head.address, keys: Vec::new(), told: 0, is_apart, is_wanted };
            match joins(key, is_wanted) {
                Joins::Later if is_told => continue,
                Joins::None if is_told => {
                    if *ends_ms <= now_ms {
                        all.push(Over { keys: vec![*key], told: 1, ..new(true) });
                    }
                    continue;
                }
                Joins::Others | Joins::None | Joins::Later => {}
            }
            if *ends_ms > now_ms && !known.contains_key(&(head.address, is_wanted)) {
                continue;
            }
            let at = *known.entry((head.address, is_wanted)).or_insert(all.len());
            if at == all.len() {
                all.push(new(false));
            }
            let over = &mut all[at];
            let most = if is_wanted { GROUPS_MAX } else { most };
            if !is_told {
                over.keys.push(*key);
            } else if over.told < most {
                over.keys.push(*key);
                over.told += 1;
            }
        }
        all.sort_by_key(|over| !over.is_wanted);
        all
    }

    /// Windows are no more: returns what waited in them.
    pub fn end(&mut self, keys: &[GroupKey]) -> Vec<Fold> {
        let ended = keys.iter().filter_map(|key| {
            let Open { head, fold, .. } = self.open.remove(key)?;
            self.by_end.remove(&(head.ends_ms, *key));
            self.changed.remove(key);
            (fold.count > 0).then_some(fold)
        });
        ended.collect()
    }

    /// Somebody wants to have out what waits: it is over now.
    pub fn want_all(&mut self) {
        self.shorten(None);
        self.open.values_mut().for_each(|open| open.is_wanted = true);
    }

    /// No window is longer than this from here on: what the config says is shorter now.
    pub fn shorten(&mut self, every: Option<Duration>) {
        let every_ms = every.unwrap_or_default().as_millis() as u64;
        self.by_end.clear();
        for (key, Open { head, .. }) in &mut self.open {
            let ends_ms = head.ends_ms.min(head.opened_ms + every_ms);
            if std::mem::replace(&mut head.ends_ms, ends_ms) != ends_ms {
                self.changed.insert(*key);
            }
            self.by_end.insert((head.ends_ms, *key));
        }
    }

    /// The open windows with what waits in them.
    pub fn iter(&self) -> impl Iterator<Item = (&WindowHead, &Fold)> {
        self.open.values().map(|open| (&open.head, &open.fold))
    }

    /// The window of a group, where one is open, with what waits in it.
    pub fn get(&self, key: &GroupKey) -> Option<(&WindowHead, &Fold)> {
        self.open.get(key).map(|open| (&open.head, &open.fold))
    }
}

fn every_ms(gathering: &Gathering) -> u64 {
    gathering.every.unwrap_or_default().as_millis() as u64
}

impl Fold {
    /// One more waits. `examples` are kept, half of them the first and half the last.
    pub fn add(&mut self, arrival: &Arrival<'_>, values: &[(String, String)], part: Option<&str>, examples: usize) {
        let Arrival { event, received_ms, .. } = *arrival;
        if self.count == 0 {
            self.values = values.to_vec();
            self.since_ms = received_ms;
        }
        self.count += 1;
        self.since_ms = self.since_ms.min(received_ms);
        self.until_ms = self.until_ms.max(received_ms);
        if let Some(part) = part {
            let known = self.parts.iter().position(|(known, _)| known == part);
            match known {
                Some(at) => self.parts[at].1 += 1,
                None if self.parts.len() < PARTS_MAX => self.parts.push((part.to_owned(), 1)),
                None => self.other_parts += 1,
            }
        }
        self.reads_differently |= event.sequence() < self.latest;
        self.latest = self.latest.max(event.sequence());
        self.first.insert(event.sequence(), event);
        if self.first.len() > examples - examples / 2 {
            self.last.extend(self.first.pop_last());
        }
        if self.last.len() > examples / 2 {
            self.last.pop_first();
        }
    }

    /// Two groups told of as one, which has no name.
    pub fn with(mut self, other: Self) -> Self {
        self.first.extend(other.first);
        self.last.extend(other.last);
        Self {
            count: self.count + other.count,
            since_ms: self.since_ms.min(other.since_ms),
            until_ms: self.until_ms.max(other.until_ms),
            first: self.first,
            last: self.last,
            ..Self::default()
        }
    }

    /// The number of its first event.
    pub fn first_number(&self) -> Option<u64> {
        self.first.keys().next().copied()
    }

    /// At most so many of its events, the first and the last of them, in order.
    pub fn examples(&self, most: usize) -> Vec<EventId> {
        let known: Vec<EventId> = self.first.values().chain(self.last.values()).copied().collect();
        if known.len() <= most {
            return known;
        }
        let first = &known[..most - most / 2];
        [first, &known[known.len() - most / 2..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn gathering(first: u32) -> Gathering {
        let every = Some(Duration::from_secs(15 * 60));
        Gathering { every, by: Vec::new(), breakdown: None, first, examples: 4 }
    }

    fn group(name: u64) -> Group {
        let values = vec![("type".to_owned(), name.to_string())];
        Group {
            key: GroupKey([name.to_be_bytes(), [1; 8]].concat().try_into().expect("16 bytes")),
            values,
            part: Some(format!("part {name}")),
        }
    }

    /// Places an event of a group, and returns its lane.
    fn place(windows: &mut Windows, gathering: &Gathering, (sequence, name): (u64, u64), now_ms: u64) -> Lane {
        place_at(windows, gathering, (sequence, name, 0), now_ms, false)
    }

    fn place_at(
        windows: &mut Windows,
        gathering: &Gathering,
        (sequence, name, address): (u64, u64, u64),
        now_ms: u64,
        is_quiet: bool,
    ) -> Lane {
        let group = group(name);
        let event = EventId::mint(now_ms, 0, sequence);
        let arrival = Arrival { event, received_ms: now_ms, group: &group, address };
        windows.place(gathering, arrival, now_ms, is_quiet)
    }

    #[test]
    fn the_first_of_a_window_go_by_themselves_and_the_rest_waits() {
        let mut windows = Windows::default();
        let gathering = gathering(2);
        let key = group(1).key;
        assert_eq!(place(&mut windows, &gathering, (1, 1), 0), Lane::Ready);
        assert_eq!(place(&mut windows, &gathering, (2, 1), 0), Lane::Ready);
        assert_eq!(place(&mut windows, &gathering, (3, 1), 5), Lane::Window(key));
        assert_eq!(place(&mut windows, &gathering, (4, 2), 5), Lane::Ready, "another group");
        let heads = windows.take_changed();
        assert_eq!(heads.len(), 2);
        let head = heads.iter().find(|head| head.key == key).expect("its head");
        assert_eq!((head.opened_ms, head.ends_ms, head.passed), (0, 15 * MINUTE_MS, 2 | WindowHead::NO_MORE));
        assert!(windows.take_changed().is_empty());
        assert_eq!(windows.over(15 * MINUTE_MS - 1, GROUPS_MAX), []);
        assert_eq!(windows.over(15 * MINUTE_MS, GROUPS_MAX), [key, group(2).key], "with the one that ends 5 ms later");
        let ended = windows.end(&[key]);
        assert_eq!(ended.iter().map(|fold| fold.count).collect::<Vec<_>>(), [1]);
        assert_eq!(place(&mut windows, &gathering, (5, 1), 16 * MINUTE_MS), Lane::Ready, "a new window");
    }

    #[test]
    fn who_waits_is_overtaken_by_nobody_of_its_group() {
        let gathering = gathering(3);
        let mut windows = Windows::default();
        let key = group(1).key;
        assert_eq!(place_at(&mut windows, &gathering, (1, 1, 0), 0, true), Lane::Window(key), "it is quiet");
        assert_eq!(place(&mut windows, &gathering, (2, 1), 1), Lane::Window(key));
        let heads = windows.take_changed();
        assert_eq!((heads[0].ends_ms, heads[0].gone()), (0, 0), "it ends with the quiet hours");
        let mut after_a_restart = Windows::known(heads, gathering.every);
        assert_eq!(place(&mut after_a_restart, &gathering, (2, 1), 2), Lane::Window(key));
        assert_eq!(after_a_restart.over(2, GROUPS_MAX), [key]);
        let more = self::gathering(9);
        assert_eq!(place(&mut after_a_restart, &more, (3, 1), 3), Lane::Window(key), "nor where more may go first now");
    }

    #[test]
    fn what_waited_at_night_has_not_gone_by_itself_whatever_comes_after_a_restart() {
        let gathering = gathering(3);
        let mut windows = Windows::default();
        for name in 0..FIRST_OF_ALL as u64 {
            place_at(&mut windows, &gathering, (name, name, 0), 0, true);
        }
        let mut after_a_restart = Windows::known(windows.take_changed(), gathering.every);
        for number in 0..3 {
            assert_eq!(place(&mut after_a_restart, &gathering, (100 + number, 99), 1), Lane::Ready, "of a new group");
        }
        assert!(matches!(place(&mut after_a_restart, &gathering, (103, 99), 1), Lane::Window(_)));
    }

    #[test]
    fn where_only_quiet_hours_gather_what_they_left_collects_on_until_it_goes_out() {
        let nights = Gathering { every: None, ..gathering(0) };
        let mut windows = Windows::default();
        let key = group(1).key;
        assert_eq!(place(&mut windows, &nights, (1, 1), 0), Lane::Ready);
        assert_eq!(place_at(&mut windows, &nights, (2, 1, 0), 1, true), Lane::Window(key));
        assert_eq!(place(&mut windows, &nights, (3, 1), 2), Lane::Window(key));
        assert_eq!(place(&mut windows, &nights, (4, 2), 2), Lane::Ready, "another group");
        assert_eq!(windows.end(&windows.over(2, GROUPS_MAX)).iter().map(|fold| fold.count).sum::<u64>(), 2);
        assert_eq!(place(&mut windows, &nights, (5, 1), 3), Lane::Ready);
    }

    #[test]
    fn a_window_that_is_over_collects_on_until_it_is_ended() {
        let gathering = gathering(0);
        let mut windows = Windows::default();
        let key = group(1).key;
        place(&mut windows, &gathering, (1, 1), 0);
        assert_eq!(place(&mut windows, &gathering, (2, 1), 99 * MINUTE_MS), Lane::Window(key));
        assert_eq!(
            windows.end(&windows.over(99 * MINUTE_MS, GROUPS_MAX)).iter().map(|fold| fold.count).sum::<u64>(),
            2
        );
        assert_eq!(windows.next_end_ms(), None);
    }

    #[test]
    fn not_all_groups_together_send_more_than_a_few_by_themselves() {
        let gathering = gathering(3);
        let mut windows = Windows::default();
        let lanes = |windows: &mut Windows, now_ms: u64, names: std::ops::Range<u64>| {
            let lanes = names.map(|name| place(windows, &gathering, (name, name), now_ms));
            lanes.filter(|lane| *lane == Lane::Ready).count()
        };
        assert_eq!(lanes(&mut windows, 0, 0..50), FIRST_OF_ALL);
        assert_eq!(lanes(&mut windows, 15 * MINUTE_MS - 1, 100..110), 0);
        assert_eq!(lanes(&mut windows, 15 * MINUTE_MS, 200..210), 10);
    }

    #[test]
    fn nor_do_they_after_a_restart() {
        let gathering = gathering(3);
        let mut before = Windows::default();
        for name in 0..FIRST_OF_ALL as u64 - 1 {
            place(&mut before, &gathering, (name, name), 0);
        }
        let mut windows = Windows::known(before.take_changed(), gathering.every);
        let lanes = [(100, 1), (101, 1), (102, 15 * MINUTE_MS)];
        let lanes = lanes.map(|(name, now_ms)| place(&mut windows, &gathering, (name, name), now_ms) == Lane::Ready);
        assert_eq!(lanes, [true, false, true]);
    }

    #[test]
    fn beyond_so_many_windows_one_takes_all_others_of_one_place() {
        let gathering = gathering(0);
        let mut windows = Windows::default();
        let most = WINDOWS_MAX as u64;
        for name in 0..most - 1 {
            assert_eq!(place(&mut windows, &gathering, (name, name), 0), Lane::Window(group(name).key));
        }
        for name in most..most + 3 {
            assert_eq!(place(&mut windows, &gathering, (name, name), 0), Lane::Window(OTHERS), "{name}");
        }
        assert_eq!(windows.iter().count(), WINDOWS_MAX);
        let (_, others) = windows.get(&OTHERS).expect("it is open");
        assert!(others.reads_differently);
        assert_eq!((others.count, others.values.len(), others.parts.len()), (3, 0, 0));
        assert_eq!(place(&mut windows, &gathering, (7, 7), 0), Lane::Window(group(7).key), "one that is open");
        let elsewhere = place_at(&mut windows, &gathering, (most + 9, most + 9, 5), 0, false);
        assert_eq!(elsewhere, Lane::Ready, "no message goes to two places");
    }

    #[test]
    fn windows_that_go_to_one_place_end_together_and_not_too_many() {
        let gathering = gathering(0);
        let mut windows = Windows::default();
        for name in 0..30 {
            place_at(&mut windows, &gathering, (name, name, name % 2), name, false);
        }
        let over = windows.over(15 * MINUTE_MS + 29, GROUPS_MAX);
        assert_eq!(over, (0..30).step_by(2).map(|name| group(name).key).collect::<Vec<_>>());
        for name in 100..150 {
            place_at(&mut windows, &gathering, (name, name, 0), 29, false);
        }
        assert_eq!(windows.over(15 * MINUTE_MS + 29, GROUPS_MAX).len(), GROUPS_MAX);
    }

    #[test]
    fn a_window_in_which_nothing_waits_takes_no_groups_place_in_a_message() {
        let gathering = gathering(1);
        let mut windows = Windows::default();
        let empty = FIRST_OF_ALL as u64;
        for name in 0..empty {
            let lane = place(&mut windows, &gathering, (name, name), name);
            assert_eq!(lane, Lane::Ready, "it goes out by itself, and nothing waits in its window");
        }
        for name in empty..empty + GROUPS_MAX as u64 + 1 {
            place(&mut windows, &gathering, (name, name), 99);
        }
        let over = windows.over(15 * MINUTE_MS + 99, GROUPS_MAX);
        assert_eq!(over.len(), FIRST_OF_ALL + GROUPS_MAX, "with all in which nothing waits");
        assert_eq!(windows.end(&over).len(), GROUPS_MAX);
        assert_eq!(windows.over(15 * MINUTE_MS + 99, GROUPS_MAX), [group(empty + GROUPS_MAX as u64).key]);
    }

    #[test]
    fn a_shorter_window_ends_sooner_and_a_longer_one_as_it_was_said() {
        let mut windows = Windows::default();
        place(&mut windows, &gathering(0), (1, 1), 1_000);
        windows.take_changed();
        windows.shorten(Some(Duration::from_secs(60 * 60)));
        assert_eq!((windows.next_end_ms(), windows.take_changed().len()), (Some(1_000 + 15 * MINUTE_MS), 0));
        windows.shorten(Some(Duration::from_secs(60)));
        assert_eq!((windows.next_end_ms(), windows.take_changed().len()), (Some(1_000 + MINUTE_MS), 1));
        windows.shorten(None);
        assert_eq!(windows.next_end_ms(), Some(1_000));
    }

    #[test]
    fn what_waited_before_is_over_no_later_than_it_was_promised_whichever_window_it_comes_to_lie_in() {
        let gathering = gathering(0);
        let mut before = Windows::default();
        place(&mut before, &gathering, (1, 1), 1_000);
        place(&mut before, &gathering, (2, 2), 9_000);
        let promised_ms = 1_000 + 15 * MINUTE_MS;
        let mut windows = Windows::known(before.take_changed(), gathering.every);
        place(&mut windows, &gathering, (1, 7), 60_000);
        assert_eq!(windows.get(&group(7).key).map(|(head, _)| head.ends_ms), Some(promised_ms));
        // Said again and again it is no later.
        let heads: Vec<WindowHead> = windows.iter().map(|(head, _)| *head).collect();
        let mut windows = Windows::known(heads, gathering.every);
        place(&mut windows, &gathering, (1, 8), 70_000);
        assert_eq!(windows.get(&group(8).key).map(|(head, _)| head.ends_ms), Some(promised_ms));
        windows.keep_no_promise();
        place(&mut windows, &gathering, (3, 9), 70_000);
        assert_eq!(windows.get(&group(9).key).map(|(head, _)| head.ends_ms), Some(70_000 + 15 * MINUTE_MS));
    }

    #[test]
    fn windows_that_come_over_end_when_they_were_to_and_one_that_is_open_here_too_by_the_sooner() {
        let gathering = gathering(2);
        let mut windows = Windows::default();
        place(&mut windows, &gathering, (1, 1), 1_000);
        windows.take_changed();
        let there = |name: u64, ends_ms, passed| WindowHead {
            key: group(name).key,
            address: 0,
            opened_ms: 500,
            ends_ms,
            passed,
        };
        windows.take_in([there(1, 30_000, 0), there(2, 40_000, 2)]);
        assert_eq!((windows.next_end_ms(), windows.next_end_after_ms(30_000)), (Some(30_000), Some(40_000)));
        assert_eq!(windows.take_changed(), [WindowHead { passed: 1, ..there(1, 30_000, 0) }], "what both come to");
        assert_eq!(
            place(&mut windows, &gathering, (5, 2), 2_000),
            Lane::Window(group(2).key),
            "its first have gone out"
        );
        windows.take_in([there(1, 99_000, 1)]);
        assert_eq!((windows.next_end_ms(), windows.take_changed().len()), (Some(30_000), 2));
        assert_eq!(windows.over(30_000, GROUPS_MAX), [group(1).key]);
    }

    #[test]
    fn what_is_over_a_moment_later_goes_with_what_is_over() {
        let gathering = gathering(0);
        let mut windows = Windows::default();
        for (name, opened_ms) in [(1, 0), (2, JOINS_WITHIN_MS), (3, JOINS_WITHIN_MS + 1)] {
            place(&mut windows, &gathering, (name, name), opened_ms);
        }
        let over = |now_ms| windows.over(15 * MINUTE_MS + now_ms, GROUPS_MAX);
        let key = |name| group(name).key;
        assert!(windows.over(15 * MINUTE_MS - 1, GROUPS_MAX).is_empty(), "nothing by itself before its end");
        assert_eq!(over(0), [key(1), key(2)]);
        assert_eq!(over(1), [key(1), key(2), key(3)]);
    }

    #[test]
    fn what_is_over_is_told_by_where_it_goes() {
        let gathering = gathering(0);
        let mut windows = Windows::default();
        for (name, address) in [(1, 7), (2, 8), (3, 7), (4, 9)] {
            place_at(&mut windows, &gathering, (name, name, address), name, false);
        }
        let over = |most| -> Vec<(u64, Vec<GroupKey>)> {
            let over = windows.over_by_address(15 * MINUTE_MS + 3, most, |_, _| Joins::Others);
            over.into_iter().map(|over| (over.address, over.keys)).collect()
        };
        let key = |name| group(name).key;
        assert_eq!(over(20), [(7, vec![key(1), key(3)]), (8, vec![key(2)])]);
        assert_eq!(over(1), [(7, vec![key(1)]), (8, vec![key(2)])]);
    }

    #[test]
    fn what_may_not_be_taken_goes_by_itself_in_its_turn_and_what_is_wanted_first() {
        let gathering = gathering(0);
        let mut windows = Windows::default();
        for name in 1..=3 {
            place(&mut windows, &gathering, (name, name), 0);
        }
        windows.want_all();
        for name in 4..=8 {
            place(&mut windows, &gathering, (name, name), 0);
        }
        let key = |name| group(name).key;
        let joins = |at: &GroupKey, is_wanted: bool| {
            assert_eq!(is_wanted, [key(1), key(2), key(3)].contains(at));
            match at {
                at if [key(2), key(4), key(7)].contains(at) => Joins::None,
                at if [key(3), key(6)].contains(at) => Joins::Later,
                _ => Joins::Others,
            }
        };
        let told = |over: Over| (over.keys, over.is_apart, over.is_wanted);
        let over =
            |most| -> Vec<_> { windows.over_by_address(15 * MINUTE_MS, most, joins).into_iter().map(told).collect() };
        let all = |rest: Vec<GroupKey>| {
            vec![
                (vec![key(1)], false, true),
                (vec![key(2)], true, true),
                (vec![key(4)], true, false),
                (rest, false, false),
                (vec![key(7)], true, false),
            ]
        };
        assert_eq!(over(20), all(vec![key(5), key(8)]));
        assert_eq!(over(1), all(vec![key(5)]));
    }

    #[test]
    fn of_many_the_first_and_the_last_are_kept_whatever_order_they_come_in() {
        let fold_of = |sequences: &mut dyn Iterator<Item = u64>| {
            let mut fold = Fold::default();
            for sequence in sequences {
                let group = group(sequence % 3);
                let event = EventId::mint(sequence, 0, sequence);
                let arrival = Arrival { event, received_ms: sequence, group: &group, address: 0 };
                fold.add(&arrival, &group.values, group.part.as_deref(), 5);
            }
            fold
        };
        let fold = fold_of(&mut (10..110));
        let sequences = |most| fold.examples(most).iter().map(|event| event.sequence()).collect::<Vec<_>>();
        assert_eq!(sequences(5), [10, 11, 12, 108, 109]);
        assert_eq!(sequences(3), [10, 11, 109]);
        assert_eq!(sequences(1), [10]);
        assert_eq!((fold.count, fold.since_ms, fold.until_ms), (100, 10, 109));
        assert_eq!(fold.parts.iter().map(|(_, count)| count).sum::<u64>(), 100);
        let backwards = fold_of(&mut (10..110).rev());
        assert_eq!(backwards.examples(5), fold.examples(5));
        assert_eq!((backwards.since_ms, backwards.until_ms), (10, 109));
        let few = fold_of(&mut [7, 3, 5].into_iter());
        assert_eq!(few.examples(5).iter().map(|event| event.sequence()).collect::<Vec<_>>(), [3, 5, 7]);
        let twice = fold_of(&mut (1..9).chain(1..9));
        assert_eq!(twice.examples(9).iter().map(|event| event.sequence()).collect::<Vec<_>>(), [1, 2, 3, 7, 8]);
    }

    #[test]
    fn what_reads_in_its_order_as_it_was_looked_at_is_known() {
        let reads_differently = |sequences: &[u64], examples: usize| {
            let gathering = Gathering { examples, ..gathering(0) };
            let mut windows = Windows::default();
            for sequence in sequences {
                place(&mut windows, &gathering, (*sequence, 1), 0);
            }
            windows.end(&[group(1).key])[0].reads_differently
        };
        for examples in [1, 2, 50] {
            assert!(!reads_differently(&[0, 1, 5, 9], examples));
            assert!(reads_differently(&[0, 5, 1, 9], examples));
        }
    }

    #[test]
    fn parts_beyond_the_limit_are_counted_together() {
        let mut fold = Fold::default();
        for part in 0..PARTS_MAX as u64 + 5 {
            let group = group(1);
            let arrival = Arrival { event: EventId::mint(0, 0, part), received_ms: 0, group: &group, address: 0 };
            fold.add(&arrival, &group.values, Some(&part.to_string()), 5);
        }
        assert_eq!((fold.parts.len(), fold.other_parts), (PARTS_MAX, 5));
    }
}

//! The keys that were seen, each with the event that it was seen with: a map in memory that two requests cannot both enter.
//!
//! A key is free, claimed, or known. Who claims a free one says later with which event it is known from then on, or gives it back; who asks for
//! one that is claimed waits for that. Nothing here reads a clock: an arrival is a value, and the time between two is counted whichever comes first. So a wall clock
//! that is set by less than the window lets nothing through twice, one that is set by more makes all new that came before, and nothing is held back for longer than
//! its window.
//!
//! # Bounds
//!
//! [`KEYS_MAX`] keys; where they are more, the oldest go first, which is counted, and told once. A key goes when its own window is over and others come, so that many
//! of a short window do not push out those of a long one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

use crate::event::{EventId, Print};

/// Maps that the keys are spread over: none grows for long while somebody waits for it.
const SHARDS: usize = 16;
/// Keys of one: what a hash map of 65 536 places holds before it doubles.
const SHARD_KEYS_MAX: usize = 57_344;
/// Keys in all. With 600 000 of them the relay was 70 MB larger, by measurement; ten minutes of 1 500 events a second.
pub const KEYS_MAX: usize = SHARDS * SHARD_KEYS_MAX;
/// Entries of the order beyond twice the keys, before those of keys that were seen again are swept out.
const SWEPT_BEYOND: usize = 1024;

/// The keys.
pub struct Table {
    shards: [Mutex<Shard>; SHARDS],
    forgotten: Counter,
    has_told: AtomicBool,
}

#[derive(Default)]
struct Shard {
    known: HashMap<Print, Seen>,
    /// Those of each window, in milliseconds, as they became known. One that was seen again stands there again; by the event's number it is told which is the last.
    orders: BTreeMap<u32, VecDeque<(Print, u64)>>,
    /// How many stand in all of them.
    entries: usize,
    /// Dropped when it is decided.
    claimed: HashMap<Print, watch::Sender<()>>,
}

/// With what a key was seen. As bytes, since a number of 16 bytes would take 32 with another beside it.
#[derive(Clone, Copy)]
struct Seen {
    event: [u8; 16],
    within_ms: [u8; 4],
}

impl Seen {
    fn new(event: EventId, within: Duration) -> Self {
        Self { event: event.to_bytes(), within_ms: as_ms(within).to_le_bytes() }
    }

    fn event(&self) -> EventId {
        EventId::from_bytes(self.event)
    }

    fn within_ms(&self) -> u32 {
        u32::from_le_bytes(self.within_ms)
    }

    /// Whether an event that arrived at some time is not held back by it any more.
    fn is_over(&self, at_ms: u64) -> bool {
        self.is_over_within(at_ms, self.within_ms())
    }

    /// The same with another time, in milliseconds.
    fn is_over_within(&self, at_ms: u64, within_ms: u32) -> bool {
        self.event().received_ms().abs_diff(at_ms) >= u64::from(within_ms)
    }
}

fn as_ms(within: Duration) -> u32 {
    u32::try_from(within.as_millis()).unwrap_or(u32::MAX)
}

/// How a key stands.
pub enum Asked {
    /// Nobody has it, and who asked has claimed it.
    Free(Claim),
    /// It was seen with this event, within the time.
    Known(EventId),
    /// Somebody else has claimed it. Ends when that is decided.
    Claimed(watch::Receiver<()>),
}

/// A key that is free to nobody else. Dropped, it is free again.
pub struct Claim {
    table: Arc<Table>,
    key: Print,
    within: Duration,
    is_kept: bool,
}

impl Claim {
    /// The key is known with this event from now on.
    pub fn keep(mut self, event: EventId) {
        self.is_kept = true;
        let table = &self.table;
        let mut shard = table.shard(self.key);
        table.put(&mut shard, self.key, Seen::new(event, self.within));
        shard.claimed.remove(&self.key);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_kept {
            self.table.shard(self.key).claimed.remove(&self.key);
        }
    }
}

impl Table {
    /// An empty one, which counts what it forgets too early.
    pub fn new(forgotten: Counter) -> Self {
        Self { shards: Default::default(), forgotten, has_told: AtomicBool::new(false) }
    }

    /// Asks for a key of an event that arrived at `at_ms`.
    pub fn ask(self: &Arc<Self>, key: Print, at_ms: u64, within: Duration) -> Asked {
        let mut shard = self.shard(key);
        if let Some(claimed) = shard.claimed.get(&key) {
            return Asked::Claimed(claimed.subscribe());
        }
        match shard.known.get(&key) {
            Some(seen) if !seen.is_over_within(at_ms, as_ms(within)) => Asked::Known(seen.event()),
            _ => {
                shard.claimed.insert(key, watch::Sender::new(()));
                Asked::Free(Claim { table: self.clone(), key, within, is_kept: false })
            }
        }
    }

    /// Notes a key of an event of the history, of which what comes within so long is the same again. The same twice changes nothing.
    pub fn note(&self, key: Print, event: EventId, within: Duration) {
        let seen = Seen::new(event, within);
        self.note_if(key, seen, |known| {
            // By their numbers: a clock that was set back has not changed which came first.
            let (number, known_number) = (event.sequence(), known.event().sequence());
            if seen.is_over(known.event().received_ms()) { number > known_number } else { number < known_number }
        });
    }

    /// Notes a key of an event of the history, from which the time counts anew: the last one is known. The same twice changes nothing.
    pub fn note_last(&self, key: Print, event: EventId, within: Duration) {
        self.note_if(key, Seen::new(event, within), |known| event.sequence() > known.event().sequence());
    }

    fn note_if(&self, key: Print, seen: Seen, replaces: impl Fn(&Seen) -> bool) {
        let mut shard = self.shard(key);
        let is_longer = |known: &Seen| known.event == seen.event && known.within_ms() < seen.within_ms();
        if shard.known.get(&key).is_none_or(|known| replaces(known) || is_longer(known)) {
            self.put(&mut shard, key, seen);
        }
    }

    /// Forgets all that was seen with some events: nothing of a person who is to be erased is to be told by a key.
    pub fn forget(&self, events: &HashSet<EventId>) {
        for shard in &self.shards {
            lock(shard).known.retain(|_, seen| !events.contains(&seen.event()));
        }
    }

    /// How many keys are known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).known.len()).sum()
    }

    fn put(&self, shard: &mut Shard, key: Print, seen: Seen) {
        let event = seen.event();
        shard.known.insert(key, seen);
        shard.orders.entry(seen.within_ms()).or_default().push_back((key, event.sequence()));
        shard.entries += 1;
        shard.drop_old(seen.within_ms(), event.received_ms());
        if shard.known.len() > SHARD_KEYS_MAX {
            let windows: Vec<u32> = shard.orders.keys().copied().collect();
            windows.into_iter().for_each(|within_ms| shard.drop_old(within_ms, event.received_ms()));
        }
        while shard.known.len() > SHARD_KEYS_MAX {
            if shard.drop_oldest() {
                self.tell_of_forgotten();
            }
        }
        if shard.entries > 2 * shard.known.len() + SWEPT_BEYOND {
            shard.sweep();
        }
    }

    fn tell_of_forgotten(&self) {
        self.forgotten.inc();
        if !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                keys_max = KEYS_MAX,
                "more events came within the times of `dedupe` and `once_per` than there is room for, and the oldest are forgotten: what \
                 comes again later than that goes out again; make the times shorter"
            );
        }
    }

    fn shard(&self, key: Print) -> MutexGuard<'_, Shard> {
        lock(&self.shards[key.share(SHARDS)])
    }
}

impl Shard {
    /// Whether what was said of a key when it became known holds still.
    fn is_last(known: &HashMap<Print, Seen>, within_ms: u32, (key, number): &(Print, u64)) -> Option<Seen> {
        let seen = known.get(key)?;
        (seen.event().sequence() == *number && seen.within_ms() == within_ms).then_some(*seen)
    }

    /// Drops the first of a window that are over by some time.
    fn drop_old(&mut self, within_ms: u32, at_ms: u64) {
        let Some(order) = self.orders.get_mut(&within_ms) else { return };
        while let Some(first) = order.front() {
            match Self::is_last(&self.known, within_ms, first) {
                Some(seen) if !seen.is_over(at_ms) => break,
                Some(_) => drop(self.known.remove(&first.0)),
                None => {}
            }
            order.pop_front();
            self.entries -= 1;
        }
        if order.is_empty() {
            self.orders.remove(&within_ms);
        }
    }

    /// Drops what became known first of all; whether it was a key that is still of use.
    fn drop_oldest(&mut self) -> bool {
        let fronts = self.orders.iter().filter_map(|(within_ms, order)| Some((*within_ms, *order.front()?)));
        let Some((within_ms, first)) = fronts.min_by_key(|(_, (_, number))| *number) else { return false };
        let is_of_use = Self::is_last(&self.known, within_ms, &first).is_some();
        if is_of_use {
            self.known.remove(&first.0);
        }
        if let Some(order) = self.orders.get_mut(&within_ms) {
            order.pop_front();
            self.entries -= 1;
        }
        is_of_use
    }

    /// Drops what was said of keys that were seen again.
    fn sweep(&mut self) {
        let Self { known, orders, entries, .. } = self;
        for (within_ms, order) in orders.iter_mut() {
            order.retain(|entry| Self::is_last(known, *within_ms, entry).is_some());
        }
        orders.retain(|_, order| !order.is_empty());
        *entries = orders.values().map(VecDeque::len).sum();
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Printing;

    const MINUTE: Duration = Duration::from_secs(60);

    fn table() -> Arc<Table> {
        Arc::new(Table::new(Counter::default()))
    }

    fn key(text: &str) -> Print {
        Printing::of("test").text(text).finish()
    }

    fn id(at_s: u64, number: u64) -> EventId {
        EventId::mint(at_s * 1000, 0, number)
    }

    /// The event with which a key is known; what was free is given back.
    fn known(table: &Arc<Table>, text: &str, at_s: u64) -> Option<EventId> {
        match table.ask(key(text), at_s * 1000, MINUTE) {
            Asked::Free(_) => None,
            Asked::Known(event) => Some(event),
            Asked::Claimed(_) => panic!("nobody has claimed it"),
        }
    }

    #[track_caller]
    fn claim(table: &Arc<Table>, text: &str, at_s: u64) -> Claim {
        let Asked::Free(claim) = table.ask(key(text), at_s * 1000, MINUTE) else { panic!("it is not free") };
        claim
    }

    #[test]
    fn a_key_is_known_for_its_time_and_no_longer_whichever_way_the_clock_is_set() {
        let table = table();
        claim(&table, "a", 1000).keep(id(1000, 1));
        for (at_s, expected) in [(1000, true), (1059, true), (1060, false), (941, true), (940, false)] {
            assert_eq!(known(&table, "a", at_s), expected.then(|| id(1000, 1)), "{at_s}");
        }
        assert_eq!(known(&table, "b", 1000), None);
    }

    #[tokio::test]
    async fn who_asks_for_a_claimed_key_waits_until_it_is_kept_or_given_back() {
        let table = table();
        let first = claim(&table, "a", 1000);
        let Asked::Claimed(mut decided) = table.ask(key("a"), 1_000_000, MINUTE) else { panic!("it is claimed") };
        assert!(!decided.has_changed().expect("not decided yet"));
        drop(first);
        assert!(decided.changed().await.is_err(), "it was given back");
        let second = claim(&table, "a", 1000);
        let Asked::Claimed(mut decided) = table.ask(key("a"), 1_000_000, MINUTE) else { panic!("it is claimed") };
        second.keep(id(1000, 1));
        assert!(decided.changed().await.is_err());
        assert_eq!(known(&table, "a", 1001), Some(id(1000, 1)));
    }

    #[test]
    fn what_was_known_before_a_claim_that_was_given_back_is_still_known() {
        let table = table();
        claim(&table, "a", 1000).keep(id(1000, 1));
        drop(claim(&table, "a", 1060));
        assert_eq!(known(&table, "a", 1030), Some(id(1000, 1)));
    }

    #[test]
    fn of_the_history_the_first_is_known_however_often_it_is_read() {
        let all = [id(1000, 1), id(1030, 2), id(1075, 3)];
        let table = table();
        for event in [all[0], all[1], all[0], all[1]] {
            table.note(key("a"), event, MINUTE);
        }
        assert_eq!(known(&table, "a", 1031), Some(all[0]), "the second was the first again");
        table.note(key("a"), all[2], MINUTE);
        assert_eq!(known(&table, "a", 1080), Some(all[2]), "later than the window it is another one");
        table.note(key("a"), all[0], MINUTE);
        assert_eq!(known(&table, "a", 1080), Some(all[2]), "and what is older is read again for nothing");
        table.note(key("set back"), id(5000, 4), MINUTE);
        table.note(key("set back"), id(1000, 5), MINUTE);
        assert_eq!(known(&table, "set back", 1010), Some(id(1000, 5)), "a clock was set back between them");
        claim(&table, "b", 1030).keep(all[1]);
        table.note(key("b"), all[0], MINUTE);
        assert_eq!(
            known(&table, "b", 1031),
            Some(all[0]),
            "where the window has become longer, an earlier one was the first"
        );
    }

    #[test]
    fn where_the_time_counts_anew_the_last_of_the_history_is_known_however_often_it_is_read() {
        let table = table();
        let all = [id(1000, 1), id(1070, 2), id(1140, 3)];
        for event in [all[0], all[1], all[2], all[1], all[2]] {
            table.note_last(key("a"), event, MINUTE);
        }
        assert_eq!([known(&table, "a", 1199), known(&table, "a", 1200)], [Some(all[2]), None]);
        table.note_last(key("a"), id(500, 4), MINUTE);
        assert_eq!(known(&table, "a", 510), Some(id(500, 4)), "a clock was set back between them");
    }

    #[test]
    fn what_is_old_goes_and_where_there_is_no_room_the_oldest() {
        let table = table();
        (0..1000).for_each(|number| claim(&table, &format!("old {number}"), 1000).keep(id(1000, number)));
        assert_eq!(table.len(), 1000);
        (0..1000).for_each(|number| claim(&table, &format!("new {number}"), 2000).keep(id(2000, 1000 + number)));
        assert_eq!(table.len(), 1000, "the others are old");
        assert_eq!(table.forgotten.get(), 0, "nobody misses them");
        let many = KEYS_MAX as u64 + 20_000;
        (0..many).for_each(|number| table.note(key(&format!("many {number}")), id(2001, 2000 + number), MINUTE));
        assert!(table.len() <= KEYS_MAX);
        assert!(table.forgotten.get() >= 20_000);
        assert_eq!(known(&table, "new 0", 2001), None, "the oldest have gone");
        let last = many - 1;
        assert_eq!(known(&table, &format!("many {last}"), 2001), Some(id(2001, 2000 + last)));
    }

    #[test]
    fn a_key_that_is_seen_again_and_again_takes_the_room_of_one() {
        let table = table();
        (0..100_000).for_each(|number| table.note(key("a"), id(1000 + 60 * number, number), MINUTE));
        assert_eq!(table.len(), 1);
        assert!(table.shard(key("a")).entries <= 2 + SWEPT_BEYOND);
        assert_eq!(known(&table, "a", 6_000_940), Some(id(6_000_940, 99_999)));
    }

    #[test]
    fn what_was_seen_with_events_that_are_erased_is_forgotten() {
        let table = table();
        claim(&table, "a", 1000).keep(id(1000, 1));
        claim(&table, "b", 1000).keep(id(1000, 2));
        table.forget(&HashSet::from([id(1000, 1)]));
        assert_eq!([known(&table, "a", 1000), known(&table, "b", 1000)], [None, Some(id(1000, 2))]);
    }

    #[test]
    fn many_of_a_short_window_do_not_push_out_one_of_a_long_one() {
        let (table, day) = (table(), Duration::from_secs(24 * 60 * 60));
        table.note_last(key("long"), id(1000, 0), day);
        for second in 0..20 {
            for number in 0..100_000 {
                let number = second * 100_000 + number + 1;
                table.note_last(key(&format!("short {number}")), id(1000 + second, number), Duration::from_secs(1));
            }
        }
        assert_eq!(table.forgotten.get(), 0, "in no second there were too many");
        assert!(matches!(table.ask(key("long"), 1_020_000, day), Asked::Known(event) if event == id(1000, 0)));
        assert!(table.len() < 200_000, "{}", table.len());
    }

    #[test]
    fn a_key_of_which_the_window_has_become_longer_stays_so_long() {
        let (table, hour) = (table(), Duration::from_secs(60 * 60));
        claim(&table, "a", 1000).keep(id(1000, 1));
        table.note(key("a"), id(1000, 1), hour);
        (0..100).for_each(|number| table.note(key(&format!("b {number}")), id(2000, 2 + number), MINUTE));
        assert!(matches!(table.ask(key("a"), 2_000_000, hour), Asked::Known(event) if event == id(1000, 1)));
    }
}

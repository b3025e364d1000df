//! Who lives: whose counter is seen to move, by the watcher's own monotonic clock.
//!
//! No wall clock is compared with another: a relay whose clock is an hour off is as alive as any other. A counter that stood still for
//! [`TTL`] is a dead relay's. What counts is time in which this watcher could *see* it stand still: of a gap between two reads no more than
//! a [`HEARTBEAT`], so that an outage of the database, or of the watcher, ages nobody, however long it was.
//!
//! A read is timed when its answer is there. Then what the watcher has counted is never more than has passed since the other relay had
//! sent what was read, and that relay has stopped being sure of itself (`surety`) before anybody takes something from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::view::{Incarnation, View};

/// How often a relay counts up, and reads.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// So long a counter has to stand still. Five heartbeats: one or two that are late are no death.
pub const TTL: Duration = Duration::from_secs(5);
/// By so much reads may come early, all together. They come by the second: without this the fifth would often find 4.99 s, and the
/// next one is a second later.
const EARLY: Duration = Duration::from_millis(200);
/// A row stays for so long after a death, so that people see whose it was. What it still owns then is free as before.
const LONG_DEAD: Duration = Duration::from_secs(600);

/// At least four reads lie in a [`TTL`], since none counts for more than a heartbeat.
const _: () = assert!(TTL.as_millis() - EARLY.as_millis() > 4 * HEARTBEAT.as_millis());

/// What one relay knows of all others' lives.
#[derive(Clone, Debug)]
pub struct Watcher {
    me: Incarnation,
    last_read: Option<Duration>,
    others: BTreeMap<Incarnation, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// `None` before it had a row.
    heartbeat: Option<i64>,
    /// How long it was seen to stand still.
    still: Duration,
}

impl Watcher {
    pub fn new(me: Incarnation) -> Self {
        Self { me, last_read: None, others: BTreeMap::new() }
    }

    /// Takes in what a read has found; `now` is when its answer was there. Who is seen for the first time begins alive.
    pub fn saw(&mut self, view: &View, now: Duration) {
        let gap = self.last_read.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        let counted = gap.min(HEARTBEAT);
        self.last_read = Some(now);
        let everybody = view.everybody();
        self.others.retain(|relay, _| everybody.contains(relay));
        for relay in everybody {
            let heartbeat = view.relays.get(&relay).map(|row| row.heartbeat);
            let seen = self.others.entry(relay).or_insert(Seen { heartbeat, still: Duration::ZERO });
            // A row that is missing does not move.
            let has_moved = heartbeat.is_some() && heartbeat != seen.heartbeat;
            if has_moved {
                *seen = Seen { heartbeat, still: Duration::ZERO };
            } else {
                seen.still += counted;
            }
        }
    }

    /// Who lives, this relay included.
    pub fn alive(&self) -> BTreeSet<Incarnation> {
        let lives = |(_, seen): &(&Incarnation, &Seen)| seen.still + EARLY < TTL;
        self.others.iter().filter(lives).map(|(relay, _)| *relay).chain([self.me]).collect()
    }

    /// Whose rows may go.
    pub fn long_dead(&self) -> BTreeSet<Incarnation> {
        let is_long_dead = |(relay, seen): &(&Incarnation, &Seen)| **relay != self.me && seen.still >= LONG_DEAD;
        self.others.iter().filter(is_long_dead).map(|(relay, _)| *relay).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::{LeaseRow, RelayRow};
    use proptest::prelude::*;

    use super::*;

    const ME: Incarnation = Incarnation(1);
    const OTHER: Incarnation = Incarnation(2);

    fn view(heartbeat: Option<i64>) -> View {
        let mut view = View::default();
        let row = |heartbeat| RelayRow { heartbeat, ..RelayRow::default() };
        view.relays.insert(ME, row(1));
        view.relays.extend(heartbeat.map(|heartbeat| (OTHER, row(heartbeat))));
        view.add_lease("destination/1", LeaseRow { epoch: 1, owner: Some(OTHER) });
        view
    }

    /// Reads at these moments, in milliseconds, with these counters, and whether the other one lives after each.
    #[track_caller]
    fn check(rows: &[(u64, Option<i64>, bool)]) {
        let mut watcher = Watcher::new(ME);
        for (at_ms, heartbeat, lives) in rows {
            watcher.saw(&view(*heartbeat), Duration::from_millis(*at_ms));
            assert_eq!(watcher.alive().contains(&OTHER), *lives, "at {at_ms} ms");
            assert!(watcher.alive().contains(&ME));
        }
    }

    #[test]
    fn a_counter_that_stands_still_for_the_ttl_is_a_dead_relays() {
        let still = Some(7);
        check(&[(0, still, true), (1000, still, true), (2000, still, true), (3000, still, true), (4000, still, true)]);
        let at = |ms| (ms, still, true);
        check(&[at(0), at(1000), at(2000), at(3000), at(4000), (4799, still, true), (4800, still, false)]);
        check(&[at(0), at(1000), at(2000), at(3000), at(4000), (5000, still, false), (9000, still, false)]);
    }

    #[test]
    fn a_counter_that_moves_is_a_living_relays_also_downwards_and_after_its_death() {
        check(&[(0, Some(7), true), (900, Some(8), true), (5000, Some(3), true), (6000, Some(3), true)]);
        let still = |ms, lives| (ms, Some(7), lives);
        let dies = [0, 1000, 2000, 3000, 4000].map(|ms| still(ms, true));
        check(&[&dies[..], &[still(5000, false), (6000, Some(8), true)]].concat());
    }

    #[test]
    fn time_in_which_nothing_could_be_read_counts_as_one_heartbeat() {
        let hour = 3_600_000;
        let at = |ms| (ms, Some(7), true);
        check(&[at(0), at(hour), at(2 * hour), at(3 * hour), at(4 * hour), (5 * hour, Some(7), false)]);
        check(&[at(0), at(1000), at(hour), at(hour + 1000), (hour + 2000, Some(8), true)]);
    }

    #[test]
    fn a_row_that_is_missing_does_not_move() {
        let at = |ms| (ms, None, true);
        check(&[at(0), at(1000), at(2000), at(3000), at(4000), (5000, None, false)]);
        // Also where it was there before.
        let was = [(0, Some(7), true), (1000, Some(8), true)];
        check(&[&was[..], &[at(2000), at(3000), at(4000), at(5000), (6000, None, false)]].concat());
        // And is there again as it was.
        check(&[&was[..], &[at(2000), at(3000), at(4000), at(5000), (6000, Some(8), false)]].concat());
        check(&[&was[..], &[at(2000), at(3000), at(4000), at(5000), (6000, Some(9), true)]].concat());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(4096)))]

        #[test]
        fn nobody_dies_before_four_reads_and_nearly_the_ttl_have_passed_since_a_counter_moved(
            reads in prop::collection::vec((1u64..20_000, prop::bool::weighted(0.15)), 1..60),
        ) {
            let mut watcher = Watcher::new(ME);
            let (mut now, mut counter, mut moved_at, mut reads_since) = (0, 0, 0, 0);
            for (gap, moves) in reads {
                now += gap;
                reads_since += 1;
                if moves {
                    (counter, moved_at, reads_since) = (counter + 1, now, 0);
                }
                watcher.saw(&view(Some(counter)), Duration::from_millis(now));
                let long_enough = reads_since >= 4 && now - moved_at >= 4_800;
                prop_assert!(watcher.alive().contains(&OTHER) || long_enough, "{} reads, {} ms", reads_since, now - moved_at);
            }
        }
    }

    #[test]
    fn who_comes_late_begins_alive_and_a_new_incarnation_is_another() {
        let mut watcher = Watcher::new(ME);
        for second in 0..6 {
            watcher.saw(&view(Some(7)), Duration::from_secs(second));
        }
        let mut later = view(Some(7));
        let again = Incarnation(3);
        later.relays.insert(again, later.relays[&OTHER].clone());
        watcher.saw(&later, Duration::from_secs(6));
        assert_eq!(watcher.alive(), BTreeSet::from([ME, again]));
    }

    #[test]
    fn a_relay_lives_for_itself_and_its_own_row_is_never_long_dead() {
        let mut watcher = Watcher::new(ME);
        for second in 0..LONG_DEAD.as_secs() {
            watcher.saw(&view(Some(7)), Duration::from_secs(second));
        }
        assert_eq!(watcher.long_dead(), BTreeSet::new());
        watcher.saw(&view(Some(7)), LONG_DEAD);
        assert_eq!(watcher.long_dead(), BTreeSet::from([OTHER]));
        assert_eq!(watcher.alive(), BTreeSet::from([ME]));
    }
}

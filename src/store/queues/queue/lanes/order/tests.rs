//! Lines, heads and what is behind them: row by row, by a model, and how much memory they take.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::store::Claimable;

const KEYS: u64 = 3;

fn key(number: u64) -> OrderKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    OrderKey(key)
}

/// Numbers go to the keys in turn, and every fourth to none.
fn lane(sequence: u64) -> Lane {
    if sequence % (KEYS + 1) == KEYS { Lane::Ready } else { Lane::InOrder(key(sequence % (KEYS + 1))) }
}

fn scheduled(due_ms: u64) -> OutcomeState {
    OutcomeState::Scheduled { first_attempt_ms: 1, due_ms, reason: "503".to_owned() }
}

/// A queue that goes in order, in which so many wait that nobody has looked at.
fn waiting(count: u64) -> Queue {
    let mut queue = Queue::new(NameId(1));
    (0..count).for_each(|sequence| queue.add(sequence));
    assert!(queue.sort_in_order(0).is_empty());
    queue
}

fn look(queue: &mut Queue, of: impl Fn(u64) -> Lane) -> Vec<u64> {
    let mut looked = Vec::new();
    loop {
        let (some, _) = queue.look_at_some(256);
        if some.is_empty() {
            return looked;
        }
        queue.place(Vec::new(), some.iter().map(|sequence| (*sequence, of(*sequence))));
        looked.extend(some);
    }
}

fn sequences(claims: &[Claim]) -> Vec<u64> {
    claims.iter().map(|claim| claim.key.sequence).collect()
}

fn claim(queue: &mut Queue, max: usize, now_ms: u64) -> Vec<u64> {
    sequences(&queue.claim(max, now_ms))
}

/// All of one key.
fn one(_: u64) -> Lane {
    Lane::InOrder(key(0))
}

#[test]
fn what_was_behind_another_has_waited() {
    let mut queue = waiting(3);
    look(&mut queue, one);
    let claimable = |queue: &Queue| {
        let Claimable { deliveries, have_waited } = queue.claimable(0);
        (deliveries, have_waited)
    };
    assert_eq!(claimable(&queue), (1, false));
    claim(&mut queue, 9, 0);
    assert_eq!(claimable(&queue), (0, false));
    queue.settle(0, 1, &OutcomeState::Delivered);
    assert_eq!(claimable(&queue), (1, true));
    claim(&mut queue, 9, 0);
    queue.settle(1, 1, &scheduled(100));
    assert_eq!(claimable(&queue), (0, false), "it waits for its retry");
    assert_eq!(claim(&mut queue, 9, 100), [1]);
    queue.settle(1, 2, &OutcomeState::Delivered);
    claim(&mut queue, 9, 100);
    queue.settle(2, 1, &OutcomeState::Delivered);
    queue.add(3);
    look(&mut queue, one);
    assert_eq!(claimable(&queue), (1, false), "nothing was before it");
}

#[test]
fn of_a_key_one_goes_after_the_other_and_others_go_on() {
    let mut queue = waiting(9);
    assert_eq!(claim(&mut queue, 9, 0), [0; 0], "nobody has looked");
    assert_eq!(look(&mut queue, lane), (0..9).collect::<Vec<_>>());
    assert_eq!((queue.in_order(), queue.earlier_than(8), queue.earlier_than(7)), ((3, 4), Some(0), None));
    assert_eq!(claim(&mut queue, 9, 0), [0, 1, 2, 3, 7]);
    queue.settle(0, 1, &scheduled(100));
    queue.settle(1, 1, &OutcomeState::Delivered);
    assert_eq!(queue.news_of_order(), Some(News { has_more: true, is_to_look: false }));
    assert_eq!((claim(&mut queue, 9, 99), queue.next_due()), (vec![5], Some(100)), "the first waits for its retry");
    queue.settle(2, 1, &OutcomeState::Dead { reason: "400".into() });
    queue.settle(5, 1, &OutcomeState::Skipped);
    assert_eq!(claim(&mut queue, 9, 100), [0, 6]);
    queue.settle(0, 2, &OutcomeState::Delivered);
    assert_eq!(claim(&mut queue, 9, 100), [4]);
    for sequence in [3, 4, 6, 7] {
        queue.settle(sequence, 1, &OutcomeState::Delivered);
    }
    assert_eq!(claim(&mut queue, 9, 100), [8]);
    queue.settle(8, 1, &OutcomeState::Delivered);
    assert_eq!((queue.in_order(), queue.backlog()), ((0, 0), 0), "a key of which nothing waits is forgotten");
}

#[test]
fn what_is_given_up_dropped_or_moved_lets_the_next_go() {
    for act in [BulkAct::DeadLetter, BulkAct::MoveWaiting(NameId(9))] {
        for gone in [vec![0], vec![0, 1], vec![1]] {
            let mut queue = waiting(4);
            look(&mut queue, one);
            queue.claim(1, 0);
            queue.settle(0, 1, &scheduled(100));
            queue.news_of_order();
            queue.select(act, &gone.iter().copied().collect());
            let next = (0..4).find(|sequence| !gone.contains(sequence)).expect("one is left");
            assert_eq!(claim(&mut queue, 9, 100), [next], "{act:?} of {gone:?}");
            assert_eq!(queue.in_order(), (1, 3 - gone.len() as u64));
        }
    }
}

#[test]
fn a_lower_number_that_comes_later_goes_first_unless_one_is_in_flight() {
    // Where the head is when it comes: ready, waiting for its retry, in flight.
    for (at, expected) in [(0, vec![1, 5, 7]), (1, vec![1, 5, 7]), (2, vec![1, 7])] {
        let mut queue = Queue::new(NameId(1));
        queue.sort_in_order(0);
        [5, 7].into_iter().for_each(|sequence| queue.add(sequence));
        look(&mut queue, one);
        if at > 0 {
            assert_eq!(claim(&mut queue, 9, 0), [5]);
        }
        if at == 1 {
            queue.settle(5, 1, &scheduled(100));
        }
        queue.select(BulkAct::Redeliver, &[1].into_iter().collect());
        look(&mut queue, one);
        let mut gone = Vec::new();
        if at == 2 {
            assert_eq!(claim(&mut queue, 9, 999), [0; 0], "behind the one in flight");
            queue.settle(5, 1, &OutcomeState::Delivered);
        }
        while let [next] = claim(&mut queue, 9, 999)[..] {
            queue.settle(next, 1, &OutcomeState::Delivered);
            gone.push(next);
        }
        assert_eq!((gone, queue.in_order()), (expected, (0, 0)), "{at}");
    }
}

#[test]
fn what_fails_or_is_handed_back_lets_a_lower_one_go_first() {
    for hands_back in [false, true] {
        let mut queue = Queue::new(NameId(1));
        queue.sort_in_order(0);
        queue.add(5);
        look(&mut queue, one);
        let claims = queue.claim(9, 0);
        queue.select(BulkAct::Redeliver, &[1].into_iter().collect());
        look(&mut queue, one);
        if hands_back {
            queue.give_back(claims[0]);
        } else {
            queue.settle(5, 1, &scheduled(100));
        }
        assert_eq!(queue.news_of_order(), Some(News { has_more: true, is_to_look: false }));
        assert_eq!((claim(&mut queue, 9, 999), queue.scheduled()), (vec![1], 0), "{hands_back}");
        assert_eq!(queue.delivery_state(5), Some(DeliveryState::Held { by: HeldBy::Order { earlier: None } }));
        queue.settle(1, 1, &OutcomeState::Delivered);
        let again = queue.claim(9, 999);
        assert_eq!((sequences(&again), again[0].attempts), (vec![5], 0));
    }
}

#[test]
fn what_is_handed_back_is_claimed_as_it_was() {
    let mut queue = waiting(2);
    look(&mut queue, one);
    let first = queue.claim(9, 0);
    queue.give_back(first[0]);
    assert_eq!((queue.in_flight(), queue.claim(9, 0)), (0, first));
    queue.settle(0, 1, &scheduled(100));
    let retry = queue.claim(9, 100);
    queue.give_back(retry[0]);
    assert_eq!((queue.in_flight(), queue.next_due(), queue.claim(9, 100)), (0, Some(100), retry));
}

#[test]
fn what_is_scheduled_or_in_flight_when_order_begins_is_looked_at_first() {
    let mut queue = Queue::new(NameId(1));
    (0..6).for_each(|sequence| queue.add(sequence));
    queue.claim(4, 0);
    queue.settle(1, 1, &scheduled(10));
    queue.settle(3, 1, &scheduled(20));
    queue.sort_in_order(0);
    assert_eq!((claim(&mut queue, 9, 999), queue.next_due()), (vec![], None), "nothing of it was looked at");
    assert_eq!(look(&mut queue, one), [0, 2, 1, 3, 4, 5], "what is in flight before all else");
    assert_eq!((claim(&mut queue, 9, 999), queue.scheduled(), queue.next_due()), (vec![], 0, None));
    queue.settle(0, 1, &OutcomeState::Delivered);
    assert_eq!(claim(&mut queue, 9, 999), [0; 0], "another one is in flight");
    queue.settle(2, 1, &scheduled(30));
    let mut gone = Vec::new();
    while let [next] = claim(&mut queue, 9, 999)[..] {
        queue.settle(next, 1, &OutcomeState::Delivered);
        gone.push(next);
    }
    assert_eq!(gone, [1, 2, 3, 4, 5]);
}

#[test]
fn what_came_to_its_retry_before_it_was_looked_at_is_looked_at_then() {
    for hands_back in [false, true] {
        let mut queue = waiting(0);
        queue.sort(false, 0);
        queue.add(3);
        let claims = queue.claim(1, 0);
        queue.sort_in_order(0);
        if hands_back {
            queue.give_back(claims[0]);
        } else {
            queue.settle(3, 1, &scheduled(10));
        }
        assert_eq!(claim(&mut queue, 9, 999), [0; 0]);
        assert_eq!(queue.news_of_order(), Some(News { has_more: false, is_to_look: true }), "{hands_back}");
        look(&mut queue, one);
        assert_eq!(claim(&mut queue, 9, 999), [3]);
    }
}

#[test]
fn a_million_keys_are_looked_at_as_far_as_they_may_go() {
    let most = IN_ORDER_AHEAD as u64;
    let mut queue = waiting(1_000_000);
    let each = |sequence| Lane::InOrder(key(sequence));
    assert_eq!(look(&mut queue, each).len() as u64, most);
    assert_eq!(queue.in_order(), (most, 0));
    // The other side is down: what was tried waits for its retry, and as many again are looked at, up to a bound.
    let mut now_ms = 0;
    loop {
        let claims = queue.claim(64, now_ms);
        if claims.is_empty() {
            break;
        }
        for claim in claims {
            queue.settle(claim.key.sequence, 1, &scheduled(u64::MAX));
        }
        if queue.news_of_order().is_some_and(|news| news.is_to_look) {
            look(&mut queue, each);
        }
        now_ms += 1;
    }
    let (keys, behind) = queue.in_order();
    // A claim and a look are whole.
    assert!(keys < most + SCHEDULED_MAX as u64 + 64 + 256 && behind == 0, "{keys} keys");
    assert!(queue.scheduled() < SCHEDULED_MAX + 64, "{}", queue.scheduled());
}

#[test]
fn a_million_behind_one_key_are_one_key_and_others_are_found_behind_them() {
    let most = 1_000_000;
    let mut queue = waiting(most + 1);
    let hot = |sequence| Lane::InOrder(key(u64::from(sequence == most)));
    assert_eq!(look(&mut queue, hot).len() as u64, most + 1);
    assert_eq!(queue.in_order(), (2, most - 1));
    assert_eq!(claim(&mut queue, 9, 0), [0, most]);
    queue.select(BulkAct::DeadLetter, &(1..most).collect());
    assert_eq!(queue.in_order(), (2, 0));
}

#[test]
fn more_are_looked_at_once_some_have_gone_and_not_for_each() {
    let most = IN_ORDER_AHEAD as u64;
    let mut queue = waiting(most + 10);
    look(&mut queue, |_| Lane::Ready);
    let mut told = 0;
    for sequence in 0..most / 4 + 10 {
        queue.claim(1, 0);
        queue.settle(sequence, 1, &OutcomeState::Delivered);
        if queue.news_of_order().is_some_and(|news| news.is_to_look) {
            told += 1;
            assert_eq!(look(&mut queue, |_| Lane::Ready).len(), 10, "all that is left");
        }
    }
    assert_eq!(told, 1);
}

#[test]
fn what_is_scheduled_and_was_not_looked_at_keeps_nothing_back() {
    // As many as may be scheduled, and all of them behind what was never tried.
    let most = SCHEDULED_MAX as u64;
    let mut queue = Queue::new(NameId(1));
    (1..=most).for_each(|sequence| queue.apply(sequence, 1, &scheduled(1)));
    queue.add(0);
    queue.sort_in_order(0);
    look(&mut queue, one);
    assert_eq!(claim(&mut queue, 9, 999), [0]);
    assert_eq!(queue.in_order(), (1, most));
}

#[test]
fn what_goes_in_order_no_more_goes_as_everywhere() {
    let mut queue = waiting(4);
    look(&mut queue, one);
    assert_eq!(claim(&mut queue, 9, 0), [0]);
    queue.sort(false, 0);
    assert!(queue.lanes.is_none());
    assert_eq!(claim(&mut queue, 9, 0), [1, 2, 3]);
}

#[test]
fn windows_and_digests_of_before_go_out_in_order_by_themselves() {
    let mut queue = waiting(4);
    queue.sort(true, 0);
    let head = |number| WindowHead { key: GroupKey([number; 16]), address: 0, opened_ms: 0, ends_ms: 100, passed: 0 };
    let placed = (0..4).map(|sequence| (sequence, Lane::Window(GroupKey([(sequence % 2) as u8; 16]))));
    queue.place(vec![head(0), head(1)], placed);
    let id = DigestId(NonZeroU64::new(7).expect("not 0"));
    queue.end(&[GroupKey([0; 16])], id, 0, 0);
    assert_eq!(queue.sort_in_order(70), [GroupKey([1; 16])]);
    assert_eq!(look(&mut queue, one), [1, 3], "without the members of the digest");
    queue.dissolve(id);
    assert_eq!(look(&mut queue, one), [0, 2]);
    assert_eq!((claim(&mut queue, 9, 0), queue.in_order()), (vec![0], (1, 3)));
}

/// What a run of acts is held to.
#[derive(Default)]
struct Model {
    queue: Option<Queue>,
    /// All that was looked at and waits.
    known: BTreeSet<u64>,
    in_flight: BTreeMap<u64, Claim>,
    settled: BTreeSet<u64>,
    next: u64,
    now_ms: u64,
}

impl Model {
    fn queue(&mut self) -> &mut Queue {
        self.queue.as_mut().expect("there is one")
    }

    fn look(&mut self, max: usize) {
        let (some, _) = self.queue().look_at_some(max);
        self.queue().place(Vec::new(), some.iter().map(|sequence| (*sequence, lane(*sequence))));
        self.known.extend(some);
    }

    fn claim(&mut self, max: usize) {
        let now_ms = self.now_ms;
        for claim in self.queue().claim(max, now_ms) {
            let sequence = claim.key.sequence;
            let is_of_its_key = |other: &u64| lane(*other) == lane(sequence) && lane(sequence) != Lane::Ready;
            assert!(self.known.contains(&sequence), "{sequence} was not looked at");
            assert!(!self.in_flight.keys().any(is_of_its_key), "{sequence} beside {:?}", self.in_flight);
            let waits = |other: &&u64| !self.in_flight.contains_key(*other) && is_of_its_key(other);
            let first = self.known.iter().filter(waits).min();
            assert!(lane(sequence) == Lane::Ready || first == Some(&sequence), "{sequence} before {first:?}");
            self.in_flight.insert(sequence, claim);
        }
    }

    fn settle(&mut self, dice: u64) {
        let Some((sequence, claim)) = self.in_flight.pop_first() else { return };
        let attempts = claim.attempts + 1;
        let due_ms = self.now_ms + dice % 7;
        match dice % 5 {
            0 => return self.queue().give_back(claim),
            1 | 2 => {
                self.queue().settle(sequence, attempts, &scheduled(due_ms));
                return;
            }
            3 => self.queue().settle(sequence, attempts, &OutcomeState::Dead { reason: String::new() }),
            _ => self.queue().settle(sequence, attempts, &OutcomeState::Delivered),
        };
        self.known.remove(&sequence);
        self.settled.insert(sequence);
    }

    fn act(&mut self, act: u8, dice: u64) {
        match act {
            0 | 1 => {
                self.next += 1 + dice % 2;
                let next = self.next;
                self.queue().add(next);
            }
            2 => self.look(1 + (dice % 4) as usize),
            3 => self.claim(1 + (dice % 3) as usize),
            4 | 5 => self.settle(dice),
            6 => self.now_ms += dice % 9,
            7 => {
                let again: Bitmap = self.settled.iter().copied().filter(|at| (at ^ dice).is_multiple_of(3)).collect();
                self.queue().select(BulkAct::Redeliver, &again);
                self.settled.retain(|sequence| !again.contains(*sequence));
            }
            8 => {
                let some: Bitmap = (0..=self.next).filter(|at| (at ^ dice).is_multiple_of(5)).collect();
                let gone = self.queue().select(BulkAct::DeadLetter, &some);
                self.known.retain(|sequence| !gone.contains(*sequence));
                self.settled.extend(gone.iter_from(0));
            }
            9 if dice.is_multiple_of(4) => {
                // A crash: what was in flight is so no more.
                let snapshot = self.queue().snapshot();
                self.queue = Some(Queue::restore(NameId(1), snapshot));
                self.queue().sort_in_order(0);
                self.known.clear();
                self.in_flight.clear();
            }
            10 if dice.is_multiple_of(3) => {
                // A reload: what is in flight stays so.
                self.queue().sort_in_order(0);
                self.known.clear();
            }
            _ => {
                let now_ms = self.now_ms;
                self.queue().control(&Act::RetryNow, now_ms);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn whatever_happens_the_first_of_a_key_goes_first_and_none_is_stuck(
        acts in prop::collection::vec((0u8..11, 0u64..1000), 1..200),
    ) {
        let mut model = Model { queue: Some(waiting(0)), ..Model::default() };
        for (act, dice) in acts {
            model.act(act, dice);
        }
        for _ in 0..2_000 {
            if model.queue().backlog() == 0 {
                break;
            }
            model.look(256);
            model.claim(9);
            model.now_ms += 10;
            while !model.in_flight.is_empty() {
                model.settle(4);
            }
        }
        prop_assert_eq!((model.queue().backlog(), model.queue().in_order()), (0, (0, 0)));
        let order = model.queue().lanes.as_ref().and_then(|lanes| lanes.order.as_ref()).expect("it goes in order");
        prop_assert!(order.heads.is_empty() && order.looked.is_empty() && order.due.is_empty());
        prop_assert!(order.behind_in_flight.is_empty());
    }
}

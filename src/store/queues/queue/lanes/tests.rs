//! Lanes, act by act, and against a map that says of each delivery where it is.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::age::Oldest;
use super::*;
use crate::store::queues::outcomes::{DigestAct, DigestRecord};
use crate::store::{DIGESTS_MAX, Lane, WINDOWS_MAX};

const A: GroupKey = GroupKey([1; 16]);
const B: GroupKey = GroupKey([2; 16]);

fn head(key: GroupKey, ends_ms: u64) -> WindowHead {
    WindowHead { key, address: 0, opened_ms: 0, ends_ms, passed: 0 }
}

fn id(number: u64) -> DigestId {
    DigestId(NonZeroU64::new(number).expect("not 0"))
}

/// A queue of a destination that sorts, in which so many wait since before that.
fn sorting(waiting: u64) -> Queue {
    let mut queue = Queue::new(NameId(1));
    (0..waiting).for_each(|sequence| queue.add(sequence));
    assert!(queue.sort(true, 0).is_empty());
    queue
}

fn sequences(claims: &[Claim]) -> Vec<u64> {
    claims.iter().map(|claim| claim.key.sequence).collect()
}

fn numbers(set: &Bitmap) -> Vec<u64> {
    set.iter_from(0).collect()
}

fn scheduled(due_ms: u64) -> OutcomeState {
    OutcomeState::Scheduled { first_attempt_ms: 1, due_ms, reason: "503".into() }
}

/// All that has no lane, whichever pool it is in.
fn all_unplaced(queue: &mut Queue) -> Vec<u64> {
    let mut all: Vec<u64> = (0..4).flat_map(|_| queue.unplaced(1 << 20)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn where_a_section_sorts_nothing_goes_out_that_has_no_lane() {
    let mut queue = sorting(3);
    assert_eq!(queue.claim(9, 0), []);
    assert_eq!((queue.unplaced(9), queue.count_unplaced()), (vec![0, 1, 2], 3));
    let placed = queue.place(vec![head(A, 100)], [(0, Lane::Ready), (1, Lane::Window(A)), (2, Lane::Urgent)]);
    assert!(placed.has_more);
    assert_eq!((queue.unplaced(9), queue.count_unplaced()), (vec![], 0));
    assert_eq!((queue.gathered(), queue.backlog(), queue.urgent(), queue.open_windows()), (1, 2, 1, (1, Some(100))));
    assert_eq!(queue.delivery_state(1), Some(DeliveryState::Held { by: HeldBy::Window { ends_ms: 100 } }));
    assert_eq!(sequences(&queue.claim(9, 0)), [2, 0], "what is urgent first, and what lies in a window not at all");
    assert_eq!(queue.claim(9, u64::MAX), []);
}

#[test]
fn what_is_erased_in_somebodys_hands_is_dropped_when_it_is_to_be_tried_again() {
    let back = |queue: &mut Queue, claim: Claim| match claim.digest {
        Some(id) => drop(queue.settle_digest(id, 1, &scheduled(200)).expect("in flight")),
        None => assert!(queue.settle(claim.key.sequence, 1, &scheduled(200))),
    };
    let given_back = |queue: &mut Queue, claim: Claim| queue.give_back(claim);
    for come_back in [back, given_back] {
        let mut queue = sorting(4);
        let in_window = [0, 1, 2].map(|sequence| (sequence, Lane::Window(A)));
        queue.place(vec![head(A, 100)], in_window.into_iter().chain([(3, Lane::Ready)]));
        queue.end(&[A], id(1), 100, 0).expect("ended");
        assert!(queue.offer(id(1)));
        let claims = queue.claim(9, 100);
        assert_eq!(claims.len(), 2);
        assert!(queue.drop_waiting(&[1, 3].into_iter().collect()).is_empty());
        assert!(queue.drop_come_back().is_empty(), "they are in flight still");
        claims.into_iter().for_each(|claim| come_back(&mut queue, claim));
        assert_eq!(queue.drop_come_back(), [1, 3]);
        assert_eq!((queue.backlog(), queue.in_flight()), (2, 0));
        assert_eq!(queue.claim(9, 200), [], "what was put together before tells of it");
        // One that was begun before is refused.
        assert_eq!([queue.offer(id(1)), queue.offer(id(1))], [false, true]);
        assert_eq!(queue.claim(9, 200).iter().map(|claim| claim.digest).collect::<Vec<_>>(), [Some(id(1))]);
        assert_eq!(numbers(&queue.digest(id(1)).expect("one").members), [0, 2]);
        assert!(queue.drop_come_back().is_empty());
    }
}

#[test]
fn what_is_erased_in_somebodys_hands_and_settled_is_let_be() {
    let mut queue = sorting(2);
    queue.place(Vec::new(), [(0, Lane::Ready), (1, Lane::Ready)]);
    assert_eq!(queue.claim(9, 0).len(), 2);
    assert!(queue.drop_waiting(&[0, 1].into_iter().collect()).is_empty());
    assert!(queue.settle(0, 1, &OutcomeState::Delivered));
    assert!(queue.settle(1, 1, &OutcomeState::Dead { reason: "550".into() }));
    assert_eq!((queue.drop_come_back(), numbers(queue.dead())), (vec![], vec![1]));
}

#[test]
fn what_is_placed_twice_in_hand_or_gone_is_left_alone() {
    let mut queue = sorting(4);
    queue.place(Vec::new(), [(0, Lane::Ready), (1, Lane::Ready)]);
    queue.claim(1, 0);
    queue.apply(2, 1, &OutcomeState::Delivered);
    let later = [0, 1, 2, 7].map(|sequence| (sequence, Lane::Urgent));
    assert_eq!(queue.place(Vec::new(), later), Placed::default());
    assert_eq!((queue.urgent(), queue.unplaced(9)), (0, vec![3]));
}

#[test]
fn what_arrives_and_what_was_there_before_are_placed_in_turn() {
    let mut queue = sorting(3);
    (3..6).for_each(|sequence| queue.add(sequence));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let some = queue.unplaced(2);
        queue.place(Vec::new(), some.iter().map(|sequence| (*sequence, Lane::Ready)));
        seen.push(some);
    }
    seen.sort();
    assert_eq!(seen, [vec![0, 1], vec![2], vec![3, 4], vec![5]]);
    assert!(queue.is_backlog_placed() && queue.unplaced(2).is_empty());
    queue.select(BulkAct::Redeliver, &Bitmap::default());
    queue.apply(1, 1, &OutcomeState::Delivered);
    queue.select(BulkAct::Redeliver, &std::iter::once(1).collect());
    assert!(!queue.is_backlog_placed());
    assert_eq!(queue.unplaced(2), [1]);
}

#[test]
fn a_window_that_was_there_is_not_whole_before_what_waited_then_has_its_lane() {
    let mut queue = sorting(2);
    queue.place(vec![head(A, 100)], [(0, Lane::Window(A)), (1, Lane::Window(A))]);
    let mut queue = Queue::restore(NameId(1), queue.snapshot());
    assert!(!queue.windows(200).are_whole, "its section was not said");
    queue.sort(true, 0);
    let windows = queue.windows(200);
    assert_eq!((windows.open, windows.are_whole), (vec![(head(A, 100), 0)], false));
    queue.place(Vec::new(), [(0, Lane::Window(A)), (1, Lane::Window(A))]);
    let windows = queue.windows(200);
    assert_eq!((windows.open, windows.are_whole), (vec![(head(A, 100), 2)], true));
}

#[test]
fn a_later_head_takes_the_place_of_one_with_its_key_and_what_lies_in_the_window_stays() {
    let mut queue = sorting(1);
    queue.place(vec![head(A, 100)], [(0, Lane::Window(A))]);
    queue.place(vec![WindowHead { passed: 3, ..head(A, 90) }], []);
    assert_eq!(queue.windows(200).open, [(WindowHead { passed: 3, ..head(A, 90) }, 1)]);
}

#[test]
fn a_window_too_many_is_refused_and_what_was_for_it_is_ready() {
    let key = |number: usize| GroupKey((number as u128).to_le_bytes());
    let mut queue = sorting(2);
    let heads = (0..WINDOWS_MAX).map(|number| head(key(number), 100)).collect();
    assert_eq!(queue.place(heads, [(0, Lane::Window(key(WINDOWS_MAX - 1)))]).heads.len(), WINDOWS_MAX);
    assert_eq!((queue.gathered(), queue.open_windows().0), (1, WINDOWS_MAX as u64), "at the most");
    let one_more = queue.place(vec![head(key(WINDOWS_MAX), 100)], [(1, Lane::Window(key(WINDOWS_MAX)))]);
    assert_eq!((one_more.heads.len(), one_more.has_more), (0, true), "one more");
    assert_eq!(sequences(&queue.claim(9, 0)), [1]);
    let known = queue.place(vec![head(key(3), 200)], []);
    assert_eq!(known.heads, [head(key(3), 200)], "one that is known is said anew all the same");
}

#[test]
fn windows_that_are_ended_are_one_digest_which_is_claimed_and_settled_as_one() {
    let mut queue = sorting(5);
    let lanes = [(0, Lane::Window(A)), (1, Lane::Window(B)), (2, Lane::Window(A)), (3, Lane::Ready)];
    queue.place(vec![head(A, 100), head(B, 200)], lanes);
    let ended = queue.end(&[A, B, GroupKey([9; 16])], id(7), 150, 0).expect("there is room");
    assert_eq!((ended.windows, numbers(&ended.members)), (vec![A, B], vec![0, 1, 2]));
    assert_eq!((queue.gathered(), queue.backlog(), queue.open_windows()), (0, 5, (0, None)));
    assert_eq!(queue.claim(1, 200).len(), 1, "the ready one");
    assert_eq!(
        (queue.claim(9, 200), queue.windows(200).others, queue.next_due()),
        (vec![], 0, None),
        "it is not offered"
    );
    assert!(queue.offer(id(7)) && !queue.offer(id(7)) && !queue.offer(id(8)));
    assert_eq!((queue.claim(9, 149), queue.windows(149).others, queue.next_due()), (vec![], 0, Some(150)));
    assert_eq!(queue.windows(150).others, 1, "it can go now");
    let claims = queue.claim(9, 150);
    assert_eq!((sequences(&claims), claims[0].digest, claims[0].due_ms), (vec![0], Some(id(7)), None));
    assert_eq!((queue.claim(9, 200), queue.in_flight()), (vec![], 4));
    assert_eq!(queue.delivery_state(2), Some(DeliveryState::InFlight));
    let all: Bitmap = (0..5).collect();
    assert_eq!(numbers(&queue.select(BulkAct::DeadLetter, &all)), [4], "what is in flight is left alone");

    assert_eq!(queue.settle_digest(id(7), 1, &scheduled(500)).map(|members| members.len()), Some(3));
    assert_eq!(queue.settle_digest(id(7), 1, &OutcomeState::Delivered), None, "settled once");
    assert_eq!((queue.next_due(), queue.claim(9, 499)), (Some(500), vec![]));
    assert!(matches!(queue.delivery_state(1), Some(DeliveryState::Scheduled { attempts: 1, due_ms: 500, .. })));
    let claim = queue.claim(9, 500)[0];
    assert_eq!((claim.attempts, claim.first_attempt_ms, claim.due_ms), (1, Some(1), Some(500)));
    queue.give_back(claim);
    assert_eq!((queue.in_flight(), queue.waiting().len()), (1, 3), "handed back, and the ready one still in flight");
    assert_eq!(queue.claim(9, 500), [claim]);
    queue.settle_digest(id(7), 2, &OutcomeState::Delivered);
    assert_eq!((queue.backlog(), queue.digest(id(7))), (1, None));
}

#[test]
fn a_digest_that_loses_a_member_to_erasing_goes_out_when_it_was_put_together_anew() {
    let mut queue = sorting(3);
    queue.place(vec![head(A, 100)], (0..3).map(|sequence| (sequence, Lane::Window(A))));
    queue.end(&[A], id(7), 100, 0);
    queue.offer(id(7));
    assert_eq!(queue.drop_waiting(&[1, 9].into_iter().collect()), [1]);
    assert_eq!(queue.claim(1, 100), vec![], "it may tell of what is gone");
    assert!(!queue.offer(id(7)), "it may have been put together before");
    assert!(queue.offer(id(7)));
    assert_eq!(queue.claim(1, 100)[0].digest, Some(id(7)));
    assert_eq!(queue.drop_waiting(&(0..3).collect()), [0; 0], "what is in flight is left alone");
    queue.settle_digest(id(7), 1, &scheduled(200));
    assert_eq!(queue.drop_waiting(&(0..3).collect()), [0, 2]);
    assert_eq!((queue.digest(id(7)), queue.backlog()), (None, 0));
}

#[test]
fn a_digest_that_is_given_up_makes_a_dead_letter_of_each_member() {
    let mut queue = sorting(3);
    queue.place(vec![head(A, 100)], (0..3).map(|sequence| (sequence, Lane::Window(A))));
    queue.end(&[A], id(7), 100, 0);
    queue.offer(id(7));
    queue.claim(1, 100);
    queue.settle_digest(id(7), 20, &OutcomeState::Dead { reason: "400".into() });
    assert_eq!((numbers(queue.dead()), queue.backlog()), (vec![0, 1, 2], 0));
    queue.select(BulkAct::Redeliver, &(0..3).collect());
    assert_eq!(all_unplaced(&mut queue), [0, 1, 2], "replayed together they are sorted again");
}

#[test]
fn windows_in_which_nothing_lies_are_forgotten_and_with_too_many_digests_they_stay() {
    let mut queue = sorting(DIGESTS_MAX as u64 + 1);
    queue.place(vec![head(B, 100)], []);
    let ended = queue.end(&[B], id(1), 100, 0).expect("there is room");
    assert_eq!((ended.windows, ended.members.len(), queue.open_windows().0), (vec![B], 0, 0));
    for number in 0..DIGESTS_MAX as u64 {
        queue.place(vec![head(A, 100)], [(number, Lane::Window(A))]);
        assert!(queue.end(&[A], id(number + 1), 100, 0).is_some(), "up to the most");
    }
    queue.place(vec![head(A, 100)], [(DIGESTS_MAX as u64, Lane::Window(A))]);
    assert_eq!(queue.end(&[A], id(99), 100, 0), None, "one more");
    assert_eq!((queue.gathered(), queue.open_windows().0), (1, 1));
    queue.offer(id(1));
    queue.claim(1, 100);
    queue.settle_digest(id(1), 1, &OutcomeState::Delivered);
    assert!(queue.end(&[A], id(99), 100, 0).is_some());
}

#[test]
fn a_digest_that_waits_for_another_attempt_may_be_tried_sooner() {
    let mut queue = sorting(1);
    queue.place(vec![head(A, 100)], [(0, Lane::Window(A))]);
    queue.end(&[A], id(1), 100, 0);
    queue.offer(id(1));
    assert!(!queue.hasten(id(1), 100), "it is due");
    queue.claim(1, 100);
    assert!(!queue.hasten(id(1), 100) && !queue.hasten(id(2), 100), "in flight, or none");
    queue.settle_digest(id(1), 1, &scheduled(900));
    assert_eq!(queue.claim(1, 200), []);
    assert!(queue.hasten(id(1), 200) && !queue.hasten(id(1), 200));
    assert_eq!((queue.next_due(), queue.claim(1, 199).len()), (Some(200), 0));
    assert_eq!(queue.claim(1, 200)[0].attempts, 1);
}

#[test]
fn digests_go_as_they_are_due_and_while_the_other_side_is_down_those_first_that_were_not_tried() {
    for (is_down, expected) in [(false, [id(1), id(2)]), (true, [id(2), id(1)])] {
        let mut queue = sorting(2);
        for (sequence, ends_ms) in [(0, 100), (1, 400)] {
            queue.place(vec![head(A, ends_ms)], [(sequence, Lane::Window(A))]);
            queue.end(&[A], id(sequence + 1), ends_ms, 0);
            queue.offer(id(sequence + 1));
        }
        queue.claim(1, 100);
        queue.settle_digest(id(1), 1, &scheduled(300));
        queue.state.open_since_ms = is_down.then_some(1);
        let claimed: Vec<_> = queue.claim(2, 500).iter().map(|claim| claim.digest).collect();
        assert_eq!(claimed, expected.map(Some), "{is_down}");
    }
}

#[test]
fn what_leaves_by_another_way_leaves_its_window_or_digest() {
    let mut queue = sorting(6);
    let lane = |sequence| (sequence, if sequence < 3 { Lane::Window(A) } else { Lane::Window(B) });
    queue.place(vec![head(A, 100), head(B, 100)], (0..6).map(lane));
    queue.end(&[A], id(7), 100, 0);
    queue.select(BulkAct::DeadLetter, &[0, 3].into_iter().collect());
    queue.apply(4, 1, &OutcomeState::Moved(NameId(9)));
    queue.apply(1, 1, &OutcomeState::Dropped);
    assert_eq!(queue.windows(200).open, [(head(B, 100), 1)]);
    assert_eq!(queue.digest(id(7)).map(|digest| numbers(&digest.members)), Some(vec![2]));
    queue.select(BulkAct::MoveWaiting(NameId(9)), &[2, 5].into_iter().collect());
    assert_eq!((queue.windows(200).open, queue.digest(id(7))), (vec![(head(B, 100), 0)], None));
    assert_eq!((queue.backlog(), queue.claim(9, 1_000)), (0, vec![]));
}

#[test]
fn retries_of_what_is_urgent_come_before_all_else_and_quiet_holds_the_rest() {
    let mut queue = sorting(6);
    queue.place(vec![head(A, 50)], (0..4).map(|n| (n, if n % 2 == 0 { Lane::Urgent } else { Lane::Ready })));
    queue.place(Vec::new(), [(4, Lane::Window(A))]);
    queue.end(&[A], id(7), 50, 0);
    queue.offer(id(7));
    assert!(queue.has_urgent(0));
    let claims = queue.claim(4, 0);
    assert_eq!((sequences(&claims), queue.has_urgent(99)), (vec![0, 2, 1, 3], false));
    queue.settle(2, 1, &scheduled(100));
    queue.settle(3, 1, &scheduled(60));
    queue.give_back(claims[2]);
    queue.give_back(claims[0]);
    assert!(queue.has_urgent(90), "handed back");
    assert_eq!(queue.claim_within(9, true, 90), [claims[0]], "of what was handed back, what is urgent");
    assert_eq!(queue.next_due(), Some(100), "what is due for such a claim");
    assert!(queue.has_urgent(100) && !queue.has_urgent(99));
    assert_eq!(sequences(&queue.claim_within(9, true, 100)), [2]);
    assert_eq!(queue.claim_within(9, true, 9_999), [], "no digest, and nothing ordinary");
    assert_eq!(queue.next_due(), None);
    queue.place(Vec::new(), [(5, Lane::Urgent)]);
    let mut rest = sequences(&queue.claim(9, 100));
    assert_eq!(rest[..2], [5, 1], "what is urgent, then what was handed back");
    rest.sort_unstable();
    assert_eq!(rest, [1, 3, 4, 5]);
}

#[test]
fn an_urgent_retry_that_is_due_again_and_again_holds_up_nothing() {
    for (is_down, others) in [(false, vec![1, 2, 3, 4]), (true, vec![3, 4, 1, 2])] {
        let mut queue = sorting(5);
        queue.place(Vec::new(), (0..5).map(|n| (n, if n < 3 { Lane::Urgent } else { Lane::Ready })));
        queue.state.open_since_ms = is_down.then_some(1);
        let mut claimed = Vec::new();
        for now_ms in 0..16 {
            let sequence = queue.claim(1, now_ms)[0].key.sequence;
            claimed.push(sequence);
            let outcome = if sequence == 0 { scheduled(now_ms) } else { OutcomeState::Delivered };
            queue.settle(sequence, 1, &outcome);
        }
        assert!(claimed.iter().filter(|sequence| **sequence == 0).count() >= 4, "{is_down}: {claimed:?}");
        claimed.retain(|sequence| *sequence != 0);
        assert_eq!(claimed, others, "{is_down}");
    }
}

#[test]
fn of_several_urgent_ones_that_are_not_taken_every_other_attempt_at_most_is_a_retry() {
    let mut queue = sorting(12);
    queue.place(Vec::new(), (0..12).map(|n| (n, if n < 4 { Lane::Urgent } else { Lane::Ready })));
    let mut claimed = Vec::new();
    for now_ms in 0..20 {
        let sequence = queue.claim(1, now_ms)[0].key.sequence;
        claimed.push(sequence);
        let outcome = if sequence < 4 { scheduled(now_ms) } else { OutcomeState::Delivered };
        queue.settle(sequence, 1, &outcome);
    }
    // Each urgent one has its first attempt before the rest.
    let is_half = |two: &[u64]| two.iter().filter(|sequence| **sequence >= 4).count() == 1;
    assert!(claimed[8..].chunks(2).all(is_half), "{claimed:?}");
}

#[test]
fn what_is_displaced_is_placed_anew_and_what_is_urgent_in_flight_or_a_digest_stays() {
    let mut queue = sorting(7);
    let lanes = [Lane::Urgent, Lane::Ready, Lane::Ready, Lane::Ready, Lane::Urgent, Lane::Ready];
    queue.place(vec![head(A, 50)], (0..6).zip(lanes));
    queue.place(Vec::new(), [(6, Lane::Window(A))]);
    queue.end(&[A], id(7), 50, 0);
    let claims = queue.claim(4, 0);
    assert_eq!(sequences(&claims), [0, 4, 1, 2]);
    queue.settle(0, 1, &scheduled(100));
    queue.settle(1, 1, &scheduled(100));
    queue.give_back(claims[3]);
    assert!(queue.displace());
    assert_eq!(all_unplaced(&mut queue), [1, 2, 3, 5], "scheduled, handed back, ready");
    assert_eq!((queue.scheduled(), queue.redeliveries(), queue.in_flight()), (1, 1, 1));
    assert!(queue.digest(id(7)).is_some());
    queue.add(9);
    assert_eq!(all_unplaced(&mut queue), [1, 2, 3, 5, 9]);
    assert!(!queue.is_backlog_placed());
    queue.place(vec![head(B, 100)], [1, 2, 3, 5].map(|sequence| (sequence, Lane::Window(B))));
    assert!(queue.is_backlog_placed(), "what came since is none of it");
}

#[test]
fn what_was_urgent_among_what_was_attempted_is_so_again_once_it_is_looked_at() {
    let mut queue = sorting(7);
    queue.place(Vec::new(), (0..6).map(|sequence| (sequence, Lane::Urgent)));
    let claims = queue.claim(6, 0);
    for (sequence, due_ms) in [(0, 300), (1, 200), (2, 100)] {
        queue.settle(sequence, 1, &scheduled(due_ms));
    }
    queue.give_back(claims[5]);
    queue.sort(true, 0);
    assert_eq!((queue.unjudged(9), queue.urgent(), queue.has_urgent(999)), (vec![], 0, false));
    assert!(queue.look_at_attempted());
    assert_eq!((queue.unjudged(2), queue.unjudged(9)), (vec![0, 1], vec![0, 1, 2, 3, 4, 5]), "until they are placed");
    queue.settle(4, 1, &OutcomeState::Delivered);
    let (some, others) = (queue.look_at_some(9), queue.look_at_some(9));
    assert_eq!([some, others], [(vec![0, 1, 2, 3, 5], true), (vec![6], false)], "in turn");
    let lanes = [Lane::Urgent, Lane::Ready, Lane::Window(A), Lane::Urgent];
    let placed = queue.place(vec![head(A, 50)], (0..4).zip(lanes).chain([(5, Lane::Urgent), (4, Lane::Urgent)]));
    assert!(placed.has_more && queue.unjudged(9).is_empty());
    assert_eq!((queue.urgent(), queue.windows(0).open), (3, vec![(head(A, 50), 0)]), "no window takes any");
    assert_eq!(queue.claim_within(9, true, 0), [claims[5]], "what was handed back");
    assert_eq!(sequences(&queue.claim_within(9, true, 999)), [0]);
    queue.settle(3, 1, &scheduled(400));
    assert_eq!(sequences(&queue.claim(9, 999)), [3, 2, 1], "what was in flight is urgent when it is tried again");
    queue.sort(false, 0);
    assert!(!queue.look_at_attempted(), "where nothing is sorted nothing is urgent");
}

#[test]
fn urgent_first_attempts_go_on_where_others_do_not_up_to_a_bound() {
    let most = URGENT_SCHEDULED_MAX as u64;
    let mut queue = sorting(most + 2);
    queue.place(Vec::new(), (0..most + 1).map(|sequence| (sequence, Lane::Urgent)));
    queue.place(Vec::new(), [(most + 1, Lane::Ready)]);
    let schedule = |queue: &mut Queue, count: usize| {
        for claim in queue.claim(count, 0) {
            queue.settle(claim.key.sequence, 1, &scheduled(1_000));
        }
    };
    schedule(&mut queue, SCHEDULED_MAX);
    assert_eq!(queue.scheduled(), SCHEDULED_MAX);
    schedule(&mut queue, URGENT_SCHEDULED_MAX - SCHEDULED_MAX - 1);
    assert_eq!(sequences(&queue.claim(1, 0)), [most - 1], "one below the bound");
    queue.settle(most - 1, 1, &scheduled(1_000));
    assert_eq!(queue.claim(9, 0), [], "at the bound");
}

#[test]
fn who_sorts_no_more_forgets_windows_and_what_lay_in_them_is_as_old_as_that() {
    let mut queue = sorting(4);
    queue.place(vec![head(A, 100), head(B, 100)], [(0, Lane::Window(A)), (1, Lane::Ready), (2, Lane::Window(B))]);
    queue.end(&[B], id(7), 50, 10);
    assert_eq!(queue.sort(false, 20), [A]);
    assert_eq!((queue.gathered(), queue.backlog(), queue.lanes.is_some()), (0, 4, true));
    assert_eq!(
        numbers(&queue.unattempted_below(9, 5)),
        [1, 3],
        "neither what is in a digest nor what was let out at 20"
    );
    assert_eq!(numbers(&queue.unattempted_below(9, 20)), [0, 1, 3]);
    let mut all = queue.claim(9, 50);
    assert_eq!(all.len(), 3);
    queue.offer(id(7));
    all.extend(queue.claim(9, 50));
    all.sort_by_key(|claim| claim.key.sequence);
    assert_eq!(sequences(&all), [0, 1, 2, 3]);
    assert_eq!(all[2].digest, Some(id(7)), "a digest goes on as one");
    queue.settle_digest(id(7), 1, &OutcomeState::Delivered);
    assert!(queue.lanes.is_none());
}

#[test]
fn what_waited_in_a_window_before_a_start_is_not_given_up_because_the_section_sorts_no_more() {
    let mut queue = sorting(2);
    queue.place(vec![head(A, 100)], [(0, Lane::Window(A))]);
    let mut queue = Queue::restore(NameId(1), queue.snapshot());
    assert_eq!(numbers(&queue.unattempted_below(9, 0)), [0; 0], "it may be to lie in the window");
    assert_eq!(queue.sort(false, 70), [A]);
    assert_eq!(numbers(&queue.unattempted_below(9, 69)), [0; 0]);
    assert_eq!(numbers(&queue.unattempted_below(9, 70)), [0, 1]);
}

#[test]
fn time_in_a_window_ages_nothing_and_neither_does_time_before_a_lane() {
    let mut queue = sorting(4);
    assert_eq!(
        (numbers(&queue.unattempted_below(9, 0)), queue.oldest()),
        (vec![], Oldest { unplaced: Some(0), first_unplaced: Some(0), ..Oldest::default() })
    );
    queue.place(vec![head(A, 100)], [(0, Lane::Window(A)), (1, Lane::Ready), (2, Lane::Urgent)]);
    let last = Oldest { unplaced: Some(3), first_unplaced: Some(3), ..Oldest::default() };
    assert_eq!(numbers(&queue.unattempted_below(9, 0)), [1, 2]);
    assert_eq!(
        (numbers(&queue.never_held()), queue.oldest_never_held(), queue.oldest()),
        (vec![1, 2], Some(1), Oldest { event: Some(1), ..last })
    );
    assert_eq!(queue.oldest_pinning(), Some(0), "it keeps the journal from being trimmed all the same");
    queue.end(&[A], id(7), 100, 30);
    assert_eq!(numbers(&queue.unattempted_below(9, 29)), [1, 2]);
    assert_eq!(numbers(&queue.unattempted_below(9, 30)), [1, 2], "a digest is given up by the age of its attempts");
    assert_eq!(
        (numbers(&queue.never_held()), queue.oldest()),
        (vec![1, 2], Oldest { event: Some(1), closed_ms: Some(100), ..last })
    );
    queue.dissolve(id(7));
    assert_eq!(queue.oldest(), Oldest { event: Some(1), let_go_ms: Some(30), ..last });
    assert_eq!(numbers(&queue.unattempted_below(9, 29)), [1, 2]);
    assert_eq!(numbers(&queue.unattempted_below(9, 30)), [0, 1, 2]);
}

#[test]
fn what_was_let_go_or_put_there_again_is_to_be_placed_and_no_older_than_that() {
    let mut queue = sorting(2);
    queue.place(vec![], [(0, Lane::Ready), (1, Lane::Ready)]);
    for claim in queue.claim(2, 0) {
        assert!(queue.settle(claim.key.sequence, 1, &OutcomeState::Delivered));
    }
    queue.hold(NameId(9), 2);
    queue.let_go(NameId(9), 5);
    let again: Bitmap = [0, 1].into_iter().collect();
    queue.select(BulkAct::Redeliver, &again);
    queue.is_as_old_as(7, &again);
    assert_eq!(queue.oldest(), Oldest { first_unplaced: Some(0), ..Oldest::default() });
    queue.place(vec![], [(0, Lane::Ready), (1, Lane::Ready)]);
    assert_eq!(queue.oldest(), Oldest { first_unplaced: Some(2), let_go_ms: Some(7), ..Oldest::default() });
    queue.place(vec![], [(2, Lane::Ready)]);
    assert_eq!(queue.oldest(), Oldest { let_go_ms: Some(5), ..Oldest::default() });
}

#[test]
fn a_million_members_are_closed_and_settled_by_whole_chunks_and_nothing_is_left_of_them() {
    let most = 1_000_000;
    let mut queue = sorting(most);
    queue.place(vec![head(A, 100)], (0..most).map(|sequence| (sequence, Lane::Window(A))));
    queue.end(&[A], id(7), 100, 30);
    queue.offer(id(7));
    queue.claim(1, 100);
    queue.settle_digest(id(7), 1, &OutcomeState::Delivered);
    assert_eq!((queue.backlog(), queue.let_go.values().map(Bitmap::len).sum::<u64>()), (0, 0));
}

#[test]
fn digests_and_windows_are_moved_to_another_clock_and_none_is_put_off() {
    let mut queue = sorting(2);
    queue.place(vec![head(A, 1_000), WindowHead { opened_ms: 500, ..head(B, 2_000) }], [(0, Lane::Window(A))]);
    queue.end(&[A], id(7), 1_000, 0);
    queue.offer(id(7));
    queue.claim(1, 1_000);
    queue.settle_digest(id(7), 1, &scheduled(3_000));
    queue.move_by(-100);
    assert_eq!(queue.windows(200).open[0].0, WindowHead { opened_ms: 400, ..head(B, 1_900) });
    assert_eq!(queue.next_due(), Some(2_900));
    queue.move_by(100);
    assert_eq!((queue.windows(200).open[0].0.ends_ms, queue.next_due()), (1_900, Some(2_900)));
    queue.clamp_due(600);
    assert_eq!((queue.windows(200).open[0].0.ends_ms, queue.next_due()), (600, Some(600)));
}

#[test]
fn the_time_of_a_pause_does_not_count_for_a_digest_and_its_end_makes_it_due() {
    let mut queue = sorting(1);
    queue.place(vec![head(A, 10)], [(0, Lane::Window(A))]);
    queue.end(&[A], id(7), 10, 0);
    queue.offer(id(7));
    queue.claim(1, 10);
    queue.settle_digest(id(7), 1, &scheduled(5_000));
    assert!(queue.control(&Act::RetryNow, 50));
    assert_eq!(queue.next_due(), Some(50));
    assert!(queue.control(&Act::Pause("410".into()), 100));
    assert!(queue.control(&Act::Resume, 1_100));
    assert_eq!(queue.claim(1, 1_100)[0].first_attempt_ms, Some(1 + 1_000));
}

#[test]
fn a_digest_that_is_dissolved_is_ready_deliveries_unless_it_is_in_flight() {
    let mut queue = sorting(3);
    queue.place(vec![head(A, 10)], (0..3).map(|sequence| (sequence, Lane::Window(A))));
    queue.end(&[A], id(7), 10, 0);
    queue.offer(id(7));
    let claim = queue.claim(1, 10)[0];
    assert!(!queue.dissolve(id(7)) && queue.digest(id(7)).is_some(), "in flight");
    queue.settle_digest(id(7), 1, &scheduled(50));
    assert!(queue.dissolve(id(7)) && !queue.dissolve(id(7)));
    assert_eq!((queue.next_due(), queue.settle_digest(id(7), 2, &scheduled(60))), (None, None));
    queue.give_back(claim);
    assert_eq!((all_unplaced(&mut queue), sequences(&queue.claim(9, 50))), (vec![], vec![0, 1, 2]));
    queue.take_back_all();
    queue.sort(true, 0);
    queue.place(vec![head(A, 10)], (0..3).map(|sequence| (sequence, Lane::Window(A))));
    queue.end(&[A], id(8), 10, 0);
    queue.offer(id(8));
    let claim = queue.claim(1, 10)[0];
    queue.withhold(id(8));
    assert!(queue.digest(id(8)).is_some_and(Closed::is_offered), "it is in flight");
    queue.give_back(claim);
    queue.withhold(id(8));
    assert_eq!(queue.claim(9, 10), []);
    assert!(queue.offer(id(8)));
    let claim = queue.claim(1, 10)[0];
    queue.give_back(claim);
    assert!(queue.dissolve(id(8)), "it was handed back");
    assert_eq!(sequences(&queue.claim(9, 10)), [0, 1, 2]);
    queue.take_back_all();
    queue.sort(true, 0);
    queue.place(vec![head(A, 10)], (0..3).map(|sequence| (sequence, Lane::Window(A))));
    queue.end(&[A], id(8), 10, 0);
    queue.sort(false, 0);
    assert_eq!(queue.claim(9, 10), []);
    assert!(queue.dissolve(id(8)));
    assert_eq!(sequences(&queue.claim(9, 10)), [0, 1, 2]);
}

#[test]
fn to_sort_anew_takes_every_lane_and_leaves_windows_and_digests() {
    let mut queue = sorting(5);
    let lanes = [Lane::Urgent, Lane::Ready, Lane::Window(A), Lane::Window(B), Lane::Urgent];
    queue.place(vec![head(A, 10), head(B, 10)], (0..5).zip(lanes));
    queue.end(&[B], id(7), 10, 0);
    queue.offer(id(7));
    queue.claim(1, 0);
    queue.sort(true, 0);
    assert_eq!(all_unplaced(&mut queue), [1, 2, 4], "neither what is in flight nor what is in a digest");
    assert_eq!(queue.windows(200).open, [(head(A, 10), 0)]);
    assert_eq!((queue.claim(9, 10)[0].digest, queue.urgent()), (Some(id(7)), 0));
}

#[test]
fn records_of_digests_that_are_read_twice_change_nothing_and_one_of_an_unknown_digest_is_ignored() {
    let record = |what| DigestRecord { destination: NameId(1), at_ms: 50, what };
    let schedule = |id, reason: &str| {
        record(DigestAct::Scheduled { id, attempts: 1, first_attempt_ms: 60, due_ms: 90, reason: reason.into() })
    };
    let members = |numbers: &[u64]| numbers.iter().copied().collect::<Bitmap>();
    let read = |queue: &mut Queue| {
        (0..6).for_each(|sequence| queue.read_again(sequence, None));
        queue.apply_windows(&[head(A, 10), head(B, 20)]);
        queue.apply_digest(&record(DigestAct::Closed { id: id(1), windows: vec![A], members: members(&[0, 1]) }), 5);
        queue.apply_digest(&schedule(id(1), "503"), 5);
        queue.apply_windows(&[head(A, 30)]);
        queue.apply_digest(&record(DigestAct::Closed { id: id(2), windows: vec![B], members: members(&[2, 3]) }), 5);
        queue.apply_digest(&record(DigestAct::Delivered { id: id(2), attempts: 1, members: members(&[2, 3]) }), 5);
        queue.apply_digest(&schedule(id(2), "late"), 5);
        queue.apply_digest(&record(DigestAct::Closed { id: id(3), windows: vec![], members: members(&[4, 5]) }), 5);
        queue.apply(5, 1, &OutcomeState::Delivered);
        queue.select(BulkAct::Redeliver, &members(&[5]));
    };
    let mut queue = Queue::new(NameId(1));
    read(&mut queue);
    let once = format!("{:?}", queue.snapshot());
    read(&mut queue);
    assert_eq!(format!("{:?}", queue.snapshot()), once);
    let Snapshot { windows, digests, .. } = queue.snapshot();
    assert_eq!(windows, [head(A, 30)]);
    let known: Vec<_> = digests.iter().map(|(id, digest)| (*id, numbers(&digest.members), digest.attempts)).collect();
    assert_eq!(known, [(id(1), vec![0, 1], 1), (id(3), vec![4], 0)]);
    assert_eq!((numbers(&queue.waiting()), queue.next_due()), (vec![0, 1, 4, 5], None), "none is offered");
    let records = queue.digest(id(1)).expect("it is closed").records(NameId(1), id(1));
    let said: Vec<_> = records.into_iter().map(|record| record.what).collect();
    let mut other = Queue::new(NameId(1));
    (0..2).for_each(|sequence| other.add(sequence));
    said.into_iter().for_each(|what| other.apply_digest(&record(what), 5));
    assert_eq!(other.digest(id(1)), queue.digest(id(1)), "said again it is the same");
}

/// Where a delivery is, by the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Waits,
    Scheduled { due_ms: u64 },
    Dead,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Urgent,
    Ready,
    Window(GroupKey),
    Digest(DigestId),
}

#[derive(Clone, Copy, Debug)]
struct Known {
    place: Place,
    has: Option<Has>,
    is_in_hand: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Place(u8),
    Claim { max: usize, urgent_only: bool },
    Settle { at: usize, how: u8 },
    End(u8),
    Offer,
    Hasten,
    Dissolve,
    Displace,
    Judge(u8),
    GiveUp(u64),
    Replay(u64),
    Sort(bool),
    Restart,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1u8..6).prop_map(Step::Add),
        4 => any::<u8>().prop_map(Step::Place),
        4 => (1usize..5, prop::bool::weighted(0.3)).prop_map(|(max, urgent_only)| Step::Claim { max, urgent_only }),
        5 => (any::<usize>(), 0u8..5).prop_map(|(at, how)| Step::Settle { at, how }),
        2 => any::<u8>().prop_map(Step::End),
        2 => Just(Step::Offer),
        1 => Just(Step::Hasten),
        1 => Just(Step::Dissolve),
        1 => Just(Step::Displace),
        2 => any::<u8>().prop_map(Step::Judge),
        1 => any::<u64>().prop_map(Step::GiveUp),
        1 => any::<u64>().prop_map(Step::Replay),
        1 => prop::bool::weighted(0.8).prop_map(Step::Sort),
        1 => Just(Step::Restart),
        1 => (1u64..40).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

/// A queue, and the map that says of each delivery where it is.
struct Both {
    queue: Queue,
    known: BTreeMap<u64, Known>,
    windows: Vec<GroupKey>,
    in_hand: Vec<Claim>,
    returned: Vec<Claim>,
    now_ms: u64,
    digests: u64,
    sorts: bool,
    /// What is scheduled and turns out not to be urgent waits anew.
    displaces: bool,
}

impl Both {
    fn members(&self, of: DigestId) -> Vec<u64> {
        let of_it = self.known.iter().filter(|(_, known)| known.has == Some(Has::Digest(of)));
        of_it.map(|(sequence, _)| *sequence).collect()
    }

    fn deliveries(&self, claim: &Claim) -> Vec<u64> {
        claim.digest.map_or_else(|| vec![claim.key.sequence], |id| self.members(id))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Add(count) => {
                for _ in 0..count {
                    let sequence = self.known.len() as u64 * 3;
                    self.queue.add(sequence);
                    self.known.insert(sequence, Known { place: Place::Waits, has: None, is_in_hand: false });
                }
            }
            Step::Place(seed) => self.place(seed),
            Step::Judge(seed) => self.judge(seed),
            Step::Claim { max, urgent_only } => self.claim(max, urgent_only),
            Step::Settle { at, how } => self.settle(at, how),
            Step::End(seed) => self.end(seed),
            Step::Offer => {
                let ids: Vec<DigestId> = self.queue.digests().map(|(id, _)| id).collect();
                for id in ids {
                    self.queue.offer(id);
                }
            }
            Step::Hasten => {
                let ids: Vec<DigestId> = self.queue.digests().map(|(id, _)| id).collect();
                for id in ids {
                    self.queue.hasten(id, self.now_ms);
                }
            }
            Step::Dissolve => {
                let Some((id, digest)) = self.queue.digests().next() else { return };
                let handed_back = self.returned.iter().position(|claim| claim.digest == Some(id));
                if let Some(claim) = handed_back.map(|at| self.returned.remove(at)) {
                    for sequence in self.deliveries(&claim) {
                        self.known.get_mut(&sequence).expect("known").is_in_hand = false;
                    }
                }
                let is_in_flight = digest.is_in_hand && handed_back.is_none();
                assert_eq!(self.queue.dissolve(id), !is_in_flight);
                if !is_in_flight {
                    let was_in_it = |known: &&mut Known| known.has == Some(Has::Digest(id));
                    let ready = self.sorts.then_some(Has::Ready);
                    self.known.values_mut().filter(was_in_it).for_each(|known| known.has = ready);
                }
            }
            Step::Displace => {
                let unjudged = self.queue.unjudged(1 << 20);
                self.queue.displace();
                if self.sorts {
                    self.take_back(false);
                    self.displaces = !unjudged.is_empty();
                    for (sequence, known) in &mut self.known {
                        let is_urgent = known.has == Some(Has::Urgent) || unjudged.contains(sequence);
                        if matches!(known.place, Place::Scheduled { .. }) && !known.is_in_hand && !is_urgent {
                            known.place = Place::Waits;
                        }
                        known.has = known.has.filter(|has| *has != Has::Ready);
                    }
                }
            }
            Step::GiveUp(which) => {
                let some: Bitmap = self.known.keys().copied().filter(|n| which >> (n / 3 % 64) & 1 == 1).collect();
                self.take_back(true);
                let given_up = self.queue.select(BulkAct::DeadLetter, &some);
                for sequence in some.iter_from(0) {
                    let known = self.known.get_mut(&sequence).expect("known");
                    let is_meant = !known.is_in_hand && matches!(known.place, Place::Waits | Place::Scheduled { .. });
                    assert_eq!(given_up.contains(sequence), is_meant);
                    if is_meant {
                        (known.place, known.has) = (Place::Dead, None);
                    }
                }
            }
            Step::Replay(which) => {
                let some: Bitmap = self.known.keys().copied().filter(|n| which >> (n / 3 % 64) & 1 == 1).collect();
                for sequence in self.queue.select(BulkAct::Redeliver, &some).iter_from(0) {
                    let known = self.known.get_mut(&sequence).expect("known");
                    assert!(matches!(known.place, Place::Dead | Place::Gone));
                    known.place = Place::Waits;
                }
            }
            Step::Sort(sorts) => {
                let forgotten = self.queue.sort(sorts, 0);
                self.unplace();
                if !sorts {
                    assert_eq!(forgotten.len(), std::mem::take(&mut self.windows).len());
                }
                (self.sorts, self.displaces) = (sorts, false);
            }
            Step::Restart => {
                self.queue = Queue::restore(NameId(1), self.queue.snapshot());
                let again = Queue::restore(NameId(1), self.queue.snapshot()).snapshot();
                assert_eq!(format!("{:?}", self.queue.snapshot()), format!("{again:?}"));
                self.in_hand.clear();
                self.returned.clear();
                self.known.values_mut().for_each(|known| known.is_in_hand = false);
                self.unplace();
                (self.sorts, self.displaces) = (false, false);
            }
            Step::Wait(ms) => self.now_ms += ms,
        }
    }

    fn unplace(&mut self) {
        for known in self.known.values_mut() {
            known.has = known.has.filter(|has| matches!(has, Has::Digest(_)));
        }
    }

    /// What was handed back is where it was; or what of it is ordinary.
    fn take_back(&mut self, all: bool) {
        for claim in std::mem::take(&mut self.returned) {
            let is_urgent = self.known[&claim.key.sequence].has == Some(Has::Urgent);
            if all || (claim.digest.is_none() && !is_urgent) {
                for sequence in self.deliveries(&claim) {
                    self.known.get_mut(&sequence).expect("known").is_in_hand = false;
                }
            } else {
                self.returned.push(claim);
            }
        }
    }

    fn place(&mut self, seed: u8) {
        let keys = [A, B, GroupKey([3; 16])];
        let opened = keys[usize::from(seed % 3)];
        let lane_of = |sequence: u64| match (sequence + u64::from(seed)) % 5 {
            0 => Lane::Urgent,
            1 => Lane::Ready,
            other => Lane::Window(keys[other as usize - 2]),
        };
        let some = self.queue.unplaced(1 + usize::from(seed % 7));
        let placed: Vec<_> = some.iter().map(|sequence| (*sequence, lane_of(*sequence))).collect();
        self.queue.place(vec![head(opened, self.now_ms + 30)], placed.clone());
        if !self.sorts {
            assert_eq!(some, [0; 0]);
            return;
        }
        if !self.windows.contains(&opened) {
            self.windows.push(opened);
        }
        for (sequence, lane) in placed {
            let known = self.known.get_mut(&sequence).expect("known");
            assert!(known.has.is_none() && known.place == Place::Waits && !known.is_in_hand, "{sequence} {known:?}");
            known.has = Some(match lane {
                Lane::Urgent => Has::Urgent,
                Lane::Window(key) if self.windows.contains(&key) => Has::Window(key),
                Lane::Ready | Lane::Window(_) | Lane::InOrder(_) => Has::Ready,
            });
        }
    }

    /// Some of what was attempted is looked at: whether it is urgent.
    fn judge(&mut self, seed: u8) {
        let has_any = self.queue.look_at_attempted();
        let is_attempted = |known: &Known| {
            let is_scheduled = matches!(known.place, Place::Scheduled { .. });
            is_scheduled || known.is_in_hand && !matches!(known.has, Some(Has::Digest(_)))
        };
        let attempted = self.known.iter().filter(|(_, known)| self.sorts && is_attempted(known));
        let attempted: Vec<u64> = attempted.map(|(sequence, _)| *sequence).collect();
        assert_eq!((has_any, self.queue.unjudged(1 << 20)), (!attempted.is_empty(), attempted));
        let some = self.queue.unjudged(1 + usize::from(seed % 7));
        let is_urgent = |sequence: &u64| (sequence + u64::from(seed)).is_multiple_of(2);
        let lane_of = |sequence: u64| (sequence, if is_urgent(&sequence) { Lane::Urgent } else { Lane::Ready });
        self.queue.place(Vec::new(), some.iter().copied().map(lane_of));
        for sequence in some {
            let known = self.known.get_mut(&sequence).expect("known");
            if is_urgent(&sequence) {
                known.has.get_or_insert(Has::Urgent);
            } else if self.displaces
                && matches!(known.place, Place::Scheduled { .. })
                && !known.is_in_hand
                && known.has.is_none()
            {
                known.place = Place::Waits;
            }
        }
    }

    /// What may be claimed, as the map has it.
    fn is_claimable(&self, known: &Known, urgent_only: bool) -> bool {
        let is_urgent = known.has == Some(Has::Urgent);
        if known.is_in_hand || (urgent_only && !(is_urgent && self.sorts)) {
            return false;
        }
        match (known.place, known.has) {
            (Place::Scheduled { due_ms }, _) => due_ms <= self.now_ms,
            (Place::Waits, Some(Has::Digest(id))) => {
                self.queue.digest(id).is_some_and(|digest| digest.is_offered && digest.due_ms <= self.now_ms)
            }
            (Place::Waits, Some(Has::Urgent | Has::Ready)) => true,
            (Place::Waits, None) => !self.sorts,
            _ => false,
        }
    }

    fn claim(&mut self, max: usize, urgent_only: bool) {
        let claims = self.queue.claim_within(max, urgent_only, self.now_ms);
        let mut was_ordinary = false;
        for claim in &claims {
            let first = claim.key.sequence;
            if let Some(at) = self.returned.iter().position(|returned| returned == claim) {
                assert!(!was_ordinary, "what was handed back goes first");
                self.returned.remove(at);
                assert!(!urgent_only || self.known[&first].has == Some(Has::Urgent));
            } else {
                let deliveries = self.deliveries(claim);
                assert_eq!(deliveries.first(), Some(&first));
                for sequence in deliveries {
                    assert!(self.is_claimable(&self.known[&sequence], urgent_only), "{claim:?}");
                    self.known.get_mut(&sequence).expect("known").is_in_hand = true;
                }
                let is_ordinary = self.known[&first].has != Some(Has::Urgent);
                // A second retry of what is urgent leaves the turn between to others.
                let is_retry = claim.due_ms.is_some();
                assert!(!self.sorts || is_ordinary || is_retry || !was_ordinary, "what is urgent goes before");
                was_ordinary |= is_ordinary;
            }
            self.in_hand.push(*claim);
        }
        if claims.len() < max {
            let left = self.known.values().find(|known| self.is_claimable(known, urgent_only));
            assert!(left.is_none(), "{left:?} was left");
        }
    }

    fn settle(&mut self, at: usize, how: u8) {
        if self.in_hand.is_empty() {
            return;
        }
        let claim = self.in_hand.remove(at % self.in_hand.len());
        if how == 0 {
            self.queue.give_back(claim);
            self.returned.push(claim);
            return;
        }
        let due_ms = self.now_ms + 20;
        let (state, place) = match how {
            1 | 2 => (OutcomeState::Delivered, Place::Gone),
            3 => (OutcomeState::Dead { reason: "no".into() }, Place::Dead),
            _ => (scheduled(due_ms), Place::Scheduled { due_ms }),
        };
        let members = self.deliveries(&claim);
        match claim.digest {
            None => assert!(self.queue.settle(claim.key.sequence, 1, &state)),
            Some(id) => {
                let settled = self.queue.settle_digest(id, 1, &state).expect("in flight");
                assert_eq!(numbers(&settled), members);
            }
        }
        for sequence in members {
            let known = self.known.get_mut(&sequence).expect("known");
            known.is_in_hand = false;
            if how == 4 {
                if claim.digest.is_none() {
                    known.place = place;
                    known.has = known.has.filter(|has| *has == Has::Urgent);
                }
            } else {
                (known.place, known.has) = (place, None);
            }
        }
    }

    fn end(&mut self, seed: u8) {
        let keys: Vec<GroupKey> = [A, B].into_iter().take(1 + usize::from(seed % 2)).collect();
        self.digests += 1;
        let Some(ended) = self.queue.end(&keys, id(self.digests), self.now_ms, 0) else {
            return assert!(!self.sorts || self.queue.digests().count() == DIGESTS_MAX);
        };
        self.windows.retain(|key| !ended.windows.contains(key));
        for (sequence, known) in &mut self.known {
            let is_in = matches!(known.has, Some(Has::Window(key)) if keys.contains(&key));
            assert_eq!(ended.members.contains(*sequence), is_in);
            if is_in {
                known.has = Some(Has::Digest(id(self.digests)));
            }
        }
    }

    fn check(&mut self) {
        let set = |is: &dyn Fn(&Known) -> bool| -> Vec<u64> {
            self.known.iter().filter(|(_, known)| is(known)).map(|(sequence, _)| *sequence).collect()
        };
        let count = |is: &dyn Fn(&Known) -> bool| set(is).len() as u64;
        let waits = |known: &Known| known.place == Place::Waits;
        let is_scheduled = |known: &Known| matches!(known.place, Place::Scheduled { .. });
        let is_gathered = |known: &Known| matches!(known.has, Some(Has::Window(_)));
        assert_eq!(set(&|known| known.place == Place::Dead), numbers(self.queue.dead()));
        assert_eq!(self.queue.gathered(), count(&is_gathered));
        assert_eq!(self.queue.backlog(), count(&|known| (waits(known) || is_scheduled(known)) && !is_gathered(known)));
        assert_eq!(self.queue.urgent(), count(&|known| known.has == Some(Has::Urgent)));
        let is_unplaced = |known: &Known| self.sorts && waits(known) && known.has.is_none() && !known.is_in_hand;
        let unplaced = set(&is_unplaced);
        assert_eq!(self.queue.count_unplaced(), unplaced.len() as u64);
        if let Some(lanes) = &self.queue.lanes {
            for (key, window) in &lanes.windows {
                let mut members = Bitmap::default();
                window.members.add_to(&mut members);
                assert_eq!(numbers(&members), set(&|known| known.has == Some(Has::Window(*key))));
            }
            for (id, digest) in &lanes.digests {
                assert!(!digest.members.is_empty());
                assert_eq!(numbers(&digest.members), set(&|known| known.has == Some(Has::Digest(*id))));
            }
            let ready: Vec<u64> = numbers(&lanes.ready);
            assert_eq!(ready, set(&|known| known.has == Some(Has::Ready)));
            assert_eq!(lanes.closed.len(), count(&|known| matches!(known.has, Some(Has::Digest(_)))));
            assert_eq!(numbers(&lanes.placed), set(&|known| waits(known) && known.has.is_some()));
            let in_queue = self.queue.scheduled.keys().filter(|(_, sequence)| lanes.urgent.contains(*sequence));
            assert!(lanes.urgent_due.iter().eq(in_queue), "what is urgent and due");
        }
        assert_eq!(all_unplaced(&mut self.queue), unplaced);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn each_delivery_is_in_one_lane_and_what_a_map_says_of_it_holds(steps in steps()) {
        let mut both = Both {
            queue: Queue::new(NameId(1)),
            known: BTreeMap::new(),
            windows: Vec::new(),
            in_hand: Vec::new(),
            returned: Vec::new(),
            now_ms: 100,
            digests: 0,
            sorts: false,
            displaces: false,
        };
        for step in &steps {
            both.step(step);
            both.check();
        }
    }
}

//! The queue, act by act.

use super::*;

fn queue(waiting: u64) -> Queue {
    let mut queue = Queue::new(NameId(1));
    (0..waiting).for_each(|sequence| queue.add(sequence));
    queue
}

fn sequences(claims: &[Claim]) -> Vec<u64> {
    claims.iter().map(|claim| claim.key.sequence).collect()
}

fn scheduled(due_ms: u64) -> OutcomeState {
    OutcomeState::Scheduled { first_attempt_ms: 1, due_ms, reason: "503".into() }
}

#[test]
fn first_attempts_go_out_once_and_in_order_of_age() {
    let mut queue = queue(5);
    assert_eq!(sequences(&queue.claim(3, 0)), [0, 1, 2]);
    assert_eq!(sequences(&queue.claim(9, 0)), [3, 4]);
    assert_eq!(queue.claim(9, 0), []);
    assert_eq!((queue.backlog(), queue.in_flight()), (5, 5));
}

#[test]
fn what_is_delivered_or_dead_is_gone_and_what_is_scheduled_returns_when_due() {
    let mut queue = queue(3);
    queue.claim(3, 0);
    assert!(queue.settle(0, 1, &OutcomeState::Delivered));
    assert!(queue.settle(1, 1, &OutcomeState::Dead { reason: "no".into() }));
    assert!(queue.settle(2, 1, &scheduled(100)));
    assert_eq!((queue.backlog(), queue.dead().len(), queue.next_due()), (1, 1, Some(100)));
    assert_eq!(queue.claim(9, 99), []);
    let claim = queue.claim(9, 100)[0];
    assert_eq!((claim.key.sequence, claim.attempts, claim.first_attempt_ms, claim.due_ms), (2, 1, Some(1), Some(100)));
    assert_eq!(queue.backlog(), 1);
    queue.settle(2, 2, &OutcomeState::Delivered);
    assert_eq!((queue.backlog(), queue.oldest().event), (0, None));
}

#[test]
fn a_claim_is_settled_once() {
    let mut queue = queue(1);
    queue.claim(1, 0);
    assert!(queue.settle(0, 1, &OutcomeState::Delivered));
    assert!(!queue.settle(0, 1, &OutcomeState::Dead { reason: "late".into() }));
    assert_eq!(queue.dead().len(), 0);
}

#[test]
fn a_released_claim_goes_out_first_and_unchanged() {
    let mut queue = queue(3);
    let first = queue.claim(1, 0)[0];
    queue.give_back(first);
    assert_eq!((queue.in_flight(), queue.delivery_state(0)), (0, Some(DeliveryState::Waiting)));
    assert_eq!(queue.claim(1, 0), [first]);
    queue.settle(0, 1, &scheduled(50));
    let retry = queue.claim(9, 50).into_iter().find(|claim| claim.key.sequence == 0).expect("due");
    queue.give_back(retry);
    assert!(matches!(queue.delivery_state(0), Some(DeliveryState::Scheduled { attempts: 1, .. })));
    assert_eq!(queue.claim(1, 50), [retry]);
}

#[test]
fn what_was_handed_back_waits_and_can_be_moved_to_another_queue() {
    let mut queue = queue(3);
    let claims = queue.claim(2, 0);
    queue.settle(0, 1, &scheduled(10));
    queue.give_back(claims[1]);
    let retry = queue.claim(2, 10).into_iter().find(|claim| claim.key.sequence == 0).expect("the retry");
    queue.give_back(retry);
    let waiting = queue.waiting();
    assert_eq!(waiting.iter_from(0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(queue.select(BulkAct::MoveWaiting(NameId(9)), &waiting).len(), 2);
    assert_eq!((queue.backlog(), queue.in_flight()), (1, 1));
}

#[test]
fn due_retries_and_first_attempts_alternate() {
    let mut queue = queue(6);
    queue.claim(3, 0);
    for sequence in 0..3 {
        queue.settle(sequence, 1, &scheduled(10));
    }
    let claims = queue.claim(6, 10);
    let kinds: Vec<_> = claims.iter().map(|claim| claim.due_ms.is_some()).collect();
    assert!(kinds == [true, false, true, false, true, false] || kinds == [false, true, false, true, false, true]);
}

#[test]
fn at_the_cap_of_scheduled_no_first_attempts_go_out() {
    let mut queue = queue(SCHEDULED_MAX as u64 + 5);
    for claim in queue.claim(SCHEDULED_MAX - 1, 0) {
        queue.settle(claim.key.sequence, 1, &scheduled(1_000));
    }
    let last = queue.claim(1, 0);
    assert_eq!(last.len(), 1, "one below the cap");
    queue.settle(last[0].key.sequence, 1, &scheduled(1_000));
    assert_eq!(queue.claim(9, 0), [], "at the cap");
    assert_eq!(
        queue.claim(9, 1_000).iter().filter(|claim| claim.due_ms.is_some()).count(),
        5,
        "retries go on, in turn"
    );
}

#[test]
fn a_pause_holds_everything_and_its_time_does_not_count() {
    let mut queue = queue(2);
    queue.claim(1, 0);
    queue.settle(0, 1, &scheduled(5_000));
    assert!(queue.control(&Act::Pause("410".into()), 100));
    assert!(!queue.control(&Act::Pause("again".into()), 200));
    assert_eq!(queue.claim(9, 9_999), []);
    assert!(queue.control(&Act::Resume, 1_100));
    assert!(!queue.control(&Act::Resume, 1_100));
    let claims = queue.claim(9, 1_100);
    let retry = claims.iter().find(|claim| claim.due_ms.is_some()).expect("due now");
    assert_eq!(retry.first_attempt_ms, Some(1 + 1_000));
}

#[test]
fn the_time_of_a_pause_does_not_count_for_the_delivery_that_caused_it() {
    let mut queue = queue(1);
    queue.claim(1, 0);
    queue.settle(0, 1, &scheduled(10));
    let retry = queue.claim(1, 10)[0];
    queue.control(&Act::Pause("410".into()), 100);
    queue.give_back(retry);
    queue.control(&Act::Resume, 1_100);
    assert_eq!(queue.claim(1, 1_100)[0].first_attempt_ms, Some(1 + 1_000));
}

#[test]
fn a_due_time_of_a_wrong_clock_is_brought_near() {
    let mut queue = queue(1);
    queue.claim(1, 0);
    queue.settle(0, 1, &scheduled(u64::MAX / 2));
    queue.clamp_due(500);
    assert_eq!(queue.next_due(), Some(500));
}

fn set(sequences: &[u64]) -> Bitmap {
    sequences.iter().copied().collect()
}

fn numbers(bitmap: &Bitmap) -> Vec<u64> {
    bitmap.iter_from(0).collect()
}

#[test]
fn the_time_of_an_open_breaker_does_not_count_and_overlaps_count_once() {
    let mut queue = queue(2);
    queue.claim(2, 0);
    queue.settle(0, 1, &scheduled(10));
    assert!(queue.control(&Act::Open, 100));
    assert!(!queue.control(&Act::Open, 150));
    let tried_meanwhile = OutcomeState::Scheduled { first_attempt_ms: 120, due_ms: 130, reason: "503".into() };
    queue.settle(1, 1, &tried_meanwhile);
    queue.control(&Act::Pause("operator".into()), 200);
    assert!(queue.control(&Act::Close, 300));
    assert!(queue.control(&Act::Resume, 1_100));
    let first: Vec<_> = queue.claim(9, 2_000).iter().map(|claim| claim.first_attempt_ms).collect();
    assert_eq!(first, [Some(1 + 1_000), Some(1_100)]);
}

#[test]
fn a_dead_letter_selected_again_is_none_any_more_and_what_waits_goes_out_once() {
    let mut queue = queue(4);
    queue.claim(3, 0);
    queue.settle(0, 1, &OutcomeState::Dead { reason: "400".into() });
    queue.settle(1, 1, &OutcomeState::Delivered);
    queue.settle(2, 1, &scheduled(100));
    assert_eq!(numbers(&queue.select(BulkAct::Redeliver, &set(&[0, 1, 2, 3]))), [0, 1]);
    assert_eq!(queue.select(BulkAct::Redeliver, &set(&[0, 1])), Bitmap::default(), "twice doubles nothing");
    assert_eq!((queue.dead().len(), queue.backlog()), (0, 4));
    let mut all = sequences(&queue.claim(9, 100));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    queue.settle(0, 1, &OutcomeState::Delivered);
    assert_eq!(queue.delivery_state(0), None);
}

#[test]
fn a_selection_below_the_cursor_is_handed_out_and_what_is_claimed_is_not_handed_out_twice() {
    let mut queue = queue(0);
    queue.select(BulkAct::Redeliver, &set(&[5, 6]));
    assert_eq!(sequences(&queue.claim(9, 0)), [5, 6]);
    queue.select(BulkAct::Redeliver, &set(&[1, 5]));
    assert_eq!(sequences(&queue.claim(9, 0)), [1]);
}

#[test]
fn first_attempts_repeated_ones_and_retries_take_turns() {
    let mut queue = queue(4);
    queue.claim(2, 0);
    queue.settle(0, 1, &scheduled(10));
    queue.settle(1, 1, &scheduled(10));
    queue.select(BulkAct::Redeliver, &set(&[100, 101]));
    assert_eq!(sequences(&queue.claim(9, 10)), [100, 0, 2, 101, 1, 3]);
}

#[test]
fn dead_lettering_takes_what_waits_and_leaves_what_is_in_flight() {
    let mut queue = queue(4);
    let claims = queue.claim(3, 0);
    queue.settle(0, 1, &scheduled(100));
    queue.give_back(claims[2]);
    assert_eq!(numbers(&queue.select(BulkAct::DeadLetter, &set(&[0, 1, 2, 3, 4]))), [0, 2, 3]);
    assert_eq!((queue.backlog(), queue.in_flight(), queue.dead().len()), (1, 1, 3));
    assert_eq!(queue.claim(9, 100), []);
    assert_eq!(numbers(&queue.select(BulkAct::Drop, &set(&[0, 1]))), [0]);
    assert_eq!(queue.dead().len(), 2);
}

#[test]
fn another_destination_takes_over_what_waits() {
    let mut old = queue(4);
    let mut new = Queue::new(NameId(2));
    old.claim(2, 0);
    old.settle(0, 1, &scheduled(100));
    old.settle(1, 1, &OutcomeState::Dead { reason: "400".into() });
    let given = old.select(BulkAct::MoveWaiting(NameId(9)), &old.waiting());
    new.select(BulkAct::Redeliver, &given);
    assert_eq!((old.backlog(), old.dead().len()), (0, 1));
    assert_eq!(sequences(&new.claim(9, 0)), [0, 2, 3]);
}

#[test]
fn a_snapshot_holds_everything_and_counts_what_is_claimed_as_waiting() {
    let mut queue = queue(5);
    queue.claim(3, 0);
    queue.settle(0, 1, &scheduled(100));
    queue.settle(1, 1, &OutcomeState::Dead { reason: "400".into() });
    queue.claim(1, 100);
    let restored = Queue::restore(NameId(1), queue.snapshot());
    assert_eq!((restored.backlog(), restored.dead().len(), restored.in_flight()), (4, 1, 0));
    assert_eq!(restored.next_due(), Some(100));
}

#[test]
fn a_range_read_twice_changes_nothing() {
    let mut queue = queue(3);
    let read = |queue: &mut Queue| {
        (0..3).for_each(|sequence| queue.read_again(sequence, None));
        queue.apply(0, 1, &scheduled(50));
        queue.apply(0, 2, &OutcomeState::Dead { reason: "400".into() });
        queue.apply(1, 1, &OutcomeState::Delivered);
        queue.select(BulkAct::Redeliver, &set(&[0]));
    };
    read(&mut queue);
    let once = format!("{:?}", queue.snapshot());
    read(&mut queue);
    assert_eq!(format!("{:?}", queue.snapshot()), once);
    assert_eq!((queue.backlog(), queue.dead().len()), (2, 0));
}

#[test]
fn a_range_goes_when_nothing_waits_in_it_and_says_what_must_be_relocated() {
    let mut queue = queue(6);
    queue.claim(3, 0);
    queue.settle(0, 1, &scheduled(100));
    queue.settle(1, 1, &OutcomeState::Dead { reason: "400".into() });
    assert!(queue.waits_in(&(0..3)), "one is in flight for the first time");
    queue.settle(2, 1, &OutcomeState::Delivered);
    assert!(!queue.waits_in(&(0..3)) && queue.waits_in(&(0..4)));
    assert_eq!(numbers(&queue.kept_in(&(0..3))), [0, 1]);
}

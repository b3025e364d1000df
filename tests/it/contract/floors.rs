//! Where a relay begins to read that takes a destination over.

use super::cluster::{EVENTS, deliver, value};
use super::*;

/// Nothing waits below a floor that was never attempted.
const BELOW: &str =
    "SELECT count(*) FROM destination o JOIN delivery_1 d ON d.dest = o.id AND d.n < o.floor WHERE d.state = 'waiting'";

/// Waits until a statement gives what is expected, while all do what they do now and then.
#[track_caller]
fn eventually(backend: &OnPostgres, sql: &str, expected: &str) {
    eventually_known(|| {
        backend.tidy();
        assert_eq!(value(backend, BELOW), "0");
        value(backend, sql) == expected
    });
}

/// How far a destination's floor is above an event.
fn at(of: NameId, event: EventId) -> String {
    format!("SELECT floor - (SELECT n FROM event_1 WHERE id = '{event}') FROM destination WHERE id = {}", of.0)
}

#[test]
fn a_floor_rises_behind_what_is_settled_also_while_other_relays_have_nothing_to_take_in() {
    let backend = OnPostgres::default();
    let (owner, _idle) = (backend.open(), backend.open_again());
    let a = destination(&*owner, "a");
    let worker = worker(&*owner, a);
    for i in 0..EVENTS {
        append(&*owner, &i.to_string(), &["a"]);
    }
    let passed = format!(
        "SELECT count(*) FROM destination o JOIN delivery_1 d ON d.dest = o.id AND d.n < o.floor WHERE o.id = {}",
        a.0
    );
    let waits = worker.claimed(1);
    let first = waits[0].event.as_ref().expect("read").id;
    deliver(&worker, EVENTS - 1);
    owner.append(event(&*owner, "later", &["a"])).blocking_recv().expect("an answer").expect("taken");
    // The first is in flight: the floor waits for it, however many are settled.
    eventually(&backend, &at(a, first), "0");
    assert_eq!(value(&backend, &passed), "0");
    worker.queue().settle(waits.into_iter().map(delivered).collect());
    eventually(&backend, &passed, &EVENTS.to_string());
    assert_eq!(worker.bodies(9), ["later"]);
}

#[test]
fn a_floor_rises_past_the_stream_of_a_relay_that_is_dead() {
    let backend = OnPostgres::default();
    let (dying, owner) = (backend.open_again(), backend.open_again());
    let a = destination(&*owner, "a");
    append(&*dying, "of who dies", &["a"]);
    let worker = worker(&*owner, a);
    assert_eq!(deliver(&worker, 1), ["of who dies"]);
    backend.stand_still(&dying);
    append(&*owner, "of who lives", &["a"]);
    assert_eq!(deliver(&worker, 1), ["of who lives"]);
    let passed = "SELECT count(*) FROM destination o JOIN delivery_1 d ON d.dest = o.id AND d.n < o.floor";
    eventually(&backend, passed, "2");
}

#[test]
fn what_waits_and_what_was_attempted_below_a_floor_is_there_for_the_next_owner() {
    let backend = OnPostgres::default();
    let store = backend.open();
    let a = destination(&*store, "a");
    let worker = worker(&*store, a);
    let ids: Vec<EventId> = (0..EVENTS).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
    let mut claims = worker.claim(EVENTS);
    let later = claims.split_off(EVENTS - 50);
    let scheduled = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 10, reason: "503".to_owned() };
    let dead = Settlement::Dead { attempts: 1, reason: "410".to_owned() };
    let first = claims.remove(0);
    let second = claims.remove(0);
    worker.settle(vec![(first, scheduled), (second, dead)]);
    worker.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    eventually(&backend, &at(a, ids[EVENTS - 50]), "0");
    drop((later, worker));
    drop(store);
    let store = backend.open();
    let next = super::worker(&*store, a);
    let mut bodies = next.bodies(EVENTS);
    bodies.sort_by_key(|body| body.parse::<usize>().expect("a number"));
    let expected = std::iter::once(0).chain(EVENTS - 50..EVENTS).map(|i| i.to_string());
    assert_eq!(bodies, expected.collect::<Vec<_>>());
    assert_eq!(store.counts_of(a).dead, 1);
    assert_eq!(value(&backend, BELOW), "0");
}

//! Ranges of the history that go, and what is still needed of them.

use super::cluster::{EVENTS, deliver, value};
use super::*;

/// Each destination of each event has its row, wherever both lie.
const THE_LAW: &str = "SELECT count(*) FROM event e CROSS JOIN unnest(e.destinations) t (dest)
    WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.dest = t.dest AND d.n = e.n)";
/// Nothing waits below a floor that was never attempted.
const BELOW: &str =
    "SELECT count(*) FROM destination o JOIN delivery d ON d.dest = o.id AND d.n < o.floor WHERE d.state = 'waiting'";
/// No event, and no delivery, lies in two segments.
const TWICE: &str = "SELECT (SELECT count(*) FROM (SELECT 1 FROM event GROUP BY n HAVING count(*) > 1) e)
    + (SELECT count(*) FROM (SELECT 1 FROM delivery GROUP BY dest, n HAVING count(*) > 1) d)";
const FAULTS: &str = "SELECT coalesce(sum(faults), 0) FROM segment";

/// Nothing is kept that is not needed.
fn nothing() -> Retention {
    Retention { history_age: Duration::ZERO, ..Retention::default() }
}

#[track_caller]
fn all_is_well(backend: &OnPostgres) {
    for sql in [THE_LAW, BELOW, TWICE, FAULTS] {
        assert_eq!(value(backend, sql), "0", "{sql}");
    }
}

/// Five events for one destination: delivered, dead, to be tried again, to go out again, and never attempted.
fn five(store: &dyn Store, worker: &Worker, of: NameId) -> Vec<EventId> {
    let ids: Vec<EventId> =
        ["done", "dead", "later", "again", "waits"].map(|body| append(store, body, &["a"])).to_vec();
    let claims = worker.claim(4);
    let due_ms = vero_relay::time::wall_ms() + 3_600_000;
    let reason = "503".to_owned();
    let attempt = AttemptNote {
        at_ms: 5,
        took_ms: 1,
        outcome: "dead".to_owned(),
        status: 410,
        reason: "410".to_owned(),
        answer: "it is gone".to_owned(),
    };
    let dead = Settlement::Dead { attempts: 1, reason: "410".to_owned() };
    worker.queue().settle(vec![Settled { claim: claims[1], settlement: dead, attempt: Some(attempt) }]);
    worker.settle(vec![
        (claims[0], Settlement::Delivered { attempts: 1 }),
        (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason }),
        (claims[3], Settlement::Delivered { attempts: 1 }),
    ]);
    assert_eq!(ask_of(store, new_id(), of, What::Redeliver(Which::Events(vec![ids[3]]))), done(1));
    ids
}

/// What is needed of [`five`] is there, and goes on; and the rest is not.
#[track_caller]
fn four_are_left(backend: &OnPostgres, store: &dyn Store, of: NameId, ids: &[EventId]) {
    assert_eq!(value(backend, "SELECT count(*) FROM event_0"), "4");
    assert_eq!(
        value(backend, "SELECT string_agg(state::text, ' ' ORDER BY n) FROM delivery_0"),
        "dead retry retry waiting"
    );
    let counts = store.counts_of(of);
    assert_eq!((counts.backlog, counts.scheduled, counts.redeliveries, counts.dead), (3, 1, 1, 1));
    let done = wait(async || store.event(ids[0]).await);
    assert!(matches!(done, Err(StoreError::Missing)), "{done:?}");
    let letters = wait(async || store.dead_letters(vec![of], &DeadQuery::default(), None, 9).await).expect("a page");
    let letter = letters.items.first().expect("a dead letter").event.as_ref().expect("it reads");
    assert_eq!((letter.id, &letter.body[..]), (ids[1], &b"dead"[..]));
    let view = wait(async || store.event(ids[1]).await).expect("it is there");
    assert_eq!(view.deliveries[0].attempts.len(), 1, "with what became of it");
}

#[test]
fn a_range_of_the_history_goes_and_what_is_needed_of_it_is_still_there() {
    let backend = OnPostgres::default();
    let store = backend.open();
    let a = destination(&*store, "a");
    let ids = five(&*store, &worker(&*store, a), a);
    store.retain(nothing());
    backend.trim();
    four_are_left(&backend, &*store, a, &ids);
    all_is_well(&backend);
    store.close_now();
    drop(store);
    let store = backend.open();
    four_are_left(&backend, &*store, a, &ids);
    let next = worker(&*store, a);
    let mut bodies = deliver(&next, 2);
    bodies.sort();
    assert_eq!(bodies, ["again", "waits"]);
    assert_eq!(ask_of(&*store, new_id(), a, What::Redeliver(Which::Dead(DeadQuery::default()))), done(1));
    assert_eq!(ask_of(&*store, new_id(), a, What::RetryNow), done(1));
    let mut bodies = deliver(&next, 2);
    bodies.sort();
    assert_eq!(bodies, ["dead", "later"]);
    eventually_known(|| value(&backend, "SELECT count(*) FROM delivery_0 WHERE state <> 'delivered'") == "0");
    // Nothing of it is needed any more.
    backend.trim();
    assert_eq!(value(&backend, "SELECT (SELECT count(*) FROM event_0) + (SELECT count(*) FROM delivery_0)"), "0");
    all_is_well(&backend);
}

#[test]
fn what_one_who_keeps_house_has_left_half_done_the_next_one_ends() {
    let moved = "WITH e AS (DELETE FROM event_1 WHERE n = (SELECT max(n) FROM event_1) RETURNING *),
            d AS (DELETE FROM delivery_1 d USING e WHERE d.n = e.n RETURNING d.*),
            i AS (INSERT INTO event_0 SELECT * FROM e)
        INSERT INTO delivery_0 SELECT * FROM d";
    for (after, half_done) in [
        (
            "making the next",
            "UPDATE segment SET state = 'open', closed_ms = NULL, n_until = NULL, bytes = NULL, faults = NULL WHERE k = 1",
        ),
        ("closing", "UPDATE segment SET faults = NULL WHERE k = 1"),
        ("beginning to carry", "UPDATE segment SET state = 'closing' WHERE k = 1"),
        ("carrying some", &format!("UPDATE segment SET state = 'closing' WHERE k = 1; {moved}")),
    ] {
        let backend = OnPostgres::default();
        let store = backend.open();
        let a = destination(&*store, "a");
        let ids = five(&*store, &worker(&*store, a), a);
        // As much as may be is closed, and nothing goes that is all there is.
        store.retain(Retention { history_bytes: Some(0), ..Retention::default() });
        backend.trim();
        assert_eq!(
            value(&backend, "SELECT string_agg(k || state, ' ' ORDER BY k) FROM segment"),
            "0open 1closed 2open"
        );
        store.close_now();
        drop(store);
        value(&backend, half_done);
        let store = backend.open();
        store.retain(nothing());
        backend.trim();
        four_are_left(&backend, &*store, a, &ids);
        all_is_well(&backend);
        assert_eq!(
            value(&backend, "SELECT count(*) FROM segment WHERE k = 1 AND state <> 'gone'"),
            "0",
            "after {after}"
        );
    }
}

#[test]
fn segments_roll_are_carried_and_go_under_load_while_one_reads_an_old_one_and_a_relay_stands_still() {
    let backend = OnPostgres::default();
    let (owner, other, still) = (backend.open(), backend.open_again(), backend.open_again());
    let a = destination(&*owner, "a");
    let worker = worker(&*owner, a);
    owner.retain(nothing());
    other.retain(nothing());
    append(&*still, "of who stands still", &["a"]);
    let reader = backend.link();
    wait(async || reader.script("BEGIN; SELECT count(*) FROM event_1").await).expect("it reads");
    backend.stand_still(&still);
    let mut bodies = std::thread::scope(|scope| {
        for (name, store) in [("owner", &owner), ("other", &other)] {
            scope.spawn(move || {
                for i in 0..2 * EVENTS {
                    append(&**store, &format!("{name} {i}"), &["a"]);
                }
            });
        }
        let all = deliver(&worker, 4 * EVENTS + 1);
        backend.trim();
        all
    });
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 4 * EVENTS + 1);
    assert_eq!(worker.claim(9), []);
    // Whoever reads it keeps it there, and nobody waits for that.
    append(&*other, "goes on", &["a"]);
    assert_eq!(deliver(&worker, 1), ["goes on"]);
    assert_eq!(value(&backend, "SELECT to_regclass('event_1') IS NOT NULL"), "t");
    wait(async || reader.script("COMMIT").await).expect("it has read");
    eventually_known(|| value(&backend, "SELECT to_regclass('event_1') IS NULL") == "t");
    all_is_well(&backend);
}

/// Makes dead letters of events with these bodies.
fn dead(store: &dyn Store, worker: &Worker, bodies: &[&str]) -> Vec<EventId> {
    let ids = bodies.iter().map(|body| append(store, body, &["a"])).collect();
    let gone = Settlement::Dead { attempts: 1, reason: "410".to_owned() };
    worker.settle(worker.claim(bodies.len()).into_iter().map(|claim| (claim, gone.clone())).collect());
    ids
}

#[test]
fn dead_letters_whose_time_is_over_are_dropped_and_others_are_not() {
    each_and_shared(|backend| {
        let store = backend.open();
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        dead(&*store, &worker, &["1", "2"]);
        append(&*store, "waits", &["a"]);
        backend.trim();
        assert_eq!(store.counts_of(a).dead, 2);
        store.retain(Retention { dead_age: Duration::ZERO, ..Retention::default() });
        eventually_known(|| {
            backend.trim();
            store.counts_of(a).dead == 0
        });
        let counts = store.counts_of(a);
        assert_eq!((counts.dead, counts.backlog), (0, 1));
        assert_eq!(worker.bodies(9), ["waits"]);
    });
}

#[test]
fn of_dead_letters_that_are_carried_the_oldest_go_where_they_are_too_many() {
    let backend = OnPostgres::default();
    let store = backend.open();
    let a = destination(&*store, "a");
    let body = "x".repeat(600);
    let ids = dead(&*store, &worker(&*store, a), &[&body, &body, &body]);
    store.retain(Retention { dead_bytes: 1300, ..nothing() });
    backend.trim();
    assert_eq!(value(&backend, "SELECT dead_bytes FROM meta"), "1800");
    backend.trim();
    let letters = wait(async || store.dead_letters(vec![a], &DeadQuery::default(), None, 9).await).expect("a page");
    let mut left: Vec<EventId> =
        letters.items.iter().map(|letter| letter.event.as_ref().expect("it reads").id).collect();
    left.sort();
    assert_eq!(left, ids[1..]);
    eventually_known(|| {
        backend.trim();
        value(&backend, "SELECT count(*) FROM event_0") == "2"
    });
    assert_eq!(value(&backend, "SELECT dead_bytes FROM meta"), "1200");
    all_is_well(&backend);
}

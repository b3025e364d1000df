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

/// Makes deliveries as a long life leaves them, older than all that a test takes in.
fn make(backend: &OnPostgres, of: NameId, numbers: std::ops::Range<usize>, state: &str) {
    let std::ops::Range { start, end } = numbers;
    let sql = format!(
        "INSERT INTO event_1 (n, slot, id, received_ms, source, rules, destinations, by_rule, body)
            SELECT i, 1, gen_random_uuid(), 1, 1, '{{}}', ARRAY[{0}], ARRAY[1], 'x' FROM generate_series({start}, {end} - 1) i
            ON CONFLICT DO NOTHING;
         INSERT INTO delivery_1 (dest, n, state) SELECT {0}, i, '{state}' FROM generate_series({start}, {end} - 1) i",
        of.0
    );
    value(backend, &sql);
}

/// Index entries of deliveries by their numbers that were read so far.
fn looked_at(backend: &OnPostgres) -> u64 {
    let sql = "SELECT pg_stat_force_next_flush(); SELECT idx_tup_read FROM pg_stat_user_indexes
        WHERE schemaname = current_schema() AND indexrelname = 'delivery_1_pkey'";
    value(backend, sql).parse().expect("a number")
}

#[test]
fn a_take_over_looks_at_what_waits_and_not_at_what_was_settled_below_the_floor() {
    const SETTLED: usize = 60_000;
    const WAITING: usize = 45_000;
    let backend = OnPostgres::default();
    let store = backend.open();
    let a = destination(&*store, "a");
    store.close_now();
    drop(store);
    make(&backend, a, 1..SETTLED, "delivered");
    value(
        &backend,
        &format!(
            "INSERT INTO destination (id, floor) VALUES ({0}, {SETTLED}) ON CONFLICT (id) DO UPDATE SET floor = {SETTLED}",
            a.0
        ),
    );
    let take_over = |waits: usize| {
        let before = looked_at(&backend);
        let store = backend.open();
        let worker = worker(&*store, a);
        assert_eq!(store.counts_of(a).backlog, waits as u64);
        drop(worker);
        store.close_now();
        drop(store);
        // What a session has read is told when it ends, all of it at once.
        eventually_known(|| looked_at(&backend) >= before + waits as u64);
        looked_at(&backend) - before
    };
    make(&backend, a, SETTLED..SETTLED + 50, "waiting");
    let looked = take_over(50);
    assert!(looked < 1000, "{looked} rows were looked at, and 50 wait");
    make(&backend, a, SETTLED + 50..SETTLED + WAITING, "waiting");
    let looked = take_over(WAITING);
    assert!(looked < WAITING as u64 + 1000, "{looked} rows were looked at");
}

#[test]
fn several_queues_that_are_longer_than_a_page_are_all_there_after_a_take_over() {
    const EACH: usize = 25_000;
    let backend = OnPostgres::default();
    let store = backend.open();
    let all: Vec<NameId> = (0..6).map(|i| destination(&*store, &format!("d{i}"))).collect();
    store.close_now();
    drop(store);
    for (i, of) in all.iter().enumerate() {
        make(&backend, *of, i * 100 + 1..i * 100 + 1 + EACH, "waiting");
        let sql = format!(
            "UPDATE delivery_1 SET state = 'dead', dead_ms = 5 WHERE dest = {0} AND n % 2 = 0;
             UPDATE delivery_1 SET state = 'retry', due_ms = 0 WHERE dest = {0} AND n % 50 = 1",
            of.0
        );
        value(&backend, &sql);
    }
    let store = backend.open();
    for of in all {
        let _worker = worker(&*store, of);
        let counts = store.counts_of(of);
        assert_eq!(
            (counts.backlog, counts.dead, counts.redeliveries),
            (EACH as u64 / 2, EACH as u64 / 2, EACH as u64 / 50)
        );
    }
}

//! What several relays that share a store keep together.

use std::time::Instant;

use super::*;
use crate::postgres::contract_server;

/// So many events of a test: several groups.
const EVENTS: usize = 200;

/// The bodies that a worker claims and settles until there are so many, in their order.
fn deliver(worker: &Worker, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    let began = Instant::now();
    while bodies.len() < count {
        assert!(began.elapsed() < LIMIT, "{} of {count} came within {LIMIT:?}", bodies.len());
        for claimed in worker.claimed(50) {
            let event = claimed.event.as_ref().expect("read");
            bodies.push(String::from_utf8(event.body.to_vec()).expect("text"));
            worker.queue().settle(vec![delivered(claimed)]);
        }
    }
    bodies
}

/// What a statement gives in a test's schema, as one text.
fn value(backend: &OnPostgres, sql: &str) -> String {
    let sql = format!("SET search_path = {}; {sql}", backend.schema());
    let rows = crate::postgres::asked(contract_server(), &sql);
    rows.last().and_then(|row| row.first()).cloned().unwrap_or_default()
}

/// Each destination of each event has its row.
const THE_LAW: &str = "SELECT count(*) FROM event_1 e CROSS JOIN unnest(e.destinations) t (dest)
    LEFT JOIN delivery_1 d ON d.dest = t.dest AND d.n = e.n WHERE d.n IS NULL";

#[test]
fn what_one_relay_takes_in_another_delivers_and_each_event_once() {
    let backend = OnPostgres::default();
    let (taker, owner) = (backend.open(), backend.open_again());
    let a = destination(&*taker, "a");
    let worker = worker(&*owner, a);
    let sent: Vec<String> = (0..EVENTS).map(|i| i.to_string()).collect();
    for body in &sent {
        append(&*taker, body, &["a"]);
    }
    assert_eq!(deliver(&worker, EVENTS), sent, "in the order in which they came");
    assert_eq!(worker.claim(9), []);
    owner.close_now();
    assert_eq!(value(&backend, "SELECT count(*) FROM delivery_1 WHERE state = 'delivered'"), EVENTS.to_string());
    assert_eq!(value(&backend, THE_LAW), "0");
}

#[test]
fn what_a_relay_had_that_died_is_delivered_by_another_and_what_it_says_later_changes_nothing() {
    let backend = OnPostgres::default();
    let dying = backend.open_again();
    let a = destination(&*dying, "a");
    let theirs = worker(&*dying, a);
    for i in 0..EVENTS {
        append(&*dying, &i.to_string(), &["a"]);
    }
    let in_flight = theirs.claim(10);
    assert_eq!(in_flight.len(), 10);
    let other = backend.open_again();
    // It stands still: nobody hears of it any more, and it hears of nobody.
    backend.stand_still(&dying);
    let worker = worker(&*other, a);
    theirs.settle(in_flight.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 7 })).collect());
    let mut bodies = deliver(&worker, EVENTS);
    bodies.sort_by_key(|body| body.parse::<usize>().expect("a number"));
    assert_eq!(bodies, (0..EVENTS).map(|i| i.to_string()).collect::<Vec<_>>());
    other.close_now();
    assert_eq!(value(&backend, "SELECT count(*) FROM delivery_1 WHERE state = 'delivered'"), EVENTS.to_string());
    assert_eq!(value(&backend, "SELECT count(*) FROM delivery_1 WHERE attempts = 7"), "0", "it was fenced");
    assert_eq!(value(&backend, THE_LAW), "0");
}

#[test]
fn a_command_of_a_relay_that_owns_nothing_is_done_by_the_owner() {
    let backend = OnPostgres::default();
    let (owner, asks) = (backend.open(), backend.open_again());
    let ids: Vec<EventId> = (0..5).map(|i| append(&*owner, &i.to_string(), &["a"])).collect();
    let a = destination(&*owner, "a");
    let worker = worker(&*owner, a);
    deliver(&worker, 5);
    assert_eq!(ask_of(&*asks, 1, a, What::Redeliver(Which::Events(ids))), done(5));
    deliver(&worker, 5);
    assert_eq!(ask_of(&*asks, 2, a, What::Pause { reason: "by hand".to_owned() }), done(1));
    assert!(worker.queue().state().now().state.paused.is_some());
}

#[test]
fn a_plain_settlement_writes_no_index() {
    let backend = OnPostgres::default();
    let store = backend.open();
    let a = destination(&*store, "a");
    let worker = worker(&*store, a);
    for i in 0..EVENTS {
        append(&*store, &i.to_string(), &["a"]);
    }
    deliver(&worker, EVENTS);
    store.close_now();
    // The counts of a session that has ended are there when it has ended.
    let sql = "SELECT pg_stat_force_next_flush(); SELECT n_tup_upd || ' ' || n_tup_hot_upd FROM pg_stat_user_tables
        WHERE relname = 'delivery_1' AND schemaname = current_schema()";
    let all = format!("{EVENTS} {EVENTS}");
    eventually_known(|| value(&backend, sql) == all);
}

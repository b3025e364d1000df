//! What several relays that share a store keep together.

use std::time::Instant;

use vero_relay::store::Depth;

use super::erasing::{ANN, ann, walk};
use super::*;
use crate::postgres::contract_server;

/// So many events of a test: several groups.
pub const EVENTS: usize = 200;

/// The bodies that a worker claims and settles until there are so many, in their order.
pub fn deliver(worker: &Worker, count: usize) -> Vec<String> {
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
pub fn value(backend: &OnPostgres, sql: &str) -> String {
    let sql = format!("SET search_path = {}; {sql}", backend.schema());
    let rows = crate::postgres::asked(contract_server(), &sql);
    rows.last().and_then(|row| row.first()).cloned().unwrap_or_default()
}

/// Each destination of each event has its row.
pub const THE_LAW: &str = "SELECT count(*) FROM event_1 e CROSS JOIN unnest(e.destinations) t (dest)
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
fn what_several_relays_take_in_at_once_for_one_owner_all_arrives_once() {
    let backend = OnPostgres::default();
    let (owner, other) = (backend.open(), backend.open_again());
    let a = destination(&*owner, "a");
    event(&*other, "", &["a"]);
    let worker = worker(&*owner, a);
    let mut bodies = std::thread::scope(|scope| {
        for (name, store) in [("owner", &owner), ("other", &other)] {
            scope.spawn(move || {
                for i in 0..EVENTS {
                    append(&**store, &format!("{name} {i}"), &["a"]);
                }
            });
        }
        deliver(&worker, 2 * EVENTS)
    });
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 2 * EVENTS);
    assert_eq!(worker.claim(9), []);
    assert_eq!(value(&backend, THE_LAW), "0");
}

#[test]
fn what_came_in_at_another_relay_while_its_source_was_held_goes_out_after_the_end_of_that() {
    let backend = OnPostgres::default();
    let (owner, other) = (backend.open(), backend.open_again());
    let a = destination(&*owner, "a");
    let source = other.name(NameKind::Source, "vero");
    event(&*other, "", &["a"]);
    let worker = worker(&*owner, a);
    for round in 0..3 {
        // As fast as it goes: the owner may have heard of neither.
        assert_eq!(ask_of(&*other, 10 + 2 * round, source, What::Hold), done(1));
        append(&*other, &format!("held {round}"), &["a"]);
        assert_eq!(ask_of(&*other, 11 + 2 * round, source, What::Resume), done(1));
    }
    assert_eq!(deliver(&worker, 3), ["held 0", "held 1", "held 2"]);
    assert_eq!(ask_of(&*other, 20, source, What::Hold), done(1));
    append(&*other, "held for long", &["a"]);
    append(&*other, "another", &["b"]);
    until(&mut owner.sources(), |shown| shown.contains_key(&source));
    assert_eq!(worker.claim(9), []);
    assert_eq!(ask_of(&*owner, 21, source, What::Resume), done(1));
    assert_eq!(deliver(&worker, 1), ["held for long"]);
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
fn who_was_told_that_nothing_may_be_claimed_hears_when_it_may_again() {
    let backend = OnPostgres::default();
    drop(backend.open());
    let store = backend.open_again();
    let a = destination(&*store, "a");
    append(&*store, "0", &["a"]);
    let worker = worker(&*store, a);
    deliver(&worker, 1);
    backend.stand_still(&store);
    // It is sure of itself for a while yet.
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < LIMIT, "it is sure of itself for ever");
        append(&*store, "1", &["a"]);
        let claimed = worker.claimed(50);
        if claimed.is_empty() {
            break;
        }
        worker.queue().settle(claimed.into_iter().map(delivered).collect());
    }
    // Of what has come it has heard.
    wait(async || while futures_util::FutureExt::now_or_never(worker.queue().ready()).is_some() {});
    backend.go_on(&store);
    let woken = wait(async || tokio::time::timeout(LIMIT, worker.queue().ready()).await);
    assert!(woken.is_ok(), "nobody said that it may be claimed again");
    deliver(&worker, 1);
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
fn how_a_destination_stands_that_another_relay_has_is_told_by_any_and_when_that_said_so() {
    let backend = OnPostgres::default();
    let (owner, asks) = (backend.open_again(), backend.open_again());
    let [a, b] = ["a", "b"].map(|name| destination(&*owner, name));
    for i in 0..7 {
        append(&*owner, &i.to_string(), &["a"]);
    }
    let theirs = worker(&*owner, a);
    let claims = theirs.claim(3);
    let due_ms = vero_relay::time::wall_ms() + 3_600_000;
    let reason = || "503".to_owned();
    theirs.settle(vec![
        (claims[0], Settlement::Dead { attempts: 1, reason: reason() }),
        (claims[1], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: reason() }),
    ]);
    theirs.pause("410 Gone");
    let known = || {
        let counts = asks.counts_of(a);
        (counts.backlog, counts.scheduled, counts.in_flight, counts.dead) == (6, 1, 1, 1)
    };
    eventually_known(known);
    let (told, itself) = (asks.counts_of(a), owner.counts_of(a));
    assert!(told.as_of_ms.is_some_and(|as_of_ms| as_of_ms > 0));
    assert_eq!(itself.as_of_ms, None, "who has it knows it now");
    assert_eq!(Counts { as_of_ms: None, ..told }, itself);
    assert_eq!(itself.state.paused.as_ref().map(|pause| &*pause.reason), Some("410 Gone"));
    assert!(itself.oldest_ms.is_some() && itself.backlog_bytes > 0, "{itself:?}");
    let dead = Which::Dead(DeadQuery { reason: Some("503".to_owned()), ..DeadQuery::default() });
    assert_eq!(wait(async || asks.how_many(a, dead).await), Ok(1));
    assert_eq!(asks.counts_of(b).backlog, 0);
    // Who takes over says so in its place.
    backend.kill(owner);
    let mine = worker(&*asks, a);
    assert_eq!(mine.claim(9), [], "it is paused");
    let counts = asks.counts_of(a);
    assert_eq!((counts.backlog, counts.in_flight, counts.as_of_ms), (6, 0, None));
    drop(theirs);
}

#[test]
fn events_that_a_source_has_held_are_counted_by_any_relay() {
    let backend = OnPostgres::default();
    let (owner, asks) = (backend.open(), backend.open_again());
    let a = destination(&*owner, "a");
    let _worker = worker(&*owner, a);
    let source = owner.name(NameKind::Source, "vero");
    ask_of(&*owner, 1, source, What::Hold);
    for i in 0..3 {
        append(&*owner, &i.to_string(), &["a"]);
    }
    until(&mut asks.sources(), |shown| shown.contains_key(&source));
    eventually_known(|| wait(async || asks.counts().await).expect("counted").held(source) == 3);
    assert_eq!(asks.counts_of(a).held, 3);
}

#[test]
fn whoever_takes_in_what_comes_by_a_source_that_somebody_holds_it_is_kept_from_that_moment_on() {
    let backend = OnPostgres::default();
    let (owner, takes, holds) = (backend.open_again(), backend.open_again(), backend.open_again());
    let a = destination(&*owner, "a");
    let source = owner.name(NameKind::Source, "vero");
    let events: Vec<NewEvent> = (0..6).map(|i| event(&*owner, &i.to_string(), &["a"])).collect();
    // They know the names.
    event(&*takes, "", &["a"]);
    event(&*holds, "", &["a"]);
    let worker_of_a = worker(&*owner, a);
    let mut events = events.into_iter();
    for round in 0..3 {
        assert_eq!(ask_of(&*holds, 10 + 2 * round, source, What::Hold), done(1));
        // Neither has heard of it; one of them has the destination.
        for store in [&owner, &takes] {
            let taken = store.append(events.next().expect("there are six")).blocking_recv();
            taken.expect("an answer").expect("taken");
        }
        assert_eq!(worker_of_a.claim(9), [], "round {round}");
        let held = format!("SELECT count(*) FROM event_1 WHERE hold = {}", round + 1);
        assert_eq!(value(&backend, &held), "2", "round {round}");
        if round < 2 {
            assert_eq!(ask_of(&*holds, 11 + 2 * round, source, What::Resume), done(1));
            assert_eq!(deliver(&worker_of_a, 2).len(), 2);
        }
    }
    // What is not written yet happens again.
    eventually_known(|| value(&backend, "SELECT count(*) FROM delivery_1 WHERE state = 'delivered'") == "4");
    // Whoever takes over keeps it as well, and lets it go with the others.
    drop(worker_of_a);
    backend.kill(owner);
    let worker = worker(&*takes, a);
    assert_eq!(worker.claim(9), []);
    assert_eq!(ask_of(&*holds, 20, source, What::Resume), done(1));
    let mut bodies = deliver(&worker, 2);
    bodies.sort();
    assert_eq!(bodies, ["4", "5"]);
    assert_eq!(worker.claim(9), []);
    let after = takes.append(event(&*takes, "after", &["a"])).blocking_recv();
    after.expect("an answer").expect("taken");
    assert_eq!(deliver(&worker, 1), ["after"]);
}

#[test]
fn what_an_owner_takes_in_before_it_knows_whether_that_goes_in_order_stands_behind_what_came_before() {
    let backend = OnPostgres::default();
    let (owner, other) = (backend.open(), backend.open_again());
    let a = destination(&*owner, "a");
    event(&*other, "", &["a"]);
    let worker = worker(&*owner, a);
    for round in 0..20 {
        append(&*other, &format!("{round} first"), &["a"]);
        append(&*owner, &format!("{round} second"), &["a"]);
        assert_eq!(worker.bodies(9), [format!("{round} first"), format!("{round} second")]);
    }
}

#[test]
fn a_change_that_the_database_refuses_loses_the_queue_that_it_is_of_and_no_other() {
    let backend = OnPostgres::default();
    let store = backend.open_again();
    let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
    append(&*store, "1", &["a", "b"]);
    append(&*store, "2", &["b"]);
    let (refused, other) = (worker(&*store, a), worker(&*store, b));
    let sql = "SELECT 1 FROM pg_constraint LIMIT 1; ALTER TABLE delivery_1 ADD CONSTRAINT test CHECK (attempts <> 77)";
    contract_server().script(&format!("SET search_path = {}; {sql}", backend.schema()));
    let settled = |worker: &Worker, attempts| {
        worker.settle(worker.claim(1).into_iter().map(|claim| (claim, Settlement::Delivered { attempts })).collect());
    };
    // Both go in one transaction, as far as it is up to them.
    settled(&refused, 77);
    settled(&other, 1);
    wait(async || refused.0.lost.cancelled().await);
    eventually_known(|| value(&backend, "SELECT count(*) FROM delivery_1 WHERE attempts = 1") == "1");
    assert!(!other.0.lost.is_cancelled());
    settled(&other, 2);
    eventually_known(|| value(&backend, "SELECT count(*) FROM delivery_1 WHERE attempts = 2") == "1");
    // What could not be written happens again.
    contract_server().script(&format!("ALTER TABLE {}.delivery_1 DROP CONSTRAINT test", backend.schema()));
    drop(refused);
    let again = worker(&*store, a);
    assert_eq!(deliver(&again, 1), ["1"]);
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

#[test]
fn an_erasing_that_is_asked_of_a_relay_that_owns_nothing_is_done_by_all_of_them() {
    let backend = OnPostgres::default();
    let (owner, asks) = (backend.open(), backend.open_again());
    let (a, b) = (destination(&*owner, "a"), destination(&*owner, "b"));
    let (worker, other_worker) = (worker(&*owner, a), worker(&*owner, b));
    let hers: Vec<EventId> = ["1", "2"].map(|i| append(&*owner, &format!("{i} {ANN}"), &["a", "b"])).to_vec();
    append(&*owner, "bob", &["a", "b"]);
    let claims = worker.claim(2);
    let reason = format!("451 <{ANN}>");
    let quotes = |claim| {
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: reason.clone() })]
    };
    other_worker.settle(quotes(other_worker.claim(3)[2]));

    let looked = walk(&*asks, Depth::Look);
    let standing = looked.standing;
    assert_eq!((looked.about, standing.in_flight, standing.waiting), (hers.clone(), 4, 0));
    assert_eq!(value(&backend, "SELECT count(*) FROM event_1 WHERE is_erased"), "0", "a look changes nothing");
    let erased = walk(&*asks, Depth::Erase { known: hers.clone() });
    assert_eq!((erased.erased, erased.ended, erased.in_flight), (2, 0, 4), "what is in flight goes on");
    // What comes back is dropped by the relay that has it, and nothing of her goes out again.
    worker.settle(quotes(claims[0]));
    worker.settle(vec![(claims[1], Settlement::Delivered { attempts: 1 })]);
    let bob = worker.bodies(9);
    assert_eq!(bob, ["bob"]);
    let again = walk(&*asks, Depth::Erase { known: hers.clone() });
    assert_eq!((again.erased, again.already, again.in_flight), (0, 2, 2), "the other destination's");
    owner.close_now();
    let left = "SELECT string_agg(state::text, ' ' ORDER BY n) FROM delivery_1 WHERE dest = ";
    assert_eq!(value(&backend, &format!("{left}{}", a.0)), "dropped delivered waiting");
    assert_eq!(
        value(&backend, "SELECT count(*) FROM event_1 WHERE position('ann' IN encode(body, 'escape')) > 0"),
        "0"
    );
    assert_eq!(value(&backend, "SELECT count(*) FROM delivery_1 WHERE position('ann' IN reason) > 0"), "0");
    assert_eq!(value(&backend, "SELECT reason FROM delivery_1 WHERE due_ms > 0"), "451 <***************>");
    assert_eq!(value(&backend, "SELECT count(*) FROM command"), "0", "what was asked of the owner is taken away");
}

#[test]
fn what_quotes_whom_an_erasing_is_about_is_masked_in_the_database_and_in_the_memory_of_others() {
    let backend = OnPostgres::default();
    let (owner, asks) = (backend.open(), backend.open_again());
    let a = destination(&*owner, "a");
    let worker = worker(&*owner, a);
    let bob = append(&*owner, "bob", &["a"]);
    let due_ms = vero_relay::time::wall_ms() + 3_600_000;
    let reason = format!("451 <{ANN}>");
    let attempt = AttemptNote {
        at_ms: 5,
        took_ms: 1,
        outcome: "retry".to_owned(),
        status: 451,
        reason: "451".to_owned(),
        answer: format!("{ANN} is busy"),
    };
    let settlement = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason };
    worker.queue().settle(vec![Settled { claim: worker.claim(1)[0], settlement, attempt: Some(attempt) }]);
    wait(async || worker.queue().remember("thread", Some(format!("with {ANN}"))).await).expect("kept");
    wait(async || owner.keep_memo("memo", format!("{ANN} called")).await).expect("kept");
    ask_of(&*owner, 1, a, What::Pause { reason: format!("for {ANN}") });
    let replay = |is_done| ReplayProgress {
        id: 2,
        spec: format!("email {ANN}"),
        cursor: None,
        left: 0,
        selected: 0,
        at_ms: 5,
        is_done,
    };
    wait(async || owner.save_replay(replay(false)).await).expect("kept");
    eventually_known(|| value(&backend, "SELECT count(*) FROM attempt_1") == "1");

    let mut amid = asks.erase(ann(), Depth::Erase { known: Vec::new() });
    let refused = wait(async || amid.step().await);
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "a replay names her: {refused:?}");
    wait(async || owner.save_replay(replay(true)).await).expect("kept");
    assert_eq!(walk(&*asks, Depth::Look).texts, 6);
    assert_eq!(walk(&*asks, Depth::Erase { known: Vec::new() }).texts, 6);
    assert_eq!(walk(&*asks, Depth::Look).texts, 0);
    let masked = "***************";
    for (sql, expected) in [
        ("SELECT reason FROM delivery_1 WHERE due_ms > 0", format!("451 <{masked}>")),
        ("SELECT answer FROM attempt_1", format!("{masked} is busy")),
        ("SELECT text FROM remembered", format!("with {masked}")),
        ("SELECT text FROM memo", format!("{masked} called")),
        ("SELECT pause_reason FROM destination WHERE pause_reason IS NOT NULL", format!("for {masked}")),
        ("SELECT spec FROM replay", format!("email {masked}")),
    ] {
        assert_eq!(value(&backend, sql), expected, "{sql}");
    }
    // Nobody has told the owner whom it was about; it hears that it is so.
    eventually_known(|| {
        let view = wait(async || owner.event(bob).await).expect("known");
        let paused = worker.state().state.paused.expect("it is paused").reason;
        matches!(&view.deliveries[0].state, DeliveryState::Scheduled { reason, .. } if *reason == format!("451 <{masked}>"))
            && paused == format!("for {masked}")
    });
}

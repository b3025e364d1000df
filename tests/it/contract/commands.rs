//! `Store::ask`: what is done to deliveries, destinations and sources, once for each id.

use std::sync::Barrier;

use super::*;

#[test]
fn the_same_command_twice_is_done_once_also_across_a_restart_and_a_crash() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..10).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let deliver = || {
            let worker = worker(&*store, a);
            let claims = worker.claim(10);
            let count = claims.len();
            worker.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
            count
        };
        assert_eq!(deliver(), 10);
        let again = || What::Redeliver(Which::Events(ids.clone()));
        assert_eq!(ask(&*store, 7, "a", again()), done(10));
        assert_eq!(deliver(), 10);
        // Killed right after the answer.
        drop(store);
        let mut store = backend.open();
        let waiting = store.counts_of(a).backlog;
        for _ in 0..2 {
            let repeated = ask(&*store, 7, "a", again());
            assert_eq!((repeated.deliveries, repeated.was_done_before), (10, true));
            assert_eq!(store.counts_of(a).backlog, waiting, "nothing was done");
            store.close_now();
            store = backend.open();
        }
        let other = Command::new(7, a, What::Drop(Which::Dead(DeadQuery::default())));
        let refused = wait(async || store.ask(other).await);
        assert!(matches!(refused, Err(StoreError::IdTaken { id: 7, .. })), "{refused:?}");
        let told = refused.expect_err("refused").to_string();
        assert!(told.contains("delivering again to `a`") && told.contains("done to 10 deliveries"), "{told}");
        let replay = ReplayProgress { id: 7, ..ReplayProgress::default() };
        let refused = wait(async || store.save_replay(replay).await);
        assert!(matches!(refused, Err(StoreError::IdTaken { id: 7, .. })), "{refused:?}");
    });
}

#[test]
fn a_command_without_an_id_is_done_each_time() {
    each_and_shared(|backend| {
        let store = backend.open();
        let one = append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let once = |what| wait(async || store.ask(Command::once(a, what)).await).expect("done");
        for _ in 0..2 {
            worker.claimed(1).into_iter().for_each(|claimed| worker.queue().settle(vec![delivered(claimed)]));
            assert_eq!(once(What::Redeliver(Which::Events(vec![one]))), done(1));
            assert_eq!(once(What::Pause { reason: "by hand".to_owned() }), done(1));
            assert_eq!(once(What::Resume), done(1));
        }
        // What is asked for later is behind it.
        ask(&*store, new_id(), "a", What::RetryNow);
        drop((worker, store));
        assert_eq!(backend.open().counts_of(a).backlog, 1);
    });
}

#[test]
fn a_closed_store_refuses_every_command_and_does_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        let one = append(&*store, "one", &["a"]);
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        store.close_now();
        let dead = || Which::Dead(DeadQuery::default());
        let reason = || "by hand".to_owned();
        let kinds = [
            What::Pause { reason: reason() },
            What::Hold,
            What::Resume,
            What::RetryNow,
            What::Redeliver(Which::Events(vec![one])),
            What::DeadLetter { which: Which::Pending, reason: reason() },
            What::Drop(dead()),
            What::Move { which: dead(), to: b },
            What::TakeOver { to: b },
        ];
        for what in kinds {
            for command in [Command::once(a, what.clone()), Command::new(new_id(), a, what.clone())] {
                let refused = wait(async || store.ask(command.clone()).await);
                assert!(matches!(refused, Err(StoreError::Closed)), "{command:?}: {refused:?}");
            }
        }
        drop(store);
        let counts = backend.open().counts_of(a);
        assert_eq!((counts.backlog, counts.dead, counts.state), (1, 0, NameState::default()));
    });
}

#[test]
fn what_waits_already_is_not_redelivered_and_a_dead_letter_moves_whole() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..4).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        assert_eq!(ask(&*store, 1, "a", What::Redeliver(Which::Events(ids.clone()))), done(0));
        let give_up = |which| What::DeadLetter { which, reason: "by hand".to_owned() };
        assert_eq!(ask(&*store, 2, "a", give_up(Which::Events(ids[..3].to_vec()))), done(3));
        let to = destination(&*store, "b");
        let which = || Which::Dead(DeadQuery { reason: Some("HAND".into()), ..DeadQuery::default() });
        let how_many = wait(async || store.how_many(destination(&*store, "a"), which()).await);
        assert_eq!(how_many, Ok(3));
        let one = DeadQuery { events: Some(vec![ids[1], ids[3]]), ..DeadQuery::default() };
        assert_eq!(ask(&*store, 3, "a", What::Drop(Which::Dead(one))), done(1), "one of them is no dead letter");
        // It waits there already, and is a dead letter here no longer.
        assert_eq!(ask(&*store, 4, "a", What::Move { which: which(), to }), done(2));
        let none = DeadQuery { events: Some(Vec::new()), ..DeadQuery::default() };
        assert_eq!(ask(&*store, 5, "a", What::Drop(Which::Dead(none))), done(0));
        store.close_now();
        let store = backend.open();
        let counts = ["a", "b", "c"].map(|name| store.counts_of(destination(&*store, name)));
        assert_eq!(counts.map(|counts| (counts.backlog, counts.dead)), [(1, 0), (4, 0), (0, 0)]);
    });
}

#[test]
fn what_is_given_up_is_dead_what_is_dropped_is_gone_and_what_is_in_flight_is_left_alone() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..4).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        let worker = worker(&*store, destination(&*store, "a"));
        let in_flight = worker.claim(1)[0];
        let give_up = || What::DeadLetter { which: Which::Pending, reason: "by hand".to_owned() };
        assert_eq!(ask(&*store, 1, "a", give_up()), done(3));
        assert_eq!(ask(&*store, 2, "a", give_up()), done(0));
        let of = |id: EventId| Which::Dead(DeadQuery { events: Some(vec![id]), ..DeadQuery::default() });
        let dropped = [3, 4].map(|id| ask(&*store, id, "a", What::Drop(of(ids[1]))));
        assert_eq!(dropped, [done(1), done(0)]);
        worker.settle(vec![(in_flight, Settlement::Delivered { attempts: 1 })]);
        store.close_now();
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        assert_eq!((store.counts_of(a).backlog, store.counts_of(a).dead), (0, 2));
        assert_eq!((store.counts_of(b).backlog, store.counts_of(b).dead), (4, 0));
    });
}

#[test]
fn the_oldest_goes_where_too_much_waits() {
    each_and_shared(|backend| {
        let store = backend.open();
        let body = "b".repeat(10_000);
        for i in 0..100 {
            append(&*store, &format!("{i:02}{body}"), &["a"]);
        }
        let a = destination(&*store, "a");
        let before = store.counts_of(a);
        let most = before.limited_bytes / 2;
        let oldest = || What::DeadLetter { which: Which::OldestBeyond(most), reason: "too much".to_owned() };
        let gone = ask(&*store, 1, "a", oldest()).deliveries;
        let after = store.counts_of(a);
        assert!(gone > 0 && after.backlog == before.backlog - gone && after.backlog > 0, "{gone} of {before:?}");
        assert!(after.limited_bytes < before.limited_bytes, "{after:?}");
        let left = worker(&*store, a).bodies(100);
        assert!(left.iter().any(|body| body.starts_with("99")), "the newest stays");
        let enough = What::DeadLetter { which: Which::OldestBeyond(u64::MAX), reason: "too much".to_owned() };
        assert_eq!(ask(&*store, 2, "a", enough), done(0));
    });
}

#[test]
fn one_command_that_both_handles_ask_for_at_once_is_done_once() {
    each_and_shared(|backend| {
        let store = backend.open();
        for i in 0..50 {
            append(&*store, &i.to_string(), &["a"]);
        }
        destination(&*store, "a");
        let other = backend.open_again();
        let give_up = || What::DeadLetter { which: Which::Pending, reason: "by hand".to_owned() };
        let both = std::thread::scope(|scope| {
            let one = scope.spawn(|| ask(&*store, 9, "a", give_up()));
            let two = scope.spawn(|| ask(&*other, 9, "a", give_up()));
            [one, two].map(|asked| asked.join().expect("it ends"))
        });
        assert_eq!(both.map(|done| done.deliveries), [50, 50], "both are told what was done");
        assert_eq!(both.iter().filter(|done| done.was_done_before).count(), 1);
        let counts = store.counts_of(destination(&*store, "a"));
        assert_eq!((counts.backlog, counts.dead), (0, 50));
    });
}

#[test]
fn what_is_scheduled_goes_out_now_where_somebody_says_so() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let worker = worker(&*store, destination(&*store, "a"));
        let claim = worker.claim(1)[0];
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        let reason = "503".to_owned();
        worker.settle(vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason })]);
        assert_eq!(worker.claim(1), []);
        assert_eq!(ask(&*store, 1, "a", What::RetryNow), done(1));
        assert!(ask(&*store, 1, "a", What::RetryNow).was_done_before);
        assert_eq!(worker.claim(1).len(), 1);
    });
}

#[test]
fn who_stops_waiting_for_a_command_that_was_begun_does_not_undo_it() {
    each_and_shared(|backend| {
        let store = backend.open();
        let a = destination(&*store, "a");
        let id = new_id();
        let command = || Command::new(id, a, What::Pause { reason: "by hand".to_owned() });
        wait(async || {
            let mut asked = store.ask(command());
            // Once: it is begun, and nobody waits for it any more.
            let _ = futures_util::poll!(&mut asked);
        });
        let worker = worker(&*store, a);
        until_state(&mut worker.queue().state(), |now| now.state.paused.is_some());
        let again = wait(async || store.ask(command()).await).expect("done");
        assert_eq!((again.deliveries, again.was_done_before), (1, true));
    });
}

#[test]
fn a_queue_that_is_taken_over_is_whole_at_the_other_and_empty_where_it_was() {
    each_and_shared(|backend| {
        let store = backend.open();
        for body in ["dead", "scheduled", "in flight", "waits"] {
            append(&*store, body, &["old"]);
        }
        let [old, new] = ["old", "new"].map(|name| destination(&*store, name));
        let worker = worker(&*store, old);
        let claims = worker.claim(3);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        let reason = || "503".to_owned();
        worker.settle(vec![
            (claims[0], Settlement::Dead { attempts: 1, reason: reason() }),
            (claims[1], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: reason() }),
        ]);
        let taken = ask(&*store, 1, "old", What::TakeOver { to: new }).taken_over.expect("said");
        assert_eq!(taken, TakenOver { waiting: 1, scheduled: 1, dead: 1, paused: false, in_flight: 1 });
        worker.settle(vec![(claims[2], Settlement::Delivered { attempts: 1 })]);
        store.close_now();
        let store = backend.open();
        let counts = [old, new].map(|of| store.counts_of(of));
        assert_eq!(counts.map(|counts| (counts.backlog, counts.scheduled, counts.dead)), [(0, 0, 0), (2, 1, 1)]);
    });
}

/// A kind of command, and what makes something for it to do.
struct Kind {
    of: NameId,
    prepare: fn(&dyn Store),
    what: What,
}

fn has_waiting(store: &dyn Store) {
    goes_on(store);
    source_goes_on(store);
    append(store, "waits", &["a"]);
}

fn has_dead(store: &dyn Store) {
    has_waiting(store);
    let what = What::DeadLetter { which: Which::Pending, reason: "404".to_owned() };
    assert!(ask(store, new_id(), "a", what).deliveries > 0);
}

fn has_scheduled(store: &dyn Store) {
    has_waiting(store);
    let worker = worker(store, destination(store, "a"));
    let claim = worker.claim(1)[0];
    let due_ms = vero_relay::time::wall_ms() + 3_600_000;
    let reason = "503".to_owned();
    worker.settle(vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason })]);
}

fn is_paused(store: &dyn Store) {
    ask(store, new_id(), "a", What::Pause { reason: "410 Gone".to_owned() });
}

fn goes_on(store: &dyn Store) {
    ask(store, new_id(), "a", What::Resume);
}

fn source_goes_on(store: &dyn Store) {
    ask_of(store, new_id(), store.name(NameKind::Source, "vero"), What::Resume);
}

/// Each kind of command to destination `a`, or to a source; to destination `b`, where it names another.
fn kinds(store: &dyn Store) -> [Kind; 9] {
    let [of, to] = ["a", "b"].map(|name| destination(store, name));
    let source = store.name(NameKind::Source, "vero");
    let dead = || Which::Dead(DeadQuery::default());
    let reason = || "by hand".to_owned();
    [
        Kind { of, prepare: goes_on, what: What::Pause { reason: reason() } },
        Kind { of: source, prepare: source_goes_on, what: What::Hold },
        Kind { of, prepare: is_paused, what: What::Resume },
        Kind { of, prepare: has_scheduled, what: What::RetryNow },
        Kind { of, prepare: has_dead, what: What::Redeliver(dead()) },
        Kind { of, prepare: has_waiting, what: What::DeadLetter { which: Which::Pending, reason: reason() } },
        Kind { of, prepare: has_dead, what: What::Drop(dead()) },
        Kind { of, prepare: has_dead, what: What::Move { which: dead(), to } },
        Kind { of, prepare: has_waiting, what: What::TakeOver { to } },
    ]
}

/// The same kind of act, of which another reason or other deliveries are asked for.
fn asked_otherwise(what: &What) -> Vec<What> {
    let event = |nth| EventId::mint(5, 7, nth);
    let dead = |query| Which::Dead(query);
    let one_of = || DeadQuery { events: Some(vec![event(1)]), ..DeadQuery::default() };
    let which = [
        Which::Pending,
        Which::UnattemptedFor(Duration::from_secs(1)),
        Which::UnattemptedFor(Duration::from_secs(2)),
        Which::OldestBeyond(1),
        Which::OldestBeyond(2),
        Which::Events(vec![event(1)]),
        Which::Events(vec![event(2)]),
        Which::Events(vec![]),
        dead(DeadQuery::default()),
        dead(DeadQuery { since_ms: Some(1), ..DeadQuery::default() }),
        dead(DeadQuery { until_ms: Some(1), ..DeadQuery::default() }),
        dead(DeadQuery { reason: Some("a".to_owned()), ..DeadQuery::default() }),
        dead(DeadQuery { reason_is: Some("a".to_owned()), ..DeadQuery::default() }),
        dead(DeadQuery { events: Some(vec![]), ..DeadQuery::default() }),
        dead(one_of()),
        dead(DeadQuery { since_ms: Some(1), ..one_of() }),
    ];
    let all = which.into_iter();
    let others: Vec<What> = match what {
        What::Pause { .. } => vec![What::Pause { reason: "another".to_owned() }],
        What::Hold | What::Resume | What::RetryNow | What::TakeOver { .. } => vec![],
        What::Redeliver(_) => all.map(What::Redeliver).collect(),
        What::DeadLetter { reason, .. } => {
            let named = all.map(|which| What::DeadLetter { which, reason: reason.clone() });
            named.chain([What::DeadLetter { which: Which::Pending, reason: "another".to_owned() }]).collect()
        }
        What::Drop(_) => all.map(What::Drop).collect(),
        What::Move { to, .. } => all.map(|which| What::Move { which, to: *to }).collect(),
    };
    others.into_iter().filter(|other| other != what).collect()
}

/// What a command can change, of both destinations and of the source.
fn everything(store: &dyn Store) -> impl PartialEq + std::fmt::Debug + use<> {
    let queue = |name| {
        let counts = store.counts_of(destination(store, name));
        let ramp_ups = worker(store, counts.destination).state().ramp_ups;
        (counts.backlog, counts.scheduled, counts.redeliveries, counts.dead, counts.state, ramp_ups)
    };
    (queue("a"), queue("b"), store.sources().borrow().clone())
}

#[test]
fn each_kind_of_command_is_done_once_for_an_id_which_is_no_other_commands() {
    each_and_shared(|backend| {
        let store = backend.open();
        for Kind { of, prepare, what } in kinds(&*store) {
            prepare(&*store);
            let id = new_id();
            let first = ask_of(&*store, id, of, what.clone());
            assert!(first.deliveries > 0 && !first.was_done_before, "{what:?}: {first:?}");
            // As if nobody had.
            prepare(&*store);
            let before = everything(&*store);
            let again = ask_of(&*store, id, of, what.clone());
            assert_eq!((again.deliveries, again.was_done_before), (first.deliveries, true), "{what:?}");
            let elsewhere = destination(&*store, "c");
            let mut others = vec![(elsewhere, what.clone())];
            others.extend(kinds(&*store).map(|kind| (of, kind.what)).into_iter().filter(|(_, other)| *other != what));
            match &what {
                What::Move { which, .. } => others.push((of, What::Move { which: which.clone(), to: elsewhere })),
                What::TakeOver { .. } => others.push((of, What::TakeOver { to: elsewhere })),
                _ => {}
            }
            others.extend(asked_otherwise(&what).into_iter().map(|other| (of, other)));
            for (of, other) in others {
                let refused = wait(async || store.ask(Command::new(id, of, other.clone())).await);
                assert!(
                    matches!(refused, Err(StoreError::IdTaken { .. })),
                    "{other:?} by the id of {what:?}: {refused:?}"
                );
            }
            let replay = ReplayProgress { id, ..ReplayProgress::default() };
            let refused = wait(async || store.save_replay(replay).await);
            assert!(matches!(refused, Err(StoreError::IdTaken { .. })), "a replay by the id of {what:?}: {refused:?}");
            assert_eq!(everything(&*store), before, "{what:?}");
            assert!(!ask_of(&*store, new_id(), of, what.clone()).was_done_before, "{what:?}");
            assert_ne!(everything(&*store), before, "{what:?}");
        }
    });
}

#[test]
fn each_kind_of_command_that_two_handles_ask_for_at_the_same_moment_is_done_once() {
    const ROUNDS: usize = 5;
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        for Kind { of, prepare, what } in kinds(&*store) {
            for _ in 0..ROUNDS {
                prepare(&*store);
                let id = new_id();
                let command = Command::new(id, of, what.clone());
                let both = at_once([(&*store, command.clone()), (&*other, command)]);
                let both = both.map(|done| done.expect("done"));
                assert!(both[0].deliveries > 0 && both[0].deliveries == both[1].deliveries, "{what:?}: {both:?}");
                assert_eq!(both.iter().filter(|done| done.was_done_before).count(), 1, "{what:?}: {both:?}");
            }
        }
    });
}

#[test]
fn of_two_commands_that_are_given_one_id_at_the_same_moment_one_is_refused() {
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        for Kind { of, prepare, what } in kinds(&*store) {
            prepare(&*store);
            let id = new_id();
            let another = if what == What::Resume { What::RetryNow } else { What::Resume };
            let [one, two] = [what, another].map(|what| Command::new(id, of, what));
            let both = at_once([(&*store, one), (&*other, two)]);
            assert_eq!(both.iter().filter(|done| done.is_ok()).count(), 1, "{both:?}");
            assert!(both.iter().any(|done| matches!(done, Err(StoreError::IdTaken { .. }))), "{both:?}");
        }
    });
}

/// Asks for two things at the same moment.
fn at_once(asked: [(&dyn Store, Command); 2]) -> [Result<Done, StoreError>; 2] {
    let both_are_there = Barrier::new(2);
    std::thread::scope(|scope| {
        let asking = asked.map(|(store, command)| {
            let both_are_there = &both_are_there;
            scope.spawn(move || {
                both_are_there.wait();
                wait(async || store.ask(command).await)
            })
        });
        asking.map(|asking| asking.join().expect("it ends"))
    })
}

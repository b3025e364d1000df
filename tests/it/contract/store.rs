//! `Store`: names, commands, replays, the end.

use super::*;

#[test]
fn names_keep_their_numbers() {
    each(|backend| {
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        let rule = store.name(NameKind::Rule, "a");
        assert!(a != b && rule != a, "a rule and a destination of one name are two");
        append(&*store, "one", &["b"]);
        store.close_now();
        let store = backend.open();
        assert_eq!([destination(&*store, "b"), destination(&*store, "a")], [b, a]);
        assert_eq!((&*store.names().name(rule), store.names().of_kind(NameKind::Rule).len()), ("a", 2));
    });
}

#[test]
fn the_same_command_twice_is_done_once_also_across_a_restart_and_a_crash() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..10).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let deliver = |store: &dyn Store| {
            let claims = store.claim(a, 10);
            let count = claims.len();
            store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
            count
        };
        assert_eq!(deliver(&*store), 10);
        let again = || What::Redeliver(Which::Events(ids.clone()));
        assert_eq!(ask(&*store, 7, "a", again()), done(10));
        assert_eq!(deliver(&*store), 10);
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
        let other = Command { id: 7, of: a, what: What::Drop(Which::Dead(DeadQuery::default())) };
        let refused = wait(async || store.ask(other).await);
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
        let replay = ReplayProgress { id: 7, ..ReplayProgress::default() };
        let refused = wait(async || store.save_replay(replay).await);
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    });
}

#[test]
fn what_waits_already_is_not_redelivered_and_a_dead_letter_moves_whole() {
    each(|backend| {
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
fn how_far_a_replay_has_come_is_known_after_a_restart() {
    each(|backend| {
        let store = backend.open();
        for _ in 0..9 {
            append(&*store, "x", &["a"]);
        }
        // Where the walk is after so many.
        let walked = |store: &dyn Store, events| {
            let page = wait(async || store.events(&EventQuery::all(Order::OldestFirst), None, events).await);
            page.expect("a page")
        };
        let progress = |store: &dyn Store, id, events| {
            let Page { next: cursor, left, .. } = walked(store, events);
            ReplayProgress { id, cursor, left, at_ms: events as u64, ..ReplayProgress::default() }
        };
        for (id, events) in [(1, 2), (2, 3), (1, 5)] {
            let progress = progress(&*store, id, events);
            assert_eq!(wait(async || store.save_replay(progress.clone()).await), Ok(progress));
        }
        let (behind, known) = (progress(&*store, 1, 4), progress(&*store, 1, 5));
        assert_eq!(wait(async || store.save_replay(behind.clone()).await), Ok(known), "it never goes back");
        store.close_now();
        let store = backend.open();
        let replays = wait(async || store.replays().await).expect("known");
        assert_eq!(replays, [progress(&*store, 1, 5), progress(&*store, 2, 3)]);
    });
}

#[test]
fn what_is_given_up_is_dead_what_is_dropped_is_gone_and_what_is_in_flight_is_left_alone() {
    each(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..4).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        let in_flight = store.claim(destination(&*store, "a"), 1)[0];
        let give_up = || What::DeadLetter { which: Which::Pending, reason: "by hand".to_owned() };
        assert_eq!(ask(&*store, 1, "a", give_up()), done(3));
        assert_eq!(ask(&*store, 2, "a", give_up()), done(0));
        let of = |id: EventId| Which::Dead(DeadQuery { events: Some(vec![id]), ..DeadQuery::default() });
        let dropped = [3, 4].map(|id| ask(&*store, id, "a", What::Drop(of(ids[1]))));
        assert_eq!(dropped, [done(1), done(0)]);
        store.settle(vec![(in_flight, Settlement::Delivered { attempts: 1 })]);
        store.close_now();
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| destination(&*store, name));
        assert_eq!((store.counts_of(a).backlog, store.counts_of(a).dead), (0, 2));
        assert_eq!((store.counts_of(b).backlog, store.counts_of(b).dead), (4, 0));
    });
}

#[test]
fn the_oldest_goes_where_too_much_waits() {
    each(|backend| {
        let store = backend.open();
        let body = "b".repeat(10_000);
        for _ in 0..100 {
            append(&*store, &body, &["a"]);
        }
        let a = destination(&*store, "a");
        let before = store.counts_of(a);
        let most = before.limited_bytes / 2;
        let oldest = || What::DeadLetter { which: Which::OldestBeyond(most), reason: "too much".to_owned() };
        assert_eq!(ask(&*store, 1, "a", oldest()).deliveries, before.backlog / 2);
        assert!(store.counts_of(a).limited_bytes < before.limited_bytes);
        let enough = What::DeadLetter { which: Which::OldestBeyond(u64::MAX), reason: "too much".to_owned() };
        assert_eq!(ask(&*store, 2, "a", enough), done(0));
    });
}

#[test]
fn a_renamed_destination_keeps_its_queue_and_one_that_meets_another_is_joined_to_it() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["old", "other"]);
        let [old, other] = ["old", "other"].map(|name| destination(&*store, name));
        store.announce(1, &[old, other]);
        let renamed = |name: &str, from: &str| Named {
            kind: NameKind::Destination,
            name: name.to_owned(),
            renamed_from: Some(from.to_owned()),
        };
        let interned = wait(async || store.intern(vec![renamed("new", "old")]).await).expect("there is room");
        let from_old = TakenFrom { name: "new".into(), from: "old".into(), moved: None };
        assert_eq!((interned.ids.as_slice(), interned.taken_over), ([old].as_slice(), vec![from_old]));
        assert_eq!(store.names().former(NameKind::Destination, "old"), Some(old));
        store.announce(2, &[old]);
        let both = || vec![renamed("new", "other")];
        let interned = wait(async || store.intern(both()).await).expect("there is room");
        let moved = Some(TakenOver { waiting: 1, ..TakenOver::default() });
        assert_eq!(interned.taken_over, [TakenFrom { name: "new".into(), from: "other".into(), moved }]);
        assert_eq!((store.counts_of(old).backlog, store.counts_of(other).backlog), (1, 0), "one event is one delivery");
        store.close_now();
        let store = backend.open();
        assert_eq!((store.counts_of(old).backlog, store.counts_of(other).backlog), (1, 0));
        assert!(store.state(other).removed_since_ms.is_some() && store.state(old).removed_since_ms.is_none());
    });
}

#[test]
fn a_config_whose_names_find_no_room_changes_nothing() {
    each(|backend| {
        let store = backend.open();
        let long = |number: usize| format!("{number:06}{}", "r".repeat(1000));
        let names: Vec<String> = (0..15_000).map(long).collect();
        let all: Vec<_> = names.iter().map(|name| (NameKind::Rule, &**name)).collect();
        let refused = wait(async || store.intern(named(&all)).await);
        assert!(matches!(refused, Err(StoreError::NamesFull(_))), "{refused:?}");
        assert!(store.names().of_kind(NameKind::Rule).is_empty());
        assert!(wait(async || store.intern(named(&all[..1000])).await).is_ok());
    });
}

#[test]
fn what_is_asked_through_one_handle_is_in_effect_for_the_other() {
    each(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let mut state = other.queue(a).state();
        state.borrow_and_update();
        assert_eq!(ask(&*store, 1, "a", What::Pause { reason: "by hand".to_owned() }), done(1));
        assert!(wait(async || state.changed().await).is_ok());
        assert!(state.borrow().state.paused.is_some());
        assert_eq!(other.claim(a, 9), []);
        let again = ask(&*other, 1, "a", What::Pause { reason: "by hand".to_owned() });
        assert_eq!((again.deliveries, again.was_done_before), (1, true), "the id is known to both");
        assert_eq!(ask(&*other, 2, "a", What::Resume), done(1));
        assert_eq!(store.claim(a, 9).len(), 1);
        let number = other.name(NameKind::Destination, "new");
        assert_eq!(store.names().find(NameKind::Destination, "new"), Some(number));
        let replay = ReplayProgress { id: 3, at_ms: 5, ..ReplayProgress::default() };
        assert_eq!(wait(async || store.save_replay(replay.clone()).await).map(|known| known.id), Ok(3));
        assert_eq!(wait(async || other.replays().await).expect("known").len(), 1);
    });
}

#[test]
fn one_command_that_both_handles_ask_for_at_once_is_done_once() {
    each(|backend| {
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
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let claim = store.claim(a, 1)[0];
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        let reason = "503".to_owned();
        store.settle(vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason })]);
        assert_eq!(store.claim(a, 1), []);
        assert_eq!(ask(&*store, 1, "a", What::RetryNow), done(1));
        assert!(ask(&*store, 1, "a", What::RetryNow).was_done_before);
        assert_eq!(store.claim(a, 1).len(), 1);
    });
}

#[test]
fn a_queue_that_is_taken_over_is_whole_at_the_other_and_empty_where_it_was() {
    each(|backend| {
        let store = backend.open();
        for body in ["dead", "scheduled", "in flight", "waits"] {
            append(&*store, body, &["old"]);
        }
        let [old, new] = ["old", "new"].map(|name| destination(&*store, name));
        let claims = store.claim(old, 3);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        let reason = || "503".to_owned();
        store.settle(vec![
            (claims[0], Settlement::Dead { attempts: 1, reason: reason() }),
            (claims[1], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: reason() }),
        ]);
        let taken = ask(&*store, 1, "old", What::TakeOver { to: new }).taken_over.expect("said");
        assert_eq!(taken, TakenOver { waiting: 1, scheduled: 1, dead: 1, paused: false, in_flight: 1 });
        store.settle(vec![(claims[2], Settlement::Delivered { attempts: 1 })]);
        store.close_now();
        let store = backend.open();
        let counts = [old, new].map(|of| store.counts_of(of));
        assert_eq!(counts.map(|counts| (counts.backlog, counts.scheduled, counts.dead)), [(0, 0, 0), (2, 1, 1)]);
    });
}

#[test]
fn closing_twice_is_closing_once() {
    each(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let other = backend.open_again();
        store.close_now();
        other.close_now();
        drop((store, other));
        let store = backend.open();
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["one"]);
    });
}

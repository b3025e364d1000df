//! `Queue`, and the lease by which it is had.

use std::collections::BTreeSet;

use super::*;

#[test]
fn what_was_appended_is_claimed_by_its_destinations_and_by_no_other() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a", "b"]);
        append(&*store, "two", &["b"]);
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["one"]);
        assert_eq!(bodies(&*store, destination(&*store, "b"), 9), ["one", "two"]);
        assert_eq!(worker(&*store, destination(&*store, "c")).claim(9), []);
    });
}

#[test]
fn a_claim_is_exclusive_until_it_is_released() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = worker(&*store, destination(&*store, "a"));
        let claim = a.claim(9)[0];
        assert_eq!(a.claim(9), []);
        a.settle(vec![(claim, Settlement::Returned)]);
        assert_eq!(a.claim(9), [claim]);
    });
}

#[test]
fn what_was_handed_back_comes_first_and_retries_first_attempts_and_redeliveries_in_turn() {
    each_and_shared(|backend| {
        let store = backend.open();
        let a = worker(&*store, destination(&*store, "a"));
        let four_of = |kind: &str| (0..4).map(|_| append(&*store, kind, &["a"])).collect::<Vec<_>>();
        let settle_all = |settlement: Settlement| {
            a.settle(a.claim(4).into_iter().map(|claim| (claim, settlement.clone())).collect())
        };
        let again = four_of("redelivery");
        settle_all(Settlement::Delivered { attempts: 1 });
        four_of("retry");
        settle_all(Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 1, reason: "503".into() });
        four_of("first attempt");
        assert_eq!(ask(&*store, 1, "a", What::Redeliver(Which::Events(again))), done(4));
        let claimed = a.claimed(6);
        let is_of = |kind: &str| {
            claimed.iter().filter(|claimed| claimed.event.as_ref().is_ok_and(|event| event.body == kind)).count()
        };
        assert_eq!(["retry", "first attempt", "redelivery"].map(is_of), [2, 2, 2]);
        let some: Vec<Claim> = claimed.iter().skip(1).step_by(2).map(|claimed| claimed.claim).collect();
        a.settle(some.iter().map(|claim| (*claim, Settlement::Returned)).collect());
        assert_eq!(a.claim(some.len()), some);
    });
}

#[test]
fn how_much_a_claim_would_give_is_known_before_it() {
    each_and_shared(|backend| {
        let store = backend.open();
        let of = destination(&*store, "a");
        let a = worker(&*store, of);
        let is = |deliveries: u64, have_waited: bool| {
            assert_eq!(a.queue().claimable(), Claimable { deliveries, have_waited });
        };
        is(0, false);
        let ids: Vec<_> = (0..5).map(|_| append(&*store, "one", &["a"])).collect();
        append(&*store, "one", &["b"]);
        is(5, false);
        let claims = a.claim(3);
        is(2, false);
        let far = vero_relay::time::wall_ms() + 3_600_000;
        let scheduled =
            |due_ms| Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() };
        a.settle(vec![(claims[0], scheduled(far)), (claims[1], Settlement::Delivered { attempts: 1 })]);
        is(2, false);
        a.settle(vec![(claims[2], scheduled(1))]);
        is(3, true);
        let claims = a.claim(9);
        is(0, false);
        a.settle(claims.iter().map(|claim| (*claim, Settlement::Returned)).collect());
        is(3, true);
        assert_eq!(ask(&*store, 1, "a", What::Redeliver(Which::Events(vec![ids[1]]))), done(1));
        is(4, true);
        a.pause("no");
        is(0, false);
        assert_eq!(a.claim(9), []);
    });
}

#[test]
fn a_settled_delivery_does_not_come_back_and_an_unsettled_one_does() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<_> = ["delivered", "dead", "open"].map(|body| append(&*store, body, &["a"])).into();
        let a = worker(&*store, destination(&*store, "a"));
        let claims = a.claim(9);
        a.settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Dead { attempts: 2, reason: "no".into() }),
        ]);
        // The process dies after its last settlements have become durable.
        store.close_now();
        let store = backend.open();
        let a = worker(&*store, destination(&*store, "a"));
        assert_eq!(a.bodies(9), ["open"]);
        let state = |id: EventId| wait(async || store.event(id).await).expect("found").deliveries[0].state.clone();
        assert!(matches!(state(ids[0]), DeliveryState::Delivered { attempts: 1, .. }));
        assert!(matches!(state(ids[1]), DeliveryState::Dead { attempts: 2, reason, .. } if reason == "no"));
        assert_eq!(state(ids[2]), DeliveryState::InFlight);
    });
}

#[test]
fn a_scheduled_delivery_comes_when_it_is_due_with_its_attempts_also_after_a_restart() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids = ["later", "now"].map(|body| append(&*store, body, &["a"]));
        let a = worker(&*store, destination(&*store, "a"));
        let claims = a.claim(9);
        let scheduled =
            |due_ms| Settlement::Scheduled { attempts: 3, first_attempt_ms: 5, due_ms, reason: "503".into() };
        let far = vero_relay::time::wall_ms() + 3_600_000;
        a.settle(vec![(claims[0], scheduled(far)), (claims[1], scheduled(1))]);
        assert_eq!(ids.map(|id| store.due_ms(id)), [Some(far), Some(1)]);
        store.close_now();
        let store = backend.open();
        let claims = worker(&*store, destination(&*store, "a")).claim(9);
        assert_eq!(claims.len(), 1);
        assert_eq!((claims[0].attempts, claims[0].first_attempt_ms, claims[0].due_ms), (3, Some(5), Some(1)));
        assert_eq!(store.due_ms(ids[0]), Some(far));
    });
}

#[test]
fn settling_a_claim_twice_changes_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let of = destination(&*store, "a");
        let a = worker(&*store, of);
        let claim = a.claim(1)[0];
        a.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
        a.settle(vec![(claim, Settlement::Dead { attempts: 1, reason: "late".into() })]);
        let counts = store.counts_of(of);
        assert_eq!((counts.backlog, counts.dead), (0, 0));
    });
}

#[test]
fn a_pause_holds_one_destination_across_a_restart() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a", "b"]);
        worker(&*store, destination(&*store, "a")).pause("410 Gone");
        store.close_now();
        let store = backend.open();
        let of = ["a", "b"].map(|name| destination(&*store, name));
        let [a, b] = of.map(|of| worker(&*store, of));
        assert_eq!((a.claim(9).len(), b.claim(9).len()), (0, 1));
        assert_eq!(store.state(of[0]).paused.map(|pause| pause.reason), Some("410 Gone".to_owned()));
        assert_eq!(ask(&*store, 1, "a", What::Resume), done(1));
        assert_eq!(ask(&*store, 2, "a", What::Resume), done(0));
        assert_eq!(a.claim(9).len(), 1);
    });
}

#[test]
fn a_dead_destination_with_a_long_backlog_is_opened_and_drained_in_order_of_age() {
    let waiting = part_of(100_000);
    each_and_shared(|backend| {
        let store = backend.open();
        let one = event(&*store, "waits", &["dead"]);
        // Many at once, as from many senders; each is waited for.
        for _ in 0..waiting / 500 {
            let answers: Vec<_> = (0..500).map(|_| store.append(one.clone())).collect();
            for answer in answers {
                answer.blocking_recv().expect("an answer").expect("taken");
            }
        }
        store.close_now();
        drop(store);
        let store = backend.open();
        let of = destination(&*store, "dead");
        let dead = worker(&*store, of);
        assert_eq!(store.counts_of(of).backlog, waiting);
        let (mut next, mut last) = (0, None);
        loop {
            let claimed = dead.claimed(1000);
            let Some(first) = claimed.first() else { break };
            assert_eq!(first.event.as_ref().expect("readable").body, "waits");
            next += claimed.len() as u64;
            let keys: Vec<EventId> = claimed.iter().map(id_of).collect();
            assert!(keys.is_sorted() && keys.first() > last.as_ref(), "{last:?} {keys:?}");
            last = keys.last().copied();
            dead.queue().settle(claimed.into_iter().map(delivered).collect());
        }
        assert_eq!((next, store.counts_of(of).backlog), (waiting, 0));
    });
}

#[test]
fn a_pause_is_counted_from_when_it_began_also_across_restarts() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let first = worker(&*store, a);
        first.pause("410 Gone");
        let paused = store.state(a).paused.expect("paused");
        first.pause("a second time");
        store.close_now();
        for _ in 0..2 {
            let store = backend.open();
            assert_eq!(store.state(a).paused, Some(paused.clone()));
            assert_eq!(worker(&*store, a).state().state.paused, Some(paused.clone()));
            store.close_now();
        }
    });
}

#[test]
fn an_open_breaker_and_a_removed_name_stand_across_restarts_and_hold_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        worker(&*store, a).queue().change(Change::Breaker { is_open: true });
        store.announce(1, &[]);
        let state = store.state(a);
        assert!(state.open_since_ms.is_some() && state.removed_since_ms.is_some());
        store.close_now();
        let store = backend.open();
        assert_eq!(store.state(a), state);
        let worker = worker(&*store, a);
        assert_eq!(worker.claim(9).len(), 1, "whether a probe goes out is the caller's business");
        worker.queue().change(Change::Breaker { is_open: false });
        store.announce(1, &[a]);
        until_state(&mut worker.queue().state(), |now| now.state == NameState::default());
    });
}

#[test]
fn a_clock_that_steps_stalls_no_retry_and_loses_nothing() {
    const DAY_MS: u64 = 24 * 3_600_000;
    each_and_shared(|backend| {
        let now_ms = vero_relay::time::wall_ms();
        let at = |now_ms: u64| Clock::by_hand(Box::leak(Box::new(AtomicU64::new(now_ms))));
        let store = backend.open_by(at(now_ms));
        let later = append(&*store, "later", &["a"]);
        append(&*store, "waits", &["a"]);
        let a = worker(&*store, destination(&*store, "a"));
        let claim = a.claim(1)[0];
        let due_ms = now_ms + DAY_MS / 24;
        let reason = "503".to_owned();
        a.settle(vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: now_ms, due_ms, reason })]);
        store.close_now();
        // A day back, as after a flat battery, then to 1970: what was due in an hour is due within a day.
        for stepped in [now_ms - DAY_MS, 1000] {
            let store = backend.open_by(at(stepped));
            let due_ms = store.due_ms(later).expect("scheduled");
            assert!(due_ms <= stepped + DAY_MS, "{due_ms} is more than a day after {stepped}");
            store.close_now();
        }
        // And to 2100: both are due, and are there although the history they lie in is long over.
        let store = backend.open_by(at(4_102_444_800_000));
        backend.trim();
        let a = destination(&*store, "a");
        let mut waiting = bodies(&*store, a, 9);
        waiting.sort();
        assert_eq!(waiting, ["later", "waits"]);
    });
}

#[test]
fn a_claim_keeps_to_its_bytes_and_one_whose_future_is_dropped_goes_back_in_its_place() {
    each_and_shared(|backend| {
        let store = backend.open();
        let body = "b".repeat(100_000);
        for _ in 0..20 {
            append(&*store, &body, &["a"]);
        }
        let a = destination(&*store, "a");
        // From memory, and after a restart from the disk.
        for is_restarted in [false, true] {
            let store = if is_restarted { backend.open() } else { store.clone() };
            let worker = worker(&*store, a);
            let claim = |body_bytes| worker.claim_once(Room { deliveries: 9, body_bytes, urgent_only: false });
            drop(worker.queue().claim(Room { deliveries: 9, body_bytes: usize::MAX, urgent_only: false }));
            let some = claim(250_000);
            assert_eq!(some.len(), 2, "as many as fit");
            let one = claim(1);
            assert_eq!(one.len(), 1, "and one however large");
            let keys: Vec<EventId> = some.iter().chain(&one).map(id_of).collect();
            assert!(keys.is_sorted(), "{keys:?}");
            let back = |claimed: Claimed| (claimed.claim, Settlement::Returned);
            worker.settle(some.into_iter().chain(one).map(back).collect());
            assert_eq!(store.counts_of(a).backlog, 20);
            store.close_now();
        }
    });
}

#[test]
fn a_queue_says_when_there_may_be_more_and_when_it_was_let_go_on() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = worker(&*store, destination(&*store, "a"));
        let queue = worker.queue();
        let mut state = queue.state();
        let comes = |ready: BoxFuture<'static, ()>| wait(async || ready.await);
        let ready = queue.ready();
        append(&*store, "one", &["a"]);
        comes(ready);
        let claim = worker.claim(1)[0];
        let due_ms = vero_relay::time::wall_ms() + 50;
        let retry = Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() };
        worker.settle(vec![(claim, retry)]);
        comes(queue.ready());
        worker.pause("410 Gone");
        let paused = until_state(&mut state, |now| now.state.paused.is_some()).state.paused;
        assert_eq!(paused.map(|pause| pause.reason), Some("410 Gone".to_owned()));
        assert!(worker.claim(1).is_empty());
        let ready = queue.ready();
        assert_eq!(ask(&*store, 1, "a", What::Resume), done(1));
        comes(ready);
        let let_go_on = until_state(&mut state, |now| now.state.paused.is_none());
        for section in ["one", "one", "two"] {
            queue.change(Change::Section { fingerprint: section.into() });
        }
        let helped = until_state(&mut state, |now| now.ramp_ups > let_go_on.ramp_ups);
        assert_eq!((let_go_on.ramp_ups, helped.ramp_ups), (1, 2), "the first section of all is not another one");
    });
}

#[test]
fn a_lease_that_is_handed_on_leaves_to_the_next_what_is_not_settled_and_nothing_twice() {
    const EVENTS: usize = 60;
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        let ids: BTreeSet<EventId> = (0..EVENTS).map(|_| append(&*store, "x", &["a"])).collect();
        let a = destination(&*store, "a");
        let mut seen = Vec::new();
        // In turn by one handle and the other. Each settles some, hands some back, and goes.
        for handle in [&store, &other].into_iter().cycle().take(EVENTS / 3) {
            let worker = worker(&**handle, a);
            let mut claimed = worker.claimed(5);
            let back = claimed.split_off(3);
            seen.extend(claimed.iter().map(id_of));
            worker.queue().settle(claimed.into_iter().map(delivered).collect());
            worker.settle(back.into_iter().map(|claimed| (claimed.claim, Settlement::Returned)).collect());
        }
        assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (EVENTS, ids));
        assert_eq!(other.counts_of(a).backlog, 0);
    });
}

#[test]
fn claims_that_a_worker_makes_at_the_same_moment_give_it_nothing_twice() {
    const EVENTS: usize = 300;
    each_and_shared(|backend| {
        let store = backend.open();
        let one = event(&*store, "x", &["a"]);
        let answers: Vec<_> = (0..EVENTS).map(|_| store.append(one.clone())).collect();
        let ids = answers.into_iter().map(|answer| answer.blocking_recv().expect("an answer").expect("accepted"));
        let ids: BTreeSet<EventId> = ids.collect();
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let drain = || {
            let mut seen = Vec::new();
            loop {
                let claimed = worker.claim_once(Room { deliveries: 3, body_bytes: 1 << 20, urgent_only: false });
                if claimed.is_empty() {
                    return seen;
                }
                seen.extend(claimed.iter().map(id_of));
                worker.queue().settle(claimed.into_iter().map(delivered).collect());
            }
        };
        let (mut seen, also) = std::thread::scope(|scope| {
            let also = scope.spawn(drain);
            (drain(), also.join().expect("it ends"))
        });
        seen.extend(also);
        assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (EVENTS, ids));
        assert_eq!(store.counts_of(a).backlog, 0);
    });
}

#[test]
fn who_has_lost_a_lease_claims_nothing_and_changes_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        append(&*store, "two", &["a"]);
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let claimed = worker.claimed(1);
        assert_eq!(claimed.len(), 1);
        backend.take_away(&worker.0);
        wait(async || worker.0.lost.cancelled().await);
        assert!(worker.claim(9).is_empty());
        worker.queue().settle(claimed.into_iter().map(delivered).collect());
        worker.pause("not theirs to say");
        let counts = store.counts_of(a);
        assert_eq!((counts.backlog, counts.state), (2, NameState::default()));
        store.close_now();
        let store = backend.open();
        assert_eq!(bodies(&*store, a, 9), ["one", "two"]);
    });
}

#[test]
fn large_events_that_are_read_from_the_disk_keep_to_the_bytes_and_to_their_order() {
    each_and_shared(|backend| {
        let store = backend.open();
        let body = "b".repeat(100_000);
        let ids: Vec<EventId> = (0..20).map(|_| append(&*store, &body, &["a"])).collect();
        store.close_now();
        let store = backend.open();
        let worker = worker(&*store, destination(&*store, "a"));
        let mut seen = Vec::new();
        while seen.len() < ids.len() {
            let room = Room { deliveries: 9, body_bytes: 250_000, urgent_only: false };
            let some = worker.claim_once(room);
            let bytes: usize = some.iter().map(|claimed| claimed.event.as_ref().expect("readable").body.len()).sum();
            assert!(!some.is_empty() && bytes <= room.body_bytes, "{} deliveries, {bytes} bytes", some.len());
            seen.extend(some.iter().map(id_of));
            worker.queue().settle(some.into_iter().map(delivered).collect());
        }
        assert_eq!(seen, ids);
    });
}

#[test]
fn the_attempts_at_a_delivery_are_shown_in_their_order() {
    each_and_shared(|backend| {
        let store = backend.open();
        let id = append(&*store, "one", &["a"]);
        let a = worker(&*store, destination(&*store, "a"));
        let attempt = |at_ms, status| AttemptNote { at_ms, status, outcome: "retry".into(), ..AttemptNote::default() };
        for at_ms in [20, 10, 30] {
            let claim = a.claim(1)[0];
            let reason = "503".to_owned();
            let settlement = Settlement::Scheduled { attempts: 1, first_attempt_ms: 10, due_ms: 1, reason };
            let settled = Settled { claim, settlement, attempt: Some(attempt(at_ms, 503)) };
            a.queue().settle(vec![settled]);
        }
        // A restart may lose them: nothing depends on them.
        let view = wait(async || store.event(id).await).expect("found");
        let seen: Vec<u64> = view.deliveries[0].attempts.iter().map(|attempt| attempt.at_ms).collect();
        assert_eq!(seen, [10, 20, 30]);
    });
}

#[test]
fn a_lease_brings_the_queues_of_its_duty_in_their_order_and_one_of_a_replay_brings_none() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        append(&*store, "two", &["b"]);
        let destinations = vec![destination(&*store, "b"), destination(&*store, "a")];
        let duty = Duty::Deliver { destinations, rate_limit_group: Some("a digest".to_owned()) };
        let lease = wait(async || store.lease(duty.clone()).await);
        let room = Room { deliveries: 9, body_bytes: 1 << 20, urgent_only: false };
        let claimed = lease.queues.iter().map(|queue| wait(async || queue.claim(room).await));
        let bodies: Vec<_> = claimed.flatten().map(|claimed| claimed.event.expect("read").body.clone()).collect();
        assert_eq!(bodies, ["two", "one"]);
        let replaying = wait(async || store.lease(Duty::Replay(7)).await);
        assert!(replaying.queues.is_empty());
        assert!(!lease.lost.is_cancelled() && !replaying.lost.is_cancelled());
    });
}

#[test]
fn no_lease_outlives_the_store_and_what_is_said_by_one_that_is_lost_changes_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "one", &["a"]);
        append(&*store, "two", &["a"]);
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let claimed = worker.claimed(1);
        assert_eq!(claimed.len(), 1);
        store.close_now();
        assert!(worker.0.lost.is_cancelled());
        assert!(worker.claim(9).is_empty());
        worker.queue().settle(claimed.into_iter().map(delivered).collect());
        worker.pause("not theirs to say");
        let store = backend.open();
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["one", "two"]);
    });
}

#[track_caller]
fn remember(worker: &Worker, key: &str, text: Option<&str>) {
    wait(async || worker.queue().remember(key, text.map(str::to_owned)).await).expect("it is written down");
}

#[test]
fn what_an_attempt_leaves_behind_is_its_destinations_own() {
    each_and_shared(|backend| {
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| worker(&*store, destination(&*store, name)));
        assert_eq!(a.queue().recall("k"), None);
        remember(&a, "k", Some("one"));
        remember(&a, "k", Some("two"));
        remember(&b, "k", Some(""));
        remember(&b, "l", Some("x"));
        remember(&b, "l", None);
        assert_eq!([a.queue().recall("k").as_deref(), a.queue().recall("l").as_deref()], [Some("two"), None]);
        assert_eq!([b.queue().recall("k").as_deref(), b.queue().recall("l").as_deref()], [Some(""), None]);
        let longest = "x".repeat(REMEMBERED_BYTES_MAX - 1);
        remember(&a, "k", Some(&longest));
        let refused = wait(async || a.queue().remember("k", Some(format!("{longest}x"))).await);
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
        assert_eq!(a.queue().recall("k"), Some(longest), "what stood there stays");
    });
}

#[test]
fn what_an_attempt_leaves_behind_outlives_the_process_and_the_oldest_goes() {
    each_with_files(|backend| {
        let store = backend.open();
        let a = worker(&*store, destination(&*store, "a"));
        // Known at once; the last one waits for all.
        for number in 0..REMEMBERED_MAX {
            drop(a.queue().remember(&number.to_string(), Some("x".to_owned())));
        }
        remember(&a, "0", Some("again"));
        remember(&a, "one more", Some("y"));
        drop((a, store));
        let store = backend.open();
        let a = worker(&*store, destination(&*store, "a"));
        let known = ["0", "1", "2", "one more"].map(|key| a.queue().recall(key));
        let known: Vec<_> = known.iter().map(|known| known.as_deref()).collect();
        assert_eq!(known, [Some("again"), None, Some("x"), Some("y")], "also where it was not closed");
    });
}

#[test]
fn who_has_lost_a_lease_leaves_nothing_behind() {
    each_and_shared(|backend| {
        let store = backend.open();
        let a = worker(&*store, destination(&*store, "a"));
        remember(&a, "k", Some("one"));
        a.0.lost.cancel();
        remember(&a, "k", Some("two"));
        assert_eq!(a.queue().recall("k").as_deref(), Some("one"));
    });
}

//! The contract of [`Lanes`](vero_relay::store::Lanes) where deliveries of a key go one after the other.

use vero_relay::store::{HeldBy, Lane, OrderKey};

use super::*;

/// Who delivers to a destination that goes in order, by the first letter of a body; what begins with `-` has no key.
#[track_caller]
fn in_order(store: &dyn Store) -> Worker {
    let worker = worker(store, destination(store, "crm"));
    worker.queue().sort_in_order();
    worker
}

fn by_letter(body: &str) -> Lane {
    match body.as_bytes()[0] {
        b'-' => Lane::Ready,
        letter => Lane::InOrder(OrderKey([letter; 16])),
    }
}

fn look(worker: &Worker) -> usize {
    worker.place_all(by_letter)
}

fn append_all(store: &dyn Store, bodies: &[&str]) -> Vec<EventId> {
    bodies.iter().map(|body| append(store, body, &["crm"])).collect()
}

fn retry(due_ms: u64) -> Settlement {
    Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }
}

fn done(claims: &[Claim]) -> Vec<(Claim, Settlement)> {
    claims.iter().map(|claim| (*claim, Settlement::Delivered { attempts: claim.attempts + 1 })).collect()
}

#[test]
fn of_a_key_one_goes_after_the_other_whatever_becomes_of_it() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = in_order(&*store);
        let ids = append_all(&*store, &["a1", "a2", "b1", "-1", "-2", "a3"]);
        assert_eq!(worker.bodies(9), [""; 0], "nobody has looked");
        assert_eq!(look(&worker), 6);
        let claims = worker.claim(9);
        assert_eq!(
            claims.iter().map(|claim| claim.delivery.event).collect::<Vec<_>>(),
            [ids[0], ids[2], ids[3], ids[4]]
        );
        let counts = store.counts_of(destination(&*store, "crm"));
        assert_eq!((counts.order_keys, counts.behind, counts.backlog), (2, 2, 6));
        let state = |id: EventId| wait(async || store.event(id).await).expect("found").deliveries[0].state.clone();
        assert_eq!(state(ids[5]), DeliveryState::Held { by: HeldBy::Order { earlier: Some(ids[0]) } });
        worker.settle(vec![(claims[0], Settlement::Returned)]);
        let again = worker.claim(9);
        assert_eq!(again, claims[..1], "as it was");
        worker.settle(vec![(again[0], retry(u64::MAX / 2))]);
        assert_eq!(worker.bodies(9), [""; 0], "what is behind waits as well");
        let ready = worker.queue().ready();
        ask(
            &*store,
            new_id(),
            "crm",
            What::DeadLetter { which: Which::Events(vec![ids[0]]), reason: "by hand".into() },
        );
        wait(async || ready.await);
        let next = worker.claim(9);
        let ready = worker.queue().ready();
        worker.settle(vec![(next[0], Settlement::Dead { attempts: 1, reason: "400".into() })]);
        wait(async || ready.await);
        assert_eq!(worker.bodies(9), ["a3"]);
    });
}

#[test]
fn of_each_key_its_head_is_counted_for_who_waits_until_there_are_enough() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = in_order(&*store);
        append_all(&*store, &["a1", "a2", "b1", "-1", "b2"]);
        look(&worker);
        let is = |deliveries: u64, have_waited: bool| {
            assert_eq!(worker.queue().claimable(), Claimable { deliveries, have_waited });
        };
        is(3, false);
        let claims = worker.claim(9);
        is(0, false);
        worker.settle(vec![(claims[0], retry(u64::MAX / 2))]);
        is(0, false);
        worker.settle(done(&claims[1..]));
        is(1, true);
        let second = worker.claim(9);
        worker.settle(vec![(second[0], retry(1))]);
        is(1, true);
    });
}

#[test]
fn what_goes_out_again_goes_in_order_and_before_what_came_later() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = in_order(&*store);
        let ids = append_all(&*store, &["a1", "a2", "a3"]);
        look(&worker);
        for _ in 0..2 {
            worker.settle(done(&worker.claim(9)));
        }
        ask(&*store, new_id(), "crm", What::Redeliver(Which::Events(vec![ids[1], ids[0]])));
        assert_eq!(look(&worker), 2);
        let mut gone = Vec::new();
        while let [claim] = worker.claim(9)[..] {
            gone.push(claim.delivery.event);
            worker.settle(done(&[claim]));
        }
        assert_eq!(gone, ids);
    });
}

#[test]
fn who_begins_after_a_start_or_with_another_section_looks_at_what_was_tried_as_well() {
    each_and_shared(|backend| {
        for restarts in [false, true] {
            let store = backend.open();
            let worker = in_order(&*store);
            let letter = if restarts { "r" } else { "s" };
            let ids =
                append_all(&*store, &[1, 2].map(|number| format!("{letter}{number}")).each_ref().map(String::as_str));
            look(&worker);
            worker.settle(vec![(worker.claim(9)[0], retry(0))]);
            let (store, worker) = if restarts {
                store.close_now();
                drop((worker, store));
                let store = backend.open();
                let worker = in_order(&*store);
                (store, worker)
            } else {
                worker.queue().sort_in_order();
                (store, worker)
            };
            assert_eq!(worker.bodies(9), [""; 0]);
            assert_eq!(look(&worker), 2);
            let claims = worker.claim(9);
            assert_eq!((claims.len(), claims[0].delivery.event, claims[0].attempts), (1, ids[0], 1), "{restarts}");
            worker.settle(done(&claims));
            let last = worker.claim(9);
            assert_eq!(last[0].delivery.event, ids[1]);
            worker.settle(done(&last));
            store.close_now();
        }
    });
}

#[test]
fn what_goes_in_order_no_more_goes_as_it_comes() {
    each_and_shared(|backend| {
        let store = backend.open();
        let worker = in_order(&*store);
        append_all(&*store, &["a1", "a2"]);
        look(&worker);
        worker.queue().sort(false);
        assert_eq!(worker.bodies(9), ["a1", "a2"]);
    });
}

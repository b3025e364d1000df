//! `Intake`.

use super::*;

#[test]
fn a_process_that_dies_without_a_word_loses_no_event_and_no_unsettled_delivery() {
    each_and_shared(|backend| {
        let store = backend.open();
        for i in 0..100 {
            append(&*store, &i.to_string(), &["a", "b"]);
        }
        let a = worker(&*store, destination(&*store, "a"));
        let claims = a.claim(50);
        a.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
        // Dropped, not closed: what was settled may happen again.
        drop((a, store));
        let store = backend.open();
        let [a, b] = ["a", "b"].map(|name| worker(&*store, destination(&*store, name)).claim(1000).len());
        assert!((50..=100).contains(&a), "{a}");
        assert_eq!(b, 100);
    });
}

#[test]
fn ids_are_unique_across_restarts_and_a_strange_id_is_missing() {
    each_and_shared(|backend| {
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let store = backend.open();
            (0..5).for_each(|_| assert!(ids.insert(append(&*store, "x", &["a"]))));
            drop(store);
        }
        let store = backend.open();
        assert_eq!(worker(&*store, destination(&*store, "a")).claim(99).len(), 20);
        let unknown = wait(async || store.event(EventId::mint(1, 1, 3)).await);
        assert!(matches!(unknown, Err(StoreError::Missing)));
    });
}

#[test]
fn a_closed_store_takes_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        let rule = store.name(NameKind::Rule, "all");
        store.close_now();
        let event = NewEvent {
            received_ms: 1,
            source: rule,
            generation: 1,
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: Bytes::from_static(b"{}"),
        };
        assert_eq!(store.append(event).blocking_recv().expect("an answer"), Err(AppendError::Closed));
    });
}

#[test]
fn appends_from_many_threads_are_all_there() {
    each_and_shared(|backend| {
        let store = backend.open();
        // Names are numbered once a config, and not by senders.
        destination(&*store, "a");
        event(&*store, "", &["a"]);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..50 {
                        append(&**store, &format!("{thread}-{i}"), &["a"]);
                    }
                });
            }
        });
        let bodies = bodies(&*store, destination(&*store, "a"), 1000);
        let distinct: std::collections::BTreeSet<_> = bodies.iter().collect();
        assert_eq!((bodies.len(), distinct.len()), (400, 400));
    });
}

#[test]
fn a_full_store_refuses_events_lets_deliveries_go_on_and_takes_events_again_when_it_may() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "before", &["a"]);
        store.retain(Retention { bytes_max: Some(1), ..Retention::default() });
        until(&mut store.health(), |health| matches!(health, Health::Full(_)));
        let refused = store.append(event(&*store, "refused", &["a"])).blocking_recv().expect("an answer");
        assert!(matches!(refused, Err(AppendError::Full(_))), "{refused:?}");
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let claim = worker.claim(9)[0];
        worker.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
        store.retain(Retention::default());
        until(&mut store.health(), |health| *health == Health::Good);
        append(&*store, "after", &["a"]);
        store.close_now();
        let store = backend.open();
        assert_eq!(bodies(&*store, a, 9), ["after"]);
    });
}

#[test]
fn who_stops_waiting_for_an_answer_cancels_nothing() {
    each_and_shared(|backend| {
        let store = backend.open();
        drop(store.append(event(&*store, "unheard", &["a"])));
        // The store answers in order: what came before this is there.
        append(&*store, "heard", &["a"]);
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["unheard", "heard"]);
    });
}

#[test]
fn a_held_source_is_shown_to_every_handle_and_what_it_sends_waits_for_its_end_also_across_a_restart() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "before", &["a"]);
        let source = store.name(NameKind::Source, "vero");
        let mut shown = backend.open_again().sources();
        assert!(shown.borrow_and_update().is_empty());
        assert_eq!(ask_of(&*store, 1, source, What::Hold), done(1));
        until(&mut shown, |shown| shown.get(&source).is_some_and(|state| state.held_since_ms.is_some()));
        append(&*store, "held", &["a"]);
        let a = destination(&*store, "a");
        assert_eq!(bodies(&*store, a, 9), ["before"]);
        let counts = wait(async || store.counts().await).expect("counted");
        assert_eq!((counts.held(source), counts.of(a).held), (1, 1));
        store.close_now();
        let store = backend.open();
        assert!(store.sources().borrow().contains_key(&source));
        assert_eq!(bodies(&*store, a, 9), ["before"], "its claim has ended with the process, and the hold has not");
        assert_eq!(ask_of(&*store, 2, source, What::Resume), done(1));
        assert_eq!(bodies(&*store, a, 9), ["held"]);
        assert!(store.sources().borrow().is_empty());
    });
}

#[test]
fn the_store_is_in_good_health_for_every_handle_until_it_is_not() {
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        let mut health = other.health();
        assert_eq!(*health.borrow_and_update(), Health::Good);
        // Each process says what its config allows.
        for store in [&store, &other] {
            store.retain(Retention { bytes_max: Some(1), ..Retention::default() });
        }
        until(&mut health, |health| matches!(health, Health::Full(_)));
    });
}

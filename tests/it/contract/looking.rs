//! `Looking`.

use std::cell::{Cell, RefCell};

use super::*;

#[test]
fn counts_say_what_waits_what_is_in_flight_and_what_is_dead_before_and_after_a_restart() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..6).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let claims = worker.claim(5);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        worker.settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Dead { attempts: 1, reason: "no".into() }),
            (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }),
            (claims[3], Settlement::Returned),
        ]);
        assert_eq!(ask(&*store, 1, "a", What::Redeliver(Which::Events(vec![ids[0]]))), done(1));
        let counts = store.counts_of(a);
        assert_eq!(
            (counts.backlog, counts.scheduled, counts.redeliveries, counts.in_flight, counts.dead),
            (5, 1, 1, 1, 1)
        );
        assert_eq!(counts.oldest_ms, Some(1_700_000_000_000));
        store.close_now();
        let store = backend.open();
        let counts = store.counts_of(a);
        assert_eq!(
            (counts.backlog, counts.scheduled, counts.redeliveries, counts.in_flight, counts.dead),
            (5, 1, 1, 0, 1)
        );
    });
}

#[test]
fn a_walk_sees_what_was_there_when_it_began_and_goes_on_while_events_arrive() {
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        let ids: Vec<EventId> = (0..25).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let there = RefCell::new(ids);
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let query = EventQuery::all(order);
            let walk = |max: usize, after: Option<&Cursor>| {
                there.borrow_mut().push(append(&*store, "meanwhile", &["a"]));
                let page = wait(async || other.events(&query, after, max).await).expect("a page");
                assert!(page.items.len() <= max);
                page
            };
            let mut expected = there.borrow().clone();
            let begins = wait(async || store.events(&query, None, 0).await).expect("a page");
            assert_eq!((begins.items.len(), begins.left > 0), (0, true));
            let (seen, count) = pages(|after| walk(7, Some(after.unwrap_or(begins.next.as_ref().expect("some")))));
            let seen: Vec<EventId> = seen.iter().map(|event| event.id).collect();
            assert!(count >= 4, "{count} pages");
            if order == Order::NewestFirst {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{order:?}, and nothing that came later");
        }
        let last = EventQuery { last: Some(3), ..EventQuery::all(Order::OldestFirst) };
        let newest = wait(async || store.events(&last, None, 99).await).expect("a page").items;
        let all = there.into_inner();
        assert_eq!(newest.last().map(|event| event.id), all.last().copied());
        assert!(newest.len() < all.len(), "{} are about 3", newest.len());
        // All of them arrived in one millisecond.
        for (since_ms, until_ms, found) in
            [(0, 1_700_000_000_000, 0), (1_700_000_000_000, 1_700_000_000_001, 9), (1_700_000_000_001, u64::MAX, 0)]
        {
            let of_time = EventQuery { since_ms, until_ms, ..EventQuery::all(Order::NewestFirst) };
            assert_eq!(wait(async || store.events(&of_time, None, 9).await).expect("a page").items.len(), found);
        }
    });
}

#[test]
fn dead_letters_of_several_destinations_are_one_list_and_a_cursor_is_of_its_own_list_alone() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..10).map(|i| append(&*store, &i.to_string(), &["a", "b"])).collect();
        for (id, of) in [(1, "a"), (2, "b")] {
            let reason = format!("{of} is gone");
            assert_eq!(ask(&*store, id, of, What::DeadLetter { which: Which::Pending, reason }), done(10));
        }
        let of = ["a", "b"].map(|name| destination(&*store, name)).to_vec();
        let list = |query: &DeadQuery, after: Option<&Cursor>, max: usize| {
            wait(async || store.dead_letters(of.clone(), query, after, max).await)
        };
        let any = DeadQuery::default();
        for max in [1, 3, 20, 100] {
            let (letters, _) = pages(|after| list(&any, after, max).expect("a page"));
            let seen: Vec<_> = letters
                .iter()
                .map(|letter| (letter.event.as_ref().expect("read").id, letter.destination, letter.reason.clone()))
                .collect();
            let both = |id: &EventId| [(*id, of[0], "a is gone".to_owned()), (*id, of[1], "b is gone".to_owned())];
            assert_eq!(seen, ids.iter().rev().flat_map(both).collect::<Vec<_>>(), "{max} at once");
        }
        let of_b = DeadQuery { reason: Some("B IS".into()), events: Some(ids[2..5].to_vec()), ..any.clone() };
        assert_eq!(pages(|after| list(&of_b, after, 2).expect("a page")).0.len(), 3);
        let next = list(&any, None, 1).expect("a page").next.expect("more");
        let of_events = wait(async || store.events(&EventQuery::all(Order::NewestFirst), Some(&next), 1).await);
        assert!(matches!(of_events, Err(StoreError::Conflict(_))), "{of_events:?}");
        let view = wait(async || store.event(ids[0]).await).expect("found");
        let states =
            wait(async || store.states(vec![view.event.event().expect("not erased")], SearchLimit::whole()).await)
                .expect("known")
                .0;
        let is_dead = |(_, state): &(_, DeliveryState)| matches!(state, DeliveryState::Dead { .. });
        assert!(states[0].len() == 2 && states[0].iter().all(is_dead), "{states:?}");
    });
}

#[test]
fn every_way_in_which_a_delivery_ends_is_told_of_its_event_also_after_a_restart() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids = ["delivered", "skipped", "dropped", "moved", "held back"].map(|body| append(&*store, body, &["a"]));
        let (a, b) = (destination(&*store, "a"), destination(&*store, "b"));
        let worker = worker(&*store, a);
        let claims = worker.claim(4);
        let dead = || Settlement::Dead { attempts: 2, reason: "404".to_owned() };
        worker.settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Skipped { attempts: 1, reason: "nothing to send".to_owned() }),
            (claims[2], dead()),
            (claims[3], dead()),
        ]);
        let of = |id: EventId| Which::Dead(DeadQuery { events: Some(vec![id]), ..DeadQuery::default() });
        assert_eq!(ask(&*store, 1, "a", What::Drop(of(ids[2]))), done(1));
        assert_eq!(ask(&*store, 2, "a", What::Move { which: of(ids[3]), to: b }), done(1));
        store.close_now();
        let store = backend.open();
        let event =
            |id: EventId| wait(async || store.event(id).await).expect("found").event.event().expect("not erased");
        let events = ids.map(event).to_vec();
        let known = wait(async || store.states(events, SearchLimit::whole()).await);
        let (states, limit) = known.expect("known");
        assert_eq!(limit.unfound, 0);
        let of_a: Vec<&DeliveryState> = states.iter().map(|states| &states[0].1).collect();
        assert!(matches!(of_a[0], DeliveryState::Delivered { attempts: 1, .. }), "{of_a:?}");
        assert!(matches!(of_a[1], DeliveryState::Skipped { .. }), "{of_a:?}");
        assert!(matches!(of_a[2], DeliveryState::Dropped { .. }), "{of_a:?}");
        assert!(matches!(of_a[3], DeliveryState::Moved { to, .. } if *to == b), "{of_a:?}");
        assert_eq!(of_a[4], &DeliveryState::Waiting);
        // To where no rule had sent it.
        assert_eq!((states[3].len(), states[3][1].0.destination, &states[3][1].1), (2, b, &DeliveryState::Waiting));
    });
}

#[test]
fn the_fifty_most_frequent_reasons_of_dead_letters_are_listed_and_the_rest_is_counted() {
    each_and_shared(|backend| {
        let store = backend.open();
        let (a, b) = (destination(&*store, "a"), destination(&*store, "b"));
        let give_up = |count: usize, reason: &dyn Fn(usize) -> String| {
            for i in 0..count {
                append(&*store, &i.to_string(), &["a"]);
            }
            let worker = worker(&*store, a);
            let claims = worker.claim(count);
            let dead = |(nth, claim)| (claim, Settlement::Dead { attempts: 1, reason: reason(nth) });
            worker.settle(claims.into_iter().enumerate().map(dead).collect());
        };
        give_up(REASONS_MAX, &|nth| format!("reason {nth}"));
        let told = || wait(async || store.dead_reasons(vec![a, b]).await).expect("told");
        assert_eq!((told().reasons.len(), told().not_listed, told().looked_at), (REASONS_MAX, 0, 50));
        give_up(3, &|_| Why { reason: "500".into(), status: Some(500), answer: "no".into() }.text());
        let found = told();
        assert_eq!((found.reasons.len(), found.not_listed, found.looked_at), (REASONS_MAX, 1, 53));
        let first = &found.reasons[0];
        assert_eq!((first.reason.as_str(), first.status, first.deliveries), ("500", Some(500), 3));
        assert!(first.first_ms > 0 && first.first_ms <= first.last_ms);
        assert_eq!(wait(async || store.dead_reasons(vec![b]).await), Ok(DeadReasons::default()));
    });
}

#[test]
fn pages_of_dead_letters_go_on_while_others_come_and_go() {
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        let ids: Vec<EventId> = (0..12).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let give_up = || What::DeadLetter { which: Which::Pending, reason: "by hand".to_owned() };
        assert_eq!(ask(&*store, 1, "a", give_up()), done(12));
        let commands = Cell::new(1);
        let (letters, count) = pages(|after| {
            let page = wait(async || other.dead_letters(vec![a], &DeadQuery::default(), after, 5).await);
            append(&*store, "later", &["a"]);
            commands.set(commands.get() + 1);
            assert_eq!(ask(&*store, commands.get(), "a", give_up()), done(1));
            page.expect("a page")
        });
        let seen: Vec<EventId> = letters.iter().map(|letter| letter.event.as_ref().expect("read").id).collect();
        assert_eq!((seen, count >= 3), (ids.into_iter().rev().collect(), true));
    });
}

#[test]
fn a_dry_run_says_of_each_way_to_choose_to_how_many_a_command_would_be_done() {
    each_and_shared(|backend| {
        let store = backend.open();
        let ids: Vec<EventId> = (0..5).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let claims = worker.claim(2);
        worker.settle(vec![(claims[0], Settlement::Dead { attempts: 1, reason: "404".to_owned() })]);
        let how_many = |which| wait(async || store.how_many(a, which).await);
        assert_eq!(how_many(Which::Pending), Ok(3), "what is in flight is left alone");
        assert_eq!(how_many(Which::UnattemptedFor(Duration::from_secs(3600))), Ok(0));
        assert_eq!(how_many(Which::OldestBeyond(0)), Ok(3));
        assert_eq!(how_many(Which::Dead(DeadQuery::default())), Ok(1));
        assert_eq!(how_many(Which::Events(ids[..2].to_vec())), Ok(2));
        let mut bytes = ids[0].to_bytes();
        bytes[7] ^= 1;
        assert_eq!(how_many(Which::Events(vec![EventId::from_bytes(bytes)])), Ok(0), "of another store");
    });
}

#[test]
fn who_watches_sees_what_arrives_once_it_waits_and_what_becomes_of_it() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, "before", &["a"]);
        let watch = store.watch();
        let ids: Vec<EventId> = (0..3).map(|i| append(&*store, &i.to_string(), &["a"])).collect();
        let seen = watch.take();
        assert_eq!(seen.arrived.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
        assert!(seen.settled.is_empty() && !seen.was_commanded);
        let limit = SearchLimit { bytes_left: 0, unfound: 0 };
        let (states, _) = wait(async || store.states(seen.arrived, limit).await).expect("known");
        assert!(states.iter().all(|states| states[0].1 == DeliveryState::Waiting), "{states:?}");

        let a = destination(&*store, "a");
        let worker = worker(&*store, a);
        let claims = worker.claim(4);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        worker.settle(vec![
            (claims[0], Settlement::Returned),
            (claims[1], Settlement::Delivered { attempts: 1 }),
            (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }),
            (claims[3], Settlement::Dead { attempts: 1, reason: "no".into() }),
        ]);
        let seen = watch.take();
        let settled: Vec<_> = seen.settled.iter().map(|(delivery, state)| (delivery.event, state)).collect();
        assert_eq!(settled.iter().map(|(event, _)| *event).collect::<Vec<_>>(), ids, "none that was handed back");
        assert!(matches!(settled[0].1, DeliveryState::Delivered { attempts: 1, .. }));
        assert_eq!(*settled[1].1, DeliveryState::Scheduled { attempts: 1, due_ms, reason: "503".into() });
        assert!(matches!(settled[2].1, DeliveryState::Dead { attempts: 1, .. }));
        assert!(seen.settled.iter().all(|(delivery, _)| delivery.destination == a));

        assert_eq!(ask(&*store, 1, "a", What::Drop(Which::Events(vec![ids[2]]))), done(1));
        assert!(watch.take().was_commanded);
        assert_eq!(ask(&*store, 2, "a", What::Drop(Which::Events(vec![ids[2]]))), done(0));
        assert!(!watch.take().was_commanded, "nothing was done");
    });
}

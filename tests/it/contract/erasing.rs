//! Erasing: what is kept of a person, and what is left.

use vero_relay::store::{Depth, ErasingStep, HeldBy, Kept, Meant, StoredEvent, Whom};

use super::*;

/// Whom the tests erase.
pub const ANN: &str = "ann@example.com";

/// Whoever an event's body names. What is about Bob and names Ann mentions her.
pub fn ann() -> Whom {
    let holds = |body: &[u8], text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
    let meant = move |event: &StoredEvent| match (holds(&event.body, ANN), holds(&event.body, "bob")) {
        (false, _) => Meant::No,
        (true, true) => Meant::Mentions,
        (true, false) => Meant::Yes,
    };
    let found = |bytes: &[u8]| {
        let at = bytes.windows(ANN.len()).position(|window| window == ANN.as_bytes());
        at.map(|at| at..at + ANN.len()).into_iter().collect()
    };
    Whom { meant: Arc::new(meant), found: Arc::new(found) }
}

/// All steps of a walk together.
#[track_caller]
pub fn walk(store: &dyn Store, depth: Depth) -> ErasingStep {
    let mut all = ErasingStep::default();
    let mut erasing = store.erase(ann(), depth);
    loop {
        let step = wait(async || erasing.step().await).expect("a step");
        assert_eq!(step.waits_for, None);
        all.about.extend(step.about);
        all.mentions.extend(step.mentions);
        all.left_behind.extend(step.left_behind);
        all.ended += step.ended;
        all.erased += step.erased;
        all.already += step.already;
        all.texts += step.texts;
        all.standing.waiting += step.standing.waiting;
        all.standing.scheduled += step.standing.scheduled;
        all.standing.dead += step.standing.dead;
        all.standing.in_flight += step.standing.in_flight;
        all.standing.held += step.standing.held;
        if step.is_done {
            all.in_flight = step.in_flight;
            return all;
        }
    }
}

#[track_caller]
fn erase(store: &dyn Store) -> ErasingStep {
    let known = walk(store, Depth::Look).about;
    walk(store, Depth::Erase { known })
}

#[track_caller]
fn is_erased(store: &dyn Store, id: EventId) -> bool {
    matches!(wait(async || store.event(id).await).expect("it is known").event, Kept::Erased(_))
}

fn bodies_of_history(store: &dyn Store) -> Vec<String> {
    let query = EventQuery::all(Order::OldestFirst);
    let (events, _) = pages(|after| wait(async || store.events(&query, after, 9).await).expect("a page"));
    events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect()
}

#[test]
fn what_is_erased_is_known_by_its_id_is_on_no_list_and_goes_out_to_nobody_also_after_a_restart() {
    each_and_shared(|backend| {
        let store = backend.open();
        let hers: Vec<EventId> = (0..4).map(|i| append(&*store, &format!("{i} {ANN}"), &["a", "b"])).collect();
        let other = append(&*store, "bob", &["a", "b"]);
        let mention = append(&*store, &format!("bob asks for {ANN}"), &["a"]);
        let a = destination(&*store, "a");
        let claims = worker(&*store, a).claim(3);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        worker(&*store, a).settle(vec![
            (claims[0], Settlement::Delivered { attempts: 1 }),
            (claims[1], Settlement::Dead { attempts: 1, reason: format!("550 <{ANN}>") }),
            (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }),
        ]);

        let looked = walk(&*store, Depth::Look);
        assert_eq!((&looked.about, &looked.mentions), (&hers, &vec![mention]));
        let standing = looked.standing;
        assert_eq!((standing.waiting, standing.scheduled, standing.dead, standing.in_flight), (5, 1, 1, 0));
        assert_eq!((looked.ended, looked.erased), (0, 0));
        assert_eq!(bodies_of_history(&*store).len(), 6, "a look changes nothing");

        let erased = walk(&*store, Depth::Erase { known: looked.about });
        assert_eq!((erased.ended, erased.erased, erased.in_flight), (7, 4, 0));
        assert_eq!(!erased.left_behind.is_empty(), backend.keeps_copies(), "{:?}", erased.left_behind);
        for is_restarted in [false, true] {
            let store = if is_restarted { backend.open() } else { store.clone() };
            assert!(hers.iter().all(|id| is_erased(&*store, *id)));
            assert_eq!(bodies_of_history(&*store), ["bob".to_owned(), format!("bob asks for {ANN}")]);
            let named = wait(async || store.events_of(hers.clone()).await).expect("read").0;
            assert!(named.is_empty());
            let view = wait(async || store.event(hers[0]).await).expect("known");
            assert!(matches!(view.deliveries[0].state, DeliveryState::Delivered { .. }), "{view:?}");
            for id in &hers[1..] {
                let view = wait(async || store.event(*id).await).expect("known");
                let is_over = |state: &DeliveryState| matches!(state, DeliveryState::Dropped { .. });
                assert!(view.deliveries.iter().all(|delivery| is_over(&delivery.state)), "{view:?}");
            }
            let dead =
                wait(async || store.dead_letters(vec![a], &DeadQuery::default(), None, 9).await).expect("a page");
            assert!(dead.items.is_empty());
            let b = destination(&*store, "b");
            assert_eq!(bodies(&*store, a, 9), ["bob".to_owned(), format!("bob asks for {ANN}")]);
            assert_eq!(bodies(&*store, b, 9), ["bob"]);
            if !is_restarted {
                store.close_now();
            }
        }
        let store = backend.open();
        assert!(!is_erased(&*store, other) && !is_erased(&*store, mention));
    });
}

#[test]
fn to_erase_twice_changes_nothing_and_what_came_meanwhile_is_found_by_the_next_walk() {
    each_and_shared(|backend| {
        let store = backend.open();
        append(&*store, ANN, &["a"]);
        assert_eq!(erase(&*store).erased, 1);
        let again = erase(&*store);
        assert_eq!((again.erased, again.ended, again.already), (0, 0, 1));
        let later = append(&*store, &format!("later {ANN}"), &["a"]);
        assert!(!is_erased(&*store, later));
        assert_eq!(erase(&*store).about, [later]);
        assert!(is_erased(&*store, later));
        append(&*store, "bob", &["a"]);
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["bob"]);
    });
}

#[test]
fn an_attempt_that_is_in_flight_ends_and_what_it_leaves_is_dropped() {
    each_and_shared(|backend| {
        let store = backend.open();
        let id = append(&*store, ANN, &["a"]);
        let worker = worker(&*store, destination(&*store, "a"));
        let claim = worker.claim(1)[0];
        let erased = erase(&*store);
        assert_eq!((erased.erased, erased.in_flight), (1, 1));
        let reason = "503".to_owned();
        worker.settle(vec![(claim, Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 6, reason })]);
        // Also who is quicker than the walk has nothing of it.
        assert_eq!(worker.claimed(1).len(), 0);
        let again = erase(&*store);
        assert_eq!((again.in_flight, again.already), (0, 1));
        let view = wait(async || store.event(id).await).expect("known");
        assert!(matches!(view.deliveries[0].state, DeliveryState::Dropped { .. }), "{view:?}");
        assert_eq!(worker.claimed(1).len(), 0);
    });
}

#[test]
fn what_its_source_holds_is_erased_and_the_rest_goes_out_when_it_is_let_go() {
    each_and_shared(|backend| {
        let store = backend.open();
        let source = store.name(NameKind::Source, "vero");
        ask_of(&*store, new_id(), source, What::Hold);
        for body in [ANN, "bob"] {
            append(&*store, body, &["a"]);
        }
        let looked = walk(&*store, Depth::Look);
        assert_eq!(looked.standing.held, 1);
        let view = wait(async || store.event(looked.about[0]).await).expect("known");
        assert_eq!(view.deliveries[0].state, DeliveryState::Held { by: HeldBy::Source });
        assert_eq!(walk(&*store, Depth::Erase { known: looked.about }).ended, 1);
        ask_of(&*store, new_id(), source, What::Resume);
        assert_eq!(bodies(&*store, destination(&*store, "a"), 9), ["bob"]);
    });
}

#[test]
fn what_was_relocated_when_its_history_went_is_found_and_erased_in_every_copy() {
    each_and_shared(|backend| {
        let store = backend.open();
        let fill = || {
            for _ in 0..20 {
                append(&*store, &"x".repeat(200_000), &[]);
            }
        };
        let dead: Vec<EventId> = [ANN, "bob"].map(|body| append(&*store, body, &["a"])).to_vec();
        let worker = worker(&*store, destination(&*store, "a"));
        let claims = worker.claim(2);
        let gone = |reason: &str| Settlement::Dead { attempts: 1, reason: reason.to_owned() };
        worker.settle(vec![(claims[0], gone("550 ann")), (claims[1], gone("550 bob"))]);
        fill();
        store.retain(Retention { history_age: Duration::ZERO, history_bytes: Some(1 << 20), ..Retention::default() });
        backend.trim();
        let query = EventQuery::all(Order::OldestFirst);
        let oldest = wait(async || store.events(&query, None, 1).await).expect("a page").items.pop();
        assert!(oldest.is_none_or(|oldest| oldest.id > dead[1]), "they are older than the history");

        let looked = walk(&*store, Depth::Look);
        assert_eq!((&looked.about, looked.standing.dead), (&vec![dead[0]], 1));
        assert_eq!(walk(&*store, Depth::Erase { known: looked.about }).erased, 1);
        let letters =
            wait(async || store.dead_letters(vec![destination(&*store, "a")], &DeadQuery::default(), None, 9).await);
        let letters = letters.expect("a page").items;
        let left: Vec<EventId> = letters.iter().map(|letter| letter.event.as_ref().expect("it reads").id).collect();
        assert_eq!(left, [dead[1]]);
        assert_eq!(walk(&*store, Depth::Look).about, []);
        // And once more through the history.
        fill();
        backend.trim();
        assert_eq!(walk(&*store, Depth::Look).about, []);
    });
}

#[test]
fn a_walk_that_is_dropped_leaves_each_event_whole_or_erased_and_the_next_one_comes_to_the_end() {
    each_and_shared(|backend| {
        let store = backend.open();
        let padding = "x".repeat(200_000);
        let ids: Vec<EventId> = (0..20).map(|i| append(&*store, &format!("{i} {ANN} {padding}"), &["a"])).collect();
        let mut erasing = store.erase(ann(), Depth::Erase { known: Vec::new() });
        let step = wait(async || erasing.step().await).expect("a step");
        assert!(!step.is_done && step.left > 0 && !step.about.is_empty());
        drop(erasing);
        let store = backend.open();
        assert!(is_erased(&*store, ids[0]) && !is_erased(&*store, ids[19]));
        let erased = erase(&*store);
        assert!(erased.erased > 0 && erased.already > 0, "{erased:?}");
        assert!(ids.iter().all(|id| is_erased(&*store, *id)));
        assert_eq!(bodies(&*store, destination(&*store, "a"), 99), [""; 0]);
    });
}

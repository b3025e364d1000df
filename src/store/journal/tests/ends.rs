//! How deliveries ended is known for as long as their events are: after restarts, without an index, and relocated.

use super::retention::{Kept, SEGMENT, fill, id, select};
use super::*;
use crate::store::SearchLimit;
use crate::store::queues::BulkAct;

const OTHER: &str = "other";

fn states(store: &JournalStore, id: EventId) -> Vec<(String, String)> {
    let name = |id| store.name_of(id).map_or_else(|| "?".to_owned(), |name| name.to_string());
    let shown = |state| match state {
        DeliveryState::Delivered { attempts, .. } => format!("delivered after {attempts}"),
        DeliveryState::Dead { attempts, reason, .. } => format!("dead after {attempts}: {reason}"),
        DeliveryState::Moved { to, .. } => format!("moved to {}", name(to)),
        DeliveryState::Skipped { .. } => "skipped".to_owned(),
        DeliveryState::Dropped { .. } => "dropped".to_owned(),
        DeliveryState::Settled => "unknown".to_owned(),
        other => format!("{other:?}"),
    };
    let view = store.event(id).expect("the event is kept");
    view.deliveries.into_iter().map(|view| (name(view.planned.destination), shown(view.state))).collect()
}

fn settle(store: &JournalStore, name: &str, settlement: Settlement) {
    let claims = store.claim(id(store, name), 1);
    store.settle(vec![(claims[0], settlement)]);
}

fn dead() -> Settlement {
    Settlement::Dead { attempts: 2, reason: "400 no".into() }
}

/// An event for each way to end, and what is to be said of it.
fn with_every_end(store: &JournalStore) -> Vec<(EventId, Vec<(String, String)>)> {
    let arrives = |attempts| Settlement::Delivered { attempts };
    let mut all = Vec::new();
    let mut ends = |settlement: Settlement, acts: &[BulkAct], said: &[(&str, &str)]| {
        let event = append(store, "one", &[CRM]).expect("taken");
        if matches!(settlement, Settlement::Delivered { attempts: 2.. }) {
            settle(
                store,
                CRM,
                Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: 0, reason: "503".into() },
            );
        }
        settle(store, CRM, settlement);
        for act in acts {
            select(store, CRM, *act, &[event.sequence()]);
            if *act == BulkAct::Redeliver {
                settle(store, CRM, arrives(1));
            }
        }
        all.push((event, said.iter().map(|(name, state)| ((*name).to_owned(), (*state).to_owned())).collect()));
    };
    ends(arrives(1), &[], &[(CRM, "delivered after 1")]);
    ends(arrives(3), &[], &[(CRM, "delivered after 3")]);
    ends(Settlement::Skipped { attempts: 1, reason: "empty".into() }, &[], &[(CRM, "skipped")]);
    ends(dead(), &[], &[(CRM, "dead after 2: 400 no")]);
    ends(dead(), &[BulkAct::Drop], &[(CRM, "dropped")]);
    ends(dead(), &[BulkAct::Redeliver], &[(CRM, "delivered after 1")]);
    // What was said last holds.
    ends(arrives(3), &[BulkAct::Redeliver], &[(CRM, "delivered after 1")]);
    let other = id(store, OTHER);
    ends(dead(), &[BulkAct::MoveDead(other)], &[(CRM, "moved to other"), (OTHER, "delivered after 1")]);
    let moved = all.last().expect("some").0.sequence();
    select(store, OTHER, BulkAct::Redeliver, &[moved]);
    settle(store, OTHER, arrives(1));
    all
}

#[track_caller]
fn check(store: &JournalStore, all: &[(EventId, Vec<(String, String)>)]) {
    for (id, said) in all {
        assert_eq!(&states(store, *id), said, "event {}", id.sequence());
    }
    let events: Vec<_> = all.iter().map(|(id, _)| store.event_by_number(id.sequence()).expect("kept")).collect();
    let of_page = store.states(&events, &mut SearchLimit::whole()).expect("read");
    let each = events.iter().map(|event| stated(store.event(event.id).expect("kept")));
    assert_eq!(of_page, each.collect::<Vec<_>>(), "a page says what each event says");
}

#[test]
fn every_end_is_known_now_after_a_restart_and_without_an_index() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    let all = with_every_end(&store);
    check(&store, &all);
    store.close();
    let store = kept.open();
    check(&store, &all);
    // In segments behind it, which speak of other events.
    fill(&store, 3 * SEGMENT);
    check(&store, &all);
    store.close();
    kept.remove_index();
    check(&kept.open(), &all);
}

#[test]
fn an_index_that_does_not_know_of_acts_misses_none() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    let all = with_every_end(&store);
    fill(&store, 3 * SEGMENT);
    store.close();
    let database = rusqlite::Connection::open(kept.index()).expect("opens");
    assert!(database.execute("DELETE FROM acts", []).expect("done") > 0);
    drop(database);
    check(&kept.open(), &all);
}

#[test]
fn what_is_relocated_keeps_how_its_other_deliveries_ended() {
    let kept = Kept::new(8 * SEGMENT);
    let store = kept.open();
    let mut all = with_every_end(&store);
    let numbers: Vec<u64> = all.iter().map(|(id, _)| id.sequence()).collect();
    // So that each is needed still.
    select(&store, ALERTS, BulkAct::Redeliver, &numbers);
    for _ in &numbers {
        settle(&store, ALERTS, dead());
    }
    for (_, said) in &mut all {
        said.push((ALERTS.to_owned(), "dead after 2: 400 no".to_owned()));
        // By number, and `other` has the lower one.
        said[1..].sort_by_key(|(name, _)| id(&store, name));
    }
    for _ in 0..2 {
        fill(&store, 8 * SEGMENT);
        store.trim();
        check(&store, &all);
    }
    assert!(store.history().start > all.len() as u64, "their segment is gone: {:?}", store.history());
    store.close();
    let store = kept.open();
    check(&store, &all);
    store.close();
    kept.remove_index();
    check(&kept.open(), &all);
}

#[test]
fn a_search_reads_no_more_than_it_may_and_says_what_it_did_not_find() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    let event = append(&store, "one", &[CRM]).expect("taken");
    fill(&store, 3 * SEGMENT);
    settle(&store, CRM, Settlement::Delivered { attempts: 1 });
    store.close();
    let store = kept.open();
    let events = [store.event_by_number(event.sequence()).expect("kept")];
    let mut limit = SearchLimit { bytes_left: 1, unfound: 0 };
    let found = store.states(&events, &mut limit).expect("read");
    assert_eq!((&found[0][0].1, limit.unfound, limit.bytes_left), (&DeliveryState::Settled, 1, 0));
    let mut limit = SearchLimit { bytes_left: SEGMENT, unfound: 0 };
    let found = store.states(&events, &mut limit).expect("read");
    assert!(matches!(found[0][0].1, DeliveryState::Delivered { attempts: 1, .. }), "{found:?}");
    assert!(limit.bytes_left > 0, "segments that say nothing of it are passed over");
}

//! `Store`: names, replays, the end.

use super::*;

#[test]
fn names_keep_their_numbers() {
    each_and_shared(|backend| {
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
fn how_far_a_replay_has_come_is_known_after_a_restart() {
    each_and_shared(|backend| {
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
        // How many are left is said about.
        let said = |progress: &ReplayProgress| ReplayProgress { left: 0, ..progress.clone() };
        let steps = [(1, 2), (2, 3), (1, 5)].map(|(id, events)| progress(&*store, id, events));
        let save = |progress: &ReplayProgress| wait(async || store.save_replay(progress.clone()).await).expect("saved");
        for progress in &steps {
            assert_eq!(said(&save(progress)), said(progress));
        }
        let [_, second, first] = &steps;
        assert_eq!(said(&save(&progress(&*store, 1, 4))), said(first), "it never goes back");
        store.close_now();
        let store = backend.open();
        let replays = wait(async || store.replays().await).expect("known");
        assert_eq!(replays.iter().map(said).collect::<Vec<_>>(), [said(first), said(second)]);
        // And where it goes on is a place of the list also now.
        let left = wait(async || store.events(&EventQuery::all(Order::OldestFirst), first.cursor.as_ref(), 99).await);
        assert_eq!(left.expect("a page").items.len(), 4);
    });
}

/// Writes something down, which must be possible.
fn keep(store: &dyn Store, key: &str, text: &str) {
    wait(async || store.keep_memo(key, text.to_owned()).await).expect("it is written down");
}

fn memo(store: &dyn Store, key: &str) -> Option<String> {
    wait(async || store.memo(key).await).expect("it is looked up")
}

#[test]
fn a_memo_is_what_was_written_last_under_its_key() {
    each_and_shared(|backend| {
        let store = backend.open();
        assert_eq!(memo(&*store, "notify"), None);
        keep(&*store, "notify", "one");
        keep(&*store, "other", "");
        keep(&*store, "notify", "two");
        for store in [&store, &backend.open_again()] {
            assert_eq!(memo(&**store, "notify").as_deref(), Some("two"));
            assert_eq!((memo(&**store, "other").as_deref(), memo(&**store, "noti")), (Some(""), None));
        }
    });
}

#[test]
fn a_memo_outlives_the_process() {
    each_with_files(|backend| {
        let store = backend.open();
        keep(&*store, "notify", "one");
        keep(&*store, "notify", "two");
        drop(store);
        assert_eq!(memo(&*backend.open(), "notify").as_deref(), Some("two"), "also where it was not closed");
    });
}

#[test]
fn memos_have_room_and_no_more() {
    each_and_shared(|backend| {
        let store = backend.open();
        let longest = "x".repeat(MEMO_BYTES_MAX);
        keep(&*store, "0", &longest);
        for key in 1..MEMOS_MAX {
            keep(&*store, &key.to_string(), "");
        }
        let refused = |key: &str, text: String| wait(async || store.keep_memo(key, text).await).expect_err("no room");
        assert!(matches!(refused("0", format!("{longest}x")), StoreError::Conflict(_)));
        assert!(matches!(refused("one more", String::new()), StoreError::Conflict(_)));
        assert_eq!(memo(&*store, "0").map(|text| text.len()), Some(MEMO_BYTES_MAX), "what stood there stays");
        keep(&*store, "1", "another");
    });
}

#[test]
fn a_renamed_destination_keeps_its_queue_and_one_that_meets_another_is_joined_to_it() {
    each_and_shared(|backend| {
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
    each_and_shared(|backend| {
        let store = backend.open();
        let long = |number: usize| format!("{number:06}{}", "r".repeat(1000));
        let names: Vec<String> = (0..15_000).map(long).collect();
        let all: Vec<_> = names.iter().map(|name| (NameKind::Rule, &**name)).collect();
        match wait(async || store.intern(named(&all)).await) {
            // A store may have room for any.
            Ok(interned) => assert_eq!(interned.ids.len(), all.len()),
            Err(StoreError::NamesFull(_)) => assert!(store.names().of_kind(NameKind::Rule).is_empty()),
            Err(error) => panic!("{error}"),
        }
        assert!(wait(async || store.intern(named(&all[..1000])).await).is_ok());
    });
}

#[test]
fn what_is_asked_through_one_handle_is_in_effect_for_the_other() {
    each_and_shared(|backend| {
        let store = backend.open();
        let other = backend.open_again();
        append(&*store, "one", &["a"]);
        let a = destination(&*store, "a");
        let worker = worker(&*other, a);
        let mut state = worker.queue().state();
        assert_eq!(ask(&*store, 1, "a", What::Pause { reason: "by hand".to_owned() }), done(1));
        until_state(&mut state, |now| now.state.paused.is_some());
        assert_eq!(worker.claim(9), []);
        let again = ask(&*other, 1, "a", What::Pause { reason: "by hand".to_owned() });
        assert_eq!((again.deliveries, again.was_done_before), (1, true), "the id is known to both");
        assert_eq!(ask(&*other, 2, "a", What::Resume), done(1));
        assert_eq!(worker.claim(9).len(), 1);
        let number = other.name(NameKind::Destination, "new");
        eventually_known(|| store.names().find(NameKind::Destination, "new") == Some(number));
        let replay = ReplayProgress { id: 3, at_ms: 5, ..ReplayProgress::default() };
        assert_eq!(wait(async || store.save_replay(replay.clone()).await).map(|known| known.id), Ok(3));
        assert_eq!(wait(async || other.replays().await).expect("known").len(), 1);
    });
}

#[test]
fn closing_twice_is_closing_once() {
    each_and_shared(|backend| {
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

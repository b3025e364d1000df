//! Whatever quotes a person who is erased: no byte of any file names them afterwards, and what is of others is as it was.

use std::path::PathBuf;

use super::*;
use crate::store::journal::disk::RealDisk;
use crate::store::journal::erase::Walk;

const ANN: &str = "ann@example.com";

fn ann() -> Whom {
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let meant = move |event: &StoredEvent| match (holds(&event.body, ANN), holds(&event.body, "bob")) {
        (true, false) => Meant::Yes,
        (true, true) => Meant::Mentions,
        (false, _) => Meant::No,
    };
    let found = |bytes: &[u8]| {
        let places = bytes.windows(ANN.len()).enumerate().filter(|(_, window)| *window == ANN.as_bytes());
        places.map(|(at, _)| at..at + ANN.len()).collect()
    };
    Whom { meant: Arc::new(meant), found: Arc::new(found) }
}

/// All steps of a walk, one after the other.
fn walk(store: &JournalStore, depth: Depth) -> Result<ErasingStep, StoreError> {
    let mut walk = Walk::new(ann(), depth.clone());
    let mut all = ErasingStep::default();
    loop {
        let step = store.journal.erasing_step(&mut walk, &mut || {})?;
        all.about.extend(step.about);
        all.left_behind.extend(step.left_behind);
        all.removed.extend(step.removed);
        all.unreadable += step.unreadable;
        (all.texts, all.erased, all.ended) = (all.texts + step.texts, all.erased + step.erased, all.ended + step.ended);
        if step.is_done {
            all.in_flight = step.in_flight;
            break;
        }
    }
    if depth != Depth::Look {
        store.journal.upkeep.checkpoint();
        all.texts += store.journal.clean_index(&walk, all.in_flight)?;
    }
    Ok(all)
}

fn erase(store: &JournalStore) -> ErasingStep {
    let known = walk(store, Depth::Look).expect("it looks").about;
    walk(store, Depth::Erase { known }).expect("it erases")
}

/// The files below a directory in which a text stands.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).expect("read").windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

fn open_in(directory: &Path) -> JournalStore {
    let index = Location::File(directory.join("state.db"));
    let disk = Arc::new(RealDisk::open(&directory.join("journal")).expect("it opens"));
    let options = Options { segment_bytes: 1 << 20, ..Options::new(index) };
    JournalStore::open(disk, options).expect("it opens").0
}

fn dead(reason: &str) -> Settlement {
    Settlement::Dead { attempts: 1, reason: reason.to_owned() }
}

#[test]
fn how_a_delivery_ended_is_durable_before_what_it_was_about_is_erased() {
    let disk = ModelDisk::default();
    let store = open_with(&disk, 1 << 20).0;
    append(&store, ANN, &[CRM]).expect("taken");
    let claims = store.claim(crm(&store), 1);
    // It is not written at once, and nothing is left that erasing ends.
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    let erased = erase(&store);
    assert_eq!((erased.erased, erased.ended), (1, 0));
    let cut = open_with(&disk.after_power_cut(|_| 0), 1 << 20).0;
    assert_eq!(cut.waiting(crm(&cut)).len(), 0);
}

#[test]
fn no_file_of_the_store_names_whom_was_erased_whatever_quoted_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_in(directory.path());
    for body in [ANN, "bob", "bob 2", "bob 3", "bob 4"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let crm = crm(&store);
    let claims = store.claim(crm, 4);
    let later =
        |reason: String| Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms: u64::MAX / 2, reason };
    store.settle(vec![
        (claims[0], dead("550 her own words")),
        (claims[1], dead(&format!("550 <{ANN}>"))),
        (claims[2], dead(&format!("551 <{ANN}>"))),
        (claims[3], later(format!("450 <{ANN}>"))),
    ]);
    let note = |answer: &str| AttemptNote {
        at_ms: 7,
        outcome: "reject".to_owned(),
        answer: answer.to_owned(),
        ..AttemptNote::default()
    };
    store.note(vec![(claims[0].key, note("her own words")), (claims[1].key, note(ANN))]);
    store.pause(crm, &format!("somebody said {ANN}"));
    let spec = format!(r#"{{"match":"{ANN}"}}"#);
    store.set_replay(ReplayProgress { id: 7, spec, is_done: true, ..ReplayProgress::default() }).expect("durable");
    drop(Store::keep_memo(&store, "notify", format!("a template quotes {ANN}")));
    // What was dropped before lies in free pages and in the log of the index.
    store.sync().expect("synced");
    store.journal.index.flush();
    store.journal.upkeep.checkpoint();
    let sequences = [claims[2].key.sequence].into_iter().collect();
    store.select(Selection { destination: crm, act: queues::BulkAct::Drop, reason: String::new(), sequences });
    store.sync().expect("synced");
    store.journal.upkeep.checkpoint();
    assert!(files_with(directory.path(), ANN).len() >= 2);

    let erased = erase(&store);
    assert_eq!((erased.erased, erased.ended, &erased.left_behind), (1, 1, &Vec::new()));
    assert!(erased.texts >= 6, "{erased:?}");
    for is_restarted in [false, true] {
        assert_eq!(files_with(directory.path(), ANN), [""; 0].map(PathBuf::from));
        assert_eq!(files_with(directory.path(), "her own words"), [""; 0].map(PathBuf::from));
        if is_restarted {
            break;
        }
        // What lies in memory is written down again, and a start writes what was not synced once more.
        store.journal.upkeep.checkpoint();
        store.close();
        open_in(directory.path()).close();
    }
    let store = open_in(directory.path());
    let letters = store.dead_letters(crm, &DeadQuery::default(), u64::MAX, 9).expect("a page").0;
    let letters: Vec<_> = letters.iter().map(|letter| (letter.reason.clone(), letter.event.is_ok())).collect();
    assert_eq!(letters, [(format!("550 <{}>", "*".repeat(ANN.len())), true)]);
    let paused = store.state(crm).paused.expect("it is");
    assert_eq!(paused.reason, format!("somebody said {}", "*".repeat(ANN.len())));
    assert_eq!(store.replays()[0].spec, format!(r#"{{"match":"{}"}}"#, "*".repeat(ANN.len())));
    let counts = store.counts(crm);
    assert_eq!((counts.backlog, counts.scheduled, counts.dead), (2, 1, 1));
}

#[test]
fn what_was_deleted_before_goes_from_the_index_also_where_it_names_nobody() {
    // Also where the event of the answer has gone with its age, and none of theirs is left.
    for body in [ANN, "bob"] {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open_in(directory.path());
        append(&store, body, &[CRM]).expect("taken");
        let crm = crm(&store);
        let claim = store.claim(crm, 1)[0];
        store.settle(vec![(claim, dead("550 her own words"))]);
        store.note(vec![(claim.key, AttemptNote { answer: "her own words".to_owned(), ..AttemptNote::default() })]);
        store.sync().expect("synced");
        store.journal.index.flush();
        store.journal.upkeep.checkpoint();
        let sequences = [claim.key.sequence].into_iter().collect();
        store.select(Selection { destination: crm, act: queues::BulkAct::Drop, reason: String::new(), sequences });
        store.sync().expect("synced");
        store.journal.upkeep.checkpoint();
        let index_has = |text: &str| {
            let files = files_with(directory.path(), text).into_iter();
            files.filter(|path| path.to_string_lossy().contains("state.db")).count()
        };
        assert!(index_has("her own words") > 0, "{body}");
        erase(&store);
        // The answer of one that is about Bob is a row that stays; what was deleted of the same text goes.
        let rows = usize::from(body == "bob");
        assert!(index_has("her own words") <= rows, "{body}");
        let copies = |path: &str| {
            let bytes = std::fs::read(directory.path().join(path)).unwrap_or_default();
            bytes.windows(13).filter(|window| *window == b"her own words").count()
        };
        assert_eq!((copies("state.db"), copies("state.db-wal")), (rows, 0), "{body}");
    }
}

#[test]
fn nothing_is_erased_while_a_replay_that_names_them_goes_on() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, ANN, &[]).expect("taken");
    let replay = |is_done: bool| {
        let cursor = (!is_done).then(|| store.cursor_at(0, 1)).flatten();
        ReplayProgress { id: 7, spec: ANN.to_owned(), cursor, is_done, ..ReplayProgress::default() }
    };
    store.set_replay(replay(false)).expect("durable");
    let refused = walk(&store, Depth::Erase { known: Vec::new() }).expect_err("it is amid it");
    assert!(matches!(&refused, StoreError::Conflict(why) if why.contains("wait until it is")), "{refused:?}");
    assert!(store.event_by_number(0).is_ok());
    store.set_replay(replay(true)).expect("durable");
    assert_eq!(erase(&store).erased, 1);
}

#[test]
fn an_event_that_cannot_be_read_is_counted_unless_it_names_them() {
    // The byte of the body that is another now, and whether it names them all the same.
    for (at, is_hers) in [(0, false), (ANN.len() + 1, true)] {
        let disk = ModelDisk::default();
        let (store, _) = open(&disk);
        append(&store, &format!("{ANN} and more"), &[CRM]).expect("taken");
        append(&store, "bob", &[CRM]).expect("taken");
        store.sync().expect("synced");
        disk.edit(&file_name(1), |bytes| {
            let body = bytes.windows(9).position(|window| window == b" and more").expect("its body") - ANN.len();
            bytes[body + at] ^= 1;
        });
        let looked = walk(&store, Depth::Look).expect("it looks");
        assert_eq!((looked.unreadable, looked.about.len()), (u64::from(!is_hers), usize::from(is_hers)), "{at}");
        assert_eq!(erase(&store).unreadable, looked.unreadable, "{at}");
        let left = walk(&store, Depth::Look).expect("it looks");
        assert_eq!((left.unreadable, left.about.len()), (looked.unreadable, 0), "{at}");
    }
}

#[test]
fn a_copy_of_a_damaged_segment_that_names_them_goes_and_others_stay() {
    for hers in [true, false] {
        let disk = ModelDisk::default();
        let (store, _) = open(&disk);
        append(&store, if hers { ANN } else { "bob" }, &[CRM]).expect("taken");
        append(&store, "bob", &[CRM]).expect("taken");
        store.close();
        disk.edit(&file_name(1), |bytes| {
            let at = bytes.windows(4).position(|window| window == b"VGRP").expect("a group");
            bytes[at + 20] ^= 1;
        });
        let (store, opened) = open(&disk);
        assert_eq!(opened.damage.len(), 1);
        let copy = format!("{}.damaged", file_name(1));
        assert!(disk.is_taken(&copy));
        let erased = erase(&store);
        assert_eq!((erased.removed == [copy.clone()], disk.is_taken(&copy)), (hers, !hers));
        assert!(disk.durable().iter().all(|bytes| !bytes.windows(ANN.len()).any(|window| window == ANN.as_bytes())));
    }
}

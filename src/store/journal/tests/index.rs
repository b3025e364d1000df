//! The index beside the journal: lost, damaged, strange, old; checkpoints; copies.

use super::retention::{Kept, SEGMENT, fill, id, select};
use super::*;
use crate::store::journal::disk::RealDisk;
use crate::store::journal::verify::{Verified, verify};
use crate::store::queues::{BulkAct, DeliveryKey};
use crate::store::{DeadQuery, ReplayProgress};

/// Delivered, dead, scheduled, dead-lettered by hand and waiting, and a pause: everything that the index knows of.
/// The number of a dead letter's event.
fn number(letter: &crate::store::DeadLetter) -> u64 {
    letter.event.as_ref().expect("it is read").id.sequence()
}

fn with_everything(kept: &Kept) -> JournalStore {
    let store = kept.open();
    for body in ["delivered", "dead", "scheduled", "waiting", "given up"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 3);
    let due_ms = crate::time::wall_ms() + 3_600_000;
    store.settle(vec![
        (claims[0], Settlement::Delivered { attempts: 2 }),
        (claims[1], Settlement::Dead { attempts: 3, reason: "400 no".into() }),
        (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() }),
    ]);
    select(&store, CRM, BulkAct::DeadLetter, &[4]);
    store.pause(id(&store, ALERTS), "410");
    store
}

#[track_caller]
fn check_everything(store: &JournalStore) {
    let id = crm(store);
    let states: Vec<_> = (0..5).map(|sequence| stands(store, DeliveryKey { sequence, destination: id })).collect();
    assert_eq!(states[0], DeliveryState::Settled);
    assert!(matches!(&states[1], DeliveryState::Dead { attempts: 3, reason, .. } if reason == "400 no"), "{states:?}");
    assert!(matches!(&states[2], DeliveryState::Scheduled { attempts: 1, .. }), "{states:?}");
    assert_eq!(states[3], DeliveryState::Waiting);
    assert!(matches!(&states[4], DeliveryState::Dead { reason, .. } if reason == "by hand"), "{states:?}");
    let page = store.dead_letters(id, &DeadQuery::default(), u64::MAX, 9).expect("a page");
    assert_eq!(page.0.iter().map(number).collect::<Vec<_>>(), [4, 1]);
    assert!(store.state(super::retention::id(store, ALERTS)).paused.is_some());
}

/// Closes a store, does something to its files, and opens it: everything must be there.
#[track_caller]
fn check_after(change: impl FnOnce(&Kept)) {
    let kept = Kept::new(64 * SEGMENT);
    with_everything(&kept).close();
    change(&kept);
    check_everything(&kept.open());
    check_everything(&kept.open());
}

#[test]
fn why_a_delivery_was_dead_lettered_is_known_at_once() {
    let store = Kept::new(64 * SEGMENT).open();
    for sequence in 0..50 {
        append(&store, "one", &[CRM]).expect("taken");
        let selection = by_hand::Selection {
            destination: crm(&store),
            act: BulkAct::DeadLetter,
            reason: "stale".to_owned(),
            sequences: std::iter::once(sequence).collect(),
        };
        // Nobody waits until it is durable.
        drop(store.select(selection));
        let state = stands(&store, DeliveryKey { sequence, destination: crm(&store) });
        assert!(matches!(&state, DeliveryState::Dead { reason, .. } if reason == "stale"), "{state:?}");
    }
}

#[test]
fn everything_is_there_after_a_restart() {
    check_after(|_| {});
}

#[test]
fn an_index_that_is_gone_is_made_again() {
    check_after(Kept::remove_index);
}

#[test]
fn garbage_in_place_of_the_index_is_put_aside() {
    check_after(|kept| {
        kept.remove_index();
        std::fs::write(kept.index(), "no database ".repeat(1000)).expect("written");
    });
}

#[test]
fn an_index_with_damaged_pages_is_put_aside() {
    check_after(|kept| {
        let mut bytes = std::fs::read(kept.index()).expect("read");
        let first_page = 4096;
        assert!(bytes.len() > 2 * first_page);
        bytes[first_page..].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(kept.index(), bytes).expect("written");
        std::fs::remove_file(format!("{}-wal", kept.index().display())).ok();
    });
}

#[test]
fn an_index_that_cannot_be_read_is_told_as_that_and_not_as_a_loss() {
    let kept = Kept::new(64 * SEGMENT);
    let store = with_everything(&kept);
    store.journal.index.flush();
    let breaking = rusqlite::Connection::open(kept.index()).expect("open");
    breaking.execute_batch("DROP TABLE dead; DROP TABLE attempt; DROP TABLE total;").expect("broken");
    let page = store.dead_letters(crm(&store), &DeadQuery::default(), u64::MAX, 9).expect_err("no page");
    assert_eq!(page, StoreError::Unavailable("reading the store failed: the index: no such table: dead".to_owned()));
    let attempts = store.attempts(DeliveryKey { sequence: 1, destination: crm(&store) }).expect_err("no attempts");
    assert_eq!(crate::errors::with_causes(&attempts), "reading the store failed: the index: no such table: attempt");
    assert_eq!(store.usage().dead_bytes, None);
}

#[test]
fn an_index_cut_short_is_made_again() {
    check_after(|kept| {
        let bytes = std::fs::read(kept.index()).expect("read");
        std::fs::write(kept.index(), &bytes[..bytes.len() / 2]).expect("written");
    });
}

#[test]
fn an_index_of_another_journal_is_made_again_and_leaves_nothing_behind() {
    let kept = Kept::new(64 * SEGMENT);
    let other = Kept::new(64 * SEGMENT);
    with_everything(&kept).close();
    let store = other.open();
    append(&store, "of the other", &[CRM]).expect("taken");
    select(&store, CRM, BulkAct::DeadLetter, &[0]);
    store.note(vec![(DeliveryKey { sequence: 3, destination: crm(&store) }, AttemptNote::default())]);
    let replay = ReplayProgress { id: 9, ..ReplayProgress::default() };
    store.set_replay(replay).expect("done");
    store.close();
    drop(store);
    kept.remove_index();
    std::fs::copy(other.index(), kept.index()).expect("copied");
    let store = kept.open();
    check_everything(&store);
    assert_eq!(store.replays(), []);
    assert_eq!(store.attempts(DeliveryKey { sequence: 3, destination: crm(&store) }).expect("read"), []);
}

#[test]
fn a_memo_outlives_what_is_read_anew_and_goes_with_another_journal() {
    let mut database = crate::store::journal::index::Database::open(None).expect("in memory");
    let memo = crate::store::journal::index::Update::Memo("notify".to_owned(), "one".to_owned());
    database.apply(&memo).expect("written");
    database.clear().expect("cleared");
    assert_eq!(database.memos().expect("read").get("notify").map(String::as_str), Some("one"));
    database.clear_all().expect("cleared");
    assert!(database.memos().expect("read").is_empty());
}

#[test]
fn a_memo_outlives_an_index_that_cannot_be_written_at_a_start() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "one", &[CRM]).expect("taken");
    store.journal.index.update(vec![crate::store::journal::index::Update::Memo("notify".to_owned(), "one".to_owned())]);
    store.close();
    drop(store);
    let full = "CREATE TRIGGER full BEFORE DELETE ON damage BEGIN SELECT RAISE(ABORT, 'disk is full'); END;";
    change_index(&kept, &format!("DELETE FROM meta; INSERT INTO damage VALUES ('x', 0, 1); {full}"));
    let store = kept.open();
    let memos = store.journal.memos.lock().expect("nobody panicked with it").clone();
    assert_eq!(memos.get("notify").map(String::as_str), Some("one"));
    assert!(!store.journal.index.read().is_in_file(), "it was made again elsewhere");
}

#[test]
fn a_journal_put_back_to_an_older_copy_is_read_as_it_is() {
    let mut kept = Kept::new(64 * SEGMENT);
    let store = with_everything(&kept);
    // An acknowledged event makes everything before it durable.
    append(&store, "mark", &[]).expect("taken");
    let older = kept.disk.after_power_cut(|length| length);
    let claims = store.claim(crm(&store), 9);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    append(&store, "later", &[CRM]).expect("taken");
    store.close();
    drop(store);
    kept.disk = older;
    check_everything(&kept.open());
}

/// That another event gets the number of a lost one without its attempts, after what was done before that one came and at the end.
#[track_caller]
fn gets_no_attempts(before: fn(&JournalStore), at_the_end: fn(&JournalStore)) {
    let mut kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "mark", &[]).expect("taken");
    before(&store);
    let older = kept.disk.after_power_cut(|length| length);
    append(&store, "lost", &[CRM]).expect("taken");
    let key = DeliveryKey { sequence: 1, destination: crm(&store) };
    let note = AttemptNote { at_ms: 5, outcome: "retry".to_owned(), ..AttemptNote::default() };
    store.note(vec![(key, note)]);
    at_the_end(&store);
    assert_eq!(store.attempts(key).expect("read").len(), 1);
    drop(store);
    kept.disk = older;
    let store = kept.open();
    append(&store, "another", &[CRM]).expect("taken");
    assert_eq!(waiting(&store, CRM), ["another"]);
    assert_eq!(store.attempts(key).expect("read"), []);
}

#[test]
fn an_event_that_gets_the_number_of_a_lost_one_does_not_get_its_attempts() {
    gets_no_attempts(|_| {}, JournalStore::close);
}

#[test]
fn an_event_that_gets_the_number_of_one_lost_behind_the_last_checkpoint_does_not_get_its_attempts() {
    // Killed, and not closed.
    gets_no_attempts(JournalStore::checkpoint, |_| {});
}

#[test]
fn a_resume_that_was_answered_does_not_undo_a_later_pause_after_a_kill() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    let of = crm(&store);
    store.checkpoint();
    let pause = || What::Pause { reason: "by hand".to_owned() };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ask = |store: &JournalStore, id, what| {
        runtime.block_on(async { store.ask(Command::new(id, of, what)).await }).expect("done")
    };
    ask(&store, 1, pause());
    ask(&store, 2, What::Resume);
    // What a kill leaves behind right after the answer; the pause that comes then is another's.
    let mut killed = Kept::new(64 * SEGMENT);
    for suffix in ["", "-wal"] {
        let [from, to] = [&kept, &killed].map(|kept| format!("{}{suffix}", kept.index().display()));
        std::fs::copy(from, to).expect("copied");
    }
    killed.disk = kept.disk.after_power_cut(|length| length);
    let store = killed.open();
    ask(&store, 3, pause());
    assert!(ask(&store, 2, What::Resume).was_done_before);
    assert!(store.state(of).paused.is_some());
}

#[test]
fn an_index_of_the_version_before_is_gone_on_with_and_knows_its_commands() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    let of = crm(&store);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ask = |store: &JournalStore, reason: &str| {
        let pause = What::Pause { reason: reason.to_owned() };
        runtime.block_on(async { store.ask(Command::new(1, of, pause)).await })
    };
    assert!(ask(&store, "by hand").is_ok_and(|done| !done.was_done_before));
    let letters = || What::Move { which: Which::Dead(DeadQuery::default()), to: of };
    let replay = |store: &JournalStore| runtime.block_on(async { store.ask(Command::new(2, of, letters())).await });
    assert!(replay(&store).is_ok_and(|done| !done.was_done_before));
    store.close();
    drop(store);
    // As it was written down there, dead letters that went to where they were had moved.
    let as_it_was = format!("UPDATE command SET kind = 4, other = {0} WHERE kind = 1;", of.0);
    change_index(&kept, &format!("{as_it_was} ALTER TABLE command DROP COLUMN asked; PRAGMA user_version = 2;"));
    let store = kept.open();
    assert!(ask(&store, "by hand").is_ok_and(|done| done.was_done_before), "it is known");
    assert!(ask(&store, "another").is_ok_and(|done| done.was_done_before), "why is not known of it");
    assert!(replay(&store).is_ok_and(|done| done.was_done_before), "it is one of these");
    assert!(store.state(of).paused.is_some());
}

/// Changes the index of a store that is closed.
fn change_index(kept: &Kept, sql: &str) {
    rusqlite::Connection::open(kept.index()).expect("opens").execute_batch(sql).expect("changed");
}

#[test]
fn an_event_that_gets_the_number_of_a_lost_one_does_not_get_what_became_of_that() {
    let mut kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "mark", &[CRM]).expect("taken");
    select(&store, CRM, BulkAct::DeadLetter, &[0]);
    store.checkpoint();
    let older = kept.disk.after_power_cut(|length| length);
    for body in ["late", "dead", "given up"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 2);
    store.settle(vec![
        (claims[0], Settlement::Delivered { attempts: 2 }),
        (claims[1], Settlement::Dead { attempts: 3, reason: "400".into() }),
    ]);
    select(&store, CRM, BulkAct::DeadLetter, &[3]);
    store.journal.index.flush();
    // Killed, and not closed.
    drop(store);
    kept.disk = older;
    let store = kept.open();
    let index = store.journal.index.read();
    assert_eq!(index.late(1).expect("read"), []);
    let known = index.dead_letters(crm(&store), 0..9).expect("read");
    assert_eq!(known.into_keys().collect::<Vec<_>>(), [0], "the one that is there is kept");
}

/// Damages the group of an event that was the second, and opens the store that another group followed it in.
#[track_caller]
fn check_number_after_damage(is_closed: bool) {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "mark", &[CRM]).expect("taken");
    append(&store, "lost", &[CRM]).expect("taken");
    store.pause(id(&store, ALERTS), "410");
    if is_closed {
        store.close();
    } else {
        store.journal.wait_for_sync();
    }
    drop(store);
    kept.disk.edit(&file_name(1), |bytes| {
        let body = find(bytes, b"lost");
        let group = bytes[..body].windows(4).rposition(|window| window == b"VGRP").expect("a group");
        bytes[group + 70] ^= 1;
    });
    let (store, opened) = kept.try_open();
    assert_eq!(opened.damage.len(), 1);
    // Its delivery still waits where the index has it, and is found to be lost; nobody else's event goes to where it was to go.
    let another = append(&store, "another", &[ALERTS]).expect("taken");
    assert_eq!(another.sequence(), 2);
}

#[test]
fn the_number_of_an_event_that_damage_took_is_not_given_to_another() {
    check_number_after_damage(true);
}

#[test]
fn the_number_of_an_event_that_damage_took_before_an_unclosed_end_is_not_given_to_another() {
    check_number_after_damage(false);
}

#[test]
fn a_checkpoint_that_has_more_events_than_the_journal_is_not_used() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "mark", &[CRM]).expect("taken");
    append(&store, "the end", &[CRM]).expect("taken");
    store.checkpoint();
    // Killed: the end goes into the next segment, and its group is the only one there.
    drop(store);
    drop(kept.open());
    kept.disk.edit(&file_name(2), |bytes| {
        let body = find(bytes, b"the end");
        let group = bytes[..body].windows(4).rposition(|window| window == b"VGRP").expect("a group");
        bytes[group + 70] ^= 1;
    });
    let store = kept.open();
    let another = append(&store, "another", &[ALERTS]).expect("taken");
    assert_eq!(waiting(&store, CRM), ["mark"]);
    assert_eq!(another.sequence(), 1);
    assert_eq!(waiting(&store, ALERTS), ["another"]);
}

#[test]
fn opening_reads_only_the_newest_segment() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "waits", &[CRM]).expect("taken");
    fill(&store, 20 * SEGMENT);
    store.close();
    drop(store);
    let (store, opened) = kept.try_open();
    assert!(opened.segments > 10);
    assert_eq!(opened.segments_read, 1);
    assert_eq!(waiting(&store, CRM), ["waits"]);
}

#[test]
fn a_replay_is_known_after_a_restart_with_and_without_the_index() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    for _ in 0..9 {
        append(&store, "one", &[]).expect("taken");
    }
    let cursors = [1, 5].map(|at| store.cursor_at(at, 9));
    let at = |number: usize| {
        let cursor = cursors[number].clone();
        let left = [8, 4][number];
        ReplayProgress { id: 7, spec: "all".into(), cursor, left, at_ms: number as u64, ..Default::default() }
    };
    for number in [0, 1] {
        store.set_replay(at(number)).expect("done");
    }
    store.close();
    drop(store);
    assert_eq!(kept.open().replays(), [at(1)]);
    kept.remove_index();
    assert_eq!(kept.open().replays(), [at(1)]);
}

#[test]
fn a_replay_ends_with_what_there_was_although_its_end_was_lost() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let append_all = |store: &JournalStore, count| {
        (0..count).for_each(|_| {
            append(store, "one", &[CRM]).expect("taken");
        })
    };
    append_all(&store, 4);
    let replay = ReplayProgress { id: 7, cursor: store.cursor_at(1, 9), left: 8, ..ReplayProgress::default() };
    store.set_replay(replay).expect("done");
    let disk = disk.after_power_cut(|_| 0);
    let (store, _) = open(&disk);
    let end = store.history().end;
    assert_eq!(store.replays()[0].left, end - 1, "no more than there is");
    append_all(&store, 5);
    assert_eq!(store.replays()[0].left, end - 1, "what came later is none of it");
    let (store, _) = open(&disk.after_power_cut(|_| 0));
    assert_eq!(store.replays()[0].left, end - 1, "nor is it at the next start");
}

#[track_caller]
fn check_selection(act: BulkAct, before: Option<BulkAct>, expected: (u64, u64)) {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "one", &[CRM]).expect("taken");
    if let Some(before) = before {
        assert_eq!(select(&store, CRM, before, &[0]), 1);
    }
    assert_eq!((select(&store, CRM, act, &[0]), select(&store, CRM, act, &[0])), (1, 0));
    let cut = Kept { disk: kept.disk.after_power_cut(|_| 0), ..kept };
    drop(store);
    for removes in [false, true] {
        if removes {
            cut.remove_index();
        }
        let store = cut.open();
        let counts = store.counts(crm(&store));
        assert_eq!((counts.backlog, counts.dead), expected, "index removed: {removes}");
    }
}

#[test]
fn a_redelivery_asked_for_twice_is_one_and_survives_a_power_cut() {
    check_selection(BulkAct::Redeliver, Some(BulkAct::DeadLetter), (1, 0));
}

#[test]
fn dead_lettering_survives_a_power_cut() {
    check_selection(BulkAct::DeadLetter, None, (0, 1));
}

#[test]
fn dropping_survives_a_power_cut() {
    check_selection(BulkAct::Drop, Some(BulkAct::DeadLetter), (0, 0));
}

#[test]
fn yielding_survives_a_power_cut() {
    check_selection(BulkAct::MoveWaiting(NameId(9)), None, (0, 0));
}

#[test]
fn what_a_resume_made_due_is_due_after_two_restarts() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM]).expect("taken");
    let claims = store.claim(crm(&store), 1);
    let due_ms = crate::time::wall_ms() + 3_600_000;
    store.settle(vec![(
        claims[0],
        Settlement::Scheduled { attempts: 1, first_attempt_ms: 5, due_ms, reason: "503".into() },
    )]);
    store.pause(crm(&store), "410");
    assert!(store.resume(crm(&store)));
    store.close();
    for _ in 0..3 {
        let (store, _) = open(&disk);
        assert!(store.next_due(crm(&store)).expect("scheduled") < due_ms);
        store.close();
    }
}

#[test]
fn a_pause_that_stood_in_a_missing_segment_is_known_from_the_next_header() {
    let disk = ModelDisk::default();
    for pauses in [false, true, false] {
        let (store, _) = open(&disk);
        if pauses {
            store.pause(crm(&store), "410");
        }
        append(&store, "one", &[CRM]).expect("taken");
        append(&store, "so that the first is synced for sure", &[]).expect("taken");
        store.close();
    }
    disk.remove(&file_name(2)).expect("removed");
    let (store, _) = open(&disk);
    assert!(store.state(crm(&store)).paused.is_some());
}

#[test]
fn a_version_1_journal_is_read_and_gone_on_with() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    store.pause(id(&store, ALERTS), "410");
    append(&store, "one", &[CRM]).expect("taken");
    append(&store, "two", &[CRM]).expect("taken");
    store.close();
    drop(store);
    // The pause into the header.
    open(&disk).0.close();
    let names = disk.list().expect("lists");
    assert_eq!(names.len(), 2);
    for name in &names {
        disk.edit(name, |bytes| as_version_1(bytes));
    }
    let (store, opened) = open(&disk);
    assert_eq!(opened.damage, []);
    assert_eq!(waiting(&store, CRM), ["one", "two"]);
    assert!(store.state(id(&store, ALERTS)).paused.is_some());
}

/// Takes the marks out of a header that has none, in its own length: version 1 ends before their count.
fn as_version_1(bytes: &mut [u8]) {
    let length = u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize;
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..length - 4]).to_le_bytes();
    bytes[length - 4..length].copy_from_slice(&crc);
}

/// A store on the real disk, as a relay has it.
fn open_real(data_dir: &Path) -> JournalStore {
    let disk = Arc::new(RealDisk::open(&data_dir.join("journal")).expect("a directory"));
    let index = Location::File(data_dir.join("state.db"));
    let options = Options { segment_bytes: SEGMENT, index, ..Options::default() };
    JournalStore::open(disk, options).expect("opens").0
}

fn verified(data_dir: &Path) -> Verified {
    verify(data_dir, &mut |_| {}).expect("reads")
}

#[test]
fn a_backup_of_a_busy_store_has_everything_acknowledged_before_it_began_and_verifies() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_real(&directory.path().join("data"));
    let copy = directory.path().join("copy");
    for i in 0..50 {
        append(&store, &format!("before {i}"), &[CRM]).expect("taken");
    }
    select(&store, CRM, BulkAct::DeadLetter, &[3]);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(std::sync::atomic::Ordering::Acquire) {
                append(&store, &"during ".repeat(1000), &[CRM, ALERTS]).expect("taken");
                let claims = store.claim(id(&store, ALERTS), 9);
                store.settle(claims.into_iter().map(|c| (c, Settlement::Delivered { attempts: 1 })).collect());
                store.trim();
            }
        });
        store.backup(&copy).expect("copied");
        is_done.store(true, std::sync::atomic::Ordering::Release);
    });
    assert_eq!(verified(&copy).problems, [""; 0]);
    let copied = open_real(&copy);
    let bodies: BTreeSet<String> = waiting(&copied, CRM).into_iter().collect();
    assert!((0..50).filter(|i| *i != 3).all(|i| bodies.contains(&format!("before {i}"))), "{bodies:?}");
    assert_eq!(copied.counts(crm(&copied)).dead, 1);
}

#[test]
fn a_backup_goes_into_an_empty_directory_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_real(&directory.path().join("data"));
    let elsewhere = tempfile::tempdir().expect("a directory");
    std::fs::write(elsewhere.path().join("something"), "").expect("written");
    assert!(matches!(store.backup(elsewhere.path()), Err(BackupError::NotEmpty(_))));
    for inside in [directory.path().join("data"), directory.path().join("data/journal/x.tmp")] {
        assert!(matches!(store.backup(&inside), Err(BackupError::Inside(_))), "{}", inside.display());
    }
    assert!(!directory.path().join("data/journal/x.tmp").exists());
}

/// A store with some events, closed; and its first segment.
fn closed(directory: &Path) -> std::path::PathBuf {
    let store = open_real(directory);
    for i in 0..20 {
        append(&store, &format!("body number {i}"), &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 1);
    store.settle(vec![(claims[0], Settlement::Dead { attempts: 1, reason: "long ".repeat(1000) })]);
    store.close();
    directory.join("journal").join(file_name(1))
}

#[test]
fn a_sound_store_verifies_also_with_a_reason_that_was_too_long() {
    let directory = tempfile::tempdir().expect("a directory");
    closed(directory.path());
    let verified = verified(directory.path());
    assert_eq!(verified.problems, [""; 0]);
    assert_eq!((verified.events, verified.backlog, verified.dead), (20, 19, 1));
}

#[track_caller]
fn check_flip(at: impl FnOnce(&[u8]) -> usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = closed(directory.path());
    let mut bytes = std::fs::read(&file).expect("read");
    let at = at(&bytes);
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    assert_eq!(verified(directory.path()).problems.len(), 1);
}

fn find(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).expect("there")
}

#[test]
fn verify_finds_a_flipped_bit_in_a_body() {
    check_flip(|bytes| find(bytes, b"body number 3"));
}

#[test]
fn verify_finds_a_flipped_bit_in_a_head() {
    check_flip(|bytes| {
        let body = find(bytes, b"body number 3");
        bytes[..body].windows(4).rposition(|window| window == b"VGRP").expect("a group") + 70
    });
}

/// Changes the index of a store behind its back. Returns how many rows it changed.
fn edit_index(file: &Path, sql: &str) -> usize {
    rusqlite::Connection::open(file).expect("opens").execute(sql, []).expect("changed")
}

#[test]
fn verify_finds_a_dead_letter_of_which_the_index_says_something_else() {
    // More than are compared in one go.
    const DEAD: u64 = 4200;
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_real(directory.path());
    let mut answers: Vec<_> = (0..DEAD).map(|_| store.append(event(&store, "{}", &[CRM]))).collect();
    answers.pop().expect("some").blocking_recv().expect("an answer").expect("taken");
    let claims = store.claim(crm(&store), 2);
    let dead = |claim| (claim, Settlement::Dead { attempts: 2, reason: "http 500".to_owned() });
    store.settle(claims.into_iter().map(dead).collect());
    select(&store, CRM, BulkAct::DeadLetter, &(2..DEAD).collect::<Vec<_>>());
    let crm = crm(&store).0;
    store.close();
    drop(store);
    let change = |sql| edit_index(&directory.path().join("state.db"), sql);
    let problems = || verified(directory.path()).problems;
    assert_eq!(problems(), Vec::<String>::new());
    assert_eq!(change("UPDATE dead SET reason = 'http 418' WHERE sequence = 1"), 1);
    let differs = |sequence| format!("state.db: the dead letter {sequence} of destination {crm} differs");
    assert_eq!(problems(), [differs(1)]);
    assert_eq!(change("UPDATE buried SET at_ms = at_ms + 1"), 1);
    assert_eq!(problems(), (1..DEAD).map(differs).collect::<Vec<_>>());
    // A row that cannot be read is no row that is missing.
    change("UPDATE dead SET reason = x'ff' WHERE sequence = 1");
    assert!(problems()[0].starts_with(&format!("state.db: dead letters of destination {crm} cannot be read")));
    // Without a row it is only behind.
    change("DELETE FROM dead");
    change("DELETE FROM buried");
    assert_eq!(problems(), Vec::<String>::new());
}

#[test]
fn a_dead_letter_whose_row_cannot_be_read_is_neither_relocated_nor_moved_without_its_reason() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    append(&store, "dead", &[CRM]).expect("taken");
    let claims = store.claim(crm(&store), 1);
    store.settle(vec![(claims[0], Settlement::Dead { attempts: 3, reason: "400 no".into() })]);
    store.close();
    drop(store);
    // Nothing is remembered of it any more but what the index knows.
    let store = kept.open();
    assert_eq!(edit_index(&kept.index(), "UPDATE dead SET reason = x'ff'"), 1);
    fill(&store, 12 * SEGMENT);
    store.trim();
    assert_eq!(store.history().start, 0, "its segment stays");
    assert_eq!(store.take_over(crm(&store), id(&store, ALERTS)).dead, 0, "it stays where it is");
    assert_eq!(edit_index(&kept.index(), "UPDATE dead SET reason = '400 no'"), 1);
    store.trim();
    assert!(store.history().start > 0, "it was relocated");
    let known = |name| {
        let page = store.dead_letters(id(&store, name), &DeadQuery::default(), u64::MAX, 9).expect("a page");
        page.0.into_iter().map(|letter| (letter.attempts, letter.reason)).collect::<Vec<_>>()
    };
    assert_eq!(known(CRM), [(3, "400 no".to_owned())]);
    assert_eq!(store.take_over(crm(&store), id(&store, ALERTS)).dead, 1);
    append(&store, "behind it", &[]).expect("taken");
    assert_eq!(known(ALERTS), [(3, "400 no".to_owned())]);
}

#[test]
fn reasons_are_counted_over_the_newest_dead_letters_and_the_rest_is_told() {
    let kept = Kept::new(1 << 30);
    let store = kept.open();
    for _ in 0..7 {
        append(&store, "{}", &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 7);
    let text = |nth: usize| Why { reason: "422".into(), status: Some(422), answer: nth.to_string().into() }.text();
    let dead = claims.into_iter().enumerate().take(5);
    store.settle(dead.map(|(nth, claim)| (claim, Settlement::Dead { attempts: 1, reason: text(nth) })).collect());
    let told = |most| store.dead_reasons(crm(&store), most).expect("told");
    for (most, looked_at) in [(4, 4), (5, 5), (6, 5)] {
        let found = told(most);
        assert_eq!((found.looked_at, found.not_looked_at, found.not_listed), (looked_at, 5 - looked_at, 0));
        let one = &found.reasons[0];
        let shown = (found.reasons.len(), one.reason.as_str(), one.status, one.deliveries);
        assert_eq!(shown, (1, "422", Some(422), looked_at), "answers do not tell them apart");
    }
}

#[test]
fn pages_of_dead_letters_go_on_where_they_ended_however_many_are_looked_at() {
    // More than one page looks at.
    const DEAD: u64 = 10_600;
    let kept = Kept::new(1 << 30);
    let store = kept.open();
    // Few in a group: who looks at one event reads its group up to it.
    for _ in 0..DEAD / 50 {
        let mut answers: Vec<_> = (0..50).map(|_| store.append(event(&store, "{}", &[CRM]))).collect();
        answers.pop().expect("some").blocking_recv().expect("an answer").expect("taken");
    }
    let claims = store.claim(crm(&store), 1);
    store.settle(vec![(claims[0], Settlement::Dead { attempts: 1, reason: "http 404".to_owned() })]);
    select(&store, CRM, BulkAct::DeadLetter, &(1..DEAD).collect::<Vec<_>>());
    let page = |reason: Option<&str>, before, max| {
        let query = DeadQuery { reason: reason.map(str::to_owned), ..DeadQuery::default() };
        let page = store.dead_letters(crm(&store), &query, before, max).expect("a page");
        (page.0.iter().map(number).collect::<Vec<_>>(), page.1)
    };
    let mut seen = Vec::new();
    let mut before = Some(u64::MAX);
    while let Some(from) = before {
        let (items, next) = page(None, from, 97);
        assert!(!items.is_empty() && items.len() <= 97);
        seen.extend(items);
        before = next;
    }
    assert_eq!(seen, (0..DEAD).rev().collect::<Vec<_>>());
    let down_to = |from: u64, to: u64| (to..from).rev().collect::<Vec<_>>();
    assert_eq!(page(None, 300, 300), (down_to(300, 0), None), "as many as there are");
    assert_eq!(page(None, 300, 299), (down_to(300, 1), Some(1)), "one less");
    assert_eq!(page(None, u64::MAX, usize::MAX), (down_to(DEAD, 600), Some(600)), "as many as a page looks at");
    assert_eq!(page(Some("404"), u64::MAX, 9), (vec![], Some(600)), "what is looked for lies further back");
    assert_eq!(page(Some("404"), 600, 9), (vec![0], None));
}

/// Closes a store of several segments, does something to the older ones, and says what is told at this start and at the next.
#[track_caller]
fn told_after(change: impl FnOnce(&ModelDisk)) -> (Vec<String>, Vec<String>) {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    fill(&store, 6 * SEGMENT);
    store.close();
    drop(store);
    change(&kept.disk);
    let told = |opened: &Opened| -> Vec<String> { opened.damage.iter().map(|damage| damage.file.clone()).collect() };
    let (store, opened) = kept.try_open();
    assert!(opened.segments_read <= 2, "{} were read", opened.segments_read);
    let first = (told(&opened), opened.strays);
    store.close();
    drop(store);
    let (_, opened) = kept.try_open();
    assert_eq!((told(&opened), &opened.strays), (first.0.clone(), &first.1), "it is told at every start");
    first
}

#[test]
fn an_older_segment_that_is_missing_exchanged_cut_or_too_many_is_told_without_reading_all() {
    let remove = |disk: &ModelDisk, segment| disk.remove(&file_name(segment)).expect("removed");
    let bytes = |disk: &ModelDisk, segment| {
        let mut found = Vec::new();
        disk.edit(&file_name(segment), |bytes| found.clone_from(bytes));
        found
    };
    let set = |disk: &ModelDisk, segment, bytes: Vec<u8>| disk.edit(&file_name(segment), |known| *known = bytes);
    assert_eq!(told_after(|_| {}), (vec![], vec![]));
    assert_eq!(told_after(|disk| remove(disk, 3)), (vec![file_name(3)], vec![]));
    assert_eq!(told_after(|disk| remove(disk, 1)), (vec![file_name(1)], vec![]));
    let both = told_after(|disk| {
        let two = bytes(disk, 2);
        let three = bytes(disk, 3);
        set(disk, 2, three);
        set(disk, 3, two);
    });
    assert_eq!(both, (vec![file_name(2), file_name(3)], vec![]));
    assert_eq!(told_after(|disk| disk.edit(&file_name(2), |bytes| bytes.truncate(4096))), (vec![file_name(2)], vec![]));
    let extra = told_after(|disk| {
        let old = bytes(disk, 1);
        disk.create(&file_name(0), 0).expect("made");
        set(disk, 0, old);
    });
    assert_eq!(extra, (vec![], vec![file_name(0)]));
}

#[test]
fn a_missing_segment_is_told_until_the_history_has_passed_it() {
    let kept = Kept::new(8 * SEGMENT);
    let store = kept.open();
    fill(&store, 4 * SEGMENT);
    store.close();
    drop(store);
    kept.disk.remove(&file_name(2)).expect("removed");
    let (store, opened) = kept.try_open();
    assert_eq!(opened.damage.len(), 1);
    fill(&store, 12 * SEGMENT);
    store.trim();
    store.close();
    drop(store);
    assert_eq!(kept.try_open().1.damage, []);
}

//! Writing a sealed segment again: what is erased is nowhere, all else is as it was, and a power cut or a fault amid it leaves the one or the other.

use std::time::Duration;

use super::*;
use crate::store::journal::disk::RealDisk;
use crate::store::journal::format::EventHead;
use crate::store::journal::model::Call;
use crate::store::journal::segments::{Edits, RewriteError, Rewritten, Window};
use crate::store::journal::verify::verify_disk;

const ANN: &str = "ann@example.com";
const EVENTS: u64 = 12;

/// Those of Ann have odd numbers.
fn body(sequence: u64) -> String {
    let who = if sequence % 2 == 1 { ANN } else { "bob@example.com" };
    format!("{sequence} {who} {}", "x".repeat(9_000))
}

fn filled(disk: Arc<dyn Disk>) -> JournalStore {
    let options = Options { segment_bytes: 48 << 10, ..Options::default() };
    let (store, _) = JournalStore::open(disk, options).expect("it opens");
    for sequence in 0..EVENTS {
        append(&store, &body(sequence), &[CRM]).expect("taken");
    }
    assert!(store.journal.segments.newest() >= 3, "two of them are sealed");
    store
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn rewrite(store: &JournalStore, segment: u64) -> Result<Rewritten, RewriteError> {
    let info = store.journal.segments.between(segment..segment + 1).remove(0);
    let erases = |head: &EventHead| head.id.sequence() % 2 == 1;
    store.journal.segments.rewrite(
        &info,
        &Edits { erases: &erases, redacts: &|_, _| None, texts: &|_, _| None, blanks: &|bytes| holds(bytes, ANN) },
    )
}

/// Which numbers lie in a segment.
fn numbers(store: &JournalStore, segment: u64) -> Vec<u64> {
    let info = store.journal.segments.between(segment..segment + 1).remove(0);
    let bodies = store.journal.segments.bodies_in(&info).expect("it reads");
    bodies.into_iter().map(|(sequence, _)| sequence).collect()
}

/// That everything reads as it was written but for these, which are all erased or all whole; returns whether they are erased.
#[track_caller]
fn check(store: &JournalStore, touched: &[u64]) -> bool {
    let mut erased = Vec::new();
    for sequence in 0..EVENTS {
        match store.event_by_number(sequence) {
            Ok(event) => assert_eq!(event.body, body(sequence).as_bytes(), "{sequence}"),
            Err(ReadError::Erased(_)) => erased.push(sequence),
            Err(error) => panic!("{sequence}: {error}"),
        }
    }
    let of_ann: Vec<u64> = touched.iter().copied().filter(|sequence| sequence % 2 == 1).collect();
    assert!(erased.is_empty() || erased == of_ann, "{erased:?}");
    assert_eq!(store.waiting(crm(store)).len(), EVENTS);
    !erased.is_empty()
}

#[test]
fn what_is_erased_in_a_segment_is_in_no_byte_of_it_and_all_else_reads_as_it_was() {
    let disk = ModelDisk::default();
    let store = filled(Arc::new(disk.clone()));
    for segment in 1..store.journal.segments.newest() {
        rewrite(&store, segment).expect("written").overwrite(Duration::ZERO).expect("nobody reads it");
        disk.edit(&file_name(segment), |bytes| assert!(!holds(bytes, ANN) && holds(bytes, "bob@")));
    }
    store.close();
    let (store, opened) = open(&disk);
    assert_eq!(opened.damage, []);
    let (mut whole, mut erased) = (0, 0);
    for sequence in 0..EVENTS {
        match store.event_by_number(sequence) {
            Ok(event) => whole += u64::from(event.body == body(sequence).as_bytes()),
            Err(ReadError::Erased(_)) => erased += 1,
            Err(error) => panic!("{sequence}: {error}"),
        }
    }
    // The last of hers lie in the segment that was written to.
    assert!(whole + erased == EVENTS && erased >= 3, "{whole} {erased}");
    store.close();
    let verified = verify_disk(Arc::new(disk), Path::new("/nowhere/state.db"), &mut |_| {}).expect("it reads");
    assert_eq!(verified.erased, erased);
    assert!(verified.problems.iter().all(|problem| problem.starts_with("there is no index")), "{verified:?}");
}

#[test]
fn erasing_twice_is_erasing_once() {
    let disk = ModelDisk::default();
    let store = filled(Arc::new(disk.clone()));
    let bytes = || {
        let mut bytes = Vec::new();
        disk.edit(&file_name(1), |file| bytes.clone_from(file));
        bytes
    };
    assert!(rewrite(&store, 1).expect("written").erased > 0);
    let once = bytes();
    assert_eq!(rewrite(&store, 1).expect("written").erased, 0);
    assert!(bytes() == once);
}

#[test]
fn a_power_cut_at_any_call_leaves_the_old_segment_or_the_new_one_whole() {
    let disk = ModelDisk::default();
    let store = filled(Arc::new(disk.clone()));
    let touched = numbers(&store, 1);
    let cuts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, cut) = (cuts.clone(), disk.clone());
    disk.before_each_call(move |call| {
        if matches!(call, Call::Read | Call::Space) {
            return;
        }
        let mut cuts = lock(&seen);
        for keep in [|_| 0, |length| length / 2, |length: usize| length] {
            cuts.push((call, cut.after_power_cut(keep)));
            cuts.push((call, cut.after_power_cut_with_names(keep)));
        }
    });
    let rewritten = rewrite(&store, 1).expect("written");
    rewritten.overwrite(Duration::ZERO).expect("nobody reads it");
    disk.before_each_call(|_| {});
    let cuts = std::mem::take(&mut *lock(&cuts));
    for expected in [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncNames] {
        assert!(cuts.iter().any(|(call, _)| *call == expected), "{expected:?}");
    }
    let (mut old, mut new) = (0, 0);
    for (call, disk) in cuts {
        let (store, opened) = open(&disk);
        assert_eq!(opened.damage, [], "before {call:?}");
        if check(&store, &touched) {
            new += 1
        } else {
            old += 1
        }
        assert!(!disk.list().expect("listed").iter().any(|name| name.ends_with(".tmp")), "before {call:?}");
    }
    assert!(old > 0 && new > 0, "{old} {new}");
    assert!(check(&open(&disk).0, &touched));
}

#[test]
fn whatever_fails_before_the_copy_has_the_name_leaves_everything_as_it_was_and_no_copy() {
    let disk = ModelDisk::default();
    let store = filled(Arc::new(disk.clone()));
    let touched = numbers(&store, 1);
    for faults in [
        Faults { capacity: Some(0), ..Faults::default() },
        Faults { write_breaks: true, ..Faults::default() },
        Faults { sync_fails: true, ..Faults::default() },
        Faults { rename_fails: true, ..Faults::default() },
    ] {
        disk.set_faults(faults.clone());
        assert!(matches!(rewrite(&store, 1), Err(RewriteError::Unchanged(_))), "{faults:?}");
        disk.set_faults(Faults::default());
        assert!(!disk.list().expect("listed").iter().any(|name| name.ends_with(".tmp")), "{faults:?}");
        assert!(!check(&store, &touched), "{faults:?}");
        assert!(!check(&open(&disk.after_power_cut(|_| 0)).0, &touched), "{faults:?}");
    }
    // And then it goes as if nothing had been.
    rewrite(&store, 1).expect("written");
    assert!(check(&open(&disk.after_power_cut(|_| 0)).0, &touched));
}

#[test]
fn names_that_cannot_be_synced_are_told_as_broken() {
    let disk = ModelDisk::default();
    let store = filled(Arc::new(disk.clone()));
    let fails = disk.clone();
    disk.before_each_call(move |call| {
        fails.set_faults(Faults { sync_fails: call == Call::SyncNames, ..Faults::default() });
    });
    assert!(matches!(rewrite(&store, 1), Err(RewriteError::Broken(_))));
    disk.before_each_call(|_| {});
}

#[test]
fn whoever_reads_the_old_file_reads_it_to_the_end_and_it_is_overwritten_only_then() {
    let disk = ModelDisk::default();
    let store = filled(Arc::new(disk.clone()));
    let mut window = Window::new(64 << 10);
    let read = |window: &mut Window| store.journal.segments.read(1, window).map(|event| event.body);
    assert_eq!(read(&mut window).expect("there"), body(1).as_bytes());
    let rewritten = rewrite(&store, 1).expect("written");
    assert_eq!(read(&mut window).expect("it has the old one at hand"), body(1).as_bytes());
    let refused = rewritten.overwrite(Duration::ZERO).expect_err("it is read");
    assert!(refused.starts_with("its old file was read for too long"), "{refused}");
    assert_eq!(read(&mut window).expect("nothing of it was touched"), body(1).as_bytes());
    window.clear();
    rewritten.overwrite(Duration::ZERO).expect("nobody reads it");
    assert!(matches!(read(&mut window), Err(ReadError::Erased(_))));
}

#[test]
fn a_damaged_range_is_blanked_where_it_says_what_is_to_go_and_left_where_it_does_not() {
    for hers in [false, true] {
        let disk = ModelDisk::default();
        let store = filled(Arc::new(disk.clone()));
        store.close();
        let text = if hers { format!(" {ANN} ") } else { " bob@example.com ".to_owned() };
        disk.edit(&file_name(1), |bytes| {
            // The head of the group in which the event lies.
            let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it is there");
            let group = bytes[..at].windows(4).rposition(|window| window == b"VGRP").expect("its group");
            bytes[group + 20] ^= 1;
        });
        let (store, opened) = open_with(&disk, 48 << 10);
        let damage = opened.damage;
        assert_eq!(damage.len(), 1);
        rewrite(&store, 1).expect("written");
        disk.edit(&file_name(1), |bytes| {
            let range = damage[0].bytes.start as usize..damage[0].bytes.end as usize;
            assert_eq!(bytes[range].iter().all(|byte| *byte == 0), hers);
            assert!(!holds(bytes, ANN));
        });
        store.close();
        let (_, opened) = open(&disk);
        assert_eq!(opened.damage, damage, "it is what it was");
    }
}

#[test]
fn on_a_real_disk_the_place_watcher_sees_nothing_and_a_second_name_keeps_what_it_has() {
    for is_linked in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().join("journal");
        let disk = Arc::new(RealDisk::open(&at).expect("it opens"));
        let store = filled(disk.clone());
        let (segment, link) = (at.join(file_name(1)), directory.path().join("a copy"));
        if is_linked {
            std::fs::hard_link(&segment, &link).expect("linked");
        }
        let old = std::fs::File::open(&segment).expect("it opens");
        let overwritten = rewrite(&store, 1).expect("written").overwrite(Duration::ZERO);
        assert_eq!(overwritten.is_err(), is_linked, "{overwritten:?}");
        assert!(!holds(&std::fs::read(&segment).expect("read"), ANN));
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &old, &mut bytes).expect("read");
        assert_eq!(holds(&bytes, ANN), is_linked);
        let files: Vec<_> =
            store.journal.segments.outline().iter().map(|info| (file_name(info.segment), info.end)).collect();
        assert_eq!(disk.trouble(&files, &|_| true), None);
        append(&store, "one more", &[CRM]).expect("taken");
        assert_eq!(disk.trouble(&files, &|_| true), None);
        store.close();
    }
}

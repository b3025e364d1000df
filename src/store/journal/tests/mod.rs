//! The journal against a disk that fails, forgets and lies.
//!
//! # Cast
//!
//! * `model_test`: random work, restarts and power cuts against a model in a map.
//! * `index`: lost, damaged, strange, old; checkpoints; copies. `clock`: processes whose clocks do not agree.
//! * `erased`: what is left of an event whose body was erased. `rewrite`: a segment that is written again.
//!   `redact`: values that are kept for a shorter time. `forgotten`: whatever quotes whom is erased.
//! * `ends`: how deliveries ended, and for how long that is known. `retention`: what goes, what stays, what is relocated.
//! * `names`: how many, and when they go. `limits`: at each and just beyond it.
//! * `age`: since when what waits has waited. `hold`: a source that is held. `lanes`: windows and digests. `lease`: who has lost one.

mod age;
mod clock;
mod ends;
mod erased;
mod forgotten;
mod hold;
mod index;
mod lanes;
mod lease;
mod limits;
mod model_test;
mod names;
mod redact;
mod retention;
mod rewrite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::by_hand::{NumberSet, Selection};
use super::disk::Disk;
use super::model::{Faults, ModelDisk};
use super::segment_name::file_name;
use super::words::ReadError;
use super::*;
use crate::store::queues::{Claim, DeliveryKey};
use crate::store::*;
use crate::time::Clock;

const CRM: &str = "crm";
const ALERTS: &str = "alerts";

fn open(disk: &ModelDisk) -> (JournalStore, Opened) {
    open_with(disk, 1 << 20)
}

fn open_with(disk: &ModelDisk, segment_bytes: u64) -> (JournalStore, Opened) {
    let options = Options { segment_bytes, ..Options::default() };
    JournalStore::open(Arc::new(disk.clone()), options).expect("the journal opens")
}

fn event(store: &JournalStore, body: &str, destinations: &[&str]) -> NewEvent {
    let rule = store.name(NameKind::Rule, "everything");
    let to = |name: &&str| PlannedDelivery { destination: store.name(NameKind::Destination, name), rule };
    NewEvent {
        received_ms: 1_700_000_000_000,
        source: store.name(NameKind::Source, "vero"),
        generation: 1,
        rules: vec![rule],
        deliveries: destinations.iter().map(to).collect(),
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn append(store: &JournalStore, body: &str, destinations: &[&str]) -> Result<EventId, AppendError> {
    store.append(event(store, body, destinations)).blocking_recv().expect("an answer")
}

fn crm(store: &JournalStore) -> NameId {
    store.name(NameKind::Destination, CRM)
}

/// Where the deliveries of an event stand.
fn stated(view: EventView) -> States {
    view.deliveries.into_iter().map(|delivery| (delivery.planned, delivery.state)).collect()
}

/// Where a delivery stands by what memory and the index know, without a search in the journal.
fn stands(store: &JournalStore, key: DeliveryKey) -> DeliveryState {
    let of_letter = || {
        let letters =
            store.journal.letters(key.destination, &BTreeSet::from([key.sequence])).expect("the index is read");
        letters.into_values().next().map_or_else(super::words::unexplained_death, super::words::died)
    };
    store.journal.state_in_memory(&key).unwrap_or_else(of_letter)
}

/// The bodies that wait for a destination, oldest first.
fn waiting(store: &JournalStore, destination: &str) -> Vec<String> {
    let claims = store.claim(store.name(NameKind::Destination, destination), usize::MAX);
    let body = |claim: &Claim| store.read(claim).map(|event| String::from_utf8_lossy(&event.body).into_owned());
    claims.iter().map(|claim| body(claim).expect("the body is there")).collect()
}

#[test]
fn an_acknowledged_event_survives_a_power_cut_and_an_unacknowledged_one_is_no_matter() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM, ALERTS]).expect("taken");
    append(&store, "two", &[CRM]).expect("taken");
    let (store, opened) = open(&disk.after_power_cut(|_| 0));
    assert_eq!(opened.damage, []);
    assert_eq!(waiting(&store, CRM), ["one", "two"]);
    assert_eq!(waiting(&store, ALERTS), ["one"]);
}

#[test]
fn a_journal_of_format_version_1_is_read_from_its_first_group_on() {
    use super::format::{EventHead, GroupBuilder, GroupPlace};
    // Names of every length: with some of them, a header of version 1 is shorter than the same of version 2 would be.
    for name in ["c", "cr", "crm", "crm1", "crm12", "crm123", "crm1234", "crm12345"] {
        let mut file = b"VEROJRNL\x01\0\0\0\0\0\0\0".to_vec();
        [1u64, 0, 0, 0xfeed, 5, 0, 0].iter().for_each(|number| file.extend_from_slice(&number.to_le_bytes()));
        [1u32, 0].iter().for_each(|count| file.extend_from_slice(&count.to_le_bytes()));
        file.extend_from_slice(&[1, 1, 0, 0, 0, name.len() as u8, 0]);
        file.extend_from_slice(name.as_bytes());
        file.resize((file.len() + 4).next_multiple_of(8) - 4, 0);
        let length = file.len() as u64 + 4;
        file[12..16].copy_from_slice(&(length as u32).to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(&file).to_le_bytes());
        let mut builder = GroupBuilder::default();
        let mut group = Vec::new();
        let head = EventHead {
            id: EventId::mint(1_700_000_000_000, 0, 0),
            body_bytes: 3,
            body_crc: crc32c::crc32c(b"one"),
            source: NameId(2),
            rules: Vec::new(),
            deliveries: vec![PlannedDelivery { destination: NameId(1), rule: NameId(3) }],
            is_erased: false,
            is_redacted: false,
        };
        builder.event(&head, Bytes::from_static(b"one"));
        let place = GroupPlace { segment: 1, offset: length, group: 0, durable_up_to: length, first_sequence: 0 };
        builder.finish(place, &mut group);
        file.extend_from_slice(&group);

        let disk = ModelDisk::default();
        disk.create(&file_name(1), 0).expect("made");
        disk.edit(&file_name(1), |bytes| *bytes = file);
        let (store, opened) = open(&disk);
        assert_eq!((opened.damage, waiting(&store, name)), (Vec::new(), vec!["one".to_owned()]), "{name}");
    }
}

#[test]
fn with_syncs_that_lie_the_same_power_cut_does_lose_events() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { sync_lies: true, ..Faults::default() });
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM]).expect("taken");
    let (store, _) = open(&disk.after_power_cut(|_| 0));
    assert_eq!(waiting(&store, CRM), [""; 0], "so the test above can fail");
}

#[test]
fn outcomes_and_scheduled_deliveries_come_back_after_a_restart() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    for body in ["delivered", "dead", "scheduled", "waiting"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), 3);
    store.settle(vec![
        (claims[0], Settlement::Delivered { attempts: 1 }),
        (claims[1], Settlement::Dead { attempts: 1, reason: "400".into() }),
        (claims[2], Settlement::Scheduled { attempts: 1, first_attempt_ms: 7, due_ms: 9, reason: "503".into() }),
    ]);
    store.close();
    let (store, _) = open(&disk);
    let counts = store.counts(crm(&store));
    assert_eq!((counts.backlog, counts.scheduled, counts.dead), (2, 1, 1));
    assert_eq!(counts.oldest_ms, Some(1_700_000_000_000));
    let mut claims = store.claim(crm(&store), 9);
    claims.sort_by_key(|claim| claim.key.sequence);
    let seen: Vec<_> =
        claims.iter().map(|claim| (claim.key.sequence, claim.attempts, claim.first_attempt_ms)).collect();
    assert_eq!(seen, [(2, 1, Some(7)), (3, 0, None)]);
}

#[test]
fn a_failed_sync_poisons_the_store_and_acknowledges_nothing() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM]).expect("taken");
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert!(matches!(append(&store, "two", &[CRM]), Err(AppendError::Poisoned(_))));
    disk.set_faults(Faults::default());
    assert!(matches!(append(&store, "three", &[CRM]), Err(AppendError::Poisoned(_))), "it is never tried again");
    assert!(matches!(*store.health().borrow(), Health::Poisoned(_)));
    assert_eq!(waiting(&store, CRM), ["one"], "and what was not synced is not delivered");
}

#[test]
fn a_broken_write_poisons_the_store() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    disk.set_faults(Faults { write_breaks: true, ..Faults::default() });
    assert!(matches!(append(&store, "one", &[CRM]), Err(AppendError::Poisoned(_))));
}

#[test]
fn a_full_disk_refuses_events_lets_deliveries_go_on_and_recovers_by_itself() {
    let disk = ModelDisk::default();
    let (store, _) = open_with(&disk, 4 << 20);
    append(&store, "before", &[CRM]).expect("taken");
    disk.set_faults(Faults { capacity: Some(4 << 20), ..Faults::default() });
    let large = "x".repeat(1 << 20);
    let mut taken = 0;
    let refused = loop {
        match append(&store, &large, &[]) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10, "four mebibytes cannot hold ten");
    };
    assert!(matches!(refused, AppendError::Full(_)), "{refused:?}");
    assert!(matches!(*store.health().borrow(), Health::Full(_)));

    let claims = store.claim(crm(&store), 1);
    store.settle(vec![(claims[0], Settlement::Delivered { attempts: 1 })]);
    store.close();
    let (store, _) = open_with(&disk, 4 << 20);
    assert!(matches!(*store.health().borrow(), Health::Full(_)), "it opens on a full disk");
    assert_eq!(store.counts(crm(&store)).backlog, 0, "the outcome was written where no event goes");

    disk.set_faults(Faults::default());
    append(&store, "after", &[CRM]).expect("there is room again");
    assert_eq!(*store.health().borrow(), Health::Good);
    assert_eq!(waiting(&store, CRM), ["after"]);
}

#[test]
fn a_full_disk_in_the_middle_of_a_write_leaves_no_half_record() {
    let disk = ModelDisk::default();
    let (store, _) = open_with(&disk, 4 << 20);
    append(&store, "before", &[CRM]).expect("taken");
    // As on a file system that cannot set room aside: the file ends where it was written to.
    let name = file_name(1);
    let mut end = 0;
    disk.edit(&name, |bytes| {
        end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
        bytes.truncate(end.next_multiple_of(8));
    });
    disk.set_faults(Faults { capacity: Some(end as u64 + 100), ..Faults::default() });
    assert!(matches!(append(&store, "does not fit", &[CRM]), Err(AppendError::Full(_))));
    disk.edit(&name, |bytes| assert_eq!(bytes.len(), end.next_multiple_of(8), "cut back to the last whole group"));
    let (reopened, opened) = open_with(&disk.after_power_cut(|length| length), 4 << 20);
    assert_eq!(opened.damage, []);
    assert_eq!(waiting(&reopened, CRM), ["before"]);
    disk.set_faults(Faults::default());
    append(&store, "fits", &[CRM]).expect("taken");
    assert_eq!(waiting(&store, CRM), ["before", "fits"]);
}

#[test]
fn events_cross_segments_and_every_one_is_found_by_its_id() {
    let disk = ModelDisk::default();
    let (store, _) = open_with(&disk, 2 << 20);
    let bodies: Vec<String> = (0..60).map(|i| format!("{i}-{}", "x".repeat(100_000))).collect();
    let ids: Vec<_> = bodies.iter().map(|body| append(&store, body, &[CRM]).expect("taken")).collect();
    assert!(disk.list().expect("lists").len() >= 3, "several segments");
    for store in [store, open_with(&disk.after_power_cut(|_| 0), 2 << 20).0] {
        for (id, body) in ids.iter().zip(&bodies) {
            let view = store.event(*id).expect("found");
            assert_eq!(view.event.event().expect("not erased").body, body.as_bytes());
            assert_eq!(view.deliveries[0].state, DeliveryState::Waiting);
        }
        assert_eq!(waiting(&store, CRM), bodies);
        let strange = EventId::mint(5, 5, 5);
        assert!(matches!(store.event(strange), Err(ReadError::Missing)), "a number alone is not enough");
    }
}

#[test]
fn a_pause_and_its_end_survive_a_restart() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM]).expect("taken");
    store.pause(crm(&store), "410 Gone");
    store.close();
    let (store, _) = open(&disk);
    assert_eq!(store.counts(crm(&store)).state.paused.map(|pause| pause.reason), Some("410 Gone".to_owned()));
    assert_eq!(waiting(&store, CRM), [""; 0]);
    store.close();
    let (store, _) = open(&disk);
    assert!(store.counts(crm(&store)).state.paused.is_some(), "also when only a segment's header says so");
    assert!(store.resume(crm(&store)));
    store.close();
    let (store, _) = open(&disk);
    assert_eq!(waiting(&store, CRM), ["one"]);
}

#[test]
fn what_became_of_an_event_is_found_in_the_journal_when_memory_has_forgotten() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let id = append(&store, "one", &[CRM, ALERTS]).expect("taken");
    let claims = store.claim(crm(&store), 1);
    store.settle(vec![(claims[0], Settlement::Dead { attempts: 3, reason: "400 bad".into() })]);
    store.close();
    let (store, _) = open(&disk);
    let states = stated(store.event(id).expect("found"));
    assert!(matches!(&states[0].1, DeliveryState::Dead { attempts: 3, reason, .. } if reason == "400 bad"));
    assert_eq!(states[1].1, DeliveryState::Waiting);
}

#[test]
fn damage_below_the_durable_mark_is_told_kept_and_passed_over() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    for body in ["one", "two", "three", "four"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    drop(store);
    let at = offsets_of(&disk, &file_name(1))[1];
    disk.edit(&file_name(1), |bytes| bytes[at + 70] ^= 1);
    let (store, opened) = open(&disk);
    assert_eq!(opened.damage.len(), 1);
    assert_eq!(opened.damage[0].file, file_name(1));
    assert!(opened.damage[0].bytes.contains(&(at as u64)));
    assert_eq!(waiting(&store, CRM), ["one", "three", "four"]);
    assert!(disk.list().expect("lists").contains(&format!("{}.damaged", file_name(1))));
    drop(store);
    assert_eq!(open(&disk).1.damage.len(), 1, "and at every later start");
}

#[test]
fn a_damaged_body_is_noticed_when_it_is_read() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "the first body", &[CRM]).expect("taken");
    append(&store, "the second", &[CRM]).expect("taken");
    drop(store);
    disk.edit(&file_name(1), |bytes| {
        let at = bytes.windows(14).position(|window| window == b"the first body").expect("there");
        bytes[at] ^= 1;
    });
    let (store, _) = open(&disk);
    let claims = store.claim(crm(&store), 9);
    assert!(matches!(store.read(&claims[0]), Err(ReadError::Damaged(_))));
    assert_eq!(store.read(&claims[1]).expect("sound").body, "the second".as_bytes());
}

#[test]
fn a_missing_segment_is_told_and_the_others_are_read() {
    let disk = ModelDisk::default();
    for body in ["one", "two", "three"] {
        let (store, _) = open(&disk);
        append(&store, body, &[CRM]).expect("taken");
        append(&store, &format!("{body}, synced for sure"), &[CRM]).expect("taken");
        store.close();
    }
    disk.remove(&file_name(2)).expect("removed");
    let (store, opened) = open(&disk);
    assert_eq!(opened.damage.len(), 1);
    let waiting = waiting(&store, CRM);
    assert!(waiting.contains(&"one".to_owned()) && waiting.contains(&"three".to_owned()), "{waiting:?}");
}

#[test]
fn a_file_that_only_looks_like_a_segment_does_no_harm_and_is_told() {
    for name in [
        "18446744073709551615.journal",
        "4611686018427387903.journal",
        "1099511627776.journal",
        "0000009999.journal",
        "1.journal",
        "x.journal",
    ] {
        let disk = ModelDisk::default();
        let (store, _) = open(&disk);
        append(&store, "one", &[CRM]).expect("taken");
        drop(store);
        disk.create(name, 0).expect("made");
        for body in ["two", "three", "four"] {
            let (store, opened) = open(&disk);
            assert_eq!((opened.damage, opened.strays), (Vec::new(), vec![name.to_owned()]));
            append(&store, body, &[CRM]).expect("taken");
        }
        let (store, _) = open(&disk.after_power_cut(|_| 0));
        assert_eq!(waiting(&store, CRM), ["one", "two", "three", "four"], "{name}");
    }
}

#[test]
fn a_segment_of_another_journal_in_the_place_of_one_brings_none_of_its_events_in() {
    let [disk, other] = [(); 2].map(|()| ModelDisk::default());
    for (disk, word) in [(&disk, "ours"), (&other, "theirs")] {
        for at in 0..3 {
            let (store, _) = open(disk);
            append(&store, &format!("{word} {at}"), &[CRM]).expect("taken");
            append(&store, "and one that is synced for sure", &[]).expect("taken");
            store.close();
        }
    }
    let mut theirs = Vec::new();
    other.edit(&file_name(2), |bytes| theirs.clone_from(bytes));
    disk.edit(&file_name(2), |bytes| *bytes = theirs);
    let (store, opened) = open(&disk);
    assert_eq!(opened.damage.first().map(|damage| damage.file.clone()), Some(file_name(2)));
    assert_eq!(waiting(&store, CRM), ["ours 0", "ours 2"]);
}

#[test]
fn a_name_that_is_taken_by_something_else_is_passed_over_without_a_gap() {
    let directory = tempfile::tempdir().expect("a directory");
    let real = || Arc::new(disk::RealDisk::open(directory.path()).expect("it opens"));
    let at = |name: &str| directory.path().join(name);
    for name in [file_name(2), segment_name::unfinished(3), "x.tmp".to_owned(), "x.journal".to_owned()] {
        std::fs::create_dir(at(&name)).expect("made");
    }
    for body in ["one", "two", "three"] {
        let (store, opened) = JournalStore::open(real(), Options::default()).expect("it opens");
        assert_eq!(opened.damage, []);
        append(&store, body, &[CRM]).expect("taken");
    }
    let (store, opened) = JournalStore::open(real(), Options::default()).expect("it opens");
    assert_eq!((opened.damage, opened.strays), (Vec::new(), Vec::<String>::new()));
    assert_eq!(waiting(&store, CRM), ["one", "two", "three"]);
    assert!(at(&file_name(2)).is_dir() && at("x.tmp").is_dir(), "they are left alone");
}

#[test]
fn a_pause_that_is_durable_outlives_a_power_cut_and_so_does_its_end() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    let source = store.name(NameKind::Source, "vero");
    for id in [crm(&store), source] {
        store.pause(id, "by hand");
        assert_eq!(store.durable().blocking_recv().expect("an answer"), Ok(0));
        let (after, _) = open(&disk.after_power_cut(|_| 0));
        assert_eq!(after.state(id).paused.map(|pause| pause.reason), Some("by hand".to_owned()));
        assert!(store.resume(id));
        store.durable().blocking_recv().expect("an answer").expect("durable");
        let (after, _) = open(&disk.after_power_cut(|_| 0));
        assert_eq!(after.state(id).paused, None);
    }
}

#[test]
fn a_journal_of_another_format_is_refused_and_left_alone() {
    let disk = ModelDisk::default();
    drop(open(&disk));
    disk.edit(&file_name(1), |bytes| {
        bytes[8] = 9;
        let length = u32::from_le_bytes(bytes[12..16].try_into().expect("four")) as usize;
        let crc = crc32c::crc32c(&bytes[..length - 4]).to_le_bytes();
        bytes[length - 4..length].copy_from_slice(&crc);
    });
    let Err(error) = JournalStore::open(Arc::new(disk), Options::default()) else { panic!("opened") };
    let chain = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
    assert!(chain.contains("format version 9"), "{chain}");
}

#[test]
fn bytes_of_an_older_time_behind_a_torn_tail_do_not_come_to_life() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM]).expect("taken");
    append(&store, "two", &[CRM]).expect("taken");
    drop(store);
    let offsets = offsets_of(&disk, &file_name(1));
    // A whole old group, copied behind the end: it says that it lies elsewhere.
    disk.edit(&file_name(1), |bytes| {
        let group = bytes[offsets[0]..offsets[1]].to_vec();
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty").next_multiple_of(8) + 8;
        bytes[end..end + group.len()].copy_from_slice(&group);
    });
    let (store, _) = open(&disk);
    assert_eq!(waiting(&store, CRM), ["one", "two"]);
}

#[test]
fn a_reader_that_looked_at_the_end_of_the_journal_sees_what_is_written_there_later() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "relocated", &[CRM]).expect("taken");
    drop(store);
    let (store, _) = open(&disk);
    // Read from the disk, with whatever lies behind it.
    assert_eq!(waiting(&store, CRM), ["relocated"]);
    let large = "x".repeat(100_000);
    let count = 2 * RECENT_BODIES_MAX / large.len();
    for i in 0..count {
        append(&store, &format!("{i} {large}"), &[CRM]).expect("taken");
    }
    assert_eq!(waiting(&store, CRM).len(), count, "also those that memory has forgotten");
}

#[test]
fn an_event_relocated_behind_a_gap_of_damage_is_found() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    for body in ["one", "two", "three", "four"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    drop(store);
    let at = offsets_of(&disk, &file_name(1))[2];
    disk.edit(&file_name(1), |bytes| bytes[at + 70] ^= 1);
    for _ in 0..2 {
        let (store, _) = open(&disk);
        assert_eq!(waiting(&store, CRM), ["one", "two", "four"]);
    }
}

#[test]
fn closing_ends_also_when_the_last_sync_fails() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    append(&store, "one", &[CRM]).expect("taken");
    let claims = store.claim(crm(&store), 1);
    store.settle(vec![(claims[0], Settlement::Delivered { attempts: 1 })]);
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    store.close();
    assert!(matches!(*store.health().borrow(), Health::Poisoned(_)));
}

#[test]
fn a_store_without_room_finds_it_again_without_being_asked() {
    let disk = ModelDisk::default();
    disk.set_faults(Faults { capacity: Some(0), ..Faults::default() });
    let (store, _) = open(&disk);
    let mut health = store.health();
    assert!(matches!(*health.borrow(), Health::Full(_)));
    disk.set_faults(Faults::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let good = runtime.block_on(async {
        let wait = health.wait_for(|health| *health == Health::Good);
        tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.is_ok()
    });
    assert!(good);
}

/// Where the groups of a segment begin.
fn offsets_of(disk: &ModelDisk, name: &str) -> Vec<usize> {
    let mut offsets = Vec::new();
    disk.edit(name, |bytes| {
        offsets = (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"VGRP")).collect();
    });
    offsets
}

/// What a reader gets out of a disk: the bodies that wait.
fn survivors(disk: &ModelDisk) -> BTreeSet<String> {
    waiting(&open(disk).0, CRM).into_iter().collect()
}

#[test]
fn a_tail_cut_at_any_byte_opens_and_loses_only_what_lay_behind_the_cut() {
    let disk = ModelDisk::default();
    let (store, _) = open(&disk);
    for i in 0..4 {
        append(&store, &format!("body {i}"), &[CRM]).expect("taken");
    }
    drop(store);
    let offsets = offsets_of(&disk, &file_name(1));
    let ends: Vec<usize> = (1..=4).map(|i| offsets.get(i).copied().unwrap_or(usize::MAX)).collect();
    let mut tried = 0;
    let last = offsets[3] + 200;
    for cut in (offsets[1] - 20..last).step_by(3) {
        let copy = disk.after_power_cut(|length| length);
        copy.edit(&file_name(1), |bytes| bytes[cut..].fill(0));
        let found = survivors(&copy);
        for (i, end) in ends.iter().enumerate() {
            let body = format!("body {i}");
            if *end <= cut {
                assert!(found.contains(&body), "{body} was whole before byte {cut}");
            }
            if offsets[i] + 8 > cut {
                assert!(!found.contains(&body), "{body} cannot be there, cut at {cut}");
            }
        }
        tried += 1;
    }
    assert!(tried > 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(512)))]

    #[test]
    fn reading_a_damaged_copy_never_panics_and_never_invents_an_event(
        flips in prop::collection::vec((0usize..6000, 1u8..=255), 1..12),
        cut in 300usize..8000,
    ) {
        let disk = ModelDisk::default();
        let (store, _) = open(&disk);
        let bodies: BTreeSet<String> = (0..20).map(|i| format!("body {i} {}", "x".repeat(i * 7))).collect();
        for body in &bodies {
            append(&store, body, &[CRM]).expect("taken");
        }
        drop(store);
        disk.edit(&file_name(1), |bytes| {
            for (at, flip) in &flips {
                bytes[*at] ^= flip;
            }
            bytes.truncate(cut);
        });
        let copy = disk.after_power_cut(|length| length);
        let opened = JournalStore::open(Arc::new(copy), Options { segment_bytes: 1 << 20, ..Options::default() });
        if let Ok((store, _)) = opened {
            for claim in store.claim(crm(&store), usize::MAX) {
                if let Ok(event) = store.read(&claim) {
                    let body = String::from_utf8_lossy(&event.body).into_owned();
                    prop_assert!(bodies.contains(&body), "{} was never written", body);
                }
            }
        }
    }

    #[test]
    fn whatever_a_power_cut_keeps_no_acknowledged_event_and_no_synced_outcome_is_lost(
        steps in prop::collection::vec((0u8..10, 0usize..3000), 1..60),
        keeps in prop::collection::vec(0usize..4000, 1..20),
        restarts in 1usize..4,
    ) {
        let mut disk = ModelDisk::default();
        // What must be there: acknowledged and not settled. What may not be: settled before the last clean end.
        let (mut open_bodies, mut settled) = (BTreeMap::<String, ()>::new(), BTreeSet::<String>::new());
        let mut number = 0;
        for _ in 0..restarts {
            let (store, opened) = open_with(&disk, 64 << 10);
            prop_assert_eq!(opened.damage, vec![]);
            for (kind, size) in &steps {
                match kind {
                    0..=6 => {
                        number += 1;
                        let body = format!("{number} {}", "y".repeat(*size));
                        append(&store, &body, &[CRM]).expect("taken");
                        open_bodies.insert(body, ());
                    }
                    7 | 8 => {
                        for claim in store.claim(crm(&store), 2) {
                            let body = store.read(&claim).expect("there").body.clone();
                            store.settle(vec![(claim, Settlement::Delivered { attempts: 1 })]);
                            let body = String::from_utf8_lossy(&body).into_owned();
                            open_bodies.remove(&body);
                            settled.insert(body);
                        }
                    }
                    _ => {
                        // An acknowledged event makes every outcome before it durable.
                        number += 1;
                        let body = format!("{number} mark");
                        append(&store, &body, &[CRM]).expect("taken");
                        open_bodies.insert(body, ());
                    }
                }
            }
            number += 1;
            let mark = format!("{number} last mark");
            append(&store, &mark, &[CRM]).expect("taken");
            open_bodies.insert(mark, ());
            let mut keeps = keeps.iter().cycle();
            disk = disk.after_power_cut(|_| *keeps.next().expect("it cycles"));
        }
        let (store, _) = open_with(&disk, 64 << 10);
        let found: BTreeSet<String> = waiting(&store, CRM).into_iter().collect();
        let expected: BTreeSet<String> = open_bodies.into_keys().collect();
        prop_assert_eq!(found, expected);
    }
}

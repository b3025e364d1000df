//! The journal reader and `verify`, over a disk in memory.
//!
//! The first byte says how: bit 0, the rest is the bytes of a segment file, instead of changes to a valid journal; bit 1, CRCs are
//! made right again afterwards, so that what lies behind them is reached too; bits 2 to 5, if they are the number 1,
//! the store is opened and written to as well, which takes a hundred times as long.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};

use vero_relay::event::EventId;
use vero_relay::store::journal::disk::Disk;
use vero_relay::store::journal::format::{
    EventHead, GROUP_HEAD, GroupBuilder, GroupPlace, ReplayRecord, SegmentHeader, VERSION_OF_LANES, VERSION_PLAIN,
};
use vero_relay::store::journal::model::ModelDisk;
use vero_relay::store::journal::verify::{Verified, verify_disk};
use vero_relay::store::journal::{Blocking, JournalStore, Options};
use vero_relay::store::queues::{
    Act, BulkAct, CommandRecord, Control, DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState,
    SelectionRecord, WindowsRecord,
};
use vero_relay::store::{
    Answer, Claimed, DigestId, Duty, EventQuery, GroupKey, Intake, Interned, Looking, NameId, NameKind, NameState,
    Named, NewEvent, Order, Pause, PlannedDelivery, Room, Store, StoreError, WindowHead,
};
use vero_relay::time::Clock;

const IS_RAW: u8 = 1;
const IS_SEALED: u8 = 2;
const IS_OPENED: u8 = 4;
const OPENED_BITS: u8 = 0x3c;

const CRM: NameId = NameId(1);
const ALERTS: NameId = NameId(2);
const SEGMENTS: usize = 3;
/// Events below this lie in segments that were sealed. What the last one holds behind its durable mark may go without a word.
const SURE_BELOW: u64 = 6;
/// A second after the journal was written: nothing is old enough to be trimmed.
static NOW_MS: AtomicU64 = AtomicU64::new(1_700_000_001_000);
const ABSENT_INDEX: &str = "/nonexistent/state.db";

/// Returns whether everything that was written is still there.
pub fn journal(data: &[u8]) -> bool {
    let Some((mode, rest)) = data.split_first() else { return false };
    let valid = valid_segments();
    let mut files = if mode & IS_RAW != 0 { vec![rest.to_vec()] } else { changed(valid.clone(), rest) };
    if mode & IS_SEALED != 0 {
        files.iter_mut().zip(1..).for_each(|(file, segment)| seal(file, segment, mode & IS_RAW != 0));
    }
    let disk = disk(&files);
    let verified = verify_disk(Arc::new(disk.clone()), Path::new(ABSENT_INDEX), &mut |_| {});
    disk.list().expect("a model disk lists").iter().zip(&files).for_each(|(name, file)| {
        disk.edit(name, |bytes| assert!(bytes == file, "verify has changed {name}"));
    });
    let Ok(verified) = verified else { return false };
    let is_honest = mode & (IS_RAW | IS_SEALED) == 0;
    if mode & OPENED_BITS == IS_OPENED {
        open(&disk, is_honest, &verified);
    }
    let is_whole = files == valid;
    assert!(!is_whole || told(&verified).is_empty() && verified.torn_bytes == 0, "trouble with a sound journal");
    is_whole || told(&verified).is_empty()
}

/// What is wrong, but for the index that is not there.
fn told(verified: &Verified) -> Vec<&String> {
    verified.problems.iter().filter(|problem| !problem.contains("there is no index")).collect()
}

/// Opens the store, reads everything, writes to it, and opens it again.
fn open(disk: &ModelDisk, is_honest: bool, verified: &Verified) {
    let options = || Options {
        segment_bytes: 64 << 10,
        clock: Clock::by_hand(&NOW_MS),
        blocking: Blocking::Here,
        ..Options::default()
    };
    let Ok((store, opened)) = JournalStore::open(Arc::new(disk.clone()), options()) else { return };
    if is_honest {
        read_all(&store, opened.damage.is_empty() && told(verified).is_empty());
    }
    let named = [(NameKind::Destination, "crm"), (NameKind::Rule, "everything"), (NameKind::Source, "vero")];
    let named = named.map(|(kind, name)| Named { kind, name: name.to_owned(), renamed_from: None });
    let Ok(Interned { ids, .. }) = now(store.intern(named.into())) else { return };
    let (crm, rule, source) = (ids[0], ids[1], ids[2]);
    let event = NewEvent {
        received_ms: 1_700_000_000_000,
        source,
        generation: 1,
        rules: vec![rule],
        deliveries: vec![PlannedDelivery { destination: crm, rule }],
        body: bytes::Bytes::from_static(b"{\"type\":\"new\"}"),
    };
    let answer = store.append(event).blocking_recv().expect("the writer answers");
    store.close_here();
    drop(store);
    let Ok(id) = answer else { return };
    let (store, _) = JournalStore::open(Arc::new(disk.clone()), options()).expect("what it wrote it can open");
    let is_it = |claimed: &Claimed| claimed.claim.delivery.event == id;
    assert!(claim(&store, crm).iter().any(is_it), "what was acknowledged waits");
    let event = now(store.event(id));
    // A group whose CRC is right and whose numbers lie hides others; no damage makes one, so it may: but not end the process.
    if is_honest {
        let kept = event.expect("what was acknowledged is there").event.event().expect("nothing was erased");
        assert_eq!(&kept.body[..], b"{\"type\":\"new\"}");
    }
    store.close_here();
}

/// Whatever damage did: an event that can be read is what was written, waits for nobody but its own destinations, and is not lost
/// without a word.
fn read_all(store: &JournalStore, is_silent: bool) {
    let written = written();
    for destination in [CRM, ALERTS] {
        for Claimed { claim, event } in claim(store, destination) {
            let sequence = number_of(claim.delivery.event);
            let Some((body, destinations)) = written.get(&sequence) else {
                panic!("event {sequence} was never written")
            };
            assert!(destinations.contains(&destination.0), "event {sequence} is not for destination {}", destination.0);
            match event {
                Ok(event) => assert!(event.body[..] == body[..], "event {sequence} has another body"),
                Err(StoreError::Unavailable(why)) => panic!("a model disk does not fail: {why}"),
                Err(error) => assert!(!is_silent, "event {sequence}: {error}, and nobody was told"),
            }
        }
    }
    let page = now(store.events(&EventQuery::all(Order::OldestFirst), None, usize::MAX));
    let found = page.map_or_else(|_| Vec::new(), |page| page.items);
    let is_found = |sequence: &u64| found.iter().any(|event| number_of(event.id) == *sequence);
    let lost = (0..SURE_BELOW).find(|sequence| !is_found(sequence));
    assert!(!is_silent || lost.is_none(), "event {lost:?} is gone, and nobody was told");
}

/// The number of an event in the journal: the low 62 bits of its id.
fn number_of(id: EventId) -> u64 {
    u128::from_be_bytes(id.to_bytes()) as u64 & ((1 << 62) - 1)
}

/// All that waits for a destination, with its events.
fn claim(store: &JournalStore, destination: NameId) -> Vec<Claimed> {
    let mut lease = store.lease(Duty::deliver_to(destination));
    let Poll::Ready(lease) = lease.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("a journal's lease is there at once")
    };
    let queue = &lease.queues[0];
    let mut all = Vec::new();
    loop {
        let mut some = queue.claim(Room { deliveries: usize::MAX, body_bytes: usize::MAX, urgent_only: false });
        match some.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(some) if some.is_empty() => return all,
            Poll::Ready(some) => all.extend(some),
            Poll::Pending => panic!("it waits for somebody"),
        }
    }
}

/// What a store that does everything where it is asked for answers.
fn now<T>(mut answer: Answer<'_, T>) -> Result<T, StoreError> {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits for somebody"),
    }
}

/// The events of the valid journal: body, and where it goes.
fn written() -> BTreeMap<u64, (Vec<u8>, Vec<u32>)> {
    let body = |sequence: u64| format!("{{\"type\":\"sent\",\"number\":{sequence}}}").into_bytes();
    let to = |sequence: u64| if sequence.is_multiple_of(2) { vec![CRM.0, ALERTS.0] } else { vec![CRM.0] };
    (0..10).map(|sequence| (sequence, (body(sequence), to(sequence)))).collect()
}

fn disk(files: &[Vec<u8>]) -> ModelDisk {
    let disk = ModelDisk::default();
    for (file, segment) in files.iter().zip(1..) {
        let name = format!("{segment:010}.journal");
        disk.create(&name, 0).expect("a model disk creates");
        disk.edit(&name, |bytes| bytes.clone_from(file));
    }
    disk
}

/// Three segments with every kind of record; the last one ends unsynced and has zeros behind it.
fn valid_segments() -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    let (mut group, mut sealed_at) = (0, 0);
    for segment in 1..=SEGMENTS as u64 {
        let state = NameState {
            paused: Some(Pause { since_ms: 7, reason: "410".to_owned() }),
            open_since_ms: Some(5),
            removed_since_ms: None,
            held_since_ms: Some(6),
        };
        let header = SegmentHeader {
            version: if segment == SEGMENTS as u64 { VERSION_OF_LANES } else { VERSION_PLAIN },
            segment,
            first_sequence: (segment - 1) * 3,
            first_group: group,
            journal: 0xfeed,
            created_ms: 1_700_000_000_000,
            sealed_segment: segment - 1,
            sealed_at,
            names: vec![(NameKind::Destination, CRM, "crm".into()), (NameKind::Destination, ALERTS, "alerts".into())],
            states: if segment == 2 { vec![(ALERTS, state)] } else { Vec::new() },
        };
        let mut file = header.encode();
        let mut durable_up_to = file.len() as u64;
        let mut builder = GroupBuilder::default();
        for part in 0..3 {
            fill(&mut builder, segment, part);
            let offset = file.len() as u64;
            let first_sequence = (segment - 1) * 3 + part;
            let mut bytes = Vec::new();
            builder.finish(GroupPlace { segment, offset, group, durable_up_to, first_sequence }, &mut bytes);
            durable_up_to = offset;
            file.extend_from_slice(&bytes);
            group += 1;
        }
        sealed_at = file.len() as u64;
        if segment == SEGMENTS as u64 {
            file.resize(file.len() + 512, 0);
        }
        segments.push(file);
    }
    segments
}

fn head(sequence: u64) -> (EventHead, Vec<u8>) {
    let (body, destinations) = written().remove(&sequence).expect("an event of the journal");
    let rule = NameId(9);
    let deliveries = destinations.iter().map(|id| PlannedDelivery { destination: NameId(*id), rule }).collect();
    let head = EventHead {
        id: EventId::mint(1_700_000_000_000, 1, sequence),
        body_bytes: body.len() as u32,
        body_crc: crc32c::crc32c(&body),
        source: NameId(3),
        rules: vec![rule],
        deliveries,
        is_erased: false,
        is_redacted: false,
    };
    (head, body)
}

/// One group of the valid journal: an event, and what else there can be.
fn fill(builder: &mut GroupBuilder, segment: u64, part: u64) {
    let (event, body) = head((segment - 1) * 3 + part);
    builder.event(&event, body.into());
    let outcome = |sequence, state| OutcomeRecord {
        key: DeliveryKey { sequence, destination: CRM },
        attempts: 2,
        at_ms: 1_700_000_000_500,
        state,
    };
    match (segment, part) {
        (1, 0) => builder.name(NameKind::Rule, NameId(9), "everything"),
        (1, _) => builder.outcomes(&[
            outcome(0, OutcomeState::Delivered),
            outcome(1, OutcomeState::Dead { reason: "400".to_owned() }),
            outcome(
                2,
                OutcomeState::Scheduled {
                    first_attempt_ms: 1_700_000_000_100,
                    due_ms: 1_700_000_000_900,
                    reason: "503".to_owned(),
                },
            ),
        ]),
        (2, 0) => builder.control(&Control { destination: ALERTS, at_ms: 5, act: Act::Pause("410".to_owned()) }),
        (2, 1) => builder.control(&Control { destination: ALERTS, at_ms: 6, act: Act::Resume }),
        (2, _) => {
            let (event, body) = head(1);
            builder.relocated(&event, body.into());
        }
        (_, 0) => builder.selection(&SelectionRecord {
            destination: CRM,
            at_ms: 9,
            act: BulkAct::Redeliver,
            command: Some(CommandRecord { id: 77, asked: None }),
            reason: "operator".to_owned(),
            sequences: [0, 1].into_iter().collect(),
        }),
        (_, 2) => {
            let key = GroupKey([5; 16]);
            let head = WindowHead { key, address: 1, opened_ms: 5, ends_ms: 9, passed: 3 };
            builder.windows(&WindowsRecord { destination: CRM, heads: vec![head] });
            let id = DigestId(1.try_into().expect("not 0"));
            let members = [0, 1].into_iter().collect();
            let reason = "503".to_owned();
            for what in [
                DigestAct::Closed { id, windows: vec![GroupKey([6; 16])], members },
                DigestAct::Scheduled { id, attempts: 1, first_attempt_ms: 7, due_ms: 1_700_000_000_900, reason },
            ] {
                builder.digest(&DigestRecord { destination: CRM, at_ms: 6, what });
            }
        }
        _ => builder.replay(&ReplayRecord {
            id: 77,
            at_ms: 9,
            cursor: 2,
            until: 2,
            selected: 2,
            is_done: true,
            spec: "{}".into(),
        }),
    }
}

/// Changes to a valid journal, six bytes each: what, in which segment, where (two bytes), and with what (two bytes).
fn changed(mut files: Vec<Vec<u8>>, program: &[u8]) -> Vec<Vec<u8>> {
    for step in program.chunks_exact(6).take(32) {
        let file = &mut files[usize::from(step[1]) % SEGMENTS];
        if file.is_empty() {
            continue;
        }
        let at = usize::from(u16::from_le_bytes([step[2], step[3]])) % file.len();
        let (value, number) = (step[4], u16::from_le_bytes([step[4], step[5]]));
        match step[0] % 8 {
            0 => file[at] ^= 1 << (value % 8),
            1 => file[at] = value,
            2 => file.truncate(at),
            3 => file[at..].iter_mut().take(usize::from(number)).for_each(|byte| *byte = 0),
            4 => file.insert(at, value),
            5 => drop(file.remove(at)),
            6 => {
                // Bytes of another place, as a file system may leave them behind.
                let from = at / 8 * 8;
                let range = file[from..file.len().min(from + 256)].to_vec();
                let to = (usize::from(number) * 8).min(file.len() + 64);
                file.resize(file.len().max(to + range.len()), 0);
                file[to..to + range.len()].copy_from_slice(&range);
            }
            _ => {
                let extreme = [0, 1, u64::MAX, u64::from(u32::MAX), 1 << 62, 1 << 31][usize::from(value) % 6];
                let width = if step[5] % 2 == 0 { 4 } else { 8 };
                let end = file.len().min(at + width);
                file[at..end].copy_from_slice(&extreme.to_le_bytes()[..end - at]);
            }
        }
    }
    files
}

/// Makes the CRCs right, and with `is_raw` also what every group says of its place.
fn seal(file: &mut [u8], segment: u64, is_raw: bool) {
    if let Ok(length) = SegmentHeader::length(file)
        && length <= file.len()
    {
        let crc = crc32c::crc32c(&file[..length - 4]);
        file[length - 4..length].copy_from_slice(&crc.to_le_bytes());
    }
    for at in (0..file.len().saturating_sub(GROUP_HEAD)).step_by(8) {
        if !file[at..].starts_with(b"VGRP") {
            continue;
        }
        if is_raw {
            file[at + 8..at + 16].copy_from_slice(&segment.to_le_bytes());
            file[at + 16..at + 24].copy_from_slice(&(at as u64).to_le_bytes());
        }
        let heads = u32::from_le_bytes(file[at + 48..at + 52].try_into().expect("four bytes")) as usize;
        if let Some(heads) = file[at..].get(8..GROUP_HEAD + heads) {
            let crc = crc32c::crc32c(heads);
            file[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

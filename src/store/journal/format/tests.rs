//! What is written reads back, whatever it is, and nothing else does.

use bytes::Bytes;
use proptest::prelude::*;

use super::codec::{Take, put_text};
use super::*;
use crate::event::EventId;
use crate::store::queues::{
    Act, Bitmap, BulkAct, CommandRecord, Control, DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState,
    SelectionRecord, TEXT_MAX, WindowsRecord,
};
use crate::store::{AskedPrint, DigestId, GroupKey, NameId, NameKind, NameState, Pause, PlannedDelivery, WindowHead};

fn outcome() -> impl Strategy<Value = OutcomeRecord> {
    let state = prop_oneof![
        Just(OutcomeState::Delivered),
        Just(OutcomeState::Skipped),
        Just(OutcomeState::Dropped),
        any::<u32>().prop_map(|to| OutcomeState::Moved(NameId(to))),
        (any::<u64>(), any::<u64>(), "\\PC{0,20}").prop_map(|(first_attempt_ms, due_ms, reason)| {
            OutcomeState::Scheduled { first_attempt_ms, due_ms, reason }
        }),
        "\\PC{0,20}".prop_map(|reason| OutcomeState::Dead { reason }),
    ];
    (any::<u64>(), any::<u32>(), any::<u16>(), any::<u64>(), state).prop_map(
        |(sequence, destination, attempts, at_ms, state)| OutcomeRecord {
            key: DeliveryKey { sequence, destination: NameId(destination) },
            attempts,
            at_ms,
            state,
        },
    )
}

proptest! {
    #[test]
    fn a_group_reads_back_as_written(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5),
        outcomes in prop::collection::vec(outcome(), 0..5),
        name in "\\PC{0,20}",
    ) {
        let mut builder = GroupBuilder::default();
        let mut expected = Vec::new();
        for (i, body) in bodies.iter().enumerate() {
            let head = EventHead {
                id: EventId::mint(7, 1, i as u64),
                body_bytes: body.len() as u32,
                body_crc: crc32c::crc32c(body),
                source: NameId(3),
                rules: vec![NameId(9)],
                deliveries: vec![PlannedDelivery { destination: NameId(1), rule: NameId(9) }],
                is_erased: false,
                is_redacted: false,
            };
            builder.event(&head, Bytes::copy_from_slice(body));
            expected.push(Record::Event(head));
        }
        builder.outcomes(&outcomes);
        expected.push(Record::Outcomes(outcomes));
        builder.name(NameKind::Rule, NameId(5), &name);
        expected.push(Record::Name(NameKind::Rule, NameId(5), name));
        for act in [
            Act::Pause("410".into()), Act::Resume, Act::Open, Act::Close, Act::Remove, Act::Restore, Act::RetryNow, Act::Hold,
        ] {
            let control = Control { destination: NameId(2), at_ms: 5, act };
            builder.control(&control);
            expected.push(Record::Control(control));
        }
        let moves = [BulkAct::MoveDead(NameId(7)), BulkAct::MoveWaiting(NameId(7))];
        for act in [BulkAct::Redeliver, BulkAct::DeadLetter, BulkAct::Drop].into_iter().chain(moves) {
            let sequences = [1, 2, 70_000].into_iter().collect();
            let reason = "operator".to_owned();
            let one = SelectionRecord { destination: NameId(3), at_ms: 6, act, command: None, reason, sequences };
            let of = |asked| Some(CommandRecord { id: 99, asked });
            for command in [None, of(None), of(Some(AskedPrint(0))), of(Some(AskedPrint(u64::MAX)))] {
                let selection = SelectionRecord { command, ..one.clone() };
                builder.selection(&selection);
                expected.push(Record::Selection(selection));
            }
        }
        let replay = ReplayRecord {
            id: u128::MAX, at_ms: 8, cursor: 1, until: 2, selected: 3, is_done: true, spec: "{}".repeat(2000),
        };
        builder.replay(&replay);
        expected.push(Record::Replay(replay));
        let id = DigestId(9.try_into().expect("not 0"));
        let windows = vec![GroupKey([1; 16]), GroupKey([2; 16])];
        let head = WindowHead { key: windows[0], address: u64::MAX, opened_ms: 5, ends_ms: 6, passed: 7 };
        let opened = WindowsRecord { destination: NameId(3), heads: vec![head, WindowHead { key: windows[1], ..head }] };
        builder.windows(&opened);
        expected.push(Record::Windows(opened));
        let members: Bitmap = [1, 2, 70_000].into_iter().collect();
        let reason = "503".to_owned();
        for what in [
            DigestAct::Closed { id, windows: windows.clone(), members: members.clone() },
            DigestAct::Scheduled { id, attempts: 3, first_attempt_ms: 4, due_ms: 5, reason },
            DigestAct::Delivered { id, attempts: 4, members: members.clone() },
            DigestAct::Skipped { id, attempts: 5, members },
            DigestAct::Ended { windows },
            DigestAct::Dissolved { id },
        ] {
            let digest = DigestRecord { destination: NameId(3), at_ms: 8, what };
            builder.digest(&digest);
            expected.push(Record::Digest(digest));
        }
        prop_assert_eq!(builder.version(), VERSION_OF_LANES);
        let head = EventHead {
            id: EventId::mint(7, 1, 77), body_bytes: 2, body_crc: 0, source: NameId(3),
            rules: Vec::new(), deliveries: Vec::new(),
                is_erased: false,
                is_redacted: false,
        };
        builder.relocated(&head, Bytes::from_static(b"{}"));
        expected.push(Record::Relocated(head));

        let mut bytes = Vec::new();
        let place = GroupPlace { segment: 2, offset: 64, group: 3, durable_up_to: 64, first_sequence: 0 };
        builder.finish(place, &mut bytes);
        let head = GroupHead::peek(&bytes, 2, 64).expect("a group");
        prop_assert!(head.is_sound(&bytes));
        prop_assert_eq!(head.length(), bytes.len() as u64);
        prop_assert_eq!(records(&bytes[GROUP_HEAD..head.heads_end()]).collect::<Vec<_>>(), expected);
        prop_assert!(GroupHead::peek(&bytes, 2, 72).is_none(), "it says where it lies");
        prop_assert!(GroupHead::peek(&bytes, 1, 64).is_none());
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = records(&bytes).count();
        let _ = SegmentHeader::decode(&bytes);
    }
}

#[test]
fn a_header_reads_back_and_any_changed_byte_is_noticed() {
    let header = SegmentHeader {
        version: VERSION_PLAIN,
        segment: 3,
        first_sequence: 100,
        first_group: 7,
        journal: 0xabcd,
        created_ms: 5,
        sealed_segment: 2,
        sealed_at: 4096,
        names: vec![(NameKind::Destination, NameId(1), "crm".into()), (NameKind::Rule, NameId(2), "ä".into())],
        states: vec![
            (
                NameId(1),
                NameState { paused: Some(Pause { since_ms: 9, reason: "gone".into() }), ..NameState::default() },
            ),
            (NameId(2), NameState { open_since_ms: Some(4), removed_since_ms: Some(5), ..NameState::default() }),
            (NameId(4), NameState { held_since_ms: Some(6), ..NameState::default() }),
        ],
    };
    let bytes = header.encode();
    assert!(bytes.len().is_multiple_of(ALIGN));
    assert_eq!(bytes[8..12], [2, 0, 0, 0], "where nothing is said of lanes the release before can read it");
    let of_lanes = SegmentHeader { version: VERSION_OF_LANES, ..header.clone() };
    assert_eq!(SegmentHeader::decode(&of_lanes.encode()), Ok(of_lanes));
    assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x10;
        assert!(SegmentHeader::decode(&damaged).is_err(), "byte {i}");
    }
}

#[test]
fn an_unknown_version_is_refused_by_its_number() {
    let mut bytes = b"VEROJRNL".to_vec();
    bytes.extend_from_slice(&4u32.to_le_bytes());
    bytes.extend_from_slice(&104u32.to_le_bytes());
    bytes.resize(100, 0);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::UnknownVersion(4)));
    bytes[50] = 1;
    assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Damaged));
}

#[test]
fn a_text_is_cut_at_its_limit_on_a_characters_boundary() {
    let cut = |text: &str| {
        let mut out = Vec::new();
        put_text(&mut out, text);
        Take(&out).text().expect("utf-8")
    };
    let exact = "a".repeat(TEXT_MAX);
    assert_eq!(cut(&exact), exact);
    assert_eq!(cut(&format!("{}ä", "a".repeat(TEXT_MAX - 1))), "a".repeat(TEXT_MAX - 1));
}

#[test]
fn a_digest_of_more_chunks_than_a_record_holds_is_split_and_says_its_windows_once() {
    let id = DigestId(9.try_into().expect("not 0"));
    let windows = vec![GroupKey([1; 16])];
    for (chunks, parts) in [(CHUNKS_MAX, 1), (CHUNKS_MAX + 1, 2)] {
        let members: Bitmap = (0..chunks as u64).map(|chunk| chunk * 65_536).collect();
        let record = |what| DigestRecord { destination: NameId(3), at_ms: 8, what };
        let closed = record(DigestAct::Closed { id, windows: windows.clone(), members: members.clone() }).split();
        let delivered = record(DigestAct::Delivered { id, attempts: 1, members: members.clone() }).split();
        assert_eq!((closed.len(), delivered.len()), (parts, parts));
        let mut all = Bitmap::default();
        for (part, records) in closed.iter().enumerate() {
            let DigestAct::Closed { windows: said, members, .. } = &records.what else { panic!("{records:?}") };
            assert_eq!(said.len(), usize::from(part == 0));
            all.insert_all(members);
        }
        assert_eq!(all, members);
        assert_eq!(delivered.iter().filter_map(DigestRecord::ended).map(Bitmap::len).sum::<u64>(), members.len());
    }
}

//! Values that are kept for a shorter time: they go from memory and from every byte of the journal, and nothing that is needed does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;

use super::retention::{Kept, SEGMENT};
use super::*;
use crate::event::FieldPath;
use crate::store::journal::redact::Redactor;

const ANN: &str = "ann@example.com";
const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn redaction(paths: &[&str]) -> Option<Arc<Redaction>> {
    let paths = paths.iter().map(|path| FieldPath::parse(path).expect("a path")).collect();
    Some(Arc::new(Redaction { paths, after: DAY }))
}

/// A store whose clock stands where it is put.
fn opened(kept: &Kept) -> (JournalStore, &'static AtomicU64) {
    let hand: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_700_000_000_000)));
    (kept.open_by(Clock::by_hand(hand)), hand)
}

fn body(sequence: u64) -> String {
    format!(r#"{{"n":{sequence},"user":{{"first_name":"{ANN}"}},"x":"{}"}}"#, "x".repeat(9_000))
}

fn blank(sequence: u64) -> String {
    body(sequence).replace(ANN, &"*".repeat(ANN.len()))
}

/// Has it done for all segments whose turn it is, where the upkeep does it.
fn redact(store: &JournalStore) {
    let journal = store.journal.clone();
    let (done, wait) = sync_channel(1);
    store.journal.upkeep.work(Box::new(move || {
        let mut redactor = Redactor::default();
        while journal.redact_some(&mut redactor, &mut || {}) {}
        done.send(()).expect("it is waited for");
    }));
    wait.recv().expect("it is done");
}

fn bodies(store: &JournalStore, numbers: std::ops::Range<u64>) -> Vec<(String, bool)> {
    let read = numbers.map(|sequence| store.event_by_number(sequence).expect("it reads"));
    read.map(|event| (String::from_utf8_lossy(&event.body).into_owned(), event.is_redacted)).collect()
}

/// How often she is named in the journal's files.
fn named(kept: &Kept) -> usize {
    let mut count = 0;
    for name in kept.disk.list().expect("listed") {
        kept.disk.edit(&name, |bytes| count += bytes.windows(ANN.len()).filter(|at| *at == ANN.as_bytes()).count());
    }
    count
}

#[test]
fn values_go_when_they_are_old_enough_and_nobody_needs_them_and_no_sooner() {
    let mut kept = Kept::new(64 * SEGMENT);
    kept.retention.redaction = redaction(&["user.first_name"]);
    let (store, hand) = opened(&kept);
    for sequence in 0..16 {
        append(&store, &body(sequence), &[CRM]).expect("taken");
    }
    let claims = store.claim(crm(&store), usize::MAX);
    let settled = claims.into_iter().filter_map(|claim| match claim.key.sequence {
        3 => None,
        4 => Some((claim, Settlement::Dead { attempts: 1, reason: "no".to_owned() })),
        _ => Some((claim, Settlement::Delivered { attempts: 1 })),
    });
    store.settle(settled.collect());
    redact(&store);
    assert_eq!(named(&kept), 16, "they are too young");

    hand.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
    redact(&store);
    // The segment that was written to is sealed by it, and its turn is a day later.
    hand.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
    redact(&store);
    let expected = (0..16).map(|sequence| match sequence {
        3 | 4 => (body(sequence), false),
        _ => (blank(sequence), true),
    });
    assert_eq!(bodies(&store, 0..16), expected.collect::<Vec<_>>());
    assert_eq!(named(&kept), 2, "what waits and the dead letter");
    assert_eq!(store.counts(crm(&store)).dead, 1);

    store.close();
    drop(store);
    let (store, _) = opened(&kept);
    assert_eq!(bodies(&store, 0..3), (0..3).map(|sequence| (blank(sequence), true)).collect::<Vec<_>>());
    assert_eq!(bodies(&store, 3..4), [(body(3), false)]);
}

#[test]
fn how_a_delivery_ended_is_durable_before_its_values_are_gone() {
    let mut kept = Kept::new(64 * SEGMENT);
    kept.retention.redaction = redaction(&["user.first_name"]);
    let (store, hand) = opened(&kept);
    append(&store, &body(0), &[CRM]).expect("taken");
    for _ in 0..2 {
        hand.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
        redact(&store);
    }
    assert_eq!(bodies(&store, 0..1), [(body(0), false)], "it waits");
    // It is not written at once.
    let claims = store.claim(crm(&store), 1);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    redact(&store);
    assert_eq!(bodies(&store, 0..1), [(blank(0), true)]);
    let cut = Kept { disk: kept.disk.after_power_cut(|_| 0), ..Kept::new(64 * SEGMENT) };
    let store = cut.open();
    assert_eq!((bodies(&store, 0..1), store.waiting(crm(&store)).len()), (vec![(blank(0), true)], 0));
}

#[test]
fn what_is_needed_no_more_goes_as_soon_as_nothing_of_its_segment_is() {
    let hand: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_700_000_000_000)));
    let retention = Retention { redaction: redaction(&["user.first_name"]), ..Retention::default() };
    let options = Options { clock: Clock::by_hand(hand), retention, ..Options::default() };
    // Nobody else looks meanwhile.
    let opened = JournalStore::open_by_hand(Arc::new(ModelDisk::default()), options, &Untold::default());
    let (store, mut writer) = opened.expect("it opens");
    let mut answers: Vec<_> = (0..3).map(|sequence| store.append(event(&store, &body(sequence), &[CRM]))).collect();
    while !matches!(answers[2].try_recv(), Ok(Ok(_))) {
        assert!(writer.turn().expect("the disk is good"));
    }
    let mut redactor = Redactor::default();
    let mut redact = |hours: u64| {
        hand.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
        while store.journal.redact_some(&mut redactor, &mut || drop(writer.turn())) {}
        bodies(&store, 0..3).iter().filter(|(_, is_redacted)| *is_redacted).count()
    };
    let settle = |count: usize| {
        let claims = store.claim(crm(&store), count);
        store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    };
    assert_eq!([redact(25), redact(25)], [0, 0], "all of them wait");
    settle(1);
    assert_eq!([redact(1), redact(24)], [0, 1], "while others wait it is looked at daily");
    settle(1);
    assert_eq!(redact(1), 1);
    settle(1);
    assert_eq!(redact(0), 3, "none waits");
}

#[test]
fn what_was_redacted_is_handed_out_to_nobody() {
    let mut kept = Kept::new(64 * SEGMENT);
    kept.retention.redaction = redaction(&["user.first_name"]);
    let (store, hand) = opened(&kept);
    let id = append(&store, &body(0), &[CRM]).expect("taken");
    let claims = store.claim(crm(&store), 1);
    store.settle(claims.into_iter().map(|claim| (claim, Settlement::Delivered { attempts: 1 })).collect());
    for _ in 0..2 {
        hand.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
        redact(&store);
    }
    let what = What::Redeliver(Which::Events(vec![id]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        store.ask(Command::new(1, crm(&store), what)).await.expect("it is asked for");
        let room = Room { deliveries: 1, body_bytes: usize::MAX, urgent_only: false };
        let claimed = store.queue(crm(&store)).claim(room).await;
        let read: Vec<_> = claimed.iter().map(|claimed| claimed.event.as_ref().err().cloned()).collect();
        assert_eq!(read, [Some(StoreError::Redacted)]);
    });
}

#[test]
fn more_paths_go_over_it_again_and_what_nests_too_deep_is_not_kept_at_all() {
    let mut kept = Kept::new(64 * SEGMENT);
    kept.retention.redaction = redaction(&["user.first_name"]);
    let (store, hand) = opened(&kept);
    let deep = format!(r#"{{"user":{}"{ANN}"{}}}"#, "[".repeat(200), "]".repeat(200));
    append(&store, &deep, &[]).expect("taken");
    append(&store, &body(1), &[]).expect("taken");
    for _ in 0..2 {
        hand.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
        redact(&store);
    }
    assert_eq!(named(&kept), 0);
    let [(left, is_redacted), (second, _)] = bodies(&store, 0..2).try_into().expect("two");
    assert_eq!((left.trim_end(), left.len(), is_redacted), (r#"{"type":"erased"}"#, deep.len(), true));
    assert_eq!(second, blank(1));

    let more = Retention { redaction: redaction(&["user.first_name", "n"]), ..kept.retention.clone() };
    *lock(&store.journal.retention) = more;
    redact(&store);
    assert_eq!(bodies(&store, 1..2), [(blank(1).replace(r#""n":1"#, r#""n":0"#), true)]);
}

//! What goes, what stays, and what is relocated.

use super::*;
use crate::store::queues::{BulkAct, DeliveryKey};
use crate::store::{DeadQuery, ReplayProgress};

const DEAD: &str = "dead";
/// A small one, so that there are soon several.
pub(super) const SEGMENT: u64 = 64 << 10;

/// A store on a model disk with its index in a file.
pub(super) struct Kept {
    pub disk: ModelDisk,
    pub directory: tempfile::TempDir,
    pub retention: Retention,
}

impl Kept {
    pub fn new(history_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let retention = Retention { history_bytes: Some(history_bytes), ..Retention::default() };
        Self { disk: ModelDisk::default(), directory, retention }
    }

    pub fn index(&self) -> std::path::PathBuf {
        self.directory.path().join("state.db")
    }

    pub fn try_open(&self) -> (JournalStore, Opened) {
        self.try_open_with(SEGMENT, Clock::start())
    }

    pub fn open_with(&self, segment_bytes: u64) -> JournalStore {
        self.try_open_with(segment_bytes, Clock::start()).0
    }

    pub fn open_by(&self, clock: Clock) -> JournalStore {
        self.try_open_with(SEGMENT, clock).0
    }

    fn try_open_with(&self, segment_bytes: u64, clock: Clock) -> (JournalStore, Opened) {
        let index = Location::File(self.index());
        let retention = self.retention.clone();
        let options = Options { segment_bytes, clock, index, retention, ..Options::default() };
        JournalStore::open(Arc::new(self.disk.clone()), options).expect("the journal opens")
    }

    pub fn open(&self) -> JournalStore {
        self.try_open().0
    }

    pub fn remove_index(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.index().display()));
        }
    }
}

pub(super) fn id(store: &JournalStore, name: &str) -> NameId {
    store.name(NameKind::Destination, name)
}

pub(super) fn select(store: &JournalStore, name: &str, act: BulkAct, sequences: &[u64]) -> u64 {
    let selection = Selection {
        destination: id(store, name),
        act,
        reason: "by hand".to_owned(),
        sequences: sequences.iter().copied().collect(),
    };
    let (count, durable) = store.select(selection);
    durable.blocking_recv().expect("an answer").expect("done");
    count
}

/// Appends events until so many bytes have gone into the journal, for nobody.
pub(super) fn fill(store: &JournalStore, bytes: u64) {
    for _ in 0..bytes.div_ceil(8 << 10) {
        append(store, &"f".repeat(8 << 10), &[]).expect("taken");
    }
}

fn settle(store: &JournalStore, name: &str, state: impl Fn(u16) -> Settlement) -> u64 {
    let claims = store.claim(id(store, name), 1);
    store.settle(vec![(claims[0], state(claims[0].attempts + 1))]);
    claims[0].key.sequence
}

fn later(attempts: u16) -> Settlement {
    let due_ms = crate::time::wall_ms() + 3_600_000;
    Settlement::Scheduled { attempts, first_attempt_ms: 5, due_ms, reason: "503".into() }
}

fn dead(attempts: u16) -> Settlement {
    Settlement::Dead { attempts, reason: "400 no".into() }
}

/// One scheduled and one dead, events 0 and 1, in a segment that is gone.
fn with_relocated(kept: &Kept) -> JournalStore {
    let store = kept.open();
    for body in ["scheduled", "dead"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    settle(&store, CRM, later);
    settle(&store, CRM, dead);
    fill(&store, 8 * SEGMENT);
    store.trim();
    assert!(store.history().start > 1, "the first segment is gone: {:?}", store.history());
    store
}

#[track_caller]
fn check_relocated(store: &JournalStore) {
    let body = |sequence| store.event_by_number(sequence).expect("relocated").body.clone();
    assert_eq!((body(0), body(1)), ("scheduled".into(), "dead".into()));
    let state = |sequence| stands(store, DeliveryKey { sequence, destination: crm(store) });
    assert!(
        matches!(state(0), DeliveryState::Scheduled { attempts: 1, reason, .. } if reason == "503"),
        "{:?}",
        state(0)
    );
    assert!(
        matches!(state(1), DeliveryState::Dead { attempts: 1, reason, .. } if reason == "400 no"),
        "{:?}",
        state(1)
    );
    let counts = store.counts(crm(store));
    assert_eq!((counts.backlog, counts.scheduled, counts.dead), (1, 1, 1));
}

#[test]
fn the_oldest_segments_go_when_there_are_more_bytes_than_allowed() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    fill(&store, 10 * SEGMENT);
    store.trim();
    let usage = store.usage();
    assert!(usage.journal_bytes <= 4 * SEGMENT, "{usage:?}");
    assert!(!kept.disk.list().expect("lists").contains(&file_name(1)));
    drop(store);
    assert!(matches!(kept.open().event_by_number(0), Err(ReadError::Missing)));
}

#[test]
fn a_waiting_delivery_keeps_its_segment_and_all_behind_it() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    append(&store, "waits", &[CRM]).expect("taken");
    fill(&store, 10 * SEGMENT);
    store.trim();
    assert_eq!(store.history().start, 0);
    settle(&store, CRM, |attempts| Settlement::Delivered { attempts });
    store.trim();
    assert!(store.history().start > 0, "and lets it go when it has arrived");
}

#[test]
fn a_scheduled_delivery_and_a_dead_letter_are_relocated_with_their_bodies() {
    check_relocated(&with_relocated(&Kept::new(4 * SEGMENT)));
}

#[test]
fn what_was_relocated_is_there_after_a_restart() {
    let kept = Kept::new(4 * SEGMENT);
    with_relocated(&kept).close();
    check_relocated(&kept.open());
}

#[test]
fn what_was_relocated_is_there_after_a_restart_without_the_index() {
    let kept = Kept::new(4 * SEGMENT);
    with_relocated(&kept).close();
    kept.remove_index();
    check_relocated(&kept.open());
}

#[test]
fn what_was_relocated_is_there_after_a_restart_with_an_older_index() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    fill(&store, SEGMENT / 2);
    store.close();
    drop(store);
    let copy = kept.directory.path().join("copy");
    std::fs::copy(kept.index(), &copy).expect("copied");
    let store = kept.open();
    let first = append(&store, "scheduled", &[CRM]).expect("taken").sequence();
    append(&store, "dead", &[CRM]).expect("taken");
    settle(&store, CRM, later);
    settle(&store, CRM, dead);
    fill(&store, 8 * SEGMENT);
    store.trim();
    assert!(store.history().start > first + 1);
    store.close();
    drop(store);
    kept.remove_index();
    std::fs::copy(&copy, kept.index()).expect("copied");
    let store = kept.open();
    let body = |sequence| store.event_by_number(sequence).expect("relocated").body.clone();
    assert_eq!((body(first), body(first + 1)), ("scheduled".into(), "dead".into()));
    assert_eq!(store.counts(crm(&store)).dead, 1);
}

#[test]
fn what_was_relocated_is_relocated_again_when_its_segment_goes() {
    let kept = Kept::new(4 * SEGMENT);
    let store = with_relocated(&kept);
    for _ in 0..4 {
        fill(&store, 8 * SEGMENT);
        store.trim();
    }
    let newest_kept = store.usage().segments;
    assert!(newest_kept <= 6, "{newest_kept}");
    check_relocated(&store);
    store.close();
    kept.remove_index();
    drop(store);
    check_relocated(&kept.open());
}

#[test]
fn a_relocated_dead_letter_goes_out_again() {
    let store = with_relocated(&Kept::new(4 * SEGMENT));
    assert_eq!(select(&store, CRM, BulkAct::Redeliver, &[1]), 1);
    assert_eq!(waiting(&store, CRM), ["dead"]);
}

#[test]
fn a_relocated_dead_letter_that_is_to_go_out_again_is_relocated_as_such() {
    let kept = Kept::new(4 * SEGMENT);
    let store = with_relocated(&kept);
    assert_eq!(select(&store, CRM, BulkAct::Redeliver, &[1]), 1);
    for _ in 0..2 {
        fill(&store, 8 * SEGMENT);
        store.trim();
    }
    store.close();
    drop(store);
    kept.remove_index();
    assert_eq!(waiting(&kept.open(), CRM), ["dead"]);
}

#[test]
fn what_nobody_needs_any_more_cannot_be_selected_once_its_segment_is_gone() {
    let store = with_relocated(&Kept::new(4 * SEGMENT));
    assert_eq!(select(&store, CRM, BulkAct::Redeliver, &[2, 3]), 0);
}

#[test]
fn an_event_that_is_not_there_yet_cannot_be_selected() {
    let store = Kept::new(4 * SEGMENT).open();
    assert_eq!(select(&store, CRM, BulkAct::Redeliver, &[5]), 0);
}

#[test]
fn a_replay_is_known_without_the_index_when_the_segment_that_spoke_of_it_is_gone() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    let cursor = store.cursor_at(3, 9);
    let replay = ReplayProgress { id: 7, spec: "all".into(), cursor, left: 6, selected: 2, at_ms: 5, is_done: false };
    store.set_replay(replay.clone()).expect("done");
    fill(&store, 10 * SEGMENT);
    store.trim();
    assert!(!kept.disk.list().expect("lists").contains(&file_name(1)));
    store.close();
    drop(store);
    kept.remove_index();
    assert_eq!(kept.open().replays(), [replay]);
}

#[test]
fn dead_letters_expire_when_their_time_is_over() {
    let mut kept = Kept::new(64 * SEGMENT);
    kept.retention.dead_age = Duration::ZERO;
    let store = kept.open();
    for body in ["settled", "given up"] {
        append(&store, body, &[CRM]).expect("taken");
    }
    settle(&store, CRM, dead);
    select(&store, CRM, BulkAct::DeadLetter, &[1]);
    let later = store.journal.clock.now_ms() + 1;
    while store.journal.clock.now_ms() <= later {
        std::thread::yield_now();
    }
    store.trim();
    assert_eq!((store.counts(crm(&store)).dead, store.usage().dead_expired), (0, 2));
    store.close();
    drop(store);
    assert_eq!(kept.open().counts(NameId(0)).dead, 0);
}

#[test]
fn what_is_dead_lettered_twice_is_as_old_as_the_second_time() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "one", &[CRM]).expect("taken");
    select(&store, CRM, BulkAct::DeadLetter, &[0]);
    let first_ms = store.journal.lived.ran_ms();
    select(&store, CRM, BulkAct::Redeliver, &[0]);
    while store.journal.lived.ran_ms() <= first_ms {
        std::thread::yield_now();
    }
    select(&store, CRM, BulkAct::DeadLetter, &[0]);
    store.journal.index.flush();
    let found = store.journal.index.read().dead_lettered_before(first_ms + 1).expect("reads");
    assert_eq!(found, []);
}

#[test]
fn two_dead_letterings_in_one_millisecond_are_both_known() {
    let store = Kept::new(64 * SEGMENT).open();
    for _ in 0..40 {
        append(&store, "x", &[CRM]).expect("taken");
    }
    for sequence in 0..40 {
        select(&store, CRM, BulkAct::DeadLetter, &[sequence]);
    }
    let page = store.dead_letters(crm(&store), &DeadQuery::default(), u64::MAX, 100).expect("a page");
    assert!(page.0.iter().all(|letter| letter.reason == "by hand"), "{page:?}");
}

#[test]
fn the_oldest_dead_letters_go_when_they_are_too_large_and_no_others() {
    let mut kept = Kept::new(8 * SEGMENT);
    kept.retention.dead_bytes = SEGMENT;
    let store = kept.open();
    for _ in 0..24 {
        append(&store, &"d".repeat(8 << 10), &[DEAD]).expect("taken");
    }
    select(&store, DEAD, BulkAct::DeadLetter, &(0..24).collect::<Vec<_>>());
    fill(&store, 16 * SEGMENT);
    store.trim();
    let usage = store.usage();
    let dead = store.dead(id(&store, DEAD));
    assert!(usage.dead_bytes.is_some_and(|bytes| bytes <= SEGMENT), "{usage:?}");
    assert_eq!(dead.iter_from(0).collect::<Vec<_>>(), (16..24).collect::<Vec<_>>());
    assert_eq!(usage.dead_expired, 16);
}

#[test]
fn what_waits_for_another_attempt_does_not_push_dead_letters_out() {
    let mut kept = Kept::new(8 * SEGMENT);
    kept.retention.dead_bytes = SEGMENT;
    let store = kept.open();
    append(&store, "dead", &[DEAD]).expect("taken");
    select(&store, DEAD, BulkAct::DeadLetter, &[0]);
    for _ in 0..16 {
        append(&store, &"p".repeat(8 << 10), &[CRM]).expect("taken");
    }
    for _ in 0..16 {
        settle(&store, CRM, later);
    }
    fill(&store, 16 * SEGMENT);
    store.trim();
    assert!(store.usage().dead_bytes > Some(SEGMENT), "so the limit is passed by what is relocated");
    assert_eq!(store.counts(id(&store, DEAD)).dead, 1);
}

#[test]
fn a_history_of_nothing_but_dead_letters_is_trimmed_in_the_end() {
    let kept = Kept::new(8 * SEGMENT);
    let store = kept.open();
    for sequence in 0..320 {
        append(&store, &"d".repeat(8 << 10), &[DEAD]).expect("taken");
        select(&store, DEAD, BulkAct::DeadLetter, &[sequence]);
    }
    // As the clock does: what is relocated in one pass goes in the next at the earliest.
    (0..4).for_each(|_| store.trim());
    let usage = store.usage();
    assert!(usage.journal_bytes <= 9 * SEGMENT, "{usage:?}");
    assert!(store.dead(id(&store, DEAD)).contains(319));
}

#[test]
fn trimming_ends_where_everything_waits_for_another_attempt() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    for _ in 0..100 {
        append(&store, &"p".repeat(8 << 10), &[CRM]).expect("taken");
        settle(&store, CRM, later);
    }
    for _ in 0..4 {
        store.trim();
    }
    assert_eq!(store.counts(crm(&store)).scheduled, 100);
    assert!(store.usage().journal_bytes < 32 * SEGMENT, "{:?}", store.usage());
    assert!((0..100).all(|sequence| store.event_by_number(sequence).is_ok()));
}

#[test]
fn the_disk_stays_as_full_as_it_is_with_a_destination_that_is_dead_for_good() {
    let kept = Kept::new(8 * SEGMENT);
    let store = kept.open();
    let mut most = 0;
    for _ in 0..200 {
        for _ in 0..16 {
            append(&store, &"d".repeat(4 << 10), &[DEAD]).expect("taken");
        }
        let all: Vec<u64> = store.waiting(id(&store, DEAD)).iter_from(0).collect();
        select(&store, DEAD, BulkAct::DeadLetter, &all);
        store.trim();
        most = most.max(store.usage().journal_bytes);
    }
    assert!(most <= 10 * SEGMENT, "{most}");
    let files = kept.disk.list().expect("lists").len();
    assert!(files <= 12, "{files}");
    let dead = store.dead(id(&store, DEAD));
    assert!(dead.len() >= 32 && dead.iter_from(0).all(|sequence| store.event_by_number(sequence).is_ok()));
}

#[test]
fn a_dead_letter_that_was_dropped_for_its_size_does_not_come_back_without_its_body() {
    let mut kept = Kept::new(8 * SEGMENT);
    kept.retention.dead_bytes = SEGMENT;
    let store = kept.open();
    for _ in 0..24 {
        append(&store, &"d".repeat(8 << 10), &[DEAD]).expect("taken");
    }
    select(&store, DEAD, BulkAct::DeadLetter, &(0..24).collect::<Vec<_>>());
    fill(&store, 16 * SEGMENT);
    store.trim();
    let cut = Kept { disk: kept.disk.after_power_cut(|_| 0), ..kept };
    drop(store);
    let store = cut.open();
    let dead = store.dead(id(&store, DEAD));
    assert!(!dead.is_empty() && dead.iter_from(0).all(|sequence| store.event_by_number(sequence).is_ok()));
}

#[test]
fn a_breaker_and_a_removed_name_stay_so_when_the_segment_that_said_so_is_gone() {
    let kept = Kept::new(4 * SEGMENT);
    let store = kept.open();
    store.set_open(id(&store, CRM), true);
    store.set_removed(id(&store, ALERTS), true);
    store.pause(id(&store, DEAD), "410");
    fill(&store, 10 * SEGMENT);
    store.trim();
    let states = |store: &JournalStore| [CRM, ALERTS, DEAD].map(|name| store.state(id(store, name)));
    let before = states(&store);
    assert!(before[0].open_since_ms.is_some() && before[1].removed_since_ms.is_some() && before[2].paused.is_some());
    store.close();
    drop(store);
    let store = kept.open();
    assert_eq!(states(&store), before);
    drop(store);
    kept.remove_index();
    assert_eq!(states(&kept.open()), before);
}

#[test]
fn a_full_store_takes_nothing_in_lets_deliveries_go_on_and_recovers_by_itself() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "one", &[CRM]).expect("taken");
    let full = Retention { bytes_max: Some(1), ..kept.retention.clone() };
    check_refused(&store, || store.retain(full.clone()), || store.retain(kept.retention.clone()));
}

#[test]
fn too_little_free_room_takes_nothing_in_lets_deliveries_go_on_and_recovers_by_itself() {
    let kept = Kept::new(64 * SEGMENT);
    let store = kept.open();
    append(&store, "one", &[CRM]).expect("taken");
    let space = |free| Some(disk::Space { total: 100 << 30, free });
    let set = |free| kept.disk.set_faults(Faults { space: space(free), ..Faults::default() });
    check_refused(&store, || set(1 << 20), || set(50 << 30));
}

#[track_caller]
fn check_refused(store: &JournalStore, fill: impl Fn(), empty: impl Fn()) {
    fill();
    until(|| matches!(*store.health().borrow(), Health::Full(_)));
    assert!(matches!(append(store, "two", &[CRM]), Err(AppendError::Full(_))));
    settle(store, CRM, |attempts| Settlement::Delivered { attempts });
    assert_eq!(store.counts(crm(store)).backlog, 0);
    empty();
    until(|| *store.health().borrow() == Health::Good);
    append(store, "three", &[CRM]).expect("taken again");
}

/// Waits for a condition, half a minute at most.
#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < limit, "it did not come");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_full_disk_of_dead_letters_makes_room_by_dropping_those_that_are_too_many() {
    let mut kept = Kept::new(4 * SEGMENT);
    kept.retention.dead_bytes = SEGMENT;
    let store = kept.open();
    let mut newest = None;
    for number in 0..60 {
        newest = Some(append(&store, &format!("{number} {}", "d".repeat(8 << 10)), &[DEAD]).expect("taken"));
        settle(&store, DEAD, |attempts| Settlement::Dead { attempts, reason: "400".into() });
    }
    store.journal.index.flush();
    // No more room than the floor keeps free: for what may be kept of a segment, and not for all that is dead.
    let used = store.usage().journal_bytes;
    let length = |name: &String| kept.disk.open(name).and_then(|file| file.length()).expect("there");
    let all: u64 = kept.disk.list().expect("lists").iter().map(length).sum();
    kept.disk.set_faults(Faults { capacity: Some(all + 3 * SEGMENT), ..Faults::default() });
    for _ in 0..6 {
        store.trim();
    }
    let usage = store.usage();
    assert!(usage.journal_bytes < used, "{} of {used}", usage.journal_bytes);
    kept.disk.set_faults(Faults::default());
    for _ in 0..6 {
        store.trim();
    }
    let usage = store.usage();
    let dead = store.counts(id(&store, DEAD)).dead;
    assert!(
        usage.dead_bytes.is_some_and(|bytes| bytes <= SEGMENT) && usage.dead_expired > 0 && dead > 0,
        "{usage:?}, {dead} dead"
    );
    assert!(
        store.event(newest.expect("some")).expect("kept").event.event().expect("not erased").body.starts_with(b"59 ")
    );
    append(&store, "after", &[DEAD]).expect("there is room");
}

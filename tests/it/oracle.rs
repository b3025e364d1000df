//! The torture suite's checker, checked: it sees every way in which the promise can be broken, and no breach where there is none.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::harness::*;
use crate::torture::digest::{self, Sent, Silence, Window};
use crate::torture::load::{Load, body_of, type_of};
use crate::torture::oracle::{Breach, Case, Crash, Verdict, Wants, Witness, judge};
use crate::torture::recorder::{Arrived, Copy, hash_of, read_lines};

const SEED: u64 = 7;
const EVENTS: u64 = 3;

/// A copy as it should be: event `number` under its id, taken at a moment.
fn copy(number: u64, at: Instant) -> Copy {
    let hash = hash_of(body_of(SEED, number).as_bytes());
    Copy { id: format!("id-{number}"), number: Some(number), hash, arrived: Arrived::At { at, is_taken: true } }
}

struct Judged {
    wants: Wants,
    copies: Vec<Copy>,
    crashes: Vec<Crash>,
    doubtful: Vec<Range<Instant>>,
    /// What the relay answers when it is asked for an event.
    answer: Act,
}

impl Judged {
    /// Three events that were acknowledged and arrived.
    fn sound() -> Self {
        let copies = (0..EVENTS).map(|number| copy(number, Instant::now())).collect();
        Self { wants: Wants::Every, copies, crashes: Vec::new(), doubtful: Vec::new(), answer: Act::status(404) }
    }

    /// What the checker makes of it, with a change.
    async fn verdict(change: impl FnOnce(&mut Self)) -> Verdict {
        let mut judged = Self::sound();
        change(&mut judged);
        let ids = (0..EVENTS).map(|number| Act::with(200, &[], &format!(r#"{{"id":"id-{number}"}}"#)));
        let hooks = Fake::start(ids).await;
        let load = Load::new(SEED);
        load.post(hooks.address, EVENTS).await;
        let admin = Fake::start(std::iter::repeat_n(judged.answer.clone(), 9)).await;
        let witnesses = vec![Witness { name: "crm", wants: judged.wants, copies: judged.copies.clone() }];
        let Self { crashes, doubtful, .. } = &judged;
        judge(Case { load: &load, witnesses, crashes, doubtful, admin: admin.address }).await
    }

    async fn breaches(change: impl FnOnce(&mut Self)) -> Vec<Breach> {
        Self::verdict(change).await.breaches.into_iter().map(|(breach, _)| breach).collect()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn what_arrived_once_and_unaltered_breaks_nothing() {
    let verdict = Judged::verdict(|_| {}).await;
    assert_eq!((verdict.acknowledged, verdict.arrived, verdict.duplicates), (EVENTS, EVENTS, 0));
    assert_eq!(verdict.breaches, []);
}

#[tokio::test]
async fn what_did_not_arrive_is_lost_unless_the_relay_has_it() {
    let missing = |answer: Act| {
        |judged: &mut Judged| {
            judged.copies.remove(1);
            judged.answer = answer;
        }
    };
    let shown = |name: &str, state: &str| {
        Act::with(200, &[], &format!(r#"{{"deliveries":[{{"destination":"{name}","state":"{state}"}}]}}"#))
    };
    assert_eq!(Judged::breaches(missing(Act::status(404))).await, [Breach::Lost]);
    assert_eq!(Judged::breaches(missing(Act::status(500))).await, [Breach::Lost]);
    for state in ["delivered", "settled"] {
        assert_eq!(
            Judged::breaches(missing(shown("crm", state))).await,
            [Breach::Lost],
            "{state}, and it did not come"
        );
    }
    assert_eq!(Judged::breaches(missing(shown("another", "waiting"))).await, [Breach::Lost]);
    for state in ["waiting", "in_flight", "scheduled", "dead"] {
        let verdict = Judged::verdict(missing(shown("crm", state))).await;
        assert_eq!((verdict.breaches, verdict.waiting + verdict.dead), (Vec::new(), 1), "{state}");
    }
}

#[tokio::test]
async fn what_was_acknowledged_while_the_disk_went_is_counted_apart_and_nothing_else_is() {
    let moment = |moment: Range<Instant>| {
        move |judged: &mut Judged| {
            judged.copies.remove(1);
            judged.doubtful.push(moment);
        }
    };
    let now = Instant::now();
    let verdict = Judged::verdict(moment(now..now + PATIENCE)).await;
    assert_eq!((verdict.breaches, verdict.lost, verdict.lost_in_doubt), (Vec::new(), 0, 1));
    assert_eq!(Judged::breaches(moment(now - seconds(1)..now)).await, [Breach::Lost], "acknowledged later");
}

#[tokio::test]
async fn an_altered_an_invented_and_a_misrouted_copy_are_seen() {
    assert_eq!(Judged::breaches(|judged| judged.copies[0].hash ^= 1).await, [Breach::Altered]);
    assert_eq!(Judged::breaches(|judged| judged.copies[0].number = None).await, [Breach::Altered]);
    let invented = |judged: &mut Judged| judged.copies.push(copy(EVENTS, Instant::now()));
    assert_eq!(Judged::breaches(invented).await, [Breach::Unknown]);
    let types = [type_of(SEED, 0), type_of(SEED, 1), type_of(SEED, 2)];
    let nothing = |judged: &mut Judged| judged.wants = Wants::Types(&["none of them"]);
    assert_eq!(Judged::breaches(nothing).await, [Breach::Misrouted], "{types:?}");
}

#[tokio::test]
async fn an_id_for_two_events_and_an_event_with_two_ids_are_seen() {
    let shared = |judged: &mut Judged| judged.copies[0] = Copy { id: "id-1".to_owned(), ..judged.copies[0].clone() };
    assert!(Judged::breaches(shared).await.contains(&Breach::Ids));
    let second = |judged: &mut Judged| {
        judged.copies.push(Copy { id: "another".to_owned(), ..judged.copies[0].clone() });
    };
    assert_eq!(Judged::breaches(second).await, [Breach::Ids]);
}

/// A second copy of the first event, four seconds after the first one, with a crash some time after that.
fn doubled(crash_after: Option<Duration>, is_taken: bool) -> impl FnOnce(&mut Judged) {
    move |judged| {
        let at = Instant::now();
        judged.copies[0].arrived = Arrived::At { at, is_taken };
        judged.copies.push(copy(0, at + seconds(4)));
        judged.crashes.extend(crash_after.map(|after| Crash { at: at + after, file_bytes: 0 }));
    }
}

#[tokio::test]
async fn a_second_copy_needs_a_crash_within_the_last_second_or_a_refusal() {
    assert_eq!(Judged::breaches(doubled(None, true)).await, [Breach::Doubled]);
    assert_eq!(Judged::breaches(doubled(Some(seconds(2)), true)).await, [Breach::Doubled], "too long after it");
    assert_eq!(Judged::breaches(doubled(Some(seconds(5)), true)).await, [Breach::Doubled], "after the second copy");
    let verdict = Judged::verdict(doubled(Some(seconds(1)), true)).await;
    assert_eq!((verdict.breaches, verdict.duplicates_by_crash), (Vec::new(), vec![1]));
    let verdict = Judged::verdict(doubled(None, false)).await;
    assert_eq!((verdict.breaches, verdict.duplicates), (Vec::new(), 0), "a retry is no duplicate");
}

#[tokio::test]
async fn a_second_line_in_a_file_needs_a_crash_between_the_two() {
    let lines = |crash_at: u64| {
        move |judged: &mut Judged| {
            judged.copies[0].arrived = Arrived::Byte(10);
            judged.copies.push(Copy { arrived: Arrived::Byte(90), ..judged.copies[0].clone() });
            judged.crashes.push(Crash { at: Instant::now(), file_bytes: crash_at });
        }
    };
    assert_eq!(Judged::breaches(lines(50)).await, []);
    assert_eq!(Judged::breaches(lines(100)).await, [Breach::Doubled]);
    assert_eq!(Judged::breaches(lines(10)).await, [Breach::Doubled]);
}

#[test]
fn a_file_is_read_back_line_by_line_and_a_line_cut_off_is_no_delivery() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("archive.ndjson");
    let body = body_of(SEED, 5);
    let line = format!(r#"{{"id":"id-5","received_at":"x","source":"vero","event":{body}}}"#);
    std::fs::write(&path, format!("{}\n{line}\n", &line[..40])).expect("written");
    let copies = read_lines(&path);
    assert_eq!(copies.len(), 1);
    assert_eq!((copies[0].number, copies[0].hash), (Some(5), hash_of(body.as_bytes())));
    assert!(matches!(copies[0].arrived, Arrived::Byte(at) if at == 41));
}

/// Two digests and a message by itself, as they should be.
fn digests() -> Vec<Sent> {
    let sent = |id: &str, numbers: &[u64]| Sent {
        id: id.to_owned(),
        at: Instant::now(),
        count: numbers.len() as u64,
        events: numbers.iter().map(|number| (format!("id-{number}"), *number)).collect(),
    };
    vec![sent("a", &[1, 2]), sent("a", &[1, 2]), sent("id-3", &[3]), sent("b", &[4, 5, 6])]
}

#[test]
fn each_breach_of_what_is_promised_of_digests_is_seen_and_none_where_there_is_none() {
    let breaches = |change: fn(&mut Vec<Sent>)| {
        let mut all = digests();
        change(&mut all);
        digest::breaches(&all, |number| number == 9).into_iter().map(|(breach, _)| breach).collect::<Vec<_>>()
    };
    assert_eq!(breaches(|_| {}), []);
    assert_eq!(breaches(|all| all[3].events[0] = ("id-1".to_owned(), 1)), [digest::Breach::TwoDigests]);
    assert_eq!(breaches(|all| all[1].events[1] = ("id-7".to_owned(), 7)), [digest::Breach::OtherEvents]);
    assert_eq!(breaches(|all| all[3].events[0] = ("id-9".to_owned(), 9)), [digest::Breach::UrgentWaited]);
    assert_eq!(breaches(|all| drop(all[3].events.pop())), [digest::Breach::LeftOut]);
}

#[test]
fn what_comes_amid_a_silence_is_seen_and_what_is_urgent_only_where_nothing_was_to_come() {
    let at = |second: u64, numbers: &[u64], begin: Instant| Sent {
        id: format!("at-{second}"),
        at: begin + seconds(second),
        count: numbers.len() as u64,
        events: numbers.iter().map(|number| (format!("id-{number}"), *number)).collect(),
    };
    let begin = Instant::now();
    let check = |is_for_urgent, sent: Sent, is_seen| {
        let silences = [Silence { during: begin + seconds(10)..begin + seconds(20), is_for_urgent }];
        let all = [at(9, &[1, 2], begin), sent.clone(), at(20, &[3], begin)];
        let seen = digest::disturbances(&silences, &all, |number| number >= 9);
        assert_eq!(
            seen.iter().map(|(breach, _)| *breach).collect::<Vec<_>>(),
            vec![digest::Breach::Silence; is_seen],
            "{sent:?}"
        );
    };
    for is_for_urgent in [true, false] {
        check(is_for_urgent, at(10, &[1], begin), 1);
        check(is_for_urgent, at(19, &[1, 2], begin), 1);
        check(is_for_urgent, at(19, &[1, 9], begin), 1);
        check(is_for_urgent, at(15, &[9], begin), usize::from(is_for_urgent));
        check(is_for_urgent, at(9, &[1], begin), 0);
    }
}

#[test]
fn a_window_that_ends_at_another_time_is_seen_and_one_that_is_over_or_was_shortened_is_not() {
    let window = |group: &str, second: u64| Window {
        group: group.to_owned(),
        ends_at: format!("2026-11-27T00:00:{second:02}.000Z"),
    };
    let check = |after: &[Window], now: u64, is_shortened, expected: usize| {
        let before = [window("sent", 30), window("opened", 40)];
        let moved = digest::moved(&before, after, &window("", now).ends_at, is_shortened);
        assert_eq!(
            moved.iter().map(|(breach, _)| *breach).collect::<Vec<_>>(),
            vec![digest::Breach::EndMoved; expected]
        );
    };
    check(&[window("sent", 30), window("opened", 40)], 20, false, 0);
    check(&[window("opened", 40)], 20, false, 1);
    check(&[window("sent", 31), window("opened", 40)], 20, false, 1);
    check(&[window("sent", 31), window("opened", 41)], 20, true, 2);
    check(&[window("sent", 29), window("opened", 40)], 20, false, 1);
    check(&[window("sent", 29)], 20, true, 0);
    // It was over by then, and this is the next of its group.
    check(&[window("sent", 45), window("opened", 40)], 30, false, 0);
}

//! The sorter, with a real store and a real worker beside it: what happens at the edges.
//!
//! `scene`: the relay. `desk`: who gets what it delivers. `faulty`: a queue that fails as it is told to. `parts`: what a digest is
//! made of.

mod desk;
mod faulty;
mod parts;
mod scene;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::desk::Got;
use self::faulty::Reading;
use self::scene::{Scene, run};
use super::end::{SECOND_ONES_UP_TO, TO_ONE_ADDRESS_MAX, TO_ONE_PLACE_MAX, UNTRIED_MAX};
use super::lacking::{FAILURES_MAX, PANICS_MAX};
use crate::deliver::sorting::windows::GROUPS_MAX;
use crate::destination::{Outcome, Reason};
use crate::store::journal::by_hand::Selection;
use crate::store::journal::format::BulkAct;
use crate::store::{Claim, DIGESTS_MAX, Lane, NameKind, Room, Settled, Settlement, WINDOWS_MAX, WindowHead};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Two of each window go out by themselves.
const DIGEST: &str = "digest: { every: 10m, first: 2, max: 1000 }";
/// None does.
const ALL: &str = "digest: { every: 10m, first: 0, max: 1000 }\nurgent: { urgent: true }";

/// Another section that sorts what it gets in the same way.
const DIGEST_AND_URGENT: &str = "digest: { every: 10m, first: 0, max: 999 }\nurgent: { urgent: true }";

const BOUNCED: &str = r#""type":"bounced""#;
const URGENT: &str = r#""type":"complained","urgent":true"#;

/// It is to be tried again, which says nothing of the destination.
fn later(seconds: u64) -> Outcome {
    let reason = Reason { is_of_one: true, ..Reason::new("not yet") };
    Outcome::Retry { reason, after: Some(Duration::from_secs(seconds)), holds_all: false }
}

fn room() -> Room {
    Room { deliveries: 100, body_bytes: 1 << 20, urgent_only: false }
}

/// What the worker of a scene without one has in its hands.
async fn claim(scene: &Scene, deliveries: usize) -> Vec<Claim> {
    scene.queue().claim(Room { deliveries, ..room() }).await.into_iter().map(|claimed| claimed.claim).collect()
}

fn settle(scene: &Scene, claim: Claim, settlement: Settlement) {
    scene.queue().settle(vec![Settled { claim, settlement, attempt: None }]);
}

#[test]
fn the_first_go_out_by_themselves_and_the_rest_as_one() {
    run(async {
        let mut scene = Scene::new("12:00", DIGEST);
        scene.send_some(5, BOUNCED);
        scene.pass(11 * MINUTE).await;
        let got = scene.got();
        assert_eq!(scene.numbers(), [vec![1], vec![2], vec![3, 4, 5]]);
        assert_eq!((got[2].at, got[2].count, &got[2].groups), (10, 3, &vec!["bounced".to_owned()]));
        assert_eq!(scene.waits(), (0, 0));
    });
}

#[test]
fn two_hundred_groups_that_begin_one_after_the_other_are_as_many_messages_as_show_them() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        for number in 0..10 * GROUPS_MAX {
            scene.send(&format!(r#""type":"t{number}""#));
            tokio::time::sleep(Duration::from_millis(4)).await;
            scene.pass_ms(1).await;
        }
        scene.pass(12 * MINUTE).await;
        assert_eq!((scene.numbers().len(), scene.waits()), (10, (0, 0)));
    });
}

#[test]
fn a_shorter_window_holds_after_a_kill_too() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.send_some(2, BOUNCED);
        scene.pass(MINUTE).await;
        scene.kill_and_start_with("digest: { every: 2m, first: 0, max: 1000 }").await;
        scene.pass(2 * MINUTE).await;
        assert_eq!((scene.numbers(), scene.got()[0].at), (vec![vec![1, 2]], 2));
    });
}

#[test]
fn a_reload_in_quiet_hours_keeps_what_is_urgent_among_retries_and_lets_nothing_else_out() {
    run(async {
        let keys = |max: u64| {
            format!(
                "digest: {{ every: 10m, first: 2, max: {max} }}\nurgent: {{ urgent: true }}\nquiet: {{ from: \"22:00\", to: \"07:00\", timezone: UTC }}"
            )
        };
        let mut scene = Scene::new("21:59", &keys(50));
        // One that is to be tried again in the night, and is not.
        scene.desk.answer([later(120), later(300), later(300)]);
        let ordinary = scene.send(BOUNCED);
        scene.pass(2 * MINUTE).await;
        let urgent = scene.send(URGENT);
        scene.send_some(2, BOUNCED);
        scene.pass(10).await;
        assert_eq!(scene.numbers(), [vec![ordinary], vec![urgent]]);
        for max in [51, 52] {
            scene.reload(&keys(max));
            scene.pass(10).await;
        }
        scene.pass(30 * MINUTE).await;
        let numbers = scene.numbers();
        assert_eq!(
            numbers.iter().filter(|numbers| numbers.contains(&urgent)).count(),
            numbers.len() - 1,
            "{numbers:?}"
        );
        assert!(numbers.len() > 2 && scene.waits() == (3, 0), "{numbers:?}");
        scene.pass(9 * HOUR).await;
        assert_eq!(scene.numbers()[numbers.len()..], [vec![1, 3, 4]], "in the morning, as one");
    });
}

#[test]
fn a_retry_of_what_is_urgent_is_urgent_after_a_restart_and_a_reload_too() {
    for restarts in [false, true] {
        run(async {
            let mut scene = Scene::without_worker("12:00", ALL);
            let urgent = scene.send_some(2, URGENT);
            scene.send(r#""type":"bounced","panics":1"#);
            scene.pass(2).await;
            let claims = claim(&scene, 9).await;
            assert_eq!(claims.len(), 3, "all of them by themselves");
            let due_ms = claims[0].delivery.event.received_ms() + MINUTE * 1000;
            let again = || Settlement::Scheduled { attempts: 1, first_attempt_ms: 1, due_ms, reason: "503".to_owned() };
            for claim in if restarts { &claims[..] } else { &claims[1..] } {
                settle(&scene, *claim, again());
            }
            scene.pass(2).await;
            if restarts {
                scene.kill_and_start_with(DIGEST_AND_URGENT).await;
            } else {
                scene.reload(DIGEST_AND_URGENT);
            }
            scene.pass(2).await;
            if !restarts {
                // Its attempt ends by now.
                settle(&scene, claims[0], again());
            }
            assert!(!scene.queue().has_urgent(), "none is due");
            scene.pass(MINUTE).await;
            assert!(scene.queue().has_urgent(), "restarts: {restarts}");
            let quiet = scene.queue().claim(Room { urgent_only: true, ..room() }).await;
            let sequences =
                quiet.iter().map(|claimed| (claimed.claim.delivery.event.sequence(), claimed.claim.attempts));
            let urgent = urgent.map(|number| (number - 1, 1));
            assert_eq!(sequences.collect::<Vec<_>>(), urgent.collect::<Vec<_>>(), "with the attempts that were made");
            assert_eq!((claim(&scene, 9).await.len(), scene.waits().0), (1, 0), "no window takes the other");
        });
    }
}

#[test]
fn who_begins_in_quiet_hours_tries_what_is_urgent_when_it_was_due_with_its_attempts() {
    for restarts in [false, true] {
        run(async {
            let quiet = "quiet: { from: \"22:00\", to: \"07:00\", timezone: UTC }";
            let mut scene = Scene::without_worker("23:00", &format!("urgent: {{ urgent: true }}\n{quiet}"));
            scene.send(URGENT);
            scene.pass(2).await;
            let claims = claim(&scene, 9).await;
            let due_ms = claims[0].delivery.event.received_ms() + HOUR * 1000;
            let retry = Settlement::Scheduled { attempts: 3, first_attempt_ms: 1, due_ms, reason: "503".to_owned() };
            settle(&scene, claims[0], retry);
            scene.pass(2).await;
            let keys = |max: u64| format!("urgent: {{ urgent: true }}\ndigest: {{ every: 10m, max: {max} }}\n{quiet}");
            for max in [50, 51] {
                if restarts {
                    scene.kill_and_start_with(&keys(max)).await;
                } else {
                    scene.reload(&keys(max));
                }
                scene.pass(5).await;
                assert!(!scene.queue().has_urgent(), "restarts: {restarts}");
            }
            scene.pass(HOUR).await;
            let again = claim(&scene, 9).await;
            assert_eq!(again.iter().map(|claim| claim.attempts).collect::<Vec<_>>(), [3]);
        });
    }
}

#[test]
fn a_digest_at_which_putting_it_together_panics_goes_out_as_one_below_a_bound_and_then_one_by_one() {
    let after_panics = |panics: u32| {
        run(async move {
            let mut scene = Scene::new("12:00", ALL);
            scene.desk.answer([later(30)]);
            scene.send_some(3, BOUNCED);
            scene.pass(10 * MINUTE + 5).await;
            assert_eq!(scene.numbers(), [[1, 2, 3]]);
            *scene.faults.readings.lock().expect("nobody panicked with it") =
                (0..panics).map(|_| Reading::Panics).collect();
            scene.kill().await;
            scene.pass(5 * MINUTE).await;
            assert_eq!(scene.waits(), (0, 0), "nothing waits for another window");
            let got = scene.got();
            let has_same_id = got.last().expect("one").id == got[0].id;
            (scene.numbers()[1..].to_vec(), has_same_id)
        })
    };
    assert_eq!(after_panics(PANICS_MAX - 1), (vec![vec![1, 2, 3]], true));
    assert_eq!(after_panics(PANICS_MAX), (vec![vec![1], vec![2], vec![3]], false));
}

#[test]
fn a_digest_that_cannot_be_put_together_costs_only_itself() {
    for reading in [Reading::Fails, Reading::Panics] {
        run(async move {
            let mut scene = Scene::new("12:00", ALL);
            scene.desk.answer([later(30), later(30)]);
            for at in ["here", "there"] {
                scene.send_some(2, &format!(r#""type":"bounced","at":"{at}""#));
            }
            scene.pass(10 * MINUTE + 5).await;
            let got = scene.got();
            assert_eq!(scene.numbers(), [[1, 2], [3, 4]]);
            let broken = scene.queue().digests()[0].id;
            *scene.faults.broken.lock().expect("nobody panicked with it") = Some((broken, reading));
            scene.kill().await;
            scene.pass(40).await;
            let other = scene.got().into_iter().skip(2).find(|other| other.id == got[1].id);
            assert_eq!(other.map(|other| other.numbers), Some(vec![3, 4]), "as one, while the first is tried again");
            scene.pass(2 * MINUTE).await;
            let mut numbers = scene.numbers()[2..].to_vec();
            numbers.sort();
            assert_eq!((numbers, scene.waits()), (vec![vec![1], vec![2], vec![3, 4]], (0, 0)));
        });
    }
}

#[test]
fn members_that_cannot_be_read_half_way_are_read_again_from_the_start() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.desk.answer([later(30)]);
        let count = 300;
        scene.send_some(count, BOUNCED);
        scene.pass(10 * MINUTE + 5).await;
        let all: Vec<u64> = (1..=count).collect();
        assert_eq!(scene.numbers()[0], all);
        *scene.faults.readings.lock().expect("nobody panicked with it") =
            [Reading::Works, Reading::Fails, Reading::Fails].into();
        scene.kill().await;
        scene.pass(MINUTE).await;
        let got = scene.got();
        assert_eq!((scene.numbers()[1..].to_vec(), got[1].count, &got[1].id), (vec![all], count, &got[0].id));
        assert!(*scene.faults.asked.lock().expect("nobody panicked with it") >= 6);
    });
}

#[test]
fn a_digest_whose_events_cannot_be_read_waits_for_the_disk_a_minute_and_then_holds_up_nothing() {
    let after_failures = |failures: u32| {
        run(async move {
            let mut scene = Scene::new("12:00", ALL);
            scene.desk.answer([later(10)]);
            scene.send_some(2, BOUNCED);
            scene.pass(10 * MINUTE + 5).await;
            *scene.faults.readings.lock().expect("nobody panicked with it") =
                (0..failures).map(|_| Reading::Fails).collect();
            scene.kill().await;
            scene.pass(2 * MINUTE).await;
            assert_eq!(scene.waits(), (0, 0));
            scene.numbers()[1..].to_vec()
        })
    };
    assert_eq!(after_failures(FAILURES_MAX - 1), [[1, 2]]);
    assert_eq!(after_failures(FAILURES_MAX), [[1], [2]]);
}

#[test]
fn twenty_groups_are_twenty_groups_after_a_restart_too() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.desk.answer([later(30)]);
        for number in 0..GROUPS_MAX {
            scene.send_some(2, &format!(r#""type":"t{number}""#));
        }
        scene.pass(10 * MINUTE + 5).await;
        scene.kill().await;
        scene.pass(MINUTE).await;
        let [before, after] = &scene.got()[..] else { panic!("two attempts") };
        assert_eq!((&before.told, &before.id), (&after.told, &after.id));
        assert_eq!(after.groups.len(), GROUPS_MAX);
    });
}

#[test]
fn a_digest_of_what_one_window_took_of_all_others_tells_the_same_after_a_restart() {
    run(async {
        let mut scene = Scene::new("12:00", "digest: { every: 10m, by: [group], first: 0, max: 1000 }");
        scene.desk.answer([later(30)]);
        for number in 0..WINDOWS_MAX as u64 + 30 {
            scene.send(&format!(r#""type":"bounced","group":{number}"#));
        }
        scene.pass(10 * MINUTE + 2).await;
        let before = scene.got()[0].clone();
        assert!(before.count > GROUPS_MAX as u64 && before.groups.contains(&"events".to_owned()), "{before:?}");
        scene.kill().await;
        scene.pass(MINUTE).await;
        let after = scene.got().into_iter().skip(1).find(|got| got.id == before.id).expect("it was tried again");
        assert_eq!((before.told, before.numbers), (after.told, after.numbers));
    });
}

#[test]
fn what_was_looked_at_in_another_order_tells_the_same_after_a_restart() {
    run(async {
        let keys = "digest: { every: 10m, by: [type], breakdown: part, first: 0, max: 1000 }";
        let mut scene = Scene::new("12:00", keys);
        scene.desk.answer([later(30)]);
        let send = |scene: &mut Scene, part: u64| scene.send(&format!(r#"{BOUNCED},"part":"{part}""#));
        for part in 0..300 {
            send(&mut scene, part);
        }
        scene.pass(5).await;
        scene.kill().await;
        // What comes now is looked at in turn with what was there before.
        for part in 0..300 {
            send(&mut scene, 1_000 + part);
        }
        scene.pass(10 * MINUTE).await;
        scene.kill().await;
        scene.pass(MINUTE).await;
        let [before, after] = &scene.got()[..] else { panic!("two attempts: {:?}", scene.numbers()) };
        assert_eq!((before.count, &before.told, &before.id), (600, &after.told, &after.id));
    });
}

/// A digest of these events that is to be tried again when the config changes, and what becomes of it.
async fn changed_meanwhile(restarts: bool, events: &[&str], change: impl Fn(&desk::Desk)) -> (Scene, Got) {
    let mut scene = Scene::new("12:00", ALL);
    scene.desk.answer([later(30)]);
    for fields in events {
        scene.send(fields);
    }
    scene.pass(10 * MINUTE + 5).await;
    let before = scene.got()[0].clone();
    assert_eq!((scene.got().len(), before.count, &before.thread), (1, events.len() as u64, &None));
    change(&scene.desk);
    if restarts {
        scene.kill_and_start_with(DIGEST_AND_URGENT).await;
    } else {
        scene.reload(DIGEST_AND_URGENT);
    }
    scene.pass(5 * MINUTE).await;
    assert_eq!(scene.waits(), (0, 0));
    (scene, before)
}

#[test]
fn a_digest_that_failed_before_there_were_threads_goes_into_no_thread_unless_all_of_it_belongs_there() {
    let [one, two] = ["one", "two"].map(|thread| format!(r#"{BOUNCED},"thread":"{thread}""#));
    for restarts in [false, true] {
        run(async {
            let (mut scene, before) = changed_meanwhile(restarts, &[&one, &one, &two], desk::Desk::begin_threads).await;
            let [_, after] = &scene.got()[..] else { panic!("once more: {:?}", scene.got()) };
            assert_eq!((&after.id, &after.told, &after.numbers), (&before.id, &before.told, &before.numbers));
            assert_eq!(after.thread, None, "restarts: {restarts}");
            scene.send(&one);
            scene.send(&one);
            scene.pass(11 * MINUTE).await;
            assert_eq!(scene.got()[2].thread.as_deref(), Some("one"), "what comes now");
            let (scene, before) = changed_meanwhile(restarts, &[&one, &one], desk::Desk::begin_threads).await;
            let [_, after] = &scene.got()[..] else { panic!("once more: {:?}", scene.got()) };
            assert_eq!((&after.id, after.thread.as_deref()), (&before.id, Some("one")), "restarts: {restarts}");
        });
    }
}

#[test]
fn while_a_digest_is_looked_at_again_by_another_config_what_is_urgent_goes_out() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.desk.answer([later(30)]);
        for thread in ["one", "two"] {
            scene.send(&format!(r#"{BOUNCED},"thread":"{thread}""#));
        }
        scene.pass(10 * MINUTE + 5).await;
        let digest = scene.queue().digests()[0].id;
        *scene.faults.broken.lock().expect("nobody panicked with it") = Some((digest, Reading::Fails));
        scene.desk.begin_threads();
        scene.reload(DIGEST_AND_URGENT);
        scene.pass(5).await;
        let urgent = scene.send(URGENT);
        scene.pass(5).await;
        assert_eq!(scene.numbers()[1..], [[urgent]]);
    });
}

#[test]
fn a_digest_that_failed_before_its_events_went_to_several_addresses_is_no_message_to_one_of_them() {
    let [ann, bob] = ["ann", "bob"].map(|mailbox| format!(r#"{BOUNCED},"mailbox":"{mailbox}""#));
    for restarts in [false, true] {
        run(async {
            // Also where the first of them goes where it went.
            for events in [[&*ann, &*bob, &*ann], [BOUNCED, &*ann, &*ann], [&*ann, BOUNCED, &*ann]] {
                let (scene, _) = changed_meanwhile(restarts, &events, desk::Desk::begin_mailboxes).await;
                assert_eq!(scene.numbers()[1..], [[1], [2], [3]], "restarts: {restarts}");
            }
            let (scene, before) = changed_meanwhile(restarts, &[&ann, &ann], desk::Desk::begin_mailboxes).await;
            let [_, after] = &scene.got()[..] else { panic!("once more: {:?}", scene.got()) };
            assert_eq!((&after.id, &after.told, &after.numbers), (&before.id, &before.told, &before.numbers));
        });
    }
}

#[test]
fn what_was_put_together_by_another_config_is_no_attempt_before_it_is_by_this_one() {
    let [ann, bob] = ["ann", "bob"].map(|mailbox| format!(r#"{BOUNCED},"mailbox":"{mailbox}""#));
    run(async {
        let mut scene = Scene::new("12:00", &format!("{ALL}\nretry: {{ max_attempts: 2 }}"));
        scene.desk.answer([later(30)]);
        for fields in [&ann, &bob] {
            scene.send(fields);
        }
        scene.pass(10 * MINUTE + 5).await;
        let digest = scene.queue().digests()[0].id;
        *scene.faults.broken.lock().expect("nobody panicked with it") = Some((digest, Reading::Fails));
        scene.desk.begin_mailboxes();
        scene.reload(&format!("{DIGEST_AND_URGENT}\nretry: {{ max_attempts: 2 }}"));
        let urgent = scene.send(URGENT);
        // It is due, again and again, and nobody knows where it belongs.
        scene.pass(20).await;
        scene.store().retry_now(scene.id());
        scene.pass(20).await;
        *scene.faults.broken.lock().expect("nobody panicked with it") = None;
        scene.pass(MINUTE).await;
        assert_eq!(scene.numbers(), [vec![1, 2], vec![urgent], vec![1], vec![2]]);
        assert!(scene.store().dead(scene.id()).is_empty());
    });
}

#[test]
fn while_the_other_side_is_down_there_is_always_something_to_probe_with_and_not_a_digest_for_each_window() {
    run(async {
        let keys = format!("{ALL}\nretry: {{ initial: 5h, max: 10h }}");
        let mut scene = Scene::new("00:00", &keys);
        // Five failures open the breaker; a digest that is never taken comes behind them.
        scene.desk.answer((0..5).map(|_| Outcome::retry("503")));
        scene.send_some(5, URGENT);
        scene.send_some(2, r#""type":"bounced","poison":1"#);
        scene.pass(11 * MINUTE).await;
        assert!(
            scene.store().state(scene.id()).open_since_ms.is_some() && scene.numbers().len() == 6,
            "{:?}",
            scene.got()
        );
        scene.send_some(2, BOUNCED);
        scene.pass(15 * MINUTE).await;
        let probes = scene.numbers()[6..].to_vec();
        assert!(probes.len() >= 10 && probes.iter().all(|probe| *probe == [6, 7]), "{probes:?}");
        scene.send_some(1, BOUNCED);
        scene.pass(20 * MINUTE).await;
        assert!(scene.numbers().contains(&vec![8, 9, 10]), "{:?}", scene.got());
        assert!(scene.store().state(scene.id()).open_since_ms.is_none());
    });
}

#[test]
fn probes_that_say_nothing_of_the_other_side_come_a_minute_apart_in_the_end() {
    run(async {
        let keys = format!("{ALL}\nretry: {{ initial: 5h, max: 10h }}");
        let mut scene = Scene::new("00:00", &keys);
        // It is there again, and wants each message later.
        let greylisted = || Outcome::Retry {
            reason: Reason { is_of_one: true, ..Reason::new("450") },
            after: None,
            holds_all: false,
        };
        scene.desk.answer((0..5).map(|_| Outcome::retry("503")).chain((0..1000).map(|_| greylisted())));
        scene.send_some(5, URGENT);
        scene.send_some(2, BOUNCED);
        scene.pass(11 * MINUTE).await;
        scene.send(BOUNCED);
        let before = scene.numbers().len();
        scene.pass(20 * MINUTE).await;
        let probes = scene.numbers().len() - before;
        assert!((15..=24).contains(&probes), "{probes}");
    });
}

#[test]
fn a_digest_for_which_the_other_side_has_asked_for_time_is_no_probe_before_that() {
    run(async {
        let keys = format!("{ALL}\nretry: {{ initial: 5h, max: 10h }}");
        let mut scene = Scene::new("00:00", &keys);
        let asked =
            || Outcome::Retry { reason: Reason::new("503"), after: Some(Duration::from_secs(HOUR)), holds_all: false };
        scene.desk.answer((0..5).map(|_| Outcome::retry("503")).chain([asked()]));
        scene.send_some(5, URGENT);
        scene.send_some(2, BOUNCED);
        scene.pass(11 * MINUTE).await;
        let next = scene.send(BOUNCED);
        let attempts = |scene: &Scene| scene.numbers().iter().filter(|numbers| **numbers == [6, 7]).count();
        scene.pass(15 * MINUTE).await;
        assert_eq!(attempts(&scene), 1);
        assert_eq!(scene.numbers().last(), Some(&vec![next]), "another is the probe");
        // Its own time, and what is added to that by chance.
        scene.pass(8 * HOUR).await;
        assert_eq!(attempts(&scene), 2);
    });
}

#[test]
fn a_digest_that_is_not_taken_for_what_is_in_it_holds_up_no_other() {
    run(async {
        let mut scene = Scene::new("00:00", ALL);
        // It is never taken, and its attempts open the breaker; all else would be.
        scene.send_some(2, r#""type":"bounced","poison":1"#);
        scene.pass(15 * MINUTE).await;
        assert!(scene.store().state(scene.id()).open_since_ms.is_some());
        let first = scene.sent() + 1;
        for _ in 0..120 {
            scene.send(BOUNCED);
            scene.pass(MINUTE).await;
        }
        let numbers = scene.numbers();
        let good: HashSet<u64> = numbers.iter().filter(|numbers| numbers[0] >= first).flatten().copied().collect();
        let lacking: Vec<u64> = (first..first + 100).filter(|number| !good.contains(number)).collect();
        assert!(lacking.is_empty(), "{lacking:?}: {numbers:?}");
    });
}

#[test]
fn digests_for_which_the_other_side_has_asked_for_time_hold_up_no_other() {
    run(async {
        let mut scene = Scene::new("00:00", ALL);
        let asked = |_| {
            let after = Some(Duration::from_secs(5 * HOUR));
            Outcome::Retry { reason: Reason::new("500"), after, holds_all: false }
        };
        scene.desk.answer((0..6).map(asked));
        for _ in 0..120 {
            scene.send(BOUNCED);
            scene.pass(MINUTE).await;
        }
        // Six of them wait for their time; what came behind them has come.
        let numbers = scene.numbers();
        let good: HashSet<u64> = numbers.iter().skip(6).flatten().copied().collect();
        assert!(numbers.len() > 8 && (80..100).all(|number| good.contains(&number)), "{numbers:?}");
    });
}

#[test]
fn in_an_outage_a_group_at_a_time_is_tried_unless_somebody_asks_for_all() {
    for is_asked_for in [false, true] {
        run(async {
            let mut scene = Scene::new("00:00", "digest: { every: 10m, first: 0, by: [type] }");
            scene.desk.show_down(true);
            scene.send_some(2, r#""type":"bounced""#);
            scene.pass(15 * MINUTE).await;
            assert!(scene.store().state(scene.id()).open_since_ms.is_some(), "{:?}", scene.got());
            let tried = scene.numbers().len();
            for kind in ["sent", "opened", "clicked"] {
                scene.send_some(2, &format!(r#""type":"{kind}""#));
            }
            scene.pass(11 * MINUTE).await;
            if is_asked_for {
                scene.end_now();
            }
            scene.pass(25 * MINUTE).await;
            let later: HashSet<Vec<u64>> = scene.numbers().drain(tried..).filter(|numbers| numbers[0] > 2).collect();
            let mut expected = HashSet::from([vec![3, 4]]);
            expected.extend(is_asked_for.then(|| vec![5, 6, 7, 8]));
            assert_eq!(later, expected);
            assert_eq!(scene.store().counts(scene.id()).gathered, if is_asked_for { 0 } else { 4 });
            scene.desk.show_down(false);
            scene.send(BOUNCED);
            scene.pass(3 * MINUTE).await;
            assert_eq!(scene.waits(), (1, 0), "when it is well again, all that is over comes: {:?}", scene.got());
        });
    }
}

/// What was tried in an outage of two hours, by number of the minute, and all that was given up; an event comes each minute. `killed_at`: when
/// the relay is killed and started again.
async fn after_an_outage(keys: &str, killed_at: Option<u64>) -> (Vec<Got>, u64) {
    let mut scene = Scene::new("08:00", keys);
    scene.desk.show_down(true);
    for minute in 0..125 {
        if minute == 120 {
            scene.desk.show_down(false);
        }
        if killed_at == Some(minute) {
            scene.kill_and_start_with(keys).await;
        }
        scene.send(BOUNCED);
        scene.pass(MINUTE).await;
    }
    (scene.got(), scene.store().dead(scene.id()).len())
}

#[test]
fn after_an_outage_the_first_message_comes_as_soon_with_a_digest_as_without() {
    for (keys, killed_at) in [("", None), (ALL, None), (ALL, Some(60)), (ALL, Some(119)), (ALL, Some(120))] {
        run(async {
            let (got, _) = after_an_outage(keys, killed_at).await;
            let first = got.iter().map(|got| got.at).find(|at| *at >= 120);
            assert!(first.is_some_and(|at| at <= 121), "{keys} {killed_at:?}: {first:?}");
            if keys == ALL {
                let waited: HashSet<u64> =
                    got.iter().filter(|got| got.at >= 120).flat_map(|got| got.numbers.clone()).collect();
                assert!(
                    (1..=100).all(|number| waited.contains(&number)),
                    "{killed_at:?}: none waits on because it was the probe: {waited:?}"
                );
            }
            let ids: HashSet<&str> = got.iter().filter(|got| got.at < 120).map(|got| got.id.as_str()).collect();
            assert!(keys.is_empty() || ids.len() <= 5, "a message or two an hour: {ids:?}");
        });
    }
}

#[test]
fn an_outage_uses_up_no_attempts_of_a_digest_where_they_are_counted() {
    run(async {
        let (_, dead) = after_an_outage(&format!("{ALL}\nretry: {{ max_attempts: 12 }}"), None).await;
        assert_eq!(dead, 0);
    });
}

#[test]
fn what_lies_in_the_windows_of_a_destination_that_is_removed_is_backlog() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.send_some(3, BOUNCED);
        scene.pass(5).await;
        assert_eq!(scene.waits(), (3, 0));
        scene.store().set_removed(scene.id(), true);
        assert_eq!(scene.waits(), (0, 3));
        scene.store().set_removed(scene.id(), false);
        assert_eq!(scene.waits(), (3, 0));
    });
}

#[test]
fn a_digest_whose_first_event_is_damaged_goes_out_with_the_others() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.faults.first_is_damaged.store(true, Ordering::Relaxed);
        scene.send_some(3, BOUNCED);
        scene.pass(11 * MINUTE).await;
        assert_eq!((scene.numbers(), scene.waits()), (vec![vec![1, 2, 3]], (0, 0)));
        assert_eq!(scene.store().dead(scene.id()).len(), 0);
    });
}

#[test]
fn an_event_that_cannot_be_judged_goes_out_by_itself_and_holds_up_no_other() {
    run(async {
        let mut scene = Scene::without_worker("12:00", ALL);
        scene.send(BOUNCED);
        let panics = scene.send(r#""type":"bounced","panics":1"#);
        scene.send(BOUNCED);
        scene.pass(5).await;
        let claims = claim(&scene, 100).await;
        assert_eq!(claims.iter().map(|claim| claim.delivery.event.sequence()).collect::<Vec<_>>(), [panics - 1]);
        assert_eq!(scene.waits().0, 2);
    });
}

/// A window ends while the disk takes nothing, and this long later the process is killed.
async fn ended_on_a_full_disk(then: u64, has_room_again: bool) -> Scene {
    let mut scene = Scene::new("12:00", ALL);
    scene.send_some(3, BOUNCED);
    scene.pass(10 * MINUTE - 5).await;
    scene.takes_nothing = true;
    scene.pass(5 + then).await;
    if has_room_again {
        scene.takes_nothing = false;
        scene.pass(2).await;
    }
    let before = scene.numbers().len();
    scene.kill().await;
    scene.pass(20 * MINUTE).await;
    assert_eq!((scene.waits(), before), ((0, 0), usize::from(then > 5)));
    scene
}

#[test]
fn a_full_disk_when_a_window_ends_and_then_a_kill_lose_nothing_and_double_nothing() {
    run(async {
        let scene = ended_on_a_full_disk(3, false).await;
        assert_eq!(scene.numbers(), [[1, 2, 3]], "it waited for the disk, a little");
        let scene = ended_on_a_full_disk(30, true).await;
        assert_eq!(scene.numbers(), [[1, 2, 3]], "it went out all the same, which is known once there is room");
        let scene = ended_on_a_full_disk(30, false).await;
        assert_eq!(scene.numbers(), [[1, 2, 3], [1, 2, 3]], "nobody could know that it had gone out");
    });
}

/// What waits is claimed, and is to be tried again some day. Returns how much it was.
async fn put_off(scene: &Scene) -> usize {
    let claims = claim(scene, 100).await;
    for claim in &claims {
        let retry =
            Settlement::Scheduled { attempts: 1, first_attempt_ms: 1, due_ms: u64::MAX, reason: "503".to_owned() };
        settle(scene, *claim, retry);
    }
    claims.len()
}

/// Two events to each of some addresses, and the end of their windows.
async fn windows_to(scene: &mut Scene, addresses: std::ops::Range<usize>) {
    for at in addresses {
        scene.send_some(2, &format!(r#""type":"bounced","at":"{at}""#));
    }
    // Some are looked at a second later, and each is on the disk before it is tried.
    scene.pass(10 * MINUTE + 20).await;
}

#[test]
fn with_as_many_digests_to_one_place_as_there_may_be_its_window_goes_on_collecting_and_with_one_less_it_ends() {
    run(async {
        let mut scene = Scene::without_worker("12:00", ALL);
        for _ in 0..TO_ONE_PLACE_MAX {
            scene.send_some(2, BOUNCED);
            scene.pass(10 * MINUTE + 5).await;
            assert_eq!(put_off(&scene).await, 1);
        }
        scene.send_some(2, BOUNCED);
        scene.pass(20 * MINUTE).await;
        assert_eq!((scene.waits().0, scene.queue().digests().len()), (2, TO_ONE_PLACE_MAX));
        scene.store().retry_now(scene.id());
        settle(&scene, claim(&scene, 1).await[0], Settlement::Delivered { attempts: 2 });
        scene.pass(5).await;
        assert_eq!((scene.waits().0, scene.queue().digests().len()), (0, TO_ONE_PLACE_MAX));
    });
}

#[test]
fn one_address_has_a_few_digests_and_only_one_where_there_are_many_in_all() {
    run(async {
        let mut scene = Scene::without_worker("12:00", ALL);
        for _ in 0..TO_ONE_ADDRESS_MAX {
            windows_to(&mut scene, 0..1).await;
            assert_eq!(put_off(&scene).await, 1);
        }
        windows_to(&mut scene, 0..1).await;
        assert_eq!((put_off(&scene).await, scene.waits().0), (0, 2), "it has as many as it may");
        let others = SECOND_ONES_UP_TO - TO_ONE_ADDRESS_MAX;
        windows_to(&mut scene, 1..others).await;
        assert_eq!((put_off(&scene).await, scene.waits().0), (others - 1, 2), "and others have theirs");
        windows_to(&mut scene, 1..3).await;
        assert_eq!((put_off(&scene).await, scene.waits().0), (1, 4), "one more, and there are many");
        windows_to(&mut scene, 50..51).await;
        assert_eq!((put_off(&scene).await, scene.waits().0), (1, 4), "who has none has one all the same");
    });
}

#[test]
fn with_as_many_digests_as_there_may_be_in_all_no_window_is_ended_and_with_one_less_it_is() {
    run(async {
        let mut scene = Scene::without_worker("12:00", ALL);
        let mut addresses = 0;
        for some in [UNTRIED_MAX, UNTRIED_MAX, UNTRIED_MAX, DIGESTS_MAX - 3 * UNTRIED_MAX - 1, 1] {
            windows_to(&mut scene, addresses..addresses + some).await;
            assert_eq!((put_off(&scene).await, scene.waits().0), (some, 0));
            addresses += some;
        }
        windows_to(&mut scene, addresses..addresses + 1).await;
        assert_eq!((put_off(&scene).await, scene.waits().0, scene.queue().digests().len()), (0, 2, DIGESTS_MAX));
        scene.store().retry_now(scene.id());
        settle(&scene, claim(&scene, 1).await[0], Settlement::Delivered { attempts: 2 });
        scene.pass(5).await;
        assert_eq!((scene.waits().0, scene.queue().digests().len()), (0, DIGESTS_MAX));
    });
}

#[test]
fn of_digests_that_were_not_tried_there_are_no_more_than_a_few_at_once() {
    run(async {
        let mut scene = Scene::without_worker("12:00", ALL);
        windows_to(&mut scene, 0..UNTRIED_MAX + 1).await;
        assert_eq!((scene.queue().digests().len(), scene.waits().0), (UNTRIED_MAX, 2));
        assert_eq!(put_off(&scene).await, UNTRIED_MAX);
        scene.pass(5).await;
        assert_eq!((scene.queue().digests().len(), scene.waits().0), (UNTRIED_MAX + 1, 0));
    });
}

#[test]
fn many_addresses_that_take_nothing_hold_up_no_other() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        let bad = 0..DIGESTS_MAX / 2;
        bad.clone().for_each(|at| scene.desk.refuse(&at.to_string()));
        for _ in 0..12 {
            windows_to(&mut scene, bad.start..bad.end + 1).await;
            assert!(scene.numbers().iter().any(|numbers| numbers.contains(&scene.sent())), "to the good one");
        }
    });
}

#[test]
fn more_groups_than_windows_all_go_out_once_also_after_a_restart() {
    run(async {
        let keys = "digest: { every: 10m, by: [group], first: 0, max: 1000 }";
        let mut scene = Scene::new("12:00", keys);
        let groups = WINDOWS_MAX as u64 + 30;
        for number in 0..groups {
            scene.send(&format!(r#""type":"bounced","group":{number}"#));
        }
        scene.pass(5).await;
        assert_eq!((scene.queue().windows().open.len(), scene.waits()), (WINDOWS_MAX, (groups, 0)));
        scene.kill().await;
        scene.pass(5).await;
        assert_eq!((scene.queue().windows().open.len(), scene.waits()), (WINDOWS_MAX, (groups, 0)));
        scene.pass(15 * MINUTE).await;
        let mut all: Vec<u64> = scene.numbers().concat();
        all.sort_unstable();
        assert_eq!(all, (1..=groups).collect::<Vec<_>>());
        assert!(scene.got().iter().all(|got| got.at >= 10 && got.count > 1), "none by itself");
    });
}

/// What becomes of what was gathered where the digest is taken out: this happens then, and these keys are left.
async fn without_digest(restarts: bool, keys: &str) -> Scene {
    let mut scene = Scene::new("12:00", "digest: { every: 10m, by: [type], first: 1, max: 1000 }");
    scene.send_some(4, BOUNCED);
    scene.send_some(3, r#""type":"opened""#);
    scene.pass(5).await;
    assert_eq!(scene.numbers(), [[1], [5]]);
    if restarts {
        scene.kill_and_start_with(keys).await;
    } else {
        scene.reload(keys);
    }
    scene.pass(5).await;
    scene
}

#[test]
fn where_the_digest_is_taken_out_what_was_gathered_goes_out_once_more_together_whether_it_runs_or_not() {
    for restarts in [false, true] {
        for keys in ["", "urgent: { urgent: true }"] {
            run(async {
                let mut scene = without_digest(restarts, keys).await;
                let got = scene.got();
                assert_eq!(scene.numbers()[2..], [[2, 3, 4, 6, 7]], "{keys}, restarted: {restarts}");
                assert_eq!(got[2].groups, ["bounced", "opened"]);
                scene.send_some(2, BOUNCED);
                scene.pass(5).await;
                assert_eq!(scene.numbers()[3..], [[8], [9]], "by themselves from here on");
                assert_eq!((scene.waits(), scene.queue().windows().open), ((0, 0), vec![]));
                scene.kill().await;
                scene.pass(5).await;
                assert_eq!(scene.numbers().len(), 5, "nothing again");
            });
        }
    }
}

#[test]
fn what_was_gathered_waits_for_the_end_of_a_pause_though_nothing_is_gathered_any_more() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.send_some(3, BOUNCED);
        scene.pass(5).await;
        scene.store().pause(scene.id(), "by hand");
        scene.pass(1).await;
        scene.kill_and_start_with("urgent: { urgent: true }").await;
        scene.pass(MINUTE).await;
        scene.send(URGENT);
        scene.send(BOUNCED);
        scene.pass(MINUTE).await;
        assert_eq!(scene.numbers(), [[0; 0]; 0]);
        scene.store().resume(scene.id());
        scene.pass(MINUTE).await;
        let numbers = scene.numbers();
        assert_eq!(numbers[0], [4], "what is urgent first");
        assert!(numbers.contains(&vec![5]) && numbers.contains(&vec![1, 2, 3]), "{numbers:?}");
        assert_eq!(scene.waits(), (0, 0));
    });
}

#[test]
fn a_change_of_by_keeps_the_end_that_was_promised_however_often_it_is_made() {
    for restarts in [false, true] {
        run(async {
            let keys = |by: &str| format!("digest: {{ every: 10m, by: [{by}], first: 0, max: 1000 }}");
            let mut scene = Scene::new("12:00", &keys("type"));
            scene.send_some(2, r#""type":"bounced","a":1,"b":2"#);
            scene.pass(2 * MINUTE).await;
            scene.send(r#""type":"opened","a":1,"b":2"#);
            for by in ["a", "b", "a, b"] {
                scene.pass(2 * MINUTE).await;
                if restarts {
                    scene.kill_and_start_with(&keys(by)).await;
                } else {
                    scene.reload(&keys(by));
                }
            }
            scene.pass(MINUTE).await;
            assert_eq!(scene.numbers(), [[0; 0]; 0]);
            scene.send(r#""type":"opened","a":3,"b":2"#);
            scene.pass(2 * MINUTE).await;
            let got = scene.got();
            assert_eq!((scene.numbers(), got[0].at), (vec![vec![1, 2, 3]], 10), "restarts: {restarts}");
            scene.pass(10 * MINUTE).await;
            assert_eq!((scene.numbers()[1..].to_vec(), scene.got()[1].at), (vec![vec![4]], 19));
        });
    }
}

#[test]
fn windows_that_come_over_late_end_when_they_were_to() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        let old = scene.store().name(NameKind::Destination, "old");
        let queue = scene.store().queue(old);
        queue.sort(true);
        for _ in 0..3 {
            scene.send_to(BOUNCED, old);
        }
        scene.pass(1).await;
        let unplaced = queue.unplaced(room()).await;
        let ends_ms = unplaced[0].event.as_ref().expect("it is there").received_ms + MINUTE * 1000;
        // One of another group beside it: it is to be forgotten here as well.
        let keys = [key_of_bounced(&scene), crate::store::GroupKey([9; 16])];
        let heads = keys.map(|key| WindowHead { key, address: 0, opened_ms: ends_ms - 1, ends_ms, passed: 0 });
        let placed = unplaced.iter().map(|unplaced| (unplaced.delivery, Lane::Window(keys[0]))).collect();
        queue.place(heads.to_vec(), placed);
        assert_eq!(scene.store().take_over(old, scene.id()).waiting, 3);
        scene.pass(30).await;
        assert_eq!((scene.waits(), scene.queue().windows().open.len()), ((3, 0), 2));
        scene.pass(35).await;
        assert_eq!((scene.numbers(), scene.queue().windows().open), (vec![vec![1, 2, 3]], vec![]));
    });
}

fn key_of_bounced(scene: &Scene) -> crate::store::GroupKey {
    use crate::deliver::sorting::Verdict;
    use crate::event::RelayFields;
    let relay = RelayFields { source: "vero", received_ms: 0 };
    match scene.sorting().verdict(format!("{{{BOUNCED}}}").as_bytes(), relay, 0) {
        Ok(Verdict::Of(group)) => group.key,
        other => panic!("{other:?}"),
    }
}

#[test]
fn quiet_hours_do_not_count_towards_giving_up() {
    run(async {
        let keys = "digest: { every: 10m, first: 0, max: 1000 }\nretry: { give_up_after: 1h, initial: 10s, max: 10m }\nquiet: { from: \"22:00\", to: \"07:00\", timezone: UTC }";
        let mut scene = Scene::new("21:49", keys);
        scene.desk.answer((0..40).map(|_| later(70)));
        scene.send_some(3, BOUNCED);
        scene.pass(9 * HOUR).await;
        let by_night = scene.numbers().len();
        assert_eq!((by_night, scene.store().dead(scene.id()).len()), (1, 0), "tried at 21:59, and not by night");
        scene.pass(30 * MINUTE).await;
        assert!(
            scene.numbers().len() > 2 && scene.store().dead(scene.id()).is_empty(),
            "tried again, and not given up"
        );
        scene.pass(2 * HOUR).await;
        assert_eq!((scene.store().dead(scene.id()).len(), scene.waits()), (3, (0, 0)), "after an hour that counts");
    });
}

#[test]
fn one_address_that_takes_nothing_holds_up_no_other() {
    run(async {
        let keys = "digest: { every: 10m, first: 0, max: 1000 }\ntimeout: 5m\nconcurrency: 4";
        let mut scene = Scene::new("12:00", keys);
        scene.desk.silence("nowhere");
        for at in ["nowhere", "here", "there"] {
            scene.send_some(2, &format!(r#""type":"bounced","at":"{at}""#));
        }
        scene.pass(10 * MINUTE + 30).await;
        let mut numbers = scene.numbers();
        numbers.sort();
        assert_eq!(numbers, [[1, 2], [3, 4], [5, 6]]);
        // Nor while its digest waits for the next attempt and is all that could be tried.
        scene.pass(20 * MINUTE).await;
        scene.send_some(2, r#""type":"bounced","at":"here""#);
        scene.pass(11 * MINUTE).await;
        assert!(scene.numbers().contains(&vec![7, 8]), "{:?}", scene.got());
    });
}

#[test]
fn a_lease_that_is_lost_in_the_middle_leaves_the_digest_to_the_next_under_its_id() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.desk.silence("here");
        scene.send_some(3, r#""type":"bounced","at":"here""#);
        scene.pass(10 * MINUTE - 1).await;
        scene.lose_lease();
        scene.pass(2).await;
        assert!(scene.numbers().contains(&vec![1, 2, 3]), "in flight");
        scene.lose_lease();
        scene.pass(10).await;
        let got = scene.got();
        let ids: Vec<_> = got.iter().filter(|got| got.numbers == [1, 2, 3]).map(|got| &got.id).collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{got:?}");
    });
}

#[test]
fn what_of_a_digest_was_given_up_meanwhile_is_not_counted_as_delivered() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.desk.answer([later(60)]);
        scene.send_some(4, BOUNCED);
        scene.pass(10 * MINUTE + 5).await;
        let sequences = [1].into_iter().collect();
        let reason = "by hand".to_owned();
        let given_up = Selection { destination: scene.id(), act: BulkAct::DeadLetter, reason, sequences };
        assert_eq!(scene.store().select(given_up).0, 1);
        scene.pass(2 * MINUTE).await;
        let totals = scene.metrics.totals(["chat"]);
        assert_eq!((scene.numbers().len(), totals.destinations["chat"].delivered), (2, 3));
    });
}

#[test]
fn a_digest_of_a_destination_that_takes_each_event_by_itself_by_now_is_taken_apart() {
    run(async {
        let mut scene = Scene::new("12:00", ALL);
        scene.desk.answer([later(60)]);
        scene.send_some(3, BOUNCED);
        scene.pass(10 * MINUTE + 5).await;
        scene.desk.take_one_by_one();
        scene.kill_and_start_with("").await;
        scene.pass(MINUTE).await;
        assert_eq!((scene.numbers()[1..].to_vec(), scene.waits()), (vec![vec![1], vec![2], vec![3]], (0, 0)));
    });
}

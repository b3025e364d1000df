//! The sorter, with a real store and a real worker beside it: what happens at the edges.
//!
//! `scene`: the relay. `desk`: who gets what it delivers. `faulty`: a queue that fails as it is told to.
//! `parts`: what a digest is made of. `outages`, `reloads`, `damaged`, `bounds`: what happens to it where something does.

mod bounds;
mod damaged;
mod desk;
mod faulty;
mod outages;
mod parts;
mod reloads;
mod scene;

use std::time::Duration;

use self::scene::{Scene, run};
use crate::deliver::sorting::windows::GROUPS_MAX;
use crate::destination::{Outcome, Reason};
use crate::store::journal::by_hand::Selection;
use crate::store::queues::BulkAct;
use crate::store::{Claim, Room, Settled, Settlement, WINDOWS_MAX};

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

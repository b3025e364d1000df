//! Another config is in force from then on, or a start is by another one.

use super::desk::{Desk, Got};
use super::faulty::Reading;
use super::scene::{Scene, run};
use super::{ALL, BOUNCED, DIGEST_AND_URGENT, HOUR, MINUTE, URGENT, later, room};
use crate::store::{Lane, NameKind, WindowHead};

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

/// A digest of these events that is to be tried again when the config changes, and what becomes of it.
async fn changed_meanwhile(restarts: bool, events: &[&str], change: impl Fn(&Desk)) -> (Scene, Got) {
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
            let (mut scene, before) = changed_meanwhile(restarts, &[&one, &one, &two], Desk::begin_threads).await;
            let [_, after] = &scene.got()[..] else { panic!("once more: {:?}", scene.got()) };
            assert_eq!((&after.id, &after.told, &after.numbers), (&before.id, &before.told, &before.numbers));
            assert_eq!(after.thread, None, "restarts: {restarts}");
            scene.send(&one);
            scene.send(&one);
            scene.pass(11 * MINUTE).await;
            assert_eq!(scene.got()[2].thread.as_deref(), Some("one"), "what comes now");
            let (scene, before) = changed_meanwhile(restarts, &[&one, &one], Desk::begin_threads).await;
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
                let (scene, _) = changed_meanwhile(restarts, &events, Desk::begin_mailboxes).await;
                assert_eq!(scene.numbers()[1..], [[1], [2], [3]], "restarts: {restarts}");
            }
            let (scene, before) = changed_meanwhile(restarts, &[&ann, &ann], Desk::begin_mailboxes).await;
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

//! What waits cannot be read, judged or written down.

use std::sync::atomic::Ordering;

use super::faulty::Reading;
use super::scene::{Scene, run};
use super::{ALL, BOUNCED, MINUTE, claim, later};
use crate::deliver::sorter::lacking::{FAILURES_MAX, PANICS_MAX};

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

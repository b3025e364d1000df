//! How many digests and windows there may be at once.

use super::scene::{Scene, run};
use super::{ALL, BOUNCED, MINUTE, claim, settle};
use crate::deliver::sorter::end::{SECOND_ONES_UP_TO, TO_ONE_ADDRESS_MAX, TO_ONE_PLACE_MAX, UNTRIED_MAX};
use crate::store::{DIGESTS_MAX, Settlement, WINDOWS_MAX};

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

/// Each window tells of a group of its own.
const GROUPS: &str = "digest: { every: 10m, by: [group], first: 0, max: 1000 }";

/// Two events to each of some addresses, and the end of their windows.
async fn windows_to(scene: &mut Scene, addresses: std::ops::Range<usize>) {
    let group = scene.sent();
    for at in addresses {
        scene.send_some(2, &format!(r#""type":"bounced","at":"{at}","group":{group}"#));
    }
    // Some are looked at a second later, and each is on the disk before it is tried.
    scene.pass(10 * MINUTE + 20).await;
}

#[test]
fn with_as_many_digests_to_one_place_as_there_may_be_its_window_goes_on_collecting_and_with_one_less_it_ends() {
    run(async {
        let mut scene = Scene::without_worker("12:00", GROUPS);
        for group in 0..TO_ONE_PLACE_MAX {
            scene.send_some(2, &format!(r#"{BOUNCED},"group":{group}"#));
            scene.pass(10 * MINUTE + 5).await;
            assert_eq!(put_off(&scene).await, 1);
        }
        scene.send_some(2, &format!(r#"{BOUNCED},"group":"one more""#));
        scene.pass(20 * MINUTE).await;
        assert_eq!((scene.waits().0, scene.queue().digests().len()), (2, TO_ONE_PLACE_MAX));
        scene.store().retry_now(scene.id());
        settle(&scene, claim(&scene, 1).await[0], Settlement::Delivered { attempts: 2 });
        scene.pass(5).await;
        assert_eq!((scene.waits().0, scene.queue().digests().len()), (0, TO_ONE_PLACE_MAX));
    });
}

#[test]
fn with_as_many_digests_to_one_place_as_there_may_be_another_window_ends_half_an_hour_after_the_last() {
    run(async {
        let mut scene = Scene::without_worker("12:00", GROUPS);
        for group in 0..TO_ONE_PLACE_MAX + 3 {
            scene.send_some(2, &format!(r#"{BOUNCED},"group":{group}"#));
            let minutes = if group < TO_ONE_PLACE_MAX { 10 } else { 30 };
            scene.pass(minutes * MINUTE + 20).await;
            assert_eq!((put_off(&scene).await, scene.waits().0), (1, 0), "{group}");
        }
    });
}

#[test]
fn one_address_has_a_few_digests_and_only_one_where_there_are_many_in_all() {
    run(async {
        let mut scene = Scene::without_worker("12:00", GROUPS);
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

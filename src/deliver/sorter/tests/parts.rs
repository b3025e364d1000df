//! What a message of several events is made of.

use super::BOUNCED;
use super::scene::{Scene, run};
use crate::deliver::sorter::together::{Parts, together};
use crate::deliver::sorting::windows::{Arrival, GROUPS_MAX};
use crate::deliver::sorting::{Fold, Group};
use crate::destination::Digest;
use crate::event::EventId;
use crate::store::GroupKey;

/// When a digest is made of which nothing is known.
const MADE_MS: u64 = 7;

/// A relay that has kept some events, and their ids.
async fn kept(count: usize, fields: &str) -> (Scene, Vec<EventId>) {
    kept_each(std::iter::repeat_n(fields, count)).await
}

/// The same with fields for each.
async fn kept_each(events: impl Iterator<Item = impl AsRef<str>>) -> (Scene, Vec<EventId>) {
    let mut scene = Scene::without_worker("12:00", "");
    let mut ids = Vec::new();
    for fields in events {
        let id = scene.append(fields.as_ref(), scene.id());
        scene.pass_ms(100).await;
        ids.push(id.await.expect("it runs").expect("it is kept"));
    }
    (scene, ids)
}

/// A group of this name, and some events of it with what each has in the field that it is broken down by.
fn fold(name: u64, events: &[(EventId, &str)]) -> Fold {
    let values = vec![("type".to_owned(), name.to_string())];
    let mut fold = Fold::default();
    for (event, part) in events {
        let group = Group { key: GroupKey([0; 16]), values: values.clone(), part: Some((*part).to_owned()) };
        let arrival = Arrival { event: *event, received_ms: 100 + event.sequence(), group: &group, address: 0 };
        fold.add(&arrival, &values, group.part.as_deref(), 100);
    }
    fold
}

async fn made(scene: &Scene, folds: Vec<Fold>, examples: usize) -> Digest {
    let count = folds.iter().map(|fold| fold.count).sum();
    let parts = Parts { id: "d".to_owned(), folds, examples, at_ms: MADE_MS, count, page: None, address: Some(0) };
    together(&**scene.store(), scene.id(), parts).await.expect("readable")
}

fn shown(digest: &Digest) -> Vec<u64> {
    digest.events.iter().map(|event| event.event.id.sequence()).collect()
}

#[test]
fn the_largest_group_is_first_and_each_has_its_share_of_the_examples_in_the_order_of_arrival() {
    run(async {
        let (scene, ids) = kept(6, BOUNCED).await;
        let small = fold(1, &[(ids[1], "x"), (ids[3], "x")]);
        let large = fold(2, &[(ids[0], "soft"), (ids[2], "hard"), (ids[4], "hard"), (ids[5], "hard")]);
        let digest = made(&scene, vec![small, large], 4).await;
        assert_eq!((shown(&digest), digest.count, digest.left_out), (vec![0, 1, 3, 5], 6, 2));
        let counts: Vec<(&str, u64)> =
            digest.groups.iter().map(|group| (group.values[0].1.as_str(), group.count)).collect();
        assert_eq!(counts, [("2", 4), ("1", 2)]);
        let parts = [("hard".to_owned(), 3), ("soft".to_owned(), 1)];
        assert_eq!(digest.groups[0].parts, parts, "the most frequent first");
        assert_eq!((digest.since_ms, digest.until_ms), (100, 105));
    });
}

#[test]
fn more_groups_than_one_message_tells_of_are_one_behind_the_others_and_as_many_are_each_itself() {
    run(async {
        let (scene, ids) = kept(1, BOUNCED).await;
        let folds = |count: usize| (0..count as u64).map(|name| fold(name, &[(ids[0], "x")])).collect::<Vec<_>>();
        let digest = made(&scene, folds(GROUPS_MAX), 50).await;
        assert!(digest.groups.len() == GROUPS_MAX && digest.groups.iter().all(|group| !group.values.is_empty()));
        let digest = made(&scene, folds(GROUPS_MAX + 2), 50).await;
        let last = digest.groups.last().expect("some");
        assert_eq!((digest.groups.len(), digest.count), (GROUPS_MAX, GROUPS_MAX as u64 + 2));
        assert_eq!((last.count, last.values.len()), (3, 0), "without a name");
    });
}

#[test]
fn an_event_that_is_gone_is_counted_and_not_shown() {
    run(async {
        let (scene, ids) = kept(2, BOUNCED).await;
        let gone = EventId::mint(1, 0, 999);
        let digest = made(&scene, vec![fold(1, &[(ids[0], "x"), (gone, "x"), (ids[1], "x")])], 50).await;
        assert_eq!((shown(&digest), digest.count, digest.left_out), (vec![0, 1], 3, 1));
        let digest = made(&scene, vec![fold(1, &[(gone, "x")])], 50).await;
        assert_eq!((shown(&digest), digest.count, digest.left_out), (vec![], 1, 1));
        let digest = made(&scene, Vec::new(), 50).await;
        assert_eq!((digest.count, digest.since_ms, digest.until_ms), (0, MADE_MS, MADE_MS));
    });
}

#[test]
fn bodies_that_are_more_than_anybody_reads_are_left_out_from_the_middle() {
    run(async {
        let long = format!(r#"{BOUNCED},"text":"{}""#, "x".repeat(100 << 10));
        let (scene, ids) = kept(3, &long).await;
        let fold = |ids: &[EventId]| vec![fold(1, &ids.iter().map(|id| (*id, "x")).collect::<Vec<_>>())];
        let digest = made(&scene, fold(&ids[..2]), 50).await;
        assert_eq!((shown(&digest), digest.left_out), (vec![0, 1], 0));
        let digest = made(&scene, fold(&ids), 50).await;
        assert_eq!((shown(&digest), digest.left_out), (vec![0, 2], 1));
    });
}

#[test]
fn the_last_of_more_than_the_store_gives_at_once_is_an_example_like_the_first() {
    run(async {
        let bytes = |nth: usize| if (1..10).contains(&nth) { 1 << 20 } else { 1 };
        let events = (0..11).map(|nth| format!(r#"{BOUNCED},"text":"{}""#, "x".repeat(bytes(nth))));
        let (scene, ids) = kept_each(events).await;
        let all = ids.iter().map(|id| (*id, "x")).collect::<Vec<_>>();
        let digest = made(&scene, vec![fold(1, &all)], 50).await;
        assert_eq!((shown(&digest), digest.left_out), (vec![0, 10], 9));
    });
}

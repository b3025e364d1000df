//! The other side is down, takes some of it, or asks for time.

use std::collections::HashSet;
use std::time::Duration;

use super::desk::Got;
use super::scene::{Scene, run};
use super::{ALL, BOUNCED, HOUR, MINUTE, URGENT};
use crate::destination::{Outcome, Reason};

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
            let rest = if is_asked_for { vec![vec![5, 6, 7, 8]] } else { vec![vec![5, 6], vec![7, 8]] };
            assert_eq!(later, [vec![3, 4]].into_iter().chain(rest).collect());
            scene.desk.show_down(false);
            scene.send(BOUNCED);
            scene.pass(3 * MINUTE).await;
            assert_eq!(scene.waits(), (1, 0), "when it is well again, all that is over comes: {:?}", scene.got());
        });
    }
}

#[test]
fn what_is_wrong_with_one_group_makes_no_other_wait_whether_the_other_side_is_down_or_well() {
    for outage in [0, 90] {
        run(async {
            let mut scene = Scene::new("00:00", "digest: { every: 10m, first: 0, by: [type], max: 1000 }");
            let kinds = [r#""type":"bad","poison":1"#, r#""type":"sent""#, r#""type":"opened""#, r#""type":"clicked""#];
            scene.desk.show_down(outage > 0);
            for minute in 0..180 {
                if minute == outage {
                    scene.desk.show_down(false);
                }
                for kind in kinds {
                    scene.send(kind);
                }
                scene.pass(MINUTE).await;
            }
            // The first message may tell of all four, and not be taken for the one.
            let got = scene.got();
            let is_good = |got: &&Got| got.groups.iter().all(|group| group != "bad") && got.at >= outage;
            let good: HashSet<u64> = got.iter().filter(is_good).flat_map(|got| got.numbers.clone()).collect();
            let number_of = |minute: u64, kind: u64| minute * 4 + kind + 1;
            let lacking: Vec<(u64, u64)> = (20..outage.max(160))
                .flat_map(|minute| (1..4).map(move |kind| (minute, kind)))
                .filter(|(minute, kind)| !good.contains(&number_of(*minute, *kind)))
                .collect();
            assert!(lacking.is_empty(), "{outage}: {lacking:?}");
            let mixed = got.iter().filter(|got| got.groups.len() > 1 && got.groups.iter().any(|group| group == "bad"));
            let mixed: HashSet<&str> = mixed.map(|got| got.id.as_str()).collect();
            assert_eq!(mixed.len(), 1, "after that it goes by itself");
            let messages: HashSet<&str> = got.iter().filter(is_good).map(|got| got.id.as_str()).collect();
            assert!(messages.len() as u64 <= (180 - outage) / 10 * 3, "one for each window: {}", messages.len());
        });
    }
}

#[test]
fn after_an_outage_what_is_over_goes_out_together_also_where_some_of_it_was_the_probe() {
    for limits in ["", "\nretry: { max_attempts: 1000 }"] {
        run(async {
            let keys = format!("digest: {{ every: 10m, first: 0, by: [type], max: 1000 }}{limits}");
            let mut scene = Scene::new("00:00", &keys);
            scene.desk.show_down(true);
            for minute in 0..95 {
                if minute == 90 {
                    scene.desk.show_down(false);
                    scene.send(BOUNCED);
                }
                for kind in 0..10 {
                    scene.send(&format!(r#""type":"t{kind}""#));
                }
                scene.pass(MINUTE).await;
            }
            scene.pass(35 * MINUTE).await;
            let after: HashSet<String> =
                scene.got().into_iter().filter(|got| (90..100).contains(&got.at)).map(|got| got.id).collect();
            assert!(after.len() <= 12, "{limits}: {after:?}");
        });
    }
}

#[test]
fn what_was_not_taken_for_a_while_goes_out_together_when_it_is_taken_again() {
    for counted in ["", ", max_attempts: 12"] {
        run(async {
            let retry = format!("retry: {{ initial: 20m, max: 30m{counted} }}");
            let mut scene =
                Scene::new("00:00", &format!("digest: {{ every: 10m, first: 0, by: [type], max: 1000 }}\n{retry}"));
            scene.desk.answer((0..1).map(|_| Outcome::retry("503")));
            for _ in 0..24 {
                for kind in 0..20 {
                    scene.send(&format!(r#""type":"t{kind}""#));
                }
                scene.pass(MINUTE).await;
            }
            let ids: HashSet<String> = scene.got().into_iter().map(|got| got.id).collect();
            assert_eq!(ids.len(), 2, "each of all groups{counted}: {ids:?}");
        });
    }
}

/// Events of some types each minute, and of which numbers those of one were taken.
async fn taken(scene: &mut Scene, minutes: u64, good: &str, all: &[&str]) -> Vec<u64> {
    let mut sent = Vec::new();
    for _ in 0..minutes {
        for kind in all {
            scene.send(kind);
            if *kind == good {
                sent.push(scene.sent());
            }
        }
        scene.pass(MINUTE).await;
    }
    sent
}

/// Those of some numbers that were in nothing that had something else in it that is not taken.
fn lacking(scene: &Scene, sent: &[u64], bad: &HashSet<u64>) -> Vec<u64> {
    let is_good = |numbers: &&Vec<u64>| numbers.iter().all(|number| !bad.contains(number));
    let good: HashSet<u64> = scene.numbers().iter().filter(is_good).flatten().copied().collect();
    sent.iter().filter(|number| !good.contains(number)).copied().collect()
}

#[test]
fn a_group_of_which_several_digests_were_not_taken_goes_out_again_when_what_is_in_it_is_well() {
    run(async {
        let keys = "digest: { every: 10m, first: 0, by: [type], max: 1000 }\nretry: { initial: 20h, max: 20h }";
        let mut scene = Scene::new("00:00", keys);
        let bad =
            taken(&mut scene, 60, r#""type":"mixed","poison":1"#, &[r#""type":"mixed","poison":1"#, BOUNCED]).await;
        let well = taken(&mut scene, 240, r#""type":"mixed""#, &[r#""type":"mixed""#, BOUNCED]).await;
        let bad: HashSet<u64> = bad.into_iter().collect();
        // What came beside the last that was not well waits with that.
        let lacking = lacking(&scene, &well[10..200], &bad);
        assert!(lacking.is_empty(), "{lacking:?}");
    });
}

#[test]
fn several_groups_that_are_not_taken_leave_room_for_one_that_is() {
    for wants_time in [false, true] {
        run(async {
            let keys = "digest: { every: 10m, first: 0, by: [type], max: 1000 }\nretry: { initial: 20h, max: 20h }";
            let mut scene = Scene::new("00:00", keys);
            scene.desk.want_time(wants_time);
            let bad: Vec<String> = (0..6).map(|group| format!(r#""type":"bad{group}","poison":1"#)).collect();
            let mut all: Vec<&str> = bad.iter().map(String::as_str).collect();
            all.push(BOUNCED);
            let sent = taken(&mut scene, 400, BOUNCED, &all).await;
            let good: HashSet<u64> = sent.iter().copied().collect();
            let bad: HashSet<u64> = (1..=scene.sent()).filter(|number| !good.contains(number)).collect();
            // It was with them at first.
            let lacking = lacking(&scene, &sent[20..380], &bad);
            assert!(lacking.is_empty(), "{wants_time}: {lacking:?}");
        });
    }
}

#[test]
fn single_events_that_are_not_taken_for_what_is_in_them_keep_no_window_shut() {
    run(async {
        let mut scene = Scene::new("00:00", "digest: { every: 10m, first: 1, by: [type], max: 1000 }");
        for minute in 0..180 {
            scene.send(&format!(r#""type":"bad{}","poison":1"#, minute % 5));
            scene.send(BOUNCED);
            scene.pass(MINUTE).await;
        }
        let got = scene.got();
        let good: HashSet<u64> = got
            .iter()
            .filter(|got| got.groups.iter().all(|group| group == "bounced"))
            .flat_map(|got| got.numbers.clone())
            .collect();
        let lacking: Vec<u64> = (0..120).map(|minute| minute * 2 + 2).filter(|number| !good.contains(number)).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
    });
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

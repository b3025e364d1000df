//! One thing happens to a cluster that is at rest.

use std::collections::{BTreeMap, BTreeSet};

use super::super::duty::Duty;
use super::super::view::Wants;
use super::database::Without;
use super::relay::Process;
use super::world::World;
use crate::seeds::{each, repeated_by, seeds};
use crate::store::NameId;

/// Long enough for everything to be taken, and for some moves of balance.
const REST_MS: u64 = 200_000;

/// A config with these destinations, some of which share a rate limit.
pub fn config(destinations: &[(u32, Option<&str>)]) -> Wants {
    let group = |(id, group): &(u32, Option<&str>)| (NameId(*id), group.map(str::to_owned));
    Wants { destinations: destinations.iter().map(group).collect(), replays: BTreeSet::new() }
}

/// So many destinations alone.
fn alone(count: u32) -> Wants {
    config(&(1..=count).map(|id| (id, None)).collect::<Vec<_>>())
}

fn destination(id: u32) -> Duty {
    Duty::Destination(NameId(id))
}

/// So many relays with one config, at rest.
fn at_rest(seed: u64, relays: usize, wants: &Wants) -> World {
    let mut world = World::new(seed);
    for _ in 0..relays {
        world.add(wants.clone());
    }
    world.run_for(REST_MS);
    world
}

/// How many duties each relay works on.
fn loads(world: &World, duties: &[Duty]) -> Vec<usize> {
    let count = |by| duties.iter().filter(|duty| world.works_on(by, duty)).count();
    (0..world.relays.len()).map(count).collect()
}

fn story(seed: u64, world: &World) -> String {
    format!("{}\n{}", repeated_by(seed), world.story.join("\n"))
}

fn all(count: u32) -> Vec<Duty> {
    (1..=count).map(destination).collect()
}

/// Runs a scenario by some seeds: they differ in clocks, delays and incarnations.
fn by_seeds(run: impl Fn(u64) + Sync) {
    let seeds = seeds();
    let few = seeds.start..seeds.start + (seeds.end - seeds.start).div_ceil(50);
    assert!(!each(few, run).is_empty());
}

#[test]
fn relays_that_want_the_same_share_it_evenly_and_come_to_rest() {
    by_seeds(|seed| {
        for relays in 1..=4 {
            let world = at_rest(seed, relays, &alone(9));
            let loads = loads(&world, &all(9));
            assert_eq!(loads.iter().sum::<usize>(), 9, "{}", story(seed, &world));
            let (least, most) = (loads.iter().min().expect("one"), loads.iter().max().expect("one"));
            assert!(most - least <= 1, "{loads:?} {}", story(seed, &world));
            assert!(world.now - world.database.changed_at > 60_000, "{}", story(seed, &world));
            assert_eq!((world.doubly_sure.len(), world.doubly_believed), (0, 0), "{}", story(seed, &world));
        }
    });
}

#[test]
fn a_relay_that_joins_gets_its_share_one_at_a_time_and_not_before_all_stand_still() {
    by_seeds(|seed| {
        let mut world = at_rest(seed, 2, &alone(12));
        let before = world.balanced;
        world.most_at_once = 0;
        let third = world.add(alone(12));
        world.run_for(29_000);
        assert_eq!(world.balanced, before, "nothing goes before {}", story(seed, &world));
        assert_eq!(loads(&world, &all(12))[third], 0);
        world.run_for(REST_MS);
        assert_eq!(loads(&world, &all(12)), [4, 4, 4], "{}", story(seed, &world));
        assert_eq!((world.balanced - before, world.most_at_once), (4, 1), "{}", story(seed, &world));
    });
}

#[test]
fn what_a_killed_relay_did_is_done_by_others_within_seven_seconds() {
    by_seeds(|seed| {
        let wants = config(&[(1, None), (2, None), (3, Some("aa")), (4, Some("aa")), (5, None), (6, Some("bb"))]);
        let mut world = at_rest(seed, 3, &wants);
        world.run_for(seed * 97 % 1000);
        let before = all(6).iter().map(|duty| world.owner(duty)).collect::<Vec<_>>();
        world.kill(0);
        world.run_for(7_000);
        for (duty, before) in all(6).iter().zip(before) {
            let now = world.owner(duty);
            assert!(
                now.is_some_and(|owner| owner != 0 && world.works_on(owner, duty)),
                "{duty} {}",
                story(seed, &world)
            );
            assert!(before == Some(0) || before == now, "others kept what they had: {duty}");
        }
        assert!(world.owner(&Duty::Housekeeping).is_some_and(|owner| owner != 0), "{}", story(seed, &world));
        assert_eq!(world.doubly_sure, [""; 0]);
    });
}

#[test]
fn what_a_relay_that_stops_did_is_done_by_others_as_soon_as_nothing_is_in_flight() {
    by_seeds(|seed| {
        let mut world = at_rest(seed, 3, &alone(6));
        world.drain_ms = 100;
        world.relays[1].run.is_stopping = true;
        world.run_for(4_000);
        assert_eq!(world.relays[1].process, Process::Down, "{}", story(seed, &world));
        let loads = loads(&world, &all(6));
        assert_eq!((loads[1], loads.iter().sum::<usize>()), (0, 6), "{}", story(seed, &world));
    });
}

/// How often leases change while the database is away for so long, and afterwards.
fn moved_by_an_outage(seed: u64, away_ms: u64, without: Without) -> u64 {
    let mut world = at_rest(seed, 4, &alone(8));
    world.without = without;
    let before = world.database.changes;
    world.database.is_down = true;
    world.run_for(away_ms);
    world.database.is_down = false;
    // Some find it at once, others look again a while later.
    for relay in 0..world.relays.len() {
        world.relays[relay].cut_off_until = world.now + world.dice.below(1000);
    }
    world.run_for(60_000);
    world.database.changes - before
}

#[test]
fn an_outage_of_the_database_moves_nothing_however_long_it_is() {
    by_seeds(|seed| {
        for away_ms in [300, 2_000, 4_500, 8_000, 60_000] {
            assert_eq!(moved_by_an_outage(seed, away_ms, Without::default()), 0, "{away_ms} {}", repeated_by(seed));
        }
    });
    assert_eq!(moved_by_an_outage(1, 3_600_000, Without::default()), 0, "an hour");
    let control = Without { gaps: true, ..Without::default() };
    let moved: u64 = (0..8).map(|seed| moved_by_an_outage(seed, 60_000, control)).sum();
    assert!(moved > 0, "where time counts in which nothing could be read, the property fails");
}

#[test]
fn what_a_failover_has_set_back_is_taken_anew_and_comes_to_rest() {
    by_seeds(|seed| {
        let mut world = at_rest(seed, 3, &alone(6));
        let standby = world.database.view.clone();
        // One has died since, one has come, and leases have moved.
        world.kill(0);
        let new = world.add(alone(6));
        world.run_for(60_000);
        world.database.is_down = true;
        world.run_for(2_000);
        world.database.view = standby;
        world.database.is_down = false;
        world.run_for(REST_MS);
        assert_eq!(loads(&world, &all(6)).iter().sum::<usize>(), 6, "{}", story(seed, &world));
        assert_eq!(loads(&world, &all(6))[new], 2, "{}", story(seed, &world));
        assert!(world.now - world.database.changed_at > 60_000, "{}", story(seed, &world));
    });
}

/// How often leases change while wall clocks are an hour apart.
fn moved_by_clocks(seed: u64, without: Without) -> u64 {
    let mut world = at_rest(seed, 3, &alone(6));
    world.without = without;
    let before = world.database.changes;
    for (relay, hours) in [-1, 0, 1].into_iter().enumerate() {
        world.relays[relay].wall_offset_ms = hours * 3_600_000;
    }
    world.run_for(60_000);
    world.database.changes - before
}

#[test]
fn clocks_that_are_an_hour_apart_move_nothing() {
    by_seeds(|seed| assert_eq!(moved_by_clocks(seed, Without::default()), 0, "{}", repeated_by(seed)));
    let control = Without { counters: true, ..Without::default() };
    assert!(moved_by_clocks(1, control) > 0, "where wall clocks are compared, the property fails");
}

#[test]
fn a_relay_that_is_stopped_for_eight_seconds_is_sure_of_nothing_when_it_goes_on() {
    by_seeds(|seed| {
        let mut world = at_rest(seed, 3, &alone(6));
        world.relays[0].process = Process::Stopped;
        world.run_for(8_000);
        assert_eq!(loads(&world, &all(6)).iter().skip(1).sum::<usize>(), 6, "{}", story(seed, &world));
        world.relays[0].process = Process::Runs;
        world.run_for(2_000);
        assert_eq!(loads(&world, &all(6))[0], 0, "{}", story(seed, &world));
        assert_eq!(world.doubly_sure, [""; 0], "{}", story(seed, &world));
        assert!(world.doubly_believed > 0, "it believed for a moment what was another's by then");
    });
}

#[test]
fn what_only_one_config_names_goes_to_who_has_it_and_into_custody_when_that_dies() {
    by_seeds(|seed| {
        let mut world = World::new(seed);
        let (old, new) = (world.add(alone(3)), world.add(alone(5)));
        world.run_for(REST_MS);
        for duty in &all(5)[3..] {
            assert!(world.works_on(new, duty), "{duty} {}", story(seed, &world));
        }
        world.kill(new);
        world.run_for(10_000);
        for duty in &all(5)[3..] {
            assert_eq!(world.owner(duty), Some(old), "{duty} {}", story(seed, &world));
            assert!(!world.works_on(old, duty), "only commands are carried out there");
        }
        world.start(new);
        world.run_for(6_000);
        for duty in &all(5)[3..] {
            assert!(world.works_on(new, duty), "{duty} {}", story(seed, &world));
        }
        // The one that has them in custody is told to deliver there itself.
        world.kill(new);
        world.run_for(10_000);
        world.relays[old].wants = alone(5);
        world.run_for(6_000);
        assert_eq!(loads(&world, &all(5))[old], 5, "{}", story(seed, &world));
    });
}

#[test]
fn a_group_stays_together_and_counts_as_one() {
    by_seeds(|seed| {
        let wants = config(&[(1, Some("aa")), (2, Some("aa")), (3, Some("aa")), (4, None)]);
        let world = at_rest(seed, 2, &wants);
        let group = world.owner(&Duty::RateLimitGroup("aa".to_owned()));
        assert!(group.is_some(), "{}", story(seed, &world));
        for duty in &all(3) {
            assert_eq!(world.owner(duty), group, "{}", story(seed, &world));
        }
        assert!(world.owner(&destination(4)).is_some_and(|owner| Some(owner) != group), "{}", story(seed, &world));
    });
}

#[test]
fn two_configs_that_group_differently_never_each_hold_half() {
    by_seeds(|seed| {
        // Each has both groups, crosswise.
        let one = config(&[(1, Some("aa")), (2, Some("bb")), (3, None)]);
        let other = config(&[(1, Some("bb")), (2, Some("aa")), (3, None)]);
        let mut world = World::new(seed);
        world.add(one);
        world.add(other);
        world.run_for(REST_MS);
        let owners: BTreeSet<_> = all(2).iter().map(|duty| world.owner(duty)).collect();
        assert!(owners.len() == 1 && !owners.contains(&None), "{}", story(seed, &world));
        assert_eq!(loads(&world, &all(3)).iter().sum::<usize>(), 3, "{}", story(seed, &world));
        assert_eq!(world.doubly_sure, [""; 0]);
    });
}

#[test]
fn relays_that_each_need_one_rate_limit_for_something_else_have_it_in_turns() {
    by_seeds(|seed| {
        let mut world = World::new(seed);
        for id in 1..=3 {
            world.add(config(&[(id, Some("aa"))]));
        }
        let mut worked = BTreeMap::<usize, u64>::new();
        for _ in 0..600 {
            world.run_for(1_000);
            for (by, duty) in all(3).iter().enumerate().filter(|(by, duty)| world.works_on(*by, duty)) {
                *worked.entry(by).or_default() += u64::from(world.owner(duty) == Some(by));
            }
        }
        assert_eq!(world.doubly_sure, [""; 0]);
        let fair = worked.len() == 3 && worked.values().all(|seconds| *seconds > 120);
        assert!(fair, "{worked:?} {}", story(seed, &world));
    });
}

//! Relays that die, stop, go on, reload and disagree, on a database that is slow and goes away: by seeds.

use super::super::bundles::{Bundle, Cluster};
use super::super::duty::Duty;
use super::super::shares::Shares;
use super::super::view::Wants;
use super::database::Without;
use super::relay::Process;
use super::scenarios::config;
use super::world::World;
use crate::seeds::{each, repeated_by, seeds};

/// How many things happen.
const BLOWS: u64 = 40;
const DESTINATIONS: u32 = 8;
/// Enough for all relays to stand still, and for all moves behind that.
const REST_MS: u64 = 240_000;

/// A config as somebody may have written it: not all destinations, and not the same groups.
fn some_config(world: &mut World) -> Wants {
    let dice = &mut world.dice;
    let mut rows = Vec::new();
    for id in 1..=DESTINATIONS {
        let group = ["aa", "bb"].get(dice.below(6) as usize).copied();
        if !dice.one_in(5) {
            rows.push((id, group));
        }
    }
    let mut wants = config(&rows);
    wants.replays.extend((0..3).filter(|_| dice.one_in(2)));
    wants
}

fn blow(world: &mut World, configs: &[Wants]) {
    let by = world.dice.below(world.relays.len() as u64) as usize;
    let process = world.relays[by].process;
    match (world.dice.below(12), process) {
        (0 | 1, Process::Runs | Process::Stopped) => world.kill(by),
        (0..=3, Process::Down) => world.start(by),
        (2 | 3, Process::Runs) => {
            world.tell(format!("relay {by} is stopped"));
            world.relays[by].process = Process::Stopped;
        }
        (4 | 5, Process::Runs) => {
            let config = world.dice.below(configs.len() as u64) as usize;
            world.tell(format!("relay {by} reloads: {config}"));
            world.relays[by].wants = configs[config].clone();
        }
        (6, Process::Runs) => {
            world.tell(format!("relay {by} is to end"));
            world.relays[by].run.is_stopping = true;
        }
        (7, _) => {
            world.database.is_down = !world.database.is_down;
            world.tell(format!("the database is down: {}", world.database.is_down));
        }
        (8, _) => world.relays[by].cut_off_until = world.now + world.dice.below(12_000),
        (9, _) => world.slow_one_in = 2 + world.dice.below(30),
        (10, _) => world.lost_one_in = 4 + world.dice.below(40),
        _ => {}
    }
    // Who was stopped goes on.
    for by in 0..world.relays.len() {
        if world.relays[by].process == Process::Stopped && world.dice.one_in(3) {
            world.tell(format!("relay {by} goes on"));
            world.relays[by].process = Process::Runs;
        }
    }
}

/// A run of blows.
fn chaos(seed: u64, without: Without) -> World {
    let mut world = World::new(seed);
    world.without = without;
    (world.slow_one_in, world.lost_one_in) = (20, 50);
    let configs: Vec<_> = (0..3).map(|_| some_config(&mut world)).collect();
    for relay in 0..2 + world.dice.below(4) {
        let by = world.add(configs[(relay % 3) as usize].clone());
        world.relays[by].wall_offset_ms = (world.dice.below(3) as i64 - 1) * 3_600_000;
    }
    for _ in 0..BLOWS {
        let pause = [100, 1_000, 4_000, 8_000][world.dice.below(4) as usize];
        let pause = 1 + world.dice.below(pause);
        world.run_for(pause);
        blow(&mut world, &configs);
    }
    world
}

/// Then nothing more happens.
fn rest(world: &mut World) {
    world.tell("now there is rest".to_owned());
    world.database.is_down = false;
    (world.slow_one_in, world.lost_one_in) = (u64::MAX, u64::MAX);
    for by in 0..world.relays.len() {
        match world.relays[by].process {
            Process::Stopped => world.relays[by].process = Process::Runs,
            Process::Down if by == 0 => world.start(by),
            _ => {}
        }
        // One that is to end does.
    }
    world.run_for(REST_MS);
    // The last one may have ended in the meantime.
    if world.relays.iter().all(|relay| relay.process == Process::Down) {
        world.start(0);
        world.run_for(REST_MS);
    }
}

/// What is not as it must be when nothing happens any more.
fn unrest(world: &World) -> Vec<String> {
    let up = world.relays.iter().filter(|relay| relay.process == Process::Runs);
    let alive = up.map(|relay| relay.run.me).collect();
    let view = &world.database.view;
    let me = *std::collections::BTreeSet::first(&alive).expect("one runs");
    let cluster = Cluster { view, alive: &alive, me };
    let bundles = Bundle::all(&cluster);
    let mut wrong = Vec::new();
    for bundle in bundles.iter().filter(|bundle| !bundle.is_contested) {
        for duty in &bundle.duties {
            let owner = world.owner(duty);
            let is_fit = owner.is_some_and(|by| bundle.fit.contains(&world.relays[by].run.me));
            if !is_fit
                || !owner.is_some_and(|by| world.works_on(by, duty))
                || cluster.owner(duty) != bundle.owner(&cluster)
            {
                wrong.push(format!("{duty} is with {owner:?}, fit are {:?}", bundle.fit));
            }
        }
    }
    let shares = Shares::of(&cluster, &bundles);
    if let Some(shift) = shares.next_shift(&cluster, &bundles) {
        wrong.push(format!("uneven: {shift:?}"));
    }
    let is_contested = bundles.iter().any(|bundle| bundle.is_contested);
    if !is_contested && world.now - world.database.changed_at < 20_000 {
        wrong.push("leases still change".to_owned());
    }
    for duty in view.leases.keys().filter(|duty| matches!(duty, Duty::Destination(_) | Duty::Housekeeping)) {
        if !is_contested && world.owner(duty).is_none() {
            wrong.push(format!("{duty} is nobody's"));
        }
    }
    let streams = world
        .relays
        .iter()
        .filter(|relay| relay.process == Process::Runs)
        .filter(|relay| relay.run.held.keys().filter(|duty| matches!(duty, Duty::Stream(_))).count() != 1);
    wrong.extend(streams.map(|relay| format!("{:?} has not one stream", relay.run.me)));
    wrong
}

#[test]
fn whatever_happens_no_two_relays_are_sure_of_one_duty_and_it_comes_to_rest() {
    let seeds = seeds();
    // Each is a tenth of a second of work.
    let seeds = seeds.start..seeds.start + (seeds.end - seeds.start).div_ceil(3);
    let runs = each(seeds, |seed| {
        let mut world = chaos(seed, Without::default());
        rest(&mut world);
        let story = || format!("{}\n{}", repeated_by(seed), world.story.join("\n"));
        assert_eq!(world.doubly_sure, [""; 0], "{}", story());
        assert_eq!(world.without_limit, [""; 0], "{}", story());
        assert_eq!(unrest(&world), [""; 0], "{}", story());
        (world.doubly_believed, world.database.changes)
    });
    let (believed, changes) = runs.iter().fold((0, 0), |(one, two), run| (one + run.0, two + run.1));
    assert!(changes > 20 * runs.len() as u64, "leases moved: {changes}");
    if runs.len() > 20 {
        assert!(believed > 0, "relays were stopped and went on");
    }
}

/// Whether two relays are sure of one duty, in one of some runs.
fn is_seen_to_fail(without: Without) -> bool {
    (0..200).any(|seed| !chaos(seed, without).doubly_sure.is_empty())
}

#[test]
fn without_one_of_its_rules_the_property_fails() {
    let controls = [
        Without { surety: true, ..Without::default() },
        Without { claims_check: true, ..Without::default() },
        Without { epochs: true, ..Without::default() },
        Without { counters: true, ..Without::default() },
    ];
    for without in controls {
        assert!(is_seen_to_fail(without), "{without:?}");
    }
}

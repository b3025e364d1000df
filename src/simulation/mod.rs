//! The heart of the relay in a model world: the real workers, the real store and its real writer, on a disk in memory, by a clock that
//! stands still unless it is moved, against destinations that do what a seed says.
//!
//! # Cast
//!
//! * [`world`]: one run. It sends events, lets time pass, breaks and heals destinations and the disk, pauses, replays, forgets people, takes values
//!   away from what nobody waits for, crashes and restarts the process, all by the dice of its seed.
//! * its process is what a crash ends: the store, the writer, which gets its turns from the world, and the workers.
//! * [`witness`]: the destinations, and what they must never see.
//! * `in_order`: what those of them must never see that go in order.
//! * [`newsletter`]: what people see of a flood, in one world that no dice shape.
//! * [`terms`]: what both go by. [`dice`]: chance that a seed repeats.
//!
//! A run that fails gives its seed and its story; [`seeds`](crate::seeds) says how to repeat it, and how to look further.

mod dice;
mod in_order;
mod newsletter;
mod terms;
mod witness;
mod world;

use self::world::{Told, World};
use crate::seeds::{each, repeated_by, seeds};
use crate::store::journal::Untold;

fn run(seed: u64, lies: bool, untold: &Untold) -> Result<Told, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    // The world is made inside, where the clock stands still.
    runtime.expect("a runtime").block_on(async { World::new(seed, lies, untold.clone()).run().await })
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost_and_every_promise_is_kept() {
    let seeds = seeds();
    let told = each(seeds.clone(), |seed| {
        run(seed, false, &Untold::default()).unwrap_or_else(|error| panic!("{}: {error}", repeated_by(seed)))
    });
    let sum = |of: fn(&Told) -> usize| told.iter().map(of).sum::<usize>();
    let runs = (seeds.end - seeds.start) as usize;
    let acknowledged = sum(|told| told.acknowledged);
    let twice = sum(|told| told.twice);
    let dead = sum(|told| told.dead);
    let [forgotten, redacted] = [sum(|told| told.forgotten), sum(|told| told.redacted)];
    let [digests, gathered, by_night] =
        [sum(|told| told.digests), sum(|told| told.gathered), sum(|told| told.by_night)];
    let [in_order, together, apart] = [sum(|told| told.in_order), sum(|told| told.together), sum(|told| told.apart)];
    println!(
        "{runs} runs: {acknowledged} acknowledged, {forgotten} forgotten, {redacted} redacted, {twice} came twice, {dead} dead, {} crashes; {digests} digests of {gathered}, {by_night} urgent by night, {in_order} in order before others, {together} requests of several, {apart} refused together",
        sum(|told| told.crashes)
    );
    // That the runs go where they should.
    assert!(
        runs < 100
            || (acknowledged > runs * 10
                && twice > runs / 10
                && dead > runs / 4
                && forgotten > runs
                && redacted > runs
                && sum(|told| told.crashes) > runs
                && digests > runs / 2
                && gathered > digests * 3
                && by_night > runs / 20
                && in_order > runs
                && together > runs
                && apart > runs / 5)
    );
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let untold = Untold::default();
    let found = (0..60).filter(|seed| run(*seed, true, &untold).is_err()).count();
    assert!(found > 10, "of 60 runs on a disk that syncs nothing, only {found} were seen to lose something");
}

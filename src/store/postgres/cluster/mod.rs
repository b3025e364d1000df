//! Who does what among many relays that share a store. Pure: what was read and the time come in, what to do comes out.
//!
//! # Cast
//!
//! In the order of a heartbeat, which each relay makes once a second:
//!
//! * `duty`: what one relay does at a time, by its text in the table `lease`. `view`: what a heartbeat has read, in one snapshot.
//! * `alive`: who lives, by counters that are seen to move. `surety`: until when a relay is sure of itself.
//! * `bundles`: what goes to one relay together. `shares`: who gets what. `calm`: since when things have stood still.
//! * `plan`: what the relay does next: leases to take, to give back, to forget. Its documentation tells what is promised.
//! * `planner`: all of these as one, with what a relay remembers from one heartbeat to the next.
//!
//! Then `house`: what there is to do for who keeps house. And `numbers`: the floor under the numbers of events, which time raises.

mod alive;
mod bundles;
mod calm;
mod duty;
mod house;
pub mod numbers;
mod plan;
mod planner;
mod shares;
mod surety;
#[cfg(test)]
mod tests;
mod view;

pub use self::alive::{HEARTBEAT, TTL};
pub use self::duty::{Duty, Group, SLOTS_MAX, Slot, UnknownDuty};
pub use self::house::{DeadStream, House};
pub use self::plan::{Claim, Held, Holding, Move, RELAYS_MAX, Use, Why};
pub use self::planner::Planner;
pub use self::surety::{SURE, Surety};
pub use self::view::{Incarnation, LeaseRow, RelayRow, StreamRow, View, Wants};

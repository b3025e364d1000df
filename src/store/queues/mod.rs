//! What waits, in memory: the queues of all destinations with what is known of them, whatever backend has them on something durable.
//!
//! # Cast
//!
//! * [`queue`]: what waits for one destination, as a bit an event in a [`bitmap`]; a backlog of ten million takes 1.25 MB. [`members`]: what
//!   lies in one of its windows. Pure.
//! * [`memory`]: all of them, with the newest outcomes ([`recent`]), what attempts leave behind for those that follow ([`remembered`]), and
//!   who waits for a word ([`destination`]).
//! * [`backing`]: what a backend gives: events by their numbers, and a place where changes are told in their order. With it, how
//!   deliveries are settled, selected and dropped; [`moving`]: how all of a queue goes over to another.
//! * [`claims`], [`lanes`]: a destination's queue as its worker and its sorter have it ([`OwnQueue`]).
//! * What is told: [`acts`] on a destination or on many of its deliveries, [`outcomes`] of deliveries and digests, with their [`texts`].
//! * [`known`]: commands that were done, and that each is done once.
//!
//! # Order
//!
//! Whatever changes a queue is told to its backend while the queue is still locked, so the backend has everything in the order in
//! which it took effect, and applying it in that order leads to the same state.
//!
//! # Numbers
//!
//! An event has a number below 2^62, greater than those of all events that were acknowledged before it came. A queue knows events by that
//! alone. The denser the numbers, the less memory a backlog takes.

mod acts;
mod backing;
mod bitmap;
mod claims;
mod destination;
mod known;
mod lanes;
mod members;
mod memory;
mod moving;
mod outcomes;
mod queue;
mod recent;
mod remembered;
mod texts;

pub use self::acts::{Act, BulkAct, CommandRecord, Control, RENAMED, SelectionRecord, Urgency, going};
pub use self::backing::{Backing, By, Done, Read, SELECTED_REMEMBERED, Told, take_within, to_go_out};
pub use self::bitmap::{Bitmap, CHUNK, LIST_BELOW};
pub use self::claims::OwnQueue;
pub use self::destination::Destination;
pub use self::known::{CommandAct, CommandIds, CommandKind, Commands, KnownCommand, Taken};
pub use self::memory::Memory;
pub use self::moving::{Going, Moving};
pub use self::outcomes::{
    DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState, WindowsRecord, state_after, state_by, state_of,
    states_of,
};
pub use self::queue::{Claim, Closed, Ended, News, Oldest, Placed, Queue, SCHEDULED_MAX, Scheduled, Snapshot};
pub use self::recent::RecentOutcomes;
pub use self::remembered::{Remembered, RememberedRow};
pub use self::texts::{Change, TEXT_MAX, cut};

//! From the store to the destinations, and what became of it back to the store.
//!
//! # Cast
//!
//! * [`worker`]: one task a destination. It claims, paces, attempts, decides and settles. A destination that hangs, lags or fails
//!   holds up nobody else: no worker, no queue and no lock is shared with another, and bodies in memory are shared out.
//! * [`mod@decide`]: what follows from an attempt, as a pure function.
//! * [`backoff`]: how long to wait. Alone names the `backoff` crate.
//! * [`pace`]: how fast.

mod backoff;
mod bodies;
mod decide;
mod pace;
mod worker;

pub use self::backoff::JITTER;
pub use self::bodies::{ALL_BYTES_MAX, Bodies};
pub use self::decide::{Next, Policy, decide};
pub use self::pace::Pace;
pub use self::worker::{Worker, WorkerParts};

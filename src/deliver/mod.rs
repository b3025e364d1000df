//! From the store to the destinations, and what became of it back to the store.
//!
//! # Cast
//!
//! * [`worker`]: one task a destination. It claims, attempts, decides and settles. A destination that hangs, lags or fails
//!   holds up nobody else: no worker, no queue and no lock is shared with another, and bodies in memory are shared out.
//! * [`collecting`]: how long a worker waits for several to go out in one request. [`apart`]: those that were refused together.
//! * [`mod@decide`]: what follows from an attempt, as a pure function.
//! * [`backoff`]: how long to wait. Alone names the `backoff` crate.
//! * [`section`]: what a config says of one destination, proved.
//! * [`rate_limit`]: how fast. [`breaker`]: whether at all. [`status`]: what a worker shows of itself.
//! * [`sorting`]: what goes out together, what goes first, and when nothing goes out. `sorter`: the task that sees to it, beside a worker.
//! * [`bodies`]: how many bytes of bodies may be in flight at once.
//! * [`recalled`]: attempts that go by what the ones before have left behind.
//! * [`in_hand`]: claims that are handed back whatever becomes of who holds them.
//! * [`troubles`]: what the log says of a destination.
//! * [`limits`]: what waits too long, takes too much room, or waits for a destination that is gone.

mod apart;
mod backoff;
mod bodies;
mod breaker;
mod collecting;
mod decide;
mod in_hand;
mod limits;
mod rate_limit;
mod recalled;
mod section;
mod sorter;
pub mod sorting;
mod status;
mod troubles;
mod worker;

pub use self::backoff::JITTER;
#[cfg(test)]
pub(crate) use self::backoff::{MIXED_STEP, mixed};
pub use self::bodies::{ALL_BYTES_MAX, Bodies};
pub use self::breaker::RETRIES_IN_A_ROW;
pub use self::decide::{Next, Policy, decide};
pub use self::limits::{BacklogLimits, Limited, Limiter};
pub use self::rate_limit::{KeptTurn, RateLimit, Turn};
pub use self::section::{DestinationConfig, Section};
pub use self::sorter::{Parts, Sorter, together};
pub use self::status::{Shown, Status};
pub use self::troubles::LOOK_EVERY;
pub use self::worker::{HOLD_MAX, Worker, WorkerParts};

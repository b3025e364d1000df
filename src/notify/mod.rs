//! Who is told of trouble, when, and in which words. Pure: what is seen and what time it is come in as values, and what is to be told comes out.
//! Who looks, sends and remembers is `daemon/notify.rs`.
//!
//! # Promises
//!
//! * One message when a problem begins, one when it is over, and one now and then while it lasts ([`Terms`]). What happens at once is one message.
//! * Nobody is told of a destination by way of it ([`choice`]).
//! * [`State`] is kept from one process to the next as a text. One that ends at any moment repeats no message but the one that was being told,
//!   and that one under the same id.
//!
//! # Cast
//!
//! * [`observed`], [`Observed`]: what is seen at one moment. [`ledger`], [`Ledger`]: what must be known of the moments before; together they make
//!   [`Look`]s.
//! * [`problem`], [`Kind`], [`Key`]: what can be wrong, of what.
//! * [`state`], [`State`]: what is wrong since when, and who was told. [`Item`]: one thing that is to be told.
//! * [`choice`], [`Candidate`], [`Stand`], [`Round`]: whom to tell of what.
//! * [`words`]: what people read.

mod choice;
mod ledger;
mod observed;
mod problem;
mod state;
mod words;

pub use self::choice::{Candidate, Round, Stand, is_for};
pub use self::ledger::{Bounds, CERTIFICATE_ENDS_WITHIN, LASTING, Ledger};
pub use self::observed::{
    Certificate, Dead, Failing, Observed, ObservedDestination, ObservedSource, Paused, Removed, Unplaced,
};
pub use self::problem::{Key, Kind, Look};
pub use self::state::{
    AGAIN_FIRST, AGAIN_LAST, APART, GATHER, ITEMS_MAX, Item, PROBLEMS_MAX, Problem, STEADY, Said, State, Telling, Terms,
};
pub use self::words::{Page, notice, shown_now, test_notice};

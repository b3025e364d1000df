//! What an attempt leaves behind for those that follow: where the first message of several is, so that the others can go there.
//!
//! It is a short text under a key, a [`Memo`]. Where it is kept is none of a destination's business, and it may be lost at any time: then
//! things begin anew.

use futures_util::future::BoxFuture;

use super::{Delivery, Outcome};

/// What is known under a key before an attempt, and what is to be known after it. Nothing: it begins anew.
pub type Memo = Option<String>;

/// A destination that goes by what its attempts before have left behind. It makes them one after the other.
pub trait Memory: Send + Sync {
    /// What a delivery has in common with those it belongs to; `None` where it stands by itself, which what is urgent may do. At most 64 bytes, of which nothing of the
    /// event can be read.
    fn key(&self, delivery: &Delivery, is_urgent: bool) -> Option<String>;

    /// Makes one attempt, and says what it came to. What it leaves behind counts whatever it came to, also where the future is dropped at
    /// its timeout.
    fn attempt<'a>(&'a self, delivery: &'a Delivery, memo: &'a mut Memo) -> BoxFuture<'a, Outcome>;
}

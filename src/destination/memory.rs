//! What an attempt leaves behind for those that follow: where the first message of several is, so that the others can go there.
//!
//! It is a short text under a key, a [`Memo`]. Where it is kept is none of a destination's business, and it may be lost at any time: then
//! things begin anew.

use futures_util::future::BoxFuture;

use super::{Delivery, Destination, Outcome, Preview, Unsent};

/// What is known under a key before an attempt, and what is to be known after it. Nothing: it begins anew.
pub type Memo = Option<String>;

/// A destination that goes by what its attempts before have left behind. It makes them one after the other.
pub trait Memory: Send + Sync {
    /// What a delivery has in common with those it belongs to; `None` where it stands by itself. At most 64 bytes, of which nothing of the event can be
    /// read. What is urgent stands by itself, and is asked nothing.
    fn key(&self, delivery: &Delivery) -> Option<String>;

    /// Where it goes with those, for people.
    fn place(&self, delivery: &Delivery) -> Option<Place>;

    /// Makes one attempt, and says what it came to. What it leaves behind counts whatever it came to, also where the future is dropped at
    /// its timeout.
    fn attempt<'a>(&'a self, delivery: &'a Delivery, memo: &'a mut Memo) -> BoxFuture<'a, Outcome>;
}

/// Where a delivery goes with those it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is called, for machines.
    pub kind: &'static str,
    /// Which one, fit to be shown.
    pub name: String,
    /// The same as the end of a sentence.
    pub sentence: String,
}

/// What tells the place where a delivery goes from others, as far as that depends on its event: its address, and what it belongs to there. Only
/// what goes to one place is gathered to one message. To be compared, not shown.
pub fn place_of(destination: &dyn Destination, delivery: &Delivery) -> Option<String> {
    let key = destination.memory().and_then(|memory| memory.key(delivery));
    match (destination.address_of(delivery), key) {
        (address, None) => address,
        (address, Some(key)) => Some(format!("{} {key}", address.unwrap_or_default())),
    }
}

/// What an attempt made now would send, and where that goes.
pub fn preview(destination: &dyn Destination, delivery: &Delivery, is_urgent: bool) -> Result<Preview, Unsent> {
    let mut preview = destination.preview(delivery)?;
    let memory = destination.memory().filter(|_| !is_urgent);
    if let Some(Place { kind, name, sentence }) = memory.and_then(|memory| memory.place(delivery)) {
        preview.title.push_str(&format!(", {sentence}"));
        preview.facts.push((kind, name));
    }
    Ok(preview)
}

//! Why nothing is sent for a delivery. The other side was not asked, so it says nothing of the destination.

use super::Outcome;
use super::client::Masks;

/// Why nothing can be sent for a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is nothing to send, and that is right so: the message is empty.
    Skipped(String),
    /// It cannot be made: a template fails, or a value has no place in a URL. The delivery becomes a dead letter.
    Failed(String),
}

impl Unsent {
    /// The same without what must not be shown: what does not render may quote a part of its template.
    pub(super) fn masked(self, masks: &Masks) -> Self {
        match self {
            Unsent::Skipped(why) => Unsent::Skipped(masks.apply(why)),
            Unsent::Failed(why) => Unsent::Failed(masks.apply(why)),
        }
    }
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unsent::Skipped(why) => write!(f, "skipped: {why}"),
            Unsent::Failed(why) => f.write_str(why),
        }
    }
}

impl From<String> for Unsent {
    fn from(why: String) -> Self {
        Unsent::Failed(why)
    }
}

impl From<Unsent> for Outcome {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Skipped(why) => Outcome::skipped(why),
            Unsent::Failed(why) => Outcome::local(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reason_quotes_stays_out_of_the_log() {
        let outcome = Outcome::from(Unsent::Failed("`bob@example.com` is no moment: `date` takes seconds".to_owned()));
        let reason = outcome.reason().expect("a reason");
        assert_eq!(reason.brief, "`…` is no moment: `…` takes seconds");
        assert_eq!(reason.text, "`bob@example.com` is no moment: `date` takes seconds");
    }
}

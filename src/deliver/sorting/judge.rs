//! What one delivery is, as its sorter sees it: whatever is wrong with it, it has its place.

use std::panic::AssertUnwindSafe;

use super::{Sorting, Verdict, address_of};
use crate::destination::{Delivery, Destination};
use crate::event::{Refused, RelayFields};

/// What a delivery is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// Where it goes, where that depends on its event; else 0.
    pub address: u64,
}

impl Sorting {
    /// What a delivery is. One that cannot be read, or at which this panics, goes out by itself: who attempts it finds out what is wrong.
    pub fn judge(&self, destination: &dyn Destination, delivery: &Delivery) -> Judged {
        let look = || -> Result<Judged, Refused> {
            let address = address_of(destination, delivery);
            let relay = RelayFields { source: &delivery.source, received_ms: delivery.event.received_ms };
            let verdict = self.verdict(&delivery.event.body, relay, address)?;
            Ok(Judged { verdict, address })
        };
        let judged = std::panic::catch_unwind(AssertUnwindSafe(look)).ok().and_then(Result::ok);
        judged.unwrap_or(Judged { verdict: Verdict::Single, address: 0 })
    }
}

//! The right to do something alone: what one process does at a time, among all that share a store.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{NameId, Queue};

/// What one process does at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Delivering to some destinations.
    Deliver {
        /// Which. Those that share a rate limit are leased together, so that it holds.
        destinations: Vec<NameId>,
        /// By what they share it: a digest, since what lies behind it may be a secret. `None` where one has its own.
        rate_limit_group: Option<String>,
    },
    /// Working on a replay, by its id.
    Replay(u128),
}

impl Duty {
    /// Delivering to one destination, which shares its rate limit with none.
    pub fn deliver_to(destination: NameId) -> Self {
        Self::Deliver { destinations: vec![destination], rate_limit_group: None }
    }
}

/// The right to do a duty. It ends when it is lost, or when this and its queues are dropped.
pub struct Lease {
    /// The queues of the destinations to deliver to, in the order of the duty; none for a replay, whose lease is this alone.
    pub queues: Vec<Arc<dyn Queue>>,
    /// Cancelled when the right is lost. From then on nothing is claimed by these queues and what is said to them changes nothing; what
    /// they had claimed is whoever's who has the right next.
    pub lost: CancellationToken,
}

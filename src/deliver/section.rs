//! What a config says of one destination, as its worker goes by it.

use std::sync::Arc;

use super::decide::Policy;
use super::limits::BacklogLimits;
use super::rate_limit::RateLimit;
use super::sorting::Sorting;
use crate::destination::Destination;
use crate::telemetry::DestinationMetrics;

/// A destination that has been proved.
#[derive(Clone)]
pub struct DestinationConfig {
    pub name: String,
    pub kind: &'static str,
    /// How fast, how often, how long.
    pub policy: Policy,
    pub backlog: BacklogLimits,
    /// What goes out together, what is urgent, what goes one after the other, and when it is quiet; `None`: each delivery by itself, as it comes.
    pub sorting: Option<Arc<Sorting>>,
    /// A name that it had before, whose queue it takes over.
    pub renamed_from: Option<String>,
    /// Tells whether another's section says the same, whatever the files hold that it names.
    pub said: String,
    /// Tells whether its section, or a file that it names, has changed since the last start.
    pub fingerprint: String,
    /// Whether what it sends may be shown to whoever does not know what stands behind each `${…}`.
    pub shows_content: bool,
    /// What makes the attempts.
    pub destination: Arc<dyn Destination>,
}

impl DestinationConfig {
    /// Whether several of its deliveries can go out as one message.
    pub fn can_gather(&self) -> bool {
        self.destination.digests() && !self.sorting.as_ref().is_some_and(|sorting| sorting.is_in_order())
    }
}

/// What a config says of one destination. An attempt takes one and keeps it.
pub struct Section {
    pub config: DestinationConfig,
    /// Its rate limit, perhaps shared with others.
    pub rate_limit: Arc<RateLimit>,
    pub metrics: DestinationMetrics,
    /// Where the operator's page shows it, if the config says so.
    pub page: Option<String>,
}

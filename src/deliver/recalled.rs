//! Attempts of a destination that goes by what the ones before have left behind.

use std::sync::Arc;
use std::time::Duration;

use crate::destination::{Delivery, Memo, Memory, Outcomes};
use crate::store::Queue;

/// For so long what an attempt has left behind is waited for to be on the disk, before the delivery is settled: after a crash it is known whatever is
/// done. On a disk that is full it goes on without.
const KEPT_WITHIN: Duration = Duration::from_secs(1);

/// What attempts leave behind.
#[derive(Debug, Default)]
pub struct Recalled(Vec<(String, [Memo; 2])>);

/// Makes an attempt at each of some deliveries. What they leave behind is in `recalled` also where this is dropped.
pub async fn attempt(
    memory: &dyn Memory,
    queue: &dyn Queue,
    deliveries: &[Delivery],
    is_urgent: impl Fn(&Delivery) -> bool,
    recalled: &mut Recalled,
) -> Outcomes {
    let mut outcomes = Outcomes::with_capacity(deliveries.len());
    for delivery in deliveries {
        let mut of_none = None;
        // What is urgent is to be seen by all: below others it would be by who follows them.
        let key = if is_urgent(delivery) { None } else { memory.key(delivery) };
        let memo = match key {
            Some(key) => {
                let known = queue.recall(&key);
                recalled.0.push((key, [known.clone(), known]));
                recalled.0.last_mut().map_or(&mut of_none, |(_, [_, memo])| memo)
            }
            None => &mut of_none,
        };
        outcomes.push(memory.attempt(delivery, memo).await);
    }
    outcomes
}

impl Recalled {
    /// Writes down what has changed.
    pub async fn keep(self, queue: &Arc<dyn Queue>) {
        for (key, [before, memo]) in self.0 {
            if memo != before {
                // What is not written now is written later, and lost at worst.
                let _ = tokio::time::timeout(KEPT_WITHIN, queue.remember(&key, memo)).await;
            }
        }
    }
}

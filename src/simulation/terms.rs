//! What the world does and its witness expects.

use std::time::Duration;

use crate::deliver::Policy;

/// The writer's turns are no further apart than this while the world waits for long.
pub(super) const TURN_OF_LONG_WAITS: Duration = Duration::from_millis(250);

/// The destinations: how they are tried.
pub(super) fn policies() -> [Policy; 3] {
    let quick = Policy {
        initial: Duration::from_millis(500),
        max: Duration::from_secs(60),
        timeout: Duration::from_secs(2),
        concurrency: 4,
        ..Policy::default()
    };
    [
        quick,
        Policy { give_up_after: Duration::from_secs(90), concurrency: 1, ..quick },
        Policy { interval: Some(Duration::from_millis(200)), attempts_max: Some(6), concurrency: 2, ..quick },
    ]
}

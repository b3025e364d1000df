//! What batches save: two relays under the same load, turn by turn, to the same destinations, of which one sends up to a hundred events in a request.

use vero_relay::store::journal::OUTCOMES_SYNCED_WITHIN;

use crate::load::{Load, send};
use crate::measure::Relay;
use crate::receiver::Receiver;
use crate::scenarios::{BODY_BYTES, Fan, IN_FLIGHT, scratch, setup_of};

/// What `--only` calls it.
pub const KEY: &str = "batch";
/// Turns of each relay.
const TURNS: u64 = 5;
/// Events of each turn.
const EVENTS: u64 = 40_000;
/// What the one has that the other has not.
const BATCH: &str = ", batch: { max: 100, every: 1s }";

/// Both relays: each event by itself, and together.
pub struct Together {
    /// CPU time for an event of all turns.
    pub cpu_us: [f64; 2],
    /// Requests for an event.
    pub requests: [f64; 2],
}

/// Measures both, turn by turn, after a first turn that warms them up.
pub async fn run(share: u64) -> Together {
    let receivers = [Receiver::start(None), Receiver::start(None)];
    let directories = [scratch(), scratch()];
    let relays = ["", BATCH].map(|batch| {
        let at = usize::from(!batch.is_empty());
        let mut setup = setup_of(Fan::Mix, 2, &receivers[at]);
        // Behind the URL of each destination.
        setup.destinations = setup.destinations.replace("/\" }", &format!("/\"{batch} }}"));
        assert_eq!(setup.destinations.contains("batch"), at == 1, "{}", setup.destinations);
        Relay::start(directories[at].path(), &setup)
    });
    let events = EVENTS / share;
    let (mut cpu_seconds, mut requests) = ([0.0; 2], [0; 2]);
    for turn in 0..=TURNS {
        for (at, relay) in relays.iter().enumerate() {
            tokio::time::sleep(OUTCOMES_SYNCED_WITHIN).await;
            let before = relay.process.cpu_seconds();
            send(relay.hooks, Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None }, events).await;
            relay.wait_drained();
            let spent = relay.process.cpu_seconds() - before;
            let came = receivers[at].take().await.count;
            if turn > 0 {
                cpu_seconds[at] += spent;
                requests[at] += came;
            }
        }
    }
    let all = (events * TURNS) as f64;
    Together {
        cpu_us: cpu_seconds.map(|seconds| seconds / all * 1e6),
        requests: requests.map(|count| count as f64 / all),
    }
}

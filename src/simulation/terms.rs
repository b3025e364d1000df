//! What the world does and its witness expects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use crate::config::Config;
use crate::deliver::Policy;
use crate::deliver::sorting::Sorting;
use crate::destination::Batching;
use crate::time::MINUTE_MS;
use crate::yaml::values::Surroundings;

/// The writer's turns are no further apart than this while the world waits for long.
pub(super) const TURN_OF_LONG_WAITS: Duration = Duration::from_millis(250);

/// Events are about so many people, by their numbers.
pub(super) const PEOPLE: u64 = 5;
/// How many destinations there are.
pub(super) const DESTINATIONS: usize = 7;
/// The one of them that goes in order.
pub(super) const IN_ORDER: usize = 5;
/// The one of them whose attempts take several at once, and how; small, so that a run meets many that are full and many that are not.
pub(super) const TOGETHER: usize = 6;
pub(super) const BATCHING: Batching = Batching { max: 8, every: Duration::from_secs(3), bytes_max: 1500 };

/// The destinations: how they are tried. Two put together what they can, one goes in order, and the last takes several at once.
pub(super) fn policies() -> [Policy; DESTINATIONS] {
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
        quick,
        Policy { interval: Some(Duration::from_millis(500)), concurrency: 1, ..quick },
        quick,
        Policy { interval: Some(Duration::from_millis(100)), concurrency: 2, ..quick },
    ]
}

/// In which order and form the deliveries of each go out. Small windows and short nights, so that a run meets many of them.
pub(super) fn sortings() -> [Option<Arc<Sorting>>; DESTINATIONS] {
    let text = r#"
        sources: { vero: { token: nobody-asks-for-it } }
        rules: [{ to: [gathers, rests, orders] }]
        destinations:
          gathers:
            slack: { url: "http://127.0.0.1/" }
            digest: { every: 40s, by: [type], first: 2, max: 1000 }
            urgent: { urgent: true }
          rests:
            slack: { url: "http://127.0.0.1/" }
            digest: { every: 10s, by: [type], first: 1, max: 1000 }
            urgent: { urgent: true }
            quiet: { from: "22:00", to: "22:03", timezone: UTC }
          orders:
            http: { url: "http://127.0.0.1/" }
            order_by: k
    "#;
    let (config, _) = Config::parse(Path::new("model.yaml"), text.to_owned(), &Nothing).expect("a config");
    let sorting = |at: usize| config.destinations[at].sorting.clone();
    [None, None, None, sorting(0), sorting(1), sorting(2), None]
}

/// What one run began at: shortly before the quiet hours of a day, so that a run sees them begin and end.
pub(super) fn start_ms(dice: &mut Dice) -> u64 {
    let day = jiff::civil::date(2026, 1, 1).to_zoned(jiff::tz::TimeZone::UTC).expect("a day").timestamp();
    let day_ms = day.as_millisecond() as u64 + dice.below(300) * 24 * 60 * MINUTE_MS;
    day_ms + (22 * 60 - 4) * MINUTE_MS + dice.below(6 * MINUTE_MS)
}

/// Nothing stands in the surroundings of a model.
pub(super) struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

//! `store:` and `removed_grace:`: where it lies, what is kept, and for how long.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::shared::{self, POSTGRES, Shared};
use crate::destination::shaping::read_paths;
use crate::store::{Redaction, Retention};
use crate::yaml::keys::{Defaulted, Key, Of, Section, by_hand, duration, key, size};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::values::Surroundings;

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// What is smaller holds nothing, what is larger no disk.
const SIZES: RangeInclusive<u64> = 8 << 20..=1 << 50;
const AGES: RangeInclusive<Duration> = SECOND..=Duration::from_secs(10 * 365 * 24 * 60 * 60);

const HISTORY_AGE: Defaulted<Duration> = key("max_age", duration(AGES))
    .about("How long events are kept after they came; then the oldest go, in steps of a segment (at most 64 MiB), never before every destination is past them.")
    .example("14d")
    .default(Retention::DEFAULT.history_age);
const HISTORY_SIZE: Key<u64> = key("max_size", size(SIZES))
    .about("How much of the disk they may take.")
    .example("20GiB")
    .otherwise("10GiB or a fifth of the file system, whichever is less");
const REDACT: Key<()> = key("redact", by_hand(Of::Texts))
    .about("The values of these fields are taken away from kept events, wherever Vero may have them, also in the files: of a text each byte becomes `*`, a number becomes `0`, lists and objects are empty. What still waits for a destination, and dead letters, stay as they came until they are over. An event without them cannot be sent again: replays pass it by. See [personal data](personal-data.md#keep-some-values-for-a-shorter-time).")
    .example("[user.email, user.firstname]")
    .never_empty();
const REDACT_AFTER: Key<Duration> = key("redact_after", duration(AGES))
    .about("With `redact`: how long after an event came. It is done segment by segment, so at the latest twice as long after it, or ten minutes more where that is longer. Not shorter than a `dedupe` or an `every` of `once_per`, which are read back from the history.")
    .example("48h")
    .otherwise("a day, where there is `redact`")
    .never_empty();
const REDACT_AFTER_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
const DEAD_AGE: Defaulted<Duration> = key("max_age", duration(AGES))
    .about("How long a delivery that was given up can be replayed.")
    .example("60d")
    .default(Retention::DEFAULT.dead_age);
const DEAD_SIZE: Defaulted<u64> = key("max_size", size(SIZES))
    .about("How much their bodies may take beyond the history; at most half of `history.max_size`, since they are kept in the same journal. The oldest are dropped.")
    .example("1GiB")
    .default(Retention::DEFAULT.dead_bytes);
const HISTORY: Key<()> = key("history", by_hand(Of::Map(history_keys)))
    .about("Events that are settled, for looking back and for `replay`.")
    .example("{ max_age: 14d, max_size: 20GiB }");
const DEAD_LETTERS: Key<()> = key("dead_letters", by_hand(Of::Map(dead_keys)))
    .about("Deliveries that were given up.")
    .example("{ max_age: 60d, max_size: 1GiB }");
const MAX_SIZE: Key<u64> = key("max_size", size(SIZES))
    .about("All the store may take. At that size events are answered with 503; deliveries go on. History may have three quarters of it.")
    .example("40GiB")
    .otherwise("only the disk is the limit");
const FREE_SPACE_MIN: Key<u64> = key("free_space_min", size(0..=1 << 50))
    .about("With less than this free on the file system events are answered with 503; deliveries go on.")
    .example("512MiB")
    .otherwise("256MiB, or a twentieth of a small file system, and 12MiB at least");

/// How long the queue of a destination that the config does not name any more is kept.
pub(super) const REMOVED_GRACE: Defaulted<Duration> = key("removed_grace", duration(SECOND..=YEAR))
    .about("How long a destination that left this file keeps its queue before it becomes dead letters: over a long weekend. If the name comes back, it goes on.")
    .example("24h")
    .default(Duration::from_secs(72 * 60 * 60));

/// The keys of `store:`.
pub(super) fn keys() -> Section {
    Section::of(&[POSTGRES.info, HISTORY.info, DEAD_LETTERS.info, MAX_SIZE.info, FREE_SPACE_MIN.info])
}

fn history_keys() -> Section {
    Section::of(&[HISTORY_AGE.info, HISTORY_SIZE.info, REDACT.info, REDACT_AFTER.info])
}

fn dead_keys() -> Section {
    Section::of(&[DEAD_AGE.info, DEAD_SIZE.info])
}

/// Whether several relays share what it speaks of, right or wrong.
pub(super) fn is_shared(store: &Node) -> bool {
    store.get(POSTGRES.info.name).is_some_and(|node| !node.is_null())
}

/// What `store:` says.
pub(super) struct Kept {
    pub retention: Retention,
    /// Where several relays share it; `Some(None)`: they do not. `None` where that has an error.
    pub shared: Option<Option<Shared>>,
}

/// Reads `store: {postgres, history: {max_age, max_size, redact, redact_after}, dead_letters: {max_age, max_size}, max_size, free_space_min}`.
pub(super) fn read(reader: &Reader, node: Option<&Node>, surroundings: &dyn Surroundings) -> Kept {
    let mut retention = Retention::DEFAULT;
    let free = node.and_then(|node| node.get(FREE_SPACE_MIN.info.name)).filter(|node| !node.is_null());
    let Some(mut entries) = node.and_then(|node| reader.map(node, "`store`")) else {
        return Kept { retention, shared: Some(None) };
    };
    let postgres = entries.node(&POSTGRES.info);
    let shared = postgres.map_or(Some(None), |node| shared::read(reader, node, surroundings).map(Some));
    if let Some(node) = entries.node(&HISTORY.info)
        && let Some(mut history) = reader.map(node, "`history`")
    {
        retention.history_age = history.value(&HISTORY_AGE);
        retention.history_bytes = history.read(&HISTORY_SIZE);
        let redact = history.node(&REDACT.info);
        let after = history.read(&REDACT_AFTER).unwrap_or(REDACT_AFTER_DEFAULT);
        retention.redaction = redact.filter(|node| !node.is_null()).map(|node| {
            let paths = read_paths(reader, node, REDACT.info.name);
            Arc::new(Redaction { paths, after })
        });
        let lonely = node.get(REDACT_AFTER.info.name).filter(|_| node.get(REDACT.info.name).is_none());
        if let Some(at) = lonely {
            let help = "write redact: [user.email], or take `redact_after` out".to_owned();
            reader.error_with(at.id, "`redact_after` belongs to `redact`, and there is none", help);
        }
        history.finish();
    }
    if let Some(node) = entries.node(&DEAD_LETTERS.info)
        && let Some(mut dead) = reader.map(node, "`dead_letters`")
    {
        retention.dead_age = dead.value(&DEAD_AGE);
        retention.dead_bytes = dead.value(&DEAD_SIZE);
        if let (Some(at), Some(history)) = (node.get(DEAD_SIZE.info.name), retention.history_bytes)
            && !at.is_null()
            && retention.dead_bytes > history / 2
        {
            let help =
                "dead letters are kept in the same journal as the history: they may have half of it at most".to_owned();
            reader.error_with(at.id, "`dead_letters.max_size` is more than half of `history.max_size`", help);
        }
        dead.finish();
    }
    retention.bytes_max = entries.read(&MAX_SIZE);
    let redacted = node.and_then(|node| node.get(HISTORY.info.name)?.get(REDACT.info.name));
    if let (Some(at), Some(_), Some(_)) = (redacted, postgres, &retention.redaction) {
        let help =
            "take `redact` out, and keep a shorter history; `vero-relay forget` erases a person at once".to_owned();
        reader.error_with(at.id, "`redact` is done in the journal alone: in a database the values would stay", help);
    }
    retention.free_bytes_min = entries.read(&FREE_SPACE_MIN);
    if let (Some(at), Some(_)) = (free, postgres) {
        let help = "take it out, and have the database server watched".to_owned();
        reader.warning(
            at.id,
            "`free_space_min` is of the journal: nobody sees from here what is free where the database lies",
            help,
        );
    }
    if let (Some(most), Some(history)) = (retention.bytes_max, retention.history_bytes)
        && most < history
    {
        reader.error_with(
            entries.at(),
            "`store.max_size` is less than `history.max_size`, so the store would be full before it trims",
            "make `store.max_size` the larger one".to_owned(),
        );
    }
    entries.finish();
    Kept { retention, shared }
}

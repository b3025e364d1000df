//! What every destination may set, whatever its kind: when it tries again, how fast, and what may wait.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::sorting::{DIGEST, ORDER_BY, QUIET, URGENT};
use crate::deliver::{BacklogLimits, Policy};
use crate::destination::{Answers, Defaults, KINDS, Kind};
use crate::units::shown_duration;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Info, Key, Of, Section, by_hand, duration, key, rate, size, whole};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Below it a retry is no wait, and one of more than a day helps nobody.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY;

const INITIAL: Defaulted<Duration> = key("initial", duration(WAITS))
    .about("The wait before the second attempt, give or take a fifth. Not longer than `max`.")
    .example("5s")
    .default(Policy::DEFAULT.initial);
const FACTOR: Defaulted<u64> = key("factor", whole(1..=100))
    .about("By how much each wait is longer than the one before.")
    .example("2")
    .default(Policy::DEFAULT.factor as u64);
const MAX: Defaulted<Duration> = key("max", duration(WAITS))
    .about("The longest wait between two attempts.")
    .example("10m")
    .default(Policy::DEFAULT.max);
const GIVE_UP_AFTER: Key<Duration> = key("give_up_after", duration(Duration::from_millis(10)..=YEAR))
    .about("From the first attempt on; then it is a dead letter. Time paused, with the breaker open or in quiet hours does not count.")
    .example("24h")
    .otherwise_made(|| by_kind(|defaults| Some(shown_duration(defaults.give_up_after))));
const MAX_ATTEMPTS: Key<u64> = key("max_attempts", whole(1..=10_000))
    .about("Attempts before it is a dead letter.")
    .example("20")
    .otherwise("no limit but time");

const RETRY: Key<()> = key("retry", by_hand(Of::Map(retry_keys)))
    .about("When to try again, and when to give up.")
    .example("{ initial: 5s, factor: 2, max: 10m, give_up_after: 24h }");
const TIMEOUT: Defaulted<Duration> = key("timeout", duration(Duration::from_millis(100)..=HOUR))
    .about("For one attempt, from connecting to the answer's end.")
    .example("10s")
    .default(Policy::DEFAULT.timeout);
pub(super) const CONCURRENCY: Key<u64> = key("concurrency", whole(1..=256))
    .about("Attempts in flight at once. More would only queue on the other side.")
    .example("4")
    .otherwise_made(|| by_kind(|defaults| Some(defaults.concurrency.to_string())));
const RATE: Key<Duration> = key("rate", rate())
    .about("Attempts in a second (`s`), minute (`m`) or hour (`h`), at most 100000 in one, evenly spaced. Slack destinations with one URL share theirs.")
    .example("5/s")
    .otherwise_made(|| by_kind(|defaults| defaults.interval.map(per_second)) + ", the others no limit");
/// What an HTTP answer means, for the kinds that get one.
pub(super) const ANSWERS: Key<()> = key("answers", by_hand(Of::Own("map of statuses to meanings", Answers::schema)))
    .seen(Sight::All).about_made(|| {
        let without: Vec<_> = KINDS.iter().filter(|kind| !kind.has_answers).map(|kind| format!("`{}`", kind.name)).collect();
        let get = if without.len() == 1 { "gets" } else { "get" };
        let without = without.join(" and ");
        format!("What an HTTP status means, in place of [the table](#what-an-answer-means). Not for {without}, which {get} none.")
    })
    .example("{ 404: reject, 409: delivered }");
pub(super) const BACKLOG: Key<()> = key("backlog", by_hand(Of::Map(backlog_keys)))
    .about("What may wait. Without it a destination that is down for good keeps its events until the disk is full.")
    .example("{ max_age: 12h, max_size: 1GiB }");

pub(super) const BACKLOG_AGE: Key<Duration> = key("max_age", duration(SECOND..=YEAR))
    .about("A delivery that was never attempted by then becomes a dead letter (\"stale\"): a channel that gets yesterday's thousand messages is read by nobody.")
    .example("12h")
    .otherwise_made(|| by_kind(|defaults| defaults.stale_after.map(shown_duration)) + ", the others no limit");
const BACKLOG_SIZE: Key<u64> = key("max_size", size(1 << 20..=1 << 50))
    .about("Of the journal, from the oldest delivery on that waits for its first attempt; beyond it the oldest become dead letters.")
    .example("1GiB")
    .otherwise("no limit but the disk");

/// The keys that every destination may set.
pub(super) const COMMON: [Info; 10] = [
    RETRY.info,
    TIMEOUT.info,
    CONCURRENCY.info,
    RATE.info,
    ANSWERS.info,
    BACKLOG.info,
    DIGEST.info,
    URGENT.info,
    QUIET.info,
    ORDER_BY.info,
];

fn retry_keys() -> Section {
    Section::of(&[INITIAL.info, FACTOR.info, MAX.info, GIVE_UP_AFTER.info, MAX_ATTEMPTS.info])
}

fn backlog_keys() -> Section {
    Section::of(&[BACKLOG_AGE.info, BACKLOG_SIZE.info])
}

/// A kind's own default, for each kind that has one.
fn by_kind(of: impl Fn(&Defaults) -> Option<String>) -> String {
    let each = KINDS.iter().filter_map(|kind| Some(format!("{} {}", kind.name, of(&kind.defaults)?)));
    each.collect::<Vec<_>>().join(", ")
}

fn per_second(interval: Duration) -> String {
    format!("{}/s", SECOND.as_millis() / interval.as_millis().max(1))
}

/// Reads `backlog: {max_age, max_size}`.
pub(super) fn read_backlog(entries: &mut Entries<'_, '_>, kind: &Kind) -> BacklogLimits {
    let mut limits = BacklogLimits { max_age: kind.defaults.stale_after, max_size: None };
    let Some(mut backlog) = entries.map(&BACKLOG.info) else { return limits };
    limits.max_age = backlog.read(&BACKLOG_AGE).or(limits.max_age);
    limits.max_size = backlog.read(&BACKLOG_SIZE);
    backlog.finish();
    limits
}

/// Reads what decides when and how often a delivery is tried.
pub(super) fn read(reader: &Reader, entries: &mut Entries<'_, '_>, kind: &Kind) -> Policy {
    let defaults = kind.defaults;
    let mut policy = Policy { give_up_after: defaults.give_up_after, interval: defaults.interval, ..Policy::DEFAULT };
    policy.concurrency = entries.read(&CONCURRENCY).map_or(defaults.concurrency, |concurrency| concurrency as usize);
    policy.interval = entries.read(&RATE).or(policy.interval);
    policy.timeout = entries.value(&TIMEOUT);
    let Some(mut retry) = entries.map(&RETRY.info) else { return policy };
    policy.initial = retry.value(&INITIAL);
    policy.max = retry.value(&MAX);
    policy.give_up_after = retry.read(&GIVE_UP_AFTER).unwrap_or(policy.give_up_after);
    policy.factor = retry.value(&FACTOR) as u32;
    policy.attempts_max = retry.read(&MAX_ATTEMPTS).map(|attempts| attempts as u16);
    if policy.initial > policy.max {
        let help = format!("write max: {}, or more", shown_duration(policy.initial));
        reader.error_with(retry.at(), "`initial` is longer than `max`", help);
    }
    retry.finish();
    policy
}

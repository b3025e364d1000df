//! Keeping house: what is done once for all relays, by the one that has the lease for it, or by none for a while. Nothing here is worth waiting
//! for, and each step is safe whoever does it.
//!
//! * Streams of relays that are dead become free, and those that nobody has say how far they are ([`tide`](super::tide)): no floor and no segment
//!   waits for who is no more.
//! * [Segments](super::segments) come and go, and what of them is still needed is [carried](super::carrying).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{DeadStream, House};
use super::link::{Link, kept};
use super::running::Postgres;
use super::segments::{Keeper, Segment, State};
use super::spans::CARRIED;
use super::trouble::Trouble;
use crate::store::Retention;
use crate::store::locks::lock;
use crate::time::Instant;

/// Between two rounds.
const EACH: Duration = Duration::from_secs(1);
/// Between two looks how large the newest segment is.
const MEASURE_EACH: Duration = Duration::from_secs(10);
/// Between two times that what was carried and is not needed any more is removed.
const CLEAN_EACH: Duration = Duration::from_secs(60 * 60);
/// Before it is looked again whether a segment can go in which much waits.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// A statement may take so long: some look at all of a segment, and it may come from a slow disk.
const STATEMENT_WITHIN: Duration = Duration::from_secs(120);

/// A segment is not larger than this, about: what is done with one as a whole takes seconds.
const SEGMENT_BYTES_MAX: i64 = 2 << 30;
/// Nor older.
const SEGMENT_MS_MAX: i64 = 24 * 60 * 60 * 1000;
/// What is let go at once is no more than this part of the history.
const SEGMENTS_IN_HISTORY: i64 = 10;
/// So many there are at most: each has its part in statements that look into all of them.
const SEGMENTS_MAX: usize = 200;
/// Nobody who lives has missed for so long that a segment is gone: a relay that has read nothing for [five seconds](super::cluster::TTL) is dead.
const GONE_MS: i64 = 10_000;

/// How large and how old anything may be.
#[derive(Clone, Copy, Debug)]
struct Limits {
    segment_bytes: i64,
    segment_ms: i64,
    history_bytes: i64,
    history_ms: i64,
}

impl Limits {
    fn of(retention: &Retention) -> Self {
        let history_ms = i64::try_from(retention.history_age.as_millis()).unwrap_or(i64::MAX);
        let history_bytes = retention.history_bytes.map_or(i64::MAX, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        Self {
            segment_bytes: SEGMENT_BYTES_MAX.min(history_bytes / SEGMENTS_IN_HISTORY),
            segment_ms: SEGMENT_MS_MAX.min(history_ms / SEGMENTS_IN_HISTORY),
            history_bytes,
            history_ms,
        }
    }
}

/// The newest segment: how large it is, and whether it has an event.
#[derive(Clone, Copy, Debug)]
struct Newest {
    bytes: i64,
    has_events: bool,
}

/// Closed segments whose time is over, the oldest first.
fn due(segments: &[Segment], newest: Newest, limits: Limits) -> Vec<i32> {
    let of_history = |segment: &&Segment| matches!(segment.state, State::Open | State::Closed);
    let mut bytes: i64 = segments.iter().filter(of_history).map(|segment| segment.bytes.unwrap_or(0)).sum();
    bytes = bytes.saturating_add(newest.bytes);
    let mut due = Vec::new();
    let closed: Vec<&Segment> = segments.iter().filter(|segment| segment.state == State::Closed).collect();
    for (i, segment) in closed.iter().enumerate() {
        // For its size nothing goes that is all there is.
        let is_last = i + 1 == closed.len() && !newest.has_events;
        let is_old = segment.closed_ms.is_some_and(|ms| ms > limits.history_ms);
        if is_old || (bytes > limits.history_bytes && !is_last) {
            due.push(segment.k);
            bytes -= segment.bytes.unwrap_or(0);
        }
    }
    due
}

/// Keeps house until the store ends, as long as this relay does.
pub async fn run(postgres: Arc<Postgres>) {
    let mut link = None;
    let mut keeping = Keeping::default();
    let mut is_soon = false;
    loop {
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = postgres.tidy.notified() => {}
            () = tokio::time::sleep(EACH), if !is_soon => {}
            () = std::future::ready(()), if is_soon => {}
        }
        is_soon = false;
        let house = lock(&postgres.house).clone();
        let Some(house) = house else {
            (link, keeping) = (None, Keeping::default());
            continue;
        };
        match round(&postgres, &mut link, &mut keeping, &house).await {
            Ok(more) => is_soon = more,
            Err(trouble) => trouble.puts_off("keeping house"),
        }
    }
}

/// What is known from one round to the next. A new housekeeper knows nothing.
#[derive(Default)]
struct Keeping {
    measured: Option<(Instant, i32, Newest)>,
    cleaned: Option<Instant>,
    /// Segments in which much waits, with when that was seen.
    waited_for: HashMap<i32, Instant>,
    /// What the views show.
    shown: Vec<i32>,
}

/// One round. Returns whether there is more to do at once.
async fn round(
    postgres: &Postgres,
    link: &mut Option<Link>,
    keeping: &mut Keeping,
    house: &House,
) -> Result<bool, Trouble> {
    let open = async { Ok(postgres.link("housekeeping").await?.with_deadline(STATEMENT_WITHIN)) };
    let link = kept(link, open).await?;
    for DeadStream { slot, epoch, owner, heartbeat } in &house.dead {
        let duty = format!("stream/{slot}");
        link.rows(FREE_DEAD, &[&duty, epoch, &owner.0, heartbeat]).await?;
    }
    let keeper = Keeper { link, epoch: house.epoch, me: postgres.me() };
    let segments = keeper.segments().await?;
    let Some(last) = segments.iter().rfind(|segment| segment.state == State::Open) else {
        return Err(Trouble::Broken("no segment is open".to_owned()));
    };
    link.rows(MOVE_FREE, &[&last.k]).await?;
    let asked = link.rows("SELECT trims_asked, trims_done FROM meta", &[]).await?;
    let (asked, done): (i64, i64) = asked.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
    let is_asked = asked > done;
    let limits = Limits::of(&lock(&postgres.retention));

    let newest = match keeping.measured {
        Some((at, k, newest)) if k == last.k && at.elapsed() < MEASURE_EACH && !is_asked => newest,
        _ => {
            let (bytes, has_events) = keeper.measure(last.k).await?;
            let newest = Newest { bytes, has_events };
            keeping.measured = Some((Instant::now(), last.k, newest));
            newest
        }
    };
    let is_full = newest.bytes >= limits.segment_bytes || last.opened_ms >= limits.segment_ms;
    if newest.has_events && is_full && segments.len() < SEGMENTS_MAX && keeper.make(last.k + 1).await? {
        // This relay goes on to it as soon as it can.
        postgres.hurry.notify_one();
        return Ok(true);
    }
    let mut is_at_rest = true;
    for segment in &segments {
        is_at_rest &= in_turn(&keeper, segment, last.k).await?;
    }
    for k in due(&segments, newest, limits) {
        let is_known = keeping.waited_for.get(&k).is_some_and(|at| at.elapsed() < LOOK_AGAIN_AFTER);
        if is_known && !is_asked {
            continue;
        }
        if keeper.is_waited_for(k).await? {
            keeping.waited_for.insert(k, Instant::now());
        } else {
            keeper.begin_to_close(k).await?;
            is_at_rest = false;
        }
    }
    let is_there = |segment: &&Segment| segment.state != State::Gone;
    let shown: Vec<i32> =
        [CARRIED].into_iter().chain(segments.iter().filter(is_there).map(|segment| segment.k)).collect();
    for segment in segments.iter().filter(|segment| segment.state == State::Gone && segment.since_ms >= GONE_MS) {
        keeper.drop(segment.k, &shown).await?;
        keeping.shown.clone_from(&shown);
    }
    if !is_at_rest {
        return Ok(false);
    }
    if is_asked || keeping.cleaned.is_none_or(|at| at.elapsed() >= CLEAN_EACH) {
        keeper.clean().await?;
        let bytes_max = lock(&postgres.retention).dead_bytes;
        keeper.limit_dead(bytes_max).await?;
        keeping.cleaned = Some(Instant::now());
    }
    if is_asked {
        link.rows("UPDATE meta SET trims_done = greatest(trims_done, $1)", &[&asked]).await?;
    }
    if keeping.shown != shown {
        keeper.show(&shown).await?;
        keeping.shown = shown;
    }
    Ok(false)
}

/// Brings a segment one step on. Returns whether there was nothing to do.
async fn in_turn(keeper: &Keeper<'_>, segment: &Segment, newest: i32) -> Result<bool, Trouble> {
    let k = segment.k;
    match segment.state {
        State::Open if k < newest => {
            if !segment.has_streams {
                let (bytes, _) = keeper.measure(k).await?;
                keeper.close(k, bytes).await?;
            }
            Ok(false)
        }
        State::Closed if !segment.is_checked => {
            keeper.check(k).await?;
            Ok(false)
        }
        State::Closing => {
            keeper.carry(k).await?;
            keeper.let_go(k).await?;
            Ok(false)
        }
        State::Open | State::Closed | State::Gone => Ok(true),
    }
}

const FREE_DEAD: &str = "UPDATE lease SET epoch = epoch + 1, incarnation = NULL
    WHERE duty = $1 AND epoch = $2 AND incarnation = $3
        AND NOT EXISTS (SELECT 1 FROM relay WHERE incarnation = $3 AND heartbeat IS DISTINCT FROM $4)";

/// Nobody takes a stream until this is done.
const MOVE_FREE: &str = "WITH free AS MATERIALIZED (
        SELECT s.slot FROM lease l JOIN stream s ON l.duty = 'stream/' || s.slot WHERE l.incarnation IS NULL
        ORDER BY l.duty FOR UPDATE OF l)
    UPDATE stream s SET n_from = greatest(s.n_from, (SELECT last_value FROM event_number)), segment = greatest(s.segment, $1)
    FROM free WHERE s.slot = free.slot AND (s.n_from < (SELECT last_value FROM event_number) OR s.segment < $1)";

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(k: i32, closed_ms: i64, bytes: i64) -> Segment {
        Segment {
            k,
            state: State::Closed,
            since_ms: closed_ms,
            opened_ms: closed_ms + 100,
            closed_ms: Some(closed_ms),
            bytes: Some(bytes),
            is_checked: true,
            has_streams: false,
        }
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_the_oldest_first_and_never_all_for_its_size() {
        let segments = [closed(1, 300, 50), closed(2, 200, 50), closed(3, 100, 50)];
        let check = |history_ms, history_bytes, has_events, expected: &[i32]| {
            let limits = Limits { segment_bytes: 10, segment_ms: 10, history_bytes, history_ms };
            assert_eq!(
                due(&segments, Newest { bytes: 10, has_events }, limits),
                expected,
                "{history_ms} {history_bytes}"
            );
        };
        check(300, 160, true, &[]);
        check(299, 160, true, &[1]);
        check(300, 159, true, &[1]);
        check(300, 109, true, &[1, 2]);
        check(300, 0, true, &[1, 2, 3]);
        check(300, 0, false, &[1, 2]);
        check(0, 160, false, &[1, 2, 3]);
        check(200, 100, true, &[1, 2]);
    }

    #[test]
    fn what_goes_to_be_carried_or_is_gone_counts_no_more() {
        let mut segments = vec![closed(1, 300, 50), closed(2, 200, 50), closed(3, 100, 50)];
        (segments[0].state, segments[1].state) = (State::Gone, State::Closing);
        let limits = Limits { segment_bytes: 10, segment_ms: 10, history_bytes: 60, history_ms: 999 };
        assert_eq!(due(&segments, Newest { bytes: 10, has_events: true }, limits), [0; 0]);
        assert_eq!(due(&segments, Newest { bytes: 11, has_events: true }, limits), [3]);
    }

    #[test]
    fn a_segment_is_a_tenth_of_the_history_at_most() {
        let day = Duration::from_secs(24 * 60 * 60);
        let check = |history_age, history_bytes, expected: (i64, i64)| {
            let Limits { segment_bytes, segment_ms, .. } =
                Limits::of(&Retention { history_age, history_bytes, ..Retention::default() });
            assert_eq!((segment_bytes, segment_ms), expected);
        };
        check(30 * day, None, (SEGMENT_BYTES_MAX, SEGMENT_MS_MAX));
        check(day, Some(100), (10, SEGMENT_MS_MAX / 10));
        check(Duration::MAX, Some(u64::MAX), (SEGMENT_BYTES_MAX, SEGMENT_MS_MAX));
    }
}

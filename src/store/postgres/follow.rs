//! Following: what other relays take in is read within milliseconds, all streams in one statement.
//!
//! One statement, so one snapshot: what is seen of one stream is seen with all that came before it in any other. An event that came after
//! another one was acknowledged is never seen first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::again::Again;
use super::following::{Arrived, Own, Reply};
use super::link::{Link, kept};
use super::rows::{EVENT_HEAD, EventRow};
use super::running::Postgres;
use super::trouble::Trouble;
use crate::event::EventId;
use crate::store::locks::reading;
use crate::store::{Kept, NameId};

/// Between two looks while something comes.
const BUSY: Duration = Duration::from_millis(5);
/// And while nothing does.
const AT_REST: Duration = Duration::from_millis(100);
/// Events of one stream that are read in one look.
const EVENTS_MAX: usize = 500;
/// Bytes of bodies that are read with them: the others are read when somebody needs them.
const BODIES_MAX: usize = 4 << 20;

/// Follows until the store ends.
pub async fn run(postgres: Arc<Postgres>) {
    let mut link: Option<Link> = None;
    let mut again = Again::default();
    let mut pause = BUSY;
    loop {
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = postgres.following.more.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        match look(&postgres, &mut link).await {
            Ok(0) => pause = (pause * 2).min(AT_REST),
            Ok(_) => pause = BUSY,
            Err(trouble) => {
                postgres.unreachable(&trouble);
                pause = again.wait(postgres.dice());
                continue;
            }
        }
        again.reached();
    }
}

/// Reads what has come. Returns how many events that were.
async fn look(postgres: &Postgres, link: &mut Option<Link>) -> Result<usize, Trouble> {
    let link = kept(link, postgres.link("follow")).await?;
    // What this process has committed by now is seen by the look that begins now, with all that others had committed before.
    let own = postgres.following.own();
    let came = read(postgres, link).await;
    let rows = match came {
        Ok(rows) => rows,
        Err(trouble) => {
            // They are durable, and go to their queues with the next look.
            let Own { events, replies } = own;
            answer(replies);
            postgres.following.took_in(Own { events, replies: Vec::new() });
            return Err(trouble);
        }
    };
    // Of a stream that has more than is read at once, what comes behind is not seen yet: nothing that is newer goes out before it.
    let mut read: BTreeMap<i16, (usize, i64)> = BTreeMap::new();
    for row in &rows {
        let (count, last) = read.entry(row.get("slot")).or_default();
        (*count, *last) = (*count + 1, row.get("n"));
    }
    let cut = read.values().filter(|(count, _)| *count >= EVENTS_MAX).map(|(_, last)| *last).min().unwrap_or(i64::MAX);
    let mut arrived = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| row.get::<_, i64>("n") <= cut) {
        let (slot, number): (i16, i64) = (row.get("slot"), row.get("n"));
        match EventRow::read(row) {
            Ok(EventRow { hold, event: Kept::Event(event), .. }) => {
                let has_body = row.get::<_, Option<&[u8]>>("body").is_some();
                arrived.push(Arrived { has_body, event, hold });
            }
            // It was erased within the moment since it came.
            Ok(EventRow { event: Kept::Erased(_), .. }) => {}
            Err(error) => tracing::error!(number, %error, "an event in the database is not what was written"),
        }
        postgres.following.read(slot, number);
    }
    let is_behind = |(one, _): &(Arrived, NameId)| one.event.id.sequence().cast_signed() > cut;
    let (later, now): (Vec<_>, Vec<_>) = own.events.into_iter().partition(is_behind);
    if !later.is_empty() {
        postgres.following.took_in(Own { events: later, replies: Vec::new() });
    }
    let own = Own { events: now, replies: own.replies };
    let Own { events: own, replies } = own;
    let count = arrived.len() + own.len();
    let woken = postgres.publish_others(&arrived, &own);
    answer(replies);
    woken.into_iter().for_each(|wakeup| wakeup.notify_one());
    Ok(count)
}

fn answer(replies: Vec<(Reply, EventId)>) {
    for (reply, id) in replies {
        // The sender may have hung up: the event is taken all the same.
        let _ = reply.send(Ok(id));
    }
}

async fn read(postgres: &Postgres, link: &Link) -> Result<Vec<tokio_postgres::Row>, Trouble> {
    let (slots, cursors, base) = postgres.following.cursors();
    let mine: Vec<i32> = reading(&postgres.owned).keys().map(|id| id.0.cast_signed()).collect();
    let own = postgres.slot();
    let all = postgres.watchers.are_there();
    let tables: Vec<String> = postgres.segments().iter().map(|k| format!("SELECT * FROM event_{k}")).collect();
    let sql = format!(
        "SELECT e.* FROM stream s
         LEFT JOIN unnest($1::int2[], $2::int8[]) c (slot, n) ON c.slot = s.slot
         CROSS JOIN LATERAL (
            SELECT {EVENT_HEAD}, CASE WHEN NOT is_erased AND ($6 OR destinations && $4)
                AND sum(octet_length(body)) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) <= {BODIES_MAX} THEN body END AS body
            FROM (SELECT * FROM ({}) a WHERE a.slot = s.slot AND a.n > coalesce(c.n, $3) ORDER BY a.n LIMIT {EVENTS_MAX}) e) e
         WHERE s.slot <> $5",
        tables.join(" UNION ALL ")
    );
    link.rows(&sql, &[&slots, &cursors, &base, &mine, &own, &all]).await
}

//! Following: what other relays take in is read within milliseconds, all streams in one statement.
//!
//! One statement, so one snapshot: what is seen of one stream is seen with all that came before it in any other. An event that came after
//! another one was acknowledged is never seen first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::again::Again;
use super::following::{Arrived, Own, Reply};
use super::link::Link;
use super::rows::{EVENT_HEAD, EventRow};
use super::running::Postgres;
use super::trouble::Trouble;
use crate::event::EventId;
use crate::store::Kept;
use crate::store::locks::reading;

/// Between two looks while something comes.
const BUSY: Duration = Duration::from_millis(5);
/// And while nothing does.
const AT_REST: Duration = Duration::from_millis(100);
/// Events of one stream that are read in one look.
const EVENTS_MAX: i64 = 500;

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
    if !link.as_ref().is_some_and(Link::is_open) {
        *link = Some(postgres.link("follow").await?);
    }
    let link = link.as_ref().expect("it was made");
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
    let mut arrived = Vec::with_capacity(rows.len());
    for row in &rows {
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
    let own = postgres.slot.load(Ordering::Acquire) as i16;
    let all = postgres.watchers.are_there();
    let tables: Vec<String> = postgres.segments().iter().map(|k| format!("SELECT * FROM event_{k}")).collect();
    let sql = format!(
        "SELECT e.* FROM stream s
         LEFT JOIN unnest($1::int2[], $2::int8[]) c (slot, n) ON c.slot = s.slot
         CROSS JOIN LATERAL (
            SELECT {EVENT_HEAD}, CASE WHEN NOT is_erased AND ($6 OR destinations && $4) THEN body END AS body
            FROM ({}) e WHERE e.slot = s.slot AND e.n > coalesce(c.n, $3) ORDER BY e.n LIMIT {EVENTS_MAX}) e
         WHERE s.slot <> $5",
        tables.join(" UNION ALL ")
    );
    link.rows(&sql, &[&slots, &cursors, &base, &mine, &own, &all]).await
}

//! Following: what other relays take in is read within milliseconds, all streams in one statement.
//!
//! One statement, so one snapshot: what is seen of one stream is seen with all that came before it in any other. An event that came after
//! another one was acknowledged is never seen first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::again::Again;
use super::following::{Arrived, Looked, Own, Reply};
use super::link::{Link, kept};
use super::rows::{EVENT_HEAD, EventRow};
use super::running::{Postgres, Stream};
use super::spans::{CARRIED, SPANS, Span, span};
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
async fn look(postgres: &Arc<Postgres>, link: &mut Option<Link>) -> Result<usize, Trouble> {
    let link = kept(link, postgres.link("follow")).await?;
    let stream = postgres.stream();
    // What this process has committed by now is seen by the look that begins now, with all that others had committed before.
    let mut look = postgres.following.look();
    let rows = match read(postgres, link, stream).await {
        Ok(rows) => rows,
        Err(trouble) => {
            // They are durable, and go to their queues with the next look.
            answer(std::mem::take(&mut look.own.replies));
            postgres.following.took_in(look.own);
            return Err(trouble);
        }
    };
    if goes_beyond(&rows, &postgres.spans()) {
        // Some stream goes on in a segment that was not looked into, and how far it says it is counts that in. So this look saw nothing.
        answer(std::mem::take(&mut look.own.replies));
        postgres.following.took_in(look.own);
        let spans = link.rows(SPANS, &[]).await?;
        postgres.saw_spans(spans.iter().map(span).collect());
        return Ok(1);
    }
    let looked = through(&rows, stream);
    let cut = looked.cut.unwrap_or(i64::MAX);
    let mut arrived = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| row.get::<_, Option<i64>>("n").is_some_and(|number| number <= cut)) {
        match EventRow::read(row) {
            Ok(EventRow { hold, event: Kept::Event(event), .. }) => {
                let has_body = row.get::<_, Option<&[u8]>>("body").is_some();
                arrived.push(Arrived { has_body, event, hold });
            }
            // Erased within the moment since it came. Its deliveries end where they stand.
            Ok(EventRow { hold, event: Kept::Erased(event), .. }) => {
                arrived.push(Arrived { has_body: false, event: Arc::new(event.without_body()), hold });
            }
            Err(error) => {
                let number: i64 = row.get("n");
                tracing::error!(number, %error, "an event in the database is not what was written");
            }
        }
    }
    let replies = std::mem::take(&mut look.own.replies);
    let is_behind = |(one, _): &(Arrived, NameId)| one.event.id.sequence().cast_signed() > cut;
    let (later, now): (Vec<_>, Vec<_>) = std::mem::take(&mut look.own.events).into_iter().partition(is_behind);
    if !later.is_empty() {
        postgres.following.took_in(Own { events: later, replies: Vec::new() });
    }
    let count = arrived.len() + now.len();
    let woken = postgres.publish_others(&arrived, &now);
    postgres.following.looked(&look, &looked);
    answer(replies);
    woken.into_iter().for_each(|wakeup| wakeup.notify_one());
    Ok(count)
}

/// Whether some stream has gone on to a segment that is not known here yet: what it appends there was not read.
fn goes_beyond(rows: &[Row], spans: &[Span]) -> bool {
    let newest = spans.last().map_or(0, |span| span.segment);
    rows.iter().any(|row| row.get::<_, i32>("segment") > newest)
}

/// How far some rows tell all that there is.
fn through(rows: &[Row], own: Option<Stream>) -> Looked {
    #[derive(Default)]
    struct Of {
        events: usize,
        /// Nothing new comes at or below it.
        above: i64,
        last: i64,
    }
    let mut streams: BTreeMap<i16, Of> = BTreeMap::new();
    for row in rows {
        let of = streams.entry(row.get("stream")).or_default();
        of.above = row.get("n_from");
        if let Some(number) = row.get::<_, Option<i64>>("n") {
            (of.events, of.last) = (of.events + 1, number);
        }
    }
    let is_full = |of: &Of| of.events >= EVENTS_MAX;
    // Of a stream that has more than is read at once, what comes behind is not seen yet: nothing that is newer goes out before it.
    let cut = streams.values().filter(|of| is_full(of)).map(|of| of.last).min();
    let base = streams.values().map(|of| of.above).max().unwrap_or(0);
    let through = streams.iter().map(|(slot, of)| {
        let all = match own.filter(|own| own.slot == *slot) {
            // Of the own one, what was there when it was taken.
            Some(own) => own.above,
            None => of.above,
        };
        let all = if is_full(of) { of.last } else { all.max(of.last) };
        (*slot, all.min(cut.unwrap_or(i64::MAX)))
    });
    Looked { own: own.map(|own| own.slot), through: through.collect(), cut, base }
}

fn answer(replies: Vec<(Reply, EventId)>) {
    for (reply, id) in replies {
        // The sender may have hung up: the event is taken all the same.
        let _ = reply.send(Ok(id));
    }
}

/// Reads events of all streams, each stream's in their order, with each stream at least once.
async fn read(postgres: &Arc<Postgres>, link: &Link, stream: Option<Stream>) -> Result<Vec<Row>, Trouble> {
    let (slots, cursors, base) = postgres.following.cursors();
    let mine: Vec<i32> = reading(&postgres.owned).keys().map(|id| id.0.cast_signed()).collect();
    let (own, above) = stream.map_or((0, 0), |stream| (stream.slot, stream.above));
    let all = postgres.watchers.are_there();
    // A segment is left when it is closed and all that it has was read. What was carried came long ago.
    let behind = postgres.following.behind(stream.map(|stream| (stream.slot, stream.above))).cast_unsigned();
    let spans = postgres.spans();
    let followed = spans.iter().filter(|span| span.segment != CARRIED && span.until.is_none_or(|until| until > behind));
    let tables: Vec<String> = followed.map(|span| format!("SELECT * FROM event_{}", span.segment)).collect();
    let sql = format!(
        "SELECT e.*, s.slot AS stream, s.n_from, s.segment FROM stream s
         LEFT JOIN unnest($1::int2[], $2::int8[]) c (slot, n) ON c.slot = s.slot
         LEFT JOIN LATERAL (
            SELECT {EVENT_HEAD}, CASE WHEN NOT is_erased AND ($6 OR destinations && $4)
                AND sum(octet_length(body)) OVER (ORDER BY n ROWS UNBOUNDED PRECEDING) <= {BODIES_MAX} THEN body END AS body
            FROM (SELECT * FROM ({}) a WHERE a.slot = s.slot AND a.n > coalesce(c.n, $3) AND (s.slot <> $5 OR a.n <= $7)
                ORDER BY a.n LIMIT {EVENTS_MAX}) e) e ON true
         ORDER BY s.slot, e.n",
        tables.join(" UNION ALL ")
    );
    let rows = link.rows(&sql, &[&slots, &cursors, &base, &mine, &own, &all, &above]).await?;
    let hold = |row: &Row| Some((NameId(row.get::<_, Option<i32>>("source")?.cast_unsigned()), row.get("hold")));
    postgres.know_holds(link, rows.iter().filter_map(hold)).await?;
    Ok(rows)
}

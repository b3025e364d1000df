//! The numbers of events, which a sequence of the database gives.

use super::cluster::numbers::leap;
use super::link::Link;
use super::trouble::Trouble;

/// Sets the sequence of numbers forward where it is behind the time: after a failover that has lost the newest of them, none is given again
/// that anybody has seen. Whoever draws numbers on a connection has done this on it before.
pub async fn raise(link: &Link) -> Result<(), Trouble> {
    loop {
        let seen =
            link.rows("SELECT last_value, extract(epoch FROM clock_timestamp())::int8 FROM event_number", &[]).await?;
        let Some(row) = seen.first() else { return Ok(()) };
        let (last, seconds): (i64, i64) = (row.get(0), row.get(1));
        let Some(to) = leap(last.cast_unsigned(), seconds.cast_unsigned()) else { return Ok(()) };
        let to = to.cast_signed();
        // Under the lock of `meta`, so that two that do this come one after the other.
        let sql = "WITH mine AS MATERIALIZED (SELECT 1 FROM meta FOR UPDATE)
            SELECT setval('event_number', $1) FROM mine, event_number WHERE last_value < $1";
        link.rows(sql, &[&to]).await?;
    }
}

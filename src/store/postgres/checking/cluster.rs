//! Numbers, streams and leases.

use super::*;
use crate::store::postgres::spans::CARRIED;

impl Check {
    pub(super) async fn cluster(&mut self, segments: &[i32]) -> Result<Vec<Answered>, Trouble> {
        let mut numbers = Answered::new("numbers lie where they are looked for");
        let mut streams = Answered::new("each event is of a stream that is followed");
        for k in segments {
            if !self.has_time() {
                break;
            }
            self.numbers_of(*k, &mut numbers).await?;
            self.streams_of(*k, &mut streams).await?;
        }
        numbers.answer = of(segments.len() as i64, "segment", "segments");
        let sql = "SELECT s.slot, s.segment, g.k IS NULL, l.duty IS NULL FROM stream s
            LEFT JOIN segment g ON g.k = s.segment LEFT JOIN lease l ON l.duty = 'stream/' || s.slot ORDER BY s.slot";
        let rows = self.ask(sql, &[]).await?;
        streams.answer = of(rows.len() as i64, "stream", "streams");
        for row in rows {
            let (slot, segment): (i16, i32) = (row.get(0), row.get(1));
            if row.get(2) {
                streams.add_why(format!("stream {slot} appends to segment {segment}, which is not there"));
            }
            if row.get(3) {
                streams.add_why(format!("stream {slot} has no lease, so two relays may append to it"));
            }
        }
        Ok(vec![numbers, streams, self.leases().await?, self.commands().await?])
    }

    async fn numbers_of(&self, k: i32, numbers: &mut Answered) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT (SELECT n FROM event_{k} ORDER BY n LIMIT 1), (SELECT n FROM event_{k} ORDER BY n DESC LIMIT 1), g.n_from, g.n_until,
                (SELECT last_value FROM event_number) FROM segment g WHERE g.k = {k}"
        );
        let Some(rows) = self.ask_of_segment(&sql, &[]).await? else {
            // It is there no more, or its tables alone are not.
            let still = self.ask("SELECT 1 FROM segment WHERE k = $1", &[&k]).await?;
            if !still.is_empty() {
                numbers.add_why(format!("the tables of segment {k} are not there"));
            }
            return Ok(());
        };
        for row in rows {
            let (first, last): (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
            let (from, until): (i64, Option<i64>) = (row.get(2), row.get(3));
            let (Some(first), Some(last)) = (first, last) else { continue };
            // What was taken in from a journal may have the number 0.
            let is_before = first <= from && (first, from) != (0, 0);
            if k != CARRIED && (is_before || until.is_some_and(|until| last > until)) {
                let until = until.map_or_else(|| "the end".to_owned(), |until| until.to_string());
                numbers.add_why(format!(
                    "segment {k} has events {first} to {last}, and they are looked for in it above {from} up to {until}"
                ));
            }
            let given: i64 = row.get(4);
            if last > given {
                numbers.add_why(format!(
                    "segment {k} has event {last}, and the sequence event_number stands at {given}: numbers would be given twice; set it forward with setval"
                ));
            }
        }
        Ok(())
    }

    /// What came by no stream (a number below 0) was put there while no relay ran.
    async fn streams_of(&self, k: i32, streams: &mut Answered) -> Result<(), Trouble> {
        let next = |after: &str| format!("(SELECT slot FROM event_{k} {after} ORDER BY slot, n LIMIT 1)");
        let sql = format!(
            "WITH RECURSIVE at AS (SELECT {} AS slot UNION ALL SELECT {} FROM at WHERE at.slot IS NOT NULL)
             SELECT a.slot FROM at a LEFT JOIN stream s ON s.slot = a.slot WHERE a.slot >= 0 AND s.slot IS NULL",
            next(""),
            next("WHERE slot > at.slot")
        );
        for row in self.ask_of_segment(&sql, &[]).await?.unwrap_or_default() {
            let slot: i16 = row.get(0);
            streams.add_why(format!("segment {k} has events of stream {slot}, which is not there"));
        }
        Ok(())
    }

    /// One that a relay holds which is gone is taken by the next: that is no fault.
    async fn leases(&self) -> Result<Answered, Trouble> {
        let sql = "SELECT l.duty, l.epoch, l.incarnation IS NOT NULL, r.name,
                l.duty LIKE 'destination/%' AND NOT EXISTS (SELECT FROM name m WHERE m.kind = 'destination' AND l.duty = 'destination/' || m.id)
            FROM lease l LEFT JOIN relay r USING (incarnation) ORDER BY l.duty";
        let mut answered = Answered::new("leases fit relays and destinations");
        let (mut held, mut orphaned) = (0, 0);
        for row in self.ask(sql, &[]).await? {
            let (duty, epoch): (String, i64) = (row.get(0), row.get(1));
            let (is_held, owner): (bool, Option<String>) = (row.get(2), row.get(3));
            held += i64::from(is_held && owner.is_some());
            orphaned += i64::from(is_held && owner.is_none());
            if epoch < 1 {
                answered.add_why(format!("the lease {duty} has epoch {epoch}, which there never was"));
            }
            if row.get(4) {
                answered.add_why(format!("the lease {duty} is of a destination that has no name"));
            }
        }
        let relays = self.ask("SELECT count(*) FROM relay", &[]).await?;
        let relays: i64 = relays.first().map_or(0, |row| row.get(0));
        answered.answer = format!("{} of {}", of(held, "lease", "leases"), of(relays, "relay", "relays"));
        if orphaned > 0 {
            answered.answer.push_str(&format!("; {orphaned} of relays that are gone, for the next to take"));
        }
        Ok(answered)
    }

    async fn commands(&self) -> Result<Answered, Trouble> {
        let sql = "SELECT count(*), ((extract(epoch FROM clock_timestamp()) * 1000)::int8 - min(asked_ms)) / 1000 FROM command WHERE done_ms IS NULL";
        let rows = self.ask(sql, &[]).await?;
        let (count, age_s): (i64, Option<i64>) = rows.first().map_or((0, None), |row| (row.get(0), row.get(1)));
        let oldest = age_s.map(|age_s| format!(", the oldest for {age_s} s")).unwrap_or_default();
        Ok(Answered::told("commands that wait for a destination's relay", format!("{count}{oldest}")))
    }
}

//! What is kept no longer.

use rusqlite::params;

use super::*;
use crate::store::NameId;
use crate::store::journal::segments::SegmentInfo;
use crate::store::queues::{Bitmap, CHUNK};

impl Database {
    /// Dead letters that were given up before the store had run for so long, at most so many.
    pub fn dead_before(&self, ran_ms: u64, max: usize) -> Result<Vec<(NameId, u64)>> {
        let sql = "SELECT destination, sequence FROM dead WHERE seen_ms < ?1 LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![signed(ran_ms), signed(max as u64)], |row| {
            Ok((NameId(row.get(0)?), unsigned(row, 1)?))
        })?;
        rows.collect()
    }

    /// What was given up all at once before the store had run for so long.
    pub fn dead_lettered_before(&self, ran_ms: u64) -> Result<Vec<(NameId, Bitmap)>> {
        let sql = "SELECT destination, chunk, bits FROM buried WHERE seen_ms < ?1 ORDER BY destination, chunk, at_ms LIMIT 16";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([signed(ran_ms)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut members = Bitmap::default();
            let bits: Vec<u8> = row.get(2)?;
            if members.decode(unsigned(row, 1)?, &bits) {
                found.push((NameId(row.get(0)?), members));
            }
        }
        Ok(found)
    }

    /// Forgets what was given up all at once before that, once none of it is kept.
    pub fn forget_dead_lettered_before(&self, ran_ms: u64) -> Result<()> {
        let sql = "DELETE FROM buried WHERE (destination, chunk, at_ms) IN \
                   (SELECT destination, chunk, at_ms FROM buried WHERE seen_ms < ?1 \
                   ORDER BY destination, chunk, at_ms LIMIT 16)";
        self.connection.prepare_cached(sql)?.execute([signed(ran_ms)]).map(drop)
    }

    pub fn forget_dead(&self, destination: NameId, sequence: u64) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("DELETE FROM dead WHERE destination = ?1 AND sequence = ?2")?;
        statement.execute(params![destination.0, signed(sequence)]).map(drop)
    }

    pub fn forget_relocated(&self, sequence: u64) -> Result<()> {
        let mut statement = self.connection.prepare_cached("DELETE FROM carried WHERE sequence = ?1")?;
        statement.execute([signed(sequence)]).map(drop)
    }

    /// Forgets what became of events from a number on, which are not in the journal: the next ones get their numbers.
    pub fn forget_events_from(&self, sequence: u64) -> Result<()> {
        for table in ["attempt", "late", "dead", "carried"] {
            self.connection.execute(&format!("DELETE FROM {table} WHERE sequence >= ?1"), [signed(sequence)])?;
        }
        self.forget_dead_lettered_from(sequence)
    }

    /// The same of what was given up all at once.
    fn forget_dead_lettered_from(&self, sequence: u64) -> Result<()> {
        let sql = "SELECT destination, chunk, at_ms, bits FROM buried WHERE chunk >= ?1";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([signed(sequence / CHUNK)], |row| {
            Ok((row.get::<_, u32>(0)?, unsigned(row, 1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        for (destination, chunk, at_ms, bits) in rows.collect::<Result<Vec<_>>>()? {
            let mut members = Bitmap::default();
            if !members.decode(chunk, &bits) {
                continue;
            }
            let kept: Bitmap = members.iter_from(0).take_while(|member| *member < sequence).collect();
            if kept.len() < members.len() {
                self.leave_dead_lettered(destination, chunk, at_ms, &kept)?;
            }
        }
        Ok(())
    }

    /// A segment is gone, and with it everything before a number that was not relocated.
    pub fn forget_segment(&self, info: &SegmentInfo, file: &str, history_start: u64) -> Result<()> {
        let segment = signed(info.segment);
        let start = signed(history_start);
        self.connection.prepare_cached("DELETE FROM segment WHERE segment <= ?1")?.execute([segment])?;
        self.connection.prepare_cached("DELETE FROM uses WHERE segment <= ?1")?.execute([segment])?;
        self.connection.prepare_cached("DELETE FROM acts WHERE segment <= ?1")?.execute([segment])?;
        self.connection.prepare_cached("DELETE FROM carried WHERE segment = ?1")?.execute([segment])?;
        self.connection.prepare_cached("DELETE FROM damage WHERE file = ?1")?.execute([file])?;
        for table in ["late", "attempt"] {
            let sql =
                format!("DELETE FROM {table} WHERE sequence < ?1 AND sequence NOT IN (SELECT sequence FROM carried)");
            self.connection.prepare_cached(&sql)?.execute([start])?;
        }
        Ok(())
    }
}

//! How old things are, and how far the store had come.

use rusqlite::{OptionalExtension, Row, params};

use super::*;
use crate::store::journal::index::ages::{Lived, Saved};
use crate::store::journal::segments::SegmentInfo;
use crate::time::Clock;

impl Database {
    /// Goes on counting the time that the store lives through.
    pub fn go_on(&mut self, clock: Clock) -> Result<()> {
        let sql = "SELECT ran_ms, passed_ms, clock_ms FROM age";
        let saved = |row: &Row<'_>| {
            let ran_ms = unsigned(row, 0)?;
            let passed_ms = unsigned(row, 1)?;
            Ok(Saved { ran_ms, passed_ms, clock_ms: unsigned(row, 2)? })
        };
        let saved = self.connection.query_row(sql, [], saved).optional();
        self.lived = Some(Lived::go_on(clock, saved.as_ref().ok().copied().flatten()));
        saved.map(drop)
    }

    /// How far the store had come at a stamp.
    pub(super) fn seen(&self, at_ms: u64) -> i64 {
        signed(self.lived.map_or(0, |lived| lived.ran_at(at_ms)))
    }

    /// Writes down how far the store has come, and which events had come when.
    pub fn save_ages(&self, saved: Saved, notes: impl IntoIterator<Item = (u64, u64)>) -> Result<()> {
        let Saved { ran_ms, passed_ms, clock_ms } = saved;
        let row = params![signed(ran_ms), signed(passed_ms), signed(clock_ms)];
        self.connection.prepare_cached("INSERT OR REPLACE INTO age VALUES (1, ?1, ?2, ?3)")?.execute(row)?;
        self.connection.prepare_cached("DELETE FROM arrived")?.execute([])?;
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO arrived VALUES (?1, ?2)")?;
        notes.into_iter().try_for_each(|(passed_ms, sequence)| {
            statement.execute(params![signed(sequence), signed(passed_ms)]).map(drop)
        })
    }

    /// Which events had come when: the time passed, and the number below which all had.
    pub fn arrived(&self) -> Result<Vec<(u64, u64)>> {
        let mut statement = self.connection.prepare("SELECT passed_ms, sequence FROM arrived ORDER BY sequence")?;
        let rows = statement.query_map([], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
        rows.collect()
    }

    /// Writes down when each segment was made.
    pub fn save_made(&self, segments: &[SegmentInfo]) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM made")?.execute([])?;
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO made VALUES (?1, ?2)")?;
        segments
            .iter()
            .try_for_each(|info| statement.execute(params![signed(info.segment), signed(info.made_ms)]).map(drop))
    }

    /// When each segment was made.
    pub fn made(&self) -> Result<std::collections::HashMap<u64, u64>> {
        let mut statement = self.connection.prepare("SELECT segment, ran_ms FROM made")?;
        let rows = statement.query_map([], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
        rows.collect()
    }
}

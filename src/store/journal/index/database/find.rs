//! Looking things up.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params};

use super::*;
use crate::store::journal::format::ReplayRecord;
use crate::store::journal::words::{Damage, Letter, Place};
use crate::store::queues::{Bitmap, CommandAct, CommandKind, DeliveryKey, KnownCommand, RememberedRow};
use crate::store::{AskedPrint, AttemptNote, NameId};

impl Database {
    /// The commands that are remembered, oldest first.
    pub fn commands(&self) -> Result<Vec<KnownCommand>> {
        let sql = "SELECT id, destination, kind, other, deliveries, at_ms, asked FROM command ORDER BY at_ms";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let id = u128::from_be_bytes(row.get(0)?);
            // What only a later program can do is asked for by nobody here.
            let kind = CommandKind::of_numbers(row.get(2)?, row.get(3)?);
            let of = NameId(row.get(1)?);
            let deliveries = unsigned(row, 4)?;
            let at_ms = unsigned(row, 5)?;
            let asked = row.get::<_, Option<i64>>(6)?.map(|asked| AskedPrint(asked.cast_unsigned()));
            Ok(kind.map(|kind| KnownCommand { id, act: CommandAct { of, kind, asked }, deliveries, at_ms }))
        })?;
        rows.filter_map(Result::transpose).collect()
    }

    /// What is known of a destination's dead letters with these numbers, which come in order.
    pub fn dead_letters(
        &self,
        destination: NameId,
        sequences: impl IntoIterator<Item = u64>,
    ) -> Result<HashMap<u64, Letter>> {
        let sql = "SELECT attempts, at_ms, reason FROM dead WHERE destination = ?1 AND sequence = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut letters = HashMap::new();
        let mut at_once = None;
        for sequence in sequences {
            let row = |row: &Row<'_>| {
                let attempts = row.get(0)?;
                let reason = row.get(2)?;
                Ok(Letter { sequence, destination, attempts, at_ms: unsigned(row, 1)?, reason })
            };
            let known = statement.query_row(params![destination.0, signed(sequence)], row).optional()?;
            if let Some(known) = known {
                letters.insert(sequence, known);
                continue;
            }
            // Read once for all of a chunk: what was given up a little every second fills many rows.
            let chunk = sequence / crate::store::queues::CHUNK;
            if at_once.as_ref().is_none_or(|(of, _)| *of != chunk) {
                at_once = Some((chunk, self.dead_lettered(destination, chunk)?));
            }
            let rows = at_once.iter().flat_map(|(_, rows)| rows);
            if let Some((_, at_ms, reason)) = rows.into_iter().find(|(members, ..)| members.contains(sequence)) {
                let at_ms = *at_ms;
                let reason = reason.clone();
                letters.insert(sequence, Letter { sequence, destination, attempts: 0, at_ms, reason });
            }
        }
        Ok(letters)
    }

    /// What was given up all at once, in one chunk: which, when and why, the newest first.
    pub(super) fn dead_lettered(&self, destination: NameId, chunk: u64) -> Result<Vec<(Bitmap, u64, String)>> {
        let sql = "SELECT at_ms, reason, bits FROM buried WHERE destination = ?1 AND chunk = ?2 ORDER BY at_ms DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![destination.0, signed(chunk)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (mut members, bits): (_, Vec<u8>) = (Bitmap::default(), row.get(2)?);
            if members.decode(chunk, &bits) {
                found.push((members, unsigned(row, 0)?, row.get(1)?));
            }
        }
        Ok(found)
    }

    /// Shows each text and each run of bytes in its rows, with the table's name, as long as it shall go on.
    pub fn values(&self, goes_on: &mut dyn FnMut(&str, &[u8]) -> bool) -> Result<()> {
        let mut statement = self.connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
        let tables = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>>>()?;
        for table in tables {
            let mut statement = self.connection.prepare(&format!("SELECT * FROM {table}"))?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for at in 0..columns {
                    let (ValueRef::Text(value) | ValueRef::Blob(value)) = row.get_ref(at)? else { continue };
                    if !goes_on(&table, value) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    pub fn late(&self, sequence: u64) -> Result<Vec<(NameId, u16, u64)>> {
        let mut statement =
            self.connection.prepare_cached("SELECT destination, attempts, at_ms FROM late WHERE sequence = ?1")?;
        let rows =
            statement.query_map([signed(sequence)], |row| Ok((NameId(row.get(0)?), row.get(1)?, unsigned(row, 2)?)))?;
        rows.collect()
    }

    pub fn notes(&self, key: &DeliveryKey) -> Result<Vec<AttemptNote>> {
        let sql = "SELECT at_ms, took_ms, outcome, status, reason, answer FROM attempt \
                   WHERE sequence = ?1 AND destination = ?2 ORDER BY at_ms";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![signed(key.sequence), key.destination.0], |row| {
            let at_ms = unsigned(row, 0)?;
            let took_ms = unsigned(row, 1)?;
            let outcome = row.get(2)?;
            let status = row.get(3)?;
            Ok(AttemptNote { at_ms, took_ms, outcome, status, reason: row.get(4)?, answer: row.get(5)? })
        })?;
        rows.collect()
    }

    pub fn place(&self, sequence: u64) -> Result<Option<Place>> {
        let mut statement = self.connection.prepare_cached("SELECT segment, place FROM carried WHERE sequence = ?1")?;
        let place = |row: &Row<'_>| Ok(Place { segment: unsigned(row, 0)?, offset: unsigned(row, 1)? });
        statement.query_row([signed(sequence)], place).optional()
    }

    /// The events that lie relocated in a segment.
    pub fn relocated_in(&self, segment: u64) -> Result<Vec<u64>> {
        let mut statement =
            self.connection.prepare_cached("SELECT sequence FROM carried WHERE segment = ?1 ORDER BY sequence")?;
        let rows = statement.query_map([signed(segment)], |row| unsigned(row, 0))?;
        rows.collect()
    }

    /// Bytes of the bodies of relocated events.
    pub fn relocated_bytes(&self) -> Result<u64> {
        // Kept by triggers: there may be millions of rows, and this is asked every second.
        let sql = "SELECT bytes FROM total";
        self.connection.prepare_cached(sql)?.query_row([], |row| unsigned(row, 0))
    }

    /// Relocated events from a number on with the bytes of their bodies, oldest first, at most so many.
    pub fn relocated_from(&self, sequence: u64, max: usize) -> Result<Vec<(u64, u64)>> {
        let sql = "SELECT sequence, bytes FROM carried WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![signed(sequence), signed(max as u64)], |row| {
            Ok((unsigned(row, 0)?, unsigned(row, 1)?))
        })?;
        rows.collect()
    }

    pub fn facts(&self) -> Result<HashMap<NameId, String>> {
        let mut statement = self.connection.prepare_cached("SELECT destination, fact FROM fact")?;
        let rows = statement.query_map([], |row| Ok((NameId(row.get(0)?), row.get(1)?)))?;
        rows.collect()
    }

    pub fn memos(&self) -> Result<HashMap<String, String>> {
        let mut statement = self.connection.prepare_cached("SELECT key, text FROM memo")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    pub fn remembered(&self) -> Result<Vec<RememberedRow>> {
        let mut statement = self.connection.prepare_cached("SELECT destination, key, text, number FROM remembered")?;
        let rows = statement.query_map([], |row| {
            Ok(RememberedRow {
                of: NameId(row.get(0)?),
                key: row.get(1)?,
                text: row.get(2)?,
                number: unsigned(row, 3)?,
            })
        })?;
        rows.collect()
    }

    pub fn replays(&self) -> Result<Vec<ReplayRecord>> {
        let sql = "SELECT id, spec, cursor, until, selected, at_ms, done FROM replay ORDER BY at_ms DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let id = u128::from_be_bytes(row.get(0)?);
            let cursor = unsigned(row, 2)?;
            let until = unsigned(row, 3)?;
            let selected = unsigned(row, 4)?;
            let spec = row.get(1)?;
            let at_ms = unsigned(row, 5)?;
            let is_done = row.get(6)?;
            Ok(ReplayRecord { id, spec, cursor, until, selected, at_ms, is_done })
        })?;
        rows.collect()
    }

    pub fn damage(&self) -> Result<Vec<Damage>> {
        let mut statement =
            self.connection.prepare_cached("SELECT file, start, finish FROM damage ORDER BY file, start")?;
        let rows = statement
            .query_map([], |row| Ok(Damage { file: row.get(0)?, bytes: unsigned(row, 1)?..unsigned(row, 2)? }))?;
        rows.collect()
    }
}

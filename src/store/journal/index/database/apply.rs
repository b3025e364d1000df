//! Writing down what has happened.

use rusqlite::{OptionalExtension, params};

use super::*;
use crate::store::journal::format::ReplayRecord;
use crate::store::journal::index::Update;
use crate::store::journal::words::{Damage, Letter, Place};
use crate::store::queues::{Bitmap, BulkAct, CommandAct, DeliveryKey, KnownCommand, RememberedRow, SelectionRecord};
use crate::store::{AskedPrint, AttemptNote, COMMANDS_MAX, NameId};

impl Database {
    pub fn apply(&mut self, update: &Update) -> Result<()> {
        match update {
            Update::Dead(letter) => self.dead(letter),
            Update::Late { key, attempts, at_ms } => {
                let mut statement =
                    self.connection.prepare_cached("INSERT OR REPLACE INTO late VALUES (?1, ?2, ?3, ?4)")?;
                statement.execute(params![signed(key.sequence), key.destination.0, attempts, signed(*at_ms)]).map(drop)
            }
            Update::Selection(selection) => self.selection(selection),
            Update::Command(command) => self.command(command),
            Update::Replay(replay) => self.replay(replay),
            Update::Relocated(places) => places.iter().try_for_each(|(sequence, place, bytes)| {
                let mut statement =
                    self.connection.prepare_cached("INSERT OR REPLACE INTO carried VALUES (?1, ?2, ?3, ?4)")?;
                let Place { segment, offset } = *place;
                statement.execute(params![signed(*sequence), signed(segment), signed(offset), signed(*bytes)]).map(drop)
            }),
            Update::Notes(notes) => notes.iter().try_for_each(|(key, note)| self.note(key, note)),
            Update::Fact(destination, fact) => {
                let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO fact VALUES (?1, ?2)")?;
                statement.execute(params![destination.0, fact]).map(drop)
            }
            Update::Memo(key, text) => {
                let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO memo VALUES (?1, ?2)")?;
                statement.execute(params![key, text]).map(drop)
            }
            Update::Remembered(rows) => rows.iter().try_for_each(|row| self.remember(row)),
            Update::Damage(Damage { file, bytes }) => {
                let mut statement =
                    self.connection.prepare_cached("INSERT OR REPLACE INTO damage VALUES (?1, ?2, ?3)")?;
                statement.execute(params![file, signed(bytes.start), signed(bytes.end)]).map(drop)
            }
            Update::NamesGone(ids) => ids.iter().try_for_each(|id| self.forget_name(*id)),
        }
    }

    fn remember(&self, RememberedRow { of, key, text, number }: &RememberedRow) -> Result<()> {
        let Some(text) = text else {
            let mut statement =
                self.connection.prepare_cached("DELETE FROM remembered WHERE destination = ?1 AND key = ?2")?;
            return statement.execute(params![of.0, key]).map(drop);
        };
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO remembered VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![of.0, key, text, signed(*number)]).map(drop)
    }

    /// A number that nothing refers to any more. Its queue is blank, and what is left here is about events that are gone.
    pub(super) fn forget_name(&mut self, NameId(id): NameId) -> Result<()> {
        for table in ["fact", "remembered", "dead", "buried", "bits", "let_go", "postponed", "head", "digest", "member"]
        {
            let sql = format!("DELETE FROM {table} WHERE destination = ?1");
            self.connection.prepare_cached(&sql)?.execute([id])?;
        }
        self.written.retain(|(destination, ..), _| *destination != id);
        self.members.retain(|(destination, ..), _| *destination != id);
        Ok(())
    }

    pub(super) fn dead(&self, letter: &Letter) -> Result<()> {
        // Read or relocated again it is as old as it was; given up again it is new.
        let sql = "INSERT INTO dead VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (destination, sequence) DO UPDATE SET \
                   attempts = excluded.attempts, reason = excluded.reason, at_ms = excluded.at_ms, \
                   seen_ms = CASE WHEN at_ms = excluded.at_ms THEN seen_ms ELSE excluded.seen_ms END";
        let Letter { sequence, destination, attempts, at_ms, reason } = letter;
        let row = params![destination.0, signed(*sequence), attempts, signed(*at_ms), reason, self.seen(*at_ms)];
        self.connection.prepare_cached(sql)?.execute(row).map(drop)
    }

    pub(super) fn selection(&self, selection: &SelectionRecord) -> Result<()> {
        let destination = selection.destination.0;
        match selection.act {
            BulkAct::Redeliver | BulkAct::Drop | BulkAct::MoveDead(_) => {
                self.take_from_dead_lettered(selection)?;
                let count: i64 = self
                    .connection
                    .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM dead WHERE destination = ?1 LIMIT 1)")?
                    .query_row([destination], |row| row.get(0))?;
                if count == 0 {
                    return Ok(());
                }
                let mut statement =
                    self.connection.prepare_cached("DELETE FROM dead WHERE destination = ?1 AND sequence = ?2")?;
                for sequence in selection.sequences.iter_from(0) {
                    statement.execute(params![destination, signed(sequence)])?;
                }
                Ok(())
            }
            BulkAct::DeadLetter => {
                let sql = "INSERT INTO buried VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (destination, chunk, at_ms) \
                           DO UPDATE SET reason = excluded.reason, bits = excluded.bits";
                let mut statement = self.connection.prepare_cached(sql)?;
                let seen = self.seen(selection.at_ms);
                for (chunk, mut bits) in selection.sequences.encode() {
                    // Two in one millisecond share a row.
                    let sql = "SELECT bits FROM buried WHERE destination = ?1 AND chunk = ?2 AND at_ms = ?3";
                    let key = params![destination, signed(chunk), signed(selection.at_ms)];
                    let earlier = self.connection.prepare_cached(sql)?.query_row(key, |row| row.get::<_, Vec<u8>>(0));
                    let mut both = Bitmap::default();
                    if let Some(earlier) = earlier.optional()?
                        && both.decode(chunk, &earlier)
                        && both.decode(chunk, &bits)
                        && let Some((_, union)) = both.encode().next()
                    {
                        bits = union;
                    }
                    let row =
                        params![destination, signed(chunk), signed(selection.at_ms), selection.reason, bits, seen];
                    statement.execute(row)?;
                }
                Ok(())
            }
            BulkAct::MoveWaiting(_) => Ok(()),
        }
    }

    /// What was given up all at once is not any more: given up again, it is kept from then on.
    pub(super) fn take_from_dead_lettered(&self, selection: &SelectionRecord) -> Result<()> {
        let destination = selection.destination.0;
        let mut find =
            self.connection.prepare_cached("SELECT at_ms, bits FROM buried WHERE destination = ?1 AND chunk = ?2")?;
        for (chunk, _) in selection.sequences.encode() {
            let rows = find.query_map(params![destination, signed(chunk)], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            for (at_ms, bits) in rows.collect::<Result<Vec<_>>>()? {
                let mut members = Bitmap::default();
                if !members.decode(chunk, &bits) {
                    continue;
                }
                let before = members.len();
                members.remove_all(&selection.sequences);
                if members.len() == before {
                    continue;
                }
                self.leave_dead_lettered(destination, chunk, at_ms, &members)?;
            }
        }
        Ok(())
    }

    /// What is left of a row of those that were given up many at once, if anything is.
    pub(super) fn leave_dead_lettered(&self, destination: u32, chunk: u64, at_ms: i64, left: &Bitmap) -> Result<()> {
        let Some((_, bits)) = left.encode().next() else {
            let sql = "DELETE FROM buried WHERE destination = ?1 AND chunk = ?2 AND at_ms = ?3";
            return self.connection.prepare_cached(sql)?.execute(params![destination, signed(chunk), at_ms]).map(drop);
        };
        let sql = "UPDATE buried SET bits = ?4 WHERE destination = ?1 AND chunk = ?2 AND at_ms = ?3";
        self.connection.prepare_cached(sql)?.execute(params![destination, signed(chunk), at_ms, bits]).map(drop)
    }

    pub(super) fn command(&self, command: &KnownCommand) -> Result<()> {
        let KnownCommand { id, act: CommandAct { of, kind, asked }, deliveries, at_ms } = command;
        let (kind, other) = kind.to_numbers();
        let mut statement = self.connection.prepare_cached(
            "INSERT OR IGNORE INTO command (id, destination, kind, other, deliveries, at_ms, asked)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let asked = asked.map(|AskedPrint(asked)| signed(asked));
        statement.execute(params![id.to_be_bytes(), of.0, kind, other, signed(*deliveries), signed(*at_ms), asked])?;
        let sql = "DELETE FROM command WHERE id IN (SELECT id FROM command ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)";
        self.connection.prepare_cached(sql)?.execute([COMMANDS_MAX as i64]).map(drop)
    }

    pub(super) fn replay(&self, replay: &ReplayRecord) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO replay VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let ReplayRecord { id, spec, cursor, until, selected, at_ms, is_done } = replay;
        let id = id.to_be_bytes();
        let row = params![id, spec, signed(*cursor), signed(*until), signed(*selected), signed(*at_ms), is_done];
        statement.execute(row)?;
        let sql = "DELETE FROM replay WHERE id IN (SELECT id FROM replay ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)";
        self.connection.prepare_cached(sql)?.execute([REPLAYS_MAX]).map(drop)
    }

    pub(super) fn note(&self, key: &DeliveryKey, note: &AttemptNote) -> Result<()> {
        let sequence = signed(key.sequence);
        let destination = key.destination.0;
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let AttemptNote { at_ms, took_ms, outcome, status, reason, answer } = note;
        let at_ms = signed(*at_ms);
        let took_ms = signed(*took_ms);
        statement.execute(params![sequence, destination, at_ms, took_ms, outcome, status, reason, answer])?;
        let sql = "DELETE FROM attempt WHERE sequence = ?1 AND destination = ?2 AND at_ms <= (SELECT at_ms FROM attempt \
                   WHERE sequence = ?1 AND destination = ?2 ORDER BY at_ms DESC LIMIT 1 OFFSET ?3)";
        self.connection.prepare_cached(sql)?.execute(params![sequence, destination, NOTES_MAX]).map(drop)
    }
}

//! The index's SQLite file: its tables, and every statement on them.
//!
//! Nothing here is the only copy of anything but the details of old attempts and small facts: the rest is read again from the
//! journal when it is lost. Every row is written so that writing it twice changes nothing.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::ages::{Lived, Saved};
use super::{Letter, Update, beside};
use crate::store::journal::bitmap::Bitmap;
use crate::store::journal::commands::{CommandAct, KnownCommand};
use crate::store::journal::format::{ReplayRecord, SelectionRecord};
use crate::store::journal::queue::{Postponed, Snapshot};
use crate::store::journal::recover::Damage;
use crate::store::journal::segments::{Place, SegmentInfo};
use crate::store::{AttemptNote, COMMANDS_MAX, DeliveryKey, NameId, Selecting};
use crate::time::Clock;

type Result<T> = rusqlite::Result<T>;

/// The version of the tables. Another one is put aside and the index is made again.
const SCHEMA_VERSION: i64 = 2;
/// From the version before: what was given up then is as old as the change.
const FROM_VERSION_1: &str = "
ALTER TABLE dead ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE buried ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
DROP INDEX IF EXISTS dead_at;
DROP INDEX IF EXISTS buried_at;
";
/// Attempts kept in detail for each delivery: the newest.
pub const NOTES_MAX: i64 = 5;
/// Replays remembered, so that a repeated command is known.
pub const REPLAYS_MAX: i64 = 1000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segment (segment INTEGER PRIMARY KEY, first INTEGER, start INTEGER, finish INTEGER, created_ms INTEGER,
    low INTEGER, high INTEGER, marks BLOB);
CREATE TABLE IF NOT EXISTS bits (destination INTEGER, kind INTEGER, chunk INTEGER, bits BLOB,
    PRIMARY KEY (destination, kind, chunk)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS let_go (destination INTEGER, passed_ms INTEGER, chunk INTEGER, bits BLOB,
    PRIMARY KEY (destination, passed_ms, chunk)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS postponed (destination INTEGER, sequence INTEGER, attempts INTEGER, first_ms INTEGER, due_ms INTEGER,
    reason TEXT, PRIMARY KEY (destination, sequence)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead (destination INTEGER, sequence INTEGER, attempts INTEGER, at_ms INTEGER, reason TEXT,
    seen_ms INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (destination, sequence)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS dead_seen ON dead (seen_ms);
CREATE TABLE IF NOT EXISTS buried (destination INTEGER, chunk INTEGER, at_ms INTEGER, reason TEXT, bits BLOB,
    seen_ms INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (destination, chunk, at_ms)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS buried_seen ON buried (seen_ms);
CREATE TABLE IF NOT EXISTS age (one INTEGER PRIMARY KEY CHECK (one = 1), ran_ms INTEGER, passed_ms INTEGER, clock_ms INTEGER);
CREATE TABLE IF NOT EXISTS arrived (sequence INTEGER PRIMARY KEY, passed_ms INTEGER);
CREATE TABLE IF NOT EXISTS made (segment INTEGER PRIMARY KEY, ran_ms INTEGER);
CREATE TABLE IF NOT EXISTS acts (segment INTEGER PRIMARY KEY, low INTEGER, high INTEGER);
CREATE TABLE IF NOT EXISTS late (sequence INTEGER, destination INTEGER, attempts INTEGER, at_ms INTEGER,
    PRIMARY KEY (sequence, destination)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempt (sequence INTEGER, destination INTEGER, at_ms INTEGER, took_ms INTEGER, outcome TEXT,
    status INTEGER, reason TEXT, answer TEXT, PRIMARY KEY (sequence, destination, at_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS carried (sequence INTEGER PRIMARY KEY, segment INTEGER, place INTEGER, bytes INTEGER);
CREATE INDEX IF NOT EXISTS carried_segment ON carried (segment);
CREATE TABLE IF NOT EXISTS total (bytes INTEGER);
CREATE TRIGGER IF NOT EXISTS carried_more AFTER INSERT ON carried BEGIN UPDATE total SET bytes = bytes + new.bytes; END;
CREATE TRIGGER IF NOT EXISTS carried_less AFTER DELETE ON carried BEGIN UPDATE total SET bytes = bytes - old.bytes; END;
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);
CREATE TABLE IF NOT EXISTS replay (id BLOB PRIMARY KEY, spec TEXT, cursor INTEGER, until INTEGER, selected INTEGER, at_ms INTEGER,
    done INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS command (id BLOB PRIMARY KEY, destination INTEGER, kind INTEGER, other INTEGER, deliveries INTEGER,
    at_ms INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (destination INTEGER PRIMARY KEY, fact TEXT);
CREATE TABLE IF NOT EXISTS uses (segment INTEGER PRIMARY KEY, names BLOB);
CREATE TABLE IF NOT EXISTS damage (file TEXT, start INTEGER, finish INTEGER, PRIMARY KEY (file, start)) WITHOUT ROWID;
";

/// Everything but facts and attempts can be read from the journal again.
const DERIVED: [&str; 13] = [
    "meta",
    "segment",
    "acts",
    "uses",
    "bits",
    "let_go",
    "postponed",
    "dead",
    "buried",
    "late",
    "carried",
    "damage",
    "command",
];

/// The sets of a queue, as the table `bits` numbers them.
const KINDS: [i64; 3] = [0, 1, 2];
/// What is held is numbered from here on, by its source.
const KIND_HELD: i64 = 16;

pub const META_JOURNAL: &str = "journal";
pub const META_SEGMENT: &str = "checkpoint segment";
pub const META_GROUP: &str = "next group";

/// The database.
pub struct Database {
    pub connection: Connection,
    /// What `bits` holds: the CRC of each row, so that only changed ones are written.
    written: std::collections::HashMap<(u32, i64, u64), u32>,
    knows_written: bool,
    /// How far the store has come, by which new rows are stamped.
    pub lived: Option<Lived>,
}

/// Sees to it that the file is its owner's alone: SQLite gives those beside it the same rights, whenever it makes them.
fn keep_private(path: &Path) {
    // Where it cannot be made, SQLite says why.
    let _ = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    for suffix in ["", "-wal", "-shm", ".damaged"] {
        crate::directory::narrow(&beside(path, suffix));
    }
}

/// SQLite's integers have a sign; ours do not. The bits are kept.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

fn unsigned(row: &Row<'_>, at: usize) -> Result<u64> {
    row.get::<_, i64>(at).map(i64::cast_unsigned)
}

impl Database {
    /// Opens or makes the file; `None`: in memory.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        if let Some(path) = path {
            keep_private(path);
        }
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        // So that a replaced row counts as one that went and one that came.
        connection.pragma_update(None, "recursive_triggers", true)?;
        // Its log must not grow while nothing reads: SQLite copies it back at this many pages.
        connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
        connection.pragma_update(None, "journal_size_limit", 8 << 20)?;
        // A mebibyte: rows are few, and looked up rarely.
        connection.pragma_update(None, "cache_size", -1024)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 1 {
            connection.execute_batch(FROM_VERSION_1)?;
        } else if version != 0 && version != SCHEMA_VERSION {
            return Err(rusqlite::Error::InvalidParameterName(format!("index version {version}")));
        }
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        // Whatever is damaged shows now, and not when an operator looks for a dead letter.
        connection.query_row("SELECT count(*) FROM meta", [], |row| row.get::<_, i64>(0))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { connection, written: std::collections::HashMap::new(), knows_written: false, lived: None })
    }

    /// Opens an existing file to look into it.
    pub fn open_to_read(path: &Path) -> Result<Self> {
        let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // A quarter of a mebibyte: it finds single rows.
        connection.pragma_update(None, "cache_size", -256)?;
        Ok(Self { connection, written: std::collections::HashMap::new(), knows_written: false, lived: None })
    }

    /// Whether it lies in a file, and not in memory.
    pub fn is_in_file(&self) -> bool {
        self.connection.path().is_some_and(|path| !path.is_empty())
    }

    /// SQLite's own look at the whole file: what is wrong with it.
    pub fn check(&self) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare("PRAGMA integrity_check(20)")?;
        let faults = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>>>()?;
        Ok(faults.into_iter().filter(|fault| fault != "ok").collect())
    }

    /// Forgets what the journal says, to read it again.
    pub fn clear(&mut self) -> Result<()> {
        self.knows_written = false;
        for table in DERIVED {
            self.connection.execute(&format!("DELETE FROM {table}"), [])?;
        }
        Ok(())
    }

    /// Forgets everything: it is another journal's.
    pub fn clear_all(&mut self) -> Result<()> {
        self.clear()?;
        for table in ["attempt", "replay", "fact", "arrived", "made"] {
            self.connection.execute(&format!("DELETE FROM {table}"), [])?;
        }
        Ok(())
    }

    /// Forgets the attempts of events from a number on.
    pub fn forget_attempts_from(&mut self, sequence: u64) -> Result<()> {
        self.connection.execute("DELETE FROM attempt WHERE sequence >= ?1", [signed(sequence)]).map(drop)
    }

    /// Does something whole or not at all.
    pub fn transaction(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = act(self).and_then(|()| self.connection.execute_batch("COMMIT"));
        if done.is_err() {
            // Where SQLite has undone it already there is nothing left to undo.
            let _ = self.connection.execute_batch("ROLLBACK");
            self.knows_written = false;
        }
        done
    }

    /// Makes commits durable from now on, or not.
    pub fn sync_commits(&self, syncs: bool) -> Result<()> {
        self.connection.pragma_update(None, "synchronous", if syncs { "full" } else { "normal" })
    }

    pub fn meta(&self, key: &str) -> Result<Option<u64>> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        statement.query_row([key], |row| unsigned(row, 0)).optional()
    }

    pub fn set_meta(&self, key: &str, value: u64) -> Result<()> {
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
        statement.execute(params![key, signed(value)]).map(drop)
    }

    // ---- what has happened -------------------------------------------------------------------------------------------------------

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
            Update::Carried(places) => places.iter().try_for_each(|(sequence, place, bytes)| {
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
            Update::Damage(Damage { file, bytes }) => {
                let mut statement =
                    self.connection.prepare_cached("INSERT OR REPLACE INTO damage VALUES (?1, ?2, ?3)")?;
                statement.execute(params![file, signed(bytes.start), signed(bytes.end)]).map(drop)
            }
            Update::NamesGone(ids) => ids.iter().try_for_each(|id| self.forget_name(*id)),
        }
    }

    /// A number that nothing refers to any more. Its queue is blank, and what is left here is about events that are gone.
    fn forget_name(&mut self, NameId(id): NameId) -> Result<()> {
        for table in ["fact", "dead", "buried", "bits", "let_go", "postponed"] {
            let sql = format!("DELETE FROM {table} WHERE destination = ?1");
            self.connection.prepare_cached(&sql)?.execute([id])?;
        }
        self.written.retain(|(destination, ..), _| *destination != id);
        Ok(())
    }

    fn dead(&self, letter: &Letter) -> Result<()> {
        // Read or carried again it is as old as it was; given up again it is new.
        let sql = "INSERT INTO dead VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (destination, sequence) DO UPDATE SET \
                   attempts = excluded.attempts, reason = excluded.reason, at_ms = excluded.at_ms, \
                   seen_ms = CASE WHEN at_ms = excluded.at_ms THEN seen_ms ELSE excluded.seen_ms END";
        let Letter { sequence, destination, attempts, at_ms, reason } = letter;
        let row = params![destination.0, signed(*sequence), attempts, signed(*at_ms), reason, self.seen(*at_ms)];
        self.connection.prepare_cached(sql)?.execute(row).map(drop)
    }

    fn selection(&self, selection: &SelectionRecord) -> Result<()> {
        let destination = selection.destination.0;
        match selection.act {
            Selecting::Again | Selecting::Drop | Selecting::Move(_) => {
                self.unbury(selection)?;
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
            Selecting::Bury => {
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
            Selecting::Yield(_) => Ok(()),
        }
    }

    /// What was given up all at once is not any more: given up again, it is kept from then on.
    fn unbury(&self, selection: &SelectionRecord) -> Result<()> {
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
                let key = params![destination, signed(chunk), at_ms];
                let Some((_, bits)) = members.encode().next() else {
                    let sql = "DELETE FROM buried WHERE destination = ?1 AND chunk = ?2 AND at_ms = ?3";
                    self.connection.prepare_cached(sql)?.execute(key)?;
                    continue;
                };
                let sql = "UPDATE buried SET bits = ?4 WHERE destination = ?1 AND chunk = ?2 AND at_ms = ?3";
                self.connection.prepare_cached(sql)?.execute(params![destination, signed(chunk), at_ms, bits])?;
            }
        }
        Ok(())
    }

    fn command(&self, command: &KnownCommand) -> Result<()> {
        let KnownCommand { id, act: CommandAct { of, kind, to }, deliveries, at_ms } = command;
        let mut statement =
            self.connection.prepare_cached("INSERT OR IGNORE INTO command VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        statement.execute(params![id.to_be_bytes(), of.0, kind, to.0, signed(*deliveries), signed(*at_ms)])?;
        let sql = "DELETE FROM command WHERE id IN (SELECT id FROM command ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)";
        self.connection.prepare_cached(sql)?.execute([COMMANDS_MAX as i64]).map(drop)
    }

    /// The commands that are remembered, oldest first.
    pub fn commands(&self) -> Result<Vec<KnownCommand>> {
        let sql = "SELECT id, destination, kind, other, deliveries, at_ms FROM command ORDER BY at_ms";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let id = u128::from_be_bytes(row.get(0)?);
            let act = CommandAct { of: NameId(row.get(1)?), kind: row.get(2)?, to: NameId(row.get(3)?) };
            Ok(KnownCommand { id, act, deliveries: unsigned(row, 4)?, at_ms: unsigned(row, 5)? })
        })?;
        rows.collect()
    }

    fn replay(&self, replay: &ReplayRecord) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO replay VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let ReplayRecord { id, spec, cursor, until, selected, at_ms, is_done } = replay;
        let id = id.to_be_bytes();
        let row = params![id, spec, signed(*cursor), signed(*until), signed(*selected), signed(*at_ms), is_done];
        statement.execute(row)?;
        let sql = "DELETE FROM replay WHERE id IN (SELECT id FROM replay ORDER BY at_ms DESC LIMIT -1 OFFSET ?1)";
        self.connection.prepare_cached(sql)?.execute([REPLAYS_MAX]).map(drop)
    }

    fn note(&self, key: &DeliveryKey, note: &AttemptNote) -> Result<()> {
        let (sequence, destination) = (signed(key.sequence), key.destination.0);
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO attempt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        let AttemptNote { at_ms, took_ms, outcome, status, reason, answer } = note;
        let (at_ms, took_ms) = (signed(*at_ms), signed(*took_ms));
        statement.execute(params![sequence, destination, at_ms, took_ms, outcome, status, reason, answer])?;
        let sql = "DELETE FROM attempt WHERE sequence = ?1 AND destination = ?2 AND at_ms <= (SELECT at_ms FROM attempt \
                   WHERE sequence = ?1 AND destination = ?2 ORDER BY at_ms DESC LIMIT 1 OFFSET ?3)";
        self.connection.prepare_cached(sql)?.execute(params![sequence, destination, NOTES_MAX]).map(drop)
    }

    // ---- looking things up -------------------------------------------------------------------------------------------------------

    /// What is known of a destination's dead letters with these numbers, which come in order.
    pub fn dead_letters(
        &self,
        destination: NameId,
        sequences: impl IntoIterator<Item = u64>,
    ) -> Result<HashMap<u64, Letter>> {
        let sql = "SELECT attempts, at_ms, reason FROM dead WHERE destination = ?1 AND sequence = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (mut letters, mut buried) = (HashMap::new(), None);
        for sequence in sequences {
            let row = |row: &Row<'_>| {
                let (attempts, reason) = (row.get(0)?, row.get(2)?);
                Ok(Letter { sequence, destination, attempts, at_ms: unsigned(row, 1)?, reason })
            };
            let known = statement.query_row(params![destination.0, signed(sequence)], row).optional()?;
            if let Some(known) = known {
                letters.insert(sequence, known);
                continue;
            }
            // Read once for all of a chunk: what was given up a little every second fills many rows.
            let chunk = sequence / crate::store::journal::bitmap::CHUNK;
            if buried.as_ref().is_none_or(|(of, _)| *of != chunk) {
                buried = Some((chunk, self.buried(destination, chunk)?));
            }
            let rows = buried.iter().flat_map(|(_, rows)| rows);
            if let Some((_, at_ms, reason)) = rows.into_iter().find(|(members, ..)| members.contains(sequence)) {
                let (at_ms, reason) = (*at_ms, reason.clone());
                letters.insert(sequence, Letter { sequence, destination, attempts: 0, at_ms, reason });
            }
        }
        Ok(letters)
    }

    /// What was given up all at once, in one chunk: which, when and why, the newest first.
    fn buried(&self, destination: NameId, chunk: u64) -> Result<Vec<(Bitmap, u64, String)>> {
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
    pub fn buried_before(&self, ran_ms: u64) -> Result<Vec<(NameId, Bitmap)>> {
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
    pub fn forget_buried_before(&self, ran_ms: u64) -> Result<()> {
        let sql = "DELETE FROM buried WHERE (destination, chunk, at_ms) IN \
                   (SELECT destination, chunk, at_ms FROM buried WHERE seen_ms < ?1 \
                   ORDER BY destination, chunk, at_ms LIMIT 16)";
        self.connection.prepare_cached(sql)?.execute([signed(ran_ms)]).map(drop)
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
            let (at_ms, took_ms) = (unsigned(row, 0)?, unsigned(row, 1)?);
            let (outcome, status) = (row.get(2)?, row.get(3)?);
            Ok(AttemptNote { at_ms, took_ms, outcome, status, reason: row.get(4)?, answer: row.get(5)? })
        })?;
        rows.collect()
    }

    pub fn place(&self, sequence: u64) -> Result<Option<Place>> {
        let mut statement = self.connection.prepare_cached("SELECT segment, place FROM carried WHERE sequence = ?1")?;
        let place = |row: &Row<'_>| Ok(Place { segment: unsigned(row, 0)?, offset: unsigned(row, 1)? });
        statement.query_row([signed(sequence)], place).optional()
    }

    /// The events that lie carried in a segment.
    pub fn carried_in(&self, segment: u64) -> Result<Vec<u64>> {
        let mut statement =
            self.connection.prepare_cached("SELECT sequence FROM carried WHERE segment = ?1 ORDER BY sequence")?;
        let rows = statement.query_map([signed(segment)], |row| unsigned(row, 0))?;
        rows.collect()
    }

    /// Bytes of the bodies of carried events.
    pub fn carried_bytes(&self) -> Result<u64> {
        // Kept by triggers: there may be millions of rows, and this is asked every second.
        let sql = "SELECT bytes FROM total";
        self.connection.prepare_cached(sql)?.query_row([], |row| unsigned(row, 0))
    }

    /// Carried events from a number on with the bytes of their bodies, oldest first, at most so many.
    pub fn carried_from(&self, sequence: u64, max: usize) -> Result<Vec<(u64, u64)>> {
        let sql = "SELECT sequence, bytes FROM carried WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![signed(sequence), signed(max as u64)], |row| {
            Ok((unsigned(row, 0)?, unsigned(row, 1)?))
        })?;
        rows.collect()
    }

    pub fn forget_dead(&self, destination: NameId, sequence: u64) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("DELETE FROM dead WHERE destination = ?1 AND sequence = ?2")?;
        statement.execute(params![destination.0, signed(sequence)]).map(drop)
    }

    /// The next start reads the whole journal.
    pub fn forget_checkpoint(&self) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM meta WHERE key <> ?1")?.execute([META_JOURNAL]).map(drop)
    }

    pub fn forget_carried(&self, sequence: u64) -> Result<()> {
        let mut statement = self.connection.prepare_cached("DELETE FROM carried WHERE sequence = ?1")?;
        statement.execute([signed(sequence)]).map(drop)
    }

    pub fn facts(&self) -> Result<HashMap<NameId, String>> {
        let mut statement = self.connection.prepare_cached("SELECT destination, fact FROM fact")?;
        let rows = statement.query_map([], |row| Ok((NameId(row.get(0)?), row.get(1)?)))?;
        rows.collect()
    }

    pub fn replays(&self) -> Result<Vec<ReplayRecord>> {
        let sql = "SELECT id, spec, cursor, until, selected, at_ms, done FROM replay ORDER BY at_ms DESC";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let id = u128::from_be_bytes(row.get(0)?);
            let (cursor, until, selected) = (unsigned(row, 2)?, unsigned(row, 3)?, unsigned(row, 4)?);
            let (spec, at_ms, is_done) = (row.get(1)?, unsigned(row, 5)?, row.get(6)?);
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

    // ---- ages --------------------------------------------------------------------------------------------------------------------

    /// Goes on counting the time that the store lives through.
    pub fn go_on(&mut self, clock: Clock) -> Result<()> {
        let sql = "SELECT ran_ms, passed_ms, clock_ms FROM age";
        let saved = |row: &Row<'_>| {
            let (ran_ms, passed_ms) = (unsigned(row, 0)?, unsigned(row, 1)?);
            Ok(Saved { ran_ms, passed_ms, clock_ms: unsigned(row, 2)? })
        };
        let saved = self.connection.query_row(sql, [], saved).optional();
        self.lived = Some(Lived::go_on(clock, saved.as_ref().ok().copied().flatten()));
        saved.map(drop)
    }

    /// How far the store had come at a stamp.
    fn seen(&self, at_ms: u64) -> i64 {
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

    // ---- checkpoints -------------------------------------------------------------------------------------------------------------

    /// Writes what changed of a queue since the last checkpoint.
    pub fn save_queue(&mut self, destination: NameId, snapshot: &Snapshot) -> Result<()> {
        let sets = [&snapshot.unsettled, &snapshot.again, &snapshot.dead];
        if !self.knows_written {
            // What the table holds is not known: after a failure, and the first time.
            self.connection.prepare_cached("DELETE FROM bits")?.execute([])?;
            self.written.clear();
            self.knows_written = true;
        }
        let held = snapshot.held.iter().map(|(source, set)| (KIND_HELD + i64::from(source.0), set));
        let mut kinds: Vec<_> = KINDS.into_iter().zip(sets).chain(held).collect();
        // What was held and is not any more.
        let none = Bitmap::default();
        let known: std::collections::BTreeSet<i64> =
            self.written.keys().filter(|key| key.0 == destination.0).map(|key| key.1).collect();
        let gone = known.into_iter().filter(|kind| kinds.iter().all(|(other, _)| other != kind));
        let gone: Vec<_> = gone.map(|kind| (kind, &none)).collect();
        kinds.extend(gone);
        for (kind, set) in kinds {
            let mut gone: std::collections::HashSet<u64> = self
                .written
                .keys()
                .filter(|(known, of_kind, _)| *known == destination.0 && *of_kind == kind)
                .map(|(_, _, chunk)| *chunk)
                .collect();
            for (chunk, bits) in set.encode() {
                gone.remove(&chunk);
                let crc = crc32c::crc32c(&bits);
                if self.written.get(&(destination.0, kind, chunk)) == Some(&crc) {
                    continue;
                }
                let mut statement =
                    self.connection.prepare_cached("INSERT OR REPLACE INTO bits VALUES (?1, ?2, ?3, ?4)")?;
                statement.execute(params![destination.0, kind, signed(chunk), bits])?;
                self.written.insert((destination.0, kind, chunk), crc);
            }
            for chunk in gone {
                let sql = "DELETE FROM bits WHERE destination = ?1 AND kind = ?2 AND chunk = ?3";
                self.connection.prepare_cached(sql)?.execute(params![destination.0, kind, signed(chunk)])?;
                self.written.remove(&(destination.0, kind, chunk));
            }
        }
        self.connection.prepare_cached("DELETE FROM postponed WHERE destination = ?1")?.execute([destination.0])?;
        let mut statement = self.connection.prepare_cached("INSERT INTO postponed VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for (sequence, due_ms, Postponed { attempts, first_attempt_ms, reason }) in &snapshot.postponed {
            let (first_ms, due_ms) = (signed(*first_attempt_ms), signed(*due_ms));
            statement.execute(params![destination.0, signed(*sequence), attempts, first_ms, due_ms, reason])?;
        }
        self.connection.prepare_cached("DELETE FROM let_go WHERE destination = ?1")?.execute([destination.0])?;
        let mut statement = self.connection.prepare_cached("INSERT INTO let_go VALUES (?1, ?2, ?3, ?4)")?;
        for (passed_ms, set) in &snapshot.let_go {
            for (chunk, bits) in set.encode() {
                statement.execute(params![destination.0, signed(*passed_ms), signed(chunk), bits])?;
            }
        }
        // What was given up all at once and is kept no longer.
        let first_dead = snapshot.dead.next(0).unwrap_or(u64::MAX) / crate::store::journal::bitmap::CHUNK;
        let sql = "DELETE FROM buried WHERE destination = ?1 AND chunk < ?2";
        self.connection.prepare_cached(sql)?.execute(params![destination.0, signed(first_dead)])?;
        Ok(())
    }

    /// All queues of the last checkpoint.
    pub fn load_queues(&mut self) -> Result<std::collections::HashMap<NameId, Snapshot>> {
        let mut queues: std::collections::HashMap<NameId, Snapshot> = std::collections::HashMap::new();
        self.written.clear();
        let mut statement = self.connection.prepare("SELECT destination, kind, chunk, bits FROM bits")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (destination, kind, chunk) = (row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, unsigned(row, 2)?);
            let bits = row.get_ref(3)?.as_blob()?;
            let queue = queues.entry(NameId(destination)).or_default();
            let set = match kind {
                0 => &mut queue.unsettled,
                1 => &mut queue.again,
                KIND_HELD.. => {
                    let source = u32::try_from(kind - KIND_HELD).map_err(|_| rusqlite::Error::InvalidQuery)?;
                    queue.held.entry(NameId(source)).or_default()
                }
                _ => &mut queue.dead,
            };
            if !set.decode(chunk, bits) {
                return Err(rusqlite::Error::InvalidQuery);
            }
            self.written.insert((destination, kind, chunk), crc32c::crc32c(bits));
        }
        let mut statement = self.connection.prepare("SELECT destination, passed_ms, chunk, bits FROM let_go")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let set = queues.entry(NameId(row.get(0)?)).or_default().let_go.entry(unsigned(row, 1)?).or_default();
            if !set.decode(unsigned(row, 2)?, row.get_ref(3)?.as_blob()?) {
                return Err(rusqlite::Error::InvalidQuery);
            }
        }
        let sql = "SELECT destination, sequence, attempts, first_ms, due_ms, reason FROM postponed";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let reason = row.get_ref(5)?.as_str()?.into();
            let entry = Postponed { attempts: row.get(2)?, first_attempt_ms: unsigned(row, 3)?, reason };
            let queue = queues.entry(NameId(row.get(0)?)).or_default();
            queue.postponed.push((unsigned(row, 1)?, unsigned(row, 4)?, entry));
        }
        self.knows_written = true;
        Ok(queues)
    }

    pub fn save_segment(&self, info: &SegmentInfo) -> Result<()> {
        let mut marks = Vec::with_capacity(info.index.len() * 16);
        for (first, offset) in &info.index {
            marks.extend_from_slice(&first.to_le_bytes());
            marks.extend_from_slice(&offset.to_le_bytes());
        }
        let (low, high) = info.outcomes.map_or((None, None), |(low, high)| (Some(signed(low)), Some(signed(high))));
        let sql = "INSERT OR REPLACE INTO segment VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let [segment, first, start, end, created_ms] =
            [info.segment, info.first_sequence, info.start, info.end, info.created_ms].map(signed);
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.execute(params![segment, first, start, end, created_ms, low, high, marks])?;
        let (low, high) = info.acts.map_or((None, None), |(low, high)| (Some(signed(low)), Some(signed(high))));
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO acts VALUES (?1, ?2, ?3)")?;
        statement.execute(params![segment, low, high])?;
        let mut statement = self.connection.prepare_cached("INSERT OR REPLACE INTO uses VALUES (?1, ?2)")?;
        statement.execute(params![segment, info.names.to_bytes()]).map(drop)
    }

    /// The segments that are known. `all` are the names of those of which it is not known what they use.
    pub fn load_segments(&self, all: &Bitmap) -> Result<Vec<SegmentInfo>> {
        // Of what an older release wrote it is not known which deliveries were acted on in it: any may have been.
        let sql = "SELECT s.segment, first, start, finish, created_ms, s.low, s.high, marks, \
                   CASE WHEN a.segment IS NULL THEN 0 ELSE a.low END, CASE WHEN a.segment IS NULL THEN -1 ELSE a.high END, \
                   u.names FROM segment s LEFT JOIN acts a ON a.segment = s.segment \
                   LEFT JOIN uses u ON u.segment = s.segment ORDER BY s.segment";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let marks = row.get_ref(7)?.as_blob()?;
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes were cut off"));
            let index = marks.chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..])));
            let range = |at| {
                let (low, high): (Option<i64>, Option<i64>) = (row.get(at)?, row.get(at + 1)?);
                Ok::<_, rusqlite::Error>(low.zip(high).map(|(low, high)| (low.cast_unsigned(), high.cast_unsigned())))
            };
            let names = row.get_ref(10)?.as_blob_or_null()?.and_then(Bitmap::from_bytes);
            Ok(SegmentInfo {
                segment: unsigned(row, 0)?,
                first_sequence: unsigned(row, 1)?,
                start: unsigned(row, 2)?,
                end: unsigned(row, 3)?,
                created_ms: unsigned(row, 4)?,
                made_ms: 0,
                outcomes: range(5)?,
                acts: range(8)?,
                names: names.unwrap_or_else(|| all.clone()),
                index: index.collect(),
            })
        })?;
        rows.collect()
    }

    /// A segment is gone, and with it everything before a number that was not carried.
    pub fn forget_segment(&self, info: &SegmentInfo, file: &str, history_start: u64) -> Result<()> {
        let (segment, start) = (signed(info.segment), signed(history_start));
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

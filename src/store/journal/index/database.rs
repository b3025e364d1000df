//! The index's SQLite file: its tables, and every statement on them.
//!
//! [`apply`]: writing down what has happened. [`find`]: looking it up. [`checkpoint`]: every queue. [`ages`]: how far the store had come.
//! [`gone`]: what is kept no longer, and [`erased`] what is erased. [`lanes`]: windows and digests.
//!
//! Three tables have names that are older than today's words, since a new name would be another format: `buried` has what was
//! dead-lettered many at once, `postponed` scheduled retries, `carried` relocated events.
//!
//! Nothing here is the only copy of anything but the details of old attempts, small facts, memos and what destinations remember: the rest is read again from the
//! journal when it is lost. Every row is written so that writing it twice changes nothing.

mod ages;
mod apply;
mod checkpoint;
mod erased;
mod find;
mod gone;
mod lanes;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::ages::Lived;
use super::beside;

type Result<T> = rusqlite::Result<T>;

/// The version of the tables. Another one is quarantined and the index is made again.
const SCHEMA_VERSION: i64 = 3;
/// From the first version: what was given up then is as old as the change.
const FROM_VERSION_1: &str = "
ALTER TABLE dead ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE buried ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
DROP INDEX IF EXISTS dead_at;
DROP INDEX IF EXISTS buried_at;
";
/// From the second too: what a command was asked for is not known of those that were done before; and a move of dead letters to where they are
/// is a redelivery now ([`CommandKind::to_numbers`](crate::store::queues::CommandKind::to_numbers)).
const FROM_VERSION_2: &str = "
ALTER TABLE command ADD COLUMN asked INTEGER;
UPDATE command SET kind = 1, other = 4294967295 WHERE kind = 4 AND other = destination;
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
    at_ms INTEGER, asked INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head (destination INTEGER, key BLOB, address INTEGER, opened_ms INTEGER, ends_ms INTEGER, passed INTEGER,
    PRIMARY KEY (destination, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digest (destination INTEGER, digest INTEGER, closed_ms INTEGER, attempts INTEGER, first_ms INTEGER,
    due_ms INTEGER, reason TEXT, PRIMARY KEY (destination, digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS member (destination INTEGER, digest INTEGER, chunk INTEGER, bits BLOB,
    PRIMARY KEY (destination, digest, chunk)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fact (destination INTEGER PRIMARY KEY, fact TEXT);
CREATE TABLE IF NOT EXISTS memo (key TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS remembered (destination INTEGER, key TEXT, text TEXT, number INTEGER, PRIMARY KEY (destination, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (segment INTEGER PRIMARY KEY, names BLOB);
CREATE TABLE IF NOT EXISTS damage (file TEXT, start INTEGER, finish INTEGER, PRIMARY KEY (file, start)) WITHOUT ROWID;
";

/// Everything but facts, memos, what destinations remember and attempts can be read from the journal again.
const DERIVED: [&str; 16] = [
    "meta",
    "segment",
    "acts",
    "uses",
    "bits",
    "let_go",
    "postponed",
    "head",
    "digest",
    "member",
    "dead",
    "buried",
    "late",
    "carried",
    "damage",
    "command",
];

pub const META_JOURNAL: &str = "journal";
pub const META_SEGMENT: &str = "checkpoint segment";
pub const META_GROUP: &str = "next group";
/// The checkpoint that the tables of windows and digests belong to, by its segment. A release that does not know them leaves them as they were
/// and writes checkpoints; each of its starts has a new segment.
pub const META_LANES: &str = "lanes segment";
/// The greatest number of a digest.
pub const META_DIGEST: &str = "last digest";

/// A connection to the database, with what is known of its rows.
pub struct Database {
    pub connection: Connection,
    /// What `bits` holds: the CRC of each row, so that only changed ones are written.
    written: std::collections::HashMap<(u32, i64, u64), u32>,
    knows_written: bool,
    /// The same of `member`, by destination, digest and chunk.
    members: std::collections::HashMap<(u32, u64, u64), u32>,
    /// The destinations of which there are rows of windows or digests; `None`: not known.
    with_lanes: Option<std::collections::BTreeSet<u32>>,
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
        if !(0..=SCHEMA_VERSION).contains(&version) {
            return Err(rusqlite::Error::InvalidParameterName(format!("index version {version}")));
        }
        let mut steps = String::new();
        if version == 1 {
            steps.push_str(FROM_VERSION_1);
        }
        // The table came with no version of its own: the oldest files have none.
        let sql = "SELECT count(*) > 0 AND sum(name = 'asked') = 0 FROM pragma_table_info('command')";
        if connection.query_row(sql, [], |row| row.get(0))? {
            steps.push_str(FROM_VERSION_2);
        }
        // All of it or nothing: half a step could not be made again.
        connection.execute_batch(&format!("BEGIN;{steps}{SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"))?;
        // Whatever is damaged shows now, and not when an operator looks for a dead letter.
        connection.query_row("SELECT count(*) FROM meta", [], |row| row.get::<_, i64>(0))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self::over(connection))
    }

    /// One that does not know yet what it holds.
    fn over(connection: Connection) -> Self {
        Self {
            connection,
            written: std::collections::HashMap::new(),
            knows_written: false,
            members: Default::default(),
            with_lanes: None,
            lived: None,
        }
    }

    /// Opens an existing file to look into it.
    pub fn open_to_read(path: &Path) -> Result<Self> {
        let connection = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // A quarter of a mebibyte: it finds single rows.
        connection.pragma_update(None, "cache_size", -256)?;
        Ok(Self::over(connection))
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
        (self.knows_written, self.with_lanes) = (false, None);
        for table in DERIVED {
            self.connection.execute(&format!("DELETE FROM {table}"), [])?;
        }
        Ok(())
    }

    /// Forgets everything: it is another journal's.
    pub fn clear_all(&mut self) -> Result<()> {
        self.clear()?;
        for table in ["attempt", "replay", "fact", "memo", "remembered", "arrived", "made"] {
            self.connection.execute(&format!("DELETE FROM {table}"), [])?;
        }
        Ok(())
    }

    /// Does something whole or not at all.
    pub fn transaction(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = act(self).and_then(|()| self.connection.execute_batch("COMMIT"));
        if done.is_err() {
            // Where SQLite has undone it already there is nothing left to undo.
            let _ = self.connection.execute_batch("ROLLBACK");
            (self.knows_written, self.with_lanes) = (false, None);
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
}

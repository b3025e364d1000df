//! What is erased of the index, and what is left of somebody in it.

use rusqlite::params;

use super::*;
use crate::store::queues::Bitmap;
use crate::store::{NameId, Whom};

/// Where texts lie that may quote something: tables and their columns.
const TEXTS: [(&str, &str); 9] = [
    ("attempt", "reason"),
    ("attempt", "answer"),
    ("dead", "reason"),
    ("buried", "reason"),
    ("postponed", "reason"),
    ("digest", "reason"),
    ("replay", "spec"),
    ("memo", "text"),
    ("remembered", "text"),
];
/// Up to this much SQLite's own copy for `VACUUM` lies in memory, and not in a file of another directory.
const VACUUM_IN_MEMORY_MAX: u64 = 64 << 20;

impl Database {
    /// Forgets what is said of some events, which are erased.
    pub fn forget_events(&self, sequences: &Bitmap) -> Result<()> {
        for table in ["attempt", "late"] {
            let sql = format!("DELETE FROM {table} WHERE sequence = ?1");
            let mut statement = self.connection.prepare_cached(&sql)?;
            for sequence in sequences.iter_from(0) {
                statement.execute([signed(sequence)])?;
            }
        }
        // By destination first, and there are few of either.
        let mut statement = self.connection.prepare_cached("SELECT DISTINCT destination FROM dead")?;
        let destinations = statement.query_map([], |row| row.get(0).map(NameId))?.collect::<Result<Vec<_>>>()?;
        for destination in destinations {
            sequences.iter_from(0).try_for_each(|sequence| self.forget_dead(destination, sequence))?;
        }
        Ok(())
    }

    /// Masks whatever names somebody. Returns in how many texts that stood.
    pub fn mask(&self, whom: &Whom) -> Result<u64> {
        let mut masked = 0;
        for (table, column) in TEXTS {
            let mut statement = self.connection.prepare(&format!("SELECT DISTINCT {column} FROM {table}"))?;
            let mut rows = statement.query([])?;
            let mut changes = Vec::new();
            while let Some(row) = rows.next()? {
                let Ok(text) = row.get_ref(0)?.as_str() else { continue };
                changes.extend(whom.masked(text).map(|masked| (text.to_owned(), masked)));
            }
            let sql = format!("UPDATE {table} SET {column} = ?2 WHERE {column} = ?1");
            let mut statement = self.connection.prepare(&sql)?;
            for (text, other) in changes {
                masked += statement.execute(params![text, other])? as u64;
            }
        }
        Ok(masked)
    }

    /// Empties SQLite's log into the file.
    pub fn empty_log(&self) -> Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(drop)
    }

    /// What is deleted is overwritten from now on, or not.
    pub fn overwrite_deleted(&self, overwrites: bool) -> Result<()> {
        let value = if overwrites { "ON" } else { "OFF" };
        self.connection.query_row(&format!("PRAGMA secure_delete = {value}"), [], |row| row.get::<_, i64>(0)).map(drop)
    }

    /// Writes the whole file anew, without what is in free pages.
    pub fn vacuum(&self, bytes: u64) -> Result<()> {
        let store = if bytes <= VACUUM_IN_MEMORY_MAX { "MEMORY" } else { "DEFAULT" };
        self.connection.pragma_update(None, "temp_store", store)?;
        let done = self.connection.execute_batch("VACUUM");
        self.connection.pragma_update(None, "temp_store", "DEFAULT")?;
        done
    }
}

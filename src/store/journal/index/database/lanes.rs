//! The part of the checkpoint that lanes have: heads of windows, and digests with their members.
//!
//! In tables of their own: an earlier release takes a set in `bits` that it does not know for dead letters.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::params;

use super::*;
use crate::store::queues::{Bitmap, Closed, Snapshot};
use crate::store::{DigestId, GroupKey, NameId, WindowHead};

impl Database {
    /// Writes what changed of a queue's windows and digests since the last checkpoint.
    pub fn save_lanes(&mut self, NameId(id): NameId, snapshot: &Snapshot) -> Result<()> {
        if self.with_lanes.is_none() {
            // What the tables hold is not known: after a failure, and the first time.
            for table in ["head", "digest", "member"] {
                self.connection.execute(&format!("DELETE FROM {table}"), [])?;
            }
            self.members.clear();
        }
        let with_lanes = self.with_lanes.get_or_insert_default();
        let has_any = !snapshot.windows.is_empty() || !snapshot.digests.is_empty();
        let had_any = if has_any { !with_lanes.insert(id) } else { with_lanes.remove(&id) };
        if !has_any && !had_any {
            return Ok(());
        }
        self.connection.prepare_cached("DELETE FROM head WHERE destination = ?1")?.execute([id])?;
        let mut statement = self.connection.prepare_cached("INSERT INTO head VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for WindowHead { key, address, opened_ms, ends_ms, passed } in &snapshot.windows {
            let [address, opened_ms, ends_ms] = [*address, *opened_ms, *ends_ms].map(signed);
            statement.execute(params![id, key.0, address, opened_ms, ends_ms, passed])?;
        }
        self.connection.prepare_cached("DELETE FROM digest WHERE destination = ?1")?.execute([id])?;
        let mut statement = self.connection.prepare_cached("INSERT INTO digest VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let of_this = |(destination, ..): &&(u32, u64, u64)| *destination == id;
        let mut gone: HashSet<(u32, u64, u64)> = self.members.keys().filter(of_this).copied().collect();
        for (DigestId(digest), closed) in &snapshot.digests {
            let Closed { closed_ms, attempts, first_attempt_ms, due_ms, reason, members, .. } = closed;
            let [closed_ms, due_ms] = [*closed_ms, *due_ms].map(signed);
            let number = signed(digest.get());
            statement.execute(params![
                id,
                number,
                closed_ms,
                attempts,
                first_attempt_ms.map(signed),
                due_ms,
                reason
            ])?;
            for (chunk, bits) in members.encode() {
                let (key, crc) = ((id, digest.get(), chunk), crc32c::crc32c(&bits));
                gone.remove(&key);
                if self.members.insert(key, crc) != Some(crc) {
                    let sql = "INSERT OR REPLACE INTO member VALUES (?1, ?2, ?3, ?4)";
                    self.connection.prepare_cached(sql)?.execute(params![id, number, signed(chunk), bits])?;
                }
            }
        }
        for key @ (_, digest, chunk) in gone {
            let sql = "DELETE FROM member WHERE destination = ?1 AND digest = ?2 AND chunk = ?3";
            self.connection.prepare_cached(sql)?.execute(params![id, signed(digest), signed(chunk)])?;
            self.members.remove(&key);
        }
        Ok(())
    }

    /// Adds the windows and digests of the last checkpoint to its queues.
    pub fn load_lanes(&mut self, queues: &mut HashMap<NameId, Snapshot>) -> Result<()> {
        self.with_lanes = None;
        self.members.clear();
        let mut with_lanes = BTreeSet::new();
        let sql = "SELECT destination, key, address, opened_ms, ends_ms, passed FROM head";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let destination = row.get(0)?;
            let key = GroupKey(row.get(1)?);
            let (address, opened_ms, ends_ms) = (unsigned(row, 2)?, unsigned(row, 3)?, unsigned(row, 4)?);
            let head = WindowHead { key, address, opened_ms, ends_ms, passed: row.get(5)? };
            queues.entry(NameId(destination)).or_default().windows.push(head);
            with_lanes.insert(destination);
        }
        let mut members: HashMap<(u32, u64), Bitmap> = HashMap::new();
        let mut statement = self.connection.prepare("SELECT destination, digest, chunk, bits FROM member")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key @ (destination, digest, chunk) = (row.get(0)?, unsigned(row, 1)?, unsigned(row, 2)?);
            let bits = row.get_ref(3)?.as_blob()?;
            if !members.entry((destination, digest)).or_default().decode(chunk, bits) {
                return Err(rusqlite::Error::InvalidQuery);
            }
            self.members.insert(key, crc32c::crc32c(bits));
        }
        let sql = "SELECT destination, digest, closed_ms, attempts, first_ms, due_ms, reason FROM digest";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (destination, digest) = (row.get(0)?, unsigned(row, 1)?);
            let id = DigestId(digest.try_into().map_err(|_| rusqlite::Error::InvalidQuery)?);
            let mut closed = Closed::new(unsigned(row, 2)?, members.remove(&(destination, digest)).unwrap_or_default());
            closed.attempts = row.get(3)?;
            closed.first_attempt_ms = row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned);
            closed.due_ms = unsigned(row, 5)?;
            closed.reason = row.get_ref(6)?.as_str()?.into();
            queues.entry(NameId(destination)).or_default().digests.push((id, closed));
            with_lanes.insert(destination);
        }
        self.with_lanes = Some(with_lanes);
        Ok(())
    }
}

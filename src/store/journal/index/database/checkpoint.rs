//! The checkpoint: every queue, and the segments that need not be read.

use rusqlite::params;

use super::*;
use crate::store::NameId;
use crate::store::journal::segments::SegmentInfo;
use crate::store::queues::{Bitmap, Scheduled, Snapshot};

/// The sets of a queue, as the table `bits` numbers them.
const KINDS: [i64; 3] = [0, 1, 2];

/// What is held is numbered from here on, by its source.
const KIND_HELD: i64 = 16;

impl Database {
    /// Writes what changed of a queue since the last checkpoint.
    pub fn save_queue(&mut self, destination: NameId, snapshot: &Snapshot) -> Result<()> {
        let sets = [&snapshot.unsettled, &snapshot.redeliveries, &snapshot.dead];
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
        for (sequence, due_ms, Scheduled { attempts, first_attempt_ms, reason }) in &snapshot.scheduled {
            let first_ms = signed(*first_attempt_ms);
            let due_ms = signed(*due_ms);
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
        let first_dead = snapshot.dead.next(0).unwrap_or(u64::MAX) / crate::store::queues::CHUNK;
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
                1 => &mut queue.redeliveries,
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
            let entry = Scheduled { attempts: row.get(2)?, first_attempt_ms: unsigned(row, 3)?, reason };
            let queue = queues.entry(NameId(row.get(0)?)).or_default();
            queue.scheduled.push((unsigned(row, 1)?, unsigned(row, 4)?, entry));
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

    /// The next start reads the whole journal.
    pub fn forget_checkpoint(&self) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM meta WHERE key <> ?1")?.execute([META_JOURNAL]).map(drop)
    }
}

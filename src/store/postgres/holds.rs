//! How sources stand, as the database has it.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Row;

use crate::store::{NameId, NameState, Pause};

/// How one source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRow {
    pub paused: Option<Pause>,
    pub held_since_ms: Option<u64>,
    /// How often it was held so far.
    pub hold: i32,
    /// Greater with each change.
    pub changed: i64,
    /// When the holds that are over ended, by their numbers: unix milliseconds.
    pub let_go: BTreeMap<i32, u64>,
}

impl SourceRow {
    /// Whether an event is held that came in under a hold.
    pub fn holds(&self, hold: i32) -> bool {
        self.held_since_ms.is_some() && self.hold == hold
    }

    /// The same for everybody else.
    pub fn state(&self) -> NameState {
        NameState { paused: self.paused.clone(), held_since_ms: self.held_since_ms, ..NameState::default() }
    }
}

/// All sources that somebody acted on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds(pub HashMap<NameId, SourceRow>);

impl Holds {
    /// What was seen counts where it is newer than what is known.
    pub fn update(&mut self, seen: Self) {
        for (source, row) in seen.0 {
            let known = self.0.entry(source).or_default();
            if row.changed > known.changed {
                *known = row;
            }
        }
    }

    /// Whether nothing is known of a hold that an event came in under.
    pub fn is_unknown(&self, source: NameId, hold: Option<i32>) -> bool {
        hold.is_some_and(|hold| self.0.get(&source).is_none_or(|row| row.hold < hold))
    }

    /// Whether an event is held that came in under a hold.
    pub fn is_held(&self, source: NameId, hold: Option<i32>) -> bool {
        hold.is_some_and(|hold| self.0.get(&source).is_none_or(|row| row.hold < hold || row.holds(hold)))
    }

    /// When an event was let go that came in under a hold that is over, unix milliseconds.
    pub fn let_go_ms(&self, source: NameId, hold: i32) -> Option<u64> {
        let let_go = &self.0.get(&source)?.let_go;
        // What ended so long ago that it is not told apart any more ended with the next.
        let_go.range(hold..).next().map(|(_, ms)| *ms)
    }
}

/// What [`read`] reads.
pub const SOURCES: &str =
    "SELECT id, paused_since_ms, pause_reason, held_since_ms, hold, let_go::text, changed FROM source";

/// All sources from their rows.
pub fn read(rows: &[Row]) -> Holds {
    let all = rows.iter().map(|row| (NameId(row.get::<_, i32>("id").cast_unsigned()), source_row(row)));
    Holds(all.collect())
}

fn source_row(row: &Row) -> SourceRow {
    let ms = |column: &str| row.get::<_, Option<i64>>(column).map(i64::cast_unsigned);
    let let_go: BTreeMap<String, u64> = serde_json::from_str(row.get("let_go")).unwrap_or_default();
    SourceRow {
        paused: ms("paused_since_ms").map(|since_ms| Pause {
            since_ms,
            reason: row.get::<_, Option<String>>("pause_reason").unwrap_or_default(),
        }),
        held_since_ms: ms("held_since_ms"),
        hold: row.get("hold"),
        changed: row.get("changed"),
        let_go: let_go.into_iter().filter_map(|(hold, ms)| Some((hold.parse().ok()?, ms))).collect(),
    }
}

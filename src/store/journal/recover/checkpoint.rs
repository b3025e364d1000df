//! What the index knew of the journal, if it fits.

use std::collections::HashMap;

use super::found::{Header, journal_of};
use crate::store::journal::format::SegmentHeader;
use crate::store::journal::index::{Database, META_DIGEST, META_GROUP, META_JOURNAL, META_LANES, META_SEGMENT};
use crate::store::journal::segment_name::file_name;
use crate::store::journal::segments::SegmentInfo;
use crate::store::journal::words::Damage;
use crate::store::queues::Snapshot;
use crate::store::{DigestId, NameId};

/// What the index knew of the journal.
pub(super) struct Checkpoint {
    /// From here on the journal is read.
    pub(super) segment: u64,
    pub(super) next_group: u64,
    pub(super) last_digest: Option<DigestId>,
    pub(super) queues: HashMap<NameId, Snapshot>,
    pub(super) segments: Vec<SegmentInfo>,
    pub(super) damage: Vec<Damage>,
    /// The oldest segment that is known.
    oldest: u64,
}

impl Checkpoint {
    /// Whether a segment had gone from the journal before.
    pub(super) fn is_older_than_known(&self, segment: u64) -> bool {
        segment < self.oldest
    }

    /// Loads it, if it fits the journal whose headers these are.
    pub(super) fn load(database: &mut Database, headers: &[Header]) -> Option<Self> {
        let meta = |key| database.meta(key).ok().flatten();
        let journal = meta(META_JOURNAL)?;
        if journal_of(headers).is_some_and(|of_segments| of_segments != journal) {
            tracing::error!("the index belongs to another journal; it is made again");
            // What it says of attempts and replays is about other events.
            return database.clear_all().ok().and(None);
        }
        let segment = meta(META_SEGMENT)?;
        let next_group = meta(META_GROUP)?;
        let Some(newest) = headers.iter().find(|found| found.segment == segment) else {
            tracing::error!(
                segment,
                "the index knows of a segment that is not there: the journal has lost its end or was put back; the index is made again"
            );
            return None;
        };
        newest.header.as_ref()?;
        // What events of a segment refer to is not known where an earlier release noted the segment: then it is everything.
        let all = newest.header.iter().flat_map(|header| &header.names).map(|(_, id, _)| u64::from(id.0)).collect();
        let mut segments = database.load_segments(&all).ok()?;
        segments.retain(|info| info.segment < segment);
        let oldest = segments.first().map_or(segment, |info| info.segment);
        let is_known = |found: &&Header| segments.iter().any(|info| info.segment == found.segment);
        let mut older = headers.iter().filter(|found| (oldest..segment).contains(&found.segment));
        if segments.is_empty() && headers.iter().any(|found| found.segment < segment)
            || !older.all(|found| is_known(&found))
        {
            return None;
        }
        // A release that knows nothing of them has left them as they were.
        let has_lanes = meta(META_LANES) == Some(segment);
        let last_digest = meta(META_DIGEST).and_then(|last| Some(DigestId(last.try_into().ok()?)));
        let mut queues = database.load_queues().ok()?;
        if has_lanes {
            database.load_lanes(&mut queues).ok()?;
        }
        let mut damage = database.damage().ok()?;
        // The index hears of a new segment at once. One that has not heard of several is an old copy, and does not know what has
        // gone from the history since.
        let is_old_copy = headers.iter().filter(|found| found.segment > segment).count() > 1;
        let first = headers.first().map_or(segment, |found| found.segment);
        let may_have_gone = |info: &&SegmentInfo| is_old_copy && info.segment < first;
        let known = segments.iter().filter(|info| !may_have_gone(info));
        damage.extend(known.filter_map(|info| lost_of(info, headers)));
        segments.retain(|info| headers.iter().any(|found| found.segment == info.segment));
        Some(Self { segment, next_group, last_digest, queues, segments, damage, oldest })
    }
}

/// What is missing of a segment that is not read, as far as its header and its length tell: all of it, if it is gone or another one
/// lies in its place.
fn lost_of(info: &SegmentInfo, headers: &[Header]) -> Option<Damage> {
    let found = headers.iter().find(|found| found.segment == info.segment);
    let is_it =
        |header: &SegmentHeader| (header.first_sequence, header.created_ms) == (info.first_sequence, info.created_ms);
    let bytes = match found {
        Some(Header { header: Some(header), length, is_foreign: false, .. }) if is_it(header) => *length..info.end,
        _ => 0..info.end,
    };
    (!bytes.is_empty()).then(|| Damage { file: file_name(info.segment), bytes })
}

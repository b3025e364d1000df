//! Taking values away from events that are old enough and that no delivery needs any more: a segment a step, on the upkeep's thread.
//!
//! A segment is [written again](super::segments::Edits), as where somebody is forgotten, and what lies in memory of its events goes. It is gone
//! through once; where a delivery or a dead letter needed something of it, again as soon as nothing does any more, and daily until then. Which were
//! gone through is known until the process ends: done again it changes nothing, and after a start each is read once.
//!
//! The segment that is written to is sealed when it is as old, so that little traffic does not keep values for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::erase::READ_WITHIN;
use super::format::{EventHead, erased_body};
use super::segments::{Edits, FoundGroup, SegmentInfo, Window, events_in, next_group};
use super::words::ReadError;
use super::{Journal, lock};
use crate::event::{EventId, Shaping};
use crate::store::queues::Bitmap;
use crate::store::{Redaction, StoreError};

/// What is read at once.
const READ_BYTES: usize = 1 << 20;
/// A segment of which something is needed still is looked at again then.
const AGAIN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The segment that is written to is not sealed before, however short values are kept: a week of history is a thousand of them then.
const SEALED_AFTER_MIN: Duration = Duration::from_secs(10 * 60);

/// How far it has come.
#[derive(Default)]
pub struct Redactor {
    by: Option<Arc<Redaction>>,
    /// The segments that were gone through by it; where something of one was needed, what.
    done: HashMap<u64, Option<Needed>>,
    /// Why it could not go on, as it was told: once, though it is tried again every second.
    told: Option<String>,
}

/// What could not be redacted yet.
struct Needed {
    /// When it was looked at, in milliseconds that the store had run.
    at_ms: u64,
    numbers: Bitmap,
}

fn is_older(at_ms: u64, now_ms: u64, than: Duration) -> bool {
    Duration::from_millis(now_ms.saturating_sub(at_ms)) > than
}

/// What a segment has of it.
#[derive(Default)]
struct Due {
    /// The last of those that are due.
    newest: Option<EventId>,
    numbers: Bitmap,
    /// What of it is needed.
    needed: Bitmap,
}

impl Journal {
    /// Goes on by a segment at most. Returns whether there was one; an error is told, and it is tried again.
    pub fn redact_some(&self, redactor: &mut Redactor, let_write: &mut dyn FnMut()) -> bool {
        let step = self.try_redact(redactor, let_write);
        let told = step.as_ref().err().map(ToString::to_string);
        if let Some(why) = told.as_ref().filter(|_| told != redactor.told) {
            tracing::warn!(why, "values that `store.history.redact` names cannot be taken away yet");
        }
        redactor.told = told;
        step.unwrap_or(false)
    }

    fn try_redact(&self, redactor: &mut Redactor, let_write: &mut dyn FnMut()) -> Result<bool, StoreError> {
        let by = lock(&self.retention).redaction.clone();
        if redactor.by != by {
            *redactor = Redactor { by, ..Redactor::default() };
        }
        let Some(by) = redactor.by.clone() else { return Ok(false) };
        if self.pins.load(Ordering::Acquire) > 0 {
            return Ok(false);
        }
        let now_ms = self.lived.ran_ms();
        let outline = self.segments.outline();
        if let Some(newest) = outline.last()
            && newest.end > newest.start
            && is_older(newest.made_ms, now_ms, by.after.max(SEALED_AFTER_MIN))
        {
            return self.seal(let_write).map(|_| true);
        }
        let oldest = outline.first().map_or(0, |info| info.segment);
        redactor.done.retain(|segment, _| *segment >= oldest);
        let pairs = outline.iter().zip(outline.iter().skip(1));
        // When the next one was made, the last of its events had come.
        let mut old = pairs.filter(|(_, next)| is_older(next.made_ms, now_ms, by.after)).map(|(info, _)| info);
        let is_due = |info: &&SegmentInfo| match redactor.done.get(&info.segment) {
            None => true,
            Some(None) => false,
            Some(Some(Needed { at_ms, numbers })) => {
                is_older(*at_ms, now_ms, AGAIN_AFTER) || !numbers.iter_from(0).any(|number| self.needs(number))
            }
        };
        let Some(info) = old.find(is_due) else { return Ok(false) };
        let numbers = self.redact(info, &Shaping::blanking(&by.paths), let_write)?;
        let needed = (!numbers.is_empty()).then_some(Needed { at_ms: now_ms, numbers });
        redactor.done.insert(info.segment, needed);
        Ok(true)
    }

    /// Takes the values away in one segment. Returns which of its events are needed, which are as they were.
    fn redact(&self, info: &SegmentInfo, shaping: &Shaping, let_write: &mut dyn FnMut()) -> Result<Bitmap, StoreError> {
        let due = self.look_for_values(info, shaping).map_err(StoreError::from)?;
        let Some(newest) = due.newest else { return Ok(due.needed) };
        if let Some(why) = self.no_room_for(info.end) {
            return Err(StoreError::Unavailable(format!("it takes room for one more segment of the journal: {why}")));
        }
        self.make_durable(let_write)?;
        let synced = self.segments.file(info.segment).and_then(|file| file.sync());
        synced
            .map_err(|error| StoreError::Unavailable(format!("a segment of the journal cannot be synced: {error}")))?;
        let redacts = |event: &EventHead, body: &[u8]| {
            due.numbers.contains(event.id.sequence()).then(|| without_values(shaping, body))
        };
        let edits = Edits { erases: &|_| false, redacts: &redacts, texts: &|_, _| None, blanks: &|_| false };
        let rewritten = self.written_again(info, &edits)?;
        self.let_go_of(&due.numbers);
        self.watchers.redacted(newest, |id| due.numbers.contains(id.sequence()));
        let (segment, events) = (info.segment, rewritten.redacted);
        tracing::debug!(segment, events, "values were taken away, as `store.history.redact` says");
        if let Err(why) = rewritten.overwrite(READ_WITHIN) {
            tracing::warn!(
                segment,
                why,
                "values that `store.history.redact` names are left in the old file of a segment"
            );
        }
        Ok(due.needed)
    }

    /// The events of a segment that have such values and that nobody needs. Damaged ones are left as they are: nobody can read them.
    fn look_for_values(&self, info: &SegmentInfo, shaping: &Shaping) -> Result<Due, ReadError> {
        let mut due = Due::default();
        let file = self.segments.file(info.segment)?;
        let mut window = Window::new(READ_BYTES);
        let end = info.end.min(file.length()?);
        let mut at = info.start.min(end);
        while let Some((offset, head)) = next_group(&file, info.segment, at, end, &mut window)? {
            let heads: Vec<_> = events_in(window.heads(&file, offset, &head)?).collect();
            let group = FoundGroup { file: file.clone(), segment: info.segment, offset, head };
            for (event, body_offset, _) in heads {
                let (id, sequence) = (event.id, event.id.sequence());
                let body = match window.read_body(&group, event, body_offset) {
                    Ok(event) => event.body,
                    Err(ReadError::Io(error)) => return Err(error.into()),
                    Err(_) => continue,
                };
                if without_values(shaping, &body) == body {
                    continue;
                }
                if self.needs(sequence) {
                    due.needed.insert(sequence);
                } else {
                    due.numbers.insert(sequence);
                    due.newest = due.newest.into_iter().chain([id]).max_by_key(|id| id.sequence());
                }
            }
            at = offset + head.length();
        }
        Ok(due)
    }
}

/// A body as it is kept. Of one that nests deeper than it can be looked into nothing is left.
fn without_values(shaping: &Shaping, body: &[u8]) -> Vec<u8> {
    shaping.apply(body).unwrap_or_else(|_| erased_body(body.len()))
}

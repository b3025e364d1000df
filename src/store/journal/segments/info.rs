//! One segment: what is known of it in memory.

use crate::store::NameId;
use crate::store::journal::format::EventHead;
use crate::store::queues::{Bitmap, BulkAct, DigestRecord, OutcomeRecord, SelectionRecord};

/// An entry of the sparse index stands for this many bytes of journal at least: a segment needs some thousand entries, so a
/// journal of ten million events is indexed in a few megabytes.
const INDEX_STEP: u64 = 32 << 10;

/// Where a segment lies among the others.
#[derive(Clone, Debug)]
pub struct SegmentInfo {
    pub segment: u64,
    /// The sequence number its first event has or would have.
    pub first_sequence: u64,
    /// Where its first group begins.
    pub start: u64,
    /// Where its last group ends.
    pub end: u64,
    /// When it was made, by the wall clock, unix milliseconds.
    pub created_ms: u64,
    /// How long the store had run then, milliseconds.
    pub made_ms: u64,
    /// The lowest and the highest number that an outcome in it speaks of.
    pub outcomes: Option<(u64, u64)>,
    /// The same for acts that change what a delivery came to: redelivered, dropped, moved.
    pub acts: Option<(u64, u64)>,
    /// The numbers of all names that events in it refer to.
    pub names: Bitmap,
    /// Some groups: the number of their first event, and their offset.
    pub index: Vec<(u64, u64)>,
}

impl SegmentInfo {
    /// A segment that nothing has been written to.
    pub fn empty(segment: u64, first_sequence: u64, start: u64, created_ms: u64) -> Self {
        Self {
            segment,
            first_sequence,
            start,
            end: start,
            created_ms,
            made_ms: 0,
            outcomes: None,
            acts: None,
            names: Bitmap::default(),
            index: Vec::new(),
        }
    }

    /// Takes note of the names that events refer to.
    pub fn note_names<'e>(&mut self, heads: impl IntoIterator<Item = &'e EventHead>) {
        let mut last: Option<&EventHead> = None;
        for head in heads {
            self.names.insert(head.source.0.into());
            // Under load most events are like the one before, and one may match ten thousand rules.
            if last.is_none_or(|last| last.rules != head.rules) {
                for rule in &head.rules {
                    self.names.insert(rule.0.into());
                }
            }
            if last.is_none_or(|last| last.deliveries != head.deliveries) {
                for delivery in &head.deliveries {
                    self.names.insert(delivery.destination.0.into());
                    self.names.insert(delivery.rule.0.into());
                }
            }
            last = Some(head);
        }
    }

    /// Takes note of outcomes that are in it.
    pub fn note_outcomes<'a>(&mut self, outcomes: impl IntoIterator<Item = &'a OutcomeRecord>) {
        for outcome in outcomes {
            widen(&mut self.outcomes, outcome.key.sequence);
        }
    }

    /// Takes note of an act on deliveries that is in it. A dead letter is known as one without being looked for.
    pub fn note_selection(&mut self, selection: &SelectionRecord) {
        if let BulkAct::MoveDead(to) | BulkAct::MoveWaiting(to) = selection.act
            && to != NameId::NONE
        {
            self.names.insert(to.0.into());
        }
        if selection.act != BulkAct::DeadLetter {
            [selection.sequences.next(0), selection.sequences.previous(u64::MAX)]
                .into_iter()
                .flatten()
                .for_each(|sequence| widen(&mut self.acts, sequence));
        }
    }

    /// Takes note of the deliveries that are over by what happened to a digest.
    pub fn note_digest(&mut self, digest: &DigestRecord) {
        let ended = digest.ended().into_iter();
        let edges = ended.flat_map(|members| [members.next(0), members.previous(u64::MAX)]);
        edges.flatten().for_each(|sequence| widen(&mut self.outcomes, sequence));
    }

    /// Takes note of a group, in order.
    pub fn note(&mut self, first_sequence: u64, offset: u64) {
        if self.index.last().is_none_or(|(_, last)| offset - last >= INDEX_STEP) {
            self.index.push((first_sequence, offset));
        }
    }
}

fn widen(range: &mut Option<(u64, u64)>, sequence: u64) {
    let (low, high) = range.unwrap_or((sequence, sequence));
    *range = Some((low.min(sequence), high.max(sequence)));
}

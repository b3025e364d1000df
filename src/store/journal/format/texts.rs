//! The texts in records and headers: why something is so, and what was asked for. They may quote an answer.

use super::record::Record;
use super::{GroupBuilder, SegmentHeader};
use crate::store::queues::{Act, Change, DigestAct, OutcomeState};

impl Record {
    /// The same with other texts; `None` where none changes.
    pub fn with_texts(&self, change: Change<'_>) -> Option<Self> {
        let mut changed = self.clone();
        let mut has_changed = false;
        let mut look = |of: Option<u64>, text: &mut String| {
            if let Some(other) = change(of, text) {
                has_changed = true;
                *text = other;
            }
        };
        match &mut changed {
            Self::Outcomes(outcomes) => {
                for outcome in outcomes {
                    if let OutcomeState::Scheduled { reason, .. } | OutcomeState::Dead { reason } = &mut outcome.state {
                        look(Some(outcome.key.sequence), reason);
                    }
                }
            }
            Self::Control(control) => {
                if let Act::Pause(reason) = &mut control.act {
                    look(None, reason);
                }
            }
            Self::Selection(selection) => look(None, &mut selection.reason),
            Self::Replay(replay) => look(None, &mut replay.spec),
            Self::Digest(digest) => {
                if let DigestAct::Scheduled { reason, .. } = &mut digest.what {
                    look(None, reason);
                }
            }
            Self::Event(_) | Self::Relocated(_) | Self::Name(..) | Self::Windows(_) => {}
        }
        has_changed.then_some(changed)
    }

    /// The bytes of its head.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut builder = GroupBuilder::default();
        builder.put(self, bytes::Bytes::new());
        builder.into_heads()
    }
}

impl SegmentHeader {
    /// The same with other reasons of pauses; `None` where none changes.
    pub fn with_texts(&self, change: Change<'_>) -> Option<Self> {
        let mut changed = self.clone();
        let mut has_changed = false;
        for pause in changed.states.iter_mut().filter_map(|(_, state)| state.paused.as_mut()) {
            if let Some(other) = change(None, &pause.reason) {
                has_changed = true;
                pause.reason = other;
            }
        }
        has_changed.then_some(changed)
    }
}

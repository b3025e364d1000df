//! Sources that are held or refuse: since when, and what is asked of the store to change it.

use std::sync::Arc;

use super::Relay;
use crate::store::{NameId, NameKind, What};

/// What an operator does with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAct {
    /// Its events are accepted and kept, and delivered once it is resumed.
    Hold,
    /// Its events are answered with 503.
    Refuse,
    Resume,
}

/// How a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Its events are accepted and delivered.
    Accepting,
    /// Its events are accepted and kept, since then, unix milliseconds.
    Held(u64),
    /// Its events are answered with 503, since then, unix milliseconds.
    Refusing(u64),
}

impl SourceState {
    /// As people see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Held(_) => "held",
            Self::Refusing(_) => "refusing",
        }
    }

    /// Since when it does not simply go on, unix milliseconds.
    pub fn since_ms(self) -> Option<u64> {
        match self {
            Self::Accepting => None,
            Self::Held(since_ms) | Self::Refusing(since_ms) => Some(since_ms),
        }
    }
}

impl Relay {
    /// How a source stands.
    pub fn source_state(&self, id: NameId) -> SourceState {
        let sources = self.sources.borrow();
        let Some(state) = sources.get(&id) else { return SourceState::Accepting };
        match (&state.paused, state.held_since_ms) {
            (Some(pause), _) => SourceState::Refusing(pause.since_ms),
            (None, Some(since_ms)) => SourceState::Held(since_ms),
            (None, None) => SourceState::Accepting,
        }
    }

    /// Sources that are held or refuse, and that the config does not name any more.
    pub fn paused_sources_gone(&self) -> Vec<(NameId, Arc<str>)> {
        let generation = self.generation();
        let mut known = self.store.names().of_kind(NameKind::Source);
        known.retain(|(id, _)| !generation.source_ids.contains(id) && self.source_state(*id) != SourceState::Accepting);
        known
    }

    /// Whether a source is paused, so that its events are refused.
    pub fn is_source_paused(&self, id: NameId) -> bool {
        self.sources.borrow().get(&id).is_some_and(|state| state.paused.is_some())
    }

    /// What is to be asked of the store to do something with a source; none where the config does not name it, unless it is resumed: what
    /// it had accepted is kept, and can be let go.
    pub fn command_for_source(&self, name: &str, act: SourceAct) -> Option<(NameId, What)> {
        let generation = self.generation();
        let at = generation.config.sources.iter().position(|source| source.name == name);
        let id = match at {
            Some(at) => generation.source_ids[at],
            None if act == SourceAct::Resume => {
                self.paused_sources_gone().into_iter().find(|(_, known)| **known == *name)?.0
            }
            None => return None,
        };
        let what = match act {
            SourceAct::Hold => What::Hold,
            SourceAct::Refuse => What::Pause { reason: "paused by the operator".to_owned() },
            SourceAct::Resume => What::Resume,
        };
        Some((id, what))
    }
}

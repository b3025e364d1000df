//! What the log says of sources that are held or refuse.

use std::collections::HashMap;

use crate::relay::{Relay, SourceState};
use crate::store::NameId;
use crate::telemetry::trouble::{TOLD_EVERY, Trouble};
use crate::time::Instant;

/// What the log says of sources: when one is held or refuses, every quarter of an hour while it is, and when that is over.
#[derive(Default)]
pub(super) struct Pauses(HashMap<String, (SourceState, Trouble)>);

impl Pauses {
    /// Tells what is due.
    pub(super) async fn look(&mut self, relay: &Relay) {
        let generation = relay.generation().clone();
        let sources = &generation.config.sources;
        self.0.retain(|name, _| sources.iter().any(|source| source.name == *name));
        for (source, id) in sources.iter().zip(&generation.source_ids) {
            self.look_at(relay, &source.name, *id).await;
        }
    }

    async fn look_at(&mut self, relay: &Relay, name: &str, id: NameId) {
        let now = Instant::now();
        let state = relay.source_state(id);
        let known = self.0.get(name).map(|(known, _)| *known);
        if state == SourceState::Accepting {
            if let Some((_, mut trouble)) = self.0.remove(name) {
                let after_s = trouble.ends(now).map(|ended| ended.lasted.as_secs());
                tracing::info!(source = %name, after_s, "the source is resumed: its events are accepted and delivered");
            }
            return;
        }
        let news = if known == Some(state) {
            self.0.get_mut(name).and_then(|(_, trouble)| trouble.look(now))
        } else {
            let mut trouble = Trouble::lasting(TOLD_EVERY);
            let news = trouble.happens(now);
            self.0.insert(name.to_owned(), (state, trouble));
            news
        };
        if news.is_none() {
            return;
        }
        let held = relay.store.counts().await.map_or(0, |counts| counts.held(id));
        let since = state.since_ms().map(crate::time::rfc3339);
        if matches!(state, SourceState::Held(_)) {
            tracing::warn!(source = %name, since, held, "the source is held: its events are kept, and delivered when it is resumed");
        } else {
            tracing::warn!(source = %name, since, held, "the source refuses its events with 503 until it is resumed");
        }
    }
}

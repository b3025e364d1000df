//! The keys of the events that the journal has: read back, oldest first, page by page.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Doubles;
use super::table::Table;
use crate::config::Config;
use crate::event::RelayFields;
use crate::relay::Generation;
use crate::rules::Once;
use crate::store::{EVENTS_MAX, EventQuery, Looking, NameId, Order, StoreError, StoredEvent};
use crate::time::wall_ms;

/// Events that are read back at most, the newest: twice as many as there are keys for, so that a start does not wait for a whole history. Of a config whose window holds more,
/// the older ones are as if they had not come.
pub const READ_BACK_MAX: u64 = 2_000_000;
/// What came while the history was read before a config was put in force is read again from a little before: stamps are taken before an event is stored.
const OVERLAP: Duration = Duration::from_secs(60);

/// What is to be read back for a config, and what has been.
pub struct ReadBack {
    generation: u32,
    /// When reading began, unix milliseconds; `None` where all is known.
    begun_ms: Option<u64>,
}

impl ReadBack {
    /// Nothing can have come meanwhile.
    pub fn whole(self) -> Self {
        Self { begun_ms: None, ..self }
    }
}

impl Doubles {
    /// Reads back what a config asks for and the one before did not, before it is put in force.
    pub async fn read_back(&self, store: &dyn Looking, before: Option<&Config>, next: &Generation) -> ReadBack {
        let generation = next.number;
        let within = missing(before, &next.config);
        if within.is_zero() {
            return ReadBack { generation, begun_ms: None };
        }
        let begun_ms = wall_ms();
        self.read_since(store, next, begun_ms.saturating_sub(millis(within))).await;
        ReadBack { generation, begun_ms: Some(begun_ms) }
    }

    /// Reads what came meanwhile, once the config is in force, and lets those in who wait for it, whatever comes of it.
    pub async fn catch_up(&self, store: &dyn Looking, next: &Generation, read: ReadBack) {
        let ready = Ready(self, read.generation);
        if let Some(begun_ms) = read.begun_ms {
            self.read_since(store, next, begun_ms.saturating_sub(millis(OVERLAP))).await;
        }
        drop(ready);
    }

    async fn read_since(&self, store: &dyn Looking, of: &Generation, since_ms: u64) {
        match self.read(store, of, since_ms).await {
            Ok(events) => {
                tracing::debug!(events, keys = self.keys(), "events were read back for `dedupe` and `once_per`")
            }
            Err(error) => tracing::error!(
                %error,
                "the events before could not be read back for `dedupe` and `once_per`: what comes again of them goes out again"
            ),
        }
    }

    /// Notes the keys of all events since then, and says how many events there were.
    async fn read(&self, store: &dyn Looking, of: &Generation, since_ms: u64) -> Result<u64, StoreError> {
        let config = &of.config;
        let windows = config.sources.iter().zip(&of.source_ids).filter_map(|(source, id)| Some((*id, source.dedupe?)));
        let windows: HashMap<NameId, _> = windows.collect();
        let names: HashMap<NameId, &str> = sources_of(of).collect();
        let rules = config.rules.rules().iter().zip(&of.rule_ids).enumerate();
        let rules: HashMap<NameId, usize> =
            rules.filter(|(_, (rule, _))| rule.once.is_some()).map(|(at, (_, id))| (*id, at)).collect();
        let query = EventQuery { since_ms, last: Some(READ_BACK_MAX), ..EventQuery::all(Order::OldestFirst) };
        let (mut after, mut events) = (None, 0);
        let reading = Reading::begin(self);
        loop {
            let page = store.events(&query, after.as_ref(), EVENTS_MAX).await?;
            events += page.items.len() as u64;
            reading.note(&page.items, |table, event| {
                // What tells it from others may be among what was taken away.
                if event.is_redacted {
                    return;
                }
                let window = windows.get(&event.source);
                let once: SmallVec<[usize; 4]> =
                    event.rules.iter().filter_map(|rule| rules.get(rule).copied()).collect();
                if window.is_none() && once.is_empty() {
                    return;
                }
                // Of a source that is gone, the name is no value of anything that comes.
                let source = names.get(&event.source).copied().unwrap_or_default();
                let relay = RelayFields { source, received_ms: event.received_ms };
                // What an older relay accepted, and this one would not, does not come again.
                let Ok(read) = config.rules.read(&event.body, relay) else { return };
                if let Some((key, within)) = read.identity.zip(window) {
                    table.note(key, event.id, *within);
                }
                for rule in once {
                    if let Some((key, every)) = config.rules.key(rule, &read) {
                        table.note_last(key, event.id, every);
                    }
                }
            });
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(events),
            }
        }
    }
}

/// Somebody reads the history back. What is forgotten meanwhile is not noted.
struct Reading<'d>(&'d Doubles);

impl<'d> Reading<'d> {
    fn begin(doubles: &'d Doubles) -> Self {
        doubles.amid().readers += 1;
        Self(doubles)
    }

    /// Notes events that were read since it began. Nobody forgets amid it: who does so afterwards finds the keys.
    fn note(&self, events: &[Arc<StoredEvent>], mut note: impl FnMut(&Table, &StoredEvent)) {
        let amid = self.0.amid();
        for event in events.iter().filter(|event| !amid.forgotten.contains(&event.id)) {
            note(&self.0.table, event);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut amid = self.0.amid();
        amid.readers -= 1;
        if amid.readers == 0 {
            amid.forgotten = HashSet::new();
        }
    }
}

/// Lets those in who wait, also where reading panicked.
struct Ready<'d>(&'d Doubles, u32);

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        self.0.read_up_to.send_modify(|read| *read = self.1.max(*read));
    }
}

fn sources_of(generation: &Generation) -> impl Iterator<Item = (NameId, &str)> {
    let sources = &generation.config.sources;
    sources.iter().zip(&generation.source_ids).map(|(source, id)| (*id, source.name.as_str()))
}

/// The longest window that a config has and the one before did not; zero where there is none.
fn missing(before: Option<&Config>, next: &Config) -> Duration {
    let of_source = |name: &str| {
        let source = before.and_then(|before| before.sources.iter().find(|source| source.name == name));
        source.and_then(|source| source.dedupe)
    };
    let before_once: HashMap<&str, &Once> = before.into_iter().flat_map(onces).collect();
    let of_rule = |name: &str, once: &Once| {
        before_once.get(name).filter(|known| known.has_keys_of(once)).map(|known| known.every)
    };
    let sources = next.sources.iter().filter_map(|source| Some((source.dedupe?, of_source(&source.name))));
    let rules = onces(next).map(|(name, once)| (once.every, of_rule(name, once)));
    let windows = sources.chain(rules);
    windows
        .filter(|(window, known)| known.is_none_or(|known| known < *window))
        .map(|(window, _)| window)
        .max()
        .unwrap_or_default()
}

/// The rules that match once, by name.
fn onces(config: &Config) -> impl Iterator<Item = (&str, &Once)> {
    config.rules.rules().iter().filter_map(|rule| Some((rule.name.as_str(), rule.once.as_ref()?)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::super::table::Asked;
    use super::*;
    use crate::event::{EventId, Print, Printing};

    const WITHIN: Duration = Duration::from_secs(60);

    fn key(id: EventId) -> Print {
        Printing::of("test").text(id.to_string()).finish()
    }

    fn event(number: u64) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            id: EventId::mint(1_000, 0, number),
            received_ms: 1_000,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: bytes::Bytes::new(),
            is_redacted: false,
        })
    }

    #[test]
    fn what_is_forgotten_while_the_history_is_read_back_is_known_by_no_key() {
        let doubles = Doubles::new(Counter::default());
        let is_known = |event: &StoredEvent| matches!(doubles.table.ask(key(event.id), 1_000, WITHIN), Asked::Known(_));
        let note = |reading: &Reading<'_>, page: &[Arc<StoredEvent>]| {
            reading.note(page, |table, event| table.note(key(event.id), event.id, WITHIN));
        };
        let page = [event(1), event(2), event(3)];
        let (reading, other) = (Reading::begin(&doubles), Reading::begin(&doubles));
        // The page was read before, and is noted after.
        doubles.forget(&HashSet::from([page[0].id]));
        drop(other);
        note(&reading, &page);
        assert_eq!([0, 1, 2].map(|at| is_known(&page[at])), [false, true, true]);
        doubles.forget(&HashSet::from([page[1].id]));
        note(&reading, &page);
        assert_eq!([0, 1, 2].map(|at| is_known(&page[at])), [false, false, true]);
        drop(reading);
        assert!(doubles.amid().forgotten.is_empty(), "nobody reads any more");
        doubles.forget(&HashSet::from([page[2].id]));
        assert!(doubles.amid().forgotten.is_empty() && !is_known(&page[2]));
    }
}

//! Takes what has changed, four times a second, and puts it on the ring, while somebody reads and a little longer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::super::destinations;
use super::Streams;
use super::ring::Entry;
use crate::event::EventId;
use crate::relay::{Difference, Relay};
use crate::store::{Changes, DeliveryState, NameId, Watch};
use crate::time::{MINUTE_MS, rfc3339, wall_ms};

/// How often: what comes is seen a moment later, and a burst is one piece.
const EVERY: Duration = Duration::from_millis(250);
/// Destinations are looked at each second, the running minute is told each five, and the file of the config is looked at each two: in steps.
const DESTINATIONS_EVERY: u64 = 4;
const MINUTE_EVERY: u64 = 20;
const FILE_EVERY: u64 = 8;
/// Steps from one command that is told to the next: a replay is many in a row, and whoever hears of one asks for a list again.
const COMMANDS_EVERY: u64 = 12;
/// Events of one step whose deliveries are kept; no reader is told of more.
const SETTLED_EVENTS_MAX: usize = 1000;

/// Works until nobody reads any more, or the relay stops.
pub(super) async fn pump(streams: Arc<Streams>, relay: Arc<Relay>, watch: Watch) {
    let mut end = End { streams: &streams, is_left: false };
    let mut pump = Pump::new(&relay);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for step in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = relay.until_stopping() => return,
        }
        if streams.is_left() {
            end.is_left = true;
            return;
        }
        let changes = watch.take();
        let is_redacted = changes.redacted_up_to.is_some_and(|newest| streams.kept().ring.has_one_up_to(newest));
        if changes.was_erased || is_redacted {
            // Whoever reads comes back and begins anew: nothing that is kept tells of them any more.
            return;
        }
        let entries = pump.step(&relay, changes, step).await;
        if !entries.is_empty() {
            streams.push(entries);
        }
    }
}

/// A pump that ends, by a panic too, leaves nothing behind, and no stream goes on without one: whoever read comes back and begins another.
struct End<'s> {
    streams: &'s Streams,
    /// What was left has ended already, and somebody may have begun anew.
    is_left: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.is_left {
            self.streams.kept().end();
            self.streams.newest.send_modify(|_| {});
        }
    }
}

/// What was told last.
struct Pump {
    /// How each destination stands; none before the first look, which tells of all: one may have changed since somebody has asked for the list.
    destinations: HashMap<String, Value>,
    config: Config,
    /// Of the config's file.
    file: File,
    /// Since which minute from the unix epoch the running one is told.
    minute: u64,
    /// What was told of it last, which the ring does not keep.
    running: Arc<str>,
    commands: Commands,
}

/// Commands that were done, and are to be told.
#[derive(Debug, Default)]
struct Commands {
    was_done: bool,
    /// The step from which the next is told.
    told_from: u64,
}

impl Commands {
    /// Whether it is to be told now that some were done: at once, and after that now and then.
    fn take(&mut self, step: u64) -> bool {
        let is_due = self.was_done && step >= self.told_from;
        if is_due {
            *self = Self { was_done: false, told_from: step + COMMANDS_EVERY };
        }
        is_due
    }
}

/// What is told of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    generation: u32,
    reloads: u64,
    /// When its file was changed, unix milliseconds, if it is not what is in force.
    changed_ms: Option<u64>,
}

impl Config {
    fn of(relay: &Relay, changed_ms: Option<u64>) -> Self {
        let reloads = relay.last_reload().map_or(0, |last| last.number);
        Self { generation: relay.generation().number, reloads, changed_ms }
    }
}

impl Pump {
    fn new(relay: &Relay) -> Self {
        Self {
            destinations: HashMap::new(),
            config: Config::of(relay, None),
            file: File::default(),
            minute: wall_ms() / MINUTE_MS,
            running: "".into(),
            commands: Commands::default(),
        }
    }

    async fn step(&mut self, relay: &Arc<Relay>, changes: Changes, step: u64) -> Vec<Entry> {
        self.commands.was_done |= changes.was_commanded;
        let mut entries = entries_of(changes);
        if step.is_multiple_of(DESTINATIONS_EVERY) {
            if self.commands.take(step) {
                entries.push(Entry::Reset);
            }
            entries.extend(self.destinations(relay).await);
        }
        if step.is_multiple_of(MINUTE_EVERY) {
            entries.extend(self.minutes(relay));
        }
        if step.is_multiple_of(FILE_EVERY) {
            self.file.look(relay).await;
        }
        let config = Config::of(relay, self.file.changed_ms);
        if config != self.config {
            self.config = config;
            entries.push(told_of_config(relay, config));
        }
        entries
    }

    /// The destinations that do not stand as they did.
    async fn destinations(&mut self, relay: &Relay) -> Vec<Entry> {
        let Ok(counts) = relay.store.counts().await else { return Vec::new() };
        let now = destinations::all(relay, &counts);
        let known = std::mem::take(&mut self.destinations);
        let mut changed = Vec::new();
        let mut all = HashMap::with_capacity(now.len());
        for shown in now {
            let name = shown["name"].as_str().unwrap_or_default().to_owned();
            let mut compared = shown.clone();
            // It is another each second, and says no more than `oldest_at`.
            compared["oldest_age_s"] = Value::Null;
            if known.get(&name) != Some(&compared) {
                changed.push(Entry::Told { kind: "destination", data: shown.to_string().into() });
            }
            all.insert(name, compared);
        }
        self.destinations = all;
        changed
    }

    /// What was counted in the running minute, and before it in the one that has ended, if that is news.
    fn minutes(&mut self, relay: &Relay) -> Vec<Entry> {
        let (now_ms, minutes) = relay.last_minutes(2);
        let minute = now_ms / MINUTE_MS;
        let has_ended = minute != std::mem::replace(&mut self.minute, minute);
        let told = |back: usize, at_ms: u64| {
            let intake = minutes.intake[1 - back];
            let destinations = minutes.destinations.iter().map(|(name, of)| {
                let of = of[1 - back];
                (name.to_string(), json!({ "delivered": of.delivered, "failed": of.failed, "dead": of.dead }))
            });
            json!({
                "at": rfc3339(at_ms),
                "accepted": intake.accepted,
                "refused": intake.refused,
                "unrouted": intake.unrouted,
                "destinations": destinations.collect::<serde_json::Map<String, Value>>(),
            })
            .to_string()
        };
        let ended = has_ended.then(|| told(1, (minute * MINUTE_MS).saturating_sub(1)));
        self.running = told(0, now_ms).into();
        let ended = ended.map(|data| Entry::Told { kind: "minute", data: data.into() });
        ended.into_iter().chain([Entry::Minute(Arc::downgrade(&self.running))]).collect()
    }
}

/// What the store has told, as frames. What became of events that arrive in the same step is seen when their frames are made.
fn entries_of(changes: Changes) -> Vec<Entry> {
    let Changes { arrived, others, settled, mut settled_besides, .. } = changes;
    let new: HashSet<EventId> = arrived.iter().map(|event| event.id).collect();
    let mut deliveries: BTreeMap<EventId, Vec<(NameId, DeliveryState)>> = BTreeMap::new();
    for (delivery, state) in settled.into_iter().filter(|(delivery, _)| !new.contains(&delivery.event)) {
        if deliveries.len() >= SETTLED_EVENTS_MAX && !deliveries.contains_key(&delivery.event) {
            settled_besides += 1;
            continue;
        }
        let of_event = deliveries.entry(delivery.event).or_default();
        of_event.retain(|(destination, _)| *destination != delivery.destination);
        of_event.push((delivery.destination, state));
    }
    let mut entries: Vec<_> = arrived.into_iter().map(Entry::of_event).collect();
    entries.extend(others.map(Entry::Others));
    entries.extend(deliveries.into_iter().map(|(event, now)| Entry::Deliveries { event, now }));
    entries.extend((settled_besides > 0).then_some(Entry::DeliveriesBesides(settled_besides)));
    entries
}

fn told_of_config(relay: &Relay, config: Config) -> Entry {
    let last = relay.last_reload().map(|last| json!({ "at": rfc3339(last.at_ms), "error": last.error }));
    let data = json!({
        "generation": config.generation,
        "last_reload": last,
        "on_disk_changed_at": config.changed_ms.map(rfc3339),
    });
    Entry::Told { kind: "config", data: data.to_string().into() }
}

/// The config's file, and those that it names.
#[derive(Default)]
struct File {
    /// When one was changed, unix milliseconds, if it is not what is in force.
    changed_ms: Option<u64>,
    /// A look that has not ended: nothing waits for a file that hangs.
    looking: Option<JoinHandle<Looked>>,
}

/// What a look has found.
struct Looked {
    changed_ms: Option<u64>,
    /// Of the config that was looked for.
    generation: u32,
}

impl File {
    async fn look(&mut self, relay: &Relay) {
        if self.looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
            return;
        }
        let generation = relay.generation().clone();
        if let Some(looking) = self.looking.take()
            && let Ok(looked) = looking.await
        {
            self.changed_ms = looked.changed_ms.filter(|_| looked.generation == generation.number);
        }
        let look = move || Looked {
            // Where the disk does not tell when, it was since then.
            changed_ms: Difference::of(&generation.config).map(|found| found.changed_ms.unwrap_or(generation.since_ms)),
            generation: generation.number,
        };
        self.looking = Some(tokio::task::spawn_blocking(look));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DeliveryId, Others, StoredEvent};

    fn event(number: u64) -> Arc<StoredEvent> {
        Arc::new(StoredEvent {
            id: EventId::mint(number, 0, number),
            received_ms: number,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: bytes::Bytes::new(),
            is_redacted: false,
        })
    }

    fn delivered(number: u64, destination: u32, attempts: u16) -> (DeliveryId, DeliveryState) {
        let delivery = DeliveryId { event: EventId::mint(number, 0, number), destination: NameId(destination) };
        (delivery, DeliveryState::Delivered { attempts, at_ms: 0 })
    }

    #[track_caller]
    fn check(changes: Changes, expected: &[&str]) {
        let told = entries_of(changes).into_iter().map(|entry| match entry {
            Entry::Event { event, .. } => format!("event {}", event.received_ms),
            Entry::Others(others) => format!("{} others", others.events),
            Entry::Deliveries { event, now } => {
                let attempts = |state: &DeliveryState| match state {
                    DeliveryState::Delivered { attempts, .. } => *attempts,
                    _ => 0,
                };
                let now: Vec<_> = now.iter().map(|(to, state)| format!("{}:{}", to.0, attempts(state))).collect();
                format!("{} to {}", event.received_ms(), now.join(" "))
            }
            Entry::DeliveriesBesides(number) => format!("{number} besides"),
            other => format!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn deliveries_of_an_event_are_told_together_the_last_state_of_each_and_none_of_what_arrives_with_them() {
        check(Changes::default(), &[]);
        let changes = Changes {
            arrived: vec![event(7), event(8)],
            settled: vec![
                delivered(3, 1, 1),
                delivered(7, 1, 1),
                delivered(2, 1, 1),
                delivered(3, 2, 1),
                delivered(3, 1, 2),
            ],
            others: Some(Others::one(9)),
            settled_besides: 4,
            ..Changes::default()
        };
        check(changes, &["event 7", "event 8", "1 others", "2 to 1:1", "3 to 2:1 1:2", "4 besides"]);
    }

    #[test]
    fn deliveries_of_so_many_events_are_kept_and_the_rest_is_counted() {
        let most = SETTLED_EVENTS_MAX as u64;
        let settled: Vec<_> = (0..most + 2).map(|number| delivered(number, 1, 1)).chain([delivered(0, 2, 1)]).collect();
        let entries = entries_of(Changes { settled, ..Changes::default() });
        assert_eq!(entries.len() as u64, most + 1);
        assert!(matches!(entries.last(), Some(Entry::DeliveriesBesides(2))), "{:?}", entries.last());
        assert!(matches!(&entries[0], Entry::Deliveries { now, .. } if now.len() == 2));
    }

    #[test]
    fn a_command_is_told_at_once_and_many_in_a_row_now_and_then() {
        let mut commands = Commands::default();
        assert!(!commands.take(0), "nothing was done");
        let mut told = Vec::new();
        for step in 1..=COMMANDS_EVERY * 2 {
            commands.was_done |= step <= COMMANDS_EVERY;
            told.extend(commands.take(step).then_some(step));
        }
        assert_eq!(told, [1, COMMANDS_EVERY + 1], "also the last, a little later");
    }
}

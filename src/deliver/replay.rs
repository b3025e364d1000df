//! Replays of the history: events of a stretch of time, perhaps only those that match, go out again.
//!
//! A replay is a cursor over the history, not a row for each event: it selects stretch after stretch, a bit an event, and writes down
//! how far it has come in the same breath. Its id is given by who asks, so a command said twice is one replay; after a crash it goes
//! on where it was, and what was selected twice goes out once.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::event::RelayFields;
use crate::rules::RuleSet;
use crate::store::{
    AppendError, NameId, NameKind, NumberSet, ReadError, ReplayProgress, Selecting, Selection, Store, StoredEvent,
};

/// Events looked at between two steps of the cursor: what a crash makes a replay look at again.
pub const STEP: u64 = 16_384;
/// A replay's description is not longer than this.
pub const SPEC_BYTES_MAX: usize = 16 << 10;

impl ReplayError {
    /// A thread that reads for a replay came to nothing.
    fn of_thread(error: &tokio::task::JoinError) -> Self {
        if error.is_panic() { ReplayError::Panicked } else { ReplayError::Stopped }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplaySpec {
    /// Events that arrived at or after this, unix milliseconds.
    pub since_ms: u64,
    /// And before this.
    pub until_ms: u64,
    /// Only what a match map, as in a rule, holds for.
    pub matching: Option<String>,
    /// To these destinations; empty: to those that each event went to.
    pub to: Vec<String>,
}

/// Why a replay cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its match map is wrong.
    #[error("{0}")]
    Match(String),
    /// It names a destination that is not there.
    #[error("there is no destination `{0}`")]
    Destination(String),
    /// It is too long.
    #[error("a replay's description has at most {SPEC_BYTES_MAX} bytes")]
    TooLong,
    /// The history cannot be read.
    #[error("the history could not be read")]
    Read(#[from] ReadError),
    /// It could not be written down.
    #[error("it could not be written down: {0}")]
    Append(#[from] AppendError),
    /// Its id is another command's.
    #[error("this id is another command's: it stands for a replay of dead letters")]
    Known,
    /// It panicked.
    #[error("it panicked, which is a bug: see the log")]
    Panicked,
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopped,
}

impl ReplaySpec {
    /// As it is written down.
    pub fn to_json(&self) -> String {
        let Self { since_ms, until_ms, matching, to } = self;
        json!({ "since_ms": since_ms, "until_ms": until_ms, "match": matching, "to": to }).to_string()
    }

    /// Reads back what [`to_json`](Self::to_json) gave.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let to = value["to"].as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
        Some(Self {
            since_ms: value["since_ms"].as_u64()?,
            until_ms: value["until_ms"].as_u64()?,
            matching: value["match"].as_str().map(str::to_owned),
            to,
        })
    }
}

/// Tells which events are meant.
pub struct Matcher(Option<RuleSet>);

impl Matcher {
    /// Reads a match map, in YAML or JSON; `None` means all events.
    pub fn parse(text: Option<&str>) -> Result<Self, ReplayError> {
        Ok(Self::parse_with_warnings(text)?.0)
    }

    /// The same, and what in it probably does not do what was meant.
    pub fn parse_with_warnings(text: Option<&str>) -> Result<(Self, Vec<String>), ReplayError> {
        let read = text.map(crate::config::parse_match_with_warnings).transpose().map_err(ReplayError::Match)?;
        let (rules, warnings) = read.unzip();
        Ok((Self(rules), warnings.unwrap_or_default()))
    }

    /// Holds for the events of one person; capital and small letters of the address are alike.
    pub fn of_person(email: &str) -> Result<Self, ReplayError> {
        Self::parse(Some(&serde_json::json!({ "user.email": { "equals": email, "ignore_case": true } }).to_string()))
    }

    /// Whether an event is meant.
    pub fn holds(&self, store: &dyn Store, event: &StoredEvent) -> bool {
        let Some(rules) = &self.0 else { return true };
        let source = store.name_of(event.source).unwrap_or_else(|| "".into());
        let relay = RelayFields { source: &source, received_ms: event.received_ms };
        rules.route(&event.body, relay).is_ok_and(|routing| !routing.rules.is_empty())
    }
}

/// What a replay would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events that are meant.
    pub events: u64,
    /// Deliveries that would be made.
    pub deliveries: u64,
    /// Of them by destination.
    pub by_destination: Vec<(String, u64)>,
}

/// Makes replays.
#[derive(Clone)]
pub struct Replayer {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Ends them; they go on at the next start.
    pub stop: CancellationToken,
    /// Held while a command is looked at and written down.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Those that stopped, and why: until the next start.
    failed: Arc<Mutex<HashMap<u128, String>>>,
}

impl Replayer {
    /// A replayer over a store.
    pub fn new(store: Arc<dyn Store>, stop: CancellationToken) -> Self {
        Self { store, stop, turn: Arc::default(), failed: Arc::default() }
    }

    /// One command at a time, so that two with one id are one.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Why a replay stopped, if it did.
    pub fn failure(&self, id: u128) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn destinations(&self, spec: &ReplaySpec) -> Result<Vec<NameId>, ReplayError> {
        let known = self.store.names(NameKind::Destination);
        let find = |name: &String| {
            let (id, _) = known.iter().find(|(_, known)| **known == **name)?;
            self.store.standing(*id).removed_since_ms.is_none().then_some(*id)
        };
        spec.to.iter().map(|name| find(name).ok_or_else(|| ReplayError::Destination(name.clone()))).collect()
    }

    /// Looks at one stretch of the history: which events go where.
    fn select(
        &self,
        spec: &ReplaySpec,
        matcher: &Matcher,
        to: &[NameId],
        stretch: std::ops::Range<u64>,
    ) -> Result<Vec<(NameId, NumberSet)>, ReplayError> {
        let mut selected: Vec<(NameId, NumberSet)> = Vec::new();
        // Nothing is sent again to where nothing is sent any more.
        let all = self.store.names(NameKind::Destination).into_iter().map(|(id, _)| id);
        let removed: Vec<_> = all.filter(|id| self.store.standing(*id).removed_since_ms.is_some()).collect();
        self.store.scan(stretch, &mut |event| {
            let is_meant =
                (spec.since_ms..spec.until_ms).contains(&event.received_ms) && matcher.holds(&*self.store, &event);
            if is_meant {
                let planned = event.deliveries.iter().map(|delivery| delivery.destination);
                let planned = planned.filter(|id| to.is_empty() && !removed.contains(id));
                for id in planned.chain(to.iter().copied()) {
                    match selected.iter_mut().find(|(known, _)| *known == id) {
                        Some((_, set)) => drop(set.insert(event.id.sequence())),
                        None => selected.push((id, std::iter::once(event.id.sequence()).collect())),
                    }
                }
            }
            !self.stop.is_cancelled()
        })?;
        if self.stop.is_cancelled() { Err(ReplayError::Stopped) } else { Ok(selected) }
    }

    fn stretch(&self, spec: &ReplaySpec) -> Result<std::ops::Range<u64>, ReplayError> {
        let history = self.store.history();
        let from = self.store.first_since(spec.since_ms)?.max(history.start);
        Ok(from.min(history.end)..history.end)
    }

    /// Counts what a replay would do. Reads the disk.
    pub fn count(&self, spec: &ReplaySpec) -> Result<Counted, ReplayError> {
        let (matcher, to) = (Matcher::parse(spec.matching.as_deref())?, self.destinations(spec)?);
        let stretch = self.stretch(spec)?;
        let (mut counted, mut from) = (Counted::default(), stretch.start);
        while from < stretch.end {
            let until = (from + STEP).min(stretch.end);
            let mut events = NumberSet::default();
            for (id, set) in self.select(spec, &matcher, &to, from..until)? {
                events.insert_all(&set);
                counted.deliveries += set.len();
                let name = self.store.name_of(id).map(|name| name.to_string()).unwrap_or_default();
                match counted.by_destination.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, count)) => *count += set.len(),
                    None => counted.by_destination.push((name, set.len())),
                }
            }
            counted.events += events.len();
            from = until;
        }
        Ok(counted)
    }

    /// Takes a replay down, or finds the one that has its id already. Work on it begins with [`work`](Self::work).
    pub async fn begin(&self, id: u128, spec: &ReplaySpec) -> Result<(ReplayProgress, bool), ReplayError> {
        let _turn = self.turn().await;
        if let Some(known) = self.store.replays().into_iter().find(|known| known.id == id) {
            return if ReplaySpec::from_json(&known.spec).is_some() {
                Ok((known, false))
            } else {
                Err(ReplayError::Known)
            };
        }
        Matcher::parse(spec.matching.as_deref())?;
        self.destinations(spec)?;
        let text = spec.to_json();
        if text.len() > SPEC_BYTES_MAX {
            return Err(ReplayError::TooLong);
        }
        let (replayer, asked) = (self.clone(), spec.clone());
        let stretch = tokio::task::spawn_blocking(move || replayer.stretch(&asked)).await;
        let stretch = stretch.map_err(|error| ReplayError::of_thread(&error))??;
        let at_ms = crate::time::wall_ms();
        let (cursor, until) = (stretch.start, stretch.end);
        let progress = ReplayProgress { id, spec: text, cursor, until, selected: 0, at_ms, is_done: false };
        self.write(&progress).await?;
        Ok((progress, true))
    }

    async fn write(&self, progress: &ReplayProgress) -> Result<(), ReplayError> {
        self.store.set_replay(progress.clone()).await.unwrap_or(Err(AppendError::Closed))?;
        Ok(())
    }

    /// Works on a replay until it is done or the relay stops.
    pub async fn work(self, mut progress: ReplayProgress) {
        // A panic is told where it happens.
        let worked = AssertUnwindSafe(self.try_work(&mut progress)).catch_unwind().await;
        if let Err(error) = worked.unwrap_or(Err(ReplayError::Panicked))
            && !matches!(error, ReplayError::Stopped)
        {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.insert(progress.id, crate::telemetry::in_full(&error));
            drop(failed);
            tracing::error!(error = crate::telemetry::in_full(&error), replay = %uuid::Uuid::from_u128(progress.id), "a replay stopped; it is tried again at the next start");
        }
    }

    async fn try_work(&self, progress: &mut ReplayProgress) -> Result<(), ReplayError> {
        let unreadable = || ReplayError::Match("its description cannot be read".to_owned());
        let spec = ReplaySpec::from_json(&progress.spec).ok_or_else(unreadable)?;
        let (matcher, to) = (Arc::new(Matcher::parse(spec.matching.as_deref())?), self.destinations(&spec)?);
        while progress.cursor < progress.until {
            let until = (progress.cursor + STEP).min(progress.until);
            let (replayer, asked, matcher, to, from) =
                (self.clone(), spec.clone(), matcher.clone(), to.clone(), progress.cursor);
            let selected =
                tokio::task::spawn_blocking(move || replayer.select(&asked, &matcher, &to, from..until)).await;
            let selections = selected.map_err(|error| ReplayError::of_thread(&error))??;
            let answers = self.begin_all(progress.id, selections).await?;
            progress.cursor = until;
            progress.at_ms = crate::time::wall_ms();
            // Right behind the selections, before any of them is known to be durable: a crash leaves both or neither, nearly always.
            let written = self.store.set_replay(progress.clone());
            for answer in answers {
                progress.selected += answer.await.unwrap_or(Err(AppendError::Closed))?;
            }
            written.await.unwrap_or(Err(AppendError::Closed))?;
        }
        progress.is_done = true;
        self.write(progress).await
    }

    async fn begin_all(
        &self,
        replay: u128,
        selections: Vec<(NameId, NumberSet)>,
    ) -> Result<Vec<oneshot::Receiver<Result<u64, AppendError>>>, ReplayError> {
        let store = self.store.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let selection = |(destination, sequences)| {
                let (act, reason) = (Selecting::Again, "replayed".to_owned());
                store.select(Selection { destination, act, reason, replay, sequences })
            };
            selections.into_iter().map(selection).collect()
        });
        begun.await.map_err(|error| ReplayError::of_thread(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back_as_written() {
        let spec = ReplaySpec {
            since_ms: 1,
            until_ms: u64::MAX,
            matching: Some("{type: sent}".into()),
            to: vec!["crm".into()],
        };
        assert_eq!(ReplaySpec::from_json(&spec.to_json()), Some(spec));
        assert_eq!(ReplaySpec::from_json("{}"), None);
    }

    #[test]
    fn a_match_map_is_read_in_yaml_and_in_json_and_a_wrong_one_is_told() {
        assert!(Matcher::parse(Some("{type: [sent, opened], campaign.name: {glob: \"Cart*\"}}")).is_ok());
        assert!(Matcher::parse(Some(r#"{"type": "sent"}"#)).is_ok());
        for wrong in ["{type: {globb: x}}", "[", "sent", "{}"] {
            let Err(error) = Matcher::parse(Some(wrong)) else { panic!("{wrong} was read") };
            assert!(!error.to_string().is_empty());
        }
    }
}

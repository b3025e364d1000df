//! Replays of the history: events of a range of time, or some that are named, perhaps only those that match, go out again.
//!
//! A replay is a cursor over the history, not a row for each event: it selects range after range, a bit an event, and writes down
//! how far it has come in the same breath. Its id is given by who asks, so a command said twice is one replay; after a crash it goes
//! on where it was, and the step that it was at is taken once, by an id of its own.
//!
//! Where they go is decided by the rules of when they arrived, or by those in force: then each step goes by the rules that are in force
//! when it is taken, and one that is taken again does nothing more to a destination for which it has been taken, whatever the rules say by
//! then.
//!
//! What one is asked to do, and how that is written down, is `spec`, [`ReplaySpec`]. `select`: which events go where. `count`: what one would
//! do.

mod count;
mod select;
mod spec;

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use self::count::{Counted, CountedOf};
use self::select::{Look, Step};
pub use self::spec::{By, Named, Only, ReplaySpec};
use crate::event::{EventId, RelayFields};
use crate::rules::RuleSet;
use crate::store::{
    AskedPrint, Command, Duty, EVENTS_MAX, NameId, NameKind, Page, ReplayProgress, Store, StoreError, StoredEvent,
    What, Which,
};

/// Events looked at between two steps of the cursor: what a crash makes a replay look at again.
pub const STEP: usize = EVENTS_MAX;
/// A replay's description is not longer than this: a thousand events by their ids, and a match map.
pub const SPEC_BYTES_MAX: usize = 64 << 10;

impl ReplayError {
    /// A thread that reads for a replay came to nothing.
    fn of_thread(error: &tokio::task::JoinError) -> Self {
        if error.is_panic() { ReplayError::Panicked } else { ReplayError::Stopped }
    }
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
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it panicked, which is a bug: see the log")]
    Panicked,
    /// The relay is stopping.
    #[error("the relay is stopping")]
    Stopped,
    /// Whoever asked does not wait for the answer any more.
    #[error("whoever asked has gone")]
    HasGone,
}

/// Tells which events are meant.
pub struct Conditions(Option<RuleSet>);

impl Conditions {
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

    /// Holds for the events of one person, of a campaign by a glob of its name, or of both; capital and small letters are alike.
    pub fn of(person: Option<&str>, campaign: Option<&str>) -> Result<Self, ReplayError> {
        let person = person.map(|email| ("user.email", json!({ "equals": email, "ignore_case": true })));
        let campaign = campaign.map(|name| ("campaign.name", json!({ "glob": name, "ignore_case": true })));
        let asked: serde_json::Map<String, Value> =
            person.into_iter().chain(campaign).map(|(field, test)| (field.to_owned(), test)).collect();
        Self::parse((!asked.is_empty()).then(|| Value::from(asked).to_string()).as_deref())
    }

    /// Holds for the events of one person.
    pub fn of_person(email: &str) -> Result<Self, ReplayError> {
        Self::of(Some(email), None)
    }

    /// Whether an event is meant.
    pub fn holds(&self, store: &dyn Store, event: &StoredEvent) -> bool {
        let Some(rules) = &self.0 else { return true };
        let source = store.names().name(event.source);
        let relay = RelayFields { source: &source, received_ms: event.received_ms };
        rules.route(&event.body, relay).is_ok_and(|routing| !routing.rules.is_empty())
    }
}

/// A replay that is asked for, proved.
#[derive(Clone)]
struct Asked {
    spec: ReplaySpec,
    conditions: Arc<Conditions>,
    to: Vec<NameId>,
    /// What in its match map probably does not do what was meant.
    warnings: Vec<String>,
}

/// Where each of some events goes by the rules in force.
pub type Route = Arc<dyn Fn(&[Arc<StoredEvent>]) -> Vec<Vec<NameId>> + Send + Sync>;

/// A replay that was asked for.
pub struct Begun {
    pub progress: ReplayProgress,
    /// It was not known by its id before.
    pub is_new: bool,
    /// Of a new one, what in its match map probably does not do what was meant.
    pub warnings: Vec<String>,
}

#[derive(Clone)]
pub struct Replayer {
    pub store: Arc<dyn Store>,
    route: Route,
    /// Ends them; they go on at the next start.
    stop: CancellationToken,
    /// Held while a command is looked at and written down.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Those that stopped, and why: until the next start.
    failed: Arc<Mutex<HashMap<u128, String>>>,
}

impl Replayer {
    /// A replayer over a store.
    pub fn new(store: Arc<dyn Store>, route: Route, stop: CancellationToken) -> Self {
        Self { store, route, stop, turn: Arc::default(), failed: Arc::default() }
    }

    /// Why a replay stopped, if it did.
    pub fn failure(&self, id: u128) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn destinations(&self, spec: &ReplaySpec, removed: &BTreeSet<NameId>) -> Result<Vec<NameId>, ReplayError> {
        let known = self.store.names();
        let find = |name: &String| known.find(NameKind::Destination, name).filter(|id| !removed.contains(id));
        spec.to.iter().map(|name| find(name).ok_or_else(|| ReplayError::Destination(name.clone()))).collect()
    }

    /// The destinations that no config names any more.
    async fn removed(&self) -> Result<BTreeSet<NameId>, ReplayError> {
        let counts = self.store.counts().await?;
        let all = self.store.names().of_kind(NameKind::Destination).into_iter().map(|(id, _)| id);
        Ok(all.filter(|id| counts.of(*id).state.removed_since_ms.is_some()).collect())
    }

    /// What is asked for, proved.
    async fn prove(&self, spec: &ReplaySpec) -> Result<Asked, ReplayError> {
        let (conditions, warnings) = Conditions::parse_with_warnings(spec.matching.as_deref())?;
        let to = self.destinations(spec, &self.removed().await?)?;
        if spec.json().to_string().len() > SPEC_BYTES_MAX {
            return Err(ReplayError::TooLong);
        }
        Ok(Asked { conditions: Arc::new(conditions), to, warnings, spec: spec.clone() })
    }

    /// Takes a replay down, or finds it where it has been already, by its id. Work on it begins with [`work`](Self::work).
    pub async fn begin(&self, id: u128, spec: &ReplaySpec) -> Result<Begun, ReplayError> {
        let _turn = self.turn.lock().await;
        if let Some(known) = self.store.replays().await?.into_iter().find(|known| known.id == id) {
            if ReplaySpec::from_json(&known.spec).is_some_and(|known| !known.is_same(spec)) {
                return Err(StoreError::IdTaken { id, by: "another replay".to_owned() }.into());
            }
            return Ok(Begun { progress: known, is_new: false, warnings: Vec::new() });
        }
        let warnings = self.prove(spec).await?.warnings;
        let text = spec.json().to_string();
        let begins = match &spec.named {
            Some(_) => Page { items: Vec::new(), next: None, left: 0 },
            None => self.store.events(&spec.history(), None, 0).await?,
        };
        let Page { next: cursor, left, .. } = begins;
        let at_ms = crate::time::wall_ms();
        let progress = ReplayProgress { id, spec: text, cursor, left, selected: 0, at_ms, is_done: false };
        self.write(&progress).await?;
        Ok(Begun { progress, is_new: true, warnings })
    }

    async fn write(&self, progress: &ReplayProgress) -> Result<(), ReplayError> {
        self.store.save_replay(progress.clone()).await?;
        Ok(())
    }

    /// Works on a replay until it is done or the relay stops, while nobody else does. Who has lost the right to it waits for it again.
    pub async fn work(self, mut progress: ReplayProgress) {
        loop {
            let lease = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                lease = self.store.lease(Duty::Replay(progress.id)) => lease,
            };
            tokio::select! {
                () = self.work_alone(&mut progress) => return,
                () = lease.lost.cancelled() => {}
            }
            // Somebody else may have come further.
            let known = self.store.replays().await.unwrap_or_default();
            if let Some(further) = known.into_iter().find(|known| known.id == progress.id) {
                progress = further;
            }
        }
    }

    async fn work_alone(&self, progress: &mut ReplayProgress) {
        // A panic is told where it happens.
        let worked = AssertUnwindSafe(self.try_work(progress)).catch_unwind().await;
        if let Err(error) = worked.unwrap_or(Err(ReplayError::Panicked))
            && !matches!(error, ReplayError::Stopped)
        {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.insert(progress.id, crate::errors::with_causes(&error));
            drop(failed);
            tracing::error!(error = crate::errors::with_causes(&error), replay = %uuid::Uuid::from_u128(progress.id), "a replay stopped; it is tried again at the next start");
        }
    }

    async fn try_work(&self, progress: &mut ReplayProgress) -> Result<(), ReplayError> {
        let unreadable = || ReplayError::Match("its description cannot be read".to_owned());
        let spec = ReplaySpec::from_json(&progress.spec).ok_or_else(unreadable)?;
        let asked = self.prove(&spec).await?;
        let mut redacted = 0;
        if spec.named.is_some() {
            let step = self.step(&asked, None, Look::WhereNeeded).await?;
            redacted += step.looked.redacted;
            self.take(progress, &spec, step).await?;
            progress.spec = spec.clone().done().json().to_string();
        }
        while let Some(after) = &progress.cursor {
            let mut step = self.step(&asked, Some(after), Look::WhereNeeded).await?;
            let (next, left) = (step.next.take(), step.left);
            redacted += step.looked.redacted;
            self.take(progress, &spec, step).await?;
            (progress.cursor, progress.left) = (next, left);
            progress.at_ms = crate::time::wall_ms();
            self.write(progress).await?;
        }
        if redacted > 0 {
            let replay = uuid::Uuid::from_u128(progress.id);
            tracing::info!(%replay, events = redacted, "a replay passed events by of which values were redacted");
        }
        progress.is_done = true;
        self.write(progress).await
    }

    /// Has a step's deliveries made. A crash before it is written down how far the replay has come asks for the same once more, which is
    /// known by its id.
    async fn take(&self, progress: &mut ReplayProgress, spec: &ReplaySpec, step: Step) -> Result<(), ReplayError> {
        let Step { selected, extent, .. } = step;
        let some = selected.into_iter().filter(|(_, selected)| !selected.events.is_empty());
        let asks = some.map(|(of, selected)| {
            // By what a step is about, where the same events may go elsewhere when it is taken again: by other rules, or because they are
            // not missing any more.
            let id = match (spec.by, spec.only) {
                (By::Then, Only::All) => part_id(progress.id, of, &selected.events),
                _ => part_id_of(progress.id, of, &extent),
            };
            let command = Command::new(id, of, What::Redeliver(Which::Events(selected.events)));
            // The id says what is asked for, and others may be found when it is asked for again.
            self.store.ask(command.asked_as(AskedPrint::of([])))
        });
        progress.selected += try_join_all(asks).await?.iter().map(|done| done.deliveries).sum::<u64>();
        Ok(())
    }
}

/// The id of the command by which a replay has some events delivered to a destination once more: the same each time for the same events,
/// and another for others, where the history has gone on meanwhile.
fn part_id(replay: u128, of: NameId, events: &[EventId]) -> u128 {
    let events: Vec<u8> = events.iter().flat_map(|event| event.to_bytes()).collect();
    part_id_of(replay, of, &events)
}

/// The same by what a step is about.
fn part_id_of(replay: u128, of: NameId, about: &[u8]) -> u128 {
    Command::id_of_part(replay, &[&of.0.to_be_bytes(), about].concat())
}

#[cfg(test)]
mod tests;

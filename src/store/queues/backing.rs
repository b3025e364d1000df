//! What the queues in memory need of the backend behind them, and what is done to them with its help.

use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::acts::{Act, BulkAct, CommandRecord, Control, SelectionRecord, Urgency};
use super::bitmap::Bitmap;
use super::destination::Destination;
use super::memory::Memory;
use super::outcomes::{
    DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState, WindowsRecord, state_after, state_by, state_of,
};
use super::queue::{Claim, Queue};
use super::remembered::RememberedRow;
use super::texts::cut;
use crate::store::locks::lock;
use crate::store::{
    Answer, AppendError, AttemptNote, DeliveryState, DigestId, Name, NameId, NameKind, NameState, Settlement,
    StoreError, StoredEvent,
};

/// Of what is given up or moved at once, so many are remembered until it is written down: an eighth of what there is room for.
pub const SELECTED_REMEMBERED: usize = 1024;
/// Members of a digest that is given up are told one by one, each with its attempts, up to so many.
const DEAD_EACH_MAX: u64 = 1024;

/// Resolved with a count once something is durable.
pub type Done = oneshot::Sender<Result<u64, AppendError>>;

/// What has changed in a queue, to be written down. It is told while the queue is locked, so that it comes in the order in which it took
/// effect: who applies all of it in that order comes to the same state.
#[derive(Debug)]
pub enum Told {
    /// What became of deliveries.
    Outcomes(Vec<OutcomeRecord>),
    /// Where deliveries stand that came over from another destination: they may be new to this one.
    CameOver(Vec<OutcomeRecord>),
    /// Something was done to a whole destination, or source.
    Control(Control, Urgency),
    /// The same was done to many deliveries, which is to become durable at once or not at all.
    Selection(SelectionRecord),
    /// Windows that are open.
    Windows(WindowsRecord),
    /// What happened to digests, or to windows, all at once; who waits is told when it is durable.
    Digests(Vec<DigestRecord>, Option<Done>),
}

/// An event by its number, or why it cannot be read.
pub type Read = (u64, Result<Arc<StoredEvent>, StoreError>);

/// Whose turn it is to read: each has a place of its own, where it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Worker,
    Sorter,
}

impl By {
    /// What it reads by.
    pub fn reader<R>(self, destination: &Destination<R>) -> &R {
        match self {
            Self::Worker => &destination.reader,
            Self::Sorter => &destination.sorting.reader,
        }
    }
}

/// A backend whose destinations have their queues in memory.
pub trait Backing: Deref<Target = Memory<Self::Reader>> + Send + Sync + Sized + 'static {
    /// By what it reads the events of a destination that lags.
    type Reader: Default + Send + Sync + 'static;
    /// What goes when a leased queue goes.
    type Hold: Send + Sync + 'static;

    /// How long the store has lived, in milliseconds: by this, things grow old.
    fn passed_ms(&self) -> u64;

    /// Whether something may be claimed now of a destination that is leased. While it may not, a claim is empty.
    fn may_claim(&self, hold: &Self::Hold) -> bool;

    /// The name of a number, and of what.
    fn name_of(&self, id: NameId) -> Option<Name>;

    /// Gives the first of some events, as far as they lie in memory without a gap: within so many bytes of bodies, and at least one.
    fn recent_of(&self, numbers: impl Iterator<Item = u64>, body_bytes: usize, take: impl FnMut(Arc<StoredEvent>));

    /// Reads the first of some events, wherever they lie: within so many bytes of bodies, and at least one. None of them was redacted.
    /// Nothing where that panicked, or the process ends.
    fn read(
        self: &Arc<Self>,
        of: &Arc<Destination<Self::Reader>>,
        by: By,
        numbers: Vec<u64>,
        body_bytes: usize,
    ) -> BoxFuture<'static, Option<Vec<Read>>>;

    /// Has something written down. If that is not possible any more the process is ending.
    fn tell(&self, told: Told);

    /// Has attempts written down. They may be lost; nothing depends on them.
    fn note(&self, notes: Vec<(DeliveryKey, AttemptNote)>);

    /// Has written down by which section of the config a destination delivers.
    fn tell_section(&self, id: NameId, fingerprint: String);

    /// Has written down what is remembered, in the order of the calls. Resolves when the end of the process would not undo it.
    fn tell_remembered(self: &Arc<Self>, rows: Vec<RememberedRow>) -> Answer<'static, ()>;

    /// Applies an act on a whole destination, or source, and has it written down. Returns whether it changed anything.
    fn control(&self, id: NameId, act: Act, urgency: Urgency) -> bool {
        let destination = self.destination(id);
        let is_source = self.name_of(id).is_some_and(|(kind, _)| kind == NameKind::Source);
        let at_ms = self.clock.now_ms();
        let mut queue = lock(&destination.queue);
        let changed = queue.control(&act, at_ms);
        if changed {
            self.tell(Told::Control(Control { destination: id, at_ms, act }, urgency));
            destination.show(&queue);
            destination.wakeup.notify_one();
            if is_source {
                // Whoever lets events in sees it from here on: they are behind the act.
                self.sources.send_modify(|shown| {
                    let shown = Arc::make_mut(shown);
                    let state = queue.state().clone();
                    if state == NameState::default() {
                        shown.remove(&id);
                    } else {
                        shown.insert(id, state);
                    }
                });
            }
        }
        changed
    }

    /// Lets a destination go on, gently.
    fn let_go_on(&self, id: NameId, act: Act) -> bool {
        let destination = self.destination(id);
        // Seen by the worker before there is more to claim.
        destination.ramp_up();
        self.control(id, act, Urgency::Now)
    }

    /// Remembers a destination's section of the config. What waits by another one is due now.
    fn go_by_section(&self, id: NameId, fingerprint: String) {
        let before = lock(&self.facts).insert(id, fingerprint.clone());
        if before.as_ref() == Some(&fingerprint) {
            return;
        }
        self.tell_section(id, fingerprint);
        if before.is_some() && lock(&self.destination(id).queue).backlog() > 0 {
            let name = self.name_of(id).map(|(_, name)| name);
            let destination = name.as_deref().unwrap_or_default();
            tracing::info!(destination, "its section of the config has changed: what waits for it is due now");
            self.let_go_on(id, Act::RetryNow);
        }
    }

    /// Says what became of claims of one destination, with its queue locked until that is told.
    fn settle(
        &self,
        destination: &Destination<Self::Reader>,
        lost: &CancellationToken,
        settlements: impl Iterator<Item = (Claim, Settlement)>,
    ) {
        let at_ms = self.clock.now_ms();
        let mut queue = lock(&destination.queue);
        if lost.is_cancelled() {
            return;
        }
        let mut written = Vec::new();
        let mut skipped = Vec::new();
        let mut is_scheduled = false;
        for (claim, settlement) in settlements {
            let (attempts, state) = match settlement {
                Settlement::Returned => {
                    // No wakeup: who hands a claim back knows why, and would only be woken to hand it back again.
                    queue.give_back(claim);
                    continue;
                }
                Settlement::Delivered { attempts } => (attempts, OutcomeState::Delivered),
                // The note of the attempt says why, also after a restart.
                Settlement::Skipped { attempts, reason } => {
                    skipped.push((claim.key, DeliveryState::Skipped { at_ms, reason: cut(reason) }));
                    (attempts, OutcomeState::Skipped)
                }
                Settlement::Dead { attempts, reason } => (attempts, OutcomeState::Dead { reason: cut(reason) }),
                Settlement::Scheduled { attempts, first_attempt_ms, due_ms, reason } => {
                    is_scheduled = true;
                    (attempts, OutcomeState::Scheduled { first_attempt_ms, due_ms, reason: cut(reason) })
                }
            };
            if let Some(id) = claim.digest {
                match queue.settle_digest(id, attempts, &state) {
                    Some(members) => {
                        // The next may be ended.
                        destination.sorting.wakeup.notify_one();
                        self.digest_settled((claim.key.destination, id), (attempts, at_ms), state, members)
                    }
                    None => tracing::warn!(?claim, "settled a digest that was not in flight; nothing was changed"),
                }
            } else if queue.settle(claim.key.sequence, attempts, &state) {
                written.push(OutcomeRecord { key: claim.key, attempts, at_ms, state });
            } else {
                tracing::warn!(?claim, "settled a delivery that was not in flight; nothing was changed");
            }
        }
        if is_scheduled {
            destination.scheduled.notify_one();
        }
        destination.tell_of_order(&mut queue);
        if written.is_empty() {
            return;
        }
        let mut outcomes = lock(&self.outcomes);
        for outcome in written.iter().filter(|outcome| !matches!(outcome.state, OutcomeState::Scheduled { .. })) {
            outcomes.push(outcome.key, state_of(outcome));
        }
        for (key, state) in skipped {
            outcomes.push(key, state);
        }
        drop(outcomes);
        // Where it is not written any more, these deliveries may happen again.
        self.tell(Told::Outcomes(written));
    }

    /// Has written down what became of a digest, and remembers it of some of its members. To be called with the queue locked.
    fn digest_settled(
        &self,
        (destination, id): (NameId, DigestId),
        (attempts, at_ms): (u16, u64),
        state: OutcomeState,
        members: Bitmap,
    ) {
        let key = |sequence| DeliveryKey { sequence, destination };
        let what = match state {
            OutcomeState::Dead { .. } if members.len() <= DEAD_EACH_MAX => {
                // Each with its attempts, which a selection does not say.
                let of_member = |sequence| OutcomeRecord { key: key(sequence), attempts, at_ms, state: state.clone() };
                let dead: Vec<OutcomeRecord> = members.iter_from(0).map(of_member).collect();
                let mut outcomes = lock(&self.outcomes);
                dead.iter().for_each(|outcome| outcomes.push(outcome.key, state_of(outcome)));
                drop(outcomes);
                return self.tell(Told::Outcomes(dead));
            }
            OutcomeState::Dead { reason } => {
                // As of anything that is given up many at once.
                let record = self.record(destination, BulkAct::DeadLetter, None, &reason, members);
                return self.tell(Told::Selection(record));
            }
            OutcomeState::Scheduled { first_attempt_ms, due_ms, reason } => {
                DigestAct::Scheduled { id, attempts, first_attempt_ms, due_ms, reason }
            }
            OutcomeState::Skipped => DigestAct::Skipped { id, attempts, members },
            OutcomeState::Delivered | OutcomeState::Dropped | OutcomeState::Moved(_) => {
                DigestAct::Delivered { id, attempts, members }
            }
        };
        let record = DigestRecord { destination, at_ms, what };
        if let (Some(members), Some(state)) = (record.ended(), state_by(&record)) {
            let mut outcomes = lock(&self.outcomes);
            for sequence in members.iter_from(0).take(SELECTED_REMEMBERED) {
                outcomes.push(key(sequence), state.clone());
            }
        }
        self.tell(Told::Digests(vec![record], None));
    }

    /// Does something to deliveries whose events are there, and has it written down. Returns to how many.
    fn select_of(
        &self,
        command: Option<CommandRecord>,
        of: NameId,
        act: BulkAct,
        reason: &str,
        sequences: &Bitmap,
    ) -> u64 {
        let destination = self.destination(of);
        let mut queue = lock(&destination.queue);
        let sequences = queue.select(act, sequences);
        let count = sequences.len();
        if act == BulkAct::Redeliver {
            queue.is_as_old_as(self.passed_ms(), &sequences);
        }
        if count > 0 {
            self.tell(Told::Selection(self.record(of, act, command, reason, sequences)));
            destination.wake(&queue);
        }
        count
    }

    /// The record of something that is done to deliveries, which memory knows from here on. Made while the queue is locked.
    fn record(
        &self,
        of: NameId,
        act: BulkAct,
        command: Option<CommandRecord>,
        reason: &str,
        sequences: Bitmap,
    ) -> SelectionRecord {
        let at_ms = self.clock.now_ms();
        let reason = cut(reason.to_owned());
        // What they came to before is no answer any more.
        let mut outcomes = lock(&self.outcomes);
        outcomes.forget(of, &sequences);
        if let Some(state) = state_after(act, at_ms, &reason) {
            // It is found elsewhere once it is durable, and who looks at one of a few may be sooner.
            for sequence in sequences.iter_from(0).take(SELECTED_REMEMBERED) {
                outcomes.push(DeliveryKey { sequence, destination: of }, state.clone());
            }
        }
        drop(outcomes);
        SelectionRecord { destination: of, at_ms, act, command, reason, sequences }
    }

    /// Has written down that some deliveries of a destination are over. To be called with the queue locked.
    fn tell_dropped(&self, destination: &Destination<Self::Reader>, queue: &mut Queue, id: NameId, ended: Vec<u64>) {
        if ended.is_empty() {
            return;
        }
        let at_ms = self.clock.now_ms();
        let dropped = |sequence: u64| {
            let key = DeliveryKey { sequence, destination: id };
            OutcomeRecord { key, attempts: 0, at_ms, state: OutcomeState::Dropped }
        };
        let ended: Vec<OutcomeRecord> = ended.into_iter().map(dropped).collect();
        let mut outcomes = lock(&self.outcomes);
        ended.iter().for_each(|outcome| outcomes.push(outcome.key, state_of(outcome)));
        drop(outcomes);
        self.tell(Told::Outcomes(ended));
        destination.tell_of_order(queue);
        destination.wake(queue);
        destination.sorting.wakeup.notify_one();
    }
}

/// Takes the first of some events, within so many bytes of bodies, and at least one.
pub fn take_within(
    events: impl Iterator<Item = Arc<StoredEvent>>,
    body_bytes: usize,
    mut take: impl FnMut(Arc<StoredEvent>),
) {
    let mut bytes = 0;
    for (count, event) in events.enumerate() {
        bytes += event.body.len();
        if bytes > body_bytes && count > 0 {
            break;
        }
        take(event);
    }
}

/// An event of which somebody has to send what came: it may have been redacted, and then sent again in the same breath.
pub fn to_go_out(event: Arc<StoredEvent>) -> Result<Arc<StoredEvent>, StoreError> {
    if event.is_redacted { Err(StoreError::Redacted) } else { Ok(event) }
}

//! Commands: which deliveries are meant, what is done to them, and that it is done once.
//!
//! What was done is remembered by the command's id: in the records of the journal that say what was done to deliveries, and in the
//! index, which has those that touched none too.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::format::{NUMBER_MAX, ReplayRecord, SPEC_MAX};
use super::inbox::Message;
use super::index::REPLAYS_MAX;
use super::words::{Letter, ReadError, unreadable};
use super::{Journal, lock, reading};
use crate::event::EventId;
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::queues::{
    Act, Backing, Bitmap, BulkAct, CommandAct, CommandRecord, KnownCommand, Taken, Urgency, going,
};
use crate::store::{
    AppendError, Command, DEAD_EVENTS_MAX, DeadQuery, Done, EVENTS_MAX, Health, NameId, ReplayProgress, StoreError,
    What, Which,
};

/// Dead letters looked at in one step of a query.
const STEP: usize = 1000;

/// Resolves once what was done is durable.
pub type Durable = oneshot::Receiver<Result<u64, AppendError>>;

impl Journal {
    /// Does what a command says, unless that was done before. It takes effect at once; the receiver resolves when it is durable. May read
    /// the index.
    pub fn begin(&self, command: &Command) -> Result<(Done, Durable), StoreError> {
        let Command { id, of, ref what, asked } = *command;
        self.refuse_at_end()?;
        let act = CommandAct::new(command);
        let reserved = id.map(|id| self.commands.reserve(id)).transpose();
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(known) if !known.act.is_same(&act) => return Err(self.taken_by(known, Some(&act))),
            Err(KnownCommand { deliveries, .. }) => {
                return Ok((Done { deliveries, was_done_before: true, taken_over: None }, self.durable()));
            }
        };
        // Who saves a replay asks the other way around: one of the two sees the other.
        if let Some(replay) = lock(&self.replays).iter().find(|replay| Some(replay.id) == id) {
            return Err(StoreError::IdTaken { id: replay.id, by: "a replay".to_owned() });
        }
        let id = id.map(|id| CommandRecord { id, asked: Some(asked) });
        // What is a dead letter for one command must still be one when it acts.
        let _one_after_the_other = chooses(what).then(|| lock(&self.commanding));
        let control = |act: Act| u64::from(self.control(of, act, Urgency::Now));
        let mut taken_over = None;
        let deliveries = match what {
            What::Pause { reason } => control(Act::Pause(reason.clone())),
            What::Hold => control(Act::Hold),
            What::Resume => u64::from(self.let_go_on(of, Act::Resume)),
            What::RetryNow => u64::from(self.let_go_on(of, Act::RetryNow)),
            What::Redeliver(which) => self.select(id, of, BulkAct::Redeliver, "", self.chosen(of, which)?),
            What::DeadLetter { which, reason } => {
                self.select(id, of, BulkAct::DeadLetter, reason, self.chosen(of, which)?)
            }
            What::Drop(which) => self.select(id, of, BulkAct::Drop, "", self.chosen(of, which)?),
            What::Move { which, to } if *to == of => {
                self.select(id, of, BulkAct::Redeliver, "", self.chosen(of, which)?)
            }
            What::Move { which, to } => self.move_dead_letters(id, of, *to, &self.chosen(of, which)?),
            What::TakeOver { to } => {
                let taken = self.take_over(of, *to);
                taken_over = Some(taken);
                taken.waiting + taken.scheduled + taken.dead
            }
        };
        if deliveries > 0 {
            self.watchers.commanded();
        }
        let (done, durable) = oneshot::channel();
        if let Some(reservation) = reservation {
            let known = KnownCommand { id: reservation.id, act, deliveries, at_ms: self.clock.now_ms() };
            self.send(Message::Command(known, done));
            reservation.done(known);
        } else {
            // On a full disk, what is durable waits for room, and what makes room must not.
            let _ = done.send(Ok(deliveries));
        }
        Ok((Done { deliveries, was_done_before: false, taken_over }, durable))
    }

    /// What an id was given for; `asked`: what it is given for now, if that is a command too.
    fn taken_by(&self, known: KnownCommand, asked: Option<&CommandAct>) -> StoreError {
        StoreError::IdTaken { id: known.id, by: known.told(&reading(&self.names).shown(), asked) }
    }

    /// Refuses what would be in effect in memory alone.
    fn refuse_at_end(&self) -> Result<(), AppendError> {
        if let Health::Poisoned(why) = &*self.health.borrow() {
            return Err(AppendError::Poisoned(why.clone()));
        }
        if self.sender.is_closed() { Err(AppendError::Closed) } else { Ok(()) }
    }

    /// Writes down how far a replay has come, unless more is known of it already.
    pub fn save_replay(&self, progress: ReplayProgress) -> Result<(ReplayProgress, Durable), StoreError> {
        let bytes = progress.spec.len();
        let most = SPEC_MAX;
        if bytes > most {
            let why = format!("what is asked for has {bytes} bytes, and {most} is the most");
            return Err(StoreError::Conflict(why));
        }
        let ReplayProgress { id, ref spec, ref cursor, selected, at_ms, is_done, .. } = progress;
        let numbers = cursor.as_ref().map(|cursor| numbers_of(cursor, List::OldestFirst, self.number)).transpose()?;
        let [cursor, until] = numbers.unwrap_or([NUMBER_MAX; 2]);
        let record = ReplayRecord { id, spec: spec.clone(), cursor, until, selected, at_ms, is_done };
        let mut replays = lock(&self.replays);
        match self.commands.taken(progress.id) {
            Taken::Done(known) => return Err(self.taken_by(known, None)),
            Taken::BeingDone => {
                return Err(StoreError::IdTaken {
                    id: progress.id,
                    by: "a command that is carried out now".to_owned(),
                });
            }
            Taken::Free => {}
        }
        let known = replays.iter().find(|known| known.id == id);
        if let Some(known) = known.filter(|known| known.is_done || known.cursor > cursor) {
            return Ok((self.progress_of(known), self.durable()));
        }
        replays.retain(|known| known.id != id);
        replays.insert(0, record.clone());
        replays.truncate(REPLAYS_MAX as usize);
        let (done, durable) = oneshot::channel();
        // Under the lock, so that they are written in the order in which they came.
        self.send(Message::Replay(record, done));
        Ok((progress, durable))
    }

    /// Has each replay end with the events that there are: where the newest were lost, those that come now are none that was asked for. It is
    /// written down, since the next start cannot tell them apart.
    pub fn end_replays(&self) {
        let end = self.next_sequence.load(Ordering::Acquire);
        let mut replays = lock(&self.replays);
        for replay in replays.iter_mut().filter(|replay| !replay.is_done && replay.until > end) {
            replay.until = end;
            let (done, _) = oneshot::channel();
            self.send(Message::Replay(replay.clone(), done));
        }
    }

    /// A replay as everybody else sees it.
    pub fn progress_of(&self, record: &ReplayRecord) -> ReplayProgress {
        let ReplayRecord { id, spec, cursor: at, until, selected, at_ms, is_done } = record.clone();
        let left = if is_done { 0 } else { until.saturating_sub(at) };
        let cursor = (left > 0).then(|| cursor(List::OldestFirst, self.number, [at, until]));
        ReplayProgress { id, spec, cursor, left, selected, at_ms, is_done }
    }

    /// To how many deliveries a command would be done.
    pub fn how_many(&self, of: NameId, which: &Which) -> Result<u64, StoreError> {
        Ok(self.chosen(of, which)?.len())
    }

    /// Resolves once everything that was said so far is durable.
    pub fn durable(&self) -> Durable {
        let (done, durable) = oneshot::channel();
        self.send(Message::Durable(done));
        durable
    }

    /// Sends something to the writer that somebody waits for. If the writer is gone, who waits is told.
    pub fn send(&self, message: Message) {
        if let Err(unsent) = self.sender.send(message)
            && let Message::Command(_, done)
            | Message::Replay(_, done)
            | Message::Durable(done)
            | Message::Digests(_, Some(done)) = *unsent
        {
            let _ = done.send(Err(AppendError::Closed));
        }
    }

    /// The numbers of the deliveries that are meant, as far as they are there now.
    fn chosen(&self, of: NameId, which: &Which) -> Result<Bitmap, StoreError> {
        let destination = self.destination(of);
        let queue = || lock(&destination.queue);
        Ok(match which {
            Which::Pending => queue().waiting(),
            Which::UnattemptedFor(age) => self.stale(of, *age),
            Which::OldestBeyond(most) => self.oldest_beyond(of, *most),
            Which::Dead(query) if *query == DeadQuery::default() => queue().dead().clone(),
            Which::Dead(query) => self.dead_by(of, query)?,
            Which::Events(events) => {
                assert!(events.len() <= EVENTS_MAX, "one command names at most {EVENTS_MAX} events");
                self.numbers(events).collect()
            }
        })
    }

    /// The numbers of events, but for those of other journals.
    pub fn numbers<'e>(&self, events: &'e [EventId]) -> impl Iterator<Item = u64> + 'e {
        assert!(events.len() <= DEAD_EVENTS_MAX, "one command names at most {DEAD_EVENTS_MAX} events");
        let ours = EventId::salt_of(self.number);
        events.iter().filter(move |event| event.salt() == ours).map(|event| event.sequence())
    }

    fn dead_by(&self, of: NameId, query: &DeadQuery) -> Result<Bitmap, ReadError> {
        let mut dead = lock(&self.destination(of).queue).dead().clone();
        if let Some(events) = &query.events {
            dead = self.numbers(events).filter(|sequence| dead.contains(*sequence)).collect();
        }
        if query.is_of_any_kind() {
            return Ok(dead);
        }
        self.index.flush();
        let mut chosen = Bitmap::default();
        let mut rest = dead.iter_from(0).peekable();
        while rest.peek().is_some() {
            let some: BTreeSet<u64> = rest.by_ref().take(STEP).collect();
            let letters = self.letters(of, &some)?;
            let holds = |letter: &Letter| query.holds(letter.at_ms, &letter.reason);
            let is_meant = |sequence: &&u64| letters.get(sequence).is_some_and(holds);
            some.iter().filter(is_meant).for_each(|sequence| {
                chosen.insert(*sequence);
            });
        }
        Ok(chosen)
    }

    /// The oldest of what keeps the journal from being trimmed, so that the rest keeps no more than so many bytes.
    fn oldest_beyond(&self, of: NameId, most: u64) -> Bitmap {
        let destination = self.destination(of);
        let queue = lock(&destination.queue);
        let bytes = queue.oldest_never_held().map_or(0, |sequence| self.segments.bytes_from(sequence));
        let waiting = queue.never_held();
        let count = going(waiting.len(), bytes, most);
        waiting.iter_from(0).take(count as usize).collect()
    }

    /// Does something to deliveries, and has it written down. Returns to how many.
    pub fn select(
        &self,
        command: Option<CommandRecord>,
        of: NameId,
        act: BulkAct,
        reason: &str,
        mut sequences: Bitmap,
    ) -> u64 {
        // Nothing goes from the history while deliveries of it are chosen.
        let _selecting = lock(&self.selecting);
        if act == BulkAct::Redeliver {
            // What is older than the history is there if it was relocated, because some destination needs it.
            let start = self.segments.history_start();
            let end = self.next_sequence.load(Ordering::Acquire);
            let is_there = |sequence: &u64| *sequence < end && (*sequence >= start || self.needs(*sequence));
            sequences = sequences.iter_from(0).filter(is_there).collect();
        }
        if reading(&self.names).of(of).is_none() {
            return 0;
        }
        self.select_of(command, of, act, reason, &sequences)
    }

    /// Delivers dead letters of one destination to another, in one group of the journal for each part: a crash leaves them here or there.
    fn move_dead_letters(&self, command: Option<CommandRecord>, from: NameId, to: NameId, sequences: &Bitmap) -> u64 {
        self.with_both(from, to, |here, there| {
            let act = BulkAct::MoveDead(to);
            let moved = here.select(act, sequences);
            let count = moved.len();
            let parts = self.record(from, act, command, "", moved).split().into_iter().map(|gone| {
                let again = there.select(BulkAct::Redeliver, &gone.sequences);
                there.is_as_old_as(self.lived.passed_ms(), &again);
                let again = (!again.is_empty()).then(|| self.record(to, BulkAct::Redeliver, None, "", again));
                again.into_iter().chain([gone]).collect()
            });
            self.send(Message::Selections(parts.collect()));
            count
        })
    }

    /// Loads what the index remembers of commands.
    pub fn load_commands(&self) -> Result<(), ReadError> {
        let known = self.index.read().commands().map_err(unreadable)?;
        known.into_iter().for_each(|command| self.commands.add(command));
        Ok(())
    }
}

/// Whether deliveries are chosen, which may take a while.
fn chooses(what: &What) -> bool {
    !matches!(what, What::Pause { .. } | What::Hold | What::Resume | What::RetryNow)
}

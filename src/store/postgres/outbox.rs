//! What has changed in queues and is not written yet, in the order in which it took effect.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};

use super::handover::{AllGiven, Given, TakenIn};
use super::wire::Ended;
use crate::store::locks::lock;
use crate::store::queues::{
    Bitmap, BulkAct, Control, DeliveryKey, Done, KnownCommand, RememberedRow, SelectionRecord, Told, Urgency,
};
use crate::store::{AppendError, AttemptNote, NameId, TakenOver};

/// Outcomes that are not written: with more of them nothing is claimed until some are.
pub const UNWRITTEN_MAX: usize = 10_000;

/// Something to be written.
#[derive(Debug)]
pub enum Item {
    Told(Told),
    Notes(Vec<(DeliveryKey, AttemptNote)>),
    Section(NameId, String),
    /// How much waits for a destination, for who looks from elsewhere: JSON.
    Shown(NameId, String),
    Remembered(Vec<RememberedRow>),
    /// A command is done, with everything before it that is of its destination; and what was taken over, if that is what it was.
    Command(KnownCommand, Option<TakenOver>),
    /// Deliveries that one destination gives up and another, which another relay may have, is to take in.
    Given(Given),
    AllGiven(AllGiven),
    TakenIn(TakenIn),
    /// A part of an erasing is done, in the same way.
    Ended(PartDone),
}

/// What came of a part of an erasing.
#[derive(Debug)]
pub struct PartDone {
    /// The id of its row.
    pub id: u128,
    pub of: NameId,
    /// When, unix milliseconds.
    pub at_ms: u64,
    pub ended: Ended,
}

/// What is to be written, and who waits for it.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    /// What is being told just now and belongs together: nothing is taken before it is whole.
    untold: AtomicUsize,
    /// Notified when there is something in it.
    pub more: Notify,
    /// Notified when somebody waits for what is in it.
    pub urgent: Notify,
}

/// What is to be written, in order, and who is told once all of it is.
#[derive(Debug, Default)]
pub struct Waiting {
    pub items: Vec<Item>,
    pub done: Vec<Waits>,
    /// Outcomes among the items.
    pub outcomes: usize,
}

/// Who waits until something is written.
#[derive(Debug)]
pub struct Waits {
    /// What it is of, if of one destination.
    pub of: Option<NameId>,
    pub done: Done,
    /// What it is told then.
    pub count: u64,
}

/// Something is being told that belongs together, until this goes.
#[derive(Debug)]
pub struct Whole<'o>(&'o Outbox);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.0.untold.fetch_sub(1, Ordering::AcqRel);
        self.0.urgent.notify_one();
    }
}

impl Outbox {
    /// What is told until this goes is written in one transaction, as far as it is not too much for one.
    pub fn whole(&self) -> Whole<'_> {
        // Under the lock, so that nothing is being taken.
        let _waiting = lock(&self.waiting);
        self.untold.fetch_add(1, Ordering::AcqRel);
        Whole(self)
    }

    /// Takes a change of a queue, which is locked.
    pub fn tell(&self, told: Told) {
        let mut waiting = lock(&self.waiting);
        let is_urgent = match &told {
            Told::Outcomes(outcomes) => {
                waiting.outcomes += outcomes.len();
                false
            }
            Told::Control(Control { .. }, urgency) => *urgency == Urgency::Now,
            Told::Selection(_) => true,
            Told::CameOver(_) | Told::Windows(_) | Told::Digests(_, None) => false,
            Told::Digests(_, Some(_)) => true,
        };
        match told {
            Told::Digests(digests, Some(done)) => {
                let of = digests.first().map(|digest| digest.destination);
                waiting.items.push(Item::Told(Told::Digests(digests, None)));
                waiting.done.push(Waits { of, done, count: 0 });
            }
            told => waiting.items.push(Item::Told(told)),
        }
        drop(waiting);
        if is_urgent { self.urgent.notify_one() } else { self.more.notify_one() }
    }

    /// Takes attempts.
    pub fn note(&self, notes: Vec<(DeliveryKey, AttemptNote)>) {
        lock(&self.waiting).items.push(Item::Notes(notes));
        self.more.notify_one();
    }

    /// A destination delivers by this section of the config.
    pub fn section(&self, id: NameId, fingerprint: String) {
        lock(&self.waiting).items.push(Item::Section(id, fingerprint));
        self.more.notify_one();
    }

    /// So much waits for some destinations. What was said of them before and is not written is not written any more.
    pub fn shown(&self, shown: Vec<(NameId, String)>) {
        let ids: BTreeSet<NameId> = shown.iter().map(|(id, _)| *id).collect();
        let mut waiting = lock(&self.waiting);
        waiting.items.retain(|item| !matches!(item, Item::Shown(of, _) if ids.contains(of)));
        waiting.items.extend(shown.into_iter().map(|(id, shown)| Item::Shown(id, shown)));
        drop(waiting);
        self.more.notify_one();
    }

    /// Takes what is to be remembered. Resolves when it is written.
    pub fn remember(&self, rows: Vec<RememberedRow>) -> oneshot::Receiver<Result<u64, AppendError>> {
        self.wait_for(Item::Remembered(rows), 0)
    }

    /// A command is done. Resolves when that is written.
    pub fn command(
        &self,
        command: KnownCommand,
        taken: Option<TakenOver>,
    ) -> oneshot::Receiver<Result<u64, AppendError>> {
        self.wait_for(Item::Command(command, taken), command.deliveries)
    }

    /// Some deliveries are given up.
    pub fn give(&self, given: Given) {
        lock(&self.waiting).items.push(Item::Given(given));
        self.more.notify_one();
    }

    /// All of them are. Resolves when that is written.
    pub fn all_given(&self, all: AllGiven) -> oneshot::Receiver<Result<u64, AppendError>> {
        self.wait_for(Item::AllGiven(all), 0)
    }

    /// Some were taken in. Resolves when that is written.
    pub fn taken_in(&self, taken: TakenIn) -> oneshot::Receiver<Result<u64, AppendError>> {
        self.wait_for(Item::TakenIn(taken), 0)
    }

    /// A part of an erasing is done. Resolves when that is written.
    pub fn part(&self, done: PartDone) -> oneshot::Receiver<Result<u64, AppendError>> {
        let count = done.ended.ended;
        self.wait_for(Item::Ended(done), count)
    }

    /// Resolves once everything that was told so far is written.
    pub fn written(&self) -> oneshot::Receiver<Result<u64, AppendError>> {
        let (done, written) = oneshot::channel();
        lock(&self.waiting).done.push(Waits { of: None, done, count: 0 });
        self.urgent.notify_one();
        written
    }

    fn wait_for(&self, item: Item, count: u64) -> oneshot::Receiver<Result<u64, AppendError>> {
        let (done, written) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        let of = item.destinations()[0];
        waiting.items.push(item);
        waiting.done.push(Waits { of, done, count });
        drop(waiting);
        self.urgent.notify_one();
        written
    }

    /// Drops what is of a destination that is this process's no more.
    pub fn forget(&self, of: NameId) {
        let mut waiting = lock(&self.waiting);
        waiting.items.retain(|item| !item.is_of(of));
        waiting.outcomes = waiting.items.iter().map(Item::outcomes).sum();
        let (gone, rest) =
            std::mem::take(&mut waiting.done).into_iter().partition(|waits: &Waits| waits.of == Some(of));
        waiting.done = rest;
        drop(waiting);
        Waits::refuse(gone);
    }

    /// All of it.
    pub fn take(&self) -> Waiting {
        let mut waiting = lock(&self.waiting);
        if self.untold.load(Ordering::Acquire) > 0 {
            return Waiting::default();
        }
        std::mem::take(&mut waiting)
    }

    /// Whether somebody waits for what is in it.
    pub fn has_who_waits(&self) -> bool {
        !lock(&self.waiting).done.is_empty()
    }

    /// Whether so much is unwritten that nothing more may be claimed.
    pub fn is_full(&self) -> bool {
        lock(&self.waiting).outcomes > UNWRITTEN_MAX
    }
}

impl Waits {
    /// Tells them that it was not written: the destination is another relay's.
    pub fn refuse(all: Vec<Self>) {
        for Self { done, .. } in all {
            let why = "another relay has this destination now: ask again".to_owned();
            // Who asked may have stopped waiting.
            let _ = done.send(Err(AppendError::Unavailable(why)));
        }
    }
}

impl Waiting {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.done.is_empty()
    }
}

impl Item {
    /// Whether it is of a destination.
    pub fn is_of(&self, id: NameId) -> bool {
        self.destinations().contains(&Some(id))
    }

    /// Of which destinations it is: of two, where deliveries go from one to the other, which is done to both or to none.
    pub fn destinations(&self) -> [Option<NameId>; 2] {
        let one = match self {
            Self::Told(Told::Outcomes(outcomes) | Told::CameOver(outcomes)) => {
                outcomes.first().map(|outcome| outcome.key.destination)
            }
            Self::Told(Told::Control(control, _)) => Some(control.destination),
            Self::Told(Told::Selection(SelectionRecord { destination, act, .. })) => match act {
                BulkAct::MoveDead(to) | BulkAct::MoveWaiting(to) => return [Some(*destination), Some(*to)],
                BulkAct::Redeliver | BulkAct::DeadLetter | BulkAct::Drop => Some(*destination),
            },
            Self::Told(Told::Windows(windows)) => Some(windows.destination),
            Self::Told(Told::Digests(digests, _)) => digests.first().map(|digest| digest.destination),
            Self::Section(id, _) | Self::Shown(id, _) => Some(*id),
            Self::Remembered(rows) => rows.first().map(|row| row.of),
            // Who has a destination no more does not say that something was done there.
            Self::Command(command, _) => Some(command.act.of),
            Self::Given(Given { from: of, .. }) | Self::AllGiven(AllGiven { from: of, .. }) => Some(*of),
            Self::TakenIn(taken) => Some(taken.of),
            Self::Ended(done) => Some(done.of),
            Self::Notes(_) => None,
        };
        [one, None]
    }

    /// Rows that it changes, about.
    pub fn rows(&self) -> usize {
        match self {
            Self::Told(Told::Outcomes(outcomes) | Told::CameOver(outcomes)) => outcomes.len(),
            Self::Told(Told::Selection(selection)) => usize::try_from(selection.sequences.len()).unwrap_or(usize::MAX),
            Self::Notes(notes) => notes.len(),
            // With what it marks as done.
            Self::Command(..) | Self::AllGiven(_) | Self::TakenIn(_) => 0,
            Self::Given(given) => usize::try_from(given.numbers.len()).unwrap_or(usize::MAX),
            _ => 1,
        }
    }

    /// The same as several, where it is of more than so many deliveries.
    pub fn split(self, rows_max: usize) -> Vec<Self> {
        let parts = |numbers: &Bitmap| -> Vec<Bitmap> {
            let all: Vec<u64> = numbers.iter_from(0).collect();
            all.chunks(rows_max).map(|some| some.iter().copied().collect()).collect()
        };
        let is_too_much = |numbers: &Bitmap| numbers.len() > rows_max as u64;
        match self {
            Self::Told(Told::Selection(selection)) if is_too_much(&selection.sequences) => {
                let part = |sequences| SelectionRecord { sequences, reason: selection.reason.clone(), ..selection };
                let parts = parts(&selection.sequences).into_iter().map(part);
                parts.map(|part| Self::Told(Told::Selection(part))).collect()
            }
            Self::Given(given) if is_too_much(&given.numbers) => {
                let part = |numbers| Self::Given(Given { numbers, ..given });
                parts(&given.numbers).into_iter().map(part).collect()
            }
            item => vec![item],
        }
    }

    fn outcomes(&self) -> usize {
        match self {
            Self::Told(Told::Outcomes(outcomes)) => outcomes.len(),
            _ => 0,
        }
    }
}

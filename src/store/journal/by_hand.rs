//! What tests do by hand that the program asks for with commands: by number, and waiting for the disk where they stand.

use std::ops::Range;
use std::sync::Arc;

use futures_util::FutureExt;

use super::commands::Durable;
use super::erase::Walk;
use super::index::Update;
use super::redact::Redactor;
use super::words::ReadError;
use super::{JournalStore, lock};
use crate::event::EventId;
use crate::store::lists::{List, cursor, numbers_of};
use crate::store::queues::{Act, Backing, Bitmap, BulkAct, Claim, DeliveryKey, Urgency};
use crate::store::{
    AppendError, AttemptNote, Change, Counts, Cursor, DeadLetter, DeadQuery, DeadReasons, Duty, ErasingStep, EventView,
    Lease, NameId, NameKind, NameState, NamesFull, Queue, ReplayProgress, SearchLimit, Settled, Settlement, States,
    Store, StoreError, StoredEvent, TakenOver,
};

/// Events by their numbers.
pub(crate) type NumberSet = Bitmap;

/// What is done to which deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub destination: NameId,
    pub act: BulkAct,
    pub reason: String,
    pub sequences: NumberSet,
}

impl JournalStore {
    /// Does something to some deliveries; returns to how many, and what resolves once it is durable.
    pub(crate) fn select(&self, selection: Selection) -> (u64, Durable) {
        let Selection { destination, act, reason, sequences } = selection;
        (self.journal.select(None, destination, act, &reason, sequences), self.journal.durable())
    }

    /// A destination's deliveries, as its worker has them.
    pub(crate) fn queue(&self, of: NameId) -> Arc<dyn Queue> {
        self.leased(of).queues.remove(0)
    }

    pub(crate) fn leased(&self, of: NameId) -> Lease {
        Store::lease(self, Duty::deliver_to(of)).now_or_never().expect("a journal's lease is there at once")
    }

    /// What is in flight is handed back by nobody: who had it has lost its lease.
    pub(crate) fn take_back(&self, of: NameId) {
        lock(&self.journal.destination(of).queue).take_back_all();
    }

    pub(crate) fn hold(&self, source: NameId) {
        self.journal.control(source, Act::Hold, Urgency::Now);
    }

    pub(crate) fn resume(&self, id: NameId) -> bool {
        self.journal.let_go_on(id, Act::Resume)
    }

    pub(crate) fn retry_now(&self, id: NameId) {
        self.journal.let_go_on(id, Act::RetryNow);
    }

    /// Waits until everything that was said so far is synced.
    pub(crate) fn sync(&self) -> Result<(), AppendError> {
        if self.journal.wait_for_sync() { Ok(()) } else { Err(AppendError::Closed) }
    }

    pub(crate) fn durable(&self) -> Durable {
        self.journal.durable()
    }

    pub(crate) fn set_replay(&self, progress: ReplayProgress) -> Result<u64, StoreError> {
        let (_, durable) = self.journal.save_replay(progress)?;
        Ok(durable.blocking_recv().unwrap_or(Err(AppendError::Closed))?)
    }

    pub(crate) fn waiting(&self, id: NameId) -> NumberSet {
        lock(&self.journal.destination(id).queue).waiting()
    }

    pub(crate) fn pinning(&self, id: NameId) -> NumberSet {
        lock(&self.journal.destination(id).queue).never_held()
    }

    pub(crate) fn dead(&self, id: NameId) -> NumberSet {
        lock(&self.journal.destination(id).queue).dead().clone()
    }

    pub(crate) fn held_numbers(&self, id: NameId, source: NameId) -> NumberSet {
        lock(&self.journal.destination(id).queue).held(source).cloned().unwrap_or_default()
    }

    pub(crate) fn history(&self) -> Range<u64> {
        self.journal.history()
    }

    pub(crate) fn event_by_number(&self, sequence: u64) -> Result<Arc<StoredEvent>, ReadError> {
        self.journal.event_by_number(sequence)
    }

    pub(crate) fn event(&self, id: EventId) -> Result<EventView, ReadError> {
        self.journal.event(id)
    }

    pub(crate) fn states(
        &self,
        events: &[Arc<StoredEvent>],
        limit: &mut SearchLimit,
    ) -> Result<Vec<States>, ReadError> {
        self.journal.states(events, limit)
    }

    pub(crate) fn attempts(&self, key: DeliveryKey) -> Result<Vec<AttemptNote>, ReadError> {
        self.journal.index.flush();
        self.journal.index.read().notes(&key).map_err(super::words::unreadable)
    }

    /// Where a replay goes on, and ends.
    pub(crate) fn cursor_at(&self, at: u64, end: u64) -> Option<Cursor> {
        Some(cursor(List::OldestFirst, self.journal.number, [at, end]))
    }

    /// A page of dead letters of events below a number, and below which number it goes on.
    pub(crate) fn dead_letters(
        &self,
        of: NameId,
        query: &DeadQuery,
        before: u64,
        max: usize,
    ) -> Result<(Vec<DeadLetter>, Option<u64>), StoreError> {
        let journal = self.journal.number;
        let after = cursor(List::DeadLetters, journal, [before, NameId::NONE.0.into()]);
        let page = self.journal.dead_letters(&[of], query, Some(&after), max)?;
        let next = page.next.map(|next| numbers_of(&next, List::DeadLetters, journal)).transpose()?;
        Ok((page.items, next.map(|[number, _]| number)))
    }

    /// Why they were given up, of the newest so many.
    pub(crate) fn dead_reasons(&self, of: NameId, most: u64) -> Result<DeadReasons, StoreError> {
        self.journal.dead_reasons(&[of], most)
    }

    pub(crate) fn claim(&self, of: NameId, max: usize) -> Vec<Claim> {
        lock(&self.journal.destination(of).queue).claim(max, self.journal.clock.now_ms())
    }

    pub(crate) fn read(&self, claim: &Claim) -> Result<Arc<StoredEvent>, ReadError> {
        self.event_by_number(claim.key.sequence)
    }

    /// Settles claims, of whichever destinations, in their order.
    pub(crate) fn settle(&self, settlements: Vec<(Claim, Settlement)>) {
        for (claim, settlement) in settlements {
            let id = EventId::mint(0, self.journal.number as u16, claim.key.sequence);
            let claim = claim.of_event(id);
            self.queue(claim.delivery.destination).settle(vec![Settled { claim, settlement, attempt: None }]);
        }
    }

    pub(crate) fn note(&self, notes: Vec<(DeliveryKey, AttemptNote)>) {
        self.journal.index.update(vec![Update::Notes(notes)]);
    }

    /// One step of a walk that erases, while the writer is given its turns.
    pub(crate) fn erase_by_hand(
        &self,
        walk: &mut Walk,
        let_write: &mut dyn FnMut(),
    ) -> Result<ErasingStep, StoreError> {
        self.journal.erasing_step(walk, let_write)
    }

    /// Takes values away in a segment at most, while the writer is given its turns. Returns whether there was one.
    pub(crate) fn redact_by_hand(&self, redactor: &mut Redactor, let_write: &mut dyn FnMut()) -> bool {
        self.journal.redact_some(redactor, let_write)
    }

    pub(crate) fn pause(&self, id: NameId, reason: &str) {
        self.journal.control(id, Act::Pause(reason.to_owned()), Urgency::Now);
    }

    pub(crate) fn set_open(&self, id: NameId, is_open: bool) {
        self.queue(id).change(Change::Breaker { is_open });
    }

    pub(crate) fn next_due(&self, id: NameId) -> Option<u64> {
        lock(&self.journal.destination(id).queue).next_due()
    }

    pub(crate) fn name(&self, kind: NameKind, name: &str) -> NameId {
        self.journal.name(kind, name)
    }

    pub(crate) fn name_of(&self, id: NameId) -> Option<Arc<str>> {
        Store::names(self).of(id).map(|(_, name)| name.clone())
    }

    pub(crate) fn find(&self, kind: NameKind, name: &str) -> Option<NameId> {
        Store::names(self).find(kind, name)
    }

    pub(crate) fn names(&self, kind: NameKind) -> Vec<(NameId, Arc<str>)> {
        Store::names(self).of_kind(kind)
    }

    pub(crate) fn room_for_names(&self, names: &[(NameKind, &str)]) -> Result<(), NamesFull> {
        self.journal.begin_with_names(names);
        self.journal.forget_names();
        self.journal.names.read().expect("nobody panicked with it").have_room(names)
    }

    pub(crate) fn use_names(&self, generation: u32, ids: &[NameId]) {
        self.journal.use_names(generation, ids);
    }

    pub(crate) fn take_over(&self, from: NameId, to: NameId) -> TakenOver {
        self.journal.take_over(from, to)
    }

    pub(crate) fn set_removed(&self, id: NameId, is_removed: bool) {
        self.journal.control(id, if is_removed { Act::Remove } else { Act::Restore }, Urgency::Now);
    }

    pub(crate) fn close(&self) {
        self.close_here();
    }

    pub(crate) fn counts(&self, id: NameId) -> Counts {
        self.journal.counts(id)
    }

    pub(crate) fn held(&self, source: NameId) -> u64 {
        self.journal.held(source)
    }

    pub(crate) fn state(&self, id: NameId) -> NameState {
        lock(&self.journal.destination(id).queue).state().clone()
    }

    pub(crate) fn replays(&self) -> Vec<ReplayProgress> {
        lock(&self.journal.replays).iter().map(|replay| self.journal.progress_of(replay)).collect()
    }
}

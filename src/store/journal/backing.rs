//! What the queues in memory need of the journal: events by their numbers, and where changes are written down.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::inbox::Message;
use super::index::Update;
use super::running::{Journal, LagWindow};
use super::segments::Window;
use super::{lock, reading};
use crate::store::queues::{
    Backing, By, DeliveryKey, Destination, DigestRecord, Read, RememberedRow, Told, WindowsRecord, take_within,
    to_go_out,
};
use crate::store::{Answer, AttemptNote, Name, NameId, StoreError, StoredEvent, WindowHead};

impl Backing for Journal {
    type Reader = LagWindow;
    type Hold = ();

    fn passed_ms(&self) -> u64 {
        self.lived.passed_ms()
    }

    fn may_claim(&self, (): &()) -> bool {
        true
    }

    fn name_of(&self, id: NameId) -> Option<Name> {
        reading(&self.names).of(id).cloned()
    }

    fn recent_of(&self, numbers: impl Iterator<Item = u64>, body_bytes: usize, take: impl FnMut(Arc<StoredEvent>)) {
        let recent = lock(&self.recent);
        take_within(numbers.map_while(|number| recent.get(number)), body_bytes, take);
    }

    fn read(
        self: &Arc<Self>,
        of: &Arc<Destination<LagWindow>>,
        by: By,
        numbers: Vec<u64>,
        body_bytes: usize,
    ) -> BoxFuture<'static, Option<Vec<Read>>> {
        let (journal, destination) = (self.clone(), of.clone());
        self.blocking.begin(move || journal.read_some(&numbers, body_bytes, &mut lock(&by.reader(&destination).0)))
    }

    fn tell(&self, told: Told) {
        match told {
            Told::Outcomes(outcomes) | Told::CameOver(outcomes) => self.send(Message::Outcomes(outcomes)),
            Told::Control(control, urgency) => self.send(Message::Control(control, urgency)),
            Told::Selection(selection) => {
                let parts = selection.split().into_iter().map(|part| vec![part]);
                self.send(Message::Selections(parts.collect()));
            }
            Told::Windows(windows) => self.send(Message::Windows(windows)),
            Told::Digests(digests, done) => {
                let parts = digests.into_iter().flat_map(DigestRecord::split);
                self.send(Message::Digests(parts.collect(), done));
            }
        }
    }

    fn note(&self, notes: Vec<(DeliveryKey, AttemptNote)>) {
        self.index.update(vec![Update::Notes(notes)]);
    }

    fn tell_section(&self, id: NameId, fingerprint: String) {
        self.index.update(vec![Update::Fact(id, fingerprint)]);
    }

    fn tell_remembered(self: &Arc<Self>, rows: Vec<RememberedRow>) -> Answer<'static, ()> {
        self.index.update(vec![Update::Remembered(rows)]);
        let journal = self.clone();
        let blocking = journal.blocking;
        Box::pin(async move {
            match blocking.begin(move || journal.index.flush()).await {
                Some(true) => Ok(()),
                _ => Err(StoreError::written_later()),
            }
        })
    }
}

impl Journal {
    /// Writes again what must not go with the oldest range of the history, which ends there: heads of windows, and digests whose members'
    /// own records have gone before. All else that a digest is about lies in what stays. Returns whether there was anything.
    pub fn write_lanes_again(&self, range_end: u64) -> bool {
        let mut has_any = false;
        for id in self.destination_ids() {
            let destination = self.destination(id);
            // Locked, so that nothing newer comes before it.
            let queue = lock(&destination.queue);
            let heads: Vec<WindowHead> = queue.heads().collect();
            let digests = queue.all_digests().filter(|(_, digest)| digest.members.next(0) < Some(range_end));
            let records: Vec<Vec<DigestRecord>> = digests.map(|(of, digest)| digest.records(id, of)).collect();
            has_any |= !heads.is_empty() || !records.is_empty();
            if !heads.is_empty() {
                self.send(Message::Windows(WindowsRecord { destination: id, heads }));
            }
            records.into_iter().for_each(|records| self.send(Message::Digests(records, None)));
        }
        has_any
    }

    /// The first of some events, wherever they lie: within so many bytes of bodies, and at least one.
    fn read_some(&self, numbers: &[u64], body_bytes: usize, window: &mut Window) -> Vec<Read> {
        let mut bytes = 0;
        let mut events = Vec::new();
        for sequence in numbers.iter().copied() {
            let recent = lock(&self.recent).get(sequence);
            let read = recent.map_or_else(|| self.read_anywhere(sequence, window).map(Arc::new), Ok);
            let read = read.map_err(StoreError::from).and_then(to_go_out);
            bytes += read.as_ref().map_or(0, |event| event.body.len());
            if bytes > body_bytes && !events.is_empty() {
                break;
            }
            events.push((sequence, read));
        }
        events
    }
}

//! What the queues in memory need of PostgreSQL: events by their numbers, and where changes are written down.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;

use super::reading::read_some;
use super::running::{HandedOut, Postgres};
use crate::store::locks::{lock, reading};
use crate::store::queues::{Backing, By, DeliveryKey, Destination, Read, RememberedRow, Told, take_within, to_go_out};
use crate::store::{Answer, AttemptNote, Name, NameId, StoreError, StoredEvent};

impl Backing for Postgres {
    type Reader = ();
    type Hold = HandedOut;

    fn passed_ms(&self) -> u64 {
        self.now_ms()
    }

    fn may_claim(&self, hold: &HandedOut) -> bool {
        let may = hold.owned.may_claim() && self.surety.is_sure(self.began.elapsed()) && !self.outbox.is_full();
        if !may {
            self.has_turned_away.store(true, Ordering::Release);
        }
        may
    }

    fn name_of(&self, id: NameId) -> Option<Name> {
        reading(&self.names).shown().of(id).cloned()
    }

    fn recent_of(&self, numbers: impl Iterator<Item = u64>, body_bytes: usize, take: impl FnMut(Arc<StoredEvent>)) {
        let recent = lock(&self.recent);
        take_within(numbers.map_while(|number| recent.get(number)), body_bytes, take);
    }

    fn read(
        self: &Arc<Self>,
        _of: &Arc<Destination<()>>,
        _by: By,
        numbers: Vec<u64>,
        body_bytes: usize,
    ) -> BoxFuture<'static, Option<Vec<Read>>> {
        let postgres = self.clone();
        let read = self.runtime.spawn(async move {
            let spans = postgres.spans();
            let read = read_some(&postgres.reader, &spans, &numbers, body_bytes).await;
            // One that cannot be read now is told, so that it is tried again; the others wait for their turn.
            let away = |error: StoreError| numbers.first().map(|number| (*number, Err(error))).into_iter().collect();
            let read: Vec<Read> = read.unwrap_or_else(away);
            read.into_iter().map(|(number, event)| (number, event.and_then(to_go_out))).collect()
        });
        Box::pin(async move { read.await.ok() })
    }

    fn tell(&self, told: Told) {
        self.outbox.tell(told);
    }

    fn note(&self, notes: Vec<(DeliveryKey, AttemptNote)>) {
        self.outbox.note(notes);
    }

    fn tell_section(&self, id: NameId, fingerprint: String) {
        self.outbox.section(id, fingerprint);
    }

    fn tell_remembered(self: &Arc<Self>, rows: Vec<RememberedRow>) -> Answer<'static, ()> {
        let kept = self.outbox.remember(rows);
        Box::pin(async move {
            match kept.await {
                Ok(Ok(_)) => Ok(()),
                _ => Err(StoreError::written_later()),
            }
        })
    }
}

//! A closed digest is put together, so that the worker may attempt it: from what its sorter knows of it, or read again, as after a restart.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::place::PLACED_AT_ONCE;
use super::together::{Parts, together};
use crate::deliver::section::Section;
use crate::deliver::sorting::windows::{Arrival, GROUPS_MAX};
use crate::deliver::sorting::{EXAMPLES, Fold, Group, Sorting, Verdict, address_of};
use crate::deliver::status::Status;
use crate::deliver::worker::delivery;
use crate::destination::Delivery;
use crate::event::{EventId, RelayFields};
use crate::store::{self, Answer, DigestId, GroupKey, NameId, Queue, Store, StoreError};

/// For how long the end of windows waits to be durable. On a full disk it goes on without: what is to be told is told.
const END_WAIT: Duration = Duration::from_secs(5);

/// Resolves when the end of windows is durable.
pub type Durable = Answer<'static, Option<DigestId>>;

/// What is known of the members of a digest whose windows were ended just now.
pub struct Known {
    pub folds: Vec<Fold>,
    /// Where all of them go, where that depends on their events; else 0.
    pub address: u64,
    pub durable: Durable,
}

/// The same where they were read.
struct Read {
    folds: Vec<Fold>,
    /// `None` where they belong to several threads.
    address: Option<u64>,
}

/// Why a digest is not put together.
pub enum Failure {
    Unreadable(StoreError),
    Panicked,
    /// Its events go to several addresses by now, and no message does.
    Apart,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error)
    }
}

/// What a digest is put together with.
pub struct Preparing {
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn Store>,
    pub status: Arc<Status>,
    pub section: Arc<Section>,
    pub destination: NameId,
}

impl Preparing {
    /// Puts a digest together and lets it go out, not before its end is on the disk: until then it could be another after a crash. Returns its
    /// address: where it belongs, where that depends on its events and is one place; else 0.
    ///
    /// It is the same each time, whatever is known of it: what its members might tell otherwise is read.
    pub async fn prepare(self, digest: store::Digest, known: Option<Known>) -> Result<u64, Failure> {
        let mut read = Read { folds: Vec::new(), address: None };
        if let Some(Known { folds, address, durable }) = known {
            if !matches!(tokio::time::timeout(END_WAIT, durable).await, Ok(Ok(_))) {
                let destination = self.section.config.name.as_str();
                tracing::warn!(destination, digest = %digest.name, "a digest goes out before it is on the disk, which takes it too slowly");
            }
            read = Read { folds, address: Some(address) };
        }
        let count: u64 = read.folds.iter().map(|fold| fold.count).sum();
        if count != digest.members || read.folds.iter().any(|fold| fold.reads_differently) {
            read = self.read(digest.id).await?;
        }
        let Read { folds, address } = read;
        let parts = Parts {
            id: digest.name.to_string(),
            folds,
            examples: self.examples(),
            at_ms: digest.closed_ms,
            count: digest.members,
            page: self.section.page.clone(),
            address,
        };
        let prepared = together(&*self.store, self.destination, parts).await?;
        self.status.sorted().keep(digest.id, Arc::new(prepared), &self.section.config.fingerprint);
        self.queue.offer(digest.id);
        // Also where it was offered by one whose digests are gone.
        self.queue.wake();
        Ok(address.unwrap_or(0))
    }

    fn sorting(&self) -> Option<&Sorting> {
        self.section.config.sorting.as_deref().filter(|sorting| sorting.gathering.is_some())
    }

    fn examples(&self) -> usize {
        let gathering = self.sorting().and_then(|sorting| sorting.gathering.as_ref());
        gathering.map_or(EXAMPLES, |gathering| gathering.examples)
    }

    /// Reads the members of a digest. What goes to several addresses by the section that there is can be none.
    async fn read(&self, id: DigestId) -> Result<Read, Failure> {
        let by_type = Sorting::by_type();
        let sorting = self.sorting().unwrap_or(&by_type);
        let mut folds: BTreeMap<GroupKey, Fold> = BTreeMap::new();
        let mut places = Places::default();
        let mut after: Option<EventId> = None;
        loop {
            let events = self.queue.members(id, after, PLACED_AT_ONCE).await?;
            let Some(last) = events.last() else {
                // Where none can be read none goes out, and no place waits for it.
                let address = places.common.unwrap_or(Some(0));
                if address == Some(0) {
                    // Windows have these keys where all goes to one place.
                    self.status.sorted().made_of(id, folds.keys().copied());
                }
                return Ok(Read { folds: folds.into_values().collect(), address });
            };
            after = Some(last.id);
            let names = self.store.names();
            for event in &events {
                let delivery = delivery(&names, event, Some(self.destination));
                places.see(&self.section, &delivery)?;
                let group = group_of(sorting, &delivery);
                // What one window had taken of all others is one group again.
                let is_one_too_many = folds.len() >= GROUPS_MAX && !folds.contains_key(&group.key);
                let group = if is_one_too_many { Group::of_all() } else { group };
                let arrival = Arrival { event: event.id, received_ms: event.received_ms, group: &group, address: 0 };
                let fold = folds.entry(group.key).or_default();
                fold.add(&arrival, &group.values, group.part.as_deref(), self.examples());
            }
            drop(names);
            tokio::task::yield_now().await;
        }
    }
}

/// The group of a delivery, wherever it goes: of what belongs to several places one with the same values is one.
fn group_of(sorting: &Sorting, delivery: &Delivery) -> Group {
    let relay = RelayFields { source: &delivery.source, received_ms: delivery.event.received_ms };
    match sorting.verdict(&delivery.event.body, relay, 0) {
        Ok(Verdict::Of(group)) => group,
        Ok(Verdict::Urgent | Verdict::Single | Verdict::InOrder(_)) | Err(_) => Group::of_all(),
    }
}

/// Where the members of a digest go, of all those that were seen: `None` within where that is not one.
#[derive(Default)]
struct Places {
    recipient: Option<Option<String>>,
    common: Option<Option<u64>>,
}

impl Places {
    /// One more is seen. Fails where it goes to another address than the ones before.
    fn see(&mut self, section: &Section, delivery: &Delivery) -> Result<(), Failure> {
        let destination = &*section.config.destination;
        let look = || (destination.address_of(delivery), address_of(destination, delivery));
        // At what panics the attempt tells.
        let Ok((recipient, address)) = std::panic::catch_unwind(AssertUnwindSafe(look)) else { return Ok(()) };
        if *self.recipient.get_or_insert_with(|| recipient.clone()) != recipient {
            return Err(Failure::Apart);
        }
        let common = self.common.get_or_insert(Some(address));
        *common = common.filter(|common| *common == address);
        Ok(())
    }
}

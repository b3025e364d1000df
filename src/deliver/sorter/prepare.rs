//! A closed digest is put together, so that the worker may attempt it: from what its sorter knows of it, or read again, as after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::place::PLACED_AT_ONCE;
use super::together::{Parts, together};
use crate::deliver::section::Section;
use crate::deliver::sorting::windows::{Arrival, GROUPS_MAX};
use crate::deliver::sorting::{EXAMPLES, Fold, Group, Judged, Sorting, Verdict, address_of};
use crate::deliver::status::Status;
use crate::deliver::worker::delivery;
use crate::destination::Digest;
use crate::event::EventId;
use crate::store::{self, Answer, DigestId, GroupKey, NameId, Queue, Store, StoreError};

/// For how long the end of windows waits to be durable. On a full disk it goes on without: what is to be told is told.
const END_WAIT: Duration = Duration::from_secs(5);

/// Resolves when the end of windows is durable.
pub type Durable = Answer<'static, Option<DigestId>>;

/// A digest that has been put together.
pub struct Prepared {
    /// Where it goes, where that depends on its events; else 0.
    pub address: u64,
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
    /// Puts a digest together and lets it go out, not before its end is on the disk: until then it could be another after a crash. `folds` is
    /// what is known of its members.
    pub async fn prepare(
        self,
        digest: store::Digest,
        folds: Vec<Fold>,
        durable: Option<Durable>,
    ) -> Result<Prepared, StoreError> {
        if let Some(durable) = durable
            && !matches!(tokio::time::timeout(END_WAIT, durable).await, Ok(Ok(_)))
        {
            let destination = self.section.config.name.as_str();
            tracing::warn!(destination, digest = %digest.name, "a digest goes out before it is on the disk, which takes it too slowly");
        }
        let known: u64 = folds.iter().map(|fold| fold.count).sum();
        let folds = if known == digest.members { folds } else { self.fold_again(digest.id).await? };
        let parts = Parts { id: digest.name.to_string(), folds, examples: self.examples(), at_ms: digest.closed_ms };
        let put_together = together(&*self.store, self.destination, parts).await?;
        let left_out = digest.members.saturating_sub(put_together.events.len() as u64);
        let page = self.section.page.clone();
        let first = put_together.events.first();
        let address = first.map_or(0, |first| address_of(&*self.section.config.destination, first));
        let prepared = Digest { count: digest.members, left_out, page, ..put_together };
        self.status.sorted().keep(digest.id, Arc::new(prepared));
        self.queue.offer(digest.id);
        // Also where it was offered by one whose digests are gone.
        self.queue.wake();
        Ok(Prepared { address })
    }

    fn sorting(&self) -> Option<&Sorting> {
        self.section.config.sorting.as_deref().filter(|sorting| sorting.gathering.is_some())
    }

    fn examples(&self) -> usize {
        let gathering = self.sorting().and_then(|sorting| sorting.gathering.as_ref());
        gathering.map_or(EXAMPLES, |gathering| gathering.examples)
    }

    /// Reads the members of a digest.
    async fn fold_again(&self, id: DigestId) -> Result<Vec<Fold>, StoreError> {
        let by_type = self.sorting().is_none().then(Sorting::by_type);
        let Some(sorting) = self.sorting().or(by_type.as_ref()) else { return Ok(Vec::new()) };
        let mut folds: BTreeMap<GroupKey, Fold> = BTreeMap::new();
        let mut after: Option<EventId> = None;
        loop {
            let events = self.queue.members(id, after, PLACED_AT_ONCE).await?;
            let Some(last) = events.last() else { return Ok(folds.into_values().collect()) };
            after = Some(last.id);
            let names = self.store.names();
            for event in &events {
                let delivery = delivery(&names, event, Some(self.destination));
                let group = match sorting.judge(&*self.section.config.destination, &delivery) {
                    Judged { verdict: Verdict::Of(group), .. } => group,
                    Judged { verdict: Verdict::Urgent | Verdict::Single, .. } => Group::of_all(),
                };
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

//! Events that are durable go to the queues of this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::following::{Arrived, Came, Own, Reply};
use super::running::Postgres;
use crate::event::EventId;
use crate::store::NameId;
use crate::store::locks::{lock, reading};

impl Postgres {
    /// Hands over events that this process has taken in. To a queue that is in order, or of which that is not known
    /// yet, they go with the next look at what others have
    /// taken in, which may be of before, and their senders are answered then. Returns who is to be answered and woken now.
    pub fn publish_own(
        &self,
        arrived: &[Arrived],
        replies: Vec<Option<Reply>>,
    ) -> (Vec<(Reply, EventId)>, Vec<Arc<Notify>>) {
        self.remember_events(arrived);
        for one in arrived {
            self.following.read_own(one.event.id.salt().cast_signed(), one.event.id.sequence().cast_signed());
        }
        let mut now: BTreeMap<NameId, Vec<Came>> = BTreeMap::new();
        let mut later = Own::default();
        let mut answered = Vec::with_capacity(replies.len());
        for (one, reply) in arrived.iter().zip(replies) {
            let before = later.events.len();
            for delivery in &one.event.deliveries {
                if !self.is_taken_by(delivery.destination, one) {
                    continue;
                }
                if lock(&self.destination(delivery.destination).queue).may_be_in_order() {
                    later.events.push((one.clone(), delivery.destination));
                } else {
                    now.entry(delivery.destination).or_default().push(one.came());
                }
            }
            let reply = reply.map(|reply| (reply, one.event.id));
            let waits = later.events.len() > before;
            if waits { later.replies.extend(reply) } else { answered.extend(reply) }
        }
        if !later.events.is_empty() {
            self.following.took_in(later);
            self.following.more.notify_one();
        }
        (answered, self.add_all(now))
    }

    /// Hands over events that others have taken in, with those of this process that have waited for them.
    pub fn publish_others(&self, arrived: &[Arrived], own: &[(Arrived, NameId)]) -> Vec<Arc<Notify>> {
        self.remember_events(arrived);
        let mut by_destination: BTreeMap<NameId, Vec<Came>> = BTreeMap::new();
        for one in arrived {
            for delivery in &one.event.deliveries {
                if self.is_taken_by(delivery.destination, one) {
                    by_destination.entry(delivery.destination).or_default().push(one.came());
                }
            }
        }
        for (one, destination) in own {
            if self.is_taken_by(*destination, one) {
                by_destination.entry(*destination).or_default().push(one.came());
            }
        }
        for events in by_destination.values_mut() {
            events.sort_by_key(|came| came.number);
        }
        self.add_all(by_destination)
    }

    /// What came for a destination while its queue was read.
    pub fn publish_late(&self, destination: NameId, came: &[Came]) -> Vec<Arc<Notify>> {
        self.add_all([(destination, came.to_vec())].into())
    }

    fn is_taken_by(&self, destination: NameId, arrived: &Arrived) -> bool {
        let owned = reading(&self.owned).get(&destination).cloned();
        owned.is_some_and(|owned| owned.takes(arrived.came()))
    }

    fn remember_events(&self, arrived: &[Arrived]) {
        let mut recent = lock(&self.recent);
        let with_body = arrived.iter().filter(|one| one.has_body);
        with_body.for_each(|one| recent.push(one.event.clone()));
        drop(recent);
        if self.watchers.are_there() {
            let events: Vec<_> = arrived.iter().filter(|one| one.has_body).map(|one| one.event.clone()).collect();
            self.watchers.arrived(&events);
        }
    }

    fn add_all(&self, by_destination: BTreeMap<NameId, Vec<Came>>) -> Vec<Arc<Notify>> {
        let mut woken = Vec::with_capacity(by_destination.len());
        let holds = lock(&self.holds);
        for (id, events) in by_destination {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            for Came { number, source, hold, .. } in events {
                if holds.is_held(source, hold) {
                    queue.hold(source, number);
                } else {
                    queue.add(number);
                }
            }
            woken.push(destination.looks_first(&queue).clone());
        }
        woken
    }
}

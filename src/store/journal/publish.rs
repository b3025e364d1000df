//! What the journal says takes effect: acts on a whole destination or source, and new events.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Journal, lock};
use crate::store::queues::{Act, Control};
use crate::store::{NameId, StoredEvent};

impl Journal {
    /// An act on a whole destination, or source, stands in the journal: what comes behind it goes by it.
    pub fn written(&self, control: &Control) {
        let id = control.destination;
        match control.act {
            Act::Hold => drop(lock(&self.holding).insert(id)),
            Act::Resume if lock(&self.holding).remove(&id) => {
                self.let_go_of_source(id, self.lived.passed_ms());
            }
            _ => {}
        }
    }

    /// Hands durable events to memory and to their destinations. Returns who is to be woken for them: an event may go to thousands, and
    /// its sender is answered before they all set out.
    pub fn publish(&self, events: Vec<Arc<StoredEvent>>) -> Vec<Arc<Notify>> {
        let holding = lock(&self.holding).clone();
        let mut deliveries: Vec<(NameId, u64)> = Vec::new();
        for event in &events {
            let sequence = event.id.sequence();
            if !holding.is_empty() && holding.contains(&event.source) {
                for delivery in &event.deliveries {
                    lock(&self.destination(delivery.destination).queue).hold(event.source, sequence);
                }
            } else {
                deliveries.extend(event.deliveries.iter().map(|delivery| (delivery.destination, sequence)));
            }
        }
        deliveries.sort_by_key(|(destination, _)| *destination);
        let watched = if self.watchers.are_there() { events.clone() } else { Vec::new() };
        let mut recent = lock(&self.recent);
        events.into_iter().for_each(|event| recent.push(event));
        drop(recent);
        let of_one = |of: &[(NameId, u64)]| {
            let destination = self.destination(of[0].0);
            let mut queue = lock(&destination.queue);
            of.iter().for_each(|(_, sequence)| queue.add(*sequence));
            destination.looks_first(&queue).clone()
        };
        let woken = deliveries.chunk_by(|(one, _), (other, _)| one == other).map(of_one).collect();
        // Who asks now where their deliveries stand finds them in their queues.
        if !watched.is_empty() {
            self.watchers.arrived(&watched);
        }
        woken
    }
}

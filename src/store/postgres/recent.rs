//! The newest events with their bodies, in memory: while destinations keep up, none is read again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::store::StoredEvent;

/// Bodies kept, with the lists of their rules and destinations, in bytes.
const BODIES_MAX: usize = 8 << 20;
/// Events kept, however small: a third of a second at full load.
const EVENTS_MAX: usize = 8 << 10;

/// The newest events that this process has taken in or read. Their numbers have gaps.
#[derive(Debug, Default)]
pub struct Recent {
    by_number: HashMap<u64, Arc<StoredEvent>>,
    order: VecDeque<u64>,
    bytes: usize,
}

impl Recent {
    /// Adds an event.
    pub fn push(&mut self, event: Arc<StoredEvent>) {
        let number = event.id.sequence();
        self.bytes += bytes_of(&event);
        match self.by_number.insert(number, event) {
            Some(before) => self.bytes -= bytes_of(&before),
            None => self.order.push_back(number),
        }
        while self.bytes > BODIES_MAX || self.order.len() > EVENTS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.by_number.remove(&oldest).map_or(0, |oldest| bytes_of(&oldest));
        }
    }

    /// Lets go of all of them.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Finds an event by its number.
    pub fn get(&self, number: u64) -> Option<Arc<StoredEvent>> {
        self.by_number.get(&number).cloned()
    }
}

fn bytes_of(event: &StoredEvent) -> usize {
    event.body.len() + std::mem::size_of_val(&*event.rules) + std::mem::size_of_val(&*event.deliveries)
}

//! What came already: an event that comes twice, of which the second is answered with the id of the first, and goes nowhere; and one that a rule with `once_per`
//! holds back, because one with the same values went through.
//!
//! # Cast
//!
//! * [`Doubles`]: what receiving asks. `table`, [`Claim`]: the keys, which lie in memory and nowhere else.
//! * `read_back`: the keys of what came before a start, or before a config that asks for them.
//!
//! # Durable without being written
//!
//! The journal holds each event, and a key is made of nothing but an event: so nothing is written for one. At a start the events of the last window are read back
//! before the listener opens. A reload that asks for more reads them before it is put in force, and what came meanwhile right after: requests wait for that, which
//! is short. What is about to be stored has claimed its key; the same again waits for it, and tries by itself where it could not be stored.
//!
//! An event has one key as what it is, and one for each rule that matches once. They are asked for in that order, which is the same for all: so nobody waits for
//! somebody who waits for him. Which rules let an event through stands in it.
//!
//! A request that a config without `dedupe`, or without `once_per`, let in, and that is not stored yet when the next one is in force, is not known to it.

mod read_back;
mod table;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use smallvec::SmallVec;
use tokio::sync::watch;

pub use self::read_back::{READ_BACK_MAX, ReadBack};
use self::table::{Asked, Table};
pub use self::table::{Claim, KEYS_MAX};
use crate::event::{Event, EventId, Print};
use crate::rules::{Routing, RuleSet};

/// The keys that one event has claimed: few.
pub type Claims = SmallVec<[Claim; 2]>;

/// The keys of events, through all configs.
pub struct Doubles {
    table: Arc<Table>,
    /// The config up to which all keys are known that it asks for.
    read_up_to: watch::Sender<u32>,
    amid: Mutex<Amid>,
}

/// What was forgotten while the history is read back: a page may have been read before.
#[derive(Default)]
struct Amid {
    readers: usize,
    forgotten: HashSet<EventId>,
}

impl Doubles {
    /// None are known yet. Those that are forgotten for want of room are counted.
    pub fn new(forgotten: Counter) -> Self {
        Self { table: Arc::new(Table::new(forgotten)), read_up_to: watch::Sender::new(0), amid: Mutex::default() }
    }

    /// Claims the key of an event that arrived at `at_ms`, or says which event came with it within so long before. Waits while somebody else has claimed it, and
    /// while keys are read back for the config.
    pub async fn first(&self, key: Print, at_ms: u64, within: Duration, generation: u32) -> Result<Claim, EventId> {
        self.until_read(generation).await;
        loop {
            match self.table.ask(key, at_ms, within) {
                Asked::Free(claim) => return Ok(claim),
                Asked::Known(event) => return Err(event),
                // An error says that it is decided.
                Asked::Claimed(mut decided) => drop(decided.changed().await),
            }
        }
    }

    /// Where an event that arrived at `at_ms` goes, and the keys that it has claimed of rules that match once. Waits while somebody else has claimed one of them.
    pub async fn route<'e>(
        &self,
        rules: &RuleSet,
        event: &Event<'e>,
        at_ms: u64,
        generation: u32,
    ) -> (Routing<'e>, Claims) {
        if !rules.has_once() {
            return (rules.route_event(event), Claims::new());
        }
        self.until_read(generation).await;
        loop {
            let mut claims = Claims::new();
            let mut claimed = None;
            let routing = rules.route_once(event, &mut |rule, key, every| {
                // What comes after one that is not decided does not count.
                if claimed.is_some() {
                    return false;
                }
                match self.table.ask(key, at_ms, every) {
                    Asked::Free(claim) => {
                        claims.push(claim);
                        return true;
                    }
                    Asked::Known(last) => {
                        let rule = rules.rules()[rule].name.as_str();
                        tracing::debug!(rule, %last, "`once_per` holds an event back: one with the same values went through");
                    }
                    Asked::Claimed(decided) => claimed = Some(decided),
                }
                false
            });
            let Some(mut decided) = claimed else { return (routing, claims) };
            drop(claims);
            // An error says that it is decided.
            drop(decided.changed().await);
        }
    }

    async fn until_read(&self, generation: u32) {
        // Nobody ever closes it.
        let _ = self.read_up_to.subscribe().wait_for(|read| *read >= generation).await;
    }

    /// Claims the key if it is free: for who is let in whatever came before.
    pub fn claim(&self, key: Print, at_ms: u64, within: Duration) -> Option<Claim> {
        match self.table.ask(key, at_ms, within) {
            Asked::Free(claim) => Some(claim),
            Asked::Known(_) | Asked::Claimed(_) => None,
        }
    }

    /// Forgets what was seen with some events: nothing of them is told by a key any more, nor noted by who reads the history back and has read
    /// them already.
    pub fn forget(&self, events: &HashSet<EventId>) {
        let mut amid = self.amid();
        if amid.readers > 0 {
            amid.forgotten.extend(events);
        }
        self.table.forget(events);
    }

    fn amid(&self) -> MutexGuard<'_, Amid> {
        self.amid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many keys are known.
    pub fn keys(&self) -> usize {
        self.table.len()
    }
}

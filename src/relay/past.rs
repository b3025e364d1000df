//! The rules of the last configs: why an event went where it went when it came.
//!
//! Of a config that is in force no more, its rules are kept and nothing else, for as long as the relay runs. The journal does not say which config
//! routed an event, and its request may have begun under the one before. So the one is looked for that sends the event to where it went,
//! from the one of its time back: what is told never disagrees with what happened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Generation;
use crate::destination::client::Masks;
use crate::event::RelayFields;
use crate::explain::trace;
use crate::rules::{RuleSet, RuleTrace};
use crate::store::{NameId, StoredEvent};

/// Configs whose rules are kept, the one in force among them. Who looks at an event after a reload has reloaded a few times.
const KEPT_MAX: usize = 8;
/// About the bytes of all rules that are kept, but for those in force: a config has 20 patterns of 16 KiB, or few more, and may have 64 MiB.
const BYTES_MAX: usize = 16 << 20;

/// What is kept of one config.
pub struct Past {
    pub number: u32,
    since_ms: u64,
    pub rules: Arc<RuleSet>,
    masks: Masks,
    rule_ids: Vec<NameId>,
    destination_ids: Vec<NameId>,
    bytes: usize,
}

/// The newest last.
#[derive(Default)]
pub(super) struct Pasts(Mutex<VecDeque<Arc<Past>>>);

impl Pasts {
    /// Keeps the rules of a config that is put in force.
    pub(super) fn add(&self, generation: &Generation) {
        let config = &generation.config;
        self.push(Past {
            number: generation.number,
            since_ms: generation.since_ms,
            rules: config.rules.clone(),
            masks: config.masks.clone(),
            rule_ids: generation.rule_ids.clone(),
            destination_ids: generation.destination_ids.clone(),
            bytes: config.rules_bytes(),
        });
    }

    fn push(&self, past: Past) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = |kept: &VecDeque<Arc<Past>>| kept.iter().map(|past| past.bytes).sum::<usize>();
        while kept.len() >= KEPT_MAX || before(&kept) > BYTES_MAX {
            kept.pop_front();
        }
        kept.push_back(Arc::new(past));
    }

    /// The config that routed an event, and what became of each of its rules; nothing, where it is not kept.
    pub(super) fn of(&self, event: &StoredEvent, source: &str) -> Option<(Arc<Past>, Vec<RuleTrace>)> {
        let kept: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let then = kept.into_iter().rev().filter(|past| past.since_ms <= event.received_ms);
        then.filter_map(|past| Some((past.traced(event, source)?, past))).map(|(traces, past)| (past, traces)).next()
    }
}

impl Past {
    /// What became of each rule, where the event goes by these to where it went.
    fn traced(&self, event: &StoredEvent, source: &str) -> Option<Vec<RuleTrace>> {
        let relay = RelayFields { source, received_ms: event.received_ms };
        // By which rules it went says the event: of one that matches once that cannot be asked again.
        let let_through = |at: usize| event.rules.contains(&self.rule_ids[at]);
        let (routing, traces) = trace(&self.rules, &self.masks, (&event.body, relay), Some(&let_through)).ok()?;
        let rules = routing.rules.iter().map(|at| self.rule_ids[*at]);
        let to = routing.deliveries.iter().map(|(at, _)| self.destination_ids[*at]);
        let is_same = rules.eq(event.rules.iter().copied())
            && to.eq(event.deliveries.iter().map(|delivery| delivery.destination));
        is_same.then_some(traces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FieldSetBuilder;

    fn past(number: u32, bytes: usize) -> Past {
        let rules = Arc::new(RuleSet::new(FieldSetBuilder::default().build(), Vec::new()));
        let (rule_ids, destination_ids) = (Vec::new(), Vec::new());
        Past { number, since_ms: 0, rules, masks: Masks::default(), rule_ids, destination_ids, bytes }
    }

    #[track_caller]
    fn check(bytes: &[usize], expected: &[u32]) {
        let pasts = Pasts::default();
        bytes.iter().zip(1..).for_each(|(bytes, number)| pasts.push(past(number, *bytes)));
        let kept: Vec<_> = pasts.0.lock().expect("no panic").iter().map(|past| past.number).collect();
        assert_eq!(kept, expected, "{bytes:?}");
    }

    #[test]
    fn the_last_are_kept_while_they_are_small_and_the_one_in_force_always() {
        check(&[1; KEPT_MAX], &[1, 2, 3, 4, 5, 6, 7, 8]);
        check(&[1; KEPT_MAX + 1], &[2, 3, 4, 5, 6, 7, 8, 9]);
        check(&[BYTES_MAX - 1, 1, 1], &[1, 2, 3]);
        check(&[BYTES_MAX, 1, 1], &[2, 3]);
        check(&[1, BYTES_MAX + 1], &[1, 2]);
        check(&[1, BYTES_MAX + 1, 1], &[3]);
    }
}

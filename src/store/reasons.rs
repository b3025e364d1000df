//! Dead letters, counted by why they were given up.

use std::collections::HashMap;

use super::{DeadReason, DeadReasons, REASONS_MAX, Why};

/// Reasons that are told apart while they are counted.
pub const TOLD_APART_MAX: usize = 1000;

/// What has been counted so far.
#[derive(Debug, Default)]
pub struct CountedReasons {
    by_reason: HashMap<(String, Option<u16>), DeadReason>,
    /// Of reasons that are too many to be told apart.
    not_listed: u64,
    looked_at: u64,
}

impl CountedReasons {
    /// Counts some dead letters that were given up between two moments, for one reason as it is kept.
    pub fn add(&mut self, text: &str, deliveries: u64, (first_ms, last_ms): (u64, u64)) {
        self.looked_at += deliveries;
        let Why { reason, status, .. } = Why::of(text);
        let of_which = (reason.into_owned(), status);
        if self.by_reason.len() >= TOLD_APART_MAX && !self.by_reason.contains_key(&of_which) {
            self.not_listed += deliveries;
            return;
        }
        let one = self.by_reason.entry(of_which).or_insert_with_key(|(reason, status)| {
            let (reason, status) = (reason.clone(), *status);
            DeadReason { reason, status, deliveries: 0, first_ms, last_ms }
        });
        one.deliveries += deliveries;
        one.first_ms = one.first_ms.min(first_ms);
        one.last_ms = one.last_ms.max(last_ms);
    }

    /// Counts some of which the reasons were not read.
    pub fn add_unlisted(&mut self, deliveries: u64) {
        self.looked_at += deliveries;
        self.not_listed += deliveries;
    }

    /// How many were counted.
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// The most frequent ones. `all`: how many dead letters there are.
    pub fn told(self, all: u64) -> DeadReasons {
        let Self { by_reason, mut not_listed, looked_at } = self;
        let mut reasons: Vec<DeadReason> = by_reason.into_values().collect();
        reasons.sort_by(|a, b| b.deliveries.cmp(&a.deliveries).then_with(|| a.reason.cmp(&b.reason)));
        let unlisted = reasons.split_off(reasons.len().min(REASONS_MAX));
        not_listed += unlisted.iter().map(|one| one.deliveries).sum::<u64>();
        DeadReasons { reasons, looked_at, not_listed, not_looked_at: all.saturating_sub(looked_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_to_one_reason_are_one_and_two_of_its_statuses_are_two() {
        let mut counted = CountedReasons::default();
        let why = |status, answer: &'static str| Why { reason: "no".into(), status, answer: answer.into() }.text();
        counted.add(&why(Some(500), "a"), 2, (20, 30));
        counted.add(&why(Some(500), "b"), 1, (10, 10));
        counted.add(&why(Some(404), "a"), 1, (40, 40));
        counted.add_unlisted(3);
        let told = counted.told(9);
        assert_eq!((told.looked_at, told.not_listed, told.not_looked_at), (7, 3, 2));
        let of = |status, deliveries, first_ms, last_ms| DeadReason {
            reason: "no".to_owned(),
            status: Some(status),
            deliveries,
            first_ms,
            last_ms,
        };
        assert_eq!(told.reasons, [of(500, 3, 10, 30), of(404, 1, 40, 40)]);
    }

    #[test]
    fn reasons_that_are_too_many_are_counted_together() {
        let mut counted = CountedReasons::default();
        for nth in 0..TOLD_APART_MAX + 7 {
            counted.add(&format!("reason {nth}"), 1, (1, 1));
        }
        let told = counted.told(0);
        assert_eq!((told.reasons.len(), told.not_listed), (REASONS_MAX, (TOLD_APART_MAX + 7 - REASONS_MAX) as u64));
        assert_eq!(told.not_looked_at, 0, "others came meanwhile");
    }
}

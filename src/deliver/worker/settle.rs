//! What a worker does when attempts have ended: decide, settle, and draw conclusions about the destination as a whole.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::StreamExt;

use super::{Attempted, Attempts, Worker};
use crate::deliver::backoff::spread;
use crate::deliver::breaker::{Change, Sign};
use crate::deliver::decide::{Next, decide};
use crate::destination::{Outcome, Reason};
use crate::store::{AttemptNote, Claim, DeliveryKey, Settlement};
use crate::time::Instant;

/// The longest that `Retry-After` can hold a whole destination.
const HOLD_MAX: Duration = Duration::from_secs(60 * 60);
/// So many rejects in a row without a success are no accident of single events: the destination is paused.
const REJECTS_IN_A_ROW_MAX: u32 = 20;
/// Outcomes settled in one go.
const SETTLED_AT_ONCE: usize = 64;

impl Worker {
    /// Settles an attempt and whatever else has ended meanwhile.
    pub(super) fn settle_ready(&mut self, first: Attempted, attempts: &mut Attempts) {
        self.section = self.parts.section.load_full();
        let (mut settlements, mut notes) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(attempted) = next {
            self.settle_one(attempted, &mut settlements, &mut notes);
            next = if settlements.len() < SETTLED_AT_ONCE { attempts.next().now_or_never().flatten() } else { None };
        }
        self.parts.store.settle(settlements);
        self.parts.store.note(notes);
    }

    fn settle_one(
        &mut self,
        attempted: Attempted,
        settlements: &mut Vec<(Claim, Settlement)>,
        notes: &mut Vec<(DeliveryKey, AttemptNote)>,
    ) {
        let now_ms = self.parts.clock.now_ms();
        // What became of an attempt by an older section says nothing of what this one says: another URL, another token.
        let is_of_now = Arc::ptr_eq(&attempted.section.config.destination, &self.section.config.destination);
        self.watch(&attempted, is_of_now, now_ms);
        for (claim, outcome) in attempted.claims.into_iter().zip(attempted.outcomes) {
            let Some(outcome) = outcome else {
                settlements.push((claim, Settlement::Released));
                continue;
            };
            self.section.metrics.attempt(&outcome);
            if is_of_now {
                self.observe(&outcome);
            }
            let attempts = claim.attempts.saturating_add(1);
            let first_attempt_ms = claim.first_attempt_ms.unwrap_or(attempted.started_ms);
            if claim.attempts > 0 || outcome != Outcome::Delivered {
                notes.push((claim.key, note(&outcome, attempted.started_ms, attempted.took)));
            }
            let counted_until_ms = self.open_since_ms.map_or(now_ms, |since_ms| since_ms.min(now_ms));
            let age = Duration::from_millis(counted_until_ms.saturating_sub(first_attempt_ms));
            let settlement = match decide(
                &outcome,
                attempts,
                age,
                spread(claim.key, attempts),
                &self.section.config.policy,
            ) {
                Next::Done => {
                    self.section.metrics.delivered();
                    Settlement::Delivered { attempts }
                }
                Next::Skip(reason) => {
                    self.section.metrics.skipped();
                    Settlement::Skipped { attempts, reason }
                }
                Next::RetryIn(wait) => {
                    // Like all that waited when the section changed, it is due now.
                    let due_ms = if is_of_now { now_ms + wait.as_millis() as u64 } else { now_ms };
                    let reason = outcome.reason().map(|reason| reason.text.clone()).unwrap_or_default();
                    Settlement::Postponed { attempts, first_attempt_ms, due_ms, reason }
                }
                Next::DeadLetter(reason) => {
                    self.section.metrics.dead();
                    let brief = outcome.reason().map_or("", |reason| reason.brief.as_str());
                    tracing::warn!(destination = %self.section.config.name, attempts, reason = brief, "dead letter");
                    Settlement::Dead { attempts, reason }
                }
                Next::Pause(reason) => {
                    let brief = outcome.reason().map_or("", |reason| reason.brief.as_str());
                    if is_of_now {
                        self.pause(&reason, brief);
                    }
                    Settlement::Released
                }
            };
            settlements.push((claim, settlement));
        }
    }

    /// What an attempt says about whether the destination works at all.
    fn watch(&mut self, attempted: &Attempted, is_of_now: bool, now_ms: u64) {
        // What never reached the other side says nothing of it.
        let is_theirs = |outcome: &&Outcome| is_of_now && outcome.reason().is_none_or(|reason| !reason.is_local);
        let made = || attempted.outcomes.iter().flatten().filter(is_theirs);
        let sign = if made().any(|outcome| matches!(outcome, Outcome::Delivered | Outcome::Reject { .. })) {
            Sign::Works
        } else if made().any(|outcome| matches!(outcome, Outcome::Retry { .. })) {
            Sign::Fails
        } else {
            Sign::Nothing
        };
        let name = &self.section.config.name;
        match self.breaker.observe(sign, attempted.is_probe, Instant::now()) {
            Some(Change::Opened) => {
                tracing::warn!(destination = %name, "it fails again and again: one attempt at a time until one succeeds");
                self.open_since_ms = Some(now_ms);
                self.show_open(true);
            }
            Some(Change::Closed) => {
                tracing::info!(destination = %name, "it answers again: deliveries go on, a few at first");
                self.open_since_ms = None;
                self.show_open(false);
            }
            None => {}
        }
        let ramp = self.breaker.ramp();
        let last = made().filter_map(Outcome::reason).next_back().map(|reason| (reason.brief.clone(), now_ms));
        let has_delivered = made().any(|outcome| *outcome == Outcome::Delivered);
        self.parts.status.show(|shown| {
            shown.ramp = ramp;
            shown.last_error = last.or(shown.last_error.take());
            shown.last_delivered_ms = if has_delivered { Some(now_ms) } else { shown.last_delivered_ms };
        });
    }

    /// A worker that is ending leaves this to the one that follows, which may be at work already and finds out for itself.
    fn show_open(&self, is_open: bool) {
        if !self.parts.stop.is_cancelled() {
            self.parts.store.set_open(self.parts.id, is_open);
        }
    }

    /// What an outcome says about the destination as a whole.
    fn observe(&mut self, outcome: &Outcome) {
        let name = &self.section.config.name;
        match outcome {
            Outcome::Delivered => {
                self.rejects_in_a_row = 0;
                if self.last_trouble.take().is_some() {
                    tracing::info!(destination = %name, "delivering again");
                }
            }
            Outcome::Retry { reason, after, holds_all } => {
                if let (Some(after), true) = (after, holds_all) {
                    let hold = (*after).min(HOLD_MAX);
                    self.section.pace.hold(Instant::now() + hold);
                    let until_ms = self.parts.clock.now_ms() + hold.as_millis() as u64;
                    self.parts.status.show(|shown| shown.held_until_ms = shown.held_until_ms.max(Some(until_ms)));
                }
                self.tell(reason);
            }
            // The other side was not asked.
            Outcome::Reject { reason } if reason.is_local => {}
            Outcome::Reject { .. } => {
                self.rejects_in_a_row += 1;
                if self.rejects_in_a_row >= REJECTS_IN_A_ROW_MAX {
                    self.rejects_in_a_row = 0;
                    let why = format!("{REJECTS_IN_A_ROW_MAX} events in a row were rejected");
                    self.pause(&why, &why);
                }
            }
            Outcome::Pause { .. } | Outcome::Skipped { .. } => {}
        }
    }

    /// Tells of trouble once, and not again until it changes or has passed.
    fn tell(&mut self, reason: &Reason) {
        let (name, reason, is_config_slip) = (&self.section.config.name, reason.brief.as_str(), reason.is_config_slip);
        if self.last_trouble.as_deref() == Some(reason) {
            tracing::debug!(destination = %name, reason, "attempt failed");
        } else if is_config_slip {
            tracing::error!(destination = %name, reason, "attempt failed; most likely the URL or a credential in the config is wrong");
        } else {
            tracing::warn!(destination = %name, reason, "attempt failed, will be tried again");
        }
        self.last_trouble = Some(reason.to_owned());
    }

    fn pause(&self, reason: &str, brief: &str) {
        let name = &self.section.config.name;
        tracing::error!(destination = %name, reason = brief, "destination paused; its queue is kept until somebody resumes it");
        self.parts.store.pause(self.parts.id, reason);
    }
}

/// What is kept of an attempt for who wants to know.
fn note(outcome: &Outcome, at_ms: u64, took: Duration) -> AttemptNote {
    let reason = outcome.reason();
    AttemptNote {
        at_ms,
        took_ms: took.as_millis() as u64,
        outcome: outcome.name().to_owned(),
        status: reason.map_or(0, |reason| reason.status),
        reason: reason.map(|reason| reason.brief.clone()).unwrap_or_default(),
        answer: reason.map(|reason| reason.answer.clone()).unwrap_or_default(),
    }
}

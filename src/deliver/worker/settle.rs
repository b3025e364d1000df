//! What a worker does when attempts have ended: decide, settle, and draw conclusions about the destination as a whole.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::StreamExt;
use smallvec::SmallVec;

use super::{Attempted, Attempts, Worker};
use crate::deliver::apart::{Together, failed_with_all, part};
use crate::deliver::backoff::spread;
use crate::deliver::breaker::{Change as BreakerChange, Sign};
use crate::deliver::decide::{Next, Tried, decide};
use crate::deliver::in_hand::Decided;
use crate::destination::{Outcome, Reason};
use crate::store::{AttemptNote, Change, Claim, DeliveryId, Settlement};
use crate::time::Instant;

/// The longest that `Retry-After` can hold a whole destination.
pub const HOLD_MAX: Duration = Duration::from_secs(60 * 60);
/// So many rejects in a row without a success are no accident of single events: the destination is paused.
const REJECTS_IN_A_ROW_MAX: u32 = 20;
/// Outcomes settled in one go.
const SETTLED_AT_ONCE: usize = 64;

/// A template may be empty for most events, and the reason is the same for all: so many notes say it, in [`NOTES_WITHIN`]. Each is a row
/// of the index for as long as its event is kept.
const NOTES_MAX: u32 = 60;
const NOTES_WITHIN: Duration = Duration::from_secs(60);

/// Says how many notes there may be.
#[derive(Debug, Default)]
pub(super) struct Sparing {
    since: Option<Instant>,
    taken: u32,
}

impl Sparing {
    /// Whether there may be one more now, which then counts.
    fn has_one_more(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= NOTES_WITHIN) {
            (self.since, self.taken) = (Some(now), 0);
        }
        self.taken += 1;
        self.taken <= NOTES_MAX
    }
}

impl Worker {
    /// Settles an attempt and whatever else has ended meanwhile.
    pub(super) fn settle_ready<F>(&mut self, first: Attempted, attempts: &mut Attempts<F>)
    where
        F: Future<Output = Attempted>,
    {
        self.section = self.parts.section.borrow().clone();
        let mut decided = Decided::new(&self.parts.queue);
        let mut next = Some(first);
        while let Some(attempted) = next {
            self.settle_one(attempted, &mut decided);
            next =
                if decided.len() < SETTLED_AT_ONCE { attempts.running.next().now_or_never().flatten() } else { None };
        }
    }

    fn settle_one(&mut self, attempted: Attempted, decided: &mut Decided) {
        let now_ms = self.parts.clock.now_ms();
        // What became of an attempt by an older section says nothing of what this one says: another URL, another token.
        let is_of_now = Arc::ptr_eq(&attempted.section.config.destination, &self.section.config.destination);
        self.watch(&attempted, is_of_now, now_ms);
        let Attempted { section, claims, outcomes, started_ms, took, .. } = attempted;
        let is_one_request = section.config.destination.batching().is_some();
        let mut counted = Counted { is_one_request, names: SmallVec::new() };
        let count = if is_one_request { outcomes.iter().filter(|outcome| failed_with_all(outcome)).count() } else { 1 };
        let together = claims.first().filter(|_| is_one_request);
        claims.settle(outcomes, decided, |claim, outcome| {
            if counted.counts(&outcome) {
                self.section.metrics.attempt(&outcome, took);
            }
            if is_of_now {
                self.observe(&outcome);
            }
            let name = outcome.name();
            let moments = Moments { is_of_now, started_ms, now_ms, first: together.unwrap_or(claim.delivery) };
            let tried = self.tried(claim, &outcome, &moments);
            let is_failing = self.open_since_ms.is_some();
            let outcome = part(outcome, &tried, Together { count, is_failing }, &self.section.config.policy);
            let is_worth_it = match &outcome {
                Outcome::Apart { was_sent, .. } => *was_sent,
                Outcome::Delivered => claim.attempts > 0,
                Outcome::Skipped { .. } => claim.attempts > 0 || self.skip_notes.has_one_more(Instant::now()),
                _ => true,
            };
            let attempt =
                is_worth_it.then(|| AttemptNote { outcome: name.to_owned(), ..note(&outcome, started_ms, took) });
            let settlement = self.decide(claim, &outcome, tried, moments);
            self.tell_apart(claim, &outcome, &settlement);
            (settlement, attempt)
        });
    }

    /// Remembers who goes out apart from the others, until it is settled for good.
    fn tell_apart(&mut self, claim: &Claim, outcome: &Outcome, settlement: &Settlement) {
        let event = claim.delivery.event;
        match (outcome, settlement) {
            (Outcome::Apart { at_most, .. }, _) => {
                self.apart.insert(event, *at_most);
                self.is_ready = true;
            }
            (_, Settlement::Scheduled { .. } | Settlement::Returned) => {}
            _ => self.apart.settled(event),
        }
    }

    /// How often, and for how long, a delivery has been tried with this attempt.
    fn tried(&self, claim: &Claim, outcome: &Outcome, Moments { started_ms, now_ms, .. }: &Moments) -> Tried {
        let (started_ms, now_ms) = (*started_ms, *now_ms);
        let first_attempt_ms = claim.first_attempt_ms.unwrap_or(started_ms);
        let counted_until_ms = self.open_since_ms.map_or(now_ms, |since_ms| since_ms.min(now_ms));
        let mut age_ms = counted_until_ms.saturating_sub(first_attempt_ms);
        if matches!(outcome, Outcome::Retry { .. }) {
            age_ms = age_ms.saturating_sub(self.quiet_ms(first_attempt_ms..counted_until_ms));
        }
        Tried { attempts: claim.attempts.saturating_add(1), age: Duration::from_millis(age_ms) }
    }

    /// What follows from an outcome for its delivery.
    fn decide(
        &self,
        claim: &Claim,
        outcome: &Outcome,
        tried: Tried,
        Moments { is_of_now, started_ms, now_ms, first }: Moments,
    ) -> Settlement {
        let attempts = tried.attempts;
        let first_attempt_ms = claim.first_attempt_ms.unwrap_or(started_ms);
        match decide(outcome, tried, spread(first, attempts), &self.section.config.policy) {
            Next::Done => {
                self.section.metrics.delivered(self.members(claim), now_ms);
                claim.digest.inspect(|id| self.parts.status.sorted().delivered(*id));
                Settlement::Delivered { attempts }
            }
            Next::Skip(reason) => {
                self.section.metrics.skipped(self.members(claim));
                Settlement::Skipped { attempts, reason }
            }
            Next::RetryIn(wait) => {
                // Like all that waited when the section changed, it is due now.
                let due_ms = if is_of_now { now_ms + wait.as_millis() as u64 } else { now_ms };
                let reason = outcome.reason().map(|reason| reason.why().text()).unwrap_or_default();
                if let (Some(id), Outcome::Retry { after, holds_all, .. }) = (claim.digest, outcome) {
                    self.parts.status.sorted().failed(id, after.is_some(), *holds_all);
                }
                Settlement::Scheduled { attempts, first_attempt_ms, due_ms, reason }
            }
            Next::DeadLetter(reason) => {
                self.section.metrics.dead(self.members(claim));
                self.parts.status.troubles().died(&self.section.config.name, outcome.reason());
                Settlement::Dead { attempts, reason }
            }
            Next::Return => Settlement::Returned,
            Next::Pause(reason) => {
                let brief = outcome.reason().map_or("", |reason| reason.brief.as_str());
                if is_of_now {
                    self.pause(&reason, brief);
                }
                Settlement::Returned
            }
        }
    }

    /// How much of a time was quiet: nothing but what is urgent was attempted then. By the wall clock as it is now.
    fn quiet_ms(&self, time: Range<u64>) -> u64 {
        let quiet = self.section.config.sorting.as_ref().and_then(|sorting| sorting.quiet.as_ref());
        quiet.map_or(0, |quiet| {
            let clock = self.parts.clock;
            let ahead = clock.arrival_ms().wrapping_sub(clock.now_ms()).cast_signed();
            let [from, to] = [time.start, time.end].map(|ms| ms.saturating_add_signed(ahead));
            quiet.within_ms(from..to)
        })
    }

    /// How many deliveries a claim is: of a digest, those that have not been given up since it was put together.
    fn members(&self, claim: &Claim) -> u64 {
        let Some(id) = claim.digest else { return 1 };
        let digests = self.parts.queue.digests();
        digests.into_iter().find(|digest| digest.id == id).map_or(0, |digest| digest.members)
    }

    /// What an attempt says about whether the destination works at all.
    fn watch(&mut self, attempted: &Attempted, is_of_now: bool, now_ms: u64) {
        // What never reached the other side says nothing of it, and neither does what it said of one delivery alone.
        let is_of_all = |reason: &Reason| !reason.is_local && !reason.is_of_one;
        let is_theirs = |outcome: &&Outcome| is_of_now && outcome.reason().is_none_or(is_of_all);
        let made = || attempted.outcomes.iter().filter(is_theirs);
        let works = |outcome: &Outcome| {
            let is_for_good =
                matches!(outcome, Outcome::Reject { .. } | Outcome::Apart { .. } | Outcome::Skipped { .. });
            outcome.is_delivered() || is_for_good
        };
        let sign = if made().any(works) {
            Sign::Works
        } else if made().any(|outcome| matches!(outcome, Outcome::Retry { .. })) {
            Sign::Fails
        } else {
            Sign::Nothing
        };
        let name = &self.section.config.name;
        match self.breaker.observe(sign, attempted.is_probe, Instant::now()) {
            Some(BreakerChange::Opened) => {
                tracing::debug!(destination = %name, "it fails again and again: one attempt at a time until one succeeds");
                self.parts.status.troubles().gets_worse(name);
                self.is_failing = true;
                self.open_since_ms = Some(now_ms);
                self.show_open(true);
            }
            Some(BreakerChange::Closed) => {
                tracing::debug!(destination = %name, "it answers again: deliveries go on, a few at first");
                self.open_since_ms = None;
                self.show_open(false);
            }
            None => {}
        }
        let ramp = self.breaker.ramp();
        let next_probe_ms = self.next_probe_ms();
        let last = made().filter_map(Outcome::reason).next_back().map(|reason| (reason.brief.clone(), now_ms));
        let has_delivered = made().any(Outcome::is_delivered);
        self.parts.status.show(|shown| {
            shown.ramp = ramp;
            shown.next_probe_ms = next_probe_ms;
            shown.last_error = last.or(shown.last_error.take());
            shown.last_delivered_ms = if has_delivered { Some(now_ms) } else { shown.last_delivered_ms };
        });
    }

    /// A worker that is ending leaves this to the one that follows, which may be at work already and finds out for itself.
    fn show_open(&self, is_open: bool) {
        if !self.parts.stop.is_cancelled() {
            self.parts.queue.change(Change::Breaker { is_open });
        }
    }

    /// What an outcome says about the destination as a whole.
    fn observe(&mut self, outcome: &Outcome) {
        let name = &self.section.config.name;
        match outcome {
            Outcome::Delivered | Outcome::DeliveredInPart { .. } => {
                self.rejects_in_a_row = 0;
                if std::mem::take(&mut self.is_failing) {
                    self.parts.status.troubles().delivered(name);
                }
            }
            Outcome::Retry { reason, after, holds_all } => {
                if let (Some(after), true) = (after, holds_all) {
                    let hold = (*after).min(HOLD_MAX);
                    self.section.rate_limit.hold(Instant::now() + hold);
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
            // Which of them was meant by that is not known yet.
            Outcome::Apart { .. } | Outcome::Pause { .. } | Outcome::Skipped { .. } => {}
        }
    }

    /// Takes down a failure, which the log tells once.
    fn tell(&mut self, reason: &Reason) {
        let name = &self.section.config.name;
        let reason_brief = reason.brief.as_str();
        tracing::debug!(destination = %name, reason = reason_brief, "an attempt failed");
        self.parts.status.troubles().failed(name, reason);
        self.is_failing = true;
    }

    fn pause(&self, reason: &str, brief: &str) {
        let name = &self.section.config.name;
        // What was in flight beside it says the same.
        if self.state.now().state.paused.is_none() {
            tracing::error!(destination = %name, reason = brief, "the destination is paused; its queue is kept until somebody resumes it");
        }
        self.parts.status.show(|shown| shown.has_paused = true);
        self.parts.queue.change(Change::Pause { reason: reason.to_owned() });
    }
}

/// When an attempt was made and when it is settled, unix milliseconds; and whether by the section in force.
#[derive(Clone, Copy)]
struct Moments {
    is_of_now: bool,
    started_ms: u64,
    now_ms: u64,
    /// By which the wait is spread: of one request the first delivery, so that those that were tried as often are due together again.
    first: DeliveryId,
}

/// Which outcomes are counted as attempts: of one request with several deliveries each name once.
struct Counted {
    is_one_request: bool,
    names: SmallVec<[&'static str; 2]>,
}

impl Counted {
    fn counts(&mut self, outcome: &Outcome) -> bool {
        let was_left_out = matches!(outcome, Outcome::Apart { was_sent: false, .. });
        if was_left_out || (self.is_one_request && self.names.contains(&outcome.name())) {
            return false;
        }
        if self.is_one_request {
            self.names.push(outcome.name());
        }
        true
    }
}

/// What is kept of an attempt for who wants to know.
fn note(outcome: &Outcome, at_ms: u64, took: Duration) -> AttemptNote {
    let reason = outcome.reason();
    AttemptNote {
        at_ms,
        took_ms: took.as_millis() as u64,
        outcome: outcome.name().to_owned(),
        status: reason.and_then(|reason| reason.status).unwrap_or(0),
        // It is for who may see the event: of a template that fails all is told.
        reason: reason
            .map(|reason| if reason.is_local { &reason.text } else { &reason.brief })
            .cloned()
            .unwrap_or_default(),
        answer: reason.map(|reason| reason.answer.clone()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_skipped_all_the_time_is_noted_sixty_times_a_minute() {
        let mut sparing = Sparing::default();
        let start = Instant::now();
        let mut noted =
            |at_s: u64| (0..1000).filter(|_| sparing.has_one_more(start + Duration::from_secs(at_s))).count();
        assert_eq!([0, 1, 59, 60, 61, 500].map(&mut noted), [60, 0, 0, 60, 0, 60]);
    }
}

//! What follows from an attempt. Pure: values in, values out.

use std::time::Duration;

use super::backoff::wait;
use crate::destination::{Outcome, Reason};
use crate::store::Why;
use crate::units::numbered;

/// How often, how fast and how long a destination is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The wait after the first attempt.
    pub initial: Duration,
    /// What each further wait is multiplied by.
    pub factor: u32,
    pub max: Duration,
    /// When to give up, counted from the first attempt.
    pub give_up_after: Duration,
    /// When to give up, in attempts.
    pub attempts_max: Option<u16>,
    /// For one whole attempt.
    pub timeout: Duration,
    /// Attempts in flight at once.
    pub concurrency: usize,
    /// The least time between two attempts.
    pub interval: Option<Duration>,
}

impl Policy {
    /// What holds where neither a config nor a kind says otherwise.
    pub const DEFAULT: Self = Self {
        initial: Duration::from_secs(2),
        factor: 4,
        max: Duration::from_secs(60 * 60),
        give_up_after: Duration::from_secs(72 * 60 * 60),
        attempts_max: None,
        timeout: Duration::from_secs(15),
        concurrency: 8,
        interval: None,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    /// Nothing more: there was nothing to send, for this reason.
    Skip(String),
    /// Try again after this.
    RetryIn(Duration),
    /// Give it up, for this reason: the text of a [`Why`].
    DeadLetter(String),
    /// Hand it back uncounted: it is tried again soon, apart from the others that it went with.
    Return,
    /// Hold the destination; this delivery is handed back uncounted.
    Pause(String),
}

/// How long a delivery has been tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The attempt that has ended included.
    pub attempts: u16,
    /// Since the first attempt.
    pub age: Duration,
}

impl Tried {
    /// Whether an attempt that fails now was the last.
    pub fn is_over(self, policy: &Policy) -> bool {
        policy.attempts_max.is_some_and(|most| self.attempts >= most) || self.age >= policy.give_up_after
    }
}

/// Decides what follows an attempt. `spread`, from 0 to 1, says to which side of the usual wait this one goes.
pub fn decide(outcome: &Outcome, tried: Tried, spread: f64, policy: &Policy) -> Next {
    let Tried { attempts, age } = tried;
    match outcome {
        Outcome::Delivered | Outcome::DeliveredInPart { .. } => Next::Done,
        Outcome::Skipped { reason } => Next::Skip(reason.text.clone()),
        Outcome::Reject { reason } => Next::DeadLetter(reason.why().text()),
        Outcome::Apart { .. } => Next::Return,
        Outcome::Pause { reason } => Next::Pause(reason.text.clone()),
        Outcome::Retry { reason, .. } if tried.is_over(policy) => {
            let is_by_count = policy.attempts_max.is_some_and(|most| attempts >= most);
            let after = if is_by_count { numbered(attempts.into(), "attempt") } else { in_words(age) };
            Next::DeadLetter(given_up(&after, reason))
        }
        Outcome::Retry { after, .. } => {
            let wait = wait(attempts, policy.initial, policy.factor, policy.max, spread);
            Next::RetryIn(wait.max(after.unwrap_or_default()))
        }
    }
}

/// Why it is given up that was to be tried again.
fn given_up(after: &str, reason: &Reason) -> String {
    let why = reason.why();
    Why { reason: format!("given up after {after}: {}", why.reason).into(), ..why }.text()
}

fn in_words(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[track_caller]
    fn check(outcome: Outcome, attempts: u16, age: Duration, expected: &str) {
        let policy = Policy { attempts_max: Some(9), ..Policy::default() };
        let shown = match decide(&outcome, Tried { attempts, age }, 0.5, &policy) {
            Next::Done => "done".to_owned(),
            Next::Skip(reason) => format!("skip: {reason}"),
            Next::RetryIn(wait) => format!(
                "retry in {}",
                if wait > HOUR {
                    "hours"
                } else if wait > Duration::from_secs(3) {
                    "a while"
                } else {
                    "seconds"
                }
            ),
            Next::DeadLetter(reason) => format!("dead: {reason}"),
            Next::Return => "return".to_owned(),
            Next::Pause(reason) => format!("pause: {reason}"),
        };
        assert_eq!(shown, expected);
    }

    fn after(asked: Duration) -> Outcome {
        Outcome::Retry { reason: Reason::new("429"), after: Some(asked), holds_all: true }
    }

    #[test]
    fn each_outcome_is_followed_by_one_thing() {
        let minute = Duration::from_secs(60);
        check(Outcome::Delivered, 1, Duration::ZERO, "done");
        check(Outcome::Delivered, 9, 100 * HOUR, "done");
        check(Outcome::DeliveredInPart { reason: Reason::new("550") }, 1, Duration::ZERO, "done");
        check(Outcome::skipped("empty"), 9, 100 * HOUR, "skip: empty");
        check(Outcome::reject("400"), 1, Duration::ZERO, "dead: 400");
        check(Outcome::Pause { reason: Reason::new("410") }, 1, Duration::ZERO, "pause: 410");
        check(Outcome::Apart { reason: Reason::new("400"), at_most: 1, was_sent: true }, 9, 100 * HOUR, "return");
        check(Outcome::retry("503"), 1, Duration::ZERO, "retry in seconds");
        check(Outcome::retry("503"), 3, minute, "retry in a while");
        check(Outcome::retry("503"), 8, 71 * HOUR, "retry in a while");
        check(Outcome::retry("503"), 8, 72 * HOUR, "dead: given up after 72 h: 503");
        check(Outcome::retry("503"), 9, minute, "dead: given up after 9 attempts: 503");
        check(after(2 * HOUR), 1, Duration::ZERO, "retry in hours");
        check(after(Duration::from_secs(1)), 3, minute, "retry in a while");
    }
}

//! Deliveries that went out with others, were refused or failed with them, and are tried again with fewer or alone. Pure.
//!
//! What is known of them lies in memory alone. Forgotten, they go out together once more, and are told apart once more. None is given up by what a
//! request with several came to.

use std::collections::{HashMap, VecDeque};

use super::decide::{Policy, Tried};
use crate::destination::Outcome;
use crate::event::EventId;

/// One that fails now and then is tried again as it was. From this attempt on it may be that one of them has it fail each time.
const PARTS_FROM: u16 = 2;
/// Too many requests is said of none of them, and halves are more requests: <https://www.rfc-editor.org/rfc/rfc6585#section-4>.
const TOO_MANY: u16 = 429;

/// What is known of a request that failed.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    /// So many were in it.
    pub count: usize,
    /// The destination fails with everything.
    pub is_failing: bool,
}

/// Whether a delivery is to be tried again by what its request came to.
pub fn failed_with_all(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Retry { reason, .. } if !reason.is_local)
}

/// What an attempt came to for one that is to be tried again, where any other of its request may be to blame: those go by halves, as long as the
/// destination works, and at the last each by itself.
pub fn part(outcome: Outcome, tried: &Tried, Together { count, is_failing }: Together, policy: &Policy) -> Outcome {
    if count < 2 || !failed_with_all(&outcome) {
        return outcome;
    }
    let Outcome::Retry { reason, after, holds_all } = outcome else { return outcome };
    let says_when = after.is_some() || reason.status == Some(TOO_MANY);
    let at_most = match tried {
        tried if tried.is_over(policy) => 1,
        tried if tried.attempts >= PARTS_FROM && !is_failing && !says_when => count.div_ceil(2),
        _ => return Outcome::Retry { reason, after, holds_all },
    };
    Outcome::Apart { reason: reason.of_several(count, at_most), at_most, was_sent: true }
}

/// So many are known of one destination: ten of the largest requests. Beyond it those that were told apart first are forgotten.
const KNOWN_MAX: usize = 10_000;

/// Those of one destination.
#[derive(Debug, Default)]
pub struct Apart {
    /// With how many each may go, itself included.
    known: HashMap<EventId, usize>,
    /// In the order in which they were told apart; of those that were settled since a part may be in it still.
    order: VecDeque<EventId>,
    /// How many were handed back and not claimed since, and with how many each of them may go at least.
    soon: usize,
    soon_with: usize,
}

impl Apart {
    /// Whether some wait for nothing but their turn; and with how many each of them may go at least.
    pub fn soon(&self) -> Option<usize> {
        (self.soon > 0).then_some(self.soon_with)
    }

    /// With how many it may go, itself included.
    pub fn most_with(&self, event: EventId) -> usize {
        self.known.get(&event).copied().unwrap_or(usize::MAX)
    }

    /// It is tried again soon, with no more than so many.
    pub fn insert(&mut self, event: EventId, at_most: usize) {
        self.soon_with = if self.soon == 0 { at_most } else { self.soon_with.min(at_most) };
        self.soon += 1;
        if self.known.insert(event, at_most).is_none() {
            self.order.push_back(event);
        }
        while self.order.len() > KNOWN_MAX {
            let first = self.order.pop_front();
            first.map(|first| self.known.remove(&first));
        }
    }

    /// These were claimed.
    pub fn claimed(&mut self, events: impl Iterator<Item = EventId>) {
        if self.soon == 0 {
            return;
        }
        for event in events {
            // What was handed back comes first: where others come, some of it is gone otherwise.
            self.soon = if self.known.contains_key(&event) { self.soon.saturating_sub(1) } else { 0 };
        }
    }

    /// What was claimed goes back as it was.
    pub fn returned(&mut self, events: impl Iterator<Item = EventId>) {
        for at_most in events.filter_map(|event| self.known.get(&event)) {
            self.soon_with = if self.soon == 0 { *at_most } else { self.soon_with.min(*at_most) };
            self.soon += 1;
        }
    }

    /// It is settled for good.
    pub fn settled(&mut self, event: EventId) {
        if !self.known.is_empty() && self.known.remove(&event).is_some() && self.known.is_empty() {
            self.order.clear();
        }
    }
}

/// How many of some go out together: of each its bytes, and with how many it may go. At least one does; and of the bytes how many they are.
pub fn prefix(sizes: impl Iterator<Item = (usize, usize)>, bytes_max: usize) -> (usize, usize) {
    let (mut count, mut total, mut most) = (0, 0, usize::MAX);
    for (size, most_with) in sizes {
        most = most.min(most_with);
        if count > 0 && (total + size > bytes_max || count >= most) {
            break;
        }
        count += 1;
        total += size;
    }
    (count, total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::destination::Reason;

    fn id(at: u64) -> EventId {
        EventId::mint(0, 0, at)
    }

    #[track_caller]
    fn check(sizes: &[(usize, usize)], expected: (usize, usize)) {
        assert_eq!(prefix(sizes.iter().copied(), 100), expected);
    }

    #[test]
    fn as_many_go_together_as_each_of_them_may_and_as_there_is_room_for() {
        let any = usize::MAX;
        check(&[], (0, 0));
        check(&[(60, any), (40, any), (1, any)], (2, 100));
        check(&[(500, any), (1, any)], (1, 500));
        check(&[(1, any), (500, any)], (1, 1));
        check(&[(1, 1), (1, any)], (1, 1));
        check(&[(1, any), (1, any), (1, 2), (1, any)], (2, 2));
        check(&[(1, any), (1, 1)], (1, 1));
        check(&[(1, 3), (1, 3), (1, 3), (1, 3)], (3, 3));
    }

    /// Of so many that failed together in their so-manieth attempt: with how many each goes next.
    #[track_caller]
    fn check_part(outcome: Outcome, count: usize, attempts: u16, is_failing: bool, expected: Option<usize>) {
        let policy = Policy { attempts_max: Some(5), give_up_after: Duration::from_secs(60), ..Policy::default() };
        let tried = Tried { attempts, age: Duration::from_secs(attempts.into()) };
        let given = outcome.clone();
        let parted = part(outcome, &tried, Together { count, is_failing }, &policy);
        match expected {
            Some(expected) => {
                assert!(matches!(parted, Outcome::Apart { at_most, .. } if at_most == expected), "{parted:?}")
            }
            None => assert_eq!(parted, given),
        }
        let old = Tried { age: Duration::from_secs(60), ..tried };
        let is_to_part = count > 1 && failed_with_all(&given);
        let parted = part(given, &old, Together { count, is_failing }, &policy);
        assert_eq!(matches!(parted, Outcome::Apart { at_most: 1, .. }), is_to_part, "at the last: {parted:?}");
    }

    #[test]
    fn what_fails_together_again_goes_by_halves_and_at_the_last_alone() {
        let fails = || Outcome::retry("503");
        check_part(fails(), 100, 1, false, None);
        check_part(fails(), 100, 2, false, Some(50));
        check_part(fails(), 3, 4, false, Some(2));
        check_part(fails(), 2, 2, false, Some(1));
        check_part(fails(), 1, 4, false, None);
        check_part(fails(), 1, 5, false, None);
        check_part(fails(), 100, 4, true, None);
        check_part(fails(), 100, 5, true, Some(1));
        check_part(fails(), 100, 5, false, Some(1));
        let with = |status, after| Outcome::Retry {
            reason: Reason { status: Some(status), ..Reason::new("it says when") },
            after,
            holds_all: false,
        };
        check_part(with(429, None), 100, 2, false, None);
        check_part(with(503, None), 100, 2, false, Some(50));
        check_part(with(503, Some(Duration::ZERO)), 100, 2, false, None);
        check_part(with(429, None), 100, 5, false, Some(1));
        let unread = || Outcome::Retry { reason: Reason::local("the disk"), after: None, holds_all: false };
        check_part(unread(), 100, 2, false, None);
        check_part(Outcome::reject("422"), 100, 5, false, None);
        check_part(Outcome::Delivered, 100, 5, false, None);
    }

    #[test]
    fn who_was_told_apart_stays_so_until_it_is_settled() {
        let mut apart = Apart::default();
        assert_eq!((apart.soon(), apart.most_with(id(1))), (None, usize::MAX));
        (1..=4).for_each(|at| apart.insert(id(at), 2));
        apart.insert(id(5), 1);
        assert_eq!((apart.soon(), apart.most_with(id(1)), apart.most_with(id(5))), (Some(1), 2, 1));
        apart.claimed([1, 2].map(id).into_iter());
        apart.returned([2, 9].map(id).into_iter());
        assert_eq!(apart.soon, 4);
        apart.claimed([2, 3, 4, 5].map(id).into_iter());
        assert_eq!((apart.soon(), apart.most_with(id(3))), (None, 2), "a retry is known as well");
        (1..=5).for_each(|at| apart.settled(id(at)));
        assert_eq!((apart.most_with(id(3)), apart.order.len()), (usize::MAX, 0));
    }

    #[test]
    fn where_others_are_claimed_those_that_went_otherwise_are_waited_for_no_more() {
        let mut apart = Apart::default();
        (1..=4).for_each(|at| apart.insert(id(at), 1));
        apart.claimed([1, 7].map(id).into_iter());
        assert_eq!(apart.soon(), None);
    }

    #[test]
    fn only_so_many_are_known_and_the_oldest_go_first() {
        let mut apart = Apart::default();
        (0..KNOWN_MAX as u64 + 5).for_each(|at| apart.insert(id(at), 1));
        assert_eq!((apart.known.len(), apart.order.len()), (KNOWN_MAX, KNOWN_MAX));
        assert_eq!((apart.most_with(id(4)), apart.most_with(id(5))), (usize::MAX, 1));
    }
}

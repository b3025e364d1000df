//! Deliveries that went out with others, were refused with them, and are tried again with fewer or alone. Pure.
//!
//! What is known of them lies in memory alone. Forgotten, they go out together once more, and are refused and told apart once more.

use std::collections::{HashMap, VecDeque};

use crate::event::EventId;

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
    use super::*;

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

//! What lies in one open window: a set of numbers that takes two bytes for each, or a bit where they are many.
//!
//! Not a [`Bitmap`], which takes 8 KiB for each 65 536 numbers however few of them are in it: a thousand groups over a million deliveries
//! would take 120 MB. Nor the crate `roaring`, which is such a set: a million members are taken over by a bitmap, and taken out of
//! one, by whole chunks under a queue's lock, and it gives nobody its chunks.

use super::bitmap::{Bitmap, CHUNK, LIST_BELOW, Words};

/// So many numbers in a list are room for one more before it grows by a quarter: lists that double would take up to twice as much.
const GROW_LEAST: usize = 4;

/// A set of `u64`, made for few that lie far apart, and for many that do not.
#[derive(Debug, Default)]
pub struct Members {
    /// By the numbers of their chunks, in order; none is empty.
    parts: Vec<(u64, Part)>,
    length: u64,
}

#[derive(Debug)]
enum Part {
    /// In order.
    Few(Vec<u16>),
    Many {
        words: Box<Words>,
        length: u32,
    },
}

impl Members {
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a number; returns whether it was new.
    pub fn insert(&mut self, number: u64) -> bool {
        let key = number / CHUNK;
        let at = self.parts.binary_search_by_key(&key, |(key, _)| *key).unwrap_or_else(|at| {
            self.parts.insert(at, (key, Part::Few(Vec::new())));
            at
        });
        let is_new = self.parts[at].1.insert((number % CHUNK) as u16);
        self.length += u64::from(is_new);
        is_new
    }

    /// Takes a number out; returns whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let Ok(at) = self.find(number) else { return false };
        let part = &mut self.parts[at].1;
        let was_there = part.remove((number % CHUNK) as u16);
        if part.len() == 0 {
            self.parts.remove(at);
        }
        self.length -= u64::from(was_there);
        was_there
    }

    pub fn contains(&self, number: u64) -> bool {
        self.find(number).is_ok_and(|at| self.parts[at].1.contains((number % CHUNK) as u16))
    }

    /// The lowest.
    pub fn first(&self) -> Option<u64> {
        let (key, part) = self.parts.first()?;
        Some(key * CHUNK + part.first()?)
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.parts.binary_search_by_key(&(number / CHUNK), |(key, _)| *key)
    }

    /// Takes all numbers of another set out.
    pub fn remove_all(&mut self, other: &Bitmap) {
        let length = &mut self.length;
        self.parts.retain_mut(|(key, part)| {
            let Some(words) = other.words(*key) else { return true };
            let before = part.len();
            part.remove_all(words);
            *length -= (before - part.len()) as u64;
            part.len() > 0
        });
    }

    /// Adds all of them to another set.
    pub fn add_to(&self, other: &mut Bitmap) {
        for (key, part) in &self.parts {
            match part {
                Part::Few(list) => list.iter().for_each(|low| {
                    other.insert(key * CHUNK + u64::from(*low));
                }),
                Part::Many { words, .. } => other.insert_words(*key, words, words.len()),
            }
        }
    }
}

fn place(low: u16) -> (usize, u64) {
    (usize::from(low / 64), 1 << (low % 64))
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many { length, .. } => *length as usize,
        }
    }

    fn first(&self) -> Option<u64> {
        match self {
            Self::Few(list) => list.first().copied().map(u64::from),
            Self::Many { words, .. } => {
                let (at, word) = words.iter().enumerate().find(|(_, word)| **word != 0)?;
                Some(at as u64 * 64 + u64::from(word.trailing_zeros()))
            }
        }
    }

    fn contains(&self, low: u16) -> bool {
        match self {
            Self::Few(list) => list.binary_search(&low).is_ok(),
            Self::Many { words, .. } => {
                let (word, bit) = place(low);
                words[word] & bit != 0
            }
        }
    }

    fn insert(&mut self, low: u16) -> bool {
        match self {
            Self::Few(list) => {
                let Err(at) = list.binary_search(&low) else { return false };
                if list.len() + 1 >= LIST_BELOW as usize {
                    let mut words: Box<Words> = Box::new([0; _]);
                    for low in list.iter().chain([&low]) {
                        let (word, bit) = place(*low);
                        words[word] |= bit;
                    }
                    *self = Self::Many { words, length: LIST_BELOW };
                    return true;
                }
                if list.len() == list.capacity() {
                    list.reserve_exact((list.len() / 4).max(GROW_LEAST));
                }
                list.insert(at, low);
                true
            }
            Self::Many { words, length } => {
                let (word, bit) = place(low);
                let is_new = words[word] & bit == 0;
                words[word] |= bit;
                *length += u32::from(is_new);
                is_new
            }
        }
    }

    fn remove(&mut self, low: u16) -> bool {
        match self {
            Self::Few(list) => match list.binary_search(&low) {
                Ok(at) => {
                    list.remove(at);
                    true
                }
                Err(_) => false,
            },
            Self::Many { words, length } => {
                let (word, bit) = place(low);
                let was_there = words[word] & bit != 0;
                words[word] &= !bit;
                *length -= u32::from(was_there);
                was_there
            }
        }
    }

    fn remove_all(&mut self, other: &Words) {
        match self {
            Self::Few(list) => list.retain(|low| {
                let (word, bit) = place(*low);
                other[word] & bit == 0
            }),
            Self::Many { words, length } => {
                words.iter_mut().zip(other).for_each(|(own, other)| *own &= !other);
                *length = words.iter().map(|word| word.count_ones()).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(members: &Members, expected: &BTreeSet<u64>) {
        let mut all = Bitmap::default();
        members.add_to(&mut all);
        assert!(all.iter_from(0).eq(expected.iter().copied()));
        assert_eq!((members.len(), members.is_empty()), (expected.len() as u64, expected.is_empty()));
        assert_eq!(members.first(), expected.first().copied());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn members_are_what_a_set_holds(
            ranges in prop::collection::vec((0u64..3 * CHUNK, 1u64..6_000, 1u64..40, 0u8..3), 1..12),
        ) {
            let mut members = Members::default();
            let mut model = BTreeSet::new();
            for (start, count, step, act) in ranges {
                let numbers: Vec<u64> = (0..count).map(|at| start + at * step).collect();
                match act {
                    0 => {
                        for number in &numbers {
                            prop_assert_eq!(members.remove(*number), model.remove(number));
                        }
                    }
                    1 => {
                        let gone: Bitmap = numbers.iter().copied().collect();
                        members.remove_all(&gone);
                        numbers.iter().for_each(|number| { model.remove(number); });
                    }
                    _ => {
                        for number in &numbers {
                            prop_assert_eq!(members.insert(*number), model.insert(*number));
                        }
                    }
                }
                prop_assert!(numbers.iter().all(|number| members.contains(*number) == model.contains(number)));
                check(&members, &model);
            }
        }
    }

    #[test]
    fn a_thousand_groups_over_a_million_deliveries_take_four_bytes_a_member_and_one_group_takes_a_bit() {
        let bytes = |members: &Members| {
            let of_part = |(_, part): &(u64, Part)| match part {
                Part::Few(list) => list.capacity() * 2,
                Part::Many { .. } => std::mem::size_of::<Words>(),
            };
            members.parts.iter().map(of_part).sum::<usize>()
                + members.parts.capacity() * std::mem::size_of::<(u64, Part)>()
        };
        let mut groups: Vec<Members> = (0..1000).map(|_| Members::default()).collect();
        let mut all = Members::default();
        for number in 0..1_000_000 {
            groups[(number * 7919 % 1000) as usize].insert(number);
            all.insert(number);
        }
        let of_groups: usize = groups.iter().map(bytes).sum();
        assert!(of_groups <= 4_000_000, "{of_groups}");
        assert!(bytes(&all) <= 140 << 10, "{}", bytes(&all));
    }
}

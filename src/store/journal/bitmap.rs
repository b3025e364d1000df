//! A set of sequence numbers, one bit each: the deliveries of one destination that are not settled.
//!
//! Ten million waiting deliveries take 1.25 MB; a destination that keeps up takes one chunk, whatever has gone through it.

use std::collections::BTreeMap;

/// Numbers in a chunk. A chunk is 8 KiB and goes when its last number does.
const CHUNK: u64 = 1 << 16;
const WORDS: usize = (CHUNK / 64) as usize;

/// A set of `u64`, made for long runs that fill at the top and empty from the bottom.
#[derive(Debug, Default)]
pub struct Bitmap {
    chunks: BTreeMap<u64, Chunk>,
    length: u64,
}

#[derive(Debug)]
struct Chunk {
    length: u32,
    words: Box<[u64; WORDS]>,
}

impl Bitmap {
    /// How many numbers are in it.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Adds a number; returns whether it was new.
    pub fn insert(&mut self, number: u64) -> bool {
        let chunk =
            self.chunks.entry(number / CHUNK).or_insert_with(|| Chunk { length: 0, words: Box::new([0; WORDS]) });
        let (word, bit) = place(number);
        let is_new = chunk.words[word] & bit == 0;
        chunk.words[word] |= bit;
        chunk.length += u32::from(is_new);
        self.length += u64::from(is_new);
        is_new
    }

    /// Takes a number out; returns whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let key = number / CHUNK;
        let Some(chunk) = self.chunks.get_mut(&key) else { return false };
        let (word, bit) = place(number);
        if chunk.words[word] & bit == 0 {
            return false;
        }
        chunk.words[word] &= !bit;
        chunk.length -= 1;
        self.length -= 1;
        // The topmost chunk stays: a destination that keeps up would make and drop it with every event.
        let is_spent = chunk.length == 0 && self.chunks.last_key_value().is_some_and(|(last, _)| *last != key);
        if is_spent {
            self.chunks.remove(&key);
        }
        true
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.chunks.get(&(number / CHUNK)).is_some_and(|chunk| chunk.words[word] & bit != 0)
    }

    /// The smallest number at or above `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        for (key, chunk) in self.chunks.range(from / CHUNK..) {
            if chunk.length == 0 {
                continue;
            }
            let start = if *key == from / CHUNK { from % CHUNK } else { 0 };
            let first_word = (start / 64) as usize;
            for (i, word) in chunk.words.iter().enumerate().skip(first_word) {
                let masked = if i == first_word { word & (u64::MAX << (start % 64)) } else { *word };
                if masked != 0 {
                    return Some(key * CHUNK + i as u64 * 64 + u64::from(masked.trailing_zeros()));
                }
            }
        }
        None
    }
}

fn place(number: u64) -> (usize, u64) {
    let within = number % CHUNK;
    ((within / 64) as usize, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..4 * CHUNK, 0u64..70), 0..400)) {
            let (mut bitmap, mut model) = (Bitmap::default(), BTreeSet::new());
            for (is_insert, base, offset) in steps {
                let number = base / CHUNK * CHUNK + offset;
                if is_insert {
                    prop_assert_eq!(bitmap.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(bitmap.remove(number), model.remove(&number));
                }
                prop_assert_eq!(bitmap.len(), model.len() as u64);
                prop_assert_eq!(bitmap.next(base), model.range(base..).next().copied());
                prop_assert_eq!(bitmap.contains(number), model.contains(&number));
            }
        }
    }

    #[test]
    fn a_chunk_goes_when_it_is_spent() {
        let mut bitmap = Bitmap::default();
        for number in 0..10 * CHUNK {
            bitmap.insert(number);
        }
        for number in 0..10 * CHUNK {
            bitmap.remove(number);
        }
        assert_eq!(bitmap.chunks.len(), 1);
        assert_eq!(bitmap.next(0), None);
    }
}

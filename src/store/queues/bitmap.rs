//! A set of sequence numbers, one bit each: what waits for one destination, what is to go out again, what is dead.
//!
//! Ten million waiting deliveries take 1.25 MB; a destination that keeps up takes one chunk, whatever has gone through it. A chunk
//! goes to the disk as its words, or as a list of its numbers where that is shorter.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers in a chunk. A chunk is 8 KiB and goes when its last number does.
pub const CHUNK: u64 = 1 << 16;
const WORDS: usize = (CHUNK / 64) as usize;

/// The numbers of a chunk, a bit each.
pub type Words = [u64; WORDS];

/// A chunk with fewer numbers than this is written as a list of them.
pub const LIST_BELOW: u32 = (WORDS * 4) as u32;
const AS_LIST: u8 = 1;
const AS_WORDS: u8 = 2;

/// A set of `u64`, made for long runs that fill at the top and empty from the bottom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    chunks: BTreeMap<u64, Chunk>,
    length: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    length: u32,
    /// No word from here on was ever set: who keeps up asks again and again what comes after the newest number.
    end: usize,
    /// Shared with copies, until one of them changes: a checkpoint copies every queue.
    words: Arc<Words>,
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.words == other.words
    }
}

impl Eq for Chunk {}

impl Bitmap {
    /// How many numbers are in it.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a number; returns whether it was new.
    pub fn insert(&mut self, number: u64) -> bool {
        let chunk = self.chunk(number / CHUNK);
        let (word, bit) = place(number);
        if chunk.words[word] & bit != 0 {
            return false;
        }
        Arc::make_mut(&mut chunk.words)[word] |= bit;
        chunk.length += 1;
        chunk.end = chunk.end.max(word + 1);
        self.length += 1;
        true
    }

    fn chunk(&mut self, key: u64) -> &mut Chunk {
        if !self.chunks.contains_key(&key) {
            // The topmost one stayed although it was spent. It is not the topmost any more.
            if let Some(last) = self.chunks.last_entry().filter(|last| last.get().length == 0) {
                last.remove();
            }
        }
        self.chunks.entry(key).or_insert_with(Chunk::empty)
    }

    /// Takes a number out; returns whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let key = number / CHUNK;
        let Some(chunk) = self.chunks.get_mut(&key) else { return false };
        let (word, bit) = place(number);
        if chunk.words[word] & bit == 0 {
            return false;
        }
        Arc::make_mut(&mut chunk.words)[word] &= !bit;
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

    /// The numbers from `from` on, in order.
    pub fn iter_from(&self, from: u64) -> impl Iterator<Item = u64> + '_ {
        let mut next = self.next(from);
        std::iter::from_fn(move || {
            let number = next?;
            next = self.next(number + 1);
            Some(number)
        })
    }

    /// The greatest number below `end`.
    pub fn previous(&self, end: u64) -> Option<u64> {
        let last = end.checked_sub(1)?;
        for (key, chunk) in self.chunks.range(..=last / CHUNK).rev() {
            let top = if *key == last / CHUNK { last % CHUNK } else { CHUNK - 1 };
            let last_word = (top / 64) as usize;
            for (i, word) in chunk.words[..=last_word].iter().enumerate().rev() {
                let masked = if i == last_word { word & (u64::MAX >> (63 - top % 64)) } else { *word };
                if masked != 0 {
                    return Some(key * CHUNK + i as u64 * 64 + 63 - u64::from(masked.leading_zeros()));
                }
            }
        }
        None
    }

    /// How many chunks [`encode`](Self::encode) gives.
    pub fn chunks(&self) -> usize {
        self.chunks.values().filter(|chunk| chunk.length > 0).count()
    }

    /// The same numbers in sets of at most so many chunks each.
    pub fn split(&self, chunks_max: usize) -> Vec<Self> {
        let full: Vec<_> = self.chunks.iter().filter(|(_, chunk)| chunk.length > 0).collect();
        let part = |part: &[(&u64, &Chunk)]| Self {
            chunks: part.iter().map(|(key, chunk)| (**key, (*chunk).clone())).collect(),
            length: part.iter().map(|(_, chunk)| u64::from(chunk.length)).sum(),
        };
        full.chunks(chunks_max).map(part).collect()
    }

    /// Adds all numbers of another set.
    pub fn insert_all(&mut self, other: &Bitmap) {
        for (key, chunk) in other.chunks.iter().filter(|(_, chunk)| chunk.length > 0) {
            self.insert_words(*key, &chunk.words, chunk.end);
        }
    }

    /// Adds all numbers of a chunk, of which no word is set from `end` on.
    pub fn insert_words(&mut self, key: u64, words: &Words, end: usize) {
        let own = self.chunk(key);
        let before = own.length;
        Arc::make_mut(&mut own.words).iter_mut().zip(words.iter()).for_each(|(own, other)| *own |= other);
        own.length = own.words.iter().map(|word| word.count_ones()).sum();
        own.end = own.end.max(end);
        self.length += u64::from(own.length - before);
    }

    /// The chunk of this number, where there is one.
    pub fn words(&self, key: u64) -> Option<&Words> {
        self.chunks.get(&key).map(|chunk| &*chunk.words)
    }

    /// Whether no number is in both.
    pub fn is_apart_from(&self, other: &Bitmap) -> bool {
        let is_apart = |(key, chunk): (&u64, &Chunk)| {
            other.words(*key).is_none_or(|words| chunk.words.iter().zip(words).all(|(own, other)| own & other == 0))
        };
        self.chunks.iter().all(is_apart)
    }

    /// Keeps what is in another set as well.
    pub fn keep_within(&mut self, other: &Bitmap) {
        let mut rest = self.clone();
        rest.remove_all(other);
        self.remove_all(&rest);
    }

    /// Takes all numbers of another set out.
    pub fn remove_all(&mut self, other: &Bitmap) {
        let topmost = self.chunks.last_key_value().map(|(key, _)| *key);
        for (key, chunk) in other.chunks.iter().filter(|(_, chunk)| chunk.length > 0) {
            let Some(own) = self.chunks.get_mut(key) else { continue };
            let before = own.length;
            Arc::make_mut(&mut own.words).iter_mut().zip(chunk.words.iter()).for_each(|(own, other)| *own &= !other);
            own.length = own.words.iter().map(|word| word.count_ones()).sum();
            self.length -= u64::from(before - own.length);
            // The topmost one stays, as it does in `remove`.
            if own.length == 0 && topmost != Some(*key) {
                self.chunks.remove(key);
            }
        }
    }

    /// The chunks that hold something, each as its number and its bytes.
    pub fn encode(&self) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        self.chunks.iter().filter(|(_, chunk)| chunk.length > 0).map(|(key, chunk)| (*key, chunk.encode()))
    }

    /// The whole set in one piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, bytes) in self.encode() {
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(&bytes);
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut set = Self::default();
        while let Some((key, rest)) = bytes.split_first_chunk() {
            let (length, rest) = rest.split_first_chunk()?;
            let (chunk, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            if !set.decode(u64::from_le_bytes(*key), chunk) {
                return None;
            }
            bytes = rest;
        }
        bytes.is_empty().then_some(set)
    }

    /// Adds a chunk that [`encode`](Self::encode) wrote. Returns whether the bytes are such a chunk.
    #[must_use]
    pub fn decode(&mut self, key: u64, bytes: &[u8]) -> bool {
        let Some(start) = key.checked_mul(CHUNK) else { return false };
        match bytes.split_first() {
            Some((&AS_LIST, list)) if list.len().is_multiple_of(2) => {
                for pair in list.chunks_exact(2) {
                    self.insert(start + u64::from(u16::from_le_bytes([pair[0], pair[1]])));
                }
                true
            }
            Some((&AS_WORDS, words)) if words.len() == WORDS * 8 => {
                let chunk = self.chunk(key);
                let before = chunk.length;
                for (known, word) in Arc::make_mut(&mut chunk.words).iter_mut().zip(words.chunks_exact(8)) {
                    *known |= u64::from_le_bytes(word.try_into().expect("chunks of eight"));
                }
                chunk.length = chunk.words.iter().map(|word| word.count_ones()).sum();
                chunk.end = WORDS;
                self.length += u64::from(chunk.length - before);
                true
            }
            _ => false,
        }
    }

    /// The numbers that are in none of these sets, in order.
    pub fn iter_outside<'b>(&'b self, others: &'b [&Bitmap]) -> impl Iterator<Item = u64> + 'b {
        self.iter_outside_from(0, others)
    }

    /// The same from a number on.
    pub fn iter_outside_from<'b>(&'b self, from: u64, others: &'b [&Bitmap]) -> impl Iterator<Item = u64> + 'b {
        let mut next = self.next_outside(from, others);
        std::iter::from_fn(move || {
            let number = next?;
            next = self.next_outside(number + 1, others);
            Some(number)
        })
    }

    /// The smallest number at or above `from`.
    pub fn next(&self, from: u64) -> Option<u64> {
        self.next_outside(from, &[])
    }

    /// The smallest number at or above `from` that is in none of these sets.
    fn next_outside(&self, from: u64, others: &[&Bitmap]) -> Option<u64> {
        for (key, chunk) in self.chunks.range(from / CHUNK..) {
            if chunk.length == 0 {
                continue;
            }
            let start = if *key == from / CHUNK { from % CHUNK } else { 0 };
            let first_word = (start / 64) as usize;
            for (i, word) in chunk.words[..chunk.end].iter().enumerate().skip(first_word) {
                let word = others
                    .iter()
                    .filter_map(|other| other.chunks.get(key))
                    .fold(*word, |word, other| word & !other.words[i]);
                let masked = if i == first_word { word & (u64::MAX << (start % 64)) } else { word };
                if masked != 0 {
                    return Some(key * CHUNK + i as u64 * 64 + u64::from(masked.trailing_zeros()));
                }
            }
        }
        None
    }
}

impl FromIterator<u64> for Bitmap {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut bitmap = Self::default();
        for number in numbers {
            bitmap.insert(number);
        }
        bitmap
    }
}

impl Chunk {
    fn empty() -> Self {
        Self { length: 0, end: 0, words: Arc::new([0; WORDS]) }
    }

    fn encode(&self) -> Vec<u8> {
        if self.length >= LIST_BELOW {
            let mut bytes = vec![AS_WORDS];
            self.words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
            return bytes;
        }
        let mut bytes = vec![AS_LIST];
        for (i, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let within = (i * 64) as u16 + rest.trailing_zeros() as u16;
                bytes.extend_from_slice(&within.to_le_bytes());
                rest &= rest - 1;
            }
        }
        bytes
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
        fn a_bitmap_holds_and_finds_what_a_set_does(steps in prop::collection::vec((any::<bool>(), 0u64..4 * CHUNK, 0u64..70), 0..400)) {
            let mut bitmap = Bitmap::default();
            let mut model = BTreeSet::new();
            for (is_insert, base, offset) in steps {
                let number = base / CHUNK * CHUNK + offset;
                if is_insert {
                    prop_assert_eq!(bitmap.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(bitmap.remove(number), model.remove(&number));
                }
                prop_assert_eq!(bitmap.len(), model.len() as u64);
                prop_assert_eq!(bitmap.next(base), model.range(base..).next().copied());
                prop_assert_eq!(bitmap.previous(base), model.range(..base).next_back().copied());
                prop_assert_eq!(bitmap.contains(number), model.contains(&number));
            }
        }
    }

    proptest! {
        #[test]
        fn adds_and_leaves_out_other_sets(sets in prop::collection::vec(prop::collection::btree_set(0u64..3 * CHUNK / 64, 0..40), 3)) {
            let sets: Vec<BTreeSet<u64>> = sets.into_iter().map(|set| set.into_iter().map(|n| n * 61).collect()).collect();
            let bitmaps: Vec<Bitmap> = sets.iter().map(|set| set.iter().copied().collect()).collect();
            let outside = sets[0].iter().filter(|number| !sets[1].contains(number) && !sets[2].contains(number));
            prop_assert!(bitmaps[0].iter_outside(&[&bitmaps[1], &bitmaps[2]]).eq(outside.copied()));
            let mut all = bitmaps[0].clone();
            all.insert_all(&bitmaps[1]);
            let union = &sets[0] | &sets[1];
            prop_assert_eq!(all.len(), union.len() as u64);
            prop_assert!(all.iter_from(0).eq(union.iter().copied()));
            let mut rest = all.clone();
            rest.remove_all(&bitmaps[2]);
            let without = &union - &sets[2];
            prop_assert_eq!(rest.len(), without.len() as u64);
            prop_assert!(rest.iter_from(0).eq(without.iter().copied()));
            prop_assert!(all.iter_from(0).eq(union.iter().copied()), "a copy was changed and not this");
        }
    }

    #[test]
    fn a_set_reads_back_as_written_in_either_form() {
        for step in [1, 3, 100, CHUNK - 1] {
            let bitmap: Bitmap = (5..3 * CHUNK).step_by(step as usize).collect();
            let mut read = Bitmap::default();
            for (key, bytes) in bitmap.encode() {
                assert!(bytes.len() <= 1 + WORDS * 8);
                assert!(read.decode(key, &bytes));
            }
            assert_eq!(read, bitmap);
            assert!(read.iter_from(0).eq((5..3 * CHUNK).step_by(step as usize)));
        }
        for wrong in [&b""[..], &[AS_LIST, 1], &[AS_WORDS, 1, 2], &[9, 1, 2]] {
            assert!(!Bitmap::default().decode(0, wrong), "{wrong:?}");
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

    #[test]
    fn one_chunk_is_kept_by_who_settles_each_number_before_the_next_comes() {
        let mut bitmap = Bitmap::default();
        for number in (0..5 * CHUNK).step_by(CHUNK as usize / 8) {
            bitmap.insert(number);
            assert_eq!(bitmap.chunks.len(), 1, "at {number}");
            bitmap.remove(number);
        }
    }
}

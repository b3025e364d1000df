//! What a cursor says, where a backend counts events by numbers: which list, of which store, and some numbers. It is not for people to make
//! one up, so it ends with a checksum.

use super::{Cursor, StoreError};
use crate::event::EventId;

/// The lists there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Events, newest first: the number below which it goes on, and the least.
    NewestFirst,
    /// Events, oldest first: the number at which it goes on, and where it ends.
    OldestFirst,
    /// Dead letters: an event's number, and the number of the last destination of that event, behind which it goes on.
    DeadLetters,
}

impl List {
    fn number(self) -> u8 {
        match self {
            Self::NewestFirst => 1,
            Self::OldestFirst => 2,
            Self::DeadLetters => 3,
        }
    }
}

/// Bytes of a cursor before they are written as digits: the list, the store, two numbers, the checksum.
const BYTES: usize = 1 + 2 + 2 * 8 + 4;

/// Writes a cursor.
pub fn cursor(list: List, store: u64, numbers: [u64; 2]) -> Cursor {
    let mut bytes = vec![list.number()];
    bytes.extend_from_slice(&EventId::salt_of(store).to_be_bytes());
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    Cursor::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads a cursor of a list.
pub fn numbers_of(cursor: &Cursor, list: List, store: u64) -> Result<[u64; 2], StoreError> {
    let digits = cursor.as_str().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == BYTES).ok_or_else(StoreError::no_cursor)?;
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut off"));
    let numbers = [number(3), number(11)];
    // The same would be written again: of this list, of this store, and whole.
    if self::cursor(list, store, numbers) == *cursor { Ok(numbers) } else { Err(StoreError::no_cursor()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_own_list_of_its_own_store_alone() {
        let made = cursor(List::OldestFirst, 0xabcd, [7, u64::MAX]);
        assert_eq!(numbers_of(&made, List::OldestFirst, 0xabcd), Ok([7, u64::MAX]));
        assert!(numbers_of(&made, List::NewestFirst, 0xabcd).is_err(), "of another list");
        assert!(numbers_of(&made, List::OldestFirst, 0xabce).is_err(), "of another store");
        let text = made.to_string();
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = Cursor::new(String::from_utf8(wrong).expect("digits"));
            assert!(numbers_of(&wrong, List::OldestFirst, 0xabcd).is_err(), "{wrong}");
        }
        for wrong in ["", "00", "zz", &text[1..], &text.to_uppercase(), &format!("{text}00")] {
            assert!(numbers_of(&Cursor::new(wrong.to_owned()), List::OldestFirst, 0xabcd).is_err(), "{wrong}");
        }
    }
}

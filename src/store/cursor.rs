//! Where a list goes on: a text that a store gives and takes back.

use std::fmt;
use std::str::FromStr;

use super::StoreError;

/// Where a list goes on. What it says is the store's business; it is of one list of one store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor(String);

impl Cursor {
    /// The longest, in bytes: several fit into a URL.
    pub const BYTES_MAX: usize = 2048;

    /// A store's own text: letters, digits, `-` and `_`.
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Cursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_cursor = !text.is_empty() && text.len() <= Self::BYTES_MAX && text.bytes().all(is_sound);
        if is_cursor { Ok(Self(text.to_owned())) } else { Err(StoreError::no_cursor()) }
    }
}

impl StoreError {
    /// Something is no cursor of the list that it was given to.
    pub fn no_cursor() -> Self {
        Self::Conflict("this is not where the list goes on: give what the page before said, as it was".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_short_text_that_may_stand_in_a_url() {
        for good in ["a", "0f-_Z9", &"x".repeat(Cursor::BYTES_MAX)] {
            assert_eq!(good.parse::<Cursor>().map(|cursor| cursor.to_string()), Ok(good.to_owned()));
        }
        for wrong in ["", "a b", "ä", "%20", &"x".repeat(Cursor::BYTES_MAX + 1)] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}

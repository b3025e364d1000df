//! What is wrong with a text that somebody wrote: a template, a pattern, a duration.

use std::fmt;
use std::ops::Range;

/// What is wrong with a text, and where in it. `Display` is the first alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    /// What to write in its place.
    pub help: Option<String>,
    /// Where in the text, in bytes.
    pub within: Option<Range<usize>>,
}

impl Fault {
    /// A fault with what to do about it.
    pub fn with_help(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { message: message.into(), help: help.into(), within: None }
    }

    /// A fault at a place in the text.
    pub fn within(message: impl Into<String>, within: Option<Range<usize>>) -> Self {
        Self { message: message.into(), help: None, within }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { message, ..Self::default() }
    }
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

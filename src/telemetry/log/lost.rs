//! Lines that nobody will read, and what is written in their place.

/// Lines that nobody will read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub lines: u64,
    /// Since when, unix milliseconds.
    pub since_ms: u64,
    pub why: String,
}

impl Lost {
    /// None yet, from now on.
    pub fn begin(why: impl Into<String>) -> Self {
        Self { lines: 0, since_ms: crate::time::wall_ms(), why: why.into() }
    }

    /// A line that says so.
    pub fn in_words(&self) -> String {
        let since = crate::time::rfc3339(self.since_ms);
        let why = &self.why;
        match self.lines {
            1 => format!("1 log line was lost since {since}: {why}"),
            lines => format!("{lines} log lines were lost since {since}: {why}"),
        }
    }
}

//! What is seen at one moment, by whoever looks.

/// Everything that can be wrong, as it is.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub destinations: Vec<ObservedDestination>,
    /// Those that the config does not name any more and that have something still; `None` where that is not known.
    pub removed: Option<Vec<Removed>>,
    pub sources: Vec<ObservedSource>,
    /// Why the last reload failed, if it did, in a line.
    pub reload_error: Option<String>,
    /// Why the store has no room, if it has none.
    pub full: Option<String>,
    pub certificates: Vec<Certificate>,
    /// By the wall clock, unix milliseconds: what certificates go by.
    pub wall_ms: u64,
}

/// How a destination stands.
#[derive(Clone, Debug, Default)]
pub struct ObservedDestination {
    pub name: String,
    pub failing: Failing,
    pub paused: Option<Paused>,
    /// Deliveries that wait, without those that are to be given a lane.
    pub backlog: u64,
    /// How old the oldest of them is.
    pub oldest_age_ms: Option<u64>,
    /// Those, where there are any.
    pub unplaced: Option<Unplaced>,
    /// What is known of its dead letters, if anything is.
    pub dead: Option<Dead>,
}

/// What is to be given its lane. Any of it may be to lie in a window, and wait for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unplaced {
    pub deliveries: u64,
    /// When the oldest came, unix milliseconds, if that can be read; and how old it is.
    pub oldest_ms: Option<u64>,
    pub oldest_age_ms: Option<u64>,
}

/// Dead letters of one destination, at one moment: what is counted is so before it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    pub kept: u64,
    /// Deliveries that became dead letters since the process began, as far as they were counted.
    pub died: u64,
}

/// A destination that was removed from the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    pub name: String,
    /// Dead letters that are kept of it.
    pub dead: u64,
}

/// Whether attempts fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Failing {
    #[default]
    No,
    /// What the last one came to, without a word of the other side.
    Yes(String),
    /// None has arrived since the process began, and none has failed either.
    Unknown,
}

/// A destination that is held until somebody acts.
#[derive(Clone, Debug)]
pub struct Paused {
    /// The relay has paused it. A person who has knows.
    pub by_relay: bool,
    pub reason: String,
}

/// What is heard from a source.
#[derive(Clone, Debug, Default)]
pub struct ObservedSource {
    pub name: String,
    /// How long it is silent at most, if it says so.
    pub expect_every_ms: Option<u64>,
    /// Events that were accepted since the process began.
    pub accepted: u64,
    /// Requests that were refused for a wrong token since the process began.
    pub refused: u64,
    /// Its events are refused until somebody acts: its silence is our own.
    pub is_refusing: bool,
}

/// A certificate that the relay shows.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The key that names its file.
    pub of: &'static str,
    /// When it ends, unix milliseconds.
    pub ends_ms: u64,
}

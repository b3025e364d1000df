//! What can be wrong.

use serde::{Deserialize, Serialize};

/// What is wrong. The worst first: in this order it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The store has no room, and events are refused.
    StoreFull,
    /// Requests to a source are refused for a wrong token.
    SourceRefused,
    /// A source is silent for longer than it says.
    SourceSilent,
    /// A destination is held until somebody acts.
    DestinationPaused,
    /// Attempts fail, and are made again.
    DestinationFailing,
    /// Deliveries became dead letters.
    DeadLetters,
    /// The oldest delivery waits for too long.
    BacklogAge,
    /// Too many deliveries wait.
    BacklogSize,
    /// The config file is not good, and the one before stays in force.
    ReloadFailed,
    /// A certificate ends soon, or has ended.
    CertificateEnds,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::StoreFull,
        Kind::SourceRefused,
        Kind::SourceSilent,
        Kind::DestinationPaused,
        Kind::DestinationFailing,
        Kind::DeadLetters,
        Kind::BacklogAge,
        Kind::BacklogSize,
        Kind::ReloadFailed,
        Kind::CertificateEnds,
    ];

    /// The word for programs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::StoreFull => "store_full",
            Kind::SourceRefused => "source_refused",
            Kind::SourceSilent => "source_silent",
            Kind::DestinationPaused => "destination_paused",
            Kind::DestinationFailing => "destination_failing",
            Kind::DeadLetters => "dead_letters",
            Kind::BacklogAge => "backlog_age",
            Kind::BacklogSize => "backlog_size",
            Kind::ReloadFailed => "reload_failed",
            Kind::CertificateEnds => "certificate_ends",
        }
    }

    /// Whether it is about a destination.
    pub fn is_of_destination(self) -> bool {
        matches!(
            self,
            Kind::DestinationPaused
                | Kind::DestinationFailing
                | Kind::DeadLetters
                | Kind::BacklogAge
                | Kind::BacklogSize
        )
    }

    pub fn is_of_source(self) -> bool {
        matches!(self, Kind::SourceRefused | Kind::SourceSilent)
    }
}

/// A problem: what is wrong, and of what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub kind: Kind,
    /// The destination, the source or the listener; empty where there is but one.
    pub about: String,
}

impl Key {
    pub fn new(kind: Kind, about: impl Into<String>) -> Self {
        Self { kind, about: about.into() }
    }

    /// What a [`Look`] says of it, with another name for its destination.
    pub fn renamed(&self, said: &str, to: &str) -> String {
        let from = &self.about;
        match self.kind {
            Kind::DestinationPaused | Kind::DestinationFailing => match said.strip_prefix(from.as_str()) {
                Some(rest) => format!("{to}{rest}"),
                None => said.to_owned(),
            },
            _ => said.replacen(&format!(" to {from} "), &format!(" to {to} "), 1),
        }
    }

    /// The destination that it is about.
    pub fn destination(&self) -> Option<&str> {
        self.kind.is_of_destination().then_some(self.about.as_str())
    }
}

/// A problem as it is seen at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub key: Key,
    /// It is so; otherwise that is not known, and whatever was known holds.
    pub is_certain: bool,
    /// It is told at once, and not only when it has lasted.
    pub at_once: bool,
    /// It goes on although the config does not name what it is about, and its end is its own.
    pub is_of_removed: bool,
    /// What is wrong, in a sentence without its end. Nothing in it is of a person.
    pub text: String,
    /// What is said when it is over.
    pub over: String,
}

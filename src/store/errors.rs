//! Why something was not done.

/// Why an event could not be accepted. It was not acknowledged, and may exist all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk.
    #[error("the store has no room: {0}")]
    Full(String),
    /// The store does not answer now.
    #[error("{0}")]
    Unavailable(String),
    /// The store is broken until a restart.
    #[error("the store has failed: {0}")]
    Poisoned(String),
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
    /// Two other configs have come into force since it was let in, and what its own named may be gone.
    #[error("the config has changed since: send it again")]
    Outdated,
    /// It can never be written down in one piece.
    #[error("this is too large for the store: {0}")]
    TooLarge(String),
}

/// Why a config cannot be used: the store has no room for its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the names of rules, destinations and sources since the oldest event of the history take {bytes} bytes with this config, and {bytes_max} are the most: use names that stay the same from one config to the next, or keep a shorter history"
)]
pub struct NamesFull {
    /// What they would take.
    pub bytes: usize,
    /// What they may take.
    pub bytes_max: usize,
}

/// Why something that was asked of the store was not done, or not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be done now; perhaps later.
    #[error("{0}")]
    Unavailable(String),
    /// It is not there.
    #[error("no such event in the store")]
    Missing,
    /// Its body was erased.
    #[error("this event was erased")]
    Erased,
    /// It is not what came any more, so it goes out to nobody.
    #[error("values of this event were redacted, and what goes out must be what came")]
    Redacted,
    /// It is there and its bytes are not what was written.
    #[error("the event's bytes on the disk are damaged ({0})")]
    Damaged(String),
    /// A cursor is another list's, or what is asked for is too much at once.
    #[error("{0}")]
    Conflict(String),
    /// The id is that of something else, which was asked for before.
    #[error(
        "the id {} is that of something else: {by}. Nothing was done now: give another id, or none, for what you ask", uuid::Uuid::from_u128(*.id)
    )]
    IdTaken {
        id: u128,
        /// What it was given for.
        by: String,
    },
    /// There is no room for a config's names.
    #[error(transparent)]
    NamesFull(#[from] NamesFull),
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
}

impl StoreError {
    /// It is known, and lost if the process ends now.
    pub(crate) fn written_later() -> Self {
        Self::Unavailable("the index cannot be written now, and it is written later".to_owned())
    }
}

impl From<AppendError> for StoreError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Closed => Self::Closed,
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// Why no copy could be made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It would lie among the store's own files.
    #[error("`{0}` is inside the data directory, and a copy there would go with it: name a directory elsewhere")]
    Inside(String),
    /// Where it leads is not known before some of it is made.
    #[error("`{0}` goes through `..` below a directory that is not there: write the path without it")]
    Unclear(String),
    /// The directory holds something.
    #[error("`{0}` is not empty: name a new directory")]
    NotEmpty(String),
    /// It cannot be made, or not be looked into.
    #[error("`{path}` cannot be made a directory for the copy: name another one")]
    Unusable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// Reading or writing failed.
    #[error("the copy could not be written to `{path}`")]
    Io {
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// The index could not be copied.
    #[error("the index could not be copied: {0}")]
    Index(String),
}

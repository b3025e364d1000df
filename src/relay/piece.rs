//! How much of the history is looked at for one answer: a walk over it and a count of it go piece by piece, and each piece says where the
//! next begins.

use std::time::Duration;

/// Events that are looked at between two looks at whether a piece is enough, and whether anybody still waits for it.
pub const AT_ONCE: usize = 1024;

/// Where a piece ends.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events that are looked at.
    pub events: usize,
    /// Bytes of their bodies, and one page more.
    pub bytes: usize,
    /// How long it takes, and one step more.
    pub time: Duration,
    /// Bytes of the journal that are read in a step to find out how deliveries ended.
    pub searched_bytes: u64,
}

/// Those of a piece that somebody waits for. A filter that finds little gives an emptier answer and where to go on, within a time that
/// people take for at once; the journal is searched for half a second from a disk of 500 MB/s.
pub const PIECE: Bounds =
    Bounds { events: 50_000, bytes: 64 << 20, time: Duration::from_millis(300), searched_bytes: 256 << 20 };

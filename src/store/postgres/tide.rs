//! How far a stream has come: nothing new of it comes at or below a number, and nothing to a segment before its own. Each relay says so of its
//! stream, also where it has nothing to take in; of streams that nobody has, who keeps house does.
//!
//! # Why it holds
//!
//! `stream.n_from` is raised to the number that was drawn last by anybody, `L`, in a transaction that has the lease of the stream locked, and
//! between two appends: those before have an outcome that is known, and none has begun.
//!
//! * What this relay appends to it later is drawn later, so it is above `L`: a sequence goes up. After a failover that lost commits it may be
//!   behind `L`; but who draws on a new connection raises it before, by the time, above all that was ever drawn ([`numbers`](super::numbers)).
//! * What another relay appends to it is drawn after that one took the lease, which waits for this transaction.
//! * What was appended to it before is committed, or never will be: the outcome is known here, and who had the lease before was waited for
//!   by whoever took it, since an append locks it.
//!
//! So whoever sees the row as this leaves it sees, in the same snapshot, all events of the stream that will ever be at or below `L`. The
//! same holds for the segment: whoever sees that it is `k` sees all that the stream will ever have in those before `k`.
//!
//! Where an append was said again and then failed for good, the first try may still be on its way. Nothing is said any more by this owner of
//! the stream then.

use std::time::Duration;

use super::link::Link;
use super::running::{Postgres, Stream};
use super::transaction::{Snapshot, Step};
use super::trouble::Trouble;
use crate::time::Instant;

/// Whether a stream is still its relay's: it stays so until the transaction ends.
pub const FENCE: &str = "SELECT 1 FROM lease WHERE duty = $1 AND epoch = $2 AND incarnation = $3 FOR SHARE";
/// The segment that is written to, which stays open until the transaction ends.
pub const LOCK_NEWEST: &str = "SELECT k FROM segment WHERE state = 'open' AND k > 0 ORDER BY k DESC LIMIT 1 FOR SHARE";

/// So often it is said.
const EACH: Duration = Duration::from_secs(1);

/// When this relay's stream says it next, and where it is.
pub struct Tide {
    next: Instant,
    /// A stream of which an append may be under way that nobody waits for.
    in_doubt: Option<Stream>,
    /// A stream of which it was said where it goes on, and no answer came: it may be there, or not.
    unsure: Option<Stream>,
    /// Where a stream is that has gone on since it was taken.
    at: Option<(Stream, i32)>,
}

impl Default for Tide {
    fn default() -> Self {
        Self { next: Instant::now(), in_doubt: None, unsure: None, at: None }
    }
}

impl Tide {
    /// When it is to be said next.
    pub fn next(&self) -> Instant {
        self.next
    }

    pub fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// It is said again after a while.
    pub fn put_off(&mut self) {
        self.next = Instant::now() + EACH;
    }

    /// It is not known what comes of an append that is not said again.
    pub fn doubt(&mut self, stream: Stream) {
        self.in_doubt = Some(stream);
    }

    pub fn doubts(&self, stream: Stream) -> bool {
        self.in_doubt == Some(stream)
    }

    /// The segment that a stream appends to.
    pub fn segment_of(&self, stream: Stream) -> i32 {
        self.at.filter(|(of, _)| *of == stream).map_or(stream.segment, |(_, segment)| segment)
    }

    /// It is being said where a stream goes on: until the answer is there, nothing is appended to it. The segment that it was in may be closed by
    /// whoever sees that it is there no more.
    pub fn says(&mut self, stream: Stream) {
        self.unsure = Some(stream);
    }

    pub fn is_unsure(&self, stream: Stream) -> bool {
        self.unsure == Some(stream)
    }

    /// What [`tell`](Self::tell) has said is so.
    pub fn is_at(&mut self, stream: Stream, segment: Option<i32>) {
        self.unsure = None;
        if let Some(segment) = segment {
            self.at = Some((stream, segment));
        }
    }

    /// Says how far a stream has come. Returns the segment that it goes on in; nothing where it stays as it was.
    pub async fn tell(postgres: &Postgres, link: &Link, stream: Stream) -> Result<Option<i32>, Trouble> {
        let newest = postgres.segments().last().copied().unwrap_or(stream.segment);
        let Stream { slot, epoch, me, .. } = stream;
        let duty = format!("stream/{slot}");
        let steps = [
            // If this is lost, it was true all the same.
            Step { sql: "SET LOCAL synchronous_commit = off", values: &[] },
            Step { sql: FENCE, values: &[&duty, &epoch, &me] },
            Step {
                sql: "UPDATE stream SET n_from = greatest(n_from, (SELECT last_value FROM event_number)),
                    segment = greatest(segment, $2) WHERE slot = $1 RETURNING n_from, segment",
                values: &[&slot, &newest],
            },
        ];
        let told = link.transaction(Snapshot::Each, &steps, |answers| !answers[1].is_empty()).await?;
        let Some(row) = told.answers[2].first().filter(|_| told.is_committed) else { return Ok(None) };
        postgres.following.own_is_at(slot, row.get(0));
        Ok(Some(row.get(1)))
    }
}

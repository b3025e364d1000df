//! What becomes of a destination of which something cannot be written: PostgreSQL refuses a row, and would refuse it again.

use std::time::Duration;

use super::ownership::Owned;
use super::running::Postgres;
use crate::store::NameId;
use crate::store::locks::lock;
use crate::time::Instant;

/// A destination rests for so long of which something could not be written, before its queue is read again; twice as long each time,
const UNWRITTEN_REST: Duration = Duration::from_secs(1);
/// as often as this: about a minute,
const UNWRITTEN_DOUBLED: u32 = 6;
/// and begins anew where that is so long ago.
const UNWRITTEN_FORGOTTEN: Duration = Duration::from_secs(10 * 60);

impl Postgres {
    /// What was said of a destination cannot be written: its queue is read again, after a pause that grows each time.
    pub fn cannot_write(&self, id: NameId, owned: &Owned) {
        let mut unwritten = lock(&self.unwritten);
        // One that could be written for a while begins anew.
        let (times, last) = unwritten.entry(id).or_insert((0, Instant::now()));
        if last.elapsed() > UNWRITTEN_FORGOTTEN {
            *times = 0;
        }
        owned.rest(UNWRITTEN_REST * 2_u32.pow((*times).min(UNWRITTEN_DOUBLED)));
        (*times, *last) = (*times + 1, Instant::now());
        drop(unwritten);
        {
            let destination = self.destination(id);
            let _queue = lock(&destination.queue);
            owned.lost.cancel();
        }
        self.outbox.forget(id);
    }
}

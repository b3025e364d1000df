//! What a full disk means: events are refused, the rest goes on where it can, and room is looked for.

use std::io;
use std::time::Duration;

use super::Writer;
use super::end::refuse;
use crate::store::journal::disk::is_full;
use crate::store::journal::inbox::Reply;
use crate::store::{AppendError, Health, NewEvent};
use crate::time::Instant;

/// While there is no room, it is looked for this often.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_millis(500);

/// Why something was not written.
pub(super) enum Failure {
    /// No room. Nothing of it is on the disk.
    Full(io::Error),
    /// Nothing is known any more.
    Broken(io::Error),
}

impl Failure {
    pub(super) fn of_write(error: io::Error) -> Self {
        if is_full(&error) { Failure::Full(error) } else { Failure::Broken(error) }
    }
}

impl Writer {
    /// Tries whether a new segment can be made: behind a balancer that asks for readiness, no event would ever come and try.
    pub(super) fn look_for_room(&mut self) -> io::Result<()> {
        if let Some(why) = self.journal.refusal() {
            self.tell_full(&why);
            return Ok(());
        }
        match self.roll_for_events(0) {
            Ok(()) => {
                self.tell_good();
                Ok(())
            }
            Err(Failure::Full(error)) => {
                self.tell_full(&error.to_string());
                Ok(())
            }
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    pub(super) fn tell_full(&mut self, why: &str) {
        self.full_until = Some(Instant::now() + LOOK_FOR_ROOM_EVERY);
        self.journal.set_health(Health::Full(why.to_owned()));
    }

    pub(super) fn tell_good(&mut self) {
        self.full_until = None;
        self.journal.set_health(Health::Good);
    }

    pub(super) fn refuse_full(&mut self, events: Vec<(NewEvent, Reply)>, why: &str) {
        self.tell_full(why);
        refuse(events, &AppendError::Full(why.to_owned()));
    }

    /// What else is in the batch may still fit where no event goes.
    pub(super) fn write_without_events(&mut self) -> io::Result<()> {
        match self.write_group(&[], &[]) {
            Ok(()) => Ok(()),
            Err(Failure::Broken(error)) => Err(error),
            Err(Failure::Full(error)) => {
                self.tell_full(&error.to_string());
                Ok(())
            }
        }
    }
}

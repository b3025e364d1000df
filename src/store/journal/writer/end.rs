//! The end after a failed sync: everybody is told.

use std::io;

use super::Writer;
use crate::store::journal::inbox::{Message, Reply};
use crate::store::{AppendError, Health, NewEvent};

impl Writer {
    /// Refuses everything from now on.
    pub(super) fn poison(mut self, error: &io::Error) {
        let why = error.to_string();
        self.journal.set_health(Health::Poisoned(why.clone()));
        // Who waits for something else in it sees its other end go.
        let batch = std::mem::take(&mut self.batch);
        let is_closing = batch.closing.is_some();
        refuse(batch.events, &AppendError::Poisoned(why.clone()));
        for (done, _) in batch.waiting {
            let _ = done.send(Err(AppendError::Poisoned(why.clone())));
        }
        drop((batch.barriers, batch.relocating, batch.retiring, batch.sealing, batch.closing));
        if is_closing {
            return;
        }
        loop {
            self.receiver.wait(None);
            let Some(message) = self.receiver.take() else { continue };
            match message {
                Message::Append(event, reply) => refuse(vec![(event, reply)], &AppendError::Poisoned(why.clone())),
                Message::Command(_, done)
                | Message::Replay(_, done)
                | Message::Durable(done)
                | Message::Digests(_, Some(done)) => {
                    let _ = done.send(Err(AppendError::Poisoned(why.clone())));
                }
                Message::Close(_) | Message::Abandon => return,
                // Who waits for one of these sees its other end go.
                Message::Relocate(_) | Message::Retire(_) | Message::Seal(_) | Message::Barrier(_) => {}
                Message::Outcomes(_) | Message::Name(..) | Message::Control(..) | Message::LookForRoom => {}
                Message::Selections(_) | Message::Windows(_) | Message::Digests(_, None) => {}
                Message::Fail(_) => {}
            }
        }
    }
}

pub(super) fn refuse(events: Vec<(NewEvent, Reply)>, error: &AppendError) {
    for (_, reply) in events {
        let _ = reply.send(Err(error.clone()));
    }
}

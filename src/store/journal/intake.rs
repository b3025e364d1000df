//! The way in.

use tokio::sync::{oneshot, watch};

use super::inbox::Message;
use super::*;
use crate::event::EventId;
use crate::store::{AppendError, Health, Intake, NewEvent, Sources};

impl Intake for JournalStore {
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>> {
        let (reply, answer) = oneshot::channel();
        if let Some(why) = never_fits(&event) {
            let _ = reply.send(Err(AppendError::TooLarge(why)));
            return answer;
        }
        if let Err(refused) = self.journal.sender.send(Message::Append(event, reply))
            && let Message::Append(_, reply) = *refused
        {
            let _ = reply.send(Err(AppendError::Closed));
        }
        answer
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.journal.health.subscribe()
    }

    fn sources(&self) -> watch::Receiver<Sources> {
        self.journal.sources.subscribe()
    }
}

/// Why an event can never be written down in one piece, if so.
fn never_fits(event: &NewEvent) -> Option<String> {
    let rules = event.rules.len();
    let destinations = event.deliveries.len();
    let bytes = event.body.len();
    if format::event_head_bytes(rules, destinations) > format::RECORD_MAX {
        return Some(format!(
            "it matches {rules} rules and goes to {destinations} destinations: use fewer rules or destinations"
        ));
    }
    (bytes > format::BODY_MAX).then(|| format!("its body has {bytes} bytes"))
}

//! Events that somebody asked for and that cannot be read. Whoever asks may not be the one who can look after the disk, so the log tells
//! of them: the first at once, those that follow summed up, as a damaged event may be asked for again and again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::EventId;
use crate::telemetry::trouble::{News, Trouble};
use crate::time::Instant;

const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What the log says of them.
#[derive(Debug)]
pub struct Unreadable(Mutex<Told>);

#[derive(Debug)]
struct Told {
    trouble: Trouble,
    /// The last one, and why.
    last: Option<(EventId, String)>,
}

impl Default for Unreadable {
    fn default() -> Self {
        Self(Mutex::new(Told { trouble: Trouble::summed_up(TOLD_EVERY), last: None }))
    }
}

impl Unreadable {
    /// One was asked for.
    pub fn add(&self, event: EventId, why: String) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.last = Some((event, why));
        let news = told.trouble.happens(Instant::now());
        told.tell(news);
    }

    /// Time has passed: tells what is due.
    pub fn look(&self) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = told.trouble.look(Instant::now());
        told.tell(news);
    }
}

impl Told {
    fn tell(&self, news: Option<News>) {
        if let (Some(News { times, .. }), Some((event, why))) = (news, &self.last) {
            tracing::error!(count = times, last_event = %event, why, "an event that was asked for cannot be read: see `vero-relay store verify`");
        }
    }
}

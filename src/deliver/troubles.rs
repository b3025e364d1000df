//! What the log says of one destination's troubles: each once when it begins, a quarter of an hour later with a count, and so on, and
//! once when it ends. A thousand rejects a second are not a thousand lines.

use std::time::Duration;

use crate::destination::Reason;
use crate::telemetry::trouble::{News, TOLD_EVERY, Trouble};
use crate::time::Instant;

/// One destination's troubles. They outlive its worker.
#[derive(Debug)]
pub struct Troubles {
    /// Attempts fail and are made again.
    failing: Trouble,
    /// What the last failure was.
    why: String,
    is_config_slip: bool,
    /// Deliveries become dead letters.
    dying: Trouble,
    why_dead: String,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            failing: Trouble::lasting(TOLD_EVERY),
            why: String::new(),
            is_config_slip: false,
            dying: Trouble::summed_up(TOLD_EVERY),
            why_dead: String::new(),
        }
    }
}

impl Troubles {
    /// An attempt has failed, and will be made again.
    pub fn failed(&mut self, name: &str, reason: &Reason) {
        self.why.clone_from(&reason.brief);
        self.is_config_slip = reason.is_config_slip;
        let news = self.failing.happens(Instant::now());
        self.tell_failing(name, news);
    }

    /// It fails so often that it gets one attempt at a time.
    pub fn gets_worse(&mut self, name: &str) {
        let news = self.failing.gets_worse(Instant::now());
        self.tell_failing(name, news);
    }

    fn tell_failing(&self, name: &str, news: Option<News>) {
        let (Some(News { is_first, times, lasted }), reason) = (news, &*self.why) else { return };
        let for_s = lasted.as_secs();
        if self.is_config_slip {
            tracing::error!(destination = %name, reason, failed_attempts = times, for_s, "attempts fail: most likely the URL or a credential in the config is wrong");
        } else if is_first {
            tracing::warn!(destination = %name, reason, failed_attempts = times, "attempts fail, and will be made again");
        } else {
            tracing::warn!(destination = %name, reason, failed_attempts = times, for_s, "attempts still fail");
        }
    }

    /// A delivery has arrived.
    pub fn delivered(&mut self, name: &str) {
        if let Some(ended) = self.failing.ends(Instant::now()) {
            let after_s = ended.lasted.as_secs();
            tracing::info!(destination = %name, failed_attempts = ended.times, after_s, "delivering again");
        }
    }

    /// Whether it fails.
    pub fn is_failing(&self) -> bool {
        self.failing.has_begun()
    }

    /// Why it fails, where it does and has been tried. It holds nothing that the other side said.
    pub fn why_failing(&self) -> Option<&str> {
        Some(&*self.why).filter(|why| self.is_failing() && !why.is_empty())
    }

    /// A delivery has become a dead letter.
    pub fn died(&mut self, name: &str, reason: Option<&Reason>) {
        self.why_dead = reason.map(|reason| reason.brief.clone()).unwrap_or_default();
        let news = self.dying.happens(Instant::now());
        self.tell_dying(name, news);
    }

    fn tell_dying(&self, name: &str, news: Option<News>) {
        match news {
            Some(News { times: 1, .. }) => tracing::warn!(destination = %name, reason = &*self.why_dead, "dead letter"),
            Some(News { times, .. }) => {
                tracing::warn!(destination = %name, dead_letters = times, last_reason = &*self.why_dead, "more dead letters");
            }
            None => {}
        }
    }

    /// Time has passed: tells what is due.
    pub fn look(&mut self, name: &str) {
        let now = Instant::now();
        let failing = self.failing.look(now);
        let dying = self.dying.look(now);
        self.tell_failing(name, failing);
        self.tell_dying(name, dying);
    }
}

/// How often [`Troubles::look`] should be asked.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

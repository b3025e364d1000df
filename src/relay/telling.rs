//! Telling an operator by way of a destination: at once and by no queue, by the destination's own code, its rate limit and its timeout; and
//! what is wrong now, as those see it who ask.
//!
//! Nothing that tells waits behind what it tells of. Who decides what is told is `daemon/notify.rs`.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;

use super::Relay;
use crate::deliver::{HOLD_MAX, KeptTurn, RateLimit, Section, Turn};
use crate::destination::{Notice, Outcome};
use crate::notify::{APART, Kind, Page, Stand};
use crate::time::Instant;

/// A turn of the rate limit that is further away is not waited for: another can be told sooner.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// Whoever keeps a turn takes it when it comes, but that there is a while between two messages, and others may be told just then.
const TAKEN_WITHIN: Duration = Duration::from_secs(30).saturating_add(APART);
/// Attempts to tell one destination of one message, and the waits between them: what was an accident is over by then, and somebody else waits.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// By what the workers go, by the destination's name.
#[derive(Default)]
pub struct Sections(ArcSwap<HashMap<String, Arc<Section>>>);

impl Sections {
    /// Others are in force now.
    pub(crate) fn set(&self, sections: HashMap<String, Arc<Section>>) {
        self.0.store(Arc::new(sections));
    }

    pub fn of(&self, name: &str) -> Option<Arc<Section>> {
        self.0.load().get(name).cloned()
    }
}

/// Something that is wrong, or was until just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownProblem {
    pub kind: Kind,
    pub about: String,
    pub text: String,
    pub since_ms: u64,
    /// Since when it is not seen any more: its end is told when that has lasted.
    pub gone_ms: Option<u64>,
    /// When somebody was told last, and who.
    pub told: Option<(u64, String)>,
    /// Where the page shows it.
    pub page: Option<String>,
}

/// What is wrong now. Nothing where nobody looks.
#[derive(Default)]
pub struct Problems(ArcSwap<Vec<KnownProblem>>);

impl Problems {
    /// Takes down what is wrong now, the worst first.
    pub(crate) fn set(&self, problems: Vec<KnownProblem>) {
        if **self.0.load() != problems {
            self.0.store(Arc::new(problems));
        }
    }

    pub fn list(&self) -> Arc<Vec<KnownProblem>> {
        self.0.load_full()
    }
}

/// What came of telling somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Yes,
    /// It may be heard another time; why not now, without a word of the other side.
    NotNow(String),
    /// Trying again cannot help.
    Never(String),
}

impl Relay {
    /// The operator's page, where the config says its address.
    pub fn page(&self) -> Option<Page> {
        self.generation().config.admin.url.as_ref().map(|url| Page::at(url.as_str()))
    }

    /// How many problems of a notice, from the first on, somebody is told in one message: one at least.
    pub fn holds(&self, name: &str, notice: &Notice) -> usize {
        let section = self.sections.of(name);
        let teller = section.as_ref().and_then(|section| section.config.destination.teller().ok());
        teller.map_or(notice.problems.len(), |teller| teller.holds(notice)).max(1)
    }

    /// Tells somebody by way of a destination, and again where that may help. Deliveries have the turn after that.
    pub async fn tell(&self, name: &str, notice: &Notice) -> Result<(), String> {
        let told = self.tell_again_and_again(name, notice).await;
        if let Some(section) = self.sections.of(name) {
            section.rate_limit.leave_next();
        }
        told
    }

    async fn tell_again_and_again(&self, name: &str, notice: &Notice) -> Result<(), String> {
        for wait in WAITS.into_iter().map(Some).chain([None]) {
            match (self.tell_once(name, notice).await, wait) {
                (Heard::Yes, _) => return Ok(()),
                (Heard::Never(why), _) | (Heard::NotNow(why), None) => return Err(why),
                (Heard::NotNow(_), Some(wait)) => tokio::time::sleep(wait).await,
            }
        }
        unreachable!("the last attempt has no wait behind it")
    }

    /// Makes one attempt.
    pub async fn tell_once(&self, name: &str, notice: &Notice) -> Heard {
        let heard = self.attempt_to_tell(name, notice).await;
        self.metrics.notification(name, matches!(heard, Heard::Yes));
        heard
    }

    async fn attempt_to_tell(&self, name: &str, notice: &Notice) -> Heard {
        let Some(section) = self.sections.of(name) else {
            return Heard::Never("the config names no such destination any more".to_owned());
        };
        let teller = match section.config.destination.teller() {
            Ok(teller) => teller,
            Err(why) => return Heard::Never(why.to_owned()),
        };
        if !has_turn(&section.rate_limit).await {
            return Heard::Never("it is held as its server asks, or its rate has no turn for it".to_owned());
        }
        let timeout = section.config.policy.timeout;
        // The call itself may panic as well as what it returns.
        let attempt = AssertUnwindSafe(async { teller.tell(notice).await }).catch_unwind();
        let outcome = match tokio::time::timeout(timeout, attempt).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::local("a bug: the attempt panicked; see the log"),
            Err(_) => Outcome::retry(format!("no answer within {timeout:?}")),
        };
        match outcome {
            Outcome::Delivered | Outcome::DeliveredInPart { .. } => Heard::Yes,
            Outcome::Retry { reason, after, holds_all } => {
                if let (Some(after), true) = (after, holds_all) {
                    section.rate_limit.hold(Instant::now() + after.min(HOLD_MAX));
                }
                Heard::NotNow(reason.brief)
            }
            Outcome::Reject { reason }
            | Outcome::Apart { reason, .. }
            | Outcome::Skipped { reason }
            | Outcome::Pause { reason } => Heard::Never(reason.brief),
        }
    }
}

/// Takes the next turn that is not left to others, unless it is too far away. Nothing else takes it before.
async fn has_turn(rate_limit: &RateLimit) -> bool {
    let started = Instant::now();
    while let Err(later) = rate_limit.take(Instant::now(), Turn::Notice) {
        if later - started > TURN_WITHIN {
            return false;
        }
        rate_limit.await_for_notice(later);
        tokio::time::sleep_until(later).await;
    }
    true
}

/// Whether somebody can be told, as far as the rate limit goes.
pub fn stand_of(rate_limit: &RateLimit, now: Instant) -> Stand {
    match rate_limit.closed_until(now, Turn::Notice) {
        Some(later) if later - now > TURN_WITHIN => match rate_limit.held_until(now) {
            Some(_) => Stand::Out,
            None => Stand::LacksTurn,
        },
        Some(_) | None => Stand::Ready,
    }
}

/// The turns that are kept for what nobody could be told of. Dropping this gives them back.
#[derive(Debug, Default)]
pub struct KeptTurns(Vec<KeptTurn>);

impl KeptTurns {
    /// Gives back all but those of some limits.
    pub fn give_back_all_but<'a>(&mut self, limits: impl Iterator<Item = &'a Arc<RateLimit>> + Clone) {
        self.0.retain(|kept| limits.clone().any(|limit| kept.is_of(limit)));
    }

    pub fn has(&self, limit: &Arc<RateLimit>) -> bool {
        self.0.iter().any(|kept| kept.is_of(limit))
    }

    /// Keeps the next turn of a limit, where nothing else is in the way.
    pub fn keep(&mut self, limit: &Arc<RateLimit>, now: Instant) {
        let Some(later) = limit.closed_until(now, Turn::Notice).filter(|_| stand_of(limit, now) == Stand::LacksTurn)
        else {
            return;
        };
        match self.0.iter().find(|kept| kept.is_of(limit)) {
            Some(kept) => kept.renew(later + TAKEN_WITHIN),
            None => self.0.push(KeptTurn::of(limit, later + TAKEN_WITHIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that is there whenever a turn is.
    fn backlog(limit: &Arc<RateLimit>, turn: Turn) -> tokio::task::JoinHandle<()> {
        let limit = limit.clone();
        tokio::spawn(async move {
            loop {
                match limit.take(Instant::now(), turn) {
                    Ok(()) => tokio::task::yield_now().await,
                    Err(later) => {
                        if turn == Turn::Urgent {
                            limit.want(later);
                        }
                        tokio::time::sleep_until(later).await;
                    }
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_tells_is_not_kept_from_a_turn_by_what_waits() {
        for turn in [Turn::Usual, Turn::Urgent] {
            let interval = Duration::from_secs(1);
            let limit = Arc::new(RateLimit::new(Some(interval)));
            let backlog = backlog(&limit, turn);
            tokio::task::yield_now().await;
            for (turns, is_over) in [(1, false), (1, true), (2, true), (2, false), (1, true)] {
                let started = Instant::now();
                assert!(has_turn(&limit).await);
                assert_eq!(started.elapsed(), turns * interval, "no two follow each other, but attempts at one");
                if is_over {
                    limit.leave_next();
                }
            }
            backlog.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_rate_is_slow_a_notice_has_the_next_turn() {
        for interval in [31, 60, 300, 3600].map(Duration::from_secs) {
            for turn in [Turn::Usual, Turn::Urgent] {
                let limit = Arc::new(RateLimit::new(Some(interval)));
                let backlog = backlog(&limit, turn);
                tokio::task::yield_now().await;
                let started = Instant::now();
                let mut kept = KeptTurns::default();
                assert!(!has_turn(&limit).await);
                kept.keep(&limit, Instant::now());
                // Its next look, between two messages and after others were told.
                tokio::time::sleep(interval + TAKEN_WITHIN - Duration::from_millis(1)).await;
                assert_eq!(stand_of(&limit, Instant::now()), Stand::Ready);
                assert!(has_turn(&limit).await);
                assert!(started.elapsed() < interval + TAKEN_WITHIN, "it waits for no other turn");
                backlog.abort();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_turn_is_kept_where_it_is_open_or_near_or_the_server_asks_for_quiet() {
        let minute = Duration::from_secs(60);
        for interval in [TURN_WITHIN, TURN_WITHIN + Duration::from_millis(1)] {
            let limit = Arc::new(RateLimit::new(Some(interval)));
            let mut kept = KeptTurns::default();
            kept.keep(&limit, Instant::now());
            assert_eq!(limit.take(Instant::now(), Turn::Usual), Ok(()), "there is one");
            kept.keep(&limit, Instant::now());
            let is_kept = limit.take(Instant::now() + interval, Turn::Usual).is_err();
            assert_eq!((is_kept, kept.has(&limit)), (interval > TURN_WITHIN, is_kept));
        }
        let limit = Arc::new(RateLimit::new(Some(minute)));
        assert_eq!(limit.take(Instant::now(), Turn::Usual), Ok(()));
        limit.hold(Instant::now() + minute);
        KeptTurns::default().keep(&limit, Instant::now());
        assert_eq!(stand_of(&limit, Instant::now()), Stand::Out);
        assert_eq!(limit.take(Instant::now() + minute, Turn::Usual), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_turn_is_given_back_once_for_all_who_share_its_limit() {
        let limit = || {
            let limit = Arc::new(RateLimit::new(Some(Duration::from_secs(60))));
            assert_eq!(limit.take(Instant::now(), Turn::Usual), Ok(()));
            limit
        };
        let [shared, other] = [limit(), limit()];
        let mut kept = KeptTurns::default();
        for limit in [&shared, &shared, &other] {
            kept.keep(limit, Instant::now());
        }
        let at = Instant::now() + Duration::from_secs(60);
        kept.give_back_all_but([&shared].into_iter());
        assert_eq!((kept.has(&shared), kept.has(&other)), (true, false));
        assert_eq!(other.take(at, Turn::Usual), Ok(()));
        assert_eq!(shared.take(at, Turn::Usual), Err(at + TAKEN_WITHIN));
        drop(kept);
        assert_eq!(shared.take(at, Turn::Usual), Ok(()), "nobody keeps it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_too_far_away_is_not_waited_for_and_not_kept() {
        let limit = RateLimit::new(None);
        limit.hold(Instant::now() + TURN_WITHIN);
        assert!(has_turn(&limit).await);
        limit.hold(Instant::now() + TURN_WITHIN + Duration::from_millis(1));
        assert!(!has_turn(&limit).await);
        tokio::time::advance(TURN_WITHIN + Duration::from_millis(1)).await;
        assert_eq!(limit.take(Instant::now(), Turn::Usual), Ok(()));
    }
}

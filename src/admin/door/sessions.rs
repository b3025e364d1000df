//! Who has signed in. A session lies in memory alone: it ends with the process, with its token, with idleness and with age.
//!
//! What a browser keeps is random, and what lies here is its digest: who reads this memory has no way in by it. Pure: who asks brings the
//! time.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{FileDigest, digest_of};
use crate::time::Instant;

/// Sessions there may be of one access. Another one takes the place of the oldest of its own access: who may only look ends nobody's
/// who may do everything.
pub(super) const SESSIONS_MAX: usize = 64;
/// One that nobody uses ends after a working day.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// One that a page keeps alive ends after a week.
pub(super) const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Random bytes of what a browser keeps.
const SECRET_BYTES: usize = 32;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Access {
    /// Everything.
    Full,
    /// Look at what tells of no event.
    Read,
}

/// A token of the config that somebody knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// Of the token.
    pub digest: FileDigest,
    pub access: Access,
}

#[derive(Debug)]
struct Session {
    /// Of what the browser keeps.
    digest: FileDigest,
    proof: Proof,
    begun: Instant,
    used: Instant,
    search: Arc<Semaphore>,
    ended: CancellationToken,
    /// Tells of the end when it is dropped.
    _ends: DropGuard,
}

/// A session that is alive.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub access: Access,
    /// How long it lasts if nobody uses it.
    pub lasts: Duration,
    /// The place for its one search.
    pub search: Arc<Semaphore>,
    /// Cancelled when it ends.
    pub ended: CancellationToken,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Session>);

impl Sessions {
    /// Begins one, and gives what the browser is to keep. `None`: the system has no random numbers.
    pub(super) fn begin(&mut self, now: Instant, proof: Proof) -> Option<String> {
        let mut bytes = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        let mut secret = String::with_capacity(2 * SECRET_BYTES);
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(secret, "{byte:02x}");
        }
        self.end_what_is_over(now);
        let is_alike = |session: &Session| session.proof.access == proof.access;
        if self.0.iter().filter(|session| is_alike(session)).count() >= SESSIONS_MAX {
            let oldest = self.0.iter().position(is_alike);
            oldest.map(|oldest| self.0.remove(oldest));
        }
        let digest = digest_of(secret.as_bytes());
        let ended = CancellationToken::new();
        self.0.push(Session {
            digest,
            proof,
            begun: now,
            used: now,
            search: Arc::new(Semaphore::new(1)),
            _ends: ended.clone().drop_guard(),
            ended,
        });
        Some(secret)
    }

    /// The session of somebody who shows what his browser has kept, and uses it: `proofs` are those of the config in force.
    pub(super) fn use_one(&mut self, now: Instant, secret: &str, proofs: &[Proof]) -> Option<Found> {
        self.0.retain(|session| session.ends(now).is_some() && proofs.contains(&session.proof));
        let session = self.find(secret)?;
        session.used = now;
        let lasts = session.ends(now)?;
        let (search, ended) = (session.search.clone(), session.ended.clone());
        Some(Found { access: session.proof.access, lasts, search, ended })
    }

    /// Ends those that are over by age or idleness, though nobody asks.
    pub(super) fn end_what_is_over(&mut self, now: Instant) {
        self.0.retain(|session| session.ends(now).is_some());
    }

    /// Ends it.
    pub(super) fn end(&mut self, secret: &str) {
        if let Some(digest) = self.find(secret).map(|session| session.digest) {
            self.0.retain(|session| session.digest != digest);
        }
    }

    fn find(&mut self, secret: &str) -> Option<&mut Session> {
        let digest = digest_of(secret.as_bytes());
        self.0.iter_mut().fold(
            None,
            |found, session| {
                if bool::from(session.digest.ct_eq(&digest)) { Some(session) } else { found }
            },
        )
    }
}

impl Session {
    /// How long it lasts yet. `None`: it is over.
    fn ends(&self, now: Instant) -> Option<Duration> {
        let idle = IDLE_MAX.checked_sub(now.duration_since(self.used))?;
        let age = AGE_MAX.checked_sub(now.duration_since(self.begun))?;
        Some(idle.min(age)).filter(|lasts| !lasts.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn proof(name: &str) -> Proof {
        Proof { digest: digest_of(name.as_bytes()), access: Access::Full }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_nobody_uses_it_and_not_before() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let secret = sessions.begin(start, proof("a")).expect("random");
        let mut used = |at| sessions.use_one(at, &secret, &[proof("a")]).map(|found| found.lasts);
        assert_eq!(used(start + IDLE_MAX - SECOND), Some(IDLE_MAX));
        assert_eq!(used(start + IDLE_MAX * 2 - SECOND * 2), Some(IDLE_MAX), "it was used");
        assert_eq!(used(start + IDLE_MAX * 3 - SECOND * 2), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_used_all_the_time_ends_with_its_week() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let secret = sessions.begin(start, proof("a")).expect("random");
        let mut now = start;
        while now + SECOND < start + AGE_MAX {
            let lasts = sessions.use_one(now, &secret, &[proof("a")]).expect("alive").lasts;
            assert_eq!(lasts, IDLE_MAX.min(start + AGE_MAX - now));
            now = (now + IDLE_MAX / 2).min(start + AGE_MAX - SECOND);
        }
        assert!(sessions.use_one(now, &secret, &[proof("a")]).is_some());
        assert!(sessions.use_one(start + AGE_MAX, &secret, &[proof("a")]).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_sessions_and_the_oldest_goes() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let secrets: Vec<_> = (0..=SESSIONS_MAX).map(|_| sessions.begin(now, proof("a")).expect("random")).collect();
        let alive: Vec<_> =
            secrets.iter().map(|secret| sessions.use_one(now, secret, &[proof("a")]).is_some()).collect();
        assert_eq!((alive[0], alive[1..].iter().all(|alive| *alive)), (false, true));
        assert_eq!(sessions.0.len(), SESSIONS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_only_look_ends_no_session_of_who_may_do_everything_and_the_other_way_round() {
        let proofs = [Access::Full, Access::Read].map(|access| Proof { access, ..proof("a") });
        for [one, many] in [proofs, [proofs[1], proofs[0]]] {
            let mut sessions = Sessions::default();
            let now = Instant::now();
            let first = sessions.begin(now, one).expect("random");
            for _ in 0..=SESSIONS_MAX {
                sessions.begin(now, many).expect("random");
            }
            assert!(sessions.use_one(now, &first, &proofs).is_some(), "{one:?}");
            assert_eq!(sessions.0.len(), SESSIONS_MAX + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_token_and_with_nobody_elses() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let [old, new] = ["old", "new"].map(|name| sessions.begin(now, proof(name)).expect("random"));
        assert!(sessions.use_one(now, &new, &[proof("new")]).is_some());
        assert!(sessions.use_one(now, &old, &[proof("new"), proof("old")]).is_none(), "it came back too late");
        let read = Proof { access: Access::Read, ..proof("new") };
        assert!(sessions.use_one(now, &new, &[read]).is_none(), "the token may less now");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_browser_keeps_is_long_is_never_the_same_and_does_not_lie_here() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let [one, other] = [(); 2].map(|()| sessions.begin(now, proof("a")).expect("random"));
        assert_eq!((one.len(), one == other), (2 * SECRET_BYTES, false));
        assert!(!format!("{sessions:?}").contains(&one));
        sessions.end("nothing");
        sessions.end(&one);
        assert!(sessions.use_one(now, &one, &[proof("a")]).is_none());
        assert!(sessions.use_one(now, &other, &[proof("a")]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_and_on_is_told_when_its_session_ends() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let [one, other] = [(); 2].map(|()| sessions.begin(now, proof("a")).expect("random"));
        let mut ended = |secret| sessions.use_one(now, secret, &[proof("a")]).expect("alive").ended;
        let [of_one, of_other] = [ended(&one), ended(&other)];
        sessions.end(&one);
        assert_eq!((of_one.is_cancelled(), of_other.is_cancelled()), (true, false));
        assert!(sessions.use_one(now, &other, &[]).is_none());
        assert!(of_other.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_over_is_told_so_though_nobody_asks() {
        let mut sessions = Sessions::default();
        let now = Instant::now();
        let secret = sessions.begin(now, proof("a")).expect("random");
        let ended = sessions.use_one(now, &secret, &[proof("a")]).expect("alive").ended;
        sessions.end_what_is_over(now + IDLE_MAX - SECOND);
        assert!(!ended.is_cancelled());
        sessions.end_what_is_over(now + IDLE_MAX);
        assert!(ended.is_cancelled());
    }
}

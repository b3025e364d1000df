//! How much is done for operators at once: what costs time has few places, so that whoever asks for all of it at once is told to come
//! back, and neither webhooks nor a look at the status have to wait.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::listener::{Answer, answer};

/// Status, metrics, lists that are short: milliseconds each.
const LOOKS_MAX: usize = 8;
/// Searches of the history, and what shows bodies: up to a second each.
const SEARCHES_MAX: usize = 4;
/// Changes wait for one another, and some for the disk.
const CHANGES_MAX: usize = 16;
/// How long a request waits for a place.
const PLACE_WITHIN: Duration = Duration::from_secs(2);

/// What a request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    Look,
    Search,
    /// A search that goes on for as long as it may: somebody has one of these at a time.
    Walk,
    Change,
}

/// The places for each.
#[derive(Debug)]
pub(super) struct Places {
    looks: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    changes: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let [looks, searches, changes] =
            [LOOKS_MAX, SEARCHES_MAX, CHANGES_MAX].map(|max| Arc::new(Semaphore::new(max)));
        Self { looks, searches, changes }
    }
}

impl Places {
    /// Does something in a place of its kind, or answers that there is none. Goes on to the end, and keeps the place so long, also
    /// where whoever asked has hung up: what changes something is not left half done, and what only looks is told by its visitor that
    /// nobody waits any more, and ends itself.
    pub(super) async fn run(&self, effort: Effort, work: impl Future<Output = Answer> + Send + 'static) -> Answer {
        let places = match effort {
            Effort::Look => &self.looks,
            Effort::Search | Effort::Walk => &self.searches,
            Effort::Change => &self.changes,
        };
        let Ok(Ok(place)) = tokio::time::timeout(PLACE_WITHIN, places.clone().acquire_owned()).await else {
            return answer(StatusCode::SERVICE_UNAVAILABLE, "busy with other requests of this kind: try again");
        };
        let worked = tokio::spawn(async move {
            let answer = work.await;
            drop(place);
            answer
        });
        worked.await.unwrap_or_else(|_| answer(StatusCode::INTERNAL_SERVER_ERROR, "it panicked; see the log"))
    }

    /// The same for somebody whose walks wait for one another, in a place of his `own`: who looks for another text with every letter that he
    /// types keeps nobody else waiting. Who has no session has no such place.
    pub(super) async fn run_for(
        &self,
        own: Option<Arc<Semaphore>>,
        effort: Effort,
        work: impl Future<Output = Answer> + Send + 'static,
    ) -> Answer {
        let Some(own) = own.filter(|_| effort == Effort::Walk) else { return self.run(effort, work).await };
        let Ok(Ok(place)) = tokio::time::timeout(PLACE_WITHIN, own.acquire_owned()).await else {
            return answer(StatusCode::TOO_MANY_REQUESTS, "your search before is still going on: try again");
        };
        let alone = async move {
            let answer = work.await;
            drop(place);
            answer
        };
        self.run(effort, alone).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::text;

    #[tokio::test(start_paused = true)]
    async fn beyond_the_places_requests_are_told_to_come_back_and_others_are_served() {
        let places = Arc::new(Places::default());
        let (end, ended) = tokio::sync::watch::channel(false);
        let wait = |places: Arc<Places>| {
            let mut ended = ended.clone();
            async move {
                let work = async move {
                    let _ = ended.wait_for(|is_over| *is_over).await;
                    text(StatusCode::OK, "done")
                };
                places.run(Effort::Search, work).await.status().as_u16()
            }
        };
        let held: Vec<_> = (0..SEARCHES_MAX).map(|_| tokio::spawn(wait(places.clone()))).collect();
        tokio::task::yield_now().await;
        assert_eq!(wait(places.clone()).await, 503);
        let look = places.run(Effort::Look, async { text(StatusCode::OK, "seen") }).await;
        assert_eq!(look.status(), 200);
        end.send_replace(true);
        for held in held {
            assert_eq!(held.await.expect("no panic"), 200);
        }
        assert_eq!(wait(places).await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_searches_once_at_a_time_and_another_is_not_kept_waiting() {
        let places = Arc::new(Places::default());
        let [one, other] = [(); 2].map(|()| Arc::new(Semaphore::new(1)));
        let (end, ended) = tokio::sync::watch::channel(false);
        let run = |own: Option<&Arc<Semaphore>>, effort| {
            let (places, own) = (places.clone(), own.cloned());
            let mut ended = ended.clone();
            async move {
                let work = async move {
                    let _ = ended.wait_for(|is_over| *is_over).await;
                    text(StatusCode::OK, "done")
                };
                places.run_for(own, effort, work).await.status().as_u16()
            }
        };
        let search = |own| run(Some(own), Effort::Walk);
        let first = tokio::spawn(search(&one));
        tokio::task::yield_now().await;
        assert_eq!(search(&one).await, 429);
        // What shows one thing has no place of its own.
        let others = [search(&other), run(Some(&one), Effort::Search), run(None, Effort::Walk)].map(tokio::spawn);
        tokio::task::yield_now().await;
        end.send_replace(true);
        assert_eq!(first.await.expect("no panic"), 200);
        for other in others {
            assert_eq!(other.await.expect("no panic"), 200);
        }
        assert_eq!(search(&one).await, 200);
    }
}

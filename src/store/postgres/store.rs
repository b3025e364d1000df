//! The store on PostgreSQL: its handle, and what it does for everybody.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::erasing::PostgresErasing;
use super::handover::storable;
use super::opening_store::{Options, open};
use super::running::{HandedOut, Postgres};
use super::trouble::Trouble;
use crate::event::EventId;
use crate::store::locks::{lock, reading};
use crate::store::queues::OwnQueue;
use crate::store::{
    Answer, AppendError, Command, Depth, Done, Duty, Erasing, Health, Intake, Interned, Lease, MEMO_BYTES_MAX,
    MEMOS_MAX, NameId, Named, Names, NewEvent, Queue, ReplayProgress, Retention, Sources, Store, StoreError, Whom,
};
use crate::time::Clock;

/// Threads that its tasks run on: one waits for the database, another encrypts.
const THREADS: usize = 2;

/// The store on PostgreSQL.
pub struct PostgresStore {
    pub(super) postgres: Arc<Postgres>,
    runtime: Option<Runtime>,
}

impl PostgresStore {
    /// Opens it, and makes the tables where there are none.
    pub async fn open(address: Address, options: Options) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| Trouble::Refused(format!("no threads could be started: {error}")))?;
        let opened = runtime.spawn(open(address, options));
        let opened = opened.await.unwrap_or_else(|error| Err(Trouble::Broken(error.to_string())));
        match opened {
            Ok(postgres) => Ok(Self { postgres, runtime: Some(runtime) }),
            Err(trouble) => {
                runtime.shutdown_background();
                Err(trouble)
            }
        }
    }

    /// The time that everything in it goes by: that of the database.
    pub fn clock(&self) -> Clock {
        self.postgres.clock
    }

    /// Says no more that it lives, and reads nothing more, as when its machine stands still. For tests.
    #[cfg(any(test, feature = "test-support"))]
    pub fn stand_still(&self) {
        self.postgres.stands_still.store(true, Ordering::Release);
    }

    /// Goes on after that. For tests.
    #[cfg(any(test, feature = "test-support"))]
    pub fn go_on(&self) {
        self.postgres.stands_still.store(false, Ordering::Release);
    }

    /// Does at once what is done now and then. For tests.
    #[cfg(any(test, feature = "test-support"))]
    pub fn tidy(&self) {
        self.postgres.tidy.notify_one();
        self.postgres.tidy_floors.notify_one();
    }

    /// Does something on the threads of the store. It is finished although nobody waits for it any more.
    pub(super) fn aside<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Answer<'static, T> {
        let done = self.postgres.runtime.spawn(work);
        Box::pin(async move { done.await.unwrap_or(Err(StoreError::Closed)) })
    }
}

impl Drop for PostgresStore {
    /// Ends the tasks as they are: others take over what this process had.
    fn drop(&mut self) {
        self.postgres.leases.cancel();
        self.postgres.end.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Intake for PostgresStore {
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>> {
        let (reply, answer) = oneshot::channel();
        let refused = if self.postgres.is_closing.load(Ordering::Acquire) {
            Some((AppendError::Closed, reply))
        } else {
            let unsent = self.postgres.inbox.send((event, reply)).err();
            unsent.map(|unsent| (AppendError::Closed, unsent.0.1))
        };
        if let Some((error, reply)) = refused {
            let _ = reply.send(Err(error));
        }
        answer
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.postgres.health.subscribe()
    }

    fn sources(&self) -> watch::Receiver<Sources> {
        self.postgres.sources.subscribe()
    }
}

impl Store for PostgresStore {
    fn names(&self) -> Arc<Names> {
        reading(&self.postgres.names).shown()
    }

    fn intern(&self, named: Vec<Named>) -> Answer<'_, Interned> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.intern(&named).await })
    }

    fn announce(&self, generation: u32, ids: &[NameId]) {
        self.postgres.announce(generation, ids);
    }

    fn lease(&self, duty: Duty) -> BoxFuture<'static, Lease> {
        let postgres = self.postgres.clone();
        let (destinations, group) = match duty {
            Duty::Deliver { destinations, rate_limit_group } => (destinations, rate_limit_group),
            Duty::Replay(_) => (Vec::new(), None),
        };
        let wish = postgres.want(&destinations, group);
        Box::pin(async move {
            let mut changed = postgres.ownership.subscribe();
            postgres.hurry.notify_one();
            let handed = loop {
                changed.borrow_and_update();
                if let Some(handed) = HandedOut::all(&postgres, &destinations, &wish) {
                    break handed;
                }
                // The store is what sends: it is there for as long as this is.
                let _ = changed.changed().await;
            };
            let lost = postgres.leases.child_token();
            let queue = |(id, hold): (&NameId, HandedOut)| -> Arc<dyn Queue> {
                let (backing, destination, lost) =
                    (postgres.clone(), postgres.destination(*id), hold.owned.lost.clone());
                Arc::new(OwnQueue { backing, id: *id, destination, lost, hold })
            };
            let tokens: Vec<CancellationToken> = handed.iter().map(|hold| hold.owned.lost.clone()).collect();
            let queues = destinations.iter().zip(handed).map(queue).collect();
            let lost = match &tokens[..] {
                [one] => one.clone(),
                [] => lost,
                several => {
                    for one in several {
                        let (one, all) = (one.clone(), lost.clone());
                        postgres.runtime.spawn(async move {
                            tokio::select! {
                                () = one.cancelled() => all.cancel(),
                                () = all.cancelled() => {}
                            }
                        });
                    }
                    lost
                }
            };
            Lease { queues, lost }
        })
    }

    fn ask(&self, command: Command) -> Answer<'_, Done> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.ask(command).await })
    }

    fn replays(&self) -> Answer<'_, Vec<ReplayProgress>> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.replays().await })
    }

    fn save_replay(&self, progress: ReplayProgress) -> Answer<'_, ReplayProgress> {
        let postgres = self.postgres.clone();
        self.aside(async move { postgres.save_replay(progress).await })
    }

    fn memo(&self, key: &str) -> Answer<'_, Option<String>> {
        let (postgres, key) = (self.postgres.clone(), storable(key));
        self.aside(async move {
            let rows = postgres.looker.rows("SELECT text FROM memo WHERE key = $1", &[&key]).await?;
            Ok(rows.first().map(|row| row.get(0)))
        })
    }

    fn keep_memo(&self, key: &str, text: String) -> Answer<'_, ()> {
        if text.len() > MEMO_BYTES_MAX {
            let why = format!("a memo has at most {MEMO_BYTES_MAX} bytes, and this has {}", text.len());
            return Box::pin(std::future::ready(Err(StoreError::Conflict(why))));
        }
        let (postgres, key, text) = (self.postgres.clone(), storable(key), storable(&text));
        self.aside(async move {
            let most = MEMOS_MAX as i64;
            let sql = "INSERT INTO memo (key, text) SELECT $1, $2
                WHERE EXISTS (SELECT 1 FROM memo WHERE key = $1) OR (SELECT count(*) FROM memo) < $3
                ON CONFLICT (key) DO UPDATE SET text = $2 RETURNING 1";
            let kept = postgres.asker.rows(sql, &[&key, &text, &most]).await?;
            if kept.is_empty() {
                return Err(StoreError::Conflict(format!("there are {MEMOS_MAX} memos, and no more are kept")));
            }
            Ok(())
        })
    }

    fn erase(&self, whom: Whom, depth: Depth) -> Box<dyn Erasing> {
        Box::new(PostgresErasing::new(self.postgres.clone(), whom, depth))
    }

    fn retain(&self, retention: Retention) {
        *lock(&self.postgres.retention) = retention;
        self.postgres.has_new_retention.store(true, Ordering::Release);
        self.postgres.hurry.notify_one();
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let postgres = self.postgres.clone();
        let closing = self.aside(async move {
            postgres.close().await;
            Ok(())
        });
        Box::pin(async move {
            if let Err(error) = closing.await {
                tracing::error!(%error, "the store was not closed");
            }
        })
    }
}

//! Reading the queues of destinations whose leases were taken: aside from the heartbeat, which waits for nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::holds;
use super::link::{Link, kept};
use super::load::{Loaded, load};
use super::ownership::Owned;
use super::running::Postgres;
use super::trouble::Trouble;
use crate::store::NameId;
use crate::store::locks::{lock, reading, writing};
use crate::store::queues::Destination;

/// No retry is due later than this when its queue is read, whatever a wrong clock wrote down.
const DUE_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// One page is read within this, also from a slow disk.
const PAGE_WITHIN: Duration = Duration::from_secs(30);
/// Queues that are read side by side: one that is long does not keep the others waiting.
const AT_ONCE: usize = 4;
/// A connection is kept for so long after a queue was read.
const KEPT_FOR: Duration = Duration::from_secs(1);

type Waiting = tokio::sync::Mutex<UnboundedReceiver<(NameId, Arc<Owned>)>>;

/// Reads queues until the store ends, some side by side.
pub async fn run(postgres: Arc<Postgres>, waiting: UnboundedReceiver<(NameId, Arc<Owned>)>) {
    let waiting = Arc::new(Waiting::new(waiting));
    for _ in 1..AT_ONCE {
        postgres.watch_over(read_some(postgres.clone(), waiting.clone()));
    }
    read_some(postgres, waiting).await;
}

/// Reads one queue after the other.
async fn read_some(postgres: Arc<Postgres>, waiting: Arc<Waiting>) {
    let mut link: Option<Link> = None;
    loop {
        let next = async { waiting.lock().await.recv().await };
        let next = match &link {
            Some(_) => match tokio::time::timeout(KEPT_FOR, next).await {
                Ok(next) => next,
                Err(_) => {
                    link = None;
                    continue;
                }
            },
            None => next.await,
        };
        let Some((id, owned)) = next else { return };
        if owned.lost.is_cancelled() {
            continue;
        }
        if let Err(trouble) = begin(&postgres, &mut link, id, &owned).await {
            // Whatever was begun on it is over.
            link = None;
            postgres.unreachable(&trouble);
            tracing::debug!(%trouble, "a queue could not be read: its lease is given to whoever takes it");
            owned.lost.cancel();
            postgres.hurry.notify_one();
        }
    }
}

async fn begin(postgres: &Arc<Postgres>, link: &mut Option<Link>, id: NameId, owned: &Owned) -> Result<(), Trouble> {
    let open = async { Ok(postgres.link("load").await?.with_deadline(PAGE_WITHIN)) };
    let link = kept(link, open).await?;
    let holds = lock(&postgres.holds).clone();
    let Loaded { mut queue, ends, section, remembered } = load(link, &holds, id, &owned.lost).await?;
    // Behind it, so that no hold is unknown that any of it came in under.
    postgres.saw_sources(holds::read(&link.rows(holds::SOURCES, &[]).await?));
    let is_still_ours = reading(&postgres.owned).get(&id).is_some_and(|now| std::ptr::eq(&**now, owned));
    if !is_still_ours || owned.lost.is_cancelled() {
        // It was lost meanwhile, and may have been taken once more: that is read by itself.
        return Ok(());
    }
    let last_digest = queue.last_digest().map_or(0, |digest| digest.0.get());
    postgres.last_digest.fetch_max(last_digest, Ordering::AcqRel);
    match section {
        Some(section) => drop(lock(&postgres.facts).insert(id, section)),
        None => drop(lock(&postgres.facts).remove(&id)),
    }
    lock(&postgres.remembered).load(id, remembered);
    queue.clamp_due(postgres.now_ms() + DUE_WITHIN.as_millis() as u64);
    writing(&postgres.destinations).insert(id, Destination::new(queue));
    let woken = owned.loaded(ends, |late| postgres.publish_late(id, late));
    woken.into_iter().for_each(|wakeup| wakeup.notify_one());
    postgres.let_go_of_late(id);
    postgres.go_by_announced(id);
    postgres.ownership.send_modify(|count| *count += 1);
    Ok(())
}

//! Watches over the place where the data lies: what is accepted must be there after a restart.
//!
//! The files that the relay has open go on working when their names are gone, and when another directory has their place. So it looks,
//! twice a second, whether every name still leads to what it writes to. If one does not, nothing is acknowledged any more, and the
//! process ends: what is right now can only be told by who did it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::patience::joined;
use crate::store::journal::JournalStore;
use crate::store::lock::DataDirLock;

/// Between two looks: what is acknowledged meanwhile may be lost with the directory.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks until it is stopped, or something is wrong.
pub(super) async fn watch_place(journal: Arc<JournalStore>, lock: Arc<DataDirLock>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
        let (looks, lock) = (journal.clone(), lock.clone());
        // A file system that hangs holds up this look and nothing else.
        let looked = tokio::task::spawn_blocking(move || lock.trouble().or_else(|| looks.trouble()));
        let looked = tokio::select! {
            looked = joined(looked) => looked,
            // Nor does it hold up the end.
            () = stop.cancelled() => return,
        };
        if let Some(trouble) = looked {
            journal.fail(&advice(&trouble));
            // There is nothing more to look for.
            return stop.cancelled().await;
        }
    }
}

fn advice(trouble: &str) -> String {
    format!(
        "{trouble}: something else changed the data directory while the relay ran. Events accepted in the last second may be lost. \
         Put the directory back as it was, or make sure that data_dir names the right one, then start the relay again"
    )
}

//! The config file, watched: `watch: true`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use crate::config::{FileDigest, digest_of};
use crate::relay::{CONFIG_READ_TIMEOUT, Relay};
use crate::yaml::load::FILE_BYTES_MAX;
use crate::yaml::regular;

/// How often a watched file is looked at. A change is taken when it has stood still from one look to the next.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// A file that was written so short a time ago may be written again without another stamp.
const STAMP_SETTLES: Duration = Duration::from_secs(3);

/// Reloads when the file has changed, while the config says `watch: true`. Whoever replaces the file by renaming, or swaps a link
/// on the way to it, is seen as well: what counts is what stands under the path.
pub(super) async fn watch(relay: Arc<Relay>, patience: Arc<Patience>, stop: CancellationToken) {
    let mut seen = None;
    let mut looked_at = None;
    // What was tried last, and as which reload: after one that somebody else has asked for, whatever stands in the file is news.
    let mut tried = (None, 0);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
        let generation = relay.generation().clone();
        if !generation.config.watch {
            continue;
        }
        let path = generation.config.path.clone();
        let known = looked_at;
        let look = patience.wait(CONFIG_READ_TIMEOUT, move || look(&path, known.as_ref()));
        let looked = tokio::select! {
            looked = look => looked,
            // One that hangs does not hold up the end.
            () = stop.cancelled() => return,
        };
        // While an editor writes it anew there may be none for a moment.
        let Ok(Ok((stamp, found))) = looked else { continue };
        let Some(digest) = found.or(seen) else { continue };
        looked_at = Some(stamp);
        let has_settled = seen.replace(digest) == Some(digest);
        let last = relay.last_reload();
        let number = last.as_ref().map_or(0, |last| last.number);
        let is_in_force = digest == generation.config.digest && last.is_none_or(|last| last.error.is_none());
        if is_in_force || !has_settled || tried == (Some(digest), number) {
            continue;
        }
        // It is told where every reload is told. What was begun is finished, and holds up the end no longer than it must.
        tokio::select! {
            _ = relay.reload() => {}
            () = stop.cancelled() => return,
        }
        tried = (Some(digest), relay.last_reload().map_or(0, |last| last.number));
    }
}

/// By what it is seen that a file is as it was: device, number, length, and when it and its entry were changed.
type Stamp = [i128; 7];

/// Looks at the file; reads it only if it may have changed, and no further than a config may go.
fn look(path: &Path, known: Option<&Stamp>) -> std::io::Result<(Stamp, Option<FileDigest>)> {
    let metadata = std::fs::metadata(path)?;
    let numbers = [metadata.dev(), metadata.ino(), metadata.len()].map(i128::from);
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()].map(i128::from);
    let stamp = [numbers[0], numbers[1], numbers[2], times[0], times[1], times[2], times[3]];
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    let is_settled = age.is_some_and(|age| age > STAMP_SETTLES);
    if is_settled && known == Some(&stamp) {
        return Ok((stamp, None));
    }
    Ok((stamp, Some(digest_of(&regular::read_beyond(path, FILE_BYTES_MAX)?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_file_is_read_when_it_has_changed_and_no_further_than_a_config_may_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, "a: 1").expect("written");
        let file = std::fs::File::options().write(true).open(&path).expect("open");
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(long_ago).expect("stamped");
        let (stamp, found) = look(&path, None).expect("read");
        assert_eq!(found, Some(digest_of(b"a: 1")));
        assert_eq!(look(&path, Some(&stamp)).expect("looked at"), (stamp, None), "nothing has changed");
        // A sparse file of terabytes takes no longer than any other.
        file.set_len(1 << 42).expect("longer");
        file.set_modified(long_ago).expect("stamped");
        let (longer, found) = look(&path, Some(&stamp)).expect("read");
        assert!(longer != stamp && found.is_some(), "as far as the limit");
        std::fs::write(&path, "a: 2").expect("written");
        let (fresh, found) = look(&path, Some(&longer)).expect("read");
        assert_eq!(found, Some(digest_of(b"a: 2")));
        assert_eq!(
            look(&path, Some(&fresh)).expect("read").1,
            found,
            "it was written just now: its stamp says nothing"
        );
    }
}

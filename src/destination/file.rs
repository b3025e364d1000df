//! `file:` appends one line an event to a file, and syncs it before it counts as delivered.

use std::collections::HashMap;
use std::fs::{File as OpenFile, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;

use super::client::Masks;
use super::path_template::PathTemplate;
use super::{Context, Delivery, Destination, Kind, Outcome, Pace, Preview, Unsent};
use crate::config::raw::Node;
use crate::config::reader::{Entries, Reader, Secret};
use crate::directory::Identity;
use crate::event::minify;
use crate::telemetry::in_vain;

pub(super) const KIND: Kind = Kind {
    name: "file",
    pace: Pace { concurrency: 1, interval: None, give_up_after: Duration::from_secs(72 * 60 * 60), stale_after: None },
    build: |context, entries| build(context, entries).map(|file| Arc::new(file) as Arc<dyn Destination>),
};

/// Lines written and synced together.
const BATCH_MAX: usize = 256;
/// Files held open; a path by type and hour rarely has more at one time.
const OPEN_MAX: usize = 16;

/// How long a locked file is waited for. When a reload changes a destination, or its name, the file is in the hands of what was
/// there before, until that has ended its last attempt.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether it is free.
const LOCKED_EVERY: Duration = Duration::from_millis(10);

struct Lines {
    path: PathTemplate,
    timezone: TimeZone,
    has_envelope: bool,
    syncs: bool,
    content_masks: Masks,
    open: Mutex<HashMap<PathBuf, Held>>,
    root: Root,
}

/// The data directory, below which files may lie: it is never made again here, nor is anything in another that has its place.
struct Root {
    path: PathBuf,
    seen: OnceLock<Identity>,
}

impl Root {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: OnceLock::new() }
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        if !path.starts_with(&self.path) {
            return Ok(());
        }
        let why = |what| io::Error::new(io::ErrorKind::NotFound, format!("the data directory {what}"));
        let now = Identity::at(&self.path).map_err(|error| why(format!("cannot be found: {error}")))?;
        if *self.seen.get_or_init(|| now) == now { Ok(()) } else { Err(why("was replaced by another".to_owned())) }
    }
}

/// A file that is held open, and locked.
struct Held {
    file: OpenFile,
    /// Where our last line ends.
    end: u64,
}

fn build(context: &Context<'_>, mut entries: Entries<'_, '_>) -> Option<File> {
    let reader = context.reader;
    if let Some(answers) = context.answers {
        reader.error(answers.id, "`answers` is about HTTP, and a file gives none");
    }
    let path = entries.required("path").and_then(|node| read_path(reader, node, context.data_dir));
    let has_envelope = entries.optional("envelope").and_then(|node| reader.boolean(node)).unwrap_or(true);
    let syncs = entries.optional("fsync").is_none_or(|node| match reader.text(node) {
        Some("never") => false,
        Some("batch") | None => true,
        Some(_) => {
            reader.error(node.id, "`fsync` is batch (before a line counts as delivered) or never");
            true
        }
    });
    let timezone = entries.optional("timezone").map_or(Some(TimeZone::UTC), |node| {
        let name = reader.text(node)?;
        super::timezone::find(name).map_err(|fault| reader.fault(node.id, fault)).ok()
    });
    entries.finish();
    let (path, timezone, open) = (path?, timezone?, Mutex::default());
    let (content_masks, root) = (Masks::from_texts(reader.taken()), Root::new(context.data_dir));
    let lines = Arc::new(Lines { path, timezone, has_envelope, syncs, content_masks, open, root });
    Some(File { lines, turn: Arc::new(Semaphore::new(1)) })
}

fn read_path(reader: &Reader, node: &Node, data_dir: &Path) -> Option<PathTemplate> {
    let parsed = PathTemplate::parse(reader.text(node)?, data_dir);
    parsed.map_err(|wrong| reader.error_with(node.id, wrong.message, wrong.help)).ok()
}

impl Lines {
    fn line(&self, delivery: &Delivery) -> Vec<u8> {
        let event = minify(&delivery.event.body);
        let mut line = Vec::with_capacity(event.len() + 128);
        if self.has_envelope {
            let source = serde_json::Value::from(delivery.source.as_ref());
            let received_at = crate::time::rfc3339(delivery.event.received_ms);
            let head =
                format!(r#"{{"id":"{}","received_at":"{received_at}","source":{source},"event":"#, delivery.event.id);
            line.extend_from_slice(head.as_bytes());
        }
        line.extend_from_slice(&event);
        if self.has_envelope {
            line.push(b'}');
        }
        line.push(b'\n');
        line
    }

    /// Writes a batch: file by file, and one sync each.
    fn write_batch(&self, deliveries: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Delivered; deliveries.len()];
        let mut by_path: Vec<(PathBuf, Vec<usize>)> = Vec::new();
        for (i, delivery) in deliveries.iter().enumerate() {
            let path = self.path.path(delivery, &self.timezone);
            match by_path.iter_mut().find(|(known, _)| *known == path) {
                Some((_, places)) => places.push(i),
                None => by_path.push((path, vec![i])),
            }
        }
        for (path, places) in by_path {
            let lines: Vec<u8> = places.iter().flat_map(|place| self.line(&deliveries[*place])).collect();
            if let Err(error) = self.write_lines(&path, &lines) {
                // The next attempt opens it anew.
                self.lock().remove(&path);
                for place in places {
                    outcomes[place] = Outcome::retry(format!("{} could not be written: {error}", path.display()));
                }
            }
        }
        outcomes
    }

    fn write_lines(&self, path: &Path, lines: &[u8]) -> io::Result<()> {
        let mut open = self.lock();
        if open.get(path).is_some_and(|held| !held.is_untouched(path)) {
            // Rotated or deleted: go on in a new file under the same name. Cut: its last line may be half a line now.
            open.remove(path);
        }
        if !open.contains_key(path) {
            if open.len() >= OPEN_MAX {
                open.clear();
            }
            self.root.check(path)?;
            open.insert(path.to_owned(), open_file(path)?);
        }
        let Some(held) = open.get_mut(path) else { return Ok(()) };
        let file = &mut held.file;
        let written = file.write_all(lines).and_then(|()| if self.syncs { file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => held.end += lines.len() as u64,
            // Half a line must not stay: the lock is ours, so nobody else wrote behind it. Somebody may have cut the file to make
            // room, though: it is made shorter and never longer.
            Err(_) if file.metadata().is_ok_and(|metadata| metadata.len() > held.end) => {
                let _ = file.set_len(held.end);
            }
            Err(_) => {}
        }
        written
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Held>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether the path still leads to this file, and nobody has cut or extended it.
    fn is_untouched(&self, path: &Path) -> bool {
        let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(open), Ok(there)) => identity(&open) == identity(&there) && open.len() == self.end,
            _ => false,
        }
    }
}

/// Opens a file to append to: made 0600, never through a symlink, and ours alone.
fn open_file(path: &Path) -> io::Result<Held> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    crate::directory::make(directory)?;
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).custom_flags(no_follow).open(path)?;
    lock(&file)?;
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // A line that a crash cut off must not swallow the next one.
            file.write_all(b"\n")?;
        }
    }
    crate::directory::sync(directory)?;
    let end = file.metadata()?.len();
    Ok(Held { file, end })
}

fn lock(file: &OpenFile) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCKED_WITHIN => std::thread::sleep(LOCKED_EVERY),
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("somebody else has locked it")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The destination; its work is done on a thread that may block.
struct File {
    lines: Arc<Lines>,
    /// Goes with the writing, and not with the attempt: while a file system hangs, no second thread is sent after the first.
    turn: Arc<Semaphore>,
}

impl Destination for File {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Vec<Outcome>> {
        let (lines, turn, batch) = (self.lines.clone(), self.turn.clone(), deliveries.to_vec());
        async move {
            let count = batch.len();
            let turn = turn.acquire_owned().await;
            let written = tokio::task::spawn_blocking(move || {
                let outcomes = lines.write_batch(&batch);
                drop(turn);
                outcomes
            });
            let written = written.await;
            written.unwrap_or_else(|error| vec![Outcome::retry(in_vain("the writing thread", &error)); count])
        }
        .boxed()
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        let path = self.lines.path.path(delivery, &self.lines.timezone);
        Ok(Preview::line(path, &self.lines.line(delivery)).with_masks(self.lines.content_masks.clone()))
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        Ok(self.lines.line(delivery))
    }

    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent> {
        Ok(Secret::from(self.lines.path.path(delivery, &self.lines.timezone).display().to_string()))
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn is_loopback(&self) -> bool {
        true
    }

    fn address(&self) -> String {
        self.lines.path.pattern().display().to_string()
    }

    fn file_pattern(&self) -> Option<PathBuf> {
        Some(self.lines.path.pattern().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::template::tests::delivery;
    use super::*;

    fn file(directory: &Path, path: &str) -> Lines {
        Lines {
            path: PathTemplate::parse(path, directory).expect("a good path"),
            timezone: TimeZone::UTC,
            has_envelope: true,
            syncs: true,
            content_masks: Masks::default(),
            open: Mutex::default(),
            root: Root::new(directory),
        }
    }

    fn is_delivered(outcomes: &[Outcome]) -> bool {
        outcomes.iter().all(|outcome| *outcome == Outcome::Delivered)
    }

    #[test]
    fn a_line_holds_the_event_untouched_but_for_white_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(directory.path(), "{date}-{hour}.ndjson");
        assert!(is_delivered(&file.write_batch(&[delivery("{ \"type\": \"sent\",\n \"n\": 12500.50 }")])));
        let written = std::fs::read_to_string(directory.path().join("2023-11-14-22.ndjson")).expect("written");
        let id = delivery("{}").event.id;
        let expected = format!(
            "{{\"id\":\"{id}\",\"received_at\":\"2023-11-14T22:13:20.000Z\",\"source\":\"vero\",\"event\":{{\"type\":\"sent\",\"n\":12500.50}}}}\n"
        );
        assert_eq!(written, expected);
    }

    #[test]
    fn a_file_that_is_rotated_or_deleted_is_made_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let file = file(directory.path(), "x");
        for _ in 0..2 {
            assert!(is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
            std::fs::rename(&path, directory.path().join("old")).expect("rotated");
        }
        assert!(is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
        std::fs::remove_file(&path).expect("deleted");
        assert!(is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
        assert_eq!(std::fs::read_to_string(&path).expect("there").lines().count(), 1);
    }

    #[test]
    fn a_data_directory_that_is_gone_or_another_is_not_written_to() {
        let above = tempfile::tempdir().expect("a directory");
        let directory = above.path().join("data");
        std::fs::create_dir(&directory).expect("made");
        let file = file(&directory, "archive/x");
        assert!(is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
        std::fs::rename(&directory, above.path().join("moved")).expect("moved");
        assert!(!is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
        assert!(!directory.exists());
        std::fs::create_dir(&directory).expect("made");
        assert!(!is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
        assert!(!directory.join("archive").exists());
        std::fs::remove_dir(&directory)
            .and_then(|()| std::fs::rename(above.path().join("moved"), &directory))
            .expect("back");
        assert!(is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
    }

    #[test]
    fn a_cut_off_line_does_not_swallow_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        std::fs::write(&path, "{\"half").expect("written");
        assert!(is_delivered(&file(directory.path(), "x").write_batch(&[delivery("{\"type\":\"a\"}")])));
        let lines: Vec<String> = std::fs::read_to_string(&path).expect("there").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("{\"id\""));
    }

    #[test]
    fn a_file_that_was_cut_in_a_line_does_not_swallow_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let file = file(directory.path(), "x");
        let write = || assert!(is_delivered(&file.write_batch(&[delivery("{\"type\":\"a\"}")])));
        write();
        OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(9)).expect("cut");
        write();
        write();
        let lines: Vec<String> = std::fs::read_to_string(&path).expect("there").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("{\"id\"") && line.ends_with("}}")), "{lines:?}");
    }

    #[test]
    fn a_symlink_is_not_followed_and_a_lock_is_respected() {
        let directory = tempfile::tempdir().expect("a directory");
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, directory.path().join("x")).expect("linked");
        let linked = file(directory.path(), "x");
        assert!(!is_delivered(&linked.write_batch(&[delivery("{\"type\":\"a\"}")])));
        assert!(!elsewhere.exists());

        let other = OpenOptions::new().create(true).append(true).open(directory.path().join("y")).expect("opened");
        other.lock().expect("locked");
        let locked = file(directory.path(), "y");
        let outcomes = locked.write_batch(&[delivery("{\"type\":\"a\"}")]);
        assert!(
            matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.text.contains("locked")),
            "{outcomes:?}"
        );
        drop(other);
        assert!(is_delivered(&locked.write_batch(&[delivery("{\"type\":\"a\"}")])));
    }

    #[test]
    fn events_of_one_batch_go_each_to_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(directory.path(), "{type}");
        let batch = ["sent", "../../up", "sent"].map(|name| delivery(&format!("{{\"type\":\"{name}\"}}")));
        assert!(is_delivered(&file.write_batch(&batch)));
        let lines = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("there").lines().count();
        assert_eq!((lines("sent"), lines("_.._.._up")), (2, 1));
    }
}

//! One process to a data directory, and to the journal in it.
//!
//! A name can be removed, moved, linked, copied over or mounted elsewhere while what it named goes on being written to. So two things
//! are locked: the file `lock`, which also says who has it, and the directory `journal` itself, which stays the same one under
//! whatever name it is reached. The disk locks the segment that it writes to as well: a directory of hard links is another
//! directory, and leads to the same file.
//!
//! A lock on a thing says nothing of what its name leads to later. [`DataDirLock::trouble`] looks, and is asked again and again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::directory::{Identity, make, narrow};

/// A data directory that is ours until this is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    /// Kept open: what is open keeps its number in the file system, so that nothing else can be taken for it.
    _open: [File; 3],
    /// What each path led to when it was taken, and must lead to still.
    places: Vec<(PathBuf, Identity)>,
    /// Looks in a row at which something of it could not be read.
    unreadable: Unreadable,
}

/// A disk that is gone cannot be read, at this look and every other. One that is busy with itself may say the same once.
const UNREADABLE_LOOKS: usize = 4;

/// Counts looks in a row at which something could not be read.
#[derive(Debug, Default)]
struct Unreadable(AtomicUsize);

impl Unreadable {
    /// Notes what a look came to. Returns what could not be read, where that lasts.
    fn note<T>(&self, unreadable: Option<T>) -> Option<T> {
        if unreadable.is_none() {
            self.0.store(0, Ordering::Relaxed);
        }
        unreadable.filter(|_| self.0.fetch_add(1, Ordering::Relaxed) + 1 >= UNREADABLE_LOOKS)
    }
}

/// Why a data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by process {pid}: stop that one, or give this one a data_dir of its own")]
    Held {
        path: String,
        /// The process that has it, as far as it said.
        pid: String,
    },
    /// The file system said no.
    #[error("{path} cannot be locked")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// The lock file may be replaced between opening and locking it; so often it is opened anew.
const REPLACED_MAX: usize = 8;

impl DataDirLock {
    /// Makes the directory if it is not there, and takes it.
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.display().to_string();
        let failed = |source| LockError::Io { path: path.clone(), source };
        make(data_dir).map_err(failed)?;
        narrow(data_dir);
        let name = data_dir.join("lock");
        let whole = File::open(data_dir).map_err(failed)?;
        let Some(mut lock) = open_and_lock(&name).map_err(failed)? else { return Err(Self::held(data_dir)) };
        let directory = data_dir.join("journal");
        make(&directory).map_err(failed)?;
        let journal = File::open(&directory).map_err(failed)?;
        match journal.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Self::held(data_dir)),
            // Some file systems lock no directories. The lock file stands for it there.
            Err(TryLockError::Error(error)) => tracing::debug!(%error, "the journal's directory cannot be locked"),
        }
        let written =
            lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        // On a full disk the number stays out: it is only for the message.
        if let Err(error) = written {
            tracing::debug!(%error, "the lock file does not name this process");
        }
        let identity = |file: &File| file.metadata().map(|metadata| Identity::of(&metadata)).map_err(failed);
        let places =
            vec![(data_dir.to_owned(), identity(&whole)?), (directory, identity(&journal)?), (name, identity(&lock)?)];
        Ok(Self { _open: [whole, journal, lock], places, unreadable: Unreadable::default() })
    }

    /// The error of who finds it taken.
    pub fn held(data_dir: &Path) -> LockError {
        let pid = std::fs::read_to_string(data_dir.join("lock")).unwrap_or_default();
        let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
        LockError::Held { path: data_dir.display().to_string(), pid }
    }

    /// Watches over another file, if it is there.
    pub fn watch(&mut self, path: PathBuf) {
        if let Ok(identity) = Identity::at(&path) {
            self.places.push((path, identity));
        }
    }

    /// What has become of the directory, if it is not what was taken any more. Looks at the disk.
    pub fn trouble(&self) -> Option<String> {
        let mut unreadable = None;
        let trouble = self.places.iter().find_map(|(path, taken)| match Identity::at(path) {
            Ok(now) if now == *taken => None,
            Ok(_) => Some(format!("{} was replaced by another", path.display())),
            Err(error) if is_gone(&error) => Some(format!("{} is not there any more", path.display())),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "the data directory cannot be looked at");
                if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) {
                    unreadable.get_or_insert_with(|| format!("{} cannot be read any more: {error}", path.display()));
                }
                None
            }
        });
        let unreadable = self.unreadable.note(unreadable);
        trouble.or(unreadable)
    }
}

/// Whether an error says that a path leads nowhere.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, StaleNetworkFileHandle};
    matches!(error.kind(), NotFound | NotADirectory | StaleNetworkFileHandle)
}

/// Opens the lock file and locks it; `None` when somebody else has.
fn open_and_lock(name: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    for _ in 0..REPLACED_MAX {
        let file = options.open(name)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        narrow(name);
        if Identity::at(name).ok() == Some(Identity::of(&file.metadata()?)) {
            return Ok(Some(file));
        }
    }
    Err(io::Error::other("the file `lock` is replaced again and again"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cannot_be_read_once_is_no_trouble_and_what_cannot_be_read_for_long_is() {
        let unreadable = Unreadable::default();
        let note = |looks: &str| {
            looks.chars().map(|look| unreadable.note((look == 'x').then_some(())).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(note("x-xxx-"), [false; 6]);
        assert_eq!(note("xxxxx-x"), [false, false, false, true, true, false, false]);
    }

    #[test]
    fn a_path_that_leads_nowhere_is_gone_and_an_error_of_the_disk_says_nothing_yet() {
        use rustix::io::Errno;
        let is_gone = |errno: Errno| is_gone(&errno.into());
        assert_eq!([Errno::NOENT, Errno::STALE, Errno::IO, Errno::ACCESS].map(is_gone), [true, true, false, false]);
    }

    #[track_caller]
    fn is_refused(path: &Path) {
        let error = DataDirLock::take(path).expect_err("held");
        assert!(matches!(error, LockError::Held { .. }), "{error}");
    }

    #[test]
    fn a_directory_is_taken_once_and_the_holder_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = DataDirLock::take(directory.path()).expect("free");
        let error = DataDirLock::take(directory.path()).expect_err("held");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(held);
        DataDirLock::take(directory.path()).expect("free again");
    }

    #[test]
    fn a_journal_is_taken_once_by_whatever_name_and_whatever_became_of_the_lock_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data");
        let held = DataDirLock::take(&path).expect("free");
        assert_eq!(held.trouble(), None);
        std::fs::remove_file(path.join("lock")).expect("removed");
        is_refused(&path);
        std::fs::write(path.join("lock.new"), "").expect("written");
        std::fs::rename(path.join("lock.new"), path.join("lock")).expect("replaced");
        is_refused(&path);
        let other = directory.path().join("other");
        std::fs::create_dir(&other).expect("made");
        symlink(path.join("journal"), other.join("journal")).expect("linked");
        is_refused(&other);
        std::fs::rename(&path, directory.path().join("moved")).expect("moved");
        is_refused(&directory.path().join("moved"));
        DataDirLock::take(&path).expect("another directory, at the old path");
    }

    #[test]
    fn what_has_become_of_the_directory_is_told() {
        type Harm<'h> = (&'h str, &'h dyn Fn(&Path), &'h str);
        let harm: [Harm<'_>; 6] = [
            ("lock removed", &|path| std::fs::remove_file(path.join("lock")).expect("removed"), "lock is not there"),
            ("lock replaced", &|path| replace(&path.join("lock")), "lock was replaced"),
            (
                "journal moved",
                &|path| std::fs::rename(path.join("journal"), path.join("x")).expect("moved"),
                "journal is not",
            ),
            (
                "state.db removed",
                &|path| std::fs::remove_file(path.join("state.db")).expect("removed"),
                "state.db is not",
            ),
            ("all removed", &|path| std::fs::remove_dir_all(path).expect("removed"), "data is not there"),
            (
                "a file above",
                &|path| {
                    std::fs::rename(path, path.with_extension("old")).expect("moved");
                    std::fs::write(path, "").expect("written");
                },
                "data was replaced",
            ),
        ];
        for (name, harm, expected) in harm {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("data");
            let mut held = DataDirLock::take(&path).expect("free");
            std::fs::write(path.join("state.db"), "").expect("written");
            held.watch(path.join("state.db"));
            assert_eq!(held.trouble(), None, "{name}");
            harm(&path);
            let told = held.trouble().unwrap_or_default();
            assert!(told.contains(expected), "{name}: {told}");
        }
    }

    fn replace(path: &Path) {
        // Made first, so that it is not given the old one's number.
        let new = path.with_extension("new");
        std::fs::write(&new, "").expect("written");
        std::fs::rename(&new, path).expect("replaced");
    }
}

//! One process to a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A data directory that is ours until this is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

/// Why a data directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by process {pid}: stop that one, or give this one a data_dir of its own")]
    Held {
        /// The directory.
        path: String,
        /// The process that has it, as far as it said.
        pid: String,
    },
    /// The file system said no.
    #[error("{path} cannot be locked")]
    Io {
        /// The directory.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl DataDirLock {
    /// Makes the directory if it is not there, and takes it.
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.display().to_string();
        let failed = |source| LockError::Io { path: path.clone(), source };
        crate::directory::make(data_dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(data_dir.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(LockError::Held { path, pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        // On a full disk the number stays out: it is only for the message.
        if let Err(error) = written {
            tracing::debug!(%error, "the lock file does not name this process");
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_once_and_the_holder_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let held = DataDirLock::take(directory.path()).expect("free");
        let error = DataDirLock::take(directory.path()).expect_err("held");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(held);
        DataDirLock::take(directory.path()).expect("free again");
    }
}

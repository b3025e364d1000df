//! The disk as the journal sees it, and the real one.
//!
//! A trait, because the promise of the store is about what a disk does when it is full, fails a sync or loses power, and a real
//! disk does none of that on demand: see [`model`](super::model).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new empty file, with room for `bytes` set aside if the file system can.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Renames a file. Durable after [`sync_names`](Self::sync_names).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Copies a file; replaces nothing.
    fn copy(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// How much room the file system has; `None` when it does not say.
    fn space(&self) -> Option<Space>;
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What is free for us.
    pub free: u64,
}

/// The room of the file system that a directory lies on.
pub fn space_of(directory: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) }).filter(|space| space.total > 0)
}

/// One file. All calls may come from several threads.
pub trait DiskFile: Send + Sync {
    /// Reads at an offset; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// How long the file is.
    fn length(&self) -> io::Result<u64>;
}

/// A directory of the file system: made 0700, its files 0600.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
    /// Kept open to make names durable: opening it for that would fail where no file descriptor is left, which passes, and look
    /// like a failed sync, which does not.
    names: File,
}

impl RealDisk {
    /// Opens a directory, making it when it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        crate::directory::make(directory)?;
        Ok(Self { directory: directory.to_owned(), names: File::open(directory)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let set_aside = if bytes == 0 {
            Ok(())
        } else {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
        };
        match set_aside {
            // Some file systems cannot set room aside; writing then finds out when it is full.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(Arc::new(RealFile(file))),
            Err(error) => {
                drop(file);
                std::fs::remove_file(&path)?;
                Err(error.into())
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(to))?;
        io::copy(&mut File::open(self.path(from))?, &mut copy)?;
        copy.sync_all()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.names.sync_all()
    }

    fn space(&self) -> Option<Space> {
        space_of(&self.directory)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }
}

/// Whether an error means that there is no room, which passes, and not that the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

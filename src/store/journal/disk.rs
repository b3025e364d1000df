//! The disk as the journal sees it, and the real one.
//!
//! A trait, because the promise of the store is about what a disk does when it is full, fails a sync or loses power, and a real
//! disk does none of that on demand: see `model.rs`.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::segment_name::segment_of;
use crate::directory::{Identity, make, narrow};
use crate::store::lock::is_gone;

/// One directory of files.
pub trait Disk: Send + Sync + 'static {
    /// Makes a new empty file, with room for `bytes` set aside if the file system can.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// The same for a file that takes the place of another: it is not the one that is written to.
    fn create_aside(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Names of all files. What is no regular file is not one of ours.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Whether a name is taken, by whatever it is.
    fn is_taken(&self, name: &str) -> bool;
    /// Renames a file. Durable after [`sync_names`](Self::sync_names).
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Copies a file; replaces nothing.
    fn copy(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Where it lies, if it is a directory of a file system.
    fn directory(&self) -> Option<&Path> {
        None
    }
    /// How much room the file system has; `None` when it does not say.
    fn space(&self) -> Option<Space>;
    /// What has become of the directory or of files in it, if they are not what they were: removed, replaced, cut, written to by
    /// another. Each file has at least so many bytes; `is_listed` is asked again of one that is not there, which may have been let go
    /// since. Where nothing but this program can reach them: nothing.
    fn trouble(&self, _files: &[(String, u64)], _is_listed: &dyn Fn(&str) -> bool) -> Option<String> {
        None
    }
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
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
    /// Whether it has another name, under which somebody else may write to it.
    fn is_shared(&self) -> bool {
        false
    }
}

/// A directory of the file system: 0700, its files 0600.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
    /// Kept open to make names durable: opening it for that would fail where no file descriptor is left, which passes, and look
    /// like a failed sync, which does not.
    names: File,
    /// The file that was made last. Held while it is made, renamed or removed, and while nothing is only looked at.
    newest: Mutex<Option<Newest>>,
    /// What lay there when it was opened.
    at_first: HashSet<String>,
}

/// The file that is written to.
#[derive(Clone, Debug)]
struct Newest {
    name: String,
    identity: Identity,
    last: Last,
}

impl RealDisk {
    /// Opens a directory, making it when it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        make(directory)?;
        narrow(directory);
        let names = File::open(directory)?;
        let mut disk =
            Self { directory: directory.to_owned(), names, newest: Mutex::default(), at_first: HashSet::default() };
        disk.at_first = disk.list()?.into_iter().collect();
        disk.at_first.iter().for_each(|name| narrow(&disk.path(name)));
        Ok(disk)
    }

    /// Whether another process writes to the newest segment, by whatever name it reached it.
    pub fn is_written_to(&self) -> io::Result<bool> {
        let newest = self.list()?.into_iter().filter_map(|name| Some((segment_of(&name)?, name))).max();
        let Some((_, name)) = newest else { return Ok(false) };
        // Unlocked again when it is closed. Where nothing can be locked, nothing is known.
        Ok(matches!(File::open(self.path(&name))?.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Makes a new file, with room set aside.
    fn make_file(&self, name: &str, bytes: u64) -> io::Result<File> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let set_aside = if bytes == 0 {
            Ok(())
        } else {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
        };
        match set_aside {
            // Some file systems cannot set room aside; writing then finds out when it is full.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(file),
            Err(error) => {
                drop(file);
                std::fs::remove_file(&path)?;
                Err(error.into())
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn newest(&self) -> MutexGuard<'_, Option<Newest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has become of the directory.
    fn trouble_with_directory(&self) -> Option<String> {
        let path = self.directory.display();
        let is_read_only = |stat: rustix::fs::StatVfs| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        if rustix::fs::fstatvfs(&self.names).is_ok_and(is_read_only) {
            return Some(format!("the file system of {path} is read-only now"));
        }
        let opened = self.names.metadata().ok().map(|metadata| Identity::of(&metadata));
        self.trouble_with(&self.directory, |_, identity| Some(identity) == opened)
    }

    fn trouble_with(&self, path: &Path, is_it: impl FnOnce(u64, Identity) -> bool) -> Option<String> {
        match std::fs::metadata(path) {
            Ok(metadata) if is_it(metadata.len(), Identity::of(&metadata)) => None,
            Ok(_) => Some(format!("{} was replaced or cut by another program", path.display())),
            Err(error) if is_gone(&error) => Some(format!("{} is not there any more", path.display())),
            Err(_) => None,
        }
    }

    /// What has become of the file that was made last: it is the one that is written to.
    /// Nothing that is written waits for this look, so what it finds holds only if nothing has changed meanwhile.
    fn trouble_with_newest(&self) -> Option<String> {
        let Newest { name, identity: made, last } = self.newest().clone()?;
        let written = lock_last(&last).clone();
        let is_it = |identity| {
            let is_whole = |file| is_still_there(&file, written.as_ref()) || *lock_last(&last) != written;
            identity == made && File::open(self.path(&name)).map_or(true, is_whole)
        };
        let trouble = self.trouble_with(&self.path(&name), |_, identity| is_it(identity));
        // What lay there from the first is this journal's own, or was put there and is told of at the start.
        let is_newer = |other: &String| {
            segment_of(other) > segment_of(&name) && segment_of(&name).is_some() && !self.at_first.contains(other)
        };
        let stranger = || self.list().ok()?.into_iter().find(is_newer);
        let trouble =
            trouble.or_else(|| Some(format!("{} was made by another process", self.path(&stranger()?).display())))?;
        let newest = self.newest();
        let is_same = newest.as_ref().is_some_and(|newest| newest.name == name && newest.identity == made);
        drop(newest);
        is_same.then_some(trouble)
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.make_file(name, bytes)?;
        // Held until it is closed. It was made a moment ago: only a file system without locks refuses.
        if let Err(error) = file.try_lock() {
            tracing::debug!(name, %error, "a segment cannot be locked");
        }
        let identity = Identity::of(&file.metadata()?);
        let last = Last::default();
        *self.newest() = Some(Newest { name: name.to_owned(), identity, last: last.clone() });
        Ok(Arc::new(RealFile { file, last }))
    }

    fn create_aside(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile { file: self.make_file(name, bytes)?, last: Last::default() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(RealFile { file, last: Last::default() }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Somebody may have put a directory here, or a pipe, which nobody could read to its end.
            if std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn is_taken(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.path(name)).is_ok()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut newest = self.newest();
        std::fs::rename(self.path(from), self.path(to))?;
        if let Some(newest) = newest.as_mut().filter(|newest| newest.name == from) {
            to.clone_into(&mut newest.name);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut newest = self.newest();
        std::fs::remove_file(self.path(name))?;
        newest.take_if(|newest| newest.name == name);
        Ok(())
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(to))?;
        io::copy(&mut File::open(self.path(from))?, &mut copy)?;
        copy.sync_all()
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.directory)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.names.sync_all()
    }

    fn space(&self) -> Option<Space> {
        space_of(&self.directory)
    }

    fn trouble(&self, files: &[(String, u64)], is_listed: &dyn Fn(&str) -> bool) -> Option<String> {
        let with_file = |(name, least): &(String, u64)| {
            self.trouble_with(&self.path(name), |bytes, _| bytes >= *least).filter(|_| is_listed(name))
        };
        let with_files = || files.iter().find_map(with_file);
        self.trouble_with_directory().or_else(|| self.trouble_with_newest()).or_else(with_files)
    }
}

struct RealFile {
    file: File,
    last: Last,
}

/// The end of what was written last, and where it lies. Held while something is written.
type Last = Arc<Mutex<Option<(u64, Vec<u8>)>>>;

/// So many bytes of it: chance writes them a second time nowhere.
const LAST_BYTES: usize = 32;

fn lock_last(last: &Last) -> MutexGuard<'_, Option<(u64, Vec<u8>)>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what was written last is still there: a copy may have been written over the file, or it was cut and has grown again.
fn is_still_there(file: &File, last: Option<&(u64, Vec<u8>)>) -> bool {
    let Some((offset, written)) = last else { return true };
    let mut found = vec![0; written.len()];
    match file.read_exact_at(&mut found, *offset) {
        Ok(()) => found == *written,
        // What cannot be read may be there. The next write or sync says more.
        Err(error) => error.kind() != io::ErrorKind::UnexpectedEof,
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut last = lock_last(&self.last);
        if !is_still_there(&self.file, last.as_ref()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another program has changed the file"));
        }
        self.file.write_all_at(bytes, offset)?;
        let end = &bytes[bytes.len().saturating_sub(LAST_BYTES)..];
        *last = Some((offset + (bytes.len() - end.len()) as u64, end.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.file.metadata()?.nlink() == 0 {
            // All of it went to a file that nobody can open any more: it ends with this process.
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while it was written to"));
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        lock_last(&self.last).take_if(|(offset, written)| *offset + written.len() as u64 > bytes);
        self.file.set_len(bytes)
    }

    fn is_shared(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 1)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }
}

/// Whether an error means that there is no room, which passes, and not that the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_segment_that_lay_there_from_the_first_is_no_other_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str| std::fs::write(directory.path().join(name), "anything").expect("written");
        put("0000000099.journal");
        let disk = RealDisk::open(directory.path()).expect("it opens");
        let file = disk.create("0000000002.journal", 0).expect("made");
        file.write_at(b"something", 0).expect("written");
        assert_eq!(disk.trouble(&[], &|_| true), None);
        put("0000000098.journal");
        let told = disk.trouble(&[], &|_| true).unwrap_or_default();
        assert!(told.ends_with("0000000098.journal was made by another process"), "{told}");
    }

    #[test]
    fn a_file_that_is_let_go_while_it_is_looked_for_is_no_trouble_and_one_that_is_missed_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = RealDisk::open(directory.path()).expect("it opens");
        let file = disk.create("0000000002.journal", 0).expect("made");
        file.write_at(b"something", 0).expect("written");
        let files = [("0000000001.journal".to_owned(), 1), ("0000000002.journal".to_owned(), 9)];
        assert_eq!(disk.trouble(&files, &|name| name == "0000000002.journal"), None);
        let told = disk.trouble(&files, &|_| true).unwrap_or_default();
        assert!(told.ends_with("0000000001.journal is not there any more"), "{told}");
    }
}

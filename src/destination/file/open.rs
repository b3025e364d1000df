//! Opening what lines are added to: a regular file, locked and ours alone, or a stream.

use std::fs::{File as OpenFile, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::own;
use super::place::{self, Place};

/// How long a locked file is waited for. When a reload changes a destination, or its name, the file is in the hands of what was
/// there before, until that has ended its last attempt.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether it is free.
const LOCKED_EVERY: Duration = Duration::from_millis(10);
/// How long a pipe that is full is waited for: its reader is slow, or has stopped.
const FULL_WITHIN: Duration = Duration::from_secs(2);

/// How files are opened.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Whether each batch is synced; a stream cannot be.
    pub syncs: bool,
    /// The mode of a file that is made.
    pub mode: u32,
}

/// The mode of a file if the config says none, and the rights that its owner must have: the relay opens it again.
pub const MODE: u32 = 0o600;

/// Why lines were not written.
#[derive(Debug)]
pub enum Failed {
    /// The path is one of the relay's own files: it never will be.
    Own,
    /// It is something that takes no lines.
    Other(&'static str),
    /// It may be later.
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Io(error)
    }
}

/// A file or a stream that is held open.
pub struct Held {
    file: OpenFile,
    /// Where our last line ends; of a stream nothing.
    end: Option<u64>,
    /// Whether each batch is synced.
    syncs: bool,
    /// A stream holds the beginning of a line whose end it did not take.
    is_torn: bool,
}

impl Held {
    /// Opens a path to add lines to it.
    pub fn open(path: &Path, data_dir: &Path, how: How) -> Result<Self, Failed> {
        if own::is_own(path, data_dir) {
            return Err(Failed::Own);
        }
        match place::look(path) {
            Place::Stream(what) if how.syncs => Err(unsyncable(what).into()),
            Place::Stream(_) => open_stream(path),
            Place::File => open_file(path, data_dir, how),
            Place::Other(what) => Err(Failed::Other(what)),
        }
    }

    /// Whether the path still leads to this file, and nobody has cut or extended it.
    pub fn is_untouched(&self, path: &Path) -> bool {
        let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
        let there = if self.end.is_some() { std::fs::symlink_metadata(path) } else { std::fs::metadata(path) };
        match (self.file.metadata(), there) {
            (Ok(open), Ok(there)) => {
                identity(&open) == identity(&there) && self.end.is_none_or(|end| open.len() == end)
            }
            _ => false,
        }
    }

    /// Adds lines, and tells how many are written for good.
    pub fn write(&mut self, lines: &[Vec<u8>]) -> (usize, io::Result<()>) {
        let Some(end) = self.end else { return self.write_stream(lines) };
        let all = lines.concat();
        let written = self.file.write_all(&all).and_then(|()| if self.syncs { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => {
                self.end = Some(end + all.len() as u64);
                (lines.len(), Ok(()))
            }
            Err(error) => {
                // Half a line must not stay: the lock is ours, so nobody else wrote behind it. Somebody may have cut the file to make
                // room, though: it is made shorter and never longer.
                if self.file.metadata().is_ok_and(|metadata| metadata.len() > end) {
                    let _ = self.file.set_len(end);
                }
                (0, Err(error))
            }
        }
    }

    /// What a stream has taken cannot be taken back: each line that is written is delivered, whatever becomes of the next.
    fn write_stream(&mut self, lines: &[Vec<u8>]) -> (usize, io::Result<()>) {
        for (count, line) in lines.iter().enumerate() {
            let end_of_torn = if self.is_torn { &b"\n"[..] } else { &[] };
            let mut rest: &[u8] = &[end_of_torn, line].concat();
            let whole = rest.len();
            let start = Instant::now();
            while !rest.is_empty() {
                match self.file.write(rest) {
                    Ok(0) => return (count, Err(io::ErrorKind::WriteZero.into())),
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && start.elapsed() < FULL_WITHIN => {
                        std::thread::sleep(LOCKED_EVERY);
                    }
                    Err(error) => {
                        self.is_torn = self.is_torn || rest.len() < whole;
                        let is_full = error.kind() == io::ErrorKind::WouldBlock;
                        return (
                            count,
                            Err(if is_full { io::Error::other("its reader takes nothing") } else { error }),
                        );
                    }
                }
            }
            self.is_torn = false;
        }
        (lines.len(), Ok(()))
    }

    /// Whether to go on with it after a failed write, as it knows of half a line.
    pub fn is_torn_stream(&self) -> bool {
        self.is_torn
    }
}

/// What to say of a thing that cannot be synced.
pub fn unsyncable(what: &str) -> io::Error {
    io::Error::other(format!("it is {what}, which cannot be synced: write `fsync: never`"))
}

/// Opens a pipe or a device. Without a reader a pipe is refused, and not waited for.
fn open_stream(path: &Path) -> Result<Held, Failed> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let opened = OpenOptions::new().append(true).custom_flags(flags.bits() as i32).open(path);
    let is_unread = |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
    let file = opened.map_err(|error| if is_unread(&error) { io::Error::other("nobody reads it") } else { error })?;
    Ok(Held { file, end: None, syncs: false, is_torn: false })
}

/// Opens a file to append to: never through a symlink, and ours alone.
fn open_file(path: &Path, data_dir: &Path, how: How) -> Result<Held, Failed> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // Who may read a file may enter its directory.
    crate::directory::make_with(directory, how.mode | (how.mode & 0o444) >> 2)?;
    // A pipe that came meanwhile must not be waited for.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(how.mode).custom_flags(flags.bits() as i32);
    let mut file = match options.clone().create_new(true).open(path) {
        Ok(file) => {
            // The process's mask took something away.
            file.set_permissions(Permissions::from_mode(how.mode))?;
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(path)?,
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    match place::of(&metadata) {
        Place::File if own::is_linked(&metadata, data_dir) => return Err(Failed::Own),
        Place::File => {}
        Place::Stream(what) => return Err(unsyncable(what).into()),
        Place::Other(what) => return Err(Failed::Other(what)),
    }
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
    Ok(Held { file, end: Some(end), syncs: how.syncs, is_torn: false })
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

//! Opening what lines are added to: a regular file, locked and ours alone, or a stream.

use std::fs::{File as OpenFile, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::own;
use super::place::{self, Place};
use crate::directory::Identity;

/// How long a locked file is waited for. When a reload changes a destination, or its name, the file is in the hands of what was
/// there before, until that has ended its last attempt.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether it is free.
const LOCKED_EVERY: Duration = Duration::from_millis(10);
/// How often a path is opened again that leads elsewhere once its file is ours: what closes files was there first.
const OPENED_MAX: usize = 8;
/// A record that was cut off is no longer than this: a body has its limit, and what is written of it is not ten times as long.
const TORN_BYTES_MAX: u64 = 16 << 20;
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

/// What a file is made of.
#[derive(Clone, Debug)]
pub struct Form {
    /// Stands once, at the beginning.
    pub header: Vec<u8>,
    /// What each line ends with.
    pub end: &'static [u8],
}

impl Form {
    /// Lines of JSON, which need no header.
    pub const LINES: Form = Form { header: Vec::new(), end: b"\n" };

    /// Whether a file begins as one of these does, or is empty.
    pub fn begins(&self, file: &mut OpenFile) -> io::Result<bool> {
        if self.header.is_empty() {
            return Ok(read_at(file, 0, 1)?.first().is_none_or(|first| *first == b'{'));
        }
        Ok(file.metadata()?.len() == 0 || has_header(file, self)?)
    }
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
    /// It holds something else: it has another header.
    Foreign,
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
    /// Of a file, what stands at its beginning.
    header: Vec<u8>,
    /// When something was added to it last, unix milliseconds; of a stream 0.
    pub written_ms: u64,
}

impl Held {
    /// Opens a path to add lines to it.
    pub fn open(path: &Path, data_dir: &Path, how: How, form: &Form) -> Result<Self, Failed> {
        if own::is_own(path, data_dir) {
            return Err(Failed::Own);
        }
        match place::look(path) {
            Place::Stream(what) if how.syncs => Err(unsyncable(what).into()),
            Place::Stream(_) => open_stream(path),
            Place::File => open_file(path, data_dir, how, form),
            Place::Other(what) => Err(Failed::Other(what)),
        }
    }

    /// Whether the path still leads to this file, and nobody has cut or extended it.
    pub fn is_untouched(&self, path: &Path) -> bool {
        let there = if self.end.is_some() { std::fs::symlink_metadata(path) } else { std::fs::metadata(path) };
        match (self.file.metadata(), there) {
            (Ok(open), Ok(there)) => {
                Identity::of(&open) == Identity::of(&there) && self.end.is_none_or(|end| open.len() == end)
            }
            _ => false,
        }
    }

    /// How many bytes it has, where it is a file.
    pub fn bytes(&self) -> Option<u64> {
        self.end
    }

    /// Whether it has no line but its header.
    pub fn is_empty(&self) -> bool {
        self.end.is_none_or(|end| end <= self.header.len() as u64)
    }

    /// Adds lines, and tells how many are written for good.
    pub fn write(&mut self, lines: &[Vec<u8>], now_ms: u64) -> (usize, io::Result<()>) {
        let Some(end) = self.end else { return self.write_stream(lines) };
        let all = if end == 0 { [self.header.clone(), lines.concat()].concat() } else { lines.concat() };
        let written = self.file.write_all(&all).and_then(|()| if self.syncs { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => {
                self.end = Some(end + all.len() as u64);
                self.written_ms = now_ms;
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
    Ok(Held { file, end: None, syncs: false, is_torn: false, header: Vec::new(), written_ms: 0 })
}

/// Opens a file to append to: never through a symlink, and ours alone.
fn open_file(path: &Path, data_dir: &Path, how: How, form: &Form) -> Result<Held, Failed> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // Who may read a file may enter its directory.
    crate::directory::make_with(directory, how.mode | (how.mode & 0o444) >> 2)?;
    let mut file = open_locked(path, data_dir, how)?;
    cut_torn(&mut file, form)?;
    crate::directory::sync(directory)?;
    let metadata = file.metadata()?;
    let written_ms = u64::try_from(metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000).unwrap_or(0);
    let header = form.header.clone();
    Ok(Held { file, end: Some(metadata.len()), syncs: how.syncs, is_torn: false, header, written_ms })
}

fn open_locked(path: &Path, data_dir: &Path, how: How) -> Result<OpenFile, Failed> {
    // A pipe that came meanwhile must not be waited for.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(how.mode).custom_flags(flags.bits() as i32);
    for _ in 0..OPENED_MAX {
        let file = match options.clone().create_new(true).open(path) {
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
        // Whoever had the lock may have packed it and taken it away: what is added to it then nobody ever sees.
        let leads_there = std::fs::symlink_metadata(path).map(|there| Identity::of(&there) == Identity::of(&metadata));
        if leads_there.unwrap_or(false) {
            return Ok(file);
        }
    }
    Err(io::Error::other("somebody moves it away again and again").into())
}

/// What a crash cut off must not swallow what comes next. A line of JSON is ended; of a table a record without its end is taken away, since
/// a text that was opened in it would go on: its delivery was not settled.
fn cut_torn(file: &mut OpenFile, form: &Form) -> Result<(), Failed> {
    let bytes = file.metadata()?.len();
    // A table, or what else is no lines of JSON.
    if form.header.is_empty() && !form.begins(file)? {
        return Err(Failed::Foreign);
    }
    if bytes == 0 || ends_with(file, bytes, form.end)? && has_header(file, form)? {
        return Ok(());
    }
    if form.header.is_empty() {
        return Ok(file.write_all(form.end)?);
    }
    if bytes < form.header.len() as u64 && form.header.starts_with(&read_at(file, 0, bytes)?) {
        return Ok(file.set_len(0)?);
    }
    if !has_header(file, form)? {
        return Err(Failed::Foreign);
    }
    let from = bytes.saturating_sub(TORN_BYTES_MAX).max(form.header.len() as u64 - form.end.len() as u64);
    let tail = read_at(file, from, bytes - from)?;
    match tail.windows(form.end.len()).rposition(|bytes| bytes == form.end) {
        Some(at) => Ok(file.set_len(from + at as u64 + form.end.len() as u64)?),
        None => Err(Failed::Foreign),
    }
}

fn has_header(file: &mut OpenFile, form: &Form) -> io::Result<bool> {
    Ok(file.metadata()?.len() >= form.header.len() as u64 && read_at(file, 0, form.header.len() as u64)? == form.header)
}

fn ends_with(file: &mut OpenFile, bytes: u64, end: &[u8]) -> io::Result<bool> {
    let length = end.len() as u64;
    Ok(bytes >= length && read_at(file, bytes - length, length)? == end)
}

fn read_at(file: &mut OpenFile, from: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut read = Vec::new();
    file.take(length).read_to_end(&mut read)?;
    Ok(read)
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

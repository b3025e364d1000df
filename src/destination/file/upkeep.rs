//! What becomes of files that are closed: they are packed, and go when they are too many or too old. And how a file is closed.
//!
//! # Through a crash
//!
//! A file is closed by one rename. It is packed into a file beside it with a name of its own, which is synced and then renamed to `….gz`; only
//! then the file itself goes. So after a crash at any point there is the file, or what it was packed into, or both: where both are, of one age, and
//! hold the same, the file goes. Nothing is ever written over.
//!
//! Whoever works on a file has it locked, as who adds to it has. A file that is locked is left for the next time.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::Lines;
use super::closed::{LATE, Named, Names, PACKED};
use super::own;
use crate::directory::{self, Identity};

/// Files looked at in one go: more in one place are no archive.
const FILES_MAX: usize = 100_000;
/// Files that are closed in one second.
const CLOSED_AT_ONCE_MAX: u32 = 10_000;
/// Bytes packed before it is looked whether to stop: some milliseconds.
const STEP: usize = 1 << 20;
/// Room that packing leaves on the disk, beside as much as the file has: events are refused where there is little.
const ROOM_BYTES: u64 = 1 << 30;
/// What a file that is being packed into is called, behind a dot and the name that it will have.
const PARTIAL: &str = ".partial";

/// What becomes of closed files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    pub packs: bool,
    /// So many of each series stay.
    pub files_max: Option<usize>,
    /// Until so long after something was added to them last.
    pub max_age: Option<Duration>,
}

impl Keeping {
    /// Whether anything becomes of them.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

/// A closed file.
struct Closed {
    path: PathBuf,
    named: Named,
    written_ms: u64,
}

/// Closes a file: gives it a name of its own, which it has for good. Returns that.
pub fn close(names: &Names, path: &Path, now_ms: u64) -> io::Result<PathBuf> {
    move_away(path, |count| names.closed(path, now_ms, count))
}

/// Puts a file aside that has the path of this destination and is none of its files.
pub fn put_aside(path: &Path, now_ms: u64) -> io::Result<PathBuf> {
    move_away(path, |count| Names::aside(path, now_ms, count))
}

fn move_away(path: &Path, name: impl Fn(u32) -> PathBuf) -> io::Result<PathBuf> {
    for to in (0..CLOSED_AT_ONCE_MAX).map(name) {
        if std::fs::symlink_metadata(packed_of(&to)).is_ok() {
            continue;
        }
        match rename(path, &to) {
            Ok(()) => {
                directory::sync(directory_of(path))?;
                return Ok(to);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many files were closed in this second"))
}

/// Gives a file another name, unless that is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do both at once.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if std::fs::symlink_metadata(to).is_ok() => {
            Err(io::ErrorKind::AlreadyExists.into())
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => std::fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

fn packed_of(path: &Path) -> PathBuf {
    let mut packed = path.as_os_str().to_owned();
    packed.push(PACKED);
    packed.into()
}

/// A closed file by the name that it had before it was packed.
fn unpacked_of(path: &Path) -> PathBuf {
    let name = path.to_string_lossy();
    name.strip_suffix(PACKED).map_or_else(|| path.to_owned(), PathBuf::from)
}

fn partial_of(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}{PACKED}{PARTIAL}"))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// When something was added to a file last, unix milliseconds.
fn written_ms(metadata: &std::fs::Metadata) -> u64 {
    let since = metadata.modified().unwrap_or(SystemTime::now()).duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Opens and locks a file that is nobody else's, and is still the one that its path leads to; `None` where it is not to be had now.
fn locked(path: &Path, data_dir: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || own::is_linked(&metadata, data_dir) {
        return Ok(None);
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let leads_there =
        std::fs::symlink_metadata(path).is_ok_and(|there| Identity::of(&there) == Identity::of(&metadata));
    Ok(leads_there.then_some(file))
}

impl Lines {
    /// Closes what is to be closed, packs what is, and takes away what is too much; stops soon where it is told to. Blocks. The error is the
    /// first of all: what it is about is left as it is, and the rest is done.
    pub fn look_after(&self, now_ms: u64, stop: &CancellationToken) -> Result<(), String> {
        let mut trouble = None;
        let mut tell = |path: &Path, what: &str, error: &dyn std::fmt::Display| {
            trouble.get_or_insert_with(|| format!("{} could not be {what}: {error}", path.display()));
        };
        let root = self.names.root();
        if let Err(error) = self.root.check(root) {
            return Err(format!("{} could not be looked at: {error}", root.display()));
        }
        let (found, is_whole) = self.found(&mut tell);
        if !is_whole {
            tell(root, "looked at", &format!("there are more than {FILES_MAX} files"));
        }
        let mut closed = Vec::new();
        for (path, named) in found {
            if stop.is_cancelled() {
                return Ok(());
            }
            match self.close_where_due(path.clone(), &named, now_ms) {
                Ok(Some(file)) => closed.push(file),
                Ok(None) => {}
                Err(error) => tell(&path, "closed", &error),
            }
        }
        // First, so that none of them is packed.
        let (kept, too_much) = self.parted(closed, now_ms);
        for Closed { path, written_ms, .. } in too_much {
            if let Err(error) = self.remove(&path, written_ms) {
                tell(&path, "removed", &error);
            }
        }
        for file in kept {
            if !self.keeping.packs || file.named.is_packed || stop.is_cancelled() {
                continue;
            }
            if let Err(error) = self.pack(&file.path, file.written_ms, now_ms, stop) {
                tell(&file.path, "packed", &error);
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// The destination's files; and whether those are all.
    fn found(&self, tell: &mut impl FnMut(&Path, &str, &dyn std::fmt::Display)) -> (Vec<(PathBuf, Named)>, bool) {
        let mut found = Vec::new();
        let mut looked_at = 0;
        let mut directories = vec![(self.names.root().to_owned(), 0, Named::default())];
        while let Some((directory, depth, above)) = directories.pop() {
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tell(&directory, "looked at", &error);
                    continue;
                }
            };
            for entry in entries.flatten() {
                looked_at += 1;
                if looked_at > FILES_MAX {
                    return (found, false);
                }
                let (name, path) = (entry.file_name(), entry.path());
                let Some(name) = name.to_str() else { continue };
                let is_last = depth + 1 == self.names.depth();
                if is_last && self.is_left_over(&path, name, depth, &above) {
                    let _ = std::fs::remove_file(&path);
                    continue;
                }
                let Some(named) = self.names.read(depth, &above, name) else { continue };
                match entry.file_type() {
                    Ok(kind) if kind.is_file() && is_last => found.push((path, named)),
                    Ok(kind) if kind.is_dir() && !is_last => directories.push((path, depth + 1, named)),
                    _ => {}
                }
            }
        }
        (found, true)
    }

    /// Whether a file was being packed into, and what was packed is gone.
    fn is_left_over(&self, path: &Path, name: &str, depth: usize, above: &Named) -> bool {
        let packed = name.strip_prefix('.').and_then(|name| name.strip_suffix(PARTIAL));
        let Some(source) = packed.and_then(|packed| packed.strip_suffix(PACKED)) else { return false };
        self.names.read(depth, above, source).is_some()
            && std::fs::symlink_metadata(path.with_file_name(source)).is_err()
    }

    /// A file that is closed, or is so from now on.
    fn close_where_due(&self, path: PathBuf, named: &Named, now_ms: u64) -> io::Result<Option<Closed>> {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { return Ok(None) };
        let written_ms = written_ms(&metadata);
        let closed = |path| Closed { path, named: named.clone(), written_ms };
        let is_quiet = written_ms.saturating_add(LATE.as_millis() as u64) <= now_ms;
        if named.is_closed(now_ms, &self.timezone) {
            return Ok((named.moment.is_some() || named.is_packed || is_quiet).then(|| closed(path)));
        }
        let is_empty = metadata.len() <= self.form.header.len() as u64;
        if is_empty || !self.rotation.parts(written_ms, now_ms, &self.timezone) {
            return Ok(None);
        }
        // Nobody adds to it meanwhile.
        let mut open = self.lock();
        open.remove(&path);
        let Some(mut file) = locked(&path, &self.root.path)? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !self.rotation.parts(self::written_ms(&metadata), now_ms, &self.timezone) || !self.form.begins(&mut file)? {
            return Ok(None);
        }
        Ok(Some(closed(close(&self.names, &path, now_ms)?)))
    }

    /// Packs a closed file, where it can be had and nobody stops it.
    fn pack(&self, path: &Path, written_ms: u64, now_ms: u64, stop: &CancellationToken) -> io::Result<()> {
        self.lock().remove(path);
        let Some(mut source) = self.locked_since(path, written_ms)? else { return Ok(()) };
        let mut path = path.to_owned();
        let packed = packed_of(&path);
        if std::fs::symlink_metadata(&packed).is_ok() {
            if holds_the_same(&packed, &mut source)? {
                std::fs::remove_file(&path)?;
                directory::sync(directory_of(&path))?;
                return Ok(());
            }
            // Something came late: it is a file of its own.
            path = close(&self.names, &path, now_ms)?;
        }
        let (partial, packed) = (partial_of(&path), packed_of(&path));
        let made = self
            .pack_into(&mut source, &partial, stop)
            .and_then(|is_whole| if is_whole { rename(&partial, &packed).map(|()| true) } else { Ok(false) });
        if !matches!(made, Ok(true)) {
            let _ = std::fs::remove_file(&partial);
            return made.map(|_| ());
        }
        directory::sync(directory_of(&path))?;
        std::fs::remove_file(&path)?;
        directory::sync(directory_of(&path))?;
        Ok(())
    }

    /// Returns whether it was not stopped.
    fn pack_into(&self, source: &mut File, partial: &Path, stop: &CancellationToken) -> io::Result<bool> {
        let system = rustix::fs::fstatvfs(&*source)?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < source.metadata()?.len() + ROOM_BYTES {
            return Err(io::Error::other("there is not enough room on the disk"));
        }
        // What a crash has left is begun anew. Whoever packs this file has it locked.
        match std::fs::remove_file(partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(self.how.mode).open(partial)?;
        file.set_permissions(Permissions::from_mode(self.how.mode))?;
        let mut packer = GzEncoder::new(file, Compression::default());
        let mut step = vec![0; STEP];
        loop {
            if stop.is_cancelled() {
                return Ok(false);
            }
            match source.read(&mut step) {
                Ok(0) => break,
                Ok(read) => packer.write_all(&step[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let file = packer.finish()?;
        // It is as old as what it was made of.
        file.set_times(FileTimes::new().set_modified(source.metadata()?.modified()?))?;
        file.sync_all()?;
        Ok(true)
    }

    /// The same file as it was looked at, locked; `None` where something came to it since, or it is not to be had.
    fn locked_since(&self, path: &Path, written_ms: u64) -> io::Result<Option<File>> {
        let Some(file) = locked(path, &self.root.path)? else { return Ok(None) };
        Ok((self::written_ms(&file.metadata()?) == written_ms).then_some(file))
    }

    /// Those that are kept, and those that are not.
    fn parted(&self, closed: Vec<Closed>, now_ms: u64) -> (Vec<Closed>, Vec<Closed>) {
        let mut series: BTreeMap<Vec<String>, Vec<Closed>> = BTreeMap::new();
        for file in closed {
            series.entry(file.named.series().to_vec()).or_default().push(file);
        }
        let oldest_ms = self.keeping.max_age.map(|age| now_ms.saturating_sub(age.as_millis() as u64));
        let (mut kept, mut too_much) = (Vec::new(), Vec::new());
        for mut files in series.into_values() {
            let order = |file: &Closed| (file.written_ms, file.named.moment.clone(), file.path.clone());
            files.sort_by_cached_key(|file| std::cmp::Reverse(order(file)));
            let mut places: BTreeMap<PathBuf, usize> = BTreeMap::new();
            for file in files {
                // What was packed, and is not removed yet, is the same file twice.
                let next = places.len();
                let place = *places.entry(unpacked_of(&file.path)).or_insert(next);
                let is_old = oldest_ms.is_some_and(|oldest_ms| file.written_ms < oldest_ms);
                let is_one_too_many = self.keeping.files_max.is_some_and(|most| place >= most);
                if is_old || is_one_too_many { too_much.push(file) } else { kept.push(file) }
            }
        }
        (kept, too_much)
    }

    /// Takes a closed file away, and the directories that held nothing else.
    pub(super) fn remove(&self, path: &Path, written_ms: u64) -> io::Result<()> {
        self.lock().remove(path);
        let Some(_locked) = self.locked_since(path, written_ms)? else { return Ok(()) };
        std::fs::remove_file(path)?;
        directory::sync(directory_of(path))?;
        for directory in path.ancestors().skip(1).take(self.names.depth().saturating_sub(1)) {
            if std::fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Whether what was packed is what a file holds.
fn holds_the_same(packed: &Path, source: &mut File) -> io::Result<bool> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let packed = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(packed)?;
    let metadata = packed.metadata()?;
    // What was packed is as old as the file was: what came later is something else, also where it is the same letter by letter.
    if !metadata.is_file() || metadata.modified()? != source.metadata()?.modified()? {
        return Ok(false);
    }
    let mut unpacked = GzDecoder::new(io::BufReader::new(packed));
    let mut source = io::BufReader::new(source);
    let is_same = same(&mut unpacked, &mut source);
    // Whatever came of it, the file is read from its beginning.
    io::Seek::seek(source.into_inner(), io::SeekFrom::Start(0))?;
    // What is no gzip file holds something else.
    Ok(is_same.unwrap_or(false))
}

fn same(one: &mut impl Read, other: &mut impl Read) -> io::Result<bool> {
    let (mut of_one, mut of_other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let read = one.read(&mut of_one)?;
        if read == 0 {
            return Ok(other.read(&mut of_other)? == 0);
        }
        let there = &mut of_other[..read];
        match other.read_exact(there) {
            Ok(()) if *there == of_one[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

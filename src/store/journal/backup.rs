//! A consistent copy of a running store.
//!
//! The index is copied first, then everything is synced, then the segments are copied as far as they go at that moment: so the
//! copy's journal is never behind its index, and opening it is like opening after a crash.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};
use std::sync::atomic::Ordering;

use super::index::Database;
use super::segment_name::file_name;
use super::segments::SegmentInfo;
use super::{Journal, JournalStore};
use crate::store::BackupError;

/// A path to a backup names so many directories at most, and has so many bytes: each is looked at, and those that are missing are made and synced.
const DIRECTORIES_MAX: usize = 128;
const PATH_BYTES_MAX: usize = 4000;

/// Where a directory lies, seen from the store's own.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Elsewhere,
    /// It is one of them or below one, by whatever way its path goes.
    Inside,
    /// Below something that is not there, its path goes up again.
    Unclear,
}

/// Where a directory lies or would lie, whether it is there or not.
fn place_of(directory: &Path, own: &[&Path]) -> std::io::Result<Place> {
    let known = directory.ancestors().find_map(|at| Some((at, at.canonicalize().ok()?)));
    let Some((known, real)) = known else { return Ok(Place::Unclear) };
    let rest = directory.strip_prefix(known).unwrap_or(Path::new(""));
    if rest.components().any(|component| component == Component::ParentDir) {
        return Ok(Place::Unclear);
    }
    // By their numbers and not by their names: one directory may be mounted at two places.
    let number = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let own = own.iter().map(|path| number(path)).collect::<std::io::Result<Vec<_>>>()?;
    let is_own = |at: &Path| number(at).is_ok_and(|number| own.contains(&number));
    Ok(if real.ancestors().any(is_own) { Place::Inside } else { Place::Elsewhere })
}

const CHUNK_BYTES: usize = 1 << 20;

impl JournalStore {
    /// Writes a consistent copy of everything into an empty directory, while the store goes on. Blocks on the disk.
    pub fn backup(&self, directory: &Path) -> Result<(), BackupError> {
        let path = directory.display().to_string();
        if directory.as_os_str().len() > PATH_BYTES_MAX || directory.components().count() > DIRECTORIES_MAX + 1 {
            return Err(BackupError::Unusable { path, source: ErrorKind::InvalidFilename.into() });
        }
        let own: Vec<&Path> = self.journal.disk.directory().into_iter().chain(self.journal.index.directory()).collect();
        match place_of(directory, &own) {
            Ok(Place::Elsewhere) => {}
            Ok(Place::Inside) => return Err(BackupError::Inside(path)),
            Ok(Place::Unclear) => return Err(BackupError::Unclear(path)),
            Err(source) => return Err(BackupError::Io { path, source }),
        }
        let failed = |source| BackupError::Io { path: path.clone(), source };
        let unusable = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput => BackupError::Unusable { path: path.clone(), source },
            // A loop of links has no stable kind.
            _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                BackupError::Unusable { path: path.clone(), source }
            }
            _ => failed(source),
        };
        crate::directory::make(directory).map_err(unusable)?;
        if std::fs::read_dir(directory).map_err(unusable)?.next().is_some() {
            return Err(BackupError::NotEmpty(path));
        }
        let journal = directory.join("journal");
        crate::directory::make(&journal).map_err(failed)?;
        // Segments stay while they are copied.
        self.journal.pins.fetch_add(1, Ordering::AcqRel);
        let copied = self.journal.copy_index(directory).and_then(|()| {
            self.journal.upkeep.checkpoint();
            let copy = |info: &SegmentInfo| self.journal.copy_segment(info, &journal);
            self.journal.segments.outline().iter().try_for_each(copy).map_err(failed)
        });
        self.journal.pins.fetch_sub(1, Ordering::AcqRel);
        copied?;
        let synced = crate::directory::sync(&journal).and_then(|()| crate::directory::sync(directory));
        synced.map_err(failed)
    }
}

impl Journal {
    fn copy_index(&self, directory: &Path) -> Result<(), BackupError> {
        self.index.flush();
        let path = directory.join("state.db");
        let index = |error: rusqlite::Error| BackupError::Index(error.to_string());
        let failed = |source| BackupError::Io { path: path.display().to_string(), source };
        // Made by us first, so that nobody else may read it for a moment.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let own = self.index.another_reader().transpose().map_err(index)?;
        let copy =
            |database: &Database| database.connection.execute("VACUUM INTO ?1", [path.display().to_string()]).map(drop);
        own.as_ref().map_or_else(|| copy(&self.index.write()), copy).map_err(index)?;
        file.sync_all().map_err(failed)
    }

    fn copy_segment(&self, info: &SegmentInfo, directory: &Path) -> std::io::Result<()> {
        let name = file_name(info.segment);
        let from = self.disk.open(&name)?;
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(&name))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        while offset < info.end {
            let wanted = chunk.len().min((info.end - offset) as usize);
            let read = from.read_at(&mut chunk[..wanted], offset)?;
            if read == 0 {
                break;
            }
            to.write_all(&chunk[..read])?;
            offset += read as u64;
        }
        to.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(own: &Path, rows: &[(String, Place)]) {
        for (path, expected) in rows {
            assert_eq!(place_of(Path::new(path), &[own]).expect("it can be looked at"), *expected, "{path}");
        }
    }

    #[test]
    fn a_directory_is_inside_by_whatever_way_its_path_goes() {
        let scratch = tempfile::tempdir().expect("a directory");
        let at = |path: &str| format!("{}/{path}", scratch.path().display());
        std::fs::create_dir_all(at("data/journal")).expect("made");
        std::fs::create_dir_all(at("database")).expect("made");
        std::os::unix::fs::symlink(at("data/journal"), at("link")).expect("linked");
        let proc = format!("/proc/self/root{}", at("data/journal/x"));
        check(
            Path::new(&at("data")),
            &[
                (at("data"), Place::Inside),
                (at("data/copy"), Place::Inside),
                (at("data/journal/a/b/c"), Place::Inside),
                (at("link/x"), Place::Inside),
                (at("database/../data/x"), Place::Inside),
                (proc, Place::Inside),
                (at("missing/../data/x"), Place::Unclear),
                (at("database"), Place::Elsewhere),
                (at("database/x"), Place::Elsewhere),
                (at("data/../database/x"), Place::Elsewhere),
                (at(""), Place::Elsewhere),
                ("/".to_owned(), Place::Elsewhere),
            ],
        );
    }
}

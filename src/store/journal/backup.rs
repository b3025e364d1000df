//! A consistent copy of a running store.
//!
//! The index is copied first, then everything is synced, then the segments are copied as far as they go at that moment: so the
//! copy's journal is never behind its index, and opening it is like opening after a crash.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::lock;
use super::segments::{SegmentInfo, file_name};
use super::shared::Shared;
use crate::store::BackupError;

const CHUNK_BYTES: usize = 1 << 20;

impl Shared {
    pub fn backup(&self, directory: &Path) -> Result<(), BackupError> {
        let path = directory.display().to_string();
        let failed = |source| BackupError::Io { path: path.clone(), source };
        crate::directory::make(directory).map_err(failed)?;
        if std::fs::read_dir(directory).map_err(failed)?.next().is_some() {
            return Err(BackupError::NotEmpty(path));
        }
        let journal = directory.join("journal");
        crate::directory::make(&journal).map_err(failed)?;
        // Segments stay while they are copied.
        self.pins.fetch_add(1, Ordering::AcqRel);
        let copied = self.copy_index(directory).and_then(|()| {
            self.index.checkpoint();
            let copy = |info: &SegmentInfo| self.copy_segment(info, &journal);
            self.segments.outline().iter().try_for_each(copy).map_err(failed)
        });
        self.pins.fetch_sub(1, Ordering::AcqRel);
        copied?;
        let synced = crate::directory::sync(&journal).and_then(|()| crate::directory::sync(directory));
        synced.map_err(failed)
    }

    fn copy_index(&self, directory: &Path) -> Result<(), BackupError> {
        self.index.flush();
        let path = directory.join("state.db");
        let index = |error: rusqlite::Error| BackupError::Index(error.to_string());
        let failed = |source| BackupError::Io { path: path.display().to_string(), source };
        // Made by us first, so that nobody else may read it for a moment.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let database = lock(&self.index.database);
        let text = path.display().to_string();
        database.connection.execute("VACUUM INTO ?1", [text]).map_err(index)?;
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

//! The files of segments that are open for reading, each once.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Weak};

use super::DiskFile;

/// Segments kept open for reading. There may be hundreds, and file descriptors are few.
const OPEN_MAX: usize = 8;

/// The files that are open. Whoever reads a segment has the same handle, so that it is known when the last one has let go of it.
#[derive(Default)]
pub struct OpenFiles {
    /// Those that stay open, the last one that was asked for at the end.
    kept: VecDeque<(u64, Arc<dyn DiskFile>)>,
    /// Others that somebody still has.
    in_use: HashMap<u64, Weak<dyn DiskFile>>,
}

impl OpenFiles {
    /// The file of a segment.
    pub fn get(
        &mut self,
        segment: u64,
        open: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let at = self.kept.iter().position(|(known, _)| *known == segment);
        let kept = at.and_then(|at| self.kept.remove(at)).map(|(_, file)| file);
        let known = kept.or_else(|| self.in_use.remove(&segment).and_then(|file| file.upgrade()));
        let file = known.map_or_else(open, Ok)?;
        self.kept.push_back((segment, file.clone()));
        if self.kept.len() > OPEN_MAX
            && let Some((segment, file)) = self.kept.pop_front()
        {
            self.in_use.retain(|_, file| file.strong_count() > 0);
            self.in_use.insert(segment, Arc::downgrade(&file));
        }
        Ok(file)
    }

    /// The next who asks for it opens it anew.
    pub fn forget(&mut self, segment: u64) {
        self.kept.retain(|(known, _)| *known != segment);
        self.in_use.remove(&segment);
    }
}

//! What only an embedded store has.

use super::inbox::Message;
use super::*;
use crate::store::Health;

/// What only an embedded store has: its files are the operator's business.
impl JournalStore {
    /// Trims what need not be kept now, rather than in a while. Blocks until it is done.
    pub fn trim(&self) {
        self.journal.upkeep.trim();
    }

    /// What has become of its files, if they are not what it left there: removed, replaced, written to by another. Reads the disk.
    pub fn trouble(&self) -> Option<String> {
        let look = || {
            let files: Vec<_> = self.journal.segments.outline();
            let files: Vec<_> = files.iter().map(|info| (segment_name::file_name(info.segment), info.end)).collect();
            // One that is let go is forgotten before its file is removed.
            let is_listed = |name: &str| {
                let listed = self.journal.segments.outline();
                listed.iter().any(|info| segment_name::file_name(info.segment) == name)
            };
            self.journal.disk.trouble(&files, &is_listed)
        };
        // What is wrong is wrong twice.
        look().and_then(|_| look())
    }

    /// Shows each text and each run of bytes in the rows of its database, with the table's name, as long as it shall go on: what a file
    /// holds in pieces is found by its rows alone. What has happened is written down first. Reads the disk.
    pub fn values(&self, goes_on: &mut dyn FnMut(&str, &[u8]) -> bool) -> Result<(), String> {
        self.journal.index.flush();
        let shown = match self.journal.index.another_reader() {
            Some(reader) => reader.and_then(|reader| reader.values(goes_on)),
            None => self.journal.index.read().values(goes_on),
        };
        shown.map_err(|error| format!("the index cannot be read: {error}"))
    }

    /// Refuses everything from now on, for a reason: the process is expected to end.
    pub fn fail(&self, why: &str) {
        self.journal.set_health(Health::Poisoned(why.to_owned()));
        // If the writer is gone, everything is refused anyway.
        let _ = self.journal.sender.send(Message::Fail(why.to_owned()));
    }

    /// Writes down where everything stands, so that closing, and the next start, have little to do. Blocks on the disk.
    pub fn checkpoint(&self) {
        self.journal.checkpoint();
    }

    /// Closes where it stands. Blocks on the disk.
    pub fn close_here(&self) {
        self.journal.close(&self.thread);
    }
}

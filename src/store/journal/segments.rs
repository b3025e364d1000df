//! The segments on disk and how to read them: from an event's number to its bytes, and group after group.
//!
//! [`info`]: one of them, in memory. [`group`]: what is in one of its groups. [`scan`]: a walk over groups. [`window`]: what of a file is at hand.
//! [`open_files`]: which are open. [`rewrite`]: writing one again, with some of it erased.

mod group;
mod info;
mod open_files;
mod rewrite;
mod scan;
mod window;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::disk::{Disk, DiskFile};
use super::segment_name::file_name;
use super::words::{Place, ReadError};
use crate::store::StoredEvent;
use crate::store::queues::Bitmap;

use self::group::erased;
pub use self::group::{FoundGroup, events_in, stored};
pub use self::info::SegmentInfo;
use self::open_files::OpenFiles;
pub use self::rewrite::{Edits, RewriteError, Rewritten};
use self::scan::group_at;
pub use self::scan::{Scan, next_group};
pub use self::window::Window;

/// All segments, oldest first.
pub struct Segments {
    disk: Arc<dyn Disk>,
    list: RwLock<Vec<SegmentInfo>>,
    open: Mutex<OpenFiles>,
}

impl Segments {
    pub fn new(disk: Arc<dyn Disk>, list: Vec<SegmentInfo>) -> Self {
        Self { disk, list: RwLock::new(list), open: Mutex::default() }
    }

    /// Adds a segment behind the others.
    pub fn push(&self, info: SegmentInfo) {
        self.list.write().unwrap_or_else(PoisonError::into_inner).push(info);
    }

    /// Changes the newest segment.
    pub fn update_last(&self, change: impl FnOnce(&mut SegmentInfo)) {
        if let Some(last) = self.list.write().unwrap_or_else(PoisonError::into_inner).last_mut() {
            change(last);
        }
    }

    /// Says where the newest segment ends for good.
    pub fn seal_last(&self, end: u64) {
        self.update_last(|info| {
            info.end = end.max(info.start);
            info.index.retain(|(_, offset)| *offset < end);
        });
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.with(|list| list.iter().map(|info| info.end).sum())
    }

    /// Those with numbers in a range, with all that is known of them.
    pub fn between(&self, numbers: Range<u64>) -> Vec<SegmentInfo> {
        self.with(|list| list.iter().filter(|info| numbers.contains(&info.segment)).cloned().collect())
    }

    /// All of them, without the places of their groups, which are most of it.
    pub fn outline(&self) -> Vec<SegmentInfo> {
        let plain = |info: &SegmentInfo| SegmentInfo {
            segment: info.segment,
            first_sequence: info.first_sequence,
            start: info.start,
            end: info.end,
            created_ms: info.created_ms,
            made_ms: info.made_ms,
            outcomes: info.outcomes,
            acts: info.acts,
            names: Bitmap::default(),
            index: Vec::new(),
        };
        self.with(|list| list.iter().map(plain).collect())
    }

    /// Adds the numbers of all names that events refer to.
    pub fn add_names_to(&self, names: &mut Bitmap) {
        self.with(|list| list.iter().for_each(|info| names.insert_all(&info.names)));
    }

    /// The oldest number that is found by arithmetic; what is older was relocated.
    pub fn history_start(&self) -> u64 {
        self.with(|list| list.first().map_or(0, |info| info.first_sequence))
    }

    /// The number of the segment that is written to.
    pub fn newest(&self) -> u64 {
        self.with(|list| list.last().map_or(0, |info| info.segment))
    }

    /// Bytes from the event on to the journal's end: what it keeps from being trimmed.
    pub fn bytes_from(&self, sequence: u64) -> u64 {
        self.with(|list| {
            let after = list.partition_point(|info| info.first_sequence <= sequence);
            let Some(at) = after.checked_sub(1) else { return 0 };
            let info = &list[at];
            let entry = info.index.partition_point(|(first, _)| *first <= sequence).checked_sub(1);
            let offset = entry.map_or(info.start, |entry| info.index[entry].1);
            info.end.saturating_sub(offset) + list[after..].iter().map(|info| info.end).sum::<u64>()
        })
    }

    /// Forgets the oldest segment; its file is the caller's to remove.
    pub fn forget(&self, segment: u64) {
        self.list.write().unwrap_or_else(PoisonError::into_inner).retain(|info| info.segment != segment);
        self.let_go_of(segment);
    }

    /// Whoever reads the segment from now on opens its file anew.
    fn let_go_of(&self, segment: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).forget(segment);
    }

    fn with<T>(&self, look: impl FnOnce(&[SegmentInfo]) -> T) -> T {
        look(&self.list.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The file of a segment, the same for all who read it.
    pub fn file(&self, segment: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(segment, || self.disk.open(&file_name(segment)))
    }

    /// Reads one event by its number. Who lags reads one after the other, so the group of the last one is at hand.
    pub fn read(&self, sequence: u64, window: &mut Window) -> Result<StoredEvent, ReadError> {
        if let Some(found) = window.read_from_group(sequence) {
            return found;
        }
        let mut scan = self.scan_from(sequence).ok_or(ReadError::Missing)?;
        while let Some(group) = scan.next_group(window)? {
            if sequence < group.head.first_sequence {
                return Err(ReadError::Damaged("its group is gone".to_owned()));
            }
            if sequence >= group.head.first_sequence + u64::from(group.head.events) {
                continue;
            }
            window.take_group(group)?;
            return window.read_from_group(sequence).unwrap_or_else(not_there);
        }
        Err(ReadError::Missing)
    }

    /// The numbers of the events that count on in a segment, with the bytes of their bodies.
    pub fn bodies_in(&self, info: &SegmentInfo) -> io::Result<Vec<(u64, u64)>> {
        let file = self.file(info.segment)?;
        let mut window = Window::new(64 << 10);
        let mut offset = info.start;
        let mut bodies = Vec::new();
        while let Some((at, head)) = next_group(&file, info.segment, offset, info.end, &mut window)? {
            offset = at + head.length();
            for (event, _, is_relocated) in events_in(window.heads(&file, at, &head)?) {
                if !is_relocated {
                    bodies.push((event.id.sequence(), u64::from(event.body_bytes)));
                }
            }
        }
        Ok(bodies)
    }

    /// Reads an event that was relocated, from the group that holds it.
    pub fn read_relocated(&self, sequence: u64, place: Place, window: &mut Window) -> Result<StoredEvent, ReadError> {
        if window.group.as_ref().is_none_or(|known| known.place() != place) {
            let end = self.with(|list| list.iter().find(|info| info.segment == place.segment).map(|info| info.end));
            let file = self.file(place.segment)?;
            let end = end.ok_or(ReadError::Missing)?;
            let Some(head) = group_at(&file, place.segment, place.offset, end, window)? else {
                return Err(ReadError::Damaged("its group is gone".to_owned()));
            };
            window.take_group(FoundGroup { file, segment: place.segment, offset: place.offset, head })?;
        }
        window.read_from_group(sequence).unwrap_or_else(not_there)
    }
}

fn not_there() -> Result<StoredEvent, ReadError> {
    Err(ReadError::Damaged("its head is not where it should be".to_owned()))
}

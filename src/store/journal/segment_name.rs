//! What the file of a segment is called.

use super::format::SEGMENT_MAX;

/// The file name of a segment.
pub fn file_name(segment: u64) -> String {
    format!("{segment:010}.journal")
}

/// The segment that a file name names: exactly what [`file_name`] makes of a number that a segment may have.
pub fn segment_of(name: &str) -> Option<u64> {
    let segment = name.strip_suffix(".journal")?.parse().ok()?;
    (segment <= SEGMENT_MAX && file_name(segment) == name).then_some(segment)
}

/// The name that a segment has until it is complete.
pub fn unfinished(segment: u64) -> String {
    format!("{}.tmp", file_name(segment))
}

/// Whether a file is a segment that was never completed.
pub fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|name| segment_of(name).is_some())
}

//! The journal's bytes: segment headers, groups and records, and nothing that touches a disk.
//!
//! # Cast
//!
//! [`header`]: of a segment. [`mod@group`]: records that are checked together. [`record`]: one of them, and [`acts`]: those of what somebody
//! did. [`lanes`]: those of windows and digests. [`erased`]: what is erased in their bytes, and [`texts`] in their words. [`codec`]: integers and texts. [`limits`]: how much each may hold.
//!
//! # Layout, format versions 2 and 3 (all integers little-endian)
//!
//! A **segment** is a file of groups behind a header. The header repeats everything that is needed to read the segment alone:
//! the name table, and which destinations are paused.
//!
//! ```text
//! header  magic "VEROJRNL" | version u32 | header length u32 | segment u64 | first sequence u64 | first group u64
//!         journal u64 | created ms u64 | sealed segment u64 | sealed at u64 | names u32 | pauses u32
//!         names: kind u8, number u32, length u16, text … | pauses: number u32, since ms u64, length u16, text …
//!         marks u32, and for each: number u32, what u8, since ms u64     (breaker open, removed, held; not in version 1)
//!         zeros to a multiple of 8, less 4 | CRC32C u32 over all before it
//! group   magic u32 | CRC32C u32 over the rest of the head and the record heads | segment u64 | own offset u64 | group u64
//!         durable up to u64 | first sequence u64 | heads length u32 | bodies length u32 | events u32 | records u32
//!         record heads … | bodies … | zeros to a multiple of 8
//! record  kind u8, flags u8, 0 u8 ×2, head length u32, and by kind (flags: of 1 and 5, 1 where the body was erased, 2 where values of it were; else 0):
//!   1 event     body length u32 | body CRC32C u32 | id 16 bytes | source u32 | 0 u32 | rules u32 | deliveries u32
//!               rule u32 … | destination u32, rule u32 …
//!   2 outcomes  count u32, and for each: state u8, end u8, attempts u16 | destination u32 | to u32 | sequence u64 | at ms u64
//!               delivered: end 0 arrived, 1 skipped, 2 dropped, 3 moved to; else 0
//!               scheduled: first attempt ms u64, due ms u64;  scheduled and dead: length u16, reason
//!   3 name      kind u8 | number u32 | length u16, text
//!   4 control   what u8 | destination u32 | at ms u64 | length u16, reason
//!   5 relocated   as 1: an event of an older segment, moved here before that one was removed. Its number is not dense
//!   6 selection act u8 | destination u32 | at ms u64 | replay 16 bytes | length u16, reason
//!               chunks u32, and for each: key u64 | length u32, bytes;  moved and yielded: to u32
//!   7 replay    done u8 | replay 16 bytes | at ms u64 | cursor u64 | until u64 | selected u64 | length u32, spec
//!   8 windows   destination u32 | count u32, and for each: key 16 bytes | address u64 | opened ms u64 | ends ms u64 | passed u32 (its highest bit: none goes by itself any more)
//!   9 digest    what u8 | destination u32 | at ms u64, and by what:
//!               1 closed: digest u64 | windows u32, key 16 bytes … | chunks as in 6;  5 ended: windows u32, key 16 bytes …
//!               2 scheduled: digest u64 | attempts u16 | first attempt ms u64 | due ms u64 | length u16, reason
//!               3 delivered, 4 skipped: digest u64 | attempts u16 | chunks as in 6;  6 dissolved: digest u64
//! ```
//!
//! Version 1 had records 1 to 4 and no marks; it is read as it is. A segment has version 3 only where there is a record 8 or 9 in it, or a
//! window or digest when it is made: a reader stops at the first record of a group that it does not know, and a release that knows
//! neither must refuse the segment instead. So it can go on with a journal in which there are none, or none any more.
//!
//! Record heads lie together and bodies behind them, so one CRC and one read cover what a scan needs. A body is erased by
//! writing its segment again beside itself: same length, same offsets, the head flagged and every CRC right, so that a release which does not
//! know the flag reads a small event `{"type":"erased"}`. A group says where it lies (segment and offset), so bytes of another time are never taken
//! for it; and up to where its segment was synced before it was written, so damage below that mark is told from a torn tail.

mod acts;
mod codec;
mod erased;
mod group;
mod header;
mod lanes;
mod limits;
mod record;
#[cfg(test)]
mod tests;
mod texts;

pub use self::acts::ReplayRecord;
pub use self::erased::{RecordPlace, erase_event, erased_body, record_places, redact_event, seal_group};
pub use self::group::{GroupBuilder, GroupHead, GroupPlace};
pub use self::header::{HeaderError, SegmentHeader};
pub use self::limits::*;
pub use self::record::{EventHead, Record, records};

/// The format of a segment in which nothing is said of lanes.
pub const VERSION_PLAIN: u32 = 2;
/// The format of one in which there may be something.
pub const VERSION_OF_LANES: u32 = 3;
/// The newest format that this release reads.
pub const VERSION_MAX: u32 = VERSION_OF_LANES;
/// The oldest.
pub const VERSION_MIN: u32 = 1;

const MAGIC: &[u8; 8] = b"VEROJRNL";
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"VGRP");

/// Bytes of a group's own head.
pub const GROUP_HEAD: usize = 64;
/// Groups begin at multiples of this, so that a search for the next one steps by it.
pub const ALIGN: usize = 8;
const HEADER_FIXED: usize = 80;

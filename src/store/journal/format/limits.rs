//! How much a header, a group and a record may hold.
//!
//! A reader refuses what is beyond a limit, because it is damage that happens to look sound. So each limit is one constant, and who
//! writes counts before it writes: what does not fit into one group goes into several, and an event that can never fit is refused.

/// A segment's header may be this long: some hundred thousand names.
pub const HEADER_MAX: usize = 16 << 20;
/// Record heads of one group. A reader takes no more for a group's, and a writer writes no more.
pub const HEADS_MAX: usize = 64 << 20;
/// The head of one record: an event with half a million rules. A config of a mebibyte names far fewer.
pub const RECORD_MAX: usize = 2 << 20;
/// A group is closed at this many bytes of bodies: a sync of more would hold the first of its events up for nothing.
pub const GROUP_BYTES_MAX: usize = 4 << 20;
/// And at so many bytes of record heads: a hundred events with ten thousand rules each. Who reads an event reads the
/// heads of its group.
pub const GROUP_HEADS_MAX: usize = 4 << 20;
/// The body of one event. The config allows far less (`limits.body_max`).
pub const BODY_MAX: usize = 256 << 20;
/// Outcomes in one record: a megabyte, if each has the longest reason.
pub const OUTCOMES_MAX: usize = 1024;
/// Chunks of 65 536 events in the record of one selection: a megabyte.
pub const CHUNKS_MAX: usize = 128;
/// What a replay was asked for, as text: as long as a whole config.
pub const SPEC_MAX: usize = 1 << 20;
/// Events and groups count no further: an event's id has 62 bits for its number. What says more is damage, whatever its
/// CRC says, and nobody need mind an overflow.
pub const NUMBER_MAX: u64 = (1 << 62) - 1;
/// Segments count no further: one a second would get there in thirty thousand years.
pub const SEGMENT_MAX: u64 = 1 << 40;

// Items up to the limit and one more, and events up to the limit and one more.
const _: () = assert!(2 * (GROUP_HEADS_MAX + RECORD_MAX) <= HEADS_MAX, "whatever the writer puts together can be read");

/// Bytes of an event's record head.
pub fn event_head_bytes(rules: usize, deliveries: usize) -> usize {
    48 + 4 * rules + 8 * deliveries
}

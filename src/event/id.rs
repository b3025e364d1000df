//! Event ids.

use std::fmt;
use std::str::FromStr;

/// The id of an event: a UUIDv7 whose low 62 bits are its sequence number in the journal.
///
/// The sender gets it in the 200, and every copy that leaves carries it as `webhook-id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u128);

/// The version and variant bits of a UUIDv7 (RFC 9562, section 5.7).
const VERSION_7: u128 = 0x7 << 76;
const VARIANT: u128 = 0b10 << 62;
const SEQUENCE_MASK: u128 = (1 << 62) - 1;

impl EventId {
    /// Mints the id for the event with the dense journal number `sequence`, received at `received_ms` (unix, UTC).
    /// `salt` (12 bits are used) tells two journals apart that were started in the same millisecond.
    pub fn mint(received_ms: u64, salt: u16, sequence: u64) -> Self {
        let time = u128::from(received_ms & 0xffff_ffff_ffff) << 80;
        let salt = u128::from(Self::salt_of(salt.into())) << 64;
        Self(time | VERSION_7 | salt | VARIANT | (u128::from(sequence) & SEQUENCE_MASK))
    }

    /// What tells two journals apart, as [`mint`](Self::mint) was given it.
    pub(crate) fn salt(self) -> u16 {
        Self::salt_of((self.0 >> 64) as u64)
    }

    /// The same of a journal's own number.
    pub(crate) fn salt_of(journal: u64) -> u16 {
        journal as u16 & 0x0fff
    }

    /// The event's dense number in the journal. For the journal, and for what watches it; an event is told from another by its id.
    pub(crate) fn sequence(self) -> u64 {
        (self.0 & SEQUENCE_MASK) as u64
    }

    /// When the event was received, unix milliseconds.
    pub fn received_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The 16 bytes in network order.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads back what [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_u128(self.0).hyphenated(), f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = NotAnEventId;

    fn from_str(text: &str) -> Result<Self, NotAnEventId> {
        uuid::Uuid::try_parse(text).map(|id| Self(id.as_u128())).map_err(|_| NotAnEventId)
    }
}

/// The text is not an event id.
#[derive(Debug, thiserror::Error)]
#[error("not an event id: it looks like 0199f3a2-7c1e-7abc-8000-00000000002a")]
pub struct NotAnEventId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_7_uuid_that_keeps_its_sequence() {
        for sequence in [0, 1, 42, u64::from(u32::MAX) + 1, (1 << 62) - 1] {
            let id = EventId::mint(1_700_000_000_123, 0xabc, sequence);
            assert_eq!((id.sequence(), id.salt()), (sequence, 0xabc));
            assert_eq!(id.received_ms(), 1_700_000_000_123);
            let uuid = uuid::Uuid::from_u128(id.0);
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(id.to_string().parse::<EventId>().expect("own text"), id);
        }
    }

    #[test]
    fn ids_sort_by_arrival_then_sequence() {
        let early = EventId::mint(1, 0, 9);
        assert!(early < EventId::mint(2, 0, 1));
        assert!(early < EventId::mint(1, 0, 10));
    }
}

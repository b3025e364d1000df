//! A duty by its text, as the table `lease` has it: what one relay does at a time.
//!
//! A [`crate::store::Duty`] is what a part of the program asks for; it takes one or several of these.

use std::fmt;
use std::str::FromStr;

use crate::store::NameId;

/// The number of a stream, which is part of the ids of its events.
pub type Slot = u16;

/// Slots begin at 1, and there are so many: 10 bits of an event's id.
pub const SLOTS_MAX: Slot = 1023;

/// A digest of what several destinations share a rate limit by.
pub type Group = String;

/// A row of the table `lease`.
///
/// The order is the one in which they are taken: groups before their destinations, the same for every relay, so that no two wait for
/// each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Duty {
    /// What is done once for all relays: segments, custody, rows of relays that are no more.
    Housekeeping,
    /// Appending to a stream.
    Stream(Slot),
    /// Keeping a rate limit that several destinations share.
    RateLimitGroup(Group),
    /// A destination's deliveries and commands.
    Destination(NameId),
    /// Working on a replay, by its id.
    Replay(u128),
}

impl Duty {
    /// Whether it is kept even over all relays, one or several to each. Streams are one to a relay, housekeeping is one to all.
    pub fn is_shared_out(&self) -> bool {
        matches!(self, Self::RateLimitGroup(_) | Self::Destination(_) | Self::Replay(_))
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Housekeeping => f.write_str("housekeeping"),
            Self::Stream(slot) => write!(f, "stream/{slot}"),
            Self::RateLimitGroup(group) => write!(f, "rate-limit-group/{group}"),
            Self::Destination(id) => write!(f, "destination/{}", id.0),
            Self::Replay(id) => write!(f, "replay/{}", uuid::Uuid::from_u128(*id).hyphenated()),
        }
    }
}

/// The text is no duty that this program knows: one of a later program, which is to be left alone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duty of this program: `{0}`")]
pub struct UnknownDuty(pub String);

impl FromStr for Duty {
    type Err = UnknownDuty;

    /// Reads the one text of a duty; another spelling of it is not known, so that no duty has two rows.
    fn from_str(text: &str) -> Result<Self, UnknownDuty> {
        let read = match text.split_once('/') {
            None => (text == "housekeeping").then_some(Self::Housekeeping),
            Some(("stream", slot)) => slot.parse().ok().filter(|slot| (1..=SLOTS_MAX).contains(slot)).map(Self::Stream),
            Some(("rate-limit-group", group)) => is_digest(group).then(|| Self::RateLimitGroup(group.to_owned())),
            Some(("destination", id)) => id.parse().ok().map(|id| Self::Destination(NameId(id))),
            Some(("replay", id)) => uuid::Uuid::try_parse(id).ok().map(|id| Self::Replay(id.as_u128())),
            Some(_) => None,
        };
        read.filter(|duty| duty.to_string() == text).ok_or_else(|| UnknownDuty(text.to_owned()))
    }
}

fn is_digest(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_is_read_from_its_own_text() {
        let id = 0x0199_f3a2_7c1e_7abc_8000_0000_0000_002a;
        let rows = [
            (Duty::Housekeeping, "housekeeping"),
            (Duty::Stream(1), "stream/1"),
            (Duty::Stream(1023), "stream/1023"),
            (Duty::RateLimitGroup("0a9f".to_owned()), "rate-limit-group/0a9f"),
            (Duty::Destination(NameId(0)), "destination/0"),
            (Duty::Destination(NameId(4_000_000_000)), "destination/4000000000"),
            (Duty::Replay(id), "replay/0199f3a2-7c1e-7abc-8000-00000000002a"),
        ];
        for (duty, text) in rows {
            assert_eq!(duty.to_string(), text);
            assert_eq!(text.parse(), Ok(duty));
        }
    }

    #[test]
    fn what_another_program_wrote_and_a_second_spelling_are_unknown() {
        let rows = [
            "",
            "/",
            "cleaning",
            "housekeeping/1",
            "stream/0",
            "stream/1024",
            "stream/01",
            "stream/+1",
            "stream/",
            "rate-limit-group/",
            "rate-limit-group/0A",
            "rate-limit-group/../x",
            "destination/-1",
            "destination/012",
            "destination/12/0",
            "destination/4294967296",
            "replay/0199F3A2-7C1E-7ABC-8000-00000000002A",
            "replay/0199f3a27c1e7abc800000000000002a",
            "Destination/12",
        ];
        for text in rows {
            assert_eq!(text.parse::<Duty>(), Err(UnknownDuty(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn groups_are_taken_before_destinations() {
        assert!(Duty::RateLimitGroup("ff".to_owned()) < Duty::Destination(NameId(0)));
    }
}

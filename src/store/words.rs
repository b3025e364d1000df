//! The store's vocabulary: plain values that go in and come out.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Cursor, Why};
use crate::event::{EventId, FieldPath};

/// The number of a name. Numbers are given once and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(pub u32);

impl NameId {
    /// Names nothing.
    pub const NONE: Self = Self(u32::MAX);
}

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NameKind {
    /// A configured place to deliver to.
    Destination,
    /// A configured way in.
    Source,
    Rule,
}

/// An event on its way in.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    /// The way it came in by.
    pub source: NameId,
    /// Which generation of the config let it in: one that is too old is refused, and none is kept.
    pub generation: u32,
    /// The rules that matched, in order.
    pub rules: Vec<NameId>,
    /// Where it is to go; each destination once.
    pub deliveries: Vec<PlannedDelivery>,
    /// The bytes that came.
    pub body: Bytes,
}

impl NewEvent {
    /// Everything that it refers to by number.
    pub fn names(&self) -> impl Iterator<Item = NameId> + '_ {
        let deliveries = self.deliveries.iter().flat_map(|delivery| [delivery.destination, delivery.rule]);
        std::iter::once(self.source).chain(self.rules.iter().copied()).chain(deliveries)
    }
}

/// One destination of an event, and the rule that chose it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedDelivery {
    pub destination: NameId,
    pub rule: NameId,
}

/// An event as it lies in the store.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its id, which holds its sequence number and its arrival.
    pub id: EventId,
    /// When it arrived, unix milliseconds.
    pub received_ms: u64,
    /// The way it came in by.
    pub source: NameId,
    /// The rules that matched, in order.
    pub rules: Vec<NameId>,
    pub deliveries: Vec<PlannedDelivery>,
    /// The bytes that came; of one that was redacted, what is left of them.
    pub body: Bytes,
    /// Some of its values were taken away after a while: it is for looking at, and goes out to nobody any more.
    pub is_redacted: bool,
}

/// Names one delivery: an event and a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId {
    /// The event's id. Where a claim's event cannot be read, only the store can tell which one it names.
    pub event: EventId,
    pub destination: NameId,
}

/// How much may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub deliveries: usize,
    /// Bytes of their bodies.
    pub body_bytes: usize,
    /// Only what is urgent may be claimed, and no digest.
    pub urgent_only: bool,
}

/// Names a closed digest, for good: in the whole store no two have one, whatever becomes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DigestId(pub NonZeroU64);

/// A UUIDv8: what it holds is the store's own business (RFC 9562, section 5.8).
const VERSION_8: u128 = 0x8 << 76;
const VARIANT: u128 = 0b10 << 62;
const OWN_BITS: u128 = !((0xf << 76) | (0b11 << 62));

impl DigestId {
    /// How others know it, as the store of this number gives it: the same on every attempt, and no event's.
    pub fn name(self, store: u64) -> uuid::Uuid {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(b"digest");
        context.update(&store.to_le_bytes());
        context.update(&self.0.get().to_le_bytes());
        let digest = context.finish();
        let (bytes, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
        uuid::Uuid::from_u128(u128::from_be_bytes(*bytes) & OWN_BITS | VERSION_8 | VARIANT)
    }
}

/// A delivery in the hands of a worker, until it is settled or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub delivery: DeliveryId,
    /// Attempts made before this claim.
    pub attempts: u16,
    /// When the first attempt was made, unix milliseconds; `None` before it.
    pub first_attempt_ms: Option<u64>,
    /// When it was due, unix milliseconds; `None` for a first attempt.
    pub due_ms: Option<u64>,
    /// It is this digest: the delivery is the first of its members, and what becomes of it becomes of all of them.
    pub digest: Option<DigestId>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The destination has it.
    Delivered {
        /// Attempts made in all.
        attempts: u16,
    },
    /// To be tried again.
    Scheduled {
        /// Attempts made in all.
        attempts: u16,
        /// When the first of them was made, unix milliseconds.
        first_attempt_ms: u64,
        /// When the next is due, unix milliseconds.
        due_ms: u64,
        /// What the last one came to, as the text of a [`Why`].
        reason: String,
    },
    /// Given up: a dead letter.
    Dead {
        /// Attempts made in all.
        attempts: u16,
        /// The text of a [`Why`].
        reason: String,
    },
    /// There was nothing to send: it is settled, and nothing arrived.
    Skipped {
        /// Attempts made in all.
        attempts: u16,
        reason: String,
    },
    /// Handed back as it was: no attempt counts, and it is claimed again first.
    Returned,
}

/// Where one delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Something keeps it: no attempt is made before that is over.
    Held { by: HeldBy },
    /// No attempt has been settled yet.
    Waiting,
    /// An attempt is in flight.
    InFlight,
    /// Waiting for its next attempt.
    Scheduled {
        attempts: u16,
        /// When the next is due, unix milliseconds.
        due_ms: u64,
        /// What the last one came to, as the text of a [`Why`].
        reason: String,
    },
    /// The destination has it.
    Delivered {
        attempts: u16,
        /// When, unix milliseconds.
        at_ms: u64,
    },
    Dead {
        attempts: u16,
        /// When, unix milliseconds.
        at_ms: u64,
        /// The text of a [`Why`].
        reason: String,
    },
    /// There was nothing to send.
    Skipped {
        /// When, unix milliseconds.
        at_ms: u64,
        /// Why; empty when that is not known any more.
        reason: String,
    },
    /// It was a dead letter, and is kept no longer.
    Dropped {
        /// When, unix milliseconds.
        at_ms: u64,
    },
    /// Another destination was given it.
    Moved {
        /// When, unix milliseconds.
        at_ms: u64,
        /// Which; [`NameId::NONE`] where the journal does not say.
        to: NameId,
    },
    /// It is over. How is not in memory; where the journal was searched, it is not there either.
    Settled,
}

/// What keeps a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// Its source is held.
    Source,
    /// It lies in a window, to go out with others as one digest.
    Window {
        /// When that is to be ended, unix milliseconds.
        ends_ms: u64,
    },
    /// An earlier delivery of its order key has not been settled.
    Order {
        /// Its event, where that is known.
        earlier: Option<EventId>,
    },
}

/// How a destination stands that does not simply go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameState {
    /// Held until somebody acts. A source that is paused refuses its events.
    pub paused: Option<Pause>,
    /// Events of this source are kept and not delivered, since then, unix milliseconds. What came in meanwhile waits for its end, also
    /// while the source refuses.
    pub held_since_ms: Option<u64>,
    /// Its breaker is open since then, unix milliseconds: time does not count.
    pub open_since_ms: Option<u64>,
    /// The config does not name it any more, since then, unix milliseconds.
    pub removed_since_ms: Option<u64>,
}

/// A destination that is held until somebody acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when, unix milliseconds.
    pub since_ms: u64,
    pub reason: String,
}

/// How sources stand that do not simply go on.
pub type Sources = Arc<HashMap<NameId, NameState>>;

/// What waits, wherever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllCounts {
    /// For each destination that has a name, in the order of their numbers.
    pub destinations: Vec<Counts>,
    /// Events of each source that is held: where several relays have destinations, those that one of them knows of.
    pub held: HashMap<NameId, u64>,
}

impl AllCounts {
    /// What waits for one destination; nothing for one that is not known.
    pub fn of(&self, destination: NameId) -> Counts {
        let known = self.destinations.iter().find(|counts| counts.destination == destination);
        known.cloned().unwrap_or_default()
    }

    /// How many events of a source are held.
    pub fn held(&self, source: NameId) -> u64 {
        self.held.get(&source).copied().unwrap_or(0)
    }
}

/// What waits for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub destination: NameId,
    /// Deliveries not settled yet: waiting, in flight and scheduled. Not those that lie in open windows.
    pub backlog: u64,
    /// Of them, waiting for another attempt.
    pub scheduled: u64,
    /// Of them, selected to go out again.
    pub redeliveries: u64,
    /// Of them, in the hands of a worker.
    pub in_flight: u64,
    /// Deliveries whose sources are held. They do not count as backlog.
    pub held: u64,
    /// Deliveries that lie in open windows. They do not count as backlog, unless the destination is removed: nobody ends its windows.
    pub gathered: u64,
    /// Open windows.
    pub windows: u64,
    /// When the first of those is to be ended in which something lies, unix milliseconds.
    pub next_end_ms: Option<u64>,
    /// Of the backlog, what is urgent.
    pub urgent: u64,
    /// Of the backlog, what is still to be given a lane.
    pub unplaced: u64,
    /// Of the backlog, what waits behind an earlier one of its order key.
    pub behind: u64,
    /// Order keys of which something waits, as far as it was looked at.
    pub order_keys: u64,
    /// Since when the oldest waits of the backlog that has a lane, unix milliseconds: when its event arrived, or when it left its window, was
    /// held no more or was put into the queue again.
    pub oldest_ms: Option<u64>,
    /// When the oldest came that is still to be given a lane, unix milliseconds.
    pub oldest_unplaced_ms: Option<u64>,
    /// When the first of them came, also where it has waited for less than that.
    pub first_unplaced_ms: Option<u64>,
    /// Bytes of journal from the oldest that waits for a first attempt, or to go out again: what its backlog keeps from being trimmed.
    pub backlog_bytes: u64,
    /// The same from the oldest that no source had held: what `backlog.max_size` is about.
    pub limited_bytes: u64,
    pub dead: u64,
    pub state: NameState,
    /// Of a destination that another relay has, when that last said so, unix milliseconds: within two seconds of each change. 0:
    /// it has said nothing yet.
    pub as_of_ms: Option<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            destination: NameId::NONE,
            backlog: 0,
            scheduled: 0,
            redeliveries: 0,
            in_flight: 0,
            held: 0,
            gathered: 0,
            windows: 0,
            next_end_ms: None,
            urgent: 0,
            unplaced: 0,
            behind: 0,
            order_keys: 0,
            oldest_ms: None,
            oldest_unplaced_ms: None,
            first_unplaced_ms: None,
            backlog_bytes: 0,
            limited_bytes: 0,
            dead: 0,
            state: NameState::default(),
            as_of_ms: None,
        }
    }
}

/// Bytes of what is written down under one key: the state of a part of the relay, and no list of events.
pub const MEMO_BYTES_MAX: usize = 256 << 10;
/// Keys of memos: a part of the relay has one or a few.
pub const MEMOS_MAX: usize = 64;

/// What one destination remembers between its attempts: so many texts, with more of which the oldest go. They lie in memory.
pub const REMEMBERED_MAX: usize = 10_000;
/// Bytes of one of them with its key: the name of something elsewhere, and a few numbers.
pub const REMEMBERED_BYTES_MAX: usize = 1024;

/// One attempt that failed, or the one that succeeded after such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptNote {
    /// When it began, unix milliseconds.
    pub at_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// What it came to: delivered, retry, reject, pause or skipped.
    pub outcome: String,
    /// The answer's status; 0 for none.
    pub status: u16,
    pub reason: String,
    /// The answer's beginning, secrets masked.
    pub answer: String,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadQuery {
    /// Given up no earlier than this, unix milliseconds.
    pub since_ms: Option<u64>,
    /// Given up before this, unix milliseconds.
    pub until_ms: Option<u64>,
    /// Whose reason, with its answer behind it, holds this, in whatever case.
    pub reason: Option<String>,
    /// Whose reason is this, whatever the answer was.
    pub reason_is: Option<String>,
    /// Of one of these events, at most [`DEAD_EVENTS_MAX`](super::DEAD_EVENTS_MAX).
    pub events: Option<Vec<EventId>>,
}

impl DeadQuery {
    /// Whether it says nothing of what a dead letter is like.
    pub fn is_of_any_kind(&self) -> bool {
        self.since_ms.is_none() && self.until_ms.is_none() && self.reason.is_none() && self.reason_is.is_none()
    }

    /// Whether a dead letter of one of the events is meant that was given up then, for that reason.
    pub fn holds(&self, at_ms: u64, reason: &str) -> bool {
        let why = Why::of(reason);
        let part = self.reason.as_ref().map(|part| part.to_lowercase());
        self.since_ms.is_none_or(|since_ms| at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| at_ms < until_ms)
            && part.is_none_or(|part| why.to_string().to_lowercase().contains(&part))
            && self.reason_is.as_ref().is_none_or(|whole| *whole == why.reason)
    }
}

/// How far a replay of the history has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Its id, given by who asked for it: the same command again is the same replay.
    pub id: u128,
    /// What was asked for; the store does not look into it.
    pub spec: String,
    /// Where it goes on in the history; `None`: it has come to the end.
    pub cursor: Option<Cursor>,
    /// About how many events are left.
    pub left: u64,
    /// Deliveries selected so far.
    pub selected: u64,
    /// When this was said, unix milliseconds.
    pub at_ms: u64,
    /// Whether it has come to its end.
    pub is_done: bool,
}

/// What is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events are kept this long.
    pub history_age: Duration,
    /// And while the journal has at most this many bytes; `None`: 10 GiB or a fifth of the file system.
    pub history_bytes: Option<u64>,
    /// Dead letters are kept this long.
    pub dead_age: Duration,
    /// And while their bodies have at most this many bytes, half of the history's at most.
    pub dead_bytes: u64,
    /// Above this the store takes nothing in.
    pub bytes_max: Option<u64>,
    /// Below this much free room it takes nothing in; `None`: 256 MiB or a twentieth of the file system.
    pub free_bytes_min: Option<u64>,
    /// What of an event is kept for a shorter time than the rest.
    pub redaction: Option<Arc<Redaction>>,
}

/// Values of events that are taken away once nobody needs them for a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Where they are.
    pub paths: Vec<FieldPath>,
    /// How long after the event came, by how long the store ran.
    pub after: Duration,
}

impl Retention {
    /// What holds where a config is silent.
    pub const DEFAULT: Self = Self {
        history_age: Duration::from_secs(7 * 24 * 60 * 60),
        history_bytes: None,
        dead_age: Duration::from_secs(30 * 24 * 60 * 60),
        dead_bytes: 2 << 30,
        bytes_max: None,
        free_bytes_min: None,
        redaction: None,
    };
}

impl Default for Retention {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How much the store has, and how much it may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of everything.
    pub bytes: u64,
    /// What it may have; `None`: no limit but the disk's.
    pub bytes_max: Option<u64>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Above this, history goes.
    pub history_bytes_max: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Bytes of dead letters' bodies; `None` while the index cannot be read.
    pub dead_bytes: Option<u64>,
    /// Above this, the oldest of them go.
    pub dead_bytes_max: u64,
    /// Free bytes on the file system; `None` when it does not say.
    pub free_bytes: Option<u64>,
    /// Below this nothing is accepted.
    pub free_bytes_min: u64,
    /// When the oldest event of the history arrived, unix milliseconds.
    pub oldest_ms: Option<u64>,
    /// Events in the history.
    pub events: u64,
    /// Dead letters that were dropped because their time was over or they were too many.
    pub dead_expired: u64,
    /// Segments in the journal.
    pub segments: u64,
}

/// Whether the store can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// No room: nothing can be accepted, what is there goes on. Passes without a restart.
    Full(String),
    /// The store does not answer: nothing can be accepted, and nothing is lost. Passes without a restart.
    Away(String),
    /// A sync failed, so what is on the disk is not known any more. Only a restart can find out.
    Poisoned(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_known_by_a_uuid_of_version_8_which_no_release_may_change() {
        let id = |id| DigestId(NonZeroU64::new(id).expect("not 0"));
        let name = id(7).name(42);
        assert_eq!((name.get_version_num(), name.get_variant()), (8, uuid::Variant::RFC4122));
        assert_eq!(name.to_string(), "a3da29f2-fda7-895a-82c1-7637f09bc599", "by another program");
        assert_ne!(name, id(8).name(42));
        assert_ne!(name, id(7).name(43));
        assert_eq!(std::mem::size_of::<Option<DigestId>>(), 8, "a claim is copied everywhere");
    }
}

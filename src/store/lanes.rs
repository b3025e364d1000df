//! The order in which a destination's deliveries go out, where its section sorts them: what is urgent, what is ready, what waits
//! in a window to go out with others as one digest, and what waits for an earlier one of its order key.
//!
//! # Cast
//!
//! * [`Lanes`]: the other side of a [`Queue`](super::Queue), for the *sorter* of a destination. It looks at each delivery once, claims
//!   nothing, and gives it a [`Lane`]. The worker claims from lanes only.
//! * [`WindowHead`]: an open window, which collects one group, named by its [`GroupKey`]. What lies in it waits.
//! * [`DigestId`], [`Digest`]: what some windows had collected when they were ended. It is claimed, attempted and settled as one
//!   delivery, and what becomes of it becomes of all its members. They are frozen: one that leaves is no member any more (it was given
//!   up), and none is added. So what was sent under a digest's id is never sent under that id with others.
//!
//! # What is durable and what is derived
//!
//! Durable are the heads of windows, and closed digests with their members. Who is urgent, who is ready and who lies in which open
//! window is derived: a lane is a function of the event and of the heads, so after a start, a lost lease, or when a section begins to
//! sort, all that waits is *unplaced*, but for members of digests, and the sorter places it again. A lane lies over a delivery and not
//! in the place of it: whatever has a lane waits like anything else, so that losing all lanes loses and doubles nothing. To write down
//! a placement for each delivery would cost as much as its outcome, for what can be known again in a few microseconds.
//!
//! A window's head must outlive a crash: by it a window ends when it was to, and as many of its group as went out by themselves are not sent
//! again as the first. A digest must be on the disk before its first attempt: what was sent once must be the same the next time.
//!
//! # In order
//!
//! A destination may be sorted by order keys instead. Deliveries of one [`OrderKey`] form a *line*: its head, the one with the lowest number,
//! may be claimed, is in flight or waits for its retry, and what is behind it is not claimed. When the head is settled for good the next one
//! is the head. All of that is derived: the sorter looks at what waits in the order of arrival, what is scheduled or in flight as well, and
//! nothing is claimed before it was looked at. It looks so far ahead that [`IN_ORDER_AHEAD`] could go out at once, so that the number of keys
//! that are known has a bound; what is behind one of them costs two bytes, or a bit where it is many.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Answer, DeliveryId, DigestId, Room, StoreError, StoredEvent};
use crate::event::EventId;

/// Open windows of a destination. The last of them takes what would need one more, where it goes to the same place; what does not goes out by
/// itself. A group for each event gathers nothing, and a window takes a hundred bytes and a look at each act on many deliveries.
pub const WINDOWS_MAX: usize = 1024;

/// Closed digests of a destination that are not settled. With so many of them windows stay open and go on collecting. Each takes its text, some
/// hundred kilobytes at most, and a look at each act on many deliveries; and of as many addresses as this each may have one that it does not
/// take, and no other address waits for it.
pub const DIGESTS_MAX: usize = 64;

/// Names a group: a fingerprint of what its events have in common, and of where they go. It says nothing of them to who does not know
/// them already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey(pub [u8; 16]);

/// So many deliveries of a destination that goes in order have been looked at and could be attempted: no more are looked at until some of them
/// have gone. Each has a key of its own, which takes two hundred bytes. It is more than any concurrency, so that no worker waits for it.
pub const IN_ORDER_AHEAD: usize = 4096;

/// Names what is delivered one after the other: a fingerprint of the values that its events have in common. It says nothing of them to who
/// does not know them already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(pub [u8; 16]);

/// An open window. It is found by its key: a later head of the same key takes its place, and what lies in the window stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowHead {
    pub key: GroupKey,
    /// Tells the addresses that a destination sends to apart: windows of two addresses never make one digest. The store only keeps it.
    pub address: u64,
    /// When it was opened, unix milliseconds.
    pub opened_ms: u64,
    /// When it is to be ended, unix milliseconds.
    pub ends_ms: u64,
    /// How many of its group have gone out by themselves since it was opened, and [`Self::NO_MORE`] where none does any more. A value and no
    /// step, so that saying it twice changes nothing.
    pub passed: u32,
}

impl WindowHead {
    /// Beside how many have gone out by themselves: one has waited since, and none that follows overtakes it.
    pub const NO_MORE: u32 = 1 << 31;

    /// How many of its group have gone out by themselves.
    pub fn gone(&self) -> u32 {
        self.passed & !Self::NO_MORE
    }
}

/// How a delivery goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Before all that waits.
    Urgent,
    /// By itself, when its turn comes.
    Ready,
    /// With others, when the window of this key is ended.
    Window(GroupKey),
    /// By itself, when no earlier one of this key waits or is in flight. Where nothing goes in order it is ready.
    InOrder(OrderKey),
}

/// A closed digest that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    pub id: DigestId,
    /// How others know it: it goes with every attempt, where a delivery by itself has its event's id.
    pub name: uuid::Uuid,
    /// When its windows were ended, unix milliseconds.
    pub closed_ms: u64,
    pub members: u64,
    /// It may be claimed, when it is due.
    pub is_offered: bool,
    /// When its next attempt is due, unix milliseconds; `None` before the first, and while one is in flight.
    pub due_ms: Option<u64>,
}

/// A delivery without a lane.
#[derive(Debug)]
pub struct Unplaced {
    pub delivery: DeliveryId,
    /// Its event, or why that cannot be read. It is to be given a lane all the same: who attempts it finds out.
    pub event: Result<Arc<StoredEvent>, StoreError>,
    /// It is scheduled or in flight, as [`look_at_attempted`](Lanes::look_at_attempted) has it: all that is asked is whether it is urgent.
    pub is_attempted: bool,
}

/// The open windows of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenWindows {
    /// Each with how many lie in it, in the order of their keys.
    pub open: Vec<(WindowHead, u64)>,
    /// What was there when sorting began has its lanes. Before that, a window that was open before may seem to hold less than it does, and
    /// is not to be ended.
    pub are_whole: bool,
    /// Deliveries and digests that could be attempted now without any of these windows being ended: ready, urgent, and scheduled ones and
    /// offered digests that are due; what is in flight is none of them.
    pub others: u64,
    /// Deliveries among these that nobody has attempted, or that were handed back.
    pub untried: u64,
}

/// The lanes of one destination, while this process has the [`Lease`](super::Lease) to deliver to it.
pub trait Lanes: Send + Sync {
    /// Says whether its section sorts, which it does not at first. Not durable. It is said also where it does not: windows that were open
    /// before the start are forgotten then, and until then nothing ages that may have lain in one.
    ///
    /// From when it does, nothing is claimed but what has a lane, and nothing has one but the members of digests; so it is when that is
    /// said again: open windows stay, and are to be filled anew. From when it does not, all goes out as everywhere, what lay in a window as
    /// old as that moment, and open windows are forgotten: who wants them to go out as digests ends them before.
    fn sort(&self, sorts: bool);

    /// Says that its section goes in order, as [`sort`](Self::sort) says that it sorts: nothing is claimed but what has a lane, what is scheduled
    /// as well. Open windows are forgotten, and what lay in them goes out by itself, as old as that moment.
    ///
    /// What is placed [in order](Lane::InOrder) is claimed when it is the head of its key: the one with the lowest number of those that wait,
    /// or the one in flight. One with a lower number that is placed later becomes the head unless the head is in flight. What was scheduled and
    /// is behind goes out anew, without the attempts that were made.
    fn sort_in_order(&self);

    /// Some that have no lane, as much as both limits of the room allow and at least one: what arrived since sorting began and what was
    /// there before, in turn, each in the order of arrival. Claims nothing, so that it gives the same again until they are placed; also
    /// while the destination is paused. Where it goes in order: all in the order of arrival, also what is scheduled or in flight, and none
    /// while [`IN_ORDER_AHEAD`] could go out.
    fn unplaced(&self, room: Room) -> BoxFuture<'static, Vec<Unplaced>>;

    /// Has [`unplaced`](Self::unplaced) give what is scheduled or in flight as well, in turn with the rest, until it has been said of each
    /// whether it is urgent: which of them were is not known any more when sorting begins. What is given the lane of what is urgent has
    /// urgent retries from then on; with any other lane it is left as it is, and no window takes it. Not durable, and to be said behind
    /// [`sort`](Self::sort).
    fn look_at_attempted(&self);

    /// Resolves when there may be something new to place. May resolve for nothing.
    fn to_place(&self) -> BoxFuture<'static, ()>;

    /// Opens windows, or says anew what is known of them, and gives deliveries their lanes, all at one moment. What has a lane by now, is in
    /// flight, settled or elsewhere is left alone. A head beyond [`WINDOWS_MAX`] is refused, and what is to lie in a window that is not
    /// open is ready. Heads are written within 100 ms and durable within a second.
    fn place(&self, heads: Vec<WindowHead>, placed: Vec<(DeliveryId, Lane)>);

    /// Takes their lanes from all that is ready, and from what is scheduled and not urgent, which is to go out anew, without the attempts
    /// that were made; of what is still [to be looked at](Self::look_at_attempted) when it is known. What is urgent, in flight or a digest
    /// stays. Not durable: who starts within quiet hours says it again.
    fn displace(&self);

    /// Whether a claim would give something urgent now.
    fn has_urgent(&self) -> bool;

    /// Has [`ready`](super::Queue::ready) resolve: what may be claimed is something else now, as when quiet hours end.
    fn wake(&self);

    /// The windows that are open.
    fn windows(&self) -> OpenWindows;

    /// Whether windows have come over from another destination since this was asked last, or since it was said whether the section sorts.
    /// [`to_place`](Self::to_place) resolves then.
    fn have_windows_come(&self) -> bool;

    /// Ends windows: what lies in them becomes one digest, and those in which nothing lies are forgotten. Takes effect at once. Resolves when
    /// that is durable, which on a full disk is when there is room again; the digest may be offered without, and a crash may have its members
    /// go out under another id then. `None`: there is nothing in them, or there are [`DIGESTS_MAX`] digests and the windows stay as they
    /// are.
    fn end(&self, windows: Vec<GroupKey>) -> Answer<'static, Option<DigestId>>;

    /// Has a digest be claimed when it is due, whether the section sorts or not. Not durable: after a start none is offered. For one that is
    /// offered, or is none any more, nothing changes.
    fn offer(&self, id: DigestId);

    /// Has a digest be claimed no more until it is offered again. One that is in flight is left alone, and so is one that is none any more.
    fn withhold(&self, id: DigestId);

    /// Has a digest that waits for another attempt be due now. Not durable. For one that is due, in flight, or none any more, nothing changes.
    fn hasten(&self, id: DigestId);

    /// A digest is none any more, since it cannot go out as one: what was in it is ready, and as old as it was. No window puts it
    /// together again, unless sorting begins anew before it has gone out. One that is in flight is left alone, and one that was handed back is not.
    /// Written within 100 ms and durable within a second.
    fn dissolve(&self, id: DigestId);

    /// All digests that are not settled, in the order of their closing.
    fn digests(&self) -> Vec<Digest>;

    /// The events of a digest's members, in the order of arrival, behind `after`: as much as both limits of the room allow and at least one.
    /// What cannot be read is left out. Empty at the end, and where there is no such digest.
    fn members(&self, of: DigestId, after: Option<EventId>, room: Room) -> Answer<'static, Vec<Arc<StoredEvent>>>;
}

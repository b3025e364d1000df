//! A queue of a test that passes everything on to another, but for what it changes.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    Answer, Change, Claimable, Claimed, DeliveryId, Digest, DigestId, GroupKey, Lane, Lanes, OpenWindows, Queue,
    QueueWatch, Room, Settled, StoredEvent, Unplaced, WindowHead,
};
use crate::event::EventId;

/// Who implements this is a [`Queue`], with its [`Lanes`]. What none changes cannot be changed yet: it stands below alone.
pub trait PassesOn: Send + Sync {
    /// Where everything goes.
    fn queue(&self) -> &Arc<dyn Queue>;

    /// See [`Queue::claim`].
    fn claim_changed(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>> {
        self.queue().claim(room)
    }

    /// See [`Lanes::members`].
    fn members_changed(
        &self,
        of: DigestId,
        after: Option<EventId>,
        room: Room,
    ) -> Answer<'static, Vec<Arc<StoredEvent>>> {
        self.queue().members(of, after, room)
    }
}

impl<T: PassesOn> Queue for T {
    fn claim(&self, room: Room) -> BoxFuture<'static, Vec<Claimed>> {
        self.claim_changed(room)
    }

    fn ready(&self) -> BoxFuture<'static, ()> {
        self.queue().ready()
    }

    fn claimable(&self) -> Claimable {
        self.queue().claimable()
    }

    fn settle(&self, settled: Vec<Settled>) {
        self.queue().settle(settled);
    }

    fn change(&self, change: Change) {
        self.queue().change(change);
    }

    fn state(&self) -> QueueWatch {
        self.queue().state()
    }

    fn recall(&self, key: &str) -> Option<String> {
        self.queue().recall(key)
    }

    fn remember(&self, key: &str, text: Option<String>) -> Answer<'static, ()> {
        self.queue().remember(key, text)
    }
}

impl<T: PassesOn> Lanes for T {
    fn sort(&self, sorts: bool) {
        self.queue().sort(sorts);
    }

    fn sort_in_order(&self) {
        self.queue().sort_in_order();
    }

    fn unplaced(&self, room: Room) -> BoxFuture<'static, Vec<Unplaced>> {
        self.queue().unplaced(room)
    }

    fn look_at_attempted(&self) {
        self.queue().look_at_attempted();
    }

    fn to_place(&self) -> BoxFuture<'static, ()> {
        self.queue().to_place()
    }

    fn place(&self, heads: Vec<WindowHead>, placed: Vec<(DeliveryId, Lane)>) {
        self.queue().place(heads, placed);
    }

    fn displace(&self) {
        self.queue().displace();
    }

    fn has_urgent(&self) -> bool {
        self.queue().has_urgent()
    }

    fn wake(&self) {
        self.queue().wake();
    }

    fn windows(&self) -> OpenWindows {
        self.queue().windows()
    }

    fn have_windows_come(&self) -> bool {
        self.queue().have_windows_come()
    }

    fn end(&self, windows: Vec<GroupKey>) -> Answer<'static, Option<DigestId>> {
        self.queue().end(windows)
    }

    fn offer(&self, id: DigestId) {
        self.queue().offer(id);
    }

    fn withhold(&self, id: DigestId) {
        self.queue().withhold(id);
    }

    fn hasten(&self, id: DigestId) {
        self.queue().hasten(id);
    }

    fn dissolve(&self, id: DigestId) {
        self.queue().dissolve(id);
    }

    fn digests(&self) -> Vec<Digest> {
        self.queue().digests()
    }

    fn members(&self, of: DigestId, after: Option<EventId>, room: Room) -> Answer<'static, Vec<Arc<StoredEvent>>> {
        self.members_changed(of, after, room)
    }
}

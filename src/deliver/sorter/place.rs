//! Lanes are given: verdicts first, and then all of them at once, by the windows that are open.

use super::Sorter;
use crate::deliver::sorting::windows::Arrival;
use crate::deliver::sorting::{Gathering, Group, Judged, Leftover, Ordered, Sorting, Verdict, Windows};
use crate::deliver::worker::delivery;
use crate::event::EventId;
use crate::store::{DeliveryId, Lane, OrderKey, Room, Unplaced};

/// Deliveries that are given a lane in one go: what else is ready comes in between.
pub(in crate::deliver) const PLACED_AT_ONCE: Room = Room { deliveries: 256, body_bytes: 512 << 10, urgent_only: false };

/// What a delivery is, before it is known which windows are open.
enum Found {
    Urgent,
    Ready,
    InOrder(OrderKey),
    Of { group: Group, address: u64, event: EventId, received_ms: u64 },
}

impl Sorter {
    /// Gives some deliveries their lanes. Returns whether there may be more.
    pub(super) async fn place_some(&mut self) -> bool {
        if self.sorting().is_none() && self.leftover.is_none() {
            return false;
        }
        let unplaced = self.parts.queue.unplaced(PLACED_AT_ONCE).await;
        if unplaced.is_empty() {
            self.is_backlog_placed = true;
            self.parts.status.sorted().windows(Windows::keep_no_promise);
            return false;
        }
        let found: Vec<(DeliveryId, Found)> = self.look_at(unplaced);
        let now_ms = self.parts.clock.now_ms();
        let gathering = self.gathering().or(self.leftover.as_ref().map(|leftover| &leftover.gathering));
        let is_quiet = self.is_quiet;
        let (changed, placed) = self.parts.status.sorted().windows(|windows| {
            let lane = |(id, found)| (id, lane(windows, gathering, found, (now_ms, is_quiet)));
            let placed: Vec<(DeliveryId, Lane)> = found.into_iter().map(lane).collect();
            (windows.take_changed(), placed)
        });
        self.parts.queue.place(changed, placed);
        true
    }

    fn look_at(&self, unplaced: Vec<Unplaced>) -> Vec<(DeliveryId, Found)> {
        let names = self.parts.store.names();
        let found = unplaced.into_iter().map(|Unplaced { delivery: id, event, is_attempted }| {
            // Who attempts it finds out what is wrong with it.
            let Ok(event) = event else { return (id, Found::Ready) };
            let delivery = delivery(&names, &event, Some(id.destination));
            let judge = |sorting: &Sorting| sorting.judge(&*self.section.config.destination, &delivery);
            let judged = self.sorting().map(judge);
            if is_attempted {
                let is_urgent = judged.is_some_and(|judged| judged.verdict == Verdict::Urgent);
                return (id, if is_urgent { Found::Urgent } else { Found::Ready });
            }
            let judged = match (&self.leftover, judged) {
                (_, Some(Judged { verdict: Verdict::Urgent, .. })) => return (id, Found::Urgent),
                // What comes now was never to be gathered.
                (Some(_), _) if self.is_backlog_placed => return (id, Found::Ready),
                (Some(Leftover { sorting, .. }), _) => Some(judge(sorting)),
                (None, judged) => judged,
            };
            let found = match judged {
                Some(Judged { verdict: Verdict::Of(group), address }) => {
                    Found::Of { group, address, event: event.id, received_ms: event.received_ms }
                }
                Some(Judged { verdict: Verdict::InOrder(Ordered { key, .. }), .. }) => Found::InOrder(key),
                Some(Judged { verdict: Verdict::Urgent, .. }) if self.leftover.is_none() => Found::Urgent,
                _ => Found::Ready,
            };
            (id, found)
        });
        found.collect()
    }
}

fn lane(windows: &mut Windows, gathering: Option<&Gathering>, found: Found, (now_ms, is_quiet): (u64, bool)) -> Lane {
    match (found, gathering) {
        (Found::Urgent, _) => Lane::Urgent,
        (Found::InOrder(key), _) => Lane::InOrder(key),
        (Found::Of { group, address, event, received_ms }, Some(gathering)) => {
            windows.place(gathering, Arrival { event, received_ms, group: &group, address }, now_ms, is_quiet)
        }
        (Found::Ready | Found::Of { .. }, _) => Lane::Ready,
    }
}

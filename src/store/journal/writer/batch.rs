//! What is asked of the writer, and what of it has been taken and not yet written.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::GROUP_RECORDS_MAX;
use crate::store::journal::format::{
    GROUP_BYTES_MAX, GROUP_HEADS_MAX, GroupBuilder, OUTCOMES_MAX, ReplayRecord, event_head_bytes,
};
use crate::store::journal::inbox::{Message, Reply};
use crate::store::journal::words::{Relocating, Retiring};
use crate::store::queues::{
    Control, DigestRecord, Done, KnownCommand, OutcomeRecord, SelectionRecord, Urgency, WindowsRecord,
};
use crate::store::{NameId, NameKind, NewEvent, WINDOWS_MAX};
use crate::time::Instant;

/// Outcomes held in memory while there is no room at all. The oldest go first: their deliveries would happen again after a crash.
const OUTCOMES_HELD_MAX: usize = 65_536;

/// Records of one digest that lie in one group, as long as it has no more than half a million times a thousand deliveries to range over:
/// some megabytes of record heads, which any reader takes.
const DIGESTS_IN_GROUP: usize = 8;

/// What is written besides events, in the order in which it took effect: reading it leads to the same state.
pub(super) enum Item {
    Outcomes(Vec<OutcomeRecord>),
    Name(NameKind, NameId, Arc<str>),
    Control(Control),
    Selections(Vec<SelectionRecord>),
    Windows(WindowsRecord),
    Digests(Vec<DigestRecord>),
    Command(KnownCommand),
    Replay(ReplayRecord),
}

impl Item {
    /// Adds its record to a group.
    pub(super) fn add_to(&self, builder: &mut GroupBuilder) {
        match self {
            Item::Outcomes(outcomes) if outcomes.is_empty() => {}
            Item::Outcomes(outcomes) => builder.outcomes(outcomes),
            Item::Name(kind, id, name) => builder.name(*kind, *id, name),
            Item::Control(control) => builder.control(control),
            Item::Selections(selections) => selections.iter().for_each(|selection| builder.selection(selection)),
            Item::Windows(windows) => builder.windows(windows),
            Item::Digests(digests) => digests.iter().for_each(|digest| builder.digest(digest)),
            // The records of what was done hold its id.
            Item::Command(_) => {}
            Item::Replay(replay) => builder.replay(replay),
        }
    }
}

/// What has been taken and not yet written.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) events: Vec<(NewEvent, Reply)>,
    pub(super) event_bytes: usize,
    /// Bytes of their record heads.
    pub(super) event_heads: usize,
    pub(super) items: Vec<Item>,
    pub(super) outcomes: usize,
    pub(super) items_since: Option<Instant>,
    pub(super) is_urgent: bool,
    /// Who waits for the items, and for how many deliveries.
    pub(super) waiting: Vec<(Done, u64)>,
    pub(super) barriers: Vec<SyncSender<()>>,
    pub(super) relocating: Option<Relocating>,
    pub(super) retiring: Option<Retiring>,
    pub(super) sealing: Option<SyncSender<io::Result<u64>>>,
    pub(super) closing: Option<SyncSender<()>>,
    pub(super) is_abandoned: bool,
    pub(super) failed: Option<String>,
}

impl Batch {
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Append(event, reply) => {
                self.event_bytes += event.body.len();
                self.event_heads += event_head_bytes(event.rules.len(), event.deliveries.len());
                self.events.push((event, reply));
            }
            Message::Outcomes(outcomes) => {
                self.outcomes += outcomes.len();
                self.take_outcomes(outcomes);
                self.items_since.get_or_insert_with(Instant::now);
                self.forget_old_outcomes();
            }
            Message::Name(kind, id, name) => {
                // Before everything that may use it.
                self.items.push(Item::Name(kind, id, name));
            }
            Message::Control(control, urgency) => {
                self.item(Item::Control(control));
                self.is_urgent |= urgency == Urgency::Now;
            }
            Message::Selections(parts) => {
                parts.into_iter().for_each(|part| self.item(Item::Selections(part)));
                self.is_urgent = true;
            }
            Message::Windows(windows) => self.take_windows(windows),
            Message::Digests(digests, done) => {
                digests.chunks(DIGESTS_IN_GROUP).for_each(|part| self.item(Item::Digests(part.to_vec())));
                if let Some(done) = done {
                    self.waiting.push((done, 0));
                    self.is_urgent = true;
                }
            }
            Message::Command(command, done) => {
                self.waiting.push((done, command.deliveries));
                self.item(Item::Command(command));
                self.is_urgent = true;
            }
            Message::Replay(replay, done) => {
                self.waiting.push((done, replay.selected));
                self.item(Item::Replay(replay));
                self.is_urgent = true;
            }
            Message::Relocate(relocating) => self.relocating = Some(relocating),
            Message::Retire(retiring) => self.retiring = Some(retiring),
            Message::Seal(reply) => self.sealing = Some(reply),
            Message::Durable(done) => {
                self.waiting.push((done, 0));
                self.is_urgent = true;
            }
            Message::Barrier(reply) => self.barriers.push(reply),
            Message::LookForRoom => {}
            Message::Close(reply) => self.closing = Some(reply),
            Message::Abandon => self.is_abandoned = true,
            Message::Fail(why) => self.failed = Some(why),
        }
    }

    /// Outcomes come together as far as they fit into one record.
    fn take_outcomes(&mut self, mut outcomes: Vec<OutcomeRecord>) {
        if let Some(Item::Outcomes(last)) = self.items.last_mut() {
            let room = OUTCOMES_MAX.saturating_sub(last.len()).min(outcomes.len());
            last.extend(outcomes.drain(..room));
        }
        while !outcomes.is_empty() {
            let rest = outcomes.split_off(outcomes.len().min(OUTCOMES_MAX));
            self.items.push(Item::Outcomes(std::mem::replace(&mut outcomes, rest)));
        }
    }

    /// What is said of a window again before it is written takes the place of what was said before: while there is no room at all, it
    /// is said again and again.
    fn take_windows(&mut self, WindowsRecord { destination, heads }: WindowsRecord) {
        let Some(Item::Windows(last)) = self.items.last_mut().filter(
            |item| matches!(item, Item::Windows(last) if last.destination == destination && last.heads.len() < WINDOWS_MAX),
        ) else {
            return self.item(Item::Windows(WindowsRecord { destination, heads }));
        };
        for head in heads {
            match last.heads.iter_mut().find(|known| known.key == head.key) {
                Some(known) => *known = head,
                None => last.heads.push(head),
            }
        }
    }

    fn item(&mut self, item: Item) {
        self.items.push(item);
        self.items_since.get_or_insert_with(Instant::now);
    }

    /// While there is no room at all, the oldest outcomes go: their deliveries would happen again after a crash.
    fn forget_old_outcomes(&mut self) {
        for item in &mut self.items {
            let excess = self.outcomes.saturating_sub(OUTCOMES_HELD_MAX);
            if excess == 0 {
                return;
            }
            if let Item::Outcomes(outcomes) = item {
                let going = excess.min(outcomes.len());
                outcomes.drain(..going);
                self.outcomes -= going;
            }
        }
    }

    /// Whether it must be written before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.event_bytes >= GROUP_BYTES_MAX
            || self.event_heads >= GROUP_HEADS_MAX
            || self.events.len() >= GROUP_RECORDS_MAX
            || self.relocating.is_some()
            || self.retiring.is_some()
            || self.sealing.is_some()
            || self.closing.is_some()
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent || !self.events.is_empty() || !self.barriers.is_empty() || self.is_full()
    }
}

//! Putting a group together, writing it, and syncing it.

use std::io;
use std::sync::atomic::Ordering;

use super::batch::Item;
use super::room::Failure;
use super::{Active, Writer};
use crate::store::NewEvent;
use crate::store::journal::disk::is_full;
use crate::store::journal::format::{EventHead, GROUP_HEADS_MAX, GroupPlace};
use crate::store::journal::inbox::Reply;
use crate::store::journal::index::Update;
use crate::time::Instant;

/// Room for a group that is kept from one to the next: what sixty-four events of Vero's take, many times over.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

impl Writer {
    /// Writes everything else in the batch, which is emptied as far as it is written, and the given events in one group.
    pub(super) fn write_group(&mut self, heads: &[EventHead], events: &[(NewEvent, Reply)]) -> Result<(), Failure> {
        self.builder.clear();
        let mut added = 0;
        while let Some(item) = self.batch.items.get(added) {
            if self.builder.add_within(GROUP_HEADS_MAX, |builder| item.add_to(builder)) {
                added += 1;
                continue;
            }
            self.place_group(false)?;
            self.items_are_written(std::mem::take(&mut added));
        }
        for (head, (event, _)) in heads.iter().zip(events) {
            self.builder.event(head, event.body.clone());
        }
        if !self.builder.is_empty() {
            self.place_group(!heads.is_empty())?;
            self.journal.segments.update_last(|info| info.note_names(heads));
        }
        self.items_are_written(added);
        Ok(())
    }

    /// Writes the builder's group where there is room for it.
    pub(super) fn place_group(&mut self, has_events: bool) -> Result<(), Failure> {
        let reserve = if has_events { self.reserve() } else { 0 };
        let needed = self.builder.length() as u64 + reserve;
        let version = self.builder.version();
        let fits = |active: &Active| active.offset + needed <= active.limit && active.version >= version;
        if !self.active.as_ref().is_some_and(fits) {
            if has_events { self.roll_for_events(needed)? } else { self.roll(needed)? }
        }
        self.append_group(self.position.next_sequence).map_err(Failure::of_write)
    }

    /// The first so many of the batch's items are in the journal.
    pub(super) fn items_are_written(&mut self, count: usize) {
        for item in self.batch.items.drain(..count) {
            match item {
                Item::Outcomes(outcomes) => {
                    self.batch.outcomes -= outcomes.len();
                    self.journal.segments.update_last(|info| info.note_outcomes(&outcomes));
                    self.updates.extend(outcomes.into_iter().filter_map(Update::of_outcome));
                }
                Item::Selections(selections) => {
                    for selection in selections {
                        self.journal.segments.update_last(|info| info.note_selection(&selection));
                        self.updates.push(Update::Selection(selection));
                    }
                }
                Item::Digests(digests) => {
                    for digest in &digests {
                        self.journal.segments.update_last(|info| info.note_digest(digest));
                    }
                }
                Item::Command(command) => self.updates.push(Update::Command(command)),
                Item::Replay(replay) => self.updates.push(Update::Replay(replay)),
                Item::Control(control) => self.journal.written(&control),
                Item::Name(..) | Item::Windows(_) => {}
            }
        }
        if self.batch.items.is_empty() {
            self.batch.items_since = None;
        }
    }

    /// Writes the builder's group to the active segment.
    pub(super) fn append_group(&mut self, first_sequence: u64) -> io::Result<()> {
        let active = self.active.as_mut().expect("there is an active segment: roll was called where there was none");
        let place = GroupPlace {
            segment: active.segment,
            offset: active.offset,
            group: self.position.next_group,
            durable_up_to: active.durable_up_to,
            first_sequence,
        };
        self.builder.finish(place, &mut self.bytes);
        if let Err(error) = active.file.write_at(&self.bytes, active.offset) {
            // Nothing of a group that was not written whole may stay, wherever the file goes on.
            if is_full(&error) {
                active.file.set_len(active.offset)?;
            }
            return Err(error);
        }
        let offset = active.offset;
        let end = active.offset + self.bytes.len() as u64;
        active.offset = end;
        self.position.next_group += 1;
        self.journal.next_group.store(self.position.next_group, Ordering::Release);
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.journal.segments.update_last(|info| {
            info.note(first_sequence, offset);
            info.end = end;
        });
        // One large group must not be held in memory for good.
        self.bytes.clear();
        self.bytes.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        let start = Instant::now();
        active.file.sync()?;
        (self.on_sync)(start.elapsed());
        active.durable_up_to = active.offset;
        self.unsynced_since = None;
        self.tell_index();
        Ok(())
    }

    /// Tells the index what has happened, once all of it is synced.
    pub(super) fn tell_index(&mut self) {
        if !self.updates.is_empty() && self.unsynced_since.is_none() {
            self.journal.index.update(std::mem::take(&mut self.updates));
        }
    }
}

//! Reading segments, group after group, to where everything stands.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::found::{Header, READ_BYTES, header_length};
use super::{OpenError, Opened, Recovered};
use crate::store::journal::disk::{Disk, DiskFile};
use crate::store::journal::format::{EventHead, GROUP_HEAD, GroupHead, Record, SegmentHeader, records};
use crate::store::journal::index::{Database, Update};
use crate::store::journal::segment_name::{file_name, segment_of};
use crate::store::journal::segments::{SegmentInfo, Window, events_in, next_group};
use crate::store::journal::state::{OldEnd, State};
use crate::store::journal::words::{Damage, Place, TailRecord};
use crate::store::queues::{Act, Commands, Queue};
use crate::store::{NameId, NameKind, NameState};

/// Updates given to the index in one go while the journal is read.
const UPDATES_AT_ONCE: usize = 4096;

/// Applies records, in their order, to where everything stands.
struct Reader<'d> {
    database: &'d mut Database,
    updates: Vec<Update>,
    index_failed: bool,
    /// A segment's header was read, and every record since.
    knows_states: bool,
    state: State,
    old_end: OldEnd,
    opened: Opened,
    /// Commands that records belong to.
    commands: Commands,
}

impl<'d> Reader<'d> {
    fn new(database: &'d mut Database) -> Self {
        Self {
            database,
            updates: Vec::new(),
            index_failed: false,
            knows_states: false,
            state: State::default(),
            old_end: OldEnd::default(),
            opened: Opened::default(),
            commands: Commands::default(),
        }
    }

    fn damaged(&mut self, segment: u64, bytes: Range<u64>) {
        let damage = Damage { file: file_name(segment), bytes };
        self.updates.push(Update::Damage(damage.clone()));
        self.opened.damage.push(damage);
    }

    /// Gives the index what was read.
    fn flush(&mut self) {
        let updates = std::mem::take(&mut self.updates);
        let database = &mut *self.database;
        let written = database.transaction(|database| updates.iter().try_for_each(|update| database.apply(update)));
        if let Err(error) = written
            && !self.index_failed
        {
            self.index_failed = true;
            tracing::error!(%error, "the index cannot be written; the next start reads the whole journal");
        }
    }

    fn segment(
        &mut self,
        segment: u64,
        header: Option<&SegmentHeader>,
        file: &Arc<dyn DiskFile>,
        sealed_at: Option<u64>,
        is_last: bool,
    ) -> Result<(), OpenError> {
        let length = file.length()?;
        let end = sealed_at.map_or(length, |at| at.min(length));
        // Told before the header is read: after a gap it is the header that knows how destinations stand.
        let last = self.state.segments.last().map(|last| last.segment);
        let follows = header.map_or(segment.saturating_sub(1), |header| header.sealed_segment);
        if let Some(last) = last.filter(|last| *last != follows && last + 1 != segment) {
            self.damaged(last + 1, 0..0);
        }
        let start = match header {
            Some(header) => {
                self.header(header);
                header_length(file)?.map_or(0, |length| length as u64)
            }
            None => {
                self.damaged(segment, 0..16);
                0
            }
        };
        if let Some(missing) = sealed_at.filter(|at| *at > length) {
            self.damaged(segment, length..missing);
        }
        let mut window = Window::new(READ_BYTES);
        let (groups, mark) =
            if is_last { find_groups(segment, file, start, end, &mut window)? } else { (Vec::new(), end) };
        let created_ms = header.map_or(0, |header| header.created_ms);
        let mut info = SegmentInfo::empty(segment, self.state.next_sequence, start, created_ms);
        let mut found = groups.into_iter();
        let mut offset = start;
        if is_last {
            (self.old_end.mark, self.old_end.tail_first) = (mark, self.state.next_sequence);
        }
        loop {
            let next = if is_last { found.next() } else { next_group(file, segment, offset, end, &mut window)? };
            let Some((at, head)) = next else { break };
            if at > offset && offset < mark {
                self.damaged(segment, offset..at);
            }
            offset = at + head.length();
            let is_past_mark = is_last && at >= mark;
            if is_past_mark && !bodies_are_sound(file, at, &head, &mut window)? {
                // Written and not synced: nobody was told that it is there.
                continue;
            }
            // Numbers below it were given, also where damage took their events.
            self.given_below(head.first_sequence);
            info.note(head.first_sequence, at);
            info.end = offset;
            self.state.next_group = self.state.next_group.max(head.group + 1);
            let heads = window.heads(file, at, &head)?.to_vec();
            let mut body_at = at + head.heads_end() as u64;
            for record in records(&heads) {
                if is_past_mark {
                    self.keep_for_later(&record, file, body_at)?;
                }
                if let Record::Event(event) | Record::Relocated(event) = &record {
                    body_at += u64::from(event.body_bytes);
                }
                match &record {
                    Record::Outcomes(outcomes) => info.note_outcomes(outcomes),
                    Record::Event(event) | Record::Relocated(event) => info.note_names([event]),
                    _ => {}
                }
                if let Record::Selection(selection) = &record {
                    info.note_selection(selection);
                }
                if let Record::Digest(digest) = &record {
                    info.note_digest(digest);
                }
                self.apply(record, Place { segment, offset: at });
            }
            if self.updates.len() >= UPDATES_AT_ONCE {
                self.flush();
            }
        }
        if !is_last && offset < end {
            self.damaged(segment, offset..end);
        }
        if is_last {
            self.opened.torn_bytes = torn_bytes(file, info.end, end)?;
        }
        self.state.segments.push(info);
        Ok(())
    }

    /// A segment of another journal in the place of one of ours, which is lost.
    fn foreign(&mut self, segment: u64, length: u64, is_last: bool) {
        self.damaged(segment, 0..length);
        let mut info = SegmentInfo::empty(segment, self.state.next_sequence, length, 0);
        info.end = length;
        self.state.segments.push(info);
        if is_last {
            (self.old_end.mark, self.old_end.tail_first) = (length, self.state.next_sequence);
        }
    }

    fn header(&mut self, header: &SegmentHeader) {
        self.state.number.get_or_insert(header.journal);
        self.state.next_sequence = self.state.next_sequence.max(header.first_sequence);
        self.state.next_group = self.state.next_group.max(header.first_group);
        self.state.names.keep(&header.names);
        for (kind, id, name) in &header.names {
            self.state.names.insert(*kind, *id, name.as_str().into());
        }
        for (destination, _) in &header.states {
            self.queue(*destination);
        }
        // Where every record before it was read, they have said it, and better: the header may know of an act whose record lies
        // behind it, and that act is also one on deliveries.
        if !self.knows_states || !self.opened.damage.is_empty() {
            for (id, queue) in &mut self.state.queues {
                let state = header.states.iter().find(|(destination, _)| destination == id);
                queue.set_state(state.map_or_else(NameState::default, |(_, state)| state.clone()));
            }
        }
        self.knows_states = true;
    }

    /// All numbers below this one belong to events, of which some may be lost.
    fn given_below(&mut self, sequence: u64) {
        self.state.next_sequence = self.state.next_sequence.max(sequence);
        if self.old_end.tail.is_empty() {
            self.old_end.tail_first = self.state.next_sequence;
        }
    }

    fn queue(&mut self, destination: NameId) -> &mut Queue {
        self.state.queues.entry(destination).or_insert_with(|| Queue::new(destination))
    }

    /// What was let go is as old as this start, where it is not known any more when it was.
    fn passed_ms(&self) -> u64 {
        self.database.lived.map_or(0, |lived| lived.passed_ms())
    }

    fn keep_for_later(&mut self, record: &Record, file: &Arc<dyn DiskFile>, body_at: u64) -> Result<(), OpenError> {
        let mut body = Vec::new();
        if let Record::Event(EventHead { body_bytes, .. }) | Record::Relocated(EventHead { body_bytes, .. }) = record {
            body.resize(*body_bytes as usize, 0);
            file.read_at(&mut body, body_at)?;
        }
        self.old_end.tail.push(TailRecord { record: record.clone(), body: body.into() });
        Ok(())
    }

    fn apply(&mut self, record: Record, place: Place) {
        match record {
            Record::Event(event) => {
                let sequence = event.id.sequence();
                self.given_below(sequence + 1);
                let source = self.state.queues.get(&event.source);
                let is_held = source.is_some_and(|source| source.state().held_since_ms.is_some());
                let holder = is_held.then_some(event.source);
                for delivery in &event.deliveries {
                    self.queue(delivery.destination).read_again(sequence, holder);
                }
            }
            Record::Relocated(event) => {
                let place = (event.id.sequence(), place, u64::from(event.body_bytes));
                self.updates.push(Update::Relocated(vec![place]));
            }
            Record::Outcomes(outcomes) => {
                for outcome in outcomes {
                    self.queue(outcome.key.destination).apply(outcome.key.sequence, outcome.attempts, &outcome.state);
                    self.updates.extend(Update::of_outcome(outcome));
                }
            }
            Record::Name(kind, id, name) => self.state.names.insert(kind, id, name.into()),
            Record::Control(control) => {
                self.queue(control.destination).control(&control.act, control.at_ms);
                if control.act == Act::Resume {
                    let passed_ms = self.passed_ms();
                    for queue in self.state.queues.values_mut() {
                        queue.let_go(control.destination, passed_ms);
                    }
                }
            }
            Record::Selection(selection) => {
                let passed_ms = self.passed_ms();
                let queue = self.queue(selection.destination);
                let selected = queue.select(selection.act, &selection.sequences);
                if selection.begins_anew() {
                    queue.is_as_old_as(passed_ms, &selected);
                }
                self.commands.add_record(&selection);
                self.updates.push(Update::Selection(selection));
            }
            Record::Replay(replay) => self.updates.push(Update::Replay(replay)),
            Record::Windows(windows) => self.queue(windows.destination).apply_windows(&windows.heads),
            Record::Digest(digest) => {
                self.state.last_digest = self.state.last_digest.max(digest.id());
                let passed_ms = self.passed_ms();
                self.queue(digest.destination).apply_digest(&digest, passed_ms);
            }
        }
    }

    fn finish(mut self, segments_read: usize) -> Recovered {
        self.updates.extend(self.commands.all().map(Update::Command));
        if !self.updates.is_empty() {
            self.flush();
        }
        self.let_go_of_what_nobody_holds();
        let nameless = self.name_the_nameless();
        let segments = self.state.segments.len();
        let backlog = self.state.backlog();
        let opened = Opened { backlog, nameless, segments, segments_read, ..self.opened };
        Recovered { state: self.state, old_end: self.old_end, opened, index_failed: self.index_failed }
    }
}

impl Reader<'_> {
    /// A resume whose record is lost has resumed its source all the same, as later headers say: nobody could let go what came before.
    fn let_go_of_what_nobody_holds(&mut self) {
        let is_holding =
            |id: &NameId| self.state.queues.get(id).is_some_and(|queue| queue.state().held_since_ms.is_some());
        let mut holders: Vec<NameId> = self.state.queues.values().flat_map(Queue::holders).collect();
        holders.sort_unstable();
        holders.dedup();
        holders.retain(|id| !is_holding(id));
        let passed_ms = self.passed_ms();
        for source in holders {
            let count: u64 = self.state.queues.values_mut().map(|queue| queue.let_go(source, passed_ms)).sum();
            tracing::warn!(
                source = source.0,
                deliveries = count,
                "the end of a hold is lost: what the source held is delivered now"
            );
        }
    }

    /// What waits where nobody finds it would be served by nobody and limited by nobody.
    fn name_the_nameless(&mut self) -> Vec<String> {
        let lost =
            |(id, queue): (&NameId, &Queue)| (!queue.is_blank() && !self.state.names.is_reachable(*id)).then_some(*id);
        let mut lost: Vec<NameId> = self.state.queues.iter().filter_map(lost).collect();
        lost.sort_unstable();
        let name_it = |id: NameId| {
            let name = self.state.names.of(id).map_or("unnamed", |(_, name)| name).to_owned();
            let name = format!("{name} (former {})", id.0);
            self.state.names.insert(NameKind::Destination, id, name.as_str().into());
            name
        };
        lost.into_iter().map(name_it).collect()
    }
}

pub(super) fn read(
    disk: &Arc<dyn Disk>,
    database: &mut Database,
    headers: &[Header],
    checkpoint: Option<Checkpoint>,
) -> Result<Recovered, OpenError> {
    let mut reader = Reader::new(database);
    let mut from = 0;
    if let Some(checkpoint) = checkpoint {
        from = headers.partition_point(|found| found.segment < checkpoint.segment);
        let restored = checkpoint.queues.into_iter().map(|(id, snapshot)| (id, Queue::restore(id, snapshot)));
        reader.state.queues = restored.collect();
        reader.state.segments = checkpoint.segments;
        reader.state.last_digest = checkpoint.last_digest;
        let is_older = |damage: &Damage| segment_of(&damage.file).is_some_and(|segment| segment < checkpoint.segment);
        reader.opened.damage = checkpoint.damage.into_iter().filter(is_older).collect();
        reader.opened.damage.sort_by(|one, other| (&one.file, one.bytes.start).cmp(&(&other.file, other.bytes.start)));
        reader.opened.damage.dedup();
    }
    for at in from..headers.len() {
        let Header { segment, length, header, is_foreign } = &headers[at];
        let is_last = at + 1 == headers.len();
        if *is_foreign {
            reader.foreign(*segment, *length, is_last);
            continue;
        }
        let file = disk.open(&file_name(*segment))?;
        let next = headers.get(at + 1).filter(|next| !next.is_foreign);
        let sealed_at = next.and_then(|next| next.header.as_ref()).and_then(|next| {
            // Said by the segment that took over; what lies beyond was moved there.
            (next.sealed_segment == *segment).then_some(next.sealed_at)
        });
        reader.segment(*segment, header.as_ref(), &file, sealed_at, is_last)?;
    }
    Ok(reader.finish(headers.len() - from))
}

type Groups = (Vec<(u64, GroupHead)>, u64);

/// All sound groups of the last segment, and its last durable mark: what lies before it was synced.
fn find_groups(
    segment: u64,
    file: &Arc<dyn DiskFile>,
    start: u64,
    end: u64,
    window: &mut Window,
) -> Result<Groups, OpenError> {
    let mut groups = Vec::new();
    let mut mark = start;
    let mut offset = start;
    while let Some((at, head)) = next_group(file, segment, offset, end, window)? {
        mark = mark.max(head.durable_up_to.min(at));
        offset = at + head.length();
        groups.push((at, head));
    }
    Ok((groups, mark))
}

fn bodies_are_sound(file: &Arc<dyn DiskFile>, at: u64, head: &GroupHead, window: &mut Window) -> io::Result<bool> {
    let heads = window.heads(file, at, head)?.to_vec();
    let bodies_at = at + head.heads_end() as u64;
    for (event, body_offset, _) in events_in(&heads) {
        let mut body = vec![0; event.body_bytes as usize];
        if file.read_at(&mut body, bodies_at + body_offset)? != body.len() || crc32c::crc32c(&body) != event.body_crc {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How many bytes after the last sound group are not zero: up to the last such byte.
fn torn_bytes(file: &Arc<dyn DiskFile>, from: u64, end: u64) -> io::Result<u64> {
    let mut chunk = vec![0; 256 << 10];
    let mut offset = from;
    let mut torn = 0;
    while offset < end {
        let read = file.read_at(&mut chunk, offset)?;
        if read == 0 {
            break;
        }
        let within = (end - offset).min(read as u64) as usize;
        if let Some(last) = chunk[..within].iter().rposition(|byte| *byte != 0) {
            torn = offset + last as u64 + 1 - from;
        }
        offset += read as u64;
    }
    Ok(torn)
}

const _: () = assert!(GROUP_HEAD < READ_BYTES, "a window must hold a group's head");

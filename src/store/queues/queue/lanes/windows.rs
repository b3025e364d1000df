//! What windows collect, and what becomes of it: digests.

use super::*;
use crate::store::queues::outcomes::{DigestAct, DigestRecord};
use crate::store::{DIGESTS_MAX, OpenWindows};

/// A closed digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When its windows were ended, unix milliseconds.
    pub closed_ms: u64,
    /// None is added but by the record that says so again.
    pub members: Bitmap,
    pub attempts: u16,
    /// When the first was made, unix milliseconds; moved on by the time that did not count.
    pub first_attempt_ms: Option<u64>,
    pub due_ms: u64,
    /// What the last attempt came to.
    pub reason: Arc<str>,
    /// It may be claimed.
    pub(super) is_offered: bool,
    /// It has lost a member by erasing: what was put together of it until the next offer may tell of that.
    pub(super) has_lost: bool,
    /// A worker has it, or has handed it back.
    pub(super) is_in_hand: bool,
}

/// What ending windows comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The windows that are gone.
    pub windows: Vec<GroupKey>,
    /// What lay in them.
    pub members: Bitmap,
}

impl Closed {
    /// One that is due at once.
    pub fn new(closed_ms: u64, members: Bitmap) -> Self {
        Self {
            closed_ms,
            members,
            attempts: 0,
            first_attempt_ms: None,
            due_ms: closed_ms,
            reason: "".into(),
            is_offered: false,
            has_lost: false,
            is_in_hand: false,
        }
    }

    /// What says it again as it is.
    pub fn records(&self, destination: NameId, id: DigestId) -> Vec<DigestRecord> {
        let record = |what| DigestRecord { destination, at_ms: self.closed_ms, what };
        let closed = DigestAct::Closed { id, windows: Vec::new(), members: self.members.clone() };
        let mut records = record(closed).split();
        if let Some(first_attempt_ms) = self.first_attempt_ms {
            let Self { attempts, due_ms, .. } = *self;
            let reason = self.reason.to_string();
            records.push(record(DigestAct::Scheduled { id, attempts, first_attempt_ms, due_ms, reason }));
        }
        records
    }

    pub fn is_in_hand(&self) -> bool {
        self.is_in_hand
    }

    pub fn is_offered(&self) -> bool {
        self.is_offered
    }

    /// Whether a worker may have it, now or when it is due.
    pub(super) fn is_to_be_claimed(&self) -> bool {
        self.is_offered && !self.is_in_hand
    }
}

impl Lanes {
    pub(super) fn set_head(&mut self, head: WindowHead) {
        let new = || Window { head, members: Members::default() };
        self.windows.entry(head.key).or_insert_with(new).head = head;
    }

    /// When the next digest is due that is offered and that nobody has.
    fn next_digest(&self) -> Option<u64> {
        self.digests.values().filter(|digest| digest.is_to_be_claimed()).map(|digest| digest.due_ms).min()
    }

    /// When the next thing is due that a claim like the last one would give.
    pub(in super::super) fn next_due(&self, scheduled: Option<u64>) -> Option<u64> {
        let scheduled = self.next_in_order().unwrap_or(scheduled);
        if self.urgent_only {
            return self.urgent_due.first().map(|(due_ms, _)| *due_ms);
        }
        [scheduled, self.next_digest()].into_iter().flatten().min()
    }

    pub(in super::super) fn digests_mut(&mut self) -> impl Iterator<Item = &mut Closed> {
        self.digests.values_mut()
    }

    pub(in super::super) fn heads_mut(&mut self) -> impl Iterator<Item = &mut WindowHead> {
        self.windows.values_mut().map(|window| &mut window.head)
    }

    /// Whether an attempt at a digest is put off.
    pub(in super::super) fn has_scheduled(&self) -> bool {
        self.digests.values().any(|digest| !digest.is_in_hand && digest.attempts > 0)
    }

    /// Says when something is due that was scheduled, or that it is not any more.
    pub(in super::super) fn note_scheduled(&mut self, due_ms: u64, sequence: u64) {
        if self.urgent.contains(sequence) {
            self.urgent_due.insert((due_ms, sequence));
        }
        if let Some(order) = &mut self.order {
            order.note_scheduled(due_ms, sequence);
        }
    }

    pub(in super::super) fn note_unscheduled(&mut self, due_ms: u64, sequence: u64) {
        self.urgent_due.remove(&(due_ms, sequence));
        if let Some(order) = &mut self.order {
            order.note_unscheduled(due_ms, sequence);
        }
    }

    /// Takes a digest that was handed back, or whose worker is gone, out of its hands.
    pub(in super::super) fn take_back(&mut self, id: DigestId) {
        if let Some(digest) = self.digests.get_mut(&id) {
            digest.is_in_hand = false;
        }
    }

    pub(in super::super) fn has_in_hand(&self, id: DigestId) -> bool {
        self.digests.get(&id).is_some_and(|digest| digest.is_in_hand)
    }

    pub(in super::super) fn closed(&self) -> &Bitmap {
        &self.closed
    }

    /// The window that a delivery lies in.
    pub(in super::super) fn window_of(&self, sequence: u64) -> Option<&WindowHead> {
        let is_gathered = self.gathered.contains(sequence);
        let mut windows = self.windows.values().filter(|_| is_gathered);
        windows.find(|window| window.members.contains(sequence)).map(|window| &window.head)
    }

    /// The digest that a delivery is a member of.
    pub(in super::super) fn digest_of(&self, sequence: u64) -> Option<&Closed> {
        let is_member = self.closed.contains(sequence);
        self.digests.values().filter(|_| is_member).find(|digest| digest.members.contains(sequence))
    }
}

/// As the journal says it.
impl Queue {
    /// Whether there is anything to write down.
    pub fn has_windows_or_digests(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| !lanes.windows.is_empty() || !lanes.digests.is_empty())
    }

    /// Windows are open, as these heads say.
    pub fn apply_windows(&mut self, heads: &[WindowHead]) {
        let lanes = self.lanes();
        heads.iter().for_each(|head| lanes.set_head(*head));
        lanes.have_come = true;
    }

    /// Something happened to a digest, whatever is known of it. What was closed is as old as this moment: so many milliseconds the store has
    /// lived through.
    pub fn apply_digest(&mut self, DigestRecord { at_ms, what, .. }: &DigestRecord, passed_ms: u64) {
        match what {
            DigestAct::Closed { id, windows, members } => {
                self.forget_windows(windows);
                let [mut waiting, mut again] = [members.clone(), members.clone()];
                waiting.keep_within(&self.unsettled);
                again.keep_within(&self.redeliveries);
                waiting.insert_all(&again);
                if !waiting.is_empty() {
                    self.take_from_others(*id, &waiting);
                    self.make_digest(*id, *at_ms, &waiting, passed_ms);
                }
            }
            DigestAct::Scheduled { id, attempts, first_attempt_ms, due_ms, reason } => {
                self.schedule_digest(*id, *attempts, (*first_attempt_ms, *due_ms), reason);
            }
            DigestAct::Delivered { members, .. } | DigestAct::Skipped { members, .. } => {
                self.end_members(members, false);
            }
            DigestAct::Ended { windows } => self.forget_windows(windows),
            DigestAct::Dissolved { id } => {
                self.dissolve(*id);
            }
        }
        self.drop_idle_lanes();
    }

    /// These are members of no other digest, which a range that is read again may have made them.
    fn take_from_others(&mut self, id: DigestId, members: &Bitmap) {
        let Some(lanes) = &mut self.lanes else { return };
        lanes.digests.retain(|other, digest| {
            if *other != id {
                digest.members.remove_all(members);
            }
            !digest.members.is_empty()
        });
    }

    /// Windows are none any more. What lies in them has no lane.
    pub fn forget_windows(&mut self, windows: &[GroupKey]) {
        let Some(lanes) = &mut self.lanes else { return };
        let mut members = Bitmap::default();
        for window in windows.iter().filter_map(|key| lanes.windows.remove(key)) {
            window.members.add_to(&mut members);
        }
        lanes.gathered.remove_all(&members);
        lanes.placed.remove_all(&members);
        if let Some(first) = members.next(0) {
            lanes.may_place_from(first);
        }
    }
}

impl Queue {
    /// Whether heads have been said here by others since this was asked last, or since what the section does was said.
    pub fn have_windows_come(&mut self) -> bool {
        self.lanes.as_mut().is_some_and(|lanes| std::mem::take(&mut lanes.have_come))
    }

    /// The windows that are open, each with how many lie in it.
    pub fn windows(&mut self, now_ms: u64) -> OpenWindows {
        let are_whole = self.is_backlog_placed();
        let windows = self.lanes.iter().flat_map(|lanes| lanes.windows.values());
        let open = windows.map(|window| (window.head, window.members.len())).collect();
        OpenWindows { open, are_whole, others: self.others(now_ms), untried: self.untried() }
    }

    /// What could be attempted now, without any window being ended.
    pub(in super::super) fn others(&self, now_ms: u64) -> u64 {
        let Some(lanes) = &self.lanes else { return 0 };
        let is_due = |digest: &&Closed| digest.is_to_be_claimed() && digest.due_ms <= now_ms;
        let digests = lanes.digests.values().filter(is_due).count();
        let scheduled = self.scheduled.range(..=(now_ms, u64::MAX)).count();
        self.untried() + (scheduled + digests) as u64
    }

    /// What nobody has attempted and is in no digest, or was handed back.
    fn untried(&self) -> u64 {
        let Some(lanes) = &self.lanes else { return 0 };
        let is_in_lane = |sequence: &&u64| lanes.ready.contains(**sequence) || lanes.urgent.contains(**sequence);
        let in_hand = self.claimed.keys().filter(is_in_lane).count() as u64;
        // What is urgent and scheduled is among both.
        let by_lane = lanes.ready.len() + lanes.urgent.len() - lanes.urgent_due.len() as u64;
        by_lane - in_hand + self.returned.len() as u64
    }

    /// How many windows are open, and when the first ends in which something lies.
    pub fn open_windows(&self) -> (u64, Option<u64>) {
        let windows = || self.lanes.iter().flat_map(|lanes| lanes.windows.values());
        let full = windows().filter(|window| !window.members.is_empty());
        (windows().count() as u64, full.map(|window| window.head.ends_ms).min())
    }

    /// What lies in open windows.
    pub fn gathered(&self) -> u64 {
        self.lanes.as_ref().map_or(0, |lanes| lanes.gathered.len())
    }

    /// What is urgent and not settled.
    pub fn urgent(&self) -> u64 {
        self.lanes.as_ref().map_or(0, |lanes| lanes.urgent.len())
    }

    /// Ends windows: what lies in them becomes the digest of this id, which is due now and as old as this moment. `None` where there are
    /// too many digests already, and nothing is done then.
    pub fn end(&mut self, windows: &[GroupKey], id: DigestId, now_ms: u64, passed_ms: u64) -> Option<Ended> {
        let lanes = self.lanes.as_mut().filter(|lanes| lanes.sorts && lanes.digests.len() < DIGESTS_MAX)?;
        let mut ended = Ended::default();
        for key in windows {
            if let Some(window) = lanes.windows.remove(key) {
                window.members.add_to(&mut ended.members);
                ended.windows.push(*key);
            }
        }
        if !ended.members.is_empty() {
            lanes.gathered.remove_all(&ended.members);
            self.make_digest(id, now_ms, &ended.members, passed_ms);
        }
        Some(ended)
    }

    /// A digest may be claimed. Returns whether it could not be before. Of one that has lost a member to erasing the first offer is refused: it may have
    /// been put together before.
    pub fn offer(&mut self, id: DigestId) -> bool {
        let digest = self.lanes.as_mut().and_then(|lanes| lanes.digests.get_mut(&id));
        digest.is_some_and(|digest| {
            !std::mem::take(&mut digest.has_lost) && !std::mem::replace(&mut digest.is_offered, true)
        })
    }

    /// A digest that is not in flight may not be claimed any more.
    pub fn withhold(&mut self, id: DigestId) {
        self.take_back_digest(id);
        let digest = self.lanes.as_mut().and_then(|lanes| lanes.digests.get_mut(&id));
        if let Some(digest) = digest.filter(|digest| !digest.is_in_hand) {
            digest.is_offered = false;
        }
    }

    /// One that was handed back is in nobody's hands.
    fn take_back_digest(&mut self, id: DigestId) {
        let at = self.returned.iter().position(|claim| claim.digest == Some(id));
        if let (Some(at), Some(lanes)) = (at, &mut self.lanes) {
            self.returned.remove(at);
            lanes.take_back(id);
        }
    }

    /// A digest that waits for another attempt is due now. Returns whether it was not.
    pub fn hasten(&mut self, id: DigestId, now_ms: u64) -> bool {
        let digest = self.lanes.as_mut().and_then(|lanes| lanes.digests.get_mut(&id));
        let Some(digest) = digest.filter(|digest| digest.attempts > 0 && !digest.is_in_hand && digest.due_ms > now_ms)
        else {
            return false;
        };
        digest.due_ms = now_ms;
        true
    }

    /// A digest that nobody has is none any more: what was in it is ready. Returns whether it was one.
    pub fn dissolve(&mut self, id: DigestId) -> bool {
        self.take_back_digest(id);
        let Some(lanes) = &mut self.lanes else { return false };
        if lanes.digests.get(&id).is_none_or(|digest| digest.is_in_hand) {
            return false;
        }
        let members = lanes.digests.remove(&id).map(|digest| digest.members).unwrap_or_default();
        lanes.closed.remove_all(&members);
        if lanes.sorts && lanes.order.is_none() {
            // No window puts it together again.
            lanes.ready.insert_all(&members);
        } else {
            lanes.placed.remove_all(&members);
        }
        if let Some(first) = members.next(0) {
            lanes.ready_cursor = lanes.ready_cursor.min(first);
            lanes.may_place_from(first);
            self.cursor = self.cursor.min(first);
            self.redelivery_cursor = self.redelivery_cursor.min(first);
        }
        self.drop_idle_lanes();
        true
    }

    /// These, all of which wait, are members of a digest.
    fn make_digest(&mut self, id: DigestId, closed_ms: u64, members: &Bitmap, passed_ms: u64) {
        let lanes = self.lanes();
        lanes.closed.insert_all(members);
        lanes.placed.insert_all(members);
        let digest = lanes.digests.entry(id).or_insert_with(|| Closed::new(closed_ms, Bitmap::default()));
        digest.members.insert_all(members);
        self.is_as_old_as(passed_ms, members);
    }

    pub fn heads(&self) -> impl Iterator<Item = WindowHead> {
        self.lanes.iter().flat_map(|lanes| lanes.windows.values()).map(|window| window.head)
    }

    /// All digests, as they are written down: those in somebody's hands as they were before.
    pub(in super::super) fn digests(&self) -> impl Iterator<Item = (DigestId, Closed)> {
        self.all_digests().map(|(id, digest)| (id, digest.clone()))
    }

    /// All digests, in the order of their closing.
    pub fn all_digests(&self) -> impl Iterator<Item = (DigestId, &Closed)> {
        self.lanes.iter().flat_map(|lanes| &lanes.digests).map(|(id, digest)| (*id, digest))
    }

    /// How many wait for another attempt in a digest.
    pub fn scheduled_in_digests(&self) -> u64 {
        let scheduled = self.all_digests().filter(|(_, digest)| !digest.is_in_hand && digest.attempts > 0);
        scheduled.map(|(_, digest)| digest.members.len()).sum()
    }

    pub(in super::super) fn restore_lanes(&mut self, windows: Vec<WindowHead>, digests: Vec<(DigestId, Closed)>) {
        if windows.is_empty() && digests.is_empty() {
            return;
        }
        let lanes = self.lanes();
        windows.into_iter().for_each(|head| lanes.set_head(head));
        // One whose members are not known any more is none.
        for (id, mut digest) in digests.into_iter().filter(|(_, digest)| !digest.members.is_empty()) {
            (digest.is_in_hand, digest.is_offered) = (false, false);
            lanes.closed.insert_all(&digest.members);
            lanes.placed.insert_all(&digest.members);
            lanes.digests.insert(id, digest);
        }
    }

    /// The greatest number of a digest that is known.
    pub fn last_digest(&self) -> Option<DigestId> {
        self.lanes.as_ref()?.digests.last_key_value().map(|(id, _)| *id)
    }

    /// A digest that is not settled.
    pub fn digest(&self, id: DigestId) -> Option<&Closed> {
        self.lanes.as_ref()?.digests.get(&id)
    }

    /// Says what became of a claim of a digest. Returns its members, unless it was not in flight.
    pub fn settle_digest(&mut self, id: DigestId, attempts: u16, state: &OutcomeState) -> Option<Bitmap> {
        let digest = self.lanes.as_mut()?.digests.get_mut(&id).filter(|digest| digest.is_in_hand)?;
        digest.is_in_hand = false;
        let members = digest.members.clone();
        if let OutcomeState::Scheduled { first_attempt_ms, due_ms, reason } = state {
            self.schedule_digest(id, attempts, (*first_attempt_ms, *due_ms), reason);
        } else {
            self.end_members(&members, matches!(state, OutcomeState::Dead { .. }));
        }
        Some(members)
    }

    /// A digest is to be tried again.
    fn schedule_digest(&mut self, id: DigestId, attempts: u16, (first_attempt_ms, due_ms): (u64, u64), reason: &str) {
        let Some(digest) = self.lanes.as_mut().and_then(|lanes| lanes.digests.get_mut(&id)) else { return };
        (digest.attempts, digest.due_ms, digest.reason) = (attempts, due_ms, reason.into());
        digest.first_attempt_ms = Some(first_attempt_ms);
    }

    /// These are over, wherever they were, or dead letters.
    fn end_members(&mut self, members: &Bitmap, are_dead: bool) {
        let sets = [&mut self.unsettled, &mut self.redeliveries, &mut self.dead];
        for set in sets.into_iter().chain(self.held.values_mut()).chain(self.let_go.values_mut()) {
            set.remove_all(members);
        }
        if are_dead {
            self.dead.insert_all(members);
        }
        let scheduled: Vec<u64> = self.due.keys().copied().filter(|sequence| members.contains(*sequence)).collect();
        for sequence in scheduled {
            self.take_scheduled(sequence);
        }
        if let Some(lanes) = &mut self.lanes {
            lanes.take_all_out(members);
        }
        self.drop_idle_lanes();
    }
}

//! How far this process has followed what all relays take in. Pure.
//!
//! A stream says up to where nothing new of it comes ([`tide`](super::tide)). Who has read all that is there of it, in the same snapshot, has
//! read all that there will ever be up to that number. So there is a number up to which every event stands in the queues of this process or has
//! gone through them, whoever took it in: what a queue has not now at or below it, it will never have anew. That is where the *floor* of its
//! destination may stand, if nothing older waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use crate::event::EventId;
use crate::store::locks::lock;
use crate::store::{AppendError, NameId, StoredEvent};

/// Resolved with an event's id once it is durable.
pub type Reply = oneshot::Sender<Result<EventId, AppendError>>;

/// What this process has taken in and what waits for what others had taken in before.
#[derive(Debug, Default)]
pub struct Own {
    /// Events, each with where it is still to go: to a queue that is in order.
    pub events: Vec<(Arrived, NameId)>,
    /// Their senders: answered when they stand in their queues.
    pub replies: Vec<(Reply, EventId)>,
}

/// An event with the hold that it came in under.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Whether its body was read with it.
    pub has_body: bool,
    pub event: Arc<StoredEvent>,
    pub hold: Option<i32>,
}

/// The same without what it says: all that a queue needs of it.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    pub number: u64,
    /// The stream that it came by.
    pub slot: u16,
    pub source: NameId,
    pub hold: Option<i32>,
}

impl Arrived {
    /// What a queue needs of it.
    pub fn came(&self) -> Came {
        let StoredEvent { id, source, .. } = &*self.event;
        Came { number: id.sequence(), slot: id.salt(), source: *source, hold: self.hold }
    }
}

/// How far it has come.
#[derive(Debug, Default)]
pub struct Following {
    state: Mutex<State>,
    /// Notified when there is something to read at once.
    pub more: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Of each stream, up to which number all of it was read.
    cursors: BTreeMap<i16, i64>,
    /// Streams that are not known have nothing at or below this number.
    base: i64,
    /// What is there was looked at, so that each stream that was there is known.
    has_looked: bool,
    own: Own,
    /// How far this process's own stream has come: what is at or below it was taken in, and went to queues or is in `own`.
    own_at: Option<(i16, i64)>,
    /// Of streams that this process takes in by, or did until a moment ago: up to which number all stands in queues.
    published: BTreeMap<i16, i64>,
}

/// What a look begins with.
#[derive(Debug, Default)]
pub struct Look {
    pub own: Own,
    own_at: Option<(i16, i64)>,
}

/// What a look has read of all streams.
#[derive(Debug, Default)]
pub struct Looked {
    /// The stream that this process takes in by.
    pub own: Option<i16>,
    /// Of each stream, up to which number all of it was read.
    pub through: Vec<(i16, i64)>,
    /// Nothing above this number went to the queues, if that is not all.
    pub cut: Option<i64>,
    /// What no stream had come to by then is above this number.
    pub base: i64,
}

impl Following {
    /// Begins behind what there is.
    pub fn begin(&self, base: i64, cursors: impl IntoIterator<Item = (i16, i64)>) {
        let mut state = lock(&self.state);
        state.base = base;
        state.cursors = cursors.into_iter().collect();
    }

    /// Where to go on in each stream that is known, and in others.
    pub fn cursors(&self) -> (Vec<i16>, Vec<i64>, i64) {
        let state = lock(&self.state);
        (state.cursors.keys().copied().collect(), state.cursors.values().copied().collect(), state.base)
    }

    /// All events that are still to be read are above this number: those of the own stream up to `above` are to be read, and the others not.
    pub fn behind(&self, own: Option<(i16, i64)>) -> i64 {
        let state = lock(&self.state);
        let is_read = |slot: i16, cursor: i64| own.is_some_and(|(own, above)| slot == own && cursor >= above);
        let cursors = state.cursors.iter().filter(|(slot, cursor)| !is_read(**slot, **cursor));
        cursors.map(|(_, cursor)| *cursor).chain([state.base]).min().unwrap_or(0)
    }

    /// This process has taken in what a stream has up to a number. Should another relay have it one day, this one has read it up to there.
    pub fn read_own(&self, slot: i16, number: i64) {
        let mut state = lock(&self.state);
        state.read(slot, number);
        state.published.entry(slot).or_insert(0);
    }

    /// This process has taken events in that go to queues which are in order.
    pub fn took_in(&self, Own { events, replies }: Own) {
        let mut state = lock(&self.state);
        state.own.events.extend(events);
        state.own.replies.extend(replies);
    }

    /// All that this process will ever have taken in by a stream up to a number is taken in, and was [handed on](Self::took_in).
    pub fn own_is_at(&self, slot: i16, number: i64) {
        lock(&self.state).own_at = Some((slot, number));
    }

    /// A look begins, with what this process has taken in and what did not go to queues that are in order.
    pub fn look(&self) -> Look {
        let mut state = lock(&self.state);
        Look { own: std::mem::take(&mut state.own), own_at: state.own_at }
    }

    /// What a look has read stands in the queues, with what it began with, as far as that is not above the cut.
    pub fn looked(&self, look: &Look, looked: &Looked) {
        let mut state = lock(&self.state);
        for (slot, number) in &looked.through {
            state.read(*slot, *number);
        }
        let cut = looked.cut.unwrap_or(i64::MAX);
        state.base = state.base.max(looked.base);
        state.has_looked = true;
        if looked.cut.is_none() && state.own.events.is_empty() {
            state.published.retain(|slot, _| looked.own == Some(*slot));
        }
        if let Some((slot, number)) = look.own_at
            && looked.own == Some(slot)
        {
            let published = state.published.entry(slot).or_insert(0);
            *published = number.min(cut).max(*published);
        }
    }

    /// Up to which number all events stand in the queues, or have gone through them. Nothing where that is not known yet.
    pub fn through(&self, own: Option<i16>) -> Option<i64> {
        let state = lock(&self.state);
        if !state.has_looked || own.is_some_and(|own| !state.published.contains_key(&own)) {
            return None;
        }
        let others = state.cursors.iter().filter(|(slot, _)| !state.published.contains_key(slot));
        others.chain(&state.published).map(|(_, number)| *number).min()
    }
}

impl State {
    fn read(&mut self, slot: i16, number: i64) {
        let cursor = self.cursors.entry(slot).or_insert(number);
        *cursor = number.max(*cursor);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::event::EventId;

    /// Streams; the first is this process's own.
    const STREAMS: usize = 3;

    #[derive(Clone, Debug)]
    enum Step {
        /// A relay draws a number, while it has no append under way.
        Draw { of: usize },
        /// Its append is committed.
        Commit { of: usize },
        /// It says how far it is, if it has no append under way.
        Tide { of: usize },
        /// A look reads so many events of a stream at most, and what it has read goes to the queue.
        Look { max: usize },
        /// The same, but meanwhile the own relay commits.
        LookAmid { max: usize },
        /// What waits first is delivered.
        Deliver { nth: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..STREAMS).prop_map(|of| Step::Draw { of }),
            3 => (0..STREAMS).prop_map(|of| Step::Commit { of }),
            2 => (0..STREAMS).prop_map(|of| Step::Tide { of }),
            2 => (1usize..4).prop_map(|max| Step::Look { max }),
            1 => (1usize..4).prop_map(|max| Step::LookAmid { max }),
            3 => (0usize..4).prop_map(|nth| Step::Deliver { nth }),
        ];
        prop::collection::vec(step, 1..120)
    }

    /// The database, one queue of this process, and what is to be true of both.
    struct World {
        following: Following,
        is_in_order: bool,
        last: i64,
        under_way: [Option<i64>; STREAMS],
        committed: [BTreeSet<i64>; STREAMS],
        /// Of each stream, below what nothing new comes, as it says.
        n_from: [i64; STREAMS],
        queue: BTreeSet<i64>,
        delivered: BTreeSet<i64>,
    }

    impl World {
        fn commit(&mut self, of: usize) {
            let Some(number) = self.under_way[of].take() else { return };
            self.committed[of].insert(number);
            if of == 0 {
                self.following.read_own(0, number);
                if self.is_in_order {
                    self.following.took_in(Own { events: vec![(arrived(number), NameId(0))], replies: Vec::new() });
                } else {
                    self.queue.insert(number);
                }
            }
        }

        fn look(&mut self, max: usize, commits_amid: bool) {
            let mut look = self.following.look();
            let (slots, cursors, base) = self.following.cursors();
            let known: BTreeMap<i16, i64> = slots.into_iter().zip(cursors).collect();
            let (mut read, mut all) = (Vec::new(), Vec::new());
            let mut cut = i64::MAX;
            for of in 1..STREAMS {
                let slot = of as i16;
                let cursor = known.get(&slot).copied().unwrap_or(base);
                let some: Vec<i64> = self.committed[of].range(cursor + 1..).take(max).copied().collect();
                let last = some.last().copied().unwrap_or(0);
                if some.len() == max {
                    cut = cut.min(last);
                }
                all.push((slot, if some.len() == max { last } else { last.max(self.n_from[of]) }));
                read.extend(some);
            }
            let base = self.n_from.into_iter().max().unwrap_or(0);
            if commits_amid {
                self.commit(0);
            }
            self.queue.extend(read.into_iter().filter(|number| *number <= cut));
            let own = std::mem::take(&mut look.own.events);
            let number = |one: &(Arrived, NameId)| one.0.event.id.sequence().cast_signed();
            let (later, now): (Vec<_>, Vec<_>) = own.into_iter().partition(|one| number(one) > cut);
            if !later.is_empty() {
                self.following.took_in(Own { events: later, replies: Vec::new() });
            }
            self.queue.extend(now.iter().map(number));
            let through = all.into_iter().map(|(slot, through)| (slot, through.min(cut))).collect();
            let cut = (cut != i64::MAX).then_some(cut);
            self.following.looked(&look, &Looked { own: Some(0), through, cut, base });
        }

        /// The floor that may be written now, and whether it is above anything that waits, or will.
        fn check(&self) -> Result<(), TestCaseError> {
            let Some(through) = self.following.through(Some(0)) else { return Ok(()) };
            let floor = self.queue.first().copied().unwrap_or(i64::MAX).min(through + 1);
            let waiting = self.committed.iter().flatten().filter(|number| !self.delivered.contains(number));
            for number in waiting.chain(self.under_way.iter().flatten()) {
                prop_assert!(*number >= floor, "{number} waits below {floor}");
            }
            Ok(())
        }
    }

    fn arrived(number: i64) -> Arrived {
        let event = StoredEvent {
            id: EventId::mint(1, 0, number.cast_unsigned()),
            received_ms: 1,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: bytes::Bytes::new(),
            is_redacted: false,
        };
        Arrived { has_body: true, event: Arc::new(event), hold: None }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(4096)))]

        #[test]
        fn no_floor_is_above_what_waits_or_is_still_to_come(steps in steps(), is_in_order: bool) {
            let mut world = World {
                following: Following::default(),
                is_in_order,
                last: 100,
                under_way: [None; STREAMS],
                committed: Default::default(),
                n_from: [100; STREAMS],
                queue: BTreeSet::new(),
                delivered: BTreeSet::new(),
            };
            world.following.begin(100, []);
            for step in steps {
                match step {
                    Step::Draw { of } => {
                        if world.under_way[of].is_none() {
                            world.last += 1;
                            world.under_way[of] = Some(world.last);
                        }
                    }
                    Step::Commit { of } => world.commit(of),
                    Step::Tide { of } => {
                        if world.under_way[of].is_none() {
                            world.n_from[of] = world.last;
                            if of == 0 {
                                world.following.own_is_at(0, world.last);
                            }
                        }
                    }
                    Step::Look { max } => world.look(max, false),
                    Step::LookAmid { max } => world.look(max, true),
                    Step::Deliver { nth } => {
                        if let Some(number) = world.queue.iter().nth(nth).copied() {
                            world.queue.remove(&number);
                            world.delivered.insert(number);
                        }
                    }
                }
                world.check()?;
            }
            // Once all have come to rest, the floor is behind everything.
            for of in 0..STREAMS {
                world.commit(of);
                world.n_from[of] = world.last;
            }
            world.following.own_is_at(0, world.last);
            (0..200).for_each(|_| world.look(3, false));
            prop_assert_eq!(world.following.through(Some(0)), Some(world.last));
        }
    }
}

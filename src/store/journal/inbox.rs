//! What is sent to the writer, in order, and when the writer is woken for it.
//!
//! Most of what is sent under load are outcomes, for which nobody waits. Waking a thread costs more than writing one down, so what is
//! patient wakes nobody: a writer that has something to do soon looks by itself, and one that has nothing is woken once.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::format::ReplayRecord;
use super::words::{Relocating, Retiring};
use crate::event::EventId;
use crate::store::queues::{
    Control, DigestRecord, Done, KnownCommand, OutcomeRecord, SelectionRecord, Urgency, WindowsRecord,
};
use crate::store::{AppendError, NameId, NameKind, NewEvent};
use crate::time::Instant;

/// What can be asked of the writer.
pub enum Message {
    Append(NewEvent, Reply),
    Outcomes(Vec<OutcomeRecord>),
    Name(NameKind, NameId, Arc<str>),
    Control(Control, Urgency),
    /// What is done to deliveries: each inner list lies in one group.
    Selections(Vec<Vec<SelectionRecord>>),
    /// Windows that are open.
    Windows(WindowsRecord),
    /// What happened to digests, in one group; who waits is told when it is durable.
    Digests(Vec<DigestRecord>, Option<Done>),
    /// Says when a command is durable that everything before it belongs to.
    Command(KnownCommand, Done),
    Replay(ReplayRecord, Done),
    /// Moves events of the oldest segment to the end.
    Relocate(Relocating),
    /// Lets the oldest segment go, if nothing needs it any more.
    Retire(Retiring),
    /// Seals the segment that is written to, and says which is the next.
    Seal(SyncSender<io::Result<u64>>),
    /// Says when everything before it is written and synced, which may take until there is room.
    Durable(Done),
    /// Says when everything before it is synced.
    Barrier(SyncSender<()>),
    /// Looks whether events can be accepted.
    LookForRoom,
    Close(SyncSender<()>),
    Abandon,
    /// Refuses everything from now on, for a reason.
    Fail(String),
}

/// Resolved with an event's id once it is durable.
pub type Reply = oneshot::Sender<Result<EventId, AppendError>>;

/// Both ends.
pub fn inbox() -> (Sender, Receiver) {
    let inbox = Arc::new(Inbox::default());
    (Sender(inbox.clone()), Receiver { inbox, taken: VecDeque::new() })
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// Somebody waits for one of them.
    is_urgent: bool,
    sleep: Sleep,
    is_closed: bool,
}

/// What the writer sleeps for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Sleep {
    #[default]
    Not,
    /// Anything at all: it has nothing to do.
    UntilSomething,
    /// What is urgent: it will look at the rest soon.
    UntilUrgent,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Message {
    /// Whether nobody waits for it.
    fn is_patient(&self) -> bool {
        matches!(
            self,
            Message::Outcomes(_)
                | Message::Name(..)
                | Message::Control(_, Urgency::Soon)
                | Message::Windows(_)
                | Message::Digests(_, None)
        )
    }
}

/// The senders' end.
#[derive(Clone)]
pub struct Sender(Arc<Inbox>);

impl Sender {
    /// Whether the writer is gone, so that nothing is written any more.
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// Sends a message, and gives it back if the writer is gone.
    pub fn send(&self, message: Message) -> Result<(), Box<Message>> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(Box::new(message));
        }
        let is_patient = message.is_patient();
        state.is_urgent |= !is_patient;
        state.messages.push_back(message);
        let wakes = match state.sleep {
            Sleep::Not => false,
            Sleep::UntilSomething => true,
            Sleep::UntilUrgent => !is_patient,
        };
        if wakes {
            // Once is enough, whatever else comes before it is up.
            state.sleep = Sleep::Not;
            drop(state);
            self.0.woken.notify_one();
        }
        Ok(())
    }
}

/// The writer's end. When it is dropped, nothing more can be sent.
pub struct Receiver {
    inbox: Arc<Inbox>,
    /// Messages that were taken over and not handed out.
    taken: VecDeque<Message>,
}

impl Receiver {
    /// Waits for something urgent, or until `look_at`; without that, for anything. Returns whether there is something urgent, as far
    /// as is known without looking at what was taken over.
    pub fn wait(&self, look_at: Option<Instant>) -> bool {
        if !self.taken.is_empty() {
            return false;
        }
        let mut state = self.inbox.lock();
        loop {
            let left = look_at.map(|look_at| look_at.saturating_duration_since(Instant::now()));
            let is_over = left.map_or(!state.messages.is_empty(), |left| left.is_zero());
            if state.is_urgent || is_over {
                state.sleep = Sleep::Not;
                return state.is_urgent;
            }
            state = match left {
                Some(left) => {
                    state.sleep = Sleep::UntilUrgent;
                    self.inbox.woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    state.sleep = Sleep::UntilSomething;
                    self.inbox.woken.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Takes the next message, if there is one.
    pub fn take(&mut self) -> Option<Message> {
        if self.taken.is_empty() {
            let mut state = self.inbox.lock();
            state.is_urgent = false;
            std::mem::swap(&mut state.messages, &mut self.taken);
        }
        self.taken.pop_front()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.inbox.lock();
        state.is_closed = true;
        // Who waits for an answer to one of these sees its other end go.
        state.messages.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn barrier() -> Message {
        Message::Barrier(std::sync::mpsc::sync_channel(1).0)
    }

    fn outcomes() -> Message {
        Message::Outcomes(Vec::new())
    }

    /// That a writer that waits like this is up again after some messages, each with whether it wakes.
    #[track_caller]
    fn check(look_at: Option<Duration>, messages: Vec<(Message, bool)>) {
        let (sender, receiver) = inbox();
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                receiver.wait(look_at.map(|wait| Instant::now() + wait));
                receiver
            });
            let sleeps = || sender.0.lock().sleep != Sleep::Not;
            while !sleeps() {
                std::thread::yield_now();
            }
            for (message, wakes) in messages {
                assert!(sender.send(message).is_ok());
                assert_eq!(!sleeps(), wakes);
            }
            let mut receiver = writer.join().expect("it wakes");
            assert!(receiver.take().is_some());
        });
    }

    #[test]
    fn an_idle_writer_is_woken_by_anything_and_one_that_will_look_soon_only_by_what_is_urgent() {
        let long = Some(Duration::from_secs(600));
        check(None, vec![(outcomes(), true)]);
        check(None, vec![(barrier(), true)]);
        check(long, vec![(outcomes(), false), (outcomes(), false), (barrier(), true)]);
    }

    #[test]
    fn messages_come_in_order_and_a_writer_that_is_gone_takes_none() {
        let (sender, mut receiver) = inbox();
        for message in [outcomes(), barrier(), outcomes()] {
            assert!(sender.send(message).is_ok());
        }
        receiver.wait(None);
        let kinds: Vec<bool> = std::iter::from_fn(|| receiver.take()).map(|message| message.is_patient()).collect();
        assert_eq!(kinds, [true, false, true]);
        drop(receiver);
        assert!(sender.send(outcomes()).is_err());
    }
}

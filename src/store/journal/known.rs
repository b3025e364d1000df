//! The commands that are remembered and those that are carried out just now, so that each is done once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::format::{BulkAct, SelectionRecord};
use super::lock;
use crate::store::{COMMANDS_MAX, NameId, What};

/// A command that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownCommand {
    pub id: u128,
    pub act: CommandAct,
    pub deliveries: u64,
    /// When, unix milliseconds.
    pub at_ms: u64,
}

/// By what two commands are told apart: whose deliveries, what kind of act, and another destination where one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandAct {
    pub of: NameId,
    pub kind: u8,
    pub to: NameId,
}

impl CommandAct {
    pub fn new(of: NameId, what: &What) -> Self {
        let (kind, to) = match what {
            What::Redeliver(_) => (1, NameId::NONE),
            What::DeadLetter { .. } => (2, NameId::NONE),
            What::Drop(_) => (3, NameId::NONE),
            What::Move { to, .. } => (4, *to),
            What::TakeOver { to } => (5, *to),
            What::Pause { .. } => (6, NameId::NONE),
            What::Hold => (7, NameId::NONE),
            What::Resume => (8, NameId::NONE),
            What::RetryNow => (9, NameId::NONE),
        };
        Self { of, kind, to }
    }

    /// What a record of the journal says of the command that it is part of.
    fn of_record(record: &SelectionRecord) -> Self {
        let (kind, to) = match record.act {
            BulkAct::Redeliver => (1, NameId::NONE),
            BulkAct::DeadLetter => (2, NameId::NONE),
            BulkAct::Drop => (3, NameId::NONE),
            BulkAct::MoveDead(to) => (4, to),
            BulkAct::MoveWaiting(to) => (5, to),
        };
        Self { of: record.destination, kind, to }
    }
}

/// The commands that are remembered.
#[derive(Debug, Default)]
pub struct Commands {
    known: HashMap<u128, KnownCommand>,
    order: VecDeque<u128>,
}

impl Commands {
    /// Remembers a command; of the records of one, each adds what was done.
    pub fn add(&mut self, command: KnownCommand) {
        if let Some(known) = self.known.get_mut(&command.id) {
            known.deliveries += command.deliveries;
            return;
        }
        self.known.insert(command.id, command);
        self.order.push_back(command.id);
        while self.order.len() > COMMANDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Takes down what a record of the journal says of a command.
    pub fn add_record(&mut self, record: &SelectionRecord) {
        if let Some(id) = record.command {
            let act = CommandAct::of_record(record);
            let deliveries = record.sequences.len();
            self.add(KnownCommand { id, act, deliveries, at_ms: record.at_ms });
        }
    }

    /// All of them, oldest first.
    pub fn all(&self) -> impl Iterator<Item = KnownCommand> + '_ {
        self.order.iter().filter_map(|id| self.known.get(id)).copied()
    }

    pub fn find(&self, id: u128) -> Option<KnownCommand> {
        self.known.get(&id).copied()
    }
}

/// Who carries out which command, by its id: one at a time, and nobody what is done already.
#[derive(Default)]
pub struct CommandIds {
    ids: Mutex<Ids>,
    /// Notified when a command is done, or was not.
    ended: Condvar,
}

#[derive(Default)]
struct Ids {
    known: Commands,
    reserved: BTreeSet<u128>,
}

impl CommandIds {
    /// The right to carry out a command, or what was done. Waits for who has the right already.
    pub fn reserve(&self, id: u128) -> Result<Reservation<'_>, KnownCommand> {
        let is_reserved = |ids: &mut Ids| ids.reserved.contains(&id);
        let mut ids: MutexGuard<'_, Ids> =
            self.ended.wait_while(lock(&self.ids), is_reserved).unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ids.known.find(id) {
            return Err(known);
        }
        ids.reserved.insert(id);
        Ok(Reservation { ids: self, id })
    }

    /// Whether an id is a command's, also of one that is not done yet.
    pub fn is_taken(&self, id: u128) -> bool {
        let ids = lock(&self.ids);
        ids.reserved.contains(&id) || ids.known.find(id).is_some()
    }

    /// Remembers a command that was done before.
    pub fn add(&self, command: KnownCommand) {
        lock(&self.ids).known.add(command);
    }
}

/// The right to carry out a command. When it goes, the next who asks has it, unless the command is done.
pub struct Reservation<'i> {
    ids: &'i CommandIds,
    pub id: u128,
}

impl Reservation<'_> {
    /// It is done: nobody does it again.
    pub fn done(self, command: KnownCommand) {
        self.ids.add(command);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        lock(&self.ids.ids).reserved.remove(&self.id);
        self.ids.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_commands_are_remembered() {
        let mut commands = Commands::default();
        let act = CommandAct { of: NameId(1), kind: 1, to: NameId::NONE };
        let command = |id| KnownCommand { id, act, deliveries: 2, at_ms: 0 };
        (1..=COMMANDS_MAX as u128 + 1).for_each(|id| commands.add(command(id)));
        commands.add(command(5));
        assert_eq!(commands.find(1), None);
        assert_eq!(commands.find(5).map(|known| known.deliveries), Some(4), "two records of one command");
        assert_eq!(commands.all().count(), COMMANDS_MAX);
    }

    #[test]
    fn who_asks_for_a_command_that_is_carried_out_waits_for_what_is_done_or_does_it() {
        let ids = CommandIds::default();
        let command = KnownCommand {
            id: 7,
            act: CommandAct { of: NameId(1), kind: 6, to: NameId::NONE },
            deliveries: 1,
            at_ms: 0,
        };
        for is_done in [false, true] {
            let first = ids.reserve(7).unwrap_or_else(|known| panic!("{known:?}"));
            assert!(ids.is_taken(7) && !ids.is_taken(8));
            assert!(ids.reserve(8).is_ok(), "another one waits for nobody");
            std::thread::scope(|scope| {
                let second = scope.spawn(|| ids.reserve(7).err());
                if is_done {
                    first.done(command);
                } else {
                    drop(first);
                }
                assert_eq!(second.join().expect("it ends"), is_done.then_some(command));
            });
        }
        assert!(ids.is_taken(7));
    }
}

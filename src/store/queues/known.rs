//! The commands that are remembered and those that are carried out just now, so that each is done once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::acts::{BulkAct, CommandRecord, SelectionRecord};
use crate::store::locks::lock;
use crate::store::{AskedPrint, COMMANDS_MAX, Command, NameId, Names, What};
use crate::time::rfc3339;

/// A command that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownCommand {
    pub id: u128,
    pub act: CommandAct,
    pub deliveries: u64,
    /// When, unix milliseconds.
    pub at_ms: u64,
}

impl KnownCommand {
    /// What it was, for people; `asked`: what its id is given for now, if that is a command too.
    pub fn told(&self, names: &Names, asked: Option<&CommandAct>) -> String {
        let Self { id: _, act: CommandAct { of, kind, .. }, deliveries, at_ms } = *self;
        let name = |id: NameId| match names.of(id) {
            Some((_, name)) => format!("`{name}`"),
            None => "one that is gone".to_owned(),
        };
        let done = match kind {
            CommandKind::Redeliver => "delivering again to",
            CommandKind::DeadLetter => "giving up what waits for",
            CommandKind::Drop => "dropping dead letters of",
            CommandKind::Move(_) => "moving dead letters of",
            CommandKind::TakeOver(_) => "moving everything of",
            CommandKind::Pause => "a pause of",
            CommandKind::Hold => "holding what comes in by",
            CommandKind::Resume => "a resume of",
            CommandKind::RetryNow => "retrying now what waits for",
        };
        let to = match kind {
            CommandKind::Move(to) | CommandKind::TakeOver(to) => format!(" to {}", name(to)),
            _ => String::new(),
        };
        let counted = match (kind, deliveries) {
            (CommandKind::Pause | CommandKind::Hold | CommandKind::Resume | CommandKind::RetryNow, _) => String::new(),
            (_, 1) => ", done to 1 delivery".to_owned(),
            _ => format!(", done to {deliveries} deliveries"),
        };
        let is_alike = asked.is_some_and(|asked| (asked.of, asked.kind) == (of, kind));
        let otherwise = if is_alike { ", by another choice or for another reason than now" } else { "" };
        format!("{done} {}{to}, {}{counted}{otherwise}", name(of), rfc3339(at_ms))
    }
}

/// By what two commands are told apart: whose deliveries, what is done, and to which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandAct {
    pub of: NameId,
    pub kind: CommandKind,
    /// What was asked for. Of commands that an earlier build did it is not known.
    pub asked: Option<AskedPrint>,
}

/// Stands in the index where no other destination is named.
const NO_OTHER: u32 = u32::MAX;

/// What is done, and by which other destination where one is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    Redeliver,
    DeadLetter,
    Drop,
    Move(NameId),
    TakeOver(NameId),
    Pause,
    Hold,
    Resume,
    RetryNow,
}

impl CommandKind {
    /// As the index has it: a number, and that of the other destination or [`NO_OTHER`].
    pub fn to_numbers(self) -> (u8, u32) {
        match self {
            Self::Redeliver => (1, NO_OTHER),
            Self::DeadLetter => (2, NO_OTHER),
            Self::Drop => (3, NO_OTHER),
            Self::Move(to) => (4, to.0),
            Self::TakeOver(to) => (5, to.0),
            Self::Pause => (6, NO_OTHER),
            Self::Hold => (7, NO_OTHER),
            Self::Resume => (8, NO_OTHER),
            Self::RetryNow => (9, NO_OTHER),
        }
    }

    /// Reads back what [`to_numbers`](Self::to_numbers) gave; a later program may know more.
    pub fn of_numbers(kind: u8, other: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Redeliver,
            2 => Self::DeadLetter,
            3 => Self::Drop,
            4 => Self::Move(NameId(other)),
            5 => Self::TakeOver(NameId(other)),
            6 => Self::Pause,
            7 => Self::Hold,
            8 => Self::Resume,
            9 => Self::RetryNow,
            _ => return None,
        })
    }
}

impl CommandAct {
    pub fn new(command: &Command) -> Self {
        let of = command.of;
        let kind = match &command.what {
            What::Redeliver(_) => CommandKind::Redeliver,
            What::DeadLetter { .. } => CommandKind::DeadLetter,
            What::Drop(_) => CommandKind::Drop,
            // It is one and the same, and the journal writes it down like this.
            What::Move { to, .. } if *to == of => CommandKind::Redeliver,
            What::Move { to, .. } => CommandKind::Move(*to),
            What::TakeOver { to } => CommandKind::TakeOver(*to),
            What::Pause { .. } => CommandKind::Pause,
            What::Hold => CommandKind::Hold,
            What::Resume => CommandKind::Resume,
            What::RetryNow => CommandKind::RetryNow,
        };
        Self { of, kind, asked: Some(command.asked) }
    }

    /// Whether it is the same that is asked for, as far as that is known.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_asked_alike = self.asked.zip(other.asked).is_none_or(|(one, other)| one == other);
        (self.of, self.kind) == (other.of, other.kind) && is_asked_alike
    }

    /// What a record of the journal says of the command that it is part of.
    fn of_record(record: &SelectionRecord) -> Self {
        let kind = match record.act {
            BulkAct::Redeliver => CommandKind::Redeliver,
            BulkAct::DeadLetter => CommandKind::DeadLetter,
            BulkAct::Drop => CommandKind::Drop,
            BulkAct::MoveDead(to) => CommandKind::Move(to),
            BulkAct::MoveWaiting(to) => CommandKind::TakeOver(to),
        };
        let asked = record.command.and_then(|command| command.asked);
        Self { of: record.destination, kind, asked }
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
        if let Some(CommandRecord { id, .. }) = record.command {
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

/// Whose an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Free,
    /// A command's that is carried out now.
    BeingDone,
    Done(KnownCommand),
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

    /// Whether an id is a command's.
    pub fn taken(&self, id: u128) -> Taken {
        let ids = lock(&self.ids);
        match ids.known.find(id) {
            Some(known) => Taken::Done(known),
            None if ids.reserved.contains(&id) => Taken::BeingDone,
            None => Taken::Free,
        }
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
        let act = CommandAct { of: NameId(1), kind: CommandKind::Redeliver, asked: None };
        let command = |id| KnownCommand { id, act, deliveries: 2, at_ms: 0 };
        (1..=COMMANDS_MAX as u128 + 1).for_each(|id| commands.add(command(id)));
        commands.add(command(5));
        assert_eq!(commands.find(1), None);
        assert_eq!(commands.find(5).map(|known| known.deliveries), Some(4), "two records of one command");
        assert_eq!(commands.all().count(), COMMANDS_MAX);
    }

    #[test]
    fn what_is_not_known_of_a_command_of_an_earlier_build_is_not_held_against_it() {
        let act = |kind, asked: Option<u64>| CommandAct { of: NameId(1), kind, asked: asked.map(AskedPrint) };
        let drop = |asked| act(CommandKind::Drop, asked);
        assert!(drop(Some(1)).is_same(&drop(Some(1))) && drop(Some(1)).is_same(&drop(None)));
        assert!(drop(None).is_same(&drop(Some(1))) && !drop(Some(1)).is_same(&drop(Some(2))));
        assert!(!drop(None).is_same(&act(CommandKind::Redeliver, None)));
    }

    #[test]
    fn what_is_done_reads_back_from_its_numbers() {
        for kind in 1..=9 {
            let read = CommandKind::of_numbers(kind, 7).expect("there is such a one");
            let (number, other) = read.to_numbers();
            assert_eq!((number, other), (kind, if matches!(kind, 4 | 5) { 7 } else { NO_OTHER }));
        }
        assert_eq!(CommandKind::of_numbers(10, NO_OTHER), None);
    }

    #[test]
    fn who_asks_for_a_command_that_is_carried_out_waits_for_what_is_done_or_does_it() {
        let ids = CommandIds::default();
        let command = KnownCommand {
            id: 7,
            act: CommandAct { of: NameId(1), kind: CommandKind::Pause, asked: None },
            deliveries: 1,
            at_ms: 0,
        };
        for is_done in [false, true] {
            let first = ids.reserve(7).unwrap_or_else(|known| panic!("{known:?}"));
            assert_eq!((ids.taken(7), ids.taken(8)), (Taken::BeingDone, Taken::Free));
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
        assert_eq!(ids.taken(7), Taken::Done(command));
    }
}

//! Commands: asked for by anybody, carried out by who owns the destination, and done once for each id.
//!
//! A command with an id has a row from the moment when it is asked for. Its owner changes the queue in memory, and what that comes to is
//! written in one transaction with the mark that it is done: a crash before that undoes both.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::Row;

use super::handover::{Rest, Ticket, taken_from_json};
use super::running::Postgres;
use super::wire;
use crate::store::locks::{lock, reading};
use crate::store::queues::{Act, Backing, BulkAct, CommandAct, CommandKind, CommandRecord, KnownCommand, Urgency};
use crate::store::{AskedPrint, Command, Done, NameId, NameKind, StoreError, TakenOver, What};
use crate::time::Instant;

/// So long who asks waits for the relay that owns the destination.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether it has done it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What came of writing a command down.
enum Registered {
    First(Ticket),
    /// Somebody has asked for it before, and it is not done.
    Again(Ticket),
    Done(Done),
}

/// What the row of a command says when somebody begins with it.
enum Left {
    /// All of it.
    All,
    /// What a destination's owner is to take in.
    TakeIn(Box<Rest>),
    /// Nothing for this relay now.
    Nothing,
    Done(Done),
}

impl Postgres {
    /// Has a command carried out, here or by whoever owns the destination.
    pub async fn ask(self: Arc<Self>, command: Command) -> Result<Done, StoreError> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        if self.name_of(command.of).is_none() {
            // Another relay may have numbered it a moment ago.
            self.learn_names().await?;
        }
        let is_shared = self.goes_between_two(&command);
        if is_shared && !self.has_anything(command.of).await? {
            return Ok(Done { taken_over: Some(TakenOver::default()), ..Done::default() });
        }
        let command = if is_shared { self.as_shared(command) } else { command };
        let is_source = self.name_of(command.of).is_some_and(|(kind, _)| kind == NameKind::Source);
        let (mut is_first, mut row) = (true, None);
        if let Some(id) = command.id {
            match self.register(id, &command, is_shared).await? {
                Registered::Done(done) => return Ok(done),
                Registered::First(ticket) => row = Some(ticket),
                Registered::Again(ticket) => (is_first, row) = (is_shared, Some(ticket)),
            }
        }
        let done = if is_source { self.act_on_source(&command).await? } else { self.ask_owner(&command, row).await? };
        // Who has asked first has it done, whoever did it.
        Ok(Done { was_done_before: !is_first, ..done })
    }

    /// Whether nobody says a command again, and two relays may have to do it together.
    fn goes_between_two(&self, command: &Command) -> bool {
        let other = match &command.what {
            What::TakeOver { to } | What::Move { to, .. } if *to != command.of => *to,
            _ => return false,
        };
        command.id.is_none() && !(self.owns(command.of) && self.owns(other))
    }

    /// The same with an id by which two relays know it: one for whoever asks for the same, and for each time that it is asked.
    fn as_shared(&self, command: Command) -> Command {
        let part = [b"between two", wire::to_json(&command.what).to_string().as_bytes()].concat();
        let id = Command::id_of_part(u128::from(self.number) << 32 | u128::from(command.of.0), &part);
        Command { id: Some(id), ..command }
    }

    /// Has a command carried out by who owns the destination.
    async fn ask_owner(self: &Arc<Self>, command: &Command, row: Option<Ticket>) -> Result<Done, StoreError> {
        let until = Instant::now() + WAIT_MAX;
        let mut changed = self.ownership.subscribe();
        loop {
            changed.borrow_and_update();
            if self.owns(command.of) {
                match self.carry_out_here(command, row).await {
                    Ok(Some(done)) => return Ok(done),
                    // The rest is another's.
                    Ok(None) => return self.wait_for_another(command, until).await,
                    // It was given back amid it, and nothing was done.
                    Err(StoreError::Unavailable(_)) if !self.owns(command.of) && Instant::now() < until => continue,
                    Err(error) => return Err(error),
                }
            }
            if lock(&self.elsewhere).contains(&command.of) {
                return self.wait_for_another(command, until).await;
            }
            self.hurry.notify_one();
            if tokio::time::timeout_at(until, changed.changed()).await.is_err() {
                let why = "no relay has this destination now: it will be done when one does".to_owned();
                return Err(StoreError::Unavailable(why));
            }
        }
    }

    /// Writes a command down. `anew`: also if it was done before.
    async fn register(&self, id: u128, command: &Command, anew: bool) -> Result<Registered, StoreError> {
        let uuid = uuid::Uuid::from_u128(id);
        let act = CommandAct::new(command);
        let (kind, other) = act.kind.to_numbers();
        let (of, kind, other) = (command.of.0.cast_signed(), i16::from(kind), other.cast_signed());
        let (asked, at_ms) = (command.asked.0.cast_signed(), self.now_ms().cast_signed());
        let what = wire::to_json(&command.what).to_string();
        let replay = self.asker.rows("SELECT 1 FROM replay WHERE id = $1", &[&uuid]).await?;
        if !replay.is_empty() {
            return Err(StoreError::IdTaken { id, by: "a replay".to_owned() });
        }
        let insert =
            "INSERT INTO command (id, of, kind, other, asked, what, asked_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let or_else = if anew {
            "ON CONFLICT (id) DO UPDATE SET done_ms = NULL, deliveries = NULL, next = NULL, what = $6,
                asked_ms = greatest(command.asked_ms + 1, $7) WHERE command.done_ms IS NOT NULL"
        } else {
            "ON CONFLICT DO NOTHING"
        };
        let sql = format!("{insert} {or_else} RETURNING 1");
        let inserted = self.asker.rows(&sql, &[&uuid, &of, &kind, &other, &asked, &what, &at_ms]).await?;
        let sql = "SELECT of, kind, other, asked, asked_ms, done_ms, deliveries, what FROM command WHERE id = $1";
        let rows = self.asker.rows(sql, &[&uuid]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Unavailable("the command was not written".to_owned()))?;
        let known = known(id, row)?;
        if !known.act.is_same(&act) {
            return Err(self.taken_by(known, Some(&act)));
        }
        let ticket = Ticket { id, asked_ms: row.get::<_, i64>("asked_ms").cast_unsigned() };
        Ok(match (done(row), inserted.is_empty()) {
            // Its owner may have been quicker than this look at it: it was done for this one all the same.
            (Some(done), was_there) => Registered::Done(Done { was_done_before: was_there, ..done }),
            (None, true) => Registered::Again(ticket),
            (None, false) => Registered::First(ticket),
        })
    }

    async fn wait_for_another(&self, command: &Command, until: Instant) -> Result<Done, StoreError> {
        // Nobody says it again, and the relay that has the destination does the same by itself.
        let Some(id) = command.id else { return Ok(Done::default()) };
        let sql = "SELECT done_ms, deliveries, what FROM command WHERE id = $1";
        loop {
            let rows = self.asker.rows(sql, &[&uuid::Uuid::from_u128(id)]).await?;
            if let Some(done) = rows.first().and_then(done) {
                return Ok(done);
            }
            if Instant::now() >= until {
                let why = "the relay that has this destination has not done it yet: it will".to_owned();
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Carries out what others have asked for, as far as it is about destinations of this relay.
    pub fn carry_out(self: &Arc<Self>, rows: Vec<Row>) {
        for row in rows {
            let id = row.get::<_, uuid::Uuid>("id").as_u128();
            let destination = |column| row.get::<_, Option<i32>>(column).map(|id| NameId(id.cast_unsigned()));
            let Some(of) = destination("of") else { continue };
            let at = destination("next").unwrap_or(of);
            if !self.owns(at) {
                continue;
            }
            let Some(task) = row.get::<_, Option<&str>>("what").and_then(wire::from_json) else {
                tracing::warn!(id = %uuid::Uuid::from_u128(id), "a command of a later program is left to one that knows it");
                continue;
            };
            let asked = AskedPrint(row.get::<_, i64>("asked").cast_unsigned());
            let ticket = Ticket { id, asked_ms: row.get::<_, i64>("asked_ms").cast_unsigned() };
            if !lock(&self.carried_out).insert(id) {
                continue;
            }
            let postgres = self.clone();
            let is_carried_out = CarriedOut { postgres: self.clone(), id };
            self.runtime.spawn(async move {
                let done = match task {
                    wire::Task::Do(what) => {
                        let command = Command { id: Some(id), of, what, asked };
                        postgres.carry_out_here(&command, Some(ticket)).await.map(drop)
                    }
                    wire::Task::TakeIn(_) => postgres.go_on_here(ticket, at).await,
                    wire::Task::Erase(part) => postgres.do_part(id, of, &part).await,
                };
                if let Err(error) = done {
                    tracing::debug!(%error, "a command is tried again with the next heartbeat");
                }
                drop(is_carried_out);
            });
        }
    }

    /// Carries a command out in the queues of this process. Nothing where the rest of it is another relay's.
    async fn carry_out_here(&self, command: &Command, row: Option<Ticket>) -> Result<Option<Done>, StoreError> {
        let _one_after_the_other = self.commanding.lock().await;
        if let Some(ticket) = row {
            match self.left(ticket, None).await? {
                Left::All => {}
                Left::TakeIn(_) | Left::Nothing => return Ok(None),
                Left::Done(done) => return Ok(Some(Done { was_done_before: true, ..done })),
            }
        }
        self.act(command, row).await
    }

    /// Goes on with a command where another destination's owner has ended.
    async fn go_on_here(&self, ticket: Ticket, at: NameId) -> Result<(), StoreError> {
        let _one_after_the_other = self.commanding.lock().await;
        match self.left(ticket, Some(at)).await? {
            Left::TakeIn(rest) if self.owns(at) => self.take_in(ticket, at, &rest).await,
            _ => Ok(()),
        }
    }

    /// What is left to do of a command for the owner of a destination: the second one that it names, or else the first.
    async fn left(&self, ticket: Ticket, at: Option<NameId>) -> Result<Left, StoreError> {
        let sql = "SELECT next, done_ms, deliveries, what FROM command WHERE id = $1 AND asked_ms = $2";
        let (id, asked_ms) = (uuid::Uuid::from_u128(ticket.id), ticket.asked_ms.cast_signed());
        let rows = self.asker.rows(sql, &[&id, &asked_ms]).await?;
        let Some(row) = rows.first() else { return Ok(Left::Nothing) };
        if let Some(done) = done(row) {
            return Ok(Left::Done(done));
        }
        let next = row.get::<_, Option<i32>>("next").map(|id| NameId(id.cast_unsigned()));
        Ok(match row.get::<_, Option<&str>>("what").and_then(wire::from_json) {
            _ if next != at => Left::Nothing,
            Some(wire::Task::TakeIn(rest)) => Left::TakeIn(Box::new(rest)),
            _ => Left::All,
        })
    }

    async fn act(&self, command: &Command, row: Option<Ticket>) -> Result<Option<Done>, StoreError> {
        let Command { id, of, ref what, asked } = *command;
        let record = id.map(|id| CommandRecord { id, asked: Some(asked) });
        let control = |act: Act| u64::from(self.control(of, act, Urgency::Now));
        let mut taken_over = None;
        // What is done and that it is done are written together.
        let mut whole = None;
        let deliveries = match what {
            What::Pause { reason } => control(Act::Pause(reason.clone())),
            What::Hold => control(Act::Hold),
            What::Resume => u64::from(self.let_go_on(of, Act::Resume)),
            What::RetryNow => u64::from(self.let_go_on(of, Act::RetryNow)),
            What::Redeliver(which) => {
                let chosen = self.that_are_there(self.chosen(of, which).await?).await?;
                whole = Some(self.outbox.whole());
                self.select_of(record, of, BulkAct::Redeliver, "", &chosen)
            }
            What::DeadLetter { which, reason } => {
                let chosen = self.chosen(of, which).await?;
                whole = Some(self.outbox.whole());
                self.select_of(record, of, BulkAct::DeadLetter, reason, &chosen)
            }
            What::Drop(which) => {
                let chosen = self.chosen(of, which).await?;
                whole = Some(self.outbox.whole());
                self.select_of(record, of, BulkAct::Drop, "", &chosen)
            }
            What::Move { which, to } if *to == of => {
                let chosen = self.that_are_there(self.chosen(of, which).await?).await?;
                self.select_of(record, of, BulkAct::Redeliver, "", &chosen)
            }
            What::Move { which, to } => {
                let chosen = self.that_are_there(self.chosen(of, which).await?).await?;
                if !self.owns(*to) {
                    let ticket = row.ok_or_else(must_be_said_again)?;
                    self.give_dead_letters(ticket, of, *to, &chosen).await?;
                    return Ok(None);
                }
                whole = Some(self.outbox.whole());
                self.move_dead_letters(record, of, *to, &chosen)
            }
            What::TakeOver { to } if *to != of && !self.owns(*to) => {
                let ticket = row.ok_or_else(must_be_said_again)?;
                self.give_all(ticket, of, *to).await?;
                return Ok(None);
            }
            What::TakeOver { to } => {
                let taken = self.take_over(of, *to).await?;
                taken_over = Some(taken);
                taken.waiting + taken.scheduled + taken.dead
            }
        };
        if deliveries > 0 {
            self.watchers.commanded();
        }
        if let Some(id) = id {
            let act = CommandAct::new(&Command { id: Some(id), of, what: what.clone(), asked });
            let known = KnownCommand { id, act, deliveries, at_ms: self.now_ms() };
            let written = self.outbox.command(known, taken_over);
            drop(whole.take());
            written.await.unwrap_or(Err(crate::store::AppendError::Closed))?;
        }
        drop(whole);
        Ok(Some(Done { deliveries, was_done_before: false, taken_over }))
    }

    /// What an id was given for.
    pub fn taken_by(&self, known: KnownCommand, asked: Option<&CommandAct>) -> StoreError {
        let names = reading(&self.names).shown();
        StoreError::IdTaken { id: known.id, by: known.told(&names, asked) }
    }
}

/// A command that is being carried out, until this goes.
struct CarriedOut {
    postgres: Arc<Postgres>,
    id: u128,
}

impl Drop for CarriedOut {
    fn drop(&mut self) {
        lock(&self.postgres.carried_out).remove(&self.id);
    }
}

/// It was begun as one of this relay alone, and is another's since.
fn must_be_said_again() -> StoreError {
    StoreError::Unavailable("another relay has the destination that they are to go to: ask again".to_owned())
}

/// What the row of a command says of what came of it; nothing where it is not done.
fn done(row: &Row) -> Option<Done> {
    row.get::<_, Option<i64>>("done_ms")?;
    let what = row.get::<_, Option<&str>>("what").and_then(|what| serde_json::from_str(what).ok());
    Some(Done {
        deliveries: row.get::<_, Option<i64>>("deliveries").unwrap_or(0).cast_unsigned(),
        was_done_before: false,
        taken_over: what.as_ref().and_then(taken_from_json),
    })
}

pub fn known(id: u128, row: &Row) -> Result<KnownCommand, StoreError> {
    let kind = u8::try_from(row.get::<_, i16>("kind")).unwrap_or(u8::MAX);
    let other = row.get::<_, Option<i32>>("other").unwrap_or(-1).cast_unsigned();
    let kind = CommandKind::of_numbers(kind, other);
    let later = || StoreError::IdTaken { id, by: "a command of a later program".to_owned() };
    let asked = Some(AskedPrint(row.get::<_, i64>("asked").cast_unsigned()));
    Ok(KnownCommand {
        id,
        act: CommandAct { of: NameId(row.get::<_, i32>("of").cast_unsigned()), kind: kind.ok_or_else(later)?, asked },
        deliveries: row.get::<_, Option<i64>>("deliveries").unwrap_or(0).cast_unsigned(),
        at_ms: row.get::<_, Option<i64>>("done_ms").unwrap_or(0).cast_unsigned(),
    })
}

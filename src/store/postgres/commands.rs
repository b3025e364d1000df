//! Commands: asked for by anybody, carried out by who owns the destination, and done once for each id.
//!
//! A command with an id has a row from the moment when it is asked for. Its owner changes the queue in memory, and what that comes to is
//! written in one transaction with the mark that it is done: a crash before that undoes both.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::Row;

use super::running::Postgres;
use super::wire;
use crate::store::locks::{lock, reading};
use crate::store::queues::{
    Act, Backing, Bitmap, BulkAct, CommandAct, CommandKind, CommandRecord, KnownCommand, Moving, Queue, Told, Urgency,
};
use crate::store::{AskedPrint, Command, Done, EVENTS_MAX, NameId, NameKind, StoreError, TakenOver, What};
use crate::time::Instant;

/// So long who asks waits for the relay that owns the destination.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Between two looks whether it has done it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What came of writing a command down.
enum Registered {
    First,
    /// Somebody has asked for it before, and it is not done.
    Again,
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
        let is_source = self.name_of(command.of).is_some_and(|(kind, _)| kind == NameKind::Source);
        let mut is_first = true;
        if let Some(id) = command.id {
            match self.register(id, &command).await? {
                Registered::Done(done) => return Ok(done),
                Registered::First => {}
                Registered::Again => is_first = false,
            }
        }
        let done = if is_source { self.act_on_source(&command).await? } else { self.ask_owner(&command).await? };
        // Who has asked first has it done, whoever did it.
        Ok(Done { was_done_before: !is_first, ..done })
    }

    /// Has a command carried out by who owns the destination.
    async fn ask_owner(self: &Arc<Self>, command: &Command) -> Result<Done, StoreError> {
        let until = Instant::now() + WAIT_MAX;
        let mut changed = self.ownership.subscribe();
        loop {
            changed.borrow_and_update();
            if self.owns(command.of) {
                match self.carry_out_here(command).await {
                    // It was given back amid it, and nothing was done.
                    Err(StoreError::Unavailable(_)) if !self.owns(command.of) && Instant::now() < until => continue,
                    came => return came,
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

    /// Writes a command down.
    async fn register(&self, id: u128, command: &Command) -> Result<Registered, StoreError> {
        let uuid = uuid::Uuid::from_u128(id);
        let act = CommandAct::new(command);
        let (kind, other) = act.kind.to_numbers();
        let (of, kind, other) = (command.of.0.cast_signed(), i16::from(kind), other.cast_signed());
        let (asked, at_ms) = (command.asked.0.cast_signed(), self.now_ms().cast_signed());
        // No text of the database has the character NUL.
        let what = wire::to_json(&command.what).to_string().replace("\\u0000", "\\ufffd");
        let replay = self.asker.rows("SELECT 1 FROM replay WHERE id = $1", &[&uuid]).await?;
        if !replay.is_empty() {
            return Err(StoreError::IdTaken { id, by: "a replay".to_owned() });
        }
        let sql = "INSERT INTO command (id, of, kind, other, asked, what, asked_ms)
            VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7) ON CONFLICT DO NOTHING RETURNING 1";
        let inserted = self.asker.rows(sql, &[&uuid, &of, &kind, &other, &asked, &what, &at_ms]).await?;
        let sql = "SELECT of, kind, other, asked, done_ms, deliveries FROM command WHERE id = $1";
        let rows = self.asker.rows(sql, &[&uuid]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Unavailable("the command was not written".to_owned()))?;
        let known = known(id, row)?;
        if !known.act.is_same(&act) {
            return Err(self.taken_by(known, Some(&act)));
        }
        let is_done = row.get::<_, Option<i64>>("done_ms").is_some();
        Ok(match (is_done, inserted.is_empty()) {
            // Its owner may have been quicker than this look at it: it was done for this one all the same.
            (true, was_there) => {
                Registered::Done(Done { deliveries: known.deliveries, was_done_before: was_there, taken_over: None })
            }
            (false, true) => Registered::Again,
            (false, false) => Registered::First,
        })
    }

    async fn wait_for_another(&self, command: &Command, until: Instant) -> Result<Done, StoreError> {
        // Nobody says it again, and the relay that has the destination does the same by itself.
        let Some(id) = command.id else { return Ok(Done::default()) };
        loop {
            if let Some(deliveries) = self.done_by(id).await? {
                return Ok(Done { deliveries, was_done_before: false, taken_over: None });
            }
            if Instant::now() >= until {
                let why = "the relay that has this destination has not done it yet: it will".to_owned();
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// To how many deliveries a command was done; nothing where it is not done.
    async fn done_by(&self, id: u128) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT deliveries FROM command WHERE id = $1 AND done_ms IS NOT NULL";
        let rows = self.asker.rows(sql, &[&uuid::Uuid::from_u128(id)]).await?;
        Ok(rows.first().map(|row| row.get::<_, Option<i64>>(0).unwrap_or(0).cast_unsigned()))
    }

    /// Carries out what others have asked for, as far as it is about destinations of this relay.
    pub fn carry_out(self: &Arc<Self>, rows: Vec<Row>) {
        for row in rows {
            let id = row.get::<_, uuid::Uuid>("id").as_u128();
            let of = NameId(row.get::<_, i32>("of").cast_unsigned());
            if !self.owns(of) {
                continue;
            }
            let Some(task) = row.get::<_, Option<&str>>("what").and_then(wire::from_json) else {
                tracing::warn!(id = %uuid::Uuid::from_u128(id), "a command of a later program is left to one that knows it");
                continue;
            };
            let asked = AskedPrint(row.get::<_, i64>("asked").cast_unsigned());
            if !lock(&self.carried_out).insert(id) {
                continue;
            }
            let postgres = self.clone();
            self.runtime.spawn(async move {
                let done = match task {
                    wire::Task::Do(what) => {
                        let command = Command { id: Some(id), of, what, asked };
                        postgres.carry_out_here(&command).await.map(drop)
                    }
                    wire::Task::Erase(part) => postgres.do_part(id, of, &part).await,
                };
                if let Err(error) = done {
                    tracing::debug!(%error, "a command is tried again with the next heartbeat");
                }
                lock(&postgres.carried_out).remove(&id);
            });
        }
    }

    /// Carries a command out in the queues of this process.
    async fn carry_out_here(&self, command: &Command) -> Result<Done, StoreError> {
        let Command { id, of, ref what, asked } = *command;
        let _one_after_the_other = self.commanding.lock().await;
        if let Some(id) = id
            && let Some(deliveries) = self.done_by(id).await?
        {
            return Ok(Done { deliveries, was_done_before: true, taken_over: None });
        }
        self.act(id, of, what, asked).await
    }

    async fn act(&self, id: Option<u128>, of: NameId, what: &What, asked: AskedPrint) -> Result<Done, StoreError> {
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
                self.must_own(*to).await?;
                let chosen = self.that_are_there(self.chosen(of, which).await?).await?;
                whole = Some(self.outbox.whole());
                self.move_dead_letters(record, of, *to, &chosen)
            }
            What::TakeOver { to } => {
                self.must_own(*to).await?;
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
            let written = self.outbox.command(known);
            drop(whole.take());
            written.await.unwrap_or(Err(crate::store::AppendError::Closed))?;
        }
        drop(whole);
        Ok(Done { deliveries, was_done_before: false, taken_over })
    }

    /// Where deliveries go to another destination, that must be here as well.
    async fn must_own(&self, to: NameId) -> Result<(), StoreError> {
        self.until_owned(to).await?;
        if self.owns(to) {
            return Ok(());
        }
        let why =
            "another relay has the destination that they are to go to: ask again once one relay has both".to_owned();
        Err(StoreError::Unavailable(why))
    }

    /// Delivers dead letters of one destination to another.
    fn move_dead_letters(&self, command: Option<CommandRecord>, from: NameId, to: NameId, numbers: &Bitmap) -> u64 {
        self.do_with_both(from, to, |here, there| {
            let act = BulkAct::MoveDead(to);
            let moved = here.select(act, numbers);
            let again = there.select(BulkAct::Redeliver, &moved);
            there.is_as_old_as(self.passed_ms(), &again);
            let count = moved.len();
            if !again.is_empty() {
                self.tell(Told::Selection(self.record(to, BulkAct::Redeliver, None, "", again)));
            }
            if count > 0 {
                self.tell(Told::Selection(self.record(from, act, command, "", moved)));
            }
            count
        })
    }

    /// Moves everything that one queue is to another.
    async fn take_over(&self, from: NameId, to: NameId) -> Result<TakenOver, StoreError> {
        let mut taken = TakenOver::default();
        if from == to {
            return Ok(taken);
        }
        // What died a moment ago may be on its way.
        let _ = self.outbox.written().await;
        let dead: Vec<i64> = lock(&self.destination(from).queue).dead().iter_from(0).map(u64::cast_signed).collect();
        let of = from.0.cast_signed();
        for some in dead.chunks(EVENTS_MAX) {
            let mut letters = Vec::new();
            for k in self.segments() {
                let sql = format!(
                    "SELECT n, attempts, dead_ms, reason FROM delivery_{k} WHERE dest = $1 AND n = ANY ($2) AND dead_ms IS NOT NULL"
                );
                letters.extend(self.asker.rows(&sql, &[&of, &some]).await?);
            }
            let letters = letters.iter().map(|row| {
                let reason = row.get::<_, Option<String>>("reason").unwrap_or_default();
                let (attempts, dead_ms): (i16, i64) = (row.get("attempts"), row.get("dead_ms"));
                let number: i64 = row.get("n");
                (number.cast_unsigned(), attempts.cast_unsigned(), dead_ms.cast_unsigned(), reason)
            });
            let move_all = |here: &mut Queue, there: &mut Queue| self.move_letters(here, there, (from, to), letters);
            taken.dead += self.do_with_both(from, to, move_all);
        }
        self.move_rest(from, to, &mut taken);
        Ok(taken)
    }

    /// What an id was given for.
    pub fn taken_by(&self, known: KnownCommand, asked: Option<&CommandAct>) -> StoreError {
        let names = reading(&self.names).shown();
        StoreError::IdTaken { id: known.id, by: known.told(&names, asked) }
    }
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

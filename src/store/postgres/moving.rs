//! What goes from one destination to another: at once where this relay has both, and else in two steps, by the [`handover`](super::handover).

use super::handover::{AllGiven, Given, GoOn, Rest, TakenIn, Ticket};
use super::running::Postgres;
use crate::store::locks::lock;
use crate::store::queues::{
    Backing, Bitmap, BulkAct, CommandRecord, DeliveryKey, Going, Moving, OutcomeRecord, OutcomeState, Queue, Scheduled,
    Told,
};
use crate::store::{EVENTS_MAX, NameId, StoreError, TakenOver};

impl Postgres {
    /// Delivers dead letters of one destination to another, both this relay's.
    pub fn move_dead_letters(&self, command: Option<CommandRecord>, from: NameId, to: NameId, numbers: &Bitmap) -> u64 {
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

    /// Moves everything that one queue is to another, both this relay's.
    pub async fn take_over(&self, from: NameId, to: NameId) -> Result<TakenOver, StoreError> {
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
            let letters = letters.iter().map(letter);
            let move_all = |here: &mut Queue, there: &mut Queue| self.move_letters(here, there, (from, to), letters);
            taken.dead += self.do_with_both(from, to, move_all);
        }
        self.move_rest(from, to, &mut taken);
        Ok(taken)
    }

    /// Gives dead letters up for a destination that another relay has, where they go out again.
    pub async fn give_dead_letters(
        &self,
        ticket: Ticket,
        from: NameId,
        to: NameId,
        numbers: &Bitmap,
    ) -> Result<(), StoreError> {
        let whole = self.outbox.whole();
        let all = {
            let destination = self.destination(from);
            let mut here = lock(&destination.queue);
            let numbers = here.select(BulkAct::MoveDead(to), numbers);
            self.give((ticket, GoOn::Again), from, to, BulkAct::MoveDead(to), numbers);
            self.outbox.all_given(AllGiven { ticket, from, to, rest: Rest::of_dead_letters() })
        };
        drop(whole);
        known(all.await)
    }

    /// Gives up everything that a queue is.
    pub async fn give_all(&self, ticket: Ticket, from: NameId, to: NameId) -> Result<(), StoreError> {
        let whole = self.outbox.whole();
        let all = {
            let destination = self.destination(from);
            let mut here = lock(&destination.queue);
            let dead = here.dead().clone();
            let dead = here.select(BulkAct::MoveDead(to), &dead);
            self.give((ticket, GoOn::AsTheyAre), from, to, BulkAct::MoveDead(to), dead);
            let going = Going::of(&mut here);
            let gone = self.leave(&mut here, from, to, &going);
            self.give((ticket, GoOn::AsTheyAre), from, to, BulkAct::MoveWaiting(to), gone);
            let rest = Rest::of(&going, here.in_flight() as u64);
            destination.show(&here);
            destination.tell_of_order(&mut here);
            self.outbox.all_given(AllGiven { ticket, from, to, rest })
        };
        drop(whole);
        known(all.await)
    }

    /// Some are given up, which memory knows from here on. To be called with the queue locked.
    fn give(&self, (ticket, go_on): (Ticket, GoOn), from: NameId, to: NameId, act: BulkAct, numbers: Bitmap) {
        if !numbers.is_empty() {
            let record = self.record(from, act, None, "", numbers);
            self.outbox.give(Given { ticket, from, to, at_ms: record.at_ms, go_on, numbers: record.sequences });
        }
    }

    /// Takes in what another destination has given up for one of this relay's, and the command is done.
    pub async fn take_in(&self, ticket: Ticket, to: NameId, rest: &Rest) -> Result<(), StoreError> {
        self.take_in_dead(ticket, to).await?;
        let (mut going, numbers) = self.between(ticket, rest).await?;
        going.windows.clone_from(&rest.windows);
        going.digests.clone_from(&rest.digests);
        going.pause.clone_from(&rest.pause);
        let whole = self.outbox.whole();
        let done = {
            let destination = self.destination(to);
            let mut there = lock(&destination.queue);
            match rest.go_on {
                GoOn::AsTheyAre => self.come(&mut there, to, &going),
                GoOn::Again => {
                    let again = there.select(BulkAct::Redeliver, &going.waiting);
                    there.is_as_old_as(self.passed_ms(), &again);
                    if !again.is_empty() {
                        self.tell(Told::Selection(self.record(to, BulkAct::Redeliver, None, "", again)));
                    }
                }
            }
            destination.show(&there);
            destination.wake(&there);
            // A digest has to be prepared here, though nothing is to be placed.
            destination.sorting.wakeup.notify_one();
            destination.scheduled.notify_one();
            let taken = (rest.go_on == GoOn::AsTheyAre).then_some(rest.taken);
            self.outbox.taken_in(TakenIn { ticket, of: to, numbers, ends: Some((self.now_ms(), taken)) })
        };
        drop(whole);
        self.watchers.commanded();
        known(done.await)
    }

    /// Takes in what died where it was: a page after the other, as many as there may be.
    async fn take_in_dead(&self, ticket: Ticket, to: NameId) -> Result<(), StoreError> {
        let id = uuid::Uuid::from_u128(ticket.id);
        let most = EVENTS_MAX as i64;
        loop {
            let sql = "SELECT n, attempts, dead_ms, reason FROM handover WHERE command = $1 AND state = 'dead' ORDER BY n LIMIT $2";
            let rows = self.asker.rows(sql, &[&id, &most]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let whole = self.outbox.whole();
            let done = {
                let destination = self.destination(to);
                let mut there = lock(&destination.queue);
                let mut numbers = Bitmap::default();
                let mut outcomes = Vec::new();
                for (sequence, attempts, at_ms, reason) in rows.iter().map(letter) {
                    numbers.insert(sequence);
                    // What waits here goes out anyway, and what is dead here is known.
                    if !there.needs(sequence) {
                        let state = OutcomeState::Dead { reason };
                        there.apply(sequence, attempts, &state);
                        let key = DeliveryKey { sequence, destination: to };
                        outcomes.push(OutcomeRecord { key, attempts, at_ms, state });
                    }
                }
                self.tell(Told::CameOver(outcomes));
                self.outbox.taken_in(TakenIn { ticket, of: to, numbers, ends: None })
            };
            drop(whole);
            known(done.await)?;
        }
    }

    /// What is between two destinations and is not dead, and the numbers of all of it.
    async fn between(&self, ticket: Ticket, rest: &Rest) -> Result<(Going, Bitmap), StoreError> {
        let id = uuid::Uuid::from_u128(ticket.id);
        let most = EVENTS_MAX as i64;
        let (mut going, mut numbers, mut after) = (Going::default(), Bitmap::default(), -1_i64);
        loop {
            let sql = "SELECT n, state = 'waiting' AS waits, attempts, due_ms, first_ms, reason FROM handover
                WHERE command = $1 AND n > $2 AND state <> 'dead' ORDER BY n LIMIT $3";
            let rows = self.asker.rows(sql, &[&id, &after, &most]).await?;
            for row in &rows {
                after = row.get("n");
                let number = after.cast_unsigned();
                numbers.insert(number);
                if row.get("waits") {
                    going.waiting.insert(number);
                    continue;
                }
                let ms = |column| row.get::<_, Option<i64>>(column).map(i64::cast_unsigned);
                let due_ms = ms("due_ms").unwrap_or(1);
                let entry = Scheduled {
                    attempts: row.get::<_, i16>("attempts").cast_unsigned(),
                    first_attempt_ms: ms("first_ms").unwrap_or(due_ms),
                    reason: row.get::<_, Option<&str>>("reason").unwrap_or_default().into(),
                };
                going.scheduled.push((number, due_ms, entry));
            }
            if rows.len() < EVENTS_MAX {
                break;
            }
        }
        if rest.go_on == GoOn::Again {
            // One may have been erased, or redacted, since it was chosen.
            going.waiting = self.that_are_there(going.waiting).await?;
        }
        Ok((going, numbers))
    }

    /// Whether a queue has anything that could be moved: also what is in flight, or held by its source.
    pub async fn has_anything(&self, of: NameId) -> Result<bool, StoreError> {
        let id = of.0.cast_signed();
        let paused = "SELECT 1 FROM destination WHERE id = $1 AND paused_since_ms IS NOT NULL";
        if !self.asker.rows(paused, &[&id]).await?.is_empty() {
            return Ok(true);
        }
        for k in self.segments() {
            let sql = format!(
                "(SELECT 1 FROM delivery_{k} WHERE dest = $1 AND state = 'waiting'
                    AND n >= (SELECT coalesce(max(floor), 0) FROM destination WHERE id = $1) LIMIT 1)
                 UNION ALL (SELECT 1 FROM delivery_{k} WHERE dest = $1 AND due_ms IS NOT NULL LIMIT 1)
                 UNION ALL (SELECT 1 FROM delivery_{k} WHERE dest = $1 AND dead_ms IS NOT NULL LIMIT 1) LIMIT 1"
            );
            if !self.asker.rows(&sql, &[&id]).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A dead letter from its row: number, attempts, when it died, why.
fn letter(row: &tokio_postgres::Row) -> (u64, u16, u64, String) {
    let (number, attempts, dead_ms): (i64, i16, i64) = (row.get("n"), row.get("attempts"), row.get("dead_ms"));
    let reason = row.get::<_, Option<String>>("reason").unwrap_or_default();
    (number.cast_unsigned(), attempts.cast_unsigned(), dead_ms.cast_unsigned(), reason)
}

/// Whether it was written.
fn known(
    written: Result<Result<u64, crate::store::AppendError>, tokio::sync::oneshot::error::RecvError>,
) -> Result<(), StoreError> {
    written.unwrap_or(Err(crate::store::AppendError::Closed))?;
    Ok(())
}

//! The deliveries of events that are erased end where their queues are.

use futures_util::future::try_join_all;

use super::*;
use crate::store::locks::reading;
use crate::store::postgres::outbox::PartDone;
use crate::store::postgres::wire::{Ended, Part, ended_from_json, part_to_json};
use crate::store::queues::{Backing, BulkAct, CommandKind};
use crate::store::{NameId, NameKind};
use crate::time::Instant;

/// So long a relay waits for the owner of a destination, which hears of it with its next heartbeat. Who takes over from one that has died does so
/// within this.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Between two looks whether it has answered.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Walk {
    /// Ends the deliveries of some events, if the walk erases, and counts where those of `counted` stood. That is durable when this returns.
    pub(super) async fn end_deliveries(&mut self, numbers: &Bitmap, counted: &Bitmap) -> Result<Ended, StoreError> {
        let mut all = Ended::default();
        let postgres = self.postgres.clone();
        let (counted, others) = {
            let mut others = numbers.clone();
            others.remove_all(counted);
            (numbers_in(counted), numbers_in(&others))
        };
        for (numbers, is_counted) in [(counted, true), (others, false)] {
            for some in numbers.chunks(NUMBERS_MAX) {
                // What this relay has said of its own destinations counts.
                postgres.written().await?;
                let numbers: Bitmap = some.iter().map(|number| number.cast_unsigned()).collect();
                let ends = self.erases;
                // All at once: each may take as long as a heartbeat.
                let ask = |of| postgres.ask_for_part(of, Part { numbers: numbers.clone(), ends });
                for ended in try_join_all(self.where_they_wait(some).await?.into_iter().map(ask)).await? {
                    all.ended += ended.ended;
                    all.in_flight += ended.in_flight;
                    if is_counted {
                        let (sum, stood) = (&mut all.standing, ended.standing);
                        sum.waiting += stood.waiting;
                        sum.scheduled += stood.scheduled;
                        sum.in_flight += stood.in_flight;
                        sum.dead += stood.dead;
                        sum.held += stood.held;
                        sum.gathered += stood.gathered;
                    }
                }
                if self.erases && all.ended > 0 {
                    let tables = postgres.segments().into_iter().map(|k| format!("delivery_{k}"));
                    self.changed.extend(tables);
                }
            }
        }
        Ok(all)
    }

    /// The destinations for which any of some events waits, or is a dead letter.
    async fn where_they_wait(&mut self, numbers: &[i64]) -> Result<BTreeSet<NameId>, StoreError> {
        let mut found = BTreeSet::new();
        // Another relay may have numbered one a moment ago.
        self.postgres.learn_names().await?;
        let destinations = self.postgres.destinations_in();
        for k in self.postgres.segments() {
            let sql = format!(
                "SELECT u.dest FROM unnest($1::int4[]) u (dest) CROSS JOIN LATERAL (
                   SELECT 1 FROM delivery_{k} d WHERE d.dest = u.dest AND d.n = ANY ($2::int8[])
                     AND d.state IN ('waiting', 'retry', 'dead') LIMIT 1) w"
            );
            let rows = match self.link().await?.rows(&sql, &[&destinations, &numbers]).await {
                Err(Trouble::Gone(_)) => continue,
                rows => rows?,
            };
            found.extend(rows.iter().map(|row| NameId(row.get::<_, i32>(0).cast_unsigned())));
        }
        Ok(found)
    }
}

impl Postgres {
    /// All destinations that have a number, as the database takes them.
    pub(super) fn destinations_in(&self) -> Vec<i32> {
        let names = reading(&self.names).shown();
        names.of_kind(NameKind::Destination).into_iter().map(|(id, _)| id.0.cast_signed()).collect()
    }

    /// Everything that was said so far of destinations is written.
    async fn written(&self) -> Result<(), StoreError> {
        match self.outbox.written().await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StoreError::Unavailable("another relay has a destination now: ask again".to_owned())),
        }
    }

    /// Has a part done by who owns the destination.
    async fn ask_for_part(&self, of: NameId, part: Part) -> Result<Ended, StoreError> {
        self.until_owned(of).await?;
        if self.owns(of) {
            let ended = self.part_here(of, &part);
            self.written().await?;
            // Where it was lost amid this, there was nothing in memory to end.
            if !self.owns(of) {
                return Err(StoreError::Unavailable("another relay has a destination now: ask again".to_owned()));
            }
            return Ok(ended);
        }
        let id = uuid::Uuid::from_u128((u128::from(self.dice()) << 64) | u128::from(self.dice()));
        let (kind, other) = CommandKind::Drop.to_numbers();
        let (kind, other, dest) = (i16::from(kind), other.cast_signed(), of.0.cast_signed());
        let (what, at_ms) = (part_to_json(&part).to_string(), self.now_ms().cast_signed());
        let sql = "INSERT INTO command (id, of, kind, other, asked, what, asked_ms)
            VALUES ($1, $2, $3, $4, 0, $5, $6) ON CONFLICT DO NOTHING";
        self.asker.rows(sql, &[&id, &dest, &kind, &other, &what, &at_ms]).await?;
        let until = Instant::now() + WAIT_MAX;
        loop {
            let sql = "DELETE FROM command WHERE id = $1 AND done_ms IS NOT NULL RETURNING what";
            let rows = self.asker.rows(sql, &[&id]).await?;
            if let Some(row) = rows.first() {
                let ended = row.get::<_, Option<&str>>(0).and_then(ended_from_json);
                let unsaid = || StoreError::Damaged("a relay has not said where deliveries stood".to_owned());
                return ended.ok_or_else(unsaid);
            }
            if Instant::now() >= until {
                let why = "the relay that has a destination has not ended its deliveries yet: ask again".to_owned();
                return Err(StoreError::Unavailable(why));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Does what another relay has asked for. Done twice, only the first is answered.
    pub async fn do_part(&self, id: u128, of: NameId, part: &Part) -> Result<(), StoreError> {
        let ended = {
            let _one_after_the_other = self.commanding.lock().await;
            self.part_here(of, part)
        };
        if part.ends {
            lock(&self.recent).clear();
        }
        let done = self.outbox.part(PartDone { id, of, at_ms: self.now_ms(), ended }).await;
        done.unwrap_or(Err(crate::store::AppendError::Closed))?;
        Ok(())
    }

    /// Ends deliveries in the queue of this process, or looks where they stand.
    fn part_here(&self, of: NameId, Part { numbers, ends }: &Part) -> Ended {
        let mut ended = Ended::default();
        let destination = self.destination(of);
        let mut queue = lock(&destination.queue);
        queue.standing(numbers, &mut ended.standing);
        if *ends {
            let dropped = queue.drop_waiting(numbers);
            let dead: Bitmap = numbers.iter_from(0).filter(|number| queue.is_dead(*number)).collect();
            ended.ended = dropped.len() as u64;
            self.tell_dropped(&destination, &mut queue, of, dropped);
            ended.in_flight = queue.in_flight_of(numbers);
            drop(queue);
            if !dead.is_empty() {
                ended.ended += self.select_of(None, of, BulkAct::Drop, "", &dead);
            }
            if ended.ended > 0 {
                self.watchers.commanded();
            }
        }
        ended
    }
}

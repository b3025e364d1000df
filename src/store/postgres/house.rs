//! Keeping house: what is done once for all relays, by the one that has the lease for it, or by none for a while. Nothing here is worth waiting
//! for, and each step is safe whoever does it.
//!
//! Streams of relays that are dead become free, and those that nobody has say how far they are ([`tide`](super::tide)): no other floor waits
//! for who is no more.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::{DeadStream, House};
use super::link::{Link, kept};
use super::running::Postgres;
use super::trouble::Trouble;
use crate::store::locks::lock;

/// Between two rounds.
const EACH: Duration = Duration::from_secs(1);

/// Keeps house until the store ends, as long as this relay does.
pub async fn run(postgres: Arc<Postgres>) {
    let mut link = None;
    loop {
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = postgres.tidy.notified() => {}
            () = tokio::time::sleep(EACH) => {}
        }
        let house = lock(&postgres.house).clone();
        let Some(house) = house else {
            link = None;
            continue;
        };
        if let Err(trouble) = round(&postgres, &mut link, &house).await {
            trouble.puts_off("keeping house");
        }
    }
}

async fn round(postgres: &Postgres, link: &mut Option<Link>, house: &House) -> Result<(), Trouble> {
    let link = kept(link, postgres.link("housekeeping")).await?;
    for DeadStream { slot, epoch, owner, heartbeat } in &house.dead {
        let duty = format!("stream/{slot}");
        link.rows(FREE_DEAD, &[&duty, epoch, &owner.0, heartbeat]).await?;
    }
    let newest = postgres.segments().last().copied().unwrap_or(1);
    link.rows(MOVE_FREE, &[&newest]).await?;
    Ok(())
}

const FREE_DEAD: &str = "UPDATE lease SET epoch = epoch + 1, incarnation = NULL
    WHERE duty = $1 AND epoch = $2 AND incarnation = $3
        AND NOT EXISTS (SELECT 1 FROM relay WHERE incarnation = $3 AND heartbeat IS DISTINCT FROM $4)";

/// Nobody takes a stream until this is done.
const MOVE_FREE: &str = "WITH free AS MATERIALIZED (
        SELECT s.slot FROM lease l JOIN stream s ON l.duty = 'stream/' || s.slot WHERE l.incarnation IS NULL
        ORDER BY l.duty FOR UPDATE OF l)
    UPDATE stream s SET n_from = greatest(s.n_from, (SELECT last_value FROM event_number)), segment = greatest(s.segment, $1)
    FROM free WHERE s.slot = free.slot AND (s.n_from < (SELECT last_value FROM event_number) OR s.segment < $1)";

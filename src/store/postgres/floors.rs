//! The floor of each destination: no delivery waits below it that was never attempted. Who takes a destination over begins to read there, and
//! passes all that was settled before, however long that is.
//!
//! # Why it holds
//!
//! Only the owner writes it, in a statement that names its lease. It is taken from two things, in this order: up to which number every event
//! stands in the queues ([`following`](super::following)), and then the oldest in the queue that was never attempted, held ones too. So what
//! is below both is in the queue no more, and never will be anew. What is in the queue no more was told to the outbox under the same lock; so
//! once all that was told by then is written, no row below waits. Where something of the destination could not be written, its right is lost,
//! which is looked at behind that; and where the lease is another's, nothing is written.
//!
//! What was attempted and waits below its floor, or is to go out again, has a time when it is due, and is found by that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::link::{Link, kept};
use super::ownership::Owned;
use super::running::Postgres;
use super::trouble::Trouble;
use crate::store::NameId;
use crate::store::locks::{lock, reading};

/// Between two times. What a new owner reads in vain is about what came in within so long.
const EACH: Duration = Duration::from_secs(5);

/// Floors, each as it was written last under a lease.
#[derive(Default)]
struct Written(HashMap<NameId, (i64, i64)>);

/// Writes floors until the store ends.
pub async fn run(postgres: Arc<Postgres>) {
    let mut link = None;
    let mut written = Written::default();
    loop {
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = postgres.tidy_floors.notified() => {}
            () = tokio::time::sleep(EACH) => {}
        }
        if let Err(trouble) = write(&postgres, &mut link, &mut written).await {
            trouble.puts_off("writing floors");
        }
    }
}

/// Where a floor may stand.
struct Floor {
    id: NameId,
    owned: Arc<Owned>,
    number: i64,
}

/// The floors that may be higher than they were.
fn rising(postgres: &Postgres, Written(written): &Written) -> Vec<Floor> {
    // Before the queues are looked at.
    let own = postgres.stream().map(|stream| stream.slot);
    let Some(through) = postgres.following.through(own) else { return Vec::new() };
    let owned = reading(&postgres.owned).clone();
    let floor = |(id, owned): (NameId, Arc<Owned>)| {
        if !owned.is_loaded() {
            return None;
        }
        let first = lock(&postgres.destination(id).queue).first_unattempted();
        let number = first.map_or(i64::MAX, u64::cast_signed).min(through.saturating_add(1));
        let is_new = written.get(&id).is_none_or(|(epoch, before)| *epoch != owned.epoch || *before < number);
        is_new.then_some(Floor { id, owned, number })
    };
    owned.into_iter().filter_map(floor).collect()
}

async fn write(postgres: &Postgres, link: &mut Option<Link>, written: &mut Written) -> Result<(), Trouble> {
    let rising = rising(postgres, written);
    if rising.is_empty() {
        return Ok(());
    }
    let unwritten = || Trouble::Again("what was told before is not written".to_owned());
    postgres.outbox.written().await.map_err(|_| unwritten())?.map_err(|_| unwritten())?;
    // What could not be written is lost by now.
    let rising: Vec<Floor> = rising.into_iter().filter(|floor| !floor.owned.lost.is_cancelled()).collect();
    let duties: Vec<String> = rising.iter().map(|floor| format!("destination/{}", floor.id.0)).collect();
    let epochs: Vec<i64> = rising.iter().map(|floor| floor.owned.epoch).collect();
    let ids: Vec<i32> = rising.iter().map(|floor| floor.id.0.cast_signed()).collect();
    let floors: Vec<i64> = rising.iter().map(|floor| floor.number).collect();
    let link = kept(link, postgres.link("floors")).await?;
    link.rows(WRITE, &[&duties, &epochs, &ids, &floors, &postgres.me()]).await?;
    for Floor { id, owned, number } in rising {
        written.0.insert(id, (owned.epoch, number));
    }
    Ok(())
}

/// A floor that is lost with its server was a lower one: it does not wait for a standby.
const WRITE: &str = "WITH held AS MATERIALIZED (
        SELECT u.id, u.floor FROM unnest($1::text[], $2::int8[], $3::int4[], $4::int8[]) u (duty, epoch, id, floor)
        JOIN lease l ON l.duty = u.duty WHERE l.epoch = u.epoch AND l.incarnation = $5 FOR SHARE OF l)
    INSERT INTO destination AS d (id, floor) SELECT id, floor FROM held
    ON CONFLICT (id) DO UPDATE SET floor = greatest(d.floor, excluded.floor) WHERE d.floor < excluded.floor";

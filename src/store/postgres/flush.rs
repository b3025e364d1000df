//! Writing down what has changed in queues: all of it in one transaction each 50 ms, which names the leases of the destinations that it is
//! about and locks them.
//!
//! It is written in the order in which it took effect. A transaction of which it is not known whether it was committed is said again: each
//! statement sets what it is about whatever was there before. What is of a destination whose lease is lost is written by nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::again::Again;
use super::link::{Link, kept};
use super::outbox::{Item, Waiting, Waits};
use super::ownership::Owned;
use super::running::Postgres;
use super::statements::{Statement, Statements};
use super::transaction::{Snapshot, Step};
use super::trouble::Trouble;
use crate::store::NameId;
use crate::store::locks::reading;

/// What has changed waits for so long, so that much goes together: what a crash may make happen twice.
const FLUSH_WITHIN: Duration = Duration::from_millis(50);

/// Rows that one transaction changes: some more, where that is one change. A million take seconds, and others wait behind them.
const ROWS_MAX: usize = 50_000;
/// One transaction may take so long on a busy disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// Writes until the store ends, and then what is left.
pub async fn run(postgres: Arc<Postgres>) {
    let mut link = None;
    let mut again = Again::default();
    loop {
        let is_over = tokio::select! {
            () = postgres.end.cancelled() => true,
            () = postgres.outbox.more.notified() => false,
            () = postgres.outbox.urgent.notified() => false,
        };
        if !is_over && !postgres.outbox.has_who_waits() {
            tokio::select! {
                () = postgres.end.cancelled() => {}
                () = postgres.outbox.urgent.notified() => {}
                () = tokio::time::sleep(FLUSH_WITHIN) => {}
            }
        }
        // Before it is taken: what was said under an older lease is not written under a newer one.
        let owned = reading(&postgres.owned).clone();
        let waiting = postgres.outbox.take();
        if !waiting.is_empty() {
            flush(&postgres, &mut link, &mut again, &owned, waiting).await;
        }
        if is_over {
            return;
        }
    }
}

/// Writes until it is known that all is written: some rows at a time, so that nothing waits long behind one great change.
async fn flush(
    postgres: &Postgres,
    link: &mut Option<Link>,
    again: &mut Again,
    owned: &HashMap<NameId, Arc<Owned>>,
    waiting: Waiting,
) {
    let Waiting { items, done, .. } = waiting;
    let mut lost = BTreeSet::new();
    for some in parts(items) {
        lost.extend(flush_some(postgres, link, again, owned, some).await);
    }
    let is_lost = |waits: &Waits| waits.of.is_some_and(|of| lost.contains(&of)) || postgres.end.is_cancelled();
    let (refused, written): (Vec<_>, Vec<_>) = done.into_iter().partition(is_lost);
    Waits::refuse(refused);
    for Waits { done, count, .. } in written {
        // Who asked may have stopped waiting.
        let _ = done.send(Ok(count));
    }
}

/// The same in their order, in parts that change so many rows at most. A selection of more is several.
fn parts(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut rows = 0;
    for item in items.into_iter().flat_map(|item| item.split(ROWS_MAX)) {
        if rows > 0 && rows + item.rows() > ROWS_MAX {
            parts.push(std::mem::take(&mut part));
            rows = 0;
        }
        rows += item.rows();
        part.push(item);
    }
    parts.push(part);
    parts
}

/// Writes some until it is known that they are written. Returns the destinations that were lost meanwhile.
async fn flush_some(
    postgres: &Postgres,
    link: &mut Option<Link>,
    again: &mut Again,
    owned: &HashMap<NameId, Arc<Owned>>,
    mut items: Vec<Item>,
) -> BTreeSet<NameId> {
    let mut all_lost = BTreeSet::new();
    while !items.is_empty() {
        let statements = Statements::of(&items, &postgres.spans());
        let came = async {
            let open = async { Ok(postgres.link("flush").await?.with_deadline(WRITTEN_WITHIN)) };
            let link = kept(link, open).await?;
            write(postgres, link, owned, &items, &statements).await
        };
        match came.await {
            Ok(lost) if lost.is_empty() => break,
            Ok(mut lost) => {
                // What goes from one to another is done to both or to none.
                for item in &items {
                    let of: Vec<NameId> = item.destinations().into_iter().flatten().collect();
                    if of.iter().any(|id| lost.contains(id)) {
                        lost.extend(of);
                    }
                }
                lost.iter().for_each(|id| postgres.lose_owned(*id, owned.get(id)));
                all_lost.extend(&lost);
                items.retain(|item| !item.destinations().iter().flatten().any(|id| lost.contains(id)));
            }
            Err(Trouble::Broken(why)) => {
                let mut parts = apart(items);
                if parts.len() > 1 {
                    // One of them is why: each by itself, and the others are written.
                    for part in parts {
                        let lost = Box::pin(flush_some(postgres, link, again, owned, part)).await;
                        all_lost.extend(lost);
                    }
                    return all_lost;
                }
                // Said again, it would fail again, and hold up everything behind it.
                tracing::error!(why, "changes of a queue could not be written: it is read again");
                let all: BTreeSet<NameId> = parts.remove(0).iter().flat_map(Item::destinations).flatten().collect();
                for id in &all {
                    if let Some(owned) = owned.get(id) {
                        postgres.cannot_write(*id, owned);
                    }
                }
                all_lost.extend(all);
                break;
            }
            Err(trouble) => {
                postgres.unreachable(&trouble);
                // At the end of the process somebody else writes nothing of it: these deliveries may happen again.
                if postgres.end.is_cancelled() {
                    return all_lost;
                }
                tokio::time::sleep(again.wait(postgres.dice())).await;
            }
        }
    }
    again.reached();
    all_lost
}

/// The same by what they are of, each part in its order: two destinations of which one gives something to the other stay together, and what is
/// of none stands alone.
fn apart(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut parts: Vec<(BTreeSet<NameId>, Vec<Item>)> = Vec::new();
    // All links are known before anything is sorted by them: what is said first may be tied by what is said last.
    for item in &items {
        let of: BTreeSet<NameId> = item.destinations().into_iter().flatten().collect();
        let (tied, mut others): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(ids, _)| !ids.is_disjoint(&of));
        let all = tied.into_iter().flat_map(|(ids, _)| ids).chain(of).collect();
        others.push((all, Vec::new()));
        parts = others;
    }
    parts.retain(|(ids, _)| !ids.is_empty());
    let mut of_none = Vec::new();
    for item in items {
        let of = item.destinations()[0];
        match parts.iter_mut().find(|(ids, _)| of.is_some_and(|of| ids.contains(&of))) {
            Some((_, part)) => part.push(item),
            None => of_none.push(item),
        }
    }
    parts.into_iter().map(|(_, part)| part).chain([of_none]).filter(|part| !part.is_empty()).collect()
}

/// Writes it. Returns of which destinations the lease is lost; then nothing was written.
async fn write(
    postgres: &Postgres,
    link: &Link,
    owned: &HashMap<NameId, Arc<Owned>>,
    items: &[Item],
    Statements(statements): &Statements,
) -> Result<BTreeSet<NameId>, Trouble> {
    let destinations: BTreeSet<NameId> = items.iter().flat_map(Item::destinations).flatten().collect();
    let mut lost = BTreeSet::new();
    let mut duties: BTreeMap<String, (i64, NameId)> = BTreeMap::new();
    for id in destinations {
        match owned.get(&id) {
            // Also where no worker may use it any more: what it has said by then is written.
            Some(owned) => drop(duties.insert(format!("destination/{}", id.0), (owned.epoch, id))),
            None => drop(lost.insert(id)),
        }
    }
    if !lost.is_empty() {
        return Ok(lost);
    }
    let (names, epochs): (Vec<&str>, Vec<i64>) =
        duties.iter().map(|(duty, (epoch, _))| (duty.as_str(), *epoch)).unzip();
    let me = postgres.me();
    let fence: [&(dyn ToSql + Sync); 3] = [&names, &epochs, &me];
    let values: Vec<Vec<&(dyn ToSql + Sync)>> = statements.iter().map(Statement::values).collect();
    let mut steps = vec![Step { sql: FENCE, values: &fence }];
    steps.extend(statements.iter().zip(&values).map(|(statement, values)| Step { sql: &statement.sql, values }));
    let done = link.transaction(Snapshot::Each, &steps, |answers| answers[0].len() == names.len()).await?;
    if done.is_committed {
        link.be_sure(&done.warnings).await?;
        return Ok(BTreeSet::new());
    }
    let held: BTreeSet<&str> = done.answers[0].iter().map(|row| row.get::<_, &str>(0)).collect();
    Ok(duties.iter().filter(|(duty, _)| !held.contains(duty.as_str())).map(|(_, (_, id))| *id).collect())
}

/// Which of some leases are this relay's: they stay so until the transaction ends.
const FENCE: &str = "SELECT l.duty FROM unnest($1::text[], $2::int8[]) u (duty, epoch)
    JOIN lease l ON l.duty = u.duty WHERE l.epoch = u.epoch AND l.incarnation = $3 FOR SHARE OF l";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::queues::{Bitmap, BulkAct, SelectionRecord, Told};

    fn section(of: u32) -> Item {
        Item::Section(NameId(of), String::new())
    }

    fn moves(from: u32, to: u32) -> Item {
        let act = BulkAct::MoveDead(NameId(to));
        let (reason, sequences) = (String::new(), Bitmap::default());
        Item::Told(Told::Selection(SelectionRecord {
            destination: NameId(from),
            at_ms: 0,
            act,
            command: None,
            reason,
            sequences,
        }))
    }

    #[track_caller]
    fn check(items: Vec<Item>, expected: &[&[u32]]) {
        let of = |item: &Item| item.destinations()[0].map_or(0, |id| id.0);
        let mut parts: Vec<Vec<u32>> = apart(items).iter().map(|part| part.iter().map(of).collect()).collect();
        parts.sort();
        assert_eq!(parts, expected);
    }

    #[test]
    fn each_destination_stands_alone_but_for_what_one_gives_to_another() {
        check(vec![section(1)], &[&[1]]);
        check(vec![section(1), section(2), section(1)], &[&[1, 1], &[2]]);
        check(vec![section(2), Item::Notes(Vec::new()), section(1)], &[&[0], &[1], &[2]]);
        check(vec![section(1), section(2), section(3), moves(2, 1)], &[&[1, 2, 2], &[3]]);
        check(vec![section(4), moves(2, 1), section(3), moves(4, 3), moves(3, 2)], &[&[4, 2, 3, 4, 3]]);
    }
}

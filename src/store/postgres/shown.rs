//! How much waits for each destination. Who has it says so once a second, where that is different, for who looks from another relay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::load::state;
use super::ownership::Owned;
use super::running::Postgres;
use crate::store::locks::{lock, reading};
use crate::store::queues::{Oldest, Queue};
use crate::store::{Counts, NameId, StoreError};

/// Between two looks whether it is different.
const EVERY: Duration = Duration::from_secs(1);

/// What a queue says of itself. What only the events say stands as their numbers: bytes, and since when they wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub counts: Counts,
    oldest: Oldest,
    /// From this event on, the backlog keeps what there is.
    pinning: Option<u64>,
    /// From this one on, it counts for its limit.
    limited: Option<u64>,
    /// How many are held, by their sources.
    pub held: BTreeMap<NameId, u64>,
}

impl Shown {
    fn of(id: NameId, queue: &Queue) -> Self {
        let held =
            queue.holders().map(|source| (source, queue.held(source).map_or(0, crate::store::queues::Bitmap::len)));
        Self {
            counts: queue.counts(id),
            oldest: queue.oldest(),
            pinning: queue.oldest_pinning(),
            limited: queue.oldest_never_held(),
            held: held.collect(),
        }
    }

    /// Of a destination of which nobody has said anything.
    pub fn unknown(id: NameId) -> Self {
        Self::from_json(id, "{}")
    }

    /// As JSON, without how the destination stands: that has columns of its own.
    fn to_json(&self, as_of_ms: u64) -> Value {
        let Self { counts, oldest, pinning, limited, held } = self;
        let held: BTreeMap<String, u64> = held.iter().map(|(source, count)| (source.0.to_string(), *count)).collect();
        json!({
            "as_of_ms": as_of_ms,
            "backlog": counts.backlog, "scheduled": counts.scheduled, "redeliveries": counts.redeliveries,
            "in_flight": counts.in_flight, "held": counts.held, "held_by": held,
            "gathered": counts.gathered, "windows": counts.windows, "next_end_ms": counts.next_end_ms,
            "urgent": counts.urgent, "unplaced": counts.unplaced, "behind": counts.behind, "order_keys": counts.order_keys,
            "dead": counts.dead,
            "oldest": oldest.event, "closed_ms": oldest.closed_ms, "let_go_ms": oldest.let_go_ms,
            "oldest_unplaced": oldest.unplaced, "first_unplaced": oldest.first_unplaced,
            "pinning": pinning, "limited": limited,
        })
    }

    /// What [`to_json`](Self::to_json) gave. What is not there counts as nothing.
    fn from_json(id: NameId, text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let number = |key: &str| value[key].as_u64();
        let count = |key: &str| number(key).unwrap_or(0);
        let held = value["held_by"].as_object().into_iter().flatten();
        let held = held.filter_map(|(source, count)| Some((NameId(source.parse().ok()?), count.as_u64()?)));
        Self {
            counts: Counts {
                destination: id,
                backlog: count("backlog"),
                scheduled: count("scheduled"),
                redeliveries: count("redeliveries"),
                in_flight: count("in_flight"),
                held: count("held"),
                gathered: count("gathered"),
                windows: count("windows"),
                next_end_ms: number("next_end_ms"),
                urgent: count("urgent"),
                unplaced: count("unplaced"),
                behind: count("behind"),
                order_keys: count("order_keys"),
                dead: count("dead"),
                as_of_ms: Some(count("as_of_ms")),
                ..Counts::default()
            },
            oldest: Oldest {
                event: number("oldest"),
                closed_ms: number("closed_ms"),
                let_go_ms: number("let_go_ms"),
                unplaced: number("oldest_unplaced"),
                first_unplaced: number("first_unplaced"),
            },
            pinning: number("pinning"),
            limited: number("limited"),
            held: held.collect(),
        }
    }
}

/// Says it until the store ends.
pub async fn run(postgres: Arc<Postgres>) {
    let mut last: HashMap<NameId, (Arc<Owned>, Shown)> = HashMap::new();
    loop {
        tokio::select! {
            () = postgres.end.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let owned = reading(&postgres.owned).clone();
        // Who has taken it anew says it anew: another may have said something else meanwhile.
        last.retain(|id, (then, _)| owned.get(id).is_some_and(|now| Arc::ptr_eq(now, then)));
        let mut said = Vec::new();
        for (id, owned) in owned.into_iter().filter(|(_, owned)| owned.is_loaded()) {
            let shown = postgres.shown_here(id);
            if last.get(&id).is_none_or(|(_, before)| *before != shown) {
                said.push((id, shown.to_json(postgres.now_ms()).to_string()));
                last.insert(id, (owned, shown));
            }
        }
        if !said.is_empty() {
            postgres.outbox.shown(said);
        }
    }
}

impl Postgres {
    /// How much waits for a destination of this process.
    pub fn shown_here(&self, id: NameId) -> Shown {
        let destination = self.destination(id);
        let queue = lock(&destination.queue);
        Shown::of(id, &queue)
    }

    /// How much waits for all others, as their owners have said last.
    pub async fn shown_elsewhere(&self) -> Result<HashMap<NameId, Shown>, StoreError> {
        let sql =
            "SELECT id, paused_since_ms, pause_reason, open_since_ms, removed_since_ms, shown::text FROM destination";
        let rows = self.looker.rows(sql, &[]).await?;
        let shown = rows.iter().map(|row| {
            let id = NameId(row.get::<_, i32>("id").cast_unsigned());
            let mut shown = Shown::from_json(id, row.get("shown"));
            shown.counts.state = state(row);
            (id, shown)
        });
        Ok(shown.collect())
    }

    /// The same with what only the events say.
    pub async fn counts_of(&self, shown: Shown) -> Result<Counts, StoreError> {
        let Shown { counts, oldest, pinning, limited, held: _ } = shown;
        let spans = self.spans();
        let looker = self.looking(&spans);
        let bytes = |number: Option<u64>| {
            let looker = &looker;
            async move {
                match number {
                    Some(number) => looker.bytes_from(number).await,
                    None => Ok(0),
                }
            }
        };
        let arrived = |number: Option<u64>| {
            let looker = &looker;
            async move {
                match number {
                    Some(number) => looker.arrived_ms(number).await,
                    None => Ok(None),
                }
            }
        };
        let since_ms = [arrived(oldest.event).await?, oldest.closed_ms, oldest.let_go_ms];
        Ok(Counts {
            backlog_bytes: bytes(pinning).await?,
            limited_bytes: bytes(limited).await?,
            oldest_ms: since_ms.into_iter().flatten().min(),
            oldest_unplaced_ms: arrived(oldest.unplaced).await?,
            first_unplaced_ms: arrived(oldest.first_unplaced).await?,
            ..counts
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_owner_says_is_read_as_it_was_written() {
        let id = NameId(7);
        let counts = Counts {
            destination: id,
            backlog: 1,
            scheduled: 2,
            redeliveries: 3,
            in_flight: 4,
            held: 5,
            gathered: 6,
            windows: 7,
            next_end_ms: Some(8),
            urgent: 9,
            unplaced: 10,
            behind: 11,
            order_keys: 12,
            dead: 13,
            as_of_ms: Some(u64::MAX),
            ..Counts::default()
        };
        let oldest = Oldest {
            event: Some((1 << 62) - 1),
            closed_ms: Some(14),
            let_go_ms: None,
            unplaced: Some(15),
            first_unplaced: Some(16),
        };
        let held = [(NameId(8), 5)].into();
        let shown = Shown { counts, oldest, pinning: Some(17), limited: Some(18), held };
        assert_eq!(Shown::from_json(id, &shown.to_json(u64::MAX).to_string()), shown);
    }

    #[test]
    fn of_what_nobody_has_said_anything_nothing_waits() {
        let nothing = Counts { destination: NameId(7), as_of_ms: Some(0), ..Counts::default() };
        for text in ["{}", "", r#"{"backlog": "many", "held_by": {"x": 1, "2": -1}}"#] {
            let shown = Shown::from_json(NameId(7), text);
            assert_eq!(shown, Shown { counts: nothing.clone(), ..Shown::default() }, "{text}");
        }
    }
}

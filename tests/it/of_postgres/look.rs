//! What lies in the database is looked at: rows are written by hand, and told as lists, states and dead letters. Each statement that is asked is
//! also explained, and none may go through a whole table.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio_postgres::types::ToSql;
use vero_relay::event::EventId;
use vero_relay::store::postgres::{Asks, CARRIED, Link, Looker, Row, Span, find, read_some, spans};
use vero_relay::store::queues::DeliveryKey;
use vero_relay::store::{
    AttemptNote, Cursor, DeadQuery, DeliveryState, EventQuery, HeldBy, Kept, NameId, Order, Page, PlannedDelivery,
    StoreError, StoredEvent, Why,
};

use super::link::address;
use super::{contract_server, schema};

/// When the first event came; each that follows came a second later.
const START_MS: u64 = 1_700_000_000_000;

/// Some tables of segments, and a link that has each statement explained before it asks it.
struct Db {
    link: Link,
    spans: Vec<Span>,
    explained: Mutex<BTreeMap<String, String>>,
}

impl Db {
    async fn with(segments: &[i32]) -> Self {
        let link = Link::open(&address(&contract_server().url(), &schema()), "test").await.expect("it opens");
        link.script(include_str!("../../../src/store/postgres/schema.sql")).await.expect("a schema");
        for k in segments {
            let tables = include_str!("../../../src/store/postgres/segment.sql").replace("{k}", &k.to_string());
            link.script(&tables).await.expect("tables");
        }
        let spans = segments.iter().copied().map(Span::whole).collect();
        Self { link, spans, explained: Mutex::default() }
    }

    fn look(&self) -> Looker<'_, Self> {
        Looker { link: self, spans: &self.spans, number: 0xabc }
    }

    async fn run(&self, sql: &str) {
        self.link.script(sql).await.unwrap_or_else(|trouble| panic!("{sql}: {trouble}"));
    }

    /// Writes an event with its deliveries, which wait. It came so many seconds after the first as its number says.
    async fn event(&self, segment: i32, n: u64, body: &[u8], to: &[i32]) -> EventId {
        let received_ms = START_MS + n * 1000;
        let id = EventId::mint(received_ms, 3, n);
        let sql = format!(
            "WITH e AS (INSERT INTO event_{segment} (n, slot, id, received_ms, source, rules, destinations, by_rule, body) \
               VALUES ($1::int8, 3, '{id}', $2::int8, 1, '{{7, 8}}', $3::int4[], $4::int4[], $5::bytea)) \
             INSERT INTO delivery_{segment} (dest, n) SELECT t.dest, $1::int8 FROM unnest($3::int4[]) t (dest)"
        );
        let by_rule = vec![7; to.len()];
        self.link.rows(&sql, &[&(n as i64), &(received_ms as i64), &to, &by_rule, &body]).await.expect("written");
        id
    }

    async fn dead(&self, segment: i32, (dest, n): (i32, u64), reason: &str) {
        let sql = format!(
            "UPDATE delivery_{segment} SET state = 'dead', dead_ms = $3::int8, at_ms = $3::int8, attempts = 2, \
               reason = $4::text WHERE dest = $1::int4 AND n = $2::int8"
        );
        let at_ms = (START_MS + n * 1000 + 5) as i64;
        self.link.rows(&sql, &[&dest, &(n as i64), &at_ms, &reason]).await.expect("written");
    }
}

impl Asks for Db {
    async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StoreError> {
        if !self.explained.lock().expect("sound").contains_key(sql) {
            // As it is planned without a look at its values, which is how the link has it planned.
            let nulls = vec!["NULL"; values.len()].join(", ");
            let arguments = if nulls.is_empty() { nulls } else { format!("({nulls})") };
            self.run(&format!("PREPARE explained AS {sql}")).await;
            let rows = self.link.rows(&format!("EXPLAIN EXECUTE explained{arguments}"), &[]).await.expect("explained");
            self.run("DEALLOCATE explained").await;
            let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            goes_by_an_index(sql, &plan);
            self.explained.lock().expect("sound").insert(sql.to_owned(), plan.join("\n"));
        }
        Asks::rows(&self.link, sql, values).await
    }
}

/// Of all events and deliveries that are there, as many are read as are asked for.
fn goes_by_an_index(sql: &str, plan: &[String]) {
    let is_whole =
        |line: &str| line.contains("Seq Scan on") || line.contains("Bitmap Heap Scan on") || line.contains("Gather");
    // What is merged is in order already, whoever sorts it has read all of it.
    let is_sorted = |lines: &[String]| {
        let key = lines[1].trim().trim_end_matches(" DESC");
        lines[0].contains("Sort  (") && key.ends_with(".n") && !key.contains(',')
    };
    let is_wrong = plan.iter().any(|line| is_whole(line)) || plan.windows(2).any(is_sorted);
    assert!(!is_wrong, "{sql}\n{}", plan.join("\n"));
}

fn numbers(events: &[std::sync::Arc<StoredEvent>]) -> Vec<u64> {
    events.iter().map(|event| (event.received_ms - START_MS) / 1000).collect()
}

fn key(destination: u32, sequence: u64) -> DeliveryKey {
    DeliveryKey { sequence, destination: NameId(destination) }
}

/// All pages of a list.
async fn pages<T>(mut page: impl AsyncFnMut(Option<Cursor>) -> Page<T>) -> (Vec<T>, usize) {
    let mut items = Vec::new();
    let mut count = 0;
    let mut after = None;
    loop {
        let Page { items: some, next, left } = page(after).await;
        items.extend(some);
        count += 1;
        assert_eq!(next.is_some(), left > 0);
        match next {
            Some(next) => after = Some(next),
            None => return (items, count),
        }
    }
}

#[tokio::test]
async fn an_event_is_told_as_it_was_written_and_what_is_left_of_one_that_was_erased() {
    let db = Db::with(&[1, 2]).await;
    let id = db.event(1, 5, b"\x00body", &[11, 12]).await;
    let erased = db.event(2, 6, b"", &[11]).await;
    db.run("UPDATE event_2 SET is_erased = true; UPDATE event_1 SET is_redacted = true, hold = 4").await;
    let Some(Kept::Event(event)) = db.look().event(id).await.expect("told") else { panic!("it is there") };
    let planned = |destination| PlannedDelivery { destination: NameId(destination), rule: NameId(7) };
    assert_eq!((event.id, event.received_ms, event.source), (id, START_MS + 5000, NameId(1)));
    assert_eq!((&event.rules, &event.deliveries), (&vec![NameId(7), NameId(8)], &vec![planned(11), planned(12)]));
    assert_eq!((&event.body[..], event.is_redacted), (&b"\x00body"[..], true));
    let row = find(&db, &db.spans, &[5], 99).await.expect("read").remove(0).1.expect("it is there");
    assert_eq!((row.number, row.slot, row.hold), (5, 3, Some(4)));
    let left = db.look().event(erased).await.expect("told");
    assert!(
        matches!(&left, Some(Kept::Erased(left)) if left.id == erased && left.deliveries == [planned(11)]),
        "{left:?}"
    );
    // The number is this store's, and the id another's.
    let other = EventId::mint(START_MS, 3, 5);
    assert!(db.look().event(other).await.expect("told").is_none());
    assert_eq!(db.look().arrived_ms(5).await, Ok(Some(START_MS + 5000)));
    assert_eq!(db.look().arrived_ms(7).await, Ok(None));
    let (events, looked_at) = db.look().events_of(&[erased, other, id]).await.expect("told");
    assert_eq!((numbers(&events), looked_at), (vec![5], 3));
    let mut there = db.look().are_there(&[4, 5, 6, 7]).await.expect("told");
    there.sort_unstable();
    assert_eq!(there, [5, 6]);
}

#[tokio::test]
async fn events_are_read_in_the_order_asked_for_within_so_many_bytes_and_at_least_one() {
    let db = Db::with(&[CARRIED, 1, 2]).await;
    // They are stored outside of their rows, and not compressed to nothing.
    for (segment, n) in [(1, 1), (2, 2), (1, 3), (2, 9)] {
        db.event(segment, n, &vec![n as u8; 100_000], &[11]).await;
    }
    db.run("INSERT INTO event_0 SELECT * FROM event_1 WHERE n = 3").await;
    let read = async |numbers: &[u64], bytes: usize| {
        let read = read_some(&db, &db.spans, numbers, bytes).await.expect("read");
        read.into_iter().map(|(n, event)| (n, event.map(|event| event.body.len()))).collect::<Vec<_>>()
    };
    let (full, none) = (|n| (n, Ok(100_000)), |n| (n, Err(StoreError::Missing)));
    assert_eq!(read(&[1, 2, 3, 4, 9], 400_000).await, [full(1), full(2), full(3), none(4), full(9)]);
    assert_eq!(read(&[1, 2, 3, 4, 9], 399_999).await, [full(1), full(2), full(3), none(4)]);
    assert_eq!(read(&[7, 9, 8, 1], 0).await, [none(7), full(9), none(8)], "at least one");
    assert_eq!(read(&[3, 2, 1], 200_000).await, [full(3), full(2)]);
    assert_eq!(read(&[4, 5], 0).await, [none(4), none(5)]);
    assert_eq!(read(&[], 0).await, []);
    db.run("UPDATE event_2 SET is_erased = true, body = '' WHERE n = 2").await;
    assert_eq!(read(&[1, 2, 3], 150_000).await, [full(1), (2, Err(StoreError::Erased))]);
}

#[tokio::test]
async fn segments_are_told_with_the_numbers_that_they_may_hold() {
    let db = Db::with(&[1]).await;
    db.run("INSERT INTO segment (k, state, opened_ms, n_from, n_until) VALUES (2, 'open', 5, 90, NULL), (1, 'closed', 1, 7, 99)").await;
    let span = |segment, above, until| Span { segment, above, until };
    assert_eq!(spans(&db).await, Ok(vec![span(1, 7, Some(99)), span(2, 90, None)]));
}

/// Forty events, of which every second lies in the second segment, one was erased and one was carried too.
async fn forty() -> Db {
    let db = Db::with(&[CARRIED, 1, 2, 3]).await;
    for n in 1..=40 {
        db.event(if n <= 20 { 1 + (n % 2) as i32 } else { 3 }, n * 10, b"{}", &[11]).await;
    }
    db.run("INSERT INTO event_0 SELECT * FROM event_1 WHERE n = 20; UPDATE event_3 SET is_erased = true WHERE n = 300")
        .await;
    db
}

#[tokio::test]
async fn the_history_is_told_page_by_page_over_all_segments_and_without_what_comes_later() {
    let mut db = forty().await;
    let span = |segment, above, until| Span { segment, above, until };
    let known = vec![Span::whole(CARRIED), span(1, 9, Some(200)), span(2, 0, Some(195)), span(3, 195, None)];
    for known in [db.spans.clone(), known] {
        db.spans = known;
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut expected: Vec<u64> = (1..=40).map(|n| n * 10).filter(|n| *n != 300).collect();
            if order == Order::NewestFirst {
                expected.reverse();
            }
            for max in [1, 7, 39, 40, 100] {
                let query = EventQuery::all(order);
                let (events, count) =
                    pages(async |after| db.look().events(&query, after.as_ref(), max, u64::MAX).await.expect("a page"))
                        .await;
                assert_eq!(numbers(&events), expected, "{order:?} {max}");
                assert!(count <= 40 / max + 1, "{count} pages of {max}");
            }
            // A list that has begun ends where it ended then.
            let query = EventQuery::all(order);
            let begun = db.look().events(&query, None, 0, 205).await.expect("a page");
            assert_eq!((begun.items.len(), begun.left), (0, 20));
            let rest = db.look().events(&query, begun.next.as_ref(), 100, u64::MAX).await.expect("a page").items;
            assert_eq!(rest.len(), 20);
            let other =
                EventQuery::all(if order == Order::NewestFirst { Order::OldestFirst } else { Order::NewestFirst });
            let wrong = db.look().events(&other, begun.next.as_ref(), 1, u64::MAX).await;
            assert!(matches!(wrong, Err(StoreError::Conflict(_))), "{wrong:?}");
        }
    }
    let empty = Db::with(&[CARRIED, 1]).await;
    let page = empty.look().events(&EventQuery::all(Order::NewestFirst), None, 9, u64::MAX).await.expect("a page");
    assert_eq!((page.items.len(), page.next, page.left), (0, None, 0));
}

#[tokio::test]
async fn a_list_of_a_time_tells_what_came_then_also_where_a_smaller_number_came_later() {
    let db = forty().await;
    // It was held up for most of a minute before it was written.
    db.run("UPDATE event_3 SET received_ms = received_ms + 59000 WHERE n = 250; UPDATE event_3 SET received_ms = received_ms - 59000 WHERE n = 360").await;
    let of = async |since: u64, until: u64, order| {
        let query = EventQuery { since_ms: START_MS + since, until_ms: START_MS + until, last: None, order };
        let found =
            pages(async |after| db.look().events(&query, after.as_ref(), 3, u64::MAX).await.expect("a page")).await.0;
        let mut found = numbers(&found);
        found.sort_unstable();
        found
    };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        assert_eq!(of(0, 30_001, order).await, [10, 20, 30]);
        assert_eq!(of(301_000, 310_000, order).await, [301, 309], "{order:?}: those that were late");
        assert_eq!(of(309_001, 330_000, order).await, [310, 320]);
        assert_eq!(of(390_000, 10_000_000, order).await, [390, 400]);
        assert_eq!(of(400_001, 10_000_000, order).await, [] as [u64; 0]);
        assert_eq!(of(0, 10_000, order).await, [] as [u64; 0]);
    }
    for (last, expected) in [(1, 1), (3, 3), (25, 24), (40, 39), (1000, 39)] {
        let query = EventQuery { last: Some(last), ..EventQuery::all(Order::OldestFirst) };
        let newest = db.look().events(&query, None, 99, u64::MAX).await.expect("a page").items;
        assert_eq!(newest.len(), expected, "about {last}: one was erased");
    }
}

#[tokio::test]
async fn a_page_ends_where_its_bodies_are_too_many_or_too_many_events_were_looked_at() {
    let db = Db::with(&[1]).await;
    for n in 1..=5 {
        db.event(1, n, &vec![7; 5 << 20], &[11]).await;
    }
    let all = EventQuery::all(Order::NewestFirst);
    let (events, count) =
        pages(async |after| db.look().events(&all, after.as_ref(), 99, u64::MAX).await.expect("a page")).await;
    assert_eq!((numbers(&events), count), (vec![5, 4, 3, 2, 1], 3), "8 MiB, and one more");
    db.run(&format!(
        "INSERT INTO event_1 SELECT n, 3, gen_random_uuid(), {START_MS} + n * 1000::int8, 1, NULL, false, false, '{{}}', '{{}}', '{{}}', '' \
         FROM generate_series(6, 40000) n"
    ))
    .await;
    // Of the time of the first alone, as far as times are known.
    let query = EventQuery { until_ms: START_MS + 1001, ..EventQuery::all(Order::OldestFirst) };
    let (events, count) =
        pages(async |after| db.look().events(&query, after.as_ref(), 99, u64::MAX).await.expect("a page")).await;
    assert_eq!((numbers(&events), count), (vec![1], 3), "16 384 at once");
}

#[tokio::test]
async fn every_state_of_a_delivery_is_told_and_what_a_source_holds() {
    let db = Db::with(&[CARRIED, 1, 2]).await;
    let to: Vec<i32> = (11..=20).collect();
    let id = db.event(2, 5, b"{}", &to).await;
    db.run(
        "UPDATE delivery_2 SET state = 'retry', due_ms = 900, attempts = 3, reason = '503' WHERE dest = 12; \
         UPDATE delivery_2 SET state = 'retry', due_ms = 0 WHERE dest = 13; \
         UPDATE delivery_2 SET state = 'delivered', at_ms = 14, attempts = 1 WHERE dest = 14; \
         UPDATE delivery_2 SET state = 'skipped', at_ms = 15, reason = 'nothing to send' WHERE dest = 15; \
         UPDATE delivery_2 SET state = 'dead', at_ms = 16, dead_ms = 16, attempts = 2, reason = '404' WHERE dest = 16; \
         UPDATE delivery_2 SET state = 'dropped', at_ms = 17 WHERE dest = 17; \
         UPDATE delivery_2 SET state = 'moved', at_ms = 18, moved_to = 21 WHERE dest = 18; \
         UPDATE delivery_2 SET hold = 2 WHERE dest = 19; \
         DELETE FROM delivery_2 WHERE dest = 20; \
         INSERT INTO delivery_0 (dest, n) VALUES (21, 5)",
    )
    .await;
    let event = |kept: Option<Kept>| kept.expect("it is there").event().expect("not erased");
    let events = [event(db.look().event(id).await.expect("told"))];
    let states = db.look().states(&events, &[NameId(21), NameId(22)]).await.expect("told");
    let reason = |text: &str| text.to_owned();
    let expected = [
        (11, DeliveryState::Waiting),
        (12, DeliveryState::Scheduled { attempts: 3, due_ms: 900, reason: reason("503") }),
        (13, DeliveryState::Waiting),
        (14, DeliveryState::Delivered { attempts: 1, at_ms: 14 }),
        (15, DeliveryState::Skipped { at_ms: 15, reason: reason("nothing to send") }),
        (16, DeliveryState::Dead { attempts: 2, at_ms: 16, reason: reason("404") }),
        (17, DeliveryState::Dropped { at_ms: 17 }),
        (18, DeliveryState::Moved { at_ms: 18, to: NameId(21) }),
        (19, DeliveryState::Waiting),
        (21, DeliveryState::Waiting),
    ];
    assert_eq!(states, expected.into_iter().map(|(to, state)| (key(to, 5), state)).collect());
    for (hold, held_since, state) in [
        (2, "7", DeliveryState::Held { by: HeldBy::Source }),
        (2, "NULL", DeliveryState::Waiting),
        (3, "7", DeliveryState::Waiting),
    ] {
        db.run(&format!(
            "DELETE FROM source; INSERT INTO source (id, hold, held_since_ms) VALUES (1, {hold}, {held_since})"
        ))
        .await;
        let states = db.look().states_of(&[key(19, 5), key(11, 5)]).await.expect("told");
        assert_eq!(
            states,
            BTreeMap::from([(key(19, 5), state), (key(11, 5), DeliveryState::Waiting)]),
            "{hold} {held_since}"
        );
    }
}

#[tokio::test]
async fn attempts_are_told_by_destination_wherever_they_were_written_down() {
    let db = Db::with(&[CARRIED, 1, 2]).await;
    db.event(1, 5, b"{}", &[11, 12]).await;
    db.run(
        "INSERT INTO attempt_2 VALUES (5, 11, 300, 7, 'delivered', NULL, '', ''), (5, 12, 200, 1, 'retry', 503, '503', 'busy'); \
         INSERT INTO attempt_1 VALUES (5, 11, 100, 6, 'retry', 500, '500', 'no'), (6, 11, 100, 6, 'retry', 500, '500', 'no'); \
         INSERT INTO attempt_0 SELECT * FROM attempt_1 WHERE n = 5",
    )
    .await;
    let note = |at_ms, took_ms, outcome: &str, status, reason: &str, answer: &str| AttemptNote {
        at_ms,
        took_ms,
        outcome: outcome.to_owned(),
        status,
        reason: reason.to_owned(),
        answer: answer.to_owned(),
    };
    let of_11 = vec![note(100, 6, "retry", 500, "500", "no"), note(300, 7, "delivered", 0, "", "")];
    let of_12 = vec![note(200, 1, "retry", 503, "503", "busy")];
    let told = db.look().attempts(5).await.expect("told");
    assert_eq!(told, BTreeMap::from([(NameId(11), of_11), (NameId(12), of_12)]));
    assert_eq!(db.look().attempts(7).await, Ok(BTreeMap::new()));
}

/// Thirty events in three segments, of which each is dead at one destination, and every third at another too.
async fn thirty_dead() -> Db {
    let db = Db::with(&[CARRIED, 1, 2, 3]).await;
    for n in 1..=30 {
        let segment = 1 + (n / 11) as i32;
        db.event(segment, n, b"{}", &[11, 12]).await;
        let status = Some(if n % 2 == 0 { 500 } else { 404 });
        let answer = format!("answer {n}").into();
        db.dead(segment, (11, n), &Why { reason: "refused".into(), status, answer }.text()).await;
        if n % 3 == 0 {
            db.dead(segment, (12, n), "by hand").await;
        }
    }
    db.run("INSERT INTO delivery_0 SELECT * FROM delivery_1 WHERE n = 3; DELETE FROM delivery_1 WHERE n = 3").await;
    db
}

#[tokio::test]
async fn dead_letters_of_several_destinations_are_one_list_over_all_segments() {
    let mut db = thirty_dead().await;
    let span = |segment, above, until| Span { segment, above, until };
    let known = vec![Span::whole(CARRIED), span(1, 0, Some(10)), span(2, 10, Some(21)), span(3, 21, None)];
    let of = [NameId(12), NameId(11)];
    for known in [db.spans.clone(), known] {
        db.spans = known;
        let list = async |query: &DeadQuery, max| {
            let page = async |after: Option<Cursor>| {
                db.look().dead_letters(&of, query, after.as_ref(), max).await.expect("a page")
            };
            let (letters, count) = pages(page).await;
            assert!(count <= letters.len() / max + 1, "{count} pages of {max}");
            let told = |letter: &vero_relay::store::DeadLetter| {
                let event = letter.event.as_ref().expect("it is there");
                ((event.received_ms - START_MS) / 1000, letter.destination.0)
            };
            letters.iter().map(told).collect::<Vec<_>>()
        };
        let both = |n: u64| [(n, 11)].into_iter().chain(n.is_multiple_of(3).then_some((n, 12)));
        let all: Vec<(u64, u32)> = (1..=30).rev().flat_map(both).collect();
        for max in [1, 7, 40, 100] {
            assert_eq!(list(&DeadQuery::default(), max).await, all, "{max}");
        }
        let query = DeadQuery { reason: Some("HAND".to_owned()), ..DeadQuery::default() };
        assert_eq!(list(&query, 4).await, all.iter().copied().filter(|(_, to)| *to == 12).collect::<Vec<_>>());
        let ids: Vec<EventId> = [3, 12, 29].map(|n| EventId::mint(START_MS + n * 1000, 3, n)).to_vec();
        let query = DeadQuery { events: Some(ids), ..DeadQuery::default() };
        let expected = [(29, 11), (12, 11), (12, 12), (3, 11), (3, 12)];
        for max in [1, 2, 9] {
            assert_eq!(list(&query, max).await, expected, "{max}");
        }
        let query = DeadQuery { since_ms: Some(START_MS + 29_000), ..DeadQuery::default() };
        assert_eq!(list(&query, 9).await, [(30, 11), (30, 12), (29, 11)]);
    }
    let page = db.look().dead_letters(&of, &DeadQuery::default(), None, 1).await.expect("a page");
    let letter = &page.items[0];
    assert_eq!((letter.attempts, letter.at_ms, letter.status), (2, START_MS + 30_005, Some(500)));
    assert_eq!((letter.reason.as_str(), letter.answer.as_str()), ("refused", "answer 30"));
    let wrong = db.look().events(&EventQuery::all(Order::NewestFirst), page.next.as_ref(), 1, u64::MAX).await;
    assert!(matches!(wrong, Err(StoreError::Conflict(_))), "{wrong:?}");
    let nobodys = db.look().dead_letters(&[NameId(99)], &DeadQuery::default(), None, 9).await.expect("a page");
    assert_eq!((nobodys.items.len(), nobodys.next), (0, None));
}

#[tokio::test]
async fn dead_letters_are_counted_by_their_reasons_and_collected_by_what_they_are_like() {
    let db = thirty_dead().await;
    let told = db.look().dead_reasons(&[NameId(11), NameId(12)]).await.expect("told");
    let counted: Vec<_> = told
        .reasons
        .iter()
        .map(|one| (one.reason.as_str(), one.status, one.deliveries, one.first_ms, one.last_ms))
        .collect();
    let at = |n: u64| START_MS + n * 1000 + 5;
    let expected = [
        ("refused", Some(404), 15, at(1), at(29)),
        ("refused", Some(500), 15, at(2), at(30)),
        ("by hand", None, 10, at(3), at(30)),
    ];
    assert_eq!(counted.len(), expected.len());
    expected.iter().for_each(|one| assert!(counted.contains(one), "{one:?}: {counted:?}"));
    assert_eq!((told.looked_at, told.not_listed, told.not_looked_at), (40, 0, 0));
    let of = async |of, query: DeadQuery| {
        let numbers = db.look().dead_numbers(NameId(of), &query).await.expect("told");
        numbers.iter_from(0).collect::<Vec<u64>>()
    };
    let any = DeadQuery::default;
    assert_eq!(of(12, any()).await, (1..=10).map(|n| n * 3).collect::<Vec<u64>>());
    assert_eq!(of(11, DeadQuery { until_ms: Some(at(3)), ..any() }).await, [1, 2]);
    assert_eq!(
        of(11, DeadQuery { reason: Some("answer 2".to_owned()), until_ms: Some(at(21)), ..any() }).await,
        [2, 20]
    );
    let ids = |numbers: &[u64]| Some(numbers.iter().map(|n| EventId::mint(START_MS + n * 1000, 3, *n)).collect());
    assert_eq!(of(12, DeadQuery { events: ids(&[3, 4, 30, 31]), ..any() }).await, [3, 30]);
    // More of them than are looked up one by one.
    let many: Vec<u64> = (3..20_000).collect();
    assert_eq!(of(12, DeadQuery { events: ids(&many), ..any() }).await.len(), 10);
    assert_eq!(of(13, any()).await, [] as [u64; 0]);
}

/// Fills three segments with so many events each, all of which go to two destinations: every tenth is dead at one of them.
async fn filled(each: u64) -> Db {
    let db = Db::with(&[CARRIED, 1, 2, 3]).await;
    for k in 1..=3 {
        let first = (k - 1) * each * 10;
        db.run(&format!(
            "INSERT INTO event_{k} SELECT {first} + i * 10::int8, 3, (lpad(to_hex({START_MS} + ({first} + i * 10::int8) * 1000), 12, '0') || '70038' || lpad(to_hex({first} + i * 10::int8), 15, '0'))::uuid, {START_MS} + ({first} + i * 10::int8) * 1000, 1, NULL, \
               false, false, '{{7}}', '{{11, 12}}', '{{7, 7}}', repeat('x', 300)::bytea FROM generate_series(1, {each}) i; \
             INSERT INTO delivery_{k} (dest, n) SELECT dest, n FROM event_{k}, unnest(destinations) t (dest); \
             UPDATE delivery_{k} SET state = 'delivered', at_ms = 1 WHERE dest = 12 OR n % 100 <> 0; \
             UPDATE delivery_{k} SET state = 'dead', dead_ms = 1, reason = 'no' WHERE dest = 11 AND n % 100 = 0; \
             INSERT INTO attempt_{k} SELECT n, dest, 1, 1, 'retry', 503, '', '' FROM delivery_{k} WHERE dead_ms IS NOT NULL"
        ))
        .await;
    }
    db
}

#[tokio::test]
async fn every_statement_goes_by_an_index_however_large_the_tables_are() {
    let each = std::env::var("VERO_RELAY_TEST_EVENTS").ok().and_then(|each| each.parse().ok()).unwrap_or(20_000);
    let db = filled(each).await;
    let look = db.look();
    let (middle, end) = (each * 15, u64::MAX);
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let of_time = EventQuery {
            since_ms: START_MS + middle * 1000,
            until_ms: START_MS + (middle + 9000) * 1000,
            last: Some(each * 2),
            order,
        };
        for query in [EventQuery::all(order), of_time] {
            let page = look.events(&query, None, 10, end).await.expect("a page");
            let next = look.events(&query, page.next.as_ref(), 600, end).await.expect("a page");
            assert_eq!((page.items.len(), next.items.len()), (10, 600));
        }
        let before = EventQuery { since_ms: START_MS, until_ms: START_MS + 1, last: None, order };
        assert_eq!(look.events(&before, None, 10, end).await.expect("a page").items.len(), 0);
    }
    let events = look.events(&EventQuery::all(Order::NewestFirst), None, 200, end).await.expect("a page").items;
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    assert_eq!(look.events_of(&ids).await.expect("told").0.len(), 200);
    assert_eq!(look.states(&events, &[NameId(13)]).await.expect("told").len(), 400);
    let keys: Vec<DeliveryKey> = (1..=each).map(|n| key(11, n * 10)).collect();
    assert_eq!(look.states_of(&keys).await.expect("told").len(), each as usize);
    assert_eq!(look.attempts(100).await.expect("told").len(), 1);
    assert_eq!(look.arrived_ms(middle).await, Ok(Some(START_MS + middle * 1000)));
    assert_eq!(look.are_there(&[10, 11]).await, Ok(vec![10]));
    assert_eq!(read_some(&db, &db.spans, &[10, 20, 30], 700).await.expect("read").len(), 2);
    let of = [NameId(11), NameId(12)];
    let page = look.dead_letters(&of, &DeadQuery::default(), None, 20).await.expect("a page");
    assert_eq!(
        look.dead_letters(&of, &DeadQuery::default(), page.next.as_ref(), 20).await.expect("a page").items.len(),
        20
    );
    let of_events = DeadQuery { events: Some(vec![EventId::mint(0, 3, 100)]), ..DeadQuery::default() };
    assert_eq!(look.dead_letters(&of, &of_events, None, 20).await.expect("a page").items.len(), 1);
    assert_eq!(look.dead_numbers(NameId(11), &DeadQuery::default()).await.expect("told").len(), each * 3 / 10);
    assert_eq!(look.dead_reasons(&of).await.expect("told").looked_at, (each * 3 / 10).min(32_768));
    assert_eq!(look.count_dead(&of, 1_000_000).await, Ok(each * 3 / 10));
    let (half, whole) = (look.bytes_from(middle).await.expect("told"), look.bytes_from(0).await.expect("told"));
    assert!(whole > each * 3 * 300 && half.abs_diff(whole / 2) < whole / 20, "{half} of {whole}");
    let about = look.how_many(middle..end).await.expect("told");
    assert!(about.abs_diff(each * 3 / 2) < each / 10, "about {about}");

    let explained = db.explained.lock().expect("sound");
    assert!(explained.len() > 15, "statements were explained: {}", explained.len());
    let shows = std::env::var("VERO_RELAY_TEST_PLANS").is_ok();
    explained.iter().filter(|_| shows).for_each(|(sql, plan)| println!("{sql}\n{plan}\n"));
}

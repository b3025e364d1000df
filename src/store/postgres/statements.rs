//! What has changed in queues, as statements. Each sets what it is about whatever was there before, so that all of them may be said again.
//!
//! [`handover`]: what goes over to a destination of another relay.

mod handover;

use std::collections::HashMap;

use tokio_postgres::types::ToSql;

use super::handover::{storable, taken_to_json};
use super::outbox::{Item, PartDone};
use super::spans::{Span, holding};
use super::wire;
use crate::store::queues::{
    Act, Bitmap, BulkAct, Control, DeliveryKey, DigestAct, DigestRecord, OutcomeRecord, OutcomeState, SelectionRecord,
    Told, WindowsRecord,
};
use crate::store::{AttemptNote, NameId, WindowHead};

/// Numbers that one statement names: more go into several.
const NUMBERS_MAX: usize = 16_384;

type Value = Box<dyn ToSql + Sync + Send>;

/// One statement, and its values.
pub struct Statement {
    pub sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// The values, as the link takes them.
    pub fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// All of them, in order.
#[derive(Default)]
pub struct Statements(pub Vec<Statement>);

impl Statements {
    /// What writes some changes down, where these segments are.
    pub fn of(items: &[Item], spans: &[Span]) -> Self {
        let segments: Vec<i32> = spans.iter().map(|span| span.segment).collect();
        let mut writing = Writing { spans, segments: &segments, outcomes: Newest::default(), statements: Vec::new() };
        items.iter().for_each(|item| writing.item(item));
        writing.flush_outcomes();
        Self(writing.statements)
    }
}

/// The newest outcome of each delivery, in the order in which deliveries came.
#[derive(Default)]
struct Newest<'i> {
    at: HashMap<DeliveryKey, usize>,
    outcomes: Vec<&'i OutcomeRecord>,
}

struct Writing<'i> {
    spans: &'i [Span],
    segments: &'i [i32],
    outcomes: Newest<'i>,
    statements: Vec<Statement>,
}

fn ms(at_ms: u64) -> i64 {
    at_ms.cast_signed()
}

fn id(of: NameId) -> i32 {
    of.0.cast_signed()
}

impl<'i> Writing<'i> {
    fn say(&mut self, sql: impl Into<String>, values: Vec<Value>) {
        self.statements.push(Statement { sql: sql.into(), values });
    }

    fn item(&mut self, item: &'i Item) {
        if let Item::Told(Told::Outcomes(outcomes)) = item {
            for outcome in outcomes {
                let Newest { at, outcomes } = &mut self.outcomes;
                let next = outcomes.len();
                let place = *at.entry(outcome.key).or_insert(next);
                if place == next { outcomes.push(outcome) } else { outcomes[place] = outcome }
            }
            return;
        }
        if let Item::Notes(notes) = item {
            // Nothing depends on when these come.
            return self.notes(notes);
        }
        // What follows may be about the same deliveries.
        self.flush_outcomes();
        match item {
            Item::Told(Told::Outcomes(_)) | Item::Notes(_) => {}
            Item::Told(Told::CameOver(outcomes)) => self.make_rows(outcomes),
            Item::Told(Told::Control(control, _)) => self.control(control),
            Item::Told(Told::Selection(selection)) => self.selection(selection),
            Item::Told(Told::Windows(windows)) => self.windows(windows),
            Item::Told(Told::Digests(digests, _)) => digests.iter().for_each(|digest| self.digest(digest)),
            Item::Section(of, fingerprint) => self.say(
                "INSERT INTO destination (id, section) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET section = $2",
                vec![Box::new(id(*of)), Box::new(fingerprint.clone())],
            ),
            Item::Shown(of, shown) => self.say(
                "INSERT INTO destination (id, shown) VALUES ($1, $2::text::jsonb) ON CONFLICT (id) DO UPDATE SET shown = excluded.shown",
                vec![Box::new(id(*of)), Box::new(shown.clone())],
            ),
            Item::Remembered(rows) => {
                for row in rows {
                    let (of, key, number) = (id(row.of), storable(&row.key), row.number.cast_signed());
                    match &row.text {
                        Some(text) => self.say(
                            "INSERT INTO remembered (dest, key, text, number) VALUES ($1, $2, $3, $4)
                             ON CONFLICT (dest, key) DO UPDATE SET text = $3, number = $4",
                            vec![Box::new(of), Box::new(key), Box::new(storable(text)), Box::new(number)],
                        ),
                        None => self.say(
                            "DELETE FROM remembered WHERE dest = $1 AND key = $2",
                            vec![Box::new(of), Box::new(key)],
                        ),
                    }
                }
            }
            Item::Command(command, taken) => self.say(
                "UPDATE command SET done_ms = $2, deliveries = $3, what = $4 WHERE id = $1 AND done_ms IS NULL",
                vec![
                    Box::new(uuid::Uuid::from_u128(command.id)),
                    Box::new(ms(command.at_ms)),
                    Box::new(command.deliveries.cast_signed()),
                    Box::new(taken.as_ref().map(|taken| taken_to_json(taken).to_string())),
                ],
            ),
            Item::Given(given) => self.give(given),
            Item::AllGiven(all) => self.all_given(all),
            Item::TakenIn(taken) => self.taken_in(taken),
            Item::Ended(PartDone { id, of: _, at_ms, ended }) => self.say(
                "UPDATE command SET done_ms = $2, deliveries = $3, what = $4 WHERE id = $1 AND done_ms IS NULL",
                vec![
                    Box::new(uuid::Uuid::from_u128(*id)),
                    Box::new(ms(*at_ms)),
                    Box::new(ended.ended.cast_signed()),
                    Box::new(wire::ended_to_json(ended).to_string()),
                ],
            ),
        }
    }

    /// Makes the rows that there are none of, and says of all where they stand.
    fn make_rows(&mut self, outcomes: &'i [OutcomeRecord]) {
        for some in outcomes.chunks(NUMBERS_MAX) {
            let of: Vec<i32> = some.iter().map(|outcome| id(outcome.key.destination)).collect();
            let numbers: Vec<i64> = some.iter().map(|outcome| outcome.key.sequence.cast_signed()).collect();
            for k in self.segments {
                let sql = format!(
                    "INSERT INTO delivery_{k} (dest, n) SELECT u.dest, e.n FROM unnest($1::int4[], $2::int8[]) u (dest, n)
                     JOIN event_{k} e ON e.n = u.n ON CONFLICT DO NOTHING"
                );
                self.say(sql, vec![Box::new(of.clone()), Box::new(numbers.clone())]);
            }
            self.write_outcomes(&some.iter().collect::<Vec<_>>());
        }
    }

    fn flush_outcomes(&mut self) {
        let Newest { outcomes, .. } = std::mem::take(&mut self.outcomes);
        for some in outcomes.chunks(NUMBERS_MAX) {
            self.write_outcomes(some);
        }
    }

    fn write_outcomes(&mut self, outcomes: &[&OutcomeRecord]) {
        let numbers: Vec<u64> = outcomes.iter().map(|outcome| outcome.key.sequence).collect();
        for k in holding(self.spans, &numbers) {
            let mut columns = Outcomes::default();
            outcomes.iter().for_each(|outcome| columns.push(outcome));
            let Outcomes { dest, n, state, attempts, at, due, first, dead, moved, reason } = columns;
            let sql = format!(
                "UPDATE delivery_{k} d SET state = s.state::delivery_state, attempts = s.attempts, at_ms = s.at_ms, due_ms = s.due_ms,
                    first_ms = s.first_ms, dead_ms = s.dead_ms, moved_to = s.moved_to, reason = s.reason
                 FROM unnest($1::int4[], $2::int8[], $3::text[], $4::int2[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int4[],
                    $10::text[]) s (dest, n, state, attempts, at_ms, due_ms, first_ms, dead_ms, moved_to, reason)
                 WHERE d.dest = s.dest AND d.n = s.n"
            );
            let values: Vec<Value> = vec![
                Box::new(dest),
                Box::new(n),
                Box::new(state),
                Box::new(attempts),
                Box::new(at),
                Box::new(due),
                Box::new(first),
                Box::new(dead),
                Box::new(moved),
                Box::new(reason),
            ];
            self.say(sql, values);
        }
    }

    /// Attempts lie in the newest segment: they go with the history.
    fn notes(&mut self, notes: &[(DeliveryKey, AttemptNote)]) {
        let Some(k) = self.segments.last() else { return };
        let column = |take: fn(&(DeliveryKey, AttemptNote)) -> i64| notes.iter().map(take).collect::<Vec<i64>>();
        let text = |take: fn(&AttemptNote) -> &str| -> Vec<String> {
            notes.iter().map(|(_, note)| storable(take(note))).collect()
        };
        let sql = format!(
            "INSERT INTO attempt_{k} (n, dest, at_ms, took_ms, outcome, status, reason, answer)
             SELECT * FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::int8[], $5::text[], $6::int4[], $7::text[], $8::text[])
             ON CONFLICT DO NOTHING"
        );
        let values: Vec<Value> = vec![
            Box::new(column(|(key, _)| key.sequence.cast_signed())),
            Box::new(notes.iter().map(|(key, _)| id(key.destination)).collect::<Vec<i32>>()),
            Box::new(column(|(_, note)| ms(note.at_ms))),
            Box::new(column(|(_, note)| ms(note.took_ms))),
            Box::new(text(|note| &note.outcome)),
            Box::new(notes.iter().map(|(_, note)| i32::from(note.status)).collect::<Vec<i32>>()),
            Box::new(text(|note| &note.reason)),
            Box::new(text(|note| &note.answer)),
        ];
        self.say(sql, values);
    }

    fn control(&mut self, Control { destination, at_ms, act }: &Control) {
        let (of, at) = (id(*destination), ms(*at_ms));
        let row = "INSERT INTO destination (id) VALUES ($1) ON CONFLICT DO NOTHING";
        self.say(row, vec![Box::new(of)]);
        // Until when time stood still, what was tried before is moved on by: it ends with this, unless something else stops time.
        let goes_on = |other: &str| format!("o.id = $1 AND o.{other} IS NULL AND o.stopped_since_ms IS NOT NULL");
        match act {
            Act::Pause(reason) => self.say(
                "UPDATE destination SET paused_since_ms = $2, pause_reason = $3, stopped_since_ms = coalesce(stopped_since_ms, $2) WHERE id = $1",
                vec![Box::new(of), Box::new(at), Box::new(storable(reason))],
            ),
            Act::Resume => {
                self.move_first(&goes_on("open_since_ms"), of, at);
                self.say(
                    "UPDATE destination SET paused_since_ms = NULL, pause_reason = NULL,
                        stopped_since_ms = CASE WHEN open_since_ms IS NULL THEN NULL ELSE stopped_since_ms END WHERE id = $1",
                    vec![Box::new(of)],
                );
                self.make_due(of, at);
            }
            Act::Open => self.say(
                "UPDATE destination SET open_since_ms = coalesce(open_since_ms, $2), stopped_since_ms = coalesce(stopped_since_ms, $2)
                 WHERE id = $1",
                vec![Box::new(of), Box::new(at)],
            ),
            Act::Close => {
                self.move_first(&goes_on("paused_since_ms"), of, at);
                self.say(
                    "UPDATE destination SET open_since_ms = NULL,
                        stopped_since_ms = CASE WHEN paused_since_ms IS NULL THEN NULL ELSE stopped_since_ms END WHERE id = $1",
                    vec![Box::new(of)],
                );
            }
            Act::Remove => self.say(
                "UPDATE destination SET removed_since_ms = coalesce(removed_since_ms, $2) WHERE id = $1",
                vec![Box::new(of), Box::new(at)],
            ),
            Act::Restore => {
                self.say("UPDATE destination SET removed_since_ms = NULL WHERE id = $1", vec![Box::new(of)])
            }
            Act::RetryNow => self.make_due(of, at),
            // Sources have a table of their own.
            Act::Hold => {}
        }
    }

    fn move_first(&mut self, condition: &str, of: i32, at: i64) {
        let moved = |first: &str| {
            format!(
                "CASE WHEN {first} >= o.stopped_since_ms THEN greatest($2, {first}) ELSE {first} + greatest($2 - o.stopped_since_ms, 0) END"
            )
        };
        for k in self.segments {
            let sql = format!(
                "UPDATE delivery_{k} d SET first_ms = {} FROM destination o
                 WHERE {condition} AND d.dest = $1 AND d.due_ms > 0 AND d.first_ms IS NOT NULL",
                moved("d.first_ms")
            );
            self.say(sql, vec![Box::new(of), Box::new(at)]);
        }
        let sql = format!(
            "UPDATE digest d SET first_ms = {} FROM destination o WHERE {condition} AND d.dest = $1 AND d.first_ms IS NOT NULL",
            moved("d.first_ms")
        );
        self.say(sql, vec![Box::new(of), Box::new(at)]);
    }

    fn make_due(&mut self, of: i32, at: i64) {
        for k in self.segments {
            let sql = format!("UPDATE delivery_{k} SET due_ms = $2 WHERE dest = $1 AND due_ms > $2");
            self.say(sql, vec![Box::new(of), Box::new(at)]);
        }
        self.say("UPDATE digest SET due_ms = $2 WHERE dest = $1 AND due_ms > $2", vec![Box::new(of), Box::new(at)]);
    }

    fn selection(&mut self, selection: &SelectionRecord) {
        let SelectionRecord { destination, at_ms, act, command: _, reason, sequences } = selection;
        let reason = storable(reason);
        match act {
            BulkAct::Redeliver => self.redeliver(*destination, *at_ms, sequences),
            BulkAct::DeadLetter => {
                let set = "state = 'dead', dead_ms = $3, at_ms = $3, due_ms = NULL, first_ms = NULL, attempts = 0, reason = $4";
                self.set_all(set, *destination, *at_ms, sequences, Box::new(reason));
            }
            BulkAct::Drop => {
                let set = "state = 'dropped', dead_ms = NULL, at_ms = $3, due_ms = NULL, reason = nullif($4, '')";
                self.set_all(set, *destination, *at_ms, sequences, Box::new(String::new()));
            }
            BulkAct::MoveDead(to) | BulkAct::MoveWaiting(to) => {
                let set = "state = 'moved', dead_ms = NULL, at_ms = $3, due_ms = NULL, first_ms = NULL, moved_to = $4";
                self.set_all(set, *destination, *at_ms, sequences, Box::new(id(*to)));
            }
        }
    }

    /// Sets the same for many deliveries. The values are `$1` the destination, `$2` the numbers, `$3` when, and `$4`.
    fn set_all<T: ToSql + Sync + Send + Clone + 'static>(
        &mut self,
        set: &str,
        of: NameId,
        at_ms: u64,
        numbers: &Bitmap,
        value: Box<T>,
    ) {
        for some in chunks(numbers) {
            for k in self.segments {
                let sql = format!("UPDATE delivery_{k} SET {set} WHERE dest = $1 AND n = ANY ($2)");
                let values: Vec<Value> =
                    vec![Box::new(id(of)), Box::new(some.clone()), Box::new(ms(at_ms)), value.clone()];
                self.say(sql, values);
            }
        }
    }

    fn redeliver(&mut self, of: NameId, at_ms: u64, numbers: &Bitmap) {
        for some in chunks(numbers) {
            for k in self.segments {
                let sql = format!(
                    "INSERT INTO delivery_{k} (dest, n, state, due_ms, at_ms)
                     SELECT $1, e.n, 'retry', 0, $3 FROM unnest($2::int8[]) u (n) JOIN event_{k} e ON e.n = u.n
                     WHERE EXISTS (SELECT 1 FROM segment g WHERE g.k = {k} AND g.state <> 'gone')
                     ON CONFLICT (dest, n) DO UPDATE SET state = 'retry', due_ms = 0, at_ms = $3, attempts = 0, first_ms = NULL,
                        dead_ms = NULL, moved_to = NULL, reason = NULL"
                );
                self.say(sql, vec![Box::new(id(of)), Box::new(some.clone()), Box::new(ms(at_ms))]);
            }
        }
    }

    fn windows(&mut self, WindowsRecord { destination, heads }: &WindowsRecord) {
        let number =
            |take: fn(&WindowHead) -> u64| -> Vec<i64> { heads.iter().map(|head| take(head).cast_signed()).collect() };
        let keys: Vec<Vec<u8>> = heads.iter().map(|head| head.key.0.to_vec()).collect();
        self.say(
            "INSERT INTO delivery_window (dest, key, address, opened_ms, ends_ms, passed)
             SELECT $1, u.* FROM unnest($2::bytea[], $3::int8[], $4::int8[], $5::int8[], $6::int8[]) u
             ON CONFLICT (dest, key) DO UPDATE SET address = excluded.address, opened_ms = excluded.opened_ms, ends_ms = excluded.ends_ms,
                passed = excluded.passed",
            vec![
                Box::new(id(*destination)),
                Box::new(keys),
                Box::new(number(|head| head.address)),
                Box::new(number(|head| head.opened_ms)),
                Box::new(number(|head| head.ends_ms)),
                Box::new(number(|head| head.passed.into())),
            ],
        );
    }

    fn digest(&mut self, DigestRecord { destination, at_ms, what }: &DigestRecord) {
        let (of, at) = (id(*destination), ms(*at_ms));
        let forget = "DELETE FROM digest WHERE dest = $1 AND id = $2";
        let windows = |keys: &[crate::store::GroupKey]| keys.iter().map(|key| key.0.to_vec()).collect::<Vec<_>>();
        let number = |digest: crate::store::DigestId| digest.0.get().cast_signed();
        match what {
            DigestAct::Closed { id: digest, windows: keys, members } => {
                self.end_windows(of, windows(keys));
                self.say(
                    "INSERT INTO digest (dest, id, closed_ms, due_ms, members) VALUES ($1, $2, $3, $3, $4)
                     ON CONFLICT (dest, id) DO UPDATE SET members = $4",
                    vec![Box::new(of), Box::new(number(*digest)), Box::new(at), Box::new(members.to_bytes())],
                );
            }
            DigestAct::Scheduled { id: digest, attempts, first_attempt_ms, due_ms, reason } => self.say(
                "UPDATE digest SET attempts = $3, first_ms = $4, due_ms = $5, reason = $6 WHERE dest = $1 AND id = $2",
                vec![
                    Box::new(of),
                    Box::new(number(*digest)),
                    Box::new(i32::from(*attempts)),
                    Box::new(ms(*first_attempt_ms)),
                    Box::new(ms(*due_ms)),
                    Box::new(storable(reason)),
                ],
            ),
            DigestAct::Delivered { id: digest, attempts, members } => {
                self.settle_members(*destination, *at_ms, "delivered", *attempts, members);
                self.say(forget, vec![Box::new(of), Box::new(number(*digest))]);
            }
            DigestAct::Skipped { id: digest, attempts, members } => {
                self.settle_members(*destination, *at_ms, "skipped", *attempts, members);
                self.say(forget, vec![Box::new(of), Box::new(number(*digest))]);
            }
            DigestAct::Ended { windows: keys } => self.end_windows(of, windows(keys)),
            DigestAct::Dissolved { id: digest } => self.say(forget, vec![Box::new(of), Box::new(number(*digest))]),
        }
    }

    fn settle_members(&mut self, of: NameId, at_ms: u64, state: &str, attempts: u16, members: &Bitmap) {
        let set =
            format!("state = '{state}', at_ms = $3, due_ms = NULL, dead_ms = NULL, reason = NULL, attempts = $4::int2");
        self.set_all(&set, of, at_ms, members, Box::new(attempts.cast_signed()));
    }

    fn end_windows(&mut self, of: i32, keys: Vec<Vec<u8>>) {
        if !keys.is_empty() {
            self.say(
                "DELETE FROM delivery_window WHERE dest = $1 AND key = ANY ($2)",
                vec![Box::new(of), Box::new(keys)],
            );
        }
    }
}

/// Numbers as the database takes them, some at a time.
fn chunks(numbers: &Bitmap) -> Vec<Vec<i64>> {
    let all: Vec<i64> = numbers.iter_from(0).map(u64::cast_signed).collect();
    all.chunks(NUMBERS_MAX).map(<[i64]>::to_vec).collect()
}

#[derive(Default)]
struct Outcomes {
    dest: Vec<i32>,
    n: Vec<i64>,
    state: Vec<&'static str>,
    attempts: Vec<i16>,
    at: Vec<i64>,
    due: Vec<Option<i64>>,
    first: Vec<Option<i64>>,
    dead: Vec<Option<i64>>,
    moved: Vec<Option<i32>>,
    reason: Vec<Option<String>>,
}

impl Outcomes {
    fn push(&mut self, OutcomeRecord { key, attempts, at_ms, state }: &OutcomeRecord) {
        let nothing = (None, None, None, None, None);
        let (name, (due, first, dead, moved, reason)) = match state {
            OutcomeState::Delivered => ("delivered", nothing),
            OutcomeState::Skipped => ("skipped", nothing),
            OutcomeState::Dropped => ("dropped", nothing),
            OutcomeState::Moved(to) => ("moved", (None, None, None, Some(id(*to)), None)),
            OutcomeState::Scheduled { first_attempt_ms, due_ms, reason } => {
                // 0 is what goes out again in its turn.
                let due = ms(*due_ms).max(1);
                ("retry", (Some(due), Some(ms(*first_attempt_ms)), None, None, Some(storable(reason))))
            }
            OutcomeState::Dead { reason } => ("dead", (None, None, Some(ms(*at_ms)), None, Some(storable(reason)))),
        };
        self.dest.push(id(key.destination));
        self.n.push(key.sequence.cast_signed());
        self.state.push(name);
        self.attempts.push(attempts.cast_signed());
        self.at.push(ms(*at_ms));
        self.due.push(due);
        self.first.push(first);
        self.dead.push(dead);
        self.moved.push(moved);
        self.reason.push(reason);
    }
}

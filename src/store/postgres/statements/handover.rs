//! What goes over from one destination to another, in two transactions.

use super::*;
use crate::store::postgres::handover::{AllGiven, Given, GoOn, TakenIn, Ticket, taken_to_json};

/// Whether a command is still the first owner's to do, as the parameters `$1` and `$2` name it.
const IS_FIRST_STEP: &str =
    "EXISTS (SELECT 1 FROM command WHERE id = $1 AND asked_ms = $2 AND done_ms IS NULL AND next IS NULL)";

fn row_of(ticket: Ticket) -> [Value; 2] {
    [Box::new(uuid::Uuid::from_u128(ticket.id)), Box::new(ms(ticket.asked_ms))]
}

impl Writing<'_> {
    /// Puts deliveries into the table between, as they stand, and has their rows say that they are gone.
    pub(super) fn give(&mut self, Given { ticket, from, to, at_ms, go_on, numbers }: &Given) {
        let waits = match go_on {
            GoOn::Again => "true",
            GoOn::AsTheyAre => "(d.state = 'waiting' OR d.due_ms IS NOT DISTINCT FROM 0)",
        };
        for some in chunks(numbers) {
            for k in self.segments {
                let sql = format!(
                    "INSERT INTO handover (command, n, state, attempts, due_ms, first_ms, dead_ms, reason)
                     SELECT $1, d.n, w.state, CASE WHEN w.waits THEN 0 ELSE d.attempts END, CASE WHEN NOT w.waits THEN d.due_ms END,
                        CASE WHEN NOT w.waits THEN d.first_ms END, CASE WHEN NOT w.waits THEN d.dead_ms END,
                        CASE WHEN NOT w.waits THEN d.reason END
                     FROM delivery_{k} d
                     CROSS JOIN LATERAL (SELECT {waits} AS waits,
                        CASE WHEN {waits} THEN 'waiting'::delivery_state ELSE d.state END AS state) w
                     WHERE d.dest = $3 AND d.n = ANY ($4) AND d.state IN ('waiting', 'retry', 'dead') AND {IS_FIRST_STEP}
                     ON CONFLICT DO NOTHING"
                );
                let [command, asked] = row_of(*ticket);
                self.say(sql, vec![command, asked, Box::new(id(*from)), Box::new(some.clone())]);
            }
        }
        let set = "state = 'moved', dead_ms = NULL, at_ms = $3, due_ms = NULL, first_ms = NULL, moved_to = $4";
        self.set_all(set, *from, *at_ms, numbers, Box::new(id(*to)));
    }

    /// Hands the command on, with how much it is.
    pub(super) fn all_given(&mut self, AllGiven { ticket, from, to, rest }: &AllGiven) {
        if !rest.digests.is_empty() {
            let digests: Vec<i64> = rest.digests.iter().map(|(digest, _)| digest.0.get().cast_signed()).collect();
            let values: Vec<Value> = vec![Box::new(id(*from)), Box::new(digests)];
            self.say("DELETE FROM digest WHERE dest = $1 AND id = ANY ($2)", values);
        }
        let [command, asked] = row_of(*ticket);
        self.say(
            "UPDATE command SET next = $3, deliveries = h.count,
                what = jsonb_set($4::text::jsonb, '{taken}', ($4::text::jsonb -> 'taken') || h.taken)::text
             FROM (SELECT count(*), jsonb_build_object('waiting', count(*) FILTER (WHERE state = 'waiting'),
                    'scheduled', count(*) FILTER (WHERE state = 'retry'), 'dead', count(*) FILTER (WHERE state = 'dead')) AS taken
                FROM handover WHERE command = $1) h
             WHERE id = $1 AND asked_ms = $2 AND done_ms IS NULL AND next IS NULL",
            vec![command, asked, Box::new(id(*to)), Box::new(rest.to_json().to_string())],
        );
    }

    /// What was taken is not between any more; with the last of it, the command is done.
    pub(super) fn taken_in(&mut self, TakenIn { ticket, of: _, numbers, ends }: &TakenIn) {
        for some in chunks(numbers) {
            let [command, _] = row_of(*ticket);
            self.say("DELETE FROM handover WHERE command = $1 AND n = ANY ($2)", vec![command, Box::new(some)]);
        }
        let Some((at_ms, taken)) = ends else { return };
        let [command, asked] = row_of(*ticket);
        let what = taken.as_ref().map(|taken| taken_to_json(taken).to_string());
        self.say(
            "UPDATE command SET done_ms = $3, next = NULL, what = $4 WHERE id = $1 AND asked_ms = $2 AND done_ms IS NULL",
            vec![command, asked, Box::new(ms(*at_ms)), Box::new(what)],
        );
    }
}

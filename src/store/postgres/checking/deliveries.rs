//! What the rows of deliveries say.

use super::*;

/// A row whose columns fit its state. `n`, `state` and the others are those of `d`.
const FITS: &str = "(d.due_ms IS NOT NULL) = (d.state = 'retry') AND (d.dead_ms IS NOT NULL) = (d.state = 'dead')
    AND coalesce(d.due_ms, 0) >= 0 AND d.attempts >= 0 AND (d.state <> 'moved' OR d.moved_to IS NOT NULL)
    AND (d.state NOT IN ('delivered', 'skipped', 'dropped', 'moved') OR d.at_ms IS NOT NULL)";

/// What is asked of each row.
struct Asked {
    has_event: Answered,
    above_floor: Answered,
    fits: Answered,
}

impl Check {
    pub(super) async fn deliveries(&mut self, segments: &[i32]) -> Result<Vec<Answered>, Trouble> {
        let mut asked = Asked {
            has_event: Answered::new("each delivery has its event"),
            above_floor: Answered::new("nothing waits below a floor"),
            fits: Answered::new("times fit states"),
        };
        let mut count = 0;
        for k in segments {
            for dest in self.destinations(*k).await? {
                let mut after = -1;
                let numbers = format!("SELECT n FROM delivery_{k} WHERE dest = $2 AND n > $1");
                while let Some(page) = self.page(&numbers, after, Some(dest)).await? {
                    (after, count) = (page.until, count + page.rows);
                    self.rows_of(*k, dest, page, &mut asked).await?;
                }
            }
        }
        let Asked { mut has_event, mut above_floor, mut fits } = asked;
        for answered in [&mut has_event, &mut above_floor, &mut fits] {
            answered.answer = of(count, "delivery", "deliveries");
        }
        Ok(vec![has_event, above_floor, fits])
    }

    /// Where the deliveries of a segment go, found by a step over the index for each.
    async fn destinations(&mut self, k: i32) -> Result<Vec<i32>, Trouble> {
        if !self.has_time() {
            return Ok(Vec::new());
        }
        let next = |after: &str| format!("(SELECT dest FROM delivery_{k} {after} ORDER BY dest LIMIT 1)");
        let sql = format!(
            "WITH RECURSIVE at AS (SELECT {} AS dest UNION ALL SELECT {} FROM at WHERE at.dest IS NOT NULL)
             SELECT dest FROM at WHERE dest IS NOT NULL",
            next(""),
            next("WHERE dest > at.dest")
        );
        let rows = self.ask_of_segment(&sql, &[]).await?.unwrap_or_default();
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn rows_of(&mut self, k: i32, dest: i32, page: Page, asked: &mut Asked) -> Result<(), Trouble> {
        let sql = format!(
            "SELECT * FROM (
                SELECT d.n, coalesce(e.id::text, d.n::text) AS event, coalesce((SELECT name FROM name WHERE id = d.dest), d.dest::text) AS name,
                    d.state::text AS state, e.n IS NOT NULL AS has_event, coalesce(o.floor, 0) AS floor,
                    d.state <> 'waiting' OR d.n >= coalesce(o.floor, 0) AS is_above, {FITS} AS fits
                FROM delivery_{k} d LEFT JOIN event_{k} e ON e.n = d.n LEFT JOIN destination o ON o.id = d.dest
                WHERE d.dest = $1 AND d.n > $2 AND d.n <= $3) r
             WHERE NOT has_event OR NOT is_above OR NOT fits ORDER BY n"
        );
        let rows = self.ask_of_segment(&sql, &[&dest, &page.after, &page.until]).await?;
        for row in rows.unwrap_or_default() {
            let wrong = |why: String| Wrong { event: row.get("event"), destination: row.get("name"), why };
            let state: String = row.get("state");
            if !row.get::<_, bool>("has_event") {
                asked.has_event.add(wrong(format!("it is {state}, and its event is not there")));
            }
            if !row.get::<_, bool>("is_above") {
                let floor: i64 = row.get("floor");
                asked.above_floor.add(wrong(format!(
                    "it waits below the floor of its destination ({floor}), and no relay sees it: set destination.floor to 0 while no relay runs"
                )));
            }
            if !row.get::<_, bool>("fits") {
                asked.fits.add(wrong(format!("its times do not fit its state, {state}")));
            }
        }
        Ok(())
    }
}

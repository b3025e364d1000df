//! What belongs to events.

use super::*;
use crate::store::postgres::spans::CARRIED;

impl Check {
    pub(super) async fn events(&mut self, segments: &[i32]) -> Result<Vec<Answered>, Trouble> {
        let mut law = Answered::new("each destination of each event has its delivery");
        let mut count = 0;
        for k in segments.iter().copied().filter(|k| *k != CARRIED) {
            let mut after = -1;
            let numbers = format!("SELECT n FROM event_{k} WHERE n > $1");
            while let Some(page) = self.page(&numbers, after, None).await? {
                (after, count) = (page.until, count + page.rows);
                self.law(k, page, Self::has_carried(segments), &mut law).await?;
            }
        }
        law.answer = of(count, "event", "events");
        Ok(vec![law])
    }

    /// What is carried over of a segment that goes lies in another.
    async fn law(&mut self, k: i32, page: Page, has_carried: bool, law: &mut Answered) -> Result<(), Trouble> {
        let elsewhere =
            format!("AND NOT EXISTS (SELECT FROM delivery_{CARRIED} c WHERE c.dest = t.dest AND c.n = e.n)");
        let elsewhere = if has_carried { elsewhere } else { String::new() };
        let sql = format!(
            "SELECT e.id::text, coalesce((SELECT name FROM name WHERE id = t.dest), t.dest::text)
             FROM event_{k} e CROSS JOIN LATERAL unnest(e.destinations) t (dest)
             LEFT JOIN delivery_{k} d ON d.dest = t.dest AND d.n = e.n
             WHERE e.n > $1 AND e.n <= $2 AND d.n IS NULL {elsewhere} ORDER BY e.n"
        );
        let Some(rows) = self.ask_of_segment(&sql, &[&page.after, &page.until]).await? else { return Ok(()) };
        for row in rows {
            let why = "its row is missing: this event goes there no more, and nobody knows whether it did".to_owned();
            law.add(Wrong { event: row.get(0), destination: row.get(1), why });
        }
        Ok(())
    }
}

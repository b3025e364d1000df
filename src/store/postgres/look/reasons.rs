//! Why dead letters were given up.

use super::Looker;
use crate::store::postgres::asks::Asks;
use crate::store::postgres::rows::{get, name_in, number, number_or_0};
use crate::store::postgres::spans::each;
use crate::store::reasons::{CountedReasons, TOLD_APART_MAX};
use crate::store::{DeadReasons, NameId, StoreError};

/// Dead letters that are looked at, of all destinations together.
const LOOKED_AT_MAX: u64 = 100_000;
/// And of each of them at least, however many these are.
const OF_EACH_MIN: u64 = 64;
/// How many dead letters are counted for how many were not looked at: a second, where they are not in memory.
const COUNTED_MAX: usize = 200_000;

impl<C: Asks> Looker<'_, C> {
    /// Why the dead letters of some destinations were given up: of each, the newest. They are counted where they lie.
    pub async fn dead_reasons(&self, of: &[NameId]) -> Result<DeadReasons, StoreError> {
        if self.spans.is_empty() || of.is_empty() {
            return Ok(DeadReasons::default());
        }
        let segments: Vec<i32> = self.spans.iter().map(|span| span.segment).collect();
        let dead = each(&segments, |k| format!("SELECT dest, n, dead_ms, reason FROM delivery_{k}"));
        // A power of two, so that there are few texts.
        let of_each = (LOOKED_AT_MAX / of.len() as u64).max(OF_EACH_MIN);
        let of_each = if of.len() > 1 { 1 << of_each.ilog2() } else { of_each };
        // All but the answer, as `Why` reads it.
        let sql = format!(
            "SELECT reason, count(*), min(dead_ms), max(dead_ms), sum(count(*)) OVER ()::int8 FROM (\
               SELECT CASE WHEN d.reason LIKE '%' || chr(31) || '%' || chr(31) || '%' \
                   THEN split_part(d.reason, chr(31), 1) || chr(31) || split_part(d.reason, chr(31), 2) || chr(31) \
                   ELSE coalesce(d.reason, '') END AS reason, d.dead_ms \
               FROM unnest($1::int4[]) u (dest) \
               CROSS JOIN LATERAL (SELECT * FROM ({dead}) a WHERE a.dest = u.dest AND a.dead_ms IS NOT NULL \
                 ORDER BY a.n DESC LIMIT {of_each}) d) s \
             GROUP BY reason ORDER BY count(*) DESC, reason LIMIT {TOLD_APART_MAX}"
        );
        let asked: Vec<i32> = of.iter().copied().map(name_in).collect();
        let mut counted = CountedReasons::default();
        let mut looked_at = 0;
        for row in &self.link.rows(&sql, &[&asked]).await? {
            let between = (number_or_0(row, 2)?, number_or_0(row, 3)?);
            counted.add(get(row, 0)?, number(row, 1)?, between);
            looked_at = number(row, 4)?;
        }
        counted.add_unlisted(looked_at.saturating_sub(counted.looked_at()));
        let all = self.count_dead(of, COUNTED_MAX).await?;
        Ok(counted.told(all))
    }
}

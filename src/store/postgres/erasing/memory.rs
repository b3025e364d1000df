//! What relays have in memory of whom an erasing is about.
//!
//! The relay that walks knows whom, and masks what it has. The others know of no name: when they hear that something was erased they let go of
//! events, which are read again where they are needed, and take over the texts that are masked in the database by now.

use std::collections::HashMap;

use super::*;
use crate::store::postgres::running::Heard;

/// Texts of a queue that are masked in the database: few, since nothing else has so many stars.
const MASKED_MAX: i64 = 100_000;

/// What becomes of a text: of a delivery of one of these events, or of another.
fn change(whom: &Whom, gone: &Bitmap, of: Option<u64>, text: &str) -> Option<String> {
    if !of.is_some_and(|number| gone.contains(number)) {
        return whom.masked(text);
    }
    let masked = "*".repeat(text.len());
    (masked != text).then_some(masked)
}

/// Whether a text is another one of which something was masked.
fn is_of(masked: &str, text: &str) -> bool {
    masked != text && masked.len() == text.len() && masked.bytes().zip(text.bytes()).all(|(m, t)| m == b'*' || m == t)
}

impl Postgres {
    /// Masks what lies in memory here. Returns how many texts that were.
    pub(super) fn mask_memory(&self, whom: &Whom, gone: &Bitmap) -> u64 {
        let mask = |of: Option<u64>, text: &str| change(whom, gone, of, text);
        self.mask_queues(&mask) + lock(&self.outcomes).mask_texts(&mask)
    }

    fn mask_queues(&self, mask: crate::store::queues::Change<'_>) -> u64 {
        let mut texts = 0;
        for id in self.destination_ids() {
            let destination = self.destination(id);
            let mut queue = lock(&destination.queue);
            let masked = queue.mask_texts(mask);
            if masked > 0 {
                texts += masked;
                destination.show(&queue);
            }
        }
        texts
    }

    /// So often something was erased. What is new is let go of; once more with the next heartbeat, when what was being read is there.
    pub fn heard_of_erasings(self: &Arc<Self>, count: i64) {
        let is_to_go = {
            let mut heard = lock(&self.erasings);
            let was_new = heard.is_new;
            let is_new = heard.count != count;
            *heard = Heard { count, is_new };
            is_new || was_new
        };
        if !is_to_go {
            return;
        }
        lock(&self.recent).clear();
        self.watchers.erased(|_| true);
        let postgres = self.clone();
        self.runtime.spawn(async move {
            if let Err(error) = postgres.take_over_masked().await {
                tracing::warn!(%error, "reasons that were masked could not be read: they are when the queue is read again");
            }
        });
    }

    /// Texts in memory that are masked in the database become as they are there.
    async fn take_over_masked(&self) -> Result<(), StoreError> {
        // How deliveries ended lies in the database once it is written.
        let _ = self.outbox.written().await;
        *lock(&self.outcomes) = Default::default();
        let owned: Vec<i32> = self.destination_ids().iter().map(|id| id.0.cast_signed()).collect();
        let mut selects: Vec<String> = vec![
            "SELECT reason FROM digest WHERE dest = ANY ($1)".to_owned(),
            "SELECT pause_reason FROM destination WHERE id = ANY ($1)".to_owned(),
        ];
        selects.extend(
            self.segments()
                .into_iter()
                .map(|k| format!("SELECT reason FROM delivery_{k} WHERE dest = ANY ($1) AND due_ms IS NOT NULL")),
        );
        let all = selects.join(" UNION ALL ");
        let sql = format!("SELECT DISTINCT reason FROM ({all}) t (reason) WHERE reason LIKE '%*%' LIMIT {MASKED_MAX}");
        let rows = self.asker.rows(&sql, &[&owned]).await?;
        let mut by_length: HashMap<usize, Vec<String>> = HashMap::new();
        for row in &rows {
            let masked: String = get(row, 0)?;
            by_length.entry(masked.len()).or_default().push(masked);
        }
        if by_length.is_empty() {
            return Ok(());
        }
        self.mask_queues(&|_, text| by_length.get(&text.len())?.iter().find(|masked| is_of(masked, text)).cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_again_by_what_was_not_masked_of_it() {
        let check =
            |masked: &str, text: &str, expected: bool| assert_eq!(is_of(masked, text), expected, "{masked} {text}");
        check("550 <***>", "550 <ann>", true);
        check("550 <***>", "550 <bob>", true);
        check("550 <***>", "551 <ann>", false);
        check("550 <***>", "550 <anna>", false);
        check("550 <***>", "550 <***>", false);
        check("550", "550", false);
        check("**", "é", true);
    }
}

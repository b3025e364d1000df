//! What PostgreSQL keeps beside the rows that count: old versions of them, until a vacuum. What no statement reaches is told.

use super::*;

/// A vacuum of one table may take so long: it reads all of it, which is many gigabytes at most.
const VACUUM_WITHIN: Duration = Duration::from_secs(30 * 60);
/// What no statement reaches.
const BESIDE: &str = "PostgreSQL keeps what was written before in its write-ahead log and the archive of that, in backups, on standbys until they \
    have caught up, and in free space of pages until that is used again: it goes as those go";

impl Walk {
    /// Has the old versions of rows taken away, and tells the other relays. Returns what could not be reached.
    pub(super) async fn clean(&mut self) -> Result<Vec<String>, StoreError> {
        if self.changed.is_empty() {
            return Ok(if self.gone.is_empty() { Vec::new() } else { vec![BESIDE.to_owned()] });
        }
        self.link().await?.rows("UPDATE meta SET erased = erased + 1", &[]).await?;
        let mut left = vec![BESIDE.to_owned()];
        let link = self.postgres.link("vacuum").await?.with_deadline(VACUUM_WITHIN);
        for table in &self.changed {
            // The end of the file stays: to give it back, nobody could read the table.
            let vacuumed = link.rows_said(&format!("VACUUM (TRUNCATE false) {table}"), &[]).await;
            let why = match vacuumed {
                Err(Trouble::Gone(_)) => continue,
                Err(trouble) => trouble.to_string(),
                Ok((_, warnings)) if warnings.is_empty() => continue,
                // Who may not vacuum is only warned.
                Ok(_) => "the relay's role may not vacuum it".to_owned(),
            };
            left.push(format!("old versions of rows lie in the table `{table}` until it is vacuumed ({why})"));
        }
        Ok(left)
    }
}

//! The tables, and making them.

use super::link::Link;
use super::trouble::Trouble;

/// The version that this program makes and works with.
pub const VERSION: i32 = 1;

/// The tables that are there for good.
const SCHEMA: &str = include_str!("schema.sql");
/// The tables of one segment, with `{k}` in the place of its number.
const SEGMENT: &str = include_str!("segment.sql");

/// All statements that make a schema with its first segment, for people and for roles that may not make tables.
pub fn text() -> String {
    format!("{SCHEMA}\n{}", segment(1))
}

/// The statements that make a segment.
pub fn segment(k: i32) -> String {
    SEGMENT.replace("{k}", &k.to_string())
}

/// Makes the tables where there are none. Two that do this at once come one after the other.
pub async fn make(link: &Link) -> Result<(), Trouble> {
    let there = link.rows("SELECT to_regclass('meta') IS NOT NULL", &[]).await?;
    if !there.first().is_some_and(|row| row.get(0)) {
        let cluster = super::random::dice() >> 1;
        // Who comes second waits for the first one's table, and finds that it is there.
        let script = format!(
            "BEGIN;
             CREATE TABLE making (one int);
             {}
             INSERT INTO meta (schema_version, min_version, cluster) VALUES ({VERSION}, {VERSION}, {cluster});
             INSERT INTO segment (k, state, opened_ms, n_from)
                VALUES (1, 'open', (extract(epoch FROM clock_timestamp()) * 1000)::int8, 0);
             DROP TABLE making;
             COMMIT",
            text()
        );
        if let Err(trouble) = link.script(&script).await {
            // What a failed script has begun is over before anything else is asked.
            let _ = link.script("ROLLBACK").await;
            let there = link.rows("SELECT to_regclass('meta') IS NOT NULL", &[]).await?;
            if !there.first().is_some_and(|row| row.get(0)) {
                return Err(trouble);
            }
        }
    }
    let rows = link.rows("SELECT schema_version, min_version FROM meta", &[]).await?;
    let Some(row) = rows.first() else { return Err(Trouble::Broken("the table `meta` is empty".to_owned())) };
    let (version, least): (i32, i32) = (row.get(0), row.get(1));
    if version < VERSION {
        return Err(Trouble::Refused(format!("the schema has version {version}, and this program needs {VERSION}")));
    }
    if least > VERSION {
        let why = format!(
            "the schema is for programs that know version {least} or later, and this one knows {VERSION}: install a newer vero-relay"
        );
        return Err(Trouble::Refused(why));
    }
    Ok(())
}

//! Writing what a schema has, for a store elsewhere, and taking in what one had: while no relay runs on it.
//!
//! `export`: reading, page by page. `import`: events with their ids, each batch a transaction, whatever was there before.

mod export;
mod import;

use std::time::Duration;

use super::address::Address;
use super::link::Link;
use super::schema::Schema;
use super::trouble::Trouble;
use crate::time::Instant;

pub use self::import::Import;

/// A statement over a page may read all of it from the disk.
const STATEMENT_WITHIN: Duration = Duration::from_secs(60);
/// A relay beats each second. One that has not for so long is not there.
const SILENT_FOR: Duration = Duration::from_secs(6);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A schema that no relay uses.
pub struct Quiet {
    link: Link,
    /// Rows of relays that have ended without a word.
    dead: Vec<i64>,
}

impl Quiet {
    /// Connects, makes the tables or brings them up, and looks that no relay is there. Where one may have died, that takes some seconds.
    pub async fn open(address: &Address) -> Result<Self, Trouble> {
        Schema::OURS.make(address).await?;
        let link = Link::open(address, "moving").await?.with_deadline(STATEMENT_WITHIN);
        let dead = silent(&link).await?;
        Ok(Self { link, dead })
    }
}

/// The relays that there are rows of, if none of them lives.
async fn silent(link: &Link) -> Result<Vec<i64>, Trouble> {
    let beats = async || -> Result<Vec<(i64, i64, String)>, Trouble> {
        let rows = link.rows("SELECT incarnation, heartbeat, name FROM relay ORDER BY incarnation", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
    };
    let first = beats().await?;
    let until = Instant::now() + SILENT_FOR;
    while !first.is_empty() && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = beats().await?;
        // One that is gone has stopped.
        if let Some((.., name)) = now.iter().find(|beat| !first.contains(beat)) {
            return Err(alive(name));
        }
    }
    Ok(first.into_iter().map(|(incarnation, ..)| incarnation).collect())
}

fn alive(name: &str) -> Trouble {
    Trouble::Refused(format!("the relay {name} runs on this schema: stop all that do, and ask again"))
}

//! Who shares the queue, who does what, and how the database stands: for people, asked for when they look.

use super::running::Postgres;
use super::store::PostgresStore;
use crate::store::{Answer, NameId, StoreError};

/// The relays that say that they live, by their names.
const RELAYS: &str =
    "SELECT incarnation, name, heartbeat, coalesce(info->>'version', ''), coalesce((info->>'stopping')::bool, false)
    FROM relay ORDER BY name, incarnation";
/// Who does what.
const LEASES: &str = "SELECT duty, epoch, incarnation FROM lease ORDER BY duty";
/// The server: what it is, how safe a commit is, who follows it, and the oldest snapshot that it has to keep rows for.
const SERVER: &str = "SELECT current_setting('server_version'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
    (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'),
    (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')),
    (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::int8 FROM pg_stat_replication),
    (SELECT (extract(epoch FROM max(now() - xact_start)))::int8 FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid())";

/// What is seen of all relays, from any of them.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    pub relays: Vec<RelayShown>,
    pub duties: Vec<DutyShown>,
    pub server: ServerShown,
}

/// A relay that takes part.
#[derive(Clone, Debug)]
pub struct RelayShown {
    pub name: String,
    pub version: String,
    /// The one that is asked.
    pub is_this: bool,
    /// It is ending, and gives back what it has.
    pub is_stopping: bool,
    /// Counts up each second.
    pub heartbeat: i64,
}

/// What one relay does at a time.
#[derive(Clone, Debug)]
pub struct DutyShown {
    /// As the database has it: `destination/12`, `stream/1`, `housekeeping`.
    pub duty: String,
    /// The destination, where it is one.
    pub destination: Option<NameId>,
    /// The name of the relay that has it.
    pub relay: Option<String>,
    /// How often it changed hands.
    pub epoch: i64,
}

/// How the database stands.
#[derive(Clone, Debug, Default)]
pub struct ServerShown {
    /// Where it is, without a password.
    pub address: String,
    pub schema: String,
    /// As the server says it; nothing where it does not answer.
    pub version: Option<String>,
    pub synchronous_commit: String,
    pub synchronous_standby_names: String,
    pub standbys: i64,
    pub synchronous_standbys: i64,
    /// How far behind the slowest of them is.
    pub lag_bytes: Option<i64>,
    /// How old the oldest snapshot is, for which old versions of rows are kept.
    pub oldest_snapshot_s: Option<i64>,
}

impl PostgresStore {
    /// What is to be seen of all relays and the database. Where that does not answer, what is known without it.
    pub fn overview(&self) -> Answer<'_, Overview> {
        let postgres = self.postgres.clone();
        self.aside(async move {
            let address = ServerShown {
                address: postgres.address.to_string(),
                schema: postgres.address.schema().to_owned(),
                ..ServerShown::default()
            };
            Ok(match postgres.overview(address.clone()).await {
                Ok(overview) => overview,
                Err(_) => Overview { server: address, ..Overview::default() },
            })
        })
    }
}

impl Postgres {
    async fn overview(&self, address: ServerShown) -> Result<Overview, StoreError> {
        let me = self.me();
        let rows = self.upkeep.rows(RELAYS, &[]).await?;
        let mut names = std::collections::HashMap::new();
        let mut relays = Vec::with_capacity(rows.len());
        for row in &rows {
            let (incarnation, name): (i64, String) = (row.get(0), row.get(1));
            names.insert(incarnation, name.clone());
            relays.push(RelayShown {
                name,
                heartbeat: row.get(2),
                version: row.get(3),
                is_stopping: row.get(4),
                is_this: incarnation == me,
            });
        }
        let rows = self.upkeep.rows(LEASES, &[]).await?;
        let duties = rows.iter().map(|row| {
            let duty: String = row.get(0);
            let destination = duty.strip_prefix("destination/").and_then(|id| id.parse().ok()).map(NameId);
            let owner: Option<i64> = row.get(2);
            DutyShown {
                destination,
                epoch: row.get(1),
                relay: owner.and_then(|owner| names.get(&owner).cloned()),
                duty,
            }
        });
        let duties = duties.collect();
        let rows = self.upkeep.rows(SERVER, &[]).await?;
        let server = rows.first().map(|row| ServerShown {
            version: Some(row.get(0)),
            synchronous_commit: row.get(1),
            synchronous_standby_names: row.get(2),
            standbys: row.get(3),
            synchronous_standbys: row.get(4),
            lag_bytes: row.get(5),
            oldest_snapshot_s: row.get(6),
            ..address.clone()
        });
        Ok(Overview { relays, duties, server: server.unwrap_or(address) })
    }
}

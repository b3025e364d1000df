//! One connection to PostgreSQL, for one purpose.
//!
//! A link answers one call at a time; another waits. So a warning is always one of the call that is answered. Each call has the link's
//! deadline: when that is over, or when who called waits no longer, the connection is **closed**, and what became of the statement is not
//! known. A link that is closed stays so: open another.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::address::Address;
use super::opening;
use super::session::{Session, Warning};
use super::trouble::Trouble;

/// How long a call may take, unless the link says otherwise: as long as a sender is kept waiting.
const DEADLINE: Duration = Duration::from_secs(5);
/// So often a commit is waited for that was answered with a warning: whoever cancels waits there does it once, or all the time.
const SURE_WITHIN: usize = 3;
/// Statements that are kept prepared. Tables come and go, and with them the texts that name them.
const PREPARED_MAX: usize = 256;

/// One connection. Dropping it closes it.
pub struct Link {
    session: Session,
    deadline: Duration,
    prepared: Mutex<Prepared>,
}

impl Link {
    /// Connects to the first host of an address that takes writes, and looks whether the session is as it must be. The server knows it
    /// as `vero-relay PURPOSE`.
    ///
    /// Each host has a few seconds. If none is as it must be, the trouble tells of each.
    pub async fn open(address: &Address, purpose: &'static str) -> Result<Self, Trouble> {
        let session = opening::open(address, purpose).await?;
        Ok(Self { session, deadline: DEADLINE, prepared: Mutex::default() })
    }

    /// The same link with another deadline.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether it can be asked anything, as far as is known. A server that vanishes is noticed by the next call.
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Which server it goes to, as people know it.
    pub fn whom(&self) -> &str {
        &self.session.whom
    }

    /// Asks one statement. It is a transaction of its own.
    pub async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        self.rows_said(sql, values).await.map(|(rows, _)| rows)
    }

    /// The same, with what the server warned of meanwhile. A commit of which the wait for the standby was cancelled is known by that
    /// alone: it *succeeds*, and the standby does not have it.
    pub async fn rows_said(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<(Vec<Row>, Vec<Warning>), Trouble> {
        let mut turn = self.turn().await?;
        let (client, prepared) = turn.parts();
        let work = async {
            let statement = prepared.get(client, sql).await?;
            client.query(&statement, values).await
        };
        let result = tokio::time::timeout(self.deadline, work).await.ok();
        if matches!(result, Some(Err(_))) {
            // What is kept of a statement that failed may be why.
            turn.parts().1.forget(sql);
        }
        turn.over(result)
    }

    /// The same, and what it changed is as durable as it can be: where the server warned of something, that is waited for.
    pub async fn rows_for_sure(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Trouble> {
        let (rows, warnings) = self.rows_said(sql, values).await?;
        self.be_sure(&warnings).await?;
        Ok(rows)
    }

    /// Waits for what was committed with a warning, which may be that nobody waited for the standby: a commit that comes later is there only with
    /// all before it. Away: it is not known whether the standby has it.
    pub async fn be_sure(&self, warnings: &[Warning]) -> Result<(), Trouble> {
        let mut first = warnings.first().cloned();
        for _ in 0..SURE_WITHIN {
            let Some(warning) = first else { return Ok(()) };
            tracing::warn!(?warning, "something was committed and perhaps not replicated: it is waited for");
            // A lock is written down, so that its commit is waited for.
            let (_, again) = self.rows_said("SELECT 1 FROM meta FOR KEY SHARE", &[]).await?;
            first = again.first().cloned();
        }
        let why = first.map(|warning| warning.message).unwrap_or_default();
        Err(Trouble::Away(format!("{}: a commit was answered with a warning: {why}", self.whom())))
    }

    /// Runs a text of several statements, such as a schema's. They are one transaction, unless the text says otherwise.
    pub async fn script(&self, sql: &str) -> Result<(), Trouble> {
        let mut turn = self.turn().await?;
        let (client, _) = turn.parts();
        let result = tokio::time::timeout(self.deadline, client.batch_execute(sql)).await.ok();
        turn.over(result).map(|((), _)| ())
    }

    /// Waits until no other call is under way.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Trouble> {
        let prepared = self.prepared.lock().await;
        if !self.session.is_open() {
            return Err(self.session.gone());
        }
        self.session.take_warnings();
        Ok(Turn { link: self, prepared, is_over: false })
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) fn trouble(&self, error: &Error) -> Trouble {
        self.session.trouble(error)
    }

    /// Closes it after an error that leaves open what was done.
    pub(super) fn close(&self, error: &Error) -> Trouble {
        self.session.close("a transaction did not begin as it should");
        Trouble::Away(self.session.trouble(error).to_string())
    }
}

/// A link that is kept, which is made where there is none or it is closed.
pub async fn kept(
    link: &mut Option<Link>,
    open: impl Future<Output = Result<Link, Trouble>>,
) -> Result<&Link, Trouble> {
    match link {
        Some(open) if open.is_open() => {}
        _ => *link = Some(open.await?),
    }
    Ok(link.as_ref().expect("it was made"))
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({}, {})", self.session.whom, if self.is_open() { "open" } else { "closed" })
    }
}

/// A call that is under way. One that ends before it is [over](Turn::over) closes the connection: whatever comes then is the answer to
/// nobody's question.
pub(super) struct Turn<'a> {
    link: &'a Link,
    prepared: MutexGuard<'a, Prepared>,
    is_over: bool,
}

impl Turn<'_> {
    pub(super) fn parts(&mut self) -> (&Client, &mut Prepared) {
        (&self.link.session.client, &mut self.prepared)
    }

    /// Ends the call. `None`: its deadline was over first.
    pub(super) fn over<T>(mut self, result: Option<Result<T, Error>>) -> Result<(T, Vec<Warning>), Trouble> {
        self.is_over = true;
        let session = &self.link.session;
        match result {
            Some(Ok(answer)) => Ok((answer, session.take_warnings())),
            Some(Err(error)) => Err(session.trouble(&error)),
            None => {
                session.close("a statement was not answered in time");
                Err(Trouble::silent(&session.whom, self.link.deadline))
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.session.close("who had asked a statement waited no longer");
        }
    }
}

/// The statements that the server has prepared for this connection, by their texts.
#[derive(Default)]
pub(super) struct Prepared(HashMap<Box<str>, Statement>);

impl Prepared {
    /// The statement of a text, prepared now if it was not.
    pub(super) async fn get(&mut self, client: &Client, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await?;
        if self.0.len() >= PREPARED_MAX {
            self.0.clear();
        }
        self.0.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    pub(super) fn forget(&mut self, sql: &str) {
        self.0.remove(sql);
    }
}

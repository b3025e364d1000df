//! Several statements as one: all of them, or none.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::link::Link;
use super::session::Warning;
use super::trouble::Trouble;

/// One statement of a transaction.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub sql: &'a str,
    pub values: &'a [&'a (dyn ToSql + Sync)],
}

/// What the statements of a transaction see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// Each sees what was committed before it began.
    Each,
    /// All see what was committed before the first one began.
    One,
}

/// What a transaction came to.
#[derive(Debug)]
pub struct Transaction {
    /// Of each statement, its rows.
    pub answers: Vec<Vec<Row>>,
    /// False: who looked at the answers did not want it, and nothing was changed.
    pub is_committed: bool,
    /// Of its commit, too.
    pub warnings: Vec<Warning>,
}

/// What came of it, before the link has had its say.
enum Came {
    To(Vec<Vec<Row>>, bool),
    /// To an error of a statement; nothing is committed.
    Undone(Error),
    /// It was not begun, so each statement was one of its own.
    Apart(Error),
}

impl Link {
    /// Does several statements as one. All are sent at once, so together they take one round trip; then `go_on` looks at what they came
    /// to, and says whether it counts. A statement that fails undoes all of them, whatever follows it.
    ///
    /// The link's deadline is for all of it. Where that is over, or the connection breaks, it is not known whether it was committed.
    pub async fn transaction(
        &self,
        snapshot: Snapshot,
        steps: &[Step<'_>],
        go_on: impl FnOnce(&[Vec<Row>]) -> bool + Send,
    ) -> Result<Transaction, Trouble> {
        let mut turn = self.turn().await?;
        let (client, prepared) = turn.parts();
        let work = async {
            let mut ready = Vec::with_capacity(steps.len());
            for step in steps {
                match prepared.get(client, step.sql).await {
                    Ok(statement) => ready.push((statement, step.values)),
                    // Nothing was begun.
                    Err(error) => return Ok(Came::Undone(error)),
                }
            }
            let came = run(client, snapshot, &ready, go_on).await?;
            if matches!(came, Came::Undone(_)) {
                // What is kept of a statement that failed may be why.
                steps.iter().for_each(|step| prepared.forget(step.sql));
            }
            Ok(came)
        };
        let result = tokio::time::timeout(self.deadline(), work).await.ok();
        match turn.over(result)? {
            (Came::To(answers, is_committed), warnings) => Ok(Transaction { answers, is_committed, warnings }),
            (Came::Undone(error), _) => Err(self.trouble(&error)),
            (Came::Apart(error), _) => Err(self.close(&error)),
        }
    }
}

/// An error is one of the commit.
async fn run(
    client: &Client,
    snapshot: Snapshot,
    steps: &[(Statement, &[&(dyn ToSql + Sync)])],
    go_on: impl FnOnce(&[Vec<Row>]) -> bool + Send,
) -> Result<Came, Error> {
    let begin = match snapshot {
        Snapshot::Each => "BEGIN",
        Snapshot::One => "BEGIN ISOLATION LEVEL REPEATABLE READ",
    };
    let mut asked: Vec<Asked<'_>> = vec![Box::pin(async {
        client.batch_execute(begin).await?;
        Ok(Vec::new())
    })];
    asked.extend(steps.iter().map(|(statement, values)| Box::pin(client.query(statement, values)) as Asked<'_>));
    let mut answers = in_order(asked).await.into_iter();
    if let Some(Err(error)) = answers.next() {
        return Ok(Came::Apart(error));
    }
    // The commit goes out when all have succeeded, and not with them: one whose values do not fit is not even sent, and the others
    // would be committed without it.
    match answers.collect::<Result<Vec<_>, _>>() {
        Err(error) => {
            // Where that fails, the connection is gone, and the server undoes it.
            let _ = client.batch_execute("ROLLBACK").await;
            Ok(Came::Undone(error))
        }
        Ok(answers) => {
            let is_committed = go_on(&answers);
            client.batch_execute(if is_committed { "COMMIT" } else { "ROLLBACK" }).await?;
            Ok(Came::To(answers, is_committed))
        }
    }
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

/// Waits for all of them. The client sends a statement when its future is polled first, and answers come in the order of sending: so
/// they are polled in their order.
async fn in_order(mut asked: Vec<Asked<'_>>) -> Vec<Result<Vec<Row>, Error>> {
    let mut answers: Vec<Option<_>> = asked.iter().map(|_| None).collect();
    poll_fn(|ctx| {
        for (asked, answer) in asked.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = asked.as_mut().poll(ctx)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

//! A connection that is open: the client, and the task that reads what the server says.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::trouble::Trouble;

/// How many warnings are kept of one statement: whoever asks wants to know whether there was one, and what it says.
const WARNINGS_MAX: usize = 16;

/// What a server warned of while it did what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The SQLSTATE.
    pub code: String,
    pub message: String,
}

/// An open connection. Dropping it closes it.
pub struct Session {
    pub client: Client,
    /// Which server, as people know it.
    pub whom: String,
    heard: Arc<Heard>,
    driver: JoinHandle<()>,
}

/// What the server said by itself.
#[derive(Debug, Default)]
struct Heard {
    warnings: Mutex<Vec<Warning>>,
    /// Why the connection ended.
    ended: OnceLock<String>,
}

impl Session {
    /// Begins to read what the server says.
    pub fn begin<S, T>(whom: String, client: Client, connection: Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let heard = Arc::new(Heard::default());
        let driver = tokio::spawn(drive(connection, heard.clone()));
        Self { client, whom, heard, driver }
    }

    pub fn is_open(&self) -> bool {
        self.heard.ended.get().is_none() && !self.client.is_closed()
    }

    /// Closes the connection without another word to the server: what it does for us it finds out to be for nobody. What waits for an
    /// answer gets none.
    pub fn close(&self, why: &str) {
        let _ = self.heard.ended.set(why.to_owned());
        self.driver.abort();
    }

    /// The warnings since this was asked last.
    pub fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut *lock(&self.heard.warnings))
    }

    /// Why something came to nothing here.
    pub fn trouble(&self, error: &tokio_postgres::Error) -> Trouble {
        Trouble::told(&self.whom, error, self.heard.ended.get().map(String::as_str))
    }

    /// Why nothing can be asked any more.
    pub fn gone(&self) -> Trouble {
        let why = self.heard.ended.get().map_or("the server closed it", String::as_str);
        Trouble::Away(format!("{}: the connection has ended: {why}", self.whom))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads until the connection ends. A notice is stored before anything behind it is read, and what a statement comes to stands behind its
/// notices: so who has an answer finds all the warnings that came with it.
async fn drive<S, T>(mut connection: Connection<S, T>, heard: Arc<Heard>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let why = loop {
        match poll_fn(|ctx| connection.poll_message(ctx)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => heard.hear(&notice),
            Some(Ok(_)) => {}
            Some(Err(error)) => break said(&error),
            None => break "it was closed".to_owned(),
        }
    };
    // Before the connection goes, and with it the hope of who waits.
    let _ = heard.ended.set(why);
}

fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => crate::errors::with_causes(error),
    }
}

impl Heard {
    fn hear(&self, notice: &DbError) {
        let mut warnings = lock(&self.warnings);
        if notice.parsed_severity() == Some(Severity::Warning) && warnings.len() < WARNINGS_MAX {
            warnings.push(Warning { code: notice.code().code().to_owned(), message: notice.message().to_owned() });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

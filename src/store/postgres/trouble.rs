//! Why a server gave no answer, and what follows from that. A text says where, what, and what to do where there is something to do. No
//! detail of an error is in it: it may hold a row, and a row holds an event.

use std::error::Error as _;

use rustls::CertificateError;
use tokio_postgres::Error;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The server was not reached, or the connection ended, or nothing came in time, or it takes no writes now. What became of a
    /// statement that was sent is **not known**: it is said again, until it is.
    #[error("{0}")]
    Away(String),
    /// The server has no room: nothing was changed, and it will go on once it has.
    #[error("{0}")]
    Full(String),
    /// Nothing was changed, and the same may succeed at once.
    #[error("{0}")]
    Again(String),
    /// A table is not there (any more). Nothing was changed.
    #[error("{0}")]
    Gone(String),
    /// A person has to do something, and the text says what. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A bug of the relay, or a schema that somebody has changed. Nothing was changed.
    #[error("{0}")]
    Broken(String),
}

impl Trouble {
    /// Whether it may pass by itself.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Full(_) | Self::Again(_))
    }

    /// Which one a code of PostgreSQL is (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). `is_fatal`: the server
    /// closes the connection with it.
    fn of_code(code: &str, is_fatal: bool) -> fn(String) -> Self {
        match code {
            "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "53300" | "25006" | "40003" | "58030" => Self::Away,
            "40001" | "40P01" | "57014" | "55P03" => Self::Again,
            "53100" | "53200" => Self::Full,
            "42P01" => Self::Gone,
            "42501" | "3D000" | "3F000" | "26000" | "42P05" => Self::Refused,
            _ if code.starts_with("28") => Self::Refused,
            _ if code.starts_with("08") || is_fatal => Self::Away,
            _ => Self::Broken,
        }
    }

    /// Reads what the client says. `whom`: which server, as people know it. `ended`: why the connection ended, if it did.
    pub fn told(whom: &str, error: &Error, ended: Option<&str>) -> Self {
        if let Some(said) = error.as_db_error() {
            use tokio_postgres::error::Severity;
            let is_fatal = matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
            let code = said.code().code();
            let text = format!("{whom}: {} ({code}){}", said.message(), help(code));
            // A view that was replaced: the statement is prepared anew.
            let is_plan = code == "0A000" && said.message().contains("cached plan");
            return if is_plan { Self::Again(text) } else { Self::of_code(code, is_fatal)(text) };
        }
        let cause = deepest(error);
        if let Some(tls) = find_tls(error) {
            return Self::Refused(format!("{whom}: {}", of_tls(tls)));
        }
        if cause == "server does not support TLS" {
            return Self::Refused(format!(
                "{whom} has no TLS: switch it on there (`ssl = on`), or off here (`sslmode=disable`), and then everybody on the way \
                 can read the events"
            ));
        }
        if cause == "password missing" {
            return Self::Refused(format!(
                "{whom} asks for a password, and the URL has none: postgresql://USER:PASSWORD@HOST/…"
            ));
        }
        if let Some(why) = ended {
            return Self::Away(format!("{whom}: the connection has ended: {why}"));
        }
        let words = error.to_string();
        match words.as_str() {
            // What a statement was given does not fit it: nothing was sent.
            _ if OF_A_BUG.iter().any(|start| words.starts_with(start)) => {
                Self::Broken(format!("{whom}: {words}: {cause}"))
            }
            "authentication error" | "invalid configuration" => Self::Refused(format!("{whom}: {words}: {cause}")),
            "connection closed" => Self::Away(format!("{whom} closed the connection")),
            "error connecting to server" => Self::Away(format!("{whom} was not reached: {cause}")),
            _ => Self::Away(format!("{whom}: the connection broke: {cause}")),
        }
    }

    /// Says in the log that something is done another time. What does not pass by itself is told to people.
    pub fn puts_off(&self, what: &str) {
        match self {
            Self::Refused(_) | Self::Broken(_) => {
                tracing::error!(trouble = %self, "{what} was not done: it is tried again")
            }
            _ => tracing::debug!(trouble = %self, "{what} was not done: it is tried again"),
        }
    }

    /// Of a server that has said nothing for too long.
    pub fn silent(whom: &str, within: std::time::Duration) -> Self {
        Self::Away(format!(
            "{whom} has not answered within {within:?}: the connection was closed, and what became of the statement is not known"
        ))
    }

    /// Several hosts were tried, and none is as it must be. Where one waits for a person, that is told to people.
    pub fn of_all(mut troubles: Vec<Self>) -> Self {
        if troubles.len() == 1 {
            return troubles.remove(0);
        }
        let text = troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let is_refused = troubles.iter().any(|trouble| matches!(trouble, Self::Refused(_)));
        if is_refused { Self::Refused(text) } else { Self::Away(text) }
    }
}

/// How the client's words begin that are about what it was given.
const OF_A_BUG: [&str; 6] = [
    "error serializing parameter",
    "error deserializing column",
    "invalid column",
    "query returned an unexpected number",
    "expected ",
    "error encoding message",
];

/// What to do about an error, as the end of a sentence.
fn help(code: &str) -> &'static str {
    match code {
        "28P01" => ": the user or the password in the URL is wrong",
        "28000" => ": allow it in the server's pg_hba.conf, or connect as it asks for (user, database, TLS)",
        "3D000" => ": create it with CREATE DATABASE, or put another into the URL",
        "42501" => ": whoever owns it has to GRANT it to the user in the URL",
        "3F000" => ": create it with CREATE SCHEMA, owned by the user in the URL",
        "53300" => ": raise max_connections there, or let others use fewer",
        "53100" => ": make room on the server's disk",
        "26000" | "42P05" => {
            ": a pooler between does not keep prepared statements: pgbouncer does from 1.21 on, with max_prepared_statements set"
        }
        _ => "",
    }
}

/// What is wrong with a server's certificate or its TLS, and what to do about it.
fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by nobody who is trusted here: name its CA under `ca`".to_owned()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name: put that name into the URL, or give the server a certificate for this one".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired: renew it on the server".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            format!("its certificate cannot be used ({other}): give the server one that a CA has signed")
        }
        other => format!("TLS failed: {other}"),
    }
}

fn deepest(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// An I/O error hides the one that it was made of from `source`.
fn find_tls(error: &Error) -> Option<&rustls::Error> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref::<rustls::Error>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(codes: &[&str], is_fatal: bool, expected: fn(String) -> Trouble) {
        for code in codes {
            assert_eq!(Trouble::of_code(code, is_fatal)(String::new()), expected(String::new()), "{code}");
        }
    }

    #[test]
    fn a_code_says_what_follows() {
        check(&["08000", "08006", "57P01", "57P03", "53300", "25006"], false, Trouble::Away);
        check(&["53100", "53200"], false, Trouble::Full);
        check(&["40001", "40P01", "57014", "55P03"], false, Trouble::Again);
        check(&["42P01"], false, Trouble::Gone);
        check(&["28000", "28P01", "42501", "3D000", "3F000"], true, Trouble::Refused);
        check(&["42601", "23505", "22P02", "25P02", "XX000", "0A000"], false, Trouble::Broken);
    }

    #[test]
    fn what_ends_the_connection_leaves_the_outcome_open() {
        check(&["XX000", "25P03", "58000"], true, Trouble::Away);
    }

    #[test]
    fn of_several_hosts_each_is_told_and_what_waits_for_a_person_counts() {
        let (away, refused) = (Trouble::Away("a".to_owned()), Trouble::Refused("b".to_owned()));
        assert_eq!(Trouble::of_all(vec![away.clone(), refused]), Trouble::Refused("a; b".to_owned()));
        assert_eq!(Trouble::of_all(vec![away.clone(), away.clone()]), Trouble::Away("a; a".to_owned()));
        assert_eq!(Trouble::of_all(vec![Trouble::Full("c".to_owned())]), Trouble::Full("c".to_owned()));
    }
}

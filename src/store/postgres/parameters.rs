//! What a connection string says, of both forms that PostgreSQL's own programs take: a URL and `key=value`.
//!
//! The client reads them itself, but knows neither `verify-full` nor `primary`, and repeats a key that it does not know: which may be
//! half a password with a space in it. So each key is looked at here first, those that the relay reads by itself are taken out, and the
//! rest is the client's.

use percent_encoding::percent_decode_str;

/// What the client reads.
const OF_THE_CLIENT: [&str; 10] = [
    "user",
    "password",
    "dbname",
    "options",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "channel_binding",
    "sslnegotiation",
];

/// What is read here.
const OURS: [&str; 3] = ["sslmode", "sslrootcert", "target_session_attrs"];

/// What changes nothing here: a link has a name, limits and keepalives of its own, and speaks no GSSAPI.
const PASSED_OVER: [&str; 11] = [
    "application_name",
    "fallback_application_name",
    "client_encoding",
    "gssencmode",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslsni",
    "sslcompression",
];

/// What else PostgreSQL's own programs know. Nothing else is repeated in an error: it may be a part of a password.
const OF_OTHERS: [&str; 19] = [
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslkey",
    "sslpassword",
];

/// Why a connection string is none. It follows the name of what holds the string, such as "`store.postgres`", and repeats no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

impl AddressError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A connection string, read so far.
pub struct Parameters {
    /// The string without what is read here, for the client.
    pub rest: String,
    ours: Vec<(&'static str, String)>,
}

impl Parameters {
    pub fn read(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if is_url {
            of_url(text)
        } else if text.contains("://") {
            Err(AddressError::new("is no URL of PostgreSQL: it begins with postgresql://"))
        } else {
            of_pairs(text)
        }
    }

    /// What one that is read here says; the last one counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.ours.iter().rev().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    /// Sorts one in. Whether the client reads it.
    fn sort(&mut self, key: &str, value: impl FnOnce() -> String) -> Result<bool, AddressError> {
        if let Some(key) = OURS.iter().find(|known| **known == key) {
            self.ours.push((key, value()));
            return Ok(false);
        }
        if PASSED_OVER.contains(&key) {
            return Ok(false);
        }
        if OF_THE_CLIENT.contains(&key) {
            return Ok(true);
        }
        let known = format!("known are {}, {}", OF_THE_CLIENT.join(", "), OURS.join(", "));
        Err(AddressError::new(if OF_OTHERS.contains(&key) {
            format!("has the parameter `{key}`, which the relay does not know: leave it out; {known}")
        } else {
            format!(
                "has a parameter that is not known; {known}. In a URL a `?`, `@`, `/` or `%` that belongs to a password is written \
                 %3F, %40, %2F or %25; elsewhere a value with a space stands in '…'"
            )
        }))
    }
}

fn of_url(text: &str) -> Result<Parameters, AddressError> {
    // As the client looks for it: what stands before the first `@` is who.
    let from = text.find('@').unwrap_or(0);
    let Some(at) = text[from..].find('?').map(|at| from + at) else {
        return Ok(Parameters { rest: text.to_owned(), ours: Vec::new() });
    };
    let mut read = Parameters { rest: String::new(), ours: Vec::new() };
    let mut kept = Vec::new();
    for pair in text[at + 1..].split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent_decode_str(key).decode_utf8_lossy();
        if read.sort(&key, || percent_decode_str(value).decode_utf8_lossy().into_owned())? {
            kept.push(pair);
        }
    }
    read.rest = text[..at].to_owned();
    if !kept.is_empty() {
        read.rest.push('?');
        read.rest.push_str(&kept.join("&"));
    }
    Ok(read)
}

fn of_pairs(text: &str) -> Result<Parameters, AddressError> {
    let mut read = Parameters { rest: String::new(), ours: Vec::new() };
    let mut left = text;
    while !left.is_empty() {
        let Some((key, after)) = left.split_once('=') else {
            return Err(AddressError::new("is neither a URL (postgresql://…) nor a list of key=value"));
        };
        let after = after.trim_start();
        let (value, length) = value(after)?;
        let whole = &left[..left.len() - after.len() + length];
        if read.sort(key.trim(), || value)? {
            read.rest.push_str(whole);
            read.rest.push(' ');
        }
        left = after[length..].trim_start();
    }
    Ok(read)
}

/// The value that a text begins with, and how many bytes of it that is.
fn value(text: &str) -> Result<(String, usize), AddressError> {
    let is_quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut signs = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\'' if is_quoted => return Ok((value, at + 1)),
            '\\' => value.extend(signs.next().map(|(_, sign)| sign)),
            _ if !is_quoted && sign.is_whitespace() => return Ok((value, at)),
            _ => value.push(sign),
        }
    }
    if is_quoted {
        return Err(AddressError::new("has a value that begins with ' and never ends: a ' within one is written \\'"));
    }
    Ok((value, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, rest: &str, ours: &[(&str, &str)]) {
        let read = Parameters::read(text).map_err(|error| error.to_string()).expect("it can be read");
        assert_eq!(read.rest, rest, "{text}");
        let ours: Vec<_> = ours.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        assert_eq!(read.ours, ours, "{text}");
    }

    #[track_caller]
    fn refused(text: &str, says: &str, hides: &str) {
        let error = Parameters::read(text).map(|read| read.rest).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(hides.is_empty() || !error.contains(hides), "{text}: {error}");
    }

    #[test]
    fn what_the_relay_reads_itself_is_taken_out_of_a_url() {
        check("postgresql://r:p@db1,db2:5433/relay", "postgresql://r:p@db1,db2:5433/relay", &[]);
        check(
            "postgres://r@db/x?sslmode=verify-full&connect_timeout=3&target_session_attrs=primary",
            "postgres://r@db/x?connect_timeout=3",
            &[("sslmode", "verify-full"), ("target_session_attrs", "primary")],
        );
        check("postgres://r:a?b@db/x?sslmode=require&", "postgres://r:a?b@db/x", &[("sslmode", "require")]);
        check("postgres:///x?application_name=a&user=b", "postgres:///x?user=b", &[]);
        check("postgres:///x?sslrootcert=%2Fa%20b", "postgres:///x", &[("sslrootcert", "/a b")]);
    }

    #[test]
    fn what_the_relay_reads_itself_is_taken_out_of_a_list() {
        check("host=db user=r", "host=db user=r ", &[]);
        check("", "", &[]);
        check(" host = 'a b'  sslmode= require port=1", "host = 'a b' port=1 ", &[("sslmode", "require")]);
        check(r"password='it\'s\\' sslmode='require'", r"password='it\'s\\' ", &[("sslmode", "require")]);
        check("sslmode=disable sslmode=require", "", &[("sslmode", "disable"), ("sslmode", "require")]);
    }

    #[test]
    fn a_key_that_is_not_known_is_refused_and_no_part_of_a_password_repeated() {
        refused("postgres://r@db/x?sslcert=a", "`sslcert`", "");
        refused("host=db sslcert=a", "`sslcert`", "");
        refused("postgres://db/x?hunter2=a", "%3F", "hunter2");
        refused("password=my hunter2=x host=db", "'…'", "hunter2");
        refused("password=my hunter2", "key=value", "hunter2");
        refused("password='my hunter2 host=db", "never ends", "hunter2");
        refused("mysql://r:hunter2@db/x", "postgresql://", "hunter2");
    }
}

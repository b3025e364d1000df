//! Why no answer came, in one sentence that says what to do where there is something to do. It holds no URL, since a URL may be a password.

use std::error::Error;

use rustls::{CertificateError, InvalidMessage};

use super::lookup::LookupError;
use super::{CONNECT_TIMEOUT, NoAnswer};

/// The beginning of what is said of a certificate that is for another server.
pub(crate) const ANOTHER_NAME: &str = "the server's certificate is for another name";

/// Says what happened: what was being done, and the deepest cause.
pub fn no_answer(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    if let Some(lookup) = find::<LookupError>(&error) {
        return NoAnswer(format!("could not connect: {lookup}"));
    }
    if let Some(tls) = find::<rustls::Error>(&error) {
        return NoAnswer(format!("could not connect: {}", of_tls(tls, "the URL's")));
    }
    if error.is_timeout() {
        let doing = if error.is_connect() {
            format!("could not connect within {CONNECT_TIMEOUT:?}")
        } else {
            "timed out".to_owned()
        };
        return NoAnswer(doing);
    }
    let doing = if error.is_connect() {
        "could not connect"
    } else if error.is_builder() {
        "could not be built"
    } else {
        "the connection broke"
    };
    NoAnswer(format!("{doing}: {}", deepest(&error)))
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// The first cause of a type; an I/O error hides the one that it was made of from `source`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(at) = cause {
        if let Some(found) = at.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        cause = at.source();
    }
    None
}

/// Why no encrypted connection came to be.
pub struct NoTls {
    pub text: String,
    pub cause: Cause,
}

/// What is likely to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server's certificate is why: most likely the config names another server, or not its CA.
    Certificate,
    /// What came is no TLS: most likely the port is one for another protocol.
    NotSpoken,
    Other,
}

/// Says it of a server that speaks no HTTP and that the config names under a key. `None`: TLS was not why.
pub fn no_tls(error: &std::io::Error, key: &str) -> Option<NoTls> {
    let tls = find::<rustls::Error>(error)?;
    let text = format!("could not connect: {}", of_tls(tls, &format!("the one under `{key}`")));
    let cause = match tls {
        rustls::Error::InvalidCertificate(_) => Cause::Certificate,
        _ if is_not_spoken(tls) => Cause::NotSpoken,
        _ => Cause::Other,
    };
    Some(NoTls { text, cause })
}

/// Whether the first byte that came begins nothing of TLS.
fn is_not_spoken(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType))
}

/// `name` says which name the server's certificate should have.
fn of_tls(error: &rustls::Error, name: &str) -> String {
    if is_not_spoken(error) {
        return "what answers at this port does not speak TLS".to_owned();
    }
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return format!("TLS failed: {error}");
    };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: is this machine's clock right?".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{ANOTHER_NAME} than {name}")
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate has an unknown issuer: name a private CA's file in `ca:`, \
             or add it to the system's certificates"
                .to_owned()
        }
        CertificateError::Revoked => "the server's certificate was revoked".to_owned(),
        other => format!("the server's certificate is not valid: {other:?}"),
    }
}

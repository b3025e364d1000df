//! Why no answer came, in one sentence that says what to do where there is something to do. It holds no URL, since a URL may be a password.

use std::error::Error;

use rustls::CertificateError;

use super::lookup::LookupError;
use super::{CONNECT_TIMEOUT, NoAnswer};

/// Says what happened: what was being done, and the deepest cause.
pub fn no_answer(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    if let Some(lookup) = find::<LookupError>(&error) {
        return NoAnswer(format!("could not connect: {lookup}"));
    }
    if let Some(tls) = find::<rustls::Error>(&error) {
        return NoAnswer(format!("could not connect: {}", of_tls(tls)));
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

fn of_tls(error: &rustls::Error) -> String {
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
            "the server's certificate is for another name than the URL's".to_owned()
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

//! Why no answer came, in one sentence that says what to do where there is something to do. It holds no URL, since a URL may be a password.

use std::error::Error;

use rustls::{CertificateError, InvalidMessage};

use super::lookup::LookupError;
use super::{CONNECT_TIMEOUT, NoAnswer};

/// Says what happened: what was being done, and the deepest cause.
pub fn no_answer(error: reqwest::Error) -> NoAnswer {
    let error = error.without_url();
    if let Some(lookup) = find::<LookupError>(&error) {
        return NoAnswer::told(format!("could not connect: {lookup}"));
    }
    if let Some(tls) = find::<rustls::Error>(&error) {
        return NoAnswer::of_tls(of_tls(tls, "the URL's"));
    }
    if error.is_timeout() {
        let doing = if error.is_connect() {
            format!("could not connect within {CONNECT_TIMEOUT:?}")
        } else {
            "timed out".to_owned()
        };
        return NoAnswer::told(doing);
    }
    let doing = if error.is_connect() {
        "could not connect"
    } else if error.is_builder() {
        "could not be built"
    } else {
        "the connection broke"
    };
    NoAnswer::told(format!("{doing}: {}", deepest(&error)))
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
    /// The server's certificate is for another name.
    AnotherName,
    /// Nobody who is trusted has signed it.
    UnknownIssuer,
    /// It is that of a CA, which is no server's.
    IsCa,
    /// It is not good for another reason.
    Certificate,
    /// The server wants a certificate of its clients.
    WantsOurs,
    /// What came is no TLS: most likely the port is one for another protocol.
    NotSpoken,
    Other,
}

impl Cause {
    /// Whether the server's certificate is why: most likely the config names another server, or not its CA.
    pub fn is_certificate(self) -> bool {
        matches!(self, Self::AnotherName | Self::UnknownIssuer | Self::IsCa | Self::Certificate)
    }
}

/// Says it of a server that speaks no HTTP and that the config names under a key. `None`: TLS was not why.
pub fn no_tls(error: &std::io::Error, key: &str) -> Option<NoTls> {
    let trouble = of_tls(find::<rustls::Error>(error)?, &format!("the one under `{key}`"));
    let told = NoAnswer::of_tls(trouble);
    Some(NoTls { text: told.to_string(), cause: told.cause })
}

/// What is wrong with an encrypted connection, and what to do about it where it goes out from a destination.
pub(super) struct Trouble {
    pub what: String,
    pub help: Option<&'static str>,
    pub cause: Cause,
}

/// What helps where nobody but the server's own people can mend it.
const BY_THE_SERVER: &str = "whoever runs the server has to renew it";

/// `name` says which name the server's certificate should have.
fn of_tls(error: &rustls::Error, name: &str) -> Trouble {
    use rustls::AlertDescription as Alert;

    let other = |what: String, help| Trouble { what, help, cause: Cause::Other };
    match error {
        // The first byte that came begins nothing of TLS.
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Trouble {
            what: "what answers at this port does not speak TLS".to_owned(),
            help: Some("is it the port for encrypted connections?"),
            cause: Cause::NotSpoken,
        },
        rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate, name),
        rustls::Error::AlertReceived(Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA) => {
            Trouble {
                what: format!("TLS failed: {error}"),
                help: Some(
                    "the server wants a certificate of its clients, and a destination has none: put a proxy in between that has one",
                ),
                cause: Cause::WantsOurs,
            }
        }
        rustls::Error::AlertReceived(Alert::UnrecognisedName) => other(
            format!("TLS failed: {error}"),
            Some("the server has no certificate for this name: is the name right?"),
        ),
        rustls::Error::AlertReceived(Alert::HandshakeFailure | Alert::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => other(
            format!("TLS failed: {error}"),
            Some("the server must take TLS 1.2 or 1.3 with ciphers that are in use today"),
        ),
        _ => other(format!("TLS failed: {error}"), Some("the server's own log may say more")),
    }
}

fn of_certificate(error: &CertificateError, name: &str) -> Trouble {
    let (what, help, cause) = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("has expired".to_owned(), BY_THE_SERVER, Cause::Certificate)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("is not valid yet".to_owned(), "is this machine's clock right?", Cause::Certificate)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (format!("is for another name than {name}"), "use a name that it has", Cause::AnotherName)
        }
        CertificateError::UnknownIssuer => (
            "has an unknown issuer".to_owned(),
            "name a private CA's file in `ca:`, or add it to the system's certificates",
            Cause::UnknownIssuer,
        ),
        CertificateError::Revoked => ("was revoked".to_owned(), BY_THE_SERVER, Cause::Certificate),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "is not made for a server".to_owned(),
            "its extended key usage must have serverAuth: whoever runs the server has to make it anew",
            Cause::Certificate,
        ),
        CertificateError::Other(other) if is_ca(other) => (
            "is that of a CA".to_owned(),
            "a server needs one of its own, made with CA:FALSE; in `ca:` there may be any",
            Cause::IsCa,
        ),
        other => (format!("is not valid ({other})"), BY_THE_SERVER, Cause::Certificate),
    };
    Trouble { what: format!("the server's certificate {what}"), help: Some(help), cause }
}

/// Whether a server shows the certificate of a CA, as `openssl req -x509` makes it unless it is told otherwise.
fn is_ca(error: &rustls::OtherError) -> bool {
    matches!(error.0.downcast_ref::<webpki::Error>(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::AlertDescription as Alert;

    use super::*;

    #[test]
    fn what_helps_a_destination_alone_is_told_by_its_cause() {
        let is_ca = rustls::OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        let of = |certificate| rustls::Error::InvalidCertificate(certificate);
        let mut causes = Vec::new();
        for error in [
            of(CertificateError::Expired),
            of(CertificateError::NotValidYet),
            of(CertificateError::NotValidForName),
            of(CertificateError::UnknownIssuer),
            of(CertificateError::Revoked),
            of(CertificateError::InvalidPurpose),
            of(CertificateError::Other(is_ca)),
            of(CertificateError::BadEncoding),
            rustls::Error::AlertReceived(Alert::CertificateRequired),
            rustls::Error::AlertReceived(Alert::UnrecognisedName),
            rustls::Error::AlertReceived(Alert::HandshakeFailure),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
            rustls::Error::DecryptError,
        ] {
            let Trouble { help, cause, .. } = of_tls(&error, "the URL's");
            if help.is_some_and(|help| help.contains("`ca:`") || help.contains("destination")) {
                causes.push(cause);
            }
        }
        assert_eq!(causes, [Cause::UnknownIssuer, Cause::IsCa, Cause::WantsOurs]);
    }
}

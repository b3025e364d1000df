//! One transaction with a mail server: connecting, logging in, and what each answer means.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailParameter};
use tokio::net::TcpStream;

use super::line_stream::LineStream;
use super::settings::Encryption;
use super::{Email, Letter};
use crate::destination::{Delivery, Outcome, Reason};

/// For one of a server's addresses to accept a connection. An attempt has its own limit, `timeout:`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The goodbye is not part of an attempt: the message has been taken by then.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

impl Email {
    pub(super) async fn attempt_one(&self, delivery: &Delivery) -> Outcome {
        let letter = match self.letter(delivery) {
            Ok(letter) => letter,
            Err(unsent) => return unsent.into(),
        };
        let message = match self.message(&letter) {
            Ok(message) => message.formatted(),
            Err(unsent) => return unsent.into(),
        };
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(outcome) => return outcome,
        };
        let outcome = self.transaction(&mut connection, &letter, &message).await;
        tokio::spawn(async move { drop(tokio::time::timeout(QUIT_TIMEOUT, connection.quit()).await) });
        outcome
    }

    /// A connection that is encrypted as it must be, and logged in.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Outcome> {
        let addresses = self.addresses().await.map_err(Outcome::retry)?;
        let failed = |error: smtp::Error| self.before_mail(&error);
        let at_once = match self.server.encryption {
            Encryption::AtOnce => Some(self.tls().await.map_err(Outcome::retry)?),
            Encryption::StartTls | Encryption::Never => None,
        };
        let connected = if self.server.encryption == Encryption::StartTls {
            let stream = LineStream::new(first_of(&addresses).await.map_err(Outcome::retry)?);
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await
        } else {
            let limit = Some(CONNECT_TIMEOUT);
            AsyncSmtpConnection::connect_tokio1(&addresses[..], limit, &self.hello, at_once, None).await
        };
        let mut connection = connected.map_err(failed)?;
        if self.server.encryption == Encryption::StartTls {
            if !connection.can_starttls() {
                let text =
                    "the mail server offers no STARTTLS, so nothing was sent: use smtps://, or allow `starttls: never`";
                return Err(Outcome::Retry {
                    reason: Reason { is_config_slip: true, ..Reason::new(text) },
                    after: None,
                    holds_all: false,
                });
            }
            let tls = self.tls().await.map_err(Outcome::retry)?;
            connection.starttls(tls, &self.hello).await.map_err(failed)?;
        }
        if let Some((username, password)) = &self.login {
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(failed)?;
        }
        Ok(connection)
    }

    /// Looked up where all names are, so that a name server that says nothing holds up nothing else.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = match self.server.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = self.client.addresses(&self.server.host).await;
                found.map_err(|error| format!("could not connect: {error}"))?
            }
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, self.server.port)).collect())
    }

    async fn tls(&self) -> Result<TlsParameters, String> {
        let make = async || {
            let certificates = self.client.certificates().await.map_err(|error| error.to_string())?;
            let wrong = |error: smtp::Error| format!("TLS could not be set up: {error}");
            let mut builder =
                TlsParameters::builder(self.server.host.clone()).certificate_store(CertificateStore::None);
            for certificate in certificates {
                builder = builder.add_root_certificate(Certificate::from_der(certificate.to_vec()).map_err(wrong)?);
            }
            builder.build_rustls().map_err(wrong)
        };
        self.tls.get_or_try_init(make).await.cloned()
    }

    /// From `MAIL` to the answer to the message.
    async fn transaction(&self, connection: &mut AsyncSmtpConnection, letter: &Letter, message: &[u8]) -> Outcome {
        let is_ascii = letter.to.iter().chain([&self.from]).all(|mailbox| mailbox.email.to_string().is_ascii());
        if !is_ascii && !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Outcome::reject("the mail server takes no addresses with letters beyond ASCII (SMTPUTF8)");
        }
        let parameters = if is_ascii { Vec::new() } else { vec![MailParameter::SmtpUtfEight] };
        if let Err(error) = connection.command(Mail::new(Some(self.from.email.clone()), parameters)).await {
            return self.of_error(&error, "the sender");
        }
        let mut taken = 0;
        let mut refused = Vec::new();
        for (i, mailbox) in letter.to.iter().enumerate() {
            let what = format!("recipient {} of {}", i + 1, letter.to.len());
            match connection.command(Rcpt::new(mailbox.email.clone(), Vec::new())).await {
                Ok(_) => taken += 1,
                // Nobody has got anything yet: all are tried again together.
                Err(error) => match self.of_error(&error, &what) {
                    Outcome::Reject { reason } => refused.push(reason),
                    outcome => return outcome,
                },
            }
        }
        if taken == 0 {
            let mut reasons = refused.into_iter();
            let first = reasons.next().unwrap_or_else(|| Reason::new("no recipient was taken"));
            let text = reasons.fold(first.text.clone(), |text, reason| format!("{text}; {}", reason.text));
            return Outcome::Reject { reason: Reason { text: Reason::new(text).text, ..first } };
        }
        if let Err(error) = connection.command(Data).await {
            return self.of_error(&error, "the message");
        }
        match connection.message(message).await {
            Ok(_) => {
                if let Some(reason) = refused.first()
                    && self.refusals.is_due()
                {
                    tracing::warn!(
                        address = self.server.address(),
                        error = reason.brief,
                        "a recipient was refused, and the others have the message: this is told every quarter of an hour at most"
                    );
                }
                Outcome::Delivered
            }
            Err(error) => self.of_error(&error, "the message"),
        }
    }

    /// What an error means once mail is sent.
    fn of_error(&self, error: &smtp::Error, what: &str) -> Outcome {
        let Some(code) = error.status().map(u16::from) else {
            let text =
                if error.is_client() { "the mail server cannot be used" } else { "no answer from the mail server" };
            return Outcome::retry(self.masks.apply(format!("{text}: {}", causes(error))));
        };
        let reason = self.reason(error, code, what);
        match code {
            530 | 534 | 535 | 538 => Outcome::Pause { reason },
            500..=599 => Outcome::Reject { reason },
            _ => Outcome::Retry { reason, after: None, holds_all: false },
        }
    }

    /// What an error means before: it says nothing of the event, so no event is given up for it.
    fn before_mail(&self, error: &smtp::Error) -> Outcome {
        match self.of_error(error, "the connection") {
            Outcome::Reject { reason } => {
                let reason = Reason { is_config_slip: true, ..reason };
                Outcome::Retry { reason, after: None, holds_all: false }
            }
            outcome => outcome,
        }
    }

    /// What the server said, for people; and without its words, which may repeat addresses, for the log.
    fn reason(&self, error: &smtp::Error, code: u16, what: &str) -> Reason {
        let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let said = self.masks.apply(said);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let brief = format!("{code} for {what}");
        let text = if said.is_empty() { brief.clone() } else { format!("{brief}: {said}") };
        Reason { brief, status: code, answer: Reason::new(said).text, ..Reason::new(text) }
    }
}

/// A connection to the first of some addresses that accepts one.
async fn first_of(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut why = "it has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "connection timed out".to_owned(),
        }
    }
    Err(format!("no answer from the mail server: {why}"))
}

/// An error's causes without what the library calls it.
fn causes(error: &smtp::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), crate::errors::with_causes)
}

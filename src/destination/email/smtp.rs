//! One transaction with a mail server: connecting, logging in, and what each answer means.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use lettre::Message;
use lettre::message::Mailbox;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::{Replies, Reply, exchange, is_before_all_was_said, is_end};
use super::letter::Letter;
use super::settings::Encryption;
use super::{Email, SERVER};
use crate::destination::client::{Cause, NoTls, no_tls};
use crate::destination::{Delivery, Outcome, Reason};

/// For one of a server's addresses to accept a connection. An attempt has its own limit, `timeout:`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The goodbye is not part of an attempt: the message has been taken by then.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);
/// To a recipient it is what 452 is: there are too many of them now (RFC 5321, 4.5.3.1.10). To a message it is for good.
const TOO_MANY_RECIPIENTS: u16 = 552;
/// What a server says of a mailbox begins with this, if it says more than a code: one that is full, or switched off (RFC 3463).
const OF_THE_MAILBOX: &str = "5.2.";
/// The server closes the connection: whatever was asked.
const CLOSING: u16 = 421;
const NO_ANSWER: &str = "no answer from the mail server";
const CLOSED: &str = "the mail server closed the connection before it answered";
const CLOSED_WITHIN: &str = "the mail server closed the connection before it had all of the message";
const NO_SMTPUTF8: &str = "the mail server accepts no addresses with letters beyond ASCII (SMTPUTF8)";

impl Email {
    pub(super) async fn attempt_one(&self, delivery: &Delivery) -> Outcome {
        match self.letter(delivery) {
            Ok(letter) => self.send(letter).await,
            Err(unsent) => unsent.into(),
        }
    }

    pub(super) async fn send(&self, letter: Letter) -> Outcome {
        // What cannot be written is known before the server is asked.
        let message = match self.message(&letter) {
            Ok(message) => message,
            Err(unsent) => return unsent.into(),
        };
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(outcome) => return outcome,
        };
        let outcome = self.transaction(&mut connection, letter, message).await;
        // Where goodbyes wait for their answers already, the connection just closes.
        if let Ok(place) = self.goodbyes.clone().try_acquire_owned() {
            tokio::spawn(async move {
                drop(tokio::time::timeout(QUIT_TIMEOUT, connection.quit()).await);
                drop(place);
            });
        }
        outcome
    }

    /// A connection that is encrypted as it must be, and logged in.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Outcome> {
        let addresses = self.addresses().await.map_err(Outcome::retry)?;
        let (mut stream, peer) = first_of(&addresses).await.map_err(Outcome::retry)?;
        let transport: Box<dyn AsyncTokioStream> = match self.server.encryption {
            Encryption::AtOnce => Box::new(Replies::new(self.encrypted(stream).await?, peer)),
            Encryption::StartTls => {
                self.ask_for_tls(&mut stream).await?;
                Box::new(Replies::greeted(self.encrypted(stream).await?, peer))
            }
            Encryption::Never => Box::new(Replies::new(stream, peer)),
        };
        let refused = |error: smtp::Error| self.before_mail(&error, "the connection");
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(transport, &self.hello).await.map_err(refused)?;
        if let Some((username, password)) = &self.login {
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
                return Err(config_slip("the mail server offers no way to log in that is known here: PLAIN or LOGIN"));
            }
            let refused = |error: smtp::Error| self.before_mail(&error, "the user");
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(refused)?;
        }
        Ok(connection)
    }

    /// Asks for TLS in the clear.
    async fn ask_for_tls(&self, stream: &mut TcpStream) -> Result<(), Outcome> {
        let said =
            async |stream: &mut TcpStream, line: &str| exchange(stream, line).await.map_err(|error| no_answer(&error));
        let refused = |reply: &Reply| {
            let brief = format!("{} for the connection", reply.code);
            let text = self.masks.apply(format!("{brief}: {}", reply.lines.join(" ")));
            let is_config_slip = reply.code >= 500;
            let reason = Reason { brief, status: Some(reply.code), is_config_slip, ..Reason::new(text) };
            later(reason)
        };
        let greeting = said(stream, "").await?;
        if greeting.code != 220 {
            return Err(refused(&greeting));
        }
        let hello = said(stream, &format!("EHLO {}", self.hello)).await?;
        // What a server that refuses us offers is not known: it may be a list of blocked addresses that speaks.
        if hello.code / 100 != 2 {
            return Err(refused(&hello));
        }
        if !hello.lines.iter().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
            return Err(config_slip(
                "the mail server offers no STARTTLS, so nothing was sent: use smtps://, or allow `starttls: never`",
            ));
        }
        let begins = said(stream, "STARTTLS").await?;
        if begins.code == 220 { Ok(()) } else { Err(refused(&begins)) }
    }

    async fn encrypted(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Outcome> {
        let tls = self.client.tls().await.map_err(|error| Outcome::retry(error.to_string()))?;
        let name = self.server.name.clone();
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|error| {
            match no_tls(&error, SERVER.info.name) {
                Some(NoTls { cause: Cause::NotSpoken, .. }) if self.server.encryption == Encryption::AtOnce => {
                    config_slip(&format!(
                        "could not connect: port {} of the mail server does not speak TLS from the first byte: \
                         without `smtps://` in `server` the relay asks for it by STARTTLS",
                        self.server.port
                    ))
                }
                Some(NoTls { text, cause }) if cause.is_certificate() => config_slip(&text),
                Some(NoTls { text, .. }) => Outcome::retry(text),
                None => no_answer(&error),
            }
        })
    }

    /// Looked up where all names are, so that a name server that says nothing holds up nothing else.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = match self.server.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                let found = self.client.addresses(&self.server.host).await;
                let masked = |error| self.masks.apply_to_name(format!("could not connect: {error}"));
                found.map_err(masked)?
            }
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, self.server.port)).collect())
    }

    /// From `MAIL` to the answer to the message.
    async fn transaction(
        &self,
        connection: &mut AsyncSmtpConnection,
        mut letter: Letter,
        mut message: Message,
    ) -> Outcome {
        let is_ascii = |mailbox: &Mailbox| mailbox.email.to_string().is_ascii();
        let takes_all = connection.server_info().supports_feature(Extension::SmtpUtfEight);
        if !takes_all && !is_ascii(&self.from) {
            return config_slip(&format!("the address in `from`: {NO_SMTPUTF8}"));
        }
        if !takes_all && !self.reply_to.iter().all(is_ascii) {
            return config_slip(&format!("the address in `reply_to`: {NO_SMTPUTF8}"));
        }
        if !takes_all && !letter.mailboxes().all(is_ascii) {
            let take = |to: Result<Mailbox, _>| to.and_then(|to| if is_ascii(&to) { Ok(to) } else { Err(NO_SMTPUTF8) });
            letter.to = std::mem::take(&mut letter.to).into_iter().map(take).collect();
            // Where nobody is left, it is not sent.
            if letter.mailboxes().next().is_some() {
                message = match self.message(&letter) {
                    Ok(message) => message,
                    Err(unsent) => return unsent.into(),
                };
            }
        }
        let is_plain = letter.mailboxes().chain([&self.from]).chain(&self.reply_to).all(is_ascii);
        let parameters = if is_plain { Vec::new() } else { vec![MailParameter::SmtpUtfEight] };
        match connection.command(Mail::new(Some(self.from.email.clone()), parameters)).await {
            Ok(answer) if is_done(&answer) => {}
            Ok(answer) => return unexpected(&answer, "the sender"),
            Err(error) => return self.of_error(&error, "the sender"),
        }
        let mut refused = Vec::new();
        for (i, mailbox) in letter.to.iter().enumerate() {
            let what = format!("recipient {} of {}", i + 1, letter.to.len());
            let mailbox = match mailbox {
                Ok(mailbox) => mailbox,
                Err(why) => {
                    let reason =
                        Reason { answer: (*why).to_owned(), ..Reason::new(format!("{what} was left out: {why}")) };
                    refused.push((what, reason));
                    continue;
                }
            };
            match connection.command(Rcpt::new(mailbox.email.clone(), Vec::new())).await {
                Ok(answer) if is_done(&answer) => {}
                Ok(answer) => return unexpected(&answer, &what),
                // Nobody has got anything yet: all are tried again together.
                Err(error) => match self.of_error(&error, &what) {
                    Outcome::Reject { reason } if !are_too_many(&reason) => {
                        refused.push((mailbox.email.to_string(), reason));
                    }
                    // The others, and other messages, may be accepted.
                    Outcome::Reject { reason } => return later(Reason { is_of_one: true, ..reason }),
                    Outcome::Retry { reason, .. } if reason.status.is_some_and(|status| status != CLOSING) => {
                        return later(Reason { is_of_one: true, ..reason });
                    }
                    outcome => return outcome,
                },
            }
        }
        if refused.len() == letter.to.len() {
            return Outcome::Reject { reason: self.of_recipients(&refused) };
        }
        match connection.command(Data).await {
            Ok(answer) if u16::from(answer.code()) == 354 => {}
            Ok(answer) => return unexpected(&answer, "the message"),
            Err(error) => return self.of_error(&error, "the message"),
        }
        match connection.message(&message.formatted()).await {
            Ok(answer) if !is_done(&answer) => unexpected(&answer, "the message"),
            Ok(_) if refused.is_empty() => Outcome::Delivered,
            Ok(_) => self.delivered_but_to(&refused),
            Err(error) => match end_of(&error) {
                // The dot that ends a message is the last that is said.
                Some(end) if is_before_all_was_said(end) => Outcome::retry(CLOSED_WITHIN),
                Some(_) => Outcome::retry(format!("{CLOSED}; it may have taken the message, which is sent again")),
                None => self.of_error(&error, "the message"),
            },
        }
    }

    /// The message was taken, for all but those whom the server had refused for good.
    fn delivered_but_to(&self, refused: &[(String, Reason)]) -> Outcome {
        let reason = self.of_recipients(refused);
        if self.refusals.is_due() {
            tracing::warn!(
                destination = %self.name,
                server = self.server.address(),
                reason = reason.brief,
                "a recipient was refused, and the others have the message: this is told every quarter of an hour at most"
            );
        }
        let text = format!("{}; the others have the message", reason.brief);
        let Reason { status, answer, .. } = reason;
        Outcome::DeliveredInPart { reason: Reason { status, answer, ..Reason::new(text) } }
    }

    /// Why some recipients were refused, each with its address where those look who may see the event, and nowhere else.
    fn of_recipients(&self, refused: &[(String, Reason)]) -> Reason {
        let joined = |of: &dyn Fn(&(String, Reason)) -> String| refused.iter().map(of).collect::<Vec<_>>().join("; ");
        let answer = self.masks.apply(joined(&|(address, reason)| format!("{address}: {}", reason.answer)));
        Reason {
            status: refused.first().and_then(|(_, reason)| reason.status),
            brief: Reason::new(joined(&|(_, reason)| reason.brief.clone())).text,
            answer: Reason::new(answer).text,
            ..Reason::new(joined(&|(_, reason)| reason.text.clone()))
        }
    }

    /// What an error means once mail is sent.
    fn of_error(&self, error: &smtp::Error, what: &str) -> Outcome {
        if end_of(error).is_some() {
            return Outcome::retry(CLOSED);
        }
        let Some(code) = error.status().map(u16::from) else {
            let brief = match () {
                () if error.is_client() => "the mail server cannot be used",
                () if error.is_response() => "an answer of the mail server that is none",
                () => NO_ANSWER,
            };
            let text = self.masks.apply(format!("{brief}: {}", causes(error)));
            let reason = if error.is_response() {
                Reason { brief: brief.to_owned(), ..Reason::new(text) }
            } else {
                Reason::new(text)
            };
            return later(reason);
        };
        let reason = self.reason(error, code, what);
        match code {
            530 | 534 | 535 | 538 => Outcome::Pause { reason },
            500..=599 => Outcome::Reject { reason },
            _ => later(reason),
        }
    }

    /// What an error means before: it says nothing of the event, so no event is given up for it.
    fn before_mail(&self, error: &smtp::Error, what: &str) -> Outcome {
        match self.of_error(error, what) {
            Outcome::Reject { reason } => later(Reason { is_config_slip: true, ..reason }),
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
        Reason { brief, status: Some(code), answer: Reason::new(said).text, ..Reason::new(text) }
    }
}

/// A connection to the first of some addresses that accepts one.
async fn first_of(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), String> {
    let mut why = format!("{NO_ANSWER}: it has no address");
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A message leaves in two writes, and nothing is said between them: the second must not wait for the server to
                // acknowledge the first, which it puts off. Where it cannot be set, all is just slower.
                let _ = stream.set_nodelay(true);
                return Ok((stream, *address));
            }
            Ok(Err(error)) => why = of_no_answer(&error),
            Err(_) => why = format!("{NO_ANSWER}: connection timed out"),
        }
    }
    Err(why)
}

/// Whether a refusal for good says no more than that there are too many recipients for now.
fn are_too_many(reason: &Reason) -> bool {
    reason.status == Some(TOO_MANY_RECIPIENTS) && !reason.answer.starts_with(OF_THE_MAILBOX)
}

/// Whether a server has done what it was asked: any other yes (3xx) asks for more, and nothing is done.
fn is_done(answer: &Response) -> bool {
    u16::from(answer.code()) / 100 == 2
}

fn unexpected(answer: &Response, what: &str) -> Outcome {
    let code = u16::from(answer.code());
    let brief = format!("{code} for {what}, which is no answer to that");
    later(Reason { status: Some(code), ..Reason::new(brief) })
}

fn later(reason: Reason) -> Outcome {
    Outcome::Retry { reason, after: None, holds_all: false }
}

/// The end of the connection, where that is the error.
fn end_of(error: &smtp::Error) -> Option<&io::Error> {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.filter(|cause| is_end(cause))
}

fn no_answer(error: &io::Error) -> Outcome {
    Outcome::retry(of_no_answer(error))
}

/// Why there was no answer: the connection was closed as soon as it was there, or within TLS, or something else went wrong.
fn of_no_answer(error: &io::Error) -> String {
    if is_end(error) { CLOSED.to_owned() } else { format!("{NO_ANSWER}: {error}") }
}

/// What only the config, or the server's, can mend: no event is given up for it.
fn config_slip(text: &str) -> Outcome {
    later(Reason { is_config_slip: true, ..Reason::new(text) })
}

/// An error's causes without what the library calls it.
fn causes(error: &smtp::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), crate::errors::with_causes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_reset_is_told_as_one_that_is_closed() {
        assert_eq!(of_no_answer(&io::ErrorKind::ConnectionReset.into()), CLOSED);
        assert_eq!(of_no_answer(&io::ErrorKind::UnexpectedEof.into()), CLOSED);
        assert_eq!(of_no_answer(&io::Error::other("unplugged")), "no answer from the mail server: unplugged");
    }

    #[tokio::test]
    async fn what_is_written_leaves_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (stream, _) = first_of(&[address]).await.expect("connected");
        assert!(stream.nodelay().expect("the option"));
    }
}

//! `email:` sends a message by SMTP: one connection and one transaction an attempt.
//!
//! # Exactly
//!
//! * The server says of each recipient whether it accepts them, before it gets the message. While one of them may be accepted later (4xx,
//!   552 without a 5.2), nobody is sent anything and the delivery is tried again: so nobody gets it twice because of another. That says nothing of
//!   the server, and holds up no other delivery. Those that are refused for good (any other 5xx), or have no address, are left out; if none is
//!   left, the delivery is rejected.
//! * Before there is a sender, no answer is about the event: whatever is refused then is tried again.
//! * A `Message-ID` is made of the event and the destination, so an attempt that is repeated after a lost answer can be told.
//! * What a server says of the user and the password (530, 534, 535, 538) pauses the destination.
//!
//! A password is sent encrypted, or to this machine. Headers are written by lettre, which encodes what is not ASCII; no value of an event
//! can begin a header of its own.
//!
//! # Cast
//!
//! * [`settings`]: its section, read; [`mailboxes`]: the addresses in it. [`letter`]: a message, made and written; [`digests`]: of several events.
//!   [`notice`]: what an operator is told. [`smtp`]: one transaction. [`connection`]: what is encrypted, and bounds on what is read.

mod connection;
mod digests;
mod letter;
mod mailboxes;
mod notice;
mod settings;
mod smtp;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::Semaphore;

use self::connection::as_repeated;
use self::mailboxes::{mailbox, read_from, read_reply_to, read_to};
use self::settings::{STARTTLS_WORDS, Server, read_hello, read_login, read_server, said_hello};
use super::client::{Client, Masks};
use super::digest::{DigestKeys, own_node, template};
use super::template::{Escape, Subject, Template};
use super::unsent::{advise_of_an_empty_message, advise_of_an_empty_part};
use super::view::View;
use super::way::{self, CA};
use super::{
    Context, Defaults, Delivery, Destination, Kind, Language, Outcomes, Preview, Teller, TemplateKey, Unsent,
    one_by_one,
};
use crate::secret::Secret;
use crate::time::Instant;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Key, Of, Section, by_hand, form, key, secret, text, word};
use crate::yaml::raw::Node;
use crate::yaml::sight::Sight;

pub(super) const KIND: Kind = Kind {
    name: "email",
    about: "A message by SMTP. What the server says counts by its code: 2xx is delivered, 4xx is tried again, and so is 552 for a recipient, which means too many; 530, 534, 535 and 538 are about the user, the password or the encryption and pause the destination; any other 5xx is a dead letter.",
    example: "{ server: smtp.example.com, from: relay@example.com, to: ops@example.com, subject: \"{{ type }}\", text: \"{{ user.email }}\" }",
    form: "{ server: smtp.example.com, from: relay@example.com, to: ops@example.com, subject: …, text: … }",
    defaults_example: "{ server: smtp.example.com, from: relay@example.com }",
    keys,
    has_answers: false,
    likeness: |text| if text.starts_with("smtp") { 3 } else { 0 },
    templates: &[
        TemplateKey::of(TO.info.name, Language::Address),
        TemplateKey::of(SUBJECT.info.name, Language::Text),
        TemplateKey::of(TEXT.info.name, Language::Text),
        TemplateKey::of(HTML.info.name, Language::Text),
    ],
    fields: &[],
    shapes: &[],
    columns: &[],
    secret_keys: &[PASSWORD.info.name],
    always_secret: &[PASSWORD.info.name],
    not_content: &[
        SERVER.info.name,
        STARTTLS.info.name,
        CA.info.name,
        HELLO.info.name,
        USERNAME.info.name,
        PASSWORD.info.name,
        FROM.info.name,
        REPLY_TO.info.name,
        TO.info.name,
    ],
    tested_parts: &[TO.info.name, SUBJECT.info.name, TEXT.info.name, HTML.info.name],
    digest: Some(DigestKeys {
        keys: || Section::of(&[DIGEST_SUBJECT.info, DIGEST_TEXT.info, DIGEST_HTML.info]),
        templates: &[
            template(DIGEST_SUBJECT.info.name, Language::Text),
            template(DIGEST_TEXT.info.name, Language::Text),
            template(DIGEST_HTML.info.name, Language::Text),
        ],
    }),
    unordered: None,
    // Mail servers count connections, and two are enough for a message each few milliseconds.
    defaults: Defaults {
        concurrency: 2,
        interval: None,
        give_up_after: Duration::from_secs(72 * 60 * 60),
        stale_after: None,
    },
    build: |context, entries| build(context, entries).map(|email| Arc::new(email) as Arc<dyn Destination>),
};

const SERVER: Key<String> = key("server", form(r"^(smtps?://)?[A-Za-z0-9._:\[\]-]+/?$", "mail server"))
    .seen(Sight::All).about("The server that takes the messages: `smtp.example.com`, with `:PORT` unless it is 587; `smtps://smtp.example.com` where TLS begins at once, with `:PORT` unless it is 465.")
    .example("smtp.example.com")
    .required_or_default();
const STARTTLS: Key<String> = key("starttls", word(&STARTTLS_WORDS))
    .about("`required`: nothing is sent before the connection is encrypted by STARTTLS. `never`: all is sent in the clear; a password only to this machine. Not for `smtps://`.")
    .example("never")
    .default(STARTTLS_WORDS[0]);
const HELLO: Key<String> = key("hello", form(r"^[A-Za-z0-9.:\[\]-]+$", "host name or address"))
    .seen(Sight::All).about("What the relay calls itself when it greets the server (EHLO): a host name, or an address. Many servers refuse a name without a domain.")
    .example("relay.example.com")
    .otherwise("the machine's name");
const USERNAME: Key<String> =
    key("username", form(r"\S", "text")).about("Who the relay is to the server. With `password`.").example("relay");
const PASSWORD: Key<Secret> =
    key("password", secret()).about("The password to `username`.").example("\"${SMTP_PASSWORD}\"");
const FROM: Key<String> = key("from", text())
    .seen(Sight::All)
    .about("The sender, the same for every event: an address, or a name and an address.")
    .example("\"Vero <relay@example.com>\"")
    .required_or_default();
const REPLY_TO: Key<String> = key("reply_to", text())
    .seen(Sight::All)
    .about("Where answers go, the same for every event: an address, or a name and an address.")
    .example("support@example.com")
    .otherwise("to the sender");
const TO: Key<()> = key("to", by_hand(Of::Texts))
    .seen(Sight::All).about("The recipients, each a template that comes to one address; one that comes to nothing, or to one before it, is left out. They see each other. Nothing is sent before each of them is accepted or refused for good; whoever must not wait for another gets a destination of their own.")
    .example("[ops@example.com, \"{{ user.email }}\"]")
    .required_or_default();
const SUBJECT: Key<String> = key("subject", text())
    .seen(Sight::Prose)
    .about("The subject, as a template; line breaks become spaces, and it is cut to 200 characters.")
    .example("\"{{ type }}: {{ campaign.name }}\"")
    .required_or_default();
const TEXT: Key<String> = key("text", text())
    .seen(Sight::Prose)
    .about(
        "The message, as a template. Where it comes to nothing, and `html` too, nothing is sent, whatever the subject.",
    )
    .example("\"{{ user.email }}: {{ type }}\"")
    .required_or_default();
const HTML: Key<String> = key("html", text())
    .seen(Sight::Prose)
    .about("The same as HTML, for readers that show it: a template whose values are escaped.")
    .example("\"<b>{{ type }}</b> {{ user.email }}\"");

const DIGEST_SUBJECT: Key<String> = key("subject", text())
    .seen(Sight::Prose)
    .about("The subject of an email that is a digest, as a template over `digest`.")
    .example("\"{{ digest.count }} events\"")
    .otherwise("what it is about");
const DIGEST_TEXT: Key<String> = key("text", text())
    .seen(Sight::Prose)
    .about("What several events read like as one, as a template over `digest`.")
    .example("\"{% for event in digest.events %}{{ event.user.email }} {% endfor %}\"")
    .otherwise("a good message");
const DIGEST_HTML: Key<String> = key("html", text())
    .seen(Sight::Prose)
    .about("The same as HTML, for email: a template whose values are escaped.")
    .example("\"{% for group in digest.groups %}<b>{{ group.count }}</b> × {{ group.name }}<br>{% endfor %}\"");

fn keys() -> Section {
    Section::of(&[
        SERVER.info,
        STARTTLS.info,
        CA.info,
        HELLO.info,
        USERNAME.info,
        PASSWORD.info,
        FROM.info,
        REPLY_TO.info,
        TO.info,
        SUBJECT.info,
        TEXT.info,
        HTML.info,
    ])
}

/// Whether a message can be sent to what a template of a recipient came to.
pub fn is_address(text: &str) -> bool {
    mailbox(text).is_some()
}

/// Mail servers count connections.
const GOODBYES_MAX: usize = 2;
/// Between two lines of the log about recipients that are refused while others are not.
const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(15 * 60);

struct Email {
    name: String,
    server: Server,
    login: Option<(String, Secret)>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    to: Vec<Template>,
    subject: Template,
    text: Template,
    html: Option<Template>,
    digest: DigestForm,
    client: Client,
    hello: ClientId,
    /// A digest of the destination's name.
    name_digest: String,
    masks: Masks,
    content_masks: Masks,
    refusals: Refusals,
    /// Connections that may wait for the answer to their goodbye, beside those of attempts.
    goodbyes: Arc<Semaphore>,
}

/// What several deliveries look like as one; what is not there is said as usual.
struct DigestForm {
    subject: Option<Template>,
    text: Option<Template>,
    html: Option<Template>,
}

/// When it was told last that a recipient was refused.
#[derive(Debug, Default)]
struct Refusals(Mutex<Option<Instant>>);

impl Refusals {
    /// Whether it is to be told again; then it counts as told.
    fn is_due(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|at| at.elapsed() >= REFUSALS_TOLD_EVERY);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

fn build(context: &Context<'_>, mut entries: Entries<'_, '_>) -> Option<Email> {
    let reader = context.reader;
    if let Some(answers) = context.answers {
        let help = "take `answers` out".to_owned();
        reader.error_with(answers.id, "`answers` is about HTTP, and a mail server gives none", help);
    }
    let server_node = entries.node(&SERVER.info);
    let starttls = entries.node(&STARTTLS.info);
    let server = server_node.and_then(|node| read_server(reader, node, starttls));
    let ca_node = entries.node(&CA.info);
    let username = entries.node(&USERNAME.info);
    let password = entries.node(&PASSWORD.info);
    let login = read_login(reader, [username, password], server.as_ref());
    let hello = match entries.node(&HELLO.info) {
        Some(node) => read_hello(reader, node),
        None => Some(context.surroundings.host_name().and_then(|name| said_hello(&name)).unwrap_or_default()),
    };
    let from = entries.node(&FROM.info).and_then(|node| read_from(reader, node));
    let reply_to = entries.node(&REPLY_TO.info).map(|node| read_reply_to(reader, node));
    let to = entries.node(&TO.info).and_then(|node| read_to(reader, node));
    let [subject, text, html] = [&SUBJECT, &TEXT, &HTML].map(|key| entries.node(&key.info));
    if let Some(text) = text {
        let forms: Vec<_> = [text].into_iter().chain(html).collect();
        advise_of_an_empty_message(reader, &forms, "write what it says, like text: \"{{ user.email }}: {{ type }}\"");
    }
    let template = |node: Option<&Node>, escape| {
        let node = node?;
        Template::compile(reader.text(node)?, escape).map_err(|fault| reader.fault(node.id, fault)).ok()
    };
    let subject = template(subject, Escape::None);
    let text = template(text, Escape::None);
    let html = template(html, Escape::Html);
    let of_digest = own_node(context, &KIND);
    let digest_part = |key: &str, escape| {
        let node = of_digest.and_then(|of_digest| of_digest.get(key)).filter(|node| !node.is_null());
        let compiled = node.map(|node| {
            advise_of_an_empty_part(reader, key, node);
            let compiled = Template::compile_for(reader.text(node)?, escape, Subject::Digest);
            compiled.map_err(|fault| reader.fault(node.id, fault)).ok()
        });
        match compiled {
            Some(compiled) => compiled.map(Some),
            None => Some(None),
        }
    };
    let digest_subject = digest_part(DIGEST_SUBJECT.info.name, Escape::None);
    let digest_text = digest_part(DIGEST_TEXT.info.name, Escape::None);
    let digest_html = digest_part(DIGEST_HTML.info.name, Escape::Html);
    let client = way::read_ca_alone(context, ca_node);
    entries.finish();
    let secrets = login.iter().flatten().flat_map(|(username, password)| spellings(username, password.expose()));
    let from = from?;
    Some(Email {
        masks: Masks::from_texts(secrets.chain(reader.taken())),
        content_masks: Masks::from_texts(reader.taken()),
        refusals: Refusals::default(),
        goodbyes: Arc::new(Semaphore::new(GOODBYES_MAX)),
        name: context.name.to_owned(),
        server: server?,
        login: login?,
        from,
        reply_to: reply_to.map_or(Some(None), |read| read.map(Some))?,
        to: to?,
        subject: subject?,
        text: text?,
        html,
        digest: DigestForm { subject: digest_subject?, text: digest_text?, html: digest_html? },
        client: client?,
        hello: hello?,
        name_digest: digest(context.name),
    })
}

/// A password as a server may repeat it: as it is and as that is read, and as the two ways of logging in say it.
fn spellings(username: &str, password: &str) -> [String; 4] {
    let plain = STANDARD.encode(format!("\0{username}\0{password}"));
    [password.to_owned(), as_repeated(password), plain, STANDARD.encode(password)]
}

fn digest(name: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Destination for Email {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        one_by_one(deliveries, |delivery| self.attempt_one(delivery))
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        let letter = self.letter(delivery)?;
        let mut headers = vec![("from", self.from.to_string())];
        headers.extend(self.reply_to.as_ref().map(|reply_to| ("reply-to", reply_to.to_string())));
        headers.extend([
            ("to", letter.shown_to()),
            ("subject", letter.subject.clone()),
            ("message-id", self.message_id(&letter)),
        ]);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), self.content_masks.apply(value)));
        Ok(Preview {
            title: format!("an email through {}", self.address()),
            facts: vec![("server", self.address())],
            headers: Some(headers.collect()),
            content_name: TEXT.info.name,
            content: Self::shown(&letter),
            parts: letter.parts(),
            masks: self.content_masks.clone(),
        })
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        let letter = self.letter(delivery)?;
        Ok(format!("{}\n\n{}", letter.subject, Self::shown(&letter)).into_bytes())
    }

    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent> {
        let to: Vec<_> = self.letter(delivery)?.mailboxes().map(ToString::to_string).collect();
        let login = self.login.as_ref().map(|(username, password)| format!("{username}:{}", password.expose()));
        let encryption = self.server.encryption;
        let way = format!(
            "{} {encryption:?}\n{}\n{:?}\n{to:?}\n{login:?}\n{}",
            self.address(),
            self.from,
            self.reply_to,
            self.client.way_text()
        );
        Ok(Secret::from(way))
    }

    fn teller(&self) -> Result<&dyn Teller, &'static str> {
        let is_fixed = self.to.iter().all(|to| to.fixed().is_some());
        if is_fixed { Ok(self) } else { Err("its recipients are made of an event") }
    }

    fn digests(&self) -> bool {
        true
    }

    fn address_of(&self, delivery: &Delivery) -> Option<String> {
        if self.to.iter().all(|to| to.fixed().is_some()) {
            return None;
        }
        let view = View::of_event(delivery);
        // What does not render makes a dead letter, whoever it is put together with.
        let to: Vec<_> = self.to.iter().map(|to| to.render(&view, None).unwrap_or_default()).collect();
        Some(to.iter().map(|to| to.trim()).collect::<Vec<_>>().join("\n"))
    }

    /// One server takes messages for many, and what goes wrong with those to one is told to another.
    fn leads_to(&self) -> String {
        let address = |written: &str| mailbox(written).map_or_else(|| written.to_owned(), |one| one.email.to_string());
        let mut to: Vec<_> = self.to.iter().map(|to| address(to.source().trim()).to_lowercase()).collect();
        to.sort();
        format!("{} {}", self.server.address(), to.join(" "))
    }

    fn is_loopback(&self) -> bool {
        self.server.is_loopback()
    }

    fn address(&self) -> String {
        self.server.address()
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::Client;
    use super::super::sample::built;

    #[test]
    fn two_lead_to_one_place_where_server_and_recipients_are_the_same() {
        let place = |server: &str, to: &str| {
            let section = format!("{{ server: {server}, from: relay@example.com, to: {to}, subject: a, text: b }}");
            built("email", &section, "", &Client::direct()).expect("builds").leads_to()
        };
        let ops = place("smtp.example.com", "ops@example.com");
        assert_eq!(ops, place("smtp.example.com", "\"Ops@Example.com \""));
        assert_eq!(ops, place("smtp.example.com", "Ops <ops@example.com>"));
        let both = ["[ops@example.com, boss@example.com]", "[boss@example.com, ops@example.com]"];
        assert_eq!(place("smtp.example.com", both[0]), place("smtp.example.com", both[1]));
        for (server, to) in [
            ("smtp.example.com", "\"{{ user.email }}\""),
            ("smtp.example.com", "[ops@example.com, boss@example.com]"),
            ("smtp.example.net", "ops@example.com"),
        ] {
            assert_ne!(ops, place(server, to), "{server} {to}");
        }
    }
}

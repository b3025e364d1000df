//! A message as an attempt sends it: made of an event, and written.

use std::time::SystemTime;

use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, MultiPart, SinglePart};

use super::digests;
use super::mailboxes::mailbox;
use super::{Email, HTML, SUBJECT, TEXT, TO};
use crate::destination::template::Template;
use crate::destination::view::View;
use crate::destination::{Delivery, Unsent};

/// A longer subject is shown whole by no reader.
const SUBJECT_CHARACTERS_MAX: usize = 200;
/// That nobody wrote it, so that no program answers it: out of office, received (RFC 3834, 5).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");
/// What somebody cannot be sent anything for.
pub(super) const NO_ADDRESS: &str = "it is not an address of email";

/// A message as an attempt sends it.
pub(super) struct Letter {
    /// Those who cannot be sent anything, with why.
    pub to: Vec<Result<Mailbox, &'static str>>,
    pub subject: String,
    pub text: String,
    pub html: Option<String>,
    /// What is of this event and this destination alone: its `Message-ID` begins with it.
    pub id: String,
    pub received_ms: u64,
}

impl Letter {
    pub fn mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        self.to.iter().flatten()
    }

    /// Those who get it, as its header has them.
    pub fn shown_to(&self) -> String {
        self.mailboxes().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What a test of the config can look at by itself, by its key.
    pub fn parts(self) -> Vec<(&'static str, String)> {
        let to = (TO.info.name, self.shown_to());
        let html = self.html.map(|html| (HTML.info.name, html));
        [to, (SUBJECT.info.name, self.subject), (TEXT.info.name, self.text)].into_iter().chain(html).collect()
    }
}

impl Email {
    pub(super) fn letter(&self, delivery: &Delivery) -> Result<Letter, Unsent> {
        self.made_letter(delivery).map_err(|unsent| unsent.masked(&self.content_masks))
    }

    fn made_letter(&self, delivery: &Delivery) -> Result<Letter, Unsent> {
        let view = View::new(delivery);
        // All of a digest go where its first goes.
        let addressed = delivery.digest.as_ref().map(|_| View::of_event(delivery));
        let addressed = addressed.as_ref().unwrap_or(&view);
        let mut to = Vec::with_capacity(self.to.len());
        for template in &self.to {
            let rendered = template.render(addressed, None)?;
            if rendered.trim().is_empty() {
                continue;
            }
            let read = mailbox(&rendered).ok_or(NO_ADDRESS);
            let is_known = |one: &Mailbox| to.iter().flatten().any(|known| is_one_address(known, one));
            if !read.as_ref().is_ok_and(is_known) {
                to.push(read);
            }
        }
        if to.is_empty() {
            return Err(Unsent::Skipped("there is no recipient".to_owned()));
        }
        if to.iter().all(Result::is_err) {
            // What an event says is not repeated: it may be a person's.
            return Err("a recipient is not an address of email".to_owned().into());
        }
        let [subject, text, html] = self.parts(delivery, &view)?;
        let subject = subject_of(&subject.unwrap_or_default());
        let text = plain_lines(&text.unwrap_or_default());
        // A reader that shows HTML would show an empty one, and not the text beside it.
        let html = html.as_deref().map(plain_lines).filter(|html| !html.trim().is_empty());
        // As for a chat: a template says by an `if` for which events there is a message.
        if [Some(&text), html.as_ref()].into_iter().flatten().all(|form| form.trim().is_empty()) {
            return Err(Unsent::Skipped("the message is empty".to_owned()));
        }
        let id = format!("{}.{}", delivery.id(), self.name_digest);
        let received_ms = delivery.received_ms();
        Ok(Letter { to, subject, text, html, id, received_ms })
    }

    /// The subject, the text and the HTML.
    fn parts(&self, delivery: &Delivery, view: &View) -> Result<[Option<String>; 3], String> {
        let render = |template: Option<&Template>| template.map(|template| template.render(view, None)).transpose();
        let Some(digest) = &delivery.digest else {
            let subject = render(Some(&self.subject))?;
            return Ok([subject, render(Some(&self.text))?, render(self.html.as_ref())?]);
        };
        let own = &self.digest;
        let subject = render(own.subject.as_ref())?.filter(|subject| !subject_of(subject).is_empty());
        let subject = subject.unwrap_or_else(|| digest.title());
        let html = render(own.html.as_ref())?;
        // Nobody says by an `if` that there is no message for thousands.
        let text = render(own.text.as_ref())?.filter(|text| !text.trim().is_empty());
        let text = text.unwrap_or_else(|| digests::text(digest));
        Ok([Some(subject), Some(text), html])
    }

    pub(super) fn message_id(&self, letter: &Letter) -> String {
        format!("<{}@{}>", letter.id, self.from.email.domain())
    }

    /// The message as it goes over the wire: the same in each attempt, so it has the date of its event.
    pub(super) fn message(&self, letter: &Letter) -> Result<Message, Unsent> {
        let start = Message::builder()
            .message_id(Some(self.message_id(letter)))
            .date(SystemTime::from(crate::time::timestamp(letter.received_ms)))
            .from(self.from.clone())
            .subject(&letter.subject)
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()));
        let start = match &self.reply_to {
            Some(reply_to) => start.reply_to(reply_to.clone()),
            None => start,
        };
        let builder = letter.mailboxes().cloned().fold(start, MessageBuilder::to);
        let plain = SinglePart::plain(letter.text.clone());
        let made = match &letter.html {
            None => builder.singlepart(plain),
            Some(html) => {
                // Known here, where the library would draw lots; RFC 2046 allows 70 characters, and this has 55.
                let parts = MultiPart::alternative().boundary(format!("={}=", letter.id));
                builder.multipart(parts.singlepart(plain).singlepart(SinglePart::html(html.clone())))
            }
        };
        made.map_err(|error| Unsent::failed(format!("the message could not be written: {error}")))
    }

    /// What is sent, for people and to be compared.
    pub(super) fn shown(letter: &Letter) -> String {
        let html = letter.html.as_ref().map(|html| format!("\n\n{html}")).unwrap_or_default();
        format!("{}{html}", letter.text)
    }
}

/// A text as a subject: one line, and not a long one.
pub(super) fn subject_of(text: &str) -> String {
    let subject: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    subject.trim().chars().take(SUBJECT_CHARACTERS_MAX).collect()
}

/// Lines that end as lines of mail do once they are written: a bare CR ends one for some servers and none for others, so that what stands
/// behind it may be taken for a command (RFC 5321, 2.3.8). What else controls a terminal is shown as a mark.
pub(super) fn plain_lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// Whether a message to the one has been sent to the other.
fn is_one_address(one: &Mailbox, other: &Mailbox) -> bool {
    one.email.user() == other.email.user() && one.email.domain().eq_ignore_ascii_case(other.email.domain())
}

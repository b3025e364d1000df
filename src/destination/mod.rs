//! Destinations: each makes one attempt and says what it came to. None knows of retries, rules, queues or its neighbours.
//!
//! # Cast
//!
//! * [`Destination`]: the trait. `http`, `slack`, `email` and `file` implement it, one folder or file each, one line in [`KINDS`].
//! * [`Delivery`]: an event bound for one destination, with its body in memory, as an attempt gets it.
//! * [`Outcome`]: what the attempt came to. What follows from it is decided elsewhere (`deliver/decide.rs`).
//! * [`Preview`]: what an attempt made now would send, for people to look at.
//! * [`digest`]: several deliveries that go out as one message.
//! * [`template`], [`view`], [`structure`], [`url_template`], [`path_template`]: what `text:`, `json:`, `blocks:`, URLs with `{{ … }}` and
//!   paths of files are made of. [`number`] and [`timezone`]: numbers and zones in them; [`bounds`]: how long and deep they may be; [`cut`]: texts
//!   that came out too long; [`dialect`]: habits of other languages.
//! * `envelope`: an event beside what it is known by. [`shaping`]: fields of an event that alone go out, or do not, or that nobody can read then.
//! * [`client`], [`way`]: requests, and by which proxy and whose certificates they go. [`hops`]: events that come back to where they were.
//!   [`signature`]: of a request; [`exposure`]: who could read it on its way.
//! * [`memory`], [`Memory`]: what an attempt leaves behind for those that follow.
//! * [`notice`], [`Teller`]: what an operator is told by way of a destination, which is no event.
//! * [`answer`], [`chat`]: what an HTTP or a chat server's answer means; [`retry_after`]: how long it asks to wait.
//! * [`mod@preview`], [`unsent`]: what would be sent, and why nothing is. `sample`: a delivery for tests.

mod answer;
mod bounds;
mod chat;
pub mod client;
mod cut;
pub(crate) mod dialect;
pub mod digest;
mod envelope;
mod exposure;
pub mod hops;
pub mod memory;
pub mod notice;
mod number;
pub mod path_template;
pub mod preview;
pub mod retry_after;
#[cfg(any(test, feature = "test-support"))]
pub mod sample;
pub(crate) mod shaping;
mod signature;
mod structure;
pub mod template;
pub(crate) mod timezone;
mod unsent;
mod url_template;
pub mod view;
pub(crate) mod way;

/// Declares the kinds: for each a module with its `KIND`.
macro_rules! kinds {
    ($($visibility:vis $name:ident,)*) => {
        $($visibility mod $name;)*

        /// All kinds of destination.
        pub const KINDS: [&Kind; [$(stringify!($name)),*].len()] = [$(&$name::KIND),*];
    };
}

kinds! {
    http,
    pub slack,
    pub email,
    file,
}

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use smallvec::SmallVec;
use tokio_util::sync::CancellationToken;

pub use self::answer::Answers;
pub use self::client::Client;
pub use self::digest::{Digest, DigestKeys, Group, MISSING, digest_keys, leave_out};
pub(crate) use self::file::is_own as is_own_file;
pub use self::memory::{Memo, Memory, Place, place_of, preview};
pub use self::notice::{Notice, Teller, Told};
pub use self::preview::Preview;
pub use self::unsent::{Misfit, Unsent};
use crate::event::EventId;
use crate::secret::Secret;
use crate::store::{StoredEvent, Why};
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Absent, Info, Of, Section, Words};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::values::Surroundings;

/// A kind of destination, as a config can name it.
pub struct Kind {
    /// Its key in the YAML.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    /// A section, as YAML on one line.
    pub example: &'static str,
    /// The shortest section, as messages show it.
    pub form: &'static str,
    /// Defaults, as YAML on one line.
    pub defaults_example: &'static str,
    /// The keys of its section.
    pub keys: fn() -> Section,
    /// Whether it gets HTTP answers, of which `answers:` can say what they mean.
    pub has_answers: bool,
    /// How much a text that stands in place of a section looks like this kind. Of several the highest is meant; 0 is not at all.
    pub likeness: fn(&str) -> u8,
    /// The keys whose texts are templates.
    pub templates: &'static [TemplateKey],
    /// The keys whose texts are fields of the event.
    pub fields: &'static [&'static str],
    /// The keys whose texts are fields of the event that are taken, left out or hidden, in the order in which that is done.
    pub shapes: &'static [&'static str],
    /// The keys with the fields whose values it writes: a list, or a map of names to them.
    pub columns: &'static [&'static str],
    /// Keys of its section, and below, on whose line a secret may stand whatever their names say.
    pub secret_keys: &'static [&'static str],
    /// Keys of its section whose text is a secret, whatever it is.
    pub always_secret: &'static [&'static str],
    /// Keys that [`Destination::content`] is not made of: their values are sent beside it, or decide where it goes.
    pub not_content: &'static [&'static str],
    /// The parts of what is sent that a test of the config can look at by themselves, each a text ([`Preview::parts`]).
    pub tested_parts: &'static [&'static str],
    /// What it takes of `digest:`; none where its deliveries cannot be one.
    pub digest: Option<DigestKeys>,
    /// Why its deliveries do not go by `order_by`, to stand behind a colon; none where they may.
    pub unordered: Option<&'static str>,
    /// How fast, and for how long, unless the config says otherwise.
    pub defaults: Defaults,
    /// Reads its section, or tells what is wrong with it.
    pub build: fn(&Context<'_>, Entries<'_, '_>) -> Option<Arc<dyn Destination>>,
}

/// A key whose texts are templates.
#[derive(Clone, Copy, Debug)]
pub struct TemplateKey {
    pub key: &'static str,
    /// What its texts become.
    pub language: Language,
    /// The key, true or false, that has a text left out where it is nothing but a path and the event has nothing there.
    pub omitted_by: Option<&'static str>,
}

impl TemplateKey {
    const fn of(key: &'static str, language: Language) -> Self {
        Self { key, language, omitted_by: None }
    }

    const fn omitted_by(self, key: &'static str) -> Self {
        Self { omitted_by: Some(key), ..self }
    }
}

/// What the texts of a template become: each has slips of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Text,
    /// One address of email.
    Address,
    /// The texts of a JSON value.
    Json,
    /// A message in a chat's own markup: <https://docs.slack.dev/messaging/formatting-message-text>.
    Mrkdwn,
    /// Blocks that hold such texts, and are left out where they are empty: <https://docs.slack.dev/block-kit/>.
    Blocks,
    /// A path, which holds places like `{date}` and no templates.
    Path,
}

/// The kind of a name.
pub fn kind_named(name: &str) -> Option<&'static Kind> {
    KINDS.into_iter().find(|kind| kind.name == name)
}

impl Kind {
    /// What is known of a key whose texts are templates.
    pub fn templated(&self, key: &str) -> Option<TemplateKey> {
        self.templates.iter().find(|templated| templated.key == key).copied()
    }

    /// Its key, as a destination has it.
    pub fn key(&self) -> Info {
        let about = Words::Plain(self.about);
        Info {
            name: self.name,
            of: Of::Map(self.keys),
            about,
            absent: Absent::Nothing,
            example: self.example,
            sight: Sight::Names,
            is_never_empty: false,
        }
    }
}

/// A kind's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Attempts in flight at once.
    pub concurrency: usize,
    /// Time between two attempts, for those that must not go faster.
    pub interval: Option<Duration>,
    /// When to give a delivery up, counted from its first attempt.
    pub give_up_after: Duration,
    /// When a delivery that was never attempted is not wanted any more.
    pub stale_after: Option<Duration>,
}

/// The relay that a config is for.
#[derive(Clone, Copy, Debug)]
pub struct OfRelay<'c> {
    /// What it is called.
    pub name: &'c str,
    /// Whether others deliver from the same queue.
    pub is_one_of_several: bool,
}

/// What a kind needs to build a destination.
pub struct Context<'c> {
    /// Tells what is wrong.
    pub reader: &'c Reader,
    pub name: &'c str,
    /// The one HTTP client. Kinds that speak something else have names looked up by it, and trust what it trusts.
    pub client: &'c Client,
    /// Where files are read.
    pub surroundings: &'c dyn Surroundings,
    /// What is written is relative to this.
    pub data_dir: &'c std::path::Path,
    /// The relay that it is for.
    pub relay: OfRelay<'c>,
    /// `answers:`, which stands beside the kind.
    pub answers: Option<&'c Node>,
    /// `digest:`, which stands beside the kind.
    pub digest: Option<&'c Node>,
}

/// An event bound for one destination, as an attempt gets it; or several as one.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event, body and all.
    pub event: Arc<StoredEvent>,
    /// The name of the source it came in by.
    pub source: Arc<str>,
    /// The name of the rule that chose this destination.
    pub rule: Arc<str>,
    /// Where it is several: all of them. Event, source and rule are those of the first.
    pub digest: Option<Arc<Digest>>,
}

impl Delivery {
    /// What it is known by to who gets it: the same on each attempt, and of no other delivery there.
    pub fn id(&self) -> Id<'_> {
        self.digest.as_deref().map_or(Id::Event(self.event.id), |digest| Id::Digest(&digest.id))
    }

    /// When what it tells of had come, unix milliseconds: the same on each attempt.
    pub fn received_ms(&self) -> u64 {
        self.digest.as_deref().map_or(self.event.received_ms, |digest| digest.until_ms)
    }

    /// The first of its events by itself: where it goes, all of them go.
    pub fn first(&self) -> Delivery {
        Delivery { digest: None, ..self.clone() }
    }
}

/// What a delivery is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id<'d> {
    Event(EventId),
    Digest(&'d str),
}

impl std::fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::Event(id) => id.fmt(f),
            Id::Digest(id) => f.write_str(id),
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered,
    /// Of several that one delivery was for, some have it and the others never will.
    DeliveredInPart { reason: Reason },
    /// The other side may accept it later.
    Retry {
        reason: Reason,
        /// No earlier than this, if the other side said so (`Retry-After`).
        after: Option<Duration>,
        /// It said so of everything, not just of this delivery.
        holds_all: bool,
    },
    /// Trying again cannot help this event.
    Reject { reason: Reason },
    /// It was to go out together with others, and what came of them says nothing of it by itself: it is to be tried again soon, and no attempt
    /// is counted.
    Apart {
        reason: Reason,
        /// With no more than so many in one request, itself included, until it is settled.
        at_most: usize,
        /// There was a request with it.
        was_sent: bool,
    },
    /// There was nothing to send: neither delivered nor failed.
    Skipped { reason: Reason },
    /// Nothing can be delivered here until somebody acts: hold the queue, tell the operator.
    Pause { reason: Reason },
}

/// What came of the deliveries of one attempt, in their order: of one, mostly.
pub type Outcomes = SmallVec<[Outcome; 1]>;

impl Outcome {
    /// A retry that the other side says nothing of.
    pub fn retry(reason: impl Into<String>) -> Self {
        Outcome::Retry { reason: Reason::new(reason), after: None, holds_all: false }
    }

    /// No answer came in the time that there is for one.
    pub fn unanswered(timeout: Duration) -> Self {
        Self::retry(format!("no answer within {timeout:?}"))
    }

    /// A reject for a reason of our own: nothing was sent.
    pub fn local(reason: impl Into<String>) -> Self {
        Outcome::Reject { reason: Reason::local(reason) }
    }

    /// There was nothing to send.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Outcome::Skipped { reason: Reason::local(reason) }
    }

    /// A reject by the other side.
    pub fn reject(reason: impl Into<String>) -> Self {
        Outcome::Reject { reason: Reason::new(reason) }
    }

    /// The name it has in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Delivered | Outcome::DeliveredInPart { .. } => "delivered",
            Outcome::Retry { .. } => "retry",
            // All together were rejected.
            Outcome::Reject { .. } | Outcome::Apart { .. } => "reject",
            Outcome::Pause { .. } => "pause",
            Outcome::Skipped { .. } => "skipped",
        }
    }

    /// Why, for all but the first.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Outcome::Delivered => None,
            Outcome::Retry { reason, .. }
            | Outcome::Reject { reason }
            | Outcome::Apart { reason, .. }
            | Outcome::Pause { reason }
            | Outcome::DeliveredInPart { reason }
            | Outcome::Skipped { reason } => Some(reason),
        }
    }

    /// Whether the delivery is done.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Outcome::Delivered | Outcome::DeliveredInPart { .. })
    }
}

/// What happened, in a sentence. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What happened, with what the other side said.
    pub text: String,
    /// The same without a word of the other side, which may echo addresses and credentials: for the log.
    pub brief: String,
    /// Most likely a slip in the config: told loudly the first time.
    pub is_config_slip: bool,
    /// The attempt never reached the other side: it says nothing of the destination.
    pub is_local: bool,
    /// It is about this one delivery: another may go well just now.
    pub is_of_one: bool,
    /// The answer's status, where one came.
    pub status: Option<u16>,
    /// The answer's beginning, secrets masked.
    pub answer: String,
}

/// A reason is kept with every dead letter and every scheduled delivery, so it stays short.
const REASON_BYTES_MAX: usize = 300;

impl Reason {
    /// A reason; long ones are cut.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        Self {
            brief: text.clone(),
            text,
            is_config_slip: false,
            is_local: false,
            is_of_one: false,
            status: None,
            answer: String::new(),
        }
    }

    /// A reason of our own: the attempt never reached the other side.
    pub fn local(text: impl Into<String>) -> Self {
        Self { is_local: true, ..Self::new(text) }
    }

    /// A template failed: what it says may quote values of the event, and those stay out of the log.
    pub fn unrendered(text: impl Into<String>) -> Self {
        let brief = "a template fails with this event: `vero-relay dead-letters` says why".to_owned();
        Self { brief, ..Self::local(text) }
    }
}

impl Reason {
    /// The same said of so many in one request, which are tried again with at most so many.
    pub fn of_several(self, count: usize, at_most: usize) -> Self {
        let next = match at_most {
            1 => "each is tried alone".to_owned(),
            _ => format!("they are tried again, {at_most} at once"),
        };
        let brief = format!("{} for {count} events together, and {next}", self.brief);
        let said = self.text.strip_prefix(&self.brief).unwrap_or_default();
        Reason { text: Reason::new(format!("{brief}{said}")).text, brief, ..self }
    }

    /// As it is kept with the delivery: what the other side said apart from the rest.
    pub fn why(&self) -> Why<'_> {
        let status = self.status;
        if self.is_local {
            return Why { reason: self.text.as_str().into(), status, answer: "".into() };
        }
        let behind = || self.text.strip_prefix(&self.brief)?.strip_prefix(": ");
        match (self.answer.as_str(), behind()) {
            ("", None) => Why { reason: self.text.as_str().into(), status, answer: "".into() },
            ("", Some(said)) => Why { reason: self.brief.as_str().into(), status, answer: said.into() },
            (answer, _) => Why { reason: self.brief.as_str().into(), status, answer: answer.into() },
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// An attempt at so many, for which there is so long.
async fn within(timeout: Duration, count: usize, attempt: BoxFuture<'_, Outcomes>) -> Outcomes {
    let made = tokio::time::timeout(timeout, attempt).await;
    made.unwrap_or_else(|_| Outcomes::from_elem(Outcome::unanswered(timeout), count))
}

/// Makes one attempt after the other, for kinds that send each delivery by itself.
fn one_by_one<'a, F>(
    deliveries: &'a [Delivery],
    attempt: impl Fn(&'a Delivery) -> F + Send + 'a,
) -> BoxFuture<'a, Outcomes>
where
    F: Future<Output = Outcome> + Send + 'a,
{
    async move {
        let mut outcomes = Outcomes::with_capacity(deliveries.len());
        for delivery in deliveries {
            outcomes.push(attempt(delivery).await);
        }
        outcomes
    }
    .boxed()
}

/// How deliveries go out together where one request takes several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// So many at most.
    pub max: usize,
    /// For so long the first waits for others.
    pub every: Duration,
    /// So many bytes of bodies at most; a body that is larger goes alone.
    pub bytes_max: usize,
}

/// Work that a destination has beside its attempts, to be done on a thread that may block. It ends soon once it is told to stop; the error says
/// what could not be done, and is tried again the next time.
pub type Upkeep = Box<dyn FnOnce(&CancellationToken) -> Result<(), String> + Send>;

/// A place to deliver to.
pub trait Destination: Send + Sync {
    /// Makes one attempt at each of some deliveries, at most [`batch_max`](Self::batch_max), and says what each came to, in order.
    /// The future may be dropped at its timeout: what was in flight then may have arrived.
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes>;

    /// The same where one request takes several, for whose answer there is so long: what is made of many of them before takes none of that time,
    /// and what it says of one of them by itself holds whatever the answer is.
    fn attempt_within<'a>(&'a self, deliveries: &'a [Delivery], timeout: Duration) -> BoxFuture<'a, Outcomes> {
        within(timeout, deliveries.len(), self.attempt(deliveries)).boxed()
    }

    /// What an attempt made now would send, to be looked at: a request with its headers, or a path and a line. Sends nothing.
    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent>;

    /// Its content alone, as an attempt makes it: the body of the request, the message, the line.
    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent>;

    /// The way an attempt would send it: method, URL, headers and signing keys, or the path of the file. To be compared with another,
    /// and never shown: passwords are in it. Sends nothing.
    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent>;

    /// Whether it can make one message of several deliveries.
    fn digests(&self) -> bool {
        false
    }

    /// Where a delivery goes, where that depends on its event: only what goes to one address may be one message. To be compared, not shown.
    fn address_of(&self, _: &Delivery) -> Option<String> {
        None
    }

    /// How many deliveries one attempt takes.
    fn batch_max(&self) -> usize {
        1
    }

    /// How deliveries wait for each other, where an attempt is one request with several: [`batch_max`](Self::batch_max) of them then.
    fn batching(&self) -> Option<Batching> {
        None
    }

    /// How far apart its attempts are at least, whatever the config says.
    fn interval_min(&self) -> Option<Duration> {
        None
    }

    /// How its attempts are made where they go by what those before have left behind, one after the other.
    fn memory(&self) -> Option<&dyn Memory> {
        None
    }

    /// By what an operator is told of something here; or why nobody can be, behind "… cannot tell anybody: ".
    fn teller(&self) -> Result<&dyn Teller, &'static str> {
        Err("nobody looks there at once")
    }

    /// What it does now and then beside its attempts; `None` where that is nothing.
    fn upkeep(&self) -> Option<Upkeep> {
        None
    }

    /// The name of the one relay that delivers to it, of several that share a queue; `None`: any of them.
    fn only_on(&self) -> Option<&str> {
        None
    }

    /// Destinations with the same key share one rate limit: Slack counts by webhook, not by who calls it.
    fn rate_limit_key(&self) -> Option<String> {
        None
    }

    /// Where it leads: two that have this in common stand or fall together, by whatever name. To be compared, not shown.
    fn leads_to(&self) -> String {
        self.url().map_or_else(|| self.address(), |(url, _)| url.to_string())
    }

    /// Whether all it can reach is this machine.
    fn is_loopback(&self) -> bool;

    /// Its URL, up to its path at least, and what of its path is the same for every event or begins so. To be compared, not shown.
    fn url(&self) -> Option<(&client::Url, &str)> {
        None
    }

    /// Where it delivers to, fit to be shown: without user, password, path token or query.
    fn address(&self) -> String;

    /// The file it writes to, if it is one; no two may be the same.
    fn file_pattern(&self) -> Option<PathBuf> {
        None
    }
}

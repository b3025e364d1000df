//! `slack:` posts a message to an incoming webhook: Slack's, or any that speaks like it (Mattermost, Discord's `/slack`); or as an app, by its token.
//!
//! # Cast
//!
//! * [`messages`]: what each type of event reads like; [`digests`]: several as one. [`notice`]: what an operator is told. [`texts`]: cut to
//!   what Slack takes; [`blocks`]: the same of blocks. [`answers`]: what Slack's answers mean.
//! * [`app`]: what an app has in place of a webhook. [`threads`]: which of its messages belong together; [`updates`]: those that count;
//!   [`threaded`]: attempts that go by that. [`slips`]: what is taken for a token, a channel or an emoji.
//! * `strict`: a Slack that refuses what Slack documents that it would, for tests.

mod answers;
mod app;
mod blocks;
mod digests;
mod messages;
mod notice;
mod slips;
#[cfg(any(test, feature = "test-support"))]
pub mod strict;
mod texts;
mod threaded;
mod threads;
mod updates;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use serde_json::json;

use self::app::{API, App, CHANNELS, TOKEN};
use self::texts::mended;
pub use self::texts::{cut_outside_entities, fit};
use self::threads::THREAD_BY;
use self::updates::{Counter, UPDATE};
use super::client::{self, ANSWER_BYTES_MAX, Call, Client, Masks, NoAnswer, Url, is_loopback};
use super::digest::{DigestKeys, own_node, template};
use super::structure::{Options, Structure};
use super::template::{Escape, Subject, Template, is_template};
use super::unsent::{advise_of_an_empty_message, advise_of_an_empty_part};
use super::view::View;
use super::{
    Answers, Context, Defaults, Delivery, Destination, Kind, Language, Memory, Outcome, Outcomes, Preview, Teller,
    TemplateKey, Unsent, one_by_one, way,
};
use crate::destination::exposure;
use crate::event::Json;
use crate::secret::Secret;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Absent, Defaulted, Info, Key, Of, Section, Words, boolean, by_hand, form, key, text};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const KIND: Kind = Kind {
    name: "slack",
    about: "A message to an incoming webhook: Slack's, or any that speaks like it (Mattermost, Discord's `/slack`). Or as an app of Slack's, by its `token`, into the `channel` that is named.",
    example: "{ url: \"${SLACK_WEBHOOK_URL}\" }",
    form: "{ url: \"${SLACK_WEBHOOK_URL}\" }",
    defaults_example: "{ rate: 30/m }",
    keys,
    has_answers: true,
    likeness: |text| if text.contains("hooks.slack.com") { 3 } else { 0 },
    templates: &[
        TemplateKey::of(TEXT.info.name, Language::Mrkdwn),
        TemplateKey::of(BLOCKS.info.name, Language::Blocks),
        TemplateKey::of(CHANNEL, Language::Text),
    ],
    fields: &[THREAD_BY.info.name],
    shapes: &[],
    columns: &[],
    secret_keys: &["url", "token", "proxy"],
    always_secret: &[URL.info.name, TOKEN.info.name],
    not_content: &[URL.info.name, TOKEN.info.name, API.info.name],
    tested_parts: &[],
    digest: Some(DigestKeys {
        keys: || Section::of(&[DIGEST_TEXT.info, DIGEST_BLOCKS.info]),
        templates: &[
            template(DIGEST_TEXT.info.name, Language::Mrkdwn),
            template(DIGEST_BLOCKS.info.name, Language::Blocks),
        ],
    }),
    unordered: Some("people read its messages by their times, and none undoes an earlier one"),
    // Slack allows one message a second for each webhook: https://docs.slack.dev/apis/web-api/rate-limits
    defaults: Defaults {
        concurrency: 1,
        interval: Some(Duration::from_secs(1)),
        give_up_after: Duration::from_secs(24 * 60 * 60),
        // A channel that gets yesterday's thousand messages is read by nobody.
        stale_after: Some(Duration::from_secs(6 * 60 * 60)),
    },
    build: |context, entries| build(context, entries).map(|slack| Arc::new(slack) as Arc<dyn Destination>),
};

const URL: Key<String> = key("url", form(client::URL_FORM, "URL"))
    .seen(Sight::Url)
    .about("The incoming webhook. It is a password: whoever has it can post.")
    .example("\"${SLACK_WEBHOOK_URL}\"")
    .required_or_default();
const TEXT: Key<String> = key("text", text())
    .seen(Sight::Prose)
    .about("The message, as a template; values are escaped and, if they must be, cut to Slack's 4000 characters.")
    .example("\":rotating_light: *{{ type }}* {{ user.email }}\"")
    .otherwise("a good message for each event type; none with `blocks`");
const BLOCKS: Key<()> = key("blocks", by_hand(Of::Own("list", || json!({ "type": "array" }))))
    .seen(Sight::Prose).about("[Slack's blocks](https://docs.slack.dev/block-kit/), their texts being templates. What comes out empty is left out, and texts are cut to the limit of their place.")
    .example("[{ type: section, text: { type: mrkdwn, text: \"*{{ campaign.name }}*\" } }]");
const DIGEST_TEXT: Key<String> = key("text", text())
    .seen(Sight::Prose)
    .about("What several events read like as one, as a template over `digest`: `digest.count`, `.since`, `.until`, `.groups` (each with `name`, `count`, `since`, `until` and `parts`), `.events` (the examples), `.left_out` and `.page`; where there is one group, its values stand where the events have them. Slack and email; for http, the body.")
    .example("\"{{ digest.count }} events: {% for group in digest.groups %}{{ group.count }} × {{ group.name }} {% endfor %}\"")
    .otherwise("a good message");
const DIGEST_BLOCKS: Key<()> = key("blocks", by_hand(Of::Own("list", || json!({ "type": "array" }))))
    .seen(Sight::Prose)
    .about("The same as Slack's blocks.")
    .example(
        "[{ type: section, text: { type: mrkdwn, text: \"*{{ digest.count }} events* since {{ digest.since }}\" } }]",
    );
/// The key of what both an app and some webhooks can choose.
const CHANNEL: &str = "channel";
/// The first message of the thread that a message goes into.
const THREAD: &str = "thread_ts";
/// What other servers than Slack, and Slack's old webhooks, let a message choose: <https://docs.slack.dev/legacy/legacy-custom-integrations/legacy-custom-integrations-incoming-webhooks>,
/// <https://developers.mattermost.com/integrate/webhooks/incoming/>.
const EXTRAS: [Key<String>; 4] = [
    key(CHANNEL, text())
        .seen(Sight::Prose).about("The channel. With a `token` it must be there, a name or an id, and may be a template that comes to one of `channels`. With a `url` it is for servers that let a message choose it: Mattermost and Slack's old webhooks do, and the webhooks of Slack's apps ignore it.")
        .example("\"#alerts\"")
        .otherwise("the webhook's"),
    key("username", text())
        .seen(Sight::Prose).about("The name that the message comes from, where the server lets a message choose it.")
        .example("Vero")
        .otherwise("the webhook's"),
    key(slips::EMOJI, text())
        .seen(Sight::Prose).about("The icon of the message, an emoji between its colons, where the server lets a message choose it.")
        .example("\":email:\"")
        .otherwise("the webhook's"),
    key(slips::PICTURE, text())
        .seen(Sight::Url).about("The same, a picture. `icon_emoji` comes before it.")
        .example("\"https://example.com/icon.png\"")
        .otherwise("the webhook's"),
];
const UNFURL_LINKS: Defaulted<bool> =
    key("unfurl_links", boolean()).about("Whether Slack shows previews of links.").example("true").default(false);

fn keys() -> Section {
    let url = Info { absent: Absent::Told(Words::Plain("one of `url` and `token`")), ..URL.info };
    let token = json!({ TOKEN.info.name: { "not": { "type": "null" } } });
    let one_of =
        json!({ "anyOf": [{ "required": [URL.info.name] }, { "required": [TOKEN.info.name], "properties": token }] });
    Section::of(&[url, TOKEN.info, TEXT.info, BLOCKS.info])
        .and(&EXTRAS.map(|key| key.info))
        .and(&[CHANNELS.info, THREAD_BY.info, UPDATE.info, API.info, UNFURL_LINKS.info])
        .and(&way::KEYS)
        .never(URL.info.name, TOKEN.info.name)
        .besides_alone(one_of)
        .besides_alone(json!({ "dependentRequired": { TOKEN.info.name: [CHANNEL] } }))
        .besides_alone(
            json!({ "dependentRequired": { CHANNELS.info.name: [TOKEN.info.name], API.info.name: [TOKEN.info.name], THREAD_BY.info.name: [TOKEN.info.name] } }),
        )
}

/// The most characters of a message's text: <https://docs.slack.dev/reference/methods/chat.postMessage#truncating>.
const TEXT_MAX: usize = 4000;

struct Slack {
    client: Client,
    url: Url,
    headers: HeaderMap,
    masks: Masks,
    content_masks: Masks,
    form: Form,
    /// What several deliveries look like as one.
    digest: Form,
    unfurls: bool,
    /// Keys of the message that are the same for every event.
    extras: Vec<(&'static str, String)>,
    /// Where messages go by name, and not by the URL.
    app: Option<App>,
    answers: Answers,
    has_told: AtomicBool,
}

/// What a message is made of.
struct Form {
    message: Message,
    blocks: Option<Structure>,
}

enum Message {
    /// One for each type of event: see [`messages`]; of a digest: see [`digests`].
    Usual,
    Own(Template),
    None,
}

fn build(context: &Context<'_>, mut entries: Entries<'_, '_>) -> Option<Slack> {
    let reader = context.reader;
    let mut extra_nodes: Vec<_> =
        EXTRAS.iter().filter_map(|key| Some((key.info.name, entries.node(&key.info)?))).collect();
    let channel = extra_nodes.iter().find(|(name, _)| *name == CHANNEL).map(|(_, node)| *node);
    let read = app::read(reader, &mut entries, channel, context.digest);
    let is_app = read.is_some();
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
    let content_type = if is_app { "application/json; charset=utf-8" } else { "application/json" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let app = read.map(|read| {
        let app::Read { app, url, authorization } = read?;
        headers.insert(AUTHORIZATION, authorization);
        Some((app, url))
    });
    if is_app {
        extra_nodes.retain(|(name, _)| *name != CHANNEL);
    }
    let webhook = if is_app { None } else { entries.node(&URL.info) };
    let webhook = webhook.and_then(|node| {
        let text = reader.text(node)?;
        if is_template(text) {
            let message = "a Slack URL is the same for every event: templates go into `text` and `blocks`";
            reader.url_error(node, message);
            return None;
        }
        if !slips::is_no_token(reader, node, text) {
            return None;
        }
        let url = client::parse_url(text).map_err(|message| reader.url_error(node, message)).ok()?;
        reader.note_secret(node);
        exposure::advise_of_plain_http(reader, node.id, &url);
        slips::may_be_webhook(reader, node, &url).then_some(url)
    });
    let [emoji, picture] = [slips::EMOJI, slips::PICTURE].map(|key| extra_nodes.iter().find(|(name, _)| *name == key));
    slips::advise_of_two_icons(reader, emoji.map(|(_, node)| *node), picture.map(|(_, node)| *node));
    let form = read_form(reader, [entries.node(&TEXT.info), entries.node(&BLOCKS.info)], Subject::Event);
    let digest = own_node(context, &KIND);
    let part = |key: &str| digest.and_then(|digest| digest.get(key)).filter(|node| !node.is_null());
    let digest = read_form(reader, [part(DIGEST_TEXT.info.name), part(DIGEST_BLOCKS.info.name)], Subject::Digest);
    let extra = |key: &'static str, node: &Node| Some((key, read_extra(reader, key, node)?));
    let extras = extra_nodes.into_iter().filter_map(|(key, node)| extra(key, node)).collect();
    let unfurls = entries.value(&UNFURL_LINKS);
    let answers = Answers::read(reader, context.answers);
    let client = way::read(context, &mut entries);
    entries.finish();
    let (app, url) = match app {
        Some(app) => app.map(|(app, url)| (Some(app), url))?,
        None => (None, webhook?),
    };
    let is_secret = app.is_none() && hides_path(&url);
    Some(Slack {
        masks: Masks::new(&headers, &url)
            .with(if is_secret { url.path().split('/').map(str::to_owned).collect() } else { Vec::new() })
            .with(reader.taken())
            .with(client.as_ref().map(Client::secrets).unwrap_or_default()),
        client: client?,
        content_masks: Masks::of_content(&headers, &url).with(reader.taken()),
        url,
        headers,
        form: form?,
        digest: digest?,
        unfurls,
        extras,
        app,
        answers,
        has_told: AtomicBool::new(false),
    })
}

/// Reads the `text` and the `blocks` of a message.
fn read_form(reader: &Reader, [text, blocks]: [Option<&Node>; 2], subject: Subject) -> Option<Form> {
    if let (Some(node), None, Subject::Digest) = (blocks, text, subject) {
        advise_of_an_empty_part(reader, BLOCKS.info.name, node);
    }
    let compiled_blocks = blocks.map(|node| {
        if !matches!(node.value, crate::yaml::raw::Value::List(_)) {
            let help = "each block begins with `-`: - { type: section, text: { type: mrkdwn, text: \"{{ type }}\" } }";
            reader.error_with(node.id, "`blocks` is a list of Slack's blocks", help.to_owned());
            return None;
        }
        let url_keys = &blocks::URL_KEYS;
        let options = Options { escape: Escape::Slack, url_keys, keeps_types: false, omits_missing: false, subject };
        Structure::compile(reader, node, options)
    });
    let message = match text {
        Some(node) => {
            let help = "leave `text` out: each type of event has a message of its own";
            match subject {
                Subject::Event => advise_of_an_empty_message(reader, &[node], help),
                // Beside blocks nothing else is sent in its place.
                Subject::Digest | Subject::Notice if blocks.is_some() => {}
                Subject::Digest | Subject::Notice => advise_of_an_empty_part(reader, TEXT.info.name, node),
            }
            let compiled = reader.text(node).map(|text| Template::compile_for(text, Escape::Slack, subject));
            compiled.and_then(|compiled| compiled.map_err(|fault| reader.fault(node.id, fault)).ok()).map(Message::Own)
        }
        None if blocks.is_some() => Some(Message::None),
        None => Some(Message::Usual),
    };
    let blocks = match compiled_blocks {
        Some(compiled) => Some(compiled?),
        None => None,
    };
    Some(Form { message: message?, blocks })
}

/// None of the extras is longer anywhere.
const EXTRA_CHARACTERS_MAX: usize = 500;

fn extra_example(key: &str) -> &'static str {
    match key {
        "channel" => "#alerts",
        "username" => "Vero",
        slips::EMOJI => ":mailbox:",
        _ => "https://www.example.com/icon.png",
    }
}

fn read_extra(reader: &Reader, key: &str, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    if is_template(text) {
        let message = format!("`{key}` is the same for every event: templates go into `text` and `blocks`");
        reader.error_with(node.id, message, format!("write one text, like {key}: \"{}\"", extra_example(key)));
        return None;
    }
    if text.trim().is_empty() || text.chars().count() > EXTRA_CHARACTERS_MAX {
        let message = format!("`{key}` is a text of 1 to {EXTRA_CHARACTERS_MAX} characters");
        let help = format!("write it like {key}: \"{}\", or take it out", extra_example(key));
        reader.error_with(node.id, message, help);
        return None;
    }
    if key == slips::EMOJI {
        slips::advise_of_emoji(reader, node, text);
    }
    Some(text.to_owned())
}

impl Slack {
    async fn attempt_one(&self, delivery: &Delivery) -> Outcome {
        match self.call(delivery) {
            Ok(call) => self.post(call).await,
            Err(unsent) => unsent.into(),
        }
    }

    async fn post(&self, call: Call) -> Outcome {
        match self.client.call(call).await {
            Ok(answer) => self.outcome(&answer),
            Err(error) => self.unanswered(&error),
        }
    }

    /// No answer came. A part of the host may have come from a variable, in small letters now.
    fn unanswered(&self, error: &NoAnswer) -> Outcome {
        Outcome::retry(self.masks.apply_to_name(error.to_string()))
    }

    /// The exact request of an attempt.
    fn call(&self, delivery: &Delivery) -> Result<Call, Unsent> {
        Ok(self.call_with(self.body(delivery, None)?))
    }

    fn call_with(&self, body: Vec<u8>) -> Call {
        let url = self.url.clone();
        let headers = self.headers.clone();
        let answer_bytes_max = if self.app.is_some() { app::ANSWER_BYTES_MAX } else { ANSWER_BYTES_MAX };
        Call { method: Method::POST, url, headers, body: body.into(), answer_bytes_max }
    }

    /// The message, and the thread that it goes into.
    fn body(&self, delivery: &Delivery, thread: Option<&str>) -> Result<Vec<u8>, Unsent> {
        self.made_body(delivery, thread).map_err(|unsent| unsent.masked(&self.content_masks))
    }

    fn made_body(&self, delivery: &Delivery, thread: Option<&str>) -> Result<Vec<u8>, Unsent> {
        let (text, blocks) = self.message(delivery)?;
        let channel = self.app.as_ref().map(|app| app.channel(delivery)).transpose()?;
        self.written([(CHANNEL, channel.as_deref()), (THREAD, thread)], text, blocks)
    }

    /// What a delivery is told as: a text, blocks, or both.
    fn message(&self, delivery: &Delivery) -> Result<(Option<String>, Option<Json>), Unsent> {
        let view = View::new(delivery);
        let form = if delivery.digest.is_some() { &self.digest } else { &self.form };
        let text = match (&form.message, &delivery.digest) {
            (Message::Own(template), None) => Some(fit(template, &view, TEXT_MAX)?),
            (Message::Own(template), Some(_)) => Some(digests::fit_lines(template, &view)?),
            (Message::Usual, None) => Some(messages::message(&view, crate::time::wall_ms())?),
            (Message::Usual, Some(digest)) => Some(digests::message(digest, crate::time::wall_ms())?),
            (Message::None, _) => None,
        };
        let text = text.map(mended).filter(|text| !text.trim().is_empty());
        let blocks = match &form.blocks {
            Some(blocks) => {
                blocks::tidy(blocks.render(&view, &mut |template, place| fit_place(template, &view, &kinds_of(place)))?)
            }
            None => None,
        };
        match &delivery.digest {
            _ if text.is_some() || blocks.is_some() => Ok((text, blocks)),
            // For one event it is said by an `if` that there is no message; nobody says so of thousands.
            Some(digest) => Ok((Some(digests::message(digest, crate::time::wall_ms())?), None)),
            None => Err(Unsent::Skipped("the message is empty".to_owned())),
        }
    }

    /// The request that has a message say something else.
    fn edit(&self, counter: &Counter, told: &Delivery) -> Result<Call, Unsent> {
        let (text, blocks) = self.message(told).map_err(|unsent| unsent.masked(&self.content_masks))?;
        let place = [(CHANNEL, counter.channel.clone()), ("ts", counter.ts.clone())];
        let place = place.map(|(key, text)| (key.to_owned(), Json::String(text)));
        let text = ("text".to_owned(), Json::String(text.unwrap_or_default()));
        // Those that it has would stay where nothing is said of them.
        let blocks = ("blocks".to_owned(), blocks.unwrap_or(Json::Array(Vec::new())));
        let body = written(place.into_iter().chain([text, blocks]).collect())?;
        let mut call = self.call_with(body);
        if let Ok(mut steps) = call.url.path_segments_mut() {
            steps.pop().push(app::UPDATE_METHOD);
        }
        Ok(call)
    }

    /// A message, with what is the same in all of them.
    fn written(
        &self,
        place: [(&str, Option<&str>); 2],
        text: Option<String>,
        blocks: Option<Json>,
    ) -> Result<Vec<u8>, Unsent> {
        let mut message = Vec::new();
        message
            .extend(place.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Json::String(text?.to_owned())))));
        message.extend(text.map(|text| ("text".to_owned(), Json::String(text))));
        message.extend(blocks.map(|blocks| ("blocks".to_owned(), blocks)));
        message.extend(self.extras.iter().map(|(key, text)| ((*key).to_owned(), Json::String(text.clone()))));
        message.push(("unfurl_links".to_owned(), Json::Bool(self.unfurls)));
        written(message)
    }
}

fn written(message: Vec<(String, Json)>) -> Result<Vec<u8>, Unsent> {
    let written = serde_json::to_vec(&Json::Object(message));
    written.map_err(|error| Unsent::failed(format!("the message could not be written: {error}")))
}

/// The kinds of the maps that a template stands in, and the keys there.
fn kinds_of<'s>(place: &[(&'s Structure, &'s str)]) -> Vec<(&'s str, &'s str)> {
    let mut kinds: Vec<(&str, &str)> = Vec::with_capacity(place.len());
    for (structure, key) in place {
        let held_by = kinds.last().map(|(_, key)| *key);
        kinds.push((blocks::kind_of(structure.literal("type"), held_by), key));
    }
    kinds
}

/// Renders a text of a block within the limit of its place. A URL is never cut: half of it leads somewhere else.
fn fit_place(template: &Template, view: &View, place: &blocks::Place<'_>) -> Result<String, String> {
    let is_url = place.last().is_some_and(|(_, key)| blocks::URL_KEYS.contains(key));
    if is_url { template.render(view, None) } else { fit(template, view, blocks::limit(place)).map(mended) }
}

impl Destination for Slack {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        one_by_one(deliveries, |delivery| self.attempt_one(delivery))
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        let call = self.call(&self.begun_with(delivery))?;
        Ok(Preview::request(&call, self.shown(&call.url), self.content_masks.clone()))
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        self.body(&self.begun_with(delivery), None)
    }

    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent> {
        let app = match &self.app {
            Some(app) => format!("{}\n{}\n", app.channel(delivery)?, self.token()),
            None => String::new(),
        };
        Ok(Secret::from(format!("{}\n{app}{}", self.url, self.client.way_text())))
    }

    fn teller(&self) -> Result<&dyn Teller, &'static str> {
        match &self.app {
            Some(app) if app.fixed().is_err() => Err("its channel is made of an event"),
            _ => Ok(self),
        }
    }

    fn address_of(&self, delivery: &Delivery) -> Option<String> {
        let app = self.app.as_ref().filter(|app| app.fixed().is_err())?;
        // What has no channel makes a dead letter, whatever it is put together with.
        Some(app.channel(delivery).unwrap_or_default())
    }

    fn interval_min(&self) -> Option<Duration> {
        self.app.as_ref().filter(|app| app.updates()).map(|_| app::EDITS_APART)
    }

    fn memory(&self) -> Option<&dyn Memory> {
        self.threads().map(|_| self as &dyn Memory)
    }

    fn digests(&self) -> bool {
        true
    }

    fn rate_limit_key(&self) -> Option<String> {
        let Some(app) = &self.app else { return Some(self.url.to_string()) };
        // Slack counts messages by channel; of one that an event chooses nothing is known before.
        // Edits are counted by app, whatever the channel: https://docs.slack.dev/apis/web-api/rate-limits#overview.
        let counted_by = if app.updates() { app::UPDATE_METHOD } else { app.fixed().unwrap_or_default() };
        Some(format!("{} {} {counted_by}", self.url, self.token()))
    }

    fn leads_to(&self) -> String {
        let Some(app) = &self.app else { return self.url.to_string() };
        format!("{} {} {}", self.url, self.token(), app.shown())
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    fn url(&self) -> Option<(&Url, &str)> {
        Some((&self.url, self.url.path()))
    }

    fn address(&self) -> String {
        match &self.app {
            Some(app) => format!("{} ({})", client::shown(&self.url), app.shown()),
            None => shown(&self.url),
        }
    }
}

impl Slack {
    /// Its URL, fit to be shown: an app's says nothing that is secret.
    fn shown(&self, url: &Url) -> String {
        if self.app.is_some() { client::shown(url) } else { shown(url) }
    }

    /// What an app proves itself by; to be compared, and never shown.
    fn token(&self) -> &str {
        self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A webhook's path is a password, also on this machine; a bin of the relay's own has none.
fn hides_path(url: &Url) -> bool {
    url.path().len() > 1 && !(is_loopback(url) && url.path().starts_with("/bin/"))
}

fn shown(url: &Url) -> String {
    if hides_path(url) { client::without_path(url) } else { client::shown_with_query(url) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::digest::tests::bounces;
    use super::super::sample::built;
    use super::super::template::tests::delivery;
    use super::*;

    pub(super) fn slack(message: Message) -> Slack {
        Slack {
            client: Client::direct(),
            url: client::parse_url("http://127.0.0.1:1/x").expect("a URL"),
            headers: HeaderMap::new(),
            masks: Masks::default(),
            content_masks: Masks::default(),
            form: Form { message, blocks: None },
            digest: Form { message: Message::Usual, blocks: None },
            unfurls: false,
            extras: Vec::new(),
            app: None,
            answers: Answers::default(),
            has_told: AtomicBool::new(false),
        }
    }

    fn text(slack: &Slack, body: &str) -> String {
        let body = slack.body(&delivery(body), None).expect("renders");
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        json["text"].as_str().expect("text").to_owned()
    }

    #[test]
    fn a_long_value_is_cut_before_it_is_escaped_and_the_template_stays() {
        let template = Template::compile("a {{ x }} z", Escape::Slack).expect("compiles");
        let slack = slack(Message::Own(template));
        for long in ["&".repeat(9000), "ä".repeat(9000), "x".repeat(1_000_000), "😀<".repeat(4000)] {
            let text = text(&slack, &format!(r#"{{"type":"t","x":"{long}"}}"#));
            assert!(text.chars().count() <= TEXT_MAX);
            assert!(text.starts_with("a ") && text.ends_with(" z"), "the template's own text is whole");
            let entities = text.matches('&').count();
            assert_eq!(entities, text.matches("&amp;").count() + text.matches("&lt;").count(), "no half entity");
        }
    }

    #[test]
    fn a_text_at_its_limit_is_whole_and_one_beyond_is_cut() {
        let of = |length: usize| {
            let slack = slack(Message::Own(Template::compile(&"x".repeat(length), Escape::Slack).expect("compiles")));
            text(&slack, r#"{"type":"t"}"#).chars().count()
        };
        assert_eq!((of(TEXT_MAX), of(TEXT_MAX + 1)), (TEXT_MAX, TEXT_MAX));
    }

    #[test]
    fn an_empty_message_is_skipped_and_not_a_request() {
        let slack = slack(Message::Own(Template::compile("{{ nothing }}", Escape::Slack).expect("compiles")));
        let unsent = slack.body(&delivery(r#"{"type":"t"}"#), None).expect_err("nothing to send");
        assert_eq!(unsent, Unsent::Skipped("the message is empty".to_owned()));
    }

    #[test]
    fn a_digest_that_its_own_text_makes_nothing_of_is_told_in_the_usual_words() {
        let own =
            |digest| built("slack", "{ url: \"http://127.0.0.1:1/x\" }", digest, &Client::direct()).expect("builds");
        let shown = |digest| own(digest).preview(&bounces(1997, 12)).expect("a message").shown_content();
        let usual = shown("{ every: 15m }");
        assert!(usual.contains("1997 × bounced"), "{usual}");
        for nothing in [
            "{ text: \"{{ digest.groups.name }}\" }",
            "{ text: \"{% if digest.count > 9999 %}many{% endif %}\" }",
            "{ blocks: [{ type: section, text: { type: mrkdwn, text: \"{{ digest.groups.name }}\" } }] }",
        ] {
            assert_eq!(shown(nothing), usual, "{nothing}");
        }
        assert!(!shown("{ text: \"{{ digest.count }}\" }").contains("bounced"));
    }
}

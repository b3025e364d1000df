//! Slack as an app: messages by `chat.postMessage`, into a channel that the config names, or that an event chooses among those it names:
//! <https://docs.slack.dev/reference/methods/chat.postMessage>.
//!
//! Whatever is wrong, Slack says under the status 200, so what the body says is all that counts.

use std::time::Duration;

use http::header::HeaderValue;

use super::super::template::{Escape, Template, is_template};
use super::super::view::View;
use super::super::{Delivery, Misfit, Unsent, client};
use super::slips;
use super::threads::{self, THREAD_BY, Threads};
use super::updates::UPDATE;
use super::{URL, Url, exposure, is_loopback};
use crate::secret::Secret;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Absent, Info, Key, Of, by_hand, form, key, secret};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub const TOKEN: Key<Secret> = key("token", secret())
    .about("The token of a bot, in place of `url`: posts as an app, by [chat.postMessage](https://docs.slack.dev/reference/methods/chat.postMessage), into any channel that it is in. It needs the scope `chat:write`, and `chat:write.customize` for `username` and the icons.")
    .example("\"${SLACK_BOT_TOKEN}\"");
pub const CHANNELS: Key<()> = key("channels", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("With a `channel` that is a template: what it may come to. An event that chooses another is a dead letter.")
    .example("[\"#email\", \"#shop\"]");
pub const API: Key<String> = key("api", form(client::URL_FORM, "URL"))
    .seen(Sight::Url)
    .about("Where Slack's API is, for an app.")
    .example("\"https://slack-gov.com/api/\"")
    .otherwise("`https://slack.com/api/`");
/// What stands beside a token alone.
const KEYS: [Info; 4] = [CHANNELS.info, API.info, THREAD_BY.info, UPDATE.info];

/// The webhook that must not be there.
const NO_URL: Info = Info { absent: Absent::Nothing, ..URL.info };

const API_DEFAULT: &str = "https://slack.com/api/";
const METHOD: &str = "chat.postMessage";
/// The method beside it that edits: <https://docs.slack.dev/reference/methods/chat.update>.
pub const UPDATE_METHOD: &str = "chat.update";
/// 50 edits a minute are allowed, whatever the channel: <https://docs.slack.dev/apis/web-api/rate-limits#overview>, tier 3.
pub const EDITS_APART: Duration = Duration::from_millis(1200);
/// A channel has a name of at most 80 characters, or an id: <https://docs.slack.dev/reference/methods/conversations.create#naming>.
const CHANNEL_CHARACTERS_MAX: usize = 81;
/// More channels than anybody lists; each is compared with.
const CHANNELS_MAX: usize = 100;
/// Slack repeats the message in its answer, with six bytes for each sign beyond ASCII, and its blocks: 50 of at most 3000 characters are the most. Of
/// an answer that is not read to its end nobody knows whether it says yes.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Where Slack says that it is too much, and not for how long: <https://docs.slack.dev/apis/web-api/rate-limits#handling> asks to wait, 30 s in its example.
pub const RATE_LIMITED_FOR: Duration = Duration::from_secs(30);

/// Slack's words about a channel: of one that an event has chosen they say nothing of the others.
const OF_A_CHANNEL: [&str; 8] = [
    "channel_not_found",
    "not_in_channel",
    "is_archived",
    "channel_is_archived",
    "restricted_action",
    "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel",
    "restricted_action_non_threadable_channel",
];

/// What to do about what Slack says.
const HELPS: [(&str, &str); 11] = [
    ("not_in_channel", "invite the app into the channel: /invite @its-name"),
    ("channel_not_found", "is the name right? Into a private channel the app must be invited"),
    ("is_archived", "the channel is archived: name another"),
    ("channel_is_archived", "the channel is archived: name another"),
    (
        "missing_scope",
        "give the app the scope chat:write, and chat:write.customize for username and icons; then install it again",
    ),
    ("invalid_auth", "`token` is none of Slack's: it is the bot token of the app, and begins with xoxb-"),
    ("not_authed", "`token` is none of Slack's: it is the bot token of the app, and begins with xoxb-"),
    ("token_revoked", "the app was removed: install it again, and take its new token"),
    ("token_expired", "take a token that does not end: token rotation is off"),
    ("account_inactive", "the app was removed: install it again, and take its new token"),
    ("not_allowed_token_type", "`token` is the bot token of the app, and begins with xoxb-"),
];

/// Posts into channels.
pub struct App {
    channel: Channel,
    threads: Option<Threads>,
    /// One message counts what belongs together.
    updates: bool,
}

enum Channel {
    Fixed(String),
    Chosen { template: Template, among: Vec<String> },
}

/// What its section says: the app, where to, and by which proof.
pub struct Read {
    pub app: App,
    pub url: Url,
    pub authorization: HeaderValue,
}

/// What says which messages belong together.
struct Groups<'n> {
    thread_by: Option<&'n Node>,
    update: Option<&'n Node>,
    digest: Option<&'n Node>,
}

/// Reads what an app has in place of a webhook. `None` within: it is wrong, and that has been told; without a token there is none.
pub fn read(
    reader: &Reader,
    entries: &mut Entries<'_, '_>,
    channel: Option<&Node>,
    digest: Option<&Node>,
) -> Option<Option<Read>> {
    let nothing = entries.nothing(&TOKEN.info);
    let token_node = entries.node(&TOKEN.info);
    let [channels, api, thread_by, update] = KEYS.map(|key| entries.node(&key));
    if let (Some(at), false) = (nothing, entries.has(&URL.info)) {
        entries.node(&NO_URL);
        let help = format!("write token: {}, or the `url` of a webhook in its place", TOKEN.info.example);
        reader.error_with(at, "there is nothing behind `token`", help);
        return Some(None);
    }
    let Some(token_node) = token_node else {
        let update = update.filter(|node| UPDATE.read(reader, node) != Some(false));
        let given =
            [channels, api, thread_by, update].into_iter().zip(KEYS).filter_map(|(node, key)| Some((node?, key)));
        for (node, key) in given {
            let help = match [THREAD_BY.info.name, UPDATE.info.name].contains(&key.name) {
                true => {
                    "a webhook does not say what it has posted, so nothing goes below it or takes its place: write `token` in place of `url`"
                }
                false => "a webhook has one channel: take it out, or write `token` in place of `url`",
            };
            reader.error_with(
                node.id,
                format!("`{}` belongs to `token`, and there is none", key.name),
                help.to_owned(),
            );
        }
        return None;
    };
    let groups = Groups { thread_by, update, digest };
    Some(read_app(reader, entries, token_node, [channel, channels, api], groups))
}

fn read_app(
    reader: &Reader,
    entries: &mut Entries<'_, '_>,
    token_node: &Node,
    [channel, channels, api]: [Option<&Node>; 3],
    groups: Groups<'_>,
) -> Option<Read> {
    let token = reader.credential(token_node);
    let token = token.filter(|token| slips::may_be_token(reader, token_node, token.expose()));
    let url_node = entries.node(&NO_URL);
    if url_node.is_some() {
        let help = "take one of them out: the one posts into a channel of its own, the other into any".to_owned();
        reader.secret_error_with(token_node.id, "it is either `url` or `token`, not both", help);
    }
    let channel = match channel {
        Some(node) => read_channel(reader, node, channels),
        None => {
            let help = "write where to, like channel: \"#email\"".to_owned();
            reader.secret_error_with(token_node.id, "a `token` needs a `channel`", help);
            None
        }
    };
    let url = api_url(reader, api);
    let groups = read_groups(reader, groups);
    if url_node.is_some() {
        return None;
    }
    let authorization = token.and_then(|token| authorization(reader, token_node, &token));
    let (threads, updates) = groups?;
    Some(Read { app: App { channel: channel?, threads, updates }, url: url?, authorization: authorization? })
}

/// Which messages belong together, and whether one counts them all.
fn read_groups(reader: &Reader, Groups { thread_by, update, digest }: Groups<'_>) -> Option<(Option<Threads>, bool)> {
    let updates = update.and_then(|node| UPDATE.read(reader, node)).unwrap_or(UPDATE.default);
    let threads = match thread_by.map(|node| threads::read(reader, node)) {
        Some(read) => Some(read?),
        None if !updates => None,
        None => match digest {
            Some(digest) => Some(threads::of_digest(digest)?),
            None => {
                let help = "write thread_by: [campaign.id] beside it, or a `digest` beside the kind".to_owned();
                let at = update.map(|node| node.id)?;
                reader.error_with(at, "one message counts what belongs together, and nothing says what does", help);
                return None;
            }
        },
    };
    Some((threads, updates))
}

fn api_url(reader: &Reader, node: Option<&Node>) -> Option<Url> {
    let text = node.map_or(Some(API_DEFAULT), |node| reader.text(node))?;
    let parsed = client::parse_url(text);
    let method = |api: &Url| client::parse_url(&format!("{}/{METHOD}", api.as_str().trim_end_matches('/'))).ok();
    let Some(node) = node else { return method(&parsed.ok()?) };
    let api = parsed.map_err(|message| reader.url_error(node, message)).ok()?;
    if !slips::may_be_api(reader, node, &api) {
        return None;
    }
    let url = method(&api)?;
    if url.scheme() != "https" && !is_loopback(&url) {
        let help = format!("write {API_DEFAULT}, or its https address");
        reader.error_with(node.id, "the token would go there in the clear", help);
        return None;
    }
    exposure::advise_of_plain_http(reader, node.id, &url);
    Some(url)
}

fn read_channel(reader: &Reader, node: &Node, channels: Option<&Node>) -> Option<Channel> {
    let text = reader.text(node)?;
    let among = channels.map(|channels| (channels, reader.list(channels)));
    if is_template(text) {
        let Some((at, items)) = among else {
            let help = "list what it may come to: channels: [\"#email\", \"#shop\"]".to_owned();
            reader.error_with(node.id, "a `channel` that is a template needs `channels`", help);
            return None;
        };
        if items.is_empty() || items.len() > CHANNELS_MAX {
            let help = "write channels: [\"#email\", \"#shop\"]".to_owned();
            reader.error_with(at.id, format!("`channels` are 1 to {CHANNELS_MAX}"), help);
            return None;
        }
        let read: Vec<_> = items.iter().map(|item| fixed(reader, item)).collect();
        let template = Template::compile(text, Escape::None).map_err(|fault| reader.fault(node.id, fault)).ok();
        return Some(Channel::Chosen { template: template?, among: read.into_iter().collect::<Option<_>>()? });
    }
    if let Some((at, _)) = among {
        let help = "take `channels` out, or let an event choose: channel: \"#{{ campaign.type }}\"".to_owned();
        reader.error_with(at.id, "`channels` are for a `channel` that is a template", help);
        return None;
    }
    fixed(reader, node).map(Channel::Fixed)
}

/// A channel as it is written.
fn fixed(reader: &Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?.trim();
    let is_channel = !text.is_empty()
        && text.chars().count() <= CHANNEL_CHARACTERS_MAX
        && !text.contains(char::is_whitespace)
        && !is_template(text);
    if !is_channel {
        let help = "write its name, like \"#email\", or its id".to_owned();
        reader.error_with(node.id, format!("`{text}` is not a channel of Slack's"), help);
        return None;
    }
    slips::may_be_channel(reader, node, text).then(|| text.to_owned())
}

/// How the app proves itself.
fn authorization(reader: &Reader, node: &Node, token: &Secret) -> Option<HeaderValue> {
    let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) else {
        let help = "take line breaks and control characters out of it".to_owned();
        reader.secret_error_with(node.id, "a token has letters, digits and hyphens", help);
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

impl App {
    /// Where a delivery goes: all of a digest where its first goes.
    pub fn channel(&self, delivery: &Delivery) -> Result<String, Unsent> {
        let Channel::Chosen { template, among } = &self.channel else { return self.fixed().map(str::to_owned) };
        let chosen = template.render(&View::of_event(delivery), None)?;
        let chosen = chosen.trim();
        if !among.iter().any(|known| known == chosen) {
            let shown = chosen.chars().take(CHANNEL_CHARACTERS_MAX).collect();
            return Err(Misfit::Channel(shown).into());
        }
        Ok(chosen.to_owned())
    }

    /// The only channel, if it is one.
    pub fn fixed(&self) -> Result<&str, Unsent> {
        match &self.channel {
            Channel::Fixed(channel) => Ok(channel),
            Channel::Chosen { .. } => Err(Unsent::failed("its channel is made of an event")),
        }
    }

    /// Which of its messages belong together, where some do.
    pub fn threads(&self) -> Option<&Threads> {
        self.threads.as_ref()
    }

    /// Whether one message counts what belongs together, in place of a thread.
    pub fn updates(&self) -> bool {
        self.updates
    }

    /// Where its messages may go, for people.
    pub fn shown(&self) -> String {
        match &self.channel {
            Channel::Fixed(channel) => channel.clone(),
            Channel::Chosen { among, .. } => among.join(", "),
        }
    }

    /// Whether a word that would stop everything is about what one event has chosen.
    pub fn is_of_one(&self, word: &str) -> bool {
        matches!(self.channel, Channel::Chosen { .. }) && OF_A_CHANNEL.contains(&word)
    }
}

/// A word of Slack's, with what to do about it.
pub fn explained(word: &str) -> String {
    let help = HELPS.iter().find(|(known, _)| *known == word);
    help.map_or_else(|| word.to_owned(), |(word, help)| format!("{word}: {help}"))
}

/// Whether a body says that the message was posted.
pub fn is_posted(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|said| said["ok"] == true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::sample::{built, sample};
    use super::super::strict::{Strict, Watched};
    use super::*;
    use crate::destination::{Client, Destination, Outcome};

    const TOKEN: &str = "xoxb-canary-of-an-app";

    fn watched() -> Watched {
        Watched::new(Strict::hurried().with_app(TOKEN, &["#email", "#shop"]))
    }

    fn slack(section: &str, client: &Client) -> Arc<dyn Destination> {
        let section = section.replace('@', TOKEN);
        built("slack", &section, "", client).unwrap_or_else(|told| panic!("{told:?}"))
    }

    fn event(kind: &str) -> Delivery {
        sample(format!(r#"{{"type":"{kind}","user":{{"email":"ann@example.com"}}}}"#), 1_700_000_000_000)
    }

    async fn attempted(destination: &dyn Destination, delivery: &Delivery) -> Outcome {
        destination.attempt(std::slice::from_ref(delivery)).await.pop().expect("one")
    }

    #[test]
    fn it_leads_to_its_channel_by_its_token_whether_it_counts_or_not() {
        let client = Client::direct();
        let of = |section: &str| slack(section, &client).leads_to();
        let plain = of("{ token: @, channel: \"#email\" }");
        let counts = "{ token: @, channel: \"#email\", thread_by: [type], update: true }";
        assert_eq!(of(counts), plain);
        assert_ne!(of(&counts.replace("#email", "#shop")), of(counts));
        assert_ne!(of(&counts.replace('@', "xoxb-another")), of(counts));
        for api in [
            "https://slack-gov.com/api",
            "https://proxy.example.com/slack.com/",
            "https://proxy.example.com/slack/v1.2/",
        ] {
            assert_ne!(of(&format!("{{ token: @, channel: \"#email\", api: \"{api}\" }}")), plain, "{api}");
        }
    }

    #[test]
    fn one_whose_channel_an_event_chooses_is_not_slowed_down_by_those_that_count() {
        let client = Client::direct();
        let key = |section: &str| slack(section, &client).rate_limit_key();
        let counts = key("{ token: @, channel: \"#email\", thread_by: [type], update: true }");
        let chosen = "{ token: @, channel: \"#{{ type }}\", channels: [\"#email\"], thread_by: [type] }";
        assert_ne!(key(chosen), counts);
        assert_eq!(key(&chosen.replace("thread_by", "update: true, thread_by")), counts);
    }

    #[tokio::test]
    async fn a_message_is_posted_into_its_channel_and_the_token_is_shown_nowhere() {
        let watched = watched();
        let section =
            "{ token: @, channel: \"#email\", username: Vero, icon_emoji: \":email:\", text: \"{{ type }}\" }";
        let slack = slack(section, &watched.client());
        assert_eq!(attempted(&*slack, &event("sent")).await, Outcome::Delivered);
        let posted = watched.lock().posts().to_vec();
        assert_eq!((posted.len(), posted[0].to.as_str()), (1, "#email"));
        assert_eq!((&posted[0].message["text"], &posted[0].message["username"]), (&"sent".into(), &"Vero".into()));
        let preview = slack.preview(&event("sent")).expect("renders");
        let shown = format!("{} {:?} {:?} {}", preview.title, preview.facts, preview.headers, slack.address());
        assert!(!shown.contains("canary") && shown.contains("Bearer …"), "{shown}");
        assert_eq!(slack.address(), "https://slack.com/… (#email)");
        assert!(slack.address_of(&event("sent")).is_none() && slack.teller().is_ok());
    }

    #[tokio::test]
    async fn an_event_chooses_among_the_channels_and_no_other() {
        let watched = watched();
        let section = "{ token: @, channel: \"#{{ type }}\", channels: [\"#email\", \"#shop\", \"#other\"] }";
        let slack = slack(section, &watched.client());
        for kind in ["email", "shop"] {
            assert_eq!(attempted(&*slack, &event(kind)).await, Outcome::Delivered);
            assert_eq!(watched.lock().posts().last().expect("posted").to, format!("#{kind}"));
            assert_eq!(slack.address_of(&event(kind)), Some(format!("#{kind}")));
        }
        let outcome = attempted(&*slack, &event("general")).await;
        let reason = outcome.reason().expect("a reason");
        assert_eq!((outcome.name(), reason.is_local), ("reject", true));
        assert_eq!(reason.text, "the channel comes to `#general`, which is none of `channels`");
        assert!(!reason.brief.contains("general"), "an event's value stays out of the log: {}", reason.brief);
        // What Slack says of one channel stops no other.
        watched.lock().ask_for("not_in_channel");
        let outcome = attempted(&*slack, &event("other")).await;
        assert_eq!(outcome.name(), "reject");
        assert!(outcome.reason().expect("a reason").brief.contains("invite the app"), "{outcome:?}");
        assert!(slack.teller().is_err());
    }

    #[tokio::test]
    async fn what_slack_says_under_200_counts() {
        let watched = watched();
        for (channel, word) in
            [("#none", "channel_not_found"), ("#other", "not_in_channel"), ("#archived", "is_archived")]
        {
            watched.lock().ask_for(word);
            let slack = slack(&format!("{{ token: @, channel: \"{channel}\" }}"), &watched.client());
            let outcome = attempted(&*slack, &event("sent")).await;
            assert_eq!(outcome.name(), "pause");
            assert!(outcome.reason().expect("a reason").brief.starts_with(&format!("200 {word}: ")), "{outcome:?}");
        }
        watched.lock().ask_for("invalid_auth");
        let slack = slack("{ token: xoxb-another, channel: \"#email\" }", &watched.client());
        assert_eq!(attempted(&*slack, &event("sent")).await.name(), "pause");
    }

    #[tokio::test]
    async fn an_answer_that_repeats_the_longest_message_says_yes() {
        let watched = watched();
        let section = format!("{{ token: @, channel: \"#email\", text: \"{}\" }}", "ж".repeat(super::super::TEXT_MAX));
        let slack = slack(&section, &watched.client());
        assert_eq!(attempted(&*slack, &event("sent")).await, Outcome::Delivered);
        assert_eq!(watched.lock().posts().len(), 1);
    }

    #[tokio::test]
    async fn each_other_answer_means_what_it_says() {
        for (status, body, expected) in [
            (200, r#"{"ok":true,"ts":"1.2"}"#, "delivered"),
            (200, "ok", "retry"),
            (200, "{}", "retry"),
            (200, r#"{"ok":false,"error":"something_new"}"#, "retry"),
            (200, r#"{"ok":false,"error":"msg_too_long"}"#, "reject"),
            (200, r#"{"ok":false,"error":"missing_scope"}"#, "pause"),
            (200, r#"{"ok":false,"error":"fatal_error"}"#, "retry"),
            (500, "", "retry"),
            (429, r#"{"ok":false,"error":"ratelimited"}"#, "retry"),
        ] {
            let answer = client::Answer { status, headers: Default::default(), body: body.into() };
            let said = move || client::Answer { status, headers: answer.headers.clone(), body: answer.body.clone() };
            let client = Client::scripted(move |_| Some(said()));
            let slack = slack("{ token: @, channel: \"#email\" }", &client);
            assert_eq!(attempted(&*slack, &event("sent")).await.name(), expected, "{status} {body}");
        }
        let body = r#"{"ok":false,"error":"ratelimited"}"#;
        let client = Client::scripted(move |_| {
            Some(client::Answer { status: 200, headers: Default::default(), body: body.into() })
        });
        let outcome = attempted(&*slack("{ token: @, channel: \"#email\" }", &client), &event("sent")).await;
        assert!(
            matches!(outcome, Outcome::Retry { after: Some(RATE_LIMITED_FOR), holds_all: true, .. }),
            "{outcome:?}"
        );
    }
}

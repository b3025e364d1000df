//! The keys of destinations, their own and their kinds'.

use std::time::Duration;

use serde_json::{Value, json};

use super::keys::{DAY, HOUR, MILLISECOND, SECOND, URL, basic, header};
use super::{Absent, Key, Of, Section, key};
use crate::deliver::Policy;
use crate::destination::{KINDS, Pace};
use crate::units::shown_duration;

/// One destination: its kind, and what every kind may set.
pub(super) fn destination() -> Section {
    let kinds = [
        ("http", http(), "{ url: \"https://crm.example.com/hooks/vero\" }", "A request for each event."),
        (
            "slack",
            slack(),
            "{ url: \"${SLACK_WEBHOOK_URL}\" }",
            "A message to an incoming webhook: Slack's, or any that speaks like it (Mattermost, Discord's `/slack`).",
        ),
        ("file", file(), "{ path: \"archive/{date}.ndjson\" }", "A line for each event."),
    ];
    let names = kinds.each_ref().map(|(name, ..)| *name);
    let kinds = kinds.into_iter().map(|(name, section, example, about)| key(name, Of::Map(section), example, about));
    let renamed = key(
        "renamed_from",
        Of::Text,
        "old-crm",
        "A name that it had before: it takes over that queue. The old name must be gone from the file.",
    );
    Section::new(kinds.chain(common()).chain([renamed]).collect()).one_of(&names).never("answers", "file")
}

/// `defaults:`, by kind: its own keys and the common ones together, none of them needed.
pub(super) fn defaults() -> Section {
    let kind = |name: &'static str, section: Section, example, about| {
        let keys = common().into_iter().filter(|key| name != "file" || key.name != "answers").chain(section.keys);
        let is_needed = |key: &Key| matches!(key.absent, Absent::RefusedWithoutDefault);
        let keys = keys.map(|key| if is_needed(&key) { Key { absent: Absent::Nothing, ..key } } else { key });
        key(name, Of::Map(Section { keys: keys.collect(), besides: section.besides }), example, about)
    };
    Section::new(vec![
        kind("http", http(), "{ timeout: 5s, headers: { x-relay: vero } }", "For every `http` destination."),
        kind("slack", slack(), "{ rate: 30/m }", "For every `slack` destination."),
        kind("file", file(), "{ fsync: never }", "For every `file` destination."),
    ])
}

/// What a destination needs for itself if its kind has no defaults, as JSON Schemas of the whole file.
pub(super) fn without_defaults() -> Vec<Value> {
    let condition = |(kind, section, besides): (&str, Section, Value)| {
        let needed = section.keys.iter().filter(|key| matches!(key.absent, Absent::RefusedWithoutDefault));
        let needed: Vec<_> = needed.map(|key| key.name).collect();
        let own = json!({ "required": needed, "allOf": [besides] });
        json!({
            "if": { "not": { "required": ["defaults"], "properties": { "defaults": { "required": [kind] } } } },
            "then": { "properties": { "destinations": { "additionalProperties": { "properties": { kind: own } } } } },
        })
    };
    let json_for_omit_missing = json!({ "dependentRequired": { "omit_missing": ["json"] } });
    let kinds =
        [("http", http(), json_for_omit_missing), ("slack", slack(), json!(true)), ("file", file(), json!(true))];
    kinds.map(condition).into()
}

/// A kind's own default, for each kind.
fn by_kind(of: impl Fn(&Pace) -> Option<String>) -> String {
    let each = KINDS.iter().filter_map(|kind| Some(format!("{} {}", kind.name, of(&kind.pace)?)));
    each.collect::<Vec<_>>().join(", ")
}

fn common() -> Vec<Key> {
    let usual = Policy::default();
    let wait = || Of::Duration(10 * MILLISECOND, DAY);
    let retry = Section::new(vec![
        key(
            "initial",
            wait(),
            "5s",
            "The wait before the second attempt, give or take a fifth. Not longer than `max`.",
        )
        .or_duration(usual.initial),
        key("factor", Of::Whole(1, 100), "2", "By how much each wait is longer than the one before.").or(usual.factor),
        key("max", wait(), "10m", "The longest wait between two attempts.").or_duration(usual.max),
        key(
            "give_up_after",
            Of::Duration(10 * MILLISECOND, 365 * DAY),
            "24h",
            "From the first attempt on; then it is a dead letter. Time paused or with the breaker open does not count.",
        )
        .otherwise(by_kind(|pace| Some(shown_duration(pace.give_up_after)))),
        key("max_attempts", Of::Whole(1, 10_000), "20", "Attempts before it is a dead letter.")
            .otherwise("no limit but time"),
    ]);
    let backlog = Section::new(vec![
        key("max_age", Of::Duration(SECOND, 365 * DAY), "12h", "A delivery that was never attempted by then becomes a dead letter (\"stale\"): a channel that gets yesterday's thousand messages is read by nobody.").otherwise(by_kind(|pace| pace.stale_after.map(shown_duration)) + ", the others no limit"),
        key("max_size", Of::Size(1 << 20, 1 << 50), "1GiB", "Of the journal, from the oldest delivery on that waits for its first attempt; beyond it the oldest become dead letters.").otherwise("no limit but the disk"),
    ]);
    vec![
        key("retry", Of::Map(retry), "{ initial: 5s, factor: 2, max: 10m, give_up_after: 24h }", "When to try again, and when to give up."),
        key("timeout", Of::Duration(100 * MILLISECOND, HOUR), "10s", "For one attempt, from connecting to the answer's end.").or_duration(usual.timeout),
        key("concurrency", Of::Whole(1, 256), "4", "Attempts in flight at once. More would only queue on the other side.").otherwise(by_kind(|pace| Some(pace.concurrency.to_string()))),
        key("rate", Of::Rate, "5/s", "Attempts in a second (`s`), minute (`m`) or hour (`h`), at most 100000 in one, evenly spaced. Slack destinations with one URL share theirs.").otherwise(by_kind(|pace| pace.interval.map(per_second)) + ", the others no limit"),
        key("answers", Of::Answers, "{ 404: reject, 409: delivered }", "What an HTTP status means, in place of [the table](#what-an-answer-means). Not for `file`, which gets none."),
        key("backlog", Of::Map(backlog), "{ max_age: 12h, max_size: 1GiB }", "What may wait. Without it a destination that is down for good keeps its events until the disk is full."),
    ]
}

fn per_second(interval: Duration) -> String {
    format!("{}/s", SECOND.as_millis() / interval.as_millis().max(1))
}

fn http() -> Section {
    let auth = Section::new(vec![
        key("bearer", Of::Secret, "\"${CRM_TOKEN}\"", "`Authorization: Bearer …`"),
        key(
            "basic",
            Of::Map(Section::new(basic())),
            "{ username: relay, password: \"${CRM_PASSWORD}\" }",
            "`Authorization: Basic …`",
        ),
        key(
            "header",
            Of::Map(Section::new(header("X-Api-Key"))),
            "{ name: X-Api-Key, value: \"${API_KEY}\" }",
            "A header of any name.",
        ),
    ]);
    Section::new(vec![
        key("url", URL, "\"https://crm.example.com/users/{{ user.id }}\"", "Where to. Templates may stand in its path and query, each value encoded as one segment; never in the host: an event must not choose where it goes. Redirects are not followed. User and password belong into `auth`.").required_or_default(),
        key("method", Of::Word(&["POST", "PUT", "PATCH"]), "PUT", "The request's method: one that carries a body.").or("POST"),
        key("headers", Of::Headers, "{ x-api-key: \"${API_KEY}\" }", "Headers, the same for every event. Not those of the protocol (`host`, `content-length` …), nor `webhook-id`, `webhook-timestamp` and `webhook-signature`."),
        key("auth", Of::Map(auth.one_of(&["bearer", "basic", "header"])), "{ bearer: \"${CRM_TOKEN}\" }", "How the relay proves itself."),
        key("signing_secrets", Of::Secrets, "[\"${SIGNING_SECRET}\"]", "Signs each request after [Standard Webhooks](https://www.standardwebhooks.com/): `whsec_` and base64 of 24 to 64 bytes; several while one replaces the other."),
        key("json", Of::Structure, "{ who: \"{{ user.email }}\" }", "The body, as a structure whose texts are templates. A text that is nothing but one `{{ path }}` keeps its JSON type and digits.").otherwise("the body, byte for byte as it came"),
        key("omit_missing", Of::Boolean, "true", "With `json`: a path to a missing value drops its key in place of writing null.").or(false),
        key("text", Of::Text, "\"{{ user.email }},{{ type }}\"", "The body, as one template; `text/plain` unless `headers` say otherwise. Not beside `json`."),
    ].into_iter().chain(way()).collect())
    .never("json", "text")
}

fn slack() -> Section {
    Section::new(vec![
        key("url", URL, "\"${SLACK_WEBHOOK_URL}\"", "The incoming webhook. It is a password: whoever has it can post.")
            .required_or_default(),
        key(
            "text",
            Of::Text,
            "\":rotating_light: *{{ type }}* {{ user.email }}\"",
            "The message, as a template; values are escaped and, if they must be, cut to Slack's 4000 characters.",
        )
        .otherwise("a good message for each event type; none with `blocks`"),
        key(
            "blocks",
            Of::Blocks,
            "[{ type: section, text: { type: mrkdwn, text: \"*{{ campaign.name }}*\" } }]",
            "[Slack's blocks](https://docs.slack.dev/block-kit/), their texts being templates. What comes out empty is left out, and texts are cut to the limit of their place.",
        ),
        key("channel", Of::Text, "\"#alerts\"", "The channel, where the server lets a message choose it: Mattermost and Slack's old webhooks do, and Slack's apps ignore it.").otherwise("the webhook's"),
        key("username", Of::Text, "Vero", "The name that the message comes from, where the server lets a message choose it.").otherwise("the webhook's"),
        key("icon_emoji", Of::Text, "\":email:\"", "The icon of the message, an emoji, where the server lets a message choose it.").otherwise("the webhook's"),
        key("icon_url", Of::Text, "\"https://example.com/icon.png\"", "The same, a picture.").otherwise("the webhook's"),
        key("unfurl_links", Of::Boolean, "true", "Whether Slack shows previews of links.").or(false),
    ].into_iter().chain(way()).collect())
}

/// How requests go out.
fn way() -> [Key; 2] {
    [
        key("ca", Of::Text, "internal-ca.pem", "A PEM file, relative to the config, with the certificates of a private CA. They are trusted beside the system's, by this destination alone.").otherwise("the system's certificates alone"),
        key("proxy", Of::Text, "\"http://proxy.example.com:3128\"", "The proxy that requests go by: `http://`, `https://`, `socks5://` (names looked up here) or `socks5h://` (by the proxy), with `user:password@` if it asks for them; or `none`.").otherwise("what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in lower case too; never for loopback"),
    ]
}

fn file() -> Section {
    Section::new(vec![
        key("path", Of::Text, "\"archive/{date}.ndjson\"", "Below `data_dir`, or whole from `/`; it cannot climb. `{date}` and `{hour}` of arrival, `{type}` and `{source}`, made harmless. Never one of the relay's own files. No two destinations write one file.").required_or_default(),
        key("envelope", Of::Boolean, "false", "A line is `{\"id\", \"received_at\", \"source\", \"event\": {…}}`; without the envelope it is the event alone. White space outside of texts goes, values stay as they came.").or(true),
        key("fsync", Of::Word(&["batch", "never"]), "never", "`batch`: a line counts as delivered when it is synced, with one sync for all that wait. `never`: when it is written; a power cut may take it. A named pipe or a device (`/dev/stdout`) can only be written with `never`.").or("batch"),
        key("mode", Of::Text, "\"0640\"", "The rights of the files that are made, as `chmod` takes them, in quotes. Directories that are made can be entered by whoever may read. `data_dir` itself stays its owner's: files for others lie elsewhere, at a path from `/`.").or("0600"),
        key("timezone", Of::Text, "Europe/Berlin", "In which `{date}` and `{hour}` are told: a name of the system's database of time zones (the package tzdata, or `TZDIR`); `UTC` needs none.").or("UTC"),
    ])
}

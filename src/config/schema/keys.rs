//! The keys of a config but for its destinations.

use std::time::Duration;

use serde_json::json;

use super::super::Limits;
use super::super::sources::TOKEN_CHARACTERS_MIN;
use super::{Key, Of, Section, destinations, key};
use crate::store::Retention;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const ADDRESS: Of = Of::Form(r"^(localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$", "address and port");
/// An absolute URL.
pub(super) const URL: Of = Of::Form("^https?://", "URL");
const TOKEN: Of = Of::Form("^[A-Za-z0-9._~-]{1,256}$", "secret");

/// All of it.
pub(super) fn root() -> Section {
    let root = Section::new(vec![
        key("listen", ADDRESS, "127.0.0.1:8080", "Where Vero's webhooks come in. `VERO_RELAY_LISTEN` in the environment overrides it, for containers. Beyond loopback a token needs 16 characters.").or("127.0.0.1:8080"),
        key("admin", Of::Map(admin()), "{ listen: \"127.0.0.1:8081\" }", "Where the operator looks in: health, metrics, the API, the bins."),
        key("data_dir", Of::Text, "/var/lib/vero-relay", "Where the journal, its index and all archives are written; relative to this file. One relay at a time.").or("data"),
        key("public_url", URL, "https://hooks.example.com", "The address by which Vero reaches `listen`, for `vero-relay urls` to print. Without it that of `listen` is printed."),
        key("watch", Of::Boolean, "true", "Reload when this file changes. A file that does not check changes nothing. Off by default, so that a half-edited file is not put in force.").or(false),
        key("sources", Of::Named(source()), "{ vero: { token: \"${VERO_TOKEN}\" } }", "The ways in, by name. A name stands in the URL that Vero is given: letters, digits, `-`, `_` and `.`, at most 64.").required(),
        key("rules", Of::List(rule()), "[{ name: everything, to: [archive] }]", "All are tried, in order; an event goes once to each destination that any matching rule names.").required(),
        key("destinations", Of::Named(destinations::destination()), "{ archive: { file: { path: \"archive/{date}.ndjson\" } } }", "Where events go, by name: letters, digits, `-`, `_` and `.`, at most 64. A delivery belongs to the name, so a new section under an old name takes over what waits."),
        key("defaults", Of::Map(destinations::defaults()), "{ slack: { rate: 30/m } }", "What all destinations of a kind share. A destination's own keys win."),
        key("limits", Of::Map(limits()), "{ body_max: 2MiB }", "What one relay takes at most. Whatever is refused for a limit is counted and answered."),
        key("store", Of::Map(store()), "{ history: { max_age: 14d } }", "What is kept, and for how long."),
        key("removed_grace", Of::Duration(SECOND, 365 * DAY), "24h", "How long a destination that left this file keeps its queue before it becomes dead letters: over a long weekend. If the name comes back, it goes on.").or("72h"),
        key("tests", Of::List(test()), "[{ name: a bounce is told, event: { type: bounced }, expect: { to: [alerts] } }]", "Events, and where each must go; `vero-relay check` runs them. Nothing is sent."),
    ]);
    destinations::without_defaults().into_iter().fold(root, Section::besides)
}

fn admin() -> Section {
    Section::new(vec![
        key(
            "listen",
            ADDRESS,
            "127.0.0.1:8081",
            "Loopback only: whoever reaches it sees events and gives commands. It cannot have the port of `listen`.",
        )
        .or("127.0.0.1:8081"),
    ])
}

fn source() -> Section {
    let basic = Section::new(basic());
    let header = Section::new(header("X-Vero-Key"));
    let auth = Section::new(vec![
        key(
            "basic",
            Of::Map(basic),
            "{ username: vero, password: \"${VERO_PASSWORD}\" }",
            "Basic authentication; the URL is then `/hooks/SOURCE`.",
        ),
        key(
            "header",
            Of::Map(header),
            "{ name: X-Vero-Key, value: \"${VERO_KEY}\" }",
            "A header with a value that only Vero knows.",
        ),
    ]);
    let token = format!(
        "The token in `/hooks/SOURCE/TOKEN`: letters, digits, `-`, `_`, `.` and `~`, at most 256, and at least {TOKEN_CHARACTERS_MIN} unless `listen` is loopback, since a shorter one can be guessed. No two sources share one."
    );
    Section::new(vec![
        key("token", TOKEN, "\"${VERO_TOKEN}\"", token),
        key(
            "tokens",
            Of::Secrets,
            "[\"${NEW_TOKEN}\", \"${OLD_TOKEN}\"]",
            "Several tokens, all taken, while one replaces the other.",
        ),
        key(
            "auth",
            Of::Map(auth.one_of(&["basic", "header"])),
            "{ header: { name: X-Vero-Key, value: \"${VERO_KEY}\" } }",
            "Proof in a header in place of a token in the URL.",
        ),
    ])
    .one_of(&["token", "tokens", "auth"])
    .besides(json!({ "properties": { "tokens": { "minItems": 1 } } }))
}

/// A user name and a password.
pub(super) fn basic() -> Vec<Key> {
    vec![
        key("username", Of::Text, "relay", "The user's name.").required(),
        key("password", Of::Secret, "\"${CRM_PASSWORD}\"", "The password.").required(),
    ]
}

/// A header by name and value.
pub(super) fn header(example: &'static str) -> Vec<Key> {
    vec![
        key("name", Of::Text, example, "The header's name.").required(),
        key("value", Of::Secret, "\"${API_KEY}\"", "Its value.").required(),
    ]
}

fn rule() -> Section {
    // `to: []` is allowed only with `stop: true`.
    let silence = json!({
        "if": { "required": ["to"], "properties": { "to": { "type": "array", "maxItems": 0 } } },
        "then": { "required": ["stop"], "properties": { "stop": { "not": { "enum": [false, "false"] } } } },
    });
    Section::new(vec![
        key("name", Of::Form("^(.|\\n){1,200}$", "text"), "trouble with receipts", "What the rule is called in `explain`, logs and pages; no two alike. At most 200 bytes, since the store keeps it.").otherwise("`rule 1`, `rule 2` …"),
        key("match", Of::Match, "{ type: [bounced, complained], campaign.type: transactional }", "Conditions that must all hold, see [Match maps](#match-maps).").otherwise("every event"),
        key("to", Of::Texts, "[alerts, archive]", "The destinations. `[]` is allowed only with `stop: true`: it silences what the rule matches.").required(),
        key("stop", Of::Boolean, "true", "When this rule matches, no later one is tried.").or(false),
    ])
    .besides(silence)
}

fn limits() -> Section {
    let usual = Limits::default();
    let time = || Of::Duration(100 * MILLISECOND, HOUR);
    Section::new(vec![
        key("body_max", Of::Size(1 << 10, 16 << 20), "2MiB", "Bytes of one body, unpacked if it came by gzip or deflate; beyond it the answer is 413, for chunked bodies too. Vero's have 500 to 700, a long `changes` a few thousand.").or_size(usual.body_max as u64),
        key("body_timeout", time(), "10s", "For one body to arrive whole; then 408. A sender that drips must not hold a connection for ever.").or_duration(usual.body_timeout),
        key("header_timeout", time(), "20s", "For a request's head to arrive, for a connection to stay idle, and for an answer to go on: a connection whose other side takes no byte for so long is closed.").or_duration(usual.header_timeout),
        key("connections_max", Of::Whole(1, 100_000), "500", "Open connections, also over reloads; more wait in the kernel's queue. Each costs a file descriptor, and 32 descriptors are kept for the rest of the relay (an eighth, where there are few).").or(usual.connections_max),
        key("intake_max", Of::Size(1 << 20, 1 << 30), "32MiB", "Bytes of all bodies that are being received or wait for the sync: what a burst may cost in memory. Without room within 2 s the answer is 503. Not less than `body_max`.").or_size(usual.intake_max as u64),
        key("shutdown_grace", time(), "5s", "How long attempts in flight may take after SIGTERM: containers are killed at 10 s.").or_duration(usual.shutdown_grace),
    ])
}

fn store() -> Section {
    let usual = Retention::default();
    let size = || Of::Size(8 << 20, 1 << 50);
    let age = || Of::Duration(SECOND, 3650 * DAY);
    let history = Section::new(vec![
        key("max_age", age(), "14d", "How long events are kept after they came; then the oldest go, in steps of a segment (at most 64 MiB), never before every destination is past them.").or_duration(usual.history_age),
        key("max_size", size(), "20GiB", "How much of the disk they may take.").otherwise("10GiB or a fifth of the file system, whichever is less"),
    ]);
    let dead = Section::new(vec![
        key("max_age", age(), "60d", "How long a delivery that was given up can be replayed.").or_duration(usual.dead_age),
        key("max_size", size(), "1GiB", "How much their bodies may take beyond the history; at most half of `history.max_size`, since they are carried along with it. The oldest are dropped.").or_size(usual.dead_bytes),
    ]);
    Section::new(vec![
        key("history", Of::Map(history), "{ max_age: 14d, max_size: 20GiB }", "Events that are settled, for looking back and for `replay`."),
        key("dead_letters", Of::Map(dead), "{ max_age: 60d, max_size: 1GiB }", "Deliveries that were given up."),
        key("max_size", size(), "40GiB", "All the store may take. At that size events are answered with 503; deliveries go on. History may have three quarters of it.").otherwise("only the disk is the limit"),
        key("free_space_min", Of::Size(0, 1 << 50), "512MiB", "With less than this free on the file system events are answered with 503; deliveries go on.").otherwise("256MiB, or a twentieth of a small file system, and 12MiB at least"),
    ])
}

fn test() -> Section {
    let expect = Section::new(vec![
        key("to", Of::Texts, "[alerts, archive]", "The destinations, exactly; `[]` is none."),
        key(
            "content",
            Of::Conditions,
            "{ alerts: { contains: Receipt } }",
            "What a destination would get (the body of the request, the message's JSON, the line), under the operators of a match map.",
        ),
    ]);
    Section::new(vec![
        key(
            "name",
            Of::Form("^(.|\\n)+$", "text"),
            "a hard bounce of a receipt wakes somebody",
            "What it claims; it is told when it fails. No two alike.",
        )
        .required(),
        key("event", Of::Event, "{ type: bounced, bounce_type: hard }", "The event's body."),
        key("file", Of::Text, "samples/bounced.json", "A file with the event's body, relative to this one."),
        key("source", Of::Text, "vero", "By which source it comes in.").otherwise("the first"),
        key("expect", Of::Map(expect), "{ to: [alerts, archive] }", "What must come of it.").required(),
    ])
    .one_of(&["event", "file"])
}

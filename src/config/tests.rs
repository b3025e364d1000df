//! Whole configs: what is accepted, and for each accepted thing a refused neighbour with its place.

use std::path::Path;

use super::*;
use crate::yaml::values::Surroundings;

struct Env;

impl Surroundings for Env {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("from-the-environment".to_owned()),
            "PORT" => Some("9999".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
    }
}

const GOOD: &str = "\
sources:
  vero:
    token: try-me
rules:
  - name: everything
    to: [archive]
destinations:
  archive:
    file:
      path: archive.ndjson
";

fn parse(text: &str) -> Result<(Config, Report), ConfigError> {
    Config::parse(Path::new("relay.yaml"), text.to_owned(), &Env)
}

fn good(text: &str) -> Config {
    match parse(text) {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}"),
    }
}

/// The lines of the report for a text that is refused.
fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(ConfigError::Problems(report)) => report.lines().collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// That replacing `from` by `to` in the good config gives exactly one problem, and what its line begins with.
#[track_caller]
fn refused(from: &str, to: &str, expected: &str) {
    assert!(GOOD.contains(from), "{from}");
    let problems = problems(&GOOD.replacen(from, to, 1));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with(expected), "got  {}\nwant {expected}", problems[0]);
}

#[test]
fn the_example_config_is_good_and_has_no_warnings() {
    let text = include_str!("../../config.example.yaml");
    let (config, report) = parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_empty(), "{report}");
    let kinds: Vec<_> = config.destinations.iter().map(|destination| destination.kind).collect();
    assert_eq!(kinds, ["http", "slack", "file"]);
    assert!(config.destinations.iter().all(|destination| destination.destination.is_loopback()));
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = good(GOOD);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert!(config.data_dir.ends_with("data") && config.data_dir.is_absolute());
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn a_report_shows_the_line_and_never_a_secret() {
    let report = |text: &str| parse(text).err().expect("refused").to_string();
    let shown = report(&GOOD.replace("to: [archive]", "to: [archiv]"));
    assert!(shown.contains("to: [archiv]") && shown.contains("^^^^^^") && shown.contains("relay.yaml:6:10"), "{shown}");
    let secret = report(&GOOD.replace("token: try-me", "token: \"p a s s\""));
    assert!(!secret.contains("p a s s"), "{secret}");
    let url = "destinations:\n  archive:\n    slack:\n      url: \"ftp://hooks.slack.com/services/T0/B0/canary\"\n";
    let shown = report(&GOOD.split("destinations:").next().map(|head| format!("{head}{url}")).expect("a head"));
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn what_comes_from_the_environment_is_in_no_message_and_a_misspelt_keys_line_is_not_shown() {
    let report = |text: &str| parse(text).err().expect("refused").to_string();
    let shown = report(&GOOD.replacen("sources", "listen: \"${TOKEN}\"\nsources", 1));
    assert!(shown.contains("`…` is not an address") && !shown.contains("from-the-environment"), "{shown}");
    for (from, to) in [
        ("token: try-me", "tokn: canary"),
        ("    file:\n      path: archive.ndjson", "    slack: https://hooks.slack.com/services/canary"),
        ("      path: archive.ndjson", "      path: x\n      webhook_url: canary"),
    ] {
        let shown = report(&GOOD.replace(from, to));
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn values_come_from_the_environment_and_can_never_add_a_key() {
    let config = good(&GOOD.replace("token: try-me", "token: \"${TOKEN}\"").replacen(
        "sources",
        "listen: \"127.0.0.1:${PORT}\"\nsources",
        1,
    ));
    assert_eq!(config.listen.port(), 9999);
    let Auth::Token(tokens) = &config.sources[0].auth else { panic!("a token") };
    assert_eq!(tokens[0].expose(), "from-the-environment");
}

#[test]
fn on_a_public_listener_a_token_is_long() {
    let public = |token: &str| {
        GOOD.replace("token: try-me", &format!("token: {token}")).replacen(
            "sources",
            "listen: 0.0.0.0:8080\nsources",
            1,
        )
    };
    good(&public("sixteen-letters-"));
    assert!(problems(&public("fifteen-letters"))[0].contains("needs 16 characters"));
}

#[test]
fn sources_prove_themselves_in_one_way() {
    let with = |auth: &str| GOOD.replace("    token: try-me", &format!("    {auth}"));
    good(&with("tokens: [new, old]"));
    good(&with("auth: { basic: { username: u, password: p } }"));
    good(&with("auth: { header: { name: X-Key, value: v } }"));
    // What the authenticator would never look at is refused; `Basic ` and base64 make 6138 bytes of a pair 8190.
    let header = |bytes: usize| format!("auth: {{ header: {{ name: X-Key, value: {} }} }}", "v".repeat(bytes));
    let basic = |bytes: usize| format!("auth: {{ basic: {{ username: u, password: {} }} }}", "v".repeat(bytes - 2));
    good(&with(&header(8192)));
    good(&with(&basic(6138)));
    assert!(
        problems(&with(&header(8193)))[0].contains("the header would have 8193 bytes, and a credential may have 8192")
    );
    assert!(problems(&with(&basic(6140)))[0].contains("the header would have 8194 bytes"));
    assert!(
        problems(&with("auth: { basic: { username: u, password: p }, header: { name: x, value: v } }"))[0]
            .contains("either basic or header")
    );
    assert!(problems(&with("x: 1"))[0].contains("unknown key `x`"));
    assert!(problems(&with("token: ~"))[0].contains("has no token"));
    let two = GOOD.replace("rules:", "  other: { token: try-me }\nrules:");
    assert!(problems(&two)[0].contains("have the same token"));
}

fn with_destination(section: &str) -> String {
    format!("{}destinations:\n  archive:\n{section}", GOOD.split("destinations:").next().expect("a head"))
}

#[test]
fn an_http_destination_is_read_and_each_of_its_slips_told() {
    let http = |rest: &str| with_destination(&format!("    http:\n      url: https://example.com/hook\n{rest}"));
    good(&http(""));
    good(&http("      json: { kind: \"{{ type }}\", who: \"{{ user.email }}\" }\n      omit_missing: true\n"));
    good(&http("      text: \"{{ type }}\"\n      headers: { content-type: text/csv }\n      method: PUT\n"));
    good(&http(
        "      auth: { bearer: x }\n      signing_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]\n    answers: { 404: reject }\n",
    ));
    for (rest, part) in [
        ("      json: {}\n      text: x\n", "either `json` or `text`"),
        ("      text: \"{{ a b }}\"\n", "does not compile"),
        ("      method: GET\n", "not a method"),
        ("      auth: { header: { name: Content-Length, value: x } }\n", "not a header that can be set"),
        ("      headers: { x-user: \"{{ user.email }}\" }\n", "a header is the same for every event"),
        ("      json: { a: 1, a: 2 }\n", "given twice"),
        ("      text: \"{{ campaign.trigger-event }}\"\n", "write trigger_event"),
        ("      headers: { Webhook-Id: x }\n", "not a header that can be set"),
        ("      auth: { bearer: x, basic: { username: u, password: p } }\n", "one of bearer, basic and header"),
        ("      signing_secrets: short\n", "whsec_"),
        ("      omit_missing: true\n", "belongs to `json`"),
        ("    answers: { 404: drop }\n", "not what an answer can mean"),
        ("    answers: { 40: reject }\n", "not an HTTP status"),
        ("    retry: { initial: 2h, max: 1h }\n", "longer than `max`"),
    ] {
        let problems = problems(&http(rest));
        assert!(problems[0].contains(part), "{problems:#?} should hold {part}");
    }
    let url = |url: &str| with_destination(&format!("    http:\n      url: \"{url}\"\n"));
    good(&url("https://example.com/users/{{ user.id }}?x={{ type }}"));
    good(&url("https://example.com?x={{ type }}"));
    for bad in [
        "example.com",
        "ftp://x/",
        "https://{{ user.id }}.example.com/",
        "https://u:p@example.com/",
        "https://example.com{{ x }}/",
    ] {
        assert_eq!(problems(&url(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn defaults_save_copying_and_a_destination_overrides_them() {
    let text = with_destination("    http:\n      url: https://example.com/\n").replacen(
        "sources:",
        "defaults:\n  http:\n    timeout: 3s\n    headers: { x-a: b }\nx-anchors: { anything: [goes] }\nsources:",
        1,
    );
    assert_eq!(good(&text).destinations[0].policy.timeout, std::time::Duration::from_secs(3));
    let overridden = format!("{text}    timeout: 4s\n");
    assert_eq!(good(&overridden).destinations[0].policy.timeout, std::time::Duration::from_secs(4));
    assert!(problems(&text.replace("  http:\n    timeout", "  htp:\n    timeout"))[0].contains("did you mean `http`?"));
    assert!(problems(&text.replace("    timeout: 3s", "    timeot: 3s"))[0].contains("unknown key `timeot`"));
}

#[test]
fn defaults_of_a_kind_that_no_destination_has_are_read_too() {
    let with = |defaults: &str| format!("{GOOD}defaults: {{ email: {defaults} }}\n");
    good(&with("{ from: relay@example.com, timeout: 3s, backlog: { max_age: 1h } }"));
    for (wrong, expected) in [
        ("{ fron: relay@example.com }", "did you mean `from`?"),
        ("{ retry: { initail: 1s } }", "did you mean `initial`?"),
        ("{ timeout: 3 parsecs }", "3 parsecs"),
        ("{ backlog: { max_agee: 1h } }", "did you mean `max_age`?"),
        ("[ from ]", "should be a map"),
    ] {
        let told = problems(&with(wrong));
        assert!(told.iter().any(|line| line.contains(expected)), "{wrong}: {told:?}");
    }
}

#[test]
fn a_config_holds_so_many_small_patterns_and_no_more() {
    let most = crate::rules::operators::PATTERNS_BYTES_MAX / crate::rules::operators::PATTERN_BYTES_MIN;
    let with_patterns = |count: usize| {
        let all: Vec<_> = (0..count).map(|i| format!("a{i}")).collect();
        let rule = format!("  - {{ match: {{ user.email: {{ regex: [{}] }} }}, to: archive }}", all.join(", "));
        GOOD.replace("rules:", &format!("rules:\n{rule}"))
    };
    good(&with_patterns(most));
    let told = problems(&with_patterns(most + 1));
    let counted = told.iter().filter(|line| line.contains("take more than 64MiB (use fewer: each `regex`")).count();
    assert_eq!(counted, 1, "{told:?}");
}

#[test]
fn texts_in_any_case_are_no_patterns_that_count() {
    let most = crate::rules::operators::PATTERNS_BYTES_MAX / crate::rules::operators::PATTERN_BYTES_MIN;
    let all: Vec<_> = (0..=most).map(|i| format!("a{i}")).collect();
    let match_map = format!("{{ user.email: {{ starts_with: [{}], ignore_case: true }} }}", all.join(", "));
    let rules = parse_match(&match_map).unwrap_or_else(|error| panic!("{error}"));
    let relay = crate::event::RelayFields { source: "", received_ms: 0 };
    let matches = |email: &str| {
        let body = format!(r#"{{"type": "sent", "user": {{"email": "{email}"}}}}"#);
        rules.route(body.as_bytes(), relay).expect("an event").rules.len()
    };
    assert_eq!((matches("A4096@x.co"), matches("xA1@x.co")), (1, 0));
}

#[test]
fn defaults_written_out_for_all_destinations_have_the_limits_of_a_file() {
    // Each destination inherits a map, `headers`, a map, and 1000 times a name and a value.
    let most = load::NODES_MAX as usize / 2003;
    let with_heirs = |count: usize| {
        let headers: Vec<_> = (0..1000).map(|i| format!("X-A{i}: b")).collect();
        let heirs: String =
            (0..count).map(|i| format!("  d{i}: {{ http: {{ url: 'http://127.0.0.1:1/' }} }}\n")).collect();
        format!("{GOOD}{heirs}defaults: {{ http: {{ headers: {{ {} }} }} }}\n", headers.join(", "))
    };
    assert_eq!(good(&with_heirs(most)).destinations.len(), most + 1);
    let told = problems(&with_heirs(most + 1));
    assert!(told.iter().any(|line| line.contains("hold more than 500000 values")), "{told:?}");
}

#[test]
fn a_file_that_is_too_large_or_empty_is_refused_at_once() {
    assert!(problems(&"#".repeat(FILE_BYTES_MAX + 1))[0].contains("is larger than 1048576 bytes"));
    assert!(problems("").iter().any(|line| line.contains("the config needs `sources`")));
}

/// That a line added at the top of the good config is taken.
fn with(line: &str) -> Config {
    good(&format!("{line}\n{GOOD}"))
}

#[test]
fn what_is_kept_is_read_and_each_limit_has_both_sides() {
    let config =
        with("store: { history: { max_age: 2d, max_size: 1GiB }, dead_letters: { max_age: 1d, max_size: 512MiB } }");
    let retention = config.retention;
    assert_eq!((retention.history_age.as_secs(), retention.history_bytes), (2 * 86_400, Some(1 << 30)));
    assert_eq!((retention.dead_age.as_secs(), retention.dead_bytes), (86_400, 512 << 20));
    assert_eq!(with("removed_grace: 1s").removed_grace.as_secs(), 1);
    assert_eq!(good(GOOD).removed_grace.as_secs(), 72 * 3600);
    assert_eq!(with("store: { max_size: 8MiB, free_space_min: 0B }").retention.bytes_max, Some(8 << 20));
    let too_much = |line: &str, expected: &str| {
        let problems = problems(&format!("{line}\n{GOOD}"));
        assert!(problems.len() == 1 && problems[0].contains(expected), "{line}: {problems:#?}");
    };
    too_much("store: { max_size: 7MiB }", "this should be from 8MiB");
    too_much("store: { history: { max_age: 10ms } }", "this should be from 1s");
    too_much("store: { history: { max_sise: 1GiB } }", "did you mean `max_size`?");
    too_much("store: { history: { max_size: 1GiB }, max_size: 512MiB }", "is less than `history.max_size`");
    too_much(
        "store: { history: { max_size: 1GiB }, dead_letters: { max_size: 513MiB } }",
        "more than half of `history.max_size`",
    );
    too_much("removed_grace: 10ms", "this should be from 1s");
}

#[test]
fn a_backlog_has_limits_and_slack_has_one_unless_it_is_said() {
    let archive =
        |more: &str| good(&GOOD.replace("    file:\n", &format!("{more}    file:\n"))).destinations[0].backlog;
    assert_eq!(archive(""), crate::deliver::BacklogLimits::default());
    let limits = archive("    backlog: { max_age: 1s, max_size: 1MiB }\n");
    assert_eq!((limits.max_age, limits.max_size), (Some(Duration::from_secs(1)), Some(1 << 20)));
    let slack = GOOD.replace("file:\n      path: archive.ndjson", "slack: { url: \"http://127.0.0.1/x\" }");
    assert_eq!(good(&slack).destinations[0].backlog.max_age, Some(Duration::from_secs(6 * 3600)));
    for (wrong, expected) in [
        ("    backlog: { max_age: 999ms }\n    file:\n", "relay.yaml:9:25: error: this should be from 1s"),
        ("    backlog: { max_size: 1023KiB }\n    file:\n", "relay.yaml:9:26: error: this should be from 1MiB"),
        ("    backlog: { max: 1MiB }\n    file:\n", "relay.yaml:9:16: error: unknown key `max` in `backlog`"),
    ] {
        refused("    file:\n", wrong, expected);
    }
}

#[test]
fn a_merge_key_is_refused_wherever_it_stands_and_an_alias_of_a_whole_match_works() {
    let merges = "the merge key `<<` is not taken";
    for (from, to) in [
        ("    file:\n", "    <<: { retry: { max: 1s } }\n    file:\n"),
        ("    to: [archive]\n", "    match: { <<: { type: sent } }\n    to: [archive]\n"),
        ("    to: [archive]\n", "    match: { any: [ { <<: { type: sent } } ] }\n    to: [archive]\n"),
    ] {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let told = problems(&text);
        assert!(told.iter().any(|line| line.contains(merges)), "{told:#?}");
    }
    for wrong in ["{<<: {type: sent}}", "{type: sent, <<: {source: vero}}", "any: [{<<: {type: sent}}]"] {
        let told = parse_match(wrong).expect_err("refused");
        assert!(told.contains(merges), "{wrong}: {told}");
    }
    let two = "    match: &what { type: sent }\n    to: [archive]\n  - { name: two, match: *what, to: archive }\n";
    let text = GOOD.replacen("    to: [archive]\n", two, 1);
    assert_ne!(text, GOOD);
    let rules = good(&text).rules;
    let routed = |body: &str| {
        let relay = crate::event::RelayFields { source: "", received_ms: 0 };
        rules.route(body.as_bytes(), relay).expect("routed").rules.len()
    };
    assert_eq!((routed(r#"{"type":"sent"}"#), routed(r#"{"type":"bounced"}"#)), (2, 0));
    let aliased = parse_match("any: [ { type: &t sent }, { user.name: *t } ]");
    assert!(aliased.is_ok(), "{:?}", aliased.err());
}

#[test]
fn a_queue_is_taken_over_from_a_name_that_is_gone_and_once() {
    let named = |text: &str| GOOD.replace("    file:\n", &format!("    renamed_from: {text}\n    file:\n"));
    assert_eq!(good(&named("old")).destinations[0].renamed_from.as_deref(), Some("old"));
    let own = problems(&named("archive"));
    assert!(own[0].contains("the name that it has now"), "{own:#?}");
    let two = "  other:\n    renamed_from: archive\n    file: { path: other }\n";
    let there = problems(&format!("{GOOD}{two}"));
    assert!(there.iter().any(|problem| problem.contains("which is still there")), "{there:#?}");
    let both = problems(&format!("{}{}", named("old"), two.replace("archive", "old")));
    assert!(both.iter().any(|problem| problem.contains("two destinations take over")), "{both:#?}");
}

#[test]
fn a_changed_section_has_another_fingerprint_and_a_comment_changes_nothing() {
    let of = |text: &str| good(text).destinations[0].fingerprint.clone();
    let one = of(GOOD);
    assert_eq!(of(&GOOD.replace("archive.ndjson", "archive.ndjson # a note")), one);
    assert_ne!(of(&GOOD.replace("archive.ndjson", "other.ndjson")), one);
    assert_ne!(of(&format!("defaults: {{ file: {{ envelope: false }} }}\n{GOOD}")), one);
}

#[test]
fn a_listen_that_a_variable_overrides_is_no_change() {
    struct Container;
    impl Surroundings for Container {
        fn variable(&self, name: &str) -> Option<String> {
            (name == OVERRIDE).then(|| "127.0.0.1:9000".to_owned())
        }
        fn file(&self, _: &Path) -> std::io::Result<String> {
            Err(std::io::Error::from(std::io::ErrorKind::NotFound))
        }
    }
    let config = |surroundings: &dyn Surroundings, listen: &str| {
        let parsed = Config::parse(Path::new("relay.yaml"), format!("listen: {listen}\n{GOOD}"), surroundings);
        parsed.unwrap_or_else(|error| panic!("{error}")).0
    };
    let changes = |surroundings: &dyn Surroundings| {
        let [old, new] = ["127.0.0.1:1", "127.0.0.1:2"].map(|listen| config(surroundings, listen));
        old.outline.changes_to(&new.outline)
    };
    assert_eq!(changes(&Container), Vec::<String>::new());
    assert_eq!(changes(&Env), ["`listen` has changed"]);
}

#[test]
fn another_encoding_is_known_by_its_mark_or_by_the_zeros_between_its_letters() {
    let little: Vec<u8> = "rules".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = "rules".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(encoding_of(&little), Some("UTF-16 (little-endian)"));
    assert_eq!(encoding_of(&big), Some("UTF-16 (big-endian)"));
    assert_eq!(encoding_of(&[0xff, 0xfe]), Some("UTF-16 (little-endian)"));
    assert_eq!(encoding_of("rules: []".as_bytes()), None);
    assert_eq!(encoding_of("ü".as_bytes()), None);
}

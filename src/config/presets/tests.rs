//! Presets written out: by rows through one expansion, and each that lies here with all of its fields against a server that repeats what it is sent.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::Config;
use crate::config::schema::value_of;
use crate::config::unknown::Known;
use crate::destination::client::{Answer, NetworkParts};
use crate::destination::sample::{Nothing, sample};
use crate::destination::{Client, Delivery};

/// What a config comes to.
#[track_caller]
fn expanded(text: &str) -> Node {
    let root = load::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
    let reader = Reader::new(".".into(), &Known);
    let expanded = expand(&reader, &root, None).map_or(root, |expanded| expanded.root);
    let told: Vec<_> = reader.into_found().problems.into_iter().map(|problem| problem.message).collect();
    assert!(told.is_empty(), "{told:?}");
    expanded
}

/// That a destination `d` by the preset `mine` of the config comes to this, beside `preset` and `fields`.
#[track_caller]
fn check(preset: &str, destination: &str, expected: &str) {
    let text = format!("presets: {{ mine: {preset} }}\ndestinations: {{ d: {{ preset: mine, {destination} }} }}\n");
    let mut node = expanded(&text).get("destinations").and_then(|node| node.get("d")).expect("there").clone();
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|(key, _)| !matches!(key.text.as_str(), "preset" | "fields"));
    }
    let expected = load::parse(expected).expect("YAML");
    assert_eq!(value_of(&node), value_of(&expected), "{preset} {destination}");
}

#[test]
fn places_are_filled_with_what_is_given_or_a_default_and_left_out_without_either() {
    let preset = "{ fields: { a: { default: 1 }, b: {}, c: { form: any }, t: { form: template }, r: { form: choice, values: { us: \"https://us\" }, default: us } }, http: { url: \"{r}/{a}\", json: { a: \"{a}\", b: \"{b}\", c: \"{c}\", t: \"{t}\", s: \"x{b}\", l: [\"{b}\"], m: { n: \"{b}\" }, k: [1, \"{b}\"], e: [], v: \"{{ type }}\" } } }";
    check(
        preset,
        "fields: {}",
        "{ http: { url: \"https://us/1\", json: { a: \"1\", k: [1], e: [], v: \"{{ type }}\" } } }",
    );
    check(
        preset,
        "fields: { a: 2, b: x, c: [1, { d: \"{{ user.id }}\" }], t: \"{{ user.id }}\" }",
        "{ http: { url: \"https://us/2\", json: { a: \"2\", b: x, c: [1, { d: \"{{ user.id }}\" }], t: \"{{ user.id }}{{ \\\"\\\" }}\", s: xx, l: [x], m: { n: x }, k: [1, x], e: [], v: \"{{ type }}\" } } }",
    );
    check(
        preset,
        "fields: { a: ~, t: \"u{{ user.id }}\" }",
        "{ http: { url: \"https://us/1\", json: { a: \"1\", t: \"u{{ user.id }}\", k: [1], e: [], v: \"{{ type }}\" } } }",
    );
}

#[test]
fn what_a_destination_says_itself_is_filled_too_and_what_is_no_field_is_as_it_stands() {
    let preset = "{ fields: { a: {}, url: {} }, http: { url: \"https://x/{url}\", json: { a: \"{a}\" }, sign: { over: \"{url}\", secret: s } } }";
    check(
        preset,
        "fields: { a: 1, url: u }, http: { json: { b: \"{a} {b} {{ type }}\", c: \"{a}\" } }",
        "{ http: { json: { b: \"1 {b} {{ type }}\", c: \"1\" }, url: \"https://x/u\", sign: { over: \"{url}\", secret: s } } }",
    );
    check(
        preset,
        "fields: { url: u }, http: { json: { c: \"{a}\" }, sign: { over: \"{url}{body}\" } }",
        "{ http: { sign: { over: \"{url}{body}\" }, url: \"https://x/u\" } }",
    );
}

#[test]
fn what_does_not_go_with_the_body_of_a_preset_is_refused_and_kept_away_from_it_in_defaults() {
    let told = |destination: &str, defaults: &str| {
        let preset = "{ fields: { a: { default: x } }, http: { url: \"http://127.0.0.1:9/x\", json: { a: \"{a}\" } } }";
        let head = "sources: { vero: { token: try-me } }\nrules: [{ to: [d] }]\n";
        let text = format!(
            "{head}{defaults}presets: {{ mine: {preset} }}\ndestinations: {{ d: {{ preset: mine, {destination} }} }}\n"
        );
        Config::parse(Path::new("relay.yaml"), text, &Nothing)
            .map(|(config, _)| config)
            .map_err(|error| error.to_string())
    };
    for (own, expected) in [
        ("text: x", "`text` does not go with the `json` of the preset `mine`"),
        ("pick: type", "`pick` does not go with the `json` of the preset `mine`"),
        ("batch: { max: 5 }", "the `json` of the preset `mine` is for one event"),
    ] {
        let error = told(&format!("http: {{ {own} }}"), "").err().unwrap_or_default();
        assert!(error.contains(expected), "{own}: {error}");
        // Where the preset's is taken out, or written anew, it goes.
        let whole = if own.starts_with("batch") { "json: { b: 1 }" } else { "json: ~" };
        let error = told(&format!("http: {{ {own}, {whole} }}"), "").err();
        assert_eq!(error, None, "{own}");
    }
    for default in
        ["text: x", "pick: type", "hash: [user.email], hash_key: abcdefgh", "batch: { max: 5 }", "escape: html"]
    {
        let config = told("rate: 5/s", &format!("defaults: {{ http: {{ {default} }} }}\n"));
        let config = config.unwrap_or_else(|error| panic!("{default}: {error}"));
        let content = config.destinations[0].destination.content(&sample(r#"{"type":"sent"}"#, 0)).expect("it renders");
        assert_eq!(String::from_utf8_lossy(&content), r#"{"a":"x"}"#, "{default}");
    }
}

#[test]
fn a_template_is_as_it_is_in_a_longer_text_and_always_a_text_alone() {
    let preset = "{ fields: { e: { form: template, default: \"{{ user.email }}\" } }, http: { url: \"https://x/{e}?a\", json: { e: \"{e}\" } } }";
    check(
        preset,
        "fields: {}",
        "{ http: { url: \"https://x/{{ user.email }}?a\", json: { e: \"{{ user.email }}{{ \\\"\\\" }}\" } } }",
    );
}

#[test]
fn what_a_destination_says_wins_over_its_preset_key_by_key() {
    let preset = "{ http: { url: \"https://x\", headers: { a: b, c: d } }, rate: 1/s, answers: { 404: reject } }";
    check(
        preset,
        "fields: {}",
        "{ http: { url: \"https://x\", headers: { a: b, c: d } }, rate: 1/s, answers: { 404: reject } }",
    );
    check(
        preset,
        "http: { headers: { e: f }, proxy: none }, rate: 2/s, timeout: 3s",
        "{ http: { headers: { e: f }, proxy: none, url: \"https://x\" }, rate: 2/s, timeout: 3s, answers: { 404: reject } }",
    );
}

#[test]
fn a_digest_looks_as_the_preset_says_unless_the_destination_says_it_and_there_is_none_unasked() {
    let preset =
        "{ fields: { a: { default: x } }, http: { url: \"https://x\", json: {} }, digest: { json: { n: \"{a}\" } } }";
    check(preset, "fields: {}", "{ http: { url: \"https://x\", json: {} } }");
    check(
        preset,
        "digest: { every: 1h }",
        "{ http: { url: \"https://x\", json: {} }, digest: { every: 1h, json: { n: x } } }",
    );
    check(preset, "digest: { json: {} }", "{ digest: { json: {} }, http: { url: \"https://x\", json: {} } }");
    let text = format!(
        "presets: {{ mine: {preset} }}\ndefaults: {{ http: {{ digest: {{ every: 1h }} }} }}\ndestinations: {{ d: {{ preset: mine }} }}\n"
    );
    let node = expanded(&text);
    let digest = node.get("destinations").and_then(|node| node.get("d")?.get("digest")).map(value_of);
    assert_eq!(digest, Some(serde_json::json!({ "every": "1h", "json": { "n": "x" } })));
}

#[test]
fn an_address_with_a_slash_behind_it_has_none_twice_where_a_path_follows() {
    let preset = "{ fields: { api: { form: url } }, http: { url: \"{api}/bot/x\", json: { a: \"{api}\" } } }";
    check(
        preset,
        "fields: { api: \"https://x.example.com/\" }",
        "{ http: { url: \"https://x.example.com/bot/x\", json: { a: \"https://x.example.com/\" } } }",
    );
}

/// What is told of a config that has these presets and destinations.
fn told(presets: &str, destinations: &str) -> Vec<String> {
    let text = format!("presets: {presets}\ndestinations: {destinations}\n");
    let root = load::parse(&text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
    let reader = Reader::new(".".into(), &Known);
    expand(&reader, &root, None);
    let problems = reader.into_found().problems.into_iter();
    problems.map(|problem| format!("{}; {}", problem.message, problem.help.unwrap_or_default())).collect()
}

/// That a preset with a secret in these places is refused for each of these reasons, and for nothing else.
#[track_caller]
fn check_refused(section: &str, expected: &[&str]) {
    let told = told(&format!("{{ mine: {{ fields: {{ key: {{ secret: true }} }}, {section} }} }}"), "{}");
    assert_eq!(told.len(), expected.len(), "{section}: {told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with("`{key}` is a secret, and ") && told.contains(expected), "{section}: {told}");
    }
}

#[test]
fn a_secret_has_no_place_where_it_would_be_shown() {
    check_refused("http: { url: \"https://{key}.example.com/x\" }", &["the host of a URL"]);
    check_refused("http: { url: \"https://x.example.com{key}\" }", &["the host of a URL"]);
    check_refused("http: { url: \"{key}x\" }", &["the host of a URL"]);
    check_refused("http: { url: \"https://x.example.com/{key}?k={key}\" }", &[]);
    check_refused("http: { url: \"{key}\" }", &[]);
    check_refused(
        "http: { url: \"https://x\", auth: { header: { name: \"{key}\", value: \"{key}\" } } }",
        &["`http.auth.header.name`"],
    );
    check_refused(
        "http: { url: \"https://x\", sign: { header: \"x-{key}\", secret: \"{key}\" } }",
        &["`http.sign.header`"],
    );
    check_refused("http: { url: \"https://x\", headers: { x-a: \"{key}\" }, json: [{ a: \"b{key}\" }] }", &[]);
    check_refused("file: { path: \"{key}/{date}\" }", &["`file.path`"]);
    check_refused("slack: { url: \"https://{key}/x\" }", &["the host of a URL"]);
    check_refused("slack: { token: \"{key}\", api: \"https://{key}/x\" }", &["the host of a URL"]);
    check_refused("email: { server: \"{key}\", password: \"{key}\" }", &["`email.server`"]);
}

#[test]
fn a_secret_has_no_place_where_a_template_would_change_it() {
    let code = "what a template makes of it";
    check_refused("http: { url: \"https://x\", text: \"{{ '{key}' | upper }}\" }", &[code]);
    check_refused("http: { url: \"https://x\", json: { a: \"{% filter upper %}{key}{% endfilter %}\" } }", &[code]);
    check_refused("http: { url: \"https://x\", json: {} }, digest: { json: { a: \"{{ '{key}' }}\" } }", &[code]);
    check_refused("http: { url: \"https://x\", text: \"{{ type }} {key} {{ type }}\" }", &[]);
}

#[test]
fn what_presets_come_to_is_counted_with_what_is_given_before_it_is_made() {
    let many = |count: usize, text: &str| vec![text; count].join(", ");
    let lists =
        format!("{{ mine: {{ fields: {{ x: {{ form: any }} }}, http: {{ json: [{}] }} }} }}", many(1000, "\"{x}\""));
    let texts = format!("{{ mine: {{ fields: {{ x: {{}} }}, http: {{ text: \"{}\" }} }} }}", "{x}".repeat(1000));
    let told_of = |presets: &str, x: &str| told(presets, &format!("{{ d: {{ preset: mine, fields: {{ x: {x} }} }} }}"));
    assert_eq!(told_of(&lists, &format!("[{}]", many(100, "1"))), [""; 0]);
    assert!(told_of(&lists, &format!("[{}]", many(1000, "1")))[0].starts_with("the presets, written out, hold more"));
    assert_eq!(told_of(&texts, &"y".repeat(1000)), [""; 0]);
    assert!(told_of(&texts, &"y".repeat(100_000))[0].starts_with("the presets, written out, hold more"));
}

#[test]
fn a_secret_that_stands_in_the_file_is_told_as_such_unless_it_goes_to_this_machine() {
    let plain = "this secret stands in the file as it is";
    let discord = |fields: &str| told("{}", &format!("{{ d: {{ preset: discord, fields: {{ {fields} }} }} }}"));
    let url = "url: \"https://discord.com/api/webhooks/1/a-secret-file\"";
    assert!(discord(url)[0].starts_with(plain));
    assert!(discord(&format!("{url}, avatar_url: \"http://127.0.0.1/a.png\""))[0].starts_with(plain));
    assert_eq!(discord("url: \"http://127.0.0.1:8099/api/webhooks/1/a-secret-file\""), [""; 0]);
    let own = "{ mine: { fields: { key: { secret: true } }, http: { url: \"http://127.0.0.1/x\", auth: { bearer: \"{key}\" } } } }";
    assert_eq!(told(own, "{ d: { preset: mine, fields: { key: a-secret-file } } }"), [""; 0]);
    let elsewhere =
        told(own, "{ d: { preset: mine, fields: { key: a-secret-file }, http: { url: \"https://x.example.com\" } } }");
    assert!(elsewhere[0].starts_with(plain), "{elsewhere:?}");
}

#[test]
fn what_is_told_of_a_missing_field_can_be_copied() {
    let told = told("{}", "{ d: { preset: discord } }");
    assert!(told[0].contains("write fields: { url: \"${DISCORD_WEBHOOK_URL}\" }"), "{told:?}");
}

#[test]
fn a_config_without_presets_is_left_alone() {
    let root = load::parse("destinations: { a: { file: { path: x } } }").expect("YAML");
    assert_eq!(expand(&Reader::new(".".into(), &Known), &root, None), None);
}

/// What no output may hold.
const CANARY: &str = "canary-of-a-secret-";

/// A value for a field that is right, secret where it is one.
fn right_value(name: &str, field: &Node) -> String {
    let said = |key: &str| field.get(key).and_then(Node::scalar).map(|scalar| scalar.text.clone());
    let is_secret = said("secret").as_deref() == Some("true");
    match said("form").as_deref() {
        Some("url") if is_secret => format!("\"https://hooks.example.com/hooks/{CANARY}{name}\""),
        _ if is_secret => format!("\"{CANARY}{name}\""),
        Some("url") => "\"https://example.com/x\"".to_owned(),
        Some("template") => "\"{{ type }}\"".to_owned(),
        Some("any") => match field.get("example").or(field.get("default")) {
            Some(node) => value_of(node).to_string(),
            None => "{}".to_owned(),
        },
        Some("choice") => {
            field.get("values").and_then(|node| Some(node.entries().last()?.0.text.clone())).expect("one")
        }
        _ => {
            said("example").or(said("default")).map_or("x".to_owned(), |text| serde_json::Value::from(text).to_string())
        }
    }
}

/// A config that uses a preset with all of its fields, or with those that it must have.
fn config_with(preset: &BuiltIn, all: bool) -> String {
    let node = load::parse(preset.text).expect("YAML");
    let fields = node.get("fields").map(Node::entries).unwrap_or_default();
    let is_given = |field: &Node| all || field.get("required").is_some();
    let fields = fields.iter().filter(|(_, field)| is_given(field));
    let fields: Vec<_> =
        fields.map(|(key, field)| format!("{}: {}", key.text, right_value(&key.text, field))).collect();
    format!(
        "sources: {{ vero: {{ token: a-token-of-twenty-signs }} }}\nrules: [{{ to: [d] }}]\ndestinations:\n  d:\n    preset: {}\n    fields: {{ {} }}\n",
        preset.name,
        fields.join(", ")
    )
}

#[test]
fn each_preset_is_good_with_all_of_its_fields_and_with_those_that_it_needs() {
    for preset in built_in() {
        for all in [false, true] {
            let text = config_with(&preset, all);
            let config = Config::parse(Path::new("relay.yaml"), text, &Nothing);
            let (config, _) = config.unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            for (_, body) in crate::event::vero::SAMPLES {
                let delivery = sample(body, 0);
                if let Err(unsent) = config.destinations[0].destination.content(&delivery) {
                    let told = unsent.to_string();
                    assert!(
                        told.contains("user.email") || told.contains("this needs"),
                        "{}: {told}: {body}",
                        preset.name
                    );
                }
            }
        }
        assert!(!preset.about().is_empty() && !preset.documentation().is_empty(), "{}", preset.name);
        assert!(preset.documentation().iter().all(|address| address.starts_with("https://")), "{}", preset.name);
        assert_eq!(preset.checked().len(), "2026-11-28".len(), "{}", preset.name);
    }
}

#[tokio::test]
async fn nothing_that_is_told_of_a_preset_holds_a_secret() {
    let count = Arc::new(AtomicUsize::new(0));
    for preset in built_in() {
        let counts = count.clone();
        // A server that repeats all that it was sent, and refuses it.
        let client = Client::scripted(move |call| {
            counts.fetch_add(1, Ordering::Relaxed);
            let body = format!("{} {:?} {}", call.url, call.headers, String::from_utf8_lossy(&call.body));
            Some(Answer { status: 422, headers: http::HeaderMap::new(), body: body.into() })
        });
        let text = config_with(&preset, true);
        let path = Path::new("relay.yaml");
        let proved = Config::prove_again(path, text.clone(), &Nothing, client.clone());
        let (config, report) = proved.unwrap_or_else(|error| panic!("{error}"));
        let destination = &config.destinations[0];
        let mut told = vec![report.render(false), report.lines().collect(), config.shown().text.clone()];
        told.push(format!("{:?} {:?}", config.outline, config.resolved));
        let (_, bounced) =
            crate::event::vero::SAMPLES.iter().find(|(name, _)| *name == "bounced").expect("it is there");
        let delivery: Delivery = sample(*bounced, 0);
        let preview = destination.destination.preview(&delivery).expect("it renders");
        told.extend([
            preview.title.clone(),
            preview.shown_content(),
            format!("{:?} {:?}", preview.facts, preview.headers),
        ]);
        told.extend(destination.destination.url().map(|_| destination.destination.address()));
        if destination.destination.url().is_some() {
            let outcomes = destination.destination.attempt(std::slice::from_ref(&delivery)).await;
            told.push(format!("{outcomes:?}"));
        }
        let wrong = text.replace("rules: [{ to: [d] }]", "rules: [{ to: [e] }]") + "    http: { method: GET }\n";
        let wrong = Config::prove_again(path, wrong, &Nothing, client).err().expect("it is wrong");
        told.push(wrong.to_string());
        let holds = told.iter().find(|told| told.contains(CANARY));
        assert_eq!(holds, None, "{}", preset.name);
    }
    assert!(count.load(Ordering::Relaxed) >= TEXTS.len() - 1, "requests were made");
}

#[test]
fn a_secret_given_as_it_is_stands_in_no_content_that_is_shown_elsewhere() {
    let preset = built_in().find(|preset| preset.name == "pagerduty").expect("it is there");
    let (config, _) = Config::parse(Path::new("relay.yaml"), config_with(&preset, true), &Nothing).expect("it is good");
    assert!(!config.destinations[0].shows_content);
}

/// Has a variable that is an address, and one that is a part of a host.
struct One;

impl crate::yaml::values::Surroundings for One {
    fn variable(&self, name: &str) -> Option<String> {
        let values = [("H", "https://hooks.example.com"), ("HOST", "Hunter2hunter2")];
        values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// What `check` says of one destination on one line, without the secret that is written there.
#[track_caller]
fn told_of(destination: &str) -> String {
    let destination = destination.replace("CANARY", CANARY);
    let head = "sources: { vero: { token: \"${T:-try-me}\" } }\nrules: [{ to: [d] }]\n";
    let presets = "presets: { wrong: { fields: { key: { secret: yes please } }, http: { url: \"https://x\" } } }\n";
    let presets = if destination.contains("preset: wrong") { presets } else { "" };
    let text = format!("{head}{presets}destinations:\n  d: {destination}\n");
    let report = match Config::parse(Path::new("relay.yaml"), text, &One) {
        Ok((_, report)) => report.render(false),
        Err(error) => error.to_string(),
    };
    assert!(!report.contains(CANARY), "{report}");
    report
}

#[test]
fn no_line_with_a_secret_is_shown_whatever_else_is_wrong_on_it() {
    for (destination, expected) in [
        ("{ preset: discord, fields: { url: \"${H}/hooks/CANARY\" }, rate: 5/x }", "rate"),
        (
            "{ preset: discord, fields: { url: \"${E:-https://discord.com/api/webhooks/1/CANARY}\" }, rate: 5/x }",
            "rate",
        ),
        ("{ slack: { url: \"${H}/services/CANARY\" }, rate: 5/x }", "rate"),
        ("{ slack: { url: \"${E:-https://chat.example.com/hooks/CANARY}\" }, rate: 5/x }", "rate"),
        ("{ http: { url: \"${H}/x\", headers: { x-team: \"a${E:-CANARY}\" } }, rate: 5/x }", "rate"),
        ("{ preset: discrod, fields: { url: \"https://discord.com/api/webhooks/1/CANARY\" } }", "there is no preset"),
        ("{ preset: discrod, fields: { url: \"${H}/api/webhooks/1/CANARY\" } }", "there is no preset"),
        ("{ preset: telegram, fields: { toekn: CANARY, chat_id: 7 } }", "has no field `toekn`"),
        ("{ preset: telegram, fields: { token: \"${H}\", chat_id: 7, kay: CANARY } }", "has no field `kay`"),
        ("{ preset: telegram, feilds: { token: CANARY, chat_id: 7 } }", "unknown key `feilds`"),
        ("{ preset: wrong, fields: { key: CANARY } }", "true or false"),
        ("{ preset: [discord], fields: { url: \"https://discord.com/api/webhooks/1/CANARY\" } }", "should be a text"),
        ("{ preset: discord, fields: [CANARY] }", "should be a map"),
    ] {
        let told = told_of(destination);
        assert!(told.contains(expected), "{destination}: {told}");
        assert!(!told.contains("needs the field"), "{told}");
    }
    // One that names variables alone is shown.
    let told = told_of("{ rate: 5/x, preset: telegram, fields: { chat_id: 7, token: \"${H}\" } }");
    assert!(told.contains("fields: { chat_id:"), "{told}");
}

#[test]
fn a_variable_whose_sign_is_doubled_is_told_of_where_a_secret_is_asked_for() {
    for secret in [
        "{ preset: telegram, fields: { token: \"$${BOT_TOKEN}\", chat_id: 7 } }",
        "{ slack: { token: \"$${BOT_TOKEN}\", channel: a } }",
    ] {
        let told = told_of(secret);
        assert!(told.contains("this looks like a variable, and is taken as it stands"), "{told}");
    }
}

#[tokio::test]
async fn a_host_that_a_variable_makes_is_not_told_when_it_cannot_be_looked_up() {
    let nobody = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    let client = Client::with(NetworkParts { resolve: Arc::new(nobody), ..NetworkParts::default() });
    for section in [
        "http: { url: \"https://${HOST}.example.com/x\" }",
        "slack: { url: \"https://${HOST}.example.com/x\" }",
        "slack: { token: \"xoxb-1\", channel: \"#a\", api: \"https://${HOST}.example.com/\", thread_by: [type] }",
        "email: { server: \"smtp://${HOST}.example.com\", from: a@example.com, to: b@example.com, subject: a, text: b }",
    ] {
        let head = "sources: { vero: { token: try-me } }\nrules: [{ to: [d] }]\n";
        let text = format!("{head}destinations:\n  d: {{ {section} }}\n");
        let proved = Config::prove_again(Path::new("relay.yaml"), text, &One, client.clone());
        let (config, _) = proved.unwrap_or_else(|error| panic!("{section}: {error}"));
        let delivery: Delivery = sample(r#"{"type":"bounced","user":{"id":7}}"#, 0);
        let outcomes = config.destinations[0].destination.attempt(std::slice::from_ref(&delivery)).await;
        let told = format!("{outcomes:?}");
        assert!(told.contains("could not be looked up"), "{section}: {told}");
        assert!(!told.to_lowercase().contains("hunter2"), "{section}: {told}");
    }
}

#[tokio::test]
async fn segment_gets_several_calls_in_one_request_beside_its_key() {
    let seen: Arc<std::sync::Mutex<Vec<serde_json::Value>>> = Arc::default();
    let keeps = seen.clone();
    let client = Client::scripted(move |call| {
        keeps.lock().expect("the lock").push(serde_json::from_slice(&call.body).expect("JSON"));
        Some(Answer { status: 200, headers: http::HeaderMap::new(), body: r#"{"success":true}"#.into() })
    });
    let preset = built_in().find(|preset| preset.name == "segment").expect("it is there");
    let proved = Config::prove_again(Path::new("relay.yaml"), config_with(&preset, false), &Nothing, client);
    let (config, _) = proved.unwrap_or_else(|error| panic!("{error}"));
    let deliveries: Vec<Delivery> =
        [7, 8].map(|id| sample(format!(r#"{{"type":"opened","user":{{"id":{id}}}}}"#), 0)).into();
    let outcomes = config.destinations[0].destination.attempt(&deliveries).await;
    assert!(outcomes.len() == 2 && outcomes.iter().all(crate::destination::Outcome::is_delivered), "{outcomes:?}");
    let seen = seen.lock().expect("the lock");
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert!(request["writeKey"].is_string(), "{request}");
    let users: Vec<_> = request["batch"].as_array().into_iter().flatten().map(|call| &call["userId"]).collect();
    assert_eq!(users, ["7", "8"], "{request}");
}

#[test]
fn what_a_preset_says_of_its_batch_stays_and_what_does_not_stand_beside_it_is_told_of_once() {
    check(
        "{ http: { url: \"https://x\", json: { a: 1 }, batch: { max: 9, wrap: batch } } }",
        "http: { batch: { max: 5 } }",
        "{ http: { batch: { max: 5, wrap: batch }, url: \"https://x\", json: { a: 1 } } }",
    );
    let told = told(
        "{}",
        "{ d: { preset: customer_io, fields: { site_id: a, api_key: b }, digest: { every: 1h }, http: { url: \"http://127.0.0.1:9/x\" } } }",
    );
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("sends several events in one request"), "{told:?}");
}

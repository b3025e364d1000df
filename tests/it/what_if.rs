//! The history through a config that is not in force: what would appear, vanish and change, and that nothing is done.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::*;

/// A relay, and the directory where candidates are written.
struct Trying {
    relay: TestRelay,
    path: PathBuf,
}

/// Two rules, three destinations that are all paused or elsewhere: what is sent does not matter here.
const NOW: &str = "
rules:
  - { name: trouble, match: { type: bounced }, to: alerts }
  - { name: everything, to: [crm, archive] }
destinations:
  alerts: { slack: { url: \"http://127.0.0.1:9/services/T0/B0/canary-in-a-path\" } }
  crm: { http: { url: \"http://127.0.0.1:9/crm\", json: { kind: \"{{ type }}\", who: \"{{ user.id }}\" } } }
  archive: { file: { path: \"archive.ndjson\" } }
";

impl Trying {
    async fn start(rest: &str) -> Self {
        let relay = TestRelay::start(rest).await;
        let path = relay.directory.path().join("new.yaml");
        Self { relay, path }
    }

    async fn with_events() -> Self {
        let trying = Self::start(NOW).await;
        for (event_type, campaign) in
            [("bounced", "Receipt"), ("sent", "Receipt"), ("bounced", "Cart"), ("opened", "Cart")]
        {
            let body = json!({ "type": event_type, "user": { "id": 7, "email": "steve@example.com" }, "campaign": { "name": campaign } });
            trying.relay.accept(&body.to_string()).await;
        }
        trying
    }

    /// A relay with a config in force that reads `${file:secret}`.
    async fn with_secret(rest: &str, secret: &str) -> Self {
        let trying = Self::start(NOW).await;
        let write =
            |name: &str, text: &str| std::fs::write(trying.relay.directory.path().join(name), text).expect("written");
        write("secret", secret);
        write("number", "1");
        write("type", "sent");
        trying.put_in_force(rest).await;
        trying
    }

    async fn put_in_force(&self, rest: &str) {
        let config = self.relay.directory.path().join("config.yaml");
        std::fs::write(config, format!("{HEAD}{rest}")).expect("written");
        self.relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    }

    /// The answer to a candidate over the whole history.
    async fn ask(&self, config: &str, more: &[(&str, Value)]) -> Message {
        let range = self.relay.admin("/api/what-if").await.json();
        let mut asked = json!({ "config": config, "after": range["next"] });
        more.iter().for_each(|(key, value)| asked[*key] = value.clone());
        let headers = [("x-vero-relay-write", "1")];
        let address = self.relay.running.admin_address;
        request(address, "POST", "/api/what-if", &headers, asked.to_string().as_bytes()).await
    }

    async fn told(&self, rest: &str) -> Value {
        let answer = self.ask(&format!("{HEAD}{rest}"), &[]).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.json()
    }

    /// The verb, with the candidate in a file.
    async fn verb(&self, rest: &str, args: &[&str]) -> Output {
        std::fs::write(&self.path, format!("{HEAD}{rest}")).expect("written");
        let admin = format!("http://{}", self.relay.running.admin_address);
        self.run(&[&["new.yaml", "--admin", &admin], args].concat()).await
    }

    async fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.arg("what-if").args(args).current_dir(self.relay.directory.path());
        command.env_remove("VERO_RELAY_CONFIG").env_remove("VERO_RELAY_ADMIN");
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each group as `change rule destination deliveries`, in order.
fn groups(told: &Value) -> Vec<String> {
    let groups = told["groups"].as_array().unwrap_or_else(|| panic!("{told}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |group: &Value| {
        let [change, rule, destination] = ["change", "rule", "destination"].map(|key| text(&group[key]));
        format!("{change} {rule} {destination} {}", group["deliveries"])
    };
    let mut lines: Vec<_> = groups.iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_appear_vanish_and_change_is_told_and_the_same_config_changes_nothing() {
    let trying = Trying::with_events().await;
    let same = trying.told(NOW).await;
    assert_eq!((groups(&same), &same["stays"], &same["events"]), (vec![], &10.into(), &4.into()), "{same}");

    let wider = trying.told(&NOW.replace("match: { type: bounced }", "match: { type: [bounced, sent] }")).await;
    assert_eq!(groups(&wider), ["appears trouble alerts 1"]);
    assert_eq!((&wider["appears"], &wider["stays"]), (&1.into(), &10.into()));
    assert_eq!(wider["groups"][0]["examples"][0]["type"], "sent");

    let narrower = trying.told(&NOW.replace("type: bounced", "type: bounced, campaign.name: Cart")).await;
    assert_eq!(groups(&narrower), ["vanishes trouble alerts 1"]);
    assert_eq!(narrower["groups"][0]["examples"][0]["campaign"], "Receipt");

    let reshaped = trying.told(&NOW.replace("kind: \"{{ type }}\"", "kind: \"{{ type | upper }}\"")).await;
    assert_eq!(groups(&reshaped), ["changes everything crm 4"]);
    let examples = reshaped["groups"][0]["examples"].as_array().expect("examples");
    assert_eq!(examples.len(), 3, "a few of the four");
    let (now, then) = (&examples[0]["now"], &examples[0]["then"]);
    assert_eq!(
        (now.as_str(), then.as_str()),
        (Some(r#"{"kind":"bounced","who":7}"#), Some(r#"{"kind":"BOUNCED","who":7}"#))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_sent_counts_and_by_which_way() {
    let trying = Trying::with_events().await;
    let slower = NOW.replace("crm: { http:", "crm: { rate: 1/s, timeout: 3s, http:");
    assert_eq!(groups(&trying.told(&slower).await), Vec::<String>::new());
    let elsewhere =
        NOW.replace("canary-in-a-path", "another-path").replace("9/crm\"", "9/crm\", headers: { x-team: growth }");
    let elsewhere = elsewhere.replace("archive.ndjson", "{type}.ndjson");
    let told = trying.told(&elsewhere).await;
    let expected = ["moves everything archive 4", "moves everything crm 4", "moves trouble alerts 2"];
    assert_eq!(groups(&told), expected);
    assert!(!told.to_string().contains("path") && !told.to_string().contains("growth"), "ways are not shown: {told}");
    let method = trying.told(&NOW.replace("9/crm\"", "9/crm\", method: PUT")).await;
    assert_eq!(groups(&method), ["moves everything crm 4"]);
    // The name of a rule is nothing that is sent, unless a template sends it.
    let named = NOW.replace("name: everything", "name: all");
    assert_eq!(groups(&trying.told(&named).await), Vec::<String>::new());
    let sent = "who: \"{{ relay.rule }}\"";
    let sending = Trying::start(&NOW.replace("who: \"{{ user.id }}\"", sent)).await;
    sending.relay.accept(SENT).await;
    let told = sending.told(&named.replace("who: \"{{ user.id }}\"", sent)).await;
    assert_eq!(groups(&told), ["changes all crm 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_out_together_is_told_with_the_messages_that_it_comes_to() {
    let trying = Trying::with_events().await;
    let together = |digest: &str| NOW.replace("crm: { http:", &format!("crm: {{ digest: {digest}, http:"));
    let told = trying.told(&together("{ every: 1h, by: [], first: 0 }")).await;
    assert_eq!(groups(&told), ["waits everything crm 4"]);
    assert_eq!(told["messages"], json!([{ "destination": "crm", "now": 4, "then": 1 }]));
    assert_eq!(told["groups"][0]["examples"][0]["now"], "by itself, as it comes");
    assert_eq!(told["groups"][0]["examples"][0]["then"], "with others of its group");
    let told = trying.told(&together("{ every: 1h, by: [], first: 3 }")).await;
    assert_eq!(told["messages"], json!([{ "destination": "crm", "now": 4, "then": 4 }]));
    let urgent = NOW.replace("crm: { http:", "crm: { urgent: { type: bounced }, http:");
    let told = trying.told(&urgent).await;
    assert_eq!(told["groups"][0]["change"], "waits", "{told}");
    assert_eq!(told["messages"], json!([{ "destination": "crm", "now": 4, "then": 4 }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_would_stand_in_another_thread_or_be_counted_go_another_way() {
    let trying = Trying::with_events().await;
    let app = |more: &str| {
        let app = format!("crm: {{ slack: {{ token: xoxb-canary, channel: \"#email\"{more} }} }}");
        let rest: Vec<_> = NOW
            .lines()
            .map(|line| if line.trim().starts_with("crm:") { format!("  {app}") } else { line.to_owned() })
            .collect();
        rest.join("\n")
    };
    trying.put_in_force(&app(", thread_by: [campaign.name]")).await;
    for (more, expected) in [
        (", thread_by: [campaign.name]", vec![]),
        (", thread_by: [type]", vec!["moves everything crm 4"]),
        (", thread_by: [campaign.name], update: true", vec!["moves everything crm 4"]),
        ("", vec!["moves everything crm 4"]),
    ] {
        assert_eq!(groups(&trying.told(&app(more)).await), expected, "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_destination_is_one_and_a_new_name_alone_is_another() {
    let trying = Trying::with_events().await;
    let renamed = NOW.replace("crm: { http", "hubspot: { renamed_from: crm, http").replace("[crm,", "[hubspot,");
    assert_eq!(groups(&trying.told(&renamed).await), Vec::<String>::new());
    let another = NOW.replace("crm: { http", "hubspot: { http").replace("[crm,", "[hubspot,");
    let expected = ["appears everything hubspot 4", "vanishes everything crm 4"];
    assert_eq!(groups(&trying.told(&another).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_no_rule_or_no_source_would_take_any_more_are_told() {
    let trying = Trying::with_events().await;
    let narrow = NOW.replace("name: everything, to", "name: everything, match: { campaign.name: Cart }, to");
    let told = trying.told(&narrow).await;
    assert_eq!(told["no_longer_accepted"]["events"], 1, "a bounced receipt still goes to alerts: {told}");
    assert_eq!(told["no_longer_accepted"]["examples"][0]["type"], "sent");

    let other = format!("{}{NOW}", HEAD.replace("vero:", "other:"));
    let told = trying.ask(&other, &[]).await.json();
    assert_eq!((&told["sources_gone"], &told["vanishes"]), (&json!(["vero"]), &10.into()), "{told}");
    assert_eq!(told["no_longer_accepted"]["events"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_or_written_and_the_config_in_force_stays() {
    let fake = Fake::start([]).await;
    let trying = Trying::start(&to_crm(&fake, "")).await;
    let id = trying.relay.accept(SENT).await;
    trying.relay.until(&id, "delivered").await;
    let before = trying.relay.admin("/api/store").await.json();
    let (other, files) = (Fake::start([]).await, trying.relay.directory.path().join("data"));
    let more = "  new: { file: { path: new.ndjson } }\n";
    let told = trying.told(&to_crm(&other, more).replace("to: crm", "to: [crm, new]")).await;
    assert_eq!(groups(&told), ["appears all new 1", "moves all crm 1"]);
    assert_eq!(trying.relay.running.relay.generation().number, 1);
    // One more event goes through everything: whatever had been set off before it would have come by now.
    let id = trying.relay.accept(SENT).await;
    trying.relay.until(&id, "delivered").await;
    assert_eq!((fake.seen().len(), other.seen().len(), files.join("new.ndjson").exists()), (2, 0, false));
    let after = trying.relay.admin("/api/store").await.json();
    assert_eq!(after["events"].as_u64(), before["events"].as_u64().map(|events| events + 1), "{after}");
    let names = trying.relay.admin("/api/destinations").await.text();
    assert!(!names.contains("\"new\""), "the store has not heard of the candidate's names: {names}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_knows_and_the_asker_need_not_is_not_shown() {
    let canary = "canary-in-a-file";
    let turned: String = canary.chars().rev().collect();
    let bearer = |text: &str| text.replace("9/crm\"", "9/crm\", auth: { bearer: \"${file:secret}\" }");
    let trying = Trying::with_secret(&bearer(NOW), canary).await;
    trying.relay.accept(SENT).await;
    for who in ["who: \"${file:secret}\"", "who: \"{{ '${file:secret}' | reverse }}\""] {
        let told = trying.told(&bearer(NOW).replace("who: \"{{ user.id }}\"", who)).await;
        assert_eq!(groups(&told), ["changes everything crm 1"], "it is told");
        assert_eq!(told["groups"][0]["not_compared"], "it holds a secret in a new place", "{told}");
        assert!(told["groups"][0]["examples"][0]["then"].is_null(), "and not shown: {told}");
        assert!(!told.to_string().contains(canary) && !told.to_string().contains(&turned), "{told}");
    }
    // The neighbours: where the value stands in the place that it has in force, all else is compared; what stands in the file itself
    // is shown.
    let same = trying.told(&bearer(NOW)).await;
    assert!(groups(&same).is_empty(), "{same}");
    let told = trying.told(&bearer(NOW).replace("who: \"{{ user.id }}\"", "who: two")).await;
    assert_eq!(told["groups"][0]["examples"][0]["then"], r#"{"kind":"sent","who":"two"}"#, "{told}");
    assert!(told["groups"][0]["not_compared"].is_null() && !told.to_string().contains(canary), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_resolves_nothing_that_the_config_in_force_has_not_resolved() {
    let trying = Trying::with_events().await;
    let there = trying.relay.directory.path().join("there");
    std::fs::write(&there, "canary-of-a-file").expect("written");
    let told = async |reference: &str| {
        let text = NOW.replace("who: \"{{ user.id }}\"", &format!("who: \"a ${{{reference}}}\""));
        let answer = trying.ask(&format!("{HEAD}{text}"), &[]).await;
        // The line below the quoted one has as many signs as the reference.
        (answer.status(), answer.text().replace(reference, "R").replace('^', ""))
    };
    let missing = told("NOT_SET_ANYWHERE").await;
    assert_eq!(missing.0, 422);
    assert!(missing.1.contains("the config in force does not use ${R}"), "{}", missing.1);
    // Set, there, unreadable, no file, or not there at all: the answer is one and the same.
    for reference in [
        "PATH",
        "CARGO_MANIFEST_DIR",
        "file:there",
        "file:not-there",
        "file:/etc/shadow",
        "file:/proc/kmsg",
        "file:/",
        "credential:x",
        "VERO_RELAY_LISTEN",
    ] {
        assert_eq!(told(reference).await, missing, "{reference}");
    }
    for defaulted in ["NOT_SET_ANYWHERE:-x", "PATH:-x"] {
        let (status, answer) = told(defaulted).await;
        assert_eq!(status, 200, "{answer}");
        assert!(!answer.contains("not_compared"), "a default stands in the candidate itself: {answer}");
    }
}

/// Ways to ask what stands behind a value, each with a right and a wrong guess of the same length, all of it or a part.
const QUESTIONS: [(&str, &str); 14] = [
    ("who: \"{{ user.id }}\"", "who: \"{% if '${file:secret}' is startingwith('GUES') %}A{% else %}B{% endif %}\""),
    ("who: \"{{ user.id }}\"", "who: \"{% if '${file:secret}' is startingwith('GUES') %}{{ no() }}{% endif %}\""),
    ("who: \"{{ user.id }}\"", "who: \"{{ {'GUESS': 1}['${file:secret}'] | nothing }}\""),
    ("crm: { http: {", "crm: { timeout: \"1${file:number}s\", http: {"),
    ("type: bounced", "type: { glob: \"${file:type}\" }"),
    ("type: bounced", "type: { regex: \"^GUES.*${file:secret}\" }"),
    ("name: trouble, match: { type: bounced }", "name: \"${file:secret}\", match: { type: bounced }"),
    ("path: \"archive.ndjson\"", "path: \"/tmp/${file:secret}\" } }\n  more: { file: { path: \"/tmp/GUES{type}\""),
    ("path: \"archive.ndjson\"", "path: \"/tmp/${file:secret}\" } }\n  more: { file: { path: \"/tmp/GUESS\""),
    ("path: \"archive.ndjson\"", "path: \"a/{${file:secret}}\""),
    ("to: alerts", "to: \"${file:secret}\""),
    ("http://127.0.0.1:9/crm", "${file:secret}"),
    ("http://127.0.0.1:9/crm", "http://127.0.0.1:9/crm?GUESS"),
    ("auth: { bearer: \"${file:secret}\" }", "auth: { bearer: \"GUESS\" }"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_depends_on_what_a_value_is() {
    let now = NOW.replace(
        "9/crm\"",
        "9/crm\", auth: { bearer: \"${file:secret}\" }, headers: { n: \"${file:number}\", t: \"${file:type}\" }",
    );
    // Two relays that differ in nothing but what the secret is.
    let mut answers = Vec::new();
    for [secret, number, event_type] in [["kappa", "2", "bounced"], ["omega", "9999999", "opened"]] {
        let trying = Trying::with_secret(&now, secret).await;
        let write =
            |name: &str, text: &str| std::fs::write(trying.relay.directory.path().join(name), text).expect("written");
        write("number", number);
        write("type", event_type);
        trying.put_in_force(&now).await;
        for body in [SENT, r#"{"type":"bounced","user":{"id":"kappa"}}"#] {
            trying.relay.accept(body).await;
        }
        let mut told = Vec::new();
        for (from, to) in QUESTIONS {
            assert!(now.contains(from), "{from}");
            let asked = now.replace(from, &to.replace("GUESS", "kappa").replace("GUES", "kapp"));
            let range = trying.relay.admin("/api/what-if").await.json();
            let answer = trying.ask(&format!("{HEAD}{asked}"), &[]).await;
            let mut answer = format!("{} {}", answer.status(), answer.text());
            for event in trying.relay.admin("/api/events").await.json()["events"].as_array().into_iter().flatten() {
                answer = answer.replace(event["id"].as_str().unwrap_or("?"), "ID");
            }
            told.push((to, answer, range["events"].clone()));
        }
        answers.push(told);
    }
    for (one, other) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(one, other);
    }
}

/// Presets in force, each destination with a variable in a field: one of the config's own, one that is there, one that chooses by it.
const BY_PRESETS: &str = "
rules: [{ name: everything, to: [own, there, chosen, beside] }]
presets:
  mine: { fields: { key: {}, word: { form: template, default: a }, last: { form: template, default: z } }, http: { url: \"http://127.0.0.1:9/own\", auth: { bearer: \"{key}\" }, json: { kind: \"{{ type }}\", of: \"{word}\" } } }
  by: { fields: { region: { form: choice, values: { kappa: \"http://127.0.0.1:9/k\", omega: \"http://127.0.0.1:9/o\" } } }, http: { url: \"{region}\", json: { kind: \"{{ type }}\" } } }
destinations:
  own: { preset: mine, fields: { key: \"${file:secret}\" } }
  there: { preset: telegram, fields: { token: \"${file:secret}\", chat_id: \"7\" } }
  chosen: { preset: by, fields: { region: \"${file:secret}\" } }
  jira: { http: { url: \"http://127.0.0.1:9/jira\", json: { fields: { key: \"${file:secret}\" } } } }
  beside: { preset: mine, fields: { key: k, word: b, last: c }, http: { json: { a: \"{word}${file:secret}{last}\" } } }
";

/// Ways to have a preset tell what a field of it stands for, by a right and a wrong guess.
const PRESETS_THAT_ASK: [(&str, &str); 15] = [
    (
        "destinations:\n",
        "  ask: { fields: { key: { form: choice, values: { GUESS: x } } }, http: { url: \"http://127.0.0.1:9/a\", text: \"{key}\" } }\ndestinations:\n  \"jira\\0http\\0json\": { preset: ask, fields: { key: \"${file:secret}\" } }\n",
    ),
    ("word: b, last: c", "word: \"{% if '\", last: \"' is startingwith('GUES') %}{{ no() }}{% endif %}\""),
    ("json: { kind:", "needs: { a: \"{% if '{key}' is startingwith('GUES') %}1{% endif %}\" }, json: { kind:"),
    ("of: \"{word}\"", "of: \"{% if '{key}' is startingwith('GUES') %}{{ no() }}{% endif %}\""),
    ("of: \"{word}\"", "of: \"{key}\""),
    ("of: \"{word}\"", "of: \"{{ '{key}' | GUESS }}\""),
    ("key: {},", "key: { form: choice, values: { GUESS: a } },"),
    ("key: {},", "key: { form: url },"),
    ("key: {},", "key: { like: \"GUES*\" },"),
    ("key: {},", "key: { secret: true },"),
    ("auth: { bearer: \"{key}\" }", "auth: { bearer: \"GUESS\" }"),
    ("values: { kappa:", "values: { GUESS: \"http://127.0.0.1:9/k\", x:"),
    ("values: { kappa: \"http://127.0.0.1:9/k\"", "values: { kappa: \"http://127.0.0.1:9/GUESS\""),
    (
        "preset: telegram, fields: { token: \"${file:secret}\", chat_id: \"7\" }",
        "preset: discord, fields: { url: \"${file:secret}\" }",
    ),
    ("chat_id: \"7\"", "chat_id: \"${file:secret}\""),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_depends_on_what_a_preset_puts_elsewhere() {
    let mut answers = Vec::new();
    for secret in ["kappa", "omega"] {
        let trying = Trying::with_secret(BY_PRESETS, secret).await;
        trying.relay.accept(SENT).await;
        let mut told = Vec::new();
        for (from, to) in PRESETS_THAT_ASK {
            assert!(BY_PRESETS.contains(from), "{from}");
            let asked = BY_PRESETS.replace(from, &to.replace("GUESS", "kappa").replace("GUES", "kapp"));
            let answer = trying.ask(&format!("{HEAD}{asked}"), &[]).await;
            let mut told_of = answer.json();
            if let Some(groups) = told_of["groups"].as_array_mut() {
                // Of as many deliveries, they are told in no order.
                groups.sort_by_key(|group| group["destination"].to_string());
            }
            let mut answer = format!("{} {told_of}", answer.status());
            for event in trying.relay.admin("/api/events").await.json()["events"].as_array().into_iter().flatten() {
                answer = answer.replace(event["id"].as_str().unwrap_or("?"), "ID");
            }
            told.push((to, answer));
        }
        answers.push(told);
    }
    for (one, other) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(one, other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_preset_puts_where_it_was_is_compared_and_in_a_new_place_is_not() {
    let trying = Trying::with_secret(BY_PRESETS, "kappa").await;
    trying.relay.accept(SENT).await;
    let same = trying.told(BY_PRESETS).await;
    assert_eq!((&same["stays"], groups(&same)), (&json!(4), vec![]), "{same}");
    // Another field, and another key of the preset: what the variable stands for stays where it was.
    for (from, to) in [
        ("fields: { key: \"${file:secret}\" }", "fields: { key: \"${file:secret}\", word: b }"),
        ("json: { kind: \"{{ type }}\", of: \"{word}\" }", "json: { kind: \"{{ type }}\" }"),
    ] {
        let told = trying.told(&BY_PRESETS.replace(from, to)).await;
        assert_eq!(groups(&told), ["changes everything own 1"], "{told}");
        assert!(told["groups"][0]["not_compared"].is_null(), "{told}");
    }
    // The section that the preset comes to, written by hand, is the same.
    let by_hand = "own: { http: { url: \"http://127.0.0.1:9/own\", auth: { bearer: \"${file:secret}\" }, json: { kind: \"{{ type }}\", of: a } } }";
    let told =
        trying.told(&BY_PRESETS.replace("own: { preset: mine, fields: { key: \"${file:secret}\" } }", by_hand)).await;
    assert_eq!((&told["stays"], groups(&told)), (&json!(4), vec![]), "{told}");
    // By another name each value would stand in another place.
    let renamed = BY_PRESETS.replace("own: { preset", "mine: { renamed_from: own, preset").replace("[own,", "[mine,");
    let told = trying.told(&renamed).await;
    assert_eq!(told["groups"][0]["not_compared"], "it holds a secret in a new place", "{told}");
    // Where it would go elsewhere, the rest is compared all the same.
    let told = trying.told(&BY_PRESETS.replace("of: \"{word}\"", "of: \"{key}\"")).await;
    assert_eq!(told["stays"], 3, "{told}");
    assert_eq!(told["groups"][0]["not_compared"], "it holds a secret in a new place", "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_told_with_its_lines_and_a_wrong_place_to_go_on_is_refused() {
    let trying = Trying::with_events().await;
    let bad = NOW.replace("to: alerts", "to: alrets");
    let answer = trying.ask(&format!("{HEAD}{bad}"), &[("file", json!("new.yaml"))]).await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    let told = answer.json()["error"].as_str().expect("why").to_owned();
    assert!(told.contains("new.yaml:7:52") && told.contains("did you mean `alerts`?"), "{told}");

    let good = format!("{HEAD}{NOW}");
    for (more, words) in [
        (vec![("after", json!("x"))], "give what the page before said"),
        (vec![("after", json!("../x"))], "give what the page before said"),
        (vec![("after", json!(7))], "`after` should be a text"),
        (vec![("config", Value::Null)], "`config` is missing"),
        (vec![("conifg", json!("x"))], "there is no `conifg`"),
    ] {
        let answer = trying.ask(&good, &more).await;
        assert!(answer.status() == 400 && answer.text().contains(words), "{words}: {}", answer.text());
    }
    for (query, words) in [("last=0", "from 1 on"), ("last=1&since=2h", "give one of them"), ("lsat=1", "no parameter")]
    {
        let answer = trying.relay.admin(&format!("/api/what-if?{query}")).await;
        assert!(answer.status() == 400 && answer.text().contains(words), "{query}: {}", answer.text());
    }
    // A page in the operator's browser cannot ask.
    let foreign = request(trying.relay.running.admin_address, "POST", "/api/what-if", &[], b"{}").await;
    assert_eq!(foreign.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_as_long_as_it_may_be_is_taken_and_a_longer_one_is_refused() {
    let trying = Trying::with_events().await;
    let good = format!("{HEAD}{NOW}");
    // Each quote is two bytes of JSON.
    let room = (1 << 20) - good.len();
    let longest = format!("{good}#{}", "\"".repeat(room - 1));
    assert_eq!(trying.ask(&longest, &[]).await.status(), 200);
    let longer = trying.ask(&format!("{longest}\""), &[("file", json!("new.yaml"))]).await;
    assert!(
        longer.status() == 422 && longer.text().contains("new.yaml is larger than 1048576 bytes"),
        "{}",
        longer.text()
    );
    let verb = trying.verb(&format!("{NOW}#{}", "\"".repeat(room)), &[]).await;
    assert_eq!(verb.status.code(), Some(78), "{}", err(&verb));
    assert!(err(&verb).contains("new.yaml is larger than 1048576 bytes"), "{}", err(&verb));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_says_it_in_words_in_json_and_with_exit_codes() {
    let trying = Trying::with_events().await;
    let same = trying.verb(NOW, &[]).await;
    let nothing = "new.yaml, tried with 4 events: nothing would change, 10 stay as they are\n";
    assert_eq!((same.status.code(), out(&same).as_str()), (Some(0), nothing), "{}", err(&same));
    let newest = trying.verb(NOW, &["--last", "2"]).await;
    assert!(out(&newest).starts_with("new.yaml, tried with 2 events: nothing"), "{}{}", out(&newest), err(&newest));
    let since = trying.verb(NOW, &["--since", "1h"]).await;
    assert_eq!(out(&since), nothing);
    let both = trying.verb(NOW, &["--since", "1h", "--last", "3"]).await;
    assert_eq!(both.status.code(), Some(2));

    let changed = NOW
        .replace("type: bounced }, to: alerts", "type: sent }, to: [alerts, crm]")
        .replace(
            "name: everything, to: [crm, archive]",
            "name: carts, match: { campaign.name: Cart }, to: [crm, archive]",
        )
        .replace("{{ type }}", "{{ type | upper }}")
        .replace("archive.ndjson", "archive/{date}.ndjson");
    let words = trying.verb(&changed, &[]).await;
    assert_eq!(words.status.code(), Some(0), "{}", err(&words));
    assert!(err(&words).contains("warning: "), "no rule takes all types: {}", err(&words));
    let mut text = out(&words);
    let events = trying.relay.admin("/api/events").await.json();
    for (at, event) in events["events"].as_array().expect("events").iter().rev().enumerate() {
        text = text.replace(event["id"].as_str().expect("an id"), &format!("EVENT-{}", at + 1));
    }
    insta::assert_snapshot!(text);
    let told = trying.verb(&changed, &["--json"]).await;
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!((&told["events"], &told["skipped"], &told["vanishes"]), (&4.into(), &0.into(), &5.into()), "{told}");

    let bad = trying.verb(&NOW.replace("to: alerts", "to: alrets"), &[]).await;
    assert_eq!(bad.status.code(), Some(78));
    assert!(err(&bad).contains("did you mean `alerts`?"), "{}", err(&bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_is_found_by_its_own_config_or_else_by_the_new_one() {
    let trying = Trying::with_events().await;
    let admin = trying.relay.running.admin_address;
    std::fs::remove_file(trying.relay.directory.path().join("config.yaml")).expect("removed");
    let head = HEAD.replace("admin: { listen: \"127.0.0.1:0\" }", &format!("admin: {{ listen: \"{admin}\" }}"));
    assert!(head.contains(&admin.to_string()), "{head}");
    let changed = NOW.replace("{{ type }}", "{{ type | upper }}");
    let write = |name: &str, text: String| {
        std::fs::write(trying.relay.directory.path().join(name), text).expect("written");
    };
    write("new.yaml", format!("{head}{changed}"));
    for args in [&["new.yaml"][..], &["--config", "new.yaml"]] {
        let found = trying.run(args).await;
        assert!(out(&found).starts_with("new.yaml, tried with 4 events: of"), "{}{}", out(&found), err(&found));
    }
    // The new one names a port where nobody is, and the running one is where it is usually looked for.
    write("new.yaml", format!("{}{changed}", HEAD.replace("\"127.0.0.1:0\"", "\"127.0.0.1:1\"")));
    let nobody = trying.run(&["--config", "new.yaml"]).await;
    assert!(nobody.status.code() == Some(1) && err(&nobody).contains("no relay answers"), "{}", err(&nobody));
    write("config.yaml", format!("{head}{NOW}"));
    let found = trying.run(&["new.yaml"]).await;
    assert!(out(&found).starts_with("new.yaml, tried with 4 events: of"), "{}{}", out(&found), err(&found));
    let as_it_stands = trying.run(&[]).await;
    assert!(out(&as_it_stands).starts_with("config.yaml, tried with 4 events: nothing"), "{}", err(&as_it_stands));
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_put_together() {
    let trying = Trying::start(NOW).await;
    let store = trying.relay.running.relay.store.clone();
    // More than one piece holds, straight into the store: the listener is not what is tried here.
    let one = trying.relay.accept(SENT).await.parse().expect("an id");
    let first = store.event(one).await.expect("there").event.event().expect("not erased");
    let mut answers = Vec::new();
    for _ in 0..12_000 {
        answers.push(store.append(vero_relay::store::NewEvent {
            received_ms: first.received_ms,
            source: first.source,
            generation: 1,
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: first.body.clone(),
        }));
    }
    for answer in answers {
        answer.await.expect("answered").expect("taken");
    }
    let told = trying.verb(&NOW.replace("{{ type }}", "{{ type | upper }}"), &["--json"]).await;
    let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{}", err(&told)));
    assert_eq!(groups(&told), ["changes everything crm 12001"]);
    assert_eq!((&told["events"], &told["stays"]), (&12_001.into(), &12_001.into()));
    assert_eq!(told["groups"][0]["examples"].as_array().map(Vec::len), Some(3));
}

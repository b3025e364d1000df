//! `explain`, and the tests that stand in a config: what they show, and that it is what is sent.

use std::path::Path;

use serde_json::{Value, json};
use vero_relay::explain::Explanation;

use crate::cli::{err, out, root, steady, vero_relay};
use crate::harness::*;
use crate::slack_server::SlackServer;

const CONFIG: &str = r#"
data_dir: /var/lib/vero-relay
sources:
  vero: { token: "a-token-that-is-long-enough" }
rules:
  - name: big customers
    match: { campaign.id: 42, user.id: { gte: 10000 } }
    to: [crm]
  - name: bounces
    match:
      any:
        - { bounce_type: soft }
        - { bounce_code: { starts_with: "55" }, user.email: { not: { ends_with: "@getvero.com" } } }
    to: [alerts, crm]
  - name: the end
    match: { type: bounced }
    to: [archive, alerts]
    stop: true
  - name: everything
    to: [rest]
destinations:
  crm:
    http:
      url: "https://crm.example.com/s3cret-path/{{ user.id }}?key=s3cret-key"
      method: PUT
      auth: { bearer: s3cret-bearer }
      headers: { X-Partner: s3cret-header, Content-Type: application/vnd.crm+json }
      signing_secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
      json: { who: "{{ user.email }}", rule: "{{ relay.rule }}" }
  alerts:
    slack: { url: "https://hooks.slack.com/services/T0/B0/s3cret-slack" }
  archive:
    file: { path: "archive/{type}.ndjson" }
  rest:
    file: { path: "rest/{date}.ndjson" }
"#;

fn written(config: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("config.yaml"), config).expect("written");
    directory
}

#[test]
fn an_explanation_says_why_and_what_each_destination_would_get_without_a_secret() {
    let directory = written(CONFIG);
    let explained = vero_relay(directory.path(), &["explain", "bounced"]);
    assert_eq!(explained.status.code(), Some(0), "{}", err(&explained));
    insta::assert_snapshot!(steady(&out(&explained)));
    let in_json = vero_relay(directory.path(), &["explain", "bounced", "--json"]);
    insta::assert_snapshot!(steady(&out(&in_json)));
    for said in [out(&explained), out(&in_json)] {
        assert!(!said.contains("s3cret") && !said.contains("whsec") && !said.contains("v1,"), "{said}");
        assert!(!said.contains('\x1b'), "plain in a pipe");
    }
}

#[test]
fn an_event_that_cannot_be_sent_and_one_that_goes_nowhere_are_explained_too() {
    let directory = written(&CONFIG.replace("stop: true", "stop: false").replace("to: [rest]", "to: [crm]"));
    let event = directory.path().join("event.json");
    std::fs::write(&event, r#"{"type":"x","user":{"id":".."}}"#).expect("written");
    let said = out(&vero_relay(directory.path(), &["explain", "event.json"]));
    assert!(said.contains("nothing: a value in the URL would be a step up or down in its path"), "{said}");
    let directory = written(&CONFIG.replace("  - name: everything\n    to: [rest]\n", ""));
    let said = out(&vero_relay(directory.path(), &["explain", "sent"]));
    assert!(said.ends_with("goes nowhere: the event is accepted and kept, and delivered to nobody\n"), "{said}");
}

#[tokio::test]
async fn what_an_explanation_shows_is_what_is_sent() {
    let fake = SlackServer::start([Act::ok(), Act::with(200, &[], "ok")]).await;
    let rest = format!(
        "rules: [{{ to: [crm, alerts, archive] }}]\ndestinations:\n  \
         crm: {{ http: {{ url: \"{0}/{{{{ user.id }}}}\", auth: {{ bearer: s3cret }}, headers: {{ x-a: b }}, \
         signing_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw], text: \"{{{{ type }}}} ü {{{{ relay.rule }}}}\" }} }}\n  \
         alerts: {{ slack: {{ url: \"{0}/slack\" }} }}\n  archive: {{ file: {{ path: \"archive/{{type}}\", envelope: false }} }}\n",
        fake.url()
    );
    let relay = TestRelay::start(&rest).await;
    let body = include_str!("../../samples/bounced.json");
    let id = relay.accept(body).await;
    relay.until(&id, "delivered").await;
    let seen = fake.wait_for(2).await;

    let config = parse(relay.directory.path(), &format!("{HEAD}{rest}"));
    let explanation = Explanation::of(&config, body.as_bytes(), "vero").expect("an event");
    let named = |name: &str| {
        let delivery = explanation.deliveries.iter().find(|delivery| explanation.destination(delivery).name == name);
        delivery.expect("goes there").sends.as_ref().expect("can be sent")
    };
    for name in ["crm", "alerts"] {
        let preview = named(name);
        let sent = seen.iter().find(|sent| sent.first_line.contains("slack") == (name == "alerts")).expect("sent");
        let headers = preview.headers.as_ref().expect("a request has headers");
        let [method, url] = ["method", "url"].map(|name| preview.fact(name).expect("a request"));
        let path =
            url.strip_prefix("http://").and_then(|url| url.split_once('/')).map(|(_, path)| path).expect("a path");
        // The path of a webhook of Slack's is a password.
        let path = if name == "alerts" { path.replace('…', "slack") } else { path.to_owned() };
        assert_eq!(sent.first_line, format!("{method} /{path} HTTP/1.1"));
        let mut sent_names: Vec<_> = sent.headers.iter().map(|(name, _)| name).collect();
        sent_names.sort();
        assert_eq!(headers.iter().map(|(name, _)| name).collect::<Vec<_>>(), sent_names, "each header, and no other");
        for (name, value) in headers.iter().filter(|(_, value)| !value.contains('…')) {
            let is_of_the_moment =
                ["webhook-id", "webhook-timestamp", "x-vero-relay-received-at"].contains(&name.as_str());
            assert!(is_of_the_moment || sent.header(name) == Some(value), "{name}: {value}");
        }
        assert_eq!(preview.exact_content(), sent.text());
        assert_eq!(preview.shown_content(), sent.text());
    }
    let preview = named("archive");
    let path = preview.fact("path").expect("a line");
    let line = || std::fs::read_to_string(path).unwrap_or_default();
    // The file is there before the line is in it.
    eventually("the line", async || line().ends_with('\n')).await;
    assert_eq!(line(), format!("{}\n", preview.exact_content()));
}

const TESTS: &str = r#"
tests:
  - name: a hard bounce wakes somebody
    event: { type: bounced, bounce_code: 550, user: { id: 12345, email: ann@example.com } }
    expect:
      to: [archive, crm, alerts]
      content:
        alerts: { contains: "*Bounced*" }
        crm: { equals: '{"who":"ann@example.com","rule":"bounces"}' }
        archive: { regex: ["550", never], not: { contains: 550.0 } }
  - name: a sent one is kept
    file: samples/sent.json
    source: vero
    expect: { to: rest }
"#;

fn with_tests(more: &str) -> tempfile::TempDir {
    let directory = written(&format!("{CONFIG}{TESTS}{more}"));
    std::fs::create_dir(directory.path().join("samples")).expect("made");
    std::fs::copy(root().join("samples/sent.json"), directory.path().join("samples/sent.json")).expect("copied");
    directory
}

#[test]
fn check_runs_the_tests_of_a_config_and_counts_them() {
    let directory = with_tests("");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.yaml").display().to_string();
    let checked = vero_relay(elsewhere.path(), &["check", "-c", &config]);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));
    assert_eq!(out(&checked), format!("2 tests passed\n{config}: 4 warnings\n"));
    let in_json = vero_relay(elsewhere.path(), &["check", "--json", "-c", &config]);
    let said: Value = serde_json::from_slice(&in_json.stdout).expect("JSON");
    assert_eq!((&said["ok"], &said["tests_passed"], &said["tests_failed"]), (&json!(true), &json!(2), &json!(0)));
    let expected = json!({ "name": "a sent one is kept", "ok": true, "missed": [], "explanation": null });
    assert_eq!(said["tests"][1], expected);
}

const FAILING: &str = r#"
  - name: a bounce wakes nobody
    event: { type: bounced, bounce_code: "550", campaign: { id: "43" } }
    expect:
      to: [archive, rest]
      content:
        archive: { starts_with: nothing, ends_with: "}" }
  - name: from a file that is gone
    file: samples/gone.json
    expect: { to: [] }
  - name: content for who gets none
    event: { type: sent }
    expect: { content: { crm: { not: { contains: x } } } }
"#;

#[test]
fn a_test_that_fails_exits_78_with_what_was_expected_and_why_it_went_otherwise() {
    let directory = with_tests(FAILING);
    let checked = vero_relay(directory.path(), &["check"]);
    assert_eq!((checked.status.code(), out(&checked).as_str()), (Some(78), ""));
    let told = err(&checked);
    let tests = told.find("test failed").expect("failed");
    insta::assert_snapshot!(steady(&told[tests..]));
    let in_json = vero_relay(directory.path(), &["check", "--json"]);
    assert_eq!(in_json.status.code(), Some(78));
    let said: Value = serde_json::from_slice(&in_json.stdout).expect("JSON");
    assert_eq!((&said["ok"], &said["errors"], &said["tests_failed"]), (&json!(false), &json!(0), &json!(3)), "{said}");
    let failed = &said["tests"][2];
    assert_eq!(
        failed["missed"][0]["to"],
        json!({ "expected": ["archive", "rest"], "got": ["crm", "alerts", "archive"] })
    );
    assert_eq!(failed["explanation"]["rules"][0]["because"], "campaign.id is \"43\"");
}

#[test]
fn all_tests_that_fail_are_told_and_of_many_the_first_are_explained() {
    // 50 explanations of 2000 rules each are as many as are made.
    let rules: String = (0..2000).map(|i| format!("  - {{ match: {{ campaign.id: {i} }}, to: [a] }}\n")).collect();
    let test = |id: usize| {
        let to = if id.is_multiple_of(10) { "a" } else { "" };
        format!("  - {{ name: t{id}, event: {{ type: sent, campaign: {{ id: {id} }} }}, expect: {{ to: [{to}] }} }}\n")
    };
    let tests: String = (0..70).map(test).collect();
    let directory = written(&format!(
        "data_dir: /var/lib/vero-relay\nsources: {{ vero: {{ token: \"a-token-that-is-long-enough\" }} }}\n\
         rules:\n{rules}tests:\n{tests}destinations: {{ a: {{ http: {{ url: \"https://example.com/\" }} }} }}\n"
    ));
    let checked = vero_relay(directory.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(78));
    let told = err(&checked);
    let failed: Vec<&str> = told.split("test failed: ").skip(1).collect();
    assert_eq!(failed.len(), 63);
    assert!(failed.iter().all(|one| one.contains("goes to            a\n")));
    let is_explained: Vec<_> = failed.iter().map(|one| one.contains("rule 2000: ")).collect();
    assert_eq!(is_explained, [vec![true; 50], vec![false; 13]].concat());
    assert!(told.contains("only the first that failed are explained") && told.contains("63 of 70 tests failed"));
}

#[tokio::test]
async fn a_test_keeps_no_relay_from_starting_and_sends_and_writes_nothing() {
    let fake = Fake::start([]).await;
    let rest = format!(
        "rules: [{{ to: [crm, archive] }}]\ndestinations:\n  crm: {{ http: {{ url: \"{}\" }} }}\n  archive: {{ file: {{ path: a }} }}\n\
         tests:\n  - {{ name: one, file: gone.json, expect: {{ to: [] }} }}\n  - {{ name: two, event: {{ type: x }}, expect: {{ to: [] }} }}\n",
        fake.url()
    );
    let directory = written(&format!("{HEAD}{rest}"));
    let checked = vero_relay(directory.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(78), "both fail");
    assert!(
        fake.seen().is_empty() && !Path::new(&directory.path().join("data")).exists(),
        "nothing sent, nothing written"
    );
    let relay = TestRelay::start(&rest).await;
    std::fs::write(relay.directory.path().join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
    let reloaded = relay.act("/api/reload").await;
    assert_eq!(reloaded.status(), 200, "neither a start nor a reload runs them: {}", reloaded.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_history_is_explained_by_the_relay_that_keeps_it() {
    let rest = "rules:\n  - { name: bounces, match: { type: bounced }, to: a }\n  - { name: all, to: b }\n\
                destinations: { a: { file: { path: a } }, b: { file: { path: b } } }\n";
    let relay = TestRelay::start(rest).await;
    let body = include_str!("../../samples/bounced.json");
    let id = relay.accept(body).await;
    let admin = format!("http://{}", relay.running.admin_address);
    let directory = relay.directory.path().to_owned();
    let ask = async |args: &[&str]| {
        let args: Vec<_> =
            ["explain", &id, "--admin", &admin].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        let directory = directory.clone();
        let run = move || vero_relay(&directory, &args.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.expect("it ends")
    };
    let asked = ask(&[]).await;
    assert_eq!(asked.status.code(), Some(0), "{}", err(&asked));
    let said = out(&asked);
    assert!(said.ends_with("\nwhen it came it was the same, by the rules bounces, all\n"), "{said}");

    // The same event, the same config, the same drawing.
    std::fs::write(directory.join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
    std::fs::write(directory.join("event.json"), body).expect("written");
    let here = directory.clone();
    let drawn =
        tokio::task::spawn_blocking(move || vero_relay(&here, &["explain", "event.json"])).await.expect("it ends");
    let without_line = |text: &str| {
        let lines = text.lines().filter(|line| !line.contains("\"received_at\"") && !line.starts_with("when it came"));
        lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    };
    assert_eq!(without_line(&said), without_line(&out(&drawn)));

    std::fs::write(directory.join("config.yaml"), format!("{HEAD}{}", rest.replace("type: bounced", "type: clicked")))
        .expect("written");
    let changed = out(&ask(&["--on-disk"]).await);
    assert!(changed.contains("bounces: does not match: type is \"bounced\""), "{changed}");
    assert!(changed.ends_with("\nwhen it came it went to a, b, by the rules bounces, all\n"), "{changed}");
    let scripted: Value = serde_json::from_str(&out(&ask(&["--json"]).await)).expect("JSON");
    assert_eq!(scripted["then"]["destinations"], json!(["a", "b"]));

    let twice = ask(&["--source", "vero"]).await;
    assert_eq!((twice.status.code(), err(&twice).contains("leave out --source")), (Some(2), true), "{}", err(&twice));
    let here = directory.clone();
    let wrong = tokio::task::spawn_blocking(move || vero_relay(&here, &["explain", "bounced", "--on-disk"]))
        .await
        .expect("it ends");
    assert_eq!(
        (wrong.status.code(), err(&wrong).contains("--on-disk is for an event")),
        (Some(2), true),
        "{}",
        err(&wrong)
    );
    let gone =
        ["explain".to_owned(), "0199f3a2-7c1e-7abc-8000-00000000002a".to_owned(), "--admin".to_owned(), admin.clone()];
    let here = directory.clone();
    let run = move || vero_relay(&here, &gone.iter().map(String::as_str).collect::<Vec<_>>());
    let gone = tokio::task::spawn_blocking(run).await.expect("it ends");
    assert_eq!(gone.status.code(), Some(1), "{}{}", out(&gone), err(&gone));
}

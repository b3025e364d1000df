//! Secrets never appear: one is planted in each place that may hold one, and every output is searched.

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use vero_relay::config::{Config, ConfigError};

use crate::cli::{err, out};
use crate::harness::*;
use crate::slack_server::SlackServer;

/// Every planted secret holds this. Where a whole one is encoded, its encoding is searched for too.
const MARK: &str = "canary";

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What stands behind `${…}`, in the environment of every process here.
const VARIABLES: [(&str, &str); 4] = [
    ("PLANTED_TOKEN", "canary-token-of-the-environment"),
    ("PLANTED_BEARER", "canary-bearer-of-the-environment"),
    ("PLANTED_KEY", "canary-key \"that\" goes into <a body> & comes back"),
    ("PLANTED_WORD", "canary-word-of-a-condition"),
];

fn config(listen: &str, admin: &str, [bearer, basic, header, body, quiet]: [String; 5]) -> String {
    let signing = format!("whsec_{}", base64("canary-signing-secret-of-32-byte"));
    format!(
        r#"
listen: {listen}
admin: {{ listen: "{admin}", token: [canary-token-of-the-operator, "${{PLANTED_TOKEN}}-of-admin"] }}
data_dir: data
sources:
  vero: {{ tokens: [try-me, canary-token-in-the-config, "${{PLANTED_TOKEN}}", "${{file:planted}}"] }}
  basic: {{ auth: {{ basic: {{ username: user, password: canary-password-of-a-source }} }} }}
  header: {{ auth: {{ header: {{ name: x-key, value: canary-header-of-a-source }} }} }}
rules:
  - {{ name: near, match: {{ type: bounced }}, to: [bearer, basic, header, body, quiet] }}
  - {{ name: far, match: {{ type: converted }}, to: [far, templated, slack, app] }}
  - {{ name: word, match: {{ user.email: "${{PLANTED_WORD}}" }}, to: [far] }}
destinations:
  bearer: {{ http: {{ url: "{bearer}/a?key=canary-key-in-a-query", auth: {{ bearer: "${{PLANTED_BEARER}}" }}, signing_secrets: [{signing}] }} }}
  basic: {{ http: {{ url: "{basic}/b", auth: {{ basic: {{ username: user, password: canary-password-of-ours }} }} }} }}
  header: {{ http: {{ url: "{header}/c", auth: {{ header: {{ name: x-auth, value: canary-of-auth }} }}, headers: {{ x-plain: canary-in-a-header, content-type: "text/${{PLANTED_BEARER}}" }} }} }}
  body: {{ http: {{ url: "{body}/d", json: {{ key: "${{PLANTED_KEY}}", file: "${{file:planted}}" }} }} }}
  quiet: {{ slack: {{ url: "{quiet}/slack?key=canary-key-of-slack", text: "*${{PLANTED_KEY}}* {{{{ type }}}}" }} }}
  far: {{ http: {{ url: "https://crm.invalid/canary-in-a-path/x?key=canary-in-a-query" }} }}
  templated: {{ http: {{ url: "https://crm.invalid/canary-in-a-template/{{{{ user.id }}}}/{{{{ 'canary' ~ type }}}}?key=canary&who={{{{ user.id }}}}" }} }}
  slack: {{ slack: {{ url: "https://hooks.slack.com/services/T0/B0/canary" }} }}
  app: {{ slack: {{ token: xoxb-canary-of-an-app, channel: C0123456 }} }}
tests:
  - name: fails and is explained
    event: {{ type: bounced, user: {{ email: "${{PLANTED_WORD}}" }} }}
    expect: {{ to: [] }}
  - name: fails over its content
    event: {{ type: bounced }}
    expect: {{ content: {{ body: {{ contains: ["${{PLANTED_WORD}}", "nothing of the sort"] }}, quiet: {{ equals: x }} }} }}
"#
    )
}

/// By which the operator comes in.
const BEARER: (&str, &str) = ("authorization", "Bearer canary-token-of-the-operator");

/// What was said, and by what; anything that holds a secret is a failure.
#[derive(Default)]
struct Searched {
    encoded: Vec<String>,
    count: usize,
}

impl Searched {
    fn search(&mut self, what: &str, said: &str) {
        assert!(!said.is_empty(), "{what} says nothing, so it shows nothing");
        let is_shown = said.contains(MARK) || self.encoded.iter().any(|encoded| said.contains(encoded.as_str()));
        assert!(!is_shown, "{what} shows a secret: {said}");
        self.count += 1;
    }
}

fn relay(directory: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(args).current_dir(directory).env_remove("VERO_RELAY_CONFIG").envs(VARIABLES);
    let output = command.output().expect("it runs");
    format!("{}{}", out(&output), err(&output))
}

/// What each destination answers that says again what it was sent.
const ECHOES: [(u16, &str); 5] = [
    (400, "I got ?key=canary-key-in-a-query and Bearer canary-bearer-of-the-environment"),
    (500, "I got user:canary-password-of-ours, canary-password-of-ours"),
    (401, "I got x-auth: canary-of-auth, x-plain: canary-in-a-header, text/canary-bearer-of-the-environment"),
    (400, r#"I got {"key":"canary-key \"that\" goes into <a body> & comes back","file":"canary-of-a-file"}"#),
    (400, "I got *canary-key \"that\" goes into <a body> & comes back* at key=canary-key-of-slack"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_output_shows_a_secret_wherever_it_is_planted() {
    let encoded =
        ["user:canary-password-of-ours", "user:canary-password-of-a-source", "canary-signing-secret-of-32-byte"];
    let mut searched = Searched { encoded: encoded.map(base64).to_vec(), count: 0 };
    let mut fakes = Vec::new();
    for (status, said) in ECHOES {
        let fake = SlackServer::start([Act::with(status, &[("x-said", "canary")], said)]).await;
        // The secret that its text holds is no markup.
        fake.ask_for("strict_unescaped");
        fakes.push(fake);
    }
    let (hooks, admin) = (closed_port(), closed_port());
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    std::fs::write(at.join("planted"), "canary-of-a-file\n").expect("written");
    let good = config(&hooks.to_string(), &admin.to_string(), std::array::from_fn(|at| fakes[at].url()));
    let write = |text: &str| std::fs::write(at.join("config.yaml"), text).expect("written");
    write(&good);

    for args in [&["check"][..], &["check", "--json"], &["explain", "bounced"], &["explain", "bounced", "--json"]] {
        searched.search(&args.join(" "), &relay(at, args));
    }
    for args in [["explain", "converted"], ["send", "bounced"]] {
        searched.search(&args.join(" "), &relay(at, &args));
    }
    std::fs::write(at.join("word.json"), r#"{"type":"x","user":{"email":"canary-word-of-a-condition"}}"#)
        .expect("written");
    for args in [&["explain", "word.json"][..], &["explain", "word.json", "--json"]] {
        let said = relay(at, args);
        searched.search(&args.join(" "), &said);
        assert!(said.contains("crm.invalid/…"), "it matched: {said}");
    }

    let log = at.join("log");
    let mut daemon = Daemon::start(&at.join("config.yaml"), |command| {
        command.envs(VARIABLES).env("VERO_RELAY_LOG", "debug").stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).expect("made"));
    });
    eventually("the relay to be ready", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;
    let body = include_str!("../../samples/bounced.json");
    let taken = request(hooks, "POST", "/hooks/vero/canary-token-in-the-config", &[], body.as_bytes()).await;
    assert_eq!(taken.status(), 200, "{}", taken.text());
    searched.search("the answer to the sender", &taken.text());
    for fake in &fakes {
        fake.wait_for(1).await;
    }
    // The outcomes are in the index a little later.
    let dead = async || request(admin, "GET", "/api/dead-letters", &[BEARER], b"").await.text().contains("I got");
    eventually("dead letters with what was answered", dead).await;
    for (path, headers) in
        [("/hooks/vero/canary-wrong", &[][..]), ("/hooks/basic", &[("authorization", "Basic Y2FuYXJ5")])]
    {
        let refused = request(hooks, "POST", path, headers, b"{}").await;
        assert_eq!(refused.status(), 404);
        searched.search("a refusal", &refused.text());
    }

    let id = taken.json()["id"].as_str().expect("an id").to_owned();
    let look = async |searched: &mut Searched| {
        let one = format!("/api/events/{id}");
        for path in [
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/bin",
            "/api/status",
            "/api/events",
            &one,
            "/api/destinations",
            "/api/dead-letters",
            "/api/replays",
            "/api/store",
            "/api/refused",
            "/api/config",
            "/api/config/on-disk",
            "/api/rules",
            "/api/rules?last=10",
            "/api/unrouted",
            "/api/openapi.json",
            "/api/nonsense",
        ] {
            searched.search(path, &request(admin, "GET", path, &[BEARER], b"").await.text());
        }
    };
    look(&mut searched).await;
    for form in ["token=canary-token-of-the-operator", "token=canary-that-is-wrong"] {
        let signed_in = request(admin, "POST", "/sign-in", &[], form.as_bytes()).await;
        searched.search("an answer to who signs in", &format!("{:?} {}", signed_in.headers, signed_in.text()));
    }
    let changed =
        good.replace("canary-in-a-header", "canary-in-a-header-2").replace("canary-in-a-path", "canary-in-a-path-2");
    let unknown = good.replace("  bearer: {", "  bearer: { tokn: canary-of-a-slip, ");
    let broken = format!("{good}\nx-more: {{ token: canary, : [\n");
    let unset = good.replace("PLANTED_WORD", "NOT_SET");
    for (text, status) in [(&changed, 200), (&unknown, 422), (&broken, 422), (&unset, 422)] {
        write(text);
        let reloaded = request(admin, "POST", "/api/reload", &[BEARER, ("x-vero-relay-write", "1")], b"").await;
        assert_eq!(reloaded.status(), status, "{}", reloaded.text());
        searched.search("a reload", &reloaded.text());
        if status != 200 {
            for args in [&["check"][..], &["check", "--json"]] {
                searched.search(&args.join(" "), &relay(at, args));
            }
        }
        look(&mut searched).await;
    }
    write(&good);
    for args in [&["status"][..], &["events"], &["events", &id], &["dead-letters", "list"], &["store", "info"]] {
        searched.search(&args.join(" "), &relay(at, args));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon.0), rustix::process::Signal::TERM)
        .expect("told");
    daemon.0.wait().expect("ended");
    searched.search("the log", &std::fs::read_to_string(&log).expect("written"));
    assert!(searched.count > 80, "all of it was searched: {}", searched.count);
}

/// A surrounding in which every variable holds one value.
struct Everywhere(&'static str);

impl vero_relay::yaml::values::Surroundings for Everywhere {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "S").then(|| self.0.to_owned())
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Ok(format!("{}\n", self.0))
    }
}

/// What may stand in a config that is good but for one of these, each with a value in a place where it is wrong.
const SLIPS: [(&str, &str); 58] = [
    ("text: hello", "text: \"{{ type | ${S} }}\""),
    ("text: hello", "text: \"{{ type | upper | ${S}(1) }}\""),
    ("text: hello", "text: \"{{ ${S}() }}\""),
    ("text: hello", "text: \"{{ type is ${S} }}\""),
    ("text: hello", "text: \"{{ type.${S}() }}\""),
    ("text: hello", "text: \"{{ type ${S} }}\""),
    ("text: hello", "text: \"{% ${S} %}\""),
    ("text: hello", "text: \"{% if ${S} } %}\""),
    ("text: hello", "text: \"{{ '${S}' | int + [] }}\""),
    ("text: hello", "text: \"{% include '${S}' %}\""),
    ("text: hello", "text: \"{{ ${S}\""),
    ("text: hello", "text: \"{{ '${S}'.x.y.z() }}\""),
    ("text: hello", "text: \"{{ type | round('${S}') }}\""),
    ("text: hello", "text: \"{{ type | default(${S}=1) }}\""),
    ("text: hello", "text: \"{{ type | replace('${S}') }}\""),
    ("text: hello", "blocks: [ { type: section, text: \"{{ x | ${S} }}\" } ]"),
    ("text: hello", "blocks: \"${S}\""),
    ("text: hello", "unfurl_links: \"${S}\""),
    ("json: { a: b }", "json: { a: \"{{ x | ${S} }}\" }"),
    ("json: { a: b }", "json: { a: [ { b: \"{{ ${S}() }}\" } ] }"),
    ("json: { a: b }", "json: { a: b }, method: \"${S}\""),
    ("json: { a: b }", "json: { a: b }, method: \"POST${S}\""),
    ("json: { a: b }", "json: { a: b }, omit_missing: \"${S}\""),
    ("json: { a: b }", "json: { a: b }, headers: { x: \"${S}\\n\" }"),
    ("json: { a: b }", "json: { a: b }, headers: \"${S}\""),
    ("json: { a: b }", "json: { a: b }, auth: \"${S}\""),
    ("json: { a: b }", "json: { a: b }, auth: { header: { name: \"${S} x\", value: y } }"),
    ("json: { a: b }", "json: { a: b }, auth: { header: { name: \"connection${S} x\", value: \"${S}\" } }"),
    ("json: { a: b }", "json: { a: b }, signing_secrets: [\"${S}\"]"),
    ("json: { a: b }", "json: { a: b }, signing_secrets: [\"whsec_${S}\"]"),
    ("http://127.0.0.1:9/x", "${S}"),
    ("http://127.0.0.1:9/x", "http://${S}:port/x"),
    ("http://127.0.0.1:9/x", "http://127.0.0.1:${S}/x"),
    ("http://127.0.0.1:9/x", "${S}://127.0.0.1/x"),
    ("http://127.0.0.1:9/x", "http://127.0.0.1:9/{{ x | ${S} }}"),
    ("http://127.0.0.1:9/x", "http://{{ ${S} }}/x"),
    ("path: archive", "path: \"a/{${S}}\""),
    ("path: archive", "path: \"a/{${S}\""),
    ("path: archive", "path: \"../${S}\""),
    ("path: archive", "path: archive, timezone: \"${S}\""),
    ("path: archive", "path: archive, timezone: \"Europe/${S}\""),
    ("type: bounced", "type: { glob: \"[${S}\" }"),
    ("type: bounced", "type: { glob: \"{${S}\" }"),
    ("type: bounced", "type: { regex: \"(${S}\" }"),
    ("type: bounced", "type: { regex: \"(?<${S}>\" }"),
    ("type: bounced", "type: { regex: \"\\\\p{${S}}\" }"),
    ("type: bounced", "type: { gt: \"${S}\" }"),
    ("type: bounced", "type: { exists: \"${S}\" }"),
    ("type: bounced", "type: \"${S}\""),
    ("type: bounced", "campaign.type: \"${S}\""),
    ("to: [slack, http, file]", "to: [slack, http, file, \"${S}\"]"),
    ("to: [slack, http, file]", "to: [slack, http, file, \"x${S}\"]"),
    ("slack: { slack:", "slack: { timeout: \"${S}\", rate: \"${S}/s\", concurrency: \"${S}\", slack:"),
    ("slack: { slack:", "slack: { backlog: { max_size: \"1${S}\" }, retry: { initial: \"${S}\" }, slack:"),
    (
        "rules:",
        "limits: { body_max: \"${S}\", header_timeout: \"5${S}\" }\nlisten: \"${S}\"\npublic_url: \"${S}\"\nrules:",
    ),
    ("token: try-me", "token: \"${S}/?\""),
    ("rules:", "tests: [ { name: a, event: { type: x }, source: \"${S}\", expect: { to: [\"${S}\"] } } ]\nrules:"),
    (
        "rules:",
        "tests: [ { name: a, event: { type: x }, expect: { to: [], content: { http: { regex: \"(${S}\" } } } } ]\nrules:",
    ),
];

const SLIPPED: &str = "
sources: { vero: { token: try-me } }
rules:
  - { name: all, match: { type: bounced }, to: [slack, http, file] }
destinations:
  slack: { slack: { url: \"http://127.0.0.1:9/x\", text: hello } }
  http: { http: { url: \"http://127.0.0.1:9/y\", json: { a: b } } }
  file: { file: { path: archive } }
";

#[test]
fn no_message_about_a_wrong_value_shows_a_part_of_it() {
    let mut wrong = 0;
    for secret in ["hunter2hunter2", "Zx9-Qw7/Kp5.Lm3", "xyzzy", "a \"b' \\ qqqq\tjjjj", "ZZZZ QQQQ"] {
        for (from, to) in SLIPS {
            for reference in ["${S}", "${file:x}"] {
                assert!(SLIPPED.contains(from), "{from}");
                let text = SLIPPED.replacen(from, &to.replace("${S}", reference), 1);
                let report = match Config::parse(Path::new("config.yaml"), text, &Everywhere(secret)) {
                    Ok((_, report)) if report.is_empty() => continue,
                    Ok((_, report)) => report,
                    Err(ConfigError::Problems(report)) => *report,
                    Err(error) => panic!("{error}"),
                };
                wrong += 1;
                let lines: Vec<_> = report.lines().collect();
                let said = format!("{}\n{}\n{:?}", report.render(false), lines.join("\n"), report.json());
                let said = said.to_lowercase();
                let lowered = secret.to_lowercase();
                let pieces = lowered.as_bytes().windows(4).map(|piece| String::from_utf8_lossy(piece).into_owned());
                for piece in pieces {
                    assert!(!said.contains(&piece), "`{piece}` of `{secret}` is shown where it stands in {to}: {said}");
                }
            }
        }
    }
    assert!(wrong > 400, "they are slips: {wrong}");
}

/// Lines of a config, each with a secret in it.
const WITH_SECRETS: [(&str, &str); 13] = [
    ("sources:\n  vero:\n    ", "token: SECRET"),
    ("sources:\n  vero:\n    tokens:\n      ", "- SECRET"),
    ("sources:\n  vero:\n    tokens:\n    ", "- SECRET"),
    ("sources:\n  vero:\n    auth:\n      header:\n        name: X-Key\n        ", "value: SECRET"),
    ("destinations:\n  crm:\n    http:\n      headers:\n        ", "Authorization: SECRET"),
    ("destinations:\n  crm:\n    http:\n      headers:\n        ", "X-Api-Key: SECRET"),
    ("destinations:\n  crm:\n    http:\n      headers:\n        A: b\n        ", "X-Team: SECRET"),
    ("destinations:\n  crm:\n    http:\n      headers:\n      ", "X-Team: SECRET"),
    ("destinations:\n  crm:\n    http:\n      headers: {\n        ", "X-Team: SECRET"),
    ("destinations:\n  crm:\n    http: { headers: { A: b,\n      ", "X-Team: SECRET"),
    ("destinations:\n  crm:\n    http:\n      ", "headers: { X-Team: SECRET }"),
    ("destinations:\n  crm:\n    http:\n      signing_secrets:\n        ", "- SECRET"),
    (
        "destinations:\n  crm:\n    http:\n      auth:\n        basic:\n          username: u\n          ",
        "password: SECRET",
    ),
];

/// What makes a line no YAML, or another than was meant.
const BREAKS: [&str; 27] = [
    "\"SECRET",
    "'SECRET",
    "@SECRET",
    "`SECRET",
    "%SECRET",
    "!SECRET",
    "!SECRET: x",
    "!x: SECRET",
    "{ !x: SECRET, !SECRET }",
    "*SECRET",
    "&SECRET",
    "{SECRET",
    "[SECRET",
    "SECRET: x: y",
    "x SECRET: SECRET: y",
    "\"SECRET\" SECRET",
    "\"a \"SECRET\" b\"",
    "\"\\dSECRET\"",
    "[SECRET}",
    "[a] SECRET",
    "{{ SECRET }}",
    "a\n    SECRET",
    "> SECRET",
    "| SECRET",
    "#SECRET",
    "Basic SECRET: ${X}",
    "a SECRET #SECRET\n      @x: [",
];

#[test]
fn no_message_about_a_broken_file_shows_a_secret_of_it() {
    let (mut wrong, mut shown) = (0, Vec::new());
    for secret in ["Zx9Qw7Kp5Lm3Vb1", "hunter2hunter2"] {
        for (above, line) in WITH_SECRETS {
            for broken in BREAKS {
                let text = format!("{above}{}\n", line.replace("SECRET", &broken.replace("SECRET", secret)));
                // A second slip, so that what YAML can read is no YAML either.
                for text in [format!("{text}rules: []\n"), format!("{text}rules: [ \"\n")] {
                    let said = match Config::parse(Path::new("config.yaml"), text.clone(), &Everywhere("unused")) {
                        Ok((_, report)) if report.is_empty() => continue,
                        Ok((_, report)) => report,
                        Err(ConfigError::Problems(report)) => *report,
                        Err(error) => panic!("{error}"),
                    };
                    wrong += 1;
                    let lines: Vec<_> = said.lines().collect();
                    let said = format!("{}\n{}\n{:?}", said.render(false), lines.join("\n"), said.json());
                    let mut pieces = secret.as_bytes().windows(5).map(String::from_utf8_lossy);
                    if let Some(piece) = pieces.find(|piece| said.contains(&**piece)) {
                        shown.push(format!("`{piece}` is shown:\n{said}\nof:\n{text}"));
                    }
                }
            }
        }
    }
    assert!(shown.is_empty(), "{} are shown:\n{}", shown.len(), shown.join("\n"));
    assert!(wrong > 1000, "they are slips: {wrong}");
}

#[test]
fn no_message_shows_a_secret_that_an_alias_puts_where_another_text_may_stand() {
    const SECRET: &str = "Zx9Qw7Kp5Lm3Vb1";
    for elsewhere in [
        "to: [*k]",
        "to: *k",
        "to: [a], match: { *k : x }",
        "to: [a], match: { type: *k }",
        "to: [a], match: { type: { *k : x } }",
        "to: [a], match: { type: { regex: *k }, *k : 1 }",
        "to: [a], stop: *k",
        "to: [a], *k : x",
    ] {
        let text = format!(
            "data_dir: /var/lib/vero-relay\nsources: {{ vero: {{ token: &k {SECRET} }} }}\n\
             destinations: {{ a: {{ http: {{ url: \"https://example.com/\" }} }} }}\nrules: [ {{ {elsewhere} }} ]\n"
        );
        let said = match Config::parse(Path::new("config.yaml"), text, &Everywhere("unused")) {
            Ok((_, report)) => report,
            Err(ConfigError::Problems(report)) => *report,
            Err(error) => panic!("{error}"),
        };
        let said = format!("{}\n{:?}", said.render(false), said.json());
        assert!(!said.contains(SECRET) && !said.contains(&SECRET.to_lowercase()), "{elsewhere}: {said}");
    }
}

#[test]
fn no_reason_for_which_nothing_is_sent_and_no_address_shows_a_secret() {
    const SECRET: &str = "Zx9Qw7Kp5Lm3Vb1";
    let mut unsent = 0;
    for destination in [
        r#"http: { url: "https://example.com/u/{{ ${S} }}" }"#,
        r#"http: { url: "https://example.com/u/{{ user.${S} }}" }"#,
        r#"http: { url: "https://example.com/", text: "{% if type == 'odd' %}{{ '${S}' | date }}{% endif %}" }"#,
        r#"http: { url: "https://example.com/", json: { a: "{% if type == 'odd' %}{{ 1 | date('%Y', '${S}') }}{% endif %}" } }"#,
        r#"slack: { url: "https://example.com/", text: "{% if type == 'odd' %}{{ 'a' ~ ('${S}' > 5) }}{% endif %}" }"#,
        r#"slack: { url: "http://127.0.0.1:9/hooks/${S}" }"#,
        r#"slack: { url: "http://127.0.0.1:9/hooks/Zx9Qw7Kp5Lm3Vb1" }"#,
        r#"http: { url: "http://127.0.0.1:9/s/${S}?k=${S}" }"#,
        r#"http: { url: "http://localhost:9/s/${S}/{{ user.id }}" }"#,
    ] {
        let text = format!(
            "data_dir: /var/lib/vero-relay\nsources: {{ vero: {{ token: \"a-token-that-is-long\" }} }}\n\
             destinations: {{ a: {{ {destination} }} }}\nrules: [ {{ to: [a] }} ]\n"
        );
        let config = match Config::parse(Path::new("config.yaml"), text, &Everywhere(SECRET)) {
            Ok((config, _)) => config,
            // What is told of it is another test's.
            Err(ConfigError::Problems(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        let body = br#"{"type":"odd","user":{"id":7}}"#;
        let explained = vero_relay::explain::Explanation::of(&config, body, "vero").expect("an event");
        unsent += usize::from(explained.deliveries[0].sends.is_err());
        let said = format!("{} {}", explained.json(), config.destinations[0].destination.address());
        assert!(!said.to_lowercase().contains(&SECRET.to_lowercase()), "{destination}: {said}");
    }
    assert!(unsent >= 4, "some cannot be made: {unsent}");
}

//! The config in force as the API shows it: no secret is in it, wherever one stands and however it is written.

use std::path::Path;
use std::sync::LazyLock;

use vero_relay::config::Config;
use vero_relay::destination::Client;
use vero_relay::yaml::values::Surroundings;

use crate::harness::*;

const SECRET: &str = "Zx9Qw7Kp5Lm3Vb1R";

/// Surroundings in which nothing is set but what a secret may be read from.
struct Around;

impl Surroundings for Around {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "S").then(|| SECRET.to_owned())
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Ok(SECRET.to_owned())
    }
}

/// A config in which each mark stands where a secret may stand.
const PLACES: &str = r#"
data_dir: /var/lib/vero-relay   # @00
# @01
x-mine:
  one: @02
  list: [{ @03key: 1 }]
sources:
  token: # @04
    token: @05
  tokens:
    tokens:
      - @06
      - another-token-that-is-long
  basic:
    auth:
      basic:
        username: @07
        password: @08
  header:
    auth:
      header:
        name: X-Vero-Key
        value: @09
rules:
  - name: all
    to: [bearer, basic, header, email, slack]
defaults:
  http:
    headers:
      X-Of-All: @10
destinations:
  bearer:
    http:
      url: "https://crm.example.com/@11/x?key=@12#@13"
      headers:
        X-Team: @14
        "X-Quoted": @15
      auth:
        bearer: @16
      json:
        key: @17
        nested: [{ deep: "{{ type }} @18 {{ '@19' ~ type }}" }]
        @20: "{{ user.id }}"
  basic:
    http:
      url: https://crm.example.com/{{ user.id }}/@21
      proxy: "http://user:@22@proxy.example.com:3128"
      auth:
        basic:
          username: @23
          password: @24
      text: "@25 {{ user.id | hmac_sha256(\"@26\") }}"
  header:
    http:
      url: "https://crm.example.com/"
      auth:
        header:
          name: X-Api-Key
          value: @27
  email:
    email:
      server: smtp.example.com
      username: @28
      password: @29
      from: relay@example.com
      to: ops@example.com
      subject: "{{ type }}, key: @30"
      text: |
        See https://app.example.com/x?key=@31
        or @32.
  slack:
    slack:
      url: https://hooks.slack.com/services/T00000000/B00000000/@33
      text: >-
        *{{ type }}* <https://app.example.com/@34|look>
        {{ "@35" }} token=@36
tests:
  - name: all is well
    event: { type: bounced, user: { email: @37 } }
    expect: { to: [bearer, basic, header, email, slack], content: { bearer: { not: { contains: @38 } } } }
"#;

/// How a secret is written.
const FORMS: [&str; 14] = [
    "SECRET",
    "\"SECRET\"",
    "'SECRET'",
    "\"\\u005ax9Qw7Kp5Lm3Vb1R\"",
    "&a SECRET",
    "&a \"SECRET\" # SECRET",
    "SECRET # SECRET",
    "\"${NOT_SET:-SECRET}\"",
    "\"${S}\"",
    "\"${file:x}SECRET\"",
    "|\n            SECRET",
    ">-\n            SECRET",
    "SECRET\n            SECRET",
    "\"SECRET\n            SECRET\"",
];

fn shown(text: &str) -> Option<String> {
    // One client for all: to make one costs more than to read a config.
    static CLIENT: LazyLock<Client> = LazyLock::new(|| Client::new(|_| None));
    let config = Config::prove_again(Path::new("config.yaml"), text.to_owned(), &Around, CLIENT.clone());
    config.ok().map(|(config, _)| format!("{}\n{}", config.shown().text, config.warnings.join("\n")))
}

#[test]
fn no_secret_is_shown_wherever_it_stands_and_however_it_is_written() {
    let all: Vec<String> = (0..39).map(|place| format!("@{place:02}")).collect();
    let filler = |text: &str| {
        all.iter().fold(text.to_owned(), |text, mark| text.replace(mark, &format!("filler-of-{}", &mark[1..])))
    };
    let pieces: Vec<_> =
        SECRET.as_bytes().windows(5).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
    let (mut good, mut told) = (0, Vec::new());
    for mark in &all {
        assert!(PLACES.contains(mark.as_str()), "{mark}");
        let mut of_mark = 0;
        for form in FORMS {
            let form = form.replace("SECRET", SECRET);
            let text = filler(&PLACES.replace(mark.as_str(), &form));
            let Some(said) = shown(&text) else { continue };
            of_mark += 1;
            if let Some(piece) = pieces.iter().find(|piece| said.contains(piece.as_str())) {
                told.push(format!("`{piece}` is shown of {form} at {mark}:\n{said}"));
            }
            assert!(said.lines().count() >= text.lines().count(), "each line has its own: {said}");
        }
        assert!(of_mark > 0, "no form of {mark} is good");
        good += of_mark;
    }
    assert!(told.is_empty(), "{} are shown, the first:\n{}", told.len(), told[0]);
    assert!(good > 200, "most are configs: {good}");
}

#[test]
fn an_alias_shows_no_secret_in_another_place() {
    for (anchor, alias) in [
        ("data_dir: &s /var/lib/SECRET", "token: *s"),
        ("x-s: &s SECRET", "token: *s"),
        ("x-s: &s [SECRET]\ndata_dir: /var/lib/vero-relay", "tokens: *s"),
        ("x-s: &s { basic: { username: u, password: SECRET } }\ndata_dir: /var/lib/vero-relay", "auth: *s"),
    ] {
        // A token has no slash in it.
        let anchor = anchor.replace("SECRET", SECRET).replace("&s /var/lib/", "&s ");
        let text = format!(
            "{anchor}\nsources: {{ vero: {{ {alias} }} }}\n\
             destinations: {{ a: {{ http: {{ url: \"https://example.com/\" }} }} }}\nrules: [ {{ to: a }} ]\n"
        );
        let said = shown(&text).unwrap_or_else(|| panic!("{text}"));
        assert!(!said.contains(SECRET), "{said}");
        assert!(said.contains("*s"), "{said}");
    }
}

#[test]
fn the_examples_are_shown_with_all_that_is_no_secret() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("config.example.yaml")).expect("read");
    insta::assert_snapshot!(shown(&text).expect("a config"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_config_that_runs_is_shown_as_it_was_read_though_the_file_has_changed() {
    let relay = TestRelay::start("rules: [ { name: all, to: a } ]\ndestinations: { a: { file: { path: a } } }\n").await;
    std::fs::write(relay.directory.path().join("config.yaml"), "hunter2").expect("written");
    let told = relay.admin("/api/config").await.json();
    assert!(told["file"].as_str().is_some_and(|file| file.ends_with("config.yaml")), "{told}");
    assert_eq!((&told["generation"], &told["warnings"]), (&1.into(), &serde_json::json!([])));
    assert!(told["in_force_since"].as_str().is_some_and(|at| at.ends_with('Z')), "{told}");
    let text = told["text"].as_str().expect("text");
    assert!(text.contains("sources: { vero: { token: … } }\nrules: [ { name: all, to: a } ]\n"), "{text}");
}

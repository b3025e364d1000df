//! What a verb's exit code says, and what it does not do.

use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::cli::{err, out};
use crate::harness::*;
use crate::slack_server::SlackServer;

/// A relay of the real binary, with its addresses in its config.
struct Real {
    _daemon: Daemon,
    directory: tempfile::TempDir,
    head: String,
}

impl Real {
    async fn start(rest: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (hooks, admin) = (closed_port(), closed_port());
        let head = format!(
            "listen: {hooks}\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\nsources:\n  vero: {{ token: secret }}\n  shop: {{ token: other }}\n"
        );
        let config = directory.path().join("config.yaml");
        std::fs::write(&config, format!("{head}{rest}")).expect("written");
        let daemon = Daemon::start(&config, |command| {
            command.stderr(Stdio::null());
        });
        eventually("it to be ready", async || tokio::net::TcpStream::connect(hooks).await.is_ok()).await;
        Self { _daemon: daemon, directory, head }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config.yaml")
    }

    async fn verb(&self, words: &[&str]) -> Output {
        verb(self.directory.path(), words).await
    }
}

/// A verb in a directory.
async fn verb(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(words).current_dir(directory).env_remove("VERO_RELAY_CONFIG").stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs")
}

const SILENCE: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_says_by_its_exit_code_whether_the_config_is_at_fault() {
    let real = Real::start(SILENCE).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let in_use = real.head.replacen("listen: ", &format!("listen: {} # ", taken.local_addr().expect("an address")), 1);
    for (config, code, told) in [
        (format!("{}{SILENCE}", real.head), 0, "no changes"),
        (format!("{}{SILENCE}nonsense: 1\n", real.head), 78, "the config is not good"),
        (format!("{}{SILENCE}x: [\n", real.head), 78, "the config is not good"),
        (format!("{}{SILENCE}", real.head).replace("data_dir: data", "data_dir: other"), 1, "restart it"),
        (format!("{in_use}{SILENCE}"), 1, "cannot be listened on"),
    ] {
        std::fs::write(real.config(), config).expect("written");
        let reloaded = real.verb(&["reload"]).await;
        let said = out(&reloaded) + &err(&reloaded);
        assert_eq!(reloaded.status.code(), Some(code), "{said}");
        assert!(said.contains(told), "{told}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_skipped_or_held_as_somebody_wants_it_is_no_failure_of_send() {
    let fake = SlackServer::start([]).await;
    let real = Real::start(&format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat: {{ slack: {{ url: \"{}/T/B/x\", text: \"{{{{ nothing }}}}\" }} }}\n",
        fake.url()
    ))
    .await;
    for words in [&["send", "sent"][..], &["send", "sent", "--to", "chat"]] {
        let sent = real.verb(words).await;
        assert!(out(&sent).contains("skipped"), "{}", out(&sent));
        assert_eq!(sent.status.code(), Some(0), "{words:?}: {}", err(&sent));
    }
    assert_eq!(real.verb(&["pause", "vero", "--source"]).await.status.code(), Some(0));
    let held = real.verb(&["send", "sent"]).await;
    assert!(out(&held).contains("held"), "{}", out(&held));
    assert_eq!(held.status.code(), Some(0), "{}", err(&held));
    assert_eq!(fake.seen().len(), 0);
}

/// A verb that reads a text.
async fn verb_reading(directory: &Path, words: &[&str], text: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(words).current_dir(directory).env_remove("VERO_RELAY_CONFIG");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), text.as_bytes()).expect("written");
    tokio::task::spawn_blocking(move || child.wait_with_output().expect("it runs")).await.expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn send_takes_samples_files_and_standard_input_in_one_call() {
    let real = Real::start(SILENCE).await;
    std::fs::write(real.directory.path().join("own.json"), r#"{"type":"of my own"}"#).expect("written");
    let piped = r#"{"type":"piped"}"#;
    let words = ["send", "sent", "own.json", "-", "config.yaml", "--json"];
    let sent = verb_reading(real.directory.path(), &words, piped).await;
    assert_eq!(sent.status.code(), Some(0), "{}", err(&sent));
    let told: Value = serde_json::from_str(&out(&sent)).expect("JSON");
    let names: Vec<_> = told["sent"].as_array().expect("a list").iter().map(|one| one["event"].clone()).collect();
    assert_eq!(names, ["sent", "own.json", "-"]);
    let came = out(&real.verb(&["events"]).await);
    for event_type in ["sent", "of my own", "piped"] {
        assert!(came.contains(event_type), "{came}");
    }
    // What can be read once is named once, and of two configs none is guessed.
    let [a, b] = ["a.json", "b.yaml"].map(|file| real.directory.path().join(file));
    for file in [&a, &b] {
        std::fs::write(file, r#"{"type":"in a file"}"#).expect("written");
    }
    for (words, said) in [
        (&["send", "-", "sent", "-"][..], "standard input can be read once: name `-` once"),
        (&["send", "a.json", "b.yaml", "-c", "config.yaml"], "named twice, by `b.yaml` and by --config config.yaml"),
        (&["-c", "config.yaml", "send", "--all", "b.yaml"], "named twice, by `b.yaml` and by --config config.yaml"),
        (&["send", "a.json", "b.YML", "-c", "config.yaml"], "named twice, by `b.YML` and by --config config.yaml"),
        (
            &["send", "a.json", "b\n\x1b[7m.yaml", "-c", "config.yaml"],
            "named twice, by `b  [7m.yaml` and by --config config.yaml",
        ),
        (
            &["send", "config.yaml", "-c", "config.yaml"],
            "`config.yaml` is the config, and tells what nobody else should know",
        ),
        (
            &["send", "sent", "--admin", "http://127.0.0.1:1", "-c", "config.yaml"],
            "with --admin no config is read: leave it out",
        ),
        (&["send", "sent", "b.yaml", "--admin", "http://127.0.0.1:1"], "with --admin no config is read: leave it out"),
    ] {
        let refused = verb_reading(real.directory.path(), words, "").await;
        assert_eq!((refused.status.code(), out(&refused).as_str()), (Some(2), ""), "{words:?}");
        assert!(err(&refused).contains(said), "{words:?}: {}", err(&refused));
    }
    assert_eq!(out(&real.verb(&["events"]).await), came);
    let first = real.verb(&["send", "b.yaml", "a.json", "-c", "config.yaml"]).await;
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    let came = out(&real.verb(&["events"]).await);
    // One that cannot be read holds the others back.
    let refused = real.verb(&["send", "sent", "nothing.json"]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert_eq!(real.verb(&["send", "--all", "sent", "config.yaml"]).await.status.code(), Some(2));
    assert_eq!(out(&real.verb(&["events"]).await), came);
}

#[tokio::test(flavor = "multi_thread")]
async fn send_goes_to_a_relay_by_its_address_alone() {
    let real = Real::start(SILENCE).await;
    let (_, rest) = real.head.split_once("admin: { listen: \"").expect("its address");
    let admin = format!("http://{}", rest.split('"').next().expect("its address"));
    let elsewhere = tempfile::tempdir().expect("a directory");
    let send = async |words: &[&str]| verb(elsewhere.path(), &[&["send", "--admin", &admin], words].concat()).await;
    let unasked = send(&["sent"]).await;
    assert_eq!(unasked.status.code(), Some(2));
    assert!(err(&unasked).contains("say --yes"), "{}", err(&unasked));
    let sent = send(&["sent", "bounced", "--yes", "--source", "shop"]).await;
    assert_eq!(sent.status.code(), Some(0), "{}", err(&sent));
    let came: Value = serde_json::from_str(&out(&real.verb(&["events", "--json"]).await)).expect("JSON");
    let sources: Vec<_> = came.as_array().expect("a list").iter().map(|event| event["source"].clone()).collect();
    assert_eq!(sources, ["shop", "shop"]);
    let nobody = send(&["sent", "--yes", "--source", "nobody"]).await;
    assert!(err(&nobody).contains("there is no such source"), "{}", err(&nobody));
    std::fs::write(elsewhere.path().join("x.json"), "{").expect("written");
    let refused = send(&["x.json", "--yes"]).await;
    assert!(out(&refused).contains("refused with 400: the body is not JSON"), "{}", out(&refused));
    let both = send(&["sent", "config.yaml", "--yes"]).await;
    assert_eq!(both.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_to_says_the_source_that_was_asked_for() {
    let fake = Fake::start([]).await;
    let real = Real::start(&format!(
        "rules: [ {{ to: a }} ]\ndestinations:\n  a: {{ http: {{ url: \"{}/x\", json: {{ from: \"{{{{ relay.source }}}}\" }} }} }}\n",
        fake.url()
    ))
    .await;
    for (words, source) in
        [(&["send", "sent", "--to", "a"][..], "vero"), (&["send", "sent", "--to", "a", "--source", "shop"], "shop")]
    {
        let sent = real.verb(words).await;
        assert_eq!(sent.status.code(), Some(0), "{}", err(&sent));
        let got: Value = fake.seen().pop().expect("it came").json();
        assert_eq!(got["from"], source);
    }
    let unknown = real.verb(&["send", "sent", "--to", "a", "--source", "nobody"]).await;
    assert_eq!((unknown.status.code(), fake.seen().len()), (Some(2), 2), "{}", err(&unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn send_to_sends_nothing_that_the_relay_would_refuse() {
    let fake = Fake::start([]).await;
    let destination = format!("destinations: {{ a: {{ http: {{ url: \"{}/x\" }} }} }}\n", fake.url());
    let real = Real::start(&format!("rules: [ {{ to: a }} ]\n{destination}")).await;
    let directory = tempfile::tempdir().expect("a directory");
    for (text, why) in [
        ("sources: {}\n", "not JSON"),
        ("{\"event\": }", "not JSON"),
        ("[1]", "object"),
        ("{}", "type"),
        ("", "the body is empty"),
    ] {
        let path = directory.path().join("event.json");
        std::fs::write(&path, text).expect("written");
        for words in [&["send", "--to", "a"][..], &["send"], &["explain"]] {
            let words = [&words[..1], &[path.to_str().expect("a path")], &words[1..]].concat();
            let refused = real.verb(&words).await;
            let said = out(&refused) + &err(&refused);
            assert_eq!(refused.status.code(), Some(1), "{words:?} of {text:?}: {said}");
            assert!(said.contains(why), "{words:?} of {text:?}: {said}");
        }
    }
    let large = directory.path().join("large.json");
    std::fs::write(&large, format!("{{\"type\": \"sent\", \"x\": \"{}\"}}", "x".repeat(1 << 20))).expect("written");
    for words in
        [&["send", large.to_str().expect("a path"), "--to", "a"][..], &["send", large.to_str().expect("a path")]]
    {
        let refused = real.verb(words).await;
        let said = out(&refused) + &err(&refused);
        assert_eq!(refused.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("larger than 1048576 bytes"), "{words:?}: {said}");
    }
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_named_by_the_environment_unless_that_names_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    for (file, port) in [("config.yaml", 23_001), ("other.yaml", 23_002)] {
        let text = format!("listen: 127.0.0.1:{port}\nsources: {{ vero: {{ token: t }} }}\n{SILENCE}");
        std::fs::write(directory.path().join(file), text).expect("written");
    }
    for (variable, words, code, said) in [
        ("", &["urls"][..], 0, ":23001/"),
        ("other.yaml", &["urls"], 0, ":23002/"),
        ("other.yaml", &["urls", "-c", "config.yaml"], 0, ":23001/"),
        ("other.yaml", &["send", "sent", "config.yaml"], 1, ":23001"),
        ("new.yaml", &["init"], 0, "new.yaml"),
        ("missing.yaml", &["urls"], 78, "missing.yaml"),
        // Whoever names nothing by hand has most likely meant a file.
        ("", &["urls", "-c", ""], 2, "--config"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.args(words).current_dir(directory.path()).env("VERO_RELAY_CONFIG", variable).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it runs");
        let told = out(&output) + &err(&output);
        assert_eq!(output.status.code(), Some(code), "{variable:?} {words:?}: {told}");
        assert!(told.contains(said), "{variable:?} {words:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn send_as_root_writes_no_file_that_the_relay_could_not_write_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    std::fs::create_dir(&data).expect("made");
    // Only root can show it.
    if chown(&data, Some(65_534), Some(65_534)).is_err() {
        return;
    }
    let config = format!(
        "{HEAD}rules: [ {{ to: archive }} ]\ndestinations: {{ archive: {{ file: {{ path: archive.ndjson }} }} }}\n"
    );
    std::fs::write(directory.path().join("config.yaml"), config).expect("written");
    let refused = verb(directory.path(), &["send", "sent", "--to", "archive"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", out(&refused));
    assert!(err(&refused).contains("sudo -u '#65534' vero-relay send"), "{}", err(&refused));
    assert!(!data.join("archive.ndjson").exists(), "nothing was written");
    chown(&data, Some(0), Some(0)).expect("changed");
    assert_eq!(verb(directory.path(), &["send", "sent", "--to", "archive"]).await.status.code(), Some(0));
    assert_eq!(std::fs::metadata(data.join("archive.ndjson")).expect("written").uid(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_in_a_usual_place_that_cannot_be_looked_at_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    // A link to itself stands for a directory that may not be entered: whoever tests as root may enter each.
    symlink("config.yaml", directory.path().join("config.yaml")).expect("linked");
    let checked = verb(directory.path(), &["check"]).await;
    assert_eq!(checked.status.code(), Some(78));
    assert!(err(&checked).contains("config.yaml could not be read"), "{}", err(&checked));
}

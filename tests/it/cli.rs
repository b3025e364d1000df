//! The command line as people meet it: words and exit codes.

use std::path::Path;
use std::process::{Command, Output};

use crate::harness::*;

pub fn vero_relay(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(args).current_dir(directory).env_remove("VERO_RELAY_CONFIG").env("COLUMNS", "100");
    command.output().expect("it runs")
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A text without what is different every time: ids, times, the version.
pub fn steady(text: &str) -> String {
    let changes = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME"),
        (r"\d{4}-\d\d-\d\d\.ndjson", "DATE.ndjson"),
        (r#"(webhook-timestamp"?:\s"?)\d+"#, "${1}SECONDS"),
        (r"vero-relay/[0-9.]+", "vero-relay/VERSION"),
    ];
    let replace = |text: String, (pattern, steady): (&str, &str)| {
        regex::Regex::new(pattern).expect("a pattern").replace_all(&text, steady).into_owned()
    };
    changes.into_iter().fold(text.to_owned(), replace)
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn help_names_every_verb_with_what_it_does() {
    let help = vero_relay(root(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    insta::assert_snapshot!(out(&help));
}

#[test]
fn check_says_good_or_exits_78_with_every_problem() {
    let good = vero_relay(root(), &["check", "-c", "config.example.yaml"]);
    assert_eq!(
        (good.status.code(), out(&good).as_str()),
        (Some(0), "config.example.yaml is good: 1 source, 4 rules, 3 destinations, 3 tests passed\n")
    );
    let directory = tempfile::tempdir().expect("a directory");
    let none = vero_relay(directory.path(), &["check"]);
    assert_eq!(none.status.code(), Some(78));
    assert!(err(&none).contains("--config"), "{}", err(&none));
    let text = std::fs::read_to_string(root().join("config.example.yaml")).expect("there");
    let bad =
        text.replace("to: [crm]", "to: [cmr]").replace("campaign.type: transactional", "campaign.type: { glbo: x }");
    std::fs::write(directory.path().join("config.yaml"), bad).expect("written");
    for verb in [&["check"][..], &["run"], &["explain", "sent"], &["urls"]] {
        let bad = vero_relay(directory.path(), verb);
        assert_eq!(bad.status.code(), Some(78), "{verb:?}");
        let said = err(&bad);
        assert!(said.contains("did you mean `crm`?") && said.contains("did you mean `glob`?"), "{said}");
    }
    insta::assert_snapshot!(err(&vero_relay(directory.path(), &["check"])));
}

/// The example config with a warning, or with an error beside it.
fn doubtful(directory: &Path, is_bad: bool) {
    let text = std::fs::read_to_string(root().join("config.example.yaml")).expect("there");
    let text = text.replace("type: [bounced, complained, failed]", "type: [bounced, complaned, failed]");
    let text = if is_bad { text.replace("to: [crm]", "to: [cmr]") } else { text };
    std::fs::write(directory.join("config.yaml"), text).expect("written");
}

#[test]
fn check_takes_warnings_and_with_strict_exits_78_for_them() {
    let directory = tempfile::tempdir().expect("a directory");
    doubtful(directory.path(), false);
    let lenient = vero_relay(directory.path(), &["check"]);
    assert_eq!((lenient.status.code(), out(&lenient).as_str()), (Some(0), "3 tests passed\nconfig.yaml: 1 warning\n"));
    assert!(err(&lenient).contains("did you mean `complained`?"), "{}", err(&lenient));
    let strict = vero_relay(directory.path(), &["check", "--strict"]);
    assert_eq!((strict.status.code(), out(&strict).as_str()), (Some(78), ""));
    assert!(err(&strict).ends_with("config.yaml: 1 warning\n"), "{}", err(&strict));
    let good = vero_relay(root(), &["check", "--strict", "-c", "config.example.yaml"]);
    assert_eq!(good.status.code(), Some(0), "{}", err(&good));
    doubtful(directory.path(), true);
    let bad = vero_relay(directory.path(), &["check"]);
    assert!(err(&bad).ends_with("config.yaml: 2 errors, 1 warning\n"), "{}", err(&bad));
}

#[test]
fn warnings_stand_before_the_answer_of_no_other_verb() {
    let directory = tempfile::tempdir().expect("a directory");
    doubtful(directory.path(), false);
    for verb in [&["explain", "sent"][..], &["urls", "--json"]] {
        let done = vero_relay(directory.path(), verb);
        assert_eq!(done.status.code(), Some(0), "{verb:?}");
        let told = err(&done);
        let first = told.lines().next();
        assert_eq!(first, Some("1 warning: see `vero-relay check config.yaml`"), "{verb:?}: {told}");
        assert!(told.lines().count() <= 2, "{verb:?}: {told}");
    }
}

#[test]
fn the_help_of_a_verb_marks_what_it_cannot_do_without() {
    for (verb, needed) in [
        (&["send"][..], "<EVENT>"),
        (&["explain"], "<EVENT>"),
        (&["retry"], "<DESTINATION>"),
        (&["dead-letters", "replay"], "<DESTINATION>"),
        (&["dead-letters", "drop"], "<DESTINATION>"),
    ] {
        let help = out(&vero_relay(root(), &[verb, &["--help"]].concat()));
        let usage = help.lines().find(|line| line.starts_with("Usage: ")).expect("a usage");
        assert!(usage.contains(needed), "{usage}");
        let without = vero_relay(root(), verb);
        assert_eq!(without.status.code(), Some(2), "{verb:?}");
        assert!(err(&without).contains(needed), "{}", err(&without));
    }
}

#[test]
fn check_says_it_in_json_for_machines() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = |args: &[&str]| {
        let checked = vero_relay(directory.path(), &[&["check", "--json"], args].concat());
        let json: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
        assert_eq!(err(&checked), "", "all of it is in the JSON");
        (checked.status.code(), json)
    };
    let (code, none) = told(&[]);
    assert_eq!((code, &none["ok"], &none["errors"]), (Some(78), &false.into(), &1.into()), "{none}");
    doubtful(directory.path(), false);
    let (code, doubted) = told(&[]);
    assert_eq!((code, &doubted["ok"], &doubted["warnings"]), (Some(0), &true.into(), &1.into()), "{doubted}");
    assert_eq!((&doubted["file"], &doubted["rules"]), (&"config.yaml".into(), &4.into()), "{doubted}");
    let (code, strict) = told(&["--strict"]);
    assert_eq!((code, &strict["ok"]), (Some(78), &false.into()), "{strict}");
    doubtful(directory.path(), true);
    let (code, bad) = told(&[]);
    assert_eq!(
        (code, &bad["ok"], &bad["errors"], &bad["warnings"]),
        (Some(78), &false.into(), &2.into(), &1.into()),
        "{bad}"
    );
    let expected = serde_json::json!({
        "severity": "error", "line": 29, "column": 10,
        "message": "there is no destination named `cmr`", "help": "did you mean `crm`?",
    });
    assert_eq!(bad["problems"][1], expected, "{bad}");
}

#[test]
fn check_is_done_at_once_with_a_megabyte_of_brackets_and_with_a_file_that_never_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let brackets = directory.path().join("brackets.yaml");
    std::fs::write(&brackets, "[".repeat(1 << 20)).expect("written");
    let deep = vero_relay(directory.path(), &["check", "-c", "brackets.yaml"]);
    assert_eq!(deep.status.code(), Some(78));
    assert!(err(&deep).contains("in one another more than 64 deep") && err(&deep).len() < 2000, "{}", err(&deep));
    let endless = vero_relay(directory.path(), &["check", "-c", "/dev/zero"]);
    assert_eq!(endless.status.code(), Some(78));
    assert!(err(&endless).contains("is not a regular file"), "{}", err(&endless));
}

#[test]
fn an_address_that_is_taken_is_told_with_its_key_and_check_does_not_mind() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = taken.local_addr().expect("bound");
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let held_address = held.local_addr().expect("bound");
    example(directory.path(), &held_address.to_string(), &taken.to_string());
    let refused = vero_relay(directory.path(), &["run"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = err(&refused);
    let expected =
        format!("cannot listen on {held_address}, which `listen` (config.yaml:9:9) names; choose another port");
    assert!(said.contains(&expected), "{said}");
    let checked = vero_relay(directory.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", err(&checked));
}

#[test]
fn wrong_usage_exits_2() {
    assert_eq!(vero_relay(root(), &["nonsense"]).status.code(), Some(2));
    let unknown = vero_relay(root(), &["explain", "no-such-sample", "-c", "config.example.yaml"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(err(&unknown).contains("user_updated"), "it lists the samples: {}", err(&unknown));
}

#[test]
fn explain_shows_rules_conditions_and_destinations() {
    let explained = vero_relay(root(), &["explain", "bounced", "-c", "config.example.yaml"]);
    assert_eq!(explained.status.code(), Some(0));
    insta::assert_snapshot!(steady(&out(&explained).replace(&root().display().to_string(), "HERE")));
    let json = vero_relay(root(), &["explain", "bounced", "--json", "-c", "config.example.yaml"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["deliveries"].as_array().map(Vec::len), Some(3));
}

#[test]
fn urls_prints_what_to_paste() {
    let urls = vero_relay(root(), &["urls", "-c", "config.example.yaml"]);
    assert_eq!(out(&urls), "http://127.0.0.1:8080/hooks/vero/try-me\n");
    let per_type = vero_relay(root(), &["urls", "--per-type", "-c", "config.example.yaml"]);
    assert!(out(&per_type).contains("/hooks/vero/try-me/bounced\n"));
    assert_eq!(out(&per_type).lines().count(), 12);
}

/// The example config on ports that are free, in a directory of its own.
fn example(directory: &Path, hooks: &str, admin: &str) {
    let text = std::fs::read_to_string(root().join("config.example.yaml")).expect("there");
    let text = text.replace("127.0.0.1:8080", hooks).replace("127.0.0.1:8081", admin);
    std::fs::write(directory.join("config.yaml"), text).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_sees_the_whole_fan_out_with_two_commands_and_the_daemon_ends_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let (hooks, admin) = (closed_port(), closed_port());
    example(directory.path(), &hooks.to_string(), &admin.to_string());
    let mut daemon = Daemon::start(&directory.path().join("config.yaml"), |command| {
        command.stderr(std::process::Stdio::piped());
    });
    eventually("the relay to be ready", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;

    let sent = vero_relay(directory.path(), &["send", "bounced"]);
    assert_eq!(sent.status.code(), Some(0), "{}{}", out(&sent), err(&sent));
    for line in [
        "→ alerts           delivered   (rule: trouble)",
        "→ crm              delivered",
        "→ archive          delivered",
    ] {
        assert!(out(&sent).contains(line), "{}", out(&sent));
    }
    let bin = request(admin, "GET", "/bin/slack", &[], b"").await.json();
    assert!(bin["entries"][0]["json"]["text"].as_str().is_some_and(|text| text.contains("*Bounced* (hard)")), "{bin}");
    let direct = vero_relay(directory.path(), &["send", "sent", "--to", "crm"]);
    assert_eq!(out(&direct), "sent → crm: delivered\n");

    let second = vero_relay(directory.path(), &["run"]);
    assert_ne!(second.status.code(), Some(0));

    let paused = vero_relay(directory.path(), &["pause", "crm"]);
    assert_eq!(paused.status.code(), Some(0), "{}", err(&paused));
    let resumed = vero_relay(directory.path(), &["resume", "crm"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", err(&resumed));

    let pid = rustix::process::Pid::from_child(&daemon.0);
    let signal = |signal| rustix::process::kill_process(pid, signal).expect("signalled");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(daemon.0.stderr.take().expect("piped")));
    let mut log = String::new();
    signal(rustix::process::Signal::HUP);
    for line in lines.by_ref().map_while(Result::ok) {
        log.push_str(&line);
        if line.contains("the config was reloaded") {
            break;
        }
    }
    signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.0.wait().expect("ended").code(), Some(0));
    lines.map_while(Result::ok).for_each(|line| log.push_str(&line));
    assert!(log.contains("the config was reloaded") && log.ends_with("stopped"), "{log}");
    assert!(!log.contains("try-me") && !log.contains("steve@example.com"), "neither tokens nor people: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_exits_75_and_names_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    example(directory.path(), &closed_port().to_string(), &closed_port().to_string());
    let _held = vero_relay::store::lock::DataDirLock::take(&directory.path().join("data")).expect("free");
    let refused = vero_relay(directory.path(), &["run"]);
    assert_eq!(refused.status.code(), Some(75));
    assert!(err(&refused).contains(&std::process::id().to_string()), "{}", err(&refused));
}

#[test]
fn send_asks_before_anything_leaves_the_machine() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(root().join("config.example.yaml")).expect("there");
    let text = text.replace("${CRM_URL:-http://127.0.0.1:8081/bin/crm}", "https://crm.example.com/hook?key=canary");
    std::fs::write(directory.path().join("config.yaml"), text).expect("written");
    let refused = vero_relay(directory.path(), &["send", "sent"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = err(&refused);
    assert!(
        said.contains("--yes") && said.contains("crm (https://crm.example.com/…)") && !said.contains("canary"),
        "{said}"
    );
}

#[test]
fn schema_prints_what_is_committed_without_a_config() {
    let directory = tempfile::tempdir().expect("a directory");
    for (args, file) in [(&["schema"][..], "config.schema.json"), (&["schema", "--markdown"], "config.md")] {
        let printed = vero_relay(directory.path(), args);
        assert_eq!(printed.status.code(), Some(0));
        let committed = std::fs::read_to_string(root().join("docs").join(file)).expect("read");
        assert!(out(&printed) == committed, "{file}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    // More than a pipe holds.
    command.arg("schema").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(141), ""));
}

#[test]
fn the_reference_of_the_command_line_is_what_is_committed() {
    let path = root().join("docs/cli.md");
    let made = vero_relay::cli::reference();
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let committed = std::fs::read_to_string(&path).expect("docs/cli.md");
    assert!(committed == made, "UPDATE_FIXTURES=1 cargo test --test it cli:: writes docs/cli.md anew");
    assert!(made.contains("## vero-relay healthcheck") && made.contains("--dry-run"));
}

/// Every verb that looks into a running relay, with what it must be given.
const LOOKING: [&[&str]; 16] = [
    &["status"],
    &["events"],
    &["tail"],
    &["events", "01a2091f-1b49-768a-8000-000000000000"],
    &["dead-letters", "list"],
    &["dead-letters", "show", "01a2091f-1b49-768a-8000-000000000000"],
    &["dead-letters", "replay", "a", "--yes"],
    &["dead-letters", "drop", "a", "--yes"],
    &["replay", "--since", "1h", "--yes"],
    &["retry", "a"],
    &["pause", "a"],
    &["resume", "a"],
    &["reload"],
    &["store", "info"],
    &["store", "trim"],
    &["healthcheck"],
];

#[test]
fn no_verb_takes_another_service_for_a_relay() {
    for said in ["{}", "null", "[]", "ok"] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}", said.len());
        let (address, server) = stranger(answer);
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("config.yaml"), "rules: []\n").expect("written");
        for verb in LOOKING.iter().copied().chain([&["what-if"][..], &["store", "backup", "copy"]]) {
            for json in [&[][..], &["--json"]] {
                let url = format!("http://{address}");
                let args = [verb, &["--admin", &url], json].concat();
                let told = vero_relay(directory.path(), &args);
                assert_eq!(told.status.code(), Some(1), "{args:?}: {}{}", out(&told), err(&told));
                assert!(err(&told).contains("no vero-relay"), "{args:?}: {}", err(&told));
            }
        }
        server.end();
    }
}

#[test]
fn every_verb_gives_up_a_relay_that_accepts_and_says_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let admin = format!("http://{}", silent.local_addr().expect("bound"));
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("config.yaml"), "rules: []\n").expect("written");
    // All at once: each waits some seconds.
    std::thread::scope(|scope| {
        for verb in LOOKING.iter().copied().chain([&["what-if"][..], &["store", "backup", "copy"]]) {
            let (admin, directory) = (&admin, &directory);
            scope.spawn(move || {
                let told = vero_relay(directory.path(), &[verb, &["--admin", admin]].concat());
                assert_eq!(told.status.code(), Some(1), "{verb:?}: {}", err(&told));
                assert!(err(&told).contains("does not answer"), "{verb:?}: {}", err(&told));
            });
        }
    });
}

#[test]
fn looking_needs_neither_the_variables_of_the_config_nor_a_good_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    for rest in ["sources: { v: { token: \"${NOT_SET_ANYWHERE}\" } }\n", "rules: [\n  to: a, b\n", "nonsense: 1\n"] {
        let text = format!("admin:\n  listen: {closed}\n{rest}");
        std::fs::write(directory.path().join("config.yaml"), text).expect("written");
        let told = vero_relay(directory.path(), &["status"]);
        assert_eq!(told.status.code(), Some(1), "{rest}: {}", err(&told));
        assert!(err(&told).contains(&closed.to_string()), "{rest}: {}", err(&told));
    }
    std::fs::write(directory.path().join("config.yaml"), "admin: { listen: \"${NOT_SET_ANYWHERE}\" }\n")
        .expect("written");
    let told = vero_relay(directory.path(), &["status"]);
    assert!(told.status.code() == Some(78) && err(&told).contains("--admin http://"), "{}", err(&told));
}

#[test]
fn verbs_that_read_a_config_take_it_as_their_last_word() {
    for verb in [&["check"][..], &["urls"], &["explain", "bounced"]] {
        let told =
            vero_relay(Path::new("/"), &[verb, &[&root().join("config.example.yaml").display().to_string()]].concat());
        assert_eq!(told.status.code(), Some(0), "{verb:?}: {}", err(&told));
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_told_and_a_closed_pipe_is_not() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(["urls", "--json", "-c", "config.example.yaml"]).current_dir(root());
    let told = command.stdout(full).stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    let told = told.wait_with_output().expect("it ends");
    assert_eq!(told.status.code(), Some(1), "{}", err(&told));
    assert!(err(&told).contains("standard output could not be written: No space left on device"), "{}", err(&told));
}

/// A service that is no relay and gives one answer to everything.
struct Stranger {
    address: std::net::SocketAddr,
    ends: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

fn stranger(answer: String) -> (std::net::SocketAddr, Stranger) {
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicBool, Ordering};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let ends = std::sync::Arc::new(AtomicBool::new(false));
    let end = ends.clone();
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming() {
            if end.load(Ordering::Relaxed) {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            // Until the head is there; the client asks for little.
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&chunk[..read]),
                }
            }
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // What is left of the request is read, so that the answer is not lost in a reset.
            while matches!(stream.read(&mut chunk), Ok(1..)) {}
        }
    });
    (address, Stranger { address, ends, thread })
}

impl Stranger {
    fn end(self) {
        self.ends.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = std::net::TcpStream::connect(self.address);
        self.thread.join().expect("it ends");
    }
}

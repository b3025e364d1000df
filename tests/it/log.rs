//! The log of the real binary: whatever becomes of it, nothing else is different. And signals that come early.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::*;
use crate::torture::rig::{Rig, Up};

/// A relay whose log cannot tell where it listens.
struct Mute {
    daemon: Daemon,
    hooks: SocketAddr,
    admin: SocketAddr,
    directory: tempfile::TempDir,
}

/// Starts the binary; `change` says what standard error is.
async fn start(rest: &str, change: impl FnOnce(&mut Command)) -> Mute {
    let directory = tempfile::tempdir().expect("a directory");
    let free = |_| std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let [hooks, admin] = [0, 1].map(free);
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, config_text(hooks, admin, rest)).expect("written");
    let daemon = Daemon::start(&config, change);
    let mute = Mute { daemon, hooks, admin, directory };
    eventually("it to be ready", async || {
        tokio::net::TcpStream::connect(mute.admin).await.is_ok() && mute.get("/readyz").await.status() == 200
    })
    .await;
    mute
}

fn config_text(hooks: SocketAddr, admin: SocketAddr, rest: &str) -> String {
    format!(
        "listen: {hooks}\nadmin: {{ listen: \"{admin}\" }}\ndata_dir: data\nsources: {{ vero: {{ token: secret }} }}\n{rest}"
    )
}

impl Mute {
    async fn get(&self, path: &str) -> Message {
        request(self.admin, "GET", path, &[], b"").await
    }

    async fn post(&self) -> u16 {
        request(self.hooks, "POST", "/hooks/vero/secret", &[], br#"{"type":"sent"}"#).await.status()
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} in {text}"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.daemon.0), signal).expect("signalled");
    }

    /// Asks it to end; it must end well.
    async fn terminate(mut self) {
        self.signal(Signal::TERM);
        let mut code = None;
        eventually("it to end", async || {
            code = self.daemon.0.try_wait().expect("our child").map(|status| status.code());
            code.is_some()
        })
        .await;
        assert_eq!(code, Some(Some(0)));
    }

    /// Makes it log more than it can hold: a config with many problems, read again and again.
    async fn flood(&self, until: u64) {
        let long = "x".repeat(500);
        let rules: String = (0..50).map(|number| format!("  - {{ to: [{long}{number}] }}\n")).collect();
        let rest = format!("rules:\n{rules}destinations: {{ a: {{ http: {{ url: \"http://127.0.0.1:1\" }} }} }}\n");
        let text = config_text(self.hooks, self.admin, &rest);
        std::fs::write(self.directory.path().join("config.yaml"), text).expect("written");
        eventually("lines to be lost", async || {
            let answer = request(self.admin, "POST", "/api/reload", &[("x-vero-relay-write", "1")], b"").await;
            assert_eq!(answer.status(), 422, "{}", answer.text());
            self.metric("vero_relay_log_lines_lost_total").await >= until
        })
        .await;
    }
}

fn rules(fake: &Fake) -> String {
    let url = format!("http://{}", fake.address);
    format!("rules: [{{ to: [a] }}]\ndestinations: {{ a: {{ http: {{ url: \"{url}\" }}, {QUICK} }} }}\n")
}

/// Everything works although there is something to log and no line can be written.
async fn works_without_a_log(change: impl FnOnce(&mut Command), loses_lines: bool) {
    // Three failures and then yes: lines about trouble, and its end.
    let fake = Fake::start([Act::status(500), Act::status(500), Act::status(422)]).await;
    let mute = start(&rules(&fake), change).await;
    for _ in 0..3 {
        assert_eq!(mute.post().await, 200);
    }
    fake.wait_for(5).await;
    mute.signal(Signal::HUP);
    eventually("the reload", async || mute.get("/api/status").await.json()["config"]["generation"] == 2).await;
    assert_eq!(mute.post().await, 200);
    fake.wait_for(6).await;
    if loses_lines {
        eventually("lines to be lost", async || mute.metric("vero_relay_log_lines_lost_total").await > 0).await;
    } else {
        assert_eq!(mute.metric("vero_relay_log_lines_lost_total").await, 0);
    }
    mute.terminate().await;
}

#[tokio::test]
async fn a_log_on_a_full_disk_is_no_reason_for_anything() {
    let full = OpenOptions::new().write(true).open("/dev/full").expect("there");
    works_without_a_log(|command| _ = command.stderr(full), true).await;
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_is_no_reason_for_anything() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    works_without_a_log(|command| _ = command.stderr(writer), true).await;
}

#[tokio::test]
async fn a_closed_standard_error_is_no_reason_for_anything_and_lines_go_nowhere() {
    // The standard library opens /dev/null in its place, which takes every line: no file of the store gets the number 2.
    let closed = |command: &mut Command| {
        let program = command.get_program().to_owned();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 2>&- >&-", "sh"]).arg(program).args(words).stdin(Stdio::null());
    };
    works_without_a_log(closed, false).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_what_is_missing_is_told_once_it_is_read() {
    let fake = Fake::start([]).await;
    let mut mute = start(&rules(&fake), |command| {
        command.stderr(Stdio::piped());
    })
    .await;
    mute.flood(10).await;
    assert_eq!(mute.post().await, 200);
    assert_eq!(mute.get("/readyz").await.status(), 200);
    fake.wait_for(1).await;
    let pipe = mute.daemon.0.stderr.take().expect("piped");
    let told = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
        let told = lines.find(|line| line.contains("log lines were lost since"));
        (told, lines)
    });
    let (told, rest) = tokio::time::timeout(PATIENCE, told).await.expect("in time").expect("read");
    assert!(told.is_some_and(|line| line.contains(" WARN ") && line.ends_with("nobody read them in time")));
    let rest = tokio::task::spawn_blocking(move || rest.last());
    mute.terminate().await;
    assert!(rest.await.expect("read").is_some_and(|line| line.ends_with("INFO stopped")));
}

#[tokio::test]
async fn a_log_that_nobody_reads_does_not_keep_the_process_from_ending() {
    let fake = Fake::start([]).await;
    let mute = start(&rules(&fake), |command| {
        command.stderr(Stdio::piped());
    })
    .await;
    mute.flood(1).await;
    mute.terminate().await;
}

#[tokio::test]
async fn lines_that_a_broken_log_could_not_take_are_told_when_it_takes_some_again() {
    let fake = Fake::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let file = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
    // A file that may not grow stands for a disk that is full. It begins behind the end of all that the store writes.
    let begin = 80 << 20;
    file.set_len(begin).expect("a sparse file");
    let mute = start(&rules(&fake), |command| {
        let program = command.get_program().to_owned();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(program)
            .args(words)
            .stdin(Stdio::null())
            .stderr(file);
    })
    .await;
    let may_grow_to = |bytes: Option<u64>| {
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        let pid = Some(Pid::from_child(&mute.daemon.0));
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).expect("a limit of our own child");
    };
    may_grow_to(Some(begin));
    eventually("lines to be lost", async || {
        mute.signal(Signal::HUP);
        mute.metric("vero_relay_log_lines_lost_total").await > 0
    })
    .await;
    assert_eq!(mute.post().await, 200);
    may_grow_to(None);
    eventually("the loss to be told", async || {
        let mut said = String::new();
        let mut file = std::fs::File::open(&log).expect("there");
        file.seek(SeekFrom::Start(begin)).and_then(|_| file.read_to_string(&mut said)).expect("read");
        said.contains("lost since") && said.contains("File too large")
    })
    .await;
    fake.wait_for(1).await;
    mute.terminate().await;
}

#[tokio::test]
async fn a_starts_report_is_told_whole_and_by_json_in_a_line_for_each_problem() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.yaml");
    let long = "x".repeat(2000);
    let rules: String = (0..48).map(|number| format!("  - {{ to: [{long}{number}] }}\n")).collect();
    std::fs::write(&config, format!("{HEAD}rules:\n{rules}destinations: {{ a: {{ file: {{ path: a }} }} }}\n"))
        .expect("written");
    let said = |format: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.args(["run", "-c"]).arg(&config).env("VERO_RELAY_LOG_FORMAT", format);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8(output.stderr).expect("text")
    };
    let json = said("json");
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let problems = lines
        .iter()
        .filter(|line| line["fields"]["message"].as_str().is_some_and(|said| said.contains("no destination named")));
    assert_eq!(problems.count(), 48);
    let text = said("text");
    assert!(text.len() > 32 << 10, "more than one line may have: {}", text.len());
    assert!(!text.contains("(cut)") && text.matches("no destination named").count() == 48, "nothing is cut");
}

#[tokio::test]
async fn a_level_that_is_none_is_told_and_the_default_is_used() {
    for (level, is_told) in [("debg", true), ("warning", true), ("info", false), ("", false)] {
        let fake = Fake::start([]).await;
        let mut mute = start(&rules(&fake), |command| {
            command.env("VERO_RELAY_LOG", level).stderr(Stdio::piped());
        })
        .await;
        let pipe = mute.daemon.0.stderr.take().expect("piped");
        mute.terminate().await;
        let log = std::io::read_to_string(pipe).expect("read");
        let told = format!("VERO_RELAY_LOG is `{level}`, which is no level");
        assert_eq!(log.contains(&told), is_told, "{level}: {log}");
        assert!(log.contains("vero-relay is ready"), "{level}: {log}");
    }
}

// ---- signals that come while it starts --------------------------------------------------------------------------------------------

/// Whether a process catches a signal, by its mask in `/proc`.
fn catches(pid: u32, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// A relay that has just set its handlers. Its config is long, so that it is still being read.
async fn starting(directory: &Path) -> Daemon {
    let config = directory.join("config.yaml");
    let rules: String =
        (0..3000).map(|i| format!("  - {{ name: r{i}, match: {{ campaign.id: {i} }}, to: [a] }}\n")).collect();
    let text = format!("{HEAD}rules:\n{rules}destinations: {{ a: {{ file: {{ path: a }} }} }}\n");
    std::fs::write(&config, text).expect("written");
    let daemon = Daemon::start(&config, |command| {
        command.stderr(Stdio::piped());
    });
    eventually("its handlers", async || catches(daemon.0.id(), 1) && catches(daemon.0.id(), 15)).await;
    daemon
}

#[tokio::test]
async fn a_hangup_while_it_starts_is_a_reload_afterwards() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut daemon = starting(directory.path()).await;
    for _ in 0..5 {
        kill_process(Pid::from_child(&daemon.0), Signal::HUP).expect("signalled");
    }
    assert!(daemon.0.try_wait().expect("our child").is_none(), "it lives");
    let stderr = daemon.0.stderr.take().expect("piped");
    let reading = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let ready = lines.by_ref().find(|line| line.contains("vero-relay is ready"));
        (ready, lines.find(|line| line.contains("the config is read again")))
    });
    let (ready, reloading) = tokio::time::timeout(PATIENCE, reading).await.expect("in time").expect("read");
    assert!(ready.is_some() && reloading.is_some(), "{ready:?} {reloading:?}");
}

#[tokio::test]
async fn a_signal_to_end_while_it_starts_ends_it_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut daemon = starting(directory.path()).await;
        kill_process(Pid::from_child(&daemon.0), signal).expect("signalled");
        let mut code = None;
        eventually("it to end", async || {
            code = daemon.0.try_wait().expect("our child").map(|status| status.code());
            code.is_some()
        })
        .await;
        assert_eq!(code, Some(Some(0)));
    }
}

// ---- what is told, and how often ----------------------------------------------------------------------------------------------------

/// A relay whose log is read.
async fn telling(rest: &str) -> (Up, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let up = Rig::new(directory.path(), &directory.path().join("data"), rest).start().await;
    (up, directory)
}

async fn post_to(up: &Up, path: &str) -> u16 {
    request(up.hooks, "POST", path, &[], br#"{"type":"sent","user":{"email":"steve@example.com"}}"#).await.status()
}

/// How many lines hold a text.
fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn trouble_is_told_when_it_begins_and_when_it_ends() {
    let fake = Fake::start([500, 503, 500].map(Act::status)).await;
    let (up, _directory) = telling(&rules(&fake)).await;
    assert_eq!(post_to(&up, "/hooks/vero/secret").await, 200);
    eventually("its end", async || up.said().contains("delivering again")).await;
    let log = up.said();
    assert_eq!(
        (count(&log, "attempts fail, and will be made again"), count(&log, "delivering again")),
        (1, 1),
        "{log}"
    );
    assert!(log.contains("failed_attempts=3"), "{log}");
}

#[tokio::test]
async fn many_dead_letters_are_one_line() {
    // Not twenty in a row, which would pause the destination.
    let fake = Fake::start((0..60).map(|number| if number % 3 == 0 { Act::ok() } else { Act::status(422) })).await;
    let (up, _directory) = telling(&rules(&fake)).await;
    for _ in 0..60 {
        assert_eq!(post_to(&up, "/hooks/vero/secret").await, 200);
    }
    fake.wait_for(60).await;
    let log = up.said();
    assert_eq!((count(&log, "dead letter"), count(&log, "422 Unprocessable")), (1, 1), "{log}");
    assert!(!log.contains("steve@example.com"), "{log}");
}

#[tokio::test]
async fn refused_requests_are_told_once_a_minute_without_their_tokens() {
    let fake = Fake::start([]).await;
    let (up, _directory) = telling(&rules(&fake)).await;
    for number in 0..50 {
        assert_eq!(post_to(&up, &format!("/hooks/vero/guess-{number}")).await, 404);
    }
    // The first is told at once, and the other 49 would be with the minute. At the end all that was told is written.
    up.signal(Signal::TERM);
    let log = up.ended().await.log;
    assert_eq!(count(&log, "requests to the hooks were refused"), 1, "{log}");
    assert!(log.contains("last_reason=\"wrong_address\"") && !log.contains("guess"), "{log}");
}

#[tokio::test]
async fn a_damaged_event_that_is_asked_for_again_and_again_is_named_in_one_line() {
    let fake = Fake::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = Rig::new(directory.path(), &directory.path().join("data"), &rules(&fake));
    let up = rig.start().await;
    assert_eq!(post_to(&up, "/hooks/vero/secret").await, 200);
    fake.wait_for(1).await;
    up.signal(Signal::TERM);
    up.ended().await;
    // It is read from the disk now, and not from memory.
    let up = rig.start().await;
    let listed = request(up.admin, "GET", "/api/events", &[], b"").await.json();
    let id = listed["events"][0]["id"].as_str().expect("listed");
    let files = std::fs::read_dir(directory.path().join("data").join("journal")).expect("a journal");
    let mut damaged = 0;
    for file in files {
        let path = file.expect("listed").path();
        let bytes = std::fs::read(&path).expect("read");
        if let Some(at) = bytes.windows(5).position(|part| part == b"steve") {
            let file = OpenOptions::new().write(true).open(&path).expect("open");
            file.write_all_at(b"S", at as u64).expect("written");
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "one file has it");
    for _ in 0..20 {
        let answer = request(up.admin, "GET", &format!("/api/events/{id}"), &[], b"").await;
        assert_eq!(answer.status(), 500, "{}", answer.text());
    }
    up.signal(Signal::TERM);
    let log = up.ended().await.log;
    assert_eq!(count(&log, "an event that was asked for cannot be read"), 1, "{log}");
    assert!(log.contains(&format!("last_event={id}")), "{log}");
}

#[tokio::test]
async fn what_an_operator_does_is_told_in_a_line_each() {
    let fake = Fake::start([]).await;
    let (up, directory) = telling(&rules(&fake)).await;
    let copy = directory.path().join("copy");
    let backup = serde_json::json!({ "directory": copy }).to_string();
    for (path, body) in [
        ("destinations/a/pause", "{}"),
        ("destinations/a/retry", "{}"),
        ("destinations/a/resume", "{}"),
        ("sources/vero/resume", "{}"),
        ("replays", r#"{"since": "1h", "match": "{user.email: steve@example.com}"}"#),
        ("store/trim", "{}"),
        ("store/backup", backup.as_str()),
        ("reload", "{}"),
    ] {
        let headers = [("x-vero-relay-write", "1")];
        let answer = request(up.admin, "POST", &format!("/api/{path}"), &headers, body.as_bytes()).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    }
    eventually("the last line", async || up.said().contains("the config was reloaded")).await;
    let log = up.said();
    for line in
        ["pause", "retry", "resume destination=a", "resume source=vero", "replay", "trim the store", "backup the store"]
    {
        assert_eq!(count(&log, &format!("INFO by the operator: {line}")), 1, "{line}: {log}");
    }
    assert!(!log.contains("steve@example.com"), "{log}");
}

#[tokio::test]
async fn a_name_with_a_line_break_forges_no_line() {
    let fake = Fake::start([]).await;
    let (mut rig, directory) = {
        let directory = tempfile::tempdir().expect("a directory");
        (Rig::new(directory.path(), &directory.path().join("data"), &rules(&fake)), directory)
    };
    let up = rig.start().await;
    rig.change("{ to: [a] }", r#"{ name: "x\n2026-01-01T00:00:00Z ERROR faked\e[31m", to: [a] }"#);
    let answer = request(up.admin, "POST", "/api/reload", &[("x-vero-relay-write", "1")], b"{}").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    eventually("the change to be told", async || up.said().contains("faked")).await;
    let log = up.said();
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01T")) && !log.contains('\u{1b}'), "{log}");
    drop(directory);
}

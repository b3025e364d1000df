//! What surrounds the process: the rights on what it writes, and a limit on how large a file may be.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::*;

/// Everything below a directory, and itself, that others have rights on.
fn readable_by_others(directory: &Path, seen: &mut usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut paths: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(path) = paths.pop() {
        // A file may go while the directory is read.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        *seen += 1;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push(format!("{} has mode {mode:o}", path.display()));
        }
        if metadata.is_dir() {
            paths.extend(std::fs::read_dir(&path).expect("readable").flatten().map(|entry| entry.path()));
        }
    }
    found
}

/// The real binary, started by a shell that has said something before.
struct Started {
    daemon: Daemon,
    hooks: SocketAddr,
    admin: SocketAddr,
}

impl Started {
    async fn under(directory: &Path, words: &str) -> Self {
        let log = directory.join("log");
        let daemon = Daemon::start(&directory.join("config.yaml"), |command| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{words}; exec \"$0\" \"$@\"")]).arg(command.get_program());
            shell.args(command.get_args()).stderr(std::fs::File::create(&log).expect("a log"));
            *command = shell;
        });
        let address = |key: &str| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let line = said.lines().find(|line| line.contains("vero-relay is ready"))?.to_owned();
            line.split(' ').find_map(|word| word.strip_prefix(key)?.parse::<SocketAddr>().ok())
        };
        eventually("the relay to be ready", async || address("admin=").is_some()).await;
        Self { daemon, hooks: address("listen=").expect("ready"), admin: address("admin=").expect("ready") }
    }
}

fn widen(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_owner_may_read_what_the_relay_writes_at_any_time() {
    let fake = Fake::start([]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    // As an installer, a careless restore or an older release may have left it.
    std::fs::create_dir_all(data.join("journal")).expect("made");
    widen(&data, 0o777);
    widen(&data.join("journal"), 0o755);
    std::fs::write(data.join("state.db"), "no database").expect("written");
    std::fs::write(data.join("state.db-wal"), "").expect("written");
    std::fs::write(data.join("lock"), "").expect("written");
    for name in ["state.db", "state.db-wal", "lock"] {
        widen(&data.join(name), 0o666);
    }
    let config = directory.path().join("config.yaml");
    let text = format!(
        "{HEAD}rules: [{{ name: all, to: [crm, archive] }}]\ndestinations:\n  crm: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  \
         archive: {{ file: {{ path: \"archive/{{type}}/{{date}}.ndjson\" }} }}\n",
        fake.url()
    );
    std::fs::write(&config, text).expect("written");
    let started = Started::under(directory.path(), "umask 000").await;
    let (hooks, admin) = (started.hooks, started.admin);
    let mut seen = 0;
    fake.then(std::iter::repeat_with(|| Act::status(400)).take(5));
    for kind in ["sent", "bounced", "opened"] {
        let body = format!("{{\"type\":\"{kind}\"}}");
        let answer = request(hooks, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(readable_by_others(&data, &mut seen), [] as [String; 0]);
    }
    eventually("an archive", async || data.join("archive/opened").is_dir()).await;
    let asked = format!("{{\"directory\":\"{}\"}}", copy.display());
    let headers = [("x-vero-relay-write", "1"), ("content-type", "application/json")];
    let answer = request(admin, "POST", "/api/store/backup", &headers, asked.as_bytes()).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    for place in [&data, &copy] {
        assert_eq!(readable_by_others(place, &mut seen), [] as [String; 0]);
    }
    assert!(data.join("state.db-wal").exists() && data.join("state.db.damaged").exists(), "the database is in use");
    assert!(seen > 20, "hardly anything was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_the_size_of_files_is_lived_with_like_a_disk_with_little_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{HEAD}rules: []\ndestinations: {{}}\n")).expect("written");
    // Some MiB, as blocks of 512 or 1024 bytes: less than a segment usually has, and more than the index has here.
    let mut started = Started::under(directory.path(), "ulimit -f 8192").await;
    let body = format!("{{\"type\":\"sent\",\"x\":\"{}\"}}", "x".repeat(500_000));
    for number in 0..40 {
        let answer = request(started.hooks, "POST", "/hooks/vero/secret", &[], body.as_bytes()).await;
        assert_eq!(answer.status(), 200, "event {number}: {}", answer.text());
    }
    assert_eq!(request(started.hooks, "GET", "/readyz", &[], b"").await.status(), 200);
    assert!(started.daemon.0.try_wait().expect("it is our child").is_none(), "it runs on");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fewer_open_files_than_it_needs_it_says_so_and_does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, format!("{HEAD}rules: []\ndestinations: {{}}\n")).expect("written");
    for limit in [8, 16, 20, 63] {
        let words = format!("ulimit -n {limit}; exec \"$0\" run -c \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &words, env!("CARGO_BIN_EXE_vero-relay")]).arg(&config);
        let ended = command.output().expect("it runs");
        assert_eq!(ended.status.code(), Some(1), "{limit}");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let expected = format!("the limit of open files is {limit}, and at least 64 are needed: raise it");
        assert!(said.contains(&expected), "{limit}: {said}");
        assert!(!directory.path().join("data").exists(), "{limit}: nothing is begun");
    }
    let started = Started::under(directory.path(), "ulimit -n 64").await;
    let answer = request(started.hooks, "POST", "/hooks/vero/secret", &[], b"{\"type\":\"sent\"}").await;
    assert_eq!(answer.status(), 200);
}

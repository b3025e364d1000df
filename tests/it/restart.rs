//! What is pending when the relay ends is pending when it starts again.

use vero_relay::daemon::{StartError, start};

use crate::harness::*;
use crate::torture::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn pending_work_is_done_after_a_restart_and_finished_work_is_not_done_again() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let done = relay.accept(r#"{"type":"done"}"#).await;
    relay.until(&done, "delivered").await;
    fake.then(std::iter::repeat_with(|| Act::status(503)).take(10_000));
    let mut ids = Vec::new();
    for i in 0..20 {
        ids.push(relay.accept(&format!(r#"{{"type":"pending","n":{i}}}"#)).await);
    }
    relay.until(&ids[0], "scheduled").await;
    let other = Fake::start([]).await;
    let relay = relay.restart(|config| config.replace(&fake.address.to_string(), &other.address.to_string())).await;
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    let seen = other.seen();
    assert_eq!(seen.len(), 20, "each once, and the finished one not again");
    assert!(ids.iter().all(|id| seen.iter().any(|message| message.header("webhook-id") == Some(id))));
    assert_eq!(relay.deliveries(&done).await[0]["state"], "delivered", "also known from the journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_restart() {
    let fake = Fake::start([Act::status(410)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    eventually("the pause", async || !relay.destination("crm").await["paused"].is_null()).await;
    let relay = relay.restart(|config| config).await;
    assert!(!relay.destination("crm").await["paused"].is_null());
    relay.act("/api/destinations/crm/resume").await;
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_attempts_in_flight_and_settles_them() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for _ in 0..200 {
        relay.accept(SENT).await;
    }
    let relay = relay.restart(|config| config).await;
    eventually("the rest", async || relay.destination("crm").await["backlog"] == 0).await;
    assert_eq!(fake.seen().len(), 200, "none twice after a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_attempt_does_not_keep_the_relay_from_ending() {
    let fake = Fake::start([Act::Hang]).await;
    // The attempt may take an hour; that the end does not wait for it shows in that this comes to an end.
    let config = to_crm(&fake, "    timeout: 1h\nlimits: { shutdown_grace: 300ms }\n");
    let relay = TestRelay::start(&config).await;
    let id = relay.accept(SENT).await;
    fake.wait_for(1).await;
    let restarting = relay.restart(|config| config);
    let relay = tokio::time::timeout(4 * PATIENCE, restarting).await.expect("the relay ends without waiting");
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_belongs_to_one_relay() {
    let relay = TestRelay::start("rules: [ { to: [], stop: true } ]\n").await;
    let config = "listen: 127.0.0.1:0\nadmin: { listen: \"127.0.0.1:0\" }\ndata_dir: data\nsources: { vero: { token: t } }\nrules: [ { to: [], stop: true } ]\n";
    let second = start(parse(relay.directory.path(), config)).await;
    let Err(StartError::Locked(error)) = second else { panic!("started") };
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let config = "rules: [ { to: f } ]\ndestinations: { f: { file: { path: \"archive/a.ndjson\" } } }\n";
    let relay = TestRelay::start(config).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let data = relay.directory.path().join("data");
    let mode = |path: &str| std::fs::metadata(data.join(path)).expect(path).permissions().mode() & 0o777;
    assert_eq!([mode("."), mode("journal"), mode("archive")], [0o700; 3]);
    assert_eq!([mode("journal/0000000001.journal"), mode("archive/a.ndjson"), mode("lock")], [0o600; 3]);
}

/// What became of one post.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Posted {
    Accepted(String),
    /// Nobody listened.
    Refused,
    /// It ended before anything was answered.
    Unanswered(String),
    /// It was cut off in an answer, or answered otherwise.
    Broken(String),
}

async fn post_once(address: std::net::SocketAddr) -> Posted {
    use tokio::io::AsyncWriteExt;
    let mut stream = match tokio::net::TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Posted::Refused,
        Err(error) => return Posted::Unanswered(error.to_string()),
    };
    let head = format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", SENT.len());
    if let Err(error) = stream.write_all(&[head.as_bytes(), SENT.as_bytes()].concat()).await {
        return Posted::Unanswered(error.to_string());
    }
    let mut rest = Vec::new();
    match read_message(&mut stream, &mut rest).await {
        Some(answer) if answer.status() == 200 => {
            Posted::Accepted(answer.json()["id"].as_str().expect("an id").to_owned())
        }
        Some(answer) => Posted::Broken(answer.first_line),
        None if rest.is_empty() => Posted::Unanswered("no answer was begun".to_owned()),
        None => Posted::Broken("no whole answer".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_slow_destination_accepts_events_to_its_end_and_cuts_nobody_off() {
    use std::sync::{Arc, Mutex};
    let fake = Fake::start([Act::Hang]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let rest = to_crm(&fake, "limits: { shutdown_grace: 5s }\n");
    let mut rig = Rig::new(directory.path(), &directory.path().join("data"), &rest);
    let port = closed_port();
    rig.change("listen: 127.0.0.1:0\nadmin", &format!("listen: {port}\nadmin"));
    let up = rig.start().await;
    let posts: Arc<Mutex<Vec<Posted>>> = Arc::default();
    let noted = posts.clone();
    let posting = tokio::spawn(async move {
        loop {
            let posted = post_once(port).await;
            noted.lock().expect("sound").push(posted);
            tokio::task::yield_now().await;
        }
    });
    let count = || posts.lock().expect("sound").len();
    eventually("posts", async || count() > 5).await;
    fake.wait_for(1).await;
    let before = count();
    up.signal(rustix::process::Signal::TERM);
    eventually("posts while it stops", async || count() > before + 20).await;
    let ended = up.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let at_its_end = count();
    eventually("a refusal", async || posts.lock().expect("sound").contains(&Posted::Refused)).await;
    let up = rig.start().await;
    let restarted = count();
    eventually("posts to the next", async || count() > restarted + 20).await;
    posting.abort();
    let posts = posts.lock().expect("sound").clone();
    let broken: Vec<_> = posts.iter().filter(|posted| matches!(posted, Posted::Broken(_))).collect();
    assert!(broken.is_empty(), "{broken:?}");
    // The system takes connections by itself, and one that it takes between the last look and the close is reset. Of one sender that is
    // one at most, and whoever comes next is refused.
    let unanswered: Vec<_> = (0..posts.len()).filter(|at| matches!(posts[*at], Posted::Unanswered(_))).collect();
    assert!(unanswered.len() <= 1 && unanswered.iter().all(|at| posts[at + 1] == Posted::Refused), "{unanswered:?}");
    let posts: Vec<_> = posts.into_iter().filter(|posted| !matches!(posted, Posted::Unanswered(_))).collect();
    assert!(posts[before..before + 20].iter().all(|posted| *posted != Posted::Refused), "accepted while it stops");
    assert!(at_its_end > before + 20);
    let mut changes = posts.iter().map(|posted| *posted == Posted::Refused).collect::<Vec<_>>();
    changes.dedup();
    assert_eq!(changes, [false, true, false], "refused only between the end of the one and the start of the other");
    for posted in &posts {
        if let Posted::Accepted(id) = posted {
            let found = request(up.admin, "GET", &format!("/api/events/{id}"), &[], b"").await;
            assert_eq!(found.status(), 200, "{id}: {}", found.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_listener_of_the_service_manager_nobody_is_refused_between_two_processes() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, format!("{HEAD}rules: [ {{ to: [], stop: true }} ]\n")).expect("written");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it listens");
    let start = || {
        // As a service manager does it: the listener is the fourth file.
        let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" run -c \"$1\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_vero-relay")]).arg(&config);
        let handed = std::os::fd::OwnedFd::from(listener.try_clone().expect("cloned"));
        Daemon(command.stdin(handed).spawn().expect("started"))
    };
    let mut first = start();
    assert!(matches!(post_once(address).await, Posted::Accepted(_)));
    let pid = i32::try_from(first.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    eventually("its end", async || first.0.try_wait().expect("our child").is_some()).await;
    let between = tokio::spawn(post_once(address));
    let _second = start();
    let posted = between.await.expect("posted");
    assert!(matches!(posted, Posted::Accepted(_)), "{posted:?}");
}

//! `tail`: events as they come, and what becomes of them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::harness::*;

/// `vero-relay tail`, ended when dropped.
struct Tail {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Tail {
    fn at(admin: SocketAddr, more: &[&str]) -> Self {
        Self::with_token(admin, more, "")
    }

    fn with_token(admin: SocketAddr, more: &[&str], token: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
        command.args(["tail", "--admin", &format!("http://{admin}")]).args(more).env("VERO_RELAY_ADMIN_TOKEN", token);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let out = lines(child.stdout.take().expect("piped"));
        let err = lines(child.stderr.take().expect("piped"));
        Self { child, out, err }
    }

    /// The next line of which something holds.
    fn until(&self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.out.recv_timeout(PATIENCE).expect("a line in time");
            if is_it(&line) {
                return line;
            }
        }
    }

    /// Waits until it hears the relay: what came before that is not told.
    async fn hears(&self, relay: &TestRelay) {
        eventually("it to hear the relay", async || {
            relay.accept(r#"{"type":"first"}"#).await;
            self.out.try_recv().is_ok()
        })
        .await;
    }

    /// How it ended, and what it said.
    fn ended(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("it ends").code();
        (code, self.err.iter().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(from).lines();
        lines.map_while(Result::ok).try_for_each(|line| send.send(line))
    });
    receive
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_nearly_one_of_veros_is_told_and_others_are_not() {
    let relay = TestRelay::start("rules: [ { name: silence, to: [], stop: true } ]\n").await;
    let tail = Tail::at(relay.running.admin_address, &["--type", "sent, clickd,of my own,first"]);
    let told = tail.err.recv_timeout(PATIENCE).expect("a line in time");
    assert_eq!(told, "warning: Vero has no event type `clickd` today (did you mean `clicked`?)");
    tail.hears(&relay).await;
    assert_eq!(tail.err.try_recv().ok(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_a_line_and_what_becomes_of_it_later_another() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let tail = Tail::at(relay.running.admin_address, &[]);
    tail.hears(&relay).await;
    eventually("all to be delivered", async || relay.destination("crm").await["backlog"] == 0).await;
    fake.then([Act::status(503)]);
    let hostile =
        r#"{"type":"sent","user":{"id":1,"email":"a@example.com"},"campaign":{"name":"Cart\u001b[31m\u202e"}}"#;
    relay.accept(hostile).await;
    let line = tail.until(|line| line.contains("sent"));
    let words: Vec<_> = line.split_whitespace().skip(1).collect();
    assert_eq!(words.join(" "), "sent a@example.com Cart [31m → crm scheduled", "no colours where no terminal is");
    relay.act("/api/destinations/crm/retry").await;
    let line = tail.until(|line| line.contains("sent"));
    assert!(line.contains("└ sent") && line.ends_with("→ crm delivered"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_scripts_each_frame_is_a_line_and_a_filter_narrows_them() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let admin = relay.running.admin_address;
    let tail = Tail::at(admin, &["--json", "--type", "bounced"]);
    let json = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    assert_eq!(json(&tail.until(|_| true))["frame"], "hello");
    relay.accept(SENT).await;
    let id = relay.accept(r#"{"type":"bounced"}"#).await;
    assert_eq!(json(&tail.until(|line| json(line)["frame"] == "event"))["data"]["id"], id.as_str());
    for (more, told) in [("--state=lost", "is not a state"), ("--destination=nowhere", "no destination `nowhere`")] {
        let (code, said) = Tail::at(admin, &[more]).ended();
        assert_eq!(code, Some(1));
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_by_itself_where_the_relay_was_away() {
    let fake = Fake::start([]).await;
    let admin = closed_port();
    let at = format!("admin: {{ listen: \"{admin}\" }}");
    let config = HEAD.replace("admin: { listen: \"127.0.0.1:0\" }", &at);
    let relay = TestRelay::start_with(&format!("{config}{}", to_crm(&fake, ""))).await;
    let tail = Tail::at(admin, &[]);
    tail.hears(&relay).await;
    let relay = relay.restart(|config| config).await;
    tail.until(|line| line.contains("events may be missing"));
    for told in ["ended the stream", "answers again"] {
        let said = tail.err.recv_timeout(PATIENCE).expect("a line in time");
        assert!(said.contains(told), "{said}");
    }
    relay.accept(SENT).await;
    tail.until(|line| line.contains("sent") && line.ends_with("→ crm delivered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_relay_is_at_the_beginning_it_says_so_and_ends() {
    let (code, said) = Tail::at(closed_port(), &[]).ended();
    assert_eq!(code, Some(1));
    assert!(said.contains("no relay answers"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_gone_ends_it_and_is_not_tried_again() {
    let config = |token: &str| {
        let admin = format!("admin: {{ listen: \"127.0.0.1:0\", token: {token} }}");
        let head = HEAD.replace("admin: { listen: \"127.0.0.1:0\" }", &admin);
        format!("{head}rules: [ {{ name: silence, to: [], stop: true }} ]\n")
    };
    let relay = TestRelay::start_with(&config("the-first-token-of-all")).await;
    let tail = Tail::with_token(relay.running.admin_address, &["--json"], "the-first-token-of-all");
    assert!(tail.until(|_| true).contains("hello"));
    std::fs::write(relay.directory.path().join("config.yaml"), config("the-second-token-of-all")).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    // A reader that waits looks at its tokens when something comes.
    relay.accept(SENT).await;
    let (code, said) = tail.ended();
    assert_eq!(code, Some(1));
    assert!(said.contains("the relay answered 401") && said.contains("VERO_RELAY_ADMIN_TOKEN"), "{said}");
    assert!(!said.contains("answers again"), "{said}");
}

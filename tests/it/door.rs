//! The door of the admin listener: every way in, each beside one that is closed.

use std::path::PathBuf;
use std::process::{Command, Output};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::{err, out};
use crate::harness::*;

const TOKEN: &str = "the-token-of-the-operator";
const READ_TOKEN: &str = "the-token-of-who-only-looks";
const BEARER: (&str, &str) = ("authorization", "Bearer the-token-of-the-operator");
const READER: (&str, &str) = ("authorization", "Bearer the-token-of-who-only-looks");
const WRITE: (&str, &str) = ("x-vero-relay-write", "1");
const REST: &str = "rules: [ { name: silence, to: [], stop: true } ]\n";

/// A relay with keys under `admin:`, whose config stands in a file.
struct Guarded {
    relay: TestRelay,
    path: PathBuf,
}

fn config(admin: &str, rest: &str) -> String {
    format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: \"127.0.0.1:0\", {admin} }}\ndata_dir: data\n\
         sources: {{ vero: {{ token: secret }} }}\n{rest}"
    )
}

impl Guarded {
    async fn start(admin: &str) -> Self {
        Self::start_with(admin, REST).await
    }

    async fn start_with(admin: &str, rest: &str) -> Self {
        let relay = TestRelay::start_with(&config(admin, rest)).await;
        let path = relay.directory.path().join("config.yaml");
        let guarded = Self { relay, path };
        guarded.write(admin, rest);
        guarded
    }

    /// With both tokens.
    async fn usual() -> Self {
        Self::start(&format!("token: {TOKEN}, read_token: {READ_TOKEN}")).await
    }

    fn write(&self, admin: &str, rest: &str) {
        std::fs::write(&self.path, config(admin, rest)).expect("written");
    }

    async fn reload(&self, admin: &str) {
        self.write(admin, REST);
        let reloaded = self.relay.running.relay.reload().await;
        reloaded.unwrap_or_else(|error| panic!("{}", error.in_full()));
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Message {
        request(self.relay.running.admin_address, method, path, headers, body.as_bytes()).await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        self.ask("GET", path, headers, "").await.status()
    }

    /// The status of an answer that may have no body.
    async fn status(&self, method: &str, path: &str) -> String {
        let admin = self.relay.running.admin_address;
        let mut stream = TcpStream::connect(admin).await.expect("connected");
        let end = "connection: close\r\nx-vero-relay-write: 1\r\ncontent-length: 0\r\n\r\n";
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {admin}\r\n{end}");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer.split(' ').nth(1).expect("a status").to_owned()
    }

    async fn sign_in(&self, token: &str) -> Message {
        let accept = ("accept", "application/json");
        self.ask("POST", "/sign-in", &[accept], &format!("token={token}")).await
    }

    /// What a browser sends of the cookie that it was given.
    async fn cookie(&self, token: &str) -> String {
        let answer = self.sign_in(token).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
        kept(&answer)
    }
}

/// The cookie that an answer sets, without what says how long and where it is kept.
fn kept(answer: &Message) -> String {
    let set = answer.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("a pair").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_shown_and_with_it_everything() {
    let guarded = Guarded::usual().await;
    let paths = [
        "/metrics",
        "/api/status",
        "/api/events",
        "/api/destinations",
        "/api/nothing",
        "/bin",
        "/bin/a",
        "/nothing",
        "/api",
        "/sign-in",
        "/sign-out",
    ];
    for path in paths {
        let refused = guarded.ask("GET", path, &[], "").await;
        assert_eq!(refused.status(), 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer realm=\"vero-relay\""), "{path}");
        assert_ne!(guarded.get(path, &[BEARER]).await, 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/", "/app.js", "/style.css", "/api/session"] {
        assert_eq!(guarded.get(path, &[]).await, 200, "{path} holds no data");
    }
    assert_eq!(guarded.get("/api/status", &[BEARER]).await, 200);
    assert_eq!(guarded.get("/api/status", &[("authorization", "bearer  the-token-of-the-operator ")]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_leads_around_the_door() {
    let guarded = Guarded::usual().await;
    let spellings = [
        "/%61pi/status",
        "/api%2Fstatus",
        "//api/status",
        "/./api/status",
        "/api/../api/status",
        "/healthz/../api/status",
        "/healthz%2F..%2Fapi/status",
        "/healthz/x",
        "/app.js/../api/status",
        "/app.js%00/api",
        "/API/status",
        "/api/status/",
        "/api/status;x=/healthz",
        "/api/status?x=/healthz",
        "/api/session/../status",
        "/api//session",
        "/bin/../api/status",
        "/metrics/",
        "/%6detrics",
    ];
    for path in spellings {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND"] {
            assert_eq!(guarded.status(method, path).await, "401", "{method} {path}");
        }
    }
    // The address of a request may be a whole URL, which is no way around the names either.
    let admin = guarded.relay.running.admin_address;
    for target in ["http://evil.example/api/status", "https://x/healthz/../api/status"] {
        let answer = send_raw(admin, format!("GET {target} HTTP/1.1\r\nhost: {admin}\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.expect("an answer").status(), 421, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_opens_a_bin_is_led_to_the_page_which_asks_who_it_is() {
    let guarded = Guarded::usual().await;
    let html = [("accept", "text/html,*/*;q=0.8")];
    for (path, place) in [("/bin", "./#/bins"), ("/bin/a", "../#/bins/a")] {
        let answer = guarded.ask("GET", path, &html, "").await;
        assert_eq!((answer.status(), answer.header("location")), (303, Some(place)), "{path}");
        assert!(answer.body.is_empty());
        assert_eq!(guarded.get(path, &[]).await, 401, "{path}: a program");
        assert_eq!(guarded.get(path, &[("accept", "application/json")]).await, 401, "{path}: a program");
    }
    assert_eq!(guarded.get("/bin/a/b", &html).await, 401);
    assert_eq!(guarded.get("/api/status", &html).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_its_header_and_nowhere_else() {
    let guarded = Guarded::usual().await;
    for path in [
        format!("/api/status?token={TOKEN}"),
        format!("/api/status?access_token={TOKEN}"),
        format!("/api/status/{TOKEN}"),
        format!("/{TOKEN}/api/status"),
    ] {
        assert_eq!(guarded.get(&path, &[]).await, 401, "{path}");
    }
    for (name, value) in [
        ("authorization", format!("Basic {TOKEN}")),
        ("authorization", TOKEN.to_owned()),
        ("authorization", format!("Token {TOKEN}")),
        ("x-token", TOKEN.to_owned()),
        ("cookie", format!("token={TOKEN}")),
        ("cookie", TOKEN.to_owned()),
        ("proxy-authorization", format!("Bearer {TOKEN}")),
    ] {
        assert_eq!(guarded.get("/api/status", &[(name, &value)]).await, 401, "{name}: {value}");
    }
    let in_the_body = guarded.ask("POST", "/api/reload", &[WRITE], &format!("{{\"token\":\"{TOKEN}\"}}")).await;
    assert_eq!(in_the_body.status(), 401);
    assert_eq!(guarded.ask("POST", &format!("/sign-in?token={TOKEN}"), &[], "").await.status(), 400);
    assert_eq!(guarded.ask("POST", "/sign-in", &[], &format!("token=x&token={TOKEN}")).await.status(), 400);
    assert_eq!(guarded.ask("POST", "/sign-in", &[], &format!("tokens={TOKEN}")).await.status(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_comes_first_then_the_site_then_the_token_then_the_header() {
    let guarded = Guarded::start(&format!("token: {TOKEN}, hosts: [relay.example.com]")).await;
    let foreign = ("host", "evil.example");
    let cross = ("sec-fetch-site", "cross-site");
    let origin = ("origin", "http://evil.example");
    let act = async |headers: &[(&str, &str)]| guarded.ask("POST", "/api/reload", headers, "").await.status();
    assert_eq!(act(&[foreign, cross, BEARER, WRITE]).await, 421);
    assert_eq!(act(&[cross, BEARER, WRITE]).await, 403);
    assert_eq!(act(&[origin, BEARER, WRITE]).await, 403);
    assert_eq!(act(&[origin]).await, 403, "before it is asked who somebody is");
    assert_eq!(act(&[]).await, 401, "before it is asked for the header");
    assert_eq!(act(&[WRITE]).await, 401);
    assert_eq!(act(&[BEARER]).await, 403, "the header");
    assert_eq!(act(&[BEARER, WRITE]).await, 200);
    assert_eq!(act(&[("host", "relay.example.com"), BEARER, WRITE]).await, 200);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(guarded.get(path, &[foreign]).await, 200, "{path}: whoever looks after machines asks by any name");
        assert_eq!(guarded.get(path, &[cross]).await, 403, "{path}");
    }
    for path in ["/", "/metrics", "/sign-in", "/api/session"] {
        assert_eq!(guarded.get(path, &[foreign, BEARER]).await, 421, "{path}");
    }
    let signing_in = guarded.ask("POST", "/sign-in", &[cross], &format!("token={TOKEN}")).await;
    assert_eq!(signing_in.status(), 403, "no other site signs somebody in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_opens_the_page_and_shows_nothing_else() {
    let guarded = Guarded::usual().await;
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let html = ("accept", "text/html");
    let opened = guarded.ask("GET", "/", &[&link[..], &[html]].concat(), "").await;
    assert_eq!(opened.status(), 200);
    assert!(opened.header("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
    let in_a_frame = [link[0], link[1], ("sec-fetch-dest", "iframe"), html];
    let as_a_script = [link[0], ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "script")];
    assert_eq!(guarded.get("/", &in_a_frame).await, 403);
    assert_eq!(guarded.get("/app.js", &as_a_script).await, 403);
    for path in ["/api/status", "/api/session", "/metrics", "/bin"] {
        assert_eq!(guarded.get(path, &[&link[..], &[BEARER]].concat()).await, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_lets_another_origin_read_it() {
    let guarded = Guarded::usual().await;
    for (method, path) in [("OPTIONS", "/api/status"), ("GET", "/api/status"), ("GET", "/"), ("POST", "/sign-in")] {
        let preflight = [("origin", "http://evil.example"), ("access-control-request-method", "POST")];
        for headers in [&preflight[..], &[], &[BEARER]] {
            let answer = guarded.ask(method, path, headers, "").await;
            let allowed = answer.headers.iter().find(|(name, _)| name.starts_with("access-control"));
            assert_eq!(allowed, None, "{method} {path} {headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_the_token_and_its_cookie_is_shut_in() {
    let guarded = Guarded::usual().await;
    let answer = guarded.sign_in(TOKEN).await;
    let set = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("vero-relay-"), "{set}");
    assert!(set.ends_with("; HttpOnly; SameSite=Strict; Path=/"), "{set}");
    assert!(!set.contains(TOKEN) && !answer.text().contains(TOKEN));
    let cookie = kept(&answer);
    let session = guarded.ask("GET", "/api/session", &[("cookie", &cookie)], "").await.json();
    assert_eq!((&session["needed"], &session["signed_in"]), (&true.into(), &true.into()), "{session}");
    assert_eq!(session["access"], "full");
    assert!(session["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{session}");
    // The password of a proxy in between is none of the relay's.
    let proxy = ("authorization", "Basic YW5uOnNlY3JldA==");
    for (headers, signed_in) in [(&[proxy, ("cookie", &cookie)][..], true), (&[proxy], false)] {
        let session = guarded.ask("GET", "/api/session", headers, "").await;
        assert_eq!((session.status(), &session.json()["signed_in"]), (200, &signed_in.into()), "{}", session.text());
    }
    assert_eq!(guarded.get("/api/session", &[("authorization", "Bearer wrong")]).await, 401);
    assert_eq!(guarded.get("/api/status", &[proxy]).await, 401);
    for among_others in [format!("a=b; {cookie}; c=d"), format!("lang=Jürgen; {cookie}")] {
        assert_eq!(guarded.get("/api/status", &[("cookie", &among_others)]).await, 200, "{among_others}");
    }
    assert_eq!(guarded.ask("POST", "/api/reload", &[("cookie", &cookie)], "").await.status(), 403, "the header");
    assert_eq!(guarded.ask("POST", "/api/reload", &[("cookie", &cookie), WRITE], "").await.status(), 200);
    let altered = format!("{}0", &cookie[..cookie.len() - 1]);
    let altered = if altered == cookie { format!("{}1", &cookie[..cookie.len() - 1]) } else { altered };
    assert_eq!(guarded.get("/api/status", &[("cookie", &altered)]).await, 401);
    let out = guarded.ask("POST", "/sign-out", &[("cookie", &cookie)], "").await;
    assert_eq!(out.status(), 403, "no other page ends a session");
    let out = guarded.ask("POST", "/sign-out", &[("cookie", &cookie), WRITE], "").await;
    assert_eq!(out.status(), 200, "{}", out.text());
    assert!(out.header("set-cookie").is_some_and(|gone| gone.contains("=; ") && gone.contains("Max-Age=0")));
    assert_eq!(guarded.get("/api/status", &[("cookie", &cookie)]).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_browsers_come_by_https_the_cookie_goes_by_nothing_else() {
    let guarded = Guarded::start(&format!("token: {TOKEN}, url: \"https://relay.example.com/vero/\"")).await;
    let answer = guarded.ask("POST", "/sign-in", &[("host", "relay.example.com")], &format!("token={TOKEN}")).await;
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.starts_with("__Host-vero-relay-") && set.ends_with("; Path=/; Secure"), "{set}");
    let without = kept(&answer).replace("__Host-", "");
    assert_eq!(guarded.get("/api/status", &[("cookie", &without)]).await, 401, "anybody on the way could have set it");
    assert_eq!(guarded.get("/api/status", &[("cookie", &kept(&answer))]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_cookie_of_the_same_name_hides_no_right_one() {
    let guarded = Guarded::usual().await;
    let right = guarded.cookie(TOKEN).await;
    let name = right.split('=').next().expect("a name");
    for (others, expected) in [(3, 200), (4, 401)] {
        let wrong = format!("{name}=wrong; ").repeat(others);
        let cookies = format!("{wrong}{right}");
        assert_eq!(guarded.get("/api/status", &[("cookie", &cookies)]).await, expected, "behind {others}");
    }
    let apart = [("cookie", format!("{name}=wrong")), ("cookie", right.clone())];
    let apart: Vec<_> = apart.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(guarded.get("/api/status", &apart).await, 200);
    let all = format!("{name}=wrong; {right}");
    assert_eq!(guarded.ask("POST", "/sign-out", &[("cookie", &all), WRITE], "").await.status(), 200);
    assert_eq!(guarded.get("/api/status", &[("cookie", &right)]).await, 401, "it is ended, whatever stands before it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_names_a_host_asks_for_that_one_whatever_the_header_says() {
    let guarded = Guarded::usual().await;
    let admin = guarded.relay.running.admin_address;
    let own = format!("host: {admin}\r\n");
    for (target, host, expected) in [
        (format!("http://{admin}"), own.as_str(), 200),
        (format!("http://{admin}"), "host: evil.example\r\n", 200),
        (format!("http://{admin}"), "", 200),
        ("http://evil.example".to_owned(), own.as_str(), 421),
        (format!("http://{admin}@evil.example"), own.as_str(), 421),
        (format!("http://evil.example@{admin}"), own.as_str(), 200),
        (format!("http://{admin}"), "host: a\r\nhost: b\r\n", 421),
        (String::new(), own.as_str(), 200),
        (String::new(), "host: evil.example\r\n", 421),
    ] {
        let request = format!("GET {target}/api/status HTTP/1.1\r\n{host}authorization: Bearer {TOKEN}\r\n\r\n");
        let status = send_raw(admin, request.as_bytes()).await.map(|answer| answer.status());
        assert_eq!(status, Some(expected), "{target} {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_the_page_is_sent_back_to_it() {
    let guarded = Guarded::usual().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let answer = guarded.ask("POST", "/sign-in", &[form], "token=the%2Dtoken-of-the-operator").await;
    assert_eq!((answer.status(), answer.header("location")), (303, Some("./")));
    assert_eq!(guarded.get("/api/status", &[("cookie", &kept(&answer))]).await, 200);
    let wrong = guarded.sign_in("wrong").await;
    assert_eq!((wrong.status(), wrong.header("set-cookie")), (401, None));
    assert!(wrong.json()["error"].as_str().is_some_and(|why| why.contains("not known")));
    let long = format!("token={}", "x".repeat(4 << 10));
    assert_eq!(guarded.ask("POST", "/sign-in", &[form], &long).await.status(), 413);
    assert_eq!(guarded.ask("POST", "/sign-in", &[form], &long[..4 << 10]).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_tokens_are_looked_at_and_then_not_even_the_right_one() {
    let guarded = Guarded::usual().await;
    let cookie = guarded.cookie(TOKEN).await;
    for at in 0..5 {
        let status = match at % 2 {
            0 => guarded.sign_in(&format!("wrong-{at}")).await.status(),
            _ => guarded.get("/api/status", &[("authorization", &format!("Bearer wrong-{at}"))]).await,
        };
        assert_eq!(status, 401, "{at}");
    }
    let late = guarded.sign_in(TOKEN).await;
    assert_eq!(late.status(), 429, "{}", late.text());
    let wait: u64 = late.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(guarded.get("/api/status", &[BEARER]).await, 429);
    assert_eq!(guarded.get("/api/status", &[]).await, 401, "who brings none has not guessed");
    assert_eq!(guarded.get("/api/status", &[("cookie", &cookie)]).await, 200, "who is in stays in");
    assert_eq!(guarded.get("/healthz", &[]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_token_that_cannot_be_guessed_is_kept_out_by_nobody() {
    let long = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822c";
    let guarded = Guarded::start(&format!("token: [{long}, {TOKEN}]")).await;
    let get = async |token: &str| guarded.get("/api/status", &[("authorization", &format!("Bearer {token}"))]).await;
    for at in 0..5 {
        assert_eq!(get(&format!("wrong-{at}")).await, 401, "{at}");
    }
    assert_eq!(get(TOKEN).await, 429, "a short one may have been guessed");
    assert_eq!(get(&long.replace('9', "8")).await, 429, "long ones that are wrong are not looked at either");
    assert_eq!(get(long).await, 200);
    assert_eq!(guarded.sign_in(long).await.status(), 200);
    assert_eq!(guarded.sign_in(TOKEN).await.status(), 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_an_old_token_keeps_nobody_out() {
    let guarded = Guarded::usual().await;
    for at in 0..40 {
        let status = match at % 2 {
            0 => guarded.sign_in("old").await.status(),
            _ => guarded.get("/metrics", &[("authorization", "Bearer old")]).await,
        };
        assert_eq!(status, 401, "{at}");
    }
    assert_eq!(guarded.get("/api/status", &[BEARER]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_says_of_an_address_makes_no_new_one() {
    let guarded = Guarded::usual().await;
    let mut statuses = Vec::new();
    for at in 0..6 {
        let from = format!("192.0.2.{at}");
        let wrong = format!("Bearer wrong-{at}");
        let headers = [("authorization", wrong.as_str()), ("x-forwarded-for", &from), ("forwarded", &from)];
        statuses.push(guarded.get("/api/status", &headers).await);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    let as_https = [BEARER, ("x-forwarded-proto", "https"), ("x-forwarded-host", "relay.example.com")];
    assert_eq!(guarded.get("/", &[as_https[1], as_https[2], ("host", "relay.example.com")]).await, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_gone_takes_its_sessions_along_and_the_new_one_lets_in() {
    let guarded = Guarded::start(&format!("token: {TOKEN}")).await;
    let old = guarded.cookie(TOKEN).await;
    guarded.reload(&format!("token: [the-token-that-follows, {TOKEN}]")).await;
    let new = guarded.cookie("the-token-that-follows").await;
    assert_eq!(guarded.get("/api/status", &[("cookie", &old)]).await, 200, "both count while one replaces the other");
    guarded.reload("token: the-token-that-follows").await;
    assert_eq!(guarded.get("/api/status", &[("cookie", &old)]).await, 401);
    assert_eq!(guarded.get("/api/status", &[BEARER]).await, 401);
    assert_eq!(guarded.get("/api/status", &[("cookie", &new)]).await, 200);
    let session = guarded.ask("GET", "/api/session", &[("cookie", &old)], "").await.json();
    assert_eq!((&session["needed"], &session["signed_in"]), (&true.into(), &false.into()), "{session}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_ends_every_session() {
    let guarded = Guarded::usual().await;
    let cookie = guarded.cookie(TOKEN).await;
    let relay = guarded.relay.restart(|config| config).await;
    let admin = relay.running.admin_address;
    let again = request(admin, "GET", "/api/status", &[("cookie", &cookie)], b"").await;
    assert_eq!(again.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_need_sign_in_that_is_said() {
    let guarded = Guarded::start("hosts: [relay.example.com]").await;
    let session = guarded.ask("GET", "/api/session", &[], "").await.json();
    assert_eq!((&session["needed"], &session["signed_in"]), (&false.into(), &false.into()), "{session}");
    assert_eq!(guarded.sign_in("whatever").await.status(), 409);
    assert_eq!(guarded.get("/api/status", &[("authorization", "Bearer whatever")]).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_changes_nothing_and_sees_no_event() {
    let fake = Fake::start([Act::with(422, &[], "no such user Ann Example <a@example.com>")]).await;
    let rest = to_crm(&fake, "");
    let guarded = Guarded::start_with(&format!("token: {TOKEN}, read_token: {READ_TOKEN}"), &rest).await;
    let id = guarded.relay.accept(SENT).await;
    fake.wait_for(1).await;
    let dead = async || guarded.ask("GET", "/api/dead-letters", &[BEARER], "").await.text().contains("no such user");
    eventually("the dead letter", dead).await;
    assert_eq!(guarded.ask("POST", "/bin/crm", &[BEARER], SENT).await.status(), 200);
    let overview = guarded.ask("GET", "/", &[], "").await.text();
    let mut shown = 0;
    let lines = overview.lines().filter_map(|line| line.strip_prefix("GET  "));
    for line in lines {
        let path = line.split(' ').next().expect("a path").replace("/ID", &format!("/{id}")).replace("NAME", "crm");
        let answer = guarded.ask("GET", &path, &[READER], "").await;
        for told in ["example.com", "Ann Example", "no such user"] {
            assert!(!answer.text().contains(told), "{path} shows {told}: {}", answer.text());
        }
        shown += u16::from(answer.status() == 200);
        assert!(matches!(answer.status(), 200 | 403), "{path}: {}", answer.text());
    }
    assert!(shown >= 7, "states and numbers are shown: {shown}");
    for path in ["/api/events", "/bin/crm", &format!("/api/events/{id}"), &format!("/api/events/{id}/body")] {
        assert_eq!(guarded.get(path, &[READER]).await, 403, "{path}");
    }
    let state = guarded.ask("GET", "/api/destinations", &[READER], "").await.json();
    assert_eq!(state["destinations"][0]["dead_letters"], 1, "{state}");
    let minutes = guarded.ask("GET", "/api/minutes", &[READER], "").await.json();
    assert_eq!(minutes["destinations"]["crm"]["dead"].as_array().map(Vec::len), Some(60), "{minutes}");
    let posts = overview.lines().filter_map(|line| line.strip_prefix("POST "));
    let mut refused = 0;
    for line in posts {
        let path = line.split(' ').next().expect("a path").replace("/ID", &format!("/{id}"));
        let path = if path.starts_with("/bin") { "/bin/a/".to_owned() } else { path };
        if matches!(path.as_str(), "/sign-in" | "/sign-out" | "/bin/a/") {
            continue;
        }
        assert_eq!(guarded.ask("POST", &path, &[READER, WRITE], "").await.status(), 403, "{path}");
        refused += 1;
    }
    assert!(refused >= 10, "the commands were found: {refused}");
    let cookie = guarded.cookie(READ_TOKEN).await;
    assert_eq!(guarded.get("/api/events", &[("cookie", &cookie)]).await, 403);
    assert_eq!(guarded.get("/api/status", &[("cookie", &cookie)]).await, 200);
    let session = guarded.ask("GET", "/api/session", &[("cookie", &cookie)], "").await.json();
    assert_eq!(session["access"], "read");
    assert_eq!(guarded.ask("POST", "/sign-out", &[("cookie", &cookie), WRITE], "").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bin_takes_from_this_machine_and_from_nobody_behind_a_proxy() {
    let guarded = Guarded::start(&format!("token: {TOKEN}, hosts: [relay.example.com]")).await;
    let post = async |headers: &[(&str, &str)]| guarded.ask("POST", "/bin/a", headers, "x").await.status();
    assert_eq!(post(&[]).await, 200, "destinations post there");
    assert_eq!(post(&[("x-forwarded-for", "192.0.2.1")]).await, 401);
    assert_eq!(post(&[("forwarded", "for=192.0.2.1")]).await, 401);
    assert_eq!(post(&[("via", "1.1 proxy")]).await, 401);
    for name in ["x-forwarded-proto", "x-forwarded-port", "x-real-ip", "x-client-ip", "true-client-ip", "cdn-loop"] {
        assert_eq!(post(&[(name, "x")]).await, 401, "{name}");
    }
    assert_eq!(post(&[("x-request-id", "x")]).await, 200, "a destination may have headers of its own");
    assert_eq!(post(&[("host", "relay.example.com")]).await, 401);
    assert_eq!(post(&[("host", "relay.example.com"), BEARER, WRITE]).await, 200);
    assert_eq!(post(&[("origin", "http://evil.example")]).await, 403);
    assert_eq!(guarded.get("/bin/a", &[]).await, 401, "what came in is not shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_addresses_are_shown_nobody_sees_one() {
    const WHO: &str = "ann@example.com";
    let rest = "rules: [ { name: all, match: { type: sent }, to: a } ]\ndestinations: { a: { file: { path: a } } }\n";
    let guarded = Guarded::start_with("show: no_addresses", rest).await;
    let Guarded { relay, .. } = &guarded;
    let mut stream = TcpStream::connect(relay.running.admin_address).await.expect("connected");
    let head = format!("GET /api/stream HTTP/1.1\r\nhost: {}\r\n\r\n", relay.running.admin_address);
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut streamed = Vec::new();
    while !String::from_utf8_lossy(&streamed).contains("event: hello") {
        assert!(stream.read_buf(&mut streamed).await.expect("a piece") > 0);
    }
    let sent = format!(r#"{{"type":"sent","user":{{"email":"{WHO}","name":"Ann"}}}}"#);
    let id = relay.accept(&sent).await;
    relay.accept(&sent.replace("sent", "other")).await;
    relay.until(&id, "delivered").await;
    guarded.ask("POST", "/hooks/nobody", &[], &sent).await;
    guarded.ask("POST", "/bin/a", &[], &sent).await;
    // In a key, and in JSON that stands in a text.
    let strange = format!(r#"{{"n":1.50,"n":1e400,"b":"{{\"w\":\"ann\\u0040example.com\"}}","{WHO}":"Ann"}}"#);
    guarded.ask("POST", "/bin/strange", &[], &strange).await;
    let asked = serde_json::json!({ "event": sent }).to_string();
    let search = format!(r#"{{"email":"{WHO}"}}"#);
    for (method, path, body, expected) in [
        ("GET", "/api/events", "", &*id),
        ("POST", "/api/events/search", &*search, &*id),
        ("GET", &format!("/api/events/{id}"), "", "Ann"),
        ("GET", &format!("/api/events/{id}/body"), "", "Ann"),
        ("GET", &format!("/api/events/{id}/explain"), "", "Ann"),
        ("POST", "/api/explain", &asked, "Ann"),
        ("GET", "/api/unrouted", "", "other"),
        ("GET", "/api/refused", "", "refused"),
        ("GET", "/bin/a", "", "Ann"),
        ("GET", "/bin/strange", "", r#"{"n":1.50,"n":1e400,"b":"{\"w\":\"…@…\"}","…@…":"Ann"}"#),
    ] {
        let answer = guarded.ask(method, path, &[WRITE], body).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        assert!(!answer.text().contains("example.com"), "{path}: {}", answer.text());
        assert!(answer.text().contains(expected), "{path}: {}", answer.text());
    }
    let body = guarded.ask("GET", &format!("/api/events/{id}/body"), &[], "").await;
    assert_eq!(body.json()["user"]["email"], "…@…", "it is JSON still: {}", body.text());
    while !String::from_utf8_lossy(&streamed).contains("event: event") {
        assert!(stream.read_buf(&mut streamed).await.expect("a piece") > 0);
    }
    let streamed = String::from_utf8_lossy(&streamed).into_owned();
    assert!(streamed.contains(r#""who":"…@…""#) && !streamed.contains(WHO), "{streamed}");
    let delivered = std::fs::read_to_string(relay.directory.path().join("data/a")).expect("a file");
    assert!(delivered.contains(WHO), "what is delivered has them: {delivered}");
    // A reload shows them.
    guarded.write("show: everything", rest);
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
    assert!(guarded.ask("GET", "/api/events", &[], "").await.text().contains(WHO));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_metrics_are_for_everybody_but_for_other_sites() {
    let guarded = Guarded::start(&format!("token: {TOKEN}, open_metrics: true")).await;
    assert_eq!(guarded.get("/metrics", &[]).await, 200);
    assert_eq!(guarded.get("/metrics", &[("host", "10.1.2.3:8081")]).await, 200);
    assert_eq!(guarded.get("/metrics", &[("sec-fetch-site", "cross-site")]).await, 403);
    assert_eq!(guarded.ask("POST", "/metrics", &[], "").await.status(), 401);
    assert_eq!(guarded.get("/api/status", &[]).await, 401);
    guarded.reload(&format!("token: {TOKEN}")).await;
    assert_eq!(guarded.get("/metrics", &[]).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_head_or_makes_it_huge_comes_in_nowhere() {
    let guarded = Guarded::usual().await;
    let admin = guarded.relay.running.admin_address;
    let long = "x".repeat(70 << 10);
    let head = format!("GET /api/status HTTP/1.1\r\nhost: {admin}\r\n");
    for (what, expected) in [
        (format!("authorization: Bearer {long}\r\n"), 431),
        (format!("authorization: Bearer {}\r\n", &long[..32 << 10]), 401),
        (format!("cookie: {}\r\n", &long[..60 << 10]), 401),
        ("x: y\r\n".repeat(101), 431),
        (format!("authorization: Bearer wrong\n{TOKEN}\r\n"), 400),
        (format!("authorization: Bearer\r\n {TOKEN}\r\n"), 400),
        (format!("authorization : Bearer {TOKEN}\r\n"), 400),
        (format!("host: evil.example\r\nauthorization: Bearer {TOKEN}\r\n"), 421),
        (format!("x: \0\r\nauthorization: Bearer {TOKEN}\r\n"), 400),
    ] {
        let answer = send_raw(admin, format!("{head}{what}\r\n").as_bytes()).await.expect("an answer");
        assert_eq!(answer.status(), expected, "{}", what.get(..60).unwrap_or(&what));
    }
    let split = guarded.ask("POST", "/sign-in", &[], &format!("token={TOKEN}%0d%0aset-cookie:%20a=b")).await;
    assert_eq!((split.status(), split.header("set-cookie")), (401, None));
}

/// A proxy that takes a prefix off the path and knows nothing else, as `location /x/y/ { proxy_pass http://relay/; }` does.
async fn stripping_proxy(to: std::net::SocketAddr, prefix: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Some(message) = read_message(&mut stream, &mut Vec::new()).await else { return };
                let line = message.first_line.replacen(&format!(" {prefix}"), " /", 1);
                let mut head = format!("{line}\r\nconnection: close\r\n");
                // nginx asks by the name of what it passes on to.
                let kept = message.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "connection"));
                kept.for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                head.push_str(&format!("host: {to}\r\nx-forwarded-for: 192.0.2.1\r\n\r\n"));
                let mut behind = TcpStream::connect(to).await.expect("connected");
                behind.write_all(&[head.as_bytes(), &message.body].concat()).await.expect("sent");
                let mut answer = Vec::new();
                let _ = behind.read_to_end(&mut answer).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_prefix_that_a_proxy_takes_off_one_signs_in_and_stays_signed_in() {
    let guarded = Guarded::start(&format!("token: {TOKEN}, url: \"https://relay.example.com/x/y/\"")).await;
    let proxy = stripping_proxy(guarded.relay.running.admin_address, "/x/y/").await;
    let page = ("origin", "https://relay.example.com");
    let own = ("sec-fetch-site", "same-origin");
    assert_eq!(request(proxy, "GET", "/x/y/", &[("accept", "text/html")], b"").await.status(), 200);
    assert_eq!(request(proxy, "GET", "/x/y/app.js", &[own], b"").await.status(), 200);
    assert_eq!(request(proxy, "GET", "/x/y/api/status", &[own], b"").await.status(), 401);
    let form = format!("token={TOKEN}");
    let answer = request(proxy, "POST", "/x/y/sign-in", &[own, page], form.as_bytes()).await;
    assert_eq!((answer.status(), answer.header("location")), (303, Some("./")), "which is /x/y/");
    assert!(answer.header("set-cookie").is_some_and(|set| set.contains("; Path=/;")), "and so below it");
    let cookie = kept(&answer);
    let with = [own, ("cookie", cookie.as_str())];
    assert_eq!(request(proxy, "GET", "/x/y/api/status", &with, b"").await.status(), 200);
    let act = [own, page, ("cookie", cookie.as_str()), WRITE];
    assert_eq!(request(proxy, "POST", "/x/y/sign-out", &act, b"").await.status(), 200);
    assert_eq!(request(proxy, "GET", "/x/y/api/status", &with, b"").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_the_listener_opens_with_a_token() {
    let public = config(&format!("token: {TOKEN}"), REST)
        .replace("admin: { listen: \"127.0.0.1:0\"", "admin: { listen: \"0.0.0.0:0\"");
    let relay = TestRelay::start_with(&public).await;
    let port = relay.running.admin_address.port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(request(address, "GET", "/api/status", &[], b"").await.status(), 401);
    assert_eq!(request(address, "GET", "/api/status", &[BEARER], b"").await.status(), 200);
}

fn verb(guarded: &Guarded, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(args).current_dir(guarded.relay.directory.path()).env("COLUMNS", "100");
    command.env_remove("VERO_RELAY_CONFIG").env_remove("VERO_RELAY_ADMIN_TOKEN").envs(variables.iter().copied());
    command.output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_takes_the_token_from_its_variable_or_from_the_config_and_never_gives_away_the_latter() {
    let guarded = Guarded::start(&format!("token: {TOKEN}, hosts: [relay.example.com]")).await;
    let admin = guarded.relay.running.admin_address;
    // The port was chosen by the system, and the verb must find it.
    let text = std::fs::read_to_string(&guarded.path).expect("there");
    let found = text.replace("admin: { listen: \"127.0.0.1:0\"", &format!("admin: {{ listen: \"{admin}\""));
    std::fs::write(&guarded.path, found).expect("written");
    let url = format!("http://{admin}");
    let of_config = verb(&guarded, &["status"], &[]);
    assert_eq!(of_config.status.code(), Some(0), "{}", err(&of_config));
    for (args, variables, expected, part) in [
        (&["status", "--admin", &url][..], &[("VERO_RELAY_ADMIN_TOKEN", TOKEN)][..], 0, ""),
        (&["status", "--admin", &url], &[], 1, "set VERO_RELAY_ADMIN_TOKEN"),
        (&["status", "--admin", &url], &[("VERO_RELAY_ADMIN_TOKEN", "")], 1, "set VERO_RELAY_ADMIN_TOKEN"),
        (&["status"], &[("VERO_RELAY_ADMIN_TOKEN", "canary")], 1, "is the token in $VERO_RELAY_ADMIN_TOKEN one of"),
        (&["status"], &[("VERO_RELAY_ADMIN_TOKEN", "canary\n")], 2, "has a sign that no token has"),
        (&["healthcheck", "--admin", &url], &[], 0, ""),
        (&["reload", "--admin", &url], &[], 1, "the relay answered 401"),
    ] {
        let said = verb(&guarded, args, variables);
        assert_eq!(said.status.code(), Some(expected), "{args:?} {}", err(&said));
        assert!(err(&said).contains(part), "{args:?} {}", err(&said));
        assert!(!err(&said).contains("canary") && !out(&said).contains(TOKEN), "{args:?}");
    }
}

//! The door as a browser meets it: signing in and out, pages of other sites, and a proxy that takes a path away.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::page::Page;
use super::stage::{BOUNCED, Stage, rules};
use crate::harness::*;
use crate::slack_server::SlackServer;

const TOKEN: &str = "correct-horse-battery-staple";
/// Of those who only look.
const READ_TOKEN: &str = "the-token-of-who-only-looks";

/// A relay that asks for a token, at a port that it keeps.
async fn with_token(fake: &Fake) -> TestRelay {
    let tokens = format!("token: {TOKEN}, read_token: {READ_TOKEN}");
    let admin = format!("admin: {{ listen: \"{}\", {tokens} }}", closed_port());
    let head = HEAD.replace("admin: { listen: \"127.0.0.1:0\" }", &admin);
    TestRelay::start_with(&format!("{head}{}", rules(fake))).await
}

async fn sign_in(page: &Page, token: &str) {
    page.fill(".signin input", token).await;
    page.click(".signin button", "Sign in").await;
}

/// What the browser logs of an answer that says no.
fn is_refusal(line: &str) -> bool {
    ["401", "429"].iter().any(|status| line.contains(&format!("status of {status}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_token_signs_in_and_out_and_a_place_is_kept_meanwhile() {
    let fake = SlackServer::start([]).await;
    let relay = with_token(&fake).await;
    let place = "#/destinations/crm";
    let page = Page::open(relay.running.admin_address, place).await;
    page.sees(".signin", "Sign in").await;
    sign_in(&page, "a token that is wrong").await;
    page.sees(".signin [role=alert]", "not known").await;
    sign_in(&page, TOKEN).await;
    page.sees(".detail h1", "crm").await;
    assert_eq!(page.place().await, place);

    let cookies = page.browser.client.get_all_cookies().await.expect("cookies");
    assert_eq!(cookies.len(), 1);
    let flags = cookies[0].to_string();
    assert!(flags.contains("HttpOnly") && flags.contains("SameSite=Strict") && flags.contains("Path=/"), "{flags}");
    assert_eq!(page.run("return document.cookie", &[]).await, "", "no script reads it");
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".detail h1", "crm").await;

    // There is room for all of it on a telephone.
    page.screen(320, 700).await;
    page.sees(".tools .leave", "").await;
    assert_eq!(page.run("return document.documentElement.scrollWidth", &[]).await, 320);
    page.screen(1440, 900).await;

    // A relay that begins anew knows nobody: the form comes by itself, and the place stays.
    let relay = relay.restart(|config| config).await;
    page.sees(".signin", "Sign in").await;
    assert_eq!(page.place().await, place);
    sign_in(&page, TOKEN).await;
    page.sees(".detail h1", "crm").await;
    page.click(".tools button", "Sign out").await;
    page.sees(".signin", "Sign in").await;
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".signin", "Sign in").await;

    // Who guesses is told to wait, and then the right one does not help either.
    for n in 0..6 {
        page.sees(".signin button:enabled", "Sign in").await;
        sign_in(&page, &format!("guess number {n}")).await;
        page.until(
            "an answer",
            "return find('.signin button:enabled', '') && find('.signin [role=alert]', '').textContent",
            &[],
        )
        .await;
    }
    sign_in(&page, TOKEN).await;
    page.sees(".signin [role=alert]", "again").await;
    drop(relay);
    page.end_with(|line| is_refusal(line) || line.contains("net::ERR_")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_is_shown_states_and_numbers_and_told_that_there_are_no_events() {
    let fake = SlackServer::start([]).await;
    let relay = with_token(&fake).await;
    let id = relay.accept(BOUNCED).await;
    fake.wait_for(1).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    sign_in(&page, READ_TOKEN).await;
    page.sees(".health", "Accepts events").await;
    page.sees(".strip a.card", "alerts").await;
    let places = ["#/events", &format!("#/events/{id}"), "#/try", "#/unrouted", "#/config", "#/bins/crm"];
    for place in places {
        page.go(place).await;
        page.sees("main", "This token shows states and numbers, and no events.").await;
    }
    for tab in ["Try it", "Unrouted", "Config"] {
        page.sees_no(".tabs a", tab).await;
    }
    page.go("#/destinations/alerts").await;
    page.sees(".detail .sentence", "Up").await;
    page.sees(".detail .facts", "Delivered since ").await;
    for act in ["Pause", "Retry now", "Its events"] {
        page.sees_no(".detail .acts .btn", act).await;
    }
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".list a.destination", "alerts").await;
    page.sees_no(".toast", "").await;
    page.click(".tools button", "Sign out").await;
    sign_in(&page, TOKEN).await;
    page.sees(".detail .acts button", "Pause").await;
    page.sees(".tabs a", "Config").await;
    // What is not shown was not asked for: no answer was 403.
    page.end_with(is_refusal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_another_site_leads_to_the_event_for_who_has_signed_in() {
    let fake = SlackServer::start([]).await;
    let relay = with_token(&fake).await;
    let id = relay.accept(BOUNCED).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    sign_in(&page, TOKEN).await;
    page.sees(".rows a.row", "bounced").await;

    let link = format!("<!doctype html><title>chat</title><a href=\"{}#/events/{id}\">look</a>", page.base);
    let other = SlackServer::start([Act::with(200, &[("content-type", "text/html")], &link), Act::status(404)]).await;
    // The same machine by another name is another site.
    page.browser.client.goto(&format!("http://localhost:{}/", other.address.port())).await.expect("gone there");
    page.click("a", "look").await;
    page.sees(".detail h1", "bounced").await;
    page.sees(".delivery .badge", "delivered").await;
    page.end_with(|line| is_refusal(line) || line.contains("favicon")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_reads_nothing_and_changes_nothing() {
    let stage = Stage::start().await;
    let admin = format!("http://{}", stage.relay.running.admin_address);
    let html = || Act::with(200, &[("content-type", "text/html")], "<!doctype html><title>other</title>");
    for name in ["127.0.0.1", "localhost"] {
        let other = SlackServer::start([html(), Act::status(404)]).await;
        let page = Page::open_at(&format!("http://{name}:{}/", other.address.port()), "").await;
        let tries = "
            const [admin] = arguments;
            const tell = (asked) => asked.then((answer) => `${answer.type} ${answer.status}`, (error) => error.name);
            const write = { method: 'POST', headers: { 'x-vero-relay-write': '1' } };
            return Promise.all([
              tell(fetch(`${admin}/api/status`)),
              tell(fetch(`${admin}/api/status`, { mode: 'no-cors', credentials: 'include' })),
              tell(fetch(`${admin}/api/destinations/crm/pause`, write)),
              tell(fetch(`${admin}/api/destinations/crm/pause`, { method: 'POST', mode: 'no-cors' })),
              new Promise((done) => {
                const stream = new EventSource(`${admin}/api/stream`);
                stream.onopen = () => done('open');
                stream.onerror = () => done('error');
              }),
              new Promise((done) => {
                const script = document.createElement('script');
                script.src = `${admin}/app.js`;
                script.onload = () => done('loaded');
                script.onerror = () => done('error');
                document.head.append(script);
              }),
            ]);
        ";
        let told = page.run(tries, &[json!(admin)]).await;
        let told: Vec<&str> = told.as_array().expect("answers").iter().filter_map(Value::as_str).collect();
        for (n, answer) in told.iter().enumerate() {
            let is_nothing = ["TypeError", "error", "opaque 0"].contains(answer);
            assert!(is_nothing, "{name}, try {n}: {answer}");
        }
        // A form needs no leave of anybody to be sent.
        let form = "
            const form = document.createElement('form');
            form.method = 'post';
            form.action = arguments[0];
            document.body.append(form);
            form.submit();
        ";
        page.run(form, &[json!(format!("{admin}/api/destinations/crm/pause"))]).await;
        page.sees("body", "web pages of other sites get nothing").await;
        assert_eq!(stage.relay.destination("crm").await["state"], "up");
        // Chromium logs each refusal.
        page.end_with(|_| true).await;
    }
}

/// A proxy that has the relay below a path, and takes the path away. It knows nothing else.
async fn stripping_proxy(prefix: &'static str, relay: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, prefix, relay));
        }
    });
    address
}

async fn pass_on(client: TcpStream, prefix: &str, relay: SocketAddr) {
    let Ok(relay) = TcpStream::connect(relay).await else { return };
    let (mut answers, mut asks) = relay.into_split();
    // The reader of messages wants a whole stream, so the two directions are two handles to one socket.
    let client = client.into_std().expect("a socket");
    let mut back = TcpStream::from_std(client.try_clone().expect("a second handle")).expect("a socket");
    let mut client = TcpStream::from_std(client).expect("a socket");
    let answering = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
    let mut buffer = Vec::new();
    while let Some(message) = read_message(&mut client, &mut buffer).await {
        let Some((method, rest)) = message.first_line.split_once(' ') else { break };
        let Some(path) = rest.strip_prefix(prefix) else {
            let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            continue;
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut head = format!("{method} {slash}{path}\r\n");
        message.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        if asks.write_all(&[head.as_bytes(), &message.body].concat()).await.is_err() {
            break;
        }
    }
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_below_a_path_and_without_the_slash_says_what_is_wrong() {
    let admin = closed_port();
    let proxy = stripping_proxy("/x/y", admin).await;
    let stage = Stage::start_as(&format!("admin: {{ listen: \"{admin}\", hosts: \"{proxy}\" }}")).await;
    let page = Page::open_at(&format!("http://{proxy}/x/y/"), "#/events").await;
    page.sees("button.live", "Live").await;
    stage.tour(&page, async |_, _| {}).await;
    let log = page.log("browser").await;
    assert!(log.is_empty(), "{log:?}");

    page.browser.client.goto(&format!("http://{proxy}/x/y")).await.expect("gone there");
    page.sees("main", "Behind a proxy, the address of the page must end in a slash").await;
    page.end_with(|line| line.contains("404")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_is_told_of_the_keys_that_do_something() {
    let fake = SlackServer::start([]).await;
    let relay = with_token(&fake).await;
    for (token, seen, keys, others) in [
        (READ_TOKEN, "crm", ["g d", "the next", "this list"], "replay"),
        (TOKEN, "crm", ["g t", "replay", "this list"], "no such key"),
    ] {
        let page = Page::open(relay.running.admin_address, "#/destinations").await;
        sign_in(&page, token).await;
        page.sees(".list a.destination", seen).await;
        page.click("button.keys", "").await;
        let told = page.sees("dialog dl", "").await;
        assert!(keys.iter().all(|key| told.contains(key)) && !told.contains(others), "{told}");
        page.end_with(is_refusal).await;
    }
}

//! What an operator and the page ask, of a relay whose history is long: how long each answer takes, and how long the page takes to its first
//! view.

use std::net::SocketAddr;
use std::time::Instant;

use fantoccini::Locator;
use serde_json::{Value, json};

use crate::driver::Browser;
use crate::load::{Load, send};
use crate::measure::{Relay, quantile};
use crate::receiver::Receiver;
use crate::scenarios::{BODY_BYTES, Fan, IN_FLIGHT, scratch, setup_of};
use crate::wire::Connection;

/// What `--only` calls it.
pub const KEY: &str = "api";
/// Events that are kept.
pub const EVENTS: u64 = 1_000_000;
/// How often each is asked; what takes long, for [`MOST_SECONDS`] at most.
const TIMES: usize = 200;
const MOST_SECONDS: f64 = 5.0;

/// Something that is asked, and how long the answers took.
pub struct Answered {
    pub what: String,
    pub times: usize,
    pub ms: [f64; 2],
    pub bytes: usize,
}

/// Asked of a relay that keeps so many events.
pub struct Api {
    pub events: u64,
    pub answered: Vec<Answered>,
    /// From the navigation to the list of events, in a browser that has seen nothing before: sorted, milliseconds.
    pub first_views_ms: Vec<f64>,
}

/// How often the page is opened, each time in a browser of its own.
const VIEWS: usize = 5;
/// A browser has been there for so long before the page is opened in it.
const BROWSER_SETTLES: std::time::Duration = std::time::Duration::from_secs(3);

/// Fills a history and asks.
pub async fn run(share: u64) -> Api {
    let events = EVENTS / share;
    let receiver = Receiver::start(None);
    let directory = scratch();
    let relay = Relay::start(directory.path(), &setup_of(Fan::Mix, 2, &receiver));
    send(relay.hooks, Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: None }, events).await;
    relay.wait_drained();
    receiver.take().await;
    let mut connection = Connection::open(relay.admin).await;
    let newest = ask(&mut connection, "GET", "/api/events?limit=1", None).await;
    let newest: Value = serde_json::from_slice(&newest).expect("JSON");
    let id = newest["events"][0]["id"].as_str().expect("there are events").to_owned();
    let event = json!({ "type": "bounced", "user": { "email": "ann@example.com" } }).to_string();
    let (reads, posts) = (
        [
            "/api/status",
            "/api/destinations",
            "/api/minutes",
            "/api/store",
            "/api/events",
            "/api/events?limit=1000",
            "/api/events?type=bounced",
            "/api/events?text=nobody%20has%20this",
            "/api/events?email=nobody@example.com",
            "/api/events?state=dead",
            "/api/events?unrouted=true",
            "/api/events/ID",
            "/api/events/ID/body",
            "/api/events/ID/explain",
            "/api/dead-letters",
            "/api/replays",
            "/api/refused",
            "/api/samples",
            "/api/rules",
            "/api/rules?last=100000",
            "/api/unrouted",
            "/api/config",
            "/api/config/on-disk",
            "/api/openapi.json",
            "/",
        ],
        [
            ("/api/events/search", json!({ "email": "nobody@example.com" })),
            ("/api/explain", json!({ "event": event })),
            ("/api/replays", json!({ "since": "1m", "dry_run": true })),
        ],
    );
    let mut answered = Vec::new();
    for path in reads {
        answered.push(time(&mut connection, "GET", path, &id, None).await);
    }
    for (path, body) in posts {
        answered.push(time(&mut connection, "POST", path, &id, Some(&body)).await);
    }
    let mut first_views_ms = Vec::new();
    for _ in 0..VIEWS {
        first_views_ms.push(first_view(relay.admin).await);
    }
    first_views_ms.sort_by(f64::total_cmp);
    Api { events, answered, first_views_ms }
}

/// Opens the page in a new browser; the page notes itself when the list is drawn.
async fn first_view(admin: SocketAddr) -> f64 {
    let browser = Browser::start().await;
    // It goes on with its own beginning for a while after it has answered.
    tokio::time::sleep(BROWSER_SETTLES).await;
    let client = &browser.client;
    client.goto(&format!("http://{admin}/#/events")).await.expect("the page is there");
    client.wait().for_element(Locator::Css("ol.rows a.row")).await.expect("events are listed");
    let noted = "return performance.getEntriesByName('listed')[0].startTime";
    let ms = client.execute(noted, Vec::new()).await.expect("the page has noted it");
    browser.close().await;
    ms.as_f64().expect("a number")
}

async fn time(connection: &mut Connection, method: &str, path: &str, id: &str, body: Option<&Value>) -> Answered {
    let asked = path.replace("ID", id);
    let begun = Instant::now();
    let (mut took_us, mut bytes) = (Vec::new(), 0);
    while took_us.len() < TIMES && begun.elapsed().as_secs_f64() < MOST_SECONDS {
        let start = Instant::now();
        bytes = ask(connection, method, &asked, body).await.len();
        took_us.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    took_us.sort_unstable();
    let of = body.map(|body| format!(" {body}")).unwrap_or_default();
    Answered {
        what: format!("{method} {path}{of}"),
        times: took_us.len(),
        ms: [0.5, 0.99].map(|q| quantile(&took_us, q)),
        bytes,
    }
}

pub async fn ask(connection: &mut Connection, method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/json\r\nx-vero-relay-write: 1\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert!(connection.write(head.as_bytes()).await, "the connection stays open");
    let answer = connection.next().await.expect("an answer");
    assert!(answer.whole.starts_with(b"HTTP/1.1 200"), "{method} {path}: {}", String::from_utf8_lossy(answer.whole));
    answer.body.to_vec()
}

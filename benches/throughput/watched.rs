//! What an open page costs: two relays under the same load, turn by turn, of which one has a page open: its stream, and what it asks for besides.
//!
//! The page is closed at no time: what it leaves behind works on for a minute.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vero_relay::store::journal::OUTCOMES_SYNCED_WITHIN;

use crate::asked::ask;
use crate::load::{Load, send};
use crate::measure::Relay;
use crate::receiver::Receiver;
use crate::scenarios::{BODY_BYTES, Fan, IN_FLIGHT, RATE, scratch, setup_of};
use crate::wire::Connection;

/// What `--only` calls it.
pub const KEY: &str = "page";
/// Events of each turn, at [`RATE`].
const EVENTS: u64 = 20_000;
/// Turns of each relay.
const TURNS: usize = 5;
/// How often a page asks how the relay stands, while its stream is open.
const ASKS_EVERY: Duration = Duration::from_secs(15);

/// What it came to.
pub struct Watched {
    /// CPU time for each event, of all turns, without a page and with one.
    pub cpu_us: [f64; 2],
    pub resident_mib: [f64; 2],
    /// What the page read from its stream in a second of load.
    pub kib_per_s: f64,
}

/// Measures both, turn by turn.
pub async fn run(share: u64) -> Watched {
    let receiver = Receiver::start(None);
    let directories = [scratch(), scratch()];
    let relays =
        [&directories[0], &directories[1]].map(|at| Relay::start(at.path(), &setup_of(Fan::Mix, 2, &receiver)));
    let events = EVENTS / share;
    let load = Load { body_bytes: BODY_BYTES, connections: IN_FLIGHT, rate: Some(RATE) };
    for relay in &relays {
        send(relay.hooks, load, events / 10).await;
        relay.wait_drained();
    }
    let mut page = Page::open(&relays[1]).await;
    let mut cpu_seconds = [0.0; 2];
    let mut bytes = 0;
    for _ in 0..TURNS {
        for (relay, spent) in relays.iter().zip(&mut cpu_seconds) {
            tokio::time::sleep(OUTCOMES_SYNCED_WITHIN).await;
            page.bytes();
            let before = relay.process.cpu_seconds();
            send(relay.hooks, load, events).await;
            relay.wait_drained();
            *spent += relay.process.cpu_seconds() - before;
            bytes += page.bytes();
            receiver.take().await;
        }
    }
    let all = (events * TURNS as u64) as f64;
    Watched {
        cpu_us: cpu_seconds.map(|seconds| seconds / all * 1e6),
        resident_mib: [0, 1].map(|at| relays[at].process.resident_mib()),
        kib_per_s: bytes as f64 / 1024.0 / (all / RATE as f64),
    }
}

/// A page that is open.
struct Page {
    read: tokio::sync::mpsc::UnboundedReceiver<usize>,
}

impl Page {
    async fn open(relay: &Relay) -> Self {
        let (tell, read) = tokio::sync::mpsc::unbounded_channel();
        let mut stream = TcpStream::connect(relay.admin).await.expect("the relay listens");
        let request = b"GET /api/stream HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
        stream.write_all(request).await.expect("it is open");
        tokio::spawn(async move {
            let mut piece = vec![0; 64 << 10];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                if tell.send(length).is_err() {
                    return;
                }
            }
            panic!("the stream goes on for as long as it is read");
        });
        let mut connection = Connection::open(relay.admin).await;
        tokio::spawn(async move {
            loop {
                for path in ["/api/status", "/api/minutes"] {
                    ask(&mut connection, "GET", path, None).await;
                }
                tokio::time::sleep(ASKS_EVERY).await;
            }
        });
        Self { read }
    }

    /// Bytes of the stream since it was asked last.
    fn bytes(&mut self) -> usize {
        std::iter::from_fn(|| self.read.try_recv().ok()).sum()
    }
}

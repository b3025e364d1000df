//! The sender: events as Vero sends them, over some connections, as fast as they are taken or at a fixed rate.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::wire::{Connection, body_of};

/// Where events are posted to: the source `vero`, whose token is `bench`.
pub const HOOK: &str = "/hooks/vero/bench";
/// Of a hundred events, so many are bounces; in the standard mix these go to a second destination.
pub const BOUNCED_IN_100: u64 = 38;

/// How events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes of each body.
    pub body_bytes: usize,
    /// Requests in flight at most, each on a connection of its own.
    pub connections: usize,
    /// Events a second in all; `None` sends the next one as soon as the last is answered.
    pub rate: Option<u64>,
}

/// What became of a load.
pub struct Sent {
    pub events: u64,
    /// From the first byte to the last answer.
    pub seconds: f64,
    /// How long each answer took, sorted; at a fixed rate from when the event was due, so that one late answer counts
    /// for all that had to wait behind it.
    pub acks_us: Vec<u32>,
    /// When it began, wall clock.
    pub begun_ns: u64,
}

/// Now by the wall clock, which sender and receiver share, being on one machine.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}

/// The stamp that the sender put into a body.
pub fn sent_ns(body: &[u8]) -> Option<u64> {
    let at = body.windows(STAMP.len()).position(|window| window == STAMP.as_bytes())? + STAMP.len();
    std::str::from_utf8(body.get(at..at + STAMP_DIGITS)?).ok()?.parse().ok()
}

const STAMP: &str = r#""sent_ns":"#;
const STAMP_DIGITS: usize = 19;
/// Numbers begin here, so that all have the same number of digits.
const FIRST: u64 = 1_000_000_000;

/// Sends so many events and waits for each answer. Every answer must be a 200: a refused event would be measured as a
/// fast one.
pub async fn send(address: SocketAddr, load: Load, events: u64) -> Sent {
    let plan =
        Arc::new(Plan { next: AtomicU64::new(0), events, rate: load.rate, start: Instant::now(), begun_ns: wall_ns() });
    let mut acks_us = Vec::with_capacity(events as usize);
    match load.rate {
        None => {
            let sender = |_| tokio::spawn(as_fast_as_taken(address, Request::new(load.body_bytes), plan.clone()));
            for task in (0..load.connections).map(sender).collect::<Vec<_>>() {
                acks_us.extend(task.await.expect("a sender ends in peace"));
            }
        }
        Some(_) => {
            let sender = |_| {
                let (request, plan) = (Request::new(load.body_bytes), plan.clone());
                tokio::task::spawn_blocking(move || when_due(address, request, &plan))
            };
            for task in (0..load.connections).map(sender).collect::<Vec<_>>() {
                acks_us.extend(task.await.expect("a sender ends in peace"));
            }
        }
    }
    acks_us.sort_unstable();
    Sent { events, seconds: plan.start.elapsed().as_secs_f64(), acks_us, begun_ns: plan.begun_ns }
}

/// What all connections of one load share.
struct Plan {
    next: AtomicU64,
    events: u64,
    rate: Option<u64>,
    start: Instant,
    begun_ns: u64,
}

impl Plan {
    fn next(&self) -> Option<u64> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < self.events)
    }

    /// How long after the beginning an event is due.
    fn due(&self, number: u64) -> Duration {
        Duration::from_secs_f64(number as f64 / self.rate.expect("only asked at a fixed rate") as f64)
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

/// An answer that says no would be measured as a fast one.
pub fn check(answer: &[u8]) {
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
}

async fn as_fast_as_taken(address: SocketAddr, mut request: Request, plan: Arc<Plan>) -> Vec<u32> {
    let mut connection = Connection::open(address).await;
    let mut acks_us = Vec::new();
    while let Some(number) = plan.next() {
        let begun = Instant::now();
        assert!(connection.write(request.bytes(number, wall_ns())).await, "the connection stays open");
        check(connection.next().await.expect("an answer").whole);
        acks_us.push(micros(begun.elapsed()));
    }
    acks_us
}

/// Reads one answer, instead of what was in the buffer.
pub fn read_answer(stream: &mut impl Read, buffer: &mut Vec<u8>) {
    buffer.clear();
    while body_of(buffer).is_none_or(|body| body.end > buffer.len()) {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).expect("an answer");
        assert!(read > 0, "closed before the answer");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// On a thread of its own: tokio's timer ticks in milliseconds, which is what is being measured.
fn when_due(address: SocketAddr, mut request: Request, plan: &Plan) -> Vec<u32> {
    let mut stream = TcpStream::connect(address).expect("the other side listens");
    stream.set_nodelay(true).expect("a socket has it");
    let (mut acks_us, mut buffer) = (Vec::new(), Vec::new());
    while let Some(number) = plan.next() {
        let due = plan.due(number);
        std::thread::sleep(due.saturating_sub(plan.start.elapsed()));
        stream
            .write_all(request.bytes(number, plan.begun_ns + due.as_nanos() as u64))
            .expect("the connection stays open");
        read_answer(&mut stream, &mut buffer);
        check(&buffer);
        acks_us.push(micros(plan.start.elapsed().saturating_sub(due)));
    }
    acks_us
}

/// Requests of one size, written once and patched for each event: the sender shares the machine with what it measures.
pub struct Request {
    bounced: Patched,
    delivered: Patched,
}

struct Patched {
    bytes: Vec<u8>,
    numbers_at: Vec<usize>,
    stamp_at: usize,
}

impl Request {
    pub fn new(body_bytes: usize) -> Self {
        Self { bounced: Patched::new("bounced", body_bytes), delivered: Patched::new("delivered", body_bytes) }
    }

    pub fn bytes(&mut self, number: u64, stamp_ns: u64) -> &[u8] {
        let is_bounced = number % 100 < BOUNCED_IN_100;
        let patched = if is_bounced { &mut self.bounced } else { &mut self.delivered };
        let digits = (FIRST + number).to_string();
        for at in &patched.numbers_at {
            patched.bytes[*at..*at + digits.len()].copy_from_slice(digits.as_bytes());
        }
        let stamp = stamp_ns.to_string();
        patched.bytes[patched.stamp_at..patched.stamp_at + STAMP_DIGITS].copy_from_slice(stamp.as_bytes());
        &patched.bytes
    }
}

impl Patched {
    fn new(event_type: &str, body_bytes: usize) -> Self {
        let body = body(event_type, body_bytes);
        let head = format!(
            "POST {HOOK} HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let text = head + &body;
        let numbers_at = text.match_indices(&FIRST.to_string()).map(|(at, _)| at).collect();
        let stamp_at = text.find(STAMP).expect("the body has a stamp") + STAMP.len();
        Self { bytes: text.into_bytes(), numbers_at, stamp_at }
    }
}

/// An event as Vero sends it, of exactly so many bytes.
fn body(event_type: &str, bytes: usize) -> String {
    let stamp = "1".repeat(STAMP_DIGITS);
    let start = format!(
        r#"{{"type":"{event_type}",{STAMP}{stamp},"user":{{"id":{FIRST},"email":"customer{FIRST}@example.com"}},"campaign":{{"id":1235666234572456,"type":"behavioural","name":"Cart Abandonment Followup","group":"Cart emails","channel":"email","subject":"You have items in your shopping bag","trigger-event":"Abandoned cart","permalink":"http://app.getvero.com/view/1/9c8c3ac6ac65736926a6da5a","variation":"Variation A"}},"{event_type}_at":1435016238,"message_id":"20260112093015.12345.7@veromail.com","changes":""#
    );
    let end = r#""}"#;
    let padding = bytes.checked_sub(start.len() + end.len()).expect("room for what every event has");
    format!("{start}{}{end}", "x".repeat(padding))
}

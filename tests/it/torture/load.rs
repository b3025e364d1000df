//! The senders: numbered events, and a log of what each was answered.
//!
//! An event's body follows from its number and the seed, so whoever meets one later can tell whether a byte of it has changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::dice::mixed;
use crate::harness::*;

/// The types that the events have.
pub const TYPES: [&str; 6] = ["sent", "delivered", "opened", "clicked", "bounced", "complained"];
/// A sender that was turned away comes again after this, so that it does not spin.
const AFTER_A_REFUSAL: Duration = Duration::from_millis(5);

/// The type of an event.
pub fn type_of(seed: u64, number: u64) -> &'static str {
    TYPES[(mixed(seed ^ number) % TYPES.len() as u64) as usize]
}

/// The body of an event: mostly below 700 bytes, like Vero's; one in twenty has some kilobytes.
pub fn body_of(seed: u64, number: u64) -> String {
    let chance = mixed(mixed(seed) ^ number);
    let length = if chance.is_multiple_of(20) { chance >> 8 & 0x1fff } else { (chance >> 8) % 640 };
    let campaign = chance % 50;
    // Escapes and letters beyond ASCII must come out as they went in.
    let padding: String = (0..length / 10).map(|at| format!("\\u003cü{:05x}", mixed(chance ^ at) & 0xf_ffff)).collect();
    format!(r#"{{"type":"{}","n":{number},"campaign":{campaign},"x":"{padding}"}}"#, type_of(seed, number))
}

/// A body of a megabyte, which is what a relay takes at most.
fn large_body_of(seed: u64, number: u64) -> String {
    let block = format!("{:016x}", mixed(mixed(seed) ^ number));
    let padding = block.repeat(1_000_000 / block.len());
    format!(r#"{{"type":"{}","n":{number},"x":"{padding}"}}"#, type_of(seed, number))
}

/// The number that a body claims to have.
pub fn number_in(body: &[u8]) -> Option<u64> {
    let at = body.windows(4).position(|window| window == b"\"n\":")? + 4;
    let digits: &[u8] = body[at..].split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A 2xx that a sender got.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub number: u64,
    /// Before the request was written.
    pub sent_at: Instant,
    /// When the answer had been read.
    pub at: Instant,
}

/// Everything that was sent, and what was said to it.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// By the id that the answer gave.
    pub acknowledged: BTreeMap<String, Acknowledged>,
    /// Answers other than 2xx, by number.
    pub refused: BTreeMap<u64, u16>,
    /// 503 without Retry-After.
    pub without_retry_after: u64,
    /// Requests without an answer: these may have been taken, or not.
    pub unanswered: u64,
    /// Ids that two events got.
    pub given_twice: Vec<String>,
}

/// Numbered events on their way.
pub struct Load {
    pub seed: u64,
    next: AtomicU64,
    acknowledged: AtomicU64,
    /// Events from this number on are large.
    large_from: AtomicU64,
    log: Mutex<Log>,
}

/// What senders do when the relay goes away.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WhenGone {
    /// End.
    End,
    /// Connect again until they are stopped.
    ComeAgain,
}

impl Load {
    pub fn new(seed: u64) -> Arc<Self> {
        let (next, acknowledged, large_from) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Arc::new(Self { seed, next, acknowledged, large_from, log: Mutex::default() })
    }

    /// The same load so far, to go on with apart from this one.
    pub fn fork(&self) -> Arc<Self> {
        let (next, acknowledged) = (AtomicU64::new(self.sent()), AtomicU64::new(self.acknowledged()));
        let large_from = AtomicU64::new(self.large_from.load(Ordering::SeqCst));
        Arc::new(Self { seed: self.seed, next, acknowledged, large_from, log: Mutex::new(self.log()) })
    }

    /// Numbers below this were sent.
    pub fn sent(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// From now on every event has a megabyte. To be called once, while no sender is at work.
    pub fn grow(&self) {
        self.large_from.store(self.sent(), Ordering::SeqCst);
    }

    /// The body of an event of this load.
    pub fn body(&self, number: u64) -> String {
        let is_large = number >= self.large_from.load(Ordering::SeqCst);
        if is_large { large_body_of(self.seed, number) } else { body_of(self.seed, number) }
    }

    /// How many got a 2xx.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// How many were answered with something else.
    pub fn refused(&self) -> usize {
        self.log.lock().expect("not poisoned").refused.len()
    }

    /// What was answered so far.
    pub fn log(&self) -> Log {
        self.log.lock().expect("not poisoned").clone()
    }

    /// Waits until so many more have got a 2xx.
    pub async fn more(&self, count: u64) {
        let enough = self.acknowledged() + count;
        eventually(&format!("{count} more acknowledgements"), async || self.acknowledged() >= enough).await;
    }

    /// Starts senders, each with one request at a time on one connection.
    pub fn send(self: &Arc<Self>, to: SocketAddr, senders: usize, when_gone: WhenGone) -> Sending {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = || tokio::spawn(self.clone().send_until_stopped(to, when_gone, stop.clone()));
        Sending { senders: (0..senders).map(|_| sender()).collect(), stop }
    }

    /// Posts so many events, one after the other, each of which must be taken.
    pub async fn post(self: &Arc<Self>, to: SocketAddr, count: u64) {
        let mut stream = TcpStream::connect(to).await.expect("connected");
        let mut buffer = Vec::new();
        for _ in 0..count {
            let status = self.post_one(&mut stream, &mut buffer).await;
            assert_eq!(status, Some(200), "an event is taken");
        }
    }

    /// Posts so many events over many connections, each of which must be taken.
    pub async fn pour(self: &Arc<Self>, to: SocketAddr, count: u64, connections: usize) {
        let left = Arc::new(AtomicU64::new(count));
        let pouring = (0..connections).map(|_| {
            let (load, left) = (self.clone(), left.clone());
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(to).await.expect("connected");
                let mut buffer = Vec::new();
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    assert_eq!(load.post_one(&mut stream, &mut buffer).await, Some(200), "an event is taken");
                }
            })
        });
        for task in pouring.collect::<Vec<_>>() {
            task.await.expect("every event is taken");
        }
    }

    async fn send_until_stopped(self: Arc<Self>, to: SocketAddr, when_gone: WhenGone, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            if let Ok(mut stream) = TcpStream::connect(to).await {
                let mut buffer = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match self.post_one(&mut stream, &mut buffer).await {
                        Some(200) => {}
                        Some(_) => tokio::time::sleep(AFTER_A_REFUSAL).await,
                        None => break,
                    }
                }
            }
            match when_gone {
                WhenGone::End => return,
                WhenGone::ComeAgain => tokio::time::sleep(AFTER_A_REFUSAL).await,
            }
        }
    }

    /// Posts the next event and notes what was answered. Returns the status, or `None` when there was no answer.
    async fn post_one(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<u16> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let body = self.body(number);
        let head = format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let sent_at = Instant::now();
        // What is not written whole may still have an answer: a refusal.
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        let answer = read_message(stream, buffer).await;
        let mut log = self.log.lock().expect("not poisoned");
        let Some(answer) = answer else {
            log.unanswered += 1;
            return None;
        };
        let status = answer.status();
        if status == 200 {
            let id = answer.json()["id"].as_str().expect("an id").to_owned();
            if log.acknowledged.insert(id.clone(), Acknowledged { number, sent_at, at: Instant::now() }).is_some() {
                log.given_twice.push(id);
            }
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        } else {
            log.refused.insert(number, status);
            log.without_retry_after += u64::from(status == 503 && answer.header("retry-after").is_none());
        }
        Some(status)
    }
}

/// Senders at work.
pub struct Sending {
    senders: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Sending {
    /// Waits for the senders to see that the relay is gone.
    pub async fn ended(self) {
        for sender in self.senders {
            sender.await.expect("a sender does not panic");
        }
    }

    /// Ends the senders after the answer that each waits for.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ended().await;
    }
}

//! Places that record what is delivered: an HTTP destination that does what it is told, and a file that is read back.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::load::number_in;
use crate::harness::*;

/// A delivery that arrived.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The event's `webhook-id`.
    pub id: String,
    /// The number in its body, if there is one.
    pub number: Option<u64>,
    /// The hash of its body.
    pub hash: u64,
    /// When and where it arrived.
    pub arrived: Arrived,
}

/// When or where a copy arrived, and so what may explain another.
#[derive(Clone, Copy, Debug)]
pub enum Arrived {
    /// At an HTTP destination. `is_taken` says whether that answered 2xx.
    At { at: Instant, is_taken: bool },
    /// In a file, at this byte.
    Byte(u64),
}

/// The hash by which bodies are compared.
pub fn hash_of(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

/// What a recorder does with a request once it has recorded it.
#[derive(Clone, Debug)]
pub enum Says {
    /// Answers 200 `ok`.
    Ok,
    /// Answers 200 `ok` after a while.
    OkAfter(Duration),
    /// Answers another status.
    Status(u16),
    /// Answers another status to the first copy of each event, and 200 `ok` to the others.
    StatusFirst(u16),
    /// Answers nothing, until the relay goes away or the recorder is told otherwise; then it closes the connection.
    Nothing,
    /// Sends these bytes and closes.
    Bytes(Arc<[u8]>),
    /// Sends these bytes and resets the connection.
    Reset(&'static [u8]),
    /// Sends these bytes, and then `more` again and again until the relay goes away.
    Endless { first: &'static [u8], more: &'static [u8], every: Duration },
}

impl Says {
    /// Whether the relay is to count the delivery as taken.
    fn is_yes(&self) -> bool {
        // The status counts, whatever becomes of the body.
        let has_yes = |bytes: &[u8]| bytes.starts_with(b"HTTP/1.1 200 ") && bytes.windows(4).any(|w| w == b"\r\n\r\n");
        match self {
            Self::Ok | Self::OkAfter(_) => true,
            Self::Endless { first, .. } => has_yes(first),
            // A reset may overtake the status.
            Self::Status(_) | Self::StatusFirst(_) | Self::Nothing | Self::Bytes(_) | Self::Reset(_) => false,
        }
    }
}

/// A request and its answer, by the recorder's clock.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub came: Instant,
    /// Just before it was written.
    pub answered: Option<Instant>,
    pub is_taken: bool,
}

/// An HTTP destination that keeps who came and when, but no bodies.
#[derive(Clone)]
pub struct Recorder {
    pub address: SocketAddr,
    copies: Arc<Mutex<Vec<Copy>>>,
    /// When each copy was answered, by its place.
    answers: Arc<Mutex<BTreeMap<usize, Instant>>>,
    says: Arc<watch::Sender<Says>>,
    /// Every body, where they are kept.
    bodies: Option<Arc<Mutex<Vec<String>>>>,
}

impl Recorder {
    pub async fn start() -> Self {
        Self::begin(None).await
    }

    /// One that keeps bodies as well.
    pub async fn keeping() -> Self {
        Self::begin(Some(Arc::default())).await
    }

    async fn begin(bodies: Option<Arc<Mutex<Vec<String>>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let says = Arc::new(watch::Sender::new(Says::Ok));
        let recorder = Self { address, copies: Arc::default(), answers: Arc::default(), says, bodies };
        let serving = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        recorder
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Tells it what to do from now on.
    pub fn say(&self, says: Says) {
        self.says.send_replace(says);
    }

    /// Everything that has come, in the order in which it came.
    pub fn copies(&self) -> Vec<Copy> {
        self.copies.lock().expect("not poisoned").clone()
    }

    /// The same with their bodies, where they are kept.
    pub fn kept(&self) -> Vec<(Copy, String)> {
        let bodies = self.bodies.as_ref().map(|bodies| bodies.lock().expect("not poisoned").clone());
        self.copies().into_iter().zip(bodies.unwrap_or_default()).collect()
    }

    /// Every request with its answer, in the order in which they came.
    pub fn turns(&self) -> Vec<Turn> {
        let (copies, answers) = (self.copies(), self.answers.lock().expect("not poisoned").clone());
        let turn = |(place, copy): (usize, &Copy)| match copy.arrived {
            Arrived::At { at, is_taken } => Turn { came: at, answered: answers.get(&place).copied(), is_taken },
            Arrived::Byte(_) => unreachable!("a recorder is no file"),
        };
        let mut turns: Vec<Turn> = copies.iter().enumerate().map(turn).collect();
        // On a busy machine one that came earlier may be written down later.
        turns.sort_by_key(|turn| turn.came);
        turns
    }

    /// How many copies have come.
    pub fn count(&self) -> usize {
        self.copies.lock().expect("not poisoned").len()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(message) = read_message(&mut stream, &mut buffer).await {
            let says = match self.says.borrow().clone() {
                Says::StatusFirst(_) if self.knows(message.header("webhook-id")) => Says::Ok,
                says => says,
            };
            let at = self.record(&message, says.is_yes());
            if let Says::OkAfter(wait) = says {
                tokio::time::sleep(wait).await;
            }
            self.answers.lock().expect("not poisoned").insert(at, Instant::now());
            let answer: Arc<[u8]> = match says {
                Says::Ok | Says::OkAfter(_) => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..].into(),
                Says::Status(status) | Says::StatusFirst(status) => {
                    format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nsaid").into_bytes().into()
                }
                Says::Bytes(bytes) => bytes,
                Says::Nothing => return self.hang(stream).await,
                Says::Reset(first) => return reset(stream, first).await,
                Says::Endless { first, more, every } => return never_end(stream, first, more, every).await,
            };
            if stream.write_all(&answer).await.is_err() {
                self.take_back(at);
                return;
            }
            if !answer.starts_with(b"HTTP/1.1 ") || !answer.windows(14).any(|window| window == b"content-length") {
                return;
            }
        }
    }

    fn record(&self, message: &Message, is_taken: bool) -> usize {
        let copy = Copy {
            id: message.header("webhook-id").unwrap_or_default().to_owned(),
            number: number_in(&message.body),
            hash: hash_of(&message.body),
            arrived: Arrived::At { at: message.at.unwrap_or_else(Instant::now), is_taken },
        };
        let mut copies = self.copies.lock().expect("not poisoned");
        copies.push(copy);
        if let Some(bodies) = &self.bodies {
            bodies.lock().expect("not poisoned").push(message.text());
        }
        copies.len() - 1
    }

    /// The relay was gone before it was answered.
    fn take_back(&self, at: usize) {
        if let Arrived::At { is_taken, .. } = &mut self.copies.lock().expect("not poisoned")[at].arrived {
            *is_taken = false;
        }
    }

    fn knows(&self, id: Option<&str>) -> bool {
        self.copies.lock().expect("not poisoned").iter().any(|copy| Some(copy.id.as_str()) == id)
    }

    async fn hang(&self, mut stream: TcpStream) {
        let mut says = self.says.subscribe();
        let mut byte = [0; 1];
        tokio::select! {
            _ = stream.read(&mut byte) => {}
            _ = says.wait_for(|says| !matches!(says, Says::Nothing)) => {}
        }
    }
}

async fn reset(mut stream: TcpStream, first: &[u8]) {
    let _ = stream.write_all(first).await;
    // Nothing lingers: what closes is a reset.
    let _ = stream.set_zero_linger();
}

async fn never_end(mut stream: TcpStream, first: &[u8], more: &[u8], every: Duration) {
    let mut is_there = stream.write_all(first).await.is_ok();
    while is_there {
        tokio::time::sleep(every).await;
        is_there = stream.write_all(more).await.is_ok();
    }
}

#[derive(serde::Deserialize)]
struct Line<'l> {
    id: &'l str,
    #[serde(borrow)]
    event: &'l RawValue,
}

/// The lines of a file destination. A line that a crash cut off is no delivery, but must stand alone: its start is the start of a line.
pub fn read_lines(path: &Path) -> Vec<Copy> {
    let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
    let mut copies = Vec::new();
    let mut at = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Line { id, event }) = serde_json::from_slice(line) {
            let body = event.get().as_bytes();
            let arrived = Arrived::Byte(at);
            copies.push(Copy { id: id.to_owned(), number: number_in(body), hash: hash_of(body), arrived });
        }
        at += line.len() as u64 + 1;
    }
    copies
}

//! The other side: takes everything on several ports, says ok, and notes how long each event was on its way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::load::{sent_ns, wall_ns};
use crate::measure::{Process, quantile};
use crate::wire::{Connection, OK};

/// As many destinations as the widest fan-out has: each gets a port of its own, so that none shares a connection with
/// another.
pub const PORTS: usize = 10;
/// How long the slow port takes to answer.
pub const SLOW_MS: u64 = 20;

#[derive(Default)]
struct Arrivals {
    first_ns: u64,
    last_ns: u64,
    latencies_us: Vec<u32>,
}

/// What has arrived since it was last asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrived {
    pub count: u64,
    /// Wall clock, nanoseconds; 0 when nothing has arrived.
    pub first_ns: u64,
    pub last_ns: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Arrivals {
    fn note(&mut self, body: &[u8]) {
        let now = wall_ns();
        if self.latencies_us.is_empty() {
            self.first_ns = now;
        }
        self.last_ns = now;
        let on_its_way = now.saturating_sub(sent_ns(body).expect("a body with a stamp")) / 1000;
        self.latencies_us.push(u32::try_from(on_its_way).unwrap_or(u32::MAX));
    }

    fn take(&mut self) -> String {
        let mut taken = std::mem::take(self);
        taken.latencies_us.sort_unstable();
        let [p50, p99] = [0.5, 0.99].map(|q| quantile(&taken.latencies_us, q));
        format!("{} {} {} {p50} {p99}", taken.latencies_us.len(), taken.first_ns, taken.last_ns)
    }
}

/// The role: prints its ports, the slow one and the one to ask it by, and serves until it is ended.
pub async fn run(at: Option<SocketAddr>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut listeners = Vec::new();
    for port in 0..PORTS + 2 {
        let address = at.filter(|_| port == 0).unwrap_or(any);
        listeners.push(TcpListener::bind(address).await.expect("a free port"));
    }
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().expect("a bound port has one")).collect();
    crate::measure::announce(&addresses);
    let arrivals: Arc<Mutex<Arrivals>> = Arc::default();
    let (control, slow) = (listeners.pop().expect("twelve"), listeners.pop().expect("eleven"));
    for listener in listeners {
        tokio::spawn(serve(listener, arrivals.clone(), None));
    }
    tokio::spawn(serve(slow, arrivals.clone(), Some(Duration::from_millis(SLOW_MS))));
    while let Ok((stream, _)) = control.accept().await {
        let mut connection = Connection::new(stream);
        while connection.next().await.is_some() {
            let report = arrivals.lock().unwrap_or_else(PoisonError::into_inner).take();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{report}", report.len());
            connection.write(answer.as_bytes()).await;
        }
    }
}

async fn serve(listener: TcpListener, arrivals: Arc<Mutex<Arrivals>>, latency: Option<Duration>) {
    while let Ok((stream, _)) = listener.accept().await {
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            let mut connection = Connection::new(stream);
            while let Some(message) = connection.next().await {
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).note(message.body);
                if let Some(latency) = latency {
                    tokio::time::sleep(latency).await;
                }
                if !connection.write(OK).await {
                    return;
                }
            }
        });
    }
}

/// A running receiver, seen from the program that measures.
pub struct Receiver {
    _process: Process,
    /// The ports that answer at once.
    pub ports: Vec<SocketAddr>,
    /// The one that takes its time.
    pub slow: SocketAddr,
    control: SocketAddr,
}

impl Receiver {
    /// Starts one; `at` is where its first port is to be.
    pub fn start(at: Option<SocketAddr>) -> Self {
        let mut arguments = vec!["--role".to_owned(), "receiver".to_owned()];
        arguments.extend(at.into_iter().flat_map(|at| ["--at".to_owned(), at.to_string()]));
        let (process, mut ports) = Process::role(&arguments);
        let (control, slow) = (ports.pop().expect("announced"), ports.pop().expect("announced"));
        Self { _process: process, ports, slow, control }
    }

    /// What has arrived since the last call.
    pub async fn take(&self) -> Arrived {
        let mut connection = Connection::open(self.control).await;
        assert!(connection.write(b"GET / HTTP/1.1\r\n\r\n").await, "the receiver runs");
        let message = connection.next().await.expect("the receiver answers");
        let text = std::str::from_utf8(message.body).expect("numbers");
        let words: Vec<&str> = text.split(' ').collect();
        let [count, first_ns, last_ns, p50, p99] = words[..] else { panic!("five numbers, not `{text}`") };
        let whole = |word: &str| word.parse::<u64>().expect("a whole number");
        let ms = |word: &str| word.parse::<f64>().expect("a number");
        Arrived {
            count: whole(count),
            first_ns: whole(first_ns),
            last_ns: whole(last_ns),
            p50_ms: ms(p50),
            p99_ms: ms(p99),
        }
    }
}

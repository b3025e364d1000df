//! Senders that send half a head, or drip a body, or send what no sender should: each is closed by its deadline, and an honest one is
//! served all the while.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::ledger::{Fault, Report, Scale, thousands};
use super::load::WhenGone;
use super::rig::Up;
use super::stage::Stage;
use crate::harness::{PATIENCE, eventually};

pub const FAULT: Fault = Fault {
    name: "slow_senders",
    about: "half-sent heads, dripped bodies, giant and chunked ones, pipelined garbage, two framings at once, CONNECT",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

/// In the config: `header_timeout` and `body_timeout`.
const DEADLINE: Duration = Duration::from_secs(1);
/// What a busy machine may take on top of it, with two thousand connections and a test that has as many tasks.
const ON_TOP: Duration = Duration::from_secs(3);
/// The longest that honest senders may wait for their next answer meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const HONEST_SENDERS: usize = 4;
/// Between two bytes of a sender that drips.
const DRIP: Duration = Duration::from_millis(100);
/// What comes from a relay that is asked for no more than refusals fits into this many times over.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The relay's descriptors with nobody connected: some thirty, and eight kept connections to each of two destinations.
const DESCRIPTORS_AT_REST: usize = 60;

const HALF_A_HEAD: &[u8] = b"POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\nx-half: ";
const HALF_A_BODY: &[u8] = b"POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{\"type\":";

/// What came back on a connection, up to its end.
struct Closed {
    answers: String,
    /// From the first byte sent to the end of the connection; `None` if it was still open when patience ended.
    took: Option<Duration>,
}

impl Closed {
    /// The status of the first answer; 0 where there was none.
    fn status(&self) -> u16 {
        self.answers.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn is_in_time(&self, limit: Duration) -> bool {
        self.took.is_some_and(|took| took <= limit)
    }
}

async fn run(scale: Scale) -> Report {
    let limits = format!("limits: {{ header_timeout: {0}s, body_timeout: {0}s }}\n", DEADLINE.as_secs());
    let mut stage = Stage::set_at(&scale, &scale.directory.join("data"), &limits).await;
    let up = stage.rig.start().await;
    let sending = stage.load.send(up.hooks, HONEST_SENDERS, WhenGone::End);
    stage.load.more(1).await;
    let hooks = up.hooks;
    let (begin, count) = (Instant::now(), scale.of(50, 1000));
    let mut report = Report::default();

    let slow = |bytes: &'static [u8], drips| tokio::spawn(async move { exchange(hooks, bytes, drips).await });
    let heads: Vec<_> = (0..count).map(|nth| slow(HALF_A_HEAD, nth % 2 == 0)).collect();
    let bodies: Vec<_> = (0..count).map(|nth| slow(HALF_A_BODY, nth % 2 == 0)).collect();
    let rude = rude_requests();
    let bytes = rude.iter().map(|(_, bytes, _)| bytes.clone());
    let rudely = bytes.map(|bytes| tokio::spawn(async move { exchange(hooks, &bytes, false).await })).collect();
    let (heads, bodies, rudely) = (ended(heads).await, ended(bodies).await, ended(rudely).await);
    for (what, closed) in [("half a head", &heads), ("half a body", &bodies)] {
        let late = closed.iter().filter(|closed| !closed.is_in_time(DEADLINE + ON_TOP)).count();
        report.hold_in_time(late == 0, || format!("{late} connections with {what} outlived their deadline"));
    }
    let statuses = |closed: &[Closed], may: &[u16]| closed.iter().all(|closed| may.contains(&closed.status()));
    report.hold(statuses(&heads, &[0, 408]), || "half a head was answered as if it were whole".to_owned());
    // A drop that falls after the answer resets the connection, and the answer may go with it.
    report.hold(statuses(&bodies, &[0, 408]), || "half a body was answered as if it were whole".to_owned());
    let silent = bodies.iter().skip(1).step_by(2);
    report.hold(silent.into_iter().all(|closed| closed.status() == 408), || {
        "half a body was not answered 408".to_owned()
    });
    for ((name, _, may), closed) in rude.iter().zip(&rudely) {
        report.hold_in_time(closed.is_in_time(DEADLINE + ON_TOP), || format!("{name}: open for {:?}", closed.took));
        report.hold(may.contains(&closed.status()), || format!("{name}: answered {:?}", closed.answers));
    }
    let end = Instant::now();
    sending.stop().await;
    let waited = longest_wait(&stage, begin, end);
    report.hold_in_time(waited <= LONGEST_WAIT, || format!("the honest senders had no answer for {waited:?}"));
    let log = stage.load.log();
    report.hold(log.refused.is_empty() && log.unanswered == 0, || {
        format!("honest senders: {:?} refused, {} unanswered", log.refused, log.unanswered)
    });

    up.drained().await;
    are_let_go(&up).await;
    let verdict = stage.verdict(&up).await;
    report.hold(verdict.waiting + verdict.dead == 0, || "something is undelivered with an empty backlog".to_owned());
    report.hold(!up.said().contains("panicked"), || up.said());
    up.stop().await;
    report
        .judged(&verdict)
        .say(format!("{} slow, {} rude", thousands(2 * count as u64), rude.len()))
        .say(format!("honest ones waited {} ms at most", waited.as_millis()))
}

/// Waits until the relay has let go of every connection of the slow and the rude.
async fn are_let_go(up: &Up) {
    eventually("the connections to be let go", async || up.descriptors(usize::MAX) <= DESCRIPTORS_AT_REST).await;
}

/// The longest time between two acknowledgements, whoever got them.
fn longest_wait(stage: &Stage, begin: Instant, end: Instant) -> Duration {
    let mut moments: Vec<Instant> = stage.load.log().acknowledged.values().map(|taken| taken.at).collect();
    moments.retain(|at| (begin..end).contains(at));
    moments.extend([begin, end]);
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

async fn ended(tasks: Vec<JoinHandle<Closed>>) -> Vec<Closed> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("a sender does not panic"));
    }
    all
}

/// Sends bytes, and drips more of them if it is to, until the relay closes the connection.
async fn exchange(to: SocketAddr, bytes: &[u8], drips: bool) -> Closed {
    let stream = TcpStream::connect(to).await.expect("connected");
    let begin = Instant::now();
    let (mut reading, mut writing) = stream.into_split();
    let send = async {
        // The relay may close before it has taken all of it.
        let mut is_open = writing.write_all(bytes).await.is_ok();
        while is_open && drips {
            tokio::time::sleep(DRIP).await;
            is_open = writing.write_all(b"x").await.is_ok();
        }
        std::future::pending::<()>().await;
    };
    let mut answers = Vec::new();
    let receive = async {
        let mut chunk = [0; 1 << 10];
        while let Ok(read @ 1..) = reading.read(&mut chunk).await {
            answers.extend_from_slice(&chunk[..read]);
            assert!(answers.len() <= ANSWER_BYTES_MAX, "the relay sends without end");
        }
    };
    let is_closed = tokio::select! {
        ended = tokio::time::timeout(PATIENCE, receive) => ended.is_ok(),
        () = send => false,
    };
    Closed { answers: String::from_utf8_lossy(&answers).into_owned(), took: is_closed.then(|| begin.elapsed()) }
}

type Rude = (&'static str, Vec<u8>, &'static [u16]);

/// What no sender should send, and how it may be answered (0: closed without a word). Whatever event is hidden in one must not be
/// taken: the checker would see an event that was never sent.
fn rude_requests() -> Vec<Rude> {
    let post = |headers: &str, body: &[u8]| {
        [format!("POST /hooks/vero/secret HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes(), body].concat()
    };
    let hidden = br#"{"type":"sent","n":18446744073709551615}"#;
    let smuggled = post(&format!("content-length: {}\r\n", hidden.len()), hidden);
    let both =
        |first: &str, second: &str| post(&format!("{first}\r\n{second}\r\n"), &[b"0\r\n\r\n", &smuggled[..]].concat());
    let (length, chunked) = (format!("content-length: {}", smuggled.len() + 5), "transfer-encoding: chunked");
    let chunk = [b"8000\r\n", &[b' '; 0x8000][..], b"\r\n"].concat();
    let garbage: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        ("a giant body", post("content-length: 1099511627776\r\n", &[b' '; 4096]), &[413]),
        ("a length beyond any number", post("content-length: 99999999999999999999999\r\n", b"{}"), &[400]),
        ("a negative length", post("content-length: -1\r\n", b"{}"), &[400]),
        ("chunks without end", post("transfer-encoding: chunked\r\n", &chunk.repeat(64)), &[413]),
        ("a giant chunk", post("transfer-encoding: chunked\r\n", b"ffffffffffffffffff\r\n{}"), &[400]),
        ("a chunk that is none", post("transfer-encoding: chunked\r\n", b"zz\r\n{}\r\n"), &[400]),
        ("chunks that stop", post("transfer-encoding: chunked\r\n", b"5\r\n{\"typ"), &[408]),
        ("a head without end", post(&"x-more: of the same\r\n".repeat(8192), b""), &[0, 431]),
        ("more headers than any", post(&"x: y\r\n".repeat(2000), b""), &[0, 400, 431]),
        ("garbage behind a request", [b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n", &garbage[..]].concat(), &[200]),
        ("garbage", garbage.clone(), &[0, 400]),
        ("a length and then chunks", both(&length, chunked), &[400]),
        ("chunks and then a length", both(chunked, &length), &[400]),
        ("two lengths", both("content-length: 5", &length), &[400]),
        ("an encoding that is not known", post("transfer-encoding: gzip\r\n", hidden), &[400]),
        ("CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n".to_vec(), &[405]),
        ("HTTP/2 in the clear", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[0, 400, 405, 505]),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), &[0, 400]),
        ("nothing at all", Vec::new(), &[0, 408]),
    ]
}

//! Destinations that misbehave in every way that HTTP, TLS and DNS allow, and one beside them that must not notice.
//!
//! Two relays take the same load in turns: one has the good destination alone, the other has the bad ones beside it. From the
//! acknowledgement to the arrival at the good destination may take at most twice as long, at the 99th percentile, and [`SLACK`].
//! What each bad one did is told as it is, and its events are with the relay; no redirect is followed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use super::ledger::{Fault, Report, Scale};
use super::load::{Load, WhenGone};
use super::oracle::{Case, Wants, Witness, judge};
use super::recorder::{Arrived, Recorder, Says};
use super::rig::{Rig, Up};
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "unruly",
    about: "destinations that hang, drip, reset, redirect, never end, have expired certificates or no address",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 4;
/// Both relays are measured in so many turns, so that what else the machine does meets both.
const TURNS: usize = 5;
/// A delivery takes less than a millisecond, which is less than a process waits for its turn on two cores that it shares with the
/// senders and the bad destinations. A delivery that waits for a bad one waits for a second.
const SLACK: Duration = Duration::from_millis(5);
/// The same for a debug build, among the other tests.
const SLACK_IN_SHORT: Duration = Duration::from_millis(100);
/// A burst of something else on the machine may spoil one measurement; a relay that lets its destinations wait spoils all.
const MEASUREMENTS: usize = 3;

const TIMES_OUT: &str = "no answer within 1s";

/// What becomes of a bad destination's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They wait, and the last error says this.
    Waits(&'static str),
    /// The status was a yes.
    Taken,
    /// Whether the status arrives before the reset is a matter of luck.
    Either,
}

/// How a bad destination is bad.
#[derive(Clone, Copy)]
enum Does {
    Says(fn(&Recorder) -> Says),
    Certificate(&'static [u8]),
    NoAddress,
}

struct Bad {
    name: &'static str,
    does: Does,
    fate: Fate,
    /// An attempt takes longer than the short cut.
    is_slow: bool,
}

const fn bad(name: &'static str, does: Does, fate: Fate) -> Bad {
    Bad { name, does, fate, is_slow: false }
}

const A_BODY: &[u8] = &[b'x'; 16 << 10];
/// More than a client will take, at once.
static HEADERS: [[u8; 11]; 200] = [*b"x-more: x\r\n"; 200];

const BAD: &[Bad] = &[
    bad("hangs", Does::Says(|_| Says::Nothing), Fate::Waits(TIMES_OUT)),
    bad(
        "drips",
        Does::Says(|_| endless(b"HTTP/1.1 200 OK\r\nx-slow: ", b"x", Duration::from_millis(50))),
        Fate::Waits(TIMES_OUT),
    ),
    Bad {
        is_slow: true,
        ..bad(
            "drips_body",
            Does::Says(|_| {
                endless(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x", Duration::from_millis(50))
            }),
            Fate::Taken,
        )
    },
    bad(
        "resets",
        Does::Says(|_| Says::Reset(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\npart of it")),
        Fate::Either,
    ),
    bad(
        "garbage",
        Does::Says(|_| Says::Bytes(b"\x16\x03\x01\0\xffwhat is this?\r\n\r\n"[..].into())),
        Fate::Waits("the connection broke"),
    ),
    bad("redirects", Does::Says(redirect), Fate::Waits("302")),
    bad("endless", Does::Says(|_| endless(b"HTTP/1.1 200 OK\r\n\r\n", A_BODY, Duration::from_millis(1))), Fate::Taken),
    bad(
        "endless_head",
        Does::Says(|_| endless(b"HTTP/1.1 200 OK\r\n", HEADERS.as_flattened(), Duration::ZERO)),
        Fate::Waits("the connection broke"),
    ),
    bad("expired", Does::Certificate(include_bytes!("certificates/expired.pem")), Fate::Waits("expired")),
    bad("no_address", Does::NoAddress, Fate::Waits("could not connect")),
];

fn endless(first: &'static [u8], more: &'static [u8], every: Duration) -> Says {
    Says::Endless { first, more, every }
}

fn redirect(elsewhere: &Recorder) -> Says {
    let head = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
    Says::Bytes(head.into_bytes().into())
}

async fn run(scale: Scale) -> Report {
    let mut report = Report::default().say("p99 alone → beside it:");
    if !scale.is_full {
        let all: Vec<&Bad> = BAD.iter().filter(|bad| !bad.is_slow).collect();
        beside(&scale, "all", &all, &mut report).await;
        return report;
    }
    for bad in BAD {
        beside(&scale, bad.name, &[bad], &mut report).await;
    }
    let all: Vec<&Bad> = BAD.iter().collect();
    beside(&scale, "all", &all, &mut report).await;
    report
}

/// A relay under measurement, with its load and its good destination.
struct Side {
    up: Up,
    load: Arc<Load>,
    good: Recorder,
}

impl Side {
    async fn start(scale: &Scale, name: &str, destinations: &[String]) -> Self {
        let directory = scale.directory.join(name);
        std::fs::create_dir(&directory).expect("a directory");
        let good = Recorder::start().await;
        let names: String =
            destinations.iter().filter_map(|line| line.split(':').next()).map(|n| format!(", {n}")).collect();
        let lines: String = destinations.iter().map(|line| format!("  {line}\n")).collect();
        let config = format!(
            "rules: [ {{ name: all, to: [good{names}] }} ]\ndestinations:\n  good: {{ http: {{ url: \"{}\" }} }}\n{lines}",
            good.url()
        );
        let authority = directory.join("ca.pem");
        std::fs::write(&authority, include_bytes!("certificates/ca.pem")).expect("written");
        let mut rig = Rig::new(&directory, &directory.join("data"), &config);
        let trust = format!("SSL_CERT_FILE={}", authority.display());
        let up = rig.start_under(&["env", &trust]).await.expect("it starts");
        Self { up, load: Load::new(scale.seed), good }
    }

    async fn take(&self, events: u64) {
        let sending = self.load.send(self.up.hooks, SENDERS, WhenGone::End);
        self.load.more(events).await;
        sending.stop().await;
        eventually("the good destination to have everything", async || {
            self.good.count() as u64 >= self.load.acknowledged()
        })
        .await;
    }

    /// From the acknowledgement to the arrival at the good destination, of 99 in 100 events since the given number of copies.
    fn p99(&self, since: usize) -> Duration {
        let log = self.load.log();
        let lag = |copy: &super::recorder::Copy| match (log.acknowledged.get(&copy.id), copy.arrived) {
            (Some(acknowledged), Arrived::At { at, .. }) => at.saturating_duration_since(acknowledged.at),
            _ => Duration::MAX,
        };
        let mut lags: Vec<Duration> = self.good.copies()[since..].iter().map(lag).collect();
        lags.sort();
        lags[lags.len() * 99 / 100]
    }
}

/// Measures the good destination without and with some bad ones beside it, and looks at what the relay makes of these.
async fn beside(scale: &Scale, name: &str, bads: &[&Bad], report: &mut Report) {
    let elsewhere = Recorder::start().await;
    let mut recorders = Vec::new();
    let mut lines = Vec::new();
    for bad in bads {
        let recorder = Recorder::start().await;
        let url = match bad.does {
            Does::Says(says) => {
                recorder.say(says(&elsewhere));
                recorder.url()
            }
            Does::Certificate(certificate) => format!("https://{}/", serve_tls(certificate)),
            Does::NoAddress => "http://nosuch.invalid/".to_owned(),
        };
        // On a busy machine any attempt may take a second, so only those that must time out are told to be so impatient.
        let timeout = if bad.fate == Fate::Waits(TIMES_OUT) { ", timeout: 1s" } else { "" };
        lines.push(format!("{}: {{ http: {{ url: \"{url}\" }}{timeout} }}", bad.name));
        recorders.push(recorder);
    }
    // The same authority signed it, so what is refused of the other one is its age.
    let valid = serve_tls(include_bytes!("certificates/valid.pem"));
    lines.push(format!("valid: {{ http: {{ url: \"https://{valid}/\" }} }}"));
    let without = Side::start(scale, &format!("{name}-without"), &[]).await;
    let with = Side::start(scale, &format!("{name}-with"), &lines).await;
    let slack = if scale.is_full { SLACK } else { SLACK_IN_SHORT };
    let mut measured = Vec::new();
    for _ in 0..MEASUREMENTS {
        let since = (without.good.count(), with.good.count());
        for _ in 0..TURNS {
            without.take(scale.of(40, 200) as u64).await;
            with.take(scale.of(40, 200) as u64).await;
        }
        measured.push((without.p99(since.0), with.p99(since.1)));
        if measured.last().is_some_and(|(without, with)| *with <= *without * 2 + slack) {
            break;
        }
    }
    let (alone, disturbed) = *measured.last().expect("it was measured");
    report.hold_in_time(disturbed <= alone * 2 + slack, || {
        format!("{name}: the good destination's p99 went from {alone:?} to {disturbed:?}, measured as {measured:?}")
    });
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    report.said.push(format!("{name} {:.1} → {:.1} ms", ms(alone), ms(disturbed)));
    report.hold(with.up.readyz().await == 200, || format!("{name}: a bad destination makes the relay unready"));
    look_at(&with, bads, report).await;
    report.hold(elsewhere.count() == 0, || format!("{name}: a redirect was followed"));
    judge_all(scale, &with, bads, &recorders, report).await;
    without.up.stop().await;
    with.up.stop().await;
}

/// Each bad destination's events are where they should be, and what it did is told.
async fn look_at(with: &Side, bads: &[&Bad], report: &mut Report) {
    let of = async |name: &str| {
        let shown = with.up.destinations().await;
        shown.into_iter().find(|destination| destination["name"] == name).expect("the destination")
    };
    for bad in bads {
        match bad.fate {
            Fate::Either => {}
            // Eight at a time, three seconds each: that it gets anywhere is enough.
            Fate::Taken if bad.is_slow => {
                let has_begun = async || !of(bad.name).await["last_delivered_at"].is_null();
                eventually(bad.name, has_begun).await;
                let error = of(bad.name).await["last_error"].clone();
                report.hold(error.is_null(), || format!("{}: {error}", bad.name));
            }
            Fate::Taken => eventually(bad.name, async || of(bad.name).await["backlog"] == 0).await,
            Fate::Waits(why) => {
                eventually(&format!("{} to have failed", bad.name), async || {
                    !of(bad.name).await["last_error"].is_null()
                })
                .await;
                let shown = of(bad.name).await;
                let (reason, waiting) = (shown["last_error"]["reason"].to_string(), shown["backlog"].as_u64());
                report.hold(reason.contains(why), || format!("{}: {reason} does not say `{why}`", bad.name));
                let acknowledged = with.load.acknowledged();
                report.hold(waiting == Some(acknowledged), || {
                    format!("{}: {waiting:?} of {acknowledged} events wait", bad.name)
                });
            }
        }
    }
    eventually("the destination with a good certificate", async || of("valid").await["backlog"] == 0).await;
}

/// The verdict on the good destination and on those of the bad that record; on what waits only at full size, for it is asked one by one.
async fn judge_all(scale: &Scale, with: &Side, bads: &[&Bad], recorders: &[Recorder], report: &mut Report) {
    // What a destination takes meanwhile would be missed: it is held.
    for bad in bads.iter().filter(|bad| !matches!(bad.fate, Fate::Waits(_))) {
        with.up.act(&format!("/api/destinations/{}/pause", bad.name)).await;
        let is_still = |shown: &serde_json::Value| shown["name"] != bad.name || shown["in_flight"] == 0;
        eventually("attempts to end", async || with.up.destinations().await.iter().all(is_still)).await;
    }
    let witness = |name, recorder: &Recorder| Witness { name, wants: Wants::Every, copies: recorder.copies() };
    let records = |bad: &Bad| matches!(bad.does, Does::Says(_)) && (scale.is_full || bad.fate == Fate::Taken);
    let recording = bads.iter().zip(recorders).filter(|(bad, _)| records(bad));
    let mut witnesses = vec![witness("good", &with.good)];
    witnesses.extend(recording.map(|(bad, recorder)| witness(bad.name, recorder)));
    let verdict = judge(Case { load: &with.load, witnesses, crashes: &[], doubtful: &[], admin: with.up.admin }).await;
    report.problems.extend(verdict.breaches.into_iter().map(|(_, sentence)| sentence));
    report.hold(verdict.dead == 0, || format!("{} dead letters of destinations that only failed", verdict.dead));
}

/// A destination behind TLS that takes everything from whoever accepts its certificate.
///
/// In `certificates/` are an authority whose key was thrown away, one key for 127.0.0.1 that protects nothing, and two certificates for
/// it: one until the year 2120, and one for the first day of 2020.
fn serve_tls(certificate: &[u8]) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || answer_tls(config, stream));
        }
    });
    address
}

fn answer_tls(config: Arc<ServerConfig>, mut tcp: TcpStream) {
    let mut connection = ServerConnection::new(config).expect("a connection");
    let mut stream = Stream::new(&mut connection, &mut tcp);
    let (mut request, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
        while let Some(length) = whole(&request) {
            request.drain(..length);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

/// How long the first request is, if it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let end = head + length.unwrap_or(0);
    (bytes.len() >= end).then_some(end)
}

//! What TLS costs the listener for webhooks: two relays under the same load, turn by turn, of which one encrypts. Once over connections that are
//! kept, and once over a new one for each event, with a whole handshake: nothing is resumed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use vero_relay::store::journal::OUTCOMES_SYNCED_WITHIN;

use crate::load::{Request, check, read_answer, wall_ns};
use crate::measure::{Relay, Setup};
use crate::receiver::Receiver;
use crate::scenarios::{BODY_BYTES, Fan, IN_FLIGHT, scratch, setup_of};

/// What `--only` calls it.
pub const KEY: &str = "tls";
/// Turns of each relay.
const TURNS: u64 = 5;
/// Events of each turn over connections that are kept.
const EVENTS_KEPT: u64 = 20_000;
/// And over a new one each. All turns together leave fewer closed connections than there are ports (28 231: ip_local_port_range).
const EVENTS_NEW: u64 = 4_000;

const CA: &[u8] = include_bytes!("../../tests/tls/ca.pem");
const SERVER: [&str; 2] = [include_str!("../../tests/tls/server.pem"), include_str!("../../tests/tls/server.key")];

/// CPU time of the relay for each event, without TLS and with it.
pub struct Encrypted {
    pub kept_cpu_us: [f64; 2],
    pub new_cpu_us: [f64; 2],
}

/// Measures both ways, turn by turn.
pub async fn run(share: u64) -> Encrypted {
    let receiver = Receiver::start(None);
    let directories = [scratch(), scratch()];
    let relays = [None, Some(SERVER)].map(|tls| {
        let directory = &directories[usize::from(tls.is_some())];
        Relay::start(directory.path(), &Setup { tls, ..setup_of(Fan::Mix, 2, &receiver) })
    });
    let clients = [None, Some(client())];
    let ways = [0, 1].map(|at| Way { to: relays[at].hooks, client: clients[at].clone() });
    Encrypted {
        kept_cpu_us: in_turns(&relays, &ways, &receiver, Round { events: EVENTS_KEPT / share, is_kept: true }).await,
        new_cpu_us: in_turns(&relays, &ways, &receiver, Round { events: EVENTS_NEW / share, is_kept: false }).await,
    }
}

/// What is sent in a turn.
#[derive(Clone, Copy)]
struct Round {
    events: u64,
    /// Whether the connections are.
    is_kept: bool,
}

/// CPU time of each relay for an event of all its turns, but for a first one that warms it up.
async fn in_turns(relays: &[Relay; 2], ways: &[Way; 2], receiver: &Receiver, round: Round) -> [f64; 2] {
    let mut cpu_seconds = [0.0; 2];
    for turn in 0..=TURNS {
        for ((relay, way), spent) in relays.iter().zip(ways).zip(&mut cpu_seconds) {
            tokio::time::sleep(OUTCOMES_SYNCED_WITHIN).await;
            let before = relay.process.cpu_seconds();
            send(way, round).await;
            relay.wait_drained();
            if turn > 0 {
                *spent += relay.process.cpu_seconds() - before;
            }
            receiver.take().await;
        }
    }
    cpu_seconds.map(|seconds| seconds / (round.events * TURNS) as f64 * 1e6)
}

fn client() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CA).expect("a certificate")).expect("one that can be trusted");
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
    let mut client = versions.expect("versions that ring knows").with_root_certificates(roots).with_no_client_auth();
    client.resumption = Resumption::disabled();
    Arc::new(client)
}

/// How a relay is reached.
#[derive(Clone)]
struct Way {
    to: SocketAddr,
    /// None in the clear.
    client: Option<Arc<ClientConfig>>,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

impl Way {
    fn open(&self) -> Box<dyn Stream> {
        let stream = TcpStream::connect(self.to).expect("the other side listens");
        stream.set_nodelay(true).expect("a socket has it");
        let Some(client) = &self.client else { return Box::new(stream) };
        let name = ServerName::try_from("localhost").expect("a name");
        Box::new(StreamOwned::new(ClientConnection::new(client.clone(), name).expect("it begins"), stream))
    }
}

/// Sends so many events, each as soon as one before it is answered.
async fn send(way: &Way, Round { events, is_kept }: Round) {
    let next = Arc::new(AtomicU64::new(0));
    let senders = (0..IN_FLIGHT).map(|_| {
        let (way, next) = (way.clone(), next.clone());
        tokio::task::spawn_blocking(move || {
            let mut request = Request::new(BODY_BYTES);
            let mut kept = None;
            let mut answer = Vec::new();
            while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < events) {
                let stream = kept.get_or_insert_with(|| way.open());
                stream.write_all(request.bytes(number, wall_ns())).expect("the connection stays open");
                read_answer(stream, &mut answer);
                check(&answer);
                if !is_kept {
                    kept = None;
                }
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("a sender ends in peace");
    }
}

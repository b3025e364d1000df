//! The bare loop: forwards each request to some receivers and answers. No disk, no rules, no HTTP library: what moving
//! the bytes costs on this machine, and so what the relay is measured against.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;

use crate::measure::Process;
use crate::wire::{Connection, OK};

/// Where of a hundred events so many go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    pub in_100: u64,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.address, self.in_100)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, in_100) = text.split_once('=').ok_or("ADDRESS=IN_100")?;
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        let in_100 = in_100.parse().map_err(|error| format!("{in_100}: {error}"))?;
        Ok(Self { address, in_100 })
    }
}

/// Starts one.
pub fn start(targets: &[Target]) -> (Process, SocketAddr) {
    let mut arguments = vec!["--role".to_owned(), "bare".to_owned()];
    arguments.extend(targets.iter().flat_map(|target| ["--to".to_owned(), target.to_string()]));
    let (process, addresses) = Process::role(&arguments);
    (process, addresses[0])
}

/// The role: prints its port and serves until it is ended.
pub async fn run(targets: Vec<Target>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    crate::measure::announce(&[listener.local_addr().expect("a bound port has one")]);
    let count = Arc::new(AtomicU64::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(forward(Connection::new(stream), targets.clone(), count.clone()));
    }
}

async fn forward(mut from: Connection, targets: Vec<Target>, count: Arc<AtomicU64>) {
    let mut others = Vec::with_capacity(targets.len());
    for target in &targets {
        others.push((Connection::open(target.address).await, target.in_100));
    }
    while let Some(message) = from.next().await {
        let number = count.fetch_add(1, Ordering::Relaxed);
        for (to, in_100) in &mut others {
            if number % 100 < *in_100 {
                assert!(to.write(message.whole).await, "the receiver takes it");
                to.next().await.expect("the receiver answers");
            }
        }
        if !from.write(OK).await {
            return;
        }
    }
}

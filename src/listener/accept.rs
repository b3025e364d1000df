//! Accepting connections: one for each slot, and none for which there is no file descriptor.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::process::{Resource, getrlimit};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::slots::{Peer, Slot, Slots};
use crate::telemetry::trouble::{News, Trouble};
use crate::time::Instant;

/// After a failed accept (no file descriptors left, most likely), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One that was told to give way and has not ended by then does not take its answer: another one gives way besides. Where all had something
/// in hand, it is looked this often whether one is done.
const GIVES_WAY_WITHIN: Duration = Duration::from_millis(250);

/// While connections cannot be accepted it is told this often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The file descriptors that a listener's connections may take.
struct Descriptors {
    /// The first one that is kept free. The system gives the lowest that is free.
    end: Option<u64>,
    /// Whether the last connection came near to it.
    is_near: bool,
}

impl Descriptors {
    fn keeping(kept: u64) -> Self {
        let limit = getrlimit(Resource::Nofile).current.filter(|_| kept > 0);
        // With few in all, some of them are for connections still.
        Self { end: limit.map(|limit| limit - kept.min(limit / 8)), is_near: false }
    }

    /// Remembers what a connection got.
    fn saw(&mut self, stream: &TcpStream) {
        let got = u64::try_from(stream.as_raw_fd()).unwrap_or(u64::MAX);
        self.is_near = self.end.is_some_and(|end| got + 1 >= end);
    }

    /// Whether there is one for another connection. Asks the system only after one came near to the end.
    fn has_one(&self, listener: &TcpListener) -> bool {
        let Some(end) = self.end.filter(|_| self.is_near) else { return true };
        let tried = rustix::io::fcntl_dupfd_cloexec(listener, 0);
        tried.is_ok_and(|tried| u64::try_from(tried.as_raw_fd()).is_ok_and(|got| got < end))
    }
}

/// Whether connections can be accepted, and what the log says of it.
pub(super) struct Room {
    connections_give_way: bool,
    descriptors: Descriptors,
    trouble: Trouble,
}

impl Room {
    pub(super) fn new(connections_give_way: bool, descriptors_kept: u64) -> Self {
        Self {
            connections_give_way,
            descriptors: Descriptors::keeping(descriptors_kept),
            trouble: Trouble::lasting(TOLD_EVERY),
        }
    }

    fn lacks(&mut self, why: &dyn std::fmt::Display) {
        if let Some(News { times, .. }) = self.trouble.happens(Instant::now()) {
            tracing::warn!(%why, times, "connections cannot be accepted: raise the limit of open files (LimitNOFILE=, ulimit -n), or lower connections_max");
        }
    }

    fn got(&mut self, stream: &TcpStream) {
        self.descriptors.saw(stream);
        if let Some(ended) = self.trouble.ends(Instant::now()) {
            tracing::info!(after_s = ended.lasted.as_secs(), "connections are accepted again");
        }
    }
}

pub(super) type Accepted = (TcpStream, Peer, Slot);

/// Waits for a free slot and then for a connection: beyond the cap, the kernel's queue waits.
pub(super) async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Slots>,
    room: &mut Room,
    stop: &CancellationToken,
) -> Option<Accepted> {
    let accept = async {
        let mut slot = match room.connections_give_way {
            true => a_place(listener, slots).await,
            false => slots.take().await,
        };
        loop {
            while !room.descriptors.has_one(listener) {
                room.lacks(&"nearly all file descriptors are in use");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            match listener.accept().await {
                Ok((stream, peer)) => {
                    room.got(&stream);
                    let seat = slot.accepted();
                    return (stream, Peer { address: peer, seat }, slot);
                }
                Err(error) => {
                    room.lacks(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accept => Some(accepted),
        () = stop.cancelled() => None,
    }
}

/// A free slot; where there is none and somebody waits for one, a connection gives way.
async fn a_place(listener: &TcpListener, slots: &Arc<Slots>) -> Slot {
    tokio::select! {
        biased;
        slot = slots.take() => slot,
        () = somebody_waits(listener) => loop {
            slots.make_room();
            if let Ok(slot) = tokio::time::timeout(GIVES_WAY_WITHIN, slots.take()).await {
                break slot;
            }
        },
    }
}

/// Waits until the system has accepted a connection, which it keeps. tokio says so only with the connection in hand.
async fn somebody_waits(listener: &TcpListener) {
    #[expect(
        deprecated,
        reason = "it is sound for an owned descriptor, which stays the same, and what follows it is unsafe code"
    )]
    let asks = |asks| AsyncFd::with_interest(asks, Interest::READABLE).ok();
    if let Some(asks) = rustix::io::fcntl_dupfd_cloexec(listener, 0).ok().and_then(asks)
        && asks.readable().await.is_ok()
    {
        return;
    }
    // Without a file descriptor for it, nobody gives way.
    std::future::pending().await
}

/// A connection that the system has accepted and nobody has taken from it yet, if there is a slot for it.
pub(super) fn taken_by_the_system(listener: &TcpListener, slots: &Arc<Slots>) -> Option<Accepted> {
    let mut slot = slots.take().now_or_never()?;
    loop {
        // Not by tokio, which does not ask before it has heard of the connection.
        let stream = std::net::TcpStream::from(rustix::net::accept(listener).ok()?);
        // One that has gone in the meantime is no reason to leave the others.
        let Ok(peer) = stream.peer_addr() else { continue };
        if stream.set_nonblocking(true).is_err() {
            continue;
        }
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let seat = slot.accepted();
        return Some((stream, Peer { address: peer, seat }, slot));
    }
}

/// Ends a listener at once, whoever still holds it: who connects from now on is refused, and may try again elsewhere or later.
pub(super) fn close(listener: &TcpListener) {
    if let Err(error) = rustix::net::shutdown(listener, rustix::net::Shutdown::Both) {
        tracing::debug!(%error, "the listener ends with the process");
    }
}

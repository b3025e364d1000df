//! The front door: the listener that webhooks come in by, which may be moved while the relay runs.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keep::{Kept, keep};
use super::{Relay, StartError};
use crate::receive;
use crate::receive::server::{ServerOptions, serve};
use crate::receive::slots::Slots;
use crate::telemetry::Metrics;

/// File descriptors that webhooks leave to the operator, the journal and the destinations; fewer where there are few in all.
pub(super) const DESCRIPTORS_KEPT: u64 = 32;

/// Bytes of answers that the system keeps for each connection. Answers are small, and what a client does not read should cost little;
/// by default it may be 4 MiB.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// The listener that is open, and what is needed to open another.
pub(super) struct Door {
    pub tasks: TaskTracker,
    /// Connections finish what they have begun once this is cancelled.
    pub stop: CancellationToken,
    /// Connections count over every listener that was ever open: those of one that moved stay.
    slots: Arc<Slots>,
    open: Option<Open>,
}

struct Open {
    listener: Arc<TcpListener>,
    options: ServerOptions,
    accepting: CancellationToken,
}

impl Door {
    pub(super) fn new(stop: CancellationToken, metrics: &Metrics) -> Self {
        Self { tasks: TaskTracker::new(), stop, slots: Slots::new(0, metrics.connections("hooks")), open: None }
    }

    /// Serves a listener from now on. The one before accepts nothing more; its connections stay and are served as ever.
    pub(super) fn open(&mut self, relay: &Arc<Relay>, listener: Arc<TcpListener>, options: ServerOptions) {
        let accepting = self.stop.child_token();
        let routes = receive::routes(relay.clone());
        let stops = receive::server::Stops { accepting: accepting.clone(), all: self.stop.clone() };
        self.slots.set_max(options.connections_max);
        let kept = Kept {
            task: "hooks_listener",
            of: local(&listener, SocketAddr::from(([0, 0, 0, 0], 0))).to_string(),
            metrics: relay.metrics.clone(),
            stop: accepting.clone(),
        };
        let (serving, slots, allowed) = (listener.clone(), self.slots.clone(), options.clone());
        self.tasks.spawn(keep(kept, move || {
            serve(serving.clone(), slots.clone(), routes.clone(), allowed.clone(), stops.clone())
        }));
        if let Some(before) = self.open.replace(Open { listener, options, accepting }) {
            before.accepting.cancel();
        }
    }

    /// The listener that is open.
    pub(super) fn listener(&self) -> Option<Arc<TcpListener>> {
        self.open.as_ref().map(|open| open.listener.clone())
    }

    /// What it allows.
    pub(super) fn options(&self) -> Option<&ServerOptions> {
        self.open.as_ref().map(|open| &open.options)
    }
}

/// Listens on an address; `said` tells who names it.
pub(super) async fn listen(address: SocketAddr, said: &str) -> Result<TcpListener, StartError> {
    let refused = |source| StartError::Listen { address, said: said.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    // Its connections inherit this.
    if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the buffer for answers has its default size");
    }
    Ok(listener)
}

/// Where a listener really listens: its port may have been chosen by the system.
pub(super) fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

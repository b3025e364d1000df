//! The listener that webhooks come in by, which may be moved while the relay runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keep::{Kept, keep};
use crate::listener::bind::{Listener, local};
use crate::listener::server::{self, ServerOptions, serve};
use crate::listener::slots::Slots;
use crate::listener::tls::Tls;
use crate::receive;
use crate::relay::Relay;
use crate::telemetry::Metrics;

/// File descriptors that webhooks leave to the operator, the journal and the destinations; fewer where there are few in all.
pub(super) const DESCRIPTORS_KEPT: u64 = 32;

/// The listener that is open, and what is needed to open another.
pub(super) struct Hooks {
    pub tasks: TaskTracker,
    /// Answers end their connections once this is cancelled.
    ending: CancellationToken,
    /// Connections finish what they have begun once this is cancelled.
    stop: CancellationToken,
    /// Connections count over every listener that was ever open: those of one that moved stay.
    slots: Arc<Slots>,
    /// How they are encrypted, whichever listener they come by.
    tls: Arc<Tls>,
    open: Option<Open>,
}

struct Open {
    listener: Arc<TcpListener>,
    options: ServerOptions,
    accepting: CancellationToken,
    closes: Arc<AtomicBool>,
    /// The service manager holds it too: it lives on, and what the system accepts for it waits for the next process.
    is_handed_over: bool,
}

impl Hooks {
    /// None is open yet.
    pub(super) fn new(ending: CancellationToken, metrics: &Metrics) -> Self {
        let stop = CancellationToken::new();
        Self {
            tasks: TaskTracker::new(),
            ending,
            stop,
            slots: Slots::new(0, metrics.connections("hooks")),
            tls: Arc::default(),
            open: None,
        }
    }

    /// Serves a listener from now on. The one before accepts nothing more; its connections stay and are served as ever.
    pub(super) fn open(&mut self, relay: &Arc<Relay>, listener: Listener, options: ServerOptions) {
        let Listener { listener, is_handed_over } = listener;
        let closes = Arc::<AtomicBool>::default();
        let accepting = self.stop.child_token();
        let routes = receive::routes(relay.clone());
        let stops = server::Stops {
            ending: self.ending.clone(),
            accepting: accepting.clone(),
            closes: closes.clone(),
            all: self.stop.clone(),
        };
        self.slots.set_max(options.connections_max);
        let kept = Kept {
            task: "hooks_listener",
            of: local(&listener, SocketAddr::from(([0, 0, 0, 0], 0))).to_string(),
            metrics: relay.metrics.clone(),
            stop: accepting.clone(),
        };
        let serving = listener.clone();
        let at = server::At { slots: self.slots.clone(), tls: self.tls.clone() };
        let allowed = options.clone();
        self.tasks.spawn(keep(kept, move || {
            let routes = routes.clone();
            serve(serving.clone(), at.clone(), move |_| routes.clone(), allowed.clone(), stops.clone())
        }));
        let open = Open { listener, options, accepting, closes, is_handed_over };
        if let Some(before) = self.open.replace(open) {
            let is_the_same = self.open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.listener, &before.listener));
            if is_the_same {
                before.stop_accepting();
            } else {
                before.close();
            }
        }
    }

    /// How connections are encrypted that begin from now on.
    pub(super) fn encrypt(&self, by: Option<Arc<rustls::ServerConfig>>) {
        self.tls.set(by);
    }

    /// Ends it: what the system has accepted is served, and connections finish what they have begun.
    pub(super) fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.close();
        }
        self.stop.cancel();
        self.tasks.close();
    }

    /// The listener that is open.
    pub(super) fn listener(&self) -> Option<Listener> {
        let of = |open: &Open| Listener { listener: open.listener.clone(), is_handed_over: open.is_handed_over };
        self.open.as_ref().map(of)
    }

    pub(super) fn options(&self) -> Option<&ServerOptions> {
        self.open.as_ref().map(|open| &open.options)
    }
}

impl Open {
    /// Accepts nothing more; somebody else serves the listener.
    fn stop_accepting(&self) {
        self.accepting.cancel();
    }

    /// Accepts nothing more, and nobody else does: the listener closes, unless the service manager holds it.
    fn close(&self) {
        self.closes.store(!self.is_handed_over, Ordering::Release);
        self.accepting.cancel();
    }
}

//! Where to listen: an address of the config, or the socket that a service manager has made.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

/// Bytes of answers that the system keeps for each connection. Answers are small, and what a client does not read should cost little;
/// by default it may be 4 MiB.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}, which {said} names{}", help(.source))]
pub struct ListenError {
    pub address: SocketAddr,
    /// Who names it: a key and its place.
    pub said: String,
    /// What the system says.
    #[source]
    pub source: std::io::Error,
}

/// What to do when an address cannot be had.
fn help(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "; choose another port, or end what listens there",
        std::io::ErrorKind::AddrNotAvailable => "; choose an address that this machine has, or 0.0.0.0 for all of them",
        std::io::ErrorKind::PermissionDenied => {
            "; choose a port from 1024 on, or give the process CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// A listener, and whose it is.
#[derive(Clone)]
pub struct Listener {
    pub listener: Arc<TcpListener>,
    /// The service manager made it and holds it too.
    pub is_handed_over: bool,
}

impl Listener {
    /// One that is this process's alone.
    pub fn own(listener: TcpListener) -> Self {
        Self { listener: Arc::new(listener), is_handed_over: false }
    }
}

/// The listener that the service manager hands over (`LISTEN_FDS`), or one on an address.
pub async fn first_listener(address: SocketAddr, said: &str) -> Result<Listener, ListenError> {
    let refused = |source| ListenError { address, said: "LISTEN_FDS".to_owned(), source };
    let Some(handed) = listenfd::ListenFd::from_env().take_tcp_listener(0).map_err(refused)? else {
        return listen(address, said).await.map(Listener::own);
    };
    handed.set_nonblocking(true).map_err(refused)?;
    let listener = TcpListener::from_std(handed).map_err(refused)?;
    tracing::info!(listen = %local(&listener, address), "the service manager handed a listener over: `listen` is not used");
    Ok(Listener { listener: Arc::new(listener), is_handed_over: true })
}

/// Listens on an address; `said` tells who names it.
pub async fn listen(address: SocketAddr, said: &str) -> Result<TcpListener, ListenError> {
    let refused = |source| ListenError { address, said: said.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    // Its connections inherit this.
    if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the buffer for answers has its default size");
    }
    Ok(listener)
}

/// Where a listener really listens: its port may have been chosen by the system.
pub fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

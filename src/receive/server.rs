//! The accept loop under warp's filters.
//!
//! warp's own server has neither a header timeout nor a connection cap, so warp only filters here and hyper serves, HTTP/1 only.
//! CONNECT is refused before warp sees it: its path filters panic on a target that is an authority.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use warp::{Filter, Reply};

use super::{Answer, answer};

/// What a listener allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// For a request's head to arrive, and for a connection to stay idle.
    pub header_timeout: Duration,
    /// Open connections.
    pub connections_max: usize,
    /// Connections that are still busy this long after the stop are dropped.
    pub shutdown_grace: Duration,
}

/// Bytes of a request's head, and of the buffer it is read into.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// After a failed accept (no file descriptors left, most likely), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What ends a server.
#[derive(Clone, Debug)]
pub struct Stops {
    /// No connection is accepted any more; those that are open stay, and are served as ever.
    pub accepting: CancellationToken,
    /// Connections finish what they have begun.
    pub all: CancellationToken,
}

impl Stops {
    /// One end for both.
    pub fn at_once(stop: CancellationToken) -> Self {
        Self { accepting: stop.clone(), all: stop }
    }
}

/// Serves a filter until it is stopped, then lets connections finish what they have begun.
pub async fn serve<F>(listener: Arc<TcpListener>, filter: F, options: ServerOptions, stops: Stops)
where
    F: Filter<Extract = (Answer,), Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let graceful = GracefulShutdown::new();
    let service = warp::service(filter);
    let mut http1 = hyper::server::conn::http1::Builder::new();
    // hyper's own Date panics by a clock before 1970 or after 9999: see `date`.
    http1.auto_date_header(false);
    http1.timer(TokioTimer::new()).header_read_timeout(options.header_timeout).max_buf_size(HEAD_BYTES_MAX);
    while let Some((stream, peer, slot)) = next_connection(&listener, &slots, &stops.accepting).await {
        let warp = service.clone();
        let handler = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut warp = warp.clone();
            async move { Ok::<_, std::convert::Infallible>(handle(request, |request| warp.call(request)).await) }
        });
        // Answers are small and whole: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let connection = graceful.watch(http1.serve_connection(TokioIo::new(stream), handler));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
            drop(slot);
        });
    }
    drop(listener);
    stops.all.cancelled().await;
    if tokio::time::timeout(options.shutdown_grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still busy at the end of the grace and were dropped");
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// Waits for a free slot and then for a connection: beyond the cap, the kernel's queue waits.
async fn next_connection(listener: &TcpListener, slots: &Arc<Semaphore>, stop: &CancellationToken) -> Option<Accepted> {
    let accept = async {
        let slot = slots.clone().acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, slot)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accept => accepted,
        () = stop.cancelled() => None,
    }
}

async fn handle<C, F>(request: Request<Incoming>, call: C) -> warp::reply::Response
where
    C: FnOnce(Request<Incoming>) -> F,
    F: Future<Output = Result<warp::reply::Response, std::convert::Infallible>>,
{
    let mut response = if request.method() == Method::CONNECT {
        answer(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy").into_response()
    } else {
        match AssertUnwindSafe(async move { call(request).await }).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(impossible)) => match impossible {},
            Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "a bug: see the log").into_response(),
        }
    };
    if let Some(date) = date() {
        response.headers_mut().insert(http::header::DATE, date);
    }
    response
}

/// The time as a `Date` header says it, whatever the clock says.
fn date() -> Option<HeaderValue> {
    let now = crate::time::timestamp(crate::time::wall_ms());
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
    HeaderValue::try_from(text).ok()
}

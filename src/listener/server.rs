//! The accept loop under warp's filters.
//!
//! warp's own server has neither a header timeout nor a connection cap, so warp only filters here and hyper serves, HTTP/1 only.
//! CONNECT, and any other target that is an authority, is refused before warp sees it: its path filters panic on that.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use warp::{Filter, Reply};

use super::accept::{Accepted, Room, close, next_connection, taken_by_the_system};
use super::answered::Answered;
use super::connection::{Patience, Watched};
use super::drain::Drained;
use super::slots::{Peer, Slots};
use super::stream::Stream;
use super::tls::Tls;
use super::words::Worded;
use super::{HEAD_BYTES_MAX, answer};
use crate::time::Instant;

/// What a listener allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// For a request's head to arrive, for a connection to stay idle, and for an answer to be taken.
    pub header_timeout: Duration,
    /// For the rest of a body that nobody wants to arrive.
    pub body_timeout: Duration,
    /// Open connections, over all loops of a listener.
    pub connections_max: usize,
    /// Connections that are still busy this long after the stop are dropped.
    pub shutdown_grace: Duration,
    /// A sender that has said all and shuts its side down still waits for the answer. It looks like one that has gone: where this is not so,
    /// what works for one that has gone is dropped.
    pub has_half_closed: bool,
    /// Where all places are taken, a connection gives way to one that waits.
    pub connections_give_way: bool,
    /// File descriptors that its connections leave free, for the other listener, the journal and the destinations.
    pub descriptors_kept: u64,
}

/// At the stop, the first request of a connection that has just been accepted may still be on its way for so long: a round trip.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_millis(100);

/// Where connections go that a server accepts: what all its loops share.
#[derive(Clone, Debug)]
pub struct At {
    pub slots: Arc<Slots>,
    pub tls: Arc<Tls>,
}

/// What ends a server.
#[derive(Clone, Debug)]
pub struct Stops {
    /// The end is near: each answer ends its connection, so that senders come anew, to the next process if it is there.
    pub ending: CancellationToken,
    /// No connection is accepted any more; those that are open stay, and are served as ever.
    pub accepting: CancellationToken,
    /// Set before that where the listener itself ends. What the system has accepted for it is served then, and not reset.
    pub closes: Arc<AtomicBool>,
    /// Connections finish what they have begun.
    pub all: CancellationToken,
}

impl Stops {
    /// One end for both.
    pub fn at_once(stop: CancellationToken) -> Self {
        Self { ending: stop.clone(), accepting: stop.clone(), closes: Arc::new(AtomicBool::new(true)), all: stop }
    }
}

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// They finish what they have begun.
    Stopping,
    Over,
}

/// Waits until a phase has come. Of a server that is gone by a panic, connections finish what they have begun, and none is cut.
async fn come(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    if phases.wait_for(|now| *now >= phase).await.is_err() && phase > Phase::Stopping {
        std::future::pending::<()>().await;
    }
}

/// Serves until it is stopped, then lets connections finish what they have begun. `filter` gives what answers a connection, by where that
/// comes from.
pub async fn serve<F, R>(
    listener: Arc<TcpListener>,
    at: At,
    filter: impl Fn(Peer) -> F,
    options: ServerOptions,
    stops: Stops,
) where
    R: Reply,
    F: Filter<Extract = (R,), Error = Infallible> + Clone + Send + Sync + 'static,
    F::Future: Send,
{
    let (phase, phases) = watch::channel(Phase::Serving);
    let patience = Arc::new(Patience::new(options.header_timeout));
    let connections = TaskTracker::new();
    let At { slots, tls } = at;
    let mut http1 = http1::Builder::new();
    http1.timer(TokioTimer::new()).header_read_timeout(options.header_timeout);
    http1.max_header_size(HEAD_BYTES_MAX).max_buf_size(HEAD_BYTES_MAX);
    http1.half_close(options.has_half_closed);
    let body_timeout = options.body_timeout;
    let give_way = options.connections_give_way;
    let mut room = Room::new(options.connections_give_way, options.descriptors_kept);
    let begin = |(stream, peer, slot): Accepted| {
        let Peer { address, seat } = peer.clone();
        let warp = warp::service(filter(peer));
        let ending = stops.ending.clone();
        let is_asked = Arc::<AtomicBool>::default();
        let asked = is_asked.clone();
        let asking = seat.clone();
        let handler = hyper::service::service_fn(move |request: Request<Incoming>| {
            let mut warp = warp.clone();
            let ending = ending.clone();
            let in_hand = give_way.then(|| asking.in_hand());
            asked.store(true, Ordering::Relaxed);
            async move {
                let mut response = handle(request, body_timeout, |request| warp.call(request)).await;
                if ending.is_cancelled() {
                    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| Answered::new(body, in_hand)))
            }
        });
        let finishes = seat.finishes();
        // Answers are small and whole: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let stream = Watched::new(stream, patience.clone(), finishes.clone());
        let http1 = http1.clone();
        let tls = tls.clone();
        let phases = phases.clone();
        connections.spawn(async move {
            let serve = async {
                match tls.begin(stream).await {
                    Ok(stream) => {
                        let connection = http1.serve_connection(TokioIo::new(Worded::new(stream)), handler);
                        if let Err(error) = serve_one(connection, phases, &finishes, &is_asked).await {
                            tracing::debug!(peer = %address, %error, "connection ended");
                        }
                    }
                    Err(error) => tracing::debug!(peer = %address, %error, "connection ended before its first request"),
                }
            };
            tokio::select! {
                () = serve => {}
                () = seat.gives_way() => tracing::debug!(peer = %address, "connection ended: others wait"),
            }
            drop(slot);
        });
    };
    while let Some(accepted) = next_connection(&listener, &slots, &mut room, &stops.accepting).await {
        begin(accepted);
    }
    if stops.closes.load(Ordering::Acquire) {
        // Right behind one another: what comes between the two is reset.
        while let Some(accepted) = taken_by_the_system(&listener, &slots) {
            begin(accepted);
        }
        close(&listener);
    }
    drop(listener);
    stops.all.cancelled().await;
    patience.stop();
    phase.send_replace(Phase::Stopping);
    connections.close();
    if tokio::time::timeout(options.shutdown_grace, connections.wait()).await.is_err() {
        phase.send_replace(Phase::Over);
        tracing::warn!("connections were still busy at the end of the grace and were dropped");
    }
}

/// Serves a connection to its end. `is_asked`: a request has come by it.
async fn serve_one<S>(
    connection: http1::Connection<TokioIo<Worded<Stream>>, S>,
    mut phases: watch::Receiver<Phase>,
    finishes: &CancellationToken,
    is_asked: &AtomicBool,
) -> hyper::Result<()>
where
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = come(&mut phases, Phase::Stopping) => {}
        () = finishes.cancelled() => {}
    }
    // hyper would close it, and what its sender says in this moment would be lost.
    if !is_asked.load(Ordering::Relaxed)
        && let Ok(ended) = tokio::time::timeout(FIRST_REQUEST_WITHIN, connection.as_mut()).await
    {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection => ended,
        () = come(&mut phases, Phase::Over) => Ok(()),
    }
}

/// A request whose target names a host asks for that one, whatever its header says (RFC 9112, 3.2.2). One with several headers stays as
/// wrong as it is.
fn with_its_host<B>(mut request: Request<B>) -> Request<B> {
    let target = request.uri().authority().map(|target| target.as_str().rsplit('@').next().unwrap_or_default());
    let target = target.and_then(|target| HeaderValue::from_str(target).ok());
    if let Some(target) = target
        && request.headers().get_all(http::header::HOST).iter().count() < 2
    {
        request.headers_mut().insert(http::header::HOST, target);
    }
    request
}

async fn handle<C, F>(request: Request<Incoming>, body_timeout: Duration, call: C) -> warp::reply::Response
where
    C: FnOnce(Request<Drained>) -> F,
    F: Future<Output = Result<warp::reply::Response, Infallible>>,
{
    // Who asks first sends no body after a refusal.
    let asks_first = request.headers().contains_key(http::header::EXPECT);
    let now = Instant::now();
    let until = if asks_first { now } else { now + body_timeout };
    let request = request.map(|body| Drained::new(body, until));
    let request = with_its_host(request);
    if request.method() == Method::CONNECT {
        answer(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy").into_response()
    } else if request.uri().path_and_query().is_none() {
        answer(StatusCode::BAD_REQUEST, "the address of the request has no path").into_response()
    } else {
        match AssertUnwindSafe(async move { call(request).await }).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(impossible)) => match impossible {},
            Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "a bug: see the log").into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_server_that_is_gone_without_an_end_lets_connections_finish_and_cuts_none() {
        let (phase, phases) = watch::channel(Phase::Serving);
        let has_come = |phase| come(&mut phases.clone(), phase).now_or_never().is_some();
        assert!(!has_come(Phase::Stopping) && !has_come(Phase::Over));
        phase.send_replace(Phase::Stopping);
        assert!(has_come(Phase::Stopping) && !has_come(Phase::Over));
        drop(phase);
        assert!(has_come(Phase::Stopping), "they finish");
        assert!(!has_come(Phase::Over), "and are not cut");
        let (phase, phases) = watch::channel(Phase::Over);
        drop(phase);
        assert!(come(&mut phases.clone(), Phase::Over).now_or_never().is_some(), "an end that has come is one");
    }

    /// A server that works on one request for as long as it is told to.
    struct Working {
        asker: TcpStream,
        /// Ends the work.
        done: CancellationToken,
        /// Whether the work was dropped or has ended.
        gone: CancellationToken,
        stop: CancellationToken,
        served: tokio::task::JoinHandle<()>,
    }

    async fn working(has_half_closed: bool) -> Working {
        let options = ServerOptions {
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            connections_max: 1,
            shutdown_grace: Duration::ZERO,
            has_half_closed,
            connections_give_way: false,
            descriptors_kept: 0,
        };
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bound"));
        let address = listener.local_addr().expect("an address");
        let at = At { slots: Slots::new(1, prometheus_client::metrics::gauge::Gauge::default()), tls: Tls::new(None) };
        let [begun, done, gone, stop] = [(); 4].map(|()| CancellationToken::new());
        let (has_begun, is_done, has_gone) = (begun.clone(), done.clone(), gone.clone());
        let filter = move |_| {
            let (begun, done, gone) = (has_begun.clone(), is_done.clone(), has_gone.clone());
            warp::any().then(move || {
                let waits = gone.clone().drop_guard();
                let done = done.clone();
                begun.cancel();
                async move {
                    let _waits = waits;
                    done.cancelled().await;
                    warp::reply::Response::new("done".into())
                }
            })
        };
        let served = tokio::spawn(serve(listener, at, filter, options, Stops::at_once(stop.clone())));
        let mut asker = TcpStream::connect(address).await.expect("connected");
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut asker, request).await.expect("sent");
        begun.cancelled().await;
        assert!(!gone.is_cancelled());
        Working { asker, done, gone, stop, served }
    }

    #[tokio::test]
    async fn what_works_for_one_who_has_gone_is_dropped() {
        let Working { asker, gone, stop, served, .. } = working(false).await;
        drop(asker);
        gone.cancelled().await;
        stop.cancel();
        served.await.expect("no panic");
    }

    #[tokio::test]
    async fn where_senders_close_their_half_first_they_get_their_answer() {
        let Working { mut asker, done, gone, stop, served } = working(true).await;
        tokio::io::AsyncWriteExt::shutdown(&mut asker).await.expect("half of it is closed");
        // What the server reads of it, it has read by then: all run on this one thread.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(!gone.is_cancelled());
        done.cancel();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut asker, &mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        stop.cancel();
        served.await.expect("no panic");
    }
}

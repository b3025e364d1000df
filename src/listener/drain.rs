//! A body that nobody reads to its end is read and thrown away, within bounds.
//!
//! Many clients write their whole request before they read the answer. If the relay closed a connection with the rest of a body on
//! its way, they would see a reset in place of the answer. So the answer goes out at once, and the rest is taken off beside it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Bytes of a body that are thrown away before its connection is closed: sixteen times the largest body that is taken by default.
pub const DRAIN_BYTES_MAX: usize = 16 << 20;

/// The body of a request.
#[derive(Debug)]
pub(super) struct Drained {
    /// `None` when it was read to its end, or need not be.
    body: Option<Incoming>,
    until: Instant,
}

impl Drained {
    /// A body whose rest is thrown away when it is dropped, until then.
    pub(super) fn new(body: Incoming, until: Instant) -> Self {
        Self { body: Some(body), until }
    }
}

impl Body for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let until = self.until;
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if until > Instant::now()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = tokio::time::timeout_at(until, drain(body)).await;
            });
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut drained = 0;
    while drained <= DRAIN_BYTES_MAX {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = next else { return };
        drained += frame.data_ref().map_or(0, Bytes::len);
    }
}

//! The body of an answer: until hyper has taken all of it for the socket, its request is in hand.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};

use super::slots::InHand;

/// A body as it is.
#[derive(Debug)]
pub(super) struct Answered<B> {
    body: B,
    /// Dropped with it; none, where nobody asks.
    _in_hand: Option<InHand>,
}

impl<B> Answered<B> {
    /// The body of an answer to a request that is in hand.
    pub(super) fn new(body: B, in_hand: Option<InHand>) -> Self {
        Self { body, _in_hand: in_hand }
    }
}

impl<B: Body + Unpin> Body for Answered<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

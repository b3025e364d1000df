//! A connection's stream, which ends when the other side makes no progress, and closes so that the last answer arrives.
//!
//! hyper has a timeout for the head of a request and none for the writing of an answer: a client that never reads would hold its
//! connection for ever. Nothing is timed, and nothing allocated, while both sides go on: the timer is made when a write is blocked.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

/// One answer is taken whole within this time, or within `header_timeout` if that is longer. A client that takes a byte now and then
/// makes progress and would hold the connection for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long a closed connection is read on: what lies unread when it is dropped becomes a reset, which takes the last answer with it.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes read and thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// After the stop, who still sends a request or takes an answer has this long.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Patience {
    /// A write that is blocked for so long ends the connection.
    blocked_max: Duration,
    stop_at: OnceLock<Instant>,
}

impl Patience {
    pub(super) fn new(blocked_max: Duration) -> Self {
        Self { blocked_max, stop_at: OnceLock::new() }
    }

    /// Who makes the stop wait has a little time from now on.
    pub(super) fn stop(&self) {
        let _ = self.stop_at.set(Instant::now() + STOP_WITHIN);
    }
}

/// A stream that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    patience: Arc<Patience>,
    /// Another connection waits for the place of this one.
    finishes: CancellationToken,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when no byte of an answer could be written.
    blocked_since: Option<Instant>,
    /// Since when an answer is being written that did not go out at once.
    answer_since: Option<Instant>,
    /// The last read found nothing.
    is_read_blocked: bool,
    /// The other side has sent all that it will send.
    is_read_to_end: bool,
    /// Until when a closed connection is read on, and how many bytes came.
    lingering: Option<(Instant, usize)>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, patience: Arc<Patience>, finishes: CancellationToken) -> Self {
        Self {
            stream,
            patience,
            finishes,
            timer: None,
            blocked_since: None,
            answer_since: None,
            is_read_blocked: false,
            is_read_to_end: false,
            lingering: None,
        }
    }

    /// The first byte that the other side sends, which is still to be read then.
    pub(super) async fn first_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        std::future::poll_fn(|cx| {
            let peeked = self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte));
            if peeked.is_pending()
                && let Some(stopped) = self.patience.stop_at.get().copied()
                && self.has_come(cx, stopped)
            {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            peeked
        })
        .await
        .and_then(|count| if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(byte[0]) })
    }

    /// Whether a moment has come; if not, the task is woken when it comes.
    fn has_come(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    /// A write found no room: waits for some, for as long as the other side may take.
    fn wait_for_room<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let now = Instant::now();
        let max = self.patience.blocked_max;
        let blocked = *self.blocked_since.get_or_insert(now) + max;
        let answered = *self.answer_since.get_or_insert(now) + max.max(ANSWER_WITHIN);
        let stopped = self.patience.stop_at.get().copied().unwrap_or(blocked);
        if self.has_come(cx, blocked.min(answered).min(stopped)) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer is not read")));
        }
        Poll::Pending
    }

    fn has_written<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        // After the stop a blocked read may wait for the same timer.
        if self.blocked_since.take().is_some() && self.patience.stop_at.get().is_none() {
            self.timer = None;
        }
        Poll::Ready(result)
    }

    /// Reads on, and throws away what comes, until the other side closes or the time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((until, mut came)) = self.lingering else { return Poll::Ready(()) };
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && came < LINGER_BYTES_MAX => {
                    came += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.lingering = Some((until, came));
        let until = self.patience.stop_at.get().map_or(until, |stopped| until.min(*stopped));
        if self.has_come(cx, until) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.is_read_blocked = read.is_pending();
        if read.is_ready() {
            self.is_read_to_end = buffer.filled().len() == before && buffer.remaining() > 0;
        } else if let Some(stopped) = self.patience.stop_at.get().copied()
            && self.has_come(cx, stopped)
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the relay stops")));
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(written) => self.has_written(written),
            Poll::Pending => self.wait_for_room(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = parts {
            return self.poll_write(cx, bytes);
        }
        match Pin::new(&mut self.stream).poll_write_vectored(cx, parts) {
            Poll::Ready(written) => self.has_written(written),
            Poll::Pending => self.wait_for_room(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when all that it has to say is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.answer_since = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            // Nothing has come since its last answer, and others wait for it to be over.
            let is_idle =
                self.is_read_blocked && (self.patience.stop_at.get().is_some() || self.finishes.is_cancelled());
            if self.is_read_to_end || is_idle {
                return Poll::Ready(Ok(()));
            }
            self.lingering = Some((Instant::now() + LINGER, 0));
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_by_single_bytes_ends_after_a_minute_and_one_that_is_not_taken_before() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let step = Duration::from_millis(500);
        for (takes_some, seconds) in [(true, 60), (false, 1)] {
            let parts = Arc::new(Patience::new(Duration::from_secs(1)));
            let other = TcpStream::connect(address).await.expect("connected");
            let mut watched = Watched::new(other, parts, CancellationToken::new());
            let start = Instant::now();
            while watched.wait_for_room::<()>(&mut cx).is_pending() {
                if takes_some {
                    let _ = watched.has_written(Ok(()));
                }
                tokio::time::advance(step).await;
            }
            assert_eq!(start.elapsed().as_secs(), seconds, "by the clock of the test; some is taken: {takes_some}");
        }
    }
}

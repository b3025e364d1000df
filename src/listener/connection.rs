//! A connection's stream, which ends when the other side makes no progress, and closes so that the last answer arrives.
//!
//! hyper has a timeout for the head of a request and none for the writing of an answer: a client that never reads would hold its
//! connection for ever. Nothing is timed, and nothing allocated, while both sides go on: the timer is made when a write is blocked.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::HEAD_BYTES_MAX;

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
    words: Option<Words>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, patience: Arc<Patience>) -> Self {
        Self {
            stream,
            patience,
            timer: None,
            blocked_since: None,
            answer_since: None,
            is_read_blocked: false,
            is_read_to_end: false,
            lingering: None,
            words: None,
        }
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

    /// Writes what goes out in place of an answer without a word. Returns how many bytes of that it stands for.
    fn poll_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(words) = &mut self.words {
            match Pin::new(&mut self.stream).poll_write(cx, &words.bytes[words.written..]) {
                Poll::Ready(Ok(written @ 1..)) => {
                    words.written += written;
                    if words.written == words.bytes.len() {
                        let stands_for = words.stands_for;
                        self.words = None;
                        return self.has_written(Ok(stands_for));
                    }
                }
                Poll::Ready(Ok(_)) => return self.has_written(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return self.has_written(Err(error)),
                Poll::Pending => return self.wait_for_room(cx),
            }
        }
        Poll::Ready(Ok(0))
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
        if self.words.is_none() {
            self.words = Words::instead_of(bytes);
        }
        if self.words.is_some() {
            return self.poll_words(cx);
        }
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
            let is_idle_at_the_stop = self.is_read_blocked && self.patience.stop_at.get().is_some();
            if self.is_read_to_end || is_idle_at_the_stop {
                return Poll::Ready(Ok(()));
            }
            self.lingering = Some((Instant::now() + LINGER, 0));
        }
        self.poll_linger(cx).map(Ok)
    }
}

/// What hyper cannot read it answers itself, without a word. This is the same answer with a sentence.
#[derive(Debug)]
struct Words {
    bytes: Vec<u8>,
    written: usize,
    stands_for: usize,
}

impl Words {
    fn instead_of(answer: &[u8]) -> Option<Self> {
        const EMPTY: &[u8] = b"content-length: 0\r\n";
        // Ours are never empty. The first comparison is all that is done for an answer of ours.
        let status = answer.strip_prefix(b"HTTP/1.1 4")?.get(..2)?;
        let why = match status {
            b"00" => "this is not an HTTP/1.1 request".to_owned(),
            b"14" => "the address of the request is too long".to_owned(),
            b"31" => format!("the head of a request has at most {HEAD_BYTES_MAX} bytes and 100 headers"),
            _ => return None,
        };
        let head = answer.strip_suffix(b"\r\n\r\n")?;
        let at = answer.windows(EMPTY.len()).position(|window| window == EMPTY)?;
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return None;
        }
        let told = super::answer(StatusCode::BAD_REQUEST, &why).into_body();
        let described = format!("content-type: application/json\r\ncontent-length: {}\r\n", told.len());
        let bytes = [&answer[..at], described.as_bytes(), &answer[at + EMPTY.len()..], &told].concat();
        Some(Self { bytes, written: 0, stands_for: answer.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, expected: Option<&str>) {
        let words = Words::instead_of(answer.as_bytes()).map(|words| String::from_utf8(words.bytes).expect("text"));
        assert_eq!(words.as_deref(), expected, "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_by_single_bytes_ends_after_a_minute_and_one_that_is_not_taken_before() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let step = Duration::from_millis(500);
        for (takes_some, seconds) in [(true, 60), (false, 1)] {
            let parts = Arc::new(Patience::new(Duration::from_secs(1)));
            let other = TcpStream::connect(address).await.expect("connected");
            let mut watched = Watched::new(other, parts);
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

    #[test]
    fn an_answer_without_a_word_gets_one_and_no_other_does() {
        check(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
            Some(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 44\r\ndate: x\r\n\r\n\
                 {\"error\":\"this is not an HTTP/1.1 request\"}\n",
            ),
        );
        check("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}", None);
        check("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None);
        check("HTTP/1.1 400 Bad Request\r\n\r\nHTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", None);
    }
}

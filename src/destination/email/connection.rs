//! A connection to a mail server: encrypted as it must be, with bounds on what is read.
//!
//! The library that speaks SMTP keeps what it has read when TLS begins, so answers that somebody on the way appended in the clear would be
//! taken for the server's (CVE-2011-0411, <https://www.kb.cert.org/vuls/id/555316>); it reads a line without an end into memory, and parses
//! all of an answer again for each of its lines. So STARTTLS is spoken here, byte by byte, and every answer passes [`Replies`].

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// Read from the connection at once.
const READ_BYTES: usize = 4 << 10;
/// RFC 5321 allows 512.
const LINE_BYTES_MAX: usize = 2 << 10;
/// Lines of one answer: EHLO is answered with some twenty.
const LINES_MAX: usize = 100;
/// What begins a connection for the library, where the server's own greeting was read here.
const GREETING: &[u8] = b"220 ready\r\n";

/// How an end of the connection is told where an answer was waited for: all that was said had left.
const END_IN_PLACE_OF_AN_ANSWER: ErrorKind = ErrorKind::UnexpectedEof;
/// And where something was still being said: the server cannot have all of it.
const END_BEFORE_ALL_WAS_SAID: ErrorKind = ErrorKind::BrokenPipe;

/// Whether an error is the end of a connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Whether an end, as [`Replies`] tells it, came before all was said.
pub(super) fn is_before_all_was_said(end: &io::Error) -> bool {
    end.kind() == END_BEFORE_ALL_WAS_SAID
}

/// An error as it is, and the end of a connection as it is told.
fn told_as(end: ErrorKind) -> impl Fn(io::Error) -> io::Error {
    move |error| if is_end(&error) { end.into() } else { error }
}

/// An answer of a server.
pub(super) struct Reply {
    pub code: u16,
    /// The texts of its lines.
    pub lines: Vec<String>,
}

/// Says a line, unless it is empty, and reads the answer to it: not a byte more.
pub(super) async fn exchange(stream: &mut TcpStream, line: &str) -> io::Result<Reply> {
    if !line.is_empty() {
        stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    }
    let mut lines = Vec::new();
    loop {
        let mut read = Vec::new();
        while read.last() != Some(&b'\n') {
            if read.len() >= LINE_BYTES_MAX || lines.len() >= LINES_MAX {
                return Err(too_long());
            }
            read.push(stream.read_u8().await?);
        }
        let read = as_usual(&read);
        let text = String::from_utf8_lossy(&read);
        let code = text.get(..3).and_then(|code| code.parse().ok());
        let Some(code) = code else { return Err(io::Error::other("its answer is no answer of a mail server")) };
        lines.push(text.get(4..).unwrap_or_default().trim().to_owned());
        if text.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, lines });
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other(format!("its answer is longer than {LINES_MAX} lines of {LINE_BYTES_MAX} bytes"))
}

/// A line as the library reads it: a code without a text is one, a bare line end ends it too, and only the code of what is not ASCII counts.
fn as_usual(line: &[u8]) -> Vec<u8> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut usual: Vec<u8> = text.iter().copied().map(plain).collect();
    if usual.len() == 3 {
        usual.push(b' ');
    }
    usual.extend_from_slice(b"\r\n");
    usual
}

/// A text as it looks when a server has repeated it.
pub(super) fn as_repeated(text: &str) -> String {
    text.bytes().map(plain).map(char::from).collect()
}

fn plain(byte: u8) -> u8 {
    if (b' '..=b'~').contains(&byte) { byte } else { b'?' }
}

/// A stream whose answers are read line by line, within bounds.
#[derive(Debug)]
pub(super) struct Replies<S> {
    stream: S,
    peer: SocketAddr,
    read: Vec<u8>,
    /// The line that is given out, and how much of it was.
    line: Vec<u8>,
    given: usize,
    /// Lines since something was said last.
    lines: usize,
}

impl<S> Replies<S> {
    /// One on which nothing was read.
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        Self { stream, peer, read: Vec::new(), line: Vec::new(), given: 0, lines: 0 }
    }

    /// One whose greeting was read before it was encrypted.
    pub(super) fn greeted(stream: S, peer: SocketAddr) -> Self {
        Self { line: GREETING.to_vec(), ..Self::new(stream, peer) }
    }

    /// Takes the next line out of what was read.
    fn take_line(&mut self) -> io::Result<bool> {
        let Some(end) = self.read.iter().position(|byte| *byte == b'\n') else {
            return if self.read.len() < LINE_BYTES_MAX { Ok(false) } else { Err(too_long()) };
        };
        self.lines += 1;
        if end > LINE_BYTES_MAX || self.lines > LINES_MAX {
            return Err(too_long());
        }
        let line: Vec<u8> = self.read.drain(..=end).collect();
        self.line = as_usual(&line);
        self.given = 0;
        Ok(true)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replies<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.given == this.line.len() {
            if this.take_line()? {
                break;
            }
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer));
            read.map_err(told_as(END_IN_PLACE_OF_AN_ANSWER))?;
            // The library reads where an answer must come, and takes an end for one that is not understood.
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(END_IN_PLACE_OF_AN_ANSWER.into()));
            }
            this.read.extend_from_slice(buffer.filled());
        }
        let left = &this.line[this.given..];
        let count = left.len().min(into.remaining());
        into.put_slice(&left[..count]);
        this.given += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replies<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.lines = 0;
        Pin::new(&mut this.stream).poll_write(context, bytes).map_err(told_as(END_BEFORE_ALL_WAS_SAID))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context).map_err(told_as(END_BEFORE_ALL_WAS_SAID))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Replies<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_by_its_code_whatever_its_text_and_its_end() {
        let usual = |line: &[u8]| String::from_utf8(as_usual(line)).expect("ASCII");
        assert_eq!(usual(b"250 ok\r\n"), "250 ok\r\n");
        assert_eq!(usual(b"250\r\n"), "250 \r\n");
        assert_eq!(usual(b"250 ok\n"), "250 ok\r\n");
        assert_eq!(usual(b"250-f\xfcr\r\n"), "250-f?r\r\n");
        assert_eq!(usual(b"250 \x1b[1m\r\n"), "250 ?[1m\r\n");
    }

    /// Reads all of it.
    async fn read(bytes: &[u8]) -> io::Result<usize> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 25));
        let mut all = Vec::new();
        match Replies::new(bytes, peer).read_to_end(&mut all).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(all.len()),
            read => read,
        }
    }

    #[tokio::test]
    async fn an_answer_has_a_hundred_lines_of_two_kilobytes_and_no_more() {
        assert_eq!(read(&b"250-z\r\n".repeat(100)).await.expect("read"), 700);
        assert!(read(&b"250-z\r\n".repeat(101)).await.is_err());
        assert!(read(&[b"250 ".as_slice(), &vec![b'x'; 1000], b"\r\n"].concat()).await.is_ok());
        assert!(read(&[b"250 ".as_slice(), &vec![b'x'; 5000]].concat()).await.is_err());
    }
}

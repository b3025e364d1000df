//! A connection that gives no more than one line at a time, for STARTTLS.
//!
//! Whoever sits between could append answers of his own to the one that says that TLS may begin. A client that has them read already, in
//! the clear, takes them for the server's later. lettre keeps its buffer across the upgrade, so nothing but the line itself may get into
//! it; what comes behind meets the TLS handshake, which it is not part of, and the connection fails. (The flaw is known as CVE-2011-0411:
//! <https://www.kb.cert.org/vuls/id/555316>.)

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Read from the connection at once; a line of SMTP has at most 512 bytes.
const READ_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct LineStream {
    stream: TcpStream,
    read: Vec<u8>,
    /// How much of it has been given.
    given: usize,
}

impl LineStream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new(), given: 0 }
    }
}

/// How many bytes from the front go to a reader with room for so many: up to the end of the first line.
fn part(bytes: &[u8], room: usize) -> usize {
    let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    line.min(room)
}

impl AsyncRead for LineStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.given == this.read.len() {
            this.given = 0;
            this.read.resize(READ_BYTES, 0);
            let mut buffer = ReadBuf::new(&mut this.read);
            let read = Pin::new(&mut this.stream).poll_read(context, &mut buffer);
            let filled = buffer.filled().len();
            this.read.truncate(if matches!(read, Poll::Ready(Ok(()))) { filled } else { 0 });
            ready!(read)?;
        }
        let left = &this.read[this.given..];
        let count = part(left, into.remaining());
        into.put_slice(&left[..count]);
        this.given += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for LineStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_its_line_and_where_there_is_no_more_room() {
        assert_eq!(part(b"220 go\r\n250 mine\r\n", 100), 8);
        assert_eq!(part(b"220 go\r\n", 3), 3);
        assert_eq!(part(b"220", 100), 3);
        assert_eq!(part(b"", 100), 0);
    }
}

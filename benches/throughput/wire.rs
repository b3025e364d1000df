//! HTTP, as little of it as will do: messages with a Content-Length, over and over on one connection.

use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What receivers and the bare loop answer to everything. Slack's word for it, so that any destination is content.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Room for a message whose length is not known yet.
const READ_BYTES: usize = 16 << 10;

/// A connection that messages come in by.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// How much of the buffer is the message that was shown last.
    shown: usize,
}

/// One message, where it was read to.
pub struct Message<'b> {
    /// All of it.
    pub whole: &'b [u8],
    /// What comes after the head.
    pub body: &'b [u8],
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        // Without it a small answer may wait for the other side's next word.
        stream.set_nodelay(true).expect("a socket has it");
        Self { stream, buffer: Vec::new(), shown: 0 }
    }

    pub async fn open(address: std::net::SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.expect("the other side listens"))
    }

    /// Reads the next message. `None` when the other side is done.
    pub async fn next(&mut self) -> Option<Message<'_>> {
        self.buffer.drain(..self.shown);
        self.shown = 0;
        let body = loop {
            match body_of(&self.buffer) {
                Some(body) if body.end <= self.buffer.len() => break body,
                Some(body) => self.buffer.reserve(body.end - self.buffer.len()),
                None => self.buffer.reserve(READ_BYTES),
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        };
        self.shown = body.end;
        Some(Message { whole: &self.buffer[..body.end], body: &self.buffer[body] })
    }

    /// Writes bytes; false when the other side is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }
}

/// Where the body of the first message in a buffer lies, all of it there or not. `None` until its head is whole.
pub fn body_of(buffer: &[u8]) -> Option<Range<usize>> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head..head + length.unwrap_or(0))
}

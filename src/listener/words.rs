//! What hyper cannot read it answers itself, without a word: here the same answer gets a sentence, on its way to whatever carries it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::HEAD_BYTES_MAX;

/// A stream whose answers all say something.
#[derive(Debug)]
pub(super) struct Worded<S> {
    stream: S,
    words: Option<Words>,
}

impl<S: AsyncWrite + Unpin> Worded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, words: None }
    }

    /// Writes what goes out in place of an answer without a word. Returns how many bytes of that it stands for.
    fn poll_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some(words) = &mut self.words {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &words.bytes[words.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            words.written += written;
            if words.written == words.bytes.len() {
                let stands_for = words.stands_for;
                self.words = None;
                return Poll::Ready(Ok(stands_for));
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.words.is_none() {
            self.words = Words::instead_of(bytes);
        }
        if self.words.is_some() {
            return self.poll_words(cx);
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = parts {
            return self.poll_write(cx, bytes);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// An answer with a sentence, in place of one without.
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

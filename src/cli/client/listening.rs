//! What a relay says by itself: the frames of `/api/stream`, as `tail` reads them.

use serde_json::Value;

use crate::cli::{FAILED, Failure};
use crate::destination::client::Streaming;

/// Bytes of a frame. An event that ten thousand rules match names them all.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Frame {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

/// Why no stream opens.
pub(in crate::cli) enum NoStream {
    /// The relay refuses it, and would do so again.
    Refused(Failure),
    /// There is no relay, or it cannot now: later there may be one.
    Away(Failure),
}

impl NoStream {
    pub(in crate::cli) fn failure(self) -> Failure {
        let (Self::Refused(failure) | Self::Away(failure)) = self;
        failure
    }
}

/// An open stream.
pub(in crate::cli) struct Listening {
    pieces: Streaming,
    frames: Frames,
}

impl Listening {
    pub(super) fn to(pieces: Streaming) -> Self {
        Self { pieces, frames: Frames::default() }
    }

    /// The next frame; none, when the relay has ended the stream.
    pub(in crate::cli) async fn next(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(Some(frame));
            }
            let piece = self.pieces.next().await;
            match piece.map_err(|error| Failure::new(FAILED, format!("the stream broke off: {}", error.what)))? {
                Some(piece) => self.frames.came.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}

/// Takes frames out of what came.
#[derive(Debug, Default)]
struct Frames {
    came: Vec<u8>,
    /// Up to here there is no end of a frame: a large one comes in many pieces, and is looked through once.
    looked_at: usize,
}

impl Frames {
    /// The next frame that is whole. What has no data is none: a comment, or what says when to come back.
    fn next(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            let Some(end) = self.came[self.looked_at..].windows(2).position(|pair| pair == b"\n\n") else {
                if self.came.len() > FRAME_BYTES_MAX {
                    return Err(Failure::new(FAILED, "what the relay says has no end"));
                }
                // The last byte may be the first half of an end.
                self.looked_at = self.came.len().saturating_sub(1);
                return Ok(None);
            };
            let whole: Vec<u8> = self.came.drain(..self.looked_at + end + 2).collect();
            self.looked_at = 0;
            let text = String::from_utf8_lossy(&whole);
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
            let data = field("data: ");
            if data.is_empty() {
                continue;
            }
            let data = serde_json::from_str(&data);
            let data =
                data.map_err(|error| Failure::new(FAILED, format!("what the relay says is not JSON: {error}")))?;
            return Ok(Some(Frame { id: field("id: "), kind: field("event: "), data }));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_come_out_as_they_are_whole_whatever_the_pieces() {
        let text =
            b"retry: 2000\n\nid: 1-2\nevent: hello\ndata: {\"a\":1}\n\n: \n\nid: 1-3\nevent: event\ndata: {}\n\n";
        let mut frames = Frames::default();
        let mut found = Vec::new();
        for byte in text {
            frames.came.push(*byte);
            found.extend(frames.next().expect("a frame"));
            assert_eq!(frames.looked_at, frames.came.len().saturating_sub(1), "what was looked through is known");
        }
        let frame = |id: &str, kind: &str, data| Frame { id: id.to_owned(), kind: kind.to_owned(), data };
        assert_eq!(found, [frame("1-2", "hello", json!({ "a": 1 })), frame("1-3", "event", json!({}))]);
        assert!(frames.came.is_empty());
    }

    #[test]
    fn what_has_no_end_or_is_no_json_is_a_failure() {
        let mut frames = Frames { came: vec![b'x'; FRAME_BYTES_MAX], looked_at: 0 };
        assert!(frames.next().expect("more may come").is_none());
        frames.came.push(b'x');
        assert!(frames.next().is_err());
        assert!(Frames { came: b"data: {\n\n".to_vec(), looked_at: 0 }.next().is_err());
    }
}

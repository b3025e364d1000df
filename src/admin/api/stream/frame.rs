//! Frames as an event stream has them (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::fmt::Display;

use bytes::Bytes;

use super::super::parameters::whole;

/// Where a frame stands: which run of the stream, and the how many-th frame of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameId {
    /// When the stream began to be kept, unix milliseconds: another one after each start of the relay.
    pub epoch: u64,
    pub number: u64,
}

impl FrameId {
    /// Reads what [`frame`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.split_once('-')?;
        Some(Self { epoch: whole(epoch)?, number: whole(number)? })
    }
}

impl Display for FrameId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// One frame; its data is JSON, which has no line breaks outside its escapes, so it is one line.
pub(super) fn frame(id: FrameId, kind: &str, data: impl Display) -> Bytes {
    Bytes::from(format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_reads_back_and_what_is_none_does_not() {
        let id = FrameId { epoch: 1_700_000_000_000, number: 7 };
        assert_eq!(FrameId::parse(&id.to_string()), Some(id));
        for wrong in ["", "-", "7", "7-", "-7", "a-7", "7-a", "+1-7", "1-7-", "1- 7", "1-99999999999999999999"] {
            assert_eq!(FrameId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_frame_is_as_many_lines_as_it_has_fields_whatever_is_in_it() {
        let made = frame(FrameId { epoch: 1, number: 2 }, "event", json!({ "who": "a\n\nevent: x\r" }));
        assert_eq!(&made[..], b"id: 1-2\nevent: event\ndata: {\"who\":\"a\\n\\nevent: x\\r\"}\n\n");
    }
}

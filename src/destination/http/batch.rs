//! `batch:`, one request that carries several events.
//!
//! * `settings`: its keys. `settled`: what an answer means for each event.
//!
//! The events are what single requests would have carried, put together as an array or as lines. What cannot be made of an event is the trouble of
//! that event alone: the others go without it.

mod settings;
mod settled;

use bytes::Bytes;
use http::header::HeaderValue;

pub(super) use self::settings::{BATCH, read};
pub(super) use self::settled::of_each;
use crate::destination::envelope::enveloped;
use crate::destination::{Batching, Delivery, Outcome, Reason, Unsent};
use crate::event::{EventId, minify};

/// The bytes of one request, but for an event that is larger by itself. Partners take half a megabyte or more
/// (<https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#batch>), and so much lies in memory for each request in flight.
const BYTES_MAX: usize = 500_000;

/// How events are put together.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub batching: Batching,
    form: Form,
    has_envelope: bool,
    is_text: bool,
}

#[derive(Clone, Debug)]
enum Form {
    /// What stands before the events and behind them.
    Array {
        head: String,
        tail: &'static str,
    },
    Lines,
}

/// A request that grows: the body, and which of some deliveries are in it.
#[derive(Debug)]
struct Together {
    members: Vec<Bytes>,
    /// So many bytes more have room in it.
    room: usize,
    places: Vec<usize>,
}

impl Batch {
    /// What such a body is, where that is not what the body of one event is.
    pub fn content_type(&self) -> Option<HeaderValue> {
        let is_json_lines = matches!(self.form, Form::Lines) && !self.is_text;
        is_json_lines.then(|| HeaderValue::from_static("application/x-ndjson"))
    }

    /// An event as it stands among others, by the body that it would have had alone.
    pub fn member(&self, delivery: &Delivery, body: Bytes) -> Result<Bytes, Unsent> {
        if self.has_envelope {
            return Ok(enveloped(delivery, &minify(&body)).into());
        }
        match &self.form {
            Form::Array { .. } => Ok(body),
            Form::Lines if self.is_text => line(body),
            Form::Lines => Ok(minify(&body).into()),
        }
    }

    /// The body of a request.
    pub fn body(&self, members: &[Bytes]) -> Bytes {
        let all: usize = members.iter().map(|member| member.len() + 1).sum();
        let (head, tail) = match &self.form {
            Form::Array { head, tail } => (head.as_str(), *tail),
            Form::Lines => ("", ""),
        };
        let mut body = Vec::with_capacity(head.len() + all + tail.len());
        body.extend_from_slice(head.as_bytes());
        for (at, member) in members.iter().enumerate() {
            match &self.form {
                Form::Array { .. } if at > 0 => body.push(b','),
                _ => {}
            }
            body.extend_from_slice(member);
            if matches!(self.form, Form::Lines) {
                body.push(b'\n');
            }
        }
        body.extend_from_slice(tail.as_bytes());
        body.into()
    }

    /// So many bytes of a request are the events', with what stands between them.
    fn room(&self) -> usize {
        let frame = match &self.form {
            Form::Array { head, tail } => head.len() + tail.len() - 1,
            Form::Lines => 0,
        };
        BYTES_MAX.saturating_sub(frame)
    }

    /// The events of one request, of some deliveries: what is made of each of them. `outcomes` are set for those that are not in it.
    pub fn together(
        &self,
        made: impl Iterator<Item = Result<Bytes, Unsent>>,
        outcomes: &mut [Outcome],
    ) -> (Vec<usize>, Vec<Bytes>) {
        let room = self.room();
        let mut together = Together { members: Vec::new(), room, places: Vec::new() };
        let mut left_out = Vec::new();
        for (place, member) in made.enumerate() {
            match member {
                Ok(member) if together.has_room_for(&member) => together.push(place, member),
                Ok(member) => left_out.push((place, taken(&member))),
                Err(unsent) => outcomes[place] = unsent.into(),
            }
        }
        // As many as the next has room for, so that not all of them are made again for each request.
        let goes_alone = |bytes: usize| bytes > room;
        let mut rest = room;
        let sizes = left_out.iter().map(|(_, bytes)| *bytes).filter(|bytes| !goes_alone(*bytes));
        let next = sizes.take_while(|bytes| rest.checked_sub(*bytes).inspect(|left| rest = *left).is_some()).count();
        for (place, bytes) in left_out {
            let reason = Reason::local("the request had no room for it, and it goes with the next");
            let at_most = if goes_alone(bytes) { 1 } else { next };
            outcomes[place] = Outcome::Apart { reason, at_most, was_sent: false };
        }
        (together.places, together.members)
    }
}

impl Together {
    fn has_room_for(&self, member: &Bytes) -> bool {
        self.members.is_empty() || taken(member) <= self.room
    }

    fn push(&mut self, place: usize, member: Bytes) {
        self.room = self.room.saturating_sub(taken(&member));
        self.members.push(member);
        self.places.push(place);
    }
}

/// So many bytes a member takes, with what stands behind it: a line break, or a comma that the last has not.
fn taken(member: &Bytes) -> usize {
    member.len() + 1
}

/// What several are known by together: the same for the same ones in whatever order, and no event's.
pub(super) fn id(ids: impl Iterator<Item = EventId>) -> String {
    let mut ids: Vec<_> = ids.collect();
    if let [one] = ids[..] {
        return one.to_string();
    }
    ids.sort_unstable();
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(b"batch");
    ids.iter().for_each(|id| context.update(id.to_string().as_bytes()));
    let digest = context.finish();
    let (bytes, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
    uuid::Builder::from_custom_bytes(*bytes).into_uuid().hyphenated().to_string()
}

/// A text as one line.
fn line(text: Bytes) -> Result<Bytes, Unsent> {
    let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
    // A template begins with one where its first line says nothing.
    let from = text.iter().take_while(|byte| is_break(byte)).count();
    let text = text.slice_ref(text[from..].trim_ascii_end());
    if text.is_empty() {
        return Err(Unsent::Skipped("the text is empty, and an empty line is no event".to_owned()));
    }
    if text.iter().any(is_break) {
        let why = "the text has a line break, and each event of a request is one line";
        return Err(Unsent::failed(why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;

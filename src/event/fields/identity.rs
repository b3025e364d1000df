//! What tells one event from another, where the same may come twice.
//!
//! Vero sends no id of an event. Where the body has a `message_id`, the time of its type and a `user.id`, these with the type are it, and what may differ
//! between two clicks within a second or two conversions of one message: `event`, `link` and `url`, as they stand there. Whatever else is in the body, such as
//! the order of its keys, is not. Any other body is told by all of its bytes: without a message, a time or a user, two that are not the same to the letter are two events.

use super::{FieldSet, FieldSetBuilder, Slot};
use crate::event::path::FieldPath;
use crate::event::print::{Print, Printing};
use crate::event::value::Value;

/// Where the parts lie.
#[derive(Debug)]
pub(super) struct Parts {
    message_id: super::Field,
    user_id: super::Field,
    /// Taken as they stand.
    others: [Slot; 3],
    /// What holds the parts: of a list of such, nobody knows whose they are.
    around: [Slot; 2],
}

impl FieldSetBuilder {
    /// Has each event told from others: [`Event::identity`](super::Event::identity).
    pub fn add_identity(&mut self) {
        self.add_times();
        let mut field = |text: &str| {
            let id = self.add(&FieldPath::parse(text).expect("a name is a path"));
            self.set.field(id)
        };
        let [message_id, user_id] = ["message_id", "user.id"].map(&mut field);
        let others = ["event", "link", "url"].map(|text| field(text).slot);
        let around = ["campaign", "user"].map(|text| field(text).slot);
        self.set.identity = Some(Parts { message_id, user_id, others, around });
    }
}

impl Parts {
    /// The print of an event of a source, of what was picked out of its body.
    pub(super) fn print(&self, set: &FieldSet, event: &Read<'_>) -> Print {
        // Half a surrogate is no character, and is read like any other half.
        let is_whole = |text: &String| !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER);
        let text = |raw: Option<&str>| Some(Value::from_raw(raw?).text()?.to_owned()).filter(is_whole);
        let whole = || Printing::of("body").text(event.source).text(event.body).finish();
        let time = set.times.iter().find(|(name, _)| *name == event.event_type);
        let time = time.and_then(|(_, slot)| text(event.raw(*slot)));
        let is_list = |slot: &Slot| event.raw(*slot).is_some_and(|raw| raw.starts_with('['));
        let parts = (text(event.of(self.message_id)), time, text(event.of(self.user_id)));
        let (Some(message_id), Some(time), Some(user_id)) = parts else { return whole() };
        if self.around.iter().any(is_list) {
            return whole();
        }
        let printing = Printing::of("message").text(event.source).text(event.event_type).text(message_id).text(time);
        let printing = printing.text(user_id);
        self.others.iter().fold(printing, |printing, slot| printing.perhaps(event.raw(*slot))).finish()
    }
}

/// An event as far as it has been read.
pub(super) struct Read<'r> {
    pub source: &'r str,
    pub event_type: &'r str,
    pub body: &'r str,
    pub captures: &'r [(Slot, &'r str)],
}

impl<'r> Read<'r> {
    /// What stands somewhere; null is nothing.
    fn raw(&self, slot: Slot) -> Option<&'r str> {
        let (_, raw) = self.captures.iter().find(|(captured, _)| *captured == slot)?;
        Some(raw.trim_ascii()).filter(|raw| *raw != "null")
    }

    /// The same of a field that Vero also writes elsewhere.
    fn of(&self, field: super::Field) -> Option<&'r str> {
        let elsewhere = || match field.unless.and_then(|slot| self.raw(slot)) {
            None => field.other.and_then(|slot| self.raw(slot)),
            Some(_) => None,
        };
        self.raw(field.slot).or_else(elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::super::RelayFields;
    use super::*;

    fn print(source: &str, body: &str) -> Print {
        let mut builder = FieldSetBuilder::default();
        builder.add_identity();
        let event =
            builder.build().read(body.as_bytes(), RelayFields { source, received_ms: 1 }).expect("an event").identity;
        event.expect("it was asked for")
    }

    #[track_caller]
    fn check(one: &str, other: &str, is_same: bool) {
        assert_eq!(print("vero", one) == print("vero", other), is_same, "{one} and {other}");
    }

    const CLICK: &str = r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":7,"email":"a@b.c"}}"#;

    #[test]
    fn a_message_and_what_happened_to_it_when_are_one_event_however_they_are_written() {
        for same in [
            CLICK,
            r#"{ "clicked_at": 5, "user": {"id": "7"}, "type": "clicked", "message_id": "\u006d", "event": null }"#,
            r#"{"type":"clicked","campaign":{"message_id":"m"},"clicked_at":"5","id":7,"email":"x@y.z"}"#,
            r#"{"action":"clicked","message_id":"other","message_id":"m","clicked_at":5,"user":{"id":7},"user_agent":"x"}"#,
        ] {
            check(CLICK, same, true);
        }
        for other in [
            r#"{"type":"opened","message_id":"m","opened_at":5,"user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"n","clicked_at":5,"user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":6,"user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":8}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"email":"a@b.c"}}"#,
            // In `user` there is no id, and then the top one is another thing's.
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"email":"a@b.c"},"id":7}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":7},"url":"https://a.example"}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":7},"event":{"name":"x"}}"#,
        ] {
            check(CLICK, other, false);
        }
        assert_ne!(print("vero", CLICK), print("other", CLICK), "each source has its own");
    }

    #[test]
    fn without_a_message_or_a_time_every_byte_counts() {
        for body in [
            r#"{"type":"user_updated","user":{"id":7}}"#,
            r#"{"type":"converted","message_id":"m","user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"","clicked_at":5}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":null}"#,
            r#"{"type":"clicked","message_id":["m"],"clicked_at":5,"user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"email":"a@b.c"}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":true}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":[7]}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":{"a":7}}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":[{"id":7}]}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":[[{"id":7}]],"id":8}"#,
            r#"{"type":"clicked","campaign":[{"message_id":"m"}],"clicked_at":5,"user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"\ud800","clicked_at":5,"user":{"id":7}}"#,
            r#"{"type":"clicked","message_id":"m","clicked_at":5,"user":{"id":"\udc01"}}"#,
            r#"{"type":"merged","message_id":"m","merged_at":5}"#,
        ] {
            check(body, body, true);
            check(body, &body.replacen(':', ": ", 1), false);
        }
    }
}

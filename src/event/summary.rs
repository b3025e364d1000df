//! What a list shows of an event: its type, its campaign and who it is about.

use std::sync::LazyLock;

use super::{FieldId, FieldPath, FieldSet, FieldSetBuilder, RelayFields, Value};

/// What a list shows of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub event_type: String,
    /// Its campaign's name, if it has one.
    pub campaign: Option<String>,
    /// The person's address, else their id.
    pub who: Option<String>,
}

/// The paths that are picked out, the earlier of the last two first.
const PATHS: [&str; 3] = ["campaign.name", "user.email", "user.id"];

static FIELDS: LazyLock<(FieldSet, [FieldId; 3])> = LazyLock::new(|| {
    let mut builder = FieldSetBuilder::default();
    let ids = PATHS.map(|path| builder.add(&FieldPath::parse(path).expect("it is a path: a test reads it")));
    (builder.build(), ids)
});

/// Picks it out of a body; what is not there stays empty.
pub fn summary(body: &[u8]) -> Summary {
    let (set, ids) = &*FIELDS;
    let Ok(event) = set.read(body, RelayFields { source: "", received_ms: 0 }) else { return Summary::default() };
    let text = |id: FieldId| {
        event.fields.get(set, id).iter().find_map(|(_, value)| match value {
            Value::String(text) if !text.is_empty() => Some(text.to_string()),
            Value::Number(digits) => Some((*digits).to_owned()),
            _ => None,
        })
    };
    let [campaign, email, id] = ids.map(text);
    Summary { who: email.or(id), event_type: event.event_type.into_owned(), campaign }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_campaign_are_picked_out_also_under_their_odd_names() {
        let of = |body: &str| {
            let Summary { event_type, campaign, .. } = summary(body.as_bytes());
            (event_type, campaign.unwrap_or_default())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of(r#"{"type":"sent","campaign":{"name":"Cart"}}"#), pair("sent", "Cart"));
        assert_eq!(of(r#"{"action":"user_updated"}"#), pair("user_updated", ""));
        assert_eq!(of(r#"{"type":"unsubscribed","campaign":{"campaign_title":"News"}}"#), pair("unsubscribed", "News"));
        assert_eq!(of("not JSON"), pair("", ""));
    }

    #[test]
    fn who_it_is_about_is_an_address_or_else_an_id() {
        let who = |body: &str| summary(body.as_bytes()).who.unwrap_or_default();
        assert_eq!(who(r#"{"type":"sent","user":{"id":7,"email":"Ann@example.com"}}"#), "Ann@example.com");
        assert_eq!(who(r#"{"type":"sent","user":{"id":7,"email":null}}"#), "7");
        assert_eq!(who(r#"{"type":"sent","user":{"id":"x","email":""}}"#), "x");
        assert_eq!(who(r#"{"type":"user_created","id":9,"email":"a@example.com"}"#), "a@example.com");
        assert_eq!(who(r#"{"type":"sent"}"#), "");
    }
}

//! What a list shows of an event: its type and its campaign.

use std::sync::LazyLock;

use super::{FieldId, FieldPath, FieldSet, FieldSetBuilder, RelayFields, Value};

/// What a list shows of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its type.
    pub event_type: String,
    /// Its campaign's name, if it has one.
    pub campaign: Option<String>,
}

static FIELDS: LazyLock<(FieldSet, FieldId)> = LazyLock::new(|| {
    let mut builder = FieldSetBuilder::default();
    let path = FieldPath::parse("campaign.name").expect("it is a path: a test reads it");
    let name = builder.add(&path);
    (builder.build(), name)
});

/// Picks it out of a body; what is not there stays empty.
pub fn summary(body: &[u8]) -> Summary {
    let (set, name) = &*FIELDS;
    let Ok(event) = set.read(body, RelayFields { source: "", received_ms: 0 }) else { return Summary::default() };
    let campaign = event.fields.get(set, *name).iter().find_map(|(_, value)| match value {
        Value::String(text) => Some(text.to_string()),
        _ => None,
    });
    Summary { event_type: event.event_type.into_owned(), campaign }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_and_campaign_are_picked_out_also_under_their_odd_names() {
        let of = |body: &str| {
            let Summary { event_type, campaign } = summary(body.as_bytes());
            (event_type, campaign.unwrap_or_default())
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of(r#"{"type":"sent","campaign":{"name":"Cart"}}"#), pair("sent", "Cart"));
        assert_eq!(of(r#"{"action":"user_updated"}"#), pair("user_updated", ""));
        assert_eq!(of(r#"{"type":"unsubscribed","campaign":{"campaign_title":"News"}}"#), pair("unsubscribed", "News"));
        assert_eq!(of("not JSON"), pair("", ""));
    }
}

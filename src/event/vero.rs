//! What is particular about Vero: its event types, its odd keys, and a sample of each event.
//!
//! Source of the facts: Vero's webhook documentation, <https://help.getvero.com/vero-1/articles/setting-up-webhooks> and
//! <https://help.getvero.com/vero-2/articles/setting-up-reporting-webhooks>. Its pages show pseudo-JSON in places; the wire is plain JSON.

/// The event types Vero has today. New ones will come: an unknown type is accepted all the same.
pub const TYPES: [&str; 12] = [
    "sent",
    "delivered",
    "opened",
    "clicked",
    "failed",
    "bounced",
    "converted",
    "unsubscribed",
    "resubscribed",
    "complained",
    "user_created",
    "user_updated",
];

/// The fields that Vero sends today. Below `event.data` and `changes` the sender's own names begin, and `user` holds whatever a
/// customer keeps there.
pub const FIELDS: [&str; 51] = [
    "type",
    "action",
    "id",
    "email",
    "user",
    "user.id",
    "user.email",
    "campaign",
    "campaign.id",
    "campaign.type",
    "campaign.name",
    "campaign.subject",
    "campaign.trigger-event",
    "campaign.permalink",
    "campaign.group",
    "campaign.channel",
    "campaign.sent_to",
    "campaign.variation",
    "campaign.locale",
    "campaign.tags",
    "campaign.campaign_title",
    "campaign.email_subject",
    "campaign.variation_name",
    "campaign.series_title",
    "campaign.message_id",
    "campaign.template",
    "user_agent",
    "sender_ip",
    "message_id",
    "bounce_type",
    "bounce_code",
    "bounce_message",
    "event",
    "event.name",
    "event.triggered_at",
    "event.data",
    "changes",
    "changes._tags",
    "changes._tags.add",
    "changes._tags.remove",
    "sent_at",
    "delivered_at",
    "opened_at",
    "clicked_at",
    "failed_at",
    "bounced_at",
    "converted_at",
    "unsubscribed_at",
    "resubscribed_at",
    "complained_at",
    "user_updated_at",
];

/// Whether Vero may send a field, by its dotted path.
pub fn sends(path: &str) -> bool {
    let is_free = ["event.data.", "changes.", "user."].iter().any(|start| path.starts_with(start));
    is_free || FIELDS.contains(&path)
}

/// What people call a field that Vero has under another name, or at another place.
const OTHER_NAMES: [(&str, &str); 23] = [
    ("event.type", "type"),
    ("event_type", "type"),
    ("eventtype", "type"),
    ("event", "type"),
    ("user.email_address", "user.email"),
    ("email_address", "user.email"),
    ("recipient", "user.email"),
    ("to", "user.email"),
    ("user_id", "user.id"),
    ("userid", "user.id"),
    ("customer.id", "user.id"),
    ("subject", "campaign.subject"),
    ("name", "campaign.name"),
    ("campaign_name", "campaign.name"),
    ("campaign_id", "campaign.id"),
    ("campaign_type", "campaign.type"),
    ("permalink", "campaign.permalink"),
    ("tags", "campaign.tags"),
    ("ip", "sender_ip"),
    ("useragent", "user_agent"),
    ("timestamp", "relay.occurred_at"),
    ("age", "relay.age"),
    ("reason", "bounce_message"),
];

/// The field that is meant by a path that Vero does not send: Vero's own under another name, below a level that does not exist,
/// or in another style.
pub fn meant(path: &str) -> Option<&'static str> {
    let plain = path.to_lowercase().replace('-', "_");
    let exact = |text: &str| FIELDS.iter().find(|field| field.replace('-', "_") == text).copied();
    let other = |text: &str| OTHER_NAMES.iter().find(|(theirs, _)| *theirs == text).map(|(_, ours)| *ours);
    let known = |text: &str| exact(text).or_else(|| other(text));
    // One step is a common word: it means something only right below another.
    let is_short = plain.matches('.').count() == 1;
    // A person's or a list's name is not the campaign's.
    let is_name = plain.ends_with(".name")
        && !["event", "data", "payload", "message", "body", "email"]
            .iter()
            .any(|start| plain.split('.').next() == Some(start));
    // `data.subject`, `event.campaign.subject`, `payload.user.email`: a level too many.
    let below = || {
        let mut rest = plain.as_str();
        std::iter::from_fn(|| {
            rest = rest.split_once('.')?.1;
            Some(rest)
        })
        .find_map(|text| match text {
            "email" => Some("user.email"),
            "id" => Some("user.id"),
            "name" if is_name => None,
            text if is_short => known(text),
            text => exact(text),
        })
    };
    let camel = || {
        let spaced: String = path
            .chars()
            .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
            .collect();
        known(spaced.trim_start_matches('_').replace("._", ".").as_str())
    };
    known(&plain).or_else(camel).or_else(below)
}

/// The types of the events that an email makes; the others are about a person alone.
const EMAIL_TYPES: [&str; 8] =
    ["sent", "delivered", "opened", "clicked", "failed", "bounced", "converted", "complained"];
/// What an `unsubscribed` event's campaign has, under Vero's usual names and its odd ones.
const UNSUBSCRIBED_CAMPAIGN: [&str; 14] = [
    "campaign",
    "campaign.id",
    "campaign.name",
    "campaign.subject",
    "campaign.variation",
    "campaign.group",
    "campaign.channel",
    "campaign.campaign_title",
    "campaign.email_subject",
    "campaign.variation_name",
    "campaign.series_title",
    "campaign.message_id",
    "campaign.template",
    "message_id",
];

/// Whether Vero's documentation shows a field with a type of event. Where it leaves doubt: yes.
pub fn shows(event_type: &str, path: &str) -> bool {
    let is_email = EMAIL_TYPES.contains(&event_type);
    let first = path.split('.').next().unwrap_or_default();
    match first {
        "campaign" | "message_id" => {
            is_email || (event_type == "unsubscribed" && UNSUBSCRIBED_CAMPAIGN.contains(&path))
        }
        "bounce_type" | "bounce_code" | "bounce_message" => event_type == "bounced",
        // Vero documents two forms of this event: the older one has no `user`, and `action` for `type`.
        "changes" | "email" | "id" | "action" => event_type == "user_updated",
        "event" | "sender_ip" => is_email || event_type == "unsubscribed",
        "user_agent" => {
            !matches!(event_type, "sent" | "delivered" | "failed" | "bounced" | "complained")
                && !event_type.starts_with("user_")
        }
        _ => path.strip_suffix("_at").is_none_or(|of| of == event_type || !TYPES.contains(&of)),
    }
}

/// Fields with few values. The second says whether Vero has no others.
pub const VALUES: [(&str, &[&str], bool); 2] = [
    ("bounce_type", &["hard", "soft"], true),
    ("campaign.type", &["behavioural", "transactional", "newsletter"], false),
];

/// Whether a field of Vero's holds one value and never a list.
pub fn is_single(path: &str) -> bool {
    let is_free = ["event.data", "changes", "user."].iter().any(|start| path.starts_with(start));
    let is_known = matches!(path, "user.id" | "user.email") || !is_free;
    FIELDS.contains(&path) && is_known && !matches!(path, "campaign.tags" | "campaign" | "user" | "event")
}

/// A second place where Vero writes a field.
#[derive(Debug, PartialEq, Eq)]
pub struct Alias {
    pub path: &'static str,
    /// Where else it may stand.
    pub other: &'static str,
    /// The alias counts only where this field is absent.
    pub unless: Option<&'static str>,
}

/// Vero's odd keys, found alike by rules, templates and filters. (`type` and `action` are read by [`super::FieldSet::read`].)
pub const ALIASES: [Alias; 7] = [
    Alias { path: "campaign.name", other: "campaign.campaign_title", unless: None },
    Alias { path: "campaign.subject", other: "campaign.email_subject", unless: None },
    Alias { path: "campaign.variation", other: "campaign.variation_name", unless: None },
    Alias { path: "campaign.group", other: "campaign.series_title", unless: None },
    Alias { path: "message_id", other: "campaign.message_id", unless: None },
    Alias { path: "user.id", other: "id", unless: Some("user") },
    Alias { path: "user.email", other: "email", unless: Some("user") },
];

/// Finds the second place of a field, by its usual path.
pub fn alias(path: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.path == path)
}

/// One body for each thing Vero sends, by name, as `vero-relay send` posts them.
pub const SAMPLES: [(&str, &str); 15] = [
    ("sent", include_str!("../../samples/sent.json")),
    ("delivered", include_str!("../../samples/delivered.json")),
    ("opened", include_str!("../../samples/opened.json")),
    ("clicked", include_str!("../../samples/clicked.json")),
    ("failed", include_str!("../../samples/failed.json")),
    ("bounced", include_str!("../../samples/bounced.json")),
    ("bounced-soft", include_str!("../../samples/bounced-soft.json")),
    ("converted", include_str!("../../samples/converted.json")),
    ("unsubscribed", include_str!("../../samples/unsubscribed.json")),
    ("unsubscribed-campaign", include_str!("../../samples/unsubscribed-campaign.json")),
    ("resubscribed", include_str!("../../samples/resubscribed.json")),
    ("complained", include_str!("../../samples/complained.json")),
    ("user_created", include_str!("../../samples/user_created.json")),
    ("user_updated", include_str!("../../samples/user_updated.json")),
    ("user_updated-action", include_str!("../../samples/user_updated-action.json")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_sample() {
        for name in TYPES {
            assert!(SAMPLES.iter().any(|(sample, _)| *sample == name), "{name}");
        }
    }

    #[test]
    fn a_field_by_another_name_is_known() {
        for (theirs, ours) in [
            ("event.type", "type"),
            ("data.subject", "campaign.subject"),
            ("event.campaign.subject", "campaign.subject"),
            ("User.Email", "user.email"),
            ("userAgent", "user_agent"),
            ("campaign.triggerEvent", "campaign.trigger-event"),
            ("payload.user.email", "user.email"),
        ] {
            assert_eq!(meant(theirs), Some(ours), "{theirs}");
        }
        assert_eq!(meant("campaign.owner"), None);
    }

    #[test]
    fn every_field_of_a_sample_is_shown_with_its_type() {
        fn walk(json: &serde_json::Value, path: &str, seen: &mut Vec<String>) {
            for (key, value) in json.as_object().into_iter().flatten() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, &path, seen);
                seen.push(path);
            }
        }
        for (name, body) in SAMPLES {
            let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
            let event_type = json.get("type").or(json.get("action")).and_then(|text| text.as_str()).expect("a type");
            let mut paths = Vec::new();
            walk(&json, "", &mut paths);
            assert!(!paths.is_empty());
            for path in paths {
                assert!(shows(event_type, &path), "{name} has {path}");
                assert!(sends(&path), "{path}");
            }
        }
        assert!(!shows("unsubscribed", "campaign.type") && !shows("resubscribed", "campaign.name"));
        assert!(!shows("bounced", "email") && shows("user_updated", "email") && shows("bounced", "user.email"));
        assert!(!shows("opened", "bounce_type") && !shows("sent", "opened_at") && shows("sent", "user.plan_at"));
    }
}

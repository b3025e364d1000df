//! What a message must be, by webhook: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>. Pure.

use serde_json::{Map, Value};

use super::{Refusal, blocks, markup};

/// Slack cuts a text at 40 000 characters, and asks for no more than these: <https://docs.slack.dev/reference/methods/chat.postMessage#truncating>.
const TEXT_MAX: usize = 4000;
/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors>, under `too_many_attachments`.
const ATTACHMENTS_MAX: usize = 100;

/// The keys of a message: <https://docs.slack.dev/messaging#payloads>, and what old webhooks let one choose:
/// <https://docs.slack.dev/legacy/legacy-custom-integrations/legacy-custom-integrations-incoming-webhooks>.
const KEYS: [&str; 12] = [
    "text",
    "blocks",
    "attachments",
    "thread_ts",
    "mrkdwn",
    "metadata",
    "unfurl_links",
    "unfurl_media",
    "channel",
    "username",
    "icon_emoji",
    "icon_url",
];

/// The keys of an edit, which keeps the name and the icons that the message has: <https://docs.slack.dev/reference/methods/chat.update#arguments>.
const KEYS_OF_AN_EDIT: [&str; 9] =
    ["channel", "ts", "text", "blocks", "attachments", "link_names", "metadata", "parse", "reply_broadcast"];

/// Reads the message of a request.
pub fn read(content_type: Option<&str>, body: &[u8], mentions: &[String]) -> Result<Value, Refusal> {
    let message = read_json(content_type, body)?;
    check(&message, &KEYS, mentions)?;
    Ok(Value::Object(message))
}

/// Reads what a message is to say from now on. No blocks take those away that it has.
pub fn read_edit(content_type: Option<&str>, body: &[u8], mentions: &[String]) -> Result<Value, Refusal> {
    let message = read_json(content_type, body)?;
    if !message.get("ts").is_some_and(Value::is_string) {
        return Err(Refusal::new("invalid_arguments", "`ts` says which message"));
    }
    let mut says = message.clone();
    if says.get("blocks") == Some(&Value::Array(Vec::new())) {
        says.remove("blocks");
    }
    check(&says, &KEYS_OF_AN_EDIT, mentions)?;
    Ok(Value::Object(message))
}

fn read_json(content_type: Option<&str>, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let invalid = |about: String| Refusal::new("invalid_payload", about);
    let sort = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !sort.eq_ignore_ascii_case("application/json") {
        return Err(invalid(format!("a message is application/json, and not {content_type:?}")));
    }
    let message: Value = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("a message is JSON, and this is not: {error}")))?;
    match message {
        Value::Object(members) => Ok(members),
        _ => Err(invalid("a message is a JSON object".to_owned())),
    }
}

/// Refuses a message that Slack would not post as it is.
fn check(members: &Map<String, Value>, keys: &[&str], mentions: &[String]) -> Result<(), Refusal> {
    let invalid = |about: String| Err(Refusal::new("invalid_payload", about));
    if let Some(key) = members.keys().find(|key| !keys.contains(&key.as_str())) {
        return Err(Refusal::new("strict_unknown_key", format!("a message has no `{key}`")));
    }
    for key in ["channel", "username", "icon_emoji", "icon_url", "thread_ts"] {
        if members.get(key).is_some_and(|value| value.as_str().is_none_or(|text| text.trim().is_empty())) {
            return invalid(format!("`{key}` is a text"));
        }
    }
    for key in ["unfurl_links", "unfurl_media", "mrkdwn"] {
        if members.get(key).is_some_and(|value| !value.is_boolean()) {
            return invalid(format!("`{key}` is true or false"));
        }
    }
    let text = match members.get("text") {
        None => "",
        Some(Value::String(text)) => text,
        Some(other) => return invalid(format!("`text` is a text, and not {other}")),
    };
    if text.chars().count() > TEXT_MAX {
        return Err(Refusal::new("msg_too_long", format!("a text of more than {TEXT_MAX} characters")));
    }
    markup::check(text, mentions)?;
    let attachments = match members.get("attachments") {
        None => 0,
        Some(Value::Array(items)) => items.len(),
        Some(_) => return Err(Refusal::new("invalid_attachments", "`attachments` is a list")),
    };
    if attachments > ATTACHMENTS_MAX {
        return Err(Refusal::new("too_many_attachments", format!("more than {ATTACHMENTS_MAX} attachments")));
    }
    match members.get("blocks") {
        Some(blocks) => blocks::check(blocks, mentions),
        None if text.trim().is_empty() && attachments == 0 => {
            Err(Refusal::new("no_text", "neither a text nor blocks nor attachments"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: &str) {
        let said = read(Some(content_type), body.as_bytes(), &[]).err();
        assert_eq!(said.as_ref().map_or("", |refusal| refusal.word), expected, "{:.200}: {said:?}", body);
    }

    #[test]
    fn a_message_is_json_with_keys_that_slack_knows() {
        check("application/json", r#"{"text":"x"}"#, "");
        check("application/json; charset=utf-8", r#"{"text":"x"}"#, "");
        check("text/plain", r#"{"text":"x"}"#, "invalid_payload");
        check("application/x-www-form-urlencoded", r#"{"text":"x"}"#, "invalid_payload");
        check("application/json", r#"{"text":"#, "invalid_payload");
        check("application/json", r#"["text"]"#, "invalid_payload");
        check("application/json", r#"{"text":7}"#, "invalid_payload");
        check("application/json", r#"{"text":"x","unfurl_links":false,"username":"Vero"}"#, "");
        check("application/json", r#"{"text":"x","unfurl_links":"no"}"#, "invalid_payload");
        check("application/json", r#"{"text":"x","username":" "}"#, "invalid_payload");
        check("application/json", r#"{"text":"x","link_names":1}"#, "strict_unknown_key");
    }

    #[test]
    fn a_message_says_something_and_not_too_much() {
        let text = |text: &str| format!(r#"{{"text":"{text}"}}"#);
        check("application/json", &text(" "), "no_text");
        check("application/json", r#"{"username":"x"}"#, "no_text");
        check("application/json", r#"{"blocks":[{"type":"header","text":{"type":"plain_text","text":"x"}}]}"#, "");
        check("application/json", &text(&"ä".repeat(4000)), "");
        check("application/json", &text(&"ä".repeat(4001)), "msg_too_long");
        let attachments = |count: usize| format!(r#"{{"attachments":[{}]}}"#, vec![r#"{"text":"x"}"#; count].join(","));
        check("application/json", &attachments(100), "");
        check("application/json", &attachments(101), "too_many_attachments");
        check("application/json", &text("<!channel>"), "strict_mention");
    }
}

//! What a chat server's answer means. Pure.
//!
//! Slack says `ok`, or one word for what is wrong. Others that take Slack's messages say yes in a dozen ways, so a 2xx that does not say
//! no is a yes: a channel that gets a message again and again is worse off than one that misses it.

use serde_json::Value;

/// Slack's words for a message that it will never accept:
/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>, and those of `chat.postMessage`, which others repeat.
pub const REJECTS: [&str; 11] = [
    "invalid_payload",
    "no_text",
    "invalid_blocks",
    "invalid_blocks_format",
    "too_many_attachments",
    "invalid_attachments",
    "msg_too_long",
    "msg_blocks_too_long",
    "missing_text_or_fallback_or_attachments",
    "user_not_found",
    "cannot_reply_to_message",
];
/// And for a webhook that accepts none until somebody acts.
pub const PAUSES: [&str; 30] = [
    "action_prohibited",
    "posting_to_general_channel_denied",
    "channel_not_found",
    "channel_is_archived",
    "is_archived",
    "not_in_channel",
    "restricted_action",
    "no_service",
    "no_service_id",
    "no_active_hooks",
    "no_team",
    "team_disabled",
    "team_access_not_granted",
    "invalid_token",
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    // Those of `chat.postMessage`: <https://docs.slack.dev/reference/methods/chat.postMessage#errors>.
    "missing_scope",
    "not_allowed_token_type",
    "no_permission",
    "access_denied",
    "org_login_required",
    "team_not_found",
    "enterprise_is_restricted",
    "ekm_access_denied",
    "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel",
    "restricted_action_non_threadable_channel",
];
/// And for one that will accept it later.
pub const RETRIES: [&str; 9] = [
    "rollup_error",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "team_added_to_org",
];
/// Slack's words are no longer than this.
const WORD_BYTES_MAX: usize = 50;
/// What a yes may be beside `ok`.
const YES: [&str; 4] = ["ok", "1", "true", "success"];
/// How the first word of a yes begins, in a field of JSON.
const FINE: [&str; 2] = ["ok", "success"];
/// And of a no.
const NO: [&str; 4] = ["error", "failed", "failure", "fail"];
/// Where a number says no, and the least that does: WeCom's `errcode`, Mattermost's `status_code`, and the codes of Lark and Discord, which
/// have thousands where others repeat the status of HTTP.
const NUMBERED: [(&str, i64); 5] =
    [("errcode", 1), ("status_code", 400), ("StatusCode", 400), ("status", 400), ("code", 1000)];
/// How Teams' connectors begin to say, under 200, that they could not: <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>.
const NO_OF_TEAMS: &str = "webhook message delivery failed";

/// What the body of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `ok`, as Slack does.
    Ok,
    NotNo,
    /// One of [`REJECTS`].
    Never(String),
    /// One of [`PAUSES`].
    Closed(String),
    /// One of [`RETRIES`].
    Later(String),
    /// No, for a reason that is none of Slack's words.
    No,
    /// A page for people: a login, or a proxy's. The chat server was never asked.
    Page,
}

/// Reads the body of an answer.
pub fn said(content_type: Option<&str>, body: &[u8]) -> Said {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text == "ok" {
        return Said::Ok;
    }
    let json: Option<Value> = serde_json::from_str(text).ok();
    match &json {
        Some(Value::Object(object)) => of_object(object),
        Some(Value::String(word)) => of_word(word.trim()),
        Some(Value::Bool(false)) => Said::No,
        Some(_) => Said::NotNo,
        None if is_page(content_type, text) => Said::Page,
        None => of_word(text.trim_matches(['"', '\'']).trim()),
    }
}

/// The word by which an answer says what is wrong, where it looks like one of Slack's: it is shown, and holds nothing else.
pub fn word_of(body: &[u8]) -> Option<String> {
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return None };
    let word = object.get("error")?.as_str()?;
    let is_one = (1..=WORD_BYTES_MAX).contains(&word.len())
        && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    is_one.then(|| word.to_owned())
}

fn of_word(word: &str) -> Said {
    let is_in = |words: &[&str]| words.contains(&word);
    match word {
        _ if is_in(&REJECTS) => Said::Never(word.to_owned()),
        _ if is_in(&PAUSES) => Said::Closed(word.to_owned()),
        _ if is_in(&RETRIES) => Said::Later(word.to_owned()),
        _ if word.to_ascii_lowercase().starts_with(NO_OF_TEAMS) => Said::No,
        _ if NO.iter().any(|no| word.eq_ignore_ascii_case(no)) => Said::No,
        _ => Said::NotNo,
    }
}

/// `{"ok":false,"error":"…"}` (Slack), `{"success":false}` (Rocket.Chat), `{"result":"error"}` (Zulip), `{"status":"error"}`, `{"error":…}`,
/// and those that say it by a number.
fn of_object(object: &serde_json::Map<String, Value>) -> Said {
    let is = |key: &str, value: bool| object.get(key) == Some(&Value::Bool(value));
    let says = |key: &str, words: &[&str]| {
        let said = object.get(key).and_then(Value::as_str).unwrap_or_default();
        let first = said.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        words.iter().any(|word| first.to_lowercase().starts_with(word))
    };
    let has_code =
        NUMBERED.iter().any(|(key, from)| object.get(*key).and_then(Value::as_i64).is_some_and(|code| code >= *from));
    let says_yes = ["ok", "success"].iter().any(|key| is(key, true));
    let says_no = ["ok", "success"].iter().any(|key| is(key, false))
        || ["result", "status"].iter().any(|key| says(key, &NO))
        || (has_code && !["message", "msg", "errmsg"].iter().any(|key| says(key, &FINE)));
    let has_error = ["error", "errors"].iter().filter_map(|key| object.get(*key)).any(|value| !is_nothing(value));
    if says_yes || !(says_no || has_error) {
        return Said::NotNo;
    }
    let words = ["error", "message", "msg", "code"].iter().filter_map(|key| object.get(*key)?.as_str());
    let known = words.map(|word| of_word(word.trim())).find(|said| !matches!(said, Said::NotNo | Said::No));
    known.unwrap_or(Said::No)
}

/// Whether the value of an `error` says that there is none.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty() || text.eq_ignore_ascii_case("none"),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn is_page(content_type: Option<&str>, text: &str) -> bool {
    let begins = |with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if ["<!doctype", "<html", "<head", "<body", "<!--"].into_iter().any(begins) {
        return true;
    }
    let is_html = content_type.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
    });
    // Some servers call everything HTML that they do not name.
    is_html && !text.is_empty() && !YES.iter().any(|yes| text.eq_ignore_ascii_case(yes)) && of_word(text) == Said::NotNo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: Said) {
        assert_eq!(said(Some(content_type), body.as_bytes()), expected, "{content_type} {body}");
    }

    #[test]
    fn what_known_servers_say_to_a_message_that_they_have_posted() {
        check("text/plain", "ok", Said::Ok);
        check("text/html", "ok\n", Said::Ok);
        let mattermost_and_others = ["", "OK", "\"ok\"", "1", "true", "null", "Ok.", "posted", "\u{feff}ok ok"];
        for body in mattermost_and_others {
            check("text/plain", body, Said::NotNo);
        }
        let json = [
            r#"{"success":true}"#,
            r#"{"ok":true}"#,
            r#"{"ok":true,"error":null}"#,
            r#"{"ok":true,"warning":"missing_charset"}"#,
            r#"{"result":"success","msg":""}"#,
            r#"{"name":"spaces/A/messages/B"}"#,
            r#"{"error":"","id":7}"#,
            r#"{"message":"ok","errors":[]}"#,
            r#"{"result":"success","errors":[]}"#,
            r#"{"status":"ok","error":[]}"#,
            r#"{"code":20000,"message":"Successfully sent"}"#,
            r#"{"errors":{},"error":"none"}"#,
            r#"{"code":0,"msg":"success"}"#,
            r#"{"code":200,"message":"OK","status":200}"#,
            r#"{"code":100000,"message":"Success"}"#,
            r#"{"errcode":0,"errmsg":"ok"}"#,
            r#"{"StatusCode":0,"StatusMessage":"success"}"#,
            r#"{"id":"7","content":"channel_not_found"}"#,
            "[]",
            "{}",
        ];
        for body in json {
            check("application/json", body, Said::NotNo);
        }
        check("text/html; charset=utf-8", "", Said::NotNo);
        check("text/html; charset=utf-8", "1", Said::NotNo);
        check("text/html", "OK", Said::NotNo);
    }

    #[test]
    fn a_no_is_told_from_a_not_now_and_a_never() {
        check("text/plain", "invalid_payload", Said::Never("invalid_payload".into()));
        check("text/plain", " no_text\r\n", Said::Never("no_text".into()));
        check("text/plain", "\"channel_not_found\"", Said::Closed("channel_not_found".into()));
        check("text/plain", "'channel_not_found'", Said::Closed("channel_not_found".into()));
        check("text/html", "invalid_token", Said::Closed("invalid_token".into()));
        check("text/plain", "rollup_error", Said::Later("rollup_error".into()));
        check(
            "application/json",
            r#"{"ok":false,"error":"channel_not_found"}"#,
            Said::Closed("channel_not_found".into()),
        );
        check("application/json", r#"{"ok":false,"error":"invalid_blocks"}"#, Said::Never("invalid_blocks".into()));
        check("application/json", r#"{"ok":false,"error":"ratelimited"}"#, Said::Later("ratelimited".into()));
        for no in [
            r#"{"ok":false}"#,
            r#"{"ok":false,"error":"something_new"}"#,
            r#"{"success":false}"#,
            r#"{"result":"error","msg":"Bad","code":"BAD_REQUEST"}"#,
            r#"{"status":"error"}"#,
            r#"{"error":{"code":403}}"#,
            r#"{"errors":["x"]}"#,
            r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#,
            r#"{"code":19001,"msg":"param invalid"}"#,
            r#"{"code":50006,"message":"Cannot send an empty message"}"#,
            r#"{"id":"api.webhook.app_error","message":"Unable to post","status_code":404}"#,
            r#"{"status":"error: no such room"}"#,
            r#"{"ok":false,"message":"ok"}"#,
            r#"{"status":"ok","error":"no such room"}"#,
            "false",
            "error",
        ] {
            check("application/json", no, Said::No);
        }
        check("text/plain", "Webhook message delivery failed with error: 429", Said::No);
    }

    #[test]
    fn a_page_for_people_is_no_answer_of_a_chat_server() {
        check("text/html", "<h1>Please log in</h1>", Said::Page);
        check("text/html; charset=utf-8", "Please log in", Said::Page);
        check("text/plain", "<!DOCTYPE html><title>Proxy</title>", Said::Page);
        check("application/json", "\n <HTML lang=en>", Said::Page);
        assert_eq!(said(None, b"<html>"), Said::Page);
    }

    #[test]
    fn the_words_are_exact() {
        check("text/plain", "Invalid_Payload", Said::NotNo);
        check("text/plain", "no_text here", Said::NotNo);
    }
}

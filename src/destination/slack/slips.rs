//! What stands where a token, a channel or an emoji belongs, and is something else. Slack would say so with the first event, in one word, or not at all.
//!
//! Nothing is said of a value from outside to who may not know it.

use super::Url;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// The key of an emoji.
pub const EMOJI: &str = "icon_emoji";
/// The key of a picture in its place.
pub const PICTURE: &str = "icon_url";
/// What the tokens of Slack begin with: <https://docs.slack.dev/authentication/tokens>.
const TOKENS: [&str; 4] = ["xoxb-", "xoxp-", "xoxe", "xapp-"];
/// Slack's hosts, beside that of each team: <https://docs.slack.dev/govslack>.
const HOSTS: [&str; 2] = ["slack.com", "slack-gov.com"];

/// Tells of a token where a webhook's URL belongs; says whether it may be one.
pub fn is_no_token(reader: &Reader, node: &Node, text: &str) -> bool {
    if reader.would_tell(node) || !TOKENS.iter().any(|start| text.trim().starts_with(start)) {
        return true;
    }
    let help = "write `token` in place of `url`, and a `channel` beside it";
    reader.fixed_error(node.id, "this is a token and no address", help);
    false
}

/// Tells of an address of Slack's that is none of a webhook; says whether it may be one.
pub fn may_be_webhook(reader: &Reader, node: &Node, url: &Url) -> bool {
    let Some(host) = url.host_str().filter(|host| !reader.would_tell(node) && is_slacks(host)) else { return true };
    let path = url.path();
    let is_of_hooks = host.starts_with("hooks.");
    let (message, help) = if is_of_hooks && path == "/" {
        (
            "this is where webhooks are, and it does not say which",
            "take the whole address, as Slack shows it: it ends with three codes",
        )
    } else if !is_of_hooks && path.starts_with("/api/") {
        ("this is a method of Slack's API and no webhook", "write `token` in place of `url`, and a `channel` beside it")
    } else if !is_of_hooks && ["/archives/", "/client/", "/messages/"].iter().any(|start| path.starts_with(start)) {
        (
            "this is the address of a channel and no webhook",
            "\"Incoming Webhooks\" in the app's settings has one for each channel",
        )
    } else {
        return true;
    };
    reader.fixed_error(node.id, message, help);
    false
}

/// Tells of an address that is not where Slack's methods are; says whether it may be.
pub fn may_be_api(reader: &Reader, node: &Node, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    let method = path.rsplit('/').next().filter(|last| METHODS.contains(last));
    let root = |path: &str| format!("{}{path}/", url.origin().ascii_serialization());
    let (message, help) = if is_slacks(host) && host.starts_with("hooks.") {
        ("this is a webhook, which has no `token`", "take `api` out; or write `url` in place of `token`".to_owned())
    } else if let Some(method) = method {
        let above = path.strip_suffix(method).unwrap_or_default().trim_end_matches('/');
        ("`api` is where Slack's methods are, and this is one of them", format!("write api: \"{}\"", root(above)))
    } else if is_slacks(host) && path != "/api" {
        ("this is not where Slack's methods are", format!("write api: \"{}\"", root("/api")))
    } else if url.query().is_some() || url.fragment().is_some() {
        ("the name of a method follows behind this, so it ends with its path", format!("write api: \"{}\"", root(path)))
    } else {
        return true;
    };
    if reader.would_tell(node) {
        return true;
    }
    reader.error_with(node.id, message, help);
    false
}

/// Slack's methods that people post by, or try a token with: <https://docs.slack.dev/reference/methods>. A proxy's path may look like one.
const METHODS: [&str; 12] = [
    "api.test",
    "auth.test",
    "chat.delete",
    "chat.meMessage",
    "chat.postEphemeral",
    "chat.postMessage",
    "chat.scheduleMessage",
    "chat.unfurl",
    "chat.update",
    "conversations.join",
    "conversations.list",
    "files.upload",
];

fn is_slacks(host: &str) -> bool {
    HOSTS.iter().any(|own| host.strip_suffix(own).is_some_and(|team| team.is_empty() || team.ends_with('.')))
}

/// Tells of a picture that nobody sees: <https://docs.slack.dev/reference/methods/chat.postMessage>.
pub fn advise_of_two_icons(reader: &Reader, emoji: Option<&Node>, picture: Option<&Node>) {
    if let (Some(_), Some(picture)) = (emoji, picture) {
        let help = format!("take one of them out, `{EMOJI}` or `{PICTURE}`");
        reader.warning(picture.id, "a message has one icon, and the emoji comes before the picture", help);
    }
}

/// Tells of a token that is another thing; says whether it may be one.
pub fn may_be_token(reader: &Reader, node: &Node, token: &str) -> bool {
    if reader.would_tell(node) {
        return true;
    }
    if token.starts_with("http://") || token.starts_with("https://") {
        let help = "the URL of a webhook stands behind `url`, and a token begins with xoxb-";
        reader.fixed_error(node.id, "this is an address and no token", help);
        return false;
    }
    if token.contains(char::is_whitespace) {
        let help = "write the token alone, without `Bearer`: it begins with xoxb-";
        reader.fixed_error(node.id, "a token has no blanks", help);
        return false;
    }
    if token.starts_with("xoxp-") || token.starts_with("xapp-") {
        let help = "take the bot token, which begins with xoxb-: \"OAuth & Permissions\" in the app's settings";
        reader.fixed_warning(node.id, "this is no token of a bot", help.to_owned());
    }
    true
}

/// Tells of a channel that is another thing; says whether it may be one.
pub fn may_be_channel(reader: &Reader, node: &Node, text: &str) -> bool {
    if reader.would_tell(node) {
        return true;
    }
    let help = if text.contains('/') {
        // https://example.slack.com/archives/C024BE91L/p1355517523000008
        let id = text.split_once("/archives/").map(|(_, id)| id.split(['/', '?', '#']).next().unwrap_or_default());
        match id.filter(|id| is_id(id)) {
            Some(id) => format!("write the channel's id alone: \"{id}\""),
            None => "write the channel's name, like \"#email\", or its id, like \"C024BE91L\"".to_owned(),
        }
    } else if text.starts_with('@') {
        "a person has an id, like \"U024BE7LH\": \"Copy member ID\" in their profile".to_owned()
    } else {
        // Ids have capital letters, names do not: https://docs.slack.dev/reference/methods/conversations.create#naming.
        let small = text.to_lowercase();
        if small != text && !is_id(text) {
            let help = format!("write it as Slack shows it: \"{small}\"");
            reader.warning(node.id, "a channel of Slack's has a name in small letters", help);
        }
        return true;
    };
    reader.error_with(node.id, format!("`{text}` is not a channel of Slack's"), help);
    false
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Tells of an emoji that is not written as one: then the message has the usual icon.
pub fn advise_of_emoji(reader: &Reader, node: &Node, text: &str) {
    let name = text.trim_matches(':');
    let is_emoji = text.len() > 2 && text.starts_with(':') && text.ends_with(':');
    if is_emoji || reader.would_tell(node) {
        return;
    }
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+');
    let help = match !name.is_empty() && name.bytes().all(is_in_names) {
        true => format!("write {EMOJI}: \":{name}:\""),
        false => format!("write its name, like {EMOJI}: \":email:\""),
    };
    reader.warning(node.id, "an emoji is a name between colons", help);
}

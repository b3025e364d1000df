//! What stands where a token, a channel or an emoji belongs, and is something else. Slack would say so with the first event, in one word, or not at all.
//!
//! Nothing is said of a value from outside to who may not know it.

use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// The key of an emoji.
pub const EMOJI: &str = "icon_emoji";

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
        reader.fixed_warning(node.id, "this is no token of a bot", help);
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

//! Slack's blocks: a text where Slack wants an object, and a block's type that is nearly one of Slack's.

use crate::yaml::raw::{Node, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::words;

/// The types of blocks. Slack adds others, so only what is nearly one of these is told of.
const TYPES: [&str; 12] = [
    "section",
    "header",
    "divider",
    "context",
    "actions",
    "context_actions",
    "image",
    "video",
    "input",
    "markdown",
    "rich_text",
    "table",
];

/// Tells what can be said of a list of blocks.
pub(super) fn advise(reader: &Reader, blocks: &Node) {
    let Value::List(items) = &blocks.value else { return };
    for block in items {
        let Some(node) = block.get("type") else { continue };
        let Some(kind) = plain(node) else { continue };
        if !TYPES.contains(&kind)
            && let Some(near) = words::nearest(kind, TYPES)
        {
            reader.warning(
                node.id,
                format!("Slack's documentation shows no block `{kind}`"),
                format!("did you mean `{near}`?"),
            );
        }
        let object = match kind {
            "section" => "mrkdwn",
            "header" => "plain_text",
            _ => continue,
        };
        let Some(text) = block.get("text").filter(|text| plain(text).is_some()) else { continue };
        let help = format!("write text: {{ type: {object}, text: … }}");
        reader.warning(text.id, format!("the text of a `{kind}` is an object, and Slack refuses a plain text"), help);
    }
}

/// A text that stands in the file itself.
fn plain(node: &Node) -> Option<&str> {
    let scalar = node.scalar().filter(|scalar| scalar.style == Style::String && !scalar.is_interpolated)?;
    Some(scalar.text.as_str())
}

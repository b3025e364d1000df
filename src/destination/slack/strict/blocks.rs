//! The shapes of blocks: <https://docs.slack.dev/reference/block-kit/blocks>,
//! <https://docs.slack.dev/reference/block-kit/block-elements> and <https://docs.slack.dev/reference/block-kit/composition-objects>. Pure.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Refusal, markup};

/// Blocks in a message: <https://docs.slack.dev/reference/block-kit/blocks>.
const BLOCKS_MAX: usize = 50;
/// Characters of all `markdown` blocks of a message together: <https://docs.slack.dev/reference/block-kit/blocks/markdown-block>.
const MARKDOWN_MAX: usize = 12_000;
/// <https://docs.slack.dev/reference/block-kit/composition-objects/text-object>.
const TEXT_MAX: usize = 3000;

/// What a value must be.
#[derive(Clone, Copy)]
enum Shape {
    /// A text object of the type `plain_text`, with so many characters.
    Plain(usize),
    /// A text object of either type.
    Text(usize),
    /// A text, with so many characters.
    Words(usize),
    /// The same, that leads somewhere.
    Url(usize),
    Flag,
    Number,
    One(&'static [&'static str]),
    /// A list of things, by their types, and how many.
    Things(&'static [&'static str], usize),
    /// One such.
    Thing(&'static [&'static str]),
    /// A list of what has no type of its own, and how many.
    Each(&'static str, usize),
    /// One such.
    Untyped(&'static str),
    /// Rows of cells.
    Rows,
    Free,
}

use Shape::{Each, Flag, Free, Number, One, Plain, Rows, Text, Thing, Things, Untyped, Url, Words};

/// A key, whether it must be there, and what it holds.
type Member = (&'static str, bool, Shape);

const fn must(key: &'static str, shape: Shape) -> Member {
    (key, true, shape)
}

const fn may(key: &'static str, shape: Shape) -> Member {
    (key, false, shape)
}

const ID: Member = may("block_id", Words(255));
const ACTION: Member = may("action_id", Words(255));
const CONFIRM: Member = may("confirm", Untyped("confirm"));
const PLACEHOLDER: Member = may("placeholder", Plain(150));

/// What stands at the outermost level of a message.
const BLOCKS: [&str; 13] = [
    "section",
    "header",
    "divider",
    "image",
    "context",
    "actions",
    "context_actions",
    "input",
    "video",
    "file",
    "rich_text",
    "markdown",
    "table",
];
const INTERACTIVE: [&str; 21] = [
    "button",
    "workflow_button",
    "overflow",
    "checkboxes",
    "radio_buttons",
    "static_select",
    "multi_static_select",
    "external_select",
    "multi_external_select",
    "users_select",
    "multi_users_select",
    "conversations_select",
    "multi_conversations_select",
    "channels_select",
    "multi_channels_select",
    "datepicker",
    "timepicker",
    "datetimepicker",
    "plain_text_input",
    "number_input",
    "icon_button",
];
const ACCESSORIES: [&str; 8] =
    ["image", "button", "workflow_button", "overflow", "checkboxes", "radio_buttons", "static_select", "datepicker"];
const RUNS: [&str; 9] = ["text", "link", "emoji", "user", "channel", "usergroup", "broadcast", "date", "color"];
const RICH: [&str; 4] = ["rich_text_section", "rich_text_list", "rich_text_preformatted", "rich_text_quote"];

/// The members of each thing beside its `type`.
const SHAPES: &[(&str, &[Member])] = &[
    (
        "section",
        &[
            may("text", Text(3000)),
            may("fields", Each("field", 10)),
            may("accessory", Thing(&ACCESSORIES)),
            may("expand", Flag),
            ID,
        ],
    ),
    ("header", &[must("text", Plain(150)), ID]),
    ("divider", &[ID]),
    (
        "image block",
        &[
            may("image_url", Url(3000)),
            may("slack_file", Free),
            must("alt_text", Words(2000)),
            may("title", Plain(2000)),
            ID,
        ],
    ),
    ("image", &[may("image_url", Url(3000)), may("slack_file", Free), must("alt_text", Words(2000))]),
    ("context", &[must("elements", Things(&["image", "plain_text", "mrkdwn"], 10)), ID]),
    ("actions", &[must("elements", Things(&INTERACTIVE, 25)), ID]),
    ("context_actions", &[must("elements", Things(&["feedback_buttons", "icon_button"], 5)), ID]),
    (
        "input",
        &[
            must("label", Plain(2000)),
            must("element", Thing(&INTERACTIVE)),
            may("hint", Plain(2000)),
            may("optional", Flag),
            may("dispatch_action", Flag),
            ID,
        ],
    ),
    (
        "video",
        &[
            must("alt_text", Words(2000)),
            must("title", Plain(199)),
            must("thumbnail_url", Url(3000)),
            must("video_url", Url(3000)),
            may("title_url", Url(3000)),
            may("description", Plain(199)),
            may("author_name", Words(49)),
            may("provider_name", Words(TEXT_MAX)),
            may("provider_icon_url", Url(3000)),
            ID,
        ],
    ),
    ("file", &[must("external_id", Words(TEXT_MAX)), must("source", One(&["remote"])), ID]),
    ("rich_text", &[must("elements", Things(&RICH, usize::MAX)), ID]),
    ("markdown", &[must("text", Words(12_000)), ID]),
    ("table", &[must("rows", Rows), may("column_settings", Free), ID]),
    ("rich_text_section", &[must("elements", Things(&RUNS, usize::MAX))]),
    (
        "rich_text_list",
        &[
            must("elements", Things(&["rich_text_section"], usize::MAX)),
            must("style", One(&["bullet", "ordered"])),
            may("indent", Number),
            may("offset", Number),
            may("border", Number),
        ],
    ),
    (
        "rich_text_preformatted",
        &[must("elements", Things(&RUNS, usize::MAX)), may("border", Number), may("language", Words(TEXT_MAX))],
    ),
    ("rich_text_quote", &[must("elements", Things(&RUNS, usize::MAX)), may("border", Number)]),
    ("text", &[must("text", Words(TEXT_MAX)), may("style", Free)]),
    ("link", &[must("url", Url(3000)), may("text", Words(TEXT_MAX)), may("unsafe", Flag), may("style", Free)]),
    ("emoji", &[must("name", Words(TEXT_MAX)), may("unicode", Words(TEXT_MAX)), may("skin_tone", Number)]),
    ("user", &[must("user_id", Words(TEXT_MAX)), may("style", Free)]),
    ("channel", &[must("channel_id", Words(TEXT_MAX)), may("style", Free)]),
    ("usergroup", &[must("usergroup_id", Words(TEXT_MAX)), may("style", Free)]),
    ("broadcast", &[must("range", One(&["here", "channel", "everyone"]))]),
    (
        "date",
        &[
            must("timestamp", Number),
            must("format", Words(TEXT_MAX)),
            may("url", Url(3000)),
            may("fallback", Words(TEXT_MAX)),
        ],
    ),
    ("color", &[must("value", Words(TEXT_MAX))]),
    (
        "button",
        &[
            must("text", Plain(75)),
            may("url", Url(3000)),
            may("value", Words(2000)),
            may("style", One(&["primary", "danger"])),
            may("accessibility_label", Words(75)),
            CONFIRM,
            ACTION,
        ],
    ),
    (
        "workflow_button",
        &[
            must("text", Plain(75)),
            must("workflow", Free),
            may("style", One(&["primary", "danger"])),
            may("accessibility_label", Words(75)),
            ACTION,
        ],
    ),
    ("overflow", &[must("options", Each("option", 5)), CONFIRM, ACTION]),
    ("checkboxes", &[must("options", Each("option", 10)), may("initial_options", Each("option", 10)), CONFIRM, ACTION]),
    (
        "radio_buttons",
        &[must("options", Each("option", 10)), may("initial_option", Untyped("option")), CONFIRM, ACTION],
    ),
    (
        "static_select",
        &[
            may("options", Each("option", 100)),
            may("option_groups", Each("option group", 100)),
            may("initial_option", Untyped("option")),
            PLACEHOLDER,
            CONFIRM,
            ACTION,
        ],
    ),
    ("datepicker", &[may("initial_date", Words(10)), PLACEHOLDER, CONFIRM, ACTION]),
    ("plain_text_input", &[may("multiline", Flag), may("initial_value", Words(TEXT_MAX)), PLACEHOLDER, ACTION]),
    (
        "option",
        &[must("text", Text(75)), must("value", Words(150)), may("description", Text(75)), may("url", Url(3000))],
    ),
    ("option group", &[must("label", Plain(75)), must("options", Each("option", 100))]),
    (
        "confirm",
        &[
            must("title", Plain(100)),
            must("text", Plain(300)),
            must("confirm", Plain(30)),
            must("deny", Plain(30)),
            may("style", One(&["primary", "danger"])),
        ],
    ),
];

/// Refuses blocks that Slack would not show as they are.
pub fn check(blocks: &Value, mentions: &[String]) -> Result<(), Refusal> {
    let judge = Judge { mentions };
    let Value::Array(blocks) = blocks else { return invalid("`blocks` is a list") };
    if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
        return invalid(format!("a message has 1 to {BLOCKS_MAX} blocks, and not {}", blocks.len()));
    }
    blocks.iter().try_for_each(|block| judge.thing(block, &BLOCKS, true))?;
    let mut ids = HashSet::new();
    if let Some(twice) = blocks.iter().filter_map(|block| block["block_id"].as_str()).find(|id| !ids.insert(*id)) {
        return invalid(format!("two blocks have the block_id {twice}"));
    }
    let of_markdown = blocks.iter().filter(|block| block["type"] == "markdown");
    let all: usize = of_markdown.filter_map(|block| block["text"].as_str()).map(|text| text.chars().count()).sum();
    if all > MARKDOWN_MAX {
        return Err(Refusal::new("msg_blocks_too_long", format!("{all} characters of markdown in one message")));
    }
    if blocks.iter().filter(|block| block["type"] == "table").count() > 1 {
        return invalid("a message has one table: https://docs.slack.dev/reference/block-kit/blocks/table-block");
    }
    Ok(())
}

fn invalid<T>(about: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new("invalid_blocks", about))
}

struct Judge<'m> {
    mentions: &'m [String],
}

impl Judge<'_> {
    /// Something with a `type`.
    fn thing(&self, value: &Value, types: &[&str], is_block: bool) -> Result<(), Refusal> {
        let Value::Object(members) = value else { return invalid(format!("this is no object: {value}")) };
        let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
        if !types.contains(&kind) {
            return invalid(format!("there is no `{kind}` here, but {types:?}"));
        }
        match kind {
            "plain_text" | "mrkdwn" => self.text(value, TEXT_MAX, false),
            "image" if is_block => self.members("image block", members),
            _ => self.members(kind, members),
        }
    }

    fn members(&self, kind: &str, members: &Map<String, Value>) -> Result<(), Refusal> {
        let Some((_, shape)) = SHAPES.iter().find(|(known, _)| *known == kind) else {
            return invalid(format!("a strict Slack does not know `{kind}` yet"));
        };
        for (key, value) in members {
            match shape.iter().find(|(known, ..)| known == key) {
                Some((_, _, shape)) => self.value(kind, key, value, *shape)?,
                None if key == "type" => {}
                None => return invalid(format!("`{kind}` has no `{key}`")),
            }
        }
        if let Some((missing, ..)) = shape.iter().find(|(key, is_needed, _)| *is_needed && !members.contains_key(*key))
        {
            return invalid(format!("`{kind}` needs `{missing}`"));
        }
        let one_of: &[&str] = match kind {
            "section" => &["text", "fields"],
            "image" | "image block" => &["image_url", "slack_file"],
            "static_select" => &["options", "option_groups"],
            _ => return Ok(()),
        };
        if one_of.iter().any(|key| members.contains_key(*key)) {
            return Ok(());
        }
        invalid(format!("`{kind}` needs one of {one_of:?}"))
    }

    fn value(&self, kind: &str, key: &str, value: &Value, shape: Shape) -> Result<(), Refusal> {
        let wrong = |what: &str| invalid(format!("`{key}` of `{kind}` is {what}, and not {value:.200}"));
        let list = |most: usize| match value {
            Value::Array(items) if !items.is_empty() && items.len() <= most => Ok(items),
            _ => invalid(format!("`{key}` of `{kind}` is a list of 1 to {most}")),
        };
        match shape {
            Plain(most) => self.text(value, most, true),
            Text(most) => self.text(value, most, false),
            Words(most) => match value.as_str() {
                Some(text) if (1..=most).contains(&text.chars().count()) => Ok(()),
                _ => wrong(&format!("a text of 1 to {most} characters")),
            },
            Url(most) => match value.as_str() {
                Some(text) if is_url(text) && text.chars().count() <= most => Ok(()),
                _ => wrong(&format!("a URL of at most {most} characters")),
            },
            Flag if value.is_boolean() => Ok(()),
            Flag => wrong("true or false"),
            Number if value.is_i64() => Ok(()),
            Number => wrong("a whole number"),
            One(words) if value.as_str().is_some_and(|word| words.contains(&word)) => Ok(()),
            One(words) => wrong(&format!("one of {words:?}")),
            Things(types, most) => list(most)?.iter().try_for_each(|item| self.thing(item, types, false)),
            Thing(types) => self.thing(value, types, false),
            Each("field", most) => list(most)?.iter().try_for_each(|item| self.text(item, 2000, false)),
            Each(of, most) => list(most)?.iter().try_for_each(|item| self.untyped(of, item)),
            Untyped(of) => self.untyped(of, value),
            // https://docs.slack.dev/reference/block-kit/blocks/table-block
            Rows => list(100)?.iter().try_for_each(|row| match row {
                Value::Array(cells) if (1..=20).contains(&cells.len()) => {
                    cells.iter().try_for_each(|cell| self.cell(cell))
                }
                _ => invalid("a row of a table has 1 to 20 cells"),
            }),
            Free => Ok(()),
        }
    }

    fn untyped(&self, kind: &str, value: &Value) -> Result<(), Refusal> {
        match value {
            Value::Object(members) if !members.contains_key("type") => self.members(kind, members),
            _ => invalid(format!("this is no {kind}: {value}")),
        }
    }

    fn cell(&self, cell: &Value) -> Result<(), Refusal> {
        if cell["type"] != "raw_text" {
            return self.thing(cell, &["rich_text"], true);
        }
        if cell["text"].as_str().is_none_or(str::is_empty) {
            return invalid("a cell of a table says something");
        }
        Ok(())
    }

    fn text(&self, value: &Value, most: usize, is_plain: bool) -> Result<(), Refusal> {
        let own = match value["type"].as_str() {
            Some("plain_text") => "emoji",
            Some("mrkdwn") if !is_plain => "verbatim",
            _ => return invalid(format!("this is no text object that may stand here: {value:.200}")),
        };
        if let Some(key) = value
            .as_object()
            .and_then(|members| members.keys().find(|key| !["type", "text", own].contains(&key.as_str())))
        {
            return invalid(format!("this text object has no `{key}`"));
        }
        let text = value["text"].as_str().unwrap_or_default();
        if text.trim().is_empty() || text.chars().count() > most {
            return invalid(format!("a text of 1 to {most} characters, and not of {}", text.chars().count()));
        }
        markup::check(text, self.mentions)
    }
}

fn is_url(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !text.contains(char::is_whitespace))
        || text.starts_with("mailto:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_all(blocks: &str, expected: &str) {
        let blocks: Value = serde_json::from_str(blocks).expect("JSON");
        let said = check(&blocks, &[]).err();
        assert_eq!(said.as_ref().map_or("", |refusal| refusal.word), expected, "{said:?}: {blocks:.300}");
    }

    /// What is as long as it may be is taken, and one more is not. `@` stands for it.
    #[track_caller]
    fn check_limit(block: &str, most: usize) {
        for (length, expected) in [(most, ""), (most + 1, "invalid_blocks"), (0, "invalid_blocks")] {
            check_all(&format!("[{}]", block.replace('@', &"x".repeat(length))), expected);
        }
    }

    fn button(inner: &str) -> String {
        format!(r#"{{"type":"actions","elements":[{{"type":"button",{inner}}}]}}"#)
    }

    #[test]
    fn each_text_has_the_limit_of_its_place() {
        check_limit(r#"{"type":"section","text":{"type":"mrkdwn","text":"@"}}"#, 3000);
        check_limit(r#"{"type":"section","fields":[{"type":"mrkdwn","text":"@"}]}"#, 2000);
        check_limit(r#"{"type":"header","text":{"type":"plain_text","text":"@"}}"#, 150);
        check_limit(r#"{"type":"context","elements":[{"type":"mrkdwn","text":"@"}]}"#, 3000);
        check_limit(r#"{"type":"image","image_url":"https://x.de/","alt_text":"@"}"#, 2000);
        check_limit(
            r#"{"type":"image","image_url":"https://x.de/","alt_text":"a","title":{"type":"plain_text","text":"@"}}"#,
            2000,
        );
        check_limit(r#"{"type":"divider","block_id":"@"}"#, 255);
        check_limit(r#"{"type":"markdown","text":"@"}"#, 12_000);
        check_limit(&button(r#""text":{"type":"plain_text","text":"@"}"#), 75);
        check_limit(&button(r#""text":{"type":"plain_text","text":"a"},"value":"@""#), 2000);
        check_limit(&button(r#""text":{"type":"plain_text","text":"a"},"action_id":"@""#), 255);
        let option = r#"{"type":"actions","elements":[{"type":"overflow","options":[{"text":{"type":"plain_text","text":"a"},"value":"@"}]}]}"#;
        check_limit(option, 150);
        let video = r#"{"type":"video","alt_text":"a","title":{"type":"plain_text","text":"@"},"thumbnail_url":"https://x.de/","video_url":"https://x.de/"}"#;
        check_limit(video, 199);
    }

    #[test]
    fn each_list_has_the_limit_of_its_place() {
        let field = r#"{"type":"mrkdwn","text":"b"}"#;
        let many = |item: &str, count: usize| vec![item; count].join(",");
        let within = |open: &str, item: &str, close: &str, most: usize| {
            for (count, expected) in [(1, ""), (most, ""), (most + 1, "invalid_blocks"), (0, "invalid_blocks")] {
                check_all(&format!("[{open}{}{close}]", many(item, count)), expected);
            }
        };
        within(r#"{"type":"section","fields":["#, field, "]}", 10);
        within(r#"{"type":"context","elements":["#, field, "]}", 10);
        let pressed = r#"{"type":"button","text":{"type":"plain_text","text":"a"}}"#;
        within(r#"{"type":"actions","elements":["#, pressed, "]}", 25);
        let option = r#"{"text":{"type":"plain_text","text":"a"},"value":"b"}"#;
        within(r#"{"type":"actions","elements":[{"type":"overflow","options":["#, option, "]}]}", 5);
        within(r#"{"type":"actions","elements":[{"type":"static_select","options":["#, option, "]}]}", 100);
        within("", r#"{"type":"divider"}"#, "", 50);
        let cell = r#"{"type":"raw_text","text":"a"}"#;
        within(r#"{"type":"table","rows":[["#, cell, "]]}", 20);
        within(r#"{"type":"table","rows":["#, &format!("[{cell}]"), "]}", 100);
    }

    #[test]
    fn what_a_thing_needs_and_what_it_has_not_is_known() {
        for (block, expected) in [
            (r#"{"type":"section","text":{"type":"mrkdwn","text":"a"}}"#, ""),
            (r#"{"type":"section"}"#, "invalid_blocks"),
            (r#"{"type":"section","text":{"type":"mrkdwn","text":"a"},"colour":"red"}"#, "invalid_blocks"),
            (r#"{"type":"section","text":"a"}"#, "invalid_blocks"),
            (r#"{"type":"section","text":{"type":"mrkdwn","text":"a","emoji":true}}"#, "invalid_blocks"),
            (r#"{"type":"section","text":{"type":"mrkdwn","text":"a < b"}}"#, "strict_unescaped"),
            (r#"{"type":"header","text":{"type":"plain_text","text":"a","emoji":true}}"#, ""),
            (r#"{"type":"header","text":{"type":"mrkdwn","text":"a"}}"#, "invalid_blocks"),
            (r#"{"type":"image","alt_text":"a"}"#, "invalid_blocks"),
            (r#"{"type":"image","image_url":"https://x.de/","alt_text":"a"}"#, ""),
            (r#"{"type":"image","image_url":"x.de","alt_text":"a"}"#, "invalid_blocks"),
            (r#"{"type":"mystery"}"#, "invalid_blocks"),
            (r#"{"type":"button","text":{"type":"plain_text","text":"a"}}"#, "invalid_blocks"),
            (r#"{"type":"divider","block_id":"a"},{"type":"divider","block_id":"b"}"#, ""),
            (r#"{"type":"divider","block_id":"a"},{"type":"divider","block_id":"a"}"#, "invalid_blocks"),
            (
                r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":" "}]}]}"#,
                "",
            ),
            (
                r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":""}]}]}"#,
                "invalid_blocks",
            ),
            (
                r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"date","timestamp":1,"format":"{date}"}]}]}"#,
                "",
            ),
            (
                r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"date","timestamp":"1","format":"{date}"}]}]}"#,
                "invalid_blocks",
            ),
        ] {
            check_all(&format!("[{block}]"), expected);
        }
        let markdown = |length: usize| format!(r#"{{"type":"markdown","text":"{}"}}"#, "x".repeat(length));
        check_all(&format!("[{},{}]", markdown(6000), markdown(6000)), "");
        check_all(&format!("[{},{}]", markdown(6000), markdown(6001)), "msg_blocks_too_long");
        let table = r#"{"type":"table","rows":[[{"type":"raw_text","text":"a"}]]}"#;
        check_all(&format!("[{table}]"), "");
        check_all(&format!("[{table},{table}]"), "invalid_blocks");
        check_all("{}", "invalid_blocks");
    }
}

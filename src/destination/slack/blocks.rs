//! Slack's blocks as Slack takes them: nothing empty, nothing too long, nothing too many. Pure.
//!
//! Slack refuses a whole message (`invalid_blocks`) for one empty text. So an element goes whose text came out empty, then a block that
//! has no element left. The facts are those of <https://docs.slack.dev/reference/block-kit/blocks>,
//! <https://docs.slack.dev/reference/block-kit/block-elements> and <https://docs.slack.dev/reference/block-kit/composition-objects>.

use super::texts::cut_outside_entities;
use crate::event::Json;

/// Keys of blocks that hold a URL.
pub const URL_KEYS: [&str; 7] =
    ["url", "image_url", "thumbnail_url", "video_url", "title_url", "provider_icon_url", "icon_url"];

/// A text without a limit of its own: a text object's.
const TEXT_MAX: usize = 3000;
/// Blocks in a message.
const BLOCKS_MAX: usize = 50;
/// Characters of all `markdown` blocks of a message together: <https://docs.slack.dev/reference/block-kit/blocks/markdown-block>.
const MARKDOWN_MAX: usize = 12_000;

/// The most characters of a text, by the key that holds it; for a text object, that is the key that holds the object. A kind of `*` is
/// any; the first that fits counts.
const LIMITS: [(&str, &str, usize); 34] = [
    // https://docs.slack.dev/reference/block-kit/blocks
    ("section", "text", 3000),
    ("section", "fields", 2000),
    ("header", "text", 150),
    ("image", "alt_text", 2000),
    ("image", "title", 2000),
    ("*", "image_url", 3000),
    ("video", "alt_text", 2000),
    // "Less than 200", and "less than 50": https://docs.slack.dev/reference/block-kit/blocks/video-block
    ("video", "title", 199),
    ("video", "description", 199),
    ("video", "author_name", 49),
    ("input", "label", 2000),
    ("input", "hint", 2000),
    ("markdown", "text", MARKDOWN_MAX),
    ("*", "block_id", 255),
    // https://docs.slack.dev/reference/block-kit/block-elements
    ("button", "text", 75),
    ("button", "value", 2000),
    ("*", "accessibility_label", 75),
    ("workflow_button", "text", 75),
    ("*", "url", 3000),
    ("*", "thumbnail_url", 3000),
    ("*", "video_url", 3000),
    ("*", "title_url", 3000),
    ("*", "provider_icon_url", 3000),
    ("*", "placeholder", 150),
    ("*", "action_id", 255),
    // https://docs.slack.dev/reference/block-kit/composition-objects
    ("confirm", "title", 100),
    ("confirm", "text", 300),
    ("confirm", "confirm", 30),
    ("confirm", "deny", 30),
    ("option_groups", "label", 75),
    ("option", "text", 75),
    ("option", "description", 75),
    ("option", "value", 150),
    ("option", "url", 3000),
];

/// The most items of a list, by the kind and the key that hold it.
const COUNTS: [(&str, &str, usize); 9] = [
    ("section", "fields", 10),
    ("context", "elements", 10),
    ("actions", "elements", 25),
    ("overflow", "options", 5),
    ("checkboxes", "options", 10),
    ("radio_buttons", "options", 10),
    ("*", "options", 100),
    ("*", "option_groups", 100),
    ("context_actions", "elements", 5),
];

/// What a thing cannot be without, by its kind: one of each group.
const NEEDS: [(&str, &[&[&str]]); 43] = [
    ("plain_text", &[&["text"]]),
    ("mrkdwn", &[&["text"]]),
    ("section", &[&["text", "fields"]]),
    ("header", &[&["text"]]),
    ("context", &[&["elements"]]),
    ("actions", &[&["elements"]]),
    ("context_actions", &[&["elements"]]),
    ("image", &[&["image_url", "slack_file"], &["alt_text"]]),
    ("video", &[&["alt_text"], &["title"], &["thumbnail_url"], &["video_url"]]),
    ("input", &[&["label"], &["element"]]),
    ("markdown", &[&["text"]]),
    ("table", &[&["rows"]]),
    ("raw_text", &[&["text"]]),
    ("alert", &[&["text"]]),
    ("file", &[&["external_id"]]),
    ("slack_file", &[&["id", "url"]]),
    ("workflow", &[&["trigger"]]),
    ("trigger", &[&["url"]]),
    ("color", &[&["value"]]),
    ("positive_button", &[&["text"], &["value"]]),
    ("negative_button", &[&["text"], &["value"]]),
    ("button", &[&["text"]]),
    ("workflow_button", &[&["text"], &["workflow"]]),
    ("static_select", &[&["options", "option_groups"]]),
    ("multi_static_select", &[&["options", "option_groups"]]),
    ("overflow", &[&["options"]]),
    ("checkboxes", &[&["options"]]),
    ("radio_buttons", &[&["options"]]),
    ("rich_text", &[&["elements"]]),
    ("rich_text_section", &[&["elements"]]),
    ("rich_text_list", &[&["elements"]]),
    ("rich_text_preformatted", &[&["elements"]]),
    ("rich_text_quote", &[&["elements"]]),
    ("text", &[&["text"]]),
    ("link", &[&["url"]]),
    ("emoji", &[&["name"]]),
    ("user", &[&["user_id"]]),
    ("channel", &[&["channel_id"]]),
    ("usergroup", &[&["usergroup_id"]]),
    ("date", &[&["timestamp"], &["format"]]),
    ("option", &[&["text"], &["value"]]),
    ("option_groups", &[&["label"], &["options"]]),
    ("confirm", &[&["title"], &["text"], &["confirm"], &["deny"]]),
];

/// Where a value stands: the kind of each map above it, and the key in it, outermost first.
pub type Place<'p> = [(&'p str, &'p str)];

/// What a map is: its `type`, or, for what has none, what the key that holds it says.
pub fn kind_of<'k>(own_type: Option<&'k str>, held_by: Option<&'k str>) -> &'k str {
    match (own_type, held_by) {
        (Some(own), _) => own,
        (None, Some("options" | "initial_option" | "initial_options")) => "option",
        (None, Some(key)) => key,
        (None, None) => "",
    }
}

/// The most characters of the text at a place.
pub fn limit(place: &Place<'_>) -> usize {
    let is_text_object = |(kind, key): &(&str, &str)| matches!(*kind, "plain_text" | "mrkdwn") && *key == "text";
    let at = match place {
        [.., holder, object] if is_text_object(object) => holder,
        [.., at] => at,
        [] => return TEXT_MAX,
    };
    let is_its = |(kind, key, _): &&(&str, &str, usize)| (*kind == "*" || *kind == at.0) && *key == at.1;
    LIMITS.iter().find(is_its).map_or(TEXT_MAX, |(.., most)| *most)
}

/// Takes out what is empty, and cuts what is too long or too many. `None` if no block is left that says something.
pub fn tidy(blocks: Json) -> Option<Json> {
    let Json::Array(blocks) = blocks else { return Some(blocks) };
    let mut markdown_left = MARKDOWN_MAX;
    let tidied = blocks.into_iter().filter_map(|block| tidy_within(block, &[]));
    let mut kept: Vec<Json> = tidied.filter_map(|block| shorten_markdown(block, &mut markdown_left)).collect();
    kept.truncate(BLOCKS_MAX);
    let says_something = |block: &Json| block.member("type") != Some(&Json::String("divider".to_owned()));
    kept.iter().any(says_something).then_some(Json::Array(kept))
}

/// Cuts a `markdown` block to what those before it have left.
fn shorten_markdown(block: Json, left: &mut usize) -> Option<Json> {
    let is_markdown = block.member("type") == Some(&Json::String("markdown".to_owned()));
    let Json::Object(mut members) = block else { return Some(block) };
    if let Some((_, Json::String(text))) = members.iter_mut().find(|(key, _)| is_markdown && key == "text") {
        *text = cut_outside_entities(text, *left).to_owned();
        *left -= text.chars().count();
        if text.trim().is_empty() {
            return None;
        }
    }
    Some(Json::Object(members))
}

fn tidy_within(value: Json, place: &Place<'_>) -> Option<Json> {
    match value {
        Json::Object(members) => tidy_map(members, place),
        Json::Array(items) => {
            let is_empty = items.is_empty();
            let mut kept: Vec<Json> = items.into_iter().filter_map(|item| tidy_item(item, place)).collect();
            kept.truncate(count(place));
            (is_empty || !kept.is_empty()).then_some(Json::Array(kept))
        }
        Json::String(text) => tidy_text(text, place).map(Json::String),
        other => Some(other),
    }
}

/// A cell of a table that came out empty keeps its column.
fn tidy_item(item: Json, place: &Place<'_>) -> Option<Json> {
    let is_cell = place.last() == Some(&("table", "rows")) && matches!(item, Json::Object(_));
    tidy_within(item, place).or_else(|| is_cell.then(blank_cell))
}

fn blank_cell() -> Json {
    Json::read(r#"{"type":"raw_text","text":" "}"#)
}

/// Whether rows say nothing.
fn are_blank(rows: &Json) -> bool {
    match rows {
        Json::Array(items) => items.iter().all(are_blank),
        cell => *cell == blank_cell(),
    }
}

fn count(place: &Place<'_>) -> usize {
    let Some(at) = place.last() else { return usize::MAX };
    let is_its = |(kind, key, _): &&(&str, &str, usize)| (*kind == "*" || *kind == at.0) && *key == at.1;
    COUNTS.iter().find(is_its).map_or(usize::MAX, |(.., most)| *most)
}

fn tidy_text(text: String, place: &Place<'_>) -> Option<String> {
    // A blank between two words of rich text is a text of its own.
    let is_run = matches!(place.last(), Some(("text", "text")));
    if if is_run { text.is_empty() } else { text.trim().is_empty() } {
        return None;
    }
    let most = limit(place);
    if text.chars().count() <= most {
        return Some(text);
    }
    // Half a URL leads somewhere else.
    let is_url = place.last().is_some_and(|(_, key)| URL_KEYS.contains(key));
    (!is_url).then(|| cut_outside_entities(&text, most).to_owned())
}

fn tidy_map(members: Vec<(String, Json)>, place: &Place<'_>) -> Option<Json> {
    let own_type = members.iter().find_map(|(key, value)| match value {
        Json::String(text) if key == "type" => Some(text.clone()),
        _ => None,
    });
    let kind = kind_of(own_type.as_deref(), place.last().map(|(_, key)| *key)).to_owned();
    let had_url = members.iter().any(|(key, _)| key == "url");
    let mut kept = Vec::with_capacity(members.len());
    for (key, value) in members {
        let below: Vec<(&str, &str)> = place.iter().copied().chain([(kind.as_str(), key.as_str())]).collect();
        if let Some(value) = tidy_within(value, &below) {
            let value =
                if (kind.as_str(), key.as_str()) == ("date", "timestamp") { whole_number(value) } else { value };
            kept.push((key, value));
        }
    }
    let has = |key: &str| kept.iter().any(|(known, _)| known == key);
    let needs = NEEDS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, needs)| needs);
    // A button that was to lead somewhere, and has nowhere to lead to, is none.
    let leads = kind != "button" || !had_url || has("url");
    let says_something = kind != "table" || !kept.iter().any(|(key, rows)| key == "rows" && are_blank(rows));
    (leads && says_something && needs.iter().all(|one_of| one_of.iter().any(|key| has(key))))
        .then_some(Json::Object(kept))
}

/// A template makes a text, and Slack takes a time as a number alone.
fn whole_number(value: Json) -> Json {
    match &value {
        Json::String(text) if text.parse::<i64>().is_ok_and(|number| number.to_string() == *text) => Json::read(text),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(block: &str, expected: &str) {
        let tidied = tidy(Json::read(&format!("[{block}]")));
        let shown = tidied.map(|json| serde_json::to_string(&json).expect("JSON")).unwrap_or_default();
        let expected = if expected.is_empty() { String::new() } else { format!("[{expected}]") };
        assert_eq!(shown, expected, "{block}");
    }

    const DIVIDER: &str = r#"{"type":"divider"}"#;

    #[test]
    fn what_came_out_empty_goes_and_a_block_without_any_left_goes_too() {
        for gone in [
            r#"{"type":"section","text":{"type":"mrkdwn","text":""}}"#,
            r#"{"type":"section","text":{"type":"mrkdwn","text":" \n "}}"#,
            r#"{"type":"section","fields":[{"type":"mrkdwn","text":""}]}"#,
            r#"{"type":"section","fields":[{"type":"mrkdwn","text":""}],"accessory":{"type":"image","image_url":"http://x","alt_text":"a"}}"#,
            r#"{"type":"header","text":{"type":"plain_text","text":""}}"#,
            r#"{"type":"context","elements":[{"type":"mrkdwn","text":""},{"type":"image","image_url":"","alt_text":"x"}]}"#,
            r#"{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":""},"url":"http://x"}]}"#,
            r#"{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Go"},"url":""}]}"#,
            r#"{"type":"actions","elements":[{"type":"static_select","options":[{"text":{"type":"plain_text","text":""},"value":"v"}]}]}"#,
            r#"{"type":"image","image_url":"http://x","alt_text":""}"#,
            r#"{"type":"image","image_url":"","alt_text":"x"}"#,
            r#"{"type":"markdown","text":""}"#,
            r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":""},{"type":"link","url":""}]}]}"#,
            r#"{"type":"rich_text","elements":[{"type":"rich_text_list","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":""}]}]}]}"#,
            DIVIDER,
            "",
        ] {
            check(gone, "");
        }
    }

    #[test]
    fn a_cell_keeps_its_column_and_a_time_is_a_number() {
        let rows = |cells: &str| format!(r#"{{"type":"table","rows":[[{cells}]]}}"#);
        let full = r#"{"type":"raw_text","text":"a"}"#;
        let blank = r#"{"type":"raw_text","text":" "}"#;
        for empty in [
            r#"{"type":"raw_text","text":""}"#,
            r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":""}]}]}"#,
        ] {
            check(&rows(&format!("{full},{empty},{full}")), &rows(&format!("{full},{blank},{full}")));
        }
        let date = |timestamp: &str| {
            format!(
                r#"{{"type":"rich_text","elements":[{{"type":"rich_text_section","elements":[{{"type":"date","timestamp":{timestamp},"format":"{{date}}"}}]}}]}}"#
            )
        };
        check(&date(r#""1700000000""#), &date("1700000000"));
        check(&date("1700000000"), &date("1700000000"));
        check(&date(r#""""#), "");
        check(&date(r#""0170""#), &date(r#""0170""#));
        check(&rows(r#"{"type":"raw_text","text":""}"#), "");
    }

    #[test]
    fn what_is_left_stays_as_it_is() {
        let field = r#"{"type":"mrkdwn","text":"b"}"#;
        check(
            &format!(
                r#"{{"type":"section","text":{{"type":"mrkdwn","text":""}},"fields":[{{"type":"mrkdwn","text":""}},{field}]}}"#
            ),
            &format!(r#"{{"type":"section","fields":[{field}]}}"#),
        );
        check(
            r#"{"type":"image","image_url":"http://x","alt_text":"a","title":{"type":"plain_text","text":""}}"#,
            r#"{"type":"image","image_url":"http://x","alt_text":"a"}"#,
        );
        check(
            r#"{"type":"section","block_id":"","text":{"type":"mrkdwn","text":"a"},"accessory":{"type":"button","text":{"type":"plain_text","text":"Go"},"value":"","confirm":{"title":{"type":"plain_text","text":""},"text":{"type":"plain_text","text":"b"},"confirm":{"type":"plain_text","text":"c"},"deny":{"type":"plain_text","text":"d"}}}}"#,
            r#"{"type":"section","text":{"type":"mrkdwn","text":"a"},"accessory":{"type":"button","text":{"type":"plain_text","text":"Go"}}}"#,
        );
        for same in [
            r#"{"type":"section","text":{"type":"mrkdwn","text":"a","verbatim":false},"expand":true}"#,
            r#"{"type":"rich_text","elements":[{"type":"rich_text_section","elements":[{"type":"text","text":"a"},{"type":"text","text":" "},{"type":"emoji","name":"wave"}]}]}"#,
            r#"{"type":"actions","elements":[{"type":"button","text":{"type":"plain_text","text":"Go"},"value":"x"}]}"#,
            r#"{"type":"one_that_slack_will_have","x":{"y":[1,{"z":"a"}]}}"#,
        ] {
            check(same, same);
            check(&format!("{same},{DIVIDER}"), &format!("{same},{DIVIDER}"));
        }
    }

    #[test]
    fn each_text_is_cut_to_the_limit_of_its_place() {
        let long = "x".repeat(20_000);
        let object = format!(r#"{{"type":"plain_text","text":"{long}"}}"#);
        let longest = |block: &str| {
            let tidied = tidy(Json::read(&format!("[{block}]"))).expect("a block");
            let text = serde_json::to_string(&tidied).expect("JSON");
            text.split('"').map(str::len).max().unwrap_or_default()
        };
        let button = |inner: &str| {
            format!(
                r#"{{"type":"actions","elements":[{{"type":"button","text":{{"type":"plain_text","text":"a"}},{inner}}}]}}"#
            )
        };
        for (block, most) in [
            (format!(r#"{{"type":"section","text":{object}}}"#), 3000),
            (format!(r#"{{"type":"section","fields":[{object}]}}"#), 2000),
            (format!(r#"{{"type":"header","text":{object}}}"#), 150),
            (format!(r#"{{"type":"context","elements":[{object}]}}"#), 3000),
            (format!(r#"{{"type":"image","image_url":"u","alt_text":"{long}"}}"#), 2000),
            (format!(r#"{{"type":"image","image_url":"u","alt_text":"a","title":{object}}}"#), 2000),
            (format!(r#"{{"type":"actions","elements":[{{"type":"button","text":{object}}}]}}"#), 75),
            (button(&format!(r#""value":"{long}""#)), 2000),
            (button(&format!(r#""action_id":"{long}""#)), 255),
            (
                format!(
                    r#"{{"type":"divider","block_id":"{long}"}},{{"type":"header","text":{{"type":"plain_text","text":"a"}}}}"#
                ),
                255,
            ),
            (
                format!(
                    r#"{{"type":"actions","elements":[{{"type":"static_select","placeholder":{object},"options":[{{"text":{{"type":"plain_text","text":"a"}},"value":"b"}}]}}]}}"#
                ),
                150,
            ),
            (
                format!(
                    r#"{{"type":"actions","elements":[{{"type":"static_select","options":[{{"text":{object},"value":"b"}}]}}]}}"#
                ),
                75,
            ),
            (format!(r#"{{"type":"markdown","text":"{long}"}}"#), 12_000),
        ] {
            assert_eq!(longest(&block), most, "{}", &block[..60]);
        }
        check(&button(&format!(r#""url":"http://x/{long}""#)), "");
    }

    #[test]
    fn what_is_too_many_is_left_out() {
        let field = r#"{"type":"mrkdwn","text":"b"}"#;
        let many = |count: usize| vec![field; count].join(",");
        check(
            &format!(r#"{{"type":"section","fields":[{}]}}"#, many(12)),
            &format!(r#"{{"type":"section","fields":[{}]}}"#, many(10)),
        );
        check(
            &format!(r#"{{"type":"context","elements":[{}]}}"#, many(12)),
            &format!(r#"{{"type":"context","elements":[{}]}}"#, many(10)),
        );
        let header = r#"{"type":"header","text":{"type":"plain_text","text":"a"}}"#;
        check(&vec![header; 60].join(","), &vec![header; BLOCKS_MAX].join(","));
        let markdown = |length: usize| format!(r#"{{"type":"markdown","text":"{}"}}"#, "x".repeat(length));
        check(&[markdown(7000), markdown(7000)].join(","), &[markdown(7000), markdown(5000)].join(","));
        check(&[markdown(12_000), markdown(1)].join(","), &markdown(12_000));
    }
}

//! Texts that are sent as they are, and were written for another program: its braces, its dates, its markup.

use std::sync::LazyLock;

use regex::Regex;

use super::blocks;
use crate::destination::Language;
use crate::destination::template::sole_path;
use crate::event::vero;
use crate::fault::Fault;
use crate::tags;
use crate::yaml::raw::{Node, NodeId, Style, Value};
use crate::yaml::reader::Reader;

/// A longer text is not looked at.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Where a text stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    language: Language,
    key: &'p str,
    /// The `type` of the Slack element that holds it.
    element: &'p str,
}

/// What a text looks like, and what to write.
struct Slip {
    message: String,
    help: String,
    within: std::ops::Range<usize>,
}

/// Tells of the texts below a key of a kind's section.
pub(in crate::config) fn advise(reader: &Reader, language: Language, key: &str, node: &Node) {
    if language == Language::Json {
        advise_of_json_in_a_text(reader, node);
    }
    if language == Language::Blocks {
        blocks::advise(reader, node);
    }
    walk(reader, node, Place { language, key, element: "" });
}

fn walk(reader: &Reader, node: &Node, place: Place<'_>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| walk(reader, item, place)),
        Value::Map(entries) => {
            let element = node.get("type").and_then(Node::scalar).map_or(place.element, |scalar| &scalar.text);
            entries.iter().for_each(|(_, node)| walk(reader, node, Place { element, ..place }));
        }
        Value::Scalar(scalar) if scalar.style == Style::String && !scalar.is_interpolated => {
            if scalar.text.len() <= TEXT_BYTES_MAX
                && let Some(slip) = slip(&scalar.text, place)
            {
                tell(reader, node.id, place, slip);
            }
        }
        Value::Scalar(_) => {}
    }
}

fn tell(reader: &Reader, at: NodeId, place: Place<'_>, slip: Slip) {
    let Slip { message, help, within } = slip;
    match place.key {
        "url" => reader.secret_warning(at, message, help),
        _ => reader.warning_within(at, Fault { message, help: Some(help), within: Some(within) }),
    }
}

/// `json: '{"email": …}'` is one text to YAML, and is sent as one.
fn advise_of_json_in_a_text(reader: &Reader, node: &Node) {
    let Some(scalar) = node.scalar().filter(|scalar| scalar.style == Style::String && !scalar.is_interpolated) else {
        return;
    };
    let text = scalar.text.trim();
    let is_json = (text.starts_with('{') && text.ends_with('}') && !text.starts_with("{{") && !text.starts_with("{%"))
        || (text.starts_with('[') && text.ends_with(']'));
    if is_json {
        let help = "take the quotes around it away, or the `|`: JSON is YAML, and its texts are templates".to_owned();
        reader.warning(node.id, "`json` is one text here, so a text is sent and no object", help);
    }
    if let Some(path) = path_made_json(text) {
        let help = format!("write json: \"{{{{ {path} }}}}\": a value alone keeps its type");
        reader.warning(node.id, "`tojson` makes a text, so a text is sent and no object", help);
    }
}

/// The path of `{{ path | tojson }}`.
fn path_made_json(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?.trim_matches('-');
    let (path, filter) = inner.split_once('|')?;
    let filter = filter.split('(').next().unwrap_or_default().trim();
    (filter == "tojson" && sole_path(&format!("{{{{{path}}}}}")).is_some()).then(|| path.trim())
}

fn regex(source: &str) -> Regex {
    Regex::new(source).expect("a pattern of ours compiles: a test uses each")
}

/// Values as other programs write them. The name is the first group that there is.
static FOREIGN: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"<%=?-?\s*@?([\w.]+).*?%>|[$#%@]?\{\s*([A-Za-z_][\w.-]*)\s*\}|\$([A-Za-z_][\w.]*\w)|\[\[\s*([\w.]+)\s*\]\]|\*\|([\w:]+)\|\*|%([A-Za-z_.]+)%|<<\s*([\w.]+)\s*>>",
    )
});
static MARKDOWN_LINK: LazyLock<Regex> = LazyLock::new(|| regex(r"!?\[([^\]\n]+)\]\(([^)\n]+)\)"));
static MARKDOWN_BOLD: LazyLock<Regex> =
    LazyLock::new(|| regex(r"\*\*([^*\s](?:[^*\n]*[^*\s])?)\*\*|__([^_\s](?:[^_\n]*[^_\s])?)__"));
static MARKDOWN_STRIKE: LazyLock<Regex> = LazyLock::new(|| regex(r"~~([^~\n]+)~~"));
static MARKDOWN_HEADING: LazyLock<Regex> = LazyLock::new(|| regex(r"(?m)^#{1,6} +(\S.*)$"));
static HTML: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)</?(?:b|i|u|strong|em|br|p|code|pre|ul|li|h[1-6])\s*/?>|<a\s[^>]*>"#));
static MENTION: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:^|\s|<)@(here|channel|everyone)\b>?"));
static STRFTIME: LazyLock<Regex> = LazyLock::new(|| regex(r"%[-0_]?[YmdHMSFjyT](?:[-_./]?%[-0_]?[YmdHMSFjyT])*"));
static LETTERED_DATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[{<\[(]?(?:YYYY|yyyy)[-_./]?(?:MM|mm)(?:[-_./]?(?:DD|dd))?[}>\])]?"));

fn slip(text: &str, place: Place<'_>) -> Option<Slip> {
    if place.language == Language::Path {
        return of_a_path(text);
    }
    let blank = without_tags(text, b' ');
    let filled = without_tags(text, b'x');
    let own = foreign(&blank)
        .or_else(|| backslash(&blank, place))
        .or_else(|| of_a_url(&blank, place))
        .or_else(|| stray(text, &blank));
    let is_markup = matches!(place.language, Language::Mrkdwn | Language::Blocks)
        && !matches!(place.element, "markdown" | "plain_text");
    own.or_else(|| if is_markup { markup(text, &filled) } else { None })
}

/// A text with its `{{ … }}`, `{% … %}` and `{# … #}` filled with one byte, so that places stay: also those that a `raw` has sent as they are.
fn without_tags(text: &str, with: u8) -> String {
    let mut bytes = vec![with; text.len()];
    for own in tags::texts(text) {
        let has_tags = ["{{", "{%", "{#"].iter().any(|open| text[own.clone()].contains(open));
        if !has_tags {
            bytes[own.clone()].copy_from_slice(&text.as_bytes()[own]);
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// A value of the event as another program would put it in.
fn foreign(text: &str) -> Option<Slip> {
    FOREIGN.captures_iter(text).find_map(|found| {
        let whole = found.get(0)?;
        let name = found.iter().skip(1).flatten().next()?.as_str().replace([':', '-'], "_");
        let is_erb = whole.as_str().starts_with("<%") || whole.as_str().starts_with("*|");
        let lower = name.to_lowercase();
        let field =
            vero::FIELDS.iter().find(|field| field.replace('-', "_") == lower).map(|field| field.replace('-', "_"));
        let is_free = ["event.data.", "changes.", "user.", "relay."].iter().any(|start| lower.starts_with(start));
        let meant =
            || vero::meant(&lower).filter(|_| is_erb || name.contains('.')).map(|field| field.replace('-', "_"));
        // Erb may hold anything; braces and signs around another word may well be meant.
        let field = field
            .or_else(|| is_free.then_some(lower.clone()))
            .or_else(meant)
            .or_else(|| is_erb.then_some(lower.clone()))?;
        let message = format!("`{}` is sent as it is", whole.as_str());
        Some(Slip { message, help: format!("write {{{{ {field} }}}}"), within: whole.range() })
    })
}

/// `}}` that closes nothing.
fn stray(text: &str, blank: &str) -> Option<Slip> {
    let count = |tag: &str| text.matches(tag).count();
    let at = blank.find("}}").filter(|_| !blank.contains('{'))?;
    // A map within a value's braces ends like this.
    if text.matches('{').count() != 2 * count("{{") + count("{%") + count("{#") {
        return None;
    }
    let message = "this `}}` closes nothing: it is sent as it is".to_owned();
    Some(Slip { message, help: "take it out, or write `{{` before the name".to_owned(), within: at..at + 2 })
}

/// `/users/:id`: a value of the event as routes of web servers have it.
fn of_a_url(text: &str, place: Place<'_>) -> Option<Slip> {
    static PARAMETER: LazyLock<Regex> = LazyLock::new(|| regex(r"/:([a-z_]+)(?:$|[/?#])"));
    let found = PARAMETER.captures(text).filter(|_| place.key == "url")?;
    let name = found.get(1)?;
    let field = match name.as_str() {
        "id" | "user" | "user_id" => "user.id",
        "email" => "user.email",
        name => vero::meant(name)?,
    };
    let message = format!("`:{}` is sent as it is", name.as_str());
    Some(Slip { message, help: format!("write {{{{ {field} }}}}"), within: name.start() - 1..name.end() })
}

/// `\n` in single quotes or without any: YAML knows escapes in double quotes only.
fn backslash(text: &str, place: Place<'_>) -> Option<Slip> {
    if place.key == "url" {
        return None;
    }
    let at = ["\\n", "\\t", "\\r\\n"].iter().filter_map(|sign| text.find(sign)).min()?;
    // `C:\new` and `\\n` are meant.
    let before = text[..at].chars().next_back();
    let behind = text[at + 2..].chars().next();
    let is_path = before == Some(':')
        || (before.is_some_and(char::is_alphanumeric)
            && behind.is_some_and(char::is_lowercase)
            && text.contains(":\\"));
    if before == Some('\\') || is_path {
        return None;
    }
    let sign = &text[at..at + 2];
    let message = format!("`{sign}` is sent as a backslash and a letter: only double quotes know escapes");
    let help = "write the text in \"…\", or as lines of their own below `|`".to_owned();
    Some(Slip { message, help, within: at..at + 2 })
}

/// Markdown and HTML, which Slack does not render.
fn markup(text: &str, filled: &str) -> Option<Slip> {
    let of = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let slip = |message: &str, help: String, within| Some(Slip { message: message.to_owned(), help, within });
    if let Some(found) = MARKDOWN_LINK.captures(filled) {
        let whole = found.get(0)?;
        let label = of(found.get(1)?.range());
        let address = of(found.get(2)?.range());
        let address = match address.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
            Some(path) if !path.contains("url") => format!("{{{{ {} | url }}}}", path.trim()),
            _ => address.trim().to_owned(),
        };
        return slip("Slack does not know Markdown's links", format!("write <{address}|{label}>"), whole.range());
    }
    if let Some(found) = MARKDOWN_BOLD.captures(filled) {
        let whole = found.get(0)?;
        let inner = found.get(1).or(found.get(2))?;
        return slip("Slack does not know Markdown's bold", format!("write *{}*", of(inner.range())), whole.range());
    }
    if let Some(found) = MARKDOWN_STRIKE.captures(filled) {
        let whole = found.get(0)?;
        let inner = found.get(1)?;
        return slip("Slack strikes through with one `~`", format!("write ~{}~", of(inner.range())), whole.range());
    }
    if let Some(found) = MARKDOWN_HEADING.captures(filled) {
        let whole = found.get(0)?;
        let inner = found.get(1)?;
        return slip(
            "Slack knows no headings in a text",
            format!("write *{}*, or a `header` block", of(inner.range())),
            whole.range(),
        );
    }
    if let Some(found) = HTML.find(filled) {
        let help = "write *bold*, _italic_, `code`, <https://…|a link>, and a line break in \"…\\n…\"".to_owned();
        return slip("Slack does not know HTML", help, found.range());
    }
    let found = MENTION.captures(filled)?;
    let name = found.get(1)?;
    let start = found.get(1)?.start() - 1;
    let is_open = text[..start].ends_with('<') && text[name.end()..].starts_with('>');
    let range = if is_open { start - 1..name.end() + 1 } else { start..name.end() };
    let help = format!("write <!{}>", name.as_str());
    slip(&format!("`{}` notifies nobody in a message from a webhook", of(range.clone())), help, range)
}

/// A path with another program's dates or values.
fn of_a_path(text: &str) -> Option<Slip> {
    let place = |part: &str| {
        let has_day = ["d", "F", "j", "D"].iter().any(|sign| part.contains(sign));
        let has_hour = ["H", "T"].iter().any(|sign| part.contains(sign));
        match (has_day || part.contains(['Y', 'y']), has_hour) {
            (true, true) => "{date}-{hour}",
            (false, true) => "{hour}",
            _ => "{date}",
        }
    };
    if let Some((sign, rest)) = ["~/", "$HOME/"].iter().find_map(|sign| Some((*sign, text.strip_prefix(sign)?))) {
        let sign = sign.trim_end_matches('/');
        let message = format!("`{sign}` is the name of a directory here: no shell reads this");
        return Some(Slip { message, help: format!("write \"${{HOME}}/{rest}\""), within: 0..sign.len() });
    }
    static PLACES: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"\$(date|hour|type|source)\b|%(date|hour|type|source)%|[<\[](date|hour|type|source)[>\]]")
    });
    if let Some(found) = PLACES.captures(text)
        && let Some((whole, name)) = found.get(0).zip(found.iter().skip(1).flatten().next())
    {
        let fixed = format!("{}{{{}}}{}", &text[..whole.start()], name.as_str(), &text[whole.end()..]);
        let message = format!("`{}` is a part of the file's name: nothing is put in its place", whole.as_str());
        return Some(Slip { message, help: format!("write \"{fixed}\""), within: whole.range() });
    }
    let found = STRFTIME.find(text).or_else(|| LETTERED_DATE.find(text))?;
    let whole = format!("{}{}{}", &text[..found.start()], place(found.as_str()), &text[found.end()..]);
    let message = format!("`{}` is a part of the file's name: nothing is put in its place", found.as_str());
    Some(Slip { message, help: format!("write \"{whole}\""), within: found.range() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(language: Language, text: &str, expected: Option<&str>) {
        let key = if language == Language::Path { "path" } else { "text" };
        let found = slip(text, Place { language, key, element: "" }).map(|slip| slip.help);
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn another_programs_values_are_known() {
        for (text, help) in [
            ("{type} bounced", "write {{ type }}"),
            ("$type bounced", "write {{ type }}"),
            ("#{user.email}", "write {{ user.email }}"),
            ("%{user.email}", "write {{ user.email }}"),
            ("<%= campaign.name %>", "write {{ campaign.name }}"),
            ("[[campaign.name]]", "write {{ campaign.name }}"),
            ("*|EMAIL|*", "write {{ email }}"),
            ("{{ type }} by {campaign.trigger-event}", "write {{ campaign.trigger_event }}"),
        ] {
            check(Language::Text, text, Some(help));
        }
        for text in
            ["{{ type }}", "{name}", "costs $5", "a {b} c", "{\"type\": 1}", "100%", "{% if type %}{type }{% endif %}"]
        {
            let expected = text.contains("{type }").then_some("write {{ type }}");
            check(Language::Text, text, expected);
        }
    }

    #[test]
    fn markup_that_slack_does_not_know_is_told_with_slacks_own() {
        for (text, help) in [
            ("[see](http://x/y)", "write <http://x/y|see>"),
            ("[see]({{ campaign.permalink }})", "write <{{ campaign.permalink | url }}|see>"),
            ("**{{ type }}** now", "write *{{ type }}*"),
            ("~~old~~", "write ~old~"),
            ("# Bounced", "write *Bounced*, or a `header` block"),
            ("@here {{ type }}", "write <!here>"),
            ("<@here> {{ type }}", "write <!here>"),
        ] {
            check(Language::Mrkdwn, text, Some(help));
            check(Language::Text, text, None);
        }
        check(
            Language::Mrkdwn,
            "<b>x</b>",
            Some("write *bold*, _italic_, `code`, <https://…|a link>, and a line break in \"…\\n…\""),
        );
        for text in [
            "*{{ type }}* <http://x|y> <!here>",
            "{{ 2 ** 3 }}",
            ":tada: a * b * c",
            "a@here.com",
            "[1] (x)",
            "#alerts",
        ] {
            check(Language::Mrkdwn, text, None);
        }
        check(Language::Mrkdwn, "a\\nb", Some("write the text in \"…\", or as lines of their own below `|`"));
        check(Language::Mrkdwn, "C:\\new", None);
        check(Language::Mrkdwn, "{{ a | replace('\\n', ' ') }}", None);
        check(Language::Text, "{{ a | default('}}, b') }}", None);
        check(Language::Text, "{{ a }} b }}", Some("take it out, or write `{{` before the name"));
    }

    #[test]
    fn dates_of_other_programs_in_a_path_are_known() {
        for (text, help) in [
            ("archive/%Y-%m-%d.ndjson", "write \"archive/{date}.ndjson\""),
            ("archive/%F/%H.ndjson", "write \"archive/{date}-{hour}.ndjson\""),
            ("archive/YYYY-MM-DD.ndjson", "write \"archive/{date}.ndjson\""),
            ("archive/$type.ndjson", "write \"archive/{type}.ndjson\""),
            ("archive/<date>.ndjson", "write \"archive/{date}.ndjson\""),
            ("~/a.ndjson", "write \"${HOME}/a.ndjson\""),
            ("$HOME/a.ndjson", "write \"${HOME}/a.ndjson\""),
        ] {
            check(Language::Path, text, Some(help));
        }
        for text in ["archive/{date}.ndjson", "archive/100%.ndjson", "type.ndjson"] {
            check(Language::Path, text, None);
        }
    }
}

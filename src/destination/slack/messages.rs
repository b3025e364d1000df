//! What each type of event reads like in a channel, if a config has no text of its own.
//!
//! A message is a title and what is known beside it, joined by ` · ` only where something stands on both sides; then what was said,
//! each line of it quoted. What nobody sees is left out: it would turn the direction of what stands behind it. An event that is older than [`OLD_MS`] tells its time: who reads it would take it for news.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::super::template::{Escape, Template};
use super::super::view::View;
use super::TEXT_MAX;
use super::texts::{cut_outside_entities, fit};
use crate::event::Json;

/// An event is old after five minutes: retries and short pauses are over by then.
const OLD_MS: u64 = 5 * 60 * 1000;
/// The most characters of one part of the first line, and of what is quoted: together they keep within a message.
const PART_MAX: usize = 500;
const QUOTED_MAX: usize = 1500;

const WHO: &str = "{{ user.email or user.id }}";
const CAMPAIGN: &str = "{{ campaign.name }}";
const SUBJECT: &str = "{{ campaign.subject }}";
const LINK: &str = "{% if campaign.permalink | url %}<{{ campaign.permalink | url }}|view the mail>{% endif %}";
const NOTHING: &str = "";

/// By type of event: the title, what stands beside it, what is quoted. The last one is for all other types.
const MESSAGES: [(&str, [&str; 3]); 13] = [
    (
        "bounced",
        [
            ":warning: *Bounced*{% if bounce_type %} ({{ bounce_type }}){% endif %}",
            CAMPAIGN,
            "{{ bounce_message or bounce_code }}",
        ],
    ),
    ("complained", [":rotating_light: *Marked as spam*", CAMPAIGN, SUBJECT]),
    ("failed", [":x: *Not sent*", CAMPAIGN, SUBJECT]),
    ("unsubscribed", [":wave: *Unsubscribed*", "{% if campaign.name %}after {{ campaign.name }}{% endif %}", NOTHING]),
    ("resubscribed", [":leftwards_arrow_with_hook: *Resubscribed*", NOTHING, NOTHING]),
    ("converted", [":tada: *Converted*", CAMPAIGN, NOTHING]),
    ("sent", [":outbox_tray: *Sent*", CAMPAIGN, NOTHING]),
    ("delivered", [":white_check_mark: *Delivered*", CAMPAIGN, NOTHING]),
    ("opened", [":eyes: *Opened*", CAMPAIGN, NOTHING]),
    ("clicked", [":point_right: *Clicked*", CAMPAIGN, NOTHING]),
    ("user_created", [":bust_in_silhouette: *New user*", NOTHING, NOTHING]),
    (
        "user_updated",
        [
            ":pencil2: *User updated*",
            "{% if changes is mapping %}{{ changes | list | join(', ') }}{% endif %}",
            NOTHING,
        ],
    ),
    ("", [":email: *{{ type }}*", CAMPAIGN, NOTHING]),
];

struct Message {
    event_type: &'static str,
    title: Template,
    beside: Template,
    quoted: Template,
}

/// They are the same for every destination, so they are compiled once.
static COMPILED: LazyLock<(Vec<Message>, [Template; 2])> = LazyLock::new(|| {
    let compile = |source| Template::compile(source, Escape::Slack).expect("they compile: a test tries each");
    let message = |(event_type, [title, beside, quoted]): (&'static str, [&'static str; 3])| Message {
        event_type,
        title: compile(title),
        beside: compile(beside),
        quoted: compile(quoted),
    };
    (MESSAGES.into_iter().map(message).collect(), [WHO, LINK].map(compile))
});

/// The message of an event, at a time.
pub fn message(view: &View, now_ms: u64) -> Result<String, String> {
    let (messages, [who, link]) = &*COMPILED;
    let event_type = view.find("type");
    let is_its = |message: &&Message| matches!(&event_type, Some(Json::String(text)) if text == message.event_type);
    let Some(message) = messages.iter().find(is_its).or(messages.last()) else { return Ok(String::new()) };
    let mut parts = Vec::new();
    for template in [&message.title, who, &message.beside, link] {
        let part = fit(template, view, PART_MAX)?;
        let part = seen(&part);
        // A link that was cut leads nowhere, and a part has one line.
        if !std::ptr::eq(template, link) || part.ends_with('>') {
            parts.push(part.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let occurred_ms = view.occurred_ms();
    if now_ms.saturating_sub(occurred_ms) > OLD_MS {
        let occurred = crate::time::timestamp(occurred_ms).to_zoned(jiff::tz::TimeZone::UTC);
        parts.push(occurred.strftime("%Y-%m-%d %H:%M UTC").to_string());
    }
    parts.retain(|part| !part.is_empty());
    let mut text = parts.join(" · ");
    let quoted = fit(&message.quoted, view, QUOTED_MAX)?;
    for line in quoted.lines().map(seen) {
        let line = line.trim_end();
        if !line.is_empty() {
            text.push_str("\n> ");
            text.push_str(line);
        }
    }
    Ok(cut_outside_entities(&text, TEXT_MAX).to_owned())
}

/// A line with a blank for each sign that nobody sees.
pub fn seen(line: &str) -> Cow<'_, str> {
    crate::unseen::written(line, |_, out| out.push(' '))
}

#[cfg(test)]
mod tests {
    use super::super::super::template::tests::delivery;
    use super::*;

    /// When the samples arrive.
    const ARRIVAL_MS: u64 = 1_700_000_000_000;

    fn text(body: &str) -> String {
        message(&View::new(&delivery(body)), ARRIVAL_MS).expect("renders")
    }

    #[test]
    fn the_usual_messages_read_well() {
        let mut shown = String::new();
        let mut show = |name: &str, body: &str| shown.push_str(&format!("--- {name}\n{}\n", text(body)));
        for (name, body) in crate::event::vero::SAMPLES {
            show(name, body);
        }
        show("a type that Vero does not have yet", r#"{"type":"snoozed","user":{"id":7}}"#);
        show("nobody is known", r#"{"type":"bounced","campaign":{"name":"X"}}"#);
        show("nothing is known", r#"{"type":"opened"}"#);
        show(
            "two lines, and markup",
            r#"{"type":"bounced","user":{"email":"a@b"},"bounce_message":"550 <no>\n\nsuch *user*\r\n> here"}"#,
        );
        show(
            "what nobody sees",
            r#"{"type":"bounced","bounce_type":"ha\u200brd","user":{"email":"a\u202eb@c"},"campaign":{"name":"\u2066Spring\u2028 می\u200cخواهم"},"bounce_message":"550 no\u202e\nsuch\u0085\ufeffuser\n\u200b"}"#,
        );
        show("a link that is none", r#"{"type":"sent","user":{"id":1},"campaign":{"permalink":"javascript:x"}}"#);
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn the_time_is_told_when_the_event_is_older_than_five_minutes() {
        let at = |age_ms: u64| {
            let sent_at = (ARRIVAL_MS - age_ms) / 1000;
            text(&format!(r#"{{"type":"sent","sent_at":{sent_at},"user":{{"id":1}}}}"#))
        };
        assert_eq!(at(300_000), ":outbox_tray: *Sent* · 1");
        assert_eq!(at(301_000), ":outbox_tray: *Sent* · 1 · 2023-11-14 22:08 UTC");
        assert_eq!(
            text(r#"{"type":"resubscribed","user":{"id":1}}"#),
            ":leftwards_arrow_with_hook: *Resubscribed* · 1"
        );
    }

    #[test]
    fn a_message_of_long_values_keeps_within_slacks_limit() {
        let long = "<&\\n".repeat(40_000);
        for event_type in crate::event::vero::TYPES {
            let text = text(&format!(
                r#"{{"type":"{event_type}","user":{{"email":"{long}"}},"campaign":{{"name":"{long}","subject":"{long}","permalink":"http://x/{long}"}},"bounce_message":"{long}"}}"#
            ));
            assert!(text.chars().count() <= TEXT_MAX, "{event_type}: {}", text.chars().count());
        }
    }
}

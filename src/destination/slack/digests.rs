//! What several events read like as one message, if a config has no text of its own; and how a text of its own keeps within a message.

use super::super::digest::{Digest, leave_out};
use super::super::template::{Template, slack_escaped};
use super::super::view::View;
use super::texts::{cut_outside_entities, fit, mended};
use super::{TEXT_MAX, messages};

/// A digest that is older tells its day: who reads it would take it for today's.
const OLD_MS: u64 = 12 * 60 * 60 * 1000;
/// The most characters of the title: a group may have eight values, each of a hundred characters that are written as five.
const TITLE_MAX: usize = 500;
/// The most characters of an example: a line or two of a channel.
const EXAMPLE_MAX: usize = 200;
/// The most characters of one value in a digest, where the whole would be too long.
const VALUE_MAX: usize = 200;
/// Room for what ends a message: how many more there are, and the page.
const TAIL_MAX: usize = 600;
/// What stands where lines were left out.
const CUT: &str = "\n…";

/// The message of a digest, at a time.
pub fn message(digest: &Digest, now_ms: u64) -> Result<String, String> {
    let span = digest.span(now_ms.saturating_sub(digest.until_ms) > OLD_MS);
    let mut text = format!("*{}* · {span}", cut_outside_entities(&bold(&digest.title()), TITLE_MAX));
    let push = |text: &mut String, line: &str| {
        let has_room = text.chars().count() + line.chars().count() + 1 + TAIL_MAX <= TEXT_MAX;
        if has_room {
            text.push('\n');
            text.push_str(line);
        }
        has_room
    };
    let lines = digest.lines();
    let told = lines.iter().take_while(|line| push(&mut text, &slack_escaped(line))).count();
    match lines.len() - told {
        0 => {}
        1 => text.push_str("\n… and 1 more group"),
        more => text.push_str(&format!("\n… and {more} more groups")),
    }
    let mut examples = Vec::new();
    for example in digest.shown_events() {
        let view = View::of_event(example);
        // The digest has told the time.
        examples.push(quoted(&messages::message(&view, view.occurred_ms())?));
    }
    let room = TEXT_MAX.saturating_sub(text.chars().count() + TAIL_MAX);
    leave_out(&mut examples, |examples| examples.iter().map(|line| line.chars().count() + 1).sum::<usize>() <= room);
    let shown = examples.iter().filter(|line| push(&mut text, line)).count() as u64;
    let more = digest.count.saturating_sub(shown);
    if more > 0 && shown > 0 {
        text.push_str(&format!("\n… and {more} more"));
    }
    if let Some(page) = digest.page.as_deref().map(slack_escaped).filter(|page| page.chars().count() < TAIL_MAX / 2) {
        text.push_str(&format!("\n<{page}|see them>"));
    }
    Ok(text)
}

/// Within bold text an asterisk would end it.
fn bold(title: &str) -> String {
    slack_escaped(&title.replace('*', "∗"))
}

/// A message on one line, as an example: the first one of its lines, and what fits of the rest. A link is left out: the page has them all.
fn quoted(message: &str) -> String {
    let lines = message.lines().map(|line| line.trim_start_matches("> ").trim()).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" · ");
    let parts = line.split(" · ").filter(|part| !part.contains('<'));
    let line = parts.collect::<Vec<_>>().join(" · ");
    format!("> {}", cut_outside_entities(&line, EXAMPLE_MAX))
}

/// Renders a text of a config within a message: the values are cut, and then whole lines are left out at its end.
pub fn fit_lines(template: &Template, view: &View) -> Result<String, String> {
    let rendered = mended(template.render(view, None)?);
    if rendered.chars().count() <= TEXT_MAX {
        return Ok(rendered);
    }
    let rendered = mended(template.render(view, Some(VALUE_MAX))?);
    if rendered.chars().count() <= TEXT_MAX {
        return Ok(rendered);
    }
    let cut = cut_outside_entities(&rendered, TEXT_MAX - CUT.chars().count());
    match cut.rfind('\n').filter(|at| !cut[..*at].trim().is_empty()) {
        Some(at) => Ok(format!("{}{CUT}", &cut[..at])),
        None => fit_line(template, view),
    }
}

/// Renders a text that is one line, and ends before a link that is cut.
fn fit_line(template: &Template, view: &View) -> Result<String, String> {
    let text = fit(template, view, TEXT_MAX)?;
    let open = text.rfind('<').filter(|at| !text[*at..].contains('>'));
    Ok(open.map_or(text.as_str(), |at| &text[..at]).to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    use super::super::super::digest::tests::{bounces, group, with_groups};
    use super::super::super::sample::{built, sample};
    use super::super::super::template::{Escape, Subject};
    use super::super::strict::{Asked, Strict, Watched};
    use super::*;
    use crate::destination::{Delivery, Group};

    const URL: &str = "{ url: \"http://127.0.0.1:1/T/B/x\" }";

    fn of(delivery: &Delivery) -> &Digest {
        delivery.digest.as_deref().expect("a digest")
    }

    #[test]
    fn the_usual_messages_of_digests_read_well() {
        let mut all = String::new();
        let mut show = |name: &str, delivery: &Delivery| {
            all.push_str(&format!(
                "--- {name}\n{}\n",
                message(of(delivery), of(delivery).until_ms + OLD_MS).expect("renders")
            ));
        };
        show("one group", &bounces(1997, 12));
        show("few events", &bounces(2, 2));
        show("two groups", &with_groups(bounces(30, 3), vec![group("Spring * & <b>", 20), group("Receipts", 10)]));
        show("no page", &{
            let delivery = bounces(3, 1);
            let digest = Digest { page: None, ..of(&delivery).clone() };
            Delivery { digest: Some(Arc::new(digest)), ..delivery }
        });
        insta::assert_snapshot!(all);
        let one = bounces(3, 1);
        let old = message(of(&one), of(&one).until_ms + OLD_MS + 1).expect("renders");
        assert!(old.contains("* · 2015-06-22 23:37–23:52 UTC"), "{old}");
    }

    #[test]
    fn what_nobody_sees_is_in_no_line_of_a_digest() {
        let (sign, joined) = ("\u{202e}", "می\u{200c}خواهم");
        let delivery = with_groups(bounces(3, 1), vec![group(&format!("A{sign}B {joined}"), 2), group(sign, 1)]);
        let body = serde_json::json!({
            "type": "bounced", "user": { "email": format!("a{sign}b@example.com") }, "campaign": { "name": joined },
            "bounce_message": format!("no\u{feff}such{sign}user"),
        });
        let digest = Digest { events: vec![sample(body.to_string(), 1_700_000_000_000)], ..of(&delivery).clone() };
        let text = message(&digest, digest.until_ms).expect("renders");
        assert!(!text.contains(sign) && !text.contains('\u{feff}'), "{text:?}");
        assert_eq!(text.matches(joined).count(), 2, "a joiner that is a part of the word: {text:?}");
        assert!(text.contains("a b@example.com") && text.contains("no such user") && text.contains("(none)"), "{text}");
    }

    #[test]
    fn a_text_of_a_config_that_is_too_long_loses_whole_lines_and_no_half_links() {
        let text = |source: &str| {
            let template = Template::compile_for(source, Escape::Slack, Subject::Digest).expect("compiles");
            fit_lines(&template, &View::new(&bounces(1000, 500))).expect("renders")
        };
        let lines = text(
            "*{{ digest.count }}*{% for e in digest.events %}\n<https://x.de/{{ e.user.id }}|{{ e.user.email }}> and more of it{% endfor %}",
        );
        assert!(lines.starts_with("*1000*\n") && lines.ends_with("and more of it\n…"), "{lines}");
        assert!((TEXT_MAX - 100..=TEXT_MAX).contains(&lines.chars().count()));
        let line = text("{% for e in digest.events %}<https://x.de/{{ e.user.id }}|{{ e.user.email }}> {% endfor %}");
        assert!((TEXT_MAX - 100..=TEXT_MAX).contains(&line.chars().count()) && line.ends_with("> "), "{line}");
        assert_eq!(
            text("{{ digest.count }} × {{ type }} of {{ campaign.name }}"),
            "1000 × bounced of Spring &lt;newsletter&gt;"
        );
    }

    /// Values that would like to be more than a value.
    pub fn hostile() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "<!channel>",
            "<@U1>",
            "&",
            "&amp",
            "<https://evil.example|click>",
            "*",
            "`",
            "```",
            "_",
            "\n> ",
            "\u{202e}",
            "\u{200b}",
            "\u{feff}",
            " ",
            "|",
            ">",
            "{{ x }}",
            "\"",
            "\\",
            "\u{0}",
            "😀",
            "ä",
        ]);
        let short = prop::collection::vec(prop_oneof![words.prop_map(str::to_owned), any::<String>()], 0..6);
        prop_oneof![
            8 => short.prop_map(|parts| parts.concat()),
            1 => any::<char>().prop_map(|c| c.to_string().repeat(1 << 12)),
        ]
    }

    fn digests() -> impl Strategy<Value = Delivery> {
        let group = (
            prop::collection::vec(hostile(), 0..8),
            1..1_000_000_u64,
            prop::collection::vec((hostile(), any::<u32>()), 0..20),
            any::<u32>(),
        );
        let group = group.prop_map(|(values, count, parts, other_parts)| Group {
            values: values.into_iter().enumerate().map(|(nth, value)| (format!("campaign.v{nth}"), value)).collect(),
            count,
            since: 0,
            until: u64::from(u32::MAX),
            parts: parts.into_iter().map(|(value, count)| (value, u64::from(count))).collect(),
            other_parts: u64::from(other_parts),
        });
        let event = (prop::sample::select(crate::event::vero::TYPES.to_vec()), hostile(), hostile(), hostile());
        let event = event.prop_map(|(event_type, email, name, message)| {
            let body = serde_json::json!({
                "type": event_type, "user": { "email": email }, "campaign": { "name": name, "subject": message, "permalink": message },
                "bounce_message": message, "bounce_type": email,
            });
            sample(body.to_string(), 1_700_000_000_000)
        });
        let all = (prop::collection::vec(group, 1..20), prop::collection::vec(event, 1..20), hostile());
        all.prop_map(|(groups, events, page)| {
            let count = groups.iter().map(|group| group.count).sum::<u64>().max(events.len() as u64);
            let digest = Digest {
                id: "01a2091f-1b49-8a76-8000-000000000000".to_owned(),
                count,
                since_ms: 0,
                until_ms: 1_700_000_000_000,
                groups,
                left_out: count - events.len() as u64,
                page: Some(format!("https://relay.example.com/{}", page.replace(char::is_whitespace, "")))
                    .filter(|page| !page.contains(['<', '>', '|'])),
                events: events.clone(),
                address: Some(0),
            };
            Delivery { digest: Some(Arc::new(digest)), ..events[0].clone() }
        })
    }

    const OWN: [&str; 4] = [
        "",
        "{ text: \"{% for g in digest.groups %}*{{ g.name }}* {{ g.count }}\\n{% endfor %}{% for e in digest.events %}{{ e.type }} {{ e.user.email }} {{ e.campaign.name }}\\n{% endfor %}\" }",
        "{ blocks: [ { type: header, text: { type: plain_text, text: \"{{ digest.count }} × {{ digest.groups[0].name }}\" } }, { type: section, text: { type: mrkdwn, text: \"{% for e in digest.events %}{{ e.user.email }} {{ e.bounce_message }}\\n{% endfor %}\" } }, { type: context, elements: [ { type: mrkdwn, text: \"{{ digest.since }} {{ digest.left_out }}\" } ] } ] }",
        "{ text: \"{% for e in digest.events %}<{{ e.campaign.permalink | url }}|{{ e.campaign.name }}> {% endfor %}.\", blocks: [ { type: header, text: { type: plain_text, text: \"{{ digest.count }} {{ digest.groups[0].name }}{% for e in digest.events %}{{ e.campaign.name }}{% endfor %}\" } }, { type: section, text: { type: mrkdwn, text: \"{% for e in digest.events %}{{ e.campaign.name }} <{{ e.campaign.permalink | url }}|x> <https://example.com/{{ e.user.email | urlencode }}|look> {% endfor %}\" } }, { type: context, elements: [ { type: mrkdwn, text: \"{% for g in digest.groups %}{{ g.name }}{% endfor %}\" } ] } ] }",
    ];

    #[test]
    fn groups_that_find_no_room_are_counted() {
        let told = |count: usize| {
            let groups = (0..count).map(|at| group(&format!("{at}{}", "<".repeat(99)), 4)).collect();
            let delivery = with_groups(bounces(80, 2), groups);
            message(of(&delivery), of(&delivery).until_ms).expect("renders")
        };
        let text = told(20);
        let lines = text.lines().filter(|line| line.starts_with("4 × ")).count();
        assert!(lines > 3 && text.contains(&format!("\n… and {} more groups", 20 - lines)), "{text}");
        assert!(text.chars().count() <= TEXT_MAX && !told(lines).contains("more group"));
        let text = told(lines + 1);
        assert!(text.contains("\n… and 1 more group\n"), "{text}");
    }

    #[test]
    fn a_value_of_a_mebibyte_is_cut_wherever_it_stands() {
        let long = "<&\u{202e}".repeat((1 << 20) / 5);
        let delivery = with_groups(bounces(5, 2), vec![group(&long, 4), group("b", 1)]);
        let body = serde_json::json!({ "type": "bounced", "user": { "email": long }, "campaign": { "name": long } });
        let event = sample(body.to_string(), 1_700_000_000_000);
        let digest = Digest { events: vec![event.clone(), event], ..of(&delivery).clone() };
        let text = message(&digest, digest.until_ms).expect("renders");
        assert!(text.chars().count() <= TEXT_MAX && text.contains("see them"), "{text}");
        let mut strict = Strict::hurried();
        let body = serde_json::json!({ "text": text }).to_string();
        let content_type = Some("application/json");
        let asked = Asked { method: "POST", path: "/x", content_type, authorization: None, body: body.as_bytes() };
        strict.answer(Duration::ZERO, asked);
        assert_eq!((strict.posts().len(), strict.refusals()), (1, [].as_slice()));
    }

    /// A single event goes the same way.
    #[test]
    fn a_strict_slack_takes_every_digest_and_every_event() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (watched, destinations) = runtime.block_on(async {
            let watched = Watched::new(Strict::hurried());
            let client = watched.client();
            let all = OWN.map(|own| built("slack", URL, own, &client).unwrap_or_else(|told| panic!("{told:?}")));
            (watched, all)
        });
        let cases = crate::seeds::cases(800);
        let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..Default::default() });
        let held = runner.run(&digests(), |delivery| {
            for destination in &destinations {
                let before = watched.lock().posts().len();
                runtime.block_on(destination.attempt(&[delivery.clone(), delivery.first()]));
                let strict = watched.lock();
                prop_assert!(strict.refusals().is_empty(), "{:?}", strict.refusals());
                prop_assert!(strict.posts().len() > before, "a digest says something");
                let text = strict.posts().last().and_then(|post| post.message["text"].as_str()).unwrap_or_default();
                let is_usual = std::ptr::eq(destination, &raw const destinations[0]);
                let unseen = text.lines().find(|line| messages::seen(line) != **line);
                prop_assert!(!is_usual || unseen.is_none(), "the last is a single event: {:?}", unseen);
            }
            Ok(())
        });
        held.unwrap_or_else(|error| panic!("{error}"));
    }
}

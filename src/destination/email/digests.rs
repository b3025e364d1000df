//! What several events read like as one email, if a config has no text of its own.

use crate::destination::Delivery;
use crate::destination::digest::{Digest, JOINT, MISSING, shown};
use crate::destination::view::View;
use crate::event::Json;

/// The text of a digest.
pub fn text(digest: &Digest) -> String {
    let mut lines = vec![format!("{}, {}", digest.title(), digest.span(true))];
    lines.extend(digest.lines());
    lines.push(String::new());
    let examples: Vec<_> = digest.shown_events().into_iter().map(example_line).collect();
    let more = digest.count.saturating_sub(examples.len() as u64);
    lines.extend(examples);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines.extend(digest.page.iter().flat_map(|page| [String::new(), page.clone()]));
    lines.join("\n") + "\n"
}

/// What an example says on one line of plain text: when it came, what it is, whom it is about, and what was said.
fn example_line(delivery: &Delivery) -> String {
    let view = View::of_event(delivery);
    let text = |path: &str| match view.find(path) {
        Some(Json::String(text)) => shown(&text),
        Some(Json::Number(number)) => shown(&number),
        _ => String::new(),
    };
    let first_of = |paths: [&str; 2]| paths.into_iter().map(text).find(|text| !text.is_empty()).unwrap_or_default();
    let at = crate::time::timestamp(delivery.event.received_ms).to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M");
    let who = first_of(["user.email", "user.id"]);
    let parts = [at.to_string(), text("type"), who, text("campaign.name"), first_of(["bounce_message", "bounce_code"])];
    parts.into_iter().filter(|part| !part.is_empty() && part != MISSING).collect::<Vec<_>>().join(JOINT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::client::Client;
    use crate::destination::digest::tests::{bounces, group, with_groups};
    use crate::destination::sample::{built, sample};

    #[test]
    fn a_digest_that_its_own_text_makes_nothing_of_is_told_in_the_usual_words() {
        let shown = |digest: &str| {
            let section =
                "{ server: localhost, from: relay@example.com, to: ops@example.com, subject: s, text: \"{{ type }}\" }";
            let email = built("email", section, digest, &Client::direct()).expect("builds");
            let parts = email.preview(&bounces(1997, 3)).expect("a message").shown_parts();
            parts.into_iter().filter(|(name, _)| matches!(*name, "text" | "html")).collect::<Vec<_>>()
        };
        let usual = shown("{ every: 15m }");
        assert!(usual[0].1.contains("1997 × bounced"), "{usual:?}");
        for nothing in ["{ text: \"{{ digest.groups.name }}\" }", "{ text: \" \", html: \"{{ nothing }}\" }"] {
            assert_eq!(shown(nothing), usual, "{nothing}");
        }
        let of_two = shown("{ text: \"{{ nothing }}\", html: \"<b>{{ digest.count }}</b>\" }");
        assert!(of_two.iter().any(|(_, text)| text.contains("<b>1997</b>")), "{of_two:?}");
        assert_eq!(of_two[0], usual[0], "the text beside it");
    }

    #[test]
    fn a_digest_has_a_subject_whatever_its_own_comes_to_and_an_empty_html_is_left_out() {
        let section = "{ server: localhost, from: relay@example.com, to: ops@example.com, subject: s, text: \"{{ type }}\", html: \"{{ html }}\" }";
        let parts = |digest: &str, delivery: &Delivery| {
            let email = built("email", section, digest, &Client::direct()).expect("builds");
            email.preview(delivery).expect("a message").shown_parts()
        };
        let part = |parts: &[(&'static str, String)], of: &str| {
            parts.iter().find(|(name, _)| *name == of).map(|(_, text)| text.clone())
        };
        let usual = part(&parts("{ every: 15m }", &bounces(1997, 3)), "subject");
        assert_eq!(usual.as_deref(), Some("1997 × bounced · Spring <newsletter>"));
        for nothing in ["{% if digest.count > 9999 %}many{% endif %}", " ", "\\n\\u0007"] {
            let parts = parts(&format!("{{ subject: \"{nothing}\", html: \"{{# #}}\" }}"), &bounces(1997, 3));
            assert_eq!((part(&parts, "subject"), part(&parts, "html")), (usual.clone(), None), "{nothing}");
        }
        let of_one = parts("{ every: 15m }", &bounces(2, 2).first());
        assert_eq!((part(&of_one, "subject").as_deref(), part(&of_one, "html")), (Some("s"), None));
    }

    #[test]
    fn what_nobody_sees_is_in_no_line_of_a_digest() {
        let sign = "\u{202e}";
        let delivery = with_groups(bounces(3, 1), vec![group(&format!("A{sign}B"), 2), group(sign, 1)]);
        let body = serde_json::json!({
            "type": format!("bou{sign}nced"), "user": { "email": format!("a{sign}b@example.com") },
            "campaign": { "name": sign }, "bounce_message": format!("no{sign}user"),
        });
        let events = vec![sample(body.to_string(), 1_700_000_000_000)];
        let digest = Digest { events, ..delivery.digest.as_deref().expect("a digest").clone() };
        let one = Digest { groups: digest.groups[..1].to_vec(), ..digest.clone() };
        let text = [one.title(), text(&one), text(&digest)].concat();
        assert!(!text.contains(sign) && text.contains("A B") && text.contains("a b@example.com"), "{text:?}");
    }

    #[test]
    fn the_usual_text_of_a_digest_reads_well() {
        let mut all = String::new();
        let mut show = |name: &str, delivery: &Delivery| {
            let digest = delivery.digest.as_deref().expect("a digest");
            all.push_str(&format!("--- {name}\n{}\n\n{}", digest.title(), text(digest)));
        };
        show("one group", &bounces(1997, 12));
        show("few events", &bounces(2, 2));
        show("two groups", &with_groups(bounces(30, 3), vec![group("Spring", 20), group("Receipts", 10)]));
        insta::assert_snapshot!(all);
    }
}

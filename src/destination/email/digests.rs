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
    use crate::destination::sample::built;

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

//! What several events read like as one email, if a config has no text of its own.

use crate::destination::Delivery;
use crate::destination::digest::{Digest, EXAMPLES_MAX, JOINT, MISSING, shown};
use crate::destination::view::View;
use crate::event::Json;

/// The text of a digest.
pub fn text(digest: &Digest) -> String {
    let mut lines = vec![format!("{}, {}", digest.title(), digest.span(true))];
    lines.extend(digest.lines());
    lines.push(String::new());
    let examples: Vec<_> = digest.events.iter().take(EXAMPLES_MAX).map(example_line).collect();
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
    use crate::destination::digest::tests::{bounces, group, with_groups};

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

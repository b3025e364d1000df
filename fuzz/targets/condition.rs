//! Conditions: the `match` of a rule on the first line, a body behind it. The index, the plain evaluation and the explanation
//! must give one verdict, and `not` and `none` the opposite one.

use vero_relay::config::parse_match;
use vero_relay::event::RelayFields;

const RELAY: RelayFields<'_> = RelayFields { source: "vero", received_ms: 1_700_000_000_000 };

/// Returns whether the condition was one and the body an event.
pub fn condition(data: &[u8]) -> bool {
    let Some((condition, body)) = std::str::from_utf8(data).ok().and_then(|text| text.split_once('\n')) else {
        return false;
    };
    let Some(verdict) = verdict(condition, body) else { return false };
    // In flow style it can stand inside another one; the opposite of a condition is compiled and indexed in its own way.
    if condition.starts_with('{') && condition.ends_with('}') {
        for (wrapped, expected) in [
            (format!("{{none: [{condition}]}}"), !verdict),
            (format!("{{all: [{condition}]}}"), verdict),
            (format!("{{any: [{condition}]}}"), verdict),
            (format!("{{none: [{{none: [{condition}]}}]}}"), verdict),
        ] {
            let Some(found) = self::verdict(&wrapped, body) else { continue };
            assert_eq!(found, expected, "{wrapped}");
        }
    }
    true
}

fn verdict(condition: &str, body: &str) -> Option<bool> {
    let rules = parse_match(condition).ok()?;
    let indexed = rules.route(body.as_bytes(), RELAY);
    let plain = rules.route_plainly(body.as_bytes(), RELAY);
    assert_eq!(indexed, plain, "the index loses or adds nothing");
    let explained = rules.explain(body.as_bytes(), RELAY);
    let Ok(routing) = indexed else {
        assert!(explained.is_err(), "refused by one is refused by all");
        return None;
    };
    let (again, traces) = explained.expect("routed, so explained");
    assert_eq!(again, routing);
    let verdict = !routing.rules.is_empty();
    assert_eq!(traces.iter().map(|trace| trace.verdict).collect::<Vec<_>>(), [Some(verdict)], "explain says the same");
    // The conditions of a rule stand side by side and must all hold.
    let outermost = traces[0].steps.iter().filter(|step| step.depth == 0);
    let mut outermost = outermost.map(|step| step.verdict);
    assert_eq!(outermost.all(|holds| holds), verdict, "the steps add up to the verdict");
    Some(verdict)
}

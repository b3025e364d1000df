//! What those see who come by a `read_token`: how the relay stands, in states and numbers. No event, nobody's address, and no command.
//!
//! What is not known to tell of no event is not shown: an endpoint says so itself ([`tells_of_no_event`](super::api)). What is shown all
//! the same may repeat what a destination has answered or what stands in the config, so reasons end where that begins, and addresses are
//! taken out.

use serde_json::Value;

use super::addresses::answer_without_addresses;
use super::layout::Layout;
use super::{api, json, page};
use crate::listener::Answer;

/// Why something is not shown.
pub(super) const WHY: &str = "this token is for states and numbers: it shows no event, nobody's address and no config";

/// Whether they may ask for a path.
pub(super) fn may_ask(steps: &[&str]) -> bool {
    match steps {
        ["healthz" | "readyz" | "metrics"] => true,
        ["api", name, rest @ ..] => api::find(name).is_some_and(|resource| resource.tells_of_no_event(rest)),
        [file] => page::has(file),
        _ => false,
    }
}

/// An answer without addresses, and without what somebody else has said. What is no JSON has neither.
pub(super) fn shown(answer: Answer) -> Answer {
    let Ok(mut value) = serde_json::from_slice::<Value>(answer.body()) else { return answer };
    cut_sentences(&mut value);
    // As it was laid out.
    let is_compact = !answer.body().trim_ascii_end().contains(&b'\n');
    let layout = if is_compact { Layout::Compact } else { Layout::Indented };
    let (mut parts, _) = answer.into_parts();
    let shown = json(&value, layout).into_body();
    // It is made anew.
    parts.headers.remove(http::header::CONTENT_LENGTH);
    answer_without_addresses(Answer::from_parts(parts, shown))
}

/// Keys of sentences. Behind the first colon of one stands what somebody else has said.
const SENTENCES: [&str; 2] = ["reason", "error"];

fn cut_sentences(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(cut_sentences),
        Value::Object(entries) => {
            for (key, value) in entries {
                if let Value::String(text) = value
                    && SENTENCES.contains(&key.as_str())
                    && let Some(end) = text.find(':')
                {
                    text.truncate(end);
                    text.push_str(": …");
                }
                cut_sentences(value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_taken_out_wherever_it_stands_and_a_sentence_ends_early() {
        let value = json!({
            "last_error": { "reason": "422 Unprocessable Entity: Ann Example is not known" },
            "list": ["no such user ann+x@example.com, <bob@example.com>: a%40b.c", "c@d"],
            "number": 1,
        });
        let shown = shown(crate::admin::json(&value, Layout::Compact));
        let value: Value = serde_json::from_slice(shown.body()).expect("JSON");
        let list = ["no such user …@…, <…@…>: …@…", "…@…"];
        let last_error = json!({ "reason": "422 Unprocessable Entity: …" });
        assert_eq!(value, json!({ "last_error": last_error, "list": list, "number": 1 }));
    }

    #[test]
    fn what_tells_of_events_is_not_asked_for() {
        for (path, expected) in [
            ("metrics", true),
            ("", true),
            ("app.js", true),
            ("api/status", true),
            ("api/destinations", true),
            ("api/minutes", true),
            ("api/events", false),
            ("api/events/42", false),
            ("api/dead-letters", false),
            ("api/explain", false),
            ("api/nothing", false),
            ("api/destinations/x/nothing", false),
            ("bin", false),
            ("bin/a", false),
            ("nothing", false),
        ] {
            let steps: Vec<_> = path.split('/').collect();
            assert_eq!(may_ask(&steps), expected, "{path}");
        }
    }
}

//! Slack's text: the template up to the first NUL, then the text of a value. Escaped, and cut to a limit.

use vero_relay::destination::Delivery;
use vero_relay::destination::sample::{SAMPLE_MS, sample};
use vero_relay::destination::slack::{cut_outside_entities, fit};
use vero_relay::destination::template::{Escape, Template};
use vero_relay::destination::view::View;

/// Limits of blocks, and one so small that every path of the cutting is taken.
const LIMITS: [usize; 4] = [7, 60, 150, 3000];
const ENTITIES: [&str; 3] = ["&amp;", "&lt;", "&gt;"];

/// Returns whether the template compiled and rendered.
pub fn slack(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let (template, value) = text.split_once('\0').unwrap_or(("{{ x }}", &text));
    check_escaping(value);
    let Ok(compiled) = Template::compile(template, Escape::Slack) else { return false };
    let body = serde_json::json!({ "type": "sent", "x": value, "list": [value, { "y": value }] }).to_string();
    let view = View::new(&delivery(&body));
    let Ok(whole) = compiled.render(&view, None) else { return false };
    for limit in LIMITS {
        let Ok(fitted) = fit(&compiled, &view, limit) else { continue };
        assert!(fitted.chars().count() <= limit, "{} characters, and {limit} are allowed", fitted.chars().count());
        check_cut(&whole, limit);
    }
    true
}

/// A value alone: it comes back when the entities are put back, nothing in it is markup, and no cut goes through an entity.
fn check_escaping(value: &str) {
    let compiled = Template::compile("{{ x }}", Escape::Slack).expect("a plain template compiles");
    let body = serde_json::json!({ "type": "sent", "x": value }).to_string();
    let view = View::new(&delivery(&body));
    let escaped = compiled.render(&view, None).expect("a plain template renders");
    assert!(!escaped.contains(['<', '>']), "markup came through");
    assert_eq!(escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"), value);
    for limit in LIMITS {
        let fitted = fit(&compiled, &view, limit).expect("a plain template renders");
        assert!(fitted.chars().count() <= limit);
        check_entities(&fitted);
        assert!(escaped.starts_with(&fitted), "the beginning is kept");
        check_entities(cut_outside_entities(&escaped, limit));
    }
}

/// Every `&` of an escaped value begins a whole entity.
fn check_entities(escaped: &str) {
    for (at, _) in escaped.match_indices('&') {
        assert!(ENTITIES.iter().any(|entity| escaped[at..].starts_with(entity)), "half an entity in {escaped:?}");
    }
}

/// Cutting keeps the beginning, and gives up no more than one entity for it.
fn check_cut(whole: &str, limit: usize) {
    let cut = cut_outside_entities(whole, limit);
    let (length, all) = (cut.chars().count(), whole.chars().count());
    assert!(whole.starts_with(cut) && length <= limit);
    assert!(length + "&amp;".len() > limit.min(all), "{length} characters are left of {all}, and {limit} are allowed");
}

fn delivery(body: &str) -> Delivery {
    sample(body.to_owned(), SAMPLE_MS)
}

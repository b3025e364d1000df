//! Events that would like to be more than text: nothing of them becomes an element, runs, or is shown as something that it is not.

use serde_json::json;

use super::page::Page;
use super::stage::rules;
use crate::harness::*;
use crate::slack_server::SlackServer;

/// What tries to get out of its place; each stands in the type, the campaign, the address and a key.
pub const ATTEMPTS: [&str; 8] = [
    "</script><img src=x onerror=window.wasHere=1>",
    "<script>window.wasHere=1</script>",
    "\"><svg onload=window.wasHere=1>",
    "javascript:window.wasHere=1",
    "{{7*7}} ${7*7} #{7*7}",
    "<https://example.com|click> <!channel> *bold*",
    "\u{202e}gnp.exe\u{2066}\u{200f}",
    "a\u{0}b\u{7}c\u{feff}",
];

/// Elements that the page itself does not have, and what would have been left by a script that ran.
const ODD: &str = "
const odd = [...document.querySelectorAll('img, iframe, object, embed, link[href^=\"http\"], a[href^=\"javascript:\"], a[href^=\"http\"], body script')];
return [window.wasHere ?? null, odd.map((element) => element.outerHTML), document.scripts.length];
";

async fn nothing_happened(page: &Page) {
    assert_eq!(page.run(ODD, &[]).await, json!([null, [], 2]), "two scripts are the page's own");
    assert!(page.browser.client.get_alert_text().await.is_err(), "no dialog is open");
}

/// What a text is shown as.
fn shown(text: &str) -> String {
    let is_unseen = |sign: char| sign.is_control() || matches!(sign, '\u{200f}' | '\u{202e}' | '\u{2066}' | '\u{feff}');
    text.chars()
        .map(|sign| if is_unseen(sign) { format!("‹{:x}›", u32::from(sign)) } else { sign.to_string() })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_sees_is_found_as_the_command_line_finds_it_in_however_long_a_text() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    for (text, expected) in [
        ("a\u{1b}[31m\r\n\tb", "a‹1b›[31m\r\n\tb"),
        ("\u{200b}\u{34f}\u{115f}\u{3164}\u{fe0f}\u{e0041}", "‹200b›‹34f›‹115f›‹3164›‹fe0f›‹e0041›"),
        ("Grüße, e\u{301} 東京 \u{600}١ €", "Grüße, e\u{301} 東京 \u{600}١ €"),
        ("👩\u{200d}🚀 ❤\u{fe0f} 1\u{fe0f}\u{20e3}", "👩\u{200d}🚀 ❤\u{fe0f} 1\u{fe0f}\u{20e3}"),
        ("👩\u{200d}a ❤\u{fe0f}\u{fe0f}", "👩‹200d›a ❤\u{fe0f}‹fe0f›"),
        ("می\u{200c}خواهم क्\u{200d}ष", "می\u{200c}خواهم क्\u{200d}ष"),
        ("pay\u{200c}pal 東\u{200d}京 e\u{301}\u{200c}\u{301}", "pay‹200c›pal 東‹200d›京 e\u{301}‹200c›\u{301}"),
    ] {
        for (more, times) in [("", 0), ("東", 100_000), ("می", 100_000), ("क्", 100_000), ("👩", 100_000)] {
            let shown = "return import('./dom.js').then(({ plain }) => plain(arguments[0] + ' ' + arguments[1].repeat(arguments[2])) === arguments[3] + ' ' + arguments[1].repeat(arguments[2]))";
            let asked = [json!(text), json!(more), json!(times), json!(expected)];
            assert_eq!(page.run(shown, &asked).await, json!(true), "{text:?} and {times} × {more}");
        }
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_holds_is_shown_as_text_and_becomes_nothing_else() {
    // The first event is given up at both destinations.
    let refusal = || Act::with(422, &[], ATTEMPTS[0]);
    let fake = SlackServer::start([refusal(), refusal()]).await;
    let config = rules(&fake)
        .replace("type: [bounced, complained]", "wanted: true")
        .replace("campaign.name: { glob: \"Cart*\" }", "wanted: true");
    let relay = TestRelay::start(&config).await;
    let mut ids = Vec::new();
    for text in ATTEMPTS {
        let body = json!({ "type": text, "wanted": true, "user": { "email": text }, "campaign": { "name": text }, text: text });
        ids.push(relay.accept(&body.to_string()).await);
        // Without a rule that wants it, it is grouped by its type.
        relay.accept(&json!({ "type": text }).to_string()).await;
    }
    for text in ATTEMPTS {
        assert_eq!(relay.post(text).await.status(), 400);
    }
    let page = Page::open(relay.running.admin_address, "#/events").await;
    for (id, text) in ids.iter().zip(ATTEMPTS) {
        page.sees(".rows a.row .type", &shown(text)).await;
        page.run("location.hash = arguments[0]", &[json!(format!("#/events/{id}"))]).await;
        page.sees(".detail h1", &shown(text)).await;
        page.sees(".slack", "").await;
        page.sees(".rules", "wanted").await;
        nothing_happened(&page).await;
    }
    for (place, selector) in
        [("#/unrouted", ".groups"), ("#/unrouted/refused", "table"), ("#/destinations/crm", ".dead")]
    {
        page.go(place).await;
        page.sees(selector, "</script><img").await;
        nothing_happened(&page).await;
    }
    page.go("#/try").await;
    for text in ATTEMPTS {
        page.sees(".verdict", "").await;
        let event = json!({ "type": text, "wanted": true, "campaign": { "name": text } }).to_string();
        let put = "const field = document.querySelector('textarea'); field.value = arguments[0]; field.dispatchEvent(new Event('input'))";
        page.run(put, &[json!(event)]).await;
        page.sees(".told", &shown(text)).await;
        nothing_happened(&page).await;
    }
    // What is typed into the search is text too, also where it comes with the address.
    page.go(&format!(
        "#/events?q={}",
        percent_encoding::utf8_percent_encode(ATTEMPTS[0], percent_encoding::NON_ALPHANUMERIC)
    ))
    .await;
    page.sees(".rows a.row", "</script>").await;
    nothing_happened(&page).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_too_large_too_deep_or_said_twice_is_shown_as_it_came() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let long = format!(r#"{{"type":"t","{}":1}}"#, "k".repeat(500_000));
    let deep = format!(r#"{{"type":"t","a":{}1{}}}"#, "[".repeat(120), "]".repeat(120));
    let wide = format!(r#"{{"type":"t","a":[{}1]}}"#, "1,".repeat(200_000));
    let twice = r#"{"type":"t","a":1,"a":2,"b":3,"a":4}"#;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    for body in [long.as_str(), &deep, &wide, twice] {
        let id = relay.accept(body).await;
        page.run("location.hash = arguments[0]", &[json!(format!("#/events/{id}"))]).await;
        page.until("the event", "return find('.detail .id', arguments[0])", &[json!(id)]).await;
        page.sees(".detail .json", "type").await;
        assert!(page.run("return document.querySelectorAll('*').length", &[]).await.as_u64() < Some(6000));
        page.click(".segments button", "As it came").await;
        let raw = page.run("return document.querySelector('pre.raw').textContent", &[]).await;
        assert!(raw.as_str() == Some(body), "{} bytes are all there", body.len());
    }
    page.click(".segments button", "Tree").await;
    let tree = page.sees(".detail .json", "type").await;
    let places: Vec<_> = ["a: 1", "a: 2", "b: 3", "a: 4"].iter().map(|member| tree.find(member)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{tree}");

    // Not one of these is an event; the beginning of each is shown with what is wrong.
    for body in [&b"{\"type\":\"\xff\xfe\"}"[..], b"\xff\xfe\x00", b"[1"] {
        let address = relay.running.address;
        assert_eq!(request(address, "POST", "/hooks/vero/secret", &[], body).await.status(), 400);
    }
    page.go("#/unrouted/refused").await;
    page.until("three rows", "return all('table tbody tr').length >= 3", &[]).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_texts_stand_digit_for_digit() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let values = [
        "9007199254740993",
        "1.0",
        "1e400",
        "-0",
        "0.1000000000000000055511151231257827",
        r#""\ud800""#,
        r#""\u0041\/""#,
        "true",
        "null",
    ];
    let members: Vec<_> = values.iter().enumerate().map(|(n, value)| format!("\"v{n}\":  {value}")).collect();
    let body = format!("{{ \"type\": \"t\",\n\t{} }}\n", members.join(" , "));
    let id = relay.accept(&body).await;
    let page = Page::open(relay.running.admin_address, &format!("#/events/{id}")).await;
    page.sees(".detail .json", "v0").await;
    let shown = page.texts(".detail .json button.value").await;
    assert_eq!(shown[1..], values);
    // What is copied out of the tree has its commas.
    let select =
        "getSelection().selectAllChildren(document.querySelector('.detail .json')); return getSelection().toString()";
    let copied = page.run(select, &[]).await;
    for (n, value) in values.iter().enumerate() {
        let comma = if n + 1 < values.len() { "," } else { "" };
        let line = format!("v{n}: {value}{comma}");
        assert!(
            copied.as_str().is_some_and(|copied| copied.lines().any(|copied| copied.trim() == line)),
            "{line} in {copied}"
        );
    }
    page.click(".segments button", "Formatted").await;
    let formatted = page.sees("pre.raw", "v0").await;
    for (n, value) in values.iter().enumerate() {
        assert!(formatted.contains(&format!("\"v{n}\": {value}")), "{formatted}");
    }
    page.click(".segments button", "As it came").await;
    assert_eq!(page.run("return document.querySelector('pre.raw').textContent", &[]).await, json!(body));
    page.end().await;
}

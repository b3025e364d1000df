//! The list of events, its search, and one event in full.

use serde_json::json;

use super::page::Page;
use super::stage::{BOUNCED, Stage, append, ask, event, rules, told};
use crate::harness::*;
use crate::redact;
use crate::slack_server::SlackServer;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_in_the_list_with_its_outcome_and_without_a_reload() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees("main", "Nothing has come in yet").await;
    page.sees(".foot code", "vero-relay urls").await;
    page.run("window.isTheSame = true", &[]).await;
    relay.accept(BOUNCED).await;
    let row = page.sees(".rows a.row", "bounced").await;
    assert!(row.contains("Cart Abandonment Followup") && row.contains("steve@example.com"), "{row}");
    page.sees(".rows a.row .arrived", "crm").await;
    page.sees(".rows a.row .arrived", "alerts").await;
    assert_eq!(page.run("return window.isTheSame", &[]).await, json!(true));
    page.end().await;
}

/// What comes by itself, as the stream brings it.
const COMES: &str = "return import('./events.js').then(({ frame }) => frame(arguments[0], arguments[1]))";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_search_brought_before_it_comes_by_itself_stands_as_it_came() {
    let fake = SlackServer::start([Act::with(503, &[("retry-after", "3600")], "busy")]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let id = relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".rows a.row", "crm").await;
    page.sees("button.live", "Live").await;
    assert_eq!(page.count(".rows a.row .arrived").await, 0);
    // It arrived and was delivered between two looks of the stream, so no other frame tells of the delivery.
    let came = json!({ "id": id, "deliveries": [{ "destination": "crm", "state": "delivered" }] });
    page.run(COMES, &[json!("event"), came]).await;
    page.sees(".rows a.row .arrived", "crm").await;
    assert_eq!(page.count(".rows a.row").await, 1);
    page.end().await;
}

/// What is asked about one event is counted, and the first answer comes late: not before `window.letThrough()`.
const LATE: &str = "
const real = window.fetch;
window.asked = 0;
window.fetch = async (address, options) => {
  const answer = await real(address, options);
  if (!/^api\\/events\\/[^/]*$/.test(address)) return answer;
  window.asked += 1;
  if (window.asked === 1) await new Promise((resolve) => (window.letThrough = resolve));
  return answer;
};
";

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_an_event_while_it_is_asked_for_is_asked_for_anew() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let id = relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".rows a.row .arrived", "crm").await;
    page.sees("button.live", "Live").await;
    page.run(LATE, &[]).await;
    page.click(".rows a.row", "clicked").await;
    page.until("the answer that is late", "return window.asked", &[]).await;
    let settled = json!({ "id": id, "deliveries": [{ "destination": "crm", "state": "delivered" }] });
    page.run(COMES, &[json!("deliveries"), settled]).await;
    page.run("window.letThrough()", &[]).await;
    page.until("what is newer", "return window.asked > 1", &[]).await;
    page.end().await;
}

/// The next search gets no answer, and each one is counted.
const NO_ANSWER: &str = "
const real = window.fetch;
window.searches = 0;
window.fetch = (address, options) => {
  if (!address.endsWith('events/search')) return real(address, options);
  window.searches += 1;
  return window.searches === 1 ? Promise.reject(new TypeError('no way there')) : real(address, options);
};
";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_besides_and_has_not_come_is_asked_for_again() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees("button.live", "Live").await;
    page.sees("main", "Nothing has come in yet").await;
    page.run(NO_ANSWER, &[]).await;
    page.run(COMES, &[json!("reset"), json!({})]).await;
    page.until("another search", "return window.searches > 1", &[]).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_shows_each_destination_its_rule_its_attempts_and_slacks_message() {
    let fake = SlackServer::start([Act::with(503, &[], "busy just now")]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let tried = relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    relay.until(&tried, "delivered").await;
    let bounced = relay.accept(BOUNCED).await;
    relay.until(&bounced, "delivered").await;

    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.click(".rows a.row", "clicked").await;
    let crm = page.sees(".delivery", "crm").await;
    assert!(crm.contains("by cart followups"), "{crm}");
    let attempts = page.sees(".delivery .attempts", "busy just now").await;
    assert!(attempts.contains("503") && attempts.contains("delivered"), "{attempts}");

    page.click(".rows a.row", "bounced").await;
    page.sees(".delivery", "by trouble").await;
    page.sees(".slack b", "bounced").await;
    page.sees(".slack blockquote", "Cart Abandonment Followup").await;
    page.click(".delivery details summary", "The exact request").await;
    page.sees(".delivery details[open]", "POST").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_before_a_replay_is_shown_before_it() {
    let fake = SlackServer::start([Act::with(422, &[], "no such user"), Act::status(200), Act::status(503)]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let id = relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    relay.until(&id, "dead").await;
    let page = Page::open(relay.running.admin_address, &format!("#/events/{id}")).await;
    page.sees(".delivery .attempts", "no such user").await;
    page.sees_no(".delivery .attempts", "replay").await;

    // It succeeds at once, and of that the relay keeps no attempt.
    ask(&relay, "/api/dead-letters/replay", json!({ "destination": "crm" })).await;
    let attempts = page.sees(".delivery .attempts", "delivered").await;
    let places = ["no such user", "sent again by a replay", "delivered"].map(|part| attempts.find(part));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{attempts}");

    // At the second try, both are kept.
    ask(&relay, "/api/replays", json!({ "events": [id] })).await;
    let attempts = page.sees(".delivery .attempts", "503").await;
    let places = ["no such user", "sent again by a replay", "503"].map(|part| attempts.find(part));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{attempts}");
    page.end().await;
}

/// What the row of an event says of so many deliveries that failed, besides one that waits.
const ROW: &str = "
return import('./row.js').then(({ outcomes }) => {
  const failed = Array.from({ length: arguments[0] }, (_, n) => ({ destination: `d-${n}`, state: 'dead' }));
  const parts = outcomes([{ destination: 'late', state: 'waiting' }, ...failed]).flat().filter(Boolean);
  return parts.map((part) => part.textContent).join(' ');
});
";

#[tokio::test(flavor = "multi_thread")]
async fn of_an_event_that_fails_at_many_destinations_a_row_names_some_and_counts_the_rest() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees("main", "Nothing has come in yet").await;
    for (failed, expected) in
        [(1, "d-0 late"), (3, "d-0 d-1 d-2 late"), (4, "d-0 d-1 d-2 + 2"), (99, "d-0 d-1 d-2 + 97")]
    {
        let told = page.run(ROW, &[json!(failed)]).await;
        assert_eq!(told, json!(expected), "{failed}");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_is_refused_says_so_and_shows_no_rows_of_another() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    page.sees(".rows a.row", "bounced").await;
    page.fill(".find input", "state:nonsense").await;
    page.sees(".foot .bad", "nonsense").await;
    assert_eq!(page.count(".rows a.row").await, 0);
    // It stays while others come and the relay says how it stands.
    stage.relay.accept(&event("opened", "Receipt", "mo@example.com")).await;
    page.sees(".strip a.card", "5 kept").await;
    page.sees(".foot .bad", "nonsense").await;
    assert_eq!(page.count(".rows a.row").await, 0);
    page.fill(".find input", "type:bounced").await;
    page.sees(".rows a.row", "bounced").await;
    page.sees_no(".foot .bad", "").await;
    // Chromium logs what was refused.
    page.end_with(|line| line.contains("status of 400")).await;
}

/// How far down the list is, and where the row of an event stands on the screen.
const WHERE: &str = "
const row = find('.rows a.row', arguments[0]);
return [document.querySelector('.list .scroll').scrollTop, row.getBoundingClientRect().top];
";

#[tokio::test(flavor = "multi_thread")]
async fn the_list_stands_still_for_who_reads_and_says_what_waits() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    for n in 0..80 {
        relay.accept(&event("clicked", &format!("Cart {n}."), "jo@example.com")).await;
    }
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".rows a.row", "Cart 0.").await;
    page.run("document.querySelector('.list .scroll').scrollTop = 700", &[]).await;
    page.sees("button.live", "Held").await;
    let row = json!("Cart 50.");
    let before = page.run(WHERE, std::slice::from_ref(&row)).await;
    // Few at a time: of many that come at once, only some are shown, and two of these fit into one step of the stream.
    for n in 0..100 {
        relay.accept(&event("opened", &format!("Other {n}."), "jo@example.com")).await;
        if n % 10 == 9 {
            page.sees("button.newer", &format!("{} new events · held while you read", n + 1)).await;
        }
    }
    assert_eq!(page.run(WHERE, &[row]).await, before, "the row is where it was");
    page.click("button.newer", "100 new events").await;
    page.sees(".rows li:first-child a.row", "Other 99.").await;
    page.sees_no("button.newer", "").await;

    page.press("p").await;
    page.sees("button.live", "Held").await;
    relay.accept(&event("opened", "Late", "jo@example.com")).await;
    page.sees("button.newer", "1 new event · held by you").await;
    assert_eq!(page.run("return Boolean(find('.rows a.row', 'Late'))", &[]).await, json!(false));
    page.press("p").await;
    page.sees(".rows li:first-child a.row", "Late").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_by_text_by_each_word_and_by_id() {
    let fake = SlackServer::start([Act::status(422)]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let clicked = relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    relay.until(&clicked, "dead").await;
    relay.accept(&event("opened", "News", "mo@example.com")).await;
    relay.accept(BOUNCED).await;

    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".rows a.row", "clicked").await;
    for (search, found) in [
        ("5.1.1", "bounced"),
        ("type:opened", "opened"),
        ("campaign:\"Cart Reminder\"", "clicked"),
        ("who:mo@example.com", "opened"),
        ("to:alerts", "bounced"),
        ("state:dead", "clicked"),
        ("rule:trouble", "bounced"),
        ("source:vero type:clicked", "clicked"),
        ("type:clicked reminder", "clicked"),
    ] {
        page.fill("input[type=search]", search).await;
        let what = format!("{search} to find {found} alone");
        let script =
            "const rows = all('.rows a.row'); return rows.length === 1 && rows[0].textContent.includes(arguments[0])";
        page.until(&what, script, &[json!(found)]).await;
        page.sees(".foot", "Looked at 3 events").await;
    }
    page.fill("input[type=search]", "no such words").await;
    page.sees(".foot", "Nothing like that").await;
    page.fill("input[type=search]", &clicked.to_uppercase()).await;
    page.sees(".detail h1", "clicked").await;
    assert_eq!(page.place().await, format!("#/events/{clicked}"));
    page.end().await;
}

/// What is asked for by a search that was made of a value, and by one of a text alone.
const READ_BACK: &str = "
return import('./asked.js').then(({ asked, entry, quoted, search }) => {
  const [value] = arguments;
  return ['campaign', 'who', 'text', 'type'].map((word) => {
    const filter = asked(word === 'text' ? quoted(value) : search(word, value), '');
    const key = word === 'who' ? 'email' : word;
    const isSame = filter[key] === value || (key === 'type' && filter[key] === entry(value));
    return isSame && Object.keys(filter).length === 1 ? '' : JSON.stringify(filter);
  }).join('');
});
";

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_the_page_makes_of_a_value_finds_it_whatever_signs_it_has() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let named = "Spring \"Sale\" 2026";
    relay.accept(&event("opened", named, "jo@example.com")).await;
    relay.accept(&event("opened", "Spring ", "jo@example.com")).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    page.sees(".rows a.row", named).await;
    for value in [
        "plain",
        named,
        "\"",
        "\"quoted\"",
        "a,b",
        " outer blanks ",
        "a\\\"b",
        "\\",
        "type:sent",
        "constructor:x",
        "\"\"",
        "5\" wide",
    ] {
        assert_eq!(page.run(READ_BACK, &[json!(value)]).await, json!(""), "{value:?}");
    }
    page.click(".rows a.row", named).await;
    page.click(".json button.value", "Spring").await;
    page.click(".menu button", "Only events like this").await;
    page.until("it alone", "return all('.rows a.row').length === 1", &[]).await;
    page.sees(".rows a.row", named).await;
    page.end().await;
}

/// More than one search looks at.
const MANY: usize = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_search_says_how_far_it_looked_and_further_back_finds_the_oldest() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    let oldest = relay.accept(&event("opened", "The needle", "jo@example.com")).await;
    append(&relay, MANY).await;

    let page = Page::open(relay.running.admin_address, "#/events?q=needle").await;
    page.sees(".foot", "Nothing like that").await;
    page.sees(".foot", "events were looked at").await;
    // Until the beginning is reached; each look goes as far as one search may.
    let mut looks = 0;
    loop {
        let script = "return Boolean(find('.rows a.row', 'The needle')) ? 'found' : find('.foot button', 'Look further back') ? 'further' : null";
        match page.until("the next look", script, &[]).await.as_str() {
            Some("found") => break,
            _ => page.click(".foot button", "Look further back").await,
        }
        looks += 1;
        assert!(looks <= MANY, "it goes on");
    }
    assert!(looks > 0, "the first look does not go as far");
    page.click(".rows a.row", "The needle").await;
    page.sees(".detail h1", "opened").await;
    assert_eq!(page.place().await, format!("#/events/{oldest}?q=needle"));
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_masked_says_so_and_is_not_offered_as_if_it_were_the_event() {
    let stage = Stage::start_as("admin: { listen: \"127.0.0.1:0\", show: no_addresses }").await;
    // As long as what stands for an address.
    let short = stage.relay.accept(&event("opened", "Receipt", "a@b.com")).await;
    let without = stage.relay.accept(r#"{"type":"opened"}"#).await;
    for (id, is_masked) in [(&stage.delivered, true), (&short, true), (&without, false)] {
        let page = stage.page(&format!("#/events/{id}")).await;
        page.sees(".detail .json", "type").await;
        let offers = page.texts(".detail header .acts button").await;
        for offer in ["Copy as curl", "Open in Try it"] {
            assert_eq!(offers.iter().any(|shown| shown == offer), !is_masked, "{id}: {offer} in {offers:?}");
        }
        let said = page.texts(".detail section p.dim").await.concat();
        assert_eq!(said.contains("Addresses are masked here"), is_masked, "{id}: {said}");
        page.sees(".detail .segments button", if is_masked { "As text" } else { "As it came" }).await;
        let bytes = told(&stage.relay, &format!("/api/events/{id}")).await["bytes"].as_u64().expect("a size");
        if bytes < 1024 {
            page.sees(".detail .titled h2", &format!("The event {bytes} B")).await;
        }
        page.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_redacted_or_erased_says_so_and_is_not_offered_to_be_sent() {
    let fakes = [Fake::start([]).await, Fake::start([]).await, Fake::start([]).await];
    let [crm, slow, strict] = &fakes;
    let relay = TestRelay::start(&redact::config([crm, slow, strict], redact::REDACT)).await;
    let redacted = relay.accept(&redact::event("sent", "zoe@example.org")).await;
    relay.until(&redacted, "delivered").await;
    redact::roll(relay.running.address).await;
    redact::until_redacted(&relay, &redacted).await;
    let whole = relay.accept(&redact::event("sent", "bob@example.org")).await;
    relay.until(&whole, "delivered").await;
    for (id, is_redacted) in [(&redacted, true), (&whole, false)] {
        let page = Page::open(relay.running.admin_address, &format!("#/events/{id}")).await;
        page.sees(".detail .json", "type").await;
        let offers = page.texts(".detail header .acts button").await;
        for offer in ["Replay…", "Copy as curl", "Open in Try it"] {
            assert_eq!(offers.iter().any(|shown| shown == offer), !is_redacted, "{id}: {offer} in {offers:?}");
        }
        let said = page.texts(".detail section p.dim").await.concat();
        assert_eq!(said.contains("Values of this event were taken away"), is_redacted, "{id}: {said}");
        page.end().await;
    }
    let begun = crate::operator::told(&relay, "/api/forget", json!({ "user_id": "7" })).await;
    let path = format!("/api/forget/{}", begun["id"].as_str().expect("an id"));
    eventually("the run to end", async || relay.admin(&path).await.json()["phase"] == "done").await;
    let page = Page::open(relay.running.admin_address, &format!("#/events/{whole}")).await;
    page.sees(".detail h1", "Erased").await;
    page.sees(".detail .delivery", "delivered").await;
    page.sees(".detail section p.dim", "It was erased").await;
    assert_eq!(page.count(".detail header .acts button").await, 0);
    page.end_with(|line| line.contains("410")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slip_in_the_search_is_told_with_what_may_be_meant() {
    let fake = SlackServer::start([]).await;
    let relay = TestRelay::start(&rules(&fake)).await;
    relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
    relay.accept(r#"{"type":"opened","campaign":{"name":"Caf\u00e9"}}"#).await;
    let page = Page::open(relay.running.admin_address, "#/events").await;
    for (typed, said, meant, found) in [
        ("typ:clicked", "Did you mean type:?", "type:clicked", "clicked"),
        ("tpye:clicked", "Did you mean type:?", "type:clicked", "clicked"),
        ("email:jo@example.com", "Did you mean who:?", "who:jo@example.com", "clicked"),
        ("campaign:Cart", "with a * behind it", "campaign:Cart*", "clicked"),
        ("campaign:\"Cart Rem\" type:clicked", "with a * behind it", "campaign:\"Cart Rem*\" type:clicked", "clicked"),
        ("Café", "as \\u and four digits", "Caf\\u00e9", "opened"),
    ] {
        page.fill(".find input", typed).await;
        page.sees(".foot .wait", said).await;
        assert_eq!(page.count(".rows a.row").await, 0, "{typed}");
        page.click(".foot .wait a", meant).await;
        page.sees(".rows a.row", found).await;
        page.sees_no(".foot .wait", "").await;
    }
    // A type that Vero does not send, and names of nothing.
    page.fill(".find input", "type:bouncd").await;
    page.sees(".foot .wait", "did you mean bounced?").await;
    for typed in ["to:crmm", "state:ded", "rule:truble"] {
        page.fill(".find input", typed).await;
        page.sees(".foot .bad", typed.split(':').nth(1).expect("a value")).await;
        page.click(".foot a", "Show all").await;
        page.sees(".rows a.row", "clicked").await;
    }
    // What is no slip is not taken for one.
    for typed in ["http://x", "note:x", "Reminder", "campaign:Nothing*", "type:clicked to:crm"] {
        let slips = "return import('./slips.js').then(({ slips }) => slips(arguments[0], true))";
        assert_eq!(page.run(slips, &[json!(typed)]).await, json!([]), "{typed}");
    }
    page.end_with(|line| line.contains("status of 40")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_title_says_what_is_shown_and_no_address() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    for (place, title) in [
        ("#/events".to_owned(), "vero-relay"),
        (format!("#/events/{}", stage.dead), "clicked · Cart Reminder · vero-relay"),
        ("#/destinations/crm".to_owned(), "crm · Destinations · vero-relay"),
        ("#/destinations".to_owned(), "Destinations · vero-relay"),
        ("#/config".to_owned(), "Config · vero-relay"),
        ("#/events".to_owned(), "vero-relay"),
    ] {
        page.run("location.hash = arguments[0]", &[json!(place)]).await;
        page.until(title, "return document.title === arguments[0]", &[json!(title)]).await;
    }
    page.end().await;
}

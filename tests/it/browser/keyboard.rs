//! The page by keys alone: everything can be reached, where one is can be seen, and nothing happens to who has switched the keys off.

use fantoccini::key::Key;
use serde_json::json;

use super::page::Page;
use super::stage::{Stage, put_in_force, rules, write_config};

/// What has the focus, and whether that can be seen.
const FOCUS: &str = "
const at = document.activeElement;
if (!at || at === document.body) return ['nothing', false];
const ring = (element) => element && getComputedStyle(element).outlineStyle !== 'none';
const name = at.getAttribute('aria-label') || at.labels?.[0]?.textContent || at.textContent || at.tagName;
return [name.trim().slice(0, 60), ring(at) || ring(at.closest('.box'))];
";

/// The name of what has the focus.
async fn focused(page: &Page) -> String {
    let told = page.run(FOCUS, &[]).await;
    assert_eq!(told[1], json!(true), "one sees where one is: {told}");
    told[0].as_str().unwrap_or_default().to_owned()
}

/// Goes on by the Tab key until something has the focus.
async fn tab_to(page: &Page, name: &str) {
    let mut passed = Vec::new();
    for _ in 0..80 {
        page.press(&Key::Tab).await;
        let at = focused(page).await;
        if at.contains(name) {
            return;
        }
        passed.push(at);
    }
    panic!("the Tab key does not come to {name}, but to {passed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_keys_alone_an_event_is_found_and_replayed_a_letter_dropped_the_config_reloaded() {
    let stage = Stage::start().await;
    write_config(&stage.relay, &rules(&stage.fake));
    let page = stage.page("#/events").await;
    page.sees(".rows a.row", "bounced").await;
    page.press("/").await;
    assert_eq!(focused(&page).await, "Search");
    page.press("type:clicked").await;
    page.until("the search", "return all('.rows a.row').length === 2", &[]).await;
    page.press(&Key::Escape).await;
    page.press("j").await;
    page.sees(".detail h1", "clicked").await;
    assert!(focused(&page).await.contains("clicked"));
    page.press("j").await;
    page.until("the second", "return all('.rows a.row')[1].getAttribute('aria-current')", &[]).await;
    page.sees(".detail header", "jo@example.com").await;
    page.press(&Key::Enter).await;
    assert_eq!(page.run("return document.activeElement.className", &[]).await, json!("detail"));
    page.press("r").await;
    page.sees("dialog", "gave it up").await;
    assert!(focused(&page).await.contains("crm"));
    tab_to(&page, "Replay to 1 destination").await;
    page.press(&Key::Enter).await;
    page.sees(".toast", "It is on its way").await;
    stage.relay.until(&stage.dead, "delivered").await;
    page.sees_no("dialog", "").await;
    assert_eq!(page.run("return document.activeElement.className", &[]).await, json!("detail"), "back where it was");

    page.press("gd").await;
    page.sees(".list a.destination", "1 dead letter").await;
    page.press("j").await;
    page.sees(".detail h1", "crm").await;
    page.press(&Key::Enter).await;
    page.sees(".dead button", "Drop all 1").await;
    tab_to(&page, "Drop all 1").await;
    page.press(&Key::Enter).await;
    page.sees("dialog", "never be delivered").await;
    assert_eq!(focused(&page).await, "Keep them");
    page.press(&Key::Escape).await;
    page.sees_no("dialog", "").await;
    assert!(focused(&page).await.contains("Drop all 1"), "back where it was");
    page.press(&Key::Enter).await;
    tab_to(&page, "Drop 1").await;
    page.press(&Key::Enter).await;
    page.sees(".dead", "None: nothing was given up").await;
    page.sees_no("dialog", "").await;
    assert_ne!(page.run(FOCUS, &[]).await[0], "nothing", "what had the focus is gone, and it is not lost");

    write_config(&stage.relay, &rules(&stage.fake).replace("opens of receipts", "opens"));
    page.press("gc").await;
    page.sees(".news", "The file has changed").await;
    tab_to(&page, "Reload now").await;
    page.press(&Key::Enter).await;
    page.sees(".toast", "is in force").await;
    page.sees(".yaml", "name: opens").await;
    assert_ne!(page.run(FOCUS, &[]).await[0], "nothing", "what had the focus is gone, and it is not lost");
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_switched_off_do_nothing_also_after_a_reload() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    page.sees("button.live", "Live").await;
    page.press("p").await;
    page.sees("button.live", "Held").await;
    page.press("p").await;
    page.sees("button.live", "Live").await;
    page.press("?").await;
    page.sees("dialog", "Single keys do something").await;
    page.click("dialog label", "Single keys do something").await;
    page.click("dialog button", "Close").await;
    assert_eq!(page.run("return document.activeElement.getAttribute('aria-label')", &[]).await, "Keys");
    for _ in 0..2 {
        page.sees("button.live", "Live").await;
        page.press("p/jgd?").await;
        page.sees("button.live", "Live").await;
        assert_eq!(page.place().await, "#/events");
        assert_eq!(page.count("dialog").await, 0);
        page.browser.client.refresh().await.expect("loaded again");
        page.sees(".rows a.row", "bounced").await;
    }
    page.end().await;
}

/// Gives the focus to what matches a selector and shows a text.
async fn focus(page: &Page, selector: &str, text: &str) {
    page.sees(selector, text).await;
    page.run("find(...arguments).focus()", &[json!(selector), json!(text)]).await;
}

/// Waits until something with this name, its label or its text, has the focus.
async fn has_focus(page: &Page, name: &str) {
    let what = format!("the focus to be at {name}");
    let script = "const at = document.activeElement; return (at?.getAttribute('aria-label') || at?.textContent || '').trim() === arguments[0]";
    page.until(&what, script, &[json!(name)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_focus_goes_to_what_stands_in_the_place_of_what_had_it() {
    let stage = Stage::start().await;
    // A source is paused: where its button was, the one to resume it is.
    let page = stage.page("#/config").await;
    focus(&page, ".sources button", "Pause…").await;
    page.press(&Key::Enter).await;
    page.sees("dialog", "Pause vero?").await;
    tab_to(&page, "Pause vero").await;
    page.press(&Key::Enter).await;
    page.sees_no("dialog", "").await;
    has_focus(&page, "Resume").await;
    page.press(&Key::Enter).await;
    has_focus(&page, "Pause…").await;
    // A dialog that was closed without doing anything.
    page.press(&Key::Enter).await;
    page.sees("dialog", "Pause vero?").await;
    page.press(&Key::Escape).await;
    page.sees_no("dialog", "").await;
    has_focus(&page, "Pause…").await;

    // A destination likewise; and what cannot be pressed any more gives way to what can.
    page.run("location.hash = '#/destinations/crm'", &[]).await;
    focus(&page, ".detail .acts button", "Pause…").await;
    page.press(&Key::Enter).await;
    tab_to(&page, "Pause crm").await;
    page.press(&Key::Enter).await;
    has_focus(&page, "Resume").await;
    page.run("document.activeElement.disabled = true", &[]).await;
    has_focus(&page, "Its events").await;

    // The last dead letters are dropped: the heading says that there are none.
    focus(&page, ".dead button", "Drop all 2").await;
    page.press(&Key::Enter).await;
    page.sees("dialog", "never be delivered").await;
    tab_to(&page, "Drop 2").await;
    page.press(&Key::Enter).await;
    page.sees(".dead", "None: nothing was given up").await;
    has_focus(&page, "Dead letters").await;

    // What is routed again leaves the list.
    put_in_force(&stage.relay, &rules(&stage.fake).replace("campaign.name: Receipts", "campaign.name: Receipt")).await;
    page.run("location.hash = '#/unrouted'", &[]).await;
    focus(&page, ".group button", "Route again…").await;
    page.press(&Key::Enter).await;
    page.sees("dialog button", "Route 1 event").await;
    // It could not be pressed while it was counted.
    has_focus(&page, "Route 1 event").await;
    page.press(&Key::Enter).await;
    page.sees_no("dialog", "").await;
    page.sees_no(".group button", "Route again").await;
    has_focus(&page, "Every event went somewhere").await;

    // Who leaves something is not called back to it.
    page.run("location.hash = '#/config'", &[]).await;
    focus(&page, ".sources button", "Pause…").await;
    page.run("document.activeElement.blur()", &[]).await;
    page.until("nothing to have the focus", "return document.activeElement === document.body", &[]).await;
    page.run(
        "setTimeout(() => setTimeout(() => { find('.sources button', '').remove(); window.isGone = true; }))",
        &[],
    )
    .await;
    page.until("it to be gone", "return window.isGone", &[]).await;
    assert_eq!(page.run("return document.activeElement === document.body", &[]).await, json!(true));
    page.end().await;
}

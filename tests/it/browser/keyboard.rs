//! Single keys: nothing happens to who has switched them off.

use super::stage::Stage;

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

//! Times: in the zone of who looks, in UTC for who wants that, and always the same moment that the API names.

use serde_json::json;

use super::page::Page;
use super::stage::{Stage, told};

/// The time of the first row, and what its title says.
const SHOWN: &str = "const time = all('.rows a.row time')[0]; return time && [time.textContent, time.title]";

#[tokio::test(flavor = "multi_thread")]
async fn times_are_local_or_utc_and_agree_with_the_api() {
    let stage = Stage::start().await;
    let newest =
        told(&stage.relay, "/api/events").await["events"][0]["received_at"].as_str().expect("a time").to_owned();
    let page = Page::blank(&format!("http://{}/", stage.relay.running.admin_address)).await;
    // Five hours and three quarters ahead, all year.
    page.devtools("Emulation.setTimezoneOverride", json!({ "timezoneId": "Asia/Kathmandu" })).await;
    page.go("#/events").await;
    page.sees(".tools button", "GMT+5:45").await;
    let clock = |ahead: jiff::SignedDuration| {
        let at: jiff::Timestamp = newest.parse().expect("a time");
        (at + ahead).strftime("%H:%M:%S").to_string()
    };
    let local = page.until("a row", SHOWN, &[]).await;
    assert_eq!(local[0], clock(jiff::SignedDuration::from_mins(5 * 60 + 45)));
    assert!(local[1].as_str().is_some_and(|title| title.starts_with(&newest)), "{local} {newest}");

    page.click(".tools button", "GMT+5:45").await;
    page.sees(".tools button", "UTC").await;
    let utc = page.run(SHOWN, &[]).await;
    assert_eq!(utc[0], clock(jiff::SignedDuration::ZERO));
    page.go(&format!("#/events/{}", stage.delivered)).await;
    let of_it = told(&stage.relay, &format!("/api/events/{}", stage.delivered)).await;
    let full = of_it["received_at"].as_str().expect("a time")[..19].replace('T', " ");
    page.sees(".detail header time", &full).await;
    // What was chosen is remembered.
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".tools button", "UTC").await;
    page.end().await;
}

//! What stands in the address: everything that is chosen, so that it can be sent to somebody, and survives a reload.

use serde_json::json;

use super::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn every_place_survives_a_reload_and_the_way_back() {
    let stage = Stage::start().await;
    let page = stage.page("").await;
    let places = stage.places();
    for (place, selector, text) in &places {
        page.run("location.hash = arguments[0]", &[json!(place)]).await;
        page.sees(selector, text).await;
        page.browser.client.refresh().await.expect("loaded again");
        page.sees(selector, text).await;
        assert_eq!(page.place().await, *place);
    }
    for (place, selector, text) in places.iter().rev().skip(1) {
        page.browser.client.back().await.expect("gone back");
        page.until(place, "return location.hash === arguments[0]", &[json!(place)]).await;
        page.sees(selector, text).await;
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_and_a_choice_survive_a_reload_and_the_way_back() {
    let stage = Stage::start().await;
    let page = stage.page("#/events").await;
    page.sees(".rows a.row", "clicked").await;
    page.click(".chip", "Dead letters").await;
    page.until("the dead letters alone", "return all('.rows a.row').length === 2", &[]).await;
    page.fill("input[type=search]", "type:clicked").await;
    page.until("the search in the address", "return location.hash === '#/events?q=type%3Aclicked&show=dead'", &[])
        .await;
    page.click(".rows a.row", "clicked").await;
    page.sees(".detail h1", "clicked").await;
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".detail h1", "clicked").await;
    let chosen = "return document.querySelector('input[type=search]').value + ' ' + find('.chip[aria-pressed=true]', '').textContent";
    assert_eq!(page.run(chosen, &[]).await, "type:clicked Dead letters");
    assert_eq!(page.count(".rows a.row[aria-current]").await, 1);
    page.browser.client.back().await.expect("gone back");
    page.sees(".detail", "No event is chosen").await;
    assert_eq!(page.run(chosen, &[]).await, "type:clicked Dead letters");

    page.go("#/destinations/crm").await;
    page.click(".dead .chip", "422").await;
    page.until("the reason in the address", "return location.hash.includes('reason=')", &[]).await;
    page.browser.client.refresh().await.expect("loaded again");
    page.sees(".dead .chip[aria-pressed=true]", "422").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_leads_nowhere_says_so() {
    let stage = Stage::start().await;
    let page = stage.page("#/nothing/like/that").await;
    page.sees(".rows a.row", "bounced").await;
    page.go("#/destinations/nobody").await;
    page.sees(".detail", "No such destination").await;
    page.end().await;
}

//! What events become on their way: numbers, dates, Slack's blocks, the days of a zone.

use crate::harness::*;
use crate::slack_server::SlackServer;

fn to_slack(fake: &Fake, more: &str) -> String {
    format!(
        "rules: [ {{ to: chat }} ]\ndestinations:\n  chat:\n    slack:\n      url: \"{}/T/B/x\"\n{more}\n    rate: 1000/s\n    {QUICK}\n",
        fake.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_a_number_however_it_was_written() {
    let fake = SlackServer::hurried([]).await;
    fake.allow_mention("<!here>");
    let text = "      text: \"{% if event.data.total > 100 %}<!here> big order{% else %}order{% endif %} {{ event.data.total }}\"";
    let relay = TestRelay::start(&to_slack(&fake, text)).await;
    for (total, expected) in [
        ("20.5", "order 20.5"),
        ("20.50", "order 20.50"),
        ("0.10", "order 0.10"),
        ("1e2", "order 1e2"),
        ("100.01", "<!here> big order 100.01"),
        ("12345678901234567890", "<!here> big order 12345678901234567890"),
    ] {
        let id = relay.accept(&format!(r#"{{"type":"delivered","event":{{"data":{{"total":{total}}}}}}}"#)).await;
        relay.until(&id, "delivered").await;
        assert_eq!(fake.seen().last().expect("posted").json()["text"], expected, "{total}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objects_numbers_keep_their_digits_in_a_body() {
    let fake = Fake::start([]).await;
    let config = to_crm(&fake, "").replace("/hook\" }", "/hook\", text: '{\"order\": {{ event.data }}}' }");
    let relay = TestRelay::start(&config).await;
    let data = r#"{"total":20.50,"n":12345678901234567890,"z":[0.10,1E5,-0,1e400]}"#;
    let id = relay.accept(&format!(r#"{{"type":"delivered","event":{{"data":{data}}}}}"#)).await;
    relay.until(&id, "delivered").await;
    assert_eq!(fake.seen()[0].text(), format!(r#"{{"order": {data}}}"#));
}

const BLOCKS: &str = r#"      blocks:
        - { type: section, fields: [ { type: mrkdwn, text: "{{ campaign.subject }}" } ] }
        - { type: context, elements: [ { type: mrkdwn, text: "{{ campaign.subject }}" } ] }
        - { type: actions, elements: [ { type: button, text: { type: plain_text, text: "{{ campaign.subject }}" }, url: "{{ campaign.permalink }}", value: "{{ campaign.subject }}" } ] }
        - { type: image, image_url: "https://img.example.com/x?u={{ user.email }}&y=1", alt_text: "{{ campaign.subject }}", title: { type: plain_text, text: "{{ campaign.subject }}" } }"#;

#[tokio::test(flavor = "multi_thread")]
async fn blocks_lose_what_is_empty_and_an_empty_message_is_skipped() {
    let fake = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&to_slack(&fake, BLOCKS)).await;
    let id = relay.accept(r#"{"type":"unsubscribed"}"#).await;
    assert_eq!(relay.until(&id, "skipped").await["reason"], "the message is empty");
    let id = relay.accept(r#"{"type":"sent","campaign":{"subject":"Hi"}}"#).await;
    relay.until(&id, "delivered").await;
    let message = fake.seen()[0].json();
    let kinds: Vec<_> = message["blocks"].as_array().expect("blocks").iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["section", "context", "image"], "a button without a URL has nowhere to lead to: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_text_of_a_block_has_the_limit_of_its_place_and_urls_are_encoded() {
    let fake = SlackServer::hurried([]).await;
    let relay = TestRelay::start(&to_slack(&fake, BLOCKS)).await;
    let subject = "x".repeat(5000);
    let id = relay
        .accept(&format!(
            r#"{{"type":"sent","user":{{"email":"a&b@x.de"}},"campaign":{{"subject":"{subject}","permalink":"http://app.example.com/v?a=1&b=2"}}}}"#
        ))
        .await;
    relay.until(&id, "delivered").await;
    let blocks = fake.seen()[0].json()["blocks"].clone();
    let length = |pointer: &str| blocks.pointer(pointer).and_then(|text| text.as_str()).map(str::len);
    assert_eq!(length("/0/fields/0/text"), Some(2000));
    assert_eq!(length("/1/elements/0/text"), Some(3000));
    assert_eq!(length("/2/elements/0/text/text"), Some(75));
    assert_eq!(length("/2/elements/0/value"), Some(2000));
    assert_eq!((length("/3/alt_text"), length("/3/title/text")), (Some(2000), Some(2000)));
    assert_eq!(blocks[2]["elements"][0]["url"], "http://app.example.com/v?a=1&b=2");
    assert_eq!(blocks[3]["image_url"], "https://img.example.com/x?u=a%26b%40x.de&y=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_a_sender_chooses_reaches_no_file_of_the_relay() {
    let config = format!(
        "rules: [ {{ to: a }} ]\ndestinations:\n  a:\n    file: {{ path: \"{{source}}/{{type}}\" }}\n    {QUICK}\n"
    );
    let relay = TestRelay::start(&config).await;
    let data_dir = relay.directory.path().join("data");
    std::os::unix::fs::symlink(".", data_dir.join("vero")).expect("linked");
    for name in ["state.db", "lock", "journal", "State.DB"] {
        let id = relay.accept(&format!(r#"{{"type":"{name}"}}"#)).await;
        let dead = relay.until(&id, "dead").await;
        assert!(dead["reason"].as_str().is_some_and(|told| told.contains("the relay's own files")), "{dead}");
    }
    let id = relay.accept(r#"{"type":"bounced"}"#).await;
    relay.until(&id, "delivered").await;
    assert!(data_dir.join("bounced").exists(), "the others are not held up");
}

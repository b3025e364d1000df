//! Dead letters: listed, shown with their answers, replayed, moved elsewhere, dropped.

use serde_json::{Value, json};

use crate::cli::{root, vero_relay};
use crate::harness::*;
use crate::operator::{ask, told};

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_delivery_becomes_a_dead_letter_and_can_be_replayed() {
    let fake = Fake::start([]).await;
    let relay =
        TestRelay::start(&to_crm(&fake, "    backlog: { max_age: 1s }\n    concurrency: 1\n    timeout: 20s\n")).await;
    fake.then([Act::Hang]);
    let hung = relay.accept(r#"{"type":"hung"}"#).await;
    fake.wait_for(1).await;
    let stale = relay.accept(r#"{"type":"stale"}"#).await;
    let dead = relay.until(&stale, "dead").await;
    assert!(dead["reason"].as_str().is_some_and(|reason| reason.starts_with("stale")), "{dead}");
    assert_eq!(relay.deliveries(&hung).await[0]["state"], "in_flight", "what is in flight is left alone");
    let listed = relay.admin("/api/dead-letters?destination=crm&reason=STALE").await.json();
    assert_eq!(listed["dead_letters"][0]["event"], stale.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_shown_with_their_answers_replayed_once_and_dropped() {
    let fake = Fake::start([
        Act::with(422, &[], "no: Bearer top-secret-token is not welcome"),
        Act::status(400),
        Act::status(400),
    ])
    .await;
    let config = to_crm(&fake, "").replace("/hook\" }", "/hook\", auth: { bearer: top-secret-token } }");
    let relay = TestRelay::start(&config).await;
    let mut ids = Vec::new();
    for kind in ["first", "second", "third"] {
        let id = relay.accept(&format!(r#"{{"type":"{kind}"}}"#)).await;
        relay.until(&id, "dead").await;
        ids.push(id);
    }
    let listed = relay.admin("/api/dead-letters?limit=2").await.json();
    assert_eq!(listed["dead_letters"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["dead_letters"][0]["event"], ids[2].as_str());
    let rest = relay
        .admin(&format!("/api/dead-letters?limit=2&after={}", listed["next"].as_str().expect("a cursor")))
        .await
        .json();
    assert_eq!((rest["dead_letters"][0]["event"].as_str(), &rest["next"]), (Some(ids[0].as_str()), &Value::Null));

    let shown = relay.admin(&format!("/api/events/{}", ids[0])).await;
    let attempt = &shown.json()["deliveries"][0]["attempted"][0];
    assert_eq!((attempt["status"].as_u64(), attempt["outcome"].as_str()), (Some(422), Some("reject")));
    assert_eq!(attempt["answer"], "no: … is not welcome");
    assert!(!shown.text().contains("top-secret"), "{}", shown.text());

    let id = "6f1c2c1e-7d42-4f7e-9a63-0d8f7a1b2c3d";
    let only_422 = json!({ "destination": "crm", "reason": "422", "dry_run": true });
    assert_eq!(told(&relay, "/api/dead-letters/replay", only_422).await["deliveries"], 1);
    assert_eq!(relay.destination("crm").await["dead_letters"], 3, "a dry run does nothing");
    let only_422 = json!({ "destination": "crm", "reason": "422", "id": id });
    assert_eq!(told(&relay, "/api/dead-letters/replay", only_422.clone()).await["deliveries"], 1);
    relay.until(&ids[0], "delivered").await;
    let again = told(&relay, "/api/dead-letters/replay", only_422).await;
    assert_eq!((again["repeated"].as_bool(), again["deliveries"].as_u64()), (Some(true), Some(1)));
    let copies = fake.seen().iter().filter(|message| message.header("webhook-id") == Some(&ids[0])).count();
    assert_eq!(copies, 2, "the first attempt and one replay, under the same id");

    let dropped = told(&relay, "/api/dead-letters/drop", json!({ "destination": "crm", "event": ids[1] })).await;
    assert_eq!(
        (dropped["deliveries"].as_u64(), relay.destination("crm").await["dead_letters"].as_u64()),
        (Some(1), Some(1))
    );
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.destination("crm").await["dead_letters"], 1);
    assert_eq!(relay.deliveries(&ids[0]).await[0]["state"], "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_one_person_are_listed_up_to_the_limit_however_many_others_lie_between() {
    let fake = Fake::start([400; 5].map(Act::status)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for (number, who) in ["a", "b", "a", "b", "a"].into_iter().enumerate() {
        let event = json!({ "type": "sent", "user": { "id": number, "email": format!("{who}@example.com") } });
        let id = relay.accept(&event.to_string()).await;
        relay.until(&id, "dead").await;
    }
    let admin = format!("http://{}", relay.running.admin_address);
    let listed = |who: &str, limit: &str| {
        let args = ["dead-letters", "list", "--email", who, "-n", limit, "--json", "--admin", &admin];
        let listed: Value = serde_json::from_slice(&vero_relay(root(), &args).stdout).expect("JSON");
        (listed["dead_letters"].as_array().map(Vec::len), listed["next"].is_null())
    };
    assert_eq!(listed("a@example.com", "2"), (Some(2), false));
    assert_eq!(listed("a@example.com", "9"), (Some(3), true));
    assert_eq!(listed("b@example.com", "9"), (Some(2), true));
    assert_eq!(listed("c@example.com", "9"), (Some(0), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_dead_letter_is_meant_the_verbs_say_so_and_ask_nothing() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let admin = format!("http://{}", relay.running.admin_address);
    for (act, more, told) in [
        ("replay", None, "nothing to do: no dead letter of crm is meant\n"),
        ("drop", None, "nothing to do: no dead letter of crm is meant\n"),
        ("drop", Some("--dry-run"), "nothing to do: no dead letter of crm is meant (dry run: nothing was done)\n"),
    ] {
        let args: Vec<_> = ["dead-letters", act, "crm", "--admin", &admin].into_iter().chain(more).collect();
        let output = vero_relay(root(), &args);
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), told), "{act}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_never_go_to_a_destination_that_has_left_the_config() {
    let fake = Fake::start([Act::status(400), Act::status(400)]).await;
    let more = format!("  hubspot: {{ http: {{ url: \"{}\" }} }}\n", fake.url());
    let relay = TestRelay::start(&to_crm(&fake, &more)).await;
    let id = relay.accept(r#"{"type":"moved"}"#).await;
    relay.until(&id, "dead").await;
    let without = "rules: [ { name: all, to: other } ]\ndestinations: { other: { file: { path: out } } }\n";
    let relay = relay.restart(|config| config.replace(&config[config.find("rules:").expect("there")..], without)).await;
    for asked in [
        json!({ "destination": "crm" }),
        json!({ "destination": "crm", "event": id }),
        json!({ "destination": "crm", "to": "crm" }),
        json!({ "destination": "crm", "to": "hubspot" }),
        json!({ "destination": "crm", "dry_run": true }),
    ] {
        let refused = ask(&relay, "/api/dead-letters/replay", asked.clone()).await;
        assert_eq!(refused.status(), 404, "{asked}: {}", refused.text());
        let crm = relay.destination("crm").await;
        assert_eq!((&crm["state"], &crm["dead_letters"], &crm["backlog"]), (&json!("removed"), &json!(1), &json!(0)));
    }
    assert_eq!(
        told(&relay, "/api/dead-letters/replay", json!({ "destination": "crm", "to": "other" })).await["deliveries"],
        1
    );
    eventually("it to be written elsewhere", async || relay.directory.path().join("data/out").exists()).await;
    let left = relay.admin("/api/dead-letters?destination=crm").await.json();
    assert_eq!(left["dead_letters"], json!([]));
    // Nor what was delivered long ago, though nothing waits for it.
    let replay = json!({ "to": ["crm"], "since": "2020-01-01T00:00:00Z", "dry_run": true });
    let refused = async || ask(&relay, "/api/replays", replay.clone()).await.status() == 404;
    eventually("every replay to it to be refused", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_one_destination_go_to_another() {
    let (crm, hubspot) = (Fake::start([Act::status(400)]).await, Fake::start([]).await);
    let more = format!("  hubspot: {{ http: {{ url: \"{}\" }} }}\n", hubspot.url());
    let relay = TestRelay::start(&to_crm(&crm, &more)).await;
    let id = relay.accept(r#"{"type":"moved"}"#).await;
    relay.until(&id, "dead").await;
    let asked = json!({ "destination": "crm", "to": "hubspot" });
    assert_eq!(told(&relay, "/api/dead-letters/replay", asked).await["deliveries"], 1);
    let seen = hubspot.wait_for(1).await;
    assert_eq!(seen[0].header("webhook-id"), Some(id.as_str()));
    eventually("it to be settled", async || relay.destination("hubspot").await["backlog"] == 0).await;
    assert_eq!(relay.destination("crm").await["dead_letters"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_dead_letters_over_several_destinations_skip_and_repeat_nothing() {
    let (one, two) = (Fake::start([]).await, Fake::start([]).await);
    let rejects = || std::iter::repeat_with(|| Act::status(400)).take(3);
    one.then(rejects());
    two.then(rejects());
    let config = format!(
        "rules: [ {{ to: [one, two] }} ]\ndestinations:\n  one: {{ http: {{ url: \"{}\" }} }}\n  two: {{ http: {{ url: \"{}\" }} }}\n",
        one.url(),
        two.url()
    );
    let relay = TestRelay::start(&config).await;
    for _ in 0..3 {
        relay.accept(SENT).await;
    }
    for name in ["one", "two"] {
        eventually("three to die", async || relay.destination(name).await["dead_letters"] == 3).await;
    }
    for limit in 1..=7 {
        let (mut seen, mut before) = (std::collections::BTreeSet::new(), String::new());
        loop {
            let page = relay.admin(&format!("/api/dead-letters?limit={limit}{before}")).await.json();
            for letter in page["dead_letters"].as_array().expect("a list") {
                assert!(seen.insert((letter["event"].to_string(), letter["destination"].to_string())), "twice");
            }
            if page["next"].is_null() {
                break;
            }
            before = format!("&after={}", page["next"].as_str().expect("a cursor"));
        }
        assert_eq!(seen.len(), 6, "limit {limit}");
    }
}

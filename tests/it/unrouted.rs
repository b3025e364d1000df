//! How many events each rule matched, and what went nowhere: by what it is and how near it came.

use serde_json::{Value, json};

use crate::harness::*;

const RULES: &str = "
rules:
  - { name: silence, match: { type: opened }, to: [], stop: true }
  - name: carts
    match: { type: clicked, campaign.type: behavioral }
    to: a
  - name: bounces
    match: { type: bounced }
    to: a
destinations: { a: { file: { path: a } } }
";

fn event(event_type: &str, campaign_type: &str) -> String {
    json!({ "type": event_type, "campaign": { "type": campaign_type, "name": "Cart" } }).to_string()
}

async fn told(relay: &TestRelay, path: &str) -> Value {
    let answer = relay.admin(path).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

async fn ask(relay: &TestRelay, path: &str, asked: &Value) -> Message {
    let headers = [("x-vero-relay-write", "1")];
    request(relay.running.admin_address, "POST", path, &headers, asked.to_string().as_bytes()).await
}

/// Each rule as `name: matched of events`.
fn matches(told: &Value) -> Vec<String> {
    let rules = told["rules"].as_array().unwrap_or_else(|| panic!("{told}"));
    rules
        .iter()
        .map(|rule| format!("{}: {} of {}", rule["rule"].as_str().unwrap_or("?"), rule["matched"], rule["events"]))
        .collect()
}

async fn reload(relay: &TestRelay, rest: &str) {
    std::fs::write(relay.directory.path().join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_tells_what_it_matched_since_it_says_what_it_says() {
    let relay = TestRelay::start(RULES).await;
    let none = told(&relay, "/api/rules").await;
    assert_eq!(matches(&none), ["silence: 0 of 0", "carts: 0 of 0", "bounces: 0 of 0"]);
    assert_eq!((&none["rules"][0]["last_matched_at"], &none["rules"][0]["to"]), (&json!(null), &json!([])));
    for event_type in ["opened", "bounced", "bounced", "clicked"] {
        relay.accept(&event(event_type, "behavioural")).await;
    }
    let some = told(&relay, "/api/rules").await;
    assert_eq!(matches(&some), ["silence: 1 of 4", "carts: 0 of 4", "bounces: 2 of 4"]);
    let bounces = &some["rules"][2];
    assert_eq!(
        (&bounces["line"], &bounces["to"], &bounces["stop"]),
        (&json!(11), &json!(["a"]), &json!(false)),
        "{some}"
    );
    assert!(bounces["last_matched_at"].is_string() && some["rules"][1]["last_matched_at"].is_null(), "{some}");
    assert_eq!((&some["events"], &some["generation"]), (&json!(4), &json!(1)));

    // One changes, one moves, one is new: counters of metrics go on.
    let changed = RULES
        .replace("behavioral", "behavioural")
        .replace("  - { name: silence", "  - { name: new, match: { type: sent }, to: a }\n  - { name: silence");
    reload(&relay, &changed).await;
    let after = told(&relay, "/api/rules").await;
    assert_eq!(matches(&after), ["new: 0 of 0", "silence: 1 of 4", "carts: 0 of 0", "bounces: 2 of 4"]);
    relay.accept(&event("clicked", "behavioural")).await;
    let last = told(&relay, "/api/rules").await;
    assert_eq!(matches(&last), ["new: 0 of 1", "silence: 1 of 5", "carts: 1 of 1", "bounces: 2 of 5"]);
    assert_eq!(last["generation"], 2);
    reload(&relay, &changed.replace("type: bounced", "type: [bounced]")).await;
    assert_eq!(matches(&told(&relay, "/api/rules").await)[3], "bounces: 0 of 0");
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains(r#"vero_relay_rule_matches_total{rule="bounces"} 2"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_are_counted_in_the_history_too_also_after_a_restart() {
    let relay = TestRelay::start(RULES).await;
    for event_type in ["opened", "bounced", "bounced", "clicked"] {
        relay.accept(&event(event_type, "behavioural")).await;
    }
    let relay = relay.restart(|config| config).await;
    let told_of = async |query: &str| told(&relay, &format!("/api/rules{query}")).await;
    assert_eq!(matches(&told_of("").await), ["silence: 0 of 0", "carts: 0 of 0", "bounces: 0 of 0"]);
    let all = told_of("?last=100").await;
    assert_eq!(matches(&all), ["silence: 1 of 4", "carts: 0 of 4", "bounces: 2 of 4"]);
    assert_eq!((&all["looked_at"], &all["next"]), (&json!(4), &json!(null)));
    assert!(all["back_to"].is_string() && all["rules"][2]["last_matched_at"].is_string(), "{all}");
    assert_eq!(matches(&told_of("?last=2").await), ["silence: 0 of 2", "carts: 0 of 2", "bounces: 1 of 2"]);
    assert_eq!(matches(&told_of("?since=1h").await), matches(&all));
    for wrong in ["?last=0", "?last=x", "?last=1&since=1h", "?since=x", "?after=%20", "?x=1"] {
        assert_eq!(relay.admin(&format!("/api/rules{wrong}")).await.status(), 400, "{wrong}");
        assert_eq!(relay.admin(&format!("/api/unrouted{wrong}")).await.status(), 400, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_nowhere_is_told_by_what_it_missed_and_apart_from_what_would_go_somewhere_now() {
    let relay = TestRelay::start(RULES).await;
    let nothing = told(&relay, "/api/unrouted").await;
    assert_eq!((&nothing["events"], &nothing["groups"], &nothing["next"]), (&json!(0), &json!([]), &json!(null)));
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(relay.accept(&event("clicked", ["behavioural", "transactional"][usize::from(number == 4)])).await);
    }
    relay.accept(&event("user_updated", "x")).await;
    relay.accept(&event("opened", "x")).await;
    relay.accept(&event("bounced", "x")).await;
    let found = told(&relay, "/api/unrouted?last=100").await;
    assert_eq!((&found["events"], &found["looked_at"], &found["not_grouped"]), (&json!(7), &json!(8), &json!(0)));
    let groups = found["groups"].as_array().expect("groups");
    let told_of: Vec<_> =
        groups.iter().map(|group| (group["type"].as_str().unwrap_or("?"), group["count"].clone())).collect();
    assert_eq!(told_of[0], ("clicked", json!(5)), "{found}");
    assert_eq!(groups.len(), 3, "{found}");
    let first = &groups[0];
    let nearest = &first["nearest"];
    assert_eq!((&nearest["rule"], &nearest["holding"], &nearest["of"]), (&json!("carts"), &json!(1), &json!(2)));
    assert_eq!(nearest["failed"][0]["field"], "campaign.type");
    let examples = first["examples"].as_array().expect("examples");
    assert_eq!(examples.len(), 3);
    assert!(examples.iter().all(|id| ids.contains(&id.as_str().unwrap_or_default().to_owned())), "{first}");
    assert!(first["first_at"].as_str() <= first["last_at"].as_str(), "{first}");
    assert!(groups.iter().all(|group| group["now"] == json!([])), "{found}");
    let other = groups.iter().find(|group| group["type"] == "user_updated").expect("a group");
    assert_eq!(other["nearest"], json!(null));

    reload(&relay, &RULES.replace("behavioral", "behavioural")).await;
    let mended = told(&relay, "/api/unrouted").await;
    let of = |now: Value| -> Vec<Value> {
        let groups = mended["groups"].as_array().into_iter().flatten();
        groups
            .filter(|group| group["type"] == "clicked" && group["now"] == now)
            .map(|group| group["count"].clone())
            .collect()
    };
    assert_eq!((of(json!(["a"])), of(json!([]))), (vec![json!(4)], vec![json!(1)]), "{mended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_has_sent_somewhere_is_unrouted_no_more_and_a_group_names_its_events() {
    let relay = TestRelay::start(RULES).await;
    let mut ids = Vec::new();
    for campaign in ["behavioural", "behavioural", "transactional"] {
        ids.push(relay.accept(&event("clicked", campaign)).await);
    }
    let named = |found: &Value| -> Vec<Value> {
        let groups = found["groups"].as_array().into_iter().flatten();
        groups.map(|group| json!([group["now"], group["count"], group["ids"]])).collect()
    };
    let before = told(&relay, "/api/unrouted?ids=true").await;
    assert_eq!(named(&before), [json!([[], 3, []])], "they would go nowhere");
    assert!(told(&relay, "/api/unrouted").await["groups"][0]["ids"].is_null());
    assert_eq!(relay.admin("/api/unrouted?ids=x").await.status(), 400);

    reload(&relay, &RULES.replace("behavioral", "behavioural")).await;
    let mended = told(&relay, "/api/unrouted?ids=true").await;
    let of_group = [json!([["a"], 2, [ids[1], ids[0]]]), json!([[], 1, []])];
    assert_eq!(named(&mended), of_group, "exactly those of the group, the newest first");
    let listed = async |filter: &str| -> Vec<Value> {
        let list = told(&relay, &format!("/api/events?{filter}")).await;
        list["events"].as_array().expect("events").iter().map(|event| event["id"].clone()).collect()
    };
    assert_eq!(listed("unrouted=true").await, [json!(ids[2]), json!(ids[1]), json!(ids[0])]);

    let again = json!({ "events": ids[..2], "by": "now", "only": "missing" });
    assert_eq!(ask(&relay, "/api/replays", &again).await.status(), 200);
    for id in &ids[..2] {
        relay.until(id, "delivered").await;
    }
    assert_eq!(listed("unrouted=true").await, [json!(ids[2])]);
    assert_eq!(listed("unrouted=true&limit=1").await, [json!(ids[2])], "the newest comes first");
    assert_eq!(listed("unrouted=true&state=delivered").await, [json!(null); 0]);
    let search = json!({ "unrouted": true, "events": ids });
    let found = ask(&relay, "/api/events/search", &search).await.json();
    assert_eq!(found["events"].as_array().map(Vec::len), Some(1), "{found}");
    let after = told(&relay, "/api/unrouted?ids=true").await;
    assert_eq!((&after["events"], named(&after)), (&json!(1), vec![json!([[], 1, []])]));
    // What memory has forgotten stands in the journal.
    let relay = relay.restart(|config| config).await;
    assert_eq!(told(&relay, "/api/unrouted").await["events"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_groups_are_told_and_the_others_counted_and_long_values_cut() {
    let relay = TestRelay::start(RULES).await;
    for number in 0..55 {
        let long = "x".repeat(300);
        let many = json!({ "type": format!("type-{number}"), "campaign": [{ "type": long }, { "type": 1 }, { "type": 2 }, { "type": 3 }] });
        relay.accept(&many.to_string()).await;
    }
    let long = json!({ "type": "clicked", "campaign": [{ "type": "x".repeat(300) }, { "type": 1 }, { "type": 2 }, { "type": 3 }] });
    for _ in 0..2 {
        relay.accept(&long.to_string()).await;
    }
    let found = told(&relay, "/api/unrouted").await;
    assert_eq!((found["groups"].as_array().map(Vec::len), &found["not_grouped"]), (Some(50), &json!(6)), "{found}");
    let got = found["groups"][0]["nearest"]["failed"][0]["got"].as_array().expect("values");
    assert_eq!(got.len(), 3, "{got:?}");
    assert_eq!(got[0]["value"].as_str().map(|value| value.chars().count()), Some(101));
    // The others can be asked for.
    let further = found["further_types"].as_array().expect("types").clone();
    assert_eq!(further.len(), 6, "{found}");
    let types: Vec<_> = further.iter().map(|name| name.as_str().expect("a text")).collect();
    let others = told(&relay, &format!("/api/unrouted?type={}", types.join(","))).await;
    assert_eq!(
        (others["groups"].as_array().map(Vec::len), &others["events"], &others["not_grouped"], &others["looked_at"]),
        (Some(6), &json!(6), &json!(0), &json!(57)),
        "{others}"
    );
    assert!(others["groups"].as_array().is_some_and(|all| all.iter().all(|group| further.contains(&group["type"]))));
    assert_eq!(relay.admin("/api/unrouted?type=,").await.status(), 400);
    // Piece by piece, all are looked at once.
    let mut looked_at = 0;
    let mut after = String::new();
    for _ in 0..10 {
        let piece = told(&relay, &format!("/api/unrouted?last=57{after}")).await;
        looked_at += piece["looked_at"].as_u64().expect("a number");
        let Some(next) = piece["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(looked_at, 57);
}

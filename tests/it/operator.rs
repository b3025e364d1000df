//! The operator's hands on it: breaker, limits, changes of the config, replay, history, the API's manners.

use serde_json::{Value, json};

use crate::cli::{out, root, vero_relay};
use crate::harness::*;

/// A config whose only destination is down until somebody helps it.
fn fails(count: usize) -> impl Iterator<Item = Act> {
    std::iter::repeat_with(|| Act::status(503)).take(count)
}

pub async fn ask(relay: &TestRelay, path: &str, asked: Value) -> Message {
    let headers = [("x-vero-relay-write", "1")];
    request(relay.running.admin_address, "POST", path, &headers, asked.to_string().as_bytes()).await
}

pub async fn told(relay: &TestRelay, path: &str, asked: Value) -> Value {
    let answer = ask(relay, path, asked).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

pub fn types(fake: &Fake) -> Vec<String> {
    fake.seen().iter().map(|message| message.json()["type"].as_str().expect("a type").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_down_gets_one_probe_at_a_time_and_the_rest_follows_when_it_answers() {
    let fake = Fake::start(fails(1000)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(relay.accept(&format!(r#"{{"type":"t","n":{n}}}"#)).await);
    }
    eventually("the breaker to open", async || relay.destination("crm").await["breaker"]["state"] == "open").await;
    // Those in flight when it opened come on top of the five: at most as many as may be in flight at once. And probes, one by one.
    let while_open = fake.seen().len();
    fake.recovers();
    assert!(while_open <= 5 + 8 + 5, "{while_open} requests to a destination that is down");
    for id in &ids {
        relay.until(id, "delivered").await;
    }
    assert_eq!(relay.destination("crm").await["state"], "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_breaker_is_known_after_a_restart_and_begins_with_a_probe() {
    let fake = Fake::start(fails(1000)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for _ in 0..20 {
        relay.accept(SENT).await;
    }
    eventually("the breaker to open", async || relay.destination("crm").await["breaker"]["state"] == "open").await;
    let before = fake.seen().len();
    let relay = relay.restart(|config| config).await;
    fake.wait_for(before + 1).await;
    let crm = relay.destination("crm").await;
    assert_eq!((crm["state"].as_str(), crm["backlog"].as_u64()), (Some("failing"), Some(20)));
    assert!(fake.seen().len() <= before + 2, "one probe, and the next comes later");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_makes_what_waits_due_now() {
    let fake = Fake::start(fails(1)).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let said = told(&relay, "/api/destinations/crm/retry", json!({})).await;
    assert_eq!(said["due_now"], 1);
    assert_eq!(relay.until(&id, "delivered").await["attempts"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_section_makes_what_waits_due_now_and_an_unchanged_one_does_not() {
    let fake = Fake::start(fails(1)).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.deliveries(&id).await[0]["state"], "scheduled");
    let relay = relay.restart(|config| config.replace("/hook", "/other")).await;
    relay.until(&id, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_destination_keeps_its_queue_until_its_time_is_over_and_goes_on_if_it_comes_back() {
    let fake = Fake::start(fails(1)).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let with = to_crm(&fake, "");
    let without = "rules: [ { name: all, to: other } ]\ndestinations: { other: { file: { path: out } } }\n";
    let relay = relay.restart(|config| config.replace(&config[config.find("rules:").expect("there")..], without)).await;
    eventually("it to be shown as removed", async || relay.destination("crm").await["state"] == "removed").await;
    assert_eq!(relay.destination("crm").await["backlog"], 1);
    // Back again: the changed section makes it due.
    let relay = relay.restart(|config| config.replace(&config[config.find("rules:").expect("there")..], &with)).await;
    relay.until(&id, "delivered").await;
    let crm = relay.destination("crm").await;
    assert_eq!(crm["state"], "up");

    fake.then(fails(1000));
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let gone = format!("removed_grace: 1s\n{without}");
    let relay = relay.restart(|config| config.replace(&config[config.find("rules:").expect("there")..], &gone)).await;
    let dead = relay.until(&id, "dead").await;
    assert_eq!(dead["reason"], "the destination was removed from the config");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_destination_keeps_its_queue() {
    let fake = Fake::start(fails(1)).await;
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, "retry: { initial: 1h, max: 1h }")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let relay = relay
        .restart(|config| {
            let renamed = config.replace("crm", "hubspot").replace("1h, max: 1h }", "20ms, max: 1h }");
            format!("{renamed}    renamed_from: crm\n")
        })
        .await;
    told(&relay, "/api/destinations/hubspot/retry", json!({})).await;
    let delivered = relay.until(&id, "delivered").await;
    assert_eq!(delivered["destination"], "hubspot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_the_history_counts_first_matches_and_is_done_once() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for n in 0..30 {
        let kind = if n % 3 == 0 { "bounced" } else { "sent" };
        relay.accept(&format!(r#"{{"type":"{kind}","n":{n}}}"#)).await;
    }
    fake.wait_for(30).await;
    let mut asked = json!({ "since": "1h", "match": "{type: bounced}", "dry_run": true });
    let counted = told(&relay, "/api/replays", asked.clone()).await;
    assert_eq!((counted["events"].as_u64(), counted["deliveries"].as_u64()), (Some(10), Some(10)));
    assert_eq!(counted["by_destination"][0]["destination"], "crm");
    asked["dry_run"] = json!(false);
    asked["id"] = json!("7b7f3f0e-5a35-4c44-8a39-6a5b2f0c9d11");
    told(&relay, "/api/replays", asked.clone()).await;
    fake.wait_for(40).await;
    eventually("it to be done", async || {
        relay.admin("/api/replays/7b7f3f0e-5a35-4c44-8a39-6a5b2f0c9d11").await.json()["done"] == true
    })
    .await;
    assert_eq!(told(&relay, "/api/replays", asked.clone()).await["repeated"], true);
    for (key, value) in [("match", json!("{type: sent}")), ("to", json!(["crm"]))] {
        let mut other = asked.clone();
        other[key] = value;
        let refused = ask(&relay, "/api/replays", other).await;
        assert_eq!(refused.status(), 409, "{}", refused.text());
        assert!(refused.text().contains("another replay"), "{}", refused.text());
    }
    let relay = relay.restart(|config| config).await;
    assert_eq!(told(&relay, "/api/replays", asked).await["repeated"], true, "also after a restart");
    assert_eq!(relay.destination("crm").await["backlog"], 0);
    let kinds = types(&fake);
    assert_eq!((kinds.len(), kinds[30..].iter().all(|kind| kind == "bounced")), (40, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_the_api_is_larger_than_javascript_can_hold() {
    fn check(value: &Value) {
        match value {
            Value::Number(number) => {
                assert!(number.as_f64().is_some_and(|number| number <= (1_u64 << 53) as f64), "{number}")
            }
            Value::Array(items) => items.iter().for_each(check),
            Value::Object(map) => map.values().for_each(check),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    let begun = told(&relay, "/api/replays", json!({ "since": "1h" })).await;
    assert_eq!(begun["asked"]["until"], Value::Null, "{begun}");
    check(&begun);
    let bounded = told(&relay, "/api/replays", json!({ "since": "2h", "until": "1h" })).await;
    assert!(bounded["asked"]["until"].is_string(), "{bounded}");
    for path in
        ["/api/replays", "/api/status", "/api/store", "/api/events", "/api/what-if", &format!("/api/events/{id}")]
    {
        check(&relay.admin(path).await.json());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_tells_whether_there_was_a_pause() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for what in ["destinations/crm", "sources/vero"] {
        let resume = format!("/api/{what}/resume");
        let pause = format!("/api/{what}/pause");
        for (act, is_paused, has_changed) in
            [(&resume, false, false), (&pause, true, true), (&pause, true, false), (&resume, false, true)]
        {
            let said = told(&relay, act, json!({})).await;
            assert_eq!((&said["paused"], &said["changed"]), (&json!(is_paused), &json!(has_changed)), "{act}: {said}");
        }
        for _ in 0..20 {
            told(&relay, &pause, json!({})).await;
            let (one, other) = tokio::join!(told(&relay, &resume, json!({})), told(&relay, &resume, json!({})));
            let changed = [one, other].map(|said| said["changed"] == true);
            assert!(changed[0] != changed[1], "{what}: of two operators, one has resumed it: {changed:?}");
        }
    }
    let admin = format!("http://{}", relay.running.admin_address);
    let words = |args: &[&str]| {
        let args: Vec<_> = args.iter().copied().chain(["--admin", &admin]).map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            out(&vero_relay(root(), &args))
        })
    };
    assert_eq!(words(&["resume", "crm"]).await.expect("no panic"), "crm was not paused\n");
    assert_eq!(words(&["resume", "--source", "vero"]).await.expect("no panic"), "vero was not paused\n");
    words(&["pause", "crm"]).await.expect("no panic");
    assert_eq!(words(&["resume", "crm"]).await.expect("no panic"), "resumed crm\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_names_no_field_of_veros_is_told_wherever_one_is_taken() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let field = json!(["Vero sends no field `typ` today (did you mean `type`?)"]);
    assert_eq!(relay.admin("/api/events?match=%7Btyp%3A%20sent%7D").await.json()["warnings"], field);
    let asked = json!({ "since": "1h", "match": "{typ: sent}", "dry_run": true });
    assert_eq!(told(&relay, "/api/replays", asked).await["warnings"], field);
    assert_eq!(told(&relay, "/api/replays", json!({ "since": "1h", "match": "{typ: sent}" })).await["warnings"], field);
    let value = relay.admin("/api/events?type=bouncd").await.json()["warnings"].to_string();
    assert!(value.contains("no event type `bouncd`") && value.contains("`bounced`"), "{value}");
    relay.accept(SENT).await;
    for (types, found) in [("bounced,sent", 1), ("sent", 1), ("opened,%20sent", 1), ("bounced,opened", 0)] {
        let listed = relay.admin(&format!("/api/events?type={types}")).await.json();
        assert_eq!(listed["events"].as_array().map(Vec::len), Some(found), "{types}: {listed}");
        assert_eq!(listed["warnings"], json!([]), "{types}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_no_time_at_all_is_refused() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let refused = ask(&relay, "/api/replays", json!({ "since": "1h", "until": "2h" })).await;
    assert_eq!(refused.status(), 400, "{}", refused.text());
    assert!(refused.text().contains("`until` is before `since`"), "{}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_listed_in_pages_by_filter() {
    let fake = Fake::start([Act::status(400)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let dead = relay.accept(r#"{"type":"bounced","campaign":{"name":"Cart"}}"#).await;
    relay.until(&dead, "dead").await;
    let mut ids = vec![dead.clone()];
    for n in 0..9 {
        ids.push(relay.accept(&format!(r#"{{"type":"sent","n":{n}}}"#)).await);
    }
    fake.wait_for(10).await;
    let (mut listed, mut before) = (Vec::new(), String::new());
    loop {
        let page = relay.admin(&format!("/api/events?limit=4{before}")).await.json();
        let events = page["events"].as_array().expect("a list").clone();
        assert!(events.len() <= 4);
        listed.extend(events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()));
        if page["next"].is_null() {
            break;
        }
        before = format!("&after={}", page["next"].as_str().expect("a cursor"));
    }
    listed.reverse();
    assert_eq!(listed, ids);
    for query in ["type=bounced", "state=dead", "match=%7Bcampaign.name%3A%20Cart%7D", "destination=crm&state=dead"] {
        let page = relay.admin(&format!("/api/events?{query}")).await.json();
        assert_eq!(page["events"].as_array().map(Vec::len), Some(1), "{query}");
        assert_eq!(page["events"][0]["id"], dead.as_str(), "{query}");
        assert_eq!(page["events"][0]["campaign"], "Cart", "{query}");
    }
    for query in ["source=vero", "since=1h", "until=2100-01-01"] {
        let page = relay.admin(&format!("/api/events?{query}")).await.json();
        assert_eq!(page["events"].as_array().map(Vec::len), Some(10), "{query}");
    }
    assert_eq!(relay.admin("/api/events?until=1h").await.json()["events"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_each_delivery_ended_is_listed_truly_after_a_restart_without_the_index() {
    let fake = Fake::start([503, 200, 400, 400, 400].map(Act::status)).await;
    let relay = TestRelay::start(&to_crm(&fake, "  other: { file: { path: out } }\n")).await;
    let mut ids = Vec::new();
    for (body, state) in
        [("late", "delivered"), ("dropped", "dead"), ("moved", "dead"), ("dead", "dead"), ("now", "delivered")]
    {
        ids.push(relay.accept(&format!(r#"{{"type":"{body}"}}"#)).await);
        relay.until(ids.last().expect("one"), state).await;
    }
    told(&relay, "/api/dead-letters/drop", json!({ "destination": "crm", "event": ids[1] })).await;
    told(&relay, "/api/dead-letters/replay", json!({ "destination": "crm", "event": ids[2], "to": "other" })).await;
    eventually("the moved one to arrive", async || {
        relay.deliveries(&ids[2]).await.iter().any(|delivery| delivery["state"] == "delivered")
    })
    .await;
    let Relayed { listed, shown } = Relayed::of(&relay, &ids).await;
    assert_eq!(
        listed,
        [
            ("delivered", vec![ids[4].clone(), ids[2].clone(), ids[0].clone()]),
            ("dropped", vec![ids[1].clone()]),
            ("moved", vec![ids[2].clone()]),
            ("dead", vec![ids[3].clone()]),
            ("unknown", vec![]),
        ]
    );
    assert_eq!(shown[0][0]["attempts"], 2);
    assert_eq!((shown[2][0]["to"].as_str(), shown[2][1]["destination"].as_str()), (Some("other"), Some("other")));
    assert!(shown.iter().flatten().all(|delivery| delivery["at"].is_string()), "{shown:?}");
    let before = (listed, shown);
    let directory = relay.directory.clone();
    let relay = relay
        .restart(|config| {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(directory.path().join(format!("data/state.db{suffix}")));
            }
            config
        })
        .await;
    let Relayed { listed, shown } = Relayed::of(&relay, &ids).await;
    let without_notes = |shown: &[Vec<Value>]| {
        let mut shown = shown.to_vec();
        // The details of attempts are kept in the index alone.
        shown.iter_mut().flatten().for_each(|delivery| delivery["attempted"] = Value::Null);
        shown
    };
    assert_eq!((listed, without_notes(&shown)), (before.0, without_notes(&before.1)));
}

/// What the API says of deliveries: the events in each state, and each event's deliveries.
struct Relayed {
    listed: Vec<(&'static str, Vec<String>)>,
    shown: Vec<Vec<Value>>,
}

impl Relayed {
    async fn of(relay: &TestRelay, ids: &[String]) -> Self {
        let (mut listed, mut shown) = (Vec::new(), Vec::new());
        for state in ["delivered", "dropped", "moved", "dead", "unknown"] {
            let page = relay.admin(&format!("/api/events?state={state}")).await.json();
            let events = page["events"].as_array().expect("a list").iter();
            listed.push((state, events.map(|event| event["id"].as_str().expect("an id").to_owned()).collect()));
        }
        for id in ids {
            shown.push(relay.deliveries(id).await);
        }
        Self { listed, shown }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_told_and_changes_nothing() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for (path, status, part) in [
        ("/api/events?limit=0", 400, "from 1 to 1000"),
        ("/api/events?limit=1001", 400, "from 1 to 1000"),
        ("/api/events?limit=%2B10", 400, "from 1 to 1000"),
        ("/api/rules?last=%2B10", 400, "from 1 on"),
        ("/api/minutes?last=%2B10", 400, "from 1 to"),
        ("/api/events?match=*a", 400, "put a text that begins with it in quotes"),
        ("/api/events?match=%7Btype:%20%26a%20%5B*a%5D%7D", 400, "it is not YAML: lists and maps lie in one another"),
        ("/api/events?tipe=sent", 400, "no parameter `tipe`"),
        ("/api/events?type=a&type=b", 400, "given twice"),
        ("/api/events?since=yesterday", 400, "is not a time: write"),
        ("/api/events?since=2026-11-26T08:00:00+02:00", 400, "write 2026-11-26T08:00:00%2B02:00"),
        ("/api/dead-letters?until=2026-11-26T08:00:00+02:00", 400, "a + is read as a blank"),
        ("/api/events?since=2026-11-26%2008:00+02:00", 400, "write 2026-11-26%2008:00%2B02:00"),
        ("/api/events?since=2026-11-26%2008:00", 400, "does not say in which time zone"),
        ("/api/what-if?since=2026-11-26T08:00:00+02:00", 400, "a + is read as a blank"),
        ("/api/events?type=", 400, "`type` names no type"),
        ("/api/events?type=,%20,", 400, "`type` names no type"),
        ("/api/events?type=%22a", 400, "has no other at its end"),
        ("/api/events?state=gone", 400, "is not a state"),
        ("/api/events?match=%5B", 400, "not YAML"),
        ("/api/events?type=a&match=%7Btype%3A%20b%7D", 400, "give one of them"),
        ("/api/events?destination=cmr", 404, "did you mean"),
        ("/api/events/42", 404, "not an event's id"),
        ("/api/events?since=2h&until=3h", 400, "`until` is before `since`"),
        ("/api/dead-letters?since=2h&until=3h", 400, "`until` is before `since`"),
        ("/api/dead-letters?destination=x", 404, "no destination `x`"),
        ("/api/replays/42", 400, "should be a UUID"),
        ("/api/status?x=1", 400, "no parameter `x`"),
    ] {
        let answer = relay.admin(path).await;
        assert_eq!(answer.status(), status, "{path}: {}", answer.text());
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
    for (path, asked, status, part) in [
        ("/api/replays", json!({}), 400, "`since` says where"),
        ("/api/replays", json!({ "since": "1h", "to": ["x"] }), 404, "no destination `x`"),
        ("/api/replays", json!({ "since": "1h", "match": "{type: {globb: x}}" }), 400, "glob"),
        ("/api/replays", json!({ "since": "1h", "mach": "{}" }), 400, "there is no `mach`"),
        ("/api/replays", json!({ "since": "1h", "until": "2h" }), 400, "`until` is before `since`"),
        ("/api/replays", json!({ "since": "1h", "id": "x" }), 400, "should be a UUID"),
        ("/api/replays", json!({ "since": "1h", "id": "x", "dry_run": true }), 400, "should be a UUID"),
        ("/api/replays", json!({ "since": "2026-11-26T08:00 02:00" }), 400, "is not a time: write"),
        ("/api/dead-letters/replay", json!({}), 400, "whose dead letters"),
        (
            "/api/dead-letters/drop",
            json!({ "destination": "crm", "since": "1h", "until": "2h" }),
            400,
            "`until` is before `since`",
        ),
        ("/api/dead-letters/drop?destination=crm", json!({}), 400, "no parameter `destination` here"),
        ("/api/dead-letters/drop", json!({ "destination": "crm", "to": "crm" }), 400, "there is no `to` here, only"),
        ("/api/store/backup", json!({ "directory": "here" }), 400, "an absolute path"),
        ("/api/destinations/crm/explode", json!({}), 404, "nothing that can be done here: pause, resume, retry"),
        ("/api/sources/vero/explode", json!({}), 404, "nothing that can be done here: pause, resume"),
        ("/api/sources/vero", json!({}), 404, "nothing here"),
        ("/api/sources/crm/pause", json!({}), 404, "no source `crm`"),
    ] {
        let answer = ask(&relay, path, asked).await;
        assert_eq!(answer.status(), status, "{path}: {}", answer.text());
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
    let unproved = request(relay.running.admin_address, "POST", "/api/store/trim", &[], b"").await;
    assert_eq!(unproved.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_given_twice_is_refused_and_null_is_as_if_not_given() {
    let fake = Fake::start([Act::status(400)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "dead").await;
    let drop = async |body: &str| {
        let write = [("x-vero-relay-write", "1")];
        request(relay.running.admin_address, "POST", "/api/dead-letters/drop", &write, body.as_bytes()).await
    };
    for (body, key) in [
        (r#"{ "destination": "crm", "dry_run": true, "dry_run": false }"#, "dry_run"),
        (r#"{ "destination": "crm", "dry_run": true, "dry\u005frun": true }"#, "dry_run"),
        (r#"{ "destination": "crm", "event": null, "event": "x" }"#, "event"),
        (r#"{ "x": 1, "x": 1 }"#, "x"),
    ] {
        let answer = drop(body).await;
        assert_eq!(answer.status(), 400, "{body}: {}", answer.text());
        assert!(answer.text().contains(&format!("`{key}` is given twice")), "{body}: {}", answer.text());
    }
    for body in ["[]", "null", "7", r#""drop""#] {
        let answer = drop(body).await;
        assert_eq!(answer.status(), 400, "{body}: {}", answer.text());
        assert!(answer.text().contains("the body should be a JSON object"), "{body}: {}", answer.text());
    }
    for body in [r#"{ "destination": "crm""#, r#"{ "destination": "crm" } {}"#, "{ to: crm }"] {
        let answer = drop(body).await;
        assert_eq!(answer.status(), 400, "{body}: {}", answer.text());
        assert!(answer.text().contains("the body is not JSON"), "{body}: {}", answer.text());
    }
    assert_eq!(relay.destination("crm").await["dead_letters"], 1, "none of them did anything");
    let dropped = drop(r#"{ "destination": "crm", "to": null, "since": null, "dry_run": null }"#).await;
    assert_eq!((dropped.status(), dropped.json()["deliveries"].as_u64()), (200, Some(1)), "{}", dropped.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_in_a_list_of_types_are_left_out() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    relay.accept(SENT).await;
    for (list, found) in [("sent", 1), ("nope,,sent,", 1), ("nope,,", 0)] {
        let events = relay.admin(&format!("/api/events?type={list}")).await.json();
        assert_eq!(events["events"].as_array().map(Vec::len), Some(found), "{list}: {events}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_overview_lists_is_there_and_takes_what_it_names_and_nothing_else() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let overview = relay.admin("/").await.text();
    let mut lines = overview.lines().peekable();
    let write = [("x-vero-relay-write", "1")];
    let mut seen = Vec::new();
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace();
        let [Some(method @ ("GET" | "POST")), Some(path)] = [words.next(), words.next()] else { continue };
        let Some(_) = path.strip_prefix("/api/") else { continue };
        let path = path.replace("NAME", "crm").replace("ID", "42");
        let named = lines.next_if(|line| line.starts_with("     ")).unwrap_or_default();
        let keys: Vec<_> = named.split(['?', '=', ' ', '{', '}', ',']).filter(|key| !key.is_empty()).collect();
        let unknown = request(relay.running.admin_address, method, &format!("{path}?x=1"), &write, b"").await;
        assert_eq!(unknown.status(), 400, "{method} {path}: {}", unknown.text());
        assert!(unknown.text().contains("no parameter `x`"), "{method} {path}: {}", unknown.text());
        for key in &keys {
            // Of a wrong value is told, of a key never.
            let answer = match method {
                "GET" => relay.admin(&format!("{path}?{key}=%5B")).await,
                _ => ask(&relay, &path, json!({ *key: 0 })).await,
            };
            let is_known = !["no parameter", "there is no `"].iter().any(|part| answer.text().contains(part));
            assert!(is_known, "{method} {path} {key}: {}", answer.text());
        }
        if method == "POST" {
            let unknown = ask(&relay, &path, json!({ "x": 1 })).await;
            assert_eq!(unknown.status(), 400, "{path}: {}", unknown.text());
            assert!(unknown.text().contains("there is no `x` here"), "{path}: {}", unknown.text());
        }
        seen.push((method, path, keys));
    }
    assert!(seen.len() > 15, "{overview}");
    for path in ["/api/events", "/api/dead-letters", "/api/dead-letters/drop"] {
        assert!(seen.iter().any(|(_, of, keys)| of == path && keys.contains(&"email")), "{path}: {overview}");
    }
    let is_listed = |method: &str, path: &str| seen.iter().any(|(by, of, _)| *by == method && of == path);
    for (_, path, _) in &seen {
        let allowed = match (is_listed("GET", path), is_listed("POST", path)) {
            (true, true) => "GET, HEAD, POST",
            (true, false) => "GET, HEAD",
            (false, _) => "POST",
        };
        for method in ["GET", "POST", "PUT"].into_iter().filter(|method| !allowed.contains(method)) {
            let answer = request(relay.running.admin_address, method, path, &write, b"").await;
            assert_eq!((answer.status(), answer.header("allow")), (405, Some(allowed)), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_relay_goes_on_as_a_data_directory() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    relay.act("/api/destinations/crm/pause").await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(relay.accept(SENT).await);
    }
    let copy = relay.directory.path().join("copy");
    told(&relay, "/api/store/backup", json!({ "directory": copy.display().to_string() })).await;
    let second = ask(&relay, "/api/store/backup", json!({ "directory": copy.display().to_string() })).await;
    assert_eq!(second.status(), 400, "it replaces nothing: {}", second.text());
    let restored = relay.restart(|config| config.replace("data_dir: data", "data_dir: copy")).await;
    assert_eq!(restored.destination("crm").await["backlog"], 50);
    restored.act("/api/destinations/crm/resume").await;
    for id in &ids {
        restored.until(id, "delivered").await;
    }
    assert_eq!(fake.seen().len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_which_no_copy_can_be_made_is_the_askers_fault_and_is_not_said_again_whole() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let at = relay.directory.path();
    std::fs::write(at.join("file"), "").expect("written");
    let long = |name: usize| at.join("x".repeat(name)).display().to_string();
    // A name has at most 255 bytes, a path 4096.
    for path in [
        long(256),
        long(500_000),
        at.join("file").display().to_string(),
        at.join("file/copy").display().to_string(),
        at.join("a/".repeat(200)).display().to_string(),
        at.join("a/".repeat(30_000)).display().to_string(),
        format!("{}/a\0b", at.display()),
        at.join("data/copy").display().to_string(),
    ] {
        let answer = ask(&relay, "/api/store/backup", json!({ "directory": path })).await;
        let shown: String = path.chars().take(300).collect();
        assert_eq!(answer.status(), 400, "{shown}: {}", answer.text());
        assert!(answer.text().contains("name a") && answer.text().len() < 500, "{shown}: {}", answer.text());
    }
    assert!(!at.join("a").exists(), "nothing was made");
    told(&relay, "/api/store/backup", json!({ "directory": long(255) })).await;
    let deep = at.join("a/".repeat(100)).display().to_string();
    told(&relay, "/api/store/backup", json!({ "directory": deep })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_free_space_that_must_stay_events_are_refused_and_deliveries_go_on() {
    use vero_relay::store::journal::disk::Space;
    use vero_relay::store::journal::model::{Faults, ModelDisk};
    let disk = ModelDisk::default();
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_on(&disk, &to_crm(&fake, "store: { free_space_min: 64MiB }\n")).await;
    relay.act("/api/destinations/crm/pause").await;
    let id = relay.accept(SENT).await;
    let space = |free| Faults { space: Some(Space { total: 1 << 40, free }), ..Faults::default() };
    disk.set_faults(space(1 << 20));
    eventually("readiness to go", async || relay.admin("/readyz").await.status() == 503).await;
    let refused = relay.post(SENT).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("free_space_min"), "{}", refused.text());
    relay.act("/api/destinations/crm/resume").await;
    relay.until(&id, "delivered").await;
    disk.set_faults(space(1 << 39));
    eventually("readiness to come back", async || relay.admin("/readyz").await.status() == 200).await;
    relay.accept(SENT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_is_a_metric_before_it_bites() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "    backlog: { max_age: 1h, max_size: 10MiB }\nstore: { max_size: 1GiB, free_space_min: 1MiB, history: { max_size: 100MiB } }\n")).await;
    relay.accept(SENT).await;
    let metrics = relay.admin("/metrics").await.text();
    for line in [
        "vero_relay_store_bytes_max 1073741824",
        "vero_relay_history_bytes_max 104857600",
        "vero_relay_dead_letter_bytes_max 52428800",
        "vero_relay_store_filesystem_free_bytes_min 1048576",
        "vero_relay_backlog_bytes_max{destination=\"crm\"} 10485760",
        "vero_relay_backlog_age_max_seconds{destination=\"crm\"} 3600",
        "vero_relay_destination_breaker_open{destination=\"crm\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_shown_while_it_lasts() {
    let fake = Fake::start([Act::with(429, &[("retry-after", "3600")], "slow down")]).await;
    let relay = TestRelay::start(&to_crm(&fake, "limits: { shutdown_grace: 60m }\n")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "scheduled").await;
    let crm = relay.destination("crm").await;
    assert!(!crm["held_until"].is_null() && crm["last_error"]["reason"] == "429 Too Many Requests", "{crm}");
    tokio::time::timeout(PATIENCE, relay.running.stop()).await.expect("a hold keeps nobody from ending");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_replay_asked_for_many_times_at_once_is_one() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for _ in 0..10 {
        relay.accept(SENT).await;
    }
    fake.wait_for(10).await;
    eventually("all to be settled", async || relay.destination("crm").await["backlog"] == 0).await;
    let asked = json!({ "since": "1h", "id": "0d6c9c5e-5f0b-4b53-9a55-1f1f2a3b4c5d" });
    let together = (0..8).map(|_| ask(&relay, "/api/replays", asked.clone()));
    let answers = futures_util::future::join_all(together).await;
    let new = answers.iter().filter(|answer| answer.json()["repeated"] == false).count();
    assert_eq!((new, answers.iter().all(|answer| answer.status() == 200)), (1, true));
    fake.wait_for(20).await;
    eventually("all to be settled", async || relay.destination("crm").await["backlog"] == 0).await;
    assert_eq!(fake.seen().len(), 20);
    let other = json!({ "destination": "crm", "id": "0d6c9c5e-5f0b-4b53-9a55-1f1f2a3b4c5d" });
    let refused = ask(&relay, "/api/dead-letters/replay", other).await;
    assert_eq!(refused.status(), 409, "an id is one command's: {}", refused.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_full_of_history_makes_room_by_itself() {
    let fake = Fake::start([]).await;
    let config = to_crm(&fake, "store: { max_size: 24MiB, history: { max_size: 24MiB } }\n");
    let relay = TestRelay::start(&config).await;
    let large = format!(r#"{{"type":"t","x":"{}"}}"#, "x".repeat(900_000));
    // More than twice what it may have, with nothing waiting for long.
    let mut taken = 0;
    eventually("all of it to be taken", async || {
        taken += u32::from(relay.post(&large).await.status() == 200);
        taken >= 60
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_destination_whose_new_name_has_a_queue_already_takes_up_the_old_one() {
    let fake = Fake::start(fails(1)).await;
    let slow = "retry: { initial: 1h, max: 1h }";
    let relay = TestRelay::start(&to_crm(&fake, "").replace(QUICK, slow)).await;
    let old = relay.accept(r#"{"type":"old"}"#).await;
    relay.until(&old, "scheduled").await;
    // Renamed without a word of it, so the new name begins with nothing.
    fake.then(fails(1));
    let relay = relay.restart(|config| config.replace("crm", "hubspot")).await;
    let new = relay.accept(r#"{"type":"new"}"#).await;
    relay.until(&new, "scheduled").await;
    let relay = relay.restart(|config| format!("{config}    renamed_from: crm\n")).await;
    fake.wait_for(4).await;
    eventually("both to be settled", async || relay.destination("hubspot").await["backlog"] == 0).await;
    let of = |id: &str| fake.seen().iter().filter(|message| message.header("webhook-id") == Some(id)).count();
    assert_eq!((of(&old), of(&new)), (2, 2));
    let all = relay.admin("/api/destinations").await.json();
    assert!(!all.to_string().contains("crm\""), "nothing waits for the old name any more: {all}");
}

//! What the page and the verbs do with destinations, dead letters and the history: each act once, each number true.

use serde_json::{Value, json};

use crate::cli::{out, root, vero_relay};
use crate::harness::*;

async fn ask(relay: &TestRelay, path: &str, asked: Value) -> Message {
    let headers = [("x-vero-relay-write", "1")];
    request(relay.running.admin_address, "POST", path, &headers, asked.to_string().as_bytes()).await
}

async fn told(relay: &TestRelay, path: &str, asked: Value) -> Value {
    let answer = ask(relay, path, asked).await;
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

async fn refused(relay: &TestRelay, path: &str, asked: Value, part: &str) {
    let answer = ask(relay, path, asked).await;
    assert!(matches!(answer.status(), 400 | 404), "{path}: {}", answer.text());
    assert!(answer.text().contains(part), "{path}: {}", answer.text());
}

/// Has something refused because its id is that of something else.
async fn is_anothers(relay: &TestRelay, path: &str, asked: Value, by: &str) {
    let answer = ask(relay, path, asked.clone()).await;
    let told = answer.text();
    assert_eq!(answer.status(), 409, "{path}: {asked}: {told}");
    let id = asked["id"].as_str().expect("an id");
    assert!(told.contains(id) && told.contains(by) && told.contains("give another id"), "{path}: {asked}: {told}");
}

/// An id of a command.
fn command(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_pause_is_shown_also_after_a_restart() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let why = "their API moves on Friday";
    told(&relay, "/api/destinations/crm/pause", json!({ "reason": why })).await;
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.destination("crm").await["paused"]["reason"], why);
    let status = relay.admin("/api/status").await.json();
    assert_eq!(status["destinations"][0]["paused"]["reason"], why);
    told(&relay, "/api/destinations/crm/resume", json!({})).await;
    told(&relay, "/api/destinations/crm/pause", json!({ "reason": " " })).await;
    assert_eq!(relay.destination("crm").await["paused"]["reason"], "paused by the operator");
}

/// What the only delivery of an event waits for.
async fn waits_for(relay: &TestRelay, id: &str) -> Value {
    relay.admin(&format!("/api/events/{id}")).await.json()["deliveries"][0]["waits_for"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_says_whether_it_waits_for_its_time_the_destinations_wish_or_the_end_of_a_pause() {
    let fake = Fake::start([Act::ok(), Act::with(429, &[("retry-after", "3600")], "")]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let done = relay.accept(SENT).await;
    relay.until(&done, "delivered").await;
    let tried = relay.accept(SENT).await;
    relay.until(&tried, "scheduled").await;
    eventually("the hold", async || !relay.destination("crm").await["held_until"].is_null()).await;
    let behind = relay.accept(SENT).await;
    relay.until(&behind, "waiting").await;
    for (id, expected) in [(&done, Value::Null), (&tried, json!("due")), (&behind, json!("retry_after"))] {
        assert_eq!(waits_for(&relay, id).await, expected);
    }
    told(&relay, "/api/destinations/crm/pause", json!({})).await;
    for (id, expected) in [(&done, Value::Null), (&tried, json!("pause")), (&behind, json!("pause"))] {
        assert_eq!(waits_for(&relay, id).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_behind_an_open_breaker_says_that_it_waits_for_that() {
    let fake = Fake::start(std::iter::repeat_with(|| Act::status(500)).take(1000)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(relay.accept(SENT).await);
    }
    eventually("a delivery that waits for the breaker", async || waits_for(&relay, &ids[19]).await == "breaker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_pause_has_at_most_two_hundred_and_fifty_characters() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for letter in ["x", "ü", "🐦"] {
        let path = "/api/destinations/crm/pause";
        refused(&relay, path, json!({ "reason": letter.repeat(251) }), "at most 250 characters").await;
        assert_eq!(relay.destination("crm").await["state"], "up");
        told(&relay, path, json!({ "reason": letter.repeat(250) })).await;
        assert_eq!(relay.destination("crm").await["paused"]["reason"], letter.repeat(250));
        told(&relay, "/api/destinations/crm/resume", json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_a_resume_and_a_retry_that_are_said_twice_by_one_id_are_done_once() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for what in ["destinations/crm", "sources/vero"] {
        let number = what.len() as u128;
        let pause = json!({ "id": command(number) });
        assert_eq!(told(&relay, &format!("/api/{what}/pause"), pause.clone()).await["repeated"], false);
        let resume = json!({ "id": command(number + 100) });
        assert_eq!(told(&relay, &format!("/api/{what}/resume"), resume).await["changed"], true);
        // A click whose answer was lost comes again, after somebody else has let it go on.
        assert_eq!(told(&relay, &format!("/api/{what}/pause"), pause).await["repeated"], true);
    }
    assert_eq!(relay.destination("crm").await["state"], "up");
    let retry = json!({ "id": command(900) });
    let path = "/api/destinations/crm/retry";
    assert_eq!(told(&relay, path, retry.clone()).await["repeated"], false);
    assert_eq!(told(&relay, path, retry).await["repeated"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_destination_says_how_fast_it_goes_and_how_much_has_arrived() {
    let fake = Fake::start([Act::status(400)]).await;
    let relay = TestRelay::start(&to_crm(&fake, "    rate: 100/m\n    concurrency: 3\n")).await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "dead").await;
    let id = relay.accept(SENT).await;
    relay.until(&id, "delivered").await;
    let crm = relay.admin("/api/destinations/crm").await.json();
    assert_eq!((&crm["rate"], &crm["concurrency"]), (&json!("100/m"), &json!(3)));
    assert_eq!((&crm["delivered"], &crm["failed"], &crm["dead_letters"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((&crm["next_probe_at"], &crm["state"]), (&Value::Null, &json!("up")));
    let missing = relay.admin("/api/destinations/cmr").await;
    assert_eq!(missing.status(), 404);
    assert!(missing.text().contains("did you mean `crm`"), "{}", missing.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_says_when_it_is_tried_next() {
    let fake = Fake::start(std::iter::repeat_with(|| Act::status(503)).take(1000)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    for _ in 0..6 {
        relay.accept(SENT).await;
    }
    eventually("a probe to be due", async || relay.destination("crm").await["next_probe_at"].is_string()).await;
    fake.recovers();
    told(&relay, "/api/destinations/crm/retry", json!({})).await;
    eventually("it to be up", async || relay.destination("crm").await["state"] == "up").await;
    assert_eq!(relay.destination("crm").await["next_probe_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_turned_away_is_counted_by_reason_also_beyond_what_is_kept() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let none = relay.admin("/api/refused").await.json();
    assert_eq!((&none["counts"], none["since"].is_string()), (&json!({}), true));
    for _ in 0..101 {
        assert_eq!(relay.post("{").await.status(), 400);
    }
    request(relay.running.address, "POST", "/hooks/vero/wrong", &[], b"{}").await;
    let told = relay.admin("/api/refused").await.json();
    assert_eq!(told["counts"], json!({ "bad_event": 101, "wrong_address": 1 }));
    assert_eq!(told["refused"].as_array().map(Vec::len), Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_comes_on_one_line_for_a_program_and_on_many_for_a_person() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let lines = async |path: &str, accept: &str| {
        let answer = request(relay.running.admin_address, "GET", path, &[("accept", accept)], b"").await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().lines().count()
    };
    request(relay.running.admin_address, "POST", "/bin/x?pretty=kept", &[], b"{}").await;
    for path in ["/api/status", "/bin/x", "/bin"] {
        assert_eq!(lines(path, "application/json").await, 1, "{path}");
        assert!(lines(path, "*/*").await > 1, "{path}");
        assert!(lines(&format!("{path}?pretty"), "application/json").await > 1, "{path}");
        assert_eq!(lines(&format!("{path}?pretty=false"), "*/*").await, 1, "{path}");
    }
    assert_eq!(relay.admin("/api/status?pretty=maybe").await.status(), 400);
    assert!(relay.admin("/bin/x").await.text().contains("/bin/x?pretty=…"), "what is posted is kept as it came");
}

/// A relay with three dead letters of 422 with answers of their own, one of 400 and one that was given up after two attempts.
async fn with_dead_letters(fake: &Fake) -> (TestRelay, Vec<String>) {
    let relay = TestRelay::start(&to_crm(fake, "").replace("max: 50ms }", "max: 50ms, max_attempts: 2 }")).await;
    let mut ids = Vec::new();
    for (kind, status, answer) in [
        ("bounced", 422, r#"{"id":1}"#),
        ("bounced", 422, r#"{"id":2}"#),
        ("sent", 422, r#"{"id":3}"#),
        ("sent", 400, ""),
        ("opened", 503, "422 Unprocessable Entity"),
    ] {
        let answers = if status == 503 { 2 } else { 1 };
        fake.then(std::iter::repeat_with(|| Act::with(status, &[], answer)).take(answers));
        let event =
            json!({ "type": kind, "campaign": { "name": format!("{kind} news") }, "user": { "email": "a@b.cd" } });
        let id = relay.accept(&event.to_string()).await;
        relay.until(&id, "dead").await;
        ids.push(id);
    }
    (relay, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_by_reasons_that_the_answers_do_not_tell_apart() {
    let fake = Fake::start([]).await;
    let (relay, ids) = with_dead_letters(&fake).await;
    let told = relay.admin("/api/dead-letters/reasons?destination=crm").await.json();
    let shown = told["reasons"].as_array().expect("a list").iter().map(|one| {
        assert!(one["first_at"].is_string() && one["last_at"].is_string(), "{one}");
        (one["reason"].clone(), one["status"].clone(), one["deliveries"].clone())
    });
    assert_eq!(
        json!(shown.collect::<Vec<_>>()),
        json!([
            ["422 Unprocessable Entity", 422, 3],
            ["400 Bad Request", 400, 1],
            ["given up after 2 attempts: 503 Service Unavailable", 503, 1],
        ])
    );
    assert_eq!((&told["looked_at"], &told["not_listed"], &told["not_looked_at"]), (&json!(5), &json!(0), &json!(0)));
    let listed = relay.admin("/api/dead-letters?destination=crm&reason_is=422%20Unprocessable%20Entity").await.json();
    let letters = listed["dead_letters"].as_array().expect("a list");
    assert_eq!(letters.len(), 3, "{listed}");
    let newest = &letters[0];
    assert_eq!((&newest["event"], &newest["who"]), (&json!(ids[2]), &json!("a@b.cd")));
    assert_eq!((&newest["status"], &newest["answer"]), (&json!(422), &json!(r#"{"id":3}"#)));
    // A part of the reason, or of the answer behind it, as before.
    for (part, found) in [("422", 4), ("unprocessable entity: {\"id\":2", 1), ("bad", 1), ("nothing", 0)] {
        let asked = json!({ "destination": "crm", "reason": part, "dry_run": true });
        assert_eq!(self::told(&relay, "/api/dead-letters/replay", asked).await["deliveries"], found, "{part}");
    }
    let relay = relay.restart(|config| config).await;
    assert_eq!(relay.admin("/api/dead-letters/reasons").await.json(), told, "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_and_dropped_by_events_type_campaign_and_reason() {
    let fake = Fake::start([]).await;
    let (relay, ids) = with_dead_letters(&fake).await;
    let of = |more: Value| {
        let mut asked = json!({ "destination": "crm" });
        asked.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        asked
    };
    for (filter, deliveries) in [
        (json!({ "type": "sent,opened" }), 3),
        (json!({ "campaign": "BOUNCED*" }), 2),
        (json!({ "type": "sent", "campaign": "bounced*" }), 0),
        (json!({ "events": [ids[0], ids[4]], "type": "opened" }), 1),
        (json!({ "reason_is": "422" }), 0),
    ] {
        let mut asked = of(filter.clone());
        asked["dry_run"] = json!(true);
        let told = told(&relay, "/api/dead-letters/drop", asked).await;
        assert_eq!((&told["deliveries"], &told["left"]), (&json!(deliveries), &json!(5 - deliveries)), "{filter}");
    }
    // What is empty would widen, where it looks as if it narrowed.
    for (filter, told) in [
        (json!({ "events": [] }), "`events` names none"),
        (json!({ "reason": "" }), "`reason` is empty"),
        (json!({ "reason_is": "" }), "`reason_is` is empty"),
        (json!({ "type": "" }), "`type` names no type"),
    ] {
        let refused = ask(&relay, "/api/dead-letters/drop", of(filter.clone())).await;
        assert_eq!(refused.status(), 400, "{filter}: {}", refused.text());
        assert!(refused.text().contains(told), "{filter}: {}", refused.text());
    }
    let listed = relay.admin("/api/dead-letters?reason=").await;
    assert_eq!(listed.status(), 400, "{}", listed.text());
    for (path, filter) in
        [("/api/events/search", json!({ "events": [] })), ("/api/replays", json!({ "events": [ids[0]], "to": [] }))]
    {
        let refused = ask(&relay, path, filter).await;
        assert_eq!(refused.status(), 400, "{path}: {}", refused.text());
        assert!(refused.text().contains("names none"), "{path}: {}", refused.text());
    }
    let two = of(json!({ "events": [ids[0], ids[1]], "id": command(1) }));
    let done = told(&relay, "/api/dead-letters/replay", two.clone()).await;
    assert_eq!((&done["deliveries"], &done["left"]), (&json!(2), &json!(3)));
    for id in &ids[..2] {
        relay.until(id, "delivered").await;
    }
    let again = told(&relay, "/api/dead-letters/replay", two).await;
    assert_eq!((&again["deliveries"], &again["repeated"]), (&json!(2), &json!(true)));
    let seen = fake.seen().len();
    let dropped = told(&relay, "/api/dead-letters/drop", of(json!({ "type": "sent", "id": command(2) }))).await;
    assert_eq!((&dropped["deliveries"], &dropped["left"]), (&json!(2), &json!(1)));
    assert_eq!(relay.destination("crm").await["dead_letters"], 1);
    assert_eq!(fake.seen().len(), seen, "what is dropped is sent to nobody");
    let found = told(&relay, "/api/dead-letters/search", json!({ "email": "A@b.cd" })).await;
    assert_eq!(found["dead_letters"][0]["event"], ids[4].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_can_be_named_and_not_one_more() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    for path in ["/api/dead-letters/replay", "/api/dead-letters/drop"] {
        let asked = |count: usize| json!({ "destination": "crm", "events": vec![id.as_str(); count], "dry_run": true });
        assert_eq!(told(&relay, path, asked(1000)).await["deliveries"], 0);
        refused(&relay, path, asked(1001), "at most 1000").await;
        refused(&relay, path, json!({ "destination": "crm", "events": ["x"] }), "is not an event's id").await;
        let both = json!({ "destination": "crm", "events": [id], "event": id });
        refused(&relay, path, both, "give one of them").await;
    }
}

/// A relay with one event that goes to crm, and two of a type that its rules misspell.
async fn with_unrouted_events(fake: &Fake) -> (TestRelay, [String; 3]) {
    let config =
        to_crm(fake, "").replace("{ name: all, to: crm }", "{ name: all, match: { type: [sent, bouncd] }, to: crm }");
    let relay = TestRelay::start(&config).await;
    let bounced = r#"{"type":"bounced"}"#;
    let ids = [relay.accept(SENT).await, relay.accept(bounced).await, relay.accept(bounced).await];
    relay.until(&ids[0], "delivered").await;
    (relay, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_rule_wanted_is_routed_again_by_the_mended_rules_to_those_that_lack_it() {
    let fake = Fake::start([]).await;
    let (relay, ids) = with_unrouted_events(&fake).await;
    let again = json!({ "since": "1h", "by": "now", "only": "missing", "unrouted": true });
    let dry = |asked: &Value| {
        let mut asked = asked.clone();
        asked["dry_run"] = json!(true);
        asked
    };
    let counted = told(&relay, "/api/replays", dry(&again)).await;
    assert_eq!((&counted["events"], &counted["deliveries"]), (&json!(0), &json!(0)), "by the rules as they are");
    let relay = relay.restart(|config| config.replace("bouncd", "bounced")).await;
    let counted = told(&relay, "/api/replays", dry(&again)).await;
    let expected = json!([{ "destination": "crm", "deliveries": 2, "already_delivered": 0 }]);
    assert_eq!((&counted["events"], &counted["by_destination"]), (&json!(2), &expected));
    let mut named = again.clone();
    named["id"] = json!(command(3));
    let begun = told(&relay, "/api/replays", named.clone()).await;
    assert_eq!(begun["asked"]["by"], "now");
    for id in &ids[1..] {
        relay.until(id, "delivered").await;
    }
    assert_eq!(told(&relay, "/api/replays", named).await["repeated"], true);
    let all = json!({ "since": "1h", "by": "now", "only": "missing", "dry_run": true });
    let counted = told(&relay, "/api/replays", all).await;
    let expected = json!([{ "destination": "crm", "deliveries": 0, "already_delivered": 3 }]);
    assert_eq!((&counted["deliveries"], &counted["by_destination"]), (&json!(0), &expected), "all have it now");
    assert_eq!(fake.seen().len(), 3);
    // The same for one that is named, and to all of its destinations.
    let counted = told(&relay, "/api/replays", json!({ "events": [ids[0]], "by": "now", "dry_run": true })).await;
    assert_eq!((&counted["deliveries"], &counted["by_destination"][0]["already_delivered"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn some_events_are_replayed_where_they_went_or_elsewhere_and_once() {
    let fake = Fake::start([]).await;
    let (relay, ids) = with_unrouted_events(&fake).await;
    let then = told(&relay, "/api/replays", json!({ "events": [ids[0], ids[1]], "dry_run": true })).await;
    assert_eq!((&then["events"], &then["deliveries"]), (&json!(1), &json!(1)), "one went nowhere");
    let asked = json!({ "events": [ids[1], ids[2], ids[1]], "to": ["crm"], "id": command(5) });
    let begun = told(&relay, "/api/replays", asked.clone()).await;
    assert_eq!(begun["asked"], json!({ "events": 2, "to": ["crm"] }));
    for id in &ids[1..] {
        assert_eq!(relay.until(id, "delivered").await["rule"], Value::Null);
    }
    let path = format!("/api/replays/{}", command(5));
    eventually("it to be done", async || relay.admin(&path).await.json()["done"] == true).await;
    let relay = relay.restart(|config| config).await;
    let again = told(&relay, "/api/replays", asked).await;
    assert_eq!((&again["repeated"], &again["deliveries"]), (&json!(true), &json!(2)), "{again}");
    let copies = |id: &String| fake.seen().iter().filter(|message| message.header("webhook-id") == Some(id)).count();
    assert_eq!([0, 1, 2].map(|at| copies(&ids[at])), [1, 1, 1]);
    let other = json!({ "events": [ids[0]], "to": ["crm"], "id": command(5) });
    is_anothers(&relay, "/api/replays", other, "another replay").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_given_for_something_else_is_refused_and_says_what_it_was_for() {
    let fake = Fake::start(std::iter::repeat_with(|| Act::status(422)).take(3)).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = relay.accept(SENT).await;
        relay.until(&id, "dead").await;
        ids.push(id);
    }
    let of = |mut asked: Value, id: u128| {
        asked["destination"] = json!("crm");
        asked["id"] = json!(command(id));
        asked
    };
    let of_none = json!({ "type": "bounced" });
    for (nth, done) in ["replay", "drop"].into_iter().enumerate() {
        let path = format!("/api/dead-letters/{done}");
        let id = 10 + nth as u128;
        let one = json!({ "events": [ids[nth]] });
        told(&relay, &path, of(one.clone(), id)).await;
        for other in [
            json!({}),
            json!({ "events": [ids[2]] }),
            json!({ "events": [ids[nth], ids[2]] }),
            json!({ "event": ids[2] }),
            json!({ "reason": "422" }),
            json!({ "reason_is": "422 Unprocessable Entity" }),
            json!({ "type": "sent" }),
            json!({ "email": "a@b.cd" }),
            json!({ "campaign": "x" }),
            json!({ "since": "1h" }),
            json!({ "since": "1h", "until": "30m" }),
        ] {
            is_anothers(&relay, &path, of(other, id), "`crm`").await;
        }
        for same in [one, json!({ "event": ids[nth] }), json!({ "events": [ids[nth], ids[nth]] })] {
            assert_eq!(told(&relay, &path, of(same, id)).await["repeated"], true);
        }
        // What is found by a filter, and since when it was, is another when it is said again.
        let filter = json!({ "type": "bounced", "since": "1h" });
        told(&relay, &path, of(filter.clone(), id + 10)).await;
        assert_eq!(told(&relay, &path, of(filter, id + 10)).await["repeated"], true);
        is_anothers(&relay, &path, of(of_none.clone(), id + 10), "done to 0 deliveries").await;
    }
    let letters = relay.admin("/api/dead-letters?destination=crm").await.json();
    let left: Vec<_> = letters["dead_letters"].as_array().expect("a list").iter().map(|one| &one["event"]).collect();
    assert_eq!(left, [&json!(ids[2])], "nothing else was done");

    let pause = "/api/destinations/crm/pause";
    told(&relay, pause, json!({ "id": command(30), "reason": "friday" })).await;
    is_anothers(&relay, pause, json!({ "id": command(30), "reason": "monday" }), "a pause of `crm`").await;
    is_anothers(&relay, "/api/destinations/crm/resume", json!({ "id": command(30) }), "a pause of `crm`").await;
    let source = "/api/sources/vero/pause";
    told(&relay, source, json!({ "id": command(31) })).await;
    is_anothers(&relay, source, json!({ "id": command(31), "refuse": true }), "by `vero`").await;

    let range = |since: &str, until: &str| json!({ "since": since, "until": until, "id": command(32) });
    told(&relay, "/api/replays", range("2h", "1h")).await;
    for other in [range("3h", "1h"), range("2h", "30m"), json!({ "since": "2h", "id": command(32) })] {
        is_anothers(&relay, "/api/replays", other, "another replay").await;
    }
    assert_eq!(told(&relay, "/api/replays", range("2h", "1h")).await["repeated"], true);
    is_anothers(&relay, pause, json!({ "id": command(32) }), "a replay").await;

    let relay = relay.restart(|config| config).await;
    is_anothers(&relay, pause, json!({ "id": command(30), "reason": "monday" }), "a pause of `crm`").await;
    is_anothers(&relay, "/api/dead-letters/drop", of(json!({ "event": ids[2] }), 11), "dropping dead letters").await;
    is_anothers(&relay, "/api/replays", range("3h", "1h"), "another replay").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_words_do_not_go_together_is_refused_with_a_sentence() {
    let fake = Fake::start([]).await;
    let relay = TestRelay::start(&to_crm(&fake, "")).await;
    let id = relay.accept(SENT).await;
    for (asked, part) in [
        (json!({ "events": [id], "since": "1h" }), "leave out `since`"),
        (json!({ "events": [id], "match": "{type: sent}" }), "leave out `match`"),
        (json!({ "events": [] }), "`events` names none"),
        (json!({ "events": ["x"] }), "is not an event's id"),
        (json!({ "events": vec![id.as_str(); 1001] }), "at most 1000"),
        (json!({ "since": "1h", "by": "later" }), "should be then or now"),
        (json!({ "since": "1h", "only": "some" }), "should be missing"),
        (json!({ "since": "1h", "by": "now", "to": ["crm"] }), "give one of them"),
        (json!({ "since": "1h", "unrouted": true }), "say `by: now`"),
        (json!({ "by": "now" }), "`since` says where"),
        (json!({ "since": "1h", "after": "x" }), "goes on with a dry run"),
        (json!({ "since": "1h", "after": "x", "dry_run": true }), "not where the list goes on"),
        (json!({ "events": [id], "after": "x", "dry_run": true }), "not where the list goes on"),
    ] {
        refused(&relay, "/api/replays", asked, part).await;
    }
    let most = told(&relay, "/api/replays", json!({ "events": vec![id.as_str(); 1000], "dry_run": true })).await;
    assert_eq!(most["deliveries"], 1);
    assert_eq!((&most["looked_at"], &most["next"], &most["events_left"]), (&json!(1), &Value::Null, &json!(0)));
    assert_eq!(relay.admin("/api/replays").await.json()["replays"], json!([]));
}

/// What a verb prints on standard output.
async fn words(relay: &TestRelay, args: &[&str]) -> String {
    let admin = format!("http://{}", relay.running.admin_address);
    let args: Vec<_> = args.iter().copied().chain(["--admin", &admin]).map(str::to_owned).collect();
    let run = move || {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        out(&vero_relay(root(), &args))
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verbs_route_again_name_who_was_refused_and_why_a_destination_is_paused() {
    let fake = Fake::start([]).await;
    let (relay, ids) = with_unrouted_events(&fake).await;
    let listed = words(&relay, &["events", "--unrouted", "--text", "BOUNCED"]).await;
    assert!(ids[1..].iter().all(|id| listed.contains(id)) && !listed.contains(&ids[0]), "{listed}");
    assert!(words(&relay, &["events", "--rule", "all"]).await.contains("a@example.com"));
    assert_eq!(words(&relay, &["events", "--campaign", "none*"]).await, "no events match\n");
    let relay = relay.restart(|config| config.replace("bouncd", "bounced")).await;
    let counted = words(&relay, &["route-again", "--since", "1h", "--unrouted", "--dry-run"]).await;
    let expected = "2 events are sent where the rules in force send them: 2 to crm (dry run: nothing was done)\n";
    assert_eq!(counted, expected);
    let refused = words(&relay, &["route-again", &ids[1], &ids[2]]).await;
    assert!(refused.is_empty(), "two must be confirmed, and in a pipe by --yes: {refused}");
    let done = words(&relay, &["route-again", &ids[1]]).await;
    assert!(done.starts_with("1 delivery is on its way; id "), "one that is named is what is meant: {done}");
    relay.until(&ids[1], "delivered").await;
    let counted = words(&relay, &["route-again", "--since", "1h", "--dry-run"]).await;
    assert!(counted.starts_with("1 event is sent"), "{counted}");
    let nothing = words(&relay, &["route-again", &ids[1]]).await;
    assert_eq!(nothing, "nothing to do: their destinations have them already\n", "and nothing is asked");
    let nothing = words(&relay, &["route-again", "--since", "1h", "--match", "{type: none}"]).await;
    assert_eq!(nothing, "nothing to do: no event that is meant would go anywhere\n");

    let counted = words(&relay, &["replay", "--since", "1h", "--dry-run"]).await;
    assert_eq!(counted, "1 event is delivered again: 1 to crm (dry run: nothing was done)\n", "where each went");
    let done = words(&relay, &["replay", "--since", "1h", "--yes"]).await;
    assert!(done.starts_with("1 delivery is on its way; id "), "{done}");

    words(&relay, &["pause", "crm", "--reason", "they move"]).await;
    assert!(words(&relay, &["status"]).await.contains("\n  they move\n"));
    let waits = relay.accept(SENT).await;
    let shown = words(&relay, &["events", &waits]).await;
    assert!(shown.contains("→ crm waiting (the destination is paused)"), "{shown}");
    assert!(words(&relay, &["refused"]).await.starts_with("nothing was turned away since 20"));
    assert_eq!(relay.post("{").await.status(), 400);
    let told = words(&relay, &["refused"]).await;
    assert!(told.contains("  400  POST /hooks/vero/…  ") && told.ends_with(": 1 bad event\n"), "{told}");
}

//! Every sentence of the exact semantics has its row here. A rule's `match` is written as it stands in the YAML.

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::event::FieldId;
use crate::yaml::values::Surroundings;

struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &std::path::Path) -> std::io::Result<String> {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
    }
}

pub(super) const RELAY: RelayFields<'_> = RelayFields { source: "vero", received_ms: 1_700_000_000_000 };

/// The rules of a config with destinations a, b and c.
pub(super) fn rules(yaml: &str) -> std::sync::Arc<RuleSet> {
    let text = format!(
        "sources: {{ vero: {{ token: t }} }}\ndestinations:\n  a: {{ file: {{ path: a }} }}\n  b: {{ file: {{ path: b }} }}\n  \
         c: {{ file: {{ path: c }} }}\nrules:\n{yaml}"
    );
    match Config::parse(std::path::Path::new("test.yaml"), text, &Nothing) {
        Ok((config, _)) => config.rules,
        Err(error) => panic!("{error}"),
    }
}

/// Whether a rule with this `match` takes this body (the type `t` is added if it has none).
#[track_caller]
fn check(condition: &str, body: &str, expected: bool) {
    let rules = rules(&format!("  - {{ match: {condition}, to: a }}\n"));
    let body = if body.contains("\"type\"") || body.contains("\"action\"") {
        body.to_owned()
    } else {
        body.replacen('{', "{\"type\":\"t\",", 1).replace(",}", "}")
    };
    let routing = rules.route(body.as_bytes(), RELAY).expect("an event");
    assert_eq!(!routing.rules.is_empty(), expected, "{condition} on {body}");
    let (explained, traces) = rules.explain(body.as_bytes(), RELAY).expect("an event");
    assert_eq!(explained, routing);
    assert_eq!(traces[0].verdict, Some(expected), "explain says the same");
}

/// That a `match` is refused, and what the refusal says.
#[track_caller]
fn refused(condition: &str, part: &str) {
    let text = format!(
        "sources: {{ vero: {{ token: t }} }}\ndestinations: {{ a: {{ file: {{ path: a }} }} }}\nrules:\n  - {{ match: {condition}, to: a }}\n"
    );
    let Err(error) = Config::parse(std::path::Path::new("test.yaml"), text, &Nothing) else {
        panic!("{condition} was accepted");
    };
    assert!(error.to_string().contains(part), "{error}\nshould hold: {part}");
}

#[test]
fn equality_is_textual() {
    check(r#"{ x: 550 }"#, r#"{"x":550}"#, true);
    check(r#"{ x: 550 }"#, r#"{"x":"550"}"#, true);
    check(r#"{ x: "550" }"#, r#"{"x":550}"#, true);
    check(r#"{ x: 1.0 }"#, r#"{"x":1}"#, false);
    check(r#"{ x: 1 }"#, r#"{"x":1.0}"#, false);
    check(r#"{ x: 1.0 }"#, r#"{"x":1.0}"#, true);
    check(r#"{ x: 9007199254740992 }"#, r#"{"x":9007199254740993}"#, false);
    check(r#"{ x: 9007199254740993 }"#, r#"{"x":9007199254740993}"#, true);
    check(r#"{ x: 12345678901234567890123 }"#, r#"{"x":12345678901234567890123}"#, true);
    check(r#"{ x: true }"#, r#"{"x":true}"#, true);
    check(r#"{ x: true }"#, r#"{"x":"true"}"#, false);
    check(r#"{ x: "true" }"#, r#"{"x":true}"#, false);
    check(r#"{ x: "true" }"#, r#"{"x":"true"}"#, true);
    check(r#"{ x: false }"#, r#"{"x":true}"#, false);
    check(r#"{ x: a }"#, r#"{"x":"\u0061"}"#, true);
    check(r#"{ x: "<b>" }"#, r#"{"x":"\u003cb\u003e"}"#, true);
    check(r#"{ x: A }"#, r#"{"x":"a"}"#, false);
    check(r#"{ x: { equals: A, ignore_case: true } }"#, r#"{"x":"a"}"#, true);
    check(r#"{ x: { equals: ÄÖ, ignore_case: true } }"#, r#"{"x":"äö"}"#, true);
    refused(r#"{ x: 0x1F }"#, "for this text, quote it");
    refused(r#"{ x: +5 }"#, "quote it");
    refused(r#"{ x: .5 }"#, "quote it");
    refused(r#"{ x: { glob: [a, .inf] } }"#, "quote it");
}

#[test]
fn a_list_is_any_of() {
    check(r#"{ x: [a, b] }"#, r#"{"x":"b"}"#, true);
    check(r#"{ x: [a, b] }"#, r#"{"x":"c"}"#, false);
    check(r#"{ x: [a, 7, null] }"#, r#"{"x":7}"#, true);
    check(r#"{ x: [a, 7, null] }"#, r#"{}"#, true);
    check(r#"{ x: { glob: ["a*", "b*"] } }"#, r#"{"x":"bc"}"#, true);
    check(r#"{ x: { glob: ["a*", "b*"] } }"#, r#"{"x":"cb"}"#, false);
    refused(r#"{ x: [] }"#, "empty");
    refused(r#"{ x: { glob: [] } }"#, "empty");
    refused(r#"{ x: [[a]] }"#, "single value");
}

#[test]
fn a_missing_field_or_null_satisfies_nothing_but_exists_false_and_null() {
    for body in [r#"{}"#, r#"{"x":null}"#] {
        for condition in [
            "{ x: a }",
            "{ x: [a, b] }",
            "{ x: \"\" }",
            "{ x: { glob: \"*\" } }",
            "{ x: { regex: \"\" } }",
            "{ x: { contains: \"\" } }",
            "{ x: { starts_with: \"\" } }",
            "{ x: { ends_with: \"\" } }",
            "{ x: { exists: true } }",
            "{ x: { gt: -5 } }",
            "{ x: { lte: 5 } }",
            "{ x: false }",
        ] {
            check(condition, body, false);
        }
        check("{ x: { exists: false } }", body, true);
        check("{ x: null }", body, true);
        check("{ x: ~ }", body, true);
        check("{ x: { equals: null } }", body, true);
    }
    check("{ x: null }", r#"{"x":""}"#, false);
    check("{ x.y.z: null }", r#"{"x":7}"#, true);
}

#[test]
fn not_is_the_exact_opposite_of_what_it_wraps() {
    check(r#"{ campaign.name: { not: { glob: "Test*" } } }"#, r#"{}"#, true);
    check(r#"{ campaign.name: { not: { glob: "Test*" } } }"#, r#"{"campaign":{"name":"Test 1"}}"#, false);
    check(r#"{ campaign.name: { not: { glob: "Test*" } } }"#, r#"{"campaign":{"name":"Real"}}"#, true);
    check(r#"{ x: { not: a } }"#, r#"{"x":"b"}"#, true);
    check(r#"{ x: { not: a } }"#, r#"{"x":"a"}"#, false);
    check(r#"{ x: { not: [a, b] } }"#, r#"{"x":"b"}"#, false);
    check(r#"{ x: { not: null } }"#, r#"{}"#, false);
    check(r#"{ x: { not: null } }"#, r#"{"x":1}"#, true);
    check(r#"{ x: { not: { exists: true } } }"#, r#"{}"#, true);
    check(r#"{ x: { not: { not: a } } }"#, r#"{"x":"a"}"#, true);
    check(r#"{ x: { not: { starts_with: a, ends_with: z } } }"#, r#"{"x":"ab"}"#, true);
    check(r#"{ x: { not: { starts_with: a, ends_with: z } } }"#, r#"{"x":"az"}"#, false);
    check(r#"{ x: { not: a } }"#, r#"{"x":["b","c"]}"#, true);
    check(r#"{ x: { not: a } }"#, r#"{"x":["b","a"]}"#, false);
    check(r#"{ x: { not: A, ignore_case: true } }"#, r#"{"x":"a"}"#, false);
}

#[test]
fn on_an_array_some_element_is_enough() {
    check(r#"{ x: a }"#, r#"{"x":["b","a"]}"#, true);
    check(r#"{ x: a }"#, r#"{"x":["b"]}"#, false);
    check(r#"{ x: a }"#, r#"{"x":[["a"]]}"#, true);
    check(r#"{ x: { gt: 5 } }"#, r#"{"x":[1,9]}"#, true);
    check(r#"{ x: { starts_with: a, ends_with: z } }"#, r#"{"x":["ab","yz"]}"#, true);
    check(r#"{ x: null }"#, r#"{"x":["a",null]}"#, true);
    check(r#"{ items.sku: a }"#, r#"{"items":[{"sku":"b"},{"sku":"a"}]}"#, true);
    check(r#"{ items.sku: a }"#, r#"{"items":[]}"#, false);
    check(r#"{ /items/0/sku: a }"#, r#"{"items":[{"sku":"b"},{"sku":"a"}]}"#, false);
    check(r#"{ /items/1/sku: a }"#, r#"{"items":[{"sku":"b"},{"sku":"a"}]}"#, true);
    check(r#"{ changes._tags.add: test }"#, r#"{"changes":{"_tags":{"add":["test"],"remove":[]}}}"#, true);
}

#[test]
fn an_empty_array_exists_and_satisfies_nothing_else_and_not_of_anything() {
    check(r#"{ x: { exists: true } }"#, r#"{"x":[]}"#, true);
    check(r#"{ x: { exists: false } }"#, r#"{"x":[]}"#, false);
    check(r#"{ x: null }"#, r#"{"x":[]}"#, false);
    check(r#"{ x: { glob: "*" } }"#, r#"{"x":[]}"#, false);
    check(r#"{ x: { not: a } }"#, r#"{"x":[]}"#, true);
    check(r#"{ x: { not: { exists: false } } }"#, r#"{"x":[]}"#, true);
}

#[test]
fn an_object_satisfies_only_exists() {
    check(r#"{ x: { exists: true } }"#, r#"{"x":{"a":1}}"#, true);
    check(r#"{ x: { exists: true } }"#, r#"{"x":{}}"#, true);
    check(r#"{ x: { glob: "*" } }"#, r#"{"x":{"a":1}}"#, false);
    check(r#"{ x: { contains: a } }"#, r#"{"x":{"a":1}}"#, false);
    check(r#"{ x: { not: a } }"#, r#"{"x":{"a":1}}"#, true);
    check(r#"{ x: null }"#, r#"{"x":{}}"#, false);
}

#[test]
fn numbers_are_compared_exactly_as_decimals_and_numeric_strings_too() {
    check("{ x: { gt: 100 } }", r#"{"x":100.5}"#, true);
    check("{ x: { gt: 100 } }", r#"{"x":"101"}"#, true);
    check("{ x: { gt: 100 } }", r#"{"x":"many"}"#, false);
    check("{ x: { gt: 9007199254740992 } }", r#"{"x":9007199254740993}"#, true);
    check("{ x: { gte: 9007199254740993 } }", r#"{"x":9007199254740992}"#, false);
    check("{ x: { gt: 1 } }", r#"{"x":1e400}"#, true);
    check("{ x: { gte: 1, lt: 2 } }", r#"{"x":1.5}"#, true);
    check("{ x: { gte: 1, lt: 2 } }", r#"{"x":2.0}"#, false);
    check("{ x: { lte: \"2\" } }", r#"{"x":2.0}"#, true);
    check("{ x: { lt: 0 } }", r#"{"x":-0.1}"#, true);
    check("{ x: { gt: 0 } }", r#"{"x":true}"#, false);
    refused("{ x: { gt: many } }", "`many` is not a number");
    refused("{ x: { gt: true } }", "needs a text");
}

#[test]
fn text_operators_take_the_text_of_a_value() {
    check(r#"{ x: { glob: "Cart*" } }"#, r#"{"x":"Cart 7"}"#, true);
    check(r#"{ x: { glob: "Cart" } }"#, r#"{"x":"Cart 7"}"#, false);
    check(r#"{ x: { glob: "*7" } }"#, r#"{"x":"Cart 7"}"#, true);
    check(r#"{ x: { glob: "*art*" } }"#, r#"{"x":"Cart 7"}"#, true);
    check(r#"{ x: { glob: "C*7" } }"#, r#"{"x":"Cart 7"}"#, true);
    check(r#"{ x: { glob: "c*", ignore_case: true } }"#, r#"{"x":"Cart 7"}"#, true);
    check(r#"{ x: { glob: "55?" } }"#, r#"{"x":550}"#, true);
    check(r#"{ x: { regex: "^55[0-4]" } }"#, r#"{"x":550}"#, true);
    check(r#"{ x: { regex: "art" } }"#, r#"{"x":"Cart"}"#, true);
    check(r#"{ x: { regex: "ART", ignore_case: true } }"#, r#"{"x":"Cart"}"#, true);
    check(r#"{ x: { contains: ART, ignore_case: true } }"#, r#"{"x":"Cart"}"#, true);
    check(r#"{ x: { contains: "a.t" } }"#, r#"{"x":"Cart"}"#, false);
    check(r#"{ x: { starts_with: CA, ignore_case: true } }"#, r#"{"x":"Cart"}"#, true);
    check(r#"{ x: { ends_with: "@getvero.com" } }"#, r#"{"x":"a@getvero.com"}"#, true);
    refused(r#"{ x: { regex: "(" } }"#, "does not compile");
    refused(r#"{ x: { glob: "[a" } }"#, "never closed");
    refused(r#"{ x: { exists: 1 } }"#, "true or false");
    refused(r#"{ x: { gt: 1, ignore_case: true } }"#, "means nothing");
    refused(r#"{ x: { start_with: a } }"#, "did you mean `starts_with`?");
    refused(r#"{ x: {} }"#, "no operator");
}

#[test]
fn groups_nest() {
    let any = r#"{ any: [ { x: a }, { y: b, z: c } ] }"#;
    check(any, r#"{"x":"a"}"#, true);
    check(any, r#"{"y":"b","z":"c"}"#, true);
    check(any, r#"{"y":"b"}"#, false);
    check(r#"{ all: [ { x: a }, { y: b } ] }"#, r#"{"x":"a","y":"b"}"#, true);
    check(r#"{ all: [ { x: a }, { y: b } ] }"#, r#"{"x":"a"}"#, false);
    check(r#"{ none: [ { x: a }, { y: b } ] }"#, r#"{"z":1}"#, true);
    check(r#"{ none: [ { x: a }, { y: b } ] }"#, r#"{"y":"b"}"#, false);
    check(r#"{ x: a, any: [ { none: [ { y: b } ] }, { z: c } ] }"#, r#"{"x":"a","y":"b","z":"c"}"#, true);
    check(r#"{ x: a, any: [ { none: [ { y: b } ] }, { z: c } ] }"#, r#"{"x":"a","y":"b"}"#, false);
    check("{}", "{}", true);
    refused("{ any: [] }", "empty");
    refused("{ any: [ { x: a }, ~ ] }", "hold for every event");
    refused("{ none: [ {} ] }", "hold for every event");
    refused("{ any: { x: a } }", "list of match maps");
}

#[test]
fn ages_are_compared_as_time_spans() {
    // It arrived at 1 700 000 000 s.
    let hours = |hours: u64| format!(r#"{{"type":"sent","sent_at":{}}}"#, 1_700_000_000 - hours * 3600);
    check("{ relay.age: { lt: 2h } }", &hours(1), true);
    check("{ relay.age: { lt: 2h } }", &hours(2), false);
    check("{ relay.age: { lte: 2h } }", &hours(2), true);
    check("{ relay.age: { gt: 120m } }", &hours(2), false);
    check("{ relay.age: { gte: 7200s } }", &hours(2), true);
    check("{ relay.age: { gte: 2d, lt: 3d } }", &hours(50), true);
    check("{ relay.age: { not: { lt: 2h } } }", &hours(2), true);
    check("{ relay.age: { not: { lt: 2h } } }", &hours(1), false);
    check("{ relay.age: { lt: [1h, 3h] } }", &hours(2), true);
    check("{ none: [ { relay.age: { lt: 2h } } ] }", &hours(1), false);
    for young in
        ["{}", r#"{"sent_at":1}"#, r#"{"type":"sent","sent_at":1800000000}"#, r#"{"type":"sent","sent_at":"soon"}"#]
    {
        check("{ relay.age: { lte: 0s } }", young, true);
    }
    // Types that Vero does not have, an action, and the last of two times.
    check("{ relay.age: { gte: 2h } }", r#"{"type":"merged","merged_at":1699992800}"#, true);
    check("{ relay.age: { gte: 2h } }", r#"{"action":"sent","sent_at":"1699992800"}"#, true);
    check("{ relay.age: { gte: 2h } }", r#"{"type":"sent","sent_at":1699992800,"sent_at":1700000000}"#, false);
    check("{ relay.age: { gte: 2h }, relay.occurred_at: { starts_with: \"2023-11-14T20\" } }", &hours(2), true);
    refused("{ relay.age: { lt: 3600 } }", "did you mean `3600s`");
    refused("{ relay.age: { lt: soon } }", "a number and a unit");
    refused("{ relay.age: 1h }", "time span");
    refused("{ relay.age: { exists: true } }", "time span");
    refused("{ relay.age: { after: 2026-01-01 } }", "time span");
    refused("{ n: { lt: 1h } }", "relay.age: { lt: 1h }");
}

#[test]
fn moments_are_compared_with_what_they_hold_and_without_what_ends_them() {
    let january = "{ x: { after: 2026-01-01, before: 2026-02-01 } }";
    for (value, expected) in [
        ("1767225599", false),
        ("1767225600", true),
        ("\"1767225600\"", true),
        ("1769903999.9", true),
        ("1769904000", false),
        ("1767225600000", true),
        ("\"2026-01-01\"", true),
        ("\"2025-12-31T23:30:00-01:00\"", true),
        ("\"2026-01-01T00:30:00+01:00\"", false),
        ("\"2026-01-31T23:59:59.999\"", true),
        ("\"2026-02-01\"", false),
        // No time at all.
        ("\"2026-01\"", false),
        ("\"2026-01-32\"", false),
        ("\"January\"", false),
        ("true", false),
        ("null", false),
        ("{\"at\":1767225600}", false),
        ("[]", false),
        ("[1,1767225600]", true),
    ] {
        check(january, &format!("{{\"x\":{value}}}"), expected);
    }
    check(january, "{}", false);
    for nothing in ["{}", r#"{"x":"soon"}"#, r#"{"x":null}"#, r#"{"x":1}"#] {
        check("{ x: { not: { after: 2026-01-01 } } }", nothing, true);
    }
    check(
        "{ relay.received_at: { after: \"2023-11-14T22:13:20Z\", before: \"2023-11-14T22:13:20.001Z\" } }",
        "{}",
        true,
    );
    check("{ relay.received_at: { after: 2023-11-15 } }", "{}", false);
    check("{ relay.occurred_at: { before: 2016-01-01 } }", r#"{"t_at":1435016238}"#, true);
    check("{ x: a, y: { before: [2020-01-01, 2027-01-01] } }", r#"{"x":"a","y":"2026-05-05"}"#, true);
    check("{ x: { after: 2026-01-01 }, y: a }", r#"{"x":"2026-05-05","y":"b"}"#, false);
    refused("{ x: { after: 2026-02-01, before: 2026-02-01 } }", "nothing could match");
    refused("{ x: { not: { after: 2026-02-01, before: 2026-01-01 } } }", "nothing could match");
    refused("{ x: { after: 2026-02-30 } }", "not a time");
    refused("{ x: { after: ~ } }", "needs a text");
    refused("{ x: { after: 2026-01-01, ignore_case: true } }", "means nothing");
}

#[test]
fn dates_of_a_rule_and_of_its_events_are_those_of_its_time_zone() {
    let rules = rules(
        "  - { match: { x: { after: 2026-07-01, before: 2026-07-02 } }, timezone: Europe/Berlin, to: a }\n  \
         - { match: { x: { after: 2026-07-01, before: 2026-07-02 } }, timezone: America/New_York, to: b }\n",
    );
    for (x, matching) in [
        ("2026-06-30T22:00:00Z", &[0][..]),
        ("2026-06-30T21:59:59Z", &[]),
        ("2026-07-01T12:00:00Z", &[0, 1]),
        ("2026-07-01T22:00:00Z", &[1]),
        ("2026-07-01", &[0, 1]),
        ("2026-07-01T23:59:59", &[0, 1]),
        ("2026-07-02T00:00", &[]),
    ] {
        let body = format!(r#"{{"type":"t","x":"{x}"}}"#);
        let routing = rules.route(body.as_bytes(), RELAY).expect("an event");
        assert_eq!(routing.rules.as_slice(), matching, "{x}");
    }
}

#[test]
fn what_is_compared_by_its_time_is_explained_as_the_time_that_it_is() {
    let rules = rules(
        "  - { match: { x: { after: 2026-01-01 }, relay.age: { lt: 1h }, relay.received_at: { after: 2026-01-01 } }, to: a }\n",
    );
    let (_, traces) = rules.explain(br#"{"type":"sent","sent_at":1699989999,"x":1}"#, RELAY).expect("an event");
    let told: Vec<_> = traces[0]
        .steps
        .iter()
        .map(|step| match &step.node {
            TraceNode::Test { label, got } => format!("{label} got {}", got[0].value),
            TraceNode::Group(group) => (*group).to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            "x: { after: \"2026-01-01\" } got 1 (1970-01-01T00:00:01Z)",
            "relay.age: { lt: \"1h\" } got 2h 46m 41s",
            "relay.received_at: { after: \"2026-01-01\" } got \"2023-11-14T22:13:20.000Z\"",
        ]
    );
}

#[test]
fn fields_of_the_relay_and_of_veros_odd_keys() {
    check("{ relay.source: vero }", "{}", true);
    check("{ relay.source: other }", "{}", false);
    check("{ relay.received_at: { starts_with: \"2023-11-14\" } }", "{}", true);
    check("{ relay.occurred_at: { starts_with: \"2015-\" } }", r#"{"t_at":1435016238}"#, true);
    check("{ campaign.name: T }", r#"{"campaign":{"campaign_title":"T"}}"#, true);
    check("{ type: user_updated }", r#"{"action":"user_updated"}"#, true);
    check("{ user.email: e }", r#"{"email":"e"}"#, true);
    refused("{ relay.id: x }", "not known yet");
    refused("{ relay.nothing: x }", "no field");
    refused("{ a..b: x }", "empty step");
    refused("{ glob: \"Cart*\" }", "stands below a field");
    refused("{ type: sent, ignore_case: true }", "stands below a field");
    refused("{ not: { type: sent } }", "`none:` takes a list");
    check("{ /glob: x }", r#"{"glob":"x"}"#, true);
}

fn route(rules: &RuleSet, body: &str) -> (Vec<usize>, Vec<(usize, usize)>) {
    let routing = rules.route(body.as_bytes(), RELAY).expect("an event");
    (routing.rules.into_vec(), routing.deliveries.into_vec())
}

#[test]
fn every_matching_rule_counts_each_destination_once_and_stop_ends_it() {
    let set = rules(
        "  - { name: one, match: { type: [x, y] }, to: [a, b] }\n  - { name: two, match: { type: y }, to: [], stop: true }\n  \
         - { name: three, to: [c, a] }\n",
    );
    assert_eq!(route(&set, r#"{"type":"x"}"#), (vec![0, 2], vec![(0, 0), (1, 0), (2, 2)]));
    assert_eq!(route(&set, r#"{"type":"y"}"#), (vec![0, 1], vec![(0, 0), (1, 0)]));
    assert_eq!(route(&set, r#"{"type":"z"}"#), (vec![2], vec![(2, 2), (0, 2)]));
    let traces = set.explain(br#"{"type":"y"}"#, RELAY).expect("an event").1;
    assert_eq!(traces.iter().map(|trace| trace.verdict).collect::<Vec<_>>(), [Some(true), Some(true), None]);
}

#[test]
fn an_explanation_shows_each_condition_and_the_value_it_got() {
    let set = rules("  - { match: { x: [a, 7], y: { not: { gt: 5 } }, z: b }, to: a }\n");
    let (_, traces) = set.explain(r#"{"type":"t","x":"<a>","y":[1,9]}"#.as_bytes(), RELAY).expect("an event");
    let shown: Vec<String> = traces[0]
        .steps
        .iter()
        .map(|step| match &step.node {
            TraceNode::Group(group) => format!("{} {group} {}", step.depth, step.verdict),
            TraceNode::Test { label, got } => {
                let got: Vec<_> = got.iter().map(|got| format!("{} {}", got.kind, got.value)).collect();
                format!("{} {label} {} {}", step.depth, step.verdict, got.join(" "))
            }
        })
        .collect();
    let expected =
        ["0 x: [\"a\", 7] false string \"<a>\"", "0 not false", "1 y: { gt: 5 } true list [1, 9]", "0 z: \"b\" false "];
    assert_eq!(shown, expected);
}

#[test]
fn a_rule_that_does_not_match_says_why_by_its_first_failing_condition() {
    #[track_caller]
    fn check(condition: &str, body: &str, expected: Option<&str>) {
        let set = rules(&format!("  - {{ match: {condition}, to: a }}\n"));
        let (_, traces) = set.explain(body.as_bytes(), RELAY).expect("an event");
        assert_eq!(traces[0].because().as_deref(), expected, "{condition} on {body}");
    }
    let body = r#"{"type":"t","n":"43","word":"Cart","list":[1,2],"o":{},"nil":null}"#;
    check("{ n: 43 }", body, None);
    check("{ type: t, n: 42, word: x }", body, Some("n is \"43\""));
    check("{ gone: 42 }", body, Some("the event has no gone"));
    check("{ nil: 42 }", body, Some("nil is null, which satisfies nothing but `exists: false` and `null`"));
    check("{ o: 42 }", body, Some("o is an object, which satisfies only `exists`"));
    check("{ word: cart }", body, Some("word is \"Cart\", and upper and lower case count without `ignore_case: true`"));
    check("{ word: { equals: carts, ignore_case: true } }", body, Some("word is \"Cart\""));
    check("{ list: { gt: 2 } }", body, Some("list is [1, 2]"));
    check("{ n: { exists: false } }", body, Some("n is there"));
    check("{ n: { not: 43 } }", body, Some("n is \"43\", which must not be"));
    check("{ gone: { not: { exists: false } } }", body, Some("the event has no gone"));
    check("{ none: [{ n: 1 }, { n: 43, word: Cart }] }", body, Some("n is \"43\", which must not be"));
    check("{ none: [{ none: [{ n: 1 }] }] }", body, Some("n is \"43\""));
    check("{ any: [{ n: 1 }, { word: x }] }", body, Some("n is \"43\""));
}

/// A value for a generated condition or body.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("ab"), Just("abc"), Just("b"), Just("7"), Just("70"), Just("X")].prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = String> {
    let field = prop_oneof![Just("x"), Just("y"), Just("type")];
    let test = prop_oneof![
        word().prop_map(|w| format!("\"{w}\"")),
        prop::collection::vec(word(), 1..4).prop_map(|ws| format!("[{}]", ws.join(", "))),
        word().prop_map(|w| format!("{{ glob: \"{w}*\" }}")),
        word().prop_map(|w| format!("{{ glob: \"*{w}\" }}")),
        word().prop_map(|w| format!("{{ glob: \"a*{w}\" }}")),
        word().prop_map(|w| format!("{{ glob: \"?{w}\" }}")),
        word().prop_map(|w| format!("{{ contains: \"{w}\" }}")),
        word().prop_map(|w| format!("{{ equals: \"{w}\", ignore_case: true }}")),
        word().prop_map(|w| format!("{{ starts_with: \"{w}\", ignore_case: true }}")),
        word().prop_map(|w| format!("{{ regex: \"{w}$\" }}")),
        word().prop_map(|w| format!("{{ not: \"{w}\" }}")),
        Just("{ exists: true }".to_owned()),
        Just("null".to_owned()),
        Just("{ gt: 7 }".to_owned()),
    ];
    let leaf = (field, test).prop_map(|(field, test)| format!("{{ {field}: {test} }}"));
    leaf.prop_recursive(3, 12, 3, |inner| {
        (prop_oneof![Just("any"), Just("all"), Just("none")], prop::collection::vec(inner, 1..4))
            .prop_map(|(group, items)| format!("{{ {group}: [{}] }}", items.join(", ")))
    })
}

fn body() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        word().prop_map(|w| format!("\"{w}\"")),
        Just("70".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        prop::collection::vec(word(), 1..3).prop_map(|ws| format!("[\"{}\"]", ws.join("\",\""))),
    ];
    (word(), prop::option::of(value.clone()), prop::option::of(value)).prop_map(|(event_type, x, y)| {
        let member = |key: &str, value: Option<String>| value.map(|v| format!(",\"{key}\":{v}")).unwrap_or_default();
        format!("{{\"type\":\"{event_type}\"{}{}}}", member("x", x), member("y", y))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(512)))]

    #[test]
    fn the_index_finds_what_asking_every_rule_finds(
        conditions in prop::collection::vec((condition(), any::<bool>(), 0usize..3), 1..30),
        bodies in prop::collection::vec(body(), 1..20),
    ) {
        let yaml: String = conditions
            .iter()
            .map(|(condition, stop, to)| {
                let to = ["a", "b", "c"][*to];
                // Rarely: most rules would stop everything otherwise.
                let stop = *stop && condition.len() % 7 == 0;
                format!("  - {{ match: {condition}, to: [{to}], stop: {stop} }}\n")
            })
            .collect();
        let set = rules(&yaml);
        for body in &bodies {
            let indexed = set.route(body.as_bytes(), RELAY).expect("an event");
            let plain = set.route_plainly(body.as_bytes(), RELAY).expect("an event");
            prop_assert_eq!(indexed, plain, "{} by\n{}", body, yaml);
        }
    }

    #[test]
    fn what_is_foreseen_comes_true(
        conditions in prop::collection::vec(condition(), 1..12),
        bodies in prop::collection::vec(body(), 1..20),
    ) {
        let yaml: String = conditions.iter().map(|condition| format!("  - {{ match: {condition}, to: a }}\n")).collect();
        let set = rules(&format!("{yaml}  - {{ match: {{ type: last }}, to: a }}\n"));
        let type_field = match &set.rules.last().expect("a rule").condition {
            Condition::All(tests) => match tests.as_slice() {
                [Condition::Test { field, .. }] => *field,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let only_the_type = |field: FieldId| field == type_field;
        let every_field = |_: FieldId| true;
        let outlines: Vec<_> = set.rules.iter().map(|rule| Outline::of(&rule.condition)).collect();
        for body in &bodies {
            let event = set.fields.read(body.as_bytes(), RELAY).expect("an event");
            let is_single: &dyn Fn(FieldId) -> bool = if body.contains('[') { &only_the_type } else { &every_field };
            let condition = |at: usize| &set.rules[at].condition;
            let holds = |at: usize| condition(at).evaluate(&set.fields, &event.fields, &mut ());
            for at in 0..set.rules.len() {
                let foreseen = condition(at).foresee(type_field, Some(&event.event_type));
                prop_assert!(foreseen != Verdict::Always || holds(at), "{} on {}", at, body);
                prop_assert!(foreseen != Verdict::Never || !holds(at), "{} on {}", at, body);
                prop_assert!(condition(at).contradiction(is_single).is_none() || !holds(at), "{} on {} by\n{}", at, body, yaml);
                for other in (0..set.rules.len()).filter(|_| holds(at)) {
                    let is_implied = outlines[at].implies(&outlines[other], is_single);
                    prop_assert!(!is_implied || holds(other), "{} implies {} on {} by\n{}", at, other, body, yaml);
                }
            }
        }
    }
}

/// Where events go one after the other, by a memory that nothing leaves: which rules took each.
fn taken_in_turn(yaml: &str, bodies: &[&str]) -> Vec<Vec<usize>> {
    let rules = rules(yaml);
    let mut passed = std::collections::HashSet::new();
    let mut taken = |body: &&str| {
        let event = rules.read(body.as_bytes(), RELAY).expect("an event");
        rules.route_once(&event, &mut |_, key, _| passed.insert(key)).rules.to_vec()
    };
    bodies.iter().map(&mut taken).collect()
}

#[test]
fn a_rule_that_matches_once_holds_back_what_has_the_same_values() {
    let by = |fields: &str| {
        format!("  - {{ name: r, match: {{ type: t }}, once_per: {{ fields: {fields}, every: 1h }}, to: a }}\n")
    };
    let took = |fields: &str, one: &str, other: &str| {
        let bodies = [one, other].map(|rest| format!(r#"{{"type":"t"{rest}}}"#));
        taken_in_turn(&by(fields), &[&bodies[0], &bodies[1]]) == [vec![0], vec![0]]
    };
    for (fields, one, other, is_other) in [
        ("[x]", r#","x":1"#, r#","x":1"#, false),
        ("[x]", r#","x":1"#, r#","x":"1","y":2"#, false),
        ("[x]", r#","x":1"#, r#","x":1.0"#, true),
        ("[x]", r#","x":1"#, r#","x":2"#, true),
        ("x", r#","x":1"#, r#","x":2"#, true),
        ("[x]", "", "", false),
        ("[x]", "", r#","x":null"#, false),
        ("[x]", "", r#","x":"""#, true),
        ("[x]", r#","x":[1,2]"#, r#","x":[1,2]"#, false),
        ("[x]", r#","x":[1,2]"#, r#","x":[1]"#, true),
        ("[x]", r#","x":[1,2]"#, r#","x":[12]"#, true),
        ("[x, y]", r#","x":1,"y":2"#, r#","y":2,"x":1"#, false),
        ("[x, y]", r#","x":1,"y":2"#, r#","x":2,"y":1"#, true),
        ("[x, y]", r#","x":1"#, r#","y":1"#, true),
        ("[user.email]", r#","user":{"email":"a@b.c"}"#, r#","email":"a@b.c""#, false),
        ("[relay.source]", r#","x":1"#, r#","x":2"#, false),
    ] {
        assert_eq!(took(fields, one, other), is_other, "{fields}: {one} and {other}");
    }
}

#[test]
fn what_is_held_back_goes_on_to_later_rules_and_asks_only_those_whose_conditions_hold() {
    let yaml = "  - { name: r, match: { type: t }, once_per: { fields: [x], every: 1h }, to: a, stop: true }\n  \
                - { name: s, match: { type: t, y: 1 }, once_per: { fields: [x], every: 1h }, to: b }\n  - { to: c }\n";
    let bodies = [
        r#"{"type":"t","x":1,"y":1}"#,
        r#"{"type":"u","x":1,"y":1}"#,
        r#"{"type":"t","x":1}"#,
        r#"{"type":"t","x":1,"y":1}"#,
        r#"{"type":"t","x":1,"y":1}"#,
    ];
    assert_eq!(taken_in_turn(yaml, &bodies), [vec![0], vec![2], vec![2], vec![1, 2], vec![2]]);
}

#[test]
fn an_explanation_says_unless_what_or_that_it_was_so() {
    let rules = rules(
        "  - { name: r, match: { type: t }, once_per: { fields: [x, y], every: 90m }, to: a, stop: true }\n  - { to: c }\n",
    );
    let body = br#"{"type":"t","x":1}"#;
    let words = "one with the same x and y went through within 1h 30m";
    let (routing, traces) = rules.explain(body, RELAY).expect("an event");
    assert_eq!((routing.rules.to_vec(), traces[0].unless.as_deref()), (vec![0], Some(words)));
    let (routing, traces) = rules.explain_once(body, RELAY, Some(&|_| false)).expect("an event");
    assert_eq!(
        (routing.rules.to_vec(), traces[0].verdict, traces[0].because().as_deref()),
        (vec![1], Some(false), Some(words))
    );
    let (routing, traces) = rules.explain_once(body, RELAY, Some(&|_| true)).expect("an event");
    assert_eq!((routing.rules.to_vec(), traces[0].verdict, traces[0].unless.as_deref()), (vec![0], Some(true), None));
    let (_, traces) = rules.explain(br#"{"type":"u"}"#, RELAY).expect("an event");
    assert_eq!((traces[0].verdict, traces[0].unless.as_deref()), (Some(false), None));
}

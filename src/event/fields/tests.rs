//! Paths, arrays, duplicate keys, Vero's odd keys, refusals; and the trie against a walk of serde_json's tree.

use super::*;
use proptest::prelude::*;

fn read<'a>(body: &'a str, path: &str) -> Result<Vec<Value<'a>>, Refused> {
    let mut builder = FieldSetBuilder::default();
    let id = builder.add(&FieldPath::parse(path).expect("a good path"));
    let set = builder.build();
    let event = set.read(body.as_bytes(), RelayFields { source: "vero", received_ms: 1_700_000_000_000 })?;
    Ok(event.fields.get(&set, id).iter().map(|(_, value)| value.clone()).collect())
}

/// `body` has `"type": "sent"` in front of it.
#[track_caller]
fn check(rest: &str, path: &str, expected: &str) {
    let body = format!(r#"{{"type":"sent",{rest}}}"#);
    let found = read(&body, path).expect("an event");
    let text = found.iter().map(|value| value.text().map_or_else(|| format!("<{}>", value.kind()), str::to_owned));
    assert_eq!(text.collect::<Vec<_>>().join(" "), expected, "{path} in {body}");
}

#[test]
fn fields_are_found_by_path() {
    check(r#""a":1"#, "a", "1");
    check(r#""a":{"b":{"c":"x"}}"#, "a.b.c", "x");
    check(r#""a":{"trigger-event":"x"}"#, "a.trigger-event", "x");
    check(r#""a":{"b":1}"#, "a", "<object>");
    check(r#""a":"plain""#, "a.b", "");
    check(r#""a":"\ud800","b":1"#, "a.b", "");
    check(r#""a":1e400"#, "a.b", "");
    check(r#""a":1e400"#, "a", "1e400");
    check(r#""\u0061":1"#, "a", "1");
    check(r#""x\ud800":1,"a":2"#, "a", "2");
    check(r#""x\n":1,"a":2"#, "a", "2");
    check(r#""a":[1,2]"#, "a", "<list>");
}

#[test]
fn a_path_crosses_arrays_of_objects_and_a_pointer_takes_an_index() {
    check(r#""a":[{"b":1},{"c":2},{"b":3},7,[{"b":9}]]"#, "a.b", "1 3");
    check(r#""a":[{"b":[{"c":1},{"c":2}]},{"b":{"c":3}}]"#, "a.b.c", "1 2 3");
    check(r#""a":[{"b":1},{"b":2}]"#, "/a/1/b", "2");
    check(r#""a":[{"b":1},{"b":2}]"#, "/a/b", "");
    check(r#""a":{"1":{"b":2}}"#, "/a/1/b", "2");
    check(r#""a.b":[5,6]"#, "/a.b/0", "5");
    check(r#""a":[]"#, "a.b", "");
}

#[test]
fn with_duplicate_keys_the_last_wins_at_every_level() {
    check(r#""a":1,"a":2"#, "a", "2");
    check(r#""a":{"b":1},"a":{"c":2}"#, "a.b", "");
    check(r#""a":{"b":1,"b":2},"z":0"#, "a.b", "2");
    check(r#""a":[{"b":1,"b":2},{"b":3}]"#, "a.b", "2 3");
}

#[test]
fn what_a_path_goes_into_may_be_anything() {
    check(r#""a":{"b":1},"a":null"#, "a.b", "");
    check(r#""a":null,"a":{"b":1}"#, "a.b", "1");
    check(r#""a":[{"b":null}],"z":{"a":1e400}"#, "a.b.c", "");
    let mut builder = FieldSetBuilder::default();
    let [whole, inner] = ["a", "a.c.a"].map(|path| builder.add(&FieldPath::parse(path).expect("good")));
    let set = builder.build();
    let body = br#"{"type":"sent","a":{"c":null}}"#;
    let event = set.read(body, RelayFields { source: "vero", received_ms: 0 }).expect("an event");
    assert_eq!((event.fields.get(&set, whole).len(), event.fields.get(&set, inner).len()), (1, 0));
}

#[test]
fn a_duplicate_key_takes_back_only_its_own_captures() {
    let mut builder = FieldSetBuilder::default();
    let [a, b, c] = ["x.a", "x.b", "y"].map(|path| builder.add(&FieldPath::parse(path).expect("good")));
    let set = builder.build();
    let body = br#"{"type":"t","x":{"a":1,"b":2},"y":3,"x":{"b":4}}"#;
    let event = set.read(body, RelayFields { source: "s", received_ms: 0 }).expect("an event");
    let get = |id| event.fields.get(&set, id).iter().map(|(_, v)| v.clone()).collect::<Vec<_>>();
    assert_eq!(get(a), []);
    assert_eq!(get(b), [Value::Number("4")]);
    assert_eq!(get(c), [Value::Number("3")]);
}

#[test]
fn veros_odd_keys_are_found() {
    check(r#""campaign":{"campaign_title":"T"}"#, "campaign.name", "T");
    check(r#""campaign":{"name":"N","campaign_title":"T"}"#, "campaign.name", "N");
    check(r#""campaign":{"name":null,"campaign_title":"T"}"#, "campaign.name", "T");
    check(r#""campaign":{"email_subject":"S"}"#, "campaign.subject", "S");
    check(r#""campaign":{"variation_name":"V"}"#, "campaign.variation", "V");
    check(r#""campaign":{"series_title":"G"}"#, "campaign.group", "G");
    check(r#""campaign":{"message_id":"M"}"#, "message_id", "M");
    check(r#""id":"7","email":"e@x""#, "user.id", "7");
    check(r#""id":"7","email":"e@x""#, "user.email", "e@x");
    check(r#""id":"7","user":{}"#, "user.id", "");
    check(r#""id":"7","user":{"id":8}"#, "user.id", "8");
    check(r#""name":"x""#, "campaign.name", "");
}

#[test]
fn type_wins_over_action_unless_it_is_no_string() {
    for (body, expected) in [
        (r#"{"type":"a","action":"b"}"#, "a"),
        (r#"{"action":"b"}"#, "b"),
        (r#"{"type":null,"action":"b"}"#, "b"),
        (r#"{"type":7,"action":"b"}"#, "b"),
        (r#"{"type":"","action":"b"}"#, "b"),
        (r#"{"type":"x","type":"y"}"#, "y"),
        (r#"{"type":"\u0073ent"}"#, "sent"),
    ] {
        assert_eq!(read(body, "type"), Ok(vec![Value::String(expected.into())]), "{body}");
    }
}

#[test]
fn the_relays_fields_have_values() {
    check("\"a\":1", "relay.source", "vero");
    check("\"a\":1", "relay.received_at", "2023-11-14T22:13:20.000Z");
    check(r#""sent_at":1435016238"#, "relay.occurred_at", "2015-06-22T23:37:18.000Z");
    check(r#""sent_at":1435016238.25"#, "relay.occurred_at", "2015-06-22T23:37:18.250Z");
    check(r#""sent_at":1435016238250"#, "relay.occurred_at", "2015-06-22T23:37:18.250Z");
    check(r#""sent_at":"1435016238""#, "relay.occurred_at", "2015-06-22T23:37:18.000Z");
    check(r#""sent_at":"2015-06-23T01:37:18+02:00""#, "relay.occurred_at", "2015-06-22T23:37:18.000Z");
    check(r#""sent_at":"2015-06-22""#, "relay.occurred_at", "2015-06-22T00:00:00.000Z");
    for nothing in ["-1", "1e9", "\"1969-12-31\"", "99999999999999999999", "[1]", "true"] {
        check(&format!(r#""sent_at":{nothing}"#), "relay.occurred_at", "2023-11-14T22:13:20.000Z");
    }
    check(r#""sent_at":"soon""#, "relay.occurred_at", "2023-11-14T22:13:20.000Z");
    check(r#""opened_at":1435016238"#, "relay.occurred_at", "2023-11-14T22:13:20.000Z");
}

#[test]
fn a_refusal_names_the_place() {
    let refused = |body: &[u8]| {
        let set = FieldSetBuilder::default().build();
        let read = set.read(body, RelayFields { source: "s", received_ms: 0 });
        read.map(|_| ()).expect_err("refused").to_string()
    };
    for (body, part) in [
        (&b"{\"type\":\"a\xff\"}"[..], "not UTF-8 from byte 10"),
        (b"", "the body is empty; an event is one JSON object"),
        (b" \r\n", "the body is empty"),
        (b"{\"type\":\"a\"", "not JSON: it is cut off behind byte 10 (EOF while parsing an object)"),
        (b"{\"type\":\"a\"\n", "not JSON: it is cut off behind byte 11"),
        (b"{", "behind byte 0 (EOF"),
        (b"{\"type\":\"a", "behind byte 9 (EOF while parsing a string)"),
        (b"{\"type\":\"a\",", "behind byte 11 (EOF"),
        (b"[1", "behind byte 1 (EOF while parsing a list)"),
        (b"{\"type\":\"a\"]", "not JSON: expected `,` or `}` at byte 11"),
        (b"{type: 'sent'}", "not JSON: key must be a string at byte 1"),
        (b"{\"type\":\"a\"} x", "not JSON: trailing characters at byte 13"),
        (b"{\"type\":\"a\",\n\"b\":tru}", "at byte 20"),
        (b"type=sent&user=a", "looks like a form (a=b&c=d); Vero sends JSON"),
        (b"a%5B%5D=1", "looks like a form"),
        (b"sent = 1", "not JSON"),
        (b"=", "not JSON"),
        (b"type", "not JSON: a word that JSON does not have at byte 1"),
        (b" [1]", "JSON array (at byte 1)"),
        (b"\"x\"", "JSON string"),
        (b"12", "JSON number"),
        (b"{\"a\":1}", "neither a `type` nor an `action`"),
        (b"{\"type\":7}", "neither a `type` nor an `action`"),
        (b"{\"type\":\"a\nb\"}", "control character"),
        (b"{\"type\":\"a\",\"b\nc\":1}", "control character"),
        (b"{\"type\":\"a\",\"x\":{\"b\nc\":1}}", "control character"),
    ] {
        let sentence = refused(body);
        assert!(sentence.contains(part), "{sentence} should hold {part}");
    }
}

#[test]
fn what_is_skipped_may_nest_without_limit() {
    let deep = format!(r#"{{"type":"a","x":{}1{},"b":2}}"#, "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(read(&deep, "b"), Ok(vec![Value::Number("2")]));
    let deep = format!(r#"{{"type":"a","x":{}1{},"b":2}}"#, r#"{"k":"#.repeat(20_000), "}".repeat(20_000));
    assert_eq!(read(&deep, "b"), Ok(vec![Value::Number("2")]));
}

/// What a path finds, said with serde_json's tree: slow, obvious, and blind to duplicate keys.
fn naive<'v>(value: &'v serde_json::Value, path: &[&str], found: &mut Vec<&'v serde_json::Value>) {
    match (path, value) {
        ([], value) => found.push(value),
        ([key, rest @ ..], serde_json::Value::Object(map)) => {
            if let Some(value) = map.get(*key) {
                naive(value, rest, found);
            }
        }
        (path, serde_json::Value::Array(items)) => {
            for item in items.iter().filter(|item| item.is_object()) {
                naive(item, path, found);
            }
        }
        _ => {}
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "\\PC{0,6}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[abc]", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_trie_finds_what_a_walk_of_the_tree_finds(
        tree in prop::collection::hash_map("[abc]", json(), 1..4),
        paths in prop::collection::vec(prop::collection::vec("[abc]", 1..5), 1..6),
    ) {
        let mut tree: serde_json::Map<String, serde_json::Value> = tree.into_iter().collect();
        tree.insert("type".into(), "t".into());
        let tree = serde_json::Value::Object(tree);
        let body = tree.to_string();
        let mut builder = FieldSetBuilder::default();
        let ids: Vec<_> = paths
            .iter()
            .map(|path| builder.add(&FieldPath::parse(&path.join(".")).expect("a good path")))
            .collect();
        let set = builder.build();
        let event = set.read(body.as_bytes(), RelayFields { source: "s", received_ms: 0 }).expect("an event");
        for (path, id) in paths.iter().zip(ids) {
            let mut expected = Vec::new();
            naive(&tree, &path.iter().map(String::as_str).collect::<Vec<_>>(), &mut expected);
            let found: Vec<_> = event.fields.get(&set, id).iter().map(|(_, value)| value.clone()).collect();
            let texts: Vec<String> = expected.iter().map(|value| value.to_string()).collect();
            let expected: Vec<_> = texts.iter().map(|text| Value::from_raw(text)).collect();
            prop_assert_eq!(found, expected, "{:?} in {}", path, body);
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut builder = FieldSetBuilder::default();
        builder.add(&FieldPath::parse("a.b").expect("good"));
        let _ = builder.build().read(&bytes, RelayFields { source: "s", received_ms: 0 });
    }
}

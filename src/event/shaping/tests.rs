//! What each list does to bodies, bodies that hide something, and random ones.

use proptest::prelude::*;

use super::*;
use crate::event::{FieldSetBuilder, RelayFields, Value as Found};

fn paths(texts: &[&str]) -> Vec<FieldPath> {
    texts.iter().map(|text| FieldPath::parse(text).expect("a path")).collect()
}

fn pick(texts: &[&str]) -> Lists {
    Lists { pick: Some(paths(texts)), ..Lists::default() }
}

fn drop(texts: &[&str]) -> Lists {
    Lists { drop: paths(texts), ..Lists::default() }
}

fn mask(texts: &[&str]) -> Lists {
    Lists { mask: paths(texts), ..Lists::default() }
}

fn hash(texts: &[&str]) -> Lists {
    Lists { hash: paths(texts), ..Lists::default() }
}

#[track_caller]
fn check(lists: Lists, body: &str, expected: &str) {
    let shaped = Shaping::new(&lists, None).apply(body.as_bytes()).expect("it is shaped");
    assert_eq!(String::from_utf8(shaped).expect("UTF-8"), expected, "{lists:?}");
}

#[test]
fn what_is_dropped_goes_with_its_comma_and_the_rest_is_the_same_bytes() {
    check(drop(&["b"]), r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#);
    check(drop(&["a"]), " { \"a\" : 1 ,\n \"b\" : 9007199254740993.10 }\n", " {\n \"b\" : 9007199254740993.10 }\n");
    check(drop(&["b"]), "{\n  \"a\": \"\\u003c\",\n  \"b\": 2\n}", "{\n  \"a\": \"\\u003c\"}");
    check(drop(&["a"]), r#"{"a":1}"#, "{}");
    check(drop(&["a"]), "{ }", "{ }");
    check(drop(&["a.b"]), r#"{"a":{ },"x":[ ]}"#, r#"{"a":{ },"x":[ ]}"#);
    check(drop(&["a.b"]), r#"{"a":{"b":1},"b":2}"#, r#"{"a":{},"b":2}"#);
    check(drop(&["a.b"]), r#"{"a":"b","x":{"a":{"b":1}}}"#, r#"{"a":"b","x":{"a":{"b":1}}}"#);
    check(drop(&["nothing"]), r#"{"a":1e400,"a":[{"x":[]}]}"#, r#"{"a":1e400,"a":[{"x":[]}]}"#);
}

#[test]
fn a_path_crosses_arrays_and_a_pointer_takes_one_place() {
    check(drop(&["a.b"]), r#"{"a":[{"b":1,"c":2},7,{"b":3}]}"#, r#"{"a":[{"c":2},7,{}]}"#);
    check(drop(&["a.b"]), r#"{"a":[[{"b":1}],[[{"b":[2]}]]]}"#, r#"{"a":[[{}],[[{}]]]}"#);
    check(drop(&["/a/1"]), r#"{"a":[1,2,3]}"#, r#"{"a":[1,null,3]}"#);
    check(drop(&["/a/1/b"]), r#"{"a":[{"b":1},{"b":2}]}"#, r#"{"a":[{"b":1},{}]}"#);
    check(drop(&["/a.b"]), r#"{"a.b":1,"a":{"b":2}}"#, r#"{"a":{"b":2}}"#);
    check(pick(&["a.b"]), r#"{"a":[{"b":1,"c":2},7,[{"b":4}],{"b":3}],"x":1}"#, r#"{"a":[{"b":1},{"b":3}]}"#);
    check(pick(&["/a/1"]), r#"{"a":[1,2,3]}"#, r#"{"a":[2]}"#);
}

#[test]
fn nothing_that_is_dropped_slips_through_by_another_spelling_or_place() {
    check(
        drop(&["user.email"]),
        r#"{"user":{"em\u0061il":1,"email":2},"us\u0065r":{"email":3}}"#,
        r#"{"user":{},"us\u0065r":{}}"#,
    );
    check(drop(&["user.email"]), r#"{"action":"x","email":"a@b.c","id":1}"#, r#"{"action":"x","id":1}"#);
    check(drop(&["user.email"]), r#"{"user":{},"email":"a@b.c"}"#, r#"{"user":{}}"#);
    check(drop(&["user"]), r#"{"action":"x","email":"a@b.c","id":1}"#, r#"{"action":"x"}"#);
    check(drop(&["campaign.name"]), r#"{"campaign":{"campaign_title":1,"name":2,"id":3}}"#, r#"{"campaign":{"id":3}}"#);
    check(drop(&["message_id"]), r#"{"campaign":{"message_id":1},"message_id":2}"#, r#"{"campaign":{}}"#);
    check(drop(&["type"]), r#"{"type":"a","action":"b"}"#, "{}");
    check(
        mask(&["user.email"]),
        r#"{"user":{"email":1},"user":{"email":"a"}}"#,
        r#"{"user":{"email":"***"},"user":{"email":"***"}}"#,
    );
}

#[test]
fn what_nests_deeper_than_it_goes_is_not_sent() {
    let nested = |depth: usize| format!(r#"{{"a":{}{{"b":1}}{},"z":1}}"#, "[".repeat(depth), "]".repeat(depth));
    let shaped = |lists: &Lists, depth| Shaping::new(lists, None).apply(nested(depth).as_bytes());
    for lists in [drop(&["a.b"]), mask(&["a.b"]), hash(&["a.b"]), hash(&["a"])] {
        assert_eq!(shaped(&lists, DEPTH_MAX), Err(Unshaped::TooDeep), "{lists:?}");
        assert!(shaped(&lists, DEPTH_MAX - 3).is_ok(), "{lists:?}");
    }
    // What no path leads into may nest as it likes, and so may what goes as a whole.
    for depth in [200, 100_000] {
        assert_eq!(shaped(&drop(&["z"]), depth).expect("shaped"), nested(depth).replace(r#","z":1"#, "").into_bytes());
        assert_eq!(shaped(&drop(&["a"]), depth).expect("shaped"), br#"{"z":1}"#);
        assert_eq!(shaped(&pick(&["a"]), depth).expect("shaped"), nested(depth).replace(r#","z":1"#, "").into_bytes());
        assert_eq!(shaped(&pick(&["a.b", "z"]), depth).expect("shaped"), br#"{"z":1}"#);
    }
}

#[test]
fn what_is_picked_keeps_its_nesting_and_order_and_of_a_key_given_twice_the_last() {
    check(pick(&["b", "a.c"]), r#"{"a":{"x":1,"c":2},"b":{"k":[1]},"z":0}"#, r#"{"a":{"c":2},"b":{"k":[1]}}"#);
    check(pick(&["a", "b"]), r#"{"a":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#);
    check(pick(&["a", "b", "c"]), r#"{"a":1,"b":2,"c":4,"b":5,"a":6}"#, r#"{"c":4,"b":5,"a":6}"#);
    check(pick(&["a", "b"]), r#"{"a":1,"a":2,"a":3}"#, r#"{"a":3}"#);
    check(pick(&["a.b"]), r#"{"a":{"b":1},"a":{"c":2}}"#, "{}");
    check(pick(&["a"]), r#"{"a":null}"#, r#"{"a":null}"#);
    check(pick(&["user.email"]), r#"{"email":"a","id":1}"#, r#"{"email":"a"}"#);
    check(pick(&["user.email"]), r#"{"user":null,"email":"a"}"#, r#"{"email":"a"}"#);
    check(pick(&["user.email"]), r#"{"user":{"id":1},"email":"a"}"#, "{}");
    check(pick(&["type"]), r#"{"action":"user_updated"}"#, r#"{"action":"user_updated"}"#);
    check(
        pick(&["campaign.name"]),
        r#"{"campaign":{"campaign_title":"x","id":1}}"#,
        r#"{"campaign":{"campaign_title":"x"}}"#,
    );
}

#[test]
fn a_mask_hides_whatever_it_was_and_null_stays() {
    check(mask(&["a"]), r#"{"a":[1,{"b":2}]}"#, r#"{"a":"***"}"#);
    check(mask(&["a.b"]), r#"{"a":{"b":{"x":1},"c":1}}"#, r#"{"a":{"b":"***","c":1}}"#);
    check(mask(&["a"]), r#"{"a": null ,"b":""}"#, r#"{"a": null ,"b":""}"#);
    check(mask(&["a"]), r#"{"a": false }"#, r#"{"a": "***" }"#);
}

/// <https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/customer-information-parameters> has this address and its hash.
#[test]
fn a_hash_is_of_the_text_trimmed_and_in_small_letters() {
    const JOHN: &str = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f";
    check(hash(&["e"]), r#"{"e":" John_Smith@gmail.com\n"}"#, &format!(r#"{{"e":"{JOHN}"}}"#));
    check(hash(&["e"]), r#"{"e":["JOHN_SMITH@gmail.com" , null]}"#, &format!(r#"{{"e":["{JOHN}" , null]}}"#));
    check(hash(&["e"]), r#"{"e":null,"o":1}"#, r#"{"e":null,"o":1}"#);
    check(hash(&["e"]), r#"{"e":{"a":1}}"#, r#"{"e":"***"}"#);
    check(hash(&["e"]), r#"{"e":[ ]}"#, r#"{"e":[ ]}"#);
    const NUMBER: &str = "f89f8d0e735a91c5269ab08d72fa27670d000e7561698d6e664e7b603f5c4e40";
    check(hash(&["n", "s"]), r#"{"n":550,"s":"550"}"#, &format!(r#"{{"n":"{NUMBER}","s":"{NUMBER}"}}"#));
}

/// RFC 4231, test case 2: <https://www.rfc-editor.org/rfc/rfc4231#section-4.3>.
#[test]
fn a_hash_by_a_key_is_an_hmac() {
    let shaping = Shaping::new(&hash(&["e"]), Some(b"Jefe"));
    let shaped = shaping.apply(br#"{"e":"What do ya want for nothing? "}"#).expect("shaped");
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(shaped, format!(r#"{{"e":"{expected}"}}"#).into_bytes());
}

#[test]
fn each_list_takes_what_the_one_before_has_left() {
    let lists = Lists {
        pick: Some(paths(&["user", "type"])),
        drop: paths(&["user.id"]),
        mask: paths(&["user.name", "user.id"]),
        hash: paths(&["user.email", "user.name"]),
    };
    let shaped = Shaping::new(&lists, None).apply(br#"{"type":"x","user":{"id":1,"name":"n","email":null},"z":1}"#);
    assert_eq!(shaped.expect("shaped"), br#"{"type":"x","user":{"name":"***","email":null}}"#);
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["", "[1]", "{", r#"{"a""#, r#"{"a":}"#, r#"{"a":1}x"#, r#"{"a":1,"b"}"#, "{\"a\":\"\\"] {
        assert_eq!(Shaping::new(&drop(&["a"]), None).apply(body.as_bytes()), Err(Unshaped::NotJson), "{body}");
        assert_eq!(Shaping::new(&pick(&["a"]), None).apply(body.as_bytes()), Err(Unshaped::NotJson), "{body}");
    }
}

/// What rules find at a path.
fn found(body: &[u8], path: &FieldPath) -> Vec<String> {
    let mut builder = FieldSetBuilder::default();
    let id = builder.add(path);
    let set = builder.build();
    let event = set.read(body, RelayFields { source: "vero", received_ms: 0 }).expect("an event");
    let values = event.fields.get(&set, id).iter().filter(|(_, value)| *value != Found::Null);
    values.map(|(_, value)| format!("{value:?}")).collect()
}

fn body() -> impl Strategy<Value = String> {
    let leaves = ["null", "true", "1.50", r#""a@b.c""#, r#""\u0061""#, r#""[{\"""#, "9007199254740993"];
    let leaf = prop::sample::select(leaves.to_vec()).prop_map(str::to_owned);
    let white = prop_oneof![Just(""), Just(""), Just(" "), Just("\n\t")];
    let key = prop_oneof![
        Just(r#""user""#),
        Just(r#""us\u0065r""#),
        Just(r#""email""#),
        Just(r#""id""#),
        Just(r#""campaign""#),
        Just(r#""name""#),
        Just(r#""campaign_title""#),
        Just(r#""0""#)
    ];
    let member = (white.clone(), key.clone(), white.clone());
    let value = leaf.prop_recursive(4, 24, 5, move |inner| {
        let members = prop::collection::vec((member.clone(), inner.clone()), 0..5);
        let members = members.prop_map(|members| {
            let all = members
                .into_iter()
                .map(|((before, key, after), value)| format!("{before}{key}{after}: {value}{after}"));
            format!("{{{}}}", all.collect::<Vec<_>>().join(","))
        });
        let items = prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,")));
        prop_oneof![members, items]
    });
    prop::collection::vec((key, value), 0..6).prop_map(|members| {
        let members: String = members.into_iter().map(|(key, value)| format!(",{key}:{value}")).collect();
        format!(r#"{{"type":"sent"{members}}}"#)
    })
}

fn path() -> impl Strategy<Value = FieldPath> {
    let all = [
        "user",
        "user.email",
        "user.id",
        "campaign.name",
        "campaign",
        "user.campaign.name",
        "email",
        "/user/0",
        "/user/0/email",
    ];
    prop::sample::select(all.to_vec()).prop_map(|text| FieldPath::parse(text).expect("a path"))
}

#[track_caller]
fn check_blanked(paths_of: &[&str], body: &str, expected: &str) {
    let shaped = Shaping::blanking(&paths(paths_of)).apply(body.as_bytes()).expect("it is shaped");
    assert_eq!(String::from_utf8(shaped).expect("UTF-8"), expected, "{paths_of:?}");
}

#[test]
fn what_is_blanked_says_nothing_any_more_and_all_else_stands_where_it_stood() {
    check_blanked(&["user.email"], r#"{"user":{"email":"a@b.c","id":7}}"#, r#"{"user":{"email":"*****","id":7}}"#);
    check_blanked(&["a"], "{\"a\": \"\\u00e9\u{e9}\" , \"b\":1}", "{\"a\": \"********\" , \"b\":1}");
    check_blanked(&["a"], r#"{"a":"","b":[{ }]}"#, r#"{"a":"","b":[{ }]}"#);
    check_blanked(&["a"], r#"{"a":-12.5e3}"#, r#"{"a":0      }"#);
    check_blanked(&["a"], r#"{"a":0,"b":null}"#, r#"{"a":0,"b":null}"#);
    check_blanked(&["a"], r#"{"a":true}"#, r#"{"a":null}"#);
    check_blanked(&["a"], r#"{"a":false}"#, r#"{"a":null }"#);
    check_blanked(&["a"], r#"{"a":{"x":"}"},"b":2}"#, r#"{"a":{}       ,"b":2}"#);
    check_blanked(&["a"], r#"{"a":[1,"]"]}"#, r#"{"a":[]     }"#);
    check_blanked(&["a.b"], r#"{"a":[{"b":1,"c":1},[{"b":"x"}]]}"#, r#"{"a":[{"b":0,"c":1},[{"b":"*"}]]}"#);
    check_blanked(&["/a/1"], r#"{"a":["x","y"]}"#, r#"{"a":["x","*"]}"#);
    check_blanked(
        &["user.email"],
        r#"{"us\u0065r":{"email":"x","email":"yz"}}"#,
        r#"{"us\u0065r":{"email":"*","email":"**"}}"#,
    );
    check_blanked(&["user.email"], r#"{"action":"x","email":"a@b.c"}"#, r#"{"action":"x","email":"*****"}"#);
    check_blanked(&["user"], r#"{"user":{"email":"a"},"email":"b"}"#, r#"{"user":{}           ,"email":"*"}"#);
    check_blanked(&["other"], r#"{"user":{"email":"a@b.c"}}"#, r#"{"user":{"email":"a@b.c"}}"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(4_000)))]

    #[test]
    fn of_what_is_dropped_masked_or_hashed_nothing_is_found_and_the_rest_is_there(body in body(), paths in prop::collection::vec(path(), 1..4)) {
        let dropped = Shaping::new(&Lists { drop: paths.clone(), ..Lists::default() }, None).apply(body.as_bytes()).expect("shaped");
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&dropped).is_ok());
        for path in &paths {
            prop_assert_eq!(found(&dropped, path), Vec::<String>::new());
        }
        let masked = Shaping::new(&Lists { mask: paths.clone(), ..Lists::default() }, None).apply(body.as_bytes()).expect("shaped");
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&masked).is_ok());
        let hashed = Shaping::new(&Lists { hash: paths.clone(), ..Lists::default() }, Some(b"key")).apply(body.as_bytes()).expect("shaped");
        for path in &paths {
            for value in found(&masked, path) {
                prop_assert_eq!(value, r#"String("***")"#);
            }
            for value in found(&hashed, path) {
                prop_assert!(!value.contains("a@b") && !value.contains("9007"), "{}", value);
            }
        }
        // What is at no such place is as it was: nothing is where no path leads.
        let none = FieldPath::parse("not.there").expect("a path");
        for lists in [Lists { drop: vec![none.clone()], ..Lists::default() }, Lists { mask: vec![none.clone()], hash: vec![none.clone()], ..Lists::default() }] {
            prop_assert_eq!(Shaping::new(&lists, None).apply(body.as_bytes()).expect("shaped"), body.clone().into_bytes());
        }
    }

    #[test]
    fn what_is_blanked_is_as_long_and_json_and_nothing_of_the_values_is_left(body in body(), paths in prop::collection::vec(path(), 1..4)) {
        let shaping = Shaping::blanking(&paths);
        let blanked = shaping.apply(body.as_bytes()).expect("shaped");
        prop_assert_eq!(blanked.len(), body.len());
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&blanked).is_ok());
        prop_assert_eq!(&shaping.apply(&blanked).expect("shaped"), &blanked, "again it changes nothing");
        for path in &paths {
            for value in found(&blanked, path) {
                prop_assert!(!value.contains("a@b") && !value.contains("9007"), "{}", value);
            }
        }
        // Each byte is the one that was there, or one that says nothing.
        for (was, is) in body.bytes().zip(blanked) {
            prop_assert!(was == is || b"*0 {}[]nul\"".contains(&is), "{} {}", was, is);
        }
        let none = FieldPath::parse("not.there").expect("a path");
        prop_assert_eq!(Shaping::blanking(&[none]).apply(body.as_bytes()).expect("shaped"), body.into_bytes());
    }

    #[test]
    fn what_is_picked_is_what_rules_find_there(body in body(), picked in path(), other in path()) {
        let shaped = Shaping::new(&Lists { pick: Some(vec![picked.clone(), FieldPath::parse("type").expect("a path")]), ..Lists::default() }, None);
        let shaped = shaped.apply(body.as_bytes()).expect("shaped");
        if !picked.to_string().starts_with('/') {
            prop_assert_eq!(found(&shaped, &picked), found(body.as_bytes(), &picked));
        }
        let is_beside = !lies_in(&other, &picked) && !lies_in(&picked, &other);
        let shares_a_place = other.to_string().starts_with('/') || picked.to_string().starts_with('/')
            || [&picked, &other].iter().any(|path| path.to_string() == "email");
        if is_beside && !shares_a_place {
            prop_assert_eq!(found(&shaped, &other), Vec::<String>::new());
        }
    }
}

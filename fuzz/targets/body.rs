//! The body parser and field extraction: paths in the first line, a body behind it. Held against a slow, obvious walk over
//! serde_json's tree wherever that tree can hold the body.

use std::borrow::Cow;

use serde_json::Value as Tree;
use vero_relay::event::shaping::{Lists, Shaping};
use vero_relay::event::vero::alias;
use vero_relay::event::{FieldPath, FieldSetBuilder, Json, RelayFields, Segment, Value, minify};

const RELAY: RelayFields<'_> = RelayFields { source: "vero", received_ms: 1_700_000_000_000 };
/// Always among the paths, since Vero's odd keys hang on them.
const USUAL: [&str; 6] = ["type", "campaign.name", "user.id", "user.email", "message_id", "/a/0"];

/// Returns whether the body was an event.
pub fn body(data: &[u8]) -> bool {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (paths, body) = data.split_at(at);
    let paths = String::from_utf8_lossy(paths);
    let paths = paths.split(' ').take(16).chain(USUAL).filter_map(|path| FieldPath::parse(path).ok());
    let paths: Vec<FieldPath> = paths.filter(|path| matches!(path, FieldPath::Body(_))).collect();
    let mut builder = FieldSetBuilder::default();
    let ids: Vec<_> = paths.iter().map(|path| builder.add(path)).collect();
    let set = builder.build();

    let read = set.read(body, RELAY);
    let is_json =
        std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    let tree = serde_json::from_slice::<Tree>(body).ok();
    let event = match read {
        Ok(event) => event,
        Err(refused) => {
            let is_event = tree.as_ref().is_some_and(|tree| event_type(tree).is_some());
            assert!(!is_event, "{refused}, and the body is an event");
            return false;
        }
    };
    assert!(is_json, "no more is taken than JSON");
    for (path, id) in paths.iter().zip(ids) {
        let found = event.fields.get(&set, id);
        if path.to_string() != "type" {
            found.iter().for_each(|(_, value)| lies_within(value, body));
        }
        if let Some(tree) = &tree {
            let expected = expected(tree, path);
            let is_same = found.len() == expected.len() && found.iter().zip(&expected).all(|((_, a), b)| same(a, b));
            assert!(is_same, "{path}: {found:?}, and it should be {expected:?}");
        }
    }
    if let Some(tree) = &tree {
        assert_eq!(Some(event.event_type.as_ref()), event_type(tree));
        check_whole(body, tree);
    }
    check_shaped(body, &paths);
    true
}

/// Of what is dropped rules find nothing, and what is masked or hashed is JSON.
fn check_shaped(body: &[u8], paths: &[FieldPath]) {
    let is_type =
        |path: &FieldPath| matches!(path, FieldPath::Body(steps) if matches!(steps[0].text(), "type" | "action"));
    let paths: Vec<_> = paths.iter().filter(|path| !is_type(path)).cloned().collect();
    let shaped = |lists: &Lists| Shaping::new(lists, None).apply(body);
    let is_json = |body: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    if let Ok(dropped) = shaped(&Lists { drop: paths.clone(), ..Lists::default() }) {
        let mut builder = FieldSetBuilder::default();
        let ids: Vec<_> = paths.iter().map(|path| builder.add(path)).collect();
        let set = builder.build();
        let event = set.read(&dropped, RELAY).expect("it is an event still");
        for (path, id) in paths.iter().zip(ids) {
            let found = event.fields.get(&set, id);
            assert!(found.iter().all(|(_, value)| *value == Value::Null), "{path}: {found:?} is left");
        }
    }
    let (some, others) = paths.split_at(paths.len() / 2);
    let lists = Lists { mask: some.to_vec(), hash: others.to_vec(), ..Lists::default() };
    shaped(&lists).iter().for_each(|masked| assert!(is_json(masked), "what is masked"));
    shaped(&Lists { pick: Some(paths), ..Lists::default() })
        .iter()
        .for_each(|picked| assert!(is_json(picked), "what is picked"));
}

/// The tree for templates, and the line for files, say the same as the body.
fn check_whole(body: &[u8], tree: &Tree) {
    let text = std::str::from_utf8(body).expect("it was read");
    let written = serde_json::to_string(&Json::read(text)).expect("a tree is written");
    assert_eq!(serde_json::from_str::<Tree>(&written).ok().as_ref(), Some(tree), "the tree for templates");
    let line = minify(body);
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "one event, one line");
    assert_eq!(serde_json::from_slice::<Tree>(&line).ok().as_ref(), Some(tree), "the line");
}

/// A number, and a string without escapes, is the body's own text.
fn lies_within(value: &Value<'_>, body: &[u8]) {
    let within =
        |text: &str| text.is_empty() || body.as_ptr_range().contains(&text.as_ptr()) && text.len() <= body.len();
    match value {
        Value::Number(text) | Value::String(Cow::Borrowed(text)) => assert!(within(text), "{text:?} was copied"),
        Value::Array(items) => items.iter().for_each(|item| lies_within(item, body)),
        _ => {}
    }
}

fn same(found: &Value<'_>, expected: &Tree) -> bool {
    match (found, expected) {
        (Value::Null, Tree::Null) | (Value::Object, Tree::Object(_)) => true,
        (Value::Bool(found), Tree::Bool(expected)) => found == expected,
        (Value::Number(text), expected @ Tree::Number(_)) => {
            serde_json::from_str::<Tree>(text).ok().as_ref() == Some(expected)
        }
        (Value::String(found), Tree::String(expected)) => found == expected,
        (Value::Array(found), Tree::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| same(found, expected))
        }
        _ => false,
    }
}

fn event_type(tree: &Tree) -> Option<&str> {
    let text = |key| tree.as_object()?.get(key)?.as_str().filter(|text| !text.is_empty());
    text("type").or_else(|| text("action"))
}

/// What a path finds, with Vero's odd keys.
fn expected(tree: &Tree, path: &FieldPath) -> Vec<Tree> {
    if path.to_string() == "type" {
        return event_type(tree).map(Tree::from).into_iter().collect();
    }
    let found = plain(tree, path);
    let is_missing = |values: &[Tree]| values.iter().all(Tree::is_null);
    let Some(alias) = alias(&path.to_string()).filter(|_| is_missing(&found)) else { return found };
    let at = |text: &str| plain(tree, &FieldPath::parse(text).expect("an alias is a path"));
    let is_blocked = alias.unless.is_some_and(|unless| !is_missing(&at(unless)));
    let elsewhere = at(alias.other);
    if is_blocked || elsewhere.is_empty() { found } else { elsewhere }
}

fn plain(tree: &Tree, path: &FieldPath) -> Vec<Tree> {
    let FieldPath::Body(segments) = path else { return Vec::new() };
    let mut found = Vec::new();
    walk(tree, segments, &mut found);
    found
}

fn walk(tree: &Tree, path: &[Segment], found: &mut Vec<Tree>) {
    let Some((step, rest)) = path.split_first() else {
        found.push(tree.clone());
        return;
    };
    match (tree, step) {
        (Tree::Object(members), step) => members.get(step.text()).into_iter().for_each(|tree| walk(tree, rest, found)),
        (Tree::Array(items), Segment::Key(key)) => {
            items.iter().filter_map(|item| item.as_object()?.get(key)).for_each(|tree| walk(tree, rest, found));
        }
        (Tree::Array(items), Segment::Token(token)) => {
            let at = (0..items.len()).find(|at| at.to_string() == *token);
            at.into_iter().for_each(|at| walk(&items[at], rest, found));
        }
        _ => {}
    }
}

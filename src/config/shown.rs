//! What a config says, as anybody may see it who may look into the relay: line by line as it is, without comments, and without what is or
//! may be a secret.
//!
//! A value is shown where it is known that it cannot be one: each key says how much of it may be seen, and of one that says nothing only the
//! names of variables are. What an alias repeats is shown as the most careful of its places says.

use std::collections::BTreeMap;

use super::root;
use crate::yaml::keys::{Of, Section};
use crate::yaml::load;
use crate::yaml::places::Places;
use crate::yaml::raw::{Node, NodeId, Style, Value};
use crate::yaml::redraw::{Part, redraw};
use crate::yaml::sight::Sight;

/// A config to be looked at.
#[derive(Debug, Default)]
pub struct Shown {
    pub text: String,
    /// The line of each rule, in their order, from 1 on.
    pub rule_lines: Vec<usize>,
}

/// A key or a value, and how much of it may be seen; `None` where its place does not say.
struct Seen<'n> {
    id: NodeId,
    text: &'n str,
    style: Style,
    sight: Option<Sight>,
}

impl Shown {
    /// Of a text that was proved.
    pub(super) fn of(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // It was read before.
        let Ok(root) = load::parse(text) else { return Self::default() };
        let mut seen = Vec::new();
        collect(&root, &mut Vec::new(), &mut seen);
        let places = Places::find(text, &root, seen.iter().map(|one| one.id));
        let line = |id: NodeId| places.get(id).map(|place| text[..place.offset].matches('\n').count() + 1);
        let rules = root.get("rules").map(|rules| &rules.value);
        let rules = if let Some(Value::List(rules)) = rules { rules.as_slice() } else { &[] };
        let first = |rule: &Node| rule.entries().first().and_then(|(key, _)| line(key.id)).unwrap_or(0);
        let rule_lines = rules.iter().map(first).collect();
        let mut at: BTreeMap<usize, Seen<'_>> = BTreeMap::new();
        for one in seen {
            let Some(place) = places.get(one.id) else { continue };
            match at.get_mut(&place.offset) {
                Some(known) => known.sight = known.sight.into_iter().chain(one.sight).min(),
                None => drop(at.insert(place.offset, one)),
            }
        }
        let parts: Vec<_> =
            at.iter().map(|(offset, one)| Part { offset: *offset, text: one.text, style: one.style }).collect();
        let sights: Vec<_> = at.values().map(|one| one.sight.unwrap_or(Sight::Names)).collect();
        Self { text: redraw(text, &parts, |number, text| sights[number].of(text)), rule_lines }
    }
}

/// Every key and every value below a node; what is empty stands nowhere.
fn collect<'n>(node: &'n Node, path: &mut Vec<&'n str>, seen: &mut Vec<Seen<'n>>) {
    match &node.value {
        Value::Scalar(scalar) if scalar.style == Style::Null => {}
        Value::Scalar(scalar) => {
            seen.push(Seen { id: node.id, text: &scalar.text, style: scalar.style, sight: sight(path) });
        }
        Value::List(items) => items.iter().for_each(|item| collect(item, path, seen)),
        Value::Map(entries) => {
            for (key, below) in entries {
                let sight = (!is_free(path)).then(|| sight_of_keys(&root::keys(), path));
                seen.push(Seen { id: key.id, text: &key.text, style: Style::String, sight });
                path.push(&key.text);
                collect(below, path, seen);
                path.pop();
            }
        }
    }
}

/// Whether it is nobody's business what stands there: anchors live there, and it is their aliases that say what it is.
fn is_free(path: &[&str]) -> bool {
    path.first().is_some_and(|key| key.starts_with("x-"))
}

/// How much may be seen of a value that these keys lead to; `None` where it is nobody's business.
fn sight(path: &[&str]) -> Option<Sight> {
    (!is_free(path)).then(|| root::keys().sight(path))
}

/// How much may be seen of the keys below some keys: they are the config's own, or names; but of those of a body, a header or an event
/// anything may be expected.
fn sight_of_keys(section: &Section, path: &[&str]) -> Sight {
    let Some((key, below)) = path.split_first() else { return Sight::All };
    let Some(info) = section.keys.iter().find(|known| known.name == *key) else { return Sight::Prose };
    match (info.of, below) {
        (Of::Named(_), []) => Sight::All,
        (Of::Named(keys), [_, below @ ..]) => sight_of_keys(&keys(), below),
        (of, below) => {
            of.section().map_or_else(|| info.sight().max(Sight::Prose), |section| sight_of_keys(&section, below))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let shown = Shown::of(text).text;
        assert_eq!(shown, expected, "{text}");
        assert_eq!(shown.lines().count(), text.lines().count(), "{text}");
    }

    #[test]
    fn what_is_no_secret_is_shown_as_it_is_written_and_comments_are_left_out() {
        check(
            "# a note\nlisten: 127.0.0.1:8080   # hunter2\n\nsources: { vero: { token: \"${T:-hunter2}\" } } #\n",
            "\nlisten: 127.0.0.1:8080\n\nsources: { vero: { token: \"${T:-…}\" } }\n",
        );
        check(
            "rules:\n- name: 'it''s'\n  match: {type: [sent, \"a \\\"b\\\"\"]}\n  to:\n  - crm\n- {to: [], stop: True}\n",
            "rules:\n- name: \"it's\"\n  match: {type: [sent, \"a \\\"b\\\"\"]}\n  to:\n  - crm\n- {to: [], stop: True}\n",
        );
        check("limits:\n  body_max: 2MiB\n  x: hunter2\n", "limits:\n  body_max: 2MiB\n  x: …\n");
    }

    #[test]
    fn texts_of_several_lines_keep_their_lines() {
        let slack = |text: &str| format!("destinations:\n  a:\n    slack:\n      text: {text}\n    rate: 1/s\n");
        for text in
            ["|\n        one\n        two", ">-\n        one\n\n        two", "one\n        two\n        # no\n"]
        {
            let expected = slack(text).replace("# no", "").replace("        \n", "\n");
            check(&slack(text), &expected);
        }
        let token = |text: &str| format!("sources:\n  a:\n    token: {text}\n  b: {{}}\n");
        check(&token("|\n      hunter2\n      hunter2"), &token("|\n…\n…"));
        check(&token("hunter2\n      hunter2"), &token("…\n…"));
        check(&token("\"hunter2\n      hunter2\""), &token("\"…\n…\""));
        check(&token("\"hunter2\\\n      hunter2\""), &token("\"…\"\n"));
        check(&token("|2\n      hunter2"), &token("…\n"));
    }

    #[test]
    fn a_text_in_an_expression_is_hidden_however_yaml_escapes_it() {
        let of_text = |text: &str| format!("destinations:\n  a:\n    http:\n      text: {text}\n");
        for text in [
            r#""{{ x | hmac_sha256(\"hunter2\") }}""#,
            r#""{{ x | hmac_sha256(\"ab\\\"hunter2\") }}""#,
            r#""{{ x | hmac_sha256(\x22ab\\\x22hunter2\x22) }}""#,
        ] {
            check(&of_text(text), &of_text(r#""{{ x | hmac_sha256(\"…\") }}""#));
        }
        let single = r"'{{ x | hmac_sha256(''ab\''hunter2'') }}'";
        check(&of_text(single), &of_text(r#""{{ x | hmac_sha256('…') }}""#));
        let block = "|\n        {{ x | hmac_sha256(\"ab\\\"hunter2\") }}";
        check(&of_text(block), &of_text("|\n{{ x | hmac_sha256(\"…\") }}"));
    }

    #[test]
    fn an_alias_is_shown_as_the_most_careful_of_its_places() {
        check(
            "data_dir: &a hunter2\nsources: { a: { token: *a } }\n",
            "data_dir: &a …\nsources: { a: { token: *a } }\n",
        );
        check("x-a: &a { k: hunter2 }\n", "x-a: &a { …: … }\n");
        check(
            "x-a: &a { initial: 1s }\ndestinations: { a: { retry: *a } }\n",
            "x-a: &a { initial: 1s }\ndestinations: { a: { retry: *a } }\n",
        );
        check("x-a: &a\n  hunter2\nlisten: ~\n", "x-a: &a\n  …\nlisten: ~\n");
    }

    #[test]
    fn each_rule_has_its_line() {
        let shown = Shown::of("# one\nrules:\n  - name: a\n    to: x\n\n  -\n    to: x\n  - { to: x }\n");
        assert_eq!(shown.rule_lines, [3, 7, 8]);
    }

    #[test]
    fn a_key_that_nobody_has_thought_of_shows_names_of_variables_alone() {
        check(
            "admin: { listen: \"127.0.0.1:1\", new: hunter2, newer: \"${X}\" }\n",
            "admin: { listen: \"127.0.0.1:1\", new: …, newer: \"${X}\" }\n",
        );
        check("unknown: [hunter2, 7]\n", "unknown: […, …]\n");
    }
}

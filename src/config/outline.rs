//! What a config says, leaf by leaf and unreadable, so that two can be compared and the difference told in sentences.
//!
//! No value is kept, only a digest of each: a URL may be a password, and a difference is told without either.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};

use crate::yaml::raw::{Node, Value};

/// The leaves of a config, each under the path of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    settings: BTreeMap<String, Digest>,
    sources: Section,
    destinations: Section,
    rules: Section,
    /// The rules' names, in their order.
    order: Vec<String>,
}

type Digest = [u8; 8];
type Leaves = BTreeMap<String, Digest>;
type Section = BTreeMap<String, Leaves>;

impl Outline {
    /// The outline of a file, without the top-level keys that decide nothing.
    pub(super) fn of(root: &Node, idle: &[&str]) -> Self {
        let mut outline = Self::default();
        for (key, node) in root.entries() {
            match key.text.as_str() {
                "sources" => outline.sources = named(node),
                "destinations" => outline.destinations = named(node),
                "rules" => (outline.rules, outline.order) = rules(node),
                // They decide nothing while it runs; anchors live in the others.
                "tests" => {}
                key if key.starts_with("x-") || idle.contains(&key) => {}
                _ => leaves(node, &key.text, &mut outline.settings),
            }
        }
        outline
    }

    /// Whether a rule says the same as one of another config; each by its place.
    pub fn has_rule(&self, at: usize, other: &Outline, other_at: usize) -> bool {
        let rule = |of: &Self, at: usize| of.order.get(at).and_then(|name| of.rules.get(name)).cloned();
        let own = rule(self, at);
        own.is_some() && own == rule(other, other_at)
    }

    /// What is different in a newer config, as sentences.
    pub fn changes_to(&self, newer: &Outline) -> Vec<String> {
        let mut told = Vec::new();
        for key in differing(&self.settings, &newer.settings) {
            told.push(format!("`{key}` {}", how(&self.settings, &newer.settings, key)));
        }
        section("source", &self.sources, &newer.sources, &mut told);
        section("destination", &self.destinations, &newer.destinations, &mut told);
        section("rule", &self.rules, &newer.rules, &mut told);
        let both = |order: &[String], other: &Section| -> Vec<String> {
            order.iter().filter(|name| other.contains_key(*name)).cloned().collect()
        };
        if both(&self.order, &newer.rules) != both(&newer.order, &self.rules) {
            told.push("the rules stand in another order".to_owned());
        }
        told
    }
}

fn section(what: &str, old: &Section, new: &Section, told: &mut Vec<String>) {
    told.extend(new.keys().filter(|name| !old.contains_key(*name)).map(|name| format!("{what} `{name}` is new")));
    told.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{what} `{name}` is gone")));
    for (name, leaves) in old {
        let Some(newer) = new.get(name) else { continue };
        let changed: Vec<_> = differing(leaves, newer);
        told.extend(changed.iter().map(|key| format!("{what} `{name}`: `{key}` {}", how(leaves, newer, key))));
    }
}

fn how(old: &Leaves, new: &Leaves, key: &str) -> &'static str {
    match (old.contains_key(key), new.contains_key(key)) {
        (true, false) => "is not set any more",
        (false, true) => "is set",
        _ => "has changed",
    }
}

fn differing<'l>(old: &'l Leaves, new: &'l Leaves) -> Vec<&'l str> {
    let mut keys: Vec<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| old.get(*key) != new.get(*key));
    keys
}

fn named(node: &Node) -> Section {
    let entry = |(key, node): &(crate::yaml::raw::Key, Node)| {
        let mut found = Leaves::new();
        leaves(node, "", &mut found);
        (key.text.clone(), found)
    };
    node.entries().iter().map(entry).collect()
}

fn rules(node: &Node) -> (Section, Vec<String>) {
    let Value::List(rules) = &node.value else { return Default::default() };
    let mut found = Section::new();
    let mut order = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let name = rule.get("name").and_then(Node::scalar).map(|scalar| scalar.text.clone());
        let name = name.unwrap_or_else(|| format!("#{}", at + 1));
        let mut parts = Leaves::new();
        for (key, node) in rule.entries().iter().filter(|(key, _)| key.text != "name") {
            // A condition is told as a whole: its inside has no names.
            parts.insert(key.text.clone(), digest_of(node));
        }
        found.insert(name.clone(), parts);
        order.push(name);
    }
    (found, order)
}

/// A list counts as one leaf: its items have no names.
fn leaves(node: &Node, path: &str, found: &mut Leaves) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for (key, node) in entries {
                let path = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
                leaves(node, &path, found);
            }
        }
        _ => drop(found.insert(path.to_owned(), digest_of(node))),
    }
}

fn digest_of(node: &Node) -> Digest {
    let mut text = String::new();
    write(node, &mut text);
    let mut short = [0; 8];
    short.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..8]);
    short
}

/// A text that is another for every other node.
pub(super) fn write(node: &Node, out: &mut String) {
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                out.push_str(&format!("{:?}:{{", key.text));
                write(value, out);
                out.push('}');
            }
        }
        Value::List(items) => items.iter().for_each(|item| {
            out.push('[');
            write(item, out);
            out.push(']');
        }),
        Value::Scalar(scalar) => out.push_str(&format!("{:?}", scalar.text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::load;

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        let outline =
            |text| Outline::of(&load::parse(text).unwrap_or_else(|error| panic!("{}", error.message)), &["idle"]);
        assert_eq!(outline(old).changes_to(&outline(new)), expected);
    }

    #[test]
    fn what_changed_is_told_in_sentences() {
        check("listen: a", "listen: a", &[]);
        check("listen: a", "listen: b", &["`listen` has changed"]);
        check(
            "limits: { body_max: 1 }",
            "limits: { body_timeout: 2s }",
            &["`limits.body_max` is not set any more", "`limits.body_timeout` is set"],
        );
        check("x-a: 1\ntests: []\nidle: a", "x-a: 2\ntests: [1]\nidle: b", &[]);
    }

    #[test]
    fn destinations_are_told_by_name_and_key_and_never_by_value() {
        check(
            "destinations: { crm: { http: { url: 'https://one/secret' } }, old: { file: { path: x } } }",
            "destinations: { crm: { http: { url: 'https://two/secret' }, rate: 1/s }, new: { file: { path: x } } }",
            &[
                "destination `new` is new",
                "destination `old` is gone",
                "destination `crm`: `http.url` has changed",
                "destination `crm`: `rate` is set",
            ],
        );
    }

    #[test]
    fn rules_are_told_by_part_and_order() {
        check(
            "rules: [ { name: a, to: x }, { name: b, match: { type: sent }, to: x } ]",
            "rules: [ { name: b, match: { type: opened }, to: x }, { name: a, to: x }, { name: c, to: x } ]",
            &["rule `c` is new", "rule `b`: `match` has changed", "the rules stand in another order"],
        );
    }
}

//! The names of destinations, which others use.

use std::collections::HashMap;

use crate::yaml::raw::{Node, Value};

/// The names of all destinations, and which of them some rule sends to.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<(String, bool)>,
    places: HashMap<String, usize>,
}

impl Names {
    pub fn of(node: Option<&Node>) -> Self {
        let mut all = Self::default();
        let names: Vec<String> = match node.map(|node| &node.value) {
            // It is told of as no map; that its names are not known need not be told as well.
            Some(Value::List(items)) => {
                let name = |item: &Node| {
                    let named = item.get("name").and_then(Node::scalar).map(|scalar| scalar.text.clone());
                    named.or_else(|| item.entries().first().map(|(key, _)| key.text.clone()))
                };
                items.iter().filter_map(name).collect()
            }
            _ => node.map(Node::entries).unwrap_or_default().iter().map(|(key, _)| key.text.clone()).collect(),
        };
        for name in names {
            all.places.entry(name.clone()).or_insert(all.names.len());
            all.names.push((name, false));
        }
        all
    }

    /// The place of a name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    pub fn name(&self, at: usize) -> &str {
        &self.names[at].0
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// The first of them in a sentence; `None`: there are none.
    pub fn listed(&self, most: usize) -> Option<String> {
        let first: Vec<_> = self.iter().take(most).collect();
        let more = if self.names.len() > most { ", …" } else { "" };
        (!first.is_empty()).then(|| format!("{}{more}", first.join(", ")))
    }

    /// Some rule sends there.
    pub fn mark(&mut self, at: usize) {
        self.names[at].1 = true;
    }

    /// It cannot be said which are used.
    pub fn use_all(&mut self) {
        self.names.iter_mut().for_each(|(_, is_used)| *is_used = true);
    }

    pub fn is_used(&self, name: &str) -> bool {
        self.find(name).is_some_and(|at| self.names[at].1)
    }
}

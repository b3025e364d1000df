//! Finding the rules that may match, without asking each.
//!
//! Of each rule, the most selective necessary condition is looked up: an equality, a beginning or an end in a hash map, any other
//! pattern in a regular expression set of its field. A rule without such a condition is a candidate for every event. Candidates are then evaluated whole and
//! in order, so the index can only cost time, never change a verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use regex::{RegexSet, RegexSetBuilder};

use super::Rule;
use super::condition::Condition;
use super::operators::{Key, any_element};
use crate::event::{FieldId, FieldSet, Fields};

/// How many rules may share a value before a pattern is the better thing to look up.
const PATTERN_COST: usize = 8;
/// Patterns in one set: sets of more make the automaton's cache thrash.
const PATTERNS_IN_SET: usize = 256;
/// Bytes for a set's automaton and for its cache.
const SET_BYTES_MAX: usize = 64 << 20;

/// Rules by a text, and the lengths in bytes that the texts have: a text's beginnings are looked up length by length.
#[derive(Debug, Default)]
struct Buckets {
    rules: HashMap<String, Vec<u32>>,
    lengths: BTreeSet<usize>,
}

impl Buckets {
    fn add(&mut self, text: &str, rule: u32) {
        self.lengths.insert(text.len());
        self.rules.entry(text.to_owned()).or_default().push(rule);
    }

    fn get(&self, text: &str) -> impl Iterator<Item = &u32> {
        self.rules.get(text).into_iter().flatten()
    }

    /// Those whose text is the result of cutting `text` at one of the lengths.
    fn get_parts<'t>(
        &self,
        text: &'t str,
        cut: impl Fn(&'t str, usize) -> Option<&'t str>,
    ) -> impl Iterator<Item = &u32> {
        let lengths = self.lengths.iter().take_while(|length| **length <= text.len());
        lengths.filter_map(move |length| cut(text, *length)).flat_map(|part| self.get(part))
    }
}

/// What a rule is looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Lookup {
    Exact(FieldId, String),
    Folded(FieldId, String),
    Prefix(FieldId, String),
    Suffix(FieldId, String),
    Pattern(FieldId, String),
}

/// What the rules that ask for one field are looked up by.
#[derive(Debug, Default)]
struct OfField {
    exact: Buckets,
    folded: Buckets,
    prefixes: Buckets,
    suffixes: Buckets,
    patterns: Vec<(RegexSet, Vec<Vec<u32>>)>,
}

/// The index over all rules of one config.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the field's place in its set.
    fields: Vec<Option<Box<OfField>>>,
    always: Vec<u32>,
}

/// Patterns of one field in their order, with the rules that ask for each.
#[derive(Default)]
struct Patterns {
    all: Vec<(String, Vec<u32>)>,
    places: HashMap<String, usize>,
}

impl Patterns {
    fn add(&mut self, source: &str, rule: u32) {
        match self.places.get(source) {
            Some(at) => self.all[*at].1.push(rule),
            None => {
                self.places.insert(source.to_owned(), self.all.len());
                self.all.push((source.to_owned(), vec![rule]));
            }
        }
    }
}

impl Index {
    pub(super) fn build(rules: &[Rule]) -> Self {
        let options: Vec<Vec<Vec<Lookup>>> = rules.iter().map(|rule| necessary(&rule.condition)).collect();
        let mut shared: HashMap<&Lookup, usize> = HashMap::new();
        for lookup in options.iter().flatten().flatten() {
            *shared.entry(lookup).or_default() += 1;
        }
        // How many candidates an option brings with it when it hits.
        let cost = |option: &Vec<Lookup>| {
            let of_one = |lookup: &Lookup| match lookup {
                Lookup::Pattern(..) => PATTERN_COST,
                lookup => shared[lookup],
            };
            option.iter().map(of_one).max().unwrap_or(0)
        };
        let mut index = Self::default();
        let mut patterns: BTreeMap<FieldId, Patterns> = BTreeMap::new();
        for (at, options) in options.iter().enumerate() {
            let rule = u32::try_from(at).expect("a config of at most 1 MiB has fewer rules");
            let Some(best) = options.iter().min_by_key(|option| cost(option)) else {
                index.always.push(rule);
                continue;
            };
            for lookup in best {
                match lookup {
                    Lookup::Exact(field, text) => index.of(*field).exact.add(text, rule),
                    Lookup::Folded(field, text) => index.of(*field).folded.add(text, rule),
                    Lookup::Prefix(field, text) => index.of(*field).prefixes.add(text, rule),
                    Lookup::Suffix(field, text) => index.of(*field).suffixes.add(text, rule),
                    Lookup::Pattern(field, source) => patterns.entry(*field).or_default().add(source, rule),
                }
            }
        }
        for (field, of_field) in patterns {
            of_field.all.chunks(PATTERNS_IN_SET).for_each(|chunk| index.add_set(field, chunk));
        }
        index
    }

    fn of(&mut self, field: FieldId) -> &mut OfField {
        if self.fields.len() <= field.at() {
            self.fields.resize_with(field.at() + 1, || None);
        }
        self.fields[field.at()].get_or_insert_default()
    }

    fn add_set(&mut self, field: FieldId, patterns: &[(String, Vec<u32>)]) {
        let sources = patterns.iter().map(|(source, _)| source);
        let built = RegexSetBuilder::new(sources).size_limit(SET_BYTES_MAX).dfa_size_limit(SET_BYTES_MAX).build();
        let rules: Vec<Vec<u32>> = patterns.iter().map(|(_, rules)| rules.clone()).collect();
        match built {
            Ok(set) => self.of(field).patterns.push((set, rules)),
            // Each compiles alone, so together they are too large: then they are asked one by one.
            Err(_) => self.always.extend(rules.into_iter().flatten()),
        }
    }

    /// The rules that may match, in order, each once. Only what is asked of fields that the event has is looked at.
    pub(super) fn candidates(&self, set: &FieldSet, fields: &Fields<'_>, found: &mut Vec<u32>) {
        found.extend(&self.always);
        for field in fields.present(set) {
            let Some(of_field) = self.fields.get(field.at()).and_then(Option::as_ref) else { continue };
            for_each_text(set, fields, field, &mut |text| of_field.look_up(text, found));
        }
        found.sort_unstable();
        found.dedup();
    }
}

impl OfField {
    fn look_up(&self, text: &str, found: &mut Vec<u32>) {
        found.extend(self.exact.get(text));
        if !self.folded.rules.is_empty() {
            found.extend(self.folded.get(&text.to_lowercase()));
        }
        found.extend(self.prefixes.get_parts(text, |text, length| text.get(..length)));
        found.extend(self.suffixes.get_parts(text, |text, length| text.get(text.len() - length..)));
        for (patterns, rules) in &self.patterns {
            patterns.matches(text).into_iter().for_each(|at| found.extend(&rules[at]));
        }
    }
}

fn for_each_text(set: &FieldSet, fields: &Fields<'_>, field: FieldId, look: &mut dyn FnMut(&str)) {
    let look = std::cell::RefCell::new(look);
    for (_, value) in fields.get(set, field) {
        any_element(value, &|element| {
            if let Some(text) = element.text() {
                (look.borrow_mut())(text);
            }
            false
        });
    }
}

/// The ways to look a condition up: for each way, it can hold only if one of its lookups hits. None: it cannot be looked up.
fn necessary(condition: &Condition) -> Vec<Vec<Lookup>> {
    match condition {
        Condition::Test { field, operator, .. } => match operator.key() {
            Key::None => Vec::new(),
            Key::Exact(texts) => vec![texts.iter().map(|text| Lookup::Exact(*field, text.clone())).collect()],
            Key::Folded(texts) => vec![texts.iter().map(|text| Lookup::Folded(*field, text.clone())).collect()],
            Key::Prefix(text) => vec![vec![Lookup::Prefix(*field, text.to_owned())]],
            Key::Suffix(text) => vec![vec![Lookup::Suffix(*field, text.to_owned())]],
            Key::Pattern(source) => vec![vec![Lookup::Pattern(*field, source.to_owned())]],
        },
        Condition::All(children) => children.iter().flat_map(necessary).collect(),
        Condition::Any(children) => {
            // Every child must be looked up, by its shortest way.
            let mut all = Vec::new();
            for child in children {
                match necessary(child).into_iter().min_by_key(Vec::len) {
                    Some(lookups) => all.extend(lookups),
                    None => return Vec::new(),
                }
            }
            vec![all]
        }
        Condition::None(_) | Condition::Not(_) => Vec::new(),
    }
}

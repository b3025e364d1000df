//! Which rules an event nearly matched, and by what they missed it: for whoever asks why it went nowhere.

use std::collections::BTreeSet;

use super::{Got, RuleTrace, TraceNode};
use crate::event::Json;
use crate::yaml::problem::nearest as near_word;

/// So many rules are told.
const TOLD_MAX: usize = 3;
/// A rule of which more conditions fail is not near.
const FAILED_MAX: usize = 2;
/// A text with more bytes is compared with none: the work grows with both lengths.
const COMPARED_BYTES_MAX: usize = 200;
/// Fields of an event that are compared with one that it has not.
const FIELDS_MAX: usize = 1000;

/// A rule that an event nearly matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearMiss {
    /// Its place in the config.
    pub rule: usize,
    /// How many of its conditions hold.
    pub holding: usize,
    /// How many it has.
    pub of: usize,
    /// Those that fail.
    pub failed: Vec<Missed>,
}

/// A condition that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The field, or the group: `any`, `none`, `not`.
    pub field: String,
    /// What it asks for, as it is written; of a group each of its tests.
    pub expected: String,
    /// The values of the field; none when it is missing, and of a group.
    pub got: Vec<Got>,
    /// What was probably meant.
    pub meant: Option<Meant>,
}

/// What somebody who wrote a condition probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// This value, which the event has, where the condition has nearly the same.
    Value(String),
    /// This field, which the event has, where the condition's is missing.
    Field(String),
}

/// The rules that an event came nearest to, of those that it did not match; nearest first. Only the conditions of a rule itself count:
/// at most two of them fail, in each case no more than in any other rule, and the type is the event's, but for a slip of the pen.
pub fn nearest(traces: &[RuleTrace], body: &[u8]) -> Vec<NearMiss> {
    let mut fields = None;
    let mut misses: Vec<(usize, NearMiss)> = traces.iter().filter_map(|trace| miss(trace, body, &mut fields)).collect();
    let fewest = misses.iter().map(|(_, miss)| miss.failed.len()).min().unwrap_or(0);
    misses.retain(|(_, miss)| miss.failed.len() == fewest);
    // The order of the config decides among equals: the sort is stable.
    misses.sort_by_key(|(distance, miss)| (std::cmp::Reverse(miss.holding), *distance));
    misses.into_iter().map(|(_, miss)| miss).take(TOLD_MAX).collect()
}

/// How a rule was missed, and by how many letters; `None` where it is not near.
fn miss(trace: &RuleTrace, body: &[u8], fields: &mut Option<BTreeSet<String>>) -> Option<(usize, NearMiss)> {
    if trace.verdict != Some(false) {
        return None;
    }
    let conditions: Vec<usize> = (0..trace.steps.len()).filter(|at| trace.steps[*at].depth == 0).collect();
    let failing: Vec<usize> = conditions.iter().copied().filter(|at| !trace.steps[*at].verdict).collect();
    if failing.is_empty() || failing.len() > FAILED_MAX {
        return None;
    }
    let mut distance = 0;
    let mut failed = Vec::new();
    for at in failing {
        let (missed, letters) = missed(trace, at, body, fields);
        if missed.field == "type" && missed.meant.is_none() {
            // It asks for something else altogether.
            return None;
        }
        distance += letters;
        failed.push(missed);
    }
    let holding = conditions.len() - failed.len();
    // A rule of one condition that fails is near only by what was meant.
    let is_near = holding > 0 || failed.iter().all(|missed| missed.meant.is_some());
    is_near.then_some((distance, NearMiss { rule: trace.rule, holding, of: conditions.len(), failed }))
}

fn missed(trace: &RuleTrace, at: usize, body: &[u8], fields: &mut Option<BTreeSet<String>>) -> (Missed, usize) {
    match &trace.steps[at].node {
        TraceNode::Group(group) => {
            let below = trace.steps[at + 1..].iter().take_while(|step| step.depth > 0);
            let tests = below.filter_map(|step| match &step.node {
                TraceNode::Test { label, .. } => Some(label.to_string()),
                TraceNode::Group(_) => None,
            });
            let expected = tests.collect::<Vec<_>>().join(", ");
            (Missed { field: (*group).to_owned(), expected, got: Vec::new(), meant: None }, usize::MAX / 2)
        }
        TraceNode::Test { label, got } => {
            let literals = literals(&label.expected);
            let values: Vec<String> = got.iter().filter_map(|got| serde_json::from_str(&got.value).ok()).collect();
            let letters = letters_between(&literals, &values).unwrap_or(usize::MAX / 4);
            let meant = if got.is_empty() {
                let fields = fields.get_or_insert_with(|| fields_of(body));
                near_field(&label.field, fields).map(|field| Meant::Field(field.to_owned()))
            } else {
                let near = |value: &&String| near_word(value, literals.iter().map(String::as_str)).is_some();
                values.iter().find(near).map(|value| Meant::Value(value.clone()))
            };
            let field = label.field.clone();
            (Missed { field, expected: label.expected.clone(), got: got.clone(), meant }, letters)
        }
    }
}

/// The field whose path is meant by another one: they differ in one step, by a slip. What two paths have in common makes them no nearer.
fn near_field<'f>(path: &str, fields: &'f BTreeSet<String>) -> Option<&'f str> {
    let of_one_step = fields.iter().find(|field| {
        let (own, other) = (path.split('.'), field.split('.'));
        own.clone().count() == other.clone().count() && {
            let mut apart = own.zip(other).filter(|(own, other)| own != other);
            let slip = apart.next().filter(|_| apart.next().is_none());
            slip.is_some_and(|(own, other)| near_word(own, [other]).is_some())
        }
    });
    let steps = path.split('.').count();
    let others = fields.iter().map(String::as_str).filter(|field| field.split('.').count() != steps);
    of_one_step.map(String::as_str).or_else(|| near_word(path, others))
}

/// How many letters are to be changed, at least, to make one of the texts of one of the values.
fn letters_between(literals: &[String], values: &[String]) -> Option<usize> {
    let is_short = |text: &&String| text.len() <= COMPARED_BYTES_MAX;
    let pairs = literals
        .iter()
        .filter(is_short)
        .flat_map(|literal| values.iter().filter(is_short).map(move |value| strsim::osa_distance(literal, value)));
    pairs.min()
}

/// The texts in what a condition asks for.
fn literals(expected: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expected;
    while let Some(start) = rest.find('"') {
        let mut texts = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<String>();
        let Some(Ok(text)) = texts.next() else { break };
        rest = &rest[start + texts.byte_offset()..];
        found.push(text);
    }
    found
}

/// The paths of an event's fields, some of them.
fn fields_of(body: &[u8]) -> BTreeSet<String> {
    fn add(value: &Json, path: &str, found: &mut BTreeSet<String>) {
        let Json::Object(members) = value else { return };
        for (key, value) in members {
            if found.len() >= FIELDS_MAX {
                return;
            }
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            add(value, &path, found);
            found.insert(path);
        }
    }
    let mut found = BTreeSet::new();
    add(&Json::read(&String::from_utf8_lossy(body)), "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{RELAY, rules};
    use super::*;

    /// What is told of the nearest rules: their places, how many conditions hold of how many, and what was missed.
    #[track_caller]
    fn check(all: &[&str], body: &str, expected: &[(usize, &str, &str)]) {
        let yaml: String = all.iter().map(|condition| format!("  - {{ match: {condition}, to: a }}\n")).collect();
        let (_, traces) = rules(&yaml).explain(body.as_bytes(), RELAY).expect("an event");
        let told: Vec<_> = nearest(&traces, body.as_bytes())
            .into_iter()
            .map(|miss| {
                let failed = miss.failed.iter().map(|missed| {
                    let got: Vec<_> = missed.got.iter().map(|got| got.value.as_str()).collect();
                    let meant = match &missed.meant {
                        None => String::new(),
                        Some(Meant::Value(value)) => format!(" meant {value}"),
                        Some(Meant::Field(field)) => format!(" meant the field {field}"),
                    };
                    format!("{}: {} got {}{meant}", missed.field, missed.expected, got.join(","))
                });
                (miss.rule, format!("{} of {}", miss.holding, miss.of), failed.collect::<Vec<_>>().join("; "))
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(rule, holding, failed)| (*rule, (*holding).to_owned(), (*failed).to_owned()))
            .collect();
        assert_eq!(told, expected, "{all:?} on {body}");
    }

    #[test]
    fn the_rule_that_misses_by_a_letter_is_nearest() {
        check(
            &[
                "{ type: bounced, campaign.type: transactional }",
                "{ type: clicked, campaign.type: behavioral, campaign.name: { starts_with: We } }",
                "{ type: clicked, campaign.name: { glob: \"Cart*\" } }",
            ],
            r#"{"type":"clicked","campaign":{"type":"behavioural","name":"We miss you"}}"#,
            &[
                (1, "2 of 3", "campaign.type: \"behavioral\" got \"behavioural\" meant behavioural"),
                (2, "1 of 2", "campaign.name: { glob: \"Cart*\" } got \"We miss you\""),
            ],
        );
    }

    #[test]
    fn a_field_that_is_missing_is_named_as_the_event_has_it() {
        check(
            &["{ type: sent, user.plan_name: gold }"],
            r#"{"type":"sent","user":{"planname":"gold"}}"#,
            &[(0, "1 of 2", "user.plan_name: \"gold\" got  meant the field user.planname")],
        );
        check(
            &["{ type: sent, campaign.type: transactional }"],
            r#"{"type":"sent","campaign":{"id":7,"name":"Cart"}}"#,
            &[(0, "1 of 2", "campaign.type: \"transactional\" got ")],
        );
        check(&["{ type: sent, user.plan: gold }"], r#"{"type":"sent"}"#, &[(0, "1 of 2", "user.plan: \"gold\" got ")]);
    }

    #[test]
    fn no_rule_is_near_an_event_of_a_type_that_none_asks_for() {
        let body = r#"{"type":"user_updated","campaign":{"type":"transactional"}}"#;
        check(&["{ type: sent, campaign.type: transactional }", "{ type: [opened, clicked] }"], body, &[]);
        check(
            &["{ type: user_update }"],
            body,
            &[(0, "0 of 1", "type: \"user_update\" got \"user_updated\" meant user_updated")],
        );
        check(&["{ campaign.name: Cart }"], r#"{"type":"sent","campaign":{"name":"Receipt"}}"#, &[]);
    }

    #[test]
    fn where_no_rule_fails_by_one_those_that_fail_by_two_are_told_and_no_more() {
        let body = r#"{"type":"sent","a":1,"b":2,"c":3}"#;
        check(&["{ type: sent, a: 2, b: 3 }"], body, &[(0, "1 of 3", "a: 2 got 1; b: 3 got 2")]);
        check(&["{ type: sent, a: 2, b: 3, c: 4 }"], body, &[]);
        check(&["{ type: sent, a: 2, b: 3 }", "{ type: sent, c: 4 }"], body, &[(1, "1 of 2", "c: 4 got 3")]);
    }

    #[test]
    fn a_group_is_one_condition_and_rules_that_match_or_were_not_tried_are_none() {
        let body = r#"{"type":"sent","a":1}"#;
        check(&["{ type: sent, any: [ { a: 2 }, { a: 3 } ] }"], body, &[(0, "1 of 2", "any: a: 2, a: 3 got ")]);
        check(&["{ type: sent }", "{ type: sent, a: 2 }"], body, &[(1, "1 of 2", "a: 2 got 1")]);
        let many = ["{ type: sent, a: 2 }"; 9];
        let expected = [0, 1, 2].map(|at| (at, "1 of 2", "a: 2 got 1"));
        check(&many, body, &expected);
    }

    #[test]
    fn texts_are_found_in_what_a_condition_asks_for_however_they_are_written() {
        for (expected, texts) in [
            ("[\"a\", \"b \\\" c\"]", &["a", "b \" c"][..]),
            ("{ glob: \"Cart*\", ignore_case: true }", &["Cart*"]),
            ("7", &[]),
            ("\"never ends", &[]),
        ] {
            assert_eq!(literals(expected), texts, "{expected}");
        }
    }
}

//! What a rule asks of an event, as a tree, and the one function that evaluates it.

use super::operators::Operator;
use crate::event::{FieldId, FieldSet, Fields, Value};

#[derive(Debug)]
pub enum Condition {
    /// All of these hold. Empty: always.
    All(Vec<Condition>),
    /// At least one of these holds. Empty: never.
    Any(Vec<Condition>),
    /// None of these holds.
    None(Vec<Condition>),
    /// The exact opposite of what it wraps.
    Not(Box<Condition>),
    /// One operator on one field.
    Test {
        field: FieldId,
        /// The operator with its argument.
        operator: Box<dyn Operator>,
        /// As it is written.
        label: Label,
    },
}

/// A condition as it is written: `campaign.name: { glob: "Cart*" }`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    pub field: String,
    pub expected: String,
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.expected)
    }
}

/// Watches an evaluation.
pub(super) trait Recorder {
    /// Whether every condition is to be evaluated, also where the verdict is clear already.
    const EVERYTHING: bool;
    /// A group begins.
    fn open(&mut self, group: &'static str);
    /// It ends.
    fn close(&mut self, verdict: bool);
    /// A test was made, by an operator as it is written.
    fn test(&mut self, by: (&Label, &dyn Operator), verdict: bool, got: &[(u32, Value<'_>)]);
}

/// Watches nothing, at no cost.
impl Recorder for () {
    const EVERYTHING: bool = false;
    fn open(&mut self, _: &'static str) {}
    fn close(&mut self, _: bool) {}
    fn test(&mut self, _: (&Label, &dyn Operator), _: bool, _: &[(u32, Value<'_>)]) {}
}

impl Condition {
    /// Whether it holds, for fields that were read by the set it was built with.
    pub fn holds(&self, set: &FieldSet, fields: &Fields<'_>) -> bool {
        self.evaluate(set, fields, &mut ())
    }

    pub(super) fn evaluate<R: Recorder>(&self, set: &FieldSet, fields: &Fields<'_>, recorder: &mut R) -> bool {
        let (group, verdict) = match self {
            Condition::Test { field, operator, label } => {
                let got = fields.get(set, *field);
                let verdict = operator.holds(got);
                recorder.test((label, operator.as_ref()), verdict, got);
                return verdict;
            }
            Condition::All(_) => ("all", true),
            Condition::Any(_) => ("any", false),
            Condition::None(_) => ("none", true),
            Condition::Not(_) => ("not", true),
        };
        recorder.open(group);
        let mut verdict = verdict;
        for child in self.children() {
            let holds = child.evaluate(set, fields, recorder);
            let (next, is_clear) = match self {
                Condition::Any(_) => (verdict | holds, holds),
                Condition::All(_) => (verdict & holds, !holds),
                _ => (verdict & !holds, holds),
            };
            verdict = next;
            if is_clear && !R::EVERYTHING {
                break;
            }
        }
        recorder.close(verdict);
        verdict
    }

    /// What is expected, test by test, without the fields.
    pub fn written(&self) -> Vec<String> {
        let below = || self.children().iter().flat_map(Condition::written);
        match self {
            Condition::Test { label, .. } => vec![label.expected.clone()],
            Condition::All(_) => below().collect(),
            Condition::Any(_) => vec![below().collect::<Vec<_>>().join(" or ")],
            Condition::None(_) | Condition::Not(_) => below().map(|expected| format!("not {expected}")).collect(),
        }
    }

    fn children(&self) -> &[Condition] {
        match self {
            Condition::All(children) | Condition::Any(children) | Condition::None(children) => children,
            Condition::Not(child) => std::slice::from_ref(child),
            Condition::Test { .. } => &[],
        }
    }
}

//! What can be said of conditions before any event has come: that one can never hold, or that it holds whenever another does.
//!
//! It says so only where it is certain, and is silent otherwise. Fields that may hold a list are the reason for `is_single`: on a list
//! two conditions may each be satisfied by an element of its own.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Condition;
use super::operators::{Key, Operator};
use crate::event::{FieldId, Value};

/// Conditions that must all hold, among which a contradiction is looked for: each is compared with each.
const PARTS_MAX: usize = 256;

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Never,
    Perhaps,
    Always,
}

impl Verdict {
    fn opposite(self) -> Self {
        match self {
            Verdict::Never => Verdict::Always,
            Verdict::Perhaps => Verdict::Perhaps,
            Verdict::Always => Verdict::Never,
        }
    }

    fn all(verdicts: impl Iterator<Item = Verdict>) -> Self {
        let mut all = Verdict::Always;
        for verdict in verdicts {
            match verdict {
                Verdict::Never => return Verdict::Never,
                Verdict::Perhaps => all = Verdict::Perhaps,
                Verdict::Always => {}
            }
        }
        all
    }
}

impl Condition {
    /// What can be said when one field is known: its text, or `None` when it is missing.
    pub fn foresee(&self, known: FieldId, text: Option<&str>) -> Verdict {
        let below = |children: &[Condition], is_opposite: bool| {
            let verdicts = children.iter().map(|child| child.foresee(known, text));
            Verdict::all(verdicts.map(|verdict| if is_opposite { verdict.opposite() } else { verdict }))
        };
        match self {
            Condition::All(children) => below(children, false),
            Condition::None(children) => below(children, true),
            Condition::Any(children) => below(children, true).opposite(),
            Condition::Not(child) => child.foresee(known, text).opposite(),
            Condition::Test { field, operator, .. } if *field == known => {
                let got = text.map(|text| (0, Value::String(text.into())));
                if operator.holds(got.as_slice()) { Verdict::Always } else { Verdict::Never }
            }
            Condition::Test { .. } => Verdict::Perhaps,
        }
    }

    /// The field of which this asks what nothing can be, if there is one.
    pub fn contradiction(&self, is_single: &dyn Fn(FieldId) -> bool) -> Option<FieldId> {
        let all = self.parts();
        if all.len() > PARTS_MAX {
            return None;
        }
        let tests = || all.iter().filter_map(|part| part.as_test());
        let prints: HashSet<u64> = all.iter().map(|part| print(part)).collect();
        for part in &all {
            let opposed = match part {
                Condition::Any(children) => {
                    let fields: Option<Vec<_>> = children.iter().map(|child| child.contradiction(is_single)).collect();
                    if let Some(field) = fields.and_then(|fields| fields.first().copied()) {
                        return Some(field);
                    }
                    continue;
                }
                Condition::Not(child) => std::slice::from_ref(&**child),
                Condition::None(children) => children,
                _ => continue,
            };
            let denied = opposed.iter().find(|child| prints.contains(&print(child)));
            if let Some((field, _)) = denied.and_then(|child| child.parts().first()?.as_test()) {
                return Some(field);
            }
        }
        for (field, operator) in tests() {
            let is_impossible = match operator.key() {
                _ if operator.wants_missing() => self.foresee(field, None) == Verdict::Never,
                Key::Exact(texts) if is_single(field) => {
                    texts.iter().all(|text| self.foresee(field, Some(text)) == Verdict::Never)
                }
                _ => is_single(field) && tests().any(|(other, upper)| other == field && are_apart(operator, upper)),
            };
            if is_impossible {
                return Some(field);
            }
        }
        None
    }

    /// What this asks of one field, as it is written.
    pub fn asked_of(&self, field: FieldId) -> Vec<String> {
        let mut asked = Vec::new();
        for part in self.parts() {
            match part {
                Condition::Test { field: known, label, .. } if *known == field => asked.push(label.to_string()),
                Condition::Not(child) => {
                    asked.extend(child.asked_of(field).into_iter().map(|label| format!("not {label}")))
                }
                Condition::Any(children) | Condition::None(children) => {
                    asked.extend(children.iter().flat_map(|child| child.asked_of(field)));
                }
                _ => {}
            }
        }
        asked
    }

    /// The fields that must be one text exactly, each with that text.
    pub fn only_texts(&self) -> Vec<(FieldId, &str)> {
        let exact = self.parts().into_iter().filter_map(Condition::as_exact);
        exact.filter_map(|(field, texts)| Some((field, texts.first().filter(|_| texts.len() == 1)?.as_str()))).collect()
    }

    /// What must all hold: the leaves of nested `all`.
    fn parts(&self) -> Vec<&Condition> {
        match self {
            Condition::All(children) => children.iter().flat_map(Condition::parts).collect(),
            other => vec![other],
        }
    }

    fn as_test(&self) -> Option<(FieldId, &dyn Operator)> {
        match self {
            Condition::Test { field, operator, .. } => Some((*field, operator.as_ref())),
            _ => None,
        }
    }

    /// A field and the texts of which it must be one.
    fn as_exact(&self) -> Option<(FieldId, &[String])> {
        let (field, operator) = self.as_test()?;
        match operator.key() {
            Key::Exact(texts) => Some((field, texts)),
            _ => None,
        }
    }
}

/// Whether one wants nothing but what lies above all that the other wants.
pub fn are_apart(lower: &dyn Operator, upper: &dyn Operator) -> bool {
    let (Some(low), Some(high)) = (lower.bound(), upper.bound()) else { return false };
    let Some(order) = low.edge.partial_cmp(high.edge) else { return false };
    let is_pair = (low.is_wanted)(Ordering::Greater) && (high.is_wanted)(Ordering::Less);
    is_pair && (order.is_gt() || (order.is_eq() && !((low.is_wanted)(order) && (high.is_wanted)(order))))
}

/// Two conditions with the same print are the same. A label alone would not do: what came from the environment is not in it.
fn print(condition: &Condition) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::mem::discriminant(condition).hash(&mut hasher);
    match condition {
        Condition::Test { field, operator, label } => (field, label, format!("{operator:?}")).hash(&mut hasher),
        Condition::Not(child) => print(child).hash(&mut hasher),
        Condition::All(children) | Condition::Any(children) | Condition::None(children) => {
            children.iter().for_each(|child| print(child).hash(&mut hasher));
        }
    }
    hasher.finish()
}

/// A condition prepared for being compared with many others.
pub struct Outline<'c> {
    whole: Whole<'c>,
    prints: HashSet<u64>,
    exact: Vec<(FieldId, &'c [String])>,
}

/// A condition with the prints of its parts.
struct Whole<'c> {
    condition: &'c Condition,
    print: u64,
    children: Vec<Whole<'c>>,
}

impl<'c> Whole<'c> {
    fn of(condition: &'c Condition) -> Self {
        let children = match condition {
            Condition::All(children) | Condition::Any(children) => children.iter().map(Whole::of).collect(),
            _ => Vec::new(),
        };
        Self { condition, print: print(condition), children }
    }
}

impl<'c> Outline<'c> {
    pub fn of(condition: &'c Condition) -> Self {
        let parts = condition.parts();
        let exact = parts.iter().filter_map(|part| part.as_exact()).collect();
        Self { whole: Whole::of(condition), prints: parts.iter().map(|part| print(part)).collect(), exact }
    }

    /// Whether another holds whenever this one does.
    pub fn implies(&self, other: &Outline<'_>, is_single: &dyn Fn(FieldId) -> bool) -> bool {
        self.implies_part(&other.whole, is_single)
    }

    fn implies_part(&self, whole: &Whole<'_>, is_single: &dyn Fn(FieldId) -> bool) -> bool {
        let condition = whole.condition;
        if self.prints.contains(&whole.print) {
            return true;
        }
        let by_parts = match condition {
            Condition::All(_) => whole.children.iter().all(|child| self.implies_part(child, is_single)),
            Condition::Any(_) => whole.children.iter().any(|child| self.implies_part(child, is_single)),
            _ => false,
        };
        by_parts
            || self.exact.iter().any(|(field, texts)| {
                // An element that satisfies this one satisfies a single test of the other too, in a list as well.
                (is_single(*field) || condition.as_test().is_some())
                    && texts.iter().all(|text| condition.foresee(*field, Some(text)) == Verdict::Always)
            })
    }
}

//! `campaign.type: transactional`, `type: [sent, opened]`, `{equals: x}`: the text is the same.
//!
//! Textual: 550 equals "550", 1.0 does not equal 1. `true` equals only the boolean, `null` a missing field too.

use super::{Argument, Holds, Key, Operator, OperatorKind, Takes, any_element};
use crate::event::Value;

pub(super) const EQUALS: OperatorKind = OperatorKind {
    name: "equals",
    about: "It is this, or one of these; compared by its text. `campaign.id: 42` is short for `campaign.id: { equals: 42 }`.",
    example: "{ equals: [hard, soft] }",
    takes: Takes::Value,
    of: &[Holds::Anything],
    has_case: true,
    build: |argument, setting| Ok(equals_any(std::slice::from_ref(argument), setting.ignore_case)),
};

#[derive(Debug)]
struct Equals {
    texts: Vec<String>,
    bools: Vec<bool>,
    takes_missing: bool,
    ignore_case: bool,
}

/// Equal to any of some arguments.
pub fn equals_any(arguments: &[Argument], ignore_case: bool) -> Box<dyn Operator> {
    let mut equals = Equals { texts: Vec::new(), bools: Vec::new(), takes_missing: false, ignore_case };
    for argument in arguments {
        match argument {
            Argument::Null => equals.takes_missing = true,
            Argument::Bool(value) => equals.bools.push(*value),
            Argument::Text(text) | Argument::Number(text) if ignore_case => equals.texts.push(text.to_lowercase()),
            Argument::Text(text) | Argument::Number(text) => equals.texts.push(text.clone()),
        }
    }
    equals.texts.sort();
    equals.texts.dedup();
    Box::new(equals)
}

impl Operator for Equals {
    fn accepts(&self, value: &Value<'_>) -> bool {
        let has = |text: &str| self.texts.binary_search_by(|known| known.as_str().cmp(text)).is_ok();
        match value {
            Value::Bool(value) => self.bools.contains(value),
            value => {
                value.text().is_some_and(|text| if self.ignore_case { has(&text.to_lowercase()) } else { has(text) })
            }
        }
    }

    fn holds(&self, values: &[(u32, Value<'_>)]) -> bool {
        if self.takes_missing && (values.is_empty() || values.iter().any(|(_, value)| has_null(value))) {
            return true;
        }
        values.iter().any(|(_, value)| any_element(value, &|element| self.accepts(element)))
    }

    fn key(&self) -> Key<'_> {
        match (self.takes_missing || !self.bools.is_empty(), self.ignore_case) {
            (true, _) => Key::None,
            (false, false) => Key::Exact(&self.texts),
            (false, true) => Key::Folded(&self.texts),
        }
    }

    fn wants_missing(&self) -> bool {
        self.takes_missing && self.texts.is_empty() && self.bools.is_empty()
    }
}

fn has_null(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        _ => false,
    }
}

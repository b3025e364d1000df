//! `{exists: true}`: the field is there and not null. The one thing that an object or an empty array can satisfy.

use super::{Argument, Holds, Operator, OperatorKind, Takes};
use crate::event::Value;

pub(super) const EXISTS: OperatorKind = OperatorKind {
    name: "exists",
    about: "It is there and not null, or, with false, it is not.",
    example: "{ exists: true }",
    takes: Takes::Boolean,
    of: &[Holds::Anything],
    has_case: false,
    build: |argument, _| match argument {
        Argument::Bool(expected) => Ok(Box::new(Exists { expected: *expected })),
        _ => Err("`exists` is true or false".into()),
    },
};

#[derive(Debug)]
struct Exists {
    expected: bool,
}

impl Operator for Exists {
    fn accepts(&self, value: &Value<'_>) -> bool {
        (*value != Value::Null) == self.expected
    }

    fn holds(&self, values: &[(u32, Value<'_>)]) -> bool {
        values.iter().any(|(_, value)| *value != Value::Null) == self.expected
    }

    fn wants_missing(&self) -> bool {
        !self.expected
    }
}

//! `{gt: 100}` and its like: numbers, and texts that are numbers, compared exactly as decimals; of `relay.age` time spans.

use std::cmp::Ordering;

use super::{Argument, Bound, Built, Edge, Holds, Operator, OperatorKind, Setting, Takes};
use crate::event::{Decimal, Value};
use crate::fault::Fault;

pub(super) const GT: OperatorKind = OperatorKind {
    name: "gt",
    about: "It is a number above this one; `relay.age`: it is longer.",
    example: "{ gt: 3 }",
    takes: Takes::Number,
    of: &[Holds::Anything, Holds::Span],
    has_case: false,
    build: |argument, setting| build(argument, setting, Ordering::is_gt),
};
pub(super) const GTE: OperatorKind = OperatorKind {
    name: "gte",
    about: "It is a number above this one, or this one; `relay.age`: at least as long.",
    example: "{ gte: 3 }",
    takes: Takes::Number,
    of: &[Holds::Anything, Holds::Span],
    has_case: false,
    build: |argument, setting| build(argument, setting, Ordering::is_ge),
};
pub(super) const LT: OperatorKind = OperatorKind {
    name: "lt",
    about: "It is a number below this one; `relay.age`: it is shorter.",
    example: "{ lt: 3 }",
    takes: Takes::Number,
    of: &[Holds::Anything, Holds::Span],
    has_case: false,
    build: |argument, setting| build(argument, setting, Ordering::is_lt),
};
pub(super) const LTE: OperatorKind = OperatorKind {
    name: "lte",
    about: "It is a number below this one, or this one; `relay.age`: at most as long.",
    example: "{ lte: 3 }",
    takes: Takes::Number,
    of: &[Holds::Anything, Holds::Span],
    has_case: false,
    build: |argument, setting| build(argument, setting, Ordering::is_le),
};

fn build(argument: &Argument, setting: &Setting<'_>, is_wanted: fn(Ordering) -> bool) -> Built {
    let text = argument.text()?;
    let bound = match setting.holds {
        Holds::Span => Edge::Span(crate::units::duration(text)?),
        Holds::Anything => {
            let number = Decimal::parse(text).ok_or_else(|| Fault::from(format!("`{text}` is not a number")))?;
            Edge::Number(number)
        }
    };
    Ok(Box::new(Compare { bound, is_wanted }))
}

#[derive(Debug)]
struct Compare {
    bound: Edge,
    is_wanted: fn(Ordering) -> bool,
}

impl Operator for Compare {
    fn accepts(&self, value: &Value<'_>) -> bool {
        let edge = match value {
            Value::Span(span) => Some(Edge::Span(*span)),
            value => value.text().and_then(Decimal::parse).map(Edge::Number),
        };
        edge.and_then(|edge| edge.partial_cmp(&self.bound)).is_some_and(self.is_wanted)
    }

    fn bound(&self) -> Option<Bound<'_>> {
        Some(Bound { edge: &self.bound, is_wanted: self.is_wanted })
    }
}

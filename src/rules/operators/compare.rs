//! `{gt: 100}` and its like: numbers, and texts that are numbers, compared exactly as decimals.

use std::cmp::Ordering;

use super::{Argument, Bound, Built, Operator, OperatorKind, Takes};
use crate::event::{Decimal, Value};
use crate::fault::Fault;

pub(super) const GT: OperatorKind = OperatorKind {
    name: "gt",
    about: "It is a number above this one.",
    example: "{ gt: 3 }",
    takes: Takes::Number,
    has_case: false,
    build: |argument, _| build(argument, Ordering::is_gt),
};
pub(super) const GTE: OperatorKind = OperatorKind {
    name: "gte",
    about: "It is a number above this one, or this one.",
    example: "{ gte: 3 }",
    takes: Takes::Number,
    has_case: false,
    build: |argument, _| build(argument, Ordering::is_ge),
};
pub(super) const LT: OperatorKind = OperatorKind {
    name: "lt",
    about: "It is a number below this one.",
    example: "{ lt: 3 }",
    takes: Takes::Number,
    has_case: false,
    build: |argument, _| build(argument, Ordering::is_lt),
};
pub(super) const LTE: OperatorKind = OperatorKind {
    name: "lte",
    about: "It is a number below this one, or this one.",
    example: "{ lte: 3 }",
    takes: Takes::Number,
    has_case: false,
    build: |argument, _| build(argument, Ordering::is_le),
};

fn build(argument: &Argument, is_wanted: fn(Ordering) -> bool) -> Built {
    let text = argument.text()?;
    let bound = Decimal::parse(text).ok_or_else(|| Fault::from(format!("`{text}` is not a number")))?;
    Ok(Box::new(Compare { bound, is_wanted }))
}

#[derive(Debug)]
struct Compare {
    bound: Decimal,
    is_wanted: fn(Ordering) -> bool,
}

impl Operator for Compare {
    fn accepts(&self, value: &Value<'_>) -> bool {
        let number = value.text().and_then(Decimal::parse);
        number.is_some_and(|number| (self.is_wanted)(number.cmp(&self.bound)))
    }

    fn bound(&self) -> Option<Bound<'_>> {
        Some(Bound { number: &self.bound, is_wanted: self.is_wanted })
    }
}

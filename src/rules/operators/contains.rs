//! `{contains: discount}`: the text holds it somewhere.

use super::{OperatorKind, Pattern, Takes};

pub(super) const CONTAINS: OperatorKind = OperatorKind {
    name: "contains",
    about: "Its text has this in it.",
    example: "{ contains: Receipt }",
    takes: Takes::Text,
    has_case: true,
    build: |argument, ignore_case| Pattern::part(argument.text()?, ignore_case),
};

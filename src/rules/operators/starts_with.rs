//! `{starts_with: Cart}`: the text begins with it.

use super::{OperatorKind, Pattern, Takes};

pub(super) const STARTS_WITH: OperatorKind = OperatorKind {
    name: "starts_with",
    about: "Its text begins so.",
    example: "{ starts_with: Cart }",
    takes: Takes::Text,
    has_case: true,
    build: |argument, ignore_case| Pattern::prefix(argument.text()?, ignore_case),
};

//! `{starts_with: Cart}`: the text begins with it.

use super::{Holds, OperatorKind, Pattern, Takes};

pub(super) const STARTS_WITH: OperatorKind = OperatorKind {
    name: "starts_with",
    about: "Its text begins so.",
    example: "{ starts_with: Cart }",
    takes: Takes::Text,
    of: &[Holds::Anything],
    has_case: true,
    build: |argument, setting| Pattern::prefix(argument.text()?, setting.ignore_case),
};

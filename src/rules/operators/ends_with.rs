//! `{ends_with: "@getvero.com"}`: the text ends with it.

use super::{OperatorKind, Pattern, Takes};

pub(super) const ENDS_WITH: OperatorKind = OperatorKind {
    name: "ends_with",
    about: "Its text ends so.",
    example: "{ ends_with: \"@example.com\" }",
    takes: Takes::Text,
    has_case: true,
    build: |argument, ignore_case| Pattern::suffix(argument.text()?, ignore_case),
};

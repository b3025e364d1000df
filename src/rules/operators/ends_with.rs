//! `{ends_with: "@getvero.com"}`: the text ends with it.

use super::{Holds, OperatorKind, Pattern, Takes};

pub(super) const ENDS_WITH: OperatorKind = OperatorKind {
    name: "ends_with",
    about: "Its text ends so.",
    example: "{ ends_with: \"@example.com\" }",
    takes: Takes::Text,
    of: &[Holds::Anything],
    has_case: true,
    build: |argument, setting| Pattern::suffix(argument.text()?, setting.ignore_case),
};

//! `{contains: discount}`: the text holds it somewhere.

use super::{Holds, OperatorKind, Pattern, Takes};

pub(super) const CONTAINS: OperatorKind = OperatorKind {
    name: "contains",
    about: "Its text has this in it.",
    example: "{ contains: Receipt }",
    takes: Takes::Text,
    of: &[Holds::Anything],
    has_case: true,
    build: |argument, setting| Pattern::part(argument.text()?, setting.ignore_case),
};

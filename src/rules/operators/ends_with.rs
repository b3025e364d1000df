//! `{ends_with: "@getvero.com"}`: the text ends with it.

use super::{OperatorKind, Pattern};

pub(super) const ENDS_WITH: OperatorKind = OperatorKind {
    name: "ends_with",
    has_case: true,
    build: |argument, ignore_case| Pattern::suffix(argument.text()?, ignore_case),
};

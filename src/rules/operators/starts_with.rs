//! `{starts_with: Cart}`: the text begins with it.

use super::{OperatorKind, Pattern};

pub(super) const STARTS_WITH: OperatorKind = OperatorKind {
    name: "starts_with",
    has_case: true,
    build: |argument, ignore_case| Pattern::prefix(argument.text()?, ignore_case),
};

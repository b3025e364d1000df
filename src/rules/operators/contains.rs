//! `{contains: discount}`: the text holds it somewhere.

use super::{OperatorKind, Pattern};

pub(super) const CONTAINS: OperatorKind = OperatorKind {
    name: "contains",
    has_case: true,
    build: |argument, ignore_case| Pattern::part(argument.text()?, ignore_case),
};

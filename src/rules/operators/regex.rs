//! `{regex: "^55[0-4]"}`: the regular expression matches somewhere in the text. Syntax: <https://docs.rs/regex/latest/regex/#syntax>.

use super::{OperatorKind, Pattern};

pub(super) const REGEX: OperatorKind = OperatorKind {
    name: "regex",
    has_case: true,
    build: |argument, ignore_case| Pattern::regex(argument.text()?.to_owned(), ignore_case),
};

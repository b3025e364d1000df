//! `{regex: "^55[0-4]"}`: the regular expression matches somewhere in the text. Syntax: <https://docs.rs/regex/latest/regex/#syntax>.

use super::{Holds, OperatorKind, Pattern, Takes};

pub(super) const REGEX: OperatorKind = OperatorKind {
    name: "regex",
    about: "The regular expression matches somewhere in its text. [The syntax](https://docs.rs/regex/latest/regex/#syntax): without look-around, in time that grows with the text alone.",
    example: "{ regex: '^55[0-4]' }",
    takes: Takes::Text,
    of: &[Holds::Anything],
    has_case: true,
    build: |argument, setting| Pattern::regex(argument.text()?.to_owned(), setting.ignore_case),
};

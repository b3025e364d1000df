//! `{glob: "Cart*"}`: the whole text matches the glob.

use super::{Argument, Built, Holds, OperatorKind, Pattern, Setting, Takes, equals_any};
use crate::fault::Fault;
use crate::rules::glob::to_regex;

pub(super) const GLOB: OperatorKind = OperatorKind {
    name: "glob",
    about: "All of its text matches: `*` is any text, `?` one character, `[a-z]` one of some, `[!a-z]` one other, `{cart,order}` one of some globs; `\\` before a character takes it as it is.",
    example: "{ glob: \"Cart*\" }",
    takes: Takes::Text,
    of: &[Holds::Anything],
    has_case: true,
    build,
};

/// The plain forms, which most globs have, become what they mean: they are cheaper to keep and to look up than a pattern.
fn build(argument: &Argument, setting: &Setting<'_>) -> Built {
    let ignore_case = setting.ignore_case;
    let glob = argument.text()?;
    let regex = to_regex(glob)?;
    let is_plain = |text: &str| !text.contains(['*', '?', '[', '{', '\\']);
    let inner = glob.trim_start_matches('*').trim_end_matches('*');
    if ignore_case || !is_plain(inner) {
        let prefix = &glob[..glob.find(['*', '?', '[', '{', '\\']).unwrap_or(glob.len())];
        let built = if ignore_case || prefix.is_empty() {
            Pattern::regex(regex, ignore_case)
        } else {
            Pattern::regex_with_prefix(&regex, prefix)
        };
        // A place in the regular expression is none in the glob.
        return built.map_err(|fault| Fault { within: None, ..fault });
    }
    match (glob.starts_with('*'), glob.ends_with('*')) {
        (false, false) => Ok(equals_any(&[Argument::Text(inner.to_owned())], false)),
        (false, true) => Pattern::prefix(inner, false),
        (true, false) => Pattern::suffix(inner, false),
        (true, true) => Pattern::part(inner, false),
    }
}

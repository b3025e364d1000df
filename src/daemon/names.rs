//! The names of a config, as the store numbers them, and what a destination takes over from its old name.

use crate::config::Config;
use crate::store::{NameKind, Named, TakenFrom, TakenOver};

/// The names of a config, as the store numbers them: sources, then rules, then destinations.
pub(super) fn names_of(config: &Config) -> Vec<Named> {
    let named = |kind, name: &str| Named { kind, name: name.to_owned(), renamed_from: None };
    let sources = config.sources.iter().map(|source| named(NameKind::Source, &source.name));
    let rules = config.rules.rules().iter().map(|rule| named(NameKind::Rule, &rule.name));
    let destinations = config.destinations.iter().map(|config| Named {
        renamed_from: config.renamed_from.clone(),
        ..named(NameKind::Destination, &config.name)
    });
    sources.chain(rules).chain(destinations).collect()
}

/// What was taken over, in a sentence.
pub(super) fn in_words(taken: &TakenFrom) -> String {
    let TakenFrom { name, from, moved } = taken;
    let Some(TakenOver { waiting, scheduled, dead, paused, in_flight }) = moved else {
        return format!("`{name}` was `{from}` and keeps its queue");
    };
    let counts = [(waiting, "waiting"), (scheduled, "scheduled"), (dead, "dead letters")];
    let mut parts: Vec<String> =
        counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if *paused {
        parts.push("its pause".to_owned());
    }
    let in_flight = match in_flight {
        0 => String::new(),
        count => format!("; {count} in flight under the old name follow when their attempts have failed"),
    };
    format!("`{name}` takes over from `{from}`: {}{in_flight}", parts.join(", "))
}

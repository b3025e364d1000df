//! `once_per` of a rule: it lets one event through, and holds those with the same values back for a while.
//!
//! Here is what makes two events the same to it. Whether one went through is known to whoever routes: nothing here has a memory or a clock.

use std::time::Duration;

use crate::event::{Event, FieldId, FieldSet, Print, Printing};
use crate::units::shown_span;

/// The values by which a rule matches once, and for how long.
#[derive(Clone, Debug)]
pub struct Once {
    /// Each as it is written.
    pub fields: Vec<(String, FieldId)>,
    /// From the arrival of the last event that it let through.
    pub every: Duration,
}

impl Once {
    /// The key of an event: what has the same is the same to the rule of this name. A value is its text, as rules compare it; a field that is missing
    /// is a value of its own.
    pub(super) fn key(&self, rule: &str, set: &FieldSet, event: &Event<'_>) -> Print {
        let printing = Printing::of("rule").text(rule);
        let with = |printing: Printing, (path, id): &(String, FieldId)| {
            printing.text(path).texts(&event.fields.texts(set, *id))
        };
        self.fields.iter().fold(printing, with).finish()
    }

    /// Whether another one makes the same keys.
    pub fn has_keys_of(&self, other: &Once) -> bool {
        let paths = |once: &Once| once.fields.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        paths(self) == paths(other)
    }

    /// What holds an event back, in words.
    pub fn in_words(&self) -> String {
        let fields: Vec<_> = self.fields.iter().map(|(path, _)| path.as_str()).collect();
        let every = shown_span(self.every);
        format!("one with the same {} went through within {every}", fields.join(" and "))
    }
}

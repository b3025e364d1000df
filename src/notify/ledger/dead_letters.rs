//! Dead letters since when: those of destinations that the config names, and of others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LASTING, as_ms, certain};
use crate::notify::observed::{Dead, Observed, ObservedDestination, Removed};
use crate::notify::problem::{Kind, Look};
use crate::units::numbered;

/// What is remembered of dead letters, by the destination's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeadLetters(BTreeMap<String, Died>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Died {
    /// Dead letters that were kept when was looked last.
    kept: u64,
    /// How many there were since it began.
    count: u64,
    /// When the last was seen.
    last_ms: u64,
    /// What was counted, in this process.
    #[serde(skip)]
    counted: Option<u64>,
    /// How many of those were not kept yet when was looked last: what died is counted first, and is among the kept ones a moment later.
    #[serde(skip)]
    early: u64,
    /// The same as the next process is to have it. Nothing where some had been replayed, and nobody knows which are missing.
    #[serde(default)]
    early_at_end: u64,
    /// Nobody was to be told until now: what died meanwhile is old.
    #[serde(skip)]
    is_old: bool,
    /// The config does not name the destination: what is counted is since then.
    #[serde(default)]
    is_removed: bool,
}

impl Died {
    /// Counts what died since was looked last, where anything is known of it.
    fn see(&mut self, seen: Option<Dead>, now_ms: u64) {
        let Dead { kept: dead, died } = seen.unwrap_or(Dead { kept: self.kept, died: self.counted.unwrap_or(0) });
        if seen.is_some() && std::mem::take(&mut self.is_old) {
            (self.kept, self.counted) = (dead, Some(died));
            (self.early, self.early_at_end) = (0, 0);
        }
        let counted = self.counted.map_or(0, |counted| died.saturating_sub(counted));
        // What limits give up is not counted, and what was given up before this process is not either.
        let kept = dead.saturating_sub(self.kept);
        let due = counted + self.early.max(self.early_at_end);
        let more = counted + kept.saturating_sub(due);
        // What was replayed meanwhile is never seen among them, and is not waited for.
        self.early = due.saturating_sub(kept).min(counted);
        self.early_at_end = if dead < self.kept { 0 } else { self.early };
        self.counted = seen.map(|dead| dead.died).or(self.counted);
        self.kept = dead;
        self.last_ms = self.last_ms.min(now_ms);
        if more > 0 {
            self.count += more;
            self.last_ms = now_ms;
        }
    }

    /// What became of so many, and to whom, in words.
    fn in_words(&self, name: &str) -> String {
        let dead = if self.count == 1 { "a dead letter" } else { "dead letters" };
        format!("{} to {name} became {dead}", numbered(self.count, "delivery"))
    }
}

impl DeadLetters {
    /// Nobody was to be told for a while: what died meanwhile is old.
    pub(super) fn are_old(&mut self) {
        self.0.values_mut().for_each(|died| died.is_old = true);
    }

    /// What of a destination that the config names became dead letters lately.
    pub(super) fn of(&mut self, destination: &ObservedDestination, now_ms: u64) -> Option<Look> {
        let name = &destination.name;
        let known = match (destination.dead, self.0.get_mut(name)) {
            (_, Some(known)) => known,
            // Of one that was never seen, what it has is old.
            (Some(dead), None) => self.0.entry(name.clone()).or_insert(Died { kept: dead.kept, ..Died::default() }),
            (None, None) => return None,
        };
        if std::mem::take(&mut known.is_removed) {
            // It is back: what died meanwhile was seen among those that are kept, and an hour begins.
            (known.counted, known.last_ms) = (None, now_ms);
        }
        known.see(destination.dead, now_ms);
        if known.count == 0 {
            return None;
        }
        if now_ms.saturating_sub(known.last_ms) > as_ms(LASTING) {
            // Its end is told in the words of the last look.
            known.count = 0;
            return None;
        }
        let told = numbered(known.count, "delivery");
        let over = format!("no further delivery to {name} became a dead letter within an hour: {told} in all");
        Some(certain(Kind::DeadLetters, name, true, known.in_words(name), &over))
    }

    /// What became dead letters of destinations that the config does not name. It is over when none is left: nobody sees them otherwise.
    pub(super) fn of_removed(&mut self, observed: &Observed, now_ms: u64) -> Vec<Look> {
        for Removed { name, dead } in observed.removed.iter().flatten() {
            // Of one that was never seen, what it has is old.
            let new = || Died { kept: *dead, ..Died::default() };
            let known = self.0.entry(name.clone()).or_insert_with(new);
            if !std::mem::replace(&mut known.is_removed, true) {
                // What died before was told by itself.
                (known.count, known.counted) = (0, None);
            }
            known.see(Some(Dead { kept: *dead, died: 0 }), now_ms);
            if *dead == 0 {
                known.count = 0;
            }
        }
        // Where it is not known what is left of them, whatever was known holds.
        let is_left = |name: &String| match &observed.removed {
            Some(removed) => removed.iter().any(|removed| removed.name == *name),
            None => true,
        };
        let is_named = |name: &String| observed.destinations.iter().any(|there| there.name == *name);
        self.0.retain(|name, _| is_named(name) || is_left(name));
        let died = self.0.iter().filter(|(_, died)| died.is_removed && died.count > 0);
        let look = |(name, died): (&String, &Died)| {
            let text = format!("{}, since the config does not name it any more", died.in_words(name));
            let over = format!("no dead letter of the deliveries to {name} is left");
            let look = certain(Kind::DeadLetters, name, true, text, &over);
            Look { is_certain: observed.removed.is_some(), is_of_removed: true, ..look }
        };
        died.map(look).collect()
    }

    /// How many were kept of a destination when was looked last.
    #[cfg(test)]
    pub(super) fn kept(&self, name: &str) -> Option<u64> {
        self.0.get(name).map(|died| died.kept)
    }

    /// A destination is called something else.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(died) = self.0.remove(from) {
            self.0.entry(to.to_owned()).or_insert(died);
        }
    }

    /// Forgets those of which none died lately.
    pub(super) fn shorten(&mut self) {
        self.0.retain(|_, died| died.count > 0);
    }
}

//! What must be known of the moments before, to say what is wrong now: who is silent for how long, and what died since when.
//!
//! [`dead_letters`], `DeadLetters`: what died.

mod dead_letters;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::dead_letters::DeadLetters;
use super::observed::{Certificate, Failing, Observed, ObservedDestination, ObservedSource, Unplaced};
use super::problem::{Key, Kind, Look};
use super::words::{day, lasting};
use crate::units::{numbered, shown_duration};

/// What happens now and then lasts so long after the last time: dead letters, refused requests.
pub const LASTING: Duration = Duration::from_secs(60 * 60);
/// A certificate is told of from so long before its end on: who renews by hand has two weeks, and what renews by itself has failed by then.
pub const CERTIFICATE_ENDS_WITHIN: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What lay in windows is given its lane anew after a start or a reload, and is no backlog meanwhile, however long that takes. A sorter places
/// hundreds in one go, the oldest first: where the oldest has no lane for so long, none is given.
const PLACED_WITHIN: Duration = Duration::from_secs(60);

/// From where on a backlog is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub age: Option<Duration>,
    pub deliveries: Option<u64>,
}

/// What is remembered of destinations and sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    died: DeadLetters,
    heard: BTreeMap<String, Heard>,
    /// How far sorters have come that have something to place.
    #[serde(skip)]
    placing: BTreeMap<String, Placing>,
    /// When was looked last: never in this process yet, where there is nothing.
    #[serde(skip)]
    looked_ms: Option<u64>,
    /// The process had run before anybody looked.
    #[serde(skip)]
    is_late: bool,
}

/// The oldest that had no lane yet, and since when no newer one has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placing {
    oldest_ms: Option<u64>,
    since_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    /// How long nothing has come while the relay was there to hear it: while it was away, nothing could.
    silent_ms: u64,
    /// Requests that were refused since that began, and when the last was seen.
    refused: u64,
    refused_ms: u64,
    #[serde(skip)]
    accepted_counted: Option<u64>,
    #[serde(skip)]
    refused_counted: Option<u64>,
}

impl Ledger {
    /// The process has run for a while with nobody looking: what was counted by now is old.
    pub fn begins_late(&mut self) {
        self.is_late = true;
    }

    /// Nobody was to be told for a while: what happened meanwhile is old.
    pub fn goes_on_late(&mut self) {
        self.begins_late();
        self.died.are_old();
        self.heard.values_mut().for_each(|heard| heard.refused_counted = None);
        self.placing.clear();
    }

    /// What is wrong, by what is seen now and was seen before.
    pub fn look(&mut self, observed: &Observed, bounds: &Bounds, now_ms: u64) -> Vec<Look> {
        let passed_ms = self.looked_ms.map_or(0, |looked_ms| now_ms.saturating_sub(looked_ms));
        let is_at_start = self.looked_ms.replace(now_ms).is_none() && !self.is_late;
        let mut looks = Vec::new();
        if let Some(why) = &observed.full {
            let text = format!("the store has no room, and events are refused with 503: {why}");
            looks.push(certain(Kind::StoreFull, "", true, text, "events are accepted again"));
        }
        if let Some(why) = &observed.reload_error {
            let text = format!("the config was not reloaded: {why}");
            looks.push(certain(Kind::ReloadFailed, "", true, text, "the config in force is the one of the file again"));
        }
        looks.extend(observed.certificates.iter().filter_map(|one| of_certificate(one, observed.wall_ms)));
        for destination in &observed.destinations {
            of_destination(destination, bounds, self.is_stuck(destination, now_ms), &mut looks);
            looks.extend(self.died.of(destination, now_ms));
        }
        for source in &observed.sources {
            // What the relay does not take is not the source's silence.
            let heard_ms = if source.is_refusing || observed.full.is_some() { 0 } else { passed_ms };
            looks.extend(self.of_silent(source, heard_ms));
            looks.extend(self.of_refused(source, is_at_start, now_ms));
        }
        looks.extend(self.died.of_removed(observed, now_ms));
        let is_there = |name: &String| observed.destinations.iter().any(|there| there.name == *name);
        self.placing.retain(|name, _| is_there(name));
        let is_there = |name: &String| observed.sources.iter().any(|there| there.name == *name);
        self.heard.retain(|name, _| is_there(name));
        looks
    }

    /// Whether what is to be given its lane gets none: the oldest of it has been so for too long.
    fn is_stuck(&mut self, destination: &ObservedDestination, now_ms: u64) -> bool {
        let name = &destination.name;
        let Some(Unplaced { oldest_ms, .. }) = destination.unplaced else {
            self.placing.remove(name);
            return false;
        };
        let known = self.placing.entry(name.clone()).or_insert(Placing { oldest_ms, since_ms: now_ms });
        // Who begins anew, as after a panic, has not come any further by that.
        if oldest_ms > known.oldest_ms {
            *known = Placing { oldest_ms, since_ms: now_ms };
        }
        known.since_ms = known.since_ms.min(now_ms);
        now_ms - known.since_ms > as_ms(PLACED_WITHIN)
    }

    fn of_silent(&mut self, source: &ObservedSource, heard_ms: u64) -> Option<Look> {
        let name = &source.name;
        let heard = self.heard.entry(name.clone()).or_default();
        match heard.accepted_counted.replace(source.accepted) {
            // Nothing was heard before this process looked for the first time, but what it has accepted by now.
            None if source.accepted == 0 => {}
            Some(before) if before == source.accepted => heard.silent_ms += heard_ms,
            None | Some(_) => heard.silent_ms = 0,
        }
        let expected_ms = source.expect_every_ms.filter(|expected_ms| heard.silent_ms > *expected_ms)?;
        let expected = shown_duration(Duration::from_millis(expected_ms));
        let silent = lasting(heard.silent_ms);
        let text = format!("no event came from the source {name} for {silent}, and `expect_every` is {expected}");
        let over = format!("the source {name} is not silent any more");
        Some(certain(Kind::SourceSilent, name, true, text, &over))
    }

    fn of_refused(&mut self, source: &ObservedSource, is_at_start: bool, now_ms: u64) -> Option<Look> {
        let name = &source.name;
        let heard = self.heard.entry(name.clone()).or_default();
        // Of one that was not looked at in this process before, what was refused is old, but for what came at its start.
        let before = heard.refused_counted.replace(source.refused);
        let more = source.refused.saturating_sub(before.unwrap_or(if is_at_start { 0 } else { source.refused }));
        heard.refused_ms = heard.refused_ms.min(now_ms);
        if more > 0 {
            heard.refused += more;
            heard.refused_ms = now_ms;
        }
        if heard.refused > 0 && now_ms.saturating_sub(heard.refused_ms) > as_ms(LASTING) {
            heard.refused = 0;
        }
        if heard.refused == 0 {
            return None;
        }
        let text = format!(
            "{} to the source {name} {} refused for a wrong token: what was sent is lost unless it is sent again",
            numbered(heard.refused, "request"),
            if heard.refused == 1 { "was" } else { "were" }
        );
        let over = format!("no request to the source {name} was refused for a wrong token within an hour");
        Some(certain(Kind::SourceRefused, name, true, text, &over))
    }

    /// A destination is called something else.
    pub fn rename(&mut self, from: &str, to: &str) {
        self.died.rename(from, to);
    }

    /// Forgets what need not be remembered, so that the rest finds room.
    pub fn shorten(&mut self) {
        self.died.shorten();
        self.heard.retain(|_, heard| heard.refused > 0);
    }
}

fn certain(kind: Kind, about: &str, at_once: bool, text: String, over: &str) -> Look {
    Look { key: Key::new(kind, about), is_certain: true, at_once, is_of_removed: false, text, over: over.to_owned() }
}

fn of_destination(destination: &ObservedDestination, bounds: &Bounds, is_stuck: bool, looks: &mut Vec<Look>) {
    let ObservedDestination { name, failing, paused, .. } = destination;
    let unplaced = destination.unplaced.filter(|_| is_stuck);
    let backlog = destination.backlog + unplaced.map_or(0, |unplaced| unplaced.deliveries);
    let oldest_age_ms = destination.oldest_age_ms.max(unplaced.and_then(|unplaced| unplaced.oldest_age_ms));
    if let Some(paused) = paused {
        let text = format!("{name} is paused, and what is for it waits until somebody resumes it: {}", paused.reason);
        let over = format!("{name} is not paused any more");
        looks.push(certain(Kind::DestinationPaused, name, paused.by_relay, text, &over));
    }
    let over = format!("{name} does not fail any more");
    match failing {
        Failing::No => {}
        Failing::Yes(why) => {
            let text = format!("{name} fails, and what is for it waits: {why}");
            looks.push(certain(Kind::DestinationFailing, name, false, text, &over));
        }
        Failing::Unknown => {
            let look = certain(Kind::DestinationFailing, name, false, String::new(), &over);
            looks.push(Look { is_certain: false, ..look });
        }
    }
    if let (Some(bound), Some(age_ms)) = (bounds.age, oldest_age_ms)
        && age_ms > as_ms(bound)
    {
        let text = format!("the oldest delivery to {name} waits for {}", lasting(age_ms));
        let over = format!("no delivery to {name} waits for {} any more", shown_duration(bound));
        looks.push(certain(Kind::BacklogAge, name, true, text, &over));
    }
    if let Some(bound) = bounds.deliveries.filter(|bound| backlog > *bound) {
        let text = format!("{} to {name} wait", numbered(backlog, "delivery"));
        let over = format!("no more than {} to {name} wait", numbered(bound, "delivery"));
        looks.push(certain(Kind::BacklogSize, name, true, text, &over));
    }
}

fn of_certificate(certificate: &Certificate, wall_ms: u64) -> Option<Look> {
    let Certificate { of, ends_ms } = *certificate;
    let left_ms = ends_ms.saturating_sub(wall_ms);
    if left_ms > as_ms(CERTIFICATE_ENDS_WITHIN) {
        return None;
    }
    let text = if left_ms == 0 {
        format!("the certificate of `{of}` has ended on {}: nobody takes it any more", day(ends_ms))
    } else {
        format!("the certificate of `{of}` ends on {}, in {}", day(ends_ms), lasting(left_ms))
    };
    Some(certain(Kind::CertificateEnds, of, true, text, &format!("the certificate of `{of}` is a newer one")))
}

fn as_ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

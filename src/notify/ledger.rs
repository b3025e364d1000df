//! What must be known of the moments before, to say what is wrong now: who is silent for how long, and what died since when.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::observed::{Certificate, Dead, Failing, Observed, ObservedDestination, ObservedSource, Removed, Unplaced};
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
    died: BTreeMap<String, Died>,
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
        self.died.values_mut().for_each(|died| died.is_old = true);
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
            looks.extend(self.of_dead(destination, now_ms));
        }
        for source in &observed.sources {
            // What the relay does not take is not the source's silence.
            let heard_ms = if source.is_refusing || observed.full.is_some() { 0 } else { passed_ms };
            looks.extend(self.of_silent(source, heard_ms));
            looks.extend(self.of_refused(source, is_at_start, now_ms));
        }
        looks.extend(self.of_removed(observed, now_ms));
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

    fn of_dead(&mut self, destination: &ObservedDestination, now_ms: u64) -> Option<Look> {
        let name = &destination.name;
        let known = match (destination.dead, self.died.get_mut(name)) {
            (_, Some(known)) => known,
            // Of one that was never seen, what it has is old.
            (Some(dead), None) => self.died.entry(name.clone()).or_insert(Died { kept: dead.kept, ..Died::default() }),
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
    fn of_removed(&mut self, observed: &Observed, now_ms: u64) -> Vec<Look> {
        for Removed { name, dead } in observed.removed.iter().flatten() {
            // Of one that was never seen, what it has is old.
            let new = || Died { kept: *dead, ..Died::default() };
            let known = self.died.entry(name.clone()).or_insert_with(new);
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
        self.died.retain(|name, _| is_named(name) || is_left(name));
        let died = self.died.iter().filter(|(_, died)| died.is_removed && died.count > 0);
        let look = |(name, died): (&String, &Died)| {
            let text = format!("{}, since the config does not name it any more", died.in_words(name));
            let over = format!("no dead letter of the deliveries to {name} is left");
            let look = certain(Kind::DeadLetters, name, true, text, &over);
            Look { is_certain: observed.removed.is_some(), is_of_removed: true, ..look }
        };
        died.map(look).collect()
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
        if let Some(died) = self.died.remove(from) {
            self.died.entry(to.to_owned()).or_insert(died);
        }
    }

    /// Forgets what need not be remembered, so that the rest finds room.
    pub fn shorten(&mut self) {
        self.died.retain(|_, died| died.count > 0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Paused;

    const HOUR_MS: u64 = 60 * 60 * 1000;
    const NOW_MS: u64 = 1_700_000_000_000;

    fn kinds(looks: &[Look]) -> Vec<(Kind, &str)> {
        looks.iter().map(|look| (look.key.kind, look.key.about.as_str())).collect()
    }

    fn destination(name: &str) -> ObservedDestination {
        ObservedDestination { name: name.to_owned(), ..ObservedDestination::default() }
    }

    fn of(destination: ObservedDestination) -> Observed {
        Observed { destinations: vec![destination], ..Observed::default() }
    }

    fn dead_letters(kept: u64, died: u64) -> Observed {
        of(ObservedDestination { dead: Some(Dead { kept, died }), ..destination("crm") })
    }

    fn heard(accepted: u64, refused: u64) -> Observed {
        let source = ObservedSource {
            name: "vero".to_owned(),
            expect_every_ms: Some(HOUR_MS),
            accepted,
            refused,
            is_refusing: false,
        };
        Observed { sources: vec![source], ..Observed::default() }
    }

    /// As the next process has it.
    fn kept(ledger: &Ledger) -> Ledger {
        serde_json::from_str(&serde_json::to_string(ledger).expect("text")).expect("its own text")
    }

    #[test]
    fn a_bound_is_told_of_beyond_it_and_not_at_it() {
        let bounds = Bounds { age: Some(Duration::from_secs(60)), deliveries: Some(10) };
        let of = |backlog, age_ms| {
            let there = ObservedDestination { backlog, oldest_age_ms: Some(age_ms), ..destination("crm") };
            kinds(&Ledger::default().look(&of(there), &bounds, NOW_MS))
                .into_iter()
                .map(|(kind, _)| kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(10, 60_000), []);
        assert_eq!(of(11, 60_001), [Kind::BacklogAge, Kind::BacklogSize]);
        let there = ObservedDestination { backlog: 9, oldest_age_ms: Some(HOUR_MS), ..destination("crm") };
        assert_eq!(Ledger::default().look(&super::tests::of(there), &Bounds::default(), NOW_MS), []);
    }

    #[test]
    fn what_is_to_be_given_its_lane_is_a_backlog_once_no_lane_is_given() {
        let bounds = Bounds { age: Some(Duration::from_secs(600)), deliveries: Some(10) };
        let mut ledger = Ledger::default();
        let look = |ledger: &mut Ledger, unplaced: Option<(u64, u64)>, seconds: u64| {
            let now_ms = NOW_MS + seconds * 1000;
            let unplaced = unplaced.map(|(deliveries, oldest_ms)| Unplaced {
                deliveries,
                oldest_ms: Some(oldest_ms),
                oldest_age_ms: Some(now_ms - oldest_ms),
            });
            let there = ObservedDestination { backlog: 9, unplaced, ..destination("crm") };
            kinds(&ledger.look(&of(there), &bounds, now_ms)).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
        };
        let old_ms = NOW_MS - HOUR_MS;
        let both = [Kind::BacklogAge, Kind::BacklogSize];
        assert_eq!(look(&mut ledger, Some((1000, old_ms)), 0), []);
        assert_eq!(look(&mut ledger, Some((900, old_ms + 1)), 50), [], "it is placed");
        assert_eq!(look(&mut ledger, Some((900, old_ms + 1)), 110), []);
        assert_eq!(
            look(&mut ledger, Some((900, old_ms + 1)), 111),
            both,
            "it has been the oldest for more than a minute"
        );
        assert_eq!(look(&mut ledger, Some((990, old_ms)), 112), both, "a sorter that begins anew has come no further");
        assert_eq!(look(&mut ledger, Some((800, old_ms + 2)), 113), []);
        assert_eq!(look(&mut ledger, None, 114), []);
        assert_eq!(look(&mut ledger, Some((1000, old_ms)), 200), [], "after a reload");
        ledger.goes_on_late();
        assert_eq!(look(&mut ledger, Some((1000, old_ms)), 300), [], "nobody has seen whether it was placed meanwhile");
        assert_eq!(look(&mut ledger, Some((1000, old_ms)), 361), both);
    }

    #[test]
    fn what_died_or_was_refused_while_nobody_was_to_be_told_is_old() {
        let mut ledger = Ledger::default();
        let observed =
            |kept, died, refused| Observed { destinations: dead_letters(kept, died).destinations, ..heard(1, refused) };
        let texts = |ledger: &mut Ledger, observed, seconds: u64| {
            let looks = ledger.look(&observed, &Bounds::default(), NOW_MS + seconds * 1000);
            let number = |look: Look| look.text.chars().take_while(char::is_ascii_digit).collect::<String>();
            looks.into_iter().map(number).collect::<Vec<_>>()
        };
        let nothing: Vec<String> = Vec::new();
        assert_eq!(texts(&mut ledger, observed(0, 0, 0), 0), nothing);
        ledger.goes_on_late();
        assert_eq!(texts(&mut ledger, observed(5, 6, 7), 100), nothing);
        assert_eq!(texts(&mut ledger, observed(7, 8, 8), 101), ["2", "1"]);
        ledger.goes_on_late();
        assert_eq!(texts(&mut ledger, observed(9, 9, 9), 102), ["2", "1"], "what was told lasts, and is no more");
        let mut next = kept(&ledger);
        next.goes_on_late();
        assert_eq!(
            texts(&mut next, observed(20, 0, 5), 103),
            ["2", "1"],
            "and so in a process that told nobody before"
        );
    }

    #[test]
    fn dead_letters_are_counted_from_what_was_there_and_also_over_a_restart() {
        let mut ledger = Ledger::default();
        let look = |ledger: &mut Ledger, dead, died, at_ms| {
            let looks = ledger.look(&dead_letters(dead, died), &Bounds::default(), at_ms);
            looks.into_iter().next().map(|look| look.text)
        };
        assert_eq!(look(&mut ledger, 40, 7, NOW_MS), None, "what was there before is old");
        assert_eq!(look(&mut ledger, 41, 8, NOW_MS + 1000).as_deref(), Some("1 delivery to crm became a dead letter"));
        let two = "2 deliveries to crm became dead letters";
        assert_eq!(look(&mut ledger, 1, 9, NOW_MS + 2000).as_deref(), Some(two), "some were replayed meanwhile");
        let mut next = kept(&ledger);
        let three = "3 deliveries to crm became dead letters";
        assert_eq!(look(&mut next, 2, 0, NOW_MS + 3000).as_deref(), Some(three), "at the end of the process before");
        assert_eq!(look(&mut next, 2, 0, NOW_MS + 3000 + HOUR_MS).as_deref(), Some(three));
        assert_eq!(look(&mut next, 2, 0, NOW_MS + 3001 + HOUR_MS), None);
        assert_eq!(
            look(&mut next, 3, 0, NOW_MS + 2 * HOUR_MS).as_deref(),
            Some("1 delivery to crm became a dead letter")
        );
    }

    #[test]
    fn a_dead_letter_is_counted_once_whichever_of_the_two_numbers_is_ahead() {
        // Looks at so many kept and so many counted since the start, and how many are told in the end.
        let check = |looks: &[(u64, u64)], expected: u64| {
            let mut ledger = Ledger::default();
            let mut told = Vec::new();
            for (nth, (kept, died)) in (1..).zip(looks) {
                told = ledger.look(&dead_letters(*kept, *died), &Bounds::default(), NOW_MS + nth);
            }
            let texts: Vec<_> = told.into_iter().map(|look| look.text).collect();
            let expected = match expected {
                0 => Vec::new(),
                1 => vec!["1 delivery to crm became a dead letter".to_owned()],
                more => vec![format!("{more} deliveries to crm became dead letters")],
            };
            assert_eq!(texts, expected, "{looks:?}");
        };
        check(&[(40, 7), (40, 7)], 0);
        check(&[(0, 0), (0, 3), (3, 3)], 3);
        check(&[(0, 0), (1, 3), (3, 3), (3, 3)], 3);
        check(&[(0, 0), (0, 3), (3, 5), (5, 5)], 5);
        check(&[(0, 0), (4, 0), (4, 0)], 4);
        check(&[(0, 0), (6, 2), (6, 2)], 6);
        check(&[(9, 0), (0, 2), (0, 2), (4, 2)], 6);
        // What is kept and was not counted by then was given up by a limit: the two are read in such an order.
        check(&[(0, 0), (1, 0), (2, 1)], 2);
    }

    #[test]
    fn what_dies_of_a_destination_that_was_removed_is_one_problem_until_none_is_left() {
        let mut ledger = Ledger::default();
        let look = |ledger: &mut Ledger, observed: &Observed, seconds: u64| {
            let looks = ledger.look(observed, &Bounds::default(), NOW_MS + seconds * 1000);
            looks.into_iter().map(|look| (look.text, look.is_certain && look.is_of_removed)).next()
        };
        let removed =
            |dead| Observed { removed: Some(vec![Removed { name: "crm".to_owned(), dead }]), ..Observed::default() };
        let told = |text: &str| Some((format!("{text}, since the config does not name it any more"), true));
        let (one, three) = ("1 delivery to crm became a dead letter", "3 deliveries to crm became dead letters");
        look(&mut ledger, &dead_letters(4, 9), 0);
        assert_eq!(look(&mut ledger, &dead_letters(5, 10), 1), Some((one.to_owned(), false)));
        assert_eq!(look(&mut ledger, &removed(5), 2), None, "these died while it was named");
        assert_eq!(look(&mut ledger, &removed(6), 3), told(one));
        let mut ledger = kept(&ledger);
        let unknown = Observed::default();
        assert_eq!(look(&mut ledger, &unknown, 4).map(|(_, is_certain)| is_certain), Some(false));
        assert_eq!(look(&mut ledger, &removed(8), 9 * HOUR_MS / 1000), told(three), "in another process, much later");
        assert_eq!(look(&mut ledger, &removed(1), 10 * HOUR_MS / 1000), told(three), "one is left");
        let mut back = ledger.clone();
        assert_eq!(look(&mut back, &dead_letters(1, 12), 11 * HOUR_MS / 1000), Some((three.to_owned(), false)));
        assert_eq!(look(&mut back, &dead_letters(1, 12), 12 * HOUR_MS / 1000), Some((three.to_owned(), false)));
        assert_eq!(look(&mut back, &dead_letters(1, 12), 12 * HOUR_MS / 1000 + 1), None, "as any other");
        assert_eq!(look(&mut ledger, &removed(0), 11 * HOUR_MS / 1000), None);
        assert_eq!(look(&mut ledger, &removed(1), 12 * HOUR_MS / 1000), told(one), "that is another problem");
        let gone = Observed { removed: Some(Vec::new()), ..Observed::default() };
        assert_eq!((look(&mut ledger, &gone, 13 * HOUR_MS / 1000), ledger.died.len()), (None, 0));
        assert_eq!(
            look(&mut ledger, &removed(7), 14 * HOUR_MS / 1000),
            None,
            "of one that was never seen they are old"
        );
    }

    #[test]
    fn what_dies_of_a_removed_destination_while_nobody_is_to_be_told_is_old() {
        let mut ledger = Ledger::default();
        let removed =
            |dead| Observed { removed: Some(vec![Removed { name: "crm".to_owned(), dead }]), ..Observed::default() };
        let look = |ledger: &mut Ledger, dead| ledger.look(&removed(dead), &Bounds::default(), NOW_MS).len();
        assert_eq!(look(&mut ledger, 0), 0);
        ledger.goes_on_late();
        assert_eq!([look(&mut ledger, 5), look(&mut ledger, 6)], [0, 1]);
    }

    #[test]
    fn a_dead_letter_that_is_counted_by_one_process_and_kept_by_the_next_is_one() {
        let mut ledger = Ledger::default();
        ledger.look(&dead_letters(0, 0), &Bounds::default(), NOW_MS);
        ledger.look(&dead_letters(0, 1), &Bounds::default(), NOW_MS + 1);
        let mut next = kept(&ledger);
        for at_ms in [2, 3] {
            let looks = next.look(&dead_letters(1, 0), &Bounds::default(), NOW_MS + at_ms);
            assert_eq!(looks[0].text, "1 delivery to crm became a dead letter");
        }
        let before = r#"{"died":{"crm":{"kept":1,"count":1,"last_ms":5}},"heard":{}}"#;
        let known: Ledger = serde_json::from_str(before).expect("as a process of before has kept it");
        assert_eq!(known.died["crm"].kept, 1);
    }

    #[test]
    fn what_is_not_known_of_dead_letters_changes_nothing() {
        let mut ledger = Ledger::default();
        let unknown = of(destination("crm"));
        let mut look = |observed: &Observed, at_ms| ledger.look(observed, &Bounds::default(), at_ms).len();
        assert_eq!(look(&unknown, NOW_MS), 0);
        assert_eq!(look(&dead_letters(40, 0), NOW_MS + 1), 0, "they are old");
        assert_eq!(look(&unknown, NOW_MS + 2), 0);
        assert_eq!(look(&dead_letters(40, 0), NOW_MS + 3), 0);
        assert_eq!(look(&dead_letters(41, 1), NOW_MS + 4), 1);
        assert_eq!(look(&unknown, NOW_MS + 5), 1, "it lasts");
    }

    #[test]
    fn what_was_refused_before_anybody_looked_is_old_but_at_the_start() {
        let refused = |ledger: &mut Ledger, count, at_ms| {
            let looks = ledger.look(&heard(1, count), &Bounds::default(), at_ms);
            looks.into_iter().next().map(|look| look.text.chars().take_while(char::is_ascii_digit).collect::<String>())
        };
        let mut at_start = Ledger::default();
        assert_eq!(refused(&mut at_start, 2, NOW_MS).as_deref(), Some("2"));
        let mut late = Ledger::default();
        late.begins_late();
        assert_eq!(refused(&mut late, 2, NOW_MS), None, "nobody was to be told then");
        assert_eq!(refused(&mut late, 3, NOW_MS + 1).as_deref(), Some("1"));
        let mut ledger = Ledger::default();
        assert_eq!(refused(&mut ledger, 0, NOW_MS), None);
        assert_eq!(refused(&mut ledger, 5, NOW_MS + 1).as_deref(), Some("5"));
        ledger.look(&Observed::default(), &Bounds::default(), NOW_MS + 2);
        assert_eq!(refused(&mut ledger, 5, NOW_MS + 3), None, "a source that comes back brings nothing old");
    }

    #[test]
    fn a_source_is_silent_by_the_time_in_which_it_could_be_heard() {
        let mut ledger = Ledger::default();
        let look = |ledger: &mut Ledger, accepted, at_ms| {
            kinds(&ledger.look(&heard(accepted, 0), &Bounds::default(), at_ms)).len()
        };
        assert_eq!(look(&mut ledger, 0, NOW_MS), 0);
        assert_eq!(look(&mut ledger, 0, NOW_MS + HOUR_MS), 0);
        assert_eq!(look(&mut ledger, 0, NOW_MS + HOUR_MS + 1), 1);
        assert_eq!(look(&mut ledger, 1, NOW_MS + HOUR_MS + 2), 0, "it is heard");
        assert_eq!(look(&mut ledger, 1, NOW_MS + 2 * HOUR_MS), 0);
        // It is away for a day.
        let mut next = kept(&ledger);
        assert_eq!(look(&mut next, 0, NOW_MS + 26 * HOUR_MS), 0);
        assert_eq!(look(&mut next, 0, NOW_MS + 26 * HOUR_MS + 2), 0);
        assert_eq!(look(&mut next, 0, NOW_MS + 26 * HOUR_MS + 3), 1, "the two times together");
        assert_eq!(look(&mut kept(&ledger), 1, NOW_MS + 50 * HOUR_MS), 0, "it is heard before the first look");
    }

    #[test]
    fn a_source_that_is_refused_or_expects_nothing_is_not_silent() {
        for change in [
            |observed: &mut Observed| observed.sources[0].is_refusing = true,
            |observed: &mut Observed| observed.sources[0].expect_every_ms = None,
            |observed: &mut Observed| observed.full = Some("no room".to_owned()),
        ] {
            let mut observed = heard(0, 0);
            change(&mut observed);
            let mut ledger = Ledger::default();
            ledger.look(&observed, &Bounds::default(), NOW_MS);
            let looks = ledger.look(&observed, &Bounds::default(), NOW_MS + 9 * HOUR_MS);
            assert!(looks.iter().all(|look| look.key.kind != Kind::SourceSilent), "{looks:?}");
        }
    }

    #[test]
    fn a_wrong_token_is_told_of_until_there_was_none_for_an_hour() {
        let mut ledger = Ledger::default();
        let look = |ledger: &mut Ledger, refused, at_ms| {
            kinds(&ledger.look(&heard(1, refused), &Bounds::default(), at_ms)).len()
        };
        assert_eq!(look(&mut ledger, 0, NOW_MS), 0);
        assert_eq!(look(&mut ledger, 2, NOW_MS + 1), 1);
        let mut next = kept(&ledger);
        assert_eq!(look(&mut next, 0, NOW_MS + 1 + HOUR_MS), 1, "also over a restart");
        assert_eq!(look(&mut next, 0, NOW_MS + 2 + HOUR_MS), 0);
    }

    #[test]
    fn a_certificate_is_told_of_for_two_weeks_before_its_end_and_after_it() {
        let of = |ends_ms| {
            let observed = Observed {
                certificates: vec![Certificate { of: "tls", ends_ms }],
                wall_ms: NOW_MS,
                ..Observed::default()
            };
            Ledger::default().look(&observed, &Bounds::default(), 5).into_iter().next().map(|look| look.text)
        };
        let fortnight = as_ms(CERTIFICATE_ENDS_WITHIN);
        assert_eq!(of(NOW_MS + fortnight + 1), None);
        assert_eq!(of(NOW_MS + fortnight).as_deref(), Some("the certificate of `tls` ends on 2023-11-28, in 14 days"));
        assert_eq!(
            of(NOW_MS).as_deref(),
            Some("the certificate of `tls` has ended on 2023-11-14: nobody takes it any more")
        );
    }

    #[test]
    fn what_the_relay_has_paused_is_told_at_once_and_what_a_person_has_is_not() {
        for by_relay in [true, false] {
            let paused = Some(Paused { by_relay, reason: "410 Gone".to_owned() });
            let looks = Ledger::default().look(
                &of(ObservedDestination { paused, ..destination("crm") }),
                &Bounds::default(),
                5,
            );
            assert_eq!(looks.iter().map(|look| look.at_once).collect::<Vec<_>>(), [by_relay]);
        }
    }

    #[test]
    fn what_is_gone_from_the_config_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.look(&of(destination("crm")), &Bounds::default(), 5);
        ledger.look(&heard(0, 0), &Bounds::default(), 6);
        assert!(ledger.died.is_empty() && ledger.heard.len() == 1);
        ledger.look(&Observed::default(), &Bounds::default(), 7);
        assert!(ledger.heard.is_empty());
    }
}

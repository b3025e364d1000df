//! Which events a list is about.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};
use serde_json::{Value, json};

use super::super::parameters::some_of;
use super::super::{Query, Refusal, destination, name, state_name};
use crate::event::summary;
use crate::relay::Relay;
use crate::relay::replay::{Conditions, ReplayError};
use crate::store::{DeliveryState, NameId, NameKind, PlannedDelivery, States, StoredEvent};
use crate::time::rfc3339;

/// What says it of the events, whenever they came.
pub(in crate::admin::api) const SELECTION: [&str; 10] =
    ["type", "match", "email", "campaign", "text", "rule", "source", "destination", "state", "unrouted"];
const STATES: [&str; 10] =
    ["held", "waiting", "in_flight", "scheduled", "delivered", "skipped", "dead", "dropped", "moved", "unknown"];
/// Bytes of a text that is looked for.
const TEXT_BYTES_MAX: usize = 1000;

/// What is looked for.
pub(in crate::admin::api) struct Filter {
    /// Both must hold: the match map, and what is asked of the person and the campaign.
    conditions: [Conditions; 2],
    /// What in the filter probably does not do what was meant.
    pub warnings: Vec<String>,
    text: Option<Regex>,
    rule: Option<NameId>,
    source: Option<NameId>,
    destination: Option<NameId>,
    /// A delivery in one of these.
    states: Vec<String>,
    is_unrouted: bool,
    pub since_ms: u64,
    pub until_ms: u64,
}

impl Filter {
    pub(in crate::admin::api) fn read(relay: &Relay, query: &Query) -> Result<Self, Refusal> {
        let wrong = |error: ReplayError| Refusal::wrong(error.to_string());
        if query.get("type").is_some() && query.get("match").is_some() {
            return Err(Refusal::wrong("`type` can stand in `match`: give one of them"));
        }
        let one_of = |key: &str| query.get(key).map(|list| some_of(key, list)).transpose();
        let types = one_of("type")?;
        let states = one_of("state")?.unwrap_or_default();
        if let Some(state) = states.iter().find(|state| !STATES.contains(&state.as_str())) {
            return Err(Refusal::wrong(format!("`{state}` is not a state: {}", STATES.join(", "))));
        }
        let matching =
            query.get("match").map(str::to_owned).or(types.map(|types| json!({ "type": types }).to_string()));
        let (matching, warnings) = Conditions::parse_with_warnings(matching.as_deref()).map_err(wrong)?;
        let about = Conditions::of(query.get("email"), query.get("campaign")).map_err(wrong)?;
        let named = |kind: NameKind, key: &str| {
            let found = |named: &str| {
                let found = relay.store.names().find(kind, named);
                found.ok_or_else(|| Refusal::missing(format!("there is no {key} `{named}`")))
            };
            query.get(key).map(found).transpose()
        };
        let range = query.range()?;
        Ok(Self {
            conditions: [matching, about],
            warnings,
            text: query.get("text").map(text).transpose()?,
            rule: named(NameKind::Rule, "rule")?,
            source: named(NameKind::Source, "source")?,
            destination: query.get("destination").map(|name| destination(relay, name)).transpose()?,
            states,
            is_unrouted: query.flag("unrouted")?,
            since_ms: range.since_ms.unwrap_or(0),
            until_ms: range.until_ms.unwrap_or(u64::MAX),
        })
    }

    /// Whether it takes the deliveries of an event to tell that it is meant: how they stand is not known of an event by itself, nor where a
    /// replay has sent it since.
    pub(in crate::admin::api) fn needs_states(&self) -> bool {
        !self.states.is_empty() || self.is_unrouted || self.destination.is_some()
    }

    /// Whether it takes few of them: of most events it is known by themselves.
    pub(in crate::admin::api) fn needs_few_states(&self) -> bool {
        self.states.is_empty() && !self.is_unrouted
    }

    /// Whether an event may come to be meant by a delivery that stands so now.
    pub(in crate::admin::api) fn asks_for(&self, destination: NameId, state: &DeliveryState) -> bool {
        let asks = !self.states.is_empty() || self.destination.is_some();
        asks && self.is_of(destination) && self.is_in(state)
    }

    /// Whether an event is meant from the beginning, if it holds: whatever becomes of its deliveries, the rules have made one that is asked for.
    pub(in crate::admin::api) fn is_planned(&self, event: &StoredEvent) -> bool {
        self.states.is_empty()
            && self.destination.is_none_or(|id| event.deliveries.iter().any(|delivery| delivery.destination == id))
    }

    fn is_of(&self, destination: NameId) -> bool {
        self.destination.is_none_or(|id| id == destination)
    }

    fn is_in(&self, state: &DeliveryState) -> bool {
        self.states.is_empty() || self.states.iter().any(|asked| asked == state_name(state))
    }

    /// Whether an event is meant, whatever became of it; where it went is not looked at.
    pub(in crate::admin::api) fn holds(&self, relay: &Relay, event: &StoredEvent) -> bool {
        (self.since_ms..self.until_ms).contains(&event.received_ms)
            && self.source.is_none_or(|source| source == event.source)
            && self.rule.is_none_or(|rule| event.rules.contains(&rule))
            && (!self.is_unrouted || event.deliveries.is_empty())
            && self.text.as_ref().is_none_or(|text| text.is_match(&event.body))
            && self.conditions.iter().all(|conditions| conditions.holds(&*relay.store, event))
    }

    /// Where of some events those are that may be meant, at most so many.
    pub(in crate::admin::api) fn among(&self, relay: &Relay, events: &[Arc<StoredEvent>], most: usize) -> Vec<usize> {
        let is_meant = |at: &usize| self.holds(relay, &events[*at]);
        (0..events.len()).filter(is_meant).take(most).collect()
    }

    /// Whether deliveries stand as is meant.
    pub(in crate::admin::api) fn stand(&self, states: &States) -> bool {
        let is_meant = |(delivery, state): &(PlannedDelivery, DeliveryState)| {
            self.is_of(delivery.destination) && self.is_in(state)
        };
        let asks = !self.states.is_empty() || self.destination.is_some();
        (!self.is_unrouted || states.is_empty()) && (!asks || states.iter().any(is_meant))
    }

    /// Whether an event is meant, of which it is known what became of it.
    pub(in crate::admin::api) fn is_meant(&self, relay: &Relay, event: &StoredEvent, states: &States) -> bool {
        self.stand(states) && self.holds(relay, event)
    }

    /// An event that may be meant as a list shows it, if its deliveries stand as is meant.
    pub(super) fn shown(&self, relay: &Relay, event: &StoredEvent, states: &States) -> Option<Value> {
        self.stand(states).then(|| shown(relay, event, states))
    }
}

/// An event as a list shows it.
pub(in crate::admin::api) fn shown(relay: &Relay, event: &StoredEvent, states: &States) -> Value {
    let deliveries = states.iter().map(|(delivery, state)| shown_delivery(relay, delivery.destination, state));
    shown_with(relay, event, deliveries)
}

/// What every answer tells of an event, and its deliveries as they are shown there.
pub(super) fn shown_with(relay: &Relay, event: &StoredEvent, deliveries: impl Iterator<Item = Value>) -> Value {
    let known = summary(&event.body);
    let mut told = json!({
        "id": event.id.to_string(),
        "received_at": rfc3339(event.received_ms),
        "source": name(relay, event.source),
        "type": known.event_type,
        "campaign": known.campaign,
        "who": known.who,
        "bytes": event.body.len(),
        "rules": event.rules.iter().map(|rule| name(relay, *rule)).collect::<Vec<_>>(),
        "deliveries": deliveries.collect::<Vec<_>>(),
    });
    if event.is_redacted {
        told["redacted"] = json!(true);
    }
    told
}

/// Where a delivery stands, as a list shows it.
pub(in crate::admin::api) fn shown_delivery(relay: &Relay, destination: NameId, state: &DeliveryState) -> Value {
    let mut shown = json!({ "destination": name(relay, destination), "state": state_name(state) });
    if let DeliveryState::Scheduled { attempts, due_ms, .. } = state {
        shown["attempts"] = json!(attempts);
        shown["next_attempt_at"] = json!(rfc3339(*due_ms));
    }
    shown
}

/// A text that stands somewhere in a body, capital or small letters of ASCII.
fn text(asked: &str) -> Result<Regex, Refusal> {
    if asked.is_empty() || asked.len() > TEXT_BYTES_MAX {
        return Err(Refusal::wrong(format!("`text` has from 1 to {TEXT_BYTES_MAX} bytes")));
    }
    let built = RegexBuilder::new(&regex::escape(asked)).unicode(false).case_insensitive(true).build();
    built.map_err(|error| Refusal::wrong(error.to_string()))
}

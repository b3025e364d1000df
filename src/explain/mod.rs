//! Why an event goes where it goes, and what each destination would get. Nothing is sent, and nothing is written.
//!
//! # Cast
//!
//! * [`Explanation`]: one event through a whole config: every rule and condition, the destinations, and a preview of each attempt.
//! * `expectation`, [`Tested`]: what became of one of the config's own tests; `check` runs them.
//!
//! Routing and previews are those of the running relay: the same rules evaluate, the same destination makes the request. No secret
//! is in either: what came out of variables and files is `…` also where it stands in an event.

mod expectation;

use std::sync::Arc;

use serde_json::{Value, json};

pub use self::expectation::{Missed, Tested, run_tests};
use crate::config::Config;
use crate::deliver::sorting::{self, Foreseen, Verdict};
use crate::deliver::{DestinationConfig, Status};
use crate::destination::client::Masks;
use crate::destination::{self, Delivery, Digest, Group, Preview, Unsent};
use crate::event::{EventId, Refused, RelayFields};
use crate::rules::{Got, Meant, NearMiss, Routing, Rule, RuleSet, RuleTrace, TraceNode, nearest};
use crate::store::{NameId, StoredEvent};

/// One event through a config.
pub struct Explanation<'c> {
    config: &'c Config,
    pub event_type: String,
    /// The source it came in by.
    pub source: String,
    /// What became of each rule, in order.
    pub rules: Vec<RuleTrace>,
    /// The rules that it nearly matched, nearest first.
    pub nearest: Vec<NearMiss>,
    /// Each destination once, in the order in which rules name them.
    pub deliveries: Vec<ExplainedDelivery>,
    /// When it comes, by the clock on the wall, unix milliseconds.
    now_ms: u64,
}

/// What one destination would get.
pub struct ExplainedDelivery {
    /// Its place in the config.
    pub destination: usize,
    /// The rules that named it, by their places; the first is the one that templates know.
    pub rules: Vec<usize>,
    /// What would be sent, or why nothing: such a delivery is skipped, or becomes a dead letter.
    pub sends: Result<Preview, Unsent>,
    /// How it goes out, where the destination sorts what it gets.
    pub order: Option<Foreseen>,
    /// What it is to its destination, where that sorts, and its address.
    verdict: Option<(Verdict, u64)>,
    delivery: Delivery,
}

impl<'c> Explanation<'c> {
    /// Explains an event that comes in now.
    pub fn of(config: &'c Config, body: &[u8], source: &str) -> Result<Self, Refused> {
        let received_ms = crate::time::wall_ms();
        let id = EventId::mint(received_ms, 0, 0);
        Self::at(config, id, (body, RelayFields { source, received_ms }), None)
    }

    /// Explains an event that is kept, as it would go by a config now. `took`: whether a rule of some name took it when it came; one that matches once does
    /// not take it now if it did not.
    pub fn of_kept(
        config: &'c Config,
        event: &StoredEvent,
        source: &str,
        took: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Refused> {
        let relay = RelayFields { source, received_ms: event.received_ms };
        let let_through = |at: usize| took(&config.rules.rules()[at].name);
        let mut explained = Self::at(config, event.id, (&event.body, relay), Some(&let_through))?;
        for held in explained.rules.iter_mut().filter(|trace| trace.verdict == Some(false)) {
            held.unless = held.unless.take().map(|what| format!("{what}, or there was no such rule yet"));
        }
        Ok(explained)
    }

    fn at(
        config: &'c Config,
        id: EventId,
        (body, relay): (&[u8], RelayFields<'_>),
        let_through: Option<&dyn Fn(usize) -> bool>,
    ) -> Result<Self, Refused> {
        let (routing, rules) = trace(&config.rules, &config.masks, (body, relay), let_through)?;
        let now_ms = crate::time::wall_ms();
        Ok(Self {
            config,
            now_ms,
            event_type: routing.event_type.clone().into_owned(),
            source: relay.source.to_owned(),
            nearest: nearest(&rules, body),
            deliveries: deliveries(config, (id, body, relay), &routing, now_ms),
            rules,
        })
    }

    /// The same by what waits in a running relay: `of` gives what is known of the destination at a place of the config.
    pub fn among(mut self, of: impl Fn(usize) -> Option<Arc<Status>>) -> Self {
        for delivery in &mut self.deliveries {
            let sorting = self.config.destinations[delivery.destination].sorting.as_ref();
            if let (Some(sorting), Some(verdict), Some(status)) = (sorting, &delivery.verdict, of(delivery.destination))
            {
                delivery.order = Some(sorting.foresee(verdict.clone(), Some(status.sorted()), self.now_ms));
            }
        }
        self
    }

    /// The message that a delivery would be part of, where it may go out with others: with those that wait now, or as if it came twice.
    pub fn digest(&self, delivery: &ExplainedDelivery) -> Option<Result<Preview, Unsent>> {
        let (group, with) = match delivery.order.as_ref()? {
            Foreseen::First { group, .. } => (group, 0),
            Foreseen::Digest { group, with, .. } => (group, *with),
            Foreseen::Urgent | Foreseen::Single | Foreseen::InOrder(_) => return None,
        };
        let count = with.saturating_add(1).max(2);
        Some(together(self.config, delivery, group, Together { count, examples: 1 }))
    }

    /// The rule of a trace.
    pub fn rule(&self, at: usize) -> &'c Rule {
        &self.config.rules.rules()[at]
    }

    /// The destination of a delivery.
    pub fn destination(&self, delivery: &ExplainedDelivery) -> &'c DestinationConfig {
        &self.config.destinations[delivery.destination]
    }

    /// The rule with `stop` that kept the later ones from being tried.
    pub fn stopped_by(&self) -> Option<&'c Rule> {
        let stopped = self.rules.iter().find(|trace| trace.verdict == Some(true) && self.rule(trace.rule).stop)?;
        Some(self.rule(stopped.rule))
    }

    /// The names of the rules that named a delivery's destination.
    pub fn rule_names(&self, delivery: &ExplainedDelivery) -> Vec<&'c str> {
        delivery.rules.iter().map(|rule| self.rule(*rule).name.as_str()).collect()
    }

    /// All of it for scripts; the README has the shape.
    pub fn json(&self) -> Value {
        let deliveries = self.deliveries.iter().map(|delivery| {
            let destination = self.destination(delivery);
            let (sends, error, skipped) = match &delivery.sends {
                Ok(preview) => (as_json(preview), Value::Null, Value::Null),
                Err(Unsent::Failed { why, .. }) => (Value::Null, Value::from(why.as_str()), Value::Null),
                Err(Unsent::Skipped(why)) => (Value::Null, Value::Null, Value::from(why.as_str())),
            };
            json!({
                "destination": destination.name, "kind": destination.kind, "rules": self.rule_names(delivery),
                "sends": sends, "error": error, "skipped": skipped,
                "goes": delivery.order.as_ref().map(shown_order),
                "digest": self.digest(delivery).and_then(Result::ok).map(|preview| as_json(&preview)),
            })
        });
        json!({
            "type": self.event_type,
            "source": self.source,
            "rules": shown_rules(&self.config.rules, &self.rules),
            "nearest": self.nearest.iter().map(|miss| self.shown_miss(miss)).collect::<Vec<_>>(),
            "deliveries": deliveries.collect::<Vec<_>>(),
        })
    }

    /// A rule that the event nearly matched, for scripts.
    pub fn shown_miss(&self, miss: &NearMiss) -> Value {
        let failed = miss.failed.iter().map(|missed| {
            let meant = missed.meant.as_ref().map(|meant| match meant {
                Meant::Value(value) => json!({ "value": value }),
                Meant::Field(field) => json!({ "field": field }),
            });
            let got: Vec<_> = missed.got.iter().map(shown_value).collect();
            json!({ "field": missed.field, "expected": missed.expected, "got": got, "meant": meant })
        });
        let rule = &self.config.rules.rules()[miss.rule].name;
        json!({ "rule": rule, "holding": miss.holding, "of": miss.of, "failed": failed.collect::<Vec<_>>() })
    }
}

/// How many events are put together, and of how many of them the message tells more than that they came.
#[derive(Clone, Copy)]
struct Together {
    count: u64,
    examples: usize,
}

/// The message that events of a group would be, all of them like one.
fn together(
    config: &Config,
    delivery: &ExplainedDelivery,
    group: &sorting::Group,
    Together { count, examples }: Together,
) -> Result<Preview, Unsent> {
    let of = &delivery.delivery;
    let at_ms = of.event.received_ms;
    let parts = group.part.clone().map(|part| (part, count)).into_iter().collect();
    let values = group.values.clone();
    let group = Group { values, count, since: at_ms, until: at_ms, parts, other_parts: 0 };
    let events = vec![of.clone(); examples];
    let digest = Digest {
        id: DIGEST_ID.to_owned(),
        count,
        since_ms: at_ms,
        until_ms: at_ms,
        groups: vec![group],
        events,
        left_out: count.saturating_sub(examples as u64),
        page: None,
        address: Some(0),
    };
    let together = Delivery { digest: Some(Arc::new(digest)), ..of.clone() };
    destination::preview(&*config.destinations[delivery.destination].destination, &together, false)
}

/// How a delivery goes out, for scripts.
fn shown_order(order: &Foreseen) -> Value {
    match order {
        Foreseen::Urgent => json!({ "how": "urgent" }),
        Foreseen::Single => json!({ "how": "by_itself" }),
        Foreseen::InOrder(ordered) => json!({ "how": "in_order", "key": shown_fields(&ordered.values) }),
        Foreseen::First { nth, first, group } => {
            json!({ "how": "first", "nth": nth, "first": first, "group": shown_fields(&group.values) })
        }
        Foreseen::Digest { at_ms, with, is_quiet, group } => {
            let at = at_ms.map(crate::time::rfc3339);
            let group_fields = shown_fields(&group.values);
            let is_others = group.key == sorting::OTHERS;
            json!({
                "how": "digest", "at": at, "with": with, "quiet": is_quiet, "group": group_fields, "others": is_others,
            })
        }
    }
}

/// What makes a group, for scripts, in the order of `by`.
pub fn shown_fields(values: &[(String, String)]) -> Value {
    values.iter().map(|(field, value)| json!({ "field": field, "value": value })).collect()
}

/// Stands for the id that a digest would have.
const DIGEST_ID: &str = "the-digest-has-its-own";

/// Where some rules send an event, and what becomes of each of them; `let_through`: which of those that match once let it through, where that is known.
pub fn trace<'b>(
    rules: &RuleSet,
    masks: &Masks,
    (body, relay): (&'b [u8], RelayFields<'b>),
    let_through: Option<&dyn Fn(usize) -> bool>,
) -> Result<(Routing<'b>, Vec<RuleTrace>), Refused> {
    let (routing, traces) = rules.explain_once(body, relay, let_through)?;
    Ok((routing, traces.into_iter().map(|trace| masked(masks, trace)).collect()))
}

/// What became of each of some rules, for scripts.
pub fn shown_rules(rules: &RuleSet, traces: &[RuleTrace]) -> Vec<Value> {
    let shown = |trace: &RuleTrace| {
        let rule = &rules.rules()[trace.rule];
        let steps = trace.steps.iter().map(|step| match &step.node {
            TraceNode::Group(group) => json!({ "depth": step.depth, "holds": step.verdict, "group": group }),
            TraceNode::Test { label, got } => {
                let got: Vec<_> = got.iter().map(shown_value).collect();
                let field = &label.field;
                let expected = &label.expected;
                json!({ "depth": step.depth, "holds": step.verdict, "field": field, "expected": expected, "got": got })
            }
        });
        json!({
            "rule": rule.name, "matches": trace.verdict, "because": trace.because(), "stop": rule.stop,
            "unless": trace.unless,
            "conditions": steps.collect::<Vec<_>>(),
        })
    };
    traces.iter().map(shown).collect()
}

fn shown_value(got: &Got) -> Value {
    json!({ "value": got.value, "type": got.kind })
}

/// What each destination would get of an event.
fn deliveries(
    config: &Config,
    (id, body, relay): (EventId, &[u8], RelayFields<'_>),
    routing: &Routing<'_>,
    now_ms: u64,
) -> Vec<ExplainedDelivery> {
    let event = Arc::new(StoredEvent {
        id,
        received_ms: relay.received_ms,
        source: NameId(0),
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: body.to_vec().into(),
        is_redacted: false,
    });
    let all_rules = config.rules.rules();
    let explained = |(destination, rule): &(usize, usize)| {
        let name = all_rules[*rule].name.as_str();
        let delivery = Delivery { event: event.clone(), source: relay.source.into(), rule: name.into(), digest: None };
        let names_it = |rule: &&usize| all_rules[**rule].to.contains(destination);
        let DestinationConfig { destination: kind, sorting, .. } = &config.destinations[*destination];
        let address = sorting::address_of(&**kind, &delivery);
        // It has been read by the rules already.
        let verdict = sorting.as_ref().and_then(|sorting| sorting.verdict(body, relay, address).ok());
        let is_urgent = verdict == Some(Verdict::Urgent);
        let verdict = verdict.map(|verdict| (verdict, address));
        let order = sorting.as_ref().zip(verdict.clone());
        ExplainedDelivery {
            destination: *destination,
            rules: routing.rules.iter().filter(names_it).copied().collect(),
            sends: destination::preview(&**kind, &delivery, is_urgent),
            order: order.map(|(sorting, verdict)| sorting.foresee(verdict, None, now_ms)),
            verdict,
            delivery,
        }
    };
    routing.deliveries.iter().map(explained).collect()
}

/// A preview, for scripts.
pub fn as_json(preview: &Preview) -> Value {
    let mut shown: serde_json::Map<_, _> =
        preview.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
    shown.insert("title".to_owned(), Value::from(preview.title.as_str()));
    if let Some(headers) = &preview.headers {
        let headers: serde_json::Map<_, _> =
            headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        shown.insert("headers".to_owned(), Value::Object(headers));
    }
    if preview.has_parts() {
        shown.insert("content".to_owned(), Value::from(preview.shown_content()));
    }
    shown.extend(preview.shown_parts().into_iter().map(|(name, text)| (name.to_owned(), Value::from(text))));
    Value::Object(shown)
}

/// The values that conditions were tested with, without what came from outside the config.
fn masked(masks: &Masks, mut trace: RuleTrace) -> RuleTrace {
    for step in &mut trace.steps {
        if let TraceNode::Test { got, .. } = &mut step.node {
            got.iter_mut().for_each(|Got { value, .. }| *value = masks.apply(std::mem::take(value)));
        }
    }
    trace
}

//! Why an event goes where it goes: each rule, each condition, and the value that the event has there.

use super::condition::{Label, Recorder};
use super::operators::Operator;
use super::{Once, Routing, RuleSet};
use crate::event::{Refused, RelayFields, Value};
use crate::units::shown_span;

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// Its place in the config.
    pub rule: usize,
    /// Whether it matched; `None`: it was not tried, because an earlier rule has `stop`.
    pub verdict: Option<bool>,
    /// Its conditions, in order, with the depth of each.
    pub steps: Vec<TraceStep>,
    /// Of a rule that matches once, and whose conditions hold: what held the event back, in words; where the rule matches, what would.
    pub unless: Option<String>,
}

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// How deep it lies.
    pub depth: usize,
    pub verdict: bool,
    pub node: TraceNode,
}

/// What stands on a line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceNode {
    /// `all`, `any`, `none` or `not`.
    Group(&'static str),
    /// One operator on one field.
    Test {
        /// As it is written.
        label: Label,
        /// The values of the field; none when it is missing.
        got: Vec<Got>,
    },
}

/// A value that a condition was tested with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// As JSON, an object as `{…}`.
    pub value: String,
    /// What sort of value it is, as people call it.
    pub kind: &'static str,
}

impl RuleTrace {
    /// Why the rule did not match, in a sentence about the first condition that failed. `None` where it matched or was not tried.
    pub fn because(&self) -> Option<String> {
        if self.verdict == Some(false) && self.unless.is_some() {
            return self.unless.clone();
        }
        let at = self.steps.iter().position(|step| step.depth == 0 && !step.verdict)?;
        if self.verdict != Some(false) {
            return None;
        }
        let culprit = &self.steps[self.culprit(at)];
        let TraceNode::Test { label, got } = &culprit.node else { return None };
        Some(why(label, got, culprit.verdict))
    }

    /// The test that decided a step's verdict.
    fn culprit(&self, at: usize) -> usize {
        let step = &self.steps[at];
        let decisive = match step.node {
            TraceNode::Test { .. } => return at,
            TraceNode::Group("not" | "none") => !step.verdict,
            TraceNode::Group(_) => step.verdict,
        };
        let below = self.steps.iter().enumerate().skip(at + 1).take_while(|(_, below)| below.depth > step.depth);
        let mut children = below.filter(|(_, below)| below.depth == step.depth + 1);
        // A group without the child that it needs is empty, and a config has none.
        children.find(|(_, child)| child.verdict == decisive).map_or(at, |(child, _)| self.culprit(child))
    }
}

/// Why a test went as it did, against what would have been needed.
fn why(label: &Label, got: &[Got], verdict: bool) -> String {
    let Label { field, expected } = label;
    let values = got.iter().map(|got| got.value.as_str()).collect::<Vec<_>>().join(", ");
    let is_all = |kind: &str| !got.is_empty() && got.iter().all(|got| got.kind == kind);
    if verdict {
        return match got {
            [] => format!("the event has no {field}"),
            _ => format!("{field} is {values}, which must not be"),
        };
    }
    if got.is_empty() {
        return format!("the event has no {field}");
    }
    if is_all("null") {
        return format!("{field} is null, which satisfies nothing but `exists: false` and `null`");
    }
    if is_all("object") {
        return format!("{field} is an object, which satisfies only `exists`");
    }
    if expected.contains("exists: false") {
        return format!("{field} is there");
    }
    let is_only_case =
        |got: &Got| !expected.contains(&got.value) && expected.to_lowercase().contains(&got.value.to_lowercase());
    if !expected.contains("ignore_case") && got.iter().any(is_only_case) {
        return format!("{field} is {values}, and upper and lower case count without `ignore_case: true`");
    }
    format!("{field} is {values}")
}

impl RuleSet {
    /// Explains where an event goes. The routing is the one that [`route`](RuleSet::route) gives, and of a rule that matches once it is told unless what.
    pub fn explain<'a>(
        &self,
        body: &'a [u8],
        relay: RelayFields<'a>,
    ) -> Result<(Routing<'a>, Vec<RuleTrace>), Refused> {
        self.explain_once(body, relay, None)
    }

    /// The same where it is known which of the rules that match once let the event through.
    pub fn explain_once<'a>(
        &self,
        body: &'a [u8],
        relay: RelayFields<'a>,
        let_through: Option<&dyn Fn(usize) -> bool>,
    ) -> Result<(Routing<'a>, Vec<RuleTrace>), Refused> {
        let event = self.fields.read(body, relay)?;
        let lets_through = |at| let_through.is_none_or(|let_through| let_through(at));
        let routing = self.route_once(&event, &mut |at, _, _| lets_through(at));
        let mut traces = Vec::new();
        let mut is_stopped = false;
        for (at, rule) in self.rules.iter().enumerate() {
            if is_stopped {
                traces.push(RuleTrace { rule: at, verdict: None, steps: Vec::new(), unless: None });
                continue;
            }
            let mut steps = Steps::default();
            let holds = rule.condition.evaluate(&self.fields, &event.fields, &mut steps);
            let once = rule.once.as_ref().filter(|_| holds);
            let verdict = holds && (once.is_none() || lets_through(at));
            let unless = once.filter(|_| let_through.is_none() || !verdict).map(Once::in_words);
            is_stopped = verdict && rule.stop;
            traces.push(RuleTrace { rule: at, verdict: Some(verdict), steps: steps.finish(), unless });
        }
        Ok((routing, traces))
    }
}

#[derive(Default)]
struct Steps {
    steps: Vec<TraceStep>,
    open: Vec<usize>,
}

impl Steps {
    /// The outermost group is the rule itself and goes without saying.
    fn finish(self) -> Vec<TraceStep> {
        let is_wrapped = matches!(self.steps.first(), Some(TraceStep { node: TraceNode::Group("all"), .. }));
        if !is_wrapped {
            return self.steps;
        }
        self.steps.into_iter().skip(1).map(|step| TraceStep { depth: step.depth - 1, ..step }).collect()
    }
}

impl Recorder for Steps {
    const EVERYTHING: bool = true;

    fn open(&mut self, group: &'static str) {
        let depth = self.open.len();
        self.open.push(self.steps.len());
        self.steps.push(TraceStep { depth, verdict: false, node: TraceNode::Group(group) });
    }

    fn close(&mut self, verdict: bool) {
        if let Some(at) = self.open.pop() {
            self.steps[at].verdict = verdict;
        }
    }

    fn test(&mut self, (label, operator): (&Label, &dyn Operator), verdict: bool, got: &[(u32, Value<'_>)]) {
        let read_as = |value| operator.read_as(value).map_or_else(String::new, |read| format!(" ({read})"));
        let got = got.iter().map(|(_, value)| {
            let value_shown = shown(value);
            Got { value: value_shown + &read_as(value), kind: value.kind() }
        });
        let got = got.collect();
        let node = TraceNode::Test { label: label.clone(), got };
        self.steps.push(TraceStep { depth: self.open.len(), verdict, node });
    }
}

/// A value as JSON, an object as `{…}`.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(text) => (*text).to_owned(),
        Value::String(text) => serde_json::Value::from(text.as_ref()).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object => "{…}".to_owned(),
        Value::Span(span) => shown_span(*span),
    }
}

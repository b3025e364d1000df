//! Why an event goes where it goes: each rule, each condition, and the value it met.

use super::condition::Recorder;
use super::{Routing, RuleSet};
use crate::event::{Refused, RelayFields, Value};

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// Its place in the config.
    pub rule: usize,
    /// Whether it matched; `None`: it was not tried, because an earlier rule has `stop`.
    pub verdict: Option<bool>,
    /// Its conditions, in order, with the depth of each.
    pub steps: Vec<TraceStep>,
}

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// How deep it lies.
    pub depth: usize,
    /// Whether it held.
    pub verdict: bool,
    /// What it is.
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
        label: String,
        /// The values it met, as JSON; empty when the field is missing.
        met: Vec<String>,
    },
}

impl RuleSet {
    /// Explains where an event goes. The routing is the one that [`route`](RuleSet::route) gives.
    pub fn explain<'a>(
        &self,
        body: &'a [u8],
        relay: RelayFields<'_>,
    ) -> Result<(Routing<'a>, Vec<RuleTrace>), Refused> {
        let routing = self.route(body, relay)?;
        let event = self.fields.read(body, relay)?;
        let mut traces = Vec::new();
        let mut is_stopped = false;
        for (at, rule) in self.rules.iter().enumerate() {
            if is_stopped {
                traces.push(RuleTrace { rule: at, verdict: None, steps: Vec::new() });
                continue;
            }
            let mut steps = Steps::default();
            let verdict = rule.condition.evaluate(&self.fields, &event.fields, &mut steps);
            is_stopped = verdict && rule.stop;
            traces.push(RuleTrace { rule: at, verdict: Some(verdict), steps: steps.finish() });
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

    fn test(&mut self, label: &str, verdict: bool, met: &[(u32, Value<'_>)]) {
        let met = met.iter().map(|(_, value)| shown(value)).collect();
        let node = TraceNode::Test { label: label.to_owned(), met };
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
    }
}

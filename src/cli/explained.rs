//! An explanation as people read it, for `explain` and `check`.

use std::fmt::Write as _;

use super::terminal::{Colours, plain};
use crate::destination::{Preview, Unsent};
use crate::explain::{ExplainedDelivery, Explanation};
use crate::rules::{Got, Label, RuleTrace, TraceNode};

/// Each rule with its conditions: verdicts, what was expected, what it got, and why the first failing condition failed.
pub(super) fn rules(explanation: &Explanation<'_>, colours: Colours) -> String {
    let mut out = String::new();
    for trace in &explanation.rules {
        let verdict = verdict(explanation, trace, colours);
        let name = colours.paint("1", &format!("{}:", plain(&explanation.rule(trace.rule).name)));
        let _ = writeln!(out, "{name} {verdict}");
        for step in &trace.steps {
            let line = match &step.node {
                TraceNode::Group(group) => format!("{group}:"),
                TraceNode::Test { label, got } => test(label, got),
            };
            let _ = writeln!(out, "{}{} {}", "  ".repeat(step.depth + 1), mark(step.verdict, colours), plain(&line));
        }
        if trace.steps.is_empty() && trace.verdict == Some(true) {
            let _ = writeln!(out, "  {} matches every event (no conditions)", mark(true, colours));
        }
    }
    out
}

fn mark(verdict: bool, colours: Colours) -> String {
    if verdict { colours.paint("32", "yes") } else { colours.paint("31", "no ") }
}

fn verdict(explanation: &Explanation<'_>, trace: &RuleTrace, colours: Colours) -> String {
    match trace.verdict {
        None => {
            let stopper = explanation.stopped_by().map(|rule| plain(&rule.name)).unwrap_or_default();
            format!("not tried: {stopper} matches and has `stop`")
        }
        Some(true) if explanation.rule(trace.rule).stop => {
            format!("{}, and no later rule is tried (`stop`)", colours.paint("32", "matches"))
        }
        Some(true) => colours.paint("32", "matches"),
        Some(false) => {
            let because = trace.because().map(|why| format!(": {}", plain(&why))).unwrap_or_default();
            format!("{}{because}", colours.paint("31", "does not match"))
        }
    }
}

/// `campaign.id: expected 42, got "43" (string)`.
fn test(label: &Label, got: &[Got]) -> String {
    let Label { field, expected } = label;
    let list = expected.strip_prefix('[').and_then(|expected| expected.strip_suffix(']'));
    let expected = list.map_or(expected.clone(), |items| format!("one of {items}"));
    let got: Vec<_> = got.iter().map(|got| format!("{} ({})", got.value, got.kind)).collect();
    let got = if got.is_empty() { "nothing: the field is missing".to_owned() } else { got.join(", ") };
    format!("{field}: expected {expected}, got {got}")
}

/// Each destination with the rules that named it, and exactly what it would get.
pub(super) fn deliveries(explanation: &Explanation<'_>, colours: Colours) -> String {
    if explanation.deliveries.is_empty() {
        return "goes nowhere: the event is accepted and kept, and delivered to nobody\n".to_owned();
    }
    let all: Vec<_> =
        explanation.deliveries.iter().map(|delivery| self::delivery(explanation, delivery, colours)).collect();
    all.join("\n")
}

fn delivery(explanation: &Explanation<'_>, delivery: &ExplainedDelivery, colours: Colours) -> String {
    let destination = explanation.destination(delivery);
    let rules = explanation.rule_names(delivery).join(", ");
    let by = if delivery.rules.len() == 1 { "the rule" } else { "the rules" };
    let name = colours.paint("1", &destination.name);
    let mut out = format!("→ {name} ({}), by {by} {}\n", destination.kind, plain(&rules));
    let sends = match &delivery.sends {
        Ok(preview) => self::preview(preview, colours),
        Err(Unsent::Failed { why, .. }) => {
            format!("{}: {}; it would be a dead letter\n", colours.paint("31", "nothing"), plain(why))
        }
        Err(Unsent::Skipped(why)) => format!("{}: {}\n", colours.paint("33", "skipped"), plain(why)),
    };
    for line in sends.lines() {
        let indent = if line.is_empty() { "" } else { "  " };
        let _ = writeln!(out, "{indent}{line}");
    }
    out
}

fn preview(preview: &Preview, colours: Colours) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", plain(&preview.title));
    if let Some(headers) = &preview.headers {
        for (name, value) in headers {
            let _ = writeln!(out, "{} {}", colours.paint("2", &format!("{name}:")), plain(value));
        }
        out.push('\n');
    }
    for line in preview.shown_content().lines() {
        let _ = writeln!(out, "{}", plain(line));
    }
    out
}

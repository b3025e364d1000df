//! `explain`: which rules match an event, each condition's verdict and the value it met, and where the event goes.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;

use serde_json::json;

use super::{FAILED, Failure, USAGE, load, read_event};
use crate::config::Config;
use crate::event::RelayFields;
use crate::rules::{Routing, RuleTrace, TraceNode};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A sample of Vero's by name (sent, bounced …), a file, or - for standard input
    event: String,
    /// The source it is to have come in by [default: the first]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// For scripts
    #[arg(long)]
    json: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let (_, config) = load(named)?;
    let body = read_event(&args.event)?;
    let source = args.source.or_else(|| config.sources.first().map(|source| source.name.clone())).unwrap_or_default();
    if !config.sources.iter().any(|known| known.name == source) {
        return Err(Failure::new(USAGE, format!("there is no source `{source}` in the config")));
    }
    let relay = RelayFields { source: &source, received_ms: crate::time::wall_ms() };
    let (routing, traces) = config.rules.explain(&body, relay).map_err(|error| Failure::of(FAILED, &error))?;
    if args.json {
        println!("{:#}", as_json(&config, &routing, &traces));
    } else {
        print!("{}", as_text(&config, &routing, &traces, std::io::stdout().is_terminal()));
    }
    Ok(())
}

fn as_text(config: &Config, routing: &Routing<'_>, traces: &[RuleTrace], is_coloured: bool) -> String {
    let paint =
        |code: &str, text: &str| if is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mark = |verdict: bool| if verdict { paint("32", "yes") } else { paint("31", "no ") };
    let mut out = format!("type: {}\n\n", routing.event_type);
    for trace in traces {
        let rule = &config.rules.rules()[trace.rule];
        let verdict = match trace.verdict {
            None => "not tried: an earlier rule has `stop`".to_owned(),
            Some(true) if rule.stop => format!("{}, and stops", paint("32", "matches")),
            Some(true) => paint("32", "matches"),
            Some(false) => paint("31", "does not match"),
        };
        let _ = writeln!(out, "{} {verdict}", paint("1", &format!("{}:", rule.name)));
        for step in &trace.steps {
            let indent = "  ".repeat(step.depth + 1);
            let line = match &step.node {
                TraceNode::Group(group) => format!("{group}:"),
                TraceNode::Test { label, met } if met.is_empty() => {
                    format!("{label}    met nothing: the field is missing")
                }
                TraceNode::Test { label, met } => format!("{label}    met {}", met.join(", ")),
            };
            let _ = writeln!(out, "{indent}{} {line}", mark(step.verdict));
        }
        if trace.steps.is_empty() && trace.verdict == Some(true) {
            let _ = writeln!(out, "  {} it has no conditions", mark(true));
        }
    }
    out.push('\n');
    if routing.deliveries.is_empty() {
        out.push_str("goes nowhere: the event is taken and kept, and delivered to nobody\n");
    }
    for (destination, rule) in &routing.deliveries {
        let destination = &config.destinations[*destination];
        let rule = &config.rules.rules()[*rule].name;
        let (kind, address) = (destination.kind, destination.destination.address());
        let _ = writeln!(out, "→ {} ({kind} {address}), by the rule {rule}", paint("1", &destination.name));
    }
    out
}

fn as_json(config: &Config, routing: &Routing<'_>, traces: &[RuleTrace]) -> serde_json::Value {
    let rules = traces.iter().map(|trace| {
        let rule = &config.rules.rules()[trace.rule];
        let steps = trace.steps.iter().map(|step| match &step.node {
            TraceNode::Group(group) => json!({ "depth": step.depth, "holds": step.verdict, "group": group }),
            TraceNode::Test { label, met } => {
                json!({ "depth": step.depth, "holds": step.verdict, "condition": label, "met": met })
            }
        });
        json!({ "rule": rule.name, "matches": trace.verdict, "stop": rule.stop, "conditions": steps.collect::<Vec<_>>() })
    });
    let deliveries = routing.deliveries.iter().map(|(destination, rule)| {
        let destination = &config.destinations[*destination];
        json!({ "destination": destination.name, "kind": destination.kind, "rule": config.rules.rules()[*rule].name })
    });
    json!({
        "type": routing.event_type,
        "rules": rules.collect::<Vec<_>>(),
        "deliveries": deliveries.collect::<Vec<_>>(),
    })
}

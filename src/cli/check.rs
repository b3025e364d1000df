//! `check`: is a config good? The very code path of a start.
//!
//! It opens no port and no data directory, so it says the same whether a relay runs on the config or not.

use std::io::IsTerminal;
use std::path::Path;

use serde_json::{Value, json};

use super::{BAD_CONFIG, Failure};
use crate::config::problem::{Report, Severity};
use crate::config::values::Process;
use crate::config::{self, Config, ConfigError};
use crate::telemetry::in_full;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    /// Say it in JSON: file, ok, problems with severity, line, column, message and help, and counts
    #[arg(long)]
    json: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let found = config::find(named);
    let loaded = match &found {
        Ok(path) => Config::load(path, &Process),
        Err(_) => Err(ConfigError::NoFile),
    };
    let file = found.unwrap_or_default().display().to_string();
    if args.json { in_json(&file, loaded, args.strict) } else { in_words(&file, loaded, args.strict) }
}

fn in_words(file: &str, loaded: Result<(Config, Report), ConfigError>, is_strict: bool) -> Result<(), Failure> {
    let is_coloured = std::io::stderr().is_terminal();
    let fail = |report: &Report, severity: Severity| {
        let told = count(report.count(severity), severity.word());
        Err(Failure::new(BAD_CONFIG, format!("{file}: {told}")))
    };
    match loaded {
        Ok((config, report)) => {
            eprint!("{}", report.render(is_coloured));
            if is_strict && report.count(Severity::Warning) > 0 {
                return fail(&report, Severity::Warning);
            }
            let sources = count(config.sources.len(), "source");
            let rules = count(config.rules.rules().len(), "rule");
            let destinations = count(config.destinations.len(), "destination");
            println!("{file} is good: {sources}, {rules}, {destinations}");
            Ok(())
        }
        Err(ConfigError::Problems(report)) => {
            eprint!("{}", report.render(is_coloured));
            fail(&report, Severity::Error)
        }
        Err(error) => Err(Failure::of(BAD_CONFIG, &error)),
    }
}

fn in_json(file: &str, loaded: Result<(Config, Report), ConfigError>, is_strict: bool) -> Result<(), Failure> {
    let (problems, [errors, warnings], mut said) = match &loaded {
        Ok((config, report)) => {
            let counts = json!({
                "sources": config.sources.len(),
                "rules": config.rules.rules().len(),
                "destinations": config.destinations.len(),
            });
            (report.json(), [0, report.count(Severity::Warning)], counts)
        }
        Err(ConfigError::Problems(report)) => {
            (report.json(), [Severity::Error, Severity::Warning].map(|severity| report.count(severity)), json!({}))
        }
        // It could not be read at all, so there is no place.
        Err(error) => {
            let severity = Severity::Error.word();
            let (message, nothing) = (in_full(error), Value::Null);
            let problem = json!({ "severity": severity, "line": nothing, "column": nothing, "message": message, "help": nothing });
            (vec![problem], [1, 0], json!({}))
        }
    };
    let is_ok = errors == 0 && !(is_strict && warnings > 0);
    for (key, value) in [
        ("file", json!(file)),
        ("ok", json!(is_ok)),
        ("errors", json!(errors)),
        ("warnings", json!(warnings)),
        ("problems", json!(problems)),
    ] {
        said[key] = value;
    }
    println!("{said:#}");
    if is_ok { Ok(()) } else { Err(Failure::new(BAD_CONFIG, String::new())) }
}

/// `1 rule`, `2 rules`.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

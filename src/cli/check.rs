//! `check`: is a config good, and does it do what its own tests expect? The very code path of a start, and the tests besides.
//!
//! It opens no port and no data directory, so it says the same whether a relay runs on the config or not. A test sends nothing and
//! writes nothing.

use std::path::Path;

use serde_json::{Value, json};

use super::output::{self, print_error, say, tell};
use super::terminal::{Colours, numbered, plain};
use super::{BAD_CONFIG, Failure, File, explained, find_config};
use crate::config::{Config, ConfigError};
use crate::errors::with_causes;
use crate::explain::{Tested, run_tests};
use crate::yaml::problem::{Report, Severity};
use crate::yaml::values::Process;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: File,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    /// Say it in JSON: file, ok, problems with severity, line, column, message and help, counts, and the config's own tests
    #[arg(long)]
    json: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let found = find_config(args.file.or(named));
    let loaded = match &found {
        Ok(path) => Config::load(path, &Process),
        Err(_) => Err(ConfigError::NoFile),
    };
    let file = found.unwrap_or_default().display().to_string();
    if args.json { in_json(&file, loaded, args.strict) } else { in_words(&file, loaded, args.strict) }
}

fn in_words(file: &str, loaded: Result<(Config, Report), ConfigError>, is_strict: bool) -> Result<(), Failure> {
    let colours = Colours::of(&std::io::stderr());
    let fail = |report: &Report| Err(Failure::new(BAD_CONFIG, format!("{file}: {}", counted(report))));
    match loaded {
        Ok((config, report)) => {
            print_error(&report.render(colours.are_on));
            let tested = run_tests(&config);
            let failed: Vec<_> = tested.iter().filter(|tested| !tested.missed.is_empty()).collect();
            failed.iter().for_each(|tested| tell!("{}", failing(tested, colours)));
            if failed.iter().any(|tested| tested.is_cut_short()) {
                tell!("of so many tests and rules, only the first that failed are explained: mend these first\n");
            }
            if !failed.is_empty() {
                let told = format!("{file}: {} of {} failed", failed.len(), count(tested.len(), "test"));
                return Err(Failure::new(BAD_CONFIG, told));
            }
            if is_strict && report.count(Severity::Warning) > 0 {
                return fail(&report);
            }
            let warnings = report.count(Severity::Warning);
            if warnings > 0 {
                if !tested.is_empty() {
                    say!("{} passed", count(tested.len(), "test"));
                }
                say!("{file}: {}", count(warnings, "warning"));
                return Ok(());
            }
            let sources = count(config.sources.len(), "source");
            let rules = count(config.rules.rules().len(), "rule");
            let destinations = count(config.destinations.len(), "destination");
            let passed =
                if tested.is_empty() { String::new() } else { format!(", {} passed", count(tested.len(), "test")) };
            say!("{file} is good: {sources}, {rules}, {destinations}{passed}");
            Ok(())
        }
        Err(ConfigError::Problems(report)) => {
            print_error(&report.render(colours.are_on));
            fail(&report)
        }
        Err(error) => Err(Failure::of(BAD_CONFIG, &error)),
    }
}

fn in_json(file: &str, loaded: Result<(Config, Report), ConfigError>, is_strict: bool) -> Result<(), Failure> {
    let mut failed = 0;
    let (problems, [errors, warnings], mut said) = match &loaded {
        Ok((config, report)) => {
            let tested = run_tests(config);
            failed = tested.iter().filter(|tested| !tested.missed.is_empty()).count();
            let counts = json!({
                "tests": tested.iter().map(Tested::json).collect::<Vec<_>>(),
                "tests_passed": tested.len() - failed,
                "tests_failed": failed,
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
            let message = with_causes(error);
            let nothing = Value::Null;
            let problem = json!({ "severity": severity, "line": nothing, "column": nothing, "message": message, "help": nothing });
            (vec![problem], [1, 0], json!({}))
        }
    };
    let is_ok = errors == 0 && failed == 0 && !(is_strict && warnings > 0);
    for (key, value) in [
        ("file", json!(file)),
        ("ok", json!(is_ok)),
        ("errors", json!(errors)),
        ("warnings", json!(warnings)),
        ("problems", json!(problems)),
    ] {
        said[key] = value;
    }
    output::json(&said);
    if is_ok { Ok(()) } else { Err(Failure::new(BAD_CONFIG, String::new())) }
}

/// `2 errors, 1 warning`.
fn counted(report: &Report) -> String {
    let of = |severity: Severity| (report.count(severity), severity.word());
    let told = [of(Severity::Error), of(Severity::Warning)].into_iter().filter(|(number, _)| *number > 0);
    let told: Vec<_> = told.map(|(number, word)| count(number, word)).collect();
    told.join(", ")
}

fn count(number: usize, what: &str) -> String {
    numbered(number as u64, what)
}

/// A test that did not pass: what was expected and what came, and why it went so.
fn failing(tested: &Tested<'_>, colours: Colours) -> String {
    let mut out = format!("{}: {}\n", colours.paint("31", "test failed"), plain(&tested.test.name));
    for missed in &tested.missed {
        missed.in_words().lines().for_each(|line| out.push_str(&format!("{}\n", plain(line))));
    }
    if let Some(explanation) = &tested.explanation {
        out.push('\n');
        for line in explained::rules(&explanation.json(), colours).lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}

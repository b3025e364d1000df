//! `check`: is a config good? The very code path of a start.

use std::io::IsTerminal;
use std::path::Path;

use super::{BAD_CONFIG, Failure};
use crate::config::problem::Severity;
use crate::config::values::Process;
use crate::config::{self, Config, ConfigError};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let path = config::find(named).map_err(|error| Failure::of(BAD_CONFIG, &error))?;
    let is_coloured = std::io::stderr().is_terminal();
    match Config::load(&path, &Process) {
        Ok((config, report)) => {
            eprint!("{}", report.render(is_coloured));
            let warnings = report.count(Severity::Warning);
            if args.strict && warnings > 0 {
                return Err(Failure::new(BAD_CONFIG, format!("{}: {}", path.display(), count(warnings, "warning"))));
            }
            let sources = count(config.sources.len(), "source");
            let rules = count(config.rules.rules().len(), "rule");
            let destinations = count(config.destinations.len(), "destination");
            println!("{} is good: {sources}, {rules}, {destinations}", path.display());
            Ok(())
        }
        Err(ConfigError::Problems(report)) => {
            eprint!("{}", report.render(is_coloured));
            let errors = report.count(Severity::Error);
            Err(Failure::new(BAD_CONFIG, format!("{}: {}", path.display(), count(errors, "error"))))
        }
        Err(error) => Err(Failure::of(BAD_CONFIG, &error)),
    }
}

/// `1 rule`, `2 rules`.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

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
                return Err(Failure::new(BAD_CONFIG, format!("{}: {warnings} warnings", path.display())));
            }
            let (sources, rules) = (config.sources.len(), config.rules.rules().len());
            let destinations = config.destinations.len();
            println!("{} is good: {sources} sources, {rules} rules, {destinations} destinations", path.display());
            Ok(())
        }
        Err(ConfigError::Problems(report)) => {
            eprint!("{}", report.render(is_coloured));
            let errors = report.count(Severity::Error);
            Err(Failure::new(BAD_CONFIG, format!("{}: {errors} errors", path.display())))
        }
        Err(error) => Err(Failure::of(BAD_CONFIG, &error)),
    }
}

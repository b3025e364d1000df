//! The command line: one file a verb, one line in `verbs!` each.
//!
//! # Cast
//!
//! * [`client`]: talks to a running relay. [`dialogue`]: a question before something is done, and how far it has come.
//! * [`output`]: the one way to standard output and error. [`terminal`]: sizes and ages as people read them; [`columns`]: lists;
//!   [`explained`]: an explanation.
//! * [`usage`]: reads what was typed. [`reference`](mod@reference): `docs/cli.md`, made from the verbs' help.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::config::{self, Config, ConfigError};
use crate::errors::with_causes;
use crate::yaml::problem::Severity;
use crate::yaml::values::Process;

/// Accepts Vero's webhooks, stores each before it answers, and delivers it to HTTP endpoints, Slack, email and files.
#[derive(Debug, Parser)]
#[command(name = "vero-relay", version, about, long_about = None, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// The config file [env: VERO_RELAY_CONFIG] [default: ./config.yaml, then /etc/vero-relay/config.yaml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
A first look, with nothing but this program:
  vero-relay run -c config.example.yaml        start the relay; its destinations are bins that it hosts itself
  vero-relay send bounced -c config.example.yaml   post a sample event and see what became of it
  vero-relay explain bounced -c config.example.yaml   see which rules match, and why

Exit codes: 0 done, 1 failed, 2 wrong usage, 75 data_dir in use, 78 bad config.
VERO_RELAY_LOG=debug says more; VERO_RELAY_LOG_FORMAT=json says it in JSON.";

/// The config that the environment names. Containers set variables to nothing where they mean none; who writes `-c ""` means a file.
fn named_outside() -> Option<PathBuf> {
    std::env::var_os("VERO_RELAY_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Finds the config file: the one that was typed, or the one that the environment names, or the first of the usual places.
fn find_config(typed: Option<&Path>) -> Result<PathBuf, ConfigError> {
    config::find(typed.map(Path::to_owned).or_else(named_outside).as_deref())
}

/// Declares the verbs: for each a module with `Args` and `run`.
macro_rules! verbs {
    ($($(#[$doc:meta])* $variant:ident => $module:ident,)*) => {
        $(mod $module;)*

        #[derive(Debug, Subcommand)]
        enum Verb {
            $($(#[$doc])* $variant($module::Args),)*
        }

        impl Cli {
            /// Does what was asked.
            pub fn run(self) -> Result<(), Failure> {
                match self.verb {
                    $(Verb::$variant(args) => $module::run(self.config.as_deref(), args),)*
                }
            }
        }
    };
}

verbs! {
    /// Write a config to begin with
    Init => init,
    /// Run the relay
    Run => run,
    /// Say whether a config is good, and all that is wrong with it
    Check => check,
    /// Show which rules match an event, why, and what each destination would get
    Explain => explain,
    /// Post sample events to a running relay and see what became of them
    Send => send,
    /// Print the address to paste into Vero
    Urls => urls,
    /// Show the state of a running relay, on one screen
    Status => status,
    /// Show the history, newest first, or one event
    Events => events,
    /// Show events as they come, and what becomes of them
    Tail => tail,
    /// Show the last requests that were turned away, and why
    Refused => refused,
    /// List, show, replay or drop what was given up
    DeadLetters => dead_letters,
    /// Deliver a range of the history again
    Replay => replay,
    /// Erase what there is of a person, and prove it; or find it
    Forget => forget,
    /// Send events where the rules in force send them, to destinations that lack them
    RouteAgain => route_again,
    /// Make a destination's waiting deliveries due now
    Retry => retry,
    /// Hold a destination's queue, or a source
    Pause => pause,
    /// Let a paused destination or source continue
    Resume => resume,
    /// Let a running relay read its config again, and say what changed
    Reload => reload,
    /// Ask a running relay to tell those who are told of trouble, as a test
    Notify => notify,
    /// Show which deliveries of the history would change by another config
    WhatIf => what_if,
    /// Print the JSON Schema of the config, for completion in an editor
    Schema => schema,
    /// List the presets, or show one whole
    Presets => presets,
    /// Verify or copy the store, or say how much it has
    Store => store,
    /// Say by the exit code whether a running relay accepts events; for containers
    Healthcheck => healthcheck,
}

mod client;
mod columns;
mod dialogue;
mod explained;
mod output;
mod reference;
mod terminal;
mod usage;

pub use self::output::print_error;
pub use self::reference::reference;

/// Why a verb did not do what was asked, and the process's exit code.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    /// What to print, if it was not printed yet.
    pub message: String,
}

/// It was tried and failed.
pub const FAILED: u8 = 1;
/// It was asked wrongly.
pub const USAGE: u8 = 2;
/// Another process has the data directory (sysexits' EX_TEMPFAIL).
pub const IN_USE: u8 = 75;
/// The config is bad (sysexits' EX_CONFIG).
pub const BAD_CONFIG: u8 = 78;

impl Failure {
    /// A failure with a message.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A failure with an error and all its causes.
    pub fn of(code: u8, error: &dyn std::error::Error) -> Self {
        Self::new(code, with_causes(error))
    }
}

/// The config file, for verbs that read one; it may stand behind the verb or at `--config`.
#[derive(Debug, clap::Args)]
struct File {
    /// The config file, instead of --config
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl File {
    /// The file that was named, in one of the two ways.
    fn or<'f>(&'f self, named: Option<&'f Path>) -> Option<&'f Path> {
        self.file.as_deref().or(named)
    }
}

/// The config file of the relay that is asked, for verbs that take nothing but an address from it.
#[derive(Debug, clap::Args)]
struct AdminFile {
    /// A config whose `admin.listen` says which relay to ask, instead of --config; nothing else of it is read
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl AdminFile {
    /// The file that was named, in one of the two ways.
    fn or<'f>(&'f self, named: Option<&'f Path>) -> Option<&'f Path> {
        self.file.as_deref().or(named)
    }
}

/// Finds and proves the config. Problems are printed as they are read best. Warnings are counted: `check` and a start show them, and before
/// each answer of another verb they would hide it.
fn load(named: Option<&Path>) -> Result<(PathBuf, Config), Failure> {
    let path = find_config(named).map_err(|error| Failure::of(BAD_CONFIG, &error))?;
    let is_coloured = terminal::Colours::of(&std::io::stderr()).are_on;
    match Config::load(&path, &Process) {
        Ok((config, report)) => {
            tell_of_warnings(report.count(Severity::Warning), Some(&path));
            Ok((path, config))
        }
        Err(ConfigError::Problems(report)) => Err(Failure::new(BAD_CONFIG, report.render(is_coloured).trim_end())),
        Err(error) => Err(Failure::of(BAD_CONFIG, &error)),
    }
}

/// Says that there are warnings, and where to read them.
fn tell_of_warnings(number: usize, file: Option<&Path>) {
    if number > 0 {
        let file = file.map(|path| format!(" {}", terminal::plain(&path.display().to_string()))).unwrap_or_default();
        output::tell!("{}: see `vero-relay check{file}`", terminal::numbered(number as u64, "warning"));
    }
}

/// Runs a verb that waits for the network.
fn block_on<T>(future: impl std::future::Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::of(FAILED, &error))?.block_on(future)
}

/// Stands for standard input, where an event is named.
const STANDARD_INPUT: &str = "-";

/// An event's body: a sample of Vero's by name, a file, or standard input.
fn read_event(what: &str) -> Result<Vec<u8>, Failure> {
    if let Some((_, body)) = crate::event::vero::SAMPLES.iter().find(|(name, _)| *name == what) {
        return Ok(body.as_bytes().to_vec());
    }
    let read = if what == STANDARD_INPUT {
        let mut body = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut body).map(|_| body)
    } else {
        std::fs::read(what)
    };
    read.map_err(|error| {
        let names: Vec<_> = crate::event::vero::SAMPLES.iter().map(|(name, _)| *name).collect();
        Failure::new(
            USAGE,
            format!("`{what}` is no sample and no file that can be read ({error}). The samples: {}", names.join(", ")),
        )
    })
}

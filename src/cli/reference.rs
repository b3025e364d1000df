//! `docs/cli.md`, made from the verbs' own help, so that it says what the program takes.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

const HEAD: &str = include_str!("reference.md");

/// The reference of the command line, as Markdown.
pub fn reference() -> String {
    let mut out = format!("<!-- Made from the verbs' own help; its first part is src/cli/reference.md. -->\n\n{HEAD}");
    let program = Cli::command();
    for verb in program.get_subcommands() {
        describe(&mut out, "vero-relay", verb);
    }
    out
}

fn describe(out: &mut String, before: &str, verb: &Command) {
    let name = format!("{before} {}", verb.get_name());
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    if verb.has_subcommands() {
        let _ = write!(out, "\n## {name}\n\n{about}.\n");
        verb.get_subcommands().for_each(|act| describe(out, &name, act));
        return;
    }
    let shown = |arg: &&Arg| !arg.is_hide_set();
    let (positional, options): (Vec<_>, Vec<_>) =
        verb.get_arguments().filter(shown).partition(|arg| arg.is_positional());
    let mut usage = name.clone();
    // What is needed unless something else stands there is marked in the usage that the verb gives itself.
    let given = verb.clone().render_usage().to_string();
    for arg in &positional {
        let value = value_name(arg);
        let is_needed = arg.is_required_set() || given.contains(&format!("<{value}>"));
        let _ = write!(usage, " {}", if is_needed { value } else { format!("[{value}]") });
    }
    let level = if before == "vero-relay" { "##" } else { "###" };
    let _ = write!(out, "\n{level} {name}\n\n{about}.\n\n```text\n{usage}");
    let _ = write!(out, "{}\n```\n", if options.is_empty() { "" } else { " [OPTIONS]" });
    if positional.is_empty() && options.is_empty() {
        return;
    }
    out.push_str("\n| | |\n|---|---|\n");
    for arg in positional.into_iter().chain(options) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let variable = arg.get_env().map(|name| format!(" (`${}`)", name.to_string_lossy())).unwrap_or_default();
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if default.is_empty() || !takes_value(arg) {
            String::new()
        } else {
            format!(" [default: {}]", default.join(", "))
        };
        let _ = writeln!(out, "| `{}` | {}{default}{variable} |", flag(arg), help.replace('|', "\\|"));
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().map(|names| names.join(" "));
    names.unwrap_or_else(|| arg.get_id().as_str().to_uppercase())
}

fn flag(arg: &Arg) -> String {
    if arg.is_positional() {
        return value_name(arg);
    }
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let long = arg.get_long().unwrap_or_default();
    let value = if takes_value(arg) { format!(" {}", value_name(arg)) } else { String::new() };
    format!("{short}--{long}{value}")
}

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
    let level = if before == "vero-relay" { "##" } else { "###" };
    let _ = write!(out, "\n{level} {name}\n\n{about}.\n\n```text\n{}\n```\n", usage(verb, &name));
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

/// The usage as the verb's help shows it, where some stand written out: what is needed unless something else is given, clap does not say.
fn usage(verb: &Command, name: &str) -> String {
    let shown = verb.clone().bin_name(name).render_usage().to_string();
    let lines = shown.lines().map(|line| line.trim_start_matches("Usage:").trim());
    lines.collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A usage that is written out may fall behind: whoever adds a word to a verb is told here.
    #[test]
    fn each_usage_names_the_verb_its_words_and_whether_there_are_options() {
        fn check(before: &str, verb: &Command) {
            let name = format!("{before} {}", verb.get_name());
            verb.get_subcommands().for_each(|act| check(&name, act));
            if verb.has_subcommands() {
                return;
            }
            let usage = usage(verb, &name);
            let shown = || verb.get_arguments().filter(|arg| !arg.is_hide_set());
            assert!(usage.lines().all(|line| line.starts_with(&name)), "{usage}");
            assert_eq!(usage.contains("[OPTIONS]"), shown().any(|arg| !arg.is_positional()), "{usage}");
            for word in shown().filter(|arg| arg.is_positional()).map(value_name) {
                let is_named = [format!("<{word}>"), format!("[{word}]")].iter().any(|word| usage.contains(word));
                assert!(is_named, "{word}: {usage}");
            }
        }
        let program = Cli::command();
        assert!(program.has_subcommands());
        program.get_subcommands().for_each(|verb| check("vero-relay", verb));
    }
}

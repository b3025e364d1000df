//! The fuzz targets of `fuzz/`, each for a bounded number of seeded mutations of its seeds. `make fuzz` runs them without a bound.
//!
//! `VERO_RELAY_FUZZ_SEED` and `VERO_RELAY_FUZZ_ITERATIONS` choose another run; what a failure prints repeats it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use crate::torture::dice::Dice;

#[path = "../../fuzz/targets/body.rs"]
mod body;
#[path = "../../fuzz/targets/condition.rs"]
mod condition;
#[path = "../../fuzz/targets/config.rs"]
mod config;
#[path = "../../fuzz/targets/file_path.rs"]
mod file_path;
#[path = "../../fuzz/targets/journal.rs"]
mod journal;
#[path = "../../fuzz/targets/retry_after.rs"]
mod retry_after;
#[path = "../../fuzz/targets/slack.rs"]
mod slack;

/// The same in every run, unless somebody says otherwise: a test that fails once fails again.
const SEED: u64 = 0x5eed;
/// An input grows no longer than this; duplication would.
const INPUT_BYTES_MAX: usize = 8 << 10;

/// A target with the words that mean something to it.
struct Run {
    name: &'static str,
    target: fn(&[u8]) -> bool,
    tokens: &'static [&'static str],
    /// So many that all targets together take a few seconds without optimisation.
    iterations: u64,
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "-0",
    "1e400",
    "9007199254740993",
    "\\ud800",
    "\\u0000",
    "\"type\":",
    "\"a\":{\"b\":1}",
    "\"user\":null",
    "\"campaign\":",
    "[[[[",
    "\n",
    "/a/0",
    "a.b",
    "\u{feff}",
    "é",
];
const YAML: &[&str] = &[
    "\n",
    "  ",
    "- ",
    ": ",
    "${OTHER}",
    "${CRM_URL}",
    "$${",
    "${file:missing}",
    "{{ type }}",
    "&a ",
    "*a",
    "<<: ",
    "|\n",
    "\"",
    "'",
    "#",
    "!!str ",
    "~",
    "0x1F",
    "1e999",
    "x-a: ",
    "type: ",
    "match:",
    "to: []",
    "stop: true",
    "renamed_from: crm",
    "é",
    "\t",
    "{",
    "}",
    "[",
    "]",
    "72h",
    "${SECRET}",
    "answers: {404: reject}",
    "not: ",
    "any: ",
];
const DATES: &[&str] =
    &["-", "+0100", " GMT", "60", "Mon, ", "29 Feb 2023", "9999", "\n", ":", " ", "0", "١", "\u{2003}"];
const PATHS: &[&str] =
    &["/", "..", "{type}", "{date}", "{hour}", "{source}", "{", "}", "\0", "\n", "./", "~", "{typ}", "é", "\\u002e"];
const TEMPLATES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{% for i in list %}",
    "{% endfor %}",
    "{{ x }}",
    " | upper",
    " | safe",
    " | url",
    "&",
    "<",
    ">",
    "&amp;",
    ";",
    "\0",
    "\u{1f600}",
    "<!channel>",
    "& ",
    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    "{{ relay.id }}",
];
const CONDITIONS: &[&str] = &[
    "not: ",
    "any: [",
    "none: [",
    "{exists: false}",
    "{gt: 1}",
    "null",
    "ignore_case: true",
    "{glob: \"*\"}",
    "{regex: \"a|b\"}",
    "[1, \"1\"]",
    "{",
    "}",
    "]",
    ",",
    "\n",
    "x: ",
    "\"x\":",
    "[]",
    "relay.source: vero",
    "\"type\":",
    "A",
    "ſ",
    "K",
    "İ",
];
const BYTES: &[&str] =
    &["VGRP", "VEROJRNL", "\0\0\0\0\0\0", "\u{7}\0\0\u{1}\u{2}\0", "\u{2}\u{2}\0\u{1}\0\0", "\u{6}", "\u{4}"];

#[track_caller]
fn check(run: Run) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("VERO_RELAY_FUZZ_SEED").unwrap_or(SEED);
    let iterations = number("VERO_RELAY_FUZZ_ITERATIONS").unwrap_or(run.iterations);
    let seeds = seeds(run.name);
    let try_one = |iteration: Option<u64>, input: &[u8]| {
        catch_unwind(AssertUnwindSafe(|| (run.target)(input))).unwrap_or_else(|panic| {
            let input = input.escape_ascii();
            eprintln!("{}: seed {seed}, iteration {iteration:?}, input b\"{input}\"", run.name);
            resume_unwind(panic)
        })
    };
    let mut accepted = seeds.iter().filter(|input| try_one(None, input)).count() as u64;
    assert!(accepted > 0, "{}: some seed is good", run.name);
    let mut dice = Dice::new(seed);
    accepted = 0;
    for iteration in 0..iterations {
        let input = mutated(&mut dice, &seeds, run.tokens);
        accepted += u64::from(try_one(Some(iteration), &input));
    }
    let refused = iterations - accepted;
    println!("{}: {accepted} accepted, {refused} refused", run.name);
    // Too few of either would mean that only one side of what is accepted is tried.
    let least = iterations.min(run.iterations) / 50;
    assert!(accepted >= least && refused >= least, "{}: {accepted} accepted, {refused} refused", run.name);
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let entries = std::fs::read_dir(&directory).expect("a directory of seeds");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // The file system's order is not everybody's.
    paths.sort();
    assert!(paths.len() > 2, "{name} has seeds");
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

/// One to three changes to one of the seeds.
fn mutated(dice: &mut Dice, seeds: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
    let mut input = dice.pick(seeds).clone();
    for _ in 0..=dice.below(3) {
        change(dice, &mut input, seeds, tokens);
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

fn change(dice: &mut Dice, input: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[&str]) {
    let at = dice.below(input.len() + 1);
    let end = (at + 1 + dice.below(16)).min(input.len());
    match dice.below(9) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.below(256) as u8,
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        5 => {
            let other = dice.pick(seeds);
            let from = dice.below(other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        6 => swap_parts(dice, input),
        _ => drop(input.splice(at..at, dice.pick(tokens).bytes())),
    }
}

/// Parts between the signs that JSON and YAML are built with change places, or one takes the other's.
fn swap_parts(dice: &mut Dice, input: &mut Vec<u8>) {
    let sign = *dice.pick(b",:\n}]");
    let mut parts: Vec<&[u8]> = input.split(|byte| *byte == sign).collect();
    let (one, other) = (dice.below(parts.len()), dice.below(parts.len()));
    if dice.below(2) == 0 {
        parts.swap(one, other)
    } else {
        parts[one] = parts[other]
    }
    *input = parts.join(&sign);
}

#[test]
fn no_bytes_make_the_journal_reader_panic_or_lose_an_event_without_a_word() {
    check(Run { name: "journal", target: journal::journal, tokens: BYTES, iterations: 300 });
}

#[test]
fn the_body_parser_agrees_with_a_walk_of_the_tree_on_any_bytes() {
    check(Run { name: "body", target: body::body, tokens: JSON, iterations: 3000 });
}

#[test]
fn every_problem_of_any_config_has_its_place_and_shows_no_secret() {
    check(Run { name: "config", target: config::config, tokens: YAML, iterations: 200 });
}

#[test]
fn no_event_and_no_template_make_a_path_that_leaves_its_base() {
    check(Run { name: "file_path", target: file_path::file_path, tokens: PATHS, iterations: 5000 });
}

#[test]
fn every_retry_after_is_within_its_bounds_or_not_understood() {
    check(Run { name: "retry_after", target: retry_after::retry_after, tokens: DATES, iterations: 10_000 });
}

#[test]
fn the_index_and_the_explanation_agree_with_the_plain_verdict() {
    check(Run { name: "condition", target: condition::condition, tokens: CONDITIONS, iterations: 2000 });
}

#[test]
fn no_value_puts_markup_into_slacks_text_or_half_an_entity() {
    check(Run { name: "slack", target: slack::slack, tokens: TEMPLATES, iterations: 500 });
}

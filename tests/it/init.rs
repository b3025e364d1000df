//! `init`: a config to begin with, that is good, and never in the place of another.

use std::path::Path;
use std::process::{Command, Output};

use crate::cli::{err, out};

fn run(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    command.args(args).current_dir(directory).env_remove("VERO_RELAY_CONFIG");
    // Those that it names.
    for name in ["VERO_TOKEN", "SLACK_WEBHOOK_URL", "CRM_TOKEN"] {
        let value =
            if name.ends_with("URL") { "https://hooks.slack.com/services/T0/B0/x" } else { "a-token-that-is-long" };
        command.env(name, value);
    }
    command.output().expect("it runs")
}

#[test]
fn what_is_written_is_good_and_says_what_to_do_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    let written = run(at, &["init"]);
    assert_eq!(written.status.code(), Some(0), "{}", err(&written));
    insta::assert_snapshot!(out(&written));
    let checked = run(at, &["check", "--strict"]);
    assert_eq!(
        (checked.status.code(), out(&checked).as_str(), err(&checked).as_str()),
        (Some(0), "config.yaml is good: 1 source, 1 rule, 1 destination, 1 test passed\n", "")
    );
    let unset =
        Command::new(env!("CARGO_BIN_EXE_vero-relay")).arg("check").current_dir(at).env_remove("VERO_TOKEN").output();
    let said = err(&unset.expect("it runs"));
    assert!(said.contains("the environment variable VERO_TOKEN is not set"), "no secret is made up: {said}");

    for args in [&["init", "other.yaml"][..], &["init", "-c", "third.yaml"]] {
        let written = run(at, args);
        assert!(out(&written).contains(&format!("vero-relay check {}", args[args.len() - 1])), "{}", out(&written));
        assert!(at.join(args[args.len() - 1]).exists());
    }
    let odd = run(at, &["init", "it's mine.yaml"]);
    assert!(out(&odd).contains(r"vero-relay check 'it'\''s mine.yaml'"), "a shell takes it: {}", out(&odd));
}

#[test]
fn what_it_shows_in_comments_is_good_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    run(at, &["init"]);
    let text = std::fs::read_to_string(at.join("config.yaml")).expect("written");
    // What is indented behind its sign is a part of the file, and so is a key.
    let is_part = |rest: &str| {
        rest.starts_with("  ")
            || rest.starts_with("- ")
            || rest.split(' ').next().is_some_and(|word| word.ends_with(':') && word != "vero-relay:")
    };
    let uncommented = text.lines().map(|line| match line.split_once("# ") {
        Some((before, rest)) if before.trim().is_empty() && is_part(rest) => format!("{before}{rest}"),
        _ => line.to_owned(),
    });
    let uncommented: Vec<_> = uncommented.collect();
    std::fs::write(at.join("all.yaml"), uncommented.join("\n")).expect("written");
    let checked = run(at, &["check", "all.yaml"]);
    assert_eq!(checked.status.code(), Some(0), "{}\n{}", err(&checked), uncommented.join("\n"));
    assert!(
        out(&checked).contains("all.yaml is good: 1 source, 3 rules, 3 destinations"),
        "{}{}",
        out(&checked),
        err(&checked)
    );
}

#[test]
fn a_file_that_is_there_is_left_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    std::fs::write(at.join("config.yaml"), "mine").expect("written");
    let refused = run(at, &["init"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = err(&refused);
    assert!(said.contains("config.yaml is there already") && said.contains("name another file"), "{said}");
    assert_eq!(std::fs::read_to_string(at.join("config.yaml")).expect("read"), "mine");
    std::os::unix::fs::symlink("nowhere", at.join("link.yaml")).expect("linked");
    assert_eq!(run(at, &["init", "link.yaml"]).status.code(), Some(1), "nothing is written through a link");
    assert!(!at.join("nowhere").exists());
    let nowhere = run(at, &["init", "no/such/place.yaml"]);
    assert!(err(&nowhere).contains("no/such/place.yaml could not be written"), "{}", err(&nowhere));
}

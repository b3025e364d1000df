//! Invariants of the source that no compiler checks.

use std::path::{Path, PathBuf};

pub fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The files under `src/` whose code (not its comments) holds a text.
fn naming(text: &str) -> Vec<String> {
    naming_in(text, str::to_owned)
}

/// The same, without what is for tests.
fn naming_outside_tests(text: &str) -> Vec<String> {
    naming_in(text, crate::imports::without_tests)
}

fn naming_in(text: &str, part: impl Fn(&str) -> String) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "the sources were found");
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let mut named: Vec<String> = files
        .iter()
        .filter(|path| {
            let source = std::fs::read_to_string(path).expect("read");
            part(&source).lines().filter(is_code).any(|line| line.contains(text))
        })
        .map(|path| path.strip_prefix(&root).expect("below").display().to_string())
        .collect();
    named.sort();
    named
}

#[test]
fn packages_that_are_to_be_replaced_one_day_are_named_in_one_file_each() {
    assert_eq!(naming("serde_yaml"), ["yaml/load.rs"]);
    assert_eq!(naming("backoff::backoff"), ["deliver/backoff.rs"]);
    let client = |file: &String| file.starts_with("destination/client");
    assert!(naming("reqwest::").iter().all(client), "{:?}", naming("reqwest::"));
    let mail = naming("lettre::");
    assert!(!mail.is_empty() && mail.iter().all(|file| file.starts_with("destination/email/")), "{mail:?}");
    let postgres = naming("tokio_postgres");
    assert!(!postgres.is_empty() && postgres.iter().all(|file| file.starts_with("store/postgres/")), "{postgres:?}");
}

/// Where the name of a kind means something else.
const OTHER_MEANINGS: [(&str, &[&str]); 3] = [
    // The scheme of a URL.
    ("http", &["destination/client/", "destination/exposure.rs", "yaml/"]),
    // A path on this machine: of a test's event, of a config. And a block of Slack's.
    ("file", &["admin/", "cli/", "config/expectations.rs", "destination/slack/"]),
    // The last step of `user.email`, by which events are looked for, and what others call a message.
    (
        "email",
        &[
            "admin/",
            "cli/",
            "config/advice/",
            "config/signs.rs",
            "config/sorting.rs",
            "destination/template/",
            "event/",
            "rules/",
            "simulation/newsletter.rs",
            "yaml/words.rs",
        ],
    ),
];

#[test]
fn a_kind_of_destination_is_named_by_itself_alone() {
    for kind in vero_relay::destination::KINDS {
        let name = kind.name;
        let others = OTHER_MEANINGS.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, places)| *places);
        let is_own = |file: &String| {
            *file == format!("destination/{name}.rs") || file.starts_with(&format!("destination/{name}/"))
        };
        let mut named = naming_outside_tests(&format!("\"{name}\""));
        assert!(named.iter().any(is_own), "{name} names itself: {named:?}");
        named.retain(|file| !is_own(file) && file != "config/tests.rs");
        named.retain(|file| !others.iter().any(|place| file.starts_with(place)));
        assert_eq!(named, [""; 0], "{name}");
    }
}

#[test]
fn only_the_listeners_know_warp_and_hyper() {
    let rooms = |file: &String| ["listener/", "receive/", "admin/"].iter().any(|folder| file.starts_with(folder));
    let warp = naming("warp::");
    assert!(!warp.is_empty() && warp.iter().all(rooms), "{warp:?}");
    assert_eq!(naming("hyper::"), ["listener/answered.rs", "listener/drain.rs", "listener/server.rs"]);
}

#[test]
fn what_decides_touches_neither_clock_nor_disk_nor_network() {
    for text in ["std::fs", "std::net", "tokio::", "Instant::now", "SystemTime"] {
        let pure = |file: &String| {
            file.starts_with("rules/")
                || file.starts_with("event/")
                || file.starts_with("notify/")
                || file == "deliver/decide.rs"
                || file == "deliver/breaker.rs"
                || file == "store/journal/queue.rs"
                || file.starts_with("store/journal/queue/")
                || file.starts_with("store/postgres/cluster/")
        };
        let named: Vec<_> = naming_outside_tests(text).into_iter().filter(pure).collect();
        assert!(named.is_empty(), "{text} in {named:?}");
    }
}

#[test]
fn nothing_in_the_daemon_writes_to_standard_output_or_error_but_the_log() {
    let may_print = |file: &String| {
        // The verbs print, which is what they are for; `run` is the daemon.
        (file.starts_with("cli/") && file != "cli/run.rs") || file.starts_with("simulation/")
    };
    let daemon = |text: &str| -> Vec<_> {
        let named = naming_outside_tests(text);
        named.into_iter().filter(|file| !may_print(file)).collect()
    };
    for text in ["println!", "print!", "dbg!", "stdout()"] {
        assert_eq!(daemon(text), [""; 0], "{text} panics where it cannot write, and waits for who does not read");
    }
    assert_eq!(daemon("stderr()"), ["telemetry/log.rs", "telemetry/log/out.rs"]);
    for text in ["println!", "print!"] {
        let verbs = naming_outside_tests(text);
        let stray: Vec<_> = verbs.iter().filter(|file| file.starts_with("cli/") && *file != "cli/output.rs").collect();
        assert!(stray.is_empty(), "{text} in {stray:?}: verbs print by cli/output.rs");
    }
    assert_eq!(naming_outside_tests("stdout().lock"), ["cli/output.rs"], "the verbs were found");
    assert_eq!(naming("log_internal_errors(true)"), [""; 0]);
    assert_eq!(naming("tracing_subscriber::fmt()"), ["telemetry/log.rs"]);
}

/// The modules that a file declares for all builds, one by one. What a macro declares is "one file each" to the text above it.
fn declared(source: &str) -> Vec<String> {
    let mut is_of_tests = false;
    let mut declared = Vec::new();
    for line in source.lines() {
        let item = line.rsplit_once(") ").map_or(line, |(_, item)| item);
        let name = item.strip_prefix("pub ").unwrap_or(item).strip_prefix("mod ");
        if let Some(name) = name.and_then(|name| name.strip_suffix(';'))
            && !is_of_tests
        {
            declared.push(name.to_owned());
        }
        is_of_tests = line == "#[cfg(test)]" || line.starts_with("#[cfg(all(test");
    }
    declared
}

#[test]
fn each_folder_says_who_lives_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut count = 0;
    let mut unsaid = Vec::new();
    for path in files {
        let source = std::fs::read_to_string(&path).expect("read");
        let cast: String = source.lines().take_while(|line| line.starts_with("//!")).collect();
        let is_said = |name: &str| {
            // As itself, or as a module that something else shares its name with.
            ["", "mod@"].iter().any(|kind| cast.contains(&format!("`{kind}{name}`")))
        };
        for name in declared(&source) {
            count += 1;
            if !is_said(&name) {
                unsaid.push(format!(
                    "{} does not say what {name} is",
                    path.strip_prefix(&root).expect("below").display()
                ));
            }
        }
    }
    assert!(count > 150, "the modules were found: {count}");
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
}

#[test]
fn what_lets_somebody_in_is_compared_in_constant_time() {
    assert_eq!(naming("ct_eq"), ["admin/door/mod.rs", "admin/door/sessions.rs", "relay/auth.rs"]);
    // A token is taken out where it is hashed, and where the config is proved.
    let exposed: Vec<_> = naming("tokens.contains(").into_iter().chain(naming("token ==")).collect();
    assert_eq!(exposed, ["config/admin.rs"], "two keys of one file");
}

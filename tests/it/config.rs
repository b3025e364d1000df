//! The config's fixtures: files under `tests/config/`, each with one claim in its name.
//!
//! `bad/` is refused and `warn/` is taken with warnings, each with exactly the text beside it; `good/` is taken without a word.
//! `UPDATE_FIXTURES=1` writes the texts anew: read every one that changes.

use std::path::{Path, PathBuf};

use vero_relay::config::{Config, ConfigError};
use vero_relay::yaml::problem::Report;
use vero_relay::yaml::values::Surroundings;

/// The surroundings of every fixture.
pub(super) struct Fixed;

impl Surroundings for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        let value = match name {
            "VERO_TOKEN" => "token-from-the-environment",
            "OTHER_TOKEN" => "another-token-of-the-environment",
            "ADMIN_TOKEN" => "admin-token-from-the-environment",
            "READ_TOKEN" => "read-token-from-the-environment",
            "CRM_TOKEN" => "canary-crm-token",
            "CRM_URL" => "https://crm.example.com/hooks/canary",
            "SLACK_WEBHOOK_URL" => "https://hooks.slack.com/services/T0/B0/canary",
            "SLACK_BOT_TOKEN" => "xoxb-canary-of-an-app-of-slack",
            "SIGNING_SECRET" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "CREDENTIALS_DIRECTORY" => "/run/credentials",
            "MAIL_HOST" => "ñü.öy",
            "SMTP_SERVER" => "smtp.example.com:465",
            "SMTP_HOST" => "smtp.example.com",
            "SMTP_PORT" => "465",
            "SMTP_IPV6" => "2001:db8::1",
            "PORT" => "9000",
            "WORD" => "canary-word",
            "EMPTY" => "",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        match path.to_str() {
            Some("./ca.pem") => Ok(include_str!("../tls/ca.pem").to_owned()),
            Some("./server.pem") => Ok(include_str!("../tls/server.pem").to_owned()),
            Some("./expired.pem") => Ok(include_str!("../tls/expired.pem").to_owned()),
            Some("./server-key.pem") => Ok(include_str!("../tls/server.key").to_owned()),
            Some("./second-key.pem") => Ok(include_str!("../tls/second.key").to_owned()),
            Some("./encrypted-key.pem") => Ok(include_str!("../tls/encrypted.key").to_owned()),
            Some("./empty.pem") => Ok("no certificate in here\n".to_owned()),
            Some("./secrets/token" | "/run/credentials/token") => Ok("canary-token-of-a-file\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

pub(super) fn fixtures(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let entries = std::fs::read_dir(&directory).expect("the fixtures are there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn load(path: &Path) -> Result<(Config, Report), ConfigError> {
    let name = path.file_name().expect("a name");
    Config::parse(Path::new(name), std::fs::read_to_string(path).expect("read"), &Fixed)
}

/// Compares what was told with the text beside a fixture.
fn compare(path: &Path, told: &str, wrong: &mut Vec<String>) {
    let beside = path.with_extension("txt");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&beside, told).expect("written");
    }
    let expected = std::fs::read_to_string(&beside).unwrap_or_default();
    if told != expected {
        wrong.push(format!("{}\n--- got\n{told}\n--- expected\n{expected}", path.display()));
    }
}

#[test]
fn each_bad_config_is_refused_in_the_words_beside_it() {
    let (files, mut wrong) = (fixtures("bad"), Vec::new());
    for path in &files {
        match load(path) {
            Err(ConfigError::Problems(report)) => compare(path, &report.render(false), &mut wrong),
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
            Ok(_) => wrong.push(format!("{} was taken", path.display())),
        }
    }
    assert!(files.len() >= 100, "the fixtures were found: {}", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_doubtful_config_is_taken_with_the_warnings_beside_it() {
    let (files, mut wrong) = (fixtures("warn"), Vec::new());
    for path in &files {
        match load(path) {
            Ok((_, report)) if !report.is_empty() => compare(path, &report.render(false), &mut wrong),
            Ok(_) => wrong.push(format!("{}: no warning", path.display())),
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    assert!(files.len() >= 30, "the fixtures were found: {}", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_good_config_is_taken_without_a_word() {
    let (files, mut wrong) = (fixtures("good"), Vec::new());
    for path in &files {
        match load(path) {
            Ok((_, report)) if report.is_empty() => {}
            Ok((_, report)) => wrong.push(report.to_string()),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(files.len() >= 10, "the fixtures were found: {}", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_text_beside_a_fixture_is_without_one_or_holds_a_secret() {
    for kind in ["bad", "warn"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
        let entries = std::fs::read_dir(directory).expect("the fixtures are there");
        let texts = entries.map(|entry| entry.expect("an entry").path());
        let mut count = 0;
        for path in texts.filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
            count += 1;
            assert!(path.with_extension("yaml").exists(), "{} is of a fixture that is gone", path.display());
            let text = std::fs::read_to_string(&path).expect("read");
            assert!(!text.contains("canary"), "{} shows a secret", path.display());
        }
        assert_eq!(count, fixtures(kind).len());
    }
}

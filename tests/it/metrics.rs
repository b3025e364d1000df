//! The metrics: the page about them, the alert rules, and what goes when a name goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vero_relay::telemetry::metrics::{Kind, Metrics, reference};

use crate::harness::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_page_about_metrics_is_made_from_the_program() {
    let path = root().join("docs/metrics.md");
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(&path, reference()).expect("written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == reference(), "write it anew: UPDATE_FIXTURES=1 cargo test --test it metrics::");
}

/// The names of our metrics in a text, and how they go on.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("vero_relay_")).map(str::to_owned).collect()
}

fn is_known(name: &str) -> bool {
    Metrics::default().described().iter().any(|described| {
        let exposed = described.exposed();
        match described.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"].iter().any(|suffix| name == format!("{exposed}{suffix}")),
            _ => name == exposed,
        }
    })
}

#[test]
fn each_alert_rule_names_metrics_that_there_are_and_says_what_to_do() {
    let text = std::fs::read_to_string(root().join("packaging/alerts.yaml")).expect("the rules");
    let read: Value = serde_yaml::from_str(&text).expect("YAML");
    let rules = read["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() >= 10, "{}", rules.len());
    let mut names = BTreeSet::new();
    for rule in rules {
        let text =
            |value: &Value| value.as_str().map(str::to_owned).unwrap_or_else(|| panic!("a text is missing: {rule}"));
        let (alert, expression) = (text(&rule["alert"]), text(&rule["expr"]));
        assert!(names.insert(alert.clone()), "{alert} is there twice");
        for key in rule.as_object().expect("a map").keys() {
            assert!(["alert", "expr", "for", "labels", "annotations"].contains(&key.as_str()), "{alert}: {key}");
        }
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"]).as_str()), "{alert}");
        assert!(
            !text(&rule["annotations"]["summary"]).is_empty() && !text(&rule["annotations"]["description"]).is_empty()
        );
        let (names, is_up) = (named(&expression), expression.starts_with("up{"));
        assert!(is_up || !names.is_empty(), "{alert}: {expression}");
        assert!(names.iter().all(|name| is_known(name)), "{alert}: {names:?}");
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            assert_eq!(expression.matches(open).count(), expression.matches(close).count(), "{alert}: {expression}");
        }
    }
    for name in named(&rules.iter().map(ToString::to_string).collect::<String>()) {
        assert!(is_known(&name) || is_known(&format!("{name}_total")), "{name}");
    }
}

#[test]
fn documents_name_metrics_that_there_are() {
    let mut files = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    let docs = std::fs::read_dir(root().join("docs")).expect("docs");
    files.extend(
        docs.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    assert!(files.len() > 3);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("read");
        for name in named(&text) {
            // A family may be named without what its type adds.
            let is_whole = ["", "_total", "_bucket"].iter().any(|suffix| is_known(&format!("{name}{suffix}")));
            assert!(is_whole, "{}: there is no metric {name}", file.display());
        }
    }
}

/// The labels of every sample: metric → label names.
fn labels_in(metrics: &str) -> Vec<(String, BTreeSet<String>)> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let labelled = samples.map(|line| {
        let (name, rest) = line.split_once(['{', ' ']).expect("a sample");
        let labels = rest.rsplit_once("} ").map(|(labels, _)| labels).unwrap_or_default();
        let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        (name.to_owned(), names.filter(|name| name != "le").collect())
    });
    labelled.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_has_the_labels_that_the_page_says() {
    let fake = Fake::start([Act::status(500), Act::status(422)]).await;
    let relay = TestRelay::start(&format!(
        "rules: [{{ to: [crm] }}]\ndestinations: {{ crm: {{ http: {{ url: \"{}\" }}, {QUICK} }} }}\n",
        fake.url()
    ))
    .await;
    for _ in 0..3 {
        relay.accept(r#"{"type":"sent"}"#).await;
    }
    assert_eq!(relay.post("no event").await.status(), 400);
    fake.wait_for(4).await;
    let mut metrics = String::new();
    eventually("all deliveries to end", async || {
        metrics = relay.admin("/metrics").await.text();
        metrics.contains("vero_relay_backlog{destination=\"crm\"} 0")
    })
    .await;
    let all = Metrics::default();
    for (name, labels) in labels_in(&metrics) {
        let described = all.described().iter().find(|described| {
            name.starts_with(&described.exposed()) && {
                let rest = &name[described.exposed().len()..];
                ["", "_bucket", "_sum", "_count"].contains(&rest)
            }
        });
        let described = described.unwrap_or_else(|| panic!("{name} is not described"));
        let expected: BTreeSet<String> = described.labels.iter().map(|label| (*label).to_owned()).collect();
        assert_eq!(labels, expected, "{name}");
    }
    for line in [
        "vero_relay_deliveries_total{destination=\"crm\",outcome=\"dead_letter\"} 1",
        "vero_relay_deliveries_total{destination=\"crm\",outcome=\"delivered\"} 2",
        "vero_relay_attempt_duration_seconds_count{destination=\"crm\"} 4",
        "vero_relay_requests_refused_total{reason=\"bad_event\"} 1",
        "vero_relay_source_paused{source=\"vero\"} 0",
        "vero_relay_connections_open{listener=\"admin\"} 1",
        "vero_relay_source_last_accepted_timestamp_seconds{source=\"vero\"}",
        "vero_relay_destination_last_delivered_timestamp_seconds{destination=\"crm\"}",
        concat!("vero_relay_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_a_name_goes_with_it() {
    let config = |round: usize| {
        let rules: String = (0..100)
            .map(|number| {
                format!("  - {{ name: r{round}-{number}, match: {{ campaign.id: {number} }}, to: [d{round}] }}\n")
            })
            .collect();
        format!("rules:\n{rules}destinations: {{ d{round}: {{ file: {{ path: \"{round}\" }} }} }}\n")
    };
    let relay = TestRelay::start(&config(0)).await;
    let path = relay.directory.path().join("config.yaml");
    let lines = async || relay.admin("/metrics").await.text().lines().count();
    let before = lines().await;
    assert!(before > 100, "{before}");
    for round in 1..=10 {
        std::fs::write(&path, format!("{HEAD}{}", config(round))).expect("written");
        relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
        assert_eq!(lines().await, before, "in round {round}");
    }
    let metrics = relay.admin("/metrics").await.text();
    assert!(metrics.contains("rule=\"r10-99\"") && !metrics.contains("rule=\"r9-") && !metrics.contains("\"d9\""));
}

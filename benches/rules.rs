//! What matching costs with ten rules and with ten thousand: reading the fields, finding the rules, evaluating them.
//!
//! `cargo bench --bench rules`

use std::path::Path;

use vero_relay::config::Config;
use vero_relay::config::values::Process;
use vero_relay::event::RelayFields;
use vero_relay::rules::RuleSet;

fn main() {
    divan::main();
}

const BODY: &str = include_str!("../samples/bounced.json");

/// Rules as people write them: by campaign, by type and campaign, by a name's beginning, by a number, by exclusion.
fn rules(count: usize) -> RuleSet {
    let rule = |i: usize| match i % 5 {
        0 => format!("{{ campaign.id: {i} }}"),
        1 => format!("{{ type: [bounced, failed], campaign.name: \"Campaign {i}\" }}"),
        2 => format!("{{ campaign.name: {{ glob: \"Sale {i} *\" }} }}"),
        3 => format!("{{ type: opened, user.email: {{ ends_with: \"@customer{i}.example.com\" }} }}"),
        _ => format!("{{ campaign.trigger-event: \"Event {i}\", campaign.type: {{ not: transactional }} }}"),
    };
    let rules: String = (1..count).map(|i| format!("  - {{ match: {}, to: a }}\n", rule(i))).collect();
    let text = format!(
        "sources: {{ vero: {{ token: t }} }}\ndestinations: {{ a: {{ file: {{ path: a }} }} }}\nrules:\n{rules}  - {{ match: {{ campaign.name: {{ glob: \"Cart*\" }} }}, to: a }}\n"
    );
    Config::parse(Path::new("bench.yaml"), text, &Process).unwrap_or_else(|error| panic!("{error}")).0.rules
}

#[divan::bench(args = [10, 100, 1_000, 10_000])]
fn route(bencher: divan::Bencher<'_, '_>, count: usize) {
    let rules = rules(count);
    let relay = RelayFields { source: "vero", received_ms: 1_700_000_000_000 };
    let routing = rules.route(BODY.as_bytes(), relay).expect("an event");
    assert_eq!(routing.deliveries.len(), 1, "the last rule matches");
    bencher.bench(|| rules.route(divan::black_box(BODY.as_bytes()), relay).map(|routing| routing.deliveries.len()));
}

#[divan::bench(args = [10, 10_000])]
fn every_rule_asked(bencher: divan::Bencher<'_, '_>, count: usize) {
    let rules = rules(count);
    let relay = RelayFields { source: "vero", received_ms: 1_700_000_000_000 };
    bencher.bench(|| {
        rules.route_plainly(divan::black_box(BODY.as_bytes()), relay).map(|routing| routing.deliveries.len())
    });
}

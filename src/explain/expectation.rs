//! Runs the tests that stand in a config.

use serde_json::{Value, json};

use super::{ExplainedDelivery, Explanation, Together, deliveries, together};
use crate::config::{Config, ConfigTest, ExpectedContent, TestEvent};
use crate::deliver::sorting::{Sorting, Verdict};
use crate::destination::Preview;
use crate::event::{EventId, RelayFields};
use crate::yaml::regular;

/// What became of one test.
pub struct Tested<'c> {
    pub test: &'c ConfigTest,
    /// What did not come as expected; nothing: it passed.
    pub missed: Vec<Missed>,
    /// Why it went as it did: of the first that fail.
    pub explanation: Option<Explanation<'c>>,
}

/// Something that did not come as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// There is no event to test with.
    Event(String),
    /// It goes to other destinations.
    To {
        expected: Vec<String>,
        /// Which it goes to.
        got: Vec<String>,
    },
    /// It is urgent at other destinations, or joins the digests of others.
    Order {
        /// The key of what was expected.
        key: &'static str,
        expected: Vec<String>,
        got: Vec<String>,
    },
    /// A destination would get something else.
    Content {
        destination: String,
        /// It is of several such events as one message.
        is_of_digest: bool,
        /// The part of its content that was looked at; `None`: all of it.
        part: Option<&'static str>,
        /// What was expected of its content, as it is written.
        expected: String,
        /// What it would get, fit to be shown, or why it would get nothing.
        got: String,
    },
}

/// Runs all tests of a config, in order. Reads the files that they name, sends nothing and writes nothing.
pub fn run_tests(config: &Config) -> Vec<Tested<'_>> {
    run_within(config, EXPLAINED_RULES_MAX)
}

/// The same, with so many rules in all explanations together.
fn run_within(config: &Config, rules_max: usize) -> Vec<Tested<'_>> {
    let mut to_explain = (rules_max / config.rules.rules().len().max(1)).max(1);
    config.tests.iter().map(|test| run(config, test, &mut to_explain)).collect()
}

/// Rules in all explanations together: a rule takes some 300 bytes in each (measured), and nobody reads thousands of pages.
const EXPLAINED_RULES_MAX: usize = 100_000;

fn run<'c>(config: &'c Config, test: &'c ConfigTest, to_explain: &mut usize) -> Tested<'c> {
    let without_event = |why: String| Tested { test, missed: vec![Missed::Event(why)], explanation: None };
    let body = match &test.event {
        TestEvent::Body(body) => body.clone(),
        TestEvent::File { path, shown } => match regular::read(path, config.limits.body_max) {
            Ok(body) => body,
            Err(error) => return without_event(format!("{shown} could not be read: {error}")),
        },
    };
    let received_ms = test.received_ms.unwrap_or_else(crate::time::wall_ms);
    let relay = RelayFields { source: &test.source, received_ms };
    let id = EventId::mint(relay.received_ms, 0, 0);
    let routing = match config.rules.route(&body, relay) {
        Ok(routing) => routing,
        Err(refused) => return without_event(format!("the event would be refused: {refused}")),
    };
    let missed = missed(config, test, &deliveries(config, (id, &body, relay), &routing, relay.received_ms));
    // What became of each rule takes far longer to find out than all else, where there are many.
    let is_explained = !missed.is_empty() && *to_explain > 0;
    *to_explain -= usize::from(is_explained);
    let explanation = is_explained.then(|| Explanation::at(config, id, (&body, relay), None));
    Tested { test, missed, explanation: explanation.and_then(Result::ok) }
}

fn missed(config: &Config, test: &ConfigTest, deliveries: &[ExplainedDelivery]) -> Vec<Missed> {
    let mut missed = Vec::new();
    let names = |destinations: &mut dyn Iterator<Item = usize>| -> Vec<String> {
        let mut places: Vec<_> = destinations.collect();
        places.sort_unstable();
        places.into_iter().map(|place| config.destinations[place].name.clone()).collect()
    };
    let got = names(&mut deliveries.iter().map(|delivery| delivery.destination));
    if let Some(to) = &test.to {
        let expected = names(&mut to.iter().copied());
        if expected != got {
            missed.push(Missed::To { expected, got });
        }
    }
    let sorting = |delivery: &ExplainedDelivery| config.destinations[delivery.destination].sorting.as_deref();
    let is_urgent = |delivery: &&ExplainedDelivery| matches!(delivery.verdict, Some((Verdict::Urgent, _)));
    let is_gathered = |delivery: &&ExplainedDelivery| {
        matches!(delivery.verdict, Some((Verdict::Of(_), _))) && sorting(delivery).is_some_and(Sorting::gathers_by_day)
    };
    let urgent = names(&mut deliveries.iter().filter(is_urgent).map(|delivery| delivery.destination));
    let gathered = names(&mut deliveries.iter().filter(is_gathered).map(|delivery| delivery.destination));
    for (key, expected, got) in [("urgent", &test.urgent, urgent), ("gathered", &test.gathered, gathered)] {
        let expected = expected.as_ref().map(|places| names(&mut places.iter().copied()));
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            missed.push(Missed::Order { key, expected, got });
        }
    }
    for ExpectedContent { destination, is_of_digest, part, condition } in &test.content {
        let name = config.destinations[*destination].name.clone();
        let found = deliveries.iter().find(|delivery| delivery.destination == *destination);
        let of_digest;
        let sends = match found {
            Some(delivery) if *is_of_digest => {
                of_digest = together_of(config, delivery);
                Some(of_digest.as_ref().map_err(String::clone))
            }
            Some(delivery) => Some(delivery.sends.as_ref().map_err(ToString::to_string)),
            None => None,
        };
        let (holds, got) = match sends {
            Some(Ok(preview)) => match part {
                None => (holds(condition, Some(preview.exact_content())), preview.shown_content()),
                Some(part) => {
                    let shown = preview.shown_parts().into_iter().find(|(name, _)| name == part);
                    let shown = shown.map_or_else(|| "nothing: it has none".to_owned(), |(_, text)| text);
                    (holds(condition, preview.exact_part(part)), shown)
                }
            },
            Some(Err(error)) => (false, format!("nothing: {error}")),
            None => (false, "nothing: the event does not go there".to_owned()),
        };
        if !holds {
            let (destination, expected) = (name, written(condition));
            missed.push(Missed::Content { destination, is_of_digest: *is_of_digest, part: *part, expected, got });
        }
    }
    missed
}

/// So many events as one message are what a test looks at: more than one, so that it is told of several, and few enough to be examples.
const TOGETHER: Together = Together { count: 3, examples: 3 };

/// What a destination would get of several such events as one message, or why nothing.
fn together_of(config: &Config, delivery: &ExplainedDelivery) -> Result<Preview, String> {
    match &delivery.verdict {
        Some((Verdict::Of(group), _)) => {
            together(config, delivery, group, TOGETHER).map_err(|unsent| unsent.to_string())
        }
        Some((Verdict::Urgent, _)) => Err("it is urgent, and in no digest".to_owned()),
        Some((Verdict::Single | Verdict::InOrder(_), _)) | None => Err("each event goes out by itself".to_owned()),
    }
}

/// A content is tested as the one field of an event of its own, so that each operator means here what it means in a rule. What is not
/// there is missing.
fn as_event(content: Option<&str>) -> String {
    json!({ "type": "content", (ConfigTest::CONTENT_FIELD): content }).to_string()
}

const RELAY: RelayFields<'_> = RelayFields { source: "", received_ms: 0 };

fn holds(condition: &crate::rules::RuleSet, content: Option<&str>) -> bool {
    condition.route(as_event(content).as_bytes(), RELAY).is_ok_and(|routing| !routing.rules.is_empty())
}

/// What is expected of a content, as it is written.
fn written(condition: &crate::rules::RuleSet) -> String {
    let written = condition.rules().first().map(|rule| rule.condition.written()).unwrap_or_default();
    written.join(", ")
}

impl Missed {
    /// It for people, some lines.
    pub fn in_words(&self) -> String {
        match self {
            Missed::Event(why) => format!("  {}\n", on_one_line(why)),
            Missed::To { expected, got } => to_in_words(expected, got),
            Missed::Order { key, expected, got } => {
                let all = |names: &[String]| if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") };
                format!("  {key}: expected  {}\n  {key}: got       {}\n", all(expected), all(got))
            }
            Missed::Content { destination, is_of_digest, part, expected, got } => {
                let of = if *is_of_digest { ", digest" } else { "" };
                let part = part.map(|part| format!(", {part}")).unwrap_or_default();
                let what = format!("{destination}{of}{part}");
                let expected = on_one_line(expected);
                let got = on_one_line(got);
                format!("  {what}: expected  {expected}\n  {what}: got       {got}\n")
            }
        }
    }

    /// It for scripts.
    pub fn json(&self) -> Value {
        match self {
            Missed::Event(why) => json!({ "event": why }),
            Missed::To { expected, got } => json!({ "to": { "expected": expected, "got": got } }),
            Missed::Order { key, expected, got } => json!({ (*key): { "expected": expected, "got": got } }),
            Missed::Content { destination, is_of_digest, part, expected, got } => {
                let mut content = json!({ "destination": destination, "expected": expected, "got": got });
                if let Some(part) = part {
                    content["part"] = json!(part);
                }
                json!({ (if *is_of_digest { "digest" } else { "content" }): content })
            }
        }
    }
}

fn on_one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Two sets of destinations and what is different.
fn to_in_words(expected: &[String], got: &[String]) -> String {
    let all = |names: &[String]| if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") };
    let without = |names: &[String], others: &[String]| {
        let left: Vec<_> = names.iter().filter(|name| !others.contains(name)).cloned().collect();
        left.join(", ")
    };
    let mut out = format!("  expected to go to  {}\n  goes to            {}\n", all(expected), all(got));
    for (what, names) in [("missing", without(expected, got)), ("too many", without(got, expected))] {
        if !names.is_empty() {
            out.push_str(&format!("  {what:<17}  {names}\n"));
        }
    }
    out
}

impl Tested<'_> {
    /// Its name, what was expected and what came.
    pub fn in_words(&self) -> String {
        let missed = self.missed.iter().map(Missed::in_words);
        std::iter::once(format!("{}\n", on_one_line(&self.test.name))).chain(missed).collect()
    }

    /// Whether it failed, and why it went as it did is not told, because it is of others.
    pub fn is_cut_short(&self) -> bool {
        self.explanation.is_none() && self.missed.iter().any(|missed| !matches!(missed, Missed::Event(_)))
    }

    /// It for scripts: `name`, `ok`, what was missed, and the explanation of a test that did not pass.
    pub fn json(&self) -> Value {
        let is_ok = self.missed.is_empty();
        let explanation = self.explanation.as_ref().map(Explanation::json);
        let missed: Vec<_> = self.missed.iter().map(Missed::json).collect();
        json!({ "name": self.test.name, "ok": is_ok, "missed": missed, "explanation": explanation })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::yaml::values::Process;

    #[test]
    fn all_that_failed_are_told_for_scripts_and_the_first_explained() {
        let tests: String = (0..6)
            .map(|id| format!("  - {{ name: t{id}, event: {{ type: sent, id: {id} }}, expect: {{ to: [] }} }}\n"))
            .collect();
        let yaml = format!(
            "data_dir: /var/lib/vero-relay\nsources: {{ vero: {{ token: \"a-token-that-is-long-enough\" }} }}\n\
             rules: [{{ match: {{ id: 0 }}, to: [], stop: true }}, {{ to: a }}]\ntests:\n{tests}\
             destinations: {{ a: {{ http: {{ url: \"https://example.com/\" }} }} }}\n"
        );
        let (config, _) = Config::parse(Path::new("config.yaml"), yaml, &Process).expect("a config");
        let told: Vec<Value> = run_within(&config, 6).iter().map(Tested::json).collect();
        let is_explained: Vec<_> = told.iter().map(|one| !one["explanation"].is_null()).collect();
        assert_eq!(is_explained, [false, true, true, true, false, false], "two rules each, and the first passes");
        for (id, one) in told.iter().enumerate() {
            assert_eq!(one["ok"], json!(id == 0));
            assert!(id == 0 || one["missed"][0]["to"]["got"] == json!(["a"]), "{one}");
        }
    }

    #[test]
    fn how_an_event_goes_out_is_expected_by_destination() {
        let yaml = r#"
data_dir: /var/lib/vero-relay
sources: { vero: { token: "a-token-that-is-long-enough" } }
rules: [{ to: [chat, crm] }]
destinations:
  chat:
    slack: { url: "http://127.0.0.1:1/x" }
    digest: { every: 15m, by: [type, campaign.name] }
    urgent: { type: complained }
  crm: { http: { url: "http://127.0.0.1:2/" } }
tests:
  - name: gathered
    event: { type: bounced, campaign: { name: Spring } }
    expect: { gathered: [chat], urgent: [], digest: { chat: { contains: "*3 × bounced · Spring*" } } }
  - { name: urgent, event: { type: complained }, expect: { urgent: [chat], gathered: [] } }
  - { name: wrong order, event: { type: complained }, expect: { urgent: [], gathered: [chat] } }
  - { name: wrong words, event: { type: bounced }, expect: { digest: { chat: { contains: sent } } } }
  - { name: no digest, event: { type: complained }, expect: { digest: { chat: { contains: sent } } } }
"#;
        let (config, _) = Config::parse(Path::new("config.yaml"), yaml.to_owned(), &Process).expect("a config");
        let tested = run_tests(&config);
        let missed = |name: &str| {
            let one = tested.iter().find(|one| one.test.name == name).expect("the test");
            (one.in_words(), one.json()["missed"].clone())
        };
        for name in ["gathered", "urgent"] {
            assert_eq!(missed(name).1, json!([]), "{name}");
        }
        let (words, told) = missed("wrong order");
        assert_eq!(
            words,
            "wrong order\n  urgent: expected  nowhere\n  urgent: got       chat\n  gathered: expected  chat\n  gathered: got       nowhere\n"
        );
        assert_eq!(told[0], json!({ "urgent": { "expected": [], "got": ["chat"] } }));
        let (words, told) = missed("wrong words");
        assert!(words.contains("  chat, digest: expected  { contains: \"sent\" }\n"), "{words}");
        assert!(told[0]["digest"]["got"].as_str().is_some_and(|got| got.contains("3 × bounced · (none)")), "{told}");
        let (words, _) = missed("no digest");
        assert!(words.contains("chat, digest: got       nothing: it is urgent, and in no digest"), "{words}");
    }
}

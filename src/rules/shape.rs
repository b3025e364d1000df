//! What two events have in common to all rules: the type, and what becomes of every condition.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::RuleSet;
use super::condition::{Label, Recorder};
use super::operators::Operator;
use crate::event::{Refused, RelayFields, Value};

impl RuleSet {
    /// A number that two events share for which each condition of each rule comes out alike, and that have one type. It costs far less than
    /// to [explain](RuleSet::explain) an event.
    pub fn shape(&self, body: &[u8], relay: RelayFields<'_>) -> Result<u64, Refused> {
        let event = self.fields.read(body, relay)?;
        let mut verdicts = Verdicts::default();
        event.event_type.hash(&mut verdicts.0);
        for rule in &self.rules {
            if rule.condition.evaluate(&self.fields, &event.fields, &mut verdicts) && rule.stop {
                break;
            }
        }
        Ok(verdicts.0.finish())
    }
}

#[derive(Default)]
struct Verdicts(DefaultHasher);

impl Recorder for Verdicts {
    const EVERYTHING: bool = true;

    fn open(&mut self, _: &'static str) {
        self.0.write_u8(2);
    }

    fn close(&mut self, verdict: bool) {
        self.0.write_u8(u8::from(verdict));
    }

    fn test(&mut self, _: (&Label, &dyn Operator), verdict: bool, got: &[(u32, Value<'_>)]) {
        // A field that is missing is another slip than one with a wrong value.
        self.0.write_u8(u8::from(verdict) + 4 * u8::from(got.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{RELAY, rules};

    #[test]
    fn events_are_alike_whose_conditions_all_come_out_alike() {
        let rules =
            rules("  - { match: { type: sent, user.plan: gold }, to: a }\n  - { match: { n: { gt: 3 } }, to: a }\n");
        let shape = |body: &str| rules.shape(body.as_bytes(), RELAY).expect("an event");
        let one = shape(r#"{"type":"sent","user":{"plan":"silver"},"n":1}"#);
        assert_eq!(one, shape(r#"{"n":2,"type":"sent","user":{"plan":"bronze","id":7}}"#));
        for other in [
            r#"{"type":"opened","user":{"plan":"silver"},"n":1}"#,
            r#"{"type":"sent","user":{"plan":"gold"},"n":1}"#,
            r#"{"type":"sent","user":{},"n":1}"#,
            r#"{"type":"sent","user":{"plan":"silver"},"n":4}"#,
        ] {
            assert_ne!(one, shape(other), "{other}");
        }
        assert!(rules.shape(b"[]", RELAY).is_err());
    }
}

//! Rules that can never match or are never tried, and events that none of them catches.

use std::collections::HashMap;

use crate::event::{FieldId, FieldPath, FieldSetBuilder, vero};
use crate::rules::{Condition, Outline, Rule, Verdict};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

/// Pairs of a rule with `stop` and a later one that are compared. A thousand rules that all stop are half of it; beyond, a start
/// would take seconds longer for a warning.
const PAIRS_MAX: usize = 1_000_000;

/// Tells what can be said of rules, each with its node.
pub(in crate::config) fn advise(
    reader: &Reader,
    at: &Node,
    items: &[Node],
    rules: &[Rule],
    fields: &mut FieldSetBuilder,
) {
    let type_field = FieldPath::parse("type").map(|path| fields.add(&path)).ok();
    let paths: HashMap<FieldId, String> = fields.paths().map(|(path, id)| (id, path.to_string())).collect();
    let is_single =
        |field: FieldId| paths.get(&field).is_some_and(|path| path.starts_with("relay.") || vero::is_single(path));
    for (item, rule) in items.iter().zip(rules) {
        if let Some(field) = rule.condition.contradiction(&is_single) {
            tell_of_contradiction(reader, item, rule, field, paths.get(&field).map_or("", String::as_str));
        }
    }
    tell_of_shadows(reader, items, rules, &is_single);
    tell_of_what_is_not_caught(reader, at, rules, type_field);
}

fn tell_of_contradiction(reader: &Reader, item: &Node, rule: &Rule, field: FieldId, path: &str) {
    let asked = rule.condition.asked_of(field).join(" and ");
    let message = format!("the rule `{}` can never match: nothing can be all that it asks of `{path}`", rule.name);
    let matches = item.get("match").unwrap_or(item);
    let key = matches.entries().iter().find(|(key, _)| key.text == path).map(|(key, _)| key.id);
    let help = format!("it asks {asked}, all at once; where one of them is enough, `any:` takes a list of match maps");
    reader.warning(key.unwrap_or(matches.id), message, help);
}

/// What stands behind a rule that stops all that it would match is never tried.
fn tell_of_shadows(reader: &Reader, items: &[Node], rules: &[Rule], is_single: &dyn Fn(FieldId) -> bool) {
    let mut stops: Vec<(&Rule, Outline<'_>)> = Vec::new();
    let mut pairs = 0;
    for (item, rule) in items.iter().zip(rules) {
        let outline = Outline::of(&rule.condition);
        pairs += stops.len();
        if pairs > PAIRS_MAX {
            return;
        }
        if let Some((earlier, _)) = stops.iter().find(|(_, earlier)| outline.implies(earlier, is_single)) {
            let message =
                format!("the rule `{}` is never tried: `{}` stops all that it would match", rule.name, earlier.name);
            let name = item.get("name").map_or(item.id, |name| name.id);
            reader.warning(name, message, "move it up, or take `stop: true` out of the other".to_owned());
        }
        // One that matches once leaves the next ones to those behind it.
        if rule.stop && rule.once.is_none() {
            stops.push((rule, outline));
        }
    }
}

fn tell_of_what_is_not_caught(reader: &Reader, at: &Node, rules: &[Rule], type_field: Option<FieldId>) {
    let takes_all = |rule: &Rule| {
        rule.once.is_none() && matches!(&rule.condition, Condition::All(conditions) if conditions.is_empty())
    };
    let Some(type_field) = type_field.filter(|_| !rules.iter().any(takes_all)) else { return };
    let foreseen = |event_type: &str| {
        let mut verdicts = rules.iter().map(|rule| match rule.condition.foresee(type_field, Some(event_type)) {
            Verdict::Always if rule.once.is_some() => Verdict::Perhaps,
            verdict => verdict,
        });
        verdicts.try_fold(Verdict::Never, |sum, verdict| match verdict {
            Verdict::Always => Err(Verdict::Always),
            Verdict::Perhaps => Ok(Verdict::Perhaps),
            Verdict::Never => Ok(sum),
        })
    };
    let verdicts = vero::TYPES.map(|event_type| (event_type, foreseen(event_type).unwrap_or_else(|always| always)));
    let never: Vec<_> =
        verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Never).map(|(name, _)| *name).collect();
    let help = "a last rule without `match` takes all that is left, for an archive; with `to: []` and `stop: true` it says that nobody wants them";
    let message = match never.as_slice() {
        // Without a rule nothing is caught, and nobody needs to hear the twelve names.
        _ if rules.is_empty() => "there is no rule: every event is kept and delivered nowhere".to_owned(),
        [] if verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Always) => return,
        [] => "no rule takes every event: what none of them matches is kept and delivered nowhere".to_owned(),
        names => format!("no rule takes {}: such events are kept and delivered nowhere", names.join(", ")),
    };
    reader.warning(at.id, message, help.to_owned());
}

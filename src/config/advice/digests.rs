//! Templates of digests that read what a digest does not have: an error, since what one event has is nothing for several. And groups and addresses
//! that put nothing together.
//!
//! Nothing is told where a template provides for the absence, nor of a loop's own names.

use std::collections::HashSet;
use std::ops::Range;

use minijinja::machinery::parse;

use super::reads::Reads;
use super::templates::collect;
use super::texts;
use crate::destination::digest::digest_template;
use crate::destination::kind_named;
use crate::destination::view::{DIGEST, DIGEST_FIELDS, DIGEST_RELAY_FIELDS, View};
use crate::event::{Json, vero};
use crate::fault::Fault;
use crate::yaml::raw::{Node, NodeId, Value};
use crate::yaml::reader::Reader;
use crate::yaml::words;

/// Templates that are looked at: thousands of destinations do not differ in their slips.
const TEMPLATES_MAX: usize = 1000;
/// What a digest is gathered by, where it does not say.
const BY_DEFAULT: &str = "type";

/// Tells what is wrong with the templates of all digests.
pub(in crate::config) fn advise(reader: &Reader, destinations: &Node, defaults: Option<&Node>) {
    let mut seen = HashSet::new();
    let mut left = TEMPLATES_MAX;
    for (_, node) in destinations.entries() {
        let Some(kind) = node.entries().iter().find_map(|(key, _)| kind_named(&key.text)) else { continue };
        let usual = defaults.and_then(|defaults| defaults.get(kind.name));
        // One that stands there as nothing takes the usual one out.
        let digest = node.get(DIGEST).or_else(|| usual?.get(DIGEST)).filter(|node| !node.is_null());
        let Some(digest) = digest else { continue };
        for key in ADDRESSES {
            let own = node.get(kind.name).and_then(|section| section.get(key));
            let Some(node) = own.or_else(|| usual?.get(key)) else { continue };
            if seen.insert(node.id) {
                advise_of_own_addresses(reader, key, node);
            }
        }
        let by = gathered_by(digest);
        for (key, node) in digest.entries() {
            let Some(template) = digest_template(kind, &key.text).filter(|_| seen.insert(node.id)) else { continue };
            texts::advise(reader, template.language, &key.text, node);
            collect(node, &mut |at, source| {
                let Ok(parsed) = parse(source, "template", Default::default()) else { return };
                left = left.saturating_sub(1);
                if left == 0 {
                    return;
                }
                let mut reads = Reads::default();
                reads.statement(&parsed);
                let mut told = HashSet::new();
                for (path, span) in reads.paths {
                    if let Some(fault) = fault_of(&path, span, source, &by).filter(|_| told.insert(path)) {
                        reader.fault(at, fault);
                    }
                }
            });
        }
    }
}

/// The keys that say where a message goes.
const ADDRESSES: [&str; 5] = ["url", "to", "cc", "bcc", "channel"];

/// Tells of a digest that hardly two events can be in, as nearly each goes to a place of its own.
fn advise_of_own_addresses(reader: &Reader, key: &str, node: &Node) {
    collect(node, &mut |at, source| {
        let Ok(parsed) = parse(source, "template", Default::default()) else { return };
        let mut reads = Reads::default();
        reads.statement(&parsed);
        if let Some(path) = reads.all.iter().find(|path| is_of_one_event(path)) {
            let message = format!(
                "no digest goes to two places, and nearly every event has a `{path}` of its own: each recipient has a digest alone"
            );
            let help = format!("write one `{key}` for all, or take `digest` out");
            reader.warning(at, message, help);
        }
    });
}

/// Whether hardly two events share what stands at a path.
pub(in crate::config) fn is_of_one_event(path: &str) -> bool {
    const OWN: [&str; 10] = [
        "id",
        "message_id",
        "campaign.message_id",
        "campaign.sent_to",
        "user.id",
        "user.email",
        "email",
        "relay.id",
        "relay.received_at",
        "relay.occurred_at",
    ];
    OWN.contains(&path) || path.ends_with("_at")
}

/// Tells of a field that is an object in Vero's events: all objects look alike.
pub(in crate::config) fn advise_of_an_object(reader: &Reader, at: NodeId, path: &str) {
    if !View::samples().iter().any(|view| matches!(view.find(path), Some(Json::Object(_)))) {
        return;
    }
    let below = |field: &&&str| {
        let rest = field.strip_prefix(path).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some() && !is_of_one_event(field)
    };
    let named = vero::FIELDS.iter().find(|field| **field == format!("{path}.name"));
    let near = named.or_else(|| vero::FIELDS.iter().find(below));
    let help = near.map_or_else(|| "name a field below it".to_owned(), |field| format!("did you mean {field}?"));
    reader.warning(at, format!("`{path}` is an object, and all objects are one group"), help);
}

/// The paths whose values all events of a group have.
fn gathered_by(digest: &Node) -> Vec<&str> {
    let Some(by) = digest.get("by").filter(|by| !by.is_null()) else { return vec![BY_DEFAULT] };
    let items = match &by.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(by),
    };
    items.iter().filter_map(|item| item.scalar().map(|scalar| scalar.text.as_str())).collect()
}

/// What is wrong with a path, if it is certain.
fn fault_of(path: &str, span: Range<usize>, source: &str, by: &[&str]) -> Option<Fault> {
    let within = source.get(span.clone()).map(|_| span);
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (message, help) = match (first, rest) {
        ("loop" | "self" | "debug", _) | (DIGEST | "relay", None) => return None,
        (DIGEST, Some(rest)) => unknown(DIGEST, rest, &DIGEST_FIELDS).or_else(|| of_a_list(rest))?,
        _ if by.iter().any(|by| is_within(path, by)) => return None,
        ("relay", Some(rest)) => unknown("relay", rest, &DIGEST_RELAY_FIELDS)?,
        _ => (
            format!("`{path}` is of one event, and a digest has several"),
            format!("go through them: {{% for event in digest.events %}}{{{{ event.{path} }}}} {{% endfor %}}"),
        ),
    };
    Some(Fault { message, help: Some(help), within })
}

/// What stands below a list, which has nothing but its members.
fn of_a_list(rest: &str) -> Option<(String, String)> {
    let (list, below) = rest.split_once('.')?;
    let (_, one) = LISTS.into_iter().find(|(name, _)| *name == list)?;
    let message = format!("`{DIGEST}.{list}` is a list, and has no `{below}`");
    Some((
        message,
        format!("go through it: {{% for {one} in {DIGEST}.{list} %}}{{{{ {one}.{below} }}}} {{% endfor %}}"),
    ))
}

/// The lists of a digest, and what people call a member.
const LISTS: [(&str, &str); 2] = [("groups", "group"), ("events", "event")];

/// What there is not below a name.
fn unknown(of: &str, rest: &str, known: &[&'static str]) -> Option<(String, String)> {
    let name = rest.split('.').next().unwrap_or_default();
    if known.contains(&name) {
        return None;
    }
    let near = words::nearest(name, known.iter().copied()).map(|near| format!("did you mean `{of}.{near}`?"));
    let help = near.unwrap_or_else(|| format!("it has {of}.{}", known.join(&format!(", {of}."))));
    Some((format!("a digest has no `{of}.{name}`"), help))
}

/// Whether one path leads to the other, or through it. In templates a hyphen is an underscore.
fn is_within(path: &str, by: &str) -> bool {
    let by = by.replace('-', "_");
    let leads =
        |one: &str, other: &str| one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'));
    leads(path, &by) || leads(&by, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, by: &[&str], expected: &str) {
        let parsed = parse(source, "template", Default::default()).expect(source);
        let mut reads = Reads::default();
        reads.statement(&parsed);
        let told = reads.paths.into_iter().find_map(|(path, span)| fault_of(&path, span, source, by));
        let told = told.map(|fault| format!("{}: {}", fault.message, fault.help.unwrap_or_default()));
        assert_eq!(told.unwrap_or_default(), expected, "{source}");
    }

    #[test]
    fn what_a_digest_has_is_taken_and_what_one_event_has_is_told() {
        for good in [
            "{{ digest.count }} {{ digest.groups[0].name }} {{ digest.page }} {{ digest.left_out }}",
            "{{ type }} {{ campaign.name }} {{ campaign }} {{ campaign.trigger_event }}",
            "{% for event in digest.events %}{{ event.user.email }} {{ loop.index }}{% endfor %}",
            "{% for group in digest.groups %}{{ group.name }} {{ group.parts[0].value }}{% endfor %}",
            "{{ user.email | default('–') }} {{ relay.id }} {{ relay.received_at }} {{ digest | tojson }}",
        ] {
            check(good, &["type", "campaign.name", "campaign.trigger-event"], "");
        }
        check("{{ digest.cuont }}", &[], "a digest has no `digest.cuont`: did you mean `digest.count`?");
        check(
            "{{ digest.everything_there_is }}",
            &[],
            "a digest has no `digest.everything_there_is`: it has digest.count, digest.since, digest.until, digest.groups, digest.events, digest.left_out, digest.page",
        );
        check(
            "{{ digest.groups.name }}",
            &[],
            "`digest.groups` is a list, and has no `name`: go through it: {% for group in digest.groups %}{{ group.name }} {% endfor %}",
        );
        check(
            "{{ digest.count }} {{ digest.events.user.email }}",
            &[],
            "`digest.events` is a list, and has no `user.email`: go through it: {% for event in digest.events %}{{ event.user.email }} {% endfor %}",
        );
        let one = "`user.email` is of one event, and a digest has several: go through them: {% for event in digest.events %}{{ event.user.email }} {% endfor %}";
        check("{{ digest.count }} {{ user.email }}", &["type"], one);
        check(
            "{{ relay.rule }}",
            &[],
            "a digest has no `relay.rule`: it has relay.id, relay.received_at, relay.occurred_at",
        );
        check("{{ relay.rule }}", &["relay.rule"], "");
    }
}

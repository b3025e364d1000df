//! Templates of digests that read what a digest does not have: an error, since what one event has is nothing for several. What its events do not have
//! is a warning, as everywhere, and so is what only a digest of one group has. And groups and addresses that put nothing together.
//!
//! Nothing is told where a template provides for the absence.

use std::collections::HashSet;
use std::ops::Range;

use minijinja::machinery::parse;

use super::reads::{MEMBER, Reads};
use super::templates::{Sent, collect, meant_field, slip_of_an_event, vero_sends};
use super::texts;
use crate::destination::digest::digest_template;
use crate::destination::kind_named;
use crate::destination::view::{DIGEST, DIGEST_FIELDS, DIGEST_RELAY_FIELDS, GROUP_FIELDS, View};
use crate::event::{Json, vero};
use crate::fault::Fault;
use crate::yaml::raw::{Node, NodeId, Value};
use crate::yaml::reader::Reader;
use crate::yaml::words;

/// Templates that are looked at: thousands of destinations do not differ in their slips.
const TEMPLATES_MAX: usize = 1000;
/// What says which messages belong together.
const THREAD_BY: &str = "thread_by";
/// By what it is gathered.
const BY: &str = "by";
/// Where an event came in.
const SOURCE: &str = "relay.source";
/// What a digest is gathered by, where it does not say.
const BY_DEFAULT: &str = "type";

/// What the templates of a digest are looked at with.
struct Around<'a> {
    /// The key that names these paths.
    key: &'static str,
    /// The paths whose values all events of a group have.
    by: Vec<&'a str>,
    /// Those of them that may differ within one digest.
    apart: Vec<&'a str>,
    /// Vero's types that come there.
    types: Vec<&'static str>,
}

impl Around<'_> {
    /// Whether all events of a group have one value there.
    fn has(&self, path: &str) -> bool {
        self.by.iter().any(|by| is_within(path, by))
    }
}

/// Tells what is wrong with the templates of all digests. `sent`: what the rules send to each destination, where that is known; `sources`: how
/// many there are.
pub(in crate::config) fn advise(
    reader: &Reader,
    destinations: &Node,
    defaults: Option<&Node>,
    sent: Option<&Sent>,
    sources: usize,
) {
    let mut seen = HashSet::new();
    let mut left = TEMPLATES_MAX;
    for (at, (_, node)) in destinations.entries().iter().enumerate() {
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
        let types = sent.map(|sent| sent.types(at)).unwrap_or_default();
        let part = |key: &str| node.get(kind.name).and_then(|section| section.get(key)).or_else(|| usual?.get(key));
        let (key, by) = counted_by(part).map_or_else(|| (BY, gathered_by(digest)), |by| (THREAD_BY, by));
        let is_alike = |path: &str| {
            let is_the_only_type = path == BY_DEFAULT && types.len() == 1;
            let is_the_only_source = path == SOURCE && sources == 1;
            is_the_only_type || is_the_only_source || sent.is_some_and(|sent| sent.is_alike(at, path))
        };
        let apart = apart(&by, is_alike, part);
        let around = Around { key, by, apart, types };
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
                look_at(reader, at, source, reads, &around);
            });
        }
    }
}

/// Tells of what one template reads.
fn look_at(reader: &Reader, at: NodeId, source: &str, reads: Reads<'_>, around: &Around<'_>) {
    let mut told = HashSet::new();
    for (path, span) in reads.paths {
        let is_outright = reads.outright.contains(&span.start);
        if let Some(fault) = fault_of(&path, span.clone(), source, around) {
            if told.insert(path) {
                reader.fault(at, fault);
            }
        } else if let Some(fault) = several(&path, span, source, &around.apart).filter(|_| is_outright)
            && told.insert(path)
        {
            reader.warning_within(at, fault);
        }
    }
    for (path, span) in reads.members {
        let below = path.strip_prefix("digest.events.*.");
        let slip = match below {
            Some(field) if field.split('.').any(|step| step == MEMBER) => None,
            Some(field) => slip_of_an_event(reader, &around.types, field).map(|(message, near)| {
                let written = source.get(span.clone()).unwrap_or_default();
                let event = written.strip_suffix(field).unwrap_or_default();
                let help = near.map_or_else(
                    || format!("where your events have it: {{{{ {written} | default('') }}}}"),
                    |near| format!("did you mean `{event}{near}`?"),
                );
                (message, help)
            }),
            None => fault_of_a_group(&path, around),
        };
        let Some((message, help)) = slip.filter(|_| told.insert(path.clone())) else { continue };
        let within = source.get(span.clone()).map(|_| span);
        let fault = Fault { message, help: Some(help), within };
        match below {
            Some(_) => reader.warning_within(at, fault),
            None => reader.fault(at, fault),
        }
    }
}

/// The fields of `by` that may differ within one digest: not those by which each goes to a place of its own, nor those in which all that comes is alike.
fn apart<'b, 'n>(
    by: &[&'b str],
    is_alike: impl Fn(&str) -> bool,
    part: impl Fn(&str) -> Option<&'n Node>,
) -> Vec<&'b str> {
    // Who counts has one message for each group, or for each thread.
    if counts(&part) {
        return Vec::new();
    }
    let threads = part(THREAD_BY).filter(|node| !node.is_null()).map(texts_of).unwrap_or_default();
    let mut of_place = HashSet::new();
    for node in ADDRESSES.into_iter().filter_map(&part) {
        collect(node, &mut |_, source| {
            let Ok(parsed) = parse(source, "template", Default::default()) else { return };
            let mut reads = Reads::default();
            reads.statement(&parsed);
            of_place.extend(reads.all);
        });
    }
    let varies = |path: &&&str| {
        let is_of_place = threads.contains(path) || of_place.iter().any(|place| is_within(place, path));
        !is_of_place && !is_alike(path)
    };
    let apart: Vec<&str> = by.iter().filter(varies).copied().collect();
    // One group has them all, whichever are the same in all groups.
    if apart.is_empty() { apart } else { by.to_vec() }
}

/// A field of `by` outside of the groups, where there may be several.
fn several(path: &str, span: Range<usize>, source: &str, apart: &[&str]) -> Option<Fault> {
    if matches!(path.split('.').next(), Some(DIGEST)) || !apart.iter().any(|by| is_within(path, by)) {
        return None;
    }
    let within = source.get(span.clone()).map(|_| span);
    let message = format!("`{path}` is nothing where a digest has several groups");
    let help = format!(
        "write {{% for group in digest.groups %}}{{{{ group.{path} }}}} {{% endfor %}}, or what stands in its place: {{{{ {path} | default('several') }}}}"
    );
    Some(Fault { message, help: Some(help), within })
}

/// What is wrong with a path through a digest's groups, if it is certain.
fn fault_of_a_group(path: &str, around: &Around<'_>) -> Option<(String, String)> {
    let below = path.strip_prefix(DIGEST)?.strip_prefix('.')?;
    let Some(of_group) = below.strip_prefix("groups.*.") else {
        let list = below.split('.').next().unwrap_or_default();
        return (list != MEMBER).then(|| unknown(DIGEST, below, &DIGEST_FIELDS)).flatten();
    };
    let (field, rest) = of_group.split_once('.').map_or((of_group, None), |(field, rest)| (field, Some(rest)));
    if field == "parts" {
        return match rest?.strip_prefix("*.") {
            Some(of_part) => unknown("part", of_part, &["value", "count"]),
            None => Some((
                format!("`group.parts` is a list, and has no `{}`", rest?),
                "go through it: {% for part in group.parts %}{{ part.value }} {{ part.count }} {% endfor %}".to_owned(),
            ))
            .filter(|_| rest.is_some_and(|rest| rest != MEMBER)),
        };
    }
    if field == MEMBER || around.has(of_group) {
        return None;
    }
    // A part of an object is there, and this is another.
    if let Some(near) = around.by.iter().find(|by| by.split('.').next() == Some(field)) {
        let help = format!("it has group.{near}; or name {of_group} in `{}` too", around.key);
        return Some((format!("a group has no `group.{of_group}`"), help));
    }
    unknown("group", of_group, &GROUP_FIELDS).map(|(message, help)| match help.starts_with("did you mean") {
        true => (message, help),
        false => (message, format!("{help}, and the fields of `{}`", around.key)),
    })
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

/// What becomes of objects by which events are told apart.
pub(in crate::config) const ONE_GROUP: &str = "all objects are one group";

/// Tells of a field that is an object in Vero's events: all objects look alike.
pub(in crate::config) fn advise_of_an_object(reader: &Reader, at: NodeId, path: &str, what: &str) {
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
    reader.warning(at, format!("`{path}` is an object, and {what}"), help);
}

/// Whether one message counts what belongs together.
fn counts<'n>(part: impl Fn(&str) -> Option<&'n Node>) -> bool {
    part("update").and_then(Node::scalar).is_some_and(|scalar| scalar.text == "true")
}

/// What such a message is one of, where a thread is: it tells of nothing else.
fn counted_by<'n>(part: impl Fn(&str) -> Option<&'n Node>) -> Option<Vec<&'n str>> {
    let threads = part(THREAD_BY).filter(|node| !node.is_null())?;
    counts(part).then(|| texts_of(threads))
}

/// The paths whose values all events of a group have.
fn gathered_by(digest: &Node) -> Vec<&str> {
    digest.get("by").filter(|by| !by.is_null()).map_or_else(|| vec![BY_DEFAULT], texts_of)
}

/// The texts of a list, or of one that stands in its place.
fn texts_of(node: &Node) -> Vec<&str> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().filter_map(|item| item.scalar().map(|scalar| scalar.text.as_str())).collect()
}

/// What is wrong with a path, if it is certain.
fn fault_of(path: &str, span: Range<usize>, source: &str, around: &Around<'_>) -> Option<Fault> {
    let within = source.get(span.clone()).map(|_| span);
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (message, help) = match (first, rest) {
        ("loop" | "self" | "debug", _) | (DIGEST | "relay", None) => return None,
        (DIGEST, Some(rest)) => unknown(DIGEST, rest, &DIGEST_FIELDS).or_else(|| of_a_list(rest))?,
        _ if around.has(path) => return None,
        ("relay", Some(rest)) => unknown("relay", rest, &DIGEST_RELAY_FIELDS)?,
        _ => of_one_event(path, around.key),
    };
    Some(Fault { message, help: Some(help), within })
}

/// What stands at the top for one event, or for nothing.
fn of_one_event(path: &str, key: &str) -> (String, String) {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let through = |list: &str, one: &str, of_one: &str| {
        format!("go through them: {{% for {one} in digest.{list} %}}{{{{ {of_one} }}}} {{% endfor %}}")
    };
    let several = |of_one: &str| {
        (format!("`{path}` is of one event, and a digest has several"), through("events", "event", of_one))
    };
    let nothing = format!("a digest has no `{first}`");
    match first {
        "group" => (nothing, through("groups", "group", if rest.is_empty() { "group.name" } else { path })),
        // Vero has an `event` too.
        "event" if !vero_sends(path) && (vero_sends(rest) || rest.starts_with("relay.")) => several(path),
        _ if vero_sends(path) => several(&format!("event.{path}")),
        _ if DIGEST_FIELDS.contains(&first) => match LISTS.into_iter().find(|(list, _)| *list == first) {
            Some((list, one)) => {
                let of_one = [one, if one == "group" { "name" } else { "user.email" }].join(".");
                (nothing, through(list, one, &of_one))
            }
            None => (nothing, format!("write {{{{ digest.{first} }}}}")),
        },
        _ => match meant_field(path) {
            Some(field) => several(&format!("event.{field}")),
            None if first == "user" => several(&format!("event.{path}")),
            None => {
                let fields = DIGEST_FIELDS.join(&format!(", {DIGEST}."));
                (format!("a digest has no `{path}`"), format!("it has {DIGEST}.{fields}, and the fields of `{key}`"))
            }
        },
    }
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
    let whose = if matches!(of, DIGEST | "relay") { "digest" } else { of };
    Some((format!("a {whose} has no `{of}.{name}`"), help))
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

    fn around<'a>(key: &'static str, by: &[&'a str]) -> Around<'a> {
        Around { key, by: by.to_vec(), apart: Vec::new(), types: Vec::new() }
    }

    #[track_caller]
    fn check(source: &str, by: &[&str], expected: &str) {
        let around = around(BY, by);
        let parsed = parse(source, "template", Default::default()).expect(source);
        let mut reads = Reads::default();
        reads.statement(&parsed);
        let told = reads.paths.into_iter().find_map(|(path, span)| fault_of(&path, span, source, &around));
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
        for (source, expected) in [
            (
                "{{ group.name }}",
                "a digest has no `group`: go through them: {% for group in digest.groups %}{{ group.name }} {% endfor %}",
            ),
            ("{{ count }}", "a digest has no `count`: write {{ digest.count }}"),
            (
                "{{ events }}",
                "a digest has no `events`: go through them: {% for event in digest.events %}{{ event.user.email }} {% endfor %}",
            ),
            (
                "{{ event.user.email }}",
                "`event.user.email` is of one event, and a digest has several: go through them: {% for event in digest.events %}{{ event.user.email }} {% endfor %}",
            ),
            (
                "{{ event.name }}",
                "`event.name` is of one event, and a digest has several: go through them: {% for event in digest.events %}{{ event.event.name }} {% endfor %}",
            ),
            (
                "{{ user.emial }}",
                "`user.emial` is of one event, and a digest has several: go through them: {% for event in digest.events %}{{ event.user.email }} {% endfor %}",
            ),
            (
                "{{ user.plan }}",
                "`user.plan` is of one event, and a digest has several: go through them: {% for event in digest.events %}{{ event.user.plan }} {% endfor %}",
            ),
            (
                "{{ wibble }}",
                "a digest has no `wibble`: it has digest.count, digest.since, digest.until, digest.groups, digest.events, digest.left_out, digest.page, and the fields of `by`",
            ),
        ] {
            check(source, &["type"], expected);
        }
    }

    #[test]
    fn what_is_read_of_a_group_is_one_of_its_fields_or_of_those_that_made_it() {
        let check = |path: &str, expected: &str| {
            let told = fault_of_a_group(path, &around(BY, &["type", "campaign.name"]));
            assert_eq!(
                told.map(|(message, help)| format!("{message}: {help}")).unwrap_or_default(),
                expected,
                "{path}"
            );
        };
        for good in ["name", "campaign", "campaign.name", "type", "parts", "parts.*", "parts.*.value", "*.x"] {
            check(&format!("digest.groups.*.{good}"), "");
        }
        check("digest.groups.*.nmae", "a group has no `group.nmae`: did you mean `group.name`?");
        check(
            "digest.groups.*.title",
            "a group has no `group.title`: it has group.name, group.count, group.since, group.until, group.parts, group.other_parts, and the fields of `by`",
        );
        check(
            "digest.groups.*.campaign.id",
            "a group has no `group.campaign.id`: it has group.campaign.name; or name campaign.id in `by` too",
        );
        let of_thread = fault_of_a_group("digest.groups.*.type", &around(THREAD_BY, &["campaign.id"]));
        let (message, help) = of_thread.expect("a fault");
        assert_eq!(message, "a group has no `group.type`");
        assert!(help.ends_with(", and the fields of `thread_by`"), "{help}");
        check("digest.groups.*.parts.*.vlaue", "a part has no `part.vlaue`: did you mean `part.value`?");
        check(
            "digest.groups.*.parts.name",
            "`group.parts` is a list, and has no `name`: go through it: {% for part in group.parts %}{{ part.value }} {{ part.count }} {% endfor %}",
        );
        check("digest.gruops.*.name", "a digest has no `digest.gruops`: did you mean `digest.groups`?");
    }
}

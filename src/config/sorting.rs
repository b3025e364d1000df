//! `digest:`, `urgent:`, `quiet:` and `order_by:` of a destination → [`Sorting`]: what goes out together, what passes everything else, when
//! nothing else goes out (`quiet`), and what goes one after the other (`order`).

mod order;
mod quiet;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::json;

pub(super) use self::order::ORDER_BY;
pub(super) use self::quiet::QUIET;
use super::advice::digests::is_of_one_event;
use super::{advice, rules};
use crate::deliver::sorting::windows::FIRST_OF_ALL;
use crate::deliver::sorting::{Field, Gathering, Sorting};
use crate::destination::{self, Kind};
use crate::event::configured::read_shared_path;
use crate::event::{FieldId, FieldPath, FieldSetBuilder, vero};
use crate::rules::operators::OPERATORS;
use crate::rules::{Condition, Verdict};
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Info, Key, Of, Section, by_hand, duration, key, text, whole};
use crate::yaml::raw::{Node, Scalar, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::words;

/// Below it a window gathers nothing, and what waits for more than a day nobody waits for.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 60 * 60);
/// Fields that make a group. More would make a group of each event.
const BY_MAX: usize = 8;
/// Each example is rendered, and lies in memory while it is.
const EXAMPLES: RangeInclusive<u64> = 1..=1000;

/// Types of events that are named in a warning.
const TYPES_NAMED_MAX: usize = 3;

/// What goes out together.
pub(super) const DIGEST: Key<()> = key("digest", by_hand(Of::Map(digest_keys)))
    .seen(Sight::All)
    .about("Deliveries of a group go out as one message: a group opens a window with its first event, the first few go out by themselves, the rest waits for the window's end. It waits on disk.")
    .example("{ every: 15m, by: [type, campaign.name], first: 3 }")
    .never_empty();
const DIGEST_EVERY: Defaulted<Duration> = key("every", duration(EVERY))
    .about("How long a window is open.")
    .example("15m")
    .default(Duration::from_secs(15 * 60));
const DIGEST_BY: Key<()> = key("by", by_hand(Of::Texts))
    .seen(Sight::All)
    .about("The fields whose values make a group, at most 8, written as in a match. `[]`: all events are one group.")
    .example("[type, campaign.name]")
    .otherwise("`[type]`");
const DIGEST_FIRST: Defaulted<u64> = key("first", whole(0..=100))
    .about("So many events of each window go out by themselves, at once. Of all groups together no more than 20 in the time of one window.")
    .example("3")
    .default(3);
const DIGEST_MAX: Defaulted<u64> = key("max", whole(*EXAMPLES.start()..=*EXAMPLES.end()))
    .about("So many events are examples, half of them the first and half the last: for templates of your own, and for http. The message that is there without any shows ten of them at most. All are counted.")
    .example("10")
    .default(50);
const DIGEST_BREAKDOWN: Key<String> = key("breakdown", text())
    .seen(Sight::All)
    .about("A field by whose values each group is counted.")
    .example("bounce_type")
    .otherwise("the first of `type`, `campaign.name`, `bounce_type` that `by` does not have");

/// What passes everything that waits.
pub(super) const URGENT: Key<()> = key("urgent", by_hand(Of::Own("match map", || json!({ "$ref": "#/$defs/match", "minProperties": 1 }))))
    .seen(Sight::All)
    .about("Deliveries that pass everything that waits before them, digests and quiet hours too, within the rate. See [Match maps](#match-maps).")
    .example("{ type: complained, campaign.type: transactional }")
    .otherwise("nothing is urgent")
    .never_empty();

fn digest_keys() -> Section {
    let common = [DIGEST_EVERY.info, DIGEST_BY.info, DIGEST_FIRST.info, DIGEST_MAX.info, DIGEST_BREAKDOWN.info];
    Section::of(&common).and(&destination::digest_keys())
}

/// What sorts a destination's deliveries.
pub(super) const KEYS: [Info; 4] = [DIGEST.info, URGENT.info, QUIET.info, ORDER_BY.info];

/// The nodes of what sorts a destination's deliveries.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'n> {
    pub digest: Option<&'n Node>,
    pub urgent: Option<&'n Node>,
    pub quiet: Option<&'n Node>,
    pub order_by: Option<&'n Node>,
}

impl<'n> Nodes<'n> {
    /// Takes them from what all destinations may set.
    pub fn take(entries: &mut Entries<'_, 'n>) -> Self {
        let [digest, urgent, quiet, order_by] = KEYS.map(|info| entries.node(&info));
        Self { digest, urgent, quiet, order_by }
    }
}

/// What the rules send to a destination.
#[derive(Clone, Copy)]
pub(super) struct SentThere<'s> {
    /// The destination's name.
    pub name: &'s str,
    /// Vero's types of events that may come there.
    pub types: &'s [&'static str],
}

/// Reads them; `None` where there are none, or something is wrong with them, which has been told. `can_be_one`: whether several of the
/// destination's deliveries can go out as one message, where that is known; `sent`: what comes there, where that is.
pub(super) fn read(
    reader: &Reader,
    nodes: Nodes<'_>,
    kind: &Kind,
    can_be_one: Option<bool>,
    sent: Option<SentThere<'_>>,
) -> Option<Sorting> {
    if let Some(node) = nodes.order_by {
        return order::read(reader, node, nodes, kind);
    }
    if nodes.digest.is_none() && nodes.urgent.is_none() && nodes.quiet.is_none() {
        return None;
    }
    if kind.digest.is_none() || can_be_one == Some(false) {
        tell_of_single(reader, nodes, kind);
    }
    let mut fields = FieldSetBuilder::default();
    let quiet = nodes.quiet.and_then(|node| quiet::read(reader, node));
    let gathering = match nodes.digest {
        Some(node) => read_digest(reader, node, nodes, &mut fields),
        None => nodes.quiet.is_some().then(|| Gathering {
            every: None,
            by: usual_by(&mut fields),
            breakdown: usual_breakdown(&mut fields, &["type".to_owned()]),
            first: 0,
            examples: DIGEST_MAX.default as usize,
        }),
    };
    let urgent = nodes.urgent.and_then(|node| {
        let urgent = read_urgent(reader, node, &mut fields)?;
        if !reader.would_tell(node) {
            advise_of_urgent(reader, node, &urgent, &fields, sent);
        }
        Some(urgent)
    });
    Some(Sorting::new(fields.build(), urgent, gathering, quiet))
}

/// Deliveries that cannot be one message.
fn tell_of_single(reader: &Reader, nodes: Nodes<'_>, kind: &Kind) {
    for (node, name) in [(nodes.digest, "digest"), (nodes.quiet, "quiet")] {
        let Some(node) = node else { continue };
        let (message, help) = if kind.digest.is_none() {
            let message =
                format!("a destination of kind `{}` takes every event by itself, so it has no `{name}`", kind.name);
            (message, format!("take `{name}` out; `urgent` may stand there"))
        } else {
            let message = "this destination sends each event as it came, and several of them are none";
            let form = "json: { count: \"{{ digest.count }}\" }";
            let help = match name {
                "digest" => format!("say what goes out for several, below `digest`: {form}"),
                _ => format!("what waited goes out together afterwards: say as what, digest: {{ {form} }}"),
            };
            (message.to_owned(), help)
        };
        reader.error_with(node.id, message, help);
    }
}

fn read_digest(reader: &Reader, node: &Node, nodes: Nodes<'_>, fields: &mut FieldSetBuilder) -> Option<Gathering> {
    if !matches!(node.value, Value::Map(_)) {
        let help = match node.scalar().map(|scalar| scalar.text.as_str()) {
            Some(text) if crate::units::duration(text).is_ok() => format!("write digest: {{ every: {text} }}"),
            _ => "write digest: { every: 15m }".to_owned(),
        };
        reader.error_with(node.id, format!("`digest` should be a map, and it is {}", node.kind()), help);
        return None;
    }
    let mut entries = reader.map(node, "`digest`")?.never_empty();
    let every = entries.value(&DIGEST_EVERY);
    let by = match entries.node(&DIGEST_BY.info) {
        Some(by) => read_by(reader, by, fields),
        None => usual_by(fields),
    };
    let first = entries.value(&DIGEST_FIRST);
    let examples = entries.value(&DIGEST_MAX);
    let paths: Vec<String> = by.iter().map(|field| field.path.clone()).collect();
    let breakdown = match entries.node(&DIGEST_BREAKDOWN.info) {
        Some(node) => read_field(reader, node, &DIGEST_BREAKDOWN.info, fields).inspect(|field| {
            if paths.contains(&field.path) {
                let help = "every event of a group has the same value there: name another, or take it out".to_owned();
                reader.warning(node.id, format!("`by` has `{}` already", field.path), help);
            } else if is_of_one_event(&field.path) {
                let help = "name what many events share, like bounce_type".to_owned();
                let message = format!("nearly every event has a `{}` of its own, so each is counted once", field.path);
                reader.warning(node.id, message, help);
            }
        }),
        None => usual_breakdown(fields, &paths),
    };
    if first == 0 && nodes.urgent.is_none() && node.get(DIGEST_FIRST.info.name).is_some() {
        let help =
            "write `first: 1`, so that the first of its kind is seen at once; or say what is `urgent`".to_owned();
        let at = node.get(DIGEST_FIRST.info.name).map_or(node.id, |node| node.id);
        reader.warning(at, "every event waits for its digest, whatever it is", help);
    }
    if first > FIRST_OF_ALL as u64 {
        let at = node.get(DIGEST_FIRST.info.name).map_or(node.id, |node| node.id);
        let message = format!("no more than {FIRST_OF_ALL} events go out by themselves in the time of a window");
        reader.warning(at, message, format!("write first: {FIRST_OF_ALL}, or less"));
    }
    // What the message looks like is read by the kind.
    for info in destination::digest_keys() {
        entries.node(&info);
    }
    entries.finish();
    Some(Gathering { every: Some(every), by, breakdown, first: first as u32, examples: examples as usize })
}

fn usual_by(fields: &mut FieldSetBuilder) -> Vec<Field> {
    usual_field(fields, "type").into_iter().collect()
}

fn usual_breakdown(fields: &mut FieldSetBuilder, by: &[String]) -> Option<Field> {
    let usual = ["type", "campaign.name", "bounce_type"];
    let lacking = usual.into_iter().find(|path| !by.iter().any(|known| known == path))?;
    usual_field(fields, lacking)
}

fn usual_field(fields: &mut FieldSetBuilder, path: &str) -> Option<Field> {
    let id = fields.add(&FieldPath::parse(path).ok()?);
    Some(Field { path: path.to_owned(), id })
}

fn read_by(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Vec<Field> {
    let mut by: Vec<Field> = Vec::new();
    let items = reader.list(node);
    if let Some(odd) = items.iter().find(|item| !item.is_null() && item.scalar().is_none()) {
        let names: Vec<_> = items.iter().flat_map(|item| rules::names_below(item)).collect();
        let help = match names.is_empty() {
            true => format!("write by: {}", DIGEST_BY.info.example),
            false => format!("write by: [{}]; which events come there, the rules say", names.join(", ")),
        };
        reader.error_with(odd.id, format!("`by` is a list of fields, and this is {}", odd.kind()), help);
        return by;
    }
    for item in items {
        let Some(field) = read_field(reader, item, &DIGEST_BY.info, fields) else { continue };
        if by.iter().any(|known| known.id == field.id) {
            reader.warning(item.id, format!("`{}` is named twice", field.path), None);
            continue;
        }
        if is_of_one_event(&field.path) {
            let help = "group by what many events share, like type and campaign.name".to_owned();
            let message = format!("nearly every event has a `{}` of its own, so nothing is gathered", field.path);
            reader.warning(item.id, message, help);
        }
        by.push(field);
    }
    if by.len() > BY_MAX {
        let help = "group by what many events share, like type and campaign.name".to_owned();
        reader.error_with(node.id, format!("a group is made by at most {BY_MAX} fields"), help);
    }
    by
}

/// A field as it stands behind a key.
fn read_field(reader: &Reader, node: &Node, of: &Info, fields: &mut FieldSetBuilder) -> Option<Field> {
    if let Some(Scalar { style: Style::Bool(_), .. }) = node.scalar() {
        let help = format!("write {}: {}; or take `{}` out", of.name, of.example, of.name);
        reader.error_with(node.id, format!("a field has a name, and this is {}", node.kind()), help);
        return None;
    }
    let text = reader.text(node)?;
    let are_not = if of.name == ORDER_BY.info.name { "events are not put in order" } else { "events are not grouped" };
    let path = read_shared_path(reader, node, "campaign.name", are_not)?;
    advice::fields::advise_of_path(reader, node.id, &path);
    advice::digests::advise_of_an_object(reader, node.id, text, advice::digests::ONE_GROUP);
    Some(Field { path: text.to_owned(), id: fields.add(&path) })
}

fn read_urgent(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Option<Condition> {
    let form = || format!("write conditions as in a rule: urgent: {}", URGENT.info.example);
    // A map in the place of a field's test, which has no operator in it.
    let wrapped = node.entries().iter().find(|(key, below)| {
        let is_no_test = |text: &str| text != "not" && !OPERATORS.iter().any(|operator| operator.name == text);
        let is_map =
            matches!(&below.value, Value::Map(entries) if entries.iter().all(|(key, _)| is_no_test(&key.text)));
        is_map && words::meant(&key.text, ["match"]) == Some("match")
    });
    if let Some((key, below)) = wrapped {
        let help = "write urgent: { type: complained }".to_owned();
        let message = format!("the conditions stand below `urgent` at once, without `{}`", key.text);
        reader.error_with(below.id, message, help);
        return None;
    }
    if let Value::List(items) = &node.value {
        let of_types: Option<Vec<_>> =
            items.iter().map(|item| words::meant_type(&item.scalar()?.text)).collect::<Option<_>>();
        let help = match of_types.filter(|types| !types.is_empty()) {
            Some(types) => format!("write urgent: {{ type: [{}] }}", types.join(", ")),
            None => "one of several: urgent: { any: [{ … }, { … }] }; all at once: the keys of one map".to_owned(),
        };
        reader.error_with(node.id, "`urgent` should be a match map, and it is a list", help);
        return None;
    }
    let is_empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
    if is_empty || !matches!(node.value, Value::Map(_)) {
        let of_type = node.scalar().filter(|scalar| scalar.style == Style::String && !scalar.is_interpolated);
        let of_type = of_type.and_then(|scalar| words::meant_type(&scalar.text));
        let help = of_type.map_or_else(form, |name| format!("write urgent: {{ type: {name} }}"));
        let message = match is_empty {
            true => "`urgent` asks for nothing, so everything would be urgent".to_owned(),
            false => format!("`urgent` should be a match map, and it is {}", node.kind()),
        };
        reader.error_with(node.id, message, help);
        return None;
    }
    rules::read_condition(reader, node, fields, advice::fields::Place::Urgent)
}

/// Tells where everything would be urgent, or nothing.
fn advise_of_urgent(
    reader: &Reader,
    node: &Node,
    urgent: &Condition,
    fields: &FieldSetBuilder,
    sent: Option<SentThere<'_>>,
) {
    let paths: HashMap<FieldId, String> = fields.paths().map(|(path, id)| (id, path.to_string())).collect();
    let is_single =
        |field: FieldId| paths.get(&field).is_some_and(|path| path.starts_with("relay.") || vero::is_single(path));
    if let Some(field) = urgent.contradiction(&is_single) {
        let path = paths.get(&field).map_or("", String::as_str);
        let message = format!("nothing is ever urgent: nothing can be all that this asks of `{path}`");
        reader.warning(node.id, message, "where one of them is enough, `any:` takes a list of match maps".to_owned());
        return;
    }
    let Some(SentThere { name, types }) = sent.filter(|sent| !sent.types.is_empty()) else { return };
    let Some((of_type, _)) = paths.iter().find(|(_, path)| *path == "type") else { return };
    let verdicts: Vec<_> = types.iter().map(|event_type| urgent.foresee(*of_type, Some(event_type))).collect();
    let (message, help) = if verdicts.iter().all(|verdict| *verdict == Verdict::Always) {
        let help = format!("say what matters more than the rest, like urgent: {}", URGENT.info.example);
        (format!("all that the rules send to `{name}` is urgent, so nothing waits and nothing is put together"), help)
    } else if verdicts.iter().all(|verdict| *verdict == Verdict::Never) {
        let named = match types.len() {
            ..=TYPES_NAMED_MAX => format!("they send {}", types.join(" and ")),
            _ => "none of the types that they send is".to_owned(),
        };
        let help = "name what comes there, or send it there by a rule".to_owned();
        (format!("nothing that the rules send to `{name}` is urgent: {named}"), help)
    } else {
        return;
    };
    reader.warning(node.id, message, help);
}

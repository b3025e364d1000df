//! `digest:`, `urgent:` and `quiet:` of a destination → [`Sorting`]: what goes out together, what passes everything else, and when nothing else
//! goes out (`quiet`).

mod quiet;

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::json;

pub(super) use self::quiet::QUIET;
use super::{advice, rules};
use crate::deliver::sorting::{Field, Gathering, Sorting};
use crate::destination::{self, Kind};
use crate::event::{FieldPath, FieldSetBuilder, RelayField};
use crate::rules::Condition;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Key, Of, Section, by_hand, duration, key, text, whole};
use crate::yaml::raw::{Node, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// Below it a window gathers nothing, and what waits for more than a day nobody waits for.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 60 * 60);
/// Fields that make a group. More would make a group of each event.
const BY_MAX: usize = 8;
/// Each example is rendered, and lies in memory while it is.
const EXAMPLES: RangeInclusive<u64> = 1..=1000;

/// What goes out together.
pub(super) const DIGEST: Key<()> = key("digest", by_hand(Of::Map(digest_keys)))
    .seen(Sight::All)
    .about("Deliveries of a group go out as one message: a group opens a window with its first event, the first few go out by themselves, the rest waits for the window's end. It waits on disk.")
    .example("{ every: 15m, by: [type, campaign.name], first: 3 }");
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
    .about("So many events are shown as examples, half of them the first and half the last. All are counted.")
    .example("10")
    .default(50);
const DIGEST_BREAKDOWN: Key<String> = key("breakdown", text())
    .seen(Sight::All)
    .about("A field by whose values each group is counted.")
    .example("bounce_type")
    .otherwise("the first of `type`, `campaign.name`, `bounce_type` that `by` does not have");

/// What passes everything that waits.
pub(super) const URGENT: Key<()> = key("urgent", by_hand(Of::Own("match map", || json!({ "$ref": "#/$defs/match" }))))
    .seen(Sight::All)
    .about("Deliveries that pass everything that waits before them, digests and quiet hours too, within the rate. See [Match maps](#match-maps).")
    .example("{ type: complained, campaign.type: transactional }")
    .otherwise("nothing is urgent");

fn digest_keys() -> Section {
    let common = [DIGEST_EVERY.info, DIGEST_BY.info, DIGEST_FIRST.info, DIGEST_MAX.info, DIGEST_BREAKDOWN.info];
    Section::of(&common).and(&destination::digest_keys())
}

/// The nodes of what sorts a destination's deliveries.
#[derive(Clone, Copy)]
pub(super) struct Nodes<'n> {
    pub digest: Option<&'n Node>,
    pub urgent: Option<&'n Node>,
    pub quiet: Option<&'n Node>,
}

impl<'n> Nodes<'n> {
    /// Takes them from what all destinations may set.
    pub fn take(entries: &mut Entries<'_, 'n>) -> Self {
        let [digest, urgent, quiet] = [DIGEST.info, URGENT.info, QUIET.info].map(|info| entries.node(&info));
        Self { digest, urgent, quiet }
    }
}

/// Reads them; `None` where there are none, or something is wrong with them, which has been told. `can_be_one`: whether several of the
/// destination's deliveries can go out as one message, where that is known.
pub(super) fn read(reader: &Reader, nodes: Nodes<'_>, kind: &Kind, can_be_one: Option<bool>) -> Option<Sorting> {
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
    let urgent = nodes.urgent.and_then(|node| read_urgent(reader, node, &mut fields));
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
    let mut entries = reader.map(node, "`digest`")?;
    let every = entries.value(&DIGEST_EVERY);
    let by = match entries.node(&DIGEST_BY.info) {
        Some(by) => read_by(reader, by, fields),
        None => usual_by(fields),
    };
    let first = entries.value(&DIGEST_FIRST);
    let examples = entries.value(&DIGEST_MAX);
    let paths: Vec<String> = by.iter().map(|field| field.path.clone()).collect();
    let breakdown = match entries.node(&DIGEST_BREAKDOWN.info) {
        Some(node) => read_field(reader, node, fields).inspect(|field| {
            if paths.contains(&field.path) {
                let help = "every event of a group has the same value there: name another, or take it out".to_owned();
                reader.warning(node.id, format!("`by` has `{}` already", field.path), help);
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
    for item in reader.list(node) {
        let Some(field) = read_field(reader, item, fields) else { continue };
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

/// Whether hardly two events share what stands there.
fn is_of_one_event(path: &str) -> bool {
    let names = ["id", "message_id", "user.id", "user.email", "email", "relay.received_at", "relay.occurred_at"];
    names.contains(&path) || path.ends_with("_at")
}

fn read_field(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Option<Field> {
    let text = reader.text(node)?;
    if text.contains("{{") {
        let bare = text.trim().trim_start_matches('{').trim_end_matches('}').trim().to_owned();
        let bare = if FieldPath::parse(&bare).is_ok() { bare } else { "campaign.name".to_owned() };
        reader.error_with(node.id, "this is a field and no template", format!("write {bare}"));
        return None;
    }
    match FieldPath::parse(text) {
        Ok(FieldPath::Relay(RelayField::Id | RelayField::Rule)) => {
            let help = "it can be relay.source, or a field of the event".to_owned();
            reader.error_with(node.id, format!("events are not grouped by `{text}`"), help);
            None
        }
        Ok(path) => {
            advice::fields::advise_of_path(reader, node.id, &path);
            Some(Field { path: text.to_owned(), id: fields.add(&path) })
        }
        Err(error) => {
            reader.error_with(node.id, error.to_string(), "write a field like campaign.name".to_owned());
            None
        }
    }
}

fn read_urgent(reader: &Reader, node: &Node, fields: &mut FieldSetBuilder) -> Option<Condition> {
    if let (Some(inner), Value::Map(entries)) = (node.get("match"), &node.value)
        && entries.len() == 1
        && matches!(inner.value, Value::Map(_))
    {
        let help = "write urgent: { type: complained }".to_owned();
        reader.error_with(node.id, "the conditions stand below `urgent` at once, without `match`", help);
        return None;
    }
    let is_empty = matches!(&node.value, Value::Map(entries) if entries.is_empty());
    if is_empty || !matches!(node.value, Value::Map(_)) {
        let help = "write conditions as in a rule: urgent: { type: complained }".to_owned();
        let message = match is_empty {
            true => "`urgent` asks for nothing, so everything would be urgent".to_owned(),
            false => format!("`urgent` should be a match map, and it is {}", node.kind()),
        };
        reader.error_with(node.id, message, help);
        return None;
    }
    rules::read_condition(reader, node, fields)
}

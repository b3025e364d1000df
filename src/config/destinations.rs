//! `destinations:` → [`DestinationConfig`]: what every kind may set, and the kind's own section.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::kinds::{self, RENAMED_FROM};
use super::named::{NamedFiles, Noted};
use super::names::Names;
use super::policy::{self, ANSWERS, COMMON};
use super::presets::{FIELDS, PRESET};
use super::{DestinationConfig, advice, batches, in_turn, is_name, outline, sorting};
use crate::destination::{Client, Context, Destination, KINDS, Kind, OfRelay};
use crate::yaml::load::{NODES_MAX, TEXT_BYTES_MAX};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{Key, Node, NodeId};
use crate::yaml::reader::Reader;
use crate::yaml::values::Surroundings;

/// What a destination is read with.
pub(super) struct Parts<'c> {
    pub reader: &'c Reader,
    pub client: &'c Client,
    pub surroundings: &'c dyn Surroundings,
    pub data_dir: &'c std::path::Path,
    pub relay: OfRelay<'c>,
    pub defaults: Option<&'c Node>,
    /// What the rules may send where, if they are good.
    pub sent: Option<&'c advice::templates::Sent>,
}

/// Reads all destinations; `used` tells which of them some rule sends to.
pub(super) fn read_all(parts: &Parts<'_>, node: Option<&Node>, used: &Names) -> Option<Vec<DestinationConfig>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let reader = parts.reader;
    let mut entries = reader.map(node, "`destinations`")?;
    refuse_much_inherited(parts, node)?;
    read_unused_defaults(parts, node);
    let mut read = Vec::new();
    let mut is_complete = true;
    let mut files = advice::files::Files::default();
    for (at, (key, node)) in entries.rest().into_iter().enumerate() {
        if !used.is_used(&key.text) {
            let help = format!("name it in a rule: to: [{}]; or take it out", key.text);
            reader.warning(key.id, format!("no rule sends to the destination `{}`", key.text), help);
        }
        if !is_name(&key.text) {
            super::tell_of_name(reader, key);
        }
        let types = parts.sent.map(|sent| sent.types(at));
        let what = format!("the destination `{}`", key.text);
        match read_one(parts, Named { name: &key.text, what: &what, types: types.as_deref() }, node) {
            Some(destination) => {
                check_file(reader, node, (key, &destination), &mut files);
                read.push(destination);
            }
            None => is_complete = false,
        }
    }
    check_renames(reader, node, &read);
    is_complete.then_some(read)
}

/// Reads the presets that no destination uses, for what is wrong with them.
pub(super) fn read_unused(parts: &Parts<'_>, presets: &[(String, Node)]) {
    for (name, node) in presets {
        let parts = Parts { defaults: None, ..*parts };
        read_one(&parts, Named { name, what: &format!("the preset `{name}`"), types: None }, node);
    }
}

/// What `defaults` say is written out for each destination, as an alias is: all together it has the limits of a file.
fn refuse_much_inherited(parts: &Parts<'_>, destinations: &Node) -> Option<()> {
    let mut values = 0;
    let mut bytes = 0;
    for (kind, section) in parts.defaults.map(Node::entries).unwrap_or_default() {
        let heirs = destinations.entries().iter().filter(|(_, node)| node.get(&kind.text).is_some()).count();
        let (of_one, bytes_of_one) = section.size();
        values += heirs * of_one;
        bytes += heirs * bytes_of_one;
        if values > NODES_MAX as usize || bytes > TEXT_BYTES_MAX {
            let message = format!(
                "the defaults, written out for {heirs} destinations, hold more than {NODES_MAX} values or {TEXT_BYTES_MAX} bytes"
            );
            parts.reader.error_with(
                kind.id,
                message,
                "use fewer or shorter defaults for so many destinations".to_owned(),
            );
            return None;
        }
    }
    Some(())
}

/// Defaults that no destination has are read as far as they can be without one: what all kinds have in common, and the names of the rest.
fn read_unused_defaults(parts: &Parts<'_>, destinations: &Node) {
    let reader = parts.reader;
    for (key, section) in parts.defaults.map(Node::entries).unwrap_or_default() {
        let Some(kind) = KINDS.into_iter().find(|kind| kind.name == key.text) else { continue };
        let heirs: Vec<_> = destinations.entries().iter().filter_map(|(_, node)| node.get(kind.name)).collect();
        if !heirs.is_empty() {
            advise_of_unread_secrets(reader, kind, section, &heirs);
            continue;
        }
        let message = format!("no destination is of the kind `{}`, so these defaults do nothing", kind.name);
        reader.warning(key.id, message, "take them out until there is one".to_owned());
        let (common, own) = split_defaults(section);
        let what = format!("the defaults of `{}`", kind.name);
        if let Some(mut common) = reader.map(&common, &what) {
            policy::read(reader, &mut common, kind);
            policy::read_backlog(&mut common, kind);
            sorting::read(reader, sorting::Nodes::take(&mut common), kind, None, None);
        }
        if let Some(mut own) = reader.map(&own, &what) {
            for key in &kinds::defaults_of(kind).keys {
                if let Some(node) = own.node(key) {
                    advice::exposure::note_secrets(reader, key, kind.always_secret.contains(&key.name), node);
                }
            }
            own.finish();
        }
        advice::exposure::advise_of_plain_secrets(reader, reader.take_plain().into_iter().map(|(at, _)| at));
    }
}

/// Tells of secrets in defaults that no destination reads, since each has its own.
fn advise_of_unread_secrets(reader: &Reader, kind: &Kind, defaults: &Node, heirs: &[&Node]) {
    for key in (kind.keys)().keys {
        let is_unread = heirs.iter().all(|heir| heir.get(key.name).is_some());
        if let Some(node) = defaults.get(key.name).filter(|_| is_unread) {
            advice::exposure::note_secrets(reader, &key, kind.always_secret.contains(&key.name), node);
        }
    }
    advice::exposure::advise_of_plain_secrets(reader, reader.take_plain().into_iter().map(|(at, _)| at));
}

/// A file is written by one destination only.
fn check_file(reader: &Reader, node: &Node, of: (&Key, &DestinationConfig), files: &mut advice::files::Files) {
    let (key, destination) = of;
    let Some(pattern) = destination.destination.file_pattern() else { return };
    if reader.would_tell(node) {
        return;
    }
    let at = node.get(destination.kind).and_then(|section| section.get("path")).map_or(key.id, |path| path.id);
    let help = || "name another, or let the rules send to one of them".to_owned();
    match files.add(&destination.name, &pattern) {
        None => {}
        Some((other, advice::files::Overlap::Same)) => {
            let both = format!("`{other}` and `{}`", destination.name);
            reader.error_with(at, format!("{both} write to the same file"), help());
        }
        Some((other, advice::files::Overlap::Perhaps)) => {
            let both = format!("`{other}` and `{}`", destination.name);
            reader.warning(at, format!("{both} may write to the same file: the second finds it locked, and `keep` of one can remove what the other has closed"), help());
        }
    }
}

/// A name whose queue is taken over is gone, and only one can take it.
fn check_renames(reader: &Reader, node: &Node, destinations: &[DestinationConfig]) {
    let renamed = |(key, node): &(Key, Node)| Some((key.text.clone(), node.get(RENAMED_FROM.info.name)?.id));
    let places: HashMap<String, NodeId> = node.entries().iter().rev().filter_map(renamed).collect();
    let at = |name: &str| places.get(name).copied().unwrap_or(node.id);
    let names: HashSet<&str> = destinations.iter().map(|destination| destination.name.as_str()).collect();
    let mut taken_over = HashSet::new();
    for destination in destinations {
        let Some(old) = &destination.renamed_from else { continue };
        if old != &destination.name && names.contains(old.as_str()) {
            let help = "take that one out, or leave `renamed_from` out: its queue can be in one place only".to_owned();
            let message = format!("`{}` takes over the queue of `{old}`, which is still there", destination.name);
            reader.error_with(at(&destination.name), message, help);
        }
        if !taken_over.insert(old) {
            let help = "leave `renamed_from` out of one of them".to_owned();
            let message = format!("two destinations take over the queue of `{old}`");
            reader.error_with(at(&destination.name), message, help);
        }
    }
}

/// What is read, and what it is called where something is wrong.
struct Named<'n> {
    name: &'n str,
    what: &'n str,
    /// The types of events that may come there, where that is known.
    types: Option<&'n [&'static str]>,
}

fn read_one(parts: &Parts<'_>, Named { name, what, types }: Named<'_>, node: &Node) -> Option<DestinationConfig> {
    let reader = parts.reader;
    let mut entries = reader.map(node, what)?;
    let preset = entries.node(&PRESET.info);
    if let (Some(fields), None) = (entries.node(&FIELDS.info), preset) {
        let help = format!("write preset: {}, or take `fields` out", PRESET.info.example);
        reader.error_with(fields.id, "`fields` belongs to `preset`, and there is none", help);
    }
    let mut kinds = KINDS.iter().filter_map(|kind| Some((*kind, entries.node(&kind.key())?)));
    let first = kinds.next();
    let second = kinds.next();
    drop(kinds);
    let Some((kind, section)) = first else {
        if preset.is_some() {
            // What is wrong with it was told when it was to be written out, but for keys that nobody knows.
            COMMON.iter().chain([&ANSWERS.info, &RENAMED_FROM.info]).for_each(|info| _ = entries.node(info));
            entries.finish();
            return None;
        }
        let names = KINDS.map(|kind| kind.name);
        let rest = entries.rest();
        let near = rest.iter().find_map(|(key, _)| did_you_mean(&key.text, names));
        let help = near
            .or_else(|| kind_of(name, &rest))
            .unwrap_or_else(|| format!("its kind is a key below its name: {}", names.join(", ")));
        reader.error_with(node.id, format!("{what} has no kind"), help);
        return None;
    };
    if let Some((other, _)) = second {
        let message = format!("{what} has two kinds, {} and {}", kind.name, other.name);
        let help = format!(
            "give each a name of its own: {name}: {{ {}: … }}, {name}-{}: {{ {}: … }}",
            kind.name, other.name, other.name
        );
        reader.error_with(section.id, message, help);
        return None;
    }
    let nothing = Node { id: section.id, value: crate::yaml::raw::Value::Map(Vec::new()) };
    let defaults = parts.defaults.and_then(|defaults| defaults.get(kind.name)).unwrap_or(&nothing);
    let (common_defaults, own_defaults) = split_defaults(defaults);
    let mut entries = entries.with_defaults(&common_defaults);
    let answers = entries.node(&ANSWERS.info);
    let mut policy = policy::read(reader, &mut entries, kind);
    let backlog = policy::read_backlog(&mut entries, kind);
    let sorting = sorting::Nodes::take(&mut entries);
    let of_digest = sorting.digest;
    let renamed_from = entries.node(&RENAMED_FROM.info).and_then(|node| {
        let old = reader.text(node)?;
        if old == name {
            let help = "write the name that it had before, or take `renamed_from` out".to_owned();
            reader.error_with(node.id, "`renamed_from` is the name that it has now", help);
        }
        Some(old.to_owned())
    });
    entries.finish();
    let own = reader.map(section, &format!("`{}` of {what}", kind.name))?.with_defaults(&own_defaults);
    let Parts { client, data_dir, relay, .. } = *parts;
    let noted = Noted::new(parts.surroundings);
    let surroundings = &noted;
    let context = Context { reader, name, client, surroundings, data_dir, relay, answers, digest: sorting.digest };
    let destination: Option<Arc<dyn Destination>> = (kind.build)(&context, own);
    if let Some(destination) = &destination {
        policy.interval = policy.interval.max(destination.interval_min());
        in_turn::check_concurrency(reader, [node, defaults], &**destination, &policy);
        batches::advise_of_age(reader, [node, defaults], &**destination, backlog.max_age);
    }
    in_turn::advise_of_fields(reader, kind, [section, defaults]);
    advice::shaping::advise(reader, kind, [section, defaults]);
    advice::columns::advise(reader, kind, [section, defaults]);
    let can_be_one = destination.as_ref().map(|destination| destination.digests());
    let sent = types.map(|types| sorting::SentThere { name, types });
    let sorting = match &destination {
        Some(destination) => batches::check(reader, sorting, &**destination),
        None => sorting,
    };
    let sorting = sorting::read(reader, sorting, kind, can_be_one, sent).map(Arc::new);
    let plain = reader.take_plain().into_iter().map(|(at, _)| at);
    if destination.as_ref().is_some_and(|destination| !destination.is_loopback()) {
        advice::exposure::advise_of_plain_secrets(reader, plain);
    }
    let said = fingerprint([node, defaults], &NamedFiles::default());
    let fingerprint = fingerprint([node, defaults], &noted.into_files());
    let is_of_digest = of_digest.is_some_and(is_put_in);
    let shows_content = !is_of_digest && !puts_into_content(kind, section) && !puts_into_content(kind, defaults);
    let name = name.to_owned();
    let destination = destination?;
    let kind = kind.name;
    Some(DestinationConfig {
        name,
        kind,
        policy,
        backlog,
        sorting,
        renamed_from,
        said,
        fingerprint,
        shows_content,
        destination,
    })
}

/// The kind that the keys of a destination without one belong to.
fn kind_of(name: &str, entries: &[(&Key, &Node)]) -> Option<String> {
    if COMMON.iter().any(|key| key.name == name) {
        return Some(format!("`{name}` stands in a destination, beside its kind: it is no name here"));
    }
    let has = |wanted: &str| entries.iter().any(|(key, _)| key.text == wanted);
    let said = |text: &str| entries.iter().any(|(_, node)| node.scalar().is_some_and(|scalar| scalar.text == text));
    let kind = KINDS.into_iter().find(|kind| said(kind.name));
    let kind = kind.or_else(|| KINDS.into_iter().find(|kind| of_it_alone(kind).any(&has)));
    let kind = kind.or_else(|| KINDS.into_iter().find(|kind| first_key(kind).is_some_and(&has)))?;
    let key = first_key(kind)?;
    Some(format!("its kind is a key below its name: {name}: {{ {}: {{ {key}: … }} }}", kind.name))
}

/// The first key that a kind cannot do without, or that its shortest section begins with.
fn first_key(kind: &Kind) -> Option<&'static str> {
    let needed = (kind.keys)().keys.iter().find(|key| key.is_required()).map(|key| key.name);
    needed.or_else(|| kind.form.trim_start_matches(['{', ' ']).split(':').next())
}

/// The keys that no other kind has.
fn of_it_alone(kind: &Kind) -> impl Iterator<Item = &'static str> {
    let others = KINDS.into_iter().filter(|other| other.name != kind.name);
    let others: HashSet<_> = others.flat_map(|other| (other.keys)().keys).map(|key| key.name).collect();
    (kind.keys)().keys.into_iter().map(|key| key.name).filter(move |key| !others.contains(key))
}

/// In the defaults of a kind both sorts of key stand together.
fn split_defaults(defaults: &Node) -> (Node, Node) {
    let is_common = |name: &str| COMMON.iter().any(|key| key.name == name);
    // A key that is given twice was told with the whole file.
    let mut seen = HashSet::new();
    let first = defaults.entries().iter().filter(|(key, _)| seen.insert(key.text.as_str())).cloned();
    let (common, own): (Vec<_>, Vec<_>) = first.partition(|(key, _)| is_common(&key.text));
    let node = |entries| Node { id: defaults.id, value: crate::yaml::raw::Value::Map(entries) };
    (node(common), node(own))
}

/// A digest of what a destination's section and its defaults say, values of `${…}` included, and of what the files hold that it was read
/// with. From it nothing can be read back.
fn fingerprint(said: [&Node; 2], files: &NamedFiles) -> String {
    let mut text = String::new();
    said.into_iter().for_each(|node| outline::write(node, &mut text));
    files.write(&mut text);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether something that a `${…}` stands for is part of what a kind's section sends. A template may send it in disguise, so it
/// cannot be masked where the content is shown.
fn puts_into_content(kind: &Kind, section: &Node) -> bool {
    let content = section.entries().iter().filter(|(key, _)| !kind.not_content.contains(&key.text.as_str()));
    content.map(|(_, node)| node).any(is_put_in)
}

/// Whether anything below a node stands for something else.
fn is_put_in(node: &Node) -> bool {
    match &node.value {
        crate::yaml::raw::Value::Scalar(scalar) => scalar.is_interpolated,
        crate::yaml::raw::Value::List(items) => items.iter().any(is_put_in),
        crate::yaml::raw::Value::Map(entries) => entries.iter().any(|(_, node)| is_put_in(node)),
    }
}

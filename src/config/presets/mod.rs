//! `preset:` of a destination: a section that somebody else has written, filled with a few fields.
//!
//! A preset is data: a YAML file beside this one, or an entry of `presets:` in a config. It is written out when the config is read, into
//! the section that somebody could have typed; nothing that reads destinations knows where a section came from, so `check`, `explain`,
//! tests, reload and masks are those of any other. A key that the destination has wins over the preset's, whole, and the preset's over `defaults`.
//!
//! # Cast
//!
//! * `written`: what a preset says of itself: its fields, and the section with its places. `keys`: the keys of that.
//! * `given`: what a destination gives for the fields, checked. `filled`: the section with that in its places. `bodies`: what goes with the
//!   body of a preset and what does not.
//!
//! An error in what is given stands at the line of the one who gave it; one in a preset of the config's own at the preset's line; one in a
//! preset that lies here, which no test has let pass, at the line that names it.

mod bodies;
mod filled;
mod given;
mod keys;
mod written;

use std::sync::LazyLock;

use self::filled::Given;
pub(super) use self::keys::{FIELDS, PRESET, PRESETS};
use self::written::{Form, Written};
use super::policy::COMMON;
use super::sorting::{DIGEST, QUIET};
use crate::destination::KINDS;
use crate::destination::client::{is_loopback, parse_url};
use crate::yaml::load::{self, NODES_MAX, TEXT_BYTES_MAX};
use crate::yaml::places::Places;
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{Key, Node, NodeId, Scalar, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::resolved::{Resolved, step};
use crate::yaml::words::meant;

/// Declares the presets that lie beside this file.
macro_rules! built_in {
    ($($name:literal,)*) => {
        /// Their names and texts, in the order of the names.
        const TEXTS: [(&str, &str); [$($name),*].len()] = [$(($name, include_str!(concat!($name, ".yaml")))),*];
    };
}

built_in! {
    "bigquery_lines",
    "customer_io",
    "discord",
    "google_chat",
    "hubspot",
    "mattermost",
    "opsgenie",
    "pagerduty",
    "rocket_chat",
    "segment",
    "teams",
    "telegram",
}

static BUILT_IN: LazyLock<Vec<(&str, Node)>> = LazyLock::new(|| {
    let read = |(name, text): &(&'static str, &str)| {
        let mut node = load::parse(text).unwrap_or_else(|error| panic!("the preset {name}: {}", error.message));
        // Nothing is put in from outside here; its signs are written as in a config all the same, for who copies it.
        node.for_each_scalar(&mut |_, scalar| scalar.text = scalar.text.replace("$${", "${"));
        (*name, node)
    };
    TEXTS.iter().map(read).collect()
});

/// A preset that needs nothing of a config.
pub struct BuiltIn {
    pub name: &'static str,
    /// The file as it lies here.
    pub text: &'static str,
}

/// The presets that are there without being written.
pub fn built_in() -> impl Iterator<Item = BuiltIn> {
    TEXTS.iter().map(|(name, text)| BuiltIn { name, text })
}

impl BuiltIn {
    /// What it is for, in a sentence or two.
    pub fn about(&self) -> String {
        self.said("about").into_iter().next().unwrap_or_default()
    }

    /// The addresses of the documentation that it was made from.
    pub fn documentation(&self) -> Vec<String> {
        self.said("documentation")
    }

    /// The day on which somebody read them.
    pub fn checked(&self) -> String {
        self.said("checked").into_iter().next().unwrap_or_default()
    }

    /// Its fields, each with whether it must be given.
    pub fn fields(&self) -> Vec<(String, bool)> {
        BUILT_IN.iter().find(|(name, _)| *name == self.name).map(|(_, node)| fields_of(node)).unwrap_or_default()
    }

    fn said(&self, key: &str) -> Vec<String> {
        let node = BUILT_IN.iter().find(|(name, _)| *name == self.name).and_then(|(_, node)| node.get(key));
        let texts = |node: &Node| match &node.value {
            Value::List(items) => items.iter().filter_map(Node::scalar).map(|scalar| scalar.text.clone()).collect(),
            _ => node.scalar().map(|scalar| scalar.text.clone()).into_iter().collect(),
        };
        node.map(texts).unwrap_or_default()
    }
}

/// What a config's own presets are for, and where they stand in it.
pub struct Own {
    pub name: String,
    pub about: String,
    pub fields: Vec<(String, bool)>,
    pub line: Option<usize>,
}

/// The presets that the text of a config writes itself; of one that is no YAML there are none. What is wrong with them `check` tells.
pub fn own_in(text: &str) -> Vec<Own> {
    let Ok(root) = load::parse(text) else { return Vec::new() };
    let entries = root.get(PRESETS.info.name).map(Node::entries).unwrap_or_default();
    let places = Places::find(text, &root, entries.iter().map(|(key, _)| key.id));
    let one = |(key, node): &(Key, Node)| Own {
        name: key.text.clone(),
        about: node
            .get(keys::ABOUT.info.name)
            .and_then(Node::scalar)
            .map(|about| about.text.clone())
            .unwrap_or_default(),
        fields: fields_of(node),
        line: places.get(key.id).map(|place| place.line),
    };
    entries.iter().map(one).collect()
}

/// The fields of a preset, each with whether it must be given.
fn fields_of(preset: &Node) -> Vec<(String, bool)> {
    let is_required = |node: &Node| {
        node.get(keys::REQUIRED.info.name).and_then(Node::scalar).is_some_and(|scalar| scalar.text == "true")
    };
    let fields = preset.get(keys::OF_PRESET).map(Node::entries).unwrap_or_default();
    fields.iter().map(|(key, node)| (key.text.clone(), is_required(node))).collect()
}

/// A config in which each destination with a preset is written out; `None` where none has one. A destination whose preset or fields are wrong,
/// which is told, is left with nothing but the name of its preset. `in_force` is what the `${…}` of the config in force stand for, where this one
/// is to follow it and may know no more.
pub(super) fn expand(reader: &Reader, root: &Node, in_force: Option<&Resolved>) -> Option<Expanded> {
    let own = root.get(PRESETS.info.name).filter(|node| !node.is_null());
    let is_used = |(_, node): &(Key, Node)| node.get(PRESET.info.name).is_some();
    let destinations = root.get("destinations").map(Node::entries).unwrap_or_default();
    if own.is_none() && !destinations.iter().any(is_used) {
        return None;
    }
    reader.hiding_values(|| {
        let expansion = Expansion { reader, own: read_own(reader, own), defaults: root.get("defaults") };
        let mut budget = Budget::default();
        let mut root = root.clone();
        let Value::Map(entries) = &mut root.value else { return None };
        let destinations = entries.iter_mut().filter(|(key, _)| key.text == "destinations");
        for (_, node) in destinations {
            let Value::Map(destinations) = &mut node.value else { continue };
            for (name, node) in destinations.iter_mut().filter(|entry| is_used(entry)) {
                if let Some(expanded) = expansion.destination(node, &mut budget) {
                    *node = expanded;
                    let mut place = String::new();
                    ["destinations", &name.text].iter().for_each(|key| step(&mut place, key));
                    reader.settle(node, &mut place, in_force);
                }
            }
        }
        let unused = expansion.unused(&root, &mut budget);
        Some(Expanded { root, unused })
    })
}

/// A config that is written out.
#[derive(Debug, PartialEq)]
pub(super) struct Expanded {
    pub root: Node,
    /// The presets of its own that no destination uses, each as a destination would have it that gives what is supposed.
    pub unused: Vec<(String, Node)>,
}

/// What all presets of a config, written out, come to: the limits are those of a file with its aliases written out.
#[derive(Default)]
struct Budget {
    values: usize,
    bytes: usize,
}

impl Budget {
    fn take(&mut self, (values, bytes): (usize, usize)) -> bool {
        (self.values, self.bytes) = (self.values.saturating_add(values), self.bytes.saturating_add(bytes));
        self.values <= NODES_MAX as usize && self.bytes <= TEXT_BYTES_MAX
    }
}

fn read_own<'n>(reader: &Reader, node: Option<&'n Node>) -> Vec<(&'n str, Option<Written<'n>>)> {
    let mut read: Vec<(&str, Option<Written<'_>>)> = Vec::new();
    let entries = node.and_then(|node| reader.map(node, "`presets`"));
    for (key, node) in entries.map(|mut entries| entries.rest()).unwrap_or_default() {
        if TEXTS.iter().any(|(name, _)| *name == key.text) {
            let help = format!("give it another name, like my_{}", key.text);
            reader.error_with(key.id, format!("there is a preset `{}` already", key.text), help);
        } else if !super::is_name(&key.text) {
            super::tell_of_name(reader, key);
        }
        read.push((key.text.as_str(), Written::read(reader, &key.text, node)));
    }
    read
}

struct Expansion<'e> {
    reader: &'e Reader,
    /// The config's own presets; nothing where one is wrong.
    own: Vec<(&'e str, Option<Written<'e>>)>,
    defaults: Option<&'e Node>,
}

impl Expansion<'_> {
    /// A destination as it would be typed. `None`: it does not say which preset.
    fn destination(&self, node: &Node, budget: &mut Budget) -> Option<Node> {
        let preset = node.get(PRESET.info.name).filter(|preset| !preset.is_null())?;
        let wrong = || {
            let is_told = |key: &str| key == FIELDS.info.name || KINDS.iter().any(|kind| kind.name == key);
            let rest = node.entries().iter().filter(|(key, _)| !is_told(&key.text));
            Node { id: node.id, value: Value::Map(rest.cloned().collect()) }
        };
        let is_meant = |(key, _): &(Key, Node)| meant(&key.text, [FIELDS.info.name]).is_some();
        if node.get(FIELDS.info.name).is_none() && node.entries().iter().any(is_meant) {
            // An unknown key, which whoever reads the destination tells of: no field is missing.
            return Some(wrong());
        }
        Some(self.written_out(node, preset, budget).unwrap_or_else(wrong))
    }

    /// What of the config's own presets no destination uses, with something in the places of what must be given.
    fn unused(&self, root: &Node, budget: &mut Budget) -> Vec<(String, Node)> {
        let destinations = root.get("destinations").map(Node::entries).unwrap_or_default();
        let is_used = |name: &str| {
            let named = |node: &Node| node.get(PRESET.info.name)?.scalar().map(|scalar| scalar.text == name);
            destinations.iter().any(|(_, node)| named(node) == Some(true))
        };
        let good = self.own.iter().filter_map(|(name, written)| Some((*name, written.as_ref()?)));
        let unused = good.filter(|(name, _)| !is_used(name));
        let one = |(name, written): (&str, &Written<'_>)| {
            let at = self.reader.supposes(written.node.id);
            let key = |text: &str| Key { id: at, text: text.to_owned() };
            let text = |text: &str| {
                let scalar = Scalar { text: text.to_owned(), style: Style::String, is_interpolated: false };
                Node { id: at, value: Value::Scalar(scalar) }
            };
            let supposed = |field: &written::Field<'_>| match field.form {
                Form::Url => text("https://example.com/x"),
                Form::Choice(values) => text(values.first().map_or("", |(key, _)| &key.text)),
                Form::Text | Form::Template | Form::Any => text("x"),
            };
            let missing = written.fields.iter().filter(|field| field.default.is_none());
            let fields = missing.map(|field| (key(field.name), supposed(field))).collect();
            let fields = Node { id: at, value: Value::Map(fields) };
            let entries = vec![(key(PRESET.info.name), text(name)), (key(FIELDS.info.name), fields)];
            let node = Node { id: at, value: Value::Map(entries) };
            Some((name.to_owned(), self.by(written, &node, &text(name), budget)?))
        };
        unused.filter_map(one).collect()
    }

    fn written_out(&self, node: &Node, preset: &Node, budget: &mut Budget) -> Option<Node> {
        let reader = self.reader;
        let hide_fields = || node.get(FIELDS.info.name).into_iter().for_each(|fields| reader.hide(fields));
        let Some(name) = reader.text(preset) else {
            hide_fields();
            return None;
        };
        if let Some((_, written)) = self.own.iter().find(|(known, _)| *known == name) {
            let Some(written) = written else {
                hide_fields();
                return None;
            };
            return self.by(written, node, preset, budget);
        }
        let Some((name, lies_here)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let names = || self.own.iter().map(|(name, _)| *name).chain(TEXTS.iter().map(|(name, _)| *name));
            let listed = || format!("there are {}", names().collect::<Vec<_>>().join(", "));
            let help = did_you_mean(name, names()).unwrap_or_else(listed);
            // Which of them is a secret is not known.
            hide_fields();
            reader.error_with(preset.id, format!("there is no preset `{name}`"), help);
            return None;
        };
        let mut lies_here = lies_here.clone();
        place_all(&mut lies_here, reader.stands_for(preset.id));
        self.by(&Written::read(reader, name, &lies_here)?, node, preset, budget)
    }

    fn by(&self, written: &Written<'_>, node: &Node, preset: &Node, budget: &mut Budget) -> Option<Node> {
        let reader = self.reader;
        if let Some(warning) = written.warning {
            reader.warning(preset.id, warning.to_owned(), written.see());
        }
        let fields = node.get(FIELDS.info.name).filter(|node| !node.is_null());
        let given = given::read(reader, written, fields, preset);
        let goes_out = given.as_ref().is_none_or(|given| goes_out(reader, node, written, given));
        given::advise_of_secrets(reader, written, fields, goes_out);
        let given = given?;
        let is_field = |name: &str| written.field(name).is_some();
        let is_body = |key: &str| key == written.kind.name || key == DIGEST.info.name;
        let own = node.entries().iter().filter(|(key, _)| is_body(&key.text)).map(|(_, node)| node);
        let sizes = std::iter::once(written.node).chain(own).map(|node| filled::size(node, &given, &is_field));
        let size =
            sizes.fold((0_usize, 0_usize), |all, one| (all.0.saturating_add(one.0), all.1.saturating_add(one.1)));
        if !budget.take(size) {
            let message =
                format!("the presets, written out, hold more than {NODES_MAX} values or {TEXT_BYTES_MAX} bytes");
            reader.error_with(preset.id, message, "use presets for fewer destinations".to_owned());
            return None;
        }
        let fill = |node: &Node| {
            let with = filled::Fill { reader, given: &given, is_field: &is_field };
            filled::fill(&with, node, &mut Vec::new())
        };
        let Value::Map(mut entries) = node.value.clone() else { return None };
        written.check_own(reader, node.get(written.kind.name), node.get(DIGEST.info.name));
        // Of what a destination says itself, which is written like the preset, nothing is left out but what holds a place of nothing.
        for (_, node) in entries.iter_mut().filter(|(key, _)| is_body(&key.text)) {
            *node = fill(node).unwrap_or(Node { id: node.id, value: Value::Map(Vec::new()) });
        }
        let key = |name: &str| Key { id: preset.id, text: name.to_owned() };
        let nothing = || Node { id: preset.id, value: Value::Map(Vec::new()) };
        let section = fill(written.section).unwrap_or_else(nothing);
        match entries.iter_mut().find(|(known, _)| known.text == written.kind.name) {
            Some((_, own)) => {
                bodies::refuse(reader, written, own, &section);
                bodies::add_to_batch(own, &section);
                add_missing(own, section);
            }
            None => entries.push((key(written.kind.name), section)),
        }
        let of_kind = self.defaults.and_then(|defaults| defaults.get(written.kind.name));
        if let (Some(defaults), Some((_, own))) =
            (of_kind, entries.iter_mut().find(|(known, _)| known.text == written.kind.name))
        {
            bodies::keep(written, own, defaults, preset.id);
        }
        for info in COMMON.iter().filter(|info| info.name != DIGEST.info.name) {
            let common = written.node.get(info.name).filter(|_| !entries.iter().any(|(key, _)| key.text == info.name));
            entries.extend(common.map(|node| (key(info.name), node.clone())));
        }
        bodies::refuse_beside_batch(reader, written, &mut entries);
        if written.kind.digest.is_some() {
            self.put_digest(&mut entries, written, preset.id, &fill);
        }
        Some(Node { id: node.id, value: Value::Map(entries) })
    }

    /// Where a destination has a digest, its own or that of its kind's defaults, and does not say what it looks like, the preset does.
    fn put_digest(
        &self,
        entries: &mut Vec<(Key, Node)>,
        written: &Written<'_>,
        at: NodeId,
        fill: &dyn Fn(&Node) -> Option<Node>,
    ) {
        let of_kind = self.defaults.and_then(|defaults| defaults.get(written.kind.name));
        let find = |name: &str| {
            let own = entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node);
            own.or_else(|| of_kind.and_then(|defaults| defaults.get(name))).filter(|node| !node.is_null())
        };
        let bodies = written.kind.digest.as_ref().map(|digest| (digest.keys)().keys).unwrap_or_default();
        let says_body = |node: &Node| bodies.iter().any(|key| node.get(key.name).is_some_and(|node| !node.is_null()));
        let (digest, quiet) = (find(DIGEST.info.name), find(QUIET.info.name));
        if digest.is_some_and(says_body) {
            return;
        }
        let Some(body) = written.node.get(DIGEST.info.name).and_then(fill) else {
            if let Some(node) = digest.or(quiet) {
                let message =
                    format!("the preset `{}` does not say what several events look like as one", written.name);
                let body = bodies.first().map_or("", |key| key.name);
                let help = format!("take it out, or write digest: {{ {body}: … }}");
                self.reader.error_with(node.id, message, help);
            }
            return;
        };
        let Some(mut digest) = digest.cloned() else {
            if let Some(node) = quiet {
                let message = "what waits while it is quiet goes out as a digest, and there is none".to_owned();
                self.reader.error_with(node.id, message, format!("write digest: {} too", DIGEST.info.example));
            }
            return;
        };
        add_missing(&mut digest, body);
        entries.retain(|(key, _)| key.text != DIGEST.info.name);
        entries.push((Key { id: at, text: DIGEST.info.name.to_owned() }, digest));
    }
}

/// The key of a section that says where it goes, if it says so by a URL.
const ADDRESS: &str = "url";

/// Whether a destination sends to another machine, by the address that it has itself or by that of its preset.
fn goes_out(reader: &Reader, node: &Node, written: &Written<'_>, given: &Given<'_>) -> bool {
    let own = node.get(written.kind.name).and_then(|section| section.get(ADDRESS));
    let is_field = |name: &str| written.field(name).is_some();
    let fill = |node| filled::fill(&filled::Fill { reader, given, is_field: &is_field }, node, &mut Vec::new());
    let address = own.or_else(|| written.section.get(ADDRESS)).and_then(fill);
    let url = address.and_then(|node| parse_url(&node.scalar()?.text).ok());
    !url.is_some_and(|url| is_loopback(&url))
}

/// Adds the entries of a map to another for the keys that it does not have. What is no map is told of by whoever reads it.
fn add_missing(own: &mut Node, more: Node) {
    if own.is_null() {
        own.value = Value::Map(Vec::new());
    }
    if let (Value::Map(own), Value::Map(more)) = (&mut own.value, more.value) {
        let known = own.len();
        own.extend(more);
        let mut at = 0;
        let names: Vec<String> = own[..known].iter().map(|(key, _)| key.text.clone()).collect();
        own.retain(|(key, _)| {
            at += 1;
            at <= known || !names.contains(&key.text)
        });
    }
}

/// Has all of a preset stand at one place of the config.
fn place_all(node: &mut Node, at: NodeId) {
    node.id = at;
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::List(items) => items.iter_mut().for_each(|item| place_all(item, at)),
        Value::Map(entries) => entries.iter_mut().for_each(|(key, node)| {
            key.id = at;
            place_all(node, at);
        }),
    }
}

#[cfg(test)]
mod tests;

//! Templates that read what Vero does not send, and messages that are empty whatever comes.
//!
//! A path is certain to be wrong only where the template does not itself provide for its absence: behind `default`, `is defined` or
//! the first part of an `or` nothing is told, nor of a loop's own names.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use minijinja::machinery::parse;

use super::reads::Reads;
use super::texts;
use crate::destination::email::is_address;
use crate::destination::template::{Escape, Template, is_template, sole_path};
use crate::destination::view::RELAY_FIELDS;
use crate::destination::view::View;
use crate::destination::{Language, TemplateKey, dialect, kind_named};
use crate::event::{FieldId, FieldSetBuilder, vero};
use crate::fault::Fault;
use crate::rules::{Rule, Verdict};
use crate::yaml::raw::{Node, NodeId, Scalar, Style, Value};
use crate::yaml::reader::Reader;
use crate::yaml::words;

/// Templates that are looked at. Each costs some ten microseconds, and thousands of destinations do not differ in their slips.
const TEMPLATES_MAX: usize = 1000;
/// A longer template is not looked at.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// Types that are named in one warning.
const NAMED_MAX: usize = 3;

/// What a destination's templates are looked at with.
pub(in crate::config) struct Sent {
    /// Vero's types that the rules may send there, as bits in the order of [`vero::TYPES`].
    by_destination: HashMap<usize, u16>,
    /// The fields in which all that they send there is alike, with the only value.
    alike: HashMap<usize, HashMap<String, String>>,
}

impl Sent {
    /// What the rules may send to each destination.
    pub(in crate::config) fn of(rules: &[Rule], fields: &FieldSetBuilder, type_field: Option<FieldId>) -> Self {
        let paths: HashMap<FieldId, String> = fields.paths().map(|(path, id)| (id, path.to_string())).collect();
        let mut alike: HashMap<usize, HashMap<String, String>> = HashMap::new();
        let mut by_destination: HashMap<usize, u16> = HashMap::new();
        let mut stopped = 0_u16;
        for rule in rules {
            let mut types = 0;
            for (at, name) in vero::TYPES.iter().enumerate() {
                if stopped & (1 << at) != 0 {
                    continue;
                }
                let verdict = type_field.map_or(Verdict::Perhaps, |field| rule.condition.foresee(field, Some(name)));
                types |= u16::from(verdict != Verdict::Never) << at;
                stopped |= u16::from(rule.stop && verdict == Verdict::Always) << at;
            }
            rule.to.iter().for_each(|to| *by_destination.entry(*to).or_default() |= types);
            let asked = only_values(rule, &paths);
            for to in &rule.to {
                let known = alike.entry(*to).or_insert_with(|| asked.clone());
                known.retain(|path, value| asked.get(path) == Some(value));
            }
        }
        Self { by_destination, alike }
    }

    /// Whether all that the rules send to a destination has the same value there.
    pub(super) fn is_alike(&self, destination: usize, path: &str) -> bool {
        self.alike.get(&destination).is_some_and(|fields| fields.contains_key(path))
    }

    /// Vero's types that the rules may send to a destination, by its place.
    pub(in crate::config) fn types(&self, destination: usize) -> Vec<&'static str> {
        Self::names(self.bits(destination))
    }

    fn bits(&self, destination: usize) -> u16 {
        self.by_destination.get(&destination).copied().unwrap_or_default()
    }

    fn names(bits: u16) -> Vec<&'static str> {
        vero::TYPES.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, name)| *name).collect()
    }
}

/// The fields of which a rule takes one value alone, and that value.
fn only_values(rule: &Rule, paths: &HashMap<FieldId, String>) -> HashMap<String, String> {
    let only = rule.condition.only_texts();
    let of_one = |(field, text): (FieldId, &str)| {
        let path = paths.get(&field)?;
        // An element of a list is no value of the whole.
        let is_single = path.starts_with("relay.") || vero::is_single(path);
        is_single.then(|| (path.clone(), text.to_owned()))
    };
    only.into_iter().filter_map(of_one).collect()
}

/// Tells what can be said of the templates of all destinations.
pub(in crate::config) fn advise(reader: &Reader, destinations: &Node, defaults: Option<&Node>, sent: &Sent) {
    let mut templates = Vec::new();
    let mut seen = HashSet::new();
    for (at, (_, node)) in destinations.entries().iter().enumerate() {
        for (kind, section) in node.entries() {
            let Some(kind) = kind_named(&kind.text) else { continue };
            let usual = defaults.and_then(|defaults| defaults.get(kind.name));
            let own = section.entries().iter();
            let inherited = usual.map(Node::entries).unwrap_or_default().iter();
            let inherited = inherited.filter(|(key, _)| section.get(&key.text).is_none());
            let is_on = |key: &&str| {
                let scalar = section.get(key).or_else(|| usual?.get(key)).and_then(Node::scalar);
                scalar.is_some_and(|scalar| scalar.text == "true")
            };
            for (key, node) in own.chain(inherited) {
                let Some(TemplateKey { language, omitted_by, .. }) = kind.templated(&key.text) else { continue };
                let omitted_by = omitted_by.filter(is_on);
                // What stands in the defaults is looked at once.
                if seen.insert(node.id) {
                    texts::advise(reader, language, &key.text, node);
                }
                collect(node, &mut |at_node, source| {
                    let types = sent.bits(at);
                    templates.push(Found { language, key: &key.text, at: at_node, source, types, omitted_by });
                });
            }
        }
    }
    // One template that serves several destinations may read what only some of them get.
    let mut types: HashMap<&str, u16> = HashMap::new();
    templates.iter().for_each(|found| *types.entry(found.source).or_default() |= found.types);
    let mut seen = HashSet::new();
    templates.retain(|found| seen.insert(found.at));
    for found in templates.iter().filter(|found| found.language != Language::Path).take(TEMPLATES_MAX) {
        let types = Sent::names(types.get(found.source).copied().unwrap_or_default());
        let Found { language, key, omitted_by, .. } = *found;
        Of { reader, language, key, types: &types, omitted_by }.look_at(found.at, found.source);
    }
}

/// Whether all that the templates below a node read stands in some sample: of another value nothing can be said.
pub(super) fn reads_only_what_samples_have(node: &Node) -> bool {
    let mut is_certain = true;
    let is_known =
        |path: &str| path.starts_with("relay.") || View::samples().iter().any(|view| view.find(path).is_some());
    let mut scalars = 0;
    each_scalar(node, &mut |scalar| {
        scalars += 1;
        let is_looked_at =
            !scalar.is_interpolated && scalar.text.len() <= TEMPLATE_BYTES_MAX && scalars <= TEMPLATES_MAX;
        if !is_template(&scalar.text) && is_looked_at {
            return;
        }
        let Ok(parsed) = parse(&scalar.text, "template", Default::default()) else {
            is_certain = false;
            return;
        };
        let mut reads = Reads::default();
        reads.statement(&parsed);
        is_certain &= is_looked_at && reads.all.iter().all(|path| is_known(path));
    });
    is_certain
}

fn each_scalar<'n>(node: &'n Node, see: &mut dyn FnMut(&'n Scalar)) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| each_scalar(item, see)),
        Value::Map(entries) => entries.iter().for_each(|(_, node)| each_scalar(node, see)),
        Value::Scalar(scalar) => see(scalar),
    }
}

/// A template of a destination.
struct Found<'n> {
    language: Language,
    key: &'n str,
    at: NodeId,
    source: &'n str,
    types: u16,
    omitted_by: Option<&'static str>,
}

/// Shows each template below a node that is looked at.
pub(super) fn collect<'n>(node: &'n Node, see: &mut dyn FnMut(NodeId, &'n str)) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect(item, see)),
        Value::Map(entries) => entries.iter().for_each(|(_, node)| collect(node, see)),
        Value::Scalar(scalar) => {
            // What came from outside is not advised of: what is told, and what is not, would tell of it.
            let is_plain = scalar.style == Style::String && !scalar.is_interpolated;
            let is_looked_at = is_plain && scalar.text.len() <= TEMPLATE_BYTES_MAX;
            if is_looked_at && is_template(&scalar.text) {
                see(node.id, &scalar.text);
            }
        }
    }
}

/// Words that begin a statement, where somebody wrote it in `{{ … }}`.
const STATEMENTS: [&str; 10] = ["if", "else", "elif", "end", "endif", "for", "range", "with", "endfor", "unless"];

/// Where a template stands.
struct Of<'a> {
    reader: &'a Reader,
    language: Language,
    key: &'a str,
    types: &'a [&'static str],
    /// The key by which its destination leaves out a text that is nothing but a path to nothing, if it does.
    omitted_by: Option<&'static str>,
}

impl Of<'_> {
    fn look_at(&self, at: NodeId, source: &str) {
        // A path's template begins behind the host; its values are escaped otherwise, and that changes no path.
        let Ok(parsed) = parse(source, "template", Default::default()) else { return };
        let mut reads = Reads::default();
        reads.statement(&parsed);
        let mut has_told = false;
        let mut told = HashSet::new();
        for (path, span) in reads.paths {
            if let Some(fault) = self.fault_of(&path, span, source).filter(|_| told.insert(path)) {
                has_told = true;
                self.tell(at, fault);
            }
        }
        let is_certain = reads.all.iter().all(|path| self.is_in_a_sample(path));
        if !has_told && is_certain {
            let reads_only_the_type = reads.all.iter().all(|path| path == "type");
            self.advise_of_what_it_comes_to(at, source, reads_only_the_type);
        }
    }

    /// Whether some sample of what comes here has a value there: of another nothing can be said.
    fn is_in_a_sample(&self, path: &str) -> bool {
        path.starts_with("relay.") || self.samples().any(|view| view.find(path).is_some())
    }

    /// The samples of the types that come here.
    fn samples(&self) -> impl Iterator<Item = &'static View> {
        let is_sent = |name: &str| {
            self.types
                .iter()
                .any(|sent| name.strip_prefix(sent).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')))
        };
        vero::SAMPLES.iter().zip(View::samples()).filter(move |((name, _), _)| is_sent(name)).map(|(_, view)| view)
    }

    fn tell(&self, at: NodeId, fault: Fault) {
        match self.key {
            // A URL's line may hold a secret, and its place would show the rest of it.
            "url" => self.reader.secret_warning(at, fault.message, fault.help),
            _ => self.reader.warning_within(at, fault),
        }
    }

    /// What is wrong with a path, if it is certain.
    fn fault_of(&self, path: &str, span: Range<usize>, source: &str) -> Option<Fault> {
        let within = source.get(span.clone()).map(|_| span);
        let first = path.split('.').next().unwrap_or_default();
        let (message, help) = if let Some(name) = path.strip_prefix("relay.") {
            unknown_of_the_relay(name)?
        } else if matches!(first, "loop" | "self" | "relay" | "debug") {
            return None;
        } else if vero_sends(path) {
            self.not_with_these_types(path, source)?
        } else {
            let written = within.clone().and_then(|within| source.get(within)).unwrap_or(path);
            self.sent_by_nobody(path, written, source)?
        };
        Some(Fault { message, help: Some(help), within })
    }

    /// A field of Vero's that it sends with none of the types that come here.
    fn not_with_these_types(&self, path: &str, source: &str) -> Option<(String, String)> {
        let field = vero_name(path);
        if self.types.is_empty() || self.types.iter().any(|name| vero::shows(name, &field)) {
            return None;
        }
        let help = match field.as_str() {
            "email" | "id" => format!("write user.{field}: Vero has it below `user`"),
            _ => match self.left_out_by(source) {
                Some(key) => format!("so `{key}` always leaves its key out"),
                None => format!("no other type comes here; where it may be missing: {{{{ {path} | default('–') }}}}"),
            },
        };
        Some((format!("Vero's documentation shows no `{path}` with {}", self.quoted_types(" and ")), help))
    }

    /// A path that Vero sends with no type at all. A customer's own events may have it.
    fn sent_by_nobody(&self, path: &str, written: &str, source: &str) -> Option<(String, String)> {
        // Below `user` Vero sends more with another type, and whatever a customer keeps of a person, a new one brings along.
        let is_of_a_person = path.split('.').next() == Some("user") && !is_slip(path);
        if is_of_a_person && self.types.contains(&"user_created") {
            return None;
        }
        let message = match self.types {
            [_, ..] if is_of_a_person => {
                let are_named = self.types.len() <= NAMED_MAX;
                let types = if are_named { self.quoted_types(" and ") } else { "the types that come here".to_owned() };
                format!("Vero's documentation shows no `{path}` with {types}")
            }
            _ => format!("Vero sends no field `{path}` today"),
        };
        let help = meant(path, source).unwrap_or_else(|| match self.left_out_by(source) {
            // A default would be sent where the key is to be left out.
            Some(key) => format!("where your events have it: `{key}` leaves its key out of the others"),
            None => format!("where your events have it: {{{{ {written} | default('') }}}}"),
        });
        Some((message, help))
    }

    /// The key by which a text is left out, with its own key, where it comes to nothing: only one that is nothing but a path is.
    fn left_out_by(&self, source: &str) -> Option<&'static str> {
        self.omitted_by.filter(|_| sole_path(source).is_some())
    }

    /// The types that come here.
    fn quoted_types(&self, joint: &str) -> String {
        self.types.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(joint)
    }

    /// A message that is empty for every sample of what comes here, and a recipient who is nobody.
    fn advise_of_what_it_comes_to(&self, at: NodeId, source: &str, reads_only_the_type: bool) {
        let is_empty = |text: &str| text.trim().is_empty();
        let is_nobody = |text: &str| !is_address(text);
        let (is_useless, what, help): (&dyn Fn(&str) -> bool, _, _) = match (self.language, self.key) {
            (Language::Address, _) => {
                let help = "each recipient is one address, with a name before it or without: \"{{ user.email }}\"; several stand in a list";
                (&is_nobody, "an address for no", help)
            }
            (_, "text" | "blocks") => {
                (&is_empty, "empty for every", "`vero-relay explain` shows what would be sent for an event")
            }
            _ => return,
        };
        let Ok(template) = Template::compile(source, Escape::None) else { return };
        let texts: Option<Vec<_>> = self.samples().map(|view| template.render(view, None).ok()).collect();
        let Some(texts) = texts.filter(|texts| !texts.is_empty()) else { return };
        // A recipient for some values alone, of a campaign or of a person, is nobody in the samples, which have all types but not all values.
        let is_for_some = self.language == Language::Address && !reads_only_the_type;
        if is_for_some && texts.iter().all(|text| is_empty(text)) {
            return;
        }
        if texts.iter().all(|text| is_useless(text)) {
            let names = self.quoted_types(", ");
            let message = format!("this is {what} sample of {names}, and nothing else comes here");
            self.reader.warning(at, message, help.to_owned());
        }
    }
}

/// What is wrong with a path that is read of an event of these types, with the field that was meant, if it is certain.
pub(super) fn slip_of_an_event(
    reader: &Reader,
    types: &[&'static str],
    path: &str,
) -> Option<(String, Option<String>)> {
    let of = Of { reader, language: Language::Text, key: "", types, omitted_by: None };
    if let Some(name) = path.strip_prefix("relay.") {
        let near = words::nearest(name, RELAY_FIELDS).map(|near| format!("relay.{near}"));
        return unknown_of_the_relay(name).map(|(message, _)| (message, near));
    }
    let (message, _) = match path {
        "relay" => return None,
        _ if vero_sends(path) => of.not_with_these_types(path, "")?,
        _ => of.sent_by_nobody(path, path, "")?,
    };
    // Vero has them below `user`.
    let near = if matches!(path, "email" | "id") { Some(format!("user.{path}")) } else { meant_field(path) };
    Some((message, near))
}

/// The field of Vero's that is meant by a path that it does not send, as templates write it.
pub(super) fn meant_field(path: &str) -> Option<String> {
    let near = vero::meant(path).or_else(|| words::nearest(path, vero::FIELDS))?;
    Some(near.replace('-', "_")).filter(|near| near != path)
}

/// A field of the relay's that there is not, if it is not one.
fn unknown_of_the_relay(name: &str) -> Option<(String, String)> {
    let known = RELAY_FIELDS;
    if known.contains(&name) {
        return None;
    }
    let near = words::nearest(name, known).map(|near| format!("did you mean `relay.{near}`?"));
    let help = near.unwrap_or_else(|| format!("it has relay.{}", known.join(", relay.")));
    Some((format!("the relay has no field `relay.{name}`"), help))
}

/// Whether a path looks like one of Vero's.
fn is_slip(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    words::nearest(last, ["email"]).is_some() || vero::meant(path).is_some()
}

/// What to write for a path that Vero does not send, if that is known.
fn meant(path: &str, source: &str) -> Option<String> {
    let first = path.split('.').next().unwrap_or_default();
    let (before, last) = path.rsplit_once('.').unwrap_or(("", path));
    let help = match vero::meant(path) {
        _ if first == "env" && path != "env" => {
            let name = path.trim_start_matches("env.");
            format!("write ${{{name}}}, without the braces around it: variables are read with the config")
        }
        _ if matches!(path, "now" | "today" | "time" | "date") => {
            "write {{ relay.received_at }}: when the relay took the event".to_owned()
        }
        _ if STATEMENTS.contains(&first) => dialect::form(source)
            .unwrap_or_else(|| "statements stand in {% … %}: {% if type == 'bounced' %}…{% endif %}".to_owned()),
        _ if vero_sends(before) && dialect::is_filter(last) => {
            format!("a filter stands behind a `|`: {{{{ {before} | {last} }}}}")
        }
        Some("type") if first == "event" => "write {{ type }}: the event's fields stand at the top".to_owned(),
        Some(field) => {
            let field = field.replace('-', "_");
            let is_below = path.ends_with(&format!(".{field}"));
            let why = if is_below { ": the event's fields stand at the top" } else { "" };
            format!("write {{{{ {field} }}}}{why}")
        }
        None => match words::nearest(path, vero::FIELDS) {
            Some(near) => format!("did you mean `{}`?", near.replace('-', "_")),
            None if matches!(path, "null" | "nil" | "None" | "undefined") => {
                "what is not there is `x is none`, or `not x`".to_owned()
            }
            None => return None,
        },
    };
    Some(help)
}

/// Whether a path is one of Vero's, written as templates write it: a hyphen is an underscore there.
pub(super) fn vero_sends(path: &str) -> bool {
    let field = vero_name(path);
    let is_free = ["event.data.", "changes."].iter().any(|start| path.starts_with(start));
    is_free || vero::FIELDS.contains(&field.as_str())
}

/// The path with Vero's own signs.
pub(super) fn vero_name(path: &str) -> String {
    let is_it = |field: &&&str| field.replace('-', "_") == path;
    vero::FIELDS.iter().find(is_it).map_or_else(|| path.to_owned(), |field| (*field).to_owned())
}

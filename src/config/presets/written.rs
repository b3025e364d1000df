//! What a preset says of itself, proved: its fields, and the section whose places they fill.

use regex::Regex;

use super::super::policy::COMMON;
use super::super::sorting::DIGEST;
use super::filled::{self, Piece};
use super::keys::{
    ABOUT, CHECKED, DEFAULT, DOCUMENTATION, EXAMPLE, FIELD_ABOUT, FORM, FORMS, LIKE, OF_PRESET, REQUIRED, SECRET,
    UNLIKE, VALUES, WARNING, digest, with_places,
};
use crate::destination::path_template::PLACES;
use crate::destination::{KINDS, Kind};
use crate::rules::glob::to_regex;
use crate::yaml::keys::{Info, Key, Section};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{self, Node, NodeId, Value};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// A preset.
pub(super) struct Written<'n> {
    pub name: &'n str,
    pub node: &'n Node,
    pub warning: Option<&'n str>,
    documentation: Option<&'n str>,
    pub fields: Vec<Field<'n>>,
    pub kind: &'static Kind,
    /// The kind's section, with its places.
    pub section: &'n Node,
}

/// Something that a preset asks for.
pub(super) struct Field<'n> {
    pub name: &'n str,
    pub about: &'n str,
    pub is_required: bool,
    pub is_secret: bool,
    pub form: Form<'n>,
    pub default: Option<&'n Node>,
    pub example: Option<&'n Node>,
    pub like: Option<Regex>,
    pub unlike: Option<Regex>,
}

/// What may be given.
#[derive(Clone, Copy)]
pub(super) enum Form<'n> {
    Text,
    Url,
    Template,
    Any,
    /// A name, and what each stands for.
    Choice(&'n [(raw::Key, Node)]),
}

impl<'n> Written<'n> {
    /// Reads a preset; `None` where something is wrong with it, which has been told.
    pub fn read(reader: &Reader, name: &'n str, node: &'n Node) -> Option<Self> {
        let errors_before = reader.errors();
        let what = format!("the preset `{name}`");
        let mut entries = reader.map(node, &what)?;
        let mut text = |key: &Key<String>| entries.node(&key.info).and_then(|node| reader.text(node));
        let [_, _, warning] = [&ABOUT, &CHECKED, &WARNING].map(&mut text);
        let documentation = entries.node(&DOCUMENTATION.info);
        let documentation =
            documentation.and_then(|node| reader.list(node).into_iter().find_map(|one| reader.text(one)));
        let fields = entries.node(&of_preset()).map(|node| read_fields(reader, node)).unwrap_or_default();
        let kinds = KINDS.iter().filter_map(|kind| Some((*kind, entries.node(&with_places(kind.key()))?)));
        let kinds: Vec<_> = kinds.collect();
        COMMON.iter().filter(|info| info.name != DIGEST.info.name).for_each(|info| _ = entries.node(info));
        let digest = entries.node(&digest());
        entries.finish();
        let [(kind, section)] = kinds[..] else {
            let names = KINDS.map(|kind| kind.name).join(", ");
            let help = format!("write the section of one kind in it: {names}");
            reader.error_with(node.id, format!("{what} is of one kind"), help);
            return None;
        };
        refuse_places_in_defaults(reader, &fields);
        let places = Places { reader, fields: &fields, section: (kind.keys)(), are_all: true };
        places.check(section, kind.name, &mut Vec::new());
        if let (Some(node), Some(of_kind)) = (digest, &kind.digest) {
            let places = Places { section: (of_kind.keys)(), ..places };
            places.check(node, DIGEST.info.name, &mut Vec::new());
        }
        let written = Self { name, node, warning, documentation, fields, kind, section };
        (reader.errors() == errors_before).then_some(written)
    }

    pub fn field(&self, name: &str) -> Option<&Field<'n>> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Tells of places that cannot be filled in what a destination says itself of the kind, and in its digest. What is no field's is no place there.
    pub fn check_own(&self, reader: &Reader, section: Option<&Node>, digest: Option<&Node>) {
        let places = Places { reader, fields: &self.fields, section: (self.kind.keys)(), are_all: false };
        section.into_iter().for_each(|node| places.check(node, self.kind.name, &mut Vec::new()));
        if let (Some(node), Some(of_kind)) = (digest, &self.kind.digest) {
            let places = Places { section: (of_kind.keys)(), ..places };
            places.check(node, DIGEST.info.name, &mut Vec::new());
        }
    }

    /// Where more is said.
    pub fn see(&self) -> Option<String> {
        self.documentation.map(|address| format!("see {address}"))
    }
}

fn of_preset() -> Info {
    Info { name: OF_PRESET, ..VALUES.info }
}

fn read_fields<'n>(reader: &Reader, node: &'n Node) -> Vec<Field<'n>> {
    let Some(mut entries) = reader.map(node, "`fields` of a preset") else { return Vec::new() };
    entries.rest().into_iter().filter_map(|(key, node)| read_field(reader, key, node)).collect()
}

fn read_field<'n>(reader: &Reader, key: &'n raw::Key, node: &'n Node) -> Option<Field<'n>> {
    let name = key.text.as_str();
    if name.is_empty() || !name.chars().all(filled::is_of_name) {
        let help = "write a name like api_key".to_owned();
        reader.error_with(key.id, format!("`{name}` is no name of a field: small letters and `_`"), help);
    } else if PLACES.iter().any(|(place, _)| *place == name) {
        let message = format!("`{{{name}}}` is a place of the path of a file, so no field has that name");
        reader.error_with(key.id, message, "give it another name".to_owned());
    }
    let what = format!("the field `{name}`");
    let mut entries = reader.map(node, &what)?;
    let about = entries.node(&FIELD_ABOUT.info).and_then(|node| reader.text(node)).unwrap_or_default();
    let [is_required, is_secret] = [&REQUIRED, &SECRET].map(|key| entries.value(key));
    let form_node = entries.node(&FORM.info);
    let form = form_node.map_or(Some(FORM.info.default_text()), |node| reader.text(node));
    let values = entries.node(&VALUES.info);
    let [default, example] = [&DEFAULT, &EXAMPLE].map(|key| entries.node(&key.info));
    let [like, unlike] = [&LIKE, &UNLIKE].map(|key| entries.node(&key.info).and_then(|node| read_glob(reader, node)));
    entries.finish();
    let form = match form? {
        "text" => Form::Text,
        "url" => Form::Url,
        "template" => Form::Template,
        "any" => Form::Any,
        "choice" => Form::Choice(values.map(Node::entries).unwrap_or_default()),
        other => {
            let help = did_you_mean(other, FORMS).unwrap_or_else(|| format!("there are {}", FORMS.join(", ")));
            reader.error_with(form_node.unwrap_or(node).id, format!("`{other}` is no form of a field"), help);
            return None;
        }
    };
    let is_text = |(_, node): &(raw::Key, Node)| node.scalar().is_some();
    match form {
        Form::Choice(values) if values.is_empty() || !values.iter().all(is_text) => {
            let help = format!("write values: {}", VALUES.info.example);
            reader.error_with(node.id, format!("{what} is a choice, and `values` does not say of which texts"), help);
        }
        Form::Template | Form::Any | Form::Choice(_) if is_secret => {
            let help = "take `form` out, or `secret`".to_owned();
            reader.error_with(node.id, format!("{what} is a secret, and a secret is a text or a url"), help);
        }
        _ => {}
    }
    if let (Some(default), true) = (default, is_required || is_secret) {
        let help = "take `default` out; `example` says what it may be".to_owned();
        reader.error_with(default.id, format!("{what} has to be given, so it has no default"), help);
    }
    Some(Field { name, about, is_required, is_secret, form, default, example, like, unlike })
}

/// A default stands where its field stands, and nothing is put into it.
fn refuse_places_in_defaults(reader: &Reader, fields: &[Field<'_>]) {
    let is_field = |name: &str| fields.iter().any(|field| field.name == name);
    for default in fields.iter().filter_map(|field| field.default) {
        default.clone().for_each_scalar(&mut |at, scalar| {
            let pieces = filled::pieces(&scalar.text, is_field);
            if let Some(Piece::Place(name)) = pieces.iter().find(|piece| matches!(piece, Piece::Place(_))) {
                let help = format!("write `{{{name}}}` into the section, beside the place of this field");
                reader.error_with(
                    at,
                    format!("a default is put in as it is, so `{{{name}}}` is not filled in it"),
                    help,
                );
            }
        });
    }
}

fn read_glob(reader: &Reader, node: &Node) -> Option<Regex> {
    let regex = to_regex(reader.text(node)?).map_err(|fault| reader.fault(node.id, fault)).ok()?;
    Regex::new(&regex).map_err(|error| reader.error(node.id, error.to_string())).ok()
}

/// Where the places of a section stand.
struct Places<'p, 'n> {
    reader: &'p Reader,
    fields: &'p [Field<'n>],
    /// The keys of the section.
    section: Section,
    /// What is no field's is a place all the same, that none fills.
    are_all: bool,
}

impl Places<'_, '_> {
    /// Tells of places that no field fills, and of those that cannot be filled where they stand: below keys of the section `name`.
    fn check<'n>(&self, node: &'n Node, name: &str, keys: &mut Vec<&'n str>) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.check(item, name, keys)),
            Value::Map(entries) => entries.iter().for_each(|(key, node)| {
                keys.push(&key.text);
                self.check(node, name, keys);
                keys.pop();
            }),
            Value::Scalar(_) if filled::is_filled_later(keys) => {}
            Value::Scalar(scalar) => {
                let is_field = |name: &str| self.are_all || self.fields.iter().any(|field| field.name == name);
                let pieces = filled::pieces(&scalar.text, is_field);
                let mut before = String::new();
                for piece in &pieces {
                    match piece {
                        Piece::Text(text) => before.push_str(text),
                        Piece::Place(place) => {
                            let field = self.check_place(node.id, place, pieces.len() == 1);
                            if let Some(wrong) = field
                                .filter(|field| field.is_secret)
                                .and_then(|_| self.shows(name, keys, &before, &scalar.text, pieces.len() == 1))
                            {
                                let message = format!("`{{{place}}}` is a secret, and {}", wrong.0);
                                self.reader.error_with(node.id, message, wrong.1.to_owned());
                            }
                            before.push_str(FILLED);
                        }
                    }
                }
            }
        }
    }

    /// The field of a place, if it can be filled here.
    fn check_place(&self, at: NodeId, name: &str, is_alone: bool) -> Option<&Field<'_>> {
        let Self { reader, fields, .. } = self;
        let field = fields.iter().find(|field| field.name == name);
        match field {
            Some(Field { form: Form::Any, .. }) if !is_alone => {
                let message = format!("`{{{name}}}` may be anything, so its place stands alone in a text");
                reader.error_with(at, message, "give the field another form, like template".to_owned());
            }
            Some(_) => {}
            None => {
                let near = did_you_mean(name, fields.iter().map(|field| field.name));
                let help = near.unwrap_or_else(|| format!("write it below `fields`: {name}: {{ required: true }}"));
                reader.error_with(at, format!("there is no field `{name}` to put here"), help);
            }
        }
        field
    }

    /// Why a secret would be shown, or come out as no mask knows it, behind `before` in the text of these keys, and what to do.
    fn shows(
        &self,
        name: &str,
        keys: &[&str],
        before: &str,
        text: &str,
        is_alone: bool,
    ) -> Option<(String, &'static str)> {
        let shown = |what: &str| {
            Some((
                what.to_owned(),
                "put it where a secret may stand: below `auth` or `headers`, in the path of a `url`, or in a body",
            ))
        };
        let is_in_host = || before.split_once("://").is_none_or(|(_, rest)| !rest.contains(['/', '?', '#']));
        match self.section.sight(keys) {
            Sight::All => shown(&format!("what `{name}.{}` says is shown", keys.join("."))),
            Sight::Url if !is_alone && is_in_host() => shown("the host of a URL is shown"),
            _ if text.contains("{%") || before.rfind("{{") > before.rfind("}}") => {
                let help = "write it outside of `{{ }}`, in a text without `{% %}`";
                Some(("what a template makes of it would not be known as one".to_owned(), help))
            }
            _ => None,
        }
    }
}

/// What stands for a place whose value is not known: a URL, if one may stand there.
const FILLED: &str = "://";

//! What a destination gives for the fields of its preset, checked by what each asks for.

use super::FIELDS;
use super::filled::{Filling, Given};
use super::written::{Field, Form, Written};
use crate::config::advice::exposure::advise_of_plain_secrets;
use crate::destination::client::{is_loopback, parse_url};
use crate::destination::template::{is_template, sole_path};
use crate::yaml::problem::did_you_mean;
use crate::yaml::raw::{Node, Scalar, Style, Value};
use crate::yaml::reader::Reader;

/// Reads what is given; `None` where something is wrong or missing, which has been told. Of secrets that stand in the file as they are, the
/// reader still has the places.
pub(super) fn read<'w>(
    reader: &Reader,
    written: &'w Written<'_>,
    fields: Option<&Node>,
    preset: &Node,
) -> Option<Given<'w>> {
    let errors_before = reader.errors();
    let name = written.name;
    let mut entries = match fields.filter(|node| !node.is_null()) {
        Some(node) => reader.map(node, &format!("`fields` of the preset `{name}`"))?.rest(),
        None => Vec::new(),
    };
    let mut given = Given::new();
    let mut meant = Vec::new();
    entries.retain(|(key, node)| {
        let is_known = written.field(&key.text).is_some();
        if !is_known {
            let names = || written.fields.iter().map(|field| field.name);
            let near = crate::yaml::words::nearest(&key.text, names());
            // It may be a secret by another name.
            if near.is_none_or(|near| written.field(near).is_some_and(|field| field.is_secret)) {
                reader.hide(node);
            }
            meant.extend(near);
            let listed = || format!("it has {}", names().collect::<Vec<_>>().join(", "));
            let help = did_you_mean(&key.text, names()).unwrap_or_else(listed);
            reader.error_with(key.id, format!("the preset `{name}` has no field `{}`", key.text), help);
        }
        is_known
    });
    for field in &written.fields {
        let own = entries.iter().find(|(key, node)| key.text == field.name && !node.is_null()).map(|(_, node)| *node);
        if own.is_none() && field.is_required && !meant.contains(&field.name) {
            let at = fields.map_or(preset.id, |node| node.id);
            reader.error_with(
                at,
                format!("the preset `{name}` needs the field `{}`", field.name),
                missing(written, field),
            );
        }
        let Some(node) = own.or(field.default) else { continue };
        if let Some(value) = value(reader, field, node) {
            let text = value.scalar().map(|scalar| scalar.text.as_str());
            let is_template = matches!(field.form, Form::Template);
            let becomes_text = is_template && text.is_some_and(|text| sole_path(text).is_some());
            given.insert(field.name, Filling::new(value, becomes_text));
        }
    }
    (reader.errors() == errors_before).then_some(given)
}

fn missing(written: &Written<'_>, field: &Field<'_>) -> String {
    let example = field.example.and_then(Node::scalar);
    let example =
        example.map(|example| format!("write {}: {{ {}: \"{}\" }}", FIELDS.info.name, field.name, example.text));
    let about = Some(field.about.trim_end_matches('.').to_owned()).filter(|about| !about.is_empty());
    [example, about, written.see()].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Tells of the secrets that were given as they are, unless they go nowhere but to this machine; from then on no message holds one of them.
pub(super) fn advise_of_secrets(reader: &Reader, written: &Written<'_>, fields: Option<&Node>, goes_out: bool) {
    let plain = reader.take_plain().into_iter().map(|(at, _)| at);
    if goes_out {
        advise_of_plain_secrets(reader, plain);
    }
    let secrets = written.fields.iter().filter(|field| field.is_secret);
    secrets.filter_map(|field| fields?.get(field.name)).for_each(|node| reader.conceal(node));
}

/// What goes into the places of a field.
fn value(reader: &Reader, field: &Field<'_>, node: &Node) -> Option<Node> {
    let name = field.name;
    if field.is_secret {
        reader.note_secret(node);
        reader.secret(node)?;
    }
    let text = match field.form {
        Form::Any => return Some(node.clone()),
        _ => reader.text(node)?,
    };
    if reader.has_placeholder(node.id) {
        // What it would be stands where the config in force has it.
        return match field.form {
            Form::Choice(values) => reader.chosen(node, node, values),
            _ => Some(node.clone()),
        };
    }
    let value = match field.form {
        Form::Text | Form::Url if is_template(text) => {
            let help = "write what is the same for each event".to_owned();
            reader.error_with(node.id, format!("`{name}` is a {} and no template", form_name(field)), help);
            return None;
        }
        Form::Url => {
            parse_url(text).map_err(|message| reader.url_error(node, message)).ok()?;
            text.to_owned()
        }
        Form::Choice(values) => {
            let Some((_, chosen)) = values.iter().find(|(key, _)| key.text == text) else {
                let names = || values.iter().map(|(key, _)| key.text.as_str());
                let listed = || format!("it is {}", names().collect::<Vec<_>>().join(" or "));
                let help = did_you_mean(text, names()).unwrap_or_else(listed);
                reader.error_with(node.id, format!("`{text}` is not what `{name}` can be"), help);
                return None;
            };
            return reader.chosen(node, chosen, values);
        }
        _ => text.to_owned(),
    };
    advise(reader, field, node, text);
    let is_interpolated = field.is_secret || node.scalar().is_some_and(|scalar| scalar.is_interpolated);
    Some(Node { id: node.id, value: Value::Scalar(Scalar { text: value, style: Style::String, is_interpolated }) })
}

fn form_name(field: &Field<'_>) -> &'static str {
    if matches!(field.form, Form::Url) { "URL" } else { "text" }
}

/// Warns of a text that is not, or not any more, what the field asks for. On this machine somebody tries it.
fn advise(reader: &Reader, field: &Field<'_>, node: &Node, text: &str) {
    let is_of_this_machine = parse_url(text).is_ok_and(|url| is_loopback(&url));
    let is_right = field.like.as_ref().is_none_or(|like| like.is_match(text));
    let is_past = field.unlike.as_ref().is_some_and(|unlike| unlike.is_match(text));
    if is_of_this_machine || reader.would_tell(node) || (is_right && !is_past) {
        return;
    }
    let message = match is_past {
        true => format!("this is a `{}` of a sort that does not do here, or not for long", field.name),
        false => format!("this does not look like the `{}` that is asked for", field.name),
    };
    let about = Some(field.about.to_owned()).filter(|about| !about.is_empty());
    if field.is_secret {
        // What a field is for has a word in common with what is given, most likely, and holds nothing of it.
        reader.fixed_warning(node.id, message, about)
    } else {
        reader.warning(node.id, message, about)
    }
}

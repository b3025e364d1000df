//! A YAML structure whose texts are templates: what `json:` and `blocks:` are.

use super::template::{Escape, Subject, Template, is_template, sole_path};
use super::view::View;
use crate::event::Json;
use crate::yaml::raw::{Node, Style, Value};
use crate::yaml::reader::Reader;

/// How the texts of a structure are taken.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What happens to values that are put in.
    pub escape: Escape,
    /// Keys whose text is a URL: values in it are encoded and not escaped.
    pub url_keys: &'static [&'static str],
    /// A text that is nothing but one `{{ path }}` becomes that value, with its JSON type and digits.
    pub keeps_types: bool,
    /// A text that is nothing but a path to a missing value drops its key or element; otherwise it is null.
    pub omits_missing: bool,
    /// What it is rendered with.
    pub subject: Subject,
}

/// Renders a template inside a structure; it is told the maps that lie above it, each with the key in it.
pub type RenderText<'f> = dyn FnMut(&Template, &[(&Structure, &str)]) -> Result<String, String> + 'f;

#[derive(Debug)]
pub enum Structure {
    /// Stays as it is.
    Literal(Json),
    /// One value of the event.
    Path {
        path: String,
        /// Leave it out when it is not there.
        is_omitted: bool,
    },
    /// A text with values in it.
    Text(Template),
    List(Vec<Structure>),
    Map(Vec<(String, Structure)>),
}

impl Structure {
    /// Compiles a node, telling all that is wrong with it.
    pub fn compile(reader: &Reader, node: &Node, options: Options) -> Option<Self> {
        match &node.value {
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| Self::compile(reader, item, options)).collect();
                items.into_iter().collect::<Option<_>>().map(Structure::List)
            }
            Value::Map(entries) => {
                for (i, (key, _)) in entries.iter().enumerate() {
                    if entries[..i].iter().any(|(earlier, _)| earlier.text == key.text) {
                        let help = "leave one of them out".to_owned();
                        reader.error_with(key.id, format!("`{}` is given twice", key.text), help);
                    }
                }
                let compile = |(key, node): &(crate::yaml::raw::Key, Node)| {
                    let is_url = options.url_keys.contains(&key.text.as_str());
                    let options = if is_url { Options { escape: Escape::Url, ..options } } else { options };
                    Some((key.text.clone(), Self::compile(reader, node, options)?))
                };
                let entries: Vec<_> = entries.iter().map(compile).collect();
                entries.into_iter().collect::<Option<_>>().map(Structure::Map)
            }
            Value::Scalar(scalar) => match scalar.style {
                Style::Unresolved => None,
                Style::Null => Some(Structure::Literal(Json::Null)),
                Style::Bool(value) => Some(Structure::Literal(Json::Bool(value))),
                Style::Number if is_json_number(&scalar.text) => {
                    Some(Structure::Literal(Json::Number(scalar.text.clone())))
                }
                Style::Number => {
                    let help = format!("quote it: \"{}\"", scalar.text);
                    reader.error_with(node.id, format!("JSON cannot hold the number {}", scalar.text), help);
                    None
                }
                Style::String if options.keeps_types && sole_path(&scalar.text).is_some() => {
                    let path = sole_path(&scalar.text)?.to_owned();
                    Some(Structure::Path { path, is_omitted: options.omits_missing })
                }
                Style::String if is_template(&scalar.text) => {
                    let compiled = Template::compile_for(&scalar.text, options.escape, options.subject);
                    compiled.map_err(|fault| reader.fault(node.id, fault)).ok().map(Structure::Text)
                }
                Style::String => Some(Structure::Literal(Json::String(scalar.text.clone()))),
            },
        }
    }

    /// Renders an event. `text` renders each template, and is told the path of keys that leads to it.
    pub fn render(&self, view: &View, text: &mut RenderText<'_>) -> Result<Json, String> {
        Ok(self.render_within(view, text, &mut Vec::new())?.unwrap_or(Json::Null))
    }

    fn render_within<'s>(
        &'s self,
        view: &View,
        text: &mut RenderText<'_>,
        above: &mut Vec<(&'s Structure, &'s str)>,
    ) -> Result<Option<Json>, String> {
        let rendered = match self {
            Structure::Literal(json) => Some(json.clone()),
            Structure::Path { path, is_omitted } => match view.find(path) {
                None if *is_omitted => None,
                found => Some(found.unwrap_or(Json::Null)),
            },
            Structure::Text(template) => Some(Json::String(text(template, above)?)),
            Structure::List(items) => {
                let mut rendered = Vec::with_capacity(items.len());
                for item in items {
                    rendered.extend(item.render_within(view, text, above)?);
                }
                Some(Json::Array(rendered))
            }
            Structure::Map(entries) => {
                let mut rendered = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    above.push((self, key));
                    let value = value.render_within(view, text, above)?;
                    above.pop();
                    rendered.extend(value.map(|value| (key.clone(), value)));
                }
                Some(Json::Object(rendered))
            }
        };
        Ok(rendered)
    }

    /// The text of a key, if the structure is a map that has it as it is.
    pub fn literal(&self, key: &str) -> Option<&str> {
        match self {
            Structure::Map(entries) => entries.iter().find_map(|(known, value)| match value {
                Structure::Literal(Json::String(text)) if known == key => Some(text.as_str()),
                _ => None,
            }),
            _ => None,
        }
    }
}

fn is_json_number(text: &str) -> bool {
    text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

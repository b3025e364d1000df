//! Values of a template as JSON: how containers print, and what `tojson` makes. Numbers keep their digits.

use std::io;

use crate::destination::number::Digits;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

/// A value, written as JSON.
struct Shown<'v>(&'v Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        if let Some(digits) = value.downcast_object_ref::<Digits>() {
            return RawValue::from_string(digits.text().to_owned()).map_err(S::Error::custom)?.serialize(serializer);
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                let mut seq = serializer.serialize_seq(None)?;
                for item in value.try_iter().map_err(S::Error::custom)? {
                    seq.serialize_element(&Shown(&item))?;
                }
                seq.end()
            }
            ValueKind::Map => {
                let mut map = serializer.serialize_map(None)?;
                for key in value.try_iter().map_err(S::Error::custom)? {
                    let item = value.get_item(&key).map_err(S::Error::custom)?;
                    map.serialize_entry(&key.to_string(), &Shown(&item))?;
                }
                map.end()
            }
            _ => value.serialize(serializer),
        }
    }
}

/// A value as compact JSON.
pub fn compact(value: &Value) -> String {
    serde_json::to_string(&Shown(value)).unwrap_or_default()
}

/// `tojson`, like minijinja's own: a blank after each colon and comma, or indented; safe inside of HTML.
pub fn tojson(state: &State, value: &Value, indent: Option<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<Value>>("indent")?,
    };
    kwargs.assert_all_used()?;
    let width = match indent.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => match bool::try_from(indent.clone()) {
            Ok(is_indented) => is_indented.then_some(2),
            Err(_) => Some(usize::try_from(indent)?),
        },
    };
    let mut out = Vec::new();
    let written = match width {
        // A wider one is a slip, and would fill the memory with blanks.
        Some(width) => {
            let blanks = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(blanks.as_bytes());
            Shown(value).serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
        }
        None => Shown(value).serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    let cannot = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidOperation, "this cannot be written as JSON").with_source(error)
    };
    written.map_err(cannot)?;
    state.consume_fuel(out.len() as u64 / 64)?;
    let text = String::from_utf8(out).unwrap_or_default();
    // These stand in texts only.
    Ok([('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\'', "\\u0027")]
        .into_iter()
        .fold(text, |text, (sign, escaped)| if text.contains(sign) { text.replace(sign, escaped) } else { text }))
}

/// `{"a": 1, "b": [1, 2]}`.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, is_first: bool) -> io::Result<()> {
        if is_first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

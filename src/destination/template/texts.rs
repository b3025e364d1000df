//! Filters of texts that are the relay's own: cutting, encoding, hashing, masking. What is missing stays missing.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};
use ring::{digest, hmac};

use super::{Escape, SEGMENT, WHOLE_URL};

use crate::destination::cut::cut;
use crate::destination::number;
use crate::event::hex;

/// Gives an environment the filters of this file.
///
/// In a URL, what `urlencode` makes must not be encoded once more.
pub fn add_to(environment: &mut Environment<'_>, escape: Escape) {
    let is_url = matches!(escape, Escape::Segment | Escape::Url);
    match escape {
        Escape::Markdown => environment.add_filter("url", url_in_markdown),
        Escape::ChatHtml => environment.add_filter("url", |value: &Value| Value::from_safe_string(url(value))),
        _ => environment.add_filter("url", url),
    }
    environment.add_filter("truncate", truncate);
    environment.add_filter("urlencode", move |state: &State, value: &Value| {
        let encoded = urlencode(state, value)?;
        Ok::<_, Error>(if is_url || encoded.is_undefined() { encoded } else { Value::from(encoded.to_string()) })
    });
    environment.add_filter("sha256", sha256);
    environment.add_filter("hmac_sha256", hmac_sha256);
    environment.add_filter("mask", mask);
    environment.add_filter("ulid", ulid);
}

/// `{{ relay.id | ulid }}`: the 128 bits of a UUID in Crockford's base 32, as <https://github.com/ulid/spec> has them; nothing for anything else.
fn ulid(value: &Value) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let hex: String = value.as_str().unwrap_or_default().chars().filter(|c| *c != '-').collect();
    let Some(bits) = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32) else { return String::new() };
    (0..26).rev().map(|place| char::from(DIGITS[(bits >> (5 * place)) as usize & 31])).collect()
}

/// The text of a value; `None` of what is missing. Containers have none.
fn text(value: &Value) -> Result<Option<String>, Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(None),
        ValueKind::Bool | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            Ok(Some(super::shown::compact(value)))
        }
        _ => Ok(Some(value.to_string())),
    }
}

fn of_text(value: &Value, make: impl FnOnce(&str) -> String) -> Result<Value, Error> {
    Ok(text(value)?.map_or(Value::UNDEFINED, |text| Value::from(make(&text))))
}

fn of_some_text(value: &Value, make: impl FnOnce(&str) -> String) -> Result<Value, Error> {
    let text = text(value)?.filter(|text| !text.is_empty());
    Ok(text.map_or(Value::UNDEFINED, |text| Value::from(make(&text))))
}

/// `{{ campaign.permalink | url }}`: an http or https address that is safe between `<` and `|`; nothing for anything else.
fn url(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return String::new();
    }
    percent_encoding::utf8_percent_encode(text, WHOLE_URL).to_string()
}

/// The same, where a bracket would end it; it is left as it is where it goes in.
fn url_in_markdown(value: &Value) -> Value {
    Value::from_safe_string(url(value).replace('(', "%28").replace(')', "%29"))
}

/// How long a text may be if the template does not say.
const TRUNCATED_CHARACTERS: usize = 255;

/// At most so many characters, the sign of the cut among them.
///
/// Behind the length stands the sign, or Jinja's `killwords`, and then the sign. It cuts within a word unless that is false.
fn truncate(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut rest = rest.into_values();
    let kwargs = match rest.pop_if(|last| last.is_kwargs()) {
        Some(kwargs) => Kwargs::try_from(kwargs)?,
        None => Kwargs::from_iter::<[(&str, Value); 0]>([]),
    };
    let mut rest = rest.into_iter().peekable();
    let length = match rest.next() {
        Some(length) => Some(length),
        None => kwargs.get::<Option<Value>>("length")?,
    };
    let cuts_words = match rest.next_if(|value| value.kind() == ValueKind::Bool) {
        Some(cuts_words) => Some(cuts_words.is_true()),
        None => kwargs.get::<Option<bool>>("killwords")?,
    };
    let end = match rest.next() {
        Some(end) => Some(end),
        None => kwargs.get::<Option<Value>>("end")?,
    };
    kwargs.assert_all_used()?;
    let invalid = |message: &'static str| Error::new(ErrorKind::InvalidOperation, message);
    let length = match length.map(number::key) {
        None => TRUNCATED_CHARACTERS,
        Some(length) => length.as_usize().ok_or_else(|| invalid("truncate takes a number of characters, like 40"))?,
    };
    let end = match end.filter(|end| !end.is_undefined()) {
        None => "…".to_owned(),
        Some(end) => end.as_str().ok_or_else(|| invalid("the end of truncate is a text, like \"…\""))?.to_owned(),
    };
    if rest.next().is_some() {
        return Err(invalid("truncate takes a length and an end, like truncate(40, \"…\")"));
    }
    of_text(value, |text| {
        if text.chars().count() <= length {
            return text.to_owned();
        }
        let mut kept = cut(text, length.saturating_sub(end.chars().count()));
        let is_within_a_word = text[kept.len()..].chars().next().is_some_and(|next| !next.is_whitespace());
        if cuts_words == Some(false) && is_within_a_word {
            kept = kept.rfind(char::is_whitespace).map_or(kept, |blank| &kept[..blank]);
        }
        format!("{}{}", kept.trim_end(), cut(&end, length))
    })
}

/// A text that is encoded for a URL already.
#[derive(Debug)]
pub struct Encoded(pub String);

impl Object for Encoded {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_empty()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Percent-encodes all but letters, digits, `-`, `_`, `.` and `~`; of a map it makes `a=1&b=2`.
fn urlencode(state: &State, value: &Value) -> Result<Value, Error> {
    if value.downcast_object_ref::<Encoded>().is_some() {
        return Ok(value.clone());
    }
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, SEGMENT).to_string();
    if value.kind() == ValueKind::Map {
        let mut pairs = Vec::new();
        for key in value.try_iter()? {
            state.consume_fuel(1)?;
            let Some(text) = text(&value.get_item(&key)?)? else { continue };
            pairs.push(format!("{}={}", encode(&key.to_string()), encode(&text)));
        }
        return Ok(Value::from_object(Encoded(pairs.join("&"))));
    }
    Ok(text(value)?.map_or(Value::UNDEFINED, |text| Value::from_object(Encoded(encode(&text)))))
}

/// As 64 hexadecimal digits, in small letters. Of an empty text it would be the same for all who have none: that is missing too.
fn sha256(value: &Value) -> Result<Value, Error> {
    of_some_text(value, |text| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()))
}

/// The same with a key.
fn hmac_sha256(value: &Value, key: &Value) -> Result<Value, Error> {
    let key = key.as_str().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "hmac_sha256 takes a key, and it is empty"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    of_some_text(value, |text| hex(hmac::sign(&key, text.as_bytes()).as_ref()))
}

/// Texts up to so many characters are masked whole: a letter of them would say too much.
const WHOLLY_MASKED: usize = 3;

/// `s***@example.com`; of what is no address the first character stays.
fn mask(value: &Value) -> Result<Value, Error> {
    of_text(value, |text| {
        let text = text.trim();
        let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
        match text.rsplit_once('@') {
            Some((name, host)) if !host.is_empty() => format!("{}***@{host}", first(name)),
            _ if text.is_empty() => String::new(),
            _ if text.chars().count() <= WHOLLY_MASKED => "***".to_owned(),
            _ => format!("{}***", first(text)),
        }
    })
}

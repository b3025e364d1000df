//! What a request says besides its path: the parameters behind the `?`, and the keys of its body.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::{Refusal, new_id, parse_id, refused};
use crate::event::EventId;
use crate::store::Cursor;
use crate::time::{moment, wall_ms};

/// The parameters that say which page of a list is meant.
pub(super) const PAGE: [&str; 2] = ["limit", "after"];
/// Entries on a page unless it is said.
pub(super) const LIMIT: usize = 100;
/// And at most.
const LIMIT_MAX: usize = 1000;
/// Events that can be named: as many as a page shows.
pub(super) const NAMED_MAX: usize = LIMIT_MAX;

/// The parameters behind the `?`.
pub(in crate::admin) struct Query(pub Vec<(String, String)>);

impl Query {
    /// Refuses parameters that mean nothing here.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        once(&self.0)?;
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) if known.is_empty() => Err(Refusal::wrong(format!("there is no parameter `{key}` here"))),
            Some((key, _)) => Err(Refusal::wrong(format!("there is no parameter `{key}`, only {}", known.join(", ")))),
        }
    }

    /// What a parameter was given as.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Whether something is wanted: `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Refusal> {
        match self.get(key) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::wrong(format!("`{key}` should be true or false"))),
        }
    }

    /// How many entries a page may have.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.get("limit") else { return Ok(LIMIT) };
        let limit = whole(text).map(|limit| limit as usize).filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| Refusal::wrong(format!("`limit` should be a whole number from 1 to {LIMIT_MAX}")))
    }

    /// Where a list goes on, as the page before said.
    pub(super) fn after(&self) -> Result<Option<Cursor>, Refusal> {
        self.get("after").map(str::parse).transpose().map_err(refused)
    }

    /// The moment that a parameter names.
    pub(super) fn moment(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(key) else { return Ok(None) };
        read_moment(text).map(Some).map_err(|refusal| match text.rsplit_once(' ') {
            Some((time, ahead)) if read_moment(&format!("{time}+{ahead}")).is_ok() => {
                let written = format!("{}%2B{ahead}", time.replace(' ', "%20"));
                Refusal::wrong(format!("`{text}` is not a time: in a URL a + is read as a blank, so write {written}"))
            }
            _ => refusal,
        })
    }

    /// The range of time that is asked for.
    pub(super) fn range(&self) -> Result<Range, Refusal> {
        Range::between(self.moment("since")?, self.moment("until")?)
    }
}

/// A whole number, which is digits and nothing else: `+10` would be ten.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Refuses a key that is given twice: whichever counted, the other would be passed over silently.
fn once<T>(entries: &[(String, T)]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    match entries.iter().find(|(key, _)| !seen.insert(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Refusal::wrong(format!("`{key}` is given twice"))),
    }
}

/// The entries of a list with commas between them. One in double quotes is taken as it is, with its commas and blanks, and a quote in it is
/// written twice. A list without any would narrow nothing.
pub(super) fn some_of(key: &str, list: &str) -> Result<Vec<String>, Refusal> {
    let mut entries = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (entry, behind) = unquoted(quoted).ok_or_else(|| {
                Refusal::wrong(format!(
                    "`{key}`: a quote that begins an entry has no other at its end; write a quote in an entry twice, and quotes around it"
                ))
            })?;
            entries.push(entry);
            rest = behind;
        } else {
            let (entry, behind) = rest.split_once(',').unwrap_or((rest, ""));
            entries.extend(Some(entry.trim()).filter(|entry| !entry.is_empty()).map(str::to_owned));
            rest = behind;
        }
        rest = rest.trim_start();
    }
    if entries.is_empty() {
        return Err(Refusal::wrong(format!("`{key}` names no {key}: write one, or several like a,b")));
    }
    Ok(entries)
}

/// Reads an entry up to its closing quote, behind which the list ends or goes on with a comma; and what stands behind that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut entry = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"')?;
        entry.push_str(part);
        if let Some(further) = behind.strip_prefix('"') {
            entry.push('"');
            rest = further;
            continue;
        }
        let behind = behind.trim_start();
        let further = if behind.is_empty() { Some("") } else { behind.strip_prefix(',') };
        return further.map(|further| (entry, further));
    }
}

/// A moment as unix milliseconds. How long ago something was is counted by the wall clock, as arrivals are stamped by it.
fn read_moment(text: &str) -> Result<u64, Refusal> {
    moment(text, wall_ms()).map_err(Refusal::wrong)
}

/// A range of time, in unix milliseconds: what happened at `since_ms` or later, and before `until_ms`.
pub(super) struct Range {
    pub(super) since_ms: Option<u64>,
    pub(super) until_ms: Option<u64>,
}

impl Range {
    /// Refuses one that can hold nothing: an empty answer would look like a quiet day.
    fn between(since_ms: Option<u64>, until_ms: Option<u64>) -> Result<Self, Refusal> {
        if since_ms.zip(until_ms).is_some_and(|(since_ms, until_ms)| until_ms < since_ms) {
            return Err(Refusal::wrong("`until` is before `since`: nothing is between them"));
        }
        Ok(Self { since_ms, until_ms })
    }
}

/// The body of a request: a JSON object with known keys only, each given once. One that is null is as if it were not given.
#[derive(Clone, Default)]
pub(in crate::admin) struct Asked(serde_json::Map<String, Value>);

impl Asked {
    /// Reads a body. The keys that it may have are `known`.
    pub(super) fn read(body: &[u8], known: &[&str]) -> Result<Self, Refusal> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let Entries(entries) = serde_json::from_slice(body).map_err(|error| match error.classify() {
            Category::Data => Refusal::wrong("the body should be a JSON object"),
            _ => Refusal::wrong(format!("the body is not JSON: {error}")),
        })?;
        once(&entries)?;
        let map: serde_json::Map<_, _> = entries.into_iter().filter(|(_, value)| !value.is_null()).collect();
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            let rest =
                if known.is_empty() { ": it takes none".to_owned() } else { format!(", only {}", known.join(", ")) };
            return Err(Refusal::wrong(format!("there is no `{key}` here{rest}")));
        }
        Ok(Self(map))
    }

    /// The same as parameters: texts, numbers and flags.
    pub(super) fn as_query(&self, keys: &[&str]) -> Result<Query, Refusal> {
        let given = keys.iter().filter_map(|key| Some((*key, self.0.get(*key)?)));
        let text = |(key, value): (&str, &Value)| match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some((key.to_owned(), text.clone()))),
            Value::Bool(_) | Value::Number(_) => Ok(Some((key.to_owned(), value.to_string()))),
            Value::Array(_) | Value::Object(_) => Err(Refusal::wrong(format!("`{key}` should be a text"))),
        };
        let read: Vec<_> = given.map(text).collect::<Result<_, _>>()?;
        Ok(Query(read.into_iter().flatten().collect()))
    }

    /// Whether something stands under a key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::wrong(format!("`{key}` should be a text"))),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, Refusal> {
        let wrong = || Refusal::wrong(format!("`{key}` should be a list of texts"));
        match self.0.get(key) {
            None => Ok(Vec::new()),
            // It would widen what is asked for, where it looks as if it narrowed it to nothing.
            Some(Value::Array(items)) if items.is_empty() => {
                Err(Refusal::wrong(format!("`{key}` names none: name some, or leave it out")))
            }
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// The events that are named, at most so many; none, where it is not said.
    pub(super) fn events(&self, key: &str, most: usize) -> Result<Vec<EventId>, Refusal> {
        let ids = self.texts(key)?;
        if ids.len() > most {
            return Err(Refusal::wrong(format!("`{key}` names at most {most}")));
        }
        let read = |id: &String| id.parse().map_err(|_| Refusal::wrong(format!("`{id}` is not an event's id")));
        ids.iter().map(read).collect()
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Refusal> {
        match self.0.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Refusal::wrong(format!("`{key}` should be true or false"))),
        }
    }

    /// The range of time that is asked for.
    pub(super) fn range(&self) -> Result<Range, Refusal> {
        let moment = |key| self.text(key)?.map(read_moment).transpose();
        Range::between(moment("since")?, moment("until")?)
    }

    /// The command's own id, so that it can be repeated; a new one where none was given.
    pub(super) fn id(&self) -> Result<u128, Refusal> {
        self.text("id")?.map_or_else(new_id, parse_id)
    }
}

/// A JSON object as it is written: a key that is given twice is there twice.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        json.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_at_commas_that_stand_in_no_quotes() {
        for (list, expected) in [
            ("a", &["a"][..]),
            (" a , b ,", &["a", "b"]),
            (r#""a,b""#, &["a,b"]),
            (r#"c, " a "  ,d"#, &["c", " a ", "d"]),
            (r#""say ""a"" or ""b""""#, &[r#"say "a" or "b""#]),
            (r#"5" wide,b"#, &[r#"5" wide"#, "b"]),
            (r#""""""#, &[r#"""#]),
            (r#""""#, &[""]),
        ] {
            let entries = some_of("type", list).unwrap_or_else(|_| panic!("{list} is refused"));
            assert_eq!(entries, expected, "{list}");
        }
        for wrong in ["", " , ", r#"""#, r#""a"#, r#""a"b"#, r#"c,"a"#] {
            assert!(some_of("type", wrong).is_err(), "{wrong}");
        }
    }
}

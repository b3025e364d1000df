//! Bins: places to deliver to that need no account anywhere. They answer `ok` and keep what came, so that a newcomer sees the
//! whole fan-out on one machine.
//!
//! What is kept is bounded, and so is what is shown of it: a bin never costs more than a few times what all bins may keep, whatever the
//! bodies look like. A body is never read into a tree. Headers are masked but for a few that hold no secret: whatever a destination's
//! `headers:` and `auth:` set may be one, and so may a value in a query.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Bins there may be. Another one takes the place of the one that was not used for the longest time.
pub const BINS_MAX: usize = 16;
/// Entries kept of each.
pub const ENTRIES_MAX: usize = 100;
/// Bytes kept in all bins together.
pub const BYTES_MAX: usize = 4 << 20;
/// Bytes of one body that are shown: a hundred times one of Vero's.
pub const SHOWN_OF_A_BODY_MAX: usize = 64 << 10;
/// Bytes of all bodies that one look shows, the newest first.
pub const SHOWN_MAX: usize = 1 << 20;
/// A body that nests deeper is shown as a text only: readers of the answer have limits of their own.
const JSON_DEPTH_MAX: usize = 32;
/// Characters of a bin's name.
const NAME_CHARACTERS_MAX: usize = 64;
/// Of a request's headers so many are kept, and of each value and of the path so many bytes.
const HEADERS_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 512;
const PATH_BYTES_MAX: usize = 2 << 10;
/// What an entry takes beside its texts, roughly.
const ENTRY_BYTES: usize = 256;
/// What stands for something that is not shown.
const MASK: &str = "…";

/// Headers whose values hold no secret.
const HARMLESS: [&str; 11] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-vero-relay-received-at",
];

/// What a bin's name may be.
pub const NAME_RULE: &str = "a bin's name is letters, digits, `-`, `_` and `.`, at most 64";

/// Whether there can be a bin of this name.
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // The two that mean another step are none.
    !matches!(name, "" | "." | "..") && name.len() <= NAME_CHARACTERS_MAX && name.chars().all(is_plain)
}

/// What came into a bin.
#[derive(Debug)]
pub struct Entry {
    at: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Entry {
    /// Takes down a request, without what may be a secret.
    pub fn new(method: &Method, path: &str, query: &[(String, String)], headers: &HeaderMap, body: Bytes) -> Self {
        let shown = |name: &str, value: &[u8]| {
            let is_harmless = HARMLESS.contains(&name);
            if is_harmless { text_of(beginning(value, VALUE_BYTES_MAX)).into_owned() } else { MASK.to_owned() }
        };
        let headers = headers.iter().take(HEADERS_MAX);
        let headers = headers.map(|(name, value)| {
            let known = text_of(beginning(name.as_str().as_bytes(), VALUE_BYTES_MAX)).into_owned();
            (known, shown(name.as_str(), value.as_bytes()))
        });
        let mut whole = format!("/{path}");
        for (nth, (key, value)) in query.iter().enumerate() {
            whole.push(if nth == 0 { '?' } else { '&' });
            // A key without a value may be the secret itself.
            whole.push_str(&if value.is_empty() { MASK.to_owned() } else { format!("{key}={MASK}") });
        }
        Self {
            at: crate::time::rfc3339(crate::time::wall_ms()),
            method: method.to_string(),
            path: text_of(beginning(whole.as_bytes(), PATH_BYTES_MAX)).into_owned(),
            headers: headers.collect(),
            body,
        }
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        ENTRY_BYTES + headers + self.body.len() + self.path.len()
    }
}

/// A bin as it is shown.
#[derive(Serialize)]
pub struct ShownBin<'b> {
    bin: &'b str,
    received: u64,
    entries: Vec<Shown<'b>>,
}

/// An entry as it is shown.
#[derive(Serialize)]
struct Shown<'e> {
    at: &'e str,
    method: &'e str,
    path: &'e str,
    headers: BTreeMap<&'e str, &'e str>,
    body: Cow<'e, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
    json: Option<&'e RawValue>,
}

impl<'e> Shown<'e> {
    /// Shows at most so many bytes of an entry's body, and takes them from the rest.
    fn new(entry: &'e Entry, rest: &mut usize) -> Self {
        let body = beginning(&entry.body, SHOWN_OF_A_BODY_MAX.min(*rest));
        *rest -= body.len();
        let all = entry.body.len();
        let left_out = entry.body.len() - body.len();
        let whole = Some(body).filter(|body| left_out == 0 && is_shallow(body));
        Self {
            at: &entry.at,
            method: &entry.method,
            path: &entry.path,
            headers: entry.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            body: text_of(body),
            left_out: (left_out > 0).then(|| format!("{left_out} of {all} bytes are not shown")),
            json: whole.and_then(|body| serde_json::from_slice(body).ok()),
        }
    }
}

/// The beginning of a text, without half a character at its end.
fn beginning(text: &[u8], bytes_max: usize) -> &[u8] {
    let Some(cut) = text.get(..bytes_max) else { return text };
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    }
}

fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Whether a JSON text nests no deeper than is shown.
fn is_shallow(json: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut is_escaped = false;
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return false;
        }
    }
    true
}

#[derive(Debug, Default)]
pub struct Bins {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bins: BTreeMap<String, Bin>,
    /// Counts each use of a bin.
    uses: u64,
}

#[derive(Debug, Default)]
struct Bin {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    received: u64,
    used: u64,
}

impl Bin {
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.entries.pop_back();
        self.bytes -= oldest.as_ref().map_or(0, |entry| entry.bytes());
        oldest.is_some()
    }
}

impl Bins {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an entry into a bin, which is made by its first. The oldest entries make room, and the bin that was not used for the longest
    /// time. The name must be one.
    pub fn add(&self, name: &str, entry: Entry) {
        let mut kept = self.kept();
        kept.uses += 1;
        let uses = kept.uses;
        if !kept.bins.contains_key(name) && kept.bins.len() >= BINS_MAX {
            let oldest = kept.bins.iter().min_by_key(|(_, bin)| bin.used).map(|(name, _)| name.clone());
            oldest.and_then(|name| kept.bins.remove(&name));
        }
        let bin = kept.bins.entry(name.to_owned()).or_default();
        bin.received += 1;
        bin.used = uses;
        bin.bytes += entry.bytes();
        bin.entries.push_front(Arc::new(entry));
        if bin.entries.len() > ENTRIES_MAX {
            bin.drop_oldest();
        }
        while kept.bins.values().map(|bin| bin.bytes).sum::<usize>() > BYTES_MAX {
            // Of two that are as full, the one that was not used for longer: what has just come stays.
            let fullest = kept.bins.values_mut().max_by_key(|bin| (bin.bytes, Reverse(bin.used)));
            if !fullest.is_some_and(Bin::drop_oldest) {
                break;
            }
        }
    }

    /// What came into a bin, newest first, as `write` puts it into JSON. Takes some milliseconds: not for a thread that serves.
    pub fn show<T>(&self, name: &str, write: impl FnOnce(ShownBin<'_>) -> T) -> Option<T> {
        let (received, entries) = {
            let mut kept = self.kept();
            kept.uses += 1;
            let uses = kept.uses;
            let bin = kept.bins.get_mut(name)?;
            bin.used = uses;
            (bin.received, bin.entries.clone())
        };
        let mut rest = SHOWN_MAX;
        let entries = entries.iter().map(|entry| Shown::new(entry, &mut rest)).collect();
        Some(write(ShownBin { bin: name, received, entries }))
    }

    /// Lets go of the entries that say something. Takes some milliseconds: not for a thread that serves.
    pub fn forget(&self, says: impl Fn(&[u8]) -> bool) {
        for bin in self.kept().bins.values_mut() {
            bin.entries.retain(|entry| {
                let headers = entry.headers.iter().map(|(_, value)| value.as_bytes());
                !headers.chain([entry.path.as_bytes(), &entry.body]).any(&says)
            });
            bin.bytes = bin.entries.iter().map(|entry| entry.bytes()).sum();
        }
    }

    /// The names of all bins, and how much came into each.
    pub fn overview(&self) -> Value {
        let kept = self.kept();
        let bins: serde_json::Map<_, _> =
            kept.bins.iter().map(|(name, bin)| (name.clone(), json!(bin.received))).collect();
        json!({ "bins": bins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry::new(&Method::POST, "bin/x", &[], &HeaderMap::new(), Bytes::from(vec![b'x'; bytes]))
    }

    fn shown(bins: &Bins, name: &str) -> Value {
        serde_json::from_slice(&text(bins, name)).expect("JSON")
    }

    fn text(bins: &Bins, name: &str) -> Vec<u8> {
        let text = bins.show(name, |shown| serde_json::to_vec_pretty(&shown));
        text.expect("there").expect("it can be written")
    }

    fn entries(bins: &Bins, name: &str) -> usize {
        shown(bins, name)["entries"].as_array().map_or(0, Vec::len)
    }

    #[test]
    fn a_bin_keeps_its_newest_hundred() {
        let bins = Bins::default();
        for _ in 0..ENTRIES_MAX {
            bins.add("a", entry(10));
        }
        assert_eq!(entries(&bins, "a"), ENTRIES_MAX);
        bins.add("a", entry(11));
        let shown = shown(&bins, "a");
        assert_eq!((shown["received"].as_u64(), entries(&bins, "a")), (Some(101), ENTRIES_MAX));
        assert_eq!(shown["entries"][0]["body"].as_str().map(str::len), Some(11), "the newest first");
    }

    #[test]
    fn all_bins_together_keep_four_mebibytes() {
        let bins = Bins::default();
        let quarter = BYTES_MAX / 4 - ENTRY_BYTES - "/bin/x".len();
        for name in ["a", "b", "c", "d"] {
            bins.add(name, entry(quarter));
        }
        assert_eq!(["a", "b", "c", "d"].map(|name| entries(&bins, name)), [1; 4], "just so much");
        bins.add("e", entry(0));
        assert_eq!(["a", "b", "c", "d", "e"].map(|name| entries(&bins, name)).iter().sum::<usize>(), 4);
        bins.add("a", entry(BYTES_MAX));
        assert!(["a", "b", "c", "d", "e"].map(|name| entries(&bins, name)).iter().sum::<usize>() < 5);
    }

    #[test]
    fn beyond_sixteen_the_bin_that_was_not_used_for_the_longest_time_gives_way() {
        let bins = Bins::default();
        for nth in 0..BINS_MAX {
            bins.add(&format!("bin{nth}"), entry(1));
        }
        assert_eq!(entries(&bins, "bin0"), 1, "looked at, so used");
        bins.add("another", entry(1));
        let overview = bins.overview();
        let names: Vec<_> = overview["bins"].as_object().expect("a map").keys().collect();
        assert_eq!(names.len(), BINS_MAX);
        assert!(names.iter().any(|name| *name == "bin0") && names.iter().all(|name| *name != "bin1"), "{names:?}");
    }

    #[test]
    fn whatever_bodies_look_like_what_is_shown_is_bounded_and_json() {
        for byte in *b"\0\"[{\\x\x7f\xff\n" {
            let bins = Bins::default();
            for _ in 0..20 {
                bins.add("a", Entry::new(&Method::POST, "bin/a", &[], &HeaderMap::new(), vec![byte; 200_000].into()));
            }
            let bytes = text(&bins, "a");
            assert!(bytes.len() <= 8 * SHOWN_MAX, "{byte}: {}", bytes.len());
            let shown = shown(&bins, "a");
            let left_out = format!("{} of 200000 bytes are not shown", 200_000 - SHOWN_OF_A_BODY_MAX);
            assert_eq!(shown["entries"][0]["left_out"], left_out.as_str(), "{byte}");
            assert_eq!(shown["entries"][19]["left_out"], "200000 of 200000 bytes are not shown", "{byte}");
        }
    }

    #[track_caller]
    fn check_json(body: &str, is_json: bool) {
        let bins = Bins::default();
        bins.add("a", Entry::new(&Method::POST, "bin/a", &[], &HeaderMap::new(), body.to_owned().into()));
        let entry = shown(&bins, "a")["entries"][0].clone();
        assert_eq!((entry["body"].as_str(), !entry["json"].is_null()), (Some(body), is_json), "{body}");
        assert!(entry.get("left_out").is_none());
    }

    #[test]
    fn json_is_shown_as_it_is_unless_it_nests_deeply() {
        check_json(r#" {"a": 1.50, "b": "\u0000]"} "#, true);
        check_json("no json", false);
        check_json("", false);
        check_json(&format!("{}{}", "[".repeat(JSON_DEPTH_MAX), "]".repeat(JSON_DEPTH_MAX)), true);
        check_json(&format!("{}{}", "[".repeat(JSON_DEPTH_MAX + 1), "]".repeat(JSON_DEPTH_MAX + 1)), false);
        check_json(&format!(r#"{{"a":"{}\"]"}}"#, "[".repeat(100)), true);
    }

    #[test]
    fn headers_and_queries_are_shown_without_what_may_be_a_secret() {
        let names = ["content-type", "webhook-id", "x-api-key", "authorization", "webhook-signature", "x-vero-relay-x"];
        let headers = names.map(|name| (http::HeaderName::from_static(name), http::HeaderValue::from_static("v")));
        let query = [("key", "secret"), ("secret", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let bins = Bins::default();
        let headers = HeaderMap::from_iter(headers);
        bins.add("a", Entry::new(&Method::POST, "bin/a/users/1", &query, &headers, Bytes::new()));
        let entry = shown(&bins, "a")["entries"][0].clone();
        let values = names.map(|name| entry["headers"][name].as_str().unwrap_or_default().to_owned());
        assert_eq!(values, ["v", "v", MASK, MASK, MASK, MASK]);
        assert_eq!(entry["path"], "/bin/a/users/1?key=…&…");
    }

    #[test]
    fn a_name_is_plain_and_not_long() {
        let longest = "x".repeat(NAME_CHARACTERS_MAX);
        let longer = "x".repeat(NAME_CHARACTERS_MAX + 1);
        assert!(["a", "A-1_b.c", longest.as_str()].iter().all(|name| is_name(name)));
        assert!(["", "a/b", "a%20b", "ä", "a b", longer.as_str()].iter().all(|name| !is_name(name)));
    }
}

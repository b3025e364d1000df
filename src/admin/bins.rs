//! Bins: places to deliver to that need no account anywhere. They answer `ok` and keep what came, so that a newcomer sees the
//! whole fan-out on one machine.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Method};
use serde_json::{Value, json};

/// Bins there may be.
pub const BINS_MAX: usize = 16;
/// Entries kept of each.
pub const ENTRIES_MAX: usize = 100;
/// Bytes kept in all bins together.
pub const BYTES_MAX: usize = 4 << 20;

/// What came into a bin.
#[derive(Clone, Debug)]
pub struct Entry {
    at: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Entry {
    /// Takes down a request. Headers that carry credentials are masked.
    pub fn new(method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        let shown = headers.iter().map(|(name, value)| {
            let is_secret = matches!(name.as_str(), "authorization" | "cookie" | "proxy-authorization");
            let value =
                if is_secret { "…".to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() };
            (name.to_string(), value)
        });
        Self {
            at: crate::time::rfc3339(crate::time::wall_ms()),
            method: method.to_string(),
            path: format!("/{path}"),
            headers: shown.collect(),
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        headers + self.body.len() + self.path.len()
    }

    fn shown(&self) -> Value {
        let headers: serde_json::Map<_, _> = self.headers.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let body = serde_json::from_str::<Value>(&self.body).ok();
        json!({ "at": self.at, "method": self.method, "path": self.path, "headers": headers, "body": self.body, "json": body })
    }
}

/// All bins.
#[derive(Debug, Default)]
pub struct Bins {
    bins: Mutex<BTreeMap<String, Bin>>,
}

#[derive(Debug, Default)]
struct Bin {
    entries: VecDeque<Entry>,
    received: u64,
}

impl Bins {
    /// Puts an entry into a bin, which is made by its first. The oldest entries of all make room.
    pub fn add(&self, name: &str, entry: Entry) -> Result<(), &'static str> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            return Err("a bin's name is letters, digits, `-`, `_` and `.`, at most 64");
        }
        if entry.bytes() > BYTES_MAX {
            return Err("this is more than all bins keep together");
        }
        let mut bins = self.bins.lock().unwrap_or_else(PoisonError::into_inner);
        if !bins.contains_key(name) && bins.len() >= BINS_MAX {
            return Err("there are 16 bins already");
        }
        let bin = bins.entry(name.to_owned()).or_default();
        bin.received += 1;
        bin.entries.push_front(entry);
        bin.entries.truncate(ENTRIES_MAX);
        let total = |bins: &BTreeMap<String, Bin>| -> usize {
            bins.values().flat_map(|bin| &bin.entries).map(Entry::bytes).sum()
        };
        while total(&bins) > BYTES_MAX {
            let fullest = bins.values_mut().max_by_key(|bin| bin.entries.iter().map(Entry::bytes).sum::<usize>());
            if fullest.and_then(|bin| bin.entries.pop_back()).is_none() {
                break;
            }
        }
        Ok(())
    }

    /// What came into a bin, newest first.
    pub fn show(&self, name: &str) -> Option<Value> {
        let bins = self.bins.lock().unwrap_or_else(PoisonError::into_inner);
        let bin = bins.get(name)?;
        let entries: Vec<_> = bin.entries.iter().map(Entry::shown).collect();
        Some(json!({ "bin": name, "received": bin.received, "entries": entries }))
    }

    /// The names of all bins, and how much came into each.
    pub fn overview(&self) -> Value {
        let bins = self.bins.lock().unwrap_or_else(PoisonError::into_inner);
        let bins: serde_json::Map<_, _> = bins.iter().map(|(name, bin)| (name.clone(), json!(bin.received))).collect();
        json!({ "bins": bins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry::new(&Method::POST, "bin/x", &HeaderMap::new(), &vec![b'x'; bytes])
    }

    #[test]
    fn bins_keep_within_their_limits() {
        let bins = Bins::default();
        for i in 0..BINS_MAX {
            assert_eq!(bins.add(&format!("bin{i}"), entry(10)), Ok(()));
        }
        assert!(bins.add("one-more", entry(10)).is_err());
        for _ in 0..150 {
            bins.add("bin0", entry(10)).expect("taken");
        }
        let shown = bins.show("bin0").expect("there");
        assert_eq!(
            (shown["received"].as_u64(), shown["entries"].as_array().map(Vec::len)),
            (Some(151), Some(ENTRIES_MAX))
        );
        for _ in 0..10 {
            bins.add("bin1", entry(1 << 20)).expect("taken");
        }
        let kept = bins.show("bin1").expect("there")["entries"].as_array().map(Vec::len);
        assert!(kept.is_some_and(|kept| kept <= 4), "{kept:?}");
        assert!(bins.add("../x", entry(1)).is_err());
    }
}

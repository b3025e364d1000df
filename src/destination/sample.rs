//! A delivery to try destinations with, and destinations without a config around them: for tests, benchmarks and fuzz targets.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Client, Context, Delivery, Destination, OfRelay, kind_named};
use crate::event::EventId;
use crate::store::{NameId, StoredEvent};
use crate::yaml::hints::Hints;
use crate::yaml::load;
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::values::Surroundings;

/// When the event of a [`sample`] came.
pub const SAMPLE_MS: u64 = 1_700_000_000_000;

/// A delivery of a body that came at some time, by the source `vero` and the rule `everything`.
pub fn sample(body: impl Into<Bytes>, received_ms: u64) -> Delivery {
    let event = StoredEvent {
        id: EventId::mint(received_ms, 0, 7),
        received_ms,
        source: NameId(1),
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: body.into(),
        is_redacted: false,
    };
    Delivery { event: Arc::new(event), source: "vero".into(), rule: "everything".into(), digest: None }
}

/// A destination of a kind by its section, and by its `digest:` unless that is empty; or all that is wrong with them, with what to do.
///
/// # Panics
///
/// Where there is no such kind, or a text is no YAML.
pub fn built(kind: &str, section: &str, digest: &str, client: &Client) -> Result<Arc<dyn Destination>, Vec<Wrong>> {
    let kind = kind_named(kind).expect("a kind");
    let node = |text: &str| load::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.message));
    let (own, digest): (Node, Option<Node>) = (node(section), (!digest.is_empty()).then(|| node(digest)));
    let reader = Reader::new(".".into(), &Nothing);
    let data_dir = Path::new("data");
    let relay = OfRelay { name: "relay", is_one_of_several: false };
    let digest = digest.as_ref();
    let context = Context {
        reader: &reader,
        name: kind.name,
        client,
        surroundings: &Nothing,
        data_dir,
        relay,
        answers: None,
        digest,
    };
    let destination = reader.map(&own, "the section").and_then(|entries| (kind.build)(&context, entries));
    let has_errors = reader.errors() > 0;
    let told = reader.into_found().problems.into_iter().map(|problem| (problem.message, problem.help));
    match destination {
        Some(destination) if !has_errors => Ok(destination),
        _ => Err(told.collect()),
    }
}

/// What is wrong, and what to do about it.
pub type Wrong = (String, Option<String>);

/// There is nothing around it.
pub struct Nothing;

impl Surroundings for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

impl Hints for Nothing {
    fn unknown_key(&self, _: &str, _: &Node, _: &str, _: &[&'static str]) -> Option<String> {
        None
    }

    fn missing_key(&self, _: &str, _: &str, _: &[&'static str]) -> Option<String> {
        None
    }

    fn not_a_map(&self, _: &str, _: &Node) -> Option<String> {
        None
    }

    fn unset_variable(&self, _: &str) -> Option<String> {
        None
    }

    fn places(&self, _: &str) -> Vec<Vec<&'static str>> {
        Vec::new()
    }

    fn holds_secrets(&self, _: &str) -> bool {
        false
    }
}

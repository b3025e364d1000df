//! `/api/what-if`: the history through a config that is not in force.
//!
//! GET tells which stretch is meant, POST looks at a piece of it, bounded, so that whoever asks sees how far it has come and may leave
//! at any time. The config comes with each piece: nothing is kept between two.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Asked, Outcome, Query, Refusal, blocking};
use crate::config::ConfigError;
use crate::config::load::FILE_BYTES_MAX;
use crate::relay::{Change, Comparison, Example, Relay};
use crate::telemetry::in_full;

/// A config that is as long as it may be, as a JSON text: each of its bytes may become two; and what stands beside it.
pub(in crate::admin) const BODY_BYTES_MAX: usize = 2 * FILE_BYTES_MAX + (64 << 10);
/// Events of one piece: half a second of work on a busy machine, where each is rendered twice (measured: 0.56 s).
pub(crate) const PIECE_MAX: u64 = 10_000;
/// Events looked at unless it is said: half a second of routing, and five seconds where each is rendered twice.
const LAST: u64 = 100_000;
/// Why it is not known whether the content is another.
const NOT_COMPARED: &str = "it holds a secret in a new place";
/// The name of a file, in messages.
const FILE_CHARACTERS_MAX: usize = 4096;

/// Which stretch of the history is meant by the `last` events or those `since` a time.
pub(super) async fn stretch(relay: &Arc<Relay>, query: &Query) -> Outcome {
    query.only(&["last", "since"])?;
    let wrong = || Refusal::wrong("`last` should be how many events to look at, from 1 on");
    let last = query.get("last").map(|text| text.parse().ok().filter(|last| *last > 0).ok_or_else(wrong));
    let (last, since_ms) = (last.transpose()?, query.moment("since")?);
    if last.is_some() && since_ms.is_some() {
        return Err(Refusal::wrong("`last` and `since` both say where it begins: give one of them"));
    }
    blocking(relay, move |relay| {
        let history = relay.store.history();
        let from = match since_ms {
            Some(at_ms) => relay.store.first_since(at_ms).map_err(|error| Refusal::failed(&error))?,
            None => history.end.saturating_sub(last.unwrap_or(LAST)),
        };
        let from = from.clamp(history.start, history.end);
        Ok(json!({ "from": from, "until": history.end, "generation": relay.generation().number }))
    })
    .await
}

/// Looks at one piece of the history.
pub(super) async fn look(relay: &Arc<Relay>, body: &[u8]) -> Outcome {
    let asked = Asked::read(body, &["config", "file", "from", "until"])?;
    let text = asked.text("config")?.ok_or_else(|| Refusal::wrong("`config` is missing: the text of a config"))?;
    let file: String = asked.text("file")?.unwrap_or("the config").chars().take(FILE_CHARACTERS_MAX).collect();
    let (Some(from), Some(until)) = (asked.number("from")?, asked.number("until")?) else {
        return Err(Refusal::wrong("`from` and `until` say which events to look at, as GET /api/what-if tells"));
    };
    if until < from || until - from > PIECE_MAX {
        return Err(Refusal::wrong(format!("one piece has at most {PIECE_MAX} events: ask for the next one after it")));
    }
    let text = text.to_owned();
    blocking(relay, move |relay| compare(relay, Path::new(&file), text, from..until)).await
}

fn compare(relay: &Relay, file: &Path, text: String, stretch: Range<u64>) -> Outcome {
    let generation = relay.generation().clone();
    let read = generation.config.parse_successor(file, text.clone());
    let (then, report) = read.map_err(|error| {
        let why = match &error {
            ConfigError::Problems(report) => report.to_string(),
            error => in_full(error),
        };
        Refusal(StatusCode::UNPROCESSABLE_ENTITY, why)
    })?;
    let mut comparison = Comparison::new(&generation.config, &then, &text);
    let scanned = relay.store.scan(stretch.clone(), &mut |event| {
        let source = relay.store.name_of(event.source).unwrap_or_else(|| "".into());
        comparison.consider(event, &source);
        !relay.replayer.stop.is_cancelled()
    });
    scanned.map_err(|error| Refusal::failed(&error))?;
    if relay.replayer.stop.is_cancelled() {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping".to_owned()));
    }
    let mut told = shown(&comparison);
    told["generation"] = json!(generation.number);
    // Trimmed since it was asked for, or damaged, or no event.
    told["skipped"] = json!(stretch.end - stretch.start - comparison.events);
    told["warnings"] = json!(report.lines().collect::<Vec<_>>());
    Ok(told)
}

fn shown(comparison: &Comparison<'_>) -> Value {
    let groups = comparison.groups().map(|(change, rule, destination, group)| {
        let mut told = json!({
            "change": change.word(),
            "rule": rule,
            "destination": destination,
            "deliveries": group.deliveries,
            "examples": examples(&group.examples),
        });
        if group.is_not_compared {
            told["not_compared"] = json!(NOT_COMPARED);
        }
        told
    });
    let mut told = json!({
        "events": comparison.events,
        "stays": comparison.stays,
        "groups": groups.collect::<Vec<_>>(),
        "not_grouped": comparison.not_grouped,
        "sources_gone": comparison.sources_gone,
        "no_longer_taken": {
            "events": comparison.no_longer_taken,
            "examples": examples(&comparison.no_longer_taken_examples),
        },
    });
    for (change, total) in Change::ALL.into_iter().zip(comparison.totals) {
        told[change.word()] = json!(total);
    }
    told
}

fn examples(examples: &[Example]) -> Vec<Value> {
    let example = |example: &Example| {
        let mut told = json!({
            "id": example.id.to_string(),
            "type": example.summary.event_type,
            "campaign": example.summary.campaign,
        });
        if let Some([now, then]) = &example.excerpts {
            (told["now"], told["then"]) = (json!(now), json!(then));
        }
        told
    };
    examples.iter().map(example).collect()
}

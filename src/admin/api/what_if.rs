//! `/api/what-if`: the history through a config that is not in force.
//!
//! GET tells where the range begins that is meant, POST looks at a piece of it, bounded, so that whoever asks sees how far it has come and may leave
//! at any time. The config comes with each piece, or is read from the disk for each: nothing is kept between two.

use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::config::{Meant, lying_on_disk};
use super::history;
use super::{Asked, Outcome, Query, Refusal, Request, Resource, blocking, get, in_json, nothing_here, post, refused};
use crate::config::{Config, ConfigError};
use crate::errors::with_causes;
use crate::relay::{Change, Comparison, Example, Generation, Relay};
use crate::store::{Cursor, EventQuery, Order};
use crate::yaml::load::FILE_BYTES_MAX;

/// A config that is as long as it may be, as a JSON text: each of its bytes may become two; and what stands beside it.
const BODY_BYTES_MAX: usize = 2 * FILE_BYTES_MAX + (64 << 10);
/// Events of one piece: half a second of work on a busy machine, where each is rendered twice (measured: 0.56 s).
const PIECE_MAX: u64 = 10_000;
/// Why it is not known whether the content is another.
const NOT_COMPARED: &str = "it holds a secret in a new place";
/// The name of a file, in messages.
const FILE_CHARACTERS_MAX: usize = 4096;

pub(super) const RESOURCE: Resource = Resource {
    name: "what-if",
    endpoints: &[
        get("", &["last", "since"], "how many events the last ones are, or those since a time, and where they begin"),
        post(
            "",
            &["config", "file", "on_disk", "after"],
            "which deliveries would change if that config were in force, or the file as it lies on the disk",
        )
        .walking(),
    ],
    body_bytes_max: BODY_BYTES_MAX,
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    let Request { relay, visitor, is_read, steps, query, body } = request;
    match (is_read, steps) {
        (true, []) => range(relay, query).await,
        (false, []) => look(relay, body, &visitor.has_gone).await,
        _ => nothing_here(),
    }
}

/// Which range of the history is meant by the `last` events or those `since` a time: where it begins, and how many there are.
async fn range(relay: &Arc<Relay>, query: &Query) -> Outcome {
    let asked = history::meant(query, Order::OldestFirst)?;
    let begins = relay.store.events(&asked, None, 0).await.map_err(refused)?;
    let next = begins.next.map(|next| next.to_string());
    Ok(json!({ "next": next, "events": begins.left, "generation": relay.generation().number }))
}

/// The history from any place on.
const HISTORY: EventQuery = EventQuery { since_ms: 0, until_ms: u64::MAX, last: None, order: Order::OldestFirst };

/// Looks at one piece of the history.
async fn look(relay: &Arc<Relay>, asked: &Asked, has_gone: &CancellationToken) -> Outcome {
    let text = asked.text("config")?;
    let file: String = asked.text("file")?.unwrap_or("the config").chars().take(FILE_CHARACTERS_MAX).collect();
    let after = asked.text("after")?.map(str::parse::<Cursor>).transpose().map_err(refused)?;
    let then = match (text, asked.flag("on_disk")?) {
        (Some(text), false) => Then::Brought { file, text: text.to_owned() },
        (None, true) => Then::OnDisk(lying_on_disk(relay).await?),
        (None, false) => {
            return Err(Refusal::wrong("`config` is missing: the text of a config, or `on_disk: true` for the file"));
        }
        (Some(_), true) => {
            return Err(Refusal::wrong("`config` and `on_disk` both say which config is meant: give one of them"));
        }
    };
    let (waits, has_gone) = (Handle::current(), has_gone.clone());
    let prove = move |relay: &Relay| {
        let generation = relay.generation().clone();
        let comparing = Comparing { relay, waits: &waits, has_gone: &has_gone, generation: &generation };
        comparing.prove(then, after)
    };
    blocking(relay, prove).await
}

/// The config that is tried.
enum Then {
    /// Somebody brings it, who may not know what the `${…}` of the one in force stand for.
    Brought { file: String, text: String },
    /// It lies where a reload would read it.
    OnDisk(Meant),
}

/// What a comparison goes by.
struct Comparing<'c> {
    relay: &'c Relay,
    waits: &'c Handle,
    has_gone: &'c CancellationToken,
    /// The config in force.
    generation: &'c Generation,
}

impl Comparing<'_> {
    /// Proves the config that is tried, and compares it.
    fn prove(self, then: Then, after: Option<Cursor>) -> Outcome {
        let wrong = |why: String| Refusal(StatusCode::UNPROCESSABLE_ENTITY, why);
        let config = &self.generation.config;
        match then {
            Then::Brought { file, text } => {
                let (then, _) = config.parse_successor(Path::new(&file), text).map_err(|error| {
                    wrong(match &error {
                        ConfigError::Problems(report) => report.to_string(),
                        error => with_causes(error),
                    })
                })?;
                self.compare(&then, after)
            }
            Then::OnDisk(meant) => self.compare(meant.config(), after),
        }
    }

    /// Where the config is proved, that takes CPU, and each event is rendered twice: it is all done beside the threads that serve, and
    /// waits there for the pages of the history.
    fn compare(self, then: &Config, after: Option<Cursor>) -> Outcome {
        let Self { relay, waits, has_gone, generation } = self;
        let mut comparison = Comparison::new(&generation.config, then);
        // Without a place to begin there is no event at all: the config is proved.
        let mut next = after;
        let mut left = 0;
        let mut begun_with = None;
        // Nobody knows what would have become of them.
        let mut redacted = 0;
        while let Some(after) = &next {
            let room = PIECE_MAX - (comparison.events + redacted).min(PIECE_MAX);
            let asked = relay.store.events(&HISTORY, Some(after), if begun_with.is_some() { room as usize } else { 0 });
            let page = waits.block_on(asked).map_err(refused)?;
            begun_with.get_or_insert(page.left);
            (next, left) = (page.next, page.left);
            for event in page.items {
                if has_gone.is_cancelled() {
                    return Err(Refusal::has_gone());
                }
                if event.is_redacted {
                    redacted += 1;
                } else {
                    let source = relay.store.names().name(event.source);
                    comparison.consider(event, &source);
                }
                if relay.is_stopping() {
                    return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "the relay is stopping".to_owned()));
                }
            }
            if comparison.events + redacted >= PIECE_MAX {
                break;
            }
        }
        let messages = comparison.messages();
        let messages = messages
            .into_iter()
            .map(|(destination, [now, then])| json!({ "destination": destination, "now": now, "then": then }));
        let messages: Vec<Value> = messages.collect();
        let mut told = shown(&comparison);
        told["messages"] = json!(messages);
        told["generation"] = json!(generation.number);
        // Of files on the disk that change between two pieces, so that whoever adds them up sees it.
        told["digest"] =
            json!(then.digest_with_files().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>());
        told["next"] = json!(next.map(|next| next.to_string()));
        // Trimmed since it was asked for, or damaged, or no event.
        told["skipped"] = json!((begun_with.unwrap_or(0) - left).saturating_sub(comparison.events + redacted));
        told["redacted"] = json!(redacted);
        told["warnings"] = json!(then.warnings);
        Ok(told)
    }
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
        "no_longer_accepted": {
            "events": comparison.no_longer_accepted,
            "examples": examples(&comparison.no_longer_accepted_examples),
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

//! `/api/events`: the history by filter, and one event with everything that is known of it.
//!
//! * [`filter`]: which events are meant. [`page`]: one page of them, within bounds on what is looked at. [`show`](mod@show): one event.

pub(super) mod filter;
mod page;
mod show;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::filter::{Filter, SELECTION};
use self::page::{among, list};
use self::show::{body, explain, show};
use super::endpoint::joined;
use super::parameters::{LIMIT, PAGE};
use super::{Asked, Outcome, Query, Refusal, Request, Resource, Said, get, nothing_here, post};
use crate::relay::Relay;

/// Events that a search can name: as many as a page shows unless it is said.
const NAMED_MAX: usize = LIMIT;

/// What says which page of the history is meant.
const LISTED: [&str; 14] = joined(&[&SELECTION, &["since", "until"], &PAGE]);
const SEARCHED: [&str; 15] = joined(&[&LISTED, &["events"]]);

pub(super) const RESOURCE: Resource = Resource {
    name: "events",
    endpoints: &[
        get("", &LISTED, "the history, newest first").walking(),
        post("/search", &SEARCHED, "the same, asked for in the body: so no log of addresses has what was looked for")
            .walking(),
        get("/ID", &[], "one event, what became of its deliveries, and the attempts that were made").searching(),
        get("/ID/body", &[], "the bytes that came").searching(),
        get(
            "/ID/explain",
            &["on_disk"],
            "why it goes where it goes, by the config in force or the file as it lies on the disk, and what each destination would get",
        )
        .searching(),
    ],
    answer: |request| Box::pin(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Result<Said, Refusal> {
    let Request { relay, visitor, is_read, steps, query, body: asked } = request;
    let has_gone = &visitor.has_gone;
    let told = match (is_read, steps) {
        (true, []) => list(relay, query, has_gone).await,
        (false, ["search"]) => search(relay, asked, has_gone).await,
        (true, [id]) => show(relay, id).await,
        (true, [id, "explain"]) => explain(relay, id, query).await,
        (true, [id, "body"]) => return body(relay, id).await.map(Said::Bytes),
        _ => nothing_here(),
    };
    told.map(Said::Json)
}

/// The same as the list; or those of some events that are meant.
async fn search(relay: &Arc<Relay>, asked: &Asked, has_gone: &CancellationToken) -> Outcome {
    let query = asked.as_query(&LISTED)?;
    let ids = asked.events("events", NAMED_MAX)?;
    if ids.is_empty() {
        list(relay, &query, has_gone).await
    } else {
        among(relay, &Filter::read(relay, &query)?, ids, has_gone).await
    }
}

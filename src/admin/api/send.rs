//! `/api/send`: an event that an operator has written, sent in earnest.

use bytes::Bytes;

use super::{Refusal, Request, Resource, Said, nothing, post};
use crate::receive;

pub(super) const RESOURCE: Resource = Resource {
    name: "send",
    endpoints: &[post(
        "",
        &["event", "source"],
        "let an event in as if it had come to a source's address: it is stored and goes where the rules say",
    )
    .needing(&["event"])],
    tell: |act| tracing::info!(source = act.said("source"), "by the operator: send an event"),
    answer: |request| Box::pin(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Result<Said, Refusal> {
    let Request { relay, is_read, steps, body, .. } = request;
    if is_read || !steps.is_empty() {
        return Err(nothing());
    }
    let event = body.text("event")?.ok_or_else(|| Refusal::wrong("`event` is missing: the text of an event"))?;
    let event = Bytes::copy_from_slice(event.as_bytes());
    let answered = receive::let_in(relay, body.text("source")?, event).await;
    answered.map(Said::Door).ok_or_else(|| Refusal::missing("there is no such source in the config"))
}

//! `/api/notify/test`: whether those who are told of trouble can be told.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Outcome, Refusal, Request, Resource, in_json, new_id, nothing_here, post};
use crate::notify::test_notice;
use crate::relay::{Heard, Relay};
use crate::time::{Instant, wall_ms};

pub(super) const RESOURCE: Resource = Resource {
    name: "notify",
    endpoints: &[post("/test", &["to"], "send a test to all whom `notify` names, or to one: what each answered")],
    tell: |act| tracing::info!(to = act.said("to"), "by the operator: a test of `notify`"),
    answer: |request| in_json(answer(request)),
    ..Resource::USUAL
};

async fn answer(request: Request<'_>) -> Outcome {
    match (request.is_read, request.steps) {
        (false, ["test"]) => test(request.relay, request.body.text("to")?).await,
        _ => nothing_here(),
    }
}

/// One attempt each, all at once: who is down holds up no other.
async fn test(relay: &Relay, to: Option<&str>) -> Outcome {
    let notify = relay.generation().config.notify.clone();
    let Some(notify) = notify else {
        return Err(Refusal::conflict("the config says of nobody who is told: write notify: { to: [NAME] }"));
    };
    let names: Vec<String> = notify.to.iter().filter(|name| to.is_none_or(|to| to == *name)).cloned().collect();
    if names.is_empty() {
        let names = notify.to.join(", ");
        return Err(Refusal::missing(format!(
            "`{}` is none of those whom `notify` names: {names}",
            to.unwrap_or_default()
        )));
    }
    let id = uuid::Uuid::from_u128(new_id()?).hyphenated().to_string();
    let notice = test_notice(id.clone(), wall_ms(), relay.page().as_ref());
    let answers = join_all(names.iter().map(|name| async {
        let started = Instant::now();
        let heard = relay.tell_once(name, &notice).await;
        shown(name, &heard, started.elapsed().as_millis() as u64)
    }));
    Ok(json!({ "id": id, "answers": answers.await }))
}

fn shown(to: &str, heard: &Heard, took_ms: u64) -> Value {
    let error = match heard {
        Heard::Yes => None,
        Heard::NotNow(why) | Heard::Never(why) => Some(why),
    };
    json!({ "to": to, "told": error.is_none(), "error": error, "took_ms": took_ms })
}

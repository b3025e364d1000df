//! `/api/session`: whether somebody must sign in, and has. The page asks this first.

use serde_json::{Value, json};

use super::{Resource, get, in_json, nothing_here};
use crate::admin::door::{Access, Visitor};
use crate::time::{rfc3339, wall_ms};

pub(super) const RESOURCE: Resource = Resource {
    name: "session",
    endpoints: &[get("", &[], "whether one must sign in, and has").without_events()],
    answer: |request| {
        in_json(std::future::ready(match (request.is_read, request.steps) {
            (true, []) => Ok(shown(request.visitor)),
            _ => nothing_here(),
        }))
    },
    ..Resource::USUAL
};

fn shown(visitor: &Visitor) -> Value {
    let until = visitor.lasts.map(|lasts| rfc3339(wall_ms() + lasts.as_millis() as u64));
    let access = visitor.is_known.then_some(match visitor.access {
        Access::Full => "full",
        Access::Read => "read",
    });
    json!({ "needed": visitor.is_asked, "signed_in": visitor.is_known, "until": until, "access": access })
}

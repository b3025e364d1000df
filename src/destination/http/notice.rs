//! What an operator is told: as JSON, or in the words of the section's `notice`; with the headers, the proof and the signature that the
//! destination's events have.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::HeaderValue;
use serde_json::json;

use super::{About, Body, Call, DIGEST_JSON, DIGEST_TEXT, Http, Outcome, Target, body_of_its_own};
use crate::destination::notice::{Notice, Teller};
use crate::destination::template::{Escape, Subject};
use crate::destination::view::View;
use crate::yaml::keys::{Key, Of, Section, by_hand, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const NOTICE: Key<()> = key("notice", by_hand(Of::Own("map, or `none`", schema)))
    .seen(Sight::Expressions)
    .about("What an operator is told by way of this destination, where `notify` names it: `json` or `text`, as for an event, over `notice.title`, `notice.text` (all that is wrong, a line each), `notice.page` and what else a [notice](operations.md#being-told) has. `none`: nobody reads what goes there, so `notify` cannot name it.")
    .example("{ json: { text: \"{{ notice.title }}\" } }")
    .otherwise("`{\"notice\": {…}}`");

/// Nobody can be told.
const NONE: &str = "none";

/// The same two forms that a digest has.
fn keys() -> Section {
    let json = DIGEST_JSON.about("The body, as a structure whose texts are templates over `notice`.");
    let text = DIGEST_TEXT.about("The body, as one template over `notice`. Not beside `json`.");
    let [json, text] = [json.info, text.info];
    Section::of(&[json.with_example("{ text: \"{{ notice.title }}\" }"), text.with_example("\"{{ notice.title }}\"")])
}

fn schema() -> serde_json::Value {
    let names: Vec<_> = keys().keys.iter().map(|key| key.name).collect();
    let properties: serde_json::Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
    json!({ "anyOf": [
        { "enum": [NONE] },
        { "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 },
    ] })
}

/// What an operator is told.
pub(super) enum Told {
    AsJson,
    Own(Box<Body>),
    Nothing,
}

/// Reads `notice:`. `None`: it is wrong, and that has been told.
pub(super) fn read(reader: &Reader, node: Option<&Node>, escape: Escape) -> Option<Told> {
    let Some(node) = node else { return Some(Told::AsJson) };
    if node.scalar().is_some_and(|scalar| scalar.text == NONE) {
        return Some(Told::Nothing);
    }
    let mut entries = reader.map(node, "`notice`")?;
    let parts = [&DIGEST_JSON.info, &DIGEST_TEXT.info].map(|key| entries.node(key));
    entries.finish();
    if parts.iter().flatten().count() != 1 {
        let help = format!("write notice: {}", NOTICE.info.example);
        reader.error_with(node.id, "the body of a notice is either `json` or `text`", help);
        return None;
    }
    body_of_its_own(reader, parts, (escape, Subject::Notice)).map(|body| Told::Own(Box::new(body)))
}

impl Teller for Http {
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Outcome> {
        async {
            match self.call_of(notice) {
                Ok(call) => self.sent(call).await,
                Err(why) => Outcome::local(why),
            }
        }
        .boxed()
    }
}

impl Http {
    /// Why nobody can be told by way of it, if so.
    pub(super) fn cannot_tell(&self) -> Option<&'static str> {
        match (&self.target, &self.notice) {
            (Target::Templated(_), _) => Some("its URL is made of an event"),
            (_, Told::Nothing) => Some("nobody reads what goes there (`notice: none`)"),
            _ => None,
        }
    }

    fn call_of(&self, notice: &Notice) -> Result<Call, String> {
        let url = match (&self.target, self.cannot_tell()) {
            (Target::Fixed(url), None) => url,
            (_, why) => return Err(why.unwrap_or("its URL is made of an event").to_owned()),
        };
        let own = match &self.notice {
            Told::Own(body) => body.render(&View::of_notice(notice))?,
            Told::AsJson | Told::Nothing => None,
        };
        let body = own.unwrap_or_else(|| Bytes::from(notice.json().to_string()));
        let is_text = matches!(&self.notice, Told::Own(body) if matches!(**body, Body::Text(_)));
        let usual = if is_text { "text/plain; charset=utf-8" } else { "application/json" };
        // So that it is turned away where it leads back to this relay.
        let via = self.client.hops().via(notice.at_ms, &body);
        let content_type = Some(&HeaderValue::from_static(usual));
        Ok(self.request(url.clone(), body, About { id: &notice.id, received_ms: notice.at_ms, via, content_type }))
    }
}

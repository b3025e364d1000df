//! `needs:`: what must come to something. Without it a receiver may drop what it was sent and answer 200 all the same.

use crate::destination::structure::{Options, Structure};
use crate::destination::template::{Escape, Subject};
use crate::destination::unsent::Unsent;
use crate::destination::view::View;
use crate::event::Json;
use crate::yaml::keys::{Key, Of, by_hand, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const NEEDS: Key<()> = key("needs", by_hand(Of::Own("map of names to templates", || serde_json::json!({ "type": "object" }))))
    .never_empty()
    .seen(Sight::Expressions)
    .about("What an event must have, by names of your own: where one of these comes to nothing (an empty text, null, a map or a list of nothing), no request is made, and the delivery is a dead letter that says which.")
    .example("{ user: \"{{ user.id }}\" }");

/// What must come to something, by name.
#[derive(Default)]
pub(super) struct Needs(Vec<(String, Structure)>);

impl Needs {
    pub fn read(reader: &Reader, node: Option<&Node>) -> Self {
        let entries = node.and_then(|node| reader.map(node, "`needs`"));
        let options = Options {
            escape: Escape::None,
            url_keys: &[],
            keeps_types: true,
            omits_missing: false,
            subject: Subject::Event,
        };
        let read = entries.map(|mut entries| entries.rest()).unwrap_or_default().into_iter();
        Self(
            read.filter_map(|(key, node)| Some((key.text.clone(), Structure::compile(reader, node, options)?)))
                .collect(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells of the first that comes to nothing.
    pub fn check(&self, view: &View) -> Result<(), Unsent> {
        for (name, structure) in &self.0 {
            let json = structure.render(view, &mut |text, _| text.render(view, None))?;
            if is_nothing(&json) {
                return Err(Unsent::failed(format!("`{name}`, which this needs, comes to nothing for this event")));
            }
        }
        Ok(())
    }
}

fn is_nothing(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::String(text) => text.trim().is_empty(),
        Json::Array(items) => items.iter().all(is_nothing),
        Json::Object(members) => members.iter().all(|(_, value)| is_nothing(value)),
        Json::Bool(_) | Json::Number(_) => false,
    }
}

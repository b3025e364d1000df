//! `needs:` and `skip_without:`: what must come to something. Without it a destination may drop what it was sent and answer 200 all the same, or refuse a message
//! that says nothing.

use crate::destination::structure::{Options, Structure};
use crate::destination::template::{Escape, Subject};
use crate::destination::unsent::Unsent;
use crate::destination::view::View;
use crate::event::Json;
use crate::yaml::keys::{Info, Key, Of, by_hand, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const NEEDS: Key<()> = key("needs", by_hand(Of::Own("map of names to templates", || serde_json::json!({ "type": "object" }))))
    .never_empty()
    .seen(Sight::Expressions)
    .about("What an event must have, by names of your own: where one of these comes to nothing (an empty text, null, a map or a list of nothing), no request is made, and the delivery is a dead letter that says which.")
    .example("{ user: \"{{ user.id }}\" }");

pub(super) const SKIP_WITHOUT: Key<()> = key("skip_without", by_hand(Of::Own("map of names to templates", || serde_json::json!({ "type": "object" }))))
    .seen(Sight::Expressions)
    .about("The same of what has nothing to say without it: where one of these comes to nothing, no request is made, and the delivery is skipped, neither delivered nor a dead letter. So is a message that is empty, in the presets for chats.")
    .example("{ text: \"{{ user.email }}\" }");

/// What must come to something, by name.
#[derive(Default)]
pub(super) struct Needs {
    needed: Vec<(String, Structure)>,
    /// Without one of these there is nothing to send, and that is right so.
    said: Vec<(String, Structure)>,
}

impl Needs {
    pub fn read(reader: &Reader, [needed, said]: [Option<&Node>; 2]) -> Self {
        let read = |node, info: &Info| Self::read_one(reader, node, info.name);
        Self { needed: read(needed, &NEEDS.info), said: read(said, &SKIP_WITHOUT.info) }
    }

    fn read_one(reader: &Reader, node: Option<&Node>, name: &str) -> Vec<(String, Structure)> {
        let entries = node.and_then(|node| reader.map(node, &format!("`{name}`")));
        let options = Options {
            escape: Escape::None,
            url_keys: &[],
            keeps_types: true,
            omits_missing: false,
            subject: Subject::Event,
        };
        let read = entries.map(|mut entries| entries.rest()).unwrap_or_default().into_iter();
        read.filter_map(|(key, node)| Some((key.text.clone(), Structure::compile(reader, node, options)?))).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.needed.is_empty() && self.said.is_empty()
    }

    /// Tells of the first that comes to nothing.
    pub fn check(&self, view: &View) -> Result<(), Unsent> {
        let lacks = |structure: &Structure| -> Result<bool, Unsent> {
            Ok(is_nothing(&structure.render(view, &mut |text, _| text.render(view, None))?))
        };
        for (name, structure) in &self.said {
            if lacks(structure)? {
                return Err(Unsent::Skipped(format!(
                    "`{name}` comes to nothing for this event, so there is nothing to send"
                )));
            }
        }
        for (name, structure) in &self.needed {
            if lacks(structure)? {
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

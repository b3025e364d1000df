//! `on` and `shared` of a file destination: where its lines are, if several relays deliver from one queue.
//!
//! Of several relays one delivers to a destination at a time, and now this one, now that one: without a word of where they write, its lines
//! would be on several machines, and nobody would have meant it.

use super::super::Context;
use super::super::path_template::RELAY;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Info, Key, boolean, key, text};
use crate::yaml::raw::Node;
use crate::yaml::sight::Sight;

const ON: Key<String> = key("on", text())
    .seen(Sight::All)
    .about("With `store.postgres`: the name of the one relay that writes it. While that one is away, what is for it waits.")
    .example("web-1")
    .never_empty();
const SHARED: Defaulted<bool> = key("shared", boolean())
    .about("With `store.postgres`: the path is the same for all relays, as on a volume that each has mounted, and whichever delivers writes there. One that stood still and goes on may write some lines twice.")
    .example("true")
    .default(false);

/// Its keys.
pub const KEYS: [Info; 2] = [ON.info, SHARED.info];

/// Reads both, and gives the name of the one relay that writes it, if that is said.
pub fn read(context: &Context<'_>, entries: &mut Entries<'_, '_>, path: Option<&Node>) -> Option<String> {
    let reader = context.reader;
    let on = entries.node(&ON.info).filter(|node| !node.is_null());
    let shared = entries.node(&SHARED.info).filter(|node| !node.is_null());
    let is_shared = shared.is_some_and(|node| reader.boolean(node) == Some(true));
    let name = on.and_then(|node| reader.text(node));
    if let (Some(node), true) = (on, is_shared) {
        let help = "take one of them out".to_owned();
        reader.error_with(node.id, "`on` is one relay, and `shared` is all of them", help);
    }
    if !context.relay.is_one_of_several {
        for node in [on, shared.filter(|_| is_shared)].into_iter().flatten() {
            let help = "take it out, or name the database that several share under store.postgres".to_owned();
            reader.warning(node.id, "this relay is alone: it has a store of its own, and writes the file", help);
        }
        return None;
    }
    if let (Some(node), None, false) = (path, on, is_shared) {
        let text = reader.text(node).unwrap_or_default();
        if !text.contains(RELAY) {
            let help = format!(
                "write {RELAY} into the path for a file of each; `on: NAME` for one relay that writes it; or `shared: true` if all have it mounted"
            );
            let message = "with `store.postgres` any relay may write this, so its lines would lie on several machines";
            reader.error_with(node.id, message, help);
        }
    }
    name.map(str::to_owned)
}

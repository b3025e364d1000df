//! `pick:`, `drop:`, `mask:` and `hash:` of a section → [`Shaping`]: which fields of an event go out, and how.

use serde_json::json;

use super::Unsent;
use crate::event::configured::read_path;
use crate::event::shaping::{Lists, Shaping};
use crate::event::{FieldPath, Unshaped};
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Info, Key, Of, Section, by_hand, key, secret};
use crate::yaml::raw::{Node, NodeId};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// Paths of one list. Each key of a body is compared with all of them, and what needs more is a structure of its own.
const PATHS_MAX: usize = 100;

pub const PICK: Key<()> = key("pick", by_hand(Of::Texts))
    .never_empty()
    .seen(Sight::All)
    .about_made(|| format!("These fields alone, at most {PATHS_MAX}, written as in a match. Nesting and order stay as they came; what holds none of them goes. Of a key that stands twice the last is taken, as in rules."))
    .example("[type, user.id, campaign.name]")
    .otherwise("all of the event");
pub const DROP: Key<()> = key("drop", by_hand(Of::Texts))
    .never_empty()
    .seen(Sight::All)
    .about("Not these fields: after `pick`. They go wherever Vero may have them (`user.email` also at the top), each time that they stand there, and nowhere else: an address is in `campaign.sent_to` as well, and for many a sender in `user.id`. An element of a list that is named by its index becomes null. All else stays letter for letter.")
    .example("[user.email, sender_ip]");
pub const MASK: Key<()> = key("mask", by_hand(Of::Texts))
    .never_empty()
    .seen(Sight::All)
    .about("These fields become `\"***\"`, whatever they are, where `drop` has left them. Null stays.")
    .example("[event.data.phone]");
pub const HASH: Key<()> = key("hash", by_hand(Of::Texts))
    .never_empty()
    .seen(Sight::All)
    .about("These fields become the SHA-256 of their text, trimmed and in small letters, as lower-case hex: what ad platforms want of addresses. Of a list each element does; an object becomes `\"***\"`; null stays. A plain hash of an address can be guessed: see `hash_key`.")
    .example("[user.email]");
pub const HASH_KEY: Key<crate::secret::Secret> = key("hash_key", secret())
    .about("With `hash`: HMAC-SHA-256 by this key in place of the plain hash. Who has not got it cannot try addresses.")
    .example("\"${PEPPER}\"");

/// All of them.
pub const KEYS: [Info; 5] = [PICK.info, DROP.info, MASK.info, HASH.info, HASH_KEY.info];
/// Those that name fields.
pub const LISTS: [&str; 4] = [PICK.info.name, DROP.info.name, MASK.info.name, HASH.info.name];

/// A section that has them too.
pub fn with_keys(section: Section) -> Section {
    let needs = json!({ "dependentRequired": { HASH_KEY.info.name: [HASH.info.name] } });
    section.and(&KEYS).besides_alone(needs)
}

/// What is read of them, and the first list that is there.
pub struct Shaped {
    pub shaping: Shaping,
    pub name: &'static str,
    pub at: NodeId,
}

/// Reads them; `None` where there are none, or something is wrong with them, which has been told.
pub fn read(reader: &Reader, entries: &mut Entries<'_, '_>) -> Option<Shaped> {
    let mut first = None;
    let mut list = |info: &Info| {
        let node = entries.node(info)?;
        first = first.or(Some((info.name, node.id)));
        Some(read_paths(reader, node, info.name))
    };
    let [pick, drop, mask, hash] = [PICK.info, DROP.info, MASK.info, HASH.info].map(|info| list(&info));
    let key_node = entries.node(&HASH_KEY.info);
    let key = key_node.and_then(|node| reader.credential(node));
    if let Some(node) = key_node.filter(|_| hash.is_none()) {
        let help = "write hash: [user.email], or take `hash_key` out".to_owned();
        reader.secret_error_with(node.id, "`hash_key` belongs to `hash`, and there is none", help);
    }
    let (name, at) = first?;
    let [drop, mask, hash] = [drop, mask, hash].map(Option::unwrap_or_default);
    let key = key.as_ref().map(|key| key.expose().as_bytes());
    Some(Shaped { shaping: Shaping::new(&Lists { pick, drop, mask, hash }, key), name, at })
}

/// Reads a list of fields of what an event holds.
pub fn read_paths(reader: &Reader, node: &Node, name: &str) -> Vec<FieldPath> {
    let items = reader.list(node);
    let help = || format!("write {name}: [user.email]");
    if items.is_empty() || items.len() > PATHS_MAX {
        reader.error_with(node.id, format!("`{name}` is 1 to {PATHS_MAX} fields"), help());
        return Vec::new();
    }
    items.into_iter().filter_map(|item| read_own_path(reader, item, name)).collect()
}

fn read_own_path(reader: &Reader, node: &Node, name: &str) -> Option<FieldPath> {
    const EXAMPLE: &str = "user.email";
    let path = read_path(reader, node, EXAMPLE)?;
    if let FieldPath::Relay(_) = path {
        let message = format!("`{name}` is of what the event holds, and `{path}` is the relay's own");
        reader.error_with(node.id, message, format!("write a field like {EXAMPLE}"));
        return None;
    }
    Some(path)
}

impl From<Unshaped> for Unsent {
    fn from(why: Unshaped) -> Self {
        Unsent::failed(why.to_string())
    }
}

//! How somebody proves who they are, as sources and destinations both have it: a user with a password, or a header.

use super::entries::Entries;
use super::keys::{Key, Of, Section, by_hand, key, secret, text};
use super::raw::Node;
use super::reader::Reader;
use super::sight::Sight;
use crate::secret::Secret;

const USERNAME: Key<String> = key("username", text()).about("The user's name.").example("relay").required();
const PASSWORD: Key<Secret> =
    key("password", secret()).about("The password.").example("\"${CRM_PASSWORD}\"").required();

/// The name of a header.
const NAME: Key<String> = key("name", text()).seen(Sight::All).about("The header's name.").required();
const VALUE: Key<()> = key("value", by_hand(Of::Secret)).about("Its value.").example("\"${API_KEY}\"").required();

/// A user name and a password.
pub fn basic_keys() -> Section {
    Section::of(&[USERNAME.info, PASSWORD.info])
}

/// A header by name and value, with a name for an example.
pub fn header_keys(example: &'static str) -> Section {
    Section::of(&[NAME.info.with_example(example), VALUE.info])
}

/// Reads a map of `username` and `password`, as the `username:password` of basic authentication.
pub fn read_basic(reader: &Reader, node: &Node) -> Option<Secret> {
    let mut entries = reader.map(node, "`basic`")?;
    let username = entries.node(&USERNAME.info);
    let password = entries.node(&PASSWORD.info);
    entries.finish();
    let username = reader.text(username?)?;
    let password = reader.credential(password?)?;
    Some(Secret::from(format!("{username}:{}", password.expose())))
}

/// Takes the name and the value of a header.
pub fn take_header<'n>(mut entries: Entries<'_, 'n>) -> Option<[&'n Node; 2]> {
    let name = entries.node(&NAME.info);
    let value = entries.node(&VALUE.info);
    entries.finish();
    Some([name?, value?])
}

//! What strangers could read: secrets in the file.

use crate::destination::client::{Url, is_loopback};
use crate::secret::names_a_secret;
use crate::yaml::keys::{Info, Of};
use crate::yaml::raw::{Node, NodeId, Scalar, Style};
use crate::yaml::reader::Reader;

/// Tells of secrets that stand in the file as they are. Files are copied, mailed and committed.
pub(in crate::config) fn advise_of_plain_secrets(reader: &Reader, secrets: impl IntoIterator<Item = NodeId>) {
    for at in secrets {
        reader.secret_warning(
            at,
            "this secret stands in the file as it is",
            "keep it in an environment variable (\"${NAME}\"), a file (\"${file:PATH}\") or a systemd credential (\"${credential:NAME}\")"
                .to_owned(),
        );
    }
}

/// Notes the secrets below a key of defaults that no destination reads. `is_secret`: its text is one, whatever it is.
pub(in crate::config) fn note_secrets(reader: &Reader, key: &Info, is_secret: bool, node: &Node) {
    let is_of_this_machine = |text: &str| Url::parse(text).is_ok_and(|url| is_loopback(&url));
    let note_texts = |node: &Node| {
        let is_given = |scalar: &Scalar| scalar.style != Style::Null && !is_of_this_machine(&scalar.text);
        let texts = reader.list(node).into_iter().filter(|node| node.scalar().is_some_and(is_given));
        texts.for_each(|text| reader.note_secret(text));
    };
    match key.of {
        _ if is_secret => note_texts(node),
        Of::Secret | Of::Secrets => note_texts(node),
        Of::SecretsByName => {
            let secrets = node.entries().iter().filter(|(name, _)| names_a_secret(&name.text));
            secrets.for_each(|(_, value)| note_texts(value));
        }
        Of::Map(keys) => {
            let below = keys().keys.into_iter().filter_map(|key| Some((key, node.get(key.name)?)));
            below.for_each(|(key, node)| note_secrets(reader, &key, false, node));
        }
        _ => {}
    }
}

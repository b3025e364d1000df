//! `query:`: what is added to a URL that may have a query already.

use crate::destination::client::Url;
use crate::destination::template::is_template;
use crate::secret::names_a_secret;
use crate::yaml::keys::{Key, Of, by_hand, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;

pub(super) const QUERY: Key<()> = key("query", by_hand(Of::SecretsByName))
    .about("Added to the URL's query, which it may have already; each value is encoded. The same for every event: templates stand in `url`.")
    .example("{ wait: \"true\" }");

/// Names and values, as they are written.
pub(super) fn read(reader: &Reader, node: Option<&Node>) -> Vec<(String, String)> {
    let mut entries = node.and_then(|node| reader.map(node, "`query`"));
    let mut pairs = Vec::new();
    for (key, value) in entries.as_mut().map(|entries| entries.rest()).unwrap_or_default() {
        if names_a_secret(&key.text) {
            reader.note_secret(value);
        }
        let Some(secret) = reader.secret(value) else { continue };
        if is_template(secret.expose()) {
            let help = "write it into the query of `url`".to_owned();
            reader.secret_error_with(value.id, "what is added to the query is the same for every event", help);
            continue;
        }
        pairs.push((key.text.clone(), secret.expose().to_owned()));
    }
    pairs
}

/// Encoded, one behind the other.
pub(super) fn encoded(pairs: &[(String, String)]) -> String {
    let mut url = Url::parse("http://localhost").expect("it is a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

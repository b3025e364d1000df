//! Where a config says that its relay is looked into, and by which token, without proving the rest.
//!
//! Whoever looks into a running relay may have none of its variables, and the file may be half edited.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use super::listen::{address, read_address};
use super::root::admin_node;
use super::unknown::Known;
use super::{ConfigError, admin, directory_of, read_text};
use crate::secret::Secret;
use crate::yaml::load;
use crate::yaml::raw::{Node, Value};
use crate::yaml::reader::Reader;
use crate::yaml::values::Surroundings;

/// `admin.listen` in a text that is no YAML just now: in one line, or in the lines below `admin:`.
static IN_TEXT: LazyLock<regex::Regex> = LazyLock::new(|| {
    let pattern = r#"(?m)^admin:[ \t]*(?:\{[^}\n]*?|\r?\n(?:[ \t]+[^\n]*\n)*?[ \t]+)\blisten:[ \t]*["']?([^"'\s,}#]+)"#;
    regex::Regex::new(pattern).expect("a pattern that was tested")
});

/// How a verb gets into the relay of a config.
#[derive(Clone, Debug)]
pub struct WayIn {
    /// Where the admin listener is. `None`: the file does not say it in a way that can be read.
    pub listen: Option<SocketAddr>,
    /// The token that is taken first. `None`: there is none, or it cannot be read.
    pub token: Option<Secret>,
    /// Whether the listener encrypts.
    pub has_tls: bool,
}

/// Reads just that, whatever the rest of the file is.
pub fn way_in(path: &Path, surroundings: &dyn Surroundings) -> Result<WayIn, ConfigError> {
    let text = read_text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let Ok(root) = load::parse(text) else {
        let found = IN_TEXT.captures(text).and_then(|found| found.get(1));
        let listen = found.and_then(|found| address(found.as_str()).ok());
        return Ok(WayIn { listen, token: None, has_tls: false });
    };
    let [listen, token, tls] = admin_node(&root).map_or([None; 3], admin::way_in);
    // Only these values are resolved.
    let value = |node: &Node| {
        let mut node = node.clone();
        let reader = Reader::new(directory_of(path), &Known);
        reader.interpolate(&mut node, surroundings);
        (reader.errors() == 0).then_some((reader, node))
    };
    let listen = match listen {
        None => admin::default_listen(),
        Some(node) => value(node).and_then(|(reader, node)| read_address(&reader, &node)),
    };
    let token = token.and_then(|node| {
        let first = if let Value::List(items) = &node.value { items.first()? } else { node };
        value(first).and_then(|(reader, node)| reader.secret(&node))
    });
    Ok(WayIn { listen, token, has_tls: tls.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::values::Process;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, text).expect("written");
        let found = way_in(&path, &Process).expect("readable").listen;
        assert_eq!(found.map(|found| found.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn the_address_is_found_whatever_the_rest_of_the_file_is() {
        check("rules: []\n", Some("127.0.0.1:8081"));
        check(
            "admin: { listen: \"127.0.0.1:9\" }\nsources: { v: { token: \"${NOT_SET_ANYWHERE}\" } }\n",
            Some("127.0.0.1:9"),
        );
        check("admin:\n  listen: localhost:9\nrules: nonsense\nwhatever: 1\n", Some("127.0.0.1:9"));
        check("admin:\n  listen: \"${NOT_SET_ANYWHERE:-127.0.0.1:9}\"\n", Some("127.0.0.1:9"));
        check("admin:\n  listen: \"${NOT_SET_ANYWHERE}\"\n", None);
        check("admin:\n  # here\n  listen: 127.0.0.1:9\nrules: [\n  to: a, b: {\n", Some("127.0.0.1:9"));
        check("admin: { listen: \"127.0.0.1:9\" }\nrules: [\n", Some("127.0.0.1:9"));
        check("listen: 127.0.0.1:9\nrules: [\n", None);
    }

    #[test]
    fn the_first_token_is_found_whatever_the_rest_of_the_file_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        for (admin, token, has_tls) in [
            ("{}", None, false),
            ("{ token: the-token-itself }", Some("the-token-itself"), false),
            ("{ token: [the-new-one, \"${NOT_SET_ANYWHERE}\"] }", Some("the-new-one"), false),
            ("{ token: [] }", None, false),
            ("{ token: \"${NOT_SET_ANYWHERE}\", tls: {} }", None, true),
        ] {
            std::fs::write(&path, format!("admin: {admin}\nwhatever: 1\n")).expect("written");
            let found = way_in(&path, &Process).expect("readable");
            assert_eq!(found.token.as_ref().map(Secret::expose), token, "{admin}");
            assert_eq!((found.listen.is_some(), found.has_tls), (true, has_tls), "{admin}");
        }
    }
}

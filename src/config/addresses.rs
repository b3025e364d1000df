//! Where a config says that its relay is looked into, without proving the rest.
//!
//! Whoever looks into a running relay may have none of its variables, and the file may be half edited.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use super::root::{address, default_admin, listeners, read_address};
use super::unknown::Known;
use super::{ConfigError, directory_of, read_text};
use crate::yaml::load;
use crate::yaml::reader::Reader;
use crate::yaml::values::Surroundings;

/// `admin.listen` in a text that is no YAML just now: in one line, or in the lines below `admin:`.
static IN_TEXT: LazyLock<regex::Regex> = LazyLock::new(|| {
    let pattern = r#"(?m)^admin:[ \t]*(?:\{[^}\n]*?|\r?\n(?:[ \t]+[^\n]*\n)*?[ \t]+)\blisten:[ \t]*["']?([^"'\s,}#]+)"#;
    regex::Regex::new(pattern).expect("a pattern that was tested")
});

/// The address of the admin listener. `None` where the file does not say it in a way that can be read.
pub fn admin_address(path: &Path, surroundings: &dyn Surroundings) -> Result<Option<SocketAddr>, ConfigError> {
    let text = read_text(path)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let Ok(root) = load::parse(text) else {
        let found = IN_TEXT.captures(text).and_then(|found| found.get(1));
        return Ok(found.and_then(|found| address(found.as_str()).ok()));
    };
    let Some(mut listen) = listeners(&root)[1].cloned() else { return Ok(default_admin()) };
    // Only this one value is resolved.
    let reader = Reader::new(directory_of(path), &Known);
    reader.interpolate(&mut listen, surroundings);
    let read = read_address(&reader, &listen);
    Ok(if reader.errors() == 0 { read } else { None })
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
        let found = admin_address(&path, &Process).expect("readable");
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
}

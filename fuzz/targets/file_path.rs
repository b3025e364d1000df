//! The path template of file destinations: three parts behind line breaks, the template, the source, and the body.

use std::ffi::OsStr;
use std::path::{Component, Path};

use vero_relay::destination::Delivery;
use vero_relay::destination::path_template::{PathTemplate, VALUE_BYTES_MAX};
use vero_relay::destination::sample::sample;

/// A `{` in a directory's name means itself.
const BASE: &str = "/var/lib/{type}/vero";

/// Returns whether the template was accepted.
pub fn file_path(data: &[u8]) -> bool {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (template, source, body) = (String::from_utf8_lossy(next()), String::from_utf8_lossy(next()), next());
    let Ok(parsed) = PathTemplate::parse(&template, Path::new(BASE), "relay") else { return false };
    let received_ms = body.iter().fold(0, |ms: u64, byte| ms.wrapping_mul(257).wrapping_add(u64::from(*byte)));
    let delivery = delivery(&source, body, received_ms);
    for timezone in [jiff::tz::TimeZone::UTC, jiff::tz::TimeZone::fixed(jiff::tz::Offset::MAX)] {
        check(&template, &parsed.path(&delivery, &timezone));
    }
    true
}

fn check(template: &str, path: &Path) {
    let is_whole = template.starts_with('/');
    assert!(path.is_absolute());
    assert!(!path.as_os_str().as_encoded_bytes().contains(&0), "no NUL");
    assert!(is_whole || path.starts_with(BASE), "{path:?} has left its base");
    assert!(path.components().all(|part| part != Component::ParentDir), "{path:?} climbs");
    // What stands in the template before its first place is a directory that no event can change.
    let fixed = template.split('{').next().unwrap_or_default();
    let fixed = fixed.rsplit_once('/').map_or("", |(directory, _)| directory);
    let fixed = Path::new(if is_whole { "/" } else { BASE }).join(fixed.trim_start_matches('/'));
    assert!(path.starts_with(&fixed), "{path:?} is not below {fixed:?}");
    // No event makes a path deeper, or a name longer than its places allow.
    let (written, made) = (names(Path::new(template)), names(path));
    let base = if is_whole { 0 } else { names(Path::new(BASE)).len() };
    assert_eq!(made.len(), base + written.len(), "{path:?}");
    for (written, made) in written.iter().zip(&made[base..]) {
        let places = written.as_encoded_bytes().iter().filter(|byte| **byte == b'{').count();
        assert!(made.len() <= written.len() + places * (VALUE_BYTES_MAX + 1), "{made:?} is too long");
    }
}

/// The names a path is made of, without `.` and the root.
fn names(path: &Path) -> Vec<&OsStr> {
    let name = |part| if let Component::Normal(name) = part { Some(name) } else { None };
    path.components().filter_map(name).collect()
}

fn delivery(source: &str, body: &[u8], received_ms: u64) -> Delivery {
    Delivery { source: source.into(), ..sample(body.to_vec(), received_ms) }
}

//! The relay's own files in `data_dir`, which no destination may write to.
//!
//! A path is looked at as it is written, and where it leads: through symlinks of directories, in other letters where the file system
//! does not tell them apart, and by hard links.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Directories of `data_dir` that are the relay's, and files that are.
const DIRECTORIES: [&str; 1] = ["journal"];
const FILES: [&str; 2] = ["lock", "state.db"];
/// What SQLite puts behind the name of a database, and the index behind that of one that is in quarantine.
const ENDINGS: [&str; 4] = ["", "-wal", "-shm", "-journal"];
const ASIDE: [&str; 2] = ["", ".damaged"];

/// All names directly in `data_dir` that are the relay's own.
fn names() -> impl Iterator<Item = String> {
    let ended = |name: &'static str| {
        ENDINGS.into_iter().flat_map(move |ending| ASIDE.map(|aside| format!("{name}{ending}{aside}")))
    };
    DIRECTORIES.into_iter().chain(FILES).flat_map(ended)
}

/// Whether a path, its places still open, is one of the relay's own whatever an event says; or may be one by what an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hits {
    /// It is always one.
    Always,
    /// A sender who chooses the event's type makes it one.
    ByType,
}

/// How a path with its places in it hits the relay's own files.
pub fn hits(pattern: &Path, data_dir: &Path) -> Option<Hits> {
    let real = resolved(data_dir);
    let below = below(pattern, data_dir).or_else(|| below(&resolved(pattern), &real))?;
    let first = below.components().next().map(|part| part.as_os_str().to_string_lossy().to_lowercase())?;
    if names().any(|name| name == first) {
        return Some(Hits::Always);
    }
    if !first.contains("{type}") {
        return None;
    }
    // A directory named by a type stands in the way of the files of that name.
    let type_place = regex::escape("{type}");
    let filled = regex::escape(&first).replace(&type_place, "[a-z0-9_.-]+");
    let may_be = regex::Regex::new(&format!("^{filled}$")).is_ok_and(|regex| names().any(|name| regex.is_match(&name)));
    may_be.then_some(Hits::ByType)
}

/// Whether a whole path is one of the relay's own files, or leads to one.
pub fn is_own(path: &Path, data_dir: &Path) -> bool {
    let is_named = |path: &Path, data_dir: &Path| {
        let below = below(path, data_dir);
        let first = below.as_deref().and_then(|below| below.components().next());
        first.is_some_and(|part| is_own_name(&part.as_os_str().to_string_lossy()))
    };
    is_named(path, data_dir) || is_named(&resolved(path), &resolved(data_dir))
}

fn is_own_name(name: &str) -> bool {
    names().any(|own| own.eq_ignore_ascii_case(name))
}

/// Whether an open file is one of the relay's own by another name.
pub fn is_linked(metadata: &Metadata, data_dir: &Path) -> bool {
    if metadata.nlink() < 2 {
        return false;
    }
    let is_same = |path: &Path| {
        std::fs::symlink_metadata(path).is_ok_and(|own| (own.dev(), own.ino()) == (metadata.dev(), metadata.ino()))
    };
    let in_directory = |name: &str| {
        let entries = std::fs::read_dir(data_dir.join(name)).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| is_same(&entry.path()))
    };
    names().any(|name| is_same(&data_dir.join(name))) || DIRECTORIES.into_iter().any(in_directory)
}

/// What of a path lies below a directory. Neither has a `..` in it.
fn below(path: &Path, directory: &Path) -> Option<PathBuf> {
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let path = plain(path);
    let directory = plain(directory);
    path.strip_prefix(&directory).ok().filter(|below| below.components().next().is_some()).map(Path::to_owned)
}

/// A path with the symlinks in it followed, as far as it exists; a symlink at its end is followed too.
fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    for above in path.ancestors() {
        if let Ok(real) = above.canonicalize() {
            return rest.iter().rev().fold(real, |path: PathBuf, part| path.join(part));
        }
        rest.extend(above.file_name().map(ToOwned::to_owned));
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_can_hit_is_seen_before_any_event() {
        let data_dir = Path::new("/nowhere/data");
        let check = |path: &str, expected: Option<Hits>| {
            assert_eq!(hits(&data_dir.join(path), data_dir), expected, "{path}");
        };
        for path in [
            "state.db",
            "lock",
            "journal",
            "journal/{type}",
            "journal/x/y",
            "state.db-wal",
            "./State.DB",
            "/nowhere/data/lock",
        ] {
            check(path, Some(Hits::Always));
        }
        for path in ["{type}", "{type}/{date}.ndjson", "state.{type}", "{type}.db", "l{type}k"] {
            check(path, Some(Hits::ByType));
        }
        for path in [
            "{type}.ndjson",
            "archive/{type}",
            "archive/journal",
            "journals",
            "state.db.ndjson",
            "{source}/{type}",
            "{date}",
            "/elsewhere/lock",
            "x-{type}",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn a_path_is_own_by_its_name_its_place_and_its_links() {
        let directory = tempfile::tempdir().expect("a directory");
        let data_dir = directory.path().join("data");
        std::fs::create_dir_all(data_dir.join("journal")).expect("made");
        std::fs::write(data_dir.join("state.db"), "x").expect("written");
        std::fs::write(data_dir.join("journal/1.journal"), "x").expect("written");
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, data_dir.join(name)).expect("linked");
        link(&data_dir.join("journal"), "by_link");
        link(&data_dir, "self");
        for own in [
            "state.db",
            "STATE.DB-wal",
            "lock",
            "journal/a",
            "by_link/a",
            "self/lock",
            "self/self/by_link/a",
            "./journal/./a",
        ] {
            assert!(is_own(&data_dir.join(own), &data_dir), "{own}");
        }
        for other in ["archive/state.db", "bounced", "state.db.ndjson", "self/x", "journal.ndjson"] {
            assert!(!is_own(&data_dir.join(other), &data_dir), "{other}");
        }
        for (own, name) in [("state.db", "hard1"), ("journal/1.journal", "hard2")] {
            std::fs::hard_link(data_dir.join(own), data_dir.join(name)).expect("linked");
            let metadata = std::fs::metadata(data_dir.join(name)).expect("there");
            assert!(is_linked(&metadata, &data_dir), "{name}");
        }
        std::fs::write(data_dir.join("a"), "x").expect("written");
        std::fs::hard_link(data_dir.join("a"), data_dir.join("b")).expect("linked");
        assert!(!is_linked(&std::fs::metadata(data_dir.join("b")).expect("there"), &data_dir));
    }
}

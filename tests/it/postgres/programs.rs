//! Where PostgreSQL's programs are, and as whom they run.

use std::path::{Path, PathBuf};

/// The oldest version that the relay works with.
const VERSION_MIN: u32 = 15;
/// Where Debian puts each version.
const OF_DEBIAN: &str = "/usr/lib/postgresql";
/// Who runs them where the tests run as root: PostgreSQL refuses that.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// What to do where there is none.
const MISSING: &str = "these tests need a real PostgreSQL, version 15 or later: `make test` installs it, or do it yourself: \
                       apt-get install postgresql";

/// The directory with the programs: that of the first `initdb` in the path, else Debian's newest.
pub fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    find_in(std::env::split_paths(&path), Path::new(OF_DEBIAN))
}

fn find_in(path: impl Iterator<Item = PathBuf>, of_debian: &Path) -> Result<PathBuf, String> {
    let is_whole = |directory: &PathBuf| ["initdb", "postgres"].iter().all(|name| directory.join(name).is_file());
    let versions = std::fs::read_dir(of_debian).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(version, directory)| *version >= VERSION_MIN && is_whole(directory))
        .collect();
    versions.sort();
    let mut found = path.filter(is_whole).chain(versions.into_iter().rev().map(|(_, directory)| directory));
    found.next().ok_or_else(|| MISSING.to_owned())
}

/// The user and the group as which they run. `None`: as whoever runs the tests.
pub fn account() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let known = std::fs::read_to_string("/etc/passwd").expect("the users of this machine");
    let ids = |name: &str| {
        let line = known.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map_while(|id| id.parse().ok());
        Some((ids.next()?, ids.next()?))
    };
    Some(ACCOUNTS.iter().find_map(|name| ids(name)).expect("a user `nobody`"))
}

#[test]
fn the_path_counts_first_and_then_the_newest_and_no_old_one_ever() {
    let root = tempfile::tempdir().expect("a directory");
    let make = |name: &str| {
        let directory = root.path().join(name);
        std::fs::create_dir_all(&directory).expect("made");
        ["initdb", "postgres"].iter().for_each(|name| std::fs::write(directory.join(name), "").expect("written"));
        directory
    };
    let find = |path: &[PathBuf]| find_in(path.iter().cloned(), &root.path().join("debian"));
    assert_eq!(find(&[]), Err(MISSING.to_owned()));
    make("debian/9/bin");
    make("debian/14/bin");
    make("debian/word/bin");
    assert_eq!(find(&[root.path().join("none")]), Err(MISSING.to_owned()));
    make("debian/15/bin");
    let newest = make("debian/100/bin");
    std::fs::create_dir_all(root.path().join("debian/101/bin")).expect("made");
    assert_eq!(find(&[]), Ok(newest));
    let first = make("first");
    assert_eq!(find(&[root.path().join("none"), first.clone(), make("second")]), Ok(first));
}

//! Directories that are there after a power cut, and files that are their owner's alone.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes a directory and those above it, 0700 each, and makes their names durable. One that is there is left as it is.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    make_with(directory, 0o700)
}

/// The same with another mode.
pub(crate) fn make_with(directory: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> =
        directory.ancestors().take_while(|at| !at.as_os_str().is_empty() && !at.is_dir()).collect();
    missing.into_iter().rev().try_for_each(|directory| make_one(directory, mode))
}

/// Makes a directory in one that is there.
fn make_one(directory: &Path, mode: u32) -> io::Result<()> {
    let above = directory.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match DirBuilder::new().mode(mode).create(directory) {
        Ok(()) => {
            let made = std::fs::metadata(directory)?.permissions().mode();
            // The process's mask took something away. What the directory above gave (its group) stays.
            if made & 0o777 != mode {
                std::fs::set_permissions(directory, Permissions::from_mode((made & 0o7000) | mode))?;
            }
            sync(above)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What a name stands for: it may be another thing under the same name later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// What a path leads to, through symlinks.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|metadata| Self::of(&metadata))
    }
}

/// Takes the rights of everybody but the owner away, where there are any. A file that is not there is left so; what cannot be changed
/// is told, since somebody else may read it.
pub(crate) fn narrow(path: &Path) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() || mode & 0o077 == 0 {
        return;
    }
    if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700)) {
        tracing::warn!(path = %path.display(), %error, "other users may read this, and it could not be changed: chmod it to {:o}", mode & 0o700);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_directories_a_path_names_it_is_gone_through_without_calling_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("a/".repeat(200));
        make(&deep).expect("made");
        assert!(deep.is_dir());
        std::fs::write(directory.path().join("file"), "").expect("written");
        let beyond_a_file = directory.path().join("file").join("a/".repeat(100_000));
        assert!(make(&beyond_a_file).is_err());
    }

    #[test]
    fn only_the_owner_keeps_rights() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        narrow(&path);
        File::create(&path).expect("made");
        for (before, expected) in [(0o666, 0o600), (0o644, 0o600), (0o600, 0o600), (0o755, 0o700), (0o400, 0o400)] {
            std::fs::set_permissions(&path, Permissions::from_mode(before)).expect("set");
            narrow(&path);
            let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, expected, "{before:o}");
        }
    }
}

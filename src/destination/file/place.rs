//! What a path leads to: a file that lines are added to and synced, or a stream that takes lines and cannot be synced.

use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A regular file, or nothing yet.
    File,
    /// A pipe or a device that takes characters: what is written is gone, and there is nothing to sync.
    Stream(&'static str),
    /// Something that takes no lines, in words.
    Other(&'static str),
}

/// What stands at a path now.
pub fn look(path: &Path) -> Place {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => at_symlink(path),
        Ok(metadata) => of(&metadata),
        // Nothing there, or nothing that can be seen: opening it tells more.
        Err(_) => Place::File,
    }
}

/// Only streams are opened through a symlink: `/dev/stdout` is one.
fn at_symlink(path: &Path) -> Place {
    match std::fs::metadata(path) {
        Ok(metadata) if is_standard(path) && metadata.is_file() => Place::Stream("a standard stream"),
        Ok(metadata) => match of(&metadata) {
            Place::File => Place::Other("a symlink to a file: name the file itself"),
            other => other,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Place::Other("a symlink that leads nowhere"),
        Err(_) => Place::Other("a symlink that cannot be followed"),
    }
}

/// Whether a path is one of the process's own streams, wherever they lead.
fn is_standard(path: &Path) -> bool {
    ["/dev/stdout", "/dev/stderr"].iter().any(|known| path == Path::new(known))
        || ["/dev/fd", "/proc/self/fd"].iter().any(|above| path.parent() == Some(Path::new(above)))
}

/// What an opened or looked-up thing is.
pub fn of(metadata: &Metadata) -> Place {
    let is = |kind: FileType| match kind {
        kind if kind.is_file() => Place::File,
        kind if kind.is_fifo() => Place::Stream("a named pipe"),
        kind if kind.is_char_device() => Place::Stream("a device"),
        kind if kind.is_dir() => Place::Other("a directory"),
        kind if kind.is_socket() => Place::Other("a socket"),
        kind if kind.is_block_device() => Place::Other("a block device"),
        _ => Place::Other("no file"),
    };
    is(metadata.file_type())
}

//! Reading a file that somebody named: a config, what stands behind `${file:…}`, the event of a test.
//!
//! Nothing else than a regular file is read, as far as its limit. A pipe may never end, opening one may wait for ever, and the files of
//! /proc and /sys say that they are regular and are not. What counts is what was opened: between a look at a name and opening it, its
//! owner may put something else there.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// File systems whose files are questions to the kernel: proc, sysfs, debugfs, tracefs, securityfs, cgroup and cgroup2. The numbers stand
/// in Linux's `include/uapi/linux/magic.h`.
const NOT_FILES: [u32; 7] = [0x9fa0, 0x6265_6572, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0x0027_e0eb, 0x6367_7270];

/// Opens a regular file.
pub fn open(path: &Path) -> Result<File> {
    // What opening alone would do something to, a tape or a watchdog, is left alone. The look that counts comes after.
    refuse_special(&std::fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    refuse_special(&file.metadata()?)?;
    let system = rustix::fs::fstatfs(&file)?.f_type;
    if NOT_FILES.iter().any(|magic| i128::from(*magic) == i128::from(system)) {
        return Err(Error::other("it is not a regular file, but one that the kernel makes up"));
    }
    Ok(file)
}

fn refuse_special(metadata: &std::fs::Metadata) -> Result<()> {
    match metadata.is_file() {
        true => Ok(()),
        false => Err(Error::other("it is not a regular file")),
    }
}

/// Reads a regular file as far as `bytes_max` and one byte more, which shows that there is more.
pub fn read_beyond(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file that has at most so many bytes.
pub fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let bytes = read_beyond(path, bytes_max)?;
    if bytes.len() > bytes_max {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_its_limit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        for (bytes, is_taken) in [(0, true), (100, true), (101, false), (10_000, false)] {
            std::fs::write(&path, "x".repeat(bytes)).expect("written");
            assert_eq!(read(&path, 100).map(|read| read.len()).ok(), is_taken.then_some(bytes), "{bytes}");
            assert_eq!(read_beyond(&path, 100).map(|read| read.len()).ok(), Some(bytes.min(101)), "{bytes}");
        }
    }

    #[test]
    fn links_are_followed_as_kubernetes_makes_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("..2026")).expect("made");
        std::fs::write(at("..2026/config.yaml"), "a: 1").expect("written");
        std::os::unix::fs::symlink("..2026", at("..data")).expect("linked");
        std::os::unix::fs::symlink("..data/config.yaml", at("config.yaml")).expect("linked");
        assert_eq!(read(&at("config.yaml"), 100).ok().as_deref(), Some(&b"a: 1"[..]));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("made");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).expect("linked");
        let kernel = ["/dev/zero", "/dev/null", "/", "/proc/self/environ", "/proc/version", "/sys/kernel/mm/hugepages"];
        let paths = [pipe.as_path(), &link].into_iter().chain(kernel.map(Path::new));
        for path in paths {
            assert!(read(path, 1 << 20).is_err(), "{}", path.display());
        }
    }
}

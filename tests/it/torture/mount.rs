//! File systems of their own, for faults that need one: made in the fault's directory, gone again however it ends. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system, unmounted when dropped.
pub struct Mounted {
    pub point: PathBuf,
}

fn call(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

impl Mounted {
    /// A file system in memory, of so many MiB.
    pub fn memory(point: &Path, mib: u64) -> Self {
        std::fs::create_dir_all(point).expect("a mount point");
        call("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", text(point)]);
        Self { point: point.to_owned() }
    }

    /// Mounts a file with an ext4 in it; its journal is replayed, as after a power cut.
    pub fn image(point: &Path, image: &Path) -> Self {
        std::fs::create_dir_all(point).expect("a mount point");
        call("mount", &["-o", "loop", text(image), text(point)]);
        Self { point: point.to_owned() }
    }

    /// Makes a file of so many MiB with an empty ext4 in it.
    pub fn make_image(image: &Path, mib: u64) {
        std::fs::File::create(image).and_then(|file| file.set_len(mib << 20)).expect("the image is made");
        call("mkfs.ext4", &["-q", "-F", text(image)]);
    }

    /// Cuts the power: from now on nothing reaches the image, and what was not synced is lost, the file system's own journal as well.
    pub fn cut(&self) {
        // EXT4_IOC_SHUTDOWN (_IOR('X', 125, __u32), linux/fs/ext4/ext4.h) with EXT4_GOING_FLAGS_NOLOGFLUSH.
        let script = r#"my $f = pack("L", 2); sysopen(my $h, $ARGV[0], 0) or die "$!";
            defined(ioctl($h, 0x8004587D, $f)) or die "ioctl: $!""#;
        call("perl", &["-e", script, text(&self.point)]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let umount = |options: &[&str]| {
            let output = Command::new("umount").args(options).arg(&self.point).output();
            output.is_ok_and(|output| output.status.success())
        };
        // What is still in use goes when its last user does.
        if !umount(&[]) && !umount(&["-l"]) {
            eprintln!("{} could not be unmounted", self.point.display());
        }
    }
}

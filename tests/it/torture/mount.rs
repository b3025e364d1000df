//! File systems of their own, for faults that need one: made in the fault's directory, gone again however it ends. Needs root.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

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

    /// Takes it away from whoever uses it: names lead to the empty mount point from now on.
    pub fn detach(&self) {
        call("umount", &["-l", text(&self.point)]);
    }

    /// Makes ready to cut the power.
    pub fn scissors(&self) -> Scissors {
        // EXT4_IOC_SHUTDOWN (_IOR('X', 125, __u32), linux/fs/ext4/ext4.h) with EXT4_GOING_FLAGS_NOLOGFLUSH.
        let script = r#"$| = 1; my $flags = pack("L", 2); sysopen(my $at, $ARGV[0], 0) or die "$!"; print "ready\n"; <STDIN>;
            defined(ioctl($at, 0x8004587D, $flags)) or die "ioctl: $!"; print "cut\n""#;
        let mut command = Command::new("perl");
        command.args(["-e", script, text(&self.point)]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("perl runs");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let mut scissors = Scissors { child, said };
        scissors.wait_for("ready\n");
        scissors
    }
}

/// What cuts a file system off from its disk, with everything done that can be done beforehand.
pub struct Scissors {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Scissors {
    /// Cuts the power: from now on nothing reaches the disk, and what was not synced is lost, the file system's own journal as well.
    /// Returns the moment in which it happened.
    pub fn cut(mut self) -> Range<Instant> {
        let start = Instant::now();
        self.child.stdin.take().expect("piped").write_all(b"\n").expect("perl is there");
        self.wait_for("cut\n");
        let end = Instant::now();
        self.child.wait().expect("it is our child");
        start..end
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("perl says something");
        assert_eq!(line, word, "the power can be cut");
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

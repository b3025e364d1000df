//! All that one run of the tests has of PostgreSQL: one directory. Every process works in it or below it, and so a shell finds what is
//! left over by that, ends it, and removes the directory. It waits for the end of its standard input, which is the end of the process of
//! the tests: also where that was killed, or left in a hurry. (A server's own file with its number may name a stranger by then.)

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::programs;

/// What ends all that works below a directory, and then removes that. For five seconds it asks, since a server that is killed leaves
/// shared memory behind; one that stands still is let go on, so that it hears.
const WATCH: &str = r#"
read -r _
living() {
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/cwd" 2>/dev/null)" in "$1" | "$1"/*) echo "${process#/proc/}" ;; esac
    done
}
tries=0
while left=$(living "$1") && [ -n "$left" ]; do
    tries=$((tries + 1))
    if [ "$tries" -lt 50 ]; then kill -QUIT $left; kill -CONT $left; else kill -KILL $left; fi
    sleep 0.1
done
rm -rf "$1"
"#;

/// The longest path of a socket, in bytes, that Linux takes (unix(7)), and what a server puts behind its directory.
const SOCKET_MAX: usize = 107;
const SOCKET_NAME: &str = "/999/.s.PGSQL.5432";

pub struct Run {
    pub directory: PathBuf,
    pub account: Option<(u32, u32)>,
    programs: PathBuf,
    next: AtomicU32,
    /// Holds the standard input.
    _watch: Child,
}

/// This run's, which begins here. What keeps it from beginning fails each test that needs it.
pub fn run() -> &'static Run {
    static RUN: OnceLock<Result<Run, String>> = OnceLock::new();
    RUN.get_or_init(Run::begin).as_ref().unwrap_or_else(|missing| panic!("{missing}"))
}

impl Run {
    fn begin() -> Result<Self, String> {
        let programs = programs::find()?;
        let account = programs::account();
        // Not below `target`: that is long, and may lie where nobody but root may look.
        let mut parent = std::env::temp_dir();
        if parent.as_os_str().len() > SOCKET_MAX - "/vero-pg-123456".len() - SOCKET_NAME.len() {
            parent = PathBuf::from("/tmp");
        }
        let directory = tempfile::Builder::new().prefix("vero-pg-").tempdir_in(parent).expect("a directory").keep();
        let directory = directory.canonicalize().expect("it is there");
        let mut watch = Command::new("sh");
        watch.args(["-c", WATCH, "watch"]).arg(&directory).current_dir("/").process_group(0);
        let watch = watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell");
        if let Some((user, group)) = account {
            std::os::unix::fs::chown(&directory, Some(user), Some(group)).expect("given to whom PostgreSQL runs as");
        }
        let run = Self { directory, account, programs, next: AtomicU32::new(1), _watch: watch };
        run.try_done(
            "initdb",
            &["--no-sync", "--locale=C", "--encoding=UTF8", "-A", "trust", "-U", "postgres", "-D", "template"],
        )?;
        Ok(run)
    }

    /// A program of PostgreSQL, or another one, as whom PostgreSQL runs.
    pub fn command(&self, program: &str) -> Command {
        let of_postgres = self.programs.join(program);
        let mut command = Command::new(if of_postgres.is_file() { of_postgres } else { program.into() });
        command.current_dir(&self.directory).env("LC_ALL", "C").stdin(Stdio::null());
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs one until it has succeeded.
    pub fn done(&self, program: &str, arguments: &[&str]) {
        self.try_done(program, arguments).unwrap_or_else(|said| panic!("{said}"));
    }

    fn try_done(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let output = self.command(program).args(arguments).output().expect("it can be started");
        let said = [output.stdout, output.stderr].concat();
        let told = || format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
        if output.status.success() { Ok(()) } else { Err(told()) }
    }

    /// A directory for a server, which is not made yet.
    pub fn next_directory(&self) -> PathBuf {
        self.directory.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A cluster that nobody has used.
    pub fn copy_template(&self, to: &Path) {
        self.done("cp", &["-a", "template", to.to_str().expect("a plain path")]);
    }
}

/// The processes that work in a directory.
pub fn living_in(directory: &Path) -> Vec<i32> {
    living(|works_in| works_in == directory)
}

/// Those that work in it or below it.
pub fn living_below(directory: &Path) -> Vec<i32> {
    living(|works_in| works_in.starts_with(directory))
}

fn living(is_meant: impl Fn(&Path) -> bool) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|id| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|at| is_meant(&at))).collect()
}

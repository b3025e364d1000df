//! The config file as it lies on the disk, which need not be the config in force: what `check` and a reload would say of it, and of the files
//! that it names. Nothing is done.
//!
//! It is looked at by the one owner of what is in force (`daemon/reload.rs`), one look after the other, since reading may hang.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Generation;
use crate::config::{Config, ConfigError, FileDigest, TestEvent, digest_of, read_text};
use crate::errors::with_causes;
use crate::explain::run_tests;
use crate::time::Instant;
use crate::yaml::load::FILE_BYTES_MAX;
use crate::yaml::regular;
use crate::yaml::values::Process;

/// So long what was found holds while all files are the same: what is said of a certificate depends on the time.
const HOLDS: Duration = Duration::from_secs(5);

/// What lies on the disk.
#[derive(Clone)]
pub enum OnDisk {
    /// The config in force.
    Same,
    Other(Arc<Other>),
}

/// A file that is not the config in force.
pub struct Other {
    /// By which it is known again; `None` where it could not be read.
    pub digest: Option<FileDigest>,
    /// When it was changed last, unix milliseconds.
    pub changed_ms: Option<u64>,
    /// What it says, or why it says nothing, with the lines that are wrong.
    pub proved: Result<Arc<Candidate>, String>,
    looked: Instant,
    /// What it was compared with.
    generation: u32,
}

/// A config that could be put in force.
pub struct Candidate {
    pub config: Config,
    /// What is different, as sentences.
    pub changes: Vec<String>,
    /// The keys that are different and that only a start can set: with them a reload is refused.
    pub needs_restart: Vec<&'static str>,
    /// How many of its own tests pass.
    pub tests_passed: usize,
    /// What the others missed.
    pub tests_failed: Vec<String>,
    /// What the files of its tests held.
    tests_read: Vec<Option<FileDigest>>,
}

impl OnDisk {
    /// Looks at the file. What was `known` of it holds, if it is the same and that was not long ago.
    pub fn look(generation: &Generation, known: Option<Arc<Other>>) -> Self {
        let config = &generation.config;
        let other = |digest, changed_ms, proved| {
            let looked = Instant::now();
            OnDisk::Other(Arc::new(Other { digest, changed_ms, proved, looked, generation: generation.number }))
        };
        let Some(Difference { changed_ms, text }) = Difference::of(config) else { return OnDisk::Same };
        let text = match text {
            Ok(text) => text,
            Err(error) => return other(None, changed_ms, Err(with_causes(&error))),
        };
        let digest = digest_of(text.as_bytes());
        let holds = |known: &Arc<Other>| {
            known.digest == Some(digest)
                && known.generation == generation.number
                && known.looked.elapsed() < HOLDS
                && known.proved.as_ref().is_ok_and(|candidate| candidate.reads_the_same())
        };
        match known.filter(holds) {
            Some(known) => OnDisk::Other(known),
            None => other(Some(digest), changed_ms, prove(config, text)),
        }
    }
}

impl Candidate {
    /// Whether the files that it names hold what they held, and those of its tests, on which nothing in force depends.
    fn reads_the_same(&self) -> bool {
        self.config.files.changed(&Process).is_none() && self.tests_read == tests_read(&self.config)
    }
}

/// Digests of the events that a config's tests read from files; none of what cannot be read.
fn tests_read(config: &Config) -> Vec<Option<FileDigest>> {
    let files = config.tests.iter().filter_map(|test| match &test.event {
        TestEvent::File { path, .. } => Some(path),
        TestEvent::Body(_) => None,
    });
    let digest = |path: &PathBuf| Some(digest_of(&regular::read_beyond(path, FILE_BYTES_MAX).ok()?));
    files.map(digest).collect()
}

/// What the disk holds that is not what runs.
pub struct Difference {
    /// When it came about, unix milliseconds, as far as the disk tells.
    pub changed_ms: Option<u64>,
    /// The config's text, which is the same where a file that it names holds something else.
    pub text: Result<String, ConfigError>,
}

impl Difference {
    /// Reads the config's file, and those that it names: nothing, where they hold what is in force.
    pub fn of(config: &Config) -> Option<Self> {
        let text = read_text(&config.path);
        let mut changed = config.path.as_path();
        if text.as_ref().is_ok_and(|text| digest_of(text.as_bytes()) == config.digest) {
            changed = config.files.changed(&Process)?;
        }
        Some(Self { changed_ms: changed_ms(changed), text })
    }
}

/// When a file was changed, unix milliseconds; of one that is gone, when something was in its directory.
fn changed_ms(path: &Path) -> Option<u64> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let above = path.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let at = modified(path).ok().or_else(|| above.and_then(|directory| modified(directory).ok()));
    at.and_then(unix_ms)
}

fn prove(before: &Config, text: String) -> Result<Arc<Candidate>, String> {
    let proved = Config::prove_again(&before.path, text, &Process, before.client.clone());
    let (config, _) = proved.map_err(|error| match &error {
        ConfigError::Problems(report) => report.to_string().trim_end().to_owned(),
        error => with_causes(error),
    })?;
    // Before they are run: what is written meanwhile is seen at the next look.
    let tests_read = tests_read(&config);
    let tested = run_tests(&config);
    let failed = tested.iter().filter(|tested| !tested.missed.is_empty());
    let tests_failed: Vec<_> = failed.map(|tested| tested.in_words()).collect();
    let tests_passed = tested.len() - tests_failed.len();
    drop(tested);
    let changes = before.changes_to(&config);
    let needs_restart = needs_restart(before, &config);
    Ok(Arc::new(Candidate { config, changes, needs_restart, tests_passed, tests_failed, tests_read }))
}

/// The keys that are different and that only a start can set.
pub fn needs_restart(before: &Config, config: &Config) -> Vec<&'static str> {
    let fingerprint = |config: &Config| config.shared.as_ref().map(|shared| shared.fingerprint);
    let keys = [
        ("store.postgres", fingerprint(before) != fingerprint(config)),
        ("relay.name", before.relay_name != config.relay_name),
        ("data_dir", before.data_dir != config.data_dir),
        ("admin.listen", before.admin.listen != config.admin.listen),
        ("limits.intake_max", before.limits.intake_max != config.limits.intake_max),
    ];
    keys.into_iter().filter(|(_, has_changed)| *has_changed).map(|(key, _)| key).collect()
}

fn unix_ms(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

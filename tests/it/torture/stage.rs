//! What most faults begin with: a relay with two HTTP destinations and a file, and numbered events for them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::ledger::Scale;
use super::load::Load;
use super::oracle::{Case, Crash, Verdict, Wants, Witness, judge};
use super::recorder::{Copy, Recorder, read_lines};
use super::rig::{Rig, Up};
use crate::harness::*;

/// What the rule `trouble` sends to `hot`.
const TROUBLE: &[&str] = &["bounced", "complained"];

/// Three destinations: `crm` and the file `archive` get every event, `hot` gets two types.
pub struct Stage {
    pub load: Arc<Load>,
    pub rig: Rig,
    pub crm: Recorder,
    pub hot: Recorder,
    pub archive: PathBuf,
    pub crashes: Vec<Crash>,
    /// See [`Case::doubtful`].
    pub doubtful: Vec<Range<Instant>>,
}

impl Stage {
    /// A stage with its data in the fault's directory.
    pub async fn set(scale: &Scale) -> Self {
        Self::set_at(scale, &scale.directory.join("data"), "").await
    }

    /// A stage with its data elsewhere and `more` in its config.
    pub async fn set_at(scale: &Scale, data_dir: &Path, more: &str) -> Self {
        let (crm, hot) = (Recorder::start().await, Recorder::start().await);
        let rig = Rig::new(&scale.directory, data_dir, &Self::rules(&crm, &hot, more));
        let archive = data_dir.join("archive.ndjson");
        Self { load: Load::new(scale.seed), rig, crm, hot, archive, crashes: Vec::new(), doubtful: Vec::new() }
    }

    /// The config's part below its head.
    fn rules(crm: &Recorder, hot: &Recorder, more: &str) -> String {
        format!(
            "rules:\n  - {{ name: all, to: [crm, archive] }}\n  - {{ name: trouble, match: {{ type: [bounced, complained] }}, to: hot }}\n\
             destinations:\n  crm: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  hot: {{ http: {{ url: \"{}\" }}, {QUICK} }}\n  \
             archive: {{ file: {{ path: archive.ndjson }}, {QUICK} }}\n{more}",
            crm.url(),
            hot.url()
        )
    }

    /// A stage that goes on from here apart from this one, on a copy of its data.
    pub fn fork(&self, directory: &Path, data_dir: &Path, more: &str) -> Self {
        let rig = Rig::new(directory, data_dir, &Self::rules(&self.crm, &self.hot, more));
        let (crm, hot, crashes) = (self.crm.clone(), self.hot.clone(), self.crashes.clone());
        let (load, archive, doubtful) = (self.load.fork(), data_dir.join("archive.ndjson"), self.doubtful.clone());
        Self { load, rig, crm, hot, archive, crashes, doubtful }
    }

    /// Notes that the relay's process ended at a moment without being asked to, and is gone by now.
    pub fn crashed(&mut self, at: Instant) {
        let file_bytes = std::fs::metadata(&self.archive).map_or(0, |metadata| metadata.len());
        self.crashes.push(Crash { at, file_bytes });
    }

    /// SIGKILL.
    pub fn crashed_by(&mut self, up: Up) {
        let at = up.kill();
        self.crashed(at);
    }

    /// Judges everything that has happened so far.
    pub async fn verdict(&self, up: &Up) -> Verdict {
        self.verdict_on(up, self.crm.copies(), self.hot.copies()).await
    }

    /// The same, over some of the copies that came.
    pub async fn verdict_on(&self, up: &Up, crm: Vec<Copy>, hot: Vec<Copy>) -> Verdict {
        self.verdict_over(up, crm, hot, read_lines(&self.archive)).await
    }

    /// The same, where lines of the archive have been taken elsewhere: these are all.
    pub async fn verdict_with_archive(&self, up: &Up, archive: Vec<Copy>) -> Verdict {
        self.verdict_over(up, self.crm.copies(), self.hot.copies(), archive).await
    }

    async fn verdict_over(&self, up: &Up, crm: Vec<Copy>, hot: Vec<Copy>, archive: Vec<Copy>) -> Verdict {
        let every = |name, copies| Witness { name, wants: Wants::Every, copies };
        let hot = Witness { name: "hot", wants: Wants::Types(TROUBLE), copies: hot };
        let witnesses = vec![every("crm", crm), hot, every("archive", archive)];
        let Self { load, crashes, doubtful, .. } = self;
        judge(Case { load, witnesses, crashes, doubtful, admin: up.admin }).await
    }
}

//! What the relay cannot reach, and whoever forgets a person has to see to.

use super::Person;
use crate::config::Config;
use crate::store::{NameKind, Names};

/// What the relay cannot reach, in sentences.
#[derive(Clone, Debug)]
pub struct Unreached(pub Vec<String>);

impl Unreached {
    /// What there is of somebody by a config, and by the names that the store has.
    pub fn of(person: &Person, config: &Config, names: &Names) -> Self {
        let files = config.destinations.iter().filter(|one| one.destination.file_pattern().is_some());
        let files: Vec<_> = files.map(|one| format!("`{}`", one.name)).collect();
        let mut told = vec![
            "what destinations have got is theirs: erase it there".to_owned(),
            "backups of the store, and second names of its files".to_owned(),
        ];
        if config.shared.is_some() {
            told.push(
                "what other relays have below their data_dir, in their logs and in memory: run --search on each"
                    .to_owned(),
            );
        }
        if person.email.is_some() && config.retention.redaction.is_some() {
            told.push("events of which `store.history.redact` has taken the address away, which none finds any more: --user-id does, where `user.id` is left".to_owned());
        }
        let lines = config.lines_that(person.names());
        if let Some(first) = lines.first() {
            let many = if lines.len() > 1 { format!(" and in {} more", lines.len() - 1) } else { String::new() };
            told.push(format!("the config names the address in line {first}{many}: take it out and reload"));
        }
        let is_hers = person.names();
        for (kind, what) in
            [(NameKind::Source, "source"), (NameKind::Rule, "rule"), (NameKind::Destination, "destination")]
        {
            if names.of_kind(kind).iter().any(|(_, name)| is_hers(name.as_bytes())) {
                told.push(format!("the name of a {what} has the address, and the head of each journal file the names: name it otherwise and reload; the files go with their age (`max_age` of `store: history`), run it again then"));
            }
        }
        if !files.is_empty() {
            let names = files.join(", ");
            told.push(format!("files that file destinations have written ({names}): those below data_dir are searched, and none is changed"));
        }
        told.extend([
            "the log, wherever it went: it has the reasons of pauses, and at debug it may quote an answer".to_owned(),
            "memory: the rules of configs before this one, up to a restart, and what was freed; swap and core dumps".to_owned(),
            "blocks that the file system or the disk has freed: snapshots, copy on write, SSDs; encryption of the disk or fstrim helps".to_owned(),
            "fingerprints of group keys and of threads, which say nothing to who does not know the value; they go with their age".to_owned(),
            "copies of damaged files (`*.damaged`) in which the address does not stand in one piece: they stay; delete them when nobody needs them".to_owned(),
            "an address in base64, quoted-printable, punycode or UTF-16, or escaped in a rare way (`\\x40`, `%u0040`, `&commat;`), which no search finds".to_owned(),
        ]);
        Self(told)
    }
}

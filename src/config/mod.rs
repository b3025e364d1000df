//! One YAML file → a checked [`Config`], or every problem in it.
//!
//! # Cast
//!
//! * `root`: the whole file. `listen`, `admin`, `tls` (`certificate`: when one ends), `sources`, `rules`, `destinations`, `notify`, `limits`, `keeping` (the key `store`), `shared` (`store.postgres` and `relay`), `expectations` (the key `tests`): its
//!   sections, each with its keys. `policy`: what every destination may set; `kinds`: that and the kinds' own keys, put together.
//! * `sorting`: what goes out together, what is urgent, and when it is quiet. `in_turn`: what goes out one after the other. `batches`: what
//!   does not stand beside requests for several events.
//! * `presets`: sections that are written already, put in the place of their names.
//! * `advice`: the warnings.
//! * `slip`, `signs`: what a slip in the YAML was meant to be.
//! * `unknown`, `meant`, `combinator`, `expression`: what is told of a key or a form that is not ours.
//! * `shown`: what a config says, without its secrets.
//! * `names`: those of destinations. `named`: the files that a config names. `outline`: two configs compared; `successor`: what one that somebody brings may stand on; `addresses`: where the relay of a config is
//!   looked into.
//! * [`schema`]: the same keys, told to editors and to `docs/config.md`.
//!
//! Two types: [`Node`] is what YAML can say, [`Config`] is what has been proved. Nothing after start-up meets an `Option` that
//! must be set. Checking, starting and reloading use one and the same path.

mod addresses;
mod admin;
pub(crate) mod advice;
mod batches;
mod certificate;
mod combinator;
mod destinations;
mod expectations;
mod expression;
mod in_turn;
mod keeping;
mod kinds;
mod limits;
mod listen;
mod meant;
mod named;
mod names;
mod notify;
mod outline;
mod policy;
pub mod presets;
mod root;
mod rules;
pub mod schema;
mod shared;
mod shown;
mod signs;
mod slip;
mod sorting;
mod sources;
mod successor;
mod tls;
mod unknown;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::addresses::{WayIn, way_in};
pub use self::admin::Admin;
pub use self::expectations::{ConfigTest, ExpectedContent, TestEvent};
pub use self::limits::Limits;
pub use self::named::NamedFiles;
use self::named::Noted;
pub use self::notify::Notify;
pub use self::outline::Outline;
use self::root::{OVERRIDE, overridden};
pub use self::shared::Shared;
pub use self::shown::Shown;
pub use self::sources::{Auth, CREDENTIAL_BYTES_MAX, Source};
use self::successor::Successor;
use self::unknown::Known;
use crate::deliver::DestinationConfig;
use crate::destination::Client;
use crate::destination::client::Masks;
use crate::destination::template::trial::Budget;
use crate::rules::RuleSet;
use crate::secret::Secret;
use crate::store::Retention;
use crate::yaml::load::FILE_BYTES_MAX;
use crate::yaml::places::Places;
use crate::yaml::problem::{Problem, Report, Severity};
use crate::yaml::raw::{Key, Node, Value};
use crate::yaml::reader::{MERGE, Reader};
use crate::yaml::resolved::Resolved;
use crate::yaml::values::Surroundings;
use crate::yaml::{load, regular, words};

/// Where a config is looked for when nobody says.
pub const USUAL_PLACES: [&str; 2] = ["config.yaml", "/etc/vero-relay/config.yaml"];

/// A config that has been proved.
pub struct Config {
    pub path: PathBuf,
    /// A digest of the file's bytes, by which a change is seen.
    pub digest: FileDigest,
    /// The file's text, as it was read.
    text: Secret,
    shown: OnceLock<Shown>,
    /// What in it probably does not do what was meant, a line each.
    pub warnings: Vec<String>,
    /// What it says, to be compared.
    pub outline: Outline,
    /// What it has read besides its own file.
    pub files: NamedFiles,
    /// Whether it is reloaded when its file changes.
    pub watch: bool,
    /// The one HTTP client, which goes on through reloads.
    pub client: Client,
    /// Where webhooks come in.
    pub listen: SocketAddr,
    /// How that is encrypted; `None`: not by the relay.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// When the certificate of that ends, unix milliseconds.
    pub tls_ends_ms: Option<u64>,
    /// Where the operator looks in, and who may.
    pub admin: Admin,
    /// Who says so, for when the address cannot be had.
    pub said: Said,
    /// Where everything is written.
    pub data_dir: PathBuf,
    /// The address that Vero is given, without a path; `None`: that of `listen`.
    pub public_url: Option<String>,
    pub sources: Vec<Source>,
    /// The rules; their `to` are places in `destinations`.
    pub rules: Arc<RuleSet>,
    /// What its patterns count for.
    pattern_bytes: usize,
    /// The destinations, in the file's order.
    pub destinations: Vec<DestinationConfig>,
    /// Who is told of trouble, if anybody is.
    pub notify: Option<Notify>,
    /// What the config expects of itself. Only `check` looks: neither a start nor a reload runs them.
    pub tests: Vec<ConfigTest>,
    /// What came out of variables, files and credentials, and is not shown.
    pub masks: Masks,
    /// The same by what asked for it, and where.
    pub resolved: Resolved,
    /// What `VERO_RELAY_LISTEN` said.
    overridden: Option<String>,
    pub limits: Limits,
    /// What the store keeps.
    pub retention: Retention,
    /// The queue that several relays share; `None`: it is this one's own, in a journal.
    pub shared: Option<Shared>,
    /// What this relay is called among those that share one.
    pub relay_name: String,
    /// How long a destination that is not named any more keeps its queue.
    pub removed_grace: Duration,
}

/// Who says which address is listened on: a key with its place, a variable, or nobody.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub listen: String,
    pub admin_listen: String,
}

impl Said {
    /// The two keys, where they are set.
    fn nodes(root: &Node) -> [Option<&Node>; 2] {
        root::listeners(root)
    }

    fn of(path: &Path, root: &Node, places: &Places, is_overridden: bool) -> Self {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let said = |key: &str, node: Option<&Node>| match node.and_then(|node| places.get(node.id)) {
            Some(place) => format!("`{key}` ({file}:{}:{})", place.line, place.column),
            None => format!("`{key}`, not set in {file}, by default"),
        };
        let [listen, admin_listen] = Self::nodes(root);
        let listen = if is_overridden { OVERRIDE.to_owned() } else { said("listen", listen) };
        Self { listen, admin_listen: said("admin.listen", admin_listen) }
    }
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file.
    #[error("no config file: name one with --config, set VERO_RELAY_CONFIG, or put config.yaml here")]
    NoFile,
    /// The file could not be read.
    #[error("{} could not be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Too large to be a config.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes, the most that a config may have", .path.display())]
    TooLarge { path: PathBuf },
    #[error("{0}")]
    Problems(Box<Report>),
}

/// A digest of a file's bytes.
pub type FileDigest = [u8; 32];

/// The digest of a file's bytes.
pub fn digest_of(bytes: &[u8]) -> FileDigest {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    digest
}

/// Finds the config file: the one that was named, or the first of the usual places.
pub fn find(named: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    // One that cannot be looked at is there, or may be: reading it tells what is wrong.
    USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.try_exists().unwrap_or(true)).ok_or(ConfigError::NoFile)
}

/// Reads a config file's text, without proving anything of it.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let bytes = regular::read_beyond(path, FILE_BYTES_MAX).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    let not_text = |error| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
    if let Some(encoding) = encoding_of(&bytes) {
        let message = format!("it is written in {encoding}: save it as UTF-8");
        return Err(unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, message)));
    }
    String::from_utf8(bytes).map_err(not_text)
}

/// Another encoding than UTF-8, by its mark or by the zeros between ASCII letters.
fn encoding_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [1..=0x7f, 0, 1..=0x7f, 0, ..] => Some("UTF-16 (little-endian)"),
        [0xfe, 0xff, ..] | [0, 1..=0x7f, 0, 1..=0x7f, ..] => Some("UTF-16 (big-endian)"),
        _ => None,
    }
}

/// Where what a config names relatively is looked for.
fn directory_of(path: &Path) -> PathBuf {
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory }
}

impl Config {
    /// A digest by which a change is seen of the file and of those that it names.
    pub fn digest_with_files(&self) -> FileDigest {
        self.files.digest_behind(self.digest)
    }

    /// Reads and proves a config file. The report holds warnings only.
    pub fn load(path: &Path, surroundings: &dyn Surroundings) -> Result<(Self, Report), ConfigError> {
        Self::load_again(path, surroundings, Client::new(|name| surroundings.variable(name)))
    }

    /// The same, with a client that is there already.
    pub fn load_again(
        path: &Path,
        surroundings: &dyn Surroundings,
        client: Client,
    ) -> Result<(Self, Report), ConfigError> {
        Self::prove_again(path, read_text(path)?, surroundings, client)
    }

    /// About the bytes that its rules take in memory.
    pub fn rules_bytes(&self) -> usize {
        self.text.expose().len() + self.pattern_bytes
    }

    /// Proves the text of a config file, with a client that is there already.
    pub fn prove_again(
        path: &Path,
        text: String,
        surroundings: &dyn Surroundings,
        client: Client,
    ) -> Result<(Self, Report), ConfigError> {
        Self::prove(path, directory_of(path), text, surroundings, client)
    }

    /// Proves a config's text; `path` is for messages and for relative paths.
    pub fn parse(path: &Path, text: String, surroundings: &dyn Surroundings) -> Result<(Self, Report), ConfigError> {
        let client = Client::new(|name| surroundings.variable(name));
        Self::prove(path, directory_of(path), text, surroundings, client)
    }

    /// Proves the text of a config that is to take the place of this one, brought by somebody who may not know what this one's `${…}`
    /// stand for: no variable or file is looked at, and no message, warning or comparison depends on a value. `path` is for messages.
    pub fn parse_successor(&self, path: &Path, text: String) -> Result<(Self, Report), ConfigError> {
        let surroundings = Successor { of: &self.resolved, overridden: self.overridden.clone() };
        Self::prove(path, directory_of(&self.path), text, &surroundings, self.client.clone())
    }

    /// What is different in a newer one, as sentences.
    pub fn changes_to(&self, newer: &Config) -> Vec<String> {
        let mut changes = self.outline.changes_to(&newer.outline);
        changes.extend(self.files.changes_to(&newer.files));
        changes
    }

    /// The numbers of the lines of its text that say something, from 1 on.
    pub(crate) fn lines_that(&self, say: impl Fn(&[u8]) -> bool) -> Vec<usize> {
        let lines = self.text.expose().lines().enumerate();
        lines.filter(|(_, line)| say(line.as_bytes())).map(|(at, _)| at + 1).collect()
    }

    /// What it says, as it may be shown.
    pub fn shown(&self) -> &Shown {
        self.shown.get_or_init(|| Shown::of(self.text.expose()))
    }

    /// Whether a name stands in the file as it is. One that does not was put together from what a `${…}` stands for, most likely.
    pub(crate) fn has_text(&self, text: &str) -> bool {
        self.text.expose().contains(text)
    }

    fn prove(
        path: &Path,
        directory: PathBuf,
        text: String,
        surroundings: &dyn Surroundings,
        client: Client,
    ) -> Result<(Self, Report), ConfigError> {
        if text.len() > FILE_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        let _budget = Budget::begin();
        let digest = digest_of(text.as_bytes());
        // Some editors put a mark of its encoding before the text.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let mut root = match load::parse(&text) {
            Ok(root) => root,
            Err(error) => {
                let diagnosis = slip::diagnose(&text, &error);
                return Err(ConfigError::Problems(Box::new(Report::syntax(path.to_owned(), text, diagnosis))));
            }
        };
        let reader = Reader::new(directory.clone(), &Known);
        let noted = Noted::new(surroundings);
        reader.interpolate(&mut root, &noted);
        refuse_merge_keys(&reader, &root, 0);
        let expanded = presets::expand(&reader, &root, noted.resolved());
        let config = root::read(&reader, (&root, expanded.as_ref()), &directory, &client, &noted);
        let files = noted.into_files();
        slip::advise(&reader, &text);
        let has_errors = reader.errors() > 0;
        let mut found = reader.into_found();
        found.keep_shown();
        let said = Said::nodes(&root).into_iter().flatten().map(|node| node.id);
        let places = Places::find(&text, &root, found.nodes().chain(said));
        let said = Said::of(path, &root, &places, overridden(surroundings).is_some());
        let kept = Secret::from(text.clone());
        // What a variable overrides decides nothing, so a change of it is none.
        let outline = Outline::of(&root, if overridden(surroundings).is_some() { &["listen"] } else { &[] });
        let path_of = path.to_owned();
        let proved = |config| Config { path: path_of, digest, outline, files, said, text: kept, ..config };
        let config = config.map(proved);
        let report = Report::new(path.to_owned(), text, &root, found, &places);
        match config {
            Some(config) if !has_errors => Ok((Config { warnings: report.lines().collect(), ..config }, report)),
            _ => Err(ConfigError::Problems(Box::new(report))),
        }
    }
}

/// `<<` is a key like any other to serde_yaml, unless it is told to merge, and then all places are lost.
fn refuse_merge_keys(reader: &Reader, node: &Node, depth: usize) {
    let is_free = |key: &Key| depth == 0 && key.text.starts_with("x-");
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| refuse_merge_keys(reader, item, depth + 1)),
        Value::Map(entries) => {
            for (key, below) in entries.iter().filter(|(key, _)| !is_free(key)) {
                if key.text == MERGE {
                    let help =
                        "give a whole value by an alias (`retry: *slow`), or what all of a kind share in `defaults:`";
                    reader.error_with(key.id, "the merge key `<<` is not taken", help.to_owned());
                }
                refuse_merge_keys(reader, below, depth + 1);
            }
        }
        Value::Scalar(_) => {}
    }
}

/// Reads a match map, as in a rule, from one line of YAML or JSON.
pub fn parse_match(text: &str) -> Result<RuleSet, String> {
    parse_match_with_warnings(text).map(|(rules, _)| rules)
}

/// The same, and what in it probably does not do what was meant.
pub fn parse_match_with_warnings(text: &str) -> Result<(RuleSet, Vec<String>), String> {
    let in_words = |problem: &Problem| {
        let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}{help}", problem.message)
    };
    if text.len() > FILE_BYTES_MAX {
        return Err("it is too long".to_owned());
    }
    let root = load::parse(text).map_err(|error| match error.message.as_str() {
        // It stands alone: there is no place for an anchor but in it, and nobody means one.
        message if message.contains("unknown anchor") => {
            "it is not YAML: a `*` begins an alias there, so put a text that begins with it in quotes".to_owned()
        }
        message => format!("it is not YAML: {message}"),
    })?;
    let reader = Reader::new(PathBuf::from("."), &Known);
    refuse_merge_keys(&reader, &root, 1);
    let rules = rules::read_single(&reader, &root);
    let problems = reader.into_found().problems;
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.severity == Severity::Error);
    let errors: Vec<_> = errors.into_iter().map(in_words).collect();
    match rules {
        Some(rules) if errors.is_empty() => Ok((rules, warnings.into_iter().map(in_words).collect())),
        _ if errors.is_empty() => Err("it is not a match map, like {type: bounced}".to_owned()),
        _ => Err(errors.join("; ")),
    }
}

/// Names stand in URLs, metrics and logs.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !matches!(text, "" | "." | "..") && text.len() <= 64 && text.chars().all(is_plain)
}

/// Tells of a name that cannot stand in URLs, metrics and logs, and of one that can.
fn tell_of_name(reader: &Reader, key: &Key) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = key.text.trim().chars().map(|c| if is_plain(c) { c } else { '-' }).take(64).collect();
    let help = words::oddity(&key.text).unwrap_or_else(|| match is_name(&plain) {
        true => format!("write {plain}"),
        false => "write a short name, like crm".to_owned(),
    });
    let message = format!("`{}` is not a name: letters, digits, `-`, `_` and `.`, at most 64", key.text);
    reader.error_with(key.id, message, help);
}

#[cfg(test)]
mod tests;

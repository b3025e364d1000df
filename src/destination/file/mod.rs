//! `file:` appends one line an event to a file, and syncs it before it counts as delivered.
//!
//! # Cast
//!
//! * [`open`]: what lines are added to, locked and ours alone. [`place`]: what a path leads to.
//! * [`own`]: the relay's own files, which are never written to.
//! * [`whose`]: which of several relays writes it. [`table`]: a record of a table in place of a line of JSON.
//! * [`closed`]: when a file is closed, and how such are named. [`upkeep`]: what becomes of them. [`settings`]: the keys that say so.

mod closed;
mod open;
mod own;
mod place;
mod settings;
mod table;
mod upkeep;
mod whose;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::closed::{Names, Rotation};
use self::open::{Failed, Form, Held, How, MODE};
use self::own::Hits;
pub(crate) use self::own::is_own;
use self::place::Place;
use self::table::Table;
use self::upkeep::Keeping;
use super::client::Masks;
use super::envelope::enveloped;
use super::path_template::PathTemplate;
use super::{
    Context, Defaults, Delivery, Destination, Kind, Language, Outcome, Outcomes, Preview, TemplateKey, Unsent, Upkeep,
    shaping,
};
use crate::directory::Identity;
use crate::errors::join_error;
use crate::event::{Shaping, minify};
use crate::secret::Secret;
use crate::time::wall_ms;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Key, Section, boolean, key, text, word};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

pub(super) const KIND: Kind = Kind {
    name: "file",
    about: "A line for each event.",
    example: "{ path: \"archive/{date}.ndjson\" }",
    form: "{ path: \"archive/{date}.ndjson\" }",
    defaults_example: "{ fsync: never }",
    keys,
    has_answers: false,
    // What looks like nothing else is most likely a path.
    likeness: |_| 1,
    templates: &[TemplateKey::of(PATH.info.name, Language::Path)],
    fields: &[],
    shapes: &shaping::LISTS,
    columns: &[table::COLUMNS.info.name],
    secret_keys: &[shaping::HASH_KEY.info.name],
    always_secret: &[shaping::HASH_KEY.info.name],
    // A hash tells nothing of its key.
    not_content: &[PATH.info.name, shaping::HASH_KEY.info.name],
    tested_parts: &[],
    // A line is an event.
    digest: None,
    unordered: Some("it writes one line after the other as they come"),
    defaults: Defaults {
        concurrency: 1,
        interval: None,
        give_up_after: Duration::from_secs(72 * 60 * 60),
        stale_after: None,
    },
    build: |context, entries| build(context, entries).map(|file| Arc::new(file) as Arc<dyn Destination>),
};

const PATH: Key<String> = key("path", text())
    .seen(Sight::All).about("Below `data_dir`, or whole from `/`; it cannot climb. `{date}` and `{hour}` of arrival, `{type}` and `{source}`, made harmless; `{relay}`, what this relay is called. A file that lies there and begins with no line of JSON (with `format: csv`, with another first line) is put aside as `….other`, and left alone. Never one of the relay's own files. No two destinations write one file.")
    .example("\"archive/{date}.ndjson\"")
    .required_or_default();
const ENVELOPE: Defaulted<bool> = key("envelope", boolean())
    .about("A line is `{\"id\", \"received_at\", \"source\", \"event\": {…}}`; without the envelope it is the event alone. White space outside of texts goes, values stay as they came. `pick`, `drop`, `mask` and `hash` are about the event in it.")
    .example("false")
    .default(true);
const FSYNC: Key<String> = key("fsync", word(&["batch", "never"]))
    .about("`batch`: a line counts as delivered when it is synced, with one sync for all that wait. `never`: when it is written; a power cut may take it. A named pipe or a device (`/dev/stdout`) can only be written with `never`.")
    .example("never")
    .default("batch");
const FILE_MODE: Key<String> = key("mode", text())
    .seen(Sight::All).about("The rights of the files that are made, as `chmod` takes them, in quotes. Directories that are made can be entered by whoever may read. `data_dir` itself stays its owner's: files for others lie elsewhere, at a path from `/`.")
    .example("\"0640\"")
    .default("0600");
const TIMEZONE: Key<String> = key("timezone", text())
    .seen(Sight::All).about("In which `{date}` and `{hour}` are told, and by which files are closed: a name of the system's database of time zones (the package tzdata, or `TZDIR`); `UTC` needs none.")
    .example("Europe/Berlin")
    .default("UTC");

fn keys() -> Section {
    let own = Section::of(&[PATH.info, ENVELOPE.info])
        .and(&table::KEYS)
        .and(&[FSYNC.info, FILE_MODE.info, TIMEZONE.info])
        .and(&whose::KEYS)
        .and(&settings::KEYS);
    shaping::with_keys(own)
}

/// Lines written and synced together.
const BATCH_MAX: usize = 256;
/// Files held open; a path by type and hour rarely has more at one time.
const OPEN_MAX: usize = 16;

struct Lines {
    path: PathTemplate,
    timezone: TimeZone,
    has_envelope: bool,
    shaping: Option<Shaping>,
    how: How,
    content_masks: Masks,
    open: Mutex<HashMap<PathBuf, Held>>,
    root: Root,
    /// What each event is a record of; `None`: it is a line of JSON.
    table: Option<Table>,
    form: Form,
    rotation: Rotation,
    keeping: Keeping,
    names: Names,
}

/// The data directory, below which files may lie: it is never made again here, nor is anything in another that has its place.
struct Root {
    path: PathBuf,
    seen: OnceLock<Identity>,
}

impl Root {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: OnceLock::new() }
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        if !path.starts_with(&self.path) {
            return Ok(());
        }
        let why = |what| io::Error::new(io::ErrorKind::NotFound, format!("the data directory {what}"));
        let now = Identity::at(&self.path).map_err(|error| why(format!("cannot be found: {error}")))?;
        if *self.seen.get_or_init(|| now) == now { Ok(()) } else { Err(why("was replaced by another".to_owned())) }
    }
}

fn build(context: &Context<'_>, mut entries: Entries<'_, '_>) -> Option<File> {
    let reader = context.reader;
    if let Some(answers) = context.answers {
        let help = "take `answers` out".to_owned();
        reader.error_with(answers.id, "`answers` is about HTTP, and a file gives none", help);
    }
    let path_node = entries.node(&PATH.info);
    let path = path_node.and_then(|node| read_path(context, node));
    let only_on = whose::read(context, &mut entries, path_node);
    let envelope = entries.node(&ENVELOPE.info);
    let has_envelope = envelope.and_then(|node| reader.boolean(node)).unwrap_or(ENVELOPE.default);
    let shaping = shaping::read(reader, &mut entries).map(|shaped| shaped.shaping);
    let table = table::read(reader, &mut entries);
    if let (Some(node), Some(Some(_))) = (envelope, &table) {
        let help = "take it out, and name what is wanted of it: columns: [relay.id, relay.received_at, …]".to_owned();
        reader.error_with(node.id, "`envelope` is of lines of JSON, and this file is a table", help);
    }
    let closing = settings::read(reader, &mut entries, path.as_ref());
    let syncs = entries.node(&FSYNC.info).is_none_or(|node| match reader.text(node) {
        Some("never") => false,
        Some("batch") | None => true,
        Some(_) => {
            let help = "write batch, the default: a line is synced before it counts as delivered; or never".to_owned();
            reader.error_with(node.id, "`fsync` is batch or never", help);
            true
        }
    });
    if let (Some(node), Some(path)) = (path_node, &path) {
        check_place(reader, node, path, syncs);
    }
    let mode = entries.node(&FILE_MODE.info).map_or(Some(MODE), |node| read_mode(reader, node));
    let timezone = entries.node(&TIMEZONE.info).map_or(Some(TimeZone::UTC), |node| {
        let name = reader.text(node)?;
        super::timezone::find(name).map_err(|fault| reader.fault(node.id, fault)).ok()
    });
    entries.finish();
    let path = path?;
    let timezone = timezone?;
    let table = table?;
    let (rotation, keeping) = closing?;
    let form = table.as_ref().map_or(Form::LINES, Table::form);
    let names = Names::of(&path);
    let open = Mutex::default();
    let how = How { syncs, mode: mode? };
    let content_masks = Masks::from_texts(reader.taken());
    let root = Root::new(context.data_dir);
    let lines = Lines {
        path,
        timezone,
        has_envelope,
        shaping,
        how,
        content_masks,
        open,
        root,
        table,
        form,
        rotation,
        keeping,
        names,
    };
    Some(File { lines: Arc::new(lines), turn: Arc::new(Semaphore::new(1)), only_on })
}

fn read_path(context: &Context<'_>, node: &Node) -> Option<PathTemplate> {
    let Context { reader, data_dir, relay, .. } = *context;
    let parsed = PathTemplate::parse(reader.text(node)?, data_dir, relay.name);
    let path = parsed.map_err(|wrong| reader.error_with(node.id, wrong.message, wrong.help)).ok()?;
    advise_of_backslashes(reader, node);
    let message = match own::hits(path.pattern(), data_dir) {
        None => return Some(path),
        Some(Hits::Always) => "this is one of the relay's own files in data_dir",
        Some(Hits::ByType) => "an event's type can make this one of the relay's own files in data_dir",
    };
    reader.error_with(
        node.id,
        message,
        "put the files into a directory of their own: archive/{type}.ndjson".to_owned(),
    );
    None
}

/// A path that is the same for every event is looked at now.
fn check_place(reader: &Reader, node: &Node, path: &PathTemplate, syncs: bool) {
    if path.has_places() || reader.is_strangers() {
        return;
    }
    match place::look(path.pattern()) {
        Place::File => {}
        Place::Stream(what) if syncs => reader.error_with(
            node.id,
            format!("this is {what}, which cannot be synced"),
            "write `fsync: never`: then a line is delivered when it is written".to_owned(),
        ),
        Place::Stream(_) => {}
        Place::Other(what) => reader.error(node.id, format!("no lines can be added to this: it is {what}")),
    }
}

/// `"C:\temp\new"`: to YAML escapes, and outside of `"…"` a part of the name.
fn advise_of_backslashes(reader: &Reader, node: &Node) {
    let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_interpolated) else { return };
    let letter = |c: char| match c {
        '\t' => "/t".to_owned(),
        '\n' => "/n".to_owned(),
        '\r' => "/r".to_owned(),
        '\u{7}' => "/a".to_owned(),
        '\u{8}' => "/b".to_owned(),
        '\u{b}' => "/v".to_owned(),
        '\u{c}' => "/f".to_owned(),
        '\u{1b}' => "/e".to_owned(),
        '\\' => "/".to_owned(),
        c => c.to_string(),
    };
    let help = || format!("write `/` between directories: \"{}\"", scalar.text.chars().map(letter).collect::<String>());
    if scalar.text.trim_end().contains(char::is_control) {
        let message = "the path holds a character that nobody can see: within \"…\" a `\\` begins an escape";
        reader.warning(node.id, message, help());
    } else if scalar.text.contains('\\') {
        reader.warning(node.id, "`\\` is a part of the file's name here, and parts no directories", help());
    }
}

/// `"0640"`: the rights of a file as `chmod` takes them.
fn read_mode(reader: &Reader, node: &Node) -> Option<u32> {
    let text = reader.text(node)?;
    let help = match octal(text) {
        Some(mode) if mode & MODE == MODE && mode & !0o666 == 0 => format!("write \"{mode:04o}\""),
        _ => "write it like \"0640\", in quotes: the owner reads and writes, the group reads".to_owned(),
    };
    let is_octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let Some(mode) = u32::from_str_radix(text, 8).ok().filter(|_| is_octal) else {
        reader.error_with(node.id, format!("`{text}` is not the mode of a file"), help);
        return None;
    };
    if mode & MODE != MODE || mode & !0o666 != 0 {
        let message =
            format!("`{text}` is not a mode for these files: the owner reads and writes, and nobody executes");
        reader.error_with(node.id, message, help);
        return None;
    }
    Some(mode)
}

/// The mode that `0o640`, `rw-r-----` or `-rw-r-----` means.
fn octal(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0o") {
        return u32::from_str_radix(digits, 8).ok();
    }
    let letters: Vec<char> = text.strip_prefix('-').filter(|rest| rest.len() == 9).unwrap_or(text).chars().collect();
    if letters.len() != 9 {
        return None;
    }
    letters.iter().zip("rwxrwxrwx".chars()).try_fold(0, |mode, (letter, right)| match letter {
        '-' => Some(mode << 1),
        letter if *letter == right => Some((mode << 1) | 1),
        _ => None,
    })
}

impl Lines {
    fn line(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        let shaped = self.shaping.as_ref().map(|shaping| shaping.apply(&delivery.event.body)).transpose()?;
        let body = shaped.as_deref().unwrap_or(&delivery.event.body);
        if let Some(table) = &self.table {
            return Ok(table.record(delivery, body));
        }
        let event = minify(body);
        let mut line = if self.has_envelope { enveloped(delivery, &event) } else { event };
        line.push(b'\n');
        Ok(line)
    }

    /// Writes a batch: file by file, and one sync each. `now_ms` is by the wall clock.
    fn write_batch(&self, deliveries: &[Delivery], now_ms: u64) -> Outcomes {
        let mut outcomes = Outcomes::from_elem(Outcome::Delivered, deliveries.len());
        let mut by_path: Vec<(PathBuf, Vec<usize>)> = Vec::new();
        for (i, delivery) in deliveries.iter().enumerate() {
            let path = self.path.path(delivery, &self.timezone);
            match by_path.iter_mut().find(|(known, _)| *known == path) {
                Some((_, places)) => places.push(i),
                None => by_path.push((path, vec![i])),
            }
        }
        for (path, mut places) in by_path {
            let mut lines: Vec<Vec<u8>> = Vec::with_capacity(places.len());
            places.retain(|place| match self.line(&deliveries[*place]) {
                Ok(line) => {
                    lines.push(line);
                    true
                }
                Err(unsent) => {
                    outcomes[*place] = unsent.into();
                    false
                }
            });
            if lines.is_empty() {
                continue;
            }
            let (written, failed) = self.write_lines(&path, &lines, now_ms);
            let outcome = match failed {
                None => continue,
                Some(Failed::Own) => Outcome::local(format!("{} is one of the relay's own files", path.display())),
                // Which file it is, an event has said; the others must not wait for it.
                Some(Failed::Other(what)) if self.path.has_places() => {
                    Outcome::local(format!("{} takes no lines: it is {what}", path.display()))
                }
                Some(Failed::Other(what)) => Outcome::retry(format!("{} takes no lines: it is {what}", path.display())),
                Some(Failed::Foreign) => Outcome::retry(format!(
                    "{} holds something else: its first line is none of this destination's",
                    path.display()
                )),
                Some(Failed::Io(error)) => Outcome::retry(format!("{} could not be written: {error}", path.display())),
            };
            for place in &places[written..] {
                outcomes[*place] = outcome.clone();
            }
        }
        outcomes
    }

    /// Writes lines to one file, or to several where it is closed on the way: how many are written for good, and why the others are not.
    fn write_lines(&self, path: &Path, lines: &[Vec<u8>], now_ms: u64) -> (usize, Option<Failed>) {
        let mut open = self.lock();
        let mut all_written = 0;
        while all_written < lines.len() {
            let (written, failed) = self.write_some(&mut open, path, &lines[all_written..], now_ms);
            all_written += written;
            if failed.is_some() {
                return (all_written, failed);
            }
        }
        (all_written, None)
    }

    /// The first of them: as many as go into the file before it is closed, and none where it is closed now.
    fn write_some(
        &self,
        open: &mut HashMap<PathBuf, Held>,
        path: &Path,
        lines: &[Vec<u8>],
        now_ms: u64,
    ) -> (usize, Option<Failed>) {
        if open.get(path).is_some_and(|held| !held.is_untouched(path)) {
            // Rotated or deleted: go on in a new file under the same name. Cut: its last line may be half a line now.
            open.remove(path);
        }
        if !open.contains_key(path) {
            if open.len() >= OPEN_MAX {
                open.clear();
            }
            let opened = self.root.check(path).map_err(Failed::Io);
            match opened.and_then(|()| Held::open(path, &self.root.path, self.how, &self.form)) {
                Ok(held) => open.insert(path.to_owned(), held),
                // In another format, or with other columns, it is another file.
                Err(Failed::Foreign) => return (0, put_aside(path, now_ms).map_err(Failed::Io).err()),
                Err(failed) => return (0, Some(failed)),
            };
        }
        let Some(held) = open.get_mut(path) else { return (0, None) };
        let fitting = match held.bytes() {
            None => lines.len(),
            Some(_) if held.is_empty() => self.rotation.fitting(self.form.header.len() as u64, true, lines),
            Some(_) if self.rotation.parts(held.written_ms, now_ms, &self.timezone) => 0,
            Some(bytes) => self.rotation.fitting(bytes, false, lines),
        };
        if fitting == 0 {
            open.remove(path);
            return (0, upkeep::close(&self.names, path, now_ms).map_err(Failed::Io).err());
        }
        let (written, result) = held.write(&lines[..fitting], now_ms);
        if result.is_err() && !held.is_torn_stream() {
            // The next attempt opens it anew.
            open.remove(path);
        }
        (written, result.err().map(Failed::Io))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Held>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The destination; its work is done on a thread that may block.
struct File {
    lines: Arc<Lines>,
    /// Goes with the writing, and not with the attempt: while a file system hangs, no second thread is sent after the first.
    turn: Arc<Semaphore>,
    /// The one relay that writes it, of several.
    only_on: Option<String>,
}

impl Destination for File {
    fn only_on(&self) -> Option<&str> {
        self.only_on.as_deref()
    }

    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        let lines = self.lines.clone();
        let turn = self.turn.clone();
        let batch = deliveries.to_vec();
        async move {
            let count = batch.len();
            let turn = turn.acquire_owned().await;
            let written = tokio::task::spawn_blocking(move || {
                let outcomes = lines.write_batch(&batch, wall_ms());
                drop(turn);
                outcomes
            });
            let written = written.await;
            written.unwrap_or_else(|error| {
                Outcomes::from_elem(Outcome::retry(join_error("the writing thread", &error)), count)
            })
        }
        .boxed()
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        let path = self.lines.path.path(delivery, &self.lines.timezone).display().to_string();
        let line = self.lines.line(delivery)?;
        let line = line.strip_suffix(self.lines.form.end).unwrap_or(&line);
        Ok(Preview::line(path, line).with_masks(self.lines.content_masks.clone()))
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        self.lines.line(delivery)
    }

    fn way(&self, delivery: &Delivery) -> Result<Secret, Unsent> {
        Ok(Secret::from(self.lines.path.path(delivery, &self.lines.timezone).display().to_string()))
    }

    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn is_loopback(&self) -> bool {
        true
    }

    fn address(&self) -> String {
        self.lines.path.pattern().display().to_string()
    }

    fn upkeep(&self) -> Option<Upkeep> {
        let lines = self.lines.clone();
        let is_any = lines.rotation.every.is_some() || lines.keeping.is_any();
        is_any.then(|| Box::new(move |stop: &CancellationToken| lines.look_after(wall_ms(), stop)) as Upkeep)
    }

    fn file_pattern(&self) -> Option<PathBuf> {
        Some(self.lines.path.pattern().to_owned())
    }
}

/// Puts a file aside that is none of a destination's, and says so: who reads it looks for it under its name.
fn put_aside(path: &Path, now_ms: u64) -> io::Result<()> {
    let aside = upkeep::put_aside(path, now_ms)?;
    tracing::warn!(
        path = %path.display(),
        aside = %aside.display(),
        "the file that lay at the path of a destination does not begin as its files do: it was put aside, as it was"
    );
    Ok(())
}

#[cfg(test)]
mod upkeep_tests;

#[cfg(test)]
mod lines_tests {
    use std::fs::OpenOptions;

    use super::super::template::tests::delivery;
    use super::*;

    const NOW_MS: u64 = 1_795_832_100_000;

    impl Lines {
        fn write(&self, deliveries: &[Delivery]) -> Outcomes {
            self.write_batch(deliveries, NOW_MS)
        }
    }

    pub(super) fn file(directory: &Path, path: &str) -> Lines {
        let path = PathTemplate::parse(path, directory, "relay").expect("a good path");
        Lines {
            names: Names::of(&path),
            path,
            timezone: TimeZone::UTC,
            has_envelope: true,
            shaping: None,
            how: How { syncs: true, mode: MODE },
            content_masks: Masks::default(),
            open: Mutex::default(),
            root: Root::new(directory),
            table: None,
            form: Form::LINES,
            rotation: Rotation::default(),
            keeping: Keeping::default(),
        }
    }

    pub(super) fn is_delivered(outcomes: &[Outcome]) -> bool {
        outcomes.iter().all(|outcome| *outcome == Outcome::Delivered)
    }

    #[test]
    fn a_line_holds_the_event_untouched_but_for_white_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(directory.path(), "{date}-{hour}.ndjson");
        assert!(is_delivered(&file.write(&[delivery("{ \"type\": \"sent\",\n \"n\": 12500.50 }")])));
        let written = std::fs::read_to_string(directory.path().join("2023-11-14-22.ndjson")).expect("written");
        let id = delivery("{}").event.id;
        let expected = format!(
            "{{\"id\":\"{id}\",\"received_at\":\"2023-11-14T22:13:20.000Z\",\"source\":\"vero\",\"event\":{{\"type\":\"sent\",\"n\":12500.50}}}}\n"
        );
        assert_eq!(written, expected);
    }

    #[test]
    fn a_file_that_is_rotated_or_deleted_is_made_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let file = file(directory.path(), "x");
        for _ in 0..2 {
            assert!(is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
            std::fs::rename(&path, directory.path().join("old")).expect("rotated");
        }
        assert!(is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
        std::fs::remove_file(&path).expect("deleted");
        assert!(is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
        assert_eq!(std::fs::read_to_string(&path).expect("there").lines().count(), 1);
    }

    #[test]
    fn a_data_directory_that_is_gone_or_another_is_not_written_to() {
        let above = tempfile::tempdir().expect("a directory");
        let directory = above.path().join("data");
        std::fs::create_dir(&directory).expect("made");
        let file = file(&directory, "archive/x");
        assert!(is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
        std::fs::rename(&directory, above.path().join("moved")).expect("moved");
        assert!(!is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
        assert!(!directory.exists());
        std::fs::create_dir(&directory).expect("made");
        assert!(!is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
        assert!(!directory.join("archive").exists());
        std::fs::remove_dir(&directory)
            .and_then(|()| std::fs::rename(above.path().join("moved"), &directory))
            .expect("back");
        assert!(is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
    }

    #[test]
    fn a_cut_off_line_does_not_swallow_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        std::fs::write(&path, "{\"half").expect("written");
        assert!(is_delivered(&file(directory.path(), "x").write(&[delivery("{\"type\":\"a\"}")])));
        let lines: Vec<String> = std::fs::read_to_string(&path).expect("there").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("{\"id\""));
    }

    #[test]
    fn a_file_that_was_cut_in_a_line_does_not_swallow_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let file = file(directory.path(), "x");
        let write = || assert!(is_delivered(&file.write(&[delivery("{\"type\":\"a\"}")])));
        write();
        OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(9)).expect("cut");
        write();
        write();
        let lines: Vec<String> = std::fs::read_to_string(&path).expect("there").lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("{\"id\"") && line.ends_with("}}")), "{lines:?}");
    }

    #[test]
    fn a_symlink_is_not_followed_and_a_lock_is_respected() {
        let directory = tempfile::tempdir().expect("a directory");
        let elsewhere = directory.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, directory.path().join("x")).expect("linked");
        let linked = file(directory.path(), "x");
        assert!(!is_delivered(&linked.write(&[delivery("{\"type\":\"a\"}")])));
        assert!(!elsewhere.exists());

        let other = OpenOptions::new().create(true).append(true).open(directory.path().join("y")).expect("opened");
        other.lock().expect("locked");
        let locked = file(directory.path(), "y");
        let outcomes = locked.write(&[delivery("{\"type\":\"a\"}")]);
        assert!(
            matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.text.contains("locked")),
            "{outcomes:?}"
        );
        drop(other);
        assert!(is_delivered(&locked.write(&[delivery("{\"type\":\"a\"}")])));
    }

    #[test]
    fn no_event_reaches_the_relays_own_files() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("journal")).expect("made");
        std::fs::write(directory.path().join("state.db"), "database").expect("written");
        std::fs::hard_link(directory.path().join("state.db"), directory.path().join("innocent")).expect("linked");
        let file = file(directory.path(), "{type}");
        for name in ["state.db", "lock", "journal", "STATE.DB", "state.db-wal", "innocent"] {
            let outcomes = file.write(&[delivery(&format!("{{\"type\":\"{name}\"}}"))]);
            let is_refused = matches!(&outcomes[0], Outcome::Reject { reason } if reason.is_local);
            assert!(is_refused, "{name}: {outcomes:?}");
        }
        assert_eq!(std::fs::read(directory.path().join("state.db")).expect("there"), b"database");
        std::fs::create_dir(directory.path().join("sub")).expect("made");
        let outcomes = file.write(&[delivery("{\"type\":\"sub\"}")]);
        assert!(matches!(&outcomes[0], Outcome::Reject { reason } if reason.is_local), "{outcomes:?}");
        assert!(is_delivered(&file.write(&[delivery("{\"type\":\"bounced\"}")])));
    }

    #[test]
    fn a_file_and_its_directories_have_the_mode_that_the_config_says() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let mode =
            |path: &str| std::fs::metadata(directory.path().join(path)).expect("there").permissions().mode() & 0o7777;
        let mut shared = file(directory.path(), "shared/sub/x");
        shared.how.mode = 0o640;
        assert!(is_delivered(&shared.write(&[delivery("{\"type\":\"a\"}")])));
        assert_eq!((mode("shared"), mode("shared/sub"), mode("shared/sub/x")), (0o750, 0o750, 0o640));
        assert!(is_delivered(&file(directory.path(), "own/x").write(&[delivery("{\"type\":\"a\"}")])));
        assert_eq!((mode("own"), mode("own/x")), (0o700, 0o600));
    }

    fn pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    }

    #[test]
    fn a_pipe_gets_each_line_once_and_without_a_reader_nothing_waits() {
        use std::io::{BufRead, BufReader};
        use std::os::unix::fs::OpenOptionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        pipe(&path);
        let batch = [1, 2, 3].map(|n| delivery(&format!("{{\"type\":\"a\",\"n\":{n}}}")));
        let mut lines = file(directory.path(), "x");
        let is_retry = |outcomes: &[Outcome], part: &str| {
            let says = |reason: &super::super::Reason| reason.text.contains(part);
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { reason, .. } if says(reason)))
        };
        assert!(is_retry(&lines.write(&batch), "fsync: never"), "nothing is written that cannot be synced");
        lines.how.syncs = false;
        assert!(is_retry(&lines.write(&batch), "nobody reads it"));
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let reader = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).expect("opened");
        assert!(is_delivered(&lines.write(&batch)));
        drop(lines);
        let read: Vec<String> = BufReader::new(reader).lines().map(|line| line.expect("a line")).collect();
        assert_eq!(read.len(), 3, "{read:?}");
    }

    #[test]
    fn a_device_takes_lines_where_nothing_is_synced() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut lines = file(directory.path(), "/dev/null");
        lines.how.syncs = false;
        assert!(is_delivered(&lines.write(&[delivery("{\"type\":\"a\"}")])));
        let mut full = file(directory.path(), "/dev/full");
        full.how.syncs = false;
        assert!(!is_delivered(&full.write(&[delivery("{\"type\":\"a\"}")])));
    }

    #[test]
    fn events_of_one_batch_go_each_to_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(directory.path(), "{type}");
        let batch = ["sent", "../../up", "sent"].map(|name| delivery(&format!("{{\"type\":\"{name}\"}}")));
        assert!(is_delivered(&file.write(&batch)));
        let lines = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("there").lines().count();
        assert_eq!((lines("sent"), lines("_.._.._up")), (2, 1));
    }
}

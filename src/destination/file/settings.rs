//! `rotate`, `gzip` and `keep` of a file destination: when its files are closed, and what becomes of them.

use std::time::Duration;

use super::super::path_template::PathTemplate;
use super::closed::Rotation;
use super::place::{self, Place};
use super::upkeep::Keeping;
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Defaulted, Info, Key, Of, Section, boolean, by_hand, duration, key, size, whole};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Ten years: whoever keeps longer keeps for good.
const AGE_MAX: Duration = Duration::from_secs(3660 * 24 * 60 * 60);

const ROTATE: Key<()> = key("rotate", by_hand(Of::Map(rotate_keys)))
    .seen(Sight::All)
    .about("When a file is closed and another begun under the same name. A closed file has the moment of that in its name, in UTC: `events.20261128T021500Z.ndjson`. Where `path` holds `{date}`, a file is closed by itself ten minutes after its day (or `{hour}`).")
    .example("{ size: 100MiB, every: 1d }");
const SIZE: Key<u64> = key("size", size(1 << 10..=1 << 40))
    .about("No line makes a file longer than this, but for one that is longer itself.")
    .example("100MiB");
const EVERY: Key<Duration> = key("every", duration(Duration::from_secs(60)..=Duration::from_secs(31 * 24 * 60 * 60)))
    .about("A file holds what was written within one such time, counted from midnight in `timezone`, and from Monday on: `1h`, `1d`, `7d`. One that is no part of a day or a week, like `7h`, is counted on from the first Monday of 1970. In which nothing was written has no file.")
    .example("1d");
const GZIP: Defaulted<bool> = key("gzip", boolean())
    .about("Packs closed files: `….gz` takes the place of each once it is on the disk. What comes late for a day whose file is packed begins another, which is packed under a name of its own. Packing leaves 1 GiB of the disk free.")
    .example("true")
    .default(false);
const KEEP: Key<()> = key("keep", by_hand(Of::Map(keep_keys)))
    .seen(Sight::All)
    .about("Which closed files stay, packed or not: the others are removed. A file that is still added to is never removed, nor any that this destination would not name so: what was put aside as `….other`, also the table before a change of `columns`, stays until you remove it.")
    .example("{ files: 30, max_age: 90d }");
const FILES: Key<u64> = key("files", whole(1..=100_000))
    .about("So many, of each `{type}` and `{source}` where `path` tells them apart.")
    .example("30");
const MAX_AGE: Key<Duration> =
    key("max_age", duration(HOUR..=AGE_MAX)).about("Until so long after the last line was added.").example("90d");

/// Its keys.
pub const KEYS: [Info; 3] = [ROTATE.info, GZIP.info, KEEP.info];

fn rotate_keys() -> Section {
    Section::of(&[SIZE.info, EVERY.info])
}

fn keep_keys() -> Section {
    Section::of(&[FILES.info, MAX_AGE.info])
}

/// Reads what the section says of them; `None` where something is wrong with it, which has been told. `path` stands where it is known.
pub fn read(
    reader: &Reader,
    entries: &mut Entries<'_, '_>,
    path: Option<&PathTemplate>,
) -> Option<(Rotation, Keeping)> {
    let rotate = entries.node(&ROTATE.info);
    let gzip = entries.node(&GZIP.info);
    let keep = entries.node(&KEEP.info);
    let rotation = match rotate {
        None => Rotation::default(),
        Some(node) => {
            let mut entries = reader.map(node, "`rotate`")?;
            let has_any = entries.has(&SIZE.info) || entries.has(&EVERY.info);
            let rotation = Rotation { bytes_max: entries.read(&SIZE), every: entries.read(&EVERY) };
            entries.finish();
            if !has_any {
                let help = format!("write rotate: {}", ROTATE.info.example);
                reader.error_with(node.id, "this says neither how long a file may be nor for which time it is", help);
                return None;
            }
            rotation
        }
    };
    let packs = gzip.map_or(Some(GZIP.default), |node| reader.boolean(node))?;
    let (files_max, max_age) = match keep {
        None => (None, None),
        Some(node) => {
            let mut entries = reader.map(node, "`keep`")?;
            let has_any = entries.has(&FILES.info) || entries.has(&MAX_AGE.info);
            let kept = (entries.read(&FILES), entries.read(&MAX_AGE));
            entries.finish();
            if !has_any {
                let help = format!("write keep: {}", KEEP.info.example);
                reader.error_with(node.id, "this says neither how many files stay nor for how long", help);
                return None;
            }
            kept
        }
    };
    let files_max = files_max.and_then(|files| usize::try_from(files).ok());
    let keeping = Keeping { packs, files_max, max_age };
    if let Some(path) = path {
        check(reader, [rotate, gzip.filter(|_| packs), keep], path, rotation);
    }
    Some((rotation, keeping))
}

/// Tells of what does nothing: a stream has no files, and files that are never closed are neither packed nor removed.
fn check(reader: &Reader, nodes: [Option<&Node>; 3], path: &PathTemplate, rotation: Rotation) {
    let Some(first) = nodes.into_iter().flatten().next() else { return };
    let is_stream =
        !path.has_places() && !reader.is_strangers() && matches!(place::look(path.pattern()), Place::Stream(_));
    if is_stream {
        let help = "take it out: who reads the stream keeps files of it".to_owned();
        reader.error_with(first.id, "what is written there goes into no file that could be closed", help);
        return;
    }
    // One that is wrong has been told.
    if rotation.is_any() || nodes[0].is_some() || path.has_date() {
        return;
    }
    if let Some(node) = nodes[1].or(nodes[2]) {
        let help = format!("write rotate: {} beside it, or a path with {{date}}", ROTATE.info.example);
        let name = if nodes[1].is_some() { "packed" } else { "removed" };
        reader.error_with(node.id, format!("no file is ever closed here, so none is {name}"), help);
    }
}

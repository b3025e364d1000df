//! Files that are closed, packed and removed, on real disks, and what a crash at any point leaves of them.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use flate2::read::GzDecoder;
use tokio_util::sync::CancellationToken;

use super::super::template::tests::delivery;
use super::closed::{LATE, Rotation};
use super::lines_tests::{file, is_delivered};
use super::table::Table;
use super::upkeep::Keeping;
use super::{Delivery, Lines, TimeZone};

/// The 28th of November 2026, 02:15 UTC.
const NOW_MS: u64 = 1_795_832_100_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn event(n: u32) -> Delivery {
    delivery(&format!(r#"{{"type":"sent","n":{n}}}"#))
}

fn bare(directory: &Path, path: &str) -> Lines {
    let mut lines = file(directory, path);
    lines.has_envelope = false;
    lines
}

fn write(lines: &Lines, numbers: impl IntoIterator<Item = u32>, now_ms: u64) {
    let batch: Vec<Delivery> = numbers.into_iter().map(event).collect();
    assert!(is_delivered(&lines.write_batch(&batch, now_ms)));
}

fn look_after(lines: &Lines, now_ms: u64) {
    lines.look_after(now_ms, &CancellationToken::new()).expect("nothing is in its way");
}

/// The names of all files below a directory.
fn names(directory: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(at) = directories.pop() {
        for entry in std::fs::read_dir(at).expect("a directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                names.insert(path.strip_prefix(directory).expect("below").display().to_string());
            }
        }
    }
    names
}

fn text(path: &Path) -> String {
    let read = std::fs::read(path).expect("there");
    if path.extension().is_none_or(|extension| extension != "gz") {
        return String::from_utf8(read).expect("text");
    }
    let mut text = String::new();
    GzDecoder::new(&read[..]).read_to_string(&mut text).expect("packed text");
    text
}

/// The numbers in all files, in the order of the files' names.
fn numbers(directory: &Path) -> Vec<u32> {
    let of =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["n"].as_u64().expect("n") as u32;
    names(directory).iter().flat_map(|name| text(&directory.join(name)).lines().map(of).collect::<Vec<_>>()).collect()
}

fn set_written(path: &Path, ms: u64) {
    let file = std::fs::OpenOptions::new().append(true).open(path).expect("there");
    file.set_modified(UNIX_EPOCH + Duration::from_millis(ms)).expect("set");
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_file_is_closed_before_a_line_makes_it_too_long_and_no_line_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    // Two lines fit, and not three.
    lines.rotation.bytes_max = Some(50);
    write(&lines, 0..5, NOW_MS);
    let expected = ["x.20261128T021500Z-1.ndjson", "x.20261128T021500Z.ndjson", "x.ndjson"];
    assert_eq!(names(directory.path()), set(&expected));
    assert_eq!(text(&directory.path().join(expected[1])).lines().count(), 2);
    assert_eq!(text(&directory.path().join(expected[2])).lines().count(), 1);
    write(&bare_again(&lines, directory.path()), 5..6, NOW_MS);
    assert_eq!(text(&directory.path().join("x.ndjson")).lines().count(), 2, "after a restart it goes on");
    let mut all = numbers(directory.path());
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
}

/// The same destination after a restart.
fn bare_again(before: &Lines, directory: &Path) -> Lines {
    before.lock().clear();
    let mut lines = bare(directory, "x.ndjson");
    (lines.rotation, lines.keeping) = (before.rotation, before.keeping);
    lines
}

#[test]
fn a_file_is_closed_when_its_time_is_over_also_after_a_restart_and_without_a_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.rotation = Rotation { bytes_max: None, every: Some(Duration::from_millis(HOUR_MS)) };
    write(&lines, [0], NOW_MS);
    write(&lines, [1], NOW_MS + HOUR_MS / 2);
    assert_eq!(names(directory.path()), set(&["x.ndjson"]));
    write(&lines, [2], NOW_MS + HOUR_MS);
    assert_eq!(names(directory.path()), set(&["x.20261128T031500Z.ndjson", "x.ndjson"]));
    set_written(&directory.path().join("x.ndjson"), NOW_MS + HOUR_MS);
    write(&bare_again(&lines, directory.path()), [3], NOW_MS + 2 * HOUR_MS);
    assert_eq!(names(directory.path()).len(), 3);
    set_written(&directory.path().join("x.ndjson"), NOW_MS + 2 * HOUR_MS);
    let quiet = bare_again(&lines, directory.path());
    look_after(&quiet, NOW_MS + 2 * HOUR_MS + HOUR_MS / 2);
    assert!(directory.path().join("x.ndjson").exists());
    look_after(&quiet, NOW_MS + 3 * HOUR_MS);
    assert!(!directory.path().join("x.ndjson").exists(), "{:?}", names(directory.path()));
    let mut all = numbers(directory.path());
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
}

#[test]
fn a_closed_file_is_packed_and_as_old_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.rotation.bytes_max = Some(50);
    lines.keeping.packs = true;
    write(&lines, 0..3, NOW_MS);
    let closed = directory.path().join("x.20261128T021500Z.ndjson");
    set_written(&closed, NOW_MS - HOUR_MS);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&["x.20261128T021500Z.ndjson.gz", "x.ndjson"]));
    let packed = directory.path().join("x.20261128T021500Z.ndjson.gz");
    let written = std::fs::metadata(&packed).and_then(|metadata| metadata.modified()).expect("there");
    assert_eq!(written, UNIX_EPOCH + Duration::from_millis(NOW_MS - HOUR_MS));
    assert_eq!(numbers(directory.path()), [0, 1, 2]);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()).len(), 2);
    // What is closed later in the same second has a name of its own.
    write(&lines, 3..5, NOW_MS);
    assert!(directory.path().join("x.20261128T021500Z-1.ndjson").exists());
}

#[test]
fn a_crash_at_any_point_of_packing_leaves_each_line_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let begin = || {
        names(directory.path()).iter().for_each(|name| std::fs::remove_file(at(name)).expect("removed"));
        let mut lines = bare(directory.path(), "x.ndjson");
        lines.keeping.packs = true;
        write(&lines, 0..3, NOW_MS);
        lines.lock().clear();
        std::fs::rename(at("x.ndjson"), at("x.20261128T021500Z.ndjson")).expect("closed");
        lines
    };
    let packed = {
        let lines = begin();
        look_after(&lines, NOW_MS);
        std::fs::read(at("x.20261128T021500Z.ndjson.gz")).expect("packed")
    };
    let partial = ".x.20261128T021500Z.ndjson.gz.partial";
    let crashes: [(&str, &dyn Fn()); 4] = [
        ("while it is packed", &|| std::fs::write(at(partial), &packed[..packed.len() / 2]).expect("written")),
        ("before it has its name", &|| std::fs::write(at(partial), &packed).expect("written")),
        ("before the file goes", &|| std::fs::write(at("x.20261128T021500Z.ndjson.gz"), &packed).expect("written")),
        ("before what was packed was moved", &|| std::fs::write(at(".x.ndjson.gz.partial"), &packed).expect("written")),
    ];
    for (when, crash) in crashes {
        let lines = begin();
        let written = std::fs::metadata(at("x.20261128T021500Z.ndjson")).and_then(|it| it.modified()).expect("there");
        crash();
        if let Ok(packed) = std::fs::OpenOptions::new().append(true).open(at("x.20261128T021500Z.ndjson.gz")) {
            packed.set_modified(written).expect("set");
        }
        look_after(&lines, NOW_MS);
        assert_eq!(names(directory.path()), set(&["x.20261128T021500Z.ndjson.gz"]), "{when}");
        assert_eq!(numbers(directory.path()), [0, 1, 2], "{when}");
    }
}

#[test]
fn a_file_that_was_packed_and_is_not_gone_yet_counts_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.keeping.packs = true;
    lines.keeping.files_max = Some(2);
    for (n, name, age_ms) in [(1, "x.20261127T000000Z.ndjson", DAY_MS), (2, "x.20261128T000000Z.ndjson", HOUR_MS)] {
        write(&lines, [n], NOW_MS);
        lines.lock().clear();
        std::fs::rename(at("x.ndjson"), at(name)).expect("closed");
        set_written(&at(name), NOW_MS - age_ms);
    }
    look_after(&lines, NOW_MS);
    // As a crash leaves it before the file goes that was packed.
    let packed = text(&at("x.20261128T000000Z.ndjson.gz"));
    std::fs::write(at("x.20261128T000000Z.ndjson"), packed).expect("written");
    set_written(&at("x.20261128T000000Z.ndjson"), NOW_MS - HOUR_MS);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&["x.20261127T000000Z.ndjson.gz", "x.20261128T000000Z.ndjson.gz"]));
    assert_eq!(numbers(directory.path()), [1, 2]);
}

#[test]
fn what_comes_late_for_a_packed_day_is_packed_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "{date}.ndjson");
    lines.keeping.packs = true;
    // The delivery arrived on the 14th of November 2023.
    let path = directory.path().join("2023-11-14.ndjson");
    write(&lines, 0..2, NOW_MS);
    set_written(&path, NOW_MS - LATE.as_millis() as u64 + 1);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&["2023-11-14.ndjson"]), "more may come");
    set_written(&path, NOW_MS - LATE.as_millis() as u64);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&["2023-11-14.ndjson.gz"]));
    write(&lines, [2], NOW_MS);
    set_written(&path, NOW_MS - HOUR_MS);
    look_after(&lines, NOW_MS);
    let expected = ["2023-11-14.20261128T021500Z.ndjson.gz", "2023-11-14.ndjson.gz"];
    assert_eq!(names(directory.path()), set(&expected));
    let mut all = numbers(directory.path());
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn what_comes_late_and_is_the_same_as_what_was_packed_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "{date}.ndjson");
    lines.keeping.packs = true;
    for hours in [2, 1] {
        write(&lines, [7], NOW_MS);
        set_written(&directory.path().join("2023-11-14.ndjson"), NOW_MS - hours * HOUR_MS);
        look_after(&lines, NOW_MS);
    }
    assert_eq!(numbers(directory.path()), [7, 7], "{:?}", names(directory.path()));
}

#[test]
fn a_table_and_lines_of_json_under_one_path_are_files_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines = bare(directory.path(), "x.csv");
    for number in 0..3 {
        write(&table(directory.path(), &["type", "n"]), [number], NOW_MS);
        write(&lines, [number], NOW_MS);
        lines.lock().clear();
    }
    let all: String = names(directory.path()).iter().map(|name| text(&directory.path().join(name))).collect();
    assert_eq!(all.matches("sent,").count(), 3, "{all}");
    assert_eq!(all.matches("{").count(), 3, "{all}");
}

#[test]
fn too_many_and_too_old_ones_go_and_nothing_else_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let put = |name: &str, written_ms: u64| {
        std::fs::create_dir_all(at(name).parent().expect("a directory")).expect("made");
        std::fs::write(at(name), "x\n").expect("written");
        set_written(&at(name), written_ms);
    };
    let mut lines = file(directory.path(), "{date}/{type}.ndjson");
    lines.timezone = TimeZone::UTC;
    lines.keeping = Keeping { packs: false, files_max: Some(2), max_age: Some(Duration::from_millis(10 * DAY_MS)) };
    for (day, age) in [("2026-11-10", 18), ("2026-11-24", 4), ("2026-11-25", 3), ("2026-11-26", 2), ("2026-11-28", 0)] {
        put(&format!("{day}/sent.ndjson"), NOW_MS - age * DAY_MS);
    }
    put("2026-11-09/opened.ndjson", NOW_MS - 18 * DAY_MS);
    put("2026-11-25/opened.20261126T000000Z.ndjson.gz", NOW_MS - 3 * DAY_MS);
    for foreign in ["2026-11-10/notes.txt", "notes.ndjson", "other/sent.ndjson", "2026-11-10/deep/sent.ndjson"] {
        put(foreign, 0);
    }
    std::os::unix::fs::symlink(at("other"), at("2026-11-01")).expect("linked");
    look_after(&lines, NOW_MS);
    let expected = [
        "2026-11-10/deep/sent.ndjson",
        "2026-11-10/notes.txt",
        "2026-11-25/opened.20261126T000000Z.ndjson.gz",
        "2026-11-25/sent.ndjson",
        "2026-11-26/sent.ndjson",
        "2026-11-28/sent.ndjson",
        "notes.ndjson",
        "other/sent.ndjson",
    ];
    let found = names(directory.path());
    let found: BTreeSet<String> = found.into_iter().filter(|name| !name.starts_with("2026-11-01")).collect();
    assert_eq!(found, set(&expected));
    assert!(!at("2026-11-09").exists(), "a directory that held nothing else goes as well");
}

#[test]
fn what_others_have_at_such_a_path_is_neither_closed_nor_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let put = |name: &str| {
        std::fs::write(directory.path().join(name), "2026-11-01 not ours\n").expect("written");
        set_written(&directory.path().join(name), NOW_MS - 60 * DAY_MS);
    };
    let mut lines = bare(directory.path(), "{type}.log");
    lines.rotation.every = Some(Duration::from_millis(DAY_MS));
    lines.keeping = Keeping { packs: true, files_max: Some(1), max_age: Some(Duration::from_millis(DAY_MS)) };
    let foreign = ["dpkg.log", "app.log.gz", "app.log.1.log", "app.log"];
    foreign.into_iter().for_each(put);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&foreign));
    put("sent.log");
    write(&lines, [1], NOW_MS);
    let mut all = set(&foreign);
    all.extend(set(&["sent.log", "sent.log.20261128T021500Z-0.other"]));
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), all);
}

#[test]
fn a_line_that_comes_while_others_are_packed_is_not_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.keeping.max_age = Some(Duration::from_millis(HOUR_MS));
    let path = directory.path().join("x.20261101T000000Z.ndjson");
    std::fs::write(&path, "{\"n\":1}\n").expect("written");
    set_written(&path, NOW_MS);
    lines.remove(&path, NOW_MS - DAY_MS).expect("nothing is in its way");
    assert!(path.exists(), "it is not what was looked at");
    lines.remove(&path, NOW_MS).expect("nothing is in its way");
    assert!(!path.exists());
}

#[test]
fn of_files_that_were_closed_in_one_second_the_last_ones_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.keeping.files_max = Some(2);
    let all = [
        "x.20261101T000000Z.ndjson",
        "x.20261101T000000Z-2.ndjson",
        "x.20261101T000000Z-9.ndjson",
        "x.20261101T000000Z-10.ndjson",
    ];
    for name in all {
        std::fs::write(directory.path().join(name), "{}\n").expect("written");
        set_written(&directory.path().join(name), NOW_MS);
    }
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&all[2..]));
}

#[test]
fn a_file_that_somebody_else_has_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.keeping = Keeping { packs: true, files_max: None, max_age: Some(Duration::from_millis(HOUR_MS)) };
    let path = directory.path().join("x.20261101T000000Z.ndjson");
    std::fs::write(&path, "{}\n").expect("written");
    set_written(&path, NOW_MS - DAY_MS);
    let other = std::fs::File::open(&path).expect("there");
    other.lock().expect("locked");
    look_after(&lines, NOW_MS);
    assert!(path.exists());
    drop(other);
    look_after(&lines, NOW_MS);
    assert_eq!(names(directory.path()), set(&[]));
}

#[test]
fn a_writer_that_waited_for_a_file_that_went_begins_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.ndjson");
    std::fs::write(&path, "{\"n\":0}\n").expect("written");
    let other = std::fs::File::open(&path).expect("there");
    other.lock().expect("locked");
    let lines = bare(directory.path(), "x.ndjson");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&lines, [1], NOW_MS));
        // It has opened the file, or will: either way the lines go where the name leads.
        std::fs::remove_file(&path).expect("removed");
        drop(other);
        writing.join().expect("written");
    });
    assert_eq!(numbers(directory.path()), [1]);
}

#[test]
fn packing_that_is_stopped_leaves_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.keeping.packs = true;
    std::fs::write(directory.path().join("x.20261101T000000Z.ndjson"), "{}\n").expect("written");
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(lines.look_after(NOW_MS, &stop), Ok(()));
    assert_eq!(names(directory.path()), set(&["x.20261101T000000Z.ndjson"]));
}

fn table(directory: &Path, paths: &[&str]) -> Lines {
    let mut lines = file(directory, "x.csv");
    let table = Table::of(paths);
    lines.form = table.form();
    lines.table = Some(table);
    lines
}

#[test]
fn a_table_has_its_header_once_in_each_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut lines = table(directory.path(), &["type", "n"]);
    lines.rotation.bytes_max = Some(25);
    write(&lines, 0..3, NOW_MS);
    lines.lock().clear();
    write(&lines, 3..4, NOW_MS);
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("there");
    assert_eq!(text("x.20261128T021500Z.csv"), "type,n\r\nsent,0\r\nsent,1\r\n");
    assert_eq!(text("x.csv"), "type,n\r\nsent,2\r\nsent,3\r\n");
}

#[test]
fn a_record_that_was_cut_off_is_taken_away_and_swallows_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.csv");
    for (torn, expected) in [
        ("", "type,n\r\nsent,7\r\n"),
        ("type", "type,n\r\nsent,7\r\n"),
        ("type,n\r", "type,n\r\nsent,7\r\n"),
        ("type,n\r\n", "type,n\r\nsent,7\r\n"),
        ("type,n\r\nsent,1\r\n\"half\nof", "type,n\r\nsent,1\r\nsent,7\r\n"),
        ("type,n\r\n\"half\n", "type,n\r\nsent,7\r\n"),
        ("type,n\r\nsent,1\r", "type,n\r\nsent,7\r\n"),
    ] {
        std::fs::write(&path, torn).expect("written");
        write(&table(directory.path(), &["type", "n"]), [7], NOW_MS);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), expected, "{torn:?}");
        assert_eq!(names(directory.path()).len(), 1, "{torn:?}");
    }
}

#[test]
fn a_table_with_other_columns_is_closed_and_nothing_of_it_is_touched() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.csv");
    for other in ["type\r\nsent\r\n", "type,n\nsent,1\n", "{\"type\":\"sent\"}\n", "typ"] {
        std::fs::write(&path, other).expect("written");
        write(&table(directory.path(), &["type", "n"]), [7], NOW_MS);
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "type,n\r\nsent,7\r\n", "{other:?}");
        let closed = directory.path().join("x.csv.20261128T021500Z-0.other");
        if other == "typ" {
            assert!(!closed.exists(), "the header itself was cut off");
        } else {
            assert_eq!(std::fs::read_to_string(&closed).expect("there"), other);
            std::fs::remove_file(&closed).expect("removed");
        }
    }
}

#[test]
fn a_closed_file_is_never_written_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    let mut lines = bare(directory.path(), "x.ndjson");
    lines.rotation.bytes_max = Some(20);
    lines.keeping.packs = true;
    std::fs::write(at("x.20261128T021500Z.ndjson"), "{\"n\":100}\n").expect("written");
    std::fs::write(at("x.20261128T021500Z-1.ndjson.gz"), "not packed by us").expect("written");
    write(&lines, 0..2, NOW_MS);
    assert!(at("x.20261128T021500Z-2.ndjson").exists(), "{:?}", names(directory.path()));
    look_after(&lines, NOW_MS);
    assert_eq!(std::fs::read(at("x.20261128T021500Z-1.ndjson.gz")).expect("there"), b"not packed by us");
    assert_eq!(text(&at("x.20261128T021500Z.ndjson.gz")), "{\"n\":100}\n");
}

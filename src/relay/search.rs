//! Looks for a text in every file below a directory, however the files spell it: the proof that nothing of somebody is left.
//!
//! What is searched is every byte: what no list shows, what a file has behind its end, what a database has freed. Packed files (`.gz`) are
//! unpacked in passing. No symlink is followed, and a file with two names is searched once. Nothing is changed.
//!
//! A text is found in the spellings of [`spelled`](crate::spelled), and in no other: not in base64, quoted-printable or punycode, and in nothing
//! that is packed within a file. Where it is a part of a longer word ([`is_part`]) it is counted apart.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::destination::is_own_file;
use crate::spelled::{Finder, OVERLAP_BYTES, PIECE_BYTES, is_part};

/// Shown in front of what is read twice, so that it is seen what a text is a part of.
const LEAD_BYTES: usize = 64;
/// Files that are named: who has more of them reads how many.
const NAMED_MAX: usize = 1000;

/// A place in which the text stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundIn {
    /// The file, as it is called below the directory.
    pub name: String,
    /// The table of the database in the file, where it was found by its rows.
    pub table: Option<String>,
    pub hits: u64,
    /// More of them are parts of longer words.
    pub parts: u64,
    /// The first byte of the first, in what is unpacked.
    pub first_at: Option<u64>,
    /// It is the relay's own file; others are those of file destinations, and whatever people put there.
    pub is_own: bool,
}

/// A file that could not be searched whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub name: String,
    pub why: String,
    pub is_own: bool,
}

/// What was searched and found so far.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    pub files: u64,
    pub bytes: u64,
    pub bytes_in_all: u64,
    pub found: Vec<FoundIn>,
    /// Places beyond those that are named.
    pub found_more: u64,
    /// In how many of the relay's own places it stands.
    pub own: u64,
    /// Files that could not be searched whole.
    pub unread: Vec<Unread>,
}

impl Searched {
    /// Takes down a place, if something was found there.
    pub fn add(&mut self, found: FoundIn) {
        if found.hits + found.parts == 0 {
            return;
        }
        self.own += u64::from(found.is_own && found.hits > 0);
        if self.found.len() < NAMED_MAX { self.found.push(found) } else { self.found_more += 1 }
    }

    /// Takes down what could not be read. What is let go meanwhile holds nothing any more.
    fn not_read(&mut self, path: &Path, directory: &Path, error: &io::Error) {
        if error.kind() != ErrorKind::NotFound && self.unread.len() < NAMED_MAX {
            let is_own = path == directory || is_own_file(path, directory);
            self.unread.push(Unread { name: name_of(path, directory), why: error.to_string(), is_own });
        }
    }

    /// The relay's own files were searched whole, and it stands in none.
    pub fn is_clean(&self) -> bool {
        self.own == 0 && !self.unread.iter().any(|unread| unread.is_own)
    }
}

/// Searches all files below a directory, the relay's `data_dir`. Asks after each piece whether it goes on, with what was searched so far.
/// Blocks on the disk.
pub(super) fn search(directory: &Path, finder: &Finder, goes_on: &mut dyn FnMut(&Searched) -> bool) -> Searched {
    let mut searched = Searched::default();
    let files = list(directory, &mut searched);
    searched.bytes_in_all = files.iter().map(|file| file.bytes).sum();
    for Listed { path, bytes, is_own, .. } in files {
        if !goes_on(&searched) {
            break;
        }
        let before = searched.bytes;
        match search_file(&path, finder, &mut searched, goes_on) {
            Ok(found) => {
                searched.files += 1;
                searched.add(FoundIn { name: name_of(&path, directory), is_own, ..found });
            }
            Err(error) => searched.not_read(&path, directory, &error),
        }
        searched.bytes = before + bytes;
    }
    searched
}

fn name_of(path: &Path, directory: &Path) -> String {
    path.strip_prefix(directory).unwrap_or(path).display().to_string()
}

/// A file that is to be searched.
struct Listed {
    path: PathBuf,
    bytes: u64,
    is_own: bool,
    /// Its device and inode.
    identity: (u64, u64),
}

/// All files below a directory, each once: the relay's own first, in the order of their names.
fn list(directory: &Path, searched: &mut Searched) -> Vec<Listed> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(at) = directories.pop() {
        let mut look = |entry: io::Result<std::fs::DirEntry>| {
            let path = entry?.path();
            let metadata = std::fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                directories.push(path);
            } else if metadata.is_file() {
                let (bytes, is_own) = (metadata.len(), is_own_file(&path, directory));
                files.push(Listed { path, bytes, is_own, identity: (metadata.dev(), metadata.ino()) });
            }
            Ok(())
        };
        let looked = std::fs::read_dir(&at).and_then(|mut entries| entries.try_for_each(&mut look));
        if let Err(error) = looked {
            searched.not_read(&at, directory, &error);
        }
    }
    // What has several names goes by the one that is the relay's own.
    files.sort_by(|one, other| (!one.is_own, &one.path).cmp(&(!other.is_own, &other.path)));
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.identity));
    files
}

/// Searches one file, and what it is packed of.
fn search_file(
    path: &Path,
    finder: &Finder,
    searched: &mut Searched,
    goes_on: &mut dyn FnMut(&Searched) -> bool,
) -> io::Result<FoundIn> {
    let is_packed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let file = File::open(path)?;
    match is_packed {
        // Its progress is not told: nobody knows how long it is.
        true => search_in(MultiGzDecoder::new(io::BufReader::new(file)), finder, &mut |_| goes_on(searched)),
        false => search_in(file, finder, &mut |bytes| {
            searched.bytes += bytes;
            goes_on(searched)
        }),
    }
}

/// Searches what can be read once, piece by piece, up to its end or until it shall not go on; that is asked with the bytes of each piece.
fn search_in(mut from: impl Read, finder: &Finder, goes_on: &mut dyn FnMut(u64) -> bool) -> io::Result<FoundIn> {
    let mut found = FoundIn { name: String::new(), table: None, hits: 0, parts: 0, first_at: None, is_own: false };
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    // Where in the file the piece begins, and from where in it on nothing was counted yet.
    let (mut place, mut counted_to) = (0_u64, 0);
    loop {
        let room = (PIECE_BYTES - piece.len()) as u64;
        let read = (&mut from).take(room).read_to_end(&mut piece)?;
        let is_last = (read as u64) < room;
        let end = if is_last { piece.len() } else { piece.len() - OVERLAP_BYTES };
        for range in finder.find(&piece).into_iter().filter(|range| (counted_to..end).contains(&range.start)) {
            found.first_at = found.first_at.or(Some(place + range.start as u64));
            *(if is_part(&piece, &range) { &mut found.parts } else { &mut found.hits }) += 1;
        }
        if is_last || !goes_on(read as u64) {
            return Ok(found);
        }
        piece.drain(..end - LEAD_BYTES);
        (place, counted_to) = (place + (end - LEAD_BYTES) as u64, LEAD_BYTES);
    }
}

/// Counts the places in one text, as [`search`] does for a file.
pub(super) fn search_text(text: &[u8], finder: &Finder) -> [u64; 2] {
    let found = finder.find(text);
    let parts = found.iter().filter(|range| is_part(text, range)).count();
    [found.len() - parts, parts].map(|count| count as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::spelled::Letters;

    const ANN: &str = "ann@example.com";

    fn look(directory: &Path) -> Searched {
        search(directory, &Finder::new(vec![ANN.to_owned()], Letters::Any), &mut |_| true)
    }

    fn hits(searched: &Searched) -> Vec<(&str, u64, bool)> {
        searched.found.iter().map(|found| (found.name.as_str(), found.hits, found.is_own)).collect()
    }

    #[test]
    fn it_is_found_once_wherever_it_stands_at_the_edges_of_pieces() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x");
        let step = PIECE_BYTES - OVERLAP_BYTES - LEAD_BYTES;
        for edge in [0, PIECE_BYTES - OVERLAP_BYTES, PIECE_BYTES, PIECE_BYTES + step, 2 * PIECE_BYTES] {
            for at in edge.saturating_sub(ANN.len() + 1)..=edge + 1 {
                let mut bytes = vec![b' '; at];
                bytes.extend_from_slice(ANN.as_bytes());
                // Nothing behind it, or more than a piece.
                for behind in [0, 2 * PIECE_BYTES] {
                    bytes.resize(at + ANN.len() + behind, 0);
                    std::fs::write(&path, &bytes).expect("written");
                    let searched = look(directory.path());
                    assert_eq!(hits(&searched), [("x", 1, false)], "at {at}");
                    assert_eq!(searched.found[0].first_at, Some(at as u64));
                    assert_eq!((searched.files, searched.bytes), (1, bytes.len() as u64));
                }
            }
        }
    }

    #[test]
    fn files_are_searched_once_with_what_is_packed_and_no_symlink_is_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::write(outside.path().join("hers"), ANN).expect("written");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(at("journal/deep")).expect("made");
        std::fs::create_dir_all(at("archive")).expect("made");
        for name in ["journal/1.journal", "journal/deep/x", "state.db-wal", "archive/plain.ndjson"] {
            std::fs::write(at(name), format!("<{ANN}> {{\"a\":\"ann%40example.com\"}}")).expect("written");
        }
        std::fs::write(at("archive/others.ndjson"), "joann@example.com").expect("written");
        std::fs::write(at("archive/nobodys.ndjson"), "ann at example.com").expect("written");
        std::fs::hard_link(at("journal/1.journal"), at("linked")).expect("linked");
        std::os::unix::fs::symlink(outside.path(), at("out")).expect("linked");
        std::os::unix::fs::symlink(directory.path(), at("archive/round")).expect("linked");
        let mut packed =
            flate2::write::GzEncoder::new(File::create(at("archive/a.gz")).expect("made"), Default::default());
        packed.write_all(ANN.as_bytes()).expect("written");
        packed.finish().expect("written");
        let searched = look(directory.path());
        let expected = [
            ("journal/1.journal", 2, true),
            ("journal/deep/x", 2, true),
            ("state.db-wal", 2, true),
            ("archive/a.gz", 1, false),
            ("archive/others.ndjson", 0, false),
            ("archive/plain.ndjson", 2, false),
        ];
        assert_eq!(hits(&searched), expected);
        assert_eq!(searched.found[4].parts, 1);
        assert_eq!((searched.own, searched.files, searched.unread.len()), (3, 7, 0));
        assert!(!searched.is_clean());
    }

    #[test]
    fn what_cannot_be_searched_is_told_and_an_own_file_of_that_proves_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("a.gz"), "this is not gzip").expect("written");
        std::fs::write(directory.path().join("b"), "nothing").expect("written");
        let searched = look(directory.path());
        assert_eq!((searched.unread.len(), searched.unread[0].name.as_str()), (1, "a.gz"));
        assert!(searched.is_clean(), "it is none of the relay's own");
        std::fs::create_dir(directory.path().join("journal")).expect("made");
        std::fs::rename(directory.path().join("a.gz"), directory.path().join("journal/a.gz")).expect("moved");
        assert!(!look(directory.path()).is_clean());
    }

    #[test]
    fn a_search_that_is_stopped_ends_between_two_pieces() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("x"), vec![b' '; 4 * PIECE_BYTES]).expect("written");
        std::fs::write(directory.path().join("y"), ANN).expect("written");
        let finder = Finder::new(vec![ANN.to_owned()], Letters::Any);
        let searched = search(directory.path(), &finder, &mut |searched| searched.bytes == 0);
        assert_eq!((searched.files, searched.found.len()), (1, 0));
    }
}

//! A body with some of its fields alone, without others, and with others as `***` or as a hash.
//!
//! It works on the bytes: what it does not change stays as it came, digits, escapes, order of keys, white space and depth. It takes the paths
//! as rules do ([`FieldPath`]), and is stricter where what it misses would be told to somebody: of a key that stands twice each is changed, a
//! field is changed in all places where Vero may have it, and arrays in arrays are crossed. What nests deeper than it goes is an error.
//!
//! `tree`: the paths, compiled; `scan`: how far a text has been read.

mod scan;
mod tree;

use std::ops::Range;

use ring::{digest, hmac};

use self::scan::Scan;
use self::tree::{Active, Tree};
use super::path::{FieldPath, Segment};
use super::value::decode_string;
use super::vero;

/// How many objects and arrays may lie around a field that is changed. A path has 32 steps at most, each of which may cross an array.
const DEPTH_MAX: usize = 128;

/// What a masked value becomes.
const MASKED: &str = "\"***\"";

/// What becomes of a field. Of several the last counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Pick,
    Hash,
    Mask,
    /// Its value goes, and it is as long as it was.
    Blank,
    Drop,
}

/// The fields of each list, as a config names them.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// These alone, where there is such a list.
    pub pick: Option<Vec<FieldPath>>,
    pub drop: Vec<FieldPath>,
    pub mask: Vec<FieldPath>,
    pub hash: Vec<FieldPath>,
}

/// What is done with a body: first `pick`, then `drop`, then `mask`, then `hash`.
#[derive(Debug)]
pub struct Shaping {
    pick: Option<Pick>,
    changes: Tree,
    key: Option<hmac::Key>,
}

/// Vero has some fields elsewhere where another is absent, so there are two.
#[derive(Debug)]
struct Pick {
    usual: Tree,
    without_user: Tree,
}

/// Why a body is not changed, and so not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unshaped {
    #[error(
        "a field of `drop`, `mask` or `hash` nests deeper than {DEPTH_MAX} levels, so nothing of the event is sent"
    )]
    TooDeep,
    /// Bodies are checked when they arrive.
    #[error("the body is no JSON object")]
    NotJson,
}

impl Shaping {
    /// With `key`, a hash is an HMAC by it.
    pub fn new(lists: &Lists, key: Option<&[u8]>) -> Self {
        let mut changes = Tree::default();
        for (paths, mark) in [(&lists.drop, Mark::Drop), (&lists.mask, Mark::Mask), (&lists.hash, Mark::Hash)] {
            for path in paths {
                changes.add(path, mark);
                others_below(path).iter().for_each(|other| changes.add(other, mark));
            }
        }
        let pick = lists.pick.as_ref().map(|paths| {
            let (mut usual, mut without_user) = (Tree::default(), Tree::default());
            for path in paths {
                usual.add(path, Mark::Pick);
                without_user.add(path, Mark::Pick);
                if let Some((other, is_always)) = other(path) {
                    without_user.add(&other, Mark::Pick);
                    if is_always {
                        usual.add(&other, Mark::Pick);
                    }
                }
            }
            Pick { usual, without_user }
        });
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key));
        Self { pick, changes, key }
    }

    /// One that takes the values of some fields away and leaves all else where it was: a body is as long afterwards, what is no value of theirs is the
    /// same bytes, and done again it changes nothing. Of a string each byte becomes a `*`, a number becomes `0`, an object or a list is empty, a
    /// truth is null, with blanks behind it.
    pub fn blanking(paths: &[FieldPath]) -> Self {
        let mut changes = Tree::default();
        for path in paths {
            changes.add(path, Mark::Blank);
            others_below(path).iter().for_each(|other| changes.add(other, Mark::Blank));
        }
        Self { pick: None, changes, key: None }
    }

    /// The body as it goes out.
    pub fn apply(&self, body: &[u8]) -> Result<Vec<u8>, Unshaped> {
        let text = std::str::from_utf8(body).map_err(|_| Unshaped::NotJson)?;
        let picked = match &self.pick {
            Some(pick) => {
                let tree = if has_user(text)? { &pick.usual } else { &pick.without_user };
                Some(self.walked(text, tree, true)?)
            }
            None => None,
        };
        let changed = match self.changes.is_empty() {
            true => picked.unwrap_or_else(|| text.to_owned()),
            false => self.walked(picked.as_deref().unwrap_or(text), &self.changes, false)?,
        };
        Ok(changed.into_bytes())
    }

    fn walked(&self, text: &str, tree: &Tree, is_pick: bool) -> Result<String, Unshaped> {
        let mut scan = Scan::new(text);
        let mut out = String::with_capacity(text.len());
        out.push_str(scan.white());
        if scan.peek() != Some(b'{') {
            return Err(Unshaped::NotJson);
        }
        let mut walk = Walk { scan, out, tree, is_pick, key: self.key.as_ref() };
        walk.object(&Tree::start(), DEPTH_MAX)?;
        let rest = walk.scan.white();
        walk.out.push_str(rest);
        if walk.scan.peek().is_some() { Err(Unshaped::NotJson) } else { Ok(walk.out) }
    }
}

/// Where else Vero has a field, and whether whatever else is there.
fn other(path: &FieldPath) -> Option<(FieldPath, bool)> {
    let text = path.to_string();
    if text == "type" {
        return Some((FieldPath::parse("action").ok()?, true));
    }
    let alias = vero::alias(&text)?;
    Some((FieldPath::parse(alias.other).ok()?, alias.unless.is_none()))
}

/// Where else Vero may have a field, or one that lies in it.
fn others_below(path: &FieldPath) -> Vec<FieldPath> {
    let text = path.to_string();
    let below = format!("{text}.");
    let is_meant = |known: &str| known == text || known.starts_with(&below);
    let known = vero::ALIASES.iter().filter(|alias| is_meant(alias.path)).map(|alias| alias.other);
    let known = known.chain((text == "type").then_some("action"));
    known.filter_map(|other| FieldPath::parse(other).ok()).collect()
}

/// Whether a body has a `user` that is not null: of several the last counts.
fn has_user(text: &str) -> Result<bool, Unshaped> {
    let mut scan = Scan::new(text);
    scan.white();
    let mut has_user = false;
    let mut goes_on = scan.opens(b'{')?;
    while goes_on {
        scan.white();
        let is_user = *scan.string().map(decode_string)? == *"user";
        scan.colon()?;
        let value = scan.value()?;
        has_user = if is_user { value != "null" } else { has_user };
        scan.white();
        goes_on = scan.goes_on(b'}')?;
    }
    Ok(has_user)
}

/// One way over a body.
struct Walk<'w, 't> {
    scan: Scan<'t>,
    out: String,
    tree: &'w Tree,
    /// What no path leads to goes; otherwise it stays.
    is_pick: bool,
    key: Option<&'w hmac::Key>,
}

impl Walk<'_, '_> {
    /// Writes a value, and says whether there is anything to keep. What is written of one that is not is for the caller to take back.
    fn value(&mut self, active: &Active, depth: usize) -> Result<bool, Unshaped> {
        match self.tree.mark(active) {
            Some(Mark::Drop) => {
                self.scan.value()?;
                return Ok(false);
            }
            Some(Mark::Mask) => {
                let value = self.scan.value()?;
                self.out.push_str(if value == "null" { value } else { MASKED });
                return Ok(true);
            }
            Some(Mark::Blank) => {
                let value = self.scan.value()?;
                blank(value, &mut self.out);
                return Ok(true);
            }
            Some(Mark::Hash) => return self.hashed(depth).map(|()| true),
            Some(Mark::Pick) => return self.as_it_came().map(|()| true),
            None => {}
        }
        match self.scan.peek() {
            Some(b'{') if !active.is_empty() => self.object(active, depth),
            Some(b'[') if !active.is_empty() => self.array(active, depth),
            _ if self.is_pick => self.scan.value().map(|_| false),
            _ => self.as_it_came().map(|()| true),
        }
    }

    fn as_it_came(&mut self) -> Result<(), Unshaped> {
        let value = self.scan.value()?;
        self.out.push_str(value);
        Ok(())
    }

    fn object(&mut self, active: &Active, depth: usize) -> Result<bool, Unshaped> {
        let depth = depth.checked_sub(1).ok_or(Unshaped::TooDeep)?;
        self.out.push('{');
        let opened = self.out.len();
        let mut kept: Vec<(Active, Range<usize>)> = Vec::new();
        let mut goes_on = self.scan.opens(b'{')?;
        while goes_on {
            let white = self.scan.white();
            let key = self.scan.string()?;
            let children = self.tree.member(active, &decode_string(key));
            // Of a key that stands twice, rules read the last.
            let known = kept.iter().position(|(known, _)| *known == children);
            if let Some(at) = known {
                self.take_back(&mut kept, at, opened);
            }
            let has_any = self.out.len() > opened;
            let start = self.out.len();
            self.out.push_str(if has_any { "," } else { "" });
            self.out.push_str(white);
            self.out.push_str(key);
            let colon = self.scan.colon()?;
            self.out.push_str(colon);
            let is_kept = self.value(&children, depth)?;
            let white = self.scan.white();
            match is_kept {
                true => self.out.push_str(white),
                false => self.out.truncate(start),
            }
            if is_kept && self.is_pick {
                kept.push((children, start..self.out.len()));
            }
            goes_on = self.scan.goes_on(b'}')?;
        }
        let has_any = self.out.len() > opened;
        if !has_any {
            let white = self.scan.inner_white();
            self.out.push_str(white);
        }
        self.out.push('}');
        Ok(has_any || !self.is_pick)
    }

    /// Takes a member out that was kept, with the comma that parts it from its neighbour.
    fn take_back(&mut self, kept: &mut Vec<(Active, Range<usize>)>, at: usize, opened: usize) {
        let (_, gone) = kept.remove(at);
        let is_first = gone.start == opened;
        let comma = usize::from(is_first && self.out.len() > gone.end);
        let gone = gone.start..gone.end + comma;
        self.out.replace_range(gone.clone(), "");
        for (_, range) in &mut kept[at..] {
            // The one that is first now has lost its comma.
            range.start = range.start.saturating_sub(gone.len()).max(opened);
            range.end -= gone.len();
        }
    }

    fn array(&mut self, active: &Active, depth: usize) -> Result<bool, Unshaped> {
        let depth = depth.checked_sub(1).ok_or(Unshaped::TooDeep)?;
        self.out.push('[');
        let mut has_any = false;
        let mut index = 0_usize;
        let mut goes_on = self.scan.opens(b'[')?;
        while goes_on {
            let start = self.out.len();
            self.out.push_str(if has_any { "," } else { "" });
            let white = self.scan.white();
            self.out.push_str(white);
            let is_array = self.scan.peek() == Some(b'[');
            let children = self.tree.element(active, index, !(self.is_pick && is_array));
            let value_at = self.out.len();
            let is_kept = self.value(&children, depth)?;
            let white = self.scan.white();
            if is_kept || !self.is_pick {
                if !is_kept {
                    // The others keep their places.
                    self.out.truncate(value_at);
                    self.out.push_str("null");
                }
                self.out.push_str(white);
                has_any = true;
            } else {
                self.out.truncate(start);
            }
            index += 1;
            goes_on = self.scan.goes_on(b']')?;
        }
        if !has_any {
            let white = self.scan.inner_white();
            self.out.push_str(white);
        }
        self.out.push(']');
        Ok(has_any || !self.is_pick)
    }

    /// Writes the hash of a value; of an array, of each in it.
    fn hashed(&mut self, depth: usize) -> Result<(), Unshaped> {
        match self.scan.peek() {
            Some(b'[') => {
                let depth = depth.checked_sub(1).ok_or(Unshaped::TooDeep)?;
                self.out.push('[');
                let mut goes_on = self.scan.opens(b'[')?;
                while goes_on {
                    let white = self.scan.white();
                    self.out.push_str(white);
                    self.hashed(depth)?;
                    let white = self.scan.white();
                    self.out.push_str(white);
                    goes_on = self.scan.goes_on(b']')?;
                    self.out.push_str(if goes_on { "," } else { "" });
                }
                let white = self.scan.inner_white();
                self.out.push_str(white);
                self.out.push(']');
            }
            first => {
                let value = self.scan.value()?;
                match first {
                    _ if value == "null" => self.out.push_str(value),
                    Some(b'{') => self.out.push_str(MASKED),
                    _ => {
                        let hash = self.hash(decode_string(value).trim().to_lowercase().as_bytes());
                        self.out.push_str(&format!("\"{hash}\""));
                    }
                }
            }
        }
        Ok(())
    }

    fn hash(&self, text: &[u8]) -> String {
        match self.key {
            Some(key) => hex(hmac::sign(key, text).as_ref()),
            None => hex(digest::digest(&digest::SHA256, text).as_ref()),
        }
    }
}

/// Writes a value without what it says, in as many bytes.
fn blank(value: &str, out: &mut String) {
    let until = out.len() + value.len();
    match value.as_bytes().first() {
        Some(b'"') => {
            out.push('"');
            out.extend(std::iter::repeat_n('*', value.len().saturating_sub(2)));
            out.push('"');
        }
        Some(b'{') => out.push_str("{}"),
        Some(b'[') => out.push_str("[]"),
        Some(b't' | b'f' | b'n') => out.push_str("null"),
        _ => out.push('0'),
    }
    out.extend(std::iter::repeat_n(' ', until.saturating_sub(out.len())));
}

/// Hexadecimal digits, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether what lies at `inner` lies in what lies at `outer`, or is the same.
pub fn lies_in(inner: &FieldPath, outer: &FieldPath) -> bool {
    let (FieldPath::Body(inner), FieldPath::Body(outer)) = (inner, outer) else { return false };
    let texts = |segments: &[Segment]| segments.iter().map(|segment| segment.text().to_owned()).collect::<Vec<_>>();
    texts(inner).starts_with(&texts(outer))
}

#[cfg(test)]
mod tests;

//! The signs of a line, one by one: quotes, brackets, colons, comments.

use super::{Finding, Opened, Scan, Slip};
use crate::yaml::load::Place;
use crate::yaml::{whole, words};

/// A walk over the signs of one line.
struct Walk<'l> {
    line: &'l str,
    indentation: usize,
    at: &'l dyn Fn(usize) -> Place,
    /// Where it is, in bytes.
    i: usize,
    /// Whether a value may begin here.
    is_start: bool,
    /// Where the plain text that goes on began.
    plain: Option<usize>,
    colons: usize,
}

impl Walk<'_> {
    fn here(&self) -> Place {
        (self.at)(self.i)
    }

    fn opened(&self, sign: char) -> Opened {
        Opened::new(sign, self.here(), self.indentation)
    }

    /// Whether what stands here is the first on its line, or behind a blank.
    fn is_behind_blank(&self) -> bool {
        self.i == self.indentation || self.line[..self.i].ends_with([' ', '\t'])
    }

    fn begins_value(&mut self) {
        self.is_start = true;
        self.plain = None;
    }

    fn begins_plain(&mut self) {
        self.is_start = false;
        self.plain = Some(self.i);
    }

    fn ends_value(&mut self) {
        self.is_start = false;
        self.plain = None;
    }
}

impl Scan {
    /// The rest of a line, sign by sign.
    pub(super) fn signs(&mut self, line: &str, indentation: usize, at: &dyn Fn(usize) -> Place) {
        let is_start = self.quote.is_none();
        let mut walk = Walk { line, indentation, at, i: indentation, is_start, plain: None, colons: 0 };
        while let Some(c) = line[walk.i..].chars().next() {
            let gone = match self.quote {
                Some(opened) => self.within_quote(opened, &walk, c),
                None => self.outside(&mut walk, c),
            };
            let Some(gone) = gone else { return };
            walk.i += gone;
        }
    }

    /// A sign within quotes: how many bytes it takes, or nothing where the rest of the line is not looked at.
    fn within_quote(&mut self, opened: Opened, walk: &Walk<'_>, c: char) -> Option<usize> {
        let behind = &walk.line[walk.i + c.len_utf8()..];
        match c {
            '\\' if opened.sign == '"' => {
                let escaped = behind.chars().next();
                if let Some(odd) = escaped.filter(|c| !is_escape(*c, behind)) {
                    self.find(Slip::Escape(odd), walk.here());
                }
                Some(1 + escaped.map_or(0, char::len_utf8))
            }
            '\'' if opened.sign == '\'' && behind.starts_with('\'') => Some(2),
            c if c == opened.sign => {
                self.quote = None;
                let next = behind.trim_start();
                let ends = next.is_empty()
                    || next.starts_with([',', ']', '}', ':'])
                    || (next.starts_with('#') && behind.starts_with([' ', '\t']));
                if !ends {
                    self.find(Slip::InnerQuote(c), walk.here());
                }
                // Whatever else it was meant to be, it ends with the line.
                ends.then_some(1)
            }
            c => Some(c.len_utf8()),
        }
    }

    /// A sign outside quotes: how many bytes it takes, or nothing where the rest of the line is not looked at.
    fn outside(&mut self, walk: &mut Walk<'_>, c: char) -> Option<usize> {
        let Walk { line, i, is_start, plain, .. } = *walk;
        let is_within = !self.brackets.is_empty();
        let behind = &line[i + c.len_utf8()..];
        let is_blank_behind = behind.is_empty() || behind.starts_with([' ', '\t']);
        match c {
            '#' if walk.is_behind_blank() => {
                self.hash(walk);
                return None;
            }
            ' ' | '\t' => {}
            '"' | '\'' if is_start => {
                self.quote = Some(walk.opened(c));
                walk.ends_value();
            }
            '[' | '{' if plain.is_some() && is_within => {
                return self.ends_brackets(Slip::Bracketed, (walk.at)(plain.unwrap_or(i)));
            }
            '{' if is_start && is_template_within(line, i, !is_within) => {
                return self.ends_brackets(Slip::Bracketed, walk.here());
            }
            '[' | '{' if is_start || is_within => {
                self.brackets.push(walk.opened(c));
                walk.begins_value();
            }
            ']' | '}' if is_within => return self.closing(walk, c),
            ',' if is_within => {
                if let Some(opened) = self.brackets.last_mut() {
                    opened.is_keyed = false;
                }
                walk.begins_value();
            }
            '-' | '?' if is_start && is_value(line, i) && (is_blank_behind || (c == '?' && is_within)) => {
                return self.ends_brackets(Slip::Sign(c), walk.here());
            }
            '-' | '?' if is_start && is_blank_behind && !is_within => {}
            ':' if is_blank_behind || (is_within && plain.is_none() && !is_start) => return self.colon(walk),
            '|' | '>' if is_start && !is_within => {
                self.block_head(line, i, walk.at);
                return None;
            }
            '|' | '>' if is_start => return self.ends_brackets(Slip::Sign(c), walk.here()),
            '#' if is_start && is_within && behind.starts_with(char::is_alphanumeric) => {
                return self.ends_brackets(Slip::Sign(c), walk.here());
            }
            '*' | '&' | '!' | '%' | '@' | '`' if is_start => return self.special(walk, c),
            _ if is_start => {
                if words::odd_character(c) == Some("a typographic quote") {
                    self.find(Slip::Odd(c), walk.here());
                }
                walk.begins_plain();
            }
            _ => {}
        }
        Some(c.len_utf8())
    }

    /// A slip behind which nothing can be said of this line, nor of the brackets that are open.
    fn ends_brackets(&mut self, slip: Slip, place: Place) -> Option<usize> {
        self.find(slip, place);
        self.brackets.clear();
        None
    }

    /// A `#` that begins a comment.
    fn hash(&mut self, walk: &Walk<'_>) {
        if let Some(start) = walk.plain {
            self.comment(walk.line, start, walk.i, walk.at);
        } else if walk.is_start && walk.i > walk.indentation && self.brackets.is_empty() {
            self.swallow(walk.line, walk.i, walk.at);
        }
        self.brackets.iter_mut().for_each(|opened| opened.has_comment = true);
    }

    /// A closing bracket, of one that is open.
    fn closing(&mut self, walk: &mut Walk<'_>, c: char) -> Option<usize> {
        let opened = self.brackets.pop()?;
        if (opened.sign == '[') != (c == ']') {
            return self.ends_brackets(Slip::Mixed(opened.sign, c), walk.here());
        }
        let rest = &walk.line[walk.i + 1..];
        let behind = rest.trim_start();
        let place_behind = || (walk.at)(walk.line.len() - behind.len());
        let ends = behind.is_empty() || behind.starts_with(['#', ':', ',']);
        if self.brackets.is_empty() && !ends {
            self.find(Slip::Behind(behind.chars().next().unwrap_or(c)), place_behind());
            return None;
        }
        if !ends && !behind.starts_with([']', '}']) {
            let has_key = rest.starts_with(' ') && whole::second_key(behind).is_some();
            return match has_key {
                true => self.ends_brackets(Slip::NoComma, place_behind()),
                false => self.ends_brackets(Slip::Bracketed, opened.place),
            };
        }
        walk.ends_value();
        Some(1)
    }

    /// A colon behind a key.
    fn colon(&mut self, walk: &mut Walk<'_>) -> Option<usize> {
        walk.colons += 1;
        if walk.colons == 2 && self.brackets.is_empty() && walk.plain.is_some() {
            self.find(Slip::Colon, walk.here());
            return None;
        }
        if let Some(opened) = self.brackets.last_mut().filter(|opened| opened.sign == '{') {
            let is_second = std::mem::replace(&mut opened.is_keyed, true);
            if let Some(start) = walk.plain.filter(|_| is_second) {
                // The last word before the colon is the second key; a word by itself belongs to a text.
                let start = walk.line[start..walk.i].rfind(' ').map_or(start, |blank| start + blank + 1);
                return self.ends_brackets(Slip::NoComma, (walk.at)(start));
            }
        }
        walk.begins_value();
        Some(1)
    }

    /// A sign that means something to YAML where a value begins: an alias, an anchor, or a slip.
    fn special(&mut self, walk: &mut Walk<'_>, c: char) -> Option<usize> {
        let behind = &walk.line[walk.i + 1..];
        let is_of_word = |c: char| c.is_alphanumeric() || "_-".contains(c);
        let word = behind.find(|c: char| !is_of_word(c)).map_or(behind, |end| &behind[..end]);
        let ends = behind[word.len()..].chars().next().is_none_or(|c| " ,]}".contains(c));
        if !matches!(c, '*' | '&') || word.is_empty() || !ends {
            self.find(Slip::Sign(c), walk.here());
            return None;
        }
        // Behind an anchor the value begins.
        if c == '&' {
            walk.begins_value();
        } else {
            walk.ends_value();
        }
        Some(1 + word.len())
    }

    /// A plain text that began at `start` ends with a comment.
    fn comment(&mut self, line: &str, start: usize, at_sign: usize, at: &dyn Fn(usize) -> Place) {
        let before = &line[start..at_sign];
        let text = before.trim_end();
        let rest = &line[at_sign..];
        // Two blanks before the sign, or one behind it, make a comment as people write it.
        let is_spaced = before.len() - text.len() > 1;
        let is_comment = is_spaced || matches!(rest.as_bytes().get(1), None | Some(b' ' | b'\t' | b'#' | b'!'));
        let holds_values = rest.contains("{{") || rest.contains("{%");
        if (!is_comment || (holds_values && !is_spaced)) && !text.is_empty() {
            self.find(Slip::Cut { text: text.to_owned(), rest: rest.to_owned() }, at(start));
        }
    }

    /// A `#` where a value may begin: a comment, unless a word follows it at once and nothing else comes.
    fn swallow(&mut self, line: &str, at_sign: usize, at: &dyn Fn(usize) -> Place) {
        let rest = line[at_sign..].trim_end();
        if rest[1..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '{' | '$')) {
            let level = line.len() - line.trim_start_matches(' ').len();
            let is_item = line[level..at_sign].trim_end().ends_with('-');
            let dashes = line[level..].len() - line[level..].trim_start_matches(['-', ' ']).len();
            let level = if is_item { level } else { level + dashes };
            let keys = self.keys.iter().map(|(_, key)| key.clone()).collect();
            let finding = Finding { slip: Slip::Swallowed(rest.to_owned()), place: at(at_sign), keys, is_item };
            self.swallowed = Some((finding, level));
        }
    }

    /// `|` or `>` where a value begins: a block of text, or a comparison.
    fn block_head(&mut self, line: &str, i: usize, at: &dyn Fn(usize) -> Place) {
        let head = line[i + 1..].split(" #").next().unwrap_or_default().trim_end();
        let is_head = head.len() <= 2 && head.chars().all(|c| matches!(c, '+' | '-' | '1'..='9'));
        if !is_head {
            self.find(Slip::Sign(line[i..].chars().next().unwrap_or('>')), at(i));
            return;
        }
        self.block_level = None;
        let level = self.keys.last().map_or(0, |(level, _)| *level);
        let dash = line.len() - line.trim_start_matches(' ').len();
        self.block = Some(if line.trim_start().starts_with("- ") && !line.contains(':') { dash } else { level });
        if head.contains(|c: char| c.is_ascii_digit()) {
            self.folded = Some((at(i), line[i..].trim_end().to_owned()));
        }
    }
}

/// Whether a value begins at a place, and no entry of a list.
fn is_value(line: &str, at: usize) -> bool {
    line[..at].trim_end().ends_with(':') && !line[..at].trim_end_matches(' ').trim_start_matches([' ', '-']).is_empty()
}

/// Whether a template begins at a bracket: `{# … #}` anywhere, the others within brackets.
fn is_template_within(line: &str, at: usize, is_outermost: bool) -> bool {
    let behind = &line[at..];
    behind.starts_with("{#") || (!is_outermost && ["{{", "{%"].iter().any(|tag| behind.starts_with(tag)))
}

/// Whether what follows a backslash within double quotes is an escape, with as many digits as it needs.
fn is_escape(c: char, behind: &str) -> bool {
    let digits = match c {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        c => return "0abt\tnvfre \"/\\N_LP".contains(c),
    };
    behind.bytes().skip(1).take(digits).filter(u8::is_ascii_hexdigit).count() == digits
}

//! The signs of a line, one by one: quotes, brackets, colons, comments.

use super::{Finding, Opened, Scan, Slip};
use crate::yaml::load::Place;
use crate::yaml::{whole, words};

impl Scan {
    /// The rest of a line, sign by sign.
    pub(super) fn signs(&mut self, line: &str, indentation: usize, at: &dyn Fn(usize) -> Place) {
        let bytes = line.as_bytes();
        let mut i = indentation;
        // Whether a value may begin here, and where the plain text that goes on began.
        let mut is_start = self.quote.is_none();
        let mut plain = None::<usize>;
        let mut colons = 0;
        while i < bytes.len() {
            let c = line[i..].chars().next().unwrap_or(' ');
            let is_blank_behind = bytes.get(i + c.len_utf8()).is_none_or(|byte| matches!(byte, b' ' | b'\t'));
            if let Some(opened) = self.quote {
                match c {
                    '\\' if opened.sign == '"' => {
                        let escaped = line[i + 1..].chars().next();
                        if let Some(odd) = escaped.filter(|c| !is_escape(*c, &line[i + 1..])) {
                            self.find(Slip::Escape(odd), at(i));
                        }
                        i += 1 + escaped.map_or(0, char::len_utf8);
                        continue;
                    }
                    '\'' if opened.sign == '\'' && bytes.get(i + 1) == Some(&b'\'') => {
                        i += 2;
                        continue;
                    }
                    c if c == opened.sign => {
                        self.quote = None;
                        let behind = line[i + 1..].trim_start();
                        let ends = behind.is_empty()
                            || behind.starts_with([',', ']', '}', ':'])
                            || (behind.starts_with('#') && line[i + 1..].starts_with([' ', '\t']));
                        if !ends {
                            self.find(Slip::InnerQuote(c), at(i));
                            // Whatever it was meant to be, it ends with the line.
                            return;
                        }
                    }
                    _ => {}
                }
                i += c.len_utf8();
                continue;
            }
            match c {
                '#' if i == indentation || matches!(bytes[i - 1], b' ' | b'\t') => {
                    if let Some(start) = plain {
                        self.comment(line, start, i, at);
                    } else if is_start && i > indentation && self.brackets.is_empty() {
                        self.swallow(line, i, at);
                    }
                    self.brackets.iter_mut().for_each(|opened| opened.has_comment = true);
                    return;
                }
                ' ' | '\t' => {}
                '"' | '\'' if is_start => {
                    self.quote = Some(Opened::new(c, at(i), indentation));
                    (is_start, plain) = (false, None);
                }
                '[' | '{' if plain.is_some() && !self.brackets.is_empty() => {
                    self.find(Slip::Bracketed, at(plain.unwrap_or(i)));
                    self.brackets.clear();
                    return;
                }
                '{' if is_start && is_template_within(line, i, self.brackets.is_empty()) => {
                    self.find(Slip::Bracketed, at(i));
                    self.brackets.clear();
                    return;
                }
                '[' | '{' if is_start || !self.brackets.is_empty() => {
                    self.brackets.push(Opened::new(c, at(i), indentation));
                    (is_start, plain) = (true, None);
                }
                ']' | '}' if !self.brackets.is_empty() => {
                    let popped = self.brackets.pop();
                    let opened = popped.map_or('[', |opened| opened.sign);
                    if (opened == '[') != (c == ']') {
                        self.find(Slip::Mixed(opened, c), at(i));
                        self.brackets.clear();
                        return;
                    }
                    let behind = line[i + 1..].trim_start();
                    let ends = behind.is_empty() || behind.starts_with(['#', ':', ',']);
                    if self.brackets.is_empty() && !ends {
                        let place = at(line.len() - behind.len());
                        self.find(Slip::Behind(behind.chars().next().unwrap_or(c)), place);
                        return;
                    }
                    if let Some(popped) = popped.filter(|_| !ends && !behind.starts_with([']', '}'])) {
                        let has_key = line[i + 1..].starts_with(' ') && whole::second_key(behind).is_some();
                        match has_key {
                            true => self.find(Slip::NoComma, at(line.len() - behind.len())),
                            false => self.find(Slip::Bracketed, popped.place),
                        }
                        self.brackets.clear();
                        return;
                    }
                    (is_start, plain) = (false, None);
                }
                ',' if !self.brackets.is_empty() => {
                    self.brackets.iter_mut().next_back().into_iter().for_each(|opened| opened.is_keyed = false);
                    (is_start, plain) = (true, None);
                }
                '-' | '?'
                    if is_start
                        && is_value(line, i)
                        && (is_blank_behind || (c == '?' && !self.brackets.is_empty())) =>
                {
                    self.find(Slip::Sign(c), at(i));
                    self.brackets.clear();
                    return;
                }
                '-' | '?' if is_start && is_blank_behind && self.brackets.is_empty() => {}
                ':' if is_blank_behind || (!self.brackets.is_empty() && plain.is_none() && !is_start) => {
                    colons += 1;
                    if colons == 2 && self.brackets.is_empty() && plain.is_some() {
                        self.find(Slip::Colon, at(i));
                        return;
                    }
                    if let Some(opened) = self.brackets.last_mut().filter(|opened| opened.sign == '{') {
                        let is_second = opened.is_keyed && plain.is_some();
                        opened.is_keyed = true;
                        if is_second {
                            let start = plain.unwrap_or(i);
                            // The last word before the colon is the second key; a word by itself belongs to a text.
                            let start = line[start..i].rfind(' ').map_or(start, |blank| start + blank + 1);
                            self.find(Slip::NoComma, at(start));
                            self.brackets.clear();
                            return;
                        }
                    }
                    (is_start, plain) = (true, None);
                }
                '|' | '>' if is_start && self.brackets.is_empty() => {
                    self.block_head(line, i, at);
                    return;
                }
                '|' | '>' if is_start => {
                    self.find(Slip::Sign(c), at(i));
                    self.brackets.clear();
                    return;
                }
                '#' if is_start && !self.brackets.is_empty() && line[i + 1..].starts_with(char::is_alphanumeric) => {
                    self.find(Slip::Sign(c), at(i));
                    self.brackets.clear();
                    return;
                }
                '*' | '&' | '!' | '%' | '@' | '`' if is_start => {
                    let word: String =
                        line[i + 1..].chars().take_while(|c| c.is_alphanumeric() || "_-".contains(*c)).collect();
                    let ends = line[i + 1 + word.len()..].chars().next().is_none_or(|c| " ,]}".contains(c));
                    if !(matches!(c, '*' | '&') && !word.is_empty() && ends) {
                        self.find(Slip::Sign(c), at(i));
                        return;
                    }
                    // Behind an anchor the value begins.
                    i += word.len();
                    (is_start, plain) = (c == '&', None);
                }
                _ => {
                    if is_start && words::odd_character(c) == Some("a typographic quote") {
                        self.find(Slip::Odd(c), at(i));
                    }
                    if is_start {
                        (is_start, plain) = (false, Some(i));
                    }
                }
            }
            i += c.len_utf8();
        }
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

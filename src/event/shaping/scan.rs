//! How far a JSON text has been read. What it skips may nest as deep as it likes.

use super::Unshaped;

pub(super) struct Scan<'t> {
    text: &'t str,
    at: usize,
    /// White space between an opening bracket and the closing one right behind it.
    inner: &'t str,
}

impl<'t> Scan<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0, inner: "" }
    }

    /// The next byte.
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// White space, which may be none.
    pub fn white(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += length;
        &rest[..length]
    }

    /// White space of what was empty between its brackets, once it has been closed.
    pub fn inner_white(&mut self) -> &'t str {
        std::mem::take(&mut self.inner)
    }

    fn take(&mut self, byte: u8) -> Result<(), Unshaped> {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        if is_there { Ok(()) } else { Err(Unshaped::NotJson) }
    }

    /// Goes over an opening bracket, and says whether anything lies behind it; where not, over the closing one too.
    pub fn opens(&mut self, opening: u8) -> Result<bool, Unshaped> {
        self.take(opening)?;
        let before = self.at;
        let white = self.white();
        let closing = if opening == b'{' { b'}' } else { b']' };
        self.inner = "";
        if self.peek() == Some(closing) {
            self.at += 1;
            self.inner = white;
            return Ok(false);
        }
        self.at = before;
        Ok(true)
    }

    /// Goes over a comma or a closing bracket, and says whether it was a comma.
    pub fn goes_on(&mut self, closing: u8) -> Result<bool, Unshaped> {
        self.inner = "";
        let is_comma = self.peek() == Some(b',');
        self.take(if is_comma { b',' } else { closing })?;
        Ok(is_comma)
    }

    /// A colon with the white space around it.
    pub fn colon(&mut self) -> Result<&'t str, Unshaped> {
        let start = self.at;
        self.white();
        self.take(b':')?;
        self.white();
        Ok(&self.text[start..self.at])
    }

    /// A string with its quotes.
    pub fn string(&mut self) -> Result<&'t str, Unshaped> {
        let start = self.at;
        self.take(b'"')?;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(Unshaped::NotJson),
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at])
    }

    /// A whole value.
    pub fn value(&mut self) -> Result<&'t str, Unshaped> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or(Unshaped::NotJson)? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(Unshaped::NotJson)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    let rest = &self.text.as_bytes()[self.at..];
                    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    let length = rest.iter().take_while(is_part).count();
                    if length == 0 {
                        return Err(Unshaped::NotJson);
                    }
                    self.at += length;
                }
            }
            if depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }
}

//! Writing lines, and reading them: a file that is not whole is told before anything is made of it.

use std::io::{self, BufRead, Write};

use super::{End, Head, Line, VERSION};

/// A line is no longer: the largest body that a store takes, and what JSON makes of it.
const LINE_BYTES_MAX: u64 = 2 << 30;

/// Why lines cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    #[error("this is no export of a relay: its first line has no head")]
    Foreign,
    #[error(
        "it was written by a later program (version {0} of an export, and this one knows {VERSION}): install that vero-relay here"
    )]
    Later(u32),
    #[error("the file ends after line {0}, and was not written to its end: make the export again")]
    Torn(u64),
    #[error("the file is not as it was written: make the export again, or copy it again")]
    Damaged,
    #[error("line {line} cannot be read ({why}): make the export again")]
    Line { line: u64, why: String },
}

/// Where lines are written to.
pub struct Lines<W> {
    out: W,
    end: End,
}

impl<W: Write> Lines<W> {
    /// Begins with the head.
    pub fn begin(out: W, head: Head) -> io::Result<Self> {
        let mut lines = Self { out, end: End::default() };
        lines.write(&Line::Head(head))?;
        Ok(lines)
    }

    /// Writes one.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        if let Line::Event(event) = line {
            self.end.events += 1;
            self.end.greatest = self.end.greatest.max(event.number());
        }
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.end.crc32c = crc32c::crc32c_append(self.end.crc32c, &bytes);
        self.out.write_all(&bytes)
    }

    /// Writes the last line, and gives back what was written to.
    pub fn end(mut self) -> io::Result<(W, End)> {
        let mut bytes = serde_json::to_vec(&Line::End(self.end.clone()))?;
        bytes.push(b'\n');
        self.out.write_all(&bytes)?;
        self.out.flush()?;
        Ok((self.out, self.end))
    }
}

/// What is known of a file that is whole.
#[derive(Clone, Debug)]
pub struct Proved {
    pub head: Head,
    pub end: End,
}

/// Reads all of it, and proves that it is what was written.
pub fn prove(file: impl BufRead) -> Result<Proved, TransferError> {
    let mut reading = Reading::new(file);
    let mut crc32c = 0;
    let mut events = 0;
    let mut before: Vec<u8> = Vec::new();
    let mut head = None;
    while reading.fill()? {
        if reading.line == 1 {
            head = Some(reading.head()?);
        }
        // All but the last.
        crc32c = crc32c::crc32c_append(crc32c, &before);
        events += u64::from(before.starts_with(b"{\"event\""));
        std::mem::swap(&mut before, &mut reading.bytes);
    }
    let head = head.ok_or(TransferError::Foreign)?;
    let torn = || TransferError::Torn(reading.line);
    if before.last() != Some(&b'\n') {
        return Err(torn());
    }
    let Ok(Line::End(end)) = serde_json::from_slice(&before) else { return Err(torn()) };
    if end.crc32c != crc32c || end.events != events {
        return Err(TransferError::Damaged);
    }
    Ok(Proved { head, end })
}

/// A file that is read line by line.
pub struct Reading<R> {
    file: R,
    bytes: Vec<u8>,
    line: u64,
}

impl<R: BufRead> Reading<R> {
    pub fn new(file: R) -> Self {
        Self { file, bytes: Vec::new(), line: 0 }
    }

    /// Reads the next line's bytes. False: there is none.
    fn fill(&mut self) -> Result<bool, TransferError> {
        self.bytes.clear();
        let mut within = io::Read::take(&mut self.file, LINE_BYTES_MAX);
        let read = within.read_until(b'\n', &mut self.bytes)?;
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }

    fn head(&self) -> Result<Head, TransferError> {
        // A later one may have a head that is not as this one knows it.
        let line: serde_json::Value = serde_json::from_slice(&self.bytes).map_err(|_| TransferError::Foreign)?;
        let version = line["head"]["version"].as_u64().and_then(|version| u32::try_from(version).ok());
        let version = version.ok_or(TransferError::Foreign)?;
        if version > VERSION {
            return Err(TransferError::Later(version));
        }
        match serde_json::from_slice(&self.bytes) {
            Ok(Line::Head(head)) => Ok(head),
            _ => Err(TransferError::Foreign),
        }
    }

    /// The next line; `None` behind the last.
    pub fn line(&mut self) -> Result<Option<Line>, TransferError> {
        if !self.fill()? {
            return Ok(None);
        }
        let why = |error: serde_json::Error| TransferError::Line { line: self.line, why: error.to_string() };
        serde_json::from_slice(&self.bytes).map(Some).map_err(why)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::EventId;
    use crate::store::transfer::{Body, Delivery, Moved, Planned, Stands, State};

    fn head() -> Head {
        Head {
            version: VERSION,
            id: "a".to_owned(),
            from: "journal".to_owned(),
            by: "0".to_owned(),
            made_ms: 1,
            has_history: false,
        }
    }

    fn event(number: u64, body: &[u8], states: &[State]) -> Line {
        let delivery = |state: &State| Delivery { destination: "crm".to_owned(), state: state.clone() };
        Line::Event(Box::new(Moved {
            id: EventId::mint(7, 3, number),
            received_ms: 7,
            source: "vero".to_owned(),
            rules: vec!["all".to_owned()],
            to: vec![Planned { destination: "crm".to_owned(), rule: "all".to_owned() }],
            is_erased: false,
            is_redacted: false,
            body: Body::of(body),
            deliveries: states.iter().map(delivery).collect(),
        }))
    }

    fn all() -> Vec<Line> {
        let reason = || "it\nsaid \u{1f4a5}".to_owned();
        let states = [
            State::Waiting,
            State::Held,
            State::Retry { attempts: 2, first_ms: 3, due_ms: 4, reason: reason() },
            State::Dead { attempts: 9, at_ms: 5, reason: reason() },
            State::Delivered { attempts: 1, at_ms: 6 },
            State::Skipped { at_ms: 7, reason: reason() },
            State::Dropped { at_ms: 8 },
            State::Moved { at_ms: 9, to: "log".to_owned() },
            State::Settled,
        ];
        let stands = Stands { name: "vero".to_owned(), held_since_ms: Some(4), ..Stands::default() };
        vec![
            Line::Source(stands),
            Line::Destination(Stands {
                name: "crm".to_owned(),
                paused_since_ms: Some(1),
                reason: reason(),
                ..Stands::default()
            }),
            event(1, br#"{"a": "b"}"#, &states),
            event(1 << 61, b"\xff\x00", &[]),
        ]
    }

    fn written(lines: &[Line]) -> Vec<u8> {
        let mut out = Lines::begin(Vec::new(), head()).expect("it begins");
        lines.iter().for_each(|line| out.write(line).expect("it is written"));
        out.end().expect("it ends").0
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = written(&all());
        let proved = prove(&*bytes).expect("it is whole");
        assert_eq!((proved.end.events, proved.end.greatest, proved.head), (2, 1 << 61, head()));
        let mut reading = Reading::new(&*bytes);
        let mut read = Vec::new();
        while let Some(line) = reading.line().expect("a line") {
            read.push(line);
        }
        assert_eq!(read[1..5], all());
        let Line::Event(last) = &read[4] else { panic!("an event") };
        assert_eq!(last.body.bytes(), Some(Bytes::from_static(b"\xff\x00")));
    }

    #[test]
    fn a_file_that_ends_anywhere_before_its_end_is_torn() {
        let bytes = written(&all());
        for length in 1..bytes.len() {
            let error = prove(&bytes[..length]).expect_err("it is torn");
            let is_told = matches!(error, TransferError::Torn(_) | TransferError::Foreign);
            assert!(is_told, "{length}: {error}");
        }
        assert!(matches!(prove(&b""[..]), Err(TransferError::Foreign)));
    }

    #[test]
    fn a_file_that_was_changed_is_not_taken() {
        let bytes = written(&all());
        let text = String::from_utf8(bytes).expect("text");
        let changed = text.replace("\"attempts\":9", "\"attempts\":8");
        assert!(matches!(prove(changed.as_bytes()), Err(TransferError::Damaged)));
        let lines: Vec<&str> = text.lines().collect();
        let without = [&lines[..3], &lines[4..]].concat().join("\n") + "\n";
        assert!(matches!(prove(without.as_bytes()), Err(TransferError::Damaged)));
        let later = text.replace("\"version\":1", "\"version\":2");
        assert!(matches!(prove(later.as_bytes()), Err(TransferError::Later(2))));
        assert!(matches!(prove(&b"{\"events\":[]}\n"[..]), Err(TransferError::Foreign)));
    }
}

//! The lines that wait to be written: bounded in lines and in bytes. Who logs waits for nobody; what finds no room is dropped.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

use super::lost::Lost;

/// Lines that may wait: more than a minute of any trouble that is told once.
const LINES_MAX: usize = 4096;
/// And their bytes, beside as many that are being written.
const BYTES_MAX: usize = 1 << 20;
/// A longer line is cut: one line must not push out all others.
const LINE_BYTES_MAX: usize = 32 << 10;

pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    lost: Counter,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// What was dropped after the last of the lines. Nothing is queued behind it before the lines are taken, so it has its place.
    dropped: Option<Lost>,
    /// What was taken is not all written yet.
    is_writing: bool,
}

impl Queue {
    /// An empty queue that counts what it drops.
    pub fn new(lost: Counter) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), lost }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, with its end. Never waits for the log's reader.
    pub fn push(&self, line: &[u8]) {
        let line = cut(line);
        let mut state = self.lock();
        let is_full = state.lines.len() >= LINES_MAX || state.bytes + line.len() > BYTES_MAX;
        if is_full || state.dropped.is_some() {
            state.dropped.get_or_insert_with(|| Lost::begin("nobody read them in time")).lines += 1;
            self.lost.inc();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes all lines, waiting for some for as long as is said; and what was dropped behind them. Who takes says by the next call
    /// that they are written.
    pub fn take(&self, wait: Duration) -> (Vec<Vec<u8>>, Option<Lost>) {
        let mut state = self.lock();
        state.is_writing = false;
        self.changed.notify_all();
        let wait_until = Instant::now() + wait;
        while state.lines.is_empty() {
            let left = wait_until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_writing = !state.lines.is_empty();
        state.bytes = 0;
        (std::mem::take(&mut state.lines).into(), state.dropped.take())
    }

    /// Counts lines that were taken and could not be written.
    pub fn count_lost(&self, lines: u64) {
        self.lost.inc_by(lines);
    }

    /// Waits until everything is written, or for as long as is said.
    pub fn wait_until_written(&self, within: Duration) {
        let until = Instant::now() + within;
        let mut state = self.lock();
        while !state.lines.is_empty() || state.is_writing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= LINE_BYTES_MAX {
        return line.to_vec();
    }
    let mut end = LINE_BYTES_MAX;
    // Not within a character.
    while line[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    [&line[..end], "… (cut)\n".as_bytes()].concat()
}

/// One line on its way into the queue.
pub struct Line<'q>(&'q Queue);

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way into the queue, for who makes lines.
pub struct Lines(pub Arc<Queue>);

impl<'q> MakeWriter<'q> for Lines {
    type Writer = Line<'q>;

    fn make_writer(&'q self) -> Line<'q> {
        Line(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_until_its_lines_are_taken() {
        let queue = Queue::new(Counter::default());
        (0..LINES_MAX + 7).for_each(|number| queue.push(format!("{number}\n").as_bytes()));
        let (lines, dropped) = queue.take(Duration::ZERO);
        assert_eq!((lines.len(), dropped.map(|lost| lost.lines), queue.lost.get()), (LINES_MAX, Some(7), 7));
        queue.push(b"again\n");
        let (lines, dropped) = queue.take(Duration::ZERO);
        assert_eq!((lines.concat(), dropped.is_none()), (b"again\n".to_vec(), true));
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_and_cuts_long_lines_between_characters() {
        let queue = Queue::new(Counter::default());
        let long = format!("{}\n", "ä".repeat(LINE_BYTES_MAX));
        (0..1000).for_each(|_| queue.push(long.as_bytes()));
        let (lines, dropped) = queue.take(Duration::ZERO);
        let bytes: usize = lines.iter().map(Vec::len).sum();
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX / 2, "{bytes}");
        assert_eq!(dropped.map(|lost| lost.lines), Some(1000 - lines.len() as u64));
        let first = String::from_utf8(lines[0].clone()).expect("whole characters");
        assert!(first.ends_with("ä… (cut)\n"), "{}", &first[first.len() - 20..]);
    }
}

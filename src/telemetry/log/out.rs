//! The thread that writes lines to standard error, and what it does when it cannot.
//!
//! * Nobody waits for it but [`Log::finish`](super::Log::finish), for a while.
//! * A line that cannot be written (no room, nobody reads, a broken device) is counted and left; the next that can be written is
//!   preceded by one that says how many are missing. It is tried once a second without being asked, too.
//! * A line of which only a part could be written is finished before anything else, so no line is torn.
//! * Where standard error does not block and its reader is slow, this thread waits.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::Style;
use super::lost::Lost;
use super::queue::Queue;

/// While lines are missing it is tried this often to say so.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long it sleeps while there is nothing to do: it is woken by lines.
const IDLE: Duration = Duration::from_secs(3600);
/// Between two tries at a standard error that does not block and is full.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Starts the thread. Where the system gives none, there is no log, and nothing else is different.
pub fn start(queue: Arc<Queue>, style: Style) {
    let thread = std::thread::Builder::new().name("log".to_owned());
    let _ = thread.spawn(move || {
        let mut out = Out::new(&queue, style, io::stderr());
        // Nothing here panics; if it ever does, the log must be the last to stop.
        while std::panic::catch_unwind(AssertUnwindSafe(|| out.run())).is_err() {
            std::thread::sleep(RETRY_EVERY);
        }
    });
}

/// Writes what is queued.
struct Out<'q, W> {
    queue: &'q Queue,
    style: Style,
    to: W,
    /// The rest of a line whose beginning is written.
    unfinished: Vec<u8>,
    lost: Option<Lost>,
    /// What kept it from writing last.
    why: String,
}

impl<'q, W: io::Write> Out<'q, W> {
    fn new(queue: &'q Queue, style: Style, to: W) -> Self {
        Self { queue, style, to, unfinished: Vec::new(), lost: None, why: String::new() }
    }

    fn run(&mut self) {
        loop {
            self.turn(if self.is_behind() { RETRY_EVERY } else { IDLE });
        }
    }

    /// Writes what there is, waiting for it for as long as is said.
    fn turn(&mut self, wait: Duration) {
        let (lines, dropped) = self.queue.take(wait);
        lines.iter().for_each(|line| self.line(line));
        if let Some(dropped) = dropped {
            match &mut self.lost {
                Some(lost) => lost.lines += dropped.lines,
                None => self.lost = Some(dropped),
            }
        }
        self.catch_up();
    }

    fn is_behind(&self) -> bool {
        self.lost.is_some() || !self.unfinished.is_empty()
    }

    fn line(&mut self, line: &[u8]) {
        if !self.catch_up() || !self.begin(line) {
            let why = &self.why;
            self.lost.get_or_insert_with(|| Lost::begin(why.as_str())).lines += 1;
            self.queue.count_lost(1);
        }
    }

    /// Finishes what was begun and says how many lines are missing. Returns whether the next line may follow.
    fn catch_up(&mut self) -> bool {
        if !self.unfinished.is_empty() {
            let rest = std::mem::take(&mut self.unfinished);
            self.unfinished = rest[self.write(&rest)..].to_vec();
        }
        if self.unfinished.is_empty()
            && let Some(lost) = &self.lost
        {
            let notice = self.style.line(Level::WARN, &lost.in_words());
            if self.begin(notice.as_bytes()) {
                self.lost = None;
            }
        }
        !self.is_behind()
    }

    /// Writes a line. Returns whether any of it is written; what is written in part will be finished.
    fn begin(&mut self, line: &[u8]) -> bool {
        let written = self.write(line);
        if written > 0 {
            self.unfinished = line[written..].to_vec();
        }
        written > 0
    }

    /// Writes as much as can be written. Returns how much, and keeps in mind what was in the way of the rest.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            let error = match self.to.write(&bytes[written..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(more) => {
                    written += more;
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => std::thread::sleep(FULL_PAUSE),
                _ => {
                    self.why = error.to_string();
                    break;
                }
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::ErrorKind;

    use prometheus_client::metrics::counter::Counter;

    use super::*;

    /// Takes what its script lets it take, then everything.
    #[derive(Default)]
    struct Paper {
        script: VecDeque<Result<usize, ErrorKind>>,
        taken: Vec<u8>,
    }

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.script.pop_front().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What stands on the paper after three lines, with times left out, and how many lines were lost.
    #[track_caller]
    fn check(script: impl IntoIterator<Item = Result<usize, ErrorKind>>, expected: &str, lost: u64) {
        let counter = Counter::default();
        let queue = Queue::new(counter.clone());
        let paper = Paper { script: script.into_iter().collect(), taken: Vec::new() };
        let mut out = Out::new(&queue, Style::Text { is_coloured: false }, paper);
        ["one\n", "two\n", "three\n"].iter().for_each(|line| queue.push(line.as_bytes()));
        // Twice: what could not be told with the lines is told when nothing is logged, too.
        (0..2).for_each(|_| out.turn(Duration::ZERO));
        let said = String::from_utf8(out.to.taken).expect("text");
        let without_times: Vec<_> = said
            .lines()
            .map(|line| match (line.find("WARN"), line.find(" since "), line.find(": ")) {
                (Some(warn), Some(since), Some(why)) => format!("{}{}", &line[warn..since], &line[why..]),
                _ => line.to_owned(),
            })
            .collect();
        assert_eq!(without_times.join("|"), expected);
        assert_eq!(counter.get(), lost);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_and_no_line_is_torn() {
        let full = || Err(ErrorKind::StorageFull);
        check([], "one|two|three", 0);
        check([full()], "WARN 1 log line was lost: no storage space|two|three", 1);
        check([full(), full()], "WARN 2 log lines were lost: no storage space|three", 2);
        check([full(), full(), full()], "WARN 3 log lines were lost: no storage space", 3);
        check([full(), full(), full(), full()], "WARN 3 log lines were lost: no storage space", 3);
        // The disk fills up within a line: its rest comes first.
        check([Ok(2), full()], "one|two|three", 0);
        check([Ok(2), full(), full()], "one|WARN 1 log line was lost: no storage space|three", 1);
        check([Ok(2), Ok(1), Ok(1)], "one|two|three", 0);
        check([Err(ErrorKind::Interrupted), Ok(2), Err(ErrorKind::WouldBlock)], "one|two|three", 0);
        check([Err(ErrorKind::BrokenPipe), Ok(9)], "WARN 1 log line was lost: broken pipe|two|three", 1);
    }

    #[test]
    fn what_was_dropped_is_told_in_its_place() {
        let counter = Counter::default();
        let queue = Queue::new(counter.clone());
        (0..5000).for_each(|number| queue.push(format!("{number}\n").as_bytes()));
        let mut out = Out::new(&queue, Style::Text { is_coloured: false }, Paper::default());
        out.turn(Duration::ZERO);
        queue.push(b"last\n");
        out.turn(Duration::ZERO);
        let said = String::from_utf8(out.to.taken).expect("text");
        let end: Vec<_> = said.lines().rev().take(3).collect();
        assert_eq!((end[0], end[2]), ("last", "4095"));
        assert!(end[1].contains("904 log lines were lost since") && end[1].ends_with("nobody read them in time"));
        assert_eq!(counter.get(), 904);
    }
}

//! How long what connects to an origin is used, and when it is made anew. Pure: the time comes in as a value.
//!
//! A connection remembers the address that its name had when it was opened. One that is always busy would keep it for ever, while the
//! name has long moved elsewhere; so would one to a server that goes on failing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::time::Instant;

/// So many failures in a row at one origin, and the next attempt looks its name up and connects anew.
pub const FAILURES_IN_A_ROW_MAX: u32 = 3;

/// What connects to each of some origins.
#[derive(Debug)]
pub struct Lines<T> {
    age_max: Duration,
    lines: HashMap<String, Arc<Line<T>>>,
}

/// What connects to one origin.
#[derive(Debug)]
pub struct Line<T> {
    pub what: T,
    since: Instant,
    failures: AtomicU32,
}

impl<T> Line<T> {
    /// A request by it has ended, or was given up.
    pub fn observe(&self, has_failed: bool) {
        if has_failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failures.store(0, Ordering::Relaxed);
        }
    }
}

impl<T> Lines<T> {
    /// None yet; each is used for so long.
    pub fn new(age_max: Duration) -> Self {
        Self { age_max, lines: HashMap::new() }
    }

    /// The one for an origin, if it is to be used still.
    pub fn current(&self, origin: &str, now: Instant) -> Option<Arc<Line<T>>> {
        let line = self.lines.get(origin)?;
        let is_young = now.duration_since(line.since) < self.age_max;
        (is_young && line.failures.load(Ordering::Relaxed) < FAILURES_IN_A_ROW_MAX).then(|| line.clone())
    }

    /// Another in its place. Those of other origins that are too old go, so that no origin of an old config stays.
    pub fn replace(&mut self, origin: &str, what: T, now: Instant) -> Arc<Line<T>> {
        self.lines.retain(|_, line| now.duration_since(line.since) < self.age_max);
        let line = Arc::new(Line { what, since: now, failures: AtomicU32::new(0) });
        self.lines.insert(origin.to_owned(), line.clone());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses one origin at some seconds from the start, by which the lines made are counted: `x` fails, `o` works.
    #[track_caller]
    fn check(script: &[(u64, char)], expected: &[u32]) {
        let start = Instant::now();
        let mut lines = Lines::new(Duration::from_secs(300));
        let mut made = 0;
        let mut used = Vec::new();
        for (at_s, outcome) in script {
            let now = start + Duration::from_secs(*at_s);
            let line = lines.current("origin", now).unwrap_or_else(|| {
                made += 1;
                lines.replace("origin", made, now)
            });
            used.push(line.what);
            line.observe(*outcome == 'x');
        }
        assert_eq!(used, expected, "{script:?}");
    }

    #[test]
    fn nothing_is_used_beyond_its_age_however_busy_it_is() {
        check(&[(0, 'o'), (100, 'o'), (299, 'o'), (300, 'o'), (599, 'o'), (600, 'o')], &[1, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn three_failures_in_a_row_begin_anew_and_a_success_between_does_not() {
        check(&[(0, 'x'), (1, 'x'), (2, 'x'), (3, 'x'), (4, 'x'), (5, 'x'), (6, 'o')], &[1, 1, 1, 2, 2, 2, 3]);
        check(&[(0, 'x'), (1, 'x'), (2, 'o'), (3, 'x'), (4, 'x'), (5, 'o')], &[1; 6]);
    }

    #[test]
    fn an_origin_that_is_used_no_more_is_forgotten() {
        let start = Instant::now();
        let mut lines = Lines::new(Duration::from_secs(300));
        lines.replace("old", 1, start);
        lines.replace("new", 2, start + Duration::from_secs(300));
        assert_eq!(lines.lines.len(), 1);
    }
}

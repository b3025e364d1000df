//! Trouble is told once when it begins, now and then with its count while it lasts, and once when it ends. Pure: who asks brings the
//! time, and writes the line.

use std::time::Duration;

use crate::time::Instant;

/// While trouble lasts it is told this often.
pub const TOLD_EVERY: Duration = Duration::from_secs(15 * 60);

/// One kind of trouble of one thing.
#[derive(Debug)]
pub struct Trouble {
    every: Duration,
    /// It lasts until it ends, also while nothing happens.
    lasts: bool,
    begun: Option<Begun>,
    told_at: Option<Instant>,
    untold: u64,
}

#[derive(Debug)]
struct Begun {
    at: Instant,
    times: u64,
    is_told: bool,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// It has begun, and was not told before.
    pub is_first: bool,
    /// How often it has happened since it was told last.
    pub times: u64,
    /// How long it lasts.
    pub lasted: Duration,
}

/// What is to be told at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How often it has happened in all.
    pub times: u64,
    /// How long it lasted.
    pub lasted: Duration,
}

impl Trouble {
    /// Trouble that lasts from its first time to its end.
    pub const fn lasting(every: Duration) -> Self {
        Self { every, lasts: true, begun: None, told_at: None, untold: 0 }
    }

    /// Single mishaps that are summed up: the first is told, the others at most so often. It has no end.
    pub const fn summed_up(every: Duration) -> Self {
        Self { lasts: false, ..Self::lasting(every) }
    }

    /// It happens. Trouble that comes and goes is told no more often than trouble that stays.
    pub fn happens(&mut self, now: Instant) -> Option<News> {
        self.begin(now).times += 1;
        self.untold += 1;
        self.look(now)
    }

    /// It is worse than it seemed: told, unless that was done since it began.
    pub fn gets_worse(&mut self, now: Instant) -> Option<News> {
        if self.begin(now).is_told { None } else { self.tell(now) }
    }

    fn begin(&mut self, now: Instant) -> &mut Begun {
        self.begun.get_or_insert(Begun { at: now, times: 0, is_told: false })
    }

    /// Time has passed: tells what is due.
    pub fn look(&mut self, now: Instant) -> Option<News> {
        let is_due = self.told_at.is_none_or(|at| now.duration_since(at) >= self.every);
        let has_news = self.untold > 0 || (self.lasts && self.begun.is_some());
        if is_due && has_news { self.tell(now) } else { None }
    }

    fn tell(&mut self, now: Instant) -> Option<News> {
        let begun = self.begun.as_mut()?;
        let is_first = !begun.is_told;
        let lasted = now.duration_since(begun.at);
        begun.is_told = true;
        self.told_at = Some(now);
        Some(News { is_first, times: std::mem::take(&mut self.untold), lasted })
    }

    /// It is over. Told, if its beginning was.
    pub fn ends(&mut self, now: Instant) -> Option<Ended> {
        let begun = self.begun.take().filter(|begun| begun.is_told)?;
        self.untold = 0;
        Some(Ended { times: begun.times, lasted: now.duration_since(begun.at) })
    }

    /// Whether it lasts.
    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told when these things happen at these seconds: `x` happens, `!` gets worse, `?` time has passed, `.` ends.
    #[track_caller]
    fn check(mut trouble: Trouble, happens: &[(u64, char)], expected: &[&str]) {
        let start = Instant::now();
        let news = |at: u64, news: Option<News>| {
            let News { is_first, times, lasted } = news?;
            Some(format!("{at}: {} {times} {}", if is_first { "begins" } else { "lasts" }, lasted.as_secs()))
        };
        let told = happens.iter().filter_map(|(at, what)| {
            let now = start + Duration::from_secs(*at);
            match what {
                'x' => news(*at, trouble.happens(now)),
                '!' => news(*at, trouble.gets_worse(now)),
                '?' => news(*at, trouble.look(now)),
                _ => trouble.ends(now).map(|ended| format!("{at}: ended {} {}", ended.times, ended.lasted.as_secs())),
            }
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    const EVERY: Duration = Duration::from_secs(900);

    #[test]
    fn lasting_trouble_is_told_when_it_begins_while_it_lasts_and_when_it_ends() {
        let lasting = || Trouble::lasting(EVERY);
        check(lasting(), &[(0, 'x'), (1, 'x'), (2, '!'), (3, '.'), (4, '.')], &["0: begins 1 0", "3: ended 2 3"]);
        check(
            lasting(),
            &[(0, 'x'), (10, 'x'), (899, '?'), (900, '?'), (1800, '?'), (1900, '.'), (2000, '?')],
            &["0: begins 1 0", "900: lasts 1 900", "1800: lasts 0 1800", "1900: ended 2 1900"],
        );
    }

    #[test]
    fn trouble_that_comes_and_goes_is_told_no_more_often_unless_it_gets_worse() {
        let lasting = || Trouble::lasting(EVERY);
        check(
            lasting(),
            &[(0, 'x'), (1, '.'), (2, 'x'), (3, '.'), (4, 'x'), (5, '.'), (950, 'x'), (951, '.')],
            &["0: begins 1 0", "1: ended 1 1", "950: begins 3 0", "951: ended 1 1"],
        );
        check(
            lasting(),
            &[(0, 'x'), (1, '.'), (2, 'x'), (3, 'x'), (4, '!'), (5, '!'), (6, '.')],
            &["0: begins 1 0", "1: ended 1 1", "4: begins 2 2", "6: ended 2 4"],
        );
    }

    #[test]
    fn single_mishaps_are_summed_up() {
        check(
            Trouble::summed_up(EVERY),
            &[(0, 'x'), (1, 'x'), (2, 'x'), (900, '?'), (1800, '?'), (5000, 'x'), (5001, 'x')],
            &["0: begins 1 0", "900: lasts 2 900", "5000: lasts 1 5000"],
        );
    }
}

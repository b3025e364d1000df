//! Which segments may hold which events. Pure.
//!
//! Relays go on to a new segment one by one, so numbers of neighbours overlap; and what outlives its segment lies in one of its own. So a list
//! looks into a few segments at once, and knows how far these tell everything.

use std::ops::Range;

/// What [`span`] reads. Of what is gone nothing is needed.
pub const SPANS: &str = "SELECT k, n_from, n_until FROM segment WHERE state <> 'gone' ORDER BY k";

/// A segment from a row of [`SPANS`].
pub fn span(row: &tokio_postgres::Row) -> Span {
    let number = |at: usize| row.get::<_, Option<i64>>(at).map(i64::cast_unsigned);
    Span { segment: row.get(0), above: number(1).unwrap_or(0), until: number(2) }
}

/// The segment of what outlives its own: retries and dead letters, with copies of their events. It is not of the history.
pub const CARRIED: i32 = 0;

/// Segments that a list looks into at once, unless more of them overlap: each has its scan in the statement's plan.
const AT_ONCE: usize = 4;

/// The numbers that a segment may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub segment: i32,
    /// All of its events are above this number,
    pub above: u64,
    /// and at or below this one; `None`: it may get more.
    pub until: Option<u64>,
}

impl Span {
    /// Of a segment of which nothing is known: everything is looked for in it.
    pub fn whole(segment: i32) -> Self {
        Self { segment, above: 0, until: None }
    }

    fn start(&self) -> u64 {
        // No number that a database gives is 0, and the first of a journal that was taken in is.
        if self.segment == CARRIED || self.above == 0 { 0 } else { self.above.saturating_add(1) }
    }

    fn end(&self) -> u64 {
        let until = if self.segment == CARRIED { None } else { self.until };
        until.map_or(u64::MAX, |until| until.saturating_add(1))
    }

    fn overlaps(&self, numbers: &Range<u64>) -> bool {
        self.start() < numbers.end && numbers.start < self.end()
    }
}

/// A few segments that tell everything of a part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few {
    pub segments: Vec<i32>,
    pub part: Range<u64>,
}

/// The segments of the history.
pub fn of_history(spans: &[Span]) -> Vec<Span> {
    spans.iter().copied().filter(|span| span.segment != CARRIED).collect()
}

/// The segments that may hold any of some events, newest first.
pub fn holding(spans: &[Span], numbers: &[u64]) -> Vec<i32> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let is_meant = |span: &&Span| {
        let first = sorted.partition_point(|number| *number < span.start());
        sorted.get(first).is_some_and(|number| *number < span.end())
    };
    spans.iter().rev().filter(is_meant).map(|span| span.segment).collect()
}

/// The segments that may hold an event of a range, newest first.
pub fn overlapping(spans: &[Span], numbers: &Range<u64>) -> Vec<i32> {
    spans.iter().rev().filter(|span| span.overlaps(numbers)).map(|span| span.segment).collect()
}

/// The last part of a range, and the segments that tell everything of it.
pub fn last_part(spans: &[Span], numbers: Range<u64>) -> Few {
    let mut rest: Vec<&Span> = spans.iter().filter(|span| span.overlaps(&numbers)).collect();
    rest.sort_by_key(|span| (span.end(), span.start()));
    let mut segments = Vec::new();
    loop {
        let edge = rest.last().map_or(numbers.start, |span| span.end()).max(numbers.start);
        match rest.last() {
            Some(span) if segments.len() < AT_ONCE || edge >= numbers.end => segments.push(span.segment),
            _ => return Few { segments, part: edge..numbers.end },
        }
        rest.pop();
    }
}

/// The first part of a range, and the segments that tell everything of it.
pub fn first_part(spans: &[Span], numbers: Range<u64>) -> Few {
    let mut rest: Vec<&Span> = spans.iter().filter(|span| span.overlaps(&numbers)).collect();
    rest.sort_by_key(|span| std::cmp::Reverse((span.start(), span.end())));
    let mut segments = Vec::new();
    loop {
        let edge = rest.last().map_or(numbers.end, |span| span.start()).min(numbers.end);
        match rest.last() {
            Some(span) if segments.len() < AT_ONCE || edge <= numbers.start => segments.push(span.segment),
            _ => return Few { segments, part: numbers.start..edge },
        }
        rest.pop();
    }
}

/// One query for each of some segments, as one.
pub fn each(segments: &[i32], query: impl Fn(i32) -> String) -> String {
    segments.iter().map(|segment| query(*segment)).collect::<Vec<_>>().join(" UNION ALL ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(segment: i32, above: u64, until: u64) -> Span {
        Span { segment, above, until: (until > 0).then_some(until) }
    }

    /// Six segments whose numbers overlap by ten, the last of them open, and what was carried.
    fn spans() -> Vec<Span> {
        let closed = (1..6).map(|k| span(k as i32, k * 100, k * 100 + 110));
        [Span::whole(CARRIED)].into_iter().chain(closed).chain([span(6, 600, 0)]).collect()
    }

    #[test]
    fn numbers_are_looked_for_where_they_may_be_and_among_what_was_carried() {
        let check = |numbers: &[u64], expected: &[i32]| assert_eq!(holding(&spans(), numbers), expected, "{numbers:?}");
        check(&[], &[]);
        check(&[50], &[0]);
        check(&[150], &[1, 0]);
        check(&[205], &[2, 1, 0]);
        check(&[200, 211], &[2, 1, 0]);
        check(&[100], &[0]);
        check(&[9999, 101], &[6, 1, 0]);
        assert_eq!(holding(&[Span::whole(7)], &[1]), [7]);
        assert_eq!(overlapping(&of_history(&spans()), &(210..601)), [5, 4, 3, 2, 1]);
    }

    #[test]
    fn a_list_looks_into_a_few_segments_and_no_further_than_these_tell_all() {
        let history = of_history(&spans());
        let last = |range: Range<u64>| last_part(&history, range);
        let first = |range: Range<u64>| first_part(&history, range);
        assert_eq!(last(0..9999), Few { segments: vec![6, 5, 4, 3], part: 311..9999 });
        assert_eq!(last(0..311), Few { segments: vec![3, 2, 1], part: 0..311 });
        assert_eq!(first(0..9999), Few { segments: vec![1, 2, 3, 4], part: 0..501 });
        assert_eq!(first(501..9999), Few { segments: vec![4, 5, 6], part: 501..9999 });
        assert_eq!(last(0..50), Few { segments: vec![], part: 0..50 });
        assert_eq!(first(0..50), Few { segments: vec![], part: 0..50 });
        assert_eq!(first(7..7).part, 7..7);
    }

    #[test]
    fn where_nothing_is_known_of_segments_all_of_them_are_looked_into() {
        let unknown: Vec<Span> = (1..9).map(Span::whole).collect();
        assert_eq!(last_part(&unknown, 5..50).segments.len(), 8);
        assert_eq!(first_part(&unknown, 5..50).segments.len(), 8);
        assert_eq!([last_part(&unknown, 5..50).part, first_part(&unknown, 5..50).part], [5..50, 5..50]);
    }

    #[test]
    fn part_by_part_a_range_is_gone_through_and_no_event_is_missed() {
        let spans = spans();
        let mut range = 0..1000;
        let mut parts = 0;
        while !range.is_empty() {
            let few = last_part(&spans, range.clone());
            assert!(few.part.start < range.end, "it goes on");
            for number in few.part.clone() {
                assert!(holding(&spans, &[number]).iter().all(|segment| few.segments.contains(segment)), "{number}");
            }
            range.end = few.part.start;
            parts += 1;
        }
        assert_eq!(parts, 3);
    }
}

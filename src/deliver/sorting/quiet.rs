//! Hours in which a destination is left alone, by the clock on its people's wall.
//!
//! They are intervals of moments, not hours to compare with: where summer time ends at three, a night until half past two is over at the first
//! half past two. A time that a day does not have is later by what the day lacks; one that it has twice is the first.

use std::ops::Range;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::time::MINUTE_MS;

/// Minutes of a day. `to` may be its end.
pub const DAY_MINUTES: u16 = 24 * 60;
/// Days in which quiet hours are counted: as long as a delivery may be tried at most.
pub const DAYS_COUNTED: u32 = 366;

/// Hours in which a destination is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// When they begin, in minutes of a day, below [`DAY_MINUTES`].
    pub from: u16,
    /// When they end, in minutes of the same day if that is later than `from`, else of the next one.
    pub to: u16,
    /// Whose clock.
    pub zone: TimeZone,
    /// The days on which they begin, Monday first.
    pub days: [bool; 7],
}

impl Quiet {
    /// Until when it is quiet at a moment of the wall clock, both unix milliseconds; `None`: it is not.
    pub fn until_ms(&self, wall_ms: u64) -> Option<u64> {
        self.look(wall_ms).0
    }

    /// When that is to change next, unix milliseconds: they end, or begin.
    pub fn changes_ms(&self, wall_ms: u64) -> u64 {
        let (until_ms, begin_ms) = self.look(wall_ms);
        until_ms.unwrap_or(begin_ms)
    }

    /// How much of a time by the wall clock is quiet, in milliseconds. Of a longer time than [`DAYS_COUNTED`] the end is looked at.
    pub fn within_ms(&self, time: Range<u64>) -> u64 {
        let from_ms =
            time.start.max(time.end.saturating_sub(u64::from(DAYS_COUNTED) * u64::from(DAY_MINUTES) * MINUTE_MS));
        let mut sum_ms = 0;
        let mut known_ms = from_ms;
        let Some(first) = self.day_of(from_ms).and_then(|day| day.yesterday().ok()) else { return 0 };
        // One more on each side: a day of the wall is not a day of the sun.
        for day in (0..DAYS_COUNTED + 3).filter_map(|day| first.checked_add(i64::from(day).days()).ok()) {
            let Some(hours) = self.begin_on(day) else { continue };
            if hours.start >= time.end {
                break;
            }
            let part = hours.start.max(known_ms)..hours.end.min(time.end);
            if !part.is_empty() {
                (sum_ms, known_ms) = (sum_ms + part.end - part.start, part.end);
            }
        }
        sum_ms
    }

    /// Until when it is quiet, if it is, and when quiet hours begin next.
    fn look(&self, wall_ms: u64) -> (Option<u64>, u64) {
        let mut next = u64::MAX;
        let mut until = None;
        for hours in self.around(wall_ms) {
            // Nights that touch are one.
            if until.map_or(hours.contains(&wall_ms), |until| hours.contains(&until)) {
                until = Some(hours.end);
            }
            if hours.start > wall_ms {
                next = next.min(hours.start);
            }
        }
        (until, next)
    }

    /// The quiet hours that may matter at a moment, in order: those of the day before it and of eight days from there on, so that a whole week
    /// of them lies within.
    fn around(&self, wall_ms: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let today = self.day_of(wall_ms);
        let days =
            today.into_iter().flat_map(|today| (-1..=8).filter_map(move |day| today.checked_add(day.days()).ok()));
        days.filter_map(|day| self.begin_on(day))
    }

    /// The day on the wall at a moment; `None` where nobody could read it.
    fn day_of(&self, wall_ms: u64) -> Option<Date> {
        let moment = i64::try_from(wall_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok())?;
        Some(moment.to_zoned(self.zone.clone()).date())
    }

    /// Those that begin on a day; `None` where the day has nothing of them, or is none of ours.
    fn begin_on(&self, day: Date) -> Option<Range<u64>> {
        if !self.days[day.weekday().to_monday_zero_offset() as usize] {
            return None;
        }
        let ends = if self.to > self.from { day } else { day.tomorrow().ok()? };
        let hours = self.moment(day, self.from)?..self.moment(ends, self.to)?;
        (!hours.is_empty()).then_some(hours)
    }

    fn moment(&self, day: Date, minutes: u16) -> Option<u64> {
        let (day, minutes) = if minutes == DAY_MINUTES { (day.tomorrow().ok()?, 0) } else { (day, minutes) };
        let time = Time::new((minutes / 60) as i8, (minutes % 60) as i8, 0, 0).ok()?;
        let moment = self.zone.to_zoned(day.to_datetime(time)).ok()?;
        u64::try_from(moment.timestamp().as_millisecond().max(0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [bool; 7] = [true; 7];
    const HOUR_MS: u64 = 60 * MINUTE_MS;

    fn minutes(text: &str) -> u16 {
        let (hours, minutes) = text.split_once(':').expect("hours and minutes");
        hours.parse::<u16>().expect("hours") * 60 + minutes.parse::<u16>().expect("minutes")
    }

    fn quiet(from: &str, to: &str, zone: &str, days: [bool; 7]) -> Quiet {
        let zone = TimeZone::get(zone).expect("a zone of the system");
        Quiet { from: minutes(from), to: minutes(to), zone, days }
    }

    fn ms(moment: &str) -> u64 {
        moment.parse::<Timestamp>().expect("a moment").as_millisecond() as u64
    }

    #[track_caller]
    fn quiet_until(hours: &Quiet, moment: &str, until: &str) {
        let at = ms(moment);
        assert_eq!((hours.until_ms(at), hours.changes_ms(at)), (Some(ms(until)), ms(until)), "{moment}");
    }

    #[track_caller]
    fn awake_until(hours: &Quiet, moment: &str, until: &str) {
        let at = ms(moment);
        assert_eq!((hours.until_ms(at), hours.changes_ms(at)), (None, ms(until)), "{moment}");
    }

    #[test]
    fn a_night_goes_over_midnight_and_its_ends_are_sharp() {
        let night = quiet("22:00", "07:00", "Europe/Berlin", ALL);
        awake_until(&night, "2026-11-27T20:59:59.999Z", "2026-11-27T21:00:00Z");
        quiet_until(&night, "2026-11-27T21:00:00Z", "2026-11-28T06:00:00Z");
        quiet_until(&night, "2026-11-28T05:59:59.999Z", "2026-11-28T06:00:00Z");
        awake_until(&night, "2026-11-28T06:00:00Z", "2026-11-28T21:00:00Z");
        let noon = quiet("12:00", "13:00", "UTC", ALL);
        quiet_until(&noon, "2026-11-27T12:00:00Z", "2026-11-27T13:00:00Z");
        awake_until(&noon, "2026-11-27T13:00:00Z", "2026-11-28T12:00:00Z");
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let weekdays = [true, true, true, true, true, false, false];
        let night = quiet("22:00", "07:00", "Europe/Berlin", weekdays);
        // A Friday's night ends on Saturday, and the next one begins on Monday.
        quiet_until(&night, "2026-11-28T05:00:00Z", "2026-11-28T06:00:00Z");
        awake_until(&night, "2026-11-28T22:00:00Z", "2026-11-30T21:00:00Z");
        awake_until(&night, "2026-11-30T05:00:00Z", "2026-11-30T21:00:00Z");
    }

    #[test]
    fn whole_days_that_follow_each_other_are_one_rest() {
        let weekend = quiet("00:00", "24:00", "America/New_York", [false, false, false, false, false, true, true]);
        quiet_until(&weekend, "2026-11-28T05:00:00Z", "2026-11-30T05:00:00Z");
        quiet_until(&weekend, "2026-11-29T12:00:00Z", "2026-11-30T05:00:00Z");
        awake_until(&weekend, "2026-11-30T05:00:00Z", "2026-12-05T05:00:00Z");
        let but_sundays = quiet("00:00", "24:00", "UTC", [true, true, true, true, true, true, false]);
        quiet_until(&but_sundays, "2026-11-30T00:00:00Z", "2026-12-06T00:00:00Z");
        let once_a_week = quiet("08:00", "09:00", "UTC", [true, false, false, false, false, false, false]);
        awake_until(&once_a_week, "2026-11-30T09:00:00Z", "2026-12-07T08:00:00Z");
    }

    #[test]
    fn where_summer_time_begins_a_time_that_the_day_lacks_is_an_hour_later() {
        // 2026-03-29 in Berlin: two o'clock becomes three.
        let to_the_gap = quiet("22:00", "02:30", "Europe/Berlin", ALL);
        quiet_until(&to_the_gap, "2026-03-29T00:59:00Z", "2026-03-29T01:30:00Z");
        let from_the_gap = quiet("02:30", "06:00", "Europe/Berlin", ALL);
        awake_until(&from_the_gap, "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z");
        quiet_until(&from_the_gap, "2026-03-29T01:30:00Z", "2026-03-29T04:00:00Z");
        let within = quiet("02:10", "02:50", "Europe/Berlin", ALL);
        quiet_until(&within, "2026-03-29T01:10:00Z", "2026-03-29T01:50:00Z");
        // It would end before it begins: there is none on that day.
        let nothing = quiet("02:30", "03:00", "Europe/Berlin", ALL);
        awake_until(&nothing, "2026-03-29T01:10:00Z", "2026-03-30T00:30:00Z");
        let night = quiet("22:00", "07:00", "Europe/Berlin", ALL);
        quiet_until(&night, "2026-03-28T21:00:00Z", "2026-03-29T05:00:00Z");
    }

    #[test]
    fn where_summer_time_ends_a_time_that_the_day_has_twice_is_the_first() {
        // 2026-10-25 in Berlin: three o'clock becomes two.
        let to_the_fold = quiet("22:00", "02:30", "Europe/Berlin", ALL);
        quiet_until(&to_the_fold, "2026-10-25T00:29:00Z", "2026-10-25T00:30:00Z");
        awake_until(&to_the_fold, "2026-10-25T00:30:00Z", "2026-10-25T21:00:00Z");
        awake_until(&to_the_fold, "2026-10-25T01:10:00Z", "2026-10-25T21:00:00Z");
        let from_the_fold = quiet("02:30", "06:00", "Europe/Berlin", ALL);
        quiet_until(&from_the_fold, "2026-10-25T00:30:00Z", "2026-10-25T05:00:00Z");
        let night = quiet("22:00", "07:00", "Europe/Berlin", ALL);
        quiet_until(&night, "2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z");
    }

    #[test]
    fn half_hours_odd_offsets_and_days_without_a_midnight() {
        // Lord Howe goes by half an hour: on 2026-04-05 two o'clock is half past one again.
        let fold = quiet("01:45", "03:00", "Australia/Lord_Howe", ALL);
        quiet_until(&fold, "2026-04-04T14:45:00Z", "2026-04-04T16:30:00Z");
        let nepal = quiet("22:00", "06:00", "Asia/Kathmandu", ALL);
        quiet_until(&nepal, "2026-11-27T16:15:00Z", "2026-11-28T00:15:00Z");
        // In Beirut 2026-03-29 begins at one.
        let day = quiet("00:00", "12:00", "Asia/Beirut", ALL);
        awake_until(&day, "2026-03-28T21:59:00Z", "2026-03-28T22:00:00Z");
        quiet_until(&day, "2026-03-28T22:00:00Z", "2026-03-29T09:00:00Z");
        let to_midnight = quiet("20:00", "24:00", "Asia/Beirut", ALL);
        quiet_until(&to_midnight, "2026-03-28T18:00:00Z", "2026-03-28T22:00:00Z");
    }

    #[test]
    fn a_clock_that_nobody_could_read_is_never_quiet_for_ever() {
        let night = quiet("22:00", "07:00", "UTC", ALL);
        assert_eq!((night.until_ms(u64::MAX), night.changes_ms(u64::MAX)), (None, u64::MAX));
        quiet_until(&night, "1970-01-01T00:00:00Z", "1970-01-01T07:00:00Z");
    }

    #[test]
    fn what_is_said_of_the_time_to_come_comes_true() {
        let zones = ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "UTC"];
        let hours =
            [("22:00", "07:00"), ("02:30", "02:45"), ("01:59", "03:01"), ("00:00", "24:00"), ("23:59", "00:01")];
        // Every hour of every day is none that a config can say.
        let days = [ALL, [true, false, true, true, false, false, true]];
        let [start, end] = ["2026-03-01T00:00:00Z", "2026-11-10T00:00:00Z"].map(ms);
        for (zone, ((from, to), days)) in
            zones.iter().flat_map(|zone| hours.iter().flat_map(move |hours| days.map(|days| (zone, (hours, days)))))
        {
            if *to == "24:00" && days == ALL {
                continue;
            }
            let quiet = quiet(from, to, zone, days);
            let mut now = start;
            while now < end {
                let is_quiet = |at| quiet.until_ms(at).is_some();
                let until_ms = quiet.changes_ms(now);
                assert!(until_ms > now, "{zone} {from} {to} {now}");
                // Until then nothing changes; from then on it is the other way round.
                for between in [now + (until_ms - now) / 2, until_ms - 1, until_ms.saturating_sub(MINUTE_MS).max(now)] {
                    let same = (quiet.until_ms(between), quiet.changes_ms(between));
                    assert_eq!(same, (quiet.until_ms(now), until_ms), "{zone} {from} {to} {between}");
                }
                if until_ms == u64::MAX {
                    break;
                }
                assert_ne!(is_quiet(until_ms), is_quiet(now), "{zone} {from} {to} {until_ms}");
                let [before, after] = [now - MINUTE_MS, now + 1].map(|from| quiet.within_ms(from..until_ms));
                let counted = if is_quiet(now) { (until_ms - now, until_ms - now - 1) } else { (MINUTE_MS, 0) };
                assert!(now == start || (before, after) == counted, "{zone} {from} {to} {now}: {before} {after}");
                now = until_ms;
            }
        }
    }

    #[test]
    fn of_a_time_the_quiet_part_is_counted_once() {
        let night = quiet("22:00", "07:00", "UTC", ALL);
        let [evening, next] = ["2026-11-27T21:00:00Z", "2026-11-28T21:00:00Z"].map(ms);
        assert_eq!(night.within_ms(evening..next), 9 * HOUR_MS);
        assert_eq!(night.within_ms(evening..evening + HOUR_MS), 0);
        assert_eq!(night.within_ms(evening..evening + HOUR_MS + 1), 1);
        assert_eq!(night.within_ms(evening + 2 * HOUR_MS..evening + 3 * HOUR_MS), HOUR_MS);
        assert_eq!(night.within_ms(next..evening), 0, "no time at all");
        assert_eq!(night.within_ms(u64::MAX - 1..u64::MAX), 0);
        let weekend = quiet("00:00", "24:00", "UTC", [false, false, false, false, false, true, true]);
        assert_eq!(weekend.within_ms(evening..evening + 7 * 24 * HOUR_MS), 48 * HOUR_MS);
        let day = u64::from(DAY_MINUTES) * MINUTE_MS;
        let most = u64::from(DAYS_COUNTED);
        assert_eq!(night.within_ms(evening - most * day..evening), most * 9 * HOUR_MS);
        assert_eq!(night.within_ms(evening - 2 * most * day..evening), most * 9 * HOUR_MS, "of longer the end");
    }
}

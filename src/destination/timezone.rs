//! Time zones by name, from the system's database.
//!
//! A name must be written as the database has it. Where there is no database the message says so and leaves the name alone. For an
//! offset or an abbreviation no zone is guessed: `Etc/GMT+2` is two hours *behind* UTC, and `BST` is three zones.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::fault::Fault;
use crate::yaml::problem::did_you_mean;

/// What to do where the system has no database.
const INSTALL: &str = "install the package tzdata, or set TZDIR to a directory with the zone files; UTC needs neither";

/// What to write for an offset or an abbreviation.
const PLACE: &str =
    "a time zone is a place, like Europe/Berlin or America/New_York, or UTC: a place knows its summer time";

/// Finds a zone. `UTC` needs no database: a small container has none.
pub fn find(name: &str) -> Result<TimeZone, Fault> {
    find_in(jiff::tz::db(), name)
}

fn find_in(database: &TimeZoneDatabase, name: &str) -> Result<TimeZone, Fault> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let found = database.get(name);
    // The database looks without regard to case; what is written otherwise would be unknown to other programs.
    if let Ok(zone) = &found
        && zone.iana_name() == Some(name)
    {
        return Ok(zone.clone());
    }
    let names: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
    if names.is_empty() {
        let message = format!("this system has no database of time zones, so `{name}` cannot be looked up");
        return Err(Fault::with_help(message, Some(INSTALL.to_owned())));
    }
    if let Ok(zone) = found
        && names.iter().any(|known| known == name)
    {
        return Ok(zone);
    }
    if matches!(name, "Z" | "z") {
        return Err(Fault::with_help(format!("`{name}` is not a time zone"), Some("write UTC".to_owned())));
    }
    let alike = names.iter().find(|known| known.eq_ignore_ascii_case(name));
    let city = || {
        let is_its_city = |known: &&String| known.rsplit('/').next().is_some_and(|city| is_same_place(city, name));
        names.iter().filter(|known| !known.starts_with("posix/") && !known.starts_with("right/")).find(is_its_city)
    };
    let known = if is_offset(name) { alike } else { alike.or_else(city) };
    let help = known.map(|known| format!("did you mean `{known}`?"));
    let help = help.or_else(|| (is_offset(name) || is_abbreviation(name)).then(|| PLACE.to_owned()));
    let help = help.or_else(|| did_you_mean(name, names.iter().map(String::as_str)));
    let help = help.unwrap_or_else(|| "write it like Europe/Berlin, America/New_York or UTC".to_owned());
    Err(Fault::with_help(format!("`{name}` is not a time zone"), Some(help)))
}

/// `GMT+2`, `UTC 1`, `+02:00`: a name with a number.
fn is_offset(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_digit())
}

/// `PST`, `cest`: two to five letters.
fn is_abbreviation(name: &str) -> bool {
    (2..=5).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// `berlin` or `new york` for what the database calls `Berlin` and `New_York`.
fn is_same_place(city: &str, name: &str) -> bool {
    city.len() == name.len()
        && city.bytes().zip(name.bytes()).all(|(c, n)| c.eq_ignore_ascii_case(&n) || (c == b'_' && n == b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, unix_s: i64, expected: &str) {
        let zone = find(name).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let moment = jiff::Timestamp::from_second(unix_s).expect("a moment").to_zoned(zone);
        assert_eq!(moment.strftime("%Y-%m-%d/%H").to_string(), expected, "{name} {unix_s}");
    }

    #[test]
    fn every_zone_of_the_system_is_known_on_both_sides_of_its_changes() {
        check("Europe/Berlin", 1_729_980_001, "2024-10-27/00");
        check("Europe/Berlin", 1_743_296_401, "2025-03-30/03");
        check("Europe/Berlin", 1_743_296_399, "2025-03-30/01");
        check("Europe/Berlin", 1_729_989_000, "2024-10-27/02");
        check("Europe/Berlin", 1_729_992_600, "2024-10-27/02");
        check("America/New_York", 1_741_503_600, "2025-03-09/03");
        check("America/New_York", 1_741_503_599, "2025-03-09/01");
        check("Asia/Tokyo", 1_735_657_200, "2025-01-01/00");
        check("Asia/Kathmandu", 1_735_669_800, "2025-01-01/00");
        check("Australia/Lord_Howe", 1_735_650_000, "2025-01-01/00");
        for name in ["Etc/UTC", "GMT", "Etc/GMT", "UTC"] {
            check(name, 1_735_689_600, "2025-01-01/00");
        }
    }

    #[track_caller]
    fn refused(database: &TimeZoneDatabase, name: &str, message: &str, help: &str) {
        let fault = find_in(database, name).expect_err(name);
        assert!(fault.message.contains(message), "{fault:?}");
        assert!(fault.help.as_ref().is_some_and(|told| told.contains(help)), "{fault:?}");
    }

    #[test]
    fn a_name_that_is_none_is_told_with_the_one_that_was_meant() {
        let database = jiff::tz::db();
        refused(database, "europe/berlin", "is not a time zone", "did you mean `Europe/Berlin`?");
        refused(database, "Europe/Berln", "is not a time zone", "did you mean `Europe/Berlin`?");
        refused(database, "Berlin", "is not a time zone", "did you mean `Europe/Berlin`?");
        refused(database, "new york", "is not a time zone", "did you mean `America/New_York`?");
        refused(database, "utc", "is not a time zone", "did you mean `UTC`?");
        refused(database, "Middle/Earth", "is not a time zone", "write it like Europe/Berlin");
        refused(database, "../../etc/passwd", "is not a time zone", "");
        refused(database, "", "is not a time zone", "");
    }

    #[test]
    fn no_zone_is_guessed_for_an_offset_or_an_abbreviation() {
        let database = jiff::tz::db();
        for name in [
            "GMT+2",
            "gmt+2",
            "GMT-5",
            "UTC+1",
            "UTC 1",
            "UTC+01:00",
            "+02:00",
            "-0500",
            "+2",
            "GMT+5:30",
            "Etc/UTC+2",
            "PST",
            "PDT",
            "IST",
            "BST",
            "CEST",
            "MEZ",
            "AEST",
            "pst",
            "AKDT",
        ] {
            refused(database, name, "is not a time zone", "a time zone is a place, like Europe/Berlin");
            let help = find_in(database, name).expect_err(name).help.unwrap_or_default();
            assert!(!help.contains("did you mean"), "{name}: {help}");
        }
        refused(database, "PARIS", "is not a time zone", "did you mean `Europe/Paris`?");
        refused(database, "etc/gmt+2", "is not a time zone", "did you mean `Etc/GMT+2`?");
        check("Etc/GMT+2", 1_735_689_600, "2024-12-31/22");
    }

    #[test]
    fn without_a_database_the_name_is_not_blamed_and_utc_is_still_known() {
        let empty = tempfile::tempdir().expect("a directory");
        let database = TimeZoneDatabase::from_dir(empty.path()).unwrap_or_else(|_| TimeZoneDatabase::none());
        refused(&database, "Europe/Berlin", "this system has no database of time zones", "tzdata");
        assert!(find_in(&database, "UTC").is_ok());
    }
}

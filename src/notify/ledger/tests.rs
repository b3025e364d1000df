//! What is wrong by what is seen, and what is remembered of what was.

use super::*;
use crate::notify::observed::Dead;
use crate::notify::{Paused, Removed};

const HOUR_MS: u64 = 60 * 60 * 1000;
const NOW_MS: u64 = 1_700_000_000_000;

fn kinds(looks: &[Look]) -> Vec<(Kind, &str)> {
    looks.iter().map(|look| (look.key.kind, look.key.about.as_str())).collect()
}

fn destination(name: &str) -> ObservedDestination {
    ObservedDestination { name: name.to_owned(), ..ObservedDestination::default() }
}

fn of(destination: ObservedDestination) -> Observed {
    Observed { destinations: vec![destination], ..Observed::default() }
}

fn dead_letters(kept: u64, died: u64) -> Observed {
    of(ObservedDestination { dead: Some(Dead { kept, died }), ..destination("crm") })
}

fn heard(accepted: u64, refused: u64) -> Observed {
    let source = ObservedSource {
        name: "vero".to_owned(),
        expect_every_ms: Some(HOUR_MS),
        accepted,
        refused,
        is_refusing: false,
    };
    Observed { sources: vec![source], ..Observed::default() }
}

/// As the next process has it.
fn kept(ledger: &Ledger) -> Ledger {
    serde_json::from_str(&serde_json::to_string(ledger).expect("text")).expect("its own text")
}

#[test]
fn a_bound_is_told_of_beyond_it_and_not_at_it() {
    let bounds = Bounds { age: Some(Duration::from_secs(60)), deliveries: Some(10) };
    let of = |backlog, age_ms| {
        let there = ObservedDestination { backlog, oldest_age_ms: Some(age_ms), ..destination("crm") };
        kinds(&Ledger::default().look(&of(there), &bounds, NOW_MS))
            .into_iter()
            .map(|(kind, _)| kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(10, 60_000), []);
    assert_eq!(of(11, 60_001), [Kind::BacklogAge, Kind::BacklogSize]);
    let there = ObservedDestination { backlog: 9, oldest_age_ms: Some(HOUR_MS), ..destination("crm") };
    assert_eq!(Ledger::default().look(&super::tests::of(there), &Bounds::default(), NOW_MS), []);
}

#[test]
fn what_is_to_be_given_its_lane_is_a_backlog_once_no_lane_is_given() {
    let bounds = Bounds { age: Some(Duration::from_secs(600)), deliveries: Some(10) };
    let mut ledger = Ledger::default();
    let look = |ledger: &mut Ledger, unplaced: Option<(u64, u64)>, seconds: u64| {
        let now_ms = NOW_MS + seconds * 1000;
        let unplaced = unplaced.map(|(deliveries, oldest_ms)| Unplaced {
            deliveries,
            oldest_ms: Some(oldest_ms),
            oldest_age_ms: Some(now_ms - oldest_ms),
        });
        let there = ObservedDestination { backlog: 9, unplaced, ..destination("crm") };
        kinds(&ledger.look(&of(there), &bounds, now_ms)).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    let old_ms = NOW_MS - HOUR_MS;
    let both = [Kind::BacklogAge, Kind::BacklogSize];
    assert_eq!(look(&mut ledger, Some((1000, old_ms)), 0), []);
    assert_eq!(look(&mut ledger, Some((900, old_ms + 1)), 50), [], "it is placed");
    assert_eq!(look(&mut ledger, Some((900, old_ms + 1)), 110), []);
    assert_eq!(look(&mut ledger, Some((900, old_ms + 1)), 111), both, "it has been the oldest for more than a minute");
    assert_eq!(look(&mut ledger, Some((990, old_ms)), 112), both, "a sorter that begins anew has come no further");
    assert_eq!(look(&mut ledger, Some((800, old_ms + 2)), 113), []);
    assert_eq!(look(&mut ledger, None, 114), []);
    assert_eq!(look(&mut ledger, Some((1000, old_ms)), 200), [], "after a reload");
    ledger.goes_on_late();
    assert_eq!(look(&mut ledger, Some((1000, old_ms)), 300), [], "nobody has seen whether it was placed meanwhile");
    assert_eq!(look(&mut ledger, Some((1000, old_ms)), 361), both);
}

#[test]
fn what_died_or_was_refused_while_nobody_was_to_be_told_is_old() {
    let mut ledger = Ledger::default();
    let observed =
        |kept, died, refused| Observed { destinations: dead_letters(kept, died).destinations, ..heard(1, refused) };
    let texts = |ledger: &mut Ledger, observed, seconds: u64| {
        let looks = ledger.look(&observed, &Bounds::default(), NOW_MS + seconds * 1000);
        let number = |look: Look| look.text.chars().take_while(char::is_ascii_digit).collect::<String>();
        looks.into_iter().map(number).collect::<Vec<_>>()
    };
    let nothing: Vec<String> = Vec::new();
    assert_eq!(texts(&mut ledger, observed(0, 0, 0), 0), nothing);
    ledger.goes_on_late();
    assert_eq!(texts(&mut ledger, observed(5, 6, 7), 100), nothing);
    assert_eq!(texts(&mut ledger, observed(7, 8, 8), 101), ["2", "1"]);
    ledger.goes_on_late();
    assert_eq!(texts(&mut ledger, observed(9, 9, 9), 102), ["2", "1"], "what was told lasts, and is no more");
    let mut next = kept(&ledger);
    next.goes_on_late();
    assert_eq!(texts(&mut next, observed(20, 0, 5), 103), ["2", "1"], "and so in a process that told nobody before");
}

#[test]
fn dead_letters_are_counted_from_what_was_there_and_also_over_a_restart() {
    let mut ledger = Ledger::default();
    let look = |ledger: &mut Ledger, dead, died, at_ms| {
        let looks = ledger.look(&dead_letters(dead, died), &Bounds::default(), at_ms);
        looks.into_iter().next().map(|look| look.text)
    };
    assert_eq!(look(&mut ledger, 40, 7, NOW_MS), None, "what was there before is old");
    assert_eq!(look(&mut ledger, 41, 8, NOW_MS + 1000).as_deref(), Some("1 delivery to crm became a dead letter"));
    let two = "2 deliveries to crm became dead letters";
    assert_eq!(look(&mut ledger, 1, 9, NOW_MS + 2000).as_deref(), Some(two), "some were replayed meanwhile");
    let mut next = kept(&ledger);
    let three = "3 deliveries to crm became dead letters";
    assert_eq!(look(&mut next, 2, 0, NOW_MS + 3000).as_deref(), Some(three), "at the end of the process before");
    assert_eq!(look(&mut next, 2, 0, NOW_MS + 3000 + HOUR_MS).as_deref(), Some(three));
    assert_eq!(look(&mut next, 2, 0, NOW_MS + 3001 + HOUR_MS), None);
    assert_eq!(look(&mut next, 3, 0, NOW_MS + 2 * HOUR_MS).as_deref(), Some("1 delivery to crm became a dead letter"));
}

#[test]
fn a_dead_letter_is_counted_once_whichever_of_the_two_numbers_is_ahead() {
    // Looks at so many kept and so many counted since the start, and how many are told in the end.
    let check = |looks: &[(u64, u64)], expected: u64| {
        let mut ledger = Ledger::default();
        let mut told = Vec::new();
        for (nth, (kept, died)) in (1..).zip(looks) {
            told = ledger.look(&dead_letters(*kept, *died), &Bounds::default(), NOW_MS + nth);
        }
        let texts: Vec<_> = told.into_iter().map(|look| look.text).collect();
        let expected = match expected {
            0 => Vec::new(),
            1 => vec!["1 delivery to crm became a dead letter".to_owned()],
            more => vec![format!("{more} deliveries to crm became dead letters")],
        };
        assert_eq!(texts, expected, "{looks:?}");
    };
    check(&[(40, 7), (40, 7)], 0);
    check(&[(0, 0), (0, 3), (3, 3)], 3);
    check(&[(0, 0), (1, 3), (3, 3), (3, 3)], 3);
    check(&[(0, 0), (0, 3), (3, 5), (5, 5)], 5);
    check(&[(0, 0), (4, 0), (4, 0)], 4);
    check(&[(0, 0), (6, 2), (6, 2)], 6);
    check(&[(9, 0), (0, 2), (0, 2), (4, 2)], 6);
    // What is kept and was not counted by then was given up by a limit: the two are read in such an order.
    check(&[(0, 0), (1, 0), (2, 1)], 2);
}

#[test]
fn what_dies_of_a_destination_that_was_removed_is_one_problem_until_none_is_left() {
    let mut ledger = Ledger::default();
    let look = |ledger: &mut Ledger, observed: &Observed, seconds: u64| {
        let looks = ledger.look(observed, &Bounds::default(), NOW_MS + seconds * 1000);
        looks.into_iter().map(|look| (look.text, look.is_certain && look.is_of_removed)).next()
    };
    let removed =
        |dead| Observed { removed: Some(vec![Removed { name: "crm".to_owned(), dead }]), ..Observed::default() };
    let told = |text: &str| Some((format!("{text}, since the config does not name it any more"), true));
    let (one, three) = ("1 delivery to crm became a dead letter", "3 deliveries to crm became dead letters");
    look(&mut ledger, &dead_letters(4, 9), 0);
    assert_eq!(look(&mut ledger, &dead_letters(5, 10), 1), Some((one.to_owned(), false)));
    assert_eq!(look(&mut ledger, &removed(5), 2), None, "these died while it was named");
    assert_eq!(look(&mut ledger, &removed(6), 3), told(one));
    let mut ledger = kept(&ledger);
    let unknown = Observed::default();
    assert_eq!(look(&mut ledger, &unknown, 4).map(|(_, is_certain)| is_certain), Some(false));
    assert_eq!(look(&mut ledger, &removed(8), 9 * HOUR_MS / 1000), told(three), "in another process, much later");
    assert_eq!(look(&mut ledger, &removed(1), 10 * HOUR_MS / 1000), told(three), "one is left");
    let mut back = ledger.clone();
    assert_eq!(look(&mut back, &dead_letters(1, 12), 11 * HOUR_MS / 1000), Some((three.to_owned(), false)));
    assert_eq!(look(&mut back, &dead_letters(1, 12), 12 * HOUR_MS / 1000), Some((three.to_owned(), false)));
    assert_eq!(look(&mut back, &dead_letters(1, 12), 12 * HOUR_MS / 1000 + 1), None, "as any other");
    assert_eq!(look(&mut ledger, &removed(0), 11 * HOUR_MS / 1000), None);
    assert_eq!(look(&mut ledger, &removed(1), 12 * HOUR_MS / 1000), told(one), "that is another problem");
    let gone = Observed { removed: Some(Vec::new()), ..Observed::default() };
    assert_eq!((look(&mut ledger, &gone, 13 * HOUR_MS / 1000), ledger.died.clone()), (None, DeadLetters::default()));
    assert_eq!(look(&mut ledger, &removed(7), 14 * HOUR_MS / 1000), None, "of one that was never seen they are old");
}

#[test]
fn what_dies_of_a_removed_destination_while_nobody_is_to_be_told_is_old() {
    let mut ledger = Ledger::default();
    let removed =
        |dead| Observed { removed: Some(vec![Removed { name: "crm".to_owned(), dead }]), ..Observed::default() };
    let look = |ledger: &mut Ledger, dead| ledger.look(&removed(dead), &Bounds::default(), NOW_MS).len();
    assert_eq!(look(&mut ledger, 0), 0);
    ledger.goes_on_late();
    assert_eq!([look(&mut ledger, 5), look(&mut ledger, 6)], [0, 1]);
}

#[test]
fn a_dead_letter_that_is_counted_by_one_process_and_kept_by_the_next_is_one() {
    let mut ledger = Ledger::default();
    ledger.look(&dead_letters(0, 0), &Bounds::default(), NOW_MS);
    ledger.look(&dead_letters(0, 1), &Bounds::default(), NOW_MS + 1);
    let mut next = kept(&ledger);
    for at_ms in [2, 3] {
        let looks = next.look(&dead_letters(1, 0), &Bounds::default(), NOW_MS + at_ms);
        assert_eq!(looks[0].text, "1 delivery to crm became a dead letter");
    }
    let before = r#"{"died":{"crm":{"kept":1,"count":1,"last_ms":5}},"heard":{}}"#;
    let known: Ledger = serde_json::from_str(before).expect("as a process of before has kept it");
    assert_eq!(known.died.kept("crm"), Some(1));
}

#[test]
fn what_is_not_known_of_dead_letters_changes_nothing() {
    let mut ledger = Ledger::default();
    let unknown = of(destination("crm"));
    let mut look = |observed: &Observed, at_ms| ledger.look(observed, &Bounds::default(), at_ms).len();
    assert_eq!(look(&unknown, NOW_MS), 0);
    assert_eq!(look(&dead_letters(40, 0), NOW_MS + 1), 0, "they are old");
    assert_eq!(look(&unknown, NOW_MS + 2), 0);
    assert_eq!(look(&dead_letters(40, 0), NOW_MS + 3), 0);
    assert_eq!(look(&dead_letters(41, 1), NOW_MS + 4), 1);
    assert_eq!(look(&unknown, NOW_MS + 5), 1, "it lasts");
}

#[test]
fn what_was_refused_before_anybody_looked_is_old_but_at_the_start() {
    let refused = |ledger: &mut Ledger, count, at_ms| {
        let looks = ledger.look(&heard(1, count), &Bounds::default(), at_ms);
        looks.into_iter().next().map(|look| look.text.chars().take_while(char::is_ascii_digit).collect::<String>())
    };
    let mut at_start = Ledger::default();
    assert_eq!(refused(&mut at_start, 2, NOW_MS).as_deref(), Some("2"));
    let mut late = Ledger::default();
    late.begins_late();
    assert_eq!(refused(&mut late, 2, NOW_MS), None, "nobody was to be told then");
    assert_eq!(refused(&mut late, 3, NOW_MS + 1).as_deref(), Some("1"));
    let mut ledger = Ledger::default();
    assert_eq!(refused(&mut ledger, 0, NOW_MS), None);
    assert_eq!(refused(&mut ledger, 5, NOW_MS + 1).as_deref(), Some("5"));
    ledger.look(&Observed::default(), &Bounds::default(), NOW_MS + 2);
    assert_eq!(refused(&mut ledger, 5, NOW_MS + 3), None, "a source that comes back brings nothing old");
}

#[test]
fn a_source_is_silent_by_the_time_in_which_it_could_be_heard() {
    let mut ledger = Ledger::default();
    let look = |ledger: &mut Ledger, accepted, at_ms| {
        kinds(&ledger.look(&heard(accepted, 0), &Bounds::default(), at_ms)).len()
    };
    assert_eq!(look(&mut ledger, 0, NOW_MS), 0);
    assert_eq!(look(&mut ledger, 0, NOW_MS + HOUR_MS), 0);
    assert_eq!(look(&mut ledger, 0, NOW_MS + HOUR_MS + 1), 1);
    assert_eq!(look(&mut ledger, 1, NOW_MS + HOUR_MS + 2), 0, "it is heard");
    assert_eq!(look(&mut ledger, 1, NOW_MS + 2 * HOUR_MS), 0);
    // It is away for a day.
    let mut next = kept(&ledger);
    assert_eq!(look(&mut next, 0, NOW_MS + 26 * HOUR_MS), 0);
    assert_eq!(look(&mut next, 0, NOW_MS + 26 * HOUR_MS + 2), 0);
    assert_eq!(look(&mut next, 0, NOW_MS + 26 * HOUR_MS + 3), 1, "the two times together");
    assert_eq!(look(&mut kept(&ledger), 1, NOW_MS + 50 * HOUR_MS), 0, "it is heard before the first look");
}

#[test]
fn a_source_that_is_refused_or_expects_nothing_is_not_silent() {
    for change in [
        |observed: &mut Observed| observed.sources[0].is_refusing = true,
        |observed: &mut Observed| observed.sources[0].expect_every_ms = None,
        |observed: &mut Observed| observed.full = Some("no room".to_owned()),
    ] {
        let mut observed = heard(0, 0);
        change(&mut observed);
        let mut ledger = Ledger::default();
        ledger.look(&observed, &Bounds::default(), NOW_MS);
        let looks = ledger.look(&observed, &Bounds::default(), NOW_MS + 9 * HOUR_MS);
        assert!(looks.iter().all(|look| look.key.kind != Kind::SourceSilent), "{looks:?}");
    }
}

#[test]
fn a_wrong_token_is_told_of_until_there_was_none_for_an_hour() {
    let mut ledger = Ledger::default();
    let look =
        |ledger: &mut Ledger, refused, at_ms| kinds(&ledger.look(&heard(1, refused), &Bounds::default(), at_ms)).len();
    assert_eq!(look(&mut ledger, 0, NOW_MS), 0);
    assert_eq!(look(&mut ledger, 2, NOW_MS + 1), 1);
    let mut next = kept(&ledger);
    assert_eq!(look(&mut next, 0, NOW_MS + 1 + HOUR_MS), 1, "also over a restart");
    assert_eq!(look(&mut next, 0, NOW_MS + 2 + HOUR_MS), 0);
}

#[test]
fn a_certificate_is_told_of_for_two_weeks_before_its_end_and_after_it() {
    let of = |ends_ms| {
        let observed =
            Observed { certificates: vec![Certificate { of: "tls", ends_ms }], wall_ms: NOW_MS, ..Observed::default() };
        Ledger::default().look(&observed, &Bounds::default(), 5).into_iter().next().map(|look| look.text)
    };
    let fortnight = as_ms(CERTIFICATE_ENDS_WITHIN);
    assert_eq!(of(NOW_MS + fortnight + 1), None);
    assert_eq!(of(NOW_MS + fortnight).as_deref(), Some("the certificate of `tls` ends on 2023-11-28, in 14 days"));
    assert_eq!(
        of(NOW_MS).as_deref(),
        Some("the certificate of `tls` has ended on 2023-11-14: nobody takes it any more")
    );
}

#[test]
fn what_the_relay_has_paused_is_told_at_once_and_what_a_person_has_is_not() {
    for by_relay in [true, false] {
        let paused = Some(Paused { by_relay, reason: "410 Gone".to_owned() });
        let looks =
            Ledger::default().look(&of(ObservedDestination { paused, ..destination("crm") }), &Bounds::default(), 5);
        assert_eq!(looks.iter().map(|look| look.at_once).collect::<Vec<_>>(), [by_relay]);
    }
}

#[test]
fn what_is_gone_from_the_config_is_forgotten() {
    let mut ledger = Ledger::default();
    ledger.look(&of(destination("crm")), &Bounds::default(), 5);
    ledger.look(&heard(0, 0), &Bounds::default(), 6);
    assert!(ledger.died == DeadLetters::default() && ledger.heard.len() == 1);
    ledger.look(&Observed::default(), &Bounds::default(), 7);
    assert!(ledger.heard.is_empty());
}

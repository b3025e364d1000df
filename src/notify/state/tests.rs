//! The state machine by rows and by dice: what is told when, over any restarts, and that nothing is told twice.

use proptest::prelude::*;

use super::*;
use crate::notify::{Candidate, Kind, Round, Stand};

const START_MS: u64 = 1_700_000_000_000;
const TERMS: Terms = Terms { after: Duration::from_secs(600), repeat: Some(Duration::from_secs(6 * 3600)) };

fn look(kind: Kind, about: &str, at_once: bool) -> Look {
    let said = format!("{about} is {}", kind.name());
    let over = format!("not {said}");
    Look { key: Key::new(kind, about), is_certain: true, at_once, is_of_removed: false, text: said, over }
}

fn failing(about: &str) -> Look {
    look(Kind::DestinationFailing, about, false)
}

fn full() -> Look {
    look(Kind::StoreFull, "", true)
}

/// A state that is looked at by the second, and told of by somebody who always hears.
struct Drill {
    state: State,
    now_ms: u64,
    terms: Terms,
}

impl Drill {
    fn new() -> Self {
        Self { state: State::default(), now_ms: START_MS, terms: TERMS }
    }

    /// Goes on for so many seconds; what was told when, in words.
    fn go_on(&mut self, seconds: u64, looks: &[Look]) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..seconds {
            self.now_ms += 1000;
            let items = self.state.step(looks, &self.terms, self.now_ms);
            if !items.is_empty() {
                told.push(format!("{}: {}", self.now_ms.saturating_sub(START_MS) / 1000, in_words(&items)));
                let id = self.state.begin(items, self.now_ms).id;
                self.state.told(&id, "ops", self.now_ms);
            }
        }
        told
    }

    fn restart(&mut self) {
        self.state = State::of_kept(&self.state.to_kept());
    }
}

fn in_words(items: &[Item]) -> String {
    let word = |item: &Item| {
        let said = match item.said {
            Said::Begun => "begun",
            Said::Lasts(_) => "lasts",
            Said::Over(_) => "over",
        };
        format!("{} {} {said}", item.key.kind.name(), item.key.about)
    };
    items.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[test]
fn an_outage_is_told_once_when_it_has_lasted_and_once_when_it_is_over() {
    let mut drill = Drill::new();
    assert_eq!(drill.go_on(610, &[failing("crm")]), [""; 0]);
    assert_eq!(drill.go_on(3000, &[failing("crm")]), ["611: destination_failing crm begun"]);
    assert_eq!(drill.go_on(3600, &[]), ["3681: destination_failing crm over"]);
    assert_eq!(drill.state, State { sent_ms: START_MS + 3_681_000, ..State::default() }, "it is forgotten");
}

#[test]
fn what_is_over_before_it_has_lasted_is_not_told() {
    let mut drill = Drill::new();
    for _ in 0..10 {
        assert_eq!(drill.go_on(590, &[failing("crm")]), [""; 0]);
        // It is seen to be gone after the first second, and a minute later it is over.
        assert_eq!(drill.go_on(61, &[]), [""; 0]);
        assert_eq!(drill.state, State::default());
    }
}

#[test]
fn what_comes_and_goes_within_a_minute_is_told_when_it_has_lasted() {
    let mut drill = Drill::new();
    for _ in 0..10 {
        assert_eq!(drill.go_on(1, &[failing("crm")]), [""; 0]);
        assert_eq!(drill.go_on(59, &[]), [""; 0]);
        drill.restart();
    }
    assert_eq!(drill.state.problems().count(), 0, "it is gone just now");
    assert_eq!(drill.go_on(11, &[failing("crm")]), ["611: destination_failing crm begun"]);
    assert_eq!(drill.go_on(90, &[]), ["682: destination_failing crm over"]);
}

#[test]
fn what_nobody_was_told_of_is_not_told_to_be_over_where_nothing_is_known_of_it() {
    let unknown = Look { is_certain: false, ..failing("crm") };
    let mut drill = Drill::new();
    drill.go_on(300, &[failing("crm")]);
    drill.go_on(1, &[]);
    assert_eq!(drill.go_on(9000, &[unknown]), [""; 0]);
    assert_eq!(drill.state, State::default());
}

#[test]
fn what_comes_and_goes_after_it_was_told_goes_on() {
    let mut drill = Drill::new();
    drill.go_on(700, &[failing("crm")]);
    for _ in 0..20 {
        assert_eq!(drill.go_on(59, &[]), [""; 0]);
        assert_eq!(drill.go_on(1, &[failing("crm")]), [""; 0]);
    }
    assert_eq!(drill.go_on(100, &[]).len(), 1);
}

#[test]
fn what_lasts_is_told_again_as_often_as_was_asked_for_and_never_without_repeat() {
    let mut drill = Drill::new();
    let told = drill.go_on(50_000, &[failing("crm")]);
    let lasts = |at| format!("{at}: destination_failing crm lasts");
    assert_eq!(told[1..], [lasts(611 + 21_610), lasts(611 + 2 * 21_610)]);
    let mut drill = Drill { terms: Terms { repeat: None, ..TERMS }, ..Drill::new() };
    assert_eq!(drill.go_on(50_000, &[failing("crm")]).len(), 1);
}

#[test]
fn what_cannot_wait_is_told_at_once_with_what_happens_beside_it() {
    let mut drill = Drill::new();
    drill.go_on(1, &[full()]);
    let looks = [look(Kind::DestinationPaused, "crm", true), full(), failing("chat")];
    assert_eq!(drill.go_on(60, &looks), ["11: store_full  begun, destination_paused crm begun"]);
}

#[test]
fn two_messages_are_a_minute_apart_and_none_is_longer_than_its_limit() {
    let mut drill = Drill::new();
    let looks: Vec<_> = (0..=ITEMS_MAX).map(|at| look(Kind::DeadLetters, &format!("{at:02}"), true)).collect();
    let told = drill.go_on(200, &looks);
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].matches("begun").count(), ITEMS_MAX);
    assert_eq!(told[1], format!("71: dead_letters {ITEMS_MAX} begun"));
}

#[test]
fn what_is_not_known_changes_nothing() {
    let unknown = Look { is_certain: false, ..failing("crm") };
    let mut drill = Drill::new();
    assert_eq!(drill.go_on(700, std::slice::from_ref(&unknown)), [""; 0]);
    assert_eq!(drill.state.problems().count(), 0);
    drill.go_on(700, &[failing("crm")]);
    drill.restart();
    assert_eq!(drill.go_on(9000, &[unknown]), [""; 0], "neither over nor told twice");
    assert_eq!(drill.go_on(90, &[]).len(), 1);
}

#[test]
fn a_restart_changes_nothing_and_time_goes_on_over_it() {
    let [mut drill, mut other] = [Drill::new(), Drill::new()];
    for (seconds, looks) in
        [(300, vec![failing("crm")]), (400, vec![failing("crm"), full()]), (500, vec![]), (50, vec![full()])]
    {
        assert_eq!(drill.go_on(seconds, &looks), other.go_on(seconds, &looks));
        drill.restart();
        assert_eq!(drill.state, other.state);
    }
}

#[test]
fn a_clock_that_was_set_back_stalls_nothing() {
    let mut drill = Drill::new();
    drill.go_on(700, &[failing("crm")]);
    drill.restart();
    drill.now_ms -= 3_600_000;
    assert_eq!(drill.go_on(80, &[]).len(), 1, "its end is told");
    assert_eq!(drill.go_on(90, &[full()]).len(), 1);
}

#[test]
fn what_was_being_told_is_told_again_under_its_id() {
    let mut drill = Drill::new();
    drill.go_on(605, &[failing("crm")]);
    drill.now_ms += 60_000;
    let items = drill.state.step(&[failing("crm")], &TERMS, drill.now_ms);
    let telling = drill.state.begin(items.clone(), drill.now_ms);
    assert!(telling.id.parse::<crate::event::EventId>().is_ok(), "it has the form of an event's: {}", telling.id);
    drill.restart();
    assert_eq!(drill.state.unfinished(drill.now_ms), std::slice::from_ref(&telling));
    assert_eq!(drill.go_on(90, &[]), [""; 0], "nothing else is told of it before");
    drill.state.told(&telling.id, "ops", drill.now_ms);
    assert_eq!(drill.go_on(90, &[]), ["815: destination_failing crm over"], "although it was over meanwhile");
    let other = State::default().begin(vec![Item { since_ms: 1, ..items[0].clone() }], 1).id;
    assert_ne!(other, telling.id);
}

#[test]
fn a_problem_that_comes_back_while_its_end_is_told_is_another() {
    let mut drill = Drill::new();
    drill.go_on(700, &[failing("crm")]);
    drill.now_ms += 1000;
    drill.state.step(&[], &TERMS, drill.now_ms);
    drill.now_ms += 100_000;
    let items = drill.state.step(&[], &TERMS, drill.now_ms);
    let id = drill.state.begin(items, drill.now_ms).id;
    drill.state.step(&[failing("crm")], &TERMS, drill.now_ms + 1000);
    drill.state.told(&id, "ops", drill.now_ms + 2000);
    let told = drill.go_on(700, &[failing("crm")]);
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("crm begun"), "{told:?}");
}

#[test]
fn where_nobody_can_be_told_it_is_tried_again_later_and_later() {
    let mut state = State::default();
    let mut rounds = Vec::new();
    for second in 0..7200 {
        let now_ms = START_MS + second * 1000;
        let items = state.step(&[full()], &TERMS, now_ms);
        if !items.is_empty() {
            state.untold(&items, now_ms);
            rounds.push(second);
        }
    }
    assert_eq!(rounds[..6], [10, 70, 190, 430, 910, 1810]);
    assert_eq!(rounds[6] - rounds[5], 900, "a quarter of an hour at most");
}

#[test]
fn what_waits_for_a_turn_alone_is_tried_again_when_there_is_one() {
    let mut state = State::default();
    let now_ms = START_MS + 11_000;
    state.step(&[full(), failing("crm")], &TERMS, START_MS);
    let items = state.step(&[full(), failing("crm")], &TERMS, now_ms);
    assert_eq!(state.waiting(), Vec::<Vec<Key>>::new());
    state.untold(&items, now_ms);
    assert_eq!(state.waiting(), [[full().key]]);
    assert_eq!(state.step(&[full()], &TERMS, now_ms + 1000), []);
    state.try_now(&[failing("crm").key], now_ms + 2000);
    assert_eq!(state.step(&[full()], &TERMS, now_ms + 2000), [], "it is another's");
    state.try_now(&[full().key], now_ms + 3000);
    assert_eq!(state.step(&[full()], &TERMS, now_ms + 3000), items);
    // What was being told when a process ended waits as one.
    let telling = state.begin(vec![items[0].clone(), items[0].clone()], now_ms);
    state.untold(&telling.items, now_ms + 3000);
    assert_eq!((state.waiting(), state.unfinished(now_ms + 4000).len()), (vec![vec![full().key, full().key]], 0));
    state.try_now(&[full().key], now_ms + 5000);
    assert_eq!(state.unfinished(now_ms + 5000), std::slice::from_ref(&telling));
    state.told(&telling.id, "ops", now_ms + 5000);
    assert_eq!(state.waiting(), Vec::<Vec<Key>>::new());
}

#[test]
fn what_nobody_can_be_told_of_holds_up_nothing_else_and_goes_along_with_it() {
    let mut drill = Drill::new();
    let mut asked = Vec::new();
    // Nobody can be told of `ops` but `ops`.
    let mut go_on = |drill: &mut Drill, seconds: u64, looks: &[Look]| {
        for _ in 0..seconds {
            drill.now_ms += 1000;
            let items = drill.state.step(looks, &TERMS, drill.now_ms);
            if items.is_empty() {
                continue;
            }
            asked.push(format!("{}: {}", (drill.now_ms - START_MS) / 1000, in_words(&items)));
            let (untold, told): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.key.about == "ops");
            if !told.is_empty() {
                let id = drill.state.begin(told, drill.now_ms).id;
                drill.state.told(&id, "ops", drill.now_ms);
            }
            drill.state.untold(&untold, drill.now_ms);
        }
    };
    let dead = look(Kind::DeadLetters, "ops", true);
    go_on(&mut drill, 500, std::slice::from_ref(&dead));
    go_on(&mut drill, 100, &[dead, look(Kind::DeadLetters, "crm", true)]);
    let ops = "dead_letters ops begun";
    let expected = [11, 71, 191, 431]
        .map(|second| format!("{second}: {ops}"))
        .into_iter()
        .chain([format!("511: dead_letters crm begun, {ops}")]);
    assert_eq!(asked, expected.collect::<Vec<_>>());
}

#[test]
fn what_is_renamed_is_the_same_problem_and_what_leaves_the_config_is_not_said_to_be_well() {
    let mut drill = Drill::new();
    assert_eq!(drill.go_on(700, &[failing("crm")]).len(), 1);
    drill.state.rename("crm", "shop");
    assert_eq!(drill.go_on(700, &[failing("shop")]), [""; 0]);
    drill.state.part_with(|key| key.about != "shop");
    drill.go_on(60, &[]);
    let over = drill.state.problems().next().map(|(key, problem)| (key.about.clone(), problem.over().to_owned()));
    assert_eq!(over, Some(("shop".to_owned(), "shop is not in the config any more".to_owned())));
    assert_eq!(drill.go_on(60, &[]).len(), 1);
    drill.state.rename("crm", "shop");
    assert_eq!(drill.state.problems().count(), 0);
}

#[test]
fn what_is_back_in_the_config_is_not_said_to_be_gone_from_it() {
    let mut drill = Drill::new();
    drill.go_on(700, &[failing("crm")]);
    drill.state.part_with(|_| false);
    drill.go_on(3, &[]);
    drill.state.part_with(|_| true);
    drill.go_on(3, &[]);
    let over = drill.state.problems().next().map(|(_, problem)| problem.over().to_owned());
    assert_eq!(over.as_deref(), Some("not crm is destination_failing"));
}

#[test]
fn what_goes_on_outside_of_the_config_ends_in_its_own_words() {
    let mut drill = Drill::new();
    let removed = Look { is_of_removed: true, ..look(Kind::DeadLetters, "crm", true) };
    drill.go_on(30, &[look(Kind::DeadLetters, "crm", true)]);
    drill.state.part_with(|_| false);
    drill.go_on(3, &[]);
    drill.state.part_with(|_| false);
    drill.go_on(3, std::slice::from_ref(&removed));
    drill.restart();
    drill.state.part_with(|_| false);
    drill.go_on(3, &[]);
    let over = |drill: &Drill| drill.state.problems().next().map(|(_, problem)| problem.over().to_owned());
    assert_eq!(over(&drill).as_deref(), Some("not crm is dead_letters"));
    drill.go_on(3, &[look(Kind::DeadLetters, "crm", true)]);
    drill.state.part_with(|_| false);
    assert_eq!(over(&drill).as_deref(), Some("crm is not in the config any more"), "it was back and has left again");
}

#[test]
fn what_is_said_of_a_destination_that_is_renamed_names_it_as_it_is_called_now() {
    let check = |kind, text: &str, over: &str, expected: [&str; 2]| {
        let mut state = State::default();
        let look = Look { text: text.to_owned(), over: over.to_owned(), ..look(kind, "c", true) };
        state.step(&[look], &TERMS, START_MS);
        state.rename("c", "shop");
        let said: Vec<_> = state.problems().map(|(_, problem)| [problem.text.clone(), problem.over.clone()]).collect();
        assert_eq!(said, [expected]);
    };
    let failing = ["c fails, and what is for it waits: no route to c at all", "c does not fail any more"];
    let renamed = ["shop fails, and what is for it waits: no route to c at all", "shop does not fail any more"];
    check(Kind::DestinationFailing, failing[0], failing[1], renamed);
    let [text, over] = ["2 deliveries to c became dead letters", "no further delivery to c became a dead letter"];
    let renamed = ["2 deliveries to shop became dead letters", "no further delivery to shop became a dead letter"];
    check(Kind::DeadLetters, text, over, renamed);
    let renamed = ["the oldest delivery to shop waits for 2 hours", "no delivery to shop waits for 1h any more"];
    let [text, over] = ["the oldest delivery to c waits for 2 hours", "no delivery to c waits for 1h any more"];
    check(Kind::BacklogAge, text, over, renamed);
}

#[test]
fn what_was_being_told_of_a_destination_that_is_renamed_is_known_as_told() {
    let mut drill = Drill::new();
    drill.go_on(605, &[failing("crm")]);
    drill.now_ms += 60_000;
    let items = drill.state.step(&[failing("crm")], &TERMS, drill.now_ms);
    let id = drill.state.begin(items, drill.now_ms).id;
    drill.restart();
    drill.state.rename("crm", "shop");
    drill.state.told(&id, "ops", drill.now_ms);
    assert_eq!(drill.go_on(900, &[failing("shop")]), [""; 0]);
}

#[test]
fn all_problems_that_are_remembered_fit_into_one_memo() {
    let mut state = State::default();
    let name = |at: usize| format!("{at:064}");
    let signs = ["x", "ö", "漢", "🔴", "\"", "\u{1}", "\u{85}"];
    let long = signs.map(|sign| sign.repeat(2 * TEXT_BYTES_MAX));
    let look = |at: usize, long: &String| Look { text: long.clone(), over: long.clone(), ..failing(&name(at)) };
    let looks: Vec<_> = (0..=PROBLEMS_MAX).zip(long.iter().cycle()).map(|(at, long)| look(at, long)).collect();
    let items = state.step(&looks, &TERMS, START_MS);
    assert_eq!((items.len(), state.problems().count()), (0, PROBLEMS_MAX));
    for round in 0.. {
        let items = state.step(&looks, &TERMS, START_MS + 700_000 + round * 61_000);
        if items.is_empty() {
            break;
        }
        let id = state.begin(items, START_MS).id;
        state.told(&id, "ops", START_MS + 700_000 + round * 61_000);
    }
    let bytes = state.to_kept().to_string().len();
    assert!(bytes < crate::store::MEMO_BYTES_MAX, "{bytes}");
}

#[test]
fn more_problems_than_anybody_reads_are_not_remembered() {
    let mut state = State::default();
    let looks: Vec<_> = (0..=PROBLEMS_MAX).map(|at| failing(&at.to_string())).collect();
    state.step(&looks, &TERMS, START_MS);
    assert_eq!(state.problems().count(), PROBLEMS_MAX);
    state.step(&looks[1..], &TERMS, START_MS + 1000);
    state.step(&looks[1..], &TERMS, START_MS + 61_000);
    assert_eq!(state.problems().count(), PROBLEMS_MAX);
    let last = looks.iter().map(|look| look.key.clone()).max().expect("one");
    assert!(state.problems().any(|(key, _)| *key == last), "where there is room, it is seen");
}

#[test]
fn what_is_worse_is_known_however_much_else_there_is() {
    let silent = look(Kind::SourceSilent, "vero", true);
    let many: Vec<_> = (0..=PROBLEMS_MAX).map(|at| failing(&at.to_string())).collect();
    let is_known = |state: &State, look: &Look| state.problems().any(|(key, _)| *key == look.key);
    // Whether it comes at once with all the rest, or later.
    for before in [0, PROBLEMS_MAX] {
        let mut state = State::default();
        state.step(&many[..before], &TERMS, START_MS);
        let all: Vec<_> = many.iter().chain([&silent]).cloned().collect();
        for seconds in 1..3 {
            state.step(&all, &TERMS, START_MS + seconds * 1000);
            assert!(is_known(&state, &silent));
            assert_eq!(state.problems().count(), PROBLEMS_MAX);
        }
    }
    // Of what somebody was told the end is told too.
    let mut state = State::default();
    state.step(&many[..PROBLEMS_MAX], &TERMS, START_MS);
    let told: Vec<_> = state.problems().map(|(key, problem)| problem.item(key, Said::Begun)).collect();
    let id = state.begin(told, START_MS).id;
    state.told(&id, "ops", START_MS);
    state.step(std::slice::from_ref(&silent), &TERMS, START_MS + 1000);
    assert!(!is_known(&state, &silent));
}

#[test]
fn what_cannot_be_read_was_never_kept() {
    assert_eq!(State::of_kept(&serde_json::json!({ "problems": 7 })), State::default());
    assert_eq!(State::of_kept(&serde_json::Value::Null), State::default());
}

/// What may happen between two looks.
#[derive(Clone, Debug)]
struct Turn {
    seconds: u64,
    /// Which of the four problems stand, and of which nothing is known.
    stands: [bool; 4],
    unknown: bool,
    /// Which of the two can be told.
    hears: [bool; 2],
    ends: Option<End>,
}

/// Where the process ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Before,
    Unsent,
    Unkept,
}

fn turn() -> impl Strategy<Value = Turn> {
    let ends = prop_oneof![
        6 => Just(None),
        1 => Just(Some(End::Before)),
        1 => Just(Some(End::Unsent)),
        1 => Just(Some(End::Unkept)),
    ];
    let seconds = prop_oneof![1..30u64, 30..700u64, Just(22_000u64)];
    (seconds, any::<[bool; 4]>(), any::<bool>(), prop::array::uniform2(prop::bool::weighted(0.8)), ends)
        .prop_map(|(seconds, stands, unknown, hears, ends)| Turn { seconds, stands, unknown, hears, ends })
}

/// A relay as its daemon has it, with what lies on its disk and what has arrived.
#[derive(Default)]
struct World {
    state: State,
    kept: serde_json::Value,
    now_ms: u64,
    /// Id, who, and what.
    arrived: Vec<(String, String, Vec<Item>)>,
}

fn place_of(name: &str) -> Option<String> {
    Some(name.to_owned())
}

impl World {
    fn keep(&mut self) {
        self.kept = self.state.to_kept();
    }

    fn end(&mut self) {
        self.state = State::of_kept(&self.kept);
    }

    fn turn(&mut self, turn: &Turn) {
        self.now_ms += turn.seconds * 1000;
        if turn.ends == Some(End::Before) {
            return self.end();
        }
        let all = [full(), failing("crm"), failing("ops"), look(Kind::DeadLetters, "mail", true)];
        let stands = all.into_iter().zip(turn.stands).filter(|(_, stands)| *stands).map(|(look, _)| look);
        let mut looks: Vec<_> = stands.collect();
        if turn.unknown && !turn.stands[1] {
            looks.push(Look { is_certain: false, ..failing("crm") });
        }
        let of_ops = if turn.stands[2] { Stand::Out } else { Stand::Ready };
        let candidates = ["ops", "mail"].into_iter().zip([of_ops, Stand::Ready]);
        let candidates =
            candidates.map(|(name, stand)| Candidate { name: name.to_owned(), place: name.to_owned(), stand });
        let candidates: Vec<_> = candidates.collect();
        let hears = |name: &str| turn.hears[usize::from(name == "mail")];
        for telling in self.state.unfinished(self.now_ms) {
            let mut round = Round::new(Vec::new(), candidates.clone());
            let mut is_told = false;
            while let Some(name) = round.whole(&telling.items, place_of).filter(|_| !is_told) {
                if !self.send(&name, &telling, hears(&name), turn.ends) {
                    return self.end();
                }
                is_told = hears(&name);
                round.failed(&name, Vec::new());
            }
            if !round.has_one_for(&telling.items, place_of) {
                self.state.not_told(&telling.id);
                self.keep();
            } else if !is_told {
                self.state.untold(&telling.items, self.now_ms);
            }
        }
        let items = self.state.step(&looks, &TERMS, self.now_ms);
        let mut round = Round::new(items, candidates);
        while let Some((name, items)) = round.next(place_of) {
            let telling = self.state.begin(items.clone(), self.now_ms);
            self.keep();
            if !self.send(&name, &telling, hears(&name), turn.ends) {
                return self.end();
            }
            if !hears(&name) {
                self.state.not_told(&telling.id);
                round.failed(&name, items);
            }
        }
        self.state.untold(&round.untold, self.now_ms);
        self.keep();
    }

    /// Whether the process goes on.
    fn send(&mut self, name: &str, telling: &Telling, is_heard: bool, ends: Option<End>) -> bool {
        if ends == Some(End::Unsent) {
            return false;
        }
        if is_heard {
            self.arrived.push((telling.id.clone(), name.to_owned(), telling.items.clone()));
            if ends == Some(End::Unkept) {
                return false;
            }
            self.state.told(&telling.id, name, self.now_ms);
            self.keep();
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn between_two_begins_lies_one_end_and_nobody_is_told_of_themselves(turns in prop::collection::vec(turn(), 1..60)) {
        let mut world = World { now_ms: START_MS, ..World::default() };
        world.keep();
        turns.iter().for_each(|turn| world.turn(turn));
        let calm = Turn { seconds: 300, stands: [true, true, false, false], unknown: false, hears: [true; 2], ends: None };
        for _ in 0..10 {
            world.turn(&calm);
        }
        for key in [full().key, failing("crm").key] {
            let problem = world.state.problems().find(|(known, _)| **known == key);
            prop_assert!(problem.is_some_and(|(_, problem)| problem.told.is_some()), "{key:?} is told in the end");
        }
        let mut ids: BTreeMap<&str, &Vec<Item>> = BTreeMap::new();
        let mut stands: BTreeMap<&Key, bool> = BTreeMap::new();
        for (id, name, items) in &world.arrived {
            prop_assert!(items.iter().all(|item| item.key.destination() != Some(name)), "{name} is told of {name}");
            if let Some(known) = ids.insert(id, items) {
                prop_assert_eq!(known, items, "one id, one message");
                continue;
            }
            for item in items {
                let stood = stands.insert(&item.key, !item.said.is_over()).unwrap_or(false);
                match item.said {
                    Said::Begun => prop_assert!(!stood, "{:?} begins twice", item.key),
                    Said::Lasts(_) => prop_assert!(stood, "{:?} lasts and never began", item.key),
                    Said::Over(_) => {}
                }
            }
        }
    }
}

//! One plan at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::duty::{Duty, SLOTS_MAX};
use super::super::plan::{Held, Holding, Move, RELAYS_MAX, Use};
use super::super::planner::Planner;
use super::super::view::{Incarnation, LeaseRow, RelayRow, StreamRow, View};
use super::scenarios::config;
use crate::store::NameId;

const ME: i64 = 1;

/// What there is, put together row by row. All relays live, but those that are named dead.
struct Case {
    view: View,
    held: Held,
    dead: BTreeSet<i64>,
    /// How many seconds it was looked at before.
    seconds: u64,
}

impl Case {
    fn new() -> Self {
        let mut case = Self { view: View::default(), held: Held::new(), dead: BTreeSet::new(), seconds: 0 };
        case.relay(ME, &[]);
        case
    }

    fn relay(&mut self, relay: i64, destinations: &[u32]) -> &mut Self {
        let wants = config(&destinations.iter().map(|id| (*id, None)).collect::<Vec<_>>());
        self.view.relays.insert(Incarnation(relay), RelayRow { wants, ..RelayRow::default() });
        self
    }

    fn lease(&mut self, duty: &str, epoch: i64, owner: impl Into<Option<i64>>) -> &mut Self {
        self.view.add_lease(duty, LeaseRow { epoch, owner: owner.into().map(Incarnation) });
        if let Ok(Duty::Stream(slot)) = duty.parse() {
            self.view.streams.insert(slot, StreamRow { segment: 1, n_from: 0 });
        }
        self
    }

    /// A lease of one's own.
    fn own(&mut self, duty: &str, used_for: Use) -> &mut Self {
        let holding = Holding { epoch: 5, used_for, is_draining: false };
        self.held.insert(duty.parse().expect("a duty"), holding);
        self.lease(duty, 5, ME)
    }

    fn dies(&mut self, relay: i64) -> &mut Self {
        self.dead.insert(relay);
        self.seconds = self.seconds.max(6);
        self
    }

    fn moves(&self) -> Vec<Move> {
        let mut planner = Planner::new(Incarnation(ME));
        let mut view = self.view.clone();
        for second in 0..=self.seconds {
            for (relay, row) in &mut view.relays {
                row.heartbeat += i64::from(!self.dead.contains(&relay.0));
            }
            planner.saw(&view, Duration::from_secs(second));
        }
        planner.plan(&view, &self.held)
    }

    /// What is planned, a line each.
    #[track_caller]
    fn check(&self, expected: &[&str]) {
        let named = |duties: &[Duty]| duties.iter().map(Duty::to_string).collect::<Vec<_>>().join(" ");
        let told = |planned: &Move| match planned {
            Move::StartOver => "start over".to_owned(),
            Move::Lost { duty } => format!("lost {duty}"),
            Move::GiveBack { duties, why } => format!("give back {} {why:?}", named(duties)),
            Move::RemoveRelay { relay, .. } => format!("remove {}", relay.0),
            Move::Take { claims } => {
                let claim = |claim: &super::super::plan::Claim| {
                    let from = claim.from.map_or(String::new(), |(dead, _)| format!(" from {}", dead.0));
                    format!("{}@{}{from} {:?}", claim.duty, claim.epoch, claim.used_for)
                };
                format!("take {}", claims.iter().map(claim).collect::<Vec<_>>().join(", "))
            }
        };
        assert_eq!(self.moves().iter().map(told).collect::<Vec<_>>(), expected);
    }
}

/// One that has a stream and keeps house.
fn settled() -> Case {
    let mut case = Case::new();
    case.own("stream/1", Use::Work).own("housekeeping", Use::Work);
    case
}

#[test]
fn the_first_relay_of_all_takes_everything() {
    let mut case = Case::new();
    case.relay(ME, &[1, 2]);
    case.check(&[
        "take stream/1@0 Work",
        "take housekeeping@0 Work",
        "take destination/1@0 Work",
        "take destination/2@0 Work",
    ]);
}

#[test]
fn who_has_no_row_or_lost_its_stream_begins_anew() {
    let mut case = settled();
    case.view.relays.clear();
    case.check(&["start over"]);
    let mut case = settled();
    case.lease("stream/1", 6, 2).relay(2, &[]);
    case.check(&["start over"]);
}

#[test]
fn what_another_took_is_dropped_and_what_a_failover_set_back_is_taken_anew() {
    let mut case = settled();
    case.relay(ME, &[3, 4]).relay(2, &[3]).own("destination/3", Use::Work).lease("destination/3", 6, 2);
    case.own("destination/4", Use::Work).lease("destination/4", 4, ME);
    case.check(&["lost destination/3", "lost destination/4", "take destination/4@4 from 1 Work"]);
}

#[test]
fn a_lease_of_ones_own_that_one_knows_nothing_of_is_taken_once_more_whatever_follows() {
    let mut case = settled();
    case.relay(ME, &[3]).relay(2, &[4]);
    case.lease("destination/3", 8, ME).lease("destination/4", 8, ME);
    case.check(&["take destination/3@8 from 1 Work", "take destination/4@8 from 1 Custody"]);
}

#[test]
fn a_dead_relays_duties_are_taken_from_it_and_a_living_ones_are_not() {
    let mut case = settled();
    case.relay(ME, &[3, 4]).relay(2, &[3, 4]).relay(3, &[3, 4]);
    case.lease("destination/3", 8, 2).lease("destination/4", 2, 3).lease("stream/2", 1, 3).dies(2);
    case.check(&["take destination/3@8 from 2 Work"]);
}

#[test]
fn a_free_duty_falls_to_who_has_least_and_after_a_while_to_anybody() {
    let mut case = settled();
    case.relay(ME, &[3, 4]).relay(2, &[3, 4]);
    case.own("destination/3", Use::Work).lease("destination/4", 1, None);
    case.check(&[]);
    case.seconds = 5;
    case.check(&["take destination/4@1 Work"]);
}

#[test]
fn what_nobody_can_do_is_in_custody_of_who_keeps_house() {
    let mut case = settled();
    case.lease("destination/3", 1, None).lease("rate-limit-group/aa", 1, None).lease(
        "replay/0199f3a2-7c1e-7abc-8000-00000000002a",
        1,
        None,
    );
    case.check(&["take destination/3@1 Custody"]);
    case.own("destination/3", Use::Custody);
    case.check(&[]);
    // Until somebody can.
    case.relay(2, &[3]);
    case.check(&["give back destination/3 NotMine"]);
    // Itself too: then it begins to work.
    case.view.relays.remove(&Incarnation(2));
    case.relay(ME, &[3]);
    case.check(&["take destination/3@5 from 1 Work"]);
    // And not of others.
    let mut case = Case::new();
    case.own("stream/1", Use::Work).relay(2, &[]).lease("housekeeping", 1, 2).own("destination/3", Use::Custody);
    case.check(&["give back destination/3 NotMine"]);
}

#[test]
fn one_that_stops_gives_back_all_but_its_stream_and_takes_nothing() {
    let mut case = settled();
    case.relay(ME, &[3, 4]).relay(2, &[3, 4]).own("destination/3", Use::Work).lease("destination/4", 1, None);
    case.view.relays.get_mut(&Incarnation(ME)).expect("its row").is_stopping = true;
    case.check(&["give back destination/3 housekeeping Stopping"]);
    case.held.values_mut().for_each(|held| held.is_draining = true);
    case.check(&[]);
}

#[test]
fn one_that_stops_is_counted_for_no_share() {
    let mut case = settled();
    case.relay(ME, &[3, 4]).relay(2, &[3, 4]).own("destination/3", Use::Work).lease("destination/4", 1, None);
    case.view.relays.get_mut(&Incarnation(2)).expect("its row").is_stopping = true;
    case.check(&["take destination/4@1 Work"]);
}

#[test]
fn streams_that_nobody_alive_has_are_taken_before_new_ones_and_each_relay_looks_for_another() {
    let mut case = Case::new();
    case.own("housekeeping", Use::Work).relay(2, &[]).lease("stream/1", 3, 2).lease("stream/4", 3, None);
    case.check(&["take stream/4@3 Work"]);
    // Another one that looks for a stream is before this one.
    case.relay(0, &[]);
    case.check(&["take stream/2@0 Work"]);
}

#[test]
fn no_more_relays_append_than_there_may_be() {
    let mut case = Case::new();
    case.own("housekeeping", Use::Work);
    for relay in 1..RELAYS_MAX as i64 {
        case.relay(relay + 1, &[]).lease(&format!("stream/{relay}"), 1, relay + 1);
    }
    case.check(&["take stream/64@0 Work"]);
    case.relay(100, &[]).lease("stream/64", 1, 100);
    case.check(&[]);
    // All numbers were used once.
    let mut case = Case::new();
    case.own("housekeeping", Use::Work);
    for slot in 1..=SLOTS_MAX {
        case.lease(&format!("stream/{slot}"), 1, None);
    }
    case.check(&["take stream/1@1 Work"]);
}

#[test]
fn rows_of_relays_that_are_long_dead_go_and_what_they_own_is_free_as_before() {
    let mut case = settled();
    case.relay(2, &[]).relay(3, &[]).relay(4, &[]).dies(2).dies(3).lease("stream/9", 1, 3);
    case.check(&[]);
    case.seconds = 700;
    case.check(&["remove 2", "remove 3"]);
    // One relay looks after that.
    case.held.remove(&Duty::Housekeeping);
    case.lease("housekeeping", 6, 4).check(&[]);
    let mut case = Case::new();
    case.lease("stream/9", 1, 3).lease("housekeeping", 1, 3).dies(3);
    case.check(&["take stream/9@1 from 3 Work", "take housekeeping@1 from 3 Work"]);
}

#[test]
fn one_bundle_goes_for_the_balance_when_all_has_stood_still() {
    let mut case = settled();
    case.relay(ME, &[1, 2, 3]).relay(2, &[1, 2, 3]);
    for id in 1..=3 {
        case.own(&format!("destination/{id}"), Use::Work);
    }
    case.seconds = 29;
    case.check(&[]);
    case.seconds = 30;
    case.check(&["give back destination/1 Balance"]);
    // Not while something is on its way, here or elsewhere.
    let on_its_way = Duty::Destination(NameId(2));
    case.held.get_mut(&on_its_way).expect("held").is_draining = true;
    case.check(&[]);
    case.held.get_mut(&on_its_way).expect("held").is_draining = false;
    case.view.relays.get_mut(&Incarnation(2)).expect("its row").gives_back.insert(on_its_way);
    case.check(&[]);
}

#[test]
fn a_group_is_taken_whole_and_a_limit_that_is_lost_ends_the_work_under_it() {
    let mut case = settled();
    let grouped = config(&[(1, Some("aa")), (2, Some("aa"))]);
    case.view.relays.get_mut(&Incarnation(ME)).expect("its row").wants = grouped;
    case.lease("destination/2", 3, None);
    case.check(&["take rate-limit-group/aa@0 Work, destination/1@0 Work, destination/2@3 Work"]);
    case.own("rate-limit-group/aa", Use::Work).own("destination/1", Use::Work).own("destination/2", Use::Work);
    case.check(&[]);
    case.relay(2, &[]).lease("rate-limit-group/aa", 6, 2);
    case.check(&["lost rate-limit-group/aa", "give back destination/2 destination/1 NotMine"]);
}

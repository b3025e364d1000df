//! Bundles and shares, whatever the configs say.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::bundles::{Bundle, Cluster};
use super::super::duty::Duty;
use super::super::shares::Shares;
use super::super::view::{Incarnation, LeaseRow, RelayRow, View, Wants};
use crate::store::NameId;

const ME: Incarnation = Incarnation(0);

/// A relay's config: of each of some destinations, whether it is there, and in which group.
type Config = Vec<Option<Option<u8>>>;

fn wants(config: &Config) -> Wants {
    let there = config.iter().enumerate().filter_map(|(id, group)| Some((id as u32, (*group)?)));
    let group = |(id, group): (u32, Option<u8>)| (NameId(id), group.map(|group| format!("{group:02x}")));
    Wants { destinations: there.map(group).collect(), replays: BTreeSet::from([7]) }
}

fn view(configs: &[Config]) -> View {
    let row = |config| RelayRow { wants: wants(config), ..RelayRow::default() };
    let relays = configs.iter().enumerate().map(|(relay, config)| (Incarnation(relay as i64), row(config)));
    View { relays: relays.collect(), ..View::default() }
}

fn configs(relays: usize) -> impl Strategy<Value = Vec<Config>> {
    let group = prop_oneof![3 => Just(None), 2 => (0u8..4).prop_map(Some)];
    let destination = prop_oneof![1 => Just(None), 4 => group.prop_map(Some)];
    prop::collection::vec(prop::collection::vec(destination, 9), 1..=relays)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(2048)))]

    #[test]
    fn a_rate_limit_is_never_in_two_bundles_and_each_destination_is_with_all_its_own(configs in configs(4)) {
        let view = view(&configs);
        let alive: BTreeSet<_> = view.relays.keys().copied().collect();
        let bundles = Bundle::all(&Cluster { view: &view, alive: &alive, me: ME });
        let mut of = BTreeMap::new();
        for (at, bundle) in bundles.iter().enumerate() {
            for duty in &bundle.duties {
                prop_assert!(of.insert(duty.clone(), at).is_none(), "{} is in two", duty);
            }
            prop_assert!(!bundle.fit.is_empty());
        }
        for row in view.relays.values() {
            for (id, group) in &row.wants.destinations {
                let own = of.get(&Duty::Destination(*id));
                prop_assert!(own.is_some());
                if let Some(group) = group {
                    prop_assert_eq!(of.get(&Duty::RateLimitGroup(group.clone())), own);
                }
            }
        }
    }

    #[test]
    fn who_is_fit_can_do_all_of_a_bundle_unless_nobody_can(configs in configs(4)) {
        let view = view(&configs);
        let alive: BTreeSet<_> = view.relays.keys().copied().collect();
        for bundle in Bundle::all(&Cluster { view: &view, alive: &alive, me: ME }) {
            for (relay, row) in &view.relays {
                let can_all = bundle.duties.iter().filter(|duty| !matches!(duty, Duty::RateLimitGroup(_)));
                let can_all = can_all.clone().all(|duty| row.wants.has(duty));
                if bundle.is_contested {
                    prop_assert!(!can_all);
                } else {
                    prop_assert_eq!(bundle.fit.contains(relay), can_all);
                }
            }
        }
    }

    #[test]
    fn moves_for_the_balance_end_and_leave_no_two_that_could_share_more_evenly(
        configs in configs(5),
        owners in prop::collection::vec(0i64..5, 20),
    ) {
        let mut view = view(&configs);
        let alive: BTreeSet<_> = view.relays.keys().copied().collect();
        let mut owners = owners.into_iter();
        for bundle in Bundle::all(&Cluster { view: &view.clone(), alive: &alive, me: ME }) {
            // Somebody who is fit has it, or nobody.
            let which = owners.next().unwrap_or_default() as usize;
            let owner = bundle.fit.iter().nth(which).copied();
            for duty in bundle.duties {
                view.leases.insert(duty, LeaseRow { epoch: 1, owner });
            }
        }
        let mut moves = 0;
        loop {
            let seen = view.clone();
            let cluster = Cluster { view: &seen, alive: &alive, me: ME };
            let bundles = Bundle::all(&cluster);
            let shares = Shares::of(&cluster, &bundles);
            let takers = shares.clone().takers(&cluster, &bundles);
            let contested = |bundle: &&Bundle| bundle.is_contested;
            let free = bundles.iter().filter(|bundle| !contested(bundle) && bundle.owner(&cluster).is_none());
            prop_assert_eq!(takers.len(), free.count(), "each falls to somebody");
            for (first, taker) in &takers {
                let bundle = bundles.iter().find(|bundle| bundle.first() == first).expect("it is one of them");
                prop_assert!(bundle.fit.contains(taker));
                for duty in &bundle.duties {
                    view.leases.insert(duty.clone(), LeaseRow { epoch: 1, owner: Some(*taker) });
                }
            }
            if takers.is_empty() {
                let Some(shift) = shares.next_shift(&cluster, &bundles) else { break };
                prop_assert!(shift.bundle.fit.contains(&shift.to) && shift.to != shift.from);
                for duty in &shift.bundle.duties {
                    view.leases.insert(duty.clone(), LeaseRow { epoch: 1, owner: None });
                }
            }
            moves += 1;
            prop_assert!(moves < 100, "it comes to rest");
        }
        if configs.iter().all(|config| *config == configs[0]) {
            let cluster = Cluster { view: &view, alive: &alive, me: ME };
            let bundles = Bundle::all(&cluster);
            let count = |relay| bundles.iter().filter(|bundle| bundle.owner(&cluster) == Some(relay)).count();
            let counts: Vec<_> = alive.iter().map(|relay| count(*relay)).collect();
            let (least, most) = (counts.iter().min().expect("one"), counts.iter().max().expect("one"));
            prop_assert!(most - least <= 1, "{:?}", counts);
        }
    }
}

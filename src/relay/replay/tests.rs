//! Replays over a journal whose process ends between what a step does and the note of how far it has come.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::relay::piece::{AT_ONCE, Bounds};
use crate::store::journal::model::ModelDisk;
use crate::store::journal::{JournalStore, Options};
use crate::store::{DeadQuery, Intake, NewEvent, PlannedDelivery, Settlement};

/// A store that is opened again and again, and the names in it.
struct World {
    disk: ModelDisk,
    store: Arc<JournalStore>,
}

impl World {
    fn new() -> Self {
        let disk = ModelDisk::default();
        let store = Self::open(&disk);
        Self { disk, store }
    }

    fn open(disk: &ModelDisk) -> Arc<JournalStore> {
        Arc::new(JournalStore::open(Arc::new(disk.clone()), Options::default()).expect("it opens").0)
    }

    /// The process ends and begins.
    fn restart(&mut self) {
        self.store.close();
        self.store = Self::open(&self.disk);
    }

    fn id(&self, name: &str) -> NameId {
        self.store.name(NameKind::Destination, name)
    }

    async fn append(&self, to: &[&str], body: &[u8]) -> EventId {
        let rule = self.store.name(NameKind::Rule, "all");
        let event = NewEvent {
            received_ms: 1,
            source: self.store.name(NameKind::Source, "vero"),
            generation: 1,
            rules: vec![rule],
            deliveries: to.iter().map(|name| PlannedDelivery { destination: self.id(name), rule }).collect(),
            body: bytes::Bytes::copy_from_slice(body),
        };
        self.store.append(event).await.expect("an answer").expect("taken")
    }

    /// Delivers whatever waits, or gives it up; returns how many deliveries.
    fn settle_all(&self, to: &str, settlement: &Settlement) -> usize {
        let claims = self.store.claim(self.id(to), usize::MAX);
        let count = claims.len();
        self.store.settle(claims.into_iter().map(|claim| (claim, settlement.clone())).collect());
        count
    }

    fn deliver_all(&self, to: &str) -> usize {
        self.settle_all(to, &Settlement::Delivered { attempts: 1 })
    }

    /// A replayer by whose rules of now every event goes to some destinations.
    fn replayer(&self, now: &[&str]) -> Replayer {
        let ids: Vec<NameId> = now.iter().map(|name| self.id(name)).collect();
        self.replayer_by(Arc::new(move |events| vec![ids.clone(); events.len()]))
    }

    fn replayer_by(&self, route: Route) -> Replayer {
        Replayer::new(self.store.clone(), route, CancellationToken::new())
    }

    /// Takes the steps of a replay that is at some place, and returns how many deliveries it says that it has made.
    async fn work(&self, now: &[&str], at: &ReplayProgress) -> u64 {
        let mut progress = at.clone();
        self.replayer(now).try_work(&mut progress).await.expect("done");
        assert!(progress.is_done);
        progress.selected
    }
}

#[tokio::test]
async fn a_step_that_is_taken_again_after_a_crash_sends_nothing_twice() {
    let mut world = World::new();
    for _ in 0..3 {
        world.append(&["crm"], b"{}").await;
    }
    assert_eq!(world.deliver_all("crm"), 3);
    let spec = ReplaySpec::default();
    let begun = world.replayer(&[]).begin(7, &spec).await.expect("begun").progress;
    assert_eq!((world.work(&[], &begun).await, world.deliver_all("crm")), (3, 3));
    // What was written down last is how it began.
    world.restart();
    assert_eq!((world.work(&[], &begun).await, world.deliver_all("crm")), (3, 0), "counted all the same");
    let another = world.replayer(&[]).begin(8, &spec).await.expect("begun").progress;
    assert_eq!((world.work(&[], &another).await, world.deliver_all("crm")), (3, 3), "another replay is another one");
}

#[tokio::test]
async fn events_that_are_named_go_out_once_also_after_a_crash_and_those_that_are_gone_are_left_out() {
    let mut world = World::new();
    let first = world.append(&["crm"], b"{}").await;
    world.append(&["crm"], b"{}").await;
    let third = world.append(&["crm"], b"{}").await;
    assert_eq!(world.deliver_all("crm"), 3);
    let elsewhere = EventId::mint(1, first.salt() ^ 1, 0);
    let spec = ReplaySpec { named: Some(Named::new(vec![third, elsewhere, first])), ..ReplaySpec::default() };
    let begun = world.replayer(&[]).begin(7, &spec).await.expect("begun").progress;
    assert!(!begun.is_done);
    assert_eq!((world.work(&[], &begun).await, world.deliver_all("crm")), (2, 2));
    world.restart();
    assert_eq!((world.work(&[], &begun).await, world.deliver_all("crm")), (2, 0));
    let again = world.replayer(&[]).begin(7, &spec).await.expect("known");
    assert!(!again.is_new && again.progress.is_done, "the same command once more, after its events are forgotten");
    let other = ReplaySpec { named: Some(Named::new(vec![first])), ..ReplaySpec::default() };
    assert!(world.replayer(&[]).begin(7, &other).await.is_err(), "other events are another command");
}

#[tokio::test]
async fn a_replay_by_the_rules_of_now_doubles_nothing_where_they_change_in_a_crash() {
    let mut world = World::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.append(&[], b"{}").await);
    }
    let by_range = ReplaySpec { by: By::Now, is_unrouted: true, ..ReplaySpec::default() };
    let by_name = ReplaySpec { named: Some(Named::new(ids)), by: By::Now, ..ReplaySpec::default() };
    for (id, spec) in [(7, by_range), (8, by_name)] {
        let begun = world.replayer(&[]).begin(id, &spec).await.expect("begun").progress;
        assert_eq!((world.work(&["crm"], &begun).await, world.deliver_all("crm")), (3, 3));
        world.restart();
        // The rules send one of them to crm no more, and all to alerts.
        let (crm, alerts) = (world.id("crm"), world.id("alerts"));
        let route: Route = Arc::new(move |events| {
            let to = |(nth, _)| if nth == 0 { vec![alerts] } else { vec![crm, alerts] };
            events.iter().enumerate().map(to).collect()
        });
        let mut again = begun;
        world.replayer_by(route).try_work(&mut again).await.expect("done");
        assert_eq!((world.deliver_all("crm"), world.deliver_all("alerts")), (0, 3), "{spec:?}");
        assert_eq!(again.selected, 6);
    }
}

#[tokio::test]
async fn each_step_goes_by_the_rules_in_force_when_it_is_taken() {
    let world = World::new();
    // Three of them fill a page.
    let body = format!("[\"{}\"]", "x".repeat(3 << 20));
    for _ in 0..4 {
        world.append(&[], body.as_bytes()).await;
    }
    let (crm, alerts) = (world.id("crm"), world.id("alerts"));
    let steps = AtomicUsize::new(0);
    let route: Route = Arc::new(move |events| {
        let to = if steps.fetch_add(1, Ordering::Relaxed) == 0 { crm } else { alerts };
        vec![vec![to]; events.len()]
    });
    let replayer = world.replayer_by(route);
    let spec = ReplaySpec { by: By::Now, ..ReplaySpec::default() };
    let mut progress = replayer.begin(7, &spec).await.expect("begun").progress;
    replayer.try_work(&mut progress).await.expect("done");
    assert_eq!((world.deliver_all("crm"), world.deliver_all("alerts")), (3, 1));
}

#[tokio::test]
async fn only_those_get_an_event_again_that_lack_it_also_after_a_crash() {
    let mut world = World::new();
    for _ in 0..2 {
        world.append(&["crm", "dead", "dropped"], b"{}").await;
    }
    world.append(&["waits"], b"{}").await;
    assert_eq!(world.deliver_all("crm"), 2);
    for name in ["dead", "dropped"] {
        world.settle_all(name, &Settlement::Dead { attempts: 1, reason: "no".into() });
    }
    let drop = What::Drop(Which::Dead(DeadQuery::default()));
    assert_eq!(world.store.ask(Command::new(1, world.id("dropped"), drop)).await.expect("done").deliveries, 2);
    let now = ["crm", "dead", "dropped", "waits", "new"];
    let spec = ReplaySpec { by: By::Now, only: Only::Missing, ..ReplaySpec::default() };
    let counted = world.replayer(&now).count(&spec, None, &CancellationToken::new()).await.expect("counted");
    let by: Vec<_> = counted.by_destination.iter().map(|of| (of.destination.as_str(), of.deliveries)).collect();
    assert_eq!(by, [("crm", 1), ("dead", 3), ("dropped", 1), ("waits", 2), ("new", 3)]);
    assert_eq!(counted.by_destination[0].already_delivered, 2);
    let begun = world.replayer(&now).begin(7, &spec).await.expect("begun").progress;
    assert_eq!(world.work(&now, &begun).await, 10);
    let delivered = now.map(|name| world.deliver_all(name));
    assert_eq!(delivered, [1, 3, 1, 3, 3], "what waited is delivered too");
    world.restart();
    world.work(&now, &begun).await;
    assert_eq!(now.map(|name| world.deliver_all(name)), [0; 5]);
    let again = world.replayer(&now).count(&spec, None, &CancellationToken::new()).await.expect("counted");
    assert_eq!(again.deliveries, 0, "{again:?}");
}

const SMALL: Bounds = Bounds { events: 2, bytes: usize::MAX, time: std::time::Duration::MAX, searched_bytes: u64::MAX };

/// Counts piece after piece: how many events each looked at, how many it said are left, and all deliveries.
async fn count_all(replayer: &Replayer, bounds: Bounds, spec: &ReplaySpec) -> (Vec<(u64, u64)>, u64) {
    let here = CancellationToken::new();
    let (mut pieces, mut deliveries) = (Vec::new(), 0);
    let mut after = None;
    loop {
        let piece = replayer.count_within(bounds, spec, after.as_deref(), &here).await.expect("counted");
        pieces.push((piece.looked_at, piece.left));
        deliveries += piece.deliveries;
        after = piece.next;
        if after.is_none() {
            return (pieces, deliveries);
        }
    }
}

#[tokio::test]
async fn a_count_goes_piece_by_piece_and_counts_each_event_once() {
    let world = World::new();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.append(&["crm"], b"{}").await);
    }
    let replayer = world.replayer(&[]);
    let range = ReplaySpec::default();
    let named = ReplaySpec { named: Some(Named::new(ids)), ..ReplaySpec::default() };
    let none = std::time::Duration::ZERO;
    for spec in [&range, &named] {
        let by_two = (vec![(2, 3), (2, 1), (1, 0)], 5);
        assert_eq!(count_all(&replayer, SMALL, spec).await, by_two, "{spec:?}");
        assert_eq!(count_all(&replayer, Bounds { time: none, ..SMALL }, spec).await, by_two, "a step at least");
        assert_eq!(count_all(&replayer, Bounds { bytes: 1, events: 1, ..SMALL }, spec).await.0.len(), 5);
        assert_eq!(count_all(&replayer, Bounds { events: 5, ..SMALL }, spec).await, (vec![(5, 0)], 5));
        assert_eq!(count_all(&replayer, Bounds { events: 6, bytes: 1, ..SMALL }, spec).await, (vec![(5, 0)], 5));
    }
    for spec in [&range, &named] {
        let here = CancellationToken::new();
        assert!(matches!(
            replayer.count(spec, Some("nowhere"), &here).await,
            Err(ReplayError::Store(StoreError::Conflict(_)))
        ));
        here.cancel();
        assert!(matches!(replayer.count(spec, None, &here).await, Err(ReplayError::HasGone)), "nobody waits for it");
    }
}

#[tokio::test]
async fn a_count_says_where_it_did_not_search_how_deliveries_ended() {
    let mut world = World::new();
    // How each ended is behind its event, and before the next.
    for _ in 0..2 {
        world.append(&["crm"], b"{}").await;
        assert_eq!(world.deliver_all("crm"), 1);
        world.restart();
    }
    let again = ReplaySpec { to: vec!["new".to_owned()], ..ReplaySpec::default() };
    world.id("new");
    let begun = world.replayer(&[]).begin(7, &again).await.expect("begun").progress;
    assert_eq!((world.work(&[], &begun).await, world.deliver_all("new")), (2, 2));
    world.restart();
    let count = |to: &str, only, searched_bytes| {
        let spec = ReplaySpec { to: vec![to.to_owned()], only, ..ReplaySpec::default() };
        let replayer = world.replayer(&[]);
        async move {
            let bounds = Bounds { events: 100, searched_bytes, ..SMALL };
            let counted = replayer.count_within(bounds, &spec, None, &CancellationToken::new()).await.expect("counted");
            (counted.by_destination[0].clone(), counted.warnings)
        }
    };
    let mut told = Vec::new();
    for searched_bytes in 0.. {
        let (of, warnings) = count("crm", Only::All, searched_bytes).await;
        assert_eq!(of.deliveries, 2, "how they ended is no matter");
        assert_eq!(warnings.is_empty(), of.already_delivered == 2, "{searched_bytes}: {warnings:?}");
        assert!(warnings.iter().all(|told| told.contains("is not in `already_delivered`")), "{warnings:?}");
        if told.last() != Some(&of.already_delivered) {
            told.push(of.already_delivered);
        }
        if of.already_delivered == 2 {
            break;
        }
    }
    assert_eq!(told, [0, 1, 2], "nothing, between, and all");
    let (of, warnings) = count("new", Only::Missing, 1).await;
    assert_eq!(of.deliveries, 2);
    assert!(warnings.len() == 1 && warnings[0].contains("fewer may be sent"), "{warnings:?}");
    let (of, warnings) = count("new", Only::Missing, u64::MAX).await;
    assert_eq!((of.deliveries, of.already_delivered, warnings), (0, 2, Vec::new()));
    let (of, warnings) = count("crm", Only::Missing, 1).await;
    assert_eq!(of.deliveries, 0, "what is over is not missing, however it ended");
    assert!(warnings.len() == 1 && warnings[0].contains("is not in `already_delivered`"), "{warnings:?}");
}

#[tokio::test]
async fn a_count_looks_at_no_more_at_once_than_a_walk_does() {
    let world = World::new();
    for _ in 0..=AT_ONCE {
        world.append(&["crm"], b"{}").await;
    }
    // Its time is over after a step.
    let bounds = Bounds { events: usize::MAX, time: std::time::Duration::ZERO, ..SMALL };
    let (pieces, deliveries) = count_all(&world.replayer(&[]), bounds, &ReplaySpec::default()).await;
    assert_eq!((pieces, deliveries), (vec![(AT_ONCE as u64, 1), (1, 0)], AT_ONCE as u64 + 1));
}

#[tokio::test]
async fn a_description_that_is_too_long_is_refused_by_the_count_too() {
    let world = World::new();
    let spec = |bytes: usize| {
        let of = |text: String| ReplaySpec { matching: Some(format!("type: \"{text}\"")), ..ReplaySpec::default() };
        let rest = of(String::new()).json().to_string().len();
        of("x".repeat(bytes - rest))
    };
    let replayer = world.replayer(&[]);
    let count = async |spec| replayer.count(&spec, None, &CancellationToken::new()).await;
    assert!(count(spec(SPEC_BYTES_MAX)).await.is_ok());
    assert!(matches!(count(spec(SPEC_BYTES_MAX + 1)).await, Err(ReplayError::TooLong)));
    assert!(replayer.begin(7, &spec(SPEC_BYTES_MAX)).await.is_ok());
    assert!(matches!(replayer.begin(8, &spec(SPEC_BYTES_MAX + 1)).await, Err(ReplayError::TooLong)));
}

#[test]
fn a_match_map_is_read_in_yaml_and_in_json_and_a_wrong_one_is_told() {
    assert!(Conditions::parse(Some("{type: [sent, opened], campaign.name: {glob: \"Cart*\"}}")).is_ok());
    assert!(Conditions::parse(Some(r#"{"type": "sent"}"#)).is_ok());
    for wrong in ["{type: {globb: x}}", "[", "sent", "{}"] {
        let Err(error) = Conditions::parse(Some(wrong)) else { panic!("{wrong} was read") };
        assert!(!error.to_string().is_empty());
    }
}

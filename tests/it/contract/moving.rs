//! What goes from a destination of one relay to a destination of another.

use super::cluster::{THE_LAW, deliver, value};
use super::*;

/// Two relays, each with a destination of its own, and a third one that has none.
struct Two {
    backend: OnPostgres,
    /// Has `old`, of which one delivery is dead, one scheduled, one in flight, and some wait.
    gives: Arc<dyn Store>,
    /// Has `new`.
    takes: Arc<dyn Store>,
    asks: Arc<dyn Store>,
    old: NameId,
    new: NameId,
    workers: Vec<Worker>,
    in_flight: Claim,
}

/// Deliveries of `old` that wait.
const WAITING: u64 = 4;
/// All of them.
const ALL: u64 = WAITING + 3;

impl Two {
    fn new() -> Self {
        let backend = OnPostgres::default();
        let (gives, takes, asks) = (backend.open_again(), backend.open_again(), backend.open_again());
        let [old, new] = ["old", "new"].map(|name| destination(&*gives, name));
        for nth in 0..ALL {
            append(&*gives, &nth.to_string(), &["old"]);
        }
        let workers = vec![worker(&*gives, old), worker(&*takes, new)];
        let claims = workers[0].claim(3);
        let due_ms = vero_relay::time::wall_ms() + 3_600_000;
        let reason = || "503".to_owned();
        workers[0].settle(vec![
            (claims[0], Settlement::Dead { attempts: 3, reason: reason() }),
            (claims[1], Settlement::Scheduled { attempts: 2, first_attempt_ms: 5, due_ms, reason: reason() }),
        ]);
        let two = Self { backend, gives, takes, asks, old, new, in_flight: claims[2], workers };
        eventually_known(|| two.rows(old).starts_with("dead 3, retry 2, waiting 0"));
        two
    }

    fn value(&self, sql: &str) -> String {
        value(&self.backend, sql)
    }

    /// How deliveries of a destination stand, each by how many attempts.
    fn rows(&self, of: NameId) -> String {
        self.value(&format!(
            "SELECT string_agg(state || ' ' || attempts, ', ' ORDER BY n) FROM delivery_1 WHERE dest = {}",
            of.0
        ))
    }

    /// All that there was is at `new`, once, but for what was in flight.
    fn all_is_there(&self) {
        eventually_known(|| self.value("SELECT count(*) FROM command WHERE done_ms IS NULL") == "0");
        assert_eq!(self.rows(self.old), "moved 3, moved 2, waiting 0, moved 0, moved 0, moved 0, moved 0");
        assert_eq!(self.rows(self.new), "dead 3, retry 2, retry 0, retry 0, retry 0, retry 0");
        assert_eq!(self.value("SELECT count(*) FROM handover"), "0");
        assert_eq!(self.value(THE_LAW), "0");
    }
}

/// What is taken over.
const TAKEN: TakenOver = TakenOver { waiting: WAITING, scheduled: 1, dead: 1, paused: true, in_flight: 1 };

#[test]
fn what_one_relay_has_goes_over_to_a_destination_of_another_and_who_asked_is_told() {
    let two = Two::new();
    two.workers[0].pause("410 Gone");
    let what = || What::TakeOver { to: two.new };
    let moved = ask_of(&*two.asks, 1, two.old, what());
    assert_eq!(moved, Done { deliveries: WAITING + 2, was_done_before: false, taken_over: Some(TAKEN) });
    two.all_is_there();
    assert_eq!(two.workers[1].state().state.paused.map(|pause| pause.reason), Some("410 Gone".to_owned()));
    assert_eq!(two.workers[0].state().state.paused, None);
    let again = ask_of(&*two.takes, 1, two.old, what());
    assert_eq!(again, Done { was_done_before: true, ..moved });
    two.all_is_there();
    // What was in flight ends where it began.
    two.workers[0].settle(vec![(two.in_flight, Settlement::Delivered { attempts: 1 })]);
    eventually_known(|| two.rows(two.old).contains("delivered 1"));
    ask_of(&*two.asks, 2, two.new, What::Resume);
    // With what was scheduled: that is due now.
    let mut bodies = deliver(&two.workers[1], WAITING as usize + 1);
    bodies.sort();
    assert_eq!(bodies, ["1", "3", "4", "5", "6"]);
}

#[test]
fn what_nobody_asks_for_again_is_asked_for_each_time_and_by_whoever_has_either() {
    let two = Two::new();
    let what = || Command::once(two.old, What::TakeOver { to: two.new });
    let taken = TakenOver { paused: false, ..TAKEN };
    let first = wait(async || two.asks.ask(what()).await).expect("done");
    assert_eq!(first.taken_over, Some(taken));
    two.workers[0].settle(vec![(two.in_flight, Settlement::Delivered { attempts: 1 })]);
    append(&*two.asks, "late", &["old"]);
    for (store, waiting) in [(&two.takes, 1), (&two.gives, 0)] {
        let late = wait(async || store.ask(what()).await).expect("done").taken_over;
        assert_eq!(late, Some(TakenOver { waiting, ..TakenOver::default() }));
    }
    assert_eq!(value(&two.backend, "SELECT count(*) FROM command"), "1", "each time has the same row");
    assert!(deliver(&two.workers[1], WAITING as usize + 1).contains(&"late".to_owned()));
}

#[test]
fn dead_letters_of_one_relay_are_delivered_to_a_destination_of_another() {
    let two = Two::new();
    let what = || What::Move { which: Which::Dead(DeadQuery::default()), to: two.new };
    assert_eq!(ask_of(&*two.gives, 1, two.old, what()), done(1));
    assert_eq!(deliver(&two.workers[1], 1), ["0"]);
    assert_eq!(ask_of(&*two.asks, 1, two.old, what()), Done { was_done_before: true, ..done(1) });
    assert_eq!(two.workers[1].claim(9), []);
    assert_eq!(two.value(THE_LAW), "0");
}

#[test]
fn a_destination_that_is_renamed_takes_over_what_another_relay_has_and_one_that_cannot_starts_all_the_same() {
    let two = Two::new();
    let names = || {
        let kind = NameKind::Destination;
        vec![Named { kind, name: "new".to_owned(), renamed_from: Some("old".to_owned()) }]
    };
    let interned = wait(async || two.takes.intern(names()).await).expect("numbered");
    let moved = Some(TakenOver { paused: false, ..TAKEN });
    let taken = TakenFrom { name: "new".to_owned(), from: "old".to_owned(), moved };
    assert_eq!((interned.ids, interned.taken_over), (vec![two.new], vec![taken]));
    two.all_is_there();
    append(&*two.asks, "late", &["old"]);
    two.backend.stand_still(&two.gives);
    let interned = wait(async || two.takes.intern(names()).await).expect("numbered");
    assert_eq!(interned.ids, [two.new]);
}

/// Where somebody dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dies {
    /// Who gives, before the first step.
    GiverBefore,
    /// Who gives, behind the first step, and who takes has not heard of it.
    BothBetween,
    /// Who gives, amid the first step.
    GiverAmid,
    /// Who takes, amid the second step.
    TakerAmid,
}

/// Waits until a statement about `handover` waits for a lock.
fn until_one_waits(two: &Two) {
    let sql = format!(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{}.handover'::regclass",
        two.backend.schema()
    );
    eventually_known(|| two.value(&sql) != "0");
}

fn dies(when: Dies) {
    let mut two = Two::new();
    let lock = two.backend.link();
    let locked = |table: &str| {
        let sql = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        wait(async || lock.script(&sql).await).expect("locked");
    };
    let (old, new, asks) = (two.old, two.new, two.asks.clone());
    let asked = std::thread::spawn(move || {
        let command = Command::new(1, old, What::TakeOver { to: new });
        wait(async || asks.ask(command).await)
    });
    let kill = |two: &mut Two, gives: bool| {
        let dead = if gives { &mut two.gives } else { &mut two.takes };
        let dead = std::mem::replace(dead, two.asks.clone());
        two.backend.kill(dead);
    };
    match when {
        Dies::GiverBefore => {
            two.backend.stand_still(&two.gives);
            eventually_known(|| two.value("SELECT count(*) FROM command") == "1");
            kill(&mut two, true);
        }
        Dies::BothBetween => {
            two.backend.stand_still(&two.takes);
            eventually_known(|| two.value("SELECT count(*) FROM handover") == (WAITING + 2).to_string());
            kill(&mut two, true);
            kill(&mut two, false);
        }
        Dies::GiverAmid => {
            locked("handover");
            until_one_waits(&two);
            kill(&mut two, true);
        }
        Dies::TakerAmid => {
            two.backend.stand_still(&two.takes);
            eventually_known(|| two.value("SELECT count(*) FROM handover") != "0");
            locked("handover");
            kill(&mut two, false);
            // Another takes it, and dies as well.
            let next = two.backend.open_again();
            two.workers[1] = worker(&*next, new);
            two.takes = next;
            until_one_waits(&two);
            kill(&mut two, false);
        }
    }
    if matches!(when, Dies::GiverAmid | Dies::TakerAmid) {
        wait(async || lock.script("ROLLBACK").await).expect("unlocked");
    }
    // Who asked may have been told to look later.
    let _ = asked.join().expect("it ends");
    two.workers.clear();
    let again = || wait(async || two.asks.ask(Command::new(1, old, What::TakeOver { to: new })).await);
    eventually_known(|| again().is_ok());
    let told = again().expect("done");
    assert_eq!((told.deliveries, told.was_done_before), (told.taken_over.expect("told").waiting + 2, true), "{when:?}");
    // What was in flight where somebody died waits once more, and is taken over with the rest.
    let open = |of: NameId| {
        let sql = "SELECT count(*) FILTER (WHERE state IN ('waiting', 'retry')) || ' ' || count(*) FILTER (WHERE state = 'dead')
            FROM delivery_1 WHERE dest = ";
        two.value(&format!("{sql}{}", of.0))
    };
    let found = [open(old), open(new)];
    let both = [["1 0".to_owned(), format!("{} 1", ALL - 2)], ["0 0".to_owned(), format!("{} 1", ALL - 1)]];
    assert!(both.contains(&found), "{when:?}: {found:?}");
    assert_eq!(two.value("SELECT count(*) FROM handover"), "0", "{when:?}");
    assert_eq!(two.value("SELECT attempts FROM delivery_1 WHERE due_ms > 0"), "2", "{when:?}");
    assert_eq!(two.value("SELECT attempts FROM delivery_1 WHERE dead_ms IS NOT NULL"), "3", "{when:?}");
    assert_eq!(two.value(THE_LAW), "0", "{when:?}");
}

#[test]
fn whoever_dies_between_two_steps_nothing_that_goes_over_is_lost_or_doubled() {
    std::thread::scope(|scope| {
        for when in [Dies::GiverBefore, Dies::GiverAmid, Dies::BothBetween, Dies::TakerAmid] {
            scope.spawn(move || dies(when));
        }
    });
}

//! `kill -9` while deliveries wait to go out together, are being put together, or are on their way as one; amid quiet hours, a pause, a reload.
//!
//! Nothing is lost, no event is in two digests, an id has the same events on every attempt; nothing but what is urgent comes in quiet hours and
//! nothing at all while the destination is paused, also from a process that starts amid it; and a window ends when it was to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

use rustix::process::Signal;
use vero_relay::time::{rfc3339, wall_ms};

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale, thousands};
use super::load::{Load, WhenGone, type_of};
use super::oracle::{Case, Crash, Wants, Witness, judge};
use super::recorder::{Arrived, Copy, Recorder, Says, hash_of};
use super::rig::{Rig, Up};
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "digest",
    about: "SIGKILL while deliveries wait for a digest or are on their way in one, amid quiet hours, a pause, a reload",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 1;
/// Few enough, by one sender, that one message shows all that waits, also on a quick machine.
const EVENTS_A_ROUND: u64 = 60;
/// In a round amid which nothing goes out.
const EVENTS_A_SILENCE: u64 = 20;
/// With more than so many that wait, what waits goes out first: examples have 256 KiB, which is some 450 of these events.
const GATHERED_MAX: u64 = 150;
/// What passes everything that waits.
const URGENT: &str = "complained";
/// A window may go out with one that ends so much sooner.
const JOINS_WITHIN_MS: u64 = 1_000;
/// How long windows are open, in seconds; the key's least is the first.
const EVERY: Range<u64> = 10..20;
const FIRST: Range<u64> = 0..3;
/// A request that came: the events in it, by their ids and numbers.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: String,
    pub at: Instant,
    /// How many it says that it is of.
    pub count: u64,
    pub events: Vec<(String, u64)>,
}

/// A time in which nothing was to come but what is urgent, or nothing at all.
#[derive(Clone, Debug)]
pub struct Silence {
    pub during: Range<Instant>,
    pub is_for_urgent: bool,
}

/// An open window, by its group, and when it is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub group: String,
    pub ends_at: String,
}

/// A way to break what is promised of digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// One id, and two sets of events.
    OtherEvents,
    /// An event in two digests.
    TwoDigests,
    /// What is urgent, in a digest.
    UrgentWaited,
    /// It shows less than it counts.
    LeftOut,
    /// It came when nothing was to come.
    Silence,
    /// A window does not end when it was to.
    EndMoved,
}

impl Sent {
    /// Reads `COUNT`, and a line `ID NUMBER` for each event.
    fn read(copy: &Copy, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let count = lines.next()?.parse().ok()?;
        let event =
            |line: &str| line.split_once(' ').and_then(|(id, number)| Some((id.to_owned(), number.parse().ok()?)));
        let events: Option<Vec<_>> = lines.map(event).collect();
        let Arrived::At { at, .. } = copy.arrived else { return None };
        Some(Self { id: copy.id.clone(), at, count, events: events? })
    }

    fn is_digest(&self) -> bool {
        self.count > 1
    }
}

/// What of all that came breaks what is promised of digests.
pub fn breaches(all: &[Sent], is_urgent: impl Fn(u64) -> bool) -> Vec<(Breach, String)> {
    let mut found = Vec::new();
    let mut by_id: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut digest_of: BTreeMap<&str, &str> = BTreeMap::new();
    for sent in all.iter().filter(|sent| sent.is_digest()) {
        let events: BTreeSet<&str> = sent.events.iter().map(|(id, _)| id.as_str()).collect();
        if events.len() as u64 != sent.count {
            found.push((Breach::LeftOut, format!("{} counts {} and shows {}", sent.id, sent.count, events.len())));
        }
        if let Some((_, number)) = sent.events.iter().find(|(_, number)| is_urgent(*number)) {
            found.push((Breach::UrgentWaited, format!("{number} in {}", sent.id)));
        }
        for event in &events {
            let before = digest_of.insert(event, &sent.id);
            if let Some(before) = before.filter(|before| *before != sent.id) {
                found.push((Breach::TwoDigests, format!("{event} in {before} and in {}", sent.id)));
            }
        }
        if by_id.get(sent.id.as_str()).is_some_and(|known| *known != events) {
            found.push((Breach::OtherEvents, sent.id.clone()));
        }
        by_id.insert(&sent.id, events);
    }
    found
}

/// What came amid a silence.
pub fn disturbances(silences: &[Silence], all: &[Sent], is_urgent: impl Fn(u64) -> bool) -> Vec<(Breach, String)> {
    let passes = |silence: &Silence, sent: &Sent| {
        !silence.is_for_urgent && sent.events.iter().all(|(_, number)| is_urgent(*number))
    };
    let heard = |sent: &Sent| {
        let broken = silences.iter().find(|silence| silence.during.contains(&sent.at) && !passes(silence, sent))?;
        let told = format!("{} with {:?}, {:?} after it began", sent.id, sent.events, sent.at - broken.during.start);
        Some((Breach::Silence, told))
    };
    all.iter().filter_map(heard).collect()
}

/// Which windows end at another time than they were to, or are not there any more. One that is over may have been followed by another of its group; `is_shortened`: their
/// time is shorter than it was when they were opened.
pub fn moved(before: &[Window], after: &[Window], now: &str, is_shortened: bool) -> Vec<(Breach, String)> {
    let is_kept = |known: &Window, other: &Window| {
        other.group == known.group && (other.ends_at == known.ends_at || is_shortened && other.ends_at < known.ends_at)
    };
    let is_wrong = |known: &&Window| {
        let has_ended =
            known.ends_at.as_str() <= now || is_shortened && after.iter().all(|other| other.group != known.group);
        !has_ended && !after.iter().any(|other| is_kept(known, other))
    };
    let told = |known: &Window| {
        let then = after.iter().find(|other| other.group == known.group).map(|other| other.ends_at.as_str());
        (Breach::EndMoved, format!("{} was to end at {} and ends at {then:?}", known.group, known.ends_at))
    };
    before.iter().filter(is_wrong).map(told).collect()
}

/// A relay with one destination that puts together what it gets.
struct Scene {
    load: std::sync::Arc<Load>,
    rig: Rig,
    chat: Recorder,
    crashes: Vec<Crash>,
    every: u64,
    first: u64,
    silences: Vec<Silence>,
    /// Windows whose ends were looked at twice.
    ends_kept: usize,
    breaches: Vec<(Breach, String)>,
}

impl Scene {
    async fn set(scale: &Scale) -> Self {
        let chat = Recorder::keeping().await;
        let (every, first) = (EVERY.start, 2);
        let config = format!(
            r#"rules: [ {{ to: chat }} ]
destinations:
  chat:
    http: {{ url: "{}", text: "1\n{{{{ relay.id }}}} {{{{ n }}}}\n" }}
    {QUICK}
    urgent: {{ type: {URGENT} }}
    digest:
      every: {every}s
      by: [type]
      first: {first}
      max: 1000
      text: "{{{{ digest.count }}}}\n{{% for event in digest.events %}}{{{{ event.relay.id }}}} {{{{ event.n }}}}\n{{% endfor %}}"
"#,
            chat.url()
        );
        let rig = Rig::new(&scale.directory, &scale.directory.join("data"), &config);
        Self {
            load: Load::new(scale.seed),
            rig,
            chat,
            crashes: Vec::new(),
            every,
            first,
            silences: Vec::new(),
            ends_kept: 0,
            breaches: Vec::new(),
        }
    }

    fn is_urgent(&self, number: u64) -> bool {
        type_of(self.load.seed, number) == URGENT
    }

    fn crashed_by(&mut self, up: Up) {
        let at = up.kill();
        self.crashes.push(Crash { at, file_bytes: 0 });
    }

    /// All that came, and of each event that was in it a copy.
    fn came(&self) -> (Vec<Sent>, Vec<Copy>) {
        let (mut all, mut copies) = (Vec::new(), Vec::new());
        for (copy, text) in self.chat.kept() {
            let Some(sent) = Sent::read(&copy, &text) else {
                copies.push(Copy { number: None, ..copy });
                continue;
            };
            copies.extend(sent.events.iter().map(|(id, number)| Copy {
                id: id.clone(),
                number: Some(*number),
                hash: hash_of(self.load.body(*number).as_bytes()),
                arrived: copy.arrived,
            }));
            all.push(sent);
        }
        (all, copies)
    }
}

/// The rounds of a digest's life.
impl Scene {
    /// Killed while events come, and perhaps while a digest is closed, put together, sent or settled, whichever that is.
    async fn killed(&mut self, dice: &mut Dice, is_sent_now: bool) {
        let up = self.rig.start().await;
        let sending = self.load.send(up.hooks, SENDERS, WhenGone::End);
        self.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        if is_sent_now {
            up.act("/api/destinations/chat/digest-now").await;
            let came = self.chat.count();
            let some = dice.within(0..3) as usize;
            // On a busy machine it is killed before that: what comes meanwhile is to fit into one message too.
            let enough = self.load.acknowledged() + EVENTS_A_ROUND;
            let has_come = || self.chat.count() >= came + some.min(1);
            eventually("some of it to come", async || has_come() || self.load.acknowledged() > enough).await;
        }
        self.crashed_by(up);
        sending.ended().await;
    }

    /// Another `every` and another `first` amid open windows, by SIGHUP; then it is killed.
    async fn reloaded(&mut self, dice: &mut Dice) {
        let up = self.begun().await;
        let before = self.gathered(&up).await;
        let (every, first) = (dice.within(EVERY), dice.within(FIRST));
        self.rig.change(&format!("every: {}s", self.every), &format!("every: {every}s"));
        self.rig.change(&format!("first: {}\n", self.first), &format!("first: {first}\n"));
        let is_shortened = every < self.every;
        (self.every, self.first) = (every, first);
        self.reload(&up).await;
        self.look_at(&up, &before, is_shortened).await;
        self.load.post(up.hooks, dice.within(1..EVENTS_A_SILENCE)).await;
        self.crashed_by(up);
    }

    /// Paused, killed amid it, and resumed by another process.
    async fn paused(&mut self, dice: &mut Dice) {
        let up = self.begun().await;
        assert_eq!(up.act("/api/destinations/chat/pause").await.status(), 200);
        self.until_calm(&up).await;
        let from = Instant::now();
        let before = self.gathered(&up).await;
        self.crashed_by(up);
        let up = self.rig.start().await;
        self.look_at(&up, &before, false).await;
        self.load.post(up.hooks, dice.within(1..EVENTS_A_SILENCE)).await;
        self.silences.push(Silence { during: from..Instant::now(), is_for_urgent: true });
        up.act("/api/destinations/chat/resume").await;
        self.load.post(up.hooks, 1).await;
        self.crashed_by(up);
    }

    /// Quiet hours that begin and end with the config, and a kill amid them.
    async fn quiet(&mut self, dice: &mut Dice) {
        let up = self.begun().await;
        let quiet = quiet_hours();
        self.rig.change("    urgent:", &format!("{quiet}    urgent:"));
        self.reload(&up).await;
        eventually("it to be quiet", async || shown(&up).await["digest"]["quiet_until"].is_string()).await;
        self.until_calm(&up).await;
        let from = Instant::now();
        let before = self.gathered(&up).await;
        self.until_urgent_came().await;
        self.crashed_by(up);
        let up = self.rig.start().await;
        self.look_at(&up, &before, false).await;
        self.load.post(up.hooks, dice.within(EVENTS_A_SILENCE / 2..EVENTS_A_SILENCE)).await;
        self.until_urgent_came().await;
        self.silences.push(Silence { during: from..Instant::now(), is_for_urgent: false });
        self.rig.change(&quiet, "");
        self.reload(&up).await;
        self.load.post(up.hooks, 1).await;
        self.crashed_by(up);
    }

    /// Started, with no more that waits than one message shows with what comes.
    async fn begun(&mut self) -> Up {
        let up = self.rig.start().await;
        eventually("not too many to wait", async || {
            let is_few = shown(&up).await["digest"]["events"].as_u64().is_some_and(|events| events <= GATHERED_MAX);
            if !is_few {
                up.act("/api/destinations/chat/digest-now").await;
            }
            is_few
        })
        .await;
        up
    }

    /// SIGHUP, and the new config in force.
    async fn reload(&self, up: &Up) {
        let reloads = || up.said().matches("the config was reloaded").count();
        let before = reloads();
        up.signal(Signal::HUP);
        let is_refused = || up.said().contains("the config is not good");
        eventually("the reload", async || reloads() > before || is_refused()).await;
        assert!(!is_refused(), "{}", up.said());
    }

    /// Waits until nothing is in flight, as it is soon where nothing is attempted.
    async fn until_calm(&self, up: &Up) {
        eventually("nothing in flight", async || shown(up).await["in_flight"] == 0).await;
    }

    /// Waits until all that is urgent has come, whatever else waits.
    async fn until_urgent_came(&self) {
        eventually("what is urgent", async || {
            let (all, _) = self.came();
            let came: BTreeSet<u64> = all.iter().flat_map(|sent| &sent.events).map(|(_, number)| *number).collect();
            let sent = self.load.log().acknowledged.into_values().map(|acknowledged| acknowledged.number);
            sent.filter(|number| self.is_urgent(*number)).all(|number| came.contains(&number))
        })
        .await;
    }

    /// Has some windows opened, and waits until that is written; meanwhile there are more events. Gives those windows.
    async fn gathered(&self, up: &Up) -> Vec<Window> {
        self.load.post(up.hooks, EVENTS_A_ROUND / 4).await;
        let mut open = Vec::new();
        eventually("some to wait together, as the store knows them too", async || {
            self.load.post(up.hooks, 1).await;
            let told = up.admin("/api/destinations/chat/digest").await.json();
            open = windows_of(&told);
            let groups = told["groups"].as_array().expect("groups");
            let waiting: u64 = groups.iter().filter_map(|group| group["count"].as_u64()).sum();
            !open.is_empty() && told["events"].as_u64() >= Some(waiting)
        })
        .await;
        // What the store knows is on its way into the journal, which is in the order in which it happened: who is answered for an event has all
        // before it written, and what is written outlives a process that is killed.
        self.load.post(up.hooks, 1).await;
        open
    }

    /// Looks whether windows still end when they were to.
    async fn look_at(&mut self, up: &Up, before: &[Window], is_shortened: bool) {
        let (mut after, mut now) = (Vec::new(), String::new());
        // After a start it is seen one by one what lies in them.
        eventually("windows to be filled again", async || {
            after = windows(up).await;
            now = rfc3339(wall_ms() + JOINS_WITHIN_MS);
            let is_there = |known: &&Window| after.iter().any(|other| other.group == known.group);
            is_shortened || before.iter().filter(|known| known.ends_at > now).all(|known| is_there(&known))
        })
        .await;
        self.ends_kept += before.iter().filter(|known| after.contains(known)).count();
        self.breaches.extend(moved(before, &after, &now, is_shortened));
    }
}

/// Hours that are quiet whatever the time is: no config may name all days, and this one leaves out one that is days away.
fn quiet_hours() -> String {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().weekday();
    let mut days = vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    days.remove((today.to_monday_zero_offset() as usize + 3) % days.len());
    format!("    quiet: {{ from: \"00:00\", to: \"24:00\", timezone: UTC, days: [{}] }}\n", days.join(", "))
}

async fn shown(up: &Up) -> serde_json::Value {
    up.admin("/api/destinations/chat").await.json()
}

/// The windows in which something waits.
async fn windows(up: &Up) -> Vec<Window> {
    windows_of(&up.admin("/api/destinations/chat/digest").await.json())
}

fn windows_of(told: &serde_json::Value) -> Vec<Window> {
    let groups = told["groups"].as_array().cloned().expect("groups");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    groups.iter().map(|told| Window { group: text(&told["name"]), ends_at: text(&told["ends_at"]) }).collect()
}

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let mut scene = Scene::set(&scale).await;
    let rounds = scale.of(5, 100);
    for round in 0..rounds {
        scene.chat.say(if dice.roll().is_multiple_of(3) { Says::StatusFirst(503) } else { Says::Ok });
        match round % 5 {
            0 => scene.killed(&mut dice, false).await,
            1 => scene.reloaded(&mut dice).await,
            2 => scene.paused(&mut dice).await,
            3 => scene.killed(&mut dice, true).await,
            _ => scene.quiet(&mut dice).await,
        }
    }
    scene.chat.say(Says::Ok);
    let up = scene.rig.start().await;
    // As long as something waits: what is placed after a restart waits for the next window's end, or for this.
    eventually("all went out", async || {
        up.act("/api/destinations/chat/digest-now").await;
        let shown = shown(&up).await;
        shown["backlog"] == 0 && shown["digest"]["events"] == 0
    })
    .await;
    let (all, copies) = scene.came();
    let Scene { load, crashes, silences, ends_kept, .. } = &scene;
    let witnesses = vec![Witness { name: "chat", wants: Wants::Every, copies }];
    let verdict = judge(Case { load, witnesses, crashes, doubtful: &[], admin: up.admin }).await;
    let digests: Vec<&Sent> = all.iter().filter(|sent| sent.is_digest()).collect();
    let gathered: u64 = digests.iter().map(|sent| sent.count).sum();
    let urgent_in_quiet = all
        .iter()
        .filter(|sent| silences.iter().any(|silence| silence.during.contains(&sent.at)) && sent.events.len() == 1);
    let urgent_in_quiet = urgent_in_quiet.count();
    let mut report = Report::default().say(format!("{rounds} rounds")).judged(&verdict);
    let told = format!(
        "{} messages, of them {} digests of {} events; {} silences, {urgent_in_quiet} urgent ones amid them; {ends_kept} windows seen twice",
        all.len(),
        digests.len(),
        thousands(gathered),
        silences.len(),
    );
    report = report.say(told);
    let is_urgent = |number| scene.is_urgent(number);
    let breaches = breaches(&all, is_urgent).into_iter().chain(disturbances(silences, &all, is_urgent));
    for (breach, example) in breaches.chain(scene.breaches.iter().cloned()) {
        report.hold(false, || format!("{breach:?}: {example}"));
    }
    report.hold(verdict.waiting + verdict.dead == 0, || {
        format!("{} wait and {} are dead, though the backlog is empty", verdict.waiting, verdict.dead)
    });
    report.hold(!digests.is_empty() && gathered > rounds as u64, || "hardly anything went out together".to_owned());
    report.hold(*ends_kept > rounds / 5, || format!("only {ends_kept} windows were seen twice"));
    report.hold(urgent_in_quiet > 0, || "nothing urgent came in quiet hours".to_owned());
    up.stop().await;
    let verified = scene.rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report
}

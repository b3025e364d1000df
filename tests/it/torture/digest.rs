//! `kill -9` while deliveries wait to go out together, are being put together, or are on their way as one: nothing lost, no event in two
//! digests, and the same events under one id on every attempt.

use std::collections::{BTreeMap, BTreeSet};

use super::dice::Dice;
use super::ledger::{Fault, Report, Scale, thousands};
use super::load::{Load, WhenGone, type_of};
use super::oracle::{Case, Crash, Wants, Witness, judge};
use super::recorder::{Copy, Recorder, Says, hash_of};
use super::rig::{Rig, Up};
use crate::harness::*;

pub const FAULT: Fault = Fault {
    name: "digest",
    about: "SIGKILL while deliveries wait for a digest, or are on their way in one",
    needs_root: false,
    needs: &[],
    run: |scale| Box::pin(run(scale)),
};

const SENDERS: usize = 1;
/// Few enough, by one sender, that one message shows all that waits, also on a quick machine.
const EVENTS_A_ROUND: u64 = 60;
/// What passes everything that waits.
const URGENT: &str = "complained";

/// A request that came: the events in it, by their ids and numbers.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: String,
    /// How many it says that it is of.
    pub count: u64,
    pub events: Vec<(String, u64)>,
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
}

impl Sent {
    /// Reads `COUNT`, and a line `ID NUMBER` for each event.
    fn read(copy: &Copy, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let count = lines.next()?.parse().ok()?;
        let event =
            |line: &str| line.split_once(' ').and_then(|(id, number)| Some((id.to_owned(), number.parse().ok()?)));
        let events: Option<Vec<_>> = lines.map(event).collect();
        Some(Self { id: copy.id.clone(), count, events: events? })
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

/// A relay with one destination that puts together what it gets.
struct Scene {
    load: std::sync::Arc<Load>,
    rig: Rig,
    chat: Recorder,
    crashes: Vec<Crash>,
}

impl Scene {
    async fn set(scale: &Scale) -> Self {
        let chat = Recorder::keeping().await;
        let config = format!(
            r#"rules: [ {{ to: chat }} ]
destinations:
  chat:
    http: {{ url: "{}", text: "1\n{{{{ relay.id }}}} {{{{ n }}}}\n" }}
    {QUICK}
    urgent: {{ type: {URGENT} }}
    digest:
      every: 10s
      by: [type]
      first: 2
      max: 1000
      text: "{{{{ digest.count }}}}\n{{% for event in digest.events %}}{{{{ event.relay.id }}}} {{{{ event.n }}}}\n{{% endfor %}}"
"#,
            chat.url()
        );
        let rig = Rig::new(&scale.directory, &scale.directory.join("data"), &config);
        Self { load: Load::new(scale.seed), rig, chat, crashes: Vec::new() }
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

async fn run(scale: Scale) -> Report {
    let mut dice = Dice::new(scale.seed);
    let mut scene = Scene::set(&scale).await;
    let rounds = scale.of(5, 100);
    for round in 0..rounds {
        let up = scene.rig.start().await;
        scene.chat.say(if dice.roll().is_multiple_of(3) { Says::StatusFirst(503) } else { Says::Ok });
        let sending = scene.load.send(up.hooks, SENDERS, WhenGone::End);
        scene.load.more(dice.within(1..EVENTS_A_ROUND)).await;
        if round % 2 == 1 {
            // The kill comes while the digest is closed, put together, sent or settled, whichever that is.
            up.act("/api/destinations/chat/digest-now").await;
            let came = scene.chat.count();
            let some = dice.within(0..3) as usize;
            eventually("some of it to come", async || scene.chat.count() >= came + some.min(1)).await;
        }
        scene.crashed_by(up);
        sending.ended().await;
    }
    scene.chat.say(Says::Ok);
    let up = scene.rig.start().await;
    // As long as something waits: what is placed after a restart waits for the next window's end, or for this.
    eventually("all went out", async || {
        up.act("/api/destinations/chat/digest-now").await;
        let shown = up.admin("/api/destinations/chat").await.json();
        shown["backlog"] == 0 && shown["digest"]["events"] == 0
    })
    .await;
    let (all, copies) = scene.came();
    let Scene { load, crashes, .. } = &scene;
    let witnesses = vec![Witness { name: "chat", wants: Wants::Every, copies }];
    let verdict = judge(Case { load, witnesses, crashes, doubtful: &[], admin: up.admin }).await;
    let digests: Vec<&Sent> = all.iter().filter(|sent| sent.is_digest()).collect();
    let gathered: u64 = digests.iter().map(|sent| sent.count).sum();
    let mut report = Report::default().say(format!("{rounds} rounds")).judged(&verdict);
    let told = format!("{} messages, of them {} digests of {} events", all.len(), digests.len(), thousands(gathered));
    report = report.say(told);
    for (breach, example) in breaches(&all, |number| type_of(load.seed, number) == URGENT) {
        report.hold(false, || format!("{breach:?}: {example}"));
    }
    report.hold(verdict.waiting + verdict.dead == 0, || {
        format!("{} wait and {} are dead, though the backlog is empty", verdict.waiting, verdict.dead)
    });
    report.hold(!digests.is_empty() && gathered > rounds as u64, || "hardly anything went out together".to_owned());
    up.stop().await;
    let verified = scene.rig.verb(&["store", "verify"]);
    report.hold(verified.code == Some(0), || format!("store verify: {}", verified.log));
    report
}

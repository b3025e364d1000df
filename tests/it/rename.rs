//! A destination under another name: its queue comes along whole, there and back, and what has to stay is told.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::*;

/// A relay whose config file is written anew between reloads.
struct Renaming {
    relay: TestRelay,
    path: PathBuf,
    fake: Fake,
}

/// One destination after another, each with what stands behind its name; all get every event.
fn config(fake: &Fake, destinations: &[(&str, &str)]) -> String {
    let names: Vec<&str> = destinations.iter().map(|(name, _)| *name).collect();
    let section = |(name, more): &(&str, &str)| {
        format!("  {name}: {{ http: {{ url: \"{}\" }}, retry: {{ initial: 1h, max: 1h }}{more} }}\n", fake.url())
    };
    let sections: String = destinations.iter().map(section).collect();
    format!("rules: [ {{ name: all, to: [{}] }} ]\ndestinations:\n{sections}", names.join(", "))
}

impl Renaming {
    async fn start(destinations: &[(&str, &str)]) -> Self {
        let fake = Fake::start([]).await;
        let relay = TestRelay::start(&config(&fake, destinations)).await;
        let path = relay.directory.path().join("config.yaml");
        Self { relay, path, fake }
    }

    /// Reloads with other destinations; returns what was told.
    async fn now(&self, destinations: &[(&str, &str)]) -> String {
        std::fs::write(&self.path, format!("{HEAD}{}", config(&self.fake, destinations))).expect("written");
        let reloaded = self.relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
        reloaded.changes.join("\n")
    }

    async fn restarted(self, destinations: &[(&str, &str)]) -> Self {
        let Self { relay, path, fake } = self;
        let rest = config(&fake, destinations);
        let relay = relay.restart(|_| format!("{HEAD}{rest}")).await;
        Self { relay, path, fake }
    }

    /// One delivery that is scheduled, one dead letter, one that waits, and a pause.
    async fn with_everything(&self, name: &str) {
        self.fake.then([Act::status(503), Act::status(400)]);
        let scheduled = self.relay.accept(r#"{"type":"scheduled"}"#).await;
        self.relay.until(&scheduled, "scheduled").await;
        let dead = self.relay.accept(r#"{"type":"dead"}"#).await;
        self.relay.until(&dead, "dead").await;
        assert_eq!(self.relay.act(&format!("/api/destinations/{name}/pause")).await.status(), 200);
        self.relay.accept(r#"{"type":"waits"}"#).await;
        self.has_everything(name).await;
    }

    #[track_caller]
    fn shown(destination: &Value) -> Value {
        json!([destination["state"], destination["backlog"], destination["scheduled"], destination["dead_letters"]])
    }

    async fn has_everything(&self, name: &str) {
        let destination = self.relay.destination(name).await;
        assert_eq!(Self::shown(&destination), json!(["paused", 2, 1, 1]), "{destination}");
        let all = self.relay.admin("/api/destinations").await.json();
        // Whatever its name: all that there are.
        let others = all["destinations"].as_array().expect("a list").iter().filter(|one| one["name"] != name);
        for other in others {
            assert_eq!((&other["backlog"], &other["dead_letters"]), (&json!(0), &json!(0)), "{other}");
        }
        let letters = self.relay.admin(&format!("/api/dead-letters?destination={name}")).await.json();
        assert_eq!(letters["dead_letters"].as_array().expect("a list").len(), 1, "{letters}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renaming_brings_the_whole_queue_along_there_and_back_any_number_of_times() {
    let mut it = Renaming::start(&[("a", "")]).await;
    it.with_everything("a").await;
    for _ in 0..3 {
        let told = it.now(&[("b", ", renamed_from: a")]).await;
        assert!(told.contains("`b` was `a` and keeps its queue"), "{told}");
        it.has_everything("b").await;
        // The commit is reverted.
        let told = it.now(&[("a", "")]).await;
        assert!(told.contains("`a` was `b` and keeps its queue"), "{told}");
        it.has_everything("a").await;
    }
    // The same across restarts.
    it = it.restarted(&[("b", ", renamed_from: a")]).await;
    it.has_everything("b").await;
    it = it.restarted(&[("b", ", renamed_from: a")]).await;
    it.has_everything("b").await;
    it = it.restarted(&[("a", "")]).await;
    it.has_everything("a").await;
    assert_eq!(it.relay.act("/api/destinations/a/resume").await.status(), 200);
    eventually("what waited to arrive", async || it.relay.destination("a").await["backlog"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renaming_onto_a_name_that_the_store_knows_brings_the_whole_queue_along_and_back() {
    let it = Renaming::start(&[("b", "")]).await;
    let arrived = it.relay.accept(SENT).await;
    it.relay.until(&arrived, "delivered").await;
    it.now(&[("a", "")]).await;
    it.with_everything("a").await;
    for _ in 0..2 {
        it.now(&[("b", ", renamed_from: a")]).await;
        it.has_everything("b").await;
        it.now(&[("a", "")]).await;
        it.has_everything("a").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_and_swaps_of_names_keep_each_queue_with_its_destination() {
    let it = Renaming::start(&[("a", "")]).await;
    it.with_everything("a").await;
    it.now(&[("b", ", renamed_from: a")]).await;
    it.now(&[("c", ", renamed_from: b")]).await;
    it.has_everything("c").await;
    // A config that knows only the first of its names.
    it.now(&[("x", ", renamed_from: a")]).await;
    it.has_everything("x").await;
    // Two change places by way of a third name.
    it.now(&[("x", ""), ("y", "")]).await;
    it.now(&[("z", ", renamed_from: x"), ("y", "")]).await;
    it.now(&[("z", ""), ("x", ", renamed_from: y")]).await;
    it.now(&[("y", ", renamed_from: z"), ("x", "")]).await;
    it.has_everything("y").await;
    assert_eq!(it.relay.destination("x").await["state"], "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_meets_another_one_is_joined_to_it_with_its_dead_letters_and_its_pause_and_that_is_told() {
    let it = Renaming::start(&[("a", "")]).await;
    it.with_everything("a").await;
    // Another one of its own, with one that is scheduled.
    it.fake.then([Act::status(503)]);
    it.now(&[("a", ""), ("b", "")]).await;
    let own = it.relay.accept(r#"{"type":"own"}"#).await;
    eventually("one to be scheduled", async || it.relay.destination("b").await["scheduled"] == 1).await;
    let told = it.now(&[("b", ", renamed_from: a")]).await;
    assert!(told.contains("`b` takes over from `a`: 2 waiting, 1 scheduled, 1 dead letters, its pause"), "{told}");
    let joined = it.relay.destination("b").await;
    // The event of both waits for it once.
    assert_eq!(Renaming::shown(&joined), json!(["paused", 3, 2, 1]), "{joined}");
    let it = it.restarted(&[("b", ", renamed_from: a")]).await;
    assert_eq!(Renaming::shown(&it.relay.destination("b").await), json!(["paused", 3, 2, 1]));
    it.relay.act("/api/destinations/b/resume").await;
    eventually("all to arrive", async || it.relay.destination("b").await["backlog"] == 0).await;
    let of_own = it.fake.seen().iter().filter(|message| message.header("webhook-id") == Some(&own)).count();
    assert_eq!(of_own, 2, "once, and once again after it failed");
    // Nothing of the old name comes back.
    assert_eq!(it.relay.destination("b").await["dead_letters"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_new_again_takes_nothing_from_a_destination_that_was_taken_out() {
    let it = Renaming::start(&[("a", "")]).await;
    it.now(&[("b", ", renamed_from: a")]).await;
    it.with_everything("b").await;
    // `a` is something else now, beside it; and then `b` is gone.
    it.now(&[("b", ""), ("a", "")]).await;
    it.now(&[("a", "")]).await;
    let a = it.relay.destination("a").await;
    assert_eq!(Renaming::shown(&a), json!(["up", 0, 0, 0]), "{a}");
    assert_eq!(it.relay.destination("b").await["backlog"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_to_a_pause_outlives_a_power_cut_of_a_destination_and_of_a_source() {
    let disk = vero_relay::store::journal::model::ModelDisk::default();
    let fake = Fake::start([]).await;
    let relay = TestRelay::start_on(&disk, &to_crm(&fake, "")).await;
    for act in ["/api/destinations/crm/pause", "/api/sources/vero/pause"] {
        assert_eq!(relay.act(act).await.status(), 200);
        // At the moment of the answer.
        let after = TestRelay::start_on(&disk.after_power_cut(|_| 0), &to_crm(&fake, "")).await;
        assert_eq!(after.destination("crm").await["state"], "paused");
        let is_source = act.contains("source");
        let status = after.admin("/api/status").await.json();
        assert_eq!(status["sources"][0]["paused"] == true, is_source, "{status}");
    }
}

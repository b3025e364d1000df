//! Looks whether something is wrong, and has somebody told: the shell around [`notify`](crate::notify), which decides.
//!
//! What is known is kept in a memo of the store before somebody is told and after it. A store that does not write it now holds nothing up: a
//! full disk must be told of as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::without_addresses;
use crate::config::{Config, Notify};
use crate::deliver::{LOOK_EVERY, RateLimit, Status};
use crate::destination::Notice;
use crate::notify::{
    Candidate, Certificate, Dead, Failing, Item, Key, Kind, Ledger, Observed, ObservedDestination, ObservedSource,
    Page, Paused, Removed, Round, Stand, State, Telling, Unplaced, is_for, notice, shown_now,
};
use crate::relay::{Generation, KeptTurns, KnownProblem, Relay, SourceState, stand_of};
use crate::store::{AllCounts, Counts, DeadReasons, Health, MEMO_BYTES_MAX, NameId, NameKind, Names, StoreError};
use crate::telemetry::minutes::Totals;
use crate::time::{Clock, Instant, wall_ms};

/// Where what is known is kept.
const MEMO: &str = "notify";
/// What is only looked at is kept so often: what is lost with the process is no more than that.
const KEPT_EVERY: Duration = Duration::from_secs(60);
/// A store that has not written or said something by then does it later.
const STORE_WITHIN: Duration = Duration::from_secs(2);
/// Reasons of dead letters that are told.
const REASONS_MAX: usize = 3;
/// Characters of one.
const REASON_CHARACTERS_MAX: usize = 120;

/// Looks and tells until it is stopped, while the config names somebody.
///
/// `has_begun` is kept from one of these to the next where one panics: what was counted by then is old.
pub(super) async fn notify(relay: Arc<Relay>, clock: Clock, has_begun: Arc<AtomicBool>, stop: CancellationToken) {
    let mut desk: Option<Desk> = None;
    let mut has_panicked = has_begun.swap(true, Ordering::Relaxed);
    let mut is_off = false;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = looks.tick() => {}
        }
        let generation = relay.generation().clone();
        let Some(notify) = generation.config.notify.as_ref() else {
            if let Some(desk) = &mut desk {
                desk.kept_turns = KeptTurns::default();
                show(&relay, Vec::new());
            }
            is_off = true;
            continue;
        };
        let desk = match &mut desk {
            Some(desk) => desk,
            None => desk.insert(Desk::open(relay.clone(), clock).await),
        };
        if std::mem::take(&mut has_panicked) {
            desk.ledger.begins_late();
        }
        if std::mem::take(&mut is_off) {
            desk.ledger.goes_on_late();
        }
        tokio::select! {
            // What is being told is told again by the next process, under the same id.
            () = stop.cancelled() => break,
            () = desk.turn(&generation, notify) => {}
        }
    }
    if let Some(desk) = &mut desk {
        desk.keep().await;
    }
}

/// What is known, and what it is kept by.
struct Desk {
    relay: Arc<Relay>,
    clock: Clock,
    state: State,
    ledger: Ledger,
    /// What was kept last, and when that was tried.
    kept: String,
    kept_at: Instant,
    /// What waits, and then what became of deliveries: in this order, since a dead letter is counted before it is kept.
    counts: Option<AllCounts>,
    totals: Totals,
    counting: Asked<(Result<AllCounts, StoreError>, Totals)>,
    keeping: Asked<Result<(), StoreError>>,
    reasoning: Asked<Result<DeadReasons, StoreError>>,
    /// For what nobody could be told of, with whom nothing but a turn was lacking.
    kept_turns: KeptTurns,
    /// Who could not be told in this look.
    failed: Vec<String>,
}

/// What else is known of problems, a line each.
type Details = BTreeMap<Key, Vec<String>>;

/// A question to the store, which may not answer while that is what is wrong: it is asked once, however often somebody wants to know.
struct Asked<T>(Option<JoinHandle<T>>);

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Asked<T> {
    /// The answer, if it comes in time: to this question, or to the one that was asked before and is not answered yet.
    async fn answer<F>(&mut self, question: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let asked = self.0.get_or_insert_with(|| tokio::spawn(question()));
        let answered = tokio::time::timeout(STORE_WITHIN, asked).await.ok()?;
        self.0 = None;
        answered.ok()
    }

    /// Whether one is not answered yet.
    fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|asked| !asked.is_finished())
    }
}

impl Desk {
    async fn open(relay: Arc<Relay>, clock: Clock) -> Self {
        let known = relay.store.memo(MEMO).await.ok().flatten();
        let known: Value = known.and_then(|known| serde_json::from_str(&known).ok()).unwrap_or_default();
        Self {
            state: State::of_kept(&known["state"]),
            ledger: serde_json::from_value(known["ledger"].clone()).unwrap_or_default(),
            kept: String::new(),
            kept_at: Instant::now(),
            counts: None,
            totals: Totals::default(),
            counting: Asked::default(),
            keeping: Asked::default(),
            reasoning: Asked::default(),
            kept_turns: KeptTurns::default(),
            failed: Vec::new(),
            relay,
            clock,
        }
    }

    /// Looks, and tells what is due.
    async fn turn(&mut self, generation: &Generation, notify: &Notify) {
        let observed = self.observe(generation).await;
        let now_ms = self.clock.now_ms();
        self.go_by_the_names_of(&generation.config);
        self.failed.clear();
        self.look_at_turns(generation, notify, &observed);
        let mut has_tried = self.finish(generation, notify, &observed).await;
        let looks = self.ledger.look(&observed, &notify.bounds, now_ms);
        let items = self.state.step(&looks, &notify.terms, now_ms);
        self.show();
        if !items.is_empty() {
            let mut round = Round::new(items, candidates(generation, notify, &observed, &self.relay));
            while let Some((name, mut items)) = round.next(|name| place_of(generation, name)) {
                let details = self.details(&items).await;
                // What finds no room is due still, and told a minute later.
                let rest = items.split_off(self.held(&name, &items, &details));
                let telling = self.state.begin(items.clone(), now_ms);
                self.keep().await;
                if !self.tell(&name, &telling, &details).await {
                    self.state.not_told(&telling.id);
                    items.extend(rest);
                    round.failed(&name, items);
                }
                // Whatever is kept for it waits for nothing else that is told.
                self.give_back_turns(generation, notify, &observed);
                self.keep().await;
            }
            for item in &round.untold {
                tracing::error!(
                    problem = item.key.kind.name(),
                    about = item.key.about,
                    "{}: nobody that `notify` names could be told, and it is tried again",
                    item.text
                );
            }
            self.state.untold(&round.untold, self.clock.now_ms());
            has_tried = true;
            self.show();
        }
        if has_tried {
            self.keep_turns(generation, notify, &observed);
        }
        if self.kept_at.elapsed() >= KEPT_EVERY {
            self.keep().await;
        }
    }

    /// What is known of a destination that is called something else now is known under its new name; and what the config names no more is
    /// not said to be well.
    fn go_by_the_names_of(&mut self, config: &Config) {
        let has_destination = |name: &str| config.destinations.iter().any(|destination| destination.name == name);
        for destination in &config.destinations {
            if let Some(from) = destination.renamed_from.as_ref().filter(|from| !has_destination(from)) {
                self.state.rename(from, &destination.name);
                self.ledger.rename(from, &destination.name);
            }
        }
        self.state.part_with(|key| match key.destination() {
            Some(name) => has_destination(name),
            None if key.kind.is_of_source() => config.sources.iter().any(|source| source.name == key.about),
            None => true,
        });
    }

    /// Tells what the process before may have told or not: as it was, under the same id. Says whether there was anything.
    async fn finish(&mut self, generation: &Generation, notify: &Notify, observed: &Observed) -> bool {
        let unfinished = self.state.unfinished(self.clock.now_ms());
        for telling in &unfinished {
            let details = self.details(&telling.items).await;
            let mut round = Round::new(Vec::new(), candidates(generation, notify, observed, &self.relay));
            let place_of = |name: &str| place_of(generation, name);
            let mut is_told = false;
            while let Some(name) = round.whole(&telling.items, place_of).filter(|_| !is_told) {
                is_told = self.tell(&name, telling, &details).await;
                round.failed(&name, Vec::new());
            }
            if !round.has_one_for(&telling.items, place_of) {
                // By this config it is told in parts, or not at all.
                self.state.not_told(&telling.id);
            } else if !is_told {
                self.state.untold(&telling.items, self.clock.now_ms());
            }
            self.keep().await;
        }
        !unfinished.is_empty()
    }

    /// Has that tried again for which a turn that was kept has come.
    fn look_at_turns(&mut self, generation: &Generation, notify: &Notify, observed: &Observed) {
        for (candidate, limit) in self.give_back_turns(generation, notify, observed) {
            if candidate.stand == Stand::Ready && self.kept_turns.has(&limit) {
                let keys = self.waiting_for(generation, &candidate).concat();
                self.state.try_now(&keys, self.clock.now_ms());
            }
        }
    }

    /// Keeps the next turn of whoever lacks nothing but one to be told of what nobody could be told of.
    fn keep_turns(&mut self, generation: &Generation, notify: &Notify, observed: &Observed) {
        for (_, limit) in self.give_back_turns(generation, notify, observed) {
            self.kept_turns.keep(&limit, Instant::now());
        }
    }

    /// Gives back the turns that are kept for nobody any more. Returns those who are to be told of what nobody could be told of, and their
    /// limits.
    fn give_back_turns(
        &mut self,
        generation: &Generation,
        notify: &Notify,
        observed: &Observed,
    ) -> Vec<(Candidate, Arc<RateLimit>)> {
        // One that fails is probed by the same turns.
        let failing = observed.destinations.iter().filter(|seen| is_failing(seen));
        let probed: Vec<_> = failing.filter_map(|seen| self.limit_of(&seen.name)).collect();
        let mut waiting = Vec::new();
        for mut candidate in candidates(generation, notify, observed, &self.relay) {
            if self.failed.contains(&candidate.name) {
                candidate.stand = Stand::Out;
            }
            let limit = self.limit_of(&candidate.name);
            let limit = limit.filter(|limit| !probed.iter().any(|probed| Arc::ptr_eq(probed, limit)));
            if let Some(limit) = limit.filter(|_| !self.waiting_for(generation, &candidate).is_empty()) {
                waiting.push((candidate, limit));
            }
        }
        self.kept_turns.give_back_all_but(waiting.iter().map(|(_, limit)| limit));
        waiting
    }

    /// The messages of which nobody could be told and this one is to be, once there is a turn: of what each is.
    fn waiting_for(&self, generation: &Generation, candidate: &Candidate) -> Vec<Vec<Key>> {
        let mut waiting = self.state.waiting();
        waiting.retain(|keys| is_for(keys, candidate, |name| place_of(generation, name)));
        waiting
    }

    fn limit_of(&self, name: &str) -> Option<Arc<RateLimit>> {
        self.relay.sections.of(name).map(|section| section.rate_limit.clone())
    }

    /// Tells somebody, and says whether that was heard.
    async fn tell(&mut self, name: &str, telling: &Telling, details: &Details) -> bool {
        let notice = self.notice(telling, details);
        match self.relay.tell(name, &notice).await {
            Ok(()) => {
                tracing::info!(
                    to = name,
                    id = notice.id,
                    problems = notice.problems.len(),
                    "somebody was told: {}",
                    notice.title
                );
                self.state.told(&telling.id, name, self.clock.now_ms());
                true
            }
            Err(why) => {
                tracing::error!(to = name, id = notice.id, why, "nobody could be told by it: {}", notice.title);
                self.failed.push(name.to_owned());
                false
            }
        }
    }

    /// How many of some things, from the first on, somebody is told in one message.
    fn held(&self, name: &str, items: &[Item], details: &Details) -> usize {
        let telling = Telling { id: String::new(), at_ms: self.clock.now_ms(), items: items.to_vec() };
        self.relay.holds(name, &self.notice(&telling, details))
    }

    fn notice(&self, telling: &Telling, details: &Details) -> Notice {
        let of = |key: &Key| details.get(key).cloned().unwrap_or_default();
        notice(telling, self.relay.page().as_ref(), of)
    }

    /// What else is known of some things.
    async fn details(&mut self, items: &[Item]) -> Details {
        let mut details = Details::new();
        for item in items.iter().filter(|item| item.key.kind == Kind::DeadLetters && !item.said.is_over()) {
            details.insert(item.key.clone(), self.reasons(&item.key.about).await);
        }
        details
    }

    /// Why the dead letters of a destination were given up: the most frequent reasons.
    async fn reasons(&mut self, name: &str) -> Vec<String> {
        let generation = self.relay.generation().clone();
        // It may be one that the config does not name any more.
        let removed = || self.relay.store.names().find(NameKind::Destination, name);
        let Some(id) = id_of(&generation, name).or_else(removed) else { return Vec::new() };
        if self.reasoning.is_open() {
            // It would be another's.
            return Vec::new();
        }
        self.reasoning = Asked::default();
        let store = self.relay.store.clone();
        let reasons = self.reasoning.answer(|| async move { store.dead_reasons(vec![id]).await }).await;
        let Some(Ok(reasons)) = reasons else { return Vec::new() };
        let told = reasons.reasons.iter().take(REASONS_MAX).map(|one| {
            // A template that fails may quote a value of an event.
            let reason: String = without_addresses(&one.reason).chars().take(REASON_CHARACTERS_MAX).collect();
            format!("{} × {reason}", one.deliveries)
        });
        told.collect()
    }

    /// Everything as it is now.
    async fn observe(&mut self, generation: &Generation) -> Observed {
        let relay = &self.relay;
        let config = &generation.config;
        let counting = || {
            let names: Vec<String> = config.destinations.iter().map(|destination| destination.name.clone()).collect();
            let (store, metrics) = (relay.store.clone(), relay.metrics.clone());
            async move {
                let counts = store.counts().await;
                (counts, metrics.totals(names.iter().map(String::as_str)))
            }
        };
        if let Some((Ok(counts), totals)) = self.counting.answer(counting).await {
            (self.counts, self.totals) = (Some(counts), totals);
        }
        let counts = self.counts.as_ref();
        let destinations = config.destinations.iter().zip(&generation.destination_ids).map(|(config, id)| {
            let counts = counts.map(|counts| counts.of(*id)).unwrap_or_default();
            let status = generation.statuses.get(id);
            let so_far = self.totals.destinations.get(config.name.as_str());
            let dead = so_far.map(|so_far| Dead { kept: counts.dead, died: so_far.dead });
            observed(&config.name, &counts, status, dead, relay.clock.now_ms())
        });
        let refused = relay.refused.wrong_tokens();
        let sources = config.sources.iter().zip(&generation.source_ids).zip(&generation.accepted);
        let sources = sources.map(|((source, id), accepted)| ObservedSource {
            name: source.name.clone(),
            expect_every_ms: source.expect_every.map(|every| every.as_millis() as u64),
            accepted: accepted.count(),
            refused: refused.get(&source.name).copied().unwrap_or(0),
            is_refusing: matches!(relay.source_state(*id), SourceState::Refusing(_)),
        });
        let certificates = [("tls", config.tls_ends_ms), ("admin.tls", config.admin.tls_ends_ms)];
        let reload_error = relay.last_reload().and_then(|last| last.error);
        Observed {
            destinations: destinations.collect(),
            removed: counts.map(|counts| removed(counts, generation, &relay.store.names())),
            sources: sources.collect(),
            // What follows shows lines of the file.
            reload_error: reload_error.and_then(|error| error.lines().next().map(str::to_owned)),
            full: match relay.health() {
                Health::Full(why) => Some(why),
                Health::Good | Health::Away(_) | Health::Poisoned(_) => None,
            },
            certificates: certificates
                .into_iter()
                .filter_map(|(of, ends_ms)| Some(Certificate { of, ends_ms: ends_ms? }))
                .collect(),
            wall_ms: wall_ms(),
        }
    }

    /// Shows what is known to who asks.
    fn show(&self) {
        let page: Option<Page> = self.relay.page();
        let known = self.state.problems().map(|(key, problem)| KnownProblem {
            kind: key.kind,
            about: key.about.clone(),
            text: shown_now(problem).to_owned(),
            since_ms: problem.since_ms,
            gone_ms: problem.gone_ms,
            told: problem.told.clone(),
            page: page.as_ref().map(|page| page.of(key)),
        });
        show(&self.relay, known.collect());
    }

    /// Keeps what is known, unless it is kept.
    async fn keep(&mut self) {
        self.kept_at = Instant::now();
        let mut text = json!({ "state": self.state.to_kept(), "ledger": self.ledger }).to_string();
        if text.len() > MEMO_BYTES_MAX {
            let mut ledger = self.ledger.clone();
            ledger.shorten();
            text = json!({ "state": self.state.to_kept(), "ledger": ledger }).to_string();
        }
        if text == self.kept {
            return;
        }
        if self.keeping.is_open() {
            return;
        }
        self.keeping = Asked::default();
        let store = self.relay.store.clone();
        let kept = text.clone();
        match self.keeping.answer(|| async move { store.keep_memo(MEMO, kept).await }).await {
            Some(Ok(())) => self.kept = text,
            Some(Err(error)) => tracing::debug!(%error, "what was told is not on the disk yet"),
            None => tracing::debug!("what was told is not on the disk yet"),
        }
    }
}

/// Shows to who asks what is wrong, and counts it.
fn show(relay: &Relay, known: Vec<KnownProblem>) {
    for kind in Kind::ALL {
        let count = known.iter().filter(|problem| problem.kind == kind && problem.gone_ms.is_none()).count();
        relay.metrics.set_problems(kind.name(), count as u64);
    }
    relay.problems.set(known);
}

fn observed(
    name: &str,
    counts: &Counts,
    status: Option<&Arc<Status>>,
    dead: Option<Dead>,
    now_ms: u64,
) -> ObservedDestination {
    let shown = status.map(|status| status.shown()).unwrap_or_default();
    let last_error = shown.last_error.as_ref().map(|(why, _)| why.clone());
    let why_failing = status.and_then(|status| status.troubles().why_failing().map(str::to_owned));
    let is_failing = why_failing.is_some() || counts.state.open_since_ms.is_some();
    let failing = if is_failing {
        Failing::Yes(why_failing.or_else(|| last_error.clone()).unwrap_or_else(|| "it did before the start".to_owned()))
    } else if shown.last_delivered_ms.is_none() {
        Failing::Unknown
    } else {
        Failing::No
    };
    // A person's reason may be anything, and what the other side said too.
    let reason = last_error.filter(|_| shown.has_paused).unwrap_or_else(|| "the page says why".to_owned());
    let paused = counts.state.paused.is_some();
    let age_ms = |since_ms: u64| now_ms.saturating_sub(since_ms);
    ObservedDestination {
        name: name.to_owned(),
        failing,
        paused: paused.then_some(Paused { by_relay: shown.has_paused, reason }),
        backlog: counts.backlog.saturating_sub(counts.unplaced),
        oldest_age_ms: counts.oldest_ms.map(age_ms),
        unplaced: (counts.unplaced > 0).then(|| Unplaced {
            deliveries: counts.unplaced,
            oldest_ms: counts.first_unplaced_ms,
            oldest_age_ms: counts.oldest_unplaced_ms.map(age_ms),
        }),
        dead,
    }
}

/// Those that the config does not name any more, and that have something still.
fn removed(counts: &AllCounts, generation: &Generation, names: &Names) -> Vec<Removed> {
    let is_removed = |counts: &&Counts| {
        let id = counts.destination;
        counts.state.removed_since_ms.is_some() && names.is_reachable(id) && !generation.destination_ids.contains(&id)
    };
    let has_some = |counts: &&Counts| counts.backlog > 0 || counts.dead > 0;
    let removed = counts.destinations.iter().filter(is_removed).filter(has_some);
    removed.map(|counts| Removed { name: names.name(counts.destination).to_string(), dead: counts.dead }).collect()
}

fn is_failing(seen: &ObservedDestination) -> bool {
    matches!(seen.failing, Failing::Yes(_))
}

fn id_of(generation: &Generation, name: &str) -> Option<NameId> {
    let at = generation.config.destinations.iter().position(|destination| destination.name == name)?;
    generation.destination_ids.get(at).copied()
}

/// Where a destination leads.
fn place_of(generation: &Generation, name: &str) -> Option<String> {
    let config = generation.config.destinations.iter().find(|destination| destination.name == name)?;
    Some(config.destination.leads_to())
}

/// Those who can be told, in the order of the config.
fn candidates(generation: &Generation, notify: &Notify, observed: &Observed, relay: &Relay) -> Vec<Candidate> {
    let candidate = |name: &String| {
        let seen = observed.destinations.iter().find(|seen| seen.name == *name);
        let is_out = seen.is_none_or(|seen| seen.paused.is_some() || is_failing(seen));
        let stand = match relay.sections.of(name).map(|section| stand_of(&section.rate_limit, Instant::now())) {
            _ if is_out => Stand::Out,
            Some(stand) => stand,
            // Telling says that the config names it no more.
            None => Stand::Ready,
        };
        Candidate { name: name.clone(), place: place_of(generation, name).unwrap_or_default(), stand }
    };
    notify.to.iter().map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::destination::Reason;

    #[test]
    fn where_nothing_has_arrived_since_the_start_it_is_not_known_whether_it_fails() {
        let failing = |backlog| observed("crm", &Counts { backlog, ..Counts::default() }, None, None, 5).failing;
        // What failed may be a dead letter by now, and nothing wait.
        assert_eq!([failing(0), failing(1)], [Failing::Unknown, Failing::Unknown]);
    }

    #[test]
    fn what_fails_is_told_with_its_reason_also_where_that_is_of_one_delivery_alone() {
        let status = Arc::new(Status::default());
        let failing = |status: &Arc<Status>| observed("crm", &Counts::default(), Some(status), None, 5).failing;
        let reason = Reason { is_of_one: true, ..Reason::new("451: the mailbox is full") };
        status.troubles().failed("crm", &reason);
        assert_eq!(failing(&status), Failing::Yes(reason.brief));
        status.troubles().delivered("crm");
        assert_eq!(failing(&status), Failing::Unknown);
    }

    #[test]
    fn what_is_still_to_be_given_its_lane_is_seen_apart_from_the_backlog() {
        let seen = |unplaced| {
            let [first_unplaced_ms, oldest_unplaced_ms] = [1, 2].map(|ms| (unplaced > 0).then_some(ms));
            let counts = Counts { backlog: 9, unplaced, first_unplaced_ms, oldest_unplaced_ms, ..Counts::default() };
            let seen = observed("crm", &counts, None, None, 5);
            (seen.backlog, seen.unplaced)
        };
        let of = |deliveries| Some(Unplaced { deliveries, oldest_ms: Some(1), oldest_age_ms: Some(3) });
        assert_eq!([seen(0), seen(7), seen(9)], [(9, None), (2, of(7)), (0, of(9))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_is_asked_once_and_holds_nobody_up() {
        let mut asked = Asked::default();
        let (answer, answered) = oneshot::channel();
        let mut answered = Some(answered);
        for _ in 0..3 {
            let waits = asked.answer(|| {
                let answered = answered.take().expect("it is asked once");
                async move { answered.await.expect("an answer") }
            });
            assert_eq!(waits.await, None);
            assert!(asked.is_open());
        }
        answer.send(7).expect("it waits still");
        assert_eq!(asked.answer(std::future::pending).await, Some(7), "the first question is answered");
        assert!(!asked.is_open());
        assert_eq!(asked.answer(|| async { 8 }).await, Some(8));
    }
}

//! The workers: one for each destination that the config names, through all reloads. Those that share a rate limit are leased and
//! kept together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keep::{Kept, keep};
use crate::deliver::{Bodies, DestinationConfig, RateLimit, Section, Sorter, Status, Worker, WorkerParts};
use crate::notify::Page;
use crate::relay::{Generation, Relay, Sections};
use crate::store::{Duty, Lease, NameId, Store};
use crate::telemetry::Metrics;
use crate::time::Clock;

/// All workers, and what they share.
pub(super) struct Workers {
    common: Common,
    tasks: TaskTracker,
    /// The rate limits that several destinations keep together, by what they have in common.
    shared_limits: HashMap<String, Arc<RateLimit>>,
    groups: BTreeMap<GroupKey, Group>,
    /// The ends of workers that have been stopped and may have attempts in flight: whoever follows one waits for it.
    ending: HashMap<NameId, Vec<CancellationToken>>,
}

/// What each worker is given.
#[derive(Clone)]
struct Common {
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Metrics,
    /// No new attempt by anybody once this is cancelled.
    stop: CancellationToken,
    bodies: Arc<Bodies>,
    /// Where others see by what the workers go.
    sections: Arc<Sections>,
}

/// What a group has in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GroupKey {
    /// One destination with a rate limit of its own.
    Alone(NameId),
    /// By what several share theirs.
    Shared(String),
}

/// A group of destinations at work.
struct Group {
    members: BTreeMap<NameId, Handle>,
    stop: CancellationToken,
}

/// One of its destinations.
struct Handle {
    section: watch::Sender<Arc<Section>>,
    /// Cancelled when its worker has ended for good.
    ended: CancellationToken,
}

impl Workers {
    pub(super) fn new(relay: &Relay, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let common = Common {
            store: relay.store.clone(),
            clock: relay.clock,
            metrics: relay.metrics.clone(),
            stop,
            bodies: Arc::default(),
            sections: relay.sections.clone(),
        };
        Self { common, tasks, shared_limits: HashMap::new(), groups: BTreeMap::new(), ending: HashMap::new() }
    }

    /// Lets each worker go on with its section of a generation, starts those that are missing, and stops those whose destination is
    /// gone, or shares its rate limit with others than before: their attempts in flight are finished and settled.
    pub(super) fn follow(&mut self, generation: &Generation) {
        let shared_limits = self.shared_limits_of(generation);
        let page = generation.config.admin.url.as_ref().map(|url| Page::at(url.as_str()));
        let shared_before = std::mem::replace(&mut self.shared_limits, shared_limits);
        let mut wanted: BTreeMap<GroupKey, Vec<(NameId, Arc<Section>)>> = BTreeMap::new();
        let here = |config: &DestinationConfig| {
            config.destination.only_on().is_none_or(|name| name == generation.config.relay_name)
        };
        for (config, id) in generation.config.destinations.iter().zip(&generation.destination_ids) {
            // What another relay alone delivers is wanted by no worker of this one.
            if !here(config) {
                continue;
            }
            let key = config.destination.rate_limit_key();
            let rate_limit = key.as_ref().and_then(|key| self.shared_limits.get(key).cloned());
            let rate_limit = rate_limit.unwrap_or_else(|| self.own_limit(*id, &shared_before));
            if key.is_none() {
                rate_limit.set_interval(config.policy.interval);
            }
            let metrics = self.common.metrics.destination(&config.name);
            let page = page.as_ref().map(|page| page.of_destination(&config.name));
            let section = Arc::new(Section { config: config.clone(), rate_limit, metrics, page });
            let key = key.map_or(GroupKey::Alone(*id), GroupKey::Shared);
            wanted.entry(key).or_default().push((*id, section));
        }
        let sections = wanted.values().flatten().map(|(_, section)| (section.config.name.clone(), section.clone()));
        self.common.sections.set(sections.collect());
        self.end_all_but(&wanted);
        for (key, sections) in wanted {
            match self.groups.get(&key) {
                Some(group) => {
                    for (id, section) in sections {
                        if let Some(kept) = group.members.get(&id) {
                            kept.section.send_replace(section);
                        }
                    }
                }
                None => self.start(key, sections, generation),
            }
        }
    }

    /// Ends the groups that are not wanted with the members that they have.
    fn end_all_but(&mut self, wanted: &BTreeMap<GroupKey, Vec<(NameId, Arc<Section>)>>) {
        self.ending.retain(|_, ends| {
            ends.retain(|ended| !ended.is_cancelled());
            !ends.is_empty()
        });
        let ending = &mut self.ending;
        self.groups.retain(|key, group| {
            let is_member = |(id, _): &(NameId, Arc<Section>)| group.members.contains_key(id);
            let is_wanted = wanted
                .get(key)
                .is_some_and(|wanted| wanted.len() == group.members.len() && wanted.iter().all(is_member));
            if !is_wanted {
                group.stop.cancel();
                for (id, kept) in &group.members {
                    ending.entry(*id).or_default().push(kept.ended.clone());
                }
            }
            is_wanted
        });
    }

    /// Those that share a URL share a rate limit, and the slowest sets it. One that was there before keeps its turns and holds.
    fn shared_limits_of(&self, generation: &Generation) -> HashMap<String, Arc<RateLimit>> {
        let mut intervals: HashMap<String, _> = HashMap::new();
        for config in &generation.config.destinations {
            if let Some(key) = config.destination.rate_limit_key() {
                let interval = intervals.entry(key).or_default();
                *interval = config.policy.interval.max(*interval);
            }
        }
        let shared = |(key, interval)| {
            let rate_limit =
                self.shared_limits.get(&key).cloned().unwrap_or_else(|| Arc::new(RateLimit::new(interval)));
            rate_limit.set_interval(interval);
            (key, rate_limit)
        };
        intervals.into_iter().map(shared).collect()
    }

    /// A destination's own rate limit: the one it has, unless it shared that with others.
    fn own_limit(&self, id: NameId, shared_before: &HashMap<String, Arc<RateLimit>>) -> Arc<RateLimit> {
        let known = self.groups.values().find_map(|group| group.members.get(&id));
        let known = known.map(|kept| kept.section.borrow().rate_limit.clone());
        let is_shared =
            |rate_limit: &Arc<RateLimit>| shared_before.values().any(|shared| Arc::ptr_eq(shared, rate_limit));
        known.filter(|rate_limit| !is_shared(rate_limit)).unwrap_or_else(|| Arc::new(RateLimit::new(None)))
    }

    fn start(&mut self, key: GroupKey, sections: Vec<(NameId, Arc<Section>)>, generation: &Generation) {
        let stop = self.common.stop.child_token();
        let mut members = Vec::new();
        let mut kept = BTreeMap::new();
        for (id, section) in sections {
            let section = watch::Sender::new(section);
            let ended = CancellationToken::new();
            members.push(Member {
                id,
                section: section.subscribe(),
                status: generation.statuses.get(&id).cloned().unwrap_or_default(),
                before: self.ending.get(&id).cloned().unwrap_or_default(),
                ended: ended.clone(),
            });
            kept.insert(id, Handle { section, ended });
        }
        let group = match &key {
            GroupKey::Alone(_) => None,
            GroupKey::Shared(key) => Some(digest_of(key)),
        };
        let names: Vec<_> = members.iter().map(Member::name).collect();
        let metrics = self.common.metrics.clone();
        let keeping = Kept { task: "delivering", of: names.join(", "), metrics, stop: stop.clone() };
        let common = Common { stop: stop.clone(), ..self.common.clone() };
        let working = TaskTracker::new();
        working.close();
        let delivering = Arc::new(Delivering { common, working, members, group });
        self.tasks.spawn(async move {
            keep(keeping, || delivering.clone().run()).await;
            delivering.working.wait().await;
        });
        self.groups.insert(key, Group { members: kept, stop });
    }
}

/// What a rate limit is shared by, without telling it: it may be a secret.
fn digest_of(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The work of one group: it leases the queues, works until the lease is lost, and leases them again.
struct Delivering {
    common: Common,
    /// The workers that have not ended.
    working: TaskTracker,
    members: Vec<Member>,
    group: Option<String>,
}

struct Member {
    id: NameId,
    section: watch::Receiver<Arc<Section>>,
    status: Arc<Status>,
    /// The ends of those that delivered to it before: no destination has two workers, and the others of a group do not wait for that.
    before: Vec<CancellationToken>,
    ended: CancellationToken,
}

impl Member {
    fn name(&self) -> String {
        self.section.borrow().config.name.clone()
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.members.iter().for_each(|member| member.ended.cancel());
    }
}

impl Delivering {
    async fn run(self: Arc<Self>) {
        let destinations: Vec<NameId> = self.members.iter().map(|member| member.id).collect();
        let duty = Duty::Deliver { destinations, rate_limit_group: self.group.clone() };
        // After a panic they may have attempts in flight, and no destination has two workers.
        self.working.wait().await;
        while !self.common.stop.is_cancelled() {
            let lease = tokio::select! {
                biased;
                () = self.common.stop.cancelled() => return,
                lease = self.common.store.lease(duty.clone()) => lease,
            };
            self.work(lease).await;
            // Where the runtime ends, no worker begins any more: then this must end as well.
            tokio::task::yield_now().await;
        }
    }

    /// Works until it is stopped, or the lease is lost and the attempts in flight have ended.
    async fn work(&self, lease: Lease) {
        assert_eq!(self.members.len(), lease.queues.len(), "a lease brings the queues of its duty");
        let stop = self.common.stop.child_token();
        // Also if this panics.
        let _ended = stop.clone().drop_guard();
        for (member, queue) in self.members.iter().zip(lease.queues) {
            let of = member.name();
            let parts = WorkerParts {
                queue,
                store: self.common.store.clone(),
                section: member.section.clone(),
                bodies: self.common.bodies.clone(),
                clock: self.common.clock,
                status: member.status.clone(),
                stop: stop.clone(),
            };
            let kept = Kept { task: "worker", of, metrics: self.common.metrics.clone(), stop: stop.clone() };
            let sorting = Kept { task: "sorter", ..kept.clone() };
            let id = member.id;
            let working = self.working.clone();
            let before = member.before.clone();
            let ended = member.ended.clone();
            let is_stopped = self.common.stop.clone();
            // Each on its own, so that they share the threads out among themselves.
            self.working.spawn(async move {
                for before in before {
                    before.cancelled().await;
                }
                // It says how the queue is claimed from: before that nothing is.
                let mut sorter = Some(Sorter::new(parts.clone(), id));
                let of_sorter = parts.clone();
                let sorting = working.spawn(keep(sorting, move || {
                    sorter.take().unwrap_or_else(|| Sorter::new(of_sorter.clone(), id)).run()
                }));
                keep(kept, move || Worker::new(parts.clone()).run()).await;
                // Who follows has neither beside it.
                let _ = sorting.await;
                if is_stopped.is_cancelled() {
                    ended.cancel();
                }
            });
        }
        tracing::debug!(destinations = self.members.len(), "the queues of some destinations are leased");
        tokio::select! {
            () = self.working.wait() => {}
            () = lease.lost.cancelled() => {
                stop.cancel();
                self.working.wait().await;
            }
        }
    }
}

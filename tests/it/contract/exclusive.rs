//! A backend that gives a lease to one at a time, as one does whose store is shared: the embedded store need not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};
use vero_relay::store::{
    AllCounts, Answer, DeadLetter, Depth, Erasing, EventView, Intake, Interned, Looking, Names, PassesOn, Sources,
    States, StoredEvent, Watch, Whom,
};

use super::*;

/// Another backend, with leases of which each is had once.
pub struct Exclusively<B> {
    backend: B,
    /// What is leased from what was opened last.
    leased: RefCell<Arc<Leased>>,
}

impl<B> Exclusively<B> {
    pub fn new(backend: B) -> Self {
        Self { backend, leased: RefCell::default() }
    }
}

impl<B: Backend> Backend for Exclusively<B> {
    fn open_by(&self, clock: Clock) -> Arc<dyn Store> {
        let leased = Arc::<Leased>::default();
        *self.leased.borrow_mut() = leased.clone();
        Arc::new(Handle { store: self.backend.open_by(clock), leased })
    }

    fn open_again(&self) -> Arc<dyn Store> {
        Arc::new(Handle { store: self.backend.open_again(), leased: self.leased.borrow().clone() })
    }

    fn trim(&self) {
        self.backend.trim();
    }
}

struct Handle {
    store: Arc<dyn Store>,
    leased: Arc<Leased>,
}

/// The destinations that are leased.
#[derive(Default)]
struct Leased {
    of: Mutex<BTreeSet<NameId>>,
    /// Notified when one comes back.
    back: Notify,
}

/// Some of them, until it goes.
struct Held {
    of: Vec<NameId>,
    leased: Arc<Leased>,
}

impl Leased {
    fn try_hold(self: &Arc<Self>, of: &[NameId]) -> Option<Held> {
        let mut leased = self.of.lock().expect("nobody panics with it");
        let is_free = of.iter().all(|of| !leased.contains(of));
        is_free.then(|| {
            leased.extend(of);
            Held { of: of.to_vec(), leased: self.clone() }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut leased = self.leased.of.lock().expect("nobody panics with it");
        for of in &self.of {
            leased.remove(of);
        }
        self.leased.back.notify_waiters();
    }
}

/// A queue whose lease comes back when it goes.
struct HeldQueue {
    queue: Arc<dyn Queue>,
    _held: Arc<Held>,
}

impl PassesOn for HeldQueue {
    fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }
}

impl Intake for Handle {
    fn append(&self, event: NewEvent) -> oneshot::Receiver<Result<EventId, AppendError>> {
        self.store.append(event)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.store.health()
    }

    fn sources(&self) -> watch::Receiver<Sources> {
        self.store.sources()
    }
}

impl Looking for Handle {
    fn event(&self, id: EventId) -> Answer<'_, EventView> {
        self.store.event(id)
    }

    fn events(&self, query: &EventQuery, after: Option<&Cursor>, max: usize) -> Answer<'_, Page<Arc<StoredEvent>>> {
        self.store.events(query, after, max)
    }

    fn events_of(&self, ids: Vec<EventId>) -> Answer<'_, (Vec<Arc<StoredEvent>>, usize)> {
        self.store.events_of(ids)
    }

    fn states(&self, events: Vec<Arc<StoredEvent>>, limit: SearchLimit) -> Answer<'_, (Vec<States>, SearchLimit)> {
        self.store.states(events, limit)
    }

    fn dead_letters(
        &self,
        of: Vec<NameId>,
        query: &DeadQuery,
        after: Option<&Cursor>,
        max: usize,
    ) -> Answer<'_, Page<DeadLetter>> {
        self.store.dead_letters(of, query, after, max)
    }

    fn watch(&self) -> Watch {
        self.store.watch()
    }

    fn dead_reasons(&self, of: Vec<NameId>) -> Answer<'_, DeadReasons> {
        self.store.dead_reasons(of)
    }

    fn counts(&self) -> Answer<'_, AllCounts> {
        self.store.counts()
    }

    fn how_many(&self, of: NameId, which: Which) -> Answer<'_, u64> {
        self.store.how_many(of, which)
    }
}

impl Store for Handle {
    fn names(&self) -> Arc<Names> {
        self.store.names()
    }

    fn erase(&self, whom: Whom, depth: Depth) -> Box<dyn Erasing> {
        self.store.erase(whom, depth)
    }

    fn intern(&self, named: Vec<Named>) -> Answer<'_, Interned> {
        self.store.intern(named)
    }

    fn announce(&self, generation: u32, ids: &[NameId]) {
        self.store.announce(generation, ids);
    }

    fn lease(&self, duty: Duty) -> BoxFuture<'static, Lease> {
        let lease = self.store.lease(duty.clone());
        let Duty::Deliver { destinations, .. } = duty else { return lease };
        let leased = self.leased.clone();
        Box::pin(async move {
            let held = loop {
                let back = leased.back.notified();
                tokio::pin!(back);
                // From here on, so that what comes back in between is heard of.
                back.as_mut().enable();
                match leased.try_hold(&destinations) {
                    Some(held) => break Arc::new(held),
                    None => back.await,
                }
            };
            let Lease { queues, lost } = lease.await;
            let holding = |queue| -> Arc<dyn Queue> { Arc::new(HeldQueue { queue, _held: held.clone() }) };
            Lease { queues: queues.into_iter().map(holding).collect(), lost }
        })
    }

    fn ask(&self, command: Command) -> Answer<'_, Done> {
        self.store.ask(command)
    }

    fn replays(&self) -> Answer<'_, Vec<ReplayProgress>> {
        self.store.replays()
    }

    fn save_replay(&self, progress: ReplayProgress) -> Answer<'_, ReplayProgress> {
        self.store.save_replay(progress)
    }

    fn memo(&self, key: &str) -> Answer<'_, Option<String>> {
        self.store.memo(key)
    }

    fn keep_memo(&self, key: &str, text: String) -> Answer<'_, ()> {
        self.store.keep_memo(key, text)
    }

    fn retain(&self, retention: Retention) {
        self.store.retain(retention);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}

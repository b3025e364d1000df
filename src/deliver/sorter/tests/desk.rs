//! A destination that writes down what it gets, and answers as it is told to.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::destination::{
    Delivery, Destination, Digest, Memo, Memory, Outcome, Outcomes, Place, Preview, Reason, Unsent,
};
use crate::secret::Secret;
use crate::time::{Clock, MINUTE_MS};

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    /// When it was made, in minutes since the scene began.
    pub(super) at: u64,
    /// What the delivery is known by.
    pub(super) id: String,
    /// The numbers of its events.
    pub(super) numbers: Vec<u64>,
    /// What it says how many they are.
    pub(super) count: u64,
    /// Of each group, what its events have in common.
    pub(super) groups: Vec<String>,
    /// All else that a digest tells.
    pub(super) told: String,
    /// The thread that it went into.
    pub(super) thread: Option<String>,
}

/// A destination. Where the event says `at`, that is the address it goes to; where it says `poison`, it is never taken. By other keys it goes to
/// the `mailbox` that the event says, or into its `thread`.
#[derive(Debug)]
pub(super) struct Desk {
    clock: Clock,
    began_ms: u64,
    got: Mutex<Vec<Got>>,
    answers: Mutex<VecDeque<Outcome>>,
    /// Addresses that answer nothing at all.
    silent: Mutex<HashSet<String>>,
    /// Addresses that are to be tried again, for themselves alone.
    refused: Mutex<HashSet<String>>,
    is_down: AtomicBool,
    wants_time: AtomicBool,
    takes_one_by_one: AtomicBool,
    has_mailboxes: AtomicBool,
    has_threads: AtomicBool,
}

impl Desk {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            began_ms: clock.now_ms(),
            got: Mutex::default(),
            answers: Mutex::default(),
            silent: Mutex::default(),
            refused: Mutex::default(),
            is_down: AtomicBool::default(),
            wants_time: AtomicBool::default(),
            takes_one_by_one: AtomicBool::default(),
            has_mailboxes: AtomicBool::default(),
            has_threads: AtomicBool::default(),
        }
    }

    /// The next attempts come to this; those behind them arrive.
    pub(super) fn answer(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.answers.lock().expect("nobody panicked with it").extend(outcomes);
    }

    pub(super) fn silence(&self, address: &str) {
        self.silent.lock().expect("nobody panicked with it").insert(address.to_owned());
    }

    pub(super) fn refuse(&self, address: &str) {
        self.refused.lock().expect("nobody panicked with it").insert(address.to_owned());
    }

    /// It answers nothing but 503, or it is well again.
    pub(super) fn show_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// It asks for hours before it is asked for the same again.
    pub(super) fn want_time(&self, wants_time: bool) {
        self.wants_time.store(wants_time, Ordering::Relaxed);
    }

    /// What an attempt comes to.
    fn answer_of(&self, delivery: &Delivery, address: &str) -> Outcome {
        let all = delivery.digest.iter().flat_map(|digest| &digest.events).chain([delivery]);
        if self.is_down.load(Ordering::Relaxed) || all.into_iter().any(|event| !field(event, "poison").is_null()) {
            let after = self.wants_time.load(Ordering::Relaxed).then(|| Duration::from_secs(20 * 60 * 60));
            return Outcome::Retry { reason: Reason::new("503"), after, holds_all: false };
        }
        if self.refused.lock().expect("nobody panicked with it").contains(address) {
            let reason = Reason { is_of_one: true, ..Reason::new("a mailbox that is full") };
            return Outcome::Retry { reason, after: None, holds_all: false };
        }
        let answer = self.answers.lock().expect("nobody panicked with it").pop_front();
        answer.unwrap_or(Outcome::Delivered)
    }

    /// It makes no message of several deliveries.
    pub(super) fn take_one_by_one(&self) {
        self.takes_one_by_one.store(true, Ordering::Relaxed);
    }

    pub(super) fn begin_mailboxes(&self) {
        self.has_mailboxes.store(true, Ordering::Relaxed);
    }

    pub(super) fn begin_threads(&self) {
        self.has_threads.store(true, Ordering::Relaxed);
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("nobody panicked with it").clone()
    }
}

fn field(delivery: &Delivery, name: &str) -> Value {
    let body: Value = serde_json::from_slice(&delivery.event.body).expect("JSON");
    body[name].clone()
}

fn told(digest: &Digest) -> String {
    let Digest { count, since_ms, until_ms, groups, left_out, .. } = digest;
    format!("{count} {since_ms} {until_ms} {left_out} {groups:?}")
}

impl Memory for Desk {
    fn key(&self, delivery: &Delivery) -> Option<String> {
        let belongs = delivery.digest.as_deref().is_none_or(|digest| digest.address.is_some());
        field(delivery, "thread").as_str().filter(|_| belongs).map(str::to_owned)
    }

    fn place(&self, _: &Delivery) -> Option<Place> {
        None
    }

    fn attempt<'a>(&'a self, delivery: &'a Delivery, _: &'a mut Memo) -> BoxFuture<'a, Outcome> {
        let made = Destination::attempt(self, std::slice::from_ref(delivery));
        made.map(|mut made| made.pop().expect("one outcome")).boxed()
    }
}

impl Destination for Desk {
    fn attempt<'a>(&'a self, deliveries: &'a [Delivery]) -> BoxFuture<'a, Outcomes> {
        async move {
            let mut outcomes = Outcomes::new();
            for delivery in deliveries {
                let number = |delivery: &Delivery| field(delivery, "n").as_u64().expect("a number");
                let digest = delivery.digest.as_deref();
                let got = Got {
                    at: (self.clock.now_ms() - self.began_ms) / MINUTE_MS,
                    id: delivery.id().to_string(),
                    numbers: digest
                        .map_or_else(|| vec![number(delivery)], |digest| digest.events.iter().map(number).collect()),
                    count: digest.map_or(1, |digest| digest.count),
                    groups: digest
                        .map(|digest| digest.groups.iter().map(|group| group.name()).collect())
                        .unwrap_or_default(),
                    told: digest.map(told).unwrap_or_default(),
                    thread: self.memory().and_then(|memory| memory.key(delivery)),
                };
                self.got.lock().expect("nobody panicked with it").push(got);
                let address = self.address_of(delivery).unwrap_or_default();
                if self.silent.lock().expect("nobody panicked with it").contains(&address) {
                    std::future::pending::<()>().await;
                }
                outcomes.push(self.answer_of(delivery, &address));
            }
            outcomes
        }
        .boxed()
    }

    fn preview(&self, delivery: &Delivery) -> Result<Preview, Unsent> {
        Ok(Preview::line("a desk".to_owned(), &delivery.event.body))
    }

    fn content(&self, delivery: &Delivery) -> Result<Vec<u8>, Unsent> {
        Ok(delivery.event.body.to_vec())
    }

    fn way(&self, _: &Delivery) -> Result<Secret, Unsent> {
        Ok(Secret::from("a desk".to_owned()))
    }

    fn digests(&self) -> bool {
        !self.takes_one_by_one.load(Ordering::Relaxed)
    }

    fn address_of(&self, delivery: &Delivery) -> Option<String> {
        assert!(field(delivery, "panics").is_null(), "an address that panics");
        let mailbox = self.has_mailboxes.load(Ordering::Relaxed).then(|| field(delivery, "mailbox"));
        let address = mailbox.filter(|mailbox| !mailbox.is_null()).unwrap_or_else(|| field(delivery, "at"));
        address.as_str().map(str::to_owned)
    }

    fn memory(&self) -> Option<&dyn Memory> {
        self.has_threads.load(Ordering::Relaxed).then_some(self)
    }

    fn is_loopback(&self) -> bool {
        true
    }

    fn address(&self) -> String {
        "a desk".to_owned()
    }
}

//! The relays that an event has come through, so that one which comes back to where it was is seen.
//!
//! Each request to a destination names them in [`VIA`]: those that the event came by, and this one. A relay that finds itself there
//! refuses the event. The journal keeps no headers, so what an event came by is known as long as the process lives and the event is
//! among the newest; a ring of relays is cut when it comes round the next time.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::digest;
use ring::rand::SecureRandom;

/// Where a request of a relay's says by which relays it came.
pub const VIA: HeaderName = HeaderName::from_static("x-vero-relay-via");
/// Where it says which event it is.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// With 508, by which the refusal of a relay is told from another server's.
pub const LOOP: HeaderName = HeaderName::from_static("x-vero-relay-loop");
/// Events whose way is remembered; some hundred bytes each.
const REMEMBERED_MAX: usize = 10_000;
/// More relays in a row than anybody puts there.
const RELAYS_MAX: usize = 16;
/// What is said of an event that comes back.
pub const OWN_EVENT: &str = "this relay sent this event itself: a destination leads back here";

/// What this relay knows of the ways that events came.
pub struct Hops {
    own: String,
    /// The same, as the value of the header: for an event that came by no relay.
    alone: HeaderValue,
    /// Whether any way is known: where no relay stands before this one, no body is hashed and nobody waits for a lock.
    is_any_known: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    ways: HashMap<Key, String>,
    order: VecDeque<Key>,
}

/// An event before it has an id: when it came, and a digest of its body.
type Key = (u64, [u8; 32]);

impl Hops {
    /// Draws the name by which this process knows itself.
    pub fn new() -> Self {
        let mut bytes = [0; 8];
        // Without randomness there is no TLS either; the process's number is unlike its neighbours'.
        if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
            bytes = u64::from(std::process::id()).to_be_bytes();
        }
        let own = format!("{:016x}", u64::from_be_bytes(bytes));
        let alone = value(&own);
        Self { own, alone, is_any_known: AtomicBool::new(false), known: Mutex::default() }
    }

    /// Why an event that came this way goes round in a loop, if it does.
    pub fn loop_of(&self, way: &[&str]) -> Option<&'static str> {
        if way.iter().any(|name| name.eq_ignore_ascii_case(&self.own)) {
            return Some(OWN_EVENT);
        }
        (way.len() > RELAYS_MAX).then_some("this event came through more than 16 relays: they lead into one another")
    }

    /// Remembers how an event came, if by another relay.
    pub fn remember(&self, way: &[&str], received_ms: u64, body: &[u8]) {
        if way.is_empty() {
            return;
        }
        let key = key(received_ms, body);
        self.is_any_known.store(true, Ordering::Release);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.ways.insert(key, way.join(", ")).is_none() {
            known.order.push_back(key);
        }
        while known.order.len() > REMEMBERED_MAX {
            let oldest = known.order.pop_front();
            oldest.map(|oldest| known.ways.remove(&oldest));
        }
    }

    /// The value of [`VIA`] for an event that goes on.
    pub fn via(&self, received_ms: u64, body: &[u8]) -> HeaderValue {
        if !self.is_any_known.load(Ordering::Acquire) {
            return self.alone.clone();
        }
        // Hashed before the lock is taken, which all deliveries share.
        let key = key(received_ms, body);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let way = known.ways.get(&key).map(|way| format!("{way}, {}", self.own));
        drop(known);
        way.map_or_else(|| self.alone.clone(), |way| value(&way))
    }

    /// The same for events that go on together: each relay that one of them came by, once.
    pub fn via_together<'e>(&self, mut events: impl Iterator<Item = (u64, &'e [u8])>) -> HeaderValue {
        if !self.is_any_known.load(Ordering::Acquire) {
            return self.alone.clone();
        }
        let keys: Vec<Key> = events.by_ref().map(|(received_ms, body)| key(received_ms, body)).collect();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut relays: Vec<&str> = Vec::new();
        for relay in keys.iter().filter_map(|key| known.ways.get(key)).flat_map(|way| way.split(", ")) {
            if !relays.contains(&relay) {
                relays.push(relay);
            }
        }
        relays.push(&self.own);
        value(&relays.join(", "))
    }
}

impl Default for Hops {
    fn default() -> Self {
        Self::new()
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn key(received_ms: u64, body: &[u8]) -> Key {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    (received_ms, hash)
}

/// The relays that a request names, in the order that it came by them; what is no name of one is left out.
pub fn way(headers: &HeaderMap) -> Vec<&str> {
    let parts = headers.get_all(VIA).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = parts.filter_map(|part| std::str::from_utf8(part).ok()).map(str::trim);
    names.filter(|name| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_loop(relay: &Hops, via: &HeaderValue) -> bool {
        relay.loop_of(&way(&HeaderMap::from_iter([(VIA, via.clone())]))).is_some()
    }

    fn remember(relay: &Hops, via: &HeaderValue, received_ms: u64, body: &[u8]) {
        relay.remember(&way(&HeaderMap::from_iter([(VIA, via.clone())])), received_ms, body);
    }

    #[test]
    fn a_relay_knows_itself_also_by_way_of_others() {
        let one = Hops::new();
        let two = Hops::new();
        let sent = one.via(1, b"{}");
        assert!(is_loop(&one, &sent));
        assert!(!is_loop(&two, &sent));
        remember(&two, &sent, 5, b"{}");
        let back = two.via(5, b"{}");
        assert!(is_loop(&one, &back));
        assert!(is_loop(&two, &back));
        assert!(!is_loop(&one, &two.via(6, b"{}")), "another event");
        assert_eq!(one.loop_of(&way(&HeaderMap::new())), None);
        let as_bytes = |bytes: Vec<u8>| HeaderValue::from_bytes(&bytes).expect("a value");
        assert!(is_loop(&one, &as_bytes(sent.as_bytes().to_ascii_uppercase())));
        assert!(is_loop(&one, &as_bytes([b"\xff\xfe, ", sent.as_bytes()].concat())), "among what is no name");
    }

    #[test]
    fn events_that_go_on_together_came_by_all_relays_that_one_of_them_came_by() {
        let [one, other, third] = [(); 3].map(|()| Hops::new());
        remember(&third, &one.via(1, b"1"), 1, b"1");
        remember(&third, &one.via(2, b"2"), 2, b"2");
        remember(&third, &other.via(3, b"3"), 3, b"3");
        let via = |events: &[(u64, &'static [u8])]| third.via_together(events.iter().copied());
        let all = via(&[(1, b"1"), (2, b"2"), (3, b"3"), (4, b"4")]);
        assert!(is_loop(&one, &all) && is_loop(&other, &all) && is_loop(&third, &all));
        assert_eq!(all.to_str().expect("a text").split(", ").count(), 3, "each once");
        assert!(!is_loop(&other, &via(&[(1, b"1"), (4, b"4")])));
        assert_eq!(one.via_together([(1, &b"1"[..])].into_iter()), one.via(1, b"1"), "where none is known");
    }

    #[test]
    fn only_so_much_is_remembered_and_only_so_many_relays_are_passed() {
        let one = Hops::new();
        let two = Hops::new();
        let sent = one.via(0, b"");
        for at in 0..REMEMBERED_MAX as u64 + 5 {
            remember(&two, &sent, at, b"");
        }
        assert_eq!(two.known.lock().expect("the lock").ways.len(), REMEMBERED_MAX);
        let many: Vec<_> = (0..=RELAYS_MAX).map(|i| format!("{i:016x}")).collect();
        assert!(is_loop(&two, &HeaderValue::from_str(&many.join(",")).expect("a value")));
    }
}

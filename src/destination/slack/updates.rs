//! Messages with a counter: one for all events that belong together, which is edited in place. Pure.
//!
//! What is left behind is the number that the message says, with the last events that it counts. A number is written and never added to: an
//! edit whose answer was lost is made again with the same one.

use std::sync::Arc;

use super::threads::{Thread, Threads};
use crate::destination::{Delivery, Digest, Group, Memo};
use crate::yaml::keys::{Defaulted, boolean, key};

pub const UPDATE: Defaulted<bool> = key("update", boolean())
    .about("With a `token`: one message for all events that belong together, by `thread_by` or by the fields of `digest`, with a counter that is edited in place; a new one begins after 24 hours. What is urgent has messages of its own. No more than 50 attempts a minute are made.")
    .example("true")
    .default(false);

/// The last deliveries that are counted: what a crash makes happen again was the last of all, and settled within a tenth of a second.
const COUNTED_MAX: usize = 16;
/// Bytes of the id of a channel, and of a delivery: the longest are half of it.
const ID_BYTES_MAX: usize = 64;

/// Slack's words for a message that is edited no more: <https://docs.slack.dev/reference/methods/chat.update#errors>. Where it is its channel that is
/// gone or closed, there may be another one of that name; if there is none, that is heard by posting.
pub const EDITED_NO_MORE: [&str; 8] = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "channel_not_found",
    "not_in_channel",
    "is_archived",
    "channel_is_archived",
    "is_inactive",
];

/// A message that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Where it stands, by what Slack calls it in its answer: by its name nothing is edited.
    pub channel: String,
    pub ts: String,
    /// When, unix milliseconds.
    pub began_ms: u64,
    pub tally: Tally,
}

/// What such a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: u64,
    /// When the first and the last of its events came, unix milliseconds.
    pub since_ms: u64,
    pub until_ms: u64,
    /// The last deliveries that are counted.
    counted: Vec<String>,
}

impl Counter {
    /// What was left behind, if it is still edited.
    pub fn known(memo: &Memo, now_ms: u64) -> Option<Self> {
        let mut parts = memo.as_deref()?.split(' ');
        let (thread, channel) = (format!("{} {}", parts.next()?, parts.next()?), parts.next()?);
        let Thread { ts, began_ms } = Thread::known(&Some(thread), now_ms)?;
        let count = parts.next()?.parse().ok()?;
        let (since_ms, until_ms) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let counted = parts.map(str::to_owned).collect();
        let channel = Some(channel.to_owned()).filter(|channel| is_id(channel))?;
        Some(Self { channel, ts, began_ms, tally: Tally { count, since_ms, until_ms, counted } })
    }

    /// The same to be left behind.
    pub fn memo(&self) -> Memo {
        let Self { channel, ts, began_ms, tally } = self;
        let Tally { count, since_ms, until_ms, counted } = tally;
        let counted = counted.iter().map(|id| format!(" {id}")).collect::<String>();
        Some(format!("{ts} {began_ms} {channel} {count} {since_ms} {until_ms}{counted}"))
    }

    /// The message that an answer says to have posted, with what it says.
    pub fn begun(answer: &[u8], tally: Tally, now_ms: u64) -> Option<Self> {
        let said: serde_json::Value = serde_json::from_slice(answer).ok()?;
        let Thread { ts, began_ms } = super::threads::after(None, answer, now_ms)?;
        let channel = said["channel"].as_str().filter(|channel| is_id(channel))?.to_owned();
        Some(Self { channel, ts, began_ms, tally })
    }
}

fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl Tally {
    /// Whether a delivery is one of the last that are counted.
    pub fn has(&self, delivery: &Delivery) -> bool {
        self.counted.contains(&delivery.id().to_string())
    }

    /// One more delivery: an event, or all of a digest.
    pub fn with(&self, delivery: &Delivery) -> Self {
        let digest = delivery.digest.as_deref();
        let since_ms = digest.map_or(delivery.event.received_ms, |digest| digest.since_ms);
        let until_ms = delivery.received_ms().max(self.until_ms);
        let mut counted = self.counted.clone();
        counted.push(delivery.id().to_string());
        counted.drain(..counted.len().saturating_sub(COUNTED_MAX));
        let since_ms = if self.count == 0 { since_ms } else { since_ms.min(self.since_ms) };
        Self { count: self.count + digest.map_or(1, |digest| digest.count), since_ms, until_ms, counted }
    }

    /// What the message says with that delivery counted: of one event what it would say by itself, else a digest of all that belongs together,
    /// with the examples of the last.
    pub fn told(&self, threads: &Threads, delivery: &Delivery) -> Delivery {
        let digest = delivery.digest.as_deref();
        let belongs = threads.values(delivery).filter(|_| digest.is_some() || self.count > 1);
        // What belongs to nothing is told as it is.
        let Some(values) = belongs else { return delivery.clone() };
        let events = digest.map_or_else(|| vec![delivery.clone()], |digest| digest.events.clone());
        let values = values.into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
        let Self { count, since_ms, until_ms, .. } = *self;
        let group = Group { values, count, since: since_ms, until: until_ms, parts: Vec::new(), other_parts: 0 };
        let together = Digest {
            id: delivery.id().to_string(),
            count,
            since_ms,
            until_ms,
            groups: vec![group],
            left_out: count.saturating_sub(events.len() as u64),
            events,
            page: digest.and_then(|digest| digest.page.clone()),
            address: digest.map_or(Some(0), |digest| digest.address),
        };
        Delivery { digest: Some(Arc::new(together)), ..delivery.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::digest::tests::bounces;
    use super::super::super::sample::sample;
    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    const NOW_MS: u64 = 1_700_000_000_000;

    fn numbered(number: u64) -> Delivery {
        let mut delivery = sample(r#"{"type":"t"}"#, NOW_MS + number);
        Arc::make_mut(&mut delivery.event).id = crate::event::EventId::mint(NOW_MS, 0, number);
        delivery
    }

    #[test]
    fn a_tally_counts_events_and_all_of_a_digest_and_knows_the_last_of_them() {
        let mut tally = Tally::default();
        for number in 0..COUNTED_MAX as u64 + 1 {
            tally = tally.with(&numbered(number));
        }
        assert_eq!((tally.count, tally.since_ms), (COUNTED_MAX as u64 + 1, NOW_MS));
        let known: Vec<_> = [0, 1, COUNTED_MAX as u64].into_iter().map(|number| tally.has(&numbered(number))).collect();
        assert_eq!(known, [false, true, true]);
        let digest = bounces(20, 3);
        let with = tally.with(&digest);
        assert_eq!((with.count, with.has(&digest)), (tally.count + 20, true));
        assert_eq!(with.since_ms, digest.digest.as_deref().expect("a digest").since_ms, "the earlier one");
        let late = tally.with(&numbered(3));
        assert_eq!(
            (late.since_ms, late.until_ms),
            (NOW_MS, tally.until_ms),
            "one that comes late makes no span shorter"
        );
    }

    #[test]
    fn what_is_left_behind_is_read_again_for_a_day_and_fits() {
        let mut tally = Tally::default();
        for number in 0..99 {
            tally = tally.with(&numbered(number));
        }
        let began_ms = NOW_MS;
        let counter =
            Counter { channel: "C".repeat(ID_BYTES_MAX), ts: "1700000000.000100".to_owned(), began_ms, tally };
        let memo = counter.memo();
        assert!(memo.as_ref().is_some_and(|memo| memo.len() + 64 <= crate::store::REMEMBERED_BYTES_MAX), "{memo:?}");
        assert_eq!(Counter::known(&memo, NOW_MS + DAY_MS - 1), Some(counter));
        assert_eq!(Counter::known(&memo, NOW_MS + DAY_MS), None);
        for memo in
            ["", "1.2 1700000000000", "1.2 1700000000000 C1", "1.2 1700000000000 C1 7 8", "1.2 1700000000000 #a 7 8 9"]
        {
            assert_eq!(Counter::known(&Some(memo.to_owned()), NOW_MS), None, "{memo}");
        }
        let one = Counter::known(&Some("1.2 1700000000000 C1 7 8 9".to_owned()), NOW_MS).expect("a counter");
        let Tally { count, since_ms, until_ms, .. } = one.tally;
        assert_eq!((one.channel.as_str(), count, since_ms, until_ms), ("C1", 7, 8, 9));
        assert_eq!(super::super::threads::Thread::known(&one.memo(), NOW_MS), None, "a counter is no thread");
    }
}

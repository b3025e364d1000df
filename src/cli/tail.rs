//! `tail`: events as they come, a line each, and what became of them.
//!
//! A line is printed when all deliveries of its event are settled, or after a second; what becomes of one later is a line of its own. It goes
//! on by itself after a break, and ends where the relay refuses it: who asks again and again with an old token is one who guesses.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{At, Frame, NoStream, RunningRelay, query};
use super::columns::{Cell, LEAST, Layout, Table, end, middle, whole};
use super::events::went;
use super::output::{json_line, say, tell};
use super::terminal::{numbered, paint, plain, width};
use super::{Failure, block_on};
use crate::event::vero;
use crate::time::{Instant, rfc3339, sleep_until, wall_ms};
use crate::yaml::words::did_you_mean;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this type, or one of several: bounced,failed
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only what a match map, as in a rule, holds for: '{campaign.name: {glob: "Cart*"}}'
    #[arg(long = "match", value_name = "YAML")]
    matching: Option<String>,
    /// Only of the campaign with this name; * stands for anything
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Only of the person with this address; capital and small letters are alike
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Only what comes in by this source
    #[arg(long)]
    source: Option<String>,
    /// Only what goes to this destination
    #[arg(long)]
    destination: Option<String>,
    /// Only once a delivery is in this state, or one of several: scheduled,dead
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    at: At,
}

/// An event waits so long for its deliveries, so that most are told in one line.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
/// Events whose deliveries are followed, the newest.
const FOLLOWED_MAX: usize = 1000;
/// Before it is tried again to reach the relay; each further time half as long again, up to the last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(15);

pub(super) fn run(named: Option<&Path>, args: Args) -> Result<(), Failure> {
    let relay = RunningRelay::at(named, &args.at)?;
    let filter = [
        ("type", args.event_type.as_deref()),
        ("match", args.matching.as_deref()),
        ("campaign", args.campaign.as_deref()),
        ("email", args.email.as_deref()),
        ("source", args.source.as_deref()),
        ("destination", args.destination.as_deref()),
        ("state", args.state.as_deref()),
    ];
    tell_of_types(args.event_type.as_deref());
    block_on(follow(&relay, &filter, args.at.json))
}

/// Names the types of Vero's that were probably meant: of one that never comes nothing else would be heard. Others may come too.
fn tell_of_types(asked: Option<&str>) {
    let unknown = |word: &&str| !vero::TYPES.contains(word);
    for word in asked.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(unknown) {
        if let Some(help) = did_you_mean(word, vero::TYPES) {
            tell!("warning: Vero has no event type `{}` today ({help})", plain(word));
        }
    }
}

/// Reads until somebody has had enough. What cannot be read at the beginning is a failure, and later a break, but for what is refused.
async fn follow(relay: &RunningRelay, filter: &[(&str, Option<&str>)], as_json: bool) -> Result<(), Failure> {
    let mut last: Option<String> = None;
    let mut wait = AGAIN_AFTER;
    let mut shown = Shown::default();
    let opened = relay.listen(&format!("/api/stream{}", query(filter))).await;
    let mut stream = opened.map_err(NoStream::failure)?;
    loop {
        let broken = loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = sleep_until(shown.next_due()) => {
                    shown.due(Instant::now()).iter().for_each(|line| say!("{line}"));
                    continue;
                }
            };
            // Somebody may have made the window wider meanwhile.
            shown.terminal = width();
            match next {
                Ok(Some(frame)) => {
                    last = Some(frame.id.clone());
                    wait = AGAIN_AFTER;
                    if as_json {
                        json_line(&json!({ "frame": frame.kind, "data": frame.data }));
                    } else {
                        shown.take(frame, Instant::now()).iter().for_each(|line| say!("{line}"));
                    }
                }
                Ok(None) => break "the relay has ended the stream".to_owned(),
                Err(failure) => break failure.message,
            }
        };
        tell!("{broken}; it is tried again");
        stream = loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 3 / 2).min(AGAIN_AFTER_MAX);
            let place = [("last_event_id", last.as_deref())];
            let again: Vec<_> = filter.iter().chain(&place).copied().collect();
            match relay.listen(&format!("/api/stream{}", query(&again))).await {
                Ok(stream) => {
                    tell!("the relay answers again");
                    break stream;
                }
                Err(NoStream::Refused(failure)) => return Err(failure),
                Err(NoStream::Away(_)) => {}
            }
        };
    }
}

/// What is printed, and what waits to be.
#[derive(Default)]
struct Shown {
    /// Events whose deliveries are not settled, oldest first.
    waiting: VecDeque<Waiting>,
    /// Those that were printed and go on, by their ids, oldest first in `order`.
    followed: HashMap<String, Value>,
    order: VecDeque<String>,
    /// How wide the terminal is, if it is one.
    terminal: Option<usize>,
}

struct Waiting {
    event: Value,
    until: Instant,
}

impl Shown {
    /// When the next line is due.
    fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    /// The lines that wait no longer.
    fn due(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        while self.next_due().is_some_and(|until| until <= now)
            && let Some(waiting) = self.waiting.pop_front()
        {
            lines.push(self.print(waiting.event));
        }
        lines
    }

    /// Takes a frame in. Returns the lines that follow from it.
    fn take(&mut self, frame: Frame, now: Instant) -> Vec<String> {
        let Frame { kind, data, .. } = frame;
        match kind.as_str() {
            // What a command has changed is told of each delivery.
            "reset" => {
                let why = match data["reason"].as_str() {
                    Some("behind") => "more has come than the relay keeps",
                    Some("restarted") => "the relay has restarted, and does not know any more what was seen",
                    _ => return Vec::new(),
                };
                vec![paint("33", &format!("… events may be missing here: {why}"))]
            }
            "event" if is_settled(&data) => vec![self.print(data)],
            "event" => {
                self.waiting.push_back(Waiting { event: data, until: now + SETTLED_WITHIN });
                Vec::new()
            }
            "deliveries" => self.settle(&data).into_iter().collect(),
            "skipped" if data["events"] != 0 => {
                let events = data["events"].as_u64().unwrap_or_default();
                vec![paint("33", &format!("… {} more, too many to be shown", numbered(events, "event")))]
            }
            _ => Vec::new(),
        }
    }

    /// The line of an event, whose deliveries are followed from here on as far as they go on.
    fn print(&mut self, event: Value) -> String {
        let what = plain(event["type"].as_str().unwrap_or(""));
        let received_at = event["received_at"].as_str().unwrap_or("");
        let line = row(received_at, what, &event, went(&deliveries(&event)), self.terminal);
        if !is_settled(&event)
            && let Some(id) = event["id"].as_str()
        {
            self.order.push_back(id.to_owned());
            self.followed.insert(id.to_owned(), event);
            while self.order.len() > FOLLOWED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.followed.remove(&oldest);
            }
        }
        line
    }

    /// Takes in what became of deliveries.
    fn settle(&mut self, told: &Value) -> Option<String> {
        let id = told["id"].as_str()?;
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.event["id"] == id) {
            merge(&mut self.waiting[at].event, told);
            if !is_settled(&self.waiting[at].event) {
                return None;
            }
            let waiting = self.waiting.remove(at)?;
            return Some(self.print(waiting.event));
        }
        let event = self.followed.get_mut(id)?;
        let changed = merge(event, told);
        let line = (!changed.is_empty()).then(|| {
            let what = format!("└ {}", plain(event["type"].as_str().unwrap_or("")));
            row(&rfc3339(wall_ms()), what, event, went(&changed), self.terminal)
        });
        if is_settled(event) {
            self.followed.remove(id);
            self.order.retain(|known| known != id);
        }
        line
    }
}

/// Puts what became of deliveries into an event. Returns those that are in another state now.
fn merge(event: &mut Value, told: &Value) -> Vec<Value> {
    let mut changed = Vec::new();
    let Some(known) = event["deliveries"].as_array_mut() else { return changed };
    for delivery in deliveries(told) {
        match known.iter_mut().find(|known| known["destination"] == delivery["destination"]) {
            Some(known) => {
                if known["state"] != delivery["state"] {
                    changed.push(delivery.clone());
                }
                *known = delivery;
            }
            None => {
                changed.push(delivery.clone());
                known.push(delivery);
            }
        }
    }
    changed
}

fn deliveries(event: &Value) -> Vec<Value> {
    event["deliveries"].as_array().cloned().unwrap_or_default()
}

/// Whether nothing more becomes of an event by itself.
fn is_settled(event: &Value) -> bool {
    let goes_on =
        |delivery: &Value| matches!(delivery["state"].as_str(), Some("held" | "waiting" | "in_flight" | "scheduled"));
    !deliveries(event).iter().any(goes_on)
}

/// A line: when, what, who, which campaign, and where it went.
static TABLE: Table = Table {
    columns: &[whole("", 0), end("  ", 18), middle(" ", 28), end(" ", 24), end(" → ", 0)],
    second_line: 2,
    least: LEAST,
};
/// How wide its columns are where there is room: what comes next is not known.
const WISHED: [usize; 5] = ["08:00:00".len(), 20, 40, 40, 60];

/// `at` is a time as the API says it, of which the day is left out.
fn row(at: &str, what: String, event: &Value, went: Cell, terminal: Option<usize>) -> String {
    let time = at.get("2026-11-26T".len().."2026-11-26T08:00:00".len()).unwrap_or_default();
    let text = |key: &str| Cell::from(plain(event[key].as_str().unwrap_or("")));
    let cells = vec![Cell::painted("2", time.to_owned()), what.into(), text("who"), text("campaign"), went];
    Layout::wished(&TABLE, &WISHED, terminal).row(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &str, data: Value) -> Frame {
        Frame { id: "1-1".to_owned(), kind: kind.to_owned(), data }
    }

    fn event(id: &str, states: &[(&str, &str)]) -> Value {
        json!({
            "id": id, "received_at": "2026-11-26T08:00:03.000Z", "type": "bounced", "who": "ann@example.com",
            "campaign": "Cart", "deliveries": states_of(states),
        })
    }

    fn states_of(states: &[(&str, &str)]) -> Vec<Value> {
        states.iter().map(|(name, state)| json!({ "destination": name, "state": state })).collect()
    }

    fn told(id: &str, states: &[(&str, &str)]) -> Frame {
        frame("deliveries", json!({ "id": id, "deliveries": states_of(states) }))
    }

    #[track_caller]
    fn check(lines: &[String], expected: &[&str]) {
        // What happens later is told with the time at which it is told.
        let is_time = |word: &&str| word.len() == 8 && word.contains(':') && *word != "08:00:03";
        let short = |line: &String| line.split_whitespace().filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ");
        assert_eq!(lines.iter().map(short).collect::<Vec<_>>(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_a_line_once_it_is_settled_or_after_a_second() {
        let mut shown = Shown::default();
        let now = Instant::now();
        check(
            &shown.take(frame("event", event("a", &[("crm", "delivered"), ("slack", "dead")])), now),
            &["08:00:03 bounced ann@example.com Cart → crm delivered, slack dead"],
        );
        check(&shown.take(frame("event", event("b", &[])), now), &["08:00:03 bounced ann@example.com Cart → nowhere"]);
        check(&shown.take(frame("event", event("c", &[("crm", "in_flight"), ("slack", "waiting")])), now), &[]);
        check(&shown.take(told("c", &[("slack", "delivered")]), now), &[]);
        check(
            &shown.take(told("c", &[("crm", "delivered")]), now),
            &["08:00:03 bounced ann@example.com Cart → crm delivered, slack delivered"],
        );
        check(&shown.take(frame("event", event("d", &[("crm", "in_flight")])), now), &[]);
        assert_eq!(shown.next_due(), Some(now + SETTLED_WITHIN));
        check(&shown.due(now + SETTLED_WITHIN - Duration::from_millis(1)), &[]);
        check(&shown.due(now + SETTLED_WITHIN), &["08:00:03 bounced ann@example.com Cart → crm in flight"]);
        assert_eq!(shown.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_of_it_later_is_a_line_of_its_own_and_once_for_each_state() {
        let mut shown = Shown::default();
        let now = Instant::now();
        shown.take(frame("event", event("a", &[("crm", "waiting")])), now);
        shown.due(now + SETTLED_WITHIN);
        let later = "└ bounced ann@example.com Cart → crm scheduled";
        check(&shown.take(told("a", &[("crm", "scheduled")]), now), &[later]);
        check(&shown.take(told("a", &[("crm", "scheduled")]), now), &[]);
        check(&shown.take(told("unknown", &[("crm", "delivered")]), now), &[]);
        let later = "└ bounced ann@example.com Cart → crm dead, other delivered";
        check(&shown.take(told("a", &[("crm", "dead"), ("other", "delivered")]), now), &[later]);
        assert!(shown.followed.is_empty() && shown.order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_are_followed() {
        let mut shown = Shown::default();
        for number in 0..=FOLLOWED_MAX {
            shown.print(event(&number.to_string(), &[("crm", "scheduled")]));
        }
        assert_eq!((shown.followed.len(), shown.order.len()), (FOLLOWED_MAX, FOLLOWED_MAX));
        check(&shown.take(told("0", &[("crm", "dead")]), Instant::now()), &[]);
        assert_eq!(shown.take(told("1", &[("crm", "dead")]), Instant::now()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_out_and_what_may_be_missing_is_told() {
        let mut shown = Shown::default();
        let now = Instant::now();
        let hello = |resumed: bool| frame("hello", json!({ "resumed": resumed }));
        check(&shown.take(hello(false), now), &[]);
        check(&shown.take(hello(true), now), &[]);
        let mut reset = |reason: &str| shown.take(frame("reset", json!({ "position": 1, "reason": reason })), now);
        for reason in ["behind", "restarted"] {
            let lines = reset(reason);
            assert!(lines.len() == 1 && lines[0].contains("events may be missing here"), "{reason}: {lines:?}");
        }
        check(&reset("command"), &[]);
        let skipped = |events: u64| frame("skipped", json!({ "events": events, "deliveries": 3 }));
        check(&shown.take(skipped(950), now), &["… 950 events more, too many to be shown"]);
        check(&shown.take(skipped(0), now), &[]);
        check(&shown.take(frame("minute", json!({})), now), &[]);
    }
}

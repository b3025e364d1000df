//! Relays with something to see, and the places of the page.

use bytes::Bytes;
use serde_json::{Value, json};
use vero_relay::daemon::Running;
use vero_relay::store::{NameKind, NewEvent};

use super::page::Page;
use crate::harness::*;
use crate::slack_server::SlackServer;

/// Vero's own example of a bounce.
pub const BOUNCED: &str = include_str!("../../../samples/bounced.json");

/// Two destinations that `fake` answers for, one by HTTP and one as Slack would, and rules that leave some events out.
pub fn rules(fake: &Fake) -> String {
    format!(
        r#"
rules:
  - {{ name: trouble, match: {{ type: [bounced, complained] }}, to: alerts }}
  - {{ name: cart followups, match: {{ campaign.name: {{ glob: "Cart*" }} }}, to: crm }}
  - {{ name: opens of receipts, match: {{ type: opened, campaign.name: Receipts }}, to: crm }}
destinations:
  crm:
    http: {{ url: "{0}/crm" }}
    {QUICK}
  alerts:
    slack: {{ url: "{0}/slack", text: "*{{{{ type }}}}* {{{{ user.email }}}}\n> {{{{ campaign.name }}}}" }}
    {QUICK}
"#,
        fake.url()
    )
}

/// An event of a type about a campaign, for somebody.
pub fn event(event_type: &str, campaign: &str, who: &str) -> String {
    json!({ "type": event_type, "user": { "id": 7, "email": who }, "campaign": { "id": 9007199254740993_u64, "name": campaign } }).to_string()
}

/// A relay in which everything that the page tells of has happened: deliveries, dead letters for two reasons, an event that no rule wanted,
/// and a request that was turned away.
pub struct Stage {
    pub relay: TestRelay,
    pub fake: SlackServer,
    /// One that was delivered, and one that became a dead letter.
    pub delivered: String,
    pub dead: String,
    pub unrouted: String,
}

impl Stage {
    pub async fn start() -> Self {
        Self::start_as("admin: { listen: \"127.0.0.1:0\" }").await
    }

    /// The same, with another `admin:` in its config.
    pub async fn start_as(admin: &str) -> Self {
        let fake =
            SlackServer::start([Act::with(422, &[], "no such user"), Act::with(400, &[], "no such field")]).await;
        let head = HEAD.replace("admin: { listen: \"127.0.0.1:0\" }", admin);
        let config = format!("{head}{}", rules(&fake));
        let relay = TestRelay::start_with(&config).await;
        std::fs::write(relay.directory.path().join("config.yaml"), config).expect("written");
        let dead = relay.accept(&event("clicked", "Cart Reminder", "jo@example.com")).await;
        relay.until(&dead, "dead").await;
        let other = relay.accept(&event("clicked", "Cart Reminder", "bo@example.com")).await;
        relay.until(&other, "dead").await;
        let unrouted = relay.accept(&event("opened", "Receipt", "mo@example.com")).await;
        let delivered = relay.accept(BOUNCED).await;
        relay.until(&delivered, "delivered").await;
        assert_eq!(relay.post("{ no JSON").await.status(), 400);
        Self { relay, fake, delivered, dead, unrouted }
    }

    pub async fn page(&self, place: &str) -> Page {
        Page::open(self.relay.running.admin_address, place).await
    }

    /// Every place of the page, and a text that is seen there.
    pub fn places(&self) -> Vec<(String, &'static str, &'static str)> {
        vec![
            ("#/events".to_owned(), ".rows", "bounced"),
            (format!("#/events/{}", self.delivered), ".detail", "Where it went"),
            (format!("#/events/{}", self.dead), ".detail", "given up"),
            (format!("#/events/{}", self.unrouted), ".detail", "No rule wanted this event"),
            ("#/destinations".to_owned(), ".list", "alerts"),
            ("#/destinations/crm".to_owned(), ".detail .dead", "no such user"),
            ("#/try".to_owned(), ".verdict", "Goes to"),
            ("#/unrouted".to_owned(), ".groups", "opens of receipts"),
            ("#/unrouted/refused".to_owned(), "table", "400"),
            ("#/config".to_owned(), ".yaml", "rules:"),
        ]
    }

    /// Goes to every place, and does something there.
    pub async fn tour(&self, page: &Page, mut at: impl AsyncFnMut(&Page, &str)) {
        for (place, selector, text) in self.places() {
            page.go(&place).await;
            page.sees(selector, text).await;
            at(page, &place).await;
        }
    }
}

/// What the relay says of itself.
pub async fn told(relay: &TestRelay, path: &str) -> Value {
    relay.admin(path).await.json()
}

/// Has the relay do something.
pub async fn ask(relay: &TestRelay, path: &str, asked: Value) {
    let headers = [("x-vero-relay-write", "1")];
    let admin = relay.running.admin_address;
    let answer = request(admin, "POST", path, &headers, asked.to_string().as_bytes()).await;
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
}

/// Has the relay keep many small events of the type `sent` that go nowhere, without the way through its door.
pub async fn append(relay: &TestRelay, count: usize) {
    let Running { relay, .. } = &relay.running;
    let source = relay.store.names().find(NameKind::Source, "vero").expect("the source");
    let new = |n: usize| NewEvent {
        received_ms: relay.clock.now_ms(),
        source,
        generation: relay.generation().number,
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: Bytes::from(format!(r#"{{"type":"sent","n":{n}}}"#)),
    };
    let mut answers = Vec::new();
    for n in 0..count {
        answers.push(relay.store.append(new(n)));
        // What may be on its way at once is bounded.
        if answers.len() == 1000 || n + 1 == count {
            for answer in answers.drain(..) {
                answer.await.expect("an answer").expect("taken");
            }
        }
    }
}

/// Writes the config file of a relay, which is not in force by that.
pub fn write_config(relay: &TestRelay, rest: &str) {
    std::fs::write(relay.directory.path().join("config.yaml"), format!("{HEAD}{rest}")).expect("written");
}

/// Writes the config file, and has it in force.
pub async fn put_in_force(relay: &TestRelay, rest: &str) {
    write_config(relay, rest);
    relay.running.relay.reload().await.unwrap_or_else(|error| panic!("{}", error.in_full()));
}

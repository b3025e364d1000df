//! Digests: several deliveries to one address that go out as one message. What each kind makes of them it says itself; here is what they are,
//! and what people are told of them.
//!
//! A digest goes through a kind as a [`Delivery`] that has one: its event is the first member's, and all members have its address.
//! It is built elsewhere, and holds examples of its events and not all of them.

use std::sync::{Arc, LazyLock};

use icu_normalizer::ComposingNormalizerBorrowed;

use super::cut::cut;
use super::{Context, Delivery, Kind, Language, TemplateKey};
use crate::event::{EventId, Json, vero};
use crate::store::{NameId, StoredEvent};
use crate::yaml::keys::{Info, Section};
use crate::yaml::raw::Node;

/// What a kind takes of `digest:`.
pub struct DigestKeys {
    /// The keys that say what several deliveries look like as one.
    pub keys: fn() -> Section,
    /// Those of them whose texts are templates.
    pub templates: &'static [TemplateKey],
}

/// All that kinds take of `digest:`, each key once.
pub fn digest_keys() -> Vec<Info> {
    let mut all: Vec<Info> = Vec::new();
    for key in super::KINDS.into_iter().filter_map(|kind| kind.digest.as_ref()).flat_map(|digest| (digest.keys)().keys)
    {
        if !all.iter().any(|known| known.name == key.name) {
            all.push(key);
        }
    }
    all
}

/// What a kind reads of `digest:`, by its keys; it tells of the keys that another kind has.
pub(super) fn own_node<'c>(context: &Context<'c>, kind: &Kind) -> Option<&'c Node> {
    let node = context.digest?;
    let own: Vec<_> = kind.digest.as_ref().map(|digest| (digest.keys)().keys).unwrap_or_default();
    let others = digest_keys();
    for (key, _) in node.entries() {
        let is_its = own.iter().any(|info| info.name == key.text);
        if is_its || !others.iter().any(|info| info.name == key.text) {
            continue;
        }
        let names: Vec<_> = own.iter().map(|info| info.name).collect();
        let whose = super::KINDS.into_iter().filter(|other| {
            other.digest.as_ref().is_some_and(|digest| (digest.keys)().keys.iter().any(|info| info.name == key.text))
        });
        let whose: Vec<_> = whose.map(|kind| format!("`{}`", kind.name)).collect();
        let message = format!("`{}` is of a digest for {}, and this is `{}`", key.text, whose.join(" and "), kind.name);
        context.reader.error_with(key.id, message, format!("a digest has {} here", names.join(", ")));
    }
    Some(node)
}

/// A key of `digest:`, as advice finds its templates.
pub fn digest_template(kind: &Kind, key: &str) -> Option<TemplateKey> {
    kind.digest.as_ref()?.templates.iter().find(|template| template.key == key).copied()
}

/// A text of such a key.
pub(super) const fn template(key: &'static str, language: Language) -> TemplateKey {
    TemplateKey::of(key, language)
}

/// Several deliveries that go out as one.
#[derive(Clone, Debug)]
pub struct Digest {
    /// Its own, a UUID: the same on each attempt, and no event's.
    pub id: String,
    /// Of all its deliveries.
    pub count: u64,
    /// When its first and its last event came, unix milliseconds.
    pub since_ms: u64,
    pub until_ms: u64,
    pub groups: Vec<Group>,
    /// Examples, in the order in which they came.
    pub events: Vec<Delivery>,
    /// How many events are none of the examples.
    pub left_out: u64,
    /// The page that shows them, if there is one.
    pub page: Option<String>,
    /// What tells the place where all of it belongs from others; `None` where it belongs to several by now: then it stands by itself.
    pub address: Option<u64>,
}

/// The deliveries of a digest that have the same values.
#[derive(Clone, Debug)]
pub struct Group {
    /// The paths that it was gathered by, and what stood there; nothing where there was nothing.
    pub values: Vec<(String, String)>,
    pub count: u64,
    /// When its first and its last event came, unix milliseconds.
    pub since: u64,
    pub until: u64,
    /// What stood at one more path, with how often; the most frequent first.
    pub parts: Vec<(String, u64)>,
    /// How many had something else there than the parts name.
    pub other_parts: u64,
}

/// What stands where a value is missing, or shows nothing.
pub const MISSING: &str = "(none)";
/// What joins the parts of a line.
pub(super) const JOINT: &str = " · ";
/// The most characters of one value of a group, and of one of its parts: names of campaigns are shorter.
const VALUE_MAX: usize = 100;
/// Characters of a value that are looked at for it.
const LOOKED_AT_MAX: usize = 10 * VALUE_MAX;
/// Parts that are named; there are no more than some twenty, and what is rare says little: the rest is told as a number.
const PARTS_SHOWN_MAX: usize = 6;

/// Bytes of a value in which signs that nobody sees are looked for: more are no name, and looking through a mebibyte takes milliseconds.
pub const LOOKED_AT_BYTES_MAX: usize = 4096;

impl Group {
    /// What people call it: its values, each on one line.
    pub fn name(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|(_, value)| shown(value)).collect();
        if values.is_empty() { "events".to_owned() } else { values.join(JOINT) }
    }

    /// How often what stood at the path of the breakdown, all together as often as there are events; nothing where it says no more than the count.
    pub fn shown_parts(&self) -> String {
        let (named, rest) = self.parts.split_at(self.parts.len().min(PARTS_SHOWN_MAX));
        let others = rest.iter().map(|(_, count)| count).sum::<u64>() + self.other_parts;
        if named.len() < 2 && others == 0 {
            return String::new();
        }
        let mut parts: Vec<_> = named.iter().map(|(value, count)| format!("{} {count}", shown(value))).collect();
        parts.extend((others > 0).then(|| format!("others {others}")));
        parts.join(JOINT)
    }
}

/// A value as it is seen: what looks the same is the same group, and one that shows nothing is one that is missing. It is on one line, with one blank
/// for several, and for each sign that nobody sees, and each accent is a part of its letter, however it was sent (NFC).
pub fn seen(value: String) -> String {
    let is_plain = value.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
    if is_plain && value != MISSING {
        return value;
    }
    let (looked_at, rest) = value.split_at(value.floor_char_boundary(LOOKED_AT_BYTES_MAX));
    let line = crate::unseen::written(looked_at, |_, out| out.push(' '));
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = ComposingNormalizerBorrowed::new_nfc().normalize(&line).into_owned();
    line.push_str(rest);
    if line == MISSING { String::new() } else { line }
}

/// A value on one line, cut, with a blank for each sign that nobody sees: it would turn the direction of what stands behind it.
pub(super) fn shown(value: &str) -> String {
    let seen = crate::unseen::written(cut(value, LOOKED_AT_MAX), |_, out| out.push(' '));
    let line = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    let known = cut(&line, VALUE_MAX);
    match line.is_empty() {
        true => MISSING.to_owned(),
        false if known.len() < line.len() => format!("{}…", cut(known, VALUE_MAX - 1)),
        false => line,
    }
}

impl Digest {
    /// What it is about, on one line: `1997 × bounced · Spring newsletter`.
    pub fn title(&self) -> String {
        match self.groups.as_slice() {
            // What has no values is all there is.
            [one] if one.values.is_empty() => format!("{} events", self.count),
            [one] => format!("{} × {}", self.count, one.name()),
            groups => format!("{} events in {} groups", self.count, groups.len()),
        }
    }

    /// The span of its events in UTC, with its day where that is wanted, or where it is not one day.
    pub fn span(&self, names_the_day: bool) -> String {
        let [since, until] = [self.since_ms, self.until_ms.max(self.since_ms)]
            .map(|ms| crate::time::timestamp(ms).to_zoned(jiff::tz::TimeZone::UTC));
        let day = since.strftime("%Y-%m-%d").to_string();
        let [begin, end] = [&since, &until].map(|at| at.strftime("%H:%M").to_string());
        if since.date() != until.date() {
            return format!("{day} {begin} – {} {end} UTC", until.strftime("%Y-%m-%d"));
        }
        let day = if names_the_day { format!("{day} ") } else { String::new() };
        if begin == end { format!("{day}{begin} UTC") } else { format!("{day}{begin}–{end} UTC") }
    }

    /// A line for each of several groups; of one group its parts.
    pub fn lines(&self) -> Vec<String> {
        if let [one] = self.groups.as_slice() {
            return Some(one.shown_parts()).filter(|parts| !parts.is_empty()).into_iter().collect();
        }
        let line = |group: &Group| {
            let parts = group.shown_parts();
            let parts = if parts.is_empty() { parts } else { format!(": {parts}") };
            format!("{} × {}{parts}", group.count, group.name())
        };
        self.groups.iter().map(line).collect()
    }

    /// The examples that a message shows which nobody has written.
    pub(super) fn shown_events(&self) -> Vec<&Delivery> {
        let mut events: Vec<_> = self.events.iter().collect();
        leave_out(&mut events, |events| events.len() <= EXAMPLES_MAX);
        events
    }

    /// It and its examples as JSON, where a section says nothing else.
    pub(super) fn as_json(&self) -> Json {
        let text = |text: &str| Json::String(text.to_owned());
        let moment = |ms: u64| Json::String(crate::time::rfc3339(ms));
        let number = |number: u64| Json::Number(number.to_string());
        let object = |members: Vec<(&str, Json)>| {
            Json::Object(members.into_iter().map(|(key, json)| (key.to_owned(), json)).collect())
        };
        let part = |(value, count): &(String, u64)| object(vec![("value", text(value)), ("count", number(*count))]);
        let group = |group: &Group| {
            let values = group.values.iter().map(|(path, value)| (path.clone(), text(value))).collect();
            object(vec![
                ("values", Json::Object(values)),
                ("count", number(group.count)),
                ("since", moment(group.since)),
                ("until", moment(group.until)),
                ("parts", Json::Array(group.parts.iter().map(part).collect())),
                ("other_parts", number(group.other_parts)),
            ])
        };
        let event = |delivery: &Delivery| {
            object(vec![
                ("id", Json::String(delivery.event.id.to_string())),
                ("received_at", moment(delivery.event.received_ms)),
                ("source", text(&delivery.source)),
                ("event", Json::read(std::str::from_utf8(&delivery.event.body).unwrap_or("{}"))),
            ])
        };
        let mut own = vec![
            ("id", text(&self.id)),
            ("count", number(self.count)),
            ("since", moment(self.since_ms)),
            ("until", moment(self.until_ms)),
            ("left_out", number(self.left_out)),
        ];
        own.extend(self.page.as_deref().map(|page| ("page", text(page))));
        object(vec![
            ("digest", object(own)),
            ("groups", Json::Array(self.groups.iter().map(group).collect())),
            ("events", Json::Array(self.events.iter().map(event).collect())),
        ])
    }

    /// Digests of Vero's samples, with what they are: each template of a digest is tried on all of them.
    pub(super) fn samples() -> &'static [(&'static str, Delivery)] {
        static SAMPLES: LazyLock<Vec<(&'static str, Delivery)>> = LazyLock::new(|| {
            let of = |names: &[&str]| -> Vec<Delivery> {
                let bodies = vero::SAMPLES.iter().filter(|(name, _)| names.contains(name));
                bodies.enumerate().map(|(nth, (_, body))| member(body, nth as u64)).collect()
            };
            let first = ["bounced", "complained", "clicked"];
            vec![
                ("one group", sample(of(&first), &[3])),
                ("two groups", sample(of(&first).into_iter().chain(of(&["opened", "sent"])).collect(), &[3, 2])),
            ]
        });
        &SAMPLES
    }
}

/// Examples that are shown where a section does not say how: as many as one takes in at a look.
pub(super) const EXAMPLES_MAX: usize = 10;

/// Leaves some out until the rest fits, from the middle: the first and the last say most. One stays, whether it fits or not.
pub fn leave_out<T>(all: &mut Vec<T>, fits: impl Fn(&[T]) -> bool) {
    while all.len() > 1 && !fits(all) {
        all.remove(all.len() / 2);
    }
}

/// When the samples came.
const SAMPLE_MS: u64 = 1_435_016_238_000;

fn member(body: &str, nth: u64) -> Delivery {
    let received_ms = SAMPLE_MS + nth * 60_000;
    let event = StoredEvent {
        id: EventId::mint(received_ms, 0, nth),
        received_ms,
        source: NameId(0),
        rules: Vec::new(),
        deliveries: Vec::new(),
        body: body.as_bytes().to_vec().into(),
        is_redacted: false,
    };
    Delivery { event: Arc::new(event), source: "vero".into(), rule: "everything".into(), digest: None }
}

/// A digest of some events, the first so many of one group, the next of another.
fn sample(events: Vec<Delivery>, counts: &[usize]) -> Delivery {
    let mut rest = events.as_slice();
    let mut groups = Vec::new();
    for count in counts {
        let (members, others) = rest.split_at((*count).min(rest.len()));
        rest = others;
        let moment = |delivery: Option<&Delivery>| delivery.map_or(SAMPLE_MS, |delivery| delivery.event.received_ms);
        groups.push(Group {
            values: vec![("type".to_owned(), "bounced".to_owned()), ("campaign.name".to_owned(), "Spring".to_owned())],
            count: members.len() as u64,
            since: moment(members.first()),
            until: moment(members.last()),
            parts: vec![("hard".to_owned(), 2), ("soft".to_owned(), 1)],
            other_parts: 0,
        });
    }
    of_members(events, groups)
}

/// A delivery of a digest whose examples are all its members.
fn of_members(events: Vec<Delivery>, groups: Vec<Group>) -> Delivery {
    let first = events.first().cloned().unwrap_or_else(|| member("{}", 0));
    let until_ms = events.last().map_or(SAMPLE_MS, |delivery| delivery.event.received_ms);
    let digest = Digest {
        id: "01a2091f-1b49-8a76-8000-000000000000".to_owned(),
        count: groups.iter().map(|group| group.count).sum(),
        since_ms: first.event.received_ms,
        until_ms,
        groups,
        events,
        left_out: 0,
        page: Some("https://relay.example.com/".to_owned()),
        address: Some(0),
    };
    Delivery { digest: Some(Arc::new(digest)), ..first }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A digest of so many bounces of a newsletter, of which the first few are examples.
    pub fn bounces(count: u64, examples: usize) -> Delivery {
        let member = |nth: usize| {
            let body = format!(
                r#"{{"type":"bounced","bounce_type":"hard","bounce_message":"550 no such user","user":{{"id":{nth},"email":"u{nth}@example.com"}},"campaign":{{"name":"Spring <newsletter>"}}}}"#
            );
            member(&body, nth as u64)
        };
        let events: Vec<_> = (0..examples).map(member).collect();
        let groups = vec![group("Spring <newsletter>", count)];
        let delivery = of_members(events, groups);
        let digest = delivery.digest.as_deref().expect("a digest").clone();
        let digest = Digest { left_out: count - examples as u64, until_ms: SAMPLE_MS + 15 * 60_000, ..digest };
        Delivery { digest: Some(Arc::new(digest)), ..delivery }
    }

    pub fn group(campaign: &str, count: u64) -> Group {
        Group {
            values: vec![("type".to_owned(), "bounced".to_owned()), ("campaign.name".to_owned(), campaign.to_owned())],
            count,
            since: SAMPLE_MS,
            until: SAMPLE_MS + 15 * 60_000,
            parts: vec![("hard".to_owned(), count - count / 10), ("soft".to_owned(), count / 10)],
            other_parts: 0,
        }
    }

    /// The same with more groups.
    pub fn with_groups(delivery: Delivery, groups: Vec<Group>) -> Delivery {
        let digest = delivery.digest.as_deref().expect("a digest").clone();
        let count = groups.iter().map(|group| group.count).sum();
        Delivery { digest: Some(Arc::new(Digest { groups, count, ..digest })), ..delivery }
    }

    #[test]
    fn the_first_and_the_last_are_shown_and_what_is_left_out_lay_between_them() {
        let left = |count: usize, most: usize| {
            let mut all: Vec<_> = (0..count).collect();
            leave_out(&mut all, |all| all.len() <= most);
            all
        };
        assert_eq!(left(50, 4), [0, 1, 48, 49]);
        assert_eq!(left(9, 3), [0, 1, 8]);
        assert_eq!(left(3, 3), [0, 1, 2]);
        assert_eq!((left(5, 0), left(0, 0)), (vec![0], vec![]), "one stays");
        let of = bounces(1997, EXAMPLES_MAX + 3);
        let shown = of.digest.as_deref().expect("a digest").shown_events();
        let numbers: Vec<_> = shown.iter().map(|delivery| delivery.event.id.sequence()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn what_it_is_about_is_said_on_one_line() {
        let one = bounces(1997, 3);
        let of = |delivery: &Delivery| {
            let digest = delivery.digest.as_deref().expect("a digest");
            (digest.title(), digest.lines().join("\n"), digest.span(false))
        };
        assert_eq!(
            of(&one),
            (
                "1997 × bounced · Spring <newsletter>".to_owned(),
                "hard 1798 · soft 199".to_owned(),
                "23:37–23:52 UTC".to_owned()
            )
        );
        let two = with_groups(one.clone(), vec![group("A\nB", 20), group(" \u{200b} ", 1)]);
        assert_eq!(
            of(&two),
            (
                "21 events in 2 groups".to_owned(),
                "20 × bounced · A B: hard 18 · soft 2\n1 × bounced · (none): hard 1 · soft 0".to_owned(),
                "23:37–23:52 UTC".to_owned()
            )
        );
        let of_parts = |counts: &[u64], other_parts: u64| {
            let parts = counts.iter().enumerate().map(|(nth, count)| (format!("p{nth}"), *count)).collect();
            Group { parts, other_parts, ..group("", 1) }.shown_parts()
        };
        assert_eq!(of_parts(&[5], 0), "");
        assert_eq!(of_parts(&[5], 2), "p0 5 · others 2");
        assert_eq!(of_parts(&[6, 5, 4, 3, 2, 1], 0), "p0 6 · p1 5 · p2 4 · p3 3 · p4 2 · p5 1");
        assert_eq!(of_parts(&[6, 5, 4, 3, 2, 1, 1, 1], 7), "p0 6 · p1 5 · p2 4 · p3 3 · p4 2 · p5 1 · others 9");
        let composed = seen("caf\u{e9}".to_owned());
        assert_eq!((seen("cafe\u{301}".to_owned()), composed.as_str()), (composed.clone(), "café"));
        assert_eq!(shown(&"x".repeat(VALUE_MAX)), "x".repeat(VALUE_MAX));
        assert_eq!(shown(&"x".repeat(VALUE_MAX + 1)), format!("{}…", "x".repeat(VALUE_MAX - 1)));
        let digest = one.digest.as_deref().expect("a digest");
        let span = |since_ms, until_ms| Digest { since_ms, until_ms, ..digest.clone() }.span(true);
        assert_eq!(span(SAMPLE_MS, SAMPLE_MS), "2015-06-22 23:37 UTC");
        assert_eq!(span(SAMPLE_MS, SAMPLE_MS + 3_600_000), "2015-06-22 23:37 – 2015-06-23 00:37 UTC");
        let all = Group { values: Vec::new(), ..group("", 4) };
        assert_eq!(all.name(), "events");
        assert_eq!(of(&with_groups(one.clone(), vec![all])).0, "4 events");
    }
}

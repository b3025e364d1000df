//! Picking fields out of a body: a path trie over a serde visitor, one pass, nothing copied but decoded strings.
//!
//! A value on no path is skipped and never built, whatever it nests. With duplicate keys the last one wins, at every level. `identity`: what tells one event from another.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::moment;
use super::path::{FieldPath, RelayField, Segment};
use super::print::Print;
use super::value::{Value, decode_string};
use super::vero;

mod identity;

/// A field of a [`FieldSet`], to ask [`Fields`] for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(u32);

impl FieldId {
    /// Its place among the fields of its set, from 0 on.
    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

type Slot = u32;

/// Raw `type`, raw `action`, the event's type after choosing between them, and the relay's own fields.
const SLOT_TYPE: Slot = 0;
const SLOT_ACTION: Slot = 1;
const SLOT_EVENT_TYPE: Slot = 2;
const SLOT_SOURCE: Slot = 3;
const SLOT_RECEIVED_AT: Slot = 4;
const SLOT_OCCURRED_AT: Slot = 5;
const SLOT_AGE: Slot = 6;
const SLOTS_RESERVED: Slot = 7;

/// The fields that the running rules use, compiled: [`read`](FieldSet::read) picks just these out of a body.
#[derive(Debug)]
pub struct FieldSet {
    nodes: Vec<Node>,
    fields: Vec<Field>,
    /// By slot: the fields that may have their value there.
    by_slot: Vec<Vec<FieldId>>,
    uses_received_at: bool,
    uses_occurred_at: bool,
    uses_age: bool,
    /// What tells one event from another; `None` where nobody asks.
    identity: Option<identity::Parts>,
    /// Where the time of an event of a known type lies: its `<type>_at`. Empty where nothing asks for it.
    times: Vec<(&'static str, Slot)>,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<Slot>,
    /// Steps that cross arrays of objects.
    keys: Children,
    /// JSON Pointer tokens: a key, or an index.
    tokens: Children,
}

/// Where each step leads. Few are looked through faster than looked up, and a config may name many thousands.
#[derive(Debug, Default)]
struct Children {
    list: Vec<(Box<[u8]>, usize)>,
    /// The same once they are many.
    places: HashMap<Box<[u8]>, usize>,
}

impl Children {
    const FEW: usize = 16;

    fn find(&self, text: &[u8]) -> Option<usize> {
        match self.places.is_empty() {
            true => self.list.iter().find(|(known, _)| **known == *text).map(|(_, child)| *child),
            false => self.places.get(text).copied(),
        }
    }

    fn add(&mut self, text: &[u8], child: usize) {
        self.list.push((text.into(), child));
        if self.list.len() > Self::FEW {
            let known = self.places.len();
            self.places.extend(self.list[known..].iter().cloned());
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Field {
    slot: Slot,
    other: Option<Slot>,
    unless: Option<Slot>,
}

/// Collects the paths of a [`FieldSet`].
#[derive(Debug)]
pub struct FieldSetBuilder {
    set: FieldSet,
    known: HashMap<FieldPath, FieldId>,
    slots: Slot,
}

impl Default for FieldSetBuilder {
    fn default() -> Self {
        let set = FieldSet {
            nodes: vec![Node::default()],
            fields: Vec::new(),
            by_slot: Vec::new(),
            uses_received_at: false,
            uses_occurred_at: false,
            uses_age: false,
            identity: None,
            times: Vec::new(),
        };
        let mut builder = Self { set, known: HashMap::new(), slots: SLOTS_RESERVED };
        for (name, slot) in [("type", SLOT_TYPE), ("action", SLOT_ACTION)] {
            let node = builder.node(&[Segment::Key(name.to_owned())]);
            builder.set.nodes[node].slot = Some(slot);
        }
        builder
    }
}

impl FieldSetBuilder {
    /// Adds a path, and the places where Vero writes the same field under another key. The same path gives the same id.
    ///
    /// `relay.id` and `relay.rule` come after matching: they have no value here.
    pub fn add(&mut self, path: &FieldPath) -> FieldId {
        if let Some(id) = self.known.get(path) {
            return *id;
        }
        let field = match path {
            FieldPath::Relay(relay) => {
                self.set.uses_received_at |= *relay == RelayField::ReceivedAt;
                self.set.uses_occurred_at |= *relay == RelayField::OccurredAt;
                self.set.uses_age |= *relay == RelayField::Age;
                if matches!(relay, RelayField::OccurredAt | RelayField::Age) {
                    self.add_times();
                }
                let slot = match relay {
                    RelayField::Source => SLOT_SOURCE,
                    RelayField::ReceivedAt => SLOT_RECEIVED_AT,
                    RelayField::OccurredAt => SLOT_OCCURRED_AT,
                    RelayField::Age => SLOT_AGE,
                    RelayField::Id | RelayField::Rule => self.slot_of(&[]),
                };
                Field { slot, other: None, unless: None }
            }
            FieldPath::Body(segments) if path.to_string() == "type" => {
                debug_assert_eq!(segments.len(), 1);
                Field { slot: SLOT_EVENT_TYPE, other: None, unless: None }
            }
            FieldPath::Body(segments) => {
                let slot = self.slot_of(segments);
                let alias = vero::alias(&path.to_string());
                let mut slot_of = |text: &str| match FieldPath::parse(text) {
                    Ok(FieldPath::Body(segments)) => Some(self.slot_of(&segments)),
                    _ => None,
                };
                let other = alias.and_then(|alias| slot_of(alias.other));
                let unless = alias.and_then(|alias| alias.unless).and_then(slot_of);
                Field { slot, other, unless }
            }
        };
        let id = FieldId(u32::try_from(self.set.fields.len()).expect("a config has far fewer than 4 billion fields"));
        self.set.fields.push(field);
        self.known.insert(path.clone(), id);
        id
    }

    /// Has `<type>_at` of every known type picked out with the rest, so that no body is gone over twice for its time.
    fn add_times(&mut self) {
        if self.set.times.is_empty() {
            self.set.times = vero::TYPES.map(|name| (name, self.slot_of(&[time_of(name)]))).into();
        }
    }

    /// The paths that were added.
    pub fn paths(&self) -> impl Iterator<Item = (&FieldPath, FieldId)> {
        self.known.iter().map(|(path, id)| (path, *id))
    }

    pub fn build(mut self) -> FieldSet {
        self.set.by_slot = vec![Vec::new(); self.slots as usize];
        for (at, field) in (0..).zip(&self.set.fields) {
            for slot in [Some(field.slot), field.other].into_iter().flatten() {
                self.set.by_slot[slot as usize].push(FieldId(at));
            }
        }
        self.set
    }

    fn slot_of(&mut self, segments: &[Segment]) -> Slot {
        if segments.is_empty() {
            self.slots += 1;
            return self.slots - 1;
        }
        let node = self.node(segments);
        if let Some(slot) = self.set.nodes[node].slot {
            return slot;
        }
        self.set.nodes[node].slot = Some(self.slots);
        self.slots += 1;
        self.slots - 1
    }

    fn node(&mut self, segments: &[Segment]) -> usize {
        let mut at = 0;
        for segment in segments {
            let nodes = &mut self.set.nodes;
            let fresh = nodes.len();
            let children = match segment {
                Segment::Key(_) => &mut nodes[at].keys,
                Segment::Token(_) => &mut nodes[at].tokens,
            };
            let text = segment.text().as_bytes();
            match children.find(text) {
                Some(child) => at = child,
                None => {
                    children.add(text, fresh);
                    nodes.push(Node::default());
                    at = fresh;
                }
            }
        }
        at
    }
}

/// What the relay itself knows of an event while it is matched.
#[derive(Clone, Copy, Debug)]
pub struct RelayFields<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// When it arrived, unix milliseconds, UTC.
    pub received_ms: u64,
}

/// An event, as far as the rules need to know it.
#[derive(Debug)]
pub struct Event<'a> {
    /// `type`, or `action` where `type` is missing, null or no string.
    pub event_type: Cow<'a, str>,
    /// The fields of the set.
    pub fields: Fields<'a>,
    /// What the same event has again and no other, where the set was built to say.
    pub identity: Option<Print>,
}

/// The fields that one body holds.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Sorted by slot; a slot stands several times where its path crossed an array.
    values: Vec<(Slot, Value<'a>)>,
}

/// Why a body is not an event. `Display` is the sentence the sender gets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the body is not UTF-8 from byte {at} on; an event is JSON, and JSON is UTF-8")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    #[error("the body is empty; an event is one JSON object")]
    Empty,
    #[error("the body is not JSON: {why} at byte {at}")]
    NotJson {
        /// Offset of the byte where reading stopped.
        at: usize,
        /// What was wrong there.
        why: String,
    },
    /// JSON that goes on where there is nothing more.
    #[error("the body is not JSON: it is cut off behind byte {last} ({why})")]
    CutOff {
        /// Offset of the last byte.
        last: usize,
        /// What was being read there.
        why: String,
    },
    #[error("the body looks like a form (a=b&c=d); Vero sends JSON, and an event is one JSON object")]
    Form,
    /// JSON, but no object.
    #[error("the body is a JSON {found} (at byte {at}); an event is one JSON object")]
    NotObject { found: &'static str, at: usize },
    /// Neither `type` nor `action` is a string with something in it.
    #[error("the event has neither a `type` nor an `action` that is a non-empty string (searched to byte {at})")]
    NoType {
        /// The length of the body.
        at: usize,
    },
}

impl FieldSet {
    /// Checks that a body is an event, and picks out the fields of the set.
    pub fn read<'a>(&self, body: &'a [u8], relay: RelayFields<'a>) -> Result<Event<'a>, Refused> {
        let text = std::str::from_utf8(body).map_err(|error| Refused::NotUtf8 { at: error.valid_up_to() })?;
        let mut captures = self.capture(text)?;
        // Stable: the elements of an array stay in their order.
        captures.sort_by_key(|(slot, _)| *slot);
        let event_type = event_type(&captures).ok_or(Refused::NoType { at: body.len() })?;

        let mut values = Vec::with_capacity(captures.len() + 4);
        values.push((SLOT_EVENT_TYPE, Value::String(event_type.clone())));
        values.push((SLOT_SOURCE, Value::String(Cow::Borrowed(relay.source))));
        if self.uses_received_at {
            values.push((SLOT_RECEIVED_AT, Value::String(Cow::Owned(crate::time::rfc3339(relay.received_ms)))));
        }
        if self.uses_occurred_at || self.uses_age {
            let occurred_ms = self.occurred_ms(text, &event_type, &captures).unwrap_or(relay.received_ms);
            if self.uses_occurred_at {
                values.push((SLOT_OCCURRED_AT, Value::String(Cow::Owned(crate::time::rfc3339(occurred_ms)))));
            }
            if self.uses_age {
                // Clocks differ: what will have happened is as good as new.
                let age_ms = relay.received_ms.saturating_sub(occurred_ms);
                values.push((SLOT_AGE, Value::Span(Duration::from_millis(age_ms))));
            }
        }
        let of_body = captures.iter().filter(|(slot, _)| *slot >= SLOTS_RESERVED);
        values.extend(of_body.map(|(slot, raw)| (*slot, Value::from_raw(raw))));
        let identity = self.identity.as_ref().map(|parts| {
            let read =
                identity::Read { source: relay.source, event_type: &event_type, body: text, captures: &captures };
            parts.print(self, &read)
        });
        Ok(Event { event_type, fields: Fields { values }, identity })
    }

    /// When the event happened by its own word, of what was picked out; a type that is not known is looked for in the body.
    fn occurred_ms(&self, text: &str, event_type: &str, captures: &[(Slot, &str)]) -> Option<u64> {
        let Some((_, slot)) = self.times.iter().find(|(name, _)| *name == event_type) else {
            return occurred_ms(text, event_type);
        };
        captures.iter().find(|(captured, _)| captured == slot).and_then(|(_, raw)| ms_of_time(raw))
    }

    fn capture<'a>(&self, text: &'a str) -> Result<Vec<(Slot, &'a str)>, Refused> {
        let start = text.len() - text.trim_ascii_start().len();
        let not_json = |error: serde_json::Error| {
            let why = error.to_string();
            let why = match why.split(" at line ").next().unwrap_or_default() {
                // The parser's word for `true`, `false` and `null`.
                "expected ident" => "a word that JSON does not have".to_owned(),
                why => why.to_owned(),
            };
            match error.classify() {
                serde_json::error::Category::Eof => Refused::CutOff { last: text.len() - 1, why },
                _ => Refused::NotJson { at: offset(text, error.line(), error.column()), why },
            }
        };
        if start == text.len() {
            return Err(Refused::Empty);
        }
        if text.as_bytes().get(start) != Some(&b'{') {
            let read = serde_json::from_str::<IgnoredAny>(text);
            read.map_err(|error| if is_form(&text[start..]) { Refused::Form } else { not_json(error) })?;
            return Err(Refused::NotObject { found: json_kind(&text[start..]), at: start });
        }
        let read = |expects_objects| {
            let mut walk =
                Walk { set: self, captures: Vec::with_capacity(16), expects_objects, has_control_in_key: false };
            let mut json = serde_json::Deserializer::from_str(text);
            json.deserialize_map(Object { walk: &mut walk, node: 0, keys_only: false }).and_then(|()| json.end())?;
            if walk.has_control_in_key {
                // As an escape it may stand there; as it is, reading keys as bytes has let it pass.
                serde_json::from_str::<IgnoredAny>(text)?;
            }
            Ok(walk.captures)
        };
        read(true).or_else(|_: serde_json::Error| read(false)).map_err(not_json)
    }

    /// The fields of a set, by id; what the set's builder gave.
    fn field(&self, id: FieldId) -> Field {
        self.fields[id.0 as usize]
    }
}

/// `type` wins over `action` unless it is missing, null or not a string.
fn event_type<'a>(captures: &[(Slot, &'a str)]) -> Option<Cow<'a, str>> {
    [SLOT_TYPE, SLOT_ACTION].into_iter().find_map(|wanted| {
        let (_, raw) = captures.iter().find(|(slot, _)| *slot == wanted)?;
        let raw = raw.trim_ascii();
        let text = raw.starts_with('"').then(|| decode_string(raw))?;
        (!text.is_empty()).then_some(text)
    })
}

/// When the event happened by its own word: Vero's `<type>_at`, read as `after` and `before` read a time, in UTC where it does not say itself.
pub(crate) fn occurred_ms(body: &str, event_type: &str) -> Option<u64> {
    let mut builder = FieldSetBuilder::default();
    let slot = builder.slot_of(&[time_of(event_type)]);
    let captures = builder.build().capture(body).ok()?;
    let (_, raw) = captures.iter().find(|(captured, _)| *captured == slot)?;
    ms_of_time(raw)
}

/// The field with the time of an event of a type.
fn time_of(event_type: &str) -> Segment {
    Segment::Key(format!("{event_type}_at"))
}

fn ms_of_time(raw: &str) -> Option<u64> {
    let moment = moment::of_text(Value::from_raw(raw).text()?, &TimeZone::UTC)?;
    // Nothing of before 1970 is an event.
    u64::try_from(moment.as_millisecond()).ok()
}

impl<'a> Fields<'a> {
    /// What the body holds of a field of `set`; empty when it is missing.
    pub fn get<'f>(&'f self, set: &FieldSet, id: FieldId) -> &'f [(u32, Value<'a>)] {
        let field = set.field(id);
        let found = self.slot(field.slot);
        let is_missing = |values: &[(u32, Value<'a>)]| values.iter().all(|(_, value)| *value == Value::Null);
        match field.other {
            Some(other) if is_missing(found) => {
                let blocked = field.unless.is_some_and(|slot| !is_missing(self.slot(slot)));
                let elsewhere = self.slot(other);
                if blocked || elsewhere.is_empty() { found } else { elsewhere }
            }
            _ => found,
        }
    }

    /// What the body holds of a field, each value as text: those of a list by themselves, and no null.
    pub fn texts(&self, set: &FieldSet, id: FieldId) -> Vec<String> {
        let mut texts = Vec::new();
        self.get(set, id).iter().for_each(|(_, value)| value.tell(&mut texts));
        texts
    }

    /// The same as one text, by which events are told apart; several values where an array lies on the way. `None` where it has none.
    pub fn told(&self, set: &FieldSet, id: FieldId) -> Option<String> {
        let told = self.texts(set, id);
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// The fields of `set` that may have a value here. One may stand twice.
    pub(crate) fn present<'f>(&'f self, set: &'f FieldSet) -> impl Iterator<Item = FieldId> + 'f {
        let slots = self.values.chunk_by(|(one, _), (other, _)| one == other).map(|values| values[0].0);
        slots.filter_map(|slot| set.by_slot.get(slot as usize)).flatten().copied()
    }

    fn slot(&self, slot: Slot) -> &[(u32, Value<'a>)] {
        let start = self.values.partition_point(|(other, _)| *other < slot);
        let length = self.values[start..].iter().take_while(|(other, _)| *other == slot).count();
        &self.values[start..start + length]
    }
}

/// The byte offset of serde_json's line and column, which count from 1 and name the byte last read.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let line_start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    (line_start + column.saturating_sub(1)).min(text.len())
}

/// Whether a text begins as a form does that a browser sends: a name and `=`.
fn is_form(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_-.%+[]".contains(c);
    text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(is_of_name))
}

fn json_kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// A child, and from where to where its captures lie.
type CapturedRange = (usize, usize, usize);

struct Walk<'s, 'a> {
    set: &'s FieldSet,
    captures: Vec<(Slot, &'a str)>,
    /// Reads what a path goes into as an object, which saves reading it twice, and fails where it is none.
    expects_objects: bool,
    /// A key holds a control character, escaped or not.
    has_control_in_key: bool,
}

impl<'a> Walk<'_, 'a> {
    /// Forgets what a child captured when its key came before; returns where its new captures begin.
    fn take_back(&mut self, child: usize, ranges: &mut Vec<CapturedRange>) -> usize {
        if let Some(at) = ranges.iter().position(|(known, ..)| *known == child) {
            let (_, start, end) = ranges.remove(at);
            self.captures.drain(start..end);
            for (_, other_start, other_end) in ranges.iter_mut().filter(|(_, other, _)| *other >= end) {
                *other_start -= end - start;
                *other_end -= end - start;
            }
        }
        self.captures.len()
    }

    /// Takes what `node` wants of a value. Goes at most as deep as the longest path.
    fn enter(&mut self, raw: &'a str, node: usize) {
        let Node { slot, keys, tokens } = &self.set.nodes[node];
        if let Some(slot) = slot {
            self.captures.push((*slot, raw));
        }
        if keys.list.is_empty() && tokens.list.is_empty() {
            return;
        }
        let mut json = serde_json::Deserializer::from_str(raw);
        // The text was scanned when it was captured, so reading it again cannot fail where nothing is expected of it.
        let expected = std::mem::replace(&mut self.expects_objects, false);
        let read = match raw.as_bytes().first() {
            Some(b'{') => json.deserialize_map(Object { walk: self, node, keys_only: false }),
            Some(b'[') => json.deserialize_seq(Array { walk: self, node }),
            _ => Ok(()),
        };
        self.expects_objects = expected;
        debug_assert!(read.is_ok(), "{read:?}");
    }
}

impl Node {
    /// Whether its value matters only for what lies in it.
    fn only_leads_on(&self) -> bool {
        self.slot.is_none() && self.tokens.list.is_empty()
    }
}

impl<'a> DeserializeSeed<'a> for Object<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

struct Object<'w, 's, 'a> {
    walk: &'w mut Walk<'s, 'a>,
    node: usize,
    /// Inside an array: indices do not apply.
    keys_only: bool,
}

impl<'a> Visitor<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let set = self.walk.set;
        let node = &set.nodes[self.node];
        // Which range of the captures each child made: a key that comes again takes its earlier one back.
        let mut ranges: Vec<CapturedRange> = Vec::new();
        let Self { walk, keys_only, .. } = self;
        while let Some(children) = map.next_key_seed(Key { node, keys_only, control: &mut walk.has_control_in_key })? {
            if children == [None, None] {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if let [Some(child), None] = children
                && walk.expects_objects
                && set.nodes[child].only_leads_on()
            {
                let start = walk.take_back(child, &mut ranges);
                map.next_value_seed(Object { walk: &mut *walk, node: child, keys_only: false })?;
                ranges.push((child, start, walk.captures.len()));
                continue;
            }
            let raw = map.next_value::<&'a RawValue>()?.get().trim_ascii();
            for child in children.into_iter().flatten() {
                let start = walk.take_back(child, &mut ranges);
                walk.enter(raw, child);
                ranges.push((child, start, walk.captures.len()));
            }
        }
        Ok(())
    }
}

/// Reads a key as bytes (an escaped lone surrogate in a key must not refuse the event) and finds its children.
struct Key<'n, 'w> {
    node: &'n Node,
    keys_only: bool,
    control: &'w mut bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = [Option<usize>; 2];
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = [Option<usize>; 2];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: de::Error>(self, key: &[u8]) -> Result<Self::Value, E> {
        *self.control |= key.iter().any(u8::is_ascii_control);
        let token = if self.keys_only { None } else { self.node.tokens.find(key) };
        Ok([self.node.keys.find(key), token])
    }
}

struct Array<'w, 's, 'a> {
    walk: &'w mut Walk<'s, 'a>,
    node: usize,
}

impl<'a> Visitor<'a> for Array<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let set = self.walk.set;
        let node = &set.nodes[self.node];
        let mut index = 0usize;
        while let Some(raw) = seq.next_element::<&'a RawValue>()? {
            let raw = raw.get().trim_ascii();
            if !node.tokens.list.is_empty() {
                let text = index.to_string();
                if let Some(child) = node.tokens.find(text.as_bytes()) {
                    self.walk.enter(raw, child);
                }
            }
            if !node.keys.list.is_empty() && raw.starts_with('{') {
                let object = Object { walk: &mut *self.walk, node: self.node, keys_only: true };
                let read = serde_json::Deserializer::from_str(raw).deserialize_map(object);
                debug_assert!(read.is_ok(), "{read:?}");
            }
            index += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What a config says of the order and the form in which a destination's deliveries go out: what is urgent, what goes out together, what goes
//! one after the other, and when nothing else goes out at all.
//!
//! # Cast
//!
//! * [`Sorting`]: says of one event whether it is urgent, which [`Group`] it belongs to, and what it goes in order with ([`Ordered`]). Pure.
//! * [`Gathering`]: how groups are put together. [`quiet`], [`Quiet`]: the hours in which nothing but what is urgent goes out.
//! * `judge`, [`Judged`]: what a delivery is, whatever is wrong with it. `leftover`, [`Leftover`]: what was gathered
//!   by a section that is no more.
//! * [`windows`], [`Windows`]: which lane a delivery has, by what came before it. Pure.
//! * `sorted`, [`Sorted`]: what waits to go out with others and what is ready to, between a destination's sorter, its worker, and who looks.
//! * `foresee`, [`Foreseen`]: what would become of an event. `rehearse`, [`Rehearsal`]: how many messages some would have been.

mod foresee;
mod judge;
mod leftover;
pub mod quiet;
mod rehearse;
mod sorted;
pub mod windows;

use std::time::Duration;

use ring::digest::{Context, SHA256, digest};

pub use self::foresee::Foreseen;
pub use self::judge::Judged;
pub use self::leftover::Leftover;
pub use self::quiet::Quiet;
pub use self::rehearse::Rehearsal;
pub use self::sorted::{CLOSED_APART, FIRST_CLOSED_AFTER, Looked, ShownWindow, Sorted, closed_after};
pub use self::windows::{Fold, Windows};
use crate::destination::digest::seen;
use crate::destination::{Delivery, Destination, place_of};
use crate::event::{FieldId, FieldSet, Fields, Printing, Refused, RelayFields};
use crate::rules::Condition;
use crate::store::{GroupKey, OrderKey};

/// Bytes of a value by which events are told apart, as people see it. By what lies behind them they are told apart as well.
pub const VALUE_BYTES_MAX: usize = 200;

/// Events that are shown of a digest where no config says how many.
pub const EXAMPLES: usize = 50;

/// The group of what has none of its own.
pub const OTHERS: GroupKey = GroupKey([0; 16]);

/// In which order, and in which form, deliveries go out.
#[derive(Debug)]
pub struct Sorting {
    /// What is read of each event.
    fields: FieldSet,
    /// What passes everything that waits.
    urgent: Option<Condition>,
    /// How what is not urgent goes out together; `None`: each by itself.
    pub gathering: Option<Gathering>,
    pub quiet: Option<Quiet>,
    /// The fields whose events of the same values go one after the other; none: all go as they come. Where there are any, there is none of the
    /// others.
    order_by: Vec<Field>,
}

/// How events are put together to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// How long a window is open; `None`: only quiet hours open one.
    pub every: Option<Duration>,
    /// The fields whose values make a group. None: all events are one.
    pub by: Vec<Field>,
    /// The field that a group is broken down by.
    pub breakdown: Option<Field>,
    /// So many events of a window go out by themselves.
    pub first: u32,
    /// So many events are shown, at most.
    pub examples: usize,
}

/// A field as it is written, and where it is found in a [`FieldSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub path: String,
    pub id: FieldId,
}

/// What one event is, to the order of things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes everything that waits.
    Urgent,
    /// It goes out by itself.
    Single,
    /// It may go out together with others of its group.
    Of(Group),
    /// It goes out by itself, after the earlier ones of its key.
    InOrder(Ordered),
}

/// What events that go out together have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub key: GroupKey,
    /// The paths that make the group, and what this event has there.
    pub values: Vec<(String, String)>,
    /// What it has in the field that the group is broken down by.
    pub part: Option<String>,
}

/// What events that go one after the other have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    pub key: OrderKey,
    /// The paths that make the key, and what this event has there.
    pub values: Vec<(String, String)>,
}

impl Group {
    /// The one that all events are.
    pub fn of_all() -> Self {
        Self { key: OTHERS, values: Vec::new(), part: None }
    }
}

impl Sorting {
    /// Puts together what was read with the builder of `fields`.
    pub fn new(
        fields: FieldSet,
        urgent: Option<Condition>,
        gathering: Option<Gathering>,
        quiet: Option<Quiet>,
    ) -> Self {
        Self { fields, urgent, gathering, quiet, order_by: Vec::new() }
    }

    /// One by which events with the same values in some fields, at least one, go one after the other.
    pub fn in_order(fields: FieldSet, order_by: Vec<Field>) -> Self {
        Self { order_by, ..Self::new(fields, None, None, None) }
    }

    /// Whether events go one after the other.
    pub fn is_in_order(&self) -> bool {
        !self.order_by.is_empty()
    }

    /// What an event is. `address` says where it goes, where that depends on the event: no group has two of them.
    pub fn verdict(&self, body: &[u8], relay: RelayFields<'_>, address: u64) -> Result<Verdict, Refused> {
        let event = self.fields.read(body, relay)?;
        if self.urgent.as_ref().is_some_and(|urgent| urgent.holds(&self.fields, &event.fields)) {
            return Ok(Verdict::Urgent);
        }
        if self.is_in_order() {
            return Ok(self.ordered(&event.fields).map_or(Verdict::Single, Verdict::InOrder));
        }
        let Some(Gathering { by, breakdown, .. }) = &self.gathering else { return Ok(Verdict::Single) };
        let text = |field: &Field| seen(event.fields.told(&self.fields, field.id).unwrap_or_default());
        let mut key = Context::new(&SHA256);
        key.update(&address.to_le_bytes());
        let mut values = Vec::with_capacity(by.len());
        for field in by {
            let value = text(field);
            for part in [field.path.as_str(), value.as_str()] {
                key.update(&(part.len() as u64).to_le_bytes());
                key.update(part.as_bytes());
            }
            values.push((field.path.clone(), shown(value)));
        }
        let key = key_of(&key.finish());
        let part = breakdown.as_ref().map(|field| shown(text(field)));
        Ok(Verdict::Of(Group { key, values, part }))
    }
}

impl Sorting {
    /// What an event goes in order with: by its values as texts, as rules compare them. None where it has no value in any of the fields.
    fn ordered(&self, fields: &Fields<'_>) -> Option<Ordered> {
        let mut key = Printing::of("order");
        let mut values = Vec::with_capacity(self.order_by.len());
        let mut has_any = false;
        for field in &self.order_by {
            let mut texts = fields.texts(&self.fields, field.id);
            // Who has an empty id is not the one who has another empty one.
            texts.retain(|text| !text.trim().is_empty());
            has_any |= !texts.is_empty();
            key = key.texts(&texts);
            values.push((field.path.clone(), shown(texts.join(", "))));
        }
        has_any.then_some(Ordered { key: OrderKey(key.finish().to_bytes()), values })
    }
}

/// Tells the places of a destination apart, as no message is gathered for two of them; 0 where it has one.
pub fn address_of(destination: &dyn Destination, delivery: &Delivery) -> u64 {
    place_of(destination, delivery).map_or(0, |place| {
        let digest = digest(&SHA256, place.as_bytes());
        let (bytes, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
        u64::from_le_bytes(*bytes).max(1)
    })
}

fn key_of(digest: &ring::digest::Digest) -> GroupKey {
    let mut key = [0; 16];
    key.iter_mut().zip(digest.as_ref()).for_each(|(byte, from)| *byte = *from);
    GroupKey(key)
}

/// A value as it is told; empty where there is none.
fn shown(mut value: String) -> String {
    if value.len() > VALUE_BYTES_MAX {
        value.truncate(value.floor_char_boundary(VALUE_BYTES_MAX - '…'.len_utf8()));
        value.push('…');
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::digest::LOOKED_AT_BYTES_MAX;
    use crate::event::{FieldPath, FieldSetBuilder};

    const RELAY: RelayFields<'static> = RelayFields { source: "vero", received_ms: 1_764_230_400_000 };

    fn by(paths: &[&str], breakdown: Option<&str>) -> Sorting {
        let mut fields = FieldSetBuilder::default();
        let mut field =
            |path: &str| Field { path: path.to_owned(), id: fields.add(&FieldPath::parse(path).expect("a path")) };
        let by = paths.iter().map(|path| field(path)).collect();
        let breakdown = breakdown.map(&mut field);
        let gathering = Gathering { every: None, by, breakdown, first: 0, examples: 50 };
        Sorting::new(fields.build(), None, Some(gathering), None)
    }

    #[track_caller]
    fn group(sorting: &Sorting, body: &str) -> Group {
        match sorting.verdict(body.as_bytes(), RELAY, 0) {
            Ok(Verdict::Of(group)) => group,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn events_with_the_same_values_are_one_group_and_all_others_are_not() {
        let sorting = by(&["type", "campaign.name"], Some("bounce_type"));
        let one = group(&sorting, r#"{"type":"bounced","campaign":{"name":"Spring"},"bounce_type":"hard"}"#);
        let same = group(&sorting, r#"{"bounce_type":"soft","campaign":{"name":"Spring","id":7},"type":"bounced"}"#);
        assert_eq!(one.key, same.key);
        assert_eq!(one.part.as_deref(), Some("hard"));
        assert_eq!(same.part.as_deref(), Some("soft"));
        let values = [("type", "bounced"), ("campaign.name", "Spring")];
        assert_eq!(one.values, values.map(|(path, value)| (path.to_owned(), value.to_owned())));
        for other in [
            r#"{"type":"opened","campaign":{"name":"Spring"}}"#,
            r#"{"type":"bounced","campaign":{"name":"spring"}}"#,
            r#"{"type":"bounced"}"#,
        ] {
            assert_ne!(one.key, group(&sorting, other).key, "{other}");
        }
    }

    #[test]
    fn values_that_would_run_together_make_groups_of_their_own() {
        let sorting = by(&["a", "b"], None);
        let key = |body: &str| group(&sorting, body).key;
        assert_ne!(key(r#"{"type":"t","a":"xy","b":""}"#), key(r#"{"type":"t","a":"x","b":"y"}"#));
        assert_ne!(key(r#"{"type":"t","a":"x"}"#), key(r#"{"type":"t","b":"x"}"#));
        let long = "x".repeat(VALUE_BYTES_MAX);
        let cut = |tail: &str| format!(r#"{{"type":"t","a":"{long}{tail}"}}"#);
        assert_ne!(key(&cut("1")), key(&cut("2")), "also by what is not shown");
    }

    #[test]
    fn what_looks_the_same_is_the_same_group_and_what_does_not_is_not() {
        let sorting = by(&["a"], None);
        let of = |json: &str| group(&sorting, &format!(r#"{{"type":"t","a":{json}}}"#));
        let missing = group(&sorting, r#"{"type":"t"}"#);
        assert_eq!(missing.values, [("a".to_owned(), String::new())]);
        for nothing in
            ["null", r#""""#, r#""  \n""#, r#""\u200b""#, "[]", "[null]", r#"[""]"#, r#""(none)""#, r#"" (none) ""#]
        {
            assert_eq!(of(nothing), missing, "{nothing}");
        }
        for same in ["1", r#""1""#, "[1]", r#"["1"]"#, r#"" 1 ""#, r#""1\u200b""#, r#""\u202e1""#] {
            assert_eq!(of(same), of("1"), "{same}");
        }
        assert_eq!(of(r#""Spring  news""#), of(r#""Spring\tnews\n""#));
        assert_eq!(of(r#""می\u200cخواهم""#).values[0].1, "می\u{200c}خواهم", "a joiner that is a part of the word");
        for other in ["0", "false", "1.0", r#""01""#, r#""1 1""#, r#""none""#, r#""–""#, r#"{"b":1}"#] {
            assert_ne!(of(other), of("1"), "{other}");
            assert_ne!(of(other), missing, "{other}");
        }
        assert_ne!(of(r#""Springnews""#), of(r#""Spring news""#));
        let long = |tail: &str, bytes: usize| of(&format!(r#""{}{tail}""#, "ä".repeat(bytes / 2))).key;
        let within = LOOKED_AT_BYTES_MAX - 4;
        assert_eq!(long(r"\u200b", within), long("", within));
        assert_ne!(long(r"\u200b", LOOKED_AT_BYTES_MAX), long("", LOOKED_AT_BYTES_MAX), "so far nobody looks");
    }

    #[test]
    fn who_has_no_id_goes_by_itself_and_blanks_are_none() {
        let mut fields = FieldSetBuilder::default();
        let field = Field { path: "user.id".to_owned(), id: fields.add(&FieldPath::parse("user.id").expect("a path")) };
        let sorting = Sorting::in_order(fields.build(), vec![field]);
        let key = |id: &str| {
            let body = format!(r#"{{"type":"t","user":{{"id":{id}}}}}"#);
            match sorting.verdict(body.as_bytes(), RELAY, 0).expect("it can be read") {
                Verdict::InOrder(Ordered { key, .. }) => Some(key),
                _ => None,
            }
        };
        for nothing in ["null", r#""""#, r#""  \n""#, "[]", "[null]", r#"["", " "]"#] {
            assert!(key(nothing).is_none(), "{nothing}");
        }
        for same in [r#""7""#, "[7]", r#"["", 7]"#] {
            assert_eq!(key(same), key("7"), "{same}");
        }
        for other in ["8", r#"" 7""#, "[7, 8]", "false"] {
            assert!(key(other).is_some() && key(other) != key("7"), "{other}");
        }
    }

    #[test]
    fn another_address_or_another_field_is_another_group() {
        let sorting = by(&["type"], None);
        let at = |address| match sorting.verdict(br#"{"type":"t"}"#, RELAY, address) {
            Ok(Verdict::Of(group)) => group.key,
            other => panic!("{other:?}"),
        };
        assert_ne!(at(0), at(1));
        let other = by(&["action"], None);
        assert_ne!(at(0), group(&other, r#"{"type":"t","action":"t"}"#).key);
    }

    #[test]
    fn a_value_is_told_as_it_stands_and_cut_where_it_is_long() {
        let sorting = by(&["v"], None);
        let value = |json: &str| group(&sorting, &format!(r#"{{"type":"t","v":{json}}}"#)).values.remove(0).1;
        for (json, told) in [
            ("1.50", "1.50"),
            ("true", "true"),
            (r#""x""#, "x"),
            (r#""""#, ""),
            ("null", ""),
            ("[]", ""),
            (r#"["a", 2, null]"#, "a, 2"),
            (r#"{"a":1}"#, "{…}"),
        ] {
            assert_eq!(value(json), told, "{json}");
        }
        assert_eq!(value(&format!(r#""{}""#, "x".repeat(VALUE_BYTES_MAX))).len(), VALUE_BYTES_MAX);
        let cut = value(&format!(r#""{}""#, "ä".repeat(VALUE_BYTES_MAX)));
        assert!(cut.len() <= VALUE_BYTES_MAX && cut.ends_with("ä…"), "{cut}");
    }

    #[test]
    fn without_fields_all_events_are_one_group() {
        let sorting = by(&[], None);
        let one = group(&sorting, r#"{"type":"a"}"#);
        assert_eq!(one, group(&sorting, r#"{"type":"b","c":1}"#));
        assert!(sorting.verdict(b"[]", RELAY, 0).is_err());
    }
}

//! Who is meant: by an address, by a user id, or by both.
//!
//! An event is about somebody where its `user.email` is the address, in capital or small letters; where it has none, by `campaign.sent_to`; and
//! where it has neither, by a `user.id` that was seen beside the address. One that names the address elsewhere mentions them. With a user id of its
//! own every event with that `user.id` is meant too. What is empty or blank is no address and no id: many have it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::event::{EventId, FieldId, FieldPath, FieldSet, FieldSetBuilder, RelayFields};
use crate::spelled::{Finder, Letters, is_part};
use crate::store::{Meant, StoredEvent, Whom};

/// Bytes of an address: RFC 5321 allows 64 before the `@` and 255 behind it.
const ADDRESS_BYTES_MAX: usize = 320;
/// Signs that no unquoted local part has.
const SPECIAL: [char; 11] = ['<', '>', '(', ')', '[', ']', ',', ';', ':', '\\', '"'];
/// Bytes of a user id: Vero's own names have at most so many.
const USER_ID_BYTES_MAX: usize = 256;
/// How the text of any field shows an object, whatever is in it.
const OBJECT: &str = "{…}";
/// User ids seen beside one address. It is one, or a few where somebody was imported again; a shared address like `test@…` has hundreds, and then
/// nobody knows who is meant.
pub const USER_IDS_MAX: usize = 16;

/// Where it stands who an event is about, the earlier first.
const PATHS: [&str; 3] = ["user.email", "campaign.sent_to", "user.id"];

static FIELDS: LazyLock<(FieldSet, [FieldId; 3])> = LazyLock::new(|| {
    let mut builder = FieldSetBuilder::default();
    let ids = PATHS.map(|path| builder.add(&FieldPath::parse(path).expect("it is a path: a test reads it")));
    (builder.build(), ids)
});

/// The address of a person. It is shown nowhere.
#[derive(Clone)]
pub struct Address(String);

impl Address {
    /// Reads one; else says why it is none, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (before, behind) = text.rsplit_once('@').unwrap_or_default();
        let is_blank = |c: char| c.is_whitespace() || c.is_control();
        if text.chars().any(is_blank) || !is_local_part(before) || !is_domain(behind) {
            let why = "`email` should be an address like ann@example.com alone: with no blank, no name, no <> or quotes around it, and no mailto:";
            return Err(why.to_owned());
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("`email` has more than the {ADDRESS_BYTES_MAX} bytes that an address has at most"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Finds it in any letters.
    pub(super) fn finder(&self) -> Finder {
        let Self(typed) = self;
        // What is no ASCII is compared as it is.
        let mut texts = vec![typed.clone(), typed.to_lowercase(), typed.to_uppercase()];
        texts.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
        Finder::new(texts, Letters::Any)
    }

    fn is(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(text) || self.0.to_lowercase() == text.to_lowercase()
    }
}

/// Whether it may stand in front of the `@`: quoted, or without the signs that RFC 5321 allows only there. A `:` would be that of `mailto:`.
fn is_local_part(text: &str) -> bool {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    quoted.is_some_and(|text| !text.is_empty()) || !(text.is_empty() || text.contains(SPECIAL))
}

/// Whether it may stand behind the `@`: a name, or a number in brackets. No dot ends it, with which events would have to end it too.
fn is_domain(text: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let number = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match number {
        Some(number) => !number.is_empty() && !number.contains(['[', ']', '@']),
        None => !(text.is_empty() || text.starts_with('.') || text.ends_with('.')) && text.chars().all(is_name),
    }
}

/// Who is meant.
pub struct Person {
    pub email: Option<Address>,
    /// Every event with this `user.id` is meant.
    pub user_id: Option<String>,
    /// What only mentions the address is meant too.
    pub with_mentions: bool,
}

impl Person {
    /// Reads who is meant; else says why nobody is.
    pub fn parse(email: Option<&str>, user_id: Option<&str>, with_mentions: bool) -> Result<Self, String> {
        let email = email.map(Address::parse).transpose()?;
        if user_id.is_some_and(|id| is_none(id) || id.len() > USER_ID_BYTES_MAX) {
            return Err(format!("`user_id` should have 1 to {USER_ID_BYTES_MAX} bytes, not only blanks"));
        }
        if email.is_none() && user_id.is_none() {
            return Err("`email` or `user_id` says who is meant: give one of them, or both".to_owned());
        }
        if email.is_none() && with_mentions {
            return Err("`mentions` are those of an address: give `email` too".to_owned());
        }
        Ok(Self { email, user_id: user_id.map(str::to_owned), with_mentions })
    }

    /// Tells whether a text has the address; none has, where it is not given.
    pub fn names(&self) -> impl Fn(&[u8]) -> bool + use<> {
        let finder = self.email.as_ref().map(Address::finder);
        move |text| finder.as_ref().is_some_and(|finder| !whole_places(finder, text).is_empty())
    }
}

/// User ids that were seen beside an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UserIds {
    pub all: BTreeSet<String>,
    /// Those that were seen in an event whose `user.email` is the address: events of which the address was taken away go by these alone.
    beside_email: BTreeSet<String>,
}

#[cfg(test)]
impl From<BTreeSet<String>> for UserIds {
    fn from(ids: BTreeSet<String>) -> Self {
        Self { all: ids.clone(), beside_email: ids }
    }
}

/// What was seen beside an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// User ids of events with the address, one more than are allowed at most.
    pub user_ids: UserIds,
    /// Events with one of the ids that have another address.
    pub other_addresses: u64,
    /// Events that are meant by one of the ids alone: they have no address.
    pub by_user_id: BTreeSet<EventId>,
    /// Events that are meant since they mention the address.
    pub mentioned: BTreeSet<EventId>,
    /// Events that have no address, and an id that was not known to be one.
    pub unknown: u64,
    /// Events of which nobody can tell any more whom they are about: what says so was taken away.
    pub redacted: u64,
}

/// What is asked of each event in one walk. What is seen in one is known in the next.
pub(super) struct Question {
    person: Arc<Person>,
    /// The ids that the walk before has seen.
    user_ids: UserIds,
    seen: Mutex<Seen>,
}

impl Question {
    pub fn new(person: Arc<Person>, user_ids: impl Into<UserIds>) -> Arc<Self> {
        Arc::new(Self { person, user_ids: user_ids.into(), seen: Mutex::default() })
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same as the store asks it.
    pub fn whom(self: &Arc<Self>) -> Whom {
        let question = self.clone();
        let finder = self.person.email.as_ref().map(Address::finder).map(Arc::new);
        let finds = finder.clone();
        let in_event = move |event: &StoredEvent| {
            let is_mentioned = || finds.as_ref().is_some_and(|finder| !whole_places(finder, &event.body).is_empty());
            match question.is_about(event) {
                true => Meant::Yes,
                false if !is_mentioned() => Meant::No,
                false if question.person.with_mentions => {
                    question.lock().mentioned.insert(event.id);
                    Meant::Yes
                }
                false => Meant::Mentions,
            }
        };
        let found = move |bytes: &[u8]| finder.as_ref().map(|finder| whole_places(finder, bytes)).unwrap_or_default();
        Whom { meant: Arc::new(in_event), found: Arc::new(found) }
    }

    fn is_about(&self, event: &StoredEvent) -> bool {
        let (set, ids) = &*FIELDS;
        // What cannot be read goes nowhere by any rule, and is about nobody.
        let Ok(read) = set.read(&event.body, RelayFields { source: "", received_ms: event.received_ms }) else {
            return false;
        };
        let mut is_blank = false;
        let [emails, sent_to, user_ids] = ids.map(|id| {
            let mut texts = read.fields.texts(set, id);
            texts.retain(|text| {
                let was_taken = event.is_redacted && is_left_of_another(text);
                is_blank |= was_taken;
                !was_taken && !is_none(text)
            });
            texts
        });
        // Whose address it was that is not there any more nobody can tell: not who it was sent to, and by no id that was seen beside that.
        let was_email_taken = event.is_redacted && emails.is_empty();
        let has_email = !emails.is_empty();
        let addresses = if has_email || was_email_taken { emails } else { sent_to };
        let is_untold = if self.person.email.is_some() {
            was_email_taken || (is_blank && addresses.is_empty())
        } else {
            is_blank && user_ids.is_empty()
        };
        let known = if was_email_taken { &self.user_ids.beside_email } else { &self.user_ids.all };
        let is_about = self.is_told_by(event.id, (&addresses, has_email), user_ids, known);
        if is_untold && !is_about {
            self.lock().redacted += 1;
        }
        is_about
    }

    /// Whether addresses, and whether they are those of `user.email`, or user ids say that an event is meant.
    fn is_told_by(
        &self,
        event: EventId,
        (addresses, are_emails): (&[String], bool),
        user_ids: Vec<String>,
        known: &BTreeSet<String>,
    ) -> bool {
        let Person { email, user_id, .. } = &*self.person;
        let is_named = user_id.as_ref().is_some_and(|named| user_ids.contains(named));
        let Some(address) = email else { return is_named };
        let is_hers = addresses.iter().any(|text| address.is(text));
        let is_known = user_ids.iter().any(|id| known.contains(id));
        let mut seen = self.lock();
        if is_hers {
            let room = (USER_IDS_MAX + 1).saturating_sub(seen.user_ids.all.len());
            for id in user_ids.into_iter().take(room) {
                if are_emails {
                    seen.user_ids.beside_email.insert(id.clone());
                }
                seen.user_ids.all.insert(id);
            }
            return true;
        }
        if addresses.is_empty() {
            seen.unknown += u64::from(!is_known && !user_ids.is_empty());
            if is_known && !is_named {
                seen.by_user_id.insert(event);
            }
            return is_named || is_known;
        }
        seen.other_addresses += u64::from(is_known && !is_named);
        is_named
    }
}

/// What says nobody: many events have it.
fn is_none(text: &str) -> bool {
    text.trim().is_empty() || text == OBJECT
}

/// Whether it may be what stands in the place of a value that was taken away: it says nobody, and many have it.
fn is_left_of_another(text: &str) -> bool {
    text == "0" || (!text.is_empty() && text.bytes().all(|byte| byte == b'*'))
}

/// Where an address stands that is not a part of a longer one.
fn whole_places(finder: &Finder, text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = finder.find(text);
    found.retain(|range| !is_part(text, range));
    found
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::NameId;

    fn event(body: &str) -> StoredEvent {
        StoredEvent {
            id: EventId::from_bytes([0; 16]),
            received_ms: 0,
            source: NameId(0),
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            is_redacted: false,
        }
    }

    fn person(email: Option<&str>, user_id: Option<&str>, with_mentions: bool) -> Arc<Person> {
        Arc::new(Person::parse(email, user_id, with_mentions).unwrap_or_else(|why| panic!("{why}")))
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for good in [
            "ann@example.com",
            "\"a@b\"@example.com",
            "änn@exämple.com",
            "a@b",
            "o'ann+x!@x.example",
            "ann@[192.0.2.1]",
            "a{b}@x",
        ] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(ADDRESS_BYTES_MAX));
        for bad in [
            "zoe",
            "@x.example",
            "zoe@",
            " zoe@x.example",
            "zoe@x.example\n",
            "z o@x.example",
            "<zoe@x.example>",
            "mailto:zoe@x.example",
            "'zoe@x.example'",
            "\"zoe@x.example\"",
            "zoe@x.example,bob@x.example",
            "zoe@x.example;",
            "zoe@x.example.",
            "zoe@.example",
            "zoe@[]",
            "\"\"@x.example",
            "zoe%40x.example",
            &long,
        ] {
            let why = Address::parse(bad).err().unwrap_or_else(|| panic!("{bad} is none"));
            assert!(!why.contains(bad), "{why}");
        }
        assert!(Address::parse(&long[12..]).is_ok() && Address::parse("").is_err());
        for (email, user_id, with_mentions) in [
            (None, None, false),
            (None, Some("7"), true),
            (Some("a@b"), Some(""), false),
            (Some("a@b"), Some(" \t"), false),
            (Some("a"), Some("7"), false),
        ] {
            assert!(Person::parse(email, user_id, with_mentions).is_err(), "{email:?} {user_id:?}");
        }
    }

    #[test]
    fn an_address_is_found_in_other_letters() {
        for (typed, text) in
            [("Ann@Example.com", "ANN@EXAMPLE.COM"), ("ÄNN@x.de", "änn@X.de"), ("änn@x.de", "ÄNN@X.DE")]
        {
            let address = Address::parse(typed).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(address.finder().find(text.as_bytes()).len(), 1, "{typed} in {text}");
            assert!(address.is(text), "{typed} is {text}");
        }
    }

    #[test]
    fn an_event_is_about_somebody_by_the_first_address_that_it_has() {
        use Meant::{Mentions, No, Yes};
        let address = Some("ann@example.com");
        let check = |body: &str, expected: Meant, with_id: Meant| {
            let ids = BTreeSet::from(["7".to_owned()]);
            for (ids, expected) in [(BTreeSet::new(), expected), (ids, with_id)] {
                let question = Question::new(person(address, None, false), ids);
                assert_eq!((question.whom().meant)(&event(body)), expected, "{body}");
            }
        };
        check(r#"{"type":"sent","user":{"id":7,"email":"Ann@Example.com"}}"#, Yes, Yes);
        check(r#"{"type":"user_created","id":7,"email":"ann@example.com"}"#, Yes, Yes);
        check(r#"{"type":"sent","user":{"id":7},"campaign":{"sent_to":"ann@example.com"}}"#, Yes, Yes);
        check(r#"{"type":"sent","user":{"id":7,"email":""},"campaign":{"sent_to":"ann@example.com"}}"#, Yes, Yes);
        check(r#"{"type":"sent","user":{"id":7}}"#, No, Yes);
        check(r#"{"type":"sent","user":{"id":"7"}}"#, No, Yes);
        check(r#"{"type":"sent","user":{"id":8}}"#, No, No);
        check(r#"{"type":"sent","user":{"id":7,"email":"other@example.com"}}"#, No, No);
        check(r#"{"type":"sent","user":{"id":8,"email":"joann@example.com"}}"#, No, No);
        check(r#"{"type":"sent","user":{"id":8,"email":" ann@example.com"}}"#, Mentions, Mentions);
        check(
            r#"{"type":"sent","user":{"email":"bob@x.example"},"campaign":{"sent_to":"ann@example.com"}}"#,
            Mentions,
            Mentions,
        );
        check(
            r#"{"type":"clicked","user":{"email":"bob@x.example"},"url":"https://x/?e=ann%40example.com"}"#,
            Mentions,
            Mentions,
        );
        check("not JSON, by ann@example.com", Mentions, Mentions);
        check("{}", No, No);
    }

    #[test]
    fn an_empty_id_beside_an_address_takes_nobody_with_it() {
        let asked = |email: Option<&str>, ids: BTreeSet<String>| Question::new(person(email, Some("7"), false), ids);
        for none in [r#""""#, r#"" ""#, r#""\t""#, "null", "[]", r#"["", null]"#, "{}"] {
            let address = Some("ann@example.com");
            let first = asked(address, BTreeSet::new());
            let hers = format!(r#"{{"type":"sent","user":{{"id":{none},"email":"ann@example.com"}}}}"#);
            assert_eq!((first.whom().meant)(&event(&hers)), Meant::Yes, "{none}");
            let seen = first.seen();
            assert_eq!(seen, Seen::default(), "{none}");
            let second = asked(address, BTreeSet::from([String::new(), " ".to_owned()]));
            for email in ["", r#","email":"""#, r#","email":" ""#, r#","email":null"#] {
                let other = format!(r#"{{"type":"sent","user":{{"id":{none}{email}}}}}"#);
                assert_eq!((second.whom().meant)(&event(&other)), Meant::No, "{other}");
            }
            assert_eq!(second.seen().unknown, 0, "{none}");
        }
        // A blank address is none, so that the id behind it counts.
        let blank = r#"{"type":"sent","user":{"id":8,"email":" "}}"#;
        let known = asked(Some("ann@example.com"), BTreeSet::from(["8".to_owned()]));
        assert_eq!((known.whom().meant)(&event(blank)), Meant::Yes);
    }

    #[test]
    fn what_is_left_of_a_value_that_was_taken_away_is_nobodys() {
        let address = Some("ann@example.com");
        let check = |body: &str, by: Arc<Person>, ids: &[&str], expected: Meant, redacted: u64| {
            let question = Question::new(by, ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>());
            let event = StoredEvent { is_redacted: true, ..event(body) };
            assert_eq!(((question.whom().meant)(&event), question.seen().redacted), (expected, redacted), "{body}");
        };
        let by_address = || person(address, None, false);
        let no_address = r#"{"type":"sent","user":{"id":7,"email":"***************"}}"#;
        check(no_address, by_address(), &[], Meant::No, 1);
        check(no_address, by_address(), &["7"], Meant::Yes, 0);
        check(no_address, by_address(), &["8"], Meant::No, 1);
        check(no_address, person(None, Some("7"), false), &[], Meant::Yes, 0);
        check(no_address, person(None, Some("8"), false), &[], Meant::No, 0);
        // Whom something was sent to says nothing where the address was taken away, in whatever way.
        for user in [r#"{"id":42,"email":"***"}"#, r#"{"id":42,"email":[]}"#, r#"{"id":42}"#, "{}", "null"] {
            let sent = format!(r#"{{"type":"sent","user":{user},"campaign":{{"sent_to":"ann@example.com"}}}}"#);
            check(&sent, by_address(), &[], Meant::Mentions, 1);
            let question = Question::new(by_address(), UserIds::default());
            (question.whom().meant)(&StoredEvent { is_redacted: true, ..event(&sent) });
            assert_eq!(question.seen().user_ids, UserIds::default(), "{user}");
            check(&sent.replace("ann@", "bob@"), by_address(), &[], Meant::No, 1);
        }
        // An id goes for these only where it was seen beside `user.email`.
        let seen_in = |body: &str| {
            let question = Question::new(by_address(), UserIds::default());
            assert_eq!((question.whom().meant)(&event(body)), Meant::Yes, "{body}");
            question.seen().user_ids
        };
        let taken = StoredEvent { is_redacted: true, ..event(no_address) };
        for (body, expected) in [
            (r#"{"type":"sent","user":{"id":7,"email":"ann@example.com"}}"#, Meant::Yes),
            (r#"{"type":"sent","user":{"id":7},"campaign":{"sent_to":"ann@example.com"}}"#, Meant::No),
        ] {
            let question = Question::new(by_address(), seen_in(body));
            assert_eq!((question.whom().meant)(&taken), expected, "{body}");
            assert_eq!((question.whom().meant)(&event(r#"{"type":"sent","user":{"id":7}}"#)), Meant::Yes, "{body}");
        }
        let no_id = r#"{"type":"sent","user":{"id":0  ,"email":"other@example.com"}}"#;
        check(no_id, by_address(), &["0"], Meant::No, 0);
        check(no_id, person(None, Some("0"), false), &[], Meant::No, 1);
        check(&no_id.replace("0  ", "\"**\""), person(None, Some("**"), false), &[], Meant::No, 1);
        check(r#"{"type":"sent","user":{"id":0,"email":"***"}}"#, by_address(), &["0"], Meant::No, 1);
        let hers = r#"{"type":"sent","user":{"id":0 ,"email":"ann@example.com"}}"#;
        check(hers, by_address(), &[], Meant::Yes, 0);
        let question = Question::new(by_address(), BTreeSet::new());
        (question.whom().meant)(&StoredEvent { is_redacted: true, ..event(hers) });
        assert_eq!(question.seen(), Seen::default(), "no id was seen beside her address");
        // As it came, it is hers.
        assert_eq!(
            (Question::new(person(None, Some("0"), false), BTreeSet::new()).whom().meant)(&event(no_id)),
            Meant::Yes
        );
    }

    #[test]
    fn an_id_means_all_its_events_and_mentions_are_meant_where_it_is_said() {
        let meant =
            |person: Arc<Person>, body: &str| (Question::new(person, BTreeSet::new()).whom().meant)(&event(body));
        let other = r#"{"type":"sent","user":{"id":7,"email":"other@example.com"}}"#;
        let mention = r#"{"type":"sent","user":{"id":8,"email":"b@x.example"},"by":"ann@example.com"}"#;
        for by_id in [person(None, Some("7"), false), person(Some("ann@example.com"), Some("7"), false)] {
            assert_eq!(meant(by_id, other), Meant::Yes);
        }
        assert_eq!(meant(person(Some("ann@example.com"), None, true), mention), Meant::Yes);
        assert_eq!(meant(person(Some("ann@example.com"), None, false), mention), Meant::Mentions);
        assert_eq!(meant(person(None, Some("7"), false), mention), Meant::No);
    }

    #[test]
    fn what_is_seen_beside_an_address_is_bounded_and_told() {
        let question = Question::new(person(Some("ann@example.com"), None, false), BTreeSet::from(["1".to_owned()]));
        let Whom { meant, found } = question.whom();
        for id in 0..100 {
            meant(&event(&format!(r#"{{"type":"sent","user":{{"id":{id},"email":"ann@example.com"}}}}"#)));
        }
        for body in [
            r#"{"type":"sent","user":{"id":1,"email":"other@example.com"}}"#,
            r#"{"type":"sent","user":{"id":2,"email":"other@example.com"}}"#,
            r#"{"type":"sent","user":{"id":1}}"#,
            r#"{"type":"sent","user":{"id":2}}"#,
        ] {
            meant(&event(body));
        }
        let Seen { user_ids, other_addresses, unknown, .. } = question.seen();
        assert_eq!((user_ids.all.len(), other_addresses, unknown), (USER_IDS_MAX + 1, 1, 1));
        assert_eq!(found(b"<ann@example.com> joann@example.com ann%40example.com"), [1..16, 36..53]);
    }
}

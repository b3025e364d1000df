//! What a message may quote of a value that holds something from a variable, a file or a credential: nothing of that.
//!
//! A message about the value itself quotes it whole, in part, cut, escaped, in other letters or put in order, and a library's message does so
//! in words of its own. So what came from outside is searched for in every form, and where a piece of it may be left, the sentence is not
//! told at all. A message about something else in the file can quote it only as it is; there, only what is long enough to be a secret is
//! searched for, so that a value `e` leaves no holes in every word.

use std::collections::HashSet;

/// In messages about other places shorter texts are no secrets, and would be found everywhere.
const SECRET_BYTES_MIN: usize = 8;
/// A piece of this length of a value in the message about it is too much.
const PIECE_BYTES: usize = 4;
const HIDDEN: &str = "…";

/// A scalar with values in it.
pub(crate) struct Mixed {
    /// What was put in.
    pub values: Vec<String>,
    /// The text with them in place.
    pub whole: String,
    /// The text as it stands in the file.
    pub raw: String,
}

impl Mixed {
    /// A message about this scalar, fit to be shown; `None` where something of a value may be left in it.
    pub fn mask(&self, message: &str) -> Option<String> {
        let mut forms: Vec<String> =
            self.values.iter().chain([&self.whole]).filter(|text| text.len() >= PIECE_BYTES).flat_map(forms).collect();
        longest_first(&mut forms);
        let masked = forms.iter().fold(message.to_owned(), |text, form| text.replace(form.as_str(), HIDDEN));
        let masked = self.mask_quotes(&masked);
        let lowered = masked.to_lowercase();
        let pieces: HashSet<&[u8]> = lowered.as_bytes().windows(PIECE_BYTES).collect();
        let holds =
            |value: &String| value.to_lowercase().as_bytes().windows(PIECE_BYTES).any(|piece| pieces.contains(piece));
        (!self.values.iter().any(holds)).then_some(masked)
    }

    /// What stands between backquotes is hidden whole if a part of it is, or if it is just what a short value is.
    fn mask_quotes(&self, message: &str) -> String {
        let is_quote = |at: usize| at % 2 == 1;
        let is_value = |quoted: &str| quoted == self.whole || self.values.iter().any(|value| value == quoted);
        let parts = message.split('`').enumerate().map(|(at, part)| {
            let hides = is_quote(at) && (part.contains(HIDDEN) && !self.raw.contains(HIDDEN) || is_value(part));
            if hides { HIDDEN } else { part }
        });
        parts.collect::<Vec<_>>().join("`")
    }

    /// What is said where nothing can be quoted.
    pub fn in_general(&self) -> String {
        let names: Vec<_> = self.raw.split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next()).collect();
        let names: Vec<_> = names.iter().map(|name| format!("${{{name}}}")).collect();
        let of = if names.is_empty() { "a secret".to_owned() } else { names.join(" and ") };
        format!("this is wrong, and what is wrong is not shown: it would show a part of {of}")
    }
}

/// What is percent-encoded in a URL's path: <https://url.spec.whatwg.org/#path-percent-encode-set>.
const IN_PATHS: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// How a text may come back out of a message.
fn forms(text: &String) -> Vec<String> {
    let quoted = serde_json::Value::from(text.as_str()).to_string();
    let debugged = format!("{text:?}");
    let encode = |set| percent_encoding::utf8_percent_encode(text, set).to_string();
    let mut forms = vec![
        text.clone(),
        text.trim().to_owned(),
        quoted[1..quoted.len() - 1].to_owned(),
        debugged[1..debugged.len() - 1].to_owned(),
        encode(percent_encoding::NON_ALPHANUMERIC),
        encode(IN_PATHS),
    ];
    let cased: Vec<_> = forms.iter().flat_map(|form| [form.to_lowercase(), form.to_uppercase()]).collect();
    forms.extend(cased);
    forms.retain(|form| form.len() >= PIECE_BYTES);
    forms
}

fn longest_first(texts: &mut Vec<String>) {
    texts.sort_by(|one, other| (other.len(), other).cmp(&(one.len(), one)));
    texts.dedup();
}

/// What is searched for in messages about other places.
pub(crate) struct Everywhere(Vec<String>);

impl Everywhere {
    /// Of all that came from outside, what may be a secret: long enough, and no name that the file uses itself.
    pub fn of(values: impl IntoIterator<Item = String>, is_name: impl Fn(&str) -> bool) -> Self {
        let secrets = values.into_iter().filter(|value| value.len() >= SECRET_BYTES_MIN && !is_name(value));
        let mut forms: Vec<_> = secrets.flat_map(|value| forms(&value)).collect();
        longest_first(&mut forms);
        Self(forms)
    }

    /// Of secrets that stand in the file: by an alias one may come to stand where any other text may.
    pub fn in_the_file<'s>(secrets: impl IntoIterator<Item = &'s String>) -> Self {
        let is_secret = |text: &&String| text.len() >= SECRET_BYTES_MIN;
        let mut secrets: Vec<_> = secrets.into_iter().filter(is_secret).cloned().collect();
        longest_first(&mut secrets);
        Self(secrets)
    }

    /// A message without it.
    pub fn mask(&self, message: String) -> String {
        self.0.iter().fold(message, |text, form| if text.contains(form) { text.replace(form, HIDDEN) } else { text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, value: &str, message: &str, expected: Option<&str>) {
        let mixed = Mixed { values: vec![value.to_owned()], whole: raw.replace("${X}", value), raw: raw.to_owned() };
        assert_eq!(mixed.mask(message).as_deref(), expected, "{message}");
    }

    #[test]
    fn a_message_about_a_value_holds_nothing_of_it() {
        let secret = "hunter2hunter2";
        check("{{ type | ${X} }}", secret, "there is no filter `hunter2hunter2`", Some("there is no filter `…`"));
        check("a/{${X}}", secret, "`{hunter2hunter2}` is not known", Some("`…` is not known"));
        check("a/{${X}}", secret, "`{HUNTER2HUNTER2}` is not known", Some("`…` is not known"));
        check("${X}", secret, "unexpected hunter2hunt, expected a name", None);
        check("${X}", secret, "unexpected \\x68unter2, expected a name", None);
        check("${X}", "a\"b\\c\nd", r#"got "a\"b\\c\nd" here"#, Some("got \"…\" here"));
        check("${X}", "a b/c d", "`a%20b/c%20d` is no URL", Some("`…` is no URL"));
        check("${X}", "e", "there is no destination named `e`", Some("there is no destination named `…`"));
        check("x${X}", "e", "there is no destination named `xe`", Some("there is no destination named `…`"));
        check("${X}", secret, "this should be from 100ms to 1h", Some("this should be from 100ms to 1h"));
    }

    #[test]
    fn messages_about_other_places_hide_only_what_may_be_a_secret() {
        let values = ["e", "a-long-secret", "a-long-secret-and-more", "production"].map(str::to_owned);
        let everywhere = Everywhere::of(values, |text| text == "production");
        let mask = |text: &str| everywhere.mask(text.to_owned());
        assert_eq!(mask("there is no destination `production`"), "there is no destination `production`");
        assert_eq!(mask("a-long-secret-and-more, a-long-secret, A-LONG-SECRET"), "…, …, …");
    }
}

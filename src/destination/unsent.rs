//! Why nothing is sent for a delivery. The other side was not asked, so it says nothing of the destination.

use super::client::Masks;
use super::{Outcome, Reason};
use crate::tags;
use crate::yaml::raw::{Node, Style, Value};
use crate::yaml::reader::Reader;

/// Why nothing can be sent for a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is nothing to send, and that is right so: the message is empty.
    Skipped(String),
    /// It cannot be made: a value has no place in a URL, or a template fails. The delivery becomes a dead letter.
    Failed {
        why: String,
        /// A template says so, and may quote values of the event: those stay out of the log.
        is_of_template: bool,
        misfit: Option<Misfit>,
    },
}

/// A value of an event that does not fit where it has to stand: what can be told before any such event comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A channel that is none of those that are named.
    Channel(String),
    /// Nothing, or a list or map, in a step of the URL's path: the field, where it is known.
    Path { field: Option<String>, is_nothing: bool },
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Misfit::Channel(chosen) => write!(f, "the channel comes to `{chosen}`, which is none of `channels`"),
            Misfit::Path { field, is_nothing } => {
                match field {
                    Some(field) => write!(f, "`{field}` is ")?,
                    None => f.write_str("a value is ")?,
                }
                let what = if *is_nothing { "missing or empty" } else { "a list or a map" };
                write!(f, "{what}, and stands in the URL's path")
            }
        }
    }
}

impl Unsent {
    /// It cannot be made, for a reason of our own.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Unsent::Failed { why: why.into(), is_of_template: false, misfit: None }
    }

    /// The same without what must not be shown: what does not render may quote a part of its template.
    pub(super) fn masked(self, masks: &Masks) -> Self {
        match self {
            Unsent::Skipped(why) => Unsent::Skipped(masks.apply(why)),
            Unsent::Failed { why, is_of_template, misfit } => {
                let misfit = misfit.map(|misfit| misfit.masked(masks));
                Unsent::Failed { why: masks.apply(why), is_of_template, misfit }
            }
        }
    }
}

impl Misfit {
    fn masked(self, masks: &Masks) -> Self {
        match self {
            Misfit::Channel(chosen) => Misfit::Channel(masks.apply(chosen)),
            Misfit::Path { field, is_nothing } => {
                Misfit::Path { field: field.map(|field| masks.apply(field)), is_nothing }
            }
        }
    }
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unsent::Skipped(why) => write!(f, "skipped: {why}"),
            Unsent::Failed { why, .. } => f.write_str(why),
        }
    }
}

impl From<Misfit> for Unsent {
    fn from(misfit: Misfit) -> Self {
        let mut why = misfit.to_string();
        if matches!(misfit, Misfit::Path { is_nothing: true, .. }) {
            why.push_str(": `| default(…)` says what stands there then");
        }
        // A channel may quote the event, so it is told as a template's trouble is.
        let is_of_template = matches!(misfit, Misfit::Channel(_));
        Unsent::Failed { why, is_of_template, misfit: Some(misfit) }
    }
}

impl From<String> for Unsent {
    /// What rendering says.
    fn from(why: String) -> Self {
        Unsent::Failed { why, is_of_template: true, misfit: None }
    }
}

impl From<Unsent> for Outcome {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Skipped(why) => Outcome::skipped(why),
            Unsent::Failed { why, is_of_template: false, .. } => Outcome::local(why),
            Unsent::Failed { why, is_of_template: true, .. } => Outcome::Reject { reason: Reason::unrendered(why) },
        }
    }
}

/// Tells of a message all of whose forms are nothing but blanks and comments, at the first: it is never sent.
pub(super) fn advise_of_an_empty_message(reader: &Reader, forms: &[&Node], help: &str) {
    if let Some(first) = forms.first().filter(|_| forms.iter().all(|node| is_blank(node))) {
        let message = "this message is always empty, and an empty message is not sent";
        reader.warning(first.id, message, help.to_owned());
    }
}

/// Tells of a part of a digest's message that is nothing but blanks and comments, or an empty list or map: the digest goes out as if it were not there.
pub(super) fn advise_of_an_empty_part(reader: &Reader, key: &str, node: &Node) {
    if says_nothing(node) {
        let message = format!("this `{key}` is always empty, so a digest goes out as if it were not there");
        reader.warning(node.id, message, format!("take `{key}` out, or write what it says of several events"));
    }
}

/// Whether it is nothing but blanks and comments, or an empty list or map.
pub(super) fn says_nothing(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Scalar(_) => is_blank(node),
    }
}

fn is_blank(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.style == Style::String && tags::is_blank(&scalar.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_says_of_an_event_stays_out_of_the_log() {
        let said = "`bob@example.com` is no moment: a ` within";
        let outcome = Outcome::from(Unsent::from(said.to_owned()));
        let reason = outcome.reason().expect("a reason");
        assert_eq!((reason.text.as_str(), reason.is_local), (said, true));
        assert!(!reason.brief.contains("bob") && !reason.brief.contains("within"), "{}", reason.brief);
        let outcome = Outcome::from(Unsent::failed("`user.id` is missing"));
        assert_eq!(outcome.reason().expect("a reason").brief, "`user.id` is missing");
    }
}

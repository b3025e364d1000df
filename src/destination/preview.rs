//! What an attempt made now would send, for people to look at. Made of the very request, message or line of an attempt.

use super::client::{Call, Masks};

/// What an attempt made now would send, whatever the kind. Nothing is sent, and nothing is written.
pub struct Preview {
    /// How it goes out, in a line; fit to be shown.
    pub title: String,
    /// The same for machines: where it goes, by name.
    pub facts: Vec<(&'static str, String)>,
    /// What goes with the content, by name, `…` in the place of secrets; `None` where nothing can.
    pub headers: Option<Vec<(String, String)>>,
    /// What the content is called: a body, a line.
    pub content_name: &'static str,
    pub(super) content: String,
    /// The parts of the content by name, where it has any; they may say more than it does.
    pub(super) parts: Vec<(&'static str, String)>,
    /// What of it must not be shown.
    pub(super) masks: Masks,
}

impl Preview {
    /// A request. `url` is the one to be shown.
    pub(super) fn request(call: &Call, url: String, masks: Masks) -> Self {
        let method = call.method.to_string();
        let headers = call.shown_headers().into_iter();
        Self {
            title: format!("{method} {url}"),
            facts: vec![("method", method), ("url", url)],
            headers: Some(headers.map(|(name, value)| (masks.apply_to_name(name), masks.apply(value))).collect()),
            content_name: "body",
            content: String::from_utf8_lossy(&call.body).into_owned(),
            parts: Vec::new(),
            masks,
        }
    }

    /// A line of a file, its line break left out.
    pub(crate) fn line(path: String, line: &[u8]) -> Self {
        Self {
            title: format!("a line of {path}"),
            facts: vec![("path", path)],
            headers: None,
            content_name: "line",
            content: String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned(),
            parts: Vec::new(),
            masks: Masks::default(),
        }
    }

    /// The same, with what else must not be shown.
    pub(super) fn with_masks(self, masks: Masks) -> Self {
        Self { masks, ..self }
    }

    /// One of its facts.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The content, exactly. It may hold a secret: it is to be compared, not shown.
    pub fn exact_content(&self) -> &str {
        &self.content
    }

    /// The same, fit to be shown.
    pub fn shown_content(&self) -> String {
        self.masks.apply(self.content.clone())
    }

    /// A part of the content, exactly. It is not to be shown either.
    pub fn exact_part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    /// Whether its content has parts.
    pub fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// All parts of the content, fit to be shown; where it has none, the content by its own name.
    pub fn shown_parts(&self) -> Vec<(&'static str, String)> {
        if self.parts.is_empty() {
            return vec![(self.content_name, self.shown_content())];
        }
        self.parts.iter().map(|(name, text)| (*name, self.masks.apply(text.clone()))).collect()
    }
}

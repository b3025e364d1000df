//! What an attempt made now would send, for people to look at. Made of the very request, message or line of an attempt.

use std::path::PathBuf;

use super::client::{Call, Masks};

/// What an attempt made now would send. Nothing is sent, and nothing is written.
pub struct Preview {
    /// How it goes out; fit to be shown.
    pub form: Form,
    content: String,
    masks: Masks,
}

/// How something goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As an HTTP request.
    Request {
        /// Its method.
        method: String,
        /// Its URL, without what may be a password.
        url: String,
        /// Its headers, by name, `…` in the place of secrets.
        headers: Vec<(String, String)>,
    },
    /// As a line of a file.
    Line {
        /// The file's path.
        path: PathBuf,
    },
}

impl Preview {
    /// A request. `url` is the one to be shown.
    pub(super) fn request(call: &Call, url: String, masks: Masks) -> Self {
        let form = Form::Request { method: call.method.to_string(), url, headers: call.shown_headers() };
        Self { form, content: String::from_utf8_lossy(&call.body).into_owned(), masks }
    }

    /// A line, its line break left out.
    pub(crate) fn line(path: PathBuf, line: &[u8]) -> Self {
        let content = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
        Self { form: Form::Line { path }, content, masks: Masks::default() }
    }

    /// The same, with what else must not be shown.
    pub(super) fn with_masks(self, masks: Masks) -> Self {
        Self { masks, ..self }
    }

    /// The body of the request or the text of the line, exactly. It may hold a secret: it is to be compared, not shown.
    pub fn exact_content(&self) -> &str {
        &self.content
    }

    /// The same, fit to be shown.
    pub fn shown_content(&self) -> String {
        self.masks.apply(self.content.clone())
    }
}

//! What must never be shown, and the names by which it is known.

/// A text that is never shown: no `Display`, no `Serialize`, and `Debug` prints no more than that it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text itself, to use it where it belongs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether a name of a header or of a URL's parameter says that its value is a secret.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    ["auth", "key", "token", "secret", "password", "cookie", "signature"].iter().any(|part| name.contains(part))
}

//! Short digests of texts: what is the same has the same, and nothing can be read back out of them.

use ring::digest::{Context, SHA256};

/// 16 bytes of a SHA-256 over some texts. Nobody finds other texts with the same, and 16 bytes are what a map of a million can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Print([u8; 16]);

impl Print {
    /// A number below `of`, spread evenly.
    pub(crate) fn share(self, of: usize) -> usize {
        usize::from(u16::from_le_bytes([self.0[0], self.0[1]])) % of
    }

    /// Its bytes.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// A print that is being made. Each text goes in with its length, so that `ab` and `c` are not `a` and `bc`.
pub struct Printing(Context);

impl Printing {
    /// Begins one of this sort of things: those of another sort never have the same.
    pub fn of(sort: &str) -> Self {
        Self(Context::new(&SHA256)).text(sort)
    }

    /// Adds a text, or any bytes.
    pub fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        let bytes = text.as_ref();
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds a text that may be missing, which is something else than an empty one.
    pub fn perhaps(mut self, text: Option<impl AsRef<[u8]>>) -> Self {
        self.0.update(&[u8::from(text.is_some())]);
        match text {
            Some(text) => self.text(text),
            None => self,
        }
    }

    /// Adds texts, and how many they are.
    pub fn texts(mut self, texts: &[String]) -> Self {
        self.0.update(&(texts.len() as u64).to_le_bytes());
        texts.iter().fold(self, |printing, text| printing.text(text))
    }

    pub fn finish(self) -> Print {
        let digest = self.0.finish();
        let (first, _) = digest.as_ref().split_first_chunk().expect("a digest has 32 bytes");
        Print(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_otherwise_is_something_else() {
        let of = |texts: &[&str]| texts.iter().fold(Printing::of("x"), Printing::text).finish();
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
        assert_ne!(Printing::of("x").finish(), Printing::of("y").finish());
        assert_ne!(Printing::of("x").perhaps(Some("")).finish(), Printing::of("x").perhaps(None::<&str>).finish());
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let both = |one: &[&str], other: &[&str]| Printing::of("x").texts(&texts(one)).texts(&texts(other)).finish();
        assert_ne!(both(&["a"], &[]), both(&[], &["a"]));
    }
}

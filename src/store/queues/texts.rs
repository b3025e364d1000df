//! The texts that are kept with deliveries: why something is so. They may quote an answer.

/// The longest reason or name that is kept, in bytes.
pub const TEXT_MAX: usize = 1024;

/// What becomes of a text, if it changes: another one of as many bytes. It is told whose delivery the text is about, by its event's number, where
/// it is one's.
pub type Change<'c> = &'c dyn Fn(Option<u64>, &str) -> Option<String>;

/// A text as it will be read again.
pub fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}

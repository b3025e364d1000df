//! Texts that are too long.

/// Cuts a text to a number of characters.
pub fn cut(text: &str, characters_max: usize) -> &str {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

//! Finds what nobody sees in a text: controls, line ends, marks that turn the direction, signs without a width. Such a sign forges lines, speaks to
//! a terminal, or makes one name look like another.
//!
//! What counts is what Unicode says of a sign, so one that comes to Unicode is found when the tables are new: the general categories Cc, Cf, Zl and
//! Zp, and what is `Default_Ignorable_Code_Point` (fillers of Hangul, variation selectors, tags). Two things stay: numerals' frames in Arabic
//! and Syriac, which are Cf and drawn (`Prepended_Concatenation_Mark`), and what a script or a picture is written with: a joiner between letters of a script
//! that has a use for it, and the selectors and joiners within one picture. A flag that is spelled by tags is shown as a black flag, since tags can spell anything.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// The scripts in which a joiner says how letters are drawn. In others it would only make one name look like another.
const JOINED: [&str; 18] = [
    "Arabic",
    "Syriac",
    "Nko",
    "Mandaic",
    "Devanagari",
    "Bengali",
    "Gurmukhi",
    "Gujarati",
    "Oriya",
    "Tamil",
    "Telugu",
    "Kannada",
    "Malayalam",
    "Sinhala",
    "Tibetan",
    "Myanmar",
    "Khmer",
    "Mongolian",
];

/// A sign that nobody sees, behind what is kept although it holds one: what comes first in the pattern is tried first. What is kept has two
/// signs or more, which tells the one from the other without the price of a group.
static SIGNS: LazyLock<Regex> = LazyLock::new(|| {
    let picture = r"\p{Extended_Pictographic}\p{Emoji_Modifier}?";
    let selector = r"[\x{FE0E}\x{FE0F}]";
    let scripts: String = JOINED.iter().map(|script| format!(r"\p{{{script}}}")).collect();
    let letter = format!(r"[[\p{{Lo}}\p{{M}}]&&[{scripts}]--\p{{Default_Ignorable_Code_Point}}]");
    let signs = [
        format!(r"(?:{picture}{selector}?\x{{200D}})+{picture}{selector}?"),
        format!("{picture}{selector}"),
        r"[0-9\#*]\x{FE0F}\x{20E3}".to_owned(),
        format!(r"{letter}+(?:\p{{Join_Control}}{letter}+)+"),
        r"[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]--\p{Prepended_Concatenation_Mark}]".to_owned(),
    ];
    Regex::new(&signs.join("|")).expect("the pattern is a constant")
});

/// A text in which each sign that nobody sees is written by `write`.
pub(crate) fn written(text: &str, write: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    let mut done = 0;
    for found in SIGNS.find_iter(text) {
        let mut signs = found.as_str().chars();
        if let (Some(unseen), None) = (signs.next(), signs.next()) {
            out.push_str(&text[done..found.start()]);
            write(unseen, &mut out);
            done = found.end();
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// A sign as JSON can write it, which means the same: `\u001b`, and a pair of them outside the Basic Multilingual Plane.
pub(crate) fn as_json(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(written(text, |c, out| out.push_str(&format!("‹{:x}›", u32::from(c)))), expected);
    }

    #[track_caller]
    fn stays(text: &str) {
        check(text, text);
    }

    #[test]
    fn what_nobody_sees_is_found_by_what_unicode_says_of_it() {
        check("a\x1b[31m\r\n\u{9b}", "a‹1b›[31m‹d›‹a›‹9b›");
        check("a\u{ad}b\u{61c}c\u{180e}d", "a‹ad›b‹61c›c‹180e›d");
        check("\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}", "‹200b›‹200c›‹200d›‹200e›‹200f›");
        check("\u{2028}\u{202a}\u{202e}\u{2060}\u{2064}\u{2066}\u{206f}", "‹2028›‹202a›‹202e›‹2060›‹2064›‹2066›‹206f›");
        check("\u{feff}\u{fff9}\u{e0001}\u{e0041}\u{e01ef}\u{1d173}", "‹feff›‹fff9›‹e0001›‹e0041›‹e01ef›‹1d173›");
        // No category says it of these, only that they are to be ignored.
        check(
            "\u{34f}\u{115f}\u{1160}\u{17b4}\u{180b}\u{3164}\u{ffa0}\u{fe0f}\u{2065}",
            "‹34f›‹115f›‹1160›‹17b4›‹180b›‹3164›‹ffa0›‹fe0f›‹2065›",
        );
    }

    #[test]
    fn what_is_seen_stays() {
        for text in
            ["plain", "Grüße, e\u{301}", "東京 한국", "a\u{a0}b\u{2009}c\u{3000}d", "\u{600}١٢", "€ № ½ \u{e000}"]
        {
            stays(text);
        }
    }

    #[test]
    fn what_a_picture_is_written_with_stays_and_nothing_else_between_pictures() {
        for text in ["👩\u{200d}🚀", "❤\u{fe0f}", "👨🏽\u{200d}👩🏽\u{200d}👧", "🏴\u{200d}☠\u{fe0f}", "1\u{fe0f}\u{20e3}"]
        {
            stays(text);
        }
        check("👩\u{200d}", "👩‹200d›");
        check("👩\u{200d}a", "👩‹200d›a");
        check("a\u{200d}🚀", "a‹200d›🚀");
        check("👩\u{200d}\u{200d}🚀", "👩‹200d›‹200d›🚀");
        check("❤\u{fe0f}\u{fe0f} a\u{fe0f} 1\u{fe0f}", "❤\u{fe0f}‹fe0f› a‹fe0f› 1‹fe0f›");
        check("🏴\u{e0067}\u{e007f}", "🏴‹e0067›‹e007f›");
    }

    #[test]
    fn a_joiner_stays_between_letters_of_a_script_that_has_a_use_for_it() {
        for text in ["می\u{200c}خواهم", "क्\u{200d}ष", "शु\u{200c}भ\u{200d}क"] {
            stays(text);
        }
        check("pay\u{200c}pal é\u{200d}é", "pay‹200c›pal é‹200d›é");
        check("東\u{200d}京 e\u{301}\u{200c}\u{301}", "東‹200d›京 e\u{301}‹200c›\u{301}");
        check("می\u{200c} \u{200d}ک \u{3164}\u{200c}\u{3164}", "می‹200c› ‹200d›ک ‹3164›‹200c›‹3164›");
    }
}

//! How much is logged, by the words of `VERO_RELAY_LOG`, and in which form, by those of `VERO_RELAY_LOG_FORMAT`.

use tracing_subscriber::EnvFilter;

/// The words that say how much.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];
/// What is logged where nothing is said, or nothing that is understood.
const DEFAULT: &str = "info";

/// The filter for a value, and what to tell of a value that is none.
pub(super) fn filter(value: Option<&str>) -> (EnvFilter, Option<String>) {
    match chosen(value.unwrap_or_default()) {
        Ok(directives) => match EnvFilter::try_new(&directives) {
            Ok(filter) => (filter, None),
            Err(_) => (EnvFilter::new(DEFAULT), Some(trouble(&directives))),
        },
        Err(trouble) => (EnvFilter::new(DEFAULT), Some(trouble)),
    }
}

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// The form for a value, and what to tell of a value that is none.
pub(super) fn form(value: Option<&str>) -> (Form, Option<String>) {
    let value = value.unwrap_or_default();
    match value.trim().to_lowercase().as_str() {
        "json" => (Form::Json, None),
        "" | "text" => (Form::Text, None),
        _ => {
            let help = "write text or json. text is used";
            (Form::Text, Some(format!("VERO_RELAY_LOG_FORMAT is `{value}`, which is no format: {help}")))
        }
    }
}

/// The directives that a value stands for: one of the levels, or a list like `info,vero_relay::deliver=debug`. `tracing` takes any
/// other word for a part of the program, of which all is logged, and of everything else nothing.
fn chosen(value: &str) -> Result<String, String> {
    let is_level = |word: &str| LEVELS.contains(&word) || matches!(word, "trace" | "off");
    let value = value.trim();
    let lowered = value.to_lowercase();
    if lowered.is_empty() {
        return Ok(DEFAULT.to_owned());
    }
    let mut parts = lowered.split(',').map(str::trim);
    if parts.all(|part| part.contains('=') || is_level(part)) {
        return Ok(if value.contains('=') { value.to_owned() } else { lowered });
    }
    Err(trouble(value))
}

fn trouble(value: &str) -> String {
    format!(
        "VERO_RELAY_LOG is `{value}`, which is no level: write {}, or a list like info,vero_relay::deliver=debug. {DEFAULT} is used",
        LEVELS.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<&str>) {
        let (filter, trouble) = filter(Some(value));
        assert_eq!(filter.to_string(), expected.unwrap_or("info"), "{value}");
        assert_eq!(trouble.is_none(), expected.is_some(), "{value}: {trouble:?}");
    }

    #[test]
    fn a_format_is_taken_and_any_other_word_is_told() {
        let forms =
            [(None, Form::Text), (Some(""), Form::Text), (Some("text"), Form::Text), (Some(" JSON "), Form::Json)];
        for (value, expected) in forms {
            assert_eq!(form(value), (expected, None), "{value:?}");
        }
        let (used, told) = form(Some("xml"));
        assert_eq!(used, Form::Text);
        assert!(told.is_some_and(|told| told.contains("is `xml`, which is no format: write text or json")));
    }

    #[test]
    fn a_level_or_a_list_is_taken_and_any_other_word_is_told() {
        for level in ["error", "warn", "info", "debug", "trace", "off"] {
            check(level, Some(level));
            check(&format!(" {} ", level.to_uppercase()), Some(level));
        }
        check("", Some("info"));
        check("  ", Some("info"));
        check("vero_relay::deliver=debug,info", Some("vero_relay::deliver=debug,info"));
        for odd in ["debg", "warning", "all", "1", "true", "info,debg", "vero_relay", "=", "vero_relay=debg"] {
            check(odd, None);
        }
        assert_eq!(filter(None).0.to_string(), "info");
        assert!(filter(Some("warning")).1.is_some_and(|told| told.contains("write error, warn, info, debug")));
    }
}

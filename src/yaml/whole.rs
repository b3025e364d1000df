//! The value of a line as it was meant as a whole: in quotes, where its own signs end it too early.

/// A value in quotes: double ones, unless it holds some, or a backslash.
pub(crate) fn quote(value: &str) -> String {
    if value.contains(['"', '\\']) { format!("'{}'", value.replace('\'', "''")) } else { format!("\"{value}\"") }
}

/// A value without the comment behind it. `{# … #}` is no comment of YAML's.
pub(crate) fn uncommented(value: &str) -> &str {
    value.split(" # ").next().unwrap_or_default().trim_end()
}

/// Whether a text holds a template's value or statement.
pub(crate) fn holds_tags(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag))
}

/// `"say "hi""`: a value whose quotes hold more of their kind, with `at` the byte of the one that ends it. Nothing, where no form is
/// certain.
pub(crate) fn requoted(value: &str, at: usize) -> Option<String> {
    let value = uncommented(value);
    let sign = value.chars().next().filter(|sign| matches!(sign, '"' | '\''))?;
    let before = value.get(1..at)?;
    let behind = value.get(at + 1..)?;
    let is_balanced = |open: &str, close: &str| before.matches(open).count() == before.matches(close).count();
    let is_complete = is_balanced("{{", "}}") && is_balanced("{%", "%}");
    // `"{{ a }}" bounced`: the quotes end before the text does.
    if is_complete && behind.starts_with(' ') {
        return Some(quote(&value.replace(sign, ""))).filter(|_| !value.contains('\\'));
    }
    let inner = value.get(1..)?.strip_suffix(sign)?;
    let inner = if sign == '"' { inner.replace("\\\"", "\"") } else { inner.replace("''", "'") };
    match sign {
        '"' if inner.contains('\\') => None,
        '"' => Some(format!("'{}'", inner.replace('\'', "''"))),
        _ => Some(quote(&inner)),
    }
}

/// `{ glob: "Spring* }`: a quote that is not closed, closed before the brackets that were opened before it.
pub(crate) fn closed_quote(before: &str, behind: &str, quote: char) -> String {
    let count = |signs: [char; 2]| before.matches(signs).count();
    let mut open = count(['{', '[']).saturating_sub(count(['}', ']']));
    let mut text = behind.trim_end();
    while open > 0
        && let Some(inner) = text.strip_suffix(['}', ']'])
    {
        text = inner.trim_end();
        open -= 1;
    }
    format!("{text}{quote}{}", &behind[text.len()..])
}

/// The key that begins behind a closed bracket: `{ type: bounced } to: [alerts]`.
pub(crate) fn second_key(behind: &str) -> Option<&str> {
    let (key, rest) = behind.split_once(':')?;
    let is_name = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    (is_name && (rest.is_empty() || rest.starts_with(' '))).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_around_the_whole_text() {
        for (value, at, form) in [
            ("\"say \"hi\"\"", 5, Some("'say \"hi\"'")),
            ("\"{{ a }}\" bounced", 8, Some("\"{{ a }} bounced\"")),
            ("\"{{ a }}\" and \"{{ b }}\"", 8, Some("\"{{ a }} and {{ b }}\"")),
            ("\"{{ a | replace(\" \", '') }}\"", 16, Some("'{{ a | replace(\" \", '''') }}'")),
            ("'it's \"so\"' # c", 3, Some("'it''s \"so\"'")),
            ("'it's'", 3, Some("\"it's\"")),
            ("\"a\\n \"b\"\"", 5, None),
            ("a \"b\" c\"", 4, None),
        ] {
            assert_eq!(requoted(value, at).as_deref(), form, "{value}");
        }
    }

    #[test]
    fn a_quote_is_closed_before_the_brackets_around_it() {
        assert_eq!(closed_quote("{ glob: ", "\"Spring* }", '"'), "\"Spring*\" }");
        assert_eq!(closed_quote("{ a: [", "\"b] }", '"'), "\"b\"] }");
        assert_eq!(closed_quote("a: ", "\"{{ b }}", '"'), "\"{{ b }}\"");
    }
}

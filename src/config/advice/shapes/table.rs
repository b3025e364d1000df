//! The shapes themselves: each says what a text looks like, and the form that was probably meant.

use super::spoken::several_globs;
use super::{Meant, Text, meant, quoted, single_quoted, yaml};
use crate::event::{Written, vero};
use crate::yaml::words;

/// `“Spring”`, `"'Spring'"`, `«Spring»`: quotes that YAML does not take for quotes.
pub(super) fn quotes(of: &Text<'_>) -> Option<Meant> {
    const PAIRS: [(char, &[char]); 9] = [
        ('“', &['”', '“', '"', '„']),
        ('”', &['”', '"', '“']),
        ('„', &['“', '”', '"']),
        ('‘', &['’', '‘', '\'']),
        ('’', &['’', '\'']),
        ('«', &['»', '«']),
        ('"', &['"', '”', '“']),
        ('\'', &['\'', '’']),
        ('`', &['`', '´', '\'']),
    ];
    let text = of.text.trim();
    let first = text.chars().next()?;
    let last = text.chars().next_back()?;
    let inner = text.get(first.len_utf8()..text.len().checked_sub(last.len_utf8())?)?;
    let is_pair = PAIRS.iter().any(|(open, close)| *open == first && close.contains(&last));
    if !is_pair || inner.is_empty() {
        return None;
    }
    meant(format!("the quotes are a part of the text: `{text}`"), quoted(inner))
}

/// `"\bSpring\b"`: within "…" YAML reads the backslash itself.
pub(super) fn escapes(of: &Text<'_>) -> Option<Meant> {
    if !of.text.contains('\u{8}') {
        return None;
    }
    let pattern = single_quoted(&of.text.replace('\u{8}', "\\b"));
    meant("`\\b` within \"…\" is a backspace to YAML", format!("{{ regex: {pattern} }}"))
}

/// Characters that nobody can see, and odd blanks at an end.
pub(super) fn invisible(of: &Text<'_>) -> Option<Meant> {
    let is_blank = |c: char| c.is_whitespace() || words::is_blank(c);
    let clean: String = of.text.trim_matches(is_blank).chars().filter(|c| !is_hidden(*c)).collect();
    let end = of.text.trim_matches(|c: char| c.is_ascii_whitespace());
    let is_odd_at_an_end = end.starts_with(words::is_blank) || end.ends_with(words::is_blank);
    let odd = of.text.chars().find(|c| is_hidden(*c) || (is_odd_at_an_end && words::is_blank(*c)))?;
    let name = words::odd_character(odd).unwrap_or("an odd character");
    (!clean.is_empty())
        .then(|| Meant { why: format!("the text holds U+{:04X}, {name}", u32::from(odd)), form: yaml(&clean) })
}

/// Spaces at an end of what is compared as a whole, and the line break at the end of a block.
pub(super) fn blanks(of: &Text<'_>) -> Option<Meant> {
    let trimmed = of.text.trim();
    let why = match of.text.trim_end_matches('\n') {
        _ if trimmed.is_empty() || trimmed.contains('\n') || trimmed == of.text => return None,
        line if line == trimmed => "the text ends with a line break, as a block of text does",
        _ => "the text begins or ends with a space",
    };
    meant(why, yaml(trimmed))
}

fn is_hidden(c: char) -> bool {
    words::odd_character(c).is_some_and(|name| name.contains("invisible"))
}

/// `{{ campaign.name }}`: rules render nothing.
pub(super) fn template(of: &Text<'_>) -> Option<Meant> {
    let inner = of.text.split_once("{{").and_then(|(_, rest)| rest.split_once("}}")).map(|(inner, _)| inner.trim())?;
    let variable = inner.strip_prefix("env.").unwrap_or(inner);
    let is_variable =
        !variable.is_empty() && variable.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let form = if is_variable { format!("\"${{{variable}}}\"") } else { "a text or a pattern".to_owned() };
    meant("a match holds no templates: the braces are a part of the text", form)
}

/// `$NAME`, `%NAME%`, `$(NAME)`.
pub(super) fn variable(of: &Text<'_>) -> Option<Meant> {
    let name = words::variable_name(of.text)?;
    meant(format!("`{}` is no variable here: the sign is a part of the text", of.text), format!("\"${{{name}}}\""))
}

/// `/Spring.*/i`.
pub(super) fn slashes(of: &Text<'_>) -> Option<Meant> {
    let (inner, flags) = of.text.strip_prefix('/')?.rsplit_once('/')?;
    let are_flags = flags.chars().all(|c| "gimsuxy".contains(c)) && flags.len() <= 5;
    let has_signs = inner.contains(['*', '^', '$', '\\', '+', '|', '(', '[']) || !flags.is_empty();
    // `/view/` may be looked for in an address, and a path may be compared.
    let holds_paths = !vero::FIELDS.contains(&of.field) || matches!(of.field, "campaign.permalink" | "user_agent");
    let may_be_path = of.operator.is_some_and(|operator| operator != "regex") || holds_paths || inner.contains('/');
    if inner.is_empty() || !are_flags || (!has_signs && may_be_path) {
        return None;
    }
    let case = if flags.contains('i') { ", ignore_case: true" } else { "" };
    let inner = inner.replace("\\/", "/");
    meant("the slashes are a part of the pattern", format!("{{ regex: {}{case} }}", single_quoted(&inner)))
}

/// `>5`, `!= Spring`, `not: soft`, `1-5`.
pub(super) fn comparison(of: &Text<'_>) -> Option<Meant> {
    const SIGNS: [(&str, &str); 18] = [
        ("!==", "not"),
        ("===", ""),
        ("!=", "not"),
        ("<>", "not"),
        ("==", ""),
        ("=~", "regex"),
        ("~=", "regex"),
        ("!~", "not regex"),
        (">=", "gte"),
        ("=>", "gte"),
        ("≥", "gte"),
        ("<=", "lte"),
        ("=<", "lte"),
        ("≤", "lte"),
        ("≠", "not"),
        (">", "gt"),
        ("<", "lt"),
        ("=", ""),
    ];
    let text = of.text.trim();
    if let Some(rest) =
        text.strip_prefix('!').filter(|rest| rest.starts_with(char::is_alphanumeric) && !rest.contains(' '))
    {
        return meant(
            format!("`{text}` is compared as it is: `!` does not negate"),
            format!("{{ not: {} }}", yaml(rest)),
        );
    }
    if is_known(of.field)
        && let Some(rest) = ["not ", "not: ", "is not ", "NOT "].iter().find_map(|start| text.strip_prefix(start))
    {
        return meant(format!("`{text}` is compared as it is"), format!("{{ not: {} }}", yaml(rest.trim())));
    }
    if let Some(form) = range(of.field, text) {
        return meant(format!("`{text}` is compared as it is, and no range"), form);
    }
    let (sign, operator) = SIGNS.iter().find(|(sign, _)| text.starts_with(sign))?;
    let rest = text[sign.len()..].trim();
    let unquoted = rest.trim_matches(['"', '\'']);
    let is_number = is_numeric(unquoted);
    let form = match *operator {
        _ if rest.is_empty() => return None,
        "" => yaml(unquoted),
        "not" => format!("{{ not: {} }}", yaml(unquoted)),
        "regex" => format!("{{ regex: {} }}", single_quoted(unquoted)),
        "not regex" => format!("{{ not: {{ regex: {} }} }}", single_quoted(unquoted)),
        // `<none>` and `> Sale` may be names; numbers behind a sign are none.
        name if is_number => format!("{{ {name}: {unquoted} }}"),
        name => compared_with_time(name, unquoted)?,
    };
    meant(format!("`{text}` is compared as it is: `{sign}` is a part of the text"), form)
}

fn is_numeric(text: &str) -> bool {
    !text.is_empty()
        && text.parse::<f64>().is_ok()
        && text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
}

/// `500-599`, `500..599` and `500 to 599` behind a field that holds a number.
fn range(field: &str, text: &str) -> Option<String> {
    let is_dotted = field.ends_with(".id") && text.contains("..");
    if field != "bounce_code" && !field.ends_with("_at") && !is_dotted {
        return None;
    }
    let text = text.trim_matches(['[', ']', '(', ')']);
    let (low, high) = ["...", "..", " to ", " and ", "-", "–", ","].iter().find_map(|sign| text.split_once(sign))?;
    let low = low.trim().trim_start_matches("between ").trim();
    (is_numeric(low) && is_numeric(high.trim()) && text.contains(['.', '-', 't', '–', 'b']))
        .then(|| format!("{{ gte: {low}, lte: {} }}", high.trim()))
}

/// `^Spring`, `.*`, `\d+`, `(a|b)` outside of a `regex`.
pub(super) fn regex_signs(of: &Text<'_>) -> Option<Meant> {
    const SIGNS: [&str; 9] = [".*", ".+", "\\d", "\\w", "\\s", "\\b", "\\.", "(?", "[^"];
    let text = of.text;
    let sign = SIGNS.iter().find(|sign| text.contains(**sign)).copied();
    let start = text.strip_prefix('^').filter(|rest| !rest.is_empty()).map(|_| "^");
    let end = (text.len() > 1 && text.ends_with('$') && !text.ends_with(" $")).then_some("$");
    // A glob may hold `[^…]`-like classes and a dot before a star by chance: `*.example.*`.
    let sign = sign.filter(|sign| *sign != ".*" || !text.starts_with('*'));
    // A class of a glob negates by `^` as well.
    let sign = sign.filter(|sign| *sign != "[^" || of.operator != Some("glob")).or(start).or(end)?;
    if of.operator == Some("glob") {
        // Where all else is a glob's, the glob was meant.
        let glob = text.trim_start_matches('^').trim_end_matches('$');
        if !SIGNS.iter().any(|sign| glob.contains(sign)) {
            return meant(format!("`{sign}` is a part of the text here"), format!("{{ glob: {} }}", quoted(glob)));
        }
    }
    let start = if of.operator == Some("starts_with") && !text.starts_with('^') { "^" } else { "" };
    let end = if of.operator == Some("ends_with") && !text.ends_with('$') { "$" } else { "" };
    let pattern = single_quoted(&format!("{start}{text}{end}"));
    meant(format!("`{sign}` is a part of the text here, and no regular expression"), format!("{{ regex: {pattern} }}"))
}

/// SQL's `%Spring%`.
pub(super) fn sql_signs(of: &Text<'_>) -> Option<Meant> {
    let text = of.text;
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    let begins = text.strip_prefix('%').is_some_and(|rest| is_letter(rest.chars().next()));
    let ends = text.strip_suffix('%').is_some_and(|rest| is_letter(rest.chars().next_back()));
    if !begins && !ends {
        return None;
    }
    let start = if text.starts_with('%') { "*" } else { "" };
    let end = if text.ends_with('%') { "*" } else { "" };
    let glob = format!("{start}{}{end}", text.trim_matches('%'));
    meant("`%` stands for itself", format!("{{ glob: {} }}", quoted(&glob)))
}

/// `5xx`.
pub(super) fn digit_signs(of: &Text<'_>) -> Option<Meant> {
    let digits = of.text.trim_end_matches(['x', 'X']);
    let signs = of.text.len() - digits.len();
    let is_code = of.text.len() == 3
        && digits.starts_with(['1', '2', '3', '4', '5'])
        && (signs == 2 || of.field == "bounce_code");
    let is_dotted = matches!(of.text.to_lowercase().as_str(), "4.x.x" | "5.x.x" | "4.x" | "5.x" | "4.*" | "5.*");
    let is_plain = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) && signs > 0;
    if !is_dotted && (!is_plain || !is_code) {
        return None;
    }
    let glob = if is_dotted { format!("{}*", &of.text[..2]) } else { format!("{digits}{}", "?".repeat(signs)) };
    let form = format!("{{ glob: {} }}", quoted(&glob));
    meant(format!("`{}` is compared as it is: `x` stands for no digit", of.text), form)
}

/// `Spring*`, `Cart [A-D]`, `{Order,Receipt}*` outside of a `glob`.
pub(super) fn glob_signs(of: &Text<'_>) -> Option<Meant> {
    let text = of.text;
    let between = |open: char, close: char| {
        text.split_once(open).and_then(|(_, rest)| rest.split_once(close)).map(|(inner, _)| inner)
    };
    let has_class = between('[', ']').is_some_and(|inner| {
        let bytes = inner.as_bytes();
        bytes.len() == 3 && bytes[1] == b'-' && bytes[0].is_ascii_alphanumeric() && bytes[2].is_ascii_alphanumeric()
    });
    let has_braces = between('{', '}').is_some_and(|inner| inner.contains(',') && !inner.contains(' '));
    let sign = if text.contains('*') {
        "*"
    } else if has_class {
        "[…]"
    } else if has_braces {
        "{…}"
    } else {
        return None;
    };
    if let Some(globs) = several_globs(text).filter(|_| of.operator.is_none()) {
        let why = format!("`{sign}` stands for itself here: only a glob takes it for a pattern");
        return meant(why, format!("{{ glob: {globs} }}"));
    }
    let start = if matches!(of.operator, Some("contains" | "ends_with")) && !text.starts_with('*') { "*" } else { "" };
    let end = if matches!(of.operator, Some("contains" | "starts_with")) && !text.ends_with('*') { "*" } else { "" };
    let glob = quoted(&format!("{start}{text}{end}"));
    meant(format!("`{sign}` stands for itself here: only a glob takes it for a pattern"), format!("{{ glob: {glob} }}"))
}

/// Fields whose values hold no commas.
const LISTABLE: [&str; 10] = [
    "campaign.tags",
    "type",
    "bounce_type",
    "campaign.type",
    "campaign.id",
    "bounce_code",
    "user.email",
    "user.id",
    "email",
    "sender_ip",
];

fn is_known(field: &str) -> bool {
    field == "type" || vero::VALUES.iter().any(|(known, ..)| *known == field)
}

/// `bounced, failed`, `hard|soft`, `[a, b]`.
pub(super) fn list(of: &Text<'_>) -> Option<Meant> {
    if of.field == "relay.source" || LISTABLE.contains(&of.field) {
        let parts = words::listed(of.text)?;
        let are_words = parts.iter().all(|part| !part.contains(' '));
        let is_type = |part: &&str| words::meant_type(part).is_some();
        let fits = match of.field {
            "type" => parts.iter().all(is_type),
            field => {
                let known = vero::VALUES.iter().find(|(known, ..)| *known == field).map(|(_, values, _)| *values);
                known.is_none_or(|known| parts.iter().all(|part| words::nearest(part, known.iter().copied()).is_some()))
                    && (!of.text.contains('/') || known.is_some())
            }
        };
        if !are_words || !fits {
            return None;
        }
        let parts: Vec<_> = match of.field {
            "type" => parts.iter().filter_map(|part| words::meant_type(part)).map(str::to_owned).collect(),
            _ => parts.iter().map(|part| yaml(part)).collect(),
        };
        return meant(format!("`{}` is compared as one text", of.text), format!("[{}]", parts.join(", ")));
    }
    // Names hold commas and bars with spaces around them; a bar without is an alternative.
    let parts: Vec<_> = of.text.split('|').collect();
    let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if parts.len() < 2 || !parts.iter().all(is_word) {
        return None;
    }
    let parts: Vec<_> = parts.iter().map(|part| yaml(part)).collect();
    meant(format!("`{}` is compared as one text", of.text), format!("[{}]", parts.join(", ")))
}

/// `1_000`, `1,000` and `0123`, which are texts to YAML, behind a field that holds a number.
pub(super) fn spelt_number(of: &Text<'_>) -> Option<Meant> {
    let text = of.text.trim();
    let sign = ['_', ',', ' ', '\''].into_iter().find(|sign| text.contains(*sign));
    let holds_numbers = matches!(of.field, "campaign.id" | "bounce_code")
        || (of.field.ends_with("_at") && !of.field.starts_with("relay.") && vero::FIELDS.contains(&of.field));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = match sign {
        // Names hold commas and blanks; nobody writes an underscore between the digits of one.
        Some(sign) if holds_numbers || (sign == '_' && of.field.ends_with(".id")) => {
            let mut groups = text.split(sign);
            let first = groups.next().filter(|first| is_digits(first) && first.len() <= 3)?;
            let rest: Vec<_> = groups.collect();
            let is_grouped = rest.iter().all(|group| group.len() == 3 && is_digits(group));
            is_grouped.then(|| format!("{first}{}", rest.concat()))?
        }
        None if holds_numbers && is_digits(text) && text.len() > 1 && text.starts_with('0') => {
            text.trim_start_matches('0').to_owned()
        }
        _ => return None,
    };
    (!digits.is_empty()).then(|| Meant { why: format!("`{text}` is a text to YAML, and no number"), form: digits })
}

/// A date behind a field that holds seconds.
pub(super) fn date(of: &Text<'_>) -> Option<Meant> {
    if !of.field.ends_with("_at") || of.field.starts_with("relay.") || !vero::FIELDS.contains(&of.field) {
        return None;
    }
    meant(format!("Vero writes `{}` as seconds since 1970", of.field), between(of.text)?)
}

/// A date as the times of its day, and a time as the moments from it on.
pub(crate) fn between(text: &str) -> Option<String> {
    let text = text.trim();
    Some(match Written::parse(text)? {
        Written::Day(day) => format!("{{ after: {text}, before: {} }}", day.tomorrow().ok()?),
        _ => format!("{{ after: {} }}", in_yaml(text)),
    })
}

/// What `gt` and its like mean with a date or a time behind them: `{ after: 2026-01-31 }`.
pub(crate) fn compared_with_time(operator: &str, text: &str) -> Option<String> {
    let operator = if operator.starts_with('g') { "after" } else { "before" };
    Written::parse(text.trim()).map(|_| format!("{{ {operator}: {} }}", in_yaml(text.trim())))
}

/// A date or a time as YAML has it: what holds a colon is put into quotes.
fn in_yaml(text: &str) -> String {
    if text.contains(':') { format!("\"{text}\"") } else { text.to_owned() }
}

/// `a*|b*` and `(a|b)*` as several globs.
fn alternatives(text: &str) -> Option<Vec<String>> {
    let (inner, end) = match text.strip_prefix('(') {
        Some(rest) => rest.split_once(')').filter(|(_, end)| end.chars().all(|c| c == '*'))?,
        None => (text, ""),
    };
    // Names hold bars with spaces around them.
    let is_plain = |part: &&str| !part.is_empty() && !part.contains(['(', ')', '[', '{', '\\']) && part.trim() == *part;
    let parts: Vec<_> = inner.split('|').collect();
    (parts.len() > 1 && parts.iter().all(is_plain))
        .then(|| parts.iter().map(|part| quoted(&format!("{part}{end}"))).collect())
}

/// What one operator makes of a text that would suit another.
pub(super) fn of_operator(of: &Text<'_>) -> Option<Meant> {
    let text = of.text;
    match of.operator {
        Some("glob") if several_globs(text).is_some() => {
            let globs = several_globs(text).unwrap_or_default();
            meant("the comma is a part of the pattern", format!("{{ glob: {globs} }}"))
        }
        Some("glob") if text.strip_prefix('!').is_some_and(|rest| rest.starts_with(char::is_alphanumeric)) => meant(
            "`!` does not negate a glob: it is a part of the text",
            format!("{{ not: {{ glob: {} }} }}", quoted(&text[1..])),
        ),
        Some("glob") if alternatives(text).is_some() => {
            let globs = alternatives(text).unwrap_or_default();
            meant("`|` is a part of the pattern in a glob", format!("{{ glob: [{}] }}", globs.join(", ")))
        }
        Some("glob") if digit_signs(of).is_some() => digit_signs(of),
        Some("glob") if text.is_empty() => meant("this compares with an empty text", "{ exists: false }"),
        Some("glob") if !text.contains(['*', '?', '[', '{', '\\']) => meant(
            format!("without a sign like `*` this matches only the whole text `{text}`"),
            format!("{{ contains: {} }}", yaml(text)),
        ),
        // `Spring*` as a regular expression is `Sprin` and any number of `g`.
        Some("regex")
            if text.ends_with('*')
                && text[..text.len() - 1].chars().all(|c| c.is_alphanumeric() || c == ' ')
                && text.len() > 1 =>
        {
            meant(
                "in a regular expression `*` repeats the character before it",
                format!("{{ glob: {} }}", quoted(text)),
            )
        }
        None if text.is_empty() => meant("this compares with an empty text", "{ exists: false }"),
        _ => None,
    }
}

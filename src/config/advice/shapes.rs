//! Plain texts in a match that look like something else: a pattern, a comparison, a list, a variable, a text in quotes of another kind.
//!
//! One `table` a place (`spoken`: its shapes of comparisons that are spoken), and each row is one kind of slip with the form that was meant. A text may be meant as it stands, so these are
//! warnings, and each says how to write that: `{ equals: … }` is taken word for word.

use std::collections::HashSet;

use crate::yaml::raw::{Node, NodeId, Style, Value};
use crate::yaml::reader::Reader;

mod spoken;
mod table;

use self::spoken::*;
use self::table::*;
pub(in crate::config) use self::table::{between, compared_with_time};

/// A text in a match, and where it stands.
struct Text<'t> {
    field: &'t str,
    operator: Option<&'t str>,
    text: &'t str,
}

/// What a text looks like.
struct Meant {
    /// Why it is not what it looks like.
    why: String,
    /// The form below the field: `{ glob: "Spring*" }`.
    form: String,
}

type Shape = fn(&Text<'_>) -> Option<Meant>;

/// Where a field is compared with a text as a whole.
const COMPARED: [Shape; 17] = [
    escapes,
    quotes,
    invisible,
    blanks,
    template,
    variable,
    slashes,
    spoken,
    domain,
    comparison,
    regex_signs,
    sql_signs,
    digit_signs,
    glob_signs,
    spelt_number,
    list,
    date,
];
/// Where a text is looked for in a field, at its start or its end.
const PARTIAL: [Shape; 9] = [escapes, quotes, invisible, template, variable, slashes, regex_signs, glob_signs, bars];
/// Where a glob stands.
const GLOBBED: [Shape; 8] = [escapes, quotes, invisible, template, variable, slashes, regex_signs, sql_signs];
/// Where a regular expression stands.
const REGEXED: [Shape; 7] = [escapes, quotes, invisible, template, variable, slashes, flags];

/// What stands around a text.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// The field, as it is written.
    field: &'a str,
    /// The operator, `None` where the text stands behind the field itself.
    operator: Option<&'a str>,
    is_negated: bool,
}

/// Tells of texts behind a field that look like something else. Those told of are pushed to `told`.
pub(in crate::config) fn advise(reader: &Reader, field: &str, node: &Node, told: &mut HashSet<NodeId>) {
    walk(reader, node, Around { field, operator: None, is_negated: false }, told);
}

fn walk(reader: &Reader, node: &Node, around: Around<'_>, told: &mut HashSet<NodeId>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, below) in entries {
                match key.text.as_str() {
                    "gt" | "gte" | "lt" | "lte" if is_relay_time(around.field) && is_number(below) => {
                        tell_of_relay_time(reader, below, told)
                    }
                    "not" if !matches!(below.value, Value::Map(_)) || around.operator.is_none() => {
                        walk(reader, below, Around { is_negated: true, operator: None, ..around }, told);
                    }
                    // Taken word for word: whoever writes it means it.
                    "equals" => {}
                    name => walk(reader, below, Around { operator: Some(name), ..around }, told),
                }
            }
        }
        Value::List(items) if around.operator.is_none() && globs(items).is_some() => {
            let form = format!("{{ glob: {} }}", globs(items).unwrap_or_default());
            let form = if around.is_negated { format!("{{ not: {form} }}") } else { form };
            let why = "`*` stands for itself here: only a glob takes it for a pattern";
            reader.warning(node.id, why, format!("write {}: {form}", around.field));
            told.extend(items.iter().map(|item| item.id));
        }
        Value::List(items) if around.operator.is_none() && negated(items).is_some() => {
            let (others, negated) = negated(items).unwrap_or_default();
            let list = |items: &[&str]| match items {
                [one] => yaml(one),
                items => format!("[{}]", items.iter().map(|item| yaml(item)).collect::<Vec<_>>().join(", ")),
            };
            let all_but = format!("{}: {{ not: {} }}", around.field, list(&negated));
            let help = match others.as_slice() {
                [] => format!("write {all_but}"),
                others => format!("write {}: {}; for all but some, {all_but}", around.field, list(others)),
            };
            reader.warning(node.id, "`!` in a list is a part of the text: it negates nothing", help);
            told.extend(items.iter().map(|item| item.id));
        }
        Value::List(items) => items.iter().for_each(|item| walk(reader, item, around, told)),
        Value::Scalar(scalar) if scalar.style == Style::String && !scalar.is_interpolated => {
            if around.operator.is_none()
                && is_relay_time(around.field)
                && scalar.text.len() <= "2026-01-01T10:00".len()
                && between(&scalar.text).is_some()
            {
                tell_of_relay_time(reader, node, told);
            } else if tell(reader, node, &scalar.text, around) {
                told.insert(node.id);
            }
        }
        Value::Scalar(scalar) if scalar.style == Style::Number && around.operator.is_none() => {
            // Numbers are compared as they are written.
            let number = scalar.text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
            if let Some(number) = number.filter(|_| scalar.text.contains(['e', 'E']) && !scalar.is_interpolated) {
                let form = if around.is_negated { format!("{{ not: {number} }}") } else { number.to_string() };
                let message = format!("`{}` is compared as it is written, and Vero writes {number}", scalar.text);
                reader.warning(node.id, message, format!("write {}: {form}", around.field));
                told.insert(node.id);
            }
        }
        Value::Scalar(_) => {}
    }
}

fn is_number(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.style == Style::Number && !scalar.is_interpolated)
}

fn is_relay_time(field: &str) -> bool {
    matches!(field, "relay.occurred_at" | "relay.received_at")
}

fn tell_of_relay_time(reader: &Reader, node: &Node, told: &mut HashSet<NodeId>) {
    reader.warning(
        node.id,
        "a time of the relay is a text with a date and a time: this holds for none",
        RELAY_TIMES.to_owned(),
    );
    told.insert(node.id);
}

/// What is said of comparisons of the relay's own times.
pub(in crate::config) const RELAY_TIMES: &str =
    "times are compared by `after` and `before`: relay.received_at: { after: 2026-01-31 }";

/// The items of a list without and with a `!` before them, if one has it.
fn negated(items: &[Node]) -> Option<(Vec<&str>, Vec<&str>)> {
    let text = |item: &'_ Node| {
        item.scalar().is_some_and(|scalar| !scalar.is_interpolated && scalar.text.len() <= TEXT_BYTES_MAX)
    };
    let bare = |text: &'_ str| text.starts_with(char::is_alphanumeric) && !text.contains(' ');
    let texts = items.iter().filter(|item| text(item)).filter_map(|item| Some(item.scalar()?.text.as_str()));
    let (negated, others): (Vec<_>, Vec<_>) = texts.partition(|text| text.strip_prefix('!').is_some_and(bare));
    let negated: Vec<_> = negated.into_iter().map(|text| &text[1..]).collect();
    (items.len() > 1 && others.len() + negated.len() == items.len() && !negated.is_empty()).then_some((others, negated))
}

/// The items of a list as globs, if one of them looks like one and none like something else.
fn globs(items: &[Node]) -> Option<String> {
    let text = |item: &Node| {
        let scalar = item.scalar().filter(|scalar| scalar.style == Style::String && !scalar.is_interpolated)?;
        Some(scalar.text.clone())
            .filter(|text| text.len() <= TEXT_BYTES_MAX && !text.contains([',', '%', '^', '$', '\\', '|', '{']))
    };
    let texts: Vec<_> = items.iter().map(text).collect::<Option<_>>()?;
    let is_some = texts.len() > 1 && texts.iter().any(|text| text.contains('*') && !text.contains(".*"));
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    is_some.then(|| format!("[{}]", texts.join(", ")))
}

/// Longer texts are no slips, and looking at each sign of them takes time.
const TEXT_BYTES_MAX: usize = 1000;

/// What may be told of a text behind an operator, or behind the field itself.
fn shapes_of(operator: Option<&str>) -> Option<&'static [Shape]> {
    Some(match operator {
        None => &COMPARED,
        Some("contains" | "starts_with" | "ends_with") => &PARTIAL,
        Some("glob") => &GLOBBED,
        Some("regex") => &REGEXED,
        Some(_) => return None,
    })
}

/// The form below a field that a text was probably meant as: `{ glob: "Spring*" }`, or the text itself in another spelling.
pub(in crate::config) fn form(field: &str, operator: Option<&str>, text: &str) -> Option<String> {
    let of = Text { field, operator, text };
    shapes_of(operator)?.iter().find_map(|shape| shape(&of)).map(|meant| meant.form)
}

fn tell(reader: &Reader, node: &Node, text: &str, around: Around<'_>) -> bool {
    if text.len() > TEXT_BYTES_MAX {
        return false;
    }
    let Some(shapes) = shapes_of(around.operator) else { return false };
    let of = Text { field: around.field, operator: around.operator, text };
    let found = shapes.iter().find_map(|shape| shape(&of)).or_else(|| of_operator(&of));
    let Some(Meant { why, form }) = found else { return false };
    // What is right but for its quotes or blanks stays below its operator.
    let form = match around.operator {
        Some(operator) if !form.starts_with('{') => format!("{{ {operator}: {form} }}"),
        _ => form,
    };
    let whole = |form: &str| match around.is_negated {
        true => format!("{}: {{ not: {form} }}", around.field),
        false => format!("{}: {form}", around.field),
    };
    let literal = match around.operator {
        // A text of several lines has no form on one.
        _ if text.contains('\n') => String::new(),
        None => format!("; for the text as it is: {}", whole(&format!("{{ equals: {} }}", quoted(text)))),
        Some("contains" | "starts_with" | "ends_with") => {
            let (start, end) = match around.operator {
                Some("starts_with") => ("^", ""),
                Some("ends_with") => ("", "$"),
                _ => ("", ""),
            };
            let pattern = format!("{start}{}{end}", regex::escape(text));
            format!("; for the text as it is: {}", whole(&format!("{{ regex: {} }}", single_quoted(&pattern))))
        }
        Some(_) => String::new(),
    };
    reader.warning(node.id, why, format!("write {}{literal}", whole(&form)));
    true
}

/// A text as YAML has it: plain where that is safe, in quotes otherwise.
pub(in crate::config) fn yaml(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '@' | '/' | '-' | ' ');
    let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_' || c.is_ascii_digit());
    let is_word = !matches!(text.to_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off");
    if begins && is_word && text.chars().all(is_plain) && !text.ends_with(' ') { text.to_owned() } else { quoted(text) }
}

/// A text in quotes: double ones, and single ones where a backslash or a double quote would need care.
fn quoted(text: &str) -> String {
    if text.contains(['\\', '"']) { single_quoted(text) } else { format!("\"{text}\"") }
}

fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn meant(why: impl Into<String>, form: impl Into<String>) -> Option<Meant> {
    Some(Meant { why: why.into(), form: form.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &str, text: &str, expected: Option<&str>) {
        let of = Text { field, operator: None, text };
        let found = COMPARED.iter().find_map(|shape| shape(&of)).map(|meant| meant.form);
        assert_eq!(found.as_deref(), expected, "{field}: {text}");
    }

    #[test]
    fn a_text_that_looks_like_something_else_is_known() {
        for (text, form) in [
            ("Spring*", "{ glob: \"Spring*\" }"),
            ("Cart [A-D]", "{ glob: \"Cart [A-D]\" }"),
            ("{Order,Receipt}", "{ glob: \"{Order,Receipt}\" }"),
            ("^Spring", "{ regex: '^Spring' }"),
            ("Spring.*", "{ regex: 'Spring.*' }"),
            ("/Spring.*/i", "{ regex: 'Spring.*', ignore_case: true }"),
            ("%Spring%", "{ glob: \"*Spring*\" }"),
            ("“Spring”", "\"Spring\""),
            ("'Spring'", "\"Spring\""),
            ("!= Spring", "{ not: Spring }"),
            ("!Spring", "{ not: Spring }"),
            ("> 5", "{ gt: 5 }"),
            ("<=5.5", "{ lte: 5.5 }"),
            ("=~ Spr", "{ regex: 'Spr' }"),
            ("$SPRING", "\"${SPRING}\""),
            ("%SPRING%", "\"${SPRING}\""),
            ("{{ env.SPRING }}", "\"${SPRING}\""),
            ("Spring|Summer", "[Spring, Summer]"),
            ("\u{a0}Spring", "Spring"),
            ("Spr\u{200b}ing", "Spring"),
            (" Spring", "Spring"),
        ] {
            check("campaign.name", text, Some(form));
        }
        for (text, form) in [
            ("contains Spring", "{ contains: Spring }"),
            ("starts with \"Spring\"", "{ starts_with: Spring }"),
            ("ends_with ing", "{ ends_with: ing }"),
            ("LIKE 'Spring%'", "{ glob: \"Spring*\" }"),
            ("is not 'Spring'", "{ not: Spring }"),
            ("is \"Spring\"", "Spring"),
            ("~= Spr", "{ regex: 'Spr' }"),
            ("exists", "{ exists: true }"),
            ("is null", "{ exists: false }"),
            ("Spring*, Cart?", "{ glob: [\"Spring*\", \"Cart?\"] }"),
        ] {
            check("campaign.name", text, Some(form));
        }
        check("campaign.id", "gt 5", Some("{ gt: 5 }"));
        check("campaign.id", "less than 5", Some("{ lt: 5 }"));
        check("campaign.id", "not 5", Some("{ not: 5 }"));
        check("campaign.id", "5..10", Some("{ gte: 5, lte: 10 }"));
        check("user.email", "@getvero.com", Some("{ ends_with: \"@getvero.com\" }"));
        check("bounce_code", "5xx", Some("{ glob: \"5??\" }"));
        check("bounce_code", "500-599", Some("{ gte: 500, lte: 599 }"));
        check("campaign.id", "1_000", Some("1000"));
        check("campaign.id", "12,345,678", Some("12345678"));
        check("campaign.id", "0123", Some("123"));
        check("campaign.id", "1 000", Some("1000"));
        check("bounced_at", "1_767_225_600", Some("1767225600"));
        check("user.id", "1_000", Some("1000"));
        check("bounce_type", "not soft", Some("{ not: soft }"));
        check("type", "bounced, failed", Some("[bounced, failed]"));
        check("type", "open|click", Some("[opened, clicked]"));
        check("user.email", "a@x.com,b@x.com", Some("[a@x.com, b@x.com]"));
        check("bounced_at", "2026-01-01", Some("{ after: 2026-01-01, before: 2026-01-02 }"));
    }

    #[test]
    fn a_name_that_a_person_gave_is_left_alone() {
        for text in [
            "Spring",
            "Save 50%",
            "Vero | Welcome",
            "Don’t miss: Spring – Summer",
            "Did you forget something?",
            "[VIP] Spring",
            "Hello {name}",
            "A, B and C",
            "Price $5",
            "Spring & Summer (2026)",
            "<none>",
            "> Sale",
            "24/7",
            "C++",
            "10x",
            "Soldes\u{a0}!",
            "l'été",
            "“Quotes” within",
            "Is it Spring?",
            "Not your Spring",
            "not your Spring",
            "like Spring",
            "Contains nuts",
            "lt colonel",
            "@home",
            "a@example.com",
            "2026-01-01",
        ] {
            check("campaign.name", text, None);
        }
        check("sender_ip", "10.0.0.0/8", None);
        check("user.id", "a-b", None);
        check("user.id", "0123", None);
        check("user.id", "1_000_00", None);
        check("campaign.name", "1,000", None);
        check("campaign.id", "0", None);
        check("user_agent", "Mozilla/5.0 (X11)", None);
    }
}

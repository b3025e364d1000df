//! What people write in templates out of habit with another language, and how it is written here. Pure.

use std::sync::LazyLock;

use regex::Regex;

use crate::yaml::problem::did_you_mean;

/// A form of another language: its pattern, and what is told. `$1` is its first group.
const FORMS: [(&str, &str); 34] = [
    // Handlebars and Mustache.
    (r"\{\{\{\s*([\w.]+)\s*\}\}\}", "write two braces: {{ $1 }}"),
    (r"\{\{~?\s*#(?:if|with)\s+([\w.]+)\s*~?\}\}", "write {% if $1 %}…{% endif %}"),
    (r"\{\{~?\s*#unless\s+([\w.]+)\s*~?\}\}", "write {% if not $1 %}…{% endif %}"),
    (r"\{\{~?\s*#each\s+([\w.]+).*?\}\}", "write {% for item in $1 %}…{% endfor %}"),
    (r"\{\{~?\s*#(?:if|unless|with)\b.*?\}\}", "a condition is written {% if bounce_type == 'hard' %}…{% endif %}"),
    (r"\{\{~?\s*#([\w.]+).*?\}\}", "write {% if $1 %}…{% endif %}, or {% for item in $1 %}…{% endfor %}"),
    (r"\{\{~?\s*\^\s*([\w.]+)\s*~?\}\}", "write {% if not $1 %}…{% endif %}"),
    (r"\{\{~?\s*else\s*~?\}\}", "write {% else %}"),
    (r"\{\{~?\s*/(?:each|for)\s*~?\}\}", "write {% endfor %}"),
    (r"\{\{~?\s*/[\w.]*\s*~?\}\}", "write {% endif %}"),
    (r"\{\{\s*!", "a comment is written {# … #}"),
    (r"\{\{\s*&\s*([\w.]+)", "write {{ $1 }}: values are not escaped twice"),
    (
        r"\{\{\s*>\s*[\w./]+\s*\}\}|\{%-?\s*(?:include|import|extends|render|layout|from)\b",
        "a template stands alone: write its text here",
    ),
    // Go.
    (
        r"\{\{-?\s*(?:if|range|with|end|template|define)\b[^}]*\}\}",
        "statements stand in {% … %}: {% if type == 'bounced' %}…{% endif %}",
    ),
    (r"\{\{-?\s*\.([\w.]+)\s*-?\}\}", "write {{ $1 }}, without the dot before it"),
    (r"\{\{\s*\$([\w.]+)", "write {{ $1 }}, without the `$`"),
    // Liquid.
    (r#"\|\s*(?:append|concat)\s*:?\s*\(?\s*("[^"]*"|'[^']*'|[\w.]+)"#, "write ~ $1 behind the value"),
    (r#"\|\s*prepend\s*:?\s*\(?\s*("[^"]*"|'[^']*'|[\w.]+)"#, "write $1 ~ before the value"),
    (r"[^|]\|\s*slice\s*:\s*(\d+)\s*,\s*(\d+)", "write [$1:][:$2] behind the value"),
    (r"\{%-?\s*unless\s+([\w.]+)\s*-?%\}", "write {% if not $1 %}…{% endif %}"),
    (r#"\|\s*(\w+)\s*:\s*("[^"]*"|'[^']*'|[\w.]+)(?:\s*,\s*("[^"]*"|'[^']*'|[\w.]+))?"#, "write $1($2)"),
    (r"\{%-?\s*unless\s+(.+?)\s*-?%\}", "write {% if not ($1) %}…{% endif %}"),
    (r"\{%-?\s*(?:elsif|elseif|else if)\s+(.+?)\s*-?%\}", "write {% elif $1 %}"),
    (r"\{%-?\s*(?:assign|let|var)\s+(\w+)\s*=\s*(.+?)\s*-?%\}", "write {% set $1 = $2 %}"),
    (r"\{%-?\s*capture\s+(\w+)\s*-?%\}", "write {% set $1 %}…{% endset %}"),
    (r"\{%-?\s*(?:case|when|switch)\s+(.+?)\s*-?%\}", "write {% if $1 == … %}…{% elif $1 == … %}…{% endif %}"),
    (r"\{%-?\s*comment\s*-?%\}", "a comment is written {# … #}"),
    (r"\{%-?\s*(?:end|endunless|endcase|fi)\s*-?%\}", "write {% endif %}, {% endfor %} or {% endset %}"),
    (r"\{%-?\s*foreach\s+(\w+)\s+as\s+\$?(\w+)\s*-?%\}", "write {% for $2 in $1 %}…{% endfor %}"),
    // Programming languages.
    (r"\{[{%][^}]*?([\w.]+)\s*(?:\?\?|\|\||\?:)\s*([^}%]+?)\s*[}%]\}", "write {{ $1 or $2 }}"),
    (r"\{[{%][^}]*?&&", "write `and` for `&&`"),
    (r"\{[{%][^}]*?(?:===|!==|<>)", "write `==` for equal, `!=` for not equal"),
    (r"\{[{%][^}]*?[\s({]!\s*([\w.]+)", "write `not $1`"),
    (r"\{\{\s*([^{}?]+?)\s*\?\s*([^{}:]+?)\s*:\s*([^{}]+?)\s*\}\}", "write {{ $2 if $1 else $3 }}"),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compile = |(pattern, told): (&str, &'static str)| {
        (Regex::new(pattern).expect("a pattern of ours compiles: a test uses each"), told)
    };
    FORMS.into_iter().map(compile).collect()
});

/// Where nothing is known of what was meant.
pub(crate) const USUAL: &str = "a value is written {{ campaign.name }}, with a filter {{ campaign.name | upper }}, a condition {% if bounce_type == 'hard' %}…{% endif %}";

/// A longer template is not searched.
const SOURCE_BYTES_MAX: usize = 32 << 10;

/// What to write in place of what does not compile, if it is another language's.
pub(crate) fn form(source: &str) -> Option<String> {
    let source = Some(source).filter(|source| source.len() <= SOURCE_BYTES_MAX)?;
    let found = COMPILED.iter().filter_map(|(pattern, told)| Some((pattern.captures(source)?, *told)));
    // The first in the text: what follows may follow from it.
    let (captures, told) = found.min_by_key(|(captures, _)| captures.get(0).map(|whole| whole.start()))?;
    let mut out = String::new();
    captures.expand(&expandable(told), &mut out);
    Some(with_arguments(&captures, out))
}

/// `$1` is a group; any other `$` stands for itself.
fn expandable(told: &str) -> String {
    let escaped = told.replace('$', "$$");
    (1..=3).fold(escaped, |text, group| text.replace(&format!("$${group}"), &format!("${{{group}}}")))
}

/// A Liquid filter's second argument, and its name here.
fn with_arguments(captures: &regex::Captures<'_>, told: String) -> String {
    let is_filter = captures.get(0).is_some_and(|whole| whole.as_str().starts_with('|'));
    let (Some(name), Some(first), true) = (captures.get(1), captures.get(2), is_filter) else { return told };
    let name = filter(name.as_str()).unwrap_or(name.as_str());
    let second = captures.get(3).map(|second| format!(", {}", second.as_str())).unwrap_or_default();
    format!("an argument stands in (…): write {name}({}{second})", first.as_str())
}

/// What to close, where a template ends too early or a block is closed that was not opened.
pub(crate) fn unclosed(source: &str) -> Option<String> {
    let count = |tag: &str| source.matches(tag).count();
    let pairs = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];
    if let Some((_, close)) = pairs.into_iter().find(|(open, close)| count(open) > count(close)) {
        return Some(format!("close it with `{close}`"));
    }
    let statement = |word: &str| {
        source
            .match_indices("{%")
            .filter(|(at, _)| source[at + 2..].trim_start_matches(['-', ' ']).starts_with(word))
            .count()
    };
    let blocks =
        [("if ", "endif"), ("for ", "endfor"), ("macro ", "endmacro"), ("filter ", "endfilter"), ("with ", "endwith")];
    let open = blocks.into_iter().find(|(open, close)| statement(open) > statement(close));
    open.map(|(_, close)| format!("close it with {{% {close} %}}"))
}

/// A filter by its name in another language.
fn filter(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase().replace('_', "");
    Some(match lower.as_str() {
        "upcase" | "uppercase" | "toupper" | "touppercase" | "ucase" | "strtoupper" => "upper",
        "downcase" | "lowercase" | "tolower" | "tolowercase" | "lcase" | "strtolower" => "lower",
        "strip" | "lstrip" | "rstrip" | "stripnewlines" | "squish" => "trim",
        "size" | "len" | "strlen" => "length",
        "titlecase" | "titleize" | "ucwords" => "title",
        "ucfirst" | "capfirst" => "capitalize",
        "json" | "tojson" | "jsonencode" | "jsonify" | "stringify" => "tojson",
        "urlencode" | "urlescape" | "cgiescape" | "encodeuricomponent" | "uriencode" | "escapeuri" => "urlencode",
        "strftime" | "dateformat" | "datetimeformat" | "formatdate" | "todate" | "datetime" => "date",
        "truncatewords" | "truncatechars" | "ellipsis" | "limit" | "slice" => "truncate",
        "defaultifnone" | "ifempty" | "fallback" | "coalesce" | "ornull" => "default",
        "gsub" | "sub" | "replacefirst" | "remove" => "replace",
        "number" | "toint" | "parseint" | "integer" | "toi" => "int",
        "tofloat" | "parsefloat" => "float",
        "sha" | "hash" | "sha2" => "sha256",
        "implode" | "concat" => "join",
        "where" => "selectattr",
        _ => return None,
    })
}

/// Whether a word is a filter, here or in another language.
pub(crate) fn is_filter(name: &str) -> bool {
    filter(name).is_some()
        || matches!(name, "upper" | "lower" | "title" | "capitalize" | "trim" | "length" | "default" | "first" | "last")
}

/// What to do about a filter, a test or a function that there is not. `known` are those that there are.
pub(crate) fn name<'k>(what: &str, name: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    let is_known = |wanted: &str| known.clone().into_iter().any(|known| known == wanted);
    if matches!((what, name), ("filter", "safe" | "escape" | "e" | "raw" | "html_safe" | "escape_once" | "forceescape"))
    {
        return "take it out: values are escaped for where they stand".to_owned();
    }
    let translated = match what {
        "filter" => filter(name).filter(|ours| is_known(ours)),
        "test" => match name {
            "null" | "nil" | "missing" => Some("none"),
            "empty" | "blank" => Some("undefined"),
            "present" | "set" | "exists" => Some("defined"),
            "startswith" | "starts_with" | "beginning" => Some("startingwith"),
            "endswith" | "ends_with" => Some("endingwith"),
            _ => None,
        },
        _ => None,
    };
    let of_a_function = || match (what, name) {
        ("function" | "method", _) if filter(name).is_some_and(is_known) || is_known(name) => {
            Some(format!("it is a filter: {{{{ … | {} }}}}", filter(name).unwrap_or(name)))
        }
        ("function", "now" | "today" | "date" | "time" | "utcnow") => {
            Some("write {{ relay.occurred_at }}, or {{ relay.received_at }}".to_owned())
        }
        ("function", "env" | "getenv" | "secret" | "environ") => {
            Some("write ${NAME}, outside of the braces".to_owned())
        }
        ("method", "format" | "strftime" | "toLocaleString" | "toISOString") => None,
        ("method", "startsWith" | "startswith" | "starts_with") => {
            Some("write {% if x is startingwith('…') %}".to_owned())
        }
        ("method", "endsWith" | "endswith" | "ends_with") => Some("write {% if x is endingwith('…') %}".to_owned()),
        ("method", "includes" | "contains" | "include") => Some("write {% if '…' in x %}".to_owned()),
        ("method", "get") => Some("write {{ x.name | default('–') }}".to_owned()),
        _ => None,
    };
    let all = || {
        let mut names: Vec<_> = known.clone().into_iter().collect();
        names.sort_unstable();
        match names.as_slice() {
            [] => format!("templates have no {what}s; filters change a value: {{{{ type | upper }}}}"),
            names => format!("the {what}s are {}", names.join(", ")),
        }
    };
    translated
        .map(|ours| format!("write `{ours}`"))
        .or_else(of_a_function)
        .or_else(|| did_you_mean(name, known.clone()))
        .unwrap_or_else(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &str) {
        assert_eq!(form(source).as_deref(), Some(expected), "{source}");
    }

    #[test]
    fn forms_of_other_languages_are_told_in_ours() {
        check("{{{ user.email }}}", "write two braces: {{ user.email }}");
        check("{{#if user.email}}x{{/if}}", "write {% if user.email %}…{% endif %}");
        check("{{#unless x}}", "write {% if not x %}…{% endif %}");
        check("{{#each tags}}", "write {% for item in tags %}…{% endfor %}");
        check("{{#tags}}x{{/tags}}", "write {% if tags %}…{% endif %}, or {% for item in tags %}…{% endfor %}");
        check("{{^tags}}", "write {% if not tags %}…{% endif %}");
        check("{{ x | default: \"none\" }}", "an argument stands in (…): write default(\"none\")");
        check("{{ x | truncate: 20, '…' }}", "an argument stands in (…): write truncate(20, '…')");
        check("{% elsif a == 1 %}", "write {% elif a == 1 %}");
        check("{% unless a %}", "write {% if not a %}…{% endif %}");
        check("{% unless a or b %}", "write {% if not (a or b) %}…{% endif %}");
        check("{{#if (eq type 'x')}}", "a condition is written {% if bounce_type == 'hard' %}…{% endif %}");
        check("{{ a | append: 'x' }}", "write ~ 'x' behind the value");
        check("{{ a | prepend: 'x' }}", "write 'x' ~ before the value");
        check("{{ a | slice: 0, 5 }}", "write [0:][:5] behind the value");
        check("{% assign a = b.c %}", "write {% set a = b.c %}");
        check("{{ a ?? 'x' }}", "write {{ a or 'x' }}");
        check("{{ a || 'x' }}", "write {{ a or 'x' }}");
        check("{% if a && b %}", "write `and` for `&&`");
        check("{% if !a %}", "write `not a`");
        check("{{ a ? 'x' : 'y' }}", "write {{ 'x' if a else 'y' }}");
        check("{{ .Name }}", "write {{ Name }}, without the dot before it");
        check("{{ $type }}", "write {{ type }}, without the `$`");
        check("{{ if .x }}", "statements stand in {% … %}: {% if type == 'bounced' %}…{% endif %}");
        check("{{! note }}", "a comment is written {# … #}");
        assert_eq!(form("{{ user email }}"), None);
        assert_eq!(unclosed("{% if a %}x").as_deref(), Some("close it with {% endif %}"));
        assert_eq!(unclosed("{{ a").as_deref(), Some("close it with `}}`"));
        assert_eq!(unclosed("{{ a }}"), None);
    }

    #[test]
    fn names_of_other_languages_are_told_in_ours() {
        let known = ["upper", "lower", "default", "date"];
        let told = |what: &str, word: &str| name(what, word, known);
        assert_eq!(told("filter", "upcase"), "write `upper`");
        assert_eq!(told("filter", "uper"), "did you mean `upper`?");
        assert_eq!(told("filter", "strftime"), "write `date`");
        assert_eq!(told("filter", "frobnicate"), "the filters are date, default, lower, upper");
        assert!(told("filter", "safe").starts_with("take it out"));
        assert_eq!(told("method", "toUpperCase"), "it is a filter: {{ … | upper }}");
        assert!(told("function", "env").contains("${NAME}"));
    }
}

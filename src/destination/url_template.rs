//! URLs with templates in their path and query: rendered, checked, and fit to be shown. Pure.

use super::client::Url;
use super::template::{EMPTY, LISTING, MARKS, sole_path};
use super::unsent::{Misfit, Unsent};
use crate::tags::{self, Part, Tag};

/// The URL of a base and a rendered path and query with the marks of [`MARKS`]. A value must fill its place in the path, also where a text
/// stands beside it: an empty one would lead to another thing or to the collection above, dots would climb.
pub(super) fn url(base: &Url, source: &str, marked: &str) -> Result<Url, Unsent> {
    for (i, segment) in path_in(marked).split('/').enumerate() {
        let text = segment.replace(MARKS, "");
        let decoded = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
        let misfit = |is_nothing| Misfit::Path { field: in_segment(source, i).map(str::to_owned), is_nothing };
        if segment.contains(LISTING) {
            return Err(misfit(false).into());
        }
        if matches!(&*decoded, "." | "..") {
            return Err(Unsent::failed("a value in the URL would be a step up or down in its path"));
        }
        if segment.contains(EMPTY) {
            return Err(misfit(true).into());
        }
    }
    let rest = marked.replace(MARKS, "");
    if is_hollow(path_in(&rest)) && !is_hollow(path_in(&with_all_blocks(source))) {
        return Err(Unsent::failed("a block left a step of the URL's path empty: `{% else %}` says what stands there"));
    }
    let whole = format!("{}{rest}", base.as_str().trim_end_matches('/'));
    let url = Url::parse(&whole).map_err(|error| format!("the URL with its values is none: {error}"))?;
    if url.origin() != base.origin() {
        return Err(Unsent::failed("a value in the URL would lead to another host"));
    }
    Ok(url)
}

/// What stands before a query and a fragment.
fn path_in(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// Whether a path has an empty step, or ends with one.
fn is_hollow(path: &str) -> bool {
    path.contains("//") || (path.len() > 1 && path.ends_with('/'))
}

/// A template as if every block were written out and every value were there.
fn with_all_blocks(source: &str) -> String {
    let written = |part| match part {
        Part::Text(at) => &source[at],
        Part::Tag(Tag { is_block: false, .. }) => "x",
        Part::Tag(_) | Part::Comment(_) => "",
    };
    tags::parts(source).into_iter().map(written).collect()
}

/// Whether a space stands in the part of a URL that is the same for every event.
pub(super) fn has_space(source: &str) -> bool {
    with_all_blocks(source).trim_end().contains(char::is_whitespace)
}

/// The template of a path and query with more behind its query, which is encoded already. What stands behind a `#` is never sent.
pub(super) fn with_query(source: &str, query: &str) -> String {
    let mut begins_fragment = None;
    for part in tags::parts(source) {
        let Part::Text(at) = part else { continue };
        begins_fragment = begins_fragment.or_else(|| source[at.clone()].find('#').map(|offset| at.start + offset));
    }
    let (sent, fragment) = source.split_at(begins_fragment.unwrap_or(source.len()));
    let sign = if with_all_blocks(sent).contains('?') { '&' } else { '?' };
    format!("{sent}{sign}{query}{fragment}")
}

/// What stands in a segment of a template's path, if it is one path of the event alone. Filters may hold slashes, and are no path.
fn in_segment(source: &str, at: usize) -> Option<&str> {
    if source.contains("{%") {
        return None;
    }
    let segment = source.split('/').nth(at)?;
    let from = segment.find("{{")?;
    let end = from + segment[from..].find("}}")? + 2;
    sole_path(&segment[from..end])
}

/// The template of a path and query with `…` for all that is not a value of the event: a part that is the same for every event may
/// be a password. `None` where the two cannot be told apart.
pub(super) fn shown_source(source: &str) -> Option<String> {
    let mut shown = String::new();
    let mut rest = source;
    while let Some(at) = rest.find("{{") {
        let (fixed, from) = rest.split_at(at);
        let end = from.find("}}")? + 2;
        shown.push_str(&hidden(fixed));
        shown.push_str(sole_path(&from[..end]).map_or("…", |_| &from[..end]));
        rest = &from[end..];
    }
    shown.push_str(&hidden(rest));
    (!source.contains("{%") && !source.contains("{#")).then_some(shown)
}

/// `…` for a part of a URL, between the signs that it begins and ends with.
fn hidden(fixed: &str) -> String {
    let is_sign = |c: char| matches!(c, '/' | '?' | '&' | '=');
    let begin = if fixed.starts_with(is_sign) { &fixed[..1] } else { "" };
    let rest = &fixed[begin.len()..];
    let end = if rest.ends_with(is_sign) { &rest[rest.len() - 1..] } else { "" };
    let inner = if rest.len() > end.len() { "…" } else { "" };
    format!("{begin}{inner}{end}")
}

#[cfg(test)]
mod tests {
    use super::super::client::parse_url;
    use super::super::template::tests::delivery;
    use super::super::template::{Escape, Template};
    use super::super::view::View;
    use super::*;

    #[track_caller]
    fn check_shown(source: &str, expected: Option<&str>) {
        assert_eq!(shown_source(source).as_deref(), expected, "{source}");
    }

    #[test]
    fn of_a_url_with_templates_only_the_values_of_the_event_are_shown() {
        check_shown("/users/{{ user.id }}", Some("/…/{{ user.id }}"));
        check_shown(
            "/{{ type }}/{{ user.id }}?key=s3cret&who={{ user.email }}&x",
            Some("/{{ type }}/{{ user.id }}?…={{ user.email }}&…"),
        );
        check_shown("/s3cret/{{ \"s3cret\" ~ user.id }}", Some("/…/…"));
        check_shown("/a/{% if user.id %}s3cret{% endif %}{{ type }}", None);
        check_shown("/a/{{ type }}{# s3cret #}", None);
    }

    #[track_caller]
    fn check(source: &str, event: &str, expected: &str) {
        let template = Template::compile(source, Escape::Segment).expect("compiles");
        let marked = template.render_marked(&View::new(&delivery(event))).expect("renders");
        let base = parse_url("https://crm.example.com").expect("a URL");
        let shown = match url(&base, source, &marked) {
            Ok(url) => url.as_str().trim_start_matches("https://crm.example.com").to_owned(),
            Err(unsent) => unsent.to_string(),
        };
        assert!(shown.starts_with(expected), "{source} {event}: {shown}");
    }

    #[test]
    fn a_value_fills_its_place_in_the_path() {
        let users = "/users/{{ user.id }}";
        check(users, r#"{"type":"a","user":{"id":7}}"#, "/users/7");
        check(users, r#"{"type":"a","user":{"id":"a/b c"}}"#, "/users/a%2Fb%20c");
        for id in ["\"\"", "null", "\" \"", "\"\\t\""] {
            check(users, &format!(r#"{{"type":"a","user":{{"id":{id}}}}}"#), "`user.id` is missing or empty");
        }
        check(users, r#"{"type":"a"}"#, "`user.id` is missing or empty, and stands in the URL's path");
        for id in ["[1,2]", "{}", "[]", r#"{"a":1}"#] {
            check(users, &format!(r#"{{"type":"a","user":{{"id":{id}}}}}"#), "`user.id` is a list or a map");
        }
        for id in [".", "..", "%2e"] {
            let expected = if id == "%2e" { "/users/%252e" } else { "a value in the URL would be a step up or down" };
            check(users, &format!(r#"{{"type":"a","user":{{"id":"{id}"}}}}"#), expected);
        }
        check("/users/.{{ user.id }}", r#"{"type":"a","user":{"id":"."}}"#, "a value in the URL would be a step");
        check("/users/%2{{ user.id }}", r#"{"type":"a","user":{"id":"e"}}"#, "a value in the URL would be a step");
        check("/{{ type }}/{{ user.id }}/x", r#"{"type":"a"}"#, "`user.id` is missing or empty");
        check("/lists/{{ campaign.id }}/members/{{ type }}", r#"{"type":"a"}"#, "`campaign.id` is missing or empty");
        check("/u/{{ user.id }}{{ user.x }}", r#"{"type":"a"}"#, "`user.id` is missing or empty");
        check("/u/{{ user.id | upper }}", r#"{"type":"a"}"#, "a value is missing or empty");
    }

    #[test]
    fn a_space_stands_in_the_url_where_no_tag_or_comment_holds_it() {
        for (source, expected) in [
            ("/a b", true),
            ("/{{ user.id }} /x", true),
            ("/a b{# of old #}", true),
            ("/{% raw %}a b{% endraw %}", true),
            ("/{{ user.id }}{# of old #}", false),
            (r#"/{{ user.id | replace("}}", " ") }}"#, false),
            (r#"/{% if type == "%} x" %}y{% endif %}"#, false),
        ] {
            assert_eq!(has_space(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_meant_to_be_empty_may_be() {
        check("/u/{{ user.id | default(\"none\") }}", r#"{"type":"a"}"#, "/u/none");
        check("/u/x-{{ user.id }}", r#"{"type":"a"}"#, "`user.id` is missing or empty");
        check("/u/{{ user.id }}.json", r#"{"type":"a","user":{"id":""}}"#, "`user.id` is missing or empty");
        check("/u/{{ user.id }}-{{ type }}", r#"{"type":"a"}"#, "`user.id` is missing or empty");
        check("/u/x-{{ user.id or 0 }}", r#"{"type":"a"}"#, "/u/x-0");
        check("/u//x", r#"{"type":"a"}"#, "/u//x");
        check("/{# one day #}/x", r#"{"type":"a"}"#, "//x");
        check("/{% if type == '?' %}y{% endif %}//x", r#"{"type":"a"}"#, "///x");
        check("/{{ type }}/", r#"{"type":"a"}"#, "/a/");
        check("/u?who={{ user.id }}&l={{ l }}&p=/{{ user.id }}", r#"{"type":"a","l":[1]}"#, "/u?who=&l=%5B1%5D&p=/");
        check("/u{% if user.id %}/{{ user.id }}{% endif %}", r#"{"type":"a"}"#, "/u");
        let block = "a block left a step";
        check("/u/{% if user.id %}{{ user.id }}{% endif %}", r#"{"type":"a"}"#, block);
        check("/u/{% if user.id %}x{% endif %}/y", r#"{"type":"a"}"#, block);
        check("/u/{% if user.id %}x{% else %}y{% endif %}/z", r#"{"type":"a"}"#, "/u/y/z");
        check("/u//{% if user.id %}x{% endif %}/", r#"{"type":"a"}"#, "/u///");
        check(
            "/users/{{ user.id }}",
            "{\"type\":\"a\",\"user\":{\"id\":\"\u{200b}\"}}",
            "`user.id` is missing or empty",
        );
        check("/{% set id = 7 %}{{ id }}", r#"{"type":"a"}"#, "/7");
        check("/{% set x %}{{ type }}{% endset %}{{ x }}", r#"{"type":"a"}"#, "/a");
    }
}

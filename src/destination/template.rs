//! Templates over an event: minijinja, with Vero's odd keys, numbers that keep their text, and escaping where a value goes in.
//!
//! A missing value renders as nothing. In templates a hyphen is a minus, so `campaign.trigger_event` finds `trigger-event`.

use std::fmt;

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::view::{VALUE_CHARACTERS_MAX, View};
use crate::config::problem::did_you_mean;
use crate::event::vero;
use crate::fault::Fault;

/// Steps a rendering may take. A message takes some hundred; a loop over a hostile body ends here, within milliseconds.
const FUEL: u64 = 200_000;
/// The one template of an environment.
const NAME: &str = "template";
/// What happens to a value where it is put in. The template's own text is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// Nothing.
    None,
    /// `&`, `<` and `>` as Slack wants them: <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
    Slack,
    /// As one segment of a URL: everything but letters, digits, `-`, `_`, `.` and `~` is percent-encoded.
    Segment,
}

/// A template, compiled.
#[derive(Debug)]
pub struct Template {
    environment: Box<Environment<'static>>,
}

impl Template {
    /// Compiles a template, or says what is wrong and where in it.
    pub fn compile(source: &str, escape: Escape) -> Result<Self, Fault> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        // `safe` would switch the escaping off, and the others would escape twice.
        ["safe", "escape", "e"].iter().for_each(|filter| environment.remove_filter(filter));
        environment.add_filter("url", url);
        environment.set_formatter(move |out, state, value| {
            let text = match value.kind() {
                ValueKind::Undefined | ValueKind::None => return Ok(()),
                // As JSON has them, and not as Python does.
                ValueKind::Bool | ValueKind::Seq | ValueKind::Map => serde_json::to_string(value).unwrap_or_default(),
                _ => value.to_string(),
            };
            let cap = state.lookup(VALUE_CHARACTERS_MAX).and_then(|cap| usize::try_from(cap).ok());
            let text = cap.map_or(text.as_str(), |cap| cut(&text, cap));
            let is_written = match escape {
                Escape::None => out.write_str(text),
                Escape::Slack => write_slack(out, text),
                Escape::Segment => write!(out, "{}", percent_encoding::utf8_percent_encode(text, SEGMENT)),
            };
            is_written.map_err(minijinja::Error::from)
        });
        let added = environment.add_template_owned(NAME, source.to_owned());
        added.map_err(|error| {
            Fault::within(format!("the template does not compile: {}", detail(&error)), range(&error, source))
        })?;
        let template = Self { environment: Box::new(environment) };
        template.try_samples(source)?;
        Ok(template)
    }

    /// A name that does not exist, or a hyphen taken for a minus, shows only when a template is rendered: better now than with
    /// every event.
    fn try_samples(&self, source: &str) -> Result<(), Fault> {
        let mut failed = None;
        for (name, body) in vero::SAMPLES {
            let rendered = self.render_view(&View::of_sample(body), None);
            let Err(error) = rendered else {
                failed = Some(None);
                continue;
            };
            let is_unknown = matches!(
                error.kind(),
                ErrorKind::UnknownFilter
                    | ErrorKind::UnknownFunction
                    | ErrorKind::UnknownTest
                    | ErrorKind::UnknownMethod
            );
            if is_unknown {
                return Err(unknown_name(&error, source));
            }
            failed = failed.or(Some(Some((name, error))));
        }
        let Some(Some((name, error))) = failed else { return Ok(()) };
        let message = format!("the template cannot be rendered, for a `{name}` event: {}", detail(&error));
        let hint = "in templates a hyphen is a minus: write trigger_event for trigger-event";
        let help = has_hyphened_name(source).then(|| hint.to_owned());
        Err(Fault { message, help, within: range(&error, source) })
    }

    /// Renders an event. `value_characters_max` cuts each value before it is escaped.
    pub fn render(&self, view: &View, value_characters_max: Option<usize>) -> Result<String, String> {
        let rendered = self.render_view(view, value_characters_max);
        rendered.map_err(|error| format!("the template could not be rendered: {}", detail(&error)))
    }

    fn render_view(&self, view: &View, cap: Option<usize>) -> Result<String, minijinja::Error> {
        self.environment.get_template(NAME)?.render(view.root(cap))
    }
}

fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// Where in the source an error is.
fn range(error: &minijinja::Error, source: &str) -> Option<std::ops::Range<usize>> {
    error.range().filter(|range| source.get(range.clone()).is_some())
}

/// A filter, function, test or method that there is not.
fn unknown_name(error: &minijinja::Error, source: &str) -> Fault {
    let (what, known): (_, &[&str]) = match error.kind() {
        ErrorKind::UnknownFilter => ("filter", &FILTERS),
        ErrorKind::UnknownTest => ("test", &TESTS),
        ErrorKind::UnknownMethod => ("method", &[]),
        _ => ("function", &[]),
    };
    // It says `filter uper is unknown`, and of a function `now is unknown`.
    let said = detail(error);
    let name = said.strip_suffix(" is unknown").map(|said| said.rsplit(' ').next().unwrap_or_default());
    let message = name.map_or(said.clone(), |name| format!("there is no {what} `{name}` in templates"));
    let help = name.and_then(|name| did_you_mean(name, known.iter().copied()));
    Fault { message, help, within: range(error, source) }
}

/// Filters that people use most, to suggest.
const FILTERS: [&str; 19] = [
    "abs",
    "capitalize",
    "default",
    "first",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "replace",
    "round",
    "title",
    "tojson",
    "trim",
    "upper",
    "url",
];
/// And tests.
const TESTS: [&str; 9] = ["defined", "undefined", "none", "number", "string", "in", "startingwith", "endingwith", "eq"];

/// Whether a text has something for a template to do.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

fn has_hyphened_name(source: &str) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_lowercase);
    let bytes = source.as_bytes();
    (1..bytes.len()).any(|at| bytes[at] == b'-' && is_letter(bytes.get(at - 1)) && is_letter(bytes.get(at + 1)))
}

/// RFC 3986's unreserved characters stay.
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Writes text as Slack wants it.
fn write_slack(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for part in text.split_inclusive(['&', '<', '>']) {
        let (plain, special) = match part.as_bytes().last() {
            Some(b'&') => (&part[..part.len() - 1], "&amp;"),
            Some(b'<') => (&part[..part.len() - 1], "&lt;"),
            Some(b'>') => (&part[..part.len() - 1], "&gt;"),
            _ => (part, ""),
        };
        out.write_str(plain)?;
        out.write_str(special)?;
    }
    Ok(())
}

/// Cuts a text to a number of characters.
pub fn cut(text: &str, characters_max: usize) -> &str {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// `{{ campaign.permalink | url }}`: an http or https address that is safe between `<` and `|`; nothing for anything else.
fn url(value: Value) -> String {
    let text = value.as_str().unwrap_or_default();
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return String::new();
    }
    const UNSAFE: &percent_encoding::AsciiSet =
        &percent_encoding::CONTROLS.add(b' ').add(b'|').add(b'<').add(b'>').add(b'"').add(b'`');
    percent_encoding::utf8_percent_encode(text, UNSAFE).to_string()
}

/// The dotted path of a template that is nothing but `{{ path }}`.
pub fn sole_path(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let is_path = !inner.is_empty()
        && inner.split('.').all(|step| {
            !step.is_empty()
                && !step.starts_with(|c: char| c.is_ascii_digit())
                && step.chars().all(|c| c.is_alphanumeric() || c == '_')
        });
    (is_path && !matches!(inner, "true" | "false" | "none")).then_some(inner)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::super::Delivery;
    use super::*;
    use crate::event::EventId;
    use crate::event::Json;
    use crate::store::{NameId, StoredEvent};

    /// A delivery of a body.
    pub(in crate::destination) fn delivery(body: &str) -> Delivery {
        let event = StoredEvent {
            id: EventId::mint(1_700_000_000_000, 0, 7),
            received_ms: 1_700_000_000_000,
            source: NameId(1),
            generation: 1,
            rules: Vec::new(),
            deliveries: Vec::new(),
            body: body.to_owned().into(),
        };
        Delivery { event: Arc::new(event), source: "vero".into(), rule: "everything".into() }
    }

    fn render(template: &str, body: &str, escape: Escape) -> Result<String, String> {
        let compiled = Template::compile(template, escape).map_err(|fault| fault.message)?;
        compiled.render(&View::new(&delivery(body)), None)
    }

    #[track_caller]
    fn check(template: &str, body: &str, expected: &str) {
        assert_eq!(render(template, body, Escape::None).as_deref(), Ok(expected), "{template} on {body}");
    }

    #[test]
    fn values_are_found_and_missing_ones_are_nothing() {
        check("{{ campaign.name }}", r#"{"type":"sent","campaign":{"name":"Cart"}}"#, "Cart");
        check("<{{ campaign.name }}>", r#"{"type":"sent"}"#, "<>");
        check("<{{ a.b.c.d }}>", r#"{"type":"sent","a":null}"#, "<>");
        check("{{ campaign.trigger_event }}", r#"{"type":"sent","campaign":{"trigger-event":"x"}}"#, "x");
        check("{{ type }}", r#"{"action":"user_updated"}"#, "user_updated");
        check("{{ relay.source }} {{ relay.rule }}", r#"{"type":"sent"}"#, "vero everything");
        check("{{ relay.received_at }}", r#"{"type":"sent"}"#, "2023-11-14T22:13:20.000Z");
        check("{% if bounce_code > 500 %}yes{% endif %}", r#"{"type":"b","bounce_code":550}"#, "yes");
        check("{% for t in tags %}{{ t }},{% endfor %}", r#"{"type":"b","tags":["a","b"]}"#, "a,b,");
    }

    #[test]
    fn numbers_keep_their_text() {
        for number in [
            "1235666234572456",
            "9007199254740993",
            "12345678901234567890123",
            "12500.50",
            "129.9",
            "1e400",
            "1.0",
            "-0",
        ] {
            check("{{ n }}", &format!(r#"{{"type":"a","n":{number}}}"#), number);
        }
    }

    #[test]
    fn veros_odd_keys_are_found() {
        check(
            "{{ campaign.name }}|{{ campaign.subject }}",
            r#"{"type":"u","campaign":{"campaign_title":"T","email_subject":"S"}}"#,
            "T|S",
        );
        check("{{ campaign.name }}", r#"{"type":"u","campaign":{"name":null,"campaign_title":"T"}}"#, "T");
        check("{{ user.id }} {{ user.email }}", r#"{"action":"u","id":"7","email":"e@x"}"#, "7 e@x");
        check("{{ message_id }}", r#"{"type":"u","campaign":{"message_id":"M"}}"#, "M");
    }

    #[test]
    fn a_path_finds_what_a_template_finds_with_its_type() {
        let view =
            View::new(&delivery(r#"{"type":"u","n":12500.50,"campaign":{"campaign_title":"T","trigger-event":"e"}}"#));
        assert_eq!(view.find("n"), Some(Json::Number("12500.50".into())));
        assert_eq!(view.find("campaign.name"), Some(Json::String("T".into())));
        assert_eq!(view.find("campaign.trigger_event"), Some(Json::String("e".into())));
        assert_eq!(view.find("relay.source"), Some(Json::String("vero".into())));
        assert_eq!(view.find("type"), Some(Json::String("u".into())));
        assert_eq!(view.find("nothing.here"), None);
    }

    #[test]
    fn slacks_markup_is_harmless_in_values_and_stays_in_templates() {
        let body =
            r#"{"type":"a","campaign":{"name":"<!channel> & <http://x|y>","permalink":"http://a/b?c=1&d=2|e>"}}"#;
        let render = |template| render(template, body, Escape::Slack).expect("renders");
        assert_eq!(render("{{ campaign.name }}"), "&lt;!channel&gt; &amp; &lt;http://x|y&gt;");
        assert_eq!(render("<{{ campaign.permalink | url }}|view>"), "<http://a/b?c=1&amp;d=2%7Ce%3E|view>");
        assert_eq!(render("{{ campaign.name | upper }}"), "&lt;!CHANNEL&gt; &amp; &lt;HTTP://X|Y&gt;");
        assert!(Template::compile("{{ x | safe }}", Escape::Slack).is_err(), "nothing switches the escaping off");
    }

    #[test]
    fn a_value_in_a_url_is_one_segment() {
        let rendered = render("/u/{{ user.id }}", r#"{"type":"a","user":{"id":"a/../b?c#d é"}}"#, Escape::Segment);
        assert_eq!(rendered.as_deref(), Ok("/u/a%2F..%2Fb%3Fc%23d%20%C3%A9"));
    }

    #[test]
    fn a_template_that_would_run_for_ever_ends() {
        let body = format!(r#"{{"type":"a","l":[{}1]}}"#, "1,".repeat(2000));
        let loops = "{% for a in l %}{% for b in l %}{% for c in l %}x{% endfor %}{% endfor %}{% endfor %}";
        assert!(render(loops, &body, Escape::None).is_err());
    }

    #[test]
    fn what_does_not_compile_is_told_with_its_place() {
        assert!(Template::compile("{{ a", Escape::None).is_err());
        let source = "one\n{{ a b }}";
        let fault = Template::compile(source, Escape::None).expect_err("bad");
        assert_eq!(fault.within.map(|range| &source[range]), Some("b"));
    }

    #[test]
    fn what_can_never_be_rendered_does_not_compile() {
        let told = |source, part: &str| {
            let fault = Template::compile(source, Escape::None).expect_err(source);
            assert!(
                fault.message.contains(part) || fault.help.as_ref().is_some_and(|help| help.contains(part)),
                "{fault:?}"
            );
        };
        told("{{ type | uppr }}", "no filter `uppr`");
        told("{{ type | uppr }}", "did you mean `upper`?");
        told("{{ nope() }}", "nope");
        told("{{ campaign.trigger-event }}", "write trigger_event");
        // What fails only for some events is the template's own affair.
        assert!(Template::compile("{{ bounce_code + 1 }}", Escape::None).is_ok());
    }

    #[test]
    fn what_is_no_text_is_written_as_json() {
        check(
            "{{ flag }} {{ list }} {{ map }}",
            r#"{"type":"a","flag":true,"list":[1,"x"],"map":{"b":1,"a":null}}"#,
            r#"true [1,"x"] {"b":1,"a":null}"#,
        );
    }

    #[test]
    fn an_underscore_stands_for_a_hyphen_or_itself() {
        check("{{ a_b_c }}", r#"{"type":"a","a_b-c":1}"#, "1");
        check("{{ a_b }}", r#"{"type":"a","a-b":1,"a_b":2}"#, "2");
    }

    #[test]
    fn a_sole_path_is_seen() {
        assert_eq!(sole_path("{{ campaign.id }}"), Some("campaign.id"));
        assert_eq!(sole_path("{{campaign}}"), Some("campaign"));
        for text in ["x {{ a }}", "{{ a | upper }}", "{{ a }}{{ b }}", "{{ 1 }}", "{{ a[0] }}", "{{ true }}", "a"] {
            assert_eq!(sole_path(text), None, "{text}");
        }
    }
}

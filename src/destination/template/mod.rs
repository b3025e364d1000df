//! Templates over an event: minijinja, with Vero's odd keys, numbers that keep their digits, and escaping where a value goes in.
//!
//! A missing value renders as nothing. In templates a hyphen is a minus, so `campaign.trigger_event` finds `trigger-event`.
//!
//! # Cast
//!
//! * `destination/number.rs`, [`operands`], [`arithmetic`]: numbers that compute as numbers and print as they were sent.
//! * [`moments`], [`texts`], [`shown`]: the relay's own filters, and values as JSON.
//! * [`library`]: the table of all filters, tests and functions.
//! * [`trial`]: what trying all templates of a config may cost.

mod arithmetic;
pub mod library;
mod moments;
mod operands;
mod shown;
#[cfg(test)]
pub(super) mod tests;
mod texts;
pub mod trial;

use std::fmt;
use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, Output, State, UndefinedBehavior, Value};

use self::operands::Rewritten;
use self::texts::Encoded;
use super::cut::cut;
use super::view::{VALUE_CHARACTERS_MAX, View};
use super::{bounds, dialect};
use crate::event::vero;
use crate::fault::Fault;

/// Steps a rendering may take. A message takes some hundred; a loop over a hostile body ends here, within milliseconds.
const FUEL: u64 = 200_000;
/// Steps in which a template is tried on a sample first. It bounds what one that fails is charged with.
const TRIAL_FUEL: u64 = 5_000;
/// The one template of an environment.
const NAME: &str = "template";
/// What happens to a value where it is put in. The template's own text is never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    None,
    /// `&`, `<` and `>` as Slack wants them: <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
    Slack,
    /// As a text in HTML, between tags or in an attribute.
    Html,
    /// The same in a message of a chat: nobody is called by an `@`.
    ChatHtml,
    /// As a text in Markdown, as chats have it: a backslash before each sign that means something, and nobody is called by an `@`.
    Markdown,
    /// As one segment of a URL: everything but letters, digits, `-`, `_`, `.` and `~` is percent-encoded.
    Segment,
    /// As a part of a whole URL: the same, but for a value that stands first and is a URL itself.
    Url,
}

/// Around a value that was put into a URL, until it is known whether it stands first. No value keeps such a character.
const VALUE_BEGIN: char = '\u{1}';
const VALUE_END: char = '\u{2}';

static BASES: LazyLock<[Environment<'static>; 7]> = LazyLock::new(|| {
    use Escape::{ChatHtml, Html, Markdown, Segment, Slack, Url};
    [Escape::None, Slack, Html, ChatHtml, Markdown, Segment, Url].map(base)
});
/// The same, for what is tried first.
static TRIAL_BASES: LazyLock<[Environment<'static>; 7]> = LazyLock::new(|| {
    BASES.clone().map(|mut base| {
        base.set_fuel(Some(TRIAL_FUEL));
        base
    })
});

/// An environment without a template. Those of a config share what is in it.
fn base(escape: Escape) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(FUEL));
    // `safe` would switch the escaping off, and the others would escape twice.
    ["safe", "escape", "e"].iter().for_each(|filter| environment.remove_filter(filter));
    ["safe", "escaped"].iter().for_each(|test| environment.remove_test(test));
    arithmetic::add_to(&mut environment);
    texts::add_to(&mut environment, escape);
    environment.add_filter("date", moments::date);
    environment.add_filter("tojson", shown::tojson);
    environment.set_formatter(move |out, state, value| {
        let text = match value.kind() {
            ValueKind::Undefined | ValueKind::None if escape == Escape::Segment => String::new(),
            ValueKind::Undefined | ValueKind::None => return Ok(()),
            // As JSON has them, and not as Python does.
            ValueKind::Bool | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => shown::compact(value),
            _ => value.to_string(),
        };
        let text = capped(state, &text);
        let is_encoded = value.downcast_object_ref::<Encoded>().is_some();
        let is_written = match escape {
            Escape::None => out.write_str(text),
            Escape::Slack => write_slack(out, text),
            Escape::Html => write_html(out, text),
            // An address calls nobody.
            Escape::ChatHtml if value.is_safe() => write_html(out, text),
            Escape::ChatHtml => write_html(out, &calling_nobody(text)),
            // What the filter `url` has made is no text.
            Escape::Markdown if value.is_safe() => out.write_str(text),
            Escape::Markdown => write_markdown(out, text),
            Escape::Segment => write_segment(out, value, text, is_encoded),
            Escape::Url if is_encoded => out.write_str(text),
            Escape::Url => write!(out, "{VALUE_BEGIN}{}{VALUE_END}", text.replace([VALUE_BEGIN, VALUE_END], "")),
        };
        is_written.map_err(minijinja::Error::from)
    });
    environment
}

fn write_html(out: &mut Output<'_>, text: &str) -> std::fmt::Result {
    use std::fmt::Write as _;
    for c in text.chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

/// A text in which each `@` that begins a word is another sign.
fn calling_nobody(text: &str) -> String {
    let mut is_within_a_word = false;
    let other = |c: char| {
        let begins = c == '@' && !is_within_a_word;
        is_within_a_word = c.is_alphanumeric();
        if begins { CALLS_NOBODY } else { c }
    };
    text.chars().map(other).collect()
}

/// In the place of an `@` that begins a word: chats, in HTML as in Markdown, call whoever is named so, and no escape is said to keep them from it.
const CALLS_NOBODY: char = '＠';

/// What ends a line somewhere.
const LINE_BREAKS: [char; 7] = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];

/// A backslash before a sign stands for the sign itself in all of them:
/// <https://spec.commonmark.org/0.31.2/#backslash-escapes>. A value is one line, for what begins a line may be a heading, a list or words of
/// somebody else; a line break alone is the template's own.
fn write_markdown(out: &mut Output<'_>, text: &str) -> std::fmt::Result {
    use std::fmt::Write as _;
    if text.trim_matches(LINE_BREAKS).is_empty() {
        return out.write_str(text);
    }
    let text = calling_nobody(text);
    let marked = marker(&text);
    let mut is_at_a_break = false;
    for (at, c) in text.char_indices() {
        let is_break = LINE_BREAKS.contains(&c);
        match c {
            _ if is_break && is_at_a_break => {}
            _ if is_break => out.write_char(' ')?,
            c => {
                if r"\`*_~|<>[]()#".contains(c) || marked == Some(at) {
                    out.write_char('\\')?;
                }
                out.write_char(c)?;
            }
        }
        is_at_a_break = is_break;
    }
    Ok(())
}

/// Where the sign stands that would make a text the item of a list, a rule or a line below a heading, if a line begins with it.
fn marker(text: &str) -> Option<usize> {
    let begun = text.trim_start();
    let unnumbered = begun.trim_start_matches(|c: char| c.is_ascii_digit());
    let sign = unnumbered.chars().next()?;
    let is_item = unnumbered[sign.len_utf8()..].starts_with(char::is_whitespace) || unnumbered.len() == sign.len_utf8();
    let is_marker = match sign {
        '.' => begun.len() > unnumbered.len() && is_item,
        '-' | '+' if begun.len() == unnumbered.len() => {
            is_item || begun.trim_end().trim_matches([sign, ' ']).is_empty()
        }
        '=' => begun.trim_end().trim_matches('=').is_empty(),
        _ => false,
    };
    is_marker.then_some(text.len() - unnumbered.len())
}

/// A value of a URL's path or query, with what it is before it.
fn write_segment(out: &mut Output<'_>, value: &Value, text: &str, is_encoded: bool) -> std::fmt::Result {
    let is_listing = matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
    let mark = if is_listing { LISTING } else { VALUE };
    // What a template has put together already has marks of its own.
    let text = text.replace(MARKS, "");
    if text.trim_matches(is_blank).is_empty() {
        write!(out, "{mark}{EMPTY}{}", percent_encoding::utf8_percent_encode(&text, SEGMENT))
    } else if is_encoded {
        write!(out, "{mark}{text}")
    } else {
        write!(out, "{mark}{}", percent_encoding::utf8_percent_encode(&text, SEGMENT))
    }
}

fn capped<'t>(state: &State, text: &'t str) -> &'t str {
    let cap = state.lookup(VALUE_CHARACTERS_MAX).and_then(|cap| usize::try_from(cap).ok());
    cap.map_or(text, |cap| cut(text, cap))
}

/// Stands before each value in what [`Template::render_marked`] renders. No text holds it: Unicode keeps it for such uses.
pub const VALUE: char = '\u{fdd0}';
/// The same, before a list or a map.
pub const LISTING: char = '\u{fdd1}';
/// Stands behind [`VALUE`] where the value shows nothing.
pub const EMPTY: char = '\u{fdd2}';
/// All that [`Template::render_marked`] puts into a text.
pub const MARKS: [char; 3] = [VALUE, LISTING, EMPTY];

/// Blank, also where nothing shows: zero-width characters.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// A template that compiles.
///
/// Compiled, the shortest takes 14 KiB, and a config may have many thousands, of which few are ever used: so each is compiled once more when
/// its first event comes.
#[derive(Debug)]
pub struct Template {
    /// As it is compiled.
    source: String,
    environment: OnceLock<Box<Environment<'static>>>,
    escape: Escape,
}

/// What a template is rendered with, and so tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Event,
    Digest,
    Notice,
}

impl Subject {
    /// Its samples, with what each is.
    fn samples(self) -> Box<dyn Iterator<Item = (String, &'static View)>> {
        match self {
            Subject::Event => {
                let named = vero::SAMPLES.iter().zip(View::samples());
                Box::new(named.map(|((name, _), view)| (format!("a `{name}` event"), view)))
            }
            Subject::Digest => {
                Box::new(View::digest_samples().iter().map(|(name, view)| (format!("a digest of {name}"), view)))
            }
            Subject::Notice => Box::new(std::iter::once(("a notice".to_owned(), View::notice_sample()))),
        }
    }
}

impl Template {
    /// Compiles a template, or says what is wrong and where in it.
    pub fn compile(source: &str, escape: Escape) -> Result<Self, Fault> {
        Self::compile_for(source, escape, Subject::Event)
    }

    /// The same for what a template will be rendered with.
    pub fn compile_for(source: &str, escape: Escape, subject: Subject) -> Result<Self, Fault> {
        bounds::check(source)?;
        let base = &TRIAL_BASES[escape as usize];
        let compiled = base.template_from_named_str(NAME, source).map_err(|error| {
            let help = dialect::form(source).or_else(|| dialect::unclosed(source));
            let help = help.unwrap_or_else(|| dialect::USUAL.to_owned());
            let message = format!("the template does not compile: {}", detail(&error));
            Fault { message, help: Some(help), within: range(&error, source) }
        })?;
        let rewritten = operands::rewrite(source);
        check_names(base, &rewritten, source)?;
        match base.template_from_named_str(NAME, &rewritten.source) {
            Ok(computing) => try_samples(&computing, (escape, subject), source, Some(&rewritten))?,
            Err(_) => {
                try_samples(&compiled, (escape, subject), source, None)?;
                return Ok(Self { source: source.to_owned(), environment: OnceLock::new(), escape });
            }
        }
        Ok(Self { source: rewritten.source, environment: OnceLock::new(), escape })
    }

    /// Renders an event. `value_characters_max` cuts each value before it is escaped.
    pub fn render(&self, view: &View, value_characters_max: Option<usize>) -> Result<String, String> {
        let rendered = self.render_view(view, value_characters_max);
        let rendered = rendered.map(|text| match self.escape {
            Escape::Url => whole_url(&text),
            Escape::Segment => text.replace(MARKS, ""),
            Escape::None | Escape::Slack | Escape::Html | Escape::ChatHtml | Escape::Markdown => text,
        });
        rendered.map_err(|error| format!("the template could not be rendered: {}", detail(&error)))
    }

    /// As it is written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its text, where that is the same for every event.
    pub fn fixed(&self) -> Option<&str> {
        (!is_template(&self.source)).then_some(self.source.as_str())
    }

    /// Renders an event by [`Escape::Segment`], with [`VALUE`] or [`LISTING`] before each value, also an empty one.
    pub fn render_marked(&self, view: &View) -> Result<String, String> {
        let rendered = self.render_view(view, None);
        rendered.map_err(|error| format!("the template could not be rendered: {}", detail(&error)))
    }

    fn render_view(&self, view: &View, cap: Option<usize>) -> Result<String, minijinja::Error> {
        let template = self.environment.get_or_init(|| Box::new(self.environment())).get_template(NAME)?;
        if !trial::is_counted() {
            return template.render(view.root(cap));
        }
        if !trial::is_left() {
            return Err(ErrorKind::OutOfFuel.into());
        }
        render_counted(&template, view.root(cap), FUEL)
    }

    /// An environment with this template.
    fn environment(&self) -> Environment<'static> {
        let mut environment = BASES[self.escape as usize].clone();
        let added = environment.add_template_owned(NAME, self.source.clone());
        debug_assert!(added.is_ok(), "it has compiled before");
        environment
    }
}

/// Renders, and takes the steps off the budget of the config; all of `fuel` where it fails, since it is not told then what it took.
fn render_counted(template: &minijinja::Template<'_, '_>, root: Value, fuel: u64) -> Result<String, minijinja::Error> {
    match template.render_captured(root) {
        Ok(captured) => {
            trial::charge(captured.state().fuel_levels().map_or(fuel, |(consumed, _)| consumed));
            Ok(captured.into_output())
        }
        Err(error) => {
            trial::charge(fuel);
            Err(error)
        }
    }
}

/// Tries a template on Vero's samples, as far as the config's budget goes. A name that does not exist, or a hyphen
/// taken for a minus, shows only when a template is rendered: better now than with every event.
fn try_samples(
    template: &minijinja::Template<'_, '_>,
    (escape, subject): (Escape, Subject),
    source: &str,
    rewritten: Option<&Rewritten>,
) -> Result<(), Fault> {
    let at_length = |root: Value| {
        render_counted(&BASES[escape as usize].template_from_named_str(NAME, template.source())?, root, FUEL)
    };
    let mut failed = None;
    for (name, view) in subject.samples() {
        if !trial::is_left() {
            return Ok(());
        }
        let mut rendered = render_counted(template, view.root(None), TRIAL_FUEL);
        if rendered.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutOfFuel) {
            rendered = at_length(view.root(None));
        }
        let Err(error) = rendered else {
            failed = Some(None);
            continue;
        };
        let is_unknown = matches!(
            error.kind(),
            ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest | ErrorKind::UnknownMethod
        );
        if is_unknown {
            return Err(unknown_name(&error, range_in(&error, rewritten, source)));
        }
        failed = failed.or(Some(Some((name, error))));
    }
    let Some(Some((name, error))) = failed else { return Ok(()) };
    // The samples lack what a customer puts into an event; a rule may send only events that have it.
    if is_about_a_missing_value(&error) && !has_hyphened_name(source) {
        return Ok(());
    }
    let message = format!("the template cannot be rendered, for {name}: {}", detail(&error));
    let hint = "in templates a hyphen is a minus: write trigger_event for trigger-event";
    let help = has_hyphened_name(source).then(|| hint.to_owned());
    Err(Fault { message, help, within: range_in(&error, rewritten, source) })
}

fn detail(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// Where in the original text an error of the rewritten template is.
fn range_in(error: &minijinja::Error, rewritten: Option<&Rewritten>, source: &str) -> Option<Range<usize>> {
    let at = error.range()?;
    let at = rewritten.map_or(at.clone(), |rewritten| rewritten.original(at));
    source.get(at.clone()).is_some().then_some(at)
}

/// Where in the source an error is.
fn range(error: &minijinja::Error, source: &str) -> Option<std::ops::Range<usize>> {
    error.range().filter(|range| source.get(range.clone()).is_some())
}

/// Whether an operation failed because one side is missing.
fn is_about_a_missing_value(error: &minijinja::Error) -> bool {
    error.kind() == ErrorKind::InvalidOperation
        && error.detail().is_none_or(|detail| detail.contains("undefined") || detail.contains("none"))
}

/// Every filter and test that is named must exist, also where no sample leads.
fn check_names(base: &Environment<'_>, rewritten: &Rewritten, source: &str) -> Result<(), Fault> {
    let exists = |question: &str, name: &str| {
        let asked = base.compile_expression_owned(format!("'{name}' is {question}"));
        asked.and_then(|asked| asked.eval(())).is_ok_and(|answer| answer.is_true())
    };
    let filters = rewritten.filters.iter().map(|at| ("filter", ErrorKind::UnknownFilter, at));
    let tests = rewritten.tests.iter().map(|at| ("test", ErrorKind::UnknownTest, at));
    for (question, kind, at) in filters.chain(tests) {
        let name = &source[at.clone()];
        let is_listed = match kind {
            ErrorKind::UnknownFilter => library::filters().any(|known| known == name),
            _ => library::tests().any(|known| known == name),
        };
        if !is_listed && !exists(question, name) {
            return Err(unknown(kind, name, Some(at.clone())));
        }
    }
    Ok(())
}

/// A filter, function, test or method that there is not, as a rendering tells it.
fn unknown_name(error: &minijinja::Error, within: Option<Range<usize>>) -> Fault {
    // It says `filter uper is unknown`, and of a function `now is unknown`.
    let said = detail(error);
    match said.strip_suffix(" is unknown").map(|said| said.rsplit(' ').next().unwrap_or_default()) {
        Some(name) => unknown(error.kind(), name, within),
        // Of a method it says `string has no method named upper`.
        None => match said.rsplit_once("has no method named ") {
            Some((_, name)) => unknown(ErrorKind::UnknownMethod, name, within),
            None => Fault { message: said, help: Some(dialect::USUAL.to_owned()), within },
        },
    }
}

fn unknown(kind: ErrorKind, name: &str, within: Option<Range<usize>>) -> Fault {
    let (what, known): (_, Vec<&str>) = match kind {
        ErrorKind::UnknownFilter => ("filter", library::filters().collect()),
        ErrorKind::UnknownTest => ("test", library::tests().collect()),
        ErrorKind::UnknownMethod => ("method", Vec::new()),
        _ => ("function", library::functions().collect()),
    };
    let message = format!("there is no {what} `{name}` in templates");
    Fault { message, help: Some(dialect::name(what, name, known)), within }
}

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

/// A text as Slack wants it.
pub(super) fn slack_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    write_slack(&mut escaped, text).expect("a String takes all");
    escaped
}

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

/// A URL whose values are marked, with each encoded as its place asks: whole where it stands first, else as one part.
fn whole_url(marked: &str) -> String {
    let mut url = String::with_capacity(marked.len());
    let mut rest = marked;
    while let Some((before, from)) = rest.split_once(VALUE_BEGIN) {
        url.push_str(before);
        let (value, after) = from.split_once(VALUE_END).unwrap_or((from, ""));
        let is_whole = url.trim().is_empty() && ["http://", "https://"].iter().any(|scheme| value.starts_with(scheme));
        let set = if is_whole { WHOLE_URL } else { SEGMENT };
        url.extend(percent_encoding::utf8_percent_encode(value, set));
        rest = after;
    }
    url.push_str(rest);
    url
}

/// What a whole URL cannot hold as it is: blanks, controls and signs that mark its end elsewhere.
const WHOLE_URL: &percent_encoding::AsciiSet =
    &percent_encoding::CONTROLS.add(b' ').add(b'|').add(b'<').add(b'>').add(b'"').add(b'`');

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

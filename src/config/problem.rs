//! What is wrong with a config, told so that it can be mended: where, what, and the nearest right word.

use std::fmt;
use std::path::PathBuf;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::load::{Place, SyntaxError, locate};
use super::raw::{Node, NodeId};

/// Problems shown with their place; one walk over the file each. Whoever has more will come back.
const SHOWN_MAX: usize = 50;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It can, and probably does not do what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The key or value it is about; `None` for the whole file.
    pub at: Option<NodeId>,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in the user's words.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The line holds a secret and must not be shown.
    pub is_secret: bool,
}

/// A problem with its place.
#[derive(Clone, Debug)]
struct Placed {
    problem: Problem,
    place: Option<Place>,
}

/// All problems of one file, in the order of their places. `Display` shows them as people read them.
#[derive(Clone, Debug)]
pub struct Report {
    file: PathBuf,
    text: String,
    placed: Vec<Placed>,
    hidden: usize,
}

impl Report {
    /// Finds the place of each problem.
    pub(super) fn new(file: PathBuf, text: String, root: Option<&Node>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.at, problem.severity));
        let hidden = problems.len().saturating_sub(SHOWN_MAX);
        problems.truncate(SHOWN_MAX);
        let place = |at: Option<NodeId>| root.and_then(|root| locate(&text, root, at?));
        let mut placed: Vec<_> =
            problems.into_iter().map(|problem| Placed { place: place(problem.at), problem }).collect();
        placed.sort_by_key(|placed| placed.place.map(|place| place.offset));
        // Through an anchor that is used twice, one slip would be told twice.
        placed.dedup_by(|one, other| {
            one.place.is_some() && one.place == other.place && one.problem.message == other.problem.message
        });
        Self { file, text, placed, hidden }
    }

    /// The report of a file that is not YAML.
    pub(super) fn syntax(file: PathBuf, text: String, error: SyntaxError) -> Self {
        let slip = slip(&text, error.place);
        let message = format!("this cannot be read as YAML: {}", error.message);
        let problem = Problem { at: None, severity: Severity::Error, message, help: slip, is_secret: false };
        Self { file, text, placed: vec![Placed { problem, place: error.place }], hidden: 0 }
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many of one severity are shown.
    pub fn count(&self, severity: Severity) -> usize {
        self.placed.iter().filter(|placed| placed.problem.severity == severity).count()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// One line each: `file:line:column: error: what is wrong (what to do)`. For logs.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.placed.iter().map(|Placed { problem, place }| {
            let place = place.map(|place| format!(":{}:{}", place.line, place.column)).unwrap_or_default();
            let severity = if problem.severity == Severity::Error { "error" } else { "warning" };
            let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{}{place}: {severity}: {}{help}", self.file.display(), problem.message)
        })
    }

    /// The problems with their lines, in colour or not.
    pub fn render(&self, is_coloured: bool) -> String {
        let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for placed in &self.placed {
            out.push_str(&self.render_one(&renderer, placed));
            out.push_str("\n\n");
        }
        if self.hidden > 0 {
            out.push_str(&format!("… and {} more\n", self.hidden));
        }
        out
    }

    fn render_one(&self, renderer: &Renderer, placed: &Placed) -> String {
        let Placed { problem, place } = placed;
        let level = if problem.severity == Severity::Error { Level::ERROR } else { Level::WARNING };
        let path = self.file.display().to_string();
        let title = level.primary_title(problem.message.as_str());
        let help = problem.help.as_deref().map(|help| Level::HELP.message(help));
        let Some(place) = place else {
            let group = title.element(annotate_snippets::Origin::path(path));
            return renderer.render(&[match help {
                Some(help) => group.element(help),
                None => group,
            }]);
        };
        if problem.is_secret || may_hold_secret(line_at(&self.text, place.offset)) {
            let origin = annotate_snippets::Origin::path(path).line(place.line).char_column(place.column);
            let group = title.element(origin).element(Level::NOTE.message("the line holds a secret and is not shown"));
            return renderer.render(&[match help {
                Some(help) => group.element(help),
                None => group,
            }]);
        }
        let span = span(&self.text, place.offset);
        let snippet = Snippet::source(self.text.as_str()).path(path).annotation(AnnotationKind::Primary.span(span));
        let group = title.element(snippet);
        renderer.render(&[match help {
            Some(help) => group.element(help),
            None => group,
        }])
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// The whole line that an offset is on.
fn line_at(text: &str, offset: usize) -> &str {
    let at = text.floor_char_boundary(offset.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// Whether a secret is written out on a line, wherever in the file it is: indented wrongly it is in no section that is known to hold
/// one, and in a file that is not YAML there are no sections.
fn may_hold_secret(line: &str) -> bool {
    const KEYS: [&str; 5] = ["token", "tokens", "bearer", "password", "signing_secrets"];
    let is_written_out = |after: &str| {
        let value = after.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':');
        let value = value.map_or("", |value| value.trim_start_matches([' ', '"', '\'', '[']));
        // What a variable's name says may be read; a default, or anything behind the `}`, is written out.
        let named =
            value.strip_prefix("${").and_then(|rest| rest.split_once('}')).filter(|(name, _)| !name.contains(":-"));
        let value = named.map_or(value, |(_, behind)| behind.trim_start_matches(['"', '\'', ' ', ']', '}', ',']));
        !value.is_empty() && !value.starts_with('#')
    };
    let follows = |key: &str| line.match_indices(key).any(|(at, _)| is_written_out(&line[at + key.len()..]));
    line.contains("hooks.slack.com/") || KEYS.into_iter().any(follows)
}

/// The word at an offset: to the end of its line at most.
fn span(text: &str, offset: usize) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(offset.min(text.len()));
    let rest = text[start..].lines().next().unwrap_or_default();
    let quoted = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
    let length = match quoted {
        Some(quote) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        None => rest.find([':', ',', ']', '}', '#', '[', '{']).filter(|end| *end > 0).unwrap_or(rest.len()),
    };
    start..start + rest[..length].trim_end().len().max(usize::from(!rest.is_empty()))
}

/// The common slips of those who write templates in YAML, and the quoted form.
fn slip(text: &str, place: Option<Place>) -> Option<String> {
    let near = place.map_or(1, |place| place.line);
    let lines = text.lines().enumerate();
    let mut nearby = lines.filter(|(i, _)| (i + 1).abs_diff(near) <= 1).map(|(_, line)| line);
    nearby.find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        let (key, value) = (key.trim().trim_start_matches("- "), value.trim());
        let is_bare = !value.starts_with(['"', '\'', '|', '>']);
        let is_quoted_at =
            |at: usize| value[..at].matches('"').count() % 2 == 1 || value[..at].matches('\'').count() % 2 == 1;
        let has_bare = |tag: &str| value.find(tag).is_some_and(|at| !is_quoted_at(at));
        if is_bare && has_bare("${") {
            return Some("quote every value that holds `${`: url: \"${NAME}\"".to_owned());
        }
        let is_flow = value.starts_with(['{', '[']) && !value.starts_with("{{");
        let is_template = has_bare("{{") || value.starts_with(['*', '&', '%', '@', '`', ':']);
        if is_bare && is_flow && has_bare("{{") {
            return Some("quote every value that holds `{{`".to_owned());
        }
        (is_bare && is_template).then(|| format!("quote the value: {key}: \"{}\"", value.replace('"', "'")))
    })
}

/// The nearest of the known words, if one is near enough to be meant.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean …", if there is something near.
pub fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("bounsed", ["sent", "bounced", "opened"]), Some("bounced"));
        assert_eq!(nearest("x", ["sent", "bounced"]), None);
        assert_eq!(nearest("Campaign", ["campaign"]), Some("campaign"));
    }

    #[test]
    fn a_line_that_writes_a_secret_out_is_known_and_one_that_names_a_variable_is_harmless() {
        for (line, expected) in [
            ("    token: abc", true),
            ("  vero: { \"token\": \"abc\" }", true),
            ("    tokens: [abc, def]", true),
            ("url: https://hooks.slack.com/services/T/B/x", true),
            ("    password: 'abc", true),
            ("    token: \"${TOKEN}\"", false),
            ("    token: ${TOKEN}abc", true),
            ("    token: \"${TOKEN:-abc}\"", true),
            ("  vero: { token: \"${TOKEN}\" } # from Vero", false),
            ("    token:", false),
            ("    name: token", false),
        ] {
            assert_eq!(may_hold_secret(line), expected, "{line}");
        }
        assert_eq!(line_at("a: b\n  cä: d\ne", 9), "  cä: d");
    }

    #[test]
    fn a_span_is_the_word() {
        let of = |text: &'static str, offset| &text[span(text, offset)];
        assert_eq!(of("a: word # note", 3), "word");
        assert_eq!(of("a: \"two words\"\n", 3), "\"two words\"");
        assert_eq!(of("key: v", 0), "key");
        assert_eq!(of("", 0), "");
    }
}

//! What is wrong with a config, told so that it can be mended: where, what, and the nearest right word.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::load::Place;
use super::places::Places;
use super::raw::{Node, NodeId, Value};
use super::secrecy::{self, line_at, may_hold_secret};
pub use super::words::{did_you_mean, nearest};

/// Problems shown with their place. Whoever has more will come back.
const SHOWN_MAX: usize = 50;
/// What reading a file has found.
pub(crate) struct Found {
    /// The problems, or the first of them.
    pub problems: Vec<Problem>,
    /// How many there are in all, by severity.
    pub counts: [usize; 2],
    /// Texts whose lines must not be shown.
    pub unshown: Vec<String>,
}

impl Found {
    /// Keeps the problems that are shown, the first of each severity.
    pub fn keep_shown(&mut self) {
        self.problems.sort_by_key(|problem| (!problem.is_first, problem.severity, problem.at));
        self.problems.truncate(SHOWN_MAX);
    }

    /// What their places are found by.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.problems.iter().filter(|problem| problem.place.is_none()).filter_map(|problem| problem.at)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It can, and probably does not do what was meant.
    Warning,
}

impl Severity {
    /// What it is called in reports.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The key or value it is about; `None` for the whole file.
    pub at: Option<NodeId>,
    pub severity: Severity,
    /// What is wrong, in the user's words.
    pub message: String,
    pub help: Option<String>,
    /// Where in the value's text, in bytes.
    pub within: Option<Range<usize>>,
    /// The line holds a secret and must not be shown.
    pub is_secret: bool,
    /// A place that is no value's own.
    pub place: Option<Place>,
    /// It is told before the others, which may follow from it.
    pub is_first: bool,
}

/// What is wrong with a file that is not YAML.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    pub message: String,
    pub help: Option<String>,
    /// Where it was made.
    pub place: Option<Place>,
}

/// A line longer than this was not written by hand, and underlining its end helps nobody.
const LINE_BYTES_MAX: usize = 300;
/// And beyond this it is not shown.
const SHOWN_LINE_BYTES_MAX: usize = 16 << 10;
/// Shorter texts are no secrets, and would be found on every line.
const UNSHOWN_BYTES_MIN: usize = 4;

/// A problem with its place.
#[derive(Clone, Debug)]
struct Placed {
    problem: Problem,
    place: Option<Place>,
    /// What is underlined, when it is not the word that stands there.
    span: Option<Range<usize>>,
}

impl Placed {
    fn find(mut problem: Problem, text: &str, root: &Node, places: &Places) -> Self {
        let place = problem.place.or_else(|| places.get(problem.at?));
        let (Some(within), Some(place)) = (problem.within.clone(), place) else {
            return Self { problem, place, span: None };
        };
        let scalar = problem.at.and_then(|at| scalar_text(root, at)).unwrap_or_default();
        match in_file(text, place.offset, scalar, &within) {
            Some(span) => {
                let line_start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
                let line = text[..span.start].matches('\n').count() + 1;
                let column = text[line_start..span.start].chars().count() + 1;
                let place = Place { line, column, offset: span.start };
                Self { problem, place: Some(place), span: Some(span) }
            }
            None => {
                let before = scalar.get(..within.start).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default();
                let column = column.chars().count() + 1;
                problem.message.push_str(&format!(" (at {line}:{column} of the text)"));
                Self { problem, place: Some(place), span: None }
            }
        }
    }
}

/// The text of a scalar below a node.
fn scalar_text(node: &Node, wanted: NodeId) -> Option<&str> {
    match &node.value {
        Value::Scalar(scalar) => (node.id == wanted).then_some(&scalar.text),
        Value::List(items) => items.iter().find_map(|item| scalar_text(item, wanted)),
        Value::Map(entries) => entries.iter().find_map(|(_, node)| scalar_text(node, wanted)),
    }
}

/// Where a part of a scalar's text stands in the file, if it stands there as it is: plain, in quotes, or as a block.
fn in_file(text: &str, offset: usize, scalar: &str, within: &Range<usize>) -> Option<Range<usize>> {
    let rest = text.get(offset..)?;
    let on_one_line = |quote: usize| {
        let shift = offset + quote;
        (rest.get(quote..)?.starts_with(scalar) && !scalar.contains('\n'))
            .then(|| within.start + shift..within.end + shift)
    };
    match rest.as_bytes().first()? {
        b'"' | b'\'' => on_one_line(1),
        b'|' => {
            // Line by line, each without the indentation of the first.
            let mut at = offset + rest.find('\n')? + 1;
            let indentation = text[at..].len() - text[at..].trim_start_matches(' ').len();
            let mut start = 0;
            for line in scalar.split_inclusive('\n') {
                let from = at + if line == "\n" { 0 } else { indentation };
                if !text.get(from..)?.starts_with(line) {
                    return None;
                }
                if within.start < start + line.len() {
                    let begin = within.start - start;
                    let end = (within.end - start).min(line.trim_end().len());
                    return Some(from + begin..from + end.max(begin));
                }
                (start, at) = (start + line.len(), from + line.len());
            }
            None
        }
        _ => on_one_line(0),
    }
}

/// What a comment cut off is why the rest of a text is wrong: the error says so, and the warning goes.
fn explain_by_cuts(placed: &mut Vec<Placed>, text: &str) {
    let cuts = placed.iter().filter(|placed| placed.problem.place.is_some());
    let cuts: Vec<_> = cuts.map(|placed| (placed.place, placed.problem.clone())).collect();
    let mut explained = Vec::new();
    for Placed { problem, place, .. } in placed.iter_mut().filter(|placed| placed.problem.place.is_none()) {
        let is_its = |(at, _): &&(Option<Place>, Problem)| {
            // What is nothing stands where the comment begins, or a blank before it.
            let is_blank = |from: usize, to: usize| {
                text.get(from..to).is_some_and(|text| text.trim_matches([' ', ':', '-']).is_empty())
            };
            at.zip(*place).is_some_and(|(cut, own)| {
                cut.line == own.line && (cut.offset <= own.offset || is_blank(own.offset, cut.offset))
            })
        };
        if problem.severity == Severity::Error
            && let Some((at, cut)) = cuts.iter().find(is_its)
        {
            problem.help = Some(format!("{}; {}", cut.message, cut.help.as_deref().unwrap_or_default()));
            explained.push(*at);
        }
    }
    placed.retain(|placed| placed.problem.place.is_none() || !explained.contains(&placed.place));
}

/// All problems of one file, in the order of their places. `Display` shows them as people read them.
#[derive(Clone, Debug)]
pub struct Report {
    file: PathBuf,
    text: String,
    placed: Vec<Placed>,
    /// Those that are not shown, by severity.
    hidden: [usize; 2],
}

impl Report {
    /// Puts each problem where it is. What is not shown has gone from `found`; `places` has the rest.
    pub(crate) fn new(file: PathBuf, text: String, root: &Node, found: Found, places: &Places) -> Self {
        let Found { mut problems, counts, unshown } = found;
        problems.retain(|problem| problem.place.is_some() || problem.at.is_none_or(|at| !places.gave_up(at)));
        let shown = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
        let hidden = [Severity::Error, Severity::Warning].map(|severity| counts[severity as usize] - shown(severity));
        let mut placed: Vec<_> =
            problems.into_iter().map(|problem| Placed::find(problem, &text, root, places)).collect();
        placed.sort_by_key(|placed| {
            (!placed.problem.is_first, placed.place.map(|place| place.offset), placed.problem.severity)
        });
        explain_by_cuts(&mut placed, &text);
        // Through an anchor that is used twice, one slip would be told twice.
        placed.dedup_by(|one, other| {
            // What was seen in the file itself tells why a value is as odd as another warning says.
            let is_explained = other.problem.place.is_some() && one.problem.severity == Severity::Warning;
            let is_same = one.problem.message == other.problem.message;
            one.place.is_some() && one.place == other.place && (is_same || is_explained)
        });
        for Placed { problem, place, .. } in &mut placed {
            let line = place.map(|place| line_at(&text, place.offset)).unwrap_or_default();
            let holds = |secret: &&String| secret.len() >= UNSHOWN_BYTES_MIN && line.contains(secret.as_str());
            // Nobody reads such a line, and looking for every secret in it would take long.
            problem.is_secret |= line.len() > SHOWN_LINE_BYTES_MAX || unshown.iter().any(|secret| holds(&secret));
        }
        // What one problem of a line must not show, another one must not either.
        let at_line = |placed: &Placed| placed.place.map(|place| place.line);
        let secret: HashSet<_> = placed.iter().filter(|placed| placed.problem.is_secret).filter_map(at_line).collect();
        for one in &mut placed {
            one.problem.is_secret |= at_line(one).is_some_and(|line| secret.contains(&line));
        }
        Self { file, text, placed, hidden }
    }

    /// The report of a file that is not YAML.
    pub(crate) fn syntax(file: PathBuf, text: String, diagnosis: Diagnosis) -> Self {
        let Diagnosis { message, help, place } = diagnosis;
        let message = format!("this cannot be read as YAML: {message}");
        // What it holds is not known, so its keys must tell, and those above it.
        let is_secret = place.is_some_and(|place| secrecy::may_show_secret(&text, place.offset));
        let severity = Severity::Error;
        let problem =
            Problem { at: None, place: None, severity, message, help, within: None, is_secret, is_first: false };
        Self { file, text, placed: vec![Placed { problem, place, span: None }], hidden: [0; 2] }
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        let shown = self.placed.iter().filter(|placed| placed.problem.severity == severity).count();
        shown + self.hidden[severity as usize]
    }

    /// The problems for machines.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let one = |Placed { problem, place, .. }: &Placed| {
            serde_json::json!({
                "severity": problem.severity.word(),
                "line": place.map(|place| place.line),
                "column": place.map(|place| place.column),
                "message": problem.message,
                "help": problem.help,
            })
        };
        self.placed.iter().map(one).collect()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// How many are counted and not shown.
    pub fn hidden(&self) -> usize {
        self.hidden.iter().sum()
    }

    /// One line each: `file:line:column: error: what is wrong (what to do)`. For logs.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.placed.iter().map(|Placed { problem, place, .. }| {
            let place = place.map(|place| format!(":{}:{}", place.line, place.column)).unwrap_or_default();
            let severity = problem.severity.word();
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
        let hidden = self.hidden();
        if hidden > 0 {
            out.push_str(&format!("… and {hidden} more\n"));
        }
        out
    }

    fn render_one(&self, renderer: &Renderer, placed: &Placed) -> String {
        let Placed { problem, place, span: underlined } = placed;
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
        let line = line_at(&self.text, place.offset);
        if problem.is_secret || may_hold_secret(line) || secrecy::lies_beside_secret(&self.text, place.offset) {
            let origin = annotate_snippets::Origin::path(path).line(place.line).char_column(place.column);
            let group =
                title.element(origin).element(Level::NOTE.message("the line may hold a secret and is not shown"));
            return renderer.render(&[match help {
                Some(help) => group.element(help),
                None => group,
            }]);
        }
        let is_long = line_at(&self.text, place.offset).len() > LINE_BYTES_MAX;
        let word = || if is_long { first(&self.text, place.offset) } else { span(&self.text, place.offset) };
        let span = underlined.clone().unwrap_or_else(word);
        // The lines alone: the library counts through all that it is given.
        // The end of the file belongs to its last line.
        let before = &self.text[..span.start];
        let before = if span.start == self.text.len() { before.strip_suffix('\n').unwrap_or(before) } else { before };
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[span.end..].find('\n').map_or(self.text.len(), |at| span.end + at + 1);
        let line = self.text[..start].matches('\n').count() + 1;
        let snippet = Snippet::source(&self.text[start..end]).line_start(line).path(path);
        let snippet = snippet.annotation(AnnotationKind::Primary.span(span.start - start..span.end - start));
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

/// The word at an offset: to the end of its line at most.
fn span(text: &str, offset: usize) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(offset.min(text.len()));
    let rest = text[start..].lines().next().unwrap_or_default();
    let quoted = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
    let length = match quoted {
        Some(quote) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        None => plain_length(rest),
    };
    // A blank alone is one all the same.
    let least = rest.chars().next().map_or(0, char::len_utf8);
    start..start + rest[..length].trim_end().len().max(least)
}

/// The one character at an offset.
fn first(text: &str, offset: usize) -> Range<usize> {
    let start = text.floor_char_boundary(offset.min(text.len()));
    start..start + text[start..].chars().next().map_or(0, char::len_utf8)
}

/// How far a key or a plain value reaches.
fn plain_length(rest: &str) -> usize {
    let ends = |(at, c): &(usize, char)| match c {
        ':' => rest[at + 1..].starts_with(' ') || rest.len() == at + 1,
        '#' => rest[..*at].ends_with(' '),
        c => matches!(c, ',' | ']' | '}' | '[' | '{'),
    };
    rest.char_indices().skip(1).find(ends).map_or(rest.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_the_word() {
        assert_eq!(line_at("a: b\n  cä: d\ne", 9), "  cä: d");
        let of = |text: &'static str, offset| &text[span(text, offset)];
        assert_eq!(of("a: word # note", 3), "word");
        assert_eq!(of("a: \"two words\"\n", 3), "\"two words\"");
        assert_eq!(of("key: v", 0), "key");
        assert_eq!(of("", 0), "");
        assert_eq!(of("a: \u{a0}\n", 3), "\u{a0}", "not half a character");
    }
}

//! Typed reading of nodes. Every wrong value becomes a problem and reading goes on, so that all problems are told at once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use super::forms;
use super::hints::Hints;
use super::load::{NODES_MAX, Place};
use super::masked::{Everywhere, Mixed};
use super::problem::{Found, Problem, Severity};
use super::raw::{Node, NodeId, Scalar, Style, Value};
use super::resolved::{Filled, Resolved, is_passed_on, step};
use super::values::{At, Interpolated, InterpolationError, Surroundings, interpolate, written_out};
use super::words::variable_name;
use crate::fault::Fault;
use crate::secret::Secret;
use crate::units::{self, shown_duration, shown_size};

/// YAML 1.1's merge key. With it serde_yaml would lose all places.
pub const MERGE: &str = "<<";

/// Problems of one severity that are kept. More are counted; whoever has as many mends some and comes back.
const KEPT_MAX: usize = 500;
/// A report shows fifty problems. Beyond some more, no help is looked for.
const LOOKS_MAX: u16 = 200;

/// Collects problems, and knows where relative paths start.
pub struct Reader {
    problems: RefCell<Vec<Problem>>,
    /// How many there are by severity, kept or not.
    counts: [Cell<usize>; 2],
    /// The scalars with something in them that came from outside.
    pub(super) mixed: RefCell<HashMap<NodeId, Mixed>>,
    /// Those in which something stands for a value.
    pub(super) placeholders: RefCell<HashMap<NodeId, Placeholder>>,
    /// Those that hold nothing from outside, but a default, as they stand in the file.
    defaulted: RefCell<HashMap<NodeId, String>>,
    /// What variables, files and credentials held, and where it went.
    pub(super) resolved: RefCell<Resolved>,
    /// The same, as it is taken out of messages about other places.
    everywhere: OnceCell<Everywhere>,
    /// The names in the file.
    keys: RefCell<HashSet<String>>,
    /// The file was brought by somebody who may not know what came from outside.
    is_strangers: Cell<bool>,
    /// What stands nowhere in the file, each with what stands for it.
    made: RefCell<HashMap<NodeId, NodeId>>,
    /// What of that nobody can mend: of it no warning is told.
    unmendable: RefCell<HashSet<NodeId>>,
    /// What of that is nobody's: of it nothing is told.
    supposed: RefCell<HashSet<NodeId>>,
    /// Secrets that stand in the file as they are and are put where nothing tells that they are ones.
    concealed: RefCell<Vec<String>>,
    /// What stands in the file and must not be shown with its line.
    unshown: RefCell<HashSet<String>>,
    /// What stands beside the `${…}` of a secret, or is a default of it. Messages may hold it: it may be what each address of the kind begins with.
    beside: RefCell<HashSet<String>>,
    /// Secrets that stand in the file as they are, and how many characters each has.
    plain: RefCell<Vec<(NodeId, usize)>>,
    /// How many more times the right word is looked for, for errors and for warnings.
    looks: Cell<[u16; 2]>,
    /// In a section where any value may be a secret, a line is shown only if the value on it is known to be none.
    pub(super) hides_values: Cell<bool>,
    /// What all patterns count for so far.
    pattern_bytes: Cell<usize>,
    /// Who knows what the file means.
    pub(super) hints: &'static dyn Hints,
    /// The directory of the config file: what is read is relative to it.
    pub directory: PathBuf,
}

/// What stands for a value that must not go where it is asked for.
#[derive(Clone)]
pub(super) struct Placeholder {
    /// What was asked for.
    pub reference: String,
    /// The text as it stands in the file.
    pub raw: String,
}

/// A message or a help repeats what stands in the file; of a value as long as the file it shows the beginning.
const TOLD_CHARS_MAX: usize = 600;

fn shortened(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TOLD_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

impl Reader {
    /// A reader for a file in `directory`; `hints` know what the file means.
    pub fn new(directory: PathBuf, hints: &'static dyn Hints) -> Self {
        Self {
            problems: RefCell::default(),
            counts: Default::default(),
            mixed: RefCell::default(),
            placeholders: RefCell::default(),
            defaulted: RefCell::default(),
            resolved: RefCell::default(),
            everywhere: OnceCell::new(),
            keys: RefCell::default(),
            is_strangers: Cell::new(false),
            made: RefCell::default(),
            unmendable: RefCell::default(),
            supposed: RefCell::default(),
            concealed: RefCell::default(),
            unshown: RefCell::default(),
            beside: RefCell::default(),
            plain: RefCell::default(),
            looks: Cell::new([LOOKS_MAX; 2]),
            hides_values: Cell::new(false),
            pattern_bytes: Cell::new(0),
            hints,
            directory,
        }
    }

    /// How many errors have been found so far.
    pub fn errors(&self) -> usize {
        self.counts[Severity::Error as usize].get()
    }

    /// Whether one more error would not be told but counted: then what it costs to say how to mend it is saved.
    pub fn is_full(&self) -> bool {
        self.errors() >= KEPT_MAX
    }

    /// What all patterns that were compiled so far count for.
    pub fn pattern_bytes(&self) -> usize {
        self.pattern_bytes.get()
    }

    /// Counts a pattern that was compiled, or found too large.
    pub fn count_pattern(&self, bytes: usize) {
        self.pattern_bytes.set(self.pattern_bytes.get() + bytes);
    }

    /// All problems so far, and the texts of the file that must not be shown with them.
    pub(crate) fn into_found(self) -> Found {
        let counts = self.counts.map(|count| count.get());
        let mut problems = self.problems.into_inner();
        let unshown = self.unshown.into_inner();
        // There may be tens of thousands, and hardly any is quoted anywhere: each is looked for once, in all that is said together.
        let texts = problems.iter().flat_map(|problem| [Some(&problem.message), problem.help.as_ref()]).flatten();
        let said = texts.map(String::as_str).collect::<HashSet<_>>().into_iter().collect::<Vec<_>>().join("\n");
        let secrets = Everywhere::in_the_file(unshown.iter().filter(|secret| said.contains(secret.as_str())));
        for problem in &mut problems {
            problem.message = secrets.mask(std::mem::take(&mut problem.message));
            problem.help = problem.help.take().map(|help| secrets.mask(help));
        }
        let unshown = unshown.into_iter().chain(self.beside.into_inner()).collect();
        Found { problems, counts, unshown }
    }

    pub fn error(&self, at: NodeId, message: impl Into<String>) {
        self.fault(at, Fault::with_help(message, None));
    }

    /// Adds an error, with what to do about it.
    pub fn error_with(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.fault(at, Fault::with_help(message, help));
    }

    /// Whether the right word is still looked for: more problems than are shown cost no more than they must.
    pub fn may_look(&self, severity: Severity) -> bool {
        let mut looks = self.looks.get();
        let left = &mut looks[severity as usize];
        let may = *left > 0;
        *left = left.saturating_sub(1);
        self.looks.set(looks);
        may
    }

    /// Adds an error that is told before all others: they may follow from it.
    pub fn first_error(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        let before = self.problems.borrow().len();
        self.error_with(at, message, help);
        // More than are kept are only counted.
        if let Some(problem) = self.problems.borrow_mut().get_mut(before) {
            problem.is_first = true;
        }
    }

    /// Adds a warning at a place that is no value's own.
    pub fn warning_at(&self, place: Place, message: impl Into<String>, help: impl Into<Option<String>>) {
        let before = self.problems.borrow().len();
        self.warning(NodeId(0), message, help);
        if let Some(problem) = self.problems.borrow_mut().get_mut(before) {
            (problem.at, problem.place) = (None, Some(place));
        }
    }

    /// Adds a warning about a part of a text.
    pub fn warning_within(&self, at: NodeId, fault: Fault) {
        self.push(at, Severity::Warning, fault, false);
    }

    /// Adds an error in a text, at its place there.
    pub fn fault(&self, at: NodeId, fault: Fault) {
        self.push(at, Severity::Error, fault, false);
    }

    /// Adds an error about a value that is a secret, with what to do about it. Its line will not be shown.
    pub fn secret_error_with(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.push(at, Severity::Error, Fault::with_help(message, help), true);
    }

    /// Adds an error about a URL. Its line is shown only where it is a reference to a variable and nothing else.
    pub fn url_error(&self, node: &Node, message: impl Into<String>) {
        let text = node.scalar().filter(|scalar| !scalar.is_interpolated).map_or("", |scalar| &scalar.text);
        let of_variable = || Some("look at what stands behind its `${…}`".to_owned());
        let is_filled = node.scalar().is_some_and(|scalar| scalar.is_interpolated);
        let help = if is_filled { of_variable() } else { forms::url(text) };
        self.push(node.id, Severity::Error, Fault::with_help(message, help), !forms::is_reference(text));
    }

    /// Adds an error in a text that is a secret.
    pub fn secret_fault(&self, at: NodeId, fault: Fault) {
        self.push(at, Severity::Error, fault, true);
    }

    pub fn warning(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.push(at, Severity::Warning, Fault::with_help(message, help), false);
    }

    /// Adds a warning about a value that is a secret: its line will not be shown.
    pub fn secret_warning(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.push(at, Severity::Warning, Fault::with_help(message, help), true);
    }

    /// Adds an error about a value whose line is not shown, in words that are the same whatever it is: nothing of it can be in them, so they
    /// are told whole also where a part of it came from outside.
    pub fn fixed_error(&self, at: NodeId, message: &'static str, help: &'static str) {
        self.add(at, Severity::Error, true, || Fault::with_help(message, help.to_owned()));
    }

    /// Adds a warning in such words.
    pub fn fixed_warning(&self, at: NodeId, message: impl Into<String>, help: impl Into<Option<String>>) {
        self.add(at, Severity::Warning, true, || Fault::with_help(message, help));
    }

    /// Notes a secret. If it stands in the file as it is, its line is never shown, and [`take_plain`](Self::take_plain) has it.
    pub fn note_secret(&self, node: &Node) {
        self.hide(node);
        let plain = node.scalar().filter(|scalar| !scalar.is_interpolated && scalar.style != Style::Unresolved);
        // `$${NAME}` comes to `${NAME}`, which `variable_name` knows without its braces.
        let named = |text: &str| variable_name(text).or_else(|| variable_name(text.strip_prefix('$')?)).is_some();
        if plain.is_some_and(|scalar| named(&scalar.text)) {
            // It may be one all the same, and is not repeated.
            let message = "this looks like a variable, and is taken as it stands: its signs are a part of the secret";
            self.secret_warning(node.id, message, "a variable is written \"${NAME}\"".to_owned());
            return;
        }
        self.plain.borrow_mut().extend(plain.map(|scalar| (node.id, scalar.text.chars().count())));
    }

    /// The secrets that were read since the last time and stand in the file as they are, with the characters that each has.
    pub fn take_plain(&self) -> Vec<(NodeId, usize)> {
        self.plain.take()
    }

    /// Whatever line one of the texts below a node stands on is not shown.
    pub fn hide(&self, node: &Node) {
        match &node.value {
            Value::Scalar(scalar) if scalar.is_interpolated => {
                let raw = self.raw(node.id).or_else(|| self.defaulted.borrow().get(&node.id).cloned());
                let raw = raw.unwrap_or_default();
                self.beside.borrow_mut().extend(written_out(&raw).map(str::to_owned));
            }
            // The name of a variable that is not set is no secret, and what its owner needs to see.
            Value::Scalar(scalar) if scalar.style == Style::Unresolved && scalar.text.starts_with("${") => {}
            Value::Scalar(scalar) => drop(self.unshown.borrow_mut().insert(scalar.text.clone())),
            Value::List(items) => items.iter().for_each(|item| self.hide(item)),
            Value::Map(entries) => entries.iter().for_each(|(_, node)| self.hide(node)),
        }
    }

    /// Reads something, and shows no line of a wrong or unknown value in it.
    pub fn hiding_values<T>(&self, read: impl FnOnce() -> T) -> T {
        self.hides_values.set(true);
        let read = read();
        self.hides_values.set(false);
        read
    }

    fn push(&self, at: NodeId, severity: Severity, fault: Fault, is_secret: bool) {
        self.add(at, severity, is_secret, || self.masked(at, fault));
    }

    /// Adds a problem: `fault` is what is told of it.
    fn add(&self, at: NodeId, severity: Severity, is_secret: bool, fault: impl FnOnce() -> Fault) {
        let placeholder = self.placeholders.borrow().get(&at).cloned();
        let (origin, is_unmendable) = self.origin(at);
        if self.is_supposed(at) {
            return;
        }
        if (placeholder.is_some() || is_unmendable) && severity == Severity::Warning {
            return;
        }
        let count = &self.counts[severity as usize];
        count.set(count.get() + 1);
        if count.get() > KEPT_MAX {
            return;
        }
        let Fault { message, help, within } = match placeholder {
            Some(placeholder) => Fault::from(InterpolationError::NewPlace(placeholder.reference).to_string()),
            None => fault(),
        };
        let message = shortened(message);
        let help = help.map(shortened);
        let within = within.filter(|_| origin == at);
        let at = Some(origin);
        let problem = Problem { at, place: None, severity, message, help, within, is_secret, is_first: false };
        self.problems.borrow_mut().push(problem);
    }

    /// What is wrong, with nothing of what came from outside.
    fn masked(&self, at: NodeId, fault: Fault) -> Fault {
        let fault = match self.mixed.borrow().get(&at) {
            Some(mixed) => match (mixed.mask(&fault.message), fault.help.as_deref().map(|help| mixed.mask(help))) {
                (Some(message), help) => Fault { message, help: help.flatten(), within: None },
                (None, _) => mixed.in_general().into(),
            },
            None => fault,
        };
        if self.is_strangers.get() {
            // Whether a guess is hidden would tell that it is right, and no value goes anywhere else.
            return fault;
        }
        let keys = self.keys.borrow();
        let everywhere =
            self.everywhere.get_or_init(|| Everywhere::of(self.resolved.borrow().values(), |text| keys.contains(text)));
        Fault { message: everywhere.mask(fault.message), help: fault.help.map(|help| everywhere.mask(help)), ..fault }
    }

    /// Puts values in the place of every `${…}` below a node. Keys are left alone.
    pub fn interpolate(&self, root: &mut Node, surroundings: &dyn Surroundings) {
        self.is_strangers.set(surroundings.resolved().is_some());
        let mut unresolved = Vec::new();
        self.interpolate_below(root, &mut String::new(), surroundings, &mut unresolved);
        // Not before all values are known: a message is not to show one that comes later.
        for (id, error) in unresolved {
            let help = error.help(self.hints);
            if error.holds_a_value() {
                self.secret_error_with(id, error.to_string(), help);
            } else {
                self.error_with(id, error.to_string(), help);
            }
        }
    }

    fn interpolate_below(
        &self,
        node: &mut Node,
        place: &mut String,
        surroundings: &dyn Surroundings,
        unresolved: &mut Vec<(NodeId, InterpolationError)>,
    ) {
        let length = place.len();
        match &mut node.value {
            Value::List(items) => {
                let are_rules = place == "\0rules";
                for (at, item) in items.iter_mut().enumerate() {
                    // A rule is known by its name, wherever it stands.
                    let name = item.get("name").filter(|_| are_rules).and_then(Node::scalar);
                    step(place, &name.map_or_else(|| at.to_string(), |name| name.text.clone()));
                    self.interpolate_below(item, place, surroundings, unresolved);
                    place.truncate(length);
                }
            }
            Value::Map(entries) => {
                for (key, node) in entries {
                    step(place, &key.text);
                    self.keys.borrow_mut().insert(key.text.clone());
                    self.interpolate_below(node, place, surroundings, unresolved);
                    place.truncate(length);
                }
            }
            Value::Scalar(scalar) => {
                match interpolate(&scalar.text, At { directory: &self.directory, place }, surroundings) {
                    Ok(None) => {}
                    Ok(Some(interpolated)) => self.put_in(node.id, scalar, place, interpolated),
                    Err(error) => {
                        unresolved.push((node.id, error));
                        scalar.style = Style::Unresolved;
                    }
                }
            }
        }
    }

    fn put_in(&self, id: NodeId, scalar: &mut Scalar, place: &str, interpolated: Interpolated) {
        let Interpolated { text, taken, has_placeholder, has_default } = interpolated;
        let raw = std::mem::replace(&mut scalar.text, text.clone());
        // Signs that stand for themselves come from nowhere.
        (scalar.style, scalar.is_interpolated) = (Style::String, has_default || !taken.is_empty());
        if let Some((reference, _)) = taken.first() {
            let values: Vec<_> =
                taken.iter().map(|(_, value)| value.clone()).filter(|value| !value.is_empty()).collect();
            let mut resolved = self.resolved.borrow_mut();
            if !is_passed_on(place) {
                resolved.note(place, Filled { raw: raw.clone(), whole: text.clone(), values: values.clone() });
            }
            if has_placeholder {
                let reference = reference.clone();
                self.placeholders.borrow_mut().insert(id, Placeholder { reference, raw });
            } else {
                self.mixed.borrow_mut().insert(id, Mixed { values, whole: text, raw });
            }
            resolved.note_values(taken.into_iter());
        } else if has_default {
            self.defaulted.borrow_mut().insert(id, raw);
        }
    }

    /// Whether the file came from somebody who may not know what stands behind its `${…}`, and a comparison with one of them would tell.
    pub fn would_tell(&self, node: &Node) -> bool {
        fn is_put_in(node: &Node) -> bool {
            match &node.value {
                Value::Scalar(scalar) => scalar.is_interpolated,
                Value::List(items) => items.iter().any(is_put_in),
                Value::Map(entries) => entries.iter().any(|(_, node)| is_put_in(node)),
            }
        }
        self.is_strangers.get() && is_put_in(node)
    }

    /// Whether the file was brought by somebody who may know neither what came from outside nor what this machine has: then nothing is
    /// looked at, and nothing compared, that would tell.
    pub fn is_strangers(&self) -> bool {
        self.is_strangers.get()
    }

    /// What was put in from variables, files and credentials, and what is concealed: wherever it goes, it is not shown.
    pub fn taken(&self) -> Vec<String> {
        self.resolved.borrow().values().chain(self.concealed.borrow().iter().cloned()).collect()
    }

    /// Has a secret that stands in the file treated as one that came from outside: no message holds it, wherever it is put.
    pub fn conceal(&self, node: &Node) {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_interpolated) else { return };
        let text = scalar.text.clone();
        let mixed = Mixed { values: vec![text.clone()], whole: text.clone(), raw: String::new() };
        self.mixed.borrow_mut().insert(node.id, mixed);
        self.concealed.borrow_mut().push(text);
    }

    /// A number for what stands nowhere in the file: what is wrong with it stands at `at`, and no warning is told of it.
    pub fn stands_for(&self, at: NodeId) -> NodeId {
        let id = self.made_from(at);
        self.unmendable.borrow_mut().insert(id);
        id
    }

    /// A number for what comes from the node `at`, and is wrong where that stands.
    pub(super) fn made_from(&self, at: NodeId) -> NodeId {
        let mut made = self.made.borrow_mut();
        let id = NodeId(NODES_MAX + 1 + made.len() as u32);
        made.insert(id, at);
        id
    }

    /// A number for what is supposed to be given, so that what stands around it can be read: nothing that is wrong with it is told.
    pub fn supposes(&self, at: NodeId) -> NodeId {
        let id = self.made_from(at);
        self.supposed.borrow_mut().insert(id);
        id
    }

    fn is_supposed(&self, mut at: NodeId) -> bool {
        loop {
            if self.supposed.borrow().contains(&at) {
                return true;
            }
            match self.made.borrow().get(&at) {
                Some(origin) => at = *origin,
                None => return false,
            }
        }
    }

    /// Where a node stands in the file, and whether nobody can mend what it is.
    fn origin(&self, mut at: NodeId) -> (NodeId, bool) {
        let mut is_unmendable = false;
        while let Some(origin) = self.made.borrow().get(&at) {
            is_unmendable |= self.unmendable.borrow().contains(&at);
            at = *origin;
        }
        (at, is_unmendable)
    }

    /// A text that is put together from parts, each with the node that it is from. What is wrong with it stands at `at`, and no message
    /// holds what must not be shown of a part.
    pub fn put_together(&self, at: NodeId, parts: &[(NodeId, String)]) -> Node {
        // Of several that are given the first is meant most likely.
        let origin = parts.iter().map(|(part, _)| *part).find(|part| *part != at).unwrap_or(at);
        let id = self.made_from(origin);
        let text: String = parts.iter().map(|(_, text)| text.as_str()).collect();
        let raw: String = parts.iter().map(|(part, text)| self.raw(*part).unwrap_or_else(|| text.clone())).collect();
        let mut mixed = self.mixed.borrow_mut();
        let values: Vec<String> =
            parts.iter().filter_map(|(part, _)| mixed.get(part)).flat_map(|one| one.values.clone()).collect();
        let is_mixed = !values.is_empty();
        if is_mixed {
            mixed.insert(id, Mixed { values, whole: text.clone(), raw: raw.clone() });
        }
        let mut placeholders = self.placeholders.borrow_mut();
        let reference = parts.iter().find_map(|(part, _)| Some(placeholders.get(part)?.reference.clone()));
        let is_interpolated = is_mixed || reference.is_some();
        placeholders.extend(reference.map(|reference| (id, Placeholder { reference, raw })));
        Node { id, value: Value::Scalar(Scalar { text, style: Style::String, is_interpolated }) }
    }

    /// The same by what asked for it, and where.
    pub fn resolved(&self) -> Resolved {
        self.resolved.borrow().clone()
    }

    /// What may have been meant where a map belongs.
    pub fn form_of_map(&self, what: &str, node: &Node) -> Option<String> {
        self.hints.not_a_map(what, node)
    }

    /// The places of a key, each as the keys that lead there from the top; the outermost first.
    pub fn places_of(&self, key: &str) -> Vec<Vec<&'static str>> {
        self.hints.places(key)
    }

    /// The items of a list; a single value counts as a list of one.
    pub fn list<'n>(&self, node: &'n Node) -> Vec<&'n Node> {
        match &node.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![node],
        }
    }

    /// A text: any scalar but nothing.
    pub fn text<'n>(&self, node: &'n Node) -> Option<&'n str> {
        match node.scalar() {
            Some(Scalar { style: Style::Unresolved, .. }) => None,
            Some(scalar) if scalar.style != Style::Null => Some(&scalar.text),
            _ => {
                let message = format!("this should be a text, and it is {}", node.kind());
                self.error_with(node.id, message, forms::text(node));
                None
            }
        }
    }

    /// A text with something in it that must never be shown.
    pub fn secret(&self, node: &Node) -> Option<Secret> {
        self.hide(node);
        match node.scalar() {
            Some(Scalar { style: Style::Unresolved, .. }) => None,
            Some(scalar) if !scalar.text.is_empty() => Some(Secret::from(scalar.text.clone())),
            Some(_) => {
                let help = "write \"${NAME}\", and set the variable NAME".to_owned();
                self.secret_error_with(node.id, "a secret cannot be empty", help);
                None
            }
            None => {
                let message = format!("this should be a text, and it is {}", node.kind());
                self.secret_error_with(node.id, message, "write \"${NAME}\"".to_owned());
                None
            }
        }
    }

    /// A secret that gives access: in the file as it is, it is warned of.
    pub fn credential(&self, node: &Node) -> Option<Secret> {
        self.note_secret(node);
        self.secret(node)
    }

    /// `true` or `false`.
    pub fn boolean(&self, node: &Node) -> Option<bool> {
        match node.scalar().map(|scalar| (scalar.style, scalar.text.as_str())) {
            Some((Style::Unresolved, _)) => None,
            Some((_, "true")) => Some(true),
            Some((_, "false")) => Some(false),
            _ => {
                let message = format!("this should be true or false, and it is {}", node.kind());
                let help = forms::boolean(node).unwrap_or_else(|| "write true or false".to_owned());
                self.error_with(node.id, message, help);
                None
            }
        }
    }

    /// A whole number within limits.
    pub fn number(&self, node: &Node, within: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = node.scalar().and_then(|scalar| scalar.text.parse().ok());
        if node.scalar().is_some_and(|scalar| scalar.style == Style::Unresolved) {
            return None;
        }
        let good = number.filter(|number| within.contains(number));
        if good.is_none() {
            let least = within.start();
            let most = within.end();
            let message = format!("this should be a whole number from {least} to {most}");
            self.error_with(node.id, message, forms::number(node, *least, *most));
        }
        good
    }

    /// A duration like `15m`, within limits.
    pub fn duration(&self, node: &Node, least: Duration, most: Duration) -> Option<Duration> {
        let duration = self.measured(node, units::duration)?;
        if duration < least || duration > most {
            let nearest = shown_duration(duration.clamp(least, most));
            let least = shown_duration(least);
            let most = shown_duration(most);
            self.error_with(node.id, format!("this should be from {least} to {most}"), format!("write {nearest}"));
            return None;
        }
        Some(duration)
    }

    /// A size like `1MiB`, within limits.
    pub fn size(&self, node: &Node, within: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let size = self.measured(node, units::size)?;
        if !within.contains(&size) {
            let least = shown_size(*within.start());
            let most = shown_size(*within.end());
            let nearest = shown_size(size.clamp(*within.start(), *within.end()));
            self.error_with(node.id, format!("this should be from {least} to {most}"), format!("write {nearest}"));
            return None;
        }
        Some(size)
    }

    /// A rate like `5/s`, as the time between two.
    pub fn rate(&self, node: &Node) -> Option<Duration> {
        self.measured(node, units::rate)
    }

    fn measured<T>(&self, node: &Node, read: fn(&str) -> Result<T, Fault>) -> Option<T> {
        if node.scalar().is_none() {
            let message = format!("this should be a text, and it is {}", node.kind());
            self.error_with(node.id, message, forms::measure(node, read));
            return None;
        }
        let text = self.text(node)?;
        read(text).map_err(|fault| self.fault(node.id, fault)).ok()
    }
}

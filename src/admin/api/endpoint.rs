//! What can be asked of a resource, or done with it: method, path, and what it takes.
//!
//! Each resource lists its own. What no list names is refused before the resource sees it, and `GET /` is made of the same lists.

use super::Effort;
use super::parameters::{Asked, Query};
use super::{Refusal, nothing};

/// One thing that can be asked or done.
pub(super) struct Endpoint {
    pub is_read: bool,
    /// Behind the resource's name. A step in capital letters stands for any.
    path: &'static str,
    /// Of what is asked, the parameters behind the `?`; of what is done, the keys of the body.
    pub takes: &'static [&'static str],
    /// Those of them that may not be left out.
    needs: &'static [&'static str],
    pub about: &'static str,
    pub tells_of_no_event: bool,
    /// What one costs, unless it is only tried out: see [`Endpoint::effort_of`].
    effort: Effort,
    /// Without a parameter it only looks.
    looks_when_bare: bool,
}

/// Something that can be asked.
pub(super) const fn get(path: &'static str, takes: &'static [&'static str], about: &'static str) -> Endpoint {
    Endpoint {
        is_read: true,
        path,
        takes,
        needs: &[],
        about,
        tells_of_no_event: false,
        effort: Effort::Look,
        looks_when_bare: false,
    }
}

/// Something that can be done.
pub(super) const fn post(path: &'static str, takes: &'static [&'static str], about: &'static str) -> Endpoint {
    Endpoint {
        is_read: false,
        path,
        takes,
        needs: &[],
        about,
        tells_of_no_event: false,
        effort: Effort::Change,
        looks_when_bare: false,
    }
}

/// Some lists as one, of so many entries: what several endpoints take stands once.
pub(super) const fn joined<const N: usize>(lists: &[&[&'static str]]) -> [&'static str; N] {
    let mut all = [""; N];
    let (mut list, mut at, mut end) = (0, 0, 0);
    while list < lists.len() {
        if at == lists[list].len() {
            (list, at) = (list + 1, 0);
        } else {
            all[end] = lists[list][at];
            (at, end) = (at + 1, end + 1);
        }
    }
    assert!(end == N, "it says how many entries there are");
    all
}

/// Whether what can be asked at a path shows nothing of an event.
pub(super) fn tell_of_no_event(endpoints: &[Endpoint], steps: &[&str]) -> bool {
    endpoints.iter().any(|endpoint| endpoint.is_read && endpoint.tells_of_no_event && endpoint.is_at(steps))
}

/// The one that is meant. Where it is not there, says what is in its place.
pub(super) fn find<'e>(endpoints: &'e [Endpoint], is_read: bool, steps: &[&str]) -> Result<&'e Endpoint, Refusal> {
    if let Some(found) = at(endpoints, steps).find(|endpoint| endpoint.is_read == is_read) {
        return Ok(found);
    }
    let of_method = || endpoints.iter().filter(|endpoint| endpoint.is_read == is_read);
    let Some((act, before)) = steps.split_last() else { return Err(nothing()) };
    let acts: Vec<_> = of_method().filter_map(|endpoint| endpoint.act_behind(before)).collect();
    if acts.is_empty() {
        return Err(nothing());
    }
    Err(Refusal::missing(format!("`{act}` is nothing that can be done here: {}", acts.join(", "))))
}

/// Those at a path. A step that stands for any does not stand for a word that another one has there: an event is not called `search`.
fn at<'e>(endpoints: &'e [Endpoint], steps: &[&str]) -> impl Iterator<Item = &'e Endpoint> {
    let is_at = |endpoint: &&Endpoint| endpoint.is_at(steps);
    let is_named = endpoints.iter().filter(is_at).any(Endpoint::is_literal);
    endpoints.iter().filter(move |endpoint| endpoint.is_at(steps) && (endpoint.is_literal() || !is_named))
}

/// The methods that a path takes, as the header `Allow` lists them, and in words. Nothing, where the path is not there.
pub(super) fn methods(endpoints: &[Endpoint], steps: &[&str]) -> Option<(&'static str, &'static str)> {
    let takes = |is_read| at(endpoints, steps).any(|endpoint| endpoint.is_read == is_read);
    match (takes(true), takes(false)) {
        (true, true) => Some(("GET, HEAD, POST", "read by GET and done by POST")),
        (true, false) => Some(("GET, HEAD", "read by GET")),
        (false, true) => Some(("POST", "done by POST")),
        (false, false) => None,
    }
}

impl Endpoint {
    /// It shows nothing of an event, of whom one is about, or of the config: a `read_token` is enough for it. What one answers, or one
    /// like it, may show addresses all the same; those are taken out.
    pub(super) const fn without_events(self) -> Self {
        Self { tells_of_no_event: true, ..self }
    }

    /// It is refused without these.
    pub(super) const fn needing(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    /// Whether one of the keys that it takes may be left out.
    pub(super) fn may_lack(&self, key: &str) -> bool {
        !self.needs.contains(&key)
    }

    /// It looks for something in the journal, shows a body or proves a config; where it is done by POST, it changes nothing.
    pub(super) const fn searching(self) -> Self {
        Self { effort: Effort::Search, ..self }
    }

    /// It looks through the history or a list of dead letters, and may take its time: a session does one of these at a time. What shows
    /// one thing does not wait for it.
    pub(super) const fn walking(self) -> Self {
        Self { effort: Effort::Walk, ..self }
    }

    /// The same, but where no parameter is given: then it tells what is counted anyway.
    pub(super) const fn walking_when_asked(self) -> Self {
        Self { looks_when_bare: true, ..self.walking() }
    }

    /// What it costs, as it is asked for. What is only tried out changes nothing, and looks through as much as what is done.
    pub(super) fn effort_of(&self, query: &Query, asked: &Asked) -> Effort {
        match self.effort {
            _ if self.looks_when_bare && query.0.is_empty() => Effort::Look,
            Effort::Change if asked.flag("dry_run").unwrap_or(false) => Effort::Search,
            effort => effort,
        }
    }

    /// Reads what a request says, and refuses what means nothing here.
    pub(super) fn take(&self, query: &Query, body: &[u8]) -> Result<Asked, Refusal> {
        if self.is_read {
            query.only(self.takes)?;
            return Ok(Asked::default());
        }
        query.only(&[])?;
        Asked::read(body, self.takes)
    }

    /// What the overview says of it.
    pub(super) fn line(&self, resource: &str) -> String {
        let Self { takes, about, .. } = self;
        let named = self.named(resource);
        let (method, path) = named.split_once(' ').unwrap_or_default();
        let takes = match self.is_read {
            _ if takes.is_empty() => String::new(),
            true => takes.iter().map(|key| format!(" ?{key}=")).collect(),
            false => format!(" {{{}}}", takes.iter().map(|key| self.marked(key)).collect::<Vec<_>>().join(", ")),
        };
        let takes = if takes.is_empty() { takes } else { format!("{:40}{takes}\n", "") };
        format!("{method:4} {path:<35} {about}\n{takes}")
    }

    /// A key, with a `?` where it may be left out.
    fn marked(&self, key: &str) -> String {
        let mark = if self.may_lack(key) { "?" } else { "" };
        format!("{key}{mark}")
    }

    /// Its method and its path: `GET /api/events/ID`.
    pub(super) fn named(&self, resource: &str) -> String {
        let method = if self.is_read { "GET" } else { "POST" };
        format!("{method} {}", self.path_with(resource, str::to_owned))
    }

    /// Its path, with something in the place of the steps that stand for any.
    pub(super) fn path_with(&self, resource: &str, place: impl Fn(&str) -> String) -> String {
        let steps = self.steps().map(|step| if is_any(step) { place(step) } else { step.to_owned() });
        steps.fold(format!("/api/{resource}"), |path, step| format!("{path}/{step}"))
    }

    /// The steps that stand for any.
    pub(super) fn places(&self) -> impl Iterator<Item = &'static str> {
        self.steps().filter(|step| is_any(step))
    }

    fn steps(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').skip(1)
    }

    fn is_at(&self, steps: &[&str]) -> bool {
        self.steps().count() == steps.len() && self.begins_with(steps)
    }

    fn is_literal(&self) -> bool {
        !self.steps().any(is_any)
    }

    fn begins_with(&self, steps: &[&str]) -> bool {
        self.steps().zip(steps).all(|(own, step)| own == *step || is_any(own))
    }

    /// The word for what is done, where it stands right behind some steps.
    fn act_behind(&self, steps: &[&str]) -> Option<&'static str> {
        let last = self.steps().last().filter(|last| !is_any(last))?;
        (self.steps().count() == steps.len() + 1 && self.begins_with(steps)).then_some(last)
    }
}

/// Whether a step of an endpoint's path stands for any.
fn is_any(step: &str) -> bool {
    step.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, body: &str, expected: Effort) {
        let (method, path) = request.split_once(' ').expect("a method");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query =
            Query(query.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect());
        let steps: Vec<&str> = path.split('/').collect();
        let resource = super::super::find(steps[0]).unwrap_or_else(|| panic!("{path} is there"));
        let Ok(endpoint) = find(resource.endpoints, method == "GET", &steps[1..]) else { panic!("{path} is there") };
        let Ok(asked) = endpoint.take(&query, body.as_bytes()) else { panic!("{body} is taken") };
        assert_eq!(endpoint.effort_of(&query, &asked), expected, "{request} {body}");
    }

    #[test]
    fn a_session_has_one_list_at_a_time_and_what_shows_one_thing_does_not_wait() {
        for request in [
            "GET events",
            "POST events/search",
            "GET dead-letters",
            "POST dead-letters/search",
            "GET unrouted",
            "GET rules?last=10",
            "GET rules?since=1h",
            "POST what-if",
        ] {
            check(request, "", Effort::Walk);
        }
        for request in [
            "GET events/ID",
            "GET events/ID/body",
            "GET events/ID/explain",
            "GET dead-letters/reasons",
            "POST explain",
            "GET config",
            "GET config/on-disk",
        ] {
            check(request, "", Effort::Search);
        }
        for request in ["GET rules", "GET what-if", "GET replays", "GET replays/ID", "GET status"] {
            check(request, "", Effort::Look);
        }
        for request in ["POST dead-letters/drop", "POST replays", "POST reload", "POST send"] {
            check(request, "", Effort::Change);
        }
    }

    #[test]
    fn what_is_only_tried_out_searches_and_changes_nothing() {
        for request in ["POST replays", "POST dead-letters/replay", "POST dead-letters/drop"] {
            check(request, r#"{"dry_run":true}"#, Effort::Search);
            check(request, r#"{"dry_run":false}"#, Effort::Change);
            check(request, r#"{"dry_run":"true"}"#, Effort::Change);
        }
    }
}

//! What is wrong since when, and who was told: the state machine.
//!
//! ```text
//!            seen                lasted                 repeat
//!   nothing ───────► seen ─────────────────► told ──┐◄───────────┐
//!      ▲              │ gone                  │     └────────────┘ again
//!      │◄─────────────┘            gone for a │ minute
//!      └──────────────────────────────────────┘ over
//! ```
//!
//! What is gone for less than a minute and comes back was never gone, told or not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Key, Look};

/// What is due within this time of the first is one message: an outage is seldom of one thing.
pub const GATHER: Duration = Duration::from_secs(10);
/// Between two messages.
pub const APART: Duration = Duration::from_secs(60);
/// So long a problem must be gone to be over.
pub const STEADY: Duration = Duration::from_secs(60);
/// Problems that are told in one message: more are read by nobody, and the rest comes a minute later.
pub const ITEMS_MAX: usize = 20;
/// Problems that are known at once. With more there is one cause, and it is among them. All of them fit into one memo.
pub const PROBLEMS_MAX: usize = 200;
/// Bytes of what is said of one, as they are kept: of some signs a character has four, and of others JSON makes six.
const TEXT_BYTES_MAX: usize = 300;
/// How long is waited before it is tried again to tell somebody of what nobody could be told of; twice as long after each time.
pub const AGAIN_FIRST: Duration = Duration::from_secs(60);
pub const AGAIN_LAST: Duration = Duration::from_secs(15 * 60);

/// When a problem is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It has lasted so long, unless it is told at once.
    pub after: Duration,
    /// It is told again so often; `None`: never.
    pub repeat: Option<Duration>,
}

/// All problems, and what was told of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    problems: BTreeMap<Key, Problem>,
    /// What is being told; between two looks that is what the process before had begun and nobody has heard again since.
    telling: Vec<Telling>,
    sent_ms: u64,
    /// What nobody could be told of. Not kept: the next process tries at once.
    untold: BTreeMap<Key, Untold>,
}

/// How often nobody could be told of something, and when it is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Untold {
    times: u32,
    again_ms: u64,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub since_ms: u64,
    pub at_once: bool,
    pub text: String,
    pub over: String,
    /// It goes on although the config does not name what it is about.
    #[serde(default)]
    pub is_of_removed: bool,
    /// What it is about is not in the config now: this is said of its end then.
    #[serde(default)]
    pub left: Option<String>,
    /// Since when it is not seen any more.
    pub gone_ms: Option<u64>,
    /// When somebody was told last, and who.
    pub told: Option<(u64, String)>,
    /// How often.
    pub times: u32,
    /// Somebody may have been told although nobody said so: its end is told as well.
    pub tried: bool,
}

/// What is said of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Begun,
    /// It lasts; how often it was told before.
    Lasts(u32),
    /// It is over, since then.
    Over(u64),
}

impl Said {
    pub fn is_over(self) -> bool {
        matches!(self, Said::Over(_))
    }
}

/// One thing that is to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub key: Key,
    pub since_ms: u64,
    pub said: Said,
    pub text: String,
}

/// A message that is being told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    pub id: String,
    /// When that began first.
    pub at_ms: u64,
    pub items: Vec<Item>,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    problems: Vec<(Key, Problem)>,
    telling: Vec<Telling>,
    sent_ms: u64,
}

impl State {
    /// Goes by what is seen now. Returns what is to be told now, the worst first.
    pub fn step(&mut self, looks: &[Look], terms: &Terms, now_ms: u64) -> Vec<Item> {
        self.go_by(now_ms);
        self.see(looks, now_ms);
        self.due(terms, now_ms)
    }

    /// No moment lies in the future: a clock may have been set back between two processes.
    fn go_by(&mut self, now_ms: u64) {
        self.sent_ms = self.sent_ms.min(now_ms);
        for problem in self.problems.values_mut() {
            problem.since_ms = problem.since_ms.min(now_ms);
            problem.gone_ms = problem.gone_ms.map(|gone_ms| gone_ms.min(now_ms));
            problem.told.iter_mut().for_each(|(told_ms, _)| *told_ms = (*told_ms).min(now_ms));
        }
    }

    fn see(&mut self, looks: &[Look], now_ms: u64) {
        let seen: BTreeMap<&Key, &Look> = looks.iter().map(|look| (&look.key, look)).collect();
        let telling = &self.telling;
        let is_told_over = |key: &Key| {
            telling.iter().flat_map(|telling| &telling.items).any(|item| item.key == *key && item.said.is_over())
        };
        let is_being_told = |key: &Key| telling.iter().flat_map(|telling| &telling.items).any(|item| item.key == *key);
        self.problems.retain(|key, problem| {
            match seen.get(key) {
                // What is being told to be over begins anew after that.
                Some(look) if look.is_certain && !is_told_over(key) => {
                    problem.gone_ms = None;
                    problem.at_once = look.at_once;
                    problem.is_of_removed = look.is_of_removed;
                    problem.text = cut(&look.text);
                    problem.over = cut(&look.over);
                }
                Some(_) => {}
                None => drop(problem.gone_ms.get_or_insert(now_ms)),
            }
            // What nobody was told of ends when it could be told to be over.
            let may_come_back = |gone_ms: u64| now_ms < gone_ms.saturating_add(as_ms(STEADY));
            problem.gone_ms.is_none_or(may_come_back) || problem.may_be_known() || is_being_told(key)
        });
        let problems = &self.problems;
        self.untold.retain(|key, _| problems.contains_key(key));
        // The worst first.
        for look in seen.into_values().filter(|look| look.is_certain) {
            if self.problems.contains_key(&look.key) || self.has_room_for(&look.key) {
                let new = || Problem {
                    since_ms: now_ms,
                    at_once: look.at_once,
                    text: cut(&look.text),
                    over: cut(&look.over),
                    is_of_removed: look.is_of_removed,
                    left: None,
                    gone_ms: None,
                    told: None,
                    times: 0,
                    tried: false,
                };
                self.problems.entry(look.key.clone()).or_insert_with(new);
            }
        }
    }

    /// Whether one more can be known. Where there are too many, one of which nobody knows gives way to what is worse.
    fn has_room_for(&mut self, key: &Key) -> bool {
        if self.problems.len() < PROBLEMS_MAX {
            return true;
        }
        let gives_way = |(other, problem): &(&Key, &Problem)| other.kind > key.kind && !problem.may_be_known();
        let least = self.problems.iter().rev().find(gives_way).map(|(other, _)| other.clone());
        least.is_some_and(|least| self.problems.remove(&least).is_some())
    }

    /// What somebody is to be told of, if it is time for a message.
    fn due(&self, terms: &Terms, now_ms: u64) -> Vec<Item> {
        let is_being_told =
            |key: &Key| self.telling.iter().flat_map(|telling| &telling.items).any(|item| item.key == *key);
        let all = self.problems.iter().filter(|(key, _)| !is_being_told(key));
        let all = all.filter_map(|(key, problem)| problem.next(terms).map(|next| (key, problem, next)));
        let due = all.filter(|(_, _, (due_ms, _))| *due_ms <= now_ms);
        let mut due: Vec<_> = due.collect();
        // What nobody could be told of asks for no message of its own before its time, and holds up no other's: it goes along.
        let asking = due.iter().filter(|(key, ..)| self.may_try(key, now_ms));
        let first_ms = asking.map(|(_, _, (due_ms, _))| *due_ms).min();
        let is_gathered = first_ms.is_some_and(|first_ms| now_ms >= first_ms.saturating_add(as_ms(GATHER)));
        // The first one of all waits for no other.
        let is_apart = self.sent_ms == 0 || now_ms >= self.sent_ms + as_ms(APART);
        if !is_gathered || !is_apart {
            return Vec::new();
        }
        due.sort_by_key(|(key, _, (_, said))| (!self.may_try(key, now_ms), said.is_over(), *key));
        due.truncate(ITEMS_MAX);
        due.sort_by_key(|(key, _, (_, said))| (said.is_over(), *key));
        due.into_iter().map(|(key, problem, (_, said))| problem.item(key, said)).collect()
    }

    /// Whether it may be tried to tell somebody of something: nobody could be told, and that is not long ago.
    fn may_try(&self, key: &Key, now_ms: u64) -> bool {
        self.untold.get(key).is_none_or(|untold| now_ms >= untold.again_ms)
    }

    /// Some things are being told from now on, until one of the next two is called with the message's id. Where the process ends before
    /// that, the next one has it [unfinished](Self::unfinished).
    pub fn begin(&mut self, items: Vec<Item>, now_ms: u64) -> Telling {
        for item in &items {
            if let Some(problem) = self.problems.get_mut(&item.key) {
                problem.tried = true;
            }
        }
        let telling = Telling { id: id_of(&items), at_ms: now_ms, items };
        self.telling.push(telling.clone());
        telling
    }

    /// What may have been told by a process that has ended since, and may be told now. Nothing else is told of the same problems before it
    /// is told, as it is.
    pub fn unfinished(&self, now_ms: u64) -> Vec<Telling> {
        let may_try = |telling: &&Telling| telling.items.iter().all(|item| self.may_try(&item.key, now_ms));
        self.telling.iter().filter(may_try).cloned().collect()
    }

    /// Somebody has it.
    pub fn told(&mut self, id: &str, to: &str, now_ms: u64) {
        self.sent_ms = now_ms;
        for item in self.take(id) {
            self.untold.remove(&item.key);
            match item.said {
                Said::Over(_) => drop(self.problems.remove(&item.key)),
                Said::Begun | Said::Lasts(_) => {
                    if let Some(problem) = self.problems.get_mut(&item.key) {
                        problem.told = Some((now_ms, to.to_owned()));
                        problem.times += 1;
                    }
                }
            }
        }
    }

    /// It did not arrive: it is to be told still, perhaps with other things.
    pub fn not_told(&mut self, id: &str) {
        self.take(id);
    }

    fn take(&mut self, id: &str) -> Vec<Item> {
        let at = self.telling.iter().position(|telling| telling.id == id);
        at.map(|at| self.telling.remove(at).items).unwrap_or_default()
    }

    /// Nobody could be told of these: it is tried again later, and later after each time. Nothing else waits for that.
    pub fn untold(&mut self, items: &[Item], now_ms: u64) {
        for item in items {
            let Untold { times, again_ms } = self.untold.entry(item.key.clone()).or_default();
            let wait = AGAIN_FIRST.saturating_mul(1 << (*times).min(8)).min(AGAIN_LAST);
            (*times, *again_ms) = (*times + 1, now_ms + as_ms(wait));
        }
    }

    /// The messages of which nobody could be told yet: of what each is.
    pub fn waiting(&self) -> Vec<Vec<Key>> {
        let keys = |telling: &Telling| telling.items.iter().map(|item| item.key.clone()).collect::<Vec<Key>>();
        let whole: Vec<Vec<Key>> = self.telling.iter().map(keys).collect();
        let is_whole = |key: &&Key| whole.iter().flatten().any(|other| other == *key);
        let alone: Vec<Vec<Key>> =
            self.untold.keys().filter(|key| !is_whole(key)).map(|key| vec![key.clone()]).collect();
        let is_untold = |keys: &Vec<Key>| keys.iter().any(|key| self.untold.contains_key(key));
        whole.into_iter().filter(is_untold).chain(alone).collect()
    }

    /// Somebody can be told of these now, of whom nobody could.
    pub fn try_now(&mut self, keys: &[Key], now_ms: u64) {
        let untold = self.untold.iter_mut().filter(|(key, _)| keys.contains(key));
        untold.for_each(|(_, untold)| untold.again_ms = untold.again_ms.min(now_ms));
    }

    /// What a problem is about may be in the config no more: then that is what is said when it is over, and not that it is well.
    pub fn part_with(&mut self, is_there: impl Fn(&Key) -> bool) {
        for (key, problem) in &mut self.problems {
            let left = || cut(&format!("{} is not in the config any more", key.about));
            let has_left = !problem.is_of_removed && !is_there(key);
            if problem.left.is_some() && !has_left {
                // What is seen of it from here on says whether it is over.
                problem.gone_ms = None;
            }
            problem.left = has_left.then(left);
        }
    }

    /// A destination is called something else: what is known of it goes on under the new name.
    pub fn rename(&mut self, from: &str, to: &str) {
        let is_old = |key: &&Key| key.destination() == Some(from);
        let old: Vec<Key> = self.problems.keys().filter(is_old).cloned().collect();
        for key in old {
            let new = Key { about: to.to_owned(), ..key.clone() };
            if let Some(mut problem) = self.problems.remove(&key) {
                for said in [&mut problem.text, &mut problem.over] {
                    *said = cut(&key.renamed(said, to));
                }
                self.problems.entry(new).or_insert(problem);
            }
        }
        let items = self.telling.iter_mut().flat_map(|telling| &mut telling.items);
        for item in items.filter(|item| item.key.destination() == Some(from)) {
            item.key.about = to.to_owned();
        }
    }

    /// All that is wrong, the worst first; and what was, until its end is told.
    pub fn problems(&self) -> impl Iterator<Item = (&Key, &Problem)> {
        self.problems.iter().filter(|(_, problem)| problem.gone_ms.is_none() || problem.may_be_known())
    }

    /// What is to be kept, as a text.
    pub fn to_kept(&self) -> serde_json::Value {
        let problems = self.problems.iter().map(|(key, problem)| (key.clone(), problem.clone())).collect();
        let kept = Kept { problems, telling: self.telling.clone(), sent_ms: self.sent_ms };
        serde_json::to_value(kept).unwrap_or_default()
    }

    /// As it was kept; what cannot be read was never there.
    pub fn of_kept(kept: &serde_json::Value) -> Self {
        let Ok(Kept { problems, telling, sent_ms }) = Kept::deserialize(kept) else { return Self::default() };
        Self { problems: problems.into_iter().collect(), telling, sent_ms, ..Self::default() }
    }
}

impl Problem {
    /// What is said when it is over.
    pub fn over(&self) -> &str {
        self.left.as_deref().unwrap_or(&self.over)
    }

    /// Somebody was told, or may have been.
    fn may_be_known(&self) -> bool {
        self.told.is_some() || self.tried
    }

    /// When something is to be said of it next, and what.
    fn next(&self, terms: &Terms) -> Option<(u64, Said)> {
        match (self.gone_ms, &self.told) {
            (Some(gone_ms), _) => Some((gone_ms.saturating_add(as_ms(STEADY)), Said::Over(gone_ms))),
            (None, None) => {
                let wait_ms = if self.at_once { 0 } else { as_ms(terms.after) };
                Some((self.since_ms.saturating_add(wait_ms), Said::Begun))
            }
            (None, Some((told_ms, _))) => Some((told_ms.saturating_add(as_ms(terms.repeat?)), Said::Lasts(self.times))),
        }
    }

    fn item(&self, key: &Key, said: Said) -> Item {
        let text = if said.is_over() { self.over() } else { &self.text };
        Item { key: key.clone(), since_ms: self.since_ms, said, text: text.to_owned() }
    }
}

/// The id of a message that says this: another for anything else, and the same wherever and whenever it is made.
fn id_of(items: &[Item]) -> String {
    let mut said = String::new();
    for Item { key, since_ms, said: what, .. } in items {
        said.push_str(&format!("{} {} {since_ms} {what:?}\n", key.kind.name(), key.about));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, said.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    // Version 8 is for whoever makes ids in a way of their own (RFC 9562, 5.8).
    uuid::Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
}

fn cut(text: &str) -> String {
    let mut left = TEXT_BYTES_MAX;
    let fits = |sign: &char| {
        let bytes = match sign {
            '"' | '\\' => 2,
            sign if sign.is_control() => "\\u0000".len(),
            sign => sign.len_utf8(),
        };
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    };
    text.chars().take_while(fits).collect()
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

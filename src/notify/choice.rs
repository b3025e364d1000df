//! Whom to tell of what: the first name that can be told, and that it is not about.

use super::problem::Key;
use super::state::Item;

/// Somebody who can be told, in the order in which the config names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The name of a destination.
    pub name: String,
    /// Where that leads: two names may be one place.
    pub place: String,
    pub stand: Stand,
}

/// Whether somebody can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    Ready,
    /// Nothing is in the way but the rate: the next turn is further away than is waited for.
    LacksTurn,
    /// It fails, is paused, is held by its server, or could not be told just now.
    Out,
}

/// A destination that something is about, and where it leads, if the config names it still.
#[derive(Clone, Debug, PartialEq, Eq)]
struct About {
    name: String,
    place: Option<String>,
}

impl About {
    fn is(&self, candidate: &Candidate) -> bool {
        self.name == candidate.name || self.place.as_ref() == Some(&candidate.place)
    }
}

/// The first who can be told of something: by its place in the list.
fn choose(about: &[About], candidates: &[Candidate]) -> Option<usize> {
    let can_be_told =
        |candidate: &Candidate| candidate.stand == Stand::Ready && !about.iter().any(|about| about.is(candidate));
    candidates.iter().position(can_be_told)
}

/// Whether somebody is one to tell of some things, as one message, once there is a turn.
pub fn is_for(keys: &[Key], candidate: &Candidate, place_of: impl Fn(&str) -> Option<String>) -> bool {
    let is_about = |key: &Key| about_of(key, &place_of).is_some_and(|about| about.is(candidate));
    candidate.stand != Stand::Out && !keys.iter().any(is_about)
}

/// Who is told of which of some things, in their order; with `None`, those of which nobody can be told.
fn share_out(
    items: Vec<Item>,
    candidates: &[Candidate],
    place_of: impl Fn(&str) -> Option<String>,
) -> Vec<(Option<usize>, Vec<Item>)> {
    let mut shares: Vec<(Option<usize>, Vec<Item>)> = Vec::new();
    for item in items {
        let about: Vec<About> = about_of(&item.key, &place_of).into_iter().collect();
        let chosen = choose(&about, candidates);
        match shares.iter_mut().find(|(known, _)| *known == chosen) {
            Some((_, share)) => share.push(item),
            None => shares.push((chosen, vec![item])),
        }
    }
    shares
}

/// The messages of one round: who could not be told is told nothing more in it, and what was for them is for the next.
#[derive(Debug)]
pub struct Round {
    candidates: Vec<Candidate>,
    left: Vec<Item>,
    /// What nobody can be told of.
    pub untold: Vec<Item>,
}

impl Round {
    pub fn new(items: Vec<Item>, candidates: Vec<Candidate>) -> Self {
        Self { candidates, left: items, untold: Vec::new() }
    }

    /// Who is told of what next; nothing when the round is over.
    pub fn next(&mut self, place_of: impl Fn(&str) -> Option<String>) -> Option<(String, Vec<Item>)> {
        let mut shares = share_out(std::mem::take(&mut self.left), &self.candidates, place_of);
        let told = shares.iter().position(|(chosen, _)| chosen.is_some()).map(|at| shares.remove(at));
        for (chosen, items) in shares {
            if chosen.is_some() { self.left.extend(items) } else { self.untold.extend(items) }
        }
        let (chosen, items) = told?;
        Some((self.candidates[chosen?].name.clone(), items))
    }

    /// Somebody could not be told.
    pub fn failed(&mut self, name: &str, items: Vec<Item>) {
        self.candidates
            .iter_mut()
            .filter(|candidate| candidate.name == name)
            .for_each(|candidate| candidate.stand = Stand::Out);
        self.left.extend(items);
    }

    /// Who is told of all of some things, as one message.
    pub fn whole(&self, items: &[Item], place_of: impl Fn(&str) -> Option<String>) -> Option<String> {
        let about: Vec<About> = items.iter().filter_map(|item| about_of(&item.key, &place_of)).collect();
        choose(&about, &self.candidates).map(|at| self.candidates[at].name.clone())
    }

    /// Whether there is anybody who could be told of all of it, now or later.
    pub fn has_one_for(&self, items: &[Item], place_of: impl Fn(&str) -> Option<String>) -> bool {
        let all = self.candidates.iter().map(|candidate| Candidate { stand: Stand::Ready, ..candidate.clone() });
        let all = all.collect();
        Self::new(Vec::new(), all).whole(items, place_of).is_some()
    }
}

/// The destination that a problem is about.
fn about_of(key: &Key, place_of: impl Fn(&str) -> Option<String>) -> Option<About> {
    key.destination().map(|name| About { name: name.to_owned(), place: place_of(name) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Kind, Said};

    fn candidate(name: &str, place: &str) -> Candidate {
        Candidate { name: name.to_owned(), place: place.to_owned(), stand: Stand::Ready }
    }

    fn item(kind: Kind, about: &str) -> Item {
        Item { key: Key::new(kind, about), since_ms: 1, said: Said::Begun, text: String::new() }
    }

    /// Who is told of problems, where `chat` leads to where `ops` does.
    #[track_caller]
    fn check(candidates: &[Candidate], items: Vec<Item>, expected: &[(Option<&str>, &[&str])]) {
        let place_of = |name: &str| match name {
            "ops" | "chat" => Some("slack".to_owned()),
            "gone" => None,
            name => Some(name.to_owned()),
        };
        let shares = share_out(items, candidates, place_of);
        let shares: Vec<_> = shares
            .iter()
            .map(|(chosen, items)| {
                let about: Vec<_> = items.iter().map(|item| item.key.about.as_str()).collect();
                (chosen.map(|at| candidates[at].name.as_str()), about)
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(name, about)| (*name, about.to_vec())).collect();
        assert_eq!(shares, expected);
    }

    #[test]
    fn the_first_is_told_that_it_is_not_about_by_name_or_by_place() {
        let both = [candidate("ops", "slack"), candidate("mail", "mail")];
        let failing = |about| item(Kind::DestinationFailing, about);
        check(&both, vec![failing("crm")], &[(Some("ops"), &["crm"])]);
        check(&both, vec![failing("ops")], &[(Some("mail"), &["ops"])]);
        check(&both, vec![failing("chat")], &[(Some("mail"), &["chat"])]);
        check(&both, vec![failing("gone")], &[(Some("ops"), &["gone"])]);
        check(&both[..1], vec![failing("chat"), failing("crm")], &[(None, &["chat"]), (Some("ops"), &["crm"])]);
        check(&both, vec![failing("mail"), failing("ops")], &[(Some("ops"), &["mail"]), (Some("mail"), &["ops"])]);
        check(&both, vec![item(Kind::SourceSilent, "ops")], &[(Some("ops"), &["ops"])]);
        check(&[], vec![failing("crm")], &[(None, &["crm"])]);
    }

    #[test]
    fn who_is_out_or_lacks_a_turn_is_not_told() {
        for stand in [Stand::Out, Stand::LacksTurn] {
            let out = Candidate { stand, ..candidate("ops", "slack") };
            let items = || vec![item(Kind::StoreFull, ""), item(Kind::DeadLetters, "mail")];
            check(&[out.clone(), candidate("mail", "mail")], items(), &[(Some("mail"), &[""]), (None, &["mail"])]);
            check(&[out], items(), &[(None, &["", "mail"])]);
        }
    }

    #[test]
    fn a_message_is_for_who_is_not_out_and_whom_nothing_of_it_is_about() {
        let place_of = |name: &str| Some(if name == "chat" { "slack" } else { name }.to_owned());
        let check = |stand, about: &[&str], expected| {
            let keys: Vec<Key> = about.iter().map(|about| Key::new(Kind::DeadLetters, *about)).collect();
            let ops = Candidate { stand, ..candidate("ops", "slack") };
            assert_eq!(is_for(&keys, &ops, place_of), expected, "{stand:?} {about:?}");
        };
        for stand in [Stand::Ready, Stand::LacksTurn] {
            check(stand, &["crm", "mail"], true);
            check(stand, &["crm", "ops"], false);
            check(stand, &["chat"], false);
        }
        check(Stand::Out, &["crm"], false);
    }
}

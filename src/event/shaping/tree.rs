//! The paths of a shaping as a tree, and where in it a value of a body lies.

use smallvec::SmallVec;

use super::Mark;
use crate::event::path::{FieldPath, Segment};

/// The first branch is the body itself.
#[derive(Debug)]
pub(super) struct Tree(Vec<Branch>);

#[derive(Debug, Default)]
struct Branch {
    mark: Option<Mark>,
    /// Steps that cross arrays.
    keys: Vec<(Box<str>, usize)>,
    /// JSON Pointer tokens: a key, or an index.
    tokens: Vec<(Box<str>, usize)>,
}

/// A branch that a value lies at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    branch: usize,
    /// It lies in an array there: no token leads on.
    is_crossed: bool,
}

/// All branches that a value lies at: one, mostly, or none.
pub(super) type Active = SmallVec<[At; 2]>;

impl Default for Tree {
    fn default() -> Self {
        Self(vec![Branch::default()])
    }
}

impl Tree {
    /// Where a body lies.
    pub fn start() -> Active {
        Active::from_slice(&[At { branch: 0, is_crossed: false }])
    }

    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Adds a path of the body; the relay's own fields are none.
    pub fn add(&mut self, path: &FieldPath, mark: Mark) {
        let FieldPath::Body(segments) = path else { return };
        let mut at = 0;
        for segment in segments {
            let fresh = self.0.len();
            let children = match segment {
                Segment::Key(_) => &mut self.0[at].keys,
                Segment::Token(_) => &mut self.0[at].tokens,
            };
            at = match children.iter().find(|(known, _)| **known == *segment.text()) {
                Some((_, child)) => *child,
                None => {
                    children.push((segment.text().into(), fresh));
                    self.0.push(Branch::default());
                    fresh
                }
            };
        }
        self.0[at].mark = self.0[at].mark.max(Some(mark));
    }

    /// What becomes of a value.
    pub fn mark(&self, active: &Active) -> Option<Mark> {
        active.iter().filter(|at| !at.is_crossed).filter_map(|at| self.0[at.branch].mark).max()
    }

    /// Where the member of an object lies.
    pub fn member(&self, active: &Active, key: &str) -> Active {
        let mut children = Active::new();
        for at in active {
            let branch = &self.0[at.branch];
            let tokens = if at.is_crossed { &[] } else { branch.tokens.as_slice() };
            children.extend([branch.keys.as_slice(), tokens].into_iter().filter_map(|steps| find(steps, key)));
        }
        children
    }

    /// Where the element of an array lies. `crosses`: whether keys lead on.
    pub fn element(&self, active: &Active, index: usize, crosses: bool) -> Active {
        let mut children = Active::new();
        for at in active {
            let branch = &self.0[at.branch];
            if !at.is_crossed && !branch.tokens.is_empty() {
                children.extend(find(&branch.tokens, &index.to_string()));
            }
            if crosses && !branch.keys.is_empty() {
                children.push(At { is_crossed: true, ..*at });
            }
        }
        children
    }
}

fn find(steps: &[(Box<str>, usize)], text: &str) -> Option<At> {
    let (_, branch) = steps.iter().find(|(known, _)| **known == *text)?;
    Some(At { branch: *branch, is_crossed: false })
}

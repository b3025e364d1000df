//! What only somebody who knows what a file means can tell of it.

use super::raw::Node;

/// Helps for messages, from whoever knows which keys there are. Nothing depends on them but what people read.
pub trait Hints {
    /// What to do about a key that nobody took, in the map that `what` names and that can have the keys `known`.
    fn unknown_key(&self, key: &str, node: &Node, what: &str, known: &[&'static str]) -> Option<String>;

    /// How a key is written that is missing.
    fn missing_key(&self, what: &str, key: &str, known: &[&'static str]) -> Option<String>;

    /// How the map that `what` names is written, where something else stands.
    fn not_a_map(&self, what: &str, node: &Node) -> Option<String>;

    /// What somebody meant who wrote `${name}` without a variable of that name.
    fn unset_variable(&self, name: &str) -> Option<String>;

    /// The places of a key, each as the keys that lead there from the top; the outermost first.
    fn places(&self, key: &str) -> Vec<Vec<&'static str>>;

    /// Whether a secret may stand on the line of a key.
    fn holds_secrets(&self, key: &str) -> bool;
}

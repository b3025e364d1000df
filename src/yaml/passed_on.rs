//! What a preset passes on: a `${…}` stands in one place of a file, and what it stands for goes to others.
//!
//! A config that is tried gets it only where the config in force has the same words in the same place: otherwise whoever brings it could write a
//! preset that tells what is behind another's `${…}`.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::masked::Mixed;
use super::raw::{Key, Node, NodeId, Scalar, Style, Value};
use super::reader::{Placeholder, Reader};
use super::resolved::{Filled, Resolved, is_passed_on, placeholder, step};

impl Reader {
    /// Whether something stands for a value that this text holds.
    pub fn has_placeholder(&self, id: NodeId) -> bool {
        self.placeholders.borrow().contains_key(&id)
    }

    /// The text of a node as it stands in the file, where something was put in.
    pub(super) fn raw(&self, id: NodeId) -> Option<String> {
        let of_mixed = |mixed: &Mixed| Some(mixed.raw.clone()).filter(|raw| !raw.is_empty());
        let mixed = self.mixed.borrow().get(&id).and_then(of_mixed);
        mixed.or_else(|| self.placeholders.borrow().get(&id).map(|placeholder| placeholder.raw.clone()))
    }

    /// What the text of a node chooses among others, as if it stood there itself. What a placeholder would choose is not known: it is one then.
    pub fn chosen(&self, node: &Node, chosen: &Node, among: &[(Key, Node)]) -> Option<Node> {
        let Scalar { text, is_interpolated, .. } = chosen.scalar()?;
        let is_interpolated = *is_interpolated || node.scalar()?.is_interpolated;
        let made = |id| {
            let scalar = Scalar { text: text.clone(), style: Style::String, is_interpolated };
            Some(Node { id, value: Value::Scalar(scalar) })
        };
        let raw = self.raw(node.id).map(|raw| {
            // Among others, the same words choose something else.
            let mut hasher = DefaultHasher::new();
            let written = |node: &Node| self.raw(node.id).or_else(|| Some(node.scalar()?.text.clone()));
            among.iter().for_each(|(key, node)| (&key.text, written(node)).hash(&mut hasher));
            format!("{raw}\0{:x}", hasher.finish())
        });
        let Some(raw) = raw.or_else(|| self.raw(chosen.id)) else { return made(node.id) };
        let id = self.made_from(node.id);
        let mut mixed = self.mixed.borrow_mut();
        let mut placeholders = self.placeholders.borrow_mut();
        let both = [node.id, chosen.id];
        let values: Vec<_> = both.iter().filter_map(|id| mixed.get(id)).flat_map(|one| one.values.clone()).collect();
        if !values.is_empty() {
            mixed.insert(id, Mixed { values, whole: text.clone(), raw: raw.clone() });
        }
        let reference = both.iter().find_map(|id| Some(placeholders.get(id)?.reference.clone()));
        placeholders.extend(reference.map(|reference| (id, Placeholder { reference, raw })));
        made(id)
    }

    /// Notes where below a node that is written out, at `place`, a value has gone; in a config that is tried, puts it there in the place of what
    /// stands for it, if the one in force has it there.
    pub(crate) fn settle(&self, node: &mut Node, place: &mut String, in_force: Option<&Resolved>) {
        let length = place.len();
        match &mut node.value {
            Value::List(items) => items.iter_mut().enumerate().for_each(|(at, item)| {
                step(place, &at.to_string());
                self.settle(item, place, in_force);
                place.truncate(length);
            }),
            Value::Map(entries) => entries.iter_mut().for_each(|(key, node)| {
                step(place, &key.text);
                self.settle(node, place, in_force);
                place.truncate(length);
            }),
            Value::Scalar(_) if is_passed_on(place) => {}
            Value::Scalar(scalar) => {
                // What is a secret by its field alone came from nowhere.
                let Some(raw) = self.raw(node.id).filter(|raw| raw.contains("${")) else { return };
                match in_force.map(|of| of.filled(place, &raw)) {
                    Some(Some(Filled { whole, values, .. })) if self.has_placeholder(node.id) => {
                        let id = self.made_from(node.id);
                        let mixed = Mixed { values: values.clone(), whole: whole.clone(), raw: raw.clone() };
                        self.mixed.borrow_mut().insert(id, mixed);
                        (node.id, scalar.text) = (id, whole.clone());
                    }
                    // A value that stands beside the place of a field, in which something else is given now.
                    Some(None) if !self.has_placeholder(node.id) => {
                        let reference = raw.split("${").nth(1).and_then(|rest| rest.split(['}', ':']).next());
                        let reference = reference.unwrap_or_default().to_owned();
                        let id = self.made_from(node.id);
                        (node.id, scalar.text) = (id, placeholder(place, false, &reference));
                        self.placeholders.borrow_mut().insert(id, Placeholder { reference, raw: raw.clone() });
                    }
                    _ => {}
                }
                let values = self.mixed.borrow().get(&node.id).map(|mixed| mixed.values.clone()).unwrap_or_default();
                self.resolved.borrow_mut().note(place, Filled { raw, whole: scalar.text.clone(), values });
            }
        }
    }
}

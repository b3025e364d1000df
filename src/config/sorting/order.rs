//! `order_by:` of a destination: the fields whose events with the same values go one after the other.

use super::{BY_MAX, Nodes, read_field};
use crate::deliver::sorting::{Field, Sorting};
use crate::destination::{KINDS, Kind};
use crate::event::FieldSetBuilder;
use crate::yaml::keys::{Key, Of, by_hand, key};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;

/// What goes one after the other.
pub(in crate::config) const ORDER_BY: Key<()> = key("order_by", by_hand(Of::Texts))
    .seen(Sight::All)
    .about_made(|| format!("Deliveries whose events have the same values here go one after the other, in the order of arrival: while an earlier one waits for its retry the later ones wait too, and others go on. A field, or at most {BY_MAX} together. An event with none of them goes by itself. For http and email, and not beside `digest`, `urgent` or `quiet`."))
    .example("user.id")
    .otherwise("no order")
    .never_empty();

/// Reads it; `None` where something is wrong with it, which has been told.
pub(super) fn read(reader: &Reader, node: &Node, nodes: Nodes<'_>, kind: &Kind) -> Option<Sorting> {
    if let Some(why) = kind.unordered {
        let able: Vec<_> = KINDS.iter().filter(|kind| kind.unordered.is_none()).map(|kind| kind.name).collect();
        let help = format!("take `order_by` out: it is for {}", able.join(" and "));
        reader.error_with(node.id, format!("a destination of kind `{}` has no `order_by`: {why}", kind.name), help);
        return None;
    }
    let others = [("digest", nodes.digest), ("urgent", nodes.urgent), ("quiet", nodes.quiet)];
    if let Some((name, _)) = others.into_iter().find(|(_, node)| node.is_some()) {
        let why = match name {
            "digest" => "what goes out as one message does not go one after the other",
            "urgent" => "what is urgent passes what waits, and `order_by` has it wait",
            _ => "what waits in quiet hours goes out as one message, and not one after the other",
        };
        let help = format!("take one of them out; or give `{name}` to a destination of its own, with another name");
        reader.error_with(node.id, format!("`order_by` does not stand beside `{name}`: {why}"), help);
        return None;
    }
    let mut fields = FieldSetBuilder::default();
    let mut order_by: Vec<Field> = Vec::new();
    let items = reader.list(node);
    if let Some(odd) = items.iter().find(|item| !item.is_null() && item.scalar().is_none()) {
        let help = format!("write order_by: {}, or order_by: [campaign.id, user.id]", ORDER_BY.info.example);
        reader.error_with(
            odd.id,
            format!("`order_by` is a field or a list of fields, and this is {}", odd.kind()),
            help,
        );
        return None;
    }
    for item in &items {
        let field = read_field(reader, item, &ORDER_BY.info, &mut fields)?;
        if order_by.iter().any(|known| known.id == field.id) {
            reader.warning(item.id, format!("`{}` is named twice", field.path), None);
            continue;
        }
        if items.len() == 1 && is_of_one_message(&field.path) {
            let message = format!("nearly every event has a `{}` of its own, so nothing goes in order", field.path);
            reader.warning(item.id, message, "name what must not overtake itself, like user.id".to_owned());
        }
        order_by.push(field);
    }
    if order_by.is_empty() || order_by.len() > BY_MAX {
        let message = match order_by.len() {
            0 => "`order_by` names no field".to_owned(),
            _ => format!("an order is made by at most {BY_MAX} fields"),
        };
        let help = format!("write order_by: {}; or take it out", ORDER_BY.info.example);
        reader.error_with(node.id, message, help);
        return None;
    }
    Some(Sorting::in_order(fields.build(), order_by))
}

/// Whether nearly each event has a value of its own there. A person has few events at once, and is what orders are made of.
fn is_of_one_message(path: &str) -> bool {
    matches!(path, "id" | "message_id" | "campaign.message_id") || path.ends_with("_at")
}

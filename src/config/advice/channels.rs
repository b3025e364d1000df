//! Channels that events choose, and that are none of those that are named: each such event is a dead letter.

use std::collections::HashSet;

use minijinja::machinery::parse;

use super::reads::Reads;
use super::templates::{collect, vero_name, vero_sends};
use super::ways::{Looked, delivery, sections};
use crate::destination::{Misfit, Unsent};
use crate::event::{RelayFields, vero};
use crate::yaml::raw::Node;

/// The keys of a channel, and of those that it may come to.
const CHANNEL: &str = "channel";
const CHANNELS: &str = "channels";

/// Tells of a channel to which one of Vero's samples comes, and which is not named.
pub(in crate::config) fn advise(looked: &Looked<'_>, defaults: Option<&Node>) {
    let sections = sections(looked);
    let mut told = HashSet::new();
    for (sample, body) in vero::SAMPLES {
        let relay = RelayFields { source: "", received_ms: 0 };
        let Ok(routing) = looked.rules.route(body.as_bytes(), relay) else { continue };
        let of_type = vero::TYPES
            .iter()
            .find(|name| sample.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')));
        for (at, _) in &routing.deliveries {
            let Some(destination) = looked.destinations.get(*at).filter(|_| !told.contains(at)) else { continue };
            let own = sections.get(destination.name.as_str()).and_then(|section| section.get(destination.kind));
            let usual = defaults.and_then(|defaults| defaults.get(destination.kind));
            let part = |key: &str| own.and_then(|own| own.get(key)).or_else(|| usual?.get(key));
            let (Some(channel), Some(channels)) = (part(CHANNEL), part(CHANNELS)) else { continue };
            let is_hidden = [channel, channels].into_iter().any(|node| looked.reader.would_tell(node));
            if is_hidden || of_type.is_none_or(|of_type| !is_certain(channel, of_type)) {
                continue;
            }
            let Err(Unsent::Failed { misfit: Some(Misfit::Channel(chosen)), .. }) =
                destination.destination.way(&delivery(body))
            else {
                continue;
            };
            told.insert(*at);
            let message =
                format!("an event `{sample}` would go to `{chosen}`, which is none of `channels`: it is a dead letter");
            let help = match chosen.trim_matches('#').is_empty() {
                true => "say what stands there for such events: {{ … | default('…') }}; or let a rule send only what has a channel".to_owned(),
                false => format!("name it there: channels: [\"{chosen}\", …]; or let a rule send only what has a channel"),
            };
            looked.reader.warning(channel.id, message, help);
        }
    }
}

/// Whether all events of a type choose as its sample does: what the template reads is the same in all, or in none.
fn is_certain(channel: &Node, of_type: &str) -> bool {
    let mut is_certain = false;
    collect(channel, &mut |_, source| {
        let Ok(parsed) = parse(source, "template", Default::default()) else { return };
        let mut reads = Reads::default();
        reads.statement(&parsed);
        is_certain = reads.all.iter().all(|path| {
            let has_all = vero::VALUES.iter().any(|(field, _, is_all)| field == path && *is_all);
            path == "type" || has_all || (vero_sends(path) && !vero::shows(of_type, &vero_name(path)))
        });
    });
    is_certain
}

//! `presets`: the sections that are written already, or one of them whole.

use std::path::Path;

use super::output::{json, print_whole, say};
use super::{Failure, USAGE};
use crate::config::presets::{BuiltIn, built_in};
use crate::yaml::problem::did_you_mean;

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Show this one whole, as YAML
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Of its fields, those with a `*` must be given. In a config:
  destinations:
    on-call:
      preset: pagerduty
      fields: { routing_key: \"${PAGERDUTY_ROUTING_KEY}\" }";

pub(super) fn run(_: Option<&Path>, args: Args) -> Result<(), Failure> {
    let Some(name) = args.name else {
        match args.json {
            true => json(&serde_json::json!({ "presets": built_in().map(|one| as_json(&one)).collect::<Vec<_>>() })),
            false => built_in().for_each(|one| list(&one)),
        }
        return Ok(());
    };
    let Some(preset) = built_in().find(|preset| preset.name == name) else {
        let names: Vec<_> = built_in().map(|preset| preset.name).collect();
        let help =
            did_you_mean(&name, names.iter().copied()).unwrap_or_else(|| format!("there are {}", names.join(", ")));
        return Err(Failure::new(USAGE, format!("there is no preset `{name}`: {help}")));
    };
    match args.json {
        true => json(&as_json(&preset)),
        false => print_whole(preset.text),
    }
    Ok(())
}

fn list(preset: &BuiltIn) {
    let mark = |(name, is_required): (String, bool)| if is_required { format!("{name}*") } else { name };
    let fields: Vec<_> = preset.fields().into_iter().map(mark).collect();
    say!("{:<15} {}", preset.name, preset.about());
    say!("{:<15} fields: {}", "", fields.join(", "));
}

fn as_json(preset: &BuiltIn) -> serde_json::Value {
    let field = |(name, is_required): (String, bool)| serde_json::json!({ "name": name, "required": is_required });
    serde_json::json!({
        "name": preset.name,
        "about": preset.about(),
        "documentation": preset.documentation(),
        "checked": preset.checked(),
        "fields": preset.fields().into_iter().map(field).collect::<Vec<_>>(),
    })
}

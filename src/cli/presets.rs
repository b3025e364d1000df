//! `presets`: the sections that are written already, or one of them whole.

use std::path::Path;

use super::output::{json, print_whole, say};
use super::{Failure, USAGE};
use crate::config::presets::{BuiltIn, Own, built_in, own_in};
use crate::yaml::load::FILE_BYTES_MAX;
use crate::yaml::problem::did_you_mean;
use crate::yaml::regular;

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

/// `config`: the file whose own presets count too, where one is named.
pub(super) fn run(config: Option<&Path>, args: Args) -> Result<(), Failure> {
    let own = config.map(own_of).transpose()?.unwrap_or_default();
    let Some(name) = args.name else {
        match args.json {
            true => {
                let all: Vec<_> = built_in().map(|one| as_json(&one)).chain(own.iter().map(own_as_json)).collect();
                json(&serde_json::json!({ "presets": all }));
            }
            false => {
                built_in().for_each(|one| list(one.name, &one.about(), one.fields()));
                own.into_iter().for_each(|one| list(&one.name, &one.about, one.fields));
            }
        }
        return Ok(());
    };
    if let (Some(file), Some(own)) = (config, own.iter().find(|own| own.name == name)) {
        match args.json {
            true => json(&own_as_json(own)),
            false => {
                list(&own.name, &own.about, own.fields.clone());
                let line = own.line.map(|line| format!(", line {line}")).unwrap_or_default();
                say!("{:<15} it is written in {}{line}", "", file.display());
            }
        }
        return Ok(());
    }
    let Some(preset) = built_in().find(|preset| preset.name == name) else {
        let names: Vec<_> =
            built_in().map(|preset| preset.name).chain(own.iter().map(|own| own.name.as_str())).collect();
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

fn own_of(file: &Path) -> Result<Vec<Own>, Failure> {
    let text = regular::read(file, FILE_BYTES_MAX);
    let text = text.map_err(|error| Failure::new(USAGE, format!("{} could not be read: {error}", file.display())))?;
    Ok(own_in(&String::from_utf8_lossy(&text)))
}

fn list(name: &str, about: &str, fields: Vec<(String, bool)>) {
    let mark = |(name, is_required): (String, bool)| if is_required { format!("{name}*") } else { name };
    let fields: Vec<_> = fields.into_iter().map(mark).collect();
    say!("{name:<15} {about}");
    say!("{:<15} fields: {}", "", fields.join(", "));
}

fn field((name, is_required): (String, bool)) -> serde_json::Value {
    serde_json::json!({ "name": name, "required": is_required })
}

fn own_as_json(own: &Own) -> serde_json::Value {
    let fields: Vec<_> = own.fields.iter().cloned().map(field).collect();
    serde_json::json!({ "name": own.name, "about": own.about, "line": own.line, "fields": fields })
}

fn as_json(preset: &BuiltIn) -> serde_json::Value {
    serde_json::json!({
        "name": preset.name,
        "about": preset.about(),
        "documentation": preset.documentation(),
        "checked": preset.checked(),
        "fields": preset.fields().into_iter().map(field).collect::<Vec<_>>(),
    })
}

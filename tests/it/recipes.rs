//! The recipes in `docs/recipes/`: each loads without a word, and what its `tests:` say of it is so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vero_relay::config::{Config, ConfigError, TestEvent, schema};
use vero_relay::destination::Delivery;
use vero_relay::destination::sample::sample;
use vero_relay::event::RelayFields;
use vero_relay::explain::run_tests;
use vero_relay::yaml::load;
use vero_relay::yaml::values::Surroundings;

use super::judge::Judge;

/// Every variable that a recipe needs is set, each to something of its own.
struct Set;

impl Surroundings for Set {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "ARCHIVE_TIMEZONE" | "SEGMENT_URL" | "VERO_RELAY_LISTEN" => None,
            "DISCORD_WEBHOOK_URL" => Some("https://discord.com/api/webhooks/1/a-token-of-a-webhook".to_owned()),
            "GOOGLE_CHAT_WEBHOOK_URL" => Some(
                "https://chat.googleapis.com/v1/spaces/a/messages?key=a-key-of-a-space&token=a-token-of-it".to_owned(),
            ),
            "MATTERMOST_WEBHOOK_URL" | "ROCKET_CHAT_WEBHOOK_URL" => {
                Some("https://chat.example.com/hooks/a-token-of-a-webhook".to_owned())
            }
            "PARTNER_SIGNING_SECRET" => Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
            _ if name.ends_with("_URL") => {
                Some(format!("https://{}.example.com/x", name.to_lowercase().replace('_', "-")))
            }
            _ => Some(format!("{name}-of-twenty-characters")),
        }
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

struct Recipe {
    path: PathBuf,
    text: String,
    value: Value,
}

fn recipes() -> Vec<Recipe> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes");
    let entries = std::fs::read_dir(directory).expect("the recipes are there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(paths.len() >= 10, "the recipes were found: {}", paths.len());
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("read");
        let node = load::parse(&text).unwrap_or_else(|error| panic!("{}: {}", path.display(), error.message));
        Recipe { path, text, value: schema::value_of(&node) }
    };
    paths.into_iter().map(read).collect()
}

/// Loads a recipe, which must have nothing to be told of.
fn proved(recipe: &Recipe) -> Config {
    match Config::parse(&recipe.path, recipe.text.clone(), &Set) {
        Ok((config, report)) => {
            // What a recipe is for may end, and that is said each time.
            let ends = |line: String| line.contains("turns Opsgenie and its APIs off");
            assert!(report.lines().all(ends), "{report}");
            config
        }
        Err(ConfigError::Problems(report)) => panic!("{}", report.render(false)),
        Err(error) => panic!("{}: {error}", recipe.path.display()),
    }
}

#[test]
fn each_recipe_loads_without_a_word() {
    recipes().iter().for_each(|recipe| drop(proved(recipe)));
}

#[test]
fn the_schema_takes_each_recipe() {
    let judge = Judge::of(schema::schema());
    for recipe in recipes() {
        judge.judge(&recipe.value).unwrap_or_else(|error| panic!("{}: {error}", recipe.path.display()));
    }
}

#[test]
fn each_recipe_is_listed_and_says_what_it_is_for_and_where_its_facts_stand() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes/README.md");
    let list = std::fs::read_to_string(list).expect("the list is there");
    for Recipe { path, text, .. } in recipes() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(list.contains(&format!("[{name}]({name})")), "{name} is not in the list");
        assert!(text.starts_with("# "), "{name} does not say what it is for");
        assert!(text.contains("https://"), "{name} names no documentation");
    }
}

/// What a destination would get.
pub(super) fn content(config: &Config, name: &str, body: &str, source: &str, rule: &str) -> String {
    let received_ms = 1_768_200_000_000;
    let delivery = Delivery { source: source.into(), rule: rule.into(), ..sample(body.to_owned(), received_ms) };
    let destination = config.destinations.iter().find(|known| known.name == name).expect("a destination");
    let bytes = destination.destination.content(&delivery).unwrap_or_else(|error| panic!("{name}: {error}"));
    String::from_utf8(bytes).expect("text")
}

#[test]
fn each_test_of_a_recipe_passes() {
    for recipe in recipes() {
        let config = proved(&recipe);
        let tested = run_tests(&config);
        assert!(!tested.is_empty(), "{} has tests", recipe.path.display());
        let mut reached = BTreeSet::new();
        for tested in &tested {
            assert_eq!(tested.missed, [], "{}: {}", recipe.path.display(), tested.test.name);
            let TestEvent::Body(body) = &tested.test.event else { panic!("each test has its event in it") };
            let relay = RelayFields { source: &tested.test.source, received_ms: 0 };
            let routing = config.rules.route(body, relay).expect("an event");
            reached.extend(routing.deliveries.iter().map(|(destination, _)| *destination));
        }
        // No event goes to those who are told of trouble alone.
        let told = config.notify.iter().flat_map(|notify| &notify.to);
        reached.extend(told.filter_map(|name| config.destinations.iter().position(|known| known.name == *name)));
        assert_eq!(reached.len(), config.destinations.len(), "{}: each is in some test", recipe.path.display());
    }
}

#[test]
fn every_sample_can_be_rendered_by_every_destination_that_a_recipe_sends_it_to() {
    for recipe in recipes() {
        let config = proved(&recipe);
        for (_, body) in vero_relay::event::vero::SAMPLES {
            let source = &config.sources[0].name;
            let relay = RelayFields { source, received_ms: 1_768_200_000_000 };
            let routing = config.rules.route(body.as_bytes(), relay).expect("an event");
            for (at, rule) in &routing.deliveries {
                let (name, rule) = (&config.destinations[*at].name, &config.rules.rules()[*rule].name);
                assert!(!content(&config, name, body, source, rule).is_empty(), "{name}");
            }
        }
    }
}

//! The whole file: its keys at the top, and what they come to together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::keeping::REMOVED_GRACE;
use super::listen::{ADDRESS_FORM, ADDRESS_HELP, address, read_address};
use super::names::Names;
use super::{
    Config, Limits, Outline, Said, admin, advice, destinations, expectations, keeping, kinds, limits, notify, presets,
    rules, shared, sources, tls,
};
use crate::destination::client::{Masks, URL_FORM};
use crate::destination::{Client, OfRelay};
use crate::yaml::forms;
use crate::yaml::keys::{Defaulted, Key, Of, Section, boolean, by_hand, form, key, text};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::values::Surroundings;

/// Overrides `listen`, for containers.
pub(super) const OVERRIDE: &str = "VERO_RELAY_LISTEN";

const LISTEN: Key<String> = key("listen", form(ADDRESS_FORM, "address and port"))
    .seen(Sight::All).about("Where Vero's webhooks come in. `VERO_RELAY_LISTEN` in the environment overrides it, for containers. Beyond loopback a token needs 16 characters.")
    .example("127.0.0.1:8080")
    .default("127.0.0.1:8080");
const TLS: Key<()> = key("tls", by_hand(Of::Map(tls::keys)))
    .about("Encrypts the listener for webhooks, where no proxy does. A reload takes a new certificate over.")
    .example("{ cert: /etc/vero-relay/fullchain.pem, key: /etc/vero-relay/privkey.pem }");
const ADMIN: Key<()> = key("admin", by_hand(Of::Map(admin::keys)))
    .about("Where the operator looks in: health, metrics, the API, the bins.")
    .example("{ listen: \"127.0.0.1:8081\" }");
const DATA_DIR: Key<String> = key("data_dir", text())
    .seen(Sight::All)
    .about("Where the journal, its index and all archives are written; relative to this file. One relay at a time.")
    .example("/var/lib/vero-relay")
    .default("data");
const PUBLIC_URL: Key<String> = key("public_url", form(URL_FORM, "URL"))
    .seen(Sight::Url).about("The address by which Vero reaches `listen`, for `vero-relay urls` to print. Without it that of `listen` is printed.")
    .example("https://hooks.example.com");
const WATCH: Defaulted<bool> = key("watch", boolean())
    .about("Reload when this file changes. A file that does not check changes nothing. Off by default, so that a half-edited file is not put in force.")
    .example("true")
    .default(false);
const SOURCES: Key<()> = key("sources", by_hand(Of::Named(sources::keys)))
    .about("The ways in, by name. A name stands in the URL that Vero is given: letters, digits, `-`, `_` and `.`, at most 64.")
    .example("{ vero: { token: \"${VERO_TOKEN}\" } }")
    .required();
const RULES: Key<()> = key("rules", by_hand(Of::List(rules::keys)))
    .about("All are tried, in order; an event goes once to each destination that any matching rule names.")
    .example("[{ name: everything, to: [archive] }]")
    .required();
const DESTINATIONS: Key<()> = key("destinations", by_hand(Of::Named(kinds::destination_keys)))
    .about("Where events go, by name: letters, digits, `-`, `_` and `.`, at most 64. A delivery belongs to the name, so a new section under an old name takes over what waits.")
    .example("{ archive: { file: { path: \"archive/{date}.ndjson\" } } }");
const DEFAULTS: Key<()> = key("defaults", by_hand(Of::Map(kinds::defaults_keys)))
    .about("What all destinations of a kind share. A destination's own keys win.")
    .example("{ slack: { rate: 30/m } }");
const NOTIFY: Key<()> = key("notify", by_hand(Of::Map(notify::keys)))
    .about("Who is told of trouble: a destination that fails, is paused or has dead letters, a source that is silent or refused, a full disk, a config that is not good, a certificate that ends. One message when it begins, one when it is over. See [Being told](operations.md#being-told).")
    .example("{ to: [ops, mail] }")
    .otherwise("nobody, but in the log")
    .never_empty();
const LIMITS: Key<()> = key("limits", by_hand(Of::Map(limits::keys)))
    .about("What one relay takes at most. Whatever is refused for a limit is counted and answered.")
    .example("{ body_max: 2MiB }");
const STORE: Key<()> = key("store", by_hand(Of::Map(keeping::keys)))
    .about("What is kept, and for how long.")
    .example("{ history: { max_age: 14d } }");
const RELAY: Key<()> = key("relay", by_hand(Of::Map(shared::relay_keys)))
    .about("What this relay is called, where several share one queue.")
    .example("{ name: \"${HOSTNAME}\" }");
const TESTS: Key<()> = key("tests", by_hand(Of::List(expectations::keys)))
    .about("Events, and where each must go; `vero-relay check` runs them. Nothing is sent.")
    .example("[{ name: a bounce is told, event: { type: bounced }, expect: { to: [alerts] } }]");

/// All keys of a config: those of its sections hang below.
pub(super) fn keys() -> Section {
    let section = Section::of(&[
        LISTEN.info,
        TLS.info,
        ADMIN.info,
        DATA_DIR.info,
        PUBLIC_URL.info,
        WATCH.info,
        SOURCES.info,
        RULES.info,
        DESTINATIONS.info,
        presets::PRESETS.info,
        DEFAULTS.info,
        NOTIFY.info,
        LIMITS.info,
        STORE.info,
        RELAY.info,
        REMOVED_GRACE.info,
        TESTS.info,
    ]);
    kinds::without_defaults().into_iter().fold(section, Section::besides)
}

/// The keys that say what is listened on, where they are set.
pub(super) fn listeners(root: &Node) -> [Option<&Node>; 2] {
    [root.get(LISTEN.info.name), admin_node(root).and_then(admin::listen_node)]
}

/// What stands under `admin`.
pub(super) fn admin_node(root: &Node) -> Option<&Node> {
    root.get(ADMIN.info.name)
}

/// Reads the config, section by section: as it is written, or written out. `None` where a section has an error, which the reader knows.
pub(super) fn read(
    reader: &Reader,
    (written, expanded): (&Node, Option<&presets::Expanded>),
    directory: &Path,
    client: &Client,
    surroundings: &dyn Surroundings,
) -> Option<Config> {
    let root = expanded.map_or(written, |expanded| &expanded.root);
    let mut entries = reader.map(root, "the config")?;
    let data_dir = entries.node(&DATA_DIR.info);
    let data_dir = data_dir.map_or(Some(DATA_DIR.info.default_text()), |node| reader.text(node)).map(Path::new);
    let data_dir = std::path::absolute(directory.join(data_dir?)).ok()?;
    let overridden = overridden(surroundings);
    let listen = match (&overridden, entries.node(&LISTEN.info)) {
        (Some(text), _) => address(text)
            .map_err(|message| reader.error_with(root.id, format!("{OVERRIDE}: {message}"), ADDRESS_HELP.to_owned()))
            .ok(),
        (None, Some(node)) => read_address(reader, node),
        (None, None) => address(LISTEN.info.default_text()).ok(),
    };
    let tls = entries.node(&TLS.info).map_or(Some(None), |node| tls::read(reader, node, surroundings, None));
    let admin_node = entries.node(&ADMIN.info);
    let admin = admin::read(reader, admin_node, surroundings);
    let public_url = entries.node(&PUBLIC_URL.info).and_then(|node| read_public_url(reader, node));
    let limits = Limits::read(reader, entries.node(&LIMITS.info));
    let keeping::Kept { retention, shared } = keeping::read(reader, entries.node(&STORE.info), surroundings);
    let relay_name = shared::read_name(reader, entries.node(&RELAY.info), surroundings);
    let removed_grace = entries.value(&REMOVED_GRACE);
    let watch = entries.value(&WATCH);
    let is_public = listen.is_some_and(|listen| !listen.ip().is_loopback());
    let sources_node = entries.node(&SOURCES.info).or_else(|| entries.meant(&SOURCES.info));
    let sources = reader.hiding_values(|| sources_node.and_then(|node| sources::read(reader, node, is_public)));
    let rules_node = root.get(RULES.info.name);
    advice::history::advise_of_redaction(reader, &retention, root.get(STORE.info.name));
    advice::history::check_what_goes_by_it(reader, &retention, sources_node, rules_node);
    // They were read when the destinations were written out.
    entries.node(&presets::PRESETS.info);
    let defaults = entries.node(&DEFAULTS.info);
    check_defaults(reader, defaults);
    let destination_nodes = entries.node(&DESTINATIONS.info).or_else(|| entries.meant(&DESTINATIONS.info));
    let mut names = Names::of(destination_nodes);
    let errors_before = reader.errors();
    let rules = entries.node(&RULES.info).or_else(|| entries.meant(&RULES.info));
    let dedupe = sources.iter().flatten().any(|source| source.dedupe.is_some());
    let rules = rules.and_then(|node| rules::read(reader, node, &mut names, dedupe));
    if rules.is_none() || reader.errors() > errors_before {
        // After an error in a rule it cannot be said which destinations are meant.
        names.use_all();
    }
    let (rules, sent) = rules.unzip();
    let notify_node = entries.node(&NOTIFY.info);
    let notify = notify_node.map_or(Some(None), |node| notify::read(reader, node, &mut names).map(Some));
    if notify.is_none() {
        // Nor then whom it names.
        names.use_all();
    }
    let is_one_of_several = root.get(STORE.info.name).is_some_and(keeping::is_shared);
    let relay = OfRelay { name: relay_name.as_deref().unwrap_or_default(), is_one_of_several };
    let parts =
        destinations::Parts { reader, client, surroundings, data_dir: &data_dir, relay, defaults, sent: sent.as_ref() };
    let destinations = reader.hiding_values(|| destinations::read_all(&parts, destination_nodes, &names));
    let unused = expanded.map(|expanded| expanded.unused.as_slice()).unwrap_or_default();
    reader.hiding_values(|| destinations::read_unused(&parts, unused));
    if let (Some(sent), Some(nodes), true) = (&sent, destination_nodes, destinations.is_some()) {
        advice::templates::advise(reader, nodes, defaults, sent);
    }
    if let (Some(nodes), true) = (destination_nodes, destinations.is_some()) {
        let sources = sources.as_ref().map_or(0, Vec::len);
        advice::digests::advise(reader, nodes, defaults, sent.as_ref(), sources);
    }
    if notify_node.is_none() {
        notify::advise_of_silence(reader, sources_node);
    }
    if let (Some(Some((_, named))), Some(destinations)) = (&notify, &destinations) {
        notify::check(reader, named, destinations, destination_nodes);
    }
    let tests = entries.node(&TESTS.info).map_or(Some(Vec::new()), |node| {
        let nodes = destination_nodes;
        let sources = sources.as_deref();
        let built = destinations.as_deref();
        expectations::read(&expectations::Known { reader, destinations: &names, nodes, built, sources }, node)
    });
    let is_free = |key: &str| key.starts_with("x-");
    for (key, _) in root.entries().iter().filter(|(key, _)| is_free(&key.text)) {
        // Anchors live there; whatever they hold is somebody else's business.
        entries.ignore(&key.text);
    }
    entries.finish();
    let listen = listen?;
    let admin = admin?;
    refuse_one_port(reader, root, [listen, admin.listen]);
    admin::refuse_shared(reader, admin_node, &admin, sources.as_deref().unwrap_or_default());
    if let (Some(destinations), Some(rules)) = (&destinations, &rules) {
        let looked = advice::ways::Looked { reader, node: destination_nodes, destinations, rules };
        let host_name = surroundings.host_name();
        let public_url = public_url.as_deref();
        let host_name = host_name.as_deref();
        let own = advice::itself::Own { listen, admin_listen: admin.listen, public_url, host_name };
        advice::ways::refuse_itself(&looked, &own);
        advice::ways::advise_of_empty_values(&looked);
        advice::ways::advise_of_empty_messages(&looked, defaults);
        advice::channels::advise(&looked, defaults);
    }
    Some(Config {
        path: PathBuf::new(),
        digest: [0; 32],
        text: String::new().into(),
        shown: OnceLock::new(),
        warnings: Vec::new(),
        outline: Outline::default(),
        files: Default::default(),
        watch,
        client: client.clone(),
        listen,
        tls_ends_ms: tls.as_ref().and_then(Option::as_ref).and_then(|pair| pair.ends_ms),
        tls: tls?.map(|pair| pair.server),
        admin,
        said: Said::default(),
        data_dir,
        public_url,
        sources: sources?,
        rules: Arc::new(rules?),
        pattern_bytes: reader.pattern_bytes(),
        destinations: destinations?,
        notify: notify?.map(|(notify, _)| notify),
        tests: tests?,
        masks: Masks::from_texts(reader.taken()),
        resolved: reader.resolved(),
        overridden,
        limits,
        retention,
        removed_grace,
        shared: shared?,
        relay_name: relay_name?,
    })
}

fn read_public_url(reader: &Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    let parsed = crate::destination::client::parse_url(text);
    let url = parsed.map_err(|message| reader.error_with(node.id, message, forms::url(text))).ok()?;
    Some(url.as_str().trim_end_matches('/').to_owned())
}

/// Tells of defaults that are none of a kind's. Those of each are read by its destinations.
fn check_defaults(reader: &Reader, defaults: Option<&Node>) {
    let Some(mut of_kinds) = defaults.and_then(|node| reader.map(node, "`defaults`")) else { return };
    for kind in crate::destination::KINDS {
        let Some(node) = of_kinds.node(&kind.key()) else { continue };
        reader.map(node, "the defaults of a kind");
        reader.refuse_nothing(node, &(kind.keys)().keys);
    }
    of_kinds.finish();
}

fn refuse_one_port(reader: &Reader, root: &Node, [listen, admin_listen]: [SocketAddr; 2]) {
    let is_one = listen.ip() == admin_listen.ip() || listen.ip().is_unspecified();
    if is_one && listen.port() == admin_listen.port() && listen.port() != 0 {
        let node = root.get("admin").and_then(|admin| admin.get("listen")).or(root.get("listen")).unwrap_or(root);
        let message = format!("`listen` ({listen}) and `admin.listen` ({admin_listen}) cannot have one port");
        reader.error_with(node.id, message, "give one of them another".to_owned());
    }
}

/// What overrides `listen`.
pub(super) fn overridden(surroundings: &dyn Surroundings) -> Option<String> {
    surroundings.variable(OVERRIDE).filter(|text| !text.is_empty())
}

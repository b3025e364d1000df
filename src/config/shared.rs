//! `store.postgres:` and `relay:`: a queue that several relays share, and what this one is called among them.

use std::ops::RangeInclusive;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::{FileDigest, advice, digest_of, is_name};
use crate::destination::way;
use crate::store::postgres::{Address, AddressOptions, Tls};
use crate::yaml::keys::{Defaulted, Key, Of, Section, by_hand, duration, key, secret, text, word};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::values::Surroundings;

/// The longest that a name may be, which stands in paths, logs and metrics.
const NAME_CHARS_MAX: usize = 64;
/// Who sends gives up sooner than after the longest.
const PATIENCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
/// What the host is called where its name cannot be had.
const NAMELESS: &str = "relay";
/// Stands for a server that nobody may look at.
const NOWHERE: &str = "host=localhost";

const VERIFY: &str = "verify";
const REQUIRE: &str = "require";
const OFF: &str = "off";

pub(super) const POSTGRES: Key<()> = key("postgres", by_hand(Of::SecretOrMap(keys)))
    .about("A database in which several relays share one queue, in the place of the journal: PostgreSQL 15 or later. The URL alone, or a map. See [several relays](cluster.md).")
    .example("\"${DATABASE_URL}\"")
    .otherwise("the journal, below `data_dir`")
    .never_empty();
const URL: Key<crate::secret::Secret> = key("url", secret())
    .about("`postgresql://USER:PASSWORD@HOST/DATABASE`, with several hosts behind each other where there is a standby; or `host=… user=…`.")
    .example("\"${DATABASE_URL}\"")
    .required();
const SCHEMA: Key<String> = key("schema", text())
    .seen(Sight::All)
    .about("The schema that its tables lie in, which is made where it is missing. One for each queue.")
    .example("relay")
    .default("vero_relay");
const TLS: Key<String> = key("tls", word(&[VERIFY, REQUIRE, OFF]))
    .about("How it is encrypted, where the URL has no `sslmode`. `verify`: the server proves its name. `require`: it is encrypted, and may be anybody.")
    .example("verify")
    .otherwise("`verify`; `off` for a server on this machine");
const CA: Key<String> = key("ca", text())
    .seen(Sight::All)
    .about("A PEM file, relative to the config: the CA of the server's certificate, in the place of those that the system trusts.")
    .example("/etc/ssl/rds.pem");
const PATIENCE_OF: Defaulted<Duration> = key("patience", duration(PATIENCE))
    .about("How long who sends an event waits while the database does not answer, until that is 503.")
    .example("10s")
    .default(Duration::from_secs(5));

const NAME: Key<String> = key("name", text())
    .seen(Sight::All)
    .about("What this relay is called among those that share its queue, each otherwise: letters, digits, `-`, `_` and `.`, at most 64. It stands in the page and the log, and for `{relay}` in the path of a file.")
    .example("\"${HOSTNAME}\"")
    .otherwise("the name of the host");

fn keys() -> Section {
    Section::of(&[URL.info, SCHEMA.info, TLS.info, CA.info, PATIENCE_OF.info])
}

/// The keys of `relay:`.
pub(super) fn relay_keys() -> Section {
    Section::of(&[NAME.info])
}

/// A queue that several relays share.
#[derive(Clone, Debug)]
pub struct Shared {
    pub address: Address,
    /// Who sends waits for so long while it does not answer.
    pub patience: Duration,
    /// Two that differ are not the same queue, or not reached in the same way.
    pub fingerprint: FileDigest,
}

/// Reads `postgres:`.
pub(super) fn read(reader: &Reader, node: &Node, surroundings: &dyn Surroundings) -> Option<Shared> {
    if node.scalar().is_some() {
        let address = read_address(reader, node, AddressOptions::default())?;
        let fingerprint = fingerprint(node, &[]);
        return Some(Shared { address, patience: PATIENCE_OF.default, fingerprint });
    }
    let mut entries = reader.map(node, "`store.postgres`")?.never_empty();
    let url = entries.node(&URL.info);
    let schema = entries.node(&SCHEMA.info).filter(|node| !node.is_null());
    let schema = schema.map_or(Some(SCHEMA.info.default_text()), |node| {
        let name = reader.text(node)?;
        let told = |error| reader.error_with(node.id, format!("this {error}"), "write schema: vero_relay".to_owned());
        Address::check_schema(name).map_err(told).ok().map(|()| name)
    });
    let tls = entries.node(&TLS.info).map_or(Some(None), |node| read_tls(reader, node).map(Some));
    let ca_node = entries.node(&CA.info);
    let ca = ca_node.map_or(Some(Vec::new()), |node| way::read_ca(reader, surroundings, node));
    let patience = entries.value(&PATIENCE_OF);
    entries.finish();
    let (schema, tls, ca) = (schema?.to_owned(), tls?, ca?);
    let fingerprint = fingerprint(node, &ca);
    let address = read_address(reader, url?, AddressOptions { schema, tls, ca })?;
    Some(Shared { address, patience, fingerprint })
}

/// A digest of all that says which database it is, and how it is reached.
fn fingerprint(node: &Node, ca: &[CertificateDer<'static>]) -> FileDigest {
    let mut text = String::new();
    super::outline::write(node, &mut text);
    let bytes: Vec<u8> = text.bytes().chain(ca.iter().flat_map(|certificate| certificate.iter().copied())).collect();
    digest_of(&bytes)
}

fn read_address(reader: &Reader, node: &Node, options: AddressOptions) -> Option<Address> {
    let text = reader.secret(node)?;
    let text = if reader.would_tell(node) { NOWHERE } else { text.expose() };
    match Address::parse(text, options) {
        Ok(address) => {
            if address.has_password() {
                reader.note_secret(node);
                let plain: Vec<_> = reader.take_plain().into_iter().map(|(at, _)| at).collect();
                advice::exposure::advise_of_plain_secrets(reader, plain.into_iter().filter(|_| !address.is_here()));
            }
            Some(address)
        }
        Err(error) => {
            let help = "write postgres: \"${DATABASE_URL}\", which holds postgresql://USER:PASSWORD@HOST/DATABASE";
            reader.secret_error_with(node.id, format!("`store.postgres` {error}"), help.to_owned());
            None
        }
    }
}

fn read_tls(reader: &Reader, node: &Node) -> Option<Tls> {
    match reader.text(node)? {
        VERIFY => Some(Tls::Verify),
        REQUIRE => Some(Tls::Require),
        // YAML has a word for it that is no text elsewhere.
        OFF | "false" => Some(Tls::Off),
        _ => {
            let help = "write verify: the server proves its name; require: nobody reads along; or off".to_owned();
            reader.error_with(node.id, "`tls` is verify, require or off", help);
            None
        }
    }
}

/// Reads `relay: { name }`.
pub(super) fn read_name(reader: &Reader, node: Option<&Node>, surroundings: &dyn Surroundings) -> Option<String> {
    let of_host = || surroundings.host_name().and_then(|name| plain(&name)).unwrap_or_else(|| NAMELESS.to_owned());
    let Some(node) = node else { return Some(of_host()) };
    let mut entries = reader.map(node, "`relay`")?;
    let name = entries.node(&NAME.info);
    entries.finish();
    let Some(node) = name.filter(|node| !node.is_null()) else { return Some(of_host()) };
    let text = reader.text(node)?;
    if reader.would_tell(node) {
        return Some(NAMELESS.to_owned());
    }
    if is_name(text) {
        return Some(text.to_owned());
    }
    let help =
        plain(text).map(|plain| format!("write name: {plain}")).unwrap_or_else(|| "write name: web-1".to_owned());
    reader.error_with(node.id, "this is not a name: letters, digits, `-`, `_` and `.`, at most 64", help);
    None
}

/// A name made of what is not quite one.
fn plain(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain: String = text.trim().chars().map(|c| if is_plain(c) { c } else { '-' }).take(NAME_CHARS_MAX).collect();
    is_name(&plain).then_some(plain)
}

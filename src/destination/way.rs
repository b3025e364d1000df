//! `ca:` and `proxy:`, how a destination's requests go out.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Context;
use super::client::proxy::{self, ProxyChoice};
use super::client::{Client, Way};
use crate::yaml::entries::Entries;
use crate::yaml::keys::{Info, Key, key, text};
use crate::yaml::raw::{Node, Style};
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::values::Surroundings;

pub(super) const CA: Key<String> = key("ca", text())
    .seen(Sight::All).about("A PEM file, relative to the config, with the certificates of a private CA. They are trusted beside the system's, by this destination alone.")
    .example("internal-ca.pem")
    .otherwise("the system's certificates alone");
const PROXY: Key<String> = key("proxy", text())
    .seen(Sight::Url).about("The proxy that requests go by: `http://`, `https://`, `socks5://` (names looked up here) or `socks5h://` (by the proxy), with `user:password@` if it asks for them; or `none`.")
    .example("\"http://proxy.example.com:3128\"")
    .otherwise("what `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in lower case too; never for loopback");

pub(super) const KEYS: [Info; 2] = [CA.info, PROXY.info];

/// Reads both, and gives the client that goes that way. Destinations that say the same share its connections.
pub(super) fn read(context: &Context<'_>, entries: &mut Entries<'_, '_>) -> Option<Client> {
    let ca_node = entries.node(&CA.info);
    let ca = ca_node.map_or(Some(Vec::new()), |node| read_ca(context.reader, context.surroundings, node));
    let ca_path = ca_node.and_then(|node| context.reader.text(node)).unwrap_or_default().to_owned();
    let proxy = entries.node(&PROXY.info).map_or(Some(ProxyChoice::Environment), |node| read_proxy(context, node));
    Some(context.client.by(Way { ca_path, ca: ca?, proxy: proxy?, ..Way::default() }))
}

/// The client of a kind that has `ca:` and goes by no proxy.
pub(super) fn read_ca_alone(context: &Context<'_>, node: Option<&Node>) -> Option<Client> {
    let ca = node.map_or(Some(Vec::new()), |node| read_ca(context.reader, context.surroundings, node));
    let ca_path = node.and_then(|node| context.reader.text(node)).unwrap_or_default().to_owned();
    Some(context.client.by(Way { ca_path, ca: ca?, proxy: ProxyChoice::None, ..Way::default() }))
}

/// The certificates of a PEM file.
pub(crate) fn read_ca(
    reader: &Reader,
    surroundings: &dyn Surroundings,
    node: &Node,
) -> Option<Vec<CertificateDer<'static>>> {
    let text = reader.text(node)?;
    // Another's config only says which file; whether it is there is not told to who may not look.
    if surroundings.resolved().is_some() {
        return Some(Vec::new());
    }
    let fail = |message: String, help: &str| {
        reader.error_with(node.id, message, help.to_owned());
        None
    };
    let form = "`ca` is the path of a PEM file: the CA's certificate, beginning with `-----BEGIN CERTIFICATE-----`";
    let pem = match surroundings.file(&reader.directory.join(text)) {
        Ok(pem) => pem,
        Err(error) => return fail(format!("the CA file could not be read: {error}"), form),
    };
    let certificates: Vec<_> = match CertificateDer::pem_slice_iter(pem.as_bytes()).collect() {
        Ok(certificates) => certificates,
        Err(error) => return fail(format!("the CA file is not PEM: {error}"), form),
    };
    if certificates.is_empty() {
        return fail("the CA file holds no certificate".to_owned(), form);
    }
    let mut roots = RootCertStore::empty();
    for (i, certificate) in certificates.iter().enumerate() {
        if let Err(error) = roots.add(certificate.clone()) {
            return fail(format!("certificate {} of the CA file cannot be used: {error}", i + 1), form);
        }
    }
    Some(certificates)
}

fn read_proxy(context: &Context<'_>, node: &Node) -> Option<ProxyChoice> {
    let reader = context.reader;
    let help = || "write proxy: \"http://proxy.example.com:3128\", or none to use no proxy".to_owned();
    if node.scalar().is_none_or(|scalar| matches!(scalar.style, Style::Bool(_))) {
        let message = format!("`proxy` is a URL or `none`, and this is {}", node.kind());
        let is_off = node.scalar().is_some_and(|scalar| scalar.style == Style::Bool(false));
        reader.error_with(node.id, message, if is_off { "write proxy: none".to_owned() } else { help() });
        return None;
    }
    let text = reader.text(node)?;
    if text.eq_ignore_ascii_case("none") {
        return Some(ProxyChoice::None);
    }
    if text.contains('@') {
        reader.note_secret(node);
    }
    match proxy::parse(text) {
        Ok(_) => reader.secret(node).map(ProxyChoice::Fixed),
        Err(message) => {
            reader.secret_error_with(node.id, message, help());
            None
        }
    }
}

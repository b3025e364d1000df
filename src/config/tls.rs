//! `tls:`, how a listener encrypts: a certificate with what it was signed by, and its key.
//!
//! The files are read with the config, so a pair that cannot be used is told by `check`, and changes nothing in a reload. No message
//! holds anything of them.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, InconsistentKeys, RootCertStore, ServerConfig};

use super::certificate;
use crate::yaml::keys::{Info, Key, Section, key, text};
use crate::yaml::raw::Node;
use crate::yaml::reader::Reader;
use crate::yaml::sight::Sight;
use crate::yaml::values::Surroundings;

/// HTTP/1.1 is what the listeners speak.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

const CERT: Key<String> = key("cert", text())
    .seen(Sight::All)
    .about("A PEM file, relative to the config: the certificate, and behind it those that it was signed by.")
    .example("/etc/vero-relay/fullchain.pem")
    .required();
const KEY: Key<String> = key("key", text())
    .seen(Sight::All)
    .about("A PEM file with its private key, without a passphrase.")
    .example("/etc/vero-relay/privkey.pem")
    .required();

/// The keys of `tls:`.
pub(super) fn keys() -> Section {
    Section::of(&[CERT.info, KEY.info])
}

/// A name by which clients come to a listener, and the key that says so.
#[derive(Clone, Copy)]
pub(super) struct ComesBy<'n> {
    pub host: &'n str,
    pub key: &'n str,
}

/// What a listener encrypts by.
pub(super) struct Pair {
    pub server: Arc<ServerConfig>,
    /// When its certificate ends, unix milliseconds, where that can be read.
    pub ends_ms: Option<u64>,
}

/// Reads both files. `Some(None)`: the config is another's, for whom nothing is looked at.
pub(super) fn read(
    reader: &Reader,
    node: &Node,
    surroundings: &dyn Surroundings,
    comes_by: Option<ComesBy<'_>>,
) -> Option<Option<Pair>> {
    let mut entries = reader.map(node, "`tls`")?;
    let cert = entries.node(&CERT.info);
    let key = entries.node(&KEY.info);
    entries.finish();
    let files = Files { reader, surroundings };
    let (cert, key) = (cert?, key?);
    if surroundings.resolved().is_some() {
        return reader.text(cert).and(reader.text(key)).map(|_| None);
    }
    let chain = files.chain(cert);
    let private = files.private_key(key);
    let chain = chain?;
    advise_of_validity(reader, cert, &chain);
    if let Some(comes_by) = comes_by {
        advise_of_name(reader, cert, &chain, comes_by);
    }
    // Those that it was signed by may have ended while another way to trust it has not.
    let ends_ms = chain.first().and_then(|own| certificate::ends_ms(own));
    put_together(reader, key, chain, private?).map(|server| Some(Pair { server, ends_ms }))
}

/// Where the files are looked for.
struct Files<'r> {
    reader: &'r Reader,
    surroundings: &'r dyn Surroundings,
}

impl Files<'_> {
    fn text(&self, node: &Node, info: &Info, help: &str) -> Option<String> {
        let path = self.reader.text(node)?;
        let read = self.surroundings.file(&self.reader.directory.join(path));
        let told = |error| {
            let message = format!("the file of `{}` could not be read: {error}", info.name);
            self.reader.error_with(node.id, message, help.to_owned());
        };
        read.map_err(told).ok()
    }

    fn chain(&self, node: &Node) -> Option<Vec<CertificateDer<'static>>> {
        let help = "`cert` is the path of a PEM file that begins with `-----BEGIN CERTIFICATE-----`";
        let pem = self.text(node, &CERT.info, help)?;
        let message = match CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if !chain.is_empty() => return Some(chain),
            Ok(_) => "the file of `cert` holds no certificate",
            Err(_) => "the file of `cert` is not PEM",
        };
        self.reader.error_with(node.id, message, help.to_owned());
        None
    }

    fn private_key(&self, node: &Node) -> Option<PrivateKeyDer<'static>> {
        let help = "`key` is the path of a PEM file that begins with `-----BEGIN PRIVATE KEY-----`, readable for the relay's user";
        let pem = self.text(node, &KEY.info, help)?;
        let is_encrypted = pem.contains("ENCRYPTED");
        let (message, help) = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(key) => return Some(key),
            Err(_) if is_encrypted => (
                "the key is encrypted, and nobody is there to give its passphrase",
                "take it off with: openssl pkey -in KEY -out KEY.plain",
            ),
            Err(PemError::NoItemsFound) => ("the file of `key` holds no private key", help),
            Err(_) => ("the file of `key` is not PEM", help),
        };
        self.reader.error_with(node.id, message, help.to_owned());
        None
    }
}

fn put_together(
    reader: &Reader,
    node: &Node,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Option<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    match made {
        Ok(mut config) => {
            config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
            return Some(Arc::new(config));
        }
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => reader.error_with(
            node.id,
            "the key is not the certificate's",
            "name the two files that were made together; a chain begins with the server's own certificate".to_owned(),
        ),
        Err(error) => {
            let message = match error {
                rustls::Error::General(_) => "the file of `key` holds no key that can be used".to_owned(),
                error => format!("the certificate and its key cannot be used: {error}"),
            };
            let help = "make a new pair: RSA from 2048 bits, ECDSA P-256 or P-384, or Ed25519".to_owned();
            reader.error_with(node.id, message, help);
        }
    }
    None
}

/// Tells of a certificate that no client takes at this hour. The library looks at the dates before anything else, so it does not matter
/// whom the rest of the chain leads to.
fn advise_of_validity(reader: &Reader, node: &Node, chain: &[CertificateDer<'static>]) {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else { return };
    let (Some((own, others)), Ok(name)) = (chain.split_first(), ServerName::try_from("localhost")) else { return };
    let verified = verifier.verify_server_cert(own, others, &name, &[], UnixTime::now());
    let Err(rustls::Error::InvalidCertificate(error)) = verified else { return };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let help = "renew it, then reload: vero-relay reload".to_owned();
            reader.warning(node.id, "the certificate has expired: no client will take it", help);
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let help = "is this machine's clock right?".to_owned();
            reader.warning(node.id, "the certificate is not valid yet: no client will take it", help);
        }
        _ => {}
    }
}

/// Tells of a certificate that is for other names than the one by which clients come.
fn advise_of_name(reader: &Reader, node: &Node, chain: &[CertificateDer<'static>], comes_by: ComesBy<'_>) {
    let ComesBy { host, key } = comes_by;
    // An address of IPv6 stands in brackets in a URL.
    let name = ServerName::try_from(host.trim_matches(['[', ']']));
    let own = chain.first().and_then(|own| ParsedCertificate::try_from(own).ok());
    let (Some(own), Ok(name)) = (own, name) else { return };
    if let Err(rustls::Error::InvalidCertificate(
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
    )) = verify_server_name(&own, &name)
    {
        let message =
            format!("the certificate is not for {host}, the host of `{key}`: browsers that go there refuse it");
        let help = format!(
            "take one for {host}; or a proxy shows its own there: then it can reach the relay without `tls`, on loopback"
        );
        reader.warning(node.id, message, help);
    }
}

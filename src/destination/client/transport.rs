//! What requests go out through: connections with one way of trusting and one proxy, shared by all destinations that agree in these.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::CertificateResult;

use super::lines::{Line, Lines};
use super::lookup::{Lookups, Resolve, system};
use super::proxy::{ProxyChoice, ProxyEnvironment};
use super::trouble::no_answer;
use super::trust::Trust;
use super::{CONNECT_TIMEOUT, NoAnswer, Url};
use crate::destination::hops::Hops;
use crate::time::Instant;
use crate::trust::Anybody;

/// Below the idle timeout of common servers (Node 5 s, ALB 60 s, nginx 75 s): a connection that the other side is just closing
/// costs a failed attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// No connection is used for longer, however busy: a name may have moved (failover, blue/green), and an old server may go on answering.
/// Short enough to follow within minutes, and long enough that connecting anew costs nothing that can be measured.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// Header lines of an answer that are read. Others read between 100 (Python) and no limit but the head's bytes (curl, Node).
const ANSWER_HEADERS_MAX: usize = 1024;

/// How a destination's requests go out.
#[derive(Clone, Default)]
pub struct Way {
    /// The file of `ca`, as the config names it.
    pub ca_path: String,
    /// Roots to trust beside the system's.
    pub ca: Vec<CertificateDer<'static>>,
    pub proxy: ProxyChoice,
    pub trust: Trust,
}

impl Way {
    fn is_same(&self, other: &Way) -> bool {
        let is_trusted = self.ca_path == other.ca_path && self.ca == other.ca && self.trust == other.trust;
        is_trusted && self.proxy.text() == other.proxy.text()
    }
}

/// Reads the system's certificates.
pub type ReadCertificates = dyn Fn() -> CertificateResult + Send + Sync;
/// Where the system had no certificates, they are looked for again after so long: somebody may install them, and each attempt by TLS
/// asks for them.
const CERTIFICATES_AGAIN: Duration = Duration::from_secs(10);

/// The certificates that this system trusts.
struct SystemRoots {
    store: RootCertStore,
    /// What was wrong with some of them.
    trouble: Option<String>,
    read_at: Instant,
}

/// What all transports have in common.
pub struct Network {
    lookups: Lookups,
    read_certificates: Arc<ReadCertificates>,
    /// Read once for all ways, when they are first needed.
    system_roots: Arc<tokio::sync::Mutex<Option<Arc<SystemRoots>>>>,
    environment: ProxyEnvironment,
    age_max: Duration,
    hops: Hops,
    transports: Mutex<Vec<Weak<Transport>>>,
}

/// What a test may want otherwise.
pub struct NetworkParts {
    /// Finds the addresses of a host.
    pub resolve: Arc<Resolve>,
    /// What the environment says of proxies.
    pub environment: ProxyEnvironment,
    /// How long a connection is used.
    pub connection_age_max: Duration,
    /// Reads the system's certificates. May block.
    pub read_certificates: Arc<ReadCertificates>,
}

impl Default for NetworkParts {
    fn default() -> Self {
        let environment = ProxyEnvironment::default();
        Self {
            resolve: Arc::new(system),
            environment,
            connection_age_max: CONNECTION_AGE_MAX,
            read_certificates: Arc::new(rustls_native_certs::load_native_certs),
        }
    }
}

/// Connections of one way.
pub struct Transport {
    network: Arc<Network>,
    way: Way,
    /// Made when it is first needed, since the system's certificates may be missing, and nothing that does without them may fail for it.
    tls: Mutex<Option<ClientConfig>>,
    lines: Mutex<Lines<reqwest::Client>>,
}

impl Network {
    /// Nothing is opened, read or asked yet.
    pub fn new(parts: NetworkParts) -> Arc<Self> {
        let NetworkParts { resolve, environment, connection_age_max, read_certificates } = parts;
        Arc::new(Self {
            lookups: Lookups::new(resolve),
            read_certificates,
            system_roots: Arc::default(),
            environment,
            age_max: connection_age_max,
            hops: Hops::new(),
            transports: Mutex::default(),
        })
    }

    /// What the environment says of proxies.
    pub fn environment(&self) -> &ProxyEnvironment {
        &self.environment
    }

    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// The relays that events have come through.
    pub fn hops(&self) -> &Hops {
        &self.hops
    }

    /// The transport of a way; the same one for all that ask for the same.
    pub fn transport(self: &Arc<Self>, way: Way) -> Arc<Transport> {
        let mut transports = lock(&self.transports);
        transports.retain(|transport| transport.strong_count() > 0);
        let mut alive = transports.iter().filter_map(Weak::upgrade);
        if let Some(found) = alive.find(|transport| transport.way.is_same(&way)) {
            return found;
        }
        let lines = Mutex::new(Lines::new(self.age_max));
        let made = Arc::new(Transport { network: self.clone(), way, tls: Mutex::default(), lines });
        transports.push(Arc::downgrade(&made));
        made
    }

    /// The system's certificates. They are files, and a file system may hang: they are read aside, once for all who wait, and whoever
    /// gives up waiting leaves the reading to the others.
    async fn system_roots(&self) -> Result<Arc<SystemRoots>, NoAnswer> {
        let mut known = self.system_roots.clone().lock_owned().await;
        let is_usable = |roots: &&Arc<SystemRoots>| {
            !roots.store.is_empty() || Instant::now().duration_since(roots.read_at) < CERTIFICATES_AGAIN
        };
        if let Some(roots) = known.as_ref().filter(is_usable) {
            return Ok(roots.clone());
        }
        let read = self.read_certificates.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let found = read();
            let mut store = RootCertStore::empty();
            // A bundle holds odd ones now and then; they are left out, as everybody does.
            store.add_parsable_certificates(found.certs);
            let trouble = found.errors.first().map(ToString::to_string);
            let roots = Arc::new(SystemRoots { store, trouble, read_at: Instant::now() });
            *known = Some(roots.clone());
            roots
        });
        reading
            .await
            .map_err(|_| NoAnswer::told("reading the CA certificates panicked, which is a bug: see the log".to_owned()))
    }
}

impl Transport {
    /// The network that it belongs to.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// How it goes out.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// What a request to a URL goes out by.
    pub async fn line(&self, url: &Url) -> Result<Arc<Line<reqwest::Client>>, NoAnswer> {
        let origin = origin(url);
        let now = Instant::now();
        if let Some(line) = lock(&self.lines).current(origin, now) {
            return Ok(line);
        }
        let made = self.connect_anew(url).await?;
        Ok(lock(&self.lines).replace(origin, made, now))
    }

    async fn connect_anew(&self, url: &Url) -> Result<reqwest::Client, NoAnswer> {
        let proxy = self.way.proxy.chosen(&self.network.environment, url).map_err(NoAnswer::told)?;
        let needs_tls = url.scheme() == "https" || proxy.as_ref().is_some_and(|proxy| proxy.url.scheme() == "https");
        let tls = if needs_tls { self.tls().await? } else { tls_config(RootCertStore::empty())? };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .dns_resolver(self.network.lookups.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .referer(false)
            // Answers of old and odd servers are read as leniently as others read them: what counts is the status.
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .http1_max_headers(ANSWER_HEADERS_MAX);
        if let Some(proxy) = proxy {
            let direct = reqwest::NoProxy::from_string(&proxy.direct);
            builder = builder.proxy(reqwest::Proxy::all(proxy.url).map_err(no_answer)?.no_proxy(direct));
        }
        builder.build().map_err(no_answer)
    }

    async fn tls(&self) -> Result<ClientConfig, NoAnswer> {
        if let Some(tls) = &*lock(&self.tls) {
            return Ok(tls.clone());
        }
        let mut tls = match self.way.trust {
            Trust::Roots => tls_config(self.roots().await?)?,
            Trust::Anybody => tls_config(RootCertStore::empty())?,
        };
        if self.way.trust == Trust::Anybody {
            let provider = tls.crypto_provider().clone();
            tls.dangerous().set_certificate_verifier(Arc::new(Anybody(provider)));
        }
        // Of two that were made at once the first is shared, and with it the sessions that it remembers.
        Ok(lock(&self.tls).get_or_insert(tls).clone())
    }

    async fn roots(&self) -> Result<RootCertStore, NoAnswer> {
        let system = self.network.system_roots().await?;
        let mut roots = system.store.clone();
        let refused = |error: rustls::Error| NoAnswer::told(format!("a certificate of `ca` cannot be used: {error}"));
        self.way.ca.iter().try_for_each(|certificate| roots.add(certificate.clone())).map_err(refused)?;
        if roots.is_empty() { Err(no_roots(&system)) } else { Ok(roots) }
    }

    /// The same for who speaks another protocol than HTTP.
    pub async fn tls_without_alpn(&self) -> Result<ClientConfig, NoAnswer> {
        let mut tls = self.tls().await?;
        tls.alpn_protocols.clear();
        Ok(tls)
    }
}

fn no_roots(system: &SystemRoots) -> NoAnswer {
    let why = system.trouble.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    NoAnswer::told(format!(
        "could not connect: there are no CA certificates on this system{why}: install the package ca-certificates, \
         or name a bundle in the environment variable SSL_CERT_FILE"
    ))
}

/// Scheme, host and port, as the URL has them: without a copy, since this is asked for each request.
fn origin(url: &Url) -> &str {
    &url.as_str()[..url.scheme().len() + "://".len() + url.authority().len()]
}

fn tls_config(roots: RootCertStore) -> Result<ClientConfig, NoAnswer> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| NoAnswer::told(format!("TLS could not be set up: {error}")))?;
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

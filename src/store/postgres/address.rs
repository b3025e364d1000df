//! Which servers, as whom, and into which schema: a connection string, proved.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::encryption::{Encryption, Tls};
use super::parameters::{AddressError, Parameters};
use crate::errors::with_causes;

/// What is not in the connection string.
#[derive(Clone, Debug)]
pub struct AddressOptions {
    /// In which schema the tables are.
    pub schema: String,
    /// How it is encrypted, where the string does not say so.
    pub tls: Option<Tls>,
    /// Whose certificates are taken, in place of those that the system trusts.
    pub ca: Vec<CertificateDer<'static>>,
}

impl Default for AddressOptions {
    fn default() -> Self {
        Self { schema: "vero_relay".to_owned(), tls: None, ca: Vec::new() }
    }
}

/// The longest name that PostgreSQL takes, in bytes (NAMEDATALEN - 1): it cuts a longer one.
const NAME_MAX: usize = 63;
/// For everything with one host, TLS, the password and the first questions, unless the string has a `connect_timeout`: a server that
/// hangs must not keep us from the next one.
const HOST_WITHIN: Duration = Duration::from_secs(4);
/// A connection whose other side says nothing more is closed by the system within this time. Without, a commit that waits for its
/// standby on a server that is gone would wait for hours.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
/// How long a connection is silent before the system asks whether the other side is there, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How many of them may go without an answer.
const KEEPALIVES_MAX: u32 = 2;

/// Which servers, as whom, and into which schema. `Display` tells it without the password.
///
/// With several hosts the first one is used that takes writes: who stores must write, so a standby is passed over whether or not the
/// string has `target_session_attrs`.
#[derive(Clone)]
pub struct Address {
    /// Each with what it is called.
    pub(super) hosts: Vec<(String, Config)>,
    pub(super) schema: String,
    pub(super) encryption: Arc<Encryption>,
    /// How long a host may take until it is passed over.
    pub(super) host_within: Duration,
    user: Option<String>,
    has_password: bool,
    is_here: bool,
    database: Option<String>,
}

impl Address {
    /// Reads `postgresql://USER:PASSWORD@HOST:PORT,HOST/DATABASE?…`, or `host=… user=…`.
    ///
    /// Where nothing says how it is encrypted, a server on this machine is spoken to without, and any other one must prove its name.
    pub fn parse(text: &str, options: AddressOptions) -> Result<Self, AddressError> {
        let parameters = Parameters::read(text)?;
        let config: Config = parameters.rest.parse().map_err(|error| AddressError::new(with_causes(&error)))?;
        Self::check_schema(&options.schema)?;
        check_attributes(parameters.get("target_session_attrs"))?;
        let hosts = hosts(&config)?;
        let tls = tls(&parameters, &hosts, &options)?;
        let host_within = config.get_connect_timeout().copied().unwrap_or(HOST_WITHIN);
        let (user, database) = (config.get_user().map(str::to_owned), config.get_dbname().map(str::to_owned));
        let (has_password, is_here) = (config.get_password().is_some(), hosts.iter().all(One::is_here));
        let hosts = hosts.into_iter().map(|host| (host.to_string(), host.config(&config, tls))).collect();
        let encryption = Arc::new(Encryption::new(tls, options.ca));
        Ok(Self { hosts, schema: options.schema, encryption, host_within, user, has_password, is_here, database })
    }

    /// Whether a name can be that of a schema.
    pub fn check_schema(name: &str) -> Result<(), AddressError> {
        let is_plain = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_';
        let is_good = name.chars().all(is_plain)
            && name.starts_with(|sign: char| !sign.is_ascii_digit())
            && !name.starts_with("pg_")
            && name.len() <= NAME_MAX;
        if is_good {
            return Ok(());
        }
        Err(AddressError::new(format!(
            "is no plain name of a schema: up to {NAME_MAX} of a-z, 0-9 and _, not a digit first, and not pg_, which is PostgreSQL's own"
        )))
    }

    /// Whether the string has a password in it.
    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// Whether all of its servers are on this machine.
    pub fn is_here(&self) -> bool {
        self.is_here
    }

    /// In which schema the tables are.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.hosts.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", hosts.join(","))?;
        self.database.iter().try_for_each(|database| write!(f, "/{database}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}, schema {}, {:?})", self.schema, self.encryption.tls)
    }
}

/// One server.
struct One {
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

impl One {
    fn is_here(&self) -> bool {
        match (&self.address, &self.host) {
            (Some(address), _) => address.is_loopback(),
            (None, Some(Host::Unix(_))) => true,
            (None, Some(Host::Tcp(name))) => {
                name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
            }
            (None, None) => false,
        }
    }

    fn is_socket(&self) -> bool {
        self.address.is_none() && matches!(self.host, Some(Host::Unix(_)))
    }

    fn config(&self, whole: &Config, tls: Tls) -> Config {
        let mut config = Config::new();
        match &self.host {
            Some(Host::Tcp(name)) => drop(config.host(name)),
            Some(Host::Unix(path)) => drop(config.host_path(path)),
            None => {}
        }
        self.address.map(|address| config.hostaddr(address));
        config.port(self.port);
        whole.get_user().map(|user| config.user(user));
        whole.get_password().map(|password| config.password(password));
        whole.get_dbname().map(|database| config.dbname(database));
        whole.get_options().map(|options| config.options(options));
        // PostgreSQL has no TLS on its Unix sockets.
        let is_plain = tls == Tls::Off || self.is_socket();
        config.ssl_mode(if is_plain { SslMode::Disable } else { SslMode::Require });
        config.ssl_negotiation(whole.get_ssl_negotiation()).channel_binding(whole.get_channel_binding());
        // Whether it takes writes is asked with everything else.
        config.target_session_attrs(TargetSessionAttrs::Any);
        // A name may have several addresses, and one that drops what it gets must leave time for the next.
        config.connect_timeout(whole.get_connect_timeout().copied().unwrap_or(HOST_WITHIN) / 2);
        config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(KEEPALIVES_MAX);
        config
    }
}

impl fmt::Display for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, &self.address) {
            (Some(Host::Tcp(name)), _) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            (Some(Host::Tcp(name)), _) => write!(f, "{name}:{}", self.port),
            (Some(Host::Unix(path)), _) => write!(f, "{}/.s.PGSQL.{}", path.display(), self.port),
            (None, Some(address)) => write!(f, "{}", std::net::SocketAddr::new(*address, self.port)),
            (None, None) => Ok(()),
        }
    }
}

fn hosts(config: &Config) -> Result<Vec<One>, AddressError> {
    let (names, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = names.len().max(addresses.len());
    let is_empty = |host: &Host| matches!(host, Host::Tcp(name) if name.is_empty());
    if count == 0 || names.iter().any(is_empty) {
        let help =
            "postgresql://USER:PASSWORD@HOST/DATABASE, or ?host=/var/run/postgresql for a socket on this machine";
        return Err(AddressError::new(format!("names no host: {help}")));
    }
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(AddressError::new(format!(
            "has {} hosts and {} hostaddrs: one for each",
            names.len(),
            addresses.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(AddressError::new(format!(
            "has {count} hosts and {} ports: one port for each, or one for all",
            ports.len()
        )));
    }
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
    let one = |at: usize| One { host: names.get(at).cloned(), address: addresses.get(at).copied(), port: port(at) };
    Ok((0..count).map(one).collect())
}

fn tls(parameters: &Parameters, hosts: &[One], options: &AddressOptions) -> Result<Tls, AddressError> {
    let in_string = match parameters.get("sslmode") {
        None => None,
        Some("disable") => Some(Tls::Off),
        Some("require") => Some(Tls::Require),
        Some("verify-full") => Some(Tls::Verify),
        Some("allow" | "prefer") => {
            return Err(AddressError::new(
                "has a `sslmode` that gives encryption up where it fails: say `verify-full`, `require` or `disable`",
            ));
        }
        Some("verify-ca") => {
            return Err(AddressError::new(
                "has `sslmode=verify-ca`, which proves no name: say `verify-full`, or `require`",
            ));
        }
        Some(_) => {
            return Err(AddressError::new("has a `sslmode` that is none: say `verify-full`, `require` or `disable`"));
        }
    };
    if let (Some(string), Some(option)) = (in_string, options.tls)
        && string != option
    {
        return Err(AddressError::new("says with `sslmode` another thing than `tls` beside it: leave one of them out"));
    }
    match parameters.get("sslrootcert") {
        None => {}
        Some("system") if options.ca.is_empty() => {}
        Some(_) => return Err(AddressError::new("has `sslrootcert`: name that file under `ca` beside it")),
    }
    let is_here = hosts.iter().all(One::is_here);
    let by_default = if is_here && options.ca.is_empty() { Tls::Off } else { Tls::Verify };
    let tls = in_string.or(options.tls).unwrap_or(by_default);
    if tls != Tls::Verify && !options.ca.is_empty() {
        return Err(AddressError::new(
            "proves no certificate, and `ca` says whose would count: say `sslmode=verify-full`, or leave `ca` out",
        ));
    }
    if tls != Tls::Off && hosts.iter().any(|host| host.host.is_none()) {
        return Err(AddressError::new(
            "has a `hostaddr` alone: TLS needs a `host` beside it, which is the name in the certificate",
        ));
    }
    Ok(tls)
}

fn check_attributes(attributes: Option<&str>) -> Result<(), AddressError> {
    match attributes {
        None | Some("any" | "read-write" | "primary") => Ok(()),
        Some(_) => Err(AddressError::new(
            "has a `target_session_attrs` that asks for a server that takes no writes: the relay must write, so say `read-write`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, AddressOptions::default())
    }

    #[track_caller]
    fn check(text: &str, expected: &str, tls: Tls) {
        let address = parse(text).unwrap_or_else(|error| panic!("{text} {error}"));
        assert_eq!((address.to_string().as_str(), address.encryption.tls), (expected, tls), "{text}");
        assert!(!format!("{address} {address:?}").contains("hunter2"), "{address:?}");
    }

    #[track_caller]
    fn refused(text: &str, says: &str) {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }

    #[test]
    fn a_url_and_a_list_say_the_same() {
        check("postgresql://r:hunter2@db1,db2:5433/relay", "r@db1:5432,db2:5433/relay", Tls::Verify);
        check(
            "host=db1,db2 port=5432,5433 user=r password=hunter2 dbname=relay",
            "r@db1:5432,db2:5433/relay",
            Tls::Verify,
        );
        check("postgres://r@[::2]:99/x?target_session_attrs=primary", "r@[::2]:99/x", Tls::Verify);
        check("host=db hostaddr=10.0.0.1 user=r sslmode=require", "r@db:5432", Tls::Require);
        check("hostaddr=10.0.0.1 sslmode=disable", "10.0.0.1:5432", Tls::Off);
    }

    #[test]
    fn a_server_on_this_machine_alone_is_spoken_to_without_encryption_unless_it_is_said() {
        check("postgresql:///relay?host=/var/run/postgresql", "/var/run/postgresql/.s.PGSQL.5432/relay", Tls::Off);
        check("postgresql://localhost,127.0.0.2,[::1]/x", "localhost:5432,127.0.0.2:5432,[::1]:5432/x", Tls::Off);
        check("postgresql://localhost,db/x", "localhost:5432,db:5432/x", Tls::Verify);
        check("postgresql://localhost/x?sslmode=require", "localhost:5432/x", Tls::Require);
        check("host=localhost hostaddr=10.0.0.1", "localhost:5432", Tls::Verify);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_say() {
        refused("", "names no host");
        refused("postgresql:///relay", "names no host");
        refused("postgresql://r:hunter2@db:port/relay", "port");
        refused("postgresql://r:hunter2@db/x?sslmode=prefer", "verify-full");
        refused("postgresql://db/x?sslmode=verify-ca", "verify-full");
        refused("postgresql://db/x?sslmode=on", "verify-full");
        refused("postgresql://db/x?sslrootcert=/a", "`ca`");
        refused("postgresql://db/x?target_session_attrs=standby", "read-write");
        refused("hostaddr=10.0.0.1", "`host`");
        refused("host=a,b hostaddr=10.0.0.1", "2 hosts and 1");
        refused("host=a,b,c port=1,2", "3 hosts and 2");
    }

    #[test]
    fn what_stands_beside_the_string_must_fit_it() {
        let ca = vec![CertificateDer::from(vec![0])];
        let with = |text: &str, change: fn(&mut AddressOptions)| {
            let mut options = AddressOptions::default();
            change(&mut options);
            Address::parse(text, options).map(|address| address.encryption.tls)
        };
        assert_eq!(with("host=db", |options| options.tls = Some(Tls::Off)), Ok(Tls::Off));
        assert_eq!(with("host=db sslmode=disable", |options| options.tls = Some(Tls::Off)), Ok(Tls::Off));
        let error = with("host=db sslmode=require", |options| options.tls = Some(Tls::Off)).expect_err("they differ");
        assert!(error.to_string().contains("leave one of them out"), "{error}");
        let options = AddressOptions { ca, ..AddressOptions::default() };
        let error = Address::parse("host=db sslmode=require", options.clone()).expect_err("nothing is proved");
        assert!(error.to_string().contains("verify-full"), "{error}");
        let address = Address::parse("host=localhost", options).expect("who names a CA wants it");
        assert_eq!(address.encryption.tls, Tls::Verify);
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        let schema = |name: &str| {
            let options = AddressOptions { schema: name.to_owned(), ..AddressOptions::default() };
            Address::parse("host=db", options).map(|address| address.schema)
        };
        for good in ["vero_relay", "_a1", &"a".repeat(NAME_MAX)] {
            assert_eq!(schema(good), Ok(good.to_owned()));
        }
        for bad in ["", "A", "1a", "a-b", "a b", "a;b", "é", "pg_a", &"a".repeat(NAME_MAX + 1)] {
            assert!(schema(bad).is_err(), "{bad}");
        }
    }
}

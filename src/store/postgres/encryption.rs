//! Whose certificates are taken from a server of PostgreSQL.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::trouble::Trouble;
use crate::errors::with_causes;
use crate::trust::Anybody;

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    Off,
    /// By whatever certificate the server has: nobody reads along, but who stands between may be the server.
    Require,
    /// And its certificate is for the host's name, by a CA that is trusted.
    Verify,
}

/// What a connection is encrypted by. The certificates of the system are read where they are needed first.
#[derive(Debug)]
pub struct Encryption {
    pub tls: Tls,
    /// Where there are any, no others count: as with `sslrootcert`.
    ca: Vec<CertificateDer<'static>>,
    made: tokio::sync::OnceCell<ClientConfig>,
}

impl Encryption {
    pub fn new(tls: Tls, ca: Vec<CertificateDer<'static>>) -> Self {
        Self { tls, ca, made: tokio::sync::OnceCell::new() }
    }

    /// What the client connects by.
    pub async fn connector(&self) -> Result<MakeRustlsConnect, Trouble> {
        let made = self.made.get_or_try_init(|| self.config()).await;
        made.cloned().map(MakeRustlsConnect::new).map_err(Trouble::Refused)
    }

    async fn config(&self) -> Result<ClientConfig, String> {
        let roots = match self.tls {
            Tls::Off | Tls::Require => RootCertStore::empty(),
            Tls::Verify if self.ca.is_empty() => of_the_system().await?,
            Tls::Verify => {
                let mut roots = RootCertStore::empty();
                let added = self.ca.iter().try_for_each(|certificate| roots.add(certificate.clone()));
                added.map_err(|error| format!("a certificate of `ca` cannot be used: {error}"))?;
                roots
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| format!("TLS could not be set up: {error}"))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        // What a server asks for that expects TLS from the first byte (`sslnegotiation=direct`); others do not look.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        if self.tls == Tls::Require {
            config.dangerous().set_certificate_verifier(Arc::new(Anybody(provider)));
        }
        Ok(config)
    }
}

async fn of_the_system() -> Result<RootCertStore, String> {
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let read = read.map_err(|error| crate::errors::join_error("reading the CA certificates", &error))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read.certs);
    if roots.is_empty() {
        let why = read.errors.first().map(|error| format!(" ({})", with_causes(error))).unwrap_or_default();
        return Err(format!(
            "there are no CA certificates on this system{why}: install the package ca-certificates, or name the CA of the server under `ca`"
        ));
    }
    Ok(roots)
}

//! How a listener encrypts: not at all, or by the certificate of the config in force. One that is put in force counts for the connections
//! that begin from then on.
//!
//! Who does not shake hands in time is closed: until then a connection holds its slot for nothing. Who speaks HTTP without encryption to a
//! listener that encrypts is told so, in HTTP.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::connection::Watched;
use super::stream::Stream;

/// For a handshake, which takes two round trips: a connection to the other end of the world that loses a packet has it done.
pub(super) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The first byte of a handshake (RFC 8446, section 5.1). No request in HTTP begins with it.
const HANDSHAKE: u8 = 22;
/// What is told in HTTP to who speaks it to a listener that encrypts.
pub const TLS_ALONE: &str = "this listener speaks TLS alone: use https://";

/// What a listener encrypts by.
#[derive(Debug, Default)]
pub struct Tls(ArcSwapOption<ServerConfig>);

impl Tls {
    /// By a certificate, or not at all.
    pub fn new(config: Option<Arc<ServerConfig>>) -> Arc<Self> {
        Arc::new(Self(ArcSwapOption::new(config)))
    }

    /// For the connections that begin from now on.
    pub fn set(&self, config: Option<Arc<ServerConfig>>) {
        self.0.store(config);
    }

    /// Begins a connection.
    pub(super) async fn begin(&self, stream: Watched) -> io::Result<Stream> {
        let Some(config) = self.0.load_full() else { return Ok(Stream::Plain(stream)) };
        // Apart, so that a connection that needs none has no room for it.
        let begun = Box::pin(shake_hands(config, stream));
        tokio::time::timeout(HANDSHAKE_WITHIN, begun)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake came in time")))
    }
}

async fn shake_hands(config: Arc<ServerConfig>, mut stream: Watched) -> io::Result<Stream> {
    if stream.first_byte().await? != HANDSHAKE {
        tell(&mut stream).await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no TLS was spoken"));
    }
    let encrypted = TlsAcceptor::from(config).accept(stream).await?;
    Ok(Stream::Tls(Box::new(encrypted)))
}

/// Answers who speaks without encryption.
async fn tell(stream: &mut Watched) -> io::Result<()> {
    let body = super::answer(StatusCode::BAD_REQUEST, TLS_ALONE).into_body();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await?;
    // It reads on for a while, so that the answer arrives.
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::super::connection::Patience;
    use super::*;

    fn encrypting() -> Arc<Tls> {
        let chain = CertificateDer::pem_slice_iter(include_bytes!("../../tests/tls/server.pem"));
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../tests/tls/server.key")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.expect("versions").with_no_client_auth().with_single_cert(chain, key);
        Tls::new(Some(Arc::new(config.expect("a pair"))))
    }

    /// The two ends of a connection.
    async fn connection(patience: &Arc<Patience>) -> (TcpStream, Watched) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let other = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("accepted");
        (other, Watched::new(stream, patience.clone(), CancellationToken::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_shake_hands_in_time_is_closed_however_far_it_came() {
        let patience = Arc::new(Patience::new(Duration::from_secs(3600)));
        // Nothing; the beginning of a handshake that never goes on.
        for sent in [&b""[..], &[HANDSHAKE], &[HANDSHAKE, 3, 1, 0, 200, 1]] {
            let (mut other, watched) = connection(&patience).await;
            other.write_all(sent).await.expect("sent");
            let start = Instant::now();
            let error = encrypting().begin(watched).await.map(drop).expect_err("closed");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{sent:?}");
            assert_eq!(start.elapsed().as_secs(), HANDSHAKE_WITHIN.as_secs(), "by the clock of the test");
        }
    }

    #[tokio::test]
    async fn one_that_does_not_encrypt_waits_for_nothing() {
        let patience = Arc::new(Patience::new(Duration::from_secs(3600)));
        let (_other, watched) = connection(&patience).await;
        assert!(matches!(Tls::default().begin(watched).await, Ok(Stream::Plain(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_stop_a_handshake_has_little_time() {
        let patience = Arc::new(Patience::new(Duration::from_secs(3600)));
        let (_other, watched) = connection(&patience).await;
        patience.stop();
        let start = Instant::now();
        let error = encrypting().begin(watched).await.map(drop).expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < HANDSHAKE_WITHIN, "by the clock of the test");
    }
}

//! A way to a database that does to what passes what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Passes,
    /// Nothing arrives on either side, and nobody hears of that.
    Drops,
    /// The database hears nothing, and what it says arrives.
    DropsQuestions,
    /// The relay hears nothing, and what it says arrives: so it does not know what was done.
    DropsAnswers,
    /// Everything comes so much later.
    Delays(Duration),
    /// Connections that there are end by a reset, and new ones too.
    Resets,
    /// Of what comes next half is passed on, and then the connection ends.
    CutsQuestions,
    CutsAnswers,
}

/// One that stands before a server on loopback.
pub struct Proxy {
    pub port: u16,
    does: Arc<watch::Sender<Does>>,
}

impl Proxy {
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let own = listener.local_addr().expect("an address").port();
        let does = Arc::new(watch::Sender::new(Does::Passes));
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let told = does.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(pass(stream, to, told.subscribe()));
            }
        });
        Self { port: own, does }
    }

    pub fn does(&self, does: Does) {
        self.does.send_replace(does);
    }
}

async fn pass(relay: TcpStream, to: SocketAddr, does: watch::Receiver<Does>) {
    if *does.borrow() == Does::Resets {
        let _ = relay.set_zero_linger();
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else { return };
    let _ = server.set_nodelay(true);
    let mut resets = does.clone();
    let ((from_relay, to_relay), (from_server, to_server)) = (relay.into_split(), server.into_split());
    let mut questions = tokio::spawn(one_way(from_relay, to_server, does.clone(), true));
    let mut answers = tokio::spawn(one_way(from_server, to_relay, does, false));
    tokio::select! {
        _ = &mut questions => {}
        _ = &mut answers => {}
        _ = resets.wait_for(|does| *does == Does::Resets) => {}
    }
    // Whatever is left of either side ends with this.
    questions.abort();
    answers.abort();
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut does: watch::Receiver<Does>, asks: bool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let now = *does.borrow();
        let is_dropped = match now {
            Does::Drops => true,
            Does::DropsQuestions => asks,
            Does::DropsAnswers => !asks,
            _ => false,
        };
        if is_dropped {
            // What was dropped is gone: a connection that has lost bytes is never whole again.
            let _ = does.wait_for(|does| *does != now).await;
            return;
        }
        if let Does::Delays(time) = now {
            tokio::time::sleep(time).await;
        }
        if now == if asks { Does::CutsQuestions } else { Does::CutsAnswers } {
            let _ = to.write_all(&buffer[..read / 2]).await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

//! What may stand between a relay and a server: it passes on what it gets, but for the options of a session, as a pooler does that was
//! told to pass over them.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::Server;

/// Starts one before a server, and gives its port.
pub async fn without_options(server: &Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let socket = server.directory.join(format!(".s.PGSQL.{}", server.port));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass_on(stream, socket.clone()));
        }
    });
    port
}

async fn pass_on(mut relay: TcpStream, socket: PathBuf) -> std::io::Result<()> {
    // The first message: its length and the version, 4 bytes each, then names and values that end with a 0 each, then a 0.
    let length = relay.read_u32().await? as usize;
    let mut message = vec![0; length - 4];
    relay.read_exact(&mut message).await?;
    let texts: Vec<&[u8]> = message[4..].split(|byte| *byte == 0).collect();
    let mut kept = message[..4].to_vec();
    for pair in texts.chunks_exact(2).filter(|pair| !pair[0].is_empty() && pair[0] != b"options") {
        pair.iter().for_each(|text| kept.extend([text, &[0][..]].concat()));
    }
    kept.push(0);
    let mut server = UnixStream::connect(socket).await?;
    server.write_u32(kept.len() as u32 + 4).await?;
    server.write_all(&kept).await?;
    copy_bidirectional(&mut relay, &mut server).await.map(|_| ())
}

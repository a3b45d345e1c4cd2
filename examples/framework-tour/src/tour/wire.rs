//! The wire by hand, for what an ordinary client does not do: see a handshake, stay silent,
//! send a message that is coded otherwise.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;

use crate::Problem;
use crate::connectors::cipher;

/// The kinds of packages that are sent here.
const HANDSHAKE: u8 = 1;
const ACK: u8 = 2;
const DATA: u8 = 4;

/// What a server answers to a handshake.
pub(crate) async fn handshake(stream: &mut TcpStream) -> Result<Value, Problem> {
    let hello = json!({"sys": {"type": "tour", "version": "1.0"}}).to_string();
    stream
        .write_all(&package(HANDSHAKE, hello.as_bytes())?)
        .await?;
    let (_, answer) = read(stream).await?;
    Ok(serde_json::from_slice(&answer)?)
}

/// Ends the handshake.
pub(crate) async fn ack(stream: &mut TcpStream) -> Result<(), Problem> {
    Ok(stream.write_all(&package(ACK, &[])?).await?)
}

/// A connection through a client's own cipher: only messages are coded, the rest is as it was.
pub(crate) fn ciphered(stream: TcpStream) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (from_server, to_server) = stream.into_split();
    let (from_client, to_client) = tokio::io::split(far);
    // Each direction ends with its source; nobody waits for them.
    tokio::spawn(recode(from_client, to_server));
    tokio::spawn(recode(from_server, to_client));
    near
}

async fn recode(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), Problem> {
    loop {
        let Ok((kind, mut body)) = read(&mut from).await else {
            return Ok(to.shutdown().await?);
        };
        if kind == DATA {
            body = cipher(&body);
        }
        to.write_all(&package(kind, &body)?).await?;
    }
}

fn package(kind: u8, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let len = u32::try_from(body.len())?;
    let [_, a, b, c] = len.to_be_bytes();
    Ok([&[kind, a, b, c], body].concat())
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let [kind, a, b, c] = head;
    let len = usize::try_from(u32::from_be_bytes([0, a, b, c])).map_err(io::Error::other)?;
    let mut body = vec![0; len];
    from.read_exact(&mut body).await?;
    Ok((kind, body))
}

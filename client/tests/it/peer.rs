//! A server that does what the test says, at the other end of an in-memory stream.

use pomelo_client::{Client, ClientConfig, ConnectError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

pub(crate) const HANDSHAKE: u8 = 1;
pub(crate) const ACK: u8 = 2;
pub(crate) const HEARTBEAT: u8 = 3;
pub(crate) const DATA: u8 = 4;
pub(crate) const KICK: u8 = 5;

pub(crate) struct Peer {
    pub(crate) stream: DuplexStream,
}

impl Peer {
    /// The client's side of the stream, and a peer on the other.
    pub(crate) fn pair() -> (DuplexStream, Self) {
        let (client, stream) = duplex(64 * 1024);
        (client, Self { stream })
    }

    /// The next package; `None` when the client has closed.
    pub(crate) async fn package(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        if self.stream.read_exact(&mut head).await.is_err() {
            return None;
        }
        let [kind, a, b, c] = head;
        let mut body = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut body).await.unwrap();
        Some((kind, body))
    }

    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) {
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let package = [&[kind, len[1], len[2], len[3]], body].concat();
        self.stream.write_all(&package).await.unwrap();
    }

    /// Takes the handshake and answers with `response`; gives what the client said.
    pub(crate) async fn answer_handshake(&mut self, response: &Value) -> Value {
        let (kind, body) = self.package().await.unwrap();
        assert_eq!(kind, HANDSHAKE);
        self.send(HANDSHAKE, response.to_string().as_bytes()).await;
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn expect_ack(&mut self) {
        assert_eq!(self.package().await, Some((ACK, vec![])));
    }
}

/// A client whose handshake was answered with these members of `sys`.
pub(crate) async fn connected(config: &ClientConfig, sys: Value) -> (Client, Peer) {
    let (stream, mut peer) = Peer::pair();
    let response = json!({"code": 200, "sys": sys});
    let (client, ()) = tokio::join!(config.connect_over(stream), async {
        peer.answer_handshake(&response).await;
        peer.expect_ack().await;
    });
    (client.unwrap(), peer)
}

/// What becomes of a handshake that is answered with `response`.
pub(crate) async fn refused(response: &[u8]) -> ConnectError {
    let (stream, mut peer) = Peer::pair();
    let config = Client::builder();
    let (client, _) = tokio::join!(config.connect_over(stream), async {
        peer.package().await.unwrap();
        peer.send(HANDSHAKE, response).await;
        peer.package().await
    });
    client.unwrap_err()
}

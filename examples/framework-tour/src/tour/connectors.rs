//! Connector options: who may connect, how, and how much.

use std::sync::Arc;

use pomelo_client::{Client, CloseReason, ConnectError};
use pomelo_server::rustls::pki_types::{CertificateDer, ServerName};
use pomelo_server::rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{CONNECTOR_0, Tour, ask, code, member, wire};
use crate::Problem;

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Seen {
    /// What the game's handshake answered.
    handshake_user_data: Option<Value>,
    handshake_refused: Option<i64>,
    client_too_old: Option<i64>,
    /// Before, while and after the client's address is on the list.
    let_in_by_the_blacklist: (bool, bool, bool),
    answer_inside_tls: u64,
    /// With the old certificate only, with the new one.
    trusted_after_a_reload: (bool, bool),
    plain_where_tls_is: bool,
    same_user_twice: (u64, u64),
    above_max_connections: bool,
    above_the_rate: String,
    /// As the proxy says, through a cipher.
    address_behind_a_proxy: Value,
    silent_before_the_handshake: &'static str,
    silent_after_the_handshake: &'static str,
}

pub(crate) fn promised() -> Seen {
    Seen {
        handshake_user_data: Some(json!({"motd": "welcome, ann"})),
        handshake_refused: Some(500),
        client_too_old: Some(501),
        let_in_by_the_blacklist: (true, false, true),
        answer_inside_tls: 200,
        trusted_after_a_reload: (false, true),
        plain_where_tls_is: false,
        same_user_twice: (200, 409),
        above_max_connections: false,
        above_the_rate: "kicked: rate limit".to_owned(),
        address_behind_a_proxy: json!("203.0.113.7"),
        silent_before_the_handshake: "closed",
        silent_after_the_handshake: "closed",
    }
}

pub(crate) async fn walk(tour: &Tour) -> Result<Seen, Problem> {
    // These two take a while: the rest is looked at meanwhile.
    let quiet = tokio::spawn(silent(tour.port("edge-1")?, false));
    let deaf = tokio::spawn(silent(tour.port("gate-1")?, true));

    let (gate, connector) = (tour.url("gate-1")?, tour.url(CONNECTOR_0)?);
    let as_user = |user| Client::builder().user(user);
    let ann = as_user(json!({"nick": "ann"})).connect(&connector).await?;
    let banned = as_user(json!({"banned": true})).connect(&connector).await;
    let old = Client::builder().client("rust", "0.9").connect(&gate).await;

    let blacklist = &tour.game.blacklist;
    let gate_lets_in = async || Client::connect(&gate).await.is_ok();
    let before = gate_lets_in().await;
    blacklist.add(r"^127\.0\.0\.1$")?;
    let meanwhile = gate_lets_in().await;
    blacklist.remove(r"^127\.0\.0\.1$");
    let after = gate_lets_in().await;

    let certificate = &tour.game.certificate;
    let old_certificate = certificate.read()?;
    let first = secure(tour, &old_certificate).await?;
    let answer_inside_tls = code(&ask(&first, "tournament.entryHandler.ping").await?);
    certificate.renew()?;
    let old_trust = secure(tour, &old_certificate).await.is_ok();
    let second = secure(tour, &certificate.read()?).await?;
    // Two are all that the tournament takes.
    let third = secure(tour, &certificate.read()?).await.is_ok();
    let uid = json!({"uid": "ann"});
    let enter = async |client: &Client| {
        let route = "tournament.entryHandler.enter";
        client.request::<_, Value>(route, &uid).await
    };
    let same_user_twice = (code(&enter(&first).await?), code(&enter(&second).await?));
    second.disconnect().await;
    for _ in 0..100 {
        first.notify("tournament.entryHandler.ping", &json!({}))?;
    }
    let above_the_rate = first.closed().await.to_string();

    Ok(Seen {
        handshake_user_data: ann.user().cloned(),
        handshake_refused: refusal(banned),
        client_too_old: refusal(old),
        let_in_by_the_blacklist: (before, meanwhile, after),
        answer_inside_tls,
        trusted_after_a_reload: (old_trust, true),
        plain_where_tls_is: Client::connect(&tour.url("tournament-1")?).await.is_ok(),
        same_user_twice,
        above_max_connections: third,
        above_the_rate,
        address_behind_a_proxy: {
            let client = behind_proxy(tour).await?;
            member(&ask(&client, "edge.entryHandler.ping").await?, "/from")
        },
        silent_before_the_handshake: quiet.await??,
        silent_after_the_handshake: deaf.await??,
    })
}

fn refusal(outcome: Result<Client, ConnectError>) -> Option<i64> {
    match outcome {
        Err(ConnectError::Handshake(CloseReason::Rejected(code))) => Some(code),
        _ => None,
    }
}

/// A client of the tournament that trusts in this certificate alone.
pub(super) async fn secure(
    tour: &Tour,
    certificate: &CertificateDer<'static>,
) -> Result<Client, Problem> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", tour.port("tournament-1")?)).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector
        .connect(ServerName::try_from("localhost")?, stream)
        .await?;
    Ok(Client::builder().connect_over(stream).await?)
}

/// A client of the edge, which a proxy announces and which has the edge's cipher.
pub(super) async fn behind_proxy(tour: &Tour) -> Result<Client, Problem> {
    let mut stream = TcpStream::connect(("127.0.0.1", tour.port("edge-1")?)).await?;
    stream
        .write_all(b"PROXY TCP4 203.0.113.7 127.0.0.1 50000 443\r\n")
        .await?;
    Ok(Client::builder()
        .connect_over(wire::ciphered(stream))
        .await?)
}

/// Says nothing, from the beginning or after the handshake, until the server has enough of it.
async fn silent(port: u16, after_handshake: bool) -> Result<&'static str, Problem> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    if after_handshake {
        wire::handshake(&mut stream).await?;
        wire::ack(&mut stream).await?;
    }
    stream.read_to_end(&mut Vec::new()).await?;
    Ok("closed")
}

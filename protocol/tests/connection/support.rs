//! A virtual clock and the shortest ways to a connection in a given state.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::{
    ClientConnection, ClientEvent, Config, Dictionary, Frame, HandshakeRequest, Instant,
    PackageKind, ProtosOffer, ServerConnection, ServerEvent, ServerSettings, Tables,
    protobuf::Protos,
};
use serde_json::json;

pub(crate) const HELLO: &[u8] = br#"{"sys":{"type":"test","version":"1.0.0"}}"#;

pub(crate) fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

pub(crate) fn package(kind: PackageKind, body: &[u8]) -> Bytes {
    Frame::new(kind, body).unwrap().into_bytes()
}

/// Heartbeats of 3 s, a dictionary, and schemas in both directions.
pub(crate) fn settings() -> ServerSettings {
    let dictionary = Dictionary::build(["chat.chatHandler.send"], ["onChat"]).unwrap();
    let client = Protos::parse(&json!({"area.move": {"required uInt32 x": 1}})).unwrap();
    let server = Protos::parse(&json!({"onMove": {"required uInt32 x": 1}})).unwrap();
    let mut settings = ServerSettings::default();
    settings.offer.heartbeat = Some(Duration::from_secs(3));
    settings.offer.dictionary = Some(dictionary.clone());
    settings.offer.protos = Some(ProtosOffer::dialect(client.clone(), server.clone()));
    settings.codec.dictionary = Some(dictionary);
    settings.codec.incoming = client;
    settings.codec.outgoing = server;
    settings
}

pub(crate) fn server(settings: ServerSettings) -> ServerConnection {
    ServerConnection::new(at(0), Arc::new(settings))
}

/// A server whose client has acknowledged at time 0; nothing is left to send.
pub(crate) fn working_server(settings: ServerSettings) -> ServerConnection {
    let mut server = server(settings);
    server.handle_data(at(0), package(PackageKind::Handshake, HELLO));
    assert!(matches!(
        server.poll_event(),
        Some(ServerEvent::Handshake(_))
    ));
    server.accept(at(0), None);
    server.handle_data(at(0), package(PackageKind::HandshakeAck, b""));
    assert!(matches!(server.poll_event(), Some(ServerEvent::Ready)));
    sent_by_server(&mut server);
    server
}

pub(crate) fn client() -> ClientConnection {
    let hello = HandshakeRequest::new("rust", "1.0.0");
    ClientConnection::new(at(0), Config::client(), hello, Tables::default())
}

/// A client that the server let in at time 0 with heartbeats of 3 s; nothing is left to send.
pub(crate) fn working_client() -> ClientConnection {
    let mut client = client();
    let response = br#"{"code":200,"sys":{"heartbeat":3,"dict":{"onChat":1}}}"#;
    client.handle_data(at(0), package(PackageKind::Handshake, response));
    assert!(matches!(
        client.poll_event(),
        Some(ClientEvent::Ready { .. })
    ));
    while client.poll_transmit().is_some() {}
    client
}

pub(crate) fn sent_by_server(server: &mut ServerConnection) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| server.poll_transmit())
        .map(|frame| frame.as_bytes().to_vec())
        .collect()
}

pub(crate) fn server_events(server: &mut ServerConnection) -> Vec<ServerEvent> {
    std::iter::from_fn(|| server.poll_event()).collect()
}

pub(crate) fn client_events(client: &mut ClientConnection) -> Vec<ClientEvent> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

//! Starting, stopping and time.

use std::sync::Arc;
use std::time::Duration;

use pomelo_server::{App, Config, StartError};
use serde_json::json;
use tokio::net::TcpStream;

use crate::peer::{HANDSHAKE, Tcp, Ws, golden_app, golden_connector, package, request, start};

#[tokio::test]
async fn a_stop_kicks_with_a_reason_and_frees_the_port() {
    let (running, address) = start(golden_app()).await;
    let mut tcp = Tcp::ready(address).await;
    let mut ws = Ws::ready(address).await;
    let mut opening = Tcp::connect(address).await;
    opening.send(&[1]).await;
    let view = running.app("connector-1").unwrap().clone();
    assert_eq!(view.sessions().count(), 2);
    let stop = tokio::spawn(running.stop());
    let kick = package(5, br#"{"reason":"server stop"}"#);
    assert_eq!(tcp.rest().await, kick);
    assert_eq!(ws.message().await, (0x82, kick));
    assert_eq!(ws.message().await, (0x88, vec![0x03, 0xe8]));
    assert_eq!(opening.rest().await, b"");
    stop.await.unwrap();
    assert_eq!(view.sessions().count(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handlers_for_ever() {
    let app = golden_app().stop_timeout(Duration::from_millis(50));
    let (running, address) = start(app).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&request(1, "connector.entryHandler.silent", "{}"))
        .await;
    peer.send(&[3, 0, 0, 0]).await;
    assert_eq!(peer.package().await, [3, 0, 0, 0]);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_closed() {
    let app = golden_app().configure("all", "connector", |server| {
        server.connector(golden_connector().handshake_timeout(Duration::from_millis(50)))
    });
    let (running, address) = start(app).await;
    for begun in ["", "G", "GET / HTTP/1.1\r\n", "\u{1}"] {
        let mut peer = Tcp::connect(address).await;
        peer.send(begun.as_bytes()).await;
        assert_eq!(peer.rest().await, b"", "{begun:?}");
    }
    let mut peer = Tcp::connect(address).await;
    peer.send(&package(1, HANDSHAKE.as_bytes())).await;
    assert_eq!(peer.package().await[0], 1);
    assert_eq!(peer.rest().await, b"");
    running.stop().await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_at_once() {
    let servers = json!({"test": {"connector": [
        {"id": "connector-1", "frontend": true, "clientPort": 0, "max-connections": 1}]}});
    let app = golden_app().config(Config::from_servers(&servers, "test").unwrap());
    let (running, address) = start(app.configure("all", "all", |server| {
        server.connector(pomelo_server::Hybrid::new().heartbeat_secs(3))
    }))
    .await;
    let _first = Tcp::ready(address).await;
    let mut second = Tcp::connect(address).await;
    assert_eq!(second.rest().await, b"");
    running.stop().await;
}

#[tokio::test]
async fn two_frontends_have_their_own_sessions_and_routes_choose_backends() {
    let servers = json!({"test": {
        "connector": [
            {"id": "connector-1", "frontend": true, "clientPort": 0},
            {"id": "connector-2", "frontend": true, "clientPort": 0}],
        "chat": [{"id": "chat-1"}, {"id": "chat-2"}],
    }});
    async fn whoami(app: App) -> serde_json::Value {
        app.server_id().into()
    }
    let app = App::builder()
        .env("test")
        .config(Config::from_servers(&servers, "test").unwrap())
        .configure("all", "connector", |server| {
            server.connector(pomelo_server::Hybrid::new().heartbeat_secs(3))
        })
        .route("chat", |_, servers| {
            servers.last().map(|server| Arc::clone(&server.id))
        })
        .handler("chat.who.ami", whoami)
        .handler("connector.who.ami", whoami);
    let running = app.start().await.unwrap();
    for id in ["connector-1", "connector-2"] {
        let port = running.addresses()[id].port();
        let mut peer = Tcp::ready(([127, 0, 0, 1], port).into()).await;
        peer.send(&request(1, "connector.who.ami", "{}")).await;
        assert_eq!(
            peer.package().await,
            crate::peer::response(1, &format!("{id:?}"))
        );
        peer.send(&request(2, "chat.who.ami", "{}")).await;
        assert_eq!(peer.package().await, crate::peer::response(2, "\"chat-2\""));
        let sessions = running.app(id).unwrap().sessions().all();
        assert_eq!(
            sessions
                .iter()
                .map(|session| session.id())
                .collect::<Vec<_>>(),
            [1]
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn mistakes_are_found_at_the_start() {
    let twice = golden_app().handler("chat.chatHandler.echo", async || {});
    assert!(
        matches!(twice.start().await, Err(StartError::Route(route, _)) if route.ends_with("echo"))
    );
    let parts = golden_app().handler("chat.echo", async || {});
    assert!(matches!(parts.start().await, Err(StartError::Route(..))));
    let none = App::builder().config(Config::default());
    assert!(matches!(none.start().await, Err(StartError::NoServers(_))));
    let missing = App::builder().config_dir("no/such/place").start().await;
    assert!(matches!(missing, Err(StartError::Config(_))));
}

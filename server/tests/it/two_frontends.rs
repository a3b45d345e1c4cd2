//! An application of two frontends and two backends, for what goes from server to server.

use std::net::SocketAddr;

use pomelo_server::{App, AppBuilder, Config, Hybrid, Running, Session};
use serde_json::json;

use crate::peer::{Tcp, golden_app};

pub fn two_frontends() -> AppBuilder {
    let servers = json!({"test": {
        "connector": [
            {"id": "connector-1", "frontend": true, "clientPort": 0},
            {"id": "connector-2", "frontend": true, "clientPort": 0}],
        "chat": [{"id": "chat-1"}, {"id": "chat-2"}],
    }});
    golden_app()
        .config(Config::from_servers(&servers, "test").unwrap())
        .configure("all", "connector", |server| {
            server.connector(Hybrid::new().heartbeat_secs(3))
        })
}

pub fn app<'a>(running: &'a Running, id: &str) -> &'a App {
    running.app(id).unwrap()
}

/// A client that is ready, and its session.
pub async fn client(running: &Running, frontend: &str) -> (Tcp, Session) {
    let port = running.addresses()[frontend].port();
    let sessions = app(running, frontend).sessions();
    let before: Vec<u64> = sessions.all().iter().map(Session::id).collect();
    let peer = Tcp::ready(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let mut all = sessions.all().into_iter();
    let session = all.find(|session| !before.contains(&session.id()));
    (peer, session.unwrap())
}

/// A push as it is on the wire.
pub fn push(route: &str, body: &str) -> Vec<u8> {
    let mut message = vec![0x06, u8::try_from(route.len()).unwrap()];
    message.extend_from_slice(route.as_bytes());
    message.extend_from_slice(body.as_bytes());
    crate::peer::package(4, &message)
}

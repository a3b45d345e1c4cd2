//! Servers that come and go while others run.

use std::sync::Arc;

use pomelo_server::{App, Event, RpcError, ServerInfo};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::peer::{Tcp, golden_app, request, response, start};

#[tokio::test]
async fn changes_are_routed_by_and_told_in_order_at_every_server() {
    let (sender, mut events) = mpsc::channel(64);
    let app = golden_app()
        .route("chat", |_, servers| {
            servers.last().map(|server| Arc::clone(&server.id))
        })
        .on_event(move |app: App, event| {
            let sender = sender.clone();
            async move {
                let told = match event {
                    Event::AddServers(servers) => format!("add {}", servers[0].id),
                    Event::RemoveServers(ids) => format!("remove {}", ids.join(" ")),
                    Event::ReplaceServers(servers) => format!("replace {}", servers.len()),
                    _ => return,
                };
                drop(sender.send((app.server_id().to_owned(), told)).await);
            }
        });
    let (running, address) = start(app).await;
    let connector = running.app("connector-1").unwrap();
    let mut peer = Tcp::ready(address).await;
    let mut ask = async |id, expected: &str| {
        peer.send(&request(id, "chat.chatHandler.nothing", "{}"))
            .await;
        assert_eq!(peer.package().await, response(id, expected));
    };
    ask(1, "{}").await;
    connector.add_servers(vec![ServerInfo::new("chat-2", "chat")]);
    assert_eq!(
        running
            .app("chat-1")
            .unwrap()
            .topology()
            .by_type("chat")
            .len(),
        2
    );
    // Known, and the route function chooses it, but nothing leads there.
    ask(2, r#"{"code":500}"#).await;
    connector.remove_servers(&["chat-2", "chat-7"]);
    ask(3, "{}").await;
    connector.remove_servers(&["chat-1"]);
    ask(4, r#"{"code":500}"#).await;
    let gone = connector.rpc("chat.a.b").call::<_, Value>(()).await;
    assert!(matches!(gone, Err(RpcError::NoServer(of)) if of == "chat"));
    connector.replace_servers(vec![
        ServerInfo::new("connector-1", "connector"),
        ServerInfo::new("chat-1", "chat"),
    ]);
    ask(5, "{}").await;
    connector.add_servers(Vec::new());
    running.stop().await;
    let mut told = Vec::new();
    while let Some(one) = events.recv().await {
        told.push(one);
    }
    for server in ["connector-1", "chat-1"] {
        let mine = told.iter().filter(|(at, _)| at == server);
        let mine: Vec<&str> = mine.map(|(_, what)| &**what).collect();
        assert_eq!(
            mine,
            [
                "add chat-2",
                "remove chat-2 chat-7",
                "remove chat-1",
                "replace 2"
            ]
        );
    }
}

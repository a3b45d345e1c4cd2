//! How connections are closed.

use std::time::{Duration, Instant};

use pomelo_server::CloseMethod;
use tokio::io::AsyncWriteExt;

use crate::peer::{Tcp, app_with, golden_connector, package, request, start};

fn kick(reason: &str) -> Vec<u8> {
    let body = format!(r#"{{"reason":"{reason}"}}"#);
    request(1, "connector.entryHandler.kick", &body)
}

/// How many sockets of clients the server has.
fn open_sockets(running: &pomelo_server::Running) -> u64 {
    let page = running.app("connector-1").unwrap().metrics_page();
    let line = page
        .lines()
        .find(|line| line.starts_with("pomelo_connections{"))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn end_closes_its_half_and_waits_for_the_clients() {
    let hybrid = golden_connector()
        .close_method(CloseMethod::End)
        .flush_timeout(Duration::from_secs(60));
    let (running, address) = start(app_with(hybrid)).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&kick("bye")).await;
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"bye"}"#));
    // The client may go on sending, and the server takes it: more than all buffers hold.
    assert_eq!(open_sockets(&running), 1);
    peer.send(&vec![0; 16 << 20]).await;
    assert_eq!(open_sockets(&running), 1);
    peer.stream.shutdown().await.unwrap();
    while open_sockets(&running) > 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}

#[tokio::test]
async fn end_does_not_wait_for_ever() {
    let hybrid = golden_connector()
        .close_method(CloseMethod::End)
        .flush_timeout(Duration::from_millis(50));
    let (running, address) = start(app_with(hybrid)).await;
    let mut peer = Tcp::ready(address).await;
    peer.send(&kick("bye")).await;
    assert_eq!(peer.rest().await, package(5, br#"{"reason":"bye"}"#));
    let begun = Instant::now();
    while open_sockets(&running) > 0 {
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    running.stop().await;
}

#[tokio::test]
async fn a_handler_that_never_ends_does_not_keep_its_place_among_the_connections() {
    let servers = serde_json::json!({"test": {"connector": [
        {"id": "connector-1", "frontend": true, "clientPort": 0, "max-connections": 1}]}});
    let config = pomelo_server::Config::from_servers(&servers, "test").unwrap();
    let hybrid = pomelo_server::Hybrid::new().heartbeat_secs(3);
    let app = app_with(hybrid)
        .config(config)
        .stop_timeout(Duration::from_millis(50));
    let (running, address) = start(app).await;
    let mut first = Tcp::ready(address).await;
    first
        .send(&request(1, "connector.entryHandler.silent", "{}"))
        .await;
    assert_eq!(Tcp::connect(address).await.rest().await, b"");
    drop(first);
    while open_sockets(&running) > 0 {
        tokio::task::yield_now().await;
    }
    Tcp::ready(address).await;
    running.stop().await;
}

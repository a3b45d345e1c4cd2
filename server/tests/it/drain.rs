//! A stop lets what was begun be answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pomelo_server::State;
use tokio::sync::Notify;

use crate::peer::{Tcp, Ws, app_with, golden_connector, package, request, response, start};

struct Gate {
    entered: Notify,
    open: Notify,
}

async fn slow(State(gate): State<Arc<Gate>>) {
    gate.entered.notify_one();
    gate.open.notified().await;
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate {
        entered: Notify::new(),
        open: Notify::new(),
    })
}

fn kick(reason: &str) -> Vec<u8> {
    package(5, format!(r#"{{"reason":"{reason}"}}"#).as_bytes())
}

#[tokio::test]
async fn a_running_request_is_answered_before_the_kick_and_new_ones_are_not_taken() {
    let gate = gate();
    let app = app_with(golden_connector().drain_timeout(Duration::from_secs(60)))
        .stop_timeout(Duration::from_secs(120))
        .state(Arc::clone(&gate))
        .handler("connector.g.slow", slow);
    let (running, address) = start(app).await;
    let mut busy = Tcp::ready(address).await;
    let mut idle = Ws::ready(address).await;
    busy.send(&request(1, "connector.g.slow", "{}")).await;
    gate.entered.notified().await;
    let view = running.app("connector-1").unwrap().clone();
    let stop = tokio::spawn(running.stop());
    // Who has nothing open goes first.
    assert_eq!(idle.message().await, (0x82, kick("server stop")));
    assert_eq!(view.sessions().count(), 1);
    busy.send(&request(2, "connector.entryHandler.nothing", "{}"))
        .await;
    gate.open.notify_one();
    assert_eq!(busy.package().await, response(1, "{}"));
    assert_eq!(busy.rest().await, kick("server stop"));
    stop.await.unwrap();
}

#[tokio::test]
async fn a_request_that_takes_too_long_does_not_hold_the_kick() {
    let gate = gate();
    let app = app_with(golden_connector())
        .stop_timeout(Duration::from_millis(400))
        .state(Arc::clone(&gate))
        .handler("connector.g.slow", slow);
    let (running, address) = start(app).await;
    let mut busy = Tcp::ready(address).await;
    busy.send(&request(1, "connector.g.slow", "{}")).await;
    gate.entered.notified().await;
    let begun = Instant::now();
    let stop = tokio::spawn(running.stop());
    // Half of the time is for requests.
    assert_eq!(busy.rest().await, kick("server stop"));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    stop.await.unwrap();
}

#[tokio::test]
async fn the_reason_is_a_choice() {
    for (reason, said) in [(Some("maintenance"), kick("maintenance")), (None, vec![])] {
        let (running, address) = start(app_with(golden_connector().stop_reason(reason))).await;
        let mut peer = Tcp::ready(address).await;
        running.stop().await;
        assert_eq!(peer.rest().await, said);
    }
}

#[tokio::test]
async fn an_unanswered_handshake_does_not_hold_the_stop() {
    let hybrid = golden_connector().handshake(async |_| std::future::pending().await);
    let app = app_with(hybrid).stop_timeout(Duration::from_millis(200));
    let (running, address) = start(app).await;
    let mut peer = Tcp::connect(address).await;
    peer.send(&package(1, crate::peer::HANDSHAKE.as_bytes()))
        .await;
    running.stop().await;
    assert_eq!(peer.rest().await, b"");
}

//! When a message enters a mailbox: at once, with others, or as the application says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pomelo_server::{
    App, Buffer, Direct, Error, Frame, Outbound, OutboundKind, PushError, PushScheduler,
    PushSchedulers, Running, Session,
};
use serde_json::{Value, json};

use crate::peer::{Tcp, Ws, golden_app, package, request, response, start};
use crate::two_frontends::{app, push};

/// Longer than any test: what waits for a flush is still waiting.
const HOUR: Duration = Duration::from_secs(3600);

/// Three pushes and an answer out of one handler.
async fn burst(app: App) -> Result<Value, Error> {
    for n in 1..=3 {
        app.channels().broadcast("connector", "n", &n).await?;
    }
    Ok(json!("done"))
}

async fn with(schedulers: PushSchedulers) -> (Running, std::net::SocketAddr) {
    let app = golden_app().handler("connector.s.burst", burst);
    start(app.configure("all", "connector", move |server| {
        server.push_schedulers(schedulers.clone())
    }))
    .await
}

fn burst_packages() -> Vec<Vec<u8>> {
    let pushes = (1..=3).map(|n| push("n", &n.to_string()));
    pushes.chain([response(1, "\"done\"")]).collect()
}

async fn silent(peer: &mut Tcp) {
    peer.send(&[3, 0, 0, 0]).await;
    assert_eq!(peer.package().await, [3, 0, 0, 0]);
}

#[tokio::test]
async fn a_buffer_flushes_after_its_interval() {
    let (running, address) = with(PushSchedulers::one(Buffer::new())).await;
    let (mut tcp, mut ws) = (Tcp::ready(address).await, Ws::ready(address).await);
    for _ in 0..3 {
        tcp.send(&request(1, "connector.s.burst", "{}")).await;
        for expected in burst_packages() {
            assert_eq!(tcp.package().await, expected);
        }
        // One message each: clients that read only the first package of one get them all.
        for expected in &burst_packages()[..3] {
            assert_eq!(ws.message().await, (0x82, expected.clone()));
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_batch_shares_one_websocket_message_when_asked_to() {
    let buffer = Buffer::new().batch_websocket(true);
    let (running, address) = with(PushSchedulers::one(buffer)).await;
    let (mut tcp, mut ws) = (Tcp::ready(address).await, Ws::ready(address).await);
    ws.send(&request(1, "connector.s.burst", "{}")).await;
    assert_eq!(ws.message().await, (0x82, burst_packages().concat()));
    assert_eq!(
        tcp.exactly(3 * push("n", "1").len()).await,
        burst_packages()[..3].concat()
    );
    // One alone is an ordinary message, and the heads of longer ones are right, too.
    let channels = app(&running, "connector-1").channels();
    let long = "x".repeat(40_000);
    channels.broadcast("connector", "n", &1).await.unwrap();
    assert_eq!(ws.message().await, (0x82, push("n", "1")));
    for _ in 0..2 {
        channels.broadcast("connector", "n", &long).await.unwrap();
    }
    let one = push("n", &format!("{long:?}"));
    let head = ws.tcp.exactly(10).await;
    let len = u64::try_from(2 * one.len()).unwrap();
    assert_eq!(head, [&[0x82, 127][..], &len.to_be_bytes()].concat());
    assert_eq!(
        ws.tcp.exactly(2 * one.len()).await,
        [one.clone(), one].concat()
    );
    ws.send(&[3, 0, 0, 0]).await;
    assert_eq!(ws.message().await, (0x82, vec![3, 0, 0, 0]));
    running.stop().await;
}

#[tokio::test]
async fn what_waits_is_flushed_before_a_kick() {
    let (running, address) = with(PushSchedulers::one(Buffer::new().flush_interval(HOUR))).await;
    let mut peer = Tcp::ready(address).await;
    let view = app(&running, "connector-1");
    peer.send(&request(1, "connector.s.burst", "{}")).await;
    silent(&mut peer).await;
    view.sessions().by_id(1).unwrap().kick(Some("bye"));
    let mut expected = burst_packages().concat();
    expected.extend(package(5, br#"{"reason":"bye"}"#));
    assert_eq!(peer.rest().await, expected);
    // A stop is a kick as well.
    let mut other = Tcp::ready(address).await;
    view.channels()
        .broadcast("connector", "n", &1)
        .await
        .unwrap();
    silent(&mut other).await;
    let stop = tokio::spawn(running.stop());
    let expected = [push("n", "1"), package(5, br#"{"reason":"server stop"}"#)];
    assert_eq!(other.rest().await, expected.concat());
    stop.await.unwrap();
}

#[tokio::test]
async fn a_selector_chooses_per_message_and_the_order_stays() {
    type Seen = Arc<Mutex<Vec<(OutboundKind, String, Value)>>>;
    let seen = Seen::default();
    let seeing = Arc::clone(&seen);
    let schedulers = PushSchedulers::select(move |message| {
        let entry = (
            message.kind,
            message.route.to_owned(),
            message.options.clone(),
        );
        seeing.lock().unwrap().push(entry);
        match message.kind {
            OutboundKind::Response => "now",
            _ if message.options["urgent"] == true => "now",
            _ if message.options["lost"] == true => "nobody",
            _ => "later",
        }
    })
    .with("now", Direct)
    .with("later", Buffer::new().flush_interval(HOUR));
    let (running, address) = with(schedulers).await;
    let mut peer = Tcp::ready(address).await;
    let view = app(&running, "connector-1");
    view.sessions().bind(1, "u").unwrap();
    peer.send(&request(1, "connector.s.burst", "{}")).await;
    // The answer does not overtake the pushes that wait.
    for expected in burst_packages() {
        assert_eq!(peer.package().await, expected);
    }
    let hall = view.channels().create("hall");
    hall.add("u", "connector-1");
    hall.push_message("onX", &1).await.unwrap();
    silent(&mut peer).await;
    hall.push_message_with("onX", &2, json!({"urgent": true}))
        .await
        .unwrap();
    for n in ["1", "2"] {
        assert_eq!(peer.package().await, push("onX", n));
    }
    let lost = hall
        .push_message_with("onX", &3, json!({"lost": true}))
        .await;
    let error = lost.unwrap_err();
    assert_eq!(error.to_string(), "no push scheduler with id \"nobody\"");
    let to = [("u".into(), "connector-1".into())];
    let channels = view.channels();
    let report = channels
        .push_by_uids_with("onY", &4, &to, json!({"urgent": true}))
        .await;
    assert_eq!(report.unwrap().delivered, 1);
    assert_eq!(peer.package().await, push("onY", "4"));

    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let kinds: Vec<OutboundKind> = seen.iter().map(|(kind, ..)| *kind).collect();
    let [b, r, p] = [
        OutboundKind::Broadcast,
        OutboundKind::Response,
        OutboundKind::Push,
    ];
    assert_eq!(kinds, [b, b, b, r, p, p, p, p]);
    assert_eq!(
        (seen[3].1.as_str(), &seen[3].2),
        ("connector.s.burst", &Value::Null)
    );
    running.stop().await;
}

#[tokio::test]
async fn an_application_may_bring_its_own_scheduler() {
    /// Lets every message through twice, and keeps a diary.
    #[derive(Clone, Default)]
    struct Twice(Arc<Mutex<Vec<String>>>);
    impl PushScheduler for Twice {
        fn schedule(
            &self,
            message: &Outbound<'_>,
            frame: Frame,
            receiver: &Session,
        ) -> Result<(), PushError> {
            self.0
                .lock()
                .unwrap()
                .push(format!("{} {}", message.route, receiver.id()));
            receiver.send(frame.clone())?;
            receiver.send(frame)
        }

        fn start(&self, app: &App) {
            self.0
                .lock()
                .unwrap()
                .push(format!("start {}", app.server_id()));
        }

        fn stop(&self) {
            self.0.lock().unwrap().push("stop".to_owned());
        }
    }
    let twice = Twice::default();
    let (running, address) = with(PushSchedulers::one(twice.clone())).await;
    let mut peer = Tcp::ready(address).await;
    let channels = app(&running, "connector-1").channels();
    let report = channels.broadcast("connector", "n", &1).await.unwrap();
    assert_eq!(report.delivered, 1, "one session");
    for _ in 0..2 {
        assert_eq!(peer.package().await, push("n", "1"));
    }
    running.stop().await;
    assert_eq!(
        *twice.0.lock().unwrap(),
        ["start connector-1", "n 1", "stop"]
    );
}

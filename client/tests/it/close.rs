use std::time::Duration;

use pomelo_client::{Client, CloseReason, Dropped, Event, NotifyError, RequestError};
use pomelo_protocol::DecodeError;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::peer::{DATA, HEARTBEAT, KICK, connected};

#[tokio::test]
async fn kick_with_every_kind_of_body() {
    let cases: [(&[u8], Option<&str>); 6] = [
        (br#"{"reason":"bye"}"#, Some("bye")),
        (br#"{"reason":7}"#, Some("7")),
        (b"{}", None),
        (br#""bye""#, Some("bye")),
        (b"bye", Some("bye")),
        (b"", None),
    ];
    for (body, reason) in cases {
        let reason = reason.map(str::to_owned);
        let (client, mut peer) = connected(&Client::builder(), json!({})).await;
        let mut events = client.events();
        peer.send(KICK, body).await;
        let closed = CloseReason::Kicked(reason.clone());
        assert_eq!(
            events.recv().await,
            Some(Event::Kicked { reason }),
            "{body:?}"
        );
        assert_eq!(events.recv().await, Some(Event::Closed(closed.clone())));
        assert_eq!(events.recv().await, None);
        assert_eq!(client.closed().await, closed);
        assert_eq!(peer.package().await, None, "the client closes after a kick");
        assert_eq!(client.events().recv().await, Some(Event::Closed(closed)));
    }
}

#[tokio::test]
async fn every_waiter_learns_why() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let body = json!({});
    let (first, second, ()) = tokio::join!(
        client.request::<_, Value>("a.b.c", &body),
        client.request::<_, Value>("a.b.c", &body),
        async {
            peer.package().await.unwrap();
            peer.package().await.unwrap();
            peer.send(KICK, b"{\"reason\":\"full\"}").await;
        }
    );
    for answer in [first, second] {
        let Err(RequestError::Closed(reason)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(reason, CloseReason::Kicked(Some("full".to_owned())));
    }
}

#[tokio::test]
async fn stream_that_ends_inside_a_package() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let body = json!({});
    let (answer, ()) = tokio::join!(client.request::<_, Value>("a.b.c", &body), async {
        peer.package().await.unwrap();
        peer.stream
            .write_all(b"\x04\x00\x00\x0c\x04\x01{\"co")
            .await
            .unwrap();
        peer.stream.shutdown().await.unwrap();
    });
    assert!(
        matches!(answer, Err(RequestError::Closed(CloseReason::Peer))),
        "{answer:?}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_packages_end_the_connection() {
    let mut limits = pomelo_client::Config::client();
    limits.max_package = 100;
    let config = Client::builder().limits(limits);
    let cases: [(&[u8], DecodeError); 3] = [
        (b"\x09\x00\x00\x00", DecodeError::UnknownPackageKind(9)),
        (
            b"\x04\x00\x00\x65",
            DecodeError::PackageTooLarge { len: 101, max: 100 },
        ),
        (b"\x04\x00\x00\x00", DecodeError::EmptyMessage),
    ];
    for (bytes, error) in cases {
        let (client, mut peer) = connected(&config, json!({})).await;
        peer.stream.write_all(bytes).await.unwrap();
        assert_eq!(
            client.closed().await,
            CloseReason::Protocol(error),
            "{bytes:02x?}"
        );
        assert_eq!(peer.package().await, None);
    }
}

#[tokio::test]
async fn messages_that_make_no_sense_are_dropped_and_counted() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let mut events = client.events();
    peer.send(DATA, b"\x07\x00\x09{}").await;
    peer.send(DATA, b"\x06\x09onC").await;
    peer.send(DATA, b"\x04\x05{}").await;
    let dropped = [
        Dropped::Malformed(DecodeError::UnknownRouteCode(9)),
        Dropped::Malformed(DecodeError::MessageCut),
        Dropped::UnknownResponse(5),
    ];
    for dropped in dropped {
        assert_eq!(events.recv().await, Some(Event::Dropped(dropped)));
    }
    assert_eq!(client.stats().dropped_messages, 3);
    // The connection is as good as before.
    let body = json!({});
    let (answer, ()) = tokio::join!(client.request::<_, Value>("a.b.c", &body), async {
        peer.package().await.unwrap();
        peer.send(DATA, b"\x04\x01{}").await;
    });
    assert_eq!(answer.unwrap(), json!({}));
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_heartbeat_timeout() {
    let (client, mut peer) = connected(&Client::builder(), json!({"heartbeat": 3})).await;
    let started = Instant::now();
    let (reason, ()) = tokio::join!(client.closed(), async {
        while let Some(package) = peer.package().await {
            assert_eq!(package, (HEARTBEAT, vec![]));
        }
    });
    assert_eq!(reason, CloseReason::HeartbeatTimeout);
    // Twice the interval and a tenth of a second, in whole milliseconds of Tokio's timer.
    let silence = started.elapsed();
    assert!(
        silence >= Duration::from_millis(6100) && silence < Duration::from_millis(6110),
        "{silence:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_it_alive() {
    let (client, mut peer) = connected(&Client::builder(), json!({"heartbeat": 3})).await;
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(peer.package().await, Some((HEARTBEAT, vec![])));
        peer.send(HEARTBEAT, b"").await;
    }
    assert!(started.elapsed() >= Duration::from_secs(60));
    client.notify("a.b.c", &json!({})).unwrap();
    assert_eq!(
        peer.package().await,
        Some((DATA, b"\x02\x05a.b.c{}".to_vec()))
    );
}

#[tokio::test]
async fn disconnect_sends_what_was_said_before() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    client.notify("a.b.c", &json!({})).unwrap();
    client.disconnect().await;
    assert_eq!(client.closed().await, CloseReason::Local);
    assert_eq!(
        peer.package().await,
        Some((DATA, b"\x02\x05a.b.c{}".to_vec()))
    );
    assert_eq!(peer.package().await, None);
}

#[tokio::test]
async fn the_last_handle_closes() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let second = client.clone();
    drop(client);
    second.notify("a.b.c", &json!({})).unwrap();
    assert!(peer.package().await.is_some());
    drop(second);
    assert_eq!(peer.package().await, None);
}

/// The server stops reading: the machine's outbox fills, the caller is told, and closing still ends.
#[tokio::test(start_paused = true)]
async fn server_that_does_not_read() {
    let (client, _peer) = connected(&Client::builder(), json!({})).await;
    let body = "x".repeat(100_000);
    let mut sent = 0_u32;
    let error = loop {
        match client.notify("a.b.c", &body) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
        assert!(sent < 1000, "nothing bounds the queue");
    };
    assert!(matches!(error, NotifyError::Send(_)), "{error:?}");
    client.disconnect().await;
    assert_eq!(client.closed().await, CloseReason::Local);
}

#[tokio::test]
async fn a_callback_that_panics_leaves_nobody_waiting() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let _ = client.on("onChat", |_| panic!("on purpose"));
    let body = json!({});
    let (answer, ()) = tokio::join!(client.request::<_, Value>("a.b.c", &body), async {
        peer.package().await.unwrap();
        peer.send(DATA, b"\x06\x06onChat{}").await;
    });
    assert!(
        matches!(answer, Err(RequestError::Closed(CloseReason::Local))),
        "{answer:?}"
    );
    assert_eq!(client.closed().await, CloseReason::Local);
}

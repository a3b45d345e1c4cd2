use std::time::Duration;

use pomelo_client::{Client, CloseReason, Dropped, Event, NotifyError, RequestError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::peer::{DATA, connected};

#[derive(Debug, Deserialize, PartialEq)]
struct Code {
    code: u32,
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let (object, list) = (json!({"x": 1}), json!([]));
    let (first, second, ()) = tokio::join!(
        client.request::<_, Code>("a.b.c", &object),
        client.request::<_, Code>("a.b.d", &list),
        async {
            let request = b"\x00\x01\x05a.b.c{\"x\":1}".to_vec();
            assert_eq!(peer.package().await, Some((DATA, request)));
            assert_eq!(
                peer.package().await,
                Some((DATA, b"\x00\x02\x05a.b.d[]".to_vec()))
            );
            peer.send(DATA, b"\x04\x02{\"code\":2}").await;
            peer.send(DATA, b"\x04\x01{\"code\":1}").await;
        }
    );
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        (Code { code: 1 }, Code { code: 2 })
    );
}

#[tokio::test]
async fn answer_cut_at_every_byte() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let package = b"\x04\x00\x00\x0c\x04\x01{\"code\":1}";
    let (answer, ()) = tokio::join!(client.request::<_, Code>("a.b.c", &[(); 0]), async {
        peer.package().await.unwrap();
        for byte in package {
            peer.stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(answer.unwrap(), Code { code: 1 });
}

#[tokio::test]
async fn answer_of_another_shape_and_error_flag() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let (shape, flagged, ()) = tokio::join!(
        client.request::<_, Code>("a.b.c", &[(); 0]),
        client.request::<_, Code>("a.b.c", &[(); 0]),
        async {
            peer.send(DATA, b"\x04\x01{\"code\":\"one\"}").await;
            peer.send(DATA, b"\x24\x02{\"code\":\"PIT-404\"}").await;
        }
    );
    assert!(matches!(shape, Err(RequestError::Decode(_))), "{shape:?}");
    let Err(RequestError::Refused(body)) = flagged else {
        panic!("{flagged:?}")
    };
    assert_eq!(body.decode::<Value>().unwrap(), json!({"code": "PIT-404"}));
}

#[tokio::test(start_paused = true)]
async fn unanswered_request_times_out_and_its_late_answer_is_counted() {
    let limit = Duration::from_secs(3);
    let config = Client::builder().request_timeout(Some(limit));
    let (client, mut peer) = connected(&config, json!({})).await;
    let mut events = client.events();
    let started = tokio::time::Instant::now();
    let answer = client.request::<_, Value>("a.b.c", &json!({})).await;
    assert!(
        matches!(answer, Err(RequestError::Timeout(after)) if after == limit),
        "{answer:?}"
    );
    assert!(started.elapsed() >= limit && started.elapsed() < limit + Duration::from_millis(10));

    peer.send(DATA, b"\x04\x01{}").await;
    assert_eq!(
        events.recv().await,
        Some(Event::Dropped(Dropped::UnknownResponse(1)))
    );
    assert_eq!(client.stats().dropped_messages, 1);
}

/// With room for one pending request, a second one shows whether the first has gone.
#[tokio::test]
async fn cancelled_request_leaves_nothing_behind() {
    let mut limits = pomelo_client::Config::client();
    limits.max_pending = 1;
    let (client, mut peer) = connected(&Client::builder().limits(limits), json!({})).await;
    let body = json!({});
    {
        let request = client.request::<_, Value>("a.b.c", &body);
        tokio::pin!(request);
        tokio::select! {
            _ = &mut request => unreachable!("nobody answers"),
            sent = peer.package() => assert!(sent.is_some()),
        }
        let second = client.request::<_, Value>("a.b.c", &body).await;
        assert!(
            matches!(
                second,
                Err(RequestError::Send(
                    pomelo_protocol::RequestError::TooManyPending
                ))
            ),
            "{second:?}"
        );
    }
    let (answer, ()) = tokio::join!(client.request::<_, Code>("a.b.c", &body), async {
        let (_, request) = peer.package().await.unwrap();
        let id = request[1];
        assert_ne!(id, 1);
        // The answer to the forgotten request is nobody's, and harms nobody.
        peer.send(DATA, b"\x04\x01{\"code\":1}").await;
        peer.send(DATA, &[&[0x04, id], br#"{"code":2}"#.as_slice()].concat())
            .await;
    });
    assert_eq!(answer.unwrap(), Code { code: 2 });
}

#[tokio::test]
async fn routes_that_do_not_fit_are_the_callers_fault() {
    let (client, _peer) = connected(&Client::builder(), json!({})).await;
    let route = "r".repeat(256);
    let answer = client.request::<_, Value>(&route, &json!({})).await;
    assert!(matches!(answer, Err(RequestError::Send(_))), "{answer:?}");
    let sent = client.notify(&route, &json!({}));
    assert!(matches!(sent, Err(NotifyError::Send(_))), "{sent:?}");
}

#[tokio::test]
async fn nothing_is_sent_on_a_closed_connection() {
    let (client, peer) = connected(&Client::builder(), json!({})).await;
    drop(peer);
    assert_eq!(client.closed().await, CloseReason::Peer);
    let answer = client.request::<_, Value>("a.b.c", &json!({})).await;
    assert!(
        matches!(answer, Err(RequestError::Closed(CloseReason::Peer))),
        "{answer:?}"
    );
    let sent = client.notify("a.b.c", &json!({}));
    assert!(
        matches!(sent, Err(NotifyError::Closed(CloseReason::Peer))),
        "{sent:?}"
    );
}

use pomelo_client::{Client, CloseReason, ConnectError};
use serde_json::{Value, json};

use crate::peer::{DATA, Peer, connected, refused};

/// `a.b.c` has code 1; requests on it carry `n` and `m`, answers `n`.
fn tables() -> Value {
    json!({
        "useDict": true,
        "dict": {"a.b.c": 1, "onChat": 2},
        "dictVersion": "d1",
        "useProto": true,
        "protos": {
            "version": "p1",
            "client": {"a.b.c": {
                "n": {"option": "required", "type": "uInt32", "tag": 1},
                "m": {"option": "optional", "type": "sInt32", "tag": 2},
                "__messages": {}, "__tags": {"1": "n", "2": "m"}
            }},
            "server": {"a.b.c": {
                "n": {"option": "required", "type": "uInt32", "tag": 1},
                "__messages": {}, "__tags": {"1": "n"}
            }},
        },
    })
}

#[tokio::test]
async fn says_who_it_is_and_hears_the_user_data() {
    let (stream, mut peer) = Peer::pair();
    let config = Client::builder()
        .client("js-websocket", "0.0.1")
        .user(json!({"echo": 1}));
    let response = json!({"code": 200, "sys": {}, "user": {"echo": 1}});
    let (client, hello) = tokio::join!(config.connect_over(stream), async {
        let hello = peer.answer_handshake(&response).await;
        peer.expect_ack().await;
        hello
    });
    assert_eq!(client.unwrap().user(), Some(&json!({"echo": 1})));
    assert_eq!(
        hello,
        json!({"sys": {"type": "js-websocket", "version": "0.0.1"}, "user": {"echo": 1}})
    );
}

#[tokio::test]
async fn dictionary_and_schemas_shape_the_bytes() {
    let (client, mut peer) = connected(&Client::builder(), tables()).await;
    let body = json!({"n": 5, "m": -3});
    let (answer, ()) = tokio::join!(client.request::<_, Value>("a.b.c", &body), async {
        // request, compressed route; id 1; code 1; n = 5, m = -3 in zigzag
        let request = vec![0x01, 0x01, 0x00, 0x01, 0x08, 0x05, 0x10, 0x05];
        assert_eq!(peer.package().await, Some((DATA, request)));
        peer.send(DATA, &[0x04, 0x01, 0x08, 0x06]).await;
    });
    assert_eq!(answer.unwrap(), json!({"n": 6}));
}

#[tokio::test]
async fn kept_tables_are_announced_and_used_when_the_server_leaves_them_out() {
    let (first, _peer) = connected(&Client::builder(), tables()).await;
    let config = Client::builder().client("t", "1").tables(first.tables());

    let (stream, mut peer) = Peer::pair();
    let response = json!({"code": 200, "sys": {"useDict": true, "useProto": true}});
    let (second, hello) = tokio::join!(config.connect_over(stream), async {
        let hello = peer.answer_handshake(&response).await;
        peer.expect_ack().await;
        hello
    });
    assert_eq!(
        hello["sys"],
        json!({"type": "t", "version": "1", "dictVersion": "d1", "protoVersion": "p1"})
    );
    second.unwrap().notify("a.b.c", &json!({"n": 5})).unwrap();
    assert_eq!(
        peer.package().await,
        Some((DATA, vec![0x03, 0x00, 0x01, 0x08, 0x05]))
    );
}

#[tokio::test]
async fn refusal_has_its_code() {
    let error = refused(br#"{"code":501}"#).await;
    assert!(
        matches!(error, ConnectError::Handshake(CloseReason::Rejected(501))),
        "{error:?}"
    );
}

#[tokio::test]
async fn response_that_is_no_json_is_the_servers_fault() {
    let error = refused(b"welcome").await;
    assert!(
        matches!(error, ConnectError::Handshake(CloseReason::Handshake(_))),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn silent_server_is_given_up() {
    let (stream, _peer) = Peer::pair();
    let error = Client::builder().connect_over(stream).await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Handshake(CloseReason::HandshakeTimeout)
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn giving_up_closes_the_stream() {
    let (stream, mut peer) = Peer::pair();
    let config = Client::builder();
    {
        let connecting = config.connect_over(stream);
        tokio::pin!(connecting);
        tokio::select! {
            _ = &mut connecting => unreachable!("nobody answers"),
            hello = peer.package() => assert!(hello.is_some()),
        }
    }
    assert_eq!(peer.package().await, None);
}

#[tokio::test]
async fn unknown_schemes_are_named() {
    let error = Client::connect("wss://127.0.0.1:1/").await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::UnsupportedScheme { scheme } if scheme == "wss"),
        "{error:?}"
    );
}

#[tokio::test]
async fn heartbeat_intervals_beyond_all_clocks_do_no_harm() {
    for interval in [1e15, 1e18, 1.8e19, 1e300] {
        let sys = json!({"heartbeat": interval});
        let (client, mut peer) = connected(&Client::builder(), sys).await;
        client.notify("a.b.c", &json!({})).unwrap();
        assert!(peer.package().await.is_some(), "{interval}");
        client.disconnect().await;
        assert_eq!(client.closed().await, CloseReason::Local, "{interval}");
    }
}

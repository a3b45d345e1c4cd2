//! What the first bytes decide.

use tokio::io::AsyncWriteExt as _;

use crate::peer::{
    HANDSHAKE, Tcp, UPGRADE, Ws, frame, golden_app, package, request, response, start,
};

#[tokio::test]
async fn a_first_byte_that_is_neither_closes() {
    let (running, address) = start(golden_app()).await;
    for first in [0x00, 0x06, b'a', b'5', 0x16, 0xff] {
        let mut peer = Tcp::connect(address).await;
        peer.send(&[first]).await;
        assert_eq!(peer.rest().await, b"", "{first:#x}");
    }
    running.stop().await;
}

#[tokio::test]
async fn get_without_upgrade_is_answered_and_closed() {
    let (running, address) = start(golden_app()).await;
    for (head, answer) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 "),
        ("OPTIONS / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "),
        ("GET nonsense\r\n\r\n", "HTTP/1.1 400 "),
        (
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 400 ",
        ),
    ] {
        let mut peer = Tcp::connect(address).await;
        peer.send(head.as_bytes()).await;
        let text = String::from_utf8(peer.rest().await).unwrap();
        assert!(text.starts_with(answer), "{head:?}: {text:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_head_without_end_is_refused_at_its_limit() {
    let (running, address) = start(golden_app()).await;
    let mut peer = Tcp::connect(address).await;
    peer.send(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8 * 1024)).as_bytes())
        .await;
    let text = String::from_utf8(peer.rest().await).unwrap();
    assert!(text.starts_with("HTTP/1.1 431 "), "{text:?}");
    running.stop().await;
}

#[tokio::test]
async fn an_upgrade_may_come_byte_by_byte_and_with_frames_behind_it() {
    let (running, address) = start(golden_app()).await;
    let mut ws = Ws {
        tcp: Tcp::connect(address).await,
    };
    let head = format!("{UPGRADE}Sec-WebSocket-Protocol: pomelo, other\r\n\r\n");
    let (last, head) = head.as_bytes().split_last().unwrap();
    for byte in head {
        ws.tcp.send(&[*byte]).await;
    }
    let handshake = frame(0x82, &package(1, HANDSHAKE.as_bytes()));
    ws.tcp.send(&[&[*last], &handshake[..]].concat()).await;
    let head = ws.http_head().await.to_lowercase();
    assert!(
        head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    assert!(
        head.contains("sec-websocket-protocol: pomelo\r\n"),
        "{head}"
    );
    let (first, payload) = ws.message().await;
    assert_eq!((first, payload[0]), (0x82, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_websocket_message_may_hold_several_packages() {
    let (running, address) = start(golden_app()).await;
    let mut ws = Ws::ready(address).await;
    let route = "connector.entryHandler.nothing";
    ws.send(
        &[
            request(1, route, "{}"),
            request(2, route, "{}"),
            vec![3, 0, 0, 0],
        ]
        .concat(),
    )
    .await;
    assert_eq!(ws.message().await, (0x82, response(1, "{}")));
    assert_eq!(ws.message().await, (0x82, response(2, "{}")));
    assert_eq!(ws.message().await, (0x82, vec![3, 0, 0, 0]));
    running.stop().await;
}

#[tokio::test]
async fn a_package_cut_by_its_websocket_message_closes() {
    let (running, address) = start(golden_app()).await;
    let mut ws = Ws::ready(address).await;
    let whole = request(1, "connector.entryHandler.echo", "{}");
    ws.send(&whole[..12]).await;
    assert_eq!(ws.message().await, (0x88, vec![0x03, 0xe8]));
    assert_eq!(ws.tcp.rest().await, b"");
    running.stop().await;
}

#[tokio::test]
async fn a_stream_that_just_ends_gets_no_words_of_parting() {
    let (running, address) = start(golden_app()).await;
    let mut ws = Ws::ready(address).await;
    ws.send(&request(1, "connector.entryHandler.nothing", "{}"))
        .await;
    ws.tcp.stream.shutdown().await.unwrap();
    assert_eq!(ws.message().await, (0x82, response(1, "{}")));
    assert_eq!(ws.tcp.rest().await, b"");
    running.stop().await;
}

#[tokio::test]
async fn pings_are_answered_and_close_is_confirmed_once() {
    let (running, address) = start(golden_app()).await;
    let mut ws = Ws::ready(address).await;
    ws.frame(0x89, b"are you there").await;
    assert_eq!(ws.message().await, (0x8a, b"are you there".to_vec()));
    ws.frame(0x88, &[0x03, 0xe8]).await;
    assert_eq!(ws.message().await, (0x88, vec![0x03, 0xe8]));
    assert_eq!(ws.tcp.rest().await, b"");
    running.stop().await;
}

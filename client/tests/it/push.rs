use pomelo_client::{Client, CloseReason, Push};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::peer::{DATA, Peer, connected};

fn chat(n: u32) -> Vec<u8> {
    format!("\x06\x06onChat{n}").into_bytes()
}

#[tokio::test]
async fn callbacks_hear_in_order_until_they_are_taken_away() {
    let (client, mut peer) = connected(&Client::builder(), json!({})).await;
    let (heard, mut hears) = mpsc::channel(8);
    let listener = client.on("onChat", move |push| {
        heard.try_send(push.decode::<u32>().unwrap()).unwrap();
    });
    for n in 1..=3 {
        peer.send(DATA, &chat(n)).await;
    }
    for n in 1..=3 {
        assert_eq!(hears.recv().await, Some(n));
    }
    listener.off();
    // The sender went with the callback.
    assert_eq!(hears.recv().await, None);
}

/// The push follows the answer of the handshake at once: no client could register in between.
#[tokio::test]
async fn callback_of_the_builder_misses_nothing() {
    let (heard, mut hears) = mpsc::channel(8);
    let config = Client::builder().on("onChat", move |push: &Push| {
        heard.try_send(push.decode::<u32>().unwrap()).unwrap();
    });
    let (stream, mut peer) = Peer::pair();
    let response = json!({"code": 200, "sys": {}});
    let (client, ()) = tokio::join!(config.connect_over(stream), async {
        peer.answer_handshake(&response).await;
        peer.send(DATA, &chat(7)).await;
    });
    assert_eq!(hears.recv().await, Some(7));
    assert_eq!(client.unwrap().stats().unheard_pushes, 0);
}

#[tokio::test]
async fn slow_reader_loses_the_oldest_and_knows_it() {
    let config = Client::builder().subscription_capacity(2);
    let (client, mut peer) = connected(&config, json!({})).await;
    let mut chats = client.subscribe("onChat");
    for n in 1..=5 {
        peer.send(DATA, &chat(n)).await;
    }
    peer.send(DATA, b"\x06\x07onOther{}").await;
    drop(peer);
    assert_eq!(client.closed().await, CloseReason::Peer);

    assert_eq!(chats.lost(), 3);
    assert_eq!(chats.recv().await.unwrap().decode::<u32>().unwrap(), 4);
    assert_eq!(chats.recv().await.unwrap().decode::<u32>().unwrap(), 5);
    assert!(chats.recv().await.is_none());
    assert_eq!(client.stats().unheard_pushes, 1);
}

#[tokio::test]
async fn push_by_dictionary_code() {
    let sys = json!({"useDict": true, "dict": {"onChat": 258}, "dictVersion": "1"});
    let (client, mut peer) = connected(&Client::builder(), sys).await;
    let mut chats = client.subscribe("onChat");
    peer.send(DATA, b"\x07\x01\x02{\"msg\":\"hi\"}").await;
    let push = chats.recv().await.unwrap();
    assert_eq!(push.route(), "onChat");
    assert_eq!(push.decode::<Value>().unwrap(), json!({"msg": "hi"}));
}

#[tokio::test]
async fn listening_on_a_closed_connection_ends_at_once() {
    let (client, peer) = connected(&Client::builder(), json!({})).await;
    drop(peer);
    client.closed().await;
    assert!(client.subscribe("onChat").recv().await.is_none());
    // A callback is let go of at once, and what it owns with it.
    let (heard, mut hears) = mpsc::channel::<()>(1);
    let _ = client.on("onChat", move |_| heard.try_send(()).unwrap());
    assert!(hears.recv().await.is_none());
}

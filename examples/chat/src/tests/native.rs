//! The native client, with its like and with an original one.

use pomelo_client::{Client, CloseReason};
use pomelo_proto::chat::{
    Enter, EnterResponse, OnAdd, OnChat, OnLeave, QueryEntry, QueryEntryResponse,
};
use serde_json::{Value, json};

use super::Chat;
use super::original::{NPM, Original, installed};

async fn enter(gate: u16, scheme: &str, name: &str, room: &str) -> (Client, EnterResponse) {
    let gate = format!("{scheme}://127.0.0.1:{gate}");
    let client = Client::connect(&gate).await.unwrap();
    let query = QueryEntry {
        uid: name.to_owned(),
    };
    let entry: QueryEntryResponse = client
        .request("gate.gateHandler.queryEntry", &query)
        .await
        .unwrap();
    client.disconnect().await;
    let url = format!("{scheme}://{}:{}", entry.host.unwrap(), entry.port.unwrap());
    let client = Client::connect(&url).await.unwrap();
    let enter = Enter {
        username: name.to_owned(),
        rid: room.to_owned(),
    };
    let entered = client
        .request("connector.entryHandler.enter", &enter)
        .await
        .unwrap();
    (client, entered)
}

#[tokio::test]
async fn two_chat_over_both_transports() {
    let server = Chat::start("production").await;
    let (alice, entered) = enter(server.gate, "tcp", "alice", "lobby").await;
    assert_eq!(entered.users, ["alice"]);
    let mut added = alice.subscribe("onAdd");
    let mut heard = alice.subscribe("onChat");
    let mut left = alice.subscribe("onLeave");
    let (bob, entered) = enter(server.gate, "ws", "bob", "lobby").await;
    assert_eq!(entered.users.len(), 2);
    let add: OnAdd = added.recv().await.unwrap().decode().unwrap();
    assert_eq!(add.user, "bob");
    for target in ["*", "alice"] {
        let line = json!({"rid": "lobby", "content": "你好 😀", "from": "bob", "target": target});
        let answer: Value = bob.request("chat.chatHandler.send", &line).await.unwrap();
        assert_eq!(answer, json!({}));
        let chat: OnChat = heard.recv().await.unwrap().decode().unwrap();
        let expected = OnChat {
            msg: "你好 😀".into(),
            from: "bob".into(),
            target: target.into(),
        };
        assert_eq!(chat, expected);
    }
    let nobody = json!({"rid": "lobby", "content": "?", "from": "bob", "target": "nobody"});
    let answer: Value = bob.request("chat.chatHandler.send", &nobody).await.unwrap();
    assert_eq!(answer, json!({"code": 500}));
    let (_second, twice) = enter(server.gate, "tcp", "bob", "lobby").await;
    assert_eq!((twice.code, twice.error), (Some(500), Some(true)));
    bob.disconnect().await;
    let leave: OnLeave = left.recv().await.unwrap().decode().unwrap();
    assert_eq!(leave.user, "bob");
    server.stop().await;
    let reason = CloseReason::Kicked(Some("server stop".to_owned()));
    assert_eq!(alice.closed().await, reason);
}

#[tokio::test]
async fn it_chats_with_an_original_client() {
    if !installed() {
        return;
    }
    let server = Chat::start("development").await;
    let mut old = Original::open(NPM);
    old.find(server.gate, "old", false).await;
    assert_eq!(old.enter("old", "lobby").await, json!({"users": ["old"]}));
    let (new, entered) = enter(server.gate, "tcp", "new", "lobby").await;
    assert_eq!(entered.users.len(), 2);
    old.hears("onAdd", json!({"user": "new"})).await;

    // An emoji comes from the original as two halves, each in bytes of its own.
    let mut heard = new.subscribe("onChat");
    assert_eq!(old.say("new", "老朋友 😀").await, json!({}));
    let chat: OnChat = heard.recv().await.unwrap().decode().unwrap();
    assert_eq!(
        (chat.from.as_str(), chat.msg.as_str()),
        ("old", "老朋友 😀")
    );

    let line = json!({"rid": "lobby", "content": "hello", "from": "new", "target": "old"});
    let _: Value = new.request("chat.chatHandler.send", &line).await.unwrap();
    let line = json!({"msg": "hello", "from": "new", "target": "old"});
    old.hears("onChat", line).await;
    new.disconnect().await;
    old.hears("onLeave", json!({"user": "new"})).await;
    server.stop().await;
    old.event("onKick").await;
}

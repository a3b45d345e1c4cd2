//! The client against the real pomelo 2.2.7 and pinus 1.7.4 servers of `interop/`, over both transports.
//!
//! Needs `npm ci --prefix interop`; without it these tests say so and pass, except where `CI` is set.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests are tests"
)]

use std::path::Path;
use std::process::Stdio;

use pomelo_client::{Client, CloseReason, ConnectError, Event};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A running server, which ends with its standard input.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    async fn start(peer: &str) -> Option<Self> {
        let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop");
        if !interop.join("node_modules").is_dir() {
            let message = "interop/node_modules is missing: run `npm ci --prefix interop`";
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci.is_empty()),
                "{message}"
            );
            eprintln!("skipped: {message}");
            return None;
        }
        let mut process = Command::new("node")
            .arg(interop.join("peers").join(peer))
            .args(["--heartbeat", "1", "--dict", "--protobuf"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node runs");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("the server starts");
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["ready"], true, "{line}");
        let port = ready["port"].as_u64().unwrap().try_into().unwrap();
        Some(Self { process, port })
    }

    fn urls(&self) -> [String; 2] {
        let port = self.port;
        [
            format!("tcp://127.0.0.1:{port}"),
            format!("ws://127.0.0.1:{port}/"),
        ]
    }
}

#[tokio::test]
async fn pomelo() {
    speaks("pomelo.cjs").await;
}

#[tokio::test]
async fn pinus() {
    speaks("pinus.cjs").await;
}

async fn speaks(peer: &str) {
    let Some(server) = Server::start(peer).await else {
        return;
    };
    for url in server.urls() {
        requests(&url).await;
        pushes(&url).await;
        kick(&url).await;
        refusals(&url).await;
        kept_tables(&url).await;
        heartbeats(&url).await;
    }
    process_ends(server).await;
}

async fn requests(url: &str) {
    let client = Client::builder()
        .user(json!({"echo": "hi"}))
        .connect(url)
        .await
        .unwrap();
    assert_eq!(client.user(), Some(&json!({"echo": "hi"})), "{url}");

    let text = "héllo 世界 \u{1f600}";
    for route in ["connector.entryHandler.echo", "chat.chatHandler.echo"] {
        let answer: Value = client.request(route, &json!({"text": text})).await.unwrap();
        assert_eq!(answer["code"], 200, "{url} {route}");
        assert_eq!(answer["body"]["text"], text, "{url} {route}");
    }
    let answer: Value = client
        .request("chat.chatHandler.fail", &json!({}))
        .await
        .unwrap();
    assert_eq!(answer["code"], 500, "{url}");

    // Protobuf both ways: the schema knows no other members.
    let body = json!({"n": 5, "m": -3});
    let answer: Value = client
        .request("connector.entryHandler.pb", &body)
        .await
        .unwrap();
    assert_eq!(answer, json!({"n": 6}), "{url}");
    // Without a required member there is nothing a server could read, so nothing is sent.
    let answer = client
        .request::<_, Value>("connector.entryHandler.pb", &json!({"m": 1}))
        .await;
    assert!(
        matches!(answer, Err(pomelo_client::RequestError::Send(_))),
        "{url} {answer:?}"
    );

    // Answers overtake each other.
    let (slow, fast) = (json!({"t": 60}), json!({"t": 1}));
    let (slow, fast) = tokio::join!(
        client.request::<_, Value>("chat.chatHandler.later", &slow),
        client.request::<_, Value>("chat.chatHandler.later", &fast),
    );
    assert_eq!(
        (slow.unwrap(), fast.unwrap()),
        (json!({"t": 60}), json!({"t": 1})),
        "{url}"
    );
    client.disconnect().await;
    assert_eq!(client.closed().await, CloseReason::Local);
}

async fn pushes(url: &str) {
    let client = Client::connect(url).await.unwrap();
    let mut chats = client.subscribe("onChat");
    let mut packed = client.subscribe("onPb");
    let uid = json!({"uid": format!("bob*{url}")});
    let bound: Value = client.request("chat.chatHandler.bind", &uid).await.unwrap();
    assert_eq!(bound, json!({"err": null}), "{url}");

    // By dictionary code, in JSON; asked for with a notify.
    let chat = json!({"route": "onChat", "msg": {"text": "世界"}});
    client.notify("chat.chatHandler.push", &chat).unwrap();
    let push = chats.recv().await.unwrap();
    assert_eq!(
        push.decode::<Value>().unwrap(),
        json!({"text": "世界"}),
        "{url}"
    );

    // By dictionary code, in protobuf.
    let pb = json!({"route": "onPb", "msg": {"a": 300, "s": "é"}});
    let pushed: Value = client.request("chat.chatHandler.push", &pb).await.unwrap();
    assert_eq!(pushed["err"], Value::Null, "{url}");
    let push = packed.recv().await.unwrap();
    assert_eq!(
        push.decode::<Value>().unwrap(),
        json!({"a": 300, "s": "é"}),
        "{url}"
    );
    assert_eq!(client.stats(), pomelo_client::Stats::default(), "{url}");
}

async fn kick(url: &str) {
    let client = Client::connect(url).await.unwrap();
    let mut events = client.events();
    client
        .notify("chat.chatHandler.kick", &json!({"reason": "bye"}))
        .unwrap();
    let reason = Some("bye".to_owned());
    assert_eq!(
        events.recv().await,
        Some(Event::Kicked {
            reason: reason.clone()
        }),
        "{url}"
    );
    assert_eq!(client.closed().await, CloseReason::Kicked(reason), "{url}");
}

async fn refusals(url: &str) {
    let old = Client::builder()
        .client("rust", "0.0.0")
        .connect(url)
        .await
        .unwrap_err();
    assert!(
        matches!(old, ConnectError::Handshake(CloseReason::Rejected(501))),
        "{url} {old:?}"
    );
    let unwanted = Client::builder()
        .user(json!({"refuse": true}))
        .connect(url)
        .await
        .unwrap_err();
    assert!(
        matches!(
            unwanted,
            ConnectError::Handshake(CloseReason::Rejected(500))
        ),
        "{url} {unwanted:?}"
    );
}

async fn kept_tables(url: &str) {
    let first = Client::connect(url).await.unwrap();
    let config = Client::builder().tables(first.tables());
    first.disconnect().await;
    let second = config.connect(url).await.unwrap();
    let answer: Value = second
        .request("connector.entryHandler.pb", &json!({"n": 1}))
        .await
        .unwrap();
    assert_eq!(answer, json!({"n": 2}), "{url}");
}

/// The server drops a client after two intervals without a heartbeat; only its own timer measures time here.
async fn heartbeats(url: &str) {
    let client = Client::connect(url).await.unwrap();
    let later = json!({"t": 4500});
    let answer = client
        .request::<_, Value>("chat.chatHandler.later", &later)
        .await;
    assert_eq!(answer.unwrap(), later, "{url}");
}

/// The server is killed: requests in flight learn of it.
async fn process_ends(mut server: Server) {
    let url = &server.urls()[0];
    let client = Client::connect(url).await.unwrap();
    let body = json!({});
    let (answer, ()) = tokio::join!(
        client.request::<_, Value>("chat.chatHandler.silent", &body),
        async {
            // Answered after the other has reached the server.
            let route = "connector.entryHandler.echo";
            client.request::<_, Value>(route, &body).await.unwrap();
            drop(server.process.stdin.take());
            server.process.wait().await.unwrap();
        }
    );
    assert!(
        matches!(
            answer,
            Err(pomelo_client::RequestError::Closed(
                CloseReason::Peer | CloseReason::Transport
            ))
        ),
        "{answer:?}"
    );
}

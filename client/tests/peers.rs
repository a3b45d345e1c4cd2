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
use std::sync::{Arc, Mutex};

use pomelo_client::{Client, CloseReason, ConnectError, Event};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::io::{InspectReader, InspectWriter};

const PB: &str = "connector.entryHandler.pb";
const BIND: &str = "connector.entryHandler.bind";
const PUSH: &str = "connector.entryHandler.push";

/// A running server, which ends with its standard input.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    async fn start(peer: &str, offer: &[&str]) -> Option<Self> {
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
            .args(["--heartbeat", "1"])
            .args(offer)
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

#[tokio::test]
async fn pomelo_without_tables() {
    offers_little("pomelo.cjs").await;
}

#[tokio::test]
async fn pinus_without_tables() {
    offers_little("pinus.cjs").await;
}

async fn speaks(peer: &str) {
    let Some(server) = Server::start(peer, &["--dict", "--protobuf"]).await else {
        return;
    };
    bytes(server.port, true, true).await;
    let [tcp, ws] = server.urls();
    tokio::join!(everything(&tcp), everything(&ws));
    process_ends(server).await;
}

async fn everything(url: &str) {
    requests(url).await;
    pushes(url).await;
    kick(url).await;
    refusals(url).await;
    kept_tables(url).await;
    heartbeats(url).await;
}

/// Dictionary and protobuf are independent of each other.
async fn offers_little(peer: &str) {
    for (offer, dictionary, protobuf) in [
        (&[][..], false, false),
        (&["--dict"], true, false),
        (&["--protobuf"], false, true),
    ] {
        let Some(server) = Server::start(peer, offer).await else {
            return;
        };
        bytes(server.port, dictionary, protobuf).await;
        process_ends(server).await;
    }
}

/// What a request, a notify and pushes are on the wire: that tables are used, and that they are not
/// where there are none.
async fn bytes(port: u16, dictionary: bool, protobuf: bool) {
    let (sent, received) = (Record::default(), Record::default());
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let stream = InspectWriter::new(stream, sent.taker());
    let stream = InspectReader::new(stream, received.taker());
    let client = Client::builder().connect_over(stream).await.unwrap();
    let mut packed = client.subscribe("onPb");
    let mut chats = client.subscribe("onChat");

    let body = json!({"n": 5});
    let answer: Value = client.request(PB, &body).await.unwrap();
    assert_eq!(answer, json!({"n": 6}));
    client.notify(PB, &json!({"n": 7})).unwrap();
    let uid = json!({"uid": format!("bytes*{port}")});
    let _: Value = client.request(BIND, &uid).await.unwrap();
    let pb = json!({"route": "onPb", "msg": {"a": 300, "s": "é"}});
    let _: Value = client.request(PUSH, &pb).await.unwrap();
    let pushed: Value = packed.recv().await.unwrap().decode().unwrap();
    assert_eq!(pushed, pb["msg"]);
    let chat = json!({"route": "onChat", "msg": {"text": "hi"}});
    let _: Value = client.request(PUSH, &chat).await.unwrap();
    let pushed: Value = chats.recv().await.unwrap().decode().unwrap();
    assert_eq!(pushed, chat["msg"]);
    client.disconnect().await;

    let [request, notify, ..] = &sent.messages()[..] else {
        panic!("a request and a notify were sent");
    };
    let bodies: [&[u8]; 2] = if protobuf {
        [b"\x08\x05", b"\x08\x07"]
    } else {
        [br#"{"n":5}"#, br#"{"n":7}"#]
    };
    // The number is the server's choice; that it is the right one, the answer tells.
    let route = if dictionary { 2 } else { 1 + PB.len() };
    let flag = u8::from(dictionary);
    assert_eq!(request[..2], [flag, 1], "a request with id 1");
    assert_eq!(&request[2 + route..], bodies[0]);
    assert_eq!(notify[0], 2 | flag, "a notify");
    assert_eq!(&notify[1 + route..], bodies[1]);

    let received = received.messages();
    let push = |name: &str, code: u8| {
        let head = if dictionary {
            vec![7, 0, code]
        } else {
            let length = u8::try_from(name.len()).unwrap();
            [&[6, length], name.as_bytes()].concat()
        };
        let mut found = received
            .iter()
            .filter_map(|message| message.strip_prefix(&head[..]));
        found.next().expect("a push").to_vec()
    };
    if protobuf {
        assert_eq!(push("onPb", 22), b"\x08\xac\x02\x12\x02\xc3\xa9");
    } else {
        assert_eq!(push("onPb", 22), r#"{"a":300,"s":"é"}"#.as_bytes());
    }
    // Without a schema it is JSON in any case.
    assert_eq!(push("onChat", 21), br#"{"text":"hi"}"#);
}

/// Bytes of one direction.
#[derive(Clone, Default)]
struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    fn taker(&self) -> impl FnMut(&[u8]) + Send + 'static {
        let record = Arc::clone(&self.0);
        move |bytes| record.lock().unwrap().extend_from_slice(bytes)
    }

    /// The bodies of the data packages.
    fn messages(&self) -> Vec<Vec<u8>> {
        const DATA: u8 = 4;

        let record = self.0.lock().unwrap();
        let mut rest = record.as_slice();
        let mut messages = Vec::new();
        while let [kind, a, b, c, behind @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]);
            let (body, behind) = behind.split_at(length.try_into().unwrap());
            if *kind == DATA {
                messages.push(body.to_vec());
            }
            rest = behind;
        }
        messages
    }
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

//! The whole chat over sockets: the original browser client and the native one together.

use std::process::Stdio;

use pomelo_client::Client;
use pomelo_proto::chat::{
    Enter, EnterResponse, OnAdd, OnChat, OnLeave, QueryEntry, QueryEntryResponse,
};
use pomelo_server::Running;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::servers;

async fn start(env: &str) -> (Running, u16) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let running = servers::app(config, env)
        .configure("all", "connector|gate", |server| server.client_port(0))
        .start()
        .await
        .unwrap();
    let gate = running.addresses()["gate-server-1"].port();
    (running, gate)
}

/// The unmodified browser client of pomelo, in Node.
struct Original {
    _process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Original {
    /// `None`, with a word why, where Node or its packages are missing; never on CI.
    fn start() -> Option<Self> {
        let interop = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop");
        let installed = std::path::Path::new(interop).join("node_modules").is_dir();
        if !installed {
            assert!(
                std::env::var_os("CI").is_none(),
                "npm ci --prefix interop has not been run"
            );
            eprintln!("skipped: npm ci --prefix interop has not been run");
            return None;
        }
        let mut process = Command::new("node")
            .arg(format!("{interop}/js-client.cjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Some(Self {
            _process: process,
            stdin,
            lines,
        })
    }

    async fn tell(&mut self, command: Value) {
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await
            .unwrap();
    }

    /// The next line that is an event of this name; others are passed over.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self
                .lines
                .next_line()
                .await
                .unwrap()
                .expect("the client goes on");
            let event: Value = serde_json::from_str(&line).unwrap();
            assert!(
                !["throws", "bad", "io-error", "error"].contains(&event["ev"].as_str().unwrap()),
                "{event}"
            );
            if event["ev"] == name {
                return event;
            }
        }
    }

    async fn request(&mut self, route: &str, msg: Value) -> Value {
        self.tell(json!({"cmd": "request", "route": route, "msg": msg}))
            .await;
        self.event("answer").await["msg"].clone()
    }

    /// Gate, then connector, then the room.
    async fn enter(&mut self, gate: u16, name: &str, room: &str) -> Value {
        self.tell(json!({"cmd": "init", "host": "127.0.0.1", "port": gate}))
            .await;
        self.event("init").await;
        let entry = self
            .request("gate.gateHandler.queryEntry", json!({"uid": name}))
            .await;
        assert_eq!(entry["code"], 200, "{entry}");
        self.tell(json!({"cmd": "disconnect"})).await;
        let init = json!({"cmd": "init", "host": entry["host"], "port": entry["port"]});
        self.tell(init).await;
        let init = self.event("init").await;
        assert_eq!(
            (&init["dict"], &init["protos"]),
            (&json!(true), &json!(true)),
            "{init}"
        );
        self.request(
            "connector.entryHandler.enter",
            json!({"username": name, "rid": room}),
        )
        .await
    }
}

async fn native(gate: u16, scheme: &str, name: &str, room: &str) -> (Client, EnterResponse) {
    let client = Client::connect(&format!("{scheme}://127.0.0.1:{gate}"))
        .await
        .unwrap();
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
async fn two_native_clients_chat_over_both_transports() {
    let (running, gate) = start("production").await;
    let (alice, entered) = native(gate, "tcp", "alice", "lobby").await;
    assert_eq!(entered.users, ["alice"]);
    let mut added = alice.subscribe("onAdd");
    let mut heard = alice.subscribe("onChat");
    let mut left = alice.subscribe("onLeave");
    let (bob, entered) = native(gate, "ws", "bob", "lobby").await;
    assert_eq!(entered.users.len(), 2);
    assert_eq!(
        added.recv().await.unwrap().decode::<OnAdd>().unwrap().user,
        "bob"
    );
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
    let (_second, twice) = native(gate, "tcp", "bob", "lobby").await;
    assert_eq!((twice.code, twice.error), (Some(500), Some(true)));
    bob.disconnect().await;
    assert_eq!(
        left.recv().await.unwrap().decode::<OnLeave>().unwrap().user,
        "bob"
    );
    running.stop().await;
}

#[tokio::test]
async fn the_original_client_chats_with_the_native_one() {
    let Some(mut original) = Original::start() else {
        return;
    };
    let (running, gate) = start("development").await;
    let entered = original.enter(gate, "old", "lobby").await;
    assert_eq!(entered, json!({"users": ["old"]}));
    let (new, entered) = native(gate, "tcp", "new", "lobby").await;
    assert_eq!(entered.users.len(), 2);
    assert_eq!(original.event("push").await["msg"], json!({"user": "new"}));

    let mut heard = new.subscribe("onChat");
    let line = json!({"rid": "lobby", "content": "老朋友", "from": "old", "target": "*"});
    assert_eq!(
        original.request("chat.chatHandler.send", line).await,
        json!({})
    );
    let chat: OnChat = heard.recv().await.unwrap().decode().unwrap();
    assert_eq!((chat.from.as_str(), chat.msg.as_str()), ("old", "老朋友"));

    let line = json!({"rid": "lobby", "content": "hello", "from": "new", "target": "old"});
    let _: Value = new.request("chat.chatHandler.send", &line).await.unwrap();
    let expected = json!({"msg": "hello", "from": "new", "target": "old"});
    let mut push = original.event("push").await;
    if push["msg"]["from"] == "old" {
        // Its own line to everybody came first.
        push = original.event("push").await;
    }
    assert_eq!(
        (&push["route"], &push["msg"]),
        (&json!("onChat"), &expected)
    );
    new.disconnect().await;
    let left = original.event("push").await;
    assert_eq!(
        (&left["route"], &left["msg"]),
        (&json!("onLeave"), &json!({"user": "new"}))
    );
    running.stop().await;
    assert_eq!(
        original.event("onKick").await["msg"]["reason"],
        "server stop"
    );
}

//! The browser clients of pomelo, unmodified, as a tab that tests tell what to do.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const INTEROP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../interop");

/// pomelo-jsclient-websocket with pomelo-protocol and pomelo-protobuf, as npm has them.
pub(super) const NPM: &str = "npm";

/// The older script in pomelo's project template, which most shipped pages carry.
pub(super) const BUNDLED: &str = "bundled";

/// Longer than anything here takes, the five seconds before a page reconnects included; after that a
/// test says what it has waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the original clients are here; never silently on CI.
pub(super) fn installed() -> bool {
    let installed = std::path::Path::new(INTEROP).join("node_modules").is_dir();
    if !installed {
        let message = "`npm ci --prefix interop` has not been run";
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("skipped: {message}");
    }
    installed
}

/// One page in a process of its own, `interop/js-client.cjs`.
pub(super) struct Original {
    build: &'static str,
    process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Events that nobody has asked for yet.
    events: Vec<Value>,
    /// Messages that went over the wire, with `true` for those the client sent.
    pub(super) wire: Vec<(bool, Vec<u8>)>,
}

impl Original {
    pub(super) fn open(build: &'static str) -> Self {
        let mut process = Command::new("node")
            .arg(format!("{INTEROP}/js-client.cjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let stdin = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            build,
            process,
            stdin,
            lines,
            events: Vec::new(),
            wire: Vec::new(),
        }
    }

    pub(super) async fn tell(&mut self, command: Value) {
        let line = format!("{command}\n");
        self.stdin.write_all(line.as_bytes()).await.unwrap();
    }

    /// Takes the first event of this name that was not taken before.
    pub(super) async fn event(&mut self, name: &str) -> Value {
        if let Some(found) = self.events.iter().position(|event| event["ev"] == name) {
            return self.events.remove(found);
        }
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {name}, only {:?}", self.events));
            let line = line.unwrap();
            let event: Value = serde_json::from_str(&line.expect("the page lives")).unwrap();
            match event["ev"].as_str().unwrap() {
                found if found == name => return event,
                side @ ("sent" | "received") => {
                    let bytes = bytes_of(event["hex"].as_str().unwrap());
                    self.wire.push((side == "sent", bytes));
                }
                "throws" | "bad" | "io-error" | "error" | "heartbeat timeout" => {
                    panic!("waiting for {name}: {event}")
                }
                _ => self.events.push(event),
            }
        }
    }

    /// The next push: its route and its message. None is passed over.
    pub(super) async fn push(&mut self) -> (String, Value) {
        let push = self.event("push").await;
        (push["route"].as_str().unwrap().into(), push["msg"].clone())
    }

    /// Pushes come in order, so this is the next one, and what it says is all there was to hear.
    pub(super) async fn hears(&mut self, route: &str, message: Value) {
        assert_eq!(self.push().await, (route.to_owned(), message));
    }

    pub(super) async fn request(&mut self, route: &str, msg: Value) -> Value {
        let request = json!({"cmd": "request", "route": route, "msg": msg});
        self.tell(request).await;
        self.event("answer").await["msg"].clone()
    }

    /// Connects; returns the `init` event. `to` is what `pomelo.init` takes.
    async fn connect(&mut self, mut to: Value) -> Value {
        to["cmd"] = json!("init");
        to["build"] = json!(self.build);
        to["trace"] = json!(true);
        self.tell(to).await;
        self.event("init").await
    }

    pub(super) async fn disconnect(&mut self) {
        self.tell(json!({"cmd": "disconnect"})).await;
        self.event("close").await;
    }

    /// Gate, then connector; returns the `init` events of both. `reconnect` is for the second.
    pub(super) async fn find(&mut self, gate: u16, name: &str, reconnect: bool) -> [Value; 2] {
        let gate = json!({"host": "127.0.0.1", "port": gate});
        let at_gate = self.connect(gate).await;
        let query = json!({"uid": name});
        let entry = self.request("gate.gateHandler.queryEntry", query).await;
        assert_eq!(entry["code"], 200, "{entry}");
        self.disconnect().await;
        let connector =
            json!({"host": entry["host"], "port": entry["port"], "reconnect": reconnect});
        [at_gate, self.connect(connector).await]
    }

    /// Enters a room of the connector; returns the answer, with the users in alphabetical order.
    pub(super) async fn enter(&mut self, name: &str, room: &str) -> Value {
        let enter = json!({"username": name, "rid": room});
        let mut answer = self.request("connector.entryHandler.enter", enter).await;
        if let Some(users) = answer["users"].as_array_mut() {
            users.sort_by_key(Value::to_string);
        }
        answer
    }

    /// Sends a line to one user, or with `*` to everybody, and returns the answer.
    pub(super) async fn say(&mut self, target: &str, content: &str) -> Value {
        // Room and sender are the session's, whatever a page says here.
        let line = json!({"rid": "?", "content": content, "from": "?", "target": target});
        self.request("chat.chatHandler.send", line).await
    }

    /// Ends the process as if the power had gone.
    pub(super) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(std::str::from_utf8);
    digits
        .map(|two| u8::from_str_radix(two.unwrap(), 16).unwrap())
        .collect()
}

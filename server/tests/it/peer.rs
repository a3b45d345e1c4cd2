//! A test application and clients that write and read raw bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pomelo_server::{
    App, AppBuilder, Body, Config, Error, FrontendSession, Hybrid, Json, Msg, Refused,
    RequestSession, Route, Running,
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No step of a test takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(10);

pub const HANDSHAKE: &str = r#"{"sys":{"type":"test","version":"1.0.0"},"user":{}}"#;

pub fn package(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend_from_slice(body);
    bytes
}

pub fn request(id: u8, route: &str, body: &str) -> Vec<u8> {
    let mut message = vec![0x00, id, u8::try_from(route.len()).unwrap()];
    message.extend_from_slice(route.as_bytes());
    message.extend_from_slice(body.as_bytes());
    package(4, &message)
}

pub fn response(id: u8, body: &str) -> Vec<u8> {
    package(4, &[&[0x04, id], body.as_bytes()].concat())
}

/// The app that `protocol/tests/golden/exchanges.json` describes.
pub fn golden_app() -> AppBuilder {
    let servers = json!({"test": {
        "connector": [{"id": "connector-1", "frontend": true, "clientPort": 0}],
        "chat": [{"id": "chat-1"}],
    }});
    let mut config = Config::from_servers(&servers, "test").unwrap();
    config.dictionary = vec!["onChat".to_owned(), "onPb".to_owned()];
    config.server_protos = Some(json!({
        "onPb": {"required uInt32 a": 1, "optional string s": 2},
        "connector.entryHandler.pb": {"required uInt32 n": 1},
    }));
    config.client_protos = Some(json!({
        "connector.entryHandler.pb": {"required uInt32 n": 1, "optional sInt32 m": 2},
    }));
    let mut app = App::builder()
        .env("test")
        .config(config)
        .configure("all", "connector", |s| s.connector(golden_connector()));
    for handler in ["connector.entryHandler", "chat.chatHandler"] {
        let route = |method: &str| format!("{handler}.{method}");
        app = app
            .handler(&route("echo"), echo)
            .handler(&route("fail"), async || -> Result<(), Error> {
                Err(Error::new("fail"))
            })
            .handler(&route("failWith"), async || -> Result<(), Error> {
                Err(Error::new("fail").with_reply(json!({"code": 7, "why": "x"})))
            })
            .handler(&route("nothing"), async || {})
            .handler(&route("silent"), std::future::pending::<()>)
            .handler(&route("pb"), pb)
            .handler(&route("bind"), bind)
            .handler(&route("push"), push)
            .handler(&route("kick"), kick)
            .handler(&route("later"), later);
    }
    app
}

pub fn golden_connector() -> Hybrid {
    Hybrid::new()
        .heartbeat_secs(3)
        .use_dict()
        .use_protobuf()
        .check_client(|_, version| version != "0.0.0")
        .handshake(async |request| {
            let user = request.user().cloned().unwrap_or_default();
            match (user.get("refuse"), user.get("echo")) {
                (Some(_), _) => Err(Refused),
                (None, Some(echo)) => Ok(Some(json!({"echo": echo}))),
                (None, None) => Ok(None),
            }
        })
}

async fn echo(route: Route, Msg(mut body): Msg<Value>) -> Value {
    // pomelo adds it to every message.
    if let Value::Object(members) = &mut body {
        members.insert("__route__".to_owned(), route.as_str().into());
    }
    json!({"code": 200, "body": body})
}

async fn pb(Msg(body): Msg<Map<String, Value>>) -> Result<Value, Error> {
    match body["n"].as_u64() {
        Some(9) => Err(Error::new("nine")),
        n => Ok(json!({"n": n.unwrap_or_default() + 1})),
    }
}

async fn bind(session: RequestSession, Msg(body): Msg<Map<String, Value>>) -> Value {
    let result = match body.get("uid").and_then(Value::as_str) {
        Some(uid) => session.bind(uid).await,
        None => Ok(()),
    };
    json!({"err": result.err().map(|error| error.to_string())})
}

async fn push(app: App, session: FrontendSession, body: Body) -> Result<Json<Value>, Error> {
    let body: Value = body.decode()?;
    let uid = session.uid();
    let Some(uid) = uid else {
        return Ok(Json(json!({"err": null, "fails": [null]})));
    };
    let to = [(uid, session.frontend_id().into())];
    let report = app
        .channels()
        .push_by_uids(body["route"].as_str().unwrap(), &body["msg"], &to)
        .await?;
    let fails: Vec<_> = report
        .failed
        .iter()
        .map(|uid| uid.as_str().to_owned())
        .collect();
    Ok(Json(json!({"err": null, "fails": fails})))
}

async fn kick(session: RequestSession, Msg(body): Msg<Map<String, Value>>) {
    let reason = body.get("reason").and_then(Value::as_str);
    session.kick(reason).await.unwrap();
    // The original never answers, and a closed session takes no answer.
}

async fn later(Msg(body): Msg<Map<String, Value>>) -> Value {
    tokio::time::sleep(Duration::from_millis(body["t"].as_u64().unwrap())).await;
    json!({"t": body["t"]})
}

pub async fn start(app: AppBuilder) -> (Running, SocketAddr) {
    let running = app.start().await.unwrap();
    let port = running.addresses()["connector-1"].port();
    (running, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A client on a TCP socket, or on anything like one.
pub struct Tcp<S = TcpStream> {
    pub stream: S,
}

impl Tcp {
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
        }
    }

    /// Connected, with handshake and first heartbeat behind it.
    pub async fn ready(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address).await;
        peer.shake_hands().await;
        peer
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tcp<S> {
    pub async fn shake_hands(&mut self) {
        self.send(&package(1, HANDSHAKE.as_bytes())).await;
        assert_eq!(self.package().await[0], 1);
        self.send(&[2, 0, 0, 0]).await;
        assert_eq!(self.package().await, [3, 0, 0, 0]);
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends to a server that may have closed.
    pub async fn try_send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Whether the connection still answers; what else it says is read over.
    pub async fn echoes(&mut self) -> bool {
        const ID: u8 = 127;
        let echo = request(ID, "connector.entryHandler.nothing", "{}");
        self.try_send(&echo).await;
        let expected = response(ID, "{}");
        loop {
            let mut head = [0; 4];
            let read = timeout(PATIENCE, self.stream.read_exact(&mut head)).await;
            if read.expect("neither an answer nor an end").is_err() {
                return false;
            }
            let len = u32::from_be_bytes([0, head[1], head[2], head[3]]);
            let mut package = head.to_vec();
            package.extend(self.exactly(len as usize).await);
            if package == expected {
                return true;
            }
        }
    }

    pub async fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        timeout(PATIENCE, self.stream.read_exact(&mut bytes))
            .await
            .expect("no answer")
            .unwrap();
        bytes
    }

    pub async fn package(&mut self) -> Vec<u8> {
        let mut bytes = self.exactly(4).await;
        let len = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
        bytes.extend(self.exactly(len as usize).await);
        bytes
    }

    /// What comes until the server closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut bytes))
            .await
            .expect("no end");
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        bytes
    }
}

/// A WebSocket client without a library: what it checks is what leaves the server.
pub struct Ws<S = TcpStream> {
    pub tcp: Tcp<S>,
}

pub const UPGRADE: &str = "GET /any?path HTTP/1.1\r\nHost: any\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Ws {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(Tcp::connect(address).await).await
    }

    pub async fn ready(address: SocketAddr) -> Self {
        let mut ws = Self::connect(address).await;
        ws.shake_hands().await;
        ws
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ws<S> {
    pub async fn over(tcp: Tcp<S>) -> Self {
        let mut ws = Self { tcp };
        ws.tcp.send(format!("{UPGRADE}\r\n").as_bytes()).await;
        let head = ws.http_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        ws
    }

    pub async fn shake_hands(&mut self) {
        self.send(&package(1, HANDSHAKE.as_bytes())).await;
        assert_eq!(self.message().await.1[0], 1);
        self.send(&[2, 0, 0, 0]).await;
        assert_eq!(self.message().await, (0x82, vec![3, 0, 0, 0]));
    }

    pub async fn http_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.tcp.exactly(1).await);
        }
        String::from_utf8(head).unwrap()
    }

    pub async fn send(&mut self, payload: &[u8]) {
        self.frame(0x82, payload).await;
    }

    pub async fn frame(&mut self, first: u8, payload: &[u8]) {
        self.tcp.send(&frame(first, payload)).await;
    }

    /// First byte and payload of the next frame.
    pub async fn message(&mut self) -> (u8, Vec<u8>) {
        let head = self.tcp.exactly(2).await;
        let len = match head[1] {
            126 => {
                let len = self.tcp.exactly(2).await;
                usize::from(u16::from_be_bytes([len[0], len[1]]))
            }
            len => usize::from(len),
        };
        (head[0], self.tcp.exactly(len).await)
    }
}

/// A masked frame; the mask is of no interest and so not zero.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&u64::try_from(len).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// The golden app with this connector.
pub fn app_with(hybrid: Hybrid) -> AppBuilder {
    golden_app().configure("all", "connector", move |server| {
        server.connector(hybrid.clone())
    })
}

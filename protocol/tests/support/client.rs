//! The browser client on a simulated clock, against ours.
//!
//! Both logs are written in one language: what was sent, what the application was told, and
//! `refused` for what the original throws at and we drop.

use std::time::Duration;

use pomelo_protocol::{
    Body, ClientConnection, ClientEvent, CloseReason, Config, HandshakeRequest, Instant, Tables,
};
use serde_json::{Value, json};

use super::Check;
use super::js;
use super::values::text;

pub(crate) fn client(vector: &Value) -> Vec<Check> {
    let log = vector["log"].as_array().unwrap();
    let original: String = log.iter().filter_map(logged).collect();
    let mut client = Client::new(vector);
    for step in vector["script"].as_array().unwrap() {
        client.run_until(Duration::from_millis(step["at"].as_u64().unwrap()));
        if let Some(bytes) = step["feed"].as_str() {
            let bytes = js::bytes(bytes).into();
            client.connection.handle_message(client.now(), bytes);
        } else if let Some(call) = step.get("call") {
            client.call(call);
        }
        client.drain();
    }
    let (original_hello, original) = original.split_once("; ").unwrap();
    let (hello, ours) = client.log.split_once("; ").unwrap();
    vec![
        Check::new("hello", original_hello, hello),
        Check::new("log", original.trim_end(), ours.trim_end()),
    ]
}

/// One entry of the original's log. That it closes its socket after a timeout is no news.
fn logged(entry: &Value) -> Option<String> {
    let at = entry["at"].as_u64().unwrap();
    let what = if let Some(bytes) = entry["sent"].as_str() {
        sent(&js::bytes(bytes))
    } else if entry.get("throws").is_some() {
        "refused".into()
    } else if let Some(event) = entry.get("event") {
        let arg = &entry["args"][0];
        match event.as_str() {
            Some("(init callback)") => "ready".into(),
            Some("heartbeat timeout") => "heartbeat timeout".into(),
            Some("error") => "handshake refused".into(),
            Some("onKick") => format!("kicked: {}", text(arg, "reason")),
            Some(answer) if answer.starts_with("(answer to ") => {
                format!("{} {arg}", answer.trim_matches(['(', ')']))
            }
            _ => format!(
                "push {} {arg}",
                event.as_str().unwrap_or(&event.to_string())
            ),
        }
    } else if entry.get("wsClose").is_some() {
        return None;
    } else {
        panic!("unknown entry {entry}")
    };
    Some(line(at, &what))
}

fn line(at: u64, what: &str) -> String {
    format!("{at} {what}; ")
}

fn sent(bytes: &[u8]) -> String {
    format!("sent {}", bytes.escape_ascii())
}

struct Client {
    connection: ClientConnection,
    since: Duration,
    log: String,
}

impl Client {
    fn new(vector: &Value) -> Self {
        let mut request = HandshakeRequest::new("js-websocket", "0.0.1")
            .with_sys("rsa", json!({}))
            .with_sys("protoVersion", json!(0));
        if let Some(user) = vector.get("user") {
            request = request.with_user(user.clone());
        }
        let tables = kept(vector["localStorage"]["protos"].as_str());
        let connection =
            ClientConnection::new(Instant::default(), Config::client(), request, tables);
        let mut client = Self {
            connection,
            since: Duration::ZERO,
            log: String::new(),
        };
        client.drain();
        client
    }

    fn now(&self) -> Instant {
        Instant::from_origin(self.since)
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(next) = self.connection.poll_timeout() {
            if next.since_origin() > end {
                break;
            }
            self.since = next.since_origin();
            self.connection.handle_timeout(next);
            self.drain();
        }
        self.since = end;
    }

    fn call(&mut self, call: &Value) {
        let (route, message) = (text(call, "route"), &call["msg"]);
        let refused = match text(call, "kind") {
            "request" => self.connection.request(route, message).is_err(),
            "notify" => self.connection.notify(route, message).is_err(),
            other => panic!("unknown call {other}"),
        };
        if refused {
            self.note("not sent");
        }
    }

    /// Takes all events, then writes down the frames first: an application is told about an
    /// acknowledgement that is already on its way.
    fn drain(&mut self) {
        let mut events = Vec::new();
        while let Some(event) = self.connection.poll_event() {
            events.push(event);
        }
        while let Some(frame) = self.connection.poll_transmit() {
            self.note(&sent(frame.as_bytes()));
        }
        for event in events {
            let what = match event {
                ClientEvent::Ready { .. } => "ready".into(),
                ClientEvent::Response { route, body, .. } => {
                    read(&format!("answer to {route}"), &body)
                }
                ClientEvent::Push { route, body } => read(&format!("push {route}"), &body),
                ClientEvent::Kicked(None) => "kicked".into(),
                ClientEvent::Kicked(Some(reason)) => format!("kicked: {reason}"),
                ClientEvent::Dropped(_) => "refused".into(),
                ClientEvent::Closed(CloseReason::HeartbeatTimeout) => "heartbeat timeout".into(),
                ClientEvent::Closed(CloseReason::Rejected(_)) => "handshake refused".into(),
                ClientEvent::Closed(CloseReason::Kicked(_)) => continue,
                ClientEvent::Closed(reason) => format!("closed: {reason}"),
                other => panic!("unknown event {other:?}"),
            };
            self.note(&what);
        }
    }

    fn note(&mut self, what: &str) {
        let at = u64::try_from(self.since.as_millis()).unwrap();
        self.log += &line(at, what);
    }
}

fn read(what: &str, body: &Body) -> String {
    match body.decode::<Value>() {
        Ok(value) => format!("{what} {value}"),
        Err(_) => "refused".into(),
    }
}

/// The tables of a client that was connected before and was sent these schemas.
fn kept(protos: Option<&str>) -> Tables {
    let Some(protos) = protos else {
        return Tables::default();
    };
    let now = Instant::default();
    let hello = HandshakeRequest::new("js-websocket", "0.0.1");
    let mut earlier = ClientConnection::new(now, Config::client(), hello, Tables::default());
    let document = format!(r#"{{"code":200,"sys":{{"useProto":true,"protos":{protos}}}}}"#);
    let frame =
        pomelo_protocol::Frame::new(pomelo_protocol::PackageKind::Handshake, document.as_bytes());
    earlier.handle_message(now, frame.unwrap().into_bytes());
    assert!(matches!(
        earlier.poll_event(),
        Some(ClientEvent::Ready { .. })
    ));
    earlier.tables().clone()
}

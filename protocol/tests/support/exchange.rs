//! Whole conversations with a server, on a virtual clock.
//!
//! The application is the one the file describes in `app`; only what it does with messages is
//! written here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::protobuf::Protos;
use pomelo_protocol::{
    Body, CloseReason, Codec, CodecError, Frame, HandshakeRequest, Instant, ProtosOffer, RequestId,
    Route, ServerConnection, ServerEvent, ServerSettings,
};
use serde_json::{Value, json};

use super::Check;
use super::js;
use super::values::{shown, text};
use super::wire::build_dictionary;

/// How long the recorder waits for bytes before the next step.
const PATIENCE: Duration = Duration::from_millis(250);

pub(crate) fn exchange(app: &Value, vector: &Value) -> Vec<Check> {
    let websocket = text(vector, "transport") == "ws";
    let mut server = Server::new(app, websocket);
    let mut original = String::new();
    let mut ours = String::new();
    let mut expected = Vec::new();
    for step in vector["steps"].as_array().unwrap() {
        let (name, value) = step.as_object().unwrap().iter().next().unwrap();
        match name.as_str() {
            "c2s" | "c2sText" => {
                original += &heard(&mut expected, websocket);
                original += "> ";
                ours += &server.heard();
                ours += "> ";
                let input = match name.as_str() {
                    "c2s" => js::bytes(value.as_str().unwrap()),
                    _ => value.as_str().unwrap().as_bytes().to_vec(),
                };
                server.receive(input.into());
            }
            "s2c" => {
                expected.push(js::bytes(value.as_str().unwrap()));
                let end = server.now + PATIENCE;
                if server.sent.len() < expected.len() {
                    server.run_until(end);
                }
            }
            "wait" => {
                let end = server.now + Duration::from_millis(value.as_u64().unwrap());
                server.run_until(end);
            }
            "close" => original += &(heard(&mut expected, websocket) + "close "),
            other => panic!("unknown step {other}"),
        }
    }
    original += &heard(&mut expected, websocket);
    ours += &server.heard();
    vec![Check::new("conversation", original.trim(), ours.trim())]
}

/// What one side has sent since the other spoke. On TCP only the joined bytes are known.
fn heard(sent: &mut Vec<Vec<u8>>, websocket: bool) -> String {
    let sent = std::mem::take(sent);
    let sent = if websocket || sent.is_empty() {
        sent
    } else {
        vec![sent.concat()]
    };
    sent.iter()
        .map(|bytes| match bytes.len() {
            0..=200 => format!("{} ", bytes.escape_ascii()),
            _ => format!("<{}> ", shown(bytes)),
        })
        .collect()
}

struct Server<'a> {
    app: &'a Value,
    websocket: bool,
    settings: Arc<ServerSettings>,
    connection: ServerConnection,
    now: Instant,
    sent: Vec<Vec<u8>>,
    /// Closed, and not yet in the transcript.
    closed: bool,
    uid: Option<String>,
    /// Answers that are due later.
    later: Vec<(Instant, Frame)>,
}

impl<'a> Server<'a> {
    fn new(app: &'a Value, websocket: bool) -> Self {
        let methods: Vec<_> = app["methods"].as_object().unwrap().keys().collect();
        // `"frontend, one server, handler entryHandler"`: every handler has all the methods.
        let servers = app["servers"].as_object().unwrap().iter();
        let handlers: serde_json::Map<_, _> = servers
            .map(|(name, about)| {
                let (_, handler) = about.as_str().unwrap().rsplit_once(' ').unwrap();
                (name.clone(), json!({handler: methods}))
            })
            .collect();
        let dictionary = build_dictionary(&Value::Object(handlers), &app["userDictionary"]);
        let client = Protos::parse(&app["clientProtos"]).unwrap();
        let server = Protos::parse(&app["serverProtos"]).unwrap();
        let mut settings = ServerSettings::default();
        settings.offer.heartbeat = app["heartbeat"].as_f64().map(Duration::from_secs_f64);
        settings.offer.dictionary = Some(dictionary.clone());
        settings.offer.protos = Some(ProtosOffer::dialect(client.clone(), server.clone()));
        settings.codec.dictionary = Some(dictionary);
        settings.codec.incoming = client;
        settings.codec.outgoing = server;
        let settings = Arc::new(settings);
        let now = Instant::default();
        Self {
            app,
            websocket,
            connection: ServerConnection::new(now, settings.clone()),
            settings,
            now,
            sent: Vec::new(),
            closed: false,
            uid: None,
            later: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: Bytes) {
        if self.websocket {
            self.connection.handle_message(self.now, bytes);
        } else {
            self.connection.handle_data(self.now, bytes);
        }
        self.drain();
    }

    /// Advances the clock from deadline to deadline.
    fn run_until(&mut self, end: Instant) {
        loop {
            let answers = self.later.iter().map(|(due, _)| *due);
            let next = answers.chain(self.connection.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            let due = self.later.extract_if(.., |(due, _)| *due <= now);
            for (_, frame) in due.collect::<Vec<_>>() {
                let _ = self.connection.send(frame);
            }
            self.connection.handle_timeout(now);
            self.drain();
        }
        self.now = end;
    }

    fn heard(&mut self) -> String {
        let mut text = heard(&mut self.sent, self.websocket);
        if std::mem::take(&mut self.closed) {
            text += "close ";
        }
        text
    }

    fn drain(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                ServerEvent::Handshake(request) => self.decide(&request),
                ServerEvent::Request { id, route, body } => self.message(Some(id), &route, &body),
                ServerEvent::Notify { route, body } => self.message(None, &route, &body),
                ServerEvent::Closed(_) => self.closed = true,
                _ => {}
            }
        }
        while let Some(frame) = self.connection.poll_transmit() {
            self.sent.push(frame.as_bytes().to_vec());
        }
    }

    fn decide(&mut self, request: &HandshakeRequest) {
        let user = request.user().unwrap_or(&Value::Null);
        if request.client_version() == Some("0.0.0") {
            self.connection.reject(self.now, 501);
        } else if user["refuse"] == 1 {
            self.connection.reject(self.now, 500);
        } else {
            let echo = user.get("echo").map(|echo| json!({ "echo": echo }));
            self.connection.accept(self.now, echo.as_ref());
        }
    }

    fn message(&mut self, id: Option<RequestId>, route: &Route, body: &Body) {
        let failed = json!({"code": 500});
        let parts: Vec<_> = route.split('.').collect();
        let method = match *parts.as_slice() {
            // pomelo drops what has no server type, and never answers.
            [_] | ["", ..] => return,
            [server, handler, method]
                if method == "constructor" || self.has(server, handler, method) =>
            {
                method
            }
            _ => return self.answer(id, route, &failed),
        };
        let mut message: Value = match body.decode_or_empty() {
            Ok(message) => message,
            Err(_) => return self.answer(id, route, &failed),
        };
        if let Value::Object(members) = &mut message {
            members.insert("__route__".into(), json!(route.as_str()));
        }
        let answer = match method {
            "constructor" => return self.connection.kick("attack"),
            "echo" => json!({"code": 200, "body": message}),
            "fail" => failed,
            "failWith" => json!({"code": 7, "why": "x"}),
            "nothing" => json!({}),
            "silent" => return,
            "pb" if message["n"] == 9 => failed,
            "pb" => json!({"n": message["n"].as_u64().unwrap_or_default() + 1}),
            "bind" => json!({ "err": self.bind(&message["uid"]) }),
            "push" => self.push(&message),
            "kick" => {
                return match message["reason"].as_str() {
                    Some(reason) => self.connection.kick(reason),
                    None => self.connection.close(CloseReason::Local),
                };
            }
            "later" => {
                let wait = message["t"].as_u64().unwrap_or_default();
                let due = self.now + Duration::from_millis(wait);
                let answer = json!({"t": wait});
                if let Some(id) = id {
                    self.later.push((due, self.response(id, route, &answer)));
                }
                return;
            }
            other => panic!("the application has no method {other}"),
        };
        self.answer(id, route, &answer);
    }

    fn has(&self, server: &str, handler: &str, method: &str) -> bool {
        let about = self.app["servers"][server].as_str().unwrap_or_default();
        about.ends_with(&format!(" {handler}")) && self.app["methods"].get(method).is_some()
    }

    fn bind(&mut self, uid: &Value) -> Option<String> {
        let uid = uid.as_str().unwrap_or_default();
        match &self.uid {
            Some(bound) if bound != uid => Some(format!("session has already bind with {bound}")),
            _ => {
                self.uid = Some(uid.to_owned());
                None
            }
        }
    }

    fn push(&mut self, message: &Value) -> Value {
        if self.uid.is_none() {
            return json!({"err": null, "fails": [null]});
        }
        let route = text(message, "route");
        let codec = self.codec();
        let frame = match codec.push(&mut Vec::new(), route, &message["msg"]) {
            Err(CodecError::Misfit(_)) => codec.empty_push(route).unwrap(),
            frame => frame.unwrap(),
        };
        self.connection.send(frame).unwrap();
        json!({"err": null, "fails": []})
    }

    fn answer(&mut self, id: Option<RequestId>, route: &Route, answer: &Value) {
        if let Some(id) = id {
            let frame = self.response(id, route, answer);
            self.connection.send(frame).unwrap();
        }
    }

    fn response(&self, id: RequestId, route: &Route, answer: &Value) -> Frame {
        let codec = self.codec();
        match codec.response(&mut Vec::new(), id, route, answer) {
            Err(CodecError::Misfit(_)) => codec.empty_response(id).unwrap(),
            frame => frame.unwrap(),
        }
    }

    fn codec(&self) -> &Codec {
        &self.settings.codec
    }
}

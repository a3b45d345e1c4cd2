//! The protocol core for a browser: the connection's state machine behind a handful of calls that
//! a page's script drives.
//!
//! The script (`js/client.js`) owns what only a page has: the WebSocket, the timer, `localStorage`
//! and the callbacks. Every rule of the protocol is in `pomelo_protocol`; JSON is left to the
//! JavaScript engine (`value::Js`), which has a parser already.
//!
//! Nothing here calls a function of the page, so whatever a callback does finds the connection at
//! rest.

mod event;
mod value;

use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::{
    ClientConnection, CloseReason, CodecError, Config, EncodeError, HandshakeRequest, Instant,
    Json as _, RequestError, RequestId, SendError, Tables,
};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use value::Js;

/// A browser holds a whole WebSocket message before a script sees it, so a lower limit than the
/// wire's own would protect nothing and break pages that are sent much.
const MAX_PACKAGE: u32 = 0x00ff_ffff;

/// Kind and length come before the body of a package.
const PACKAGE_HEAD: usize = 4;

/// One connection, from the opening of its WebSocket to its end.
///
/// The rule of `pomelo_protocol` for its drivers holds: after every call, take events until there
/// are none, send what `transmit` yields until there is nothing, then wait for a message or for
/// the deadline. Times are milliseconds of a clock that never goes back.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Connection {
    machine: ClientConnection<Js>,
}

#[wasm_bindgen]
impl Connection {
    /// `sys` and `user` go into the handshake as they are; `protos` are schemas from an earlier
    /// visit, or undefined. With `raw` messages are told as they come.
    #[wasm_bindgen(constructor)]
    pub fn new(now: f64, sys: JsValue, user: JsValue, protos: JsValue, raw: bool) -> Self {
        let protos = Js::from(protos);
        // What a page has stored is its own affair: schemas that are none are as good as absent.
        let tables = Tables::from_protos(&protos).unwrap_or_default();
        Self::open(now, sys, user, tables, raw)
    }

    /// The next connection to the same server, which need not send again what this one knows.
    pub fn again(&self, now: f64, sys: JsValue, user: JsValue, raw: bool) -> Self {
        Self::open(now, sys, user, self.machine.tables().clone(), raw)
    }

    fn open(now: f64, sys: JsValue, user: JsValue, tables: Tables<Js>, raw: bool) -> Self {
        let mut config = Config::client();
        config.max_handshake = MAX_PACKAGE;
        config.max_package = MAX_PACKAGE;
        config.raw_messages = raw;
        let mut request = HandshakeRequest::from_sys(Js::from(sys));
        if !user.is_undefined() {
            request = request.with_user(user.into());
        }
        Self {
            machine: ClientConnection::new(instant(now), config, request, tables),
        }
    }

    /// One WebSocket message has come.
    pub fn receive(&mut self, now: f64, message: Vec<u8>) {
        self.machine.handle_message(instant(now), message.into());
    }

    /// The time of [`deadline`](Self::deadline) has come.
    pub fn expire(&mut self, now: f64) {
        self.machine.handle_timeout(instant(now));
    }

    /// When [`expire`](Self::expire) wants to be called.
    pub fn deadline(&self) -> Option<f64> {
        let deadline = self.machine.poll_timeout()?;
        Some(deadline.since_origin().as_secs_f64() * 1000.0)
    }

    /// The next frame to send, as one WebSocket message.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        Some(self.machine.poll_transmit()?.as_bytes().to_vec())
    }

    /// The next thing that happened: a list of its kind and what belongs to it, or undefined.
    pub fn poll(&mut self) -> JsValue {
        match self.machine.poll_event() {
            Some(event) => event::tell(event),
            None => JsValue::UNDEFINED,
        }
    }

    /// Sends a request and answers its id.
    ///
    /// # Errors
    /// Why it was not sent, in a word.
    pub fn request(&mut self, route: &str, body: JsValue) -> Result<u32, JsValue> {
        let id = self.machine.request_document(route, body.into());
        id.map(number).map_err(refusal)
    }

    /// Sends a notify.
    ///
    /// # Errors
    /// Why it was not sent, in a word.
    pub fn notify(&mut self, route: &str, body: JsValue) -> Result<(), JsValue> {
        let sent = self.machine.notify_document(route, body.into());
        sent.map_err(refusal)
    }

    /// Takes an id for a request that the page encodes.
    ///
    /// # Errors
    /// Why there is none, in a word.
    pub fn expect(&mut self, route: &str) -> Result<u32, JsValue> {
        let id = self.machine.expect_response(route);
        id.map(number).map_err(refusal)
    }

    /// Forgets a request; its response will be dropped.
    pub fn forget(&mut self, id: u32) {
        if let Some(id) = RequestId::new(id.into()) {
            self.machine.forget(id);
        }
    }

    /// The message of a request, or with the id 0 of a notify, as the connection writes it.
    ///
    /// # Errors
    /// Why there is none, in a word.
    pub fn encode(&mut self, id: u32, route: &str, body: JsValue) -> Result<Vec<u8>, JsValue> {
        let id = RequestId::new(id.into());
        let frame = self.machine.encode_document(id, route, body.into());
        let frame = frame.map_err(|error| refusal(error.into()))?;
        Ok(frame
            .as_bytes()
            .get(PACKAGE_HEAD..)
            .unwrap_or_default()
            .to_vec())
    }

    /// Sends a message that the page has encoded.
    ///
    /// # Errors
    /// Why it was not sent, in a word.
    pub fn send(&mut self, message: &[u8]) -> Result<(), JsValue> {
        self.machine.send_message(message).map_err(refusal)
    }

    /// What the connection reads in a message, told like an event; undefined if it is empty, which
    /// ends the connection.
    pub fn decode(&mut self, message: Vec<u8>) -> JsValue {
        match self.machine.decode(&Bytes::from(message)) {
            Some(event) => event::tell(event),
            None => JsValue::UNDEFINED,
        }
    }

    /// Ends the connection; the event of its end follows.
    pub fn close(&mut self) {
        self.machine.close(CloseReason::Local);
    }

    /// The WebSocket has ended.
    pub fn lost(&mut self, now: f64) {
        self.machine.handle_eof(instant(now));
    }

    /// The schemas that the server has sent with a version, as JSON to be stored.
    pub fn protos(&self) -> Option<String> {
        let protos = self.machine.tables().protos()?;
        let version = protos.version.as_ref()?.to_text()?;
        let (server, client) = (protos.server.parsed_text(), protos.client.parsed_text());
        Some(
            [
                "{\"server\":",
                server,
                ",\"client\":",
                client,
                ",\"version\":",
                &version,
                "}",
            ]
            .concat(),
        )
    }
}

fn instant(now: f64) -> Instant {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates"
    )]
    let micros = (now * 1000.0) as u64;
    Instant::from_origin(Duration::from_micros(micros))
}

/// Ids of the connection's own are below 2^31.
fn number(id: RequestId) -> u32 {
    u32::try_from(id.get()).unwrap_or_default()
}

/// Words for errors: texts would need formatting.
fn refusal(error: RequestError) -> JsValue {
    let word = match &error {
        RequestError::TooManyPending => "too many pending requests",
        RequestError::Send(SendError::Full) => "outgoing queue is full",
        RequestError::Send(SendError::NotReady) => "handshake is not finished",
        RequestError::Codec(CodecError::Encode(EncodeError::RouteTooLong { .. })) => {
            "route is over 255 bytes"
        }
        RequestError::Codec(CodecError::Encode(_)) => "message is over 16777215 bytes",
        RequestError::Codec(CodecError::NotJson | CodecError::Json(_)) => {
            "message has no JSON form"
        }
        RequestError::Codec(CodecError::Misfit(misfit)) => {
            let text = "message does not fit its protobuf schema";
            return match misfit.path() {
                "" => text.into(),
                path => [text, " at ", path].concat().into(),
            };
        }
        _ => "connection is closed",
    };
    word.into()
}

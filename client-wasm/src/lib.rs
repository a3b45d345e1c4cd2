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
    ClientConnection, ClientEvent, CloseReason, CodecError, Config, EncodeError, HandshakeError,
    HandshakeRequest, Instant, Json as _, RequestError, RequestId, SendError, Tables,
};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use value::Js;

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// A browser holds a whole WebSocket message before a script sees it, so a lower limit than the
/// wire's own would protect nothing and break pages that are sent much.
const MAX_PACKAGE: u32 = 0x00ff_ffff;

/// Kind and length come before the body of a package.
const PACKAGE_HEAD: usize = 4;

// What `Connection::give` brings.
const MESSAGE: i32 = 0;
const TIME: i32 = 1;
const END: i32 = 2;
const CLOSE: i32 = 3;
const SEND: i32 = 4;
const DECODE: i32 = 5;
const INFLATED: i32 = 6;
const DAMAGED: i32 = 7;

// What `Connection::call` does.
const REQUEST: i32 = 0;
const NOTIFY: i32 = 1;
const EXPECT: i32 = 2;
const FORGET: i32 = 3;

/// A page's connection to one server: one WebSocket after the other, each from
/// [`open`](Self::open) to its end.
///
/// The rule of `pomelo_protocol` for its drivers holds: after every call, take what `poll` yields
/// until it is no list, then wait for a message or for the deadline. Times are milliseconds of a
/// clock that never goes back.
///
/// Each function costs the page a hundred bytes on either side, so there are few of them, and
/// numbers tell what is meant.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Connection {
    machine: ClientConnection<Js>,
    /// Waits for the frames that were written before it.
    event: Option<ClientEvent<Js>>,
    /// Waits for the page to inflate its bytes, and all others behind it.
    packed: Option<ClientEvent<Js>>,
    /// The page could not inflate those of `event`.
    damaged: bool,
}

#[wasm_bindgen]
impl Connection {
    /// `protos` are schemas from an earlier visit, or undefined.
    #[wasm_bindgen(constructor)]
    pub fn new(protos: JsValue) -> Self {
        // What a page has stored is its own affair: schemas that are none are as good as absent.
        let tables = Tables::from_protos(&Js::from(protos)).unwrap_or_default();
        let request = HandshakeRequest::from_sys(JsValue::UNDEFINED.into());
        Self {
            machine: ClientConnection::new(instant(0.0), Config::client(), request, tables),
            event: None,
            packed: None,
            damaged: false,
        }
    }

    /// A WebSocket has opened. `sys` and `user` go into the handshake as they are; the server need
    /// not send again what an earlier one has told. With `raw` messages are told as they come.
    pub fn open(&mut self, now: f64, sys: JsValue, user: JsValue, raw: bool) {
        let mut config = Config::client();
        config.max_handshake = MAX_PACKAGE;
        config.max_package = MAX_PACKAGE;
        config.raw_messages = raw;
        config.application_inflates = true;
        let mut request = HandshakeRequest::from_sys(Js::from(sys));
        let user = Js::from(user);
        if !user.is_absent() {
            request = request.with_user(user);
        }
        let tables = self.machine.tables().clone();
        self.machine = ClientConnection::new(instant(now), config, request, tables);
        self.event = None;
        self.packed = None;
        self.damaged = false;
    }

    /// Something has come: a WebSocket message, the time that `poll` told, the WebSocket's end, or
    /// the bytes that `poll` told inflated (or not, if they cannot be). Or something is wanted: the
    /// end of the connection, the sending of a message that the page has written, the reading of
    /// one. Answers why a message was not sent, in a word, or what was read, like an event
    /// (undefined for an empty message, which ends the connection).
    pub fn give(&mut self, what: i32, now: f64, bytes: Vec<u8>) -> JsValue {
        let now = instant(now);
        match what {
            MESSAGE => self.machine.handle_message(now, bytes.into()),
            TIME => self.machine.handle_timeout(now),
            END => self.machine.handle_eof(now),
            CLOSE => self.machine.close(CloseReason::Local),
            SEND => {
                if let Err(error) = self.machine.send_message(&bytes) {
                    return refusal(&error);
                }
            }
            DECODE => {
                if let Some(event) = self.machine.decode(&Bytes::from(bytes)) {
                    return event::tell(event);
                }
            }
            INFLATED => {
                let bytes = Bytes::from(bytes);
                self.event = match self.packed.take() {
                    Some(ClientEvent::PackedHandshake(_)) => self.machine.handle_handshake(bytes),
                    Some(mut event) => {
                        if let ClientEvent::Response { body, .. } | ClientEvent::Push { body, .. } =
                            &mut event
                        {
                            *body = body.clone().inflated(bytes);
                        }
                        Some(event)
                    }
                    None => None,
                };
            }
            DAMAGED => match self.packed.take() {
                Some(ClientEvent::PackedHandshake(_)) => {
                    let reason = CloseReason::Handshake(HandshakeError::Inflate);
                    self.machine.close(reason);
                }
                event => {
                    self.damaged = event.is_some();
                    self.event = event;
                }
            },
            _ => {}
        }
        JsValue::UNDEFINED
    }

    /// The next frame to send or thing that happened, a list of its kind and what belongs to it;
    /// or else the time at which the connection wants to be woken, if there is one.
    pub fn poll(&mut self) -> JsValue {
        if self.event.is_none() && self.packed.is_none() {
            self.event = self.machine.poll_event();
        }
        if let Some(frame) = self.machine.poll_transmit() {
            return event::tell_frame(&frame);
        }
        let Some(event) = self.event.take() else {
            let deadline = self.machine.poll_timeout();
            return deadline
                .map(|deadline| deadline.since_origin().as_secs_f64() * 1000.0)
                .into();
        };
        if !std::mem::take(&mut self.damaged)
            && let Some(told) = event::tell_packed(&event)
        {
            self.packed = Some(event);
            return told;
        }
        event::tell(event)
    }

    /// Sends a request, and answers its id, or a notify; takes an id for a request that the page
    /// writes; forgets a request, whose response will be dropped; or writes the message of a
    /// request, or with the id 0 of a notify, and answers it. A text tells why not, in a word.
    pub fn call(&mut self, what: i32, id: f64, route: JsValue, body: JsValue) -> JsValue {
        let route: &str = &value::text(&route).unwrap_or_default();
        let machine = &mut self.machine;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and what is no id is nobody's"
        )]
        let id = RequestId::new(id as u64);
        let done = match (what, id) {
            (REQUEST, _) => machine.request_document(route, body.into()).map(Some),
            (NOTIFY, _) => machine.notify_document(route, body.into()).map(|()| None),
            (EXPECT, _) => machine.expect_response(route).map(Some),
            (FORGET, Some(id)) => {
                machine.forget(id);
                Ok(None)
            }
            _ => match machine.encode_document(id, route, body.into()) {
                Ok(frame) => {
                    let message = frame.as_bytes().get(PACKAGE_HEAD..);
                    return message.unwrap_or_default().to_vec().into();
                }
                Err(error) => Err(error.into()),
            },
        };
        match done {
            Ok(id) => id.map(number).into(),
            Err(error) => refusal(&error),
        }
    }

    /// The schemas that the server has sent with a version, as JSON to be stored.
    pub fn protos(&self) -> JsValue {
        self.protos_text().into()
    }

    fn protos_text(&self) -> Option<String> {
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
fn refusal(error: &RequestError) -> JsValue {
    let word = match error {
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
        RequestError::Codec(CodecError::Misfit(error)) => {
            return event::misfit("message", error.path());
        }
        _ => "connection is closed",
    };
    word.into()
}

//! Events for the script, as lists: the kind first, a number that `js/client.js` knows.

use pomelo_protocol::{
    Body, BodyError, ClientEvent, CloseReason, DecodeError, Dropped, Frame, HandshakeError,
};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::value::Js;

const READY: i32 = 0;
const RESPONSE: i32 = 1;
const PUSH: i32 = 2;
const KICKED: i32 = 3;
const DROPPED: i32 = 4;
const CLOSED: i32 = 5;
const RAW: i32 = 6;
/// A response or push whose body cannot be read.
const BAD_BODY: i32 = 7;

/// A frame to send.
const SEND: i32 = 8;
/// Bytes to inflate.
const PACKED: i32 = 9;

#[wasm_bindgen(raw_module = "pomelo-value")]
extern "C" {
    fn list(kind: i32, first: JsValue, second: JsValue, third: JsValue) -> JsValue;
}

pub(crate) fn tell(event: ClientEvent<Js>) -> JsValue {
    let nothing = JsValue::UNDEFINED;
    match event {
        ClientEvent::Ready { user } => list(
            READY,
            user.map(JsValue::from).into(),
            nothing.clone(),
            nothing,
        ),
        ClientEvent::Response {
            id, route, body, ..
        } => tell_body(RESPONSE, whole(id.get()).into(), route.as_str(), &body),
        ClientEvent::Push { route, body } => tell_body(PUSH, nothing, route.as_str(), &body),
        ClientEvent::Kicked(reason) => list(KICKED, reason.into(), nothing.clone(), nothing),
        ClientEvent::Raw(message) => tell_bytes(RAW, &message),
        ClientEvent::Dropped(dropped) => {
            let (word, detail) = match dropped {
                Dropped::Malformed(error) => decode_error(error),
                Dropped::NotReady => ("message before the handshake was finished", None),
                Dropped::UnexpectedKind(_) => ("message of a kind that only servers take", None),
                Dropped::UnknownResponse(id) => ("response to no pending request", Some(whole(id))),
                _ => ("message was ignored", None),
            };
            tell_error(DROPPED, word, detail)
        }
        ClientEvent::Closed(reason) => {
            let (word, detail) = match reason {
                CloseReason::Local => ("closed by this side", None),
                CloseReason::Peer => ("closed by the server", None),
                CloseReason::Kicked(_) => ("kicked", None),
                CloseReason::HeartbeatTimeout => ("heartbeat timeout", None),
                CloseReason::HandshakeTimeout => ("handshake timeout", None),
                CloseReason::Rejected(code) => {
                    ("handshake refused", i32::try_from(code).ok().map(f64::from))
                }
                CloseReason::Handshake(error) => (handshake_error(error), None),
                CloseReason::Protocol(error) => decode_error(error),
                _ => ("connection failed", None),
            };
            tell_error(CLOSED, word, detail)
        }
        _ => nothing,
    }
}

/// The compressed bytes of an event that cannot be told without them inflated.
pub(crate) fn tell_packed(event: &ClientEvent<Js>) -> Option<JsValue> {
    let packed = match event {
        ClientEvent::PackedHandshake(bytes) => bytes,
        ClientEvent::Response { body, .. } | ClientEvent::Push { body, .. } => body.packed()?,
        _ => return None,
    };
    Some(tell_bytes(PACKED, packed))
}

pub(crate) fn tell_frame(frame: &Frame) -> JsValue {
    tell_bytes(SEND, frame.as_bytes())
}

fn tell_bytes(kind: i32, bytes: &[u8]) -> JsValue {
    let nothing = JsValue::UNDEFINED;
    list(kind, bytes.to_vec().into(), nothing.clone(), nothing)
}

fn tell_body(kind: i32, id: JsValue, route: &str, body: &Body) -> JsValue {
    match body.document::<Js>() {
        Ok(body) => list(kind, id, route.into(), body.into()),
        Err(error) => {
            let word = match &error {
                BodyError::Inflate(_) => "body does not inflate".into(),
                BodyError::Protobuf(error) => misfit("body", error.path()),
                _ => "body is not JSON".into(),
            };
            list(BAD_BODY, id, route.into(), word)
        }
    }
}

/// What does not fit its schema, and where.
pub(crate) fn misfit(what: &str, path: &str) -> JsValue {
    let at = if path.is_empty() { "" } else { " at " };
    let text = [what, " does not fit its protobuf schema", at, path].concat();
    text.into()
}

fn tell_error(kind: i32, word: &str, detail: Option<f64>) -> JsValue {
    list(kind, word.into(), detail.into(), JsValue::UNDEFINED)
}

fn decode_error(error: DecodeError) -> (&'static str, Option<f64>) {
    match error {
        DecodeError::UnknownPackageKind(kind) => ("unknown package kind", Some(kind.into())),
        DecodeError::PackageTooLarge { len, .. } => ("package is too large", Some(len.into())),
        DecodeError::PackageCut => ("transport message ends inside a package", None),
        DecodeError::EmptyMessage => ("data package without a message", None),
        DecodeError::UnknownMessageKind(kind) => ("unknown message kind", Some(kind.into())),
        DecodeError::MessageCut => ("message ends inside its head", None),
        DecodeError::IdTooLong => ("message id is longer than 64 bits", None),
        DecodeError::UnknownRouteCode(code) => ("unknown route code", Some(code.into())),
        _ => ("protocol violation", None),
    }
}

const fn handshake_error(error: HandshakeError) -> &'static str {
    match error {
        HandshakeError::NotJson => "handshake is not a JSON object",
        HandshakeError::NoCode => "handshake has no code",
        HandshakeError::Inflate => "handshake does not inflate",
        HandshakeError::Protos => "handshake has unusable protobuf schemas",
        _ => "bad handshake",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript has no other numbers"
)]
fn whole(id: u64) -> f64 {
    id as f64
}

//! Events for the script, as lists: the kind first, a number that `js/client.js` knows.

use pomelo_protocol::{
    Body, BodyError, ClientEvent, CloseReason, DecodeError, Dropped, HandshakeError, RequestId,
};
use wasm_bindgen::JsValue;

use crate::value::{Js, list};

const READY: u32 = 0;
const RESPONSE: u32 = 1;
const PUSH: u32 = 2;
const KICKED: u32 = 3;
const DROPPED: u32 = 4;
const CLOSED: u32 = 5;
const RAW: u32 = 6;
/// A response or push whose body cannot be read.
const BAD_BODY: u32 = 7;

pub(crate) fn tell(event: ClientEvent<Js>) -> JsValue {
    match event {
        ClientEvent::Ready { user } => list([READY.into(), user.map(JsValue::from).into()]),
        ClientEvent::Response {
            id, route, body, ..
        } => tell_body(RESPONSE, number(id), route.as_str(), &body),
        ClientEvent::Push { route, body } => {
            tell_body(PUSH, JsValue::UNDEFINED, route.as_str(), &body)
        }
        ClientEvent::Kicked(reason) => list([KICKED.into(), reason.into()]),
        ClientEvent::Raw(message) => list([RAW.into(), message.to_vec().into()]),
        ClientEvent::Dropped(dropped) => {
            let (word, detail) = match dropped {
                Dropped::Malformed(error) => decode_error(error),
                Dropped::NotReady => ("message before the handshake was finished", None),
                Dropped::UnexpectedKind(_) => ("message of a kind that only servers take", None),
                Dropped::UnknownResponse(id) => ("response to no pending request", whole(id)),
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
        _ => JsValue::UNDEFINED,
    }
}

fn tell_body(kind: u32, id: JsValue, route: &str, body: &Body) -> JsValue {
    match body.document::<Js>() {
        Ok(body) => list([kind.into(), id, route.into(), body.into()]),
        Err(error) => {
            let word: JsValue = match &error {
                BodyError::Inflate(_) => "body does not inflate".into(),
                BodyError::Protobuf(error) => {
                    let text = "body does not fit its protobuf schema";
                    match error.path() {
                        "" => text.into(),
                        path => [text, " at ", path].concat().into(),
                    }
                }
                _ => "body is not JSON".into(),
            };
            list([BAD_BODY.into(), id, route.into(), word])
        }
    }
}

fn tell_error(kind: u32, word: &str, detail: Option<f64>) -> JsValue {
    list([kind.into(), word.into(), detail.into()])
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

fn number(id: RequestId) -> JsValue {
    whole(id.get()).into()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "JavaScript has no other numbers"
)]
fn whole(id: u64) -> Option<f64> {
    Some(id as f64)
}
